/*
 * Clamping of samples: kernels/cpu/clamp.h.
 */
#ifndef UPRES_KERNELS_CUDA_COLOR_CUH
#define UPRES_KERNELS_CUDA_COLOR_CUH

#include "ptx.cuh"

__device__ __forceinline__ float clamp_unit(float x)
{
    x = x < 0.0f ? 0.0f : x;
    return x > 1.0f ? 1.0f : x;
}

__device__ __forceinline__ float clamp_signed(float x)
{
    x = x < -1.0f ? -1.0f : x;
    return x > 1.0f ? 1.0f : x;
}

#endif
