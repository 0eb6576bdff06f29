#include "kernels/cpu/color_plane.h"

#include "kernels/cpu/clamp.h"

#include <math.h>

enum { LEVELS = 5 };

static void moments(const float *x, size_t n, double *mean, double *deviation)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += (x[i] - *mean) * (x[i] - *mean);
    *deviation = sqrt(squares / (double)n + 1e-5);
}

void color_plane_adain(const float *x, const float *like, int planes, int h, int w, float *out)
{
    size_t n = (size_t)h * (size_t)w;
    for (int p = 0; p < planes; p++) {
        const float *content = x + (size_t)p * n;
        float *to = out + (size_t)p * n;
        double from_mean, from_deviation, to_mean, to_deviation;
        moments(content, n, &from_mean, &from_deviation);
        moments(like + (size_t)p * n, n, &to_mean, &to_deviation);
        float gain = (float)(to_deviation / from_deviation), centre = (float)from_mean, shift = (float)to_mean;
        for (size_t i = 0; i < n; i++) to[i] = clamp_signed((content[i] - centre) * gain + shift);
    }
}

static size_t inside(ptrdiff_t i, int n)
{
    return i < 0 ? 0 : i >= n ? (size_t)n - 1 : (size_t)i;
}

/* out = a / 4 + b / 2 + c / 4 of three rows. */
static void mix_rows(const float *a, const float *b, const float *c, int w, float *out)
{
    for (int i = 0; i < w; i++) out[i] = 0.25f * (a[i] + c[i]) + 0.5f * b[i];
}

static void blur_row(const float *x, int w, int step, float *out)
{
    for (int i = 0; i < w; i++) out[i] = 0.25f * (x[inside(i - step, w)] + x[inside(i + step, w)]) + 0.5f * x[i];
}

/* All blurs of one plane: x to out by way of between; the three do not overlap. */
static void coarse(const float *x, int h, int w, float *out, float *between)
{
    size_t row = (size_t)w;
    for (int level = 0; level < LEVELS; level++) {
        int step = 1 << level;
        for (int y = 0; y < h; y++) blur_row(x + (size_t)y * row, w, step, between + (size_t)y * row);
        for (int y = 0; y < h; y++)
            mix_rows(between + inside(y - step, h) * row, between + (size_t)y * row,
                     between + inside(y + step, h) * row, w, out + (size_t)y * row);
        x = out;
    }
}

size_t color_plane_scratch(int h, int w)
{
    return 3 * (size_t)h * (size_t)w;
}

void color_plane_wavelet(const float *x, const float *like, int planes, int h, int w, float *out, float *scratch)
{
    size_t n = (size_t)h * (size_t)w;
    float *low = scratch, *low_like = scratch + n, *between = scratch + 2 * n;
    for (int p = 0; p < planes; p++) {
        const float *content = x + (size_t)p * n;
        float *to = out + (size_t)p * n;
        coarse(content, h, w, low, between);
        coarse(like + (size_t)p * n, h, w, low_like, between);
        for (size_t i = 0; i < n; i++) to[i] = clamp_signed(content[i] - low[i] + low_like[i]);
    }
}
