#include "runtime/models/seedvr2_vae.h"

#include "runtime/models/bind.h"
#include "runtime/models/planar.h"
#include "runtime/tile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUPS = 32, LEVELS_MAX = 8, BLOCKS_MAX = 8, CONVS_MAX = 192 };
static const float NORM_EPS = 1e-6f;

/* Stages of the precision policy (dev.h): first and last convolutions, and the levels by their distance from the latent. */
enum { STAGE_IN, STAGE_OUT, STAGE_MID, STAGE_LEVEL }; /* of each half: stage_of */

/* ------------------------------------------------------------------------------------------------------------ weights */

typedef struct NormWeights {
    BoundWeight gamma, beta; /* [C] each */
} NormWeights;

typedef struct ConvWeights {
    char name[96];
    BoundWeight weight; /* [C', C, kt, kh, kw] */
    BoundWeight bias;   /* [C'] */
    int kt, kh, kw, id; /* id: index of its history in a job */
} ConvWeights;

typedef struct ResnetWeights {
    NormWeights norm1;    /* [C] */
    ConvWeights conv1;    /* [C', C, 3, 3, 3] */
    NormWeights norm2;    /* [C'] */
    ConvWeights conv2;    /* [C', C', 3, 3, 3] */
    ConvWeights shortcut; /* [C', C, 1, 1, 1] when C != C' */
    bool has_shortcut;
} ResnetWeights;

typedef struct AttentionWeights {
    NormWeights norm;                      /* [C] */
    BoundWeight q, k, v, out;              /* [C, C] */
    BoundWeight q_bias, k_bias, v_bias, out_bias;
} AttentionWeights;

typedef struct UpsamplerWeights {
    ConvWeights up;   /* [r C, C, 1, 1, 1], r = 8 (time and space) or 4 (space) */
    ConvWeights conv; /* [C, C, 3, 3, 3] */
    int rt, index;
} UpsamplerWeights;

typedef struct Half {
    ConvWeights in;
    ResnetWeights block[LEVELS_MAX][BLOCKS_MAX];
    ConvWeights down[LEVELS_MAX];
    UpsamplerWeights up[LEVELS_MAX];
    ResnetWeights mid[2];
    AttentionWeights attention;
    NormWeights norm_out;
    ConvWeights out;
} Half;

struct Vae {
    VaeConfig config;
    Half encoder, decoder;
    VaeFold fold;
    VaeTap tap;
    void *tap_user;
    const ConvWeights *conv[CONVS_MAX]; /* by id */
    /* binding */
    Binder binder;
    int convs;
};

static void bind_norm(Vae *v, NormWeights *n, const char *name, int c)
{
    bind_vector(&v->binder, &n->gamma, c, "%s.weight", name);
    bind_vector(&v->binder, &n->beta, c, "%s.bias", name);
}

static void bind_conv(Vae *v, ConvWeights *w, const char *name, int ci, int co, int kt, int khw)
{
    const int64_t shape[] = {co, ci, kt, khw, khw};
    snprintf(w->name, sizeof w->name, "%s", name);
    bind_tensor(&v->binder, &w->weight, 5, shape, "%s.weight", name);
    bind_vector(&v->binder, &w->bias, co, "%s.bias", name);
    w->kt = kt;
    w->kh = w->kw = khw;
    w->id = v->convs++;
    if (w->id < CONVS_MAX) v->conv[w->id] = w;
}

static void bind_resnet(Vae *v, ResnetWeights *r, const char *name, int ci, int co)
{
    bind_norm(v, &r->norm1, NAME("%s.norm1", name), ci);
    bind_conv(v, &r->conv1, NAME("%s.conv1", name), ci, co, 3, 3);
    bind_norm(v, &r->norm2, NAME("%s.norm2", name), co);
    bind_conv(v, &r->conv2, NAME("%s.conv2", name), co, co, 3, 3);
    r->has_shortcut = ci != co;
    if (r->has_shortcut) bind_conv(v, &r->shortcut, NAME("%s.conv_shortcut", name), ci, co, 1, 1);
}

/* old: the same layer's name in re-exports of an older layout */
static void bind_projection(Vae *v, BoundWeight *w, BoundWeight *bias, const char *module, const char *name, const char *old,
                            int c)
{
    if (binder_count(&v->binder, "%s.%s.weight", module, old) > 0) name = old;
    bind_tensor(&v->binder, w, 2, (const int64_t[]){c, c}, "%s.%s.weight", module, name);
    bind_vector(&v->binder, bias, c, "%s.%s.bias", module, name);
}

static void bind_attention(Vae *v, AttentionWeights *a, const char *name, int c)
{
    bind_norm(v, &a->norm, NAME("%s.group_norm", name), c);
    bind_projection(v, &a->q, &a->q_bias, name, "to_q", "query", c);
    bind_projection(v, &a->k, &a->k_bias, name, "to_k", "key", c);
    bind_projection(v, &a->v, &a->v_bias, name, "to_v", "value", c);
    bind_projection(v, &a->out, &a->out_bias, name, "to_out.0", "proj_attn", c);
}

static void bind_mid(Vae *v, Half *h, const char *half, int c)
{
    bind_resnet(v, &h->mid[0], NAME("%s.mid_block.resnets.0", half), c, c);
    bind_attention(v, &h->attention, NAME("%s.mid_block.attentions.0", half), c);
    bind_resnet(v, &h->mid[1], NAME("%s.mid_block.resnets.1", half), c, c);
}

static void bind_encoder(Vae *v)
{
    const VaeConfig *c = &v->config;
    Half *e = &v->encoder;
    const int last = c->width[c->levels - 1];
    bind_conv(v, &e->in, "encoder.conv_in", c->pixel_channels, c->width[0], 3, 3);
    int ci = c->width[0];
    for (int i = 0; i < c->levels; i++) {
        for (int j = 0; j < c->encoder_blocks; j++) {
            bind_resnet(v, &e->block[i][j], NAME("encoder.down_blocks.%d.resnets.%d", i, j), ci, c->width[i]);
            ci = c->width[i];
        }
        if (i < c->levels - 1) {
            bind_conv(v, &e->down[i], NAME("encoder.down_blocks.%d.downsamplers.0.conv", i), ci, ci,
                      c->temporal_down[i] ? 3 : 1, 3);
        }
    }
    bind_mid(v, e, "encoder", last);
    bind_norm(v, &e->norm_out, "encoder.conv_norm_out", last);
    bind_conv(v, &e->out, "encoder.conv_out", last, 2 * c->latent_channels, 3, 3);
}

static void bind_upsampler(Vae *v, UpsamplerWeights *u, const char *name, int c, int rt, int index)
{
    u->rt = rt;
    u->index = index;
    bind_conv(v, &u->up, NAME("%s.upscale_conv", name), c, 4 * rt * c, 1, 1);
    bind_conv(v, &u->conv, NAME("%s.conv", name), c, c, 3, 3);
}

static void bind_decoder(Vae *v)
{
    const VaeConfig *c = &v->config;
    Half *d = &v->decoder;
    int ci = c->width[c->levels - 1];
    bind_conv(v, &d->in, "decoder.conv_in", c->latent_channels, ci, 3, 3);
    bind_mid(v, d, "decoder", ci);
    for (int i = 0; i < c->levels; i++) {
        const int co = c->width[c->levels - 1 - i];
        for (int j = 0; j < c->decoder_blocks; j++) {
            bind_resnet(v, &d->block[i][j], NAME("decoder.up_blocks.%d.resnets.%d", i, j), ci, co);
            ci = co;
        }
        if (i < c->levels - 1) {
            bind_upsampler(v, &d->up[i], NAME("decoder.up_blocks.%d.upsamplers.0", i), co, c->temporal_up[i] ? 2 : 1, i);
        }
    }
    bind_norm(v, &d->norm_out, "decoder.conv_norm_out", ci);
    bind_conv(v, &d->out, "decoder.conv_out", ci, c->pixel_channels, 3, 3);
}

Vae *vae_open(VaeParts parts, char *error, size_t error_size)
{
    Vae *v = calloc(1, sizeof *v);
    if (v == NULL) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    const WeightPart *any = parts.decoder ? parts.decoder : parts.encoder;
    v->config = any->vae;
    if (parts.encoder) { /* what only the encoder's names tell */
        v->config.encoder_blocks = parts.encoder->vae.encoder_blocks;
        memcpy(v->config.temporal_down, parts.encoder->vae.temporal_down, sizeof v->config.temporal_down);
    }
    v->binder = (Binder){.error = error, .error_size = error_size};
    for (int i = 0; i < v->config.levels; i++) {
        if (v->config.width[i] % GROUPS == 0) continue;
        snprintf(error, error_size, "%s: the VAE's level %d is %d channels wide, not a multiple of its %d norm groups",
                 weight_file_path(any->file), i, v->config.width[i], GROUPS);
        free(v);
        return NULL;
    }
    if ((v->binder.part = parts.encoder)) bind_encoder(v);
    if ((v->binder.part = parts.decoder)) bind_decoder(v);
    if (v->binder.failed || v->convs > CONVS_MAX) {
        if (!v->binder.failed) snprintf(error, error_size, "the VAE has %d convolutions; at most %d", v->convs, CONVS_MAX);
        free(v);
        return NULL;
    }
    return v;
}

void vae_close(Vae *v) { free(v); }
const VaeConfig *vae_config(const Vae *v) { return &v->config; }
void vae_set_fold(Vae *v, VaeFold fold) { v->fold = fold; }

void vae_set_tap(Vae *v, VaeTap tap, void *user)
{
    v->tap = tap;
    v->tap_user = user;
}

/* --------------------------------------------------------------------------------------------------------------- jobs */

/* A frame tensor with the statistics that the norm reading it needs. */
typedef struct Frames {
    Tensor x, stats;
} Frames;

struct VaeJob {
    Vae *v;
    Dev *d;
    bool decode;
    int h, w;                   /* of the source: frames (encode) or latents (decode) */
    int64_t count, keep;        /* source frames; result frames wanted */
    VaeTiles tiles;
    VaeVideo source;
    PlanarSink to;
    TileSpan *rows, *columns;   /* in latent cells */
    int row_count, column_count;
    float *row_sum, *column_sum; /* sum of all tiles' weights by result sample along each axis */
    int64_t tile;               /* of row_count * column_count */
    int64_t end;                /* the tile before which to stop; 0: all are computed */
    int64_t at;                 /* source frames of this tile read so far */
    int64_t written;            /* result frames of this tile so far */
    bool tile_open, done, keep_state;
    FoldedUpsampler *fold[LEVELS_MAX];
    bool prepared, folded[LEVELS_MAX];

    /* one tile */
    TileSpan row, column;
    ConvState *state[CONVS_MAX];
    ConvState *fold_state[LEVELS_MAX];
    Frames waiting;             /* decode: frames after the last temporal upsampler, or before it, to be finished one by one */
    int waiting_next, waiting_count; /* pictures */
    bool waiting_coarse, waiting_start; /* before it; of the first latent frame */
};

static int stage_of(const VaeJob *j, int stage) { return (j->decode ? STAGES_VAE_DECODER : STAGES_VAE_ENCODER) + stage; }

static Tensor stats_tensor(Dev *d, int frames) { return dev_floats(d, frames, 1, 1, 2 * GROUPS); }

static Frames frames_new(Dev *d, int t, int h, int w, int c)
{
    return (Frames){dev_tensor(d, t, h, w, c), stats_tensor(d, t)};
}

static void frames_free(Dev *d, Frames *f)
{
    dev_free(d, &f->x);
    dev_free(d, &f->stats);
}

static Frames frames_part(Frames f, int first, int count)
{
    return (Frames){tensor_frames(f.x, first, count), tensor_frames(f.stats, first, count)};
}

static void tap(VaeJob *j, const char *where, Tensor x, int64_t frame)
{
    if (j->v->tap == NULL || dev_is_plan(j->d) || !dev_ok(j->d)) return;
    for (int t = 0; t < x.t; t++) {
        const float *values = dev_read(j->d, tensor_frames(x, t, 1));
        if (values != NULL) j->v->tap(j->v->tap_user, where, frame + t, values, x.h, x.w, x.c, x.c_pad);
        dev_read_end(j->d, values);
    }
}

/* ------------------------------------------------------------------------------------------------------------- layers */

static Pre group_norm(const NormWeights *n, Tensor stats, Act act)
{
    return (Pre){.norm = NORM_GROUP, .groups = GROUPS, .eps = NORM_EPS, .stats = stats, .gamma = &n->gamma, .beta = &n->beta,
                 .act = act};
}

/*
 * A convolution with its history. y.stats, when valid, receives the statistics of y.x. most: frames of the longest call.
 * In time: causal. In space: zeros all round (3x3), none (1x1).
 */
static ConvArgs conv_args(VaeJob *j, const ConvWeights *w, int stage, Tensor x, Frames y, bool start)
{
    const int pad = w->kh / 2;
    ConvArgs a = {.stage = stage_of(j, stage), .x = x, .y = y.x, .weight = &w->weight, .bias = &w->bias, .kt = w->kt, .kh = w->kh,
                  .kw = w->kw, .stride_t = 1, .stride_h = 1, .stride_w = 1, .pad_top = pad, .pad_left = pad,
                  .pad_bottom = pad, .pad_right = pad, .start = start};
    a.post.stats = y.stats;
    a.post.stats_groups = GROUPS;
    a.state = w->kt > 1 ? j->state[w->id] : NULL;
    return a;
}

static void conv_run(VaeJob *j, const ConvWeights *w, ConvArgs *a, int most)
{
    const bool thrifty = j->tiles.thrifty && a->stride_t == 1;
    if (w->kt > 1 && j->state[w->id] == NULL) {
        a->state = j->state[w->id] = thrifty ? dev_conv_state_thrifty(j->d, a) : dev_conv_state(j->d, a, most);
    }
    if (dev_ok(j->d)) dev_conv3d(j->d, a);
}

/* x + conv2(silu(gn(conv1(silu(gn(x)))))), x through a 1x1x1 convolution when widths differ. Takes x, gives the result. */
static Frames resnet(VaeJob *j, const ResnetWeights *w, int stage, Frames x, bool start, int most)
{
    const int co = (int)w->conv1.weight.shape[0];
    Frames h = frames_new(j->d, x.x.t, x.x.h, x.x.w, co);
    ConvArgs a = conv_args(j, &w->conv1, stage, x.x, h, start);
    a.pre = group_norm(&w->norm1, x.stats, ACT_SILU);
    conv_run(j, &w->conv1, &a, most);

    const Frames y = w->has_shortcut ? h : x; /* in place either way: h has been taken in when y is written */
    a = conv_args(j, &w->conv2, stage, h.x, y, start);
    a.pre = group_norm(&w->norm2, h.stats, ACT_SILU);
    if (w->has_shortcut) {
        a.post.shortcut = &w->shortcut.weight;
        a.post.shortcut_bias = &w->shortcut.bias;
        a.post.shortcut_x = x.x;
    } else {
        a.post.residual = x.x;
    }
    conv_run(j, &w->conv2, &a, most);
    frames_free(j->d, w->has_shortcut ? &x : &h);
    return y;
}

/* One-head self-attention over the pixels of each frame, width C; + x. In place. */
static void attention(VaeJob *j, const AttentionWeights *w, Frames x)
{
    Dev *d = j->d;
    const int t = x.x.t, h = x.x.h, v = x.x.w, c = x.x.c;
    Tensor n = dev_tensor(d, t, h, v, c), q = dev_tensor(d, t, h, v, c), k = dev_tensor(d, t, h, v, c),
           u = dev_tensor(d, t, h, v, c);
    dev_norm(d, &(NormArgs){.stage = stage_of(j, STAGE_MID), .x = x.x, .y = n, .pre = group_norm(&w->norm, x.stats, ACT_NONE)});
    dev_linear(d, &(LinearArgs){.stage = stage_of(j, STAGE_MID), .x = n, .y = q, .weight = &w->q, .bias = &w->q_bias});
    dev_linear(d, &(LinearArgs){.stage = stage_of(j, STAGE_MID), .x = n, .y = k, .weight = &w->k, .bias = &w->k_bias});
    dev_linear(d, &(LinearArgs){.stage = stage_of(j, STAGE_MID), .x = n, .y = u, .weight = &w->v, .bias = &w->v_bias});
    for (int i = 0; i < t; i++) { /* each frame by itself: one window */
        const AttentionWindow frame = {.t0 = i, .t1 = i + 1, .h1 = h, .w1 = v};
        dev_attention(d, &(AttentionArgs){.stage = stage_of(j, STAGE_MID), .q = q, .k = k, .v = u, .o = n, .heads = 1, .head_dim = c,
                                          .scale = (float)(1.0 / __builtin_sqrt((double)c)), .windows = &frame,
                                          .window_count = 1});
    }
    dev_linear(d, &(LinearArgs){.stage = stage_of(j, STAGE_MID), .x = n, .y = x.x, .weight = &w->out, .bias = &w->out_bias,
                                .post.residual = x.x});
    dev_stats(d, &(StatsArgs){.x = x.x, .stats = x.stats, .groups = GROUPS});
    dev_free(d, &u);
    dev_free(d, &k);
    dev_free(d, &q);
    dev_free(d, &n);
}

static Frames middle(VaeJob *j, const Half *half, Frames x, bool start, int most)
{
    x = resnet(j, &half->mid[0], STAGE_MID, x, start, most);
    attention(j, &half->attention, x);
    return resnet(j, &half->mid[1], STAGE_MID, x, start, most);
}

/* One zero column right and one zero row below, then stride 2 in space, and in time with a 3-frame kernel. Takes x. */
static ConvArgs downsampler_args(VaeJob *j, const ConvWeights *w, int stage, Tensor x, Frames y, bool start)
{
    ConvArgs a = conv_args(j, w, stage, x, y, start);
    a.stride_h = a.stride_w = 2;
    a.stride_t = w->kt == 3 ? 2 : 1;
    a.pad_top = a.pad_left = 0;
    return a;
}

static Frames downsample(VaeJob *j, const ConvWeights *w, int stage, Frames x, bool start, int most)
{
    ConvArgs a = downsampler_args(j, w, stage, x.x, (Frames){0}, start);
    Frames y = frames_new(j->d, conv_frames_out(&a, x.x.t), x.x.h / 2, x.x.w / 2, x.x.c);
    a.y = y.x;
    a.post.stats = y.stats;
    conv_run(j, w, &a, most);
    frames_free(j->d, &x);
    return y;
}

static int upsampled_frames(const UpsamplerWeights *w, int frames, bool start)
{
    return w->rt == 2 && start ? 2 * frames - 1 : w->rt * frames;
}

/* The folded upsampler: all that x gives, or a part of it. */
static Frames upsample_folded(VaeJob *j, const UpsamplerWeights *w, int stage, Tensor x, bool start, UpsamplePart part, int most)
{
    Dev *d = j->d;
    const int t = part == UPSAMPLE_ALL ? upsampled_frames(w, x.t, start) : 1;
    Frames y = frames_new(d, t, 2 * x.h, 2 * x.w, x.c);
    ConvState **s = &j->fold_state[w->index];
    if (*s == NULL && dev_ok(d)) *s = dev_fold_state(d, j->fold[w->index], x, most);
    UpsampleArgs a = {.stage = stage_of(j, stage), .x = x, .y = y.x, .weight = j->fold[w->index], .state = *s, .start = start, .part = part};
    a.post.stats = y.stats;
    a.post.stats_groups = GROUPS;
    if (dev_ok(d)) dev_upsample(d, &a);
    return y;
}

/* 1x1x1 convolution, sub-pixel shuffle, causal 3x3x3 convolution: step by step, or folded. Takes x. */
static Frames upsample(VaeJob *j, const UpsamplerWeights *w, int stage, Frames x, bool start, int most)
{
    Dev *d = j->d;
    if (j->folded[w->index]) {
        const Frames y = upsample_folded(j, w, stage, x.x, start, UPSAMPLE_ALL, most);
        frames_free(d, &x);
        return y;
    }
    const int t = upsampled_frames(w, x.x.t, start);
    Frames y = frames_new(d, t, 2 * x.x.h, 2 * x.x.w, x.x.c);
    Tensor fine = dev_tensor(d, t, 2 * x.x.h, 2 * x.x.w, x.x.c);
    ConvArgs a = conv_args(j, &w->up, stage, x.x, (Frames){.x = fine}, start);
    a.post.shuffle_space = 2;
    a.post.shuffle_time = w->rt;
    a.post.shuffle_drop = start && w->rt == 2;
    conv_run(j, &w->up, &a, most);
    a = conv_args(j, &w->conv, stage, fine, y, start);
    conv_run(j, &w->conv, &a, w->rt * most);
    dev_free(d, &fine);
    frames_free(d, &x);
    return y;
}

/* ------------------------------------------------------------------------------------------------------------ encoder */

/* The first level whose downsampler halves time: up to its residual blocks every picture goes alone. */
static int first_temporal_down(const VaeConfig *c)
{
    for (int i = 0; i < c->levels - 1; i++) {
        if (c->temporal_down[i]) return i;
    }
    return c->levels - 1;
}

/* Picture x [1][h][w][3] through the levels before the first temporal downsampler, into `to`. Takes x. */
static void encode_picture(VaeJob *j, Tensor x, Frames to, int64_t frame, bool start)
{
    const Half *e = &j->v->encoder;
    const VaeConfig *c = &j->v->config;
    const int last = first_temporal_down(c);
    Frames h = frames_new(j->d, 1, x.h, x.w, c->width[0]);
    ConvArgs a = conv_args(j, &e->in, STAGE_IN, x, h, start);
    conv_run(j, &e->in, &a, 1);
    dev_free(j->d, &x);
    tap(j, "conv_in", h.x, frame);
    for (int i = 0; i <= last; i++) {
        for (int b = 0; b < c->encoder_blocks; b++) h = resnet(j, &e->block[i][b], STAGE_LEVEL + i, h, start, 1);
        if (i < last) {
            h = downsample(j, &e->down[i], STAGE_LEVEL + i, h, start, 1);
            tap(j, NAME("down%d", i), h.x, frame);
        }
    }
    dev_axpby(j->d, to.x, 1.0f, h.x, 0.0f, (Tensor){0});
    dev_axpby(j->d, to.stats, 1.0f, h.stats, 0.0f, (Tensor){0});
    frames_free(j->d, &h);
}

/* Is a picture of so many pixels enough to keep a GPU busy, or is memory to be saved in any case? */
static bool one_by_one(const VaeJob *j, int h, int w)
{
    enum { BUSY_PIXELS = 1 << 15 };
    return j->tiles.thrifty || h * w >= BUSY_PIXELS;
}

/* The rest, all frames of the slice at once: moments [1][h][w][2L]. Takes x. */
static Tensor encode_slice(VaeJob *j, Frames x, int64_t frame, bool start)
{
    const Half *e = &j->v->encoder;
    const VaeConfig *c = &j->v->config;
    int most = c->temporal_factor;
    for (int i = first_temporal_down(c); i < c->levels; i++) {
        if (i > first_temporal_down(c)) {
            for (int b = 0; b < c->encoder_blocks; b++) x = resnet(j, &e->block[i][b], STAGE_LEVEL + i, x, start, most);
        }
        if (i < c->levels - 1) {
            if (i > first_temporal_down(c)) x = downsample(j, &e->down[i], STAGE_LEVEL + i, x, start, most);
            if (c->temporal_down[i]) {
                most = (most + 1) / 2;
                frame = start ? 0 : (frame - 1) / 2 + 1;
            }
        }
        tap(j, NAME("down%d", i), x.x, frame);
    }
    x = middle(j, e, x, start, most);
    tap(j, "mid", x.x, frame);
    Tensor out = dev_floats(j->d, x.x.t, x.x.h, x.x.w, 2 * c->latent_channels);
    ConvArgs a = conv_args(j, &e->out, STAGE_OUT, x.x, (Frames){.x = out}, start);
    a.pre = group_norm(&e->norm_out, x.stats, ACT_SILU);
    conv_run(j, &e->out, &a, most);
    frames_free(j->d, &x);
    return out;
}

/* ------------------------------------------------------------------------------------------------------------ decoder */

/* The level after the last upsampler that doubles time: from there every picture goes alone. */
static int after_temporal_up(const VaeConfig *c)
{
    int level = 0;
    for (int i = 0; i < c->levels - 1; i++) {
        if (c->temporal_up[i]) level = i + 1;
    }
    return level;
}

/*
 * Does the last upsampler that doubles time give its pictures one by one, when they are wanted? Where a coarse frame keeps a GPU
 * busy by itself that costs nothing, and all but one of the slice's widest frames need no memory.
 */
static bool by_pictures(const VaeJob *j, int level, Tensor coarse)
{
    return j->folded[level] && one_by_one(j, coarse.h, coarse.w);
}

/* One latent frame [1][h][w][L] to j->waiting, the frames that the per-picture levels finish. Takes z. */
static void decode_latent(VaeJob *j, Tensor z, int64_t frame, bool start)
{
    const Half *h = &j->v->decoder;
    const VaeConfig *c = &j->v->config;
    const int levels = after_temporal_up(c);
    Frames x = frames_new(j->d, 1, z.h, z.w, c->width[c->levels - 1]);
    ConvArgs a = conv_args(j, &h->in, STAGE_IN, z, x, start);
    conv_run(j, &h->in, &a, 1);
    dev_free(j->d, &z);
    tap(j, "conv_in", x.x, frame);
    x = middle(j, h, x, start, 1);
    tap(j, "mid", x.x, frame);
    int most = 1;
    j->waiting_start = start;
    j->waiting_coarse = false;
    for (int i = 0; i < levels; i++) {
        for (int b = 0; b < c->decoder_blocks; b++) x = resnet(j, &h->block[i][b], STAGE_LEVEL + i, x, start, most);
        if (i == levels - 1 && by_pictures(j, i, x.x)) {
            j->waiting_coarse = true;
            break;
        }
        x = upsample(j, &h->up[i], STAGE_LEVEL + i, x, start, most);
        if (c->temporal_up[i]) {
            most *= 2;
            frame = start ? 0 : 2 * frame - 1;
        }
        tap(j, NAME("up%d", i), x.x, frame);
    }
    j->waiting = x;
    j->waiting_next = 0;
    j->waiting_count = j->waiting_coarse ? upsampled_frames(&h->up[levels - 1], x.x.t, start) : x.x.t;
}

/* The next of the waiting pictures, for the levels after the last temporal upsampler, which work in place. */
static Frames next_picture(VaeJob *j, int64_t frame)
{
    const int next = j->waiting_next++;
    if (!j->waiting_coarse) {
        const Frames from = frames_part(j->waiting, next, 1);
        const Frames x = frames_new(j->d, 1, from.x.h, from.x.w, from.x.c);
        dev_axpby(j->d, x.x, 1.0f, from.x, 0.0f, (Tensor){0});
        dev_axpby(j->d, x.stats, 1.0f, from.stats, 0.0f, (Tensor){0});
        return x;
    }
    const int level = after_temporal_up(&j->v->config) - 1;
    const bool start = j->waiting_start && next == 0; /* a video's first coarse frame gives one picture */
    const int fine = next + (j->waiting_start && !start);
    const UpsamplePart part = start ? UPSAMPLE_ALL : fine % 2 ? UPSAMPLE_SECOND : UPSAMPLE_FIRST;
    const Frames x = upsample_folded(j, &j->v->decoder.up[level], STAGE_LEVEL + level, tensor_frames(j->waiting.x, fine / 2, 1),
                                     start, part, 1);
    tap(j, NAME("up%d", level), x.x, frame);
    return x;
}

/* The next waiting picture to pixels [1][8h][8w][3]. */
static Tensor decode_picture(VaeJob *j, int64_t frame, bool start)
{
    const Half *h = &j->v->decoder;
    const VaeConfig *c = &j->v->config;
    Frames x = next_picture(j, frame);
    if (j->waiting_next == j->waiting_count) frames_free(j->d, &j->waiting);
    for (int i = after_temporal_up(c); i < c->levels; i++) {
        for (int b = 0; b < c->decoder_blocks; b++) x = resnet(j, &h->block[i][b], STAGE_LEVEL + i, x, start, 1);
        if (i < c->levels - 1) x = upsample(j, &h->up[i], STAGE_LEVEL + i, x, start, 1);
        tap(j, NAME("up%d", i), x.x, frame);
    }
    Tensor out = dev_floats(j->d, 1, x.x.h, x.x.w, c->pixel_channels);
    ConvArgs a = conv_args(j, &h->out, STAGE_OUT, x.x, (Frames){.x = out}, start);
    a.pre = group_norm(&h->norm_out, x.stats, ACT_SILU);
    conv_run(j, &h->out, &a, 1);
    frames_free(j->d, &x);
    return out;
}

/* ----------------------------------------------------------------------------------------------- pixels in and out */

/* Read a rectangle of a source frame into [1][h][w][c]. */
static Tensor read_frame(VaeJob *j, int64_t frame, int y, int x, int h, int w, int channels)
{
    Tensor out = dev_floats(j->d, 1, h, w, channels);
    planar_read(j->d, j->source, frame, y, x, out);
    return out;
}

static bool is_tiled(const VaeJob *j) { return j->row_count * j->column_count > 1; }

/* Result samples a latent cell has: pixels (decode) or one (encode). */
static int unit(const VaeJob *j) { return j->decode ? j->v->config.spatial_factor : 1; }

/* Length of the fades in result samples: numz's decoder takes the overlap in pixels as given, its encoder whole cells. */
static int ramp(const VaeJob *j, int tile_px, int overlap_px)
{
    return j->decode ? overlap_px : tile_overlap_cells(tile_px, overlap_px, j->v->config.spatial_factor);
}

/* This tile's weight of each sample along one axis, over the sum of all tiles' weights there. */
static void axis_weights(const VaeJob *j, TileSpan s, int cells, int ramp_samples, int samples, const float *sum, float *out)
{
    const int span = (s.hi - s.lo) * unit(j);
    for (int i = samples; i < span; i++) out[i] = 0.0f; /* rows no tile returned (odd sizes) */
    tile_weights(s, cells, ramp_samples, samples, out);
    for (int i = 0; i < samples; i++) out[i] /= sum[s.lo * unit(j) + i] > 1e-6f ? sum[s.lo * unit(j) + i] : 1e-6f;
}

static int min_int(int a, int b) { return a < b ? a : b; }

/* Size of the result in latent cells: what encoding an odd size in tiles leaves empty counts too. */
static int cells_of(const VaeJob *j, int size)
{
    const int f = j->v->config.spatial_factor;
    return j->decode ? size : is_tiled(j) ? (size + f - 1) / f : size / f;
}

/* The present tile's weights, of h rows and w columns that have results. */
static void tile_axes(const VaeJob *j, const PlaneWeights *weights, int h, int w)
{
    float *rows = dev_write(j->d, weights->rows), *columns = dev_write(j->d, weights->columns);
    if (rows != NULL && columns != NULL) {
        axis_weights(j, j->row, cells_of(j, j->h), ramp(j, j->tiles.tile_h, j->tiles.overlap_h), h, j->row_sum, rows);
        axis_weights(j, j->column, cells_of(j, j->w), ramp(j, j->tiles.tile_w, j->tiles.overlap_w), w, j->column_sum, columns);
    }
    dev_write_end(j->d, weights->rows, rows);
    dev_write_end(j->d, weights->columns, columns);
}

/* Hand result x [1][h][w][c] of the present tile to the sink, weighted where tiles overlap. */
static void write_frame(VaeJob *j, Tensor x, int64_t frame)
{
    if (!is_tiled(j)) {
        planar_write(j->d, &j->to, &(PlanarPlace){.frame = frame, .h = x.h, .w = x.w}, x, NULL);
        return;
    }
    const int h = (j->row.hi - j->row.lo) * unit(j), w = (j->column.hi - j->column.lo) * unit(j);
    PlaneWeights weights = {.rows = dev_floats(j->d, 1, 1, 1, h), .columns = dev_floats(j->d, 1, 1, 1, w)};
    tile_axes(j, &weights, min_int(h, x.h), min_int(w, x.w));
    /* What tiles above and to the left have stored is added to. */
    const int i = (int)(j->tile / j->column_count), k = (int)(j->tile % j->column_count);
    const PlanarPlace place = {.frame = frame, .y = j->row.lo * unit(j), .x = j->column.lo * unit(j), .h = h, .w = w,
                               .done_rows = i == 0 ? 0 : min_int(h, (j->rows[i - 1].hi - j->row.lo) * unit(j)),
                               .done_columns = k == 0 ? 0 : min_int(w, (j->columns[k - 1].hi - j->column.lo) * unit(j))};
    planar_write(j->d, &j->to, &place, x, &weights);
    dev_free(j->d, &weights.columns);
    dev_free(j->d, &weights.rows);
}

/* --------------------------------------------------------------------------------------------------------------- steps */

/* Sum over all tiles of an axis of the weights of each result sample. returned: samples a tile of this span gives. */
static float *axis_sum(const VaeJob *j, const TileSpan *spans, int count, int cells, int size, int ramp_samples)
{
    float *sum = calloc((size_t)cells * (size_t)unit(j), sizeof *sum), *one = malloc((size_t)cells * (size_t)unit(j) * sizeof *one);
    if (sum == NULL || one == NULL) {
        free(sum);
        free(one);
        return NULL;
    }
    const int f = j->v->config.spatial_factor;
    for (int i = 0; i < count; i++) {
        const int samples = j->decode ? (spans[i].hi - spans[i].lo) * f : (min_int(spans[i].hi * f, size) - spans[i].lo * f) / f;
        if (samples <= 0) continue;
        tile_weights(spans[i], cells, ramp_samples, samples, one);
        for (int n = 0; n < samples; n++) sum[spans[i].lo * unit(j) + n] += one[n];
    }
    free(one);
    return sum;
}

static VaeJob *job_open(Vae *v, Dev *d, bool decode, int h, int w, int64_t count, VaeTiles tiles, VaeVideo source, VaeVideo sink)
{
    VaeJob *j = calloc(1, sizeof *j);
    if (j == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    *j = (VaeJob){.v = v, .d = d, .decode = decode, .h = h, .w = w, .count = count, .tiles = tiles, .source = source, .to = {.sink = sink}};
    const int f = v->config.spatial_factor, cells_h = decode ? h : (h + f - 1) / f, cells_w = decode ? w : (w + f - 1) / f;
    const bool fits = tiles.tile_h <= 0 || tiles.tile_w <= 0 ||
                      (decode ? h <= (tiles.tile_h / f > 1 ? tiles.tile_h / f : 1) && w <= (tiles.tile_w / f > 1 ? tiles.tile_w / f : 1)
                              : h <= tiles.tile_h && w <= tiles.tile_w);
    j->row_count = fits ? 1 : tile_spans(cells_h, tiles.tile_h, tiles.overlap_h, f, NULL);
    j->column_count = fits ? 1 : tile_spans(cells_w, tiles.tile_w, tiles.overlap_w, f, NULL);
    j->rows = calloc((size_t)j->row_count, sizeof *j->rows);
    j->columns = calloc((size_t)j->column_count, sizeof *j->columns);
    if (j->rows == NULL || j->columns == NULL) {
        dev_fail(d, "out of memory");
        return j;
    }
    if (fits) {
        j->rows[0] = (TileSpan){0, cells_h};
        j->columns[0] = (TileSpan){0, cells_w};
        return j;
    }
    tile_spans(cells_h, tiles.tile_h, tiles.overlap_h, f, j->rows);
    tile_spans(cells_w, tiles.tile_w, tiles.overlap_w, f, j->columns);
    j->row_sum = axis_sum(j, j->rows, j->row_count, cells_h, h, ramp(j, tiles.tile_h, tiles.overlap_h));
    j->column_sum = axis_sum(j, j->columns, j->column_count, cells_w, w, ramp(j, tiles.tile_w, tiles.overlap_w));
    if (j->row_sum == NULL || j->column_sum == NULL) dev_fail(d, "out of memory");
    return j;
}

VaeJob *vae_encode_open(Vae *v, Dev *d, int h, int w, int64_t count, VaeTiles tiles, VaeVideo frames, VaeVideo moments)
{
    VaeJob *j = job_open(v, d, false, h, w, count, tiles, frames, moments);
    if (j != NULL) j->keep = (count - 1) / v->config.temporal_factor + 1;
    return j;
}

VaeJob *vae_decode_open(Vae *v, Dev *d, int h, int w, int64_t count, int64_t keep, VaeTiles tiles, VaeVideo latents,
                        VaeVideo frames)
{
    VaeJob *j = job_open(v, d, true, h, w, count, tiles, latents, frames);
    if (j != NULL) {
        const int64_t all = v->config.temporal_factor * (count - 1) + 1;
        j->keep = keep > 0 && keep < all ? keep : all;
    }
    return j;
}

/*
 * Folding an upsampler costs about 432 C^3 multiply-adds, once a job, and saves 160 C^2 for every coarse pixel of a frame
 * (24 C^2 in a single image): worth it from about 2 C (18 C) pixels. The choice looks at sizes alone, never at how
 * many frames there are, so that parts of a clip done apart are computed alike.
 */
static bool fold_pays(const VaeJob *j, const UpsamplerWeights *u, int64_t coarse_pixels)
{
    const int64_t c = u->conv.weight.shape[0];
    if (j->v->fold != VAE_FOLD_AUTO) return j->v->fold == VAE_FOLD_ON;
    return coarse_pixels >= (j->count == 1 ? 18 : 2) * c;
}

static void prepare(VaeJob *j)
{
    j->prepared = true;
    if (!j->decode) return;
    for (int i = 0; i < j->v->config.levels - 1; i++) {
        const UpsamplerWeights *u = &j->v->decoder.up[i];
        const int64_t h = j->rows[0].hi - j->rows[0].lo, w = j->columns[0].hi - j->columns[0].lo;
        j->folded[i] = fold_pays(j, u, (h * w) << (2 * i));
        if (j->folded[i] && dev_ok(j->d)) {
            j->fold[i] = dev_fold(j->d, stage_of(j, STAGE_LEVEL + i), &u->up.weight, &u->up.bias, &u->conv.weight, &u->conv.bias, u->rt);
        }
    }
}

static void tile_close(VaeJob *j)
{
    for (int i = 0; i < CONVS_MAX; i++) {
        dev_state_free(j->d, j->state[i]);
        j->state[i] = NULL;
    }
    for (int i = 0; i < LEVELS_MAX; i++) {
        dev_state_free(j->d, j->fold_state[i]);
        j->fold_state[i] = NULL;
    }
    frames_free(j->d, &j->waiting);
    planar_release(j->d, &j->to);
    j->tile_open = false;
}

/* The slice's pictures of h x w up to and with the first downsampler that halves time: two by two where they are large. */
static Frames encode_pictures(VaeJob *j, int frames, int y, int x, int h, int w)
{
    const Half *e = &j->v->encoder;
    const VaeConfig *c = &j->v->config;
    const int last = first_temporal_down(c);
    const bool start = j->at == 0, down = last < c->levels - 1;
    const int most = down && one_by_one(j, h >> (last + 1), w >> (last + 1)) ? 2 : c->temporal_factor;
    Frames halved = {0};
    if (down) halved = frames_new(j->d, (frames + 1) / 2, (h >> last) / 2, (w >> last) / 2, c->width[last]);
    for (int i = 0; i < frames; i += most) {
        const int count = min_int(most, frames - i);
        Frames slice = frames_new(j->d, count, h >> last, w >> last, c->width[last]);
        for (int k = i; k < i + count; k++) {
            encode_picture(j, read_frame(j, j->at + k, y, x, h, w, c->pixel_channels), frames_part(slice, k - i, 1), j->at + k,
                           start);
        }
        if (!down) return slice;
        const Frames to = frames_part(halved, i / 2, (count + 1) / 2);
        ConvArgs a = downsampler_args(j, &e->down[last], STAGE_LEVEL + last, slice.x, to, start);
        conv_run(j, &e->down[last], &a, most);
        frames_free(j->d, &slice);
    }
    return halved;
}

static void encode_step(VaeJob *j)
{
    const VaeConfig *c = &j->v->config;
    const int f = c->spatial_factor, y = j->row.lo * f, x = j->column.lo * f;
    const int h = min_int(j->row.hi * f, j->h) - y, w = min_int(j->column.hi * f, j->w) - x;
    const bool start = j->at == 0;
    const int frames = start ? 1 : c->temporal_factor;
    Tensor moments = encode_slice(j, encode_pictures(j, frames, y, x, h, w), j->at, start);
    write_frame(j, moments, j->written);
    dev_free(j->d, &moments);
    j->at += frames;
    j->written++;
}

static void decode_step(VaeJob *j)
{
    const VaeConfig *c = &j->v->config;
    if (!j->waiting.x.valid) {
        Tensor z = read_frame(j, j->at, j->row.lo, j->column.lo, j->row.hi - j->row.lo, j->column.hi - j->column.lo,
                              c->latent_channels);
        decode_latent(j, z, j->at, j->at == 0);
        j->at++;
        if (!j->waiting.x.valid) return;
    }
    Tensor picture = decode_picture(j, j->written, j->written == 0);
    write_frame(j, picture, j->written);
    dev_free(j->d, &picture);
    j->written++;
}

static void folds_free(VaeJob *j)
{
    for (int i = 0; i < LEVELS_MAX; i++) {
        dev_fold_free(j->d, j->fold[i]);
        j->fold[i] = NULL;
    }
}

/* All is given out, and its memory is free for other work: what is left is to take the last result. */
static bool finish(VaeJob *j)
{
    j->done = true;
    if (j->end == 0 && !j->keep_state) folds_free(j);
    return j->to.out != NULL;
}

bool vae_step(VaeJob *j)
{
    const int64_t delivered = j->to.delivered;
    if (j->done) vae_job_take(j);
    if (j->done || !dev_ok(j->d)) return false;
    if (!j->prepared) prepare(j);
    if (!j->tile_open) {
        j->row = j->rows[j->tile / j->column_count];
        j->column = j->columns[j->tile % j->column_count];
        j->at = j->written = 0;
        j->tile_open = true;
    }
    if (j->decode) decode_step(j);
    else encode_step(j);
    if (!dev_ok(j->d)) {
        planar_deliver(j->d, &j->to);
        return j->to.delivered > delivered; /* it is taken as if all were well, the next step tells of the failure */
    }
    if (j->written < j->keep) return true;
    if (j->keep_state && j->tile + 1 == (int64_t)j->row_count * j->column_count) return finish(j);
    tile_close(j);
    return ++j->tile < (j->end ? j->end : (int64_t)j->row_count * j->column_count) || finish(j);
}

bool vae_job_take(VaeJob *j) { return planar_deliver(j->d, &j->to); }
bool vae_job_waits(const VaeJob *j) { return j->done && j->to.out != NULL; }

void vae_job_tile(VaeJob *j, int64_t tile)
{
    j->tile = tile;
    j->end = tile + 1;
    j->done = false;
}

double vae_progress(const VaeJob *j)
{
    const double tiles = (double)j->row_count * j->column_count;
    const double written = (j->tile_open ? (double)j->written : 0.0) - (j->to.out != NULL);
    return j->done ? 1.0 : ((double)j->tile + written / (double)j->keep) / tiles;
}

void vae_job_close(VaeJob *j)
{
    if (j == NULL) return;
    planar_close(j->d, &j->to);
    tile_close(j);
    folds_free(j);
    free(j->rows);
    free(j->columns);
    free(j->row_sum);
    free(j->column_sum);
    free(j);
}

int vae_tile_count(int h, int w, int factor, VaeTiles tiles, bool decode)
{
    if (tiles.tile_h <= 0 || tiles.tile_w <= 0) return 1;
    if (decode ? h / factor <= tiles.tile_h / factor && w / factor <= tiles.tile_w / factor
               : h <= tiles.tile_h && w <= tiles.tile_w) {
        return 1;
    }
    return tile_spans((h + factor - 1) / factor, tiles.tile_h, tiles.overlap_h, factor, NULL) *
           tile_spans((w + factor - 1) / factor, tiles.tile_w, tiles.overlap_w, factor, NULL);
}

/* -------------------------------------------------------------------------------------------------------------- tests */

void vae_job_keep_state(VaeJob *j) { j->keep_state = true; }

/* A convolution's memory without the zeros that surround it; a downsampler's keeps the column and row put to it. */
static bool state_of(VaeJob *j, const char *name, float *out, int *t, int *h, int *w, int *c)
{
    for (int i = 0; i < j->v->convs; i++) {
        if (strcmp(j->v->conv[i]->name, name) != 0 || j->state[i] == NULL) continue;
        if (dev_is_plan(j->d)) return true;
        *t = dev_state_read(j->d, j->state[i], out, h, w, c);
        if (strstr(name, "downsamplers") != NULL) return true;
        const int ph = *h, pw = *w;
        *h -= 2;
        *w -= 2;
        for (int f = 0; f < *t; f++) {
            for (int y = 0; y < *h; y++) {
                memmove(out + (int64_t)(f * *h + y) * *w * *c, out + ((int64_t)(f * ph + y + 1) * pw + 1) * *c,
                        (size_t)(*w * *c) * sizeof *out);
            }
        }
        return true;
    }
    return false;
}

bool vae_job_state(VaeJob *j, const char *name, float *out, int *t, int *h, int *w, int *c)
{
    return state_of(j, name, out, t, h, w, c);
}

static int64_t dimension(const WeightPart *part, const char *name, int axis)
{
    const WeightTensor *t = weight_file_find(part->file, NAME("%s%s", part->prefix, name));
    return t != NULL && axis < t->rank ? t->shape[axis] : 0;
}

static Frames run_part(VaeJob *j, const VaeModuleRun *r, Frames x, bool start, int most)
{
    Vae *v = j->v;
    Half *w = &v->decoder; /* any half holds one of each kind */
    if (strcmp(r->kind, "resnet") == 0) return resnet(j, &w->mid[0], STAGE_MID, x, start, most);
    if (strcmp(r->kind, "downsample") == 0) return downsample(j, &w->down[0], STAGE_MID, x, start, most);
    if (strcmp(r->kind, "upsample") == 0) return upsample(j, &w->up[0], STAGE_MID, x, start, most);
    if (strcmp(r->kind, "attention") == 0) {
        attention(j, &w->attention, x);
        return x;
    }
    Frames y;
    if (strcmp(r->kind, "norm_silu") == 0) {
        y = frames_new(j->d, x.x.t, x.x.h, x.x.w, x.x.c);
        dev_norm(j->d, &(NormArgs){.x = x.x, .y = y.x, .pre = group_norm(&w->norm_out, x.stats, ACT_SILU)});
    } else {
        y = (Frames){.x = dev_tensor(j->d, x.x.t, x.x.h, x.x.w, (int)w->in.weight.shape[0])};
        ConvArgs a = conv_args(j, &w->in, STAGE_IN, x.x, y, start);
        conv_run(j, &w->in, &a, most);
    }
    frames_free(j->d, &x);
    return y;
}

static void bind_module(Vae *v, const VaeModuleRun *r)
{
    Half *w = &v->decoder;
    const char *m = r->module;
    const char *kernel = strcmp(r->kind, "downsample") == 0 ? NAME("%s.conv.weight", m) : NAME("%s.weight", m);
    if (strcmp(r->kind, "norm_silu") == 0) bind_norm(v, &w->norm_out, m, r->c);
    else if (strcmp(r->kind, "attention") == 0) bind_attention(v, &w->attention, m, r->c);
    else if (strcmp(r->kind, "resnet") == 0) {
        bind_resnet(v, &w->mid[0], m, r->c, (int)dimension(v->binder.part, NAME("%s.conv1.weight", m), 0));
    } else if (strcmp(r->kind, "upsample") == 0) {
        bind_upsampler(v, &w->up[0], m, r->c, (int)dimension(v->binder.part, NAME("%s.upscale_conv.weight", m), 0) / (4 * r->c), 0);
    } else if (strcmp(r->kind, "downsample") == 0) {
        bind_conv(v, &w->down[0], NAME("%s.conv", m), r->c, r->c, (int)dimension(v->binder.part, kernel, 2), 3);
    } else {
        bind_conv(v, &w->in, m, r->c, (int)dimension(v->binder.part, kernel, 0), (int)dimension(v->binder.part, kernel, 2),
                  (int)dimension(v->binder.part, kernel, 3));
    }
}

bool vae_run_module(const WeightPart *part, Dev *d, VaeFold fold, VaeModuleRun *r, char *error, size_t error_size)
{
    Vae v = {.config = part->vae, .fold = fold, .binder = {.part = part, .error = error, .error_size = error_size}};
    VaeJob j = {.v = &v, .d = d, .decode = true};
    int most = 0, at = 0;
    for (int i = 0; i < r->part_count; i++) most = r->parts[i] > most ? r->parts[i] : most;
    bind_module(&v, r);
    if (v.binder.failed) return false;
    if (strcmp(r->kind, "upsample") == 0 && fold == VAE_FOLD_ON) {
        const UpsamplerWeights *u = &v.decoder.up[0];
        j.folded[0] = true;
        j.fold[0] = dev_fold(d, stage_of(&j, STAGE_LEVEL), &u->up.weight, &u->up.bias, &u->conv.weight, &u->conv.bias, u->rt);
    }
    r->ot = 0;
    for (int i = 0; i < r->part_count && dev_ok(d); i++) {
        Frames x = frames_new(d, r->parts[i], r->h, r->w, r->c);
        float *to = dev_write(d, x.x);
        const int64_t pixels = (int64_t)r->parts[i] * r->h * r->w;
        for (int64_t p = 0; to != NULL && p < pixels; p++) {
            memset(to + p * x.x.c_pad, 0, (size_t)x.x.c_pad * sizeof *to);
            memcpy(to + p * x.x.c_pad, r->x + ((int64_t)at * r->h * r->w + p) * r->c, (size_t)r->c * sizeof *to);
        }
        dev_write_end(d, x.x, to);
        if (r->c % GROUPS == 0) dev_stats(d, &(StatsArgs){.x = x.x, .stats = x.stats, .groups = GROUPS});
        Frames y = run_part(&j, r, x, i == 0, most);
        r->oh = y.x.h;
        r->ow = y.x.w;
        r->oc = y.x.c;
        const float *from = dev_read(d, y.x);
        const int64_t out_pixels = (int64_t)y.x.t * y.x.h * y.x.w;
        float *out = r->out + (int64_t)r->ot * r->oh * r->ow * r->oc;
        for (int64_t p = 0; from != NULL && p < out_pixels; p++) {
            memcpy(out + p * r->oc, from + p * y.x.c_pad, (size_t)r->oc * sizeof *out);
        }
        dev_read_end(d, from);
        r->ot += y.x.t;
        at += r->parts[i];
        frames_free(d, &y);
    }
    bool found = true;
    if (r->state_name != NULL && dev_ok(d)) found = state_of(&j, r->state_name, r->state_out, &r->st, &r->sh, &r->sw, &r->sc);
    tile_close(&j);
    dev_fold_free(d, j.fold[0]);
    if (!found) snprintf(error, error_size, "no convolution '%s' kept a state", r->state_name);
    if (!dev_ok(d)) snprintf(error, error_size, "%s", dev_error(d));
    return found && dev_ok(d);
}
