#include "runtime/device.h"
#include "runtime/plan.h"
#include "runtime/seedvr2.h"
#include "runtime/session_kind.h"
#include "runtime/tile.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct Seedvr2Session {
    upres_session *session;
    PipelineSetup setup;
    Seedvr2 *networks;
    Seedvr2Plan plan;
    PictureDevice *pictures;
    Pipeline *pipeline;
    const BatchCost *cost; /* of the present batch */
    unsigned kernels_told; /* in the log */
} Seedvr2Session;

/* ---------------------------------------------------------------------------------------------------------- reports */

/* Results and batches of the whole job, once they can be known. */
static void count_work(Seedvr2Session *j)
{
    upres_session *s = j->session;
    const Schedule *schedule = pipeline_schedule(j->pipeline);
    if (s->flop_total > 0 || schedule->frames < 0) return;
    const BatchCost *b = &j->plan.batch, *last = &j->plan.last;
    bool ends;
    int64_t batches = schedule_batch_count(schedule, &ends);
    s->flop_total = (double)(batches - ends) * (b->encode.flop + b->transformer.flop + b->decode.flop);
    if (ends) s->flop_total += last->encode.flop + last->transformer.flop + last->decode.flop;
    if (!schedule->wanted_count) s->results_total = schedule->frames;
    for (size_t i = 0; i < schedule->wanted_count; i++) {
        FrameRange r = schedule->wanted[i];
        if (r.last > schedule->frames - 1) r.last = schedule->frames - 1;
        if (r.last >= r.first) s->results_total += r.last - r.first + 1;
    }
}

static void network_progress(void *user, double done)
{
    Seedvr2Session *j = user;
    upres_session *s = j->session;
    const BatchCost *c = j->cost;
    if (c && s->activity == PHASE_ENCODE) s->flop_part = c->encode.flop * done;
    if (c && s->activity == PHASE_TRANSFORMER) s->flop_part = c->encode.flop + c->transformer.flop * done;
    if (c && s->activity == PHASE_DECODE) s->flop_part = c->encode.flop + c->transformer.flop + c->decode.flop * done;
    session_report(s, done);
}

static void batch_begins(void *user, int device, int64_t k, const Batch *b)
{
    Seedvr2Session *j = user;
    (void)k;
    (void)device;
    for (int i = 0; i < PHASE_COUNT; i++) j->session->spent[i] = 0;
    j->cost = b->frames == j->plan.batch.frames ? &j->plan.batch : &j->plan.last;
    count_work(j);
}

static void phase_begins(void *user, int device, PipelinePhase phase)
{
    (void)device;
    Seedvr2Session *j = user;
    session_turn_to(j->session, (int)phase);
}

static void batch_ends(void *user, int device, int64_t k, const Batch *b)
{
    (void)device;
    Seedvr2Session *j = user;
    upres_session *s = j->session;
    session_turn_to(s, -1);
    const Schedule *schedule = pipeline_schedule(j->pipeline);
    if (j->cost) s->flop_done += j->cost->encode.flop + j->cost->transformer.flop + j->cost->decode.flop;
    j->cost = NULL;
    s->flop_part = 0;
    options_log(
        &s->options, UPRES_LOG_INFO,
        "batch %lld (frames %lld to %lld, %d computed): encode %.2f s, transformer %.2f s, decode %.2f s, color %.2f s",
        (long long)k, (long long)(b->start - schedule->prepend), (long long)(b->end - 1 - schedule->prepend), b->frames,
        s->spent[PHASE_ENCODE], s->spent[PHASE_TRANSFORMER], s->spent[PHASE_DECODE], s->spent[PHASE_COLOR]);
    const DevTotals totals = seedvr2_totals(j->networks);
    device_log_kernels(&s->options, &totals, &j->kernels_told);
}

static void log_tiles(const upres_options *o, const char *half, VaeTiles tiles, int count)
{
    if (count > 1)
        options_log(o, UPRES_LOG_INFO, "%s in %d tiles of %d, overlap %d", half, count, tiles.tile_h, tiles.overlap_h);
    else
        options_log(o, UPRES_LOG_INFO, "%s untiled", half);
}

static void log_start(const Seedvr2Session *j, const WeightSet *w)
{
    const upres_clip *clip = &j->session->clip;
    const upres_options *o = &j->session->options;
    const SizePlan *z = &j->setup.picture.size;
    const Seedvr2Plan *p = &j->plan;
    if (o->batch_size % 4 != 1)
        options_log(o, UPRES_LOG_NOTE,
                    "--batch-size %d is not 4n + 1: every batch computes %d frames, of which %d are kept",
                    o->batch_size, o->batch_size + (int)pad_4n1(o->batch_size), o->batch_size);
    if (p->note[0]) options_log(o, UPRES_LOG_NOTE, "%s", p->note);
    if (!o->log) return;
    for (size_t i = 0; i < weight_set_part_count(w); i++) {
        const WeightPart *part = weight_set_part(w, i);
        bool used = part->network == NET_SEEDVR2_VAE || part->network == NET_SEEDVR2_DIT ||
                    (part->network == NET_TEXT && (!part->negative || o->guidance > 1));
        options_log(o, UPRES_LOG_INFO, "%s: %s%s: %s", weight_file_path(part->file), weight_network_name(part->network),
                    used ? "" : " (not used)", part->summary ? part->summary : "");
    }
    char arena[32], weights[32], fixed[32], limit[32];
    options_log(o, UPRES_LOG_INFO, "device %s", seedvr2_describe(j->networks));
    options_log(o, UPRES_LOG_INFO, "size %dx%d -> resized %dx%d -> written %dx%d, computed %dx%d", clip->width,
                clip->height, z->resized_w, z->resized_h, z->true_w, z->true_h, z->padded_w, z->padded_h);
    options_log(o, UPRES_LOG_INFO, "batches of %d frames (%d computed), overlap %d, prepended %d", o->batch_size,
                p->batch.frames, o->overlap, o->prepend);
    log_tiles(o, "encode", p->encode_tiles, p->encode_tile_count);
    log_tiles(o, "decode", p->decode_tiles, p->decode_tile_count);
    cost_bytes(p->arena_bytes, arena);
    cost_bytes(p->weight_bytes, weights);
    cost_bytes(p->fixed_bytes, fixed);
    options_log(o, UPRES_LOG_INFO,
                p->weights.all ? "memory of the GPU: networks %s, weights %s; frames and program, in the host's, %s; %s can be had"
                               : "memory: networks %s, weights %s, frames and program %s; %s can be had",
                arena, weights, fixed, p->limit ? cost_bytes(p->limit, limit) : "an unknown amount");
}

/* ---------------------------------------------------------------------------------------------------- open and close */

static upres_status make_setup(const upres_options *o, const upres_clip *clip, PipelineSetup *setup, Fault *f)
{
    char error[256];
    SizePlan size;
    bool sized;
    if (o->fit_width) {
        sized = size_area(clip->height, clip->width, o->fit_height, o->fit_width, &size, error, sizeof error);
    } else {
        int resolution = o->resolution ? o->resolution : 1080;
        if (o->scale > 0) resolution = size_resolution(clip->height, clip->width, o->scale);
        sized = size_shortest_edge(clip->height, clip->width, resolution, o->max_resolution, o->resize_parity != 0,
                                   &size, error, sizeof error);
    }
    if (!sized) return fault(f, UPRES_E_ARGUMENT, "%s", error);
    *setup = (PipelineSetup){
        .picture = {.options = o,
                    .width = clip->width,
                    .height = clip->height,
                    .channels = clip->channels,
                    .bits = clip->bits,
                    .size = size},
        .frames = clip->frames,
    };
    setup->picture.slice_frames = pipeline_slice_frames(o, clip->frames);
    return pictures_check(&setup->picture, f) ? UPRES_OK : f->status;
}

static upres_status open_job(upres_session *s, const WeightSet *w, Fault *f)
{
    Seedvr2Session *j = s->job = calloc(1, sizeof *j);
    if (!j) return fault(f, UPRES_E_MEMORY, "no memory for a session");
    j->session = s;
    if (make_setup(&s->options, &s->clip, &j->setup, f) != UPRES_OK) return f->status;
    j->networks = seedvr2_open(w, &s->options, f);
    if (!j->networks || !seedvr2_start(j->networks, &j->setup, &j->plan, network_progress, j, f)) return f->status;
    const uint64_t limit = j->plan.limit, peak = j->plan.peak_bytes;
    const uint64_t room = limit == 0 ? UINT64_MAX : limit > peak ? limit - peak : 0;
    j->pictures = picture_device_open(seedvr2_setup(j->networks), room);
    j->setup.picture.device = j->pictures;
    j->setup.networks = seedvr2_networks(j->networks, &j->plan);
    j->setup.watch = (PipelineWatch){j, batch_begins, phase_begins, batch_ends, NULL};
    j->pipeline = pipeline_open(&j->setup, f);
    if (!j->pipeline) return f->status;
    s->width = j->setup.picture.size.true_w;
    s->height = j->setup.picture.size.true_h;
    s->channels = pictures_has_alpha(&j->setup.picture) ? 4 : 3;
    s->peak_bytes = j->plan.peak_bytes;
    log_start(j, w);
    return UPRES_OK;
}

static void close_job(void *job)
{
    Seedvr2Session *j = job;
    if (!j) return;
    pipeline_close(j->pipeline);
    picture_device_close(j->pictures);
    seedvr2_close(j->networks);
    free(j);
}

/* --------------------------------------------------------------------------------------------------- frames in, out */

static bool select_frames(void *job, int64_t first, int64_t last)
{
    return pipeline_select(((Seedvr2Session *)job)->pipeline, first, last);
}

static int64_t wants(void *job)
{
    return pipeline_wants(((Seedvr2Session *)job)->pipeline);
}

static int64_t latency(void *job)
{
    return pipeline_latency(((Seedvr2Session *)job)->pipeline);
}

static upres_status push(void *job, const void *data, ptrdiff_t stride, Fault *f)
{
    return pipeline_push(((Seedvr2Session *)job)->pipeline, data, stride, f);
}

static upres_status cut(void *job, Fault *f)
{
    (void)job;
    return fault(f, UPRES_E_UNSUPPORTED,
                 "a scene cut was told to a SeedVR2 session, which carries nothing on that could be "
                 "reset; leave it out");
}

static upres_status drain(void *job, Fault *f)
{
    return pipeline_drain(((Seedvr2Session *)job)->pipeline, f);
}

/* Lines along the borders of tiles, over the finished picture. */
static void draw_tiles(const Seedvr2Session *j, float *rgb)
{
    bool decode = j->session->options.tile_debug == 2;
    VaeTiles t = decode ? j->plan.decode_tiles : j->plan.encode_tiles;
    if ((decode ? j->plan.decode_tile_count : j->plan.encode_tile_count) < 2) return;
    const SizePlan *z = &j->setup.picture.size;
    for (int axis = 0; axis < 2; axis++) {
        int cells = (axis ? z->padded_w : z->padded_h) / PIPELINE_SPATIAL;
        int side = axis ? t.tile_w : t.tile_h, overlap = axis ? t.overlap_w : t.overlap_h;
        int count = tile_spans(cells, side, overlap, PIPELINE_SPATIAL, NULL);
        TileSpan *span = malloc((size_t)count * sizeof *span);
        if (!span) return; /* an aid to the eye only */
        tile_spans(cells, side, overlap, PIPELINE_SPATIAL, span);
        for (int i = 0; i < count; i++) {
            session_draw_line(j->session, rgb, axis != 0, span[i].lo * PIPELINE_SPATIAL);
            session_draw_line(j->session, rgb, axis != 0, span[i].hi * PIPELINE_SPATIAL - 1);
        }
        free(span);
    }
}

static upres_status pull(void *job, PipelineResult *r, Fault *f)
{
    Seedvr2Session *j = job;
    upres_status status = pipeline_pull(j->pipeline, r, f);
    if (status == UPRES_OK && j->session->options.tile_debug) draw_tiles(j, r->rgb);
    return status;
}

/* -------------------------------------------------------------------------------------------------------------- plan */

static PhaseCost larger_phase(PhaseCost a, PhaseCost b)
{
    return a.arena_bytes > b.arena_bytes ? a : b;
}

static upres_status plan(const WeightSet *w, const upres_options *o, const upres_clip *clip, upres_plan_report *r,
                         Fault *f)
{
    PipelineSetup setup;
    Seedvr2Plan p;
    if (make_setup(o, clip, &setup, f) != UPRES_OK) return f->status;
    Seedvr2 *m = seedvr2_open(w, o, f);
    bool planned = m && seedvr2_plan(m, &setup, &p, f);
    seedvr2_close(m);
    if (!planned) return f->status;
    const SizePlan *z = &setup.picture.size;
    bool ends;
    int64_t batches = 1; /* of a clip without a known end */
    if (clip->frames) {
        Schedule schedule;
        schedule_init(&schedule, clip->frames, o->batch_size, o->overlap, o->uniform_batch != 0, o->prepend, false);
        batches = schedule_batch_count(&schedule, &ends);
        schedule_free(&schedule);
    }
    double whole = (double)(batches - 1);
    const BatchCost *last = clip->frames ? &p.last : &p.batch;
    r->resized_width = z->resized_w;
    r->resized_height = z->resized_h;
    r->output_width = z->true_w;
    r->output_height = z->true_h;
    r->padded_width = z->padded_w;
    r->padded_height = z->padded_h;
    r->batches = batches;
    r->frames_computed = (batches - 1) * p.batch.frames + last->frames;
    plan_set_tiles(&r->encode_tile, &r->encode_tile_overlap, &r->encode_tiles, p.encode_tiles, p.encode_tile_count);
    plan_set_tiles(&r->decode_tile, &r->decode_tile_overlap, &r->decode_tiles, p.decode_tiles, p.decode_tile_count);
    PhaseCost encode = larger_phase(p.batch.encode, last->encode),
              decode = larger_phase(p.batch.decode, last->decode);
    PhaseCost transformer = larger_phase(p.batch.transformer, last->transformer);
    plan_add_phase(r, "encode", &encode, whole * p.batch.encode.flop + last->encode.flop);
    plan_add_phase(r, "transformer", &transformer, whole * p.batch.transformer.flop + last->transformer.flop);
    plan_add_phase(r, "decode", &decode, whole * p.batch.decode.flop + last->decode.flop);
    r->arena_bytes = p.arena_bytes;
    r->weight_bytes = p.weight_bytes;
    r->fixed_bytes = p.fixed_bytes;
    r->host_peak_bytes = p.weights.all ? p.fixed_bytes : p.peak_bytes;
    const char *one_batch = clip->frames ? "" : "the number of frames is not known: figures are of one batch; ";
    snprintf(r->note, sizeof r->note, "%s%.185s", one_batch, p.note);
    return UPRES_OK;
}

const SessionKind session_seedvr2 = {
    .settle = options_for_seedvr2,
    .open = open_job,
    .close = close_job,
    .select = select_frames,
    .wants = wants,
    .latency = latency,
    .push = push,
    .cut = cut,
    .drain = drain,
    .pull = pull,
    .plan = plan,
};
