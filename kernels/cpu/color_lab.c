/*
 * Colour by rank in CIE L*a*b* (D65, sRGB primaries).
 */
#include "kernels/cpu/color.h"

#include "kernels/cpu/clamp.h"
#include "kernels/cpu/color_rank.h"
#include "kernels/cpu/color_roots.h"

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

/* One signed sample to linear light. */
static float linear_of(float x)
{
    float u = clamp_unit((x + 1.0f) * 0.5f);
    return u > 0.04045f ? color_power_2_4((u + 0.055f) / 1.055f) : u / 12.92f;
}

static float signed_of(float linear)
{
    float u = linear > 0.0031308f ? color_root_2_4(linear) * 1.055f - 0.055f : linear * 12.92f;
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
            f[c] = v > cube_edge ? color_cube_root(v) : (v * kappa + 16.0f) / 116.0f;
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
