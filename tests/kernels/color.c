/*
 * Colour correction against restatements in double that follow the methods' descriptions step by step.
 */
#include "kernels/cpu/color.h"
#include "kernels/cpu/color_rank.h"
#include "kernels/cpu/color_roots.h"

#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------------- rank matching */

typedef struct Ranked {
    float value;
    uint32_t at;
} Ranked;

static int by_value_then_place(const void *a, const void *b)
{
    const Ranked *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void sort_ranked(const float *x, size_t n, Ranked *sorted)
{
    for (size_t i = 0; i < n; i++) sorted[i] = (Ranked){x[i], (uint32_t)i};
    qsort(sorted, n, sizeof *sorted, by_value_then_place);
}

/* order[i]: place of rank i; sorted: the reference in order. */
static void plain_match(const float *source, size_t n, const float *reference, size_t m, float *out)
{
    Ranked *own = check_bytes(n * sizeof *own), *other = check_bytes(m * sizeof *other);
    sort_ranked(source, n, own);
    sort_ranked(reference, m, other);
    for (size_t i = 0; i < n; i++) out[own[i].at] = other[n == m ? i : n > 1 ? i * (m - 1) / (n - 1) : 0].value;
}

/* steps: how many different values; few make ties the rule. */
static void check_rank_match(size_t n, size_t m, int steps)
{
    if (!check_begin("rank_match_%zu_%zu_%d", n, m, steps)) return;
    float *source = check_floats(n), *reference = check_floats(m), *want = check_floats(n), *got = check_floats(n);
    uint32_t *scratch = check_bytes(rank_match_scratch(n, m) * sizeof *scratch);
    check_normal(source, n);
    check_normal(reference, m);
    for (size_t i = 0; i < n; i++) source[i] = roundf(source[i] * (float)steps) / (float)steps; /* -0 as well as 0 */
    plain_match(source, n, reference, m, want);
    check_poison(got, n);
    rank_match(source, NULL, n, reference, m, 0.0f, got, scratch);
    check_equal("c", want, got, n * sizeof *got);
    for (size_t i = 1; i < m; i++)
        check_true(reference[i - 1] <= reference[i], "the reference is not sorted at %zu", i);

    uint32_t *where = check_bytes(n * sizeof *where);
    float *spread = check_floats(2 * n);
    for (size_t i = 0; i < n; i++) {
        where[i] = (uint32_t)(2 * (n - 1 - i));
        want[i] = 0.75f * source[i] + 0.25f * want[i];
    }
    rank_match(source, where, n, reference, m, 0.75f, spread, scratch);
    for (size_t i = 0; i < n; i++) got[i] = spread[where[i]];
    check_equal("places", want, got, n * sizeof *got);
    check_end();
}

/* --------------------------------------------------------------------------------------------------------- pictures */

typedef struct Pair {
    int frames, h, w;
    size_t plane, count; /* pixels of a frame; floats of a clip */
    float *content, *style, *got;
    double *want;
    void *scratch;
} Pair;

static Pair make_pair(ColorMethod method, int frames, int h, int w)
{
    Pair p = {.frames = frames, .h = h, .w = w, .plane = (size_t)h * (size_t)w};
    p.count = (size_t)frames * 3 * p.plane;
    p.content = check_floats(p.count);
    p.style = check_floats(p.count);
    p.got = check_floats(p.count);
    p.want = check_bytes(p.count * sizeof *p.want);
    p.scratch = check_bytes(color_scratch(method, frames, h, w));
    check_uniform(p.content, p.count, -1.1f, 1.1f);
    check_uniform(p.style, p.count, -0.9f, 1.0f);
    check_poison(p.got, p.count);
    return p;
}

/* As check_close, or, for methods that rank, whose map is not continuous: a mean and a loose maximum. */
static void check_pair(const char *version, const Pair *p, const float *got, bool ranks)
{
    double worst = 0, sum = 0;
    for (size_t i = 0; i < p->count; i++) {
        double d = fabs((double)got[i] - p->want[i]);
        worst = d > worst || isnan(d) ? d : worst;
        sum += d;
    }
    double mean = sum / (double)p->count;
    check_true(ranks ? mean <= 2e-5 && worst <= 0.05 : worst <= 2e-6, "%s: max %g, mean %g", version, worst, mean);
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}
static int clamp_index(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* ---------------------------------------------------------------------------------------------------------- wavelet */

/* The 3x3 kernel of the definition, with its taps r apart. */
static void plain_blur(const double *x, int h, int w, int r, double *out)
{
    static const double kernel[3] = {0.25, 0.5, 0.25};
    for (int y = 0; y < h; y++) {
        for (int c = 0; c < w; c++) {
            double sum = 0;
            for (int j = -1; j <= 1; j++) {
                for (int i = -1; i <= 1; i++) {
                    sum += kernel[j + 1] * kernel[i + 1] * x[clamp_index(y + j * r, h) * w + clamp_index(c + i * r, w)];
                }
            }
            out[y * w + c] = sum;
        }
    }
}

/* Five levels of one plane; high may be NULL. */
static void plain_split(const float *x, int h, int w, bool capped, double *low, double *high, double *blurred)
{
    size_t n = (size_t)h * (size_t)w;
    int widest = (h < w ? h : w) / 8;
    if (widest < 1) widest = 1;
    for (size_t i = 0; i < n; i++) low[i] = (double)x[i];
    for (int r = 1; r <= 16; r *= 2) {
        plain_blur(low, h, w, capped && r > widest ? widest : r, blurred);
        for (size_t i = 0; high != NULL && i < n; i++) high[i] += low[i] - blurred[i];
        memcpy(low, blurred, n * sizeof *low);
    }
}

static void plain_wavelet(const Pair *p, bool capped, double *out)
{
    size_t bytes = p->plane * sizeof(double);
    double *high = check_bytes(bytes), *low = check_bytes(bytes), *blurred = check_bytes(bytes);
    for (size_t at = 0; at < p->count; at += p->plane) {
        memset(high, 0, bytes);
        plain_split(p->content + at, p->h, p->w, capped, low, high, blurred);
        plain_split(p->style + at, p->h, p->w, capped, low, NULL, blurred);
        for (size_t i = 0; i < p->plane; i++) out[at + i] = clamp(high[i] + low[i], -1, 1);
    }
}

static void check_wavelet(int frames, int h, int w, bool capped)
{
    if (!check_begin("color_wavelet_%dx%dx%d%s", frames, h, w, capped ? "" : "_uncapped")) return;
    Pair p = make_pair(COLOR_WAVELET, frames, h, w);
    plain_wavelet(&p, capped, p.want);
    color_wavelet(p.content, p.style, frames, h, w, capped, p.got, p.scratch);
    check_pair("c", &p, p.got, false);
    check_end();
}

/* ------------------------------------------------------------------------------------------------------------ adain */

static void plain_moments(const float *x, size_t n, double *mean, double *deviation)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i];
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += ((double)x[i] - *mean) * ((double)x[i] - *mean);
    *deviation = sqrt(squares / (double)(n - 1) + 1e-5);
}

/* faint: squares are nearly that of the mean alone, which they lose. */
static void check_adain(int frames, int h, int w, bool faint)
{
    if (!check_begin("color_adain_%dx%dx%d%s", frames, h, w, faint ? "_faint" : "")) return;
    Pair p = make_pair(COLOR_ADAIN, frames, h, w);
    for (size_t i = 0; faint && i < p.count; i++) p.content[i] = 0.9f + 0.003f * p.content[i];
    for (size_t at = 0; at < p.count; at += p.plane) {
        double mean = 0, deviation = 1, new_mean = 0, new_deviation = 1;
        if (p.plane > 1) {
            plain_moments(p.content + at, p.plane, &mean, &deviation);
            plain_moments(p.style + at, p.plane, &new_mean, &new_deviation);
        }
        for (size_t i = at; i < at + p.plane; i++) {
            p.want[i] = ((double)p.content[i] - mean) / deviation * new_deviation + new_mean;
        }
    }
    color_adain(p.content, p.style, frames, h, w, false, p.got);
    double worst = 0;
    for (size_t i = 0; i < p.count; i++) worst = fmax(worst, fabs((double)p.got[i] - p.want[i]));
    /* faint: the mean, and distances from it, are rounded to 2^-25 near 0.9, and made 155 times as large */
    check_true(worst <= (faint ? 1e-5 : 2e-6), "max %g", worst);
    check_end();
}

/* -------------------------------------------------------------------------------------------------------------- lab */

enum { EVERY = 1009 }; /* 1 tries all floats, which takes a minute */

/* Units in the last place between a float and what it ought to be. */
static double last_places(float got, double want)
{
    int exponent;
    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1, exponent - 24);
}

static double cube_root(double x) { return cbrt(x); }
static double power(double x) { return pow(x, (double)2.4f); }
static double root(double x) { return pow(x, (double)(1.0f / 2.4f)); }

/* Where colours are in gamut, and some way out of it. The bounds are those of all floats: 0.5 is rounding. */
static void check_root(const char *name, float (*of)(float), double (*plain)(double), double bound)
{
    if (!check_begin("color_%s", name)) return;
    double worst = 0;
    float at = 0;
    for (uint32_t bits = color_bits(0.002f); bits <= color_bits(2.0f); bits += EVERY) {
        const float x = color_float(bits);
        const double apart = last_places(of(x), plain((double)x));
        if (!(apart <= worst)) worst = apart, at = x;
    }
    check_true(worst <= bound, "%g units in the last place at %.9g, bound %g", worst, (double)at, bound);
    check_end();
}

/* What is brighter than white stays so: it is clamped behind the root. */
static void check_bright(void)
{
    if (!check_begin("color_root_2_4_bright")) return;
    for (uint32_t bits = color_bits(1.0f); bits < color_bits(0x1p40f); bits += EVERY) {
        const float x = color_float(bits), y = color_root_2_4(x);
        if (!(y >= 1)) check_true(false, "the root of %.9g is %.9g", (double)x, (double)y), bits = color_bits(0x1p40f);
    }
    check_end();
}

/* a b + c, rounded once: long double holds what is asked of it here. Not fmaf, which C libraries may have from the product's
 * rounded value (mingw-w64's). */
static float multiply_add(float a, float b, float c) { return (float)((long double)a * (long double)b + (long double)c); }

/* The remainders of products, and of products that are nearly 1. */
static void check_beyond(void)
{
    if (!check_begin("color_beyond")) return;
    float x[3];
    for (int i = 0; i < 100000; i++) {
        check_uniform(x, 3, 0.5f, 8);
        const float rounded = x[0] * x[1], inverse = (1 + (x[2] - 4) * 0x1p-9f) / x[0];
        const float low = color_beyond(x[0], x[1], rounded), apart = color_beyond(x[0], inverse, 1);
        if (low == multiply_add(x[0], x[1], -rounded) && apart == multiply_add(x[0], inverse, -1)) continue;
        check_true(false, "%.9g * %.9g or %.9g", (double)x[0], (double)x[1], (double)inverse);
        break;
    }
    check_end();
}

/* GPUs divide by constants in three steps (`divided` in kernels/cuda/color.cu): that must be division. */
static void check_divided(float by)
{
    if (!check_begin("color_divided_%g", (double)by)) return;
    const float inverse = 1 / by;
    for (uint32_t bits = color_bits(1); bits < color_bits(2); bits += EVERY / 10) {
        const float x = color_float(bits), near = x * inverse, rest = multiply_add(-by, near, x);
        const float got = multiply_add(rest, inverse, near);
        if (got == x / by) continue;
        check_true(false, "%.9g becomes %.9g, is %.9g", (double)x, (double)got, (double)(x / by));
        break;
    }
    check_end();
}

static const double white[3] = {0.95047, 1, 1.08883};
static const double to_xyz[3][3] = {
    {0.4124564, 0.3575761, 0.1804375}, {0.2126729, 0.7151522, 0.0721750}, {0.0193339, 0.1191920, 0.9503041}};
static const double to_linear[3][3] = {
    {3.2404542, -1.5371385, -0.4985314}, {-0.9692660, 1.8760108, 0.0415560}, {0.0556434, -0.2040259, 1.0572252}};

static void plain_lab(const double rgb[3], double lab[3])
{
    double linear[3], f[3];
    for (int c = 0; c < 3; c++) {
        double u = clamp((rgb[c] + 1) / 2, 0, 1);
        linear[c] = u > 0.04045 ? pow((u + 0.055) / 1.055, 2.4) : u / 12.92;
    }
    for (int c = 0; c < 3; c++) {
        double v = (to_xyz[c][0] * linear[0] + to_xyz[c][1] * linear[1] + to_xyz[c][2] * linear[2]) / white[c];
        f[c] = v > pow(6.0 / 29, 3) ? cbrt(v) : (pow(29.0 / 3, 3) * v + 16) / 116;
    }
    lab[0] = 116 * f[1] - 16, lab[1] = 500 * (f[0] - f[1]), lab[2] = 200 * (f[1] - f[2]);
}

static void plain_rgb(const double lab[3], double rgb[3])
{
    double f[3], xyz[3];
    f[1] = (lab[0] + 16) / 116, f[0] = lab[1] / 500 + f[1], f[2] = f[1] - lab[2] / 200;
    for (int c = 0; c < 3; c++) {
        xyz[c] = white[c] * (f[c] > 6.0 / 29 ? pow(f[c], 3) : (116 * f[c] - 16) / pow(29.0 / 3, 3));
    }
    for (int c = 0; c < 3; c++) {
        double v = to_linear[c][0] * xyz[0] + to_linear[c][1] * xyz[1] + to_linear[c][2] * xyz[2];
        v = v > 0.0031308 ? 1.055 * pow(v, 1 / 2.4) - 0.055 : 12.92 * v;
        rgb[c] = 2 * clamp(v, 0, 1) - 1;
    }
}

/* Pixel i of the clip, counted over frames, as three doubles from x. */
static size_t pixel_at(const Pair *p, size_t i, size_t c)
{
    return (i / p->plane * 3 + c) * p->plane + i % p->plane;
}

static void plain_lab_method(const Pair *p, double *out)
{
    size_t n = p->plane * (size_t)p->frames;
    float *content = check_floats(3 * n), *style = check_floats(3 * n), *matched = check_floats(3 * n);
    plain_wavelet(p, true, out);
    for (size_t i = 0; i < n; i++) {
        double from[3], to[3], lab[3];
        for (size_t c = 0; c < 3; c++) from[c] = out[pixel_at(p, i, c)], to[c] = (double)p->style[pixel_at(p, i, c)];
        plain_lab(from, lab);
        for (size_t c = 0; c < 3; c++) content[c * n + i] = (float)lab[c];
        plain_lab(to, lab);
        for (size_t c = 0; c < 3; c++) style[c * n + i] = (float)lab[c];
    }
    for (size_t c = 0; c < 3; c++) plain_match(content + c * n, n, style + c * n, n, matched + c * n);
    for (size_t i = 0; i < n; i++) {
        double rgb[3], lab[3] = {0.8 * (double)content[i] + 0.2 * (double)matched[i], (double)matched[n + i],
                                 (double)matched[2 * n + i]};
        plain_rgb(lab, rgb);
        for (size_t c = 0; c < 3; c++) out[pixel_at(p, i, c)] = rgb[c];
    }
}

/* -------------------------------------------------------------------------------------------------------------- hsv */

static double plain_saturation(const double rgb[3])
{
    double most = fmax(rgb[0], fmax(rgb[1], rgb[2])), least = fmin(rgb[0], fmin(rgb[1], rgb[2]));
    return most > 1e-10 ? (most - least) / most : 0;
}

static double plain_hue(const double rgb[3])
{
    double most = fmax(rgb[0], fmax(rgb[1], rgb[2])), d = most - fmin(rgb[0], fmin(rgb[1], rgb[2])), h = 0;
    if (!(d > 1e-10)) return 0;
    if (most == rgb[0]) h = (rgb[1] - rgb[2]) / d + (rgb[1] < rgb[2] ? 6 : 0);
    if (most == rgb[1]) h = (rgb[2] - rgb[0]) / d + 2;
    if (most == rgb[2]) h = (rgb[0] - rgb[1]) / d + 4;
    return h / 6;
}

/* The colour of hue h at full saturation and value, as weights of what lies between grey and pure. */
static void plain_from_hsv(double h, double s, double v, double rgb[3])
{
    for (int c = 0; c < 3; c++) {
        double k = fmod((c == 0 ? 5 : c == 1 ? 3 : 1) + 6 * h, 6);
        rgb[c] = v - v * s * clamp(fmin(k, 4 - k), 0, 1);
    }
}

static void unit_pixel(const Pair *p, const float *x, size_t i, double rgb[3])
{
    for (size_t c = 0; c < 3; c++) rgb[c] = clamp(((double)x[pixel_at(p, i, c)] + 1) / 2, 0, 1);
}

static void plain_hsv_method(const Pair *p, double *out)
{
    size_t n = p->plane * (size_t)p->frames;
    double *hue = check_bytes(2 * n * sizeof *hue);
    float *saturation = check_floats(2 * n), *result = check_floats(n), *from = check_floats(n), *to = check_floats(n);
    float *matched = check_floats(n);
    for (size_t i = 0; i < n; i++) {
        double rgb[3];
        unit_pixel(p, p->content, i, rgb);
        hue[i] = plain_hue(rgb), result[i] = saturation[i] = (float)plain_saturation(rgb);
        unit_pixel(p, p->style, i, rgb);
        hue[n + i] = plain_hue(rgb), saturation[n + i] = (float)plain_saturation(rgb);
    }
    for (int k = 0; k < 12; k++) {
        size_t count[2] = {0, 0};
        for (size_t i = 0; i < 2 * n; i++) {
            bool in = (hue[i] >= k / 12.0 && hue[i] < (k + 1) / 12.0) || (k == 0 && hue[i] >= 11.0 / 12);
            if (in) (i < n ? from : to)[count[i >= n]++] = saturation[i];
        }
        if (count[0] <= 100 || count[1] <= 100) continue;
        plain_match(from, count[0], to, count[1], matched);
        for (size_t i = 0, next = 0; i < n; i++) {
            bool in = (hue[i] >= k / 12.0 && hue[i] < (k + 1) / 12.0) || (k == 0 && hue[i] >= 11.0 / 12);
            if (in) result[i] = matched[next++];
        }
    }
    for (size_t i = 0; i < n; i++) {
        double rgb[3];
        unit_pixel(p, p->content, i, rgb);
        plain_from_hsv(hue[i], (double)result[i], fmax(rgb[0], fmax(rgb[1], rgb[2])), rgb);
        for (size_t c = 0; c < 3; c++) out[pixel_at(p, i, c)] = 2 * rgb[c] - 1;
    }
}

static void plain_adaptive_method(const Pair *p, double *out)
{
    double *hsv = check_bytes(p->count * sizeof *hsv);
    plain_hsv_method(p, hsv);
    plain_wavelet(p, true, out);
    for (size_t i = 0; i < p->plane * (size_t)p->frames; i++) {
        double content[3], style[3], wavelet[3], k = 0;
        unit_pixel(p, p->content, i, content);
        unit_pixel(p, p->style, i, style);
        for (size_t c = 0; c < 3; c++) wavelet[c] = (out[pixel_at(p, i, c)] + 1) / 2;
        double want = plain_saturation(style);
        if (plain_saturation(wavelet) - want > 0.075) k = 1 / (1 + exp(-5 * (plain_saturation(content) - want - 0.15)));
        for (size_t c = 0; c < 3; c++) {
            size_t at = pixel_at(p, i, c);
            out[at] = out[at] * (1 - k) + hsv[at] * k;
        }
    }
}

static void check_ranking(const char *name, ColorMethod method, void (*plain)(const Pair *, double *), int frames,
                          int h, int w)
{
    if (!check_begin("color_%s_%dx%dx%d", name, frames, h, w)) return;
    Pair p = make_pair(method, frames, h, w);
    plain(&p, p.want);
    color_correct(method, p.content, p.style, frames, h, w, p.got, p.scratch);
    check_pair("c", &p, p.got, true);
    float *again = check_floats(p.count);
    memcpy(again, p.content, p.count * sizeof *again);
    color_correct(method, again, p.style, frames, h, w, again, p.scratch);
    check_equal("in place", p.got, again, p.count * sizeof *again);
    check_end();
}

/* Every method on a picture large enough for its passes over memory to count. */
static void bench_method(const char *name, ColorMethod method)
{
    if (!check_benching() || !check_begin("color_%s_1x540x960", name)) return;
    Pair p = make_pair(method, 1, 540, 960);
    CHECK_BENCH("c", 0, 12.0 * (double)p.count,
                color_correct(method, p.content, p.style, 1, p.h, p.w, p.got, p.scratch));
    check_end();
}

/* A picture with the right colours already keeps them. */
static void check_fixpoint(ColorMethod method, const char *name)
{
    if (!check_begin("color_%s_fixpoint", name)) return;
    Pair p = make_pair(method, 2, 19, 23);
    check_uniform(p.content, p.count, -1, 1);
    color_correct(method, p.content, p.content, 2, 19, 23, p.got, p.scratch);
    check_close("c", p.content, p.got, p.count, 2e-5); /* to Lab and back: powers of 2.4 and 1/2.4 in float */
    check_end();
}

static void check_mix(void)
{
    if (!check_begin("color_mix")) return;
    float x[3] = {1, 0.5f, -1}, want[3] = {0.25f, 0.125f, 0.5f};
    const float style[3] = {0, 0, 1};
    color_mix(x, style, 3, 0.25f);
    check_equal("c", want, x, sizeof x);
    check_end();
}

void test_color(void)
{
    check_rank_match(1, 1, 100);
    check_rank_match(1, 9, 100);
    check_rank_match(9, 1, 100);
    check_rank_match(1000, 1000, 3);
    check_rank_match(4096, 4096, 1000000);
    check_rank_match(1031, 777, 10);
    check_rank_match(777, 1031, 1000000);

    check_wavelet(1, 1, 1, true);
    check_wavelet(1, 1, 1, false);
    check_wavelet(2, 5, 6, true);
    check_wavelet(1, 5, 40, false);
    check_wavelet(1, 40, 33, true);
    check_wavelet(1, 40, 33, false);
    check_wavelet(1, 131, 140, true);

    check_adain(1, 1, 1, false);
    check_adain(2, 1, 2, false);
    check_adain(3, 37, 51, false);
    check_adain(1, 137, 151, true);

    /* 30 x 35: about 87 pixels in a bin of hue, which is too few to match */
    static const int sizes[][3] = {{1, 1, 1}, {1, 1, 7}, {1, 30, 35}, {1, 37, 51}, {3, 40, 33}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int *s = sizes[i];
        check_ranking("lab", COLOR_LAB, plain_lab_method, s[0], s[1], s[2]);
        check_ranking("hsv", COLOR_HSV, plain_hsv_method, s[0], s[1], s[2]);
        check_ranking("wavelet_adaptive", COLOR_WAVELET_ADAPTIVE, plain_adaptive_method, s[0], s[1], s[2]);
    }
    check_fixpoint(COLOR_LAB, "lab");
    check_fixpoint(COLOR_HSV, "hsv");
    check_fixpoint(COLOR_WAVELET, "wavelet");
    check_fixpoint(COLOR_WAVELET_ADAPTIVE, "wavelet_adaptive");
    check_fixpoint(COLOR_ADAIN, "adain");
    check_mix();

    check_root("cube_root", color_cube_root, cube_root, 0.503);
    check_root("power_2_4", color_power_2_4, power, 0.559);
    check_root("root_2_4", color_root_2_4, root, 0.521);
    check_bright();
    check_beyond();
    static const float divisors[] = {12.92f, 1.055f, 0.95047f, 1.08883f, 116, 903.296296296f, 500, 200};
    for (size_t i = 0; i < sizeof divisors / sizeof *divisors; i++) check_divided(divisors[i]);

    bench_method("wavelet", COLOR_WAVELET);
    bench_method("adain", COLOR_ADAIN);
    bench_method("lab", COLOR_LAB);
    bench_method("hsv", COLOR_HSV);
    bench_method("wavelet_adaptive", COLOR_WAVELET_ADAPTIVE);
}
