/*
 * Names and shapes of every tensor that a network needs: SeedVR2's of a given configuration, FlashVSR's as released.
 * Sources: ByteDance-Seed/SeedVR models/video_vae_v3, models/dit (7B), models/dit_v2 (3B); OpenImagingLab/FlashVSR
 * diffsynth/models, examples/WanVSR/utils: the modules' state dicts.
 */
#ifndef UPRES_LOADER_LAYOUT_H
#define UPRES_LOADER_LAYOUT_H

#include "loader/weights.h"

/* One tensor; `other` is a name older files use for the same, or NULL. Names are without prefix. */
typedef void (*LayoutEach)(void *user, const char *name, const char *other, int rank, const int64_t *shape);

void layout_vae(const VaeConfig *c, LayoutEach each, void *user); /* only the halves that are present */
void layout_dit(const DitConfig *c, LayoutEach each, void *user); /* without rotary frequencies: they are recomputed */

/* FlashVSR's networks: layout_flash.c. */
void layout_flash_dit(int layers, LayoutEach each, void *user); /* the released one has 30 */
void layout_flash_lq(int layers, LayoutEach each, void *user);  /* linear layers behind it: 1 */
void layout_tcdecoder(LayoutEach each, void *user);
void layout_wan_vae(LayoutEach each, void *user);

#endif
