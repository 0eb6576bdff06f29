/*
 * The CUDA driver, opened at run time: our own declarations of the little that is used, so no CUDA header is needed to
 * build and a machine without a driver loses nothing but its GPU.
 *
 * Library: UPRES_CUDA_DRIVER when set (a path, nothing else is tried then; "none": no driver), else libcuda.so.1 | nvcuda.dll by the system's
 * search. It is opened once and never closed. Needs CUDA 12.0 or newer (cuDriverGetVersion >= 12000).
 *
 * Threads: any. Names and values are those of the CUDA driver API.
 */
#ifndef UPRES_RUNTIME_CUDA_DRIVER_H
#define UPRES_RUNTIME_CUDA_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define CUDA_CALL __stdcall
#else
#define CUDA_CALL
#endif

typedef int CUresult; /* 0: success */
typedef int CUdevice;
typedef uint64_t CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphExec_st *CUgraphExec;
typedef unsigned long long CUmemHandle; /* CUmemGenericAllocationHandle */
typedef struct CUmemLocation {
    int type, id;
} CUmemLocation;
typedef struct CUmemAllocationProp {
    int type, handle_types;
    CUmemLocation location;
    void *windows;
    struct {
        uint8_t compression, direct;
        uint16_t usage;
        uint8_t reserved[4];
    } flags;
} CUmemAllocationProp;
typedef struct CUmemAccessDesc {
    CUmemLocation location;
    int flags;
} CUmemAccessDesc;
enum { CU_MEM_ALLOCATION_PINNED = 1, CU_MEM_LOCATION_DEVICE = 1, CU_MEM_ACCESS_READ_WRITE = 3, CU_MEM_GRANULE_LEAST = 0 };
typedef struct CUtensorMap {
#ifdef __GNUC__
    __attribute__((aligned(64)))
#endif
    uint64_t opaque[16];
} CUtensorMap;

enum {
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION = 222,
};

enum { /* CUdevice_attribute */
    CU_ATTRIBUTE_CLOCK_RATE = 13, /* kHz */
    CU_ATTRIBUTE_SMS = 16,
    CU_ATTRIBUTE_KERNEL_EXEC_TIMEOUT = 17,
    CU_ATTRIBUTE_INTEGRATED = 18,
    CU_ATTRIBUTE_TCC = 35, /* Windows: a device without a display's driver model */
    CU_ATTRIBUTE_MEMORY_CLOCK_RATE = 36, /* kHz */
    CU_ATTRIBUTE_MEMORY_BUS_WIDTH = 37,  /* bits */
    CU_ATTRIBUTE_L2_BYTES = 38,
    CU_ATTRIBUTE_THREADS_PER_SM = 39,
    CU_ATTRIBUTE_MAJOR = 75,
    CU_ATTRIBUTE_MINOR = 76,
    CU_ATTRIBUTE_SHARED_PER_SM = 81,
    CU_ATTRIBUTE_SHARED_PER_BLOCK_OPTIN = 97,
    CU_ATTRIBUTE_VIRTUAL_MEMORY = 102,
};
enum { CU_FUNC_MAX_DYNAMIC_SHARED = 8, CU_STREAM_NON_BLOCKING = 1, CU_EVENT_DISABLE_TIMING = 2 };

/* X(field, exported symbol, parameters): every one must be there. */
#define CUDA_DRIVER_FUNCTIONS(X)                                                                                        \
    X(init, cuInit, (unsigned flags))                                                                                   \
    X(driver_version, cuDriverGetVersion, (int *version))                                                               \
    X(error_name, cuGetErrorName, (CUresult error, const char **name))                                                  \
    X(error_string, cuGetErrorString, (CUresult error, const char **text))                                              \
    X(device_count, cuDeviceGetCount, (int *count))                                                                     \
    X(device_get, cuDeviceGet, (CUdevice * device, int ordinal))                                                        \
    X(device_name, cuDeviceGetName, (char *name, int length, CUdevice device))                                          \
    X(device_memory, cuDeviceTotalMem_v2, (size_t *bytes, CUdevice device))                                             \
    X(device_attribute, cuDeviceGetAttribute, (int *value, int attribute, CUdevice device))                             \
    X(context_retain, cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                                 \
    X(context_release, cuDevicePrimaryCtxRelease_v2, (CUdevice device))                                                 \
    X(context_push, cuCtxPushCurrent_v2, (CUcontext context))                                                           \
    X(context_pop, cuCtxPopCurrent_v2, (CUcontext * context))                                                           \
    X(context_synchronize, cuCtxSynchronize, (void))                                                                    \
    X(memory_info, cuMemGetInfo_v2, (size_t *free_bytes, size_t *total_bytes))                                          \
    X(memory_take, cuMemAlloc_v2, (CUdeviceptr * address, size_t bytes))                                                \
    X(memory_give, cuMemFree_v2, (CUdeviceptr address))                                                                 \
    X(memory_granule, cuMemGetAllocationGranularity,                                                                    \
      (size_t * bytes, const CUmemAllocationProp *properties, int which))                                              \
    X(address_reserve, cuMemAddressReserve,                                                                             \
      (CUdeviceptr * address, size_t bytes, size_t alignment, CUdeviceptr wish, unsigned long long flags))              \
    X(address_free, cuMemAddressFree, (CUdeviceptr address, size_t bytes))                                              \
    X(memory_create, cuMemCreate,                                                                                       \
      (CUmemHandle * handle, size_t bytes, const CUmemAllocationProp *properties, unsigned long long flags))            \
    X(memory_release, cuMemRelease, (CUmemHandle handle))                                                               \
    X(memory_map, cuMemMap,                                                                                             \
      (CUdeviceptr address, size_t bytes, size_t offset, CUmemHandle handle, unsigned long long flags))                 \
    X(memory_unmap, cuMemUnmap, (CUdeviceptr address, size_t bytes))                                                    \
    X(memory_access, cuMemSetAccess,                                                                                    \
      (CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count))                                 \
    X(host_take, cuMemHostAlloc, (void **pointer, size_t bytes, unsigned flags))                                        \
    X(host_give, cuMemFreeHost, (void *pointer))                                                                        \
    X(copy_in, cuMemcpyHtoDAsync_v2, (CUdeviceptr target, const void *source, size_t bytes, CUstream stream))           \
    X(copy_out, cuMemcpyDtoHAsync_v2, (void *target, CUdeviceptr source, size_t bytes, CUstream stream))                \
    X(copy, cuMemcpyDtoDAsync_v2, (CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream))              \
    X(fill8, cuMemsetD8Async, (CUdeviceptr target, unsigned char value, size_t count, CUstream stream))                 \
    X(fill32, cuMemsetD32Async, (CUdeviceptr target, unsigned value, size_t count, CUstream stream))                    \
    X(stream_create, cuStreamCreate, (CUstream * stream, unsigned flags))                                               \
    X(stream_create_ranked, cuStreamCreateWithPriority, (CUstream * stream, unsigned flags, int priority))              \
    X(stream_destroy, cuStreamDestroy_v2, (CUstream stream))                                                            \
    X(stream_synchronize, cuStreamSynchronize, (CUstream stream))                                                       \
    X(stream_query, cuStreamQuery, (CUstream stream))                                                                   \
    X(stream_wait, cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags))                                 \
    X(event_create, cuEventCreate, (CUevent * event, unsigned flags))                                                   \
    X(event_destroy, cuEventDestroy_v2, (CUevent event))                                                                \
    X(event_record, cuEventRecord, (CUevent event, CUstream stream))                                                    \
    X(event_synchronize, cuEventSynchronize, (CUevent event))                                                           \
    X(event_query, cuEventQuery, (CUevent event))                                                                       \
    X(event_elapsed, cuEventElapsedTime, (float *milliseconds, CUevent begin, CUevent end))                             \
    X(module_load, cuModuleLoadDataEx,                                                                                  \
      (CUmodule * module, const void *image, unsigned count, int *options, void **values))                             \
    X(module_unload, cuModuleUnload, (CUmodule module))                                                                 \
    X(module_function, cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name))                 \
    X(function_set, cuFuncSetAttribute, (CUfunction function, int attribute, int value))                                \
    X(function_get, cuFuncGetAttribute, (int *value, int attribute, CUfunction function))                               \
    X(launch, cuLaunchKernel,                                                                                           \
      (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,      \
       unsigned block_z, unsigned shared, CUstream stream, void **arguments, void **extra))                             \
    X(capture_begin, cuStreamBeginCapture_v2, (CUstream stream, int mode))                                              \
    X(capture_end, cuStreamEndCapture, (CUstream stream, CUgraph * graph))                                              \
    X(graph_instantiate, cuGraphInstantiateWithFlags, (CUgraphExec * exec, CUgraph graph, unsigned long long flags))    \
    X(graph_launch, cuGraphLaunch, (CUgraphExec exec, CUstream stream))                                                 \
    X(graph_exec_destroy, cuGraphExecDestroy, (CUgraphExec exec))                                                       \
    X(graph_destroy, cuGraphDestroy, (CUgraph graph))                                                                   \
    X(tensor_map_tiled, cuTensorMapEncodeTiled,                                                                         \
      (CUtensorMap * map, int type, unsigned rank, void *address, const uint64_t *sizes, const uint64_t *strides,       \
       const uint32_t *box, const uint32_t *element_strides, int interleave, int swizzle, int l2, int fill))

typedef struct CudaDriver {
#define X(field, symbol, parameters) CUresult(CUDA_CALL *field) parameters;
    CUDA_DRIVER_FUNCTIONS(X)
#undef X
    CUresult(CUDA_CALL *device_luid)(char *luid, unsigned *nodes, CUdevice device); /* NULL: it has none, as outside Windows */
    int version; /* 12080: 12.8 */
} CudaDriver;

/* The driver, initialised; NULL and a sentence when there is none, it is too old, or it finds no device. */
const CudaDriver *cuda_driver(char *error, size_t error_size);

/* Is a GPU meant to be used here: is there a driver, however useless, or was one named? */
bool cuda_driver_meant(void);

/* "cuMemAlloc: out of memory (CUDA_ERROR_OUT_OF_MEMORY, 2)": what the driver says about a status. */
void cuda_status_text(const CudaDriver *c, const char *what, CUresult status, char *text, size_t size);

/* How kernels are made for a device: see gpu-kernels "device choice". */
typedef enum CudaTarget { CUDA_TARGET_80, CUDA_TARGET_89, CUDA_TARGET_90A, CUDA_TARGET_120F, CUDA_TARGET_COUNT } CudaTarget;
/* The kernels that suit a part under a driver of that version; false: none are made for it. */
bool cuda_target(int major, int minor, int driver_version, CudaTarget *target);
const char *cuda_target_name(CudaTarget t); /* "80", "89", "90a", "120f": as in compute_80 */

typedef struct CudaDevice {
    int ordinal, major, minor, sms, shared_per_block, shared_per_sm, threads_per_sm;
    double clock_ghz, bandwidth_gbs; /* from attributes; 0: the driver does not tell */
    uint64_t memory, l2;
    bool display; /* kernels have a time limit */
    bool spills;  /* the driver takes the host's memory where the device's own does not suffice */
    char name[128];
    CudaTarget target;
} CudaDevice;

/* Of a launch. */
typedef struct CudaGrid {
    unsigned x, y, z, threads, shared; /* blocks; threads of a block (x alone); bytes of dynamic shared memory */
} CudaGrid;

/* How many devices the driver shows; 0 without one. */
int cuda_device_count(void);
/* What device `ordinal` is. False and a sentence: no driver, no such device, one older than compute capability 8.0. */
bool cuda_device(int ordinal, CudaDevice *device, char *error, size_t error_size);

/* Bytes that a job may take of device `ordinal` (runtime/cuda/budget.h). 0: not known. Opens and closes a context. */
uint64_t cuda_device_free(int ordinal);

#endif
