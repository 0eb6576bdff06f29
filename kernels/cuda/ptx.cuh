/*
 * Device functions that kernels share. NVRTC turns a * b + c into a fused multiply-add where it may: what has to give the
 * CPU's bits is therefore written with __fmul_rn and __fadd_rn.
 */
#ifndef UPRES_KERNELS_CUDA_PTX_CUH
#define UPRES_KERNELS_CUDA_PTX_CUH

#include "args.h"

/* Device memory at an address from the host: loads and stores become ld.global and st.global. */
template <class T> __device__ __forceinline__ T *global(uint64_t at)
{
    return (T *)__cvta_global_to_generic(at);
}

/* ------------------------------------------------------------------------------------------------------- activations */

/* e^x as in kernels/cpu/rows_body.h: the same operations, the same bits. */
__device__ __forceinline__ float exp_poly(float x)
{
    const float shifter = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer held in the low mantissa bits */
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.3f ? -87.3f : x;
    const float shifted = __fadd_rn(__fmul_rn(x, 1.44269504088896341f), shifter);
    const float n = __fsub_rn(shifted, shifter);
    float r = __fsub_rn(x, __fmul_rn(n, 0.693359375f));
    r = __fsub_rn(r, __fmul_rn(n, -2.12194440e-4f));
    float p = 1.9875691500e-4f;
    p = __fadd_rn(__fmul_rn(p, r), 1.3981999507e-3f);
    p = __fadd_rn(__fmul_rn(p, r), 8.3334519073e-3f);
    p = __fadd_rn(__fmul_rn(p, r), 4.1665795894e-2f);
    p = __fadd_rn(__fmul_rn(p, r), 1.6666665459e-1f);
    p = __fadd_rn(__fmul_rn(p, r), 5.0000001201e-1f);
    p = __fadd_rn(__fmul_rn(p, __fmul_rn(r, r)), r);
    p = __fadd_rn(p, 1.0f);
    const int exponent = __float_as_int(shifted) - __float_as_int(shifter);
    return __fmul_rn(p, __int_as_float((exponent + 127) << 23));
}

__device__ __forceinline__ float silu(float x)
{
    return __fdiv_rn(x, __fadd_rn(1.0f, exp_poly(-x)));
}

__device__ __forceinline__ float gelu_tanh(float x)
{
    const float cube = __fmul_rn(0.044715f, __fmul_rn(x, __fmul_rn(x, x)));
    const float u = __fmul_rn(0.7978845608f, __fadd_rn(x, cube));
    /* 0.5 x (1 + tanh u) = x - x / (e^2u + 1) */
    return __fsub_rn(x, __fdiv_rn(x, __fadd_rn(exp_poly(__fmul_rn(2.0f, u)), 1.0f)));
}

/* 3 tanh(x / 3) = 3 - 6 / (e^(2x/3) + 1) */
__device__ __forceinline__ float tanh3(float x)
{
    return __fsub_rn(3.0f, __fdiv_rn(6.0f, __fadd_rn(exp_poly(__fmul_rn(x, 2.0f / 3.0f)), 1.0f)));
}

/* The activation of N values at once: one branch for all of them. N is a constant, the loops unroll. */
template <int N> __device__ __forceinline__ void activate(float (&y)[N], int act)
{
    if (act == CUDA_ACT_SILU) {
#pragma unroll
        for (int i = 0; i < N; i++) y[i] = silu(y[i]);
    } else if (act == CUDA_ACT_GELU_TANH) {
#pragma unroll
        for (int i = 0; i < N; i++) y[i] = gelu_tanh(y[i]);
    } else if (act == CUDA_ACT_RELU) {
#pragma unroll
        for (int i = 0; i < N; i++) y[i] = y[i] > 0.0f ? y[i] : 0.0f;
    } else if (act == CUDA_ACT_TANH3) {
#pragma unroll
        for (int i = 0; i < N; i++) y[i] = tanh3(y[i]);
    }
}

/* -------------------------------------------------------------------------------------------------------------- bf16 */

/* Two floats as bf16, rounded to nearest even; `low` stands first in memory. */
__device__ __forceinline__ uint32_t bf16_pack(float low, float high)
{
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

__device__ __forceinline__ float bf16_low(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float bf16_high(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ __forceinline__ float bf16_one(uint16_t bits) { return __uint_as_float((uint32_t)bits << 16); }

/* -------------------------------------------------------------------------------------------------------------- int8 */

/* How a block of 128 channels is quantized, given its largest |x|: kernels/cpu/int8.h. */
struct Int8Scale {
    float scale, inverse;
};

__device__ __forceinline__ Int8Scale int8_scale(float amax)
{
    const bool zeros = amax < 0x1p-100f;
    return {zeros ? 0.0f : __fdiv_rn(amax, 127.0f), zeros ? 0.0f : __fdiv_rn(127.0f, amax)};
}

__device__ __forceinline__ uint32_t int8_one(float x, float inverse)
{
    return (uint32_t)__float2int_rn(fminf(fmaxf(__fmul_rn(x, inverse), -127.0f), 127.0f)) & 255u;
}

/* Four channels as they lie in memory. */
__device__ __forceinline__ uint32_t int8_quad(float x, float y, float z, float w, float inverse)
{
    return int8_one(x, inverse) | int8_one(y, inverse) << 8 | int8_one(z, inverse) << 16 | int8_one(w, inverse) << 24;
}

#endif
