/*
 * TCDecoder: FlashVSR's tiny conditional decoder. Latents and the low-quality frames of the same time to frames.
 * Source: OpenImagingLab/FlashVSR examples/WanVSR/utils/TCDecoder.py, after madebyollin/taehv.
 */
#ifndef UPRES_RUNTIME_MODELS_TCDECODER_H
#define UPRES_RUNTIME_MODELS_TCDECODER_H

#include "loader/weights.h"
#include "runtime/dev.h"
#include "runtime/models/seedvr2_vae.h" /* VaeVideo: samples by position */

typedef struct TcDecoder TcDecoder;

/* Bind the weights; widths are read off their shapes. The part must outlive it. NULL and a sentence on a missing tensor. */
TcDecoder *tcdecoder_open(const WeightPart *part, char *error, size_t error_size);
void tcdecoder_close(TcDecoder *m);

/* The memory of one stream of frames (of one tile), in the arena. */
typedef struct TcStream TcStream;
TcStream *tcdecoder_stream_open(TcDecoder *m, Dev *d, int h, int w); /* latent cells */
void tcdecoder_stream_close(TcStream *s);

/*
 * The next latents [n][h][w][16], as the transformer gives them. condition: read() is asked for frames of 3 x 8h x 8w in
 * [-1, 1], numbered through the stream from 0 (the first call's 4n - 3 frames, 4n later). frames: write() receives the
 * results under the same numbers, planar, in the network's own range (about [0, 1], not clamped), whole frames in order.
 */
void tcdecoder_run(TcStream *s, Tensor latents, VaeVideo condition, VaeVideo frames);

/* For tests: layer outputs "N.kind" before trimming, [h][w][c_pad] a frame; memories of MemBlock n as [h][w][c]. */
void tcdecoder_set_tap(TcDecoder *m, VaeTap tap, void *user);
bool tcdecoder_memory(TcStream *s, int layer, float *out, int *h, int *w, int *c);

#endif
