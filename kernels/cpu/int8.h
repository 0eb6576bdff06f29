/*
 * Products of 8-bit integers: the definition, in plain C, of what devices with DEV_INT8 compute. The CPU itself never
 * multiplies this way; tests hold the GPU's kernels against these functions, bit for bit.
 *
 * Quantized: every pixel of an activation and every tap of a weight's row, in blocks of 128 channels (the last may be
 * shorter), each block with a scale of its own. With amax the largest |x| of a block:
 *
 *     s = amax / 127, r = 127 / amax            each division rounded correctly to float32
 *     q = rint(x * r), held to [-127, 127]      x * r rounded to float32, then to the nearest integer, ties to even
 *
 * and a block with amax < 2^-100, where r would soon overflow, has s = 0 and q = 0 throughout: it counts as zeros.
 *
 * Multiplied: the sum over parts (a convolution, a shortcut), within them windows, within them blocks, within them the
 * window's taps, all ascending. Windows are 3 x 3 pixels of one frame, else 2 x 2, where all taps are made of such, row by
 * row; else each tap is one.
 *
 *     acc = 0; acc = fma((float)i, s_a * s_b, acc) for each block of each tap, i its exact sum of products
 *
 * s_a * s_b rounded to float32; |i| <= 128 * 127^2 < 2^24, so its conversion is exact. What follows (bias, activation)
 * is arithmetic of floats as everywhere. Every step is one exact set of bits, so all devices agree in all of them.
 * Values are finite: what becomes of others is nothing to rely on.
 */
#ifndef UPRES_KERNELS_CPU_INT8_H
#define UPRES_KERNELS_CPU_INT8_H

#include <stdint.h>

enum { INT8_BLOCK = 128 };

/* Channels of one pixel, or of one tap of a row, quantized: blocks of INT8_BLOCK and their scales. */
typedef struct Int8Row {
    const int8_t *q;
    const float *scale;
} Int8Row;

int int8_blocks(int channels);

/* q [channels], scale [int8_blocks(channels)]. */
void int8_quantize(const float *x, int channels, int8_t *q, float *scale);

/* acc and the products of one window's taps. */
float int8_multiply(float acc, const Int8Row *a, const Int8Row *b, int taps, int channels);

#endif
