/*
 * The SeedVR2 pipeline around its networks: source frames are pushed, results are pulled, in rising order.
 *
 *   push -> source store -> transform -> encode -> noise, condition -> restore -> decode -> crossfade -> held frames
 *        -> alpha, colour, strength -> pull
 *
 * A batch runs when its frames are there. Its decoder stays open between pulls: a picture that no later batch can change
 * is finished and handed out before the next one is decoded. Results that depend on a whole slice (guided alpha,
 * histograms over batches) wait for it. Memory: one batch, whatever the length of the clip.
 *
 * On a GPU the next batch's sources are taken too while one is worked on, and where they are there its encoder is given work
 * before the results of the one before are handed out: the device does not wait until the caller has taken them all.
 *
 * Batches know nothing of each other, so several devices can work on them at once, each with a thread and networks of its
 * own. What joins batches (crossfade, alpha, colour) stays with the caller's thread and takes them in their order, so the
 * results are those of one device, bit for bit. Memory: a batch a device and one more.
 *
 * The networks are function pointers, so that a test can put simple arithmetic in their place.
 * A Pipeline belongs to one thread. Rules: numz/ComfyUI-SeedVR2_VideoUpscaler; noise by absolute position.
 */
#ifndef UPRES_RUNTIME_PIPELINE_H
#define UPRES_RUNTIME_PIPELINE_H

#include "runtime/models/seedvr2_vae.h"
#include "runtime/picture.h"
#include "runtime/schedule.h"

enum { PIPELINE_SPATIAL = 8, PIPELINE_TEMPORAL = 4 }; /* pixels and frames a latent */

/*
 * The networks of a job. Sizes are of padded pictures; c latent channels. Each returns false with its sentence in f.
 *   encode   frames x [3][h][w] in [-1, 1], by position; moments: the mean in the first c channels, unscaled
 *   restore  x [t][h / 8][w / 8][c]: noise in, restored latent out; condition [t][h / 8][w / 8][c + 1]
 *   decode   t latents, unscaled, by position, to 4 (t - 1) + 1 pictures, of which `keep` are wanted; in steps, until
 *            *more is false. A picture is complete when all of it was written at once, or when the decoder is through.
 * Where the device works while the host does other things, else NULL:
 *   encode_ahead  begins what encode will be asked with the same arguments, or goes on with it: gives out a little of it. What
 *                 fails there fails again in encode
 *   decode_waits  is all of the decoder's work given out, so that the step that is left only takes a picture? encode_ahead is
 *                 allowed then, and without a decoder
 */
typedef struct PipelineNetworks {
    void *user;
    int latent_channels;
    bool encode_tiled; /* encode reads a frame more than once */
    bool (*encode)(void *user, int h, int w, int frames, VaeVideo pictures, VaeVideo moments, Fault *f);
    bool (*restore)(void *user, int t, int h, int w, float *x, const float *condition, Fault *f);
    bool (*decode_open)(void *user, int h, int w, int t, int keep, VaeVideo latents, VaeVideo pictures, Fault *f);
    bool (*decode_step)(void *user, bool *more, Fault *f);
    void (*decode_close)(void *user);
    void (*encode_ahead)(void *user, int h, int w, int frames, VaeVideo pictures, VaeVideo moments);
    bool (*decode_waits)(void *user);
} PipelineNetworks;

typedef enum PipelinePhase { PHASE_ENCODE, PHASE_TRANSFORMER, PHASE_DECODE, PHASE_COLOR, PHASE_COUNT } PipelinePhase;

enum { PIPELINE_DEVICES_MAX = 16, PIPELINE_CALLER = -1 };

/*
 * Told of the course of things. Functions may be NULL. Those that name a device run on the thread that works on it: with one
 * device the caller's, as does whatever is PIPELINE_CALLER's.
 */
typedef struct PipelineWatch {
    void *user;
    void (*batch_begins)(void *user, int device, int64_t k, const Batch *b);
    void (*phase)(void *user, int device, PipelinePhase phase); /* what is worked on from now on */
    void (*batch_ends)(void *user, int device, int64_t k, const Batch *b);
    void (*batch_fails)(void *user, int device, Fault *f); /* with several devices: for the sentence to name it */
    /* With several devices: on the caller's thread, again and again while it waits for them. false: stop, cancelled. */
    bool (*waiting)(void *user);
} PipelineWatch;

typedef struct PipelineSetup {
    PictureSetup picture; /* slice_frames is filled in */
    int64_t frames;       /* of the clip; 0: not known */
    int64_t frame0;       /* absolute number of the clip's first frame, for noise */
    PipelineNetworks networks;
    const PipelineNetworks *others; /* of further devices, which compute the same; read when the pipeline is opened */
    int other_count;
    PictureDevice *input_device[PIPELINE_DEVICES_MAX]; /* with others: that is asked first for what each encodes; NULL: none.
                                                          Outlive the pipeline */
    PipelineWatch watch;
} PipelineSetup;

typedef struct PipelineResult {
    int64_t number;    /* in the clip, from 0 */
    const void *codes; /* in the setup's form, no gaps between rows; valid until the next call. NULL: what follows is unit */
    float *rgb,
        *alpha; /* unit, [3][true_h][true_w] and [true_h][true_w] or NULL; valid until the next call, may be changed */
} PipelineResult;

typedef struct Pipeline Pipeline;

/* The most frames that a slice of such a job holds. */
int pipeline_slice_frames(const upres_options *o, int64_t frames);

Pipeline *pipeline_open(const PipelineSetup *s, Fault *f); /* NULL and a fault */
void pipeline_close(Pipeline *p);

/* Working memory outside the networks' own, about: frames, latents, scratch. decode_tiled: pictures stay incomplete until
 * a batch's decoder is through. Of the setup's networks it takes latent_channels, encode_tiled, whether there is encode_ahead,
 * and how many others there are. */
uint64_t pipeline_bytes(const PipelineSetup *s, bool decode_tiled);

bool pipeline_select(Pipeline *p, int64_t first, int64_t last); /* before the first push; false: no memory */
int64_t pipeline_wants(Pipeline *p);                            /* -1: nothing more */
/* UPRES_OK, UPRES_AGAIN (pull first), or a fault. The frame is the one that is wanted. bits 0: stride is not looked at. */
upres_status pipeline_push(Pipeline *p, const void *data, ptrdiff_t stride, Fault *f);
upres_status pipeline_drain(Pipeline *p, Fault *f);
upres_status pipeline_pull(Pipeline *p, PipelineResult *r, Fault *f); /* OK, AGAIN, END, or a fault */
int64_t pipeline_latency(Pipeline *p);
/* The schedule in use; sealed by the first push or pull. */
const Schedule *pipeline_schedule(const Pipeline *p);

#endif
