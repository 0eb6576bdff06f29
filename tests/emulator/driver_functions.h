/*
 * Every function the emulated driver exports, once: FUNCTION(name, since, symbol, (parameters)).
 *
 * `name` is what a program asks cuGetProcAddress for, `since` the CUDA version (major * 1000 + minor * 10) from
 * which that name means `symbol`, and `symbol` what the library exports. Where a name has several rows, the newest
 * that is not above the version asked for is the answer. All return CUresult. ALIAS(name, since, symbol) is a
 * second name of a symbol that has its row. Included several times: for prototypes, for the table of
 * cuGetProcAddress, and by the tests for their pointers.
 */
/* clang-format off: it takes the pointers for products */
FUNCTION(cuInit, 2000, cuInit, (unsigned flags))
FUNCTION(cuDriverGetVersion, 2020, cuDriverGetVersion, (int *version))
FUNCTION(cuGetErrorName, 6000, cuGetErrorName, (CUresult error, const char **name))
FUNCTION(cuGetErrorString, 6000, cuGetErrorString, (CUresult error, const char **text))
FUNCTION(cuGetProcAddress, 12000, cuGetProcAddress_v2,
         (const char *name, void **function, int version, uint64_t flags, int *status))
FUNCTION(cuGetProcAddress, 11030, cuGetProcAddress, (const char *name, void **function, int version, uint64_t flags))
FUNCTION(cuGetExportTable, 3000, cuGetExportTable, (const void **table, const void *uuid))

FUNCTION(cuDeviceGet, 2000, cuDeviceGet, (CUdevice *device, int ordinal))
FUNCTION(cuDeviceGetCount, 2000, cuDeviceGetCount, (int *count))
FUNCTION(cuDeviceGetName, 2000, cuDeviceGetName, (char *name, int length, CUdevice device))
FUNCTION(cuDeviceGetUuid, 9020, cuDeviceGetUuid, (void *uuid, CUdevice device))
FUNCTION(cuDeviceGetUuid, 11040, cuDeviceGetUuid_v2, (void *uuid, CUdevice device))
FUNCTION(cuDeviceGetLuid, 10000, cuDeviceGetLuid, (char *luid, unsigned *nodes, CUdevice device))
FUNCTION(cuDeviceTotalMem, 3020, cuDeviceTotalMem_v2, (size_t *bytes, CUdevice device))
FUNCTION(cuDeviceGetAttribute, 2000, cuDeviceGetAttribute, (int *value, int attribute, CUdevice device))
FUNCTION(cuDeviceComputeCapability, 2000, cuDeviceComputeCapability, (int *major, int *minor, CUdevice device))
FUNCTION(cuDeviceGetPCIBusId, 4010, cuDeviceGetPCIBusId, (char *text, int length, CUdevice device))
FUNCTION(cuDeviceCanAccessPeer, 4000, cuDeviceCanAccessPeer, (int *can, CUdevice device, CUdevice peer))
FUNCTION(cuDeviceGetDefaultMemPool, 11020, cuDeviceGetDefaultMemPool, (CUmemoryPool *pool, CUdevice device))
FUNCTION(cuDeviceGetMemPool, 11020, cuDeviceGetMemPool, (CUmemoryPool *pool, CUdevice device))
FUNCTION(cuDeviceSetMemPool, 11020, cuDeviceSetMemPool, (CUdevice device, CUmemoryPool pool))
FUNCTION(cuDevicePrimaryCtxRetain, 7000, cuDevicePrimaryCtxRetain, (CUcontext *context, CUdevice device))
FUNCTION(cuDevicePrimaryCtxRelease, 11000, cuDevicePrimaryCtxRelease_v2, (CUdevice device))
FUNCTION(cuDevicePrimaryCtxReset, 11000, cuDevicePrimaryCtxReset_v2, (CUdevice device))
FUNCTION(cuDevicePrimaryCtxSetFlags, 11000, cuDevicePrimaryCtxSetFlags_v2, (CUdevice device, unsigned flags))
FUNCTION(cuDevicePrimaryCtxGetState, 7000, cuDevicePrimaryCtxGetState, (CUdevice device, unsigned *flags, int *active))

FUNCTION(cuCtxCreate, 3020, cuCtxCreate_v2, (CUcontext *context, unsigned flags, CUdevice device))
FUNCTION(cuCtxCreate, 11040, cuCtxCreate_v3,
         (CUcontext *context, void *affinity, int count, unsigned flags, CUdevice device))
FUNCTION(cuCtxCreate, 12050, cuCtxCreate_v4, (CUcontext *context, void *params, unsigned flags, CUdevice device))
FUNCTION(cuCtxDestroy, 4000, cuCtxDestroy_v2, (CUcontext context))
FUNCTION(cuCtxPushCurrent, 4000, cuCtxPushCurrent_v2, (CUcontext context))
FUNCTION(cuCtxPopCurrent, 4000, cuCtxPopCurrent_v2, (CUcontext *context))
FUNCTION(cuCtxSetCurrent, 4000, cuCtxSetCurrent, (CUcontext context))
FUNCTION(cuCtxGetCurrent, 4000, cuCtxGetCurrent, (CUcontext *context))
FUNCTION(cuCtxGetDevice, 2000, cuCtxGetDevice, (CUdevice *device))
FUNCTION(cuCtxGetFlags, 7000, cuCtxGetFlags, (unsigned *flags))
FUNCTION(cuCtxGetApiVersion, 3020, cuCtxGetApiVersion, (CUcontext context, unsigned *version))
FUNCTION(cuCtxSynchronize, 2000, cuCtxSynchronize, (void))
FUNCTION(cuCtxSynchronize, 13000, cuCtxSynchronize_v2, (CUcontext context))
FUNCTION(cuCtxGetStreamPriorityRange, 5050, cuCtxGetStreamPriorityRange, (int *least, int *greatest))
FUNCTION(cuCtxSetLimit, 3010, cuCtxSetLimit, (int limit, size_t value))
FUNCTION(cuCtxGetLimit, 3010, cuCtxGetLimit, (size_t *value, int limit))
FUNCTION(cuCtxSetCacheConfig, 3020, cuCtxSetCacheConfig, (int config))
FUNCTION(cuCtxGetCacheConfig, 3020, cuCtxGetCacheConfig, (int *config))
FUNCTION(cuCtxEnablePeerAccess, 4000, cuCtxEnablePeerAccess, (CUcontext peer, unsigned flags))
FUNCTION(cuCtxDisablePeerAccess, 4000, cuCtxDisablePeerAccess, (CUcontext peer))

FUNCTION(cuMemGetInfo, 3020, cuMemGetInfo_v2, (size_t *free_bytes, size_t *total_bytes))
FUNCTION(cuMemAlloc, 3020, cuMemAlloc_v2, (CUdeviceptr *address, size_t bytes))
FUNCTION(cuMemAllocPitch, 3020, cuMemAllocPitch_v2,
         (CUdeviceptr *address, size_t *pitch, size_t width, size_t height, unsigned element))
FUNCTION(cuMemFree, 3020, cuMemFree_v2, (CUdeviceptr address))
FUNCTION(cuMemGetAddressRange, 3020, cuMemGetAddressRange_v2, (CUdeviceptr *base, size_t *bytes, CUdeviceptr address))
FUNCTION(cuMemAllocAsync, 11020, cuMemAllocAsync, (CUdeviceptr *address, size_t bytes, CUstream stream))
FUNCTION(cuMemAllocFromPoolAsync, 11020, cuMemAllocFromPoolAsync,
         (CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream))
FUNCTION(cuMemFreeAsync, 11020, cuMemFreeAsync, (CUdeviceptr address, CUstream stream))
FUNCTION(cuMemPoolCreate, 11020, cuMemPoolCreate, (CUmemoryPool *pool, const CUmemPoolProps *properties))
FUNCTION(cuMemPoolDestroy, 11020, cuMemPoolDestroy, (CUmemoryPool pool))
FUNCTION(cuMemPoolTrimTo, 11020, cuMemPoolTrimTo, (CUmemoryPool pool, size_t keep))
FUNCTION(cuMemPoolSetAttribute, 11020, cuMemPoolSetAttribute, (CUmemoryPool pool, int attribute, void *value))
FUNCTION(cuMemPoolGetAttribute, 11020, cuMemPoolGetAttribute, (CUmemoryPool pool, int attribute, void *value))
FUNCTION(cuMemPoolSetAccess, 11020, cuMemPoolSetAccess,
         (CUmemoryPool pool, const CUmemAccessDesc *access, size_t count))
FUNCTION(cuMemHostAlloc, 2020, cuMemHostAlloc, (void **pointer, size_t bytes, unsigned flags))
FUNCTION(cuMemAllocHost, 3020, cuMemAllocHost_v2, (void **pointer, size_t bytes))
FUNCTION(cuMemFreeHost, 2000, cuMemFreeHost, (void *pointer))
FUNCTION(cuMemHostRegister, 6050, cuMemHostRegister_v2, (void *pointer, size_t bytes, unsigned flags))
FUNCTION(cuMemHostUnregister, 4000, cuMemHostUnregister, (void *pointer))
FUNCTION(cuMemHostGetDevicePointer, 3020, cuMemHostGetDevicePointer_v2,
         (CUdeviceptr *address, void *pointer, unsigned flags))
FUNCTION(cuMemHostGetFlags, 2030, cuMemHostGetFlags, (unsigned *flags, void *pointer))
FUNCTION(cuPointerGetAttribute, 4000, cuPointerGetAttribute, (void *data, int attribute, CUdeviceptr address))
FUNCTION(cuPointerGetAttributes, 7000, cuPointerGetAttributes,
         (unsigned count, int *attributes, void **data, CUdeviceptr address))

FUNCTION(cuMemAddressReserve, 10020, cuMemAddressReserve,
         (CUdeviceptr *address, size_t bytes, size_t alignment, CUdeviceptr wish, unsigned long long flags))
FUNCTION(cuMemAddressFree, 10020, cuMemAddressFree, (CUdeviceptr address, size_t bytes))
FUNCTION(cuMemCreate, 10020, cuMemCreate,
         (CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *properties,
          unsigned long long flags))
FUNCTION(cuMemRelease, 10020, cuMemRelease, (CUmemGenericAllocationHandle handle))
FUNCTION(cuMemMap, 10020, cuMemMap,
         (CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
          unsigned long long flags))
FUNCTION(cuMemUnmap, 10020, cuMemUnmap, (CUdeviceptr address, size_t bytes))
FUNCTION(cuMemSetAccess, 10020, cuMemSetAccess,
         (CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count))
FUNCTION(cuMemGetAccess, 10020, cuMemGetAccess,
         (unsigned long long *flags, const CUmemLocation *location, CUdeviceptr address))
FUNCTION(cuMemGetAllocationGranularity, 10020, cuMemGetAllocationGranularity,
         (size_t *granularity, const CUmemAllocationProp *properties, int option))

FUNCTION(cuMemcpy, 4000, cuMemcpy, (CUdeviceptr target, CUdeviceptr source, size_t bytes))
FUNCTION(cuMemcpyAsync, 4000, cuMemcpyAsync, (CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream))
FUNCTION(cuMemcpyHtoD, 3020, cuMemcpyHtoD_v2, (CUdeviceptr target, const void *source, size_t bytes))
FUNCTION(cuMemcpyHtoDAsync, 3020, cuMemcpyHtoDAsync_v2,
         (CUdeviceptr target, const void *source, size_t bytes, CUstream stream))
FUNCTION(cuMemcpyDtoH, 3020, cuMemcpyDtoH_v2, (void *target, CUdeviceptr source, size_t bytes))
FUNCTION(cuMemcpyDtoHAsync, 3020, cuMemcpyDtoHAsync_v2,
         (void *target, CUdeviceptr source, size_t bytes, CUstream stream))
FUNCTION(cuMemcpyDtoD, 3020, cuMemcpyDtoD_v2, (CUdeviceptr target, CUdeviceptr source, size_t bytes))
FUNCTION(cuMemcpyDtoDAsync, 3020, cuMemcpyDtoDAsync_v2,
         (CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream))
FUNCTION(cuMemcpyPeer, 4000, cuMemcpyPeer,
         (CUdeviceptr target, CUcontext target_context, CUdeviceptr source, CUcontext source_context, size_t bytes))
FUNCTION(cuMemcpyPeerAsync, 4000, cuMemcpyPeerAsync,
         (CUdeviceptr target, CUcontext target_context, CUdeviceptr source, CUcontext source_context, size_t bytes,
          CUstream stream))
FUNCTION(cuMemcpy2D, 3020, cuMemcpy2D_v2, (const CUDA_MEMCPY2D *copy))
FUNCTION(cuMemcpy2DUnaligned, 3020, cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D *copy))
FUNCTION(cuMemcpy2DAsync, 3020, cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D *copy, CUstream stream))
FUNCTION(cuMemsetD8, 3020, cuMemsetD8_v2, (CUdeviceptr target, unsigned char value, size_t count))
FUNCTION(cuMemsetD16, 3020, cuMemsetD16_v2, (CUdeviceptr target, unsigned short value, size_t count))
FUNCTION(cuMemsetD32, 3020, cuMemsetD32_v2, (CUdeviceptr target, unsigned value, size_t count))
FUNCTION(cuMemsetD8Async, 3020, cuMemsetD8Async,
         (CUdeviceptr target, unsigned char value, size_t count, CUstream stream))
FUNCTION(cuMemsetD16Async, 3020, cuMemsetD16Async,
         (CUdeviceptr target, unsigned short value, size_t count, CUstream stream))
FUNCTION(cuMemsetD32Async, 3020, cuMemsetD32Async, (CUdeviceptr target, unsigned value, size_t count, CUstream stream))
FUNCTION(cuMemsetD2D8, 3020, cuMemsetD2D8_v2,
         (CUdeviceptr target, size_t pitch, unsigned char value, size_t width, size_t height))
FUNCTION(cuMemsetD2D32, 3020, cuMemsetD2D32_v2,
         (CUdeviceptr target, size_t pitch, unsigned value, size_t width, size_t height))

FUNCTION(cuStreamCreate, 2000, cuStreamCreate, (CUstream *stream, unsigned flags))
FUNCTION(cuStreamCreateWithPriority, 5050, cuStreamCreateWithPriority,
         (CUstream *stream, unsigned flags, int priority))
FUNCTION(cuStreamDestroy, 4000, cuStreamDestroy_v2, (CUstream stream))
FUNCTION(cuStreamSynchronize, 2000, cuStreamSynchronize, (CUstream stream))
FUNCTION(cuStreamQuery, 2000, cuStreamQuery, (CUstream stream))
FUNCTION(cuStreamWaitEvent, 3020, cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags))
FUNCTION(cuStreamGetPriority, 5050, cuStreamGetPriority, (CUstream stream, int *priority))
FUNCTION(cuStreamGetFlags, 5050, cuStreamGetFlags, (CUstream stream, unsigned *flags))
FUNCTION(cuStreamGetCtx, 9020, cuStreamGetCtx, (CUstream stream, CUcontext *context))
FUNCTION(cuLaunchHostFunc, 10000, cuLaunchHostFunc, (CUstream stream, CUhostFn function, void *user))
FUNCTION(cuEventCreate, 2000, cuEventCreate, (CUevent *event, unsigned flags))
FUNCTION(cuEventRecord, 2000, cuEventRecord, (CUevent event, CUstream stream))
FUNCTION(cuEventRecordWithFlags, 11010, cuEventRecordWithFlags, (CUevent event, CUstream stream, unsigned flags))
FUNCTION(cuEventQuery, 2000, cuEventQuery, (CUevent event))
FUNCTION(cuEventSynchronize, 2000, cuEventSynchronize, (CUevent event))
FUNCTION(cuEventDestroy, 4000, cuEventDestroy_v2, (CUevent event))
FUNCTION(cuEventElapsedTime, 2000, cuEventElapsedTime, (float *milliseconds, CUevent begin, CUevent end))
FUNCTION(cuEventElapsedTime, 12080, cuEventElapsedTime_v2, (float *milliseconds, CUevent begin, CUevent end))

FUNCTION(cuStreamBeginCapture, 10010, cuStreamBeginCapture_v2, (CUstream stream, int mode))
FUNCTION(cuStreamEndCapture, 10000, cuStreamEndCapture, (CUstream stream, CUgraph *graph))
FUNCTION(cuStreamIsCapturing, 10000, cuStreamIsCapturing, (CUstream stream, int *status))
FUNCTION(cuThreadExchangeStreamCaptureMode, 10010, cuThreadExchangeStreamCaptureMode, (int *mode))
FUNCTION(cuGraphCreate, 10000, cuGraphCreate, (CUgraph *graph, unsigned flags))
FUNCTION(cuGraphDestroy, 10000, cuGraphDestroy, (CUgraph graph))
FUNCTION(cuGraphGetNodes, 10000, cuGraphGetNodes, (CUgraph graph, CUgraphNode *nodes, size_t *count))
FUNCTION(cuGraphNodeGetType, 10000, cuGraphNodeGetType, (CUgraphNode node, int *type))
FUNCTION(cuGraphAddKernelNode, 12000, cuGraphAddKernelNode_v2,
         (CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t count,
          const CUDA_KERNEL_NODE_PARAMS *params))
FUNCTION(cuGraphAddEmptyNode, 10000, cuGraphAddEmptyNode,
         (CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t count))
FUNCTION(cuGraphKernelNodeGetParams, 12000, cuGraphKernelNodeGetParams_v2,
         (CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *params))
FUNCTION(cuGraphKernelNodeSetParams, 12000, cuGraphKernelNodeSetParams_v2,
         (CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params))
FUNCTION(cuGraphInstantiate, 12000, cuGraphInstantiateWithFlags,
         (CUgraphExec *exec, CUgraph graph, unsigned long long flags))
ALIAS(cuGraphInstantiateWithFlags, 11040, cuGraphInstantiateWithFlags)
FUNCTION(cuGraphInstantiateWithParams, 12000, cuGraphInstantiateWithParams,
         (CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *params))
FUNCTION(cuGraphUpload, 11010, cuGraphUpload, (CUgraphExec exec, CUstream stream))
FUNCTION(cuGraphLaunch, 10000, cuGraphLaunch, (CUgraphExec exec, CUstream stream))
FUNCTION(cuGraphExecDestroy, 10000, cuGraphExecDestroy, (CUgraphExec exec))
FUNCTION(cuGraphExecKernelNodeSetParams, 12000, cuGraphExecKernelNodeSetParams_v2,
         (CUgraphExec exec, CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS *params))
FUNCTION(cuGraphExecUpdate, 12000, cuGraphExecUpdate_v2,
         (CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo *info))

FUNCTION(cuModuleLoad, 2000, cuModuleLoad, (CUmodule *module, const char *path))
FUNCTION(cuModuleLoadData, 2000, cuModuleLoadData, (CUmodule *module, const void *image))
FUNCTION(cuModuleLoadDataEx, 2010, cuModuleLoadDataEx,
         (CUmodule *module, const void *image, unsigned count, int *options, void **values))
FUNCTION(cuModuleUnload, 2000, cuModuleUnload, (CUmodule module))
FUNCTION(cuModuleGetFunction, 2000, cuModuleGetFunction, (CUfunction *function, CUmodule module, const char *name))
FUNCTION(cuModuleGetFunctionCount, 12040, cuModuleGetFunctionCount, (unsigned *count, CUmodule module))
FUNCTION(cuModuleEnumerateFunctions, 12040, cuModuleEnumerateFunctions,
         (CUfunction *functions, unsigned count, CUmodule module))
FUNCTION(cuModuleGetGlobal, 3020, cuModuleGetGlobal_v2,
         (CUdeviceptr *address, size_t *bytes, CUmodule module, const char *name))
FUNCTION(cuModuleGetLoadingMode, 11070, cuModuleGetLoadingMode, (int *mode))
FUNCTION(cuLibraryLoadData, 12000, cuLibraryLoadData,
         (CUlibrary *library, const void *image, int *options, void **values, unsigned count, int *library_options,
          void **library_values, unsigned library_count))
FUNCTION(cuLibraryUnload, 12000, cuLibraryUnload, (CUlibrary library))
FUNCTION(cuLibraryGetKernel, 12000, cuLibraryGetKernel, (CUkernel *kernel, CUlibrary library, const char *name))
FUNCTION(cuLibraryGetModule, 12000, cuLibraryGetModule, (CUmodule *module, CUlibrary library))
FUNCTION(cuLibraryGetGlobal, 12000, cuLibraryGetGlobal,
         (CUdeviceptr *address, size_t *bytes, CUlibrary library, const char *name))
FUNCTION(cuKernelGetFunction, 12000, cuKernelGetFunction, (CUfunction *function, CUkernel kernel))
FUNCTION(cuKernelSetAttribute, 12000, cuKernelSetAttribute,
         (int attribute, int value, CUkernel kernel, CUdevice device))
FUNCTION(cuKernelGetAttribute, 12000, cuKernelGetAttribute,
         (int *value, int attribute, CUkernel kernel, CUdevice device))
FUNCTION(cuFuncGetAttribute, 2020, cuFuncGetAttribute, (int *value, int attribute, CUfunction function))
FUNCTION(cuFuncSetAttribute, 9000, cuFuncSetAttribute, (CUfunction function, int attribute, int value))
FUNCTION(cuFuncSetCacheConfig, 3000, cuFuncSetCacheConfig, (CUfunction function, int config))
FUNCTION(cuFuncGetModule, 11000, cuFuncGetModule, (CUmodule *module, CUfunction function))
FUNCTION(cuFuncGetName, 12030, cuFuncGetName, (const char **name, CUfunction function))
FUNCTION(cuFuncGetParamInfo, 12040, cuFuncGetParamInfo,
         (CUfunction function, size_t index, size_t *offset, size_t *bytes))
FUNCTION(cuLaunchKernel, 4000, cuLaunchKernel,
         (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
          unsigned block_z, unsigned shared, CUstream stream, void **params, void **extra))
FUNCTION(cuLaunchKernelEx, 11060, cuLaunchKernelEx,
         (const CUlaunchConfig *config, CUfunction function, void **params, void **extra))
FUNCTION(cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050, cuOccupancyMaxActiveBlocksPerMultiprocessor,
         (int *blocks, CUfunction function, int block_size, size_t shared))
FUNCTION(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, 7000,
         cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags,
         (int *blocks, CUfunction function, int block_size, size_t shared, unsigned flags))

FUNCTION(cuTensorMapEncodeTiled, 12000, cuTensorMapEncodeTiled,
         (CUtensorMap *map, int type, uint32_t rank, void *address, const uint64_t *sizes, const uint64_t *strides,
          const uint32_t *box, const uint32_t *element_strides, int interleave, int swizzle, int promotion, int fill))
FUNCTION(cuTensorMapReplaceAddress, 12000, cuTensorMapReplaceAddress, (CUtensorMap *map, void *address))
FUNCTION(cuProfilerStart, 4000, cuProfilerStart, (void))
FUNCTION(cuProfilerStop, 4000, cuProfilerStop, (void))
