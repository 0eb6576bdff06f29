/*
 * Clamping of samples; written as comparisons so that loops over them become vector code.
 */
#ifndef UPRES_KERNELS_CPU_CLAMP_H
#define UPRES_KERNELS_CPU_CLAMP_H

static inline float clamp_unit(float x) /* to [0, 1] */
{
    x = x < 0.0f ? 0.0f : x;
    return x > 1.0f ? 1.0f : x;
}

static inline float clamp_signed(float x) /* to [-1, 1] */
{
    x = x < -1.0f ? -1.0f : x;
    return x > 1.0f ? 1.0f : x;
}

#endif
