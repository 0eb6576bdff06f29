/*
 * Upscaling alpha: resized, then led along the edges of the decoded picture by a guided filter (He, Sun, Tang 2010),
 * and sharpened when it is a mask rather than a gradient. Method of numz/ComfyUI-SeedVR2_VideoUpscaler.
 *
 * What the frames of a batch decide together is gathered first (AlphaRule, over all of them in any order); then each
 * frame stands alone, so frames may be done in any order and by several threads, each with scratch of its own.
 */
#ifndef UPRES_KERNELS_CPU_ALPHA_H
#define UPRES_KERNELS_CPU_ALPHA_H

#include "kernels/cpu/resize.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Start from zeros ({0}). Over all frames of a batch: the source's alpha, the decoded picture before colour. */
typedef struct AlphaRule {
    int64_t samples, extreme; /* of alpha; those below 0.1 or above 0.9: more than 95 % of them make it a mask */
    float lowest;             /* of the decoded picture, at most 0: below 0 it is taken for signed */
} AlphaRule;

void alpha_rule_source(AlphaRule *r, const float *alpha, size_t count);
void alpha_rule_decoded(AlphaRule *r, const float *rgb, size_t count);

size_t alpha_scratch(const ResizeAxis *x, const ResizeAxis *y); /* floats, aligned as by malloc */

/*
 * alpha [y->in][x->in] unit; rgb [3][y->out][x->out] signed; out [y->out][x->out] in [0, 1].
 * honest: box means count the samples inside the picture; otherwise zeros stand outside it and borders darken.
 */
void alpha_upscale(const AlphaRule *r, const ResizeAxis *x, const ResizeAxis *y, const float *alpha, const float *rgb,
                   bool honest, float *out, float *scratch);

/* The resize alone, clamped to [0, 1]: steady from frame to frame. */
void alpha_resize(const ResizeAxis *x, const ResizeAxis *y, const float *alpha, float *out, float *scratch);

#endif
