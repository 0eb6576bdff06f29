/*
 * Row kernels, written once and compiled for each instruction set (rows.c, rows_avx2.c, rows_avx512.c): loops that the
 * compiler turns into vectors of any width without changing a bit, because every element's operations are independent and
 * sums are kept in 16 explicit lanes. The including file defines ROWS_SET (table's name), ROWS_NAME and ROWS_GEMM_TILE.
 */
#include "kernels/cpu/exp.h"
#include "kernels/cpu/sets.h"

#include <stddef.h>
#include <string.h>

static inline float silu(float x) { return x / (1.0f + exp_poly(-x)); }

static inline float gelu_tanh(float x)
{
    float u = 0.7978845608f * (x + 0.044715f * (x * (x * x)));
    /* 0.5 x (1 + tanh u) = x - x / (e^2u + 1) */
    return x - x / (exp_poly(2.0f * u) + 1.0f);
}

static inline void activate(float *restrict y, int n, RowAct act)
{
    if (act == ROW_SILU) {
        for (int i = 0; i < n; i++) y[i] = silu(y[i]);
    } else if (act == ROW_GELU_TANH) {
        for (int i = 0; i < n; i++) y[i] = gelu_tanh(y[i]);
    } else if (act == ROW_RELU) {
        for (int i = 0; i < n; i++) y[i] = y[i] > 0.0f ? y[i] : 0.0f;
    } else if (act == ROW_TANH3) { /* 3 tanh(x / 3) = 3 - 6 / (e^(2x/3) + 1) */
        for (int i = 0; i < n; i++) y[i] = 3.0f - 6.0f / (exp_poly(y[i] * (2.0f / 3.0f)) + 1.0f);
    }
}

static void affine(float *y, int64_t y_stride, const float *x, int64_t x_stride, int n, int c, const float *scale,
                   const float *shift, RowAct act)
{
    for (int p = 0; p < n; p++, y += y_stride, x += x_stride) {
        if (act == ROW_SILU && scale != NULL && shift != NULL) { /* the one that runs before every convolution: one pass */
            for (int i = 0; i < c; i++) y[i] = silu(x[i] * scale[i] + shift[i]);
            continue;
        }
        if (scale != NULL && shift != NULL) {
            for (int i = 0; i < c; i++) y[i] = x[i] * scale[i] + shift[i];
        } else if (scale != NULL) {
            for (int i = 0; i < c; i++) y[i] = x[i] * scale[i];
        } else if (shift != NULL) {
            for (int i = 0; i < c; i++) y[i] = x[i] + shift[i];
        } else if (y != x) {
            memcpy(y, x, (size_t)c * sizeof *y);
        }
        activate(y, c, act);
    }
}

static void finish(float *y, const float *acc, const float *bias, RowAct act, const float *glu, const float *gate,
                   const float *residual, int c)
{
    float row[GEMM_WIDTH];
    for (int at = 0; at < c; at += GEMM_WIDTH) {
        int n = c - at < GEMM_WIDTH ? c - at : GEMM_WIDTH;
        if (bias != NULL) {
            for (int i = 0; i < n; i++) row[i] = acc[at + i] + bias[at + i];
        } else {
            memcpy(row, acc + at, (size_t)n * sizeof *row);
        }
        activate(row, n, act);
        if (glu != NULL) {
            for (int i = 0; i < n; i++) row[i] *= glu[at + i];
        }
        if (gate != NULL) {
            for (int i = 0; i < n; i++) row[i] *= gate[at + i];
        }
        if (residual != NULL) {
            for (int i = 0; i < n; i++) row[i] += residual[at + i];
        }
        memcpy(y + at, row, (size_t)n * sizeof *row);
    }
}

static void patch_sum(const float *x, int64_t row_stride, int c_stride, int h, int w, int c, float *restrict sum)
{
    for (int i = 0; i < c; i++) sum[i] = 0.0f;
    for (int y = 0; y < h; y++) {
        const float *p = x + y * row_stride;
        for (int v = 0; v < w; v++, p += c_stride) {
            for (int i = 0; i < c; i++) sum[i] += p[i];
        }
    }
}

static void patch_m2(const float *x, int64_t row_stride, int c_stride, int h, int w, int c, const float *restrict mean,
                     float *restrict m2)
{
    for (int i = 0; i < c; i++) m2[i] = 0.0f;
    for (int y = 0; y < h; y++) {
        const float *p = x + y * row_stride;
        for (int v = 0; v < w; v++, p += c_stride) {
            for (int i = 0; i < c; i++) {
                float d = p[i] - mean[i];
                m2[i] += d * d;
            }
        }
    }
}

static inline float add_lanes(const float *lane)
{
    float a[8], b[4], c[2];
    for (int i = 0; i < 8; i++) a[i] = lane[i] + lane[i + 8];
    for (int i = 0; i < 4; i++) b[i] = a[i] + a[i + 4];
    for (int i = 0; i < 2; i++) c[i] = b[i] + b[i + 2];
    return c[0] + c[1];
}

static float sum_squares(const float *x, int n)
{
    float lane[GEMM_LANES] = {0};
    int i = 0;
    for (; i + GEMM_LANES <= n; i += GEMM_LANES) {
        for (int j = 0; j < GEMM_LANES; j++) lane[j] += x[i + j] * x[i + j];
    }
    for (int j = 0; i < n; i++, j++) lane[j] += x[i] * x[i];
    return add_lanes(lane);
}

static float row_max(const float *x, int n)
{
    float lane[GEMM_LANES];
    for (int j = 0; j < GEMM_LANES; j++) lane[j] = x[0];
    int i = 0;
    for (; i + GEMM_LANES <= n; i += GEMM_LANES) {
        for (int j = 0; j < GEMM_LANES; j++) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    }
    for (int j = 0; i < n; i++, j++) lane[j] = x[i] > lane[j] ? x[i] : lane[j];
    float top = lane[0];
    for (int j = 1; j < GEMM_LANES; j++) top = lane[j] > top ? lane[j] : top;
    return top;
}

static float row_exp(float *x, int n, float scale, float shift)
{
    float lane[GEMM_LANES] = {0};
    int i = 0;
    for (; i + GEMM_LANES <= n; i += GEMM_LANES) {
        for (int j = 0; j < GEMM_LANES; j++) {
            float e = exp_poly(x[i + j] * scale - shift);
            x[i + j] = e;
            lane[j] += e;
        }
    }
    for (int j = 0; i < n; i++, j++) {
        x[i] = exp_poly(x[i] * scale - shift);
        lane[j] += x[i];
    }
    return add_lanes(lane);
}

static void row_scale(float *x, int n, float k)
{
    for (int i = 0; i < n; i++) x[i] *= k;
}

static void axpby(float *y, float a, const float *x, float b, const float *z, int64_t n)
{
    if (z != NULL) {
        for (int64_t i = 0; i < n; i++) y[i] = a * x[i] + b * z[i];
    } else {
        for (int64_t i = 0; i < n; i++) y[i] = a * x[i] + b;
    }
}

const CpuKernels ROWS_SET = {
    .name = ROWS_NAME,
    .gemm_tile = ROWS_GEMM_TILE,
    .affine = affine,
    .finish = finish,
    .patch_sum = patch_sum,
    .patch_m2 = patch_m2,
    .sum_squares = sum_squares,
    .row_max = row_max,
    .row_exp = row_exp,
    .row_scale = row_scale,
    .axpby = axpby,
};
