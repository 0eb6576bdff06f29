#include "runtime/about.h"

#include "runtime/cuda/kernels.h"
#include "runtime/dev.h"
#include "runtime/system.h"
#include "runtime/upres.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __clang__
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif

typedef struct Text {
    char *at;
    size_t left;
} Text;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
add(Text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int wanted = vsnprintf(t->at, t->left, format, args);
    va_end(args);
    const size_t written = wanted < 0 ? 0 : (size_t)wanted < t->left ? (size_t)wanted : t->left - 1;
    t->at += written;
    t->left -= written;
}

static double gib(uint64_t bytes) { return (double)bytes / (1 << 30); }

static void add_processor(Text *t)
{
    char name[128];
    uint64_t all, available;
    Dev *d = dev_plan_open(&(DevSetup){0});
    system_processor(name, sizeof name);
    system_memory(&all, &available);
    add(t, "processor: %s; %s\n", name, d != NULL ? dev_describe(d) : "cpu");
    add(t, "memory: %.1f GiB, %.1f free\n", gib(all), gib(available));
    if (d != NULL) dev_close(d);
}

/* How the device's kernels come about; what the driver says where they do not. */
static void add_kernels(Text *t, const CudaDriver *c, const CudaDevice *d)
{
    char error[1024];
    CUdevice number;
    CUcontext context;
    CUresult status = c->device_get(&number, d->ordinal);
    if (status == 0) status = c->context_retain(&context, number);
    if (status != 0) {
        cuda_status_text(c, "opening the device", status, error, sizeof error);
        add(t, "  kernels: none, %s\n", error);
        return;
    }
    c->context_push(context);
    CudaKernels *k = cuda_kernels_open(c, d, error, sizeof error);
    add(t, "  kernels: compute_%s, %s\n", cuda_target_name(d->target), k != NULL ? cuda_kernels_origin(k) : error);
    cuda_kernels_close(k);
    c->context_pop(&context);
    c->context_release(number);
}

static void add_gpus(Text *t)
{
    char error[1024], driver[256];
    const CudaDriver *c = cuda_driver(error, sizeof error);
    if (c == NULL) {
        add(t, "GPU: none, %s\n", error);
        return;
    }
    system_gpu_driver(driver, sizeof driver);
    add(t, "driver: for CUDA %d.%d%s%s\n", c->version / 1000, c->version % 1000 / 10, driver[0] ? "; " : "", driver);
    for (int i = 0; i < cuda_device_count(); i++) {
        CudaDevice d;
        if (!cuda_device(i, &d, error, sizeof error)) {
            add(t, "cuda:%d: cannot be used, %s\n", i, error);
            continue;
        }
        add(t, "cuda:%d: %s, compute capability %d.%d, %d SMs, %.2f GHz, %.0f GB/s%s\n", i, d.name, d.major, d.minor, d.sms,
            d.clock_ghz, d.bandwidth_gbs, d.display ? ", shows a desktop" : "");
        add(t, "  memory: %.1f GiB, %.1f for a job\n", gib(d.memory), gib(cuda_device_free(i)));
        add_kernels(t, c, &d);
    }
}

const char *upres_version(void)
{
    return "0.1.0";
}

uint32_t upres_api_version(void)
{
    return UPRES_API_VERSION;
}

void about(char *text, size_t size)
{
    char system[256];
    Text t = {text, size};
    text[0] = '\0';
    system_name(system, sizeof system);
    add(&t, "upres %s, interface %d, built with %s\n", upres_version(), UPRES_API_VERSION, COMPILER);
    add(&t, "system: %s\n", system);
    add_processor(&t);
    add_gpus(&t);
}
