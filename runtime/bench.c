#include "runtime/bench.h"

#include "kernels/cpu/color.h"
#include "kernels/cpu/noise.h"
#include "kernels/cpu/quantize.h"
#include "kernels/cpu/resize.h"
#include "runtime/device.h"
#include "runtime/models/seedvr2_dit.h"
#include "runtime/models/seedvr2_vae.h"
#include "runtime/pattern.h"
#include "runtime/system.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS_MAX = 64, SHAPE_MAX = 8 };

typedef struct Bench {
    const upres_options *options;
    Device chosen;
    Dev *device; /* what the case at hand runs on: a plan first, then the device itself */
    double seconds[RUNS_MAX];
    int runs;
    double flop, bytes; /* of one run; bytes read and written */
} Bench;

typedef struct BenchCase {
    const char *name;
    bool (*run)(Bench *b, const int *shape); /* false: no memory */
    bool on_host;                            /* image work: one thread, plain C */
    int shape[SHAPE_MAX];
} BenchCase;

/* Small numbers of both signs, the same every time. */
static void fill(float *x, size_t count)
{
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = ((float)(state >> 8) - 8388608.0f) * (0.1f / 8388608.0f);
    }
}

static float *filled(size_t count)
{
    float *x = malloc(count * sizeof *x);
    if (x) fill(x, count);
    return x;
}

static double seconds_of(const Bench *b, void (*body)(void *), void *context)
{
    double began = system_seconds();
    body(context);
    if (b->device) dev_wait(b->device); /* a GPU has only been told what to do */
    return system_seconds() - began;
}

/* Run again and again: at least three times and for 0.2 s. The first run warms up, but counts when it takes seconds. */
static void repeat(Bench *b, void (*body)(void *), void *context)
{
    if (b->device && dev_is_plan(b->device)) {
        double before = dev_totals(b->device).flop;
        body(context);
        b->flop = dev_totals(b->device).flop - before;
        return;
    }
    double first = seconds_of(b, body, context), total = 0;
    if (first > 1) b->seconds[b->runs++] = first;
    while (b->runs < RUNS_MAX && (b->runs < 3 || total < 0.2)) {
        double s = seconds_of(b, body, context);
        b->seconds[b->runs++] = s;
        total += s;
    }
}

/* ------------------------------------------------------------------------------------------------ device operations */

/* A weight of float32 values in memory of the bench's own. */
typedef struct OwnWeight {
    WeightTensor stored;
    BoundWeight bound;
    float *values;
} OwnWeight;

static bool own_weight(OwnWeight *w, int rank, const int64_t *shape)
{
    *w = (OwnWeight){.stored = {.name = "bench", .type = WT_F32, .rank = rank, .count = 1}};
    for (int i = 0; i < rank; i++) {
        w->stored.shape[i] = shape[i];
        w->stored.count *= shape[i];
    }
    w->values = filled((size_t)w->stored.count);
    w->stored.data = (const uint8_t *)w->values;
    w->stored.bytes = (uint64_t)w->stored.count * sizeof(float);
    w->bound = (BoundWeight){.tensor = &w->stored, .rank = rank, .count = w->stored.count};
    memcpy(w->bound.shape, w->stored.shape, sizeof w->bound.shape);
    return w->values != NULL;
}

static Tensor filled_tensor(Bench *b, int t, int h, int w, int c)
{
    Tensor x = dev_tensor(b->device, t, h, w, c);
    float *values = dev_write(b->device, x);
    if (values) fill(values, (size_t)t * (size_t)x.stride_t);
    dev_write_end(b->device, x, values);
    b->bytes += (double)t * (double)x.stride_t * sizeof(float);
    return x;
}

typedef struct ConvRun {
    Dev *device;
    ConvArgs args;
} ConvRun;

static void conv_body(void *context)
{
    ConvRun *r = context;
    dev_conv3d(r->device, &r->args);
}

/* input channels, output channels, kernel (time, space), frames, height, width */
static bool conv_case(Bench *b, const int *s)
{
    OwnWeight weight = {0}, bias = {0};
    int64_t shape[5] = {s[1], s[0], s[2], s[3], s[3]}, channels = s[1];
    int pad = s[3] / 2;
    bool ok = own_weight(&weight, 5, shape) && own_weight(&bias, 1, &channels);
    if (ok) {
        ConvRun r = {b->device,
                     {.weight = &weight.bound,
                      .bias = &bias.bound,
                      .kt = s[2],
                      .kh = s[3],
                      .kw = s[3],
                      .stride_t = 1,
                      .stride_h = 1,
                      .stride_w = 1,
                      .pad_top = pad,
                      .pad_left = pad,
                      .pad_bottom = pad,
                      .pad_right = pad,
                      .start = true}};
        r.args.x = filled_tensor(b, s[4], s[5], s[6], s[0]);
        r.args.y = filled_tensor(b, s[4], s[5], s[6], s[1]);
        if (s[2] > 1) {
            r.args.state = dev_conv_state(b->device, &r.args, s[4]);
            conv_body(&r); /* the start of a video is cheaper: time the frames after it */
            r.args.start = false;
        }
        repeat(b, conv_body, &r);
        b->bytes += (double)weight.stored.bytes;
        dev_state_free(b->device, r.args.state);
        dev_free(b->device, &r.args.y);
        dev_free(b->device, &r.args.x);
    }
    free(weight.values);
    free(bias.values);
    return ok;
}

typedef struct LinearRun {
    Dev *device;
    LinearArgs args;
} LinearRun;

static void linear_body(void *context)
{
    LinearRun *r = context;
    dev_linear(r->device, &r->args);
}

/* rows, input channels, output channels */
static bool linear_case(Bench *b, const int *s)
{
    OwnWeight weight;
    int64_t shape[2] = {s[2], s[1]};
    bool ok = own_weight(&weight, 2, shape);
    if (ok) {
        LinearRun r = {b->device, {.weight = &weight.bound}};
        r.args.x = filled_tensor(b, 1, 1, s[0], s[1]);
        r.args.y = filled_tensor(b, 1, 1, s[0], s[2]);
        repeat(b, linear_body, &r);
        b->bytes += (double)weight.stored.bytes;
        dev_free(b->device, &r.args.y);
        dev_free(b->device, &r.args.x);
    }
    free(weight.values);
    return ok;
}

typedef struct AttentionRun {
    Dev *device;
    AttentionArgs args;
} AttentionRun;

static void attention_body(void *context)
{
    AttentionRun *r = context;
    dev_attention(r->device, &r->args);
}

/* tokens of one window, heads, channels a head */
static bool attention_case(Bench *b, const int *s)
{
    const AttentionWindow window = {0, 1, 0, 1, 0, s[0], 0, 0, 0};
    AttentionRun r = {b->device,
                      {.heads = s[1],
                       .head_dim = s[2],
                       .scale = 1 / sqrtf((float)s[2]),
                       .eps = 1e-5f,
                       .windows = &window,
                       .window_count = 1}};
    r.args.q = filled_tensor(b, 1, 1, s[0], s[1] * s[2]);
    r.args.k = filled_tensor(b, 1, 1, s[0], s[1] * s[2]);
    r.args.v = filled_tensor(b, 1, 1, s[0], s[1] * s[2]);
    r.args.o = filled_tensor(b, 1, 1, s[0], s[1] * s[2]);
    repeat(b, attention_body, &r);
    dev_free(b->device, &r.args.o);
    dev_free(b->device, &r.args.v);
    dev_free(b->device, &r.args.k);
    dev_free(b->device, &r.args.q);
    return true;
}

typedef struct NormRun {
    Dev *device;
    NormArgs norm;
    StatsArgs stats;
} NormRun;

static void group_norm_body(void *context)
{
    NormRun *r = context;
    dev_stats(r->device, &r->stats);
    dev_norm(r->device, &r->norm);
}

static void rms_norm_body(void *context)
{
    NormRun *r = context;
    dev_norm(r->device, &r->norm);
}

/* channels, height, width: statistics of 32 groups, then norm and SiLU */
static bool group_norm_case(Bench *b, const int *s)
{
    OwnWeight gain = {0}, shift = {0};
    int64_t channels = s[0];
    bool ok = own_weight(&gain, 1, &channels) && own_weight(&shift, 1, &channels);
    if (ok) {
        NormRun r = {.device = b->device};
        r.stats = (StatsArgs){
            .x = filled_tensor(b, 1, s[1], s[2], s[0]), .stats = filled_tensor(b, 1, 1, 1, 64), .groups = 32};
        r.norm = (NormArgs){.x = r.stats.x, .y = filled_tensor(b, 1, s[1], s[2], s[0])};
        r.norm.pre = (Pre){.norm = NORM_GROUP,
                           .groups = 32,
                           .eps = 1e-6f,
                           .stats = r.stats.stats,
                           .gamma = &gain.bound,
                           .beta = &shift.bound,
                           .act = ACT_SILU};
        repeat(b, group_norm_body, &r);
        dev_free(b->device, &r.norm.y);
        dev_free(b->device, &r.stats.stats);
        dev_free(b->device, &r.stats.x);
    }
    free(gain.values);
    free(shift.values);
    return ok;
}

/* rows, channels */
static bool rms_norm_case(Bench *b, const int *s)
{
    NormRun r = {.device = b->device};
    r.norm = (NormArgs){.x = filled_tensor(b, 1, 1, s[0], s[1]), .y = filled_tensor(b, 1, 1, s[0], s[1])};
    r.norm.pre = (Pre){.norm = NORM_RMS, .eps = 1e-5f};
    repeat(b, rms_norm_body, &r);
    dev_free(b->device, &r.norm.y);
    dev_free(b->device, &r.norm.x);
    return true;
}

typedef struct UpsampleRun {
    Dev *device;
    UpsampleArgs args;
} UpsampleRun;

static void upsample_body(void *context)
{
    UpsampleRun *r = context;
    dev_upsample(r->device, &r->args);
}

/* channels, factor in time, coarse frames, height, width: the folded upsampler in the middle of a video */
static bool upsample_case(Bench *b, const int *s)
{
    OwnWeight up = {0}, up_bias = {0}, conv = {0}, conv_bias = {0};
    int64_t c = s[0], many = c * 4 * s[1], up_shape[5] = {many, c, 1, 1, 1}, conv_shape[5] = {c, c, 3, 3, 3};
    bool ok = own_weight(&up, 5, up_shape) && own_weight(&up_bias, 1, &many) && own_weight(&conv, 5, conv_shape) &&
              own_weight(&conv_bias, 1, &c);
    if (ok) {
        FoldedUpsampler *folded = dev_fold(b->device, 0, &up.bound, &up_bias.bound, &conv.bound, &conv_bias.bound, s[1]);
        UpsampleRun r = {b->device, {.weight = folded, .start = true}};
        r.args.x = filled_tensor(b, s[2], s[3], s[4], s[0]);
        r.args.y = filled_tensor(b, s[2] * s[1] - (s[1] - 1), s[3] * 2, s[4] * 2, s[0]);
        r.args.state = dev_fold_state(b->device, folded, r.args.x, s[2]);
        upsample_body(&r);
        r.args.start = false;
        dev_free(b->device, &r.args.y); /* the start gave fewer frames */
        r.args.y = filled_tensor(b, s[2] * s[1], s[3] * 2, s[4] * 2, s[0]);
        repeat(b, upsample_body, &r);
        dev_state_free(b->device, r.args.state);
        dev_free(b->device, &r.args.y);
        dev_free(b->device, &r.args.x);
        dev_fold_free(b->device, folded);
    }
    free(up.values);
    free(up_bias.values);
    free(conv.values);
    free(conv_bias.values);
    return ok;
}

/* ---------------------------------------------------------------------------------------------------------- networks */

static const VaeConfig RELEASED_VAE = {.levels = 4, .width = {128, 256, 512, 512}, .encoder_blocks = 2, .decoder_blocks = 3,
                                       .temporal_down = {false, true, true}, .temporal_up = {true, true, false},
                                       .latent_channels = 16, .pixel_channels = 3, .spatial_factor = 8,
                                       .temporal_factor = 4, .has_encoder = true, .has_decoder = true};

typedef struct VaeRun {
    Dev *device;
    Vae *vae;
    bool decode;
    int latents, h, w; /* latent cells */
} VaeRun;

static bool read_zeros(void *user, const VaeRegion *r)
{
    (void)user;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++) memset(r->data + c * r->plane + y * r->row, 0, (size_t)r->width * sizeof(float));
    return true;
}

static bool drop(void *user, const VaeRegion *r, bool add)
{
    (void)user;
    (void)r;
    (void)add;
    return true;
}

static void vae_body(void *context)
{
    const VaeRun *r = context;
    const VaeVideo from = {NULL, read_zeros, NULL}, to = {NULL, NULL, drop};
    VaeJob *j = r->decode ? vae_decode_open(r->vae, r->device, r->h, r->w, r->latents, 0, (VaeTiles){0}, from, to)
                          : vae_encode_open(r->vae, r->device, 8 * r->h, 8 * r->w, 4 * (r->latents - 1) + 1, (VaeTiles){0},
                                            from, to);
    while (j && vae_step(j)) continue;
    vae_job_close(j);
}

/* decode or encode, latent frames, height, width in latent cells: the released autoencoder */
static bool vae_case(Bench *b, const int *s)
{
    char error[256];
    WeightSet *w = weight_set_blank(&(BlankNetworks){.vae = &RELEASED_VAE});
    VaeParts parts;
    VaeRun r = {b->device, NULL, s[0] != 0, s[1], s[2], s[3]};
    if (w && weight_set_require_vae(w, !r.decode, r.decode, &parts, error, sizeof error)) r.vae = vae_open(parts, error, sizeof error);
    if (r.vae) repeat(b, vae_body, &r);
    bool ok = r.vae != NULL;
    vae_close(r.vae);
    weight_set_close(w);
    return ok;
}

typedef struct DitRun {
    Dev *device;
    Dit *dit;
    const WeightTensor *text;
    Tensor x, y;
} DitRun;

static void dit_body(void *context)
{
    const DitRun *r = context;
    dit_forward(r->dit, r->device, r->x, r->text, 1000, r->y);
}

/* 7B or 3B, blocks, latent frames, height, width in latent cells: the released widths */
static bool dit_case(Bench *b, const int *s)
{
    char error[256];
    DitConfig c = {.is_7b = s[0] == 7, .layers = s[1], .width = s[0] == 7 ? 3072 : 2560, .heads = s[0] == 7 ? 24 : 20,
                   .head_dim = 128, .text_width = 5120, .mlp_hidden = s[0] == 7 ? 12288 : 6912, .time_width = 256,
                   .in_channels = 33, .out_channels = 16};
    for (int i = 1; i < s[1] && !c.is_7b; i++) c.shared[i] = true;
    WeightSet *w = weight_set_blank(&(BlankNetworks){.dit = &c});
    const WeightPart *part = w ? weight_set_require(w, NET_SEEDVR2_DIT, false, 0, error, sizeof error) : NULL;
    OwnWeight text = {0};
    const int64_t shape[2] = {58, 5120};
    DitRun r = {.device = b->device, .dit = part ? dit_open(part, error, sizeof error) : NULL};
    bool ok = r.dit && own_weight(&text, 2, shape);
    if (ok) {
        r.text = &text.stored;
        r.x = filled_tensor(b, s[2], s[3], s[4], 33);
        r.y = filled_tensor(b, s[2], s[3], s[4], 16);
        repeat(b, dit_body, &r);
        dev_free(b->device, &r.y);
        dev_free(b->device, &r.x);
    }
    free(text.values);
    dit_close(r.dit);
    weight_set_close(w);
    return ok;
}

/* -------------------------------------------------------------------------------------------------------- image work */

typedef struct ImageRun {
    ResizeAxis x, y;
    ColorMethod method;
    int h, w;
    const float *from, *style;
    float *to;
    void *scratch;
} ImageRun;

static void resize_body(void *context)
{
    ImageRun *r = context;
    resize_planes(&r->x, &r->y, r->from, 3, r->to, r->scratch);
}

/* source height, width, result height, width */
static bool resize_case(Bench *b, const int *s)
{
    ImageRun r = {0};
    size_t in = 3 * (size_t)s[0] * (size_t)s[1], out = 3 * (size_t)s[2] * (size_t)s[3];
    bool ok = resize_axis_init(&r.x, s[1], s[3]) && resize_axis_init(&r.y, s[0], s[2]);
    float *from = filled(in), *to = filled(out),
          *scratch = ok ? malloc(resize_scratch(&r.x, &r.y) * sizeof *scratch) : NULL;
    ok = ok && from && to && scratch;
    if (ok) {
        r.from = from;
        r.to = to;
        r.scratch = scratch;
        b->bytes = (double)(in + out) * sizeof(float);
        repeat(b, resize_body, &r);
    }
    resize_axis_free(&r.x);
    resize_axis_free(&r.y);
    free(from);
    free(to);
    free(scratch);
    return ok;
}

static void color_body(void *context)
{
    ImageRun *r = context;
    color_correct(r->method, r->from, r->style, 1, r->h, r->w, r->to, r->scratch);
}

/* method, height, width */
static bool color_case(Bench *b, const int *s)
{
    size_t count = 3 * (size_t)s[1] * (size_t)s[2];
    ImageRun r = {.method = (ColorMethod)s[0], .h = s[1], .w = s[2]};
    float *from = filled(count), *style = filled(count), *to = filled(count);
    r.scratch = malloc(color_scratch(r.method, 1, r.h, r.w) + 1);
    bool ok = from && style && to && r.scratch;
    if (ok) {
        r.from = from;
        r.style = style;
        r.to = to;
        b->bytes = 3 * (double)count * sizeof(float);
        repeat(b, color_body, &r);
    }
    free(from);
    free(style);
    free(to);
    free(r.scratch);
    return ok;
}

static void noise_body(void *context)
{
    ImageRun *r = context;
    position_noise(42, NOISE_BASE, 0, 0, 0, r->h, r->w, 16, r->to);
}

/* height, width of a latent frame */
static bool noise_case(Bench *b, const int *s)
{
    size_t count = 16 * (size_t)s[0] * (size_t)s[1];
    ImageRun r = {.h = s[0], .w = s[1], .to = filled(count)};
    bool ok = r.to != NULL;
    b->bytes = (double)count * sizeof(float);
    if (ok) repeat(b, noise_body, &r);
    free(r.to);
    return ok;
}

static void quantize_body(void *context)
{
    ImageRun *r = context;
    for (int c = 0; c < 3; c++)
        quantize_plane(r->from + (size_t)c * (size_t)r->h * (size_t)r->w, r->h, r->w, 8, false, 42, 0, c,
                       (char *)r->scratch + c, 3 * (ptrdiff_t)r->w, 3);
}

/* height, width */
static bool quantize_case(Bench *b, const int *s)
{
    size_t count = 3 * (size_t)s[0] * (size_t)s[1];
    float *from = filled(count);
    ImageRun r = {.h = s[0], .w = s[1], .from = from, .scratch = malloc(count)};
    bool ok = from && r.scratch;
    b->bytes = (double)count * (sizeof(float) + 1);
    if (ok) repeat(b, quantize_body, &r);
    free(from);
    free(r.scratch);
    return ok;
}

/* --------------------------------------------------------------------------------------------- pictures on the device */

typedef struct PictureRun {
    Dev *device;
    ResizeAxis columns, rows;
    Tensor x, y;
    ColorMethod method;
} PictureRun;

/* Planes of floats, filled. */
static Tensor filled_planes(Bench *b, int planes, int h, int w)
{
    Tensor x = dev_floats(b->device, planes, h, 1, w);
    float *values = dev_write(b->device, x);
    if (values) fill(values, (size_t)planes * (size_t)x.stride_t);
    dev_write_end(b->device, x, values);
    b->bytes += (double)planes * (double)x.stride_t * sizeof(float);
    return x;
}

static void picture_end(PictureRun *r)
{
    dev_free(r->device, &r->y);
    dev_free(r->device, &r->x);
}

static void picture_resize_body(void *context)
{
    const PictureRun *r = context;
    dev_resize(r->device, &(ResizeArgs){.x = r->x, .y = r->y, .columns = &r->columns, .rows = &r->rows});
}

/* source height, width, result height, width */
static bool picture_resize_case(Bench *b, const int *s)
{
    PictureRun r = {.device = b->device};
    bool ok = resize_axis_init(&r.columns, s[1], s[3]) && resize_axis_init(&r.rows, s[0], s[2]);
    if (ok) {
        r.x = filled_planes(b, 3, s[0], s[1]);
        r.y = filled_planes(b, 3, s[2], s[3]);
        repeat(b, picture_resize_body, &r);
        picture_end(&r);
    }
    resize_axis_free(&r.columns);
    resize_axis_free(&r.rows);
    return ok;
}

static void picture_color_body(void *context)
{
    const PictureRun *r = context;
    dev_color(r->device, &(ColorArgs){.method = r->method, .content = r->y, .style = r->x, .strength = 1});
}

/* method, height, width */
static bool picture_color_case(Bench *b, const int *s)
{
    PictureRun r = {.device = b->device, .method = (ColorMethod)s[0], .x = filled_planes(b, 3, s[1], s[2]),
                    .y = filled_planes(b, 3, s[1], s[2])};
    repeat(b, picture_color_body, &r);
    picture_end(&r);
    return true;
}

static void picture_noise_body(void *context)
{
    const PictureRun *r = context;
    dev_noise(r->device, &(NoiseArgs){.x = r->x, .seed = 42, .stream = NOISE_BASE});
}

/* height, width of a latent frame */
static bool picture_noise_case(Bench *b, const int *s)
{
    PictureRun r = {.device = b->device, .x = dev_floats(b->device, 1, s[0], s[1], 16)};
    b->bytes = (double)r.x.stride_t * sizeof(float);
    repeat(b, picture_noise_body, &r);
    picture_end(&r);
    return true;
}

static void picture_codes_body(void *context)
{
    const PictureRun *r = context;
    dev_to_codes(r->device, &(CodesArgs){.codes = r->y, .rgb = r->x, .channels = 3, .bits = 8, .is_signed = true});
}

/* height, width */
static bool picture_codes_case(Bench *b, const int *s)
{
    PictureRun r = {.device = b->device, .x = filled_planes(b, 3, s[0], s[1]),
                    .y = dev_bytes(b->device, (int64_t)3 * s[0] * s[1])};
    b->bytes += 3.0 * s[0] * s[1];
    repeat(b, picture_codes_body, &r);
    picture_end(&r);
    return true;
}

/* ---------------------------------------------------------------------------------------------------------- the list */

static const BenchCase CASES[] = {
    {"conv3d/512x512k333/1x45x80", conv_case, false, {512, 512, 3, 3, 1, 45, 80}},
    {"conv3d/512x512k333/2x90x160", conv_case, false, {512, 512, 3, 3, 2, 90, 160}},
    {"conv3d/256x256k333/1x180x320", conv_case, false, {256, 256, 3, 3, 1, 180, 320}},
    {"conv3d/128x128k333/1x360x640", conv_case, false, {128, 128, 3, 3, 1, 360, 640}},
    {"conv3d/3x128k333/1x360x640", conv_case, false, {3, 128, 3, 3, 1, 360, 640}},
    {"conv3d/128x3k333/1x360x640", conv_case, false, {128, 3, 3, 3, 1, 360, 640}},
    {"conv3d/512x256k111/1x180x320", conv_case, false, {512, 256, 1, 1, 1, 180, 320}},
    {"upsample/512rt2/2x45x80", upsample_case, false, {512, 2, 2, 45, 80}},
    {"upsample/256rt1/1x90x160", upsample_case, false, {256, 1, 1, 90, 160}},
    {"linear/7200x2560x7680", linear_case, false, {7200, 2560, 7680}},
    {"linear/7200x6912x2560", linear_case, false, {7200, 6912, 2560}},
    {"linear/3600x3072x9216", linear_case, false, {3600, 3072, 9216}},
    {"attention/463x20x128", attention_case, false, {463, 20, 128}},
    {"attention/3600x1x512", attention_case, false, {3600, 1, 512}},
    {"group_norm_silu/128/360x640", group_norm_case, false, {128, 360, 640}},
    {"rms_norm/7200x2560", rms_norm_case, false, {7200, 2560}},
    {"vae.encode/96x96x5", vae_case, false, {0, 2, 12, 12}},
    {"vae.decode/96x96x5", vae_case, false, {1, 2, 12, 12}},
    {"transformer_3b/2blocks/600tokens", dit_case, false, {3, 2, 2, 30, 40}},
    {"transformer_7b/1block/600tokens", dit_case, false, {7, 1, 2, 30, 40}},
    {"picture.resize/270x480-1080x1920", picture_resize_case, false, {270, 480, 1080, 1920}},
    {"picture.color_lab/1080x1920", picture_color_case, false, {COLOR_LAB, 1080, 1920}},
    {"picture.color_wavelet/1080x1920", picture_color_case, false, {COLOR_WAVELET, 1080, 1920}},
    {"picture.color_adain/1080x1920", picture_color_case, false, {COLOR_ADAIN, 1080, 1920}},
    {"picture.noise/135x240", picture_noise_case, false, {135, 240}},
    {"picture.codes/1080x1920", picture_codes_case, false, {1080, 1920}},
    {"resize/90x160-360x640", resize_case, true, {90, 160, 360, 640}},
    {"resize/270x480-1080x1920", resize_case, true, {270, 480, 1080, 1920}},
    {"color_lab/360x640", color_case, true, {COLOR_LAB, 360, 640}},
    {"color_wavelet/360x640", color_case, true, {COLOR_WAVELET, 360, 640}},
    {"color_wavelet_adaptive/360x640", color_case, true, {COLOR_WAVELET_ADAPTIVE, 360, 640}},
    {"color_hsv/360x640", color_case, true, {COLOR_HSV, 360, 640}},
    {"color_adain/360x640", color_case, true, {COLOR_ADAIN, 360, 640}},
    {"noise/45x80", noise_case, true, {45, 80}},
    {"quantize/360x640", quantize_case, true, {360, 640}},
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Count a case on a plan, then time it in that much memory. */
static bool run_on_device(Bench *b, const BenchCase *c, char *version, size_t size, Fault *f)
{
    char error[256];
    b->device = dev_plan_open(&b->chosen.setup);
    if (!b->device || !c->run(b, c->shape)) {
        if (b->device) dev_close(b->device);
        return fault(f, UPRES_E_MEMORY, "no memory for %s", c->name) == UPRES_OK;
    }
    uint64_t arena = dev_totals(b->device).arena_peak;
    b->bytes = 0;
    dev_close(b->device);
    b->device = dev_open(&b->chosen.setup, arena, error, sizeof error);
    if (!b->device) return fault(f, UPRES_E_MEMORY, "%s", error) == UPRES_OK;
    dev_set_cancel(b->device, b->options->cancel, b->options->user);
    bool ok = c->run(b, c->shape);
    if (!ok) fault(f, UPRES_E_MEMORY, "no memory for %s", c->name);
    if (ok && dev_cancelled(b->device))
        fault(f, UPRES_E_CANCELLED, "the benchmark was cancelled");
    else if (ok && !dev_ok(b->device))
        fault(f, UPRES_E_RUNTIME, "%s: %s", c->name, dev_error(b->device));
    /* "cpu avx512, 2 threads": the second word */
    const char *word = strchr(dev_describe(b->device), ' ');
    snprintf(version, size, "%.*s", word ? (int)strcspn(word + 1, ",") : 3, word ? word + 1 : "cpu");
    dev_close(b->device);
    return f->status == UPRES_OK;
}

upres_status bench_run(const upres_options *o, const char *pattern, void *user,
                       int (*each)(void *user, const upres_bench_result *r), Fault *f)
{
    int found = 0;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const BenchCase *c = &CASES[i];
        if (pattern && !pattern_matches(pattern, c->name)) continue;
        found++;
        Bench b = {.options = o};
        if (!c->on_host && !device_choose(o, &b.chosen, f)) return f->status;
        char version[32] = "scalar";
        if (c->on_host) {
            if (!c->run(&b, c->shape)) return fault(f, UPRES_E_MEMORY, "no memory for %s", c->name);
        } else if (!run_on_device(&b, c, version, sizeof version, f)) {
            return f->status;
        }
        qsort(b.seconds, (size_t)b.runs, sizeof *b.seconds, by_value);
        double median = b.seconds[b.runs / 2];
        upres_bench_result r = {
            .struct_size = sizeof r,
            .name = c->name,
            .version = version,
            .seconds = median,
            .spread = median > 0 ? (b.seconds[b.runs - 1] - b.seconds[0]) / median : 0,
            .runs = b.runs,
            .flop = b.flop,
            .bytes = b.bytes,
        };
        if (each(user, &r)) break;
    }
    if (!found)
        return fault(f, UPRES_E_ARGUMENT, "no benchmark is called %.60s; names look like %s, and * stands for anything",
                     pattern, CASES[0].name);
    return UPRES_OK;
}
