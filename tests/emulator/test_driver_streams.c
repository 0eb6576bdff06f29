/*
 * Streams, events, captured graphs and stream-ordered memory of the emulated driver. What must hold in every legal
 * order is run with several seeds; what is a bug must show with some of them.
 */
#include "tests/emulator/test_driver.h"
#include "tests/emulator/test_driver_parts.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { SEEDS = 12 };

/* A thread's multiplications do not commute, so the number tells the order: value * f + 1 for each factor in turn. */
static void scale_by(CUfunction scale, CUstream stream, CUdeviceptr p, unsigned factor)
{
    unsigned count = 1;
    OK(launch(scale, 1, 1, stream, (void *[]){&p, &factor, &count}));
}

static unsigned fetch(CUdeviceptr p)
{
    unsigned value = 0;
    OK(cu.cuMemcpyDtoH_v2(&value, p, 4));
    return value;
}

/* How many seeds fail a check; *broken when one did not come that far. */
static int failing_seeds(void (*body)(void), bool *broken)
{
    int failing = 0;
    *broken = false;
    for (int seed = 1; seed <= SEEDS; seed++) {
        char options[32];
        snprintf(options, sizeof options, "seed=%d", seed);
        int failed = run_case(options, body, true);
        if (failed > 0) failing++;
        if (failed == CASE_BROKEN) *broken = true;
    }
    return failing;
}

/* Right with every seed. */
static void test_right(const char *name, void (*body)(void))
{
    bool broken;
    int failing = failing_seeds(body, &broken);
    if (failing > 0) run_case("seed=1", body, false); /* for the message, if this is one of them */
    test_result(name, failing == 0);
}

/* A bug that some seeds must show, and no fewer than a fifth of them. */
static void test_caught(const char *name, void (*body)(void))
{
    bool broken;
    int failing = failing_seeds(body, &broken);
    printf("  %d of %d seeds show it\n", failing, SEEDS);
    test_result(name, !broken && failing * 5 >= SEEDS);
}

/* ---------------------------------------------------------------------------------------------------------- streams */

static void stream_order(void)
{
    CUstream s;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(4, 1);
    OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    for (unsigned f = 2; f <= 5; f++) scale_by(scale, s, p, f);
    OK(cu.cuStreamSynchronize(s));
    CHECK(fetch(p) == (((1 * 2 + 1) * 3 + 1) * 4 + 1) * 5 + 1);
    CHECK_STATUS(cu.cuStreamQuery(s), CUDA_SUCCESS);
    OK(cu.cuStreamDestroy_v2(s));
    CHECK_STATUS(cu.cuStreamSynchronize(s), CUDA_ERROR_INVALID_HANDLE);
}

/* One stream makes a number, another uses it. */
static void two_streams(bool wait)
{
    CUstream producer, consumer;
    CUevent ready;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(4, 1);
    OK(cu.cuStreamCreate(&producer, CU_STREAM_NON_BLOCKING));
    OK(cu.cuStreamCreate(&consumer, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&ready, CU_EVENT_DISABLE_TIMING));
    scale_by(scale, producer, p, 7);
    OK(cu.cuEventRecord(ready, producer));
    if (wait) OK(cu.cuStreamWaitEvent(consumer, ready, 0));
    scale_by(scale, consumer, p, 10);
    OK(cu.cuCtxSynchronize());
    CHECK(fetch(p) == (1 * 7 + 1) * 10 + 1);
}

static void event_missing(void)
{
    two_streams(false);
}

static void event_waited(void)
{
    two_streams(true);
}

/* A staging buffer that is filled again before the copy from it has run, and with the wait. */
static void staging(bool wait)
{
    CUstream s;
    CUevent copied;
    unsigned *buffer;
    start();
    CUdeviceptr p = filled(8, 0);
    OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&copied, 0));
    OK(cu.cuMemHostAlloc((void **)&buffer, 4, 0));
    for (unsigned i = 0; i < 2; i++) {
        if (wait) OK(cu.cuEventSynchronize(copied)); /* nothing to wait for at first */
        *buffer = 100 + i;
        OK(cu.cuMemcpyHtoDAsync_v2(p + 4 * i, buffer, 4, s));
        OK(cu.cuEventRecord(copied, s));
    }
    OK(cu.cuStreamSynchronize(s));
    CHECK(fetch(p) == 100 && fetch(p + 4) == 101);
}

static void staging_overwritten(void)
{
    staging(false);
}

static void staging_waited(void)
{
    staging(true);
}

/* The default stream waits for blocking streams and they for it; non-blocking ones do neither. */
static void legacy_rules(unsigned flags)
{
    CUstream a, b;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(4, 1);
    OK(cu.cuStreamCreate(&a, flags));
    OK(cu.cuStreamCreate(&b, flags));
    scale_by(scale, a, p, 2);
    scale_by(scale, NULL, p, 3);
    scale_by(scale, b, p, 5);
    OK(cu.cuMemsetD32_v2(p + 4 - 4, 0, 0)); /* nothing, in the default stream */
    OK(cu.cuStreamSynchronize(b));
    OK(cu.cuCtxSynchronize());
    CHECK(fetch(p) == ((1 * 2 + 1) * 3 + 1) * 5 + 1);
}

static void legacy_blocking(void)
{
    legacy_rules(CU_STREAM_DEFAULT);
}

static void legacy_non_blocking(void)
{
    legacy_rules(CU_STREAM_NON_BLOCKING);
}

static int host_calls;
static CUresult inside;

static void host_function(void *user)
{
    host_calls += *(int *)user;
    inside = cu.cuCtxSynchronize();
}

static void events(void)
{
    CUstream s;
    CUevent begin, end, silent;
    float milliseconds = -1;
    int step = 5, questions = 0;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(4, 1);
    OK(cu.cuStreamCreateWithPriority(&s, CU_STREAM_NON_BLOCKING, -1));
    OK(cu.cuEventCreate(&begin, 0));
    OK(cu.cuEventCreate(&end, 0));
    OK(cu.cuEventCreate(&silent, CU_EVENT_DISABLE_TIMING));
    OK(cu.cuEventQuery(begin)); /* never recorded */
    OK(cu.cuEventRecord(begin, s));
    for (int i = 0; i < 40; i++) scale_by(scale, s, p, 1);
    OK(cu.cuLaunchHostFunc(s, host_function, &step));
    OK(cu.cuEventRecord(end, s));
    CHECK(host_calls == 0); /* nothing has run */
    CHECK_STATUS(cu.cuEventElapsedTime(&milliseconds, begin, end), CUDA_ERROR_NOT_READY);
    while (cu.cuEventQuery(end) == CUDA_ERROR_NOT_READY && questions < 1000) questions++;
    CHECK(questions > 5 && questions < 1000); /* it takes some time, and ends */
    CHECK(host_calls == 5 && inside == CUDA_ERROR_NOT_PERMITTED);
    OK(cu.cuEventElapsedTime(&milliseconds, begin, end));
    CHECK(milliseconds >= 0);
    CHECK(fetch(p) == 41);
    OK(cu.cuEventRecord(silent, s));
    CHECK_STATUS(cu.cuEventElapsedTime(&milliseconds, begin, silent), CUDA_ERROR_INVALID_HANDLE);
    OK(cu.cuEventDestroy_v2(end));
    CHECK_STATUS(cu.cuEventSynchronize(end), CUDA_ERROR_INVALID_HANDLE);
}

/* A fault in one stream is seen by whoever synchronises next. */
static void fault_seen(void)
{
    CUstream s;
    CUevent e;
    unsigned factor = 1, count = 2;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(4, 1);
    OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&e, 0));
    OK(launch(scale, 1, 2, s, (void *[]){&p, &factor, &count})); /* two elements of one */
    OK(cu.cuEventRecord(e, s));                                  /* nothing has run yet */
    CHECK_STATUS(cu.cuEventSynchronize(e), CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK_STATUS(cu.cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK_STATUS(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

/* Threads with a stream each, one context, one function. */
struct worker {
    CUcontext context;
    CUfunction scale;
    pthread_t thread;
    unsigned result;
};

static void *work(void *argument)
{
    struct worker *w = argument;
    CUstream s;
    OK(cu.cuCtxSetCurrent(w->context));
    OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    for (int round = 0; round < 10; round++) {
        CUdeviceptr p;
        unsigned one = 1;
        OK(cu.cuMemAlloc_v2(&p, 4));
        OK(cu.cuMemcpyHtoDAsync_v2(p, &one, 4, s));
        for (unsigned f = 1; f < 10; f++) scale_by(w->scale, s, p, 1);
        OK(cu.cuMemcpyDtoHAsync_v2(&w->result, p, 4, s));
        OK(cu.cuStreamSynchronize(s));
        OK(cu.cuMemFree_v2(p));
    }
    OK(cu.cuStreamDestroy_v2(s));
    return NULL;
}

static void threads(void)
{
    struct worker workers[4] = {0};
    start();
    CUfunction scale = load(scale_ptx, "scale");
    for (int i = 0; i < 4; i++) {
        OK(cu.cuCtxGetCurrent(&workers[i].context));
        workers[i].scale = scale;
        CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
        CHECK(workers[i].result == 10);
    }
}

/* ----------------------------------------------------------------------------------------- stream-ordered memory */

static void pool_right(void)
{
    CUstream s;
    CUdeviceptr p;
    CUmemoryPool pool;
    uint64_t keep = UINT64_MAX, used = 1;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    OK(cu.cuDeviceGetDefaultMemPool(&pool, 0));
    OK(cu.cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep));
    OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cu.cuMemAllocAsync(&p, 64, s));
    OK(cu.cuMemsetD32Async(p, 4, 16, s));
    scale_by(scale, s, p, 2);
    OK(cu.cuMemFreeAsync(p, s));
    CHECK_STATUS(cu.cuMemFreeAsync(p, s), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuStreamSynchronize(s));
    OK(cu.cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
    CHECK(used == 0);
}

static void pool_after_free(void)
{
    CUstream s;
    CUdeviceptr p;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cu.cuMemAllocAsync(&p, 64, s));
    OK(cu.cuMemsetD32Async(p, 4, 16, s));
    OK(cu.cuMemFreeAsync(p, s));
    scale_by(scale, s, p, 2);
    CHECK_STATUS(cu.cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
}

/* Another stream uses it without waiting for the allocation. */
static void pool_other_stream(void)
{
    CUstream a, b;
    CUdeviceptr p;
    start();
    OK(cu.cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cu.cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    OK(cu.cuMemAllocAsync(&p, 64, a));
    OK(cu.cuMemsetD32Async(p, 4, 16, b));
    OK(cu.cuCtxSynchronize());
}

/* ----------------------------------------------------------------------------------------------------------- graphs */

/* Two branches of a captured graph: p gets * 2, a branch * 3 on p and * 5 on q, then q * 7. Without `join`, the
 * branch's end is not waited for before p is used once more. */
static void forked_graph(bool ordered)
{
    CUstream a, b;
    CUevent fork, join;
    CUgraph graph;
    CUgraphExec exec;
    int capturing = -1;
    size_t count = 0;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(4, 1), q = filled(4, 1);
    OK(cu.cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    OK(cu.cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
    OK(cu.cuEventCreate(&join, CU_EVENT_DISABLE_TIMING));
    OK(cu.cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    scale_by(scale, a, p, 2);
    OK(cu.cuEventRecord(fork, a));
    OK(cu.cuStreamWaitEvent(b, fork, 0));
    OK(cu.cuStreamIsCapturing(b, &capturing));
    CHECK(capturing == CU_STREAM_CAPTURE_STATUS_ACTIVE);
    scale_by(scale, b, p, 3);
    scale_by(scale, b, q, 5);
    OK(cu.cuEventRecord(join, b));
    if (ordered) OK(cu.cuStreamWaitEvent(a, join, 0));
    scale_by(scale, a, p, 7);
    OK(cu.cuStreamWaitEvent(a, join, 0));
    OK(cu.cuStreamEndCapture(a, &graph));
    CHECK(fetch(p) == 1); /* captured, not run */
    OK(cu.cuGraphGetNodes(graph, NULL, &count));
    CHECK(count == 4);
    OK(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cu.cuGraphDestroy(graph));
    unsigned expected = 1;
    for (int i = 0; i < 3; i++) {
        OK(cu.cuGraphLaunch(exec, i == 1 ? b : a));
        expected = ((expected * 2 + 1) * 3 + 1) * 7 + 1;
    }
    OK(cu.cuCtxSynchronize());
    CHECK(fetch(p) == expected && fetch(q) == ((1 * 5 + 1) * 5 + 1) * 5 + 1);
    OK(cu.cuGraphExecDestroy(exec));
}

static void graph_ordered(void)
{
    forked_graph(true);
}

static void graph_unordered(void)
{
    forked_graph(false);
}

static void graph_updates(void)
{
    CUstream s;
    CUmodule module;
    CUgraph graph, other;
    CUgraphExec exec;
    CUgraphNode nodes[4];
    CUDA_KERNEL_NODE_PARAMS params;
    CUgraphExecUpdateResultInfo info;
    CUDA_GRAPH_INSTANTIATE_PARAMS how = {.flags = 2};
    size_t count = 4;
    unsigned factor = 9, one = 1;
    int type = -1;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(8, 1), second = p + 4;
    OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    how.hUploadStream = s;
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    OK(cu.cuMemsetD32Async(p, 1, 1, s));
    scale_by(scale, s, p, 2);
    OK(cu.cuStreamEndCapture(s, &graph));
    OK(cu.cuGraphInstantiateWithParams(&exec, graph, &how));
    CHECK(how.result_out == 0);
    OK(cu.cuGraphUpload(exec, s));
    OK(cu.cuGraphLaunch(exec, s));
    OK(cu.cuGraphLaunch(exec, s));
    OK(cu.cuStreamSynchronize(s));
    CHECK(fetch(p) == 3);
    OK(cu.cuGraphGetNodes(graph, nodes, &count));
    CHECK(count == 2);
    OK(cu.cuGraphNodeGetType(nodes[0], &type));
    CHECK(type == CU_GRAPH_NODE_TYPE_MEMSET);
    OK(cu.cuGraphNodeGetType(nodes[1], &type));
    CHECK(type == CU_GRAPH_NODE_TYPE_KERNEL);
    /* Another pointer and factor for the kernel. A launch before keeps the old ones. */
    OK(cu.cuGraphKernelNodeGetParams_v2(nodes[1], &params));
    CHECK(params.func == scale && *(CUdeviceptr *)params.kernelParams[0] == p);
    OK(cu.cuGraphLaunch(exec, s));
    params.kernelParams = (void *[]){&second, &factor, &one};
    OK(cu.cuGraphExecKernelNodeSetParams_v2(exec, nodes[1], &params));
    CHECK_STATUS(cu.cuGraphExecKernelNodeSetParams_v2(exec, nodes[0], &params), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuStreamSynchronize(s));
    CHECK(fetch(p) == 3 && fetch(second) == 1);
    OK(cu.cuGraphLaunch(exec, s));
    OK(cu.cuStreamSynchronize(s));
    CHECK(fetch(p) == 1 && fetch(second) == 10);
    /* A whole new graph of the same form, and one of another. */
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
    OK(cu.cuMemsetD32Async(p, 100, 1, s));
    scale_by(scale, s, p, 3);
    OK(cu.cuStreamEndCapture(s, &other));
    OK(cu.cuGraphExecUpdate_v2(exec, other, &info));
    OK(cu.cuGraphLaunch(exec, s));
    OK(cu.cuStreamSynchronize(s));
    CHECK(fetch(p) == 301);
    OK(cu.cuGraphAddEmptyNode(&nodes[2], other, NULL, 0));
    CHECK_STATUS(cu.cuGraphExecUpdate_v2(exec, other, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    CHECK(info.result == CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    /* Graphs do not keep their modules. */
    OK(cu.cuFuncGetModule(&module, scale));
    OK(cu.cuModuleUnload(module));
    CHECK_STATUS(cu.cuGraphLaunch(exec, s), CUDA_ERROR_INVALID_HANDLE);
    CHECK_STATUS(cu.cuGraphKernelNodeGetParams_v2(nodes[1], &params), CUDA_ERROR_INVALID_HANDLE);
    OK(cu.cuGraphDestroy(graph));
}

static void graph_by_hand(void)
{
    CUgraph graph;
    CUgraphExec exec;
    CUgraphNode first, second;
    unsigned two = 2, three = 3, count = 1;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(4, 1);
    CUDA_KERNEL_NODE_PARAMS k = {.func = scale,
                                 .gridDimX = 1,
                                 .gridDimY = 1,
                                 .gridDimZ = 1,
                                 .blockDimX = 1,
                                 .blockDimY = 1,
                                 .blockDimZ = 1,
                                 .kernelParams = (void *[]){&p, &two, &count}};
    OK(cu.cuGraphCreate(&graph, 0));
    OK(cu.cuGraphAddKernelNode_v2(&first, graph, NULL, 0, &k));
    k.kernelParams = (void *[]){&p, &three, &count};
    OK(cu.cuGraphAddKernelNode_v2(&second, graph, &first, 1, &k));
    OK(cu.cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(cu.cuGraphLaunch(exec, NULL));
    CHECK(fetch(p) == 10);
}

static void capture_end_fails(void)
{
    CUstream s;
    CUgraph graph;
    int status;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(4, 1);
    OK(cu.cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    scale_by(scale, s, p, 2);
    CHECK_STATUS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cu.cuStreamIsCapturing(s, &status));
    CHECK(status == CU_STREAM_CAPTURE_STATUS_NONE);
    scale_by(scale, s, p, 4);
    OK(cu.cuStreamSynchronize(s));
    CHECK(fetch(p) == 5); /* what was captured did not run */
}

static void capture_rules(void)
{
    CUstream s, other;
    CUevent before, e;
    CUgraph graph;
    CUdeviceptr q;
    int status;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(4, 1);
    OK(cu.cuStreamCreate(&s, CU_STREAM_DEFAULT));
    OK(cu.cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    OK(cu.cuEventCreate(&before, 0));
    OK(cu.cuEventCreate(&e, 0));
    CHECK_STATUS(cu.cuStreamBeginCapture_v2(NULL, 0), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK_STATUS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_ILLEGAL_STATE);
    /* a synchronisation */
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CHECK_STATUS(cu.cuStreamSynchronize(s), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    OK(cu.cuStreamIsCapturing(s, &status));
    CHECK(status == CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    CHECK_STATUS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    CHECK(graph == NULL);
    /* an allocation */
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CHECK_STATUS(cu.cuMemAlloc_v2(&q, 4), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK_STATUS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    OK(cu.cuMemAlloc_v2(&q, 4));
    OK(cu.cuStreamEndCapture(s, &graph));
    /* the default stream, beside a blocking one */
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    unsigned factor = 1, count = 1;
    CHECK_STATUS(launch(scale, 1, 1, NULL, (void *[]){&p, &factor, &count}), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    CHECK_STATUS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    /* an event from outside */
    OK(cu.cuEventRecord(before, other));
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    CHECK_STATUS(cu.cuStreamWaitEvent(s, before, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    CHECK_STATUS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    /* a branch that does not come back, and its event after the end */
    OK(cu.cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    scale_by(scale, s, p, 1);
    OK(cu.cuEventRecord(e, s));
    OK(cu.cuStreamWaitEvent(other, e, 0));
    scale_by(scale, other, p, 1);
    CHECK_STATUS(cu.cuEventSynchronize(e), CUDA_ERROR_CAPTURED_EVENT);
    CHECK_STATUS(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    CHECK_STATUS(cu.cuStreamWaitEvent(other, e, 0), CUDA_ERROR_INVALID_VALUE);
    /* all is as before */
    scale_by(scale, other, p, 4);
    OK(cu.cuCtxSynchronize());
    CHECK(fetch(p) == 5);
}

void test_streams(void)
{
    test_right("streams: work of one stream runs in order", stream_order);
    test_right("streams: an event is waited for", event_waited);
    test_caught("streams: a missing event wait shows", event_missing);
    int newest_first = run_case("seed=1", event_missing, true), oldest_first = run_case("seed=2", event_missing, true);
    test_result("streams: seed 1 or 2 shows it for certain",
                (newest_first > 0) != (oldest_first > 0) && newest_first + oldest_first < CASE_BROKEN);
    test_right("streams: a staging buffer with its wait", staging_waited);
    test_caught("streams: a staging buffer overwritten too soon shows", staging_overwritten);
    test_right("streams: the default stream orders blocking ones", legacy_blocking);
    test_caught("streams: non-blocking ones are not ordered by it", legacy_non_blocking);
    test_right("events: queries, times, host functions", events);
    test_right("faults are seen at the next synchronisation", fault_seen);
    test_case("threads share a context", NULL, threads);
    test_right("stream-ordered memory", pool_right);
    test_right("stream-ordered memory: use after free", pool_after_free);
    test_caught("stream-ordered memory: used by a stream that does not wait", pool_other_stream);
    test_right("graphs: branches joined by events", graph_ordered);
    test_caught("graphs: a missing edge shows", graph_unordered);
    test_case("graphs: updates", NULL, graph_updates);
    test_case("graphs: built by hand", NULL, graph_by_hand);
    test_case("graphs: what a capture forbids", NULL, capture_rules);
    test_case("graphs: no capture outlasts its end that fails", "fail_call=cuStreamEndCapture:1", capture_end_fails);
}
