#include "loader/layout.h"

#include <stdio.h>

typedef struct Layout {
    LayoutEach each;
    void *user;
} Layout;

/* <module>.<leaf> */
static void tensor(const Layout *l, const char *module, const char *leaf, int rank, const int64_t *shape)
{
    char name[256];
    snprintf(name, sizeof name, "%s.%s", module, leaf);
    l->each(l->user, name, NULL, rank, shape);
}

/* weight and bias of one length */
static void norm(const Layout *l, const char *module, int64_t channels)
{
    tensor(l, module, "weight", 1, &channels);
    tensor(l, module, "bias", 1, &channels);
}

/* [out][in][frames][side][side] and [out] */
static void conv(const Layout *l, const char *module, int64_t in, int64_t out, int64_t frames, int64_t side)
{
    const int64_t shape[5] = {out, in, frames, side, side};
    tensor(l, module, "weight", 5, shape);
    tensor(l, module, "bias", 1, &out);
}

static void resnet(const Layout *l, const char *module, int64_t in, int64_t out)
{
    char name[192];
    snprintf(name, sizeof name, "%s.norm1", module);
    norm(l, name, in);
    snprintf(name, sizeof name, "%s.conv1", module);
    conv(l, name, in, out, 3, 3);
    snprintf(name, sizeof name, "%s.norm2", module);
    norm(l, name, out);
    snprintf(name, sizeof name, "%s.conv2", module);
    conv(l, name, out, out, 3, 3);
    if (in == out) return;
    snprintf(name, sizeof name, "%s.conv_shortcut", module);
    conv(l, name, in, out, 1, 1);
}

/* The residual blocks and the attention between the two halves' levels. */
static void middle(const Layout *l, const char *half, int64_t channels)
{
    static const char *const names[4][2] = {
        {"to_q", "query"}, {"to_k", "key"}, {"to_v", "value"}, {"to_out.0", "proj_attn"}};
    const int64_t shape[2] = {channels, channels};
    char module[128], name[192], other[192];
    snprintf(module, sizeof module, "%s.mid_block.resnets.0", half);
    resnet(l, module, channels, channels);
    snprintf(module, sizeof module, "%s.mid_block.attentions.0.group_norm", half);
    norm(l, module, channels);
    for (int i = 0; i < 4; i++) {
        for (int rank = 2; rank >= 1; rank--) {
            const char *leaf = rank == 2 ? "weight" : "bias";
            snprintf(name, sizeof name, "%s.mid_block.attentions.0.%s.%s", half, names[i][0], leaf);
            snprintf(other, sizeof other, "%s.mid_block.attentions.0.%s.%s", half, names[i][1], leaf);
            l->each(l->user, name, other, rank, shape);
        }
    }
    snprintf(module, sizeof module, "%s.mid_block.resnets.1", half);
    resnet(l, module, channels, channels);
}

static void encoder(const Layout *l, const VaeConfig *c)
{
    char name[128];
    int64_t in = c->width[0], last = c->width[c->levels - 1];
    conv(l, "encoder.conv_in", c->pixel_channels, in, 3, 3);
    for (int i = 0; i < c->levels; i++) {
        for (int j = 0; j < c->encoder_blocks; j++) {
            snprintf(name, sizeof name, "encoder.down_blocks.%d.resnets.%d", i, j);
            resnet(l, name, in, c->width[i]);
            in = c->width[i];
        }
        if (i == c->levels - 1) continue;
        snprintf(name, sizeof name, "encoder.down_blocks.%d.downsamplers.0.conv", i);
        conv(l, name, in, in, c->temporal_down[i] ? 3 : 1, 3);
    }
    middle(l, "encoder", last);
    norm(l, "encoder.conv_norm_out", last);
    conv(l, "encoder.conv_out", last, 2 * c->latent_channels, 3, 3);
}

static void decoder(const Layout *l, const VaeConfig *c)
{
    char name[128];
    int64_t in = c->width[c->levels - 1];
    conv(l, "decoder.conv_in", c->latent_channels, in, 3, 3);
    middle(l, "decoder", in);
    for (int i = 0; i < c->levels; i++) {
        int64_t out = c->width[c->levels - 1 - i];
        for (int j = 0; j < c->decoder_blocks; j++) {
            snprintf(name, sizeof name, "decoder.up_blocks.%d.resnets.%d", i, j);
            resnet(l, name, in, out);
            in = out;
        }
        if (i == c->levels - 1) continue;
        snprintf(name, sizeof name, "decoder.up_blocks.%d.upsamplers.0.upscale_conv", i);
        conv(l, name, out, out * (c->temporal_up[i] ? 8 : 4), 1, 1);
        snprintf(name, sizeof name, "decoder.up_blocks.%d.upsamplers.0.conv", i);
        conv(l, name, out, out, 3, 3);
    }
    norm(l, "decoder.conv_norm_out", in);
    conv(l, "decoder.conv_out", in, c->pixel_channels, 3, 3);
}

void layout_vae(const VaeConfig *c, LayoutEach each, void *user)
{
    Layout l = {each, user};
    if (c->has_encoder) encoder(&l, c);
    if (c->has_decoder) decoder(&l, c);
}

static void matrix(const Layout *l, const char *module, int64_t out, int64_t in, bool bias)
{
    const int64_t shape[2] = {out, in};
    tensor(l, module, "weight", 2, shape);
    if (bias) tensor(l, module, "bias", 1, &out);
}

/* The weights of one stream ("vid", "txt") of block i, or of both ("all"). */
static void dit_stream(const Layout *l, const DitConfig *c, int i, const char *stream)
{
    static const char *const parts[] = {"attn_shift", "attn_scale", "attn_gate", "mlp_shift", "mlp_scale", "mlp_gate"};
    int64_t inner = (int64_t)c->heads * c->head_dim, width = c->width, hidden = c->mlp_hidden, head = c->head_dim;
    char module[128];
    snprintf(module, sizeof module, "blocks.%d.attn.proj_qkv.%s", i, stream);
    matrix(l, module, 3 * inner, width, false);
    snprintf(module, sizeof module, "blocks.%d.attn.proj_out.%s", i, stream);
    matrix(l, module, width, inner, true);
    snprintf(module, sizeof module, "blocks.%d.attn.norm_q.%s", i, stream);
    tensor(l, module, "weight", 1, &head);
    snprintf(module, sizeof module, "blocks.%d.attn.norm_k.%s", i, stream);
    tensor(l, module, "weight", 1, &head);
    if (!c->is_7b) {
        snprintf(module, sizeof module, "blocks.%d.mlp.%s.proj_in_gate", i, stream);
        matrix(l, module, hidden, width, false);
    }
    snprintf(module, sizeof module, "blocks.%d.mlp.%s.proj_in", i, stream);
    matrix(l, module, hidden, width, c->is_7b);
    snprintf(module, sizeof module, "blocks.%d.mlp.%s.proj_out", i, stream);
    matrix(l, module, width, hidden, c->is_7b);
    snprintf(module, sizeof module, "blocks.%d.ada.%s", i, stream);
    for (int k = 0; k < 6; k++) tensor(l, module, parts[k], 1, &width);
}

void layout_dit(const DitConfig *c, LayoutEach each, void *user)
{
    Layout l = {each, user};
    int64_t width = c->width;
    matrix(&l, "vid_in.proj", width, 4 * (int64_t)c->in_channels, true);
    matrix(&l, "txt_in", width, c->text_width, true);
    matrix(&l, "emb_in.proj_in", width, c->time_width, true);
    matrix(&l, "emb_in.proj_hid", width, width, true);
    matrix(&l, "emb_in.proj_out", 6 * width, width, true);
    for (int i = 0; i < c->layers; i++) {
        if (c->shared[i]) {
            dit_stream(&l, c, i, "all");
        } else {
            dit_stream(&l, c, i, "vid");
            dit_stream(&l, c, i, "txt");
        }
    }
    if (!c->is_7b) {
        tensor(&l, "vid_out_norm", "weight", 1, &width);
        tensor(&l, "vid_out_ada", "out_shift", 1, &width);
        tensor(&l, "vid_out_ada", "out_scale", 1, &width);
    }
    matrix(&l, "vid_out.proj", 4 * (int64_t)c->out_channels, width, true);
}
