/* Attention, norms, and what else works by token or pixel. */
#include "runtime/bench/cases.h"
#include "runtime/models/seedvr2_dit.h"

#include <math.h>
#include <stdlib.h>

enum { STAGE = STAGES_DIT + 2, GROUPS = 32 };

/* --------------------------------------------------------------------------------------------------------- attention */

/* A grid of t x h x w tokens, whole or in a SeedVR2 transformer's windows; text: tokens that every window sees. */
typedef struct AttentionShape {
    const char *name;
    int t, h, w, heads, dim, text;
    bool windows;
} AttentionShape;

/* One window of the 3B transformer, short and long; the autoencoder's middle at 640x360; blocks of the 3B and 7B for two latent
 * frames of 1280x720. */
static const AttentionShape attentions[] = {
    {"463x20x128", 1, 1, 463, 20, 128, 0, false},
    {"2048x20x128", 1, 1, 2048, 20, 128, 0, false},
    {"3600x1x512", 1, 1, 3600, 1, 512, 0, false},
    {"windows_3b/2x45x80", 2, 45, 80, 20, 128, 58, true},
    {"windows_7b/2x45x80", 2, 45, 80, 24, 128, 58, true},
    {"70x2x32", 1, 1, 70, 2, 32, 0, false},
    {"70x1x128", 1, 1, 70, 1, 128, 0, false},
};

typedef struct AttentionRun {
    Dev *device;
    AttentionArgs args;
} AttentionRun;

static void attention_body(void *context)
{
    const AttentionRun *r = context;
    dev_attention(r->device, &r->args);
}

/* Norms and rotation, as a transformer has them; gain of dim channels. */
static void add_norm_and_rotation(AttentionArgs *a, const BoundWeight *gain, const float *table, int rows)
{
    a->q_gain = a->k_gain = a->text_q_gain = a->text_k_gain = gain;
    a->rope = table;
    a->rope_rows = rows;
    a->rope_pairs = a->head_dim / 6;
    a->rope_text = true;
}

/* Tensors, the time, and all given back. */
static void time_attention(Bench *b, AttentionRun *r, const AttentionShape *s)
{
    const int e = s->heads * s->dim;
    Dev *d = b->device;
    AttentionArgs *a = &r->args;
    Tensor qkv = bench_tensor(b, s->t, s->h, s->w, 3 * e), text = {0};
    a->o = bench_tensor(b, s->t, s->h, s->w, e);
    a->q = tensor_channels(qkv, 0, e);
    a->k = tensor_channels(qkv, e, e);
    a->v = tensor_channels(qkv, 2 * e, e);
    if (s->text > 0) {
        text = bench_tensor(b, 1, 1, s->text, 3 * e);
        a->text_o = bench_tensor(b, 1, 1, s->text, e);
        a->text_q = tensor_channels(text, 0, e);
        a->text_k = tensor_channels(text, e, e);
        a->text_v = tensor_channels(text, 2 * e, e);
    }
    bench_time(b, attention_body, r);
    dev_free(d, &a->text_o);
    dev_free(d, &text);
    dev_free(d, &a->o);
    dev_free(d, &qkv);
}

static bool attention(Bench *b, const void *shape)
{
    const AttentionShape *s = shape;
    const AttentionWindow whole = {0, s->t, 0, s->h, 0, s->w, 0, 0, 0};
    const int count = s->windows ? dit_windows(s->t, s->h, s->w, false, NULL) : 1, rows = s->text + s->h + s->w;
    AttentionWindow *windows = calloc((size_t)count, sizeof *windows);
    float *table = calloc((size_t)rows * (size_t)s->dim, sizeof *table);
    BenchWeight gain = {0};
    const bool ok = windows && table && bench_vector(b, &gain, s->dim);
    if (ok) {
        AttentionRun r = {b->device, {.stage = STAGE, .heads = s->heads, .head_dim = s->dim, .eps = 1e-5f, .windows = windows,
                                      .scale = 1 / sqrtf((float)s->dim), .window_count = count}};
        if (s->windows) dit_windows(s->t, s->h, s->w, false, windows);
        else windows[0] = whole;
        bench_fill(table, (size_t)rows * (size_t)s->dim);
        if (s->text > 0) add_norm_and_rotation(&r.args, &gain.bound, table, rows);
        time_attention(b, &r, s);
    }
    bench_weight_free(&gain);
    free(table);
    free(windows);
    return ok;
}

/* -------------------------------------------------------------------------------------------------- blocks of attention */

/* FlashVSR: windows of 128 tokens in a grid, one slice of queries, some of keys; of 256 pairs of blocks so many are chosen. */
typedef struct BlocksShape {
    const char *name;
    int rows, columns, key_slices, heads, dim, chosen;
} BlocksShape;

enum { TOKENS = 128, SLICES_MAX = 4 };

/* At 1280x768, which it was trained at, half of the pairs are. */
static const BlocksShape blocks[] = {
    {"6x10windows/4slices", 6, 10, 4, 12, 128, 128},
    {"2x3windows/4slices", 2, 3, 4, 12, 128, 128},
    {"1x1windows/1slices", 1, 1, 1, 1, 32, 256},
};

typedef struct BlocksRun {
    Dev *device;
    const BlocksShape *shape;
    Tensor q, o, mask;
    KeySlice keys[SLICES_MAX];
} BlocksRun;

static void blocks_body(void *context)
{
    const BlocksRun *r = context;
    const BlocksShape *s = r->shape;
    dev_block_attention(r->device, &(BlockAttentionArgs){.stage = STAGES_FLASH_DIT + 3, .q = r->q, .o = r->o, .keys = r->keys,
                                                         .key_slices = s->key_slices, .heads = s->heads, .head_dim = s->dim,
                                                         .block_keys = TOKENS, .scale = 1 / sqrtf((float)s->dim),
                                                         .mask = r->mask});
}

static void mask_body(void *context)
{
    const BlocksRun *r = context;
    const BlocksShape *s = r->shape;
    const int windows = s->rows * s->columns;
    dev_block_mask(r->device, &(BlockMaskArgs){.q = r->q, .keys = r->keys, .key_slices = s->key_slices, .heads = s->heads,
                                               .head_dim = s->dim, .block_keys = TOKENS, .rows = s->rows,
                                               .columns = s->columns, .local_range = 11,
                                               .keep = (int64_t)windows * windows * s->key_slices * s->chosen / 256,
                                               .mask = r->mask});
}

/* The mask's bytes, `chosen` of 256 of them ones; how many that are. */
static int64_t fill_mask(const BlocksRun *r, int64_t count)
{
    uint32_t state = 1;
    int64_t chosen = 0;
    float *to = dev_write(r->device, r->mask);
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        const bool one = (int)(state >> 24) < r->shape->chosen;
        if (to != NULL) to[i] = one;
        chosen += one;
    }
    for (int64_t i = count; to != NULL && i < r->mask.stride_t; i++) to[i] = 0;
    dev_write_end(r->device, r->mask, to);
    return chosen;
}

/* The product's operations follow from the mask, which a plan has not. */
static bool time_blocks(Bench *b, const BlocksShape *s, bool attend)
{
    const int windows = s->rows * s->columns, e = s->heads * s->dim;
    const int64_t pairs = (int64_t)s->heads * windows * windows * s->key_slices;
    BlocksRun r = {.device = b->device, .shape = s};
    r.q = bench_tensor(b, 1, windows, TOKENS, e);
    for (int i = 0; i < s->key_slices; i++) {
        r.keys[i].k = bench_tensor(b, 1, windows, TOKENS, e);
        r.keys[i].v = attend ? bench_tensor(b, 1, windows, TOKENS, e) : r.keys[i].k;
    }
    r.o = attend ? bench_tensor(b, 1, windows, TOKENS, e) : (Tensor){0};
    r.mask = dev_bytes(b->device, pairs);
    b->bytes += (double)pairs;
    const int64_t chosen = fill_mask(&r, pairs);
    bench_time(b, attend ? blocks_body : mask_body, &r);
    b->flop = attend ? 4.0 * (double)chosen * TOKENS * TOKENS * s->dim : 0;
    dev_free(b->device, &r.mask);
    dev_free(b->device, &r.o);
    for (int i = s->key_slices - 1; i >= 0; i--) {
        if (attend) dev_free(b->device, &r.keys[i].v);
        dev_free(b->device, &r.keys[i].k);
    }
    dev_free(b->device, &r.q);
    return true;
}

static bool block_attention(Bench *b, const void *shape) { return time_blocks(b, shape, true); }
static bool block_mask(Bench *b, const void *shape) { return time_blocks(b, shape, false); }

/* ---------------------------------------------------------------------------------------------- norms and statistics */

typedef struct PixelShape {
    const char *name;
    int c, t, h, w;
} PixelShape;

static const PixelShape pictures[] = {
    {"512/2x90x160", 512, 2, 90, 160},
    {"256/1x360x640", 256, 1, 360, 640},
    {"128/1x360x640", 128, 1, 360, 640},
    {"128/1x720x1280", 128, 1, 720, 1280},
    {"32/1x12x20", 32, 1, 12, 20},
};
static const PixelShape wan_pictures[] = {
    {"384/1x90x160", 384, 1, 90, 160},
    {"96/1x720x1280", 96, 1, 720, 1280},
};
static const PixelShape tokens[] = {
    {"2560/7200", 2560, 1, 1, 7200},
    {"2560/28800", 2560, 1, 1, 28800},
    {"3072/28800", 3072, 1, 1, 28800},
    {"1536/28800", 1536, 1, 1, 28800},
    {"128/70", 128, 1, 1, 70},
};

typedef struct NormRun {
    Dev *device;
    NormArgs norm;
    StatsArgs stats;
} NormRun;

static void stats_body(void *context)
{
    const NormRun *r = context;
    dev_stats(r->device, &r->stats);
}

static void norm_body(void *context)
{
    const NormRun *r = context;
    dev_norm(r->device, &r->norm);
}

/* x to y by that norm, with gain and offset where `with` says so. */
static bool time_norm(Bench *b, const PixelShape *s, Pre pre, bool with_gain, bool with_beta)
{
    BenchWeight gain = {0}, beta = {0};
    const bool ok = bench_vector(b, &gain, s->c) && bench_vector(b, &beta, s->c);
    if (ok) {
        NormRun r = {.device = b->device, .norm = {.stage = STAGE, .pre = pre}};
        if (with_gain) r.norm.pre.gamma = &gain.bound;
        if (with_beta) r.norm.pre.beta = &beta.bound;
        r.norm.x = bench_tensor(b, s->t, s->h, s->w, s->c);
        r.norm.y = bench_tensor(b, s->t, s->h, s->w, s->c);
        bench_time(b, norm_body, &r);
        dev_free(b->device, &r.norm.y);
        dev_free(b->device, &r.norm.x);
    }
    bench_weight_free(&gain);
    bench_weight_free(&beta);
    return ok;
}

static bool stats(Bench *b, const void *shape)
{
    const PixelShape *s = shape;
    NormRun r = {.device = b->device, .stats = {.groups = GROUPS}};
    r.stats.x = bench_tensor(b, s->t, s->h, s->w, s->c);
    r.stats.stats = bench_floats(b, s->t, 1, 1, 2 * GROUPS);
    bench_time(b, stats_body, &r);
    dev_free(b->device, &r.stats.stats);
    dev_free(b->device, &r.stats.x);
    return true;
}

/* Statistics are there already, as products leave them behind. */
static bool group_norm(Bench *b, const void *shape)
{
    const PixelShape *s = shape;
    Tensor known = bench_floats(b, s->t, 1, 1, 2 * GROUPS);
    const Pre pre = {.norm = NORM_GROUP, .groups = GROUPS, .eps = 1, .stats = known, .act = ACT_SILU};
    const bool ok = time_norm(b, s, pre, true, true);
    dev_free(b->device, &known);
    return ok;
}

static bool l2_norm(Bench *b, const void *shape)
{
    return time_norm(b, shape, (Pre){.norm = NORM_L2, .act = ACT_SILU}, true, false);
}

static bool rms_norm(Bench *b, const void *shape)
{
    return time_norm(b, shape, (Pre){.norm = NORM_RMS, .eps = 1e-5f}, true, false);
}

static bool modulated_norm(Bench *b, const void *shape)
{
    const PixelShape *s = shape;
    Tensor scale = bench_floats(b, 1, 1, 1, s->c), shift = bench_floats(b, 1, 1, 1, s->c);
    const bool ok = time_norm(b, s, (Pre){.norm = NORM_LAYER, .eps = 1e-6f, .scale = scale, .shift = shift}, false, false);
    dev_free(b->device, &shift);
    dev_free(b->device, &scale);
    return ok;
}

typedef struct OperandRun {
    Dev *device;
    Tensor x;
    Pre pre;
    Element type;
} OperandRun;

static void operand_body(void *context)
{
    const OperandRun *r = context;
    CudaOperand o = cuda_operand(r->device, r->x, &r->pre, r->type);
    cuda_operand_free(r->device, &o);
}

/* The producer of a product's left side: group norm, SiLU, and the type that the product multiplies in. */
static bool produce(Bench *b, const void *shape)
{
    const PixelShape *s = shape;
    BenchWeight gain = {0}, beta = {0};
    const bool ok = bench_vector(b, &gain, s->c) && bench_vector(b, &beta, s->c);
    if (ok) {
        Tensor known = bench_floats(b, s->t, 1, 1, 2 * GROUPS);
        OperandRun r = {.device = b->device, .type = cuda_compute(b->device, STAGES_VAE_DECODER + 2, s->c, NULL)};
        r.pre = (Pre){.norm = NORM_GROUP, .groups = GROUPS, .eps = 1, .stats = known, .gamma = &gain.bound, .beta = &beta.bound,
                      .act = ACT_SILU};
        r.x = bench_tensor(b, s->t, s->h, s->w, s->c);
        CudaOperand like = cuda_operand(b->device, r.x, &r.pre, r.type); /* to count it */
        bench_count(b, like.own);
        bench_count(b, like.scales);
        cuda_operand_free(b->device, &like);
        bench_time(b, operand_body, &r);
        dev_free(b->device, &r.x);
        dev_free(b->device, &known);
    }
    bench_weight_free(&gain);
    bench_weight_free(&beta);
    return ok;
}

/* ------------------------------------------------------------------------------------------------------------ by pixel */

typedef struct TokenRun {
    Dev *device;
    Tensor x, y, table, place;
    const int32_t *index;
    int heads;
} TokenRun;

static void add_body(void *context)
{
    const TokenRun *r = context;
    dev_axpby(r->device, r->y, 1, r->x, 0.5f, r->y);
}

static bool add(Bench *b, const void *shape)
{
    const PixelShape *s = shape;
    TokenRun r = {.device = b->device};
    r.x = bench_tensor(b, s->t, s->h, s->w, s->c);
    r.y = bench_tensor(b, s->t, s->h, s->w, s->c);
    bench_count(b, r.y); /* read too */
    bench_time(b, add_body, &r);
    dev_free(b->device, &r.y);
    dev_free(b->device, &r.x);
    return true;
}

static void rows_body(void *context)
{
    const TokenRun *r = context;
    dev_rows(r->device, r->y, r->x, r->index);
}

static bool rows(Bench *b, const void *shape)
{
    const PixelShape *s = shape;
    int32_t *index = malloc((size_t)s->w * sizeof *index);
    if (index == NULL) return false;
    for (int i = 0; i < s->w; i++) index[i] = (int32_t)((int64_t)i * 127 % s->w);
    TokenRun r = {.device = b->device, .index = index};
    r.x = bench_tensor(b, s->t, s->h, s->w, s->c);
    r.y = bench_tensor(b, s->t, s->h, s->w, s->c);
    bench_time(b, rows_body, &r);
    dev_free(b->device, &r.y);
    dev_free(b->device, &r.x);
    free(index);
    return true;
}

static void rotate_body(void *context)
{
    const TokenRun *r = context;
    const int third = 128 / 2 / 3;
    dev_rotate(r->device, &(RotateArgs){.x = r->x, .heads = r->heads, .head_dim = 128, .table = r->table, .place = r->place,
                                        .first = {0, 128 / 2 - 2 * third, 128 / 2 - third, 128 / 2}});
}

static bool rotate(Bench *b, const void *shape)
{
    const PixelShape *s = shape;
    TokenRun r = {.device = b->device, .heads = s->c / 128};
    r.x = bench_tensor(b, s->t, s->h, s->w, s->c);
    bench_count(b, r.x); /* in place */
    r.table = bench_floats(b, 128, 1, 1, 128);
    r.place = dev_floats(b->device, 1, 1, s->w, 3);
    bench_count(b, r.place);
    float *place = dev_write(b->device, r.place);
    for (int i = 0; place != NULL && i < s->w * r.place.c_pad; i++) place[i] = (float)(i % 128);
    dev_write_end(b->device, r.place, place);
    bench_time(b, rotate_body, &r);
    dev_free(b->device, &r.place);
    dev_free(b->device, &r.table);
    dev_free(b->device, &r.x);
    return true;
}

const BenchFamily bench_token_families[] = {
    {BENCH_FAMILY("attention", attention, attentions)},
    {BENCH_FAMILY("block_attention", block_attention, blocks)},
    {BENCH_FAMILY("block_mask", block_mask, blocks), .is = BENCH_PLAIN},
    {BENCH_FAMILY("stats", stats, pictures)},
    {BENCH_FAMILY("group_norm_silu", group_norm, pictures)},
    {BENCH_FAMILY("norm_silu_quantize", produce, pictures), .is = BENCH_GPU},
    {BENCH_FAMILY("l2_norm_silu", l2_norm, wan_pictures)},
    {BENCH_FAMILY("rms_norm", rms_norm, tokens)},
    {BENCH_FAMILY("layer_norm_modulated", modulated_norm, tokens)},
    {BENCH_FAMILY("rotate", rotate, tokens), .is = BENCH_PLAIN},
    {BENCH_FAMILY("rows", rows, tokens), .is = BENCH_PLAIN},
    {BENCH_FAMILY("add", add, pictures)},
};
const size_t bench_token_family_count = sizeof bench_token_families / sizeof *bench_token_families;
