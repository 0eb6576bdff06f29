/*
 * Products of bf16 over patches with their halo (halo.cuh), where the copy engine is: from sm_90 on. For other targets there is
 * nothing in this file. gemm.cu has the same product for all parts; K runs through parts, windows, slabs, taps of a window in
 * both, and the bits are the same.
 *
 * Eight columns make little of a pixel: where each of 27 taps fetches it anew, as in a decoder's last layer, the second-level
 * cache is what is waited for. 128 columns wait for it on parts whose multiprocessors are many or fast.
 */
#include "halo.cuh"

#if __CUDA_ARCH__ >= 900

template <class T>
__device__ __forceinline__ void add_products(const CudaGemmBoxes &boxes, int part, const Place &at, Sums<T> &sum,
                                             Patches<T> &from)
{
    const CudaGemmPart &p = boxes.gemm.part[part];
    const int thread = thread_now(), lane = thread % 32, warp = thread / 32;
    const int warp_y = warp / T::warps_n * T::wm / 16, warp_n = warp % T::warps_n * T::wn;
    const int window = boxes.window_w[part], width = Patches<T>::width + window - 1, taps = p.window;
    const bool narrow = p.depth <= 16; /* one step has all channels */
    const uint32_t b = (uint32_t)tile_at(warp_n + fragment_b_row(lane), fragment_b_chunk(lane));
    const uint32_t row_bytes = (uint32_t)width * TILE_ROW_BYTES; /* from fragment to fragment */
    const uint32_t first = (uint32_t)(warp_y * width + fragment_a_row(lane)) * TILE_ROW_BYTES + fragment_a_chunk(lane) * 16;
#pragma unroll 1
    for (int left = p.taps / taps * slabs_of(p, T::element_bytes); left > 0; left--) {
        barrier_wait(from.full_a(), from.patch_parity());
        uint32_t at_tap = from.a() + first;
        int column = 0;
#pragma unroll 1
        for (int tap = 0; tap < taps; tap++) {
            PatchRows<T> a;
#pragma unroll
            for (int m = 0; m < T::m_fragments; m++) a.row[m] = tile_swizzle(at_tap + m * row_bytes);
            barrier_wait(from.full_b(), from.parity);
            step_bf16<T>(sum, a, from.b() + b, 0);
            if (!narrow) {
#pragma unroll
                for (int step = 1; step < 4; step++) step_bf16<T>(sum, a, from.b() + b, step);
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(from.empty_b());
            from.next_stage();
            at_tap += to_next_tap<T>(column, window) * TILE_ROW_BYTES;
        }
        if (lane == 0) barrier_arrive(from.empty_a());
        from.next_patch();
    }
}

extern "C" __global__ void __launch_bounds__(9 * 32, 1) halo_bf16_256x8(const __grid_constant__ CudaGemmBoxes boxes)
{
    gemm_by_roles<Tile<CUDA_BF16, 256, 8, 32, 8, 4, 1>, Patches>(boxes);
}

extern "C" __global__ void __launch_bounds__(12 * 32, 1) halo_bf16_192x128(const __grid_constant__ CudaGemmBoxes boxes)
{
    gemm_by_roles<Tile<CUDA_BF16, 192, 128, 48, 64, 2, 4>, Patches>(boxes);
}

#endif
