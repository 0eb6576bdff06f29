/*
 * Where weights lie in device memory, and which make room for which when it does not hold all. It owns no memory: a plan and
 * a run make the same calls and get the same places.
 *
 * Weights lie side by side in the order they are met. When they come to the end, the later ones share a window at the end,
 * round and round, and what lay there is uploaded again when it is met again. So of a network that runs again and again all
 * stay but what exceeds the memory, and every weight has one place for good: launches stay the same. With `groups` (not all
 * weights fit) each group begins anew, over the others'.
 *
 * What the weights of one operation are is told by the operation's number: none of them makes room for another.
 */
#ifndef UPRES_RUNTIME_CUDA_WEIGHT_ROOM_H
#define UPRES_RUNTIME_CUDA_WEIGHT_ROOM_H

#include "runtime/dev.h"

enum {
    WEIGHT_ALIGN = 256,
    WEIGHT_GROUPS = 4,
    WEIGHT_WORDS = 1024,         /* device words beside the weights */
    WEIGHT_SMALL = 256 << 10,    /* device bytes, twice: weights that are recorded with the work around them, as stored, as floats */
    WEIGHT_PIECE = 16 << 20,     /* bytes of floats on their way at a time, at least one row */
    WEIGHT_BUFFERS = 4,          /* of need.upload bytes: floats, and stored weights as they land */
};

#define WEIGHT_UNREAD UINT64_MAX

typedef struct WeightSpan {
    uint64_t at, bytes;
    uint64_t used; /* the operation that last did */
    bool placed, loaded;
} WeightSpan;

typedef struct WeightRoom {
    uint64_t bytes, window; /* of the window, at the end; bytes UINT64_MAX: endless */
    bool groups;
    int group;
    uint64_t wanted_window; /* where there is room for it */
    uint64_t next[WEIGHT_GROUPS], next_in_window[WEIGHT_GROUPS];
    WeightSpan *spans;
    size_t count, capacity;
    uint64_t operation, operation_bytes;
    uint64_t overwritten; /* the latest operation that read what the last weight loaded lies over; WEIGHT_UNREAD: none */
    WeightNeed need; /* found out on the way: all, operation */
} WeightRoom;

/* bytes: UINT64_MAX for as many as are asked for. need: of a plan, all zero without bounds. */
void weight_room_init(WeightRoom *r, uint64_t bytes, const WeightNeed *need);
void weight_room_close(WeightRoom *r);

/* One more weight; its number, SIZE_MAX without memory. */
size_t weight_room_add(WeightRoom *r, uint64_t bytes);
/* Operation `operation` reads weight n, at spans[n].at. *load: it has to be brought there first. False: no place for it. */
bool weight_room_use(WeightRoom *r, size_t n, uint64_t operation, bool *load);
void weight_room_group(WeightRoom *r, int group);
/* Will others take the place of weight n, which is in use? */
bool weight_room_is_streamed(const WeightRoom *r, size_t n);
/* The group at work has so many bytes, always as many, where not all weights fit: what lies beyond is lost. */
void weight_room_resize(WeightRoom *r, uint64_t bytes);

/* Device memory: beside the weights, for all of them side by side, and at least. */
uint64_t weight_need_fixed(const WeightNeed *n);
uint64_t weight_need_all(const WeightNeed *n);
uint64_t weight_need_least(const WeightNeed *n);
/* Of two networks that work in turn. */
WeightNeed weight_need_both(WeightNeed a, WeightNeed b);

#endif
