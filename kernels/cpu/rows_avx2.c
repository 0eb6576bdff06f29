#include "kernels/cpu/sets.h"

#ifdef UPRES_X86
#define ROWS_SET kernels_avx2
#define ROWS_NAME "avx2"
#define ROWS_GEMM_TILE gemm_tile_avx2
#include "kernels/cpu/rows_body.h"
#endif
