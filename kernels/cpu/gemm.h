/*
 * Matrix products whose left side is gathered from pictures: convolutions, linear layers and the products inside a folded
 * upsampler are all
 *
 *     y[image][oy][ox][n] = finish( sum over parts, taps, k of A[..] * B[tap * depth + k][n] )
 *     A = part.base[part.tap[image][tap] + oy * step_y + ox * step_x + k]
 *
 * B comes packed ([panel of 16 columns][K][16]) or is packed panel by panel, from the stored weights, by the thread that
 * is about to use it: weights are never expanded as a whole. The work is cut into turns of 64 columns by some rows; any
 * order and any number of threads give the same bits.
 *
 * Blocking after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): a chunk of about 128
 * rows of B stays in the first-level cache while 6-row tiles of A pass; sums of a block of rows wait in the second-level one.
 */
#ifndef UPRES_KERNELS_CPU_GEMM_H
#define UPRES_KERNELS_CPU_GEMM_H

#include "kernels/cpu/cpu.h"

#include <stddef.h>

enum { GEMM_IMAGES = 8, GEMM_TAPS = 36, GEMM_PARTS = 3 };

/* Fills columns first .. first + count - 1 (count <= 64; missing columns up to a full panel are zero) as
 * [panel][K][16]; temporary: GEMM_PACK_TEMPORARY floats. */
typedef void (*GemmPack)(const void *weights, int first, int count, float *out, float *temporary);

typedef struct GemmPart {
    const float *base;
    int taps, depth;
    int64_t tap[GEMM_IMAGES][GEMM_TAPS];
    int64_t step_y, step_x;
    const float *packed;  /* [panels][taps * depth][16], or NULL: */
    GemmPack pack;
    const void *weights, *glu_weights; /* arguments of pack; glu_weights NULL: no gated unit */
} GemmPart;

typedef struct GemmJob {
    const CpuKernels *kernels;
    int images, rows, columns_x; /* output pixels: images x rows x columns_x */
    int n;                       /* output columns (channels) before any shuffle */
    GemmPart part[GEMM_PARTS];
    int parts;

    float *y;
    int64_t y_image[GEMM_IMAGES], y_row, y_pixel;
    int y_c, y_pad;              /* channels of y and floats kept for them; the rest is zeroed */
    int64_t sub[8];              /* sub-pixel shuffle: columns [s * y_c, (s + 1) * y_c) go to y + sub[s]; sub[0] = 0 without */
    unsigned drop[GEMM_IMAGES];  /* bit s: leave out sub-block s of this image */
    const float *bias, *gate, *residual;
    int64_t residual_image[GEMM_IMAGES], residual_row, residual_pixel;
    RowAct act;
} GemmJob;

int64_t gemm_turns(const GemmJob *j, int threads);
size_t gemm_scratch(const GemmJob *j); /* floats a thread */
void gemm_turn(const GemmJob *j, int threads, int64_t turn, float *scratch);

/* ------------------------------------------------------------------------------------------------ packing of weights */

/* Stored weights, read as float32 by position. */
typedef struct WeightReader {
    const void *source;
    void (*read)(const void *source, int64_t first, int64_t count, float *out);
} WeightReader;

typedef enum TimeTaps { TIME_ALL, TIME_PAIR, TIME_ONE } TimeTaps; /* see ConvPack.time */

/*
 * Convolution weights [co][ci][kt][kh * kw] (or [co][kh * kw][ci] with channels_last, kt = 1). depth >= ci: channels of
 * the pictures, padded. time: frames that are the same picture share one tap whose weights are summed over time, exact
 * but for rounding: TIME_ALL every frame apart; TIME_PAIR the first two (kt = 3) are one; TIME_ONE all are one.
 * first_row: 0, or a multiple of co to use a later block of rows of a taller matrix.
 */
typedef struct ConvPack {
    WeightReader weights;
    int ci, kt, khw, depth;
    bool channels_last;
    bool frames_in_channels; /* stored [co][kt * ci][kh * kw], channels of the newest frame first */
    TimeTaps time;
} ConvPack;

void conv_pack(const void *conv_pack, int first, int count, float *out, float *temporary);
int conv_pack_taps(const ConvPack *p);

enum { GEMM_PACK_TEMPORARY = 16 * 36 }; /* floats a pack function may use besides its output */

#endif
