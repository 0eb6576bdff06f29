/* Products with weights: convolutions, linear layers, upsamplers. */
#include "runtime/bench/cases.h"

/* In the midst of a network: 8 bits where the precision says so. */
enum { CONVOLUTION = STAGES_VAE_DECODER + 2, LAYER = STAGES_DIT + 2 };

/* ------------------------------------------------------------------------------------------------------ convolutions */

/* Kernel kt x k x k, steps in time and space, onto frames of h x w; norm: groups' norm and SiLU ahead of it. */
typedef struct ConvShape {
    const char *name;
    int ci, co, kt, k, step_t, step, t, h, w;
} ConvShape;

/* A SeedVR2 decoder's levels for 640x360 and 1280x720, first and last layers, an encoder's step; the layers of FlashVSR's
 * decoder, its projection, and the Wan decoder's; and one that fits anywhere. */
static const ConvShape convolutions[] = {
    {"512x512k333/1x45x80", 512, 512, 3, 3, 1, 1, 1, 45, 80},
    {"512x512k333/2x90x160", 512, 512, 3, 3, 1, 1, 2, 90, 160},
    {"256x256k333/1x180x320", 256, 256, 3, 3, 1, 1, 1, 180, 320},
    {"256x256k333/4x360x640", 256, 256, 3, 3, 1, 1, 4, 360, 640},
    {"128x128k333/1x360x640", 128, 128, 3, 3, 1, 1, 1, 360, 640},
    {"128x128k333/4x720x1280", 128, 128, 3, 3, 1, 1, 4, 720, 1280},
    {"512x256k333/1x180x320", 512, 256, 3, 3, 1, 1, 1, 180, 320},
    {"512x256k111/1x180x320", 512, 256, 1, 1, 1, 1, 1, 180, 320},
    {"16x512k333/2x90x160", 16, 512, 3, 3, 1, 1, 2, 90, 160},
    {"3x128k333/1x360x640", 3, 128, 3, 3, 1, 1, 1, 360, 640},
    {"128x3k333/1x360x640", 128, 3, 3, 3, 1, 1, 1, 360, 640},
    {"128x128k133s122/1x360x640", 128, 128, 1, 3, 1, 2, 1, 360, 640},
    {"784x512k133/1x90x160", 784, 512, 1, 3, 1, 1, 1, 90, 160},
    {"512x512k233/1x90x160", 512, 512, 2, 3, 1, 1, 1, 90, 160},
    {"128x128k233/2x360x640", 128, 128, 2, 3, 1, 1, 2, 360, 640},
    {"128x128k133/4x720x1280", 128, 128, 1, 3, 1, 1, 4, 720, 1280},
    {"768x2048k433s211/4x48x80", 768, 2048, 4, 3, 2, 1, 4, 48, 80},
    {"384x384k333/1x90x160", 384, 384, 3, 3, 1, 1, 1, 90, 160},
    {"192x192k333/1x360x640", 192, 192, 3, 3, 1, 1, 1, 360, 640},
    {"96x96k333/1x720x1280", 96, 96, 3, 3, 1, 1, 1, 720, 1280},
    {"32x32k333/1x12x20", 32, 32, 3, 3, 1, 1, 1, 12, 20},
};

/* As they stand in a residual block. */
static const ConvShape normed_convolutions[] = {
    {"512x512k333/2x90x160", 512, 512, 3, 3, 1, 1, 2, 90, 160},
    {"256x256k333/4x360x640", 256, 256, 3, 3, 1, 1, 4, 360, 640},
    {"128x128k333/1x360x640", 128, 128, 3, 3, 1, 1, 1, 360, 640},
    {"128x128k333/4x720x1280", 128, 128, 3, 3, 1, 1, 4, 720, 1280},
    {"32x32k333/1x12x20", 32, 32, 3, 3, 1, 1, 1, 12, 20},
};

typedef struct ConvRun {
    Dev *device;
    ConvArgs args;
} ConvRun;

static void conv_body(void *context)
{
    const ConvRun *r = context;
    dev_conv3d(r->device, &r->args);
}

static ConvArgs conv_args(const ConvShape *s, const BenchWeight *weight, const BenchWeight *bias)
{
    const int pad = s->k / 2;
    return (ConvArgs){.stage = CONVOLUTION, .weight = &weight->bound, .bias = &bias->bound, .kt = s->kt, .kh = s->k, .kw = s->k,
                      .stride_t = s->step_t, .stride_h = s->step, .stride_w = s->step, .pad_top = pad, .pad_left = pad,
                      .pad_bottom = pad, .pad_right = pad, .start = true};
}

/* The start of a video is cheaper, as it repeats a frame: others are timed, with others before them. */
static void time_conv(Bench *b, ConvRun *r, const ConvShape *s)
{
    const int h = (s->h - 1) / s->step + 1, w = (s->w - 1) / s->step + 1;
    r->args.x = bench_tensor(b, s->t, s->h, s->w, s->ci);
    if (s->kt > 1) {
        r->args.state = dev_conv_state(b->device, &r->args, s->t);
        Tensor y = r->args.y = dev_tensor(b->device, conv_frames_out(&r->args, s->t), h, w, s->co);
        conv_body(r);
        dev_free(b->device, &y);
        r->args.start = false;
    }
    r->args.y = bench_tensor(b, conv_frames_out(&r->args, s->t), h, w, s->co);
    for (int i = 1; i < s->kt; i++) conv_body(r);
    bench_time(b, conv_body, r);
    dev_free(b->device, &r->args.y);
    dev_state_free(b->device, r->args.state);
    dev_free(b->device, &r->args.x);
}

static bool conv(Bench *b, const void *shape)
{
    const ConvShape *s = shape;
    BenchWeight weight = {0}, bias = {0};
    const int64_t extents[5] = {s->co, s->ci, s->kt, s->k, s->k};
    const bool ok = bench_weight(b, &weight, 5, extents) && bench_vector(b, &bias, s->co);
    if (ok) {
        ConvRun r = {b->device, conv_args(s, &weight, &bias)};
        time_conv(b, &r, s);
    }
    bench_weight_free(&weight);
    bench_weight_free(&bias);
    return ok;
}

static bool normed_conv(Bench *b, const void *shape)
{
    enum { GROUPS = 32 };
    const ConvShape *s = shape;
    BenchWeight weight = {0}, bias = {0}, gain = {0}, offset = {0};
    const int64_t extents[5] = {s->co, s->ci, s->kt, s->k, s->k};
    const bool ok = bench_weight(b, &weight, 5, extents) && bench_vector(b, &bias, s->co) && bench_vector(b, &gain, s->ci) &&
                    bench_vector(b, &offset, s->ci);
    if (ok) {
        ConvRun r = {b->device, conv_args(s, &weight, &bias)};
        Tensor stats = bench_floats(b, s->t, 1, 1, 2 * GROUPS);
        r.args.pre = (Pre){.norm = NORM_GROUP, .groups = GROUPS, .eps = 1, .stats = stats, .gamma = &gain.bound,
                           .beta = &offset.bound, .act = ACT_SILU}; /* eps: made-up variances may be below zero */
        time_conv(b, &r, s);
        dev_free(b->device, &stats);
    }
    bench_weight_free(&weight);
    bench_weight_free(&bias);
    bench_weight_free(&gain);
    bench_weight_free(&offset);
    return ok;
}

/* ----------------------------------------------------------------------------------------------------- linear layers */

typedef struct LinearShape {
    const char *name;
    int rows, in, out;
    Act act;
    bool glu, added; /* added: gated and added to a residual */
} LinearShape;

/* Of SeedVR2's 3B and 7B transformers and of FlashVSR's, for two latent frames of 1280x720; of the 3B's text; a modulation. */
static const LinearShape layers[] = {
    {"7200x2560x7680", 7200, 2560, 7680, .act = ACT_NONE},
    {"7200x2560x2560added", 7200, 2560, 2560, .added = true},
    {"7200x2560x6912glu", 7200, 2560, 6912, .act = ACT_SILU, .glu = true},
    {"7200x6912x2560", 7200, 6912, 2560, .act = ACT_NONE},
    {"3600x3072x9216", 3600, 3072, 9216, .act = ACT_NONE},
    {"7200x3072x12288gelu", 7200, 3072, 12288, .act = ACT_GELU_TANH},
    {"7200x12288x3072added", 7200, 12288, 3072, .added = true},
    {"7200x1536x1536", 7200, 1536, 1536, .act = ACT_NONE},
    {"7200x1536x8960gelu", 7200, 1536, 8960, .act = ACT_GELU_TANH},
    {"7200x8960x1536added", 7200, 8960, 1536, .added = true},
    {"58x2560x7680", 58, 2560, 7680, .act = ACT_NONE},
    {"1x2560x15360", 1, 2560, 15360, .act = ACT_NONE},
    {"70x128x128", 70, 128, 128, .act = ACT_NONE},
};

typedef struct LinearRun {
    Dev *device;
    LinearArgs args;
} LinearRun;

static void linear_body(void *context)
{
    const LinearRun *r = context;
    dev_linear(r->device, &r->args);
}

static bool linear(Bench *b, const void *shape)
{
    const LinearShape *s = shape;
    BenchWeight weight = {0}, glu = {0};
    const int64_t extents[2] = {s->out, s->in};
    const bool ok = bench_weight(b, &weight, 2, extents) && (!s->glu || bench_weight(b, &glu, 2, extents));
    if (ok) {
        LinearRun r = {b->device, {.stage = LAYER, .weight = &weight.bound, .glu = s->glu ? &glu.bound : NULL}};
        Tensor gate = {0}, residual = {0};
        r.args.post.act = s->act;
        if (s->added) {
            r.args.post.gate = gate = bench_floats(b, 1, 1, 1, s->out);
            r.args.post.residual = residual = bench_tensor(b, 1, 1, s->rows, s->out);
        }
        r.args.x = bench_tensor(b, 1, 1, s->rows, s->in);
        r.args.y = bench_tensor(b, 1, 1, s->rows, s->out);
        bench_time(b, linear_body, &r);
        dev_free(b->device, &r.args.y);
        dev_free(b->device, &r.args.x);
        dev_free(b->device, &residual);
        dev_free(b->device, &gate);
    }
    bench_weight_free(&weight);
    bench_weight_free(&glu);
    return ok;
}

/* --------------------------------------------------------------------------------------------------------- upsamplers */

/* frames: that one becomes; coarse frames of h x w. */
typedef struct UpsampleShape {
    const char *name;
    int c, co, frames, t, h, w;
} UpsampleShape;

static const UpsampleShape upsamplers[] = {
    {"512rt2/2x45x80", 512, 512, 2, 2, 45, 80},       {"512rt2/1x90x160", 512, 512, 2, 1, 90, 160},
    {"256rt1/1x90x160", 256, 256, 1, 1, 90, 160},     {"256rt1/4x360x640", 256, 256, 1, 4, 360, 640},
    {"32rt2/1x6x10", 32, 32, 2, 1, 6, 10},
};

static const UpsampleShape nearest_upsamplers[] = {
    {"512x256/1x90x160", 512, 256, 1, 1, 90, 160},
    {"256x128rt2/1x180x320", 256, 128, 2, 1, 180, 320},
    {"128x128rt2/2x360x640", 128, 128, 2, 2, 360, 640},
};

typedef struct UpsampleRun {
    Dev *device;
    UpsampleArgs args;
} UpsampleRun;

static void upsample_body(void *context)
{
    const UpsampleRun *r = context;
    dev_upsample(r->device, &r->args);
}

/* Folded weights lie in the arena: so many for each channel that is read and each that is made. */
static void count_folded(Bench *b, const UpsampleShape *s, int each)
{
    const Element type = b->cuda ? cuda_compute(b->device, CONVOLUTION, s->c, NULL) : ELEMENT_F32;
    b->bytes += (double)each * s->c * s->co * element_bytes(type);
}

/* SeedVR2's, folded, in the middle of a video. */
static bool upsample(Bench *b, const void *shape)
{
    const UpsampleShape *s = shape;
    BenchWeight up = {0}, up_bias = {0}, kernel = {0}, bias = {0};
    const int64_t c = s->c, many = c * 4 * s->frames, up_shape[5] = {many, c, 1, 1, 1}, shape_of[5] = {c, c, 3, 3, 3};
    const bool ok = bench_weight(b, &up, 5, up_shape) && bench_vector(b, &up_bias, many) &&
                    bench_weight(b, &kernel, 5, shape_of) && bench_vector(b, &bias, c);
    if (ok) {
        Dev *d = b->device;
        FoldedUpsampler *folded =
            dev_fold(d, CONVOLUTION, &up.bound, &up_bias.bound, &kernel.bound, &bias.bound, s->frames);
        UpsampleRun r = {d, {.stage = CONVOLUTION, .weight = folded, .start = true}};
        r.args.x = bench_tensor(b, s->t, s->h, s->w, s->c);
        r.args.state = dev_fold_state(d, folded, r.args.x, s->t);
        Tensor first = r.args.y = dev_tensor(d, s->t * s->frames - (s->frames - 1), 2 * s->h, 2 * s->w, s->c);
        upsample_body(&r); /* the start gives fewer frames */
        dev_free(d, &first);
        r.args.start = false;
        r.args.y = bench_tensor(b, s->t * s->frames, 2 * s->h, 2 * s->w, s->c);
        count_folded(b, s, s->frames == 2 ? 64 : 48); /* 8 kinds of fine pixels by 8 taps; 4 by 12 */
        bench_time(b, upsample_body, &r);
        dev_free(d, &r.args.y);
        dev_state_free(d, r.args.state);
        dev_free(d, &r.args.x);
        dev_fold_free(d, folded);
    }
    bench_weight_free(&up);
    bench_weight_free(&up_bias);
    bench_weight_free(&kernel);
    bench_weight_free(&bias);
    return ok;
}

/* The TCDecoder's. */
static bool nearest(Bench *b, const void *shape)
{
    const UpsampleShape *s = shape;
    BenchWeight grow = {0}, kernel = {0};
    const int64_t grow_shape[5] = {s->c * s->frames, s->c, 1, 1, 1}, kernel_shape[4] = {s->co, s->c, 3, 3};
    const bool ok = bench_weight(b, &grow, 5, grow_shape) && bench_weight(b, &kernel, 4, kernel_shape);
    if (ok) {
        Dev *d = b->device;
        FoldedUpsampler *folded = dev_fold_nearest(d, CONVOLUTION, &grow.bound, s->frames, &kernel.bound, NULL);
        UpsampleRun r = {d, {.stage = CONVOLUTION, .weight = folded}};
        r.args.x = bench_tensor(b, s->t, s->h, s->w, s->c);
        r.args.y = bench_tensor(b, s->t * s->frames, 2 * s->h, 2 * s->w, s->co);
        count_folded(b, s, s->frames * 16); /* 4 kinds by 4 taps */
        bench_time(b, upsample_body, &r);
        dev_free(d, &r.args.y);
        dev_free(d, &r.args.x);
        dev_fold_free(d, folded);
    }
    bench_weight_free(&grow);
    bench_weight_free(&kernel);
    return ok;
}

const BenchFamily bench_product_families[] = {
    {BENCH_FAMILY("conv3d", conv, convolutions), .is = BENCH_TILES},
    {BENCH_FAMILY("norm_conv3d", normed_conv, normed_convolutions)},
    {BENCH_FAMILY("linear", linear, layers), .is = BENCH_TILES},
    {BENCH_FAMILY("upsample", upsample, upsamplers)},
    {BENCH_FAMILY("upsample_nearest", nearest, nearest_upsamplers)},
};
const size_t bench_product_family_count = sizeof bench_product_families / sizeof *bench_product_families;
