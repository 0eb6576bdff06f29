#include "runtime/cuda/outgoing.h"

#include <stdlib.h>

typedef struct Sent {
    const void *to; /* NULL: nothing */
    CUevent copied;
    bool there;
} Sent;

struct CudaOutgoing {
    const CudaDriver *driver;
    CUstream main, stream; /* stream NULL: not begun yet */
    CUevent made;
    Sent sent[OUTGOING_MOST];
    Sent *last;
};

CudaOutgoing *cuda_outgoing_open(const CudaDriver *driver, CUstream main)
{
    CudaOutgoing *o = calloc(1, sizeof *o);
    if (o == NULL) return NULL;
    o->driver = driver;
    o->main = main;
    return o;
}

void cuda_outgoing_close(CudaOutgoing *o)
{
    if (o == NULL) return;
    if (o->stream != NULL) o->driver->stream_synchronize(o->stream);
    for (int i = 0; i < OUTGOING_MOST; i++) {
        if (o->sent[i].copied != NULL) o->driver->event_destroy(o->sent[i].copied);
    }
    if (o->made != NULL) o->driver->event_destroy(o->made);
    if (o->stream != NULL) o->driver->stream_destroy(o->stream);
    free(o);
}

/* Stream and events, when the first result sets out. */
static CUresult start(CudaOutgoing *o)
{
    CUresult status = 0;
    if (o->made == NULL) status = o->driver->event_create(&o->made, CU_EVENT_DISABLE_TIMING);
    for (int i = 0; status == 0 && i < OUTGOING_MOST; i++) {
        if (o->sent[i].copied == NULL) status = o->driver->event_create(&o->sent[i].copied, CU_EVENT_DISABLE_TIMING);
    }
    if (status == 0 && o->stream == NULL) status = o->driver->stream_create(&o->stream, CU_STREAM_NON_BLOCKING);
    return status;
}

static Sent *sent_to(CudaOutgoing *o, const void *to)
{
    for (int i = 0; i < OUTGOING_MOST; i++) {
        if (o->sent[i].to == to) return &o->sent[i];
    }
    return NULL;
}

CUresult cuda_outgoing_send(CudaOutgoing *o, void *to, const OutgoingPart part[2])
{
    Sent *s = sent_to(o, NULL);
    CUresult status = s == NULL ? CUDA_ERROR_OUT_OF_MEMORY : start(o);
    if (status == 0) status = o->driver->event_record(o->made, o->main);
    if (status == 0) status = o->driver->stream_wait(o->stream, o->made, 0);
    if (status == 0) status = o->driver->copy_out(to, part[0].from, part[0].bytes, o->stream);
    if (status == 0 && part[1].bytes > 0)
        status = o->driver->copy_out((uint8_t *)to + part[0].bytes, part[1].from, part[1].bytes, o->stream);
    if (status == 0) status = o->driver->event_record(s->copied, o->stream);
    if (status != 0) return status;
    s->to = to;
    s->there = false;
    o->last = s;
    return 0;
}

CUresult cuda_outgoing_wait(CudaOutgoing *o, const void *to)
{
    Sent *s = sent_to(o, to);
    const CUresult status = s->there ? 0 : o->driver->event_synchronize(s->copied);
    s->there = status == 0;
    return status;
}

void cuda_outgoing_forget(CudaOutgoing *o, const void *to)
{
    Sent *s = sent_to(o, to);
    if (s != NULL) s->to = NULL;
}

CUresult cuda_outgoing_clear(CudaOutgoing *o)
{
    /* The last is behind all others. */
    if (o->last == NULL || o->last->there) return 0;
    return o->driver->stream_wait(o->main, o->last->copied, 0);
}
