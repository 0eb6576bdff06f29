/*
 * Products of 8-bit floats: the definition, in plain C, of what devices with DEV_FP8 and DEV_FP8X3 compute. The CPU itself
 * never multiplies this way; tests hold the GPU's kernels against these functions.
 *
 * e4m3 has 3 bits of mantissa and values up to 448; nothing lies beyond but NaN. x is kept as e4m3(x / s), rounded to nearest,
 * ties to even, larger ones held to 448, with a scale s that is a power of two: 2^(e - 127), e one byte. x / s is exact.
 *
 *     activations  blocks of 32 channels of a pixel, each by its largest |x|; or 1 throughout, where an input's range is known
 *     weights      a row's taps and channels all together
 *
 * s is the smallest power of two with which the largest |x| does not exceed 448, and never below 2^-122, so that 2^-4 s is one,
 * too.
 *
 * A pair keeps x as two: hi = e4m3(x / s), lo = e4m3(16 (x / s - hi)). Products of pairs leave lo lo out:
 *
 *     x y = s t (hi hi' + (lo hi' + hi lo') / 16)
 *
 * Products are sums in float32 of whatever order and rounding the tensor cores have, over channels, taps and parts.
 *
 * In memory e4m3 channels follow one another; pairs come as 64 bytes of hi and then their 64 bytes of lo. Scales of activations
 * are words of four bytes, one for 128 bytes of a pixel: blocks in ascending order from the lowest byte on, two of them with
 * pairs. A row of weights has one word: its byte four times.
 */
#ifndef UPRES_KERNELS_CPU_FP8_H
#define UPRES_KERNELS_CPU_FP8_H

#include <stdbool.h>
#include <stdint.h>

enum { FP8_BLOCK = 32, FP8_SLAB = 128, FP8_PAIR_CHANNELS = 64, FP8_ONE = 127 /* the scale 1 */ };

uint8_t fp8_encode(float x);
float fp8_decode(uint8_t q);

uint8_t fp8_scale(float amax); /* e, of finite numbers up to amax */
float fp8_scale_value(uint8_t e);

/* Words of scales of a pixel. */
int fp8_words(int channels, bool pair);

/* Where the element, or hi, of a channel stands; lo stands FP8_PAIR_CHANNELS behind. */
int fp8_at(int channel, bool pair);

/* One element with scale e, to q[fp8_at(channel, pair)] and behind. */
void fp8_put(float x, int channel, bool pair, uint8_t e, uint8_t *q);

/* A pixel: q [channels, pair: 2 * channels, a multiple of 64], scale [fp8_words]; scale NULL: 1 throughout. Bytes of scale that
 * stand for no channel: 5 in words of four blocks, 0 with pairs. */
void fp8_quantize(const float *x, int channels, bool pair, uint8_t *q, uint32_t *scale);

/* A row of weights of `count` values in all. */
uint8_t fp8_row_scale(const float *x, int64_t count);

/* One tap's product in double, without B's scale. scale: A's, NULL: 1. */
double fp8_multiply(const uint8_t *a, const uint32_t *scale, const uint8_t *b, int channels, bool pair);

#endif
