#include "runtime/cuda/driver.h"
#include "runtime/cuda/budget.h"
#include "runtime/cuda/library.h"
#include "runtime/cuda/video_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#define DRIVER_LIBRARY "nvcuda.dll"
#else
#define DRIVER_LIBRARY "libcuda.so.1"
#endif

enum { OLDEST_DRIVER = 12000, DRIVER_OF_120F = 12090 };

static LibraryOnce once;
static CudaDriver driver;
static char why_not[768]; /* "" once the driver can be used */

static bool find_functions(void *library, const char *name)
{
#define X(field, symbol, parameters)                                                                                    \
    if (!library_function(library, #symbol, &driver.field)) {                                                           \
        snprintf(why_not, sizeof why_not,                                                                               \
                 "the CUDA driver %s has no function %s; upres needs a driver for CUDA 12.0 or newer: update it", name, \
                 #symbol);                                                                                              \
        return false;                                                                                                   \
    }
    CUDA_DRIVER_FUNCTIONS(X)
#undef X
    if (!library_function(library, "cuDeviceGetLuid", &driver.device_luid)) driver.device_luid = NULL;
    return true;
}

static bool new_enough(const char *name)
{
    CUresult status = driver.driver_version(&driver.version);
    if (status != 0) {
        cuda_status_text(&driver, "cuDriverGetVersion", status, why_not, sizeof why_not);
        return false;
    }
    if (driver.version >= OLDEST_DRIVER) return true;
    snprintf(why_not, sizeof why_not, "the CUDA driver %s is for CUDA %d.%d; upres needs one for CUDA 12.0 or newer: update it",
             name, driver.version / 1000, driver.version % 1000 / 10);
    return false;
}

static bool meant; /* a driver is there, or was named */

static void open_driver(void)
{
    char reason[512] = "", room[LIBRARY_VALUE];
    const char *own = library_environment("UPRES_CUDA_DRIVER", room), *name = own && *own ? own : DRIVER_LIBRARY;
    if (own && strcmp(own, "none") == 0) {
        snprintf(why_not, sizeof why_not, "no CUDA driver: UPRES_CUDA_DRIVER=none forbids it");
        return;
    }
    void *library = library_open(name, reason, sizeof reason);
    meant = library != NULL || name == own;
    if (library == NULL) {
        snprintf(why_not, sizeof why_not, "no CUDA driver (%s); %s", reason,
                 name == own ? "UPRES_CUDA_DRIVER names a library that cannot be opened"
                             : "install NVIDIA's driver to compute on its GPU");
        return;
    }
    if (!find_functions(library, name) || !new_enough(name)) return;
    int count = 0;
    CUresult status = driver.init(0);
    const char *call = "cuInit";
    if (status == 0) {
        status = driver.device_count(&count);
        call = "cuDeviceGetCount";
    }
    if (status == CUDA_ERROR_NO_DEVICE || (status == 0 && count == 0))
        snprintf(why_not, sizeof why_not, "the CUDA driver %s finds no NVIDIA GPU (CUDA_VISIBLE_DEVICES may hide it)", name);
    else if (status != 0)
        cuda_status_text(&driver, call, status, why_not, sizeof why_not);
}

bool cuda_driver_meant(void)
{
    library_once(&once, open_driver);
    return meant;
}

const CudaDriver *cuda_driver(char *error, size_t error_size)
{
    library_once(&once, open_driver);
    if (!why_not[0]) return &driver;
    snprintf(error, error_size, "%s", why_not);
    return NULL;
}

void cuda_status_text(const CudaDriver *c, const char *what, CUresult status, char *text, size_t size)
{
    const char *name = NULL, *string = NULL;
    if (c->error_name(status, &name) != 0 || name == NULL) name = "an error the driver does not know";
    if (c->error_string(status, &string) != 0 || string == NULL) string = "failed";
    snprintf(text, size, "%s: %s (%s, %d)", what, string, name, status);
}

/* ----------------------------------------------------------------------------------------------------------- devices */

const char *cuda_target_name(CudaTarget t)
{
    static const char *const names[CUDA_TARGET_COUNT] = {"80", "89", "90a", "120f"};
    return names[t];
}

bool cuda_target(int major, int minor, int driver_version, CudaTarget *target)
{
    switch (major) {
    case 8:
        *target = minor >= 9 ? CUDA_TARGET_89 : CUDA_TARGET_80;
        return true;
    case 9:
        *target = CUDA_TARGET_90A;
        return minor == 0;
    case 10:
        *target = CUDA_TARGET_89;
        return true;
    case 12: /* before CUDA 12.9 drivers know no sm_120f; what is made for 8.9 runs there too */
        *target = driver_version >= DRIVER_OF_120F ? CUDA_TARGET_120F : CUDA_TARGET_89;
        return true;
    default:
        return false;
    }
}

int cuda_device_count(void)
{
    char error[sizeof why_not];
    int count = 0;
    const CudaDriver *c = cuda_driver(error, sizeof error);
    return c && c->device_count(&count) == 0 ? count : 0;
}

/* 0 where the driver does not tell. */
static int attribute(CUdevice handle, int which)
{
    int value = 0;
    return driver.device_attribute(&value, which, handle) == 0 && value > 0 ? value : 0;
}

static void fill_device(CUdevice handle, CudaDevice *d)
{
    size_t memory = 0;
    driver.device_memory(&memory, handle);
    d->memory = memory;
    d->sms = attribute(handle, CU_ATTRIBUTE_SMS);
    d->shared_per_block = attribute(handle, CU_ATTRIBUTE_SHARED_PER_BLOCK_OPTIN);
    d->shared_per_sm = attribute(handle, CU_ATTRIBUTE_SHARED_PER_SM);
    d->threads_per_sm = attribute(handle, CU_ATTRIBUTE_THREADS_PER_SM);
    d->l2 = (uint64_t)attribute(handle, CU_ATTRIBUTE_L2_BYTES);
    d->display = attribute(handle, CU_ATTRIBUTE_KERNEL_EXEC_TIMEOUT) != 0;
#ifdef _WIN32
    d->spills = attribute(handle, CU_ATTRIBUTE_TCC) == 0;
#endif
    d->clock_ghz = 1e-6 * attribute(handle, CU_ATTRIBUTE_CLOCK_RATE);
    /* data moves on both edges of the clock */
    d->bandwidth_gbs = 2e-6 * attribute(handle, CU_ATTRIBUTE_MEMORY_CLOCK_RATE) *
                       (attribute(handle, CU_ATTRIBUTE_MEMORY_BUS_WIDTH) / 8);
}

bool cuda_device(int ordinal, CudaDevice *d, char *error, size_t error_size)
{
    const CudaDriver *c = cuda_driver(error, error_size);
    if (c == NULL) return false;
    int count = cuda_device_count();
    if (ordinal < 0 || ordinal >= count) {
        snprintf(error, error_size, "there is no CUDA device %d: the driver shows %d, counted from 0", ordinal, count);
        return false;
    }
    CUdevice handle;
    *d = (CudaDevice){.ordinal = ordinal};
    CUresult status = c->device_get(&handle, ordinal);
    if (status == 0) status = c->device_name(d->name, sizeof d->name, handle);
    if (status != 0) {
        cuda_status_text(c, "cuDeviceGet", status, error, error_size);
        return false;
    }
    d->major = attribute(handle, CU_ATTRIBUTE_MAJOR);
    d->minor = attribute(handle, CU_ATTRIBUTE_MINOR);
    if (!cuda_target(d->major, d->minor, driver.version, &d->target)) {
        snprintf(error, error_size,
                 "%s (device %d) has compute capability %d.%d; upres knows 8.0 to 8.9, 9.0, 10.x and 12.x (GeForce RTX 30 "
                 "and newer)",
                 d->name, ordinal, d->major, d->minor);
        return false;
    }
    fill_device(handle, d);
    return true;
}

/* What the system grants this program; all 0: it does not tell. With a context, whose memory is in use then. */
static VideoMemory granted(CUdevice handle)
{
    uint8_t luid[VIDEO_LUID] = {0};
    unsigned nodes = 0;
    VideoMemory m;
    if (driver.device_luid == NULL || driver.device_luid((char *)luid, &nodes, handle) != 0) return (VideoMemory){0};
    return video_memory(luid, nodes, &m) ? m : (VideoMemory){0};
}

static bool has_display(CUdevice handle)
{
    CudaDevice d = {0};
    fill_device(handle, &d);
    return d.display || d.spills;
}

uint64_t cuda_device_free(int ordinal)
{
    char error[sizeof why_not];
    CUdevice handle;
    CUcontext context;
    size_t available = 0, total = 0;
    VideoMemory share = {0};
    const CudaDriver *c = cuda_driver(error, sizeof error);
    if (c == NULL || c->device_get(&handle, ordinal) != 0 || c->context_retain(&context, handle) != 0) return 0;
    if (c->context_push(context) == 0) {
        if (c->memory_info(&available, &total) != 0) available = 0;
        share = granted(handle);
        c->context_pop(&context);
    }
    c->context_release(handle);
    return memory_budget(&(MemoryState){available, share.granted, share.used, has_display(handle)});
}
