/*
 * Offsets within one block of memory, given out and taken back in any order. It owns no memory: a plan and a run make the
 * same calls and find the same holes, so the peak of the plan is the size the run needs.
 *
 * What stays is taken from the low end, what is soon given back from the high end: neither leaves holes among the other.
 * The high end of a plan is so far away that it is never reached; offsets there are as far from it as the run's from its own.
 */
#ifndef UPRES_RUNTIME_ARENA_H
#define UPRES_RUNTIME_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum ArenaEnd { ARENA_LOW, ARENA_HIGH } ArenaEnd;

typedef struct ArenaSpan {
    uint64_t at, bytes;
    ArenaEnd end;
} ArenaSpan;

typedef struct Arena {
    uint64_t limit; /* bytes that may be used; UINT64_MAX: none */
    uint64_t top;   /* the high end */
    uint64_t peak;  /* the most that both ends together reached into it */
    ArenaSpan *used; /* by rising offset */
    size_t count, capacity;
} Arena;

#define ARENA_FULL UINT64_MAX

enum { ARENA_ALIGN = 64 }; /* a cache line, and one vector of AVX-512 */

void arena_init(Arena *a, uint64_t limit);
void arena_close(Arena *a);
/* The offset nearest to that end with room for `bytes` (rounded up to ARENA_ALIGN). ARENA_FULL when the ends would meet. */
uint64_t arena_take(Arena *a, ArenaEnd end, uint64_t bytes);
void arena_give(Arena *a, uint64_t at);

#endif
