#include "runtime/device.h"

#include "kernels/cpu/cpu.h"
#include "runtime/cuda/budget.h"
#include "runtime/cuda/policy.h"
#include "runtime/options.h"
#include "runtime/system.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool refuse_precision(const char *device, const char *offers, const upres_options *o, Fault *f)
{
    fault(f, UPRES_E_UNSUPPORTED, "--precision %s is not offered by %s; use %s", options_precision_name(o->precision), device,
          offers);
    return false;
}

/* A word that is none would mean the fastest, which nobody who sets it wants. */
static bool cpu_cap(Fault *f)
{
    const char *cap = getenv("UPRES_CPU");
    if (cap == NULL || *cap == '\0' || cpu_is_cap(cap)) return true;
    fault(f, UPRES_E_ARGUMENT, "UPRES_CPU is '%.40s'; give scalar, avx2 or avx512, the most to use, or leave it unset", cap);
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
    case UPRES_PRECISION_AUTO: d->setup.precision = DEV_AUTO; return true;
    case UPRES_PRECISION_BF16: d->setup.precision = DEV_BF16; return true;
    case UPRES_PRECISION_INT8: d->setup.precision = DEV_INT8; return true;
    case UPRES_PRECISION_FP8:
    case UPRES_PRECISION_FP8X3:
        d->setup.precision = o->precision == UPRES_PRECISION_FP8 ? DEV_FP8 : DEV_FP8X3;
        d->setup.fp8_scores = o->fp8_scores;
        if (d->cuda.target == CUDA_TARGET_120F) return true;
        return refuse_precision("devices before sm_120, which multiply 8-bit floats at half the rate of int8 or not at all",
                                "auto, fp32, bf16 or int8", o, f);
    default: return refuse_precision("CUDA devices", "auto, fp32, bf16 or int8", o, f);
    }
}

/* "sm_120:70:2.452:896:16" */
static bool read_model(const char *text, CudaDevice *d)
{
    int architecture, sms, end = 0;
    double ghz, gbs, gb;
    if (sscanf(text, "sm_%d:%d:%lf:%lf:%lf%n", &architecture, &sms, &ghz, &gbs, &gb, &end) != 5 || text[end]) return false;
    if (sms < 1 || sms > 1024 || !(ghz > 0 && ghz < 10) || !(gbs > 0 && gbs < 1e5) || !(gb > 0 && gb < 4096)) return false;
    *d = (CudaDevice){.major = architecture / 10, .minor = architecture % 10, .sms = sms, .clock_ghz = ghz,
                      .bandwidth_gbs = gbs, .memory = (uint64_t)(gb * 1e9)};
    if (!cuda_target(d->major, d->minor, INT_MAX, &d->target)) return false;
    const bool data_center = d->target == CUDA_TARGET_90A, first = d->major == 8 && d->minor == 0;
    d->shared_per_block = data_center ? 232448 : first ? 166912 : 101376;
    d->shared_per_sm = d->shared_per_block + 1024;
    d->threads_per_sm = data_center || first ? 2048 : 1536;
    d->display = !data_center && !first; /* idle, but shown on */
    snprintf(d->name, sizeof d->name, "%s", text);
    return true;
}

static bool choose_model(const upres_options *o, Device *d, Fault *f)
{
    if (!read_model(o->device_model, &d->cuda)) {
        fault(f, UPRES_E_ARGUMENT,
              "'%.80s' describes no device; give sm_NN:SMs:GHz:GB/s:GB with sm_80, 86, 89, 90, 120 or another known one, for "
              "example sm_120:70:2.452:896:16", o->device_model);
        return false;
    }
    d->setup.cuda = &d->cuda;
    return cuda_precision(o, d, f);
}

bool device_choose(const upres_options *o, Device *d, Fault *f)
{
    char error[400] = "";
    *d = (Device){.setup.threads = o->threads};
    if (o->device_model) return choose_model(o, d, f);
    const int ordinal = o->device >= 0 ? o->device : 0;
    if (o->device != UPRES_DEVICE_CPU) {
        if (cuda_device(ordinal, &d->cuda, error, sizeof error)) {
            d->setup.cuda = &d->cuda;
            d->setup.may_spill = d->cuda.spills && o->memory == 0; /* else somebody has thought about it */
            return cuda_precision(o, d, f);
        }
        if (o->device >= 0) {
            fault(f, UPRES_E_UNSUPPORTED, "cuda:%d cannot be used: %s; --device cpu works without a GPU", ordinal, error);
            return false;
        }
        snprintf(d->note, sizeof d->note, "running on the CPU: %s", error);
    }
    return cpu_cap(f) && cpu_precision(o, d, f);
}

bool device_agrees(const CudaDevice *first, CudaDevice *d, Fault *f)
{
    if (d->major != first->major || d->minor != first->minor || d->target != first->target) {
        fault(f, UPRES_E_UNSUPPORTED,
              "cuda:%d is an sm_%d%d and cuda:%d an sm_%d%d, whose results differ in the last bits, so a clip would change "
              "from batch to batch; name devices of one architecture, or give each its own --frames",
              first->ordinal, first->major, first->minor, d->ordinal, d->major, d->minor);
        return false;
    }
    /* Products choose between tiles by how many multiprocessors there are, and tiles may differ in the order of their sums. */
    d->sms = first->sms;
    return true;
}

bool device_choose_of(const upres_options *o, int index, Device *d, Fault *f)
{
    Device first;
    upres_options one = *o;
    if (index < o->device_count) one.device = o->devices[index];
    if (!device_choose(&one, d, f)) return false;
    if (index == 0) return true;
    one.device = o->devices[0];
    return device_choose(&one, &first, f) && device_agrees(&first.cuda, &d->cuda, f);
}

bool device_choose_all(const upres_options *o, Fault *f)
{
    Device d;
    for (int i = 0; i < (o->device_count ? o->device_count : 1); i++)
        if (!device_choose_of(o, i, &d, f)) return false;
    return true;
}

bool device_is_one(const upres_options *o, const char *work, Fault *f)
{
    if (!o->device_count) return true;
    fault(f, UPRES_E_UNSUPPORTED, "%s runs on one device, but --device names %d; name one, for example --device cuda:%d", work,
          (int)o->device_count, (int)o->devices[0]);
    return false;
}

bool device_fine(const Dev *d, Fault *f)
{
    if (f->status != UPRES_OK) return false;
    if (dev_cancelled(d)) return fault(f, UPRES_E_CANCELLED, "the job was cancelled") == UPRES_OK;
    if (dev_ok(d)) return true;
    const upres_status status = dev_no_memory(d) ? UPRES_E_MEMORY : dev_damaged(d) ? UPRES_E_INPUT : UPRES_E_RUNTIME;
    return fault(f, status, "%s", dev_error(d)) == UPRES_OK;
}

void device_name_fault(const Device *d, Fault *f)
{
    char name[16], text[sizeof f->text];
    snprintf(name, sizeof name, "cuda:%d", d->setup.cuda ? d->cuda.ordinal : 0);
    if (f->status == UPRES_OK || f->status == UPRES_E_CANCELLED || strstr(f->text, name)) return;
    snprintf(text, sizeof text, "%s", f->text);
    fault(f, f->status, "%s: %.1000s", name, text);
}

void device_log_choice(const Device *d, const upres_options *o)
{
    char policy[400];
    if (d->note[0]) options_log(o, cuda_driver_meant() ? UPRES_LOG_NOTE : UPRES_LOG_INFO, "%s", d->note);
    if (d->setup.precision != DEV_AUTO) return;
    policy_sentence(policy, sizeof policy);
    options_log(o, UPRES_LOG_INFO, "precision auto: %s", policy);
}

uint64_t device_limit(const Device *d, const upres_options *o)
{
    uint64_t total = 0, available = 0;
    if (o->memory) return o->memory;
    if (o->device_model) return memory_budget(&(MemoryState){.available = d->cuda.memory, .display = d->cuda.display});
    if (d->setup.cuda) available = cuda_device_free(d->cuda.ordinal);
    else system_memory(&total, &available);
    return available;
}

void device_log_kernels(const upres_options *o, const DevTotals *t, unsigned *told)
{
    const unsigned all = t->kernels_cached + t->kernels_compiled + t->kernels_built_in;
    if (all == *told) return;
    *told = all;
    options_log(o, UPRES_LOG_INFO, "kernels: %u from the cache, %u compiled, %u built in (%s)", t->kernels_cached,
                t->kernels_compiled, t->kernels_built_in, t->kernels_origin);
}

uint64_t device_smaller_limit(const Device *d, const upres_options *o, uint64_t planned)
{
    const uint64_t limit = device_limit(d, o), less = planned - planned / 5;
    return limit > 0 && limit < less ? limit : less;
}
