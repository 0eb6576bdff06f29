/*
 * Folded upsamplers: what products leave over of forming their weights, and what tells the inside of a picture.
 * runtime/cuda/dev_fold.c has the algebra.
 */
#include "fp8.cuh"

enum { FOLD_THREADS = 128 };

static __device__ int32_t fold_index() { return (int32_t)(blockIdx.x * FOLD_THREADS + threadIdx.x); }

/* -------------------------------------------------------------------------------------------------- sums of taps */

/* Fine taps first .. last of an axis fall on coarse pixel `at` of output parity p. */
static __device__ int32_t first_tap(int32_t p, int32_t at) { return at == 0 ? 0 : 1 + p; }
static __device__ int32_t last_tap(int32_t p, int32_t at) { return at == 0 ? p : 2; }

extern "C" __global__ void __launch_bounds__(FOLD_THREADS) fold_sum(const __grid_constant__ CudaFoldSum a)
{
    const int32_t i = fold_index(), channel = i % a.pitch, slot = i / a.pitch % 4, n = i / a.pitch / 4;
    if (n >= a.n) return;
    float sum = 0.0f;
    if (channel < a.mid) {
        const float *taps = (const float *)a.from + ((int64_t)n * a.mid + channel) * 9;
        int32_t y = first_tap(a.p, slot / 2);
#pragma unroll 1
        do {
            int32_t x = first_tap(a.q, slot % 2);
#pragma unroll 1
            do {
                sum += taps[y * 3 + x];
            } while (++x <= last_tap(a.q, slot % 2));
        } while (++y <= last_tap(a.p, slot / 2));
    }
    ((float *)a.to)[i] = sum;
}

/* Four channels a thread. */
extern "C" __global__ void __launch_bounds__(FOLD_THREADS) fold_gather(const __grid_constant__ CudaFoldGather a)
{
    const int32_t i = fold_index(), quads = a.pitch / 4;
    const int32_t quad = i % quads, slot = i / quads % a.slots, n = i / quads / a.slots;
    if (n >= a.n) return;
    const int32_t y_first = first_tap(a.p, slot / 2 % 2), y_last = last_tap(a.p, slot / 2 % 2);
    const int32_t x_first = first_tap(a.q, slot % 2), x_last = last_tap(a.q, slot % 2);
    const float4 *row = (const float4 *)a.from + (int64_t)n * 27 * quads + quad;
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
    for (int32_t dt = 0; dt < 3; dt++) {
        if (a.frame[dt] != slot / 4) continue;
        int32_t y = y_first;
#pragma unroll 1
        do {
            int32_t x = x_first;
#pragma unroll 1
            do {
                const int32_t sub = (((y + 1 + a.p) % 2) * 2 + (x + 1 + a.q) % 2) * a.rt + a.part[dt];
                const float4 v = row[sub * (a.sub_step / 4) + ((dt * 3 + y) * 3 + x) * quads];
                sum.x += v.x;
                sum.y += v.y;
                sum.z += v.z;
                sum.w += v.w;
            } while (++x <= x_last);
        } while (++y <= y_last);
    }
    ((float4 *)a.to)[i] = sum;
}

/* ------------------------------------------------------------------------------------------------- bias and border */

static __device__ float4 bias_of(const CudaFoldBias &a, int32_t n)
{
    const float *from = (const float *)a.from + (int64_t)n * a.frames * 4 * a.pitch + a.column;
    float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
    int32_t frame = 0;
#pragma unroll 1
    do {
        sum.x += from[0];
        sum.y += from[a.pitch];
        sum.z += from[2 * a.pitch];
        sum.w += from[3 * a.pitch];
        from += 4 * a.pitch;
    } while (++frame < a.frames);
    return sum;
}

extern "C" __global__ void __launch_bounds__(FOLD_THREADS) fold_bias_f32(const __grid_constant__ CudaFoldBias a)
{
    const int32_t n = fold_index();
    if (n < a.n) ((float4 *)a.to)[n] = bias_of(a, n);
}

extern "C" __global__ void __launch_bounds__(FOLD_THREADS) fold_bias_bf16(const __grid_constant__ CudaFoldBias a)
{
    const int32_t n = fold_index();
    if (n >= a.n) return;
    const float4 b = bias_of(a, n);
    const uint32_t xy = bf16_pack(b.x, b.y), zw = bf16_pack(b.z, b.w);
    ((uint4 *)a.to)[n] = {xy, zw, bf16_pack(b.x - bf16_low(xy), b.y - bf16_high(xy)),
                          bf16_pack(b.z - bf16_low(zw), b.w - bf16_high(zw))};
}

/* 127 times what is left of x when it is quantized. */
static __device__ float rest_of(float x, Int8Scale s)
{
    return __fmul_rn(__fmaf_rn(-(float)(int8_t)int8_one(x, s.inverse), s.scale, x), 127.0f);
}

extern "C" __global__ void __launch_bounds__(FOLD_THREADS) fold_bias_i8(const __grid_constant__ CudaFoldBias a)
{
    const int32_t n = fold_index();
    if (n >= a.n) return;
    const float4 b = bias_of(a, n);
    const Int8Scale s = int8_scale(fmaxf(fmaxf(fabsf(b.x), fabsf(b.y)), fmaxf(fabsf(b.z), fabsf(b.w))));
    ((uint4 *)a.to)[n] = {int8_quad(b.x, b.y, b.z, b.w, s.inverse),
                          int8_quad(rest_of(b.x, s), rest_of(b.y, s), rest_of(b.z, s), rest_of(b.w, s), s.inverse),
                          0, 0};
    ((float *)a.scale)[n] = s.scale;
}

/* Which of the four coarse pixels around corner i, of (h + 1) x (w + 1), lie inside: bytes that are 0 and 1. */
static __device__ uint32_t inside_of(const CudaFoldInside &a, int32_t i)
{
    const int32_t y = i / (a.w + 1), x = i % (a.w + 1);
    const uint32_t columns = (x > 0 ? 0x00010001u : 0) | (x < a.w ? 0x01000100u : 0);
    const uint32_t rows = (y > 0 ? 0x0000ffffu : 0) | (y < a.h ? 0xffff0000u : 0);
    return columns & rows;
}

static __device__ bool is_corner(const CudaFoldInside &a, int32_t i) { return i < (a.h + 1) * (a.w + 1); }

extern "C" __global__ void __launch_bounds__(FOLD_THREADS) fold_inside_f32(const __grid_constant__ CudaFoldInside a)
{
    const int32_t i = fold_index();
    if (!is_corner(a, i)) return;
    const uint32_t in = inside_of(a, i);
    ((float4 *)a.to)[i] = {(float)(in & 1), (float)(in >> 8 & 1), (float)(in >> 16 & 1), (float)(in >> 24)};
}

extern "C" __global__ void __launch_bounds__(FOLD_THREADS) fold_inside_bf16(const __grid_constant__ CudaFoldInside a)
{
    const int32_t i = fold_index();
    if (!is_corner(a, i)) return;
    const uint32_t in = inside_of(a, i), one = 0x3f80; /* 1.0 */
    const uint32_t xy = (in & 1) * one | (in >> 8 & 1) * one << 16, zw = (in >> 16 & 1) * one | (in >> 24) * one << 16;
    ((uint4 *)a.to)[i] = {xy, zw, xy, zw};
}

extern "C" __global__ void __launch_bounds__(FOLD_THREADS) fold_inside_i8(const __grid_constant__ CudaFoldInside a)
{
    const int32_t i = fold_index();
    if (!is_corner(a, i)) return;
    const uint32_t in = inside_of(a, i);
    ((uint4 *)a.to)[i] = {in * 127, in, 0, 0};
    ((float *)a.scale)[i] = 1.0f / 127.0f;
}

#ifdef UPRES_FP8
/* Three terms, each 1/16 of the scale of the one before. */
extern "C" __global__ void __launch_bounds__(FOLD_THREADS) fold_bias_e4m3(const __grid_constant__ CudaFoldBias a)
{
    const int32_t n = fold_index();
    if (n >= a.n) return;
    const float4 b = bias_of(a, n);
    const uint32_t e = fp8_scale(fmaxf(fmaxf(fabsf(b.x), fabsf(b.y)), fmaxf(fabsf(b.z), fabsf(b.w))));
    const float inverse = fp8_inverse(e);
    const uint32_t first = e4m3_four(b.x, b.y, b.z, b.w, inverse);
    const float2 xy = e4m3_rest(first & 0xffff, __fmul_rn(b.x, inverse), __fmul_rn(b.y, inverse));
    const float2 zw = e4m3_rest(first >> 16, __fmul_rn(b.z, inverse), __fmul_rn(b.w, inverse));
    const uint32_t second = e4m3_four(xy.x, xy.y, zw.x, zw.y, 16.0f);
    ((uint4 *)a.to)[n] = {first, second, e4m3_four_rest(second, xy.x, xy.y, zw.x, zw.y, 16.0f), 0};
    ((uint32_t *)a.scale)[n] = e * 0x01010101u;
}

/* 1, 2^-4 and 2^-8, in e4m3. */
extern "C" __global__ void __launch_bounds__(FOLD_THREADS) fold_inside_e4m3(const __grid_constant__ CudaFoldInside a)
{
    const int32_t i = fold_index();
    if (!is_corner(a, i)) return;
    const uint32_t in = inside_of(a, i);
    ((uint4 *)a.to)[i] = {in * 0x38, in * 0x18, in * 0x02, 0};
}
#endif
