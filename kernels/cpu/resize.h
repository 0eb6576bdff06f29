/*
 * Resizing pictures, and making of a source frame what the encoder sees.
 *
 * The resize is PyTorch's antialiased bicubic (torch.nn.functional.interpolate, mode="bicubic", antialias=True): Keys'
 * cubic with a = -0.5, widened when shrinking, taps outside the picture dropped and the others renormalised. Separable,
 * width before height. Results are not clamped and may leave the range of the input.
 *
 * Planes are float32 [plane][row][column] without gaps. Nothing here allocates except the *_init functions. Tables are
 * read-only once built: any number of threads may use one at once, each with scratch of its own.
 */
#ifndef UPRES_KERNELS_CPU_RESIZE_H
#define UPRES_KERNELS_CPU_RESIZE_H

#include <stdbool.h>
#include <stddef.h>

/* Weights of one axis: output i is the sum of weight[i * taps + k] * input[first[i] + k], k < taps. All of these inputs
 * exist; `first` never falls. An axis whose size stays the same has one tap of weight 1. */
typedef struct ResizeAxis {
    int in, out, taps;
    int *first;
    float *weight;
} ResizeAxis;

/* in, out >= 1. false: no memory (the axis is then empty, and resize_axis_free is still allowed). */
bool resize_axis_init(ResizeAxis *a, int in, int out);
void resize_axis_free(ResizeAxis *a);

/* Floats of scratch that the resizes below need. */
size_t resize_scratch(const ResizeAxis *x, const ResizeAxis *y);

/* Rows begin .. end - 1 of the result of one plane, whose rows lie src_row floats apart: dst [end - begin][x->out]. */
void resize_rows(const ResizeAxis *x, const ResizeAxis *y, const float *src, size_t src_row, int begin, int end, float *dst,
                 float *scratch);
/* src [planes][y->in][x->in] to dst [planes][y->out][x->out]; they must not overlap. */
void resize_planes(const ResizeAxis *x, const ResizeAxis *y, const float *src, int planes, float *dst, float *scratch);

/*
 * A source frame to encoder input: up to two resizes in turn, clamp to [0, 1], cut to a window, fill up on the right
 * and at the bottom, 2 u - 1. Serves the rule of numz/ComfyUI-SeedVR2_VideoUpscaler (window: the whole picture) and
 * that of ByteDance-Seed/SeedVR (a centred window, nothing to fill up).
 */
typedef struct FrameTransform {
    int in_h, in_w;
    int steps; /* 0..2 resizes */
    ResizeAxis x[2], y[2];
    int top, left, window_h, window_w; /* what is kept of the resized picture */
    int out_h, out_w;                  /* after filling up; at least the window */
    bool pad_edge;                     /* fill with the window's last row and column instead of black */
} FrameTransform;

/* sizes: height and width after each resize. The window must lie in the resized picture. false: no memory. */
bool frame_transform_init(FrameTransform *t, int in_h, int in_w, int steps, const int (*sizes)[2]);
/* After init the window is the whole resized picture and nothing is filled up; this sets both. */
void frame_transform_window(FrameTransform *t, int top, int left, int window_h, int window_w, int out_h, int out_w,
                            bool pad_edge);
void frame_transform_free(FrameTransform *t);

size_t frame_transform_scratch(const FrameTransform *t); /* floats */

/* unit [planes][in_h][in_w] in [0, 1] to out [planes][out_h][out_w] in [-1, 1]. */
void frame_transform(const FrameTransform *t, const float *unit, int planes, float *out, float *scratch);

#endif
