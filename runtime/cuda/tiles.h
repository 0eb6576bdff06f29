/* The tiles of gemm.cu, gemm_bf16_halo.cu, gemm_i8_halo.cu and gemm_fp8.cu: cuda_gemm picks one, tests go through all. */
#ifndef UPRES_RUNTIME_CUDA_TILES_H
#define UPRES_RUNTIME_CUDA_TILES_H

#include "runtime/cuda/driver.h"
#include "runtime/dev.h"

typedef struct CudaGemmTile {
    const char *function, *macros;
    Element type;
    int rows, columns; /* of a block; columns as they are packed */
    int warps, stages;
    float speed;       /* per element, against the best of its type */
    int producers;     /* more warps, which fetch boxes of A's pictures; 0: rows are gathered */
    bool halo;         /* boxes that all taps of a window find their pixels in */
} CudaGemmTile;

/* In the order of the kernels' files; 8-bit floats, of sm_120, last. False past the last. */
bool cuda_gemm_tile(int index, CudaGemmTile *tile);
/* Has the device what the tile's kernel is made of? */
bool cuda_gemm_has(const CudaDevice *d, const CudaGemmTile *tile);

#endif
