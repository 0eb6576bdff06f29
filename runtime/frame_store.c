#include "runtime/frame_store.h"

#include <stdlib.h>
#include <string.h>

bool frame_store_put(FrameStore *s, int64_t number, const void *data, ptrdiff_t stride, size_t row_bytes, size_t rows)
{
    if (s->count == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 16;
        StoredFrame *grown = realloc(s->frame, capacity * sizeof *grown);
        if (!grown) return false;
        s->frame = grown;
        s->capacity = capacity;
    }
    char *copy = malloc(row_bytes * rows);
    if (!copy) return false;
    for (size_t y = 0; y < rows; y++)
        memcpy(copy + y * row_bytes, (const char *)data + (ptrdiff_t)y * stride, row_bytes);
    s->frame[s->count++] = (StoredFrame){number, copy};
    return true;
}

const void *frame_store_get(const FrameStore *s, int64_t number)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->frame[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->count && s->frame[low].number == number ? s->frame[low].data : NULL;
}

void frame_store_drop_before(FrameStore *s, int64_t number)
{
    size_t gone = 0;
    while (gone < s->count && s->frame[gone].number < number) free(s->frame[gone++].data);
    if (!gone) return;
    s->count -= gone;
    memmove(s->frame, s->frame + gone, s->count * sizeof *s->frame);
}

void frame_store_free(FrameStore *s)
{
    frame_store_drop_before(s, INT64_MAX);
    free(s->frame);
    *s = (FrameStore){0};
}
