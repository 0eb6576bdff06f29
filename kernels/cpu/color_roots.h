/*
 * The power and the roots of colours in CIE L*a*b*, x in 0.002 .. 2: the same bits on every machine, whatever its C library,
 * and on GPUs (kernels/cuda/color.cu), as there are but sums and products of floats, each rounded once.
 *
 * Each starts from z near x^(-1/k), of 12 bits. x z^k, which is nearly 1, is found as a sum of two floats, so that what sets
 * it apart from 1 is right to most of its own bits; the result is a product of powers of x and z, two floats as well, times a
 * power of x z^k by a short series. Of all floats in that range the cube root is within 0.503, the power within 0.559 and the
 * root within 0.521 units in the last place (tests/kernels/color.c tries some of them).
 */
#ifndef UPRES_KERNELS_CPU_COLOR_ROOTS_H
#define UPRES_KERNELS_CPU_COLOR_ROOTS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t color_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float color_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/*
 * a b - whole, rounded once, as fmaf does it where there is such an instruction. In double the product of two floats is exact,
 * and so is the difference while `whole` is near it, which it is here.
 */
static inline float color_beyond(float a, float b, float whole)
{
    return (float)((double)a * (double)b - (double)whole);
}

/* x^(-1/k) to 3 % out of x's bits; share: 2^32 / k. */
static inline float color_guess(float x, uint32_t origin, uint32_t share)
{
    return color_float(origin - (uint32_t)((uint64_t)color_bits(x) * share >> 32));
}

/* A guess z times the power of x z^k that it lacks, to 0.04 %, cut to 12 bits, whose square is a float. */
static inline float color_better(float z, float power, float c0, float c1, float c2)
{
    return color_float(color_bits(z * (c0 + power * (c1 + power * c2))) & 0xfffff000u);
}

/*
 * What a power of x gains if its exponent does by `times`, which is next to nothing: times log x, the logarithm to 5 %. What
 * makes float's 2.4 of 12/5 shows in the last places.
 */
static inline float color_logarithm(float x, double times)
{
    return (float)((int32_t)color_bits(x) - 0x3f7a7efa) * (float)(times * 0.6931471805599453 * 0x1p-23);
}

/* x^(1/3) = x z^2 (x z^3)^(-2/3) */
static inline float color_cube_root(float x)
{
    float z = color_guess(x, 0x549d9aea, 0x55555555);
    z = color_better(z, z * z * (x * z), 1.59267485f, -0.852954149f, 0.260428965f);
    const float z2 = z * z, y = x * z2, y_low = color_beyond(x, z2, y), apart = color_beyond(y, z, 1.0f) + y_low * z;
    return y + (y_low + y * (apart * (apart * 0.555741727f - 0.666666865f)));
}

/* x^2.4f = (x z)^3 (x z^5)^(-3/5) x^(2.4f - 2.4) */
static inline float color_power_2_4(float x)
{
    float z = color_guess(x, 0x4c271d73, 0x33333333);
    const float square = z * z;
    z = color_better(z, square * square * (x * z), 1.35245156f, -0.506875336f, 0.154567793f);
    const float z2 = z * z, z4 = z2 * z2, z4_low = color_beyond(z2, z2, z4), r = x * z, r_low = color_beyond(x, z, r);
    const float apart = color_beyond(z4, r, 1.0f) + (z4_low * r + z4 * r_low);
    const float share = apart * (apart * 0.480257392f - 0.60000062f) + color_logarithm(x, (double)2.4f - 2.4);
    const float r2 = r * r, r2_low = color_beyond(r, r, r2), y = r2 * r, y_low = color_beyond(r2, r, y);
    return y + (y_low + r * (r2_low + 3.0f * (r * r_low)) + y * share);
}

/* x^(1 / 2.4f) = x z^7 (x z^12)^(-7/12) x^(1 / 2.4f - 5/12) */
static inline float color_root_2_4(float x)
{
    float z = color_guess(x, 0x44c4326a, 0x15555555);
    const float cube = z * z * z, sixth = cube * cube;
    z = color_better(z, sixth * (x * sixth), 1.12973869f, -0.172753975f, 0.0432765037f);
    const float z2 = z * z, z3 = z2 * z, z3_low = color_beyond(z2, z, z3);
    const float z6 = z3 * z3, z6_low = color_beyond(z3, z3, z6) + (z3 + z3) * z3_low;
    const float r = x * z6, r_low = color_beyond(x, z6, r) + x * z6_low;
    const float apart = color_beyond(r, z6, 1.0f) + (r * z6_low + r_low * z6);
    const float share = apart * (apart * (apart * -0.398678839f + 0.461819232f) - 0.583333313f) +
                        color_logarithm(x, (double)(1.0f / 2.4f) - 5.0 / 12);
    const float y = r * z, y_low = color_beyond(r, z, y);
    return y + (y_low + r_low * z + y * share);
}

#endif
