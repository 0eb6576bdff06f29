#include "kernels/cpu/resize.h"

#include "kernels/cpu/clamp.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int max_int(int a, int b)
{
    return a > b ? a : b;
}
static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* Keys' cubic convolution kernel with a = -0.5. */
static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

/* The inputs lo .. hi - 1 under output i, and the kernel's centre and stretch. */
typedef struct Reach {
    double center, stretch;
    int lo, hi;
} Reach;

static Reach reach(int in, int out, int i)
{
    double scale = (double)in / out;
    double stretch = scale > 1.0 ? scale : 1.0;
    double center = scale * (i + 0.5), support = 2.0 * stretch;
    return (Reach){center, stretch, max_int((int)(center - support + 0.5), 0),
                   min_int((int)(center + support + 0.5), in)};
}

bool resize_axis_init(ResizeAxis *a, int in, int out)
{
    assert(in >= 1 && out >= 1);
    int taps = 1;
    for (int i = 0; in != out && i < out; i++) {
        Reach r = reach(in, out, i);
        taps = max_int(taps, r.hi - r.lo);
    }
    *a = (ResizeAxis){.in = in, .out = out, .taps = taps};
    a->first = malloc((size_t)out * sizeof *a->first);
    a->weight = calloc((size_t)out * (size_t)taps, sizeof *a->weight);
    if (a->first == NULL || a->weight == NULL) {
        resize_axis_free(a);
        return false;
    }
    for (int i = 0; i < out; i++) {
        float *weight = a->weight + (size_t)i * (size_t)taps;
        if (in == out) {
            a->first[i] = i;
            weight[0] = 1.0f;
            continue;
        }
        Reach r = reach(in, out, i);
        double sum = 0.0;
        for (int j = r.lo; j < r.hi; j++) sum += cubic((j - r.center + 0.5) / r.stretch);
        /* Outputs at the borders reach fewer inputs; zeros in front keep the window inside the picture. */
        a->first[i] = min_int(r.lo, in - taps);
        for (int j = r.lo; j < r.hi; j++) {
            weight[j - a->first[i]] = (float)(cubic((j - r.center + 0.5) / r.stretch) / sum);
        }
    }
    return true;
}

void resize_axis_free(ResizeAxis *a)
{
    free(a->first);
    free(a->weight);
    *a = (ResizeAxis){0};
}

/* A window of rows resized in width, as many as one output row needs. */
size_t resize_scratch(const ResizeAxis *x, const ResizeAxis *y)
{
    return (size_t)y->taps * (size_t)x->out;
}

static void resize_row(const ResizeAxis *x, const float *src, float *dst)
{
    for (int i = 0; i < x->out; i++) {
        const float *weight = x->weight + (size_t)i * (size_t)x->taps;
        const float *at = src + x->first[i];
        float sum = 0.0f;
        for (int k = 0; k < x->taps; k++) sum += weight[k] * at[k];
        dst[i] = sum;
    }
}

void resize_rows(const ResizeAxis *x, const ResizeAxis *y, const float *src, size_t src_row, int begin, int end, float *dst,
                 float *scratch)
{
    size_t out_w = (size_t)x->out;
    int next = 0; /* first row not yet resized in width; row r lives in slot r % taps */
    for (int i = begin; i < end; i++) {
        int first = y->first[i];
        const float *weight = y->weight + (size_t)i * (size_t)y->taps;
        for (next = max_int(next, first); next < first + y->taps; next++) {
            resize_row(x, src + (size_t)next * src_row, scratch + (size_t)(next % y->taps) * out_w);
        }
        memset(dst, 0, out_w * sizeof *dst);
        for (int k = 0; k < y->taps; k++) {
            const float *row = scratch + (size_t)((first + k) % y->taps) * out_w;
            float w = weight[k];
            for (size_t j = 0; j < out_w; j++) dst[j] += w * row[j];
        }
        dst += out_w;
    }
}

void resize_planes(const ResizeAxis *x, const ResizeAxis *y, const float *src, int planes, float *dst, float *scratch)
{
    for (int p = 0; p < planes; p++) {
        resize_rows(x, y, src, (size_t)x->in, 0, y->out, dst, scratch);
        src += (size_t)y->in * (size_t)x->in;
        dst += (size_t)y->out * (size_t)x->out;
    }
}

/* ------------------------------------------------------------------------------------------- frames for the encoder */

bool frame_transform_init(FrameTransform *t, int in_h, int in_w, int steps, const int (*sizes)[2])
{
    assert(steps >= 0 && steps <= 2);
    *t = (FrameTransform){.in_h = in_h, .in_w = in_w, .steps = steps};
    int h = in_h, w = in_w;
    for (int i = 0; i < steps; i++) {
        if (!resize_axis_init(&t->y[i], h, sizes[i][0]) || !resize_axis_init(&t->x[i], w, sizes[i][1])) {
            frame_transform_free(t);
            return false;
        }
        h = sizes[i][0];
        w = sizes[i][1];
    }
    frame_transform_window(t, 0, 0, h, w, h, w, false);
    return true;
}

void frame_transform_window(FrameTransform *t, int top, int left, int window_h, int window_w, int out_h, int out_w,
                            bool pad_edge)
{
    assert(top >= 0 && left >= 0 && window_h >= 1 && window_w >= 1 && out_h >= window_h && out_w >= window_w);
    t->top = top;
    t->left = left;
    t->window_h = window_h;
    t->window_w = window_w;
    t->out_h = out_h;
    t->out_w = out_w;
    t->pad_edge = pad_edge;
}

void frame_transform_free(FrameTransform *t)
{
    for (int i = 0; i < 2; i++) {
        resize_axis_free(&t->x[i]);
        resize_axis_free(&t->y[i]);
    }
    t->steps = 0;
}

static size_t step_plane(const FrameTransform *t, int step)
{
    return (size_t)t->y[step].out * (size_t)t->x[step].out;
}

size_t frame_transform_scratch(const FrameTransform *t)
{
    size_t planes = 0, rows = 0;
    for (int i = 0; i < t->steps; i++) {
        size_t need = resize_scratch(&t->x[i], &t->y[i]);
        planes += step_plane(t, i);
        rows = need > rows ? need : rows;
    }
    return planes + rows;
}

static void window_plane(const FrameTransform *t, const float *unit, int unit_w, float *out)
{
    size_t out_w = (size_t)t->out_w;
    for (int y = 0; y < t->window_h; y++) {
        const float *src = unit + (size_t)(t->top + y) * (size_t)unit_w + t->left;
        float *dst = out + (size_t)y * out_w;
        for (int x = 0; x < t->window_w; x++) {
            dst[x] = clamp_unit(src[x]) * 2.0f - 1.0f;
        }
        float fill = t->pad_edge ? dst[t->window_w - 1] : -1.0f;
        for (int x = t->window_w; x < t->out_w; x++) dst[x] = fill;
    }
    for (int y = t->window_h; y < t->out_h; y++) {
        float *dst = out + (size_t)y * out_w;
        if (t->pad_edge) {
            memcpy(dst, out + (size_t)(t->window_h - 1) * out_w, out_w * sizeof *dst);
        } else {
            for (int x = 0; x < t->out_w; x++) dst[x] = -1.0f;
        }
    }
}

void frame_transform(const FrameTransform *t, const float *unit, int planes, float *out, float *scratch)
{
    float *step_out[2] = {scratch, scratch + (t->steps > 0 ? step_plane(t, 0) : 0)};
    float *rows = step_out[1] + (t->steps > 1 ? step_plane(t, 1) : 0);
    for (int p = 0; p < planes; p++) {
        const float *src = unit + (size_t)p * (size_t)t->in_h * (size_t)t->in_w;
        int w = t->in_w;
        for (int i = 0; i < t->steps; i++) {
            resize_planes(&t->x[i], &t->y[i], src, 1, step_out[i], rows);
            src = step_out[i];
            w = t->x[i].out;
        }
        window_plane(t, src, w, out + (size_t)p * (size_t)t->out_h * (size_t)t->out_w);
    }
}
