/*
 * gemm_tile with AVX-512: 6 rows x up to 64 columns in 24 of the 32 registers, 4 for B, 1 for the broadcast A value, so
 * that 10 loads feed 24 fused multiply-adds. The number of panels is a constant of each instance.
 */
#include "kernels/cpu/sets.h"

#ifdef UPRES_X86
#include <immintrin.h>

static inline __attribute__((always_inline)) void tile(const GemmTile *t, const int panels)
{
    __m512 c[GEMM_ROWS][GEMM_PANELS], b[GEMM_PANELS];
#pragma GCC unroll 6
    for (int r = 0; r < GEMM_ROWS; r++) {
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) c[r][p] = _mm512_setzero_ps();
    }
    const float *b_at = t->b;
    const int64_t b_row = t->b_row, b_panel = t->b_panel;
    for (int i = 0; i < t->taps; i++) {
        const int64_t tap = t->tap[i];
        const float *a0 = t->row[0] + tap, *a1 = t->row[1] + tap, *a2 = t->row[2] + tap;
        const float *a3 = t->row[3] + tap, *a4 = t->row[4] + tap, *a5 = t->row[5] + tap;
        for (int k = 0; k < t->depth; k++, b_at += b_row) {
#pragma GCC unroll 4
            for (int p = 0; p < panels; p++) b[p] = _mm512_loadu_ps(b_at + p * b_panel);
            const float a[GEMM_ROWS] = {a0[k], a1[k], a2[k], a3[k], a4[k], a5[k]};
#pragma GCC unroll 6
            for (int r = 0; r < GEMM_ROWS; r++) {
                const __m512 v = _mm512_set1_ps(a[r]);
#pragma GCC unroll 4
                for (int p = 0; p < panels; p++) c[r][p] = _mm512_fmadd_ps(v, b[p], c[r][p]);
            }
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < GEMM_ROWS; r++) {
#pragma GCC unroll 4
        for (int p = 0; p < panels; p++) {
            float *acc = t->acc + r * t->acc_row + p * GEMM_LANES;
            if (t->accumulate) c[r][p] = _mm512_add_ps(c[r][p], _mm512_loadu_ps(acc));
            _mm512_storeu_ps(acc, c[r][p]);
        }
    }
}

void gemm_tile_avx512(const GemmTile *t)
{
    switch (t->panels) {
    case 1: tile(t, 1); break;
    case 2: tile(t, 2); break;
    case 3: tile(t, 3); break;
    default: tile(t, 4); break;
    }
}
#endif
