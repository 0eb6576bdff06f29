#include "tools/build_file.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const build_targets[BUILD_TARGETS] = {"80", "89", "90a", "120f"};

void build_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "%s: ", build_program);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(1);
}

char *build_read(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    size_t length = 0, capacity = 0;
    if (f == NULL) build_fail("%s cannot be opened", path);
    for (;;) {
        if (length + 1 >= capacity) text = realloc(text, capacity = capacity * 2 + 65536);
        if (text == NULL) build_fail("out of memory");
        size_t n = fread(text + length, 1, capacity - 1 - length, f);
        if (n == 0) break;
        length += n;
    }
    if (ferror(f)) build_fail("%s cannot be read", path);
    fclose(f);
    text[length] = '\0';
    return text;
}

const char *build_stem(const char *path)
{
    static char name[128];
    const char *slash = strrchr(path, '/');
    snprintf(name, sizeof name, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(name, '.');
    if (dot) *dot = '\0';
    return name;
}

FILE *build_begin(const char *path, char *part, size_t size)
{
    snprintf(part, size, "%s.%ld", path, (long)getpid());
    FILE *f = fopen(part, "w");
    if (f == NULL) build_fail("%s cannot be written", part);
    return f;
}

void build_end(FILE *f, const char *part, const char *path)
{
    if (fclose(f) != 0 || rename(part, path) != 0) build_fail("%s cannot be written", path);
}
