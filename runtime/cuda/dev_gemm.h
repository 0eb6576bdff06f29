/* Products in one tile or another. */
#ifndef UPRES_RUNTIME_CUDA_DEV_GEMM_H
#define UPRES_RUNTIME_CUDA_DEV_GEMM_H

#include "runtime/cuda/dev.h"
#include "runtime/cuda/tiles.h"

bool cuda_gemm_fits(const CudaGemm *g, const CudaGemmTile *tile);
/* The tile that cuda_gemm would use. */
CudaGemmTile cuda_gemm_choose(const Dev *d, const CudaGemm *g, Element type);
/* Are moments asked for, and does the tile tell them of this product? */
bool cuda_gemm_tells(const CudaGemm *g, const CudaGemmTile *tile);
/* True: it has told the moments that were asked for. */
bool cuda_gemm_with(Dev *d, const CudaGemm *g, const CudaGemmTile *tile);

#endif
