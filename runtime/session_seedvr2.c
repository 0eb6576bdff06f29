#include "runtime/device.h"
#include "runtime/mailbox.h"
#include "runtime/plan.h"
#include "runtime/seedvr2.h"
#include "runtime/seedvr2_tiles.h"
#include "runtime/session_kind.h"
#include "runtime/sync.h"
#include "runtime/system.h"
#include "runtime/tile.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One of the job's devices, and what it is at. */
typedef struct Course {
    struct Seedvr2Session *job;
    Seedvr2 *networks;
    char name[16];         /* "cuda:1"; with several devices */
    upres_options options; /* the session's; with several devices with callbacks for their threads */
    double since, spent[PHASE_COUNT]; /* with several devices: seconds of the present batch */
    unsigned kernels_told; /* in the log */

    /* under the job's lock */
    const BatchCost *cost; /* of the present batch; NULL: none */
    int64_t batch;
    PipelinePhase phase;
    double phase_done;
} Course;

typedef struct Seedvr2Session {
    upres_session *session;
    PipelineSetup setup;
    Seedvr2Plan plan;
    PictureDevice *pictures; /* of the first device */
    uint64_t picture_bytes;  /* of its memory for that, and for its inputs; 0: there is none */
    Pipeline *pipeline;

    Course course[UPRES_DEVICES_MAX];
    int device_count;
    SharedTiles *tiles; /* several devices on a clip of one batch; NULL otherwise */
    bool apart;         /* the devices work on batches of their own, each with a thread */
    Lock lock;
    double flop_done; /* of whole batches; under the lock */
    Mailbox *mailbox; /* several devices: what they have to say */
    atomic_bool stop; /* several devices: the job was cancelled or is being closed */
} Seedvr2Session;

static Seedvr2 *first_of(const Seedvr2Session *j)
{
    return j->course[0].networks;
}

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
    s->results_total = schedule_results(schedule);
}

/* Operations of its batch that a device has done. */
static double flop_of(const Course *c)
{
    const BatchCost *b = c->cost;
    if (!b) return 0;
    switch (c->phase) {
    case PHASE_ENCODE: return b->encode.flop * c->phase_done;
    case PHASE_TRANSFORMER: return b->encode.flop + b->transformer.flop * c->phase_done;
    default: return b->encode.flop + b->transformer.flop + b->decode.flop * c->phase_done;
    }
}

/* Puts the sums into the session; returns the device with the earliest batch, which speaks for all. NULL: none works. */
static const Course *sum_up(Seedvr2Session *j)
{
    const Course *earliest = NULL;
    j->session->flop_done = j->flop_done;
    j->session->flop_part = 0;
    for (int i = 0; i < j->device_count; i++) {
        const Course *c = &j->course[i];
        j->session->flop_part += flop_of(c);
        if (c->cost && (!earliest || c->batch < earliest->batch)) earliest = c;
    }
    return earliest;
}

/* On the caller's thread, while several devices work. */
static bool waiting(void *user)
{
    Seedvr2Session *j = user;
    upres_session *s = j->session;
    count_work(j);
    lock_take(&j->lock);
    const Course *c = sum_up(j);
    const int phase = c ? (int)c->phase : -1;
    const double done = c ? c->phase_done : 0;
    lock_give(&j->lock);
    mailbox_tell(j->mailbox, &s->options);
    session_turn_to(s, phase);
    session_report(s, done);
    if (s->options.cancel && s->options.cancel(s->options.user)) atomic_store(&j->stop, true);
    return !atomic_load(&j->stop);
}

static void network_progress(void *user, double done)
{
    Course *c = user;
    Seedvr2Session *j = c->job;
    lock_take(&j->lock);
    c->phase_done = done;
    if (!j->apart) sum_up(j);
    lock_give(&j->lock);
    if (j->tiles) waiting(j); /* the first device, by itself: what it is told by others is told to it here */
    else if (!j->apart) session_report(j->session, done);
}

static void batch_begins(void *user, int device, int64_t k, const Batch *b)
{
    Seedvr2Session *j = user;
    Course *c = &j->course[device];
    for (int i = 0; i < PHASE_COUNT; i++) c->spent[i] = 0;
    lock_take(&j->lock);
    c->cost = b->frames == j->plan.batch.frames ? &j->plan.batch : &j->plan.last;
    c->batch = k;
    c->phase = PHASE_ENCODE;
    c->phase_done = 0;
    lock_give(&j->lock);
    c->since = system_seconds();
    if (j->apart) return;
    for (int i = 0; i < PHASE_COUNT; i++) j->session->spent[i] = 0;
    count_work(j);
}

static void spend(Course *c, PipelinePhase phase)
{
    const double now = system_seconds();
    c->spent[phase] += now - c->since;
    c->since = now;
}

static void phase_begins(void *user, int device, PipelinePhase phase)
{
    Seedvr2Session *j = user;
    if (device == PIPELINE_CALLER || !j->apart) session_turn_to(j->session, (int)phase);
    if (device == PIPELINE_CALLER) return;
    Course *c = &j->course[device];
    spend(c, c->phase);
    lock_take(&j->lock);
    if (phase != c->phase) c->phase_done = 0;
    c->phase = phase;
    lock_give(&j->lock);
}

static void batch_ends(void *user, int device, int64_t k, const Batch *b)
{
    Seedvr2Session *j = user;
    upres_session *s = j->session;
    Course *c = &j->course[device];
    const int prepend = s->options.prepend;
    const double *spent = j->apart ? c->spent : s->spent;
    char color[32] = "";
    spend(c, c->phase);
    if (!j->apart) {
        session_turn_to(s, -1);
        snprintf(color, sizeof color, ", color %.2f s", s->spent[PHASE_COLOR]);
    }
    lock_take(&j->lock);
    j->flop_done += c->cost->encode.flop + c->cost->transformer.flop + c->cost->decode.flop;
    c->cost = NULL;
    if (!j->apart) sum_up(j);
    lock_give(&j->lock);
    options_log(j->apart ? &c->options : &s->options, UPRES_LOG_INFO,
                "batch %lld (frames %lld to %lld, %d computed): encode %.2f s, transformer %.2f s, decode %.2f s%s",
                (long long)k, (long long)(b->start - prepend), (long long)(b->end - 1 - prepend), b->frames,
                spent[PHASE_ENCODE], spent[PHASE_TRANSFORMER], spent[PHASE_DECODE], color);
    for (int i = 0; i < j->device_count; i++) {
        if (j->apart && i != device) continue;
        const DevTotals totals = seedvr2_totals(j->course[i].networks);
        device_log_kernels(&j->course[i].options, &totals, &j->course[i].kernels_told);
    }
}

static void batch_fails(void *user, int device, Fault *f)
{
    Seedvr2Session *j = user;
    seedvr2_name_device(j->course[device].networks, f);
}

/* Callbacks of the networks of several devices, on their threads. */
static void post(void *user, upres_log_level level, const char *sentence)
{
    const Course *c = user;
    const bool named = strncmp(sentence, "cuda:", 5) == 0; /* a failure */
    mailbox_post(c->job->mailbox, level, named ? NULL : c->name, sentence);
}

static int stopped(void *user)
{
    return atomic_load(&((Course *)user)->job->stop);
}

static void log_tiles(const upres_options *o, const char *half, VaeTiles tiles, int count)
{
    const char *how = tiles.thrifty ? ", thriftily" : "";
    if (count > 1)
        options_log(o, UPRES_LOG_INFO, "%s in %d tiles of %d, overlap %d%s", half, count, tiles.tile_h, tiles.overlap_h, how);
    else
        options_log(o, UPRES_LOG_INFO, "%s untiled%s", half, how);
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
    for (int i = 0; i < j->device_count; i++)
        options_log(o, UPRES_LOG_INFO, "device %s", seedvr2_describe(j->course[i].networks));
    options_log(o, UPRES_LOG_INFO, "size %dx%d -> resized %dx%d -> written %dx%d, computed %dx%d", clip->width,
                clip->height, z->resized_w, z->resized_h, z->true_w, z->true_h, z->padded_w, z->padded_h);
    options_log(o, UPRES_LOG_INFO, "batches of %d frames (%d computed), overlap %d, prepended %d", o->batch_size,
                p->batch.frames, o->overlap, o->prepend);
    log_tiles(o, "encode", p->encode_tiles, p->encode_tile_count);
    log_tiles(o, "decode", p->decode_tiles, p->decode_tile_count);
    cost_log(o, &(JobMemory){.arena_bytes = p->arena_bytes, .weight_bytes = p->weight_bytes, .picture_bytes = j->picture_bytes,
                             .fixed_bytes = p->fixed_bytes, .limit = p->limit, .gpu = p->weights.all > 0,
                             .devices = j->device_count});
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
    setup->picture.form = session_codes(o, clip, pictures_has_alpha(&setup->picture) ? 4 : 3);
    return pictures_check(&setup->picture, f) ? UPRES_OK : f->status;
}

static bool tiles_wait(void *user)
{
    return waiting(((Course *)user)->job);
}

/* The devices' networks. Their threads must not call the caller's functions: what they say goes through the mailbox. */
static bool open_networks(Seedvr2Session *j, const WeightSet *w, Fault *f)
{
    const upres_options *o = &j->session->options;
    const int count = o->device_count ? o->device_count : 1;
    if (count > 1 && !(j->mailbox = mailbox_open())) return fault(f, UPRES_E_MEMORY, "no memory for a session") == UPRES_OK;
    for (int i = 0; i < count; i++) {
        Course *c = &j->course[i];
        *c = (Course){.job = j, .options = *o};
        if (count > 1) {
            snprintf(c->name, sizeof c->name, "cuda:%d", (int)o->devices[i]);
            c->options.user = c;
            c->options.log = o->log ? post : NULL;
            c->options.cancel = stopped;
            c->options.progress = NULL;
        }
        c->networks = seedvr2_open(w, &c->options, i, f);
        if (!c->networks) return false;
        j->device_count = i + 1;
    }
    j->setup.other_count = count - 1; /* with tiles it will be less, but tiles wait for their turn as batches do */
    return true;
}

/* Batches that run for the clip's ranges; -1: not known. *ends: the clip's last one is among them. */
static bool count_batches(const PipelineSetup *s, const upres_clip *clip, int64_t *batches, int64_t *results, bool *ends,
                          Fault *f)
{
    Schedule schedule;
    *batches = *results = -1;
    *ends = false;
    if (!clip->frames) return true;
    const bool fine = session_schedule(s->picture.options, clip, pictures_whole_slices(&s->picture), &schedule, f);
    if (fine) *batches = schedule_batch_count(&schedule, ends);
    if (fine) *results = schedule_results(&schedule);
    schedule_free(&schedule);
    return fine;
}

/* What is beside the networks in the first GPU's memory, for the caller's thread. frame: as PictureJob has it. */
static uint64_t picture_bytes(const PipelineSetup *s, const DevSetup *d, const Seedvr2Plan *plan, bool apart, Prediction *frame)
{
    return picture_device_beside(pictures_device_bytes(&s->picture, d, !apart, frame), plan->limit, plan->peak_bytes);
}

/* And beside so much of that, for the inputs of a device that works apart. */
static uint64_t input_bytes(const PipelineSetup *s, const DevSetup *d, const Seedvr2Plan *plan, uint64_t taken,
                            Prediction *frame)
{
    PictureSetup inputs = s->picture;
    inputs.inputs_only = true;
    return picture_device_beside(pictures_device_bytes(&inputs, d, true, frame), plan->limit, plan->peak_bytes + taken);
}

static PictureDevice *open_pictures(const DevSetup *d, uint64_t bytes)
{
    return bytes > 0 ? picture_device_open(d, bytes, bytes) : NULL;
}

static void open_picture_devices(Seedvr2Session *j)
{
    const DevSetup *first = seedvr2_setup(first_of(j));
    const uint64_t results = picture_bytes(&j->setup, first, &j->plan, j->apart, NULL);
    j->picture_bytes = results;
    j->setup.picture.device = j->pictures = open_pictures(first, results);
    if (!j->apart) return;
    j->picture_bytes += input_bytes(&j->setup, first, &j->plan, results, NULL);
    for (int i = 0; i < j->device_count; i++) {
        const DevSetup *d = seedvr2_setup(j->course[i].networks);
        j->setup.input_device[i] = open_pictures(d, input_bytes(&j->setup, d, &j->plan, i == 0 ? results : 0, NULL));
    }
}

/* Who does what, once it is known what there is to do. Ranges that are selected later are not known: then batches are. */
static bool share_out(Seedvr2Session *j, Fault *f)
{
    Seedvr2 *all[UPRES_DEVICES_MAX];
    int64_t batches, results;
    bool ends;
    if (!count_batches(&j->setup, &j->session->clip, &batches, &results, &ends, f)) return false;
    for (int i = 0; i < j->device_count; i++) all[i] = j->course[i].networks;
    j->apart = j->device_count > 1 && batches != 1;
    for (int i = 0; i < (j->apart ? j->device_count : 1); i++) seedvr2_watch(all[i], network_progress, &j->course[i]);
    if (j->device_count == 1 || j->apart) return true;
    const SharedTilesWatch watch = {&j->course[0], network_progress, tiles_wait};
    j->tiles = shared_tiles_open(all, j->device_count, &j->plan, watch);
    if (j->plan.encode_tile_count == 1 && j->plan.decode_tile_count == 1)
        options_log(&j->session->options, UPRES_LOG_NOTE,
                    "what is asked for is one batch without tiles, so only %s works; a smaller --batch-size or --vae-tile "
                    "gives the others something to do", j->course[0].name);
    return j->tiles || fault(f, UPRES_E_MEMORY, "no memory for a session") == UPRES_OK;
}

static bool start_networks(Seedvr2Session *j, Fault *f)
{
    Seedvr2 *all[UPRES_DEVICES_MAX];
    for (int i = 0; i < j->device_count; i++) all[i] = j->course[i].networks;
    const bool started = seedvr2_start(all, j->device_count, &j->setup, &j->plan, f);
    if (j->mailbox) mailbox_tell(j->mailbox, &j->session->options);
    return started;
}

static bool open_pipeline(Seedvr2Session *j, Fault *f)
{
    PipelineNetworks others[UPRES_DEVICES_MAX];
    for (int i = 1; i < j->device_count; i++) others[i - 1] = seedvr2_networks(j->course[i].networks, &j->plan);
    j->setup.networks = j->tiles ? shared_tiles_networks(j->tiles) : seedvr2_networks(first_of(j), &j->plan);
    j->setup.others = others;
    j->setup.other_count = j->apart ? j->device_count - 1 : 0;
    j->setup.watch = (PipelineWatch){j, batch_begins, phase_begins, batch_ends, batch_fails, waiting};
    j->pipeline = pipeline_open(&j->setup, f);
    j->setup.others = NULL;
    return j->pipeline != NULL;
}

static upres_status open_job(upres_session *s, const WeightSet *w, Fault *f)
{
    Seedvr2Session *j = s->job = calloc(1, sizeof *j);
    if (!j) return fault(f, UPRES_E_MEMORY, "no memory for a session");
    j->session = s;
    lock_init(&j->lock);
    if (make_setup(&s->options, &s->clip, &j->setup, f) != UPRES_OK) return f->status;
    if (!open_networks(j, w, f) || !start_networks(j, f) || !share_out(j, f)) return f->status;
    open_picture_devices(j);
    s->channels = pictures_has_alpha(&j->setup.picture) ? 4 : 3;
    if (!open_pipeline(j, f)) return f->status;
    s->width = j->setup.picture.size.true_w;
    s->height = j->setup.picture.size.true_h;
    s->peak_bytes = j->plan.peak_bytes + j->picture_bytes;
    log_start(j, w);
    return UPRES_OK;
}

static void close_job(void *job)
{
    Seedvr2Session *j = job;
    if (!j) return;
    atomic_store(&j->stop, true);
    pipeline_close(j->pipeline);
    shared_tiles_close(j->tiles);
    picture_device_close(j->pictures);
    for (int i = 0; i < PIPELINE_DEVICES_MAX; i++) picture_device_close(j->setup.input_device[i]);
    for (int i = 0; i < UPRES_DEVICES_MAX; i++) seedvr2_close(j->course[i].networks);
    mailbox_close(j->mailbox);
    lock_free(&j->lock);
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
    if (j->mailbox) mailbox_tell(j->mailbox, &j->session->options);
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
    Prediction frame = {.count = 0};
    int64_t batches, results;
    bool ends;
    if (make_setup(o, clip, &setup, f) != UPRES_OK || !count_batches(&setup, clip, &batches, &results, &ends, f))
        return f->status;
    if (batches == 0) return session_no_frames(clip, f);
    Seedvr2 *m[UPRES_DEVICES_MAX] = {NULL};
    const int count = o->device_count ? o->device_count : 1;
    int opened = 0;
    while (opened < count && (m[opened] = seedvr2_open(w, o, opened, f))) opened++;
    setup.other_count = count - 1;
    const bool planned = opened == count && seedvr2_plan(m, count, &setup, &p, f);
    const bool apart = count > 1 && batches != 1;
    if (planned) r->picture_bytes = picture_bytes(&setup, seedvr2_setup(m[0]), &p, apart, &frame);
    if (planned && apart) r->picture_bytes += input_bytes(&setup, seedvr2_setup(m[0]), &p, r->picture_bytes, &frame);
    while (opened > 0) seedvr2_close(m[--opened]);
    if (!planned) return f->status;
    const SizePlan *z = &setup.picture.size;
    if (batches < 0) batches = 1; /* of a clip without a known end */
    const BatchCost *last = ends ? &p.last : &p.batch;
    const double whole = (double)(batches - 1);
    if (results >= 0) r->frames = results;
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
    const size_t networks = r->phase_count;
    plan_add_pictures(r, &frame);
    r->arena_bytes = p.arena_bytes;
    r->weight_bytes = p.weight_bytes;
    r->fixed_bytes = p.fixed_bytes;
    r->limit_bytes = p.limit;
    r->host_peak_bytes = p.weights.all ? p.fixed_bytes : p.peak_bytes;
    const char *one_batch = clip->frames ? "" : "the number of frames is not known: figures are of one batch; ";
    if (count == 1) {
        snprintf(r->note, sizeof r->note, "%s%.185s", one_batch, p.note);
        return UPRES_OK;
    }
    const bool tiles = clip->frames && batches == 1; /* of which there are as many pieces; the transformer is one */
    const int64_t pieces[] = {tiles ? p.encode_tile_count : batches, batches, tiles ? p.decode_tile_count : batches};
    for (size_t i = 0; clip->frames && i < networks; i++) plan_share(r, i, pieces[i], count);
    snprintf(r->note, sizeof r->note, "%smemory of each device, time of all%s%.120s", one_batch, p.note[0] ? "; " : "", p.note);
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
