/*
 * Streams, events, and the order in which work runs.
 *
 * Work put on a stream becomes an op that knows how many others must run before it: the stream's previous one, the
 * events it waits for, and by the rules of the legacy default stream those of the other blocking streams. Nothing runs
 * until a thread has to see an effect (a synchronisation, a query, a copy to pageable memory); then ops whose
 * dependencies are met run one at a time, the one with the highest priority first. By the seed, modulo 4:
 *
 *   1      the newest stream first: a consumer made after its producer runs before it, unless something holds it back
 *   2      the oldest stream first: the other way round, so that two seeds show most missing waits for certain
 *   3, 0   random, the same for a stretch of a stream's work, so that one stream runs far ahead of another and a
 *          missing wait has an even chance to show however long the streams are (the idea of PCT: Burckhardt et al.,
 *          "A randomized scheduler with probabilistic guarantees of finding bugs", 2010)
 */
#include "tests/emulator/driver.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct {
    struct op **ready;
    size_t count, capacity;
    uint64_t pending;
} scheduler;
static uint32_t stream_count;

/* A program that never synchronises must not fill the host's memory. */
enum { PENDING_LIMIT = 8192 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---------------------------------------------------------------------------------------------------- work, ops */

struct work work_duplicate(const struct work *work)
{
    struct work copy = *work;
    if (work->kind == WORK_KERNEL) {
        size_t bytes = work->kernel.param_bytes;
        copy.kernel.params = must_calloc(bytes, 1);
        if (bytes > 0) memcpy(copy.kernel.params, work->kernel.params, bytes);
    }
    return copy;
}

void work_release(struct work *work)
{
    if (work->kind == WORK_KERNEL) free(work->kernel.params);
    if (work->kind == WORK_COPY && work->copy.snapshot != NULL) {
        emu.snapshot_bytes -= work->copy.width * work->copy.height;
        free(work->copy.snapshot);
    }
    work->kind = WORK_EMPTY;
}

struct op *op_new(const struct work *work, uint64_t priority)
{
    struct op *op = must_calloc(1, sizeof *op);
    op->work = *work;
    op->waiting = 1; /* for op_submit */
    op->priority = priority;
    op->refs = 1; /* the scheduler's, until it ran */
    if (work->kind == WORK_KERNEL) count_kernel();
    op->kernels = count_kernels();
    return op;
}

struct op *op_ref(struct op *op)
{
    if (op != NULL) op->refs++;
    return op;
}

void op_unref(struct op *op)
{
    if (op == NULL || --op->refs > 0) return;
    free(op->successors);
    free(op);
}

void op_after(struct op *op, struct op *before)
{
    if (before == NULL || before->done) return;
    before->successors =
        must_grow(before->successors, before->successor_count, sizeof(struct op *), &before->successor_capacity);
    before->successors[before->successor_count++] = op;
    op->waiting++;
}

static void op_countdown(struct op *op)
{
    if (--op->waiting > 0) return;
    scheduler.ready = must_grow(scheduler.ready, scheduler.count, sizeof(struct op *), &scheduler.capacity);
    scheduler.ready[scheduler.count++] = op;
}

void op_submit(struct op *op)
{
    op->work.context->pending++;
    scheduler.pending++;
    op_countdown(op);
}

static void run_work(struct work *work)
{
    if (work->kind == WORK_FREE) { /* also in a context with an error, or the memory would be lost */
        if (work->allocation->live)
            allocation_free(work->allocation);
        else
            fault(work->context, CUDA_ERROR_ILLEGAL_ADDRESS, "cuMemFreeAsync is not ordered after its cuMemAllocAsync");
        return;
    }
    if (work->context->error != CUDA_SUCCESS) return;
    switch (work->kind) {
    case WORK_KERNEL:
        run_kernel(work);
        break;
    case WORK_COPY:
        run_copy(work);
        break;
    case WORK_FILL:
        run_fill(work);
        break;
    case WORK_ALLOC:
        work->allocation->live = true;
        break;
    case WORK_HOST:
        unlock_for_callback();
        work->host.function(work->host.user);
        lock_after_callback();
        break;
    case WORK_EMPTY:
    case WORK_FREE:
        break;
    }
}

/* Run one op that may run. When another thread is inside the only one, in a host function, let it go on. */
static void run_one(void)
{
    if (scheduler.count == 0) {
        lock_yield();
        return;
    }
    size_t best = 0;
    for (size_t i = 1; i < scheduler.count; i++)
        if (scheduler.ready[i]->priority > scheduler.ready[best]->priority) best = i;
    struct op *op = scheduler.ready[best];
    scheduler.ready[best] = scheduler.ready[--scheduler.count];
    run_work(&op->work);
    op->done = true;
    op->time = now();
    op->work.context->pending--;
    scheduler.pending--;
    for (size_t i = 0; i < op->successor_count; i++) op_countdown(op->successors[i]);
    op->successor_count = 0;
    work_release(&op->work);
    op_unref(op);
}

void run_until(struct op *op)
{
    while (op != NULL && !op->done) run_one();
}

void run_context(struct context *context)
{
    while (context->pending > 0) run_one();
}

void run_everything(void)
{
    while (scheduler.pending > 0) run_one();
}

/* ---------------------------------------------------------------------------------------------------------- streams */

uint32_t order_draw(uint32_t number)
{
    switch (emu.options.seed % 4) {
    case 1:
        return number;
    case 2:
        return UINT32_MAX - number;
    default:
        return (uint32_t)(random_next() >> 32);
    }
}

static struct stream *stream_make(struct context *context, unsigned flags, int priority)
{
    struct stream *s = must_calloc(1, sizeof *s);
    s->context = context;
    s->flags = flags;
    s->priority = priority;
    s->number = ++stream_count;
    s->order = order_draw(s->number);
    s->next = context->streams;
    context->streams = s;
    return s;
}

static void stream_free(struct stream *s)
{
    for (struct stream **p = &s->context->streams; *p != NULL; p = &(*p)->next) {
        if (*p != s) continue;
        *p = s->next;
        break;
    }
    capture_drop_stream(s);
    op_unref(s->last);
    free(s->frontier);
    free(s);
}

void context_streams_make(struct context *context)
{
    context->legacy = stream_make(context, CU_STREAM_DEFAULT, 0);
    context->per_thread = stream_make(context, CU_STREAM_DEFAULT, 0);
}

void context_streams_free(struct context *context)
{
    while (context->streams != NULL) {
        handle_remove(context->streams);
        stream_free(context->streams);
    }
}

CUresult stream_resolve(struct context *context, CUstream handle, struct stream **stream)
{
    if (handle == NULL || handle == CU_STREAM_LEGACY)
        *stream = context->legacy;
    else if (handle == CU_STREAM_PER_THREAD)
        *stream = context->per_thread; /* one for all threads: fewer orders than there could be */
    else if (!handle_is(handle, HANDLE_STREAM))
        return refuse(CUDA_ERROR_INVALID_HANDLE, "%p is not a live stream", (void *)handle);
    else
        *stream = handle;
    return (*stream)->context->error;
}

void op_after_stream(struct op *op, struct stream *stream)
{
    struct context *c = stream->context;
    op_after(op, stream->last);
    if (stream == c->legacy) {
        for (struct stream *s = c->streams; s != NULL; s = s->next)
            if (s != stream && !(s->flags & CU_STREAM_NON_BLOCKING)) op_after(op, s->last);
    } else if (!(stream->flags & CU_STREAM_NON_BLOCKING)) {
        op_after(op, c->legacy->last);
    }
}

void stream_set_last(struct stream *stream, struct op *op)
{
    op_ref(op);
    op_unref(stream->last);
    stream->last = op;
    stream->brought = false;
}

uint64_t stream_priority(struct stream *stream)
{
    if (random_next() % 8 == 0) stream->order = order_draw(stream->number);
    return (uint64_t)stream->order << 32;
}

CUresult stream_enqueue(struct stream *stream, const struct work *work, struct op **op)
{
    if (op != NULL) *op = NULL;
    if (stream->capture != NULL) return capture_add(stream, work);
    CUresult status = stream == stream->context->legacy ? capture_implicit(stream->context) : CUDA_SUCCESS;
    if (status != CUDA_SUCCESS) {
        struct work owned = *work;
        work_release(&owned);
        return status;
    }
    while (scheduler.pending > PENDING_LIMIT) run_one();
    struct op *o = op_new(work, stream_priority(stream));
    op_after_stream(o, stream);
    stream_set_last(stream, o);
    op_submit(o);
    if (op != NULL) *op = o;
    return CUDA_SUCCESS;
}

CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && (stream == NULL || (flags & ~1u) != 0)) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    *stream = stream_make(c, flags, priority > 0 ? 0 : priority < -5 ? -5 : priority);
    handle_add(*stream, HANDLE_STREAM);
    return leave(CUDA_SUCCESS);
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags)
{
    return cuStreamCreateWithPriority(stream, flags, 0);
}

/* enter, and the handle's stream; its own context need not be the current one. */
#define enter_stream(...) enter_stream_by(__func__, __VA_ARGS__)
static CUresult enter_stream_by(const char *function, CUstream handle, struct stream **stream)
{
    struct context *c;
    CUresult status = enter_by(function, &c);
    return status == CUDA_SUCCESS ? stream_resolve(c, handle, stream) : status;
}

CUresult cuStreamDestroy_v2(CUstream handle)
{
    struct stream *s;
    CUresult status = enter_stream(handle, &s);
    if (status == CUDA_SUCCESS && (s == s->context->legacy || s == s->context->per_thread))
        status = CUDA_ERROR_INVALID_HANDLE;
    if (status != CUDA_SUCCESS) return leave(status);
    handle_remove(s);
    stream_free(s); /* its work goes on */
    return leave(CUDA_SUCCESS);
}

/* A stream under capture has nothing to wait for: asking spoils the capture. */
static CUresult refuse_captured(struct stream *s)
{
    if (s->capture == NULL) return s == s->context->legacy ? capture_implicit(s->context) : CUDA_SUCCESS;
    s->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

/* Everything that a synchronisation with the stream waits for: the legacy stream's covers the blocking ones. */
static struct op *stream_tail(struct stream *s)
{
    if (s != s->context->legacy) return op_ref(s->last);
    struct op *o = op_new(&(struct work){.kind = WORK_EMPTY, .context = s->context}, stream_priority(s));
    op_ref(o);
    op_after_stream(o, s);
    op_submit(o);
    return o;
}

CUresult cuStreamSynchronize(CUstream handle)
{
    struct stream *s;
    CUresult status = enter_stream(handle, &s);
    if (status == CUDA_SUCCESS) status = refuse_captured(s);
    if (status != CUDA_SUCCESS) return leave(status);
    struct context *c = s->context;
    struct op *tail = stream_tail(s);
    if (tail != NULL) count_wait(tail->kernels, s->brought);
    run_until(tail);
    op_unref(tail);
    return leave(c->error);
}

/* The device works on while the program asks: a few ops run at each question. */
static CUresult query(struct op *op, const struct context *c)
{
    for (unsigned n = (unsigned)(random_next() % 4) + 1; n > 0 && op != NULL && !op->done; n--) run_one();
    if (c->error != CUDA_SUCCESS) return c->error;
    return op == NULL || op->done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuStreamQuery(CUstream handle)
{
    struct stream *s;
    CUresult status = enter_stream(handle, &s);
    if (status == CUDA_SUCCESS) status = refuse_captured(s);
    if (status != CUDA_SUCCESS) return leave(status);
    struct context *c = s->context;
    struct op *tail = stream_tail(s);
    status = query(tail, c);
    op_unref(tail);
    return leave(status);
}

CUresult cuStreamGetPriority(CUstream handle, int *priority)
{
    struct stream *s;
    CUresult status = enter_stream(handle, &s);
    if (status == CUDA_SUCCESS && priority == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *priority = s->priority;
    return leave(status);
}

CUresult cuStreamGetFlags(CUstream handle, unsigned *flags)
{
    struct stream *s;
    CUresult status = enter_stream(handle, &s);
    if (status == CUDA_SUCCESS && flags == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *flags = s->flags;
    return leave(status);
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext *context)
{
    struct stream *s;
    CUresult status = enter_stream(handle, &s);
    if (status == CUDA_SUCCESS && context == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *context = s->context;
    return leave(status);
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void *user)
{
    struct stream *s;
    CUresult status = enter_stream(handle, &s);
    if (status == CUDA_SUCCESS && function == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    struct work work = {.kind = WORK_HOST, .context = s->context, .host = {function, user}};
    return leave(stream_enqueue(s, &work, NULL));
}

/* ----------------------------------------------------------------------------------------------------------- events */

CUresult cuEventCreate(CUevent *event, unsigned flags)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && (event == NULL || (flags & ~7u) != 0)) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    struct event *e = must_calloc(1, sizeof *e);
    e->context = c;
    e->flags = flags;
    handle_add(e, HANDLE_EVENT);
    *event = e;
    return leave(CUDA_SUCCESS);
}

/* enter, and the handle must be a live event. */
#define enter_event(...) enter_event_by(__func__, __VA_ARGS__)
static CUresult enter_event_by(const char *function, CUevent event)
{
    struct context *c;
    CUresult status = enter_by(function, &c);
    if (status == CUDA_SUCCESS && (!handle_is(event, HANDLE_EVENT) || !handle_is(event->context, HANDLE_CONTEXT)))
        status = refuse(CUDA_ERROR_INVALID_HANDLE, "%p is not an event of a live context", (void *)event);
    return status == CUDA_SUCCESS ? event->context->error : status;
}

CUresult cuEventDestroy_v2(CUevent event)
{
    CUresult status = enter_event(event);
    if (status != CUDA_SUCCESS) return leave(status);
    handle_remove(event);
    op_unref(event->recorded);
    free(event->nodes);
    free(event);
    return leave(CUDA_SUCCESS);
}

CUresult cuEventRecordWithFlags(CUevent event, CUstream handle, unsigned flags)
{
    struct stream *s;
    struct op *op;
    CUresult status = enter_event(event);
    if (status == CUDA_SUCCESS && (flags & ~1u) != 0) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) status = stream_resolve(current_context(), handle, &s);
    if (status == CUDA_SUCCESS && s->context != event->context)
        status =
            refuse(CUDA_ERROR_INVALID_HANDLE, "cuEventRecord: the event and the stream belong to different contexts");
    if (status != CUDA_SUCCESS) return leave(status);
    if (s->capture != NULL) return leave(capture_record(s, event));
    const bool brought = s->brought;
    status = stream_enqueue(s, &(struct work){.kind = WORK_EMPTY, .context = s->context}, &op);
    if (status != CUDA_SUCCESS) return leave(status);
    op_ref(op);
    op_unref(event->recorded);
    event->recorded = op;
    event->brought = brought;
    event->capture_id = 0;
    return leave(CUDA_SUCCESS);
}

CUresult cuEventRecord(CUevent event, CUstream stream)
{
    return cuEventRecordWithFlags(event, stream, 0);
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned flags)
{
    struct stream *s;
    CUresult status = enter_event(event);
    if (status == CUDA_SUCCESS && (flags & ~1u) != 0) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) status = stream_resolve(current_context(), handle, &s);
    if (status != CUDA_SUCCESS) return leave(status);
    if (event->capture_id != 0) return leave(capture_wait(s, event));
    if (s->capture != NULL) {
        s->capture->invalid = true;
        return leave(refuse(CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                            "a stream under capture cannot wait for an event recorded outside the capture"));
    }
    if (event->recorded == NULL || event->recorded->done) return leave(CUDA_SUCCESS);
    struct op *op = op_new(&(struct work){.kind = WORK_EMPTY, .context = s->context}, stream_priority(s));
    op_after_stream(op, s);
    op_after(op, event->recorded);
    stream_set_last(s, op);
    op_submit(op);
    return leave(CUDA_SUCCESS);
}

CUresult cuEventSynchronize(CUevent event)
{
    CUresult status = enter_event(event);
    if (status == CUDA_SUCCESS && event->capture_id != 0) status = CUDA_ERROR_CAPTURED_EVENT;
    if (status != CUDA_SUCCESS) return leave(status);
    struct context *c = event->context;
    struct op *op = op_ref(event->recorded);
    if (op != NULL) count_wait(op->kernels, event->brought);
    run_until(op);
    op_unref(op);
    return leave(c->error);
}

CUresult cuEventQuery(CUevent event)
{
    CUresult status = enter_event(event);
    if (status == CUDA_SUCCESS && event->capture_id != 0) status = CUDA_ERROR_CAPTURED_EVENT;
    if (status != CUDA_SUCCESS) return leave(status);
    struct op *op = op_ref(event->recorded);
    status = query(op, event->context);
    op_unref(op);
    return leave(status);
}

CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent begin, CUevent end)
{
    CUresult status = enter_event(begin);
    if (status == CUDA_SUCCESS && (!handle_is(end, HANDLE_EVENT) || begin->recorded == NULL || end->recorded == NULL ||
                                   ((begin->flags | end->flags) & CU_EVENT_DISABLE_TIMING)))
        status = CUDA_ERROR_INVALID_HANDLE;
    if (status == CUDA_SUCCESS && milliseconds == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS && (!begin->recorded->done || !end->recorded->done)) status = CUDA_ERROR_NOT_READY;
    if (status == CUDA_SUCCESS) *milliseconds = (float)(1e3 * (end->recorded->time - begin->recorded->time));
    return leave(status);
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent begin, CUevent end)
{
    return cuEventElapsedTime_v2(milliseconds, begin, end);
}
