/*
 * SeedVR2's causal video autoencoder: frames <-> latents, streamed, optionally in spatial tiles.
 * Source: ByteDance-Seed/SeedVR models/video_vae_v3; tiles as in numz/ComfyUI-SeedVR2_VideoUpscaler.
 *
 * Slicing in time is exact: every operation is per frame or causal. Encoding takes 1 frame, then `temporal_factor` a
 * latent; decoding gives 1 frame, then temporal_factor a latent, one picture at a time after the last temporal
 * upsampler. Nothing grows with the number of frames. Tiles are not exact: each tile is a video of its own.
 */
#ifndef UPRES_RUNTIME_MODELS_SEEDVR2_VAE_H
#define UPRES_RUNTIME_MODELS_SEEDVR2_VAE_H

#include "loader/weights.h"
#include "runtime/dev.h"

#define VAE_SCALING 0.9152f /* latent the transformer sees = posterior mean * this */

typedef struct Vae Vae;

typedef enum VaeFold { VAE_FOLD_AUTO, VAE_FOLD_OFF, VAE_FOLD_ON } VaeFold; /* folded upsamplers; auto: where they pay */

/* Bind the weights of the halves given. The parts must outlive the Vae. NULL and a sentence on a missing tensor. */
Vae *vae_open(VaeParts parts, char *error, size_t error_size);
void vae_close(Vae *v);
const VaeConfig *vae_config(const Vae *v);
void vae_set_fold(Vae *v, VaeFold fold);

/*
 * Tiles in output pixels; tile 0: off. Sizes need not be multiples of the spatial factor (the sources' rules apply).
 * thrifty: in less memory and with more steps, to the same bits.
 */
typedef struct VaeTiles {
    int tile_h, tile_w, overlap_h, overlap_w;
    bool thrifty;
} VaeTiles;

/* By position, planar float samples; see upres_region / upres_video in upres.h, whose meaning this has. On a plan device
 * neither is called. */
typedef struct VaeRegion {
    int64_t frame;
    int y, x, height, width, channels;
    float *data; /* plane c at data + c * plane, rows row floats apart */
    int64_t plane, row;
} VaeRegion;

typedef struct VaeVideo {
    void *user;
    bool (*read)(void *user, const VaeRegion *r);            /* false stops the job */
    bool (*write)(void *user, const VaeRegion *r, bool add);
} VaeVideo;

/* A job in steps, so that results can be taken while it runs. Step: true while there is more to do (look at dev_ok()). On a GPU a
 * step gives out work and then takes the result of the one before, so that the device is not idle while the host sees to that. */
typedef struct VaeJob VaeJob;

/*
 * Encode `count` frames of 3 x h x w in [-1, 1]. Latent frames written: (count - 1) / temporal_factor + 1 (a remainder
 * is ignored, as in the original); channels: 2 * latent_channels moments (mean, then log-variance), unscaled, of
 * h / 8 x w / 8 (tiled: rounded up). A step is one latent frame of one tile.
 */
VaeJob *vae_encode_open(Vae *v, Dev *d, int h, int w, int64_t count, VaeTiles tiles, VaeVideo frames, VaeVideo moments);
/*
 * Decode `count` latent frames of latent_channels x h x w, unscaled (the transformer's latent / VAE_SCALING), to
 * temporal_factor * (count - 1) + 1 frames of 3 x 8h x 8w, raw. A step is one picture of one tile; frames at or beyond
 * `keep` (0: all) are neither computed nor written.
 */
VaeJob *vae_decode_open(Vae *v, Dev *d, int h, int w, int64_t count, int64_t keep, VaeTiles tiles, VaeVideo latents,
                        VaeVideo frames);
bool vae_step(VaeJob *j);
/* The steps from here on compute this tile alone, and the last of them says that there is no more to do: for jobs whose tiles
 * several devices share. Tiles know nothing of each other; what they write has to be stored and added in their order. */
void vae_job_tile(VaeJob *j, int64_t tile);
bool vae_job_waits(const VaeJob *j);  /* all work is given out and its memory free: the next step but takes the last result, */
bool vae_job_take(VaeJob *j);         /* as does this, also after the device failed at other work; false: it could not */
double vae_progress(const VaeJob *j); /* 0..1 */
void vae_job_close(VaeJob *j);        /* gives its memory back to the arena; NULL is allowed */
int vae_tile_count(int h, int w, int factor, VaeTiles tiles, bool decode); /* tiles a frame; h, w of frames */

/* For tests: an observer of network values ("conv_in", "mid", "up0", "down2" ...) and single modules run by name. */
typedef void (*VaeTap)(void *user, const char *where, int64_t frame, const float *nhwc, int h, int w, int c, int c_pad);
void vae_set_tap(Vae *v, VaeTap tap, void *user);

/*
 * One module by its full name ("decoder.up_blocks.1.resnets.0") over t frames [t][h][w][c] fed in `parts` calls with
 * carried state. kind: norm_silu, causal_conv, resnet, attention, downsample, upsample. out must hold the result;
 * *ot, *oh, *ow, *oc receive its shape. state_name (NULL: none): a convolution whose memory is wanted in state_out.
 */
typedef struct VaeModuleRun {
    const char *kind, *module;
    const float *x;
    int t, h, w, c;
    const int *parts;
    int part_count;
    float *out;
    int ot, oh, ow, oc;
    const char *state_name;
    float *state_out;
    int st, sh, sw, sc;
} VaeModuleRun;
bool vae_run_module(const WeightPart *part, Dev *d, VaeFold fold, VaeModuleRun *r, char *error, size_t error_size);

/* For tests: memory of the convolution called `name` of a job that has run; false when it has none. */
bool vae_job_state(VaeJob *j, const char *name, float *out, int *t, int *h, int *w, int *c);
void vae_job_keep_state(VaeJob *j); /* call before the first step: state survives the last one until close */

#endif
