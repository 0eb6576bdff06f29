/*
 * Colour correction of one plane after another, as the FlashVSR pipelines do it: unlike the methods of the same names
 * in color.h these have a fixed number of levels, population variance, and clamp their results.
 *
 * x, like, out: signed planes [planes][h][w]; like is the low-quality frame at the size of x. out may be x. Any thread.
 * Source: lihaoyun6/ComfyUI-FlashVSR_Ultra_Fast, TorchColorCorrectorWavelet.
 */
#ifndef UPRES_KERNELS_CPU_COLOR_PLANE_H
#define UPRES_KERNELS_CPU_COLOR_PLANE_H

#include <stddef.h>

/* Each plane takes the mean and deviation of its model, sqrt(variance + 1e-5); results in [-1, 1]. */
void color_plane_adain(const float *x, const float *like, int planes, int h, int w, float *out);

/* The coarse part of `like` under the fine part of x: five blurs of [1 2 1] x [1 2 1] / 16 with steps of 1, 2, 4, 8, 16
 * pixels, borders repeated; results in [-1, 1]. scratch: color_plane_scratch(h, w) floats. */
void color_plane_wavelet(const float *x, const float *like, int planes, int h, int w, float *out, float *scratch);
size_t color_plane_scratch(int h, int w);

#endif
