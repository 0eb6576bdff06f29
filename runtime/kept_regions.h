/*
 * Samples that were written before it was their turn: copies, written on when it has come, in the order in which they came.
 * Belongs to one thread at a time; all zero is an empty one.
 */
#ifndef UPRES_RUNTIME_KEPT_REGIONS_H
#define UPRES_RUNTIME_KEPT_REGIONS_H

#include "runtime/models/seedvr2_vae.h" /* VaeRegion, VaeVideo */

typedef struct KeptRegion {
    VaeRegion region;
    bool add;
} KeptRegion;

typedef struct KeptRegions {
    KeptRegion *kept;
    size_t count, capacity;
} KeptRegions;

bool kept_regions_add(KeptRegions *k, const VaeRegion *r, bool add); /* false: no memory */
/* Writes them and gives their memory back, up to the first that cannot be written: false. */
bool kept_regions_write(KeptRegions *k, VaeVideo to);
void kept_regions_free(KeptRegions *k);

#endif
