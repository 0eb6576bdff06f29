#include "runtime/pipeline.h"

#include "kernels/cpu/noise.h"
#include "runtime/frame_store.h"

#include <stdlib.h>
#include <string.h>

/* A decoded picture on its way to a result. */
typedef struct Held {
    int64_t position;
    float *rgb, *alpha;
    bool in_slice; /* its slice is complete and has been seen to as one */
} Held;

struct Pipeline {
    PipelineSetup setup;
    Pictures *pictures;
    Schedule schedule;
    bool sealed;

    FrameStore sources;
    int64_t last_pushed; /* -1 before the first */

    int64_t k; /* the batch that runs or comes next; -1: none */
    Batch batch;
    bool decoding;
    int keep;        /* pictures of it that are decoded */
    float *latent;   /* [t][h][w][c]: posterior mean, then the restored latent */
    float **input;   /* transformed frames while the encoder reads: all when it is tiled, else one */
    int input_frame; /* which one */
    float **decoded; /* [keep], as far as begun */
    int complete, taken;

    Held *held; /* positions rising */
    size_t held_count, held_capacity;
    int64_t final_before; /* positions no later batch changes */
    Held given;           /* what the caller holds */

    Fault *fault; /* of the call in progress, for callbacks */
};

static int latent_height(const Pipeline *p)
{
    return p->setup.picture.size.padded_h / PIPELINE_SPATIAL;
}

static int latent_width(const Pipeline *p)
{
    return p->setup.picture.size.padded_w / PIPELINE_SPATIAL;
}

static int latent_frames(const Batch *b)
{
    return (b->frames - 1) / PIPELINE_TEMPORAL + 1;
}

static size_t latent_floats(const Pipeline *p) /* of one latent frame */
{
    return (size_t)latent_height(p) * (size_t)latent_width(p) * (size_t)p->setup.networks.latent_channels;
}

static size_t true_pixels(const Pipeline *p)
{
    return (size_t)p->setup.picture.size.true_h * (size_t)p->setup.picture.size.true_w;
}

static size_t padded_pixels(const Pipeline *p)
{
    return (size_t)p->setup.picture.size.padded_h * (size_t)p->setup.picture.size.padded_w;
}

static float *floats(size_t count, Fault *f)
{
    float *x = malloc(count * sizeof *x);
    if (!x)
        fault(f, UPRES_E_MEMORY, "no memory for %zu bytes of frames; use a smaller --batch-size or --resolution",
              count * sizeof *x);
    return x;
}

static void enter(const Pipeline *p, PipelinePhase phase)
{
    const PipelineWatch *w = &p->setup.watch;
    if (w->phase) w->phase(w->user, phase);
}

/* -------------------------------------------------------------------------------------------------- open and close */

int pipeline_slice_frames(const upres_options *o, int64_t frames)
{
    int64_t positions = frames + o->prepend;
    return frames && positions < o->batch_size ? (int)positions : o->batch_size;
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
    if (!p->pictures) {
        pipeline_close(p);
        return NULL;
    }
    return p;
}

static void free_list(float **list, int count)
{
    if (!list) return;
    for (int i = 0; i < count; i++) free(list[i]);
    free(list);
}

static int input_slots(const Pipeline *p)
{
    return p->setup.networks.encode_tiled ? p->batch.frames : 1;
}

static void drop_inputs(Pipeline *p)
{
    free_list(p->input, input_slots(p));
    p->input = NULL;
}

static void end_decoding(Pipeline *p)
{
    if (p->decoding) p->setup.networks.decode_close(p->setup.networks.user);
    p->decoding = false;
    free_list(p->decoded, p->keep);
    p->decoded = NULL;
    free(p->latent);
    p->latent = NULL;
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
    drop_inputs(p);
    end_decoding(p);
    free_given(p);
    for (size_t i = 0; i < p->held_count; i++) {
        free(p->held[i].rgb);
        free(p->held[i].alpha);
    }
    free(p->held);
    frame_store_free(&p->sources);
    schedule_free(&p->schedule);
    pictures_close(p->pictures);
    free(p);
}

uint64_t pipeline_bytes(const PipelineSetup *s, bool decode_tiled)
{
    const PictureSetup *picture = &s->picture;
    const upres_options *o = picture->options;
    PictureSetup with_slice = *picture;
    with_slice.slice_frames = pipeline_slice_frames(o, s->frames);
    uint64_t batch = (uint64_t)with_slice.slice_frames;
    int64_t computed = o->uniform_batch ? o->batch_size : with_slice.slice_frames;
    uint64_t padded_frames = (uint64_t)(computed + pad_4n1(computed));
    uint64_t padded = (uint64_t)picture->size.padded_h * (uint64_t)picture->size.padded_w * 3 * sizeof(float);
    uint64_t result = (uint64_t)picture->size.true_h * (uint64_t)picture->size.true_w * 3 * sizeof(float);
    uint64_t latent =
        padded / (PIPELINE_SPATIAL * PIPELINE_SPATIAL) / 3 * ((padded_frames - 1) / PIPELINE_TEMPORAL + 1);
    uint64_t sample = picture->bits == 0 ? sizeof(float) : picture->bits > 8 ? 2 : 1;
    uint64_t source = (uint64_t)picture->width * (uint64_t)picture->height * (uint64_t)picture->channels * sample;

    uint64_t sources = (batch + 1 + (uint64_t)o->overlap + (uint64_t)o->prepend) * source;
    uint64_t latents = latent * (uint64_t)(3 * s->networks.latent_channels + 1); /* latent, noise, condition */
    /* Pictures that wait for a later batch: those shared with it, or the whole slice they belong to, or more where batches
     * advance by less than they share. Then those in work, and the one being finished. */
    uint64_t shared = (uint64_t)o->overlap;
    bool slices = pictures_whole_slices(&with_slice), few = 2 * o->overlap > o->batch_size;
    uint64_t waiting = !slices || !shared ? shared : few ? 2 * batch : batch;
    uint64_t in_work = decode_tiled || (slices && !shared) ? batch : 1;
    uint64_t all = (uint64_t)s->frames + (uint64_t)o->prepend + shared; /* a short clip has no more */
    uint64_t pictures = s->frames && waiting + in_work > all ? all : waiting + in_work;
    uint64_t inputs = waiting * result + (s->networks.encode_tiled ? padded_frames : 1) * padded;
    uint64_t held = (pictures + 1) * result;
    if (pictures_has_alpha(picture)) held += (slices ? batch : 1) * result / 3;
    uint64_t busiest = inputs > held ? inputs : held;
    return pictures_bytes(&with_slice) + sources + latents + busiest;
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
    return schedule_latency(&p->schedule);
}

const Schedule *pipeline_schedule(const Pipeline *p)
{
    return &p->schedule;
}

/* Are all source frames of batch k here, and is its extent certain? */
static bool batch_ready(const Pipeline *p)
{
    if (!schedule_settled(&p->schedule, p->k)) return false;
    Batch b = batch_at(&p->schedule.plan, p->k);
    for (int64_t position = b.start; position < b.end; position++)
        if (schedule_source(&p->schedule, position) > p->last_pushed) return false;
    return true;
}

/* Source frames leave when neither a held picture nor a batch that still runs looks at them. A mirrored position's frame
 * stands at a later position too, so one comparison is enough. */
static void drop_sources(Pipeline *p)
{
    int64_t position = p->k < 0 ? INT64_MAX : p->k * p->schedule.plan.step;
    if (p->held_count && p->held[0].position < position) position = p->held[0].position;
    frame_store_drop_before(&p->sources, position == INT64_MAX ? position : position - p->schedule.prepend);
}

upres_status pipeline_push(Pipeline *p, const void *data, ptrdiff_t stride, Fault *f)
{
    seal(p);
    if (p->k < 0 || batch_ready(p)) return UPRES_AGAIN;
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
    int64_t missing = pipeline_wants(p);
    if (missing < 0) return UPRES_OK;
    return fault(f, UPRES_E_INPUT,
                 "the clip ends before frame %lld, but was announced with %lld frames; push it, or open the "
                 "session with the true number",
                 (long long)missing, (long long)p->schedule.frames);
}

/* ---------------------------------------------------------------------------------------------------- one batch */

static int64_t noise_start(const Pipeline *p)
{
    if (p->setup.picture.options->noise_per_batch) return 0;
    return p->setup.frame0 + p->batch.start - p->schedule.prepend;
}

static const void *source_at(const Pipeline *p, int64_t position)
{
    return frame_store_get(&p->sources, schedule_source(&p->schedule, position));
}

static bool read_input(void *user, const VaeRegion *r)
{
    Pipeline *p = user;
    int frame = (int)r->frame, slot = p->setup.networks.encode_tiled ? frame : 0;
    if (!p->input[slot] || (slot == 0 && p->input_frame != frame)) {
        if (!p->input[slot] && !(p->input[slot] = floats(3 * padded_pixels(p), p->fault))) return false;
        pictures_input(p->pictures, source_at(p, batch_frame(&p->batch, frame)), noise_start(p) + frame,
                       p->input[slot]);
        if (slot == 0) p->input_frame = frame;
    }
    size_t width = (size_t)p->setup.picture.size.padded_w;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++)
            memcpy(r->data + c * r->plane + y * r->row,
                   p->input[slot] + (size_t)c * padded_pixels(p) + (size_t)(r->y + y) * width + (size_t)r->x,
                   (size_t)r->width * sizeof(float));
    return true;
}

/* Where sample (y, x) of a latent frame begins. */
static float *latent_at(const Pipeline *p, int64_t frame, int y, int x)
{
    size_t pixel = (size_t)y * (size_t)latent_width(p) + (size_t)x;
    return p->latent + (size_t)frame * latent_floats(p) + pixel * (size_t)p->setup.networks.latent_channels;
}

static bool write_moments(void *user, const VaeRegion *r, bool add)
{
    Pipeline *p = user;
    for (int c = 0; c < p->setup.networks.latent_channels; c++) /* the log-variance behind them is not used */
        for (int y = 0; y < r->height; y++)
            for (int x = 0; x < r->width; x++) {
                float *z = latent_at(p, r->frame, r->y + y, r->x + x) + c;
                float mean = r->data[c * r->plane + y * r->row + x] * VAE_SCALING;
                *z = add ? *z + mean : mean;
            }
    return true;
}

static bool encode(Pipeline *p)
{
    enter(p, PHASE_ENCODE);
    const SizePlan *z = &p->setup.picture.size;
    p->latent = floats((size_t)latent_frames(&p->batch) * latent_floats(p), p->fault);
    p->input = calloc((size_t)input_slots(p), sizeof *p->input);
    if (!p->latent || !p->input) return false;
    p->input_frame = -1;
    PipelineNetworks *n = &p->setup.networks;
    bool ok = n->encode(n->user, z->padded_h, z->padded_w, p->batch.frames, (VaeVideo){p, read_input, NULL},
                        (VaeVideo){p, NULL, write_moments}, p->fault);
    drop_inputs(p);
    return ok;
}

static void fill_noise(const Pipeline *p, uint32_t stream, float *out)
{
    for (int l = 0; l < latent_frames(&p->batch); l++)
        position_noise(p->setup.picture.options->seed, stream, latent_frame(noise_start(p), l), 0, 0, latent_height(p),
                       latent_width(p), p->setup.networks.latent_channels, out + (size_t)l * latent_floats(p));
}

static bool restore(Pipeline *p)
{
    enter(p, PHASE_TRANSFORMER);
    const upres_options *o = p->setup.picture.options;
    int t = latent_frames(&p->batch), h = latent_height(p), w = latent_width(p), c = p->setup.networks.latent_channels;
    size_t count = (size_t)t * latent_floats(p);
    float *noise = floats(count, p->fault), *augment = NULL, *conditioned = NULL;
    bool ok = noise != NULL;
    if (ok && o->latent_noise > 0) ok = (augment = floats(count, p->fault)) != NULL;
    if (ok) ok = (conditioned = floats(count / (size_t)c * (size_t)(c + 1), p->fault)) != NULL;
    if (ok) {
        fill_noise(p, NOISE_BASE, noise);
        if (augment) fill_noise(p, NOISE_AUGMENT, augment);
        condition(p->latent, noise, augment, t, h, w, c, o->latent_noise, conditioned, c + 1);
        free(p->latent);
        p->latent = noise; /* the sampler turns the noise into the restored latent in place */
        noise = NULL;
        ok = p->setup.networks.restore(p->setup.networks.user, t, h, w, p->latent, conditioned, p->fault);
    }
    free(noise);
    free(augment);
    free(conditioned);
    return ok;
}

static bool read_latent(void *user, const VaeRegion *r)
{
    const Pipeline *p = user;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++)
            for (int x = 0; x < r->width; x++)
                r->data[c * r->plane + y * r->row + x] = latent_at(p, r->frame, r->y + y, r->x + x)[c] / VAE_SCALING;
    return true;
}

/* Keep what lies inside the size that is written; the filling on the right and at the bottom falls away. */
static bool write_picture(void *user, const VaeRegion *r, bool add)
{
    Pipeline *p = user;
    const SizePlan *z = &p->setup.picture.size;
    if (r->frame >= p->keep) return true;
    float **picture = &p->decoded[r->frame];
    if (!*picture && !(*picture = floats(3 * true_pixels(p), p->fault))) return false;
    int height = r->y + r->height > z->true_h ? z->true_h - r->y : r->height;
    int width = r->x + r->width > z->true_w ? z->true_w - r->x : r->width;
    if (height <= 0 || width <= 0) return true;
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < height; y++) {
            float *out = *picture + (size_t)c * true_pixels(p) + (size_t)(r->y + y) * (size_t)z->true_w + (size_t)r->x;
            const float *in = r->data + c * r->plane + y * r->row;
            for (int x = 0; x < width; x++) out[x] = add ? out[x] + in[x] : in[x];
        }
    bool whole = !add && r->y == 0 && r->x == 0 && r->height == z->padded_h && r->width == z->padded_w;
    if (whole && r->frame == p->complete) p->complete++;
    return true;
}

static bool begin_batch(Pipeline *p)
{
    const SizePlan *z = &p->setup.picture.size;
    PipelineNetworks *n = &p->setup.networks;
    p->batch = batch_at(&p->schedule.plan, p->k);
    int keep = (int)(schedule_last_kept(&p->schedule, &p->batch) - p->batch.start) + 1;
    const PipelineWatch *watch = &p->setup.watch;
    if (watch->batch_begins) watch->batch_begins(watch->user, p->k, &p->batch);
    if (!encode(p) || !restore(p)) return false;
    p->decoded = calloc((size_t)keep, sizeof *p->decoded);
    if (!p->decoded) return fault(p->fault, UPRES_E_MEMORY, "no memory for a batch of %d frames", keep) == UPRES_OK;
    p->keep = keep;
    p->complete = p->taken = 0;
    p->decoding = n->decode_open(n->user, z->padded_h, z->padded_w, latent_frames(&p->batch), keep,
                                 (VaeVideo){p, read_latent, NULL}, (VaeVideo){p, NULL, write_picture}, p->fault);
    return p->decoding;
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

/* Take over the next complete picture of the batch: blended into the one the batch before left there, or as it is. */
static bool take_picture(Pipeline *p)
{
    const upres_options *o = p->setup.picture.options;
    int i = p->taken++;
    int64_t position = p->batch.start + i;
    int64_t final_from = schedule_final_from(&p->schedule, p->k);
    p->final_before = position + 1 < final_from ? position + 1 : final_from;
    if (!schedule_keeps(&p->schedule, position)) {
        free(p->decoded[i]);
        p->decoded[i] = NULL;
        return true;
    }
    Held *earlier = held_at(p, position);
    if (earlier) {
        float weight = blend_weight(o->blend_linear ? BLEND_LINEAR : BLEND_HANN3, o->overlap, i);
        crossfade(earlier->rgb, p->decoded[i], 3 * true_pixels(p), weight);
        free(p->decoded[i]);
    } else if (!hold(p, position, p->decoded[i])) {
        return false;
    }
    p->decoded[i] = NULL;
    return true;
}

static bool step_batch(Pipeline *p)
{
    bool more = true;
    enter(p, PHASE_DECODE);
    if (!p->setup.networks.decode_step(p->setup.networks.user, &more, p->fault)) return false;
    if (!more) p->complete = p->keep;
    while (p->taken < p->complete)
        if (!take_picture(p)) return false;
    if (more) return true;
    end_decoding(p);
    p->final_before = schedule_final_from(&p->schedule, p->k);
    const PipelineWatch *watch = &p->setup.watch;
    if (watch->batch_ends) watch->batch_ends(watch->user, p->k, &p->batch);
    p->k = schedule_next_batch(&p->schedule, p->k + 1);
    drop_sources(p);
    return true;
}

/* -------------------------------------------------------------------------------------------------------- results */

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
        p->held[i].alpha = floats(true_pixels(p), p->fault);
        ok = p->held[i].alpha != NULL;
        if (ok) pictures_alpha(p->pictures, source[i], rgb[i], p->held[i].alpha);
    }
    if (ok) pictures_color_slice(p->pictures, source, rgb, (int)count);
    for (size_t i = 0; i < count; i++) p->held[i].in_slice = true;
    free(source);
    free(rgb);
    return ok;
}

/* The front picture leaves the list; it is finished if anybody asked for it. */
static void give_front(Pipeline *p)
{
    p->given = p->held[0];
    p->held_count--;
    memmove(p->held, p->held + 1, p->held_count * sizeof *p->held);
    if (schedule_gives(&p->schedule, p->given.position))
        pictures_finish(p->pictures, source_at(p, p->given.position), p->given.rgb);
    drop_sources(p);
}

upres_status pipeline_pull(Pipeline *p, PipelineResult *r, Fault *f)
{
    seal(p);
    p->fault = f;
    free_given(p);
    for (;;) {
        size_t ready = p->held_count && p->held[0].in_slice ? 1 : slice_ready(p);
        if (ready) {
            enter(p, PHASE_COLOR);
            if (!p->held[0].in_slice && !complete_slice(p, ready)) return f->status;
            give_front(p);
            if (!schedule_gives(&p->schedule, p->given.position)) {
                free_given(p);
                continue;
            }
            *r = (PipelineResult){p->given.position - p->schedule.prepend, p->given.rgb, p->given.alpha};
            return UPRES_OK;
        }
        if (p->decoding) {
            if (!step_batch(p)) return f->status;
            continue;
        }
        if (p->k < 0) return UPRES_END;
        if (!batch_ready(p)) return UPRES_AGAIN;
        if (!begin_batch(p)) return f->status;
    }
}
