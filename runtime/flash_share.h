/*
 * The tiles of a chunk shared out to devices. A tile's stream lives on one device, so who does it is settled beforehand: tile i is
 * device i % devices' own. Devices work side by side, a thread each. What a tile writes waits for its turn: samples that several
 * tiles have a part in are summed in the order of the tiles, as by one device.
 */
#ifndef UPRES_RUNTIME_FLASH_SHARE_H
#define UPRES_RUNTIME_FLASH_SHARE_H

#include "runtime/fault.h"
#include "runtime/models/seedvr2_vae.h" /* VaeVideo */

typedef struct FlashShare {
    int tiles, devices; /* up to UPRES_DEVICES_MAX */
    void *user;
    /* On the device's thread: the tile's part of the chunk, written to `pictures`. */
    void (*work)(void *user, int device, int tile, VaeVideo pictures, Fault *f);
    /* On the caller's, again and again while that tile is not done; false: the job is cancelled. */
    bool (*waiting)(void *user, int tile);
    /* On the caller's, where it ends early: work that is under way may end early too. */
    void (*abandon)(void *user);
} FlashShare;

enum { FLASH_SHARE_AHEAD = 2 }; /* tiles of a device that may hold results: one at work, one done */

/* Writes what all tiles write to `pictures`, on the caller's thread. false with the sentence in f. */
bool flash_share(const FlashShare *s, VaeVideo pictures, Fault *f);

#endif
