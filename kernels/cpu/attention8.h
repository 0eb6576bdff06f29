/*
 * Attention in 8 bits, for heads of 128 channels: the definition, in plain C, of what devices with DEV_INT8 and DEV_FP8
 * compute where there are many keys. The CPU itself never attends this way; tests hold the GPU's kernels against these
 * functions.
 *
 * Keys first lose their mean, which changes no softmax, but what they have in common would take most of their 8 bits. Sums of 64
 * keys in order, and the sums of those in order, in float32, over the count.
 *
 * Scores, of two kinds:
 *     int8  a row of q or k is int8_quantize's, the last two bits of its scale's mantissa left out: with those of 1.5 * 2^23
 *           a product fits. The integer sum is exact; times the key's scale, rounded to float32; times the query's below
 *     e4m3  blocks of 32 channels as fp8_quantize's, the sum in float32 of whatever order the tensor cores have
 *
 * Values: 32 keys of a channel together, e4m3 with a power of two for scale, fp8_scale of the largest.
 *
 * Softmax in steps of 128 keys, in order; at the end of them 64, or what is left of 64. (With a bias of the last key it is
 * never part of a whole step.) m is the largest score of the row so far; when it grows, what was summed before shrinks by
 * 2^((old - new) f). A weight is p = 2^(s f + (8 - m f)), its exponent two fused multiply-adds in float32, f = scale * log2 e,
 * times the query's scale of int8, and 1e-30 at the least. p is summed as it is and multiplied by values as e4m3, which it
 * fits, being at most 256.
 */
#ifndef UPRES_KERNELS_CPU_ATTENTION8_H
#define UPRES_KERNELS_CPU_ATTENTION8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ATTENTION8_DEPTH = 128, ATTENTION8_KEYS = 64 };

/* One head. Row r of q stands at q + r * q_row, of k and v at k + r * k_row and v + r * k_row, of o at o + r * o_row. */
typedef struct Attention8 {
    const float *q, *k, *v;
    float *o;
    int64_t q_row, k_row, o_row;
    int queries, keys;
    bool e4m3;             /* scores */
    float scale;
    float last_bias;       /* of the last key's score; without a mask alone */
    const uint8_t *mask;   /* of blocks of block_keys keys, a multiple of 64: 0: not chosen; NULL: all */
    int block_keys;
} Attention8;

size_t attention8_floats(int keys); /* of scratch */
void attention8(const Attention8 *a, float *scratch);

#endif
