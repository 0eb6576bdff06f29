#include "kernels/cpu/int8.h"

#include <math.h>
#include <stdbool.h>

int int8_blocks(int channels)
{
    return (channels + INT8_BLOCK - 1) / INT8_BLOCK;
}

static float quantize_block(const float *x, int count, int8_t *q)
{
    float amax = 0.0f;
    for (int i = 0; i < count; i++) amax = fmaxf(amax, fabsf(x[i]));
    const bool zeros = amax < 0x1p-100f;
    const float inverse = zeros ? 0.0f : 127.0f / amax;
    for (int i = 0; i < count; i++) q[i] = (int8_t)rintf(fminf(fmaxf(x[i] * inverse, -127.0f), 127.0f));
    return zeros ? 0.0f : amax / 127.0f;
}

void int8_quantize(const float *x, int channels, int8_t *q, float *scale)
{
    for (int c = 0; c < channels; c += INT8_BLOCK) {
        scale[c / INT8_BLOCK] = quantize_block(x + c, channels - c < INT8_BLOCK ? channels - c : INT8_BLOCK, q + c);
    }
}

static float add_block(float acc, Int8Row a, Int8Row b, int block, int channels)
{
    const int first = block * INT8_BLOCK, end = channels - first < INT8_BLOCK ? channels : first + INT8_BLOCK;
    int32_t sum = 0;
    for (int c = first; c < end; c++) sum += a.q[c] * b.q[c];
    return fmaf((float)sum, a.scale[block] * b.scale[block], acc);
}

float int8_multiply(float acc, const Int8Row *a, const Int8Row *b, int taps, int channels)
{
    for (int block = 0; block < int8_blocks(channels); block++) {
        for (int t = 0; t < taps; t++) acc = add_block(acc, a[t], b[t], block, channels);
    }
    return acc;
}
