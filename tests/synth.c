/*
 * Weights and inputs whose values follow from their names alone, so that a test needs no weight file from anywhere.
 */
#include "tests/synth.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------------------- values */

static uint64_t fnv1a64(const char *name)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) h = (h ^ *p) * 0x100000001B3u;
    return h;
}

void synth_range(const char *name, int64_t first, int64_t count, float mean, float scale, float *out)
{
    const uint64_t step = 0x9E3779B97F4A7C15u;
    uint64_t state = fnv1a64(name) + (uint64_t)first * step;
    for (int64_t i = 0; i < count; i++) {
        state += step;
        uint64_t z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        /* (k + 0.5) / 2^24 * 2 - 1 is the odd integer below over 2^24: 24 bits, so float32 holds it exactly. */
        int32_t odd = (int32_t)(z >> 40) * 2 + 1 - (1 << 24);
        out[i] = mean + scale * ((float)odd * 0x1p-24f);
    }
}

void synth_tensor(const char *name, int64_t count, float mean, float scale, float *out)
{
    synth_range(name, 0, count, mean, scale, out);
}

void synth_unit(const char *name, int64_t count, float *out)
{
    synth_range(name, 0, count, 0, 1, out);
}

static int ends_in(const char *name, const char *tail)
{
    size_t n = strlen(name), m = strlen(tail);
    return n >= m && !strcmp(name + n - m, tail);
}

void synth_rule(const char *name, int rank, const int64_t *shape, double gain, float *mean, float *scale)
{
    *mean = 0;
    *scale = 0.1f;
    if (rank >= 2) {
        int64_t fan_in = 1;
        for (int i = 1; i < rank; i++) fan_in *= shape[i];
        *scale = (float)(gain * sqrt(3.0 / (double)fan_in));
    } else if (ends_in(name, "weight")) {
        *mean = 1;
    }
}

void synth_wan_rule(const char *name, int rank, const int64_t *shape, double gain, float *mean, float *scale)
{
    synth_rule(name, rank, shape, gain, mean, scale);
    if (ends_in(name, "gamma")) {
        *mean = 1;
        *scale = 0.1f;
    }
}

void synth_dit_rule(const char *name, int rank, const int64_t *shape, float *mean, float *scale)
{
    synth_rule(name, rank, shape, 1.0, mean, scale);
    if (ends_in(name, "_scale")) {
        *mean = 1;
        *scale = 0.1f;
    } else if (ends_in(name, "_gate")) {
        *mean = 0.5f;
        *scale = 0.3f;
    }
}

void synth_weight(const char *name, int rank, const int64_t *shape, double gain, float *out)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= shape[i];
    float mean, scale;
    synth_rule(name, rank, shape, gain, &mean, &scale);
    synth_range(name, 0, count, mean, scale, out);
}

void synth_rope_freqs(int is_7b, int count, float *out)
{
    const double pi = 3.14159265358979323846;
    for (int i = 0; i < count; i++) {
        double across = count > 1 ? (double)i / (count - 1) : 0;
        out[i] = (float)(is_7b ? (1 + 127 * across) * pi : 1 / pow(10000, (double)i / count));
    }
}

/* ---------------------------------------------------------------------------------------------------------- layouts */

typedef struct Layout {
    SynthShape *items;
    int count, room;
    int failed;
} Layout;

static void add(Layout *l, int rank, const int64_t *shape, const char *format, va_list args)
{
    if (l->count == l->room) {
        int room = l->room ? 2 * l->room : 256;
        SynthShape *more = realloc(l->items, (size_t)room * sizeof *more);
        if (!more) {
            l->failed = 1;
            return;
        }
        l->items = more;
        l->room = room;
    }
    SynthShape *s = &l->items[l->count++];
    memset(s, 0, sizeof *s);
    vsnprintf(s->name, sizeof s->name, format, args);
    s->rank = rank;
    memcpy(s->shape, shape, (size_t)rank * sizeof *shape);
}

static void vector(Layout *l, int64_t n, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(l, 1, &n, format, args);
    va_end(args);
}

static void matrix(Layout *l, int64_t rows, int64_t columns, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(l, 2, (int64_t[]){rows, columns}, format, args);
    va_end(args);
}

static void kernel(Layout *l, int64_t co, int64_t ci, int kt, int k, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(l, 5, (int64_t[]){co, ci, kt, k, k}, format, args);
    va_end(args);
}

/* A two-dimensional convolution's. */
static void plane_kernel(Layout *l, int64_t co, int64_t ci, int k, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(l, 4, (int64_t[]){co, ci, k, k}, format, args);
    va_end(args);
}

/* Along time alone. */
static void time_kernel(Layout *l, int64_t co, int64_t ci, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(l, 5, (int64_t[]){co, ci, 3, 1, 1}, format, args);
    va_end(args);
}

/* A norm's gain of c channels, stored with further extents of 1. */
static void gain(Layout *l, int rank, int64_t c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(l, rank, (int64_t[]){c, 1, 1, 1}, format, args);
    va_end(args);
}

static void modulation(Layout *l, int64_t rows, int64_t dim, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add(l, 3, (int64_t[]){1, rows, dim}, format, args);
    va_end(args);
}

static int finish(Layout *l, SynthShape **out)
{
    if (l->failed) {
        free(l->items);
        *out = NULL;
        return -1;
    }
    *out = l->items;
    return l->count;
}

static void conv(Layout *l, const char *name, int ci, int co, int kt, int k)
{
    kernel(l, co, ci, kt, k, "%s.weight", name);
    vector(l, co, "%s.bias", name);
}

static void norm(Layout *l, const char *name, int c)
{
    vector(l, c, "%s.weight", name);
    vector(l, c, "%s.bias", name);
}

static void linear(Layout *l, const char *name, int64_t out, int64_t in, int bias)
{
    matrix(l, out, in, "%s.weight", name);
    if (bias) vector(l, out, "%s.bias", name);
}

static void resnet(Layout *l, const char *name, int ci, int co)
{
    char part[160];
    const char *kinds[] = {"norm1", "conv1", "norm2", "conv2", "conv_shortcut"};
    for (int i = 0; i < 5; i++) {
        snprintf(part, sizeof part, "%s.%s", name, kinds[i]);
        if (i == 0 || i == 2)
            norm(l, part, i ? co : ci);
        else if (i < 4)
            conv(l, part, i == 1 ? ci : co, co, 3, 3);
        else if (ci != co)
            conv(l, part, ci, co, 1, 1);
    }
}

static void middle(Layout *l, const char *half, int c)
{
    char name[160];
    snprintf(name, sizeof name, "%s.mid_block.resnets.0", half);
    resnet(l, name, c, c);
    snprintf(name, sizeof name, "%s.mid_block.attentions.0.group_norm", half);
    norm(l, name, c);
    const char *projections[] = {"to_q", "to_k", "to_v", "to_out.0"};
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.mid_block.attentions.0.%s", half, projections[i]);
        linear(l, name, c, c, 1);
    }
    snprintf(name, sizeof name, "%s.mid_block.resnets.1", half);
    resnet(l, name, c, c);
}

int synth_vae_layout(const int *block_out, int levels, int latent, int layers, int temporal, int pixels,
                     SynthShape **out)
{
    Layout l = {0};
    char name[160];
    int ci = block_out[0], last = block_out[levels - 1];
    conv(&l, "encoder.conv_in", pixels, ci, 3, 3);
    for (int i = 0; i < levels; i++) {
        int co = block_out[i];
        for (int j = 0; j < layers; j++, ci = co) {
            snprintf(name, sizeof name, "encoder.down_blocks.%d.resnets.%d", i, j);
            resnet(&l, name, ci, co);
        }
        if (i == levels - 1) continue;
        snprintf(name, sizeof name, "encoder.down_blocks.%d.downsamplers.0.conv", i);
        conv(&l, name, co, co, i >= levels - temporal - 1 ? 3 : 1, 3);
    }
    middle(&l, "encoder", last);
    norm(&l, "encoder.conv_norm_out", last);
    conv(&l, "encoder.conv_out", last, 2 * latent, 3, 3);

    conv(&l, "decoder.conv_in", latent, last, 3, 3);
    middle(&l, "decoder", last);
    ci = last;
    for (int i = 0; i < levels; i++) {
        int co = block_out[levels - 1 - i];
        for (int j = 0; j < layers + 1; j++, ci = co) {
            snprintf(name, sizeof name, "decoder.up_blocks.%d.resnets.%d", i, j);
            resnet(&l, name, ci, co);
        }
        if (i == levels - 1) continue;
        snprintf(name, sizeof name, "decoder.up_blocks.%d.upsamplers.0.upscale_conv", i);
        conv(&l, name, co, co * (i < temporal ? 8 : 4), 1, 1);
        snprintf(name, sizeof name, "decoder.up_blocks.%d.upsamplers.0.conv", i);
        conv(&l, name, co, co, 3, 3);
    }
    norm(&l, "decoder.conv_norm_out", block_out[0]);
    conv(&l, "decoder.conv_out", block_out[0], pixels, 3, 3);
    return finish(&l, out);
}

/* One block's weights of one stream: `tag` is vid, txt or all. */
static void dit_stream(Layout *l, int is_7b, int block, const char *tag, int64_t dim, int64_t inner, int head_dim)
{
    char name[160];
    snprintf(name, sizeof name, "blocks.%d.attn.proj_qkv.%s", block, tag);
    linear(l, name, 3 * inner, dim, 0);
    snprintf(name, sizeof name, "blocks.%d.attn.proj_out.%s", block, tag);
    linear(l, name, dim, inner, 1);
    vector(l, head_dim, "blocks.%d.attn.norm_q.%s.weight", block, tag);
    vector(l, head_dim, "blocks.%d.attn.norm_k.%s.weight", block, tag);
    /* 3B kind: two thirds of 4 * dim, rounded up to 256, without biases */
    int64_t hidden = is_7b ? 4 * dim : (8 * dim / 3 + 255) / 256 * 256;
    const char *mlp[] = {"proj_in_gate", "proj_in", "proj_out"};
    for (int i = is_7b ? 1 : 0; i < 3; i++) {
        snprintf(name, sizeof name, "blocks.%d.mlp.%s.%s", block, tag, mlp[i]);
        linear(l, name, i < 2 ? hidden : dim, i < 2 ? dim : hidden, is_7b);
    }
    for (int i = 0; i < 6; i++) {
        const char *parts[] = {"shift", "scale", "gate"};
        vector(l, dim, "blocks.%d.ada.%s.%s_%s", block, tag, i < 3 ? "attn" : "mlp", parts[i % 3]);
    }
}

int synth_dit_layout(int is_7b, int layers, int dim, int heads, int head_dim, int text_dim, int mm_layers,
                     int in_channels, int out_channels, SynthShape **out)
{
    Layout l = {0};
    linear(&l, "vid_in.proj", dim, 4 * in_channels, 1);
    linear(&l, "txt_in", dim, text_dim, 1);
    linear(&l, "emb_in.proj_in", dim, 256, 1);
    linear(&l, "emb_in.proj_hid", dim, dim, 1);
    linear(&l, "emb_in.proj_out", 6 * (int64_t)dim, dim, 1);
    for (int i = 0; i < layers; i++) {
        int shared = !is_7b && i >= mm_layers;
        dit_stream(&l, is_7b, i, shared ? "all" : "vid", dim, (int64_t)heads * head_dim, head_dim);
        if (!shared) dit_stream(&l, is_7b, i, "txt", dim, (int64_t)heads * head_dim, head_dim);
        vector(&l, is_7b ? head_dim / 2 / 3 / 2 : head_dim / 3 / 2, "blocks.%d.attn.rope.rope.freqs", i);
    }
    if (!is_7b) {
        vector(&l, dim, "vid_out_norm.weight");
        vector(&l, dim, "vid_out_ada.out_shift");
        vector(&l, dim, "vid_out_ada.out_scale");
    }
    linear(&l, "vid_out.proj", 4 * out_channels, dim, 1);
    return finish(&l, out);
}

static void plane_conv(Layout *l, const char *name, int ci, int co, int k)
{
    plane_kernel(l, co, ci, k, "%s.weight", name);
    vector(l, co, "%s.bias", name);
}

int synth_flashvsr_dit_layout(int layers, int dim, int hidden, int text_dim, int freq_dim, SynthShape **out)
{
    Layout l = {0};
    char name[160];
    kernel(&l, dim, 16, 1, 2, "patch_embedding.weight");
    vector(&l, dim, "patch_embedding.bias");
    linear(&l, "text_embedding.0", dim, text_dim, 1);
    linear(&l, "text_embedding.2", dim, dim, 1);
    linear(&l, "time_embedding.0", dim, freq_dim, 1);
    linear(&l, "time_embedding.2", dim, dim, 1);
    linear(&l, "time_projection.1", 6 * (int64_t)dim, dim, 1);
    for (int i = 0; i < layers; i++) {
        modulation(&l, 6, dim, "blocks.%d.modulation", i);
        for (int a = 0; a < 2; a++) {
            const char *attention = a == 0 ? "self_attn" : "cross_attn";
            for (const char *part = "qkvo"; *part; part++) {
                snprintf(name, sizeof name, "blocks.%d.%s.%c", i, attention, *part);
                linear(&l, name, dim, dim, 1);
            }
            vector(&l, dim, "blocks.%d.%s.norm_q.weight", i, attention);
            vector(&l, dim, "blocks.%d.%s.norm_k.weight", i, attention);
        }
        snprintf(name, sizeof name, "blocks.%d.norm3", i);
        norm(&l, name, dim);
        snprintf(name, sizeof name, "blocks.%d.ffn.0", i);
        linear(&l, name, hidden, dim, 1);
        snprintf(name, sizeof name, "blocks.%d.ffn.2", i);
        linear(&l, name, dim, hidden, 1);
    }
    modulation(&l, 2, dim, "head.modulation");
    linear(&l, "head.head", 64, dim, 1);
    return finish(&l, out);
}

int synth_lq_layout(int hidden1, int hidden2, int dim, int injected, SynthShape **out)
{
    Layout l = {0};
    char name[160];
    conv(&l, "conv1", 768, hidden1, 4, 3);
    gain(&l, 4, hidden1, "norm1.gamma");
    conv(&l, "conv2", hidden1, hidden2, 4, 3);
    gain(&l, 4, hidden2, "norm2.gamma");
    for (int i = 0; i < injected; i++) {
        snprintf(name, sizeof name, "linear_layers.%d", i);
        linear(&l, name, dim, hidden2, 1);
    }
    return finish(&l, out);
}

int synth_tcdecoder_layout(const int channels[4], int inputs, const int strides[3], int deep, SynthShape **out)
{
    Layout l = {0};
    char name[160];
    int n = deep ? 5 : 3; /* of the first memory block */
    plane_conv(&l, "decoder.1", inputs, channels[0], 3);
    if (deep) plane_kernel(&l, channels[0], channels[0], 3, "decoder.3.weight");
    for (int i = 0; i < 3; i++, n += 6) {
        int c = channels[i];
        for (int k = 0; k < 9; k++) {
            snprintf(name, sizeof name, "decoder.%d.conv.%d", n + k / 3, k % 3 * 2);
            plane_conv(&l, name, k % 3 ? c : 2 * c, c, 3);
        }
        plane_kernel(&l, strides[i] * c, c, 1, "decoder.%d.conv.weight", n + 4);
        plane_kernel(&l, channels[i + 1], c, 3, "decoder.%d.weight", n + 5);
    }
    if (deep) plane_kernel(&l, channels[3], channels[3], 3, "decoder.%d.weight", n + 1);
    snprintf(name, sizeof name, "decoder.%d", deep ? n + 3 : n + 1);
    plane_conv(&l, name, channels[3], 3, 3);
    return finish(&l, out);
}

static void wan_resnet(Layout *l, const char *name, int ci, int co)
{
    char part[160];
    gain(l, 4, ci, "%s.residual.0.gamma", name);
    snprintf(part, sizeof part, "%s.residual.2", name);
    conv(l, part, ci, co, 3, 3);
    gain(l, 4, co, "%s.residual.3.gamma", name);
    snprintf(part, sizeof part, "%s.residual.6", name);
    conv(l, part, co, co, 3, 3);
    snprintf(part, sizeof part, "%s.shortcut", name);
    if (ci != co) conv(l, part, ci, co, 1, 1);
}

static void wan_middle(Layout *l, const char *half, int c)
{
    char name[160];
    snprintf(name, sizeof name, "%s.middle.0", half);
    wan_resnet(l, name, c, c);
    gain(l, 3, c, "%s.middle.1.norm.gamma", half);
    snprintf(name, sizeof name, "%s.middle.1.to_qkv", half);
    plane_conv(l, name, c, 3 * c, 1);
    snprintf(name, sizeof name, "%s.middle.1.proj", half);
    plane_conv(l, name, c, c, 1);
    snprintf(name, sizeof name, "%s.middle.2", half);
    wan_resnet(l, name, c, c);
}

/* The change of size between two levels; to_space, to_time: channels that its convolutions make of c. */
static void wan_resample(Layout *l, const char *name, int c, int to_space, int time, int to_time)
{
    char part[160];
    snprintf(part, sizeof part, "%s.resample.1", name);
    plane_conv(l, part, c, to_space, 3);
    if (!time) return;
    time_kernel(l, to_time, c, "%s.time_conv.weight", name);
    vector(l, to_time, "%s.time_conv.bias", name);
}

static void wan_head(Layout *l, const char *half, int ci, int co)
{
    char name[160];
    gain(l, 4, ci, "%s.head.0.gamma", half);
    snprintf(name, sizeof name, "%s.head.2", half);
    conv(l, name, ci, co, 3, 3);
}

static void wan_encoder(Layout *l, int dim, int latent, const int *multipliers, int levels, int blocks, const int *time)
{
    char name[160];
    int n = 0, ci = dim;
    conv(l, "encoder.conv1", 3, dim, 3, 3);
    for (int i = 0; i < levels; i++) {
        int co = dim * multipliers[i];
        for (int j = 0; j < blocks; j++, ci = co) {
            snprintf(name, sizeof name, "encoder.downsamples.%d", n++);
            wan_resnet(l, name, ci, co);
        }
        if (i == levels - 1) break;
        snprintf(name, sizeof name, "encoder.downsamples.%d", n++);
        wan_resample(l, name, co, co, time[i], co);
    }
    wan_middle(l, "encoder", ci);
    wan_head(l, "encoder", ci, 2 * latent);
    conv(l, "conv1", 2 * latent, 2 * latent, 1, 1);
}

static void wan_decoder(Layout *l, int dim, int latent, const int *multipliers, int levels, int blocks, const int *time)
{
    char name[160];
    int n = 0, ci = dim * multipliers[levels - 1];
    conv(l, "conv2", latent, latent, 1, 1);
    conv(l, "decoder.conv1", latent, ci, 3, 3);
    wan_middle(l, "decoder", ci);
    for (int i = levels - 1; i >= 0; i--) {
        int co = dim * multipliers[i];
        for (int j = 0; j < blocks + 1; j++, ci = co) {
            snprintf(name, sizeof name, "decoder.upsamples.%d", n++);
            wan_resnet(l, name, ci, co);
        }
        if (i == 0) break;
        snprintf(name, sizeof name, "decoder.upsamples.%d", n++);
        wan_resample(l, name, co, co / 2, time[i - 1], 2 * co);
        ci = co / 2;
    }
    wan_head(l, "decoder", ci, 3);
}

int synth_wan_layout(int dim, int latent, const int *multipliers, int levels, int blocks, const int *time, int encoder,
                     int decoder, SynthShape **out)
{
    Layout l = {0};
    if (encoder) wan_encoder(&l, dim, latent, multipliers, levels, blocks, time);
    if (decoder) wan_decoder(&l, dim, latent, multipliers, levels, blocks, time);
    return finish(&l, out);
}

/* ------------------------------------------------------------------------------------------------------------ files */

int64_t synth_count(const SynthShape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++) n *= s->shape[i];
    return n;
}

char *synth_safetensors_header(const SynthShape *shapes, int count, const char *type, int bytes, int64_t *size)
{
    size_t room = (size_t)count * (sizeof shapes->name + 256) + 64, at = 8;
    char *text = malloc(room);
    if (!text) return NULL;
    int64_t end = 0;
    text[at++] = '{';
    for (int i = 0; i < count; i++) {
        const SynthShape *s = &shapes[i];
        at += (size_t)snprintf(text + at, room - at, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", s->name,
                               type);
        for (int k = 0; k < s->rank; k++)
            at += (size_t)snprintf(text + at, room - at, "%s%lld", k ? "," : "", (long long)s->shape[k]);
        int64_t begin = end;
        end += synth_count(s) * bytes;
        at +=
            (size_t)snprintf(text + at, room - at, "],\"data_offsets\":[%lld,%lld]}", (long long)begin, (long long)end);
    }
    text[at++] = '}';
    while (at % 8) text[at++] = ' ';
    for (int i = 0; i < 8; i++) text[i] = (char)((uint64_t)(at - 8) >> (8 * i));
    *size = (int64_t)at;
    return text;
}

int synth_write_safetensors(const char *path, const SynthShape *shapes, int count, SynthFill fill, void *user)
{
    int64_t header_size;
    char *header = synth_safetensors_header(shapes, count, "F32", 4, &header_size);
    FILE *f = header ? fopen(path, "wb") : NULL;
    int fine = f && fwrite(header, (size_t)header_size, 1, f) == 1;
    for (int i = 0; fine && i < count; i++) {
        size_t n = (size_t)synth_count(&shapes[i]);
        float *values = malloc(n * sizeof *values);
        fine = values != NULL;
        if (fine) {
            fill(user, &shapes[i], values);
            fine = fwrite(values, sizeof *values, n, f) == n;
        }
        free(values);
    }
    if (f && fclose(f)) fine = 0;
    if (f && !fine) remove(path);
    free(header);
    return fine ? 0 : -1;
}
