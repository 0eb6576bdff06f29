/* Cases of the self-test that are no products of weights: norms, statistics, attention, rotation, and work by pixel. */
#include "runtime/selftest/cases.h"

#include <math.h>

/* ---------------------------------------------------------------------------------------------- norms and statistics */

typedef struct NormCase {
    const char *name;
    int t, h, w, c;
    Norm norm;
    bool gain, modulated, in_place;
    Act act;
} NormCase;

static const NormCase norms[] = {
    {"group_silu", 2, 9, 17, 64, NORM_GROUP, .gain = true, .act = ACT_SILU},
    {"group", 1, 8, 16, 96, NORM_GROUP, .in_place = true},
    {"rms", 1, 1, 70, 130, NORM_RMS, .gain = true},
    {"rms_modulated", 1, 1, 66, 256, NORM_RMS, .modulated = true},
    {"layer_gelu", 1, 1, 90, 48, NORM_LAYER, .gain = true, .act = ACT_GELU_TANH},
    {"layer_modulated", 1, 3, 22, 96, NORM_LAYER, .modulated = true, .in_place = true},
    {"l2_silu", 2, 9, 8, 33, NORM_L2, .gain = true, .act = ACT_SILU},
    {"none_relu", 1, 9, 8, 20, NORM_NONE, .act = ACT_RELU},
    {"none_tanh", 1, 9, 8, 3, NORM_NONE, .act = ACT_TANH3},
};

static void norm(Trial *t, const void *shape)
{
    const NormCase *c = shape;
    Tensor x = trial_input(t, c->t, c->h, c->w, c->c, 2.0f), stats = {0}, scale = {0}, shift = {0};
    NormArgs a = {.stage = TRIAL_STAGE, .x = x, .pre = {.norm = c->norm, .groups = 32, .eps = 1e-6f, .act = c->act}};
    if (c->gain) a.pre.gamma = trial_vector(t, c->c, 1.0f);
    if (c->gain && c->norm != NORM_RMS && c->norm != NORM_L2) a.pre.beta = trial_vector(t, c->c, 1.0f);
    if (c->modulated) {
        a.pre.scale = scale = trial_floats(t, 1, 1, 1, c->c, 1.0f);
        a.pre.shift = shift = trial_floats(t, 1, 1, 1, c->c, 1.0f);
    }
    if (c->norm == NORM_GROUP) {
        a.pre.stats = stats = trial_output_floats(t, c->t, 1, 1, 64);
        dev_stats(t->d, &(StatsArgs){.x = x, .stats = stats, .groups = 32});
    }
    Tensor y = a.y = c->in_place ? x : trial_output(t, c->t, c->h, c->w, c->c);
    dev_norm(t->d, &a);
    trial_keep(t, y);
    if (!c->in_place) dev_free(t->d, &y);
    dev_free(t->d, &stats);
    dev_free(t->d, &shift);
    dev_free(t->d, &scale);
    dev_free(t->d, &x);
}

typedef struct StatsCase {
    const char *name;
    int t, h, w, c, groups;
} StatsCase;

static const StatsCase statistics[] = {
    {"one_pixel", 1, 1, 1, 32, 32},
    {"frames", 2, 9, 17, 64, 32},
    {"many_patches", 1, 41, 50, 96, 32},
};

static void stats(Trial *t, const void *shape)
{
    const StatsCase *c = shape;
    Tensor x = trial_input(t, c->t, c->h, c->w, c->c, 1.0f), y = trial_output_floats(t, c->t, 1, 1, 2 * c->groups);
    dev_stats(t->d, &(StatsArgs){.x = x, .stats = y, .groups = c->groups});
    trial_keep(t, y);
    dev_free(t->d, &y);
    dev_free(t->d, &x);
}

/* --------------------------------------------------------------------------------------------------------- attention */

enum { ROPE_ROWS = 64 };

typedef struct AttentionCase {
    const char *name;
    int t, h, w, heads, dim, text, pairs; /* pairs: turned on each axis; 0: no rotation */
    bool norm;
    float spread;
    int window_count;
    AttentionWindow windows[8];
} AttentionCase;

#define EIGHT_WINDOWS                                                                                                   \
    8,                                                                                                                  \
    {                                                                                                                   \
        {0, 1, 0, 5, 0, 4, 5, 0, 0}, {1, 3, 0, 5, 0, 4, 5, 0, 0}, {0, 1, 5, 8, 0, 4, 5, 0, 0}, {1, 3, 5, 8, 0, 4, 5, 0, 0}, \
        {0, 1, 0, 5, 4, 9, 5, 0, 0}, {1, 3, 0, 5, 4, 9, 5, 0, 0}, {0, 1, 5, 8, 4, 9, 5, 0, 0}, {1, 3, 5, 8, 4, 9, 5, 0, 0}, \
    }

static const AttentionCase attentions[] = {
    {"whole_96", 1, 13, 23, 1, 96, 0, 0, false, 1, 1, {{0, 1, 0, 13, 0, 23, 0, 0, 0}}},
    {"peaked_40", 1, 13, 23, 2, 40, 0, 0, false, 4, 1, {{0, 1, 0, 13, 0, 23, 0, 0, 0}}},
    {"long_132", 1, 31, 37, 1, 132, 0, 0, false, 1, 1, {{0, 1, 0, 31, 0, 37, 0, 0, 0}}},
    {"whole_512", 1, 7, 11, 1, 512, 0, 0, false, 1, 1, {{0, 1, 0, 7, 0, 11, 0, 0, 0}}},
    {"windows_24", 3, 8, 9, 2, 24, 0, 4, true, 1, EIGHT_WINDOWS},
    {"windows_text_32", 3, 8, 9, 2, 32, 7, 5, true, 1, EIGHT_WINDOWS},
    {"windows_text_128", 3, 8, 9, 2, 128, 58, 21, true, 1, EIGHT_WINDOWS},
    {"one_token", 1, 1, 1, 1, 16, 1, 2, true, 1, 1, {{0, 1, 0, 1, 0, 1, 3, 1, 2}}},
};

/* Heads that are made of 8 bits where a part can: two windows, of which one ends within a tile, with a text. */
static const AttentionCase wide_attentions[] = {
    {"windows_text", 1, 20, 27, 1, 128, 11, 21, true, 1, 2, {{0, 1, 0, 20, 0, 26, 5, 0, 0}, {0, 1, 0, 20, 26, 27, 5, 0, 0}}},
    {"whole_tiles", 1, 16, 36, 1, 128, 0, 0, false, 1, 1, {{0, 1, 0, 16, 0, 36, 0, 0, 0}}},
};

/* Cosines and sines of rows * pairs angles. */
static const float *rotations(Trial *t, int rows, int pairs)
{
    bool fresh;
    float *table = trial_table(t, (size_t)(rows * pairs * 2) * sizeof *table, &fresh);
    for (int i = 0; fresh && i < rows * pairs; i++) {
        table[2 * i] = cosf(0.1f * (float)i);
        table[2 * i + 1] = sinf(0.1f * (float)i);
    }
    return table;
}

static void attention(Trial *t, const void *shape)
{
    const AttentionCase *c = shape;
    const int e = c->heads * c->dim;
    /* Rounding would move large scores by more than what the softmax can bear. */
    Tensor qkv = (c->spread > 1 ? trial_exact : trial_input)(t, c->t, c->h, c->w, 3 * e, c->spread);
    Tensor o = trial_output(t, c->t, c->h, c->w, e);
    Tensor words = {0}, text_o = {0};
    AttentionArgs a = {.stage = TRIAL_STAGE, .q = tensor_channels(qkv, 0, e), .k = tensor_channels(qkv, e, e),
                       .v = tensor_channels(qkv, 2 * e, e), .o = o, .heads = c->heads, .head_dim = c->dim,
                       .scale = 1.0f / sqrtf((float)c->dim), .eps = 1e-5f, .windows = c->windows,
                       .window_count = c->window_count, .rope_rows = ROPE_ROWS, .rope_pairs = c->pairs, .rope_text = c->norm};
    if (c->pairs > 0) a.rope = rotations(t, ROPE_ROWS, c->pairs);
    if (c->norm) {
        a.q_gain = trial_vector(t, c->dim, 1.0f);
        a.k_gain = trial_vector(t, c->dim, 1.0f);
        a.text_q_gain = trial_vector(t, c->dim, 1.0f);
        a.text_k_gain = trial_vector(t, c->dim, 1.0f);
    }
    if (c->text > 0) {
        words = trial_input(t, 1, 1, c->text, 3 * e, 1.0f);
        a.text_q = tensor_channels(words, 0, e);
        a.text_k = tensor_channels(words, e, e);
        a.text_v = tensor_channels(words, 2 * e, e);
        a.text_o = text_o = trial_output(t, 1, 1, c->text, e);
    }
    dev_attention(t->d, &a);
    trial_keep(t, o);
    if (c->text > 0) trial_keep(t, text_o);
    dev_free(t->d, &text_o);
    dev_free(t->d, &words);
    dev_free(t->d, &o);
    dev_free(t->d, &qkv);
}

/* -------------------------------------------------------------------------------------------------- blocks of attention */

enum { SLICES_MAX = 3 };

typedef struct BlocksCase {
    const char *name;
    int slices, key_slices;    /* of the queries, of the keys */
    int rows, columns, tokens; /* windows of a slice; tokens of a window */
    int heads, dim, block_keys;
    int keep;    /* of attention: of 256 pairs, how many are chosen; all: 256 */
    int range;
    float bias;  /* of the last key */
} BlocksCase;

static const BlocksCase block_attentions[] = {
    {"half_chosen_32", 2, 3, 2, 3, 128, 2, 32, 128, .keep = 128},
    {"half_blocks_20", 1, 2, 3, 2, 128, 3, 20, 64, .keep = 90},
    {"all_24", 2, 1, 1, 5, 50, 2, 24, 11, .keep = 256, .bias = 4.5f},
};

static const BlocksCase wide_block_attentions[] = {
    {"few_chosen", 1, 2, 2, 2, 128, 1, 128, 128, .keep = 40}, /* some query blocks have none */
    {"small_blocks", 1, 2, 2, 2, 64, 1, 128, 64, .keep = 90},
};

static const BlocksCase block_masks[] = {
    {"keep_10", 2, 3, 2, 3, 128, 2, 32, 128, .keep = 10, .range = 3},
    {"half_blocks", 1, 2, 3, 2, 128, 3, 20, 64, .keep = 15, .range = 9},
    {"keep_none_but_one", 1, 1, 2, 2, 128, 1, 128, 128, .keep = 0, .range = 3},
    {"all_in_range", 1, 2, 2, 3, 128, 1, 16, 128, .keep = -1, .range = 3},
};

static int64_t pairs_of(const BlocksCase *c)
{
    const int windows = c->rows * c->columns, blocks = (c->tokens + c->block_keys - 1) / c->block_keys;
    return (int64_t)c->heads * c->slices * windows * c->key_slices * windows * blocks;
}

/* A mask in which about `chosen` of 256 pairs are ones, the others zeros. */
static Tensor random_mask(Trial *t, int64_t count, int chosen)
{
    Tensor mask = dev_bytes(t->d, count);
    uint64_t state = trial_numbers(t);
    float *to = dev_write(t->d, mask);
    for (int64_t i = 0; to != NULL && i < mask.h * mask.stride_h; i++) to[i] = (int)(trial_random(&state) >> 24) < chosen;
    dev_write_end(t->d, mask, to);
    return mask;
}

static void block_attention(Trial *t, const void *shape)
{
    const BlocksCase *c = shape;
    const int e = c->heads * c->dim, windows = c->rows * c->columns;
    Tensor q = trial_input(t, c->slices, windows, c->tokens, e, 1.5f), o = trial_output(t, c->slices, windows, c->tokens, e);
    Tensor mask = {0};
    KeySlice keys[SLICES_MAX];
    for (int s = 0; s < c->key_slices; s++) {
        keys[s].k = trial_input(t, 1, windows, c->tokens, e, 1.5f);
        keys[s].v = trial_input(t, 1, windows, c->tokens, e, 1.0f);
    }
    if (c->keep < 256) mask = random_mask(t, pairs_of(c), c->keep);
    const BlockAttentionArgs a = {.stage = TRIAL_STAGE, .q = q, .o = o, .keys = keys, .key_slices = c->key_slices,
                                  .heads = c->heads, .head_dim = c->dim, .block_keys = c->block_keys,
                                  .scale = 1.0f / sqrtf((float)c->dim), .mask = mask, .last_key_bias = c->bias};
    dev_block_attention(t->d, &a);
    trial_keep(t, o);
    dev_free(t->d, &mask);
    for (int s = 0; s < c->key_slices; s++) {
        dev_free(t->d, &keys[s].v);
        dev_free(t->d, &keys[s].k);
    }
    dev_free(t->d, &o);
    dev_free(t->d, &q);
}

/* Numbers that bf16 holds, so that every precision has the same pairs to choose from. */
static void block_mask(Trial *t, const void *shape)
{
    const BlocksCase *c = shape;
    const int e = c->heads * c->dim, windows = c->rows * c->columns;
    Tensor q = trial_exact(t, c->slices, windows, c->tokens, e, 1.5f);
    KeySlice keys[SLICES_MAX] = {{{0}, {0}}};
    for (int s = 0; s < c->key_slices; s++) keys[s].k = trial_exact(t, 1, windows, c->tokens, e, 1.5f);
    Tensor mask = random_mask(t, pairs_of(c), 128);
    const BlockMaskArgs a = {.q = q, .keys = keys, .key_slices = c->key_slices, .heads = c->heads, .head_dim = c->dim,
                             .block_keys = c->block_keys, .rows = c->rows, .columns = c->columns, .local_range = c->range,
                             .keep = c->keep, .mask = mask};
    dev_block_mask(t->d, &a);
    trial_keep(t, mask);
    dev_free(t->d, &mask);
    for (int s = 0; s < c->key_slices; s++) dev_free(t->d, &keys[s].k);
    dev_free(t->d, &q);
}

typedef struct RotateCase {
    const char *name;
    int h, w, heads, dim, first[4];
} RotateCase;

static const RotateCase rotates[] = {
    {"heads_of_20", 5, 19, 3, 20, {0, 4, 7, 10}},
    {"heads_of_128", 2, 64, 2, 128, {0, 22, 43, 64}},
};

static void rotate(Trial *t, const void *shape)
{
    enum { ROWS = 13 };
    const RotateCase *c = shape;
    Tensor x = trial_input(t, 1, c->h, c->w, c->heads * c->dim, 1.0f);
    Tensor table = dev_floats(t->d, ROWS, 1, 1, c->dim), place = dev_floats(t->d, 1, 1, c->h * c->w, 3);
    const float *angles = rotations(t, ROWS, c->dim / 2);
    uint64_t state = trial_numbers(t);
    float *turns = dev_write(t->d, table), *places = dev_write(t->d, place);
    for (int i = 0; turns != NULL && i < ROWS * table.c_pad; i++) {
        turns[i] = i % table.c_pad < c->dim ? angles[i / table.c_pad * c->dim + i % table.c_pad] : 0.0f;
    }
    for (int i = 0; places != NULL && i < place.w * place.c_pad; i++) places[i] = (float)(trial_random(&state) % ROWS);
    dev_write_end(t->d, place, places);
    dev_write_end(t->d, table, turns);
    RotateArgs a = {.x = x, .heads = c->heads, .head_dim = c->dim, .table = table, .place = place,
                    .first = {c->first[0], c->first[1], c->first[2], c->first[3]}};
    dev_rotate(t->d, &a);
    trial_keep(t, x);
    dev_free(t->d, &place);
    dev_free(t->d, &table);
    dev_free(t->d, &x);
}

/* ----------------------------------------------------------------------------------------------------- rows and pixels */

typedef struct PixelCase {
    const char *name;
    int t, h, w, c;
    float a, b; /* of axpby; guidance and rescale */
    bool alone; /* axpby without z */
    bool floats;
} PixelCase;

static const PixelCase row_cases[] = {
    {"odd_channels", 2, 8, 9, 33, .floats = false},
    {"wide", 1, 1, 130, 256, .floats = false},
    {"floats", 1, 4, 7, 16, .floats = true},
};

static Tensor pixels(Trial *t, const PixelCase *c, int w)
{
    return c->floats ? trial_floats(t, c->t, c->h, w, c->c, 1.0f) : trial_input(t, c->t, c->h, w, c->c, 1.0f);
}

/* Some rows twice, some never. */
static void rows(Trial *t, const void *shape)
{
    const PixelCase *c = shape;
    const int from = c->t * c->h * (c->w + 2), count = c->t * c->h * c->w;
    bool fresh;
    Tensor x = pixels(t, c, c->w + 2), y = pixels(t, c, c->w);
    uint64_t state = trial_numbers(t);
    int32_t *index = trial_table(t, (size_t)count * sizeof *index, &fresh);
    for (int i = 0; fresh && i < count; i++) index[i] = (int32_t)(trial_random(&state) % (uint32_t)from);
    dev_rows(t->d, y, x, index);
    trial_keep(t, y);
    dev_free(t->d, &y);
    dev_free(t->d, &x);
}

static const PixelCase axpbys[] = {
    {"mix", 1, 8, 9, 33, 0.75f, -1.5f, .floats = false},
    {"mix_floats", 1, 5, 9, 16, 0.75f, -1.5f, .floats = true},
    {"scale_add", 2, 8, 9, 20, -2.0f, 0.25f, .alone = true},
};

/* Beside a plain one, channels of one type copied among those of another, as networks put inputs together. */
static void axpby(Trial *t, const void *shape)
{
    const PixelCase *c = shape;
    Tensor x = pixels(t, c, c->w), y = pixels(t, c, c->w), z = {0};
    Tensor wide = trial_floats(t, c->t, c->h, c->w, 12 + c->c, 1.0f);
    if (!c->alone) z = pixels(t, c, c->w);
    dev_axpby(t->d, y, c->a, x, c->b, z);
    trial_keep(t, y);
    dev_axpby(t->d, tensor_channels(wide, 4, c->c), 1.0f, y, 0.0f, (Tensor){0});
    dev_axpby(t->d, x, c->a, x, c->b, x);
    trial_keep(t, tensor_channels(wide, 4, c->c / 4 * 4));
    trial_keep(t, x);
    dev_free(t->d, &wide);
    dev_free(t->d, &z);
    dev_free(t->d, &y);
    dev_free(t->d, &x);
}

static const PixelCase guides[] = {
    {"plain", 1, 5, 9, 16, 4.5f, 0.0f, .floats = true},
    {"rescaled", 1, 5, 9, 16, 4.5f, 0.7f, .floats = true},
};

static void guide(Trial *t, const void *shape)
{
    const PixelCase *c = shape;
    Tensor v = pixels(t, c, c->w), negative = pixels(t, c, c->w);
    dev_guide(t->d, v, negative, c->a, c->b);
    trial_keep(t, v);
    dev_free(t->d, &negative);
    dev_free(t->d, &v);
}

static const PixelCase modulations[] = {{"width_50", .c = 50}, {"width_256", .c = 256}};

static void modulation(Trial *t, const void *shape)
{
    const PixelCase *c = shape;
    Tensor emb = trial_floats(t, 1, 1, 1, 6 * c->c, 1.0f), out = trial_output_floats(t, 1, 1, 1, c->c);
    const BoundWeight *extra = trial_vector(t, c->c, 1.0f);
    for (int i = 0; i < 6; i++) {
        dev_modulation(t->d, out, emb, i / 3, i % 3, extra);
        trial_keep(t, out);
    }
    dev_free(t->d, &out);
    dev_free(t->d, &emb);
}

static void modulation_row(Trial *t, const void *shape)
{
    const PixelCase *c = shape;
    const int64_t matrix[] = {3, c->c};
    Tensor emb = trial_floats(t, 1, 1, 1, 6 * c->c, 1.0f), out = trial_output_floats(t, 1, 1, 1, c->c);
    const BoundWeight *table = trial_weight(t, 2, matrix, 1.0f);
    dev_modulation_row(t->d, out, 1.0f, emb, 4, table, 2);
    trial_keep(t, out);
    dev_modulation_row(t->d, out, 0.0f, (Tensor){0}, 0, table, 1);
    trial_keep(t, out);
    dev_free(t->d, &out);
    dev_free(t->d, &emb);
}

/* ---------------------------------------------------------------------------------------------------------- families */

/*
 * In bf16 every number is off by 1.7e-3 of itself in the mean (8 bits), inputs and results alike; twice what was measured is
 * allowed. Attention adds the weights of its softmax, whose scores of size 2 are off by 5e-3: 9e-3 was measured. What is made
 * and kept in float32 on every device (modulations, guidance) has no such loss, and a choice of blocks none at all.
 */
#define PIXEL_BOUNDS(fp32, bf16) {fp32, bf16, bf16, bf16, bf16} /* narrower types are for products alone */
/* Values without a mean, which cancel out: of e4m3, as of weights, 4e-2 was measured. */
#define EIGHT_BOUNDS {1e-5, 2e-2, 8e-2, 8e-2, 2e-2}

const TrialFamily trial_token_families[] = {
    {TRIAL_FAMILY("norm", norm, norms), .bounds = PIXEL_BOUNDS(1e-5, 6e-3)},
    {TRIAL_FAMILY("stats", stats, statistics), .bounds = PIXEL_BOUNDS(1e-5, 4e-3)},
    {TRIAL_FAMILY("attention", attention, attentions), .bounds = PIXEL_BOUNDS(1e-5, 1e-2)},
    {TRIAL_FAMILY("block_attention", block_attention, block_attentions), .bounds = PIXEL_BOUNDS(1e-5, 2e-2)},
    {TRIAL_FAMILY("attention_128", attention, wide_attentions), .bounds = EIGHT_BOUNDS, .products = true},
    {TRIAL_FAMILY("block_attention_128", block_attention, wide_block_attentions), .bounds = EIGHT_BOUNDS, .products = true},
    {TRIAL_FAMILY("block_mask", block_mask, block_masks), .bounds = PIXEL_BOUNDS(0, 0)},
    {TRIAL_FAMILY("rotate", rotate, rotates), .bounds = PIXEL_BOUNDS(1e-6, 5e-3)},
    {TRIAL_FAMILY("rows", rows, row_cases), .bounds = PIXEL_BOUNDS(0, 4e-3)},
    {TRIAL_FAMILY("axpby", axpby, axpbys), .bounds = PIXEL_BOUNDS(1e-6, 5e-3)},
    {TRIAL_FAMILY("guide", guide, guides), .bounds = PIXEL_BOUNDS(1e-6, 1e-6)},
    {TRIAL_FAMILY("modulation", modulation, modulations), .bounds = PIXEL_BOUNDS(1e-6, 1e-6)},
    {TRIAL_FAMILY("modulation_row", modulation_row, modulations), .bounds = PIXEL_BOUNDS(1e-6, 1e-6)},
};
const size_t trial_token_family_count = sizeof trial_token_families / sizeof *trial_token_families;
