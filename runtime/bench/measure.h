/*
 * How a case is timed.
 *
 * Warm: again and again on the same memory, several runs at a time where one is short, until there are three samples at least
 * and a fifth of a second. On a GPU by events around what is handed over, on the CPU by the clock on the wall. Cold: single
 * runs, ahead of each of which memory of twice the last cache's size is written; of networks the first run, with all that is
 * made ready then: weights, kernels.
 */
#ifndef UPRES_RUNTIME_BENCH_MEASURE_H
#define UPRES_RUNTIME_BENCH_MEASURE_H

#include "runtime/cuda/dev.h"
#include "runtime/cuda/watch.h"
#include "runtime/dev.h"

enum { BENCH_SAMPLES = 64, BENCH_FORMS = 48 };

typedef struct BenchTimes {
    double sample[BENCH_SAMPLES]; /* seconds of a run; rising once all are there */
    int samples, batch;           /* runs in a sample */
    double cold, cpu;             /* cpu: seconds of processors' time of a run. 0: not known */
} BenchTimes;

/* The product of a case by itself, in one tile. */
typedef struct BenchForm {
    CudaGemmTile tile;
    BenchTimes times;
} BenchForm;

/* One case on one device, which may be a plan. */
typedef struct Bench {
    Dev *device;
    bool cuda, network, tiles; /* tiles: the product by itself too */
    double flop, bytes;        /* of a run */
    BenchTimes times;
    BenchForm form[BENCH_FORMS];
    int forms;
    CudaWatch watch;           /* cuda: of one run */
    Tensor sweep;              /* what is written to push everything else out of the caches */
} Bench;

/* Takes memory for what sweeps the caches: first of all on a plan, and on the device. */
void bench_begin(Bench *b, uint64_t cache_bytes);
void bench_end(Bench *b);

/* Time body(context); on a plan it is run once and its operations are counted. */
void bench_time(Bench *b, void (*body)(void *context), void *context);

double bench_median(const BenchTimes *t);
double bench_spread(const BenchTimes *t); /* (largest - smallest) / median */

#endif
