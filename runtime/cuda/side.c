#include "runtime/cuda/side.h"

#include <stdlib.h>

enum { MARKS = 16 }; /* the latest; one that is gone is answered by a later one */

typedef struct Mark {
    CUevent event;
    uint64_t operation; /* all before it */
} Mark;

struct CudaSide {
    const CudaDriver *driver;
    CUstream main, stream; /* the same: there is no other */
    bool started;
    CUevent done;
    Mark mark[MARKS];
    uint64_t marks; /* ever made; the latest is mark[(marks - 1) % MARKS] */
    CudaSideCounts counts;
};

CudaSide *cuda_side_open(const CudaDriver *driver, CUstream main)
{
    CudaSide *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->driver = driver;
    s->main = s->stream = main;
    return s;
}

static void release(CudaSide *s)
{
    for (int i = 0; i < MARKS; i++) {
        if (s->mark[i].event != NULL) s->driver->event_destroy(s->mark[i].event);
        s->mark[i] = (Mark){0};
    }
    if (s->done != NULL) s->driver->event_destroy(s->done);
    if (s->stream != s->main) s->driver->stream_destroy(s->stream);
    s->done = NULL;
    s->stream = s->main;
}

void cuda_side_close(CudaSide *s)
{
    if (s == NULL) return;
    if (s->stream != s->main) s->driver->stream_synchronize(s->stream);
    release(s);
    free(s);
}

/* Stream and events, once; without any of them the main stream does the work. */
static void start(CudaSide *s)
{
    enum { FIRST = -1 }; /* its few blocks go before the many that keep the device busy: they let the next copy begin */
    if (s->started) return;
    s->started = true;
    CUstream stream = NULL;
    if (s->driver->stream_create_ranked(&stream, CU_STREAM_NON_BLOCKING, FIRST) != 0) return;
    s->stream = stream;
    bool ready = s->driver->event_create(&s->done, CU_EVENT_DISABLE_TIMING) == 0;
    for (int i = 0; ready && i < MARKS; i++) ready = s->driver->event_create(&s->mark[i].event, CU_EVENT_DISABLE_TIMING) == 0;
    if (!ready) release(s);
}

/* The i-th latest mark, from 0. */
static Mark *latest(CudaSide *s, uint64_t i) { return &s->mark[(s->marks - 1 - i) % MARKS]; }

CUresult cuda_side_mark(CudaSide *s, uint64_t operation)
{
    start(s);
    if (s->stream == s->main || (s->marks > 0 && latest(s, 0)->operation == operation)) return 0;
    Mark *m = &s->mark[s->marks++ % MARKS];
    m->operation = operation;
    return s->driver->event_record(m->event, s->main);
}

/* The earliest mark that tells of operation `after`; there is one. */
static Mark *mark_behind(CudaSide *s, uint64_t after)
{
    const uint64_t kept = s->marks < MARKS ? s->marks : MARKS;
    Mark *m = latest(s, 0);
    for (uint64_t i = 1; i < kept && latest(s, i)->operation > after; i++) m = latest(s, i);
    return m;
}

/* The main stream's work up to now, in a mark that takes no operation's place. */
static CUresult wait_for_all(CudaSide *s)
{
    const CUresult status = s->driver->event_record(s->done, s->main);
    return status != 0 ? status : s->driver->stream_wait(s->stream, s->done, 0);
}

CUresult cuda_side_begin(CudaSide *s, uint64_t operation, uint64_t after)
{
    CUresult status = cuda_side_mark(s, operation);
    s->counts.begun++;
    if (status != 0 || s->stream == s->main) return status;
    if (after == SIDE_AFTER_ALL || (after != SIDE_AFTER_NOTHING && after >= operation)) return wait_for_all(s);
    const Mark *m = after == SIDE_AFTER_NOTHING ? NULL : mark_behind(s, after);
    s->counts.ahead += m != latest(s, 0);
    return m == NULL ? 0 : s->driver->stream_wait(s->stream, m->event, 0);
}

CUresult cuda_side_end(CudaSide *s)
{
    if (s->stream == s->main) return 0;
    const CUresult status = s->driver->event_record(s->done, s->stream);
    return status != 0 ? status : s->driver->stream_wait(s->main, s->done, 0);
}

CUstream cuda_side_stream(const CudaSide *s) { return s->stream; }
CudaSideCounts cuda_side_counts(const CudaSide *s) { return s->counts; }
