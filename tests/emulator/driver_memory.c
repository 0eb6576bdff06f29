/*
 * Memory that programs allocate: the table of all allocations, to the byte; the bits that tell written bytes from those
 * never written; cuMemAlloc and its relatives, memory pools, pinned host memory, questions about pointers.
 *
 * An allocation begins at a random multiple of 512 bytes inside its first page (the real driver promises no more) and
 * has pages of nobody's on both sides; its addresses are never used again. A freed one is remembered, so that a stale
 * pointer can be explained.
 */
#include "tests/emulator/driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    struct allocation **sorted; /* by base */
    size_t count, capacity;
} table;

enum { FREED_KEPT = 1024 };
enum { NEAR = 1 << 30 }; /* bytes; what is farther from an allocation has nothing to do with it */
static struct {
    uint64_t base, size;
} freed[FREED_KEPT];
static size_t freed_count;

/* Index of the first allocation that begins above `address`. */
static size_t table_above(uint64_t address)
{
    size_t low = 0, high = table.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table.sorted[middle]->base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct allocation *allocation_find(uint64_t address)
{
    size_t i = table_above(address);
    if (i == 0) return NULL;
    struct allocation *a = table.sorted[i - 1];
    return address - a->base < a->size ? a : NULL;
}

void allocation_insert(struct allocation *allocation)
{
    table.sorted = must_grow(table.sorted, table.count, sizeof *table.sorted, &table.capacity);
    size_t i = table_above(allocation->base);
    memmove(table.sorted + i + 1, table.sorted + i, (table.count - i) * sizeof *table.sorted);
    table.sorted[i] = allocation;
    table.count++;
}

void allocation_remove(struct allocation *allocation)
{
    size_t i = table_above(allocation->base);
    if (i == 0 || table.sorted[i - 1] != allocation) return;
    memmove(table.sorted + i - 1, table.sorted + i, (table.count - i) * sizeof *table.sorted);
    table.count--;
}

bool allocation_injected_failure(void)
{
    if (++emu.allocations != emu.options.fail_alloc) return false;
    say("allocation %" PRIu64 " fails, as fail_alloc asks", emu.allocations);
    return true;
}

/* What an allocation costs: the driver's unit is 512 bytes; a module's variables lie side by side. */
static uint64_t cost(uint64_t bytes, enum memory_kind kind)
{
    const uint64_t unit = kind == MEMORY_MODULE ? 16 : 512;
    return (bytes + unit - 1) / unit * unit;
}

CUresult allocation_make(struct context *context, size_t bytes, enum memory_kind kind, struct allocation **allocation)
{
    struct device *device = context->device;
    if (bytes > emu.options.memory || cost(bytes, kind) > emu.options.memory - device->used) return CUDA_ERROR_OUT_OF_MEMORY;
    if (allocation_injected_failure()) return CUDA_ERROR_OUT_OF_MEMORY;
    size_t offset = (size_t)(random_next() % (pages_size() / 512)) * 512, page_bytes = bytes + offset;
    size_t bits = (bytes + 7) / 8;
    char *pages = pages_reserve(page_bytes, pages_size()), *init = pages_reserve(bits, pages_size());
    if (pages == NULL || init == NULL || !pages_commit(pages, page_bytes) || !pages_commit(init, bits))
        return refuse(CUDA_ERROR_OUT_OF_MEMORY, "the host has no addresses for %zu bytes of device memory", bytes);
    struct allocation *a = must_calloc(1, sizeof *a);
    *a = (struct allocation){.base = (uint64_t)(uintptr_t)(pages + offset),
                             .size = bytes,
                             .kind = kind,
                             .device = device,
                             .context = context,
                             .init = (uint8_t *)init,
                             .live = true,
                             .pages = pages,
                             .page_bytes = page_bytes,
                             .init_pages = init,
                             .init_page_bytes = bits};
    device->used += cost(bytes, kind);
    count_memory(device->used, &device->used_most);
    allocation_insert(a);
    *allocation = a;
    return CUDA_SUCCESS;
}

void allocation_free(struct allocation *a)
{
    allocation_remove(a);
    freed[freed_count % FREED_KEPT].base = a->base;
    freed[freed_count++ % FREED_KEPT].size = a->size;
    if (a->kind == MEMORY_DEVICE || a->kind == MEMORY_MODULE) a->device->used -= cost(a->size, a->kind);
    if (a->kind == MEMORY_HOST) emu.pinned -= a->size;
    if (a->pool != NULL) a->pool->used -= a->size;
    if (a->pages != NULL) pages_decommit(a->pages, a->page_bytes);
    if (a->init_pages != NULL) pages_decommit(a->init_pages, a->init_page_bytes);
    free(a);
}

void allocations_of_context_free(struct context *context)
{
    for (size_t i = table.count; i-- > 0;) {
        struct allocation *a = table.sorted[i];
        if (a->context != context || a->kind == MEMORY_MAPPED) continue;
        emu.left += a->kind != MEMORY_MODULE;
        allocation_free(a);
    }
}

bool allocation_reachable(const struct allocation *a, const struct device *device, uint64_t peers)
{
    if (!a->live) return false;
    if (a->kind == MEMORY_MAPPED) return a->access >> device->index & 1;
    return a->device == NULL || a->device == device || (peers >> a->device->index & 1);
}

void describe_address(uint64_t address, char *text, size_t size)
{
    const struct allocation *a = allocation_find(address);
    if (a != NULL) {
        snprintf(text, size, "0x%" PRIx64 " lies in %s of %" PRIu64 " bytes at 0x%" PRIx64 "%s", address,
                 a->kind == MEMORY_HOST || a->kind == MEMORY_REGISTERED ? "pinned host memory" : "an allocation",
                 a->size, a->base, a->live ? "" : ", whose cuMemAllocAsync has not run");
        return;
    }
    for (size_t i = 0; i < (freed_count < FREED_KEPT ? freed_count : FREED_KEPT); i++) {
        if (address - freed[i].base >= freed[i].size) continue;
        snprintf(text, size, "0x%" PRIx64 " lies in an allocation of %" PRIu64 " bytes at 0x%" PRIx64 " that was freed",
                 address, freed[i].size, freed[i].base);
        return;
    }
    size_t above = table_above(address);
    a = above > 0 ? table.sorted[above - 1] : NULL;
    uint64_t past = a != NULL ? address - (a->base + a->size) : UINT64_MAX;
    if (past < NEAR)
        snprintf(text, size,
                 "0x%" PRIx64 " is %" PRIu64 " bytes past the end of the allocation of %" PRIu64 " bytes at 0x%" PRIx64,
                 address, past, a->size, a->base);
    else
        snprintf(text, size, "0x%" PRIx64 " lies in no allocation", address);
}

/* ------------------------------------------------------------------------------------------------------ init bits */

static bool bit_get(const uint8_t *bits, uint64_t i)
{
    return bits[i >> 3] >> (i & 7) & 1;
}

void init_mark(struct allocation *a, uint64_t address, size_t bytes)
{
    if (a->init == NULL || bytes == 0) return;
    uint64_t i = address - a->base, end = i + bytes;
    for (; i < end && (i & 7) != 0; i++) a->init[i >> 3] |= (uint8_t)(1u << (i & 7));
    memset(a->init + (i >> 3), 0xff, (end - i) >> 3);
    for (i += (end - i) & ~(uint64_t)7; i < end; i++) a->init[i >> 3] |= (uint8_t)(1u << (i & 7));
}

size_t init_run(const struct allocation *a, uint64_t address, size_t bytes)
{
    if (a->init == NULL) return bytes;
    uint64_t begin = address - a->base, end = begin + bytes, i = begin;
    while (i < end) {
        if ((i & 7) == 0 && end - i >= 8 && a->init[i >> 3] == 0xff)
            i += 8;
        else if (bit_get(a->init, i))
            i++;
        else
            break;
    }
    return (size_t)(i - begin);
}

void init_copy(struct allocation *target, uint64_t to, const struct allocation *source, uint64_t from, size_t bytes)
{
    if (target->init == NULL) return;
    size_t written = init_run(source, from, bytes);
    init_mark(target, to, written);
    for (size_t k = written; k < bytes; k++) {
        uint64_t i = to + k - target->base;
        uint8_t bit = (uint8_t)(1u << (i & 7));
        if (bit_get(source->init, from + k - source->base))
            target->init[i >> 3] |= bit;
        else
            target->init[i >> 3] &= (uint8_t)~bit;
    }
}

/* --------------------------------------------------------------------------------------------------- device memory */

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS) {
        if (free_bytes != NULL) *free_bytes = emu.options.memory - c->device->used;
        if (total_bytes != NULL) *total_bytes = emu.options.memory;
    }
    return leave(status);
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
    struct context *c;
    struct allocation *a;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && (address == NULL || bytes == 0)) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) status = capture_forbids();
    if (status == CUDA_SUCCESS) status = allocation_make(c, bytes, MEMORY_DEVICE, &a);
    if (status == CUDA_SUCCESS) *address = a->base;
    return leave(status);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height, unsigned element)
{
    if (pitch == NULL || width == 0 || height == 0 || (element != 4 && element != 8 && element != 16))
        return CUDA_ERROR_INVALID_VALUE;
    if (width > SIZE_MAX / 2 - 511 || height > SIZE_MAX / 2 / (width + 511)) return CUDA_ERROR_OUT_OF_MEMORY;
    *pitch = (width + 511) / 512 * 512;
    return cuMemAlloc_v2(address, *pitch * height);
}

CUresult cuMemFree_v2(CUdeviceptr address)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS) status = capture_forbids();
    if (status != CUDA_SUCCESS || address == 0) return leave(status);
    run_context(c); /* the real one waits for the device too */
    struct allocation *a = allocation_find(address);
    if (a == NULL || a->base != address || a->kind != MEMORY_DEVICE || a->freeing) {
        char text[256];
        describe_address(address, text, sizeof text);
        return leave(refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFree of what cuMemAlloc did not give, or twice: %s", text));
    }
    if (a->context != c) run_context(a->context);
    allocation_free(a);
    return leave(c->error);
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status != CUDA_SUCCESS) return leave(status);
    struct allocation *a = allocation_find(address);
    if (a == NULL) return leave(CUDA_ERROR_NOT_FOUND);
    if (base != NULL) *base = a->base;
    if (bytes != NULL) *bytes = a->size;
    return leave(CUDA_SUCCESS);
}

/* ------------------------------------------------------------------------------------------- stream-ordered memory */

static CUresult allocate_async(struct context *c, CUdeviceptr *address, size_t bytes, struct pool *pool,
                               CUstream handle)
{
    struct stream *stream;
    if (address == NULL || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    CUresult status = stream_resolve(c, handle, &stream);
    if (status != CUDA_SUCCESS) return status;
    if (stream->capture != NULL)
        return refuse(CUDA_ERROR_NOT_SUPPORTED, "allocations inside a captured graph are not emulated");
    struct allocation *a;
    status = allocation_make(c, bytes, MEMORY_DEVICE, &a);
    if (status != CUDA_SUCCESS) return status;
    a->live = false;
    a->pool = pool;
    pool->used += bytes;
    if (pool->used > pool->used_high) pool->used_high = pool->used;
    *address = a->base;
    return stream_enqueue(stream, &(struct work){.kind = WORK_ALLOC, .context = c, .allocation = a}, NULL);
}

CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS) status = allocate_async(c, address, bytes, c->device->pool, stream);
    return leave(status);
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && !handle_is(pool, HANDLE_POOL)) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS && pool->device != c->device) status = CUDA_ERROR_INVALID_DEVICE;
    if (status == CUDA_SUCCESS) status = allocate_async(c, address, bytes, pool, stream);
    return leave(status);
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle)
{
    struct context *c;
    struct stream *stream;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS) status = stream_resolve(c, handle, &stream);
    if (status != CUDA_SUCCESS || address == 0) return leave(status);
    if (stream->capture != NULL)
        return leave(refuse(CUDA_ERROR_NOT_SUPPORTED, "cuMemFreeAsync inside a captured graph is not emulated"));
    struct allocation *a = allocation_find(address);
    if (a == NULL || a->base != address || a->kind != MEMORY_DEVICE || a->freeing) {
        char text[256];
        describe_address(address, text, sizeof text);
        return leave(refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFreeAsync of what was not allocated, or twice: %s", text));
    }
    a->freeing = true;
    return leave(stream_enqueue(stream, &(struct work){.kind = WORK_FREE, .context = c, .allocation = a}, NULL));
}

/* -------------------------------------------------------------------------------------------------------- pools */

static CUresult pool_of_device(CUmemoryPool *pool, CUdevice device, bool standard)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    struct device *d = device_at(device);
    if (d == NULL) return leave(CUDA_ERROR_INVALID_DEVICE);
    if (pool == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *pool = standard ? &d->default_pool : d->pool;
    return leave(CUDA_SUCCESS);
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device)
{
    return pool_of_device(pool, device, true);
}

CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device)
{
    return pool_of_device(pool, device, false);
}

/* enter_driver, and the pool must be one. */
static CUresult enter_pool(CUmemoryPool pool)
{
    CUresult status = enter_driver();
    if (status == CUDA_SUCCESS && !handle_is(pool, HANDLE_POOL)) status = CUDA_ERROR_INVALID_VALUE;
    return status;
}

CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool)
{
    CUresult status = enter_pool(pool);
    if (status == CUDA_SUCCESS && (device_at(device) == NULL || pool->device != device_at(device)))
        status = CUDA_ERROR_INVALID_DEVICE;
    if (status == CUDA_SUCCESS) pool->device->pool = pool;
    return leave(status);
}

CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *properties)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    if (pool == NULL || properties == NULL || properties->allocType != CU_MEM_ALLOCATION_TYPE_PINNED ||
        properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return leave(CUDA_ERROR_INVALID_VALUE);
    struct device *d = device_at(properties->location.id);
    if (d == NULL) return leave(CUDA_ERROR_INVALID_DEVICE);
    struct pool *p = must_calloc(1, sizeof *p);
    p->device = d;
    handle_add(p, HANDLE_POOL);
    *pool = p;
    return leave(CUDA_SUCCESS);
}

CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
    CUresult status = enter_pool(pool);
    if (status == CUDA_SUCCESS && pool->is_default) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    for (size_t i = 0; i < table.count; i++) /* what is still allocated lives on, outside any pool */
        if (table.sorted[i]->pool == pool) table.sorted[i]->pool = NULL;
    if (pool->device->pool == pool) pool->device->pool = &pool->device->default_pool;
    handle_remove(pool);
    free(pool);
    return leave(CUDA_SUCCESS);
}

/* Freed memory goes back at once, so there is never anything to trim. */
CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
    (void)keep;
    return leave(enter_pool(pool));
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, int attribute, void *value)
{
    CUresult status = enter_pool(pool);
    if (status == CUDA_SUCCESS && (value == NULL || attribute < 1 || attribute > CU_MEMPOOL_ATTR_USED_MEM_HIGH))
        status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS && attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
        memcpy(&pool->release_threshold, value, sizeof pool->release_threshold);
    if (status == CUDA_SUCCESS && attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH) pool->used_high = pool->used;
    return leave(status);
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, int attribute, void *value)
{
    CUresult status = enter_pool(pool);
    if (status == CUDA_SUCCESS && value == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    uint64_t number;
    int reuse = 1;
    switch (attribute) {
    case 1:
    case 2:
    case 3:
        memcpy(value, &reuse, sizeof reuse);
        return leave(CUDA_SUCCESS);
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        number = pool->release_threshold;
        break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
        number = pool->used;
        break;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        number = pool->used_high;
        break;
    default:
        return leave(CUDA_ERROR_INVALID_VALUE);
    }
    memcpy(value, &number, sizeof number);
    return leave(CUDA_SUCCESS);
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *access, size_t count)
{
    CUresult status = enter_pool(pool);
    if (status == CUDA_SUCCESS && access == NULL) status = CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; status == CUDA_SUCCESS && i < count; i++)
        if (access[i].location.id != pool->device->index)
            status = refuse(CUDA_ERROR_NOT_SUPPORTED, "memory pools shared between devices are not emulated");
    return leave(status);
}

/* -------------------------------------------------------------------------------------------------- host memory */

CUresult cuMemHostAlloc(void **pointer, size_t bytes, unsigned flags)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && (pointer == NULL || bytes == 0 || (flags & ~7u) != 0))
        status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) status = capture_forbids();
    if (status == CUDA_SUCCESS && allocation_injected_failure()) status = CUDA_ERROR_OUT_OF_MEMORY;
    if (status != CUDA_SUCCESS) return leave(status);
    void *pages = pages_reserve(bytes, pages_size());
    if (pages == NULL || !pages_commit(pages, bytes)) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    struct allocation *a = must_calloc(1, sizeof *a);
    *a = (struct allocation){.base = (uint64_t)(uintptr_t)pages,
                             .size = bytes,
                             .kind = MEMORY_HOST,
                             .context = c,
                             .flags = flags,
                             .live = true,
                             .pages = pages,
                             .page_bytes = bytes};
    allocation_insert(a);
    emu.pinned += bytes;
    count_memory(emu.pinned, &emu.pinned_most);
    *pointer = pages;
    return leave(CUDA_SUCCESS);
}

CUresult cuMemAllocHost_v2(void **pointer, size_t bytes)
{
    return cuMemHostAlloc(pointer, bytes, 0);
}

/* The pinned allocation of `kind` that begins at pointer, with the work that may use it done; NULL: none. */
static struct allocation *host_take(struct context *c, void *pointer, enum memory_kind kind)
{
    run_context(c);
    struct allocation *a = allocation_find((uint64_t)(uintptr_t)pointer);
    if (a == NULL || a->kind != kind || a->base != (uint64_t)(uintptr_t)pointer) return NULL;
    if (a->context != c) run_context(a->context);
    return a;
}

CUresult cuMemFreeHost(void *pointer)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS) status = capture_forbids();
    if (status != CUDA_SUCCESS) return leave(status);
    struct allocation *a = host_take(c, pointer, MEMORY_HOST);
    if (a == NULL)
        return leave(
            refuse(CUDA_ERROR_INVALID_VALUE, "cuMemFreeHost of %p, which cuMemHostAlloc did not give", pointer));
    allocation_free(a);
    return leave(c->error);
}

CUresult cuMemHostRegister_v2(void *pointer, size_t bytes, unsigned flags)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status != CUDA_SUCCESS) return leave(status);
    uint64_t base = (uint64_t)(uintptr_t)pointer;
    if (pointer == NULL || bytes == 0 || (flags & ~15u) != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    if (flags & 12) return leave(CUDA_ERROR_NOT_SUPPORTED); /* I/O memory, read-only mappings */
    if (pages_contain(base)) return leave(CUDA_ERROR_INVALID_VALUE);
    size_t above = table_above(base + bytes - 1);
    if (above > 0 && base < table.sorted[above - 1]->base + table.sorted[above - 1]->size)
        return leave(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    if (allocation_injected_failure()) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    struct allocation *a = must_calloc(1, sizeof *a);
    *a = (struct allocation){
        .base = base, .size = bytes, .kind = MEMORY_REGISTERED, .context = c, .flags = flags, .live = true};
    allocation_insert(a);
    return leave(CUDA_SUCCESS);
}

CUresult cuMemHostUnregister(void *pointer)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status != CUDA_SUCCESS) return leave(status);
    struct allocation *a = host_take(c, pointer, MEMORY_REGISTERED);
    if (a == NULL) return leave(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    allocation_free(a);
    return leave(c->error);
}

static struct allocation *pinned_find(const void *pointer)
{
    struct allocation *a = allocation_find((uint64_t)(uintptr_t)pointer);
    return a != NULL && (a->kind == MEMORY_HOST || a->kind == MEMORY_REGISTERED) ? a : NULL;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *pointer, unsigned flags)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && (address == NULL || flags != 0 || pinned_find(pointer) == NULL))
        status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *address = (uint64_t)(uintptr_t)pointer;
    return leave(status);
}

CUresult cuMemHostGetFlags(unsigned *flags, void *pointer)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && (flags == NULL || pinned_find(pointer) == NULL)) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *flags = pinned_find(pointer)->flags;
    return leave(status);
}

/* ------------------------------------------------------------------------------------- questions about pointers */

static CUresult pointer_attribute(void *data, int attribute, CUdeviceptr address)
{
    struct allocation *a = allocation_find(address);
    if (data == NULL || a == NULL) return CUDA_ERROR_INVALID_VALUE;
    bool host = a->device == NULL;
    unsigned number;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        memcpy(data, &a->context, sizeof a->context);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        memcpy(data, &address, sizeof address);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (!host) return CUDA_ERROR_INVALID_VALUE;
        memcpy(data, &address, sizeof address);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        memcpy(data, &a->base, sizeof a->base);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        memcpy(data, &a->size, sizeof a->size);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        number = host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        number = (unsigned)(host ? a->context->device->index : a->device->index);
        break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(uint8_t *)data = 0;
        return CUDA_SUCCESS; /* answers of one byte */
    case CU_POINTER_ATTRIBUTE_MAPPED:
        *(uint8_t *)data = 1;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    memcpy(data, &number, sizeof number);
    return CUDA_SUCCESS;
}

CUresult cuPointerGetAttribute(void *data, int attribute, CUdeviceptr address)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS) status = pointer_attribute(data, attribute, address);
    return leave(status);
}

CUresult cuPointerGetAttributes(unsigned count, int *attributes, void **data, CUdeviceptr address)
{
    struct context *c;
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && (attributes == NULL || data == NULL)) status = CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; status == CUDA_SUCCESS && i < count; i++)
        status = pointer_attribute(data[i], attributes[i], address);
    return leave(status);
}
