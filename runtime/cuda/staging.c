#include "runtime/cuda/staging.h"

#include "runtime/thread.h"

#include <stdlib.h>
#include <string.h>

enum {
    SLOT_LEAST = 1 << 20,
    THREADS_MOST = 8,  /* what fills PCIe from warm pages */
    RUN = 512 << 10,   /* bytes of a thread's turn */
    GRANULE = 64 << 10, /* of buffers */
    ON_THEIR_WAY = 2,  /* buffers that are filled ahead of the device, of one size */
};

typedef struct Slot {
    uint8_t *memory;
    CUevent copied;
    bool busy; /* `copied` tells when it can be filled again */
} Slot;

typedef struct Place {
    CUevent landed, read; /* by the copy stream; by the side stream */
    bool busy;            /* `read` has been recorded */
} Place;

typedef struct Buffer {
    void *memory;
    uint64_t bytes, sent_at;
    CUevent sent;
    bool pinned, taken, pending; /* pending: the device may still read it */
} Buffer;

struct CudaStaging {
    const CudaDriver *driver;
    CUstream stream, copies;
    const CudaSide *side;
    int threads;
    Pool *pool;

    bool started;
    Slot slot[STAGING_SLOTS];
    int slot_count, next_slot; /* none: ordinary memory */
    uint64_t slot_bytes;
    Place place[STAGING_PLACES];
    int next_place, last_place; /* last: being read; -1: none */
    CUdeviceptr places;
    uint64_t place_bytes;

    Buffer *buffer;
    size_t buffer_count, buffer_room;
    uint64_t clock;
};

CudaStaging *cuda_staging_open(const CudaDriver *driver, CUstream stream, const CudaSide *side, int threads)
{
    CudaStaging *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->driver = driver;
    s->stream = stream;
    s->side = side;
    s->threads = threads > 0 ? threads : cpu_count();
    if (s->threads > THREADS_MOST) s->threads = THREADS_MOST;
    s->last_place = -1;
    return s;
}

static void slots_give(CudaStaging *s)
{
    for (int i = 0; i < STAGING_SLOTS; i++) {
        if (s->slot[i].memory != NULL) s->driver->host_give(s->slot[i].memory);
        if (s->slot[i].copied != NULL) s->driver->event_destroy(s->slot[i].copied);
        s->slot[i] = (Slot){0};
    }
    s->slot_count = 0;
}

static void buffer_release(const CudaStaging *s, Buffer *b)
{
    if (b->sent != NULL) s->driver->event_destroy(b->sent);
    if (b->pinned) s->driver->host_give(b->memory);
    else free(b->memory);
    *b = (Buffer){0};
}

void cuda_staging_close(CudaStaging *s)
{
    if (s == NULL) return;
    if (s->copies != NULL) s->driver->stream_synchronize(s->copies);
    slots_give(s);
    for (int i = 0; i < STAGING_PLACES; i++) {
        if (s->place[i].landed != NULL) s->driver->event_destroy(s->place[i].landed);
        if (s->place[i].read != NULL) s->driver->event_destroy(s->place[i].read);
    }
    if (s->copies != NULL) s->driver->stream_destroy(s->copies);
    for (size_t i = 0; i < s->buffer_count; i++) buffer_release(s, &s->buffer[i]);
    pool_close(s->pool);
    free(s->buffer);
    free(s);
}

/* ------------------------------------------------------------------------------------------------------------ uploads */

void cuda_staging_places(CudaStaging *s, CUdeviceptr at, uint64_t bytes)
{
    s->places = at;
    s->place_bytes = bytes;
    s->last_place = -1;
    for (int i = 0; i < STAGING_PLACES; i++) s->place[i].busy = false;
}

static CUresult event(const CudaStaging *s, CUevent *e) { return s->driver->event_create(e, CU_EVENT_DISABLE_TIMING); }

/* As many slots of s->slot_bytes as there is memory for. */
static void slots_take(CudaStaging *s)
{
    while (s->slot_count < STAGING_SLOTS) {
        Slot *slot = &s->slot[s->slot_count];
        void *memory = NULL;
        if (event(s, &slot->copied) != 0) return;
        if (s->driver->host_take(&memory, s->slot_bytes, 0) != 0) return;
        slot->memory = memory;
        s->slot_count++;
    }
}

/* Stream, events and slots, once; without any of them uploads do without all. */
static void start(CudaStaging *s)
{
    if (s->started) return;
    s->started = true;
    bool ready = s->driver->stream_create(&s->copies, CU_STREAM_NON_BLOCKING) == 0;
    for (int i = 0; ready && i < STAGING_PLACES; i++) {
        ready = event(s, &s->place[i].landed) == 0 && event(s, &s->place[i].read) == 0;
    }
    if (!ready) return;
    s->slot_bytes = s->place_bytes < STAGING_SLOT_BYTES ? s->place_bytes : STAGING_SLOT_BYTES;
    slots_take(s);
    while (s->slot_count < 2 && s->slot_bytes / 2 >= SLOT_LEAST) {
        slots_give(s);
        s->slot_bytes /= 2;
        slots_take(s);
    }
}

typedef struct Filling {
    StagingFill *fill;
    const void *context;
    uint64_t first, bytes;
    uint8_t *to;
} Filling;

static void fill_turn(void *context, int64_t i, int thread)
{
    const Filling *f = context;
    const uint64_t begin = (uint64_t)i * RUN, left = f->bytes - begin;
    (void)thread;
    f->fill(f->context, f->first + begin, left < RUN ? left : RUN, f->to + begin);
}

static void fill_all(CudaStaging *s, Filling f)
{
    const int64_t turns = (int64_t)((f.bytes + RUN - 1) / RUN);
    if (turns > 1 && s->threads > 1 && s->pool == NULL) s->pool = pool_open(s->threads);
    if (turns > 1 && s->pool != NULL) pool_run(s->pool, turns, fill_turn, &f);
    else f.fill(f.context, f.first, f.bytes, f.to);
}

/* By the side stream, from ordinary memory, which the driver has read when it returns. */
static CUresult upload_slowly(CudaStaging *s, CUdeviceptr at, Filling f)
{
    CUresult status = 0;
    f.to = malloc(f.bytes);
    if (f.to == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    fill_all(s, f);
    status = s->driver->copy_in(at, f.to, f.bytes, cuda_side_stream(s->side));
    free(f.to);
    return status;
}

/* One slot's worth by the copy stream. */
static CUresult upload_slot(CudaStaging *s, CUdeviceptr at, Filling f)
{
    Slot *slot = &s->slot[s->next_slot];
    CUresult status = slot->busy ? s->driver->event_synchronize(slot->copied) : 0;
    if (status != 0) return status;
    f.to = slot->memory;
    fill_all(s, f);
    status = s->driver->copy_in(at, slot->memory, f.bytes, s->copies);
    if (status == 0) status = s->driver->event_record(slot->copied, s->copies);
    slot->busy = true;
    s->next_slot = (s->next_slot + 1) % s->slot_count;
    return status;
}

CUresult cuda_staging_upload(CudaStaging *s, uint64_t bytes, StagingFill *fill, const void *context, CUdeviceptr *at)
{
    Place *place = &s->place[s->next_place];
    const CUstream reader = cuda_side_stream(s->side);
    CUresult status = 0;
    *at = s->places + (uint64_t)s->next_place * s->place_bytes;
    start(s);
    if (s->slot_count == 0) return upload_slowly(s, *at, (Filling){fill, context, 0, bytes, NULL});
    if (s->last_place >= 0) {
        status = s->driver->event_record(s->place[s->last_place].read, reader);
        s->place[s->last_place].busy = true;
    }
    if (status == 0 && place->busy) status = s->driver->stream_wait(s->copies, place->read, 0);
    for (uint64_t first = 0; status == 0 && first < bytes; first += s->slot_bytes) {
        const uint64_t left = bytes - first;
        status = upload_slot(s, *at + first, (Filling){fill, context, first, left < s->slot_bytes ? left : s->slot_bytes, NULL});
    }
    if (status == 0) status = s->driver->event_record(place->landed, s->copies);
    if (status == 0) status = s->driver->stream_wait(reader, place->landed, 0);
    s->last_place = s->next_place;
    s->next_place = (s->next_place + 1) % STAGING_PLACES;
    return status;
}

/* ------------------------------------------------------------------------------------------------------------ buffers */

static Buffer *buffer_at(const CudaStaging *s, const void *memory)
{
    for (size_t i = 0; i < s->buffer_count; i++) {
        if (s->buffer[i].memory == memory) return &s->buffer[i];
    }
    return NULL;
}

/* A free one: the smallest that is large enough; else, when as many as may be are on their way, the one sent first. NULL: none. */
static Buffer *buffer_free(CudaStaging *s, uint64_t bytes)
{
    Buffer *best = NULL, *oldest = NULL;
    int pending = 0;
    for (size_t i = 0; i < s->buffer_count; i++) {
        Buffer *b = &s->buffer[i];
        if (b->taken || b->bytes < bytes) continue;
        if (!b->pending) {
            if (best == NULL || b->bytes < best->bytes) best = b;
            continue;
        }
        pending++;
        if (oldest == NULL || b->sent_at < oldest->sent_at) oldest = b;
    }
    if (best != NULL || pending < ON_THEIR_WAY) return best;
    s->driver->event_synchronize(oldest->sent); /* a fault shows again at whatever comes next */
    oldest->pending = false;
    return oldest;
}

/* Where a new one may stand: in place of the largest free one, which is too small for what is wanted now. */
static Buffer *buffer_place(CudaStaging *s)
{
    Buffer *largest = NULL;
    for (size_t i = 0; i < s->buffer_count; i++) {
        Buffer *b = &s->buffer[i];
        if (!b->taken && !b->pending && (largest == NULL || b->bytes > largest->bytes)) largest = b;
    }
    if (largest != NULL) {
        buffer_release(s, largest);
        return largest;
    }
    if (s->buffer_count == s->buffer_room) {
        const size_t room = s->buffer_room ? 2 * s->buffer_room : 8;
        Buffer *larger = realloc(s->buffer, room * sizeof *larger);
        if (larger == NULL) return NULL;
        s->buffer = larger;
        s->buffer_room = room;
    }
    s->buffer[s->buffer_count] = (Buffer){0};
    return &s->buffer[s->buffer_count++];
}

void *cuda_buffer_take(CudaStaging *s, uint64_t bytes)
{
    Buffer *b = buffer_free(s, bytes);
    if (b == NULL) {
        b = buffer_place(s);
        if (b == NULL) return NULL;
        const uint64_t size = (bytes + GRANULE - 1) / GRANULE * GRANULE;
        b->pinned = event(s, &b->sent) == 0 && s->driver->host_take(&b->memory, size, 0) == 0;
        if (!b->pinned) b->memory = malloc(size);
        if (b->memory == NULL) { /* its place stays, too small for anything */
            b->bytes = 0;
            return NULL;
        }
        b->bytes = size;
    }
    b->taken = true;
    return b->memory;
}

CUresult cuda_buffer_sent(CudaStaging *s, void *buffer)
{
    Buffer *b = buffer_at(s, buffer);
    if (!b->pinned) return 0; /* the driver has read it */
    b->pending = true;
    b->sent_at = ++s->clock;
    return s->driver->event_record(b->sent, s->stream);
}

void cuda_buffer_give(CudaStaging *s, void *buffer)
{
    buffer_at(s, buffer)->taken = false;
}

void cuda_staging_idle(CudaStaging *s)
{
    for (size_t i = 0; i < s->buffer_count; i++) s->buffer[i].pending = false;
}
