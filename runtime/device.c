#include "runtime/device.h"

#include "runtime/options.h"
#include "runtime/system.h"

#include <stdio.h>
#include <string.h>

static bool refuse_precision(const char *device, const char *offers, const upres_options *o, Fault *f)
{
    fault(f, UPRES_E_UNSUPPORTED, "--precision %s is not offered by %s; use %s", options_precision_name(o->precision), device,
          offers);
    return false;
}

static bool cpu_precision(const upres_options *o, Device *d, Fault *f)
{
    d->setup.precision = DEV_FP32;
    if (o->precision == UPRES_PRECISION_AUTO || o->precision == UPRES_PRECISION_FP32) return true;
    return refuse_precision("the cpu, which computes in fp32", "auto or fp32", o, f);
}

static bool cuda_precision(const upres_options *o, Device *d, Fault *f)
{
    switch (o->precision) {
    case UPRES_PRECISION_FP32: d->setup.precision = DEV_FP32; return true;
    case UPRES_PRECISION_AUTO:
    case UPRES_PRECISION_BF16: d->setup.precision = DEV_BF16; return true;
    case UPRES_PRECISION_INT8: d->setup.precision = DEV_INT8; return true;
    default: return refuse_precision("CUDA devices in this version", "auto, fp32, bf16 or int8", o, f);
    }
}

bool device_choose(const upres_options *o, Device *d, Fault *f)
{
    char error[400] = "";
    *d = (Device){.setup.threads = o->threads};
    const int ordinal = o->device >= 0 ? o->device : 0;
    if (o->device != UPRES_DEVICE_CPU) {
        if (cuda_device(ordinal, &d->cuda, error, sizeof error)) {
            d->setup.cuda = &d->cuda;
            return cuda_precision(o, d, f);
        }
        if (o->device >= 0) {
            fault(f, UPRES_E_UNSUPPORTED, "cuda:%d cannot be used: %s; --device cpu works without a GPU", ordinal, error);
            return false;
        }
        snprintf(d->note, sizeof d->note, "running on the CPU: %s", error);
    }
    return cpu_precision(o, d, f);
}

uint64_t device_limit(const Device *d, const upres_options *o)
{
    uint64_t total = 0, available = 0;
    if (o->memory) return o->memory;
    if (d->setup.cuda) available = cuda_device_free(d->cuda.ordinal);
    else system_memory(&total, &available);
    return available;
}
