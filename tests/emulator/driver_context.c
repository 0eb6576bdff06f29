/*
 * The lock, entering and leaving the driver, each thread's stack of contexts; contexts and what is set for them.
 */
#include "tests/emulator/driver.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The calling thread runs a host function of a stream, which must not use the driver. */
static _Thread_local bool in_callback;

enum { STACK_DEPTH = 64 };
static _Thread_local struct {
    struct context *contexts[STACK_DEPTH];
    int depth;
} stack;

/* --------------------------------------------------------------------------------------------- entering and leaving */

struct context *current_context(void)
{
    return stack.depth > 0 ? stack.contexts[stack.depth - 1] : NULL;
}

/* The call that fail_call asks for: *status is what it returns. */
static bool call_injected_failure(const char *function, CUresult *status)
{
    const struct options *o = &emu.options;
    if (o->fail_call.name[0] == '\0' || strcmp(function, o->fail_call.name) != 0) return false;
    emu.failing_calls++;
    if (o->fail_call.onwards ? emu.failing_calls < o->fail_call.number : emu.failing_calls != o->fail_call.number) return false;
    *status = refuse((CUresult)o->fail_call.status, "call %" PRIu64 " of %s fails, as fail_call asks", emu.failing_calls,
                     function);
    return true;
}

CUresult enter_driver_by(const char *function)
{
    CUresult status;
    pthread_mutex_lock(&lock);
    count_call(function);
    if (in_callback) return refuse(CUDA_ERROR_NOT_PERMITTED, "a host function put on a stream called the driver");
    if (call_injected_failure(function, &status)) return status;
    return emu.initialised ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult enter_by(const char *function, struct context **context)
{
    CUresult status = enter_driver_by(function);
    if (status != CUDA_SUCCESS) return status;
    *context = current_context();
    if (*context == NULL || !handle_is(*context, HANDLE_CONTEXT)) return CUDA_ERROR_INVALID_CONTEXT;
    return (*context)->error;
}

CUresult leave(CUresult status)
{
    pthread_mutex_unlock(&lock);
    return status;
}

void unlock_for_callback(void)
{
    in_callback = true;
    pthread_mutex_unlock(&lock);
}

void lock_after_callback(void)
{
    pthread_mutex_lock(&lock);
    in_callback = false;
}

void lock_yield(void)
{
    pthread_mutex_unlock(&lock);
    sched_yield();
    pthread_mutex_lock(&lock);
}

/* --------------------------------------------------------------------------------------------------------- contexts */

static struct context *context_make(struct device *device, bool primary, unsigned flags)
{
    struct context *c = must_calloc(1, sizeof *c);
    c->device = device;
    c->primary = primary;
    c->flags = flags;
    context_streams_make(c);
    handle_add(c, HANDLE_CONTEXT);
    return c;
}

static void context_free(struct context *c)
{
    run_context(c);
    modules_of_context_free(c);
    allocations_of_context_free(c);
    context_streams_free(c);
    handle_remove(c);
    free(c);
}

static CUresult stack_push(struct context *c)
{
    if (stack.depth == STACK_DEPTH) return refuse(CUDA_ERROR_INVALID_VALUE, "%d contexts are pushed", STACK_DEPTH);
    stack.contexts[stack.depth++] = c;
    return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device)
{
    struct device *d;
    CUresult status = enter_device(device, context, &d);
    if (status != CUDA_SUCCESS) return leave(status);
    struct context *c = context_make(d, false, flags);
    status = stack_push(c);
    if (status == CUDA_SUCCESS)
        *context = c;
    else
        context_free(c);
    return leave(status);
}

CUresult cuCtxCreate_v3(CUcontext *context, void *affinity, int count, unsigned flags, CUdevice device)
{
    if (affinity != NULL || count != 0) return CUDA_ERROR_NOT_SUPPORTED;
    return cuCtxCreate_v2(context, flags, device);
}

CUresult cuCtxCreate_v4(CUcontext *context, void *params, unsigned flags, CUdevice device)
{
    if (params != NULL) return CUDA_ERROR_NOT_SUPPORTED;
    return cuCtxCreate_v2(context, flags, device);
}

CUresult cuCtxDestroy_v2(CUcontext context)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    if (!handle_is(context, HANDLE_CONTEXT) || context->primary) return leave(CUDA_ERROR_INVALID_CONTEXT);
    if (current_context() == context) stack.depth--;
    context_free(context);
    return leave(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    struct device *d;
    CUresult status = enter_device(device, context, &d);
    if (status != CUDA_SUCCESS) return leave(status);
    if (d->primary == NULL) d->primary = context_make(d, true, d->primary_flags);
    d->primary_count++;
    *context = d->primary;
    return leave(CUDA_SUCCESS);
}

static void primary_drop(struct device *d)
{
    struct context *c = d->primary;
    d->primary = NULL;
    d->primary_count = 0;
    if (c != NULL) context_free(c);
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    struct device *d;
    CUresult status = enter_device(device, &device, &d);
    if (status != CUDA_SUCCESS) return leave(status);
    if (d->primary_count == 0) return leave(CUDA_ERROR_INVALID_CONTEXT);
    if (--d->primary_count == 0) primary_drop(d);
    return leave(CUDA_SUCCESS);
}

CUresult cuDevicePrimaryCtxReset_v2(CUdevice device)
{
    struct device *d;
    CUresult status = enter_device(device, &device, &d);
    if (status == CUDA_SUCCESS) primary_drop(d);
    return leave(status);
}

CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags)
{
    struct device *d;
    CUresult status = enter_device(device, &device, &d);
    if (status == CUDA_SUCCESS) {
        d->primary_flags = flags;
        if (d->primary != NULL) d->primary->flags = flags;
    }
    return leave(status);
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    struct device *d;
    CUresult status = enter_device(device, flags, &d);
    if (status == CUDA_SUCCESS && active == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) {
        *flags = d->primary_flags;
        *active = d->primary != NULL;
    }
    return leave(status);
}

CUresult cuCtxPushCurrent_v2(CUcontext context)
{
    CUresult status = enter_driver();
    if (status == CUDA_SUCCESS)
        status = handle_is(context, HANDLE_CONTEXT) ? stack_push(context) : CUDA_ERROR_INVALID_CONTEXT;
    return leave(status);
}

CUresult cuCtxPopCurrent_v2(CUcontext *context)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    if (stack.depth == 0) return leave(CUDA_ERROR_INVALID_CONTEXT);
    stack.depth--;
    if (context != NULL) *context = stack.contexts[stack.depth];
    return leave(CUDA_SUCCESS);
}

/* Replaces the top of the calling thread's stack; NULL takes it off. */
CUresult cuCtxSetCurrent(CUcontext context)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    if (context != NULL && !handle_is(context, HANDLE_CONTEXT)) return leave(CUDA_ERROR_INVALID_CONTEXT);
    if (stack.depth > 0) stack.depth--;
    if (context != NULL) status = stack_push(context);
    return leave(status);
}

CUresult cuCtxGetCurrent(CUcontext *context)
{
    CUresult status = enter_driver();
    if (status == CUDA_SUCCESS && context == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) {
        struct context *c = current_context();
        *context = handle_is(c, HANDLE_CONTEXT) ? c : NULL;
    }
    return leave(status);
}

CUresult cuCtxGetDevice(CUdevice *device)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && device == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *device = c->device->index;
    return leave(status);
}

CUresult cuCtxGetFlags(unsigned *flags)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && flags == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *flags = c->flags;
    return leave(status);
}

CUresult cuCtxGetApiVersion(CUcontext context, unsigned *version)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    if (context == NULL) context = current_context();
    if (!handle_is(context, HANDLE_CONTEXT)) return leave(CUDA_ERROR_INVALID_CONTEXT);
    if (version == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *version = 3020;
    return leave(CUDA_SUCCESS);
}

static CUresult synchronize(struct context *c)
{
    CUresult status = capture_forbids();
    if (status != CUDA_SUCCESS) return status;
    run_context(c);
    return c->error;
}

CUresult cuCtxSynchronize(void)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS) status = synchronize(c);
    return leave(status);
}

CUresult cuCtxSynchronize_v2(CUcontext context)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    if (context == NULL) context = current_context();
    if (!handle_is(context, HANDLE_CONTEXT)) return leave(CUDA_ERROR_INVALID_CONTEXT);
    status = context->error;
    if (status == CUDA_SUCCESS) status = synchronize(context);
    return leave(status);
}

CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && least != NULL) *least = 0;
    if (status == CUDA_SUCCESS && greatest != NULL) *greatest = -5;
    return leave(status);
}

/* Limits are kept and told, and limit nothing. */
CUresult cuCtxSetLimit(int limit, size_t value)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && (limit < 0 || limit >= 8)) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) c->limits[limit] = value;
    return leave(status);
}

CUresult cuCtxGetLimit(size_t *value, int limit)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && (value == NULL || limit < 0 || limit >= 8)) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *value = c->limits[limit];
    return leave(status);
}

CUresult cuCtxSetCacheConfig(int config)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && (config < 0 || config > 3)) status = CUDA_ERROR_INVALID_VALUE;
    return leave(status);
}

CUresult cuCtxGetCacheConfig(int *config)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && config == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *config = 0;
    return leave(status);
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status != CUDA_SUCCESS) return leave(status);
    if (flags != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    if (!handle_is(peer, HANDLE_CONTEXT)) return leave(CUDA_ERROR_INVALID_CONTEXT);
    if (peer->device == c->device) return leave(CUDA_ERROR_INVALID_DEVICE);
    uint64_t bit = (uint64_t)1 << peer->device->index;
    if (c->peers & bit) return leave(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
    c->peers |= bit;
    return leave(CUDA_SUCCESS);
}

CUresult cuCtxDisablePeerAccess(CUcontext peer)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status != CUDA_SUCCESS) return leave(status);
    if (!handle_is(peer, HANDLE_CONTEXT)) return leave(CUDA_ERROR_INVALID_CONTEXT);
    uint64_t bit = (uint64_t)1 << peer->device->index;
    if (!(c->peers & bit)) return leave(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
    run_context(c);
    c->peers &= ~bit;
    return leave(CUDA_SUCCESS);
}

CUresult cuProfilerStart(void)
{
    struct context *c;
    return leave(enter(&c));
}

CUresult cuProfilerStop(void)
{
    struct context *c;
    return leave(enter(&c));
}
