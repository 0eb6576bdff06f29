#define ROWS_SET kernels_scalar
#define ROWS_NAME "scalar"
#define ROWS_GEMM_TILE gemm_tile_scalar
#include "kernels/cpu/rows_body.h"
