/*
 * Copies and fills. What can be refused at the call is refused there, as the real driver does; the same checks are made
 * again when the work runs, because the memory may be gone by then.
 */
#include "tests/emulator/driver.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Pageable sources are read when the call is made, up to this many bytes in all; beyond, the call waits instead. */
#define SNAPSHOT_LIMIT ((uint64_t)128 << 20)

static uint64_t extent(size_t width, size_t height, size_t pitch)
{
    return (uint64_t)(height - 1) * pitch + width;
}

/*
 * The allocation that holds bytes [address, address + bytes). NULL with true: pageable host memory, which is for the
 * operating system to judge. false: out of bounds, or `device` asked for and not met; told on stderr.
 */
static bool range_find(uint64_t address, uint64_t bytes, bool device, const char *what, struct allocation **allocation)
{
    struct allocation *a = *allocation = allocation_find(address);
    if (a == NULL && !device && !pages_contain(address) && address != 0) return true;
    if (a != NULL && bytes <= a->size - (address - a->base)) return true;
    char text[256];
    describe_address(address, text, sizeof text);
    say("%s of %" PRIu64 " bytes is out of bounds: its begin 0x%" PRIx64 "; %s", what, bytes, address, text);
    return false;
}

/* ---------------------------------------------------------------------------------------------------------- running */

/* The same, at the time the work runs: what is missing now was freed or is not yet allocated, in stream order. */
static bool range_check(const struct work *work, uint64_t address, uint64_t bytes, const char *what,
                        struct allocation **allocation)
{
    bool found = range_find(address, bytes, false, what, allocation);
    if (found && (*allocation == NULL || (*allocation)->live)) return true;
    char text[256];
    describe_address(address, text, sizeof text);
    fault(work->context, CUDA_ERROR_ILLEGAL_ADDRESS, "%s of %" PRIu64 " bytes at 0x%" PRIx64 ": %s", what, bytes,
          address, text);
    return false;
}

void run_copy(const struct work *work)
{
    const struct copy_work *c = &work->copy;
    struct allocation *target, *source = NULL;
    if (!range_check(work, c->target, extent(c->width, c->height, c->target_pitch), "copy, target", &target)) return;
    if (c->snapshot == NULL &&
        !range_check(work, c->source, extent(c->width, c->height, c->source_pitch), "copy, source", &source))
        return;
    for (size_t y = 0; y < c->height; y++) {
        uint64_t to = c->target + y * c->target_pitch, from = c->source + y * c->source_pitch;
        if (source != NULL && source->device != NULL) {
            if (target != NULL && target->device != NULL) {
                init_copy(target, to, source, from, c->width);
            } else {
                size_t written = init_run(source, from, c->width);
                if (written < c->width) {
                    fault(work->context, CUDA_ERROR_LAUNCH_FAILED,
                          "copy to the host of %zu bytes at 0x%" PRIx64 ": byte 0x%" PRIx64
                          " was never written (allocation of %" PRIu64 " bytes at 0x%" PRIx64 ")",
                          c->width, from, from + written, source->size, source->base);
                    return;
                }
            }
        } else if (target != NULL) {
            init_mark(target, to, c->width);
        }
        const void *bytes = c->snapshot != NULL ? c->snapshot + y * c->width : (const void *)(uintptr_t)from;
        memmove((void *)(uintptr_t)to, bytes, c->width);
    }
}

void run_fill(const struct work *work)
{
    const struct fill_work *f = &work->fill;
    struct allocation *target;
    if (!range_check(work, f->target, extent(f->width * f->element, f->height, f->pitch), "fill", &target)) return;
    for (size_t y = 0; y < f->height; y++) {
        uint64_t row = f->target + y * f->pitch;
        uint8_t *p = (uint8_t *)(uintptr_t)row;
        if (f->element == 1)
            memset(p, (int)f->value, f->width);
        else
            for (size_t x = 0; x < f->width; x++) memcpy(p + x * f->element, &f->value, f->element);
        if (target != NULL) init_mark(target, row, f->width * f->element);
    }
}

/* ---------------------------------------------------------------------------------------------------- enqueuing */

enum side { SIDE_DEVICE, SIDE_ANY };

static CUresult copy_enqueue(struct context *c, CUstream handle, struct copy_work copy, enum side target_side,
                             enum side source_side, bool synchronous)
{
    struct stream *stream;
    struct allocation *target, *source;
    if (synchronous) {
        CUresult status = capture_forbids();
        if (status != CUDA_SUCCESS) return status;
    }
    CUresult status = stream_resolve(c, handle, &stream);
    if (status != CUDA_SUCCESS || copy.width == 0 || copy.height == 0) return status;
    if (copy.height > 1 && (copy.target_pitch < copy.width || copy.source_pitch < copy.width))
        return refuse(CUDA_ERROR_INVALID_VALUE, "copy of rows of %zu bytes with pitches of %zu and %zu", copy.width,
                      copy.target_pitch, copy.source_pitch);
    uint64_t target_bytes = extent(copy.width, copy.height, copy.target_pitch);
    uint64_t source_bytes = extent(copy.width, copy.height, copy.source_pitch);
    if (!range_find(copy.target, target_bytes, target_side == SIDE_DEVICE, "copy, target", &target) ||
        !range_find(copy.source, source_bytes, source_side == SIDE_DEVICE, "copy, source", &source))
        return CUDA_ERROR_INVALID_VALUE;
    if (copy.height == 1 && copy.target != copy.source && copy.target < copy.source + source_bytes &&
        copy.source < copy.target + target_bytes)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "copy of %zu bytes from 0x%" PRIx64 " to 0x%" PRIx64 " overlaps itself: the result is undefined",
                      copy.width, copy.source, copy.target);
    /* Only device memory and pinned memory can be copied behind the program's back. */
    bool to_host = target == NULL || target->device == NULL, from_host = source == NULL || source->device == NULL;
    bool wait = (synchronous && (to_host || from_host)) || target == NULL;
    if (source == NULL && !wait && stream->capture == NULL) {
        if (copy.height > (SNAPSHOT_LIMIT - emu.snapshot_bytes) / copy.width) {
            wait = true;
        } else {
            emu.snapshot_bytes += copy.width * copy.height;
            copy.snapshot = must_calloc(copy.width, copy.height);
            for (size_t y = 0; y < copy.height; y++)
                memcpy(copy.snapshot + y * copy.width, (const void *)(uintptr_t)(copy.source + y * copy.source_pitch),
                       copy.width);
        }
    }
    struct op *op;
    struct context *owner = stream->context;
    status = stream_enqueue(stream, &(struct work){.kind = WORK_COPY, .context = owner, .copy = copy}, &op);
    if (status == CUDA_SUCCESS && op != NULL) stream->brought = to_host;
    if (status != CUDA_SUCCESS || op == NULL || !wait) return status;
    op_ref(op);
    run_until(op);
    op_unref(op);
    return owner->error;
}

#define copy_1d(...) copy_1d_by(__func__, __VA_ARGS__)
static CUresult copy_1d_by(const char *function, CUstream stream, uint64_t target, uint64_t source, size_t bytes,
                           enum side target_side, enum side source_side, bool synchronous)
{
    struct context *c;
    struct copy_work copy = {.target = target, .source = source, .width = bytes, .height = 1};
    CUresult status = enter_by(function, &c);
    if (status == CUDA_SUCCESS) status = copy_enqueue(c, stream, copy, target_side, source_side, synchronous);
    return leave(status);
}

CUresult cuMemcpy(CUdeviceptr target, CUdeviceptr source, size_t bytes)
{
    return copy_1d(NULL, target, source, bytes, SIDE_ANY, SIDE_ANY, true);
}

CUresult cuMemcpyAsync(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    return copy_1d(stream, target, source, bytes, SIDE_ANY, SIDE_ANY, false);
}

CUresult cuMemcpyHtoD_v2(CUdeviceptr target, const void *source, size_t bytes)
{
    return copy_1d(NULL, target, (uint64_t)(uintptr_t)source, bytes, SIDE_DEVICE, SIDE_ANY, true);
}

CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr target, const void *source, size_t bytes, CUstream stream)
{
    return copy_1d(stream, target, (uint64_t)(uintptr_t)source, bytes, SIDE_DEVICE, SIDE_ANY, false);
}

CUresult cuMemcpyDtoH_v2(void *target, CUdeviceptr source, size_t bytes)
{
    return copy_1d(NULL, (uint64_t)(uintptr_t)target, source, bytes, SIDE_ANY, SIDE_DEVICE, true);
}

CUresult cuMemcpyDtoHAsync_v2(void *target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    return copy_1d(stream, (uint64_t)(uintptr_t)target, source, bytes, SIDE_ANY, SIDE_DEVICE, false);
}

CUresult cuMemcpyDtoD_v2(CUdeviceptr target, CUdeviceptr source, size_t bytes)
{
    return copy_1d(NULL, target, source, bytes, SIDE_DEVICE, SIDE_DEVICE, true);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    return copy_1d(stream, target, source, bytes, SIDE_DEVICE, SIDE_DEVICE, false);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr target, CUcontext target_context, CUdeviceptr source, CUcontext source_context,
                           size_t bytes, CUstream stream)
{
    struct context *c;
    struct copy_work copy = {.target = target, .source = source, .width = bytes, .height = 1};
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS &&
        (!handle_is(target_context, HANDLE_CONTEXT) || !handle_is(source_context, HANDLE_CONTEXT)))
        status = CUDA_ERROR_INVALID_CONTEXT;
    if (status == CUDA_SUCCESS) status = copy_enqueue(c, stream, copy, SIDE_DEVICE, SIDE_DEVICE, false);
    return leave(status);
}

/* Unlike the copies above, the real one waits for all work of both contexts that came before. */
CUresult cuMemcpyPeer(CUdeviceptr target, CUcontext target_context, CUdeviceptr source, CUcontext source_context,
                      size_t bytes)
{
    CUresult status = enter_driver();
    if (status == CUDA_SUCCESS &&
        (!handle_is(target_context, HANDLE_CONTEXT) || !handle_is(source_context, HANDLE_CONTEXT)))
        status = CUDA_ERROR_INVALID_CONTEXT;
    if (status == CUDA_SUCCESS) {
        run_context(target_context);
        run_context(source_context);
    }
    leave(status);
    return status == CUDA_SUCCESS ? cuMemcpyPeerAsync(target, target_context, source, source_context, bytes, NULL)
                                  : status;
}

/* One side of a CUDA_MEMCPY2D; false: an array, which the emulator has not. */
static bool side_2d(int type, const void *host, CUdeviceptr device, size_t x, size_t y, size_t pitch, uint64_t *address,
                    enum side *side)
{
    *side = type == CU_MEMORYTYPE_DEVICE ? SIDE_DEVICE : SIDE_ANY;
    *address = (type == CU_MEMORYTYPE_HOST ? (uint64_t)(uintptr_t)host : device) + y * pitch + x;
    return type == CU_MEMORYTYPE_HOST || type == CU_MEMORYTYPE_DEVICE || type == CU_MEMORYTYPE_UNIFIED;
}

#define copy_2d(...) copy_2d_by(__func__, __VA_ARGS__)
static CUresult copy_2d_by(const char *function, const CUDA_MEMCPY2D *p, CUstream stream, bool synchronous)
{
    struct context *c;
    struct copy_work copy = {0};
    enum side target_side, source_side;
    CUresult status = enter_by(function, &c);
    if (status == CUDA_SUCCESS && p == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    copy.width = p->WidthInBytes;
    copy.height = p->Height;
    copy.target_pitch = p->dstPitch != 0 ? p->dstPitch : p->WidthInBytes;
    copy.source_pitch = p->srcPitch != 0 ? p->srcPitch : p->WidthInBytes;
    if (!side_2d(p->dstMemoryType, p->dstHost, p->dstDevice, p->dstXInBytes, p->dstY, copy.target_pitch, &copy.target,
                 &target_side) ||
        !side_2d(p->srcMemoryType, p->srcHost, p->srcDevice, p->srcXInBytes, p->srcY, copy.source_pitch, &copy.source,
                 &source_side))
        return leave(refuse(CUDA_ERROR_NOT_SUPPORTED, "cuMemcpy2D: arrays are not emulated"));
    return leave(copy_enqueue(c, stream, copy, target_side, source_side, synchronous));
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *copy)
{
    return copy_2d(copy, NULL, true);
}

CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *copy)
{
    return copy_2d(copy, NULL, true);
}

CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *copy, CUstream stream)
{
    return copy_2d(copy, stream, false);
}

/* Fills do not wait for the device, not even those without a stream; a pitch of 0 is that of one row. */
#define fill(...) fill_by(__func__, __VA_ARGS__)
static CUresult fill_by(const char *function, CUstream handle, struct fill_work f)
{
    struct context *c;
    struct stream *stream;
    struct allocation *target;
    CUresult status = enter_by(function, &c);
    if (status == CUDA_SUCCESS) status = stream_resolve(c, handle, &stream);
    if (status != CUDA_SUCCESS || f.width == 0 || f.height == 0) return leave(status);
    if (f.width > SIZE_MAX / 4 / f.height) return leave(CUDA_ERROR_INVALID_VALUE);
    if (f.target % f.element != 0 || f.pitch % f.element != 0)
        return leave(
            refuse(CUDA_ERROR_INVALID_VALUE, "fill of 0x%" PRIx64 ": not a multiple of %u bytes", f.target, f.element));
    if (f.height > 1 && f.pitch < f.width * f.element) return leave(CUDA_ERROR_INVALID_VALUE);
    if (!range_find(f.target, extent(f.width * f.element, f.height, f.pitch), true, "fill", &target))
        return leave(CUDA_ERROR_INVALID_VALUE);
    return leave(
        stream_enqueue(stream, &(struct work){.kind = WORK_FILL, .context = stream->context, .fill = f}, NULL));
}

CUresult cuMemsetD8Async(CUdeviceptr target, unsigned char value, size_t count, CUstream stream)
{
    return fill(stream,
                (struct fill_work){.target = target, .value = value, .element = 1, .width = count, .height = 1});
}

CUresult cuMemsetD16Async(CUdeviceptr target, unsigned short value, size_t count, CUstream stream)
{
    return fill(stream,
                (struct fill_work){.target = target, .value = value, .element = 2, .width = count, .height = 1});
}

CUresult cuMemsetD32Async(CUdeviceptr target, unsigned value, size_t count, CUstream stream)
{
    return fill(stream,
                (struct fill_work){.target = target, .value = value, .element = 4, .width = count, .height = 1});
}

CUresult cuMemsetD8_v2(CUdeviceptr target, unsigned char value, size_t count)
{
    return cuMemsetD8Async(target, value, count, NULL);
}

CUresult cuMemsetD16_v2(CUdeviceptr target, unsigned short value, size_t count)
{
    return cuMemsetD16Async(target, value, count, NULL);
}

CUresult cuMemsetD32_v2(CUdeviceptr target, unsigned value, size_t count)
{
    return cuMemsetD32Async(target, value, count, NULL);
}

CUresult cuMemsetD2D8_v2(CUdeviceptr target, size_t pitch, unsigned char value, size_t width, size_t height)
{
    return fill(NULL, (struct fill_work){target, value, 1, width, height, pitch});
}

CUresult cuMemsetD2D32_v2(CUdeviceptr target, size_t pitch, unsigned value, size_t width, size_t height)
{
    return fill(NULL, (struct fill_work){target, value, 4, width, height, pitch});
}
