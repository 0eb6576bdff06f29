/*
 * FlashVSR's streaming transformer with its low-quality projection: padded low-quality frames to latents, chunk by chunk,
 * with a key/value cache and block-sparse attention. Source: OpenImagingLab/FlashVSR diffsynth/models/wan_video_dit.py,
 * examples/WanVSR/utils/utils.py.
 */
#ifndef UPRES_RUNTIME_MODELS_FLASHVSR_H
#define UPRES_RUNTIME_MODELS_FLASHVSR_H

#include "loader/weights.h"
#include "runtime/dev.h"
#include "runtime/models/seedvr2_vae.h" /* VaeVideo: samples by position */

typedef struct Flashvsr Flashvsr;

/* dit, lq: the two parts; prompt: [1, L, width] or [L, width]. NULL and a sentence on a missing tensor or wrong shape. */
Flashvsr *flashvsr_open(const WeightPart *dit, const WeightPart *lq, const WeightTensor *prompt, char *error,
                        size_t error_size);
void flashvsr_close(Flashvsr *m);

typedef struct FlashvsrSetup {
    bool causal;         /* v1.1's projection rule; false: v1 */
    double sparse_ratio; /* 0.1 .. 16; <= 0: dense, every block within the local range */
    int kv_slices;       /* slices kept between chunks, at least 2 */
    int local_range;     /* odd */
    int block_keys;      /* 128 or 64 */
} FlashvsrSetup;

/* State of one stream (of one tile), in the arena: constants, projection's memory, key/value cache. h, w: pixels of padded
 * frames, multiples of 128. */
typedef struct FlashvsrStream FlashvsrStream;
FlashvsrStream *flashvsr_stream_open(Flashvsr *m, Dev *d, int h, int w, FlashvsrSetup setup);
void flashvsr_stream_close(FlashvsrStream *s);

int flashvsr_chunk_frames(const FlashvsrStream *s);  /* low-quality frames the next chunk reads: 25, then 8 */
int flashvsr_chunk_latents(const FlashvsrStream *s); /* latent frames it gives: 6, then 2 */

/*
 * The next chunk. frames: read() is asked for padded frames 3 x h x w in [-1, 1] by number in the stream, each once, rising
 * (the caller repeats the last one past the clip's end). latent [6 | 2][h / 8][w / 8][16]: holds the noise, receives
 * noise - velocity.
 */
void flashvsr_chunk(FlashvsrStream *s, VaeVideo frames, Tensor latent);

/* For tests: values inside ("lq", "block<i>", "mask<i>" ...) of the chunk at work; masks [heads][query][key] bytes can be
 * replaced by the observer before they are used. */
typedef struct FlashvsrTap {
    void *user;
    void (*value)(void *user, const char *where, int chunk, const float *rows, int row_count, int columns, int padded);
    void (*mask)(void *user, int block, int chunk, uint8_t *mask, int heads, int queries, int keys);
} FlashvsrTap;
void flashvsr_set_tap(Flashvsr *m, FlashvsrTap tap);

#endif
