/*
 * Products over patches of pixels with their halo: for convolutions whose windows are rectangles of pixels, on parts that have
 * the copy engine (sm_90 and up). CudaGemmBoxes in args.h says what is computed; gemm_fp8.cu, gemm_i8_halo.cu and
 * gemm_bf16_halo.cu multiply.
 *
 * All taps of a window read pixels that lie within a few of each other: a patch of them, 128 bytes deep, comes once and stays
 * while the window's taps go over it, each with its own slab of B. Two patches take turns beside the ring of B's stages. One
 * warp asks for both, the others wait for them, multiply and say that they are empty. Behind the stages lie the scales, of
 * types that have any: A's of the patches' pixels, then, of int8, B's of each stage.
 */
#ifndef UPRES_KERNELS_CUDA_HALO_CUH
#define UPRES_KERNELS_CUDA_HALO_CUH

#include "bulk.cuh"
#include "epilogue.cuh"

__device__ __forceinline__ int slabs_of(const CudaGemmPart &p, int element_bytes)
{
    return (p.depth * element_bytes + TILE_ROW_BYTES - 1) / TILE_ROW_BYTES;
}

template <class T> struct Patches {
    static constexpr int width = 16, height = T::bm / 16; /* of a tile */
    static constexpr int rows_room = (width + 2) * (height + 2), bytes_room = (rows_room * TILE_ROW_BYTES + 1023) / 1024 * 1024;
    static constexpr int b_bytes = T::bn * TILE_ROW_BYTES, b_at = 2 * bytes_room, scales_at = b_at + T::stages * b_bytes;
    static constexpr int scale_bytes = T::scaled ? rows_room * 4 : 0, b_scales_at = scales_at + 2 * scale_bytes;
    static constexpr int b_scale_bytes = T::type == CUDA_I8 ? T::bn * 4 : 0;
    /* in what is left of a patch's last KiB, where they fit */
    static constexpr int barrier_bytes = (4 + 2 * T::stages) * 8, behind_patch = (rows_room * TILE_ROW_BYTES + 7) / 8 * 8;
    static constexpr int barriers_at =
        behind_patch + barrier_bytes <= bytes_room ? behind_patch : b_scales_at + T::stages * b_scale_bytes;
    static constexpr int arrivals = T::scaled ? 33 : 1; /* what the engine brings counts one, each lane's scales another */
    static constexpr int arrivals_b = T::type == CUDA_I8 ? 33 : 1;
    uint32_t base;
    uint32_t patch;         /* patches so far: two places take turns */
    uint32_t stage, parity; /* the next one, and its present phase */

    __device__ __forceinline__ uint32_t a() const { return base + (patch & 1) * bytes_room; }
    __device__ __forceinline__ uint32_t b() const { return base + b_at + stage * b_bytes; }
    __device__ __forceinline__ uint32_t scales() const { return base + scales_at + (patch & 1) * scale_bytes; }
    __device__ __forceinline__ uint32_t b_scales() const { return base + b_scales_at + stage * b_scale_bytes; }
    __device__ __forceinline__ uint32_t full_a() const { return base + barriers_at + (patch & 1) * 8; }
    __device__ __forceinline__ uint32_t empty_a() const { return full_a() + 2 * 8; }
    __device__ __forceinline__ uint32_t full_b() const { return base + barriers_at + 4 * 8 + stage * 8; }
    __device__ __forceinline__ uint32_t empty_b() const { return full_b() + T::stages * 8; }
    __device__ __forceinline__ uint32_t patch_parity() const { return patch >> 1 & 1; }
    __device__ __forceinline__ void next_patch() { patch++; }
    __device__ __forceinline__ void next_stage()
    {
        stage++;
        if (stage == T::stages) {
            stage = 0;
            parity ^= 1;
        }
    }
};

/* Pixels of a patch from a tap's to the next one's, beside it or in the window's next row. column: of the tap in its row. */
template <class T> __device__ __forceinline__ int to_next_tap(int &column, int window)
{
    column++;
    const int on = column == window ? Patches<T>::width : 1;
    if (column == window) column = 0;
    return on;
}

/* Where a tap finds the first pixel of a tile: in which picture, row and column; these may lie outside. */
struct BoxPlace {
    int picture, y, x;
};

__device__ __forceinline__ BoxPlace box_place(const CudaGemmPart &p, const Place &at, int tap)
{
    const int frame = p.frame[at.image][p.tap_frame[tap]], where = p.tap[tap];
    const int row = frame & ((1 << CUDA_BOX_ROW_BITS) - 1);
    return {frame >> CUDA_BOX_ROW_BITS, at.first_row + row + (where >> 16), at.first_x + (int16_t)(where & 0xffff)};
}

/* Copies a slab's scale of the pixel that lies so far from there. What lies outside is multiplied with nothing: any will do. */
__device__ __forceinline__ void fetch_scale(const CudaGemmPart &p, const BoxPlace &from, int row, int column, int slab,
                                            uint32_t to)
{
    const int y = min(max(from.y + row, 0), p.height - 1), x = min(max(from.x + column, 0), p.width - 1);
    const int64_t word = (int64_t)(from.picture * p.picture + y * p.width + x) * p.blocks + slab;
    copy_async_4(to, p.a_scale + (uint64_t)word * 4, 4);
}

/* One patch, by one warp: slab `slab` of window `window`, its scales with it. */
template <class T>
__device__ __forceinline__ void fill_patch(const CudaGemmBoxes &boxes, int part, const Place &at, int lane, int window,
                                           int slab, Patches<T> &to)
{
    const CudaGemmPart &p = boxes.gemm.part[part];
    const int width = Patches<T>::width + boxes.window_w[part] - 1;
    const int rows = (Patches<T>::height + boxes.window_h[part] - 1) * width;
    const BoxPlace from = box_place(p, at, window * p.window);
    barrier_wait(to.empty_a(), to.patch_parity() ^ 1);
    if (lane == 0) {
        barrier_expect(to.full_a(), rows * TILE_ROW_BYTES);
        copy_box_4(to.a(), boxes.a[part], slab * TILE_ROW_BYTES, from.x, from.y, from.picture, to.full_a());
    }
    if (T::scaled && p.a_scale != 0) {
#pragma unroll 1
        for (int row = lane; row < rows; row += 32)
            fetch_scale(p, from, row / width, row % width, slab, to.scales() + row * 4);
        barrier_arrive_after_copies(to.full_a());
    } else if (T::scaled && lane == 0) {
        barrier_arrive(to.full_a(), Patches<T>::arrivals - 1);
    }
    to.next_patch();
}

/* Scales of one slab of B, int8's: four columns a lane. */
template <class T>
__device__ __forceinline__ void fetch_column_scales(const CudaGemm &g, const CudaGemmPart &p, const Place &at, int lane,
                                                    int tap, int slab, uint32_t to)
{
    static_assert(T::bn == 128, "four columns a lane");
    const int columns = scale_columns<T>(g), column = at.first_column + lane * 4;
    const uint32_t word = (uint32_t)((tap * p.blocks + slab) * columns + column);
    copy_async_16(to + lane * 16, p.b_scale + (uint64_t)word * 4, column < columns ? 16 : 0);
}

/* The next patch is asked for behind the slabs of B that fill the ring: by then the one before it is no longer read. */
template <class T>
__device__ __forceinline__ void fill_stages(const CudaGemmBoxes &boxes, int part, const Place &at, int lane, Patches<T> &to)
{
    const CudaGemmPart &p = boxes.gemm.part[part];
    const int taps = p.window, slabs = slabs_of(p, T::element_bytes);
    const int patches = p.taps / taps * slabs, last = min(taps - 1, T::stages);
    fill_patch<T>(boxes, part, at, lane, 0, 0, to);
    int window = 0, slab = 0;
#pragma unroll 1
    for (int patch = 1; patch <= patches; patch++) {
        const int first = window * taps, from_slab = slab; /* the patch's own, not the next one's */
        const int column = first * p.depth * T::element_bytes + slab * TILE_ROW_BYTES;
        slab++;
        if (slab == slabs) {
            slab = 0;
            window++;
        }
#pragma unroll 1
        for (int tap = 0; tap < taps; tap++) {
            barrier_wait(to.empty_b(), to.parity ^ 1);
            if (lane == 0) {
                barrier_expect(to.full_b(), Patches<T>::b_bytes);
                copy_box_2(to.b(), boxes.b[part], column + tap * p.depth * T::element_bytes, at.first_column, to.full_b());
            }
            if constexpr (T::type == CUDA_I8) {
                fetch_column_scales<T>(boxes.gemm, p, at, lane, first + tap, from_slab, to.b_scales());
                barrier_arrive_after_copies(to.full_b());
            }
            to.next_stage();
            if (tap == last && patch < patches) fill_patch<T>(boxes, part, at, lane, window, slab, to);
        }
    }
}

/* One thread's work, before anything comes. */
template <class T> __device__ __forceinline__ void begin_barriers(Patches<T> each)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        barrier_init(each.full_a(), Patches<T>::arrivals);
        barrier_init(each.empty_a(), T::warps);
        each.next_patch();
    }
#pragma unroll
    for (int i = 0; i < T::stages; i++) {
        barrier_init(each.full_b(), Patches<T>::arrivals_b);
        barrier_init(each.empty_b(), T::warps);
        each.next_stage();
    }
}

/*
 * A tile by warps with roles: one has A and B fetched to Stages, Patches or another, the others add the products of each part
 * as it comes. begin_barriers, fill_stages and add_products of that type are found where it is.
 */
template <class T, template <class> class Stages> __device__ __forceinline__ void gemm_by_roles(const CudaGemmBoxes &boxes)
{
    extern __shared__ __align__(1024) uint8_t memory[];
    const Place at = tile_place<T>(boxes.gemm);
    const int thread = thread_now(), warp = thread / 32;
    Stages<T> stages = {shared_address(memory)};
    if (thread == 0) {
        begin_barriers(stages);
        fence_engine();
    }
    __syncthreads();
    if (warp >= T::warps) {
        if (T::producers == 4) have_fewer_registers<40>();
        if (warp > T::warps) return;
#pragma unroll 1
        for (int i = 0; i < boxes.gemm.parts; i++) fill_stages(boxes, i, at, thread % 32, stages);
        return;
    }
    if (T::producers == 4) have_more_registers<232>();
    Sums<T> sum = {};
#pragma unroll 1
    for (int i = 0; i < boxes.gemm.parts; i++) add_products(boxes, i, at, sum, stages);
    wait_for_warps<T>();
    write_results<T>(boxes.gemm, sum, memory);
}

#endif
