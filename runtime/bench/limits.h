/*
 * What a device could reach: ceilings that times are held against. Of a GPU from runtime/cuda/rates.h; of the CPU measured
 * here, as no call tells a processor's clock under load.
 */
#ifndef UPRES_RUNTIME_BENCH_LIMITS_H
#define UPRES_RUNTIME_BENCH_LIMITS_H

#include "runtime/device.h"

typedef struct BenchLimits {
    upres_bench_context context; /* strings point into text */
    char device[160], driver[320], kernels[256], clock[128], memory[128];
    uint64_t sweep; /* the cache to be swept, or what stands for one that is not known */
} BenchLimits;

/* Stays where it is filled in: the context points into it. Takes a tenth of a second on the CPU. */
void bench_limits(const Device *d, BenchLimits *l);

/* The ceiling that a kernel runs under, found by its name ("gemm_bf16_256x128") or, on the CPU, its instruction set; and how
 * many of its operations it takes for one. NULL: none is known. */
const upres_bench_limit *bench_limit_of(const BenchLimits *l, const char *kernel, double *share);

#endif
