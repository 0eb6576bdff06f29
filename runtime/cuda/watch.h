/*
 * What a CUDA device is doing, written down for benchmarks: which kernels an operation comes down to, and its largest product,
 * to run that again by itself and in other tiles.
 */
#ifndef UPRES_RUNTIME_CUDA_WATCH_H
#define UPRES_RUNTIME_CUDA_WATCH_H

#include "kernels/cuda/args.h"
#include "runtime/cuda/tiles.h"

typedef struct CudaWatch {
    uint64_t launches;     /* a hash of all launches by name and grid: two precisions with the same one do the same */
    const char *attention; /* the kernel of attention without score matrix, launched last; NULL: none */
    double flop;           /* of the largest product; 0: none */
    CudaGemm product;
    Element type;
    CudaGemmTile tile;
} CudaWatch;

/* Write down what is launched from now on, on a plan too; NULL: no longer. Outlives the device or the next call. */
void cuda_watch(Dev *d, CudaWatch *w);
CudaWatch *cuda_watch_of(const Dev *d);
/* For cuda_launch and cuda_gemm; w may be NULL. */
void cuda_watch_launch(CudaWatch *w, const char *function, CudaGrid grid);
void cuda_watch_product(CudaWatch *w, const CudaGemm *g, Element type, const CudaGemmTile *tile);

#endif
