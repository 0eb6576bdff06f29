#include "runtime/models/wan_vae.h"

#include "runtime/models/bind.h"
#include "runtime/models/planar.h"
#include "runtime/tile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLORS = 3, LATENT = 16, SIDE = 8, FRAMES = 4, BLOCKS_MAX = 32, CONVS_MAX = 96 };

/* Of the latents' channels: the transformer sees (z - mean) / deviation. */
static const float MEAN[LATENT] = {-0.7571f, -0.7089f, -0.9113f, 0.1075f,  -0.1745f, 0.9653f,  -0.1517f, 1.5508f,
                                   0.4134f,  -0.0715f, 0.5517f,  -0.3632f, -0.1922f, -0.9497f, 0.2503f,  -0.2921f};
static const float DEVIATION[LATENT] = {2.8184f, 1.4541f, 2.3275f, 2.6558f, 1.2196f, 1.7708f, 2.6052f, 2.0743f,
                                        3.2687f, 2.1526f, 2.8652f, 1.5579f, 1.6382f, 1.1253f, 2.8251f, 1.9160f};

enum { STAGE_IN = STAGES_WAN, STAGE_OUT, STAGE_MID, STAGE_LEVEL }; /* of the precision policy (dev.h) */

/* ---------------------------------------------------------------------------------------------------------- weights */

typedef struct ConvWeights {
    char name[64];
    BoundWeight weight, bias; /* [C', C, kt, k, k], [C'] */
    int kt, k, id;            /* id: index of its history in a stream */
} ConvWeights;

typedef struct ResidualWeights {
    BoundWeight gamma1;     /* [C] */
    ConvWeights conv1;      /* [C', C, 3, 3, 3] */
    BoundWeight gamma2;     /* [C'] */
    ConvWeights conv2;      /* [C', C', 3, 3, 3] */
    LinearWeights shortcut; /* [C', C] when C != C' */
    bool has_shortcut;
} ResidualWeights;

typedef struct AttentionWeights {
    BoundWeight gamma;       /* [C] */
    LinearWeights qkv, proj; /* [3C, C], [C, C] */
} AttentionWeights;

typedef struct ResampleWeights {
    ConvWeights space; /* decoder [C / 2, C, 1, 3, 3], encoder [C, C, 1, 3, 3] */
    ConvWeights time;  /* decoder [2C, C, 3, 1, 1], encoder [C, C, 3, 1, 1] */
    bool has_time;
} ResampleWeights;

typedef enum BlockKind { BLOCK_RESIDUAL, BLOCK_ATTENTION, BLOCK_RESAMPLE } BlockKind;

typedef struct Block {
    char name[48];
    BlockKind kind;
    ResidualWeights residual;
    AttentionWeights attention;
    ResampleWeights resample;
} Block;

typedef struct Half {
    ConvWeights in;
    Block block[BLOCKS_MAX];
    int blocks;
    Block middle[3];
    BoundWeight out_gamma;
    ConvWeights out;
    LinearWeights latent; /* decoder: conv2 [z, z] in front; encoder: conv1 [2z, 2z] behind */
    int top;              /* channels of the middle */
} Half;

struct WanVae {
    Half encoder, decoder;
    const ConvWeights *conv[CONVS_MAX]; /* by id */
    int convs;
    VaeTap tap;
    void *tap_user;
};

static void bind_conv(WanVae *v, Binder *b, ConvWeights *w, int co, int ci, int kt, int k, const char *stem,
                      const char *name)
{
    snprintf(w->name, sizeof w->name, "%s%s", stem, name);
    bind_vector(b, &w->bias, co, "%s.bias", w->name); /* first: co was read off it, so a missing one is named */
    bind_tensor(b, &w->weight, 5, (const int64_t[]){co, ci, kt, k, k}, "%s.weight", w->name);
    w->kt = kt;
    w->k = k;
    if (v->convs == CONVS_MAX) {
        binder_fail(b, "the Wan VAE has more than %d convolutions", CONVS_MAX);
        return;
    }
    w->id = v->convs;
    v->conv[v->convs++] = w;
}

/* C' of a block of ci channels. */
static int bind_residual(WanVae *v, Binder *b, Block *k, int ci)
{
    ResidualWeights *r = &k->residual;
    const int co = (int)binder_count(b, "%s.residual.2.bias", k->name);
    k->kind = BLOCK_RESIDUAL;
    bind_vector(b, &r->gamma1, ci, "%s.residual.0.gamma", k->name);
    bind_conv(v, b, &r->conv1, co, ci, 3, 3, k->name, ".residual.2");
    bind_vector(b, &r->gamma2, co, "%s.residual.3.gamma", k->name);
    bind_conv(v, b, &r->conv2, co, co, 3, 3, k->name, ".residual.6");
    r->has_shortcut = ci != co;
    if (r->has_shortcut) bind_linear(b, &r->shortcut, co, ci, "%s.shortcut", k->name);
    return co;
}

static void bind_attention(Binder *b, Block *k, int c)
{
    k->kind = BLOCK_ATTENTION;
    if (c % 4 != 0) binder_fail(b, "the Wan VAE's attention '%s' is %d channels wide, not a multiple of 4", k->name, c);
    bind_vector(b, &k->attention.gamma, c, "%s.norm.gamma", k->name);
    bind_linear(b, &k->attention.qkv, 3 * (int64_t)c, c, "%s.to_qkv", k->name);
    bind_linear(b, &k->attention.proj, c, c, "%s.proj", k->name);
}

/* Whether any tensor's name begins with `module`.`child`: a block that lacks some is not taken for one that is absent. */
static bool has_part(const Binder *b, const char *module, const char *child)
{
    char begin[1100];
    const int length = snprintf(begin, sizeof begin, "%s%s.%s", b->part->prefix, module, child);
    for (size_t i = 0; i < weight_file_tensor_count(b->part->file); i++) {
        if (strncmp(weight_file_tensor(b->part->file, i)->name, begin, (size_t)length) == 0) return true;
    }
    return false;
}

static int bind_resample(WanVae *v, Binder *b, Block *k, int c, bool decoder)
{
    ResampleWeights *r = &k->resample;
    const int co = (int)binder_count(b, "%s.resample.1.bias", k->name);
    k->kind = BLOCK_RESAMPLE;
    bind_conv(v, b, &r->space, co, c, 1, 3, k->name, ".resample.1");
    r->has_time = has_part(b, k->name, "time_conv.");
    if (r->has_time) bind_conv(v, b, &r->time, decoder ? 2 * c : co, decoder ? c : co, 3, 1, k->name, ".time_conv");
    return co;
}

/* The numbered blocks, kinds read off the names below each number; c channels come in. Gives what goes out. */
static int bind_blocks(WanVae *v, Binder *b, Half *h, const char *stem, int c, bool decoder)
{
    int frames = 1, factor = 1;
    for (int n = 0; !b->failed; n++) {
        char name[sizeof h->block[0].name];
        snprintf(name, sizeof name, "%s.%d", stem, n);
        if (!has_part(b, name, "")) break;
        if (n == BLOCKS_MAX) {
            binder_fail(b, "the Wan VAE has more than %d blocks under '%s'", BLOCKS_MAX, stem);
            break;
        }
        Block *k = &h->block[h->blocks++];
        memcpy(k->name, name, sizeof name);
        if (has_part(b, name, "residual.")) {
            c = bind_residual(v, b, k, c);
        } else if (has_part(b, name, "to_qkv.")) {
            bind_attention(b, k, c);
        } else {
            c = bind_resample(v, b, k, c, decoder);
            factor *= 2;
            if (k->resample.has_time) frames *= 2;
        }
    }
    if (factor != SIDE || frames != FRAMES) {
        binder_fail(
            b, "a latent cell of the Wan VAE's '%s' stands for %d frames of %d x %d pixels; expected %d of %d x %d",
            stem, frames, factor, factor, FRAMES, SIDE, SIDE);
    }
    return c;
}

static void bind_middle(WanVae *v, Binder *b, Half *h, const char *half, int c)
{
    for (int i = 0; i < 3; i++) snprintf(h->middle[i].name, sizeof h->middle[i].name, "%s.middle.%d", half, i);
    bind_residual(v, b, &h->middle[0], c);
    bind_attention(b, &h->middle[1], c);
    bind_residual(v, b, &h->middle[2], c);
}

static void bind_decoder(WanVae *v, Binder *b)
{
    Half *h = &v->decoder;
    bind_linear(b, &h->latent, LATENT, LATENT, "conv2");
    h->top = (int)binder_count(b, "decoder.conv1.bias");
    bind_conv(v, b, &h->in, h->top, LATENT, 3, 3, "decoder", ".conv1");
    bind_middle(v, b, h, "decoder", h->top);
    const int c = bind_blocks(v, b, h, "decoder.upsamples", h->top, true);
    bind_vector(b, &h->out_gamma, c, "decoder.head.0.gamma");
    bind_conv(v, b, &h->out, COLORS, c, 3, 3, "decoder", ".head.2");
}

static void bind_encoder(WanVae *v, Binder *b)
{
    Half *h = &v->encoder;
    const int bottom = (int)binder_count(b, "encoder.conv1.bias");
    bind_conv(v, b, &h->in, bottom, COLORS, 3, 3, "encoder", ".conv1");
    h->top = bind_blocks(v, b, h, "encoder.downsamples", bottom, false);
    bind_middle(v, b, h, "encoder", h->top);
    bind_vector(b, &h->out_gamma, h->top, "encoder.head.0.gamma");
    bind_conv(v, b, &h->out, 2 * LATENT, h->top, 3, 3, "encoder", ".head.2");
    bind_linear(b, &h->latent, 2 * LATENT, 2 * LATENT, "conv1");
}

WanVae *wan_vae_open(const WeightPart *part, bool encoder, bool decoder, char *error, size_t error_size)
{
    WanVae *v = calloc(1, sizeof *v);
    if (v == NULL) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    Binder b = {.part = part, .error = error, .error_size = error_size};
    const int latent = (int)(decoder ? binder_count(&b, "conv2.bias") : binder_count(&b, "conv1.bias") / 2);
    if (latent != 0 && latent != LATENT) {
        binder_fail(
            &b, "the Wan VAE has %d latent channels, but FlashVSR's latents have %d; give a VAE of the Wan 2.1 kind",
            latent, LATENT);
    }
    if (decoder) bind_decoder(v, &b);
    if (encoder) bind_encoder(v, &b);
    if (b.failed) {
        free(v);
        return NULL;
    }
    return v;
}

void wan_vae_close(WanVae *v)
{
    free(v);
}

void wan_vae_set_tap(WanVae *v, VaeTap tap, void *user)
{
    v->tap = tap;
    v->tap_user = user;
}

/* ----------------------------------------------------------------------------------------------------------- stream */

/* What a sample of a tile counts: the smaller of its row's and its column's ramp, over the sum of all tiles there. */
typedef struct RampWeights {
    Tensor rows, columns; /* [1][1][1][n] */
    Tensor total;         /* [1][H][1][W] of the whole result */
} RampWeights;

/* Where the results of a stream go: a window of them, to a place in the whole result. */
typedef struct Placement {
    int top, left, h, w;         /* the window; h 0: all */
    int y, x;                    /* of its first sample in the whole result */
    int done_rows, done_columns; /* of the window: forerunners wrote there, so this is added */
    const RampWeights *ramp;     /* NULL: counts fully */
} Placement;

struct WanStream {
    WanVae *v;
    Dev *d;
    const Half *half;
    int h, w; /* of what comes in */
    ConvState *state[CONVS_MAX];
    bool begun[CONVS_MAX]; /* the convolution has seen a frame */
    FoldedUpsampler *fold[BLOCKS_MAX];
    Tensor pair[BLOCKS_MAX]; /* encoder: frames that wait for the time convolution */
    int waiting[BLOCKS_MAX];
    Tensor scale, shift;              /* [1][1][1][16]: the latents' statistics, undone (decoder) or done (encoder) */
    int64_t seen, written;            /* source frames, result frames */
    int64_t block_frames[BLOCKS_MAX]; /* frames that have left each block */
    PlanarSink to;
    Placement placement;
};

static WanStream *stream_open(WanVae *v, Dev *d, const Half *half, int h, int w)
{
    WanStream *s = calloc(1, sizeof *s);
    if (s == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    *s = (WanStream){.v = v, .d = d, .half = half, .h = h, .w = w};
    s->scale = dev_floats(d, 1, 1, 1, LATENT);
    s->shift = dev_floats(d, 1, 1, 1, LATENT);
    float *scale = dev_write(d, s->scale), *shift = dev_write(d, s->shift);
    for (int c = 0; scale != NULL && shift != NULL && c < LATENT; c++) {
        scale[c] = half == &v->decoder ? DEVIATION[c] : 1.0f / DEVIATION[c];
        shift[c] = half == &v->decoder ? MEAN[c] : -MEAN[c] / DEVIATION[c];
    }
    dev_write_end(d, s->scale, scale);
    dev_write_end(d, s->shift, shift);
    return s;
}

static ConvArgs conv_args(const ConvWeights *w, int stage, Tensor x, Tensor y)
{
    const int pad = w->k / 2;
    return (ConvArgs){.stage = stage,
                      .x = x,
                      .y = y,
                      .weight = &w->weight,
                      .bias = &w->bias,
                      .kt = w->kt,
                      .kh = w->k,
                      .kw = w->k,
                      .stride_t = 1,
                      .stride_h = 1,
                      .stride_w = 1,
                      .pad_top = pad,
                      .pad_left = pad,
                      .pad_bottom = pad,
                      .pad_right = pad,
                      .start_zero = true};
}

/* The history of a convolution over frames of h x w. All are made before anything else, so that what lasts leaves no
 * holes among what comes and goes. */
static void reserve_conv(WanStream *s, const ConvWeights *w, int h, int v, int stride_t)
{
    ConvArgs a = conv_args(w, 0, (Tensor){.h = h, .w = v, .c = (int)w->weight.shape[1]}, (Tensor){0});
    a.stride_t = stride_t;
    if (dev_ok(s->d)) s->state[w->id] = dev_conv_state(s->d, &a, stride_t);
}

static void reserve_residual(WanStream *s, const ResidualWeights *w, int h, int v)
{
    reserve_conv(s, &w->conv1, h, v, 1);
    reserve_conv(s, &w->conv2, h, v, 1);
}

static void reserve_middle(WanStream *s, int h, int v)
{
    reserve_residual(s, &s->half->middle[0].residual, h, v);
    reserve_residual(s, &s->half->middle[2].residual, h, v);
}

static void reserve_blocks(WanStream *s, int h, int v)
{
    const bool decode = s->half == &s->v->decoder;
    for (int i = 0; i < s->half->blocks; i++) {
        const Block *b = &s->half->block[i];
        if (b->kind == BLOCK_RESIDUAL) reserve_residual(s, &b->residual, h, v);
        if (b->kind != BLOCK_RESAMPLE) continue;
        if (b->resample.has_time)
            reserve_conv(s, &b->resample.time, decode ? h : h / 2, decode ? v : v / 2, decode ? 1 : 2);
        h = decode ? 2 * h : h / 2;
        v = decode ? 2 * v : v / 2;
    }
    if (decode) reserve_conv(s, &s->half->out, h, v, 1);
}

/* Up to what decode_from takes. */
static WanStream *front_open(WanVae *v, Dev *d, int h, int w)
{
    WanStream *s = stream_open(v, d, &v->decoder, h, w);
    if (s == NULL) return NULL;
    reserve_conv(s, &s->half->in, h, w, 1);
    reserve_middle(s, h, w);
    return s;
}

static WanStream *blocks_open(WanVae *v, Dev *d, int h, int w)
{
    WanStream *s = stream_open(v, d, &v->decoder, h, w);
    if (s != NULL) reserve_blocks(s, h, w);
    return s;
}

WanStream *wan_decode_open(WanVae *v, Dev *d, int h, int w)
{
    WanStream *s = front_open(v, d, h, w);
    if (s != NULL) reserve_blocks(s, h, w);
    return s;
}

WanStream *wan_encode_open(WanVae *v, Dev *d, int h, int w)
{
    WanStream *s = stream_open(v, d, &v->encoder, h, w);
    if (s == NULL) return NULL;
    reserve_conv(s, &s->half->in, h, w, 1);
    reserve_blocks(s, h, w);
    reserve_middle(s, h / SIDE, w / SIDE);
    reserve_conv(s, &s->half->out, h / SIDE, w / SIDE, 1);
    return s;
}

void wan_stream_close(WanStream *s)
{
    if (s == NULL) return;
    planar_close(s->d, &s->to);
    for (int i = 0; i < CONVS_MAX; i++) dev_state_free(s->d, s->state[i]);
    for (int i = 0; i < BLOCKS_MAX; i++) {
        dev_fold_free(s->d, s->fold[i]);
        dev_free(s->d, &s->pair[i]);
    }
    dev_free(s->d, &s->shift);
    dev_free(s->d, &s->scale);
    free(s);
}

static void tap(WanStream *s, const char *where, Tensor x, int64_t frame)
{
    if (s->v->tap == NULL || dev_is_plan(s->d) || !dev_ok(s->d)) return;
    const float *values = dev_read(s->d, x);
    if (values != NULL) s->v->tap(s->v->tap_user, where, frame, values, x.h, x.w, x.c, x.c_pad);
    dev_read_end(s->d, values);
}

/* ----------------------------------------------------------------------------------------------------------- layers */

static Pre norm_silu(const BoundWeight *gamma)
{
    return (Pre){.norm = NORM_L2, .gamma = gamma, .act = ACT_SILU};
}

/* With its history over time. */
static void conv_run(WanStream *s, const ConvWeights *w, ConvArgs *a)
{
    if (w->kt > 1) {
        a->start = !s->begun[w->id];
        s->begun[w->id] = true;
        a->state = s->state[w->id];
    }
    if (dev_ok(s->d)) dev_conv3d(s->d, a);
}

/* x + conv2(silu(norm(conv1(silu(norm(x)))))), x through a 1x1x1 convolution when widths differ. In place when they
 * do not; otherwise takes x. */
static Tensor residual(WanStream *s, const ResidualWeights *w, int stage, Tensor x)
{
    const int co = (int)w->conv1.weight.shape[0];
    Tensor h = dev_tensor(s->d, 1, x.h, x.w, co);
    ConvArgs a = conv_args(&w->conv1, stage, x, h);
    a.pre = norm_silu(&w->gamma1);
    conv_run(s, &w->conv1, &a);

    Tensor y = w->has_shortcut ? dev_tensor(s->d, 1, x.h, x.w, co) : x;
    a = conv_args(&w->conv2, stage, h, y);
    a.pre = norm_silu(&w->gamma2);
    if (w->has_shortcut) {
        a.post.shortcut = &w->shortcut.weight;
        a.post.shortcut_bias = &w->shortcut.bias;
        a.post.shortcut_x = x;
    } else {
        a.post.residual = x;
    }
    conv_run(s, &w->conv2, &a);
    dev_free(s->d, &h);
    if (w->has_shortcut) dev_free(s->d, &x);
    return y;
}

/* One-head self-attention over the pixels of a frame, width C; + x. In place. */
static void attention(WanStream *s, const AttentionWeights *w, int stage, Tensor x)
{
    Dev *d = s->d;
    Tensor qkv = dev_tensor(d, 1, x.h, x.w, 3 * x.c), o = dev_tensor(d, 1, x.h, x.w, x.c);
    dev_linear(d, &(LinearArgs){.stage = stage,
                                .x = x,
                                .y = qkv,
                                .weight = &w->qkv.weight,
                                .bias = &w->qkv.bias,
                                .pre = {.norm = NORM_L2, .gamma = &w->gamma}});
    const AttentionWindow frame = {.t1 = 1, .h1 = x.h, .w1 = x.w};
    dev_attention(d, &(AttentionArgs){.stage = stage,
                                      .q = tensor_channels(qkv, 0, x.c),
                                      .k = tensor_channels(qkv, x.c, x.c),
                                      .v = tensor_channels(qkv, 2 * x.c, x.c),
                                      .o = o,
                                      .heads = 1,
                                      .head_dim = x.c,
                                      .scale = (float)(1.0 / sqrt(x.c)),
                                      .windows = &frame,
                                      .window_count = 1});
    dev_linear(
        d, &(LinearArgs){
               .stage = stage, .x = o, .y = x, .weight = &w->proj.weight, .bias = &w->proj.bias, .post.residual = x});
    dev_free(d, &o);
    dev_free(d, &qkv);
}

static Tensor middle(WanStream *s, Tensor x)
{
    const Half *h = s->half;
    x = residual(s, &h->middle[0].residual, STAGE_MID, x);
    attention(s, &h->middle[1].attention, STAGE_MID, x);
    return residual(s, &h->middle[2].residual, STAGE_MID, x);
}

/* The head: norm, SiLU, 3x3x3 convolution. Takes x. */
static Tensor head(WanStream *s, Tensor x)
{
    const Half *h = s->half;
    Tensor y = dev_floats(s->d, 1, x.h, x.w, (int)h->out.weight.shape[0]);
    ConvArgs a = conv_args(&h->out, STAGE_OUT, x, y);
    a.pre = norm_silu(&h->out_gamma);
    conv_run(s, &h->out, &a);
    dev_free(s->d, &x);
    return y;
}

static void leave_block(WanStream *s, int i, Tensor x)
{
    tap(s, s->half->block[i].name, x, s->block_frames[i]++);
}

/* ---------------------------------------------------------------------------------------------------------- results */

/* A finished frame to its place. Takes x. */
static void emit(WanStream *s, Tensor x)
{
    Dev *d = s->d;
    const Placement *p = &s->placement;
    const RampWeights *ramp = p->ramp;
    Tensor in = p->h > 0 ? tensor_window(x, p->top, p->left, p->h, p->w) : x;
    PlaneWeights weights = {0};
    if (ramp != NULL) {
        weights = (PlaneWeights){ramp->rows, ramp->columns, ramp->total};
        weights.total.at += (uint64_t)(p->y * ramp->total.stride_h + p->x) * sizeof(float);
    }
    planar_write(d, &s->to, &(PlanarPlace){s->written, p->y, p->x, in.h, in.w, p->done_rows, p->done_columns}, in,
                 ramp != NULL ? &weights : NULL);
    s->written++;
    dev_free(d, &x);
}

/* ---------------------------------------------------------------------------------------------------------- decoder */

/* Nearest 2x and a 3x3 convolution. x is left to its owner. */
static Tensor space_up(WanStream *s, int i, int stage, Tensor x)
{
    const ConvWeights *w = &s->half->block[i].resample.space;
    Tensor y = dev_tensor(s->d, 1, 2 * x.h, 2 * x.w, (int)w->weight.shape[0]);
    if (s->fold[i] == NULL && dev_ok(s->d)) s->fold[i] = dev_fold_nearest(s->d, stage, NULL, 1, &w->weight, &w->bias);
    if (dev_ok(s->d)) dev_upsample(s->d, &(UpsampleArgs){.stage = stage, .x = x, .y = y, .weight = s->fold[i]});
    leave_block(s, i, y);
    return y;
}

/* One frame from block `i` on, depth first to the pictures it becomes. Takes x. */
static void decode_from(WanStream *s, int i, int stage, Tensor x)
{
    Dev *d = s->d;
    for (; i < s->half->blocks; i++) {
        const Block *b = &s->half->block[i];
        if (b->kind == BLOCK_RESIDUAL) {
            x = residual(s, &b->residual, stage, x);
            leave_block(s, i, x);
        } else if (b->kind == BLOCK_ATTENTION) {
            attention(s, &b->attention, stage, x);
            leave_block(s, i, x);
        } else if (b->resample.has_time && s->seen > 0) { /* the first frame is neither doubled nor remembered */
            Tensor pair = dev_tensor(d, 2, x.h, x.w, x.c);
            ConvArgs a = conv_args(&b->resample.time, stage, x, pair);
            a.post.shuffle_space = 1;
            a.post.shuffle_time = 2;
            conv_run(s, &b->resample.time, &a);
            dev_free(d, &x);
            for (int k = 0; k < 2; k++)
                decode_from(s, i + 1, stage + 1, space_up(s, i, stage, tensor_frames(pair, k, 1)));
            dev_free(d, &pair);
            return;
        } else {
            Tensor fine = space_up(s, i, stage++, x);
            dev_free(d, &x);
            x = fine;
        }
    }
    emit(s, head(s, x));
}

/* A latent [1][h][w][16] to what the numbered blocks begin with: all that looks across the whole picture. */
static Tensor decode_middle(WanStream *s, Tensor latent)
{
    Dev *d = s->d;
    const Half *h = s->half;
    Tensor z = dev_floats(d, 1, latent.h, latent.w, LATENT), x = dev_tensor(d, 1, latent.h, latent.w, h->top);
    dev_linear(d, &(LinearArgs){.stage = STAGE_IN,
                                .x = latent,
                                .y = z,
                                .weight = &h->latent.weight,
                                .bias = &h->latent.bias,
                                .pre = {.scale = s->scale, .shift = s->shift}});
    ConvArgs a = conv_args(&h->in, STAGE_IN, z, x);
    conv_run(s, &h->in, &a);
    dev_free(d, &z);
    tap(s, h->in.name, x, s->seen);
    x = middle(s, x);
    tap(s, "decoder.middle", x, s->seen);
    return x;
}

void wan_decode(WanStream *s, Tensor latents, VaeVideo frames)
{
    if (latents.h != s->h || latents.w != s->w || latents.c != LATENT) {
        dev_fail(s->d, "the Wan VAE was given latents of %d x %d with %d channels; expected %d x %d with %d", latents.h,
                 latents.w, latents.c, s->h, s->w, LATENT);
    }
    s->to.sink = frames;
    for (int k = 0; k < latents.t && dev_ok(s->d); k++, s->seen++) {
        decode_from(s, 0, STAGE_LEVEL, decode_middle(s, tensor_frames(latents, k, 1)));
    }
    planar_finish(s->d, &s->to);
}

/* ---------------------------------------------------------------------------------------------------------- encoder */

/* 3x3 with stride 2, a row of zeros below and a column of zeros to the right, into y [1][h / 2][w / 2][C]. */
static void space_down(WanStream *s, int i, int stage, Tensor x, Tensor y)
{
    const ConvWeights *w = &s->half->block[i].resample.space;
    ConvArgs a = conv_args(w, stage, x, y);
    a.stride_h = a.stride_w = 2;
    a.pad_top = a.pad_left = 0;
    conv_run(s, w, &a);
}

/*
 * Down in space and, by a causal convolution with stride 2, in time: frames 2k - 2, 2k - 1 and 2k become frame k; frame
 * 0 passes as it is and is remembered. Takes x; invalid when more frames must come first.
 */
static Tensor downsample(WanStream *s, int i, int stage, Tensor x)
{
    Dev *d = s->d;
    const ResampleWeights *w = &s->half->block[i].resample;
    const int h = x.h / 2, v = x.w / 2, c = (int)w->space.weight.shape[0];
    const bool halves = w->has_time && s->seen > 0;
    if (halves && !s->pair[i].valid) s->pair[i] = dev_tensor(d, 2, h, v, c);
    Tensor y = halves ? tensor_frames(s->pair[i], s->waiting[i]++, 1) : dev_tensor(d, 1, h, v, c);
    space_down(s, i, stage, x, y);
    dev_free(d, &x);
    if (!w->has_time || (halves && s->waiting[i] < 2)) return halves ? (Tensor){0} : y;

    Tensor z = dev_tensor(d, 1, h, v, c);
    ConvArgs a = conv_args(&w->time, stage, halves ? s->pair[i] : y, z);
    a.stride_t = 2;
    conv_run(s, &w->time, &a);
    if (halves) {
        dev_free(d, &s->pair[i]);
        s->waiting[i] = 0;
        return z;
    }
    dev_free(d, &z); /* of frame 0 only the memory is wanted */
    return y;
}

/* The next frame [1][h][w][3]; a latent goes out with the last one it covers. Takes x. */
static void encode_frame(WanStream *s, Tensor x)
{
    Dev *d = s->d;
    const Half *h = s->half;
    Tensor y = dev_tensor(d, 1, x.h, x.w, (int)h->in.weight.shape[0]);
    ConvArgs a = conv_args(&h->in, STAGE_IN, x, y);
    conv_run(s, &h->in, &a);
    dev_free(d, &x);
    x = y;
    for (int i = 0, stage = STAGE_LEVEL; i < h->blocks; i++) {
        const Block *b = &h->block[i];
        if (b->kind == BLOCK_RESIDUAL)
            x = residual(s, &b->residual, stage, x);
        else if (b->kind == BLOCK_ATTENTION)
            attention(s, &b->attention, stage, x);
        else
            x = downsample(s, i, stage++, x);
        if (!x.valid) return;
        leave_block(s, i, x);
    }
    x = middle(s, x);
    tap(s, "encoder.middle", x, s->written);
    x = head(s, x);
    Tensor moments = dev_floats(d, 1, x.h, x.w, 2 * LATENT), latent = dev_floats(d, 1, x.h, x.w, LATENT);
    dev_linear(d, &(LinearArgs){
                      .stage = STAGE_OUT, .x = x, .y = moments, .weight = &h->latent.weight, .bias = &h->latent.bias});
    dev_norm(d, &(NormArgs){.stage = STAGE_OUT,
                            .x = tensor_channels(moments, 0, LATENT),
                            .y = latent,
                            .pre = {.scale = s->scale, .shift = s->shift}});
    dev_free(d, &moments);
    dev_free(d, &x);
    emit(s, latent);
}

/* Frames first .. first + count - 1 of a rectangle at (y, x). */
static void encode_frames(WanStream *s, int64_t first, int64_t count, VaeVideo frames, VaeVideo latents, int y, int x)
{
    s->to.sink = latents;
    for (int64_t k = 0; k < count && dev_ok(s->d); k++, s->seen++) {
        Tensor frame = dev_floats(s->d, 1, s->h, s->w, COLORS);
        planar_read(s->d, frames, first + k, y, x, frame);
        encode_frame(s, frame);
    }
    planar_finish(s->d, &s->to);
}

void wan_encode(WanStream *s, int64_t count, VaeVideo frames, VaeVideo latents)
{
    encode_frames(s, s->seen, count, frames, latents, 0, 0);
}

/* ------------------------------------------------------------------------------------------------------ exact tiles */

/* Latent cells to each side that the blocks behind the middle see. */
static int reach_of(const Half *h)
{
    int reach = 1; /* the head, in pixels */
    for (int i = h->blocks - 1; i >= 0; i--) {
        if (h->block[i].kind == BLOCK_RESIDUAL) reach += 2;
        if (h->block[i].kind == BLOCK_RESAMPLE) reach = (reach + 2) / 2; /* its convolution, then half rounded up */
    }
    return reach;
}

static Tensor copied(Dev *d, Tensor x)
{
    Tensor y = dev_tensor(d, x.t, x.h, x.w, x.c);
    dev_axpby(d, y, 1.0f, x, 0.0f, (Tensor){0});
    return y;
}

/* Blocks over one tile (y, x latent cells of h x w) and the context they see, of which only the tile is written. */
static WanStream *exact_open(WanVae *v, Dev *d, int h, int w, TileSpan y, TileSpan x)
{
    const int reach = reach_of(&v->decoder);
    const int top = y.lo < reach ? 0 : y.lo - reach, left = x.lo < reach ? 0 : x.lo - reach;
    const int bottom = y.hi + reach > h ? h : y.hi + reach, right = x.hi + reach > w ? w : x.hi + reach;
    WanStream *s = blocks_open(v, d, bottom - top, right - left);
    if (s == NULL) return NULL;
    s->placement = (Placement){.top = (y.lo - top) * SIDE,
                               .left = (x.lo - left) * SIDE,
                               .h = (y.hi - y.lo) * SIDE,
                               .w = (x.hi - x.lo) * SIDE,
                               .y = y.lo * SIDE,
                               .x = x.lo * SIDE};
    return s;
}

/* The next latent of a tile. begun [1][h][w][C]: what the blocks of the whole picture begin with. */
static void exact_step(WanStream *s, Tensor begun)
{
    const int top = (s->placement.y - s->placement.top) / SIDE, left = (s->placement.x - s->placement.left) / SIDE;
    decode_from(s, 0, STAGE_LEVEL,
                copied(s->d, tensor_window(begun, top, left, s->h, s->w))); /* blocks work in place */
    planar_finish(s->d, &s->to);
    s->seen++;
}

/* Exact tiles need blocks that look no further than their kernels. */
static bool has_exact_tiles(const WanVae *v, Dev *d)
{
    for (int i = 0; i < v->decoder.blocks; i++) {
        if (v->decoder.block[i].kind != BLOCK_ATTENTION) continue;
        dev_fail(
            d,
            "the Wan VAE's block '%s' looks across the whole picture, so it has no exact tiles; decode without tiles",
            v->decoder.block[i].name);
        return false;
    }
    return true;
}

static TileSpan span_from(int lo, int tile, int end)
{
    return (TileSpan){lo, end - lo > tile ? lo + tile : end};
}

static void decode_exact(WanVae *v, Dev *d, int h, int w, int count, int tile, VaeVideo latents, VaeVideo frames)
{
    if (!has_exact_tiles(v, d)) return;
    Tensor begun = dev_tensor(d, count, h, w, v->decoder.top);
    WanStream *s = front_open(v, d, h, w);
    for (; s != NULL && s->seen < count && dev_ok(d); s->seen++) {
        Tensor z = dev_floats(d, 1, h, w, LATENT);
        planar_read(d, latents, s->seen, 0, 0, z);
        Tensor x = decode_middle(s, z);
        dev_axpby(d, tensor_frames(begun, (int)s->seen, 1), 1.0f, x, 0.0f, (Tensor){0});
        dev_free(d, &x);
        dev_free(d, &z);
    }
    wan_stream_close(s);
    for (int y = 0; y < h && dev_ok(d); y += tile) {
        for (int x = 0; x < w && dev_ok(d); x += tile) {
            WanStream *t = exact_open(v, d, h, w, span_from(y, tile, h), span_from(x, tile, w));
            if (t == NULL) break;
            t->to.sink = frames;
            while (t->seen < count && dev_ok(d)) exact_step(t, tensor_frames(begun, (int)t->seen, 1));
            wan_stream_close(t);
        }
    }
    dev_free(d, &begun);
}

struct WanTiledStream {
    WanVae *v;
    Dev *d;
    WanStream *front, **tile;
    int tiles;
};

WanTiledStream *wan_tiled_open(WanVae *v, Dev *d, int h, int w, int tile)
{
    const int longest = h > w ? h : w;
    if (tile > longest) tile = longest;
    const int rows = (h + tile - 1) / tile, columns = (w + tile - 1) / tile;
    WanTiledStream *s = has_exact_tiles(v, d) ? calloc(1, sizeof *s) : NULL;
    WanStream **list = calloc((size_t)rows * (size_t)columns, sizeof(WanStream *));
    if (s == NULL || list == NULL) {
        dev_fail(d, "out of memory");
        free(list);
        free(s);
        return NULL;
    }
    *s = (WanTiledStream){.v = v, .d = d, .front = front_open(v, d, h, w), .tile = list};
    for (int i = 0; i < rows * columns && dev_ok(d); i++) {
        const TileSpan y = span_from(i / columns * tile, tile, h), x = span_from(i % columns * tile, tile, w);
        s->tile[i] = exact_open(v, d, h, w, y, x);
        s->tiles++;
    }
    return s;
}

void wan_tiled_close(WanTiledStream *s)
{
    if (s == NULL) return;
    for (int i = s->tiles - 1; i >= 0; i--) wan_stream_close(s->tile[i]);
    wan_stream_close(s->front);
    free(s->tile);
    free(s);
}

void wan_tiled_decode(WanTiledStream *s, Tensor latents, VaeVideo frames)
{
    for (int k = 0; k < latents.t && dev_ok(s->d); k++, s->front->seen++) {
        Tensor begun = decode_middle(s->front, tensor_frames(latents, k, 1));
        for (int i = 0; i < s->tiles && dev_ok(s->d); i++) {
            s->tile[i]->to.sink = frames;
            exact_step(s->tile[i], begun);
        }
        dev_free(s->d, &begun);
    }
}

/* ------------------------------------------------------------------------------------------------------- ramp tiles */

/* Tiles along one axis of what is cut, latent cells (decode) or pixels (encode): at multiples of the stride, until one
 * reaches the end. */
typedef struct RampAxis {
    int length, size, stride;
} RampAxis;

static TileSpan first_span(const RampAxis *a)
{
    return (TileSpan){0, a->size < a->length ? a->size : a->length};
}

/* Empty after the last one. */
static TileSpan next_span(const RampAxis *a, TileSpan s)
{
    const int lo = s.lo + a->stride;
    if (s.lo + a->size >= a->length || lo >= a->length) return (TileSpan){a->length, a->length};
    return (TileSpan){lo, lo + a->size < a->length ? lo + a->size : a->length};
}

typedef struct RampJob {
    WanVae *v;
    Dev *d;
    bool decode;
    RampAxis rows, columns;
    int64_t count;
    VaeVideo source, sink;
} RampJob;

/* Samples of the result that stand over n of what is cut. */
static int result_size(const RampJob *j, int n)
{
    return j->decode ? n * SIDE : n / SIDE;
}

/* Weights of a tile's samples along one axis: 1 but for the straight rise and fall over the overlap, where neighbours
 * are. The fall counts where both meet. */
static void ramp(const RampJob *j, const RampAxis *a, TileSpan s, float *out)
{
    const int n = result_size(j, s.hi - s.lo), border = result_size(j, a->size - a->stride);
    for (int i = 0; i < n; i++) out[i] = 1.0f;
    for (int i = 0; i < border && i < n && s.lo > 0; i++) out[i] = (float)(i + 1) / (float)border;
    for (int i = 0; i < border && i < n && s.lo + a->size < a->length; i++)
        out[n - 1 - i] = (float)(i + 1) / (float)border;
}

/* The sum of all tiles' weights over every sample. */
static void sum_weights(const RampJob *j, const RampWeights *r)
{
    float *rows = dev_write(j->d, r->rows), *columns = dev_write(j->d, r->columns), *total = dev_write(j->d, r->total);
    if (rows == NULL || columns == NULL || total == NULL) return;
    memset(total, 0, (size_t)r->total.stride_t * sizeof *total);
    for (TileSpan y = first_span(&j->rows); y.lo < y.hi; y = next_span(&j->rows, y)) {
        ramp(j, &j->rows, y, rows);
        for (TileSpan x = first_span(&j->columns); x.lo < x.hi; x = next_span(&j->columns, x)) {
            ramp(j, &j->columns, x, columns);
            for (int v = 0; v < result_size(j, y.hi - y.lo); v++) {
                float *sum = total + (result_size(j, y.lo) + v) * r->total.stride_h + result_size(j, x.lo);
                for (int u = 0; u < result_size(j, x.hi - x.lo); u++) sum[u] += fminf(rows[v], columns[u]);
            }
        }
    }
    dev_write_end(j->d, r->rows, rows);
    dev_write_end(j->d, r->columns, columns);
    dev_write_end(j->d, r->total, total);
}

static void ramp_tile(const RampJob *j, const RampWeights *r, TileSpan y, TileSpan x, int done_y, int done_x)
{
    Dev *d = j->d;
    const int h = y.hi - y.lo, w = x.hi - x.lo;
    if (result_size(j, h) == 0 || result_size(j, w) == 0) return; /* pixels at the end that make no latent cell */
    WanStream *s = j->decode ? wan_decode_open(j->v, d, h, w) : wan_encode_open(j->v, d, h, w);
    if (s == NULL) return;
    float *rows = dev_write(d, r->rows), *columns = dev_write(d, r->columns);
    if (rows != NULL && columns != NULL) {
        ramp(j, &j->rows, y, rows);
        ramp(j, &j->columns, x, columns);
    }
    dev_write_end(d, r->rows, rows);
    dev_write_end(d, r->columns, columns);
    s->placement = (Placement){.y = result_size(j, y.lo),
                               .x = result_size(j, x.lo),
                               .ramp = r,
                               .done_rows = result_size(j, done_y - y.lo),
                               .done_columns = result_size(j, done_x - x.lo)};
    if (j->decode) {
        for (int64_t k = 0; k < j->count && dev_ok(d); k++) {
            Tensor z = dev_floats(d, 1, h, w, LATENT);
            planar_read(d, j->source, k, y.lo, x.lo, z);
            wan_decode(s, z, j->sink);
            dev_free(d, &z);
        }
    } else {
        encode_frames(s, 0, j->count, j->source, j->sink, y.lo, x.lo);
    }
    wan_stream_close(s);
}

static void run_ramps(const RampJob *j)
{
    Dev *d = j->d;
    if (j->rows.stride <= 0 || j->columns.stride <= 0 || j->rows.stride > j->rows.size ||
        j->columns.stride > j->columns.size) {
        dev_fail(d, "tiles of %d x %d at every %d and %d leave gaps; the strides must be from 1 to the sizes",
                 j->rows.size, j->columns.size, j->rows.stride, j->columns.stride);
        return;
    }
    const int unit = j->decode ? 1 : SIDE;
    if (j->rows.size % unit || j->columns.size % unit || j->rows.stride % unit || j->columns.stride % unit) {
        dev_fail(d,
                 "tiles of %d x %d pixels at every %d and %d are no whole latent cells; sizes and strides must be "
                 "multiples of %d",
                 j->rows.size, j->columns.size, j->rows.stride, j->columns.stride, unit);
        return;
    }
    const int h = result_size(j, j->rows.length), w = result_size(j, j->columns.length);
    RampWeights r = {dev_floats(d, 1, 1, 1, h), dev_floats(d, 1, 1, 1, w), dev_floats(d, 1, h, 1, w)};
    sum_weights(j, &r);
    int done_y = 0; /* rows that the row of tiles above has written all along */
    for (TileSpan y = first_span(&j->rows); y.lo < y.hi && dev_ok(d); done_y = y.hi, y = next_span(&j->rows, y)) {
        int done_x = 0;
        for (TileSpan x = first_span(&j->columns); x.lo < x.hi && dev_ok(d);
             done_x = x.hi, x = next_span(&j->columns, x)) {
            ramp_tile(j, &r, y, x, done_y, done_x);
        }
    }
    dev_free(d, &r.total);
    dev_free(d, &r.columns);
    dev_free(d, &r.rows);
}

/* ------------------------------------------------------------------------------------------------------ whole clips */

/* Along one axis of `length`; without ramp tiles one tile that is as long, rounded up to whole cells. */
static RampAxis ramp_axis(int length, int size, int stride, int unit)
{
    const int all = (length + unit - 1) / unit * unit;
    return size > 0 ? (RampAxis){length, size, stride} : (RampAxis){length, all, all};
}

void wan_decode_tiled(WanVae *v, Dev *d, int h, int w, int64_t count, WanTiles tiles, VaeVideo latents, VaeVideo frames)
{
    if (tiles.tile > 0) {
        const int longest = h > w ? h : w;
        decode_exact(v, d, h, w, (int)count, tiles.tile < longest ? tiles.tile : longest, latents, frames);
        return;
    }
    run_ramps(&(RampJob){v, d, true, ramp_axis(h, tiles.ramp_size_h, tiles.ramp_stride_h, 1),
                         ramp_axis(w, tiles.ramp_size_w, tiles.ramp_stride_w, 1), count, latents, frames});
}

void wan_encode_tiled(WanVae *v, Dev *d, int h, int w, int64_t count, WanTiles tiles, VaeVideo frames, VaeVideo latents)
{
    run_ramps(&(RampJob){v, d, false, ramp_axis(h, tiles.ramp_size_h, tiles.ramp_stride_h, SIDE),
                         ramp_axis(w, tiles.ramp_size_w, tiles.ramp_stride_w, SIDE), count, frames, latents});
}

/* ------------------------------------------------------------------------------------------------------------ tests */

bool wan_stream_state(WanStream *s, const char *conv, float *out, int *t, int *h, int *w, int *c)
{
    for (int i = 0; i < s->v->convs; i++) {
        if (strcmp(s->v->conv[i]->name, conv) != 0 || s->state[i] == NULL) continue;
        *t = dev_state_read(s->d, s->state[i], out, h, w, c);
        return true;
    }
    return false;
}
