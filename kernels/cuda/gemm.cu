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

/* Which tile a block makes. */
struct Place {
    int first_row, first_column; /* columns as they are packed */
};

__device__ __forceinline__ int total_rows(const CudaGemm &g) { return g.images * g.rows * g.columns; }
__device__ __forceinline__ int packed_columns(const CudaGemm &g) { return g.glu ? (g.n + 7) / 8 * 16 : g.n; }

template <class T> __device__ __forceinline__ Place tile_place(const CudaGemm &g)
{
    constexpr uint32_t group = 8;
    const uint32_t tiles_m = (uint32_t)(total_rows(g) + T::bm - 1) / T::bm;
    const uint32_t tiles_n = (uint32_t)(packed_columns(g) + T::bn - 1) / T::bn;
    const uint32_t first = blockIdx.x / (group * tiles_n) * group, in_group = blockIdx.x % (group * tiles_n);
    const uint32_t height = min(group, tiles_m - first);
    return {(int)((first + in_group % height) * T::bm), (int)(in_group / height * T::bn)};
}

/* ------------------------------------------------------------------------------------------------- operands to stages */

enum { IMAGE_SHIFT = 28 }; /* where in a word of Fetch.row the image is; pictures have under 2^28 pixels */

/* A thread's share in fetching: chunk `chunk` of rows own, own + rows_a_turn, ... of both operands, and the next slab's place. */
template <class T> struct Fetch {
    int part, tap, slab;
    int chunk, own, rows_left, columns_left;
    uint64_t a, b;             /* the part's operands from the thread's chunk, b from its first row on */
    uint32_t row[T::a_turns]; /* image and pixel, but for the tap, of each row of A */
};

template <class T> __device__ __forceinline__ void begin_part(const CudaGemm &g, const Place &at, Fetch<T> &f)
{
    const CudaGemmPart &p = g.part[f.part];
    const uint32_t columns = (uint32_t)g.columns, image_pixels = (uint32_t)g.rows * columns;
    const int64_t row_bytes = (int64_t)p.taps * p.depth * T::element_bytes;
    f.a = p.a + (uint64_t)(blockIdx.z * g.batch_a * T::element_bytes + f.chunk * 16);
    f.b = p.b + (uint64_t)(blockIdx.z * g.batch_b * T::element_bytes + f.chunk * 16 + (at.first_column + f.own) * row_bytes);
#pragma unroll
    for (int j = 0; j < T::a_turns; j++) {
        const int m = f.own + j * T::rows_a_turn;
        const uint32_t row = m < f.rows_left ? (uint32_t)(at.first_row + m) : 0;
        const uint32_t image = row / image_pixels, pixel = row % image_pixels;
        f.row[j] = image << IMAGE_SHIFT | (pixel / columns * (uint32_t)p.step_y + pixel % columns * (uint32_t)p.step_x);
    }
}

template <class T> __device__ __forceinline__ void begin_fetch(const CudaGemm &g, const Place &at, Fetch<T> &f)
{
    f.part = f.tap = f.slab = 0;
    f.chunk = (int)threadIdx.x % TILE_CHUNKS;
    f.own = (int)threadIdx.x / TILE_CHUNKS;
    f.rows_left = total_rows(g) - at.first_row;
    f.columns_left = packed_columns(g) - at.first_column;
    begin_part<T>(g, at, f);
}

/* Scales of a slab: the thread whose chunk is j takes those of the rows that its j-th turn copies from. */
template <class T>
__device__ __forceinline__ void fetch_scales(const CudaGemm &g, const Place &at, const Fetch<T> &f, uint32_t stage, uint32_t pixel)
{
    const CudaGemmPart &p = g.part[f.part];
    const int m = f.own + f.chunk * T::rows_a_turn;
    if (f.chunk < T::a_turns) {
        const uint64_t from = p.a_scale + (uint64_t)((int64_t)pixel * p.blocks + f.slab) * 4;
        copy_async_4(stage + T::scale_at + m * 4, from, m < f.rows_left ? 4 : 0);
    }
    if (f.chunk < T::b_turns) {
        const int64_t row = (int64_t)(at.first_column + m) * p.taps + f.tap;
        const uint64_t from = p.b_scale + (uint64_t)(row * p.blocks + f.slab) * 4;
        copy_async_4(stage + T::scale_at + (T::bm + m) * 4, from, m < f.columns_left ? 4 : 0);
    }
}

/* Starts the copies of the next slab and steps on. Returns how many chunks of the stage are to be multiplied. */
template <class T> __device__ __forceinline__ int fetch_slab(const CudaGemm &g, const Place &at, Fetch<T> &f, uint32_t stage)
{
    const CudaGemmPart &p = g.part[f.part];
    const int depth_bytes = p.depth * T::element_bytes, pitch_bytes = p.pitch * T::element_bytes;
    const int chunks_left = (depth_bytes - f.slab * TILE_ROW_BYTES) / 16;
    int used = TILE_CHUNKS;
    if (T::type == CUDA_F32) used = min(chunks_left, TILE_CHUNKS);
    if (T::type == CUDA_BF16 && chunks_left <= 2) used = 2; /* one step of the matrix instruction: narrow layers */
    if (f.chunk < used) {
        const bool inside = f.chunk < chunks_left;
        const uint32_t to = stage + (uint32_t)tile_at(f.own, f.chunk);
        const uint32_t frame = p.tap_frame[f.tap], offset = (uint32_t)p.tap[f.tap];
        uint32_t scale_pixel = 0;
#pragma unroll
        for (int j = 0; j < T::a_turns; j++) {
            const uint32_t row = f.row[j], within = row & ((1u << IMAGE_SHIFT) - 1);
            const uint32_t pixel = (uint32_t)p.frame[row >> IMAGE_SHIFT][frame] + offset + within;
            const uint64_t from = f.a + (uint64_t)pixel * (uint32_t)pitch_bytes + (uint32_t)(f.slab * TILE_ROW_BYTES);
            const bool there = inside && f.own + j * T::rows_a_turn < f.rows_left;
            copy_async_16(to + j * T::rows_a_turn * TILE_ROW_BYTES, from, there ? 16 : 0);
            if (T::scaled) scale_pixel = f.chunk == j ? pixel : scale_pixel;
        }
        const uint64_t b = f.b + (uint32_t)(f.tap * depth_bytes + f.slab * TILE_ROW_BYTES);
        const uint64_t b_step = (uint64_t)(uint32_t)(p.taps * depth_bytes) * T::rows_a_turn;
#pragma unroll
        for (int j = 0; j < (T::some_b ? 1 : T::b_turns); j++) {
            const int n = f.own + j * T::rows_a_turn;
            if (T::some_b && n >= T::bn) break;
            const bool there = inside && n < f.columns_left;
            copy_async_16(to + T::b_at + j * T::rows_a_turn * TILE_ROW_BYTES, b + (uint64_t)j * b_step, there ? 16 : 0);
        }
        if (T::scaled) fetch_scales<T>(g, at, f, stage, scale_pixel);
    }
    f.slab++;
    if (f.slab * TILE_ROW_BYTES >= depth_bytes) {
        f.slab = 0;
        f.tap++;
        if (f.tap == p.taps) {
            f.tap = 0;
            f.part++;
            if (f.part < g.parts) begin_part<T>(g, at, f);
        }
    }
    return used;
}

template <class T> __device__ __forceinline__ int count_slabs(const CudaGemm &g)
{
    int slabs = 0;
    for (int i = 0; i < g.parts; i++) {
        const CudaGemmPart &p = g.part[i];
        slabs += p.taps * ((p.depth * T::element_bytes + TILE_ROW_BYTES - 1) / TILE_ROW_BYTES);
    }
    return slabs;
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

/* A slab of int8 for rows 32 * half .. 32 * half + 31 of the warp: operands and scales of A. */
struct HalfI8 {
    uint32_t a[4][2][4];
    float scale[2][2];
};

__device__ __forceinline__ void load_half_i8(HalfI8 &h, uint32_t a, const float *scale, int half)
{
#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
        for (int step = 0; step < 4; step++) load_matrix_4(h.a[step][m], (a ^ step << 5) + (half * 2 + m) * 16 * TILE_ROW_BYTES);
        h.scale[m][0] = scale[half * 32 + m * 16];
        h.scale[m][1] = scale[half * 32 + m * 16 + 8];
    }
}

/* The same slab for columns 8 * n .. 8 * n + 15: 16 integer sums at a time, because all would not fit the registers. */
template <class T>
__device__ __forceinline__ void multiply_half_i8(Sums<T> &sum, const HalfI8 &h, uint32_t b, const float *scale, int half, int n)
{
    int32_t c[2][2][4];
#pragma unroll
    for (int i = 0; i < 16; i++) c[i / 8][i / 4 % 2][i % 4] = I8_ZERO;
#pragma unroll
    for (int step = 0; step < 4; step++) {
        uint32_t fb[4];
        load_matrix_4(fb, (b ^ step << 5) + n * 8 * TILE_ROW_BYTES);
#pragma unroll
        for (int m = 0; m < 2; m++) {
            multiply_i8(c[m][0], h.a[step][m], fb[0], fb[1]);
            multiply_i8(c[m][1], h.a[step][m], fb[2], fb[3]);
        }
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
        const float2 columns = *(const float2 *)(scale + (n + j) * 8);
#pragma unroll
        for (int m = 0; m < 2; m++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float factor = __fmul_rn(h.scale[m][i / 2], i % 2 ? columns.y : columns.x);
                sum[half * 2 + m][n + j][i] = __fmaf_rn(i8_sum(c[m][j][i]), factor, sum[half * 2 + m][n + j][i]);
            }
        }
    }
}

/* A slab of float32, `chunks` times four of K. a, b: the stage's tiles; m, n: the warp's first row and column. */
template <class T>
__device__ __forceinline__ void multiply_f32(Sums<T> &sum, const uint8_t *a, const uint8_t *b, int m, int n, int lane, int chunks)
{
#pragma unroll 1
    for (int c = 0; c < chunks; c++) {
        float4 fa[T::m_fragments * 2];
#pragma unroll
        for (int i = 0; i < T::m_fragments * 2; i++) fa[i] = *(const float4 *)(a + tile_at(m + i * 8 + sum_row(lane), c));
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

constexpr uint32_t ALL_DROPPED = 0xffffffffu;

/* Where the rows of a block go: its pixels of y and of the residual, and which sub-pixels are left out (past the end: all). */
template <class T> struct RowTable {
    int32_t y[T::bm], residual[T::bm];
    uint32_t drop[T::bm];
};

template <class T> __device__ __forceinline__ void fill_rows(const CudaGemm &g, const Place &at, RowTable<T> *rows)
{
    const uint32_t columns = (uint32_t)g.columns, image_pixels = (uint32_t)g.rows * columns;
    if ((int)threadIdx.x >= T::bm) return;
    const uint32_t row = (uint32_t)(at.first_row + (int)threadIdx.x);
    int y = 0, residual = 0;
    uint32_t drop = ALL_DROPPED;
    if (row < (uint32_t)total_rows(g)) {
        const uint32_t image = row / image_pixels, pixel = row % image_pixels;
        const int oy = (int)(pixel / columns), ox = (int)(pixel % columns);
        y = g.y_image[image] + oy * g.y_row + ox * g.y_column;
        residual = g.residual_image[image] + oy * g.residual_row + ox * g.residual_column;
        drop = g.drop[image];
    }
    rows->y[threadIdx.x] = y;
    rows->residual[threadIdx.x] = residual;
    rows->drop[threadIdx.x] = drop;
}

/* Eight columns of one row: where they go. n: the first column; channel: the same within its sub-pixel `sub`. */
struct Target {
    int n, sub, channel, y_pixel;
    uint32_t drop;
    uint64_t residual; /* address of column n; 0: none */
};

__device__ __forceinline__ uint64_t y_address(const CudaGemm &g, int pixel, int sub, int channel)
{
    const int64_t element = (int64_t)(pixel + g.sub[sub]) * g.y_pitch + channel + blockIdx.z * g.batch_y;
    return g.y + (uint64_t)(element * (g.y_type == CUDA_BF16 ? 2 : 4));
}

__device__ __forceinline__ void store_one(const CudaGemm &g, uint64_t to, float value)
{
    if (g.y_type == CUDA_BF16) *(uint16_t *)to = (uint16_t)bf16_pack(value, 0.0f);
    else *(float *)to = value;
}

__device__ __forceinline__ float load_residual(const CudaGemm &g, uint64_t from, int i)
{
    return g.residual_type == CUDA_BF16 ? bf16_one(((const uint16_t *)from)[i]) : ((const float *)from)[i];
}

/* Adds eight residual values that lie at a multiple of 16 bytes. */
__device__ __forceinline__ void add_residual(const CudaGemm &g, uint64_t from, float (&v)[8])
{
    const uint4 first = *(const uint4 *)from;
    if (g.residual_type == CUDA_BF16) {
        const uint32_t pair[4] = {first.x, first.y, first.z, first.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[2 * i] = __fadd_rn(v[2 * i], bf16_low(pair[i]));
            v[2 * i + 1] = __fadd_rn(v[2 * i + 1], bf16_high(pair[i]));
        }
    } else {
        const uint4 second = *(const uint4 *)(from + 16);
        const uint32_t bits[8] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = __fadd_rn(v[i], __uint_as_float(bits[i]));
    }
}

/* Eight channels at once, which all exist or are padding. */
__device__ __forceinline__ void store_eight(const CudaGemm &g, uint64_t to, int channel, float (&v)[8])
{
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = channel + i < g.y_c ? v[i] : 0.0f;
    if (g.y_type == CUDA_BF16) {
        *(uint4 *)to = make_uint4(bf16_pack(v[0], v[1]), bf16_pack(v[2], v[3]), bf16_pack(v[4], v[5]), bf16_pack(v[6], v[7]));
    } else {
        *(float4 *)to = make_float4(v[0], v[1], v[2], v[3]);
        *(float4 *)(to + 16) = make_float4(v[4], v[5], v[6], v[7]);
    }
}

__device__ __forceinline__ void zero_padding(const CudaGemm &g, int pixel, int sub, int channel)
{
#pragma unroll 1
    for (int c = channel; c < g.y_pad; c++) store_one(g, y_address(g, pixel, sub, c), 0.0f);
}

/* Eight columns that cannot be stored at once, from where they wait in shared memory: two chunks `half` bytes apart. */
__device__ __forceinline__ void store_singly(const CudaGemm &g, const Target &t, const uint8_t *values, int half)
{
    int sub = t.sub, channel = t.channel;
#pragma unroll 1
    for (int i = 0; i < 8 && t.n + i < g.n; i++) {
        float v = *(const float *)(values + (i >> 2) * half + (i & 3) * 4);
        if (t.residual != 0) v = __fadd_rn(v, load_residual(g, t.residual, i));
        if (!(t.drop >> sub & 1)) {
            store_one(g, y_address(g, t.y_pixel, sub, channel), v);
            if (channel == g.y_c - 1) zero_padding(g, t.y_pixel, sub, g.y_c);
        }
        channel++;
        if (channel == g.y_c) {
            channel = 0;
            sub++;
        }
    }
}

__device__ __forceinline__ void load_eight(float (&v)[8], const uint8_t *values, int half)
{
    const float4 low = *(const float4 *)values, high = *(const float4 *)(values + half);
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
}

/* From sums to values: all but the residual. second: the sums that the activated ones are multiplied by. */
__device__ __forceinline__ void finish_eight(const CudaGemm &g, int n, float (&v)[8], const float (&second)[8])
{
    const float *bias = (const float *)g.bias, *more_bias = (const float *)g.more_bias, *gate = (const float *)g.gate;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        v[i] = __fmul_rn(g.alpha, v[i]);
        if (bias != nullptr && n + i < g.n) {
            v[i] = __fadd_rn(v[i], more_bias != nullptr ? __fadd_rn(more_bias[n + i], bias[n + i]) : bias[n + i]);
        }
    }
    if (g.act == CUDA_ACT_RELU) {
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = v[i] > 0.0f ? v[i] : 0.0f;
    } else if (g.act != CUDA_ACT_NONE) {
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = activate_any(v[i], g.act);
    }
    if (g.glu) {
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = __fmul_rn(v[i], __fmul_rn(g.alpha, second[i]));
    }
    if (gate != nullptr) {
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = n + i < g.n ? __fmul_rn(v[i], gate[n + i]) : v[i];
    }
}

/* Finishes group `group` of eight columns of a staged row. */
template <class T>
__device__ __forceinline__ void finish_group(const CudaGemm &g, const RowTable<T> *rows, int row, int n, uint8_t *values, int group)
{
    const int half = stage_half(T::wn);
    Target t;
    t.n = n;
    t.y_pixel = rows->y[row];
    t.drop = rows->drop[row];
    if (n >= g.n || t.drop == ALL_DROPPED) return;
    float v[8], second[8];
    uint8_t *at = values + (g.glu ? 2 * group : group) * 16;
    load_eight(v, at, half);
    if (T::n_fragments > 1 && g.glu) load_eight(second, at + 16, half);
    finish_eight(g, n, v, second);
    t.sub = g.subs > 1 ? n / g.y_c : 0;
    t.channel = n - t.sub * g.y_c;
    t.residual = 0;
    bool at_once = t.channel + 8 <= (g.subs > 1 ? g.y_c : g.y_pad);
    const uint64_t to = y_address(g, t.y_pixel, t.sub, t.channel);
    at_once &= to % 16 == 0;
    if (g.residual != 0) {
        const int64_t element = (int64_t)rows->residual[row] * g.residual_pitch + n;
        t.residual = g.residual + (uint64_t)(element * (g.residual_type == CUDA_BF16 ? 2 : 4));
        at_once &= t.residual % 16 == 0 && n + 8 <= g.n;
    }
    if (at_once) {
        if (t.drop >> t.sub & 1) return;
        if (g.residual != 0) add_residual(g, t.residual, v);
        store_eight(g, to, t.channel, v);
        if (t.channel + 8 >= g.y_c) zero_padding(g, t.y_pixel, t.sub, t.channel + 8);
    } else {
        *(float4 *)at = make_float4(v[0], v[1], v[2], v[3]);
        *(float4 *)(at + half) = make_float4(v[4], v[5], v[6], v[7]);
        store_singly(g, t, at, half);
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

template <class T>
__device__ __forceinline__ void write_results(const CudaGemm &g, const Place &at, const Sums<T> &sum, uint8_t *memory)
{
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int warp_m = warp / T::warps_n * T::wm, warp_n = warp % T::warps_n * T::wn;
    uint8_t *staged = memory + warp * 16 * stage_pitch(T::wn);
    RowTable<T> *rows = (RowTable<T> *)(memory + T::warps * 16 * stage_pitch(T::wn));
    fill_rows<T>(g, at, rows);
    __syncthreads();
    const int groups = g.glu ? T::n_fragments / 2 : T::n_fragments;
    const int first = (at.first_column + warp_n) / (g.glu ? 2 : 1);
#pragma unroll 1
    for (int m = 0; m < T::m_fragments; m++) {
        __syncwarp();
#pragma unroll
        for (int i = 0; i < T::m_fragments; i++) { /* registers have no index */
            if (i == m) stage_sums<T>(sum[i], staged, lane);
        }
        __syncwarp();
#pragma unroll 1
        for (int i = lane; i < 16 * groups; i += 32) {
            const int row = i / groups, group = i % groups;
            finish_group<T>(g, rows, warp_m + m * 16 + row, first + group * 8, staged + row * stage_pitch(T::wn), group);
        }
    }
}

/* --------------------------------------------------------------------------------------------------------- the kernels */

template <class T> __device__ __forceinline__ void gemm(const CudaGemm &g)
{
    extern __shared__ __align__(128) uint8_t memory[];
    const uint32_t base = shared_address(memory);
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int warp_m = warp / T::warps_n * T::wm, warp_n = warp % T::warps_n * T::wn;
    const uint32_t a = (uint32_t)tile_at(warp_m + fragment_a_row(lane), fragment_a_chunk(lane));
    const uint32_t b = T::b_at + (uint32_t)tile_at(warp_n + fragment_b_row(lane), fragment_b_chunk(lane));

    const Place at = tile_place<T>(g);
    Fetch<T> fetch;
    begin_fetch<T>(g, at, fetch);
    const int slabs = count_slabs<T>(g);
    int used[T::stages - 1]; /* chunks of the slabs on their way */
#pragma unroll
    for (int i = 0; i < T::stages - 1; i++) {
        if (i < slabs) used[i] = fetch_slab<T>(g, at, fetch, base + i * T::stage_bytes);
        copy_async_commit();
    }

    Sums<T> sum = {};
    uint32_t stage = 0, filled = T::stages - 1; /* the stage to multiply, and the one to fill */
#pragma unroll 1
    for (int slab = 0; slab < slabs; slab++) {
        copy_async_wait<T::stages - 2>();
        __syncthreads();
        const uint32_t now = base + stage * T::stage_bytes;
        const uint8_t *here = memory + stage * T::stage_bytes;
        const float *row_scale = (const float *)(here + T::scale_at) + warp_m + sum_row(lane);
        const float *column_scale = (const float *)(here + T::scale_at) + T::bm + warp_n + sum_column(lane);
        const int chunks = used[0];
        HalfI8 half;
        if constexpr (T::type == CUDA_BF16) step_bf16<T>(sum, now + a, now + b, 0);
        if constexpr (T::type == CUDA_I8) {
            load_half_i8(half, now + a, row_scale, 0);
            multiply_half_i8<T>(sum, half, now + b, column_scale, 0, 0);
        }
        /* The next slab's addresses are worked out while the tensor cores are busy. */
#pragma unroll
        for (int i = 0; i + 2 < T::stages; i++) used[i] = used[i + 1];
        if (slab + T::stages - 1 < slabs) used[T::stages - 2] = fetch_slab<T>(g, at, fetch, base + filled * T::stage_bytes);
        copy_async_commit();
        if constexpr (T::type == CUDA_BF16) {
            if (chunks > 2) {
#pragma unroll
                for (int step = 1; step < 4; step++) step_bf16<T>(sum, now + a, now + b, step);
            }
        }
        if constexpr (T::type == CUDA_I8) {
#pragma unroll
            for (int i = 1; i < T::m_fragments / 2 * (T::n_fragments / 2); i++) {
                const int h = i / (T::n_fragments / 2), n = i % (T::n_fragments / 2) * 2;
                if (n == 0) load_half_i8(half, now + a, row_scale, h);
                multiply_half_i8<T>(sum, half, now + b, column_scale, h, n);
            }
        }
        if constexpr (T::type == CUDA_F32) multiply_f32<T>(sum, here, here + T::b_at, warp_m, warp_n, lane, chunks);
        stage = stage + 1 == T::stages ? 0 : stage + 1;
        filled = filled + 1 == T::stages ? 0 : filled + 1;
    }
    copy_async_wait<0>();
    __syncthreads();
    write_results<T>(g, at, sum, memory);
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
GEMM(30, i8, CUDA_I8, 256, 128, 64, 64, 2, 1)
#endif
#if WANTED(31)
GEMM(31, i8, CUDA_I8, 128, 128, 64, 64, 3, 1)
#endif
#if WANTED(32)
GEMM(32, i8, CUDA_I8, 128, 64, 32, 64, 2, 2)
#endif
#if WANTED(33)
GEMM(33, i8, CUDA_I8, 64, 64, 32, 32, 2, 2)
#endif
