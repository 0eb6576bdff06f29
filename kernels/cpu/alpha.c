#include "kernels/cpu/alpha.h"

#include "kernels/cpu/clamp.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const float guide_eps = 0.002f; /* variance of the guide that counts as an edge */
enum { RADIUS_MASK = 2, RADIUS_GRADIENT = 3 };

void alpha_rule_source(AlphaRule *r, const float *alpha, size_t count)
{
    int64_t extreme = 0;
    for (size_t i = 0; i < count; i++) extreme += alpha[i] < 0.1f || alpha[i] > 0.9f;
    r->extreme += extreme;
    r->samples += (int64_t)count;
}

void alpha_rule_decoded(AlphaRule *r, const float *rgb, size_t count)
{
    float lowest = r->lowest;
    for (size_t i = 0; i < count; i++) lowest = rgb[i] < lowest ? rgb[i] : lowest;
    r->lowest = lowest;
}

static bool is_mask(const AlphaRule *r)
{
    return r->samples > 0 && (float)r->extreme / (float)r->samples > 0.95f;
}

/* ---------------------------------------------------------------------------------------------------- guided filter */

/* Floats taken by the double row that box_mean sums in. */
static size_t box_row_floats(int w)
{
    return 2 * ((size_t)w + 2 * RADIUS_GRADIENT);
}

/* Mean of a * b (b NULL: of a) over (2r + 1)^2 samples around each. `row` holds w + 2r doubles. */
static void box_mean(const float *a, const float *b, int h, int w, int r, bool honest, float *out, double *row)
{
    const int side = 2 * r + 1;
    for (int y = 0; y < h; y++) {
        int top = y - r > 0 ? y - r : 0, bottom = y + r < h ? y + r : h - 1;
        memset(row, 0, ((size_t)w + 2 * (size_t)r) * sizeof *row);
        for (int j = top; j <= bottom; j++) {
            const float *a_row = a + (size_t)j * (size_t)w;
            const float *b_row = b != NULL ? b + (size_t)j * (size_t)w : NULL;
            if (b_row != NULL) {
                for (int x = 0; x < w; x++) row[r + x] += (double)(a_row[x] * b_row[x]);
            } else {
                for (int x = 0; x < w; x++) row[r + x] += (double)a_row[x];
            }
        }
        float *dst = out + (size_t)y * (size_t)w;
        for (int x = 0; x < w; x++) {
            double sum = 0.0;
            for (int i = 0; i < side; i++) sum += row[x + i];
            int left = x - r > 0 ? x - r : 0, right = x + r < w ? x + r : w - 1;
            int samples = honest ? (bottom - top + 1) * (right - left + 1) : side * side;
            dst[x] = (float)(sum / samples);
        }
    }
}

/* He, Sun, Tang (2010): p led by the guide g, into q (may be p). planes: four of h * w. */
static void guided_filter(const float *g, const float *p, int h, int w, int r, bool honest, float *q, float *planes,
                          double *row)
{
    size_t n = (size_t)h * (size_t)w;
    float *mean_g = planes, *mean_p = mean_g + n, *slope = mean_p + n, *offset = slope + n;
    float *var = slope, *cov = offset;
    box_mean(g, NULL, h, w, r, honest, mean_g, row);
    box_mean(p, NULL, h, w, r, honest, mean_p, row);
    box_mean(g, g, h, w, r, honest, var, row);
    box_mean(g, p, h, w, r, honest, cov, row);
    for (size_t i = 0; i < n; i++) {
        float a = (cov[i] - mean_g[i] * mean_p[i]) / (var[i] - mean_g[i] * mean_g[i] + guide_eps);
        slope[i] = a;
        offset[i] = mean_p[i] - a * mean_g[i];
    }
    float *mean_slope = mean_g, *mean_offset = mean_p;
    box_mean(slope, NULL, h, w, r, honest, mean_slope, row);
    box_mean(offset, NULL, h, w, r, honest, mean_offset, row);
    for (size_t i = 0; i < n; i++) q[i] = mean_slope[i] * g[i] + mean_offset[i];
}

/* ------------------------------------------------------------------------------------------------------------ edges */

static int reflect(int i, int n)
{
    if (n == 1) return 0;
    return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i;
}

/*
 * Sobel gradient of the picture in 8-bit grey, in steps of 1/255 of its largest value, as OpenCV computes it. Every
 * number up to the squared magnitude is an integer below 2^24, so floats hold it exactly. grey: one plane.
 */
static void sobel_edges(const float *guide, bool shifted, int h, int w, float *edges, float *grey)
{
    size_t n = (size_t)h * (size_t)w;
    float largest = 0.0f;
    for (size_t i = 0; i < n; i++) {
        int code[3];
        for (size_t c = 0; c < 3; c++) {
            float u = guide[c * n + i];
            if (shifted) u = (u + 1.0f) / 2.0f;
            code[c] = (int)(clamp_unit(u) * 255.0f);
        }
        grey[i] = (float)((code[0] * 9798 + code[1] * 19235 + code[2] * 3735 + 16384) >> 15);
    }
    for (int y = 0; y < h; y++) {
        const float *above = grey + (size_t)reflect(y - 1, h) * (size_t)w, *here = grey + (size_t)y * (size_t)w;
        const float *below = grey + (size_t)reflect(y + 1, h) * (size_t)w;
        for (int x = 0; x < w; x++) {
            int l = reflect(x - 1, w), r = reflect(x + 1, w);
            float gx = above[r] - above[l] + 2.0f * (here[r] - here[l]) + (below[r] - below[l]);
            float gy = below[l] - above[l] + 2.0f * (below[x] - above[x]) + (below[r] - above[r]);
            float square = gx * gx + gy * gy;
            edges[(size_t)y * (size_t)w + (size_t)x] = square;
            largest = square > largest ? square : largest;
        }
    }
    double top = sqrt((double)largest);
    for (size_t i = 0; i < n; i++) {
        edges[i] = largest > 0.0f ? (float)(int)(sqrt((double)edges[i]) / top * 255.0) / 255.0f : 0.0f;
    }
}

/* Largest value of the 3x3 samples around (y, x) that exist. */
static float zone_max(const float *edges, int h, int w, int y, int x)
{
    float most = 0.0f;
    for (int j = y > 0 ? y - 1 : 0; j <= y + 1 && j < h; j++) {
        for (int i = x > 0 ? x - 1 : 0; i <= x + 1 && i < w; i++) {
            float e = edges[(size_t)j * (size_t)w + (size_t)i];
            most = e > most ? e : most;
        }
    }
    return most;
}

/* A mask's edge is steepened where the picture has one; far from edges it is decided one way or the other. */
static float mask_value(float filtered, float edge, float zone)
{
    float decided = filtered > 0.5f ? 1.0f : 0.0f;
    if (zone < 0.05f) return decided;
    float sharp = 1.0f / (1.0f + expf(-(filtered - 0.5f) * 12.0f));
    float k = clamp_unit(edge / 0.25f);
    float v = filtered * (1.0f - k) + sharp * k;
    if (v > 0.3f && v < 0.7f && !(edge > 0.15f)) return v > 0.5f ? 1.0f : 0.0f;
    return clamp_unit(v);
}

/* ------------------------------------------------------------------------------------------------------------ whole */

/* A row of doubles, then planes: grey guide, edges, four of the filter. The guide in colour shares the filter's. */
static const size_t planes_used = 6;

size_t alpha_scratch(const ResizeAxis *x, const ResizeAxis *y)
{
    size_t need = box_row_floats(x->out) + planes_used * (size_t)y->out * (size_t)x->out;
    size_t resize = resize_scratch(x, y);
    return need > resize ? need : resize;
}

void alpha_resize(const ResizeAxis *x, const ResizeAxis *y, const float *alpha, float *out, float *scratch)
{
    resize_planes(x, y, alpha, 1, out, scratch);
    size_t n = (size_t)y->out * (size_t)x->out;
    for (size_t i = 0; i < n; i++) out[i] = clamp_unit(out[i]);
}

void alpha_upscale(const AlphaRule *rule, const ResizeAxis *x, const ResizeAxis *y, const float *alpha,
                   const float *rgb, bool honest, float *out, float *scratch)
{
    const int h = y->out, w = x->out;
    size_t n = (size_t)h * (size_t)w;
    alpha_resize(x, y, alpha, out, scratch);

    double *row = (double *)(void *)scratch;
    float *grey = scratch + box_row_floats(w), *edges = grey + n, *planes = edges + n;
    float *guide = planes;
    const bool from_signed = rule->lowest < 0.0f;
    for (size_t i = 0; i < 3 * n; i++) guide[i] = from_signed ? (rgb[i] + 1.0f) / 2.0f : rgb[i];
    for (size_t i = 0; i < n; i++) grey[i] = (guide[i] + guide[n + i] + guide[2 * n + i]) / 3.0f;

    if (!is_mask(rule)) {
        guided_filter(grey, out, h, w, RADIUS_GRADIENT, honest, out, planes, row);
        for (size_t i = 0; i < n; i++) out[i] = clamp_unit(out[i]);
        return;
    }
    sobel_edges(guide, rule->lowest < -1.0f, h, w, edges, planes + 3 * n);
    guided_filter(grey, out, h, w, RADIUS_MASK, honest, out, planes, row);
    for (int r = 0; r < h; r++) {
        for (int c = 0; c < w; c++) {
            size_t at = (size_t)r * (size_t)w + (size_t)c;
            out[at] = mask_value(out[at], edges[at], zone_max(edges, h, w, r, c));
        }
    }
}
