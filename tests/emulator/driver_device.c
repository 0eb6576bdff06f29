/*
 * cuInit, the simulated devices and their attributes.
 */
#include "tests/emulator/driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The cards of the specification's table for sm_89, sm_90 and sm_120; an A100 and an RTX 3090 (data sheets). */
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
    CUresult status = enter_driver();
    if (status != CUDA_ERROR_NOT_INITIALIZED) return leave(status);
    if (flags != 0) return leave(CUDA_ERROR_INVALID_VALUE);
    char why[1536];
    if (!options_parse(getenv("UPRES_EMULATOR"), &emu.options, why, sizeof why))
        return leave(refuse(CUDA_ERROR_INVALID_VALUE, "%s", why));
    if (emu.options.devices == 0) return leave(CUDA_ERROR_NO_DEVICE);
    emu.random = emu.options.seed;
    emu.process = getpid();
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

CUresult enter_device_by(const char *function, CUdevice index, const void *answer, struct device **device)
{
    CUresult status = enter_driver_by(function);
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

/* A name that Windows has for adapters: none of this one. */
CUresult cuDeviceGetLuid(char *luid, unsigned *nodes, CUdevice device)
{
    struct device *d;
    CUresult status = enter_device(device, luid, &d);
    if (status == CUDA_SUCCESS && nodes == NULL) status = CUDA_ERROR_INVALID_VALUE;
#ifdef _WIN32
    if (status == CUDA_SUCCESS) {
        memcpy(luid, "emulated", 8);
        *nodes = 1;
    }
#else
    if (status == CUDA_SUCCESS) status = CUDA_ERROR_NOT_SUPPORTED;
#endif
    return leave(status);
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
        {102, emu.options.mapping}, /* virtual memory management */
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
