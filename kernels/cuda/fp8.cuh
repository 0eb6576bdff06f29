/*
 * 8-bit floats, e4m3, as kernels/cpu/fp8.h defines them: on sm_120 alone, where the matrix instructions with block scales are.
 * UPRES_FP8 tells whether the target has them.
 */
#ifndef UPRES_KERNELS_CUDA_FP8_CUH
#define UPRES_KERNELS_CUDA_FP8_CUH

#include "ptx.cuh"

#if defined(__CUDA_ARCH_FAMILY_SPECIFIC__)
#if __CUDA_ARCH_FAMILY_SPECIFIC__ >= 1200 && __CUDA_ARCH_FAMILY_SPECIFIC__ < 1300
#define UPRES_FP8 1
#endif
#endif

#ifdef UPRES_FP8

/* Byte of the scale of numbers up to amax. */
__device__ __forceinline__ uint32_t fp8_scale(float amax)
{
    return (uint32_t)max((int)((__float_as_uint(amax) + 0x1fffff) >> 23) - 8, 5);
}

/* 1 / scale. */
__device__ __forceinline__ float fp8_inverse(uint32_t e) { return __uint_as_float((254 - e) << 23); }

/* Two floats; `low` stands first in memory. */
__device__ __forceinline__ uint32_t e4m3_two(float low, float high)
{
    uint16_t two;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(two) : "f"(high), "f"(low));
    return two;
}

/* What is left of two numbers when they are kept as e4m3. */
__device__ __forceinline__ float2 e4m3_rest(uint32_t two, float low, float high)
{
    float2 kept;
    asm("{\n\t.reg .b32 halves;\n\t.reg .b16 a, b;\n\t"
        "cvt.rn.f16x2.e4m3x2 halves, %2;\n\t"
        "mov.b32 {a, b}, halves;\n\t"
        "cvt.f32.f16 %0, a;\n\t"
        "cvt.f32.f16 %1, b;\n\t}"
        : "=f"(kept.x), "=f"(kept.y)
        : "h"((uint16_t)two));
    return make_float2(__fsub_rn(low, kept.x), __fsub_rn(high, kept.y));
}

/* Four numbers over their scale, as they lie in memory. */
__device__ __forceinline__ uint32_t e4m3_four(float x, float y, float z, float w, float inverse)
{
    const uint32_t xy = e4m3_two(__fmul_rn(x, inverse), __fmul_rn(y, inverse));
    return xy | e4m3_two(__fmul_rn(z, inverse), __fmul_rn(w, inverse)) << 16;
}

/* Of those, what `four` leaves, 16 times. */
__device__ __forceinline__ uint32_t e4m3_four_rest(uint32_t four, float x, float y, float z, float w, float inverse)
{
    const float2 xy = e4m3_rest(four & 0xffff, __fmul_rn(x, inverse), __fmul_rn(y, inverse));
    const float2 zw = e4m3_rest(four >> 16, __fmul_rn(z, inverse), __fmul_rn(w, inverse));
    return e4m3_four(xy.x, xy.y, zw.x, zw.y, 16.0f);
}

/*
 * c += a * b: 16 x 32 and 32 x 8 of e4m3, every row of a and column of b times a scale; sums in float32. Row g + 8 i of a has
 * byte BYTE of scale_a in lane 4 g + 2 PAIR + i, column g of b byte 0 of scale_b in lane 4 g.
 */
template <int BYTE, int PAIR>
__device__ __forceinline__ void multiply_e4m3(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                              uint32_t scale_a, uint32_t scale_b)
{
    asm("mma.sync.aligned.m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X.f32.e4m3.e4m3.f32.ue8m0 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}, {%10}, {%12, %13}, {%11}, {0, 0};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(scale_a), "r"(scale_b), "n"(BYTE), "n"(PAIR));
}

#endif
#endif
