/*
 * Colour by saturation: matched by rank within bins of hue; and the mixture of that with the wavelet method.
 */
#include "kernels/cpu/color.h"

#include "kernels/cpu/clamp.h"
#include "kernels/cpu/color_rank.h"
#include "kernels/cpu/exp.h"

#include <math.h>
#include <string.h>

enum { BINS = 12, BIN_LEAST = 100 }; /* a bin counts when both pictures have more pixels in it than this */

static float unit_of(float x)
{
    return clamp_unit((x + 1.0f) * 0.5f);
}
static float max3(float a, float b, float c)
{
    return fmaxf(a, fmaxf(b, c));
}
static float min3(float a, float b, float c)
{
    return fminf(a, fminf(b, c));
}

static float saturation(float r, float g, float b)
{
    float most = max3(r, g, b);
    return most > 1e-10f ? (most - min3(r, g, b)) / most : 0.0f;
}

/* Hue in [0, 1]; where two channels tie for the largest, the later one's sector counts. */
static float hue(float r, float g, float b)
{
    float most = max3(r, g, b), range = most - min3(r, g, b);
    if (!(range > 1e-10f)) return 0.0f;
    float sixths;
    if (most == b) {
        sixths = (r - g) / range + 4.0f;
    } else if (most == g) {
        sixths = (b - r) / range + 2.0f;
    } else {
        sixths = (g - b) / range;
        if (sixths < 0.0f) sixths += 6.0f;
    }
    return sixths / 6.0f;
}

static void to_rgb(float hue_, float s, float v, float rgb[3])
{
    float sixths = hue_ * 6.0f, whole = floorf(sixths), f = sixths - whole;
    float p = v * (1.0f - s), q = v * (1.0f - s * f), t = v * (1.0f - s * (1.0f - f));
    const float sectors[6][3] = {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}};
    const int sector = whole < 6.0f ? (int)whole : 0; /* a hue of 1 is one of 0, and so is no number at all */
    memcpy(rgb, sectors[sector], sizeof sectors[0]);
}

/* Bin k takes hues from k/12 to (k + 1)/12; the first also takes the last one's, which is red from the other side. */
static bool in_bin(int k, float h)
{
    const float low = (float)(k * (1.0 / BINS)), high = (float)((k + 1) * (1.0 / BINS));
    return (h >= low && h < high) || (k == 0 && h >= (float)(1.0 - 1.0 / BINS));
}

/* Saturations of the pixels in bin k, and their places unless `where` is NULL. */
static size_t gather_bin(int k, const float *hues, const float *saturations, int frames, size_t plane, size_t apart,
                         float *values, uint32_t *where)
{
    size_t n = 0;
    for (int f = 0; f < frames; f++) {
        for (size_t i = 0; i < plane; i++) {
            size_t at = (size_t)f * apart + i;
            if (!in_bin(k, hues[at])) continue;
            if (where != NULL) where[n] = (uint32_t)((size_t)f * plane + i);
            values[n++] = saturations[at];
        }
    }
    return n;
}

void color_hsv(const float *content, const float *style, int frames, int h, int w, float *out, void *scratch)
{
    size_t plane = (size_t)h * (size_t)w, all = plane * (size_t)frames;
    float *style_hue = scratch, *style_saturation = style_hue + all;
    float *matched = style_saturation + all; /* apart from the originals, which bin 11 needs after bin 0 */
    float *values = matched + all, *reference = values + all;
    uint32_t *where = (uint32_t *)(void *)(reference + all), *ranks = where + all;

    for (int f = 0; f < frames; f++) { /* out becomes hue, saturation, value */
        const float *c = content + (size_t)f * 3 * plane, *s = style + (size_t)f * 3 * plane;
        float *o = out + (size_t)f * 3 * plane;
        for (size_t i = 0; i < plane; i++) {
            float r = unit_of(s[i]), g = unit_of(s[plane + i]), b = unit_of(s[2 * plane + i]);
            style_hue[(size_t)f * plane + i] = hue(r, g, b);
            style_saturation[(size_t)f * plane + i] = saturation(r, g, b);
            r = unit_of(c[i]), g = unit_of(c[plane + i]), b = unit_of(c[2 * plane + i]);
            o[i] = hue(r, g, b);
            o[plane + i] = matched[(size_t)f * plane + i] = saturation(r, g, b);
            o[2 * plane + i] = max3(r, g, b);
        }
    }
    for (int k = 0; k < BINS; k++) {
        size_t n = gather_bin(k, out, out + plane, frames, plane, 3 * plane, values, where);
        size_t m = gather_bin(k, style_hue, style_saturation, frames, plane, plane, reference, NULL);
        if (n > BIN_LEAST && m > BIN_LEAST) rank_match(values, where, n, reference, m, 0.0f, matched, ranks);
    }
    for (int f = 0; f < frames; f++) {
        float *o = out + (size_t)f * 3 * plane;
        for (size_t i = 0; i < plane; i++) {
            float rgb[3];
            to_rgb(o[i], matched[(size_t)f * plane + i], o[2 * plane + i], rgb);
            for (size_t c = 0; c < 3; c++) o[c * plane + i] = clamp_unit(rgb[c]) * 2.0f - 1.0f;
        }
    }
}

static float saturation_at(const float *x, size_t plane, size_t i)
{
    return saturation(unit_of(x[i]), unit_of(x[plane + i]), unit_of(x[2 * plane + i]));
}

void color_wavelet_adaptive(const float *content, const float *style, int frames, int h, int w, float *out,
                            void *scratch)
{
    size_t plane = (size_t)h * (size_t)w;
    float *hsv = scratch, *rest = hsv + (size_t)frames * 3 * plane;
    float *wavelet = rest, *blur = wavelet + 3 * plane; /* once hsv is done with its scratch */
    color_hsv(content, style, frames, h, w, hsv, rest);
    for (int f = 0; f < frames; f++) {
        size_t frame = (size_t)f * 3 * plane;
        const float *c = content + frame, *s = style + frame, *x = hsv + frame;
        color_wavelet(c, s, 1, h, w, true, wavelet, blur);
        for (size_t i = 0; i < plane; i++) {
            float have = saturation_at(c, plane, i), want = saturation_at(s, plane, i), mix = 0.0f;
            if (saturation_at(wavelet, plane, i) - want > 0.075f) {
                mix = 1.0f / (1.0f + exp_poly(-5.0f * (have - want - 0.15f)));
            }
            for (size_t k = 0; k < 3; k++) {
                size_t at = k * plane + i;
                out[frame + at] = wavelet[at] * (1.0f - mix) + x[at] * mix;
            }
        }
    }
}
