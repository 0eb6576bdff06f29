/*
 * Names and shapes of every tensor that a SeedVR2 network of a given configuration needs.
 * Source: ByteDance-Seed/SeedVR models/video_vae_v3, models/dit (7B), models/dit_v2 (3B): the modules' state dicts.
 */
#ifndef UPRES_LOADER_LAYOUT_H
#define UPRES_LOADER_LAYOUT_H

#include "loader/weights.h"

/* One tensor; `other` is a name older files use for the same, or NULL. Names are without prefix. */
typedef void (*LayoutEach)(void *user, const char *name, const char *other, int rank, const int64_t *shape);

void layout_vae(const VaeConfig *c, LayoutEach each, void *user); /* only the halves that are present */
void layout_dit(const DitConfig *c, LayoutEach each, void *user); /* without rotary frequencies: they are recomputed */

#endif
