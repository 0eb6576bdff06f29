/*
 * Matrix products whose left side is gathered from pictures: convolutions, linear layers, the products of folded upsamplers
 * and of plain attention. CudaGemm in args.h says what is computed, kernels/cpu/gemm.c is the same in plain C.
 *
 * A block makes BM output pixels x BN columns, a warp WM x WN of them. K runs through parts, taps and slabs of 128 bytes, in
 * that order: one slab of one tap is a stage, BM rows of A and BN of B, fetched by cp.async with zeros where a row or a
 * channel does not exist. One barrier a stage: behind it the slab is there and the stage before may be overwritten.
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
 *
 * Sums leave through shared memory, 16 rows of a warp at a time, so that a lane finishes eight neighbouring channels of one
 * pixel and writes them at once.
 */
#include "args.h"
#include "layout.h"
#include "ptx.cuh"

template <int TYPE, int BM, int BN, int WM, int WN, int STAGES> struct Tile {
    static constexpr int type = TYPE, bm = BM, bn = BN, wm = WM, wn = WN, stages = STAGES;
    static constexpr int warps_n = BN / WN, warps = BM / WM * warps_n, threads = warps * 32;
    static constexpr int m_fragments = WM / 16, n_fragments = WN / 8;
    static constexpr int rows_a_turn = threads / TILE_CHUNKS; /* rows that the threads fetch at once */
    static constexpr int a_turns = BM / rows_a_turn, b_turns = BN / rows_a_turn;
    static constexpr bool some_b = BN < rows_a_turn; /* fewer rows of B than threads would fetch */
    static constexpr bool scaled = TYPE == CUDA_I8;
    static constexpr int b_at = BM * TILE_ROW_BYTES, scale_at = b_at + BN * TILE_ROW_BYTES;
    static constexpr int stage_bytes = scale_at + (scaled ? (BM + BN) * 4 : 0);
    static constexpr int element_bytes = TYPE == CUDA_F32 ? 4 : TYPE == CUDA_BF16 ? 2 : 1;
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

/* Which tile a block makes: rows (pixels) from first_row on of one image, columns as they are packed. */
struct Place {
    int image, first_row, first_column;
};

/* A gated unit takes two fragments of columns. */
template <class T> __device__ __forceinline__ bool is_gated(const CudaGemm &g) { return T::n_fragments > 1 && g.glu != 0; }
template <class T> __device__ __forceinline__ int packed_columns(const CudaGemm &g)
{
    return is_gated<T>(g) ? (g.n + 7) / 8 * 16 : g.n;
}

/* Images first, then pixels: what one image's taps read of earlier frames, the next one's have just read. */
template <class T> __device__ __forceinline__ Place tile_place(const CudaGemm &g)
{
    constexpr uint32_t group = 8;
    const uint32_t tiles_m = (uint32_t)((g.rows * g.columns + T::bm - 1) / T::bm * g.images);
    const uint32_t tiles_n = (uint32_t)(packed_columns<T>(g) + T::bn - 1) / T::bn;
    const uint32_t block = block_now(), first = block / (group * tiles_n) * group, in_group = block % (group * tiles_n);
    const uint32_t height = min(group, tiles_m - first), tile = first + in_group % height;
    return {(int)(tile % (uint32_t)g.images), (int)(tile / (uint32_t)g.images * T::bm), (int)(in_group / height * T::bn)};
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
    int tap, slab;              /* the next one */
    int left;                   /* rows of A from the thread's first on */
    uint64_t a, b;              /* the operands from the thread's chunk on, b from its first row on */
    uint32_t pixel[T::a_turns]; /* of each row of A, but for the tap */
};

template <class T>
__device__ __forceinline__ void begin_fetch(const CudaGemm &g, const CudaGemmPart &p, const Place &at, Fetch<T> &f)
{
    const int64_t row_bytes = (int64_t)p.taps * p.depth * T::element_bytes;
    const uint32_t columns = (uint32_t)g.columns;
    const Share share = share_now();
    const int first = at.first_row + share.own;
    f.tap = f.slab = 0;
    f.left = g.rows * g.columns - first;
    f.a = p.a + (uint64_t)(blockIdx.z * g.batch_a * T::element_bytes + share.chunk * 16);
    f.b = p.b + (uint64_t)(blockIdx.z * g.batch_b * T::element_bytes + share.chunk * 16);
    f.b += (uint64_t)((at.first_column + share.own) * row_bytes);
#pragma unroll
    for (int j = 0; j < T::a_turns; j++) {
        const uint32_t row = j * T::rows_a_turn < f.left ? (uint32_t)(first + j * T::rows_a_turn) : 0;
        f.pixel[j] = row / columns * (uint32_t)p.step_y + row % columns * (uint32_t)p.step_x;
    }
}

/* Scales of a slab: the thread whose chunk is j takes those of the rows that its j-th turn copies from. */
template <class T>
__device__ __forceinline__ void fetch_scales(const CudaGemm &g, const CudaGemmPart &p, const Place &at, const Fetch<T> &f,
                                             const Share &share, uint32_t stage, int64_t pixel)
{
    const int m = share.own + share.chunk * T::rows_a_turn;
    if (share.chunk < T::a_turns) {
        const uint64_t from = p.a_scale + (uint64_t)(pixel * p.blocks + f.slab) * 4;
        copy_async_4(stage + T::scale_at + m * 4, from, share.chunk * T::rows_a_turn < f.left ? 4 : 0);
    }
    if (share.chunk < T::b_turns) {
        const int64_t row = (int64_t)(at.first_column + m) * p.taps + f.tap;
        const uint64_t from = p.b_scale + (uint64_t)(row * p.blocks + f.slab) * 4;
        copy_async_4(stage + T::scale_at + (T::bm + m) * 4, from, at.first_column + m < packed_columns<T>(g) ? 4 : 0);
    }
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
        const int64_t tap = (int64_t)p.frame[at.image][p.tap_frame[f.tap]] + p.tap[f.tap];
        const uint64_t a = f.a + (uint64_t)(tap * pitch_bytes + f.slab * TILE_ROW_BYTES);
        uint32_t scale_pixel = 0;
#pragma unroll
        for (int j = 0; j < T::a_turns; j++) {
            uint32_t pixel = f.pixel[j];
            asm volatile("" : "+r"(pixel)); /* or its product with the pitch is made once and held in registers */
            const uint64_t from = a + (uint64_t)pixel * (uint32_t)pitch_bytes;
            const bool there = inside && j * T::rows_a_turn < f.left;
            copy_async_16(to + j * T::rows_a_turn * TILE_ROW_BYTES, from, there ? 16 : 0);
            if (T::scaled) scale_pixel = share.chunk == j ? pixel : scale_pixel;
        }
        const int columns_left = packed_columns<T>(g) - at.first_column;
        const uint64_t b = f.b + (uint32_t)(f.tap * depth_bytes + f.slab * TILE_ROW_BYTES);
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
    f.slab++;
    if (f.slab * TILE_ROW_BYTES >= depth_bytes) {
        f.slab = 0;
        f.tap++;
    }
    return used;
}

/* ------------------------------------------------------------------------------------------------------ multiplication */

template <class T> using Sums = float[T::m_fragments][T::n_fragments][4];

/* One step of 32 bytes of K. a, b: where this lane's rows of the first fragments lie for step 0. */
template <class T> __device__ __forceinline__ void step_bf16(Sums<T> &sum, uint32_t a, uint32_t b, int step)
{
    uint32_t fa[T::m_fragments][4];
#pragma unroll
    for (int m = 0; m < T::m_fragments; m++) load_matrix_4(fa[m], (a ^ step << 5) + m * 16 * TILE_ROW_BYTES);
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

/* int8: 32 columns of a warp at a time, because integer sums of all would not fit the registers beside the float ones. */
constexpr int I8_GROUP = 4;
template <class T> using IntegerSums = int32_t[T::m_fragments][I8_GROUP][4];

template <class T> __device__ __forceinline__ void clear_i8(IntegerSums<T> &c)
{
#pragma unroll
    for (int m = 0; m < T::m_fragments; m++) {
#pragma unroll
        for (int i = 0; i < I8_GROUP * 4; i++) c[m][i / 4][i % 4] = I8_ZERO;
    }
}

/* One step of 32 of K, of the fragments of columns from `first` on. */
template <class T> __device__ __forceinline__ void step_i8(IntegerSums<T> &c, uint32_t a, uint32_t b, int first, int step)
{
    uint32_t fa[T::m_fragments][4];
#pragma unroll
    for (int m = 0; m < T::m_fragments; m++) load_matrix_4(fa[m], (a ^ step << 5) + m * 16 * TILE_ROW_BYTES);
#pragma unroll
    for (int n = 0; n < I8_GROUP; n += 2) {
        uint32_t fb[4];
        load_matrix_4(fb, (b ^ step << 5) + (first + n) * 8 * TILE_ROW_BYTES);
#pragma unroll
        for (int m = 0; m < T::m_fragments; m++) {
            multiply_i8(c[m][n], fa[m], fb[0], fb[1]);
            multiply_i8(c[m][n + 1], fa[m], fb[2], fb[3]);
        }
    }
}

/* A finished block of 128 channels, scaled, to the sums. rows, columns: where the scales of this lane's first ones lie. */
template <class T>
__device__ __forceinline__ void add_i8(Sums<T> &sum, const IntegerSums<T> &c, uint32_t rows, uint32_t columns, int first)
{
    float row[T::m_fragments][2];
#pragma unroll
    for (int m = 0; m < T::m_fragments; m++) {
        row[m][0] = load_shared(rows + m * 16 * 4);
        row[m][1] = load_shared(rows + (m * 16 + 8) * 4);
    }
#pragma unroll
    for (int n = 0; n < I8_GROUP; n++) {
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

/* ------------------------------------------------------------------------------------------------------------- results */

/* Where the rows of a block go: their pixels of y and of the residual. */
template <class T> struct RowTable {
    int32_t y[T::bm], residual[T::bm];
};

template <class T> __device__ __forceinline__ void fill_rows(const CudaGemm &g, const Place &at, int thread, RowTable<T> *rows)
{
    if (thread >= T::bm) return;
    const uint32_t row = (uint32_t)(at.first_row + thread), columns = (uint32_t)g.columns;
    const int oy = (int)(row / columns), ox = (int)(row % columns);
    rows->y[thread] = g.y_image[at.image] + oy * g.y_row + ox * g.y_column;
    rows->residual[thread] = g.residual_image[at.image] + oy * g.residual_row + ox * g.residual_column;
}

/* Eight columns, the same in all rows of a lane. */
struct Columns {
    int n, sub, channel;  /* the first: of all, its sub-pixel, and within that */
    uint32_t drop;        /* sub-pixels that are left out */
    bool there, at_once;  /* whether any exist; whether all can be stored at once, as they are or with padding behind */
    float bias[8], gate[8];
    uint64_t y, residual; /* addresses of the first in pixel 0 */
};

__device__ __forceinline__ int result_bytes(int type) { return type == CUDA_BF16 ? 2 : 4; }

__device__ __forceinline__ uint64_t y_address(const CudaGemm &g, int sub, int channel)
{
    const int64_t element = (int64_t)g.sub[sub] * g.y_pitch + channel + blockIdx.z * g.batch_y;
    return g.y + (uint64_t)(element * result_bytes(g.y_type));
}

/* Address of a pixel, from that of pixel 0. */
__device__ __forceinline__ uint64_t pixel_address(uint64_t first, int pixel, int pitch, int type)
{
    return first + (uint64_t)((int64_t)pixel * (pitch * result_bytes(type)));
}

/* Elements n .. n + 7 of a vector of g.n. Those past its end are not used: the last stands for them. */
__device__ __forceinline__ void load_vector(const CudaGemm &g, uint64_t vector, int n, float (&v)[8])
{
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = ((const float *)vector)[min(n + i, g.n - 1)];
}

__device__ __forceinline__ void begin_columns(const CudaGemm &g, int image, int n, Columns &c)
{
    const int space = g.subs > 1 ? g.y_c : g.y_pad; /* channels that may be written from this sub-pixel's first on */
    c.n = n;
    c.drop = g.drop[image];
    c.there = n < g.n;
    c.sub = g.subs > 1 ? min(n, g.n - 1) / g.y_c : 0;
    c.channel = n - c.sub * g.y_c;
    c.y = y_address(g, c.sub, c.channel);
    c.at_once = c.channel + 8 <= space && (c.y | (uint32_t)(g.y_pitch * result_bytes(g.y_type))) % 16 == 0;
    c.residual = 0;
    if (g.residual != 0) {
        c.residual = g.residual + (uint32_t)(n * result_bytes(g.residual_type));
        const uint64_t alignment = c.residual | (uint32_t)(g.residual_pitch * result_bytes(g.residual_type));
        c.at_once &= n + 8 <= g.n && alignment % 16 == 0;
    }
#pragma unroll
    for (int i = 0; i < 8; i++) { /* what adds and multiplies to the same bits */
        c.bias[i] = -0.0f;
        c.gate[i] = 1.0f;
    }
    if (g.bias != 0) load_vector(g, g.bias, n, c.bias);
    if (g.more_bias != 0) {
        float more[8];
        load_vector(g, g.more_bias, n, more);
#pragma unroll
        for (int i = 0; i < 8; i++) c.bias[i] = __fadd_rn(more[i], c.bias[i]);
    }
    if (g.gate != 0) load_vector(g, g.gate, n, c.gate);
}

/* Eight floats that wait in shared memory as two chunks `half` bytes apart. */
__device__ __forceinline__ void load_eight(float (&v)[8], const uint8_t *from, int half)
{
    const float4 low = *(const float4 *)from, high = *(const float4 *)(from + half);
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
}

/* From sums to values, in place: all but the residual. at: the sums; behind them, with a gated unit, the second ones. */
template <class T> __device__ __forceinline__ void finish_eight(const CudaGemm &g, const Columns &c, uint8_t *at, int half)
{
    float v[8];
    load_eight(v, at, half);
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = __fadd_rn(__fmul_rn(g.alpha, v[i]), c.bias[i]);
    if (g.act == CUDA_ACT_RELU) {
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = v[i] > 0.0f ? v[i] : 0.0f;
    } else if (g.act != CUDA_ACT_NONE) {
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = activate_any(v[i], g.act);
    }
    if (is_gated<T>(g)) {
        float second[8];
        load_eight(second, at + 16, half);
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = __fmul_rn(v[i], __fmul_rn(g.alpha, second[i]));
    }
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = __fmul_rn(v[i], c.gate[i]);
    *(float4 *)at = make_float4(v[0], v[1], v[2], v[3]);
    *(float4 *)(at + half) = make_float4(v[4], v[5], v[6], v[7]);
}

/* Eight values of a residual: bf16 fills `low` alone. */
struct Residual {
    uint4 low, high;
};

__device__ __forceinline__ void load_residual(const CudaGemm &g, uint64_t from, Residual &r)
{
    r.low = *(const uint4 *)from;
    if (g.residual_type != CUDA_BF16) r.high = *(const uint4 *)(from + 16);
}

__device__ __forceinline__ void add_residual(const CudaGemm &g, const Residual &r, float (&v)[8])
{
    const uint32_t word[8] = {r.low.x, r.low.y, r.low.z, r.low.w, r.high.x, r.high.y, r.high.z, r.high.w};
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const float bf16 = i % 2 ? bf16_high(word[i / 2]) : bf16_low(word[i / 2]);
        v[i] = __fadd_rn(v[i], g.residual_type == CUDA_BF16 ? bf16 : __uint_as_float(word[i]));
    }
}

__device__ __forceinline__ void store_eight(const CudaGemm &g, uint64_t to, const float (&v)[8])
{
    if (g.y_type == CUDA_BF16) {
        *(uint4 *)to =
            make_uint4(bf16_pack(v[0], v[1]), bf16_pack(v[2], v[3]), bf16_pack(v[4], v[5]), bf16_pack(v[6], v[7]));
    } else {
        *(float4 *)to = make_float4(v[0], v[1], v[2], v[3]);
        *(float4 *)(to + 16) = make_float4(v[4], v[5], v[6], v[7]);
    }
}

__device__ __forceinline__ void store_one(const CudaGemm &g, uint64_t first, int pixel, float value)
{
    const uint64_t to = pixel_address(first, pixel, g.y_pitch, g.y_type);
    if (g.y_type == CUDA_BF16) *(uint16_t *)to = (uint16_t)bf16_pack(value, 0.0f);
    else *(float *)to = value;
}

__device__ __forceinline__ void zero_padding(const CudaGemm &g, int pixel, int sub, int channel)
{
#pragma unroll 1
    for (int i = channel; i < g.y_pad; i++) store_one(g, y_address(g, sub, i), pixel, 0.0f);
}

/* Eight columns of one row that cannot be stored at once. */
__device__ __forceinline__ void store_singly(const CudaGemm &g, const Columns &c, const uint8_t *at, int half, int y_pixel,
                                             int residual_pixel)
{
    int sub = c.sub, channel = c.channel;
    const uint64_t residual = pixel_address(c.residual, residual_pixel, g.residual_pitch, g.residual_type);
#pragma unroll 1
    for (int i = 0; i < 8 && c.n + i < g.n; i++) {
        float v = *(const float *)(at + (i >> 2) * half + (i & 3) * 4);
        if (g.residual != 0) {
            const bool bf16 = g.residual_type == CUDA_BF16;
            v = __fadd_rn(v, bf16 ? bf16_one(((const uint16_t *)residual)[i]) : ((const float *)residual)[i]);
        }
        if (!(c.drop >> sub & 1)) {
            store_one(g, y_address(g, sub, channel), y_pixel, v);
            if (channel == g.y_c - 1) zero_padding(g, y_pixel, sub, g.y_c);
        }
        channel++;
        if (channel == g.y_c) {
            channel = 0;
            sub++;
        }
    }
}

/* Puts down the sums of 16 rows. to: this warp's place. */
template <class T> __device__ __forceinline__ void stage_sums(const float (&sum)[T::n_fragments][4], uint8_t *to, int lane)
{
#pragma unroll
    for (int n = 0; n < T::n_fragments; n++) {
        uint8_t *at = to + stage_at(T::wn, sum_row(lane), n * 8 + sum_column(lane));
        *(float2 *)at = make_float2(sum[n][0], sum[n][1]);
        *(float2 *)(at + 8 * stage_pitch(T::wn)) = make_float2(sum[n][2], sum[n][3]);
    }
}

/* A lane's part of 16 staged rows: its columns of rows first, first + step, ..., `turns` of them. */
struct Turns {
    uint8_t *at; /* the first row's columns */
    int first, step, turns; /* turns: of rows that exist */
};

/* Residuals are asked for all at once, then used: one wait instead of many. */
template <class T>
__device__ __forceinline__ void store_rows(const CudaGemm &g, const Columns &c, const RowTable<T> *rows, int block_row,
                                           const Turns &t)
{
    constexpr int most = T::n_fragments > 1 ? T::n_fragments / 2 : 1;
    Residual residual[most];
    bool live[most];
#pragma unroll
    for (int i = 0; i < most; i++) {
        const int row = block_row + t.first + i * t.step;
        live[i] = i < t.turns && !(c.drop >> c.sub & 1);
        if (live[i] && g.residual != 0) {
            const int pixel = rows->residual[row];
            load_residual(g, pixel_address(c.residual, pixel, g.residual_pitch, g.residual_type), residual[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < most; i++) {
        float v[8];
        if (!live[i]) continue;
        load_eight(v, t.at + i * t.step * stage_pitch(T::wn), stage_half(T::wn));
        if (g.residual != 0) add_residual(g, residual[i], v);
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] = c.channel + j < g.y_c ? v[j] : 0.0f;
        store_eight(g, pixel_address(c.y, rows->y[block_row + t.first + i * t.step], g.y_pitch, g.y_type), v);
    }
}

template <class T> __device__ __forceinline__ void write_results(const CudaGemm &g, const Sums<T> &sum, uint8_t *memory)
{
    const Place at = tile_place<T>(g);
    const int thread = thread_now(), lane = thread % 32, warp = thread / 32;
    const int warp_m = warp / T::warps_n * T::wm, warp_n = warp % T::warps_n * T::wn;
    uint8_t *staged = memory + warp * 16 * stage_pitch(T::wn);
    RowTable<T> *rows = (RowTable<T> *)(memory + T::warps * 16 * stage_pitch(T::wn));
    fill_rows<T>(g, at, thread, rows);

    const int groups = is_gated<T>(g) ? T::n_fragments / 2 : T::n_fragments, group = lane % groups;
    Columns c;
    begin_columns(g, at.image, (at.first_column + warp_n) / (is_gated<T>(g) ? 2 : 1) + group * 8, c);
    Turns t;
    t.first = lane / groups;
    t.step = 32 / groups;
    t.at = staged + t.first * stage_pitch(T::wn) + (is_gated<T>(g) ? 2 * group : group) * 16;
    const int behind = c.channel + 8; /* stored at once, a lane's channels may have padding behind them */
    const bool padding = c.at_once && !(c.drop >> c.sub & 1) && behind >= g.y_c && behind < g.y_pad;
    __syncthreads();
#pragma unroll 1
    for (int m = 0; m < T::m_fragments; m++) {
        const int block_row = warp_m + m * 16;
        const int left = min(g.rows * g.columns - at.first_row - block_row, 16) - t.first;
        t.turns = c.there && left > 0 ? (left + t.step - 1) / t.step : 0;
        __syncwarp();
#pragma unroll
        for (int i = 0; i < T::m_fragments; i++) { /* registers have no index */
            if (i == m) stage_sums<T>(sum[i], staged, lane);
        }
        __syncwarp();
#pragma unroll 1
        for (int i = 0; i < t.turns; i++) {
            const int row = block_row + t.first + i * t.step;
            uint8_t *values = t.at + i * t.step * stage_pitch(T::wn);
            finish_eight<T>(g, c, values, stage_half(T::wn));
            if (!c.at_once) store_singly(g, c, values, stage_half(T::wn), rows->y[row], rows->residual[row]);
            if (padding) zero_padding(g, rows->y[row], c.sub, behind);
        }
        if (c.at_once) store_rows<T>(g, c, rows, block_row, t);
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
            if constexpr (T::type == CUDA_BF16) step_bf16<T>(sum, now + a, now + b, 0);
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
                for (int step = 1; step < 4; step++) step_bf16<T>(sum, now + a, now + b, step);
            }
            if constexpr (T::type == CUDA_I8) {
#pragma unroll
                for (int first = 0; first < T::n_fragments; first += I8_GROUP) {
                    if (first > 0) clear_i8<T>(integers);
#pragma unroll
                    for (int step = first > 0 ? 0 : 1; step < 4; step++) {
                        step_i8<T>(integers, now + a, now + b, first, step);
                    }
                    __syncwarp(); /* or the compiler mixes two groups, which the registers do not hold */
                    add_i8<T>(sum, integers, now + row_scale, now + column_scale, first);
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
