/*
 * Padding of pictures on all four sides. Any thread.
 */
#ifndef UPRES_KERNELS_CPU_PAD_H
#define UPRES_KERNELS_CPU_PAD_H

#include <stdbool.h>

/*
 * x [planes][h][w] into the middle of out [planes][out_h][out_w], its first sample at (top, left); top + h <= out_h,
 * left + w <= out_w. What is left is mirrored without repeating the edge; where a side of x is not longer than the
 * widest of the four margins, the edge is repeated on all of them instead. Rule of naxci1/ComfyUI-FlashVSR_Stable.
 */
void pad_mirrored(const float *x, int planes, int h, int w, int top, int left, int out_h, int out_w, float *out);

/* Is it mirrored, with such margins? Which of samples 0 .. n - 1 stands at place i, which may lie outside. */
bool pad_mirrors(int h, int w, int top, int left, int out_h, int out_w);
int pad_source(int i, int n, bool mirror);

#endif
