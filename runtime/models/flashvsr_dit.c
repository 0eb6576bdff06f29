#include "runtime/models/flashvsr_dit.h"

#include "runtime/models/bind.h"
#include "runtime/models/planar.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS_MAX = 256, PATCH = 2, WINDOW_TOKENS = FLASH_SLICE * FLASH_WINDOW * FLASH_WINDOW };
enum { FIRST_SLICES = FLASH_FIRST_LATENTS / FLASH_SLICE };
enum { HEAD_DIM = 128 }; /* where the number of heads is not given */
enum { SHIFT1, SCALE1, GATE1, SHIFT2, SCALE2, GATE2, MODULATIONS };
static const float EPS = 1e-6f;        /* of every norm */
static const double TIMESTEP = 1000.0; /* the only one */
enum { CHUNK_TOKENS = 2048 };          /* tokens that go through an MLP at once: bounds its hidden layer's memory */

/* Stages of the precision policy (dev.h). */
enum { STAGE_EMBED = STAGES_FLASH_DIT, STAGE_OUT, STAGE_QKV, STAGE_ATTENTION, STAGE_CROSS, STAGE_PROJECTION, STAGE_MLP };

/* --------------------------------------------------------------------------------------------------------- weights */

typedef struct AttentionWeights {
    LinearWeights q, k, v, o;   /* [D, D] */
    BoundWeight norm_q, norm_k; /* [D]: over all heads at once */
} AttentionWeights;

/* D = width, M = hidden width of the MLP. */
typedef struct BlockWeights {
    BoundWeight modulation; /* [6, D] */
    AttentionWeights self, cross;
    BoundWeight norm3_gamma, norm3_beta; /* [D] */
    LinearWeights mlp_in, mlp_out;       /* [M, D], [D, M] */
} BlockWeights;

struct FlashDit {
    BoundWeight patch, patch_bias; /* [D, C, 1, 2, 2], [D] */
    LinearWeights text[2];         /* [D, text width], [D, D] */
    LinearWeights time[2];         /* [D, time width], [D, D] */
    LinearWeights time_projection; /* [6 D, D] */
    BoundWeight head_modulation;   /* [2, D] */
    LinearWeights head;            /* [4 C, D] */
    int width, layers, hidden, time_width, text_width, channels;
    BlockWeights *block;
    const WeightPart *prompt;
    int text_rows, equal_rows; /* rows of the prompt that are kept; how many equal ones the last of them stands for */
    FlashvsrTap tap;
};

static void bind_attention(Binder *b, AttentionWeights *a, int block, const char *name, int64_t d)
{
    bind_linear(b, &a->q, d, d, "blocks.%d.%s.q", block, name);
    bind_linear(b, &a->k, d, d, "blocks.%d.%s.k", block, name);
    bind_linear(b, &a->v, d, d, "blocks.%d.%s.v", block, name);
    bind_linear(b, &a->o, d, d, "blocks.%d.%s.o", block, name);
    bind_vector(b, &a->norm_q, d, "blocks.%d.%s.norm_q.weight", block, name);
    bind_vector(b, &a->norm_k, d, "blocks.%d.%s.norm_k.weight", block, name);
}

static void bind_block(Binder *b, BlockWeights *w, int i, int64_t d, int64_t hidden)
{
    bind_tensor(b, &w->modulation, 2, (const int64_t[]){MODULATIONS, d}, "blocks.%d.modulation", i);
    bind_attention(b, &w->self, i, "self_attn", d);
    bind_attention(b, &w->cross, i, "cross_attn", d);
    bind_vector(b, &w->norm3_gamma, d, "blocks.%d.norm3.weight", i);
    bind_vector(b, &w->norm3_beta, d, "blocks.%d.norm3.bias", i);
    bind_linear(b, &w->mlp_in, hidden, d, "blocks.%d.ffn.0", i);
    bind_linear(b, &w->mlp_out, d, hidden, "blocks.%d.ffn.2", i);
}

static void read_sizes(FlashDit *m, const Binder *b)
{
    m->width = (int)binder_count(b, "patch_embedding.bias");
    const int64_t d = m->width > 0 ? m->width : 1;
    m->channels = (int)(binder_count(b, "patch_embedding.weight") / (PATCH * PATCH * d));
    m->hidden = (int)binder_count(b, "blocks.0.ffn.0.bias");
    m->time_width = (int)(binder_count(b, "time_embedding.0.weight") / d);
    m->text_width = (int)(binder_count(b, "text_embedding.0.weight") / d);
    for (int i = 0; i < BLOCKS_MAX; i++) {
        if (binder_count(b, "blocks.%d.modulation", i) + binder_count(b, "blocks.%d.self_attn.q.weight", i) > 0) {
            m->layers = i + 1;
        }
    }
}

/*
 * The rows at the end of the prompt are equal (they are zero), so they give equal keys and values: the softmax over n
 * equal keys is that over one with ln n added to its score.
 */
static bool collapse_prompt(FlashDit *m)
{
    const WeightTensor *prompt = m->prompt->tensor;
    const int64_t width = m->text_width, rows = prompt->count / width;
    float *last = malloc(2 * (size_t)width * sizeof *last), *row = last + width;
    if (last == NULL) return false;
    weight_read(prompt, (rows - 1) * width, width, last);
    int64_t kept = rows;
    while (kept > 1) {
        weight_read(prompt, (kept - 2) * width, width, row);
        if (memcmp(row, last, (size_t)width * sizeof *row) != 0) break;
        kept--;
    }
    free(last);
    m->text_rows = (int)kept;
    m->equal_rows = (int)(rows - kept + 1);
    return true;
}

FlashDit *flash_dit_open(const WeightPart *part, const WeightPart *prompt, char *error, size_t error_size)
{
    FlashDit *m = calloc(1, sizeof *m);
    if (m != NULL) m->block = calloc(BLOCKS_MAX, sizeof *m->block);
    if (m == NULL || m->block == NULL) {
        free(m);
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    Binder b = {.part = part, .error = error, .error_size = error_size};
    read_sizes(m, &b);
    const int64_t d = m->width;
    bind_tensor(&b, &m->patch, 5, (const int64_t[]){d, m->channels, 1, PATCH, PATCH}, "patch_embedding.weight");
    bind_vector(&b, &m->patch_bias, d, "patch_embedding.bias");
    bind_linear(&b, &m->text[0], d, m->text_width, "text_embedding.0");
    bind_linear(&b, &m->text[1], d, d, "text_embedding.2");
    bind_linear(&b, &m->time[0], d, m->time_width, "time_embedding.0");
    bind_linear(&b, &m->time[1], d, d, "time_embedding.2");
    bind_linear(&b, &m->time_projection, MODULATIONS * d, d, "time_projection.1");
    for (int i = 0; i < m->layers; i++) bind_block(&b, &m->block[i], i, d, m->hidden);
    bind_tensor(&b, &m->head_modulation, 2, (const int64_t[]){2, d}, "head.modulation");
    bind_linear(&b, &m->head, PATCH * PATCH * m->channels, d, "head.head");
    if (m->layers == 0) binder_fail(&b, "the FlashVSR transformer has no blocks");
    if (m->time_width % 2 != 0) binder_fail(&b, "the time embedding takes %d values, which is not even", m->time_width);
    m->prompt = prompt;
    const WeightTensor *t = prompt->tensor;
    if (!b.failed && (t->rank < 1 || t->count < 1 || t->shape[t->rank - 1] != m->text_width)) {
        b.part = prompt;
        binder_fail(&b, "the prompt has rows of %lld values, the FlashVSR transformer takes %d; give the one made for it",
                    (long long)(t->rank < 1 ? 0 : t->shape[t->rank - 1]), m->text_width);
    }
    if (!b.failed && !collapse_prompt(m)) binder_fail(&b, "out of memory");
    if (b.failed) {
        flash_dit_close(m);
        return NULL;
    }
    return m;
}

void flash_dit_close(FlashDit *m)
{
    if (m == NULL) return;
    free(m->block);
    free(m);
}

int flash_dit_width(const FlashDit *m)
{
    return m->width;
}

void flash_dit_set_tap(FlashDit *m, FlashvsrTap tap)
{
    m->tap = tap;
}

void flash_tap_value(const FlashvsrTap *tap, Dev *d, const char *where, int chunk, Tensor x)
{
    if (tap->value == NULL || dev_is_plan(d) || !dev_ok(d)) return;
    const float *values = dev_read(d, x);
    if (values != NULL) tap->value(tap->user, where, chunk, values, x.t * x.h * x.w, x.c, x.c_pad);
    dev_read_end(d, values);
}

/* ---------------------------------------------------------------------------------------------------------- stream */

typedef struct BlockState {
    Tensor modulation; /* [6][1][1][D], scales with 1 added */
    KeySlice text;     /* [1][1][text rows][D] */
    KeySlice *keys;    /* remembered, oldest first; room for a chunk's own, which are added before one is dropped */
    int slices;
} BlockState;

struct FlashDitStream {
    FlashDit *m;
    Dev *d;
    FlashvsrSetup setup;
    int h, w, windows, head_dim, chunk;
    int64_t keep;          /* of BlockMaskArgs */
    int64_t near;          /* pairs of windows of two slices that are within reach of each other */
    int32_t *to_windows;   /* [first chunk's tokens] row of [t][h][w] that stands in window order at i */
    int32_t *from_windows; /* the inverse */
    Tensor place;          /* [first chunk's tokens in window order][3] rotary table rows by axis */
    Tensor rotary;         /* [rows][1][1][head_dim] (cos, sin) of the chunk at work */
    Tensor head_shift, head_scale; /* [D] */
    Tensor cache;                  /* [2 * slots][windows][128][D]: keys and values of all blocks' slices */
    KeySlice *spare;               /* slots of it that hold nothing */
    int spares;
    BlockState *block;
};

static Tensor vector(Dev *d, int c)
{
    return dev_floats(d, 1, 1, 1, c);
}

static Tensor row(Tensor x, int i)
{
    return tensor_frames(x, i, 1);
}

static void linear(Dev *d, int stage, Tensor x, Tensor y, const LinearWeights *w, Pre pre, Post post)
{
    dev_linear(d,
               &(LinearArgs){
                   .stage = stage, .x = x, .y = y, .weight = &w->weight, .bias = &w->bias, .pre = pre, .post = post});
}

/* x / rms(x) * gamma, over all heads at once, in place. */
static void rms(Dev *d, int stage, Tensor x, const BoundWeight *gamma)
{
    dev_norm(d, &(NormArgs){.stage = stage, .x = x, .y = x, .pre = {.norm = NORM_RMS, .eps = EPS, .gamma = gamma}});
}

/* layer norm(x) * scale + shift, 1 being in scale already */
static Pre modulated(Tensor scale, Tensor shift)
{
    return (Pre){.norm = NORM_LAYER, .eps = EPS, .scale = scale, .shift = shift};
}

/* The vectors that the one timestep comes to: six of every block, two of the head. */
static void time_constants(FlashDitStream *s)
{
    Dev *d = s->d;
    FlashDit *m = s->m;
    const int width = m->width, half = m->time_width / 2;
    for (int i = 0; i < m->layers; i++) s->block[i].modulation = dev_floats(d, MODULATIONS, 1, 1, width);
    s->head_shift = vector(d, width);
    s->head_scale = vector(d, width);
    Tensor e = vector(d, m->time_width), hidden = vector(d, width), t = vector(d, width),
           t_mod = vector(d, MODULATIONS * width);
    float *sinusoids = dev_write(d, e);
    for (int k = 0; sinusoids != NULL && k < half; k++) { /* cosines first */
        const double angle = TIMESTEP * pow(10000.0, -(double)k / half);
        sinusoids[k] = (float)cos(angle);
        sinusoids[half + k] = (float)sin(angle);
    }
    for (int k = 2 * half; sinusoids != NULL && k < e.c_pad; k++) sinusoids[k] = 0.0f;
    dev_write_end(d, e, sinusoids);
    linear(d, STAGE_EMBED, e, hidden, &m->time[0], (Pre){0}, (Post){.act = ACT_SILU});
    linear(d, STAGE_EMBED, hidden, t, &m->time[1], (Pre){0}, (Post){0});
    linear(d, STAGE_EMBED, t, t_mod, &m->time_projection, (Pre){.act = ACT_SILU}, (Post){0});
    flash_tap_value(&m->tap, d, "t", 0, t);
    flash_tap_value(&m->tap, d, "t_mod", 0, t_mod);
    for (int i = 0; i < m->layers; i++) {
        for (int k = 0; k < MODULATIONS; k++) {
            const float add = k == SCALE1 || k == SCALE2 ? 1.0f : 0.0f;
            dev_modulation_row(d, row(s->block[i].modulation, k), add, t_mod, k, &m->block[i].modulation, k);
        }
    }
    dev_modulation_row(d, s->head_shift, 0.0f, t, 0, &m->head_modulation, 0); /* t itself, not a projection of it */
    dev_modulation_row(d, s->head_scale, 1.0f, t, 0, &m->head_modulation, 1);
    dev_free(d, &e);
    dev_free(d, &hidden);
    dev_free(d, &t);
    dev_free(d, &t_mod);
}

/* Keys and values that the prompt comes to in every block. */
static void text_constants(FlashDitStream *s)
{
    Dev *d = s->d;
    FlashDit *m = s->m;
    for (int i = 0; i < m->layers; i++) {
        s->block[i].text =
            (KeySlice){dev_tensor(d, 1, 1, m->text_rows, m->width), dev_tensor(d, 1, 1, m->text_rows, m->width)};
    }
    Tensor words = dev_text(d, m->prompt, m->text_rows);
    Tensor hidden = dev_tensor(d, 1, 1, m->text_rows, m->width), context = dev_tensor(d, 1, 1, m->text_rows, m->width);
    linear(d, STAGE_EMBED, words, hidden, &m->text[0], (Pre){0}, (Post){.act = ACT_GELU_TANH});
    linear(d, STAGE_EMBED, hidden, context, &m->text[1], (Pre){0}, (Post){0});
    for (int i = 0; i < m->layers && dev_ok(d); i++) {
        const AttentionWeights *w = &m->block[i].cross;
        const KeySlice text = s->block[i].text;
        char where[32];
        linear(d, STAGE_CROSS, context, text.k, &w->k, (Pre){0}, (Post){0});
        rms(d, STAGE_CROSS, text.k, &w->norm_k);
        linear(d, STAGE_CROSS, context, text.v, &w->v, (Pre){0}, (Post){0});
        snprintf(where, sizeof where, "text_k%d", i);
        flash_tap_value(&m->tap, d, where, 0, text.k);
        snprintf(where, sizeof where, "text_v%d", i);
        flash_tap_value(&m->tap, d, where, 0, text.v);
    }
    dev_free(d, &words);
    dev_free(d, &hidden);
    dev_free(d, &context);
}

/* Window order and positions of a first chunk's tokens; a later chunk has those of its first slice. */
static void make_orders(FlashDitStream *s)
{
    const int columns = s->w / FLASH_WINDOW;
    float *place = dev_write(s->d, s->place);
    for (int i = 0; i < FIRST_SLICES * s->windows * WINDOW_TOKENS; i++) {
        const int token = i % WINDOW_TOKENS, window = i / WINDOW_TOKENS % s->windows,
                  slice = i / WINDOW_TOKENS / s->windows;
        const int t = slice * FLASH_SLICE + token / (FLASH_WINDOW * FLASH_WINDOW);
        const int y = window / columns * FLASH_WINDOW + token / FLASH_WINDOW % FLASH_WINDOW;
        const int x = window % columns * FLASH_WINDOW + token % FLASH_WINDOW;
        const int natural = (t * s->h + y) * s->w + x;
        s->to_windows[i] = natural;
        s->from_windows[natural] = i;
        if (place == NULL) continue; /* a plan */
        float *at = place + (int64_t)i * s->place.c_pad;
        at[0] = (float)t;
        at[1] = (float)y;
        at[2] = (float)x;
        at[3] = 0.0f;
    }
    dev_write_end(s->d, s->place, place);
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

/* Slices of all blocks: those kept, and one more of the block at work. */
static int cache_slots(const FlashDitStream *s)
{
    return s->m->layers * s->setup.kv_slices + 1;
}

/* All of the cache at once: slices taken and given back among other tensors would leave holes, more with every
 * chunk. */
static void make_cache(FlashDitStream *s)
{
    s->cache = dev_tensor(s->d, 2 * cache_slots(s), s->windows, WINDOW_TOKENS, s->m->width);
    for (s->spares = 0; s->spares < cache_slots(s); s->spares++) {
        s->spare[s->spares] =
            (KeySlice){tensor_frames(s->cache, 2 * s->spares, 1), tensor_frames(s->cache, 2 * s->spares + 1, 1)};
    }
}

/* Everything about a stream but what its weights make. False: out of memory. */
static bool make_tables(FlashDitStream *s)
{
    const FlashDit *m = s->m;
    const size_t tokens = (size_t)FIRST_SLICES * (size_t)s->windows * WINDOW_TOKENS;
    const int key_room = max_int(FIRST_SLICES, s->setup.kv_slices + 1);
    s->to_windows = malloc(tokens * sizeof *s->to_windows);
    s->from_windows = malloc(tokens * sizeof *s->from_windows);
    s->spare = malloc((size_t)cache_slots(s) * sizeof *s->spare);
    s->block = calloc((size_t)m->layers, sizeof *s->block);
    if (s->to_windows == NULL || s->from_windows == NULL || s->spare == NULL || s->block == NULL) return false;
    for (int i = 0; i < m->layers; i++) {
        s->block[i].keys = calloc((size_t)key_room, sizeof *s->block[i].keys);
        if (s->block[i].keys == NULL) return false;
    }
    s->place = dev_floats(s->d, 1, 1, (int)tokens, 3);
    s->rotary = dev_floats(s->d, max_int(FLASH_FIRST_LATENTS, max_int(s->h, s->w)), 1, 1, s->head_dim);
    make_orders(s);
    return true;
}

/* Heads whose channels split into rotary pairs of three axes. */
static bool heads_fit(int width, int heads)
{
    return heads > 0 && width % heads == 0 && width / heads % 2 == 0 && width / heads / 3 % 2 == 0;
}

/* Pairs of n places in a row, of which one sees `range` around it: as BlockMaskArgs has it. */
static int64_t near_pairs(int n, int range)
{
    int64_t pairs = 0;
    for (int at = 0; at < n; at++) {
        const int first = at - range / 2, end = first + range;
        pairs += (end < n ? end : n) - (first > 0 ? first : 0);
    }
    return pairs;
}

FlashDitStream *flash_dit_stream_open(FlashDit *m, Dev *d, int h, int w, FlashvsrSetup setup)
{
    if (setup.heads == 0) setup.heads = m->width % HEAD_DIM == 0 ? m->width / HEAD_DIM : 0;
    if (setup.kv_slices < 2) setup.kv_slices = 2; /* the first chunk has three and drops one */
    if (!heads_fit(m->width, setup.heads)) {
        dev_fail(d, "the FlashVSR transformer is %d channels wide, which is not a whole number of heads of %d",
                 m->width, HEAD_DIM);
        return NULL;
    }
    FlashDitStream *s = calloc(1, sizeof *s);
    if (s == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    *s = (FlashDitStream){.m = m,
                          .d = d,
                          .setup = setup,
                          .h = h,
                          .w = w,
                          .head_dim = m->width / setup.heads,
                          .windows = h / FLASH_WINDOW * (w / FLASH_WINDOW)};
    s->keep = -1;
    if (setup.sparse_ratio > 0.0) {
        /* in the original's order of operations: products that are whole numbers must round the same way */
        const double pixels = (double)h * w * (8 * PATCH) * (8 * PATCH); /* a latent cell is 8 of them each way */
        const double ratio = setup.sparse_ratio * 768 * 1280 / pixels;   /* 2.0 was trained at that size */
        s->keep = (int64_t)((double)s->windows * s->windows * ratio) - 1;
        if (s->keep < 0) s->keep = 0;
    }
    s->near = near_pairs(h / FLASH_WINDOW, setup.local_range) * near_pairs(w / FLASH_WINDOW, setup.local_range);
    if (!make_tables(s)) {
        dev_fail(d, "out of memory");
        flash_dit_stream_close(s);
        return NULL;
    }
    make_cache(s);
    time_constants(s);
    text_constants(s);
    flash_dit_seek(s, 0);
    return s;
}

void flash_dit_stream_close(FlashDitStream *s)
{
    if (s == NULL) return;
    for (int i = 0; s->block != NULL && i < s->m->layers; i++) {
        BlockState *b = &s->block[i];
        dev_free(s->d, &b->text.k);
        dev_free(s->d, &b->text.v);
        dev_free(s->d, &b->modulation);
        free(b->keys);
    }
    dev_free(s->d, &s->head_shift);
    dev_free(s->d, &s->head_scale);
    dev_free(s->d, &s->cache);
    dev_free(s->d, &s->rotary);
    dev_free(s->d, &s->place);
    free(s->block);
    free(s->spare);
    free(s->from_windows);
    free(s->to_windows);
    free(s);
}

/* ------------------------------------------------------------------------------------------------------- positions */

/* Pairs of axis a: first[a] .. first[a + 1] - 1. Rows and columns have a third of the channels each, frames the
 * rest. */
static void axis_pairs(int head_dim, int first[4])
{
    const int third = head_dim / 3;
    first[0] = 0;
    first[1] = (head_dim - 2 * third) / 2;
    first[2] = first[1] + third / 2;
    first[3] = first[2] + third / 2;
}

double flash_dit_angle(int head_dim, int pair, const int64_t place[3])
{
    int first[4], axis = 0;
    axis_pairs(head_dim, first);
    while (axis < 2 && pair >= first[axis + 1]) axis++;
    const int width = 2 * (first[axis + 1] - first[axis]);
    return (double)place[axis] * pow(10000.0, -2.0 * (pair - first[axis]) / width);
}

void flash_dit_seek(FlashDitStream *s, int chunk)
{
    /* Only differences of positions matter, so they go on for ever; in double, because they grow. */
    const int64_t latent = chunk == 0 ? 0 : FLASH_FIRST_LATENTS + (int64_t)(chunk - 1) * FLASH_LATENTS;
    s->chunk = chunk;
    float *rotary = dev_write(s->d, s->rotary);
    for (int r = 0; rotary != NULL && r < s->rotary.t; r++) {
        const int64_t place[3] = {latent + r, r, r};
        float *row = rotary + r * s->rotary.stride_t;
        memset(row, 0, (size_t)s->rotary.c_pad * sizeof *row);
        for (int k = 0; k < s->head_dim / 2; k++) {
            const double angle = flash_dit_angle(s->head_dim, k, place);
            row[2 * k] = (float)cos(angle);
            row[2 * k + 1] = (float)sin(angle);
        }
    }
    dev_write_end(s->d, s->rotary, rotary);
}

/* Rotates queries or keys of slices first .. in window order. */
static void rotate(FlashDitStream *s, Tensor x, int first)
{
    RotateArgs a = {.x = x,
                    .heads = s->setup.heads,
                    .head_dim = s->head_dim,
                    .table = s->rotary,
                    .place = tensor_window(s->place, 0, first * s->windows * WINDOW_TOKENS, 1, x.t * x.h * x.w)};
    axis_pairs(s->head_dim, a.first);
    dev_rotate(s->d, &a);
}

Tensor flash_dit_to_windows(FlashDitStream *s, Tensor tokens)
{
    Tensor x = dev_tensor(s->d, tokens.t / FLASH_SLICE, s->windows, WINDOW_TOKENS, tokens.c);
    dev_rows(s->d, x, tokens, s->to_windows);
    return x;
}

Tensor flash_dit_from_windows(FlashDitStream *s, Tensor windows)
{
    Tensor x = dev_tensor(s->d, windows.t * FLASH_SLICE, s->h, s->w, windows.c);
    dev_rows(s->d, x, windows, s->from_windows);
    return x;
}

/* ----------------------------------------------------------------------------------------------------------- block */

static void tap(FlashDitStream *s, const char *what, int block, Tensor x)
{
    char where[32];
    snprintf(where, sizeof where, "%s%d", what, block);
    flash_tap_value(&s->m->tap, s->d, where, s->chunk, x);
}

KeySlice flash_dit_remember(FlashDitStream *s, int block)
{
    BlockState *b = &s->block[block];
    return b->keys[b->slices++] = s->spare[--s->spares];
}

/* A chunk's one slice too many: only ever the oldest goes. */
static void forget(FlashDitStream *s, BlockState *b)
{
    if (b->slices <= s->setup.kv_slices) return;
    s->spare[s->spares++] = b->keys[0];
    b->slices--;
    memmove(b->keys, b->keys + 1, (size_t)b->slices * sizeof *b->keys);
}

/* Shows a mask to the tap, which may write another into it. */
static void tap_mask(FlashDitStream *s, int block, Tensor mask, int queries, int keys)
{
    const FlashvsrTap *t = &s->m->tap;
    if (t->mask == NULL || dev_is_plan(s->d) || !dev_ok(s->d)) return;
    const size_t count = (size_t)s->setup.heads * (size_t)queries * (size_t)keys;
    uint8_t *bytes = malloc(count);
    const float *values = dev_read(s->d, mask);
    for (size_t i = 0; bytes != NULL && values != NULL && i < count; i++) bytes[i] = (uint8_t)values[i];
    if (bytes != NULL && values != NULL) t->mask(t->user, block, s->chunk, bytes, s->setup.heads, queries, keys);
    dev_read_end(s->d, values);
    float *to = dev_write(s->d, mask);
    for (int64_t i = 0; to != NULL && i < mask.h * mask.stride_h; i++) to[i] = 0.0f;
    for (size_t i = 0; bytes != NULL && to != NULL && i < count; i++) to[i] = bytes[i];
    dev_write_end(s->d, mask, to);
    free(bytes);
}

/* Which key blocks each query block sees. */
static Tensor choose_blocks(FlashDitStream *s, int block, Tensor q)
{
    const BlockState *b = &s->block[block];
    const int queries = q.t * s->windows, keys = b->slices * s->windows * (WINDOW_TOKENS / s->setup.block_keys);
    Tensor mask = dev_bytes(s->d, (int64_t)s->setup.heads * queries * keys);
    dev_block_mask(s->d, &(BlockMaskArgs){.q = q,
                                          .keys = b->keys,
                                          .key_slices = b->slices,
                                          .heads = s->setup.heads,
                                          .head_dim = s->head_dim,
                                          .block_keys = s->setup.block_keys,
                                          .rows = s->h / FLASH_WINDOW,
                                          .columns = s->w / FLASH_WINDOW,
                                          .local_range = s->setup.local_range,
                                          .keep = s->keep,
                                          .mask = mask});
    tap_mask(s, block, mask, queries, keys);
    return mask;
}

/* How many that are, of a head and a slice of queries, but for equal values. */
static int64_t chosen_blocks(const FlashDitStream *s, int slices)
{
    const int64_t all = s->near * slices * (WINDOW_TOKENS / s->setup.block_keys);
    return s->keep >= 0 && s->keep < all ? s->keep : all;
}

/* x += self attention(mod(norm(x))) * gate */
static void self_attention(FlashDitStream *s, int block, Tensor x)
{
    Dev *d = s->d;
    const AttentionWeights *w = &s->m->block[block].self;
    BlockState *b = &s->block[block];
    Tensor y = dev_tensor(d, x.t, x.h, x.w, x.c), q = dev_tensor(d, x.t, x.h, x.w, x.c);
    dev_norm(d, &(NormArgs){.stage = STAGE_QKV,
                            .x = x,
                            .y = y,
                            .pre = modulated(row(b->modulation, SCALE1), row(b->modulation, SHIFT1))});
    for (int i = 0; i < x.t; i++) {
        const KeySlice slice = flash_dit_remember(s, block);
        linear(d, STAGE_QKV, tensor_frames(y, i, 1), slice.k, &w->k, (Pre){0}, (Post){0});
        rms(d, STAGE_QKV, slice.k, &w->norm_k);
        rotate(s, slice.k, i);
        linear(d, STAGE_QKV, tensor_frames(y, i, 1), slice.v, &w->v, (Pre){0}, (Post){0});
    }
    linear(d, STAGE_QKV, y, q, &w->q, (Pre){0}, (Post){0});
    dev_free(d, &y);
    rms(d, STAGE_QKV, q, &w->norm_q);
    rotate(s, q, 0);
    Tensor mask = choose_blocks(s, block, q);
    dev_block_attention(d, &(BlockAttentionArgs){.stage = STAGE_ATTENTION,
                                                 .q = q,
                                                 .o = q,
                                                 .keys = b->keys,
                                                 .key_slices = b->slices,
                                                 .heads = s->setup.heads,
                                                 .head_dim = s->head_dim,
                                                 .block_keys = s->setup.block_keys,
                                                 .scale = (float)(1.0 / sqrt((double)s->head_dim)),
                                                 .mask = mask,
                                                 .chosen = chosen_blocks(s, b->slices)});
    dev_free(d, &mask);
    tap(s, "attention", block, q);
    tap(s, "new_k", block, b->keys[b->slices - 1].k);
    tap(s, "new_v", block, b->keys[b->slices - 1].v);
    linear(d, STAGE_PROJECTION, q, x, &w->o, (Pre){0}, (Post){.gate = row(b->modulation, GATE1), .residual = x});
    dev_free(d, &q);
    forget(s, b);
}

/* x += cross attention(norm3(x)), without gate and rotation */
static void cross_attention(FlashDitStream *s, int block, Tensor x)
{
    Dev *d = s->d;
    const BlockWeights *w = &s->m->block[block];
    const Pre norm3 = {.norm = NORM_LAYER, .eps = EPS, .gamma = &w->norm3_gamma, .beta = &w->norm3_beta};
    Tensor q = dev_tensor(d, x.t, x.h, x.w, x.c);
    linear(d, STAGE_CROSS, x, q, &w->cross.q, norm3, (Post){0});
    rms(d, STAGE_CROSS, q, &w->cross.norm_q);
    dev_block_attention(d, &(BlockAttentionArgs){.stage = STAGE_CROSS,
                                                 .q = q,
                                                 .o = q,
                                                 .keys = &s->block[block].text,
                                                 .key_slices = 1,
                                                 .heads = s->setup.heads,
                                                 .head_dim = s->head_dim,
                                                 .block_keys = s->m->text_rows,
                                                 .scale = (float)(1.0 / sqrt((double)s->head_dim)),
                                                 .last_key_bias = (float)log((double)s->m->equal_rows)});
    linear(d, STAGE_PROJECTION, q, x, &w->cross.o, (Pre){0}, (Post){.residual = x});
    dev_free(d, &q);
}

/* x += mlp(mod(norm(x))) * gate, some windows at a time. */
static void mlp(FlashDitStream *s, int block, Tensor x)
{
    Dev *d = s->d;
    const BlockWeights *w = &s->m->block[block];
    const Tensor modulation = s->block[block].modulation;
    const int most = CHUNK_TOKENS / WINDOW_TOKENS;
    for (int t = 0; t < x.t; t++) {
        for (int h = 0; h < x.h; h += most) {
            Tensor part = tensor_rows(tensor_frames(x, t, 1), h, x.h - h < most ? x.h - h : most);
            Tensor hidden = dev_tensor(d, 1, part.h, part.w, s->m->hidden);
            linear(d, STAGE_MLP, part, hidden, &w->mlp_in, modulated(row(modulation, SCALE2), row(modulation, SHIFT2)),
                   (Post){.act = ACT_GELU_TANH});
            linear(d, STAGE_MLP, hidden, part, &w->mlp_out, (Pre){0},
                   (Post){.gate = row(modulation, GATE2), .residual = part});
            dev_free(d, &hidden);
        }
    }
}

void flash_dit_block(FlashDitStream *s, int block, Tensor x)
{
    self_attention(s, block, x);
    cross_attention(s, block, x);
    mlp(s, block, x);
    tap(s, "block", block, x);
}

void flash_dit_chunk(FlashDitStream *s, Tensor lq, Tensor latent)
{
    Dev *d = s->d;
    const FlashDit *m = s->m;
    flash_dit_seek(s, s->chunk);
    Tensor tokens = dev_tensor(d, latent.t, s->h, s->w, m->width);
    dev_conv3d(d, &(ConvArgs){.stage = STAGE_EMBED,
                              .x = latent,
                              .y = tokens,
                              .weight = &m->patch,
                              .bias = &m->patch_bias,
                              .kt = 1,
                              .kh = PATCH,
                              .kw = PATCH,
                              .stride_t = 1,
                              .stride_h = PATCH,
                              .stride_w = PATCH,
                              .post.residual = lq});
    Tensor x = flash_dit_to_windows(s, tokens);
    dev_free(d, &tokens);
    for (int i = 0; i < m->layers && dev_ok(d); i++) flash_dit_block(s, i, x);
    tokens = flash_dit_from_windows(s, x);
    dev_free(d, &x);
    Tensor velocity = dev_floats(d, latent.t, latent.h, latent.w, m->channels);
    for (int t = 0; t < latent.t; t++) { /* columns are [row in patch][column in patch][channel]: a sub-pixel shuffle */
        linear(d, STAGE_OUT, tensor_frames(tokens, t, 1), tensor_frames(velocity, t, 1), &m->head,
               modulated(s->head_scale, s->head_shift), (Post){.shuffle_space = PATCH, .shuffle_time = 1});
    }
    dev_free(d, &tokens);
    dev_axpby(d, latent, 1.0f, latent, -1.0f, velocity);
    dev_free(d, &velocity);
    s->chunk++;
}
