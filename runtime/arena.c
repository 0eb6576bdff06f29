#include "runtime/arena.h"

#include <stdlib.h>
#include <string.h>

void arena_init(Arena *a, uint64_t limit)
{
    *a = (Arena){.limit = limit};
}

void arena_close(Arena *a)
{
    free(a->used);
    *a = (Arena){0};
}

uint64_t arena_take(Arena *a, uint64_t bytes)
{
    if (bytes > UINT64_MAX - ARENA_ALIGN) return ARENA_FULL;
    bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (bytes == 0) bytes = ARENA_ALIGN; /* so that every span has an offset of its own */
    if (a->count == a->capacity) {
        size_t capacity = a->capacity ? a->capacity * 2 : 64;
        ArenaSpan *used = realloc(a->used, capacity * sizeof *used);
        if (used == NULL) return ARENA_FULL;
        a->used = used;
        a->capacity = capacity;
    }
    uint64_t at = 0;
    size_t i = 0;
    while (i < a->count && a->used[i].at - at < bytes) {
        at = a->used[i].at + a->used[i].bytes;
        i++;
    }
    if (bytes > a->limit || at > a->limit - bytes) return ARENA_FULL;
    memmove(a->used + i + 1, a->used + i, (a->count - i) * sizeof *a->used);
    a->used[i] = (ArenaSpan){at, bytes};
    a->count++;
    if (at + bytes > a->peak) a->peak = at + bytes;
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
