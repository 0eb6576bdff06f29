/*
 * The autoencoder's tiles of one batch, shared out to several devices: for a clip that is one batch, so that the devices
 * cannot have a batch each. The transformer runs on the first. Tiles are computed apart and joined in their order, so the
 * results are those of one device, bit for bit.
 */
#ifndef UPRES_RUNTIME_SEEDVR2_TILES_H
#define UPRES_RUNTIME_SEEDVR2_TILES_H

#include "runtime/seedvr2.h"

typedef struct SharedTiles SharedTiles;

/* Told on the caller's thread; functions may not be NULL. */
typedef struct SharedTilesWatch {
    void *user;
    void (*progress)(void *user, double done); /* 0..1 of the half at work */
    bool (*waiting)(void *user);               /* again and again while the devices work; false: stop, cancelled */
} SharedTilesWatch;

/* Devices that have been started with the plan, and outlive it. NULL: no memory. */
SharedTiles *shared_tiles_open(Seedvr2 *const *m, int count, const Seedvr2Plan *plan, SharedTilesWatch watch);
void shared_tiles_close(SharedTiles *s); /* NULL is allowed */

/* For a pipeline of one device. */
PipelineNetworks shared_tiles_networks(SharedTiles *s);

#endif
