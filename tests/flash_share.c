/*
 * Tiles shared out to devices, with arithmetic in place of the networks: samples are the sums of one device to the last bit whoever
 * is faster, every tile is done once, by its own device and in its turn, devices work at once, and what fails or is cancelled ends
 * all of it.
 *
 *     flash_share [JOBS]
 */
#include "runtime/flash_share.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { W = 40, H = 6, FRAMES = 3, SAMPLES = FRAMES * H * W, TILES_MOST = 12, DEVICES_MOST = 5, SIDE = 12 };

static uint32_t state = 1;

static int random_below(int n)
{
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % (uint32_t)n);
}

typedef struct Job {
    int tiles, devices;
    int fails;         /* the tile that does; -1: none */
    int cancel_before; /* the tile that is not waited for any more; -1: none */
    bool meet;         /* the first two devices wait for one another */
    int left[TILES_MOST];
    uint32_t pace[TILES_MOST]; /* nanoseconds of a tile */

    float sample[SAMPLES]; /* what comes of it */
    int last[DEVICES_MOST]; /* the tile that the device has begun; -1: none */
    atomic_int done[TILES_MOST], at_once[DEVICES_MOST], met, wrong, abandoned;
} Job;

static bool write_sample(void *user, const VaeRegion *r, bool add)
{
    Job *j = user;
    for (int y = 0; y < r->height; y++)
        for (int x = 0; x < r->width; x++) {
            float *to = &j->sample[(r->frame * H + r->y + y) * W + r->x + x];
            *to = (add ? *to : 0.0f) + r->data[y * r->row + x];
        }
    return true;
}

/* Rows further apart than they are long, in memory that is used for every frame again. */
static void work_on_tile(void *user, int device, int tile, VaeVideo pictures, Fault *f)
{
    Job *j = user;
    float data[H][SIDE + 3];
    if (tile % j->devices != device || tile <= j->last[device] || atomic_fetch_add(&j->at_once[device], 1) > 0)
        atomic_store(&j->wrong, 1);
    j->last[device] = tile;
    atomic_fetch_add(&j->done[tile], 1);
    atomic_fetch_or(&j->met, 1 << device);
    for (int i = 0; j->meet && (atomic_load(&j->met) & 3) != 3; i++) {
        if (i == 60000) atomic_store(&j->wrong, 1);
        if (i == 60000) break;
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    nanosleep(&(struct timespec){0, (long)j->pace[tile]}, NULL);
    for (int frame = 0; frame < FRAMES && f->status == UPRES_OK; frame++) {
        for (int i = 0; i < H * (SIDE + 3); i++) data[i / (SIDE + 3)][i % (SIDE + 3)] = (float)((tile * 7919 + frame * 31 + i) % 997) / 3;
        const VaeRegion r = {frame, 0, j->left[tile], H, SIDE, 1, data[0], H * (SIDE + 3), SIDE + 3};
        if (tile == j->fails && frame == 1) fault(f, UPRES_E_RUNTIME, "tile %d broke", tile);
        else pictures.write(pictures.user, &r, true);
    }
    atomic_fetch_sub(&j->at_once[device], 1);
}

static bool go_on(void *user, int tile)
{
    const Job *j = user;
    return j->cancel_before < 0 || tile < j->cancel_before;
}

static void note_abandon(void *user)
{
    atomic_fetch_add(&((Job *)user)->abandoned, 1);
}

static Job random_job(void)
{
    Job j = {.tiles = 1 + random_below(TILES_MOST), .fails = -1, .cancel_before = -1};
    for (int i = 0; i < TILES_MOST; i++) {
        j.left[i] = random_below(W - SIDE + 1);
        j.pace[i] = (uint32_t)random_below(300000);
    }
    return j;
}

static bool run(Job *j, int devices, Fault *f)
{
    j->devices = devices;
    for (int i = 0; i < DEVICES_MOST; i++) j->last[i] = -1;
    const FlashShare share = {j->tiles, devices, j, work_on_tile, go_on, note_abandon};
    *f = (Fault){0};
    return flash_share(&share, (VaeVideo){j, NULL, write_sample}, f);
}

static bool each_once(const Job *j)
{
    bool ok = !atomic_load(&j->wrong);
    for (int i = 0; i < j->tiles; i++) ok &= atomic_load(&j->done[i]) == 1;
    return ok;
}

/* The sums of the tiles before `end`, by one after the other. */
static void expect(const Job *j, int end, float *sample)
{
    static Job alone;
    Fault f = {0};
    alone = *j;
    memset(alone.sample, 0, sizeof alone.sample);
    alone.devices = 1;
    alone.fails = -1;
    alone.meet = false;
    memset(alone.pace, 0, sizeof alone.pace);
    for (int i = 0; i < DEVICES_MOST; i++) alone.last[i] = -1;
    for (int i = 0; i < end; i++) work_on_tile(&alone, 0, i, (VaeVideo){&alone, NULL, write_sample}, &f);
    memcpy(sample, alone.sample, sizeof alone.sample);
}

static bool told(bool ok, const char *what, const Job *j, const Fault *f)
{
    if (!ok) printf("FAIL %s: %d tiles, %d devices, status %d, '%s'\n", what, j->tiles, j->devices, (int)f->status, f->text);
    return ok;
}

static bool whole(void)
{
    Job j = random_job();
    float wanted[SAMPLES];
    Fault f;
    expect(&j, j.tiles, wanted);
    const bool ran = run(&j, 1 + random_below(j.tiles < DEVICES_MOST ? j.tiles : DEVICES_MOST), &f);
    const bool ok = ran && each_once(&j) && !atomic_load(&j.abandoned) && memcmp(j.sample, wanted, sizeof wanted) == 0;
    return told(ok, "the sums of one device", &j, &f);
}

/* What one device would have written until then, nothing of the rest, and its sentence. */
static bool ends_early(bool cancelled)
{
    Job j = random_job();
    float wanted[SAMPLES];
    Fault f;
    const int end = random_below(j.tiles);
    if (cancelled) j.cancel_before = end;
    else j.fails = end;
    expect(&j, end, wanted);
    bool ok = !run(&j, 1 + random_below(j.tiles < DEVICES_MOST ? j.tiles : DEVICES_MOST), &f);
    ok &= f.status == (cancelled ? UPRES_E_CANCELLED : UPRES_E_RUNTIME);
    ok &= cancelled || strstr(f.text, "broke") != NULL;
    ok &= atomic_load(&j.abandoned) == 1 && !atomic_load(&j.wrong) && memcmp(j.sample, wanted, sizeof wanted) == 0;
    return told(ok, cancelled ? "cancelled" : "a tile that fails", &j, &f);
}

static bool at_once(void)
{
    Job j = random_job();
    Fault f;
    j.tiles = 2;
    j.meet = true;
    return told(run(&j, 2, &f) && each_once(&j), "two devices at once", &j, &f);
}

int main(int argc, char **argv)
{
    const int jobs = argc > 1 ? atoi(argv[1]) : 200;
    int passed = 0, failed = 0;
    for (int i = 0; i < jobs; i++) {
        const bool ok = whole() && ends_early(false) && ends_early(true) && (i > 0 || at_once());
        passed += ok;
        failed += !ok;
    }
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed > 0;
}
