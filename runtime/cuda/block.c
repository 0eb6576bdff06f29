#include "runtime/cuda/block.h"

#include <stdbool.h>

enum { PIECE_GRANULES = 128 }; /* 256 MiB of those of 2 MiB that all parts have */

static uint64_t round_up(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

static CUmemAllocationProp pinned_on(CUdevice device)
{
    return (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_PINNED, .location = {CU_MEM_LOCATION_DEVICE, device}};
}

/* The granule that pieces and their places are multiples of; 0: memory is not mapped there. */
static uint64_t granule_of(const CudaDriver *c, CUdevice device)
{
    int maps = 0;
    size_t granule = 0;
    const CUmemAllocationProp p = pinned_on(device);
    if (c->device_attribute(&maps, CU_ATTRIBUTE_VIRTUAL_MEMORY, device) != 0 || !maps) return 0;
    return c->memory_granule(&granule, &p, CU_MEM_GRANULE_LEAST) == 0 ? granule : 0;
}

/* One more piece behind those that are mapped. */
static CUresult map_piece(CudaBlock *b, const CudaDriver *c, CUdevice device, uint64_t bytes)
{
    CUmemHandle piece;
    const CUmemAllocationProp p = pinned_on(device);
    CUresult status = c->memory_create(&piece, bytes, &p, 0);
    if (status != 0) return status;
    status = c->memory_map(b->address + b->mapped, bytes, 0, piece, 0);
    c->memory_release(piece); /* it lives on while it is mapped */
    if (status == 0) b->mapped += bytes;
    return status;
}

static CUresult map_all(CudaBlock *b, const CudaDriver *c, CUdevice device, uint64_t granule)
{
    const CUmemAccessDesc access = {{CU_MEM_LOCATION_DEVICE, device}, CU_MEM_ACCESS_READ_WRITE};
    b->bytes = b->reserved = round_up(b->bytes, granule);
    b->piece = PIECE_GRANULES * granule;
    CUresult status = c->address_reserve(&b->address, b->reserved, 0, 0, 0);
    if (status != 0) b->reserved = 0;
    while (status == 0 && b->mapped < b->bytes) {
        const uint64_t left = b->bytes - b->mapped;
        status = map_piece(b, c, device, left < b->piece ? left : b->piece);
    }
    if (status == 0) status = c->memory_access(b->address, b->bytes, &access, 1);
    return status;
}

CUresult cuda_block_take(CudaBlock *b, const CudaDriver *c, CUdevice device, uint64_t bytes)
{
    const uint64_t granule = granule_of(c, device);
    *b = (CudaBlock){.bytes = bytes};
    if (granule == 0 || bytes < BLOCK_GRANULES_LEAST * granule) return c->memory_take(&b->address, bytes);
    const CUresult status = map_all(b, c, device, granule);
    if (status == 0) return 0;
    cuda_block_give(b, c);
    if (status == CUDA_ERROR_OUT_OF_MEMORY) return status;
    *b = (CudaBlock){.bytes = bytes}; /* a driver that does not do what it says */
    return c->memory_take(&b->address, bytes);
}

void cuda_block_give(CudaBlock *b, const CudaDriver *c)
{
    if (b->reserved == 0) {
        if (b->address != 0) c->memory_give(b->address);
    } else {
        if (b->mapped > 0) c->memory_unmap(b->address, b->mapped);
        c->address_free(b->address, b->reserved);
    }
    *b = (CudaBlock){0};
}

/* The first time brings the memory where it is to be. */
static CUresult fill_twice(const CudaBlock *b, const CudaDriver *c, CUstream stream, CUevent begin, CUevent end, float *ms)
{
    CUresult status = c->fill8(b->address, 0, b->bytes, stream);
    if (status == 0) status = c->event_record(begin, stream);
    if (status == 0) status = c->fill8(b->address, 0, b->bytes, stream);
    if (status == 0) status = c->event_record(end, stream);
    if (status == 0) status = c->event_synchronize(end);
    return status == 0 ? c->event_elapsed(ms, begin, end) : status;
}

double cuda_block_rate(const CudaBlock *b, const CudaDriver *c, CUstream stream)
{
    CUevent begin = NULL, end = NULL;
    float ms = 0;
    CUresult status = c->event_create(&begin, 0);
    if (status == 0) status = c->event_create(&end, 0);
    if (status == 0) status = fill_twice(b, c, stream, begin, end, &ms);
    if (end != NULL) c->event_destroy(end);
    if (begin != NULL) c->event_destroy(begin);
    return status == 0 && ms > 0 ? (double)b->bytes / (double)ms * 1e-6 : 0;
}
