/*
 * SeedVR2's one-step diffusion transformers (3B and 7B kind) and their sampler.
 * Source: ByteDance-Seed/SeedVR models/dit_v2 (3B), models/dit (7B), common/diffusion.
 */
#ifndef UPRES_RUNTIME_MODELS_SEEDVR2_DIT_H
#define UPRES_RUNTIME_MODELS_SEEDVR2_DIT_H

#include "loader/weights.h"
#include "runtime/dev.h"

typedef struct Dit Dit;

/* Bind all weights. The part must outlive the Dit. NULL and a sentence on a missing tensor or shape. */
Dit *dit_open(const WeightPart *part, char *error, size_t error_size);
void dit_close(Dit *m);
const DitConfig *dit_config(const Dit *m);

/* For tests: "vid_in", "txt_in", "emb", "block<i>.vid", "block<i>.txt": rows x columns floats, padded columns. */
typedef void (*DitTap)(void *user, const char *where, const float *rows, int row_count, int columns, int padded);
void dit_set_tap(Dit *m, DitTap tap, void *user);

/*
 * Velocity prediction. x [t][h][w][in_channels] (noise 16, condition 16, mask 1), h and w even; text:
 * [L][text_width]; timestep 0..1000. y [t][h][w][out_channels].
 */
void dit_forward(Dit *m, Dev *d, Tensor x, const WeightPart *text, float timestep, Tensor y);

typedef struct DitSampling {
    int steps;               /* 1 */
    double guidance;         /* 1: the negative text is not evaluated */
    double guidance_rescale; /* 0 */
} DitSampling;

/*
 * Restore a latent: x (in/out) [t][h][w][16] holds the noise x_T and receives x_0; condition [t][h][w][17] the
 * low-quality latent * 0.9152 and the mask. progress (may be NULL) is told 0..1.
 */
void dit_sample(Dit *m, Dev *d, Tensor x, Tensor condition, const WeightPart *text, const WeightPart *negative,
                DitSampling s, void (*progress)(void *user, double done), void *user);

/* Window partition of a token grid (spec 5). size: wt, wh, ww. Returns the count; rows may be NULL. */
void dit_window_size(int t, int h, int w, int size[3]);
int dit_windows(int t, int h, int w, bool shifted, AttentionWindow *rows);

#endif
