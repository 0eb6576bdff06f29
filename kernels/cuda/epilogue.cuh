/*
 * From the sums of a product to its results: bias, activation, gated units, residual, sub-pixel shuffle, and what a norm behind
 * them has to know. CudaGemm in args.h says what is computed.
 *
 * Sums leave through shared memory, 16 rows of a warp at a time, so that a lane finishes eight neighbouring channels of one
 * pixel and writes them at once. Where moments are wanted, values stay there as they were stored until the block has all of its
 * tile: then threads go down its columns, two each, as stats.cu does.
 */
#ifndef UPRES_KERNELS_CUDA_EPILOGUE_CUH
#define UPRES_KERNELS_CUDA_EPILOGUE_CUH

#include "gemm.cuh"
#include "moments.cuh"

/*
 * Shared memory of the epilogue: a region a warp, then the rows' table, then what moments take. In a region 16 rows of sums
 * (layout.h: stage_at), in front of them values [row][column] as a norm reads them, the last 16 rows of these where the sums of
 * the same rows were. Regions of warps that have columns of one norm's row differ by half the banks.
 */
template <class T> struct Region {
    static constexpr int value_bytes = T::type == CUDA_F32 ? 4 : 2;
    static constexpr int row_bytes = T::wn * value_bytes, sums_at = T::moments ? (T::m_fragments - 1) * 16 * row_bytes : 0;
    static constexpr int bytes = sums_at + 16 * stage_pitch(T::wn) + (T::moments && row_bytes == 64 ? 64 : 0);
    static constexpr int rows_at = T::warps * bytes, weights_at = rows_at + T::bm * 8, halves = T::bm / 64;
    static constexpr int most_size = T::bn; /* channels of a group */
    static constexpr int means_at = weights_at + most_size * 8, end = means_at + halves * T::bn * 8;
    static_assert(!T::moments || end <= T::stages * T::stage_bytes, "no room for moments");
};

/* Where the rows of a block go: their pixels of y and of the residual. */
template <class T> struct RowTable {
    int32_t y[T::bm], residual[T::bm];
};

template <class T> __device__ __forceinline__ void fill_rows(const CudaGemm &g, const Place &at, int thread, RowTable<T> *rows)
{
    if (thread >= T::bm) return;
    const uint32_t pixel = pixel_of<T>(g, at, thread), columns = (uint32_t)g.columns;
    const int oy = (int)(pixel / columns), ox = (int)(pixel % columns);
    rows->y[thread] = g.y_image[at.image] + oy * g.y_row + ox * g.y_column;
    rows->residual[thread] = g.residual_image[at.image] + oy * g.residual_row + ox * g.residual_column;
}

/* How many of the 16 rows from `row` of the tile on exist: the first ones. Boxes are 16 pixels wide or more. */
template <class T> __device__ __forceinline__ int rows_there(const CudaGemm &g, const Place &at, int row)
{
    if (!in_boxes<T>(g)) return min(g.rows * g.columns - at.first_row - row, 16);
    return at.first_row + (row >> g.box) < g.rows ? min(g.columns - at.first_x - (row & ((1 << g.box) - 1)), 16) : 0;
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

/* Eight values as they are kept, for the moments of all. */
template <class T> __device__ __forceinline__ void keep_eight(const CudaGemm &g, uint8_t *to, const float (&v)[8])
{
    const uint4 halves = make_uint4(bf16_pack(v[0], v[1]), bf16_pack(v[2], v[3]), bf16_pack(v[4], v[5]), bf16_pack(v[6], v[7]));
    if (T::type != CUDA_F32) {
        *(uint4 *)to = halves;
        return;
    }
    const bool bf16 = g.y_type == CUDA_BF16;
    const uint32_t word[4] = {halves.x, halves.y, halves.z, halves.w};
    float kept[8];
#pragma unroll
    for (int i = 0; i < 8; i++) kept[i] = !bf16 ? v[i] : i % 2 ? bf16_high(word[i / 2]) : bf16_low(word[i / 2]);
    *(float4 *)to = make_float4(kept[0], kept[1], kept[2], kept[3]);
    *(float4 *)(to + 16) = make_float4(kept[4], kept[5], kept[6], kept[7]);
}

/* Residuals are asked for all at once, then used: one wait instead of many. kept: where the lane's first values stay for
 * moments; 0: they do not. */
template <class T>
__device__ __forceinline__ void store_rows(const CudaGemm &g, const Columns &c, const RowTable<T> *rows, int block_row,
                                           const Turns &t, uint8_t *kept)
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
        if (live[i]) load_eight(v, t.at + i * t.step * stage_pitch(T::wn), stage_half(T::wn));
        if (T::moments && kept != nullptr) __syncwarp(); /* the last rows' values go where their sums are */
        if (!live[i]) continue;
        if (g.residual != 0) add_residual(g, residual[i], v);
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] = c.channel + j < g.y_c ? v[j] : 0.0f;
        store_eight(g, pixel_address(c.y, rows->y[block_row + t.first + i * t.step], g.y_pitch, g.y_type), v);
        if (T::moments && kept != nullptr) keep_eight<T>(g, kept + i * t.step * Region<T>::row_bytes, v);
    }
}

/* ------------------------------------------------------------------------------------------------------------ moments */

/* Pixel 0 of row `row` of the tile, 16 pixels, in columns `column` and behind. */
template <class T> __device__ __forceinline__ const uint8_t *kept_row(const uint8_t *memory, int row, int column)
{
    const int warp = row / T::m_fragments * T::warps_n + column / T::wn;
    return memory + warp * Region<T>::bytes + row % T::m_fragments * 16 * Region<T>::row_bytes +
           column % T::wn * Region<T>::value_bytes;
}

template <class T> __device__ __forceinline__ float2 kept_two(const uint8_t *at)
{
    if (T::type == CUDA_F32) return *(const float2 *)at;
    const uint32_t two = *(const uint32_t *)at;
    return make_float2(bf16_low(two), bf16_high(two));
}

/* Halves of patches in a tile, from left to right, then from top to bottom. */
struct TileHalf {
    Half pixels;
    int first, step; /* its rows, counted in 16 pixels of the tile */
    __device__ __forceinline__ bool there() const { return pixels.height > 0 && pixels.width > 0; }
};

__device__ __forceinline__ TileHalf tile_half(const CudaGemm &g, const Place &at, int number)
{
    const int shift = g.box - 4, column = number & ((1 << shift) - 1), row = number >> shift << 2;
    return {half_at(at.first_row + row, at.first_x + column * CUDA_PATCH_W, g.rows, g.columns), (row << shift) + column, 1 << shift};
}

/* Means and squared distances of two columns in half a patch. */
template <class T>
__device__ __forceinline__ void sum_columns(const uint8_t *memory, const TileHalf &h, int column, float2 *mean, float2 *square)
{
    const Half &p = h.pixels;
    float2 sum = {0.0f, 0.0f}, m2 = {0.0f, 0.0f};
    __builtin_assume(p.width > 0);
#pragma unroll 1
    for (int y = 0; y < p.height; y++) {
        const uint8_t *row = kept_row<T>(memory, h.first + y * h.step, column);
#pragma unroll 4
        for (int x = 0; x < p.width; x++) {
            const float2 v = kept_two<T>(row + x * Region<T>::row_bytes);
            sum.x = __fadd_rn(sum.x, v.x);
            sum.y = __fadd_rn(sum.y, v.y);
        }
    }
    const float pixels = (float)(p.height * p.width);
    *mean = make_float2(__fdiv_rn(sum.x, pixels), __fdiv_rn(sum.y, pixels));
#pragma unroll 1
    for (int y = 0; y < p.height; y++) {
        const uint8_t *row = kept_row<T>(memory, h.first + y * h.step, column);
#pragma unroll 4
        for (int x = 0; x < p.width; x++) {
            const float2 v = kept_two<T>(row + x * Region<T>::row_bytes);
            const float dx = __fsub_rn(v.x, mean->x), dy = __fsub_rn(v.y, mean->y);
            m2.x = __fadd_rn(m2.x, __fmul_rn(dx, dx));
            m2.y = __fadd_rn(m2.y, __fmul_rn(dy, dy));
        }
    }
    *square = m2;
}

/* Of halves of patches in this tile, all of which it has, and its columns, which are whole groups. */
template <class T> __device__ __forceinline__ void tell_moments(const CudaGemm &g, const Place &at, uint8_t *memory)
{
    constexpr int pairs = T::bn / 2;
    const int thread = thread_now(), columns = min(T::bn, g.n - at.first_column), size = g.stat_size, groups = columns / size;
    double *weights = (double *)(memory + Region<T>::weights_at);
    float *means = (float *)(memory + Region<T>::means_at), *squares = means + Region<T>::halves * T::bn;
    fill_weights(weights, size, thread, T::threads);
    wait_for_warps<T>();
#pragma unroll 1
    for (int i = thread; i < Region<T>::halves * pairs; i += T::threads) {
        const int half = i / pairs, column = i % pairs * 2;
        const TileHalf h = tile_half(g, at, half);
        if (!h.there() || column >= columns) continue;
        float2 mean, square;
        sum_columns<T>(memory, h, column, &mean, &square);
        *(float2 *)(means + half * T::bn + column) = mean;
        *(float2 *)(squares + half * T::bn + column) = square;
    }
    wait_for_warps<T>();
#pragma unroll 1
    for (int i = thread; i < Region<T>::halves * groups; i += T::threads) {
        const int half = i / groups, group = i % groups, column = half * T::bn + group * size;
        const TileHalf h = tile_half(g, at, half);
        const Half &p = h.pixels;
        if (!h.there()) continue;
        const uint32_t series = (uint32_t)(g.stat_image[at.image] * g.stat_groups + at.first_column / size + group);
        const uint32_t number = (uint32_t)(g.stat_first + half_number(p.top, p.left, g.columns));
        memory_at<double2>(g.moments)[(uint64_t)series * (uint32_t)g.stat_halves + number] =
            merge_channels(means + column, squares + column, size, (double)(p.height * p.width), weights);
    }
}

template <class T> __device__ __forceinline__ void write_results(const CudaGemm &g, const Sums<T> &sum, uint8_t *memory)
{
    const Place at = tile_place<T>(g);
    const int thread = thread_now(), lane = thread % 32, warp = thread / 32;
    const int warp_m = warp / T::warps_n * T::wm, warp_n = warp % T::warps_n * T::wn;
    uint8_t *region = memory + warp * Region<T>::bytes, *staged = region + Region<T>::sums_at;
    RowTable<T> *rows = (RowTable<T> *)(memory + Region<T>::rows_at);
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
    const bool moments = T::moments && g.stat_groups > 0;
    wait_for_warps<T>();
#pragma unroll 1
    for (int m = 0; m < T::m_fragments; m++) {
        const int block_row = warp_m + m * 16;
        const int left = rows_there<T>(g, at, block_row) - t.first;
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
        uint8_t *kept = region + (m * 16 + t.first) * Region<T>::row_bytes + group * 8 * Region<T>::value_bytes;
        if (c.at_once || moments) store_rows<T>(g, c, rows, block_row, t, moments ? kept : nullptr);
    }
    if (moments) tell_moments<T>(g, at, memory);
}

#endif
