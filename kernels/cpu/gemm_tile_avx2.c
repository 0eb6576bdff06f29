/*
 * gemm_tile with AVX2 and FMA: 6 rows x 16 columns in 12 of the 16 registers, 2 for B, 1 for the broadcast A value. One
 * panel at a time; its chunk of B stays in the first-level cache while the rows pass.
 */
#include "kernels/cpu/sets.h"

#ifdef UPRES_X86
#include <immintrin.h>

void gemm_tile_avx2(const GemmTile *t)
{
    for (int p = 0; p < t->panels; p++) {
        float *acc = t->acc + p * GEMM_LANES;
        __m256 c[GEMM_ROWS][2];
#pragma GCC unroll 6
        for (int r = 0; r < GEMM_ROWS; r++) c[r][0] = c[r][1] = _mm256_setzero_ps();
        const float *b = t->b + p * t->b_panel;
        const int64_t b_row = t->b_row;
        for (int i = 0; i < t->taps; i++) {
            const int64_t tap = t->tap[i];
            const float *a0 = t->row[0] + tap, *a1 = t->row[1] + tap, *a2 = t->row[2] + tap;
            const float *a3 = t->row[3] + tap, *a4 = t->row[4] + tap, *a5 = t->row[5] + tap;
            for (int k = 0; k < t->depth; k++, b += b_row) {
                const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
                __m256 a = _mm256_broadcast_ss(a0 + k);
                c[0][0] = _mm256_fmadd_ps(a, b0, c[0][0]);
                c[0][1] = _mm256_fmadd_ps(a, b1, c[0][1]);
                a = _mm256_broadcast_ss(a1 + k);
                c[1][0] = _mm256_fmadd_ps(a, b0, c[1][0]);
                c[1][1] = _mm256_fmadd_ps(a, b1, c[1][1]);
                a = _mm256_broadcast_ss(a2 + k);
                c[2][0] = _mm256_fmadd_ps(a, b0, c[2][0]);
                c[2][1] = _mm256_fmadd_ps(a, b1, c[2][1]);
                a = _mm256_broadcast_ss(a3 + k);
                c[3][0] = _mm256_fmadd_ps(a, b0, c[3][0]);
                c[3][1] = _mm256_fmadd_ps(a, b1, c[3][1]);
                a = _mm256_broadcast_ss(a4 + k);
                c[4][0] = _mm256_fmadd_ps(a, b0, c[4][0]);
                c[4][1] = _mm256_fmadd_ps(a, b1, c[4][1]);
                a = _mm256_broadcast_ss(a5 + k);
                c[5][0] = _mm256_fmadd_ps(a, b0, c[5][0]);
                c[5][1] = _mm256_fmadd_ps(a, b1, c[5][1]);
            }
        }
#pragma GCC unroll 6
        for (int r = 0; r < GEMM_ROWS; r++) {
            if (t->accumulate) {
                c[r][0] = _mm256_add_ps(c[r][0], _mm256_loadu_ps(acc + r * t->acc_row));
                c[r][1] = _mm256_add_ps(c[r][1], _mm256_loadu_ps(acc + r * t->acc_row + 8));
            }
            _mm256_storeu_ps(acc + r * t->acc_row, c[r][0]);
            _mm256_storeu_ps(acc + r * t->acc_row + 8, c[r][1]);
        }
    }
}
#endif
