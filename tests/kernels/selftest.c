/* The self-test's own judgement: what it must not let pass, and that every run of a case is given the same numbers. */
#include "runtime/selftest/cases.h"
#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 100 };

static TrialResults results_of(float *values)
{
    return (TrialResults){.values = values, .count = COUNT, .room = COUNT, .end = {40, COUNT}, .outputs = 2};
}

static double error_of(const float *want, const float *got, bool fp32, int *output, int64_t *at)
{
    const TrialResults a = results_of((float *)want), b = results_of((float *)got);
    return trial_compare(&a, &b, fp32, output, at);
}

static void check_compare(void)
{
    if (!check_begin("selftest_compare")) return;
    float *want = check_floats(COUNT), *got = check_floats(COUNT);
    int output;
    int64_t at;
    for (int i = 0; i < COUNT; i++) want[i] = got[i] = i % 2 ? 0.5f : -0.5f;
    check_true(error_of(want, got, true, &output, &at) == 0 && error_of(want, got, false, &output, &at) == 0, "equal");
    got[70] += 0.25f; /* of an output of 60 values of size 0.5 */
    check_true(error_of(want, got, true, &output, &at) == 0.25 && output == 1 && at == 30, "one value: %d, %d", output,
               (int)at);
    check_true(fabs(error_of(want, got, false, &output, &at) - 0.5 / sqrt(60.0)) < 1e-7, "mean of one value's error");
    got[0] = -4.5f; /* the largest difference counts as a tenth */
    check_true(fabs(error_of(want, got, false, &output, &at) - 8.0 / sqrt(40.0)) < 1e-6, "the worse output");
    check_true(output == 0 && at == 0, "the worse output: %d, %d", output, (int)at);
    want[3] = 100.0f;
    got[3] = 100.5f;
    check_true(fabs(error_of(want, got, true, &output, &at) - 0.25) < 1e-7 && output == 1, "relative to the output's largest");
    got[50] = NAN;
    check_true(isinf(error_of(want, got, true, &output, &at)) && output == 1 && at == 10, "not a number");
    got[50] = INFINITY;
    check_true(isinf(error_of(want, got, false, &output, &at)) && output == 1 && at == 10, "infinite");
    TrialResults a = results_of(want), b = results_of(want);
    b.count = b.end[1] = COUNT - 1;
    check_true(isinf(trial_compare(&a, &b, true, &output, &at)) && output == -1, "fewer values");
    check_end();
}

static const TrialFamily *family_of(const char *name)
{
    for (size_t i = 0; i < trial_product_family_count; i++) {
        if (strcmp(trial_product_families[i].name, name) == 0) return &trial_product_families[i];
    }
    return NULL;
}

/* The first case of a family, once. */
static void run_once(const TrialFamily *f, TrialStore *store, const char *cpu_set, TrialResults *results)
{
    char error[256] = "";
    Dev *d = dev_open(&(DevSetup){.threads = 1, .cpu_set = cpu_set}, 16 << 20, error, sizeof error);
    check_true(d != NULL, "%s", error);
    if (d == NULL) return;
    Trial t = {.d = d, .store = store, .results = results};
    f->run(&t, f->shapes);
    dev_phase(d);
    check_true(dev_ok(d) && !t.no_memory && !results->dirty, "%s", dev_error(d));
    dev_close(d);
}

/* A device that has one value of a weight wrong is no sound device. */
static void check_wrong_device(const char *name)
{
    if (!check_begin("selftest_wrong_%s", name)) return;
    const TrialFamily *f = family_of(name);
    TrialStore *store = trial_store_open(7);
    TrialResults want = {0}, same = {0}, wrong = {0};
    int output;
    int64_t at;
    run_once(f, store, "scalar", &want);
    run_once(f, store, NULL, &same);
    check_true(trial_compare(&want, &same, true, &output, &at) <= f->bounds.fp32, "the same twice");
    Dev *plan = dev_plan_open(&(DevSetup){0});
    Trial t = {.d = plan, .store = store};
    uint8_t *data = (uint8_t *)trial_vector(&t, 1, 1.0f)->tensor->data; /* the first weight again, as asked for first */
    float value;
    memcpy(&value, data + 40, sizeof value);
    value += 4.0f; /* shows in one output channel in 64 */
    memcpy(data + 40, &value, sizeof value);
    dev_close(plan);
    run_once(f, store, NULL, &wrong);
    check_true(trial_compare(&want, &wrong, true, &output, &at) > f->bounds.fp32, "a wrong weight in fp32");
    check_true(trial_compare(&want, &wrong, false, &output, &at) > f->bounds.int8, "a wrong weight in bf16, int8");
    trial_results_free(&want);
    trial_results_free(&same);
    trial_results_free(&wrong);
    trial_store_close(store);
    check_end();
}

void test_selftest(void)
{
    check_compare();
    check_wrong_device("conv3d");
    check_wrong_device("linear");
}
