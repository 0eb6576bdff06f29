#include "runtime/arena.h"

#include <stdlib.h>
#include <string.h>

#define PLAN_TOP ((uint64_t)1 << 60)

void arena_init(Arena *a, uint64_t limit)
{
    *a = (Arena){.limit = limit, .top = limit == UINT64_MAX ? PLAN_TOP : limit / ARENA_ALIGN * ARENA_ALIGN};
}

void arena_close(Arena *a)
{
    free(a->used);
    *a = (Arena){0};
}

/* Spans of the low end come first: how many there are. */
static size_t low_count(const Arena *a)
{
    size_t low = 0, high = a->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (a->used[middle].end == ARENA_LOW) low = middle + 1;
        else high = middle;
    }
    return low;
}

static uint64_t end_of(const Arena *a, size_t i) { return a->used[i].at + a->used[i].bytes; }

/* The first hole from the low end on among spans 0 .. *index - 1, or the place behind them. *index: where it belongs. */
static uint64_t place_low(const Arena *a, uint64_t bytes, size_t *index)
{
    const size_t count = *index;
    uint64_t at = 0;
    for (*index = 0; *index < count && a->used[*index].at - at < bytes; ++*index) at = end_of(a, *index);
    return at;
}

/* The first hole from the high end on among spans *index .. count - 1, or the place before them. ARENA_FULL: none is left. */
static uint64_t place_high(const Arena *a, uint64_t bytes, size_t *index)
{
    const size_t first = *index;
    uint64_t end = a->top;
    for (*index = a->count; *index > first && end - end_of(a, *index - 1) < bytes; --*index) end = a->used[*index - 1].at;
    return end >= bytes ? end - bytes : ARENA_FULL;
}

static bool have_span(Arena *a)
{
    if (a->count < a->capacity) return true;
    const size_t capacity = a->capacity ? a->capacity * 2 : 64;
    ArenaSpan *used = realloc(a->used, capacity * sizeof *used);
    if (used == NULL) return false;
    a->used = used;
    a->capacity = capacity;
    return true;
}

uint64_t arena_take(Arena *a, ArenaEnd end, uint64_t bytes)
{
    if (bytes > a->top || !have_span(a)) return ARENA_FULL;
    bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (bytes == 0) bytes = ARENA_ALIGN; /* so that every span has an offset of its own */
    const size_t lows = low_count(a);
    size_t i = lows;
    const uint64_t at = end == ARENA_LOW ? place_low(a, bytes, &i) : place_high(a, bytes, &i);
    uint64_t low = lows > 0 ? end_of(a, lows - 1) : 0, high = lows < a->count ? a->used[lows].at : a->top;
    if (at == ARENA_FULL || bytes > a->top || at > a->top - bytes) return ARENA_FULL;
    if (end == ARENA_LOW && at + bytes > low) low = at + bytes;
    if (end == ARENA_HIGH && at < high) high = at;
    if (low > high) return ARENA_FULL;
    memmove(a->used + i + 1, a->used + i, (a->count - i) * sizeof *a->used);
    a->used[i] = (ArenaSpan){at, bytes, end};
    a->count++;
    if (low + (a->top - high) > a->peak) a->peak = low + (a->top - high);
    return at;
}

void arena_give(Arena *a, uint64_t at)
{
    for (size_t i = 0; i < a->count; i++) {
        if (a->used[i].at != at) continue;
        a->count--;
        memmove(a->used + i, a->used + i + 1, (a->count - i) * sizeof *a->used);
        return;
    }
}
