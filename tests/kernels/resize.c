/*
 * Resizing against a dense restatement in double, and encoder input built from it.
 */
#include "kernels/cpu/resize.h"

#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

/* Keys' cubic, a = -0.5, as the polynomials of the paper. */
static double keys(double x)
{
    x = fabs(x);
    if (x < 1) return 1.5 * x * x * x - 2.5 * x * x + 1;
    return x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
}

/* Weight of input j in output i: the kernel over every input there is, so no window has to be right. */
static double dense_weight(int in, int out, int i, int j)
{
    double scale = (double)in / out, stretch = scale > 1 ? scale : 1, center = scale * (i + 0.5), sum = 0;
    if (in == out) return i == j;
    for (int k = 0; k < in; k++) sum += keys((k + 0.5 - center) / stretch);
    return keys((j + 0.5 - center) / stretch) / sum;
}

static void dense_resize(const float *src, int h, int w, int out_h, int out_w, float *dst)
{
    for (int y = 0; y < out_h; y++) {
        for (int x = 0; x < out_w; x++) {
            double sum = 0;
            for (int j = 0; j < h; j++) {
                double wy = dense_weight(h, out_h, y, j);
                for (int i = 0; wy != 0 && i < w; i++)
                    sum += wy * dense_weight(w, out_w, x, i) * (double)src[j * w + i];
            }
            dst[y * out_w + x] = (float)sum;
        }
    }
}

typedef struct Axes {
    ResizeAxis x, y;
} Axes;

static bool axes_open(Axes *a, int h, int w, int out_h, int out_w)
{
    memset(a, 0, sizeof *a);
    bool ok = resize_axis_init(&a->x, w, out_w) && resize_axis_init(&a->y, h, out_h);
    check_true(ok, "out of memory for the tables");
    return ok;
}

static void axes_close(Axes *a)
{
    resize_axis_free(&a->x);
    resize_axis_free(&a->y);
}

static void check_resize(int h, int w, int out_h, int out_w, int planes)
{
    if (!check_begin("resize_%dx%d_%dx%d", h, w, out_h, out_w)) return;
    Axes a;
    if (axes_open(&a, h, w, out_h, out_w)) {
        size_t from = (size_t)h * (size_t)w, to = (size_t)out_h * (size_t)out_w, n = (size_t)planes;
        float *src = check_floats(n * from), *want = check_floats(n * to), *got = check_floats(n * to);
        float *scratch = check_floats(resize_scratch(&a.x, &a.y));
        check_uniform(src, n * from, 0, 1);
        check_poison(got, n * to);
        check_poison(scratch, resize_scratch(&a.x, &a.y));
        for (size_t p = 0; p < n; p++) dense_resize(src + p * from, h, w, out_h, out_w, want + p * to);
        resize_planes(&a.x, &a.y, src, planes, got, scratch);
        /* weights and sums are rounded to float: 2^-24 each, over the taps of both axes like a random walk */
        check_close("c", want, got, n * to, 2.4e-7 * sqrt(a.x.taps + a.y.taps));
    }
    axes_close(&a);
    check_end();
}

/* The form the pipeline has most: a picture to four times its size. */
static void bench_resize(int h, int w)
{
    if (!check_benching() || !check_begin("resize_%dx%d_%dx%d", h, w, 4 * h, 4 * w)) return;
    Axes a;
    if (axes_open(&a, h, w, 4 * h, 4 * w)) {
        size_t from = (size_t)h * (size_t)w;
        float *src = check_floats(from), *dst = check_floats(16 * from);
        float *scratch = check_floats(resize_scratch(&a.x, &a.y));
        check_uniform(src, from, 0, 1);
        CHECK_BENCH("c", 2.0 * (4 * 4 + 4 * 16) * (double)from, 4.0 * 17 * (double)from,
                    resize_planes(&a.x, &a.y, src, 1, dst, scratch));
    }
    axes_close(&a);
    check_end();
}

static void check_transform(int h, int w, int steps, const int sizes[2][2], int top, int left, int keep_h, int keep_w,
                            int out_h, int out_w, bool edge)
{
    if (!check_begin("frame_transform_%dx%d_%d_%dx%d%s", h, w, steps, out_h, out_w, edge ? "_edge" : "")) return;
    FrameTransform t;
    if (frame_transform_init(&t, h, w, steps, sizes)) {
        frame_transform_window(&t, top, left, keep_h, keep_w, out_h, out_w, edge);
        size_t from = (size_t)h * (size_t)w, to = (size_t)out_h * (size_t)out_w;
        float *unit = check_floats(3 * from), *got = check_floats(3 * to), *want = check_floats(3 * to);
        float *scratch = check_floats(frame_transform_scratch(&t));
        check_uniform(unit, 3 * from, 0, 1);
        check_poison(got, 3 * to);
        for (size_t p = 0; p < 3; p++) {
            const float *at = unit + p * from;
            int at_h = h, at_w = w;
            for (int i = 0; i < steps; i++) {
                float *next = check_floats((size_t)sizes[i][0] * (size_t)sizes[i][1]);
                dense_resize(at, at_h, at_w, sizes[i][0], sizes[i][1], next);
                at = next, at_h = sizes[i][0], at_w = sizes[i][1];
            }
            for (int y = 0; y < out_h; y++) {
                for (int x = 0; x < out_w; x++) {
                    bool inside = y < keep_h && x < keep_w;
                    int sy = top + (y < keep_h ? y : keep_h - 1), sx = left + (x < keep_w ? x : keep_w - 1);
                    double u = inside || edge ? (double)at[sy * at_w + sx] : 0;
                    want[p * to + (size_t)(y * out_w + x)] = (float)(2 * fmin(fmax(u, 0), 1) - 1);
                }
            }
        }
        frame_transform(&t, unit, 3, got, scratch);
        check_close("c", want, got, 3 * to, 2e-6);
    } else {
        check_true(false, "out of memory for the tables");
    }
    frame_transform_free(&t);
    check_end();
}

void test_resize(void)
{
    check_resize(1, 1, 1, 1, 2);
    check_resize(1, 1, 7, 5, 1);
    check_resize(1, 9, 3, 1, 1);
    check_resize(2, 3, 37, 1, 1);
    check_resize(13, 17, 13, 17, 3);
    check_resize(13, 17, 13, 68, 1);
    check_resize(18, 31, 72, 124, 3);
    check_resize(27, 45, 41, 67, 2);
    check_resize(64, 57, 3, 2, 1); /* support wider than the picture */
    check_resize(41, 67, 17, 23, 2);
    check_resize(30, 20, 21, 55, 1);
    bench_resize(270, 480);

    const int none[2][2] = {{0, 0}, {0, 0}}, up[2][2] = {{36, 60}, {0, 0}}, twice[2][2] = {{40, 66}, {34, 56}};
    check_transform(17, 31, 0, none, 0, 0, 17, 31, 32, 32, false);
    check_transform(17, 31, 0, none, 0, 0, 17, 31, 32, 32, true);
    check_transform(27, 45, 1, up, 0, 0, 36, 60, 48, 64, false);
    check_transform(27, 45, 1, up, 0, 0, 36, 60, 48, 64, true);
    check_transform(27, 45, 2, twice, 0, 0, 34, 56, 48, 64, true);
    check_transform(27, 45, 1, up, 2, 6, 32, 48, 32, 48, false);
}
