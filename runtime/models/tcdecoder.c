#include "runtime/models/tcdecoder.h"

#include "runtime/models/bind.h"
#include "runtime/models/planar.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    LEVELS = 3,
    MEMORIES = 3, /* MemBlocks a level */
    COLORS = 3,
    FRAMES = 4, /* frames a latent becomes; the first latent's FRAMES - 1 oldest are not shown */
    SIDE = 8,   /* pixels a latent cell covers along an axis */
    CONDITION = COLORS * FRAMES * SIDE * SIDE,
    STRIP_PIXELS = 1 << 17, /* pixels of a frame whose widest planes are held at a time */
    STRIP_ROWS = 32
};

enum { STAGE_IN = STAGES_TCDECODER, STAGE_OUT, STAGE_LEVEL }; /* of the precision policy (dev.h) */

/* ---------------------------------------------------------------------------------------------------------- weights */

typedef struct MemWeights {
    int index;                 /* N of decoder.N */
    BoundWeight first;         /* [C, 2C, 3, 3]: the present frame's channels, then the one before's */
    BoundWeight second, third; /* [C, C, 3, 3] */
    BoundWeight bias[3];       /* [C] */
} MemWeights;

typedef struct LevelWeights {
    MemWeights memory[MEMORIES];
    BoundWeight grow;  /* [stride * C, C, 1, 1] */
    BoundWeight conv;  /* [C', C, 3, 3] */
    int stride, index; /* frames one becomes; N of conv */
} LevelWeights;

struct TcDecoder {
    int inputs, latent_channels; /* of layer 1; inputs = latent_channels without a condition */
    int width[LEVELS + 1];
    bool deep;               /* with the second convolutions at both ends, which the parent does not have */
    BoundWeight in, in_bias; /* [C0, inputs, 3, 3] */
    BoundWeight in_second;   /* [C0, C0, 3, 3] */
    LevelWeights level[LEVELS];
    BoundWeight out_first;     /* [C3, C3, 3, 3] */
    BoundWeight out, out_bias; /* [3, C3, 3, 3] */
    int index_out_first, index_out;
    int strip_rows;
    VaeTap tap;
    void *tap_user;
};

static void bind_conv(Binder *b, BoundWeight *w, int co, int ci, int side, int index, const char *name)
{
    bind_tensor(b, w, 4, (const int64_t[]){co, ci, side, side}, "decoder.%d.%sweight", index, name);
}

static void bind_memory(Binder *b, MemWeights *w, int c, int index)
{
    w->index = index;
    bind_conv(b, &w->first, c, 2 * c, 3, index, "conv.0.");
    bind_conv(b, &w->second, c, c, 3, index, "conv.2.");
    bind_conv(b, &w->third, c, c, 3, index, "conv.4.");
    for (int i = 0; i < 3; i++) bind_vector(b, &w->bias[i], c, "decoder.%d.conv.%d.bias", index, 2 * i);
}

/* Extents follow from the numbers of elements; weight_bind finds out when they do not fit together. */
static void bind_decoder(Binder *b, TcDecoder *m)
{
    m->deep = binder_count(b, "decoder.3.weight") > 0;
    const int first = m->deep ? 5 : 3, last = first + 6 * LEVELS; /* of the MemBlocks; the ReLU behind the levels */
    m->index_out_first = last + 1;
    m->index_out = m->deep ? last + 3 : last + 1;
    for (int i = 0; i < LEVELS; i++) {
        m->width[i] = (int)binder_count(b, "decoder.%d.conv.0.bias", first + 6 * i);
        if (m->width[i] == 0)
            binder_fail(b, "tensor 'decoder.%d.conv.0.bias' is missing; the TCDecoder needs it", first + 6 * i);
    }
    m->width[LEVELS] = (int)(binder_count(b, "decoder.%d.weight", m->index_out) / (COLORS * 9));
    if (b->failed) return;
    m->inputs = (int)(binder_count(b, "decoder.1.weight") / (9 * m->width[0]));
    m->latent_channels = m->inputs > CONDITION ? m->inputs - CONDITION : m->inputs;

    bind_conv(b, &m->in, m->width[0], m->inputs, 3, 1, "");
    bind_vector(b, &m->in_bias, m->width[0], "decoder.1.bias");
    if (m->deep) bind_conv(b, &m->in_second, m->width[0], m->width[0], 3, 3, "");
    int frames = 1;
    for (int i = 0; i < LEVELS; i++) {
        LevelWeights *l = &m->level[i];
        const int c = m->width[i], n = first + 6 * i;
        for (int k = 0; k < MEMORIES; k++) bind_memory(b, &l->memory[k], c, n + k);
        l->stride = (int)(binder_count(b, "decoder.%d.conv.weight", n + MEMORIES + 1) / ((int64_t)c * c));
        l->index = n + MEMORIES + 2;
        bind_conv(b, &l->grow, l->stride * c, c, 1, n + MEMORIES + 1, "conv.");
        bind_conv(b, &l->conv, m->width[i + 1], c, 3, l->index, "");
        frames *= l->stride;
    }
    if (m->deep) bind_conv(b, &m->out_first, m->width[LEVELS], m->width[LEVELS], 3, m->index_out_first, "");
    bind_conv(b, &m->out, COLORS, m->width[LEVELS], 3, m->index_out, "");
    bind_vector(b, &m->out_bias, COLORS, "decoder.%d.bias", m->index_out);
    if (m->level[0].stride > 2 || m->level[1].stride > 2 || m->level[2].stride > 2 || frames != FRAMES) {
        binder_fail(
            b, "the TCDecoder makes %d, %d and %d frames of one at its levels; expected 1 or 2 each and %d together",
            m->level[0].stride, m->level[1].stride, m->level[2].stride, FRAMES);
    }
}

TcDecoder *tcdecoder_open(const WeightPart *part, char *error, size_t error_size)
{
    TcDecoder *m = calloc(1, sizeof *m);
    if (m == NULL) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    Binder b = {.part = part, .error = error, .error_size = error_size};
    bind_decoder(&b, m);
    if (b.failed) {
        free(m);
        return NULL;
    }
    return m;
}

void tcdecoder_close(TcDecoder *m)
{
    free(m);
}
void tcdecoder_set_strip(TcDecoder *m, int rows)
{
    m->strip_rows = rows;
}

void tcdecoder_set_tap(TcDecoder *m, VaeTap tap, void *user)
{
    m->tap = tap;
    m->tap_user = user;
}

/* ----------------------------------------------------------------------------------------------------------- stream */

struct TcStream {
    TcDecoder *m;
    Dev *d;
    int h, w; /* latent cells */
    ConvState *memory[LEVELS][MEMORIES];
    FoldedUpsampler *fold[LEVELS];
    int64_t latents;              /* so far */
    int64_t pictures;             /* so far, with those that are not shown */
    int64_t level_frames[LEVELS]; /* so far, through the MemBlocks of each level */
    PlanarSink to;
};

/* 3x3, zeros all round. */
static ConvArgs conv_args(int stage, Tensor x, Tensor y, const BoundWeight *weight, const BoundWeight *bias, Act before)
{
    return (ConvArgs){.stage = stage,
                      .x = x,
                      .y = y,
                      .weight = weight,
                      .bias = bias,
                      .kt = 1,
                      .kh = 3,
                      .kw = 3,
                      .stride_t = 1,
                      .stride_h = 1,
                      .stride_w = 1,
                      .pad_top = 1,
                      .pad_left = 1,
                      .pad_bottom = 1,
                      .pad_right = 1,
                      .pre.act = before};
}

/* The convolution over a MemBlock's input and the frame before it: a causal one whose history, zeros at the start,
 * is the block's memory. */
static ConvArgs memory_args(const MemWeights *w, int level, Tensor x, Tensor y)
{
    ConvArgs a = conv_args(STAGE_LEVEL + level, x, y, &w->first, &w->bias[0], ACT_NONE);
    a.kt = 2;
    a.weight_frames_in_channels = true;
    a.start_zero = true;
    return a;
}

TcStream *tcdecoder_stream_open(TcDecoder *m, Dev *d, int h, int w)
{
    TcStream *s = calloc(1, sizeof *s);
    if (s == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    *s = (TcStream){.m = m, .d = d, .h = h, .w = w};
    /* What lasts comes first, so that it leaves no holes among what comes and goes. */
    for (int i = 0; i < LEVELS; i++) {
        const LevelWeights *l = &m->level[i];
        const Tensor x = {.h = h << i, .w = w << i, .c = m->width[i]};
        for (int k = 0; k < MEMORIES && dev_ok(d); k++) {
            const ConvArgs a = memory_args(&l->memory[k], i, x, x);
            s->memory[i][k] = dev_conv_state(d, &a, 1);
        }
        if (dev_ok(d)) s->fold[i] = dev_fold_nearest(d, STAGE_LEVEL + i, &l->grow, l->stride, &l->conv, NULL);
    }
    return s;
}

void tcdecoder_stream_close(TcStream *s)
{
    if (s == NULL) return;
    planar_close(s->d, &s->to);
    for (int i = 0; i < LEVELS; i++) {
        dev_fold_free(s->d, s->fold[i]);
        for (int k = 0; k < MEMORIES; k++) dev_state_free(s->d, s->memory[i][k]);
    }
    free(s);
}

static bool tapped(const TcStream *s)
{
    return s->m->tap != NULL && !dev_is_plan(s->d) && dev_ok(s->d);
}

static void tap(TcStream *s, int index, const char *kind, Tensor x, int64_t frame)
{
    if (!tapped(s)) return;
    char where[32];
    snprintf(where, sizeof where, "%d.%s", index, kind);
    for (int t = 0; t < x.t; t++) {
        const float *values = dev_read(s->d, tensor_frames(x, t, 1));
        if (values != NULL) s->m->tap(s->m->tap_user, where, frame + t, values, x.h, x.w, x.c, x.c_pad);
        dev_read_end(s->d, values);
    }
}

/* ----------------------------------------------------------------------------------------------------------- layers */

/* relu(conv(relu(conv(relu(conv(x and the x before it))))) + x), in place. */
static void mem_block(TcStream *s, int level, int k, Tensor x)
{
    Dev *d = s->d;
    const MemWeights *w = &s->m->level[level].memory[k];
    const int stage = STAGE_LEVEL + level;
    Tensor a = dev_tensor(d, 1, x.h, x.w, x.c), b = dev_tensor(d, 1, x.h, x.w, x.c);
    ConvArgs first = memory_args(w, level, x, a);
    first.state = s->memory[level][k];
    first.start = s->level_frames[level] == 0;
    dev_conv3d(d, &first);
    ConvArgs second = conv_args(stage, a, b, &w->second, &w->bias[1], ACT_RELU);
    dev_conv3d(d, &second);
    ConvArgs third = conv_args(stage, b, x, &w->third, &w->bias[2], ACT_RELU);
    third.post.residual = x;
    dev_conv3d(d, &third);
    dev_norm(d,
             &(NormArgs){.stage = stage, .x = x, .y = x, .pre.act = ACT_RELU}); /* the residual comes before the ReLU */
    dev_free(d, &b);
    dev_free(d, &a);
    tap(s, w->index, "mem", x, s->level_frames[level]);
}

/*
 * Frames of the finest level to pictures: upsampler, one or two convolutions. These planes are the widest by far, so
 * only a strip of rows is there at a time, each convolution reading a row more on either side than it makes.
 */
static void pictures(TcStream *s, Tensor x)
{
    Dev *d = s->d;
    const TcDecoder *m = s->m;
    const LevelWeights *l = &m->level[LEVELS - 1];
    const int h = 2 * x.h, w = 2 * x.w, c = m->width[LEVELS];
    const int64_t number = s->pictures - (FRAMES - 1); /* of the first one in the stream as shown */
    s->pictures += l->stride;
    if (s->pictures < FRAMES && !tapped(s)) return; /* none of them is shown */
    int rows = m->strip_rows > 0 ? 2 * m->strip_rows : STRIP_PIXELS / w / 2 * 2;
    if (m->strip_rows <= 0 && rows < STRIP_ROWS) rows = STRIP_ROWS;

    Tensor picture = dev_floats(d, l->stride, h, w, COLORS);
    for (int top = 0; top < h; top += rows) {
        const int bottom = h - top < rows ? h : top + rows;
        const bool begins = top == 0, ends = bottom == h;
        /* Convolutions behind the upsampler reach two rows beyond the strip (one in the parent), whose border in
         * turn is right but for the row along a cut: two coarse rows more serve both. */
        const int reach = m->deep ? 2 : 1, from = begins ? 0 : top - reach, to = ends ? h : bottom + reach;
        const int coarse_top = top / 2 < 2 ? 0 : top / 2 - 2,
                  coarse_bottom = bottom / 2 + 2 > x.h ? x.h : bottom / 2 + 2;
        Tensor coarse = tensor_window(x, coarse_top, 0, coarse_bottom - coarse_top, x.w);
        Tensor fine = dev_tensor(d, l->stride, 2 * coarse.h, w, c);
        dev_upsample(d, &(UpsampleArgs){
                            .stage = STAGE_LEVEL + LEVELS - 1, .x = coarse, .y = fine, .weight = s->fold[LEVELS - 1]});
        Tensor in = tensor_window(fine, from - 2 * coarse_top, 0, to - from, w);
        if (begins && ends) tap(s, l->index, "conv", in, number + FRAMES - 1);
        for (int t = 0; t < l->stride; t++) {
            if (number + t < 0 && !tapped(s)) continue;
            Tensor last = tensor_frames(in, t, 1), first = {0};
            if (m->deep) {
                first = dev_tensor(d, 1, last.h - !begins - !ends, w, c);
                ConvArgs a = conv_args(STAGE_OUT, last, first, &m->out_first, NULL, ACT_RELU);
                a.pad_top = begins;
                a.pad_bottom = ends;
                dev_conv3d(d, &a);
                if (begins && ends) tap(s, m->index_out_first, "conv", first, number + t + FRAMES - 1);
                last = first;
            }
            ConvArgs a =
                conv_args(STAGE_OUT, last, tensor_window(tensor_frames(picture, t, 1), top, 0, bottom - top, w),
                          &m->out, &m->out_bias, ACT_RELU);
            a.pad_top = begins;
            a.pad_bottom = ends;
            dev_conv3d(d, &a);
            dev_free(d, &first);
        }
        dev_free(d, &fine);
    }
    tap(s, m->index_out, "conv", picture, number + FRAMES - 1);
    for (int t = 0; t < l->stride; t++) {
        if (number + t < 0) continue;
        planar_write(d, &s->to, &(PlanarPlace){.frame = number + t, .h = h, .w = w}, tensor_frames(picture, t, 1), NULL);
    }
    dev_free(d, &picture);
}

/* One frame [1][h][w][C] of a level, depth first to the pictures it becomes. Changes x. */
static void finish(TcStream *s, int level, Tensor x)
{
    Dev *d = s->d;
    for (int k = 0; k < MEMORIES; k++) mem_block(s, level, k, x);
    const int64_t frame = s->level_frames[level]++;
    if (level == LEVELS - 1) {
        pictures(s, x);
        return;
    }
    const LevelWeights *l = &s->m->level[level];
    Tensor fine = dev_tensor(d, l->stride, 2 * x.h, 2 * x.w, s->m->width[level + 1]);
    dev_upsample(d, &(UpsampleArgs){.stage = STAGE_LEVEL + level, .x = x, .y = fine, .weight = s->fold[level]});
    tap(s, l->index, "conv", fine, frame * l->stride);
    for (int t = 0; t < l->stride; t++) finish(s, level + 1, tensor_frames(fine, t, 1));
    dev_free(d, &fine);
}

/* ------------------------------------------------------------------------------------------------------------- runs */

void tcdecoder_fold_condition(Dev *d, Tensor x, VaeVideo condition, int64_t first)
{
    for (int j = 0; j < FRAMES && dev_ok(d); j++) {
        const PlaneCells cells = {.side = SIDE, .step = FRAMES, .first = j};
        planar_read_cells(d, condition, first + j < 0 ? 0 : first + j, COLORS, &cells, x);
    }
}

/* Condition and latent [1][h][w][L] to the first level's input. */
static Tensor enter(TcStream *s, Tensor latent, VaeVideo condition)
{
    Dev *d = s->d;
    const TcDecoder *m = s->m;
    const int before = m->inputs - m->latent_channels; /* the condition's channels */
    Tensor in = latent;
    if (before > 0) {
        in = dev_floats(d, 1, s->h, s->w, m->inputs);
        tcdecoder_fold_condition(d, in, condition, s->pictures - (FRAMES - 1));
        dev_axpby(d, tensor_channels(in, before, m->latent_channels), 1.0f, latent, 0.0f, (Tensor){0});
    }
    Tensor x = dev_tensor(d, 1, s->h, s->w, m->width[0]);
    ConvArgs a = conv_args(STAGE_IN, in, x, &m->in, &m->in_bias, ACT_TANH3);
    dev_conv3d(d, &a);
    if (before > 0) dev_free(d, &in);
    tap(s, 1, "conv", x, s->latents);
    if (m->deep) {
        Tensor y = dev_tensor(d, 1, s->h, s->w, m->width[0]);
        a = conv_args(STAGE_IN, x, y, &m->in_second, NULL, ACT_RELU);
        dev_conv3d(d, &a);
        dev_free(d, &x);
        x = y;
        tap(s, 3, "conv", x, s->latents);
    }
    dev_norm(d, &(NormArgs){.stage = STAGE_IN, .x = x, .y = x, .pre.act = ACT_RELU});
    return x;
}

void tcdecoder_run(TcStream *s, Tensor latents, VaeVideo condition, VaeVideo frames)
{
    if (latents.h != s->h || latents.w != s->w || latents.c != s->m->latent_channels) {
        dev_fail(s->d, "the TCDecoder was given latents of %d x %d with %d channels; expected %d x %d with %d",
                 latents.h, latents.w, latents.c, s->h, s->w, s->m->latent_channels);
    }
    s->to.sink = frames;
    for (int i = 0; i < latents.t && dev_ok(s->d); i++, s->latents++) {
        Tensor x = enter(s, tensor_frames(latents, i, 1), condition);
        finish(s, 0, x);
        dev_free(s->d, &x);
    }
    planar_finish(s->d, &s->to);
}

bool tcdecoder_memory(TcStream *s, int layer, float *out, int *h, int *w, int *c)
{
    for (int i = 0; i < LEVELS; i++) {
        for (int k = 0; k < MEMORIES; k++) {
            if (s->m->level[i].memory[k].index != layer || s->memory[i][k] == NULL) continue;
            return dev_state_read(s->d, s->memory[i][k], out, h, w, c) == 1;
        }
    }
    return false;
}
