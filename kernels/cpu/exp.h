/*
 * e^x from operations that give the same bits everywhere: on every instruction set, and as kernels/cuda/ptx.cuh has it on GPUs.
 */
#ifndef UPRES_KERNELS_CPU_EXP_H
#define UPRES_KERNELS_CPU_EXP_H

#include <stdint.h>
#include <string.h>

static inline float bits_to_float(int32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline int32_t float_to_bits(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/*
 * e^x by x = n ln 2 + r, |r| <= ln 2 / 2, and a polynomial in r (minimax coefficients of the Cephes library's expf):
 * plain multiplications and additions. Within 2 units in the last place; x is held to [-87.3, 88.0], where e^x is a normal float.
 */
static inline float exp_poly(float x)
{
    const float shifter = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer held in the low mantissa bits */
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.3f ? -87.3f : x;
    float shifted = x * 1.44269504088896341f + shifter;
    float n = shifted - shifter;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    const int32_t exponent = float_to_bits(shifted) - float_to_bits(shifter);
    const uint32_t power = (uint32_t)(exponent + 127) << 23; /* of a NaN some bits or other: p is one then */
    return p * bits_to_float((int32_t)power);
}

#endif
