/* Where weights lie when not all of them fit: places of one operation never overlap, what is said to be there was not overwritten,
 * what overwrites them says which operations read them, a network that repeats itself has the same places in every round, groups
 * begin anew, and nothing moves where all fits. */
#include "runtime/cuda/weight_room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;

enum { WEIGHTS_MOST = 200 };

/* The memory as owners of its granules: what use says and what was really brought there. */
typedef struct World {
    WeightRoom room;
    uint64_t loads, operation;
    int owner[1 << 14]; /* of a granule: weight, -1 */
    uint64_t read_by[1 << 14]; /* the last operation that did; 0: none */
    uint64_t waited;           /* for operations up to this one by those that loaded, in order */
    bool in_operation[WEIGHTS_MOST];
    bool ok;
} World;

static uint64_t random_next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void use(World *w, size_t n)
{
    bool load;
    if (!weight_room_use(&w->room, n, w->operation, &load)) {
        w->ok = false;
        return;
    }
    const WeightSpan *s = &w->room.spans[n];
    const uint64_t first = s->at / WEIGHT_ALIGN, count = s->bytes / WEIGHT_ALIGN;
    if (s->at % WEIGHT_ALIGN != 0 || s->at + s->bytes > w->room.bytes) w->ok = false;
    if (first + count > sizeof w->owner / sizeof w->owner[0]) abort();
    for (size_t i = 0; load && i < sizeof w->owner / sizeof w->owner[0]; i++) {
        if (w->owner[i] == (int)n) w->owner[i] = -1; /* it may come to lie elsewhere */
    }
    if (load && w->room.overwritten != WEIGHT_UNREAD) {
        if (w->room.overwritten >= w->operation) w->ok = false;
        if (w->room.overwritten > w->waited) w->waited = w->room.overwritten;
    }
    for (uint64_t i = first; w->ok && i < first + count; i++) {
        if (load && w->read_by[i] > w->waited) w->ok = false; /* while it may be at work */
        w->read_by[i] = w->operation;
        if (!load && w->owner[i] != (int)n) w->ok = false;                                 /* overwritten unnoticed */
        if (load && w->owner[i] >= 0 && w->in_operation[w->owner[i]]) w->ok = false;       /* under the operation's feet */
        w->owner[i] = (int)n;
    }
    w->in_operation[n] = true;
    w->loads += load;
}

static void begin_operation(World *w)
{
    w->operation++;
    memset(w->in_operation, 0, sizeof w->in_operation);
}

static World *world(uint64_t bytes, const WeightNeed *need)
{
    World *w = calloc(1, sizeof *w);
    if (w == NULL) abort();
    weight_room_init(&w->room, bytes, need);
    memset(w->owner, 0xff, sizeof w->owner);
    w->ok = true;
    return w;
}

static void end(World *w)
{
    weight_room_close(&w->room);
    free(w);
}

static void note(const char *name, bool ok)
{
    printf("%s %s\n", ok ? "ok  " : "FAIL", name);
    *(ok ? &passed : &failed) += 1;
}

/* A network: operations of one to four weights each; its operations in one group, or in two. */
typedef struct Network {
    int operations, count[64], groups;
    size_t weight[64][4];
    size_t weights;
    uint64_t bytes[WEIGHTS_MOST];
} Network;

/* shares: the first weight is one of all operations. */
static Network network(uint64_t seed, int groups, bool shares)
{
    uint64_t state = seed;
    Network n = {.operations = 20 + (int)(random_next(&state) % 40), .groups = groups};
    for (int i = 0; i < n.operations; i++) {
        n.count[i] = 1 + (int)(random_next(&state) % 3);
        for (int k = 0; k < n.count[i]; k++) {
            n.weight[i][k] = n.weights;
            n.bytes[n.weights++] = 1 + random_next(&state) % (random_next(&state) % 4 == 0 ? 60000 : 3000);
        }
        if (shares && i > 0) n.weight[i][n.count[i]++] = 0;
    }
    return n;
}

/* The group at work has so many bytes; what lies beyond is somebody else's until the next change, which waits for all work. */
static void resize(World *w, uint64_t bytes)
{
    weight_room_resize(&w->room, bytes);
    for (size_t i = bytes / WEIGHT_ALIGN; i < sizeof w->owner / sizeof w->owner[0]; i++) w->owner[i] = -1;
    w->waited = w->operation - 1;
}

/* sizes: of each group; NULL: all of what there is. */
static void run(World *w, const Network *n, const uint64_t *sizes)
{
    while (w->room.count < n->weights) weight_room_add(&w->room, n->bytes[w->room.count]);
    for (int i = 0; i < n->operations; i++) {
        const int group = i * n->groups / n->operations;
        begin_operation(w);
        weight_room_group(&w->room, group);
        if (sizes != NULL && sizes[group] != w->room.bytes) resize(w, sizes[group]);
        for (int k = 0; k < n->count[i]; k++) use(w, n->weight[i][k]);
    }
}

static WeightNeed need_of(const Network *n)
{
    World *w = world(UINT64_MAX, &(WeightNeed){0});
    while (w->room.count < n->weights) weight_room_add(&w->room, n->bytes[w->room.count]);
    for (int i = 0; i < n->operations; i++) {
        bool load;
        for (int k = 0; k < n->count[i]; k++) weight_room_use(&w->room, n->weight[i][k], (uint64_t)i, &load);
    }
    const WeightNeed need = w->room.need;
    end(w);
    return need;
}

/* Six rounds in so much memory; the last one's uploads. False: something was lost, or a place had changed by then. */
static bool rounds_of(const Network *n, const WeightNeed *need, uint64_t bytes, const uint64_t *sizes, bool may_move,
                      uint64_t *loads)
{
    World *w = world(bytes, need);
    uint64_t at[WEIGHTS_MOST], before = 0;
    bool ok = true;
    for (int round = 0; round < 6; round++) {
        before = w->loads;
        for (size_t i = 0; i < n->weights && round == 5; i++) at[i] = w->room.spans[i].at;
        run(w, n, sizes);
    }
    for (size_t i = 0; i < n->weights; i++) ok &= may_move || at[i] == w->room.spans[i].at;
    *loads = w->loads - before;
    ok &= w->ok;
    end(w);
    return ok;
}

static bool rounds(const Network *n, const WeightNeed *need, uint64_t bytes, bool may_move, uint64_t *loads)
{
    return rounds_of(n, need, bytes, NULL, may_move, loads);
}

/* The first group has the least, the second room for all its weights: run again, it uploads nothing. */
static bool group_stays(const Network *n, const WeightNeed *need, uint64_t least)
{
    World *w = world(least, need);
    const uint64_t sizes[] = {least, need->all + least};
    for (int round = 0; round < 3; round++) run(w, n, sizes);
    const uint64_t before = w->loads;
    for (int i = 0; i < n->operations; i++) {
        begin_operation(w);
        for (int k = 0; i * n->groups / n->operations == 1 && k < n->count[i]; k++) use(w, n->weight[i][k]);
    }
    const bool ok = w->ok && w->loads == before && before > 0;
    end(w);
    return ok;
}

static void check_needs(void)
{
    const WeightNeed a = {1000, 300, 64}, b = {500, 400, 32}, both = weight_need_both(a, b), small = {100, 90, 0};
    note("needs of two networks", both.all == 1500 && both.operation == 400 && both.upload == 64);
    note("nothing needs nothing, and all is more than the least",
         weight_need_all(&(WeightNeed){0}) == 0 && weight_need_all(&both) == 1500 + weight_need_fixed(&both) &&
             weight_need_least(&both) == 800 + weight_need_fixed(&both) && weight_need_least(&small) == weight_need_all(&small));
}

int main(void)
{
    bool all = true, least = true, between = true, fewer = true, shared = true, sized = true, stays = true;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        const Network one = network(seed, 1, false), two = network(seed, 2, false), sharing = network(seed, 1, true);
        const WeightNeed need = need_of(&one), sharing_need = need_of(&sharing);
        const uint64_t window = 2 * need.operation, half = (need.all + window) / 2 / WEIGHT_ALIGN * WEIGHT_ALIGN;
        uint64_t none = 0, few = 0, many = 0, ignored;
        all &= rounds(&one, &need, need.all, false, &none) && none == 0 && rounds(&two, &need, need.all, false, &none) && none == 0;
        if (half >= need.all) continue;
        least &= rounds(&one, &need, window, false, &many) && rounds(&two, &need, window, false, &ignored);
        between &= rounds(&one, &need, half, false, &few) && rounds(&two, &need, half, false, &ignored);
        fewer &= few <= many && few > 0;
        const uint64_t sizes[] = {window, half};
        sized &= rounds_of(&two, &need, window, sizes, false, &ignored);
        stays &= group_stays(&two, &need, window);
        const WeightNeed wide = {sharing_need.all, 2 * sharing_need.operation, 0};
        shared &= rounds(&sharing, &wide, 4 * sharing_need.operation, true, &ignored);
    }
    note("all fits: nothing is loaded twice", all);
    note("the least that was planned: every operation finds room, places stay", least);
    note("half of what exceeds it: the same", between);
    note("more memory, fewer uploads", fewer);
    note("a weight of all operations, in twice the least", shared);
    note("a group with more memory than the other: nothing is lost, places stay", sized);
    note("a group with room for all its weights uploads them once", stays);
    check_needs();
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed > 0;
}
