/*
 * The one block of device memory that a job works in. Where the device maps memory, a large one is a range of addresses under which
 * pieces are put, so that it need not lie together; else it is one allocation.
 *
 * It is as large as the plan of all phases, and stays so to the end of the job: to take memory away and map it again between
 * phases would be to allocate in every batch. What a phase does not need for its arena its weights have instead, where not all
 * of them fit (dev_phase_begin).
 */
#ifndef UPRES_RUNTIME_CUDA_BLOCK_H
#define UPRES_RUNTIME_CUDA_BLOCK_H

#include "runtime/cuda/driver.h"

typedef struct CudaBlock {
    CUdeviceptr address;
    uint64_t bytes;    /* whole granules where it is mapped */
    uint64_t reserved; /* 0: an allocation */
    uint64_t mapped;   /* from the begin on */
    uint64_t piece;    /* bytes mapped at a time */
} CudaBlock;

enum { BLOCK_GRANULES_LEAST = 64 }; /* in a smaller one, below 128 MiB, the last granule's rest would weigh */

/* With the context current. What was had is given back on a failure. */
CUresult cuda_block_take(CudaBlock *b, const CudaDriver *c, CUdevice device, uint64_t bytes);
void cuda_block_give(CudaBlock *b, const CudaDriver *c);
/* GB/s at which it is filled, the second time. 0: it cannot be told. */
double cuda_block_rate(const CudaBlock *b, const CudaDriver *c, CUstream stream);

#endif
