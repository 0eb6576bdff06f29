/*
 * Products of 8-bit integers over patches with their halo (halo.cuh), where the copy engine is: from sm_90 on. For other
 * targets there is nothing in this file. gemm.cu has the same product for all parts and tells of numbers and sums; K runs
 * through parts, windows, slabs, taps of a window in both, and the bits are the same.
 *
 * A warp's rows of a patch stay in registers, all 128 channels of them and their scales, while its columns are multiplied,
 * 16 and 16: that spares most of the reading of shared memory, which is what int8 waits for on sm_90. Four warps more, of
 * which one is at work, give their registers to the others. None is left over: in which order steps of 32 channels come, and
 * where a warp's lanes wait for each other so that the compiler does not mix groups of columns, is what fits each target.
 */
#include "halo.cuh"

#if __CUDA_ARCH__ >= 900
#include "int8.cuh"

constexpr bool there_and_back = __CUDA_ARCH__ < 1000;

/* First row and column of the tile that a warp makes. */
template <class T> __device__ __forceinline__ uint32_t warp_row(uint32_t thread) { return thread / 32 / T::warps_n * T::wm; }
template <class T> __device__ __forceinline__ uint32_t warp_column(uint32_t thread) { return thread / 32 % T::warps_n * T::wn; }

/* One tap: the stage that is next times rows of the patch, `width` pixels wide, from the tap's pixel on. */
template <class T>
__device__ __forceinline__ void add_tap(Sums<T> &sum, const Patches<T> &from, uint32_t pixel, uint32_t width)
{
    const uint32_t thread = (uint32_t)thread_now(), warp_n = warp_column<T>(thread);
    const int lane = thread & 31;
    const uint32_t b = from.b() + (uint32_t)tile_at(warp_n + fragment_b_row(lane), fragment_b_chunk(lane));
    const uint32_t column_scale = from.b_scales() + (uint32_t)(warp_n + sum_column(lane)) * 4;
    const uint32_t first = warp_row<T>(thread) / 16 * width + pixel;
    const uint32_t row = from.a() + (first + fragment_a_row(lane)) * TILE_ROW_BYTES + fragment_a_chunk(lane) * 16;
    const uint32_t row_scale = from.scales() + (first + sum_row(lane)) * 4;
    PatchRows<T> a;
    RowFloats<T> rows;
    uint32_t fa[4][T::m_fragments][4];
#pragma unroll
    for (int m = 0; m < T::m_fragments; m++) a.row[m] = tile_swizzle(row + m * width * TILE_ROW_BYTES);
#pragma unroll
    for (int n = 0; n < T::n_fragments; n += I8_GROUP<T>) {
        IntegerSums<T> integers;
        clear_i8<T>(integers);
#pragma unroll
        for (int i = 0; i < 4; i++) { /* what comes last is fetched anew */
            const int step = there_and_back && n / I8_GROUP<T> % 2 ? 3 - i : i;
            if (n == 0 || (step == 3 && i == 3)) load_rows<T>(fa[step], a, step);
            multiply_step_i8<T>(integers, fa[step], b, n, step);
        }
        __syncwarp();
        if (n == 0) load_rows_i8<T>(rows, row_scale, width * 4);
        add_i8<T>(sum, integers, rows, column_scale, n);
        if (there_and_back) __syncwarp();
    }
}

template <class T>
__device__ __forceinline__ void add_products(const CudaGemmBoxes &boxes, int part, const Place &at, Sums<T> &sum,
                                             Patches<T> &from)
{
    const CudaGemmPart &p = boxes.gemm.part[part];
    const int window = boxes.window_w[part], width = Patches<T>::width + window - 1, taps = p.window;
#pragma unroll 1
    for (int left = p.taps / taps * slabs_of(p, T::element_bytes); left > 0; left--) {
        barrier_wait(from.full_a(), from.patch_parity());
        int pixel = 0, column = 0; /* the tap's in the patch */
#pragma unroll 1
        for (int tap = 0; tap < taps; tap++) {
            barrier_wait(from.full_b(), from.parity);
            add_tap<T>(sum, from, (uint32_t)pixel, (uint32_t)width);
            __syncwarp();
            if ((thread_now() & 31) == 0) barrier_arrive(from.empty_b());
            from.next_stage();
            pixel += to_next_tap<T>(column, window);
        }
        if ((thread_now() & 31) == 0) barrier_arrive(from.empty_a());
        from.next_patch();
    }
}

extern "C" __global__ void __launch_bounds__(12 * 32, 1) halo_i8_192x128(const __grid_constant__ CudaGemmBoxes boxes)
{
    gemm_by_roles<Tile<CUDA_I8, 192, 128, 48, 64, 2, 4>, Patches>(boxes);
}

#endif
