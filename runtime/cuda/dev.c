/* The CUDA device: opening, memory, copies, launches, host access, the table of its operations. */
#include "runtime/cuda/policy.h"
#include "runtime/cuda/predict.h"
#include "runtime/cuda/block.h"
#include "runtime/cuda/pieces.h"
#include "runtime/cuda/outgoing.h"
#include "runtime/cuda/recorder.h"
#include "runtime/cuda/staging.h"
#include "runtime/cuda/watch.h"
#include "runtime/cuda/weight_room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct Cuda {
    CudaDevice device;
    DevSetup setup;
    DevPrecision precision;
    const CudaDriver *driver; /* NULL on a plan, as all below */
    CUdevice number;
    CUcontext context; /* NULL: not opened */
    int inside;        /* how often it was made current and not yet given up */
    CUstream stream;
    CudaRecorder *recorder; /* of the stream: all work goes through it */
    CudaSide *side;
    CudaStaging *staging;
    CudaOutgoing *outgoing;
    struct {
        const void *out; /* NULL: none */
        uint64_t bytes;  /* the words lie behind them */
        CudaWords words;
    } leaving[OUTGOING_MOST];
    bool aside;             /* launches and fills go to the side stream, now */
    bool leaves_streamed;   /* an operation has read weights that make room for others */
    uint64_t left;          /* which one */
    CudaKernels *kernels;
    CudaBlock block;   /* weights, where a plan found how much they need, and behind them the arena */
    CUdeviceptr arena;
    struct CudaWeights *weights; /* dev_weights.c */
    Prediction prediction;       /* of a plan's launches */
    double foreseen;             /* operations that the products among them had */
    double expected;             /* of the next launch of attention, in whole tiles */
    double launch_limit;         /* seconds; 0: LAUNCH_SECONDS */
    CudaWatch *watch;
};

/* ------------------------------------------------------------------------------------------------------------ status */

bool cuda_planning(const Dev *d) { return d->plan; }
const CudaDevice *cuda_device_of(const Dev *d) { return &d->cuda->device; }
const DevSetup *cuda_setup_of(const Dev *d) { return &d->cuda->setup; }
struct CudaWeights **cuda_weights_of(const Dev *d) { return &d->cuda->weights; }
CudaWatch *cuda_watch_of(const Dev *d) { return d->cuda->watch; }
void cuda_watch(Dev *d, CudaWatch *w) { d->cuda->watch = w; }
double cuda_launch_limit(const Dev *d) { return d->cuda->launch_limit > 0 ? d->cuda->launch_limit : LAUNCH_SECONDS; }
void cuda_limit_launches(Dev *d, double seconds) { d->cuda->launch_limit = seconds; }

/* The context is made current around the driver's calls alone: a program may have its own. Calls within calls find it so, and
 * whoever gives out much work enters for all of it (dev_enter). */
static void enter(struct Cuda *c)
{
    if (c->inside++ == 0) c->driver->context_push(c->context);
}

static void leave(struct Cuda *c)
{
    CUcontext popped;
    if (--c->inside == 0) c->driver->context_pop(&popped);
}

static void cuda_enter(Dev *d) { enter(d->cuda); }
static void cuda_leave(Dev *d) { leave(d->cuda); }

static const char little_memory[] =
    ": the GPU's memory does not suffice; free it elsewhere, give a smaller --memory, or use smaller tiles";

/* Latches what the driver says. */
static bool worked(Dev *d, const char *what, CUresult status)
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

/* Not recorded. Memory that is not pinned is read before the call returns, other memory in its turn. */
static void copy_now(Dev *d, CUdeviceptr to, const void *from, uint64_t bytes)
{
    struct Cuda *c = d->cuda;
    if (!worked(d, "the work on the GPU", cuda_recorder_flush(c->recorder))) return;
    worked(d, "cuMemcpyHtoDAsync", c->driver->copy_in(to, from, bytes, c->stream));
}

void cuda_copy_in(Dev *d, CUdeviceptr to, const void *from, uint64_t bytes)
{
    if (d->plan || d->failed || bytes == 0) return;
    struct Cuda *c = d->cuda;
    enter(c);
    if (bytes <= RECORD_COPY_MAX) worked(d, "copying to the GPU", cuda_record_copy(c->recorder, to, from, bytes));
    else copy_now(d, to, from, bytes);
    leave(c);
}

void cuda_fill(Dev *d, CUdeviceptr to, uint8_t value, uint64_t bytes)
{
    if (d->plan || d->failed || bytes == 0) return;
    struct Cuda *c = d->cuda;
    enter(c);
    worked(d, "cuMemsetD8Async", c->aside ? c->driver->fill8(to, value, bytes, cuda_side_stream(c->side))
                                          : cuda_record_fill(c->recorder, to, value, bytes));
    leave(c);
}

void cuda_wait(Dev *d)
{
    if (d->plan) return;
    struct Cuda *c = d->cuda;
    enter(c);
    const CUresult flushed = cuda_recorder_flush(c->recorder);
    if (c->aside) worked(d, "cuStreamWaitEvent", cuda_side_end(c->side));
    const CUresult done = c->driver->stream_synchronize(c->stream);
    if (worked(d, "the work on the GPU", flushed != 0 ? flushed : done)) {
        cuda_staging_idle(c->staging);
        cuda_weights_check(d);
    }
    leave(c);
}

static void cuda_time_begin(Dev *d)
{
    enter(d->cuda);
    worked(d, "the work on the GPU", cuda_recorder_time_begin(d->cuda->recorder));
    leave(d->cuda);
}

static double cuda_time_end(Dev *d)
{
    double seconds;
    enter(d->cuda);
    worked(d, "the work on the GPU", cuda_recorder_time_end(d->cuda->recorder, &seconds));
    leave(d->cuda);
    cuda_wait(d);
    return seconds;
}

CUdeviceptr cuda_memory_take(Dev *d, uint64_t bytes)
{
    CUdeviceptr address = 0;
    if (d->plan || d->failed) return 0;
    enter(d->cuda);
    worked(d, "cuMemAlloc of weights", d->cuda->driver->memory_take(&address, bytes));
    leave(d->cuda);
    return address;
}

void cuda_memory_give(Dev *d, CUdeviceptr address)
{
    if (d->plan || address == 0) return;
    enter(d->cuda);
    d->cuda->driver->memory_give(address);
    leave(d->cuda);
}

void cuda_copy_out(Dev *d, void *to, CUdeviceptr from, uint64_t bytes)
{
    if (d->plan || d->failed || bytes == 0) return;
    enter(d->cuda);
    if (worked(d, "the work on the GPU", cuda_recorder_flush(d->cuda->recorder))) {
        worked(d, "cuMemcpyDtoHAsync", d->cuda->driver->copy_out(to, from, bytes, d->cuda->stream));
    }
    leave(d->cuda);
}

CUdeviceptr cuda_upload(Dev *d, uint64_t bytes, StagingFill *fill, const void *context)
{
    CUdeviceptr at = 0;
    if (d->plan || d->failed || bytes == 0) return 0;
    enter(d->cuda);
    worked(d, "copying weights to the GPU", cuda_staging_upload(d->cuda->staging, bytes, fill, context, &at));
    leave(d->cuda);
    return at;
}

void cuda_aside_begin(Dev *d, uint64_t after)
{
    if (d->plan || d->failed) return;
    struct Cuda *c = d->cuda;
    enter(c);
    CUresult status = cuda_recorder_flush_once(c->recorder); /* the main stream goes on meanwhile */
    if (status == 0) status = cuda_side_begin(c->side, d->totals.operations, after);
    c->aside = worked(d, "the work on the GPU", status);
    leave(c);
}

void cuda_aside_end(Dev *d)
{
    struct Cuda *c = d->cuda;
    if (d->plan || !c->aside) return;
    c->aside = false;
    if (d->failed) return;
    enter(c);
    worked(d, "cuStreamWaitEvent", cuda_side_end(c->side));
    leave(c);
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

/* ------------------------------------------------------------------------------------------------------- host access */

/* Elements from the first of x to its last, gaps of views among them. */
static uint64_t span_of(Tensor x)
{
    return (uint64_t)((x.t - 1) * x.stride_t + (x.h - 1) * x.stride_h + (int64_t)(x.w - 1) * x.c_pad) +
           (uint64_t)element_pad((Element)x.type, x.c);
}

static float bf16_to_float(uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* To nearest, ties to even; a NaN stays one. */
static uint16_t float_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

/* What x has, and nothing between: that may never have been written. What follows without a gap goes in one copy. */
static void copy_elements_out(Dev *d, Tensor x, uint8_t *to)
{
    const uint64_t size = (uint64_t)element_bytes((Element)x.type);
    const int pixel = element_pad((Element)x.type, x.c);
    const bool pixels = x.c_pad == pixel, rows = pixels && x.stride_h == (int64_t)x.w * x.c_pad;
    const bool frames = rows && x.stride_t == x.h * x.stride_h;
    const int64_t run = frames ? x.t * x.stride_t : rows ? x.h * x.stride_h : pixels ? (int64_t)x.w * x.c_pad : pixel;
    for (int t = 0; t < (frames ? 1 : x.t); t++) {
        for (int h = 0; h < (rows ? 1 : x.h); h++) {
            for (int w = 0; w < (pixels ? 1 : x.w); w++) {
                const uint64_t at = size * (uint64_t)(t * x.stride_t + h * x.stride_h + (int64_t)w * x.c_pad);
                cuda_copy_out(d, to + at, cuda_at(d, x) + at, size * (uint64_t)run);
            }
        }
    }
}

/* Pinned memory for the floats of x. */
static float *take_values(Dev *d, Tensor x)
{
    enter(d->cuda);
    float *values = cuda_buffer_take(d->cuda->staging, span_of(x) * sizeof *values);
    leave(d->cuda);
    if (values == NULL) dev_fail(d, "out of memory for %llu bytes of frames", (unsigned long long)(span_of(x) * sizeof *values));
    return values;
}

/* Elements at the end of the memory to floats in all of it: none is overwritten before it was read. */
static void widen(float *values, const uint8_t *raw, uint64_t count, Element type)
{
    for (uint64_t i = 0; type == ELEMENT_BF16 && i < count; i++) {
        uint16_t bits;
        memcpy(&bits, raw + 2 * i, sizeof bits);
        values[i] = bf16_to_float(bits);
    }
    for (uint64_t i = 0; type == ELEMENT_U8 && i < count; i++) values[i] = raw[i];
    for (uint64_t i = 0; type == ELEMENT_I8 && i < count; i++) values[i] = (int8_t)raw[i];
}

static void cuda_read_end(Dev *d, const float *values)
{
    cuda_buffer_give(d->cuda->staging, (void *)values);
}

static const float *cuda_read(Dev *d, Tensor x)
{
    const uint64_t count = span_of(x), bytes = count * (uint64_t)element_bytes((Element)x.type);
    float *values = take_values(d, x);
    if (values == NULL) return NULL;
    uint8_t *raw = (uint8_t *)(values + count) - bytes;
    copy_elements_out(d, x, raw);
    cuda_wait(d);
    if (!d->failed) widen(values, raw, count, (Element)x.type);
    if (!d->failed) return values;
    cuda_read_end(d, values);
    return NULL;
}

/* While the host makes the values the device works on what was given out. */
static float *cuda_write(Dev *d, Tensor x)
{
    enter(d->cuda);
    worked(d, "the work on the GPU", cuda_recorder_flush(d->cuda->recorder));
    leave(d->cuda);
    return d->failed ? NULL : take_values(d, x);
}

/* Floats to elements, in place: none is written before the float at its place was read. */
static void narrow(void *values, uint64_t count, Element type)
{
    const float *from = values;
    uint8_t *to = values;
    for (uint64_t i = 0; type == ELEMENT_BF16 && i < count; i++) {
        const uint16_t bits = float_to_bf16(from[i]);
        memcpy(to + 2 * i, &bits, sizeof bits);
    }
    for (uint64_t i = 0; type == ELEMENT_U8 && i < count; i++) {
        const float value = from[i];
        to[i] = (uint8_t)value;
    }
}

static void cuda_write_end(Dev *d, Tensor x, float *values)
{
    const uint64_t count = span_of(x);
    narrow(values, count, (Element)x.type);
    enter(d->cuda);
    if (!d->failed) { /* not recorded: what comes from outside is never the same again */
        copy_now(d, cuda_at(d, x), values, count * (uint64_t)element_bytes((Element)x.type));
        worked(d, "cuEventRecord", cuda_buffer_sent(d->cuda->staging, values));
    }
    cuda_buffer_give(d->cuda->staging, values);
    leave(d->cuda);
}

/* Raw bytes, by way of pinned memory. Not recorded: frames are never the same again. */
void cuda_bytes_in(Dev *d, Tensor x, const void *from, uint64_t bytes)
{
    if (d->plan || d->failed || bytes == 0) return;
    struct Cuda *c = d->cuda;
    enter(c);
    void *buffer = cuda_buffer_take(c->staging, bytes);
    if (buffer == NULL) {
        dev_fail(d, "out of memory for %llu bytes of frames", (unsigned long long)bytes);
    } else {
        memcpy(buffer, from, bytes);
        copy_now(d, cuda_at(d, x), buffer, bytes);
        if (!d->failed) worked(d, "cuEventRecord", cuda_buffer_sent(c->staging, buffer));
        cuda_buffer_give(c->staging, buffer);
    }
    leave(c);
}

void cuda_bytes_out(Dev *d, Tensor x, void *to, uint64_t bytes)
{
    if (d->plan || d->failed || bytes == 0) return;
    enter(d->cuda);
    void *buffer = cuda_buffer_take(d->cuda->staging, bytes);
    leave(d->cuda);
    if (buffer == NULL) {
        dev_fail(d, "out of memory for %llu bytes of frames", (unsigned long long)bytes);
        return;
    }
    cuda_copy_out(d, buffer, cuda_at(d, x), bytes);
    cuda_wait(d);
    if (!d->failed) memcpy(to, buffer, bytes);
    cuda_buffer_give(d->cuda->staging, buffer);
}

_Static_assert((int)DEV_OUT_MOST == (int)OUTGOING_MOST, "as many as dev.h says");

const void *cuda_out_begin(Dev *d, Tensor x, uint64_t bytes)
{
    struct Cuda *c = d->cuda;
    const CudaWords words = cuda_weights_words(d);
    const OutgoingPart part[2] = {{cuda_at(d, x), bytes}, {words.at, words.count * sizeof(uint32_t)}};
    enter(c);
    void *buffer = cuda_buffer_take(c->staging, bytes + WEIGHT_WORDS * sizeof(uint32_t));
    if (buffer == NULL) {
        dev_fail(d, "out of memory for %llu bytes of frames", (unsigned long long)bytes);
    } else if (!worked(d, "the work on the GPU", cuda_recorder_flush(c->recorder)) ||
               !worked(d, "cuMemcpyDtoHAsync", cuda_outgoing_send(c->outgoing, buffer, part))) {
        cuda_buffer_give(c->staging, buffer);
        buffer = NULL;
    }
    leave(c);
    for (int i = 0; i < OUTGOING_MOST && buffer != NULL; i++) {
        if (c->leaving[i].out != NULL) continue;
        c->leaving[i].out = buffer;
        c->leaving[i].bytes = bytes;
        c->leaving[i].words = words;
        break;
    }
    return buffer;
}

static int leaving_at(const struct Cuda *c, const void *out)
{
    int i = 0;
    while (c->leaving[i].out != out) i++;
    return i;
}

bool cuda_out_wait(Dev *d, const void *out)
{
    struct Cuda *c = d->cuda;
    const int i = leaving_at(c, out);
    enter(c);
    if (!d->failed) worked(d, "the work on the GPU", cuda_recorder_flush(c->recorder)); /* the device goes on meanwhile */
    const bool there = worked(d, "the work on the GPU", cuda_outgoing_wait(c->outgoing, out));
    leave(c);
    return there && cuda_weights_good(d, &c->leaving[i].words, (const uint8_t *)out + c->leaving[i].bytes);
}

void cuda_out_end(Dev *d, const void *out)
{
    struct Cuda *c = d->cuda;
    c->leaving[leaving_at(c, out)].out = NULL;
    cuda_outgoing_forget(c->outgoing, out);
    cuda_buffer_give(c->staging, (void *)out);
}

void cuda_out_clear(Dev *d)
{
    struct Cuda *c = d->cuda;
    enter(c);
    if (worked(d, "the work on the GPU", cuda_recorder_flush(c->recorder)))
        worked(d, "cuStreamWaitEvent", cuda_outgoing_clear(c->outgoing));
    leave(c);
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
    enter(c);
    size_t bytes = 0;
    CUfunction f = cuda_kernel(c->kernels, file, function, macros, g.shared, &bytes, error, sizeof error);
    count_kernels(d);
    const CudaLaunchShape shape = {g.x, g.y, g.z, g.threads, g.shared};
    if (f != NULL && c->aside) {
        void *parameter = (void *)args;
        worked(d, function, c->driver->launch(f, g.x, g.y, g.z, g.threads, 1, 1, g.shared, cuda_side_stream(c->side),
                                              &parameter, NULL));
    } else if (f != NULL) {
        if (worked(d, "the work on the GPU", mark_operation(d)))
            worked(d, function, again ? cuda_record_launch(c->recorder, f, shape, args, bytes)
                                      : cuda_launch_unrecorded(c->recorder, f, shape, args));
    } else {
        const bool no_memory = strstr(error, "CUDA_ERROR_OUT_OF_MEMORY") != NULL; /* for the kernel's own code */
        if (!d->failed) d->no_memory = no_memory;
        dev_fail(d, "%s%s", error, no_memory ? little_memory : "");
    }
    leave(c);
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
    enter(c);
    worked(d, "cuTensorMapEncodeTiled",
           c->driver->tensor_map_tiled((CUtensorMap *)(void *)map, UINT8, (unsigned)rank, (void *)(uintptr_t)at, sizes, strides,
                                       box, ones, NO_INTERLEAVE, SWIZZLE_128, PROMOTE_128, FILL_ZERO));
    leave(c);
}

/* --------------------------------------------------------------------------------------------------- precision policy */

Element cuda_compute(const Dev *d, int stage, int channels, const BoundWeight *stored)
{
    return policy_element(d->cuda->precision, stage, channels, stored);
}

/* ------------------------------------------------------------------------------------------------------------ device */

static void cuda_close(Dev *d)
{
    struct Cuda *c = d->cuda;
    if (c->context != NULL) {
        enter(c);
        if (c->stream != NULL) c->driver->stream_synchronize(c->stream);
        cuda_side_close(c->side); /* after a failure nobody waited for it */
        leave(c);
    }
    cuda_weights_close(d);
    if (c->context != NULL) {
        enter(c);
        cuda_outgoing_close(c->outgoing);
        cuda_staging_close(c->staging);
        cuda_recorder_close(c->recorder);
        cuda_kernels_close(c->kernels);
        cuda_block_give(&c->block, c->driver);
        if (c->stream != NULL) c->driver->stream_destroy(c->stream);
        leave(c);
        c->driver->context_release(c->number);
    }
    free(c);
    d->cuda = NULL;
}

CudaRecorderCounts cuda_counts(const Dev *d) { return cuda_recorder_counts(d->cuda->recorder); }
CudaSideCounts cuda_uploads_ahead(const Dev *d) { return cuda_side_counts(d->cuda->side); }

static uint64_t aligned(uint64_t bytes) { return (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN; }

/* The arena's place is at the end, so that all before it can be the weights'. */
static void cuda_phase(Dev *d, uint64_t arena_bytes)
{
    struct Cuda *c = d->cuda;
    const uint64_t arena = aligned(arena_bytes > 0 ? arena_bytes : 1), planned = aligned(cuda_weights_planned(&c->setup));
    if (d->plan || d->failed || planned == 0 || arena > c->block.bytes - planned) return;
    c->arena = c->block.address + c->block.bytes - arena;
    const uint64_t peak = d->arena.peak;
    arena_close(&d->arena);
    arena_init(&d->arena, arena_bytes);
    d->arena.peak = peak;
    cuda_weights_resize(d, c->block.bytes - arena);
}

static const DevOps cuda_ops = {
    .conv3d = cuda_conv3d,
    .upsample = cuda_upsample,
    .linear = cuda_linear,
    .norm = cuda_norm,
    .stats = cuda_stats,
    .attention = cuda_attention,
    .block_attention = cuda_block_attention,
    .block_mask = cuda_block_mask,
    .rotate = cuda_rotate,
    .rows = cuda_rows,
    .axpby = cuda_axpby,
    .from_planes = cuda_from_planes,
    .to_planes = cuda_to_planes,
    .noise = cuda_noise,
    .input_noise = cuda_input_noise,
    .resize = cuda_resize,
    .color = cuda_color,
    .from_codes = cuda_from_codes,
    .to_codes = cuda_to_codes,
    .bytes_in = cuda_bytes_in,
    .bytes_out = cuda_bytes_out,
    .out_begin = cuda_out_begin,
    .out_wait = cuda_out_wait,
    .out_end = cuda_out_end,
    .out_clear = cuda_out_clear,
    .guide = cuda_guide,
    .modulation = cuda_modulation,
    .modulation_row = cuda_modulation_row,
    .history = cuda_history,
    .fold = cuda_fold,
    .fold_nearest = cuda_fold_nearest,
    .fold_free = cuda_fold_free,
    .fold_state = cuda_fold_state,
    .read = cuda_read,
    .read_end = cuda_read_end,
    .write = cuda_write,
    .write_end = cuda_write_end,
    .enter = cuda_enter,
    .leave = cuda_leave,
    .wait = cuda_wait,
    .time_begin = cuda_time_begin,
    .time_end = cuda_time_end,
    .phase = cuda_phase,
    .weight_group = cuda_weight_group,
    .totals = cuda_weights_totals,
    .close = cuda_close,
};

bool cuda_attach(Dev *d, const DevSetup *s, char *error, size_t error_size)
{
    static const char *const names[] = {"fp32", "bf16", "int8", "fp8", "fp8x3", "auto"};
    d->cuda = calloc(1, sizeof *d->cuda);
    if (d->cuda == NULL) {
        snprintf(error, error_size, "out of memory");
        return false;
    }
    d->ops = &cuda_ops;
    d->activation = s->precision == DEV_FP32 ? ELEMENT_F32 : ELEMENT_BF16;
    d->threads = s->threads;
    d->cuda->device = *s->cuda;
    d->cuda->setup = *s;
    d->cuda->setup.cuda = &d->cuda->device;
    d->cuda->precision = s->precision;
    snprintf(d->describe, sizeof d->describe, "cuda:%d %.60s, precision %s", s->cuda->ordinal, s->cuda->name, names[s->precision]);
    return true;
}

CUdeviceptr cuda_weight_memory(const Dev *d) { return d->cuda->block.address; }

/* Stream, block of memory, and what goes with them. */
static CUresult take_parts(struct Cuda *c, uint64_t arena_bytes)
{
    const uint64_t arena = aligned(arena_bytes > 0 ? arena_bytes : 1);
    CUresult status = c->driver->stream_create(&c->stream, CU_STREAM_NON_BLOCKING);
    if (status == 0) status = cuda_block_take(&c->block, c->driver, c->number, aligned(cuda_weights_planned(&c->setup)) + arena);
    if (status != 0) return status;
    c->arena = c->block.address + c->block.bytes - arena;
    c->recorder = cuda_recorder_open(c->driver, c->stream);
    c->side = cuda_side_open(c->driver, c->stream);
    c->outgoing = cuda_outgoing_open(c->driver, c->stream);
    if (c->recorder != NULL && c->side != NULL && c->outgoing != NULL)
        c->staging = cuda_staging_open(c->driver, c->stream, c->side, c->setup.threads);
    return 0;
}

static bool refuse(Dev *d, CUresult status, uint64_t arena_bytes, char *error, size_t error_size)
{
    char text[256];
    cuda_status_text(d->cuda->driver, "opening the device", status, text, sizeof text);
    d->no_memory = status == CUDA_ERROR_OUT_OF_MEMORY;
    if (d->no_memory) {
        const uint64_t bytes = arena_bytes + cuda_weights_planned(&d->cuda->setup);
        snprintf(error, error_size, "cuda:%d cannot give %llu bytes of working memory (%s); ask for smaller tiles or a smaller "
                 "--batch-size", d->cuda->device.ordinal, (unsigned long long)bytes, text);
    } else {
        snprintf(error, error_size, "cuda:%d: %s", d->cuda->device.ordinal, text);
    }
    return false;
}

/* Drivers for Windows put memory that a card has no room for into the host's, at a tenth of the speed or less. */
static bool is_spilled(Dev *d, char *error, size_t error_size)
{
    const uint64_t least = (uint64_t)64 << 20; /* filling less takes no longer than starting to: that says nothing */
    struct Cuda *c = d->cuda;
    if (!c->setup.may_spill || c->device.bandwidth_gbs <= 0 || c->block.bytes < least) return false;
    enter(c);
    const double rate = cuda_block_rate(&c->block, c->driver, c->stream), own = c->device.bandwidth_gbs;
    leave(c);
    if (rate == 0 || rate >= 0.3 * own) return false;
    d->no_memory = true;
    snprintf(error, error_size, "cuda:%d gives %llu bytes that are filled at %.3g of its %.3g GB/s: the driver put some of them into "
             "the host's memory; close other programs that use the GPU, or give a smaller --memory",
             c->device.ordinal, (unsigned long long)c->block.bytes, rate, own);
    return true;
}

bool cuda_start(Dev *d, uint64_t arena_bytes, char *error, size_t error_size)
{
    struct Cuda *c = d->cuda;
    c->driver = cuda_driver(error, error_size);
    if (c->driver == NULL) return false;
    CUresult status = c->driver->device_get(&c->number, c->device.ordinal);
    if (status == 0) status = c->driver->context_retain(&c->context, c->number);
    if (status == 0) {
        enter(c);
        status = take_parts(c, arena_bytes);
        if (c->staging != NULL) c->kernels = cuda_kernels_open(c->driver, &c->device, error, error_size);
        leave(c);
    }
    if (status != 0) return refuse(d, status, arena_bytes, error, error_size);
    if (c->staging == NULL) snprintf(error, error_size, "out of memory");
    if (c->kernels == NULL || is_spilled(d, error, error_size)) return false;
    cuda_weights_start(d);
    if (d->failed) snprintf(error, error_size, "%s", d->error);
    return !d->failed;
}
