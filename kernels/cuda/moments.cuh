/*
 * Norm statistics of a result, patch by patch: mean and sum of squared distances of half a patch, 4 x 16 pixels, by group of
 * channels, in the order of sums that kernels/cpu/norm.h fixes. Two kernels make them, to the same bits: the product whose tile
 * the half patch lies in, from the values it stores (epilogue.cuh), and stats.cu, from what was stored.
 */
#ifndef UPRES_KERNELS_CUDA_MOMENTS_CUH
#define UPRES_KERNELS_CUDA_MOMENTS_CUH

#include "ptx.cuh"

struct Moments {
    double count, mean, m2;
};

/* weight: b.count / (a->count + b.count) */
__device__ __forceinline__ void merge(Moments *a, const Moments &b, double weight)
{
    const double delta = __dsub_rn(b.mean, a->mean);
    const double between = __dmul_rn(__dmul_rn(delta, delta), __dmul_rn(a->count, weight));
    a->mean = __dadd_rn(a->mean, __dmul_rn(delta, weight));
    a->m2 = __dadd_rn(a->m2, __dadd_rn(b.m2, between));
    a->count = __dadd_rn(a->count, b.count);
}

/* Where half a patch begins and what of it lies inside a picture: nothing where the picture ends in an upper half. */
struct Half {
    int top, left, height, width;
};

__device__ __forceinline__ Half half_at(int top, int left, int h, int w)
{
    return {top, left, min(CUDA_HALF_H, h - top), min(CUDA_PATCH_W, w - left)};
}

/* Halves are counted patch by patch, the upper one first. */
__device__ __forceinline__ int halves_across(int w) { return (w + CUDA_PATCH_W - 1) / CUDA_PATCH_W * 2; }
__device__ __forceinline__ int half_number(int top, int left, int w)
{
    return top / (2 * CUDA_HALF_H) * halves_across(w) + left / CUDA_PATCH_W * 2 + top / CUDA_HALF_H % 2;
}
__device__ __forceinline__ Half half_of(int number, int h, int w)
{
    const int across = halves_across(w), row = number / across, left = (number - row * across) / 2 * CUDA_PATCH_W;
    return half_at((2 * row + number % 2) * CUDA_HALF_H, left, h, w);
}

/* Of all channels have the same pixels, weights of a merge are 1 / 1, 1 / 2 .. 1 / size: one division each, not one a merge. */
__device__ __forceinline__ void fill_weights(double *weights, int size, int thread, int threads)
{
#pragma unroll 1
    for (int i = thread; i < size; i += threads) weights[i] = __ddiv_rn(1.0, i + 1);
}

/* The channels of a group, one after another. */
__device__ __forceinline__ double2 merge_channels(const float *means, const float *squares, int size, double pixels,
                                                  const double *weights)
{
    Moments m = {pixels, means[0], squares[0]};
#pragma unroll 1
    for (int i = 1; i < size; i++) merge(&m, {pixels, means[i], squares[i]}, weights[i]);
    return make_double2(m.mean, m.m2);
}

#endif
