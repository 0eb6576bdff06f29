/* The definition of gemm_tile: see cpu.h. One row at a time keeps its 16 sums in registers on any machine. */
#include "kernels/cpu/sets.h"

void gemm_tile_scalar(const GemmTile *t)
{
    for (int p = 0; p < t->panels; p++) {
        for (int r = 0; r < GEMM_ROWS; r++) {
            float *acc = t->acc + r * t->acc_row + p * GEMM_LANES;
            float sum[GEMM_LANES] = {0};
            const float *b = t->b + p * t->b_panel;
            for (int i = 0; i < t->taps; i++) {
                const float *a = t->row[r] + t->tap[i];
                for (int k = 0; k < t->depth; k++, b += t->b_row) {
                    for (int n = 0; n < GEMM_LANES; n++) sum[n] += a[k] * b[n];
                }
            }
            /* a tile's own sum first, then its addition: one long chain of K terms would lose digits with K */
            for (int n = 0; t->accumulate && n < GEMM_LANES; n++) sum[n] += acc[n];
            for (int n = 0; n < GEMM_LANES; n++) acc[n] = sum[n];
        }
    }
}
