/*
 * The time that kernels ought to take on a device, from their machine code (runtime/cuda/counts.h), from what a launch works
 * (runtime/cuda/work.h) and from what the device can do in a clock (runtime/cuda/rates.h). A model, nothing measured:
 *
 *   products   per block and multiprocessor the largest of: matrix instructions at their rate; instructions issued, four a
 *              clock, or the busiest unit; bytes to and from shared memory; bytes from the second-level cache. Then once what
 *              stands outside the main loop, and a memory's latency to begin with; where two blocks fit a multiprocessor, one
 *              does that while the other multiplies. The multiprocessor with most blocks is what is waited for.
 *   attention  the same of its loop over keys, but that a warp multiplies or does all else, in turn.
 *   others     the largest of: bytes at the memory's rate; instructions issued for them; bytes in flight against latency.
 *
 * Every launch adds LAUNCH_SECONDS. Clocks are the ones given: no card's power limit is known here.
 */
#ifndef UPRES_RUNTIME_CUDA_PREDICT_H
#define UPRES_RUNTIME_CUDA_PREDICT_H

#include "runtime/cuda/counts.h"
#include "runtime/cuda/prediction.h"
#include "runtime/cuda/work.h"

/* Assumptions: of nominal bandwidth what streams reach; from a load to its value; between a launch and the next; and what
 * part of the tensor cores' rate published products of 8 bits reach, for a second, soberer figure (bf16: over 90 %). */
#define PREDICT_DRAM_REACH 0.92
#define PREDICT_LATENCY 700e-9
#define PREDICT_LAUNCH 2e-6
#define PREDICT_PUBLISHED 0.60

typedef struct KernelTime {
    double seconds;
    double term[BOUND_COUNT]; /* seconds that each alone would take, with full multiprocessors */
    Bound bound;              /* the largest */
    double limit;             /* seconds at the device's rate for what it is: products, or bytes at the nominal bandwidth */
    double published;         /* seconds where products of 8 bits stay at PREDICT_PUBLISHED of their rate */
} KernelTime;

/* Blocks of a launch that a multiprocessor holds at a time, at least 1. */
int predict_resident(const CudaDevice *d, const KernelCount *k, const KernelWork *w);
KernelTime predict_kernel(const CudaDevice *d, const KernelCount *k, const KernelWork *w);

/*
 * About the most that a large launch ought to take, without its machine code: products, what they fetch from the second-level cache and bytes
 * of memory, each at the device's rate but for PREDICT_REACH of it (attention in float32, which waits for shared memory:
 * PREDICT_REACH_FLASH_F32); the slowest counts. What the driver does not tell of clock and memory is taken for little.
 */
#define PREDICT_REACH 0.5
#define PREDICT_REACH_FLASH_F32 0.2
double predict_at_most(const CudaDevice *d, const KernelWork *w);

/* ---------------------------------------------------------------------------------------------------- many launches */

/* One launch more. flop, tiles_flop: of attention, whose arguments do not tell, as it is and in whole tiles (0: the same).
 * Returns what kind of launch it is. */
WorkKind prediction_launch(Prediction *p, const CudaDevice *d, const char *function, CudaGrid grid, const void *args,
                           double flop, double tiles_flop);

#endif
