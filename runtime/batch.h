/*
 * How a clip is cut in time: mirrored frames, batches, crossfades, and what noise a batch's latents get.
 *
 * Frames are counted in the extended clip: `prepend` mirrored frames, then the source's own. Everything is a closed
 * form of the batch's number, so a batch can be planned alone, resumed at, or given to another machine. Rules of
 * numz/ComfyUI-SeedVR2_VideoUpscaler, except noise, which is keyed by absolute frame. Pure functions.
 */
#ifndef UPRES_RUNTIME_BATCH_H
#define UPRES_RUNTIME_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Position i (0 <= i < t + count) of a clip of t frames extended by `count` mirrored ones in front (prepend) or behind:
 * which of the t frames stands there. When there are more to add than frames to mirror the last frame fills the far
 * end.
 */
int64_t mirror_index(int64_t t, int64_t count, bool prepend, int64_t i);

/* Frames to append so that t becomes 4n + 1: what the encoder takes. */
int64_t pad_4n1(int64_t t);

typedef struct BatchPlan {
    int64_t total;           /* frames of the extended clip */
    int64_t count;           /* batches; 0 when total is 0 */
    int size, overlap, step; /* frames; overlap is 0 when the wish left no step */
    bool uniform;
} BatchPlan;

/* batch_size >= 1, overlap >= 0. uniform: the last batch is filled up with mirrored frames to batch_size. */
BatchPlan batch_plan(int64_t total, int batch_size, int overlap, bool uniform);

typedef struct Batch {
    int64_t start, end;         /* frames of the extended clip, end exclusive */
    int uniform_pad, pad;       /* frames appended: to batch_size, then to 4n + 1 */
    int frames;                 /* what the encoder sees: end - start + both */
    int64_t write_lo, write_hi; /* results owned once the frames shared with the batch before are blended into it */
} Batch;

/* 0 <= k < count. Of `total` it needs only what lies up to start + batch_size + 1: with an unknown end any larger
 * number does as long as that many frames are known to come. */
Batch batch_at(const BatchPlan *p, int64_t k);

/* Frame of the extended clip that stands at position i < b->frames of the encoder's input. */
int64_t batch_frame(const Batch *b, int i);

/* ------------------------------------------------------------------------------------------------------- crossfade */

typedef enum Blend {
    BLEND_HANN3, /* half a cosine over the middle third; 1 and 2 shared frames: [1], [1, 0], a cut */
    BLEND_LINEAR /* (O - i) / (O + 1) */
} Blend;

/* Weight of the earlier batch in shared frame i of `overlap`. */
float blend_weight(Blend blend, int overlap, int i);

/* earlier = earlier * weight + later * (1 - weight), `count` floats. */
void crossfade(float *earlier, const float *later, size_t count, float weight);

/* ------------------------------------------------------------------------------------------------ noise of latents */

/* The absolute frame that keys latent l of a batch that starts at absolute frame `start`: the last one it covers.
 * Absolute: counted in the source, so mirrored frames in front are negative. */
int64_t latent_frame(int64_t start, int l);

/*
 * The transformer's timestep 0..1000 for the noise level `t` on a latent of h x w cells and `channels` channels. The
 * public pipelines hand (h, w, channels) to a rule that was written for (frames, h, w); presets are tuned to that, so
 * it is kept.
 */
double timestep_shift(double t, int h, int w, int channels);

/*
 * The transformer's condition: the latent, noised when `scale` (0..1) is above 0, and a mask of ones as last channel.
 * latent, noise, augment [pixels][channels]; pixels = t * h * w. x = (1 - b) latent + b (0.1 noise + 0.05 augment),
 * b = timestep_shift(1000 scale, h, w, channels) / 1000. out: channels + 1 floats a pixel, rows out_stride floats
 * apart; what lies between is set to 0. augment may be NULL when scale is 0.
 */
void condition(const float *latent, const float *noise, const float *augment, int t, int h, int w, int channels,
               double scale, float *out, int out_stride);

#endif
