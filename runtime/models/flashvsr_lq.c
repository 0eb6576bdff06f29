#include "runtime/models/flashvsr_lq.h"

#include "runtime/models/bind.h"
#include "runtime/models/planar.h"

#include <stdio.h>
#include <stdlib.h>

enum { COLORS = 3, CHANNELS = COLORS * FLASH_PATCH * FLASH_PATCH };
enum { KT = 4, KHW = 3, STRIDE_T = 2 };
enum { CALL = 4, FRONT = KT - STRIDE_T }; /* frames of a call; frames that stand in front of it */

/* Stages of the precision policy (dev.h). */
enum { STAGE_CONV1 = STAGES_LQ, STAGE_LINEAR, STAGE_CONV2 };

typedef struct LayerWeights {
    BoundWeight weight; /* [C', C, 4, 3, 3] */
    BoundWeight bias;   /* [C'] */
    BoundWeight gamma;  /* [C'] */
} LayerWeights;

struct FlashLq {
    LayerWeights layer[2];
    LinearWeights linear; /* [D, C'] */
    int hidden[2], width;
};

struct FlashLqStream {
    FlashLq *m;
    Dev *d;
    int h, w; /* tokens */
    bool causal;
    int64_t frame;  /* next one to read */
    Tensor tail[2]; /* causal: [2][h][w][C], what stands in front of the next call's input of either convolution */
};

static void bind_layer(Binder *b, LayerWeights *l, int number, int64_t ci, int64_t co)
{
    bind_tensor(b, &l->weight, 5, (const int64_t[]){co, ci, KT, KHW, KHW}, "conv%d.weight", number);
    bind_vector(b, &l->bias, co, "conv%d.bias", number);
    bind_vector(b, &l->gamma, co, "norm%d.gamma", number);
}

FlashLq *flash_lq_open(const WeightPart *part, char *error, size_t error_size)
{
    FlashLq *m = calloc(1, sizeof *m);
    if (m == NULL) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    Binder b = {.part = part, .error = error, .error_size = error_size};
    for (int i = 0; i < 2; i++) m->hidden[i] = (int)binder_count(&b, "conv%d.bias", i + 1);
    m->width = (int)binder_count(&b, "linear_layers.0.bias");
    bind_layer(&b, &m->layer[0], 1, CHANNELS, m->hidden[0]);
    bind_layer(&b, &m->layer[1], 2, m->hidden[0], m->hidden[1]);
    bind_linear(&b, &m->linear, m->width, m->hidden[1], "linear_layers.0");
    if (binder_count(&b, "linear_layers.1.weight") > 0) {
        binder_fail(
            &b, "the FlashVSR LQ projection has tokens for more blocks than the first ('linear_layers.1'); only the "
                "released form with 'linear_layers.0' alone can be used");
    }
    if (b.failed) {
        free(m);
        return NULL;
    }
    return m;
}

void flash_lq_close(FlashLq *m)
{
    free(m);
}

int flash_lq_width(const FlashLq *m)
{
    return m->width;
}

FlashLqStream *flash_lq_stream_open(FlashLq *m, Dev *d, int h, int w, bool causal)
{
    FlashLqStream *s = calloc(1, sizeof *s);
    if (s == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    *s = (FlashLqStream){.m = m, .d = d, .h = h / FLASH_PATCH, .w = w / FLASH_PATCH, .causal = causal};
    if (causal) {
        s->tail[0] = dev_tensor(d, FRONT, s->h, s->w, CHANNELS);
        s->tail[1] = dev_tensor(d, FRONT, s->h, s->w, m->hidden[0]);
    }
    return s;
}

void flash_lq_stream_close(FlashLqStream *s)
{
    if (s == NULL) return;
    for (int i = 0; i < 2; i++) dev_free(s->d, &s->tail[i]);
    free(s);
}

Tensor flash_lq_tail(const FlashLqStream *s, int convolution)
{
    return s->tail[convolution - 1];
}

/* The next frame into out [1][h][w][768]: pixel (y, x) of a patch and colour c go to channel (c * 16 + y) * 16 + x. */
static void read_frame(FlashLqStream *s, VaeVideo frames, Tensor out)
{
    planar_read_cells(s->d, frames, s->frame++, COLORS, &(PlaneCells){.side = FLASH_PATCH, .step = 1}, out);
}

static void copy(Dev *d, Tensor to, Tensor from)
{
    dev_axpby(d, to, 1.0f, from, 0.0f, (Tensor){0});
}

/* Fills the frames in front of a convolution's input x; its own frames follow them. */
static void fill_front(FlashLqStream *s, int layer, Tensor x)
{
    const Tensor front = tensor_frames(x, 0, FRONT), last = tensor_frames(x, x.t - FRONT, FRONT);
    copy(s->d, front, s->causal ? s->tail[layer] : last);
}

static void keep_tail(FlashLqStream *s, int layer, Tensor x)
{
    if (s->causal) copy(s->d, s->tail[layer], tensor_frames(x, x.t - FRONT, FRONT));
}

/* y = silu(norm(convolution of all frames of x)); edges repeat. */
static void layer(FlashLqStream *s, int number, int stage, Tensor x, Tensor y)
{
    const LayerWeights *w = &s->m->layer[number];
    dev_conv3d(s->d, &(ConvArgs){.stage = stage,
                                 .x = x,
                                 .y = y,
                                 .weight = &w->weight,
                                 .bias = &w->bias,
                                 .kt = KT,
                                 .kh = KHW,
                                 .kw = KHW,
                                 .stride_t = STRIDE_T,
                                 .stride_h = 1,
                                 .stride_w = 1,
                                 .pad_top = 1,
                                 .pad_left = 1,
                                 .pad_bottom = 1,
                                 .pad_right = 1,
                                 .pad_edge = true,
                                 .whole = true});
    dev_norm(s->d, &(NormArgs){
                       .stage = stage, .x = y, .y = y, .pre = {.norm = NORM_L2, .gamma = &w->gamma, .act = ACT_SILU}});
}

void flash_lq_call(FlashLqStream *s, VaeVideo frames, Tensor tokens)
{
    Dev *d = s->d;
    const FlashLq *m = s->m;
    const bool first = s->frame == 0;
    Tensor pixels = dev_tensor(d, FRONT + CALL, s->h, s->w, CHANNELS);
    if (first) { /* frame 0 stands for the whole call and for what is in front of it */
        read_frame(s, frames, tensor_frames(pixels, 0, 1));
        for (int i = 1; i < pixels.t; i++) copy(d, tensor_frames(pixels, i, 1), tensor_frames(pixels, 0, 1));
    } else {
        for (int i = 0; i < CALL; i++) read_frame(s, frames, tensor_frames(pixels, FRONT + i, 1));
        fill_front(s, 0, pixels);
    }
    keep_tail(s, 0, pixels);
    if (first && !s->causal) { /* nothing of it is used */
        dev_free(d, &pixels);
        return;
    }
    Tensor hidden = dev_tensor(d, FRONT + CALL / STRIDE_T, s->h, s->w, m->hidden[0]);
    layer(s, 0, STAGE_CONV1, pixels, tensor_frames(hidden, FRONT, CALL / STRIDE_T));
    dev_free(d, &pixels);
    if (!first) {
        fill_front(s, 1, hidden);
        Tensor last = dev_tensor(d, 1, s->h, s->w, m->hidden[1]);
        layer(s, 1, STAGE_CONV2, hidden, last);
        dev_linear(
            d,
            &(LinearArgs){
                .stage = STAGE_LINEAR, .x = last, .y = tokens, .weight = &m->linear.weight, .bias = &m->linear.bias});
        dev_free(d, &last);
    }
    keep_tail(s, 1, hidden);
    dev_free(d, &hidden);
}
