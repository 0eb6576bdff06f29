/*
 * The driver as a whole: cuInit, errors, the lock, live handles; the simulated devices and their attributes; contexts.
 */
#include "tests/emulator/driver.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct emulator emu;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The calling thread runs a host function of a stream, which must not use the driver. */
static _Thread_local bool in_callback;

enum { STACK_DEPTH = 64 };
static _Thread_local struct {
    struct context *contexts[STACK_DEPTH];
    int depth;
} stack;

void say(const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "emulator: %s\n", text);
}

CUresult refuse(CUresult status, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    say("%s", text);
    return status;
}

void fault(struct context *context, CUresult status, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (context->error != CUDA_SUCCESS) return; /* what follows the first fault means nothing */
    say("fault %d on device %d: %s", status, context->device->index, text);
    context->error = status;
}

void *must_calloc(size_t count, size_t bytes)
{
    void *p = calloc(count > 0 ? count : 1, bytes);
    if (p == NULL) {
        say("the host has no memory for %zu x %zu bytes of the emulator's own tables", count, bytes);
        abort();
    }
    return p;
}

void *must_grow(void *array, size_t count, size_t bytes, size_t *capacity)
{
    if (count < *capacity) return array;
    size_t larger = *capacity < 8 ? 8 : *capacity * 2;
    void *p = realloc(array, larger * bytes);
    if (p == NULL) {
        say("the host has no memory for %zu x %zu bytes of the emulator's own tables", larger, bytes);
        abort();
    }
    *capacity = larger;
    return p;
}

/* splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). */
uint64_t random_next(void)
{
    uint64_t z = emu.random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ----------------------------------------------------------------------------------------------------- live handles */

static struct {
    struct slot {
        const void *handle; /* NULL: free */
        enum handle_kind kind;
    } * slots;
    size_t capacity, count; /* capacity: a power of two */
} handles;

static size_t handle_home(const void *handle)
{
    return (size_t)(((uint64_t)(uintptr_t)handle * 0x9e3779b97f4a7c15u) >> 32) & (handles.capacity - 1);
}

void handle_add(const void *handle, enum handle_kind kind)
{
    if ((handles.count + 1) * 2 > handles.capacity) {
        struct slot *old = handles.slots;
        size_t old_capacity = handles.capacity;
        handles.capacity = old_capacity == 0 ? 256 : old_capacity * 2;
        handles.slots = must_calloc(handles.capacity, sizeof *handles.slots);
        handles.count = 0;
        for (size_t i = 0; i < old_capacity; i++)
            if (old[i].handle != NULL) handle_add(old[i].handle, old[i].kind);
        free(old);
    }
    size_t i = handle_home(handle);
    while (handles.slots[i].handle != NULL) i = (i + 1) & (handles.capacity - 1);
    handles.slots[i] = (struct slot){handle, kind};
    handles.count++;
}

static size_t handle_slot(const void *handle)
{
    if (handle == NULL || handles.capacity == 0) return SIZE_MAX;
    size_t i = handle_home(handle);
    while (handles.slots[i].handle != NULL && handles.slots[i].handle != handle) i = (i + 1) & (handles.capacity - 1);
    return handles.slots[i].handle == handle ? i : SIZE_MAX;
}

void handle_remove(const void *handle)
{
    size_t i = handle_slot(handle);
    if (i == SIZE_MAX) return;
    handles.slots[i].handle = NULL;
    handles.count--;
    /* Those that a search would reach through the hole are put in anew. */
    for (i = (i + 1) & (handles.capacity - 1); handles.slots[i].handle != NULL; i = (i + 1) & (handles.capacity - 1)) {
        struct slot moved = handles.slots[i];
        handles.slots[i].handle = NULL;
        handles.count--;
        handle_add(moved.handle, moved.kind);
    }
}

bool handle_is(const void *handle, enum handle_kind kind)
{
    size_t i = handle_slot(handle);
    return i != SIZE_MAX && handles.slots[i].kind == kind;
}

/* --------------------------------------------------------------------------------------------- entering and leaving */

struct context *current_context(void)
{
    return stack.depth > 0 ? stack.contexts[stack.depth - 1] : NULL;
}

CUresult enter_driver(void)
{
    pthread_mutex_lock(&lock);
    if (in_callback) return refuse(CUDA_ERROR_NOT_PERMITTED, "a host function put on a stream called the driver");
    return emu.initialised ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult enter(struct context **context)
{
    CUresult status = enter_driver();
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

/* ---------------------------------------------------------------------------------------------------------- devices */

/* The cards of the specification's table for sm_89, sm_90 and sm_120; an A100 and an RTX 3090 (vendor's data sheets). */
static const struct part parts[] = {
    {80, "Emulated A100", 108, 1410000, 1215000, 5120, 40 << 20, 2048, 32, 167936, 166912},
    {86, "Emulated RTX 3090", 82, 1695000, 9751000, 384, 6 << 20, 1536, 16, 102400, 101376},
    {89, "Emulated RTX 4090", 128, 2520000, 10501000, 384, 72 << 20, 1536, 24, 102400, 101376},
    {90, "Emulated H200", 132, 1830000, 3201000, 6144, 50 << 20, 2048, 32, 233472, 232448},
    {120, "Emulated RTX 5090", 170, 2407000, 14001000, 512, 96 << 20, 1536, 24, 102400, 101376},
};

struct device *device_at(CUdevice device)
{
    return device >= 0 && device < emu.options.devices ? &emu.devices[device] : NULL;
}

CUresult cuInit(unsigned flags)
{
    pthread_mutex_lock(&lock);
    if (emu.initialised) return leave(CUDA_SUCCESS);
    if (flags != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    char why[1536];
    if (!options_parse(getenv("UPRES_EMULATOR"), &emu.options, why, sizeof why))
        return leave(refuse(CUDA_ERROR_INVALID_VALUE, "%s", why));
    if (emu.options.devices == 0) return leave(CUDA_ERROR_NO_DEVICE);
    emu.random = emu.options.seed;
    for (int i = 0; i < emu.options.devices; i++) {
        struct device *d = &emu.devices[i];
        d->index = i;
        for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++)
            if (parts[k].sm == emu.options.sm) d->part = &parts[k];
        d->default_pool = (struct pool){.device = d, .is_default = true};
        d->pool = &d->default_pool;
        handle_add(&d->default_pool, HANDLE_POOL);
    }
    emu.initialised = true;
    return leave(CUDA_SUCCESS);
}

CUresult cuDriverGetVersion(int *version)
{
    if (version == NULL) return CUDA_ERROR_INVALID_VALUE;
    /* Needs no cuInit, so it reads the option itself; a bad list is cuInit's to refuse. */
    struct options options;
    char why[1536];
    *version = options_parse(getenv("UPRES_EMULATOR"), &options, why, sizeof why) ? options.driver : 13000;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
    CUresult status = enter_driver();
    if (status == CUDA_SUCCESS && count == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *count = emu.options.devices;
    return leave(status);
}

/* enter_driver with the checks that all questions about a device share. */
static CUresult enter_device(CUdevice index, const void *answer, struct device **device)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return status;
    *device = device_at(index);
    if (*device == NULL) return CUDA_ERROR_INVALID_DEVICE;
    return answer == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    struct device *d;
    CUresult status = enter_device(ordinal, device, &d);
    if (status == CUDA_SUCCESS) *device = ordinal;
    return leave(status);
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    struct device *d;
    CUresult status = enter_device(device, name, &d);
    if (status == CUDA_SUCCESS && length <= 0) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) snprintf(name, (size_t)length, "%s", d->part->name);
    return leave(status);
}

CUresult cuDeviceGetUuid_v2(void *uuid, CUdevice device)
{
    struct device *d;
    CUresult status = enter_device(device, uuid, &d);
    if (status == CUDA_SUCCESS) {
        memset(uuid, 0, 16);
        memcpy(uuid, "upres emulator", 14);
        ((uint8_t *)uuid)[15] = (uint8_t)device;
    }
    return leave(status);
}

CUresult cuDeviceGetUuid(void *uuid, CUdevice device)
{
    return cuDeviceGetUuid_v2(uuid, device);
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    struct device *d;
    CUresult status = enter_device(device, bytes, &d);
    if (status == CUDA_SUCCESS) *bytes = emu.options.memory;
    return leave(status);
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    struct device *d;
    CUresult status = enter_device(device, major, &d);
    if (status == CUDA_SUCCESS && minor == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) {
        *major = d->part->sm / 10;
        *minor = d->part->sm % 10;
    }
    return leave(status);
}

CUresult cuDeviceGetPCIBusId(char *text, int length, CUdevice device)
{
    struct device *d;
    CUresult status = enter_device(device, text, &d);
    if (status == CUDA_SUCCESS && length < 13) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) snprintf(text, (size_t)length, "0000:%02X:00.0", device + 1);
    return leave(status);
}

/* What all parts have in common; features that the emulator has not are 0, as on a device without them. */
static const struct {
    int attribute, value;
} common_attributes[] = {
    {1, 1024},       /* threads a block */
    {2, 1024},       /* block x */
    {3, 1024},       /* block y */
    {4, 64},         /* block z */
    {5, INT32_MAX},  /* grid x */
    {6, 65535},      /* grid y */
    {7, 65535},      /* grid z */
    {8, 49152},      /* shared memory a block without opting in */
    {9, 65536},      /* constant memory */
    {10, 32},        /* warp */
    {11, INT32_MAX}, /* pitch */
    {12, 65536},     /* registers a block */
    {14, 512},       /* texture alignment */
    {15, 1},         /* copies overlap kernels */
    {17, 0},         /* time limit of kernels */
    {18, 0},         /* integrated */
    {19, 1},         /* maps host memory */
    {20, 0},         /* compute mode: default */
    {30, 512},       /* surface alignment */
    {31, 1},         /* concurrent kernels */
    {32, 0},         /* ECC */
    {34, 0},         /* PCI device */
    {35, 0},         /* TCC */
    {40, 2},         /* copy engines */
    {41, 1},         /* unified addresses */
    {50, 0},         /* PCI domain */
    {51, 32},        /* texture pitch alignment */
    {78, 1},         /* stream priorities */
    {79, 1},         /* global L1 cache */
    {80, 1},         /* local L1 cache */
    {82, 65536},     /* registers an SM */
    {83, 0},         /* managed memory */
    {84, 0},         /* multi-GPU board */
    {85, 0},         /* its group */
    {86, 0},         /* host native atomics */
    {88, 0},         /* pageable memory access */
    {89, 0},         /* concurrent managed access */
    {90, 1},         /* preemption */
    {91, 1},         /* host pointers of registered memory usable */
    {95, 0},         /* cooperative launch */
    {99, 1},         /* cuMemHostRegister */
    {100, 0},        /* host page tables */
    {101, 0},        /* managed memory from the host */
    {102, 1},        /* virtual memory management */
    {103, 0},        /* handles as file descriptors */
    {104, 0},        /* as Windows handles */
    {105, 0},        /* as Windows KMT handles */
    {107, 0},        /* compressible memory */
    {108, 0},        /* persisting L2 */
    {109, 0},        /* access policy window */
    {110, 0},        /* GPUDirect RDMA with VMM */
    {111, 1024},     /* shared memory the driver keeps a block */
    {113, 0},        /* read-only registration: seen unsupported on real drivers */
    {115, 1},        /* memory pools */
    {116, 0},        /* GPUDirect RDMA */
    {119, 0},        /* shareable pool handles */
    {120, 0},        /* clusters */
};

static bool attribute_of(const struct device *d, int attribute, int *value)
{
    const struct part *p = d->part;
    const struct {
        int attribute, value;
    } own[] = {
        {13, p->clock_khz},        {16, p->multiprocessors},
        {33, d->index + 1}, /* PCI bus */
        {36, p->memory_clock_khz}, {37, p->bus_bits},
        {38, p->l2_bytes},         {39, p->threads_per_sm},
        {75, p->sm / 10},          {76, p->sm % 10},
        {81, p->shared_per_sm},    {87, p->sm == 80 || p->sm == 90 ? 2 : 64}, /* single to double rate */
        {97, p->shared_optin},     {106, p->blocks_per_sm},
        {127, p->sm >= 90}, /* tensor maps */
    };
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (own[i].attribute != attribute) continue;
        *value = own[i].value;
        return true;
    }
    for (size_t i = 0; i < sizeof common_attributes / sizeof common_attributes[0]; i++) {
        if (common_attributes[i].attribute != attribute) continue;
        *value = common_attributes[i].value;
        return true;
    }
    return false;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device)
{
    struct device *d;
    CUresult status = enter_device(device, value, &d);
    if (status == CUDA_SUCCESS && !attribute_of(d, attribute, value))
        status = refuse(CUDA_ERROR_INVALID_VALUE, "device attribute %d is not known", attribute);
    return leave(status);
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    struct device *d;
    CUresult status = enter_device(device, can, &d);
    if (status == CUDA_SUCCESS && device_at(peer) == NULL) status = CUDA_ERROR_INVALID_DEVICE;
    if (status == CUDA_SUCCESS) *can = device != peer;
    return leave(status);
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
