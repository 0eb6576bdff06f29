#include "runtime/cuda/budget.h"

uint64_t memory_budget(const MemoryState *m)
{
    const uint64_t gib = (uint64_t)1 << 30, share = m->granted > m->used ? m->granted - m->used : 0;
    const uint64_t had = m->granted > 0 && share < m->available ? share : m->available;
    const uint64_t tenth = m->display || had / 10 < gib ? had / 10 : gib, rest = had - tenth;
    return m->display && rest > 4 * gib ? rest - gib / 2 : rest;
}
