/*
 * Tiles of products, and how operands gathered from pictures come into shared memory: for kernels/cuda/gemm.cu, which tells of
 * blocks and stages, and gemm_fp8.cu.
 */
#ifndef UPRES_KERNELS_CUDA_GEMM_CUH
#define UPRES_KERNELS_CUDA_GEMM_CUH

#include "layout.h"
#include "ptx.cuh"

/* PRODUCERS: warps beside those that multiply, which have boxes fetched: see CudaGemmBoxes in args.h. 0: not boxed. */
template <int TYPE, int BM, int BN, int WM, int WN, int STAGES, int PRODUCERS = 0> struct Tile {
    static constexpr int type = TYPE, bm = BM, bn = BN, wm = WM, wn = WN, stages = STAGES;
    static constexpr int warps_n = BN / WN, warps = BM / WM * warps_n, threads = warps * 32;
    static constexpr int m_fragments = WM / 16, n_fragments = WN / 8;
    static constexpr int rows_a_turn = threads / TILE_CHUNKS; /* rows that the threads fetch at once */
    static constexpr int a_turns = BM / rows_a_turn, b_turns = BN / rows_a_turn;
    static constexpr bool some_b = BN < rows_a_turn; /* fewer rows of B than threads would fetch */
    static constexpr bool boxed = PRODUCERS > 0;
    static constexpr int producers = PRODUCERS;
    static constexpr bool fp8 = TYPE == CUDA_E4M3 || TYPE == CUDA_E4M3_PAIR;
    static constexpr bool scaled = TYPE == CUDA_I8 || fp8; /* a stage has scales of A, with int8 those of B, too */
    static constexpr bool by_windows = TYPE != CUDA_F32;   /* through windows, slabs, taps of one; else taps, slabs */
    static constexpr int b_at = BM * TILE_ROW_BYTES, scale_at = b_at + BN * TILE_ROW_BYTES;
    static constexpr int stage_bytes = scale_at + (scaled && !boxed ? BM * 4 : 0) + (TYPE == CUDA_I8 ? BN * 4 : 0);
    static constexpr bool moments = BM % 64 == 0 && BN >= 64; /* of halves of patches, which boxes are made of */
    static constexpr int element_bytes = TYPE == CUDA_F32 ? 4 : TYPE == CUDA_BF16 || TYPE == CUDA_E4M3_PAIR ? 2 : 1;
};

/* Read anew wherever they are asked for: kept through the main loop they would cost registers that are short there. */
__device__ __forceinline__ uint32_t block_now()
{
    uint32_t x;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(x));
    return x;
}

__device__ __forceinline__ int thread_now()
{
    int x;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
    return x;
}

/* All warps that multiply. */
template <class T> __device__ __forceinline__ void wait_for_warps()
{
    if (T::boxed) asm volatile("bar.sync 1, %0;" ::"n"(T::threads) : "memory");
    else __syncthreads();
}

/* Which tile a block makes: rows (pixels) from first_row on of one image, columns as they are packed. A box (g.box) begins at
 * pixel first_x of first_row, which there counts rows of the image. */
struct Place {
    int image, first_row, first_column, first_x;
};

/* A gated unit takes two fragments of columns. */
template <class T> __device__ __forceinline__ bool is_gated(const CudaGemm &g) { return T::n_fragments > 1 && g.glu != 0; }
template <class T> __device__ __forceinline__ int packed_columns(const CudaGemm &g)
{
    return is_gated<T>(g) ? (g.n + 7) / 8 * 16 : g.n;
}

/* Columns for which int8 has scales of B: those of the packed operand, 16 by 16. */
template <class T> __device__ __forceinline__ int scale_columns(const CudaGemm &g) { return (packed_columns<T>(g) + 15) & ~15; }

/* Rows are gathered in boxes for the sake of moments alone. */
template <class T> __device__ __forceinline__ bool in_boxes(const CudaGemm &g) { return T::boxed || (T::moments && g.box > 0); }

/* Pixel of its image, counted through rows, that row `row` of a tile is; all there are, where there is none. */
template <class T> __device__ __forceinline__ int pixel_of(const CudaGemm &g, const Place &at, int row)
{
    if (!in_boxes<T>(g)) return at.first_row + row;
    const int x = at.first_x + (row & ((1 << g.box) - 1));
    return x < g.columns ? (at.first_row + (row >> g.box)) * g.columns + x : g.rows * g.columns;
}

/* Images first, then pixels: what one image's taps read of earlier frames, the next one's have just read. */
template <class T> __device__ __forceinline__ Place tile_place(const CudaGemm &g)
{
    constexpr uint32_t group = 8;
    const bool boxes = in_boxes<T>(g);
    const int boxes_x = boxes ? ((g.columns - 1) >> g.box) + 1 : 1, height = boxes ? T::bm >> g.box : 1;
    const int tiles = boxes ? (g.rows + height - 1) / height * boxes_x : (g.rows * g.columns + T::bm - 1) / T::bm;
    const uint32_t tiles_m = (uint32_t)(tiles * g.images);
    const uint32_t tiles_n = (uint32_t)(packed_columns<T>(g) + T::bn - 1) / T::bn;
    const uint32_t block = block_now(), first = block / (group * tiles_n) * group, in_group = block % (group * tiles_n);
    const uint32_t here = min(group, tiles_m - first), tile = first + in_group % here;
    const int image = (int)(tile % (uint32_t)g.images), number = (int)(tile / (uint32_t)g.images);
    const int column = (int)(in_group / here * T::bn);
    if (boxes) return {image, number / boxes_x * height, column, (number % boxes_x) << g.box};
    return {image, number * T::bm, column, 0};
}

/* ------------------------------------------------------------------------------------------------- operands to stages */

/* A thread fetches chunk `chunk` of rows own, own + rows_a_turn, ... of both operands. */
struct Share {
    int chunk, own;
};

__device__ __forceinline__ Share share_now()
{
    const int thread = thread_now();
    return {thread % TILE_CHUNKS, thread / TILE_CHUNKS};
}

/* Where fetching one part has come to. */
template <class T> struct Fetch {
    int next, slab;             /* the next one; 8 bits: of next the low half, above it which of its window's taps that is */
    uint64_t a, b;              /* the operands from the thread's chunk on, b from its first row on */
    uint32_t pixel[T::a_turns]; /* of each row of A, but for the tap; rows that do not exist take the first pixel's values */
    uint32_t scale_pixel;       /* fp8: of the row whose scales the thread fetches */
    __device__ __forceinline__ int tap() const { return T::by_windows ? next & 0xffff : next; }
};

template <class T>
__device__ __forceinline__ void begin_fetch(const CudaGemm &g, const CudaGemmPart &p, const Place &at, Fetch<T> &f)
{
    const int64_t row_bytes = (int64_t)p.taps * p.depth * T::element_bytes;
    const uint32_t columns = (uint32_t)g.columns;
    const Share share = share_now();
    const int first = pixel_of<T>(g, at, share.own), step = in_boxes<T>(g) ? (T::rows_a_turn >> g.box) * g.columns : T::rows_a_turn;
    const int left = g.rows * g.columns - first;
    f.next = f.slab = 0;
    f.a = p.a + (uint64_t)(blockIdx.z * g.batch_a * T::element_bytes + share.chunk * 16);
    f.b = p.b + (uint64_t)(blockIdx.z * g.batch_b * T::element_bytes + share.chunk * 16);
    f.b += (uint64_t)((at.first_column + share.own) * row_bytes);
#pragma unroll
    for (int j = 0; j < T::a_turns; j++) {
        const uint32_t pixel = j * step < left ? (uint32_t)(first + j * step) : 0;
        f.pixel[j] = pixel / columns * (uint32_t)p.step_y + pixel % columns * (uint32_t)p.step_x;
        if (j == 0 || share.chunk == j) f.scale_pixel = f.pixel[j];
    }
}

/* Scales of a slab: the thread whose chunk is j takes those of the rows that its j-th turn copies from. */
template <class T>
__device__ __forceinline__ void fetch_scales(const CudaGemm &g, const CudaGemmPart &p, const Place &at, const Fetch<T> &f,
                                             const Share &share, uint32_t stage, int64_t pixel)
{
    const int m = share.own + share.chunk * T::rows_a_turn;
    if (T::fp8 && p.a_scale == 0) return;
    if (share.chunk < T::a_turns) {
        const uint64_t from = p.a_scale + (uint64_t)(pixel * p.blocks + f.slab) * 4;
        copy_async_4(stage + T::scale_at + m * 4, from, 4);
    }
    if (T::type == CUDA_I8 && share.chunk < T::b_turns) {
        const int columns = scale_columns<T>(g), column = at.first_column + m;
        const uint64_t from = p.b_scale + (uint64_t)(uint32_t)((f.tap() * p.blocks + f.slab) * columns + column) * 4;
        copy_async_4(stage + T::scale_at + (T::bm + m) * 4, from, column < columns ? 4 : 0);
    }
}

/* Taps of a window first, then slabs, then windows. */
template <class T> __device__ __forceinline__ void next_of_window(Fetch<T> &f, int window, int depth_bytes)
{
    constexpr int of_window = 1 << 16;
    f.next += of_window + 1;
    if (f.next < window * of_window) return;
    f.next -= window * of_window;
    f.slab++;
    if (f.slab * TILE_ROW_BYTES >= depth_bytes) f.slab = 0;
    else f.next -= window;
}

/* Starts the copies of the next slab and steps on. Returns how many chunks of the stage are to be multiplied. */
template <class T>
__device__ __forceinline__ int fetch_slab(const CudaGemm &g, const CudaGemmPart &p, const Place &at, Fetch<T> &f,
                                          uint32_t stage)
{
    const Share share = share_now();
    const int depth_bytes = p.depth * T::element_bytes, pitch_bytes = p.pitch * T::element_bytes;
    const int chunks_left = (depth_bytes - f.slab * TILE_ROW_BYTES) / 16;
    int used = TILE_CHUNKS;
    if (T::type == CUDA_F32) used = min(chunks_left, TILE_CHUNKS);
    if (T::type == CUDA_BF16 && chunks_left <= 2) used = 2; /* one step of the matrix instruction: narrow layers */
    if (share.chunk < used) {
        const bool inside = share.chunk < chunks_left;
        const uint32_t to = stage + (uint32_t)tile_at(share.own, share.chunk);
        const int64_t tap = (int64_t)p.frame[at.image][p.tap_frame[f.tap()]] + p.tap[f.tap()];
        const uint64_t a = f.a + (uint64_t)(tap * pitch_bytes + f.slab * TILE_ROW_BYTES);
        uint32_t scale_pixel = T::fp8 ? f.scale_pixel : 0;
#pragma unroll
        for (int j = 0; j < T::a_turns; j++) {
            uint32_t pixel = f.pixel[j];
            asm volatile("" : "+r"(pixel)); /* or its product with the pitch is made once and held in registers */
            const uint64_t from = a + (uint64_t)pixel * (uint32_t)pitch_bytes;
            copy_async_16(to + j * T::rows_a_turn * TILE_ROW_BYTES, from, inside ? 16 : 0);
            if (T::type == CUDA_I8) scale_pixel = share.chunk == j ? pixel : scale_pixel;
        }
        const int columns_left = packed_columns<T>(g) - at.first_column;
        const uint64_t b = f.b + (uint32_t)(f.tap() * depth_bytes + f.slab * TILE_ROW_BYTES);
        const uint64_t b_step = (uint64_t)(uint32_t)(p.taps * depth_bytes) * T::rows_a_turn;
#pragma unroll
        for (int j = 0; j < (T::some_b ? 1 : T::b_turns); j++) {
            const int n = share.own + j * T::rows_a_turn;
            if (T::some_b && n >= T::bn) break;
            const bool there = inside && n < columns_left;
            copy_async_16(to + T::b_at + j * T::rows_a_turn * TILE_ROW_BYTES, b + (uint64_t)j * b_step, there ? 16 : 0);
        }
        if (T::scaled) fetch_scales<T>(g, p, at, f, share, stage, tap + scale_pixel);
    }
    if (T::by_windows) {
        next_of_window(f, p.window, depth_bytes);
        return used;
    }
    f.slab++;
    if (f.slab * TILE_ROW_BYTES >= depth_bytes) {
        f.slab = 0;
        f.next++;
    }
    return used;
}

/* ------------------------------------------------------------------------------------------------------ multiplication */

template <class T> using Sums = float[T::m_fragments][T::n_fragments][4];

/* Where this lane's rows of A's fragments lie: in a tile one below the other, */
struct TileRows {
    uint32_t first;
    __device__ __forceinline__ uint32_t at(int m, int step) const { return (first ^ step << 5) + m * 16 * TILE_ROW_BYTES; }
};

/* in a patch of pixels anywhere. */
template <class T> struct PatchRows {
    uint32_t row[T::m_fragments];
    __device__ __forceinline__ uint32_t at(int m, int step) const { return row[m] ^ step << 5; }
};

template <class T, class Rows>
__device__ __forceinline__ void load_rows(uint32_t (&fa)[T::m_fragments][4], const Rows &a, int step)
{
#pragma unroll
    for (int m = 0; m < T::m_fragments; m++) load_matrix_4(fa[m], a.at(m, step));
}

/* One step of 32 bytes of K. b: where this lane's row of the first fragment lies for step 0. */
template <class T, class Rows> __device__ __forceinline__ void step_bf16(Sums<T> &sum, const Rows &a, uint32_t b, int step)
{
    uint32_t fa[T::m_fragments][4];
    load_rows<T>(fa, a, step);
    if (T::n_fragments == 1) {
        uint32_t b0, b1;
        load_matrix_2(b0, b1, b ^ step << 5);
#pragma unroll
        for (int m = 0; m < T::m_fragments; m++) multiply_bf16(sum[m][0], fa[m], b0, b1);
    }
#pragma unroll
    for (int n = 0; n + 1 < T::n_fragments; n += 2) {
        uint32_t fb[4];
        load_matrix_4(fb, (b ^ step << 5) + n * 8 * TILE_ROW_BYTES);
#pragma unroll
        for (int m = 0; m < T::m_fragments; m++) {
            multiply_bf16(sum[m][n], fa[m], fb[0], fb[1]);
            multiply_bf16(sum[m][n + 1], fa[m], fb[2], fb[3]);
        }
    }
}

#endif
