/* Paths, on top of what the system tells of them. */
#include "tools/platform.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *path_real(const char *path)
{
    char *whole = path_found(path);
    if (whole != NULL) return whole;
    char *trimmed = new_text("%.*s", (int)path_length(path), path);
    char *folder = path_folder(trimmed);
    char *real = path_found(folder);
    if (real != NULL) whole = path_join(real, path_base(trimmed));
    free(real);
    free(folder);
    free(trimmed);
    return whole;
}

bool path_ends_with(const char *path, const char *extension)
{
    size_t n = strlen(path), m = strlen(extension);
    return n >= m && strcasecmp(path + n - m, extension) == 0;
}
