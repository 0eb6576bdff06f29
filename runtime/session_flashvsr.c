#include "runtime/device.h"
#include "runtime/flash_networks.h"
#include "runtime/plan.h"
#include "runtime/session_kind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct FlashSession {
    upres_session *session;
    StreamPipelineSetup setup;
    FlashNetworks *networks;
    FlashPlan plan;
    PictureDevice *pictures;
    uint64_t picture_bytes; /* of the first GPU's memory for it, and for what is read there; 0: there is none */
    StreamPipeline *pipeline;
    const ChunkCost *cost; /* of the present chunk */
    bool told;             /* that frames before those selected are computed too */
    unsigned kernels_told[UPRES_DEVICES_MAX]; /* in the log */
} FlashSession;

/* ---------------------------------------------------------------------------------------------------------- reports */

/* Results and operations of the whole job, once they can be known. */
static void count_work(FlashSession *j)
{
    upres_session *s = j->session;
    int64_t chunks = stream_pipeline_chunks(j->pipeline), results = stream_pipeline_results(j->pipeline);
    if (s->flop_total > 0 || chunks < 1 || results < 0) return;
    s->results_total = results;
    s->flop_total = j->plan.first.transformer + j->plan.first.decode +
                    (double)(chunks - 1) * (j->plan.next.transformer + j->plan.next.decode);
}

static void chunk_begins(void *user, int64_t k)
{
    FlashSession *j = user;
    for (int i = 0; i < PHASE_COUNT; i++) j->session->spent[i] = 0;
    j->cost = k ? &j->plan.next : &j->plan.first;
    count_work(j);
}

static void phase_begins(void *user, PipelinePhase phase)
{
    FlashSession *j = user;
    session_turn_to(j->session, (int)phase);
}

static void network_progress(void *user, double done)
{
    FlashSession *j = user;
    upres_session *s = j->session;
    double tile = s->activity == PHASE_DECODE ? j->cost->transformer / j->plan.tiles : 0;
    s->flop_part = done * (j->cost->transformer + j->cost->decode) + tile;
    session_report(s, done);
}

static void chunk_ends(void *user, int64_t k)
{
    FlashSession *j = user;
    upres_session *s = j->session;
    session_turn_to(s, -1);
    s->flop_done += j->cost->transformer + j->cost->decode;
    s->flop_part = 0;
    options_log(&s->options, UPRES_LOG_INFO, "chunk %lld (frames %lld to %lld): transformer %.2f s, decode %.2f s",
                (long long)k, (long long)stream_chunk_first(k), (long long)stream_chunk_first(k + 1) - 1,
                s->spent[PHASE_TRANSFORMER], s->spent[PHASE_DECODE]);
    for (int i = 0; i < j->plan.devices; i++) {
        const DevTotals totals = flash_networks_totals(j->networks, i);
        device_log_kernels(&s->options, &totals, &j->kernels_told[i]);
    }
}

static void finishing(void *user)
{
    FlashSession *j = user;
    session_turn_to(j->session, PHASE_COLOR);
}

/* Devices that there is nothing for. A chunk looks at those before it, so there is nothing to share out but tiles. */
static bool note_idle(const upres_options *o, const FlashPlan *p, char *text, size_t size)
{
    const int last = (int)o->devices[p->devices - 1];
    if (o->device_count <= p->devices) return false;
    if (p->tiles == 1)
        snprintf(text, size, "without tiles only cuda:%d has work; --tile N shares the picture out, to slightly other pixels", last);
    else
        snprintf(text, size, "with %d tiles the devices behind cuda:%d have no work; a smaller --tile makes more", p->tiles, last);
    return true;
}

static void log_start(const FlashSession *j, const WeightSet *w)
{
    static const char *const modes[] = {
        [UPRES_MODE_TINY_LONG] = "tiny-long", [UPRES_MODE_TINY] = "tiny", [UPRES_MODE_FULL] = "full"};
    const upres_clip *clip = &j->session->clip;
    const upres_options *o = &j->session->options;
    const StreamSize *z = &j->setup.picture.size;
    const FlashPlan *p = &j->plan;
    if (o->scale < 4)
        options_log(o, UPRES_LOG_NOTE, "--scale %g: FlashVSR is trained for 4 and does less well below", o->scale);
    options_log(o, UPRES_LOG_NOTE, "%s", flash_networks_version(j->networks));
    if (p->note[0]) options_log(o, UPRES_LOG_NOTE, "%s", p->note);
    char idle[128];
    if (note_idle(o, p, idle, sizeof idle)) options_log(o, UPRES_LOG_NOTE, "%s", idle);
    if (!o->log) return;
    for (size_t i = 0; i < weight_set_part_count(w); i++) {
        const WeightPart *part = weight_set_part(w, i);
        options_log(o, UPRES_LOG_INFO, "%s: %s%s: %s", weight_file_path(part->file), weight_network_name(part->network),
                    flash_networks_uses(j->networks, part) ? "" : " (not used)", part->summary ? part->summary : "");
    }
    for (int i = 0; i < p->devices; i++)
        options_log(o, UPRES_LOG_INFO, "device %s, mode %s", flash_networks_describe(j->networks, i), modes[o->mode]);
    options_log(o, UPRES_LOG_INFO, "size %dx%d -> resized and written %dx%d, computed %dx%d", clip->width, clip->height,
                z->scaled_w, z->scaled_h, z->padded_w, z->padded_h);
    if (p->tiles > 1)
        options_log(o, UPRES_LOG_INFO, "%d tiles of %d, overlap %d", p->tiles, p->tile, p->overlap);
    else
        options_log(o, UPRES_LOG_INFO, "untiled");
    cost_log(o, &(JobMemory){.arena_bytes = p->arena_bytes, .weight_bytes = p->weight_bytes, .picture_bytes = j->picture_bytes,
                             .fixed_bytes = p->fixed_bytes, .limit = p->limit, .gpu = p->weights.all > 0, .devices = p->devices});
}

/* ---------------------------------------------------------------------------------------------------- open and close */

static upres_status make_setup(const upres_options *o, const upres_clip *clip, StreamPipelineSetup *setup, Fault *f)
{
    enum { LONGEST = 16384 };
    StreamSize size = stream_size(clip->height, clip->width, o->scale);
    if (size.scaled_h > LONGEST || size.scaled_w > LONGEST)
        return fault(f, UPRES_E_ARGUMENT, "the result would be %dx%d; sides up to %d are served, use a smaller --scale",
                     size.scaled_w, size.scaled_h, LONGEST);
    *setup = (StreamPipelineSetup){
        .picture = {.options = o,
                    .width = clip->width,
                    .height = clip->height,
                    .channels = clip->channels,
                    .bits = clip->bits,
                    .size = size,
                    .clamp = o->mode == UPRES_MODE_FULL},
        .frames = clip->frames,
    };
    setup->picture.form = session_codes(o, clip, stream_pictures_has_alpha(&setup->picture) ? 4 : 3);
    return UPRES_OK;
}

/* What is beside the networks in a GPU's memory: for results. frame: as PictureJob has it. */
static uint64_t picture_bytes(const StreamPipelineSetup *s, const DevSetup *d, const FlashPlan *plan, Prediction *frame)
{
    return picture_device_beside(stream_pictures_device_bytes(&s->picture, d, frame), plan->limit, plan->peak_bytes);
}

/* And beside so much of that, for what a device of several reads. */
static uint64_t reader_bytes(const StreamPipelineSetup *s, const DevSetup *d, const FlashPlan *plan, uint64_t taken)
{
    StreamPictureSetup low = s->picture;
    low.low_only = true;
    if (plan->devices == 1) return 0;
    return picture_device_beside(stream_pictures_device_bytes(&low, d, NULL), plan->limit, plan->peak_bytes + taken);
}

static PictureDevice *open_pictures(const DevSetup *d, uint64_t bytes)
{
    return bytes > 0 ? picture_device_open(d, bytes, bytes) : NULL;
}

static void open_picture_devices(FlashSession *j)
{
    const DevSetup *first = flash_networks_setup(j->networks, 0);
    const uint64_t results = picture_bytes(&j->setup, first, &j->plan, NULL);
    j->picture_bytes = results + reader_bytes(&j->setup, first, &j->plan, results);
    j->setup.picture.device = j->pictures = open_pictures(first, results);
    if (j->plan.devices == 1) return;
    j->setup.readers = j->plan.devices;
    for (int i = 0; i < j->plan.devices; i++) {
        const DevSetup *d = flash_networks_setup(j->networks, i);
        j->setup.reader_device[i] = open_pictures(d, reader_bytes(&j->setup, d, &j->plan, i == 0 ? results : 0));
    }
}

static upres_status open_job(upres_session *s, const WeightSet *w, Fault *f)
{
    FlashSession *j = s->job = calloc(1, sizeof *j);
    if (!j) return fault(f, UPRES_E_MEMORY, "no memory for a session");
    j->session = s;
    if (make_setup(&s->options, &s->clip, &j->setup, f) != UPRES_OK) return f->status;
    const StreamSize size = j->setup.picture.size;
    const FlashWatch watch = {j, chunk_begins, phase_begins, network_progress, chunk_ends};
    j->networks = flash_networks_open(w, &s->options, f);
    if (!j->networks || !flash_networks_start(j->networks, &j->setup, &j->plan, watch, f)) return f->status;
    open_picture_devices(j);
    s->channels = stream_pictures_has_alpha(&j->setup.picture) ? 4 : 3;
    j->setup.networks = flash_networks_run(j->networks);
    j->setup.user = j;
    j->setup.finishing = finishing;
    j->pipeline = stream_pipeline_open(&j->setup, f);
    if (!j->pipeline) return f->status;
    s->width = size.scaled_w;
    s->height = size.scaled_h;
    s->peak_bytes = j->plan.peak_bytes + j->picture_bytes;
    log_start(j, w);
    return UPRES_OK;
}

static void close_job(void *job)
{
    FlashSession *j = job;
    if (!j) return;
    stream_pipeline_close(j->pipeline);
    picture_device_close(j->pictures);
    for (int i = 0; i < j->setup.readers; i++) picture_device_close(j->setup.reader_device[i]);
    flash_networks_close(j->networks);
    free(j);
}

/* --------------------------------------------------------------------------------------------------- frames in, out */

static bool select_frames(void *job, int64_t first, int64_t last)
{
    FlashSession *j = job;
    if (first > 0 && !j->told)
        options_log(&j->session->options, UPRES_LOG_NOTE,
                    "FlashVSR is a stream: frames before number %lld (from 0) are computed too", (long long)first);
    j->told = true;
    return stream_pipeline_select(j->pipeline, first, last);
}

static int64_t wants(void *job)
{
    return stream_pipeline_wants(((FlashSession *)job)->pipeline);
}

static int64_t latency(void *job)
{
    return stream_pipeline_latency(((FlashSession *)job)->pipeline);
}

static upres_status push(void *job, const void *data, ptrdiff_t stride, Fault *f)
{
    return stream_pipeline_push(((FlashSession *)job)->pipeline, data, stride, f);
}

static upres_status cut(void *job, Fault *f)
{
    (void)f;
    stream_pipeline_cut(((FlashSession *)job)->pipeline);
    return UPRES_OK;
}

static upres_status drain(void *job, Fault *f)
{
    return stream_pipeline_drain(((FlashSession *)job)->pipeline, f);
}

/* Lines along the borders of tiles, over the finished picture. */
static void draw_tiles(const FlashSession *j, float *rgb)
{
    const StreamSize *z = &j->setup.picture.size;
    StreamTile y, x;
    for (int i = 0; j->plan.tiles > 1 && flash_networks_tile(j->networks, i, &y, &x); i++) {
        session_draw_line(j->session, rgb, false, y.lo - z->top);
        session_draw_line(j->session, rgb, false, y.hi - 1 - z->top);
        session_draw_line(j->session, rgb, true, x.lo - z->left);
        session_draw_line(j->session, rgb, true, x.hi - 1 - z->left);
    }
}

static upres_status pull(void *job, PipelineResult *r, Fault *f)
{
    FlashSession *j = job;
    upres_status status = stream_pipeline_pull(j->pipeline, r, f);
    if (status == UPRES_OK && j->session->options.tile_debug) draw_tiles(j, r->rgb);
    return status;
}

/* -------------------------------------------------------------------------------------------------------------- plan */

static void add_note(upres_plan_report *r, const char *text)
{
    const size_t length = strlen(r->note);
    if (text[0]) snprintf(r->note + length, sizeof r->note - length, "%s%s", length > 0 ? "; " : "", text);
}

static void fill_notes(upres_plan_report *r, const upres_options *o, const FlashNetworks *m, const FlashPlan *p)
{
    char idle[128];
    if (note_idle(o, p, idle, sizeof idle)) add_note(r, idle);
    if (p->devices > 1) add_note(r, "memory of each device, time of all");
    add_note(r, p->note);
    add_note(r, flash_networks_version(m));
}

/* The results that the clip's ranges ask for, and the last one; -1: not known. */
static bool find_last(const upres_options *o, const upres_clip *clip, int64_t *results, int64_t *last, Fault *f)
{
    Schedule schedule;
    *results = *last = -1;
    if (!clip->frames) return true;
    const bool fine = session_schedule(o, clip, false, &schedule, f);
    if (fine) {
        *results = schedule_results(&schedule);
        *last = schedule.wanted_count ? schedule.wanted[schedule.wanted_count - 1].last : clip->frames - 1;
        if (*last > clip->frames - 1) *last = clip->frames - 1;
    }
    schedule_free(&schedule);
    return fine;
}

static upres_status plan(const WeightSet *w, const upres_options *o, const upres_clip *clip, upres_plan_report *r,
                         Fault *f)
{
    StreamPipelineSetup setup;
    FlashPlan p;
    Prediction frame = {.count = 0};
    int64_t results, last;
    if (make_setup(o, clip, &setup, f) != UPRES_OK || !find_last(o, clip, &results, &last, f)) return f->status;
    if (results == 0) return session_no_frames(clip, f);
    FlashNetworks *m = flash_networks_open(w, o, f);
    bool planned = m && flash_networks_plan(m, &setup, &p, f);
    if (planned) fill_notes(r, o, m, &p);
    if (planned) r->picture_bytes = picture_bytes(&setup, flash_networks_setup(m, 0), &p, &frame);
    if (planned) r->picture_bytes += reader_bytes(&setup, flash_networks_setup(m, 0), &p, r->picture_bytes);
    flash_networks_close(m);
    if (!planned) return f->status;
    const StreamSize *z = &setup.picture.size;
    int64_t chunks = last < 0 ? 1 : stream_chunk_of(last) + 1; /* not known: the first chunk */
    if (results >= 0) r->frames = results;
    double later = (double)(chunks - 1);
    PhaseCost cost = {.arena_bytes = p.arena_bytes, .weight_bytes = p.weight_bytes}; /* the phases' memories live side by side */
    r->resized_width = r->output_width = z->scaled_w;
    r->resized_height = r->output_height = z->scaled_h;
    r->padded_width = z->padded_w;
    r->padded_height = z->padded_h;
    r->batches = chunks;
    r->frames_computed = stream_chunk_first(chunks);
    r->decode_tile = p.tiles > 1 ? p.tile : 0;
    r->decode_tile_overlap = p.overlap;
    r->decode_tiles = p.tiles;
    if (o->vae_decode_tile > 0) { /* of the decoder alone: exact, without overlap; counted within one of the others */
        int side = o->vae_decode_tile / 8 * 8, tall = p.tiles > 1 ? p.tile : z->padded_h,
            wide = p.tiles > 1 ? p.tile : z->padded_w;
        r->decode_tile = side;
        r->decode_tile_overlap = 0;
        r->decode_tiles = ((tall + side - 1) / side) * ((wide + side - 1) / side);
    }
    PhaseCost transformer = cost, decode = cost;
    transformer.flop = p.first.transformer + later * p.next.transformer;
    transformer.prediction = p.first.transformer_time;
    prediction_add(&transformer.prediction, &p.next.transformer_time, later);
    decode.flop = p.first.decode + later * p.next.decode;
    decode.prediction = p.first.decode_time;
    prediction_add(&decode.prediction, &p.next.decode_time, later);
    plan_add_phase(r, "transformer", &transformer, transformer.flop);
    plan_add_phase(r, "decode", &decode, decode.flop);
    for (size_t i = 0; p.devices > 1 && i < r->phase_count; i++) plan_share(r, i, p.tiles, p.devices);
    plan_add_pictures(r, &frame);
    r->arena_bytes = p.arena_bytes;
    r->weight_bytes = p.weight_bytes;
    r->fixed_bytes = p.fixed_bytes;
    r->limit_bytes = p.limit;
    r->host_peak_bytes = p.weights.all ? p.fixed_bytes : p.peak_bytes;
    return UPRES_OK;
}

const SessionKind session_flashvsr = {
    .settle = options_for_flashvsr,
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
