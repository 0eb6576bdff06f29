#include "runtime/session.h"

#include "kernels/cpu/quantize.h"
#include "runtime/system.h"
#include "runtime/tile.h"

#include <stdlib.h>
#include <string.h>

static const char *const PHASE_NAMES[PHASE_COUNT] = {"encode", "transformer", "decode", "color"};

struct upres_session {
    upres_options options;
    upres_clip clip;
    PipelineSetup setup;
    Seedvr2 *networks;
    Seedvr2Plan plan;
    Pipeline *pipeline;

    int width, height, channels, bits, dither; /* of results */
    void *codes;                               /* the result that was given out last */
    bool pushed;

    /* the course of things */
    double opened, since;           /* since: when the present activity began */
    int activity;                   /* PipelinePhase, or -1: none */
    double spent[PHASE_COUNT];      /* seconds of the present batch */
    const BatchCost *cost;          /* of the present batch */
    double batch_flop;              /* done of it */
    double flop_done, flop_total;   /* of whole batches; total 0: not known */
    int64_t results, results_total; /* total 0: not known */
};

/* ---------------------------------------------------------------------------------------------------------- reports */

static void turn_to(upres_session *s, int activity)
{
    double now = system_seconds();
    if (s->activity >= 0) s->spent[s->activity] += now - s->since;
    s->activity = activity;
    s->since = now;
}

/* Results and batches of the whole job, once they can be known. */
static void count_work(upres_session *s)
{
    const Schedule *schedule = pipeline_schedule(s->pipeline);
    if (s->flop_total > 0 || schedule->frames < 0) return;
    const BatchCost *b = &s->plan.batch, *last = &s->plan.last;
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

static void report(upres_session *s, double phase_done)
{
    if (!s->options.progress || s->activity < 0) return;
    double work = s->flop_total > 0 ? (s->flop_done + s->batch_flop) / s->flop_total : 0;
    upres_progress p = {
        .struct_size = sizeof p,
        .phase = PHASE_NAMES[s->activity],
        .frames_done = s->results,
        .frames_total = s->results_total,
        .phase_done = phase_done,
        .work_done = work < 1 ? work : 1,
        .seconds = system_seconds() - s->opened,
        .peak_bytes = s->plan.peak_bytes,
    };
    s->options.progress(s->options.user, &p);
}

static void network_progress(void *user, double done)
{
    upres_session *s = user;
    const BatchCost *c = s->cost;
    if (c && s->activity == PHASE_ENCODE) s->batch_flop = c->encode.flop * done;
    if (c && s->activity == PHASE_TRANSFORMER) s->batch_flop = c->encode.flop + c->transformer.flop * done;
    if (c && s->activity == PHASE_DECODE) s->batch_flop = c->encode.flop + c->transformer.flop + c->decode.flop * done;
    report(s, done);
}

static void batch_begins(void *user, int64_t k, const Batch *b)
{
    upres_session *s = user;
    (void)k;
    for (int i = 0; i < PHASE_COUNT; i++) s->spent[i] = 0;
    s->cost = b->frames == s->plan.batch.frames ? &s->plan.batch : &s->plan.last;
    count_work(s);
}

static void phase_begins(void *user, PipelinePhase phase)
{
    upres_session *s = user;
    turn_to(s, (int)phase);
}

static void batch_ends(void *user, int64_t k, const Batch *b)
{
    upres_session *s = user;
    turn_to(s, -1);
    const Schedule *schedule = pipeline_schedule(s->pipeline);
    if (s->cost) s->flop_done += s->cost->encode.flop + s->cost->transformer.flop + s->cost->decode.flop;
    s->cost = NULL;
    s->batch_flop = 0;
    options_log(
        &s->options, UPRES_LOG_INFO,
        "batch %lld (frames %lld to %lld, %d computed): encode %.2f s, transformer %.2f s, decode %.2f s, color %.2f s",
        (long long)k, (long long)(b->start - schedule->prepend), (long long)(b->end - 1 - schedule->prepend), b->frames,
        s->spent[PHASE_ENCODE], s->spent[PHASE_TRANSFORMER], s->spent[PHASE_DECODE], s->spent[PHASE_COLOR]);
}

static void log_tiles(const upres_session *s, const char *half, VaeTiles tiles, int count)
{
    if (count > 1)
        options_log(&s->options, UPRES_LOG_INFO, "%s in %d tiles of %d, overlap %d", half, count, tiles.tile_h,
                    tiles.overlap_h);
    else
        options_log(&s->options, UPRES_LOG_INFO, "%s untiled", half);
}

static void log_start(const upres_session *s, const WeightSet *w)
{
    const upres_options *o = &s->options;
    const SizePlan *z = &s->setup.picture.size;
    const Seedvr2Plan *p = &s->plan;
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
    options_log(o, UPRES_LOG_INFO, "device %s, precision fp32", seedvr2_describe(s->networks));
    options_log(o, UPRES_LOG_INFO, "size %dx%d -> resized %dx%d -> written %dx%d, computed %dx%d", s->clip.width,
                s->clip.height, z->resized_w, z->resized_h, z->true_w, z->true_h, z->padded_w, z->padded_h);
    options_log(o, UPRES_LOG_INFO, "batches of %d frames (%d computed), overlap %d, prepended %d", o->batch_size,
                p->batch.frames, o->overlap, o->prepend);
    log_tiles(s, "encode", p->encode_tiles, p->encode_tile_count);
    log_tiles(s, "decode", p->decode_tiles, p->decode_tile_count);
    options_log(o, UPRES_LOG_INFO, "memory: networks %s, weights %s, frames and program %s; %s can be had",
                cost_bytes(p->arena_bytes, arena), cost_bytes(p->weight_bytes, weights),
                cost_bytes(p->fixed_bytes, fixed), p->limit ? cost_bytes(p->limit, limit) : "an unknown amount");
}

/* -------------------------------------------------------------------------------------------------- open and close */

static upres_status check_clip(const upres_clip *c, Fault *f)
{
    if (c->width < 1 || c->width > 16384 || c->height < 1 || c->height > 16384)
        return fault(f, UPRES_E_ARGUMENT, "the clip is %dx%d; sides from 1 to 16384 are served", c->width, c->height);
    if (c->channels < 1 || c->channels > 4)
        return fault(f, UPRES_E_ARGUMENT,
                     "the clip has %d channels; give 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA)", c->channels);
    if (c->bits < 8 || c->bits > 16)
        return fault(f, UPRES_E_ARGUMENT, "the clip has %d bits a sample; 8 to 16 are served", c->bits);
    if (c->frames < 0 || c->frames > INT32_MAX / 2)
        return fault(f, UPRES_E_ARGUMENT, "the clip has %lld frames; give 0 (not known) to %d", (long long)c->frames,
                     INT32_MAX / 2);
    return UPRES_OK;
}

upres_status session_setup(const upres_options *o, const upres_clip *clip, PipelineSetup *setup, Fault *f)
{
    if (check_clip(clip, f) != UPRES_OK) return f->status;
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

static upres_status open_parts(upres_session *s, const WeightSet *w, Fault *f)
{
    if (session_setup(&s->options, &s->clip, &s->setup, f) != UPRES_OK) return f->status;
    s->networks = seedvr2_open(w, &s->options, f);
    if (!s->networks || !seedvr2_plan(s->networks, &s->setup, &s->plan, f) ||
        !seedvr2_start(s->networks, &s->plan, network_progress, s, f))
        return f->status;
    s->setup.networks = seedvr2_networks(s->networks, &s->plan);
    s->setup.watch = (PipelineWatch){s, batch_begins, phase_begins, batch_ends};
    s->pipeline = pipeline_open(&s->setup, f);
    if (!s->pipeline) return f->status;
    s->width = s->setup.picture.size.true_w;
    s->height = s->setup.picture.size.true_h;
    s->channels = pictures_has_alpha(&s->setup.picture) ? 4 : 3;
    s->bits = options_bits(&s->options, s->clip.bits);
    s->dither = options_dither(&s->options, s->clip.bits);
    s->codes = malloc((size_t)s->width * (size_t)s->height * (size_t)s->channels * (s->bits > 8 ? 2 : 1));
    if (!s->codes) return fault(f, UPRES_E_MEMORY, "no memory for a result of %dx%d", s->width, s->height);
    log_start(s, w);
    return UPRES_OK;
}

upres_status session_open(upres_session **out, const WeightSet *w, const upres_options *o, const upres_clip *clip,
                          Fault *f)
{
    upres_session *s = calloc(1, sizeof *s);
    if (!s) return fault(f, UPRES_E_MEMORY, "no memory for a session");
    s->options = *o;
    s->clip = *clip;
    s->activity = -1;
    s->opened = system_seconds();
    if (open_parts(s, w, f) != UPRES_OK) {
        session_close(s);
        return f->status;
    }
    *out = s;
    return UPRES_OK;
}

void session_close(upres_session *s)
{
    if (!s) return;
    pipeline_close(s->pipeline);
    seedvr2_close(s->networks);
    free(s->codes);
    free(s);
}

void session_form(const upres_session *s, int32_t *width, int32_t *height, int32_t *channels, int32_t *bits)
{
    if (width) *width = s->width;
    if (height) *height = s->height;
    if (channels) *channels = s->channels;
    if (bits) *bits = s->bits;
}

/* --------------------------------------------------------------------------------------------------- frames in, out */

upres_status session_select(upres_session *s, int64_t first, int64_t last, Fault *f)
{
    if (s->pushed)
        return fault(f, UPRES_E_ARGUMENT,
                     "frames %lld to %lld were asked for after the first push; select before pushing", (long long)first,
                     (long long)last);
    if (first < 0 || last < first)
        return fault(f, UPRES_E_ARGUMENT, "frames %lld to %lld are no range; numbers count from 0 and rise",
                     (long long)first, (long long)last);
    if (!pipeline_select(s->pipeline, first, last)) return fault(f, UPRES_E_MEMORY, "no memory for a list of frames");
    return UPRES_OK;
}

int64_t session_wants(const upres_session *s)
{
    return pipeline_wants(s->pipeline);
}

int64_t session_latency(const upres_session *s)
{
    return pipeline_latency(s->pipeline);
}

upres_status session_push(upres_session *s, const upres_frame *frame, Fault *f)
{
    const upres_clip *c = &s->clip;
    if (frame->width != c->width || frame->height != c->height || frame->channels != c->channels ||
        frame->bits != c->bits)
        return fault(f, UPRES_E_INPUT,
                     "frame %lld is %dx%d with %d channels of %d bits, but the clip is %dx%d with %d of %d",
                     (long long)frame->number, frame->width, frame->height, frame->channels, frame->bits, c->width,
                     c->height, c->channels, c->bits);
    size_t row = (size_t)c->width * (size_t)c->channels * (c->bits > 8 ? 2 : 1);
    if (!frame->data || (c->height > 1 && (size_t)(frame->stride < 0 ? -frame->stride : frame->stride) < row))
        return fault(f, UPRES_E_ARGUMENT, "frame %lld has %s; rows of %zu bytes are needed", (long long)frame->number,
                     frame->data ? "a stride that is too small" : "no data", row);
    int64_t wanted = session_wants(s);
    if (wanted < 0)
        return fault(f, UPRES_E_ARGUMENT, "frame %lld was pushed, but no more are needed; pull the results",
                     (long long)frame->number);
    if (frame->number != wanted)
        return fault(f, UPRES_E_ARGUMENT, "frame %lld was pushed, but %lld is wanted; ask upres_session_wants",
                     (long long)frame->number, (long long)wanted);
    s->pushed = true;
    return pipeline_push(s->pipeline, frame->data, frame->stride, f);
}

upres_status session_drain(upres_session *s, Fault *f)
{
    s->pushed = true;
    return pipeline_drain(s->pipeline, f);
}

/* Lines of one pixel along the borders of tiles: yellow, over the finished picture. */
static void draw_tiles(const upres_session *s, float *rgb)
{
    bool decode = s->options.tile_debug == 2;
    VaeTiles t = decode ? s->plan.decode_tiles : s->plan.encode_tiles;
    if ((decode ? s->plan.decode_tile_count : s->plan.encode_tile_count) < 2) return;
    const SizePlan *z = &s->setup.picture.size;
    size_t w = (size_t)s->width, h = (size_t)s->height;
    for (int axis = 0; axis < 2; axis++) {
        int cells = (axis ? z->padded_w : z->padded_h) / PIPELINE_SPATIAL;
        int side = axis ? t.tile_w : t.tile_h, overlap = axis ? t.overlap_w : t.overlap_h;
        int count = tile_spans(cells, side, overlap, PIPELINE_SPATIAL, NULL);
        TileSpan *span = malloc((size_t)count * sizeof *span);
        if (!span) return; /* an aid to the eye only */
        tile_spans(cells, side, overlap, PIPELINE_SPATIAL, span);
        for (int i = 0; i < 2 * count; i++) {
            size_t at = (size_t)((i & 1 ? span[i / 2].hi * PIPELINE_SPATIAL - 1 : span[i / 2].lo * PIPELINE_SPATIAL));
            if (at >= (axis ? w : h)) continue;
            for (size_t along = 0; along < (axis ? h : w); along++) {
                size_t pixel = axis ? along * w + at : at * w + along;
                rgb[pixel] = rgb[w * h + pixel] = 1;
                rgb[2 * w * h + pixel] = 0;
            }
        }
        free(span);
    }
}

static void quantize(upres_session *s, const PipelineResult *r)
{
    int bytes = s->bits > 8 ? 2 : 1;
    ptrdiff_t stride = (ptrdiff_t)s->width * s->channels * bytes;
    for (int c = 0; c < s->channels; c++) {
        const float *plane = c == 3 ? r->alpha : r->rgb + (size_t)c * (size_t)s->width * (size_t)s->height;
        quantize_plane(plane, s->height, s->width, s->bits, s->dither != 0, s->options.seed, r->number, c,
                       (char *)s->codes + c * bytes, stride, s->channels);
    }
}

upres_status session_pull(upres_session *s, upres_frame *out, Fault *f)
{
    if (s->options.cancel && s->options.cancel(s->options.user))
        return fault(f, UPRES_E_CANCELLED, "the job was cancelled");
    PipelineResult r;
    upres_status status = pipeline_pull(s->pipeline, &r, f);
    if (status == UPRES_OK) {
        if (s->options.tile_debug) draw_tiles(s, r.rgb);
        quantize(s, &r);
        s->results++;
        report(s, 1);
        out->number = r.number;
        out->width = s->width;
        out->height = s->height;
        out->channels = s->channels;
        out->bits = s->bits;
        out->data = s->codes;
        out->stride = (ptrdiff_t)s->width * s->channels * (s->bits > 8 ? 2 : 1);
    }
    turn_to(s, -1);
    return status;
}
