/*
 * Colour by rank in CIE L*a*b* (D65, sRGB primaries).
 */
#include "kernels/cpu/color.h"

#include "kernels/cpu/clamp.h"
#include "kernels/cpu/color_rank.h"

#include <string.h>

static const float white[3] = {0.95047f, 1.0f, 1.08883f};
static const float rgb_to_xyz[3][3] = {
    {0.4124564f, 0.3575761f, 0.1804375f}, {0.2126729f, 0.7151522f, 0.0721750f}, {0.0193339f, 0.1191920f, 0.9503041f}};
static const float xyz_to_rgb[3][3] = {{3.2404542f, -1.5371385f, -0.4985314f},
                                       {-0.9692660f, 1.8760108f, 0.0415560f},
                                       {0.0556434f, -0.2040259f, 1.0572252f}};
static const float cube_edge = 0.00885645168f; /* (6/29)^3: below it the cube root gives way to a straight line */
static const float root_edge = 0.20689655172f; /* 6/29 */
static const float kappa = 903.296296296f;     /* (29/3)^3 */

/*
 * Roots by Newton's steps for x^(-1/k), three in float from a guess out of x's bits (3 % off) and one in double, and what is
 * made of them: the same bits on every machine, whatever its C library, and on GPUs (kernels/cuda/color.cu). All are within
 * 0.6 units in the last place. x in 0.002 .. 2.
 */
static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float guess(float x, uint32_t origin, uint32_t k)
{
    float z;
    uint32_t bits = origin - bits_of(x) / k;
    memcpy(&z, &bits, sizeof z);
    return z;
}

static float step_float(float z, float x, float power, float share)
{
    return z + z * (1.0f - x * power) * share;
}

static double step_double(double z, double x, double power, double share)
{
    return z + z * (1.0 - x * power) * share;
}

static float cube_root(float x)
{
    float z = guess(x, 0x54a22eca, 3);
    for (int i = 0; i < 3; i++) z = step_float(z, x, z * z * z, (float)(1.0 / 3));
    double d = z;
    d = step_double(d, (double)x, d * d * d, 1.0 / 3);
    return (float)((double)x * d * d);
}

/* x^y for y near `exact` whose power is at hand: x^y = x^exact (1 + (y - exact) log x), of which log x is needed to 5 %. */
static float nearby_power(double power, float x, double apart)
{
    const double log2_x = (double)((int32_t)bits_of(x) - 0x3f7a7efa) * 0x1p-23;
    return (float)(power + power * (log2_x * (apart * 0.6931471805599453)));
}

/* x^2.4f; what makes float's 2.4 of 12/5 shows in the last places. */
static float power_2_4(float x)
{
    float z = guess(x, 0x4c2bb153, 5);
    for (int i = 0; i < 3; i++) z = step_float(z, x, z * z * (z * z) * z, (float)(1.0 / 5));
    double d = z;
    d = step_double(d, (double)x, d * d * (d * d) * d, 1.0 / 5);
    d = (double)x * d;
    return nearby_power(d * d * d, x, (double)2.4f - 2.4);
}

static float twelfth_power(float z)
{
    const float third = z * z * z, sixth = third * third;
    return sixth * sixth;
}

/* x^(1 / 2.4f) */
static float root_2_4(float x)
{
    float z = guess(x, 0x44c4326a, 12);
    for (int i = 0; i < 3; i++) z = step_float(z, x, twelfth_power(z), (float)(1.0 / 12));
    double d = z, third = d * d * d, sixth = third * third;
    d = step_double(d, (double)x, sixth * sixth, 1.0 / 12);
    third = d * d * d;
    return nearby_power((double)x * (third * third) * d, x, (double)(1.0f / 2.4f) - 5.0 / 12);
}

/* One signed sample to linear light. */
static float linear_of(float x)
{
    float u = clamp_unit((x + 1.0f) * 0.5f);
    return u > 0.04045f ? power_2_4((u + 0.055f) / 1.055f) : u / 12.92f;
}

static float signed_of(float linear)
{
    float u = linear > 0.0031308f ? root_2_4(linear) * 1.055f - 0.055f : linear * 12.92f;
    return clamp_unit(u) * 2.0f - 1.0f;
}

static float dot3(const float m[3], float x, float y, float z)
{
    return m[0] * x + m[1] * y + m[2] * z;
}

/* Signed RGB at src, a plane apart, to L, a, b at dst, `apart` floats apart. dst may be src. */
static void to_lab(const float *src, size_t plane, float *dst, size_t apart)
{
    for (size_t i = 0; i < plane; i++) {
        float r = linear_of(src[i]), g = linear_of(src[plane + i]), b = linear_of(src[2 * plane + i]);
        float f[3];
        for (int c = 0; c < 3; c++) {
            float v = dot3(rgb_to_xyz[c], r, g, b) / white[c];
            f[c] = v > cube_edge ? cube_root(v) : (v * kappa + 16.0f) / 116.0f;
        }
        dst[i] = f[1] * 116.0f - 16.0f;
        dst[apart + i] = (f[0] - f[1]) * 500.0f;
        dst[2 * apart + i] = (f[1] - f[2]) * 200.0f;
    }
}

static void from_lab(float *x, size_t plane)
{
    for (size_t i = 0; i < plane; i++) {
        float fy = (x[i] + 16.0f) / 116.0f;
        float f[3] = {x[plane + i] / 500.0f + fy, fy, fy - x[2 * plane + i] / 200.0f}, xyz[3];
        for (int c = 0; c < 3; c++) {
            xyz[c] = white[c] * (f[c] > root_edge ? f[c] * f[c] * f[c] : (f[c] * 116.0f - 16.0f) / kappa);
        }
        for (int c = 0; c < 3; c++) {
            x[(size_t)c * plane + i] = signed_of(dot3(xyz_to_rgb[c], xyz[0], xyz[1], xyz[2]));
        }
    }
}

void color_lab(const float *content, const float *style, int frames, int h, int w, float *out, void *scratch)
{
    size_t plane = (size_t)h * (size_t)w, all = plane * (size_t)frames;
    float *style_lab = scratch;           /* [3][all] */
    float *channel = style_lab + 3 * all; /* [all] */
    uint32_t *ranks = (uint32_t *)(void *)(channel + all);

    color_wavelet(content, style, frames, h, w, true, out, scratch);
    for (int f = 0; f < frames; f++) {
        size_t frame = (size_t)f * 3 * plane;
        to_lab(out + frame, plane, out + frame, plane);
        to_lab(style + frame, plane, style_lab + (size_t)f * plane, all);
    }
    for (int c = 0; c < 3; c++) {
        float *first = out + (size_t)c * plane;
        for (int f = 0; f < frames; f++) {
            memcpy(channel + (size_t)f * plane, first + (size_t)f * 3 * plane, plane * sizeof *channel);
        }
        rank_match(channel, NULL, all, style_lab + (size_t)c * all, all, c == 0 ? 0.8f : 0.0f, channel, ranks);
        for (int f = 0; f < frames; f++) {
            memcpy(first + (size_t)f * 3 * plane, channel + (size_t)f * plane, plane * sizeof *channel);
        }
    }
    for (int f = 0; f < frames; f++) from_lab(out + (size_t)f * 3 * plane, plane);
}
