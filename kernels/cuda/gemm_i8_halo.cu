/*
 * Products of 8-bit integers over patches with their halo (halo.cuh), where the copy engine is: from sm_90 on. For other
 * targets there is nothing in this file. gemm.cu has the same product for all parts and tells of numbers and sums; K runs
 * through parts, windows, slabs, taps of a window in both, and the bits are the same.
 *
 * A warp's rows of a patch stay in registers, all 128 channels of them, while its columns are multiplied, 16 and 16: that
 * spares most of the reading of shared memory, which is what int8 waits for on sm_90. Four warps more, of which one is at
 * work, give their registers to the others.
 */
#include "halo.cuh"

#if __CUDA_ARCH__ >= 900
#include "int8.cuh"

/* First row and column of the tile that a warp makes. */
template <class T> __device__ __forceinline__ uint32_t warp_row(uint32_t thread) { return thread / 32 / T::warps_n * T::wm; }
template <class T> __device__ __forceinline__ uint32_t warp_column(uint32_t thread) { return thread / 32 % T::warps_n * T::wn; }

/* One tap: the stage that is next times rows of the patch. row, row_scale: where this lane's first ones lie. */
template <class T>
__device__ __forceinline__ void add_tap(Sums<T> &sum, const Patches<T> &from, uint32_t row, uint32_t row_scale, uint32_t width)
{
    const uint32_t thread = (uint32_t)thread_now(), warp_n = warp_column<T>(thread);
    const int lane = thread & 31;
    const uint32_t b = from.b() + (uint32_t)tile_at(warp_n + fragment_b_row(lane), fragment_b_chunk(lane));
    const uint32_t column_scale = from.b_scales() + (uint32_t)(warp_n + sum_column(lane)) * 4;
    PatchRows<T> a;
    uint32_t fa[4][T::m_fragments][4];
#pragma unroll
    for (int m = 0; m < T::m_fragments; m++) a.row[m] = tile_swizzle(row + m * width * TILE_ROW_BYTES);
#pragma unroll
    for (int n = 0; n < T::n_fragments; n += I8_GROUP<T>) {
        IntegerSums<T> integers;
        clear_i8<T>(integers);
#pragma unroll
        for (int i = 0; i < 4; i++) { /* there and back; what comes last is fetched anew, as a register is missing to keep it */
            const int step = n / I8_GROUP<T> % 2 ? 3 - i : i;
            if (n == 0 || (step == 3 && i == 3)) load_rows<T>(fa[step], a, step);
            multiply_step_i8<T>(integers, fa[step], b, n, step);
        }
        __syncwarp(); /* or the compiler mixes groups, which the registers do not hold */
        add_i8<T>(sum, integers, row_scale, width * 4, column_scale, n);
        __syncwarp();
    }
}

template <class T>
__device__ __forceinline__ void add_patches(const CudaGemmBoxes &boxes, int part, const Place &at, Sums<T> &sum,
                                            Patches<T> &from)
{
    const CudaGemmPart &p = boxes.gemm.part[part];
    const int window = boxes.window_w[part], width = Patches<T>::width + window - 1, taps = p.window;
#pragma unroll 1
    for (int left = p.taps / taps * slabs_of(p, T::element_bytes); left > 0; left--) {
        const uint32_t thread = (uint32_t)thread_now(), first = warp_row<T>(thread) / 16 * width;
        const int lane = thread & 31;
        barrier_wait(from.full_a(), from.patch_parity());
        uint32_t at_tap = from.a() + (uint32_t)((first + fragment_a_row(lane)) * TILE_ROW_BYTES + fragment_a_chunk(lane) * 16);
        uint32_t scale_at_tap = from.scales() + (uint32_t)(first + sum_row(lane)) * 4;
        int column = 0; /* the tap's pixel in its row */
#pragma unroll 1
        for (int tap = 0; tap < taps; tap++) {
            barrier_wait(from.full_b(), from.parity);
            add_tap<T>(sum, from, at_tap, scale_at_tap, (uint32_t)width);
            if ((thread_now() & 31) == 0) barrier_arrive(from.empty_b());
            from.next_stage();
            column++;
            const uint32_t on = column == window ? Patches<T>::width : 1; /* to the next row of the window, or pixel */
            if (column == window) column = 0;
            at_tap += on * TILE_ROW_BYTES;
            scale_at_tap += on * 4;
        }
        if ((thread_now() & 31) == 0) barrier_arrive(from.empty_a());
        from.next_patch();
    }
}

extern "C" __global__ void __launch_bounds__(12 * 32, 1) halo_i8_192x128(const __grid_constant__ CudaGemmBoxes boxes)
{
    gemm_halo<Tile<CUDA_I8, 192, 128, 48, 64, 2, 4>>(boxes);
}

#endif
