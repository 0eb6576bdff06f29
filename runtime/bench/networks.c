/* Networks and phases of jobs, in their released widths and on weights that no file holds, with their copies in and out. */
#include "runtime/bench/cases.h"

#include "runtime/models/flashvsr_dit.h"
#include "runtime/models/flashvsr_lq.h"
#include "runtime/models/seedvr2_dit.h"
#include "runtime/models/seedvr2_vae.h"
#include "runtime/models/tcdecoder.h"
#include "runtime/models/wan_vae.h"

#include <string.h>

/* Frames or latents: the same row of numbers everywhere. */
enum { ROW = 4096 };

static bool read_rows(void *user, const VaeRegion *r)
{
    const float *row = user;
    for (int c = 0; c < r->channels; c++) {
        for (int y = 0; y < r->height; y++) {
            float *to = r->data + c * r->plane + y * r->row;
            for (int x = 0; x < r->width; x += ROW)
                memcpy(to + x, row, (size_t)(r->width - x < ROW ? r->width - x : ROW) * sizeof *row);
        }
    }
    return true;
}

static bool drop(void *user, const VaeRegion *r, bool add)
{
    (void)user;
    (void)r;
    (void)add;
    return true;
}

/* A network at work. Of the members those of its kind are used. */
typedef struct NetworkRun {
    Dev *device;
    int h, w, latents;
    bool decode;
    Vae *vae;
    Dit *dit;
    FlashDitStream *flash;
    FlashLqStream *lq;
    TcStream *tc;
    WanStream *wan;
    const WeightPart *text;
    Tensor x, y;
    float row[ROW];
} NetworkRun;

static VaeVideo source(NetworkRun *r)
{
    bench_fill(r->row, ROW);
    return (VaeVideo){r->row, read_rows, drop};
}

/* ------------------------------------------------------------------------------------------------------------ SeedVR2 */

/* Latents of cells h x w: pixels are 8 times as many each way, frames 4 (latents - 1) + 1. */
typedef struct VaeShape {
    const char *name;
    int latents, h, w;
} VaeShape;

static const VaeShape clips[] = {{"96x96x5", 2, 12, 12}, {"1280x720x5", 2, 90, 160}};

static const VaeConfig released_vae = {.levels = 4, .width = {128, 256, 512, 512}, .encoder_blocks = 2, .decoder_blocks = 3,
                                       .temporal_down = {false, true, true}, .temporal_up = {true, true, false},
                                       .latent_channels = 16, .pixel_channels = 3, .spatial_factor = 8,
                                       .temporal_factor = 4, .has_encoder = true, .has_decoder = true};

static void vae_body(void *context)
{
    NetworkRun *r = context;
    const VaeVideo video = {r->row, read_rows, drop};
    VaeJob *j = r->decode ? vae_decode_open(r->vae, r->device, r->h, r->w, r->latents, 0, (VaeTiles){0}, video, video)
                          : vae_encode_open(r->vae, r->device, 8 * r->h, 8 * r->w, 4 * (r->latents - 1) + 1, (VaeTiles){0},
                                            video, video);
    while (j && vae_step(j)) continue;
    vae_job_close(j);
}

static bool vae(Bench *b, const VaeShape *s, bool decode)
{
    char error[256];
    VaeParts parts;
    NetworkRun r = {.device = b->device, .h = s->h, .w = s->w, .latents = s->latents, .decode = decode};
    WeightSet *w = weight_set_blank(&(BlankNetworks){.vae = &released_vae});
    if (w && weight_set_require_vae(w, !decode, decode, &parts, error, sizeof error))
        r.vae = vae_open(parts, error, sizeof error);
    source(&r);
    if (r.vae) bench_time(b, vae_body, &r);
    const bool ok = r.vae != NULL;
    vae_close(r.vae);
    weight_set_close(w);
    return ok;
}

static bool vae_encode(Bench *b, const void *shape) { return vae(b, shape, false); }
static bool vae_decode(Bench *b, const void *shape) { return vae(b, shape, true); }

/* Blocks of one of the two, with what stands before and behind them; latents of cells h x w, 4 to a token. */
typedef struct DitShape {
    const char *name;
    bool is_7b;
    int blocks, latents, h, w;
} DitShape;

static const DitShape transformers[] = {
    {"3b/2blocks/600tokens", false, 2, 2, 30, 40},
    {"3b/2blocks/7200tokens", false, 2, 2, 90, 160},
    {"7b/1block/600tokens", true, 1, 2, 30, 40},
    {"7b/2blocks/7200tokens", true, 2, 2, 90, 160},
};

static void dit_body(void *context)
{
    const NetworkRun *r = context;
    dit_forward(r->dit, r->device, r->x, r->text, 1000, r->y);
}

static DitConfig released_dit(const DitShape *s)
{
    DitConfig c = {.is_7b = s->is_7b, .layers = s->blocks, .width = s->is_7b ? 3072 : 2560, .heads = s->is_7b ? 24 : 20,
                   .head_dim = 128, .text_width = 5120, .mlp_hidden = s->is_7b ? 12288 : 6912, .time_width = 256,
                   .in_channels = 33, .out_channels = 16};
    for (int i = 1; i < s->blocks && !c.is_7b; i++) c.shared[i] = true;
    return c;
}

static bool transformer(Bench *b, const void *shape)
{
    const DitShape *s = shape;
    char error[256];
    const DitConfig c = released_dit(s);
    const int64_t words[2] = {58, 5120};
    WeightSet *w = weight_set_blank(&(BlankNetworks){.dit = &c});
    const WeightPart *part = w ? weight_set_require(w, NET_SEEDVR2_DIT, false, 0, error, sizeof error) : NULL;
    BenchWeight text = {0};
    NetworkRun r = {.device = b->device, .dit = part ? dit_open(part, error, sizeof error) : NULL};
    const bool ok = r.dit && bench_weight(b, &text, 2, words);
    if (ok) {
        r.text = &(WeightPart){.network = NET_TEXT, .tensor = &text.stored};
        r.x = bench_tensor(b, s->latents, s->h, s->w, 33);
        r.y = bench_tensor(b, s->latents, s->h, s->w, 16);
        bench_time(b, dit_body, &r);
        dev_free(b->device, &r.y);
        dev_free(b->device, &r.x);
    }
    bench_weight_free(&text);
    dit_close(r.dit);
    weight_set_close(w);
    return ok;
}

/* ----------------------------------------------------------------------------------------------------------- FlashVSR */

/* Chunks of 8 frames, of h x w pixels, in the midst of a stream. */
typedef struct StreamShape {
    const char *name;
    int h, w, blocks;
} StreamShape;

static const StreamShape chunks[] = {
    {"2blocks/256x384", 256, 384, 2},
    {"2blocks/768x1280", 768, 1280, 2},
};
static const StreamShape projections[] = {{"128x128x4", 128, 128, 0}, {"768x1280x4", 768, 1280, 0}};
static const StreamShape decoders[] = {{"96x160x4", 96, 160, 0}, {"768x1280x4", 768, 1280, 0}};

/* The released prompt: rows of which all but the first are equal. */
static bool prompt(Bench *b, BenchWeight *w)
{
    enum { ROWS = 512, MEANT = 61, WIDTH = 4096 };
    const int64_t shape[2] = {ROWS, WIDTH};
    if (!bench_weight(b, w, 2, shape)) return false;
    bench_fill(w->values, MEANT * WIDTH);
    memset(w->values + MEANT * WIDTH, 0, (ROWS - MEANT) * WIDTH * sizeof *w->values);
    return true;
}

static void flash_body(void *context)
{
    const NetworkRun *r = context;
    flash_dit_chunk(r->flash, r->x, r->y);
}

/* The first chunk, three times as long, then those that are timed. */
static void time_chunks(Bench *b, NetworkRun *r, int h, int w)
{
    for (int chunk = 0; chunk < 2; chunk++) {
        const int latents = chunk == 0 ? FLASH_FIRST_LATENTS : FLASH_LATENTS;
        r->x = bench_tensor(b, latents, h, w, 1536);
        r->y = bench_floats(b, latents, 2 * h, 2 * w, 16);
        if (chunk == 0) flash_body(r);
        else bench_time(b, flash_body, r);
        dev_free(b->device, &r->y);
        dev_free(b->device, &r->x);
    }
}

static bool flash_blocks(Bench *b, const void *shape)
{
    const StreamShape *s = shape;
    const FlashvsrSetup setup = {.causal = true, .sparse_ratio = 2, .kv_slices = 3, .local_range = 11, .block_keys = 128};
    const int h = s->h / 16, w = s->w / 16;
    char error[256];
    BenchWeight text = {0};
    WeightSet *set = weight_set_blank(&(BlankNetworks){.flash_layers = s->blocks});
    const WeightPart *part = set ? weight_set_require(set, NET_FLASHVSR_DIT, false, 0, error, sizeof error) : NULL;
    const WeightPart words = {.network = NET_TEXT, .tensor = &text.stored};
    FlashDit *m = part && prompt(b, &text) ? flash_dit_open(part, &words, error, sizeof error) : NULL;
    NetworkRun r = {.device = b->device};
    if (m) r.flash = flash_dit_stream_open(m, b->device, h, w, setup);
    if (r.flash) time_chunks(b, &r, h, w);
    flash_dit_stream_close(r.flash);
    flash_dit_close(m);
    weight_set_close(set);
    bench_weight_free(&text);
    return m != NULL;
}

static void lq_body(void *context)
{
    NetworkRun *r = context;
    flash_lq_call(r->lq, (VaeVideo){r->row, read_rows, drop}, r->y);
}

static bool projection(Bench *b, const void *shape)
{
    const StreamShape *s = shape;
    char error[256];
    WeightSet *set = weight_set_blank(&(BlankNetworks){.flash_lq = true});
    const WeightPart *part = set ? weight_set_require(set, NET_FLASHVSR_LQ, false, 0, error, sizeof error) : NULL;
    FlashLq *m = part ? flash_lq_open(part, error, sizeof error) : NULL;
    NetworkRun r = {.device = b->device};
    if (m) r.lq = flash_lq_stream_open(m, b->device, s->h, s->w, true);
    if (r.lq) {
        r.y = bench_tensor(b, 1, s->h / FLASH_PATCH, s->w / FLASH_PATCH, flash_lq_width(m));
        flash_lq_call(r.lq, source(&r), (Tensor){0}); /* of one frame */
        bench_time(b, lq_body, &r);
        dev_free(b->device, &r.y);
    }
    flash_lq_stream_close(r.lq);
    flash_lq_close(m);
    weight_set_close(set);
    return m != NULL;
}

static void tc_body(void *context)
{
    NetworkRun *r = context;
    const VaeVideo video = {r->row, read_rows, drop};
    tcdecoder_run(r->tc, r->x, video, video);
}

static bool tcdecoder(Bench *b, const void *shape)
{
    const StreamShape *s = shape;
    char error[256];
    WeightSet *set = weight_set_blank(&(BlankNetworks){.tcdecoder = true});
    const WeightPart *part = set ? weight_set_require(set, NET_TCDECODER, false, 0, error, sizeof error) : NULL;
    TcDecoder *m = part ? tcdecoder_open(part, error, sizeof error) : NULL;
    NetworkRun r = {.device = b->device};
    if (m) r.tc = tcdecoder_stream_open(m, b->device, s->h / 8, s->w / 8);
    if (r.tc) {
        source(&r);
        r.x = bench_floats(b, 1, s->h / 8, s->w / 8, 16);
        tc_body(&r); /* one frame */
        bench_time(b, tc_body, &r);
        dev_free(b->device, &r.x);
    }
    tcdecoder_stream_close(r.tc);
    tcdecoder_close(m);
    weight_set_close(set);
    return m != NULL;
}

/* ------------------------------------------------------------------------------------------------------------ Wan VAE */

static void wan_body(void *context)
{
    NetworkRun *r = context;
    const VaeVideo video = {r->row, read_rows, drop};
    if (r->decode) wan_decode(r->wan, r->x, video);
    else wan_encode(r->wan, r->latents, video, video);
}

static bool wan(Bench *b, const StreamShape *s, bool decode)
{
    char error[256];
    WeightSet *set = weight_set_blank(&(BlankNetworks){.wan_vae = true});
    const WeightPart *part = set ? weight_set_require(set, NET_WAN_VAE, false, 0, error, sizeof error) : NULL;
    WanVae *m = part ? wan_vae_open(part, !decode, decode, error, sizeof error) : NULL;
    NetworkRun r = {.device = b->device, .decode = decode, .latents = 1};
    if (m && decode) r.wan = wan_decode_open(m, b->device, s->h / 8, s->w / 8);
    if (m && !decode) r.wan = wan_encode_open(m, b->device, s->h, s->w);
    if (r.wan) {
        source(&r);
        if (decode) r.x = bench_floats(b, 1, s->h / 8, s->w / 8, 16);
        wan_body(&r); /* one frame, later four */
        r.latents = 4;
        bench_time(b, wan_body, &r);
        dev_free(b->device, &r.x);
    }
    wan_stream_close(r.wan);
    wan_vae_close(m);
    weight_set_close(set);
    return m != NULL;
}

static bool wan_encoder(Bench *b, const void *shape) { return wan(b, shape, false); }
static bool wan_decoder(Bench *b, const void *shape) { return wan(b, shape, true); }

const BenchFamily bench_network_families[] = {
    {BENCH_FAMILY("seedvr2.encode", vae_encode, clips), .is = BENCH_NETWORK},
    {BENCH_FAMILY("seedvr2.transformer", transformer, transformers), .is = BENCH_NETWORK},
    {BENCH_FAMILY("seedvr2.decode", vae_decode, clips), .is = BENCH_NETWORK},
    {BENCH_FAMILY("flashvsr.projection", projection, projections), .is = BENCH_NETWORK},
    {BENCH_FAMILY("flashvsr.transformer", flash_blocks, chunks), .is = BENCH_NETWORK},
    {BENCH_FAMILY("flashvsr.tcdecoder", tcdecoder, decoders), .is = BENCH_NETWORK},
    {BENCH_FAMILY("wan.encode", wan_encoder, decoders), .is = BENCH_NETWORK},
    {BENCH_FAMILY("wan.decode", wan_decoder, decoders), .is = BENCH_NETWORK},
};
const size_t bench_network_family_count = sizeof bench_network_families / sizeof *bench_network_families;
