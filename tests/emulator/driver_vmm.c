/*
 * Virtual memory management: reserved address ranges, physical allocations, mappings of one into the other.
 *
 * A physical allocation is an object of the operating system, and so are its init bits, so that one allocation mapped
 * at two addresses is one memory. A reservation keeps the state of each granule; consecutive granules with equal access
 * are one allocation of the table, because a kernel may run across the seam between two mappings.
 */
#include "tests/emulator/driver.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t granule_bytes(void) { return emu.options.granule; }

struct physical {
    struct device *device;
    uint64_t size;
    intptr_t object, init_object;
    int mappings;
    bool released; /* by the program; it lives on while it is mapped */
};

struct granule {
    struct physical *physical; /* NULL: not mapped */
    uint64_t access;           /* bit i: device i may touch it */
    uint64_t mapping;          /* number of the cuMemMap call */
};

struct reservation {
    uint64_t base, size;
    char *init; /* bits of all its bytes */
    struct granule *granules;
    struct reservation *next;
};
static struct reservation *reservations;
static uint64_t mapping_count;

/* enter_driver, where memory can be mapped. */
static CUresult enter_mapping(const char *function)
{
    const CUresult status = enter_driver_by(function);
    return status == CUDA_SUCCESS && !emu.options.mapping ? CUDA_ERROR_NOT_SUPPORTED : status;
}

static struct reservation *reservation_of(uint64_t address, uint64_t bytes)
{
    for (struct reservation *r = reservations; r != NULL; r = r->next)
        if (address - r->base < r->size && bytes <= r->size - (address - r->base)) return r;
    return NULL;
}

/* Make the table say what the granules say. */
static void reservation_publish(struct reservation *r)
{
    uint64_t count = r->size / granule_bytes();
    for (uint64_t i = 0; i < count; i++) {
        struct allocation *a = allocation_find(r->base + i * granule_bytes());
        if (a == NULL) continue;
        allocation_remove(a);
        free(a);
    }
    for (uint64_t i = 0; i < count;) {
        uint64_t begin = i;
        const struct granule *first = &r->granules[i++];
        if (first->access == 0) continue;
        while (i < count && r->granules[i].access == first->access &&
               r->granules[i].physical->device == first->physical->device)
            i++;
        struct allocation *a = must_calloc(1, sizeof *a);
        *a = (struct allocation){.base = r->base + begin * granule_bytes(),
                                 .size = (i - begin) * granule_bytes(),
                                 .kind = MEMORY_MAPPED,
                                 .device = first->physical->device,
                                 .init = (uint8_t *)r->init + begin * granule_bytes() / 8,
                                 .access = first->access,
                                 .live = true};
        allocation_insert(a);
    }
}

static CUresult check_properties(const CUmemAllocationProp *p, struct device **device)
{
    if (p == NULL || p->type != CU_MEM_ALLOCATION_TYPE_PINNED || p->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
        return CUDA_ERROR_INVALID_VALUE;
    if (p->requestedHandleTypes != 0) return CUDA_ERROR_NOT_SUPPORTED;
    *device = device_at(p->location.id);
    return *device == NULL ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t *granularity, const CUmemAllocationProp *properties, int option)
{
    struct device *d;
    CUresult status = enter_mapping(__func__);
    if (status == CUDA_SUCCESS && (granularity == NULL || option < 0 || option > 1)) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) status = check_properties(properties, &d);
    if (status == CUDA_SUCCESS) *granularity = granule_bytes();
    return leave(status);
}

CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t alignment, CUdeviceptr wish,
                             unsigned long long flags)
{
    (void)wish; /* a hint */
    CUresult status = enter_mapping(__func__);
    if (status != CUDA_SUCCESS) return leave(status);
    if (address == NULL || bytes == 0 || bytes % granule_bytes() != 0 || flags != 0 || (alignment & (alignment - 1)) != 0)
        return leave(CUDA_ERROR_INVALID_VALUE);
    char *base = pages_reserve(bytes, alignment > granule_bytes() ? alignment : granule_bytes());
    char *init = pages_reserve(bytes / 8, pages_size());
    if (base == NULL || init == NULL) return leave(CUDA_ERROR_OUT_OF_MEMORY);
    struct reservation *r = must_calloc(1, sizeof *r);
    *r = (struct reservation){.base = (uint64_t)(uintptr_t)base,
                              .size = bytes,
                              .init = init,
                              .granules = must_calloc(bytes / granule_bytes(), sizeof *r->granules),
                              .next = reservations};
    reservations = r;
    emu.ranges++;
    *address = r->base;
    return leave(CUDA_SUCCESS);
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    struct reservation *r = reservation_of(address, bytes);
    if (r == NULL || r->base != address || r->size != bytes)
        return leave(
            refuse(CUDA_ERROR_INVALID_VALUE, "cuMemAddressFree of 0x%" PRIx64 ", not a reserved range", address));
    for (uint64_t i = 0; i < r->size / granule_bytes(); i++)
        if (r->granules[i].physical != NULL)
            return leave(
                refuse(CUDA_ERROR_INVALID_VALUE, "cuMemAddressFree of a range with mappings: cuMemUnmap first"));
    for (struct reservation **p = &reservations; *p != NULL; p = &(*p)->next) {
        if (*p != r) continue;
        *p = r->next;
        break;
    }
    emu.ranges--;
    free(r->granules);
    free(r);
    return leave(CUDA_SUCCESS);
}

static void physical_drop(struct physical *p)
{
    if (!p->released || p->mappings > 0) return;
    p->device->used -= p->size;
    pages_object_close(p->object);
    pages_object_close(p->init_object);
    free(p);
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *properties,
                     unsigned long long flags)
{
    struct device *d;
    CUresult status = enter_mapping(__func__);
    if (status != CUDA_SUCCESS) return leave(status);
    if (handle == NULL || bytes == 0 || bytes % granule_bytes() != 0 || flags != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    status = check_properties(properties, &d);
    if (status == CUDA_SUCCESS && bytes > emu.options.memory - d->used) status = CUDA_ERROR_OUT_OF_MEMORY;
    if (status == CUDA_SUCCESS && allocation_injected_failure()) status = CUDA_ERROR_OUT_OF_MEMORY;
    if (status != CUDA_SUCCESS) return leave(status);
    intptr_t object = pages_object(bytes), init_object = pages_object(bytes / 8);
    if (object < 0 || init_object < 0) {
        if (object >= 0) pages_object_close(object);
        return leave(refuse(CUDA_ERROR_OUT_OF_MEMORY, "the host has no memory object of %zu bytes", bytes));
    }
    struct physical *p = must_calloc(1, sizeof *p);
    *p = (struct physical){.device = d, .size = bytes, .object = object, .init_object = init_object};
    d->used += bytes;
    count_memory(d->used, &d->used_most);
    handle_add(p, HANDLE_PHYSICAL);
    emu.physicals++;
    *handle = (uint64_t)(uintptr_t)p;
    return leave(CUDA_SUCCESS);
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    struct physical *p = (struct physical *)(uintptr_t)handle;
    if (!handle_is(p, HANDLE_PHYSICAL)) return leave(CUDA_ERROR_INVALID_VALUE);
    handle_remove(p);
    emu.physicals--;
    p->released = true;
    physical_drop(p);
    return leave(CUDA_SUCCESS);
}

CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    struct physical *p = (struct physical *)(uintptr_t)handle;
    struct reservation *r = reservation_of(address, bytes);
    if (!handle_is(p, HANDLE_PHYSICAL) || r == NULL || bytes == 0 || bytes % granule_bytes() != 0 ||
        (address - r->base) % granule_bytes() != 0 || offset % granule_bytes() != 0 || offset > p->size ||
        bytes > p->size - offset || flags != 0)
        return leave(CUDA_ERROR_INVALID_VALUE);
    uint64_t first = (address - r->base) / granule_bytes(), count = bytes / granule_bytes();
    for (uint64_t i = first; i < first + count; i++)
        if (r->granules[i].physical != NULL)
            return leave(
                refuse(CUDA_ERROR_INVALID_VALUE, "cuMemMap over the mapping at 0x%" PRIx64, r->base + i * granule_bytes()));
    if (!pages_map((void *)(uintptr_t)address, bytes, p->object, offset) ||
        !pages_map(r->init + (address - r->base) / 8, bytes / 8, p->init_object, offset / 8))
        return leave(CUDA_ERROR_OUT_OF_MEMORY);
    mapping_count++;
    p->mappings += (int)count;
    emu.granules_mapped += count;
    for (uint64_t i = first; i < first + count; i++) r->granules[i] = (struct granule){p, 0, mapping_count};
    return leave(CUDA_SUCCESS);
}

/* Whole mappings alone can be taken away; several in a row may go in one call. */
CUresult cuMemUnmap(CUdeviceptr address, size_t bytes)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    struct reservation *r = reservation_of(address, bytes);
    if (r == NULL || bytes == 0 || bytes % granule_bytes() != 0 || (address - r->base) % granule_bytes() != 0)
        return leave(CUDA_ERROR_INVALID_VALUE);
    uint64_t first = (address - r->base) / granule_bytes(), end = first + bytes / granule_bytes();
    struct granule *g = r->granules;
    for (uint64_t i = first; i < end; i++)
        if (g[i].physical == NULL)
            return leave(refuse(CUDA_ERROR_INVALID_VALUE, "cuMemUnmap of 0x%" PRIx64 ", where nothing is mapped",
                                r->base + i * granule_bytes()));
    if ((first > 0 && g[first - 1].mapping == g[first].mapping) ||
        (end < r->size / granule_bytes() && g[end].mapping == g[end - 1].mapping))
        return leave(refuse(CUDA_ERROR_INVALID_VALUE, "cuMemUnmap of a part of one cuMemMap's range"));
    run_everything(); /* work in flight sees memory as it was when it was enqueued */
    for (uint64_t i = first; i < end; i++) {
        struct physical *p = g[i].physical;
        g[i] = (struct granule){0};
        p->mappings--;
        emu.granules_mapped--;
        physical_drop(p);
    }
    reservation_publish(r);
    pages_decommit((void *)(uintptr_t)address, bytes);
    pages_decommit(r->init + (address - r->base) / 8, bytes / 8);
    return leave(CUDA_SUCCESS);
}

CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    struct reservation *r = reservation_of(address, bytes);
    if (r == NULL || bytes == 0 || bytes % granule_bytes() != 0 || (address - r->base) % granule_bytes() != 0 || access == NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    uint64_t first = (address - r->base) / granule_bytes(), end = first + bytes / granule_bytes();
    for (uint64_t i = first; i < end; i++)
        if (r->granules[i].physical == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    for (size_t k = 0; k < count; k++) {
        if (access[k].location.type != CU_MEM_LOCATION_TYPE_DEVICE || device_at(access[k].location.id) == NULL)
            return leave(CUDA_ERROR_INVALID_DEVICE);
        if (access[k].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE && access[k].flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
            return leave(refuse(CUDA_ERROR_NOT_SUPPORTED, "read-only access to mapped memory is not emulated"));
    }
    run_everything(); /* work in flight sees memory as it was when it was enqueued */
    for (size_t k = 0; k < count; k++) {
        uint64_t bit = (uint64_t)1 << access[k].location.id;
        for (uint64_t i = first; i < end; i++) {
            if (access[k].flags == CU_MEM_ACCESS_FLAGS_PROT_NONE)
                r->granules[i].access &= ~bit;
            else
                r->granules[i].access |= bit;
        }
    }
    reservation_publish(r);
    return leave(CUDA_SUCCESS);
}

CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr address)
{
    CUresult status = enter_driver();
    if (status != CUDA_SUCCESS) return leave(status);
    struct reservation *r = reservation_of(address, 1);
    if (flags == NULL || location == NULL || r == NULL || device_at(location->id) == NULL)
        return leave(CUDA_ERROR_INVALID_VALUE);
    const struct granule *g = &r->granules[(address - r->base) / granule_bytes()];
    if (g->physical == NULL) return leave(CUDA_ERROR_INVALID_VALUE);
    *flags = g->access >> location->id & 1 ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_NONE;
    return leave(CUDA_SUCCESS);
}
