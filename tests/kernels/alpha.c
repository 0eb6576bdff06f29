/*
 * Alpha against restatements in double, and what must come out of pictures that need no arithmetic.
 */
#include "kernels/cpu/alpha.h"

#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Frame {
    int h, w;
    size_t plane;
    ResizeAxis x, y;
    float *alpha, *rgb, *out, *scratch;
    AlphaRule rule;
} Frame;

static bool frame_open(Frame *f, int in_h, int in_w, int h, int w)
{
    memset(f, 0, sizeof *f);
    f->h = h, f->w = w, f->plane = (size_t)h * (size_t)w;
    if (!resize_axis_init(&f->x, in_w, w) || !resize_axis_init(&f->y, in_h, h)) {
        check_true(false, "out of memory for the tables");
        return false;
    }
    f->alpha = check_floats((size_t)in_h * (size_t)in_w);
    f->rgb = check_floats(3 * f->plane);
    f->out = check_floats(f->plane);
    f->scratch = check_bytes(alpha_scratch(&f->x, &f->y) * sizeof *f->scratch);
    check_poison(f->out, f->plane);
    return true;
}

static void frame_close(Frame *f)
{
    resize_axis_free(&f->x);
    resize_axis_free(&f->y);
}

static void frame_run(Frame *f, bool honest)
{
    f->rule = (AlphaRule){0};
    alpha_rule_source(&f->rule, f->alpha, (size_t)f->y.in * (size_t)f->x.in);
    alpha_rule_decoded(&f->rule, f->rgb, 3 * f->plane);
    alpha_upscale(&f->rule, &f->x, &f->y, f->alpha, f->rgb, honest, f->out, f->scratch);
}

/* Mean of a * b around (y, x): samples outside count as zeros, or not at all. */
static double plain_box(const double *a, const double *b, int h, int w, int y, int x, int r, bool honest)
{
    double sum = 0;
    int inside = 0;
    for (int j = y - r; j <= y + r; j++) {
        for (int i = x - r; i <= x + r; i++) {
            if (j < 0 || j >= h || i < 0 || i >= w) continue;
            sum += a[j * w + i] * b[j * w + i];
            inside++;
        }
    }
    return sum / (honest ? inside : (2 * r + 1) * (2 * r + 1));
}

/* The guided filter of radius r, not clamped. */
static void plain_filter(const Frame *f, const float *resized, int r, bool honest, double *out)
{
    size_t bytes = f->plane * sizeof(double);
    double *g = check_bytes(bytes), *p = check_bytes(bytes), *one = check_bytes(bytes);
    double *slope = check_bytes(bytes), *offset = check_bytes(bytes);
    for (size_t i = 0; i < f->plane; i++) {
        double sum = (double)f->rgb[i] + (double)f->rgb[f->plane + i] + (double)f->rgb[2 * f->plane + i];
        g[i] = (sum / 3 + 1) / 2;
        p[i] = (double)resized[i];
        one[i] = 1;
    }
    for (int i = 0; i < f->h * f->w; i++) {
        int y = i / f->w, x = i % f->w;
        double mg = plain_box(g, one, f->h, f->w, y, x, r, honest), mp = plain_box(p, one, f->h, f->w, y, x, r, honest);
        double gg = plain_box(g, g, f->h, f->w, y, x, r, honest), gp = plain_box(g, p, f->h, f->w, y, x, r, honest);
        slope[i] = (gp - mg * mp) / (gg - mg * mg + 0.002);
        offset[i] = mp - slope[i] * mg;
    }
    for (int i = 0; i < f->h * f->w; i++) {
        int y = i / f->w, x = i % f->w;
        out[i] = plain_box(slope, one, f->h, f->w, y, x, r, honest) * g[i] +
                 plain_box(offset, one, f->h, f->w, y, x, r, honest);
    }
}

static double clamp01(double x)
{
    return fmin(fmax(x, 0), 1);
}

static void plain_gradient(const Frame *f, const float *resized, bool honest, float *want)
{
    double *filtered = check_bytes(f->plane * sizeof *filtered);
    plain_filter(f, resized, 3, honest, filtered);
    for (size_t i = 0; i < f->plane; i++) want[i] = (float)clamp01(filtered[i]);
}

/* Sobel magnitudes of the picture in 8-bit grey, largest 1, in steps of 1/255; the border mirrors without repeating. */
static void plain_edges(const Frame *f, double *edges)
{
    double *grey = check_bytes(f->plane * sizeof *grey), largest = 0;
    for (size_t i = 0; i < f->plane; i++) {
        int code[3];
        for (size_t c = 0; c < 3; c++) {
            float u = (f->rgb[c * f->plane + i] + 1) / 2;
            code[c] = (int)(255 * fminf(fmaxf(u, 0), 1));
        }
        grey[i] = (9798 * code[0] + 19235 * code[1] + 3735 * code[2] + 16384) / 32768;
    }
    for (int i = 0; i < f->h * f->w; i++) {
        static const int kernel[3] = {1, 2, 1};
        double gx = 0, gy = 0;
        for (int k = -1; k <= 1; k++) {
            int y = i / f->w, x = i % f->w;
            int up = abs(y - 1), down = y + 1 < f->h ? y + 1 : f->h - 2;
            int left = abs(x - 1), right = x + 1 < f->w ? x + 1 : f->w - 2;
            int row = k < 0 ? up : k > 0 ? down : y, column = k < 0 ? left : k > 0 ? right : x;
            gx += kernel[k + 1] * (grey[row * f->w + right] - grey[row * f->w + left]);
            gy += kernel[k + 1] * (grey[down * f->w + column] - grey[up * f->w + column]);
        }
        edges[i] = hypot(gx, gy);
        largest = fmax(largest, edges[i]);
    }
    for (size_t i = 0; i < f->plane; i++) edges[i] = largest > 0 ? floor(edges[i] / largest * 255) / 255 : 0;
}

static void plain_mask(const Frame *f, const float *resized, bool honest, float *want)
{
    double *filtered = check_bytes(f->plane * sizeof(double)), *edges = check_bytes(f->plane * sizeof(double));
    plain_filter(f, resized, 2, honest, filtered);
    plain_edges(f, edges);
    for (int i = 0; i < f->h * f->w; i++) {
        double zone = 0, e = edges[i], q = filtered[i], k = clamp01(e / 0.25);
        for (int j = 0; j < f->h * f->w; j++) {
            if (abs(j / f->w - i / f->w) <= 1 && abs(j % f->w - i % f->w) <= 1) zone = fmax(zone, edges[j]);
        }
        double v = zone < 0.05 ? q > 0.5 : q * (1 - k) + k / (1 + exp(-12 * (q - 0.5)));
        if (v > 0.3 && v < 0.7 && e <= 0.15) v = v > 0.5;
        want[i] = (float)clamp01(v);
    }
}

static void check_gradient(int in_h, int in_w, int h, int w, bool honest)
{
    if (!check_begin("alpha_gradient_%dx%d_%dx%d%s", in_h, in_w, h, w, honest ? "_honest" : "")) return;
    Frame f;
    if (frame_open(&f, in_h, in_w, h, w)) {
        float *resized = check_floats(f.plane), *want = check_floats(f.plane);
        check_uniform(f.alpha, (size_t)in_h * (size_t)in_w, 0.2f, 0.8f);
        check_uniform(f.rgb, 3 * f.plane, -0.9f, 0.9f);
        f.rgb[0] = -0.5f; /* signed, however few pixels there are */
        alpha_resize(&f.x, &f.y, f.alpha, resized, f.scratch);
        plain_gradient(&f, resized, honest, want);
        frame_run(&f, honest);
        /* variances near 0 are divided by 0.002: rounding of their float means, 6e-8, grows up to 500 times */
        check_close("c", want, f.out, f.plane, 3e-5);
    }
    frame_close(&f);
    check_end();
}

/* A constant alpha stays what it is when only samples inside the picture count. */
static void check_constant(void)
{
    if (!check_begin("alpha_constant")) return;
    Frame f;
    if (frame_open(&f, 9, 11, 18, 22)) {
        float *want = check_floats(f.plane);
        for (int i = 0; i < 9 * 11; i++) f.alpha[i] = 0.8f;
        for (size_t i = 0; i < f.plane; i++) want[i] = 0.8f;
        check_uniform(f.rgb, 3 * f.plane, -1, 1);
        frame_run(&f, true);
        check_close("honest", want, f.out, f.plane, 2e-5);
        frame_run(&f, false);
        check_true(f.out[0] < 0.4f, "zeros outside the picture do not darken the corner: %g", (double)f.out[0]);
    }
    frame_close(&f);
    check_end();
}

static void bench_alpha(int h, int w)
{
    if (!check_benching() || !check_begin("alpha_gradient_%dx%d_%dx%d", h / 4, w / 4, h, w)) return;
    Frame f;
    if (frame_open(&f, h / 4, w / 4, h, w)) {
        check_uniform(f.alpha, (size_t)(h / 4) * (size_t)(w / 4), 0.2f, 0.8f);
        check_uniform(f.rgb, 3 * f.plane, -1, 1);
        CHECK_BENCH("c", 0, 20.0 * (double)f.plane, frame_run(&f, true));
    }
    frame_close(&f);
    check_end();
}

/* A disc over a picture with edges; thresholds make the map discontinuous, so a few samples may fall the other way. */
static void check_mask(int in_h, int in_w, int h, int w, bool honest)
{
    if (!check_begin("alpha_mask_%dx%d_%dx%d%s", in_h, in_w, h, w, honest ? "_honest" : "")) return;
    Frame f;
    if (frame_open(&f, in_h, in_w, h, w)) {
        float *resized = check_floats(f.plane), *want = check_floats(f.plane);
        for (int i = 0; i < in_h * in_w; i++) {
            int dy = 2 * (i / in_w) - in_h, dx = 2 * (i % in_w) - in_w;
            f.alpha[i] = dy * dy + dx * dx < in_h * in_h / 2 ? 1.0f : 0.0f;
        }
        check_uniform(f.rgb, 3 * f.plane, -0.2f, 0.2f);
        for (size_t i = 0; i < 3 * f.plane; i++) f.rgb[i] += i % (size_t)w < (size_t)w / 2 ? -0.7f : 0.7f;
        alpha_resize(&f.x, &f.y, f.alpha, resized, f.scratch);
        plain_mask(&f, resized, honest, want);
        frame_run(&f, honest);
        size_t off = 0;
        for (size_t i = 0; i < f.plane; i++) off += !(fabsf(want[i] - f.out[i]) <= 1e-3f);
        check_true(off <= f.plane / 500, "%zu of %zu samples differ", off, f.plane);
    }
    frame_close(&f);
    check_end();
}

/* A picture of one colour has no edges: the mask is decided everywhere, and the largest edge, 0, divides nothing. */
static void check_mask_flat(void)
{
    if (!check_begin("alpha_mask_flat")) return;
    Frame f;
    if (frame_open(&f, 16, 16, 64, 64)) {
        float *want = check_floats(f.plane);
        for (int i = 0; i < 16 * 16; i++) f.alpha[i] = i % 16 < 8 ? 0.0f : 1.0f;
        for (size_t i = 0; i < f.plane; i++) want[i] = i % 64 < 32 ? 0.0f : 1.0f;
        for (size_t i = 0; i < 3 * f.plane; i++) f.rgb[i] = -0.25f;
        frame_run(&f, true);
        check_equal("c", want, f.out, f.plane * sizeof *f.out);
    }
    frame_close(&f);
    check_end();
}

static void check_rule(void)
{
    if (!check_begin("alpha_rule")) return;
    AlphaRule r = {0};
    float alpha[20];
    const float rgb[3] = {0.5f, -1.5f, 2.0f};
    for (int i = 0; i < 20; i++) alpha[i] = i < 10 ? 0.05f : i < 19 ? 0.95f : 0.5f;
    alpha_rule_source(&r, alpha, 10);
    alpha_rule_source(&r, alpha + 10, 10);
    check_true(r.samples == 20 && r.extreme == 19, "%d of %d", (int)r.extreme, (int)r.samples);
    alpha_rule_decoded(&r, rgb, 1);
    check_true(r.lowest == 0, "lowest %g without a negative sample", (double)r.lowest);
    alpha_rule_decoded(&r, rgb, 3);
    check_true(r.lowest == -1.5f, "lowest %g", (double)r.lowest);
    check_end();
}

static void check_resize_only(void)
{
    if (!check_begin("alpha_resize")) return;
    Frame f;
    if (frame_open(&f, 5, 7, 20, 28)) {
        for (int i = 0; i < 35; i++) f.alpha[i] = i % 3 == 0 ? 1.0f : 0.0f; /* overshoots without the clamp */
        alpha_resize(&f.x, &f.y, f.alpha, f.out, f.scratch);
        float low = 1, high = 0;
        for (size_t i = 0; i < f.plane; i++) low = fminf(low, f.out[i]), high = fmaxf(high, f.out[i]);
        check_true(low == 0 && high == 1, "from %g to %g", (double)low, (double)high);
    }
    frame_close(&f);
    check_end();
}

void test_alpha(void)
{
    static const int sizes[][4] = {{1, 1, 1, 1}, {1, 1, 2, 3}, {3, 5, 6, 10}, {17, 23, 34, 46}, {20, 9, 11, 30}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int *s = sizes[i];
        check_gradient(s[0], s[1], s[2], s[3], true);
        check_gradient(s[0], s[1], s[2], s[3], false);
    }
    check_constant();
    check_mask(17, 23, 34, 46, true);
    check_mask(17, 23, 34, 46, false);
    check_mask(13, 13, 41, 29, true);
    check_mask_flat();
    check_rule();
    check_resize_only();
    bench_alpha(540, 960);
}
