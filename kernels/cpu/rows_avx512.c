#include "kernels/cpu/sets.h"

#ifdef UPRES_X86
#define ROWS_SET kernels_avx512
#define ROWS_NAME "avx512"
#define ROWS_GEMM_TILE gemm_tile_avx512
#include "kernels/cpu/rows_body.h"
#endif
