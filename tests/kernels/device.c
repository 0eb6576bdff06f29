#include "tests/kernels/device.h"

#include "kernels/cpu/cpu.h"
#include "tests/kernels/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const BoundWeight *test_weight(TestWeight *w, const float *values, int rank, const int64_t *shape)
{
    *w = (TestWeight){.tensor = {.name = "test", .type = WT_F32, .rank = rank, .count = 1, .data = (const uint8_t *)values},
                      .bound = {.rank = rank, .count = 1}};
    for (int i = 0; i < rank; i++) {
        w->tensor.shape[i] = w->bound.shape[i] = shape[i];
        w->tensor.count = w->bound.count *= shape[i];
    }
    w->tensor.bytes = (uint64_t)w->tensor.count * sizeof(float);
    w->bound.tensor = &w->tensor;
    return &w->bound;
}

static CudaDevice cuda;
static bool on_cuda;

bool test_use_cuda(int ordinal, char *error, size_t error_size)
{
    return on_cuda = cuda_device(ordinal, &cuda, error, error_size);
}

const CudaDevice *test_cuda(void) { return on_cuda ? &cuda : NULL; }

bool test_on_device(const DevSetup *setup, const char *version, void (*work)(void *user, Dev *d),
                    void (*done)(void *user, const char *version), void *user)
{
    char error[256] = "";
    Dev *plan = dev_plan_open(setup);
    work(user, plan);
    const uint64_t planned = dev_totals(plan).arena_peak;
    check_true(dev_ok(plan), "%s: plan: %s", version, dev_error(plan));
    dev_phase(plan);
    dev_close(plan);
    Dev *d = dev_open(setup, planned, error, sizeof error);
    check_true(d != NULL, "%s: %s", version, error);
    if (d == NULL) return false;
    work(user, d);
    dev_wait(d);
    dev_phase(d);
    check_true(dev_ok(d), "%s: %s", version, dev_error(d));
    check_true(dev_totals(d).arena_peak == planned, "%s: used %llu bytes, planned %llu", version,
               (unsigned long long)dev_totals(d).arena_peak, (unsigned long long)planned);
    const double flop = dev_totals(d).flop;
    if (done != NULL) done(user, version);
    if (setup->threads <= 1) CHECK_BENCH(version, flop, (double)planned, work(user, d));
    dev_close(d);
    return true;
}

static void each_instruction_set(void (*work)(void *user, Dev *d), void (*done)(void *user, const char *version), void *user)
{
    static const char *const sets[] = {"scalar", "avx2", "avx512"};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (cpu_kernels_named(sets[i]) == NULL) continue;
        setenv("UPRES_CPU", sets[i], 1);
        for (int threads = 1; threads <= 3; threads += 2) {
            char version[64];
            snprintf(version, sizeof version, "%s, %d threads", sets[i], threads);
            test_on_device(&(DevSetup){.threads = threads}, version, work, done, user);
        }
    }
    unsetenv("UPRES_CPU");
}

/* What a result may differ by, besides its test's own figure: bf16 keeps 8 bits of every value, int8 products 7. Arrays are
 * sorted all together, but with int8 one after another. */
static const struct {
    const char *name;
    DevPrecision precision;
    double loss;
    uint64_t sort_keys;
} cuda_versions[] = {{"cuda fp32", DEV_FP32, 0, 0}, {"cuda bf16", DEV_BF16, 2e-2, 0}, {"cuda int8", DEV_INT8, 5e-2, 4096}};

void each_device(void (*work)(void *user, Dev *d), void (*done)(void *user, const char *version), void *user)
{
    if (!on_cuda) {
        each_instruction_set(work, done, user);
        return;
    }
    for (size_t i = 0; i < sizeof cuda_versions / sizeof *cuda_versions; i++) {
        check_set_loss(cuda_versions[i].loss);
        const DevSetup setup = {.cuda = &cuda, .precision = cuda_versions[i].precision, .few_too = true,
                                .sort_keys = cuda_versions[i].sort_keys};
        if (!test_on_device(&setup, cuda_versions[i].name, work, done, user)) break;
    }
    check_set_loss(0);
}

static Tensor filled(Dev *d, Tensor x, const float *values)
{
    float *to = dev_write(d, x);
    for (int64_t p = 0; to != NULL && p < (int64_t)x.t * x.h * x.w; p++) {
        for (int i = 0; i < x.c_pad; i++) to[p * x.c_pad + i] = i < x.c ? values[p * x.c + i] : 0.0f;
    }
    dev_write_end(d, x, to);
    return x;
}

Tensor upload(Dev *d, const float *values, int t, int h, int w, int c)
{
    return filled(d, dev_tensor(d, t, h, w, c), values);
}

Tensor upload_floats(Dev *d, const float *values, int t, int h, int w, int c)
{
    return filled(d, dev_floats(d, t, h, w, c), values);
}

void download(Dev *d, Tensor x, float *values)
{
    const float *from = dev_read(d, x);
    for (int64_t p = 0; from != NULL && p < (int64_t)x.t * x.h * x.w; p++) {
        memcpy(values + p * x.c, from + p * x.c_pad, (size_t)x.c * sizeof *values);
    }
    dev_read_end(d, from);
}

void poison(Dev *d, Tensor x)
{
    float *values = dev_write(d, x);
    if (values != NULL) check_poison(values, (size_t)(x.t * x.stride_t));
    dev_write_end(d, x, values);
}
