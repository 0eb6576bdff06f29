/*
 * Between pictures in memory (interleaved integer codes) and planes of float32. Everything runs on the calling thread.
 */
#ifndef UPRES_KERNELS_CPU_QUANTIZE_H
#define UPRES_KERNELS_CPU_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A picture's codes to [0, 1]: rows of `channels` interleaved samples, one byte each for bits <= 8, else uint16,
 * `stride` bytes from row to row. channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA; grey is copied to three planes.
 * rgb [3][h][w]; alpha [h][w], or NULL to leave it out (untouched when the picture has none). u = code / (2^bits - 1),
 * a code above that counting as 1.
 */
void picture_to_unit(const void *data, ptrdiff_t stride, int h, int w, int channels, int bits, float *rgb,
                     float *alpha);

/* One channel of one row of them. */
void row_to_unit(const void *row, int w, int channels, int channel, int bits, float *out);

/* clamp(signed, -1, 1) / 2 + 0.5. out may be x. */
void to_unit(const float *x, size_t count, float *out);

/*
 * One plane to codes: floor(u (2^bits - 1) + 0.5), exactly, clamped; NaN becomes 0. bits 1..16: one byte a code for
 * bits <= 8, else uint16. `step`: codes from pixel to pixel, so a plane can go into interleaved rows; `stride`: bytes
 * from row to row.
 * tpdf adds triangular noise of one code's width before the floor, except at and beyond 0 and 1: the difference of two
 * uniforms of Philox at counter (x, y, frame, 3 + 256 channel), key seed. frame: absolute.
 */
void quantize_plane(const float *unit, int h, int w, int bits, bool tpdf, uint64_t seed, int64_t frame, int channel,
                    void *out, ptrdiff_t stride, int step);

/* Row y of a plane: unit [w]. */
void quantize_row(const float *unit, int w, int bits, bool tpdf, uint64_t seed, int64_t frame, int channel, int y, void *out,
                  int step);

/* How the two Python pipelines write 8 bits: floor(255 u), and to_unit rounded half to even. */
void quantize_truncate(const float *unit, size_t count, uint8_t *out);
void quantize_official(const float *x, size_t count, uint8_t *out);

#endif
