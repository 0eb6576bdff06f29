#include "runtime/pipeline.h"

#include "runtime/batch_work.h"
#include "runtime/crew.h"
#include "runtime/frame_store.h"

#include <stdlib.h>
#include <string.h>

enum {
    WAIT_MS = 50, /* between looks at what the caller wants, while devices work */
};

/* A decoded picture on its way to a result. */
typedef struct Held {
    int64_t position;
    float *rgb, *alpha;
    const void *codes; /* instead, of what the caller holds */
    bool in_slice; /* its slice is complete and has been seen to as one */
} Held;

/* Where batches are computed. */
typedef struct PipelineDevice {
    PipelineNetworks networks;
    BatchMeans means;
    Pictures *pictures; /* the pipeline's own with one device */
} PipelineDevice;

/* A batch that one of several devices works on. */
typedef struct Piece {
    BatchWork *work;
    Fault fault; /* that ended it */
} Piece;

struct Pipeline {
    PipelineSetup setup;
    Pictures *pictures;
    PipelineDevice device[PIPELINE_DEVICES_MAX];
    int device_count;
    Schedule schedule;
    bool sealed;

    FrameStore sources;
    int64_t last_pushed; /* -1 before the first */

    int64_t k;       /* the batch that comes next; -1: none */
    BatchWork *work; /* the one whose pictures are taken; NULL: none */
    BatchWork *next; /* the one behind it, if its encoder has begun; NULL: none */
    Crew *crew;      /* several devices: of Pieces, in the order of their batches */

    Held *held; /* positions rising */
    size_t held_count, held_capacity;
    int64_t final_before; /* positions no later batch changes */
    Held given;           /* what the caller holds */

    Fault *fault; /* of the call in progress */
};

static size_t true_pixels(const Pipeline *p)
{
    return (size_t)p->setup.picture.size.true_h * (size_t)p->setup.picture.size.true_w;
}

static void enter(const Pipeline *p, PipelinePhase phase)
{
    const PipelineWatch *w = &p->setup.watch;
    if (w->phase) w->phase(w->user, PIPELINE_CALLER, phase);
}

/* -------------------------------------------------------------------------------------------------- open and close */

int pipeline_slice_frames(const upres_options *o, int64_t frames)
{
    int64_t positions = frames + o->prepend;
    return frames && positions < o->batch_size ? (int)positions : o->batch_size;
}

/* On the thread of a device. */
static void work_on(void *user, int index, void *piece)
{
    Pipeline *p = user;
    Piece *x = piece;
    const PipelineWatch *watch = &p->setup.watch;
    const int64_t k = batch_work_number(x->work);
    const Batch *b = batch_work_batch(x->work);
    if (watch->batch_begins) watch->batch_begins(watch->user, index, k, b);
    bool ok = batch_work_begin(x->work, &p->device[index].means, &x->fault);
    for (bool more = ok; more && ok;) ok = batch_work_step(x->work, &more, &x->fault);
    if (ok && watch->batch_ends) watch->batch_ends(watch->user, index, k, b);
    if (!ok && watch->batch_fails) watch->batch_fails(watch->user, index, &x->fault);
}

/* Pictures of its own for each of several devices: they hold scratch. */
static bool open_devices(Pipeline *p, Fault *f)
{
    const PipelineSetup *s = &p->setup;
    PictureSetup inputs = s->picture;
    inputs.inputs_only = true;
    p->device_count = 1 + s->other_count;
    for (int i = 0; i < p->device_count; i++) {
        PipelineDevice *d = &p->device[i];
        d->networks = i == 0 ? s->networks : s->others[i - 1];
        inputs.device = s->input_device[i];
        if (p->device_count > 1 && !(d->pictures = pictures_open(&inputs, f))) return false;
        d->means = (BatchMeans){.picture = &s->picture, .networks = &d->networks, .user = s->watch.user,
                                .pictures = d->pictures ? d->pictures : p->pictures, .phase = s->watch.phase, .device = i};
    }
    p->setup.others = NULL;
    if (p->device_count == 1) return true;
    /* One more than there are devices: a fast one need not wait until a slow one's batch, which comes before, is taken. */
    p->crew = crew_open(p->device_count, p->device_count + 1, work_on, p);
    return p->crew || fault(f, UPRES_E_MEMORY, "no threads for %d devices", p->device_count) == UPRES_OK;
}

Pipeline *pipeline_open(const PipelineSetup *s, Fault *f)
{
    Pipeline *p = calloc(1, sizeof *p);
    if (!p) {
        fault(f, UPRES_E_MEMORY, "no memory for a session");
        return NULL;
    }
    const upres_options *o = s->picture.options;
    p->setup = *s;
    p->setup.picture.slice_frames = pipeline_slice_frames(o, s->frames);
    p->last_pushed = -1;
    schedule_init(&p->schedule, s->frames, o->batch_size, o->overlap, o->uniform_batch != 0, o->prepend,
                  pictures_whole_slices(&p->setup.picture));
    p->pictures = pictures_open(&p->setup.picture, f);
    if (!p->pictures || !open_devices(p, f)) {
        pipeline_close(p);
        return NULL;
    }
    return p;
}

static void free_piece(Piece *x)
{
    batch_work_close(x->work);
    free(x);
}

static void close_crew(Pipeline *p)
{
    void *left[PIPELINE_DEVICES_MAX + 1];
    const int count = crew_close(p->crew, left);
    for (int i = 0; i < count; i++) free_piece(left[i]);
}

static void free_given(Pipeline *p)
{
    free(p->given.rgb);
    free(p->given.alpha);
    p->given = (Held){0};
}

void pipeline_close(Pipeline *p)
{
    if (!p) return;
    close_crew(p);
    batch_work_close(p->work);
    batch_work_close(p->next);
    free_given(p);
    for (size_t i = 0; i < p->held_count; i++) {
        free(p->held[i].rgb);
        free(p->held[i].alpha);
    }
    free(p->held);
    frame_store_free(&p->sources);
    schedule_free(&p->schedule);
    for (int i = 0; i < p->device_count; i++) pictures_close(p->device[i].pictures);
    pictures_close(p->pictures);
    free(p);
}

/* Sizes that the memory of a pipeline is made of, in bytes but for the counts. */
typedef struct Amounts {
    uint64_t batch, padded_frames; /* frames */
    uint64_t padded, result, latents, source;
    uint64_t inputs; /* transformed frames of a batch while the encoder reads */
    uint64_t waiting; /* pictures that wait for a later batch */
    bool slices;
} Amounts;

static Amounts amounts_of(const PipelineSetup *s)
{
    const PictureSetup *picture = &s->picture;
    const upres_options *o = picture->options;
    PictureSetup with_slice = *picture;
    with_slice.slice_frames = pipeline_slice_frames(o, s->frames);
    Amounts a = {.batch = (uint64_t)with_slice.slice_frames, .slices = pictures_whole_slices(&with_slice)};
    const int64_t computed = o->uniform_batch ? o->batch_size : with_slice.slice_frames;
    const uint64_t sample = picture->bits == 0 ? sizeof(float) : picture->bits > 8 ? 2 : 1;
    a.padded_frames = (uint64_t)(computed + pad_4n1(computed));
    a.padded = (uint64_t)picture->size.padded_h * (uint64_t)picture->size.padded_w * 3 * sizeof(float);
    a.result = (uint64_t)picture->size.true_h * (uint64_t)picture->size.true_w * 3 * sizeof(float);
    a.source = (uint64_t)picture->width * (uint64_t)picture->height * (uint64_t)picture->channels * sample;
    const uint64_t latent =
        a.padded / (PIPELINE_SPATIAL * PIPELINE_SPATIAL) / 3 * ((a.padded_frames - 1) / PIPELINE_TEMPORAL + 1);
    a.latents = latent * (uint64_t)(3 * s->networks.latent_channels + 1); /* latent, noise, condition */
    a.inputs = (s->networks.encode_tiled ? a.padded_frames : 1) * a.padded;
    /* Those shared with the next batch, or the whole slice they belong to, or more where batches advance by less than they
     * share. */
    const uint64_t shared = (uint64_t)o->overlap;
    const bool few = 2 * o->overlap > o->batch_size;
    a.waiting = !a.slices || !shared ? shared : few ? 2 * a.batch : a.batch;
    return a;
}

static uint64_t alpha_bytes(const PipelineSetup *s, const Amounts *a)
{
    return pictures_has_alpha(&s->picture) ? (a->slices ? a->batch : 1) * a->result / 3 : 0;
}

/* With several devices. Nothing is set against anything else: who is how far is not known. */
static uint64_t shared_bytes(const PipelineSetup *s, const Amounts *a)
{
    const uint64_t devices = 1 + (uint64_t)s->other_count, batches = devices + 1;
    PictureSetup inputs = s->picture;
    inputs.inputs_only = true;
    return devices * (pictures_bytes(&inputs) + a->latents + a->inputs) +
           (batches + 1) * a->batch * a->source + /* the next batch's too */
           batches * a->batch * a->result + (a->waiting + a->batch + 1) * a->result + alpha_bytes(s, a);
}

uint64_t pipeline_bytes(const PipelineSetup *s, bool decode_tiled)
{
    const upres_options *o = s->picture.options;
    const Amounts a = amounts_of(s);
    PictureSetup with_slice = s->picture;
    with_slice.slice_frames = pipeline_slice_frames(o, s->frames);
    const uint64_t shared = (uint64_t)o->overlap, batches = s->networks.encode_ahead ? 2 : 1;
    const uint64_t sources = (batches * a.batch + 1 + shared + (uint64_t)o->prepend) * a.source;
    if (s->other_count) return pictures_bytes(&with_slice) + (shared + (uint64_t)o->prepend) * a.source + shared_bytes(s, &a);
    /* Pictures that wait, those in work, and the one being finished. */
    uint64_t in_work = decode_tiled || (a.slices && !shared) ? a.batch : 1;
    uint64_t all = (uint64_t)s->frames + (uint64_t)o->prepend + shared; /* a short clip has no more */
    uint64_t pictures = s->frames && a.waiting + in_work > all ? all : a.waiting + in_work;
    uint64_t inputs = a.waiting * a.result + a.inputs;
    uint64_t held = (pictures + 1) * a.result + alpha_bytes(s, &a);
    const uint64_t early = s->networks.encode_ahead ? a.inputs + a.latents : 0; /* of the next batch */
    uint64_t busiest = inputs > held + early ? inputs : held + early;
    return pictures_bytes(&with_slice) + sources + a.latents + busiest;
}

/* ------------------------------------------------------------------------------------------------- source frames */

static void seal(Pipeline *p)
{
    if (p->sealed) return;
    p->sealed = true;
    schedule_seal(&p->schedule);
    p->k = schedule_next_batch(&p->schedule, 0);
}

bool pipeline_select(Pipeline *p, int64_t first, int64_t last)
{
    p->sealed = false; /* a pull before the first push seals, but binds nobody */
    return schedule_select(&p->schedule, first, last);
}

int64_t pipeline_wants(Pipeline *p)
{
    if (p->sealed) return p->k < 0 ? -1 : schedule_next_source(&p->schedule, p->last_pushed);
    schedule_seal(&p->schedule); /* selections may still come; what has been selected so far decides */
    return schedule_next_batch(&p->schedule, 0) < 0 ? -1 : schedule_next_source(&p->schedule, -1);
}

int64_t pipeline_latency(Pipeline *p)
{
    schedule_seal(&p->schedule);
    return schedule_latency(&p->schedule, p->crew ? p->device_count : 0);
}

const Schedule *pipeline_schedule(const Pipeline *p)
{
    return &p->schedule;
}

/* Are all source frames of batch k here, and is its extent certain? */
static bool is_ready(const Pipeline *p, int64_t k)
{
    if (!schedule_settled(&p->schedule, k)) return false;
    Batch b = batch_at(&p->schedule.plan, k);
    for (int64_t position = b.start; position < b.end; position++)
        if (schedule_source(&p->schedule, position) > p->last_pushed) return false;
    return true;
}

static bool batch_ready(const Pipeline *p)
{
    return is_ready(p, p->k);
}

/* How many pictures at the front form a slice that nothing changes any more; 0: none yet. */
static size_t slice_ready(const Pipeline *p)
{
    if (!p->held_count) return 0;
    int64_t first = p->held[0].position;
    int64_t end = p->schedule.whole_slices ? schedule_slice_end(&p->schedule, first) : first + 1;
    if (end > p->final_before) return 0;
    size_t count = 0;
    while (count < p->held_count && p->held[count].position < end) count++;
    return count;
}

static bool can_give(const Pipeline *p)
{
    return p->held_count && (p->held[0].in_slice || slice_ready(p));
}

/* Is there a source frame to take? One device that works by itself has those of the batch behind the one that it is at, too. */
static bool takes_sources(const Pipeline *p)
{
    const bool ahead = p->device[0].networks.encode_ahead && !p->crew;
    if (p->k < 0 || (p->work && (!ahead || p->next))) return false;
    if (!ahead && !p->crew && can_give(p)) return false;
    if (!batch_ready(p)) return true;
    const int64_t second = ahead && !p->work && !p->next ? schedule_next_batch(&p->schedule, p->k + 1) : -1;
    return second >= 0 && !is_ready(p, second);
}

/* Source frames leave when neither a held picture nor a batch that still runs looks at them. A mirrored position's frame
 * stands at a later position too, so one comparison is enough. */
static void drop_sources(Pipeline *p)
{
    int64_t position = p->k < 0 ? INT64_MAX : p->k * p->schedule.plan.step;
    const Piece *oldest = p->crew ? crew_oldest(p->crew) : NULL;
    const BatchWork *running = p->work ? p->work : oldest ? oldest->work : p->next;
    if (running && batch_work_batch(running)->start < position) position = batch_work_batch(running)->start;
    if (p->held_count && p->held[0].position < position) position = p->held[0].position;
    frame_store_drop_before(&p->sources, position == INT64_MAX ? position : position - p->schedule.prepend);
}

upres_status pipeline_push(Pipeline *p, const void *data, ptrdiff_t stride, Fault *f)
{
    seal(p);
    if (!takes_sources(p)) return UPRES_AGAIN;
    const PictureSetup *s = &p->setup.picture;
    int64_t number = pipeline_wants(p);
    size_t row = (size_t)s->width * (size_t)s->channels * (s->bits > 8 ? 2 : 1), rows = (size_t)s->height;
    if (s->bits == 0) {
        row = (size_t)s->width * sizeof(float); /* planes: all rows of all channels in a row */
        rows = (size_t)s->height * (size_t)s->channels;
        stride = (ptrdiff_t)row;
    }
    /* With an unknown end every frame comes by, also those before the batches that run. */
    bool needed = number + p->schedule.prepend >= p->k * p->schedule.plan.step;
    if (needed && !frame_store_put(&p->sources, number, data, stride, row, rows))
        return fault(f, UPRES_E_MEMORY, "no memory for source frame %lld (%zu bytes); use a smaller --batch-size",
                     (long long)number, row * rows);
    p->last_pushed = number;
    p->schedule.seen = number + 1;
    return UPRES_OK;
}

upres_status pipeline_drain(Pipeline *p, Fault *f)
{
    seal(p);
    if (p->schedule.frames < 0) {
        schedule_end(&p->schedule, p->schedule.seen);
        if (p->k >= 0) p->k = schedule_next_batch(&p->schedule, p->k);
        return UPRES_OK;
    }
    return fault_early_end(f, pipeline_wants(p), p->schedule.frames);
}

/* ------------------------------------------------------------------------------------------------------- batches */

static const void *source_at(const Pipeline *p, int64_t position)
{
    return frame_store_get(&p->sources, schedule_source(&p->schedule, position));
}

/* The batch that comes next, ready to be worked on; the one after it is next from now on. NULL: no memory. */
static BatchWork *next_batch(Pipeline *p)
{
    const Batch b = batch_at(&p->schedule.plan, p->k);
    const int keep = (int)(schedule_last_kept(&p->schedule, &b) - b.start) + 1;
    const int64_t noise = p->setup.picture.options->noise_per_batch ? 0 : p->setup.frame0 + b.start - p->schedule.prepend;
    BatchWork *w = batch_work_open(p->k, &b, keep, noise);
    if (!w) {
        fault(p->fault, UPRES_E_MEMORY, "no memory for a batch of %d frames", keep);
        return NULL;
    }
    for (int64_t position = b.start; position < b.end; position++) batch_work_source(w, position, source_at(p, position));
    p->k = schedule_next_batch(&p->schedule, p->k + 1);
    return w;
}

static bool begin_batch(Pipeline *p)
{
    const PipelineWatch *watch = &p->setup.watch;
    p->work = p->next ? p->next : next_batch(p);
    p->next = NULL;
    if (!p->work) return false;
    if (watch->batch_begins)
        watch->batch_begins(watch->user, 0, batch_work_number(p->work), batch_work_batch(p->work));
    return batch_work_begin(p->work, &p->device[0].means, p->fault);
}

/* Before the device's results are waited for or handed out it is given some of the next batch to do, if it has nothing else. */
static bool go_ahead(Pipeline *p)
{
    const PipelineNetworks *n = &p->device[0].networks;
    if (!n->encode_ahead || (p->work && !n->decode_waits(n->user))) return false;
    if (!p->next && p->k >= 0 && batch_ready(p)) {
        Fault ignored = {.status = UPRES_OK}, *const fault = p->fault; /* it is tried again, then in earnest */
        p->fault = &ignored;
        p->next = next_batch(p);
        p->fault = fault;
    }
    if (p->next) batch_work_ahead(p->next, &p->device[0].means);
    return p->next != NULL;
}

/* The next batch for whichever of several devices is free first. */
static bool hand_over(Pipeline *p)
{
    Piece *x = calloc(1, sizeof *x);
    if (x) x->work = next_batch(p);
    if (x && x->work) {
        crew_hand_over(p->crew, x);
        return true;
    }
    free(x);
    return fault(p->fault, UPRES_E_MEMORY, "no memory for a batch") == UPRES_OK;
}

/* ------------------------------------------------------------------------------------------------- held pictures */

static bool hold(Pipeline *p, int64_t position, float *rgb)
{
    if (p->held_count == p->held_capacity) {
        size_t capacity = p->held_capacity ? 2 * p->held_capacity : 16;
        Held *grown = realloc(p->held, capacity * sizeof *grown);
        if (!grown)
            return fault(p->fault, UPRES_E_MEMORY, "no memory for a list of %zu pictures", capacity) == UPRES_OK;
        p->held = grown;
        p->held_capacity = capacity;
    }
    p->held[p->held_count++] = (Held){.position = position, .rgb = rgb};
    return true;
}

static Held *held_at(Pipeline *p, int64_t position)
{
    for (size_t i = 0; i < p->held_count; i++)
        if (p->held[i].position == position) return &p->held[i];
    return NULL;
}

/* Take over a picture of the batch: blended into the one the batch before left there, or as it is. */
static bool take_picture(Pipeline *p, int64_t position, float *picture)
{
    const upres_options *o = p->setup.picture.options;
    const int64_t k = batch_work_number(p->work), final_from = schedule_final_from(&p->schedule, k);
    p->final_before = position + 1 < final_from ? position + 1 : final_from;
    if (!schedule_keeps(&p->schedule, position)) {
        free(picture);
        return true;
    }
    Held *earlier = held_at(p, position);
    if (!earlier) {
        if (hold(p, position, picture)) return true;
        free(picture);
        return false;
    }
    const int i = (int)(position - batch_work_batch(p->work)->start);
    float weight = blend_weight(o->blend_linear ? BLEND_LINEAR : BLEND_HANN3, o->overlap, i);
    crossfade(earlier->rgb, picture, 3 * true_pixels(p), weight);
    free(picture);
    return true;
}

static bool take_pictures(Pipeline *p)
{
    float *picture;
    int64_t position;
    while ((picture = batch_work_take(p->work, &position)))
        if (!take_picture(p, position, picture)) return false;
    return true;
}

/* All pictures of the batch are taken. */
static void finish_batch(Pipeline *p)
{
    p->final_before = schedule_final_from(&p->schedule, batch_work_number(p->work));
    batch_work_close(p->work);
    p->work = NULL;
    drop_sources(p);
}

static bool step_batch(Pipeline *p)
{
    bool more = true;
    if (!batch_work_step(p->work, &more, p->fault) || !take_pictures(p)) return false;
    if (more) return true;
    const PipelineWatch *watch = &p->setup.watch;
    if (watch->batch_ends) watch->batch_ends(watch->user, 0, batch_work_number(p->work), batch_work_batch(p->work));
    finish_batch(p);
    return true;
}

/* The pictures of the oldest batch that several devices work on; its failure is the job's. */
static bool take_batch(Pipeline *p)
{
    const PipelineWatch *watch = &p->setup.watch;
    do {
        if (watch->waiting && !watch->waiting(watch->user))
            return fault(p->fault, UPRES_E_CANCELLED, "the job was cancelled") == UPRES_OK;
    } while (!crew_oldest_done(p->crew, WAIT_MS));
    Piece *x = crew_oldest(p->crew);
    crew_take_back(p->crew);
    p->work = x->work;
    const Fault failed = x->fault;
    free(x);
    if (failed.status != UPRES_OK) return fault(p->fault, failed.status, "%s", failed.text) == UPRES_OK;
    if (!take_pictures(p)) return false;
    finish_batch(p);
    return true;
}

/* -------------------------------------------------------------------------------------------------------- results */

static bool complete_slice(Pipeline *p, size_t count)
{
    const void **source = malloc(count * sizeof *source);
    float **rgb = malloc(count * sizeof *rgb);
    bool ok = source && rgb;
    if (!ok) fault(p->fault, UPRES_E_MEMORY, "no memory for a list of %zu pictures", count);
    pictures_slice_begin(p->pictures);
    for (size_t i = 0; ok && i < count; i++) {
        source[i] = source_at(p, p->held[i].position);
        rgb[i] = p->held[i].rgb;
        pictures_slice_gather(p->pictures, source[i], rgb[i]);
    }
    for (size_t i = 0; ok && i < count && pictures_has_alpha(&p->setup.picture); i++) {
        p->held[i].alpha = malloc(true_pixels(p) * sizeof(float));
        ok = p->held[i].alpha != NULL;
        if (!ok) fault(p->fault, UPRES_E_MEMORY, "no memory for the alpha of a picture; use a smaller --resolution");
        if (ok) pictures_alpha(p->pictures, source[i], rgb[i], p->held[i].alpha);
    }
    if (ok) pictures_color_slice(p->pictures, source, rgb, (int)count);
    for (size_t i = 0; i < count; i++) p->held[i].in_slice = true;
    free(source);
    free(rgb);
    return ok;
}

static void ahead(Pipeline *p, const Held *h)
{
    pictures_ahead(p->pictures, source_at(p, h->position), h->position - p->schedule.prepend, h->rgb, h->alpha);
}

/* A device that finishes pictures begins with the one behind what is given before that is waited for: its codes come down, and the
 * caller sees to them, while those of the next are made. Where nothing is left to be done to it on the host. */
static void begin_next(Pipeline *p)
{
    const Held *next = &p->held[0];
    if (p->held_count == 0 || !schedule_gives(&p->schedule, next->position)) return;
    const bool alone = !p->schedule.whole_slices && !pictures_has_alpha(&p->setup.picture);
    if (!next->in_slice && !(alone && next->position < p->final_before)) return;
    ahead(p, &p->given);
    ahead(p, next);
}

/* The front picture leaves the list; it is finished if anybody asked for it. */
static void give_front(Pipeline *p)
{
    p->given = p->held[0];
    p->held_count--;
    memmove(p->held, p->held + 1, p->held_count * sizeof *p->held);
    const bool gives = schedule_gives(&p->schedule, p->given.position);
    if (gives) begin_next(p);
    if (gives)
        p->given.codes = pictures_finish(p->pictures, source_at(p, p->given.position),
                                         p->given.position - p->schedule.prepend, p->given.rgb, p->given.alpha);
    drop_sources(p);
}

/* The next result, where a picture at the front changes no more; UPRES_AGAIN: none does. */
static upres_status give(Pipeline *p, PipelineResult *r)
{
    for (;;) {
        size_t ready = p->held_count && p->held[0].in_slice ? 1 : slice_ready(p);
        if (!ready) return UPRES_AGAIN;
        enter(p, PHASE_COLOR);
        if (!p->held[0].in_slice && !complete_slice(p, ready)) return p->fault->status;
        give_front(p);
        if (schedule_gives(&p->schedule, p->given.position)) break;
        free_given(p);
    }
    *r = (PipelineResult){p->given.position - p->schedule.prepend, p->given.codes, p->given.rgb, p->given.alpha};
    return UPRES_OK;
}

/* One device: what can be given is given before anything else is waited for. */
static upres_status pull_alone(Pipeline *p, PipelineResult *r)
{
    for (bool gone = false;;) { /* once: what is given the device next would wait for this */
        if (!gone && (can_give(p) || p->work)) gone = go_ahead(p);
        upres_status status = give(p, r);
        if (status != UPRES_AGAIN) return status;
        if (!p->work && !p->next && p->k < 0) return UPRES_END;
        if (!p->work && !p->next && !batch_ready(p)) return UPRES_AGAIN;
        if (!p->work) gone = false;
        if (!(p->work ? step_batch(p) : begin_batch(p))) return p->fault->status;
    }
}

/* Several devices: they get their batches first, so that they work while the caller sees to the results. */
static upres_status pull_shared(Pipeline *p, PipelineResult *r)
{
    upres_status status;
    do {
        while (p->k >= 0 && crew_has_room(p->crew)) {
            if (!batch_ready(p)) return UPRES_AGAIN;
            if (!hand_over(p)) return p->fault->status;
        }
        status = give(p, r);
        if (status != UPRES_AGAIN) return status;
        if (!crew_oldest(p->crew)) return UPRES_END;
        if (!take_batch(p)) return p->fault->status;
        status = give(p, r);
    } while (status == UPRES_AGAIN);
    return status;
}

upres_status pipeline_pull(Pipeline *p, PipelineResult *r, Fault *f)
{
    seal(p);
    p->fault = f;
    free_given(p);
    return p->crew ? pull_shared(p, r) : pull_alone(p, r);
}
