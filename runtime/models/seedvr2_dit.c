#include "runtime/models/seedvr2_dit.h"

#include "runtime/models/bind.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS_MAX = 256, PATCH = 2, STREAMS = 2 };
enum { VIDEO, TEXT };                      /* streams */
enum { ATTN, MLP };                        /* layers of a block, in the order of the time embedding */
enum { SHIFT, SCALE, GATE };               /* parts of a layer */
static const float EPS = 1e-5f;            /* of every norm */
static const double TIME_MAX = 1000.0;     /* length of the schedule */
enum { CHUNK_TOKENS = 4096 };              /* tokens of one pass over a layer's weights: bounds the MLP's hidden layer */

/* Stages of the precision policy (dev.h). */
enum { STAGE_EMBED = STAGES_DIT, STAGE_OUT, STAGE_QKV, STAGE_ATTENTION, STAGE_PROJECTION, STAGE_MLP };

/* ------------------------------------------------------------------------------------------------------------ weights */

/* One stream's weights of one block. D = width, E = heads * head_dim, M = hidden width of the MLP. */
typedef struct StreamWeights {
    LinearWeights qkv;        /* [3 E, D], no bias */
    LinearWeights out;        /* [D, E] */
    BoundWeight q_gain, k_gain; /* [head_dim] */
    LinearWeights mlp_gate;   /* [M, D], 3B only, no bias */
    LinearWeights mlp_in;     /* [M, D] */
    LinearWeights mlp_out;    /* [D, M] */
    BoundWeight ada[2][3];    /* [D]: attn, mlp; shift, scale, gate */
} StreamWeights;

typedef struct BlockWeights {
    StreamWeights stream[STREAMS]; /* the same one twice where they are shared */
} BlockWeights;

struct Dit {
    DitConfig config;
    const WeightPart *part;
    LinearWeights vid_in;                      /* [D, 2 * 2 * in_channels] */
    LinearWeights txt_in;                      /* [D, text width] */
    LinearWeights emb_in, emb_hid, emb_out;    /* [D, 256], [D, D], [6 D, D] */
    BoundWeight out_norm, out_shift, out_scale; /* [D], 3B only */
    LinearWeights vid_out;                     /* [2 * 2 * out_channels, D] */
    BlockWeights *block;
    DitTap tap;
    void *tap_user;
};

/* A linear layer without bias. */
static void bind_plain(Binder *b, LinearWeights *w, int64_t out, int64_t in, const char *name)
{
    bind_tensor(b, &w->weight, 2, (const int64_t[]){out, in}, "%s.weight", name);
}

static void bind_stream(Binder *b, const DitConfig *c, StreamWeights *s, int block, const char *tag)
{
    static const char *const layers[] = {"attn", "mlp"}, *const parts[] = {"shift", "scale", "gate"};
    const int64_t d = c->width, e = (int64_t)c->heads * c->head_dim, hidden = c->mlp_hidden;
    bind_plain(b, &s->qkv, 3 * e, d, NAME("blocks.%d.attn.proj_qkv.%s", block, tag));
    bind_linear(b, &s->out, d, e, "blocks.%d.attn.proj_out.%s", block, tag);
    bind_vector(b, &s->q_gain, c->head_dim, "blocks.%d.attn.norm_q.%s.weight", block, tag);
    bind_vector(b, &s->k_gain, c->head_dim, "blocks.%d.attn.norm_k.%s.weight", block, tag);
    if (c->is_7b) {
        bind_linear(b, &s->mlp_in, hidden, d, "blocks.%d.mlp.%s.proj_in", block, tag);
        bind_linear(b, &s->mlp_out, d, hidden, "blocks.%d.mlp.%s.proj_out", block, tag);
    } else {
        bind_plain(b, &s->mlp_gate, hidden, d, NAME("blocks.%d.mlp.%s.proj_in_gate", block, tag));
        bind_plain(b, &s->mlp_in, hidden, d, NAME("blocks.%d.mlp.%s.proj_in", block, tag));
        bind_plain(b, &s->mlp_out, d, hidden, NAME("blocks.%d.mlp.%s.proj_out", block, tag));
    }
    for (int l = 0; l < 2; l++) {
        for (int p = 0; p < 3; p++) {
            bind_vector(b, &s->ada[l][p], d, "blocks.%d.ada.%s.%s_%s", block, tag, layers[l], parts[p]);
        }
    }
}

Dit *dit_open(const WeightPart *part, char *error, size_t error_size)
{
    Dit *m = calloc(1, sizeof *m);
    if (m != NULL) m->block = calloc((size_t)part->dit.layers, sizeof *m->block);
    if (m == NULL || m->block == NULL) {
        free(m);
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    m->config = part->dit;
    m->part = part;
    Binder b = {.part = part, .error = error, .error_size = error_size};
    const DitConfig *c = &m->config;
    const int64_t d = c->width;
    bind_linear(&b, &m->vid_in, d, PATCH * PATCH * c->in_channels, "vid_in.proj");
    bind_linear(&b, &m->txt_in, d, c->text_width, "txt_in");
    bind_linear(&b, &m->emb_in, d, c->time_width, "emb_in.proj_in");
    bind_linear(&b, &m->emb_hid, d, d, "emb_in.proj_hid");
    bind_linear(&b, &m->emb_out, 6 * d, d, "emb_in.proj_out");
    for (int i = 0; i < c->layers; i++) {
        bind_stream(&b, c, &m->block[i].stream[VIDEO], i, c->shared[i] ? "all" : "vid");
        bind_stream(&b, c, &m->block[i].stream[TEXT], i, c->shared[i] ? "all" : "txt");
    }
    if (!c->is_7b) {
        bind_vector(&b, &m->out_norm, d, "vid_out_norm.weight");
        bind_vector(&b, &m->out_shift, d, "vid_out_ada.out_shift");
        bind_vector(&b, &m->out_scale, d, "vid_out_ada.out_scale");
    }
    bind_linear(&b, &m->vid_out, PATCH * PATCH * c->out_channels, d, "vid_out.proj");
    if (b.failed) {
        dit_close(m);
        return NULL;
    }
    /* a row of vid_in is [row in patch][column in patch][channel]: a 2x2 convolution with its channels last */
    m->vid_in.weight.rank = 4;
    m->vid_in.weight.shape[1] = m->vid_in.weight.shape[2] = PATCH;
    m->vid_in.weight.shape[3] = c->in_channels;
    return m;
}

void dit_close(Dit *m)
{
    if (m == NULL) return;
    free(m->block);
    free(m);
}

const DitConfig *dit_config(const Dit *m) { return &m->config; }

void dit_set_tap(Dit *m, DitTap tap, void *user)
{
    m->tap = tap;
    m->tap_user = user;
}

static void tap(Dit *m, Dev *d, const char *where, Tensor x)
{
    if (m->tap == NULL || dev_is_plan(d) || !dev_ok(d)) return;
    const float *values = dev_read(d, x);
    if (values != NULL) m->tap(m->tap_user, where, values, x.t * x.h * x.w, x.c, x.c_pad);
    dev_read_end(d, values);
}

/* ------------------------------------------------------------------------------------------------------------ windows */

static int divide_up(int a, int b) { return (a + b - 1) / b; }

void dit_window_size(int t, int h, int w, int size[3])
{
    const double scale = sqrt(45.0 * 80.0 / ((double)h * w)); /* windows are sized on a 45 x 80 grid: 720p */
    size[0] = divide_up(t < 30 ? t : 30, 4);
    size[1] = divide_up((int)nearbyint(h * scale), 3);
    size[2] = divide_up((int)nearbyint(w * scale), 3);
}

typedef struct Cut {
    int begin, end;
} Cut;

/* Window i of an axis of n tokens; false past the last one. Shifted windows begin half a window early. */
static bool axis_cut(int n, int size, bool shifted, int i, Cut *cut)
{
    if (!shifted || size >= n) {
        cut->begin = i * size;
        cut->end = cut->begin + size < n ? cut->begin + size : n;
    } else {
        cut->begin = i > 0 ? (2 * i - 1) * size / 2 : 0;
        cut->end = (2 * i + 1) * size / 2 < n ? (2 * i + 1) * size / 2 : n;
    }
    return cut->begin < n;
}

int dit_windows(int t, int h, int w, bool shifted, AttentionWindow *rows)
{
    int size[3], count = 0;
    Cut a, b, c;
    dit_window_size(t, h, w, size);
    for (int i = 0; axis_cut(w, size[2], shifted, i, &c); i++) {
        for (int j = 0; axis_cut(h, size[1], shifted, j, &b); j++) {
            for (int k = 0; axis_cut(t, size[0], shifted, k, &a); k++) {
                if (a.end <= a.begin || b.end <= b.begin || c.end <= c.begin) continue;
                if (rows != NULL) rows[count] = (AttentionWindow){a.begin, a.end, b.begin, b.end, c.begin, c.end, 0, 0, 0};
                count++;
            }
        }
    }
    return count;
}

/* ---------------------------------------------------------------------------------------------------- rotary embedding */

/* Everything about one grid that blocks share: windows, plain and shifted, and the rotary table they point into. */
typedef struct Grid {
    AttentionWindow *window[2];
    int count[2];
    float *rope; /* [rows][pairs][2] */
    int rows, pairs;
} Grid;

static void grid_free(Grid *g)
{
    free(g->window[0]);
    free(g->window[1]);
    free(g->rope);
    *g = (Grid){0};
}

/*
 * Frequencies are recomputed, never read: files of reduced precision hold them rounded to nonsense. 3B: 10000^(-2k / d),
 * d = head_dim / 3, of integer positions. 7B: pi (1 .. 128) in equal steps, of positions stretched over [-1, 1].
 */
static double frequency(const DitConfig *c, int k, int pairs)
{
    if (!c->is_7b) return (float)pow(10000.0, -2.0 * k / (c->head_dim / 3));
    return (float)(3.14159265358979323846 * (pairs > 1 ? 1.0 + 127.0 * k / (pairs - 1) : 1.0));
}

static void rope_row(const DitConfig *c, Grid *g, int row, double position)
{
    for (int k = 0; k < g->pairs; k++) {
        const double angle = position * frequency(c, k, g->pairs);
        g->rope[((int64_t)row * g->pairs + k) * 2] = (float)cos(angle);
        g->rope[((int64_t)row * g->pairs + k) * 2 + 1] = (float)sin(angle);
    }
}

static int longest_axis(const Grid *g)
{
    int longest = 1;
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < g->count[s]; i++) {
            const AttentionWindow *w = &g->window[s][i];
            const int n[3] = {w->t1 - w->t0, w->h1 - w->h0, w->w1 - w->w0};
            for (int a = 0; a < 3; a++) longest = n[a] > longest ? n[a] : longest;
        }
    }
    return longest;
}

static bool grid_make(Grid *g, const DitConfig *c, int t, int h, int w, int text_tokens)
{
    *g = (Grid){0};
    for (int s = 0; s < 2; s++) {
        g->count[s] = dit_windows(t, h, w, s == 1, NULL);
        g->window[s] = calloc((size_t)g->count[s], sizeof *g->window[s]);
        if (g->window[s] == NULL) return false;
        dit_windows(t, h, w, s == 1, g->window[s]);
    }
    const int longest = longest_axis(g);
    if (!c->is_7b) {
        g->pairs = c->head_dim / 3 / 2;
        g->rows = text_tokens + longest;
    } else { /* a table for every length of an axis: length n at rows n (n - 1) / 2 .. */
        g->pairs = c->head_dim / 2 / 3 / 2;
        g->rows = longest * (longest + 1) / 2;
    }
    g->rope = calloc((size_t)g->rows * (size_t)g->pairs * 2, sizeof *g->rope);
    if (g->rope == NULL) return false;
    if (!c->is_7b) {
        for (int i = 0; i < g->rows; i++) rope_row(c, g, i, i);
    } else {
        for (int n = 1; n <= longest; n++) {
            for (int i = 0; i < n; i++) rope_row(c, g, n * (n - 1) / 2 + i, n == 1 ? -1.0 : -1.0 + 2.0 * i / (n - 1));
        }
    }
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < g->count[s]; i++) {
            AttentionWindow *v = &g->window[s][i];
            const int nt = v->t1 - v->t0, nh = v->h1 - v->h0, nw = v->w1 - v->w0;
            v->rope_t = c->is_7b ? nt * (nt - 1) / 2 : text_tokens; /* 3B: video stands behind the text in time */
            v->rope_h = c->is_7b ? nh * (nh - 1) / 2 : 0;
            v->rope_w = c->is_7b ? nw * (nw - 1) / 2 : 0;
        }
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------------------- layers */

static const BoundWeight *optional(const BoundWeight *w) { return w->tensor != NULL ? w : NULL; }

static void linear(Dev *d, int stage, Tensor x, Tensor y, const LinearWeights *w, Pre pre, Post post)
{
    dev_linear(d, &(LinearArgs){.stage = stage, .x = x, .y = y, .weight = &w->weight, .bias = optional(&w->bias), .pre = pre,
                                .post = post});
}

static Tensor vector(Dev *d, int c) { return dev_floats(d, 1, 1, 1, c); }

/* emb [6 D]: sinusoids of the timestep (sines first) through two hidden layers. */
static Tensor time_embedding(Dit *m, Dev *d, float timestep)
{
    const int width = m->config.width, half = m->config.time_width / 2;
    Tensor e = vector(d, 2 * half), a = vector(d, width), b = vector(d, width), emb = vector(d, 6 * width);
    float *sinusoids = dev_write(d, e);
    for (int k = 0; sinusoids != NULL && k < half; k++) {
        /* the angle in float32, as the network was trained: at 1000 radians its rounding shows */
        const float f = (float)exp((double)((float)-9.210340371976184 * (float)k / (float)half)), angle = timestep * f;
        sinusoids[k] = (float)sin((double)angle);
        sinusoids[half + k] = (float)cos((double)angle);
    }
    for (int k = 2 * half; sinusoids != NULL && k < e.c_pad; k++) sinusoids[k] = 0.0f;
    dev_write_end(d, e, sinusoids);
    const Post silu = {.act = ACT_SILU};
    linear(d, STAGE_EMBED, e, a, &m->emb_in, (Pre){0}, silu);
    linear(d, STAGE_EMBED, a, b, &m->emb_hid, (Pre){0}, silu);
    linear(d, STAGE_EMBED, b, emb, &m->emb_out, (Pre){0}, (Post){0});
    dev_free(d, &e);
    dev_free(d, &a);
    dev_free(d, &b);
    tap(m, d, "emb", emb);
    return emb;
}

/* shift, scale and gate of one layer for one stream: emb part + the block's own parameter. */
typedef struct Modulation {
    Tensor shift, scale, gate;
} Modulation;

static Modulation modulation(Dev *d, Tensor emb, int layer, const BoundWeight ada[3], int width)
{
    Modulation v = {vector(d, width), vector(d, width), vector(d, width)};
    dev_modulation(d, v.shift, emb, layer, SHIFT, &ada[SHIFT]);
    dev_modulation(d, v.scale, emb, layer, SCALE, &ada[SCALE]);
    dev_modulation(d, v.gate, emb, layer, GATE, &ada[GATE]);
    return v;
}

static void modulation_free(Dev *d, Modulation *v)
{
    dev_free(d, &v->shift);
    dev_free(d, &v->scale);
    dev_free(d, &v->gate);
}

/* rms(x) * scale + shift (not 1 + scale); v NULL: rms(x) alone. */
static Pre modulated(const Modulation *v)
{
    Pre p = {.norm = NORM_RMS, .eps = EPS};
    if (v != NULL) {
        p.scale = v->scale;
        p.shift = v->shift;
    }
    return p;
}

/* How many rows make about CHUNK_TOKENS tokens. */
static int chunk_rows(Tensor x)
{
    const int rows = CHUNK_TOKENS / x.w, all = x.t * x.h;
    return rows < 1 ? 1 : rows < all ? rows : all;
}

static int min_int(int a, int b) { return a < b ? a : b; }

/* x += mlp(mod(rms(x))) * gate, a piece of the tokens at a time. */
static void mlp(Dev *d, const DitConfig *c, const StreamWeights *w, Tensor x, const Modulation *v)
{
    const int rows = chunk_rows(x), all = x.t * x.h;
    const LinearWeights *first = c->is_7b ? &w->mlp_in : &w->mlp_gate;
    for (int r = 0; r < all; r += rows) {
        Tensor part = tensor_rows(x, r, min_int(rows, all - r));
        Tensor hidden = dev_tensor(d, 1, part.h, part.w, c->mlp_hidden);
        dev_linear(d, &(LinearArgs){.stage = STAGE_MLP, .x = part, .y = hidden, .weight = &first->weight,
                                    .glu = c->is_7b ? NULL : &w->mlp_in.weight, .bias = optional(&first->bias),
                                    .pre = modulated(v), .post.act = c->is_7b ? ACT_GELU_TANH : ACT_SILU});
        linear(d, STAGE_MLP, hidden, part, &w->mlp_out, (Pre){0}, (Post){.gate = v->gate, .residual = part});
        dev_free(d, &hidden);
    }
}

static Tensor packed_qkv(Dev *d, const StreamWeights *w, Tensor x, Pre pre)
{
    Tensor qkv = dev_tensor(d, x.t, x.h, x.w, (int)w->qkv.weight.shape[0]);
    const int rows = chunk_rows(x), all = x.t * x.h;
    for (int r = 0; r < all; r += rows) {
        const int count = min_int(rows, all - r);
        linear(d, STAGE_QKV, tensor_rows(x, r, count), tensor_rows(qkv, r, count), &w->qkv, pre, (Post){0});
    }
    return qkv;
}

/* One transformer block over vid [t][h][w][D] and txt [1][1][L][D], in place. */
static void block(Dit *m, Dev *d, int i, const Grid *g, Tensor emb, Tensor vid, Tensor txt)
{
    const DitConfig *c = &m->config;
    const StreamWeights *v = &m->block[i].stream[VIDEO], *x = &m->block[i].stream[TEXT];
    const int e = c->heads * c->head_dim, shifted = i % 2;
    const bool last = i == c->layers - 1;     /* text is not read after it */
    const bool bare_text = last && !c->is_7b; /* there the 3B's text is normed but not modulated */

    Modulation mv = modulation(d, emb, ATTN, v->ada[ATTN], c->width), mt = modulation(d, emb, ATTN, x->ada[ATTN], c->width);
    Tensor qkv = packed_qkv(d, v, vid, modulated(&mv));
    Tensor text_qkv = packed_qkv(d, x, txt, modulated(bare_text ? NULL : &mt));
    Tensor text_o = {0};
    if (!last) text_o = dev_tensor(d, 1, 1, txt.w, e);
    AttentionArgs a = {.stage = STAGE_ATTENTION, .heads = c->heads, .head_dim = c->head_dim,
                       .scale = (float)(1.0 / sqrt((double)c->head_dim)), .eps = EPS, .q_gain = &v->q_gain,
                       .k_gain = &v->k_gain, .text_q_gain = &x->q_gain, .text_k_gain = &x->k_gain,
                       .windows = g->window[shifted], .window_count = g->count[shifted], .rope = g->rope,
                       .rope_rows = g->rows, .rope_pairs = g->pairs, .rope_text = !c->is_7b};
    a.q = tensor_channels(qkv, 0, e);
    a.k = tensor_channels(qkv, e, e);
    a.v = tensor_channels(qkv, 2 * e, e);
    a.o = a.q; /* a window's queries are read before its results are written, and no other window has them */
    a.text_q = tensor_channels(text_qkv, 0, e);
    a.text_k = tensor_channels(text_qkv, e, e);
    a.text_v = tensor_channels(text_qkv, 2 * e, e);
    a.text_o = text_o;
    dev_attention(d, &a);
    linear(d, STAGE_PROJECTION, a.o, vid, &v->out, (Pre){0}, (Post){.gate = mv.gate, .residual = vid});
    if (!last) linear(d, STAGE_PROJECTION, text_o, txt, &x->out, (Pre){0}, (Post){.gate = mt.gate, .residual = txt});
    dev_free(d, &text_o);
    dev_free(d, &text_qkv);
    dev_free(d, &qkv);
    modulation_free(d, &mv);
    modulation_free(d, &mt);

    mv = modulation(d, emb, MLP, v->ada[MLP], c->width);
    mlp(d, c, v, vid, &mv);
    modulation_free(d, &mv);
    if (!last) {
        mt = modulation(d, emb, MLP, x->ada[MLP], c->width);
        mlp(d, c, x, txt, &mt);
        modulation_free(d, &mt);
    }
}

/* Tokens of a text [L][width] or [1][L][width]. */
static int text_tokens(const WeightPart *text)
{
    const WeightTensor *t = text->tensor;
    return (int)(t->count / t->shape[t->rank - 1]);
}

void dit_forward(Dit *m, Dev *d, Tensor x, const WeightPart *embedding, float timestep, Tensor y)
{
    const DitConfig *c = &m->config;
    if (x.h % PATCH != 0 || x.w % PATCH != 0 || x.c != c->in_channels || embedding == NULL) {
        dev_fail(d, "the transformer takes latents of even height and width with %d channels and a text; found %dx%d with %d "
                 "channels and %s text", c->in_channels, x.w, x.h, x.c, embedding == NULL ? "no" : "a");
        return;
    }
    const int t = x.t, h = x.h / PATCH, w = x.w / PATCH;
    Grid g;
    if (!grid_make(&g, c, t, h, w, text_tokens(embedding))) {
        grid_free(&g);
        dev_fail(d, "out of memory");
        return;
    }
    Tensor vid = dev_tensor(d, t, h, w, c->width);
    dev_conv3d(d, &(ConvArgs){.stage = STAGE_EMBED, .x = x, .y = vid, .weight = &m->vid_in.weight,
                              .weight_channels_last = true, .bias = &m->vid_in.bias, .kt = 1, .kh = PATCH, .kw = PATCH,
                              .stride_t = 1, .stride_h = PATCH, .stride_w = PATCH});
    tap(m, d, "vid_in", vid);
    Tensor words = dev_text(d, embedding, text_tokens(embedding));
    Tensor txt = dev_tensor(d, 1, 1, words.w, c->width);
    linear(d, STAGE_EMBED, words, txt, &m->txt_in, (Pre){0}, (Post){0});
    tap(m, d, "txt_in", txt);
    dev_free(d, &words);
    Tensor emb = time_embedding(m, d, timestep);

    for (int i = 0; i < c->layers && dev_ok(d); i++) {
        block(m, d, i, &g, emb, vid, txt);
        tap(m, d, NAME("block%d.vid", i), vid);
        tap(m, d, NAME("block%d.txt", i), txt);
    }

    Tensor shift = {0}, scale = {0};
    Pre pre = {0};
    if (!c->is_7b) { /* modulated by the slots of layer attn: there the original finds the embedding of its blocks */
        shift = vector(d, c->width);
        scale = vector(d, c->width);
        dev_modulation(d, shift, emb, ATTN, SHIFT, &m->out_shift);
        dev_modulation(d, scale, emb, ATTN, SCALE, &m->out_scale);
        pre = (Pre){.norm = NORM_RMS, .eps = EPS, .gamma = &m->out_norm, .scale = scale, .shift = shift};
    }
    for (int f = 0; f < t; f++) { /* columns are [row in patch][column in patch][channel]: a sub-pixel shuffle */
        linear(d, STAGE_OUT, tensor_frames(vid, f, 1), tensor_frames(y, f, 1), &m->vid_out, pre,
               (Post){.shuffle_space = PATCH, .shuffle_time = 1});
    }
    dev_free(d, &shift);
    dev_free(d, &scale);
    dev_free(d, &emb);
    dev_free(d, &txt);
    dev_free(d, &vid);
    grid_free(&g);
}

/* ------------------------------------------------------------------------------------------------------------ sampler */

void dit_sample(Dit *m, Dev *d, Tensor x, Tensor condition, const WeightPart *embedding, const WeightPart *negative,
                DitSampling s, void (*progress)(void *user, double done), void *user)
{
    const Tensor none = {0};
    const int channels = x.c;
    Tensor in = dev_floats(d, x.t, x.h, x.w, channels + condition.c);
    Tensor v = dev_floats(d, x.t, x.h, x.w, channels);
    for (int i = 0; i < s.steps && dev_ok(d); i++) {
        const double t = TIME_MAX * (1.0 - (double)i / s.steps), u = t / TIME_MAX;
        dev_axpby(d, tensor_channels(in, 0, channels), 1.0f, x, 0.0f, none);
        dev_axpby(d, tensor_channels(in, channels, condition.c), 1.0f, condition, 0.0f, none);
        dit_forward(m, d, in, embedding, (float)t, v);
        if (s.guidance != 1.0) {
            Tensor n = dev_floats(d, x.t, x.h, x.w, channels);
            dit_forward(m, d, in, negative, (float)t, n);
            dev_guide(d, v, n, (float)s.guidance, (float)s.guidance_rescale);
            dev_free(d, &n);
        }
        /* x_0 = x - u v; then mixed with x_T = x + (1 - u) v for the next timestep, u' / 1000 of it */
        const double next = i + 1 < s.steps ? 1.0 - (double)(i + 1) / s.steps : 0.0;
        dev_axpby(d, x, 1.0f, x, (float)(-u * (1.0 - next) + next * (1.0 - u)), v);
        if (progress != NULL) progress(user, (double)(i + 1) / s.steps);
    }
    dev_free(d, &v);
    dev_free(d, &in);
}
