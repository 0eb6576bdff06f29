#include "runtime/bench/measure.h"

#include "runtime/cuda/dev_gemm.h"
#include "runtime/system.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLD_RUNS = 3, LEAST_SAMPLES = 3, BATCH_MAX = 64 };
static const double ENOUGH = 0.2, TOO_MUCH = 4, LONG = 1; /* seconds: of all samples together; of one run */

/* A thing to time: a case's body, or its product in one tile. */
typedef struct Timed {
    Bench *b;
    void (*body)(void *);
    void *context;
} Timed;

/* -------------------------------------------------------------------------------------------------------------- caches */

void bench_begin(Bench *b, uint64_t cache_bytes)
{
    enum { ROW = 4096 };
    b->sweep = dev_floats(b->device, 1, (int)(2 * cache_bytes / (ROW * sizeof(float))) + 1, 1, ROW);
}

void bench_end(Bench *b) { dev_free(b->device, &b->sweep); }

static void sweep_caches(Bench *b)
{
    const uint64_t bytes = (uint64_t)b->sweep.stride_t * sizeof(float);
    if (b->cuda) cuda_fill(b->device, cuda_at(b->device, b->sweep), 1, bytes);
    else dev_axpby(b->device, b->sweep, 0, b->sweep, 1, (Tensor){0});
}

/* ---------------------------------------------------------------------------------------------------------------- time */

/* Seconds of a run, of `count` in a row. */
static double seconds_of(const Timed *t, int count)
{
    dev_time_begin(t->b->device);
    for (int i = 0; i < count; i++) t->body(t->context);
    return dev_time_end(t->b->device) / count;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int batch_for(const Timed *t, double once)
{
    const double least = t->b->cuda ? 2e-3 : 1e-3; /* clocks tell that to a thousandth */
    const double count = once > 0 ? ceil(least / once) : BATCH_MAX;
    return count > BATCH_MAX ? BATCH_MAX : (int)count;
}

static void take_samples(const Timed *t, BenchTimes *times, double once)
{
    double total = 0;
    const double cpu = system_cpu_seconds();
    times->batch = batch_for(t, once);
    if (t->b->cuda && times->batch > 1) { /* a list of work becomes a graph the second time it is seen */
        seconds_of(t, times->batch);
        seconds_of(t, times->batch);
    }
    while (times->samples < BENCH_SAMPLES && total < TOO_MUCH && (times->samples < LEAST_SAMPLES || total < ENOUGH)) {
        const double seconds = seconds_of(t, times->batch);
        if (!dev_ok(t->b->device)) return;
        times->sample[times->samples++] = seconds;
        total += seconds * times->batch;
    }
    const double spent = system_cpu_seconds() - cpu;
    times->cpu = cpu > 0 && times->samples > 0 ? spent / (times->samples * times->batch) : 0;
}

static double cold_seconds(const Timed *t)
{
    double seconds[COLD_RUNS];
    for (int i = 0; i < COLD_RUNS; i++) {
        sweep_caches(t->b);
        seconds[i] = seconds_of(t, 1);
    }
    qsort(seconds, COLD_RUNS, sizeof *seconds, by_value);
    return seconds[COLD_RUNS / 2];
}

/* What the first run makes ready (kernels, weights) counts for nothing but a network's cold time. */
static void take_times(const Timed *t, BenchTimes *times)
{
    *times = (BenchTimes){.batch = 1};
    const double began = system_seconds();
    t->body(t->context);
    dev_wait(t->b->device);
    const double first = system_seconds() - began;
    if (!dev_ok(t->b->device)) return;
    /* the CPU makes nothing ready that lasts so long */
    if (first > LONG && !t->b->cuda) times->sample[times->samples++] = first;
    const double once = times->samples > 0 ? first : seconds_of(t, 1);
    if (!dev_ok(t->b->device)) return;
    if (once > LONG && times->samples == 0) times->sample[times->samples++] = once;
    take_samples(t, times, once);
    if (t->b->network) times->cold = first;
    else if (once < LONG) times->cold = cold_seconds(t);
    qsort(times->sample, (size_t)times->samples, sizeof *times->sample, by_value);
}

/* ------------------------------------------------------------------------------------------------------ tiles of a product */

static void product_body(void *context)
{
    Bench *b = context;
    cuda_gemm_with(b->device, &b->watch.product, &b->form[b->forms].tile);
}

/* Its operands lie where the last run left them: nothing has taken memory since. */
static void time_tiles(Bench *b)
{
    const Timed product = {b, product_body, b};
    cuda_watch(b->device, NULL);
    for (int i = 0; cuda_gemm_tile(i, &b->form[b->forms].tile); i++) {
        BenchForm *f = &b->form[b->forms];
        if (f->tile.type != b->watch.type || !cuda_gemm_has(cuda_device_of(b->device), &f->tile)) continue;
        if (!cuda_gemm_fits(&b->watch.product, &f->tile)) continue;
        take_times(&product, &f->times);
        if (!dev_ok(b->device) || ++b->forms == BENCH_FORMS) return;
    }
}

void bench_time(Bench *b, void (*body)(void *), void *context)
{
    const Timed timed = {b, body, context};
    if (b->cuda) {
        b->watch = (CudaWatch){0};
        cuda_watch(b->device, &b->watch);
    }
    if (dev_is_plan(b->device)) {
        const double before = dev_totals(b->device).flop;
        body(context);
        b->flop = dev_totals(b->device).flop - before;
        return;
    }
    take_times(&timed, &b->times);
    if (b->tiles && b->watch.flop > 0 && dev_ok(b->device)) time_tiles(b);
}

double bench_median(const BenchTimes *t) { return t->samples > 0 ? t->sample[t->samples / 2] : 0; }

double bench_spread(const BenchTimes *t)
{
    const double median = bench_median(t);
    return median > 0 ? (t->sample[t->samples - 1] - t->sample[0]) / median : 0;
}
