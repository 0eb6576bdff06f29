/* The CPU device: its memory, its operations by pixel, and its table. */
#include "runtime/dev_internal.h"
#include "runtime/system.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <sys/mman.h>
#endif

/* ------------------------------------------------------------------------------------------------------------ memory */

/* Zeroed pages that cost nothing until they are touched. */
static void *pages_take(uint64_t bytes)
{
    if (bytes == 0) bytes = 1;
#ifdef _WIN32
    return VirtualAlloc(NULL, (SIZE_T)bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
#else
    void *p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
#endif
}

static void pages_give(void *p, uint64_t bytes)
{
    if (p == NULL) return;
#ifdef _WIN32
    (void)bytes;
    VirtualFree(p, 0, MEM_RELEASE);
#else
    munmap(p, (size_t)(bytes == 0 ? 1 : bytes));
#endif
}

float *cpu_map(Dev *d, Tensor x)
{
    return d->memory == NULL || !x.valid ? NULL : (float *)(void *)(d->memory + x.at);
}

float *tensor_at(Dev *d, Tensor x, int t, int h, int w)
{
    return (float *)(void *)(d->memory + x.at) + t * x.stride_t + h * x.stride_h + (int64_t)w * x.c_pad;
}

uint8_t *cpu_bytes(Dev *d, Tensor x) { return d->memory == NULL || !x.valid ? NULL : d->memory + x.at; }

/* What the host reads and writes is the tensor itself, but for bytes, of which it has a copy as floats. */
static float *cpu_write(Dev *d, Tensor x)
{
    if (x.type != ELEMENT_U8) return cpu_map(d, x);
    float *values = malloc((size_t)(x.t * x.stride_t) * sizeof *values);
    if (values == NULL) dev_fail(d, "out of memory");
    return values;
}

static const float *cpu_read(Dev *d, Tensor x)
{
    float *values = cpu_write(d, x);
    for (int64_t i = 0; x.type == ELEMENT_U8 && values != NULL && i < x.t * x.stride_t; i++) values[i] = cpu_bytes(d, x)[i];
    return values;
}

static void cpu_read_end(Dev *d, const float *values)
{
    const uintptr_t at = (uintptr_t)values, memory = (uintptr_t)d->memory;
    if (at < memory || at - memory >= d->memory_bytes) free((void *)values);
}

static void cpu_write_end(Dev *d, Tensor x, float *values)
{
    if (x.type != ELEMENT_U8) return;
    for (int64_t i = 0; i < x.t * x.stride_t; i++) cpu_bytes(d, x)[i] = (uint8_t)values[i];
    free(values);
}

/* ------------------------------------------------------------------------------------------------------ elementwise */

enum { RUN_PIXELS = 128 }; /* tokens stand in one row, so a row is cut too */

int64_t pixel_runs(Tensor x)
{
    return (int64_t)x.t * x.h * ((x.w + RUN_PIXELS - 1) / RUN_PIXELS);
}

PixelRun pixel_run(Tensor x, int64_t i)
{
    const int across = (x.w + RUN_PIXELS - 1) / RUN_PIXELS;
    PixelRun r = {.t = (int)(i / across / x.h), .h = (int)(i / across % x.h), .w = (int)(i % across) * RUN_PIXELS};
    r.count = x.w - r.w < RUN_PIXELS ? x.w - r.w : RUN_PIXELS;
    return r;
}

typedef struct RowsTurn {
    Dev *d;
    Tensor y, x, z;
    float a, b;
} RowsTurn;

static void axpby_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    RowsTurn *r = context;
    const PixelRun run = pixel_run(r->y, i);
    for (int w = run.w; w < run.w + run.count; w++) {
        float *y = tensor_at(r->d, r->y, run.t, run.h, w);
        r->d->kernels->axpby(y, r->a, tensor_at(r->d, r->x, run.t, run.h, w), r->b,
                             r->z.valid ? tensor_at(r->d, r->z, run.t, run.h, w) : NULL, r->y.c);
        for (int c = r->y.c; c < (r->y.c + 3) / 4 * 4; c++) y[c] = 0.0f;
    }
}

static void cpu_axpby(Dev *d, Tensor y, float a, Tensor x, float b, Tensor z)
{
    if (d->memory == NULL) return;
    RowsTurn turn = {d, y, x, z, a, b};
    pool_run(d->pool, pixel_runs(y), axpby_turn, &turn);
}

static double deviation(const float *x, int n)
{
    double mean = 0.0, square = 0.0;
    for (int i = 0; i < n; i++) mean += x[i];
    mean /= n;
    for (int i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
    return sqrt(square / (n - 1));
}

static void guide_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    RowsTurn *r = context;
    const PixelRun run = pixel_run(r->y, i);
    const int c = r->y.c;
    for (int w = run.w; w < run.w + run.count; w++) {
        float *v = tensor_at(r->d, r->y, run.t, run.h, w);
        const float *negative = tensor_at(r->d, r->x, run.t, run.h, w);
        const double before = r->b != 0.0f ? deviation(v, c) : 0.0;
        for (int k = 0; k < c; k++) v[k] = negative[k] + r->a * (v[k] - negative[k]);
        if (r->b != 0.0f) {
            r->d->kernels->row_scale(v, c, (float)(r->b * (before / deviation(v, c)) + 1.0 - r->b));
        }
    }
}

static void cpu_guide(Dev *d, Tensor v, Tensor negative, float guidance, float rescale)
{
    if (d->memory == NULL) return;
    RowsTurn turn = {d, v, negative, (Tensor){0}, guidance, rescale};
    pool_run(d->pool, pixel_runs(v), guide_turn, &turn);
}

static void cpu_modulation(Dev *d, Tensor out, Tensor emb, int layer, int part, const BoundWeight *extra)
{
    dev_touch(d, extra);
    Scratch s = dev_scratch(d, (uint64_t)out.c);
    if (s.floats != NULL) {
        const float *add = dev_vector(d, extra, s.floats), *from = tensor_at(d, emb, 0, 0, 0);
        float *to = tensor_at(d, out, 0, 0, 0);
        for (int c = 0; c < out.c; c++) to[c] = from[(c * 2 + layer) * 3 + part] + (add == NULL ? 0.0f : add[c]);
        for (int c = out.c; c < out.c_pad; c++) to[c] = 0.0f;
    }
    dev_scratch_free(d, &s);
}

static void cpu_modulation_row(Dev *d, Tensor out, float add, Tensor emb, int emb_row, const BoundWeight *table, int table_row)
{
    dev_touch(d, table);
    if (d->memory == NULL) return;
    float *to = tensor_at(d, out, 0, 0, 0);
    memset(to, 0, (size_t)out.c_pad * sizeof *to);
    if (table != NULL) bound_read(table, (int64_t)table_row * out.c, out.c, to);
    if (!floats_finite(to, out.c)) dev_damaged_weight(d, table->file, table->tensor->name);
    const float *from = emb.valid ? tensor_at(d, emb, 0, 0, 0) + (int64_t)emb_row * out.c : NULL;
    for (int c = 0; c < out.c; c++) to[c] += add + (from == NULL ? 0.0f : from[c]);
}

static void cpu_norm(Dev *d, const NormArgs *a)
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

static void cpu_stats(Dev *d, const StatsArgs *a)
{
    Scratch s = dev_scratch(d, stats_scratch_floats(d, a->x, a->groups));
    if (s.floats != NULL) stats_run(d, a->x, a->stats, a->groups, s.floats);
    dev_scratch_free(d, &s);
}

/* ------------------------------------------------------------------------------------------------------------ device */

static void cpu_enter(Dev *d) { (void)d; }
static void cpu_leave(Dev *d) { (void)d; }
static void cpu_wait(Dev *d) { (void)d; }
static void cpu_time_begin(Dev *d) { d->began = system_seconds(); }
static double cpu_time_end(Dev *d) { return system_seconds() - d->began; }

/* Weights are read where the files are mapped: there is nothing to keep, to give up, or to count. */
static void cpu_phase(Dev *d, uint64_t arena_bytes)
{
    (void)d;
    (void)arena_bytes;
}

static void cpu_weight_group(Dev *d, int group)
{
    (void)d;
    (void)group;
}

static void cpu_totals(const Dev *d, DevTotals *t)
{
    (void)d;
    (void)t;
}

static void cpu_close(Dev *d)
{
    pool_close(d->pool);
    pages_give(d->memory, d->memory_bytes);
}

static const DevOps cpu_ops = {
    .conv3d = cpu_conv3d,
    .upsample = cpu_upsample,
    .linear = cpu_linear,
    .norm = cpu_norm,
    .stats = cpu_stats,
    .attention = cpu_attention,
    .axpby = cpu_axpby,
    .from_planes = cpu_from_planes,
    .to_planes = cpu_to_planes,
    .noise = cpu_noise,
    .input_noise = cpu_input_noise,
    .resize = cpu_resize,
    .color = cpu_color,
    .from_codes = cpu_from_codes,
    .to_codes = cpu_to_codes,
    .bytes_in = cpu_bytes_in,
    .bytes_out = cpu_bytes_out,
    .out_begin = cpu_out_begin,
    .out_wait = cpu_out_wait,
    .out_end = cpu_out_end,
    .out_clear = cpu_out_clear,
    .guide = cpu_guide,
    .block_attention = cpu_block_attention,
    .block_mask = cpu_block_mask,
    .rotate = cpu_rotate,
    .rows = cpu_rows,
    .modulation = cpu_modulation,
    .modulation_row = cpu_modulation_row,
    .history = cpu_history,
    .fold = cpu_fold,
    .fold_nearest = cpu_fold_nearest,
    .fold_free = cpu_fold_free,
    .fold_state = cpu_fold_state,
    .read = cpu_read,
    .read_end = cpu_read_end,
    .write = cpu_write,
    .write_end = cpu_write_end,
    .enter = cpu_enter,
    .leave = cpu_leave,
    .wait = cpu_wait,
    .time_begin = cpu_time_begin,
    .time_end = cpu_time_end,
    .phase = cpu_phase,
    .weight_group = cpu_weight_group,
    .totals = cpu_totals,
    .close = cpu_close,
};

void cpu_attach(Dev *d, const DevSetup *s)
{
    d->ops = &cpu_ops;
    d->activation = ELEMENT_F32;
    d->kernels = s->cpu_set != NULL ? cpu_kernels_named(s->cpu_set) : NULL;
    if (d->kernels == NULL) d->kernels = cpu_kernels(getenv("UPRES_CPU"));
    d->threads = s->threads > 0 ? s->threads : cpu_count();
    snprintf(d->describe, sizeof d->describe, "cpu %s, %d thread%s, precision fp32", d->kernels->name, d->threads,
             d->threads == 1 ? "" : "s");
}

bool cpu_start(Dev *d, uint64_t arena_bytes, char *error, size_t error_size)
{
    d->memory = pages_take(arena_bytes);
    d->memory_bytes = arena_bytes;
    d->pool = d->memory == NULL ? NULL : pool_open(d->threads);
    if (d->memory != NULL && d->pool != NULL) return true;
    snprintf(error, error_size, "cannot have %llu bytes of working memory and %d threads; ask for smaller tiles or fewer "
             "threads", (unsigned long long)arena_bytes, d->threads);
    return false;
}
