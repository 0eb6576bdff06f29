/*
 * The CPU's kernels in every instruction set, behind one table. The plain C versions define the operations; AVX2 and
 * AVX-512 versions give the same results: bit for bit in row kernels (same operations in the same order, no contraction
 * into fused multiply-adds), up to the rounding of fused multiply-adds in gemm_tile.
 *
 * All functions are pure over their arguments, allocate nothing and may run in any number of threads.
 */
#ifndef UPRES_KERNELS_CPU_CPU_H
#define UPRES_KERNELS_CPU_CPU_H

#include <stdbool.h>
#include <stdint.h>

enum { GEMM_ROWS = 6, GEMM_LANES = 16, GEMM_PANELS = 4, GEMM_WIDTH = GEMM_LANES * GEMM_PANELS };

/*
 * acc[r][16 p + n] (+)= sum over taps i and k of A(r, i, k) * B(i * depth + k, p, n)
 *   A(r, i, k) = row[r][tap[i] + k]                       r < 6, k < depth
 *   B(j, p, n) = b[j * b_row + p * b_panel + n]           n < 16, p < panels <= 4
 *   acc[r][c]  = acc[r * acc_row + c]
 * Every element sums its products one after another in rising (i, k): one order, whatever the vector width.
 */
typedef struct GemmTile {
    float *acc;
    int64_t acc_row;
    const float *row[GEMM_ROWS];
    const int64_t *tap;
    int taps, depth;
    const float *b;
    int64_t b_row, b_panel;
    int panels;
    bool accumulate; /* false: acc is overwritten */
} GemmTile;

typedef enum RowAct { ROW_NONE, ROW_SILU, ROW_GELU_TANH, ROW_RELU, ROW_TANH3 } RowAct;

typedef struct CpuKernels {
    const char *name; /* "scalar", "avx2", "avx512" */

    void (*gemm_tile)(const GemmTile *t);

    /* y[i][c] = act(x[i][c] * scale[c] + shift[c]) for n pixels; strides in floats. scale, shift NULL: 1, 0. y may be x. */
    void (*affine)(float *y, int64_t y_stride, const float *x, int64_t x_stride, int n, int c, const float *scale,
                   const float *shift, RowAct act);

    /* y[c] = (acc[c] + bias[c]) act'd, times glu[c], times gate[c], plus residual[c]; any but acc may be NULL. */
    void (*finish)(float *y, const float *acc, const float *bias, RowAct act, const float *glu, const float *gate,
                   const float *residual, int c);

    /* sum[c] over a patch of h x w pixels in raster order; then m2[c] = sum of (x - mean[c])^2 in the same order. */
    void (*patch_sum)(const float *x, int64_t row_stride, int c_stride, int h, int w, int c, float *sum);
    void (*patch_m2)(const float *x, int64_t row_stride, int c_stride, int h, int w, int c, const float *mean, float *m2);

    float (*sum_squares)(const float *x, int n); /* 16 running sums, lane i % 16, added pairwise at the end */
    float (*row_max)(const float *x, int n);     /* n >= 1 */
    /* x[i] = exp(x[i] * scale - shift); returns their sum, in the order of sum_squares */
    float (*row_exp)(float *x, int n, float scale, float shift);
    void (*row_scale)(float *x, int n, float k);
    /* y = a * x + b * z, z NULL: a * x + b */
    void (*axpby)(float *y, float a, const float *x, float b, const float *z, int64_t n);
} CpuKernels;

/* The fastest set this machine has, not above `cap` ("scalar", "avx2", "avx512"; NULL or anything else: no cap). */
const CpuKernels *cpu_kernels(const char *cap);
bool cpu_is_cap(const char *name); /* one of those words, whatever this machine has */
/* One set by name; NULL when this machine or build lacks it. */
const CpuKernels *cpu_kernels_named(const char *name);

#endif
