/*
 * Arguments of the CUDA kernels, one struct a kernel, passed by value: the same text for the C that fills them and for NVRTC,
 * which has no headers. Plain C types; addresses are 64-bit numbers.
 *
 * Positions in pictures are counted in pixels; `pitch` turns them into elements. A pixel's elements are contiguous, c
 * innermost, padded with zeros to 16 bytes.
 *
 * No gaps: repeated work is known by its bytes (runtime/cuda/recorder.h), so what fills a struct up is a member too, `unused`.
 */
#ifndef UPRES_KERNELS_CUDA_ARGS_H
#define UPRES_KERNELS_CUDA_ARGS_H

#ifdef __CUDACC_RTC__
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <stdint.h>
#ifdef __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic error "-Wpadded"
#endif
#endif

/* Element types, as in runtime/dev.h. The last two exist on sm_120 alone. */
enum { CUDA_F32, CUDA_BF16, CUDA_I8, CUDA_E4M3, CUDA_E4M3_PAIR };
/* Activations, as enum Act. */
enum { CUDA_ACT_NONE, CUDA_ACT_SILU, CUDA_ACT_GELU_TANH, CUDA_ACT_RELU, CUDA_ACT_TANH3 };

/* -------------------------------------------------------------------------------------------------------------- gemm */

enum { CUDA_GEMM_IMAGES = 8, CUDA_GEMM_TAPS = 36, CUDA_GEMM_PARTS = 2, CUDA_BLOCK = 128 /* channels that share an int8 scale */ };
enum { CUDA_FP8_UNIT = 0x7f7f7f7f }; /* four ue8m0 scales of 1 */

/*
 * One operand pair of a product. A is gathered from pictures of this part: pixel of A for output (image i, row oy, column
 * ox) and tap t = frame[i][tap_frame[t]] + tap[t] + oy * step_y + ox * step_x. B is packed [n][taps][depth], rows of `depth`
 * elements of the same type as A. depth: elements of a pixel that are multiplied, a multiple of 16 bytes.
 * width, height: of each of A's pictures; 0: not told. picture: pixels from one to the next. margin_x, margin_y: columns and
 * rows on either side of each that all these numbers count although they are not in memory: zeros, which the copy engine makes
 * (CudaGemmBoxes). window: taps, a divisor of all, that go over each 128 bytes of a pixel before the next come; but for f32 K
 * runs through windows, 128 bytes, taps of a window.
 */
typedef struct CudaGemmPart {
    uint64_t a, a_scale;  /* a_scale, int8: float [pixel][blocks], blocks = ceil(depth / 128) */
    uint64_t b, b_scale;  /* b_scale, int8: float [taps][blocks][n in 16s] */
    int32_t pitch, depth, taps, blocks; /* e4m3: scales and blocks as kernels/cpu/fp8.h has them, a_scale 0: all are 1 */
    int32_t step_y, step_x;
    int32_t frame[CUDA_GEMM_IMAGES][4];
    int32_t tap[CUDA_GEMM_TAPS];
    uint8_t tap_frame[CUDA_GEMM_TAPS];
    int32_t width, height, picture, pictures, margin_x, margin_y, window;
} CudaGemmPart;

/*
 * y[image][oy][ox][n] = finish(sum over parts, taps, k of A * B). finish: + bias[n], act, * gate[n], + residual, rounded once.
 * With glu rows of B come in groups of 16: 8 of the matrix whose result goes through act, then 8 of the one it is multiplied
 * by; column n of y is then made of packed columns 16 * (n / 8) + n % 8 and that + 8. n counts columns of y before a shuffle.
 * Sub-pixel shuffle: columns s * y_c .. (s + 1) * y_c - 1 go to pixel offset sub[s]; bit s of drop[image]: left out.
 * Channels y_c .. y_pad - 1 of every pixel written are zeroed.
 * batch: grid z counts further independent products, whose addresses lie batch_* elements apart (attention).
 * box: 0: a tile's rows are pixels one after another; else a rectangle of them 2^box wide, 16 or more, but where A is gathered no
 * more than an eighth of the threads. Boxes that are whole halves of patches can tell moments of what they store, see
 * CudaHalves: of output image i those of frame stat_image[i], which has stat_halves of them a group. The image is all of the
 * frame, or rows of it from number stat_first of them on.
 */
typedef struct CudaGemm {
    CudaGemmPart part[CUDA_GEMM_PARTS];
    int32_t parts, images, rows, columns, n;
    int32_t act, glu;
    int32_t box;
    uint64_t y, bias, more_bias, gate, residual; /* bias, gate: float; 0: none. more_bias is added to bias */
    int32_t y_type, residual_type;    /* CUDA_F32 | CUDA_BF16 */
    int32_t y_pitch, y_row, y_column, y_c, y_pad;
    int32_t residual_pitch, residual_row, residual_column;
    int32_t y_image[CUDA_GEMM_IMAGES], residual_image[CUDA_GEMM_IMAGES];
    int32_t sub[8], subs;
    uint32_t drop[CUDA_GEMM_IMAGES];
    int32_t batch;
    int64_t batch_a, batch_b, batch_y;
    float alpha; /* the sum is multiplied by it first (attention's scale; else 1) */
    int32_t stat_groups, stat_size; /* groups of a norm, their channels; 0: no moments */
    int32_t stat_image[CUDA_GEMM_IMAGES], stat_halves, stat_first; /* of a frame, with which this picture begins */
    int32_t unused;
    uint64_t moments;
} CudaGemm;

/* What the copy engine is told of a tensor: the driver's CUtensorMap. */
typedef struct CudaTensorMap {
#ifdef __cplusplus
    alignas(64)
#else
    _Alignas(64)
#endif
    uint64_t opaque[16];
} CudaTensorMap;

/*
 * The same product with tiles that are boxes, 2^box pixels wide, of A's pictures, fetched by the copy engine. Steps are those of
 * the pictures' rows and pixels: step_y = width, step_x = 1. a: [pictures][height][width][depth] bytes as they lie in memory,
 * which width, height and picture tell of here, in boxes of 128 bytes and the tile, with zeros for what lies outside a picture;
 * b: [n][taps * depth]. A frame is its picture << CUDA_BOX_ROW_BITS and a row of that; a tap its row << 16 and its pixel in that,
 * 16 bits with a sign each: those of margins are below 0.
 * halo_*: taps of a window are a rectangle of pixels, row by row, of one frame, and a's boxes are that much larger than the tile
 * that all of them find their pixels in one.
 */
enum { CUDA_BOX_ROW_BITS = 20 };
typedef struct CudaGemmBoxes {
    CudaTensorMap a[CUDA_GEMM_PARTS], b[CUDA_GEMM_PARTS];
    CudaGemm gemm;
    int32_t window_h[CUDA_GEMM_PARTS], window_w[CUDA_GEMM_PARTS]; /* halo_* */
    uint8_t unused[64 - (sizeof(CudaGemm) + 2 * CUDA_GEMM_PARTS * sizeof(int32_t)) % 64];
} CudaGemmBoxes;

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
 * Float weights to rows of a packed operand [n][taps][depth], by the function pack_<f32 | bf16 | i8 | e4m3>. Element (row, channel,
 * frame, tap within the frame) stands at from[row * row_step + channel * channel_step + frame * frame_step + tap *
 * tap_step], the oldest frame first; frames 0 .. merged are summed into the first. taps: of the operand, `frame_taps` a frame.
 * Channels ci .. depth - 1 become zero.
 * Row i becomes row r = first_row + i of the operand; with glu 16 * (r / 8) + r % 8 + 8 * (glu - 1), see CudaGemm.
 * i8: every tap of a row is quantized in blocks of 128 channels, each by its largest |w| = amax: scale = amax / 127,
 * q = rint(w * (127 / amax)) held to [-127, 127]; with amax < 2^-100 both are 0. kernels/cpu/int8.h is the definition.
 * pack_e4m3, of sm_120: kernels/cpu/fp8.h; pair: depth is a multiple of 64 and elements take two bytes. Blocks: rows.
 */
typedef struct CudaPack {
    uint64_t from, to, scale;
    int32_t rows, first_row, glu; /* glu: 1 and 2, the matrix that is activated and the one it is multiplied by; 0: none */
    int32_t ci, taps, frame_taps, merged;
    int32_t depth, blocks; /* blocks = ceil(depth / 128) */
    int32_t row_step, channel_step, frame_step, tap_step;
    int32_t pair;
    int32_t columns; /* i8: rows of the operand, for scale[taps][blocks][columns] */
    int32_t unused;
} CudaPack;

/* ------------------------------------------------------------------------------------------------- folded upsamplers */

/*
 * Nearest 2x and a 3x3 convolution, for output parity (p, q): to[n][slot][channel] is the sum of the taps of from
 * [n][mid][3][3] that fall on coarse pixel (slot / 2, slot % 2) of the four beneath. pitch: mid, padded with zeros.
 */
typedef struct CudaFoldSum {
    uint64_t from, to;
    int32_t n, mid, pitch, p, q;
    int32_t unused;
} CudaFoldSum;

/*
 * Weights of output parity (p, q) from the products of every tap of K with every sub-pixel's matrix of A, from[sub][n][27]
 * [pitch], sub (row * 2 + column) * rt + sub-frame: to[n][slot][pitch], slot (frame * 2 + row) * 2 + column of the coarse pixels
 * beneath, is the sum of what falls there. Kernel frame dt falls on coarse frame frame[dt] of those that are read, sub-frame
 * part[dt].
 */
typedef struct CudaFoldGather {
    uint64_t from, to;
    int64_t sub_step; /* elements */
    int32_t n, slots, pitch, p, q, rt;
    int32_t frame[3], part[3];
} CudaFoldGather;

/*
 * What the 1x1x1 convolution's bias adds where all, or some, of four coarse pixels lie inside the picture: one more part of the
 * product, of 16 bytes a row and pixel. fold_bias_<type> makes the rows: elements 0 .. 3 of row n are the sums over frames of
 * from[n][frame * 4 + element][column], elements 4 .. 7 what rounding took from them, in 1/127 for i8; f32 has the first
 * four alone. fold_inside_<type> makes the pixels, (h + 1) x (w + 1) of them: 1 where coarse pixel (y - 1 + element / 2, x - 1 +
 * element % 2) lies inside, and the weight of what rounding took behind it.
 */
typedef struct CudaFoldBias {
    uint64_t from, to, scale;
    int32_t n, frames, pitch, column;
} CudaFoldBias;

typedef struct CudaFoldInside {
    uint64_t to, scale;
    int32_t h, w;
} CudaFoldInside;

/* --------------------------------------------------------------------------------------------------------- producer */

enum { CUDA_FRAMES = 64 };
/* Norms, as enum Norm. */
enum { CUDA_NORM_NONE, CUDA_NORM_GROUP, CUDA_NORM_RMS, CUDA_NORM_LAYER, CUDA_NORM_L2 };

/*
 * pre(x) of t frames into padded frames: norm, gain and shift, activation, conversion. Pixel (t, h, w) goes to pixel
 * to_frame[t] + h * to_row + w of `to`. Channels c .. to_pad - 1 are zeroed. x and to may begin, and to_pad end, at any
 * multiple of 4 channels; with int8 to_pad is a multiple of 16.
 * int8: each pixel's blocks of 128 channels get a scale as CudaPack's. e4m3, by the function pre_fp8 of sm_120: as
 * kernels/cpu/fp8.h says, to_scale 0: all are 1; with pairs to_pad is a multiple of 64. blocks: words of scales of a pixel.
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
    int32_t unused;
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

enum { CUDA_HALF_H = 4, CUDA_PATCH_W = 16 };

/*
 * Moments of halves of patches of 8 x 16 pixels by group: moments[t][group][patch][half] = (mean, sum of squared distances) as
 * doubles, the upper half first; nothing for halves without pixels. A block of 128 threads takes one half (x) of one frame (z)
 * and `slab` channels (y), whole groups. Dynamic shared memory: stats_shared bytes.
 */
typedef struct CudaHalves {
    uint64_t x, moments;
    int32_t type, pitch, frame, row; /* of x: elements a pixel, pixels from frame to frame and row to row */
    int32_t h, w, c, groups, slab;
    int32_t unused;
} CudaHalves;

/* Moments of all halves to stats[t][2 * groups], rows `pitch` floats apart and filled up with zeros. Blocks of 128 threads: x
 * groups, y frames. */
typedef struct CudaMoments {
    uint64_t moments, stats;
    int32_t h, w, groups, size, pitch; /* size: channels of a group */
    int32_t unused;
} CudaMoments;

/* ------------------------------------------------------------------------------------------------------ elementwise (PTX) */

/* Element (t, h, w, c) of a tensor of floats or bf16: at + t * stride_t + h * stride_h + w * pitch + c. kernels/ptx reads the
 * structs below by the offsets that runtime/cuda/dev_rows.c asserts. Blocks: x along a row of pixels, y rows, z frames. */
typedef struct CudaView {
    uint64_t at;
    uint32_t stride_t, stride_h, pitch;
    int32_t type;
} CudaView;

/* y = a * x + b * z, z.at 0: a * x + b, for channels below c; channels c .. 4 * quads - 1 become zero. */
typedef struct CudaAxpby {
    CudaView y, x, z;
    float a, b;
    int32_t w, c, quads;
    int32_t unused;
} CudaAxpby;

/* Pixel i of y, counted through rows and frames, is pixel index[i] of x [..][x_h][x_w]: 4 * quads channels. */
typedef struct CudaRows {
    CudaView y, x;
    uint64_t index;
    int32_t w, h, quads, x_w, x_h;
    int32_t unused;
} CudaRows;

/* RotateArgs; pairs of all heads, and of one; floats of a row of the table and of a token of place. */
typedef struct CudaRotate {
    CudaView x;
    uint64_t table, place;
    int32_t first[4];
    int32_t w, h, pairs, head, table_row, place_row;
} CudaRotate;

/* to[ch] = emb[(ch * 2 + layer) * 3 + part] + extra[ch]; channels c .. pad - 1 become zero. extra may be 0. */
typedef struct CudaModulation {
    uint64_t to, emb, extra;
    int32_t c, pad, layer, part;
} CudaModulation;

/* to[ch] = table[ch] + (add + emb[ch]); emb and table may be 0. */
typedef struct CudaModulationRow {
    uint64_t to, emb, table;
    float add;
    int32_t c, pad;
    int32_t unused;
} CudaModulationRow;

/* v = n + guidance * (v - n), then with rescale != 0 times rescale * deviation(v) / deviation(result) + 1 - rescale. */
typedef struct CudaGuide {
    CudaView v, n;
    float guidance, rescale;
    int32_t w, c;
} CudaGuide;

/* Planes of floats [count][..][w], `plane` and `row` elements apart, and one frame of pixels: PlaneCells and PlaneWeights. */
typedef struct CudaPlanes {
    CudaView pixels;
    uint64_t planes;
    uint32_t plane, row;
    int32_t count, w, pixel_h, pixel_w;
    uint64_t rows, columns, total; /* 0: no weights; 0: no total */
    uint32_t total_row;
    int32_t side, step, first;
} CudaPlanes;

/* ---------------------------------------------------------------------------------------------------------- pictures */

/* Normals by position into pixels of floats, 4 * quads channels each, the first c of them noise: NoiseArgs. */
typedef struct CudaNoise {
    CudaView to;
    uint64_t seed;
    uint32_t stream, frame, frame_step, top, left, w, quads;
    int32_t c;
} CudaNoise;

/* Planes of a picture, `row` floats from row to row: input_noise with share = scale / 2, keep = 1 - share. */
typedef struct CudaNoiseOver {
    uint64_t planes, plane, seed; /* plane: floats from plane to plane */
    uint32_t stream, frame, row, w;
    float keep, share;
} CudaNoiseOver;

/* An axis: ResizeAxis. Planes lie one after another; rows of `from` are from_row floats, those of `to` to_w and to_row. */
typedef struct CudaResizeWidth {
    uint64_t from, to, first, weight;
    int32_t taps, from_row, to_w, rows; /* rows: of all planes */
} CudaResizeWidth;

typedef struct CudaResizeHeight {
    uint64_t from, to, first, weight;
    int32_t taps, from_row, from_h;
    int32_t top, left, window_h, window_w; /* of the resized picture */
    int32_t to_w, to_h, to_row, is_signed, pad_edge;
} CudaResizeHeight;

/* A level of the wavelet method over planes of one shape: from `from`, 0 for style - content, to `to`; the last adds the content.
 * strength: of mixing. */
typedef struct CudaWavelet {
    uint64_t content, style, from, to;
    uint32_t plane, row;
    int32_t w, h, reach, last;
    float strength;
    int32_t unused;
} CudaWavelet;

/* Content and style of one shape; of their rows the sums of values and of squares, double2 [2][planes][h]; moments float2
 * [2][planes]. count: values of a plane. */
typedef struct CudaAdain {
    uint64_t content, style, rows, moments;
    uint32_t plane, row;
    int32_t w, h, clamped, unused;
    double count, divisor; /* divisor: of squares */
} CudaAdain;

/* Planes of frames and their L, a, b: arrays of `all` values. color_to_lab: the style's three, then the content's. */
typedef struct CudaLab {
    uint64_t planes, style, lab, all;
    uint32_t plane, row, w;
    int32_t unused;
} CudaLab;

enum { CUDA_RANK_TILE = 4096 }; /* keys of a block */

/*
 * One pass of sorts of several arrays of n: array a of keys, or at first of floats, at from + a * from_step goes to
 * to + a * to_step, in values; places_only: it does not. Beside it go the places in the first order, of all arrays but the first
 * `plain`: from `where` (at first they are as they stand) to to_where, n from array to array. counts [array][256][tiles]; totals
 * and starts [array][256], starts (0: not wanted): where digits begin.
 * rank_match has the values of rank in to_where's stead: `reference`, keys in order, to_step from array to array. keep: of the
 * first array's own values; the others keep nothing.
 */
typedef struct CudaRank {
    uint64_t from, to, where, to_where, counts, totals, starts, reference;
    uint64_t from_step, to_step;
    uint32_t n, tiles, shift, plain;
    int32_t at_first, places_only;
    float keep;
    int32_t unused;
} CudaRank;

enum { CUDA_HUES = 12, CUDA_NO_HUE = 255 }; /* bins of hue */

/* Planes of frames: their saturations and bins of hue as floats and bytes without gaps, and planes made of them. hsv_split: the
 * style's, then those of `planes`. */
typedef struct CudaHsv {
    uint64_t planes, style, saturations, bins, to;
    uint32_t plane, row, w;
    int32_t unused;
} CudaHsv;

/* Keys for a pass of a sort: the bins of the pixels at `where`; bin 0 alone, or all others. Arrays of n. */
typedef struct CudaHueKeys {
    uint64_t bins, where, keys;
    uint32_t n;
    int32_t first;
} CudaHueKeys;

/* Pixels in the order of their bins, and by saturation in each; the style's pixels as well. to and style: saturations. */
typedef struct CudaHueMatch {
    uint64_t keys, where, starts, to;
    uint64_t style_where, style_starts, style;
    uint32_t n;
    int32_t unused;
} CudaHueMatch;

/* Pictures of one shape; the result takes the content's place. */
typedef struct CudaAdaptive {
    uint64_t content, style, wavelet, hsv;
    uint32_t plane, row, w;
    int32_t unused;
} CudaAdaptive;

/* Interleaved codes of 1 byte, or 2 with `wide`, and planes: kernels/cpu/quantize.h. kernels/ptx/codes.ptx knows the offsets. */
typedef struct CudaCodes {
    uint64_t codes, rgb, alpha; /* alpha 0: none */
    uint64_t seed;
    uint32_t plane, row;        /* floats from plane to plane of rgb, and from row to row */
    uint32_t w, code_row;       /* pixels of a row; bytes from row to row */
    uint32_t channels, wide;
    uint32_t frame;
    uint32_t flags;             /* 1: planes are signed; 2: noise before rounding */
    uint32_t top;               /* the largest code */
    uint32_t unused;
} CudaCodes;

/* --------------------------------------------------------------------------------------------------------- attention */

enum { CUDA_FLASH_ROWS = 64, CUDA_KEY_SLICES = 16 }; /* queries of a block of threads; addresses of keys */
enum { CUDA_FLASH8_DEPTH = 128, CUDA_FLASH8_ROWS = 128, CUDA_FLASH8_THREADS = 384 };

/* Tokens of a grid: channel c of head n of token (t, h, w) at (t * frame + h * row + w) * pitch + n * head_dim + c. */
typedef struct CudaTokens {
    uint64_t at;
    int32_t type, pitch, row, frame; /* pitch: elements from token to token; row, frame: tokens */
} CudaTokens;

/* A window of the grid: `own` tokens, tall x wide of them a frame, from token (t, h, w) on. */
typedef struct CudaWindow {
    int32_t t, h, w, tall, wide, own;
    int32_t rope_t, rope_h, rope_w; /* rows of the rotary table where its axes start */
    int32_t first;                  /* row of the packed operands where it starts */
} CudaWindow;

/*
 * Rows of windows, and of the text behind each window's own, to packed operands [heads][rows][depth]: RMS norm with gain over
 * head_dim channels, rotation of adjacent pairs, conversion, zeros in channels head_dim .. depth - 1. Rows of text are left out
 * where there is no text source. Grid: x; part (0 q, 1 k, 2 v; a destination of 0 is left out); windows.
 *     attention_gather       anything. x: (row, head) pairs, `lanes` of 256 threads each
 *     attention_gather_bf16  rows whose source is bf16, heads of 128 channels to bf16. x: rows of a window, of its text alone
 *                            where its own tokens are of another type. 32 threads
 *     attention_gather_f32   the same of sources of floats
 * q_scale, on sm_120, for the last two: q becomes int8, a float of scale for each row of each head, as CudaFlash8 has it.
 */
typedef struct CudaGather {
    CudaTokens from[3], text[3];
    uint64_t to[3], gain[3], text_gain[3]; /* gain: float [head_dim]; 0: no norm */
    uint64_t windows, rope;                /* rope: float [rows][3 axes' pairs / 3][2] (cos, sin); 0: no rotation */
    uint64_t q_scale;                      /* 0: q is of to_type */
    int64_t to_head;                       /* elements from head to head of the operands */
    int32_t to_type, depth, lanes;         /* lanes: threads of a row, 8 or 32, not more than depth / 4 */
    int32_t heads, first_head, head_dim;   /* heads first_head .. are gathered */
    int32_t text_rows, rope_pairs, rope_text;
    float eps;
} CudaGather;

/*
 * o = softmax(q k^T * scale) v, CUDA_FLASH_ROWS queries a block; operands are rows of `depth` elements: row r of head n at
 * r * pitch + n * head. Grid: blocks of queries; windows (or query blocks); heads, so that one head's keys stay near.
 * By windows: rows own + text_queries from `first` on ask own + text_keys keys from there on; results go to the window's
 * tokens of `o`, those of the text to text_o, float [windows][heads][text_queries][depth].
 * By query blocks (windows 0): block y is row y % q_rows, frame y / q_rows of q's and o's grid, `queries` tokens; its keys are
 * those of the key blocks that its row of the mask chooses, all without a mask. Key block b lies in slice b / slice_blocks,
 * from row (b % slice_blocks) * block_keys on.
 */
typedef struct CudaFlash {
    uint64_t q, k[CUDA_KEY_SLICES], v[CUDA_KEY_SLICES];
    CudaTokens o;
    uint64_t text_o, windows, mask; /* mask: bytes [heads][query blocks][blocks]; 0: all */
    int64_t q_head, kv_head;
    int32_t q_pitch, kv_pitch;
    int32_t q_row, q_frame;         /* rows of q between the query blocks of a frame, between frames */
    int32_t q_rows, queries;        /* query blocks of a frame; queries of one */
    int32_t text_keys, text_queries;
    int32_t blocks, slice_blocks, block_keys;
    int32_t first_head, head_dim;   /* head z of the grid is head first_head + z of o and of the mask */
    float scale, last_bias;         /* last_bias, divided by scale: added to the very last key's product */
    int32_t unused;
} CudaFlash;

/*
 * The same in 8 bits, for heads of 128 channels: kernels/cpu/attention8.h is the definition. Queries are rows of 128 bytes,
 * [heads][q_rows][128], with a word of scale each: int8 with a float, or, with fp8, e4m3 with a byte for every 32 channels.
 * Keys and values lie in tiles of 64, [heads][head_tiles][FLASH8_TILE_BYTES]: kernels/cuda/layout.h.
 *
 * What makes them of bf16, whose row r of head n stands at r * pitch + n * head. Window y of `windows` has own + text_keys keys
 * from row `first` on, which begin with tile first / 64 + y. Without windows there are `keys` of them, from row 0 on, which begin
 * with tile first_tile.
 *     flash8_sums     of 64 keys: sums [heads][head_tiles][128]. Grid: tiles; windows; heads. 128 threads
 *     flash8_means    of all keys: means [heads][windows][128]. Grid: 1; windows; heads. 128 threads
 *     flash8_keys     tiles, the means taken from the keys. Grid: tiles; windows; heads. 256 threads
 *     flash8_queries  rows of a window, own + text_queries, or q_rows. Grid: 32 rows; windows; heads. 256 threads
 */
typedef struct CudaFlash8Pack {
    uint64_t q, k, v;
    uint64_t to_q, q_scale, tiles, sums, means;
    uint64_t windows;
    int64_t q_head, kv_head;
    int32_t q_pitch, kv_pitch;
    int32_t q_rows, keys, text_keys, text_queries;
    int32_t head_tiles, first_tile;
    int32_t fp8;
    int32_t unused;
} CudaFlash8Pack;

/*
 * CudaFlash's product by the functions flash_i8 and flash_e4m3 of attention8.cu, CUDA_FLASH8_ROWS queries a block of
 * CUDA_FLASH8_THREADS threads. By windows as there; by query blocks, block y has rows y * queries .. of q. Its keys are `keys`
 * from tile 0 on, or, with a mask, the blocks of block_tiles whole tiles that it chooses. Dynamic shared memory:
 * FLASH8_SHARED_BYTES.
 */
typedef struct CudaFlash8 {
    uint64_t q, q_scale, tiles;
    CudaTokens o;
    uint64_t text_o, windows, mask;
    int32_t q_all, head_tiles; /* rows of q, and tiles, of a head */
    int32_t q_rows, queries;   /* query blocks of a frame of o; queries of one */
    int32_t text_keys, text_queries;
    int32_t keys, blocks, block_tiles;
    int32_t first_head, head_dim;
    float scale, last_bias;    /* as CudaFlash's */
    int32_t unused;
} CudaFlash8;

/*
 * Means over blocks of `tokens` tokens of windows: sums in order, then one division. Channel c of head n of block b of this
 * launch goes to (n * to_head + c * to_channel + (first + b) * to_block) floats. Grid: channels by 128; blocks of a frame,
 * per_window in each of its windows; frames.
 */
typedef struct CudaMeans {
    CudaTokens x; /* row: from window to window */
    uint64_t to;
    int64_t to_head;
    int32_t to_channel, to_block, first;
    int32_t channels, head_dim, per_window, tokens;
    int32_t unused;
} CudaMeans;

/*
 * Block masks of FlashVSR: see kernels/cpu/block_attention.h. q: means [heads][queries][head_dim]; k: [heads][head_dim]
 * [blocks]; p: probabilities [heads here][queries][blocks]; mask: bytes [heads][queries][blocks]. queries = slices * windows.
 */
typedef struct CudaBlockMask {
    uint64_t q, k, p, mask;
    int64_t keep;
    int32_t first_head, head_dim, slices, windows, columns, blocks, slice_blocks, per_window, local_range;
    float root; /* of head_dim */
} CudaBlockMask;

/* Results of the text of `windows` windows, as above, times share, added to sum, float [rows][heads * head_dim], window by
 * window; with `begin` the sum starts at zero, with `end` it is written to o. */
typedef struct CudaTextMean {
    uint64_t from, sum;
    CudaTokens o;
    int32_t windows, heads, first_head, rows, head_dim, depth; /* heads: of `from` */
    int32_t all_heads, begin, end;
    float share;
} CudaTextMean;

/* Zeros in words of two bytes first .. last - 1 of `tokens` tokens of a grid of tall x wide a frame; o.pitch in such words. */
typedef struct CudaPads {
    CudaTokens o;
    int32_t tokens, tall, wide, first, last;
    int32_t unused;
} CudaPads;

/* Softmax of rows of `keys` floats, `pitch` floats apart, in place; a bf16 result fills the first half of its row. Elements
 * keys .. pad - 1 become zero. */
typedef struct CudaSoftmax {
    uint64_t at;
    int32_t rows, keys, pad, pitch, to_type;
    int32_t unused;
} CudaSoftmax;

/* Operand [rows][depth] to [depth][pitch]; columns rows .. pitch - 1 become zero. */
typedef struct CudaTranspose {
    uint64_t from, to;
    int32_t type, rows, depth, pitch;
} CudaTranspose;

/* Results, float [rows][depth], of rows first .. of a window to its tokens of o, those of the text to text_o, float
 * [text][depth]. */
typedef struct CudaScatter {
    uint64_t from, text_o;
    CudaTokens o;
    CudaWindow window;
    int32_t first, rows, depth, head, head_dim;
    int32_t unused;
} CudaScatter;

#if defined(__GNUC__) && !defined(__CUDACC_RTC__)
#pragma GCC diagnostic pop
#endif

#endif
