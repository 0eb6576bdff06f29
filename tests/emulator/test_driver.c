/*
 * The driver half of the emulator, tested through the library as programs use it: opened by its file, its exported
 * symbols called. Streams, events and graphs are in test_driver_streams.c, compilers' PTX in test_driver_compilers.c.
 *
 *     test_driver [LIBRARY]      default: the one beside it
 *
 * Run in the project's root. A line a test and the closing "N passed, N failed, N skipped"; exit 1 when one failed.
 */
#include "tests/child.h"
#include "tests/emulator/library.h"
#include "tests/emulator/test_driver.h"
#include "tests/emulator/test_driver_parts.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---------------------------------------------------------------------------------------------- symbols, options */

static void symbols(void)
{
    /* open_library has found every symbol of the list; names without their version must not be there, since in the real
     * library they are functions of CUDA 2 with 32-bit sizes. */
    CHECK(dlsym(cu.library, "cuMemAlloc") == NULL);
    CHECK(dlsym(cu.library, "cuMemcpyHtoD") == NULL);
    CHECK(dlsym(cu.library, "cuStreamBeginCapture") == NULL);
    CHECK(dlsym(cu.library, "core_run") == NULL);
}

static void proc_address(void)
{
    void *p = NULL;
    int status = -1;
    const char *text;
    OK(cu.cuGetProcAddress_v2("cuMemAlloc", &p, 12000, 0, &status));
    CHECK(p == dlsym(cu.library, "cuMemAlloc_v2") && status == CU_GET_PROC_ADDRESS_SUCCESS);
    OK(cu.cuGetProcAddress_v2("cuCtxCreate", &p, 11000, 0, &status));
    CHECK(p == dlsym(cu.library, "cuCtxCreate_v2"));
    OK(cu.cuGetProcAddress_v2("cuCtxCreate", &p, 13000, 0, &status));
    CHECK(p == dlsym(cu.library, "cuCtxCreate_v4"));
    OK(cu.cuGetProcAddress_v2("cuLaunchKernelEx", &p, 11000, 0, &status));
    CHECK(p == NULL && status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    OK(cu.cuGetProcAddress_v2("cuNoSuchThing", &p, 13000, 0, &status));
    CHECK(p == NULL && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    CHECK_STATUS(cu.cuGetProcAddress_v2("cuNoSuchThing", &p, 13000, 0, NULL), CUDA_ERROR_NOT_FOUND);
    OK(cu.cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    CHECK(strcmp(text, "CUDA_ERROR_ILLEGAL_ADDRESS") == 0);
    OK(cu.cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
    CHECK(strcmp(text, "out of memory") == 0);
    CHECK_STATUS(cu.cuGetErrorName(12345, &text), CUDA_ERROR_INVALID_VALUE);
}

static void options_refused(void)
{
    CUcontext context;
    CHECK_STATUS(cu.cuDevicePrimaryCtxRetain(&context, 0), CUDA_ERROR_NOT_INITIALIZED);
    CHECK_STATUS(cu.cuInit(0), CUDA_ERROR_INVALID_VALUE);
    CHECK(told("UPRES_EMULATOR"));
    CHECK_STATUS(cu.cuDevicePrimaryCtxRetain(&context, 0), CUDA_ERROR_NOT_INITIALIZED);
}

static void options_defaults(void)
{
    int count, version;
    size_t bytes;
    CHECK_STATUS(cu.cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
    OK(cu.cuInit(0));
    OK(cu.cuDeviceGetCount(&count));
    CHECK(count == 1);
    OK(cu.cuDriverGetVersion(&version));
    CHECK(version == 13000);
    OK(cu.cuDeviceTotalMem_v2(&bytes, 0));
    CHECK(bytes == (size_t)16 << 30);
}

static void options_all(void)
{
    int count, version;
    size_t bytes;
    OK(cu.cuInit(0));
    OK(cu.cuDeviceGetCount(&count));
    CHECK(count == 3);
    OK(cu.cuDriverGetVersion(&version));
    CHECK(version == 12040);
    OK(cu.cuDeviceTotalMem_v2(&bytes, 2));
    CHECK(bytes == 768 << 10);
}

static void no_device(void)
{
    CHECK_STATUS(cu.cuInit(0), CUDA_ERROR_NO_DEVICE);
}

static void test_options(void)
{
    static const char *const bad[] = {"sm=100",  "sm",          "sm=",        "memory=0",   "memory=5Q", "devices=17",
                                      "seed=-1", "seed=0x10",   "speed=fast", "SM=120",     "sm=120,",   ",",
                                      "exact=2", "sm=80,sm=86", " sm=80",     "memory=1 G", "coverage=", "memory=99T",
                                      "fail_kernel=16", "report=", "calls=", "mapping=2", "granule=32K", "granule=96K", "granule=4M",
                                      "fail_call=cuMemMap", "fail_call=cuMemMap:0", "fail_call=:1", "fail_call=cuMemMap:+",
                                      "fail_call=cuMemMap:1:", "fail_call=cuMemMap:1:0", "fail_call=cuMemMap:1+2"};
    bool all = true;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (run_case(bad[i], options_refused, false) != 0) {
            printf("  UPRES_EMULATOR=\"%s\" was not refused\n", bad[i]);
            all = false;
        }
    test_result("options: whatever is not understood is refused by cuInit with a sentence", all);
    test_case("options: defaults", NULL, options_defaults);
    test_case("options: all together", "sm=86,memory=768K,devices=3,seed=7,exact=1,threads=1,driver=12040,fail_alloc=9",
              options_all);
    test_case("options: no device", "devices=0", no_device);
}

/* ---------------------------------------------------------------------------------------------------------- devices */

static int attribute(int which)
{
    int value = -1;
    OK(cu.cuDeviceGetAttribute(&value, which, 0));
    return value;
}

static void device_120(void)
{
    char name[64];
    int value;
    start();
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == 12);
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) == 0);
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) == 170);
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN) == 101376);
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR) == 102400);
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE) == 96 << 20);
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE) == 2407000);
    OK(cu.cuDeviceGetName(name, sizeof name, 0));
    CHECK(strstr(name, "5090") != NULL);
    CHECK_STATUS(cu.cuDeviceGetAttribute(&value, 9999, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuDeviceGetAttribute(&value, 1, 1), CUDA_ERROR_INVALID_DEVICE);
}

static void device_89(void)
{
    start();
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == 8);
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) == 9);
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) == 128);
}

static void device_90(void)
{
    start();
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == 9);
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN) == 232448);
}

static void device_80(void)
{
    start();
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == 8);
    CHECK(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN) == 166912);
    CUtensorMap map;
    CHECK_STATUS(cu.cuTensorMapEncodeTiled(&map, 0, 1, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, 0),
                 CUDA_ERROR_NOT_SUPPORTED);
}

static void contexts(void)
{
    CUcontext primary, own, current;
    CUdevice device;
    unsigned flags;
    int active;
    CUdeviceptr p;
    CUevent event;
    OK(cu.cuInit(0));
    CHECK_STATUS(cu.cuMemAlloc_v2(&p, 16), CUDA_ERROR_INVALID_CONTEXT);
    OK(cu.cuDevicePrimaryCtxGetState(1, &flags, &active));
    CHECK(!active);
    OK(cu.cuDevicePrimaryCtxRetain(&primary, 1));
    OK(cu.cuDevicePrimaryCtxGetState(1, &flags, &active));
    CHECK(active);
    OK(cu.cuCtxCreate_v2(&own, 0, 0));
    OK(cu.cuCtxGetCurrent(&current));
    CHECK(current == own);
    OK(cu.cuEventCreate(&event, 0));
    OK(cu.cuCtxPushCurrent_v2(primary));
    OK(cu.cuCtxGetDevice(&device));
    CHECK(device == 1);
    OK(cu.cuCtxPopCurrent_v2(&current));
    CHECK(current == primary);
    OK(cu.cuCtxDestroy_v2(own));
    CHECK_STATUS(cu.cuCtxSetCurrent(own), CUDA_ERROR_INVALID_CONTEXT);
    OK(cu.cuCtxPushCurrent_v2(primary));
    CHECK_STATUS(cu.cuEventQuery(event), CUDA_ERROR_INVALID_HANDLE); /* it went with its context */
    OK(cu.cuCtxPopCurrent_v2(NULL));
    OK(cu.cuCtxGetCurrent(&current));
    CHECK(current == NULL);
    OK(cu.cuDevicePrimaryCtxRelease_v2(1));
    CHECK_STATUS(cu.cuDevicePrimaryCtxRelease_v2(1), CUDA_ERROR_INVALID_CONTEXT);
    CHECK_STATUS(cu.cuDevicePrimaryCtxRetain(&primary, 2), CUDA_ERROR_INVALID_DEVICE);
}

/* ----------------------------------------------------------------------------------------------------------- memory */

static void memory_limit(void)
{
    CUdeviceptr a, b;
    size_t free_bytes, total;
    start();
    OK(cu.cuMemGetInfo_v2(&free_bytes, &total));
    CHECK(total == 8 << 20 && free_bytes == total);
    OK(cu.cuMemAlloc_v2(&a, 6 << 20));
    CHECK_STATUS(cu.cuMemAlloc_v2(&b, (2 << 20) + 1), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cu.cuMemAlloc_v2(&b, 2 << 20));
    OK(cu.cuMemGetInfo_v2(&free_bytes, &total));
    CHECK(free_bytes == 0);
    OK(cu.cuMemFree_v2(a));
    OK(cu.cuMemAlloc_v2(&a, 5 << 20));
    OK(cu.cuMemFree_v2(a));
    OK(cu.cuMemFree_v2(b));
    OK(cu.cuMemGetInfo_v2(&free_bytes, &total));
    CHECK(free_bytes == total);
    CHECK_STATUS(cu.cuMemAlloc_v2(&a, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuMemAlloc_v2(&a, SIZE_MAX), CUDA_ERROR_OUT_OF_MEMORY);
}

static void failing_allocation(void)
{
    CUdeviceptr a;
    start();
    OK(cu.cuMemAlloc_v2(&a, 64));
    OK(cu.cuMemAlloc_v2(&a, 64));
    CHECK_STATUS(cu.cuMemAlloc_v2(&a, 64), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cu.cuMemAlloc_v2(&a, 64));
    CHECK(told("fail_alloc"));
}

static void copy_bounds(void)
{
    CUdeviceptr p, q;
    uint8_t host[64] = {0};
    start();
    OK(cu.cuMemAlloc_v2(&p, 33));
    OK(cu.cuMemAlloc_v2(&q, 33));
    CHECK(p % 512 == 0 && q % 512 == 0);
    OK(cu.cuMemcpyHtoD_v2(p, host, 33));
    CHECK_STATUS(cu.cuMemcpyHtoD_v2(p, host, 34), CUDA_ERROR_INVALID_VALUE);
    CHECK(told("out of bounds"));
    CHECK_STATUS(cu.cuMemcpyHtoD_v2(p + 1, host, 33), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuMemcpyHtoD_v2(p - 1, host, 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuMemcpyDtoH_v2(host, p + 33, 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuMemcpyDtoD_v2(q, p, 34), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuMemsetD8_v2(p, 0, 34), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuMemsetD32_v2(p + 2, 0, 1), CUDA_ERROR_INVALID_VALUE);  /* alignment */
    CHECK_STATUS(cu.cuMemcpyDtoD_v2(p, p + 1, 8), CUDA_ERROR_INVALID_VALUE); /* overlap */
    CHECK_STATUS(cu.cuMemcpyHtoD_v2((CUdeviceptr)(uintptr_t)host, host, 1), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuMemcpyHtoD_v2(0, host, 1), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemcpyHtoD_v2(p, host, 0));
    OK(cu.cuCtxSynchronize()); /* none of these stays */
}

static void frees(void)
{
    CUdeviceptr p, q;
    uint8_t byte = 0;
    start();
    OK(cu.cuMemAlloc_v2(&p, 100));
    CHECK_STATUS(cu.cuMemFree_v2(p + 1), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemFree_v2(p));
    CHECK_STATUS(cu.cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
    CHECK(told("that was freed"));
    CHECK_STATUS(cu.cuMemcpyHtoD_v2(p, &byte, 1), CUDA_ERROR_INVALID_VALUE);
    for (int i = 0; i < 100; i++) {
        OK(cu.cuMemAlloc_v2(&q, 100));
        CHECK(q + 100 <= p || p + 100 <= q); /* addresses are not used again */
        OK(cu.cuMemFree_v2(q));
    }
    OK(cu.cuMemFree_v2(0));
}

static void uninitialised_copy(void)
{
    CUdeviceptr p, q;
    uint8_t host[16] = {1, 2, 3};
    start();
    OK(cu.cuMemAlloc_v2(&p, 16));
    OK(cu.cuMemAlloc_v2(&q, 16));
    OK(cu.cuMemcpyHtoD_v2(p, host, 15));
    OK(cu.cuMemcpyDtoD_v2(q, p, 16)); /* copies what is not written as not written */
    OK(cu.cuMemcpyDtoH_v2(host, q, 15));
    CHECK_STATUS(cu.cuMemcpyDtoH_v2(host, q, 16), CUDA_ERROR_LAUNCH_FAILED);
    CHECK(told("never written"));
    CHECK_STATUS(cu.cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
    CHECK_STATUS(cu.cuMemAlloc_v2(&p, 16), CUDA_ERROR_LAUNCH_FAILED);
}

static void copies(void)
{
    CUdeviceptr p, q;
    uint8_t a[64], b[64];
    start();
    for (int i = 0; i < 64; i++) a[i] = (uint8_t)(3 * i + 1);
    OK(cu.cuMemAlloc_v2(&p, 64));
    OK(cu.cuMemAlloc_v2(&q, 64));
    OK(cu.cuMemcpyHtoD_v2(p, a, 64));
    OK(cu.cuMemcpyDtoD_v2(q, p, 64));
    OK(cu.cuMemcpyDtoH_v2(b, q, 64));
    CHECK(memcmp(a, b, 64) == 0);
    OK(cu.cuMemsetD16_v2(q + 2, 0x1234, 3));
    OK(cu.cuMemsetD8_v2(q, 9, 2));
    OK(cu.cuMemsetD32_v2(q + 8, 0xdeadbeef, 1));
    OK(cu.cuMemcpyDtoH_v2(b, q, 64));
    CHECK(memcmp(b, "\x09\x09\x34\x12\x34\x12\x34\x12\xef\xbe\xad\xde", 12) == 0 && b[12] == a[12]);
    /* 3 rows of 4 bytes, at (1, 1) of an 8-wide source, to (2, 0) of a 16-wide target */
    CUDA_MEMCPY2D c = {.srcXInBytes = 1,
                       .srcY = 1,
                       .srcMemoryType = CU_MEMORYTYPE_HOST,
                       .srcHost = a,
                       .srcPitch = 8,
                       .dstXInBytes = 2,
                       .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                       .dstDevice = q,
                       .dstPitch = 16,
                       .WidthInBytes = 4,
                       .Height = 3};
    OK(cu.cuMemcpy2D_v2(&c));
    OK(cu.cuMemcpyDtoH_v2(b, q, 64));
    for (int y = 0; y < 3; y++) CHECK(memcmp(b + 16 * y + 2, a + 8 * (y + 1) + 1, 4) == 0);
    c.Height = 5; /* past the end of the target */
    CHECK_STATUS(cu.cuMemcpy2D_v2(&c), CUDA_ERROR_INVALID_VALUE);
}

static void pinned(void)
{
    CUdeviceptr p, mapped;
    uint32_t *host, back = 0;
    static uint32_t mine[256];
    unsigned type = 0;
    start();
    OK(cu.cuMemHostAlloc((void **)&host, 1024, 0));
    OK(cu.cuMemAlloc_v2(&p, 1024));
    /* A copy from pinned memory reads it when it runs, one from pageable memory when it is called. */
    host[0] = 1;
    OK(cu.cuMemcpyHtoDAsync_v2(p, host, 4, NULL));
    host[0] = 2;
    OK(cu.cuMemcpyDtoH_v2(&back, p, 4));
    CHECK(back == 2);
    mine[0] = 3;
    OK(cu.cuMemcpyHtoDAsync_v2(p, mine, 4, NULL));
    mine[0] = 4;
    OK(cu.cuMemcpyDtoH_v2(&back, p, 4));
    CHECK(back == 3);
    /* A copy to pinned memory is seen after a synchronisation, one to pageable memory at once. */
    host[1] = 77;
    OK(cu.cuMemcpyDtoHAsync_v2(host + 1, p, 4, NULL));
    CHECK(host[1] == 77);
    OK(cu.cuCtxSynchronize());
    CHECK(host[1] == 3);
    OK(cu.cuMemcpyDtoHAsync_v2(mine + 1, p, 4, NULL));
    CHECK(mine[1] == 3);
    OK(cu.cuMemHostRegister_v2(mine, sizeof mine, 0));
    CHECK_STATUS(cu.cuMemHostRegister_v2(mine + 1, 4, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    OK(cu.cuMemHostGetDevicePointer_v2(&mapped, mine, 0));
    OK(cu.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, mapped));
    CHECK(type == CU_MEMORYTYPE_HOST);
    CHECK_STATUS(cu.cuMemcpyHtoD_v2(p, mine + 255, 8), CUDA_ERROR_INVALID_VALUE); /* past the registered end */
    OK(cu.cuMemHostUnregister(mine));
    CHECK_STATUS(cu.cuMemHostUnregister(mine), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    OK(cu.cuMemFreeHost(host));
    CHECK_STATUS(cu.cuMemFreeHost(host), CUDA_ERROR_INVALID_VALUE);
}

/* More pageable bytes under way than the driver keeps copies of: the later calls wait, the result is the same. */
static void pageable_flood(void)
{
    enum { BYTES = 1 << 20, COUNT = 140 };
    static uint8_t host[BYTES];
    CUdeviceptr p;
    uint8_t first = 0, last = 0;
    start();
    OK(cu.cuMemAlloc_v2(&p, BYTES));
    for (int i = 0; i < COUNT; i++) {
        memset(host, i, sizeof host);
        OK(cu.cuMemcpyHtoDAsync_v2(p, host, BYTES, NULL));
    }
    memset(host, 255, sizeof host);
    OK(cu.cuMemcpyDtoH_v2(&first, p, 1));
    OK(cu.cuMemcpyDtoH_v2(&last, p + BYTES - 1, 1));
    CHECK(first == COUNT - 1 && last == COUNT - 1);
}

static void failing_call(void)
{
    CUdeviceptr a, b;
    start();
    OK(cu.cuMemAlloc_v2(&a, 64));
    CHECK_STATUS(cu.cuMemAlloc_v2(&b, 64), CUDA_ERROR_OUT_OF_MEMORY);
    CHECK(told("fail_call"));
    OK(cu.cuMemAlloc_v2(&b, 64));
    OK(cu.cuMemFree_v2(a));
}

static void failing_calls(void)
{
    CUdeviceptr a;
    start();
    OK(cu.cuMemAlloc_v2(&a, 64));
    for (int i = 0; i < 3; i++) CHECK_STATUS(cu.cuMemAlloc_v2(&a, 64), CUDA_ERROR_NOT_SUPPORTED);
}

static void no_virtual_memory(void)
{
    CUmemAllocationProp where = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemGenericAllocationHandle a;
    CUdeviceptr range;
    size_t size;
    start();
    CHECK(attribute(102) == 0);
    CHECK_STATUS(cu.cuMemGetAllocationGranularity(&size, &where, 0), CUDA_ERROR_NOT_SUPPORTED);
    CHECK_STATUS(cu.cuMemAddressReserve(&range, 2 << 20, 0, 0, 0), CUDA_ERROR_NOT_SUPPORTED);
    CHECK_STATUS(cu.cuMemCreate(&a, 2 << 20, &where, 0), CUDA_ERROR_NOT_SUPPORTED);
}

static void virtual_memory(void)
{
    size_t granule = 0;
    CUmemAllocationProp where = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemAccessDesc access = {.location = where.location, .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    CUmemGenericAllocationHandle a, b;
    CUdeviceptr range, twin;
    size_t free_bytes, total;
    uint32_t value = 5;
    start();
    OK(cu.cuMemGetAllocationGranularity(&granule, &where, 0));
    CHECK(granule == (size_t)2 << 20 || granule == 64 << 10);
    CHECK(attribute(102) == 1);
    OK(cu.cuMemAddressReserve(&range, 4 * granule, 0, 0, 0));
    CHECK_STATUS(cu.cuMemsetD32_v2(range, 0, 1), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemCreate(&a, granule, &where, 0));
    OK(cu.cuMemCreate(&b, 2 * granule, &where, 0));
    OK(cu.cuMemGetInfo_v2(&free_bytes, &total));
    CHECK(total - free_bytes == 3 * granule);
    CHECK_STATUS(cu.cuMemCreate(&a, (size_t)8 << 20, &where, 0), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cu.cuMemMap(range, granule, 0, a, 0));
    OK(cu.cuMemMap(range + granule, granule, granule, b, 0));
    CHECK_STATUS(cu.cuMemMap(range, granule, 0, b, 0), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuMemsetD32_v2(range, 0, 1), CUDA_ERROR_INVALID_VALUE); /* mapped, no access yet */
    OK(cu.cuMemSetAccess(range, 2 * granule, &access, 1));
    OK(cu.cuMemsetD32_v2(range + granule - 8, 7, 4)); /* across the seam */
    OK(cu.cuMemcpyDtoH_v2(&value, range + granule + 4, 4));
    CHECK(value == 7);
    CHECK_STATUS(cu.cuMemsetD32_v2(range + 2 * granule - 4, 0, 2), CUDA_ERROR_INVALID_VALUE);
    /* The same memory at a second address. */
    OK(cu.cuMemAddressReserve(&twin, granule, 0, 0, 0));
    OK(cu.cuMemMap(twin, granule, 0, a, 0));
    OK(cu.cuMemSetAccess(twin, granule, &access, 1));
    OK(cu.cuMemcpyDtoH_v2(&value, twin + granule - 4, 4));
    CHECK(value == 7);
    CHECK_STATUS(cu.cuMemUnmap(range, granule / 2), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuMemAddressFree(range, 4 * granule), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemUnmap(range, 2 * granule));
    CHECK_STATUS(cu.cuMemsetD32_v2(range, 0, 1), CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuMemRelease(a)); /* lives on in the twin */
    OK(cu.cuMemcpyDtoH_v2(&value, twin + granule - 8, 4));
    OK(cu.cuMemRelease(b));
    OK(cu.cuMemUnmap(twin, granule));
    OK(cu.cuMemGetInfo_v2(&free_bytes, &total));
    CHECK(free_bytes == total);
    /* New memory at the old address was never written. */
    OK(cu.cuMemCreate(&a, granule, &where, 0));
    OK(cu.cuMemMap(range, granule, 0, a, 0));
    OK(cu.cuMemSetAccess(range, granule, &access, 1));
    CHECK_STATUS(cu.cuMemcpyDtoH_v2(&value, range + granule - 4, 4), CUDA_ERROR_LAUNCH_FAILED);
}

static void tensor_maps(void)
{
    CUtensorMap map;
    uint64_t sizes[2] = {64, 100}, strides[1] = {128}, bad_stride[1] = {120};
    uint32_t box[2] = {64, 8}, wide[2] = {128, 8}, tall[2] = {64, 257}, ones[2] = {1, 1};
    start();
    CUdeviceptr p = filled(12800, 0);
    void *base = (void *)(uintptr_t)p;
    enum { BF16 = 9, SWIZZLE_128 = 3 };
    OK(cu.cuTensorMapEncodeTiled(&map, BF16, 2, base, sizes, strides, box, ones, 0, SWIZZLE_128, 0, 0));
    OK(cu.cuTensorMapReplaceAddress(&map, (char *)base + 16));
#define BAD(...) CHECK_STATUS(cu.cuTensorMapEncodeTiled(__VA_ARGS__), CUDA_ERROR_INVALID_VALUE)
    BAD(&map, BF16, 2, (char *)base + 8, sizes, strides, box, ones, 0, 0, 0, 0);
    BAD(&map, BF16, 6, base, sizes, strides, box, ones, 0, 0, 0, 0);
    BAD(&map, BF16, 2, base, sizes, bad_stride, box, ones, 0, 0, 0, 0);
    BAD(&map, BF16, 2, base, sizes, strides, wide, ones, 0, SWIZZLE_128, 0, 0);
    BAD(&map, BF16, 2, base, sizes, strides, tall, ones, 0, 0, 0, 0);
    BAD(&map, 0, 2, base, sizes, strides, box, ones, 0, 0, 0, 1); /* NaN for integers */
    BAD(NULL, BF16, 2, base, sizes, strides, box, ones, 0, 0, 0, 0);
#undef BAD
    CHECK(told("multiple of 16"));
}

/* ---------------------------------------------------------------------------------------------------------- kernels */

static void kernel_runs(void)
{
    enum { COUNT = 1000 };
    static uint32_t host[COUNT];
    unsigned factor = 3, count = COUNT;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p;
    for (unsigned i = 0; i < COUNT; i++) host[i] = i;
    OK(cu.cuMemAlloc_v2(&p, sizeof host));
    OK(cu.cuMemcpyHtoD_v2(p, host, sizeof host));
    OK(launch(scale, 4, 256, NULL, (void *[]){&p, &factor, &count}));
    /* The same through a parameter buffer and the newer call. */
    struct {
        CUdeviceptr p;
        unsigned factor, count;
    } params = {p, 5, COUNT};
    size_t size = sizeof params;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &params, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
    CUlaunchConfig config = {
        .gridDimX = 10, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 100, .blockDimY = 1, .blockDimZ = 1};
    OK(cu.cuLaunchKernelEx(&config, scale, NULL, extra));
    OK(cu.cuMemcpyDtoH_v2(host, p, sizeof host));
    for (unsigned i = 0; i < COUNT; i++) CHECK(host[i] == (i * 3 + 1) * 5 + 1);
}

static void launch_refused(void)
{
    unsigned factor = 3, count = 4;
    int value;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(16, 1);
    void *params[] = {&p, &factor, &count}, *missing[] = {&p, NULL, &count};
    CHECK_STATUS(launch(scale, 0, 32, NULL, params), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(launch(scale, 1, 1025, NULL, params), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuLaunchKernel(scale, 1, 65536, 1, 32, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(launch(scale, 1, 32, NULL, missing), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(launch(NULL, 1, 32, NULL, params), CUDA_ERROR_INVALID_HANDLE);
    CHECK_STATUS(launch(scale, 1, 32, (CUstream)(uintptr_t)4096, params), CUDA_ERROR_INVALID_HANDLE);
    /* More than 48 KiB of shared memory must be asked for, up to the device's limit. */
    CHECK_STATUS(cu.cuLaunchKernel(scale, 1, 1, 1, 32, 1, 1, 50000, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuFuncSetAttribute(scale, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 101377),
                 CUDA_ERROR_INVALID_VALUE);
    OK(cu.cuFuncSetAttribute(scale, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 101376));
    OK(cu.cuLaunchKernel(scale, 1, 1, 1, 32, 1, 1, 101376, NULL, params, NULL));
    OK(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, scale));
    CHECK(value == 101376);
    OK(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&value, scale, 256, 49152));
    CHECK(value == 2);
    OK(cu.cuCtxSynchronize());
}

static void kernel_out_of_bounds(void)
{
    unsigned factor = 3, count = 9;
    CUcontext other;
    CUdeviceptr q;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(32, 1); /* 8 elements */
    OK(launch(scale, 2, 8, NULL, (void *[]){&p, &factor, &count}));
    CHECK_STATUS(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK(told("scale"));
    CHECK(told("PTX line 20")); /* the ld.global */
    CHECK(told("block (1,0,0)"));
    CHECK(told("thread (0,0,0)"));
    CHECK(told("0 bytes past the end of the allocation of 32 bytes"));
    /* It stays, for everything in this context, and not in another. */
    CHECK_STATUS(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK_STATUS(cu.cuMemAlloc_v2(&q, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK_STATUS(launch(scale, 1, 8, NULL, (void *[]){&p, &factor, &count}), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(cu.cuCtxCreate_v2(&other, 0, 1));
    OK(cu.cuMemAlloc_v2(&q, 4));
    OK(cu.cuCtxSynchronize());
}

static void kernel_after_free(void)
{
    unsigned factor = 3, count = 8;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(32, 1);
    OK(cu.cuMemFree_v2(p));
    OK(launch(scale, 1, 8, NULL, (void *[]){&p, &factor, &count}));
    CHECK_STATUS(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    CHECK(told("that was freed"));
}

static void kernel_reads_unwritten(void)
{
    unsigned factor = 3, count = 8;
    CUdeviceptr p;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    OK(cu.cuMemAlloc_v2(&p, 32));
    OK(cu.cuMemsetD8_v2(p, 1, 31));
    OK(launch(scale, 1, 8, NULL, (void *[]){&p, &factor, &count}));
    CHECK_STATUS(cu.cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
    CHECK(told("thread (7,0,0)"));
}

/* Each thread stores to shared memory and reads its neighbour's. The barrier's line is left out in the broken twin. */
#define NEIGHBOUR(barrier)                                                                                             \
    ".version 7.0\n.target sm_80\n.address_size 64\n"                                                                  \
    ".visible .entry neighbour(.param .u64 p)\n{\n"                                                                    \
    ".shared .align 4 .b8 s[1024];\n"                                                                                  \
    ".reg .b32 %r<8>;\n.reg .b64 %d<4>;\n"                                                                             \
    "mov.u32 %r1, %tid.x;\n"                                                                                           \
    "mov.u32 %r2, s;\n"                                                                                                \
    "shl.b32 %r3, %r1, 2;\n"                                                                                           \
    "add.s32 %r4, %r2, %r3;\n"                                                                                         \
    "st.shared.u32 [%r4], %r1;\n" barrier "xor.b32 %r5, %r1, 255;\n"                                                   \
    "shl.b32 %r5, %r5, 2;\n"                                                                                           \
    "add.s32 %r5, %r2, %r5;\n"                                                                                         \
    "ld.shared.u32 %r6, [%r5];\n"                                                                                      \
    "ld.param.u64 %d1, [p];\n"                                                                                         \
    "cvta.to.global.u64 %d1, %d1;\n"                                                                                   \
    "mul.wide.u32 %d2, %r1, 4;\n"                                                                                      \
    "add.s64 %d1, %d1, %d2;\n"                                                                                         \
    "st.global.u32 [%d1], %r6;\n"                                                                                      \
    "ret;\n}\n"

static void shared_race(void)
{
    start();
    CUfunction f = load(NEIGHBOUR(""), "neighbour");
    CUdeviceptr p = filled(1024, 0);
    OK(launch(f, 1, 256, NULL, (void *[]){&p}));
    CHECK_STATUS(cu.cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
    CHECK(told("neighbour"));
}

static void shared_barrier(void)
{
    uint32_t host[256];
    start();
    CUfunction f = load(NEIGHBOUR("bar.sync 0;\n"), "neighbour");
    CUdeviceptr p = filled(1024, 0);
    OK(launch(f, 1, 256, NULL, (void *[]){&p}));
    OK(cu.cuMemcpyDtoH_v2(host, p, 1024));
    for (unsigned i = 0; i < 256; i++) CHECK(host[i] == 255 - i);
}

static const char variables_ptx[] = ".version 7.0\n.target sm_80\n.address_size 64\n"
                                    ".visible .global .align 4 .u32 table[4] = {1, 2, 3, 4};\n"
                                    ".visible .global .align 4 .u32 zeros[8];\n"
                                    ".visible .entry add()\n{\n"
                                    ".reg .b32 %r<4>;\n.reg .b64 %d<2>;\n"
                                    "ld.global.u32 %r1, [table+12];\n"
                                    "add.u32 %r1, %r1, 38;\n"
                                    "st.global.u32 [zeros+4], %r1;\n"
                                    "ret;\n}\n";

static void module_variables(void)
{
    CUmodule module;
    CUfunction f;
    CUdeviceptr table, zeros;
    size_t bytes;
    uint32_t host[8];
    start();
    OK(cu.cuModuleLoadData(&module, variables_ptx));
    OK(cu.cuModuleGetFunction(&f, module, "add"));
    OK(cu.cuModuleGetGlobal_v2(&table, &bytes, module, "table"));
    CHECK(bytes == 16);
    OK(cu.cuModuleGetGlobal_v2(&zeros, &bytes, module, "zeros"));
    CHECK(bytes == 32);
    CHECK_STATUS(cu.cuModuleGetGlobal_v2(&zeros, &bytes, module, "none"), CUDA_ERROR_NOT_FOUND);
    CHECK_STATUS(cu.cuModuleGetFunction(&f, module, "none"), CUDA_ERROR_NOT_FOUND);
    CHECK_STATUS(cu.cuMemFree_v2(table), CUDA_ERROR_INVALID_VALUE);
    OK(launch(f, 1, 1, NULL, NULL));
    OK(cu.cuMemcpyDtoH_v2(host, zeros, 32));
    CHECK(host[0] == 0 && host[1] == 42);
    OK(cu.cuModuleUnload(module));
    CHECK_STATUS(launch(f, 1, 1, NULL, NULL), CUDA_ERROR_INVALID_HANDLE);
    CHECK_STATUS(cu.cuModuleUnload(module), CUDA_ERROR_INVALID_HANDLE);
}

static void bad_modules(void)
{
    CUmodule module;
    char log[512] = "";
    int options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    start();
    CHECK_STATUS(cu.cuModuleLoadDataEx(&module,
                                       "\x7f"
                                       "ELF",
                                       2, options, values),
                 CUDA_ERROR_NO_BINARY_FOR_GPU);
    CHECK(strstr(log, "cubin") != NULL && !told("cubin"));
    values[1] = (void *)(uintptr_t)sizeof log;
    CHECK_STATUS(cu.cuModuleLoadDataEx(
                     &module,
                     ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\nfrobnicate.b32 %r1;\n}\n",
                     2, options, values),
                 CUDA_ERROR_INVALID_PTX);
    CHECK(strstr(log, "line 6") != NULL);
    CHECK((uintptr_t)values[1] == strlen(log) + 1);
    CHECK_STATUS(cu.cuModuleLoadData(
                     &module, ".version 7.8\n.target sm_89\n.address_size 64\n.visible .entry k()\n{\nret;\n}\n"),
                 CUDA_ERROR_NO_BINARY_FOR_GPU); /* on sm_86 */
    CHECK_STATUS(cu.cuModuleLoadData(&module, ""), CUDA_ERROR_INVALID_PTX);
    CHECK_STATUS(cu.cuModuleLoadData(&module, NULL), CUDA_ERROR_INVALID_VALUE);
    CHECK_STATUS(cu.cuModuleLoad(&module, "/no/such/file.ptx"), CUDA_ERROR_FILE_NOT_FOUND);
    OK(cu.cuModuleLoadData(&module, scale_ptx));
}

/* --------------------------------------------------------------------------------- kernels of tests/emulator/ptx */

/* Boxes of 128 bytes x 8 rows that reach out of a tensor of 5 rows of 100 bytes, 112 apart, on every side. */
static void tensor_boxes(void)
{
    static const int at[][2] = {{0, 0}, {-28, -3}, {16, 4}, {96, 1}, {-200, 0}};
    static uint8_t in[5 * 112], out[1024];
    int none = 0; /* a third and a fourth coordinate, and whether they count */
    CUmodule module;
    CUfunction f = NULL;
    CUdeviceptr p, q;
    CUtensorMap map;
    start();
    for (unsigned i = 0; i < sizeof in; i++) in[i] = (uint8_t)(i * 7 + 1);
    OK(cu.cuModuleLoad(&module, "tests/emulator/ptx/tensor.ptx"));
    OK(cu.cuModuleGetFunction(&f, module, "tensor"));
    OK(cu.cuMemAlloc_v2(&p, sizeof in));
    OK(cu.cuMemAlloc_v2(&q, sizeof out));
    OK(cu.cuMemcpyHtoD_v2(p, in, sizeof in));
    for (int swizzle = 0; swizzle <= 3; swizzle += 3) { /* none, 128 bytes */
        OK(cu.cuTensorMapEncodeTiled(&map, 0, 2, (void *)(uintptr_t)p, (const uint64_t[]){100, 5},
                                     (const uint64_t[]){112}, (const uint32_t[]){128, 8}, (const uint32_t[]){1, 1}, 0,
                                     swizzle, 0, 0));
        for (size_t k = 0; k < sizeof at / sizeof at[0]; k++) {
            OK(launch(f, 1, 64, NULL, (void *[]){&map, &q, (void *)&at[k][0], (void *)&at[k][1], &none, &none, &none}));
            OK(cu.cuMemcpyDtoH_v2(out, q, sizeof out));
            for (int y = 0; y < 8; y++)
                for (int x = 0; x < 128; x++) {
                    int sx = at[k][0] + x, sy = at[k][1] + y;
                    uint8_t expected = sx >= 0 && sx < 100 && sy >= 0 && sy < 5 ? in[sy * 112 + sx] : 0;
                    int place = swizzle == 0 ? x : ((x / 16) ^ y) * 16 + x % 16;
                    CHECK(out[y * 128 + place] == expected);
                }
        }
    }
}

static void deadlock(void)
{
    char text[4096] = "", line[512];
    start();
    FILE *file = fopen("tests/emulator/ptx/deadlock.ptx", "r");
    CHECK(file != NULL);
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strstr(line, "// needed") == NULL) strncat(text, line, sizeof text - strlen(text) - 1);
    if (file != NULL) fclose(file);
    CUfunction f = load(text, "deadlock");
    CUdeviceptr p = filled(4, 0);
    OK(launch(f, 1, 128, NULL, (void *[]){&p}));
    CHECK_STATUS(cu.cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
    CHECK(told("deadlock"));
}

/* ---------------------------------------------------------------------------------------------------- two devices */

static void peers(void)
{
    CUcontext first, second;
    CUdeviceptr p, q;
    unsigned factor = 3, count = 4;
    uint32_t host[4];
    int can;
    start();
    OK(cu.cuCtxGetCurrent(&first));
    p = filled(16, 1);
    OK(cu.cuDeviceCanAccessPeer(&can, 0, 1));
    CHECK(can);
    OK(cu.cuDevicePrimaryCtxRetain(&second, 1));
    OK(cu.cuCtxSetCurrent(second));
    q = filled(16, 9);
    OK(cu.cuMemcpyPeer(q, second, p, first, 16));
    OK(cu.cuMemcpyDtoH_v2(host, q, 16));
    CHECK(host[3] == 1);
    OK(cu.cuCtxEnablePeerAccess(first, 0));
    CHECK_STATUS(cu.cuCtxEnablePeerAccess(first, 0), CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
    CUfunction scale = load(scale_ptx, "scale");
    OK(launch(scale, 1, 4, NULL, (void *[]){&p, &factor, &count}));
    OK(cu.cuMemcpyDtoH_v2(host, p, 16));
    CHECK(host[0] == 4);
    OK(cu.cuCtxDisablePeerAccess(first));
    OK(launch(scale, 1, 4, NULL, (void *[]){&p, &factor, &count}));
    CHECK_STATUS(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(cu.cuCtxSetCurrent(first));
    OK(cu.cuCtxSynchronize());
}

/* --------------------------------------------------------------------------------------------------------- coverage */

/* What a process does that is not the driver's. */
static int nothing(void (*body)(void))
{
    (void)body;
    return 0;
}

static void covered(void)
{
    unsigned factor = 3, count = 40;
    start();
    CUfunction scale = load(scale_ptx, "scale");
    CUdeviceptr p = filled(160, 1);
    OK(launch(scale, 1, 64, NULL, (void *[]){&p, &factor, &count}));
    OK(cu.cuCtxSynchronize());
    CHECK(child_run(60, nothing, NULL) == 0); /* must not write the counts a second time */
}

/* Two processes append; of two warps both run the compare in line 14, the store in line 23 is theirs as well (the
 * second with 8 lanes); a third runs nothing. */
static void test_coverage(void)
{
    char file[] = "/tmp/upres-coverage-XXXXXX", options[128], line[256];
    int handle = mkstemp(file), compare = 0, store = 0, lines = 0;
    if (handle < 0) {
        test_result("coverage: a temporary file", false);
        return;
    }
    close(handle);
    snprintf(options, sizeof options, "sm=90,coverage=%s", file);
    int failures = run_case(options, covered, false) + run_case(options, covered, false);
    FILE *f = fopen(file, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char kernel[64];
        unsigned number, part;
        unsigned long count, hash;
        if (sscanf(line, "%63s %u %lu %lx %u", kernel, &number, &count, &hash, &part) != 5) failures++;
        if (strcmp(kernel, "scale") != 0 || part != 90) failures++;
        lines++;
        if (number == 14 && count == 2) compare++;
        if (number == 23 && count == 2) store++;
    }
    if (f != NULL) fclose(f);
    unlink(file);
    if (compare != 2 || store != 2) printf("  compare %d, store %d of 2 lines each; %d lines\n", compare, store, lines);
    test_result("coverage: two processes count each line into one file", failures == 0 && compare == 2 && store == 2);
}

/* ----------------------------------------------------------------------------------------------------------- report */

static void counted(void)
{
    CUdeviceptr p, q;
    void *host;
    start();
    OK(cu.cuMemAlloc_v2(&p, 5000));
    OK(cu.cuMemAlloc_v2(&q, 1000));
    OK(cu.cuMemFree_v2(q));
    OK(cu.cuMemHostAlloc(&host, 3000, 0));
    CUmemAllocationProp where = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
    CUmemGenericAllocationHandle physical;
    CUdeviceptr range;
    OK(cu.cuMemAddressReserve(&range, 8 << 20, 0, 0, 0));
    OK(cu.cuMemCreate(&physical, 4 << 20, &where, 0));
    OK(cu.cuMemMap(range, 4 << 20, 0, physical, 0));
    OK(cu.cuMemsetD8Async(p, 1, 5000, NULL));
    OK(cu.cuCtxSynchronize());
    CHECK(cu.cuMemAlloc_v2(&q, (size_t)1 << 40) == CUDA_ERROR_OUT_OF_MEMORY);
    CHECK(child_run(60, nothing, NULL) == 0);
}

static void test_report(void)
{
    static const struct {
        const char *name;
        unsigned long number;
    } wanted[] = {{"memory of device 0 at most", 5120 + (4 << 20)},
                  {"memory of device 0 at the end", 5120 + (4 << 20)},
                  {"pinned memory at most", 3000},
                  {"pinned memory at the end", 3000},
                  {"allocations left to a context's end", 0},
                  {"reserved ranges at the end", 1},
                  {"mapped granules at the end", 2},
                  {"memory handles at the end", 1},
                  {"cuMemAlloc_v2", 3},
                  {"cuMemFree_v2", 1},
                  {"cuMemHostAlloc", 1},
                  {"cuMemsetD8Async", 1}};
    char file[] = "/tmp/upres-report-XXXXXX", options[128], line[256];
    int handle = mkstemp(file);
    size_t found = 0;
    if (handle < 0) {
        test_result("report: a temporary file", false);
        return;
    }
    close(handle);
    snprintf(options, sizeof options, "memory=8M,report=%s", file);
    int failures = run_case(options, counted, false);
    FILE *f = fopen(file, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *tab = strchr(line, '\t');
        if (tab == NULL) failures++;
        else *tab = '\0';
        for (size_t i = 0; tab != NULL && i < sizeof wanted / sizeof wanted[0]; i++)
            if (strcmp(line, wanted[i].name) == 0) found += strtoul(tab + 1, NULL, 10) == wanted[i].number;
    }
    if (f != NULL) fclose(f);
    unlink(file);
    test_result("report: memory at its most and calls by name, once",
                failures == 0 && found == sizeof wanted / sizeof wanted[0]);
}

/* A copy to the host is waited for, and a fill. */
static void waited(void)
{
    CUdeviceptr p;
    CUevent event;
    CUstream stream;
    void *host;
    start();
    OK(cu.cuMemAlloc_v2(&p, 256));
    OK(cu.cuMemHostAlloc(&host, 256, 0));
    OK(cu.cuStreamCreate(&stream, 1));
    OK(cu.cuEventCreate(&event, 0));
    OK(cu.cuMemsetD8Async(p, 1, 256, stream));
    OK(cu.cuMemcpyDtoHAsync_v2(host, p, 256, stream));
    OK(cu.cuEventRecord(event, stream));
    OK(cu.cuEventSynchronize(event));
    OK(cu.cuMemsetD8Async(p, 2, 256, stream));
    OK(cu.cuStreamSynchronize(stream));
}

static void test_calls(void)
{
    static const char *const wanted[] = {"cuMemcpyDtoHAsync_v2\t0\t0\t0\n", "cuEventRecordWithFlags\t0\t0\t0\n",
                                         "cuEventSynchronize\t0\t0\t1\n", "cuMemsetD8Async\t0\t0\t0\n",
                                         "cuStreamSynchronize\t0\t0\t0\n"};
    char file[] = "/tmp/upres-calls-XXXXXX", options[128], line[256];
    const int handle = mkstemp(file);
    size_t found = 0;
    if (handle < 0) {
        test_result("calls: a temporary file", false);
        return;
    }
    close(handle);
    snprintf(options, sizeof options, "calls=%s", file);
    const int failures = run_case(options, waited, false);
    FILE *f = fopen(file, "r");
    while (f != NULL && found < sizeof wanted / sizeof wanted[0] && fgets(line, sizeof line, f) != NULL)
        found = strcmp(line, wanted[found]) == 0 ? found + 1 : 0;
    if (f != NULL) fclose(f);
    unlink(file);
    test_result("calls: in their order, with what is waited for", failures == 0 && found == sizeof wanted / sizeof wanted[0]);
}

int main(int count, char **arguments)
{
    char beside[1024];
    emulator_path(arguments[0], "", beside, sizeof beside);
    test_begin(count > 1 ? arguments[1] : beside);
    test_case("symbols: every one of the list, none without its version", NULL, symbols);
    test_case("cuGetProcAddress and error texts", NULL, proc_address);
    test_options();
    test_case("device: sm_120", "sm=120", device_120);
    test_case("device: sm_90", "sm=90", device_90);
    test_case("device: sm_89", "sm=89", device_89);
    test_case("device: sm_80", "sm=80", device_80);
    test_case("contexts", "devices=2", contexts);
    test_case("memory: the limit is exact", "memory=8M", memory_limit);
    test_case("memory: the third allocation fails", "fail_alloc=3", failing_allocation);
    test_case("memory: the second call of a function fails", "fail_call=cuMemAlloc_v2:2", failing_call);
    test_case("memory: and all after it, with a status", "fail_call=cuMemAlloc_v2:2+:801", failing_calls);
    test_case("memory: copies and fills stay inside, to the byte", NULL, copy_bounds);
    test_case("memory: double free, use after free", NULL, frees);
    test_case("memory: unwritten bytes do not reach the host", NULL, uninitialised_copy);
    test_case("copies in all directions", NULL, copies);
    test_case("pinned and pageable host memory", NULL, pinned);
    test_case("pageable memory: more than is kept", NULL, pageable_flood);
    test_case("virtual memory", "memory=8M", virtual_memory);
#ifndef _WIN32 /* which maps multiples of 2 MiB alone */
    test_case("virtual memory in small granules", "memory=8M,granule=64K", virtual_memory);
#endif
    test_case("virtual memory where there is none", "mapping=0", no_virtual_memory);
    test_case("tensor maps: good and bad", NULL, tensor_maps);
    test_case("kernel: launched in both ways", NULL, kernel_runs);
    test_case("kernel: bad launches are refused", NULL, launch_refused);
    test_case("kernel: out of bounds is found, told, and stays", "devices=2", kernel_out_of_bounds);
    test_case("kernel: use after free", NULL, kernel_after_free);
    test_case("kernel: unwritten memory read", NULL, kernel_reads_unwritten);
    test_case("kernel: a missing barrier is a race", NULL, shared_race);
    test_case("kernel: with the barrier it is right", NULL, shared_barrier);
    test_case("kernel: boxes by a tensor map, sm_90", "sm=90", tensor_boxes);
    test_case("kernel: boxes by a tensor map, sm_120", "sm=120", tensor_boxes);
    test_case("kernel: a deadlock is reported", NULL, deadlock);
    test_case("module: variables", NULL, module_variables);
    test_case("module: what cannot be loaded", "sm=86", bad_modules);
    test_case("two devices: peer copies and access", "devices=2", peers);
    test_coverage();
    test_report();
    test_calls();
    test_streams();
    test_compilers();
    return test_end();
}
