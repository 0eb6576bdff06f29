/*
 * What the phases of a job cost, found by running their code on a device that only counts; and the tiles that fit.
 *
 * Nothing here is estimated but one thing: beyond four latent frames every further one costs the same as the fourth, so
 * only the first four are run. A streamed network's memory is at its peak by then.
 */
#ifndef UPRES_RUNTIME_COST_H
#define UPRES_RUNTIME_COST_H

#include "runtime/fault.h"
#include "runtime/models/seedvr2_dit.h"
#include "runtime/models/seedvr2_vae.h"

typedef struct PhaseCost {
    uint64_t arena_bytes;  /* working memory */
    uint64_t weight_bytes; /* of weight files it touches; on a GPU, of weights as kept there */
    double flop;
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
 * Choose tiles whose arena is at most `room`: those of the options; or, when they say auto and must_tile is given, the
 * largest that fits (a multiple of 32 below the longer side, above a given overlap). false with f->status UPRES_OK: it does
 * not fit, and the result is what comes nearest.
 */
bool cost_choose_tiles(TileChoice *c, bool must_tile, uint64_t room, Fault *f);

/* Working memory left under a limit (0: none) beside what is taken. */
uint64_t cost_room(uint64_t limit, uint64_t taken);

/* Bytes that a process needs beside arena, weights and frames: code, libraries, heap, stacks of threads (0: all cores). */
uint64_t cost_program_bytes(int threads);

/* What a device counted. */
PhaseCost cost_of(const Dev *d);

/* "3.2 GiB" in a buffer of the caller's. */
const char *cost_bytes(uint64_t bytes, char text[32]);

#endif
