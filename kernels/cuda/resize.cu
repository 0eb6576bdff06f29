/*
 * The resize of kernels/cpu/resize.c, width before height, sums in the order of the taps: the same bits. Widths go through
 * memory between the axes: when pictures grow that is a small picture, and no sum is made twice. Weights stay in the caches.
 */
#include "ptx.cuh"

enum { THREADS = 128, ROWS = 4, COLUMNS = 4 };

/* Rows of all planes resized in width; a thread makes one column of ROWS rows. Blocks: x columns, y rows. */
extern "C" __global__ void __launch_bounds__(THREADS) resize_width(const __grid_constant__ CudaResizeWidth a)
{
    const int x = blockIdx.x * THREADS + threadIdx.x, y = blockIdx.y * ROWS;
    if (x >= a.to_w) return;
    __builtin_assume(a.taps > 0);
    const int rows = min(ROWS, a.rows - y) - 1;
    const float *weight = memory_at<const float>(a.weight) + (uint64_t)x * a.taps;
    const float *from = memory_at<const float>(a.from) + ((uint64_t)y * a.from_row + memory_at<const int32_t>(a.first)[x]);
    float sum[ROWS] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
    for (int k = 0; k < a.taps; k++) {
        const float w = weight[k];
#pragma unroll
        for (int r = 0; r < ROWS; r++) sum[r] = __fadd_rn(sum[r], __fmul_rn(w, from[k + min(r, rows) * a.from_row]));
    }
    float *to = memory_at<float>(a.to) + ((uint64_t)y * a.to_w + x);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        if (r <= rows) to[r * a.to_w] = sum[r];
    }
}

/* Where the result goes beyond the picture. The last two, on all its sides, take the picture as it is, not held to [0, 1]. */
enum { BLACK, EDGE, EDGE_AROUND, MIRRORED_AROUND };

/* Which of 0 .. n - 1 stands at place i of what is filled up. */
__device__ __forceinline__ int place(int i, int n, bool mirrored)
{
    const int outside = i < 0 ? -i : 2 * n - 2 - i;
    return mirrored && (i < 0 || i >= n) ? outside : min(max(i, 0), n - 1);
}

/*
 * Planes resized in height, and of them the window that is wanted: clamped to [0, 1] and made signed, filled up with its
 * last row and column or with -1. Or all of them, filled up around (a.top and a.left are not above 0 then).
 * A thread makes COLUMNS columns of a row, 32 apart. Blocks: x columns with the padding of rows, which becomes zero; y rows;
 * z planes.
 */
extern "C" __global__ void __launch_bounds__(THREADS) resize_height(const __grid_constant__ CudaResizeHeight a)
{
    const int warp = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, x = warp * 32 * COLUMNS + threadIdx.x % 32, y = blockIdx.y;
    if (x >= a.to_row) return;
    __builtin_assume(a.taps > 0);
    const bool around = a.pad_edge >= EDGE_AROUND, mirrored = a.pad_edge == MIRRORED_AROUND;
    const int row = around ? place(a.top + y, a.window_h, mirrored) : a.top + min(y, a.window_h - 1);
    const int last = around ? a.to_w - 1 : a.window_w - 1;
    const float *weight = memory_at<const float>(a.weight) + (uint64_t)row * a.taps;
    const uint64_t first = (uint64_t)blockIdx.z * a.from_h + memory_at<const int32_t>(a.first)[row];
    const float *from = memory_at<const float>(a.from) + first * a.from_row;
    uint32_t column[COLUMNS];
    float sum[COLUMNS];
#pragma unroll
    for (int i = 0; i < COLUMNS; i++) {
        column[i] = place(a.left + min(x + 32 * i, last), a.from_row, mirrored);
        sum[i] = 0.0f;
    }
#pragma unroll 2
    for (int k = 0; k < a.taps; k++) {
        const float w = weight[k];
#pragma unroll
        for (int i = 0; i < COLUMNS; i++) sum[i] = __fadd_rn(sum[i], __fmul_rn(w, from[column[i]]));
        from += a.from_row;
    }
    const bool held = a.is_signed && !around, black = a.is_signed && !a.pad_edge;
    const float least = held ? 0.0f : -__int_as_float(0x7f800000), most = held ? 1.0f : __int_as_float(0x7f800000);
    const int seen = !black ? a.to_w : y < a.window_h ? a.window_w : 0; /* columns that are not black */
    float *to = memory_at<float>(a.to) + (((uint64_t)blockIdx.z * a.to_h + y) * a.to_row + x);
#pragma unroll
    for (int i = 0; i < COLUMNS; i++) {
        const int at = x + 32 * i;
        float value = sum[i] < least ? least : sum[i];
        value = value > most ? most : value;
        value = a.is_signed ? __fsub_rn(__fmul_rn(value, 2.0f), 1.0f) : value;
        value = at < seen ? value : at < a.to_w ? -1.0f : 0.0f;
        if (at < a.to_row) to[32 * i] = value;
    }
}
