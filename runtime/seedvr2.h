/*
 * The networks of an upscaling job: found in the weights, given tiles that fit into memory, and run on a device behind
 * the pipeline's function pointers. Belongs to one thread at a time; each of several devices has one of its own.
 */
#ifndef UPRES_RUNTIME_SEEDVR2_H
#define UPRES_RUNTIME_SEEDVR2_H

#include "runtime/cost.h"
#include "runtime/pipeline.h"

typedef struct Seedvr2 Seedvr2;

/* What one batch costs. */
typedef struct BatchCost {
    int frames; /* that the encoder sees */
    PhaseCost encode, transformer, decode;
} BatchCost;

/* Everything that is settled before the first frame. */
typedef struct Seedvr2Plan {
    VaeTiles encode_tiles, decode_tiles;
    int encode_tile_count, decode_tile_count; /* a frame */
    BatchCost batch, last;                    /* a whole batch, and the clip's last one */
    uint64_t arena_bytes, weight_bytes, fixed_bytes;
    uint64_t peak_bytes;  /* of what the limit is for: all three; on a GPU, whose memory holds no frames, the first two */
    WeightNeed weights;   /* on a GPU: what weight_bytes may be less than */
    uint64_t limit;       /* 0: none known */
    char note[240];       /* what auto chose and why, and what is streamed; "" when nothing */
} Seedvr2Plan;

/*
 * Find the networks and the text, and bind them, for one device: that of the options, or of several the one with this index.
 * Errors: UPRES_E_INPUT (a part is missing or there twice, a tensor is missing, the two networks do not fit one another).
 */
Seedvr2 *seedvr2_open(const WeightSet *w, const upres_options *o, int index, Fault *f);
void seedvr2_close(Seedvr2 *m);

/* Told 0..1 of the phase at work, on the thread that calls. */
void seedvr2_watch(Seedvr2 *m, void (*progress)(void *user, double done), void *user);

/* Choose tiles and add up memory for a pipeline; of several devices one plan for all, which fits the smallest. Errors:
 * UPRES_E_MEMORY with what would help. */
bool seedvr2_plan(Seedvr2 *const *m, int count, const PipelineSetup *s, Seedvr2Plan *plan, Fault *f);

/* The same, and open the devices with the memory the plan found; where a GPU has less than it said, once more for a smaller
 * one. */
bool seedvr2_start(Seedvr2 *const *m, int count, const PipelineSetup *s, Seedvr2Plan *plan, Fault *f);
const DevSetup *seedvr2_setup(const Seedvr2 *m); /* of the device chosen */
const char *seedvr2_describe(const Seedvr2 *m); /* of the device; "" before start */
DevTotals seedvr2_totals(const Seedvr2 *m);     /* of the device, after start */

/* Puts the device's name before the sentence of a failure that lacks it. */
void seedvr2_name_device(const Seedvr2 *m, Fault *f);

/* For the pipeline's setup; the functions may be called after start. */
PipelineNetworks seedvr2_networks(Seedvr2 *m, const Seedvr2Plan *plan);

/* One half of the autoencoder tile by tile, for whoever shares tiles out (seedvr2_tiles.h). Errors are in f. */
typedef struct Seedvr2Half {
    bool decode;
    int h, w, count, keep; /* of the source: frames, or latents, of which `keep` pictures are wanted */
} Seedvr2Half;
/* write: user points to whatever seedvr2_half_tile was given last. */
bool seedvr2_half_open(Seedvr2 *m, const Seedvr2Half *half, VaeVideo source,
                       bool (*write)(void *user, const VaeRegion *r, bool add), Fault *f);
bool seedvr2_half_tile(Seedvr2 *m, int tile, void *user, Fault *f);
void seedvr2_half_close(Seedvr2 *m);

#endif
