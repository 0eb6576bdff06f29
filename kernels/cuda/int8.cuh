/* Products of 8-bit integers, in blocks of 128 channels whose exact sums are scaled and added: kernels/cpu/int8.h. */
#ifndef UPRES_KERNELS_CUDA_INT8_CUH
#define UPRES_KERNELS_CUDA_INT8_CUH

#include "gemm.cuh"

/* Some columns of a warp at a time, because integer sums of all would not fit the registers beside the float ones. */
template <class T> constexpr int I8_GROUP = T::boxed ? 2 : 4; /* in eights */
template <class T> using IntegerSums = int32_t[T::m_fragments][I8_GROUP<T>][4];

template <class T> __device__ __forceinline__ void clear_i8(IntegerSums<T> &c)
{
#pragma unroll
    for (int m = 0; m < T::m_fragments; m++) {
#pragma unroll
        for (int i = 0; i < I8_GROUP<T> * 4; i++) c[m][i / 4][i % 4] = I8_ZERO;
    }
}

/* One step of 32 of K, of the fragments of columns from `first` on. b: where this lane's row of column 0 lies for step 0. */
template <class T>
__device__ __forceinline__ void multiply_step_i8(IntegerSums<T> &c, const uint32_t (&fa)[T::m_fragments][4], uint32_t b,
                                                 int first, int step)
{
#pragma unroll
    for (int n = 0; n < I8_GROUP<T>; n += 2) {
        uint32_t fb[4];
        load_matrix_4(fb, (b ^ step << 5) + (first + n) * 8 * TILE_ROW_BYTES);
#pragma unroll
        for (int m = 0; m < T::m_fragments; m++) {
            multiply_i8(c[m][n], fa[m], fb[0], fb[1]);
            multiply_i8(c[m][n + 1], fa[m], fb[2], fb[3]);
        }
    }
}

template <class T> using RowFloats = float[T::m_fragments][2];

/* Scales of A's rows. from: where those of this lane's first ones lie; step: bytes to the next fragment's. */
template <class T> __device__ __forceinline__ void load_rows_i8(RowFloats<T> &row, uint32_t from, uint32_t step)
{
#pragma unroll
    for (int m = 0; m < T::m_fragments; m++) {
        row[m][0] = load_shared(from + m * step);
        row[m][1] = load_shared(from + m * step + 8 * 4);
    }
}

/* A finished block of 128 channels, scaled, to the sums. columns: where the scales of this lane's first ones lie. */
template <class T>
__device__ __forceinline__ void add_i8(Sums<T> &sum, const IntegerSums<T> &c, const RowFloats<T> &row, uint32_t columns,
                                       int first)
{
#pragma unroll
    for (int n = 0; n < I8_GROUP<T>; n++) {
        const float2 column = load_shared_2(columns + (first + n) * 8 * 4);
#pragma unroll
        for (int m = 0; m < T::m_fragments; m++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float *to = &sum[m][first + n][i];
                *to = __fmaf_rn(i8_sum(c[m][n][i]), __fmul_rn(row[m][i / 2], i % 2 ? column.y : column.x), *to);
            }
        }
    }
}

#endif
