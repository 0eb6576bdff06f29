#include "runtime/cuda/weight_room.h"

#include <stdlib.h>

static uint64_t round_up(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }
static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* -------------------------------------------------------------------------------------------------------------- needs */

uint64_t weight_need_fixed(const WeightNeed *n)
{
    return WEIGHT_WORDS * sizeof(uint32_t) + 2 * WEIGHT_SMALL + WEIGHT_BUFFERS * round_up(n->upload, WEIGHT_ALIGN);
}

uint64_t weight_need_all(const WeightNeed *n) { return n->all > 0 ? weight_need_fixed(n) + n->all : 0; }

/* A window in which the weights of one operation find a place wherever those of the one before ended. */
static uint64_t window_of(const WeightNeed *n) { return 2 * n->operation; }

uint64_t weight_need_least(const WeightNeed *n)
{
    const uint64_t least = weight_need_fixed(n) + window_of(n), all = weight_need_all(n);
    return least < all ? least : all;
}

WeightNeed weight_need_both(WeightNeed a, WeightNeed b)
{
    return (WeightNeed){a.all + b.all, larger(a.operation, b.operation), larger(a.upload, b.upload)};
}

/* --------------------------------------------------------------------------------------------------------------- room */

void weight_room_init(WeightRoom *r, uint64_t bytes, const WeightNeed *need)
{
    *r = (WeightRoom){.bytes = bytes};
    if (bytes == UINT64_MAX) return;
    r->wanted_window = window_of(need);
    r->window = r->wanted_window < bytes ? r->wanted_window : bytes;
    r->groups = bytes < need->all;
    for (int i = 0; i < WEIGHT_GROUPS; i++) r->next_in_window[i] = bytes - r->window;
}

void weight_room_close(WeightRoom *r)
{
    free(r->spans);
    *r = (WeightRoom){0};
}

void weight_room_group(WeightRoom *r, int group)
{
    if (r->groups) r->group = group;
}

void weight_room_resize(WeightRoom *r, uint64_t bytes)
{
    if (!r->groups || bytes == r->bytes) return;
    const uint64_t window = r->wanted_window < bytes ? r->wanted_window : bytes, begin = bytes - window;
    r->bytes = bytes;
    r->window = window;
    uint64_t *next = &r->next_in_window[r->group];
    if (*next < begin || *next > bytes) *next = begin;
    for (size_t i = 0; i < r->count; i++) {
        if (r->spans[i].loaded && r->spans[i].at + r->spans[i].bytes > bytes) r->spans[i].loaded = false;
    }
}

size_t weight_room_add(WeightRoom *r, uint64_t bytes)
{
    if (r->count == r->capacity) {
        const size_t capacity = r->capacity ? 2 * r->capacity : 1024;
        WeightSpan *spans = realloc(r->spans, capacity * sizeof *spans);
        if (spans == NULL) return SIZE_MAX;
        r->spans = spans;
        r->capacity = capacity;
    }
    bytes = round_up(larger(bytes, 1), WEIGHT_ALIGN);
    r->spans[r->count] = (WeightSpan){.bytes = bytes, .used = WEIGHT_UNREAD};
    r->need.all += bytes;
    return r->count++;
}

static bool overlap(const WeightSpan *s, uint64_t at, uint64_t bytes)
{
    return s->loaded && s->at < at + bytes && at < s->at + s->bytes;
}

/* May `bytes` at `at` be had without touching weights of this operation? */
static bool free_of(const WeightRoom *r, uint64_t at, uint64_t bytes, uint64_t operation)
{
    if (bytes > r->bytes || at > r->bytes - bytes) return false;
    for (size_t i = 0; i < r->count; i++) {
        if (r->spans[i].used == operation && overlap(&r->spans[i], at, bytes)) return false;
    }
    return true;
}

/* A place in the window; UINT64_MAX: none. */
static uint64_t in_window(const WeightRoom *r, uint64_t bytes, uint64_t operation)
{
    const uint64_t begin = r->bytes - r->window, next = r->next_in_window[r->group];
    if (free_of(r, next, bytes, operation)) return next;
    if (free_of(r, begin, bytes, operation)) return begin;
    for (size_t i = 0; i < r->count; i++) { /* behind one of the operation's own */
        const WeightSpan *s = &r->spans[i];
        const uint64_t end = s->at + s->bytes;
        if (s->loaded && s->used == operation && end >= begin && free_of(r, end, bytes, operation)) return end;
    }
    return UINT64_MAX;
}

static bool place(WeightRoom *r, WeightSpan *s, uint64_t operation)
{
    const uint64_t end = r->groups ? r->bytes - r->window : r->bytes;
    uint64_t *next = &r->next[r->group];
    if (!s->placed && s->bytes <= end && *next <= end - s->bytes) {
        s->at = *next;
        *next += s->bytes;
    } else {
        s->at = in_window(r, s->bytes, operation);
        if (s->at == UINT64_MAX) return false;
        r->next_in_window[r->group] = s->at + s->bytes;
    }
    s->placed = true;
    return true;
}

bool weight_room_is_streamed(const WeightRoom *r, size_t n)
{
    return r->groups && r->spans[n].at + r->spans[n].bytes > r->bytes - r->window;
}

/* What lies there has to be loaded again. */
static void overwrite(WeightRoom *r, uint64_t at, uint64_t bytes)
{
    for (size_t i = 0; i < r->count; i++) {
        WeightSpan *s = &r->spans[i];
        if (!overlap(s, at, bytes)) continue;
        s->loaded = false;
        if (r->overwritten == WEIGHT_UNREAD || s->used > r->overwritten) r->overwritten = s->used;
    }
}

bool weight_room_use(WeightRoom *r, size_t n, uint64_t operation, bool *load)
{
    WeightSpan *s = &r->spans[n];
    *load = !s->loaded;
    if (operation != r->operation) r->operation_bytes = 0;
    r->operation = operation;
    if (s->used != operation) r->operation_bytes += s->bytes;
    r->need.operation = larger(r->need.operation, r->operation_bytes);
    s->used = operation;
    if (s->loaded) return true;
    r->overwritten = WEIGHT_UNREAD;
    if (r->bytes != UINT64_MAX) {
        const bool settled = s->placed && free_of(r, s->at, s->bytes, operation);
        if (!settled && !place(r, s, operation)) return false;
        if (!free_of(r, s->at, s->bytes, operation) && !place(r, s, operation)) return false;
        overwrite(r, s->at, s->bytes);
    }
    s->loaded = true;
    return true;
}
