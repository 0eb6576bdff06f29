/*
 * What one launch works, read off its arguments: operations and bytes. A plan's arguments serve as well as a run's; addresses
 * say nothing there.
 */
#ifndef UPRES_RUNTIME_CUDA_WORK_H
#define UPRES_RUNTIME_CUDA_WORK_H

#include "kernels/cuda/args.h"
#include "runtime/cuda/rates.h"
#include "runtime/cuda/tiles.h"

typedef enum WorkKind {
    WORK_BYTES,   /* moves memory: what is read and what is written, once each */
    WORK_PRODUCT, /* tiles of a matrix product */
    WORK_FLASH,   /* attention without score matrix: its keys are not in its arguments */
    WORK_UNKNOWN, /* nothing is known of its arguments */
} WorkKind;

typedef struct KernelWork {
    WorkKind kind;
    CudaGrid grid;
    unsigned producers; /* threads of a block that only fetch */
    RateClass rate;     /* products */
    double flop;        /* 2 per multiply-add */
    double mma_flop;    /* what the tiles multiply: with what pads them, three times of a pair of 8-bit floats */
    double bytes;       /* of the device's memory */
    double fill;        /* bytes from the second-level cache into shared memory */
    double shared;      /* bytes that a loop of its own reads from shared memory, in floats */
} KernelWork;

KernelWork cuda_product_work(const CudaDevice *d, const CudaGemm *g, const CudaGemmTile *t, CudaGrid grid);
KernelWork cuda_work(const CudaDevice *d, const char *function, CudaGrid grid, const void *args);

#endif
