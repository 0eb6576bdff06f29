/*
 * A strict JSON reader that pulls one token at a time (RFC 8259; no comments, no trailing commas, no NaN, no leading
 * zeros). It allocates nothing but one buffer for decoded strings, so a hostile text costs no more than its own length.
 */
#ifndef UPRES_LOADER_JSON_H
#define UPRES_LOADER_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum JsonToken {
    JSON_END, /* the text ended where it may */
    JSON_OBJECT, JSON_OBJECT_END, JSON_ARRAY, JSON_ARRAY_END,
    JSON_KEY,    /* string, length: the decoded key */
    JSON_STRING, /* string, length: decoded UTF-8, may hold NUL */
    JSON_NUMBER, /* string, length: the number as written */
    JSON_TRUE, JSON_FALSE, JSON_NULL,
    JSON_ERROR   /* error, and nothing more can be read */
} JsonToken;

typedef enum JsonError { JSON_FINE, JSON_SYNTAX, JSON_DEPTH, JSON_UTF8, JSON_MEMORY } JsonError;

typedef struct JsonReader {
    const char *string; /* NUL-terminated; valid until the next call */
    size_t length;
    bool lone_surrogate; /* the string held an escape that is no character (kept as U+FFFD) */
    JsonError error;
    const char *problem; /* of JSON_SYNTAX: "a comma or the end of an object was expected", ... */
    /* private */
    const char *text;
    size_t size, at;
    int depth, max_depth;
    char *buffer;
    size_t buffer_size;
    uint8_t kind[64]; /* of the open objects and arrays */
    int state;
} JsonReader;

/* max_depth: nested objects and arrays allowed, at most 64. The text must outlive the reader. */
void json_open(JsonReader *r, const char *text, size_t size, int max_depth);
JsonToken json_next(JsonReader *r);
bool json_skip(JsonReader *r, JsonToken first); /* the rest of the value that `first` began; false on an error */
void json_close(JsonReader *r);

/* Digits alone (no sign, fraction, exponent) below 2^63: true. Otherwise false; *overflow tells digits that do not fit. */
bool json_whole_number(const char *text, size_t length, int64_t *value, bool *overflow);

#endif
