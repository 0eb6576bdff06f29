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

/* Bind the weights; widths are read off their shapes. The part must outlive it. NULL and a sentence on a missing
 * tensor. */
TcDecoder *tcdecoder_open(const WeightPart *part, char *error, size_t error_size);
void tcdecoder_close(TcDecoder *m);

/* The memory of one stream of frames (of one tile), in the arena. */
typedef struct TcStream TcStream;
TcStream *tcdecoder_stream_open(TcDecoder *m, Dev *d, int h, int w); /* latent cells */
void tcdecoder_stream_close(TcStream *s);

/*
 * The next latents [n][h][w][16], as the transformer gives them. condition: read() is asked for frames of 3 x 8h x 8w
 * in [-1, 1], numbered through the stream from 0 (the first call's 4n - 3 frames, 4n later). frames: write() receives
 * the results under the same numbers, planar, in the network's own range (about [0, 1], not clamped), whole frames in
 * order.
 */
void tcdecoder_run(TcStream *s, Tensor latents, VaeVideo condition, VaeVideo frames);

/* Rows of the last level's frames that become pixels at a time, which bounds the memory; 0: by the picture's width. */
void tcdecoder_set_strip(TcDecoder *m, int rows);

/*
 * The condition of one latent: frames first .. first + 3 (those before 0 are frame 0) of 3 x 8h x 8w into the first 768
 * channels of x [1][h][w][>= 768]. Colour, frame, row and column within the cell: ((c * 4 + j) * 8 + y) * 8 + x.
 */
void tcdecoder_fold_condition(Dev *d, Tensor x, VaeVideo condition, int64_t first);

/* For tests: layer outputs "N.conv" (before a ReLU) and "N.mem" before trimming, [h][w][c_pad] a frame, those of pixels
 * when one strip is the whole picture; the memory of MemBlock n as [h][w][c] with a border of zeros one pixel wide. */
void tcdecoder_set_tap(TcDecoder *m, VaeTap tap, void *user);
bool tcdecoder_memory(TcStream *s, int layer, float *out, int *h, int *w, int *c);

#endif
