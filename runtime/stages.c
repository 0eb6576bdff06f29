#include "runtime/stages.h"

#include "runtime/batch.h"
#include "runtime/options.h"
#include "runtime/system.h"
#include "runtime/cuda/weight_room.h"

#include <stdio.h>
#include <string.h>

const VaeConfig *stage_vae_form(const WeightSet *w, Fault *f)
{
    char error[512];
    VaeParts parts;
    if (weight_set_require_vae(w, false, true, &parts, error, sizeof error)) return &parts.decoder->vae;
    if (weight_set_require_vae(w, true, false, &parts, error, sizeof error)) return &parts.encoder->vae;
    weight_set_require(w, NET_SEEDVR2_VAE, false, 0, error, sizeof error); /* neither half: none at all, or two of them */
    fault(f, UPRES_E_INPUT, "%s", error);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------- opening a stage */

static bool check_sizes(const VaeConfig *c, bool decode, int height, int width, int64_t count, Fault *f)
{
    int s = c->spatial_factor;
    if (height < s || width < s || height % s || width % s || height > 16384 || width > 16384) {
        fault(f, UPRES_E_ARGUMENT, "frames of %dx%d cannot be %s; sides must be multiples of %d from %d to 16384",
              width, height, decode ? "decoded" : "encoded", s, s);
        return false;
    }
    if (count < 1 || count > INT32_MAX / 8) {
        fault(f, UPRES_E_ARGUMENT, "%lld %s cannot be worked on; give 1 to %d", (long long)count,
              decode ? "latents" : "frames", INT32_MAX / 8);
        return false;
    }
    return true;
}

/* Frames to append so that one latent covers the first frame and every other `factor` more. */
static int64_t padding(int factor, int64_t count)
{
    return (factor - (count - 1) % factor) % factor;
}

static bool does_not_fit(const Stage *s, uint64_t needed, Fault *f)
{
    char needs[32], has[32];
    fault(f, UPRES_E_MEMORY, "%s frames of %dx%d needs %s of %s%s, but %s can be had; %s",
          s->choice.work.decode ? "decoding" : "encoding", s->choice.work.w, s->choice.work.h, cost_bytes(needed, needs),
          s->device.setup.cuda ? "the GPU's memory" : "memory", s->choice.by_auto ? " even in the smallest tiles" : "",
          cost_bytes(s->limit, has),
          s->choice.by_auto ? "raise --memory or use smaller frames" : "use --vae-tile auto or a smaller tile");
    f->needed = needed;
    return false;
}

static bool fit_under(Stage *s, uint64_t limit, Fault *f)
{
    TileChoice *c = &s->choice;
    char has[32], text[128];
    const bool gpu = s->device.setup.cuda != NULL;
    uint64_t levels[COST_WEIGHT_LEVELS], needed = UINT64_MAX;
    s->limit = limit;
    s->note[0] = '\0';
    if (!cost_choose_tiles(c, false, UINT64_MAX, f)) return false;
    const int level_count = cost_weight_levels(&c->cost, 1, levels);
    const uint64_t beside = gpu ? 0 : s->fixed_bytes; /* a GPU's memory holds no frames */
    bool fits = false;
    for (int i = 0; !fits && i < 2 * level_count; i++) { /* untiled first, then all weights at hand */
        const uint64_t taken = levels[i % level_count] + beside, room = cost_room(limit, taken);
        if (i >= level_count && c->tile != UPRES_TILE_AUTO) break;
        fits = cost_choose_tiles(c, i >= level_count, room, f);
        if (f->status != UPRES_OK) return false;
        if (c->cost.arena_bytes + taken < needed) needed = c->cost.arena_bytes + taken;
    }
    if (!fits) return does_not_fit(s, needed, f);
    const uint64_t all = gpu ? weight_need_all(&c->cost.weights) : levels[0], room = cost_room(limit, c->cost.arena_bytes);
    s->weight_bytes = gpu && all > room ? room : all;
    s->peak_bytes = c->cost.arena_bytes + s->weight_bytes + beside;
    if (c->by_auto)
        snprintf(s->note, sizeof s->note,
                 "tiles of %d (overlap %d) chosen to stay under %s; tiled results differ slightly from untiled ones",
                 c->tiles.tile_h, c->tiles.overlap_h, cost_bytes(limit, has));
    cost_weights_note(&c->cost.weights, s->weight_bytes, text);
    const size_t length = strlen(s->note);
    if (text[0]) snprintf(s->note + length, sizeof s->note - length, "%s%s", length ? "; " : "", text);
    return true;
}

static bool fit(Stage *s, const upres_options *o, Fault *f)
{
    const TileChoice *c = &s->choice;
    const uint64_t frame = 3 * sizeof(float) * (uint64_t)c->work.w * (uint64_t)c->work.h;
    s->fixed_bytes = cost_program_bytes(o->threads) + (s->device.setup.cuda ? cost_staging_bytes(frame) : 0);
    return fit_under(s, device_limit(&s->device, o), f);
}

upres_status stage_open(Stage *s, const WeightSet *w, const upres_options *o, bool decode, int height, int width,
                        int64_t count, Fault *f)
{
    char error[512];
    *s = (Stage){0};
    if (!device_choose(o, &s->device, f)) return f->status;
    VaeParts parts;
    if (!weight_set_require_vae(w, !decode, decode, &parts, error, sizeof error)) return fault(f, UPRES_E_INPUT, "%s", error);
    s->vae = vae_open(parts, error, sizeof error);
    if (!s->vae) return fault(f, UPRES_E_INPUT, "%s", error);
    const VaeConfig *c = vae_config(s->vae);
    if (!check_sizes(c, decode, height, width, count, f)) return f->status;
    int64_t latents = decode ? count : (count + padding(c->temporal_factor, count) - 1) / c->temporal_factor + 1;
    s->frames = (latents - 1) * c->temporal_factor + 1;
    s->choice = (TileChoice){
        .work = {s->vae, decode, &s->device.setup, height, width, latents},
        .tile = decode ? o->vae_decode_tile : o->vae_encode_tile,
        .overlap = decode ? o->vae_decode_tile_overlap : o->vae_encode_tile_overlap,
    };
    if (!fit(s, o, f)) return f->status;
    s->tile_count = vae_tile_count(height, width, c->spatial_factor, s->choice.tiles, decode);
    return UPRES_OK;
}

void stage_close(Stage *s)
{
    vae_close(s->vae);
    s->vae = NULL;
}

/* -------------------------------------------------------------------------------------------------- running a stage */

/* The caller's video behind the network's callbacks. */
typedef struct Link {
    const upres_video *video;
    int64_t count;    /* frames it has; those beyond are mirrored */
    int64_t appended; /* how many those are */
    int channels;     /* of which the first so many are passed on */
    float factor;     /* of every sample */
    Dev *device;      /* left while the caller is asked */
    Fault *fault;
} Link;

static upres_region region_of(const Link *l, const VaeRegion *r)
{
    return (upres_region){
        .struct_size = sizeof(upres_region),
        .frame = mirror_index(l->count, l->appended, false, r->frame),
        .y = r->y,
        .x = r->x,
        .height = r->height,
        .width = r->width,
        .channels = l->channels,
        .data = r->data,
        .plane_stride = (ptrdiff_t)r->plane,
        .row_stride = (ptrdiff_t)r->row,
    };
}

static void scale_region(const upres_region *r, float factor)
{
    if (factor == 1) return;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++) {
            float *row = r->data + c * r->plane_stride + y * r->row_stride;
            for (int x = 0; x < r->width; x++) row[x] *= factor;
        }
}

static bool read_region(void *user, const VaeRegion *r)
{
    const Link *l = user;
    upres_region region = region_of(l, r);
    dev_leave(l->device);
    const bool failed = l->video->read(l->video->user, &region) != 0;
    dev_enter(l->device);
    if (failed)
        return fault(l->fault, UPRES_E_RUNTIME, "the caller could not read frame %lld and stopped the job",
                     (long long)region.frame) == UPRES_OK;
    scale_region(&region, l->factor);
    return true;
}

static bool write_region(void *user, const VaeRegion *r, bool add)
{
    const Link *l = user;
    upres_region region = region_of(l, r);
    scale_region(&region, l->factor); /* the samples are handed over for good */
    dev_leave(l->device);
    const bool failed = l->video->write(l->video->user, &region, add) != 0;
    dev_enter(l->device);
    if (failed)
        return fault(l->fault, UPRES_E_RUNTIME, "the caller could not write frame %lld and stopped the job",
                     (long long)region.frame) == UPRES_OK;
    return true;
}

/* Steps until the job is through, with reports. */
static void run_job(VaeJob *job, Dev *d, const Stage *s, const upres_options *o, int64_t frames, double began)
{
    bool more = job != NULL;
    while (more) {
        dev_enter(d);
        more = vae_step(job);
        dev_leave(d);
        if (!o->progress) continue;
        double done = vae_progress(job);
        upres_progress p = {
            .struct_size = sizeof p,
            .phase = s->choice.work.decode ? "decode" : "encode",
            .frames_done = s->tile_count > 1 ? (done < 1 ? 0 : frames) : (int64_t)(done * (double)frames),
            .frames_total = frames,
            .phase_done = done,
            .work_done = done,
            .seconds = system_seconds() - began,
            .peak_bytes = s->peak_bytes,
        };
        o->progress(o->user, &p);
    }
}

/* The device with the memory planned; where a GPU has less than it said, once more with less. NULL after a failure. */
static Dev *open_device(Stage *s, const upres_options *o, Fault *f)
{
    char error[512];
    for (int attempt = 0; attempt < 2; attempt++) {
        bool no_memory;
        DevSetup setup = s->device.setup;
        setup.weights = s->choice.cost.weights;
        setup.weight_limit = s->weight_bytes;
        Dev *d = dev_try(&setup, s->choice.cost.arena_bytes, &no_memory, error, sizeof error);
        if (d) return d;
        if (!no_memory || attempt > 0) {
            fault(f, no_memory || !setup.cuda ? UPRES_E_MEMORY : UPRES_E_RUNTIME, "%s", error);
            return NULL;
        }
        options_log(o, UPRES_LOG_NOTE, "%s; trying with less", error);
        s->device.setup.may_spill = false; /* slow is better than not at all */
        if (!fit_under(s, device_smaller_limit(&s->device, o, s->peak_bytes), f)) return NULL;
        s->tile_count = vae_tile_count(s->choice.work.h, s->choice.work.w, vae_config(s->vae)->spatial_factor, s->choice.tiles,
                                       s->choice.work.decode);
    }
    return NULL;
}

static upres_status run(Stage *s, const upres_options *o, int64_t keep, Link *in, Link *out, Fault *f)
{
    char arena[32], weights[32];
    const TileChoice *c = &s->choice;
    double began = system_seconds();
    Dev *d = open_device(s, o, f);
    if (!d) return f->status;
    dev_set_cancel(d, o->cancel, o->user);
    in->device = out->device = d;
    device_log_choice(&s->device, o);
    if (s->note[0]) options_log(o, UPRES_LOG_NOTE, "%s", s->note);
    options_log(o, UPRES_LOG_INFO, "device %s", dev_describe(d));
    options_log(o, UPRES_LOG_INFO, "%s %lld frames of %dx%d, %lld latents, %d tiles a frame (tile %d, overlap %d)%s",
                c->work.decode ? "decode" : "encode", (long long)(keep ? keep : s->frames), c->work.w, c->work.h,
                (long long)c->work.latents, s->tile_count, c->tiles.tile_h, c->tiles.overlap_h,
                c->tiles.thrifty ? ", thriftily" : "");
    options_log(o, UPRES_LOG_INFO, "memory: network %s, weights %s", cost_bytes(c->cost.arena_bytes, arena),
                cost_bytes(s->weight_bytes, weights));
    int factor = vae_config(s->vae)->spatial_factor;
    VaeVideo source = {in, read_region, NULL}, sink = {out, NULL, write_region};
    VaeJob *job = c->work.decode ? vae_decode_open(s->vae, d, c->work.h / factor, c->work.w / factor, c->work.latents,
                                                   keep, c->tiles, source, sink)
                                 : vae_encode_open(s->vae, d, c->work.h, c->work.w, s->frames, c->tiles, source, sink);
    run_job(job, d, s, o, keep ? keep : s->frames, began);
    vae_job_close(job);
    device_fine(d, f);
    const DevTotals totals = dev_totals(d);
    device_log_kernels(o, &totals, &(unsigned){0});
    dev_close(d);
    if (f->status == UPRES_OK) options_log(o, UPRES_LOG_INFO, "done in %.2f s", system_seconds() - began);
    return f->status;
}

static bool check_videos(const upres_video *in, const upres_video *out, Fault *f)
{
    if (in && out && in->read && out->write) return true;
    fault(f, UPRES_E_ARGUMENT, "the stage has nothing to read from or to write to; give a read and a write function");
    return false;
}

upres_status stage_encode(const WeightSet *w, const upres_options *o, int width, int height, int64_t count,
                          const upres_video *frames, const upres_video *latents, Fault *f)
{
    if (!check_videos(frames, latents, f)) return f->status;
    Stage s;
    if (stage_open(&s, w, o, false, height, width, count, f) == UPRES_OK) {
        const VaeConfig *c = vae_config(s.vae);
        Link in = {frames, count, s.frames - count, c->pixel_channels, 1, NULL, f};
        Link out = {latents, s.choice.work.latents, 0, c->latent_channels, VAE_SCALING, NULL, f};
        run(&s, o, 0, &in, &out, f);
    }
    stage_close(&s);
    return f->status;
}

upres_status stage_decode(const WeightSet *w, const upres_options *o, int latent_width, int latent_height,
                          int64_t count, int64_t keep, const upres_video *latents, const upres_video *frames, Fault *f)
{
    if (!check_videos(latents, frames, f)) return f->status;
    const VaeConfig *form = stage_vae_form(w, f);
    if (!form) return f->status;
    if (latent_width < 1 || latent_height < 1 || latent_width > 16384 || latent_height > 16384)
        return fault(f, UPRES_E_ARGUMENT, "latents of %dx%d cannot be decoded; give sides from 1 up", latent_width,
                     latent_height);
    int factor = form->spatial_factor;
    Stage s;
    if (stage_open(&s, w, o, true, latent_height * factor, latent_width * factor, count, f) == UPRES_OK) {
        const VaeConfig *c = vae_config(s.vae);
        Link in = {latents, count, 0, c->latent_channels, 1 / VAE_SCALING, NULL, f};
        Link out = {frames, s.frames, 0, c->pixel_channels, 1, NULL, f};
        if (keep < 0 || keep > s.frames)
            fault(f, UPRES_E_ARGUMENT,
                  "%lld frames are to be kept, but %lld latents give %lld; keep 1 to %lld, or 0 for all",
                  (long long)keep, (long long)count, (long long)s.frames, (long long)s.frames);
        else
            run(&s, o, keep, &in, &out, f);
    }
    stage_close(&s);
    return f->status;
}
