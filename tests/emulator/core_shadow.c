/*
 * Shared-memory races by vector clocks (the method of FastTrack, Flanagan and Freund 2009, per lane instead of thread).
 *
 * A warp has a time that goes on at everything that orders it with others. Each cell of shared memory (as large as the
 * kernel's smallest access) remembers its last writer with the writer's time, and for each warp the time of its last
 * read and the lanes that read. An access is ordered after an earlier one when the earlier lane's entry in the
 * accessor's clock has reached the earlier time. Clocks are joined along barriers, mbarrier phases, bar.warp.sync and
 * words used with atomic or volatile accesses, and along nothing else: lanes of one warp race, too.
 *
 * Asynchronous copies are agents of their own, so that waiting for them is what orders them: one for each lane's
 * cp.async (own_async rises at wait_group), one for each mbarrier that bulk copies complete on (its entry is the phase),
 * one for each warp's bulk copies out of shared memory.
 *
 * The second half of a clock says up to which time another lane's accesses are known AND followed by a proxy fence:
 * what the async proxy may rely on.
 */
#include "tests/emulator/core_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void core_clocks_join(struct core_block *b, uint32_t *to, const uint32_t *from)
{
    uint32_t n = b->clock_entries * 2;
    for (uint32_t i = 0; i < n; i++) to[i] = to[i] > from[i] ? to[i] : from[i];
}

void core_clocks_start(struct core_warp *w)
{
    struct core_block *b = w->block;
    struct core_clocks *c = &w->clocks;
    memset(c->common, 0, (size_t)b->clock_entries * 2 * sizeof(uint32_t));
    for (int l = 0; l < LANES; l++) {
        free(c->own[l]);
        c->own[l] = NULL;
        c->own_async[l] = c->own_fenced[l] = c->async_groups[l] = 0;
        c->async_time[l] = b->base_time + 1;
    }
    c->own_bulk = c->bulk_groups = 0;
    c->bulk_time = c->time = b->base_time + 1;
}

static const uint32_t *clock_of(const struct core_warp *w, uint32_t lane)
{
    return w->clocks.own[lane] ? w->clocks.own[lane] : w->clocks.common;
}

/* What the lanes know and have done so far. */
static void gather(struct core_warp *w, uint32_t lanes, uint32_t *to)
{
    struct core_block *b = w->block;
    struct core_clocks *c = &w->clocks;
    core_clocks_join(b, to, c->common);
    EACH_LANE(l, lanes)
    {
        if (c->own[l]) core_clocks_join(b, to, c->own[l]);
        uint32_t self = w->index * LANES + l;
        to[self] = c->time;
        if (to[b->async_first + self] < c->own_async[l]) to[b->async_first + self] = c->own_async[l];
        uint32_t *fenced = &to[b->clock_entries + self];
        if (*fenced < c->own_fenced[l]) *fenced = c->own_fenced[l];
    }
    uint32_t *bulk = &to[b->bulk_first + w->index];
    if (*bulk < c->own_bulk) *bulk = c->own_bulk;
}

void core_release(struct core_warp *w, uint32_t lanes, uint32_t *clocks)
{
    gather(w, lanes, clocks);
    w->clocks.time++;
}

static uint32_t *own_clocks(struct core_warp *w, uint32_t lane)
{
    struct core_clocks *c = &w->clocks;
    size_t bytes = (size_t)w->block->clock_entries * 2 * sizeof(uint32_t);
    if (!c->own[lane]) {
        c->own[lane] = malloc(bytes);
        if (!c->own[lane]) core_fault(w, (int)lane, CORE_OUT_OF_MEMORY, 0, "no host memory for clocks");
        memcpy(c->own[lane], c->common, bytes);
    }
    return c->own[lane];
}

void core_acquire(struct core_warp *w, uint32_t lanes, const uint32_t *clocks)
{
    struct core_clocks *c = &w->clocks;
    if ((lanes & w->live) == w->live) {
        core_clocks_join(w->block, c->common, clocks);
        EACH_LANE(l, lanes) if (c->own[l]) core_clocks_join(w->block, c->own[l], clocks);
    } else {
        EACH_LANE(l, lanes) core_clocks_join(w->block, own_clocks(w, l), clocks);
    }
}

void core_warp_sync(struct core_warp *w, uint32_t lanes)
{
    struct core_block *b = w->block;
    struct core_clocks *c = &w->clocks;
    uint32_t *sum = b->spare_clocks;
    memset(sum, 0, (size_t)b->clock_entries * 2 * sizeof(uint32_t));
    gather(w, lanes, sum);
    if ((lanes & w->live) == w->live) {
        memcpy(c->common, sum, (size_t)b->clock_entries * 2 * sizeof(uint32_t));
        for (int l = 0; l < LANES; l++) {
            free(c->own[l]);
            c->own[l] = NULL;
        }
    } else {
        EACH_LANE(l, lanes) core_clocks_join(b, own_clocks(w, l), sum);
    }
    c->time++;
}

void core_proxy_fence(struct core_warp *w, uint32_t lanes)
{
    struct core_clocks *c = &w->clocks;
    uint32_t n = w->block->clock_entries;
    bool all = (lanes & w->live) == w->live;
    if (all)
        for (uint32_t i = 0; i < n; i++) c->common[n + i] = c->common[i];
    EACH_LANE(l, lanes)
    {
        c->own_fenced[l] = c->time;
        if (all && !c->own[l]) continue;
        uint32_t *own = own_clocks(w, l);
        for (uint32_t i = 0; i < n; i++) own[n + i] = own[i];
    }
    c->time++;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Accesses */

static const char *agent_name(struct core_block *b, uint32_t agent, char text[64])
{
    uint32_t lanes = b->warps * LANES;
    if (agent < lanes)
        snprintf(text, 64, "thread %u", agent);
    else if (agent < b->bulk_first)
        snprintf(text, 64, "the cp.async of thread %u", agent - lanes);
    else if (agent < b->mbarrier_first)
        snprintf(text, 64, "a bulk copy of warp %u", agent - b->bulk_first);
    else
        snprintf(text, 64, "a bulk copy completing on the mbarrier at 0x%x",
                 b->mbarrier[agent - b->mbarrier_first].address);
    return text;
}

static bool ordered(const struct core_warp *w, uint32_t lane, const uint32_t *known, uint32_t agent, uint32_t time)
{
    const struct core_block *b = w->block;
    uint32_t self = w->index * LANES + lane;
    return time <= known[agent] || agent == self ||
           (agent == b->async_first + self && time <= w->clocks.own_async[lane]) ||
           (agent == b->bulk_first + w->index && time <= w->clocks.own_bulk);
}

static _Noreturn void race(struct core_warp *w, uint32_t lane, uint32_t cell, uint32_t agent, const char *now,
                           const char *before)
{
    struct core_block *b = w->block;
    char name[64];
    bool own = agent == b->async_first + w->index * LANES + lane;
    core_fault(w, (int)lane, CORE_FAULT_LAUNCH, SHARED_FIRST + ((uint64_t)cell << b->granule),
               "race in shared memory: %s with the %s by %s%s", now, before, agent_name(b, agent, name),
               own ? " (no wait for the copy between them)"
               : agent < b->async_first && agent / LANES == w->index
                   ? " of the same warp (no bar.warp.sync between them)"
                   : " (nothing orders the two)");
}

/* The last write must be ordered before this access; for the async proxy it must be fenced, too. */
static void after_write(struct core_warp *w, uint32_t lane, const uint32_t *known, uint32_t at, int how,
                        const char *now)
{
    const struct core_block *b = w->block;
    const struct core_cell *cell = &b->cell[at];
    if (cell->time <= b->base_time) return;
    if (cell->strong && (how & SHADOW_STRONG)) { /* atomics do not race with each other */
        if (cell->weak_time > b->base_time && !ordered(w, lane, known, cell->weak_agent, cell->weak_time))
            race(w, lane, at, cell->weak_agent, now, "write");
        return;
    }
    if (!ordered(w, lane, known, cell->agent, cell->time)) race(w, lane, at, cell->agent, now, "write");
    if ((how & SHADOW_ASYNC) && cell->agent < b->async_first) {
        bool self = cell->agent == w->index * LANES + lane;
        if (cell->time > known[b->clock_entries + cell->agent] && !(self && cell->time <= w->clocks.own_fenced[lane]))
            core_fault(w, (int)lane, CORE_FAULT_LAUNCH, SHARED_FIRST + ((uint64_t)at << b->granule),
                       "missing fence.proxy.async: %s through the async proxy of what thread %u wrote through the "
                       "generic proxy",
                       now, cell->agent);
    }
}

void core_shadow_read(struct core_warp *w, uint32_t lane, uint32_t offset, uint32_t bytes, int how)
{
    struct core_block *b = w->block;
    const uint32_t *known = clock_of(w, lane);
    struct core_read *plane = b->read + (size_t)w->index * b->cells;
    uint32_t now = w->clocks.time, last = (offset + bytes - 1) >> b->granule, self = w->index * LANES + lane;
    for (uint32_t i = offset >> b->granule; i <= last; i++) {
        const struct core_cell *cell = &b->cell[i];
        if (cell->time <= b->base_time)
            core_fault(w, (int)lane, CORE_FAULT_LAUNCH, SHARED_FIRST + offset, "read of uninitialised shared memory");
        if (cell->agent != self || (how & SHADOW_ASYNC)) after_write(w, lane, known, i, how, "read");
        if (how & SHADOW_STRONG) continue;
        struct core_read *r = &plane[i];
        if (r->time != now) *r = (struct core_read){now, 0};
        r->lanes |= 1u << lane;
    }
}

void core_shadow_bulk_read(struct core_warp *w, uint32_t lane, uint32_t offset, uint32_t bytes)
{
    struct core_block *b = w->block;
    const uint32_t *known = clock_of(w, lane);
    uint32_t last = (offset + bytes - 1) >> b->granule;
    for (uint32_t i = offset >> b->granule; i <= last; i++) {
        if (b->cell[i].time <= b->base_time)
            core_fault(w, (int)lane, CORE_FAULT_LAUNCH, SHARED_FIRST + (i << b->granule),
                       "bulk copy of uninitialised shared memory");
        after_write(w, lane, known, i, SHADOW_ASYNC, "read");
        /* lanes == 0 marks a read by the warp's bulk agent */
        b->read[(size_t)w->index * b->cells + i] = (struct core_read){w->clocks.bulk_time, 0};
    }
}

void core_shadow_write(struct core_warp *w, uint32_t lane, uint32_t offset, uint32_t bytes, int how, uint32_t agent,
                       uint32_t time)
{
    struct core_block *b = w->block;
    const uint32_t *known = clock_of(w, lane);
    uint32_t last = (offset + bytes - 1) >> b->granule, self = w->index * LANES + lane;
    for (uint32_t i = offset >> b->granule; i <= last; i++) {
        after_write(w, lane, known, i, how, "write");
        for (uint32_t v = 0; v < b->warps; v++) {
            struct core_read *r = &b->read[(size_t)v * b->cells + i];
            if (r->time <= b->base_time) continue;
            if (!r->lanes) {
                if (!ordered(w, lane, known, b->bulk_first + v, r->time))
                    race(w, lane, i, b->bulk_first + v, "write", "read");
                continue;
            }
            EACH_LANE(l, r->lanes)
            {
                if (v * LANES + l != self && r->time > known[v * LANES + l])
                    race(w, lane, i, v * LANES + l, "write", "read");
            }
            r->time = 0; /* all of them are ordered before this write: who is ordered after the write is after them */
        }
        struct core_cell *cell = &b->cell[i];
        if ((how & SHADOW_STRONG) && !cell->strong) {
            cell->weak_time = cell->time;
            cell->weak_agent = cell->agent;
        }
        cell->time = time;
        cell->agent = (uint16_t)agent;
        cell->strong = how & SHADOW_STRONG;
    }
}

void core_shadow_store(struct core_warp *w, uint32_t lane, uint32_t offset, uint32_t bytes, int how)
{
    core_shadow_write(w, lane, offset, bytes, how, w->index * LANES + lane, w->clocks.time);
}
