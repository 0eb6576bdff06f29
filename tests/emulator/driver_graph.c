/*
 * Stream capture and graphs. A graph is a list of nodes in an order in which each comes after those it depends on; an
 * executable graph is a copy of it; a launch makes an op of each node, ordered by the graph's edges alone, so that the
 * scheduler may run branches in any order.
 */
#include "tests/emulator/driver.h"

#include <stdlib.h>
#include <string.h>

struct graph_node {
    struct graph *graph;
    size_t index; /* in its graph */
    struct work work;
    struct graph_node **before;
    size_t before_count;
    void **param_pointers; /* for cuGraphKernelNodeGetParams; NULL until asked for */
};

struct graph {
    struct graph_node **nodes;
    size_t count, capacity;
};

struct graph_exec {
    struct exec_node {
        struct work work;
        const struct graph_node *origin; /* only compared: the graph may be gone */
        size_t *before, before_count;    /* indices */
    } * nodes;
    size_t count;
    struct op *last; /* end of the latest launch: launches of one exec do not overlap */
};

static struct capture *captures;
static uint64_t capture_count;
static _Thread_local int thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

/* ------------------------------------------------------------------------------------------------- graphs and nodes */

static struct graph *graph_make(void)
{
    struct graph *g = must_calloc(1, sizeof *g);
    handle_add(g, HANDLE_GRAPH);
    return g;
}

static void graph_free(struct graph *g)
{
    for (size_t i = 0; i < g->count; i++) {
        struct graph_node *n = g->nodes[i];
        handle_remove(n);
        work_release(&n->work);
        free(n->before);
        free(n->param_pointers);
        free(n);
    }
    handle_remove(g);
    free(g->nodes);
    free(g);
}

/* Graphs outlive the modules and contexts their nodes speak of. */
static bool work_lives(const struct work *work)
{
    if (work->kind == WORK_KERNEL && !handle_is(work->kernel.function, HANDLE_FUNCTION)) return false;
    return handle_is(work->context, HANDLE_CONTEXT);
}

/* Takes over what the work owns. */
static struct graph_node *node_add(struct graph *g, const struct work *work, struct graph_node *const *before,
                                   size_t count)
{
    struct graph_node *n = must_calloc(1, sizeof *n);
    n->graph = g;
    n->index = g->count;
    n->work = *work;
    n->before = must_calloc(count, sizeof *n->before);
    if (count > 0) memcpy(n->before, before, count * sizeof *n->before);
    n->before_count = count;
    handle_add(n, HANDLE_NODE);
    g->nodes = must_grow(g->nodes, g->count, sizeof *g->nodes, &g->capacity);
    g->nodes[g->count++] = n;
    return n;
}

/* Marks node and all that it depends on. */
static void mark_ancestors(const struct graph *g, bool *marked)
{
    for (size_t i = g->count; i-- > 0;)
        if (marked[i])
            for (size_t k = 0; k < g->nodes[i]->before_count; k++) marked[g->nodes[i]->before[k]->index] = true;
}

/* --------------------------------------------------------------------------------------------------------- capture */

static const void *this_thread(void)
{
    return &thread_mode;
}

CUresult capture_forbids(void)
{
    if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
    for (struct capture *c = captures; c != NULL; c = c->next) {
        bool global = c->mode == CU_STREAM_CAPTURE_MODE_GLOBAL && thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
        bool own = c->mode != CU_STREAM_CAPTURE_MODE_RELAXED && c->thread == this_thread();
        if (!global && !own) continue;
        c->invalid = true;
        return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "a call that may not be made during a stream capture");
    }
    return CUDA_SUCCESS;
}

CUresult capture_implicit(struct context *context)
{
    for (struct stream *s = context->streams; s != NULL; s = s->next) {
        if (s->capture == NULL || (s->flags & CU_STREAM_NON_BLOCKING)) continue;
        s->capture->invalid = true;
        return refuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
                      "the default stream is used while a blocking stream is captured, which it would wait for");
    }
    return CUDA_SUCCESS;
}

static struct capture *capture_find(uint64_t id)
{
    struct capture *c = captures;
    while (c != NULL && c->id != id) c = c->next;
    return c;
}

static void frontier_add(struct stream *s, struct graph_node *node)
{
    for (size_t i = 0; i < s->frontier_count; i++)
        if (s->frontier[i] == node) return;
    s->frontier = must_grow(s->frontier, s->frontier_count, sizeof *s->frontier, &s->frontier_capacity);
    s->frontier[s->frontier_count++] = node;
}

static void capture_join(struct capture *c, struct stream *s)
{
    s->capture = c;
    s->frontier_count = 0;
    c->streams = must_grow(c->streams, c->stream_count, sizeof *c->streams, &c->stream_capacity);
    c->streams[c->stream_count++] = s;
}

/* Takes it off the list and lets its streams go; the graph is the caller's. */
static struct graph *capture_end(struct capture *c)
{
    struct graph *g = c->graph;
    for (size_t i = 0; i < c->stream_count; i++) {
        c->streams[i]->capture = NULL;
        c->streams[i]->frontier_count = 0;
    }
    for (struct capture **p = &captures; *p != NULL; p = &(*p)->next) {
        if (*p != c) continue;
        *p = c->next;
        break;
    }
    free(c->streams);
    free(c);
    return g;
}

void capture_drop_stream(struct stream *s)
{
    struct capture *c = s->capture;
    if (c == NULL) return;
    if (c->origin == s) {
        graph_free(capture_end(c));
        return;
    }
    c->invalid = true;
    for (size_t i = 0; i < c->stream_count; i++)
        if (c->streams[i] == s) c->streams[i] = c->streams[--c->stream_count];
}

CUresult capture_add(struct stream *stream, const struct work *work)
{
    struct capture *c = stream->capture;
    if (c->invalid) {
        struct work owned = *work;
        work_release(&owned);
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    struct graph_node *n = node_add(c->graph, work, stream->frontier, stream->frontier_count);
    stream->frontier_count = 0;
    frontier_add(stream, n);
    return CUDA_SUCCESS;
}

CUresult capture_record(struct stream *stream, struct event *event)
{
    if (stream->capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    free(event->nodes);
    event->node_count = stream->frontier_count;
    event->nodes = must_calloc(event->node_count, sizeof *event->nodes);
    if (event->node_count > 0) memcpy(event->nodes, stream->frontier, event->node_count * sizeof *event->nodes);
    event->capture_id = stream->capture->id;
    return CUDA_SUCCESS;
}

CUresult capture_wait(struct stream *stream, struct event *event)
{
    struct capture *c = capture_find(event->capture_id);
    if (c == NULL)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "cuStreamWaitEvent: the event was recorded in a capture that has ended");
    if (c->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (stream->capture != NULL && stream->capture != c) {
        stream->capture->invalid = c->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    if (stream == stream->context->legacy) {
        c->invalid = true;
        return refuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "the default stream cannot take part in a capture");
    }
    if (stream->capture == NULL) capture_join(c, stream);
    for (size_t i = 0; i < event->node_count; i++) frontier_add(stream, event->nodes[i]);
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture_v2(CUstream handle, int mode)
{
    struct context *context;
    struct stream *s;
    CUresult status = enter(&context);
    if (status == CUDA_SUCCESS && (mode < 0 || mode > CU_STREAM_CAPTURE_MODE_RELAXED))
        status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) status = stream_resolve(context, handle, &s);
    if (status != CUDA_SUCCESS) return leave(status);
    if (s == s->context->legacy)
        return leave(refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream cannot be captured"));
    if (s->capture != NULL) return leave(CUDA_ERROR_ILLEGAL_STATE);
    struct capture *c = must_calloc(1, sizeof *c);
    *c = (struct capture){.graph = graph_make(),
                          .origin = s,
                          .mode = mode,
                          .id = ++capture_count,
                          .thread = this_thread(),
                          .next = captures};
    captures = c;
    capture_join(c, s);
    return leave(CUDA_SUCCESS);
}

/* A failure that was asked for: a capture does not outlast the call that ends it. */
static CUresult end_without_graph(CUstream handle, CUresult status)
{
    struct context *context = current_context();
    struct stream *s;
    if (context != NULL && handle_is(context, HANDLE_CONTEXT) && stream_resolve(context, handle, &s) == CUDA_SUCCESS)
        capture_drop_stream(s);
    return leave(status);
}

CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph)
{
    struct context *context;
    struct stream *s;
    CUresult status = enter(&context);
    if (status != CUDA_SUCCESS) return end_without_graph(handle, status);
    if (graph == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) status = stream_resolve(context, handle, &s);
    if (status != CUDA_SUCCESS) return leave(status);
    *graph = NULL;
    struct capture *c = s->capture;
    if (c == NULL) return leave(CUDA_ERROR_ILLEGAL_STATE);
    if (c->origin != s) {
        c->invalid = true;
        return leave(
            refuse(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "cuStreamEndCapture on a stream that did not begin it"));
    }
    if (c->invalid) {
        status = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    } else {
        /* What other streams did must come before something the origin waits for. */
        bool *joined = must_calloc(c->graph->count, sizeof *joined);
        for (size_t i = 0; i < s->frontier_count; i++) joined[s->frontier[i]->index] = true;
        mark_ancestors(c->graph, joined);
        for (size_t i = 0; i < c->graph->count; i++)
            if (!joined[i]) status = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
        free(joined);
        if (status != CUDA_SUCCESS)
            say("cuStreamEndCapture: work of another stream is not joined to the one that began the capture");
    }
    struct graph *g = capture_end(c);
    if (status == CUDA_SUCCESS)
        *graph = g;
    else
        graph_free(g);
    return leave(status);
}

CUresult cuStreamIsCapturing(CUstream handle, int *capture_status)
{
    struct context *context;
    struct stream *s;
    CUresult status = enter(&context);
    if (status == CUDA_SUCCESS && capture_status == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) status = stream_resolve(context, handle, &s);
    if (status == CUDA_SUCCESS)
        *capture_status = s->capture == NULL    ? CU_STREAM_CAPTURE_STATUS_NONE
                          : s->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                                : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return leave(status);
}

CUresult cuThreadExchangeStreamCaptureMode(int *mode)
{
    if (mode == NULL || *mode < 0 || *mode > CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_INVALID_VALUE;
    int old = thread_mode;
    thread_mode = *mode;
    *mode = old;
    return CUDA_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ building by hand */

/* enter, and the handle must be a live graph. */
#define enter_graph(...) enter_graph_by(__func__, __VA_ARGS__)
static CUresult enter_graph_by(const char *function, struct graph *g, struct context **context)
{
    CUresult status = enter_by(function, context);
    if (status == CUDA_SUCCESS && !handle_is(g, HANDLE_GRAPH)) status = CUDA_ERROR_INVALID_VALUE;
    return status;
}

CUresult cuGraphCreate(CUgraph *graph, unsigned flags)
{
    CUresult status = enter_driver();
    if (status == CUDA_SUCCESS && (graph == NULL || flags != 0)) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *graph = graph_make();
    return leave(status);
}

CUresult cuGraphDestroy(CUgraph graph)
{
    CUresult status = enter_driver();
    if (status == CUDA_SUCCESS && !handle_is(graph, HANDLE_GRAPH)) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) graph_free(graph);
    return leave(status);
}

CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count)
{
    struct context *c;
    CUresult status = enter_graph(graph, &c);
    if (status == CUDA_SUCCESS && count == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    if (nodes != NULL)
        for (size_t i = 0; i < *count; i++) nodes[i] = i < graph->count ? graph->nodes[i] : NULL;
    if (nodes == NULL || *count > graph->count) *count = graph->count;
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphNodeGetType(CUgraphNode node, int *type)
{
    CUresult status = enter_driver();
    if (status == CUDA_SUCCESS && (type == NULL || !handle_is(node, HANDLE_NODE))) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    switch (node->work.kind) {
    case WORK_KERNEL:
        *type = CU_GRAPH_NODE_TYPE_KERNEL;
        break;
    case WORK_COPY:
        *type = CU_GRAPH_NODE_TYPE_MEMCPY;
        break;
    case WORK_FILL:
        *type = CU_GRAPH_NODE_TYPE_MEMSET;
        break;
    case WORK_HOST:
        *type = CU_GRAPH_NODE_TYPE_HOST;
        break;
    default:
        *type = CU_GRAPH_NODE_TYPE_EMPTY;
        break;
    }
    return leave(CUDA_SUCCESS);
}

static CUresult node_work(const CUDA_KERNEL_NODE_PARAMS *p, struct work *work)
{
    if (p == NULL) return CUDA_ERROR_INVALID_VALUE;
    struct function *f = p->func != NULL ? p->func : p->kern;
    if (!handle_is(f, HANDLE_FUNCTION)) return CUDA_ERROR_INVALID_HANDLE;
    return kernel_work_make(f, (const uint32_t[3]){p->gridDimX, p->gridDimY, p->gridDimZ},
                            (const uint32_t[3]){p->blockDimX, p->blockDimY, p->blockDimZ}, p->sharedMemBytes,
                            p->kernelParams, p->extra, work);
}

static CUresult check_before(const struct graph *g, const CUgraphNode *before, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (before == NULL || !handle_is(before[i], HANDLE_NODE) || before[i]->graph != g)
            return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

CUresult cuGraphAddKernelNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t count,
                                 const CUDA_KERNEL_NODE_PARAMS *params)
{
    struct context *c;
    struct work work;
    CUresult status = enter_graph(graph, &c);
    if (status == CUDA_SUCCESS && node == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) status = check_before(graph, dependencies, count);
    if (status == CUDA_SUCCESS) status = node_work(params, &work);
    if (status == CUDA_SUCCESS) *node = node_add(graph, &work, dependencies, count);
    return leave(status);
}

CUresult cuGraphAddEmptyNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t count)
{
    struct context *c;
    CUresult status = enter_graph(graph, &c);
    if (status == CUDA_SUCCESS && node == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) status = check_before(graph, dependencies, count);
    if (status == CUDA_SUCCESS)
        *node = node_add(graph, &(struct work){.kind = WORK_EMPTY, .context = c}, dependencies, count);
    return leave(status);
}

/* enter, and the handle must be a kernel's node. */
#define enter_kernel_node(...) enter_kernel_node_by(__func__, __VA_ARGS__)
static CUresult enter_kernel_node_by(const char *function, struct graph_node *node, struct context **context)
{
    CUresult status = enter_by(function, context);
    if (status == CUDA_SUCCESS && (!handle_is(node, HANDLE_NODE) || node->work.kind != WORK_KERNEL))
        status = CUDA_ERROR_INVALID_VALUE;
    return status;
}

CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *params)
{
    struct context *c;
    CUresult status = enter_kernel_node(node, &c);
    if (status == CUDA_SUCCESS && params == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS && !work_lives(&node->work)) status = CUDA_ERROR_INVALID_HANDLE;
    if (status != CUDA_SUCCESS) return leave(status);
    const struct kernel_work *k = &node->work.kernel;
    const struct core_function_info *info = &k->function->info;
    if (node->param_pointers == NULL) node->param_pointers = must_calloc(info->param_count, sizeof(void *));
    for (uint32_t i = 0; i < info->param_count; i++) node->param_pointers[i] = k->params + info->params[i].offset;
    *params = (CUDA_KERNEL_NODE_PARAMS){.func = k->function,
                                        .gridDimX = k->grid[0],
                                        .gridDimY = k->grid[1],
                                        .gridDimZ = k->grid[2],
                                        .blockDimX = k->block[0],
                                        .blockDimY = k->block[1],
                                        .blockDimZ = k->block[2],
                                        .sharedMemBytes = k->shared,
                                        .kernelParams = node->param_pointers,
                                        .ctx = node->work.context};
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params)
{
    struct context *c;
    struct work work;
    CUresult status = enter_kernel_node(node, &c);
    if (status == CUDA_SUCCESS) status = node_work(params, &work);
    if (status != CUDA_SUCCESS) return leave(status);
    free(node->param_pointers); /* the new function may have more */
    node->param_pointers = NULL;
    work_release(&node->work);
    node->work = work;
    return leave(CUDA_SUCCESS);
}

/* ------------------------------------------------------------------------------------------------------- execution */

static CUresult instantiate(struct graph *g, CUgraphExec *exec)
{
    struct graph_exec *e = must_calloc(1, sizeof *e);
    e->count = g->count;
    e->nodes = must_calloc(g->count, sizeof *e->nodes);
    for (size_t i = 0; i < g->count; i++) {
        const struct graph_node *n = g->nodes[i];
        e->nodes[i] = (struct exec_node){.work = work_duplicate(&n->work),
                                         .origin = n,
                                         .before = must_calloc(n->before_count, sizeof(size_t)),
                                         .before_count = n->before_count};
        for (size_t k = 0; k < n->before_count; k++) e->nodes[i].before[k] = n->before[k]->index;
    }
    handle_add(e, HANDLE_EXEC);
    *exec = e;
    return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags)
{
    struct context *c;
    CUresult status = enter_graph(graph, &c);
    if (status == CUDA_SUCCESS && (exec == NULL || (flags & ~15ull) != 0)) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) status = instantiate(graph, exec);
    return leave(status);
}

CUresult cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params)
{
    struct context *c;
    struct stream *s;
    CUresult status = enter_graph(graph, &c);
    if (status == CUDA_SUCCESS && (exec == NULL || params == NULL || (params->flags & ~(uint64_t)15) != 0))
        status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS && (params->flags & 2)) status = stream_resolve(c, params->hUploadStream, &s);
    if (status == CUDA_SUCCESS) {
        params->hErrNode_out = NULL;
        params->result_out = 0;
        status = instantiate(graph, exec);
    }
    return leave(status);
}

/* enter, and the handle must be a live executable graph. */
#define enter_exec(...) enter_exec_by(__func__, __VA_ARGS__)
static CUresult enter_exec_by(const char *function, struct graph_exec *e, struct context **context)
{
    CUresult status = enter_by(function, context);
    if (status == CUDA_SUCCESS && !handle_is(e, HANDLE_EXEC)) status = CUDA_ERROR_INVALID_VALUE;
    return status;
}

CUresult cuGraphUpload(CUgraphExec exec, CUstream handle)
{
    struct context *c;
    struct stream *s;
    CUresult status = enter_exec(exec, &c);
    if (status == CUDA_SUCCESS) status = stream_resolve(c, handle, &s);
    return leave(status);
}

CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    CUresult status = enter_driver();
    if (status == CUDA_SUCCESS && !handle_is(exec, HANDLE_EXEC)) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    handle_remove(exec);
    for (size_t i = 0; i < exec->count; i++) {
        work_release(&exec->nodes[i].work);
        free(exec->nodes[i].before);
    }
    op_unref(exec->last);
    free(exec->nodes);
    free(exec);
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream handle)
{
    struct context *c;
    struct stream *s;
    CUresult status = enter_exec(exec, &c);
    if (status == CUDA_SUCCESS) status = stream_resolve(c, handle, &s);
    if (status != CUDA_SUCCESS) return leave(status);
    if (s->capture != NULL) {
        s->capture->invalid = true;
        return leave(refuse(CUDA_ERROR_NOT_SUPPORTED, "a graph launched inside a capture is not emulated"));
    }
    for (size_t i = 0; i < exec->count; i++)
        if (!work_lives(&exec->nodes[i].work))
            return leave(
                refuse(CUDA_ERROR_INVALID_HANDLE, "cuGraphLaunch: node %zu is of a destroyed context or module", i));
    struct op *begin;
    status = stream_enqueue(s, &(struct work){.kind = WORK_EMPTY, .context = s->context}, &begin);
    if (status != CUDA_SUCCESS) return leave(status);
    struct op *end = op_new(&(struct work){.kind = WORK_EMPTY, .context = s->context}, begin->priority);
    struct op **ops = must_calloc(exec->count, sizeof *ops);
    for (size_t i = 0; i < exec->count; i++) {
        struct exec_node *n = &exec->nodes[i];
        struct work work = work_duplicate(&n->work);
        ops[i] = op_new(&work, begin->priority | order_draw((uint32_t)i));
        op_after(ops[i], begin);
        op_after(ops[i], exec->last);
        for (size_t k = 0; k < n->before_count; k++) op_after(ops[i], ops[n->before[k]]);
        op_after(end, ops[i]);
    }
    op_after(end, begin);
    for (size_t i = 0; i < exec->count; i++) op_submit(ops[i]);
    op_ref(end);
    op_unref(exec->last);
    exec->last = end;
    stream_set_last(s, end);
    end->kernels = count_kernels();
    op_submit(end);
    free(ops);
    return leave(CUDA_SUCCESS);
}

CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params)
{
    struct context *c;
    struct work work;
    CUresult status = enter_exec(exec, &c);
    if (status != CUDA_SUCCESS) return leave(status);
    struct exec_node *n = NULL;
    for (size_t i = 0; i < exec->count; i++)
        if (exec->nodes[i].origin == node) n = &exec->nodes[i];
    if (n == NULL || n->work.kind != WORK_KERNEL)
        return leave(
            refuse(CUDA_ERROR_INVALID_VALUE, "cuGraphExecKernelNodeSetParams: not a kernel node of this graph"));
    status = node_work(params, &work);
    if (status == CUDA_SUCCESS && work.context->device != n->work.context->device) {
        work_release(&work);
        status =
            refuse(CUDA_ERROR_INVALID_VALUE, "cuGraphExecKernelNodeSetParams: the function's device may not change");
    }
    if (status == CUDA_SUCCESS) {
        work_release(&n->work);
        n->work = work;
    }
    return leave(status);
}

static int compare(const struct graph_exec *exec, const struct graph *g, size_t *where)
{
    *where = 0;
    if (exec->count != g->count) return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    for (size_t i = 0; i < g->count; i++) {
        const struct exec_node *old = &exec->nodes[i];
        const struct graph_node *new = g->nodes[i];
        *where = i;
        if (old->work.kind != new->work.kind) return CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED;
        if (old->before_count != new->before_count) return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        for (size_t k = 0; k < old->before_count; k++)
            if (old->before[k] != new->before[k]->index) return CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
        if (old->work.context != new->work.context) return CU_GRAPH_EXEC_UPDATE_ERROR_FUNCTION_CHANGED;
    }
    return CU_GRAPH_EXEC_UPDATE_SUCCESS;
}

CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info)
{
    struct context *c;
    CUresult status = enter_exec(exec, &c);
    if (status == CUDA_SUCCESS && (info == NULL || !handle_is(graph, HANDLE_GRAPH))) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    size_t where;
    int result = compare(exec, graph, &where);
    *info = (CUgraphExecUpdateResultInfo){.result = result};
    if (result != CU_GRAPH_EXEC_UPDATE_SUCCESS) {
        if (where < graph->count) info->errorNode = graph->nodes[where];
        return leave(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    }
    for (size_t i = 0; i < graph->count; i++) {
        work_release(&exec->nodes[i].work);
        exec->nodes[i].work = work_duplicate(&graph->nodes[i]->work);
    }
    return leave(CUDA_SUCCESS);
}
