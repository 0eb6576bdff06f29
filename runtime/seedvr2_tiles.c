#include "runtime/seedvr2_tiles.h"

#include "runtime/crew.h"
#include "runtime/kept_regions.h"
#include "runtime/sync.h"

#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 50 }; /* between looks at what the caller wants */

typedef struct TileWork {
    SharedTiles *shared;
    int tile;
    KeptRegions written; /* until its turn comes */
    Fault fault;
} TileWork;

/* One half of the autoencoder at work. */
typedef struct Half {
    int tiles, handed, taken;
    Seedvr2Half form;
    VaeVideo source, sink;
    bool opened[UPRES_DEVICES_MAX]; /* its job, by the device's thread */
    Crew *crew;                     /* of TileWork; NULL: this half is not tiled, the first device does it */
} Half;

struct SharedTiles {
    Seedvr2 *m[UPRES_DEVICES_MAX];
    int count;
    PipelineNetworks first; /* the first device's */
    Seedvr2Plan plan;
    SharedTilesWatch watch;
    Lock reading; /* sources serve one at a time */
    Half half;
};

SharedTiles *shared_tiles_open(Seedvr2 *const *m, int count, const Seedvr2Plan *plan, SharedTilesWatch watch)
{
    SharedTiles *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    *s = (SharedTiles){.count = count, .first = seedvr2_networks(m[0], plan), .plan = *plan, .watch = watch};
    memcpy(s->m, m, (size_t)count * sizeof *m);
    lock_init(&s->reading);
    return s;
}

void shared_tiles_close(SharedTiles *s)
{
    if (!s) return;
    lock_free(&s->reading);
    free(s);
}

/* ----------------------------------------------------------------------------------------- on the threads of devices */

static bool read_source(void *user, const VaeRegion *r)
{
    SharedTiles *s = user;
    lock_take(&s->reading);
    const bool ok = s->half.source.read(s->half.source.user, r);
    lock_give(&s->reading);
    return ok;
}

/* Where the tiles of one device go: to the one it is at. */
static bool keep_region(void *user, const VaeRegion *r, bool add)
{
    TileWork *t = *(TileWork **)user;
    return kept_regions_add(&t->written, r, add) ||
           fault(&t->fault, UPRES_E_MEMORY, "no memory for the results of a tile") == UPRES_OK;
}

static void work_on(void *user, int device, void *piece)
{
    SharedTiles *s = user;
    TileWork *t = piece;
    Half *h = &s->half;
    Seedvr2 *m = s->m[device];
    if (!h->opened[device]) {
        h->opened[device] = true;
        seedvr2_half_open(m, &h->form, (VaeVideo){s, read_source, NULL}, keep_region, &t->fault);
    }
    if (t->fault.status == UPRES_OK) seedvr2_half_tile(m, t->tile, t, &t->fault);
    if (t->fault.status != UPRES_OK) seedvr2_name_device(m, &t->fault);
}

/* ------------------------------------------------------------------------------------------- on the caller's thread */

static void free_tile(TileWork *t)
{
    kept_regions_free(&t->written);
    free(t);
}

static bool half_open(SharedTiles *s, const Seedvr2Half *form, int tiles, VaeVideo source, VaeVideo sink, Fault *f)
{
    s->half = (Half){.tiles = tiles, .form = *form, .source = source, .sink = sink};
    s->half.crew = crew_open(s->count, s->count + 1, work_on, s);
    return s->half.crew || fault(f, UPRES_E_MEMORY, "no threads for %d devices", s->count) == UPRES_OK;
}

static void half_close(SharedTiles *s)
{
    void *left[UPRES_DEVICES_MAX + 1];
    const int count = crew_close(s->half.crew, left);
    for (int i = 0; i < count; i++) free_tile(left[i]);
    for (int i = 0; i < s->count; i++)
        if (s->half.opened[i]) seedvr2_half_close(s->m[i]);
    s->half = (Half){0};
}

static bool hand_over(SharedTiles *s, Fault *f)
{
    Half *h = &s->half;
    while (h->handed < h->tiles && crew_has_room(h->crew)) {
        TileWork *t = calloc(1, sizeof *t);
        if (!t) return fault(f, UPRES_E_MEMORY, "no memory for a tile") == UPRES_OK;
        *t = (TileWork){.shared = s, .tile = h->handed++};
        crew_hand_over(h->crew, t);
    }
    return true;
}

/* The next tile, in their order. */
static bool half_step(SharedTiles *s, bool *more, Fault *f)
{
    Half *h = &s->half;
    if (!hand_over(s, f)) return false;
    do {
        if (!s->watch.waiting(s->watch.user)) return fault(f, UPRES_E_CANCELLED, "the job was cancelled") == UPRES_OK;
    } while (!crew_oldest_done(h->crew, WAIT_MS));
    TileWork *t = crew_oldest(h->crew);
    crew_take_back(h->crew);
    bool ok = t->fault.status == UPRES_OK;
    if (!ok && f->status == UPRES_OK) fault(f, t->fault.status, "%s", t->fault.text);
    ok = ok && kept_regions_write(&t->written, h->sink);
    free_tile(t);
    *more = ++h->taken < h->tiles;
    if (ok) s->watch.progress(s->watch.user, (double)h->taken / h->tiles);
    return ok;
}

/* ------------------------------------------------------------------------------------------ behind the pipeline */

static bool encode(void *user, int h, int w, int frames, VaeVideo pictures, VaeVideo moments, Fault *f)
{
    SharedTiles *s = user;
    const int tiles = s->plan.encode_tile_count;
    const Seedvr2Half form = {.decode = false, .h = h, .w = w, .count = frames};
    if (tiles == 1) return s->first.encode(s->first.user, h, w, frames, pictures, moments, f);
    bool more = true, ok = half_open(s, &form, tiles, pictures, moments, f);
    while (ok && more) ok = half_step(s, &more, f);
    half_close(s);
    return ok;
}

static bool restore(void *user, int t, int h, int w, float *x, const float *condition, Fault *f)
{
    SharedTiles *s = user;
    return s->first.restore(s->first.user, t, h, w, x, condition, f);
}

static bool decode_open(void *user, int h, int w, int t, int keep, VaeVideo latents, VaeVideo pictures, Fault *f)
{
    SharedTiles *s = user;
    const int tiles = s->plan.decode_tile_count;
    const Seedvr2Half form = {.decode = true, .h = h / PIPELINE_SPATIAL, .w = w / PIPELINE_SPATIAL, .count = t, .keep = keep};
    if (tiles == 1) return s->first.decode_open(s->first.user, h, w, t, keep, latents, pictures, f);
    return half_open(s, &form, tiles, latents, pictures, f);
}

static bool decode_step(void *user, bool *more, Fault *f)
{
    SharedTiles *s = user;
    return s->half.crew ? half_step(s, more, f) : s->first.decode_step(s->first.user, more, f);
}

static void decode_close(void *user)
{
    SharedTiles *s = user;
    if (s->half.crew) half_close(s);
    else s->first.decode_close(s->first.user);
}

PipelineNetworks shared_tiles_networks(SharedTiles *s)
{
    return (PipelineNetworks){
        .user = s,
        .latent_channels = s->first.latent_channels,
        .encode_tiled = s->first.encode_tiled,
        .encode = encode,
        .restore = restore,
        .decode_open = decode_open,
        .decode_step = decode_step,
        .decode_close = decode_close,
    };
}
