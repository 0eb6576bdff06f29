#include "kernels/cpu/fp8.h"

#include <math.h>
#include <string.h>

enum { LEAST_SCALE = 5, E4M3_NAN = 0x7f, E4M3_MOST = 0x7e };

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

uint8_t fp8_encode(float x)
{
    const uint32_t bits = bits_of(x), sign = bits >> 24 & 0x80, size = bits & 0x7fffffff;
    if (size > 0x7f800000) return E4M3_NAN;
    if (fabsf(x) < 0x1p-6f) return (uint8_t)(sign | (uint32_t)rintf(fabsf(x) * 0x1p9f)); /* 8 of these make 2^-6 */
    const uint32_t rounded = ((size + 0x7ffff + (size >> 20 & 1)) >> 20) - (120 << 3); /* exponents: from bias 127 to 7 */
    return (uint8_t)(sign | (rounded < E4M3_MOST ? rounded : E4M3_MOST));
}

float fp8_decode(uint8_t q)
{
    const uint32_t size = q & 0x7f;
    const float x = size == E4M3_NAN ? NAN : size < 8 ? (float)size * 0x1p-9f : float_of((size << 20) + (120u << 23));
    return q & 0x80 ? -x : x;
}

/* 448 is 1.75 * 2^8. */
uint8_t fp8_scale(float amax)
{
    const int e = (int)((bits_of(amax) + 0x1fffff) >> 23) - 8;
    return (uint8_t)(e < LEAST_SCALE ? LEAST_SCALE : e);
}

float fp8_scale_value(uint8_t e) { return float_of((uint32_t)e << 23); }

int fp8_words(int channels, bool pair)
{
    const int of = pair ? FP8_PAIR_CHANNELS : FP8_SLAB;
    return (channels + of - 1) / of;
}

int fp8_at(int channel, bool pair)
{
    return pair ? channel / FP8_PAIR_CHANNELS * FP8_SLAB + channel % FP8_PAIR_CHANNELS : channel;
}

void fp8_put(float x, int channel, bool pair, uint8_t e, uint8_t *q)
{
    const float value = x * fp8_scale_value((uint8_t)(2 * FP8_ONE - e));
    uint8_t *to = q + fp8_at(channel, pair);
    to[0] = fp8_encode(value);
    if (pair) to[FP8_PAIR_CHANNELS] = fp8_encode(16.0f * (value - fp8_decode(to[0])));
}

static float largest(const float *x, int64_t count)
{
    float amax = 0.0f;
    for (int64_t i = 0; i < count; i++) amax = fmaxf(amax, fabsf(x[i]));
    return amax;
}

void fp8_quantize(const float *x, int channels, bool pair, uint8_t *q, uint32_t *scale)
{
    const int words = fp8_words(channels, pair), blocks = pair ? 2 : 4;
    for (int block = 0; block < words * blocks; block++) {
        const int first = block * FP8_BLOCK, left = channels - first;
        const int count = left < 0 ? 0 : left < FP8_BLOCK ? left : FP8_BLOCK;
        const uint8_t e = scale == NULL ? FP8_ONE : fp8_scale(count > 0 ? largest(x + first, count) : 0.0f);
        for (int c = first; c < first + count; c++) fp8_put(x[c], c, pair, e, q);
        if (scale == NULL) continue;
        if (block % blocks == 0) scale[block / blocks] = 0;
        scale[block / blocks] |= (uint32_t)e << block % blocks * 8;
    }
}

uint8_t fp8_row_scale(const float *x, int64_t count) { return fp8_scale(largest(x, count)); }

double fp8_multiply(const uint8_t *a, const uint32_t *scale, const uint8_t *b, int channels, bool pair)
{
    const int blocks = pair ? 2 : 4;
    double sum = 0.0;
    for (int c = 0; c < channels; c++) {
        const int at = fp8_at(c, pair), block = c / FP8_BLOCK;
        const uint32_t e = scale == NULL ? FP8_ONE : scale[block / blocks] >> block % blocks * 8 & 255;
        const double high_a = (double)fp8_decode(a[at]), high_b = (double)fp8_decode(b[at]);
        double product = high_a * high_b;
        if (pair) {
            product += (double)fp8_decode(a[at + FP8_PAIR_CHANNELS]) * high_b / 16.0;
            product += high_a * (double)fp8_decode(b[at + FP8_PAIR_CHANNELS]) / 16.0;
        }
        sum += product * (double)fp8_scale_value((uint8_t)e);
    }
    return sum;
}
