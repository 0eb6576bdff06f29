/*
 * FlashVSR's streaming transformer with its low-quality projection: padded low-quality frames to latents, chunk by
 * chunk, with a key/value cache and block-sparse attention. Source: OpenImagingLab/FlashVSR
 * diffsynth/models/wan_video_dit.py, examples/WanVSR/utils/utils.py.
 */
#ifndef UPRES_RUNTIME_MODELS_FLASHVSR_H
#define UPRES_RUNTIME_MODELS_FLASHVSR_H

#include "loader/weights.h"
#include "runtime/dev.h"
#include "runtime/models/flashvsr_dit.h" /* FlashvsrSetup, FlashvsrTap */
#include "runtime/models/seedvr2_vae.h"  /* VaeVideo: samples by position */

typedef struct Flashvsr Flashvsr;

/* dit, lq: the two parts; prompt: [1, L, width] or [L, width]. All must outlive it. NULL and a sentence on a
 * missing tensor or wrong shape. */
Flashvsr *flashvsr_open(const WeightPart *dit, const WeightPart *lq, const WeightPart *prompt, char *error,
                        size_t error_size);
void flashvsr_close(Flashvsr *m); /* NULL is allowed */

/* State of one stream (of one tile), in the arena: constants, projection's memory, key/value cache. h, w: pixels of
 * padded frames, multiples of 128. NULL: the device has failed. */
typedef struct FlashvsrStream FlashvsrStream;
FlashvsrStream *flashvsr_stream_open(Flashvsr *m, Dev *d, int h, int w, FlashvsrSetup setup);
void flashvsr_stream_close(FlashvsrStream *s); /* NULL is allowed */

int flashvsr_chunk_frames(const FlashvsrStream *s);  /* low-quality frames the next chunk reads: 25, then 8 */
int flashvsr_chunk_latents(const FlashvsrStream *s); /* latent frames it gives: 6, then 2 */

/*
 * The next chunk. frames: read() is asked for padded frames 3 x h x w in [-1, 1] by number in the stream, each once,
 * rising (the caller repeats the last one past the clip's end). latent [6 | 2][h / 8][w / 8][16]: holds the noise,
 * receives noise - velocity.
 */
void flashvsr_chunk(FlashvsrStream *s, VaeVideo frames, Tensor latent);

void flashvsr_set_tap(Flashvsr *m, FlashvsrTap tap); /* for tests */

#endif
