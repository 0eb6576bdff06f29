/*
 * The arena: no two spans meet, what was given back is used again, the limit holds; a second arena just as large as the first,
 * a plan, became at its most gives the same places.
 */
#include "runtime/arena.h"
#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

enum { SPANS = 64, STEPS = 5000 };

typedef struct Step {
    int span;
    ArenaEnd end;
    uint64_t bytes, at; /* bytes 0: given back */
} Step;

/* Where a span lies, from the end that it was taken from. */
static uint64_t place(const Arena *a, ArenaEnd end, uint64_t at) { return end == ARENA_LOW ? at : a->top - at; }

static void at_random(Arena *a, Step *steps)
{
    uint64_t at[SPANS], bytes[SPANS];
    bool used[SPANS] = {false};
    for (int step = 0; step < STEPS; step++) {
        const int i = (int)(check_random() % SPANS);
        steps[step] = (Step){.span = i, .end = i < SPANS / 3 ? ARENA_LOW : ARENA_HIGH};
        if (used[i]) {
            arena_give(a, at[i]);
            used[i] = false;
            continue;
        }
        bytes[i] = steps[step].bytes = 1 + check_random() % 5000;
        at[i] = arena_take(a, steps[step].end, bytes[i]);
        steps[step].at = place(a, steps[step].end, at[i]);
        used[i] = true;
        check_true(at[i] % ARENA_ALIGN == 0, "offset %llu is not aligned", (unsigned long long)at[i]);
        check_true(steps[step].at <= a->peak, "%llu lies beyond the peak of %llu", (unsigned long long)steps[step].at,
                   (unsigned long long)a->peak);
        for (int k = 0; k < SPANS; k++) {
            check_true(k == i || !used[k] || at[k] + bytes[k] <= at[i] || at[i] + bytes[i] <= at[k], "spans overlap");
        }
    }
    for (int i = 0; i < SPANS; i++) {
        if (used[i]) arena_give(a, at[i]);
    }
    check_true(a->count == 0, "%zu spans left", a->count);
}

static void again(Arena *a, const Step *steps)
{
    uint64_t at[SPANS] = {0};
    for (const Step *s = steps; s < steps + STEPS; s++) {
        if (s->bytes == 0) {
            arena_give(a, at[s->span]);
            continue;
        }
        at[s->span] = arena_take(a, s->end, s->bytes);
        check_true(at[s->span] != ARENA_FULL && place(a, s->end, at[s->span]) == s->at, "another place than planned");
    }
}

void test_arena(void)
{
    if (!check_begin("arena")) return;
    static Step steps[STEPS];
    Arena a, b;
    arena_init(&a, UINT64_MAX);
    at_random(&a, steps);
    check_true(arena_take(&a, ARENA_LOW, 100) == 0, "an empty arena does not begin at 0");
    arena_init(&b, a.peak);
    again(&b, steps);
    check_true(b.peak == a.peak, "planned %llu, used %llu", (unsigned long long)a.peak, (unsigned long long)b.peak);
    arena_close(&b);
    arena_close(&a);

    arena_init(&a, 1024);
    check_true(arena_take(&a, ARENA_LOW, 900) == 0, "900 bytes do not fit 1024");
    check_true(arena_take(&a, ARENA_HIGH, 65) == ARENA_FULL, "the ends met");
    check_true(arena_take(&a, ARENA_LOW, 65) == ARENA_FULL, "the limit was passed");
    check_true(arena_take(&a, ARENA_HIGH, 64) == 960, "64 bytes do not fit beside 960 of 1024");
    check_true(arena_take(&a, ARENA_LOW, UINT64_MAX - 10) == ARENA_FULL, "a size near 2^64 was given");
    check_true(arena_take(&a, ARENA_HIGH, UINT64_MAX - 10) == ARENA_FULL, "a size near 2^64 was given at the high end");
    arena_close(&a);
    check_end();
}
