/*
 * A file mapped read-only and private, whole. mmap, or MapViewOfFile on Windows.
 */
#ifndef UPRES_LOADER_MAP_H
#define UPRES_LOADER_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Map {
    const uint8_t *bytes; /* NULL: not mapped */
    uint64_t size;        /* taken once, when the file was opened; every later bound is this */
} Map;

/* path is UTF-8. false: one sentence in error (without the path), nothing stays open. An empty file is an error. */
bool map_open(Map *m, const char *path, char *error, size_t error_size);
void map_close(Map *m);

/*
 * Tell the system that this part of a map will not be needed soon, so that reading a large file once does not fill the
 * process's resident memory. The bytes stay readable. Any address inside a map; does nothing where unsupported.
 */
void map_forget(const uint8_t *bytes, uint64_t size);

/* Are both paths there and of one file, by whatever links? */
bool map_same_file(const char *a, const char *b);

#endif
