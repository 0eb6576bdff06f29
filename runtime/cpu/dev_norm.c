/* Norms, the `pre` of other operations, and the statistics they need, on the CPU's threads. */
#include "kernels/cpu/norm.h"
#include "runtime/dev_internal.h"

#include <stdlib.h>
#include <string.h>

RowAct row_act(Act a)
{
    switch (a) {
    case ACT_SILU: return ROW_SILU;
    case ACT_GELU_TANH: return ROW_GELU_TANH;
    case ACT_RELU: return ROW_RELU;
    case ACT_TANH3: return ROW_TANH3;
    default: return ROW_NONE;
    }
}

/* ------------------------------------------------------------------------------------------------------------- stats */

typedef struct StatsTurn {
    Dev *d;
    Tensor x, stats;
    int groups, frame, patches;
    Moments *moments;
    float *scratch; /* 3 * c floats a thread */
} StatsTurn;

static void patch_turn(void *context, int64_t i, int thread)
{
    StatsTurn *s = context;
    norm_patch(s->d->kernels, tensor_at(s->d, s->x, s->frame, 0, 0), s->x.stride_h, s->x.c_pad, s->x.h, s->x.w, s->x.c,
               s->groups, (int)i, s->moments + i * s->groups, s->scratch + (int64_t)thread * 3 * s->x.c);
}

uint64_t stats_scratch_floats(const Dev *d, Tensor x, int groups)
{
    return (uint64_t)norm_patches(x.h, x.w) * (uint64_t)groups * (sizeof(Moments) / sizeof(float)) +
           (uint64_t)d->threads * 3 * (uint64_t)x.c;
}

void stats_run(Dev *d, Tensor x, Tensor stats, int groups, float *scratch)
{
    StatsTurn s = {.d = d, .x = x, .stats = stats, .groups = groups, .patches = norm_patches(x.h, x.w)};
    s.moments = (Moments *)(void *)scratch;
    s.scratch = (float *)(void *)(s.moments + (int64_t)s.patches * groups);
    for (int t = 0; t < x.t; t++) {
        s.frame = t;
        pool_run(d->pool, s.patches, patch_turn, &s);
        norm_merge(s.moments, s.patches, groups, tensor_at(d, stats, t, 0, 0));
    }
}

/* --------------------------------------------------------------------------------------------------------------- pre */

typedef struct PreTurn {
    Dev *d;
    Tensor x;
    const Pre *pre;
    float *const *to;
    int64_t to_row, to_pixel;
    const float *scale, *shift; /* [c], or [t][c] for NORM_GROUP */
    bool by_frame;
} PreTurn;

static bool by_pixel(Norm n) { return n == NORM_RMS || n == NORM_LAYER || n == NORM_L2; }

static void norm_pixel(const PreTurn *p, float *to, const float *from)
{
    const CpuKernels *k = p->d->kernels;
    const int c = p->x.c;
    if (p->pre->norm == NORM_RMS) norm_rms_row(k, to, from, c, p->pre->eps, p->scale, p->shift);
    else if (p->pre->norm == NORM_LAYER) norm_layer_row(k, to, from, c, p->pre->eps, p->scale, p->shift);
    else norm_l2_row(k, to, from, c, p->scale, p->shift);
}

/* Some pixels of one row. A group norm is a multiply-add by channel once its statistics are known; others are a pixel's own. */
static void pre_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    PreTurn *p = context;
    const PixelRun r = pixel_run(p->x, i);
    const float *from = tensor_at(p->d, p->x, r.t, r.h, r.w);
    float *to = p->to[r.t] + r.h * p->to_row + r.w * p->to_pixel;
    const CpuKernels *k = p->d->kernels;
    if (by_pixel(p->pre->norm)) {
        for (int n = 0; n < r.count; n++, from += p->x.c_pad, to += p->to_pixel) {
            norm_pixel(p, to, from);
            if (p->pre->act != ACT_NONE) k->affine(to, 0, to, 0, 1, p->x.c, NULL, NULL, row_act(p->pre->act));
            for (int c = p->x.c; c < (p->x.c + 3) / 4 * 4; c++) to[c] = 0.0f;
        }
        return;
    }
    const float *scale = p->scale == NULL ? NULL : p->scale + (p->by_frame ? (int64_t)r.t * p->x.c : 0);
    const float *shift = p->shift == NULL ? NULL : p->shift + (p->by_frame ? (int64_t)r.t * p->x.c : 0);
    k->affine(to, p->to_pixel, from, p->x.c_pad, r.count, p->x.c, scale, shift, row_act(p->pre->act));
    if (p->x.c % 4 != 0) {
        for (int n = 0; n < r.count; n++) {
            for (int c = p->x.c; c < (p->x.c + 3) / 4 * 4; c++) to[n * p->to_pixel + c] = 0.0f;
        }
    }
}

uint64_t pre_scratch_floats(const Dev *d, Tensor x, const Pre *pre)
{
    (void)d;
    return (uint64_t)x.c * (pre->norm == NORM_GROUP ? 2 * (uint64_t)x.t + 2 : 4);
}

void pre_apply(Dev *d, Tensor x, const Pre *pre, float *const *to, int64_t to_row, int64_t to_pixel, float *scratch)
{
    PreTurn p = {.d = d, .x = x, .pre = pre, .to = to, .to_row = to_row, .to_pixel = to_pixel};
    float *vectors = scratch, *rest = scratch + 2 * x.c;
    const float *gamma = dev_vector(d, pre->gamma, vectors), *beta = dev_vector(d, pre->beta, vectors + x.c);
    if (pre->norm == NORM_GROUP) {
        float *scale = rest, *shift = rest + (int64_t)x.t * x.c;
        for (int t = 0; t < x.t; t++) {
            norm_group_affine(tensor_at(d, pre->stats, t, 0, 0), pre->groups, x.c, pre->eps, gamma, beta,
                              scale + (int64_t)t * x.c, shift + (int64_t)t * x.c);
        }
        p.scale = scale;
        p.shift = shift;
        p.by_frame = true;
    } else {
        p.scale = gamma;
        p.shift = beta;
        if (pre->scale.valid) {
            const float *by = tensor_at(d, pre->scale, 0, 0, 0);
            for (int c = 0; c < x.c; c++) rest[c] = gamma == NULL ? by[c] : gamma[c] * by[c];
            p.scale = rest;
        }
        if (pre->shift.valid) p.shift = tensor_at(d, pre->shift, 0, 0, 0);
        if (beta != NULL && pre->scale.valid) { /* (n * gamma + beta) * scale + shift */
            const float *by = tensor_at(d, pre->scale, 0, 0, 0);
            for (int c = 0; c < x.c; c++) rest[x.c + c] = beta[c] * by[c] + (pre->shift.valid ? p.shift[c] : 0.0f);
            p.shift = rest + x.c;
        }
    }
    pool_run(d->pool, pixel_runs(x), pre_turn, &p);
}

/* ------------------------------------------------------------------------------------------------------- operations */

void cpu_norm(Dev *d, const NormArgs *a)
{
    pre_touch(d, &a->pre);
    Scratch s = dev_scratch(d, pre_scratch_floats(d, a->x, &a->pre));
    if (s.floats != NULL) {
        float **to = malloc((size_t)a->y.t * sizeof *to);
        if (to == NULL) {
            dev_fail(d, "out of memory");
        } else {
            for (int t = 0; t < a->y.t; t++) to[t] = tensor_at(d, a->y, t, 0, 0);
            pre_apply(d, a->x, &a->pre, to, a->y.stride_h, a->y.c_pad, s.floats);
            free(to);
        }
    }
    dev_scratch_free(d, &s);
}

void cpu_stats(Dev *d, const StatsArgs *a)
{
    Scratch s = dev_scratch(d, stats_scratch_floats(d, a->x, a->groups));
    if (s.floats != NULL) stats_run(d, a->x, a->stats, a->groups, s.floats);
    dev_scratch_free(d, &s);
}
