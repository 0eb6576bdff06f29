/* PNG pictures (ISO/IEC 15948): every colour type, depth and interlacing in; 8 and 16 bits out. */
#ifndef UPRES_TOOLS_IO_PNG_H
#define UPRES_TOOLS_IO_PNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/console.h"

enum { PNG_LARGEST_SIDE = 16384 };

/* Form of a picture once it is read: palettes and depths below 8 are expanded, tRNS becomes an alpha channel. */
typedef struct PngForm {
    int32_t width, height;
    int32_t channels; /* 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA */
    int32_t bits;     /* 8, or 16: native-endian uint16_t */
} PngForm;

/* Bytes of one row without gaps. */
size_t png_row_bytes(const PngForm *f);

bool png_has_signature(const char *path);

/*
 * The form alone, from the chunks before the pixels; also sees that the file ends as a PNG does, so that a file cut
 * short is found before any work. Memory: a few bytes. EXIT_INPUT, also for sides above PNG_LARGEST_SIDE.
 */
bool png_probe(const char *path, PngForm *form, Problem *p);

/* All of it: every checksum is checked. *pixels: interleaved rows without gaps, free(). */
bool png_read(const char *path, PngForm *form, void **pixels, Problem *p);

/*
 * Write pixels (interleaved, rows `stride` bytes apart) under `path` by way of path.part. metadata_from: a PNG whose
 * colour, density, Exif and text chunks are carried over where they stay true of the new pixels; NULL: none.
 * EXIT_FAILED when the file cannot be written.
 */
bool png_write(const char *path, const PngForm *form, const void *pixels, ptrdiff_t stride, const char *metadata_from,
               Problem *p);

#endif
