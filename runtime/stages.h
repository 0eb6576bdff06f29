/*
 * The autoencoder's halves by themselves: frames to latents, latents to frames, read and written by position.
 */
#ifndef UPRES_RUNTIME_STAGES_H
#define UPRES_RUNTIME_STAGES_H

#include "runtime/cost.h"
#include "runtime/device.h"

/* One stage, found in the weights and fitted into memory. */
typedef struct Stage {
    Vae *vae;
    Device device;
    TileChoice choice; /* with the tiles in use and their cost */
    int tile_count;    /* tiles a frame */
    int64_t frames;    /* pictures: what encode takes (4n + 1), what decode gives */
    uint64_t weight_bytes, fixed_bytes;
    uint64_t peak_bytes; /* of what the limit is for: arena, weights and fixed; on a GPU, whose memory holds no frames, not those */
    uint64_t limit;
    char note[256]; /* what auto chose and why, and what is streamed; "" when nothing */
} Stage;

/*
 * height, width: of pictures. count: frames to encode (mirrored up to 4n + 1), latents to decode. Errors:
 * UPRES_E_ARGUMENT for sizes that do not fit the network, UPRES_E_INPUT, UPRES_E_MEMORY.
 */
upres_status stage_open(Stage *s, const WeightSet *w, const upres_options *o, bool decode, int height, int width,
                        int64_t count, Fault *f);
void stage_close(Stage *s);

upres_status stage_encode(const WeightSet *w, const upres_options *o, int width, int height, int64_t count,
                          const upres_video *frames, const upres_video *latents, Fault *f);
upres_status stage_decode(const WeightSet *w, const upres_options *o, int latent_width, int latent_height,
                          int64_t count, int64_t keep, const upres_video *latents, const upres_video *frames, Fault *f);

/* Form of the weights' autoencoder, of its decoder where there is one; NULL and a fault without one. */
const VaeConfig *stage_vae_form(const WeightSet *w, Fault *f);

#endif
