/*
 * Products of 8-bit floats on sm_120, whose matrix instructions with block scales make them at four times the rate of bf16.
 * CudaGemm in args.h says what is computed, kernels/cpu/fp8.h defines the numbers, gemm.cu tells of tiles and stages, which
 * are the same here. For other targets there is nothing in this file.
 *
 * e4m3       a slab is 128 channels, four steps of 32. Scales of A, where it has any, come with the slab: a lane holds those of
 *            one row of 32, all four steps.
 * e4m3_pair  a slab is 64 channels, 64 bytes of hi and 64 of lo; three products for each of its two steps of 32, those with
 *            one lo, whichever it is, at a sixteenth of A's scale.
 *
 * B has one scale a column, which the instruction applies as well: parts with scales of their own add up without more ado.
 *
 * K runs through parts, windows, slabs, taps of a window, in all forms below, so that results do not depend on the form either.
 * The tensor core truncates its sums at 25 bits and loses nothing over any K that occurs: no second level of sums.
 */
#include "fp8.cuh"

#ifdef UPRES_FP8
#include "halo.cuh"

enum { SIXTEENTH = 0x04040404 }; /* taken from four scales */

template <class T> using RowScales = uint32_t[T::m_fragments / 2];
template <class T> using ColumnScales = uint32_t[T::n_fragments];

template <class T>
__device__ __forceinline__ void load_row_scales(RowScales<T> &scale, bool scaled, uint32_t at)
{
#pragma unroll
    for (int m = 0; m < T::m_fragments / 2; m++) {
        scale[m] = CUDA_FP8_UNIT;
        if (scaled) scale[m] = __float_as_uint(load_shared(at + m * 32 * 4));
    }
}

/* column: of the lane's first fragment. */
template <class T>
__device__ __forceinline__ void load_column_scales(ColumnScales<T> &scale, const CudaGemm &g, uint64_t from, int column)
{
#pragma unroll
    for (int n = 0; n < T::n_fragments; n++) {
        const bool there = column + n * 8 < packed_columns<T>(g);
        scale[n] = there ? ((const uint32_t *)from)[column + n * 8] : CUDA_FP8_UNIT;
    }
}

/* Two fragments of columns, all of rows. less: taken from the scales of rows. */
template <class T, int STEP>
__device__ __forceinline__ void multiply_two(Sums<T> &sum, int n, const uint32_t (&fa)[T::m_fragments][4],
                                             const uint32_t (&fb)[4], const RowScales<T> &rows,
                                             const ColumnScales<T> &columns, uint32_t less)
{
#pragma unroll
    for (int m = 0; m < T::m_fragments; m += 2) {
        const uint32_t row = rows[m / 2] - less;
        multiply_e4m3<STEP, 0>(sum[m][n], fa[m], fb[0], fb[1], row, columns[n]);
        multiply_e4m3<STEP, 0>(sum[m][n + 1], fa[m], fb[2], fb[3], row, columns[n + 1]);
        multiply_e4m3<STEP, 1>(sum[m + 1][n], fa[m + 1], fb[0], fb[1], row, columns[n]);
        multiply_e4m3<STEP, 1>(sum[m + 1][n + 1], fa[m + 1], fb[2], fb[3], row, columns[n + 1]);
    }
}

/* One step of 32 channels. b: where this lane's row of the first fragments lies for step 0. */
template <class T, int STEP, class Rows>
__device__ __forceinline__ void step_e4m3(Sums<T> &sum, const Rows &a, uint32_t b, const RowScales<T> &rows,
                                          const ColumnScales<T> &columns)
{
    constexpr bool pair = T::type == CUDA_E4M3_PAIR;
    uint32_t fa[T::m_fragments][4], low[T::m_fragments][4], fb[4];
    load_rows<T>(fa, a, STEP);
    if (pair) load_rows<T>(low, a, STEP + 2);
#pragma unroll
    for (int n = 0; n < T::n_fragments; n += 2) {
        load_matrix_4(fb, (b ^ STEP << 5) + n * 8 * TILE_ROW_BYTES);
        multiply_two<T, STEP>(sum, n, fa, fb, rows, columns, 0);
        if (!pair) continue;
        multiply_two<T, STEP>(sum, n, low, fb, rows, columns, SIXTEENTH);
        load_matrix_4(fb, (b ^ (STEP + 2) << 5) + n * 8 * TILE_ROW_BYTES);
        multiply_two<T, STEP>(sum, n, fa, fb, rows, columns, SIXTEENTH);
    }
}

/* The steps behind the first. */
template <class T, class Rows>
__device__ __forceinline__ void more_steps(Sums<T> &sum, const Rows &a, uint32_t b, const RowScales<T> &rows,
                                           const ColumnScales<T> &columns)
{
    step_e4m3<T, 1>(sum, a, b, rows, columns);
    if constexpr (T::type == CUDA_E4M3) {
        step_e4m3<T, 2>(sum, a, b, rows, columns);
        step_e4m3<T, 3>(sum, a, b, rows, columns);
    }
}

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
    const uint32_t row_scale = T::scale_at + (uint32_t)(warp_m + scale_row(lane)) * 4;
    const int slabs = p.taps * ((p.depth * T::element_bytes + TILE_ROW_BYTES - 1) / TILE_ROW_BYTES);

    Fetch<T> fetch;
    begin_fetch<T>(g, p, at, fetch);
#pragma unroll
    for (int i = 0; i + 1 < T::stages; i++) {
        if (i < slabs) fetch_slab<T>(g, p, at, fetch, base + i * T::stage_bytes);
        copy_async_commit();
    }
    ColumnScales<T> columns;
    load_column_scales<T>(columns, g, p.b_scale, at.first_column + warp_n + lane / 4);
    uint32_t stage = 0; /* the one to multiply; the one before it is filled */
#pragma unroll 1
    for (int slab = 0; slab < slabs; slab++) {
        copy_async_wait<T::stages - 2>();
        __syncthreads();
        const uint32_t now = base + stage;
        const uint32_t fill = base + (stage == 0 ? T::stages * T::stage_bytes : stage) - T::stage_bytes;
        RowScales<T> rows;
        load_row_scales<T>(rows, p.a_scale != 0, now + row_scale);
        step_e4m3<T, 0>(sum, TileRows{now + a}, now + b, rows, columns);
        /* The next slab's addresses are worked out while the tensor cores are busy. */
        if (slab + T::stages - 1 < slabs) fetch_slab<T>(g, p, at, fetch, fill);
        copy_async_commit();
        more_steps<T>(sum, TileRows{now + a}, now + b, rows, columns);
        stage = stage == (T::stages - 1) * T::stage_bytes ? 0 : stage + T::stage_bytes;
    }
    copy_async_wait<0>();
    __syncthreads();
}

template <class T> __device__ __forceinline__ void gemm_fp8(const CudaGemm &g)
{
    extern __shared__ __align__(1024) uint8_t memory[];
    const Place at = tile_place<T>(g);
    Sums<T> sum = {};
#pragma unroll 1
    for (int i = 0; i < g.parts; i++) add_part<T>(g, g.part[i], at, sum, memory);
    write_results<T>(g, sum, memory);
}

/* ------------------------------------------------------------------------------------------------------ boxes of pixels */

/*
 * The same with stages that the copy engine fills: one warp asks for them, the others wait for a stage, multiply it and say that
 * it is empty. Each stage has a barrier for either. Behind the stages lie the scales of their rows, then the barriers.
 */
template <class T> struct Ring {
    static constexpr int scales_at = T::stages * T::stage_bytes, barriers_at = scales_at + T::stages * T::bm * 4;
    static constexpr int arrivals = 33; /* at a full stage: what the engine brings counts one, each lane's scales another */
    uint32_t base; /* of shared memory */
    uint32_t stage, parity; /* the next one, and its present phase */

    __device__ __forceinline__ uint32_t tile() const { return base + stage * T::stage_bytes; }
    __device__ __forceinline__ uint32_t scales() const { return base + scales_at + stage * (T::bm * 4); }
    __device__ __forceinline__ uint32_t full() const { return base + barriers_at + stage * 8; }
    __device__ __forceinline__ uint32_t empty() const { return full() + T::stages * 8; }
    __device__ __forceinline__ void next()
    {
        stage++;
        if (stage == T::stages) {
            stage = 0;
            parity ^= 1;
        }
    }
};

/* One part's slabs into the ring, by one warp. */
template <class T>
__device__ __forceinline__ void fill_stages(const CudaGemmBoxes &boxes, int part, const Place &at, int lane, Ring<T> &ring)
{
    const CudaGemm &g = boxes.gemm;
    const CudaGemmPart &p = g.part[part];
    const int slabs = slabs_of(p, T::element_bytes), row_bytes = p.depth * T::element_bytes;
    int tap = 0, slab = 0, of_window = 0;
#pragma unroll 1
    for (int i = 0; i < p.taps * slabs; i++) {
        const BoxPlace from = box_place(p, at, tap);
        barrier_wait(ring.empty(), ring.parity ^ 1);
        if (lane == 0) {
            const int byte = slab * TILE_ROW_BYTES;
            barrier_expect(ring.full(), T::stage_bytes);
            copy_box_4(ring.tile(), boxes.a[part], byte, from.x, from.y, from.picture, ring.full());
            copy_box_2(ring.tile() + T::b_at, boxes.b[part], tap * row_bytes + byte, at.first_column, ring.full());
        }
        if (p.a_scale != 0) {
#pragma unroll
            for (int row = 0; row < T::bm; row += 32) { /* a lane's: lane, lane + 32 ... */
                const int own = row + lane;
                fetch_scale(p, from, own >> g.box, own & ((1 << g.box) - 1), slab, ring.scales() + own * 4);
            }
            barrier_arrive_after_copies(ring.full());
        } else if (lane == 0) {
            barrier_arrive(ring.full(), Ring<T>::arrivals - 1);
        }
        ring.next();
        tap++;
        of_window++;
        if (of_window < p.window) continue;
        of_window = 0;
        slab++;
        if (slab == slabs) slab = 0;
        else tap -= p.window;
    }
}

/* Adds the products of one part's slabs, as they come, to the sums. */
template <class T>
__device__ __forceinline__ void add_products(const CudaGemmBoxes &boxes, int part, const Place &at, Sums<T> &sum,
                                             Ring<T> &ring)
{
    const CudaGemm &g = boxes.gemm;
    const CudaGemmPart &p = g.part[part];
    const int thread = thread_now(), lane = thread % 32, warp = thread / 32;
    const int warp_m = warp / T::warps_n * T::wm, warp_n = warp % T::warps_n * T::wn;
    const uint32_t a = (uint32_t)tile_at(warp_m + fragment_a_row(lane), fragment_a_chunk(lane));
    const uint32_t b = T::b_at + (uint32_t)tile_at(warp_n + fragment_b_row(lane), fragment_b_chunk(lane));
    const uint32_t row_scale = (uint32_t)(warp_m + scale_row(lane)) * 4;
    const int slabs = p.taps * slabs_of(p, T::element_bytes);
    ColumnScales<T> columns;
    load_column_scales<T>(columns, g, p.b_scale, at.first_column + warp_n + lane / 4);
#pragma unroll 1
    for (int slab = 0; slab < slabs; slab++) {
        const uint32_t now = ring.tile();
        RowScales<T> rows;
        barrier_wait(ring.full(), ring.parity);
        load_row_scales<T>(rows, p.a_scale != 0, ring.scales() + row_scale);
        step_e4m3<T, 0>(sum, TileRows{now + a}, now + b, rows, columns);
        more_steps<T>(sum, TileRows{now + a}, now + b, rows, columns);
        __syncwarp();
        if (lane == 0) barrier_arrive(ring.empty());
        ring.next();
    }
}

template <class T> __device__ __forceinline__ void begin_barriers(Ring<T> each)
{
#pragma unroll
    for (int i = 0; i < T::stages; i++) {
        barrier_init(each.full(), Ring<T>::arrivals);
        barrier_init(each.empty(), T::warps);
        each.next();
    }
}

/* ------------------------------------------------------------------------------------------------- boxes with their halo */

template <class T>
__device__ __forceinline__ void add_products(const CudaGemmBoxes &boxes, int part, const Place &at, Sums<T> &sum,
                                             Patches<T> &from)
{
    const CudaGemmPart &p = boxes.gemm.part[part];
    const int thread = thread_now(), lane = thread % 32, warp = thread / 32;
    const int warp_y = warp / T::warps_n * T::wm / 16, warp_n = warp % T::warps_n * T::wn;
    const int window = boxes.window_w[part], width = Patches<T>::width + window - 1, taps = p.window;
    const bool scaled = p.a_scale != 0;
    const uint32_t b = (uint32_t)tile_at(warp_n + fragment_b_row(lane), fragment_b_chunk(lane));
    const int patches = p.taps / taps * slabs_of(p, T::element_bytes);
    const uint32_t row_bytes = (uint32_t)width * TILE_ROW_BYTES; /* from fragment to fragment */
    const uint32_t first = (uint32_t)(warp_y * width + fragment_a_row(lane)) * TILE_ROW_BYTES + fragment_a_chunk(lane) * 16;
    const uint32_t first_scale = (uint32_t)((warp_y + (scale_row(lane) >> 4)) * width + scale_row(lane) % 16) * 4;
    ColumnScales<T> columns;
    load_column_scales<T>(columns, boxes.gemm, p.b_scale, at.first_column + warp_n + lane / 4);
#pragma unroll 1
    for (int patch = 0; patch < patches; patch++) {
        barrier_wait(from.full_a(), from.patch_parity());
        uint32_t at_tap = from.a() + first, scale_at_tap = from.scales() + first_scale;
        int column = 0;
#pragma unroll 1
        for (int tap = 0; tap < taps; tap++) {
            PatchRows<T> a;
            RowScales<T> rows;
#pragma unroll
            for (int m = 0; m < T::m_fragments; m++) a.row[m] = tile_swizzle(at_tap + m * row_bytes);
#pragma unroll
            for (int m = 0; m < T::m_fragments / 2; m++) {
                rows[m] = CUDA_FP8_UNIT;
                if (scaled) rows[m] = __float_as_uint(load_shared(scale_at_tap + m * 2 * width * 4));
            }
            barrier_wait(from.full_b(), from.parity);
            step_e4m3<T, 0>(sum, a, from.b() + b, rows, columns);
            more_steps<T>(sum, a, from.b() + b, rows, columns);
            __syncwarp();
            if (lane == 0) barrier_arrive(from.empty_b());
            from.next_stage();
            const int on = to_next_tap<T>(column, window);
            at_tap += on * TILE_ROW_BYTES;
            scale_at_tap += on * 4;
        }
        if (lane == 0) barrier_arrive(from.empty_a());
        from.next_patch();
    }
}

/* -------------------------------------------------------------------------------------------------------- the kernels */

/*
 * The functions. GEMM_ONLY=<type><tile> compiles one of them. `blocks` is how many are to fit a multiprocessor. Shared memory
 * is stages * stage_bytes, at most 101376 bytes, or 50176 where two blocks are to share. Rows are gathered where boxes cannot be:
 * for strides, in one tile; smaller ones would spend most of their instructions on addresses. Warps that multiply have 64 x 32
 * or more, so that no loop is less than 40 % products (tests/sass_checks).
 */
#define GEMM(name, TYPE, bm, bn, wm, wn, stages, blocks)                                                               \
    extern "C" __global__ void __launch_bounds__(bm / wm * (bn / wn) * 32, blocks)                                     \
        gemm_##name##_##bm##x##bn(const __grid_constant__ CudaGemm g)                                                  \
    {                                                                                                                  \
        gemm_fp8<Tile<TYPE, bm, bn, wm, wn, stages>>(g);                                                               \
    }
#define BOXES(name, TYPE, bm, bn, wm, wn, stages, producers, blocks)                                                   \
    extern "C" __global__ void __launch_bounds__((bm / wm * (bn / wn) + producers) * 32, blocks)                       \
        boxes_##name##_##bm##x##bn(const __grid_constant__ CudaGemmBoxes boxes)                                        \
    {                                                                                                                  \
        gemm_by_roles<Tile<TYPE, bm, bn, wm, wn, stages, producers>, Ring>(boxes);                                     \
    }

#define HALO(name, TYPE, bm, bn, wm, wn, stages, producers, blocks)                                                    \
    extern "C" __global__ void __launch_bounds__((bm / wm * (bn / wn) + producers) * 32, blocks)                       \
        halo_##name##_##bm##x##bn(const __grid_constant__ CudaGemmBoxes boxes)                                         \
    {                                                                                                                  \
        gemm_by_roles<Tile<TYPE, bm, bn, wm, wn, stages, producers>, Patches>(boxes);                                  \
    }

#ifndef GEMM_ONLY
#define GEMM_ONLY 0
#endif
#define WANTED(number) (GEMM_ONLY == 0 || GEMM_ONLY == number)

#if WANTED(40)
GEMM(e4m3, CUDA_E4M3, 256, 128, 64, 64, 2, 1)
#endif
#if WANTED(44)
BOXES(e4m3, CUDA_E4M3, 256, 128, 64, 64, 2, 4, 1)
#endif
#if WANTED(45)
BOXES(e4m3, CUDA_E4M3, 128, 128, 64, 32, 3, 1, 1)
#endif
#if WANTED(46)
BOXES(e4m3, CUDA_E4M3, 64, 64, 64, 32, 3, 1, 2)
#endif
#if WANTED(47)
HALO(e4m3, CUDA_E4M3, 128, 128, 64, 32, 3, 1, 1)
#endif
#if WANTED(50)
GEMM(e4m3_pair, CUDA_E4M3_PAIR, 256, 128, 64, 64, 2, 1)
#endif
#if WANTED(54)
BOXES(e4m3_pair, CUDA_E4M3_PAIR, 256, 128, 64, 64, 2, 4, 1)
#endif
#if WANTED(55)
BOXES(e4m3_pair, CUDA_E4M3_PAIR, 128, 128, 64, 32, 3, 1, 1)
#endif
#if WANTED(56)
BOXES(e4m3_pair, CUDA_E4M3_PAIR, 64, 64, 64, 32, 3, 1, 2)
#endif
#if WANTED(57)
HALO(e4m3_pair, CUDA_E4M3_PAIR, 128, 128, 64, 32, 3, 1, 1)
#endif

#endif
