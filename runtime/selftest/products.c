/* Cases of the self-test around matrix products: convolutions, linear layers, upsamplers, stored weights. */
#include "runtime/selftest/cases.h"

#include <math.h>

/* Weights that keep a sum of `terms` products about as large as its inputs. */
static float keeping(int terms) { return 1.0f / sqrtf((float)terms); }

/* ------------------------------------------------------------------------------------------------------ convolutions */

typedef enum Padding { NO_PADDING, ALL_ROUND, RIGHT_AND_BOTTOM, EDGES } Padding; /* EDGES: all round, the nearest pixel */

typedef struct ConvCase {
    const char *name;
    int ci, co, h, w, kt, k, stride_t, stride; /* k, stride: in space */
    Padding padding;
    int parts[4]; /* frames of successive calls */
    Norm norm;
    Act before, after;
    bool zero, whole, channels_last, frames_in_channels, residual, shortcut, stats;
    int shuffle_time; /* 0: no shuffle */
} ConvCase;

/* Devices keep pictures of less than 64 pixels in float32: most have more. Eight bits are for 128 channels and up. */
static const ConvCase convs[] = {
    {"first_layer", 3, 32, 9, 11, 3, 3, 1, 1, ALL_ROUND, {1, 4}, .stats = true},
    {"group_norm_residual", 32, 32, 8, 17, 3, 3, 1, 1, ALL_ROUND, {1, 1, 3}, .norm = NORM_GROUP, .before = ACT_SILU,
     .residual = true, .stats = true},
    {"odd_channels", 64, 33, 8, 9, 3, 3, 1, 1, ALL_ROUND, {2, 2}, .norm = NORM_GROUP, .before = ACT_SILU},
    {"shortcut", 128, 70, 7, 10, 3, 3, 1, 1, ALL_ROUND, {1, 2}, .norm = NORM_GROUP, .before = ACT_SILU, .shortcut = true},
    {"down_time_space", 128, 32, 16, 18, 3, 3, 2, 2, RIGHT_AND_BOTTOM, {1, 4, 2}, .stats = true},
    {"down_space", 32, 32, 17, 19, 1, 3, 1, 2, RIGHT_AND_BOTTOM, {2, 1}, .stats = true},
    {"shuffle_time_space", 128, 256, 8, 8, 1, 1, 1, 1, NO_PADDING, {1, 2}, .shuffle_time = 2},
    {"shuffle_space", 32, 128, 4, 17, 1, 1, 1, 1, NO_PADDING, {1, 2}, .stats = true, .shuffle_time = 1},
    {"patches", 33, 40, 16, 18, 1, 2, 1, 2, NO_PADDING, {2}, .channels_last = true},
    {"few_pixels", 64, 64, 5, 6, 3, 3, 1, 1, ALL_ROUND, {1, 1}, .norm = NORM_GROUP, .before = ACT_SILU, .residual = true},
    {"one_pixel", 32, 3, 1, 1, 3, 3, 1, 1, ALL_ROUND, {1, 1}, .norm = NORM_GROUP, .before = ACT_SILU},
    {"wide", 256, 136, 6, 11, 3, 3, 1, 1, ALL_ROUND, {1, 1}, .norm = NORM_GROUP, .before = ACT_SILU, .residual = true},
    {"pointwise", 160, 96, 9, 13, 1, 1, 1, 1, NO_PADDING, {2}, .norm = NORM_NONE},
    {"zeros_in_front", 20, 32, 8, 9, 3, 3, 1, 1, ALL_ROUND, {1, 1, 3}, .before = ACT_RELU, .zero = true},
    {"zeros_in_front_stride", 128, 32, 8, 9, 3, 1, 2, 1, NO_PADDING, {3, 2, 2}, .norm = NORM_L2, .before = ACT_SILU,
     .zero = true},
    {"four_taps", 133, 24, 7, 11, 4, 3, 2, 1, EDGES, {9}, .whole = true},
    {"layer_norm_edges", 48, 40, 8, 9, 4, 3, 1, 1, EDGES, {5}, .norm = NORM_LAYER, .before = ACT_SILU, .whole = true},
    {"memory_block", 16, 48, 9, 8, 2, 3, 1, 1, ALL_ROUND, {1, 2, 1}, .after = ACT_RELU, .zero = true,
     .frames_in_channels = true},
    {"tanh_in_front", 3, 32, 9, 8, 1, 3, 1, 1, ALL_ROUND, {2}, .before = ACT_TANH3, .after = ACT_RELU},
};

typedef struct ConvWeights {
    const BoundWeight *weight, *bias, *gamma, *beta, *shortcut, *shortcut_bias;
} ConvWeights;

static ConvWeights conv_weights(Trial *t, const ConvCase *c)
{
    const int64_t plain[] = {c->co, c->ci, c->kt, c->k, c->k}, last[] = {c->co, c->k, c->k, c->ci};
    const int64_t stacked[] = {c->co, c->kt * c->ci, c->k, c->k}, pointwise[] = {c->co, c->ci, 1, 1, 1};
    const int64_t *shape = c->channels_last ? last : c->frames_in_channels ? stacked : plain;
    ConvWeights w = {.weight = trial_weight(t, shape == plain ? 5 : 4, shape, keeping(c->ci * c->kt * c->k * c->k)),
                     .bias = trial_vector(t, c->co, 1.0f)};
    if (c->norm != NORM_NONE) w.gamma = trial_vector(t, c->ci, 1.0f);
    if (c->norm == NORM_GROUP || c->norm == NORM_LAYER) w.beta = trial_vector(t, c->ci, 1.0f);
    if (c->shortcut) {
        w.shortcut = trial_weight(t, 5, pointwise, keeping(c->ci));
        w.shortcut_bias = trial_vector(t, c->co, 1.0f);
    }
    return w;
}

static ConvArgs conv_args(const ConvCase *c, const ConvWeights *w, Tensor x, bool start)
{
    ConvArgs a = {.stage = TRIAL_STAGE, .x = x, .weight = w->weight, .bias = w->bias, .weight_channels_last = c->channels_last,
                  .weight_frames_in_channels = c->frames_in_channels, .kt = c->kt, .kh = c->k, .kw = c->k,
                  .stride_t = c->stride_t, .stride_h = c->stride, .stride_w = c->stride, .pad_edge = c->padding == EDGES,
                  .whole = c->whole, .start = start, .start_zero = c->zero};
    a.pad_top = a.pad_left = c->padding == ALL_ROUND || c->padding == EDGES ? c->k / 2 : 0;
    a.pad_bottom = a.pad_right = c->padding == NO_PADDING ? 0 : c->k / 2;
    a.pre = (Pre){.norm = c->norm, .groups = 32, .eps = 1e-6f, .gamma = w->gamma, .beta = w->beta, .act = c->before};
    a.post = (Post){.act = c->after, .shortcut = w->shortcut, .shortcut_bias = w->shortcut_bias};
    if (c->shuffle_time > 0) {
        a.post.shuffle_space = 2;
        a.post.shuffle_time = c->shuffle_time;
        a.post.shuffle_drop = c->shuffle_time == 2 && start;
    }
    return a;
}

/* `frames` more frames of a video. */
static void conv_part(Trial *t, const ConvCase *c, const ConvWeights *weights, ConvState **state, int frames, bool start)
{
    Tensor x = trial_input(t, frames, c->h, c->w, c->ci, 1.0f), in_stats = {0}, out_stats = {0};
    ConvArgs a = conv_args(c, weights, x, start);
    if (c->norm == NORM_GROUP) {
        a.pre.stats = in_stats = dev_floats(t->d, frames, 1, 1, 64);
        dev_stats(t->d, &(StatsArgs){.x = x, .stats = in_stats, .groups = 32});
    }
    const int rt = c->shuffle_time > 0 ? c->shuffle_time : 1, finer = c->shuffle_time > 0 ? 2 : 1;
    const int many = rt * conv_frames_out(&a, frames) - (a.post.shuffle_drop ? 1 : 0);
    const int h = (c->h + a.pad_top + a.pad_bottom - c->k) / c->stride + 1;
    const int w = (c->w + a.pad_left + a.pad_right - c->k) / c->stride + 1;
    Tensor y = a.y = trial_output(t, many, finer * h, finer * w, c->co / (finer * finer * rt));
    if (c->residual) a.post.residual = trial_input(t, y.t, y.h, y.w, y.c, 1.0f);
    if (c->shortcut) a.post.shortcut_x = trial_input(t, y.t, y.h, y.w, c->ci, 1.0f);
    if (c->stats) {
        a.post.stats = out_stats = trial_output_floats(t, many, 1, 1, 64);
        a.post.stats_groups = 32;
    }
    if (c->kt > 1 && !c->whole && *state == NULL) *state = dev_conv_state(t->d, &a, 4);
    a.state = *state;
    dev_conv3d(t->d, &a);
    trial_keep(t, y);
    if (c->stats) trial_keep(t, out_stats);
    dev_free(t->d, &a.post.residual);
    dev_free(t->d, &a.post.shortcut_x);
    dev_free(t->d, &out_stats);
    dev_free(t->d, &in_stats);
    dev_free(t->d, &y);
    dev_free(t->d, &x);
}

/* For each tile of products a picture that it suits best. */
static const ConvCase tile_convs[] = {
    {"conv_256x128", 128, 128, 16, 16, 1, 3, 1, 1, ALL_ROUND, {1}, .norm = NORM_GROUP, .before = ACT_SILU, .shortcut = true},
    {"conv_384x125", 128, 125, 16, 24, 1, 3, 1, 1, ALL_ROUND, {1}, .residual = true},
    {"conv_128x64", 160, 64, 8, 16, 3, 3, 1, 1, ALL_ROUND, {1}, .stats = true},
    {"conv_64x64", 160, 64, 8, 8, 3, 3, 1, 1, ALL_ROUND, {1}, .after = ACT_RELU},
    {"conv_128x8", 160, 8, 8, 16, 3, 3, 1, 1, ALL_ROUND, {1}, .after = ACT_SILU},
};

static void conv(Trial *t, const void *shape)
{
    const ConvCase *c = shape;
    const ConvWeights w = conv_weights(t, c);
    ConvState *state = NULL;
    if (!dev_ok(t->d)) return;
    /* a single pixel has variance 0 in groups of one channel: x * (gamma / sqrt(eps)) - mean * (gamma / sqrt(eps)) */
    if (c->norm == NORM_GROUP && c->h * c->w == 1) t->bounds = (TrialBounds){1e-4, 2e-2, 2e-2, 2e-2, 2e-2};
    for (int i = 0; i < 4 && c->parts[i] > 0; i++) conv_part(t, c, &w, &state, c->parts[i], i == 0);
    dev_state_free(t->d, state);
}

/* ----------------------------------------------------------------------------------------------------- linear layers */

typedef struct LinearCase {
    const char *name;
    int n, k, m; /* rows, channels read and written */
    Norm norm;
    bool modulated; /* scale and shift after the norm */
    bool glu, bias, gate, residual, in_place;
    Act act;
} LinearCase;

static const LinearCase linears[] = {
    {"one_row", 1, 256, 64, .bias = true, .act = ACT_SILU},
    {"plain", 70, 64, 192, .norm = NORM_NONE},
    {"odd_in_place", 67, 33, 5, .norm = NORM_RMS, .modulated = true, .bias = true, .gate = true, .residual = true,
     .in_place = true},
    {"gelu", 70, 64, 192, .norm = NORM_RMS, .modulated = true, .bias = true, .act = ACT_GELU_TANH},
    {"silu", 66, 40, 24, .bias = true, .act = ACT_SILU},
    {"relu", 66, 40, 24, .bias = true, .act = ACT_RELU},
    {"tanh", 66, 40, 24, .bias = true, .act = ACT_TANH3},
    {"glu", 200, 40, 70, .norm = NORM_RMS, .modulated = true, .glu = true, .gate = true, .residual = true, .act = ACT_SILU},
    {"glu_in_place", 77, 130, 129, .glu = true, .residual = true, .in_place = true, .act = ACT_SILU},
    {"layer_norm", 80, 96, 64, .norm = NORM_LAYER, .modulated = true, .bias = true, .gate = true, .residual = true},
    {"wide", 130, 384, 256, .bias = true},
    {"many_rows", 2055, 64, 48, .norm = NORM_RMS, .bias = true},
};

static const LinearCase tile_linears[] = {
    {"linear_250x120", 250, 200, 120, .bias = true},
    {"linear_250x60_glu", 250, 200, 60, .glu = true, .residual = true, .act = ACT_SILU},
    {"linear_380x125", 380, 200, 125, .norm = NORM_RMS, .modulated = true, .gate = true},
    {"linear_380x60_glu", 380, 200, 60, .glu = true, .gate = true},
    {"linear_120x30_glu", 120, 200, 30, .glu = true, .gate = true, .act = ACT_GELU_TANH},
    {"linear_60x30_glu", 60, 200, 30, .glu = true, .residual = true, .act = ACT_SILU},
    {"linear_125x60", 125, 200, 60, .bias = true},
    {"linear_60x60", 60, 200, 60, .bias = true},
    {"linear_100x5", 100, 200, 5, .bias = true},
};

static void linear(Trial *t, const void *shape)
{
    const LinearCase *c = shape;
    const int64_t matrix[] = {c->m, c->k};
    Tensor x = trial_input(t, 1, 1, c->n, c->k, 1.0f), residual = {0}, gate = {0}, scale = {0}, shift = {0};
    LinearArgs a = {.stage = TRIAL_STAGE, .x = x, .weight = trial_weight(t, 2, matrix, keeping(c->k)),
                    .pre = {.norm = c->norm, .eps = 1e-5f}};
    if (c->glu) a.glu = trial_weight(t, 2, matrix, keeping(c->k));
    if (c->bias) a.bias = trial_vector(t, c->m, 1.0f);
    a.post.act = c->act;
    if (c->modulated) {
        a.pre.scale = scale = trial_floats(t, 1, 1, 1, c->k, 1.0f);
        a.pre.shift = shift = trial_floats(t, 1, 1, 1, c->k, 1.0f);
    }
    if (c->glu && c->gate) t->bounds = (TrialBounds){1e-5, 1.5e-2, 3e-2, 1.5e-1, 1.5e-2}; /* a product of three: long tails */
    if (c->gate) a.post.gate = gate = trial_floats(t, 1, 1, 1, c->m, 1.0f);
    if (c->residual) a.post.residual = residual = trial_input(t, 1, 1, c->n, c->m, 1.0f);
    Tensor y = c->in_place ? residual : trial_output(t, 1, 1, c->n, c->m);
    a.y = y;
    dev_linear(t->d, &a);
    trial_keep(t, y);
    if (!c->in_place) dev_free(t->d, &y);
    dev_free(t->d, &residual);
    dev_free(t->d, &gate);
    dev_free(t->d, &shift);
    dev_free(t->d, &scale);
    dev_free(t->d, &x);
}

/* ---------------------------------------------------------------------------------------------------- stored weights */

typedef struct StoredCase {
    const char *name;
    WeightType type;
    int scales; /* 0, 1, or one a row */
} StoredCase;

enum { STORED_ROWS = 66, STORED_K = 256, STORED_M = 24 };

static const StoredCase stored_types[] = {
    {"f32", WT_F32, 0},       {"f64", WT_F64, 0},         {"f16", WT_F16, 0},
    {"bf16", WT_BF16, 0},     {"f8_e4m3", WT_F8_E4M3, 1}, {"f8_e4m3_rows", WT_F8_E4M3, STORED_M},
    {"f8_e5m2", WT_F8_E5M2, 1}, {"i8_rows", WT_I8, STORED_M}, {"q4_0", WT_Q4_0, 0},
    {"q4_1", WT_Q4_1, 0},     {"q5_0", WT_Q5_0, 0},       {"q5_1", WT_Q5_1, 0},
    {"q8_0", WT_Q8_0, 0},     {"iq4_nl", WT_IQ4_NL, 0},   {"q2_k", WT_Q2_K, 0},
    {"q3_k", WT_Q3_K, 0},     {"q4_k", WT_Q4_K, 0},       {"q5_k", WT_Q5_K, 0},
    {"q6_k", WT_Q6_K, 0},     {"q8_k", WT_Q8_K, 0},       {"iq4_xs", WT_IQ4_XS, 0},
    {"i16", WT_I16, 1},       {"i32", WT_I32, 1},         {"i64", WT_I64, 1},
    {"u8", WT_U8, 1},         {"u16", WT_U16, 1},         {"u32", WT_U32, 1},
    {"u64", WT_U64, 1},       {"bool", WT_BOOL, 1},
};

static void stored(Trial *t, const void *shape)
{
    const StoredCase *c = shape;
    const int64_t matrix[] = {STORED_M, STORED_K};
    Tensor x = trial_input(t, 1, 1, STORED_ROWS, STORED_K, 1.0f), y = trial_output(t, 1, 1, STORED_ROWS, STORED_M);
    const BoundWeight *w = trial_stored(t, c->type, c->scales, 2, matrix, 0.25f);
    dev_linear(t->d, &(LinearArgs){.stage = TRIAL_STAGE, .x = x, .y = y, .weight = w});
    trial_keep(t, y);
    dev_free(t->d, &y);
    dev_free(t->d, &x);
}

/* -------------------------------------------------------------------------------------------------------- upsamplers */

typedef struct UpsampleCase {
    const char *name;
    int c, h, w, rt, parts[3];
} UpsampleCase;

static const UpsampleCase upsamples[] = {
    {"time_space", 32, 8, 9, 2, {1, 1, 2}},
    {"time_space_one_pixel", 32, 1, 1, 2, {3, 1, 1}}, /* all neighbours outside; two kinds of frames in the first call */
    {"time_space_wide", 128, 8, 8, 2, {1, 1, 1}},
    {"space", 64, 8, 9, 1, {1, 2}},
};

static void upsample_part(Trial *t, const UpsampleCase *c, const FoldedUpsampler *f, ConvState **state, int frames, bool start)
{
    const int many = c->rt * frames - (start ? c->rt - 1 : 0);
    Tensor x = trial_input(t, frames, c->h, c->w, c->c, 1.0f), y = trial_output(t, many, 2 * c->h, 2 * c->w, c->c);
    Tensor stats = trial_output_floats(t, many, 1, 1, 64);
    if (start) *state = dev_fold_state(t->d, f, x, 3);
    dev_upsample(t->d, &(UpsampleArgs){.stage = TRIAL_STAGE, .x = x, .y = y, .weight = f, .state = *state, .start = start,
                                       .post = {.stats = stats, .stats_groups = 32}});
    trial_keep(t, y);
    trial_keep(t, stats);
    dev_free(t->d, &stats);
    dev_free(t->d, &y);
    dev_free(t->d, &x);
}

static void upsample(Trial *t, const void *shape)
{
    const UpsampleCase *c = shape;
    const int64_t many = 4LL * c->rt * c->c, up[] = {many, c->c, 1, 1, 1}, three[] = {c->c, c->c, 3, 3, 3};
    const BoundWeight *w = trial_weight(t, 5, up, keeping(c->c)), *bias = trial_vector(t, (int)many, 1.0f);
    const BoundWeight *conv_w = trial_weight(t, 5, three, keeping(27 * c->c)), *conv_bias = trial_vector(t, c->c, 1.0f);
    if (!dev_ok(t->d)) return;
    FoldedUpsampler *f = dev_fold(t->d, TRIAL_STAGE, w, bias, conv_w, conv_bias, c->rt);
    if (f == NULL) return;
    ConvState *state = NULL;
    for (int i = 0; i < 3 && c->parts[i] > 0; i++) upsample_part(t, c, f, &state, c->parts[i], i == 0);
    dev_state_free(t->d, state);
    dev_fold_free(t->d, f);
}

typedef struct NearestCase {
    const char *name;
    int c, co, h, w, frames, grow; /* grow: new frames a frame gives, 0: no 1x1 convolution in front */
    Act act;
} NearestCase;

static const NearestCase nearests[] = {
    {"plain", 128, 16, 8, 9, 2, 0, ACT_NONE},
    {"grow_odd_channels", 24, 33, 8, 9, 3, 2, ACT_RELU},
    {"one_pixel", 64, 32, 1, 1, 1, 1, ACT_NONE},
};

static void nearest(Trial *t, const void *shape)
{
    const NearestCase *c = shape;
    const int many = c->grow > 0 ? c->grow : 1;
    const int64_t pointwise[] = {many * c->c, c->c, 1, 1}, three[] = {c->co, c->c, 3, 3};
    const BoundWeight *grow = c->grow > 0 ? trial_weight(t, 4, pointwise, keeping(c->c)) : NULL;
    const BoundWeight *w = trial_weight(t, 4, three, keeping(9 * c->c)), *bias = trial_vector(t, c->co, 1.0f);
    if (!dev_ok(t->d)) return;
    FoldedUpsampler *f = dev_fold_nearest(t->d, TRIAL_STAGE, grow, many, w, bias);
    if (f == NULL) return;
    Tensor x = trial_input(t, c->frames, c->h, c->w, c->c, 1.0f);
    Tensor y = trial_output(t, many * c->frames, 2 * c->h, 2 * c->w, c->co);
    dev_upsample(t->d, &(UpsampleArgs){.stage = TRIAL_STAGE, .x = x, .y = y, .weight = f, .post.act = c->act});
    trial_keep(t, y);
    dev_free(t->d, &y);
    dev_free(t->d, &x);
    dev_fold_free(t->d, f);
}

/* ---------------------------------------------------------------------------------------------------------- families */

/*
 * In fp32 sums of up to 7000 products in another order: 1.3e-6 was measured. In bf16 both factors and the result are rounded to
 * 8 bits, 1.7e-3 each in the mean, which makes 3e-3; three factors, as behind a gate, have long tails, and the largest
 * difference counts more. In int8 both factors are rounded to the 254th part of twice the largest of 128, 6e-3 each in
 * the mean of normal numbers, more where a block's scales are uneven. In fp8 both have 4 bits, 2.6e-2 each; pairs of them lose
 * less than the bf16 in front and behind. About twice what was measured is allowed (2.6e-3, 1.1e-2, 2.9e-2, 2.6e-3). What is
 * missing or in a wrong place shows from 3e-2 on (one of 1000 products); fp8x3 sees it where fp8 alone would not.
 */
#define PRODUCT_BOUNDS .products = true, .bounds = {1e-5, 6e-3, 2e-2, 6e-2, 6e-3}

const TrialFamily trial_product_families[] = {
    {TRIAL_FAMILY("conv3d", conv, convs), PRODUCT_BOUNDS},
    {TRIAL_FAMILY("linear", linear, linears), PRODUCT_BOUNDS},
    {TRIAL_FAMILY("tiles", conv, tile_convs), .tiles = true, PRODUCT_BOUNDS},
    {TRIAL_FAMILY("tiles", linear, tile_linears), .tiles = true, PRODUCT_BOUNDS},
    {TRIAL_FAMILY("stored", stored, stored_types), PRODUCT_BOUNDS},
    {TRIAL_FAMILY("upsample", upsample, upsamples), PRODUCT_BOUNDS},
    {TRIAL_FAMILY("nearest", nearest, nearests), PRODUCT_BOUNDS},
};
const size_t trial_product_family_count = sizeof trial_product_families / sizeof *trial_product_families;
