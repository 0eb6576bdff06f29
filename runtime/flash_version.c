#include "runtime/flash_version.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* A value as JSON text: "v1.1", "1.0", 1.1 ... */
static upres_flashvsr_version version_of_value(const char *json)
{
    char text[8];
    size_t length = 0;
    if (*json == '"') json++;
    if (*json == 'v' || *json == 'V') json++;
    for (; *json && *json != '"' && length + 1 < sizeof text; json++) text[length++] = *json;
    text[length] = 0;
    if (*json && strcmp(json, "\"") != 0) return UPRES_FLASHVSR_AUTO;
    if (!strcmp(text, "1.1")) return UPRES_FLASHVSR_1_1;
    return !strcmp(text, "1") || !strcmp(text, "1.0") ? UPRES_FLASHVSR_1 : UPRES_FLASHVSR_AUTO;
}

static upres_flashvsr_version version_of_metadata(const WeightFile *file)
{
    static const char ending[] = "version";
    for (size_t i = 0; i < weight_file_metadata_count(file); i++) {
        const char *key, *value;
        weight_file_metadata(file, i, &key, &value);
        size_t length = strlen(key);
        if (length < sizeof ending - 1 || strcmp(key + length - (sizeof ending - 1), ending) != 0) continue;
        upres_flashvsr_version v = version_of_value(value);
        if (v != UPRES_FLASHVSR_AUTO) return v;
    }
    return UPRES_FLASHVSR_AUTO;
}

static upres_flashvsr_version version_of_path(const char *path)
{
    if (strstr(path, "1.1")) return UPRES_FLASHVSR_1_1;
    for (const char *at = path; *at; at++)
        if (tolower((unsigned char)at[0]) == 'v' && at[1] == '1' && !isdigit((unsigned char)at[2]))
            return UPRES_FLASHVSR_1;
    return UPRES_FLASHVSR_AUTO;
}

upres_flashvsr_version flash_version(upres_flashvsr_version option, const WeightPart *lq, const WeightPart *dit,
                                     char *said, size_t said_size)
{
    const WeightFile *file[2] = {lq->file, dit->file};
    upres_flashvsr_version v = option;
    const char *why = "as --flashvsr-version says", *where = "";
    for (int i = 0; i < 2 && v == UPRES_FLASHVSR_AUTO; i++) {
        v = version_of_metadata(file[i]);
        why = "as the metadata tells of ";
        where = weight_file_path(file[i]);
    }
    for (int i = 0; i < 2 && v == UPRES_FLASHVSR_AUTO; i++) {
        v = version_of_path(weight_file_path(file[i]));
        why = "as the path tells of ";
        where = weight_file_path(file[i]);
    }
    if (v == UPRES_FLASHVSR_AUTO) {
        v = UPRES_FLASHVSR_1_1;
        why = "as nothing tells the version of the files; --flashvsr-version sets it";
        where = "";
    }
    snprintf(said, said_size, "FlashVSR %s, %s%s", v == UPRES_FLASHVSR_1 ? "1" : "1.1", why, where);
    return v;
}
