/*
 * The two loops that most of a kernel's time goes into, compiled twice: plainly, and by core_lanes_avx2.c for processors
 * with AVX2 and FMA. Both give the same bits: fmaf rounds once either way, and the products of a matrix element are exact
 * in double, so that fusing them with the sum changes nothing.
 */
#include "tests/emulator/core_internal.h"
#include <math.h>
#include <string.h>

#ifndef CORE_LANES
#define CORE_LANES core_lanes_plain
#endif

static void lanes_fma(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2), *c = core_reg(w, op, 3);
    union core_register v;
    for (int l = 0; l < LANES; l++) v.f[l] = fmaf(a->f[l], b->f[l], c->f[l]);
    core_put32(w, core_reg(w, op, 0), v.u);
}

static void lanes_products(uint32_t depth, const float a[16][32], const float b[32][8], double sum[16][8])
{
    double wide[32][8];
    for (uint32_t k = 0; k < depth; k++)
        for (int n = 0; n < 8; n++) wide[k][n] = (double)b[k][n];
    for (int row = 0; row < 16; row++) {
        double v[8] = {0};
        for (uint32_t k = 0; k < depth; k++) {
            double x = (double)a[row][k];
            for (int n = 0; n < 8; n++) v[n] += x * wide[k][n];
        }
        memcpy(sum[row], v, sizeof(v));
    }
}

const struct core_lanes CORE_LANES = {lanes_fma, lanes_products};
