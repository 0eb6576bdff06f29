/*
 * Stored weights to operands of products: dequant_<type> gives floats, pack_<type> orders and rounds them.
 *
 * Every value is made by the very operations of loader/dequant.c, so CPU and GPU agree in all bits. A weight comes this
 * way once in a device's life, from the disk or over a bus that is slower than any of this: one thread makes one value,
 * and reads its block's scales anew.
 */
#include "fp8.cuh"

enum { DEQUANT_THREADS = 256, PACK_THREADS = 128, PACK_WARPS = PACK_THREADS / 32 };

/* -------------------------------------------------------------------------------------------------- plain elements */

/* b: an element, or the block of element e. */
static __device__ float half_float(uint32_t h)
{
    const uint32_t low = (h & 0x7fff) << 13, sign = (h & 0x8000) << 16, exponent = low & 0x0f800000;
    const uint32_t small = __float_as_uint(__fmul_rn((float)(int32_t)(h & 0x3ff), 0x1p-24f));
    const uint32_t large = low + (exponent == 0x0f800000 ? 224u << 23 : 112u << 23);
    return __uint_as_float(sign | (exponent == 0 ? small : large));
}

static __device__ uint32_t load_u16(const uint8_t *p) { return *(const uint16_t *)p; }
static __device__ float half_at(const uint8_t *p) { return half_float(load_u16(p)); }

static __device__ float value_f32(const uint8_t *b, uint32_t e) { return *(const float *)b; }
static __device__ float value_f16(const uint8_t *b, uint32_t e) { return half_at(b); }
static __device__ float value_bf16(const uint8_t *b, uint32_t e) { return __uint_as_float(load_u16(b) << 16); }
static __device__ float value_f64(const uint8_t *b, uint32_t e) { return (float)*(const double *)b; }

static __device__ float value_f8_e4m3(const uint8_t *b, uint32_t e)
{
    const uint32_t u = b[0], low = u & 0x7f;
    const uint32_t small = __float_as_uint(__fmul_rn((float)(int32_t)low, 0x1p-9f));
    const uint32_t large = low == 0x7f ? 0x7fc00000 : (low << 20) + (120u << 23);
    return __uint_as_float((u & 0x80) << 24 | (low < 8 ? small : large));
}

static __device__ float value_f8_e5m2(const uint8_t *b, uint32_t e) { return half_float((uint32_t)b[0] << 8); }

static __device__ float value_i8(const uint8_t *b, uint32_t e) { return (float)*(const int8_t *)b; }
static __device__ float value_i16(const uint8_t *b, uint32_t e) { return (float)*(const short *)b; }
static __device__ float value_i32(const uint8_t *b, uint32_t e) { return (float)*(const int32_t *)b; }
static __device__ float value_i64(const uint8_t *b, uint32_t e) { return (float)*(const int64_t *)b; }
static __device__ float value_u8(const uint8_t *b, uint32_t e) { return (float)*b; }
static __device__ float value_u16(const uint8_t *b, uint32_t e) { return (float)*(const uint16_t *)b; }
static __device__ float value_u32(const uint8_t *b, uint32_t e) { return (float)*(const uint32_t *)b; }
static __device__ float value_u64(const uint8_t *b, uint32_t e) { return (float)*(const uint64_t *)b; }
static __device__ float value_bool(const uint8_t *b, uint32_t e) { return b[0] ? 1.0f : 0.0f; }

/* ----------------------------------------------------------------------------- blocks of 32: low nibbles come first */

static __device__ float scaled(float d, int32_t q) { return __fmul_rn(d, (float)q); }

/* Nibble e of 16 bytes. */
static __device__ uint32_t nibble(const uint8_t *q, uint32_t e) { return q[e % 16] >> e / 16 * 4 & 15; }
/* The same with a fifth bit above it, of the 32 at `high`. */
static __device__ uint32_t five_bits(const uint8_t *q, const uint8_t *high, uint32_t e)
{
    return nibble(q, e) | (high[e / 8] >> e % 8 & 1u) << 4;
}

/* -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113 */
static __device__ int32_t iq4_value(uint32_t q)
{
    const uint64_t table = q < 8 ? 0xf6eaddcfbfad9881 : 0x7159453526190d01;
    return (int8_t)(table >> q % 8 * 8);
}

static __device__ float value_q4_0(const uint8_t *b, uint32_t e)
{
    return scaled(half_at(b), (int32_t)nibble(b + 2, e) - 8);
}

static __device__ float value_q4_1(const uint8_t *b, uint32_t e)
{
    return __fadd_rn(scaled(half_at(b), nibble(b + 4, e)), half_at(b + 2));
}

static __device__ float value_q5_0(const uint8_t *b, uint32_t e)
{
    return scaled(half_at(b), (int32_t)five_bits(b + 6, b + 2, e) - 16);
}

static __device__ float value_q5_1(const uint8_t *b, uint32_t e)
{
    return __fadd_rn(scaled(half_at(b), five_bits(b + 8, b + 4, e)), half_at(b + 2));
}

static __device__ float value_q8_0(const uint8_t *b, uint32_t e) { return scaled(half_at(b), (int8_t)b[2 + e]); }

static __device__ float value_iq4_nl(const uint8_t *b, uint32_t e)
{
    return scaled(half_at(b), iq4_value(nibble(b + 2, e)));
}

/* ----------------------------------- blocks of 256: element e = 128 h + 32 j + l, k = 4 h + j, group g = e / 16 */

/* Two bits of e, four elements to a byte: 32 bytes for each half. */
static __device__ uint32_t two_bits(const uint8_t *q, uint32_t e)
{
    return q[e / 128 * 32 + e % 32] >> e / 32 % 4 * 2 & 3;
}

static __device__ float value_q2_k(const uint8_t *b, uint32_t e)
{
    const uint32_t s = b[e / 16];
    const float scale = scaled(half_at(b + 80), s & 15), low = scaled(half_at(b + 82), s >> 4);
    return __fsub_rn(scaled(scale, two_bits(b + 16, e)), low);
}

static __device__ float value_q3_k(const uint8_t *b, uint32_t e)
{
    const uint8_t *s = b + 96;
    const uint32_t g = e / 16;
    const uint32_t scale = (s[g % 8] >> g / 8 * 4 & 15u) | (s[8 + g % 4] >> g / 4 * 2 & 3u) << 4;
    const int32_t q = (int32_t)two_bits(b + 32, e) - (b[e % 32] >> e / 32 & 1 ? 0 : 4);
    return scaled(scaled(half_at(b + 108), (int32_t)scale - 32), q);
}

/* The 6-bit scale and minimum of the k-th 32 elements in 12 packed bytes, times d and dmin. */
struct ScaleMinimum {
    float scale, minimum;
};

static __device__ ScaleMinimum scale_minimum(const uint8_t *b, uint32_t k)
{
    const uint8_t *s = b + 4;
    const uint32_t both = s[k + 4];
    const uint32_t scale = k < 4 ? s[k] & 63u : (both & 15) | s[k - 4] >> 6 << 4;
    const uint32_t minimum = k < 4 ? both & 63 : both >> 4 | s[k] >> 6 << 4;
    return {scaled(half_at(b), scale), scaled(half_at(b + 2), minimum)};
}

static __device__ float value_q4_k(const uint8_t *b, uint32_t e)
{
    const uint32_t k = e / 32;
    const ScaleMinimum s = scale_minimum(b, k);
    return __fsub_rn(scaled(s.scale, b[16 + k / 2 * 32 + e % 32] >> k % 2 * 4 & 15), s.minimum);
}

static __device__ float value_q5_k(const uint8_t *b, uint32_t e)
{
    const uint32_t k = e / 32, l = e % 32;
    const ScaleMinimum s = scale_minimum(b, k);
    const uint32_t q = (b[48 + k / 2 * 32 + l] >> k % 2 * 4 & 15u) | (b[16 + l] >> k & 1u) << 4;
    return __fsub_rn(scaled(s.scale, q), s.minimum);
}

static __device__ float value_q6_k(const uint8_t *b, uint32_t e)
{
    const uint32_t low = b[e / 128 * 64 + e % 64] >> e / 64 % 2 * 4 & 15u;
    const int32_t q = (int32_t)(low | two_bits(b + 128, e) << 4) - 32;
    return scaled(scaled(half_at(b + 208), (int8_t)b[192 + e / 16]), q);
}

static __device__ float value_q8_k(const uint8_t *b, uint32_t e) { return scaled(*(const float *)b, (int8_t)b[4 + e]); }

static __device__ float value_iq4_xs(const uint8_t *b, uint32_t e)
{
    const uint32_t k = e / 32;
    const uint32_t scale = (b[4 + k / 2] >> k % 2 * 4 & 15u) | (load_u16(b + 2) >> k * 2 & 3) << 4;
    return scaled(scaled(half_at(b), (int32_t)scale - 32), iq4_value(nibble(b + 8 + k * 16, e % 32)));
}

/* ------------------------------------------------------------------------------------------------------- to floats */

static __device__ void dequant_store(const CudaDequant &a, uint32_t i, float value)
{
    if (a.scale != 0) value = __fmul_rn(value, ((const float *)a.scale)[(a.row_offset + i) / a.row_elements]);
    ((float *)a.to)[i] = value;
    if ((__float_as_uint(value) & 0x7f800000) == 0x7f800000) *(uint32_t *)a.bad = 1;
}

#define DEQUANT(type, block, bytes)                                                                                     \
    extern "C" __global__ void __launch_bounds__(DEQUANT_THREADS) dequant_##type(const __grid_constant__ CudaDequant a) \
    {                                                                                                                   \
        const uint32_t i = blockIdx.x * DEQUANT_THREADS + threadIdx.x, e = a.skip + i;                                  \
        if (i >= a.count) return;                                                                                       \
        dequant_store(a, i, value_##type((const uint8_t *)a.from + (uint64_t)(e / (block)) * (bytes), e % (block)));    \
    }

DEQUANT(f32, 1, 4)
DEQUANT(f16, 1, 2)
DEQUANT(bf16, 1, 2)
DEQUANT(f64, 1, 8)
DEQUANT(f8_e4m3, 1, 1)
DEQUANT(f8_e5m2, 1, 1)
DEQUANT(i8, 1, 1)
DEQUANT(i16, 1, 2)
DEQUANT(i32, 1, 4)
DEQUANT(i64, 1, 8)
DEQUANT(u8, 1, 1)
DEQUANT(u16, 1, 2)
DEQUANT(u32, 1, 4)
DEQUANT(u64, 1, 8)
DEQUANT(bool, 1, 1)
DEQUANT(q4_0, 32, 18)
DEQUANT(q4_1, 32, 20)
DEQUANT(q5_0, 32, 22)
DEQUANT(q5_1, 32, 24)
DEQUANT(q8_0, 32, 34)
DEQUANT(iq4_nl, 32, 18)
DEQUANT(q2_k, 256, 84)
DEQUANT(q3_k, 256, 110)
DEQUANT(q4_k, 256, 144)
DEQUANT(q5_k, 256, 176)
DEQUANT(q6_k, 256, 210)
DEQUANT(q8_k, 256, 292)
DEQUANT(iq4_xs, 256, 136)

/* ----------------------------------------------------------------------------------------------------- to operands */

/* A warp makes 128 channels of one tap of one row, four channels a lane. */
struct PackPlace {
    int32_t row, tap, block, channel; /* row: of this call */
    int32_t column;                   /* row of the operand */
    bool inside;                      /* the lane's channels lie within depth */
    uint64_t to;                      /* index of (row of the operand, tap) */
};

/* Taps run fastest: they share the lines they are gathered from. False: beyond the last. */
static __device__ bool pack_place(const CudaPack &a, PackPlace &p)
{
    const uint32_t unit = blockIdx.x * PACK_WARPS + threadIdx.x / 32, rest = unit / (uint32_t)a.taps;
    p.tap = unit % (uint32_t)a.taps;
    p.row = rest / (uint32_t)a.blocks;
    p.block = rest % (uint32_t)a.blocks;
    p.channel = p.block * CUDA_BLOCK + threadIdx.x % 32 * 4;
    p.inside = p.channel < a.depth;
    const int32_t r = a.first_row + p.row;
    p.column = a.glu ? r / 8 * 16 + r % 8 + (a.glu - 1) * 8 : r;
    p.to = (uint64_t)p.column * a.taps + p.tap;
    return p.row < a.rows;
}

static __device__ float pack_value(const CudaPack &a, const float *frame, int32_t channel)
{
    return channel < a.ci ? frame[(int64_t)channel * a.channel_step] : 0.0f;
}

static __device__ float4 pack_values(const CudaPack &a, const PackPlace &p)
{
    const int32_t slot = p.tap / a.frame_taps, last = slot + a.merged;
    const float *from = (const float *)a.from + (int64_t)p.row * a.row_step + p.tap % a.frame_taps * a.tap_step;
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
    int32_t f = slot == 0 ? 0 : last;
#pragma unroll 1
    do {
        const float *frame = from + (int64_t)f * a.frame_step;
        sum.x += pack_value(a, frame, p.channel);
        sum.y += pack_value(a, frame, p.channel + 1);
        sum.z += pack_value(a, frame, p.channel + 2);
        sum.w += pack_value(a, frame, p.channel + 3);
    } while (++f <= last);
    return sum;
}

extern "C" __global__ void __launch_bounds__(PACK_THREADS) pack_f32(const __grid_constant__ CudaPack a)
{
    PackPlace p;
    if (!pack_place(a, p) || !p.inside) return;
    *(float4 *)((float *)a.to + p.to * a.depth + p.channel) = pack_values(a, p);
}

extern "C" __global__ void __launch_bounds__(PACK_THREADS) pack_bf16(const __grid_constant__ CudaPack a)
{
    PackPlace p;
    if (!pack_place(a, p) || !p.inside) return;
    const float4 v = pack_values(a, p);
    *(uint2 *)((uint16_t *)a.to + p.to * a.depth + p.channel) = {bf16_pack(v.x, v.y), bf16_pack(v.z, v.w)};
}

/* kernels/cpu/int8.h */
extern "C" __global__ void __launch_bounds__(PACK_THREADS) pack_i8(const __grid_constant__ CudaPack a)
{
    PackPlace p;
    if (!pack_place(a, p)) return;
    const float4 v = pack_values(a, p);
    float amax = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
    for (int lane = 16; lane > 0; lane /= 2) amax = fmaxf(amax, __shfl_xor_sync(0xffffffff, amax, lane));
    const Int8Scale s = int8_scale(amax);
    if (threadIdx.x % 32 == 0) ((float *)a.scale)[(uint32_t)((p.tap * a.blocks + p.block) * a.columns + p.column)] = s.scale;
    if (p.inside) {
        *(uint32_t *)((int8_t *)a.to + p.to * a.depth + p.channel) = int8_quad(v.x, v.y, v.z, v.w, s.inverse);
    }
}

#ifdef UPRES_FP8
/* The largest of a block's threads, to all of them. */
static __device__ float largest_of_block(float x)
{
    __shared__ float of_warp[PACK_WARPS];
    for (int lane = 16; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, lane));
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
    __syncthreads();
    return fmaxf(fmaxf(of_warp[0], of_warp[1]), fmaxf(of_warp[2], of_warp[3]));
}

/* kernels/cpu/fp8.h. A block makes a row: its scale takes all of it, so its values are made twice. */
extern "C" __global__ void __launch_bounds__(PACK_THREADS) pack_e4m3(const __grid_constant__ CudaPack a)
{
    const int32_t r = a.first_row + (int32_t)blockIdx.x, quads = a.depth / 4;
    const uint64_t n = a.glu ? r / 8 * 16 + r % 8 + (a.glu - 1) * 8 : r;
    PackPlace p;
    p.row = (int32_t)blockIdx.x;
    float amax = 0.0f;
#pragma unroll 1
    for (int32_t i = threadIdx.x; i < a.taps * quads; i += PACK_THREADS) {
        p.tap = i / quads;
        p.channel = i % quads * 4;
        const float4 v = pack_values(a, p);
        amax = fmaxf(amax, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))));
    }
    const uint32_t e = fp8_scale(largest_of_block(amax));
    const float inverse = fp8_inverse(e);
    if (threadIdx.x == 0) ((uint32_t *)a.scale)[n] = e * 0x01010101u;
#pragma unroll 1
    for (int32_t i = threadIdx.x; i < a.taps * quads; i += PACK_THREADS) {
        p.tap = i / quads;
        p.channel = i % quads * 4;
        const float4 v = pack_values(a, p);
        const uint32_t four = e4m3_four(v.x, v.y, v.z, v.w, inverse);
        const int32_t at = p.channel + (a.pair ? p.channel & ~63 : 0); /* pairs: 64 of hi, their 64 of lo */
        uint32_t *to = (uint32_t *)(a.to + (n * a.taps + p.tap) * (uint64_t)(a.pair ? 2 * a.depth : a.depth) + at);
        *to = four;
        if (a.pair) to[16] = e4m3_four_rest(four, v.x, v.y, v.z, v.w, inverse);
    }
}
#endif
