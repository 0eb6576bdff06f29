/* The CPU device: its memory, how operations by pixel are cut, and its table. */
#include "runtime/dev_internal.h"
#include "runtime/system.h"

#include <stdio.h>
#include <stdlib.h>

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

/* -------------------------------------------------------------------------------------------------------- by pixel */

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
