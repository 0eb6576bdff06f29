#include "runtime/crew.h"

#include "runtime/sync.h"

#include <stdint.h>
#include <stdlib.h>

typedef struct CrewWorker {
    Crew *crew;
    int index;
    Thread thread;
} CrewWorker;

typedef struct Place {
    void *piece;
    bool done;
} Place;

struct Crew {
    void (*work)(void *user, int worker, void *piece);
    void *user;
    CrewWorker *worker;
    int started, room;
    Lock lock;
    Signal handed, finished;
    /* A ring: piece n lies in place n % room. Pieces taken back are below `taken`, begun ones below `begun`. */
    Place *place;
    int64_t taken, begun, given;
    bool quit;
};

static THREAD_RESULT work(void *argument)
{
    CrewWorker *w = argument;
    Crew *c = w->crew;
    lock_take(&c->lock);
    for (;;) {
        while (c->begun == c->given && !c->quit) signal_wait(&c->handed, &c->lock);
        if (c->quit) break;
        Place *place = &c->place[c->begun++ % c->room];
        lock_give(&c->lock);
        c->work(c->user, w->index, place->piece);
        lock_take(&c->lock);
        place->done = true;
        signal_all(&c->finished);
    }
    lock_give(&c->lock);
    return 0;
}

Crew *crew_open(int workers, int room, void (*each)(void *user, int worker, void *piece), void *user)
{
    Crew *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    *c = (Crew){.work = each, .user = user, .room = room};
    c->worker = calloc((size_t)workers, sizeof *c->worker);
    c->place = calloc((size_t)room, sizeof *c->place);
    lock_init(&c->lock);
    signal_init(&c->handed);
    signal_init(&c->finished);
    while (c->worker && c->place && c->started < workers) {
        CrewWorker *w = &c->worker[c->started];
        *w = (CrewWorker){.crew = c, .index = c->started};
        if (!thread_start(&w->thread, work, w)) break;
        c->started++;
    }
    if (c->started == workers) return c;
    crew_close(c, NULL);
    return NULL;
}

int crew_close(Crew *c, void **left)
{
    if (!c) return 0;
    lock_take(&c->lock);
    c->quit = true;
    signal_all(&c->handed);
    lock_give(&c->lock);
    for (int i = 0; i < c->started; i++) thread_join(c->worker[i].thread);
    const int count = (int)(c->given - c->taken);
    for (int i = 0; left && i < count; i++) left[i] = c->place[(c->taken + i) % c->room].piece;
    signal_free(&c->handed);
    signal_free(&c->finished);
    lock_free(&c->lock);
    free(c->worker);
    free(c->place);
    free(c);
    return count;
}

/* given and taken are changed by the owner alone. */
bool crew_has_room(Crew *c)
{
    return c->given - c->taken < c->room;
}

void crew_hand_over(Crew *c, void *piece)
{
    lock_take(&c->lock);
    c->place[c->given++ % c->room] = (Place){piece, false};
    signal_all(&c->handed);
    lock_give(&c->lock);
}

void *crew_oldest(const Crew *c)
{
    return c->taken < c->given ? c->place[c->taken % c->room].piece : NULL;
}

bool crew_oldest_done(Crew *c, int wait_ms)
{
    if (c->taken == c->given) return false;
    const Place *oldest = &c->place[c->taken % c->room];
    lock_take(&c->lock);
    if (!oldest->done && wait_ms > 0) signal_wait_for(&c->finished, &c->lock, wait_ms);
    const bool done = oldest->done;
    lock_give(&c->lock);
    return done;
}

void crew_take_back(Crew *c)
{
    lock_take(&c->lock);
    c->taken++;
    lock_give(&c->lock);
}
