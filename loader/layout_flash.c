#include "loader/layout.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct Layout {
    LayoutEach each;
    void *user;
} Layout;

/* Extents beyond the rank are ignored. */
#if defined(__GNUC__)
__attribute__((format(printf, 4, 5)))
#endif
static void
tensor(const Layout *l, int rank, const int64_t *shape, const char *format, ...)
{
    char name[160];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    l->each(l->user, name, NULL, rank, shape);
}

#define SHAPE(...) (const int64_t[]){__VA_ARGS__}

static void linear(const Layout *l, const char *module, int64_t out, int64_t in)
{
    tensor(l, 2, SHAPE(out, in), "%s.weight", module);
    tensor(l, 1, SHAPE(out), "%s.bias", module);
}

/* [out][in][frames][side][side] */
static void conv(const Layout *l, const char *module, int64_t out, int64_t in, int64_t frames, int64_t side)
{
    tensor(l, 5, SHAPE(out, in, frames, side, side), "%s.weight", module);
    tensor(l, 1, SHAPE(out), "%s.bias", module);
}

/* [out][in][side][side] */
static void plane_kernel(const Layout *l, const char *module, int64_t out, int64_t in, int64_t side)
{
    tensor(l, 4, SHAPE(out, in, side, side), "%s.weight", module);
}

static void plane_conv(const Layout *l, const char *module, int64_t out, int64_t in, int64_t side)
{
    plane_kernel(l, module, out, in, side);
    tensor(l, 1, SHAPE(out), "%s.bias", module);
}

/* ------------------------------------------------------------------------------------------- transformer, projection */

enum { LATENT = 16, PATCH = 2, WIDTH = 1536, HIDDEN = 8960, TEXT = 4096, TIME = 256, MODULATIONS = 6 };

static void flash_attention(const Layout *l, int block, const char *kind)
{
    char module[96];
    for (const char *part = "qkvo"; *part; part++) {
        snprintf(module, sizeof module, "blocks.%d.%s.%c", block, kind, *part);
        linear(l, module, WIDTH, WIDTH);
    }
    tensor(l, 1, SHAPE(WIDTH), "blocks.%d.%s.norm_q.weight", block, kind);
    tensor(l, 1, SHAPE(WIDTH), "blocks.%d.%s.norm_k.weight", block, kind);
}

static void flash_block(const Layout *l, int block)
{
    char module[96];
    tensor(l, 3, SHAPE(1, MODULATIONS, WIDTH), "blocks.%d.modulation", block);
    flash_attention(l, block, "self_attn");
    flash_attention(l, block, "cross_attn");
    tensor(l, 1, SHAPE(WIDTH), "blocks.%d.norm3.weight", block);
    tensor(l, 1, SHAPE(WIDTH), "blocks.%d.norm3.bias", block);
    snprintf(module, sizeof module, "blocks.%d.ffn.0", block);
    linear(l, module, HIDDEN, WIDTH);
    snprintf(module, sizeof module, "blocks.%d.ffn.2", block);
    linear(l, module, WIDTH, HIDDEN);
}

void layout_flash_dit(int layers, LayoutEach each, void *user)
{
    const Layout l = {each, user};
    tensor(&l, 5, SHAPE(WIDTH, LATENT, 1, PATCH, PATCH), "patch_embedding.weight");
    tensor(&l, 1, SHAPE(WIDTH), "patch_embedding.bias");
    linear(&l, "text_embedding.0", WIDTH, TEXT);
    linear(&l, "text_embedding.2", WIDTH, WIDTH);
    linear(&l, "time_embedding.0", WIDTH, TIME);
    linear(&l, "time_embedding.2", WIDTH, WIDTH);
    linear(&l, "time_projection.1", MODULATIONS * WIDTH, WIDTH);
    for (int i = 0; i < layers; i++) flash_block(&l, i);
    tensor(&l, 3, SHAPE(1, 2, WIDTH), "head.modulation");
    linear(&l, "head.head", PATCH * PATCH * LATENT, WIDTH);
}

void layout_flash_lq(int layers, LayoutEach each, void *user)
{
    enum { CELLS = 3 * 16 * 16, FIRST = 2048, SECOND = 3072 };
    const Layout l = {each, user};
    char module[96];
    conv(&l, "conv1", FIRST, CELLS, 4, 3);
    tensor(&l, 4, SHAPE(FIRST, 1, 1, 1), "norm1.gamma");
    conv(&l, "conv2", SECOND, FIRST, 4, 3);
    tensor(&l, 4, SHAPE(SECOND, 1, 1, 1), "norm2.gamma");
    for (int i = 0; i < layers; i++) {
        snprintf(module, sizeof module, "linear_layers.%d", i);
        linear(&l, module, WIDTH, SECOND);
    }
}

/* --------------------------------------------------------------------------------------------------------- decoders */

static void memory_block(const Layout *l, int n, int64_t width)
{
    char module[96];
    for (int i = 0; i < 3; i++) {
        snprintf(module, sizeof module, "decoder.%d.conv.%d", n, 2 * i);
        plane_conv(l, module, width, i == 0 ? 2 * width : width, 3);
    }
}

void layout_tcdecoder(LayoutEach each, void *user)
{
    enum { STAGES = 3, CONDITION = 3 * 4 * 8 * 8 };
    static const int64_t width[STAGES + 1] = {512, 256, 128, 128}, frames[STAGES] = {1, 2, 2}; /* made of one */
    const Layout l = {each, user};
    char module[96];
    int n = 5;
    plane_conv(&l, "decoder.1", width[0], CONDITION + LATENT, 3);
    plane_kernel(&l, "decoder.3", width[0], width[0], 3);
    for (int i = 0; i < STAGES; i++, n += 6) {
        for (int k = 0; k < 3; k++) memory_block(&l, n + k, width[i]);
        snprintf(module, sizeof module, "decoder.%d.conv", n + 4);
        plane_kernel(&l, module, frames[i] * width[i], width[i], 1);
        snprintf(module, sizeof module, "decoder.%d", n + 5);
        plane_kernel(&l, module, width[i + 1], width[i], 3);
    }
    plane_kernel(&l, "decoder.24", width[STAGES], width[STAGES], 3);
    plane_conv(&l, "decoder.26", 3, width[STAGES], 3);
}

enum { WAN_WIDTH = 96, WAN_LEVELS = 4, WAN_BLOCKS = 2 /* of a level of the encoder; of the decoder one more */ };
static const int wan_width[WAN_LEVELS] = {WAN_WIDTH, 2 * WAN_WIDTH, 4 * WAN_WIDTH, 4 * WAN_WIDTH};

static void wan_residual(const Layout *l, const char *module, int64_t in, int64_t out)
{
    char name[128];
    tensor(l, 4, SHAPE(in, 1, 1, 1), "%s.residual.0.gamma", module);
    snprintf(name, sizeof name, "%s.residual.2", module);
    conv(l, name, out, in, 3, 3);
    tensor(l, 4, SHAPE(out, 1, 1, 1), "%s.residual.3.gamma", module);
    snprintf(name, sizeof name, "%s.residual.6", module);
    conv(l, name, out, out, 3, 3);
    snprintf(name, sizeof name, "%s.shortcut", module);
    if (in != out) conv(l, name, out, in, 1, 1);
}

static void wan_middle(const Layout *l, const char *half, int64_t width)
{
    char name[128];
    snprintf(name, sizeof name, "%s.middle.0", half);
    wan_residual(l, name, width, width);
    tensor(l, 3, SHAPE(width, 1, 1), "%s.middle.1.norm.gamma", half);
    snprintf(name, sizeof name, "%s.middle.1.to_qkv", half);
    plane_conv(l, name, 3 * width, width, 1);
    snprintf(name, sizeof name, "%s.middle.1.proj", half);
    plane_conv(l, name, width, width, 1);
    snprintf(name, sizeof name, "%s.middle.2", half);
    wan_residual(l, name, width, width);
}

/* Between two levels: space, time: channels that its convolutions make of `width`; time 0: none. */
static void wan_resample(const Layout *l, const char *module, int64_t width, int64_t space, int64_t time)
{
    char name[128];
    snprintf(name, sizeof name, "%s.resample.1", module);
    plane_conv(l, name, space, width, 3);
    if (time == 0) return;
    tensor(l, 5, SHAPE(time, width, 3, 1, 1), "%s.time_conv.weight", module);
    tensor(l, 1, SHAPE(time), "%s.time_conv.bias", module);
}

static void wan_encoder(const Layout *l)
{
    char name[128];
    int n = 0;
    int64_t in = WAN_WIDTH;
    conv(l, "encoder.conv1", in, 3, 3, 3);
    for (int i = 0; i < WAN_LEVELS; i++) {
        for (int k = 0; k < WAN_BLOCKS; k++, in = wan_width[i]) {
            snprintf(name, sizeof name, "encoder.downsamples.%d", n++);
            wan_residual(l, name, in, wan_width[i]);
        }
        if (i == WAN_LEVELS - 1) break;
        snprintf(name, sizeof name, "encoder.downsamples.%d", n++);
        wan_resample(l, name, in, in, i > 0 ? in : 0);
    }
    wan_middle(l, "encoder", in);
    tensor(l, 4, SHAPE(in, 1, 1, 1), "encoder.head.0.gamma");
    conv(l, "encoder.head.2", 2 * LATENT, in, 3, 3);
    conv(l, "conv1", 2 * LATENT, 2 * LATENT, 1, 1);
}

static void wan_decoder(const Layout *l)
{
    char name[128];
    int n = 0;
    int64_t in = wan_width[WAN_LEVELS - 1];
    conv(l, "conv2", LATENT, LATENT, 1, 1);
    conv(l, "decoder.conv1", in, LATENT, 3, 3);
    wan_middle(l, "decoder", in);
    for (int i = WAN_LEVELS - 1; i >= 0; i--) {
        for (int k = 0; k <= WAN_BLOCKS; k++, in = wan_width[i]) {
            snprintf(name, sizeof name, "decoder.upsamples.%d", n++);
            wan_residual(l, name, in, wan_width[i]);
        }
        if (i == 0) break;
        snprintf(name, sizeof name, "decoder.upsamples.%d", n++);
        wan_resample(l, name, in, in / 2, i > 1 ? 2 * in : 0);
        in /= 2;
    }
    tensor(l, 4, SHAPE(in, 1, 1, 1), "decoder.head.0.gamma");
    conv(l, "decoder.head.2", 3, in, 3, 3);
}

void layout_wan_vae(LayoutEach each, void *user)
{
    const Layout l = {each, user};
    wan_encoder(&l);
    wan_decoder(&l);
}
