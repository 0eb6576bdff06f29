/*
 * Matrix products whose left side is gathered from pictures: convolutions, linear layers, the products of folded upsamplers
 * and of plain attention. CudaGemm in args.h says what is computed, kernels/cpu/gemm.c is the same in plain C.
 *
 * A block makes BM output pixels x BN columns, a warp WM x WN of them. K runs through parts, windows, slabs of 128 bytes and
 * taps of a window, in that order, as in the forms with a halo (halo.cuh); with f32 through parts, taps, slabs. One slab of one
 * tap is a stage, BM rows of A and BN of B, fetched by cp.async with zeros where a channel does not exist. One barrier a stage:
 * behind it the slab is there and the stage before may be overwritten.
 *
 *   bf16   mma m16n8k16, sums in float32 (the tensor core's)
 *   int8   mma m16n8k32; the exact sum of a slab, which is one block of 128 channels, times the rounded product of A's and B's
 *          scale is added to a float32 sum by fma: blocks in ascending order, the same bits on every device
 *   f32    plain fused multiply-adds in ascending order of K
 *
 * A result does not depend on the tile it is made in. Blocks go through eight tiles of pixels before the next column tile,
 * so that those running at one time share both operands in the second-level cache.
 *
 * Registers decide the tiles: 64 x 64 a warp where sums are kept once (bf16), 48 x 64 where an integer copy of half of them
 * comes on top (int8; 64 x 64 spilled). What is not needed in the main loop is read or worked out anew behind it.
 */
#include "epilogue.cuh"
#include "int8.cuh"

/* ------------------------------------------------------------------------------------------------------ multiplication */

/* One step of 32 of K, of the fragments of columns from `first` on. */
template <class T> __device__ __forceinline__ void step_i8(IntegerSums<T> &c, uint32_t a, uint32_t b, int first, int step)
{
    uint32_t fa[T::m_fragments][4];
    load_rows<T>(fa, TileRows{a}, step);
    multiply_step_i8<T>(c, fa, b, first, step);
}

/* A slab of float32, `chunks` times four of K. m, n: the warp's first row and column. */
template <class T>
__device__ __forceinline__ void multiply_f32(Sums<T> &sum, const uint8_t *stage, int m, int n, int lane, int chunks)
{
    const uint8_t *a = stage, *b = stage + T::b_at;
#pragma unroll 1
    for (int c = 0; c < chunks; c++) {
        float4 fa[T::m_fragments * 2];
#pragma unroll
        for (int i = 0; i < T::m_fragments * 2; i++) {
            fa[i] = *(const float4 *)(a + tile_at(m + i * 8 + sum_row(lane), c));
        }
#pragma unroll
        for (int j = 0; j < T::n_fragments * 2; j++) {
            const float4 fb = *(const float4 *)(b + tile_at(n + j / 2 * 8 + sum_column(lane) + j % 2, c));
#pragma unroll
            for (int i = 0; i < T::m_fragments * 2; i++) {
                float *to = &sum[i / 2][j / 2][i % 2 * 2 + j % 2];
                *to = __fmaf_rn(fa[i].x, fb.x, *to);
                *to = __fmaf_rn(fa[i].y, fb.y, *to);
                *to = __fmaf_rn(fa[i].z, fb.z, *to);
                *to = __fmaf_rn(fa[i].w, fb.w, *to);
            }
        }
    }
}

/* --------------------------------------------------------------------------------------------------------- the kernels */

/* Adds one part's products to the sums. memory: the stages; nothing on its way and nothing read when it returns. */
template <class T>
__device__ __forceinline__ void add_part(const CudaGemm &g, const CudaGemmPart &p, const Place &at, Sums<T> &sum,
                                         uint8_t *memory)
{
    const uint32_t base = shared_address(memory);
    const int thread = thread_now(), lane = thread % 32, warp = thread / 32;
    const int warp_m = warp / T::warps_n * T::wm, warp_n = warp % T::warps_n * T::wn;
    const uint32_t a = (uint32_t)tile_at(warp_m + fragment_a_row(lane), fragment_a_chunk(lane));
    const uint32_t b = T::b_at + (uint32_t)tile_at(warp_n + fragment_b_row(lane), fragment_b_chunk(lane));
    const uint32_t row_scale = T::scale_at + (uint32_t)(warp_m + sum_row(lane)) * 4;
    const uint32_t column_scale = T::scale_at + (uint32_t)(T::bm + warp_n + sum_column(lane)) * 4;
    const int slabs = p.taps * ((p.depth * T::element_bytes + TILE_ROW_BYTES - 1) / TILE_ROW_BYTES);

    Fetch<T> fetch;
    begin_fetch<T>(g, p, at, fetch);
    int used[T::stages - 1] = {};    /* chunks of the slabs on their way; none yet */
    uint32_t stage = T::stage_bytes; /* the one to multiply; the one before it is filled */
#pragma unroll 1
    for (int slab = 1 - T::stages; slab < slabs; slab++) {
        copy_async_wait<T::stages - 2>();
        __syncthreads();
        const uint32_t now = base + stage;
        const uint32_t fill = base + (stage == 0 ? T::stages * T::stage_bytes : stage) - T::stage_bytes;
        const int chunks = used[0];
        IntegerSums<T> integers;
        clear_i8<T>(integers);
        if (chunks > 0) {
            if constexpr (T::type == CUDA_BF16) step_bf16<T>(sum, TileRows{now + a}, now + b, 0);
            if constexpr (T::type == CUDA_I8) step_i8<T>(integers, now + a, now + b, 0, 0);
        }
        /* The next slab's addresses are worked out while the tensor cores are busy. */
#pragma unroll
        for (int i = 0; i + 2 < T::stages; i++) used[i] = used[i + 1];
        if (slab + T::stages - 1 < slabs) used[T::stages - 2] = fetch_slab<T>(g, p, at, fetch, fill);
        copy_async_commit();
        if constexpr (T::type == CUDA_F32) multiply_f32<T>(sum, memory + stage, warp_m, warp_n, lane, chunks);
        if (chunks > 2) {
            if constexpr (T::type == CUDA_BF16) {
#pragma unroll
                for (int step = 1; step < 4; step++) step_bf16<T>(sum, TileRows{now + a}, now + b, step);
            }
            if constexpr (T::type == CUDA_I8) {
#pragma unroll
                for (int first = 0; first < T::n_fragments; first += I8_GROUP<T>) {
                    if (first > 0) clear_i8<T>(integers);
#pragma unroll
                    for (int step = first > 0 ? 0 : 1; step < 4; step++) {
                        step_i8<T>(integers, now + a, now + b, first, step);
                    }
                    __syncwarp(); /* or the compiler mixes two groups, which the registers do not hold */
                    RowFloats<T> rows;
                    load_rows_i8<T>(rows, now + row_scale, 16 * 4);
                    add_i8<T>(sum, integers, rows, now + column_scale, first);
                }
            }
        }
        stage = stage == (T::stages - 1) * T::stage_bytes ? 0 : stage + T::stage_bytes;
    }
    copy_async_wait<0>();
    __syncthreads();
}

template <class T> __device__ __forceinline__ void gemm(const CudaGemm &g)
{
    extern __shared__ __align__(128) uint8_t memory[];
    const Place at = tile_place<T>(g);
    Sums<T> sum = {};
#pragma unroll 1
    for (int i = 0; i < g.parts; i++) add_part<T>(g, g.part[i], at, sum, memory);
    write_results<T>(g, sum, memory);
}

/*
 * The functions. GEMM_ONLY=<type><tile> compiles one of them. `blocks` is how many are to fit a multiprocessor. Shared memory
 * is stages * stage_bytes, at most 101376 bytes, or 50176 where two blocks are to share.
 */
#define GEMM(number, name, TYPE, bm, bn, wm, wn, stages, blocks)                                                       \
    extern "C" __global__ void __launch_bounds__(bm / wm * (bn / wn) * 32, blocks)                                     \
        gemm_##name##_##bm##x##bn(const __grid_constant__ CudaGemm g)                                                  \
    {                                                                                                                  \
        gemm<Tile<TYPE, bm, bn, wm, wn, stages>>(g);                                                                   \
    }

#ifndef GEMM_ONLY
#define GEMM_ONLY 0
#endif
#define WANTED(number) (GEMM_ONLY == 0 || GEMM_ONLY == number)

#if WANTED(12)
GEMM(12, f32, CUDA_F32, 128, 64, 64, 32, 2, 2)
#endif
#if WANTED(13)
GEMM(13, f32, CUDA_F32, 64, 64, 32, 32, 3, 2)
#endif
#if WANTED(14)
GEMM(14, f32, CUDA_F32, 128, 8, 32, 8, 2, 2)
#endif
#if WANTED(20)
GEMM(20, bf16, CUDA_BF16, 256, 128, 64, 64, 2, 1)
#endif
#if WANTED(21)
GEMM(21, bf16, CUDA_BF16, 128, 128, 64, 64, 3, 1)
#endif
#if WANTED(22)
GEMM(22, bf16, CUDA_BF16, 128, 64, 32, 64, 2, 2)
#endif
#if WANTED(23)
GEMM(23, bf16, CUDA_BF16, 64, 64, 32, 32, 3, 2)
#endif
#if WANTED(24)
GEMM(24, bf16, CUDA_BF16, 128, 8, 32, 8, 2, 2)
#endif
#if WANTED(30)
GEMM(30, i8, CUDA_I8, 192, 128, 48, 64, 2, 1)
#endif
#if WANTED(31)
GEMM(31, i8, CUDA_I8, 128, 128, 64, 32, 3, 1)
#endif
#if WANTED(32)
GEMM(32, i8, CUDA_I8, 128, 64, 32, 32, 3, 1)
#endif
#if WANTED(33)
GEMM(33, i8, CUDA_I8, 64, 64, 32, 32, 2, 2)
#endif
