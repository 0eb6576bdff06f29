/*
 * Normalisation on the CPU: statistics of frames by groups of channels, and root-mean-square norms of tokens.
 *
 * Statistics have one order of sums, whatever the threads: a frame is cut into patches of 8 x 16 pixels, and those into an upper
 * and a lower half; in a half every channel is summed in raster order, then its squared distances from its own mean; channels
 * of a group, then the halves, then patches in raster order are merged as (count, mean, M2) in double (Chan, Golub, LeVeque,
 * "Updating formulae and a pairwise algorithm for computing sample variances", 1979). Halves, because tiles of products on the
 * GPU are 4, 8, 12 or 16 pixels high: what each of them stores is whole halves.
 */
#ifndef UPRES_KERNELS_CPU_NORM_H
#define UPRES_KERNELS_CPU_NORM_H

#include "kernels/cpu/cpu.h"

enum { PATCH_H = 8, PATCH_W = 16, PATCH_HALF = PATCH_H / 2 };

typedef struct Moments {
    double count, mean, m2;
} Moments;

int norm_patches(int h, int w);

/* Patch number `patch` of a frame x [h][w] with strides in floats: its moments by group, [groups]. scratch: 3 * c floats. */
void norm_patch(const CpuKernels *k, const float *x, int64_t row_stride, int c_stride, int h, int w, int c, int groups,
                int patch, Moments *out, float *scratch);

/* All patches of a frame, [patches][groups], to [groups] pairs (mean, biased variance). */
void norm_merge(const Moments *patches, int patch_count, int groups, float *stats);

/* GroupNorm of a frame as a multiply-add by channel: scale = gamma / sqrt(variance + eps), shift = beta - mean * scale.
 * gamma, beta NULL: 1, 0. */
void norm_group_affine(const float *stats, int groups, int c, float eps, const float *gamma, const float *beta,
                       float *scale, float *shift);

/* y = norm(x) * scale + shift over the c channels of one pixel; scale, shift may be NULL. y may be x.
 *   rms    x / sqrt(mean(x^2) + eps)
 *   layer  (x - mean) / sqrt(mean((x - mean)^2) + eps)
 *   l2     x / max(|x|, 1e-12) * sqrt(c) */
void norm_rms_row(const CpuKernels *k, float *y, const float *x, int c, float eps, const float *scale, const float *shift);
void norm_layer_row(const CpuKernels *k, float *y, const float *x, int c, float eps, const float *scale, const float *shift);
void norm_l2_row(const CpuKernels *k, float *y, const float *x, int c, const float *scale, const float *shift);

#endif
