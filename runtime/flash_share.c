#include "runtime/flash_share.h"

#include "runtime/crew.h"
#include "runtime/kept_regions.h"

#include <stdlib.h>

enum { WAIT_MS = 50 }; /* between looks at what the caller wants */

typedef struct TileWork {
    int tile;
    KeptRegions written; /* until its turn comes */
    Fault fault;
} TileWork;

typedef struct Sharing {
    const FlashShare *share;
    Crew *crew[UPRES_DEVICES_MAX]; /* of one worker each */
    int next[UPRES_DEVICES_MAX];   /* the tile that is handed to the device next */
} Sharing;

/* ----------------------------------------------------------------------------------------- on the threads of devices */

static bool keep_region(void *user, const VaeRegion *r, bool add)
{
    TileWork *t = user;
    return kept_regions_add(&t->written, r, add) ||
           fault(&t->fault, UPRES_E_MEMORY, "no memory for the results of a tile") == UPRES_OK;
}

static void work_on(void *user, int worker, void *piece)
{
    const FlashShare *s = user;
    TileWork *t = piece;
    (void)worker;
    s->work(s->user, t->tile % s->devices, t->tile, (VaeVideo){t, NULL, keep_region}, &t->fault);
}

/* ------------------------------------------------------------------------------------------- on the caller's thread */

static void free_tile(TileWork *t)
{
    kept_regions_free(&t->written);
    free(t);
}

static bool open_crews(Sharing *x, Fault *f)
{
    const FlashShare *s = x->share;
    for (int i = 0; i < s->devices; i++) {
        x->next[i] = i;
        x->crew[i] = crew_open(1, FLASH_SHARE_AHEAD, work_on, (void *)s);
        if (!x->crew[i]) return fault(f, UPRES_E_MEMORY, "no threads for %d devices", s->devices) == UPRES_OK;
    }
    return true;
}

static void close_crews(Sharing *x)
{
    for (int i = 0; i < x->share->devices; i++) {
        void *left[FLASH_SHARE_AHEAD];
        const int count = crew_close(x->crew[i], left);
        for (int k = 0; k < count; k++) free_tile(left[k]);
    }
}

/* To every device as many of its tiles as it has room for. */
static bool hand_over(Sharing *x, Fault *f)
{
    const FlashShare *s = x->share;
    for (int i = 0; i < s->devices; i++)
        for (; x->next[i] < s->tiles && crew_has_room(x->crew[i]); x->next[i] += s->devices) {
            TileWork *t = calloc(1, sizeof *t);
            if (!t) return fault(f, UPRES_E_MEMORY, "no memory for a tile") == UPRES_OK;
            t->tile = x->next[i];
            crew_hand_over(x->crew[i], t);
        }
    return true;
}

/* Waits for a tile and writes what it has written. */
static bool take_tile(Sharing *x, int tile, VaeVideo pictures, Fault *f)
{
    const FlashShare *s = x->share;
    Crew *crew = x->crew[tile % s->devices];
    do {
        if (!s->waiting(s->user, tile)) return fault(f, UPRES_E_CANCELLED, "the job was cancelled") == UPRES_OK;
    } while (!crew_oldest_done(crew, WAIT_MS));
    TileWork *t = crew_oldest(crew);
    crew_take_back(crew);
    if (t->fault.status != UPRES_OK) fault(f, t->fault.status, "%s", t->fault.text);
    const bool ok = t->fault.status == UPRES_OK && kept_regions_write(&t->written, pictures);
    free_tile(t);
    return ok;
}

bool flash_share(const FlashShare *s, VaeVideo pictures, Fault *f)
{
    Sharing x = {.share = s};
    bool ok = open_crews(&x, f);
    for (int i = 0; ok && i < s->tiles; i++) ok = hand_over(&x, f) && take_tile(&x, i, pictures, f);
    if (!ok) s->abandon(s->user);
    close_crews(&x);
    return ok;
}
