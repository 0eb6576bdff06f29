#include "loader/recognise.h"

#include "loader/buffer.h"
#include "loader/layout.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LISTED = 64, MAX_WIDTH = 1 << 20, MAX_LEVELS = 8, MAX_BLOCKS = 256, LEAST_TEXT_WIDTH = 8 };

/* The empty prefix comes first, so that a network whose own names begin like a prefix is not harmed. */
static const char *const prefixes[] = {
    "",     "model.diffusion_model.", "diffusion_model.", "module.",   "model.",      "net.",       "dit.",
    "vae.", "first_stage_model.",     "generator.",       "denoiser.", "LQ_proj_in.", "TCDecoder.",
};

static const char *const network_names[] = {
    [NET_SEEDVR2_VAE] = "seedvr2_vae",   [NET_SEEDVR2_DIT] = "seedvr2_dit", [NET_TEXT] = "text",
    [NET_FLASHVSR_DIT] = "flashvsr_dit", [NET_FLASHVSR_LQ] = "flashvsr_lq", [NET_TCDECODER] = "tcdecoder",
    [NET_WAN_VAE] = "wan_vae",
};

const char *weight_network_name(WeightNetwork n)
{
    return network_names[n];
}

/* A file seen through one prefix. */
typedef struct View {
    const WeightFile *file;
    const char *prefix;
} View;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static const WeightTensor *
find(const View *v, const char *format, ...)
{
    char name[512];
    size_t length = strlen(v->prefix);
    memcpy(name, v->prefix, length);
    va_list list;
    va_start(list, format);
    vsnprintf(name + length, sizeof name - length, format, list);
    va_end(list);
    return weight_file_find(v->file, name);
}

/* Elements of a tensor as a width; 0 when it is absent or out of reach. */
static int width_of(const WeightTensor *t)
{
    return t && t->count <= MAX_WIDTH ? (int)t->count : 0;
}

static int rows_of(const WeightTensor *t)
{
    return t && t->rank >= 1 && t->shape[0] <= MAX_WIDTH ? (int)t->shape[0] : 0;
}

static int columns_of(const WeightTensor *t)
{
    return t && t->rank == 2 && t->shape[1] <= MAX_WIDTH ? (int)t->shape[1] : 0;
}

/* Largest number after <prefix><stem> in any name, plus one; numbers from MAX_BLOCKS on count for nothing. */
static int count_numbered(const View *v, const char *stem)
{
    size_t prefix = strlen(v->prefix), length = strlen(stem);
    int count = 0;
    for (size_t i = 0; i < weight_file_tensor_count(v->file); i++) {
        const char *name = weight_file_tensor(v->file, i)->name;
        if (strncmp(name, v->prefix, prefix) || strncmp(name + prefix, stem, length)) continue;
        const char *digits = name + prefix + length;
        if (!isdigit((unsigned char)*digits)) continue;
        long number = strtol(digits, NULL, 10);
        if (number < MAX_BLOCKS && number >= count) count = (int)number + 1;
    }
    return count;
}

/* ----------------------------------------------------------------------------------------------------- SeedVR2 VAE */

/*
 * Everything is read off element counts and the lengths of biases and norms, not off dimensions: a converter may have
 * flattened a convolution, but never its bias.
 */
typedef struct HalfShape {
    int levels, blocks, width[MAX_LEVELS];
} HalfShape;

static bool detect_half(const View *v, const char *blocks, HalfShape *half)
{
    *half = (HalfShape){0};
    bool three_dimensional = false;
    for (int i = 0; i < MAX_LEVELS; i++) {
        for (int j = 0; j < MAX_LEVELS; j++) {
            int in = width_of(find(v, "%s.%d.resnets.%d.norm1.weight", blocks, i, j));
            int out = width_of(find(v, "%s.%d.resnets.%d.norm2.weight", blocks, i, j));
            const WeightTensor *conv1 = find(v, "%s.%d.resnets.%d.conv1.weight", blocks, i, j);
            const WeightTensor *conv2 = find(v, "%s.%d.resnets.%d.conv2.weight", blocks, i, j);
            if (!out) out = width_of(find(v, "%s.%d.resnets.%d.conv1.bias", blocks, i, j));
            if (!out) out = width_of(find(v, "%s.%d.resnets.%d.conv2.bias", blocks, i, j));
            if (!out) continue;
            half->levels = i + 1;
            half->width[i] = out;
            if (j >= half->blocks) half->blocks = j + 1;
            /* An image VAE has the same names, but kernels of 9 elements. */
            three_dimensional |= conv1 && in && conv1->count == 27 * (int64_t)in * out;
            three_dimensional |= conv2 && conv2->count == 27 * (int64_t)out * out;
        }
    }
    for (int i = 0; i < half->levels; i++) three_dimensional = three_dimensional && half->width[i];
    return three_dimensional;
}

/* Input channels of a 3x3x3 convolution. */
static int input_channels(const View *v, const char *module)
{
    const WeightTensor *weight = find(v, "%s.weight", module);
    int64_t out = width_of(find(v, "%s.bias", module));
    int64_t in = weight && out ? weight->count / (27 * out) : 0;
    return in <= MAX_WIDTH ? (int)in : 0;
}

static bool detect_vae(const View *v, WeightPart *part)
{
    VaeConfig *c = &part->vae;
    HalfShape down, up;
    *c = (VaeConfig){0};
    c->has_encoder = detect_half(v, "encoder.down_blocks", &down);
    c->has_decoder = detect_half(v, "decoder.up_blocks", &up);
    if (!c->has_encoder && !c->has_decoder) return false;
    c->levels = c->has_encoder ? down.levels : up.levels;
    for (int i = 0; i < c->levels; i++) c->width[i] = c->has_encoder ? down.width[i] : up.width[c->levels - 1 - i];
    c->encoder_blocks = c->has_encoder ? down.blocks : 0;
    c->decoder_blocks = c->has_decoder ? up.blocks : 0;
    c->spatial_factor = 1 << (c->levels - 1);
    c->temporal_factor = 1;
    int time_down = 0, time_up = 0;
    for (int i = 0; i < c->levels - 1; i++) {
        int64_t width = c->width[i];
        const WeightTensor *conv = find(v, "encoder.down_blocks.%d.downsamplers.0.conv.weight", i);
        c->temporal_down[i] = c->has_encoder && conv && conv->count == 27 * width * width;
        time_down += c->temporal_down[i];
        width = c->width[c->levels - 1 - i];
        c->temporal_up[i] =
            c->has_decoder && width_of(find(v, "decoder.up_blocks.%d.upsamplers.0.upscale_conv.bias", i)) == 8 * width;
        time_up += c->temporal_up[i];
    }
    c->temporal_factor = 1 << (c->has_encoder ? time_down : time_up);
    c->pixel_channels = c->has_encoder ? input_channels(v, "encoder.conv_in") : 0;
    if (!c->pixel_channels) c->pixel_channels = width_of(find(v, "decoder.conv_out.bias"));
    c->latent_channels = c->has_decoder ? input_channels(v, "decoder.conv_in") : 0;
    if (!c->latent_channels) c->latent_channels = width_of(find(v, "encoder.conv_out.bias")) / 2;
    return true;
}

static void describe_vae(const WeightPart *part, Buffer *json, Buffer *summary)
{
    const VaeConfig *c = &part->vae;
    for (int i = 0; i < c->levels; i++) buffer_printf(json, i ? ", %d" : "%d", c->width[i]);
    buffer_printf(json,
                  "], \"encoder\": %s, \"decoder\": %s, \"encoder_blocks\": %d, \"decoder_blocks\": %d, "
                  "\"latent_channels\": %d, \"pixel_channels\": %d, \"spatial_factor\": %d, \"temporal_factor\": %d}",
                  c->has_encoder ? "true" : "false", c->has_decoder ? "true" : "false", c->encoder_blocks,
                  c->decoder_blocks, c->latent_channels, c->pixel_channels, c->spatial_factor, c->temporal_factor);
    buffer_printf(summary, "SeedVR2 VAE, %s, widths",
                  !c->has_decoder   ? "encoder only"
                  : !c->has_encoder ? "decoder only"
                                    : "encoder and decoder");
    for (int i = 0; i < c->levels; i++) buffer_printf(summary, " %d", c->width[i]);
    buffer_printf(summary, ", %d latent channels, 1/%d in space, 1/%d in time", c->latent_channels, c->spatial_factor,
                  c->temporal_factor);
}

/* --------------------------------------------------------------------------------------------- SeedVR2 transformer */

static bool block_is_shared(const View *v, int i)
{
    return find(v, "blocks.%d.attn.proj_qkv.all.weight", i) || find(v, "blocks.%d.attn.proj_out.all.weight", i) ||
           find(v, "blocks.%d.mlp.all.proj_in.weight", i) || find(v, "blocks.%d.ada.all.attn_shift", i);
}

static bool detect_dit(const View *v, WeightPart *part)
{
    DitConfig *c = &part->dit;
    *c = (DitConfig){0};
    const WeightTensor *in = find(v, "vid_in.proj.weight"), *out = find(v, "vid_out.proj.weight");
    if (!in && !out) return false;
    c->width = in ? rows_of(in) : columns_of(out);
    c->in_channels = columns_of(in) / 4;
    c->out_channels = rows_of(out) / 4;
    c->text_width = columns_of(find(v, "txt_in.weight"));
    c->time_width = columns_of(find(v, "emb_in.proj_in.weight"));
    c->is_7b = !find(v, "vid_out_norm.weight");
    c->layers = count_numbered(v, "blocks.");
    for (int i = 0; i < c->layers; i++) {
        c->shared[i] = block_is_shared(v, i);
        const char *stream = c->shared[i] ? "all" : "vid";
        if (!c->head_dim) c->head_dim = width_of(find(v, "blocks.%d.attn.norm_q.%s.weight", i, stream));
        if (!c->heads && c->head_dim) {
            c->heads = rows_of(find(v, "blocks.%d.attn.proj_qkv.%s.weight", i, stream)) / 3 / c->head_dim;
        }
        if (!c->mlp_hidden) c->mlp_hidden = rows_of(find(v, "blocks.%d.mlp.%s.proj_in.weight", i, stream));
    }
    return c->width && c->heads && c->head_dim;
}

static void describe_dit(const WeightPart *part, Buffer *json, Buffer *summary)
{
    const DitConfig *c = &part->dit;
    int shared = 0;
    for (int i = 0; i < c->layers; i++) shared += c->shared[i];
    const char *family = c->is_7b ? "7b" : "3b";
    buffer_printf(json,
                  "%d], \"family\": \"%s\", \"layers\": %d, \"shared_layers\": %d, \"heads\": %d, \"head_dim\": %d, "
                  "\"mlp_hidden\": %d, \"text_width\": %d, \"in_channels\": %d, \"out_channels\": %d}",
                  c->width, family, c->layers, shared, c->heads, c->head_dim, c->mlp_hidden, c->text_width,
                  c->in_channels, c->out_channels);
    buffer_printf(summary, "SeedVR2 transformer (%s kind), width %d, %d blocks, %d heads of %d, text width %d",
                  c->is_7b ? "7B" : "3B", c->width, c->layers, c->heads, c->head_dim, c->text_width);
}

/* ----------------------------------------------------------------------------- FlashVSR's networks, by name and width
 */

/* Widths of a network that is only named. */
typedef struct Widths {
    int count, value[8];
} Widths;

static bool detect_flashvsr_dit(const View *v, Widths *w)
{
    const WeightTensor *q = find(v, "blocks.0.self_attn.q.weight");
    if (!q || !find(v, "patch_embedding.weight")) return false;
    *w = (Widths){1, {rows_of(q)}};
    return true;
}

static bool detect_lq(const View *v, Widths *w)
{
    const WeightTensor *linear = find(v, "linear_layers.0.weight");
    if (!linear || linear->rank != 2 || !find(v, "conv1.weight") || !find(v, "conv2.weight")) return false;
    *w = (Widths){3, {width_of(find(v, "conv1.bias")), width_of(find(v, "conv2.bias")), rows_of(linear)}};
    return true;
}

static bool detect_tcdecoder(const View *v, Widths *w)
{
    const WeightTensor *first = find(v, "decoder.1.weight"), *deep = find(v, "decoder.3.weight");
    if (!first || first->rank != 4 || !(deep || find(v, "decoder.3.conv.0.weight"))) return false;
    int n = deep ? 10 : 8; /* where each level's last convolution stands */
    *w = (Widths){4,
                  {rows_of(first), rows_of(find(v, "decoder.%d.weight", n)),
                   rows_of(find(v, "decoder.%d.weight", n + 6)), rows_of(find(v, "decoder.%d.weight", n + 12))}};
    return true;
}

static bool detect_wan_vae(const View *v, Widths *w)
{
    bool decoder = find(v, "decoder.conv1.weight") && find(v, "decoder.middle.0.residual.2.weight");
    bool encoder = find(v, "encoder.conv1.weight") && find(v, "encoder.middle.0.residual.2.weight");
    if (!decoder && !encoder) return false;
    int top = width_of(find(v, decoder ? "decoder.conv1.bias" : "encoder.head.0.gamma"));
    int bottom = width_of(find(v, decoder ? "decoder.head.0.gamma" : "encoder.conv1.bias"));
    *w = (Widths){2, {bottom, top}};
    return true;
}

static const struct {
    WeightNetwork network;
    bool (*detect)(const View *v, Widths *w);
    const char *title;
    const char *begins[8]; /* what its names begin with */
} named_networks[] = {
    {NET_FLASHVSR_DIT,
     detect_flashvsr_dit,
     "FlashVSR transformer",
     {"patch_embedding.", "text_embedding.", "time_embedding.", "time_projection.", "blocks.", "head."}},
    {NET_FLASHVSR_LQ, detect_lq, "FlashVSR LQ projection", {"conv1.", "norm1.", "conv2.", "norm2.", "linear_layers."}},
    {NET_TCDECODER, detect_tcdecoder, "FlashVSR TCDecoder", {"decoder.", "encoder."}},
    {NET_WAN_VAE, detect_wan_vae, "Wan VAE", {"encoder.", "decoder.", "conv1.", "conv2."}},
};
enum { NAMED_NETWORKS = sizeof named_networks / sizeof *named_networks };

/* ----------------------------------------------------------------------------------------------- missing and unused */

/* Which tensors of a file are asked for, and by whom. */
typedef struct Claims {
    View view;
    bool *claimed; /* by index in the file */
    Buffer missing;
    size_t missing_count;
} Claims;

static void claim(Claims *c, const WeightTensor *t)
{
    c->claimed[t - weight_file_tensor(c->view.file, 0)] = true;
}

static void claim_needed(void *user, const char *name, const char *other, int rank, const int64_t *shape)
{
    (void)rank;
    (void)shape;
    Claims *c = user;
    const WeightTensor *t = find(&c->view, "%s", name);
    if (!t && other) t = find(&c->view, "%s", other);
    if (t) {
        claim(c, t);
    } else if (c->missing_count++ < MAX_LISTED) {
        buffer_printf(&c->missing, "%s%s\n", c->view.prefix, name);
    }
}

static bool begins_with(const char *name, const char *beginning)
{
    return strncmp(name, beginning, strlen(beginning)) == 0;
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

bool recognise_is_scale(const char *name)
{
    static const char *const ends[] = {".scale_weight", ".weight_scale", ".scale_input",
                                       ".input_scale",  ".comfy_quant",  "scaled_fp8"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (ends_with(name, ends[i])) return true;
    }
    return false;
}

/* Scales of layers that are asked for, and the mark of a file that has them. */
static void claim_scales(Claims *c)
{
    for (size_t i = 0; i < weight_file_tensor_count(c->view.file); i++) {
        const WeightTensor *t = weight_file_tensor(c->view.file, i);
        if (!recognise_is_scale(t->name) || !begins_with(t->name, c->view.prefix)) continue;
        const char *rest = t->name + strlen(c->view.prefix), *dot = strrchr(rest, '.');
        int length = dot ? (int)(dot - rest) : 0;
        const WeightTensor *weight = dot ? find(&c->view, "%.*s.weight", length, rest) : NULL;
        if (!dot || (weight && c->claimed[weight - weight_file_tensor(c->view.file, 0)])) claim(c, t);
    }
}

/* Rotary frequencies are in every file, but computed anew: stored ones may have been rounded to 8 bits. */
static void claim_frequencies(Claims *c, int layers)
{
    for (int i = 0; i < layers; i++) {
        const WeightTensor *t = find(&c->view, "blocks.%d.attn.rope.rope.freqs", i);
        if (t) claim(c, t);
    }
}

static void claim_by_beginning(Claims *c, const char *const *begins)
{
    for (size_t i = 0; i < weight_file_tensor_count(c->view.file); i++) {
        const WeightTensor *t = weight_file_tensor(c->view.file, i);
        if (!begins_with(t->name, c->view.prefix)) continue;
        const char *rest = t->name + strlen(c->view.prefix);
        for (int k = 0; k < 8 && begins[k]; k++) {
            if (begins_with(rest, begins[k])) claim(c, t);
        }
    }
}

/* --------------------------------------------------------------------------------------------------------- parts */

static char *owned(Buffer *b, bool *ok)
{
    if (!b->text && !b->failed) buffer_add(b, "", 0);
    if (b->failed) *ok = false;
    return b->text;
}

static WeightPart *add_part(PartList *list)
{
    if (list->count == list->room) {
        size_t room = list->room + list->room / 2 + 8;
        WeightPart *parts = realloc(list->parts, room * sizeof *parts);
        if (!parts) return NULL;
        list->parts = parts;
        list->room = room;
    }
    list->parts[list->count] = (WeightPart){0};
    return &list->parts[list->count++];
}

static void begin_json(Buffer *json, const WeightPart *part)
{
    buffer_printf(json, "{\"network\": \"%s\", \"prefix\": \"%s\", \"widths\": [", weight_network_name(part->network),
                  part->prefix);
}

/* Takes over the texts. */
static bool add_network(PartList *list, WeightPart part, Buffer *json, Buffer *summary, Claims *claims)
{
    bool ok = true;
    part.json = owned(json, &ok);
    part.summary = owned(summary, &ok);
    part.missing = owned(&claims->missing, &ok);
    part.missing_count = claims->missing_count;
    claims->missing = (Buffer){0};
    claims->missing_count = 0;
    WeightPart *place = ok ? add_part(list) : NULL;
    if (place) {
        *place = part;
    } else {
        free(part.json);
        free(part.summary);
        free(part.missing);
    }
    return place;
}

static bool add_vae(PartList *list, WeightPart part, Claims *claims)
{
    Buffer json = {0}, summary = {0};
    begin_json(&json, &part);
    describe_vae(&part, &json, &summary);
    layout_vae(&part.vae, claim_needed, claims);
    claim_scales(claims);
    return add_network(list, part, &json, &summary, claims);
}

static bool add_dit(PartList *list, WeightPart part, Claims *claims)
{
    Buffer json = {0}, summary = {0};
    begin_json(&json, &part);
    describe_dit(&part, &json, &summary);
    layout_dit(&part.dit, claim_needed, claims);
    claim_frequencies(claims, part.dit.layers);
    claim_scales(claims);
    return add_network(list, part, &json, &summary, claims);
}

static bool add_named(PartList *list, WeightPart part, int index, const Widths *w, Claims *claims)
{
    Buffer json = {0}, summary = {0};
    begin_json(&json, &part);
    buffer_printf(&summary, "%s, widths", named_networks[index].title);
    for (int i = 0; i < w->count; i++) {
        buffer_printf(&json, i ? ", %d" : "%d", w->value[i]);
        buffer_printf(&summary, " %d", w->value[i]);
    }
    buffer_printf(&json, "]}");
    claim_by_beginning(claims, named_networks[index].begins);
    claim_scales(claims);
    return add_network(list, part, &json, &summary, claims);
}

static bool is_text_name(const char *name)
{
    return strcmp(name, "pos_emb") == 0 || strcmp(name, "neg_emb") == 0 || strcmp(name, "posi_prompt") == 0;
}

/* [rows][width] or [1][rows][width] of real numbers */
static bool is_text_shape(const WeightTensor *t, int64_t least_width)
{
    bool shaped = t->rank == 2 || (t->rank == 3 && t->shape[0] == 1);
    bool whole = t->type >= WT_I8 && t->type <= WT_BOOL;
    return shaped && !whole && t->shape[t->rank - 1] >= least_width && t->shape[t->rank - 1] <= MAX_WIDTH &&
           t->shape[t->rank - 2] >= 1;
}

static bool add_text(PartList *list, WeightPart part, Claims *claims)
{
    Buffer json = {0}, summary = {0};
    const WeightTensor *t = part.tensor;
    long long width = t->shape[t->rank - 1], rows = t->shape[t->rank - 2];
    part.network = NET_TEXT;
    part.prefix = "";
    part.negative = strcmp(t->name, "neg_emb") == 0;
    begin_json(&json, &part);
    buffer_printf(&json, "%lld], \"rows\": %lld, \"negative\": %s, \"name\": ", width, rows,
                  part.negative ? "true" : "false");
    buffer_json_string(&json, t->name, strlen(t->name));
    buffer_printf(&json, "}");
    buffer_printf(&summary, "text embedding, %lld rows of width %lld%s", rows, width,
                  part.negative ? ", negative" : "");
    claim(claims, t);
    return add_network(list, part, &json, &summary, claims);
}

static bool recognise_networks(PartList *list, WeightPart part, Claims *claims)
{
    bool found[NET_WAN_VAE + 1] = {false}, ok = true;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes && ok; i++) {
        part.prefix = claims->view.prefix = prefixes[i];
        WeightPart vae = part, dit = part;
        vae.network = NET_SEEDVR2_VAE;
        dit.network = NET_SEEDVR2_DIT;
        if (!found[NET_SEEDVR2_VAE] && detect_vae(&claims->view, &vae)) {
            found[NET_SEEDVR2_VAE] = true;
            ok = add_vae(list, vae, claims);
        }
        if (ok && !found[NET_SEEDVR2_DIT] && detect_dit(&claims->view, &dit)) {
            found[NET_SEEDVR2_DIT] = true;
            ok = add_dit(list, dit, claims);
        }
        for (int k = 0; k < NAMED_NETWORKS && ok; k++) {
            Widths w;
            if (found[named_networks[k].network] || !named_networks[k].detect(&claims->view, &w)) continue;
            found[part.network = named_networks[k].network] = true;
            ok = add_named(list, part, k, &w, claims);
        }
    }
    return ok;
}

static bool recognise_texts(PartList *list, WeightPart part, Claims *claims)
{
    size_t count = weight_file_tensor_count(part.file);
    bool ok = true;
    for (size_t i = 0; i < count && ok; i++) {
        part.tensor = weight_file_tensor(part.file, i);
        bool named = is_text_name(part.tensor->name) && is_text_shape(part.tensor, 1);
        if (named || (count == 1 && is_text_shape(part.tensor, LEAST_TEXT_WIDTH))) ok = add_text(list, part, claims);
    }
    return ok;
}

/* What nobody asked for, told at the part it most likely belongs to. */
static bool list_unused(PartList *list, size_t first, const Claims *claims)
{
    const WeightFile *f = claims->view.file;
    bool ok = true;
    for (size_t p = first; p < list->count; p++) {
        WeightPart *part = &list->parts[p];
        Buffer names = {0};
        for (size_t i = 0; i < weight_file_tensor_count(f); i++) {
            const WeightTensor *t = weight_file_tensor(f, i);
            if (claims->claimed[i] || recognise_owner(list->parts, list->count, f, t) != part) continue;
            if (part->unused_count++ < MAX_LISTED) buffer_printf(&names, "%s\n", t->name);
        }
        part->unused = owned(&names, &ok);
    }
    return ok;
}

bool recognise_file(const WeightFile *f, size_t file_index, PartList *list)
{
    size_t first = list->count;
    Claims claims = {.view = {f, ""}, .claimed = calloc(weight_file_tensor_count(f) + 1, sizeof(bool))};
    WeightPart part = {.file = f, .file_index = file_index};
    bool ok = claims.claimed && recognise_networks(list, part, &claims) && recognise_texts(list, part, &claims) &&
              list_unused(list, first, &claims);
    free(claims.claimed);
    return ok;
}

const WeightPart *recognise_owner(const WeightPart *parts, size_t count, const WeightFile *f, const WeightTensor *t)
{
    const WeightPart *owner = NULL, *text = NULL;
    for (size_t i = 0; i < count; i++) {
        const WeightPart *part = &parts[i];
        if (part->file != f) continue;
        if (part->network == NET_TEXT) {
            if (part->tensor == t) return part;
            if (!text) text = part;
        } else if (!owner || (begins_with(t->name, part->prefix) && (!begins_with(t->name, owner->prefix) ||
                                                                     strlen(part->prefix) > strlen(owner->prefix)))) {
            owner = part;
        }
    }
    return owner ? owner : text;
}

void recognise_free(PartList *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->parts[i].json);
        free(list->parts[i].summary);
        free(list->parts[i].missing);
        free(list->parts[i].unused);
    }
    free(list->parts);
    *list = (PartList){0};
}
