/*
 * Device functions that kernels share. NVRTC turns a * b + c into a fused multiply-add where it may: what has to give the
 * CPU's bits is therefore written with __fmul_rn and __fadd_rn.
 */
#ifndef UPRES_KERNELS_CUDA_PTX_CUH
#define UPRES_KERNELS_CUDA_PTX_CUH

#include "args.h"

/*
 * Device memory at an address from the host, as a generic pointer. (__cvta_global_to_generic would make loads and stores
 * ld.global and st.global, but compilers up to 13.0 sometimes never come to an end over such pointers where branches meet.)
 */
template <class T> __device__ __forceinline__ T *memory_at(uint64_t at) { return (T *)at; }

/* ------------------------------------------------------------------------------------------------------- activations */

/* e^x as in kernels/cpu/rows_body.h, the same operations, the same bits: a float in 0.7 .. 1.42, times 2^exponent. */
__device__ __forceinline__ float exp_fraction(float x, int &exponent)
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
    exponent = __float_as_int(shifted) - __float_as_int(shifter);
    return __fadd_rn(p, 1.0f);
}

__device__ __forceinline__ float exp_poly(float x)
{
    int exponent;
    const float fraction = exp_fraction(x, exponent);
    return __fmul_rn(fraction, __int_as_float((exponent + 127) << 23));
}

/* 2^x by the hardware's function: about 2 units in the last place, not the same everywhere. */
__device__ __forceinline__ float exp2_approx(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
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

/* The same with one exponential and one division for all three: a third of the code, where an activation is rare. */
__device__ __forceinline__ float activate_any(float x, int act)
{
    const float cube = __fmul_rn(0.044715f, __fmul_rn(x, __fmul_rn(x, x)));
    const float u = __fmul_rn(0.7978845608f, __fadd_rn(x, cube));
    const float power = act == CUDA_ACT_SILU ? -x : act == CUDA_ACT_GELU_TANH ? __fmul_rn(2.0f, u) : __fmul_rn(x, 2.0f / 3.0f);
    const float q = __fdiv_rn(act == CUDA_ACT_TANH3 ? 6.0f : x, __fadd_rn(exp_poly(power), 1.0f));
    return act == CUDA_ACT_SILU ? q : __fsub_rn(act == CUDA_ACT_TANH3 ? 3.0f : x, q);
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

/* ----------------------------------------------------------------------------------------------------- shared memory */

/* An address in shared memory as instructions take it. */
__device__ __forceinline__ uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/* 16 bytes from global to shared memory, past the registers; bytes 0: zeros instead, and nothing is read. */
__device__ __forceinline__ void copy_async_16(uint32_t to, uint64_t from, int bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

__device__ __forceinline__ void copy_async_4(uint32_t to, uint64_t from, int bytes)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

__device__ __forceinline__ float load_shared(uint32_t from)
{
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(from) : "memory");
    return value;
}

__device__ __forceinline__ float2 load_shared_2(uint32_t from)
{
    float2 pair;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(pair.x), "=f"(pair.y) : "r"(from) : "memory");
    return pair;
}

__device__ __forceinline__ void load_shared_4(float (&x)[4], uint32_t from)
{
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x[0]), "=f"(x[1]), "=f"(x[2]), "=f"(x[3])
                 : "r"(from)
                 : "memory");
}

/* Closes a group of the thread's copies. */
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Until at most OPEN of the thread's groups are still on their way. */
template <int OPEN> __device__ __forceinline__ void copy_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(OPEN) : "memory");
}

/* ------------------------------------------------------------------------------------------------- matrix instructions */

/* Four 8 x 16-byte matrices, whose rows are at the addresses of lanes 0..7, 8..15, 16..23, 24..31. */
__device__ __forceinline__ void load_matrix_4(uint32_t (&m)[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(address)
                 : "memory");
}

/* The same with every matrix transposed. */
__device__ __forceinline__ void load_matrix_4_trans(uint32_t (&m)[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(address)
                 : "memory");
}

__device__ __forceinline__ void load_matrix_2(uint32_t &m0, uint32_t &m1, uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(m0), "=r"(m1) : "r"(address) : "memory");
}

/* c += a * b: 16 x 16 and 16 x 8 of bf16, sums in float32. */
__device__ __forceinline__ void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* c += a * b: 16 x 32 and 32 x 8 of int8, sums in int32. */
__device__ __forceinline__ void multiply_i8(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/*
 * Integer sums that are started at I8_ZERO come out as floats without a conversion: I8_ZERO is 1.5 * 2^23 as a float, whose
 * last bit counts 1. Good for |sum| < 2^22; 128 products of int8 stay below 2.1e6.
 */
enum { I8_ZERO = 0x4B400000 };
__device__ __forceinline__ float i8_sum(int32_t c) { return __fadd_rn(__int_as_float(c), -12582912.0f); }

#endif
