#include "runtime/dev_internal.h"

#include <math.h>
#include <stdarg.h>
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

/* ------------------------------------------------------------------------------------------------------ elementwise */

static bool is_finite(const float *x, int64_t count)
{
    uint32_t bad = 0; /* an exponent of all ones; in integers, so that the loop becomes vector code */
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

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
    if (!is_finite(to, out.c)) dev_fail(d, "weight '%s' holds a value that is not finite; the file is damaged", table->tensor->name);
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

/* ----------------------------------------------------------------------------------------------------------- devices */

static const DevOps cpu_ops = {
    .conv3d = cpu_conv3d,
    .upsample = cpu_upsample,
    .linear = cpu_linear,
    .norm = cpu_norm,
    .stats = cpu_stats,
    .attention = cpu_attention,
    .axpby = cpu_axpby,
    .guide = cpu_guide,
    .block_attention = cpu_block_attention,
    .block_mask = cpu_block_mask,
    .rotate = cpu_rotate,
    .rows = cpu_rows,
    .modulation = cpu_modulation,
    .modulation_row = cpu_modulation_row,
};

static Dev *device_new(int threads)
{
    Dev *d = calloc(1, sizeof *d);
    if (d == NULL) return NULL;
    d->ops = &cpu_ops;
    d->kernels = cpu_kernels(getenv("UPRES_CPU"));
    d->threads = threads > 0 ? threads : cpu_count();
    snprintf(d->describe, sizeof d->describe, "cpu %s, %d thread%s", d->kernels->name, d->threads,
             d->threads == 1 ? "" : "s");
    return d;
}

Dev *dev_plan_open(int threads)
{
    Dev *d = device_new(threads);
    if (d != NULL) arena_init(&d->arena, UINT64_MAX);
    return d;
}

Dev *dev_cpu_open(int threads, uint64_t arena_bytes, char *error, size_t error_size)
{
    Dev *d = device_new(threads);
    if (d == NULL) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    d->memory = pages_take(arena_bytes);
    d->memory_bytes = arena_bytes;
    d->pool = d->memory == NULL ? NULL : pool_open(d->threads);
    if (d->memory == NULL || d->pool == NULL) {
        snprintf(error, error_size, "cannot have %llu bytes of working memory and %d threads; ask for smaller tiles or fewer "
                 "threads", (unsigned long long)arena_bytes, d->threads);
        dev_close(d);
        return NULL;
    }
    arena_init(&d->arena, arena_bytes);
    return d;
}

void dev_close(Dev *d)
{
    if (d == NULL) return;
    pool_close(d->pool);
    pages_give(d->memory, d->memory_bytes);
    arena_close(&d->arena);
    free(d->touched);
    free(d);
}

bool dev_is_plan(const Dev *d) { return d->memory == NULL; }
bool dev_ok(const Dev *d) { return !d->failed; }
const char *dev_error(const Dev *d) { return d->error; }
bool dev_cancelled(const Dev *d) { return d->cancelled; }
const char *dev_describe(const Dev *d) { return d->describe; }

DevTotals dev_totals(const Dev *d)
{
    DevTotals t = d->totals;
    t.arena_peak = d->arena.peak;
    return t;
}

void dev_fail(Dev *d, const char *format, ...)
{
    if (d->failed) return; /* the first failure is the cause of the others */
    d->failed = true;
    va_list list;
    va_start(list, format);
    vsnprintf(d->error, sizeof d->error, format, list);
    va_end(list);
}

void dev_phase(Dev *d)
{
    if (d->arena.count != 0) dev_fail(d, "internal error: %zu tensors were not given back", d->arena.count);
}

void dev_set_cancel(Dev *d, int (*cancel)(void *user), void *user)
{
    d->cancel = cancel;
    d->cancel_user = user;
}

/* ----------------------------------------------------------------------------------------------------------- tensors */

Tensor dev_tensor(Dev *d, int t, int h, int w, int c)
{
    Tensor x = {.t = t, .h = h, .w = w, .c = c, .c_pad = (c + 3) / 4 * 4};
    x.stride_h = (int64_t)w * x.c_pad;
    x.stride_t = (int64_t)h * x.stride_h;
    if (d->failed) return x;
    x.at = arena_take(&d->arena, (uint64_t)t * (uint64_t)x.stride_t * sizeof(float));
    x.valid = x.at != ARENA_FULL;
    if (!x.valid) dev_fail(d, "internal error: the working memory planned (%llu bytes) does not suffice",
                           (unsigned long long)d->arena.limit);
    return x;
}

void dev_free(Dev *d, Tensor *x)
{
    if (x->valid) arena_give(&d->arena, x->at);
    *x = (Tensor){0};
}

Tensor tensor_frames(Tensor x, int first, int count)
{
    x.at += (uint64_t)first * (uint64_t)x.stride_t * sizeof(float);
    x.t = count;
    return x;
}

Tensor tensor_channels(Tensor x, int first, int count)
{
    x.at += (uint64_t)first * sizeof(float);
    x.c = count;
    return x;
}

float *dev_map(Dev *d, Tensor x)
{
    return d->memory == NULL || !x.valid ? NULL : (float *)(void *)(d->memory + x.at);
}

float *tensor_at(Dev *d, Tensor x, int t, int h, int w)
{
    return (float *)(void *)(d->memory + x.at) + t * x.stride_t + h * x.stride_h + (int64_t)w * x.c_pad;
}

Scratch dev_scratch(Dev *d, uint64_t floats)
{
    Scratch s = {ARENA_FULL, NULL};
    if (d->failed) return s;
    s.at = arena_take(&d->arena, floats * sizeof(float));
    if (s.at == ARENA_FULL) {
        dev_fail(d, "internal error: the working memory planned (%llu bytes) does not suffice",
                 (unsigned long long)d->arena.limit);
    } else if (d->memory != NULL) {
        s.floats = (float *)(void *)(d->memory + s.at);
    }
    return s;
}

void dev_scratch_free(Dev *d, Scratch *s)
{
    if (s->at != ARENA_FULL) arena_give(&d->arena, s->at);
    *s = (Scratch){ARENA_FULL, NULL};
}

/* ----------------------------------------------------------------------------------------------------------- weights */

static size_t slot_of(const WeightTensor *const *table, size_t size, const WeightTensor *t)
{
    size_t i = (size_t)(((uintptr_t)t >> 4) * 0x9E3779B97F4A7C15ULL) & (size - 1);
    while (table[i] != NULL && table[i] != t) i = (i + 1) & (size - 1);
    return i;
}

static void touch(Dev *d, const WeightTensor *t)
{
    if (t == NULL) return;
    if (2 * (d->touched_count + 1) > d->touched_size) {
        size_t size = d->touched_size ? d->touched_size * 2 : 1024;
        const WeightTensor **table = calloc(size, sizeof *table);
        if (table == NULL) return; /* only a count is lost */
        for (size_t i = 0; i < d->touched_size; i++) {
            if (d->touched[i] != NULL) table[slot_of(table, size, d->touched[i])] = d->touched[i];
        }
        free(d->touched);
        d->touched = table;
        d->touched_size = size;
    }
    size_t i = slot_of(d->touched, d->touched_size, t);
    if (d->touched[i] != NULL) return;
    d->touched[i] = t;
    d->touched_count++;
    d->totals.weight_bytes += t->bytes;
}

void dev_touch(Dev *d, const BoundWeight *w)
{
    if (w == NULL) return;
    touch(d, w->tensor);
    touch(d, w->scale);
}

void checked_read(const void *checked_weight, int64_t first, int64_t count, float *out)
{
    const CheckedWeight *c = checked_weight;
    bound_read(c->weight, first, count, out);
    if (!is_finite(out, count)) atomic_store_explicit(c->bad, true, memory_order_relaxed);
}

void dev_check_weight(Dev *d, const BoundWeight *w, const atomic_bool *bad)
{
    if (atomic_load_explicit((atomic_bool *)bad, memory_order_relaxed)) {
        dev_fail(d, "weight '%s' holds a value that is not finite; the file is damaged", w->tensor->name);
    }
}

const float *dev_vector(Dev *d, const BoundWeight *w, float *to)
{
    if (w == NULL) return NULL;
    bound_read(w, 0, w->count, to);
    if (!is_finite(to, w->count)) {
        dev_fail(d, "weight '%s' holds a value that is not finite; the file is damaged", w->tensor->name);
    }
    return to;
}

/* -------------------------------------------------------------------------------------------------------- operations */

static bool may_run(Dev *d)
{
    if (d->failed) return false;
    d->totals.operations++;
    if (d->cancel != NULL && d->cancel(d->cancel_user)) {
        d->cancelled = true;
        dev_fail(d, "cancelled");
        return false;
    }
    return true;
}

void dev_conv3d(Dev *d, const ConvArgs *a)
{
    if (may_run(d)) d->ops->conv3d(d, a);
}

void dev_upsample(Dev *d, const UpsampleArgs *a)
{
    if (may_run(d)) d->ops->upsample(d, a);
}

void dev_linear(Dev *d, const LinearArgs *a)
{
    if (may_run(d)) d->ops->linear(d, a);
}

void dev_norm(Dev *d, const NormArgs *a)
{
    if (may_run(d)) d->ops->norm(d, a);
}

void dev_stats(Dev *d, const StatsArgs *a)
{
    if (may_run(d)) d->ops->stats(d, a);
}

void dev_attention(Dev *d, const AttentionArgs *a)
{
    if (may_run(d)) d->ops->attention(d, a);
}

void dev_axpby(Dev *d, Tensor y, float a, Tensor x, float b, Tensor z)
{
    if (may_run(d)) d->ops->axpby(d, y, a, x, b, z);
}

void dev_guide(Dev *d, Tensor v, Tensor negative, float guidance, float rescale)
{
    if (may_run(d)) d->ops->guide(d, v, negative, guidance, rescale);
}

void dev_modulation(Dev *d, Tensor out, Tensor emb, int layer, int part, const BoundWeight *extra)
{
    if (may_run(d)) d->ops->modulation(d, out, emb, layer, part, extra);
}

void dev_modulation_row(Dev *d, Tensor out, float add, Tensor emb, int emb_row, const BoundWeight *table, int table_row)
{
    if (may_run(d)) d->ops->modulation_row(d, out, add, emb, emb_row, table, table_row);
}

void dev_block_attention(Dev *d, const BlockAttentionArgs *a)
{
    if (may_run(d)) d->ops->block_attention(d, a);
}

void dev_block_mask(Dev *d, const BlockMaskArgs *a)
{
    if (may_run(d)) d->ops->block_mask(d, a);
}

void dev_rotate(Dev *d, const RotateArgs *a)
{
    if (may_run(d)) d->ops->rotate(d, a);
}

void dev_rows(Dev *d, Tensor y, Tensor x, const int32_t *index)
{
    if (may_run(d)) d->ops->rows(d, y, x, index);
}
