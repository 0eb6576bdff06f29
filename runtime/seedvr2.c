#include "runtime/seedvr2.h"

#include "runtime/device.h"
#include "runtime/options.h"
#include "runtime/cuda/weight_room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Seedvr2 {
    upres_options options;
    Vae *vae;
    Dit *dit;
    const WeightPart *text, *negative;
    Seedvr2Plan plan; /* that the device was opened with */
    bool shrunk;      /* since it had less memory than was planned */
    Device device;
    Dev *dev;
    VaeJob *decoder; /* or whichever half's tiles are shared out */
    VaeJob *encoder; /* begun ahead of its turn; NULL: none */
    void *tile_user; /* then: of the tile at work */
    void (*progress)(void *user, double done);
    void *user;
};

/* ------------------------------------------------------------------------------------------------- opening, weights */

static const WeightPart *require(const WeightSet *w, WeightNetwork n, bool negative, int text_width, Fault *f)
{
    char error[512];
    const WeightPart *part = weight_set_require(w, n, negative, text_width, error, sizeof error);
    if (!part) fault(f, UPRES_E_INPUT, "%s", error);
    return part;
}

static bool bind(Seedvr2 *m, const WeightSet *w, Fault *f)
{
    char error[512];
    VaeParts vae;
    if (!weight_set_require_vae(w, true, true, &vae, error, sizeof error)) {
        fault(f, UPRES_E_INPUT, "%s", error);
        return false;
    }
    const WeightPart *dit = require(w, NET_SEEDVR2_DIT, false, 0, f);
    const WeightPart *text = dit ? require(w, NET_TEXT, false, dit->dit.text_width, f) : NULL;
    if (!text) return false;
    m->text = text;
    if (m->options.guidance > 1) {
        const WeightPart *negative = require(w, NET_TEXT, true, dit->dit.text_width, f);
        if (!negative) {
            char why[sizeof f->text];
            snprintf(why, sizeof why, "%s", f->text);
            fault(f, UPRES_E_INPUT, "--guidance %g needs the negative text neg_emb: %.800s", m->options.guidance, why);
            return false;
        }
        m->negative = negative;
    }
    if (!(m->vae = vae_open(vae, error, sizeof error)) || !(m->dit = dit_open(dit, error, sizeof error))) {
        fault(f, UPRES_E_INPUT, "%s", error);
        return false;
    }
    const VaeConfig *v = vae_config(m->vae);
    const DitConfig *t = dit_config(m->dit);
    if (v->spatial_factor != PIPELINE_SPATIAL || v->temporal_factor != PIPELINE_TEMPORAL || v->pixel_channels != 3) {
        fault(f, UPRES_E_INPUT,
              "%s: the autoencoder makes one latent of %dx%dx%d pixels and frames of %d channels; "
              "upscaling needs 8x8x4 of 3 channels",
              weight_file_path(vae.decoder->file), v->spatial_factor, v->spatial_factor, v->temporal_factor, v->pixel_channels);
        return false;
    }
    if (t->out_channels != v->latent_channels || t->in_channels != 2 * v->latent_channels + 1) {
        fault(f, UPRES_E_INPUT,
              "%s: the transformer takes %d channels and gives %d, but with the %d latent channels of %s it "
              "must take %d and give %d; use files of one model",
              weight_file_path(dit->file), t->in_channels, t->out_channels, v->latent_channels,
              weight_file_path(vae.decoder->file), 2 * v->latent_channels + 1, v->latent_channels);
        return false;
    }
    return true;
}

Seedvr2 *seedvr2_open(const WeightSet *w, const upres_options *o, int index, Fault *f)
{
    Seedvr2 *m = calloc(1, sizeof *m);
    if (!m) {
        fault(f, UPRES_E_MEMORY, "no memory for a session");
        return NULL;
    }
    m->options = *o;
    if (device_choose_of(o, index, &m->device, f) && bind(m, w, f)) return m;
    seedvr2_close(m);
    return NULL;
}

void seedvr2_close(Seedvr2 *m)
{
    if (!m) return;
    vae_job_close(m->decoder);
    vae_job_close(m->encoder);
    vae_close(m->vae);
    dit_close(m->dit);
    if (m->dev) dev_close(m->dev);
    free(m);
}

void seedvr2_watch(Seedvr2 *m, void (*progress)(void *user, double done), void *user)
{
    m->progress = progress;
    m->user = user;
}

static int latent_channels(const Seedvr2 *m)
{
    return vae_config(m->vae)->latent_channels;
}

const DevSetup *seedvr2_setup(const Seedvr2 *m)
{
    return &m->device.setup;
}

const char *seedvr2_describe(const Seedvr2 *m)
{
    return m->dev ? dev_describe(m->dev) : "";
}

DevTotals seedvr2_totals(const Seedvr2 *m) { return m->dev ? dev_totals(m->dev) : (DevTotals){0}; }

/* --------------------------------------------------------------------------------------------- the transformer's call */

/* Rows of `c` floats to or from channel-padded rows. A plan has no memory to copy. */
static void copy_in(Dev *d, Tensor x, const float *rows, int c)
{
    float *to = dev_write(d, x);
    if (!to) return;
    for (int64_t i = 0; i < (int64_t)x.t * x.h * x.w; i++) {
        memcpy(to + i * x.c_pad, rows + i * c, (size_t)c * sizeof *to);
        memset(to + i * x.c_pad + c, 0, (size_t)(x.c_pad - c) * sizeof *to);
    }
    dev_write_end(d, x, to);
}

static void copy_out(Dev *d, Tensor x, float *rows, int c)
{
    const float *from = dev_read(d, x);
    if (!from) return;
    for (int64_t i = 0; i < (int64_t)x.t * x.h * x.w; i++)
        memcpy(rows + i * c, from + i * x.c_pad, (size_t)c * sizeof *rows);
    dev_read_end(d, from);
}

/* Whoever is told of progress finds the thread as it was. */
static void sampled(void *user, double done)
{
    const Seedvr2 *m = user;
    if (!m->progress) return;
    dev_leave(m->dev);
    m->progress(m->user, done);
    dev_enter(m->dev);
}

/* The same on both devices; on a plan x and condition are NULL. */
static void sample(Seedvr2 *m, Dev *d, int t, int h, int w, float *x, const float *condition)
{
    int c = latent_channels(m);
    Tensor latent = dev_floats(d, t, h, w, c), conditioned = dev_floats(d, t, h, w, c + 1);
    if (dev_ok(d)) {
        copy_in(d, latent, x, c);
        copy_in(d, conditioned, condition, c + 1);
        DitSampling sampling = {m->options.steps, m->options.guidance, m->options.guidance_rescale};
        dit_sample(m->dit, d, latent, conditioned, m->text, m->negative, sampling, dev_is_plan(d) ? NULL : sampled, m);
        copy_out(d, latent, x, c);
    }
    dev_free(d, &conditioned);
    dev_free(d, &latent);
}

/* ------------------------------------------------------------------------------------------------- memory and tiles */

static bool cost_transformer(Seedvr2 *m, int t, int h, int w, PhaseCost *out, Fault *f)
{
    Dev *d = dev_plan_open(&m->device.setup);
    if (!d) return fault(f, UPRES_E_MEMORY, "no memory to plan with") == UPRES_OK;
    sample(m, d, t, h, w, NULL, NULL);
    *out = cost_of(d);
    bool ok = dev_ok(d);
    if (!ok) fault(f, UPRES_E_INPUT, "%s", dev_error(d));
    dev_close(d);
    return ok;
}

static VaeWork work_of(const Seedvr2 *m, bool decode, const SizePlan *z, int frames)
{
    return (VaeWork){m->vae,      decode,      &m->device.setup,
                     z->padded_h, z->padded_w, (frames - 1) / PIPELINE_TEMPORAL + 1};
}

static bool cost_batch(Seedvr2 *m, const Seedvr2Plan *plan, const SizePlan *z, int frames, BatchCost *out, Fault *f)
{
    VaeWork encode = work_of(m, false, z, frames), decode = work_of(m, true, z, frames);
    out->frames = frames;
    return cost_vae(&encode, plan->encode_tiles, &out->encode, f) &&
           cost_transformer(m, (int)encode.latents, z->padded_h / PIPELINE_SPATIAL, z->padded_w / PIPELINE_SPATIAL,
                            &out->transformer, f) &&
           cost_vae(&decode, plan->decode_tiles, &out->decode, f);
}

/* Frames, the program, and what lies at the doors: the caller's source frame, and the codes of the result given out. */
static void encode_ahead(void *user, int h, int w, int frames, VaeVideo pictures, VaeVideo moments);
static uint64_t fixed_bytes(const Seedvr2 *m, const PipelineSetup *s, bool encode_tiled, bool decode_tiled)
{
    const PictureSetup *p = &s->picture;
    PipelineSetup with = *s;
    with.networks.encode_tiled = encode_tiled;
    with.networks.latent_channels = latent_channels(m);
    with.networks.encode_ahead = m->device.setup.cuda ? encode_ahead : NULL;
    uint64_t source = (uint64_t)p->width * (uint64_t)p->height * (uint64_t)p->channels * (p->bits > 8 ? 2 : 1);
    uint64_t result = (uint64_t)p->size.true_w * (uint64_t)p->size.true_h * (pictures_has_alpha(p) ? 4 : 3) *
                      (options_bits(p->options, p->bits) > 8 ? 2 : 1);
    const uint64_t frame = 3 * sizeof(float) * (uint64_t)p->size.padded_w * (uint64_t)p->size.padded_h;
    return pipeline_bytes(&with, decode_tiled) + source + result + cost_program_bytes(m->options.threads) +
           (m->device.setup.cuda ? (1 + (uint64_t)s->other_count) * cost_staging_bytes(frame) : 0);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* fixed_tiles: smaller ones than those asked for are a way out. */
static bool does_not_fit(uint64_t needed, uint64_t transformer, uint64_t limit, bool gpu, bool fixed_tiles, Fault *f)
{
    char needs[32], has[32], alone[32];
    fault(f, UPRES_E_MEMORY,
          "the job needs %s of %s (its transformer alone works in %s), but %s can be had; use a smaller "
          "--scale, --resolution or --batch-size%s, or raise --memory",
          cost_bytes(needed, needs), gpu ? "the GPU's memory" : "memory", cost_bytes(transformer, alone), cost_bytes(limit, has),
          fixed_tiles ? ", --vae-tile auto" : "");
    f->needed = needed;
    return false;
}

/* The two halves of the autoencoder, untiled or in tiles of the options; and with `tile_*` in the largest tiles with room. */
typedef struct Halves {
    TileChoice encode, decode;
} Halves;

static bool choose_tiles(const Halves *options, bool tile_encode, bool tile_decode, uint64_t room, Halves *chosen, Fault *f)
{
    *chosen = *options;
    const bool encode_fits = cost_choose_tiles(&chosen->encode, tile_encode, room, f);
    const bool decode_fits = cost_choose_tiles(&chosen->decode, tile_decode, room, f);
    return encode_fits && decode_fits && f->status == UPRES_OK;
}

/* Bytes that the limit counts beside arena and weights: a GPU's memory holds no frames. */
static uint64_t beside(const Seedvr2 *m, const Seedvr2Plan *plan)
{
    return m->device.setup.cuda ? 0 : plan->fixed_bytes;
}

static bool fit_tiles(Seedvr2 *m, const PipelineSetup *s, int frames, Seedvr2Plan *plan, Fault *f)
{
    const upres_options *o = &m->options;
    const SizePlan *z = &s->picture.size;
    Halves given = {{work_of(m, false, z, frames), o->vae_encode_tile, o->vae_encode_tile_overlap, {0}, {0}, false},
                    {work_of(m, true, z, frames), o->vae_decode_tile, o->vae_decode_tile_overlap, {0}, {0}, false}};
    PhaseCost transformer;
    if (!cost_transformer(m, (int)given.encode.work.latents, z->padded_h / PIPELINE_SPATIAL, z->padded_w / PIPELINE_SPATIAL,
                          &transformer, f) ||
        !cost_choose_tiles(&given.encode, false, UINT64_MAX, f) || !cost_choose_tiles(&given.decode, false, UINT64_MAX, f))
        return false;
    uint64_t needed = UINT64_MAX, levels[COST_WEIGHT_LEVELS];
    const int level_count =
        cost_weight_levels((const PhaseCost[]){given.encode.cost, transformer, given.decode.cost}, 3, levels);
    /* Untiled is best, then all weights at hand. A tiled decoder holds a batch of pictures, a tiled encoder a batch of inputs.
     * So: neither, the decoder, the encoder, both. */
    for (int tiled = 0; tiled < 4; tiled++) {
        const bool tile_decode = tiled & 1, tile_encode = tiled & 2;
        if ((tile_decode && given.decode.tile != UPRES_TILE_AUTO) || (tile_encode && given.encode.tile != UPRES_TILE_AUTO))
            continue;
        plan->fixed_bytes = fixed_bytes(m, s, tile_encode || given.encode.tile > 0, tile_decode || given.decode.tile > 0);
        for (int level = 0; level < level_count; level++) {
            Halves c;
            const uint64_t taken = levels[level] + beside(m, plan), room = cost_room(plan->limit, taken);
            const bool fits = choose_tiles(&given, tile_encode, tile_decode, room, &c, f);
            if (f->status != UPRES_OK) return false;
            const uint64_t arena = larger(transformer.arena_bytes, larger(c.encode.cost.arena_bytes, c.decode.cost.arena_bytes));
            if (arena + taken < needed) needed = arena + taken;
            if (!fits || transformer.arena_bytes > room) continue;
            plan->encode_tiles = c.encode.tiles;
            plan->decode_tiles = c.decode.tiles;
            char limit[32];
            if (c.encode.by_auto || c.decode.by_auto)
                snprintf(plan->note, sizeof plan->note,
                         "tiles chosen to stay under %s: encode %d, decode %d (0: none); tiled pictures differ slightly from "
                         "untiled ones",
                         cost_bytes(plan->limit, limit), c.encode.tiles.tile_h, c.decode.tiles.tile_h);
            return true;
        }
    }
    return does_not_fit(needed, transformer.arena_bytes, plan->limit, m->device.setup.cuda != NULL,
                        given.encode.tile != UPRES_TILE_AUTO || given.decode.tile != UPRES_TILE_AUTO, f);
}

/* What is left for weights beside the arena, all of them if they fit. */
static void give_to_weights(const Seedvr2 *m, Seedvr2Plan *plan)
{
    const BatchCost *b = &plan->batch, *l = &plan->last;
    const WeightNeed whole = cost_weights((const PhaseCost[]){b->encode, b->transformer, b->decode}, 3);
    const WeightNeed last = cost_weights((const PhaseCost[]){l->encode, l->transformer, l->decode}, 3);
    char text[128];
    plan->weight_bytes = b->encode.weight_bytes + b->transformer.weight_bytes + b->decode.weight_bytes;
    if (!m->device.setup.cuda) return;
    plan->weights = (WeightNeed){larger(whole.all, last.all), larger(whole.operation, last.operation),
                                 larger(whole.upload, last.upload)};
    const uint64_t room = cost_room(plan->limit, plan->arena_bytes), all = weight_need_all(&plan->weights);
    plan->weight_bytes = all < room ? all : room;
    cost_weights_note(&plan->weights, plan->weight_bytes, text);
    const size_t length = strlen(plan->note);
    if (text[0]) snprintf(plan->note + length, sizeof plan->note - length, "%s%s", length ? "; " : "", text);
}

/* Frames the encoder sees in the clip's first and last batch. With an unknown end the last may be a single image, which
 * takes other paths in the networks; all other lengths need less than a whole batch. */
static void batch_extents(const PipelineSetup *s, int *first, int *last)
{
    const upres_options *o = s->picture.options;
    Schedule schedule;
    schedule_init(&schedule, s->frames, o->batch_size, o->overlap, o->uniform_batch != 0, o->prepend, false);
    *first = batch_at(&schedule.plan, 0).frames;
    *last = s->frames ? batch_at(&schedule.plan, schedule.plan.count - 1).frames : o->uniform_batch ? *first : 1;
    schedule_free(&schedule);
}

static bool plan_within(Seedvr2 *m, const PipelineSetup *s, uint64_t limit, Seedvr2Plan *plan, Fault *f)
{
    int first, last;
    const SizePlan *z = &s->picture.size;
    *plan = (Seedvr2Plan){.limit = limit};
    batch_extents(s, &first, &last);
    if (!fit_tiles(m, s, first, plan, f) || !cost_batch(m, plan, z, first, &plan->batch, f)) return false;
    plan->last = plan->batch;
    if (last != first && !cost_batch(m, plan, z, last, &plan->last, f)) return false;
    const PhaseCost *costs[] = {&plan->batch.encode, &plan->batch.transformer, &plan->batch.decode,
                                &plan->last.encode,  &plan->last.transformer,  &plan->last.decode};
    for (int i = 0; i < 6; i++) plan->arena_bytes = larger(plan->arena_bytes, costs[i]->arena_bytes);
    give_to_weights(m, plan);
    plan->peak_bytes = plan->arena_bytes + plan->weight_bytes + beside(m, plan);
    plan->encode_tile_count = vae_tile_count(z->padded_h, z->padded_w, PIPELINE_SPATIAL, plan->encode_tiles, false);
    plan->decode_tile_count = vae_tile_count(z->padded_h, z->padded_w, PIPELINE_SPATIAL, plan->decode_tiles, true);
    return true;
}

/* Bytes that each of the devices can give; 0: not known of any. After a plan of `planned` bytes (0: none) that could not be had:
 * of something smaller. */
static uint64_t least_limit(Seedvr2 *const *m, int count, uint64_t planned)
{
    uint64_t least = 0;
    for (int i = 0; i < count; i++) {
        const Device *d = &m[i]->device;
        const uint64_t limit = planned ? device_smaller_limit(d, &m[i]->options, planned) : device_limit(d, &m[i]->options);
        if (limit && (!least || limit < least)) least = limit;
    }
    return least;
}

bool seedvr2_plan(Seedvr2 *const *m, int count, const PipelineSetup *s, Seedvr2Plan *plan, Fault *f)
{
    return plan_within(m[0], s, least_limit(m, count, 0), plan, f);
}

void seedvr2_name_device(const Seedvr2 *m, Fault *f)
{
    device_name_fault(&m->device, f);
}

/* *no_memory: the GPU had less than was planned. */
static bool open_device(Seedvr2 *m, const Seedvr2Plan *plan, bool *no_memory, Fault *f)
{
    char error[512];
    DevSetup setup = m->device.setup;
    setup.weights = plan->weights;
    setup.weight_limit = plan->weight_bytes;
    m->dev = dev_try(&setup, plan->arena_bytes, no_memory, error, sizeof error);
    if (!m->dev) return fault(f, *no_memory || !setup.cuda ? UPRES_E_MEMORY : UPRES_E_RUNTIME, "%s", error) == UPRES_OK;
    m->plan = *plan;
    dev_set_cancel(m->dev, m->options.cancel, m->options.user);
    return true;
}

static bool open_devices(Seedvr2 *const *m, int count, const Seedvr2Plan *plan, bool *no_memory, Fault *f)
{
    *no_memory = false;
    for (int i = 0; i < count; i++) {
        if (open_device(m[i], plan, no_memory, f)) continue;
        if (count > 1) seedvr2_name_device(m[i], f);
        while (i > 0) {
            dev_close(m[--i]->dev);
            m[i]->dev = NULL;
        }
        return false;
    }
    return true;
}

bool seedvr2_start(Seedvr2 *const *m, int count, const PipelineSetup *s, Seedvr2Plan *plan, Fault *f)
{
    bool no_memory;
    if (!seedvr2_plan(m, count, s, plan, f)) return false;
    device_log_choice(&m[0]->device, &m[0]->options);
    if (open_devices(m, count, plan, &no_memory, f)) return true;
    if (!no_memory) return false;
    options_log(&m[0]->options, UPRES_LOG_NOTE, "%s; trying with less%s", f->text, count > 1 ? " on all of them" : "");
    *f = (Fault){0};
    for (int i = 0; i < count; i++) {
        m[i]->shrunk = true;
        m[i]->device.setup.may_spill = false; /* slow is better than not at all */
    }
    return plan_within(m[0], s, least_limit(m, count, plan->peak_bytes), plan, f) &&
           open_devices(m, count, plan, &no_memory, f);
}

/* ------------------------------------------------------------------------------------------ behind the pipeline */

/* Did all go well? A callback's own sentence comes before the device's. */
static bool fine(const Seedvr2 *m, Fault *f)
{
    if (f->status != UPRES_OK) return false;
    if (!m->dev) return fault(f, UPRES_E_MEMORY, "the GPU's memory could not be had again") == UPRES_OK;
    return device_fine(m->dev, f);
}

/* After a failure: was it for memory of the GPU, and is it open again now, with the same tiles and less memory for weights? */
static bool shrink(Seedvr2 *m, Fault *f)
{
    bool no_memory;
    if (m->shrunk || f->status != UPRES_E_MEMORY || !dev_no_memory(m->dev)) return false;
    m->shrunk = true;
    Seedvr2Plan less = m->plan;
    less.peak_bytes -= less.peak_bytes / 5;
    if (less.peak_bytes < less.arena_bytes + weight_need_least(&less.weights)) return false;
    less.weight_bytes = less.peak_bytes - less.arena_bytes;
    options_log(&m->options, UPRES_LOG_NOTE, "%s; trying with less", f->text);
    *f = (Fault){0};
    dev_close(m->dev);
    return open_device(m, &less, &no_memory, f);
}

static void tell(const Seedvr2 *m, double done)
{
    if (m->progress) m->progress(m->user, done);
}

/* Phases, and groups of weights. */
typedef enum Phase { ENCODE, TRANSFORMER, DECODE } Phase;

static void begin(const Seedvr2 *m, Phase phase)
{
    const BatchCost *b = &m->plan.batch, *l = &m->plan.last;
    const PhaseCost *batch = phase == ENCODE ? &b->encode : phase == DECODE ? &b->decode : &b->transformer;
    const PhaseCost *last = phase == ENCODE ? &l->encode : phase == DECODE ? &l->decode : &l->transformer;
    dev_phase_begin(m->dev, (int)phase, larger(batch->arena_bytes, last->arena_bytes));
}

static bool step(Seedvr2 *m, VaeJob *job)
{
    dev_enter(m->dev);
    const bool more = vae_step(job);
    dev_leave(m->dev);
    return more;
}

static VaeJob *encode_open(Seedvr2 *m, int h, int w, int frames, VaeVideo pictures, VaeVideo moments)
{
    begin(m, ENCODE);
    return vae_encode_open(m->vae, m->dev, h, w, frames, m->plan.encode_tiles, pictures, moments);
}

/* Not with tiles: their first step would have to look at all frames, and more. */
static void encode_ahead(void *user, int h, int w, int frames, VaeVideo pictures, VaeVideo moments)
{
    Seedvr2 *m = user;
    if (!dev_ok(m->dev) || m->plan.encode_tile_count > 1) return;
    if (!m->encoder) m->encoder = encode_open(m, h, w, frames, pictures, moments);
    if (m->encoder && !vae_job_waits(m->encoder)) step(m, m->encoder);
}

static bool decode_waits(void *user)
{
    const Seedvr2 *m = user;
    return m->decoder && vae_job_waits(m->decoder);
}

static bool encode_once(Seedvr2 *m, int h, int w, int frames, VaeVideo pictures, VaeVideo moments, Fault *f)
{
    VaeJob *job = m->encoder;
    m->encoder = NULL;
    if (!fine(m, f)) {
        vae_job_close(job);
        return false;
    }
    if (!job) job = encode_open(m, h, w, frames, pictures, moments);
    bool more = job != NULL;
    while (more) {
        more = step(m, job);
        tell(m, vae_progress(job));
    }
    vae_job_close(job);
    dev_phase(m->dev);
    return fine(m, f);
}

static bool encode(void *user, int h, int w, int frames, VaeVideo pictures, VaeVideo moments, Fault *f)
{
    Seedvr2 *m = user;
    if (encode_once(m, h, w, frames, pictures, moments, f)) return true;
    /* Without tiles nothing is added up in what was written already. */
    return m->plan.encode_tile_count == 1 && shrink(m, f) && encode_once(m, h, w, frames, pictures, moments, f);
}

static bool restore_once(Seedvr2 *m, int t, int h, int w, float *x, const float *condition, Fault *f)
{
    if (!fine(m, f)) return false;
    dev_enter(m->dev);
    begin(m, TRANSFORMER);
    sample(m, m->dev, t, h, w, x, condition);
    dev_phase(m->dev);
    dev_leave(m->dev);
    return fine(m, f);
}

static bool restore(void *user, int t, int h, int w, float *x, const float *condition, Fault *f)
{
    Seedvr2 *m = user; /* x changes at the very end */
    return restore_once(m, t, h, w, x, condition, f) || (shrink(m, f) && restore_once(m, t, h, w, x, condition, f));
}

static bool decode_open(void *user, int h, int w, int t, int keep, VaeVideo latents, VaeVideo pictures, Fault *f)
{
    Seedvr2 *m = user;
    if (!fine(m, f)) return false;
    begin(m, DECODE);
    m->decoder = vae_decode_open(m->vae, m->dev, h / PIPELINE_SPATIAL, w / PIPELINE_SPATIAL, t, keep, m->plan.decode_tiles,
                                 latents, pictures);
    return fine(m, f) && m->decoder;
}

static bool decode_step(void *user, bool *more, Fault *f)
{
    Seedvr2 *m = user;
    const bool last = vae_job_waits(m->decoder);
    bool taken = false;
    if (last) {
        dev_enter(m->dev);
        taken = vae_job_take(m->decoder);
        dev_leave(m->dev);
    }
    *more = !last && step(m, m->decoder);
    tell(m, vae_progress(m->decoder));
    return taken || *more || fine(m, f); /* where the device fails ahead of what is taken, that is told in its turn */
}

static void decode_close(void *user)
{
    Seedvr2 *m = user;
    if (m->dev) dev_enter(m->dev);
    vae_job_close(m->decoder);
    m->decoder = NULL;
    if (m->dev && !m->encoder) dev_phase(m->dev);
    if (m->dev) dev_leave(m->dev);
}

PipelineNetworks seedvr2_networks(Seedvr2 *m, const Seedvr2Plan *plan)
{
    return (PipelineNetworks){
        .user = m,
        .latent_channels = latent_channels(m),
        .encode_tiled = plan->encode_tile_count > 1,
        .encode = encode,
        .restore = restore,
        .decode_open = decode_open,
        .decode_step = decode_step,
        .decode_close = decode_close,
        .encode_ahead = m->device.setup.cuda ? encode_ahead : NULL,
        .decode_waits = decode_waits,
    };
}

/* ------------------------------------------------------------------------------------------------ tiles shared out */

bool seedvr2_half_open(Seedvr2 *m, const Seedvr2Half *half, VaeVideo source,
                       bool (*write)(void *user, const VaeRegion *r, bool add), Fault *f)
{
    const VaeVideo sink = {&m->tile_user, NULL, write};
    if (!fine(m, f)) return false;
    begin(m, half->decode ? DECODE : ENCODE);
    m->decoder = half->decode ? vae_decode_open(m->vae, m->dev, half->h, half->w, half->count, half->keep, m->plan.decode_tiles,
                                                source, sink)
                              : vae_encode_open(m->vae, m->dev, half->h, half->w, half->count, m->plan.encode_tiles, source, sink);
    return fine(m, f) && m->decoder;
}

bool seedvr2_half_tile(Seedvr2 *m, int tile, void *user, Fault *f)
{
    if (!fine(m, f)) return false;
    m->tile_user = user;
    vae_job_tile(m->decoder, tile);
    while (step(m, m->decoder)) {}
    return fine(m, f);
}

void seedvr2_half_close(Seedvr2 *m)
{
    decode_close(m);
}
