/*
 * Offsets within one block of memory, given out and taken back in any order. It owns no memory: a plan and a run make the
 * same calls and get the same offsets, so the peak of the plan is the size the run needs.
 */
#ifndef UPRES_RUNTIME_ARENA_H
#define UPRES_RUNTIME_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ArenaSpan {
    uint64_t at, bytes;
} ArenaSpan;

typedef struct Arena {
    uint64_t limit; /* bytes that may be used; UINT64_MAX: none */
    uint64_t peak;
    ArenaSpan *used; /* by rising offset */
    size_t count, capacity;
} Arena;

#define ARENA_FULL UINT64_MAX

enum { ARENA_ALIGN = 64 }; /* a cache line, and one vector of AVX-512 */

void arena_init(Arena *a, uint64_t limit);
void arena_close(Arena *a);
/* The lowest offset with room for `bytes` (rounded up to ARENA_ALIGN). ARENA_FULL when it would pass the limit. */
uint64_t arena_take(Arena *a, uint64_t bytes);
void arena_give(Arena *a, uint64_t at);

#endif
