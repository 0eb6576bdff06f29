/*
 * What the phases of a job cost, found by running their code on a device that only counts; and the tiles that fit.
 *
 * Nothing here is estimated but one thing: beyond four latent frames every further one costs the same as the fourth, so
 * only the first four are run. A streamed network's memory is at its peak by then.
 */
#ifndef UPRES_RUNTIME_COST_H
#define UPRES_RUNTIME_COST_H

#include "runtime/cuda/prediction.h"
#include "runtime/fault.h"
#include "runtime/models/seedvr2_dit.h"
#include "runtime/models/seedvr2_vae.h"

typedef struct PhaseCost {
    uint64_t arena_bytes;  /* working memory */
    uint64_t weight_bytes; /* of weight files it touches; on a GPU, of weights as kept there */
    double flop;
    WeightNeed weights;    /* on a GPU */
    Prediction prediction; /* on a GPU */
} PhaseCost;

/* One half of the autoencoder at work: pictures of h x w, latent frames. */
typedef struct VaeWork {
    Vae *vae;
    bool decode;
    const DevSetup *setup; /* what on */
    int h, w;
    int64_t latents;
} VaeWork;

bool cost_vae(const VaeWork *work, VaeTiles tiles, PhaseCost *out, Fault *f);

/* Tiles for one half, from its options (upres_options.vae_*_tile). */
typedef struct TileChoice {
    VaeWork work;
    int32_t tile, overlap;
    /* result */
    VaeTiles tiles;
    PhaseCost cost;
    bool by_auto; /* tiled because auto had to */
} TileChoice;

/*
 * Choose tiles whose arena is at most `room`: those of the options, thrifty if it must be; or, when they say auto and must_tile is
 * given, the largest that fits (a multiple of 32 below the longer side, above a given overlap). false with f->status UPRES_OK:
 * it does not fit, and the result is what comes nearest.
 */
bool cost_choose_tiles(TileChoice *c, bool must_tile, uint64_t room, Fault *f);

/* Working memory left under a limit (0: none) beside what is taken. */
uint64_t cost_room(uint64_t limit, uint64_t taken);

/*
 * Bytes to give to the weights of phases that work in turn: all of them, then less and less, down to the least they run with.
 * Of what does not fit a phase uploads again what the others have pushed out, then larger phases push out their own.
 * Returns how many there are; one on the CPU.
 */
enum { COST_WEIGHT_LEVELS = 4 };
int cost_weight_levels(const PhaseCost *phases, int count, uint64_t levels[COST_WEIGHT_LEVELS]);
WeightNeed cost_weights(const PhaseCost *phases, int count); /* of all of them */
/* "weights are streamed: 1.2 GiB of 6.5 GiB are kept at a time"; "" when all are. */
const char *cost_weights_note(const WeightNeed *need, uint64_t given, char text[128]);

/* Bytes that a process needs beside arena, weights and frames: code, libraries, heap, stacks of threads (0: all cores). */
uint64_t cost_program_bytes(int threads);
/* And those of one that works on a GPU, for what is on its way there and back. */
uint64_t cost_staging_bytes(uint64_t frame_bytes);

/* What a device counted. */
PhaseCost cost_of(const Dev *d);

/* "3.2 GiB" in a buffer of the caller's. */
const char *cost_bytes(uint64_t bytes, char text[32]);

/* What a job takes and may take, for a line of the log. */
typedef struct JobMemory {
    uint64_t arena_bytes, weight_bytes, picture_bytes; /* of the GPU, or of each, where there is one */
    uint64_t fixed_bytes;                              /* of the host */
    uint64_t limit;                                    /* 0: not known */
    bool gpu;
    int devices;
} JobMemory;
void cost_log(const upres_options *o, const JobMemory *m);

#endif
