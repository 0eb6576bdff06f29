/*
 * cuGetProcAddress, and the names and texts of errors.
 */
#include "tests/emulator/driver.h"

#include <string.h>

typedef void (*any_function)(void);
static const struct entry {
    const char *name;
    int since;
    any_function function;
} entries[] = {
#define FUNCTION(name, since, symbol, parameters) {#name, since, (any_function)symbol},
#define ALIAS(name, since, symbol)                {#name, since, (any_function)symbol},
#include "tests/emulator/driver_functions.h"
#undef ALIAS
#undef FUNCTION
};

static CUresult find(const char *name, void **function, int version, uint64_t flags, int *found)
{
    *found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    if (name == NULL || function == NULL || flags > 2) return CUDA_ERROR_INVALID_VALUE;
    *function = NULL;
    /* 2 asks for the variants with a default stream of each thread, which the emulator has not. */
    if (flags == 2) return CUDA_ERROR_NOT_SUPPORTED;
    const struct entry *best = NULL;
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        if (strcmp(entries[i].name, name) != 0) continue;
        if (entries[i].since <= version)
            *found = CU_GET_PROC_ADDRESS_SUCCESS;
        else if (*found != CU_GET_PROC_ADDRESS_SUCCESS)
            *found = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
        if (entries[i].since <= version && (best == NULL || entries[i].since > best->since)) best = &entries[i];
    }
    if (best == NULL) return CUDA_ERROR_NOT_FOUND;
    memcpy(function, &best->function, sizeof *function);
    return CUDA_SUCCESS;
}

CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status)
{
    int found;
    CUresult result = find(name, function, version, flags, &found);
    if (status == NULL) return result;
    *status = found; /* with it, a name that is not there is an answer, not an error */
    return result == CUDA_ERROR_NOT_FOUND ? CUDA_SUCCESS : result;
}

CUresult cuGetProcAddress(const char *name, void **function, int version, uint64_t flags)
{
    int found;
    return find(name, function, version, flags, &found);
}

/* Tables of private functions, beginning with their size. NVRTC asks for one, whichever driver is open, and reads the size
 * without a look at the status; this one holds nothing more. */
CUresult cuGetExportTable(const void **table, const void *uuid)
{
    static const uint64_t empty = sizeof empty;
    if (table == NULL || uuid == NULL) return CUDA_ERROR_INVALID_VALUE;
    *table = &empty;
    return CUDA_SUCCESS;
}

static const struct {
    CUresult error;
    const char *name, *text;
} errors[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {200, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {217, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED", "peer access is not supported between these two devices"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain"},
    {301, "CUDA_ERROR_FILE_NOT_FOUND", "file not found"},
    {304, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed or operation not supported on this OS"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {401, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
    {704, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", "peer access is already enabled"},
    {705, "CUDA_ERROR_PEER_ACCESS_NOT_ENABLED", "peer access has not been enabled"},
    {708, "CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", "cannot set while device is active in this process"},
    {712, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "part or all of the requested memory range is already mapped"},
    {713, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "pointer does not correspond to a registered memory region"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {800, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
    {902, "CUDA_ERROR_STREAM_CAPTURE_MERGE", "operation would result in a merge of separate capture sequences"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"},
    {904, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {905, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
    {906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "operation would make the legacy stream depend on a capturing stream"},
    {907, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
    {910, "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE", "the graph update was not performed"},
    {912, "CUDA_ERROR_INVALID_CLUSTER_SIZE", "cluster misconfiguration"},
    {999, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

static CUresult error_text(CUresult error, const char **text, bool name)
{
    if (text == NULL) return CUDA_ERROR_INVALID_VALUE;
    *text = NULL;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].error == error) *text = name ? errors[i].name : errors[i].text;
    return *text != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    return error_text(error, name, true);
}

CUresult cuGetErrorString(CUresult error, const char **text)
{
    return error_text(error, text, false);
}
