/*
 * Source frames that are still needed, by their number in the clip. Numbers rise; frames leave from the front.
 */
#ifndef UPRES_RUNTIME_FRAME_STORE_H
#define UPRES_RUNTIME_FRAME_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct StoredFrame {
    int64_t number;
    void *data;
} StoredFrame;

typedef struct FrameStore {
    StoredFrame *frame; /* `count` of them, numbers rising */
    size_t count, capacity;
} FrameStore;

/* Copy a picture of `rows` rows of `row_bytes`, `stride` bytes apart, without gaps. false: no memory. */
bool frame_store_put(FrameStore *s, int64_t number, const void *data, ptrdiff_t stride, size_t row_bytes, size_t rows);
const void *frame_store_get(const FrameStore *s, int64_t number); /* NULL: not there */
void frame_store_drop_before(FrameStore *s, int64_t number);
void frame_store_free(FrameStore *s);

#endif
