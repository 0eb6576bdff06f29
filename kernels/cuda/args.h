/*
 * Arguments of the CUDA kernels, one struct a kernel, passed by value: the same text for the C that fills them and for NVRTC,
 * which has no headers. Plain C types; addresses are 64-bit numbers.
 *
 * Positions in pictures are counted in pixels; `pitch` turns them into elements. A pixel's elements are contiguous, c
 * innermost, padded with zeros to 16 bytes.
 */
#ifndef UPRES_KERNELS_CUDA_ARGS_H
#define UPRES_KERNELS_CUDA_ARGS_H

#ifdef __CUDACC_RTC__
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <stdint.h>
#endif

/* Element types, as in runtime/dev.h. */
enum { CUDA_F32, CUDA_BF16, CUDA_I8 };
/* Activations, as enum Act. */
enum { CUDA_ACT_NONE, CUDA_ACT_SILU, CUDA_ACT_GELU_TANH, CUDA_ACT_RELU, CUDA_ACT_TANH3 };

/* -------------------------------------------------------------------------------------------------------------- gemm */

enum { CUDA_GEMM_IMAGES = 8, CUDA_GEMM_TAPS = 36, CUDA_GEMM_PARTS = 2, CUDA_BLOCK = 128 /* channels that share an int8 scale */ };

/*
 * One operand pair of a product. A is gathered from pictures of this part: pixel of A for output (image i, row oy, column
 * ox) and tap t = frame[i][tap_frame[t]] + tap[t] + oy * step_y + ox * step_x. B is packed [n][taps][depth], rows of `depth`
 * elements of the same type as A. depth: elements of a pixel that are multiplied, a multiple of 16 bytes.
 */
typedef struct CudaGemmPart {
    uint64_t a, a_scale;  /* a_scale, int8: float [pixel][blocks], blocks = ceil(depth / 128) */
    uint64_t b, b_scale;  /* b_scale, int8: float [n][taps][blocks] */
    int32_t pitch, depth, taps, blocks;
    int32_t step_y, step_x;
    int32_t frame[CUDA_GEMM_IMAGES][4];
    int32_t tap[CUDA_GEMM_TAPS];
    uint8_t tap_frame[CUDA_GEMM_TAPS];
} CudaGemmPart;

/*
 * y[image][oy][ox][n] = finish(sum over parts, taps, k of A * B). finish: + bias[n], act, * gate[n], + residual, rounded once.
 * With glu rows of B come in groups of 16: 8 of the matrix whose result goes through act, then 8 of the one it is multiplied
 * by; column n of y is then made of packed columns 16 * (n / 8) + n % 8 and that + 8. n counts columns of y before a shuffle.
 * Sub-pixel shuffle: columns s * y_c .. (s + 1) * y_c - 1 go to pixel offset sub[s]; bit s of drop[image]: left out.
 * Channels y_c .. y_pad - 1 of every pixel written are zeroed.
 * batch: grid z counts further independent products, whose addresses lie batch_* elements apart (attention).
 */
typedef struct CudaGemm {
    CudaGemmPart part[CUDA_GEMM_PARTS];
    int32_t parts, images, rows, columns, n;
    int32_t act, glu;
    uint64_t y, bias, gate, residual; /* bias, gate: float; 0: none */
    int32_t y_type, residual_type;    /* CUDA_F32 | CUDA_BF16 */
    int32_t y_pitch, y_row, y_column, y_c, y_pad;
    int32_t residual_pitch, residual_row, residual_column;
    int32_t y_image[CUDA_GEMM_IMAGES], residual_image[CUDA_GEMM_IMAGES];
    int32_t sub[8], subs;
    uint32_t drop[CUDA_GEMM_IMAGES];
    int32_t batch;
    int64_t batch_a, batch_b, batch_y;
    float alpha; /* the sum is multiplied by it first (attention's scale; else 1) */
} CudaGemm;

/* -------------------------------------------------------------------------------------------------- weights to operands */

/*
 * Stored elements to float, by the function dequant_<type>: `count` of them, the first being number `skip` of the whole blocks
 * at `from` (16-byte aligned). bad: a word that becomes 1 when a value is not finite.
 */
typedef struct CudaDequant {
    uint64_t from, to, bad;
    uint64_t scale;      /* float of each row, beginning with the first element's; 0: none */
    uint32_t skip, count;
    uint32_t row_offset; /* of the first element in its row */
    uint32_t row_elements; /* of a row that has a scale of its own */
} CudaDequant;

/*
 * Float weights to rows of a packed operand [n][taps][depth], by the function pack_<f32 | bf16 | i8>. Element (row, channel,
 * frame, tap within the frame) stands at from[row * row_step + channel * channel_step + frame * frame_step + tap *
 * tap_step], the oldest frame first; frames 0 .. merged are summed into the first. taps: of the operand, `frame_taps` a frame.
 * Channels ci .. depth - 1 become zero.
 * Row i becomes row r = first_row + i of the operand; with glu 16 * (r / 8) + r % 8 + 8 * (glu - 1), see CudaGemm.
 * i8: every tap of a row is quantized in blocks of 128 channels, each by its largest |w| = amax: scale = amax / 127,
 * q = rint(w * (127 / amax)) held to [-127, 127]; with amax < 2^-100 both are 0. kernels/cpu/int8.h is the definition.
 */
typedef struct CudaPack {
    uint64_t from, to, scale;
    int32_t rows, first_row, glu; /* glu: 1 and 2, the matrix that is activated and the one it is multiplied by; 0: none */
    int32_t ci, taps, frame_taps, merged;
    int32_t depth, blocks; /* blocks = ceil(depth / 128) */
    int32_t row_step, channel_step, frame_step, tap_step;
} CudaPack;

/* --------------------------------------------------------------------------------------------------------- producer */

enum { CUDA_FRAMES = 64 };
/* Norms, as enum Norm. */
enum { CUDA_NORM_NONE, CUDA_NORM_GROUP, CUDA_NORM_RMS, CUDA_NORM_LAYER, CUDA_NORM_L2 };

/*
 * pre(x) of t frames into padded frames: norm, gain and shift, activation, conversion. Pixel (t, h, w) goes to pixel
 * to_frame[t] + h * to_row + w of `to`. Channels c .. to_pad - 1 are zeroed. x and to may begin, and to_pad end, at any
 * multiple of 4 channels; with int8 to_pad is a multiple of 16.
 * int8: each pixel's blocks of 128 channels get a scale as CudaPack's.
 * Blocks of 256 threads: x counts runs of `run` pixels of a row, row by row; y frames. Norms of a pixel: run <= 16.
 */
typedef struct CudaPre {
    uint64_t x, to, to_scale;
    int32_t x_type, to_type, x_pitch, to_pitch, to_pad, blocks;
    int32_t t, h, w, c;
    int32_t x_frame, x_row; /* pixels from frame to frame, row to row */
    int32_t to_row, to_frame[CUDA_FRAMES];
    int32_t norm, act;      /* enum Norm, enum Act */
    float eps;
    uint64_t gain, shift;   /* float [c], or [t][c] (by_frame), rows filled with zeros up to a multiple of 8; 0: 1, 0.
                               y = act(norm(x) * gain + shift) */
    int32_t by_frame, run;
} CudaPre;

/*
 * CudaPre's vectors [t][pitch] from those a norm is given; each may be 0. With stats, [t] rows of (mean, variance) by group,
 * stats_pitch floats apart: gain = gamma / sqrt(variance + eps), shift = beta - mean * gain; else gain = gamma * scale,
 * shift = beta * scale + add. Blocks of 128 threads: x channels, y frames.
 */
typedef struct CudaPreVectors {
    uint64_t stats, gamma, beta, scale, add;
    uint64_t gain, shift; /* shift 0: not wanted */
    int32_t c, pitch, group, stats_pitch;
    float eps;
} CudaPreVectors;

/*
 * Borders of pictures [h][w]: every pixel outside rows top .. bottom - 1 and columns left .. right - 1 becomes the nearest one
 * inside. A pixel is `words` 4-byte words of data and `blocks` floats of scale. Blocks of 256 threads: x border pixels and
 * words, y pictures.
 */
typedef struct CudaEdges {
    uint64_t data, scale;
    int32_t words, blocks, h, w, top, bottom, left, right;
    int32_t frame[CUDA_FRAMES]; /* first pixel of each picture */
} CudaEdges;

/* ------------------------------------------------------------------------------------------------------------ stats */

/*
 * Moments of patches of 8 x 16 pixels by group: moments[t][group][patch] = (mean, sum of squared distances) as doubles. A
 * block of 128 threads takes one patch (x) of one frame (z) and `slab` channels (y), whole groups. Dynamic shared memory:
 * stats_shared bytes.
 */
typedef struct CudaPatches {
    uint64_t x, moments;
    int32_t type, pitch, frame, row; /* of x: elements a pixel, pixels from frame to frame and row to row */
    int32_t h, w, c, groups, slab;
} CudaPatches;

/* Moments of all patches to stats[t][2 * groups], rows `pitch` floats apart. Blocks of 128 threads: x groups, y frames. */
typedef struct CudaMoments {
    uint64_t moments, stats;
    int32_t h, w, groups, size, pitch; /* size: channels of a group */
} CudaMoments;

#endif
