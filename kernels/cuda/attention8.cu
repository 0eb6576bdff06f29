/*
 * Attention in 8 bits on sm_120, for heads of 128 channels: scores of int8 or e4m3, weights and values e4m3, at four times the
 * rate of bf16. kernels/cpu/attention8.h says what is computed, CudaFlash8 and CudaFlash8Pack in args.h what is given,
 * layout.h how it lies. For other targets there is nothing in this file.
 *
 * A block of threads has 128 queries, sixteen for each of eight warps; a ninth warp has the copy engine bring tiles of 64 keys
 * with their values, up to FLASH8_STAGES ahead. Scores become weights in the registers where the tensor cores left them: the
 * order of keys in a tile makes a lane's scores its part of the next product's left side.
 */
#include "fp8.cuh"

#ifdef UPRES_FP8
#include "attention.cuh"
#include "bulk.cuh"
#include "layout.h"

#define ALL_LANES 0xffffffffu
enum { DEPTH = 128, KEYS = FLASH8_KEYS, WARPS = CUDA_FLASH8_ROWS / 16 };

/* ---------------------------------------------------------------------------------------------------------- operands */

/* Keys of one window, or of one launch. */
struct Keys {
    int first, count, tile; /* row of the first; their first tile in a head */
};

__device__ __forceinline__ Keys keys_of(const CudaFlash8Pack &a)
{
    if (a.windows == 0) return {0, a.keys, a.first_tile};
    const CudaWindow *w = memory_at<const CudaWindow>(a.windows) + blockIdx.y;
    return {w->first, w->own + a.text_keys, w->first / KEYS + (int)blockIdx.y};
}

/* Element of k or v where a row of the block's head begins. */
__device__ __forceinline__ int64_t row_at(const CudaFlash8Pack &a, int row)
{
    return (int64_t)row * a.kv_pitch + (int64_t)blockIdx.z * a.kv_head;
}

/* Floats of a tile's sums. */
__device__ __forceinline__ float *sums_of(const CudaFlash8Pack &a, int tile)
{
    return memory_at<float>(a.sums) + ((int64_t)blockIdx.z * a.head_tiles + tile) * DEPTH;
}

__device__ __forceinline__ float *means_of(const CudaFlash8Pack &a)
{
    return memory_at<float>(a.means) + ((int64_t)blockIdx.z * gridDim.y + blockIdx.y) * DEPTH;
}

/* A thread a channel: sums in the order of the keys. */
extern "C" __global__ void __launch_bounds__(128) flash8_sums(const __grid_constant__ CudaFlash8Pack a)
{
    const Keys keys = keys_of(a);
    const int first = blockIdx.x * KEYS, count = min(KEYS, keys.count - first);
    if (count <= 0) return;
    const uint16_t *k = memory_at<const uint16_t>(a.k) + row_at(a, keys.first + first) + threadIdx.x;
    float sum = 0.0f;
#pragma unroll 8
    for (int i = 0; i < count; i++) sum = __fadd_rn(sum, bf16_one(k[(int64_t)i * a.kv_pitch]));
    sums_of(a, keys.tile + (int)blockIdx.x)[threadIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(128) flash8_means(const __grid_constant__ CudaFlash8Pack a)
{
    const Keys keys = keys_of(a);
    const float *from = sums_of(a, keys.tile) + threadIdx.x;
    float sum = 0.0f;
#pragma unroll 8
    for (int i = 0; i < (keys.count + KEYS - 1) / KEYS; i++) sum = __fadd_rn(sum, from[i * DEPTH]);
    means_of(a)[threadIdx.x] = __fdiv_rn(sum, (float)max(keys.count, 1));
}

/* The largest of groups of LANES lanes, of things that are not negative. */
template <int LANES> __device__ __forceinline__ float most(float x)
{
#pragma unroll
    for (int m = LANES / 2; m > 0; m >>= 1) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, m));
    return x;
}

__device__ __forceinline__ float largest(float4 x)
{
    return fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
}

/* Four channels of a row and the row's word of scale. A warp has a row. */
struct Quantized {
    uint32_t four, scale;
};

__device__ __forceinline__ Quantized quantize_i8(float4 x)
{
    const Int8Scale s = int8_scale(most<32>(largest(x)));
    return {int8_quad(x.x, x.y, x.z, x.w, s.inverse), __float_as_uint(s.scale) & ~3u};
}

__device__ __forceinline__ Quantized quantize_e4m3(float4 x)
{
    const uint32_t e = fp8_scale(most<8>(largest(x)));
    uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) word |= __shfl_sync(ALL_LANES, e, i * 8) << i * 8;
    return {e4m3_four(x.x, x.y, x.z, x.w, fp8_inverse(e)), word};
}

__device__ __forceinline__ Quantized quantize(float4 x, bool fp8) { return fp8 ? quantize_e4m3(x) : quantize_i8(x); }

__device__ __forceinline__ float4 load_four(uint64_t from, int64_t element)
{
    const uint2 pairs = *memory_at<const uint2>(from + element * 2);
    return make_float4(bf16_low(pairs.x), bf16_high(pairs.x), bf16_low(pairs.y), bf16_high(pairs.y));
}

/* Eight of a row's channels, eight lanes having 64; `most` is the largest. As a block of int8, or of 32 of e4m3. */
struct Eight {
    float4 low, high;
    float most;
};

__device__ __forceinline__ Eight load_eight(uint64_t from)
{
    const uint4 x = *memory_at<const uint4>(from);
    Eight e = {make_float4(bf16_low(x.x), bf16_high(x.x), bf16_low(x.y), bf16_high(x.y)),
               make_float4(bf16_low(x.z), bf16_high(x.z), bf16_low(x.w), bf16_high(x.w)), 0.0f};
    e.most = fmaxf(largest(e.low), largest(e.high));
    return e;
}

__device__ __forceinline__ uint2 eight_i8(const Eight &e, float inverse)
{
    return make_uint2(int8_quad(e.low.x, e.low.y, e.low.z, e.low.w, inverse),
                      int8_quad(e.high.x, e.high.y, e.high.z, e.high.w, inverse));
}

__device__ __forceinline__ uint2 eight_e4m3(const Eight &e, float inverse)
{
    return make_uint2(e4m3_four(e.low.x, e.low.y, e.low.z, e.low.w, inverse),
                      e4m3_four(e.high.x, e.high.y, e.high.z, e.high.w, inverse));
}

/* Eight lanes a row. Those behind the last do it again: their warps stay whole. */
extern "C" __global__ void __launch_bounds__(256) flash8_queries(const __grid_constant__ CudaFlash8Pack a)
{
    const int lane = threadIdx.x % 8, first = blockIdx.x * 32;
    int rows = a.q_rows, base = 0;
    if (a.windows != 0) {
        const CudaWindow *w = memory_at<const CudaWindow>(a.windows) + blockIdx.y;
        rows = w->own + a.text_queries;
        base = w->first;
    }
    if (first >= rows) return;
    const int row = base + min(first + (int)threadIdx.x / 8, rows - 1);
    const uint64_t from = a.q + ((int64_t)row * a.q_pitch + (int64_t)blockIdx.z * a.q_head + lane * 8) * 2;
    const Eight x = load_eight(from), y = load_eight(from + 64 * 2);
    const int64_t to = (int64_t)blockIdx.z * a.q_rows + row;
    uint32_t scale;
    uint2 here, further;
    if (a.fp8) {
        const uint32_t low = fp8_scale(most<4>(x.most)), high = fp8_scale(most<4>(y.most));
        scale = low | high << 16;
        scale |= __shfl_down_sync(ALL_LANES, scale, 4) << 8;
        here = eight_e4m3(x, fp8_inverse(low));
        further = eight_e4m3(y, fp8_inverse(high));
    } else {
        const Int8Scale s = int8_scale(most<8>(fmaxf(x.most, y.most)));
        scale = __float_as_uint(s.scale) & ~3u;
        here = eight_i8(x, s.inverse);
        further = eight_i8(y, s.inverse);
    }
    *memory_at<uint2>(a.to_q + to * DEPTH + lane * 8) = here;
    *memory_at<uint2>(a.to_q + to * DEPTH + lane * 8 + 64) = further;
    if (lane == 0) *memory_at<uint32_t>(a.q_scale + to * 4) = scale;
}

/* The 64 keys from `first` on, less their mean, each warp eight of them. */
__device__ __forceinline__ void pack_keys(const CudaFlash8Pack &a, const Keys &keys, int first, uint64_t tile)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const float4 mean = *(const float4 *)(means_of(a) + lane * 4);
#pragma unroll 2
    for (int i = 0; i < KEYS / 8; i++) {
        const int row = warp * 8 + i, key = first + flash8_key(row);
        Quantized k = {0, 0};
        if (key < keys.count) {
            const float4 x = load_four(a.k, row_at(a, keys.first + key) + lane * 4);
            k = quantize(make_float4(__fsub_rn(x.x, mean.x), __fsub_rn(x.y, mean.y), __fsub_rn(x.z, mean.z),
                                     __fsub_rn(x.w, mean.w)), a.fp8 != 0);
        }
        *memory_at<uint32_t>(tile + tile_at(row, lane / 4) + lane % 4 * 4) = k.four;
        if (lane != 0) continue;
        const uint64_t scale = tile + flash8_key_scale_at(row, a.fp8);
        if (a.fp8) *memory_at<uint32_t>(scale) = k.scale;
        else *memory_at<float2>(scale) = make_float2(__uint_as_float(k.scale), __uint_as_float(k.scale) * -12582912.0f);
    }
}

/* Their values: a thread has two channels of sixteen keys. */
__device__ __forceinline__ void pack_values(const CudaFlash8Pack &a, const Keys &keys, int first, uint64_t tile)
{
    __shared__ float2 top[4][DEPTH / 2];
    const int pair = threadIdx.x % 64, chunk = threadIdx.x / 64;
    uint32_t v[16];
    float2 here = make_float2(0.0f, 0.0f);
#pragma unroll
    for (int i = 0; i < 16; i++) {
        const int key = first + chunk * 16 + i;
        v[i] = key < keys.count ? *memory_at<const uint32_t>(a.v + (row_at(a, keys.first + key) + pair * 2) * 2) : 0;
        here = make_float2(fmaxf(here.x, fabsf(bf16_low(v[i]))), fmaxf(here.y, fabsf(bf16_high(v[i]))));
    }
    top[chunk][pair] = here;
    __syncthreads();
    const float2 other = top[chunk ^ 1][pair];
    const uint32_t low = fp8_scale(fmaxf(here.x, other.x)), high = fp8_scale(fmaxf(here.y, other.y));
    uint4 x, y;
    uint32_t *const to_x = &x.x, *const to_y = &y.x;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const uint32_t *q = v + i * 4;
        to_x[i] = e4m3_four(bf16_low(q[0]), bf16_low(q[1]), bf16_low(q[2]), bf16_low(q[3]), fp8_inverse(low));
        to_y[i] = e4m3_four(bf16_high(q[0]), bf16_high(q[1]), bf16_high(q[2]), bf16_high(q[3]), fp8_inverse(high));
    }
    *memory_at<uint4>(tile + flash8_value_at(pair * 2, chunk)) = x;
    *memory_at<uint4>(tile + flash8_value_at(pair * 2 + 1, chunk)) = y;
    if (chunk % 2 != 0) return;
    *memory_at<uint8_t>(tile + flash8_value_scale_at(pair * 2, chunk / 2)) = (uint8_t)low;
    *memory_at<uint8_t>(tile + flash8_value_scale_at(pair * 2 + 1, chunk / 2)) = (uint8_t)high;
}

extern "C" __global__ void __launch_bounds__(256) flash8_keys(const __grid_constant__ CudaFlash8Pack a)
{
    const Keys keys = keys_of(a);
    const int first = blockIdx.x * KEYS;
    if (first >= keys.count) return;
    const int64_t number = (int64_t)blockIdx.z * a.head_tiles + keys.tile + blockIdx.x;
    const uint64_t tile = a.tiles + (uint64_t)number * FLASH8_TILE_BYTES;
    pack_keys(a, keys, first, tile);
    pack_values(a, keys, first, tile);
}

/* --------------------------------------------------------------------------------------------------------------- work */

/* What a block of threads works on: of the window or query block given by the grid. */
struct Problem {
    int queries, q_first; /* rows that ask, and the first of them in q */
    int keys, blocks, block_tiles;
    uint64_t tiles, mask; /* of the head; mask: its row, 0: all */
};

__device__ __forceinline__ Problem problem(const CudaFlash8 &a)
{
    Problem p;
    p.tiles = a.tiles + (uint64_t)((int64_t)blockIdx.z * a.head_tiles) * FLASH8_TILE_BYTES;
    p.mask = 0;
    p.blocks = 1;
    if (a.windows != 0) {
        const CudaWindow *w = memory_at<const CudaWindow>(a.windows) + blockIdx.y;
        p.queries = w->own + a.text_queries;
        p.q_first = w->first;
        p.keys = w->own + a.text_keys;
        p.tiles += (uint64_t)(w->first / KEYS + (int)blockIdx.y) * FLASH8_TILE_BYTES;
    } else {
        p.queries = a.queries;
        p.q_first = (int)blockIdx.y * a.queries;
        p.keys = a.keys;
    }
    p.block_tiles = (p.keys + KEYS - 1) / KEYS;
    if (a.mask != 0) {
        const int64_t row = (int64_t)(a.first_head + (int)blockIdx.z) * gridDim.y + blockIdx.y;
        p.mask = a.mask + row * a.blocks;
        p.blocks = a.blocks;
        p.block_tiles = a.block_tiles;
    }
    return p;
}

/* Which of the 32 key blocks from `base` on are chosen. */
__device__ __forceinline__ uint32_t chosen_blocks(const Problem &p, int base)
{
    const int block = base + (int)threadIdx.x % 32;
    return __ballot_sync(ALL_LANES, block < p.blocks && (p.mask == 0 || *memory_at<const uint8_t>(p.mask + block) != 0));
}

/* Stages in shared memory, which go round. */
struct Ring {
    uint32_t stage, full; /* the present one, and its barrier that says that it is filled */
    uint32_t parity, left;

    __device__ __forceinline__ uint32_t empty() const { return full + FLASH8_STAGES * 8; }
    __device__ __forceinline__ void next()
    {
        stage += FLASH8_TILE_BYTES;
        full += 8;
        left--;
        if (left != 0) return;
        stage -= FLASH8_STAGES * FLASH8_TILE_BYTES;
        full -= FLASH8_STAGES * 8;
        left = FLASH8_STAGES;
        parity ^= 1;
    }
};

/* All chosen tiles into the ring, by one warp. */
template <int BYTES> __device__ __forceinline__ void fill_ring(const Problem &p, Ring ring)
{
#pragma unroll 1
    for (int base = 0; base < p.blocks; base += 32) {
        uint32_t chosen = chosen_blocks(p, base);
        if (threadIdx.x % 32 != 0) continue;
        while (chosen != 0) {
            const int block = base + __ffs((int)chosen) - 1;
            uint64_t from = p.tiles + (uint64_t)((int64_t)block * p.block_tiles) * FLASH8_TILE_BYTES;
            chosen &= chosen - 1;
#pragma unroll 1
            for (int i = 0; i < p.block_tiles; i++) {
                barrier_wait(ring.empty(), ring.parity ^ 1);
                barrier_expect(ring.full, BYTES);
                copy_run(ring.stage, from, BYTES, ring.full);
                from += FLASH8_TILE_BYTES;
                ring.next();
            }
        }
    }
}

__device__ __forceinline__ int chosen_tiles(const Problem &p)
{
    int count = 0;
#pragma unroll 1
    for (int base = 0; base < p.blocks; base += 32) count += __popc(chosen_blocks(p, base));
    return count * p.block_tiles;
}

/* ----------------------------------------------------------------------------------------------------------- products */

/* c = i8_zero + a * b, or c += a * b */
__device__ __forceinline__ void multiply_i8_first(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
        : "=r"(c[0]), "=r"(c[1]), "=r"(c[2]), "=r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(I8_ZERO));
}

/* As multiply_e4m3: row g + 8 i of a has byte BYTE of scale_a in lane 4 g + i, column g of b that of scale_b in lane
 * 4 g + LANE. Selectors take an instruction to make, so both sides have the same. */
template <int BYTE, int LANE>
__device__ __forceinline__ void multiply_scaled(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                                uint32_t scale_a, uint32_t scale_b)
{
    asm("mma.sync.aligned.m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X.f32.e4m3.e4m3.f32.ue8m0 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}, {%10}, {%12, 0}, {%11}, {%12, %13};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(scale_a), "r"(scale_b), "n"(BYTE),
          "n"(LANE));
}

/* Four weights as they lie in memory. */
__device__ __forceinline__ uint32_t weights(float x, float y, float z, float w)
{
    uint32_t four;
    asm("{\n\t.reg .b16 low, high;\n\t"
        "cvt.rn.satfinite.e4m3x2.f32 low, %2, %1;\n\t"
        "cvt.rn.satfinite.e4m3x2.f32 high, %4, %3;\n\t"
        "mov.b32 %0, {low, high};\n\t}"
        : "=r"(four)
        : "f"(x), "f"(y), "f"(z), "f"(w));
    return four;
}

/* Unrolls by template, since selectors of scales are constants: f(Number<0>) .. f(Number<COUNT - 1>). */
template <int N> struct Number {
    enum { value = N };
};
template <int COUNT, int FROM = 0, class F> __device__ __forceinline__ void each(F f)
{
    if constexpr (FROM < COUNT) {
        f(Number<FROM>());
        each<COUNT, FROM + 1>(f);
    }
}

enum { FRAGMENTS = KEYS / 8, PIECES = DEPTH / 8, P_SCALE = 119 * 0x01010101 /* 2^-8, as weights are up to 2^8 */ };
#define NO_SCORE -3e38f

__device__ __forceinline__ float reciprocal(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* One warp's sixteen queries. A lane has of rows g and g + 8 two scores of each fragment of keys and two sums of each piece of
 * channels. */
template <bool FP8> struct Flash8 {
    uint32_t q[4][4];     /* 16 x 128 bytes */
    uint32_t q_scale;     /* FP8: of one of the rows */
    float scale[2];       /* what makes scores powers of two, by row */
    float o[PIECES][4], top[2], sum[2];

    /* row: of q, of the warp's first query; last: row of the last query that there is */
    __device__ __forceinline__ void begin(const CudaFlash8 &a, int row, int last)
    {
        const int lane = threadIdx.x % 32;
        const int64_t head = (int64_t)blockIdx.z * a.q_all;
        const int rows[2] = {min(row + lane / 4, last), min(row + lane / 4 + 8, last)};
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const uint64_t from = a.q + (uint64_t)((head + rows[r]) * DEPTH + lane % 4 * 4);
#pragma unroll
            for (int k = 0; k < 4; k++) {
                q[k][r] = *memory_at<const uint32_t>(from + k * 32);
                q[k][r + 2] = *memory_at<const uint32_t>(from + k * 32 + 16);
            }
            top[r] = NO_SCORE;
            sum[r] = 0.0f;
            scale[r] = __fmul_rn(a.scale, 1.44269504088896341f);
            if (FP8) continue;
            /* A row of zeros keeps a scale, so that what is no score stays none. */
            scale[r] = fmaxf(__fmul_rn(*memory_at<const float>(a.q_scale + (head + rows[r]) * 4), scale[r]), 1e-30f);
        }
        if (FP8) q_scale = *memory_at<const uint32_t>(a.q_scale + (head + (lane % 2 == 0 ? rows[0] : rows[1])) * 4);
#pragma unroll
        for (int n = 0; n < PIECES; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) o[n][i] = 0.0f;
        }
    }

    /* s = q k^T, with int8 less the scale of q */
    __device__ __forceinline__ void score(float (*s)[4], uint32_t tile) const
    {
        const int lane = threadIdx.x % 32;
        const uint32_t at = tile + (uint32_t)tile_at(lane & 7, lane >> 3);
        if constexpr (FP8) {
            const float2 words = load_shared_2(tile + FLASH8_KEY_SCALES_AT + lane * 8);
            const uint32_t k_scale[2] = {__float_as_uint(words.x), __float_as_uint(words.y)};
            each<FRAGMENTS>([&](auto n) {
                constexpr int N = n.value;
                uint32_t b[4];
#pragma unroll
                for (int i = 0; i < 4; i++) s[N][i] = 0.0f;
                load_matrix_4(b, at + N * 8 * TILE_ROW_BYTES);
                multiply_scaled<0, N % 4>(s[N], q[0], b[0], b[1], q_scale, k_scale[N / 4]);
                multiply_scaled<1, N % 4>(s[N], q[1], b[2], b[3], q_scale, k_scale[N / 4]);
                load_matrix_4(b, (at ^ 64) + N * 8 * TILE_ROW_BYTES);
                multiply_scaled<2, N % 4>(s[N], q[2], b[0], b[1], q_scale, k_scale[N / 4]);
                multiply_scaled<3, N % 4>(s[N], q[3], b[2], b[3], q_scale, k_scale[N / 4]);
            });
        } else {
#pragma unroll
            for (int n = 0; n < FRAGMENTS; n++) {
                uint32_t b[4];
                int32_t c[4];
                load_matrix_4(b, at + n * 8 * TILE_ROW_BYTES);
                multiply_i8_first(c, q[0], b[0], b[1]);
                multiply_i8(c, q[1], b[2], b[3]);
                load_matrix_4(b, (at ^ 64) + n * 8 * TILE_ROW_BYTES);
                multiply_i8(c, q[2], b[0], b[1]);
                multiply_i8(c, q[3], b[2], b[3]);
                /* c is 1.5 * 2^23 and the integer; times the key's scale, whose mantissa leaves room for the 1.5, less that */
                float k[4];
                load_shared_4(k, tile + FLASH8_KEY_SCALES_AT + (n * 8 + lane % 4 * 2) * 8);
#pragma unroll
                for (int i = 0; i < 4; i++) s[n][i] = __fmaf_rn(__int_as_float(c[i]), k[i % 2 * 2], k[i % 2 * 2 + 1]);
            }
        }
    }

    /* The tile that ends early, or with the very last key. last_bias: a power of two's exponent. */
    __device__ __forceinline__ void trim(float (&s)[FRAGMENTS][4], int keys, float last_bias) const
    {
        const float bias[2] = {__fmul_rn(last_bias, reciprocal(scale[0])), __fmul_rn(last_bias, reciprocal(scale[1]))};
#pragma unroll
        for (int n = 0; n < FRAGMENTS; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int key = flash8_key(n * 8 + (int)threadIdx.x % 4 * 2 + i % 2);
                s[n][i] = __fmaf_rn(key == keys - 1 ? 1.0f : 0.0f, bias[i / 2], s[n][i]);
                if (key >= keys) s[n][i] = NO_SCORE;
            }
        }
    }

    /* Scores to weights 2^(8 + (s - top) * scale); what was summed under a smaller maximum shrinks. */
    template <int COUNT> __device__ __forceinline__ void soften(float (&s)[COUNT][4])
    {
        float here[2] = {top[0], top[1]};
#pragma unroll
        for (int n = 0; n < COUNT; n++) {
            here[0] = fmaxf(here[0], fmaxf(s[n][0], s[n][1]));
            here[1] = fmaxf(here[1], fmaxf(s[n][2], s[n][3]));
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            here[r] = fmaxf(here[r], __shfl_xor_sync(ALL_LANES, here[r], 1));
            here[r] = fmaxf(here[r], __shfl_xor_sync(ALL_LANES, here[r], 2));
        }
        if (__builtin_expect(__any_sync(ALL_LANES, here[0] > top[0] || here[1] > top[1]), 0)) {
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const float shrink = exp2_approx(__fmul_rn(__fsub_rn(top[r], here[r]), scale[r]));
                top[r] = here[r];
                sum[r] *= shrink;
#pragma unroll
                for (int n = 0; n < PIECES; n++) {
                    o[n][2 * r] *= shrink;
                    o[n][2 * r + 1] *= shrink;
                }
            }
        }
        const float shift[2] = {__fmaf_rn(-top[0], scale[0], 8.0f), __fmaf_rn(-top[1], scale[1], 8.0f)};
#pragma unroll
        for (int n = 0; n < COUNT; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[n][i] = exp2_approx(__fmaf_rn(s[n][i], scale[i / 2], shift[i / 2]));
                sum[i / 2] += s[n][i];
            }
        }
    }

    /* o += p v / 256; p: weights where s had their scores */
    __device__ __forceinline__ void weigh(const float (*p)[4], uint32_t tile)
    {
        const int lane = threadIdx.x % 32;
        const uint32_t at = tile + (uint32_t)flash8_value_at(fragment_b_row(lane), fragment_b_chunk(lane));
        const float2 words = load_shared_2(tile + FLASH8_VALUE_SCALES_AT + lane * 8);
        const uint32_t v_scale[2] = {__float_as_uint(words.x), __float_as_uint(words.y)};
        each<KEYS / 32>([&](auto half) {
            constexpr int K = half.value;
            const float(&x)[4] = p[4 * K], (&y)[4] = p[4 * K + 1], (&z)[4] = p[4 * K + 2], (&w)[4] = p[4 * K + 3];
            const uint32_t a[4] = {weights(x[0], x[1], y[0], y[1]), weights(x[2], x[3], y[2], y[3]),
                                   weights(z[0], z[1], w[0], w[1]), weights(z[2], z[3], w[2], w[3])};
            each<PIECES / 2>([&](auto two) {
                constexpr int N = two.value * 2, BYTE = N / 4 % 2 * 2 + K;
                uint32_t b[4];
                load_matrix_4(b, (at ^ K * 32) + N * 8 * 64);
                multiply_scaled<BYTE, N % 4>(o[N], a, b[0], b[1], P_SCALE, v_scale[N / 8]);
                multiply_scaled<BYTE, N % 4 + 1>(o[N + 1], a, b[2], b[3], P_SCALE, v_scale[N / 8]);
            });
        });
    }

    __device__ __forceinline__ void finish(const CudaFlash8 &a, int row, int queries)
    {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            sum[r] += __shfl_xor_sync(ALL_LANES, sum[r], 1);
            sum[r] += __shfl_xor_sync(ALL_LANES, sum[r], 2);
            const float share = sum[r] > 0.0f ? __fmul_rn(256.0f, reciprocal(sum[r])) : 0.0f;
            if (row + lane / 4 + 8 * r >= queries) continue;
            const Place to = place_of<DEPTH, false>(a, row + lane / 4 + 8 * r);
            float2 pair[PIECES];
#pragma unroll
            for (int n = 0; n < PIECES; n++) pair[n] = make_float2(o[n][2 * r] * share, o[n][2 * r + 1] * share);
            if (to.floats) {
                const uint64_t at = to.at + lane % 4 * 8;
#pragma unroll
                for (int n = 0; n < PIECES; n++) *memory_at<float2>(at + n * 32) = pair[n];
            } else {
                const uint64_t at = to.at + lane % 4 * 4;
#pragma unroll
                for (int n = 0; n < PIECES; n++) *memory_at<uint32_t>(at + n * 16) = bf16_pack(pair[n].x, pair[n].y);
            }
        }
    }
};

template <bool FP8> __device__ __forceinline__ void flash8(const CudaFlash8 &a)
{
    extern __shared__ __align__(128) uint8_t memory[];
    const Problem p = problem(a);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = (int)blockIdx.x * CUDA_FLASH8_ROWS + warp * 16;
    if ((int)blockIdx.x * CUDA_FLASH8_ROWS >= p.queries) return;
    Ring ring;
    ring.stage = shared_address(memory);
    ring.full = ring.stage + FLASH8_STAGES * FLASH8_TILE_BYTES;
    ring.parity = 0;
    ring.left = FLASH8_STAGES;
    if (threadIdx.x < FLASH8_STAGES) {
        barrier_init(ring.full + threadIdx.x * 8, 1);
        barrier_init(ring.empty() + threadIdx.x * 8, WARPS);
        fence_engine();
    }
    __syncthreads();
    if (warp >= WARPS) {
        have_fewer_registers<40>();
        if (warp == WARPS) fill_ring<FP8 ? FLASH8_E4M3_BYTES : FLASH8_TILE_BYTES>(p, ring);
        return;
    }
    have_more_registers<232>();
    Flash8<FP8> f;
    f.begin(a, p.q_first + row, p.q_first + p.queries - 1);
    /* Keys of masks come in whole tiles. Others may end within one, and their last may have a bias. */
    const int tiles = chosen_tiles(p);
    const bool ends = p.mask == 0 && tiles > 0 && (p.keys % KEYS != 0 || a.last_bias != 0.0f);
    const int whole = (tiles - ends) / 2 * 2;
#pragma unroll 1
    for (int i = 0; i < whole; i += 2) {
        float s[2 * FRAGMENTS][4];
        uint32_t stage[2], empty[2];
#pragma unroll
        for (int t = 0; t < 2; t++) {
            barrier_wait(ring.full, ring.parity);
            f.score(s + t * FRAGMENTS, ring.stage);
            stage[t] = ring.stage;
            empty[t] = ring.empty();
            ring.next();
        }
        f.soften(s);
#pragma unroll
        for (int t = 0; t < 2; t++) {
            f.weigh(s + t * FRAGMENTS, stage[t]);
            __syncwarp();
            if (lane == 0) barrier_arrive(empty[t]);
        }
    }
    const float last_bias = __fmul_rn(__fmul_rn(a.scale, 1.44269504088896341f), a.last_bias);
    /* None waits for these to be empty again. */
#pragma unroll 1
    for (int i = whole; i < tiles; i++) {
        float s[FRAGMENTS][4];
        barrier_wait(ring.full, ring.parity);
        f.score(s, ring.stage);
        if (ends && i == tiles - 1) f.trim(s, (p.keys - 1) % KEYS + 1, last_bias);
        f.soften(s);
        f.weigh(s, ring.stage);
        ring.next();
    }
    f.finish(a, row, p.queries);
}

extern "C" __global__ void __launch_bounds__(CUDA_FLASH8_THREADS, 1) flash_i8(const __grid_constant__ CudaFlash8 a)
{
    flash8<false>(a);
}

extern "C" __global__ void __launch_bounds__(CUDA_FLASH8_THREADS, 1) flash_e4m3(const __grid_constant__ CudaFlash8 a)
{
    flash8<true>(a);
}

#endif
