/*
 * conv3d on the CPU: cross-correlation of frames that already stand in memory with their borders around them.
 *
 * y[f][oy][ox][co] = sum over dt, dy, dx, ci of
 *     w[co][ci][dt][dy][dx] * frame[f][dt][(oy * stride_h + dy) * in_row + (ox * stride_w + dx) * in_pixel + ci]
 *
 * Frames of one output that are the same picture (the start of a video, a single image) are read once, with weights
 * summed over time. The work itself is that of gemm.h.
 */
#ifndef UPRES_KERNELS_CPU_CONV3D_H
#define UPRES_KERNELS_CPU_CONV3D_H

#include "kernels/cpu/gemm.h"

typedef struct Conv3d {
    int ci, depth;                               /* channels, and floats of a pixel that are read: ci padded with zeros */
    int kt, kh, kw, stride_h, stride_w;
    bool channels_last;                          /* weights stored [co][kh][kw][ci] */
    bool frames_in_channels;                     /* weights stored [co][kt * ci][kh][kw], the newest frame first */
    const float *frame[GEMM_IMAGES][4];          /* kt pictures of each output frame, oldest first */
    int64_t in_row, in_pixel;
    WeightReader weights;
    /* a 1x1x1 convolution of another picture, added (shortcut of a residual block); shortcut.read NULL: none */
    WeightReader shortcut;
    int shortcut_ci, shortcut_depth;
    const float *shortcut_frame[GEMM_IMAGES];
    int64_t shortcut_row, shortcut_pixel;
} Conv3d;

/*
 * The jobs that compute `images` output frames: at most one for each way in which frames repeat. As many entries of jobs and
 * packs are filled as it returns (at most 3); jobs take their output fields from *out, whose y_image etc. are indexed by output
 * frame. packs and shortcut_pack must live as long as the jobs.
 */
int conv3d_jobs(const Conv3d *c, const GemmJob *out, GemmJob jobs[3], ConvPack packs[3], ConvPack *shortcut_pack);

#endif
