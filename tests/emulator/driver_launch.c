/*
 * Functions' attributes, launches with their checks, and the way of a kernel into the interpreter.
 */
#include "tests/emulator/driver.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t launch_count;

/* ------------------------------------------------------------------------------------------------------- attributes */

/* enter, and the handle must be a live function. */
#define enter_function(...) enter_function_by(__func__, __VA_ARGS__)
static CUresult enter_function_by(const char *function, struct function *f)
{
    struct context *c;
    CUresult status = enter_by(function, &c);
    if (status == CUDA_SUCCESS && !handle_is(f, HANDLE_FUNCTION))
        status = refuse(CUDA_ERROR_INVALID_HANDLE, "%p is not a function of a loaded module", (void *)f);
    return status;
}

CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction function)
{
    CUresult status = enter_function(function);
    if (status == CUDA_SUCCESS && value == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    const struct core_function_info *info = &function->info;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = (int)info->max_threads;
        break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *value = (int)info->static_shared;
        break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
        *value = 0;
        break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *value = (int)info->local_bytes;
        break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: /* nothing allocates registers here: what the block's size leaves a thread */
        *value = info->max_threads > 256 ? (int)(65536 / info->max_threads) : 255;
        break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        *value = info->ptx_version;
        break;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *value = emu.options.sm;
        break;
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
        *value = 0;
        break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *value = function->max_dynamic_shared;
        break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        *value = function->carveout;
        break;
    default:
        if (attribute < 0 || attribute > CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE)
            return leave(CUDA_ERROR_INVALID_VALUE);
        *value = 0; /* no clusters */
    }
    return leave(CUDA_SUCCESS);
}

CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value)
{
    CUresult status = enter_function(function);
    if (status != CUDA_SUCCESS) return leave(status);
    int optin = function->module->context->device->part->shared_optin;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        if (value < 0 || value > optin - (int)function->info.static_shared)
            return leave(refuse(CUDA_ERROR_INVALID_VALUE,
                                "%s: %d bytes of dynamic and %" PRIu32
                                " of static shared memory, the device has %d a block",
                                function->info.name, value, function->info.static_shared, optin));
        function->max_dynamic_shared = value;
        return leave(CUDA_SUCCESS);
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        if (value < -1 || value > 100) return leave(CUDA_ERROR_INVALID_VALUE);
        function->carveout = value;
        return leave(CUDA_SUCCESS);
    default:
        return leave(CUDA_ERROR_INVALID_VALUE);
    }
}

CUresult cuFuncSetCacheConfig(CUfunction function, int config)
{
    CUresult status = enter_function(function);
    if (status == CUDA_SUCCESS && (config < 0 || config > 3)) status = CUDA_ERROR_INVALID_VALUE;
    return leave(status);
}

CUresult cuFuncGetModule(CUmodule *module, CUfunction function)
{
    CUresult status = enter_function(function);
    if (status == CUDA_SUCCESS && module == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *module = function->module;
    return leave(status);
}

CUresult cuFuncGetName(const char **name, CUfunction function)
{
    CUresult status = enter_function(function);
    if (status == CUDA_SUCCESS && name == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *name = function->info.name;
    return leave(status);
}

CUresult cuFuncGetParamInfo(CUfunction function, size_t index, size_t *offset, size_t *bytes)
{
    CUresult status = enter_function(function);
    if (status == CUDA_SUCCESS && (offset == NULL || index >= function->info.param_count))
        status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) {
        *offset = function->info.params[index].offset;
        if (bytes != NULL) *bytes = function->info.params[index].size;
    }
    return leave(status);
}

/* A kernel of a library is the function itself: there is one module for all contexts of a library. */
CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel)
{
    CUresult status = enter_function(kernel);
    if (status == CUDA_SUCCESS && function == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *function = kernel;
    return leave(status);
}

CUresult cuKernelSetAttribute(int attribute, int value, CUkernel kernel, CUdevice device)
{
    (void)device;
    return cuFuncSetAttribute(kernel, attribute, value);
}

CUresult cuKernelGetAttribute(int *value, int attribute, CUkernel kernel, CUdevice device)
{
    (void)device;
    return cuFuncGetAttribute(value, attribute, kernel);
}

/* By threads, shared memory and the device's limit of blocks; registers are not allocated here and do not count. */
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function, int block_size, size_t shared)
{
    CUresult status = enter_function(function);
    if (status == CUDA_SUCCESS && (blocks == NULL || block_size <= 0)) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    const struct part *part = function->module->context->device->part;
    uint64_t a_block = (uint64_t)shared + function->info.static_shared + 1024; /* the driver's own KiB */
    int by_threads = part->threads_per_sm / ((block_size + 31) / 32 * 32);
    uint64_t by_shared = (uint64_t)part->shared_per_sm / a_block;
    *blocks = by_threads < part->blocks_per_sm ? by_threads : part->blocks_per_sm;
    if (by_shared < (uint64_t)*blocks) *blocks = (int)by_shared;
    if ((uint32_t)block_size > function->info.max_threads) *blocks = 0;
    return leave(CUDA_SUCCESS);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, CUfunction function, int block_size,
                                                              size_t shared, unsigned flags)
{
    if (flags > 1) return CUDA_ERROR_INVALID_VALUE;
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, block_size, shared);
}

/* --------------------------------------------------------------------------------------------------------- launches */

static CUresult check_shape(const struct function *f, const uint32_t grid[3], const uint32_t block[3], uint32_t shared)
{
    const char *name = f->info.name;
    const struct part *part = f->module->context->device->part;
    uint64_t threads = (uint64_t)block[0] * block[1] * block[2];
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || grid[0] > INT32_MAX || grid[1] > 65535 || grid[2] > 65535)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "%s: a grid of %" PRIu32 " x %" PRIu32 " x %" PRIu32 " blocks; 1 to 2147483647 x 65535 x 65535",
                      name, grid[0], grid[1], grid[2]);
    if (threads == 0 || block[0] > 1024 || block[1] > 1024 || block[2] > 64 || threads > 1024)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "%s: a block of %" PRIu32 " x %" PRIu32 " x %" PRIu32
                      " threads; 1 to 1024 x 1024 x 64, 1024 in all",
                      name, block[0], block[1], block[2]);
    if (f->info.required[0] != 0 && memcmp(f->info.required, block, sizeof f->info.required) != 0)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "%s: a block of %" PRIu32 " x %" PRIu32 " x %" PRIu32 " threads, its .reqntid says %" PRIu32
                      " x %" PRIu32 " x %" PRIu32,
                      name, block[0], block[1], block[2], f->info.required[0], f->info.required[1],
                      f->info.required[2]);
    if (threads > f->info.max_threads)
        return refuse(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                      "%s: a block of %" PRIu64 " threads, its .maxntid says %" PRIu32, name, threads,
                      f->info.max_threads);
    if (shared > (uint32_t)f->max_dynamic_shared ||
        (uint64_t)shared + f->info.static_shared > (uint64_t)part->shared_optin)
        return refuse(CUDA_ERROR_INVALID_VALUE,
                      "%s: %" PRIu32 " bytes of dynamic shared memory, it may use %d (static: %" PRIu32
                      "; cuFuncSetAttribute raises it, up to the device's %d a block)",
                      name, shared, f->max_dynamic_shared, f->info.static_shared, part->shared_optin);
    return CUDA_SUCCESS;
}

/* The parameters, from pointers to each or from one buffer. */
static CUresult gather_params(const struct function *f, void **params, void **extra, uint8_t *buffer)
{
    const struct core_function_info *info = &f->info;
    if (extra != NULL) {
        const void *bytes = NULL;
        size_t size = 0;
        if (params != NULL) return CUDA_ERROR_INVALID_VALUE;
        for (size_t i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
            if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
                bytes = extra[i + 1];
            else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE && extra[i + 1] != NULL)
                size = *(const size_t *)extra[i + 1];
            else
                return CUDA_ERROR_INVALID_VALUE;
        }
        if ((bytes == NULL && size > 0) || size < info->param_bytes)
            return refuse(CUDA_ERROR_INVALID_VALUE, "%s: a parameter buffer of %zu bytes, it takes %" PRIu32,
                          info->name, size, info->param_bytes);
        if (info->param_bytes > 0) memcpy(buffer, bytes, info->param_bytes);
        return CUDA_SUCCESS;
    }
    for (uint32_t i = 0; i < info->param_count; i++) {
        if (params == NULL || params[i] == NULL)
            return refuse(CUDA_ERROR_INVALID_VALUE, "%s: parameter %" PRIu32 " of %" PRIu32 " is not given", info->name,
                          i, info->param_count);
        memcpy(buffer + info->params[i].offset, params[i], info->params[i].size);
    }
    return CUDA_SUCCESS;
}

CUresult kernel_work_make(struct function *function, const uint32_t grid[3], const uint32_t block[3], uint32_t shared,
                          void **params, void **extra, struct work *work)
{
    CUresult status = check_shape(function, grid, block, shared);
    if (status != CUDA_SUCCESS) return status;
    uint8_t *buffer = must_calloc(function->info.param_bytes, 1);
    status = gather_params(function, params, extra, buffer);
    if (status != CUDA_SUCCESS) {
        free(buffer);
        return status;
    }
    *work = (struct work){.kind = WORK_KERNEL, .context = function->module->context};
    work->kernel = (struct kernel_work){.function = function,
                                        .grid = {grid[0], grid[1], grid[2]},
                                        .block = {block[0], block[1], block[2]},
                                        .shared = shared,
                                        .params = buffer,
                                        .param_bytes = function->info.param_bytes};
    return CUDA_SUCCESS;
}

/* The lock is held. */
static CUresult launch(struct function *function, const uint32_t grid[3], const uint32_t block[3], uint32_t shared,
                       CUstream handle, void **params, void **extra)
{
    struct stream *stream;
    struct work work;
    CUresult status = stream_resolve(current_context(), handle, &stream);
    if (status != CUDA_SUCCESS) return status;
    if (stream->context != function->module->context)
        return refuse(CUDA_ERROR_INVALID_HANDLE,
                      "%s: the function's module and the stream belong to different contexts", function->info.name);
    status = kernel_work_make(function, grid, block, shared, params, extra, &work);
    return status == CUDA_SUCCESS ? stream_enqueue(stream, &work, NULL) : status;
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared, CUstream stream, void **params,
                        void **extra)
{
    CUresult status = enter_function(function);
    if (status == CUDA_SUCCESS)
        status = launch(function, (const uint32_t[3]){grid_x, grid_y, grid_z},
                        (const uint32_t[3]){block_x, block_y, block_z}, shared, stream, params, extra);
    return leave(status);
}

/* Attributes that only bear on speed change nothing here; a kernel launched with programmatic serialisation runs after
 * the one before it has ended, which is one of the orders it must allow for. */
static CUresult check_attributes(const CUlaunchConfig *config)
{
    if (config->numAttrs > 0 && config->attrs == NULL) return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < config->numAttrs; i++) {
        const CUlaunchAttribute *a = &config->attrs[i];
        if (a->id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE && a->value.value != 0)
            return refuse(CUDA_ERROR_NOT_SUPPORTED, "cooperative launches are not emulated");
        if (a->id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION &&
            (a->value.cluster.x != 1 || a->value.cluster.y != 1 || a->value.cluster.z != 1))
            return refuse(CUDA_ERROR_INVALID_CLUSTER_SIZE, "clusters of more than one block are not emulated");
        if (a->id < 0 || a->id > 16) return refuse(CUDA_ERROR_INVALID_VALUE, "launch attribute %d is not known", a->id);
    }
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **params, void **extra)
{
    CUresult status = enter_function(function);
    if (status == CUDA_SUCCESS) status = config != NULL ? check_attributes(config) : CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS)
        status = launch(function, (const uint32_t[3]){config->gridDimX, config->gridDimY, config->gridDimZ},
                        (const uint32_t[3]){config->blockDimX, config->blockDimY, config->blockDimZ},
                        config->sharedMemBytes, config->hStream, params, extra);
    return leave(status);
}

/* The interpreter asks from several threads; the table does not change while a kernel runs. */
static bool find_span(void *user, uint64_t address, struct core_span *span)
{
    const struct context *c = user;
    const struct allocation *a = allocation_find(address);
    if (a != NULL && allocation_reachable(a, c->device, c->peers)) {
        *span = (struct core_span){a->base, a->size, a->init};
        return true;
    }
    *span = (struct core_span){0};
    return false;
}

void run_kernel(const struct work *work)
{
    const struct kernel_work *k = &work->kernel;
    if (work->context->device->index + 1 == emu.options.fail_kernel) {
        fault(work->context, CUDA_ERROR_LAUNCH_FAILED, "%s fails, as fail_kernel asks", k->function->info.name);
        return;
    }
    struct core_memory memory = {.user = work->context, .find = find_span};
    struct core_launch l = {.function = k->function->core,
                            .grid = {k->grid[0], k->grid[1], k->grid[2]},
                            .block = {k->block[0], k->block[1], k->block[2]},
                            .dynamic_shared = k->shared,
                            .params = k->params,
                            .memory = &memory,
                            .options = {.sm = emu.options.sm,
                                        .seed = emu.options.seed + launch_count++ * 0x9e3779b97f4a7c15u,
                                        .exact_mma = emu.options.exact,
                                        .threads = emu.options.threads}};
    struct core_error error = {0};
    enum core_status status = core_run(&l, &error);
    if (status == CORE_OK) return;
    char text[256];
    bool global = status == CORE_FAULT_ADDRESS && error.address >> 32 != 0;
    if (global) describe_address(error.address, text, sizeof text);
    fault(work->context, (CUresult)status, "%s%s%s", error.text, global ? "; " : "", global ? text : "");
}
