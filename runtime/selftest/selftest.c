/*
 * The self-test: each case runs on the plain C reference and then on every lane, a lane being a device with one of its
 * instruction sets or precisions. Lanes stay open from case to case, as kernels are compiled once in a device's life; a
 * case that fails closes all lanes of its device, because a fault may have spoilt what they share, and the next opens them
 * anew.
 */
#include "runtime/selftest/selftest.h"

#include "kernels/cpu/cpu.h"
#include "runtime/device.h"
#include "runtime/options.h"
#include "runtime/pattern.h"
#include "runtime/selftest/cases.h"
#include "runtime/system.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LANES_MAX = 64, CASES_MAX = 256 };

typedef struct Lane {
    Device device;
    char name[32], version[16]; /* "cuda:0", "bf16" */
    upres_precision precision;
    uint64_t arena;             /* what the largest case takes */
    bool products_only;         /* all else is the same in another lane */
    bool tiles;                 /* a GPU that takes itself for one multiprocessor, for the cases of tiles alone */
    Dev *d;                     /* NULL: not open */
    bool lost;                  /* it cannot be opened (again) */
} Lane;

typedef struct Case {
    const TrialFamily *family;
    const void *shape;
    char name[96];
    TrialStore *store;
} Case;

typedef struct Selftest {
    const upres_options *options;
    Lane reference, lane[LANES_MAX];
    int lanes;
    Case cases[CASES_MAX];
    int case_count;
    TrialResults want, got;
    void *user;
    int (*each)(void *user, const upres_selftest_result *r);
} Selftest;

/* ------------------------------------------------------------------------------------------------------------- lanes */

static Lane *lane_add(Selftest *s)
{
    if (s->lanes == LANES_MAX) return NULL; /* a machine of more GPUs than that tests the first ones */
    return &s->lane[s->lanes++];
}

/* Every instruction set up to the best one allowed; plain C, on all threads, where there is no other. */
static void cpu_lanes(Selftest *s)
{
    static const char *const rising[] = {"scalar", "avx2", "avx512"};
    const CpuKernels *best = cpu_kernels(getenv("UPRES_CPU"));
    for (size_t i = best == cpu_kernels_named("scalar") ? 0 : 1; i < sizeof rising / sizeof *rising; i++) {
        const CpuKernels *set = cpu_kernels_named(rising[i]);
        Lane *l = set != NULL ? lane_add(s) : NULL;
        if (l == NULL) continue;
        l->device.setup = (DevSetup){.threads = s->options->threads, .cpu_set = set->name};
        l->precision = UPRES_PRECISION_FP32;
        snprintf(l->name, sizeof l->name, "cpu");
        snprintf(l->version, sizeof l->version, "%s", set->name);
        if (set == best) return;
    }
}

/* One GPU in one precision: as it is, and as if it had one multiprocessor. */
static void cuda_lane(Selftest *s, const Device *found, upres_precision precision)
{
    for (int tiles = 0; tiles < 2; tiles++) {
        Lane *l = lane_add(s);
        if (l == NULL) return;
        l->device = *found;
        l->device.setup.cuda = &l->device.cuda; /* device_choose points into what it fills */
        l->precision = precision;
        l->products_only = s->options->precision == UPRES_PRECISION_AUTO && precision > UPRES_PRECISION_BF16;
        l->tiles = tiles != 0;
        if (l->tiles) l->device.cuda.sms = 1;
        snprintf(l->name, sizeof l->name, "cuda:%d", found->cuda.ordinal);
        snprintf(l->version, sizeof l->version, "%s", options_precision_name(precision));
    }
}

/* The precision asked for, or all that the GPU offers. */
static bool cuda_lanes(Selftest *s, int ordinal, Fault *f)
{
    upres_options o = *s->options;
    Device found;
    o.device = ordinal;
    if (!device_choose(&o, &found, f)) return false;
    if (o.precision != UPRES_PRECISION_AUTO) {
        cuda_lane(s, &found, o.precision);
        return true;
    }
    for (int p = UPRES_PRECISION_FP32; p <= UPRES_PRECISION_FP8X3; p++) {
        Fault not_offered = {0};
        o.precision = (upres_precision)p;
        if (device_choose(&o, &found, &not_offered)) cuda_lane(s, &found, o.precision);
    }
    return true;
}

/* The CPU and all GPUs that can be used, with a note about the others. */
static bool all_lanes(Selftest *s, Fault *f)
{
    const upres_precision p = s->options->precision;
    char error[1024] = "";
    Fault unusable = {0};
    if (p == UPRES_PRECISION_AUTO || p == UPRES_PRECISION_FP32) cpu_lanes(s);
    if (cuda_driver(error, sizeof error) == NULL) fault(&unusable, UPRES_E_UNSUPPORTED, "no GPU is tested: %s", error);
    for (int i = 0; i < cuda_device_count(); i++) {
        if (cuda_lanes(s, i, &unusable) || s->lanes == 0) continue;
        options_log(s->options, UPRES_LOG_NOTE, "not tested: %s", unusable.text);
    }
    if (s->lanes == 0) *f = unusable;
    else if (error[0]) options_log(s->options, UPRES_LOG_NOTE, "%s", unusable.text);
    return s->lanes > 0;
}

static bool choose_lanes(Selftest *s, Fault *f)
{
    const upres_options *o = s->options;
    Device unused;
    s->reference.device.setup = (DevSetup){.threads = 1, .cpu_set = "scalar"};
    snprintf(s->reference.name, sizeof s->reference.name, "the plain C reference");
    if (o->device == UPRES_DEVICE_AUTO) return all_lanes(s, f);
    if (o->device >= 0) return cuda_lanes(s, o->device, f);
    if (!device_choose(o, &unused, f)) return false;
    cpu_lanes(s);
    return true;
}

static void lane_close(Lane *l)
{
    if (l->d != NULL) dev_close(l->d);
    l->d = NULL;
}

/* A fault stays in a GPU's context until all that share it have let go. */
static void close_device(Selftest *s, const char *name)
{
    for (int i = 0; i < s->lanes; i++) {
        if (strcmp(s->lane[i].name, name) == 0) lane_close(&s->lane[i]);
    }
}

static bool lane_open(Selftest *s, Lane *l, char *error, size_t size)
{
    if (l->d != NULL) return true;
    l->d = dev_open(&l->device.setup, l->arena, error, size);
    if (l->d == NULL) return false;
    dev_set_cancel(l->d, s->options->cancel, s->options->user);
    return true;
}

/* ------------------------------------------------------------------------------------------------------------- cases */

/* FNV-1a: numbers differ from case to case and stay the same when cases come and go. */
static uint32_t seed_of(const char *name)
{
    uint32_t h = 2166136261u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619u;
    return h;
}

static void add_family(Selftest *s, const TrialFamily *family, const char *pattern)
{
    for (size_t i = 0; i < family->count && s->case_count < CASES_MAX; i++) {
        Case *c = &s->cases[s->case_count];
        c->family = family;
        c->shape = (const char *)family->shapes + i * family->size;
        const char *const *name = c->shape; /* shapes begin with their name */
        snprintf(c->name, sizeof c->name, "%s/%s", family->name, *name);
        s->case_count += pattern == NULL || pattern_matches(pattern, c->name);
    }
}

static bool choose_cases(Selftest *s, const char *pattern, Fault *f)
{
    for (size_t i = 0; i < trial_product_family_count; i++) add_family(s, &trial_product_families[i], pattern);
    for (size_t i = 0; i < trial_token_family_count; i++) add_family(s, &trial_token_families[i], pattern);
    for (size_t i = 0; i < trial_picture_family_count; i++) add_family(s, &trial_picture_families[i], pattern);
    for (int i = 0; i < s->case_count; i++) {
        s->cases[i].store = trial_store_open(seed_of(s->cases[i].name));
        if (s->cases[i].store == NULL) return fault(f, UPRES_E_MEMORY, "no memory for a self-test") == UPRES_OK;
    }
    if (s->case_count > 0) return true;
    fault(f, UPRES_E_ARGUMENT, "no self-test is called %.60s; names look like conv3d/first_layer, and * stands for anything",
          pattern);
    return false;
}

static bool lane_takes(const Lane *l, const Case *c)
{
    if (c->family->tiles && l->device.setup.cuda != NULL) return l->tiles;
    return !l->tiles && (!l->products_only || c->family->products);
}

/* Runs a case on d, waits, and gives what it allows. Failures are in d; false: no memory. */
static bool run_case(const Case *c, Dev *d, TrialResults *results, TrialBounds *bounds)
{
    results->count = 0;
    results->outputs = 0;
    results->dirty = false;
    Trial t = {.d = d, .store = c->store, .results = results, .bounds = c->family->bounds};
    c->family->run(&t, c->shape);
    dev_wait(d);
    if (dev_ok(d)) dev_phase(d);
    *bounds = t.bounds;
    return !t.no_memory;
}

/* The working memory of the case that takes most. A case that fails on its plan is told of when it runs. */
static bool plan_lane(Selftest *s, Lane *l)
{
    bool ok = true;
    for (int i = 0; i < s->case_count && ok; i++) {
        Dev *plan = lane_takes(l, &s->cases[i]) ? dev_plan_open(&l->device.setup) : NULL;
        if (plan == NULL) continue;
        TrialBounds unused;
        ok = run_case(&s->cases[i], plan, &s->got, &unused);
        const uint64_t peak = dev_totals(plan).arena_peak;
        if (peak > l->arena) l->arena = peak;
        dev_close(plan);
    }
    return ok;
}

static bool plan_lanes(Selftest *s, Fault *f)
{
    bool ok = plan_lane(s, &s->reference);
    for (int i = 0; i < s->lanes && ok; i++) ok = plan_lane(s, &s->lane[i]);
    return ok || fault(f, UPRES_E_MEMORY, "no memory for a self-test") == UPRES_OK;
}

/* ----------------------------------------------------------------------------------------------------------- verdicts */

static void tell_difference(const Selftest *s, int output, int64_t at, char *text, size_t size)
{
    if (output < 0) {
        snprintf(text, size, "%d outputs of %zu values, expected %d of %zu", s->got.outputs, s->got.count, s->want.outputs,
                 s->want.count);
        return;
    }
    const size_t first = output > 0 ? s->want.end[output - 1] : 0, i = first + (size_t)at;
    snprintf(text, size, "output %d, value %lld of %zu: %.9g, expected %.9g", output + 1, (long long)at + 1,
             s->want.end[output] - first, (double)s->got.values[i], (double)s->want.values[i]);
}

static double bound_of(const TrialBounds *b, upres_precision p)
{
    switch (p) {
    case UPRES_PRECISION_FP32: return b->fp32;
    case UPRES_PRECISION_INT8: return b->int8;
    case UPRES_PRECISION_FP8: return b->fp8;
    case UPRES_PRECISION_FP8X3: return b->fp8x3;
    default: return b->bf16;
    }
}

/* What s->got is worth. */
static void judge(const Selftest *s, const Lane *l, const TrialBounds *b, upres_selftest_result *r, char *text, size_t size)
{
    int output;
    int64_t at;
    r->allowed = bound_of(b, l->precision);
    r->error = trial_compare(&s->want, &s->got, l->precision == UPRES_PRECISION_FP32, &output, &at);
    r->ok = r->error <= r->allowed && !s->got.dirty;
    if (!(r->error <= r->allowed)) tell_difference(s, output, at, text, size);
    else if (s->got.dirty) snprintf(text, size, "the channels that pad a pixel are not zero");
}

/* One case on one lane; nonzero: each asked to stop. */
static int run_on_lane(Selftest *s, Lane *l, const Case *c, Fault *f)
{
    char text[1400] = "", error[1024] = "";
    upres_selftest_result r = {.struct_size = sizeof r, .name = c->name, .device = l->name, .version = l->version,
                               .error = INFINITY, .problem = text};
    const double began = system_seconds();
    TrialBounds bounds;
    if (!lane_open(s, l, error, sizeof error)) {
        snprintf(text, sizeof text, "%s; what is left is not run there", error);
        l->lost = true;
    } else if (!run_case(c, l->d, &s->got, &bounds)) {
        return fault(f, UPRES_E_MEMORY, "no memory for %s", c->name);
    } else if (dev_cancelled(l->d)) {
        return fault(f, UPRES_E_CANCELLED, "the self-test was cancelled");
    } else if (!dev_ok(l->d)) {
        snprintf(text, sizeof text, "%s", dev_error(l->d));
        close_device(s, l->name);
    } else {
        judge(s, l, &bounds, &r, text, sizeof text);
    }
    r.seconds = system_seconds() - began;
    return s->each(s->user, &r);
}

/* What the case should give, to s->want. */
static bool run_reference(Selftest *s, const Case *c, Fault *f)
{
    char error[256];
    TrialBounds unused;
    Lane *l = &s->reference;
    if (!lane_open(s, l, error, sizeof error)) return fault(f, UPRES_E_MEMORY, "%s", error) == UPRES_OK;
    if (!run_case(c, l->d, &s->want, &unused)) return fault(f, UPRES_E_MEMORY, "no memory for %s", c->name) == UPRES_OK;
    if (dev_cancelled(l->d)) return fault(f, UPRES_E_CANCELLED, "the self-test was cancelled") == UPRES_OK;
    return dev_ok(l->d) || fault(f, UPRES_E_RUNTIME, "%s on %s: %s", c->name, l->name, dev_error(l->d)) == UPRES_OK;
}

static void run_all(Selftest *s, Fault *f)
{
    for (int i = 0; i < s->case_count; i++) {
        if (!run_reference(s, &s->cases[i], f)) return;
        for (int k = 0; k < s->lanes; k++) {
            if (s->lane[k].lost || !lane_takes(&s->lane[k], &s->cases[i])) continue;
            if (run_on_lane(s, &s->lane[k], &s->cases[i], f) != 0) return;
        }
    }
}

upres_status selftest_run(const upres_options *o, const char *pattern, void *user,
                          int (*each)(void *user, const upres_selftest_result *r), Fault *f)
{
    Selftest *s = calloc(1, sizeof *s);
    if (s == NULL) return fault(f, UPRES_E_MEMORY, "no memory for a self-test");
    s->options = o;
    s->user = user;
    s->each = each;
    if (choose_cases(s, pattern, f) && choose_lanes(s, f) && plan_lanes(s, f)) run_all(s, f);
    for (int i = 0; i < s->lanes; i++) lane_close(&s->lane[i]);
    lane_close(&s->reference);
    for (int i = 0; i < s->case_count; i++) trial_store_close(s->cases[i].store);
    trial_results_free(&s->want);
    trial_results_free(&s->got);
    free(s);
    return f->status;
}
