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
 * Stored blocks to float: count elements from `first` of a tensor whose bytes from element block_first on lie at `from`.
 * bad: a word that becomes nonzero when a value is not finite.
 */
typedef struct CudaDequant {
    uint64_t from, to, bad;
    uint64_t scale;        /* float: one, or one a row of row_elements; 0: none */
    int64_t first, count;  /* of the tensor; `from` holds whole blocks beginning with the one of `first` */
    int64_t row_elements;
    int32_t type, scale_rows; /* enum WeightType */
} CudaDequant;

/*
 * Float weights [rows][ci][kt][khw] (or [rows][khw][ci] with channels_last, or [rows][kt * ci][khw], newest frame first, with
 * frames_in_channels) to rows first_row .. of a packed operand [n][taps][depth]. time: 0 every frame apart, 1 the first two
 * of three summed, 2 all summed. glu_part: 0 | 1 with glu (rows interleaved by 8, see CudaGemm), -1 without.
 * int8: scale = max|w| / 127 of each (row, tap, 128 channels), q = round to even of w / scale; a block of zeros has scale 0.
 */
typedef struct CudaPack {
    uint64_t from, to, scale;
    int32_t rows, first_row, ci, kt, khw, depth, blocks;
    int32_t type, time, channels_last, frames_in_channels, glu_part;
} CudaPack;

/* --------------------------------------------------------------------------------------------------------- producer */

enum { CUDA_FRAMES = 64 };

/*
 * pre(x) of t frames into padded frames: norm, gain and shift, activation, conversion. Pixel (t, h, w) goes to pixel
 * to_frame[t] + h * to_row + w of `to`. Channels c .. to_pad - 1 are zeroed.
 * int8: each pixel's blocks of 128 channels get a scale as CudaPack's.
 */
typedef struct CudaPre {
    uint64_t x, to, to_scale;
    int32_t x_type, to_type, x_pitch, to_pitch, to_pad, blocks;
    int32_t t, h, w, c;
    int32_t x_frame, x_row; /* pixels from frame to frame, row to row */
    int32_t to_row, to_frame[CUDA_FRAMES];
    int32_t norm, act;      /* enum Norm, enum Act */
    float eps;
    uint64_t gain, shift;   /* float [c], or [t][c] (by_frame); 0: 1, 0. y = act(norm(x) * gain + shift) */
    int32_t by_frame;
} CudaPre;

#endif
