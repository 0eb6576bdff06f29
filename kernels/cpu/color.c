/*
 * The choice among the methods, those of a few lines, and rank matching, which lab and hsv share.
 */
#include "kernels/cpu/color.h"

#include "kernels/cpu/clamp.h"

#include <math.h>
#include <string.h>

size_t color_scratch(ColorMethod method, int frames, int h, int w)
{
    size_t plane = (size_t)h * (size_t)w, all = plane * (size_t)frames;
    size_t floats = 0;
    switch (method) {
    case COLOR_NONE:
    case COLOR_ADAIN:
        break;
    case COLOR_WAVELET:
        floats = 2 * plane;
        break;
    case COLOR_LAB: /* style in Lab, one channel of the content, ranks; the wavelet before needs two planes of these */
        floats = 4 * all + rank_match_scratch(all, all);
        break;
    case COLOR_HSV: /* style's hue and saturation, the matched one, a bin of both pictures and its places, ranks */
        floats = 6 * all + rank_match_scratch(all, all);
        break;
    case COLOR_WAVELET_ADAPTIVE: /* the result of hsv, then its scratch, then one frame's wavelet and its scratch */
        floats = 3 * all + 6 * all + rank_match_scratch(all, all);
        break;
    }
    return floats * sizeof(float);
}

void color_correct(ColorMethod method, const float *content, const float *style, int frames, int h, int w, float *out,
                   void *scratch)
{
    switch (method) {
    case COLOR_NONE:
        if (out != content) memcpy(out, content, (size_t)frames * 3 * (size_t)h * (size_t)w * sizeof *out);
        break;
    case COLOR_LAB:
        color_lab(content, style, frames, h, w, out, scratch);
        break;
    case COLOR_WAVELET:
        color_wavelet(content, style, frames, h, w, true, out, scratch);
        break;
    case COLOR_WAVELET_ADAPTIVE:
        color_wavelet_adaptive(content, style, frames, h, w, out, scratch);
        break;
    case COLOR_HSV:
        color_hsv(content, style, frames, h, w, out, scratch);
        break;
    case COLOR_ADAIN:
        color_adain(content, style, frames, h, w, out);
        break;
    }
}

void color_mix(float *out, const float *style, size_t count, float strength)
{
    for (size_t i = 0; i < count; i++) out[i] = style[i] + strength * (out[i] - style[i]);
}

/* ---------------------------------------------------------------------------------- adain (Huang, Belongie 2017) */

typedef struct Moments {
    float mean, deviation;
} Moments;

static Moments moments(const float *x, size_t count)
{
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i];
    double mean = sum / (double)count;
    for (size_t i = 0; i < count; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    return (Moments){(float)mean, (float)sqrt(squares / (double)(count - 1) + 1e-5)};
}

void color_adain(const float *content, const float *style, int frames, int h, int w, float *out)
{
    size_t plane = (size_t)h * (size_t)w;
    for (int p = 0; p < frames * 3; p++) {
        if (plane > 1) {
            Moments from = moments(content, plane), to = moments(style, plane);
            for (size_t i = 0; i < plane; i++) {
                out[i] = (content[i] - from.mean) / from.deviation * to.deviation + to.mean;
            }
        } else { /* one pixel has no deviation */
            out[0] = content[0];
        }
        content += plane;
        style += plane;
        out += plane;
    }
}

/* ------------------------------------------------------------------------------------------------------- wavelet */

/* [1 2 1]/4 over both axes with `r` pixels between the taps, borders replicated: low [h][w] in place. */
static void blur(float *low, int h, int w, int r, float *rows)
{
    for (int y = 0; y < h; y++) {
        const float *src = low + (size_t)y * (size_t)w;
        float *dst = rows + (size_t)y * (size_t)w;
        int left = r < w ? r : w, right = w - r > left ? w - r : left;
        for (int x = 0; x < left; x++) dst[x] = 0.25f * (src[0] + 2.0f * src[x] + src[x + r < w ? x + r : w - 1]);
        for (int x = left; x < right; x++) dst[x] = 0.25f * (src[x - r] + 2.0f * src[x] + src[x + r]);
        for (int x = right; x < w; x++) dst[x] = 0.25f * (src[x - r] + 2.0f * src[x] + src[w - 1]);
    }
    for (int y = 0; y < h; y++) {
        const float *above = rows + (size_t)(y - r > 0 ? y - r : 0) * (size_t)w;
        const float *here = rows + (size_t)y * (size_t)w;
        const float *below = rows + (size_t)(y + r < h ? y + r : h - 1) * (size_t)w;
        float *dst = low + (size_t)y * (size_t)w;
        for (int x = 0; x < w; x++) dst[x] = 0.25f * (above[x] + 2.0f * here[x] + below[x]);
    }
}

/*
 * The method replaces the content's lowest of five levels by the style's: content - low(content) + low(style). Blurring
 * is linear, so this is content + low(style - content): half the work and one plane instead of two.
 */
void color_wavelet(const float *content, const float *style, int frames, int h, int w, bool capped, float *out,
                   float *scratch)
{
    size_t plane = (size_t)h * (size_t)w;
    float *low = scratch, *rows = scratch + plane;
    int widest = (h < w ? h : w) / 8;
    if (widest < 1) widest = 1;
    for (int p = 0; p < frames * 3; p++) {
        for (size_t i = 0; i < plane; i++) low[i] = style[i] - content[i];
        for (int level = 0; level < 5; level++) {
            int r = 1 << level;
            blur(low, h, w, capped && r > widest ? widest : r, rows);
        }
        for (size_t i = 0; i < plane; i++) out[i] = clamp_signed(content[i] + low[i]);
        content += plane;
        style += plane;
        out += plane;
    }
}

/* -------------------------------------------------------------------------------------------------- rank matching */

/* Radix sort of floats as 32-bit keys in the same order, least digit first: 11, 11 and 10 bits. */
enum { DIGIT_BITS = 11, DIGITS = 3, BUCKETS = 1 << DIGIT_BITS };

/* -0 and +0 are equal values and must tie: adding 0 makes both +0. */
static uint32_t key_of(float x)
{
    uint32_t bits;
    x += 0.0f;
    memcpy(&bits, &x, sizeof bits);
    return bits ^ (bits >> 31 ? 0xFFFFFFFFu : 0x80000000u);
}

static float value_of(uint32_t key)
{
    uint32_t bits = key ^ (key >> 31 ? 0x80000000u : 0xFFFFFFFFu);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t digit(uint32_t key, int d)
{
    return key >> (DIGIT_BITS * d) & (BUCKETS - 1);
}

/* Where each bucket of each digit begins. */
static void bucket_starts(const float *x, size_t n, uint32_t starts[DIGITS][BUCKETS])
{
    memset(starts, 0, DIGITS * sizeof starts[0]);
    for (size_t i = 0; i < n; i++) {
        uint32_t key = key_of(x[i]);
        for (int d = 0; d < DIGITS; d++) starts[d][digit(key, d)]++;
    }
    for (int d = 0; d < DIGITS; d++) {
        uint32_t at = 0;
        for (int b = 0; b < BUCKETS; b++) {
            uint32_t count = starts[d][b];
            starts[d][b] = at;
            at += count;
        }
    }
}

static void sort_floats(float *x, size_t n, uint32_t *a, uint32_t *b)
{
    uint32_t starts[DIGITS][BUCKETS];
    bucket_starts(x, n, starts);
    for (size_t i = 0; i < n; i++) {
        uint32_t key = key_of(x[i]);
        a[starts[0][digit(key, 0)]++] = key;
    }
    for (size_t i = 0; i < n; i++) b[starts[1][digit(a[i], 1)]++] = a[i];
    for (size_t i = 0; i < n; i++) x[starts[2][digit(b[i], 2)]++] = value_of(b[i]);
}

size_t rank_match_scratch(size_t n, size_t m)
{
    return 4 * n > 2 * m ? 4 * n : 2 * m;
}

void rank_match(const float *source, const uint32_t *where, size_t n, float *reference, size_t m, float keep,
                float *out, uint32_t *scratch)
{
    sort_floats(reference, m, scratch, scratch + m);

    uint32_t starts[DIGITS][BUCKETS];
    uint32_t *key_a = scratch, *at_a = key_a + n, *key_b = at_a + n, *at_b = key_b + n;
    bucket_starts(source, n, starts);
    for (size_t i = 0; i < n; i++) {
        uint32_t key = key_of(source[i]), to = starts[0][digit(key, 0)]++;
        key_a[to] = key;
        at_a[to] = (uint32_t)i;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t to = starts[1][digit(key_a[i], 1)]++;
        key_b[to] = key_a[i];
        at_b[to] = at_a[i];
    }
    /* The last pass would only put values in their place in rank order; that place is the rank. */
    const float share = 1.0f - keep;
    for (size_t i = 0; i < n; i++) {
        uint64_t rank = starts[2][digit(key_b[i], 2)]++;
        uint64_t statistic = n == m ? rank : n > 1 ? rank * (m - 1) / (n - 1) : 0;
        uint32_t at = at_b[i];
        out[where != NULL ? where[at] : at] = keep * source[at] + share * reference[statistic];
    }
}
