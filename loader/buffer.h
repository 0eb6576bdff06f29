/*
 * A byte string that grows: metadata as JSON text, lists of names, headers about to be written.
 *
 * Running out of memory makes a buffer empty for good and sets `failed`, so that a caller may add many things and look
 * once. Start from all zeros; free with buffer_free.
 */
#ifndef UPRES_LOADER_BUFFER_H
#define UPRES_LOADER_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Buffer {
    char *text; /* NULL while empty, else NUL-terminated */
    size_t length, room;
    bool failed;
} Buffer;

void buffer_add(Buffer *b, const void *bytes, size_t length);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void buffer_printf(Buffer *b, const char *format, ...);
/* A quoted JSON string; bytes that are not UTF-8 become U+FFFD, so the result is always valid JSON. */
void buffer_json_string(Buffer *b, const char *text, size_t length);
void buffer_free(Buffer *b);

#endif
