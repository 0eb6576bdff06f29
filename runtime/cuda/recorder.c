#include "runtime/cuda/recorder.h"

#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 512, GRAPHS_MAX = 96 };

typedef enum Kind { KIND_LAUNCH, KIND_COPY, KIND_FILL } Kind;

/* One entry of a list; its bytes (arguments, what is copied) follow it, rounded up to 16. No gaps: lists are compared as
 * bytes. */
typedef struct Entry {
    uint64_t kind, bytes, to; /* to: copies, fills */
    CUfunction function;
    CudaLaunchShape shape;
    uint32_t value;           /* fills */
} Entry;

typedef struct Graph {
    uint64_t hash, used; /* used: the recorder's clock when it last was */
    uint8_t *list;       /* its own copy: pinned, as the graph's copies read from it */
    size_t bytes;
    CUgraphExec exec;    /* NULL: seen once, launched by hand */
} Graph;

struct CudaRecorder {
    const CudaDriver *driver;
    CUstream stream;
    uint8_t *list;
    size_t bytes, room;
    int count;
    Graph graphs[GRAPHS_MAX];
    uint64_t clock;
    CudaRecorderCounts counts;
    CUevent begin, end; /* NULL until time is taken */
    bool begins;        /* the next that is handed over comes after `begin` */
};

static size_t padded(size_t bytes) { return (bytes + 15) / 16 * 16; }

CudaRecorder *cuda_recorder_open(const CudaDriver *driver, CUstream stream)
{
    CudaRecorder *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    r->driver = driver;
    r->stream = stream;
    return r;
}

static void graph_drop(const CudaRecorder *r, Graph *g)
{
    if (g->exec != NULL) r->driver->graph_exec_destroy(g->exec);
    if (g->list != NULL) r->driver->host_give(g->list);
    *g = (Graph){0};
}

void cuda_recorder_close(CudaRecorder *r)
{
    if (r == NULL) return;
    for (int i = 0; i < GRAPHS_MAX; i++) graph_drop(r, &r->graphs[i]);
    if (r->begin != NULL) r->driver->event_destroy(r->begin);
    if (r->end != NULL) r->driver->event_destroy(r->end);
    free(r->list);
    free(r);
}

CudaRecorderCounts cuda_recorder_counts(const CudaRecorder *r) { return r->counts; }

/* ---------------------------------------------------------------------------------------------------------- recording */

static CUresult add(CudaRecorder *r, const Entry *e, const void *data)
{
    const size_t needed = sizeof *e + padded(e->bytes);
    if (r->bytes + needed > r->room) {
        const size_t room = 2 * (r->bytes + needed);
        uint8_t *list = realloc(r->list, room);
        if (list == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
        r->list = list;
        r->room = room;
    }
    memset(r->list + r->bytes, 0, needed);
    memcpy(r->list + r->bytes, e, sizeof *e);
    if (e->bytes > 0) memcpy(r->list + r->bytes + sizeof *e, data, e->bytes);
    r->bytes += needed;
    return ++r->count >= LIST_MAX ? cuda_recorder_flush(r) : 0;
}

CUresult cuda_record_launch(CudaRecorder *r, CUfunction f, CudaLaunchShape shape, const void *args, size_t bytes)
{
    Entry e;
    memset(&e, 0, sizeof e);
    e.kind = KIND_LAUNCH;
    e.bytes = bytes;
    e.function = f;
    e.shape = shape;
    return add(r, &e, args);
}

CUresult cuda_record_copy(CudaRecorder *r, CUdeviceptr to, const void *from, size_t bytes)
{
    Entry e;
    memset(&e, 0, sizeof e);
    e.kind = KIND_COPY;
    e.bytes = bytes;
    e.to = to;
    return add(r, &e, from);
}

CUresult cuda_record_fill(CudaRecorder *r, CUdeviceptr to, uint8_t value, size_t bytes)
{
    Entry e;
    memset(&e, 0, sizeof e);
    e.kind = KIND_FILL;
    e.to = to;
    e.value = value;
    e.shape.x = (unsigned)(bytes >> 32); /* a fill has no data of its own */
    e.shape.y = (unsigned)bytes;
    return add(r, &e, NULL);
}

/* ---------------------------------------------------------------------------------------------------------- handing over */

/* Every entry of a list to the stream, which may be capturing. */
static CUresult enqueue(const CudaRecorder *r, const uint8_t *list, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        Entry e;
        memcpy(&e, list + at, sizeof e);
        void *data = (void *)(list + at + sizeof e);
        CUresult status;
        if (e.kind == KIND_LAUNCH) {
            status = r->driver->launch(e.function, e.shape.x, e.shape.y, e.shape.z, e.shape.threads, 1, 1, e.shape.shared,
                                       r->stream, &data, NULL);
        } else if (e.kind == KIND_COPY) {
            status = r->driver->copy_in(e.to, data, e.bytes, r->stream);
        } else {
            status = r->driver->fill8(e.to, (unsigned char)e.value, (size_t)e.shape.x << 32 | e.shape.y, r->stream);
        }
        if (status != 0) return status;
        at += sizeof e + padded(e.bytes);
    }
    return 0;
}

/* Ahead of what is handed over. */
static CUresult begin_time(CudaRecorder *r)
{
    if (!r->begins) return 0;
    r->begins = false;
    return r->driver->event_record(r->begin, r->stream);
}

static void count_entries(CudaRecorder *r)
{
    for (size_t at = 0; at < r->bytes;) {
        Entry e;
        memcpy(&e, r->list + at, sizeof e);
        *(e.kind == KIND_LAUNCH ? &r->counts.launches : &r->counts.copies) += 1;
        at += sizeof e + padded(e.bytes);
    }
}

/* The stream's capture of a list as a graph that can be launched. */
static CUresult make_graph(CudaRecorder *r, Graph *g)
{
    enum { THREAD_LOCAL = 1 };
    CUgraph graph = NULL;
    CUresult status = r->driver->capture_begin(r->stream, THREAD_LOCAL);
    if (status != 0) return status;
    const CUresult worked = enqueue(r, g->list, g->bytes);
    status = r->driver->capture_end(r->stream, &graph); /* in any case: the stream must not stay in capture */
    if (worked != 0) status = worked;
    if (status == 0) status = r->driver->graph_instantiate(&g->exec, graph, 0);
    if (graph != NULL) r->driver->graph_destroy(graph);
    if (status == 0) r->counts.graphs_made++;
    else g->exec = NULL;
    return status;
}

static uint64_t hash_of(const uint8_t *list, size_t bytes)
{
    uint64_t hash = 14695981039346656037u ^ bytes;
    for (size_t i = 0; i < bytes; i += 8) { /* lists are multiples of 16 bytes */
        uint64_t word;
        memcpy(&word, list + i, sizeof word);
        hash = (hash ^ word) * 1099511628211u;
        hash ^= hash >> 29;
    }
    return hash;
}

/* The list's graph, or the place for one: an empty one, else the one that has not been used for longest. */
static Graph *graph_for(CudaRecorder *r, uint64_t hash)
{
    Graph *oldest = &r->graphs[0];
    for (int i = 0; i < GRAPHS_MAX; i++) {
        Graph *g = &r->graphs[i];
        if (g->list != NULL && g->hash == hash && g->bytes == r->bytes && memcmp(g->list, r->list, r->bytes) == 0) return g;
        if (g->used < oldest->used) oldest = g;
    }
    if (oldest->exec != NULL) r->driver->stream_synchronize(r->stream); /* it may still run */
    graph_drop(r, oldest);
    return oldest;
}

/* Remembers the list, so that it is known when it comes again. Without memory for it, it is just not remembered. */
static void remember(CudaRecorder *r, Graph *g, uint64_t hash)
{
    void *copy = NULL;
    if (r->driver->host_take(&copy, r->bytes, 0) != 0) return;
    memcpy(copy, r->list, r->bytes);
    *g = (Graph){.hash = hash, .list = copy, .bytes = r->bytes, .used = r->clock};
}

CUresult cuda_recorder_flush_once(CudaRecorder *r)
{
    count_entries(r);
    CUresult status = r->count > 0 ? begin_time(r) : 0;
    if (status == 0) status = enqueue(r, r->list, r->bytes);
    r->bytes = 0;
    r->count = 0;
    return status;
}

CUresult cuda_recorder_flush(CudaRecorder *r)
{
    enum { WORTH_A_GRAPH = 4 }; /* entries: fewer are as quick by hand */
    if (r->count == 0) return 0;
    CUresult status = 0;
    r->clock++;
    if (r->count >= WORTH_A_GRAPH) {
        const uint64_t hash = hash_of(r->list, r->bytes);
        Graph *g = graph_for(r, hash);
        const bool known = g->list != NULL;
        if (!known) remember(r, g, hash);
        g->used = r->clock;
        /* A graph that cannot be had (memory, an old driver) is done without. */
        if (known && (g->exec != NULL || make_graph(r, g) == 0)) {
            status = begin_time(r);
            if (status == 0) status = r->driver->graph_launch(g->exec, r->stream);
            r->counts.graph_launches++;
            r->bytes = 0;
            r->count = 0;
            return status;
        }
    }
    return cuda_recorder_flush_once(r);
}

CUresult cuda_launch_unrecorded(CudaRecorder *r, CUfunction f, CudaLaunchShape shape, const void *args)
{
    void *parameter = (void *)args;
    CUresult status = cuda_recorder_flush(r);
    if (status == 0) status = begin_time(r);
    if (status != 0) return status;
    r->counts.launches++;
    return r->driver->launch(f, shape.x, shape.y, shape.z, shape.threads, 1, 1, shape.shared, r->stream, &parameter, NULL);
}

/* --------------------------------------------------------------------------------------------------------------- time */

CUresult cuda_recorder_time_begin(CudaRecorder *r)
{
    CUresult status = cuda_recorder_flush(r);
    if (status == 0) status = r->driver->stream_synchronize(r->stream);
    if (status == 0 && r->begin == NULL) status = r->driver->event_create(&r->begin, 0);
    if (status == 0 && r->end == NULL) status = r->driver->event_create(&r->end, 0);
    r->begins = status == 0;
    return status;
}

CUresult cuda_recorder_time_end(CudaRecorder *r, double *seconds)
{
    float milliseconds = 0;
    CUresult status = cuda_recorder_flush(r);
    const bool nothing = r->begins;
    r->begins = false;
    *seconds = 0;
    if (status == 0) status = r->driver->event_record(r->end, r->stream);
    if (status == 0) status = r->driver->stream_synchronize(r->stream);
    if (status != 0 || nothing) return status;
    status = r->driver->event_elapsed(&milliseconds, r->begin, r->end);
    *seconds = (double)milliseconds * 1e-3;
    return status;
}
