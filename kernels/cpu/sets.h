/* The kernel sets of this build, one a translation unit: rows.c, rows_avx2.c, rows_avx512.c. Private to kernels/cpu. */
#ifndef UPRES_KERNELS_CPU_SETS_H
#define UPRES_KERNELS_CPU_SETS_H

#include "kernels/cpu/cpu.h"

#if defined(__x86_64__) || defined(_M_X64)
#define UPRES_X86 1
#endif

extern const CpuKernels kernels_scalar;
void gemm_tile_scalar(const GemmTile *t);
#ifdef UPRES_X86
extern const CpuKernels kernels_avx2, kernels_avx512;
void gemm_tile_avx2(const GemmTile *t);
void gemm_tile_avx512(const GemmTile *t);
#endif

#endif
