#include "runtime/bench/limits.h"

#include "kernels/cpu/cpu.h"
#include "runtime/cuda/rates.h"
#include "runtime/system.h"
#include "runtime/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_limit(BenchLimits *l, const char *name, double flop_per_clock)
{
    enum { ROOM = sizeof l->context.limit / sizeof *l->context.limit };
    upres_bench_context *c = &l->context;
    const double peak = flop_per_clock * c->units * c->clock_ghz * 1e9;
    if (flop_per_clock <= 0 || c->limit_count == ROOM) return;
    c->limit[c->limit_count++] = (upres_bench_limit){name, flop_per_clock, peak};
}

/* --------------------------------------------------------------------------------------------------------------- CPU */

enum { CHAIN = 1 << 20, BURSTS = 8, COPIES = 4 };

/* Additions of which each needs the one before: one a clock on every processor of today. Their number, eight a turn. */
static uint64_t add_in_turn(uint64_t x, uint64_t y)
{
    for (int i = 0; i < CHAIN / 8; i++) {
#ifdef __GNUC__
#define STEP                       \
    x += y;                        \
    __asm__ volatile("" : "+r"(x))
        STEP;
        STEP;
        STEP;
        STEP;
        STEP;
        STEP;
        STEP;
        STEP;
#undef STEP
#endif
    }
    return x;
}

typedef struct CpuProbe {
    double *hertz; /* of every turn */
    uint8_t **block;
    size_t bytes; /* of a block's half, which is copied to the other */
} CpuProbe;

/* The best of some bursts: others may have been interrupted. */
static void clock_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    CpuProbe *p = context;
    volatile uint64_t y = 1, sink;
    double least = 0;
    for (int k = 0; k < BURSTS; k++) {
        const double began = system_seconds();
        sink = add_in_turn((uint64_t)i, y);
        const double seconds = system_seconds() - began;
        if (seconds > 0 && (least == 0 || seconds < least)) least = seconds;
    }
    (void)sink;
#ifdef __GNUC__
    p->hertz[i] = least > 0 ? CHAIN / least : 0;
#else
    p->hertz[i] = 0;
#endif
}

static void copy_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    CpuProbe *p = context;
    memcpy(p->block[i] + p->bytes, p->block[i], p->bytes);
}

static void touch_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    CpuProbe *p = context;
    memset(p->block[i], 1, 2 * p->bytes);
}

/* Hertz while all threads are busy, and bytes read and written a second; 0: could not be measured. */
static void probe_cpu(int threads, double *hertz, double *bandwidth)
{
    const size_t all = (size_t)256 << 20, most = (size_t)32 << 20, share = all / (size_t)threads;
    CpuProbe p = {.bytes = share < most ? share : most};
    p.hertz = calloc((size_t)threads, sizeof *p.hertz);
    p.block = calloc((size_t)threads, sizeof *p.block);
    Pool *pool = pool_open(threads);
    bool memory = p.hertz && p.block && pool;
    *hertz = *bandwidth = 0;
    if (memory) pool_run(pool, threads, clock_turn, &p);
    for (int i = 0; memory && i < threads; i++) *hertz += p.hertz[i] / threads;
    for (int i = 0; memory && i < threads; i++) {
        p.block[i] = malloc(2 * p.bytes);
        memory = p.block[i] != NULL;
    }
    if (memory) pool_run(pool, threads, touch_turn, &p);
    for (int k = 0; memory && k < COPIES; k++) {
        const double began = system_seconds();
        pool_run(pool, threads, copy_turn, &p);
        const double seconds = system_seconds() - began, rate = 2.0 * (double)p.bytes * threads / seconds;
        if (seconds > 0 && rate > *bandwidth) *bandwidth = rate;
    }
    for (int i = 0; p.block && i < threads; i++) free(p.block[i]);
    free(p.block);
    free(p.hertz);
    if (pool) pool_close(pool);
}

static void cpu_limits(const Device *d, BenchLimits *l)
{
    enum { CACHE_NOT_KNOWN = 64 << 20, CACHE_MOST = 256 << 20 };
    upres_bench_context *c = &l->context;
    const int threads = d->setup.threads > 0 ? d->setup.threads : cpu_count();
    double hertz;
    char processor[96];
    probe_cpu(threads, &hertz, &c->bytes_per_second);
    system_processor(processor, sizeof processor);
    c->units = threads;
    c->clock_ghz = hertz * 1e-9;
    snprintf(l->device, sizeof l->device, "cpu: %s, %d thread%s", processor, threads, threads == 1 ? "" : "s");
    snprintf(l->clock, sizeof l->clock, "measured by dependent additions, all threads busy");
    snprintf(l->memory, sizeof l->memory, "measured by copying, bytes read and written");
    c->cache_bytes = system_cache_bytes();
    l->sweep = c->cache_bytes > 0 ? c->cache_bytes : CACHE_NOT_KNOWN;
    if (l->sweep > CACHE_MOST) l->sweep = CACHE_MOST; /* a virtual machine is told all of its host's */
    /* float32 operations a clock of a core with two units for multiply-adds; plain C is whatever the compiler made of it */
    if (cpu_kernels_named("avx2")) add_limit(l, "avx2", 32);
    if (cpu_kernels_named("avx512")) add_limit(l, "avx512", 64);
}

/* ---------------------------------------------------------------------------------------------------------------- GPU */

static void cuda_limits(const Device *d, BenchLimits *l)
{
    enum { CACHE_NOT_KNOWN = 64 << 20 };
    static const RateClass shown[] = {RATE_FP32, RATE_TF32, RATE_BF16, RATE_BF16_WGMMA, RATE_INT8, RATE_INT8_WGMMA, RATE_FP8,
                                      RATE_FP8_BLOCK_SCALE, RATE_FP8_WGMMA};
    const CudaDevice *g = &d->cuda;
    upres_bench_context *c = &l->context;
    char error[256], driver[256];
    const CudaDriver *loaded = cuda_driver(error, sizeof error);
    system_gpu_driver(driver, sizeof driver);
    c->units = g->sms;
    c->clock_ghz = g->clock_ghz;
    c->bytes_per_second = rate_dram_bytes(g);
    c->emulated = strstr(g->name, "mulat") != NULL;
    c->cache_bytes = g->l2;
    l->sweep = g->l2 > 0 ? g->l2 : CACHE_NOT_KNOWN;
    snprintf(l->device, sizeof l->device, "cuda:%d: %.90s, sm_%d%d, %d SMs", g->ordinal, g->name, g->major, g->minor, g->sms);
    snprintf(l->driver, sizeof l->driver, "for CUDA %d.%d%s%s", loaded ? loaded->version / 1000 : 0,
             loaded ? loaded->version % 1000 / 10 : 0, driver[0] ? "; " : "", driver);
    snprintf(l->clock, sizeof l->clock, "boost clock, as the driver says; the card may run above or below it");
    snprintf(l->memory, sizeof l->memory, "memory clock and bus width, as the driver says");
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) add_limit(l, rate_name(shown[i]), rate_per_clock(g, shown[i]));
}

void bench_limits(const Device *d, BenchLimits *l)
{
    *l = (BenchLimits){.context = {.struct_size = sizeof l->context}};
    upres_bench_context *c = &l->context;
    c->device = l->device;
    c->driver = l->driver;
    c->kernels = l->kernels;
    c->clock_source = l->clock;
    c->memory_source = l->memory;
    if (d->setup.cuda) cuda_limits(d, l);
    else cpu_limits(d, l);
}

static const upres_bench_limit *named(const BenchLimits *l, const char *name)
{
    for (size_t i = 0; i < l->context.limit_count; i++) {
        if (strcmp(l->context.limit[i].name, name) == 0) return &l->context.limit[i];
    }
    return NULL;
}

const upres_bench_limit *bench_limit_of(const BenchLimits *l, const char *kernel, double *share)
{
    *share = 1;
    if (kernel == NULL) return NULL;
    const bool wgmma = strstr(kernel, "wgmma") != NULL;
    if (strstr(kernel, "pair")) *share = 3; /* high by high, high by low, low by high */
    if (strstr(kernel, "e4m3")) {
        const upres_bench_limit *scaled = named(l, rate_name(RATE_FP8_BLOCK_SCALE));
        return wgmma ? named(l, rate_name(RATE_FP8_WGMMA)) : scaled ? scaled : named(l, rate_name(RATE_FP8));
    }
    if (strstr(kernel, "i8")) return named(l, rate_name(wgmma ? RATE_INT8_WGMMA : RATE_INT8));
    if (strstr(kernel, "bf16")) return named(l, rate_name(wgmma ? RATE_BF16_WGMMA : RATE_BF16));
    if (strstr(kernel, "f32")) return named(l, rate_name(RATE_FP32));
    return named(l, kernel);
}
