/*
 * FlashVSR's projection of low-quality frames to tokens. Source: OpenImagingLab/FlashVSR
 * examples/WanVSR/utils/utils.py (Buffer_LQ4x_Proj, Causal_LQ4x_Proj).
 *
 * It takes frame 0 alone and then four frames a call; every call but the first gives the tokens of one latent frame.
 * Two convolutions of kernel (4,3,3) and stride (2,1,1) see two frames in front of a call's own: in version 1.1 the
 * last two of the call before, in version 1 the last two of this very call.
 */
#ifndef UPRES_RUNTIME_MODELS_FLASHVSR_LQ_H
#define UPRES_RUNTIME_MODELS_FLASHVSR_LQ_H

#include "loader/weights.h"
#include "runtime/dev.h"
#include "runtime/models/seedvr2_vae.h" /* VaeVideo: samples by position */

enum { FLASH_PATCH = 16 }; /* pixels a token, each way */

typedef struct FlashLq FlashLq;

/* NULL and a sentence on a missing tensor or wrong shape. The part must outlive it. */
FlashLq *flash_lq_open(const WeightPart *part, char *error, size_t error_size);
void flash_lq_close(FlashLq *m);      /* NULL is allowed */
int flash_lq_width(const FlashLq *m); /* channels of a token */

/* Position and memory of one stream, in the arena. h, w: pixels, multiples of FLASH_PATCH. NULL: the device has
 * failed. */
typedef struct FlashLqStream FlashLqStream;
FlashLqStream *flash_lq_stream_open(FlashLq *m, Dev *d, int h, int w, bool causal);
void flash_lq_stream_close(FlashLqStream *s); /* NULL is allowed */

/* The next call, of 1 frame, then of 4. tokens [1][h / 16][w / 16][width] receives one latent frame; the first call gives none and leaves
 * it. */
void flash_lq_call(FlashLqStream *s, VaeVideo frames, Tensor tokens);

/* For tests: what the last call left in front of convolution 1 or 2, [2][h / 16][w / 16][c]; version 1.1 only. */
Tensor flash_lq_tail(const FlashLqStream *s, int convolution);

#endif
