#include "runtime/batch_work.h"

#include "kernels/cpu/noise.h"

#include <stdlib.h>
#include <string.h>

struct BatchWork {
    int64_t k, noise_start;
    Batch batch;
    int keep;             /* pictures of it that are decoded */
    const void **source;  /* by position from the batch's first */
    const BatchMeans *means;
    bool decoding;
    float *latent;   /* [t][h][w][c]: posterior mean, then the restored latent */
    float **input;   /* transformed frames while the encoder reads: all when it is tiled, else one */
    int input_frame; /* which one */
    float **decoded; /* [keep], as far as begun */
    int complete, taken;
    Fault *fault; /* of the call in progress, for callbacks */
    Fault early;  /* of the encoder's beginning */
};

static const SizePlan *size_of(const BatchWork *w)
{
    return &w->means->picture->size;
}

static int latent_height(const BatchWork *w)
{
    return size_of(w)->padded_h / PIPELINE_SPATIAL;
}

static int latent_width(const BatchWork *w)
{
    return size_of(w)->padded_w / PIPELINE_SPATIAL;
}

static int latent_channels(const BatchWork *w)
{
    return w->means->networks->latent_channels;
}

static int latent_frames(const BatchWork *w)
{
    return (w->batch.frames - 1) / PIPELINE_TEMPORAL + 1;
}

static size_t latent_floats(const BatchWork *w) /* of one latent frame */
{
    return (size_t)latent_height(w) * (size_t)latent_width(w) * (size_t)latent_channels(w);
}

static size_t true_pixels(const BatchWork *w)
{
    return (size_t)size_of(w)->true_h * (size_t)size_of(w)->true_w;
}

static size_t padded_pixels(const BatchWork *w)
{
    return (size_t)size_of(w)->padded_h * (size_t)size_of(w)->padded_w;
}

static float *floats(size_t count, Fault *f)
{
    float *x = malloc(count * sizeof *x);
    if (!x)
        fault(f, UPRES_E_MEMORY, "no memory for %zu bytes of frames; use a smaller --batch-size or --resolution",
              count * sizeof *x);
    return x;
}

static void enter(const BatchWork *w, PipelinePhase phase)
{
    const BatchMeans *m = w->means;
    if (m->phase) m->phase(m->user, m->device, phase);
}

/* -------------------------------------------------------------------------------------------------- open and close */

BatchWork *batch_work_open(int64_t k, const Batch *b, int keep, int64_t noise_start)
{
    BatchWork *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    *w = (BatchWork){.k = k, .batch = *b, .keep = keep, .noise_start = noise_start};
    w->source = calloc((size_t)(b->end - b->start), sizeof *w->source);
    w->decoded = calloc((size_t)keep, sizeof *w->decoded);
    if (w->source && w->decoded) return w;
    batch_work_close(w);
    return NULL;
}

static void free_list(float **list, int count)
{
    if (!list) return;
    for (int i = 0; i < count; i++) free(list[i]);
    free(list);
}

static int input_slots(const BatchWork *w)
{
    return w->means->networks->encode_tiled ? w->batch.frames : 1;
}

/* What only the networks need. */
static void drop_networks(BatchWork *w)
{
    if (w->decoding) w->means->networks->decode_close(w->means->networks->user);
    w->decoding = false;
    free(w->latent);
    w->latent = NULL;
}

void batch_work_close(BatchWork *w)
{
    if (!w) return;
    drop_networks(w);
    if (w->input) free_list(w->input, input_slots(w));
    free_list(w->decoded, w->decoded ? w->keep : 0);
    free(w->source);
    free(w);
}

int64_t batch_work_number(const BatchWork *w)
{
    return w->k;
}

const Batch *batch_work_batch(const BatchWork *w)
{
    return &w->batch;
}

void batch_work_source(BatchWork *w, int64_t position, const void *source)
{
    w->source[position - w->batch.start] = source;
}

/* ------------------------------------------------------------------------------------------------------- networks */

static bool read_input(void *user, const VaeRegion *r)
{
    BatchWork *w = user;
    int frame = (int)r->frame, slot = w->means->networks->encode_tiled ? frame : 0;
    if (!w->input[slot] || (slot == 0 && w->input_frame != frame)) {
        if (!w->input[slot] && !(w->input[slot] = floats(3 * padded_pixels(w), w->fault))) return false;
        const void *source = w->source[batch_frame(&w->batch, frame) - w->batch.start];
        pictures_input(w->means->pictures, source, w->noise_start + frame, w->input[slot]);
        if (slot == 0) w->input_frame = frame;
    }
    size_t width = (size_t)size_of(w)->padded_w;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++)
            memcpy(r->data + c * r->plane + y * r->row,
                   w->input[slot] + (size_t)c * padded_pixels(w) + (size_t)(r->y + y) * width + (size_t)r->x,
                   (size_t)r->width * sizeof(float));
    return true;
}

/* Where sample (y, x) of a latent frame begins. */
static float *latent_at(const BatchWork *w, int64_t frame, int y, int x)
{
    size_t pixel = (size_t)y * (size_t)latent_width(w) + (size_t)x;
    return w->latent + (size_t)frame * latent_floats(w) + pixel * (size_t)latent_channels(w);
}

static bool write_moments(void *user, const VaeRegion *r, bool add)
{
    BatchWork *w = user;
    for (int c = 0; c < latent_channels(w); c++) /* the log-variance behind them is not used */
        for (int y = 0; y < r->height; y++)
            for (int x = 0; x < r->width; x++) {
                float *z = latent_at(w, r->frame, r->y + y, r->x + x) + c;
                float mean = r->data[c * r->plane + y * r->row + x] * VAE_SCALING;
                *z = add ? *z + mean : mean;
            }
    return true;
}

static bool make_room(BatchWork *w)
{
    if (w->input) return true;
    w->latent = floats((size_t)latent_frames(w) * latent_floats(w), w->fault);
    if (!w->latent) return false;
    w->input = calloc((size_t)input_slots(w), sizeof *w->input);
    if (!w->input) return fault(w->fault, UPRES_E_MEMORY, "no memory for a list of frames") == UPRES_OK;
    w->input_frame = -1;
    return true;
}

void batch_work_ahead(BatchWork *w, const BatchMeans *m)
{
    const SizePlan *z = &m->picture->size;
    const PipelineNetworks *n = m->networks;
    w->means = m;
    w->fault = &w->early;
    if (w->early.status != UPRES_OK || !make_room(w)) return;
    n->encode_ahead(n->user, z->padded_h, z->padded_w, w->batch.frames, (VaeVideo){w, read_input, NULL},
                    (VaeVideo){w, NULL, write_moments});
}

static bool encode(BatchWork *w)
{
    enter(w, PHASE_ENCODE);
    const SizePlan *z = size_of(w);
    const PipelineNetworks *n = w->means->networks;
    if (w->early.status != UPRES_OK) return fault(w->fault, w->early.status, "%s", w->early.text) == UPRES_OK;
    if (!make_room(w)) return false;
    bool ok = n->encode(n->user, z->padded_h, z->padded_w, w->batch.frames, (VaeVideo){w, read_input, NULL},
                        (VaeVideo){w, NULL, write_moments}, w->fault);
    free_list(w->input, input_slots(w));
    w->input = NULL;
    return ok;
}

static void fill_noise(const BatchWork *w, uint32_t stream, float *out)
{
    for (int l = 0; l < latent_frames(w); l++)
        position_noise(w->means->picture->options->seed, stream, latent_frame(w->noise_start, l), 0, 0, latent_height(w),
                       latent_width(w), latent_channels(w), out + (size_t)l * latent_floats(w));
}

static bool restore(BatchWork *w)
{
    enter(w, PHASE_TRANSFORMER);
    const upres_options *o = w->means->picture->options;
    const PipelineNetworks *n = w->means->networks;
    int t = latent_frames(w), height = latent_height(w), width = latent_width(w), c = latent_channels(w);
    size_t count = (size_t)t * latent_floats(w);
    float *noise = floats(count, w->fault), *augment = NULL, *conditioned = NULL;
    bool ok = noise != NULL;
    if (ok && o->latent_noise > 0) ok = (augment = floats(count, w->fault)) != NULL;
    if (ok) ok = (conditioned = floats(count / (size_t)c * (size_t)(c + 1), w->fault)) != NULL;
    if (ok) {
        fill_noise(w, NOISE_BASE, noise);
        if (augment) fill_noise(w, NOISE_AUGMENT, augment);
        condition(w->latent, noise, augment, t, height, width, c, o->latent_noise, conditioned, c + 1);
        free(w->latent);
        w->latent = noise; /* the sampler turns the noise into the restored latent in place */
        noise = NULL;
        ok = n->restore(n->user, t, height, width, w->latent, conditioned, w->fault);
    }
    free(noise);
    free(augment);
    free(conditioned);
    return ok;
}

static bool read_latent(void *user, const VaeRegion *r)
{
    const BatchWork *w = user;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++)
            for (int x = 0; x < r->width; x++)
                r->data[c * r->plane + y * r->row + x] = latent_at(w, r->frame, r->y + y, r->x + x)[c] / VAE_SCALING;
    return true;
}

/* Keep what lies inside the size that is written; the filling on the right and at the bottom falls away. */
static bool write_picture(void *user, const VaeRegion *r, bool add)
{
    BatchWork *w = user;
    const SizePlan *z = size_of(w);
    if (r->frame >= w->keep) return true;
    float **picture = &w->decoded[r->frame];
    if (!*picture && !(*picture = floats(3 * true_pixels(w), w->fault))) return false;
    int height = r->y + r->height > z->true_h ? z->true_h - r->y : r->height;
    int width = r->x + r->width > z->true_w ? z->true_w - r->x : r->width;
    if (height <= 0 || width <= 0) return true;
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < height; y++) {
            float *out = *picture + (size_t)c * true_pixels(w) + (size_t)(r->y + y) * (size_t)z->true_w + (size_t)r->x;
            const float *in = r->data + c * r->plane + y * r->row;
            for (int x = 0; x < width; x++) out[x] = add ? out[x] + in[x] : in[x];
        }
    bool whole = !add && r->y == 0 && r->x == 0 && r->height == z->padded_h && r->width == z->padded_w;
    if (whole && r->frame == w->complete) w->complete++;
    return true;
}

bool batch_work_begin(BatchWork *w, const BatchMeans *m, Fault *f)
{
    const SizePlan *z = &m->picture->size;
    const PipelineNetworks *n = m->networks;
    w->means = m;
    w->fault = f;
    if (!encode(w) || !restore(w)) return false;
    w->decoding = true; /* to be closed, also where it did not open well */
    if (n->decode_open(n->user, z->padded_h, z->padded_w, latent_frames(w), w->keep, (VaeVideo){w, read_latent, NULL},
                       (VaeVideo){w, NULL, write_picture}, f))
        return true;
    drop_networks(w);
    return false;
}

bool batch_work_step(BatchWork *w, bool *more, Fault *f)
{
    const PipelineNetworks *n = w->means->networks;
    w->fault = f;
    enter(w, PHASE_DECODE);
    const bool ok = n->decode_step(n->user, more, f);
    if (ok && *more) return true;
    if (ok) w->complete = w->keep;
    drop_networks(w); /* here, as it is this device's thread */
    return ok;
}

float *batch_work_take(BatchWork *w, int64_t *position)
{
    if (w->taken == w->complete) return NULL;
    *position = w->batch.start + w->taken;
    float *picture = w->decoded[w->taken];
    w->decoded[w->taken++] = NULL;
    return picture;
}
