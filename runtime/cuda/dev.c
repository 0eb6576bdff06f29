/* The CUDA device: its memory, copies and launches. */
#include "runtime/cuda/device.h"
#include "runtime/cuda/pieces.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------------ status */

bool cuda_planning(const Dev *d) { return d->plan; }
const CudaDevice *cuda_device_of(const Dev *d) { return &d->cuda->device; }
const DevSetup *cuda_setup_of(const Dev *d) { return &d->cuda->setup; }
struct CudaWeights **cuda_weights_of(const Dev *d) { return &d->cuda->weights; }
CudaWatch *cuda_watch_of(const Dev *d) { return d->cuda->watch; }
void cuda_watch(Dev *d, CudaWatch *w) { d->cuda->watch = w; }
double cuda_launch_limit(const Dev *d) { return d->cuda->launch_limit > 0 ? d->cuda->launch_limit : LAUNCH_SECONDS; }
void cuda_limit_launches(Dev *d, double seconds) { d->cuda->launch_limit = seconds; }

void cuda_enter(Dev *d)
{
    struct Cuda *c = d->cuda;
    if (c->inside++ == 0) c->driver->context_push(c->context);
}

void cuda_leave(Dev *d)
{
    struct Cuda *c = d->cuda;
    CUcontext popped;
    if (--c->inside == 0) c->driver->context_pop(&popped);
}

static const char little_memory[] =
    ": the GPU's memory does not suffice; free it elsewhere, give a smaller --memory, or use smaller tiles";

bool cuda_worked(Dev *d, const char *what, CUresult status)
{
    if (status == 0) return true;
    char text[256];
    cuda_status_text(d->cuda->driver, what, status, text, sizeof text);
    if (status == CUDA_ERROR_OUT_OF_MEMORY) {
        if (!d->failed) d->no_memory = true;
        dev_fail(d, "%s%s", text, little_memory);
    } else {
        dev_fail(d, "cuda:%d failed: %s; 'upres selftest' checks the device", d->cuda->device.ordinal, text);
    }
    return false;
}

/* ------------------------------------------------------------------------------------------------- memory and copies */

CUdeviceptr cuda_at(const Dev *d, Tensor x) { return d->plan || !x.valid ? 0 : d->cuda->arena + x.at; }

CUdeviceptr cuda_weight_memory(const Dev *d) { return d->cuda->block.address; }

CudaScratch cuda_scratch(Dev *d, uint64_t bytes)
{
    CudaScratch s = {ARENA_FULL, 0};
    if (d->failed) return s;
    s.at = arena_take(&d->arena, ARENA_HIGH, bytes);
    if (s.at == ARENA_FULL) {
        dev_fail(d, "internal error: the working memory planned (%llu bytes) does not suffice",
                 (unsigned long long)d->arena.limit);
    } else if (!d->plan) {
        s.address = d->cuda->arena + s.at;
    }
    return s;
}

void cuda_scratch_free(Dev *d, CudaScratch *s)
{
    if (s->at != ARENA_FULL) arena_give(&d->arena, s->at);
    *s = (CudaScratch){ARENA_FULL, 0};
}

void cuda_copy_now(Dev *d, CUdeviceptr to, const void *from, uint64_t bytes)
{
    struct Cuda *c = d->cuda;
    if (!cuda_worked(d, "the work on the GPU", cuda_recorder_flush(c->recorder))) return;
    cuda_worked(d, "cuMemcpyHtoDAsync", c->driver->copy_in(to, from, bytes, c->stream));
}

void cuda_copy_in(Dev *d, CUdeviceptr to, const void *from, uint64_t bytes)
{
    if (d->plan || d->failed || bytes == 0) return;
    struct Cuda *c = d->cuda;
    cuda_enter(d);
    if (bytes <= RECORD_COPY_MAX) cuda_worked(d, "copying to the GPU", cuda_record_copy(c->recorder, to, from, bytes));
    else cuda_copy_now(d, to, from, bytes);
    cuda_leave(d);
}

void cuda_fill(Dev *d, CUdeviceptr to, uint8_t value, uint64_t bytes)
{
    if (d->plan || d->failed || bytes == 0) return;
    struct Cuda *c = d->cuda;
    cuda_enter(d);
    cuda_worked(d, "cuMemsetD8Async", c->aside ? c->driver->fill8(to, value, bytes, cuda_side_stream(c->side))
                                          : cuda_record_fill(c->recorder, to, value, bytes));
    cuda_leave(d);
}

void cuda_wait(Dev *d)
{
    if (d->plan) return;
    struct Cuda *c = d->cuda;
    cuda_enter(d);
    const CUresult flushed = cuda_recorder_flush(c->recorder);
    if (c->aside) cuda_worked(d, "cuStreamWaitEvent", cuda_side_end(c->side));
    const CUresult done = c->driver->stream_synchronize(c->stream);
    if (cuda_worked(d, "the work on the GPU", flushed != 0 ? flushed : done)) cuda_staging_idle(c->staging);
    cuda_leave(d);
}

void cuda_time_begin(Dev *d)
{
    cuda_enter(d);
    cuda_worked(d, "the work on the GPU", cuda_recorder_time_begin(d->cuda->recorder));
    cuda_leave(d);
}

double cuda_time_end(Dev *d)
{
    double seconds;
    cuda_enter(d);
    cuda_worked(d, "the work on the GPU", cuda_recorder_time_end(d->cuda->recorder, &seconds));
    cuda_leave(d);
    cuda_wait(d);
    return seconds;
}

CUdeviceptr cuda_memory_take(Dev *d, uint64_t bytes)
{
    CUdeviceptr address = 0;
    if (d->plan || d->failed) return 0;
    cuda_enter(d);
    cuda_worked(d, "cuMemAlloc of weights", d->cuda->driver->memory_take(&address, bytes));
    cuda_leave(d);
    return address;
}

void cuda_memory_give(Dev *d, CUdeviceptr address)
{
    if (d->plan || address == 0) return;
    cuda_enter(d);
    d->cuda->driver->memory_give(address);
    cuda_leave(d);
}

void cuda_copy_out(Dev *d, void *to, CUdeviceptr from, uint64_t bytes)
{
    if (d->plan || d->failed || bytes == 0) return;
    cuda_enter(d);
    if (cuda_worked(d, "the work on the GPU", cuda_recorder_flush(d->cuda->recorder))) {
        cuda_worked(d, "cuMemcpyDtoHAsync", d->cuda->driver->copy_out(to, from, bytes, d->cuda->stream));
    }
    cuda_leave(d);
}

CUdeviceptr cuda_upload(Dev *d, uint64_t bytes, StagingFill *fill, const void *context)
{
    CUdeviceptr at = 0;
    if (d->plan || d->failed || bytes == 0) return 0;
    cuda_enter(d);
    cuda_worked(d, "copying weights to the GPU", cuda_staging_upload(d->cuda->staging, bytes, fill, context, &at));
    cuda_leave(d);
    return at;
}

void cuda_aside_begin(Dev *d, uint64_t after)
{
    if (d->plan || d->failed) return;
    struct Cuda *c = d->cuda;
    cuda_enter(d);
    CUresult status = cuda_recorder_flush_once(c->recorder); /* the main stream goes on meanwhile */
    if (status == 0) status = cuda_side_begin(c->side, d->totals.operations, after);
    c->aside = cuda_worked(d, "the work on the GPU", status);
    cuda_leave(d);
}

void cuda_aside_end(Dev *d)
{
    struct Cuda *c = d->cuda;
    if (d->plan || !c->aside) return;
    c->aside = false;
    if (d->failed) return;
    cuda_enter(d);
    cuda_worked(d, "cuStreamWaitEvent", cuda_side_end(c->side));
    cuda_leave(d);
}

void cuda_streamed_weight(Dev *d)
{
    d->cuda->leaves_streamed = true;
    d->cuda->left = d->totals.operations;
}

/* Where an operation follows one whose weights make room for others, those need not wait for it, nor for any after it. */
static CUresult mark_operation(Dev *d)
{
    struct Cuda *c = d->cuda;
    if (!c->leaves_streamed || c->left == d->totals.operations) return 0;
    c->leaves_streamed = false;
    const CUresult status = cuda_recorder_flush_once(c->recorder);
    return status != 0 ? status : cuda_side_mark(c->side, d->totals.operations);
}

void cuda_upload_places(Dev *d, CUdeviceptr at, uint64_t bytes)
{
    if (!d->plan && !d->failed) cuda_staging_places(d->cuda->staging, at, bytes);
}

/* ----------------------------------------------------------------------------------------------------------- kernels */

static void count_kernels(Dev *d)
{
    const CudaKernelCounts n = cuda_kernels_counts(d->cuda->kernels);
    d->totals.kernels_cached = n.cached;
    d->totals.kernels_compiled = n.compiled;
    d->totals.kernels_built_in = n.built_in;
    d->totals.kernels_origin = cuda_kernels_origin(d->cuda->kernels);
}

const Prediction *cuda_prediction(const Dev *d) { return d->cuda != NULL ? &d->cuda->prediction : NULL; }

/* What was counted since the last product belongs to this launch, if it is one of attention. */
static void foresee(Dev *d, const char *function, CudaGrid g, const void *args)
{
    struct Cuda *c = d->cuda;
    const double flop = d->totals.flop - c->foreseen;
    const WorkKind kind = prediction_launch(&c->prediction, &c->device, function, g, args, flop, c->expected);
    if (kind == WORK_PRODUCT || kind == WORK_FLASH) c->foreseen = d->totals.flop;
    if (kind == WORK_FLASH) c->expected = 0;
}

void cuda_expect(Dev *d, double flop) { d->cuda->expected = flop; }

static void launch(Dev *d, const char *file, const char *function, const char *macros, CudaGrid g, const void *args, bool again)
{
    if (d->failed || g.x == 0 || g.y == 0 || g.z == 0) return;
    cuda_watch_launch(d->cuda->watch, function, g);
    if (d->plan) foresee(d, function, g, args);
    if (d->plan) return;
    char error[1024];
    struct Cuda *c = d->cuda;
    cuda_enter(d);
    size_t bytes = 0;
    CUfunction f = cuda_kernel(c->kernels, file, function, macros, g.shared, &bytes, error, sizeof error);
    count_kernels(d);
    const CudaLaunchShape shape = {g.x, g.y, g.z, g.threads, g.shared};
    if (f != NULL && c->aside) {
        void *parameter = (void *)args;
        cuda_worked(d, function, c->driver->launch(f, g.x, g.y, g.z, g.threads, 1, 1, g.shared, cuda_side_stream(c->side),
                                              &parameter, NULL));
    } else if (f != NULL) {
        if (cuda_worked(d, "the work on the GPU", mark_operation(d)))
            cuda_worked(d, function, again ? cuda_record_launch(c->recorder, f, shape, args, bytes)
                                      : cuda_launch_unrecorded(c->recorder, f, shape, args));
    } else {
        const bool no_memory = strstr(error, "CUDA_ERROR_OUT_OF_MEMORY") != NULL; /* for the kernel's own code */
        if (!d->failed) d->no_memory = no_memory;
        dev_fail(d, "%s%s", error, no_memory ? little_memory : "");
    }
    cuda_leave(d);
}

void cuda_launch(Dev *d, const char *file, const char *function, const char *macros, CudaGrid g, const void *args)
{
    launch(d, file, function, macros, g, args, true);
}

void cuda_launch_once(Dev *d, const char *file, const char *function, CudaGrid g, const void *args)
{
    launch(d, file, function, "", g, args, false);
}

void cuda_tensor_map(Dev *d, CudaTensorMap *map, CUdeviceptr at, int rank, const uint64_t *sizes, const uint64_t *strides,
                     const uint32_t *box)
{
    enum { UINT8 = 0, NO_INTERLEAVE = 0, SWIZZLE_128 = 3, PROMOTE_128 = 2, FILL_ZERO = 0 };
    static const uint32_t ones[] = {1, 1, 1, 1};
    if (d->plan || d->failed) return;
    struct Cuda *c = d->cuda;
    cuda_enter(d);
    cuda_worked(d, "cuTensorMapEncodeTiled",
           c->driver->tensor_map_tiled((CUtensorMap *)(void *)map, UINT8, (unsigned)rank, (void *)(uintptr_t)at, sizes, strides,
                                       box, ones, NO_INTERLEAVE, SWIZZLE_128, PROMOTE_128, FILL_ZERO));
    cuda_leave(d);
}

/* --------------------------------------------------------------------------------------------------- precision policy */

Element cuda_compute(const Dev *d, int stage, int channels, const BoundWeight *stored)
{
    return policy_element(d->cuda->precision, stage, channels, stored);
}
