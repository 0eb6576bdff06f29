/* Whole pictures on the CPU: noise, resizing, codes, colours. The threads take turns in rows; colours are one thread's. */
#include "kernels/cpu/clamp.h"
#include "kernels/cpu/color.h"
#include "kernels/cpu/noise.h"
#include "kernels/cpu/pad.h"
#include "kernels/cpu/quantize.h"
#include "kernels/cpu/resize.h"
#include "runtime/dev_internal.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------------- noise */

typedef struct NoiseRun {
    Dev *d;
    const NoiseArgs *a;
} NoiseRun;

static void noise_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    const NoiseRun *r = context;
    const NoiseArgs *a = r->a;
    const int t = (int)(i / a->x.h), y = (int)(i % a->x.h), c = a->x.c, pad = a->x.c_pad;
    const int64_t frame = a->frame + (int64_t)t * a->frame_step;
    float *to = tensor_at(r->d, a->x, t, y, 0);
    for (int x = 0; x < a->x.w; x++, to += pad) {
        position_noise(a->seed, a->stream, frame, a->top + y, a->left + x, 1, 1, c, to);
        for (int k = c; k < pad; k++) to[k] = 0.0f;
    }
}

void cpu_noise(Dev *d, const NoiseArgs *a)
{
    NoiseRun r = {d, a};
    if (d->memory != NULL) pool_run(d->pool, (int64_t)a->x.t * a->x.h, noise_turn, &r);
}

typedef struct InputNoiseRun {
    Dev *d;
    Tensor planes;
    double scale;
    uint64_t seed;
    int64_t frame;
} InputNoiseRun;

static void input_noise_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    const InputNoiseRun *r = context;
    input_noise_row(tensor_at(r->d, r->planes, 0, (int)i, 0), (size_t)r->planes.stride_t, r->planes.c, (int)i, r->scale,
                    r->seed, r->frame);
}

void cpu_input_noise(Dev *d, Tensor planes, double scale, uint64_t seed, int64_t frame)
{
    InputNoiseRun r = {d, planes, scale, seed, frame};
    if (d->memory != NULL) pool_run(d->pool, planes.h, input_noise_turn, &r);
}

/* ------------------------------------------------------------------------------------------------------------ resize */

enum { BAND = 32 }; /* rows of a turn: each begins with widths that its neighbour makes, too */

typedef struct ResizeRun {
    Dev *d;
    const ResizeArgs *a;
    ResizeWindow window;
    bool mirror;
    float *scratch;
    size_t scratch_floats; /* of a thread */
} ResizeRun;

static int lesser(int a, int b) { return a < b ? a : b; }

/* The row of the resized picture that is shown in row y of the result. */
static int row_at(const ResizeRun *r, int y)
{
    const ResizeWindow *w = &r->window;
    return w->around ? pad_source(w->top + y, w->h, r->mirror) : w->top + lesser(y, w->h - 1);
}

static void row_around(const ResizeRun *r, const float *row, float *out)
{
    const ResizeWindow *w = &r->window;
    for (int x = 0; x < r->a->y.c; x++) out[x] = row[pad_source(w->left + x, w->w, r->mirror)] * 2.0f - 1.0f;
}

/* Row `row` of the resized picture as row y of the result. */
static void window_row(const ResizeRun *r, int plane, int y, const float *row)
{
    const Tensor to = r->a->y;
    const ResizeWindow *w = &r->window;
    const bool filled = y >= w->h && !w->pad_edge;
    float *out = tensor_at(r->d, to, plane, y, 0);
    if (w->around) row_around(r, row, out);
    for (int x = 0; x < to.c && !w->around; x++) {
        const float value = row[w->left + lesser(x, w->w - 1)];
        if (r->a->window == NULL) out[x] = value;
        else out[x] = filled || (x >= w->w && !w->pad_edge) ? -1.0f : clamp_unit(value) * 2.0f - 1.0f;
    }
    for (int x = to.c; x < to.c_pad; x++) out[x] = 0.0f;
}

static void resize_turn(void *context, int64_t i, int thread)
{
    const ResizeRun *r = context;
    const ResizeArgs *a = r->a;
    const int bands = (a->y.h + BAND - 1) / BAND, plane = (int)(i / bands), y = (int)(i % bands) * BAND;
    const int end = lesser(y + BAND, a->y.h);
    int first = row_at(r, y), last = first;
    for (int k = y + 1; k < end; k++) {
        const int at = row_at(r, k);
        if (at < first) first = at;
        if (at > last) last = at;
    }
    float *scratch = r->scratch + (size_t)thread * r->scratch_floats, *rows = scratch + resize_scratch(a->columns, a->rows);
    resize_rows(a->columns, a->rows, tensor_at(r->d, a->x, plane, 0, 0), (size_t)a->x.stride_h, first, last + 1, rows, scratch);
    for (int k = y; k < end; k++)
        window_row(r, plane, k, rows + (size_t)(row_at(r, k) - first) * (size_t)a->columns->out);
}

void cpu_resize(Dev *d, const ResizeArgs *a)
{
    const ResizeWindow whole = {.h = a->y.h, .w = a->y.c};
    ResizeRun r = {.d = d, .a = a, .window = a->window != NULL ? *a->window : whole};
    r.mirror = pad_mirrors(r.window.h, r.window.w, -r.window.top, -r.window.left, a->y.h, a->y.c);
    r.scratch_floats = resize_scratch(a->columns, a->rows) + (size_t)BAND * (size_t)a->columns->out;
    Scratch s = dev_scratch(d, (uint64_t)r.scratch_floats * (uint64_t)d->threads);
    r.scratch = s.floats;
    if (s.floats != NULL) pool_run(d->pool, (int64_t)a->y.t * ((a->y.h + BAND - 1) / BAND), resize_turn, &r);
    dev_scratch_free(d, &s);
}

/* ------------------------------------------------------------------------------------------------------------- codes */

void cpu_bytes_in(Dev *d, Tensor x, const void *from, uint64_t bytes) { memcpy(cpu_bytes(d, x), from, (size_t)bytes); }
void cpu_bytes_out(Dev *d, Tensor x, void *to, uint64_t bytes) { memcpy(to, cpu_bytes(d, x), (size_t)bytes); }

const void *cpu_out_begin(Dev *d, Tensor x, uint64_t bytes)
{
    void *out = malloc((size_t)bytes);
    if (out == NULL) dev_fail(d, "out of memory for %llu bytes of frames", (unsigned long long)bytes);
    else cpu_bytes_out(d, x, out, bytes);
    return out;
}

bool cpu_out_wait(Dev *d, const void *out) { return (void)d, (void)out, true; }

void cpu_out_end(Dev *d, const void *out)
{
    (void)d;
    free((void *)out);
}

void cpu_out_clear(Dev *d) { (void)d; }

typedef struct CodesRun {
    Dev *d;
    const CodesArgs *a;
    float *scratch; /* a row for each thread */
} CodesRun;

static int code_bytes(const CodesArgs *a) { return a->bits > 8 ? 2 : 1; }
static bool is_alpha(const CodesArgs *a, int channel) { return a->channels % 2 == 0 && channel == a->channels - 1; }

static uint8_t *code_row(const CodesRun *r, int y)
{
    return cpu_bytes(r->d, r->a->codes) + (size_t)y * (size_t)r->a->rgb.c * (size_t)(r->a->channels * code_bytes(r->a));
}

static void from_codes_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    const CodesRun *r = context;
    const CodesArgs *a = r->a;
    const int y = (int)i, w = a->rgb.c;
    for (int p = 0; p < 4; p++) {
        if (p == 3 && (a->channels % 2 != 0 || !a->alpha.valid)) continue;
        float *to = p == 3 ? tensor_at(r->d, a->alpha, 0, y, 0) : tensor_at(r->d, a->rgb, p, y, 0);
        row_to_unit(code_row(r, y), w, a->channels, p == 3 ? a->channels - 1 : a->channels <= 2 ? 0 : p, a->bits, to);
        for (int x = w; x < a->rgb.c_pad; x++) to[x] = 0.0f;
    }
}

void cpu_from_codes(Dev *d, const CodesArgs *a)
{
    CodesRun r = {d, a, NULL};
    if (d->memory != NULL) pool_run(d->pool, a->rgb.h, from_codes_turn, &r);
}

static void to_codes_turn(void *context, int64_t i, int thread)
{
    const CodesRun *r = context;
    const CodesArgs *a = r->a;
    const int y = (int)i, w = a->rgb.c;
    float *unit = r->scratch + (size_t)thread * (size_t)w;
    for (int c = 0; c < a->channels; c++) {
        const float *from = is_alpha(a, c) ? tensor_at(r->d, a->alpha, 0, y, 0) : tensor_at(r->d, a->rgb, c, y, 0);
        if (a->is_signed && !is_alpha(a, c)) {
            to_unit(from, (size_t)w, unit);
            from = unit;
        }
        quantize_row(from, w, a->bits, a->tpdf, a->seed, a->frame, c, y, code_row(r, y) + c * code_bytes(a), a->channels);
    }
}

void cpu_to_codes(Dev *d, const CodesArgs *a)
{
    Scratch s = dev_scratch(d, (uint64_t)a->rgb.c * (uint64_t)d->threads);
    CodesRun r = {d, a, s.floats};
    if (s.floats != NULL) pool_run(d->pool, a->rgb.h, to_codes_turn, &r);
    dev_scratch_free(d, &s);
}

/* ------------------------------------------------------------------------------------------------------------ colour */

static void copy_planes(Dev *d, Tensor planes, float *values, bool back)
{
    const size_t row = (size_t)planes.c * sizeof *values;
    for (int p = 0; p < planes.t; p++) {
        for (int y = 0; y < planes.h; y++, values += planes.c) {
            float *at = tensor_at(d, planes, p, y, 0);
            memcpy(back ? at : values, back ? values : at, row);
        }
    }
}

static void correct(const ColorArgs *a, float *content, const float *style, float *scratch)
{
    const int frames = a->content.t / 3, h = a->content.h, w = a->content.c;
    switch (a->method) {
    case COLOR_WAVELET:
        color_wavelet(content, style, frames, h, w, !a->uncapped, content, scratch);
        break;
    case COLOR_ADAIN:
        color_adain(content, style, frames, h, w, a->population, content);
        break;
    default:
        color_correct(a->method, content, style, frames, h, w, content, scratch);
    }
}

void cpu_color(Dev *d, const ColorArgs *a)
{
    const size_t count = (size_t)a->content.t * (size_t)a->content.h * (size_t)a->content.c;
    const size_t scratch = color_scratch(a->method, a->content.t / 3, a->content.h, a->content.c) / sizeof(float);
    Scratch content = dev_scratch(d, count), style = dev_scratch(d, count), rest = dev_scratch(d, scratch);
    if (content.floats != NULL && style.floats != NULL && !d->failed) {
        copy_planes(d, a->content, content.floats, false);
        copy_planes(d, a->style, style.floats, false);
        correct(a, content.floats, style.floats, rest.floats);
        if (a->strength != 1) color_mix(content.floats, style.floats, count, a->strength);
        copy_planes(d, a->content, content.floats, true);
    }
    dev_scratch_free(d, &rest);
    dev_scratch_free(d, &style);
    dev_scratch_free(d, &content);
}
