/*
 * Device operations: the joint between networks (runtime/models) and arithmetic (kernels).
 *
 * A network is straight-line code over the operations below. Each has a plain C meaning, given here and in
 * kernels/cpu/<op>.c; a device fills the table DevOps without holes and may fuse what `pre` and `post` name, or do the
 * steps in turn. Two devices compute, `cpu` and `cuda`; a plan is either of them with its memory and arithmetic left out:
 * it runs the same network code and adds up bytes, operations and peak memory.
 *
 * Activations are [t][h][w][c], c innermost, each pixel padded with zeros to a multiple of 16 bytes. Tokens are t = h = 1.
 * Precision is the device's affair: a network names the stage of its work, never a type. The CPU is float32 throughout.
 *
 * Memory is one arena. dev_tensor/dev_free give out offsets in the same order on every device, so the peak that a plan
 * finds is exactly what the run needs. Nothing is allocated while an operation runs.
 *
 * Errors latch: after the first failure every operation returns at once; look at dev_ok() where it matters.
 * One Dev belongs to one thread at a time; operations use the device's own thread pool inside.
 *
 * Order of sums: fixed by the operation, never by threads or vector width. Norm statistics are per patch of 8 x 16
 * pixels (its upper half, then its lower), patches in raster order, frames apart, merged as (n, mean, M2) in double.
 */
#ifndef UPRES_RUNTIME_DEV_H
#define UPRES_RUNTIME_DEV_H

#include "kernels/cpu/color.h"
#include "loader/weights.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct Dev Dev;

/* ---------------------------------------------------------------------------------------------------------- tensors */

/* The 8-bit floats are kernels/cpu/fp8.h's; they and I8 are operands of products alone. */
typedef enum Element { ELEMENT_F32, ELEMENT_BF16, ELEMENT_I8, ELEMENT_E4M3, ELEMENT_E4M3_PAIR, ELEMENT_U8 } Element;
int element_bytes(Element type);

/* A view of arena memory. at: byte offset of element 0; strides in elements. c_pad: elements from pixel to pixel of w. */
typedef struct Tensor {
    uint64_t at;
    int32_t t, h, w, c;
    int64_t stride_t, stride_h;
    int32_t c_pad;
    uint8_t type; /* Element */
    bool valid;
} Tensor;

/* Uninitialised; channels beyond c are the writer's to zero. Activations, in the type the device keeps them in: */
Tensor dev_tensor(Dev *d, int t, int h, int w, int c);
/* float32 on every device: statistics, vectors, latents and pictures, whatever must not be rounded on its way. */
Tensor dev_floats(Dev *d, int t, int h, int w, int c);
Tensor dev_lasting_floats(Dev *d, int t, int h, int w, int c); /* the same for what outlives the work around it */
Tensor dev_bytes(Dev *d, int64_t count); /* [1][1][1][count] of ELEMENT_U8 */
void dev_free(Dev *d, Tensor *x);                      /* any order; x becomes invalid; invalid is allowed */
Tensor tensor_frames(Tensor x, int first, int count);  /* frames first .. first + count - 1 of x */
Tensor tensor_channels(Tensor x, int first, int count); /* channels; first a multiple of 4 */
Tensor tensor_rows(Tensor x, int first, int count);   /* rows counted through all frames, as one frame */

/*
 * Host access, for what enters and leaves the networks: floats laid out as the tensor's elements are (strides and padding
 * alike), whatever its type. NULL on a plan and after a failure.
 * dev_read waits for the work before it; what it gives lives until dev_read_end. What is filled into dev_write's memory
 * (everything: it begins undefined) reaches the tensor with dev_write_end, in order with the operations around it.
 */
const float *dev_read(Dev *d, Tensor x);
void dev_read_end(Dev *d, const float *values);
float *dev_write(Dev *d, Tensor x);
void dev_write_end(Dev *d, Tensor x, float *values);
/* The first rows of a text embedding: [1][1][rows][width]. */
Tensor dev_text(Dev *d, const WeightPart *text, int rows);

/* ---------------------------------------------------------------------------------------------------------- devices */

/* Device memory for weights, beside the arena: what a plan finds out about those it met. Bytes. */
typedef struct WeightNeed {
    uint64_t all;       /* of all of them, as they are kept there */
    uint64_t operation; /* the most that one operation reads */
    uint64_t upload;    /* of each of the buffers they pass through */
} WeightNeed;

typedef struct DevTotals {
    uint64_t arena_peak;   /* bytes */
    uint64_t weight_bytes; /* distinct stored weight bytes touched */
    uint64_t device_weight_bytes; /* cuda: device memory held for weights, their uploads included */
    WeightNeed weights;    /* cuda */
    double flop;           /* 2 per multiply-add of convolutions, linears, attention */
    uint64_t operations;
    unsigned kernels_cached, kernels_compiled, kernels_built_in; /* cuda: as CudaKernelCounts */
    const char *kernels_origin; /* cuda: where they come from, for people; until the device is closed. NULL: none were loaded */
} DevTotals;

/*
 * How numbers are kept and multiplied. INT8: products of wide layers in blocks of 128 channels, all else as BF16. On sm_120
 * alone: FP8, wide layers in 8-bit floats, the widest convolutions as INT8; FP8X3, wide layers in pairs of 8-bit floats. AUTO: by
 * network, as runtime/cuda/policy.h says.
 */
typedef enum DevPrecision { DEV_FP32, DEV_BF16, DEV_INT8, DEV_FP8, DEV_FP8X3, DEV_AUTO } DevPrecision;

struct CudaDevice; /* runtime/cuda/driver.h */

/* Which device, and how it computes. */
typedef struct DevSetup {
    int threads;                   /* cpu; 0: all cores */
    const char *cpu_set;           /* cpu: "scalar", "avx2", "avx512", one this machine has; NULL: the fastest */
    const struct CudaDevice *cuda; /* NULL: the CPU. Need not exist for a plan; outlives the device */
    DevPrecision precision;        /* the CPU: DEV_FP32 alone */
    int band_pixels;               /* cuda: for tests, the least a band of a thrifty history has; 0: what keeps a GPU busy */
    bool few_too;                  /* cuda: also pictures of a handful of pixels in that precision, else in float32, and attention
                                      of few keys: for tests */
    uint64_t sort_keys;            /* cuda: for tests, how many values of pictures are sorted together; 0: as many as usual */
    bool fp8_scores;               /* cuda, DEV_FP8: attention's scores of e4m3, too, which are less exact than those of int8 at the
                                      same rate */
    WeightNeed weights;            /* cuda: as a plan found, so that their memory is taken when the device is opened; all zero:
                                      as weights are met */
    bool may_spill;                /* cuda: memory beyond the card's own may be the host's, without a word: it is looked at */
    uint64_t weight_limit;         /* with weights: bytes for them, 0 for as many as they take. What does not fit is uploaded
                                      again whenever it is met */
} DevSetup;

/* arena_bytes: the size a plan found. NULL and a sentence when the memory cannot be had or the device cannot be opened. */
Dev *dev_open(const DevSetup *s, uint64_t arena_bytes, char *error, size_t error_size);
/* The same. *no_memory: it was memory of the device that could not be had, so that less may do. */
Dev *dev_try(const DevSetup *s, uint64_t arena_bytes, bool *no_memory, char *error, size_t error_size);
Dev *dev_plan_open(const DevSetup *s); /* plans what dev_open would do */
void dev_close(Dev *d);

bool dev_is_plan(const Dev *d);
bool dev_works_aside(const Dev *d); /* also of a plan: work that was given out goes on while the host does other things */
bool dev_ok(const Dev *d);
const char *dev_error(const Dev *d);                 /* sentence of the first failure, "" without one */
bool dev_no_memory(const Dev *d);                    /* that failure was one of the device's memory */
void dev_fail(Dev *d, const char *format, ...);      /* latch a failure (networks: non-finite weights and the like) */
DevTotals dev_totals(const Dev *d);
/* Around much work given out by one thread: what makes a device usable there is done once for all of it. Neither is needed. A leave
 * for each enter, on the same thread, before the device is closed; of several devices what is entered last is left first. */
void dev_enter(Dev *d);
void dev_leave(Dev *d);
void dev_wait(Dev *d);                               /* until all enqueued work is done; faults of it latch */
/* Seconds that the work enqueued between the two takes; the end waits for it, as dev_wait. On a GPU by its own clock, from when it
 * is handed the first of it. 0 on a plan and after a failure. */
void dev_time_begin(Dev *d);
double dev_time_end(Dev *d);
void dev_phase(Dev *d);                              /* the arena must be empty again: a check between phases */
/* The next phase, whose weights are that group, works in so many bytes. What it leaves of a GPU's memory, weights may have. */
void dev_phase_begin(Dev *d, int group, uint64_t arena_bytes);
/* Weights met from here on belong to that group (0 .. 3, 0 at first). While one is at work, the others make room where
 * not all weights can be kept. */
void dev_weight_group(Dev *d, int group);
const char *dev_describe(const Dev *d);              /* "cpu avx512, 2 threads, precision fp32" */
/* nonzero from the callback makes the next operation fail with "cancelled" (dev_cancelled). */
void dev_set_cancel(Dev *d, int (*cancel)(void *user), void *user);
bool dev_cancelled(const Dev *d);
bool dev_damaged(const Dev *d);                      /* its failure was a weight that holds no number */

/* --------------------------------------------------------------------------------------------------------- arguments */

/*
 * Stages: keys of the precision policy. A network numbers its own from one of these bases on; the first two, where values
 * enter it and leave it, are never made of 8 bits.
 */
enum {
    STAGES_VAE_DECODER = 0x000,
    STAGES_DIT = 0x100,
    STAGES_FLASH_DIT = 0x200,
    STAGES_LQ = 0x300,
    STAGES_TCDECODER = 0x400,
    STAGES_WAN = 0x500,
    STAGES_VAE_ENCODER = 0x600
};

typedef enum Norm {
    NORM_NONE,
    NORM_GROUP, /* per frame, over c / groups channels and all pixels */
    NORM_RMS,   /* per pixel over c: x / sqrt(mean(x^2) + eps) */
    NORM_LAYER, /* per pixel over c: (x - mean) / sqrt(variance + eps), biased */
    NORM_L2     /* per pixel over c: x / max(|x|, 1e-12) * sqrt(c); eps is not used */
} Norm;
typedef enum Act { ACT_NONE, ACT_SILU, ACT_GELU_TANH, ACT_RELU, ACT_TANH3 /* 3 tanh(x / 3) */ } Act;

/* What happens to an operation's input while it is read: y = act(norm(x) * gain + shift). */
typedef struct Pre {
    Norm norm;
    int groups;              /* NORM_GROUP: per frame, over (c / groups) channels and all pixels, biased variance */
    float eps;               /* inside the root */
    Tensor stats;            /* NORM_GROUP: [t][1][1][2 * groups] (mean, variance) from post.stats or dev_stats */
    const BoundWeight *gamma, *beta; /* [c]; NULL: 1 and 0. NORM_RMS, NORM_L2: gamma only */
    Tensor scale, shift;     /* per channel [1][1][1][c], applied after the norm: x * scale + shift; invalid: none */
    Act act;
} Pre;

/* What happens to its result before it is stored: y = (acc + bias) [act] [* gate] + residual. */
typedef struct Post {
    Act act;
    Tensor gate;             /* per channel; invalid: none */
    Tensor residual;         /* shape of y (may be y's own memory); invalid: none */
    const BoundWeight *shortcut, *shortcut_bias; /* 1x1x1 convolution of shortcut_x added to the accumulator */
    Tensor shortcut_x;
    int shuffle_space, shuffle_time; /* sub-pixel shuffle by 1 | 2 and 1 .. 4: channel ((dy*2+dx)*rt+dt)*c + ch of coarse
                                        (f,h,w) goes to channel ch of fine (f*rt+dt, 2h+dy, 2w+dx), at most 8 parts; 0: none */
    bool shuffle_drop;       /* at the start of a video: fine frame 1 is left out, so F coarse frames give 2F - 1 */
    Tensor stats;            /* [t][1][1][2 * stats_groups] of what was stored; invalid: not wanted */
    int stats_groups;
} Post;

/* The last input frames of a causal convolution (after `pre`), kept from call to call. Lives in the arena. */
typedef struct ConvState ConvState;

typedef struct ConvArgs {
    int stage;               /* key of the precision policy */
    Tensor x, y;             /* y may be x's memory where there is a history, into which x goes before */
    const BoundWeight *weight; /* [co][ci][kt][kh][kw] */
    bool weight_channels_last; /* stored [co][kh][kw][ci] instead (patch embeddings of linear layers), kt = 1 */
    bool weight_frames_in_channels; /* stored [co][kt * ci][kh][kw] instead, channels of the newest frame first */
    const BoundWeight *bias; /* [co] or NULL */
    int kt, kh, kw;          /* kt <= 4, kt * kh * kw <= 36 */
    int stride_t, stride_h, stride_w;
    int pad_top, pad_left, pad_bottom, pad_right;
    bool pad_edge;           /* what pads is the nearest pixel, not zero */
    ConvState *state;        /* history; must be NULL for kt == 1 and with `whole` */
    bool whole;              /* x holds all frames there are: no history, (t - kt) / stride_t + 1 come out */
    bool start;              /* first call of a video */
    bool start_zero;         /* what stands in front of a video is zeros, not copies of its first frame */
    Pre pre;
    Post post;
} ConvArgs;

/* y = convolution of pre(x). In time causal: in front stand kt - 1 copies of the first frame (or zeros), later the
 * kt - stride_t remembered frames; nothing is put behind. Output frames (t + front - kt) / stride_t + 1. Cross-correlation. */
void dev_conv3d(Dev *d, const ConvArgs *a);
int conv_frames_out(const ConvArgs *a, int frames_in);

/* State for at most `frames` new frames a call, of the shape a.x has. dev_state_free is allowed on NULL. */
ConvState *dev_conv_state(Dev *d, const ConvArgs *a, int frames);
/* The same in less memory, for convolutions of stride 1 in time and space: frames are worked off one by one, and a GPU lets wide
 * ones take over the place of those they displace, some rows at a time. */
ConvState *dev_conv_state_thrifty(Dev *d, const ConvArgs *a);
void dev_state_free(Dev *d, ConvState *s);
/* The remembered frames, oldest first, unpadded channels: [kt - stride_t][h + pads][w + pads][c] floats. Not
 * of 8 bits. For tests. */
int dev_state_read(Dev *d, const ConvState *s, float *out, int *h, int *w, int *c);

/*
 * A sub-pixel upsampler (1x1x1 convolution to r * C channels, shuffle, causal 3x3x3 convolution) folded into one
 * operation over the coarse frames (VAE spec 10.1): exact but for rounding. rt: 2 time and space, 1 space only.
 */
typedef struct FoldedUpsampler FoldedUpsampler;
FoldedUpsampler *dev_fold(Dev *d, int stage, const BoundWeight *up, const BoundWeight *up_bias, const BoundWeight *conv,
                          const BoundWeight *conv_bias, int rt); /* computes the weights; lives in the arena */
void dev_fold_free(Dev *d, FoldedUpsampler *f);

/* Nearest 2x in space and a 3x3 convolution [co][c][3][3] (bias or NULL) folded into four 2x2 ones; grow, when not NULL, is
 * a 1x1 convolution [frames * c][c] before it, whose blocks of c channels are successive new frames (frames 1 .. 2). */
FoldedUpsampler *dev_fold_nearest(Dev *d, int stage, const BoundWeight *grow, int frames, const BoundWeight *conv,
                                  const BoundWeight *bias);

/* rt 2 and one coarse frame: all it gives, or one of the two at a time. The second follows the first, before any other call. */
typedef enum UpsamplePart { UPSAMPLE_ALL, UPSAMPLE_FIRST, UPSAMPLE_SECOND } UpsamplePart;

typedef struct UpsampleArgs {
    int stage;
    Tensor x, y;             /* y: rt * t frames (at the start rt * t - (rt - 1)), 2h x 2w; of a part one */
    const FoldedUpsampler *weight;
    ConvState *state;        /* dev_fold_state; NULL for dev_fold_nearest, which remembers nothing */
    bool start;
    UpsamplePart part;
    Post post;               /* act, stats */
} UpsampleArgs;
void dev_upsample(Dev *d, const UpsampleArgs *a);
ConvState *dev_fold_state(Dev *d, const FoldedUpsampler *f, Tensor x_shape, int frames);

/* y[n][co] = pre(x)[n][ci] . w^T; glu: y = act(x . weight^T) * (x . glu^T). */
typedef struct LinearArgs {
    int stage;
    Tensor x, y;
    const BoundWeight *weight, *glu, *bias;
    Pre pre;
    Post post;
} LinearArgs;
void dev_linear(Dev *d, const LinearArgs *a);

/* y = pre(x): for inputs with several readers. y may be x. */
typedef struct NormArgs {
    int stage;
    Tensor x, y;
    Pre pre;
} NormArgs;
void dev_norm(Dev *d, const NormArgs *a);

/* stats [t][1][1][2 * groups]: mean and variance of every frame and group of x. */
typedef struct StatsArgs {
    Tensor x, stats;
    int groups;
} StatsArgs;
void dev_stats(Dev *d, const StatsArgs *a);

/* One attention window: a box of the token grid, and the rows of the rotary table its axes start at. */
typedef struct AttentionWindow {
    int32_t t0, t1, h0, h1, w0, w1; /* end exclusive */
    int32_t rope_t, rope_h, rope_w; /* table row of local coordinate 0 on each axis */
} AttentionWindow;

/*
 * softmax(q k^T * scale) v within windows of the grid x.t x x.h x x.w. A second stream (text) is seen by every window:
 * its keys follow the window's own; its queries run in every window and their results are averaged over windows, each
 * counting 1. Before that q and k are RMS-normalised per head with a gain and rotated in adjacent pairs.
 * q, k, v, o rows are tokens of heads * head_dim channels; q/k/v are channel views of one packed tensor if liked.
 */
typedef struct AttentionArgs {
    int stage;
    Tensor q, k, v, o;                     /* [t][h][w][heads * head_dim] */
    Tensor text_q, text_k, text_v, text_o; /* [1][1][L][...]; invalid: no second stream; text_o invalid: not wanted */
    int heads, head_dim;
    float scale, eps;
    const BoundWeight *q_gain, *k_gain, *text_q_gain, *text_k_gain; /* [head_dim]; NULL: no norm */
    const AttentionWindow *windows;        /* host memory, kept until the device is idle */
    int window_count;
    const float *rope;                     /* [rows][rope_pairs][2] (cos, sin), host memory; NULL: no rotation */
    int rope_rows, rope_pairs;             /* pairs per axis: channels 2j, 2j+1 for j < 3 * rope_pairs, axis by axis */
    bool rope_text;                        /* text token j rotates by row j on all three axes */
} AttentionArgs;
void dev_attention(Dev *d, const AttentionArgs *a);

/* Keys and values of a slice of tokens: [1][windows][tokens][heads * head_dim]. */
typedef struct KeySlice {
    Tensor k, v;
} KeySlice;

/*
 * Block-sparse attention: softmax(q k^T * scale) v, each query block (one window of one slice, all its tokens) over its own
 * choice of key blocks. Key blocks are numbered slice by slice, window by window, block_keys keys each. A query block with
 * none gives zeros.
 */
typedef struct BlockAttentionArgs {
    int stage;
    Tensor q, o;             /* [slices][windows][tokens][heads * head_dim]; o may be q */
    const KeySlice *keys;    /* oldest first */
    int key_slices;
    int heads, head_dim, block_keys; /* block_keys: a divisor of the keys' tokens */
    float scale;
    Tensor mask;             /* dev_bytes, [heads][query blocks][key blocks], 0: not chosen; invalid: all chosen */
    int64_t chosen;          /* of mask: pairs of a head and query slice, at most; 0: any number. For counting operations alone */
    float last_key_bias;     /* added to the score of the very last key, which stands for many equal ones */
} BlockAttentionArgs;
void dev_block_attention(Dev *d, const BlockAttentionArgs *a);

/*
 * The choice of key blocks (FlashVSR spec 8). Means of the queries of a block and of the keys of a block give a score for
 * every pair; pairs whose windows lie further apart than local_range allows fall out; after a softmax over a query block's
 * key blocks, of all pairs of one head and query slice those strictly above the (keep + 1)-th largest value are chosen.
 */
typedef struct BlockMaskArgs {
    Tensor q;
    const KeySlice *keys;
    int key_slices, heads, head_dim, block_keys;
    int rows, columns;       /* the windows of a slice as a grid */
    int local_range;
    int64_t keep;            /* < 0: every pair within the range is chosen */
    Tensor mask;             /* as BlockAttentionArgs.mask; written */
} BlockMaskArgs;
void dev_block_mask(Dev *d, const BlockMaskArgs *a);

/* Rotates adjacent channel pairs of every head of x in place. Token i of x turns on axis a (0 time, 1 row, 2 column) by that row of
 * `table` which channel a of token i of `place` says; axis a uses pairs first[a] .. first[a + 1] - 1. */
typedef struct RotateArgs {
    Tensor x;
    int heads, head_dim;
    Tensor table;            /* floats [rows][1][1][head_dim]: (cos, sin) of every pair */
    Tensor place;            /* floats [1][1][tokens][3], whole numbers */
    int first[4];
} RotateArgs;
void dev_rotate(Dev *d, const RotateArgs *a);

/* Row i of y, counted over all its tokens, is row index[i] of x (host memory). Channels and their padding alike. */
void dev_rows(Dev *d, Tensor y, Tensor x, const int32_t *index);

/* out[ch] = add + emb[emb_row * c + ch] + table[table_row * c + ch]; emb may be invalid, table NULL. */
void dev_modulation_row(Dev *d, Tensor out, float add, Tensor emb, int emb_row, const BoundWeight *table, int table_row);

/* y = a * x + b * z elementwise, equal shapes (channels: y's); z invalid: a * x + b. y may be x or z. */
void dev_axpby(Dev *d, Tensor y, float a, Tensor x, float b, Tensor z);

/*
 * Pictures between planes, as the host has them, and pixels. Planes are dev_floats(planes, h, 1, w): sample (p, y, x) is
 * channel x of pixel (p, y, 0).
 */

/* How samples become channels: sample (p, y, x) goes to channel ((p * step + first) * side + y % side) * side + x % side of
 * pixel (y / side, x / side). side: 1 with step 1 and first 0, or a multiple of 4, of which the pictures' sizes are multiples. */
typedef struct PlaneCells {
    int side, step, first;
} PlaneCells;
void dev_from_planes(Dev *d, Tensor pixels, Tensor planes, const PlaneCells *cells); /* one frame of pixels */

/* Weights of samples (y, x): rows[y] * columns[x], or with a total min(rows[y], columns[x]) / total[y][x]. Floats, rows and
 * columns [1][1][1][n], total [1][h][1][w]. */
typedef struct PlaneWeights {
    Tensor rows, columns, total; /* total: invalid without */
} PlaneWeights;
/* Planes that are larger than the pixels are filled with zeros. weights NULL: samples as they are. */
void dev_to_planes(Dev *d, Tensor planes, Tensor pixels, const PlaneWeights *weights);

/*
 * Pictures, as kernels/cpu has them and to the same bits on every device. Planes as above; codes are bytes of rows without gaps.
 */

/* Noise by position (kernels/cpu/noise.h) in x, floats without gaps: frame i has that of frame + i * frame_step, pixel (0, 0) that
 * of row `top` and column `left`. */
typedef struct NoiseArgs {
    Tensor x;
    uint64_t seed;
    uint32_t stream;
    int64_t frame;
    int frame_step, top, left;
} NoiseArgs;
void dev_noise(Dev *d, const NoiseArgs *a);

/* Noise over three signed planes, in place: input_noise of kernels/cpu/noise.h. */
void dev_input_noise(Dev *d, Tensor planes, double scale, uint64_t seed, int64_t frame);

/* Of a resized picture the rows from `top` and columns from `left` on, held to [0, 1] and then 2 u - 1, filled up on the right and
 * at the bottom with -1 or with the last column and row: kernels/cpu/resize.h. Or, `around`, all of it, not held, in the middle of
 * the result, filled up on all sides: kernels/cpu/pad.h. */
typedef struct ResizeWindow {
    int top, left, h, w; /* inside the resized picture; around: 0 or less, where the result begins, and the picture's size */
    bool pad_edge, around;
} ResizeWindow;

/* y = planes x resized along both axes, or the window of that. */
struct ResizeAxis;
typedef struct ResizeArgs {
    Tensor x, y;
    const struct ResizeAxis *columns, *rows; /* kernels/cpu/resize.h; from x's size to y's, or to the one the window is of */
    const ResizeWindow *window;              /* NULL: all of it, as it is */
} ResizeArgs;
void dev_resize(Dev *d, const ResizeArgs *a);

/* Raw bytes of a dev_bytes tensor. Out waits for the work before it; neither does anything on a plan. */
void dev_bytes_in(Dev *d, Tensor x, const void *from, uint64_t bytes);
void dev_bytes_out(Dev *d, Tensor x, void *to, uint64_t bytes);

/*
 * The same, of any tensor without gaps, while the device goes on: begin returns at once with the place where they will be (NULL:
 * failed, or on a plan), wait returns when they are there, end gives the place back. DEV_OUT_MOST at once. x is left alone until
 * they are there, or until dev_out_clear, behind which work finds everything read. Before it waits all work is given out.
 */
enum { DEV_OUT_MOST = 4 };
const void *dev_out_begin(Dev *d, Tensor x, uint64_t bytes);
bool dev_out_wait(Dev *d, const void *out); /* false: they are not. True also where the device failed at something later */
void dev_out_end(Dev *d, const void *out);
void dev_out_clear(Dev *d);

/* Interleaved codes and planes: kernels/cpu/quantize.h. Of 1 and 2 channels the first is grey, of 2 and 4 the last is alpha. */
typedef struct CodesArgs {
    Tensor codes;        /* dev_bytes, a byte a code for bits <= 8, else two */
    Tensor rgb, alpha;   /* three planes; one, or invalid: left out. Grey is read from the first of the three */
    int channels, bits;
    bool is_signed;      /* to codes: rgb is in [-1, 1] */
    bool tpdf;           /* to codes: triangular noise before rounding */
    uint64_t seed;
    int64_t frame;
} CodesArgs;
void dev_from_codes(Dev *d, const CodesArgs *a); /* to planes in [0, 1] */
void dev_to_codes(Dev *d, const CodesArgs *a);

/*
 * The content is given the style's colours, in place: kernels/cpu/color.h. Both are planes, frame by frame three channels, of one
 * shape; the methods that rank do so over all frames.
 */
typedef struct ColorArgs {
    ColorMethod method;
    Tensor content, style;
    bool uncapped;       /* COLOR_WAVELET: color_wavelet's */
    bool population;     /* COLOR_ADAIN: color_adain's */
    float strength;      /* in the end style + strength * (content - style), but for 1 */
} ColorArgs;
void dev_color(Dev *d, const ColorArgs *a);

/* Classifier-free guidance, in place: v = negative + guidance * (v - negative); with rescale r != 0 every pixel is then
 * multiplied by r * std(v before) / std(v after) + 1 - r, standard deviations unbiased over the pixel's channels. */
void dev_guide(Dev *d, Tensor v, Tensor negative, float guidance, float rescale);

/* Shift, scale and gate vectors of one layer from the time embedding: emb is [1][1][1][6c] read as [c][layer][part] with
 * part 0 shift, 1 scale, 2 gate; out[ch] = emb[(ch * 2 + layer) * 3 + part] + extra[ch]. */
void dev_modulation(Dev *d, Tensor out, Tensor emb, int layer, int part, const BoundWeight *extra);

#endif
