/*
 * The Wan 2.1 video autoencoder (any width: Wan 2.1, LightVAE), streamed, optionally in exact tiles. Frames go through
 * one by one, depth first, so the memory holds one picture and each convolution's history whatever the clip's length.
 * Failures latch in the device (dev_error); a VAE with other than 16 latent channels is refused when it is opened.
 * Source: OpenImagingLab/FlashVSR diffsynth/models/wan_video_vae.py.
 */
#ifndef UPRES_RUNTIME_MODELS_WAN_VAE_H
#define UPRES_RUNTIME_MODELS_WAN_VAE_H

#include "loader/weights.h"
#include "runtime/dev.h"
#include "runtime/models/seedvr2_vae.h" /* VaeVideo: samples by position */

typedef struct WanVae WanVae;

WanVae *wan_vae_open(const WeightPart *part, bool encoder, bool decoder, char *error, size_t error_size);
void wan_vae_close(WanVae *v);

typedef struct WanStream WanStream; /* memory of one stream of frames, in the arena */

/* Decode: h, w latent cells. Encode: h, w pixels. */
WanStream *wan_decode_open(WanVae *v, Dev *d, int h, int w);
WanStream *wan_encode_open(WanVae *v, Dev *d, int h, int w);
void wan_stream_close(WanStream *s);

/* The next latents [n][h][w][16] (as the transformer gives them: mean and deviation are undone here). Frames are
 * written one by one, whole, planar, numbered through the stream, raw (about [-1, 1], not clamped): 4n - 3 at the
 * start, 4n later. */
void wan_decode(WanStream *s, Tensor latents, VaeVideo frames);

/* The next `count` frames of 3 x h x w in [-1, 1] (4m + 1 at the start, 4m later), read by stream number. Latents are
 * written planar, 16 channels, normalised by mean and deviation. */
void wan_encode(WanStream *s, int64_t count, VaeVideo frames, VaeVideo latents);

/*
 * A whole clip of `count` latents, whole or in spatial tiles, each carried through all frames. Exact: everything up to
 * the middle block on the whole picture (kept for all latents), then tiles of `tile` latent cells with the context
 * their blocks see (13 cells): equal to no tiles but for rounding. Sizes above 0 instead: the original's overlapping
 * tiles of ramp_size_h x ramp_size_w cells, a stride apart, blended with ramps; what overlaps is added to what was
 * written (add). Raw as ever: the original clamps to [-1, 1] afterwards.
 */
typedef struct WanTiles {
    int tile;                                                   /* exact; 0: off */
    int ramp_size_h, ramp_size_w, ramp_stride_h, ramp_stride_w; /* size 0: that axis is not cut */
} WanTiles;
void wan_decode_tiled(WanVae *v, Dev *d, int h, int w, int64_t count, WanTiles tiles, VaeVideo latents,
                      VaeVideo frames);
/*
 * The exact tiles as a stream, as wan_decode: each tile keeps its own history in the arena. Pictures are written frame by
 * frame and tile by tile, each sample once. tile: latent cells, at least 1. NULL: the device has failed.
 */
typedef struct WanTiledStream WanTiledStream;
WanTiledStream *wan_tiled_open(WanVae *v, Dev *d, int h, int w, int tile);
void wan_tiled_decode(WanTiledStream *s, Tensor latents, VaeVideo frames);
void wan_tiled_close(WanTiledStream *s); /* NULL is allowed */

/* Encode in the original's ramp tiles; sizes and strides in pixels, whole latent cells. Frames beyond 4m + 1 are
 * ignored. */
void wan_encode_tiled(WanVae *v, Dev *d, int h, int w, int64_t count, WanTiles tiles, VaeVideo frames,
                      VaeVideo latents);

/* For tests: block outputs named as the tensors' prefix; the two (one) remembered frames of a convolution
 * [n][h][w][c] with the zeros that surround them. */
void wan_vae_set_tap(WanVae *v, VaeTap tap, void *user);
bool wan_stream_state(WanStream *s, const char *conv, float *out, int *t, int *h, int *w, int *c);

#endif
