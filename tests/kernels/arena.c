/* The arena: no two spans meet, what was given back is used again, the peak is the highest end, the limit holds. */
#include "runtime/arena.h"
#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

void test_arena(void)
{
    if (!check_begin("arena")) return;
    enum { SPANS = 64, STEPS = 5000 };
    Arena a;
    arena_init(&a, UINT64_MAX);
    uint64_t at[SPANS], bytes[SPANS], top = 0;
    bool used[SPANS] = {false};
    for (int step = 0; step < STEPS; step++) {
        const int i = (int)(check_random() % SPANS);
        if (used[i]) {
            arena_give(&a, at[i]);
            used[i] = false;
            continue;
        }
        bytes[i] = 1 + check_random() % 5000;
        at[i] = arena_take(&a, bytes[i]);
        used[i] = true;
        top = at[i] + bytes[i] > top ? at[i] + bytes[i] : top;
        check_true(at[i] % ARENA_ALIGN == 0, "offset %llu is not aligned", (unsigned long long)at[i]);
        for (int k = 0; k < SPANS; k++) {
            check_true(k == i || !used[k] || at[k] + bytes[k] <= at[i] || at[i] + bytes[i] <= at[k], "spans overlap");
        }
    }
    check_true(a.peak >= top && a.peak < top + ARENA_ALIGN, "peak %llu, highest end %llu", (unsigned long long)a.peak,
               (unsigned long long)top);
    for (int i = 0; i < SPANS; i++) {
        if (used[i]) arena_give(&a, at[i]);
    }
    check_true(a.count == 0, "%zu spans left", a.count);
    check_true(arena_take(&a, 100) == 0, "an empty arena does not begin at 0");
    arena_close(&a);

    arena_init(&a, 1024);
    check_true(arena_take(&a, 1000) == 0, "1000 bytes do not fit 1024");
    check_true(arena_take(&a, 1) == ARENA_FULL, "the limit was passed");
    check_true(arena_take(&a, UINT64_MAX - 10) == ARENA_FULL, "a size near 2^64 was given");
    arena_close(&a);
    check_end();
}
