/*
 * Plain bicubic resizing, as torch.nn.functional.interpolate(mode="bicubic", align_corners=False) without antialias:
 * Keys' cubic with a = -0.75, half-pixel centres, border samples repeated, four taps at any scale. Not clamped.
 */
#ifndef UPRES_KERNELS_CPU_BICUBIC_H
#define UPRES_KERNELS_CPU_BICUBIC_H

#include "kernels/cpu/resize.h"

/* Weights of one axis for resize_planes; in, out >= 1. false: no memory (the axis is then empty; resize_axis_free is
 * still allowed). */
bool bicubic_axis_init(ResizeAxis *a, int in, int out);

#endif
