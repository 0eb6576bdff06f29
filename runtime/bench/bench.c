#include "runtime/bench/bench.h"

#include "kernels/cpu/cpu.h"
#include "runtime/bench/cases.h"
#include "runtime/bench/limits.h"
#include "runtime/options.h"
#include "runtime/pattern.h"
#include "runtime/system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSIONS = 8 };

/* The device with an instruction set or a precision. */
typedef struct Version {
    Device device;
    char name[16];
    bool best; /* of the CPU: what a job would use */
} Version;

/* What a version of a case comes to, found on a plan. */
typedef struct Need {
    uint64_t arena, weight_bytes, launches;
    double flop, bytes;
} Need;

typedef struct Run {
    const upres_options *options;
    const char *pattern; /* NULL: all */
    BenchLimits limits;
    bool emulated;
    Version version[VERSIONS];
    int versions;
    int found, timed, left_out;
    void *user;
    int (*each)(void *user, const upres_bench_result *r);
    bool stopped;
    Fault *fault;
} Run;

/* ------------------------------------------------------------------------------------------------------- shared by cases */

void bench_fill(float *x, size_t count)
{
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = ((float)(state >> 8) - 8388608.0f) * (0.1f / 8388608.0f);
    }
}

void bench_count(Bench *b, Tensor x)
{
    if (x.valid) b->bytes += (double)x.t * (double)x.stride_t * element_bytes((Element)x.type);
}

static Tensor filled(Bench *b, Tensor x)
{
    float *values = dev_write(b->device, x);
    if (values) bench_fill(values, (size_t)x.t * (size_t)x.stride_t);
    dev_write_end(b->device, x, values);
    bench_count(b, x);
    return x;
}

Tensor bench_tensor(Bench *b, int t, int h, int w, int c) { return filled(b, dev_tensor(b->device, t, h, w, c)); }
Tensor bench_floats(Bench *b, int t, int h, int w, int c) { return filled(b, dev_floats(b->device, t, h, w, c)); }
Tensor bench_planes(Bench *b, int planes, int h, int w) { return bench_floats(b, planes, h, 1, w); }

bool bench_weight(Bench *b, BenchWeight *w, int rank, const int64_t *shape)
{
    *w = (BenchWeight){.stored = {.name = "bench", .type = WT_F32, .rank = rank, .count = 1}};
    for (int i = 0; i < rank; i++) {
        w->stored.shape[i] = shape[i];
        w->stored.count *= shape[i];
    }
    w->values = calloc((size_t)w->stored.count, sizeof *w->values);
    if (w->values && !dev_is_plan(b->device)) bench_fill(w->values, (size_t)w->stored.count);
    w->stored.data = (const uint8_t *)w->values;
    w->stored.bytes = (uint64_t)w->stored.count * sizeof(float);
    w->bound = (BoundWeight){.tensor = &w->stored, .rank = rank, .count = w->stored.count};
    memcpy(w->bound.shape, w->stored.shape, sizeof w->bound.shape);
    return w->values != NULL;
}

bool bench_vector(Bench *b, BenchWeight *w, int64_t count) { return bench_weight(b, w, 1, &count); }

void bench_weight_free(BenchWeight *w)
{
    free(w->values);
    *w = (BenchWeight){0};
}

/* ---------------------------------------------------------------------------------------------------------- versions */

static Version *add_version(Run *r, const Device *d, const char *name, bool best)
{
    Version *v = &r->version[r->versions++];
    v->device = *d;
    if (d->setup.cuda) v->device.setup.cuda = &v->device.cuda; /* device_choose points into what it fills */
    v->best = best;
    snprintf(v->name, sizeof v->name, "%s", name);
    return v;
}

static void cpu_versions(Run *r, const Device *d)
{
    static const char *const rising[] = {"scalar", "avx2", "avx512"};
    const CpuKernels *best = cpu_kernels(getenv("UPRES_CPU"));
    for (size_t i = 0; i < sizeof rising / sizeof *rising; i++) {
        const CpuKernels *set = cpu_kernels_named(rising[i]);
        if (set) add_version(r, d, set->name, set == best)->device.setup.cpu_set = set->name;
        if (set == best) return;
    }
}

/* Attention whose scores are of 8-bit floats, too, is beside fp8; what else there is, is fp8's and told of there. */
static void gpu_version(Run *r, const Device *d, upres_precision precision)
{
    add_version(r, d, options_precision_name(precision), true);
    if (precision == UPRES_PRECISION_FP8) add_version(r, d, "fp8_scores", true)->device.setup.fp8_scores = true;
}

static bool choose_versions(Run *r)
{
    /* what is the same in all is told of the first */
    static const upres_precision precisions[] = {UPRES_PRECISION_BF16, UPRES_PRECISION_FP32, UPRES_PRECISION_FP16,
                                                 UPRES_PRECISION_INT8, UPRES_PRECISION_FP8, UPRES_PRECISION_FP8X3};
    upres_options o = *r->options;
    Device d;
    o.fp8_scores = 0; /* a version of its own */
    if (!device_is_one(&o, "bench", r->fault) || !device_choose(&o, &d, r->fault)) return false;
    device_log_choice(&d, &o);
    bench_limits(&d, &r->limits);
    r->emulated = r->limits.context.emulated;
    if (!d.setup.cuda) {
        cpu_versions(r, &d);
        return true;
    }
    if (o.precision != UPRES_PRECISION_AUTO) {
        gpu_version(r, &d, o.precision);
        return true;
    }
    o.device = d.cuda.ordinal;
    for (size_t i = 0; i < sizeof precisions / sizeof *precisions; i++) {
        Fault not_offered = {0};
        o.precision = precisions[i];
        if (device_choose(&o, &d, &not_offered)) gpu_version(r, &d, o.precision);
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------------------- patterns */

/* Does the pattern mean that name, with or without what follows it? more NULL: nothing does. */
static bool means(const Run *r, const char *name, const char *more)
{
    char whole[192];
    if (!r->pattern || pattern_matches(r->pattern, name)) return true;
    snprintf(whole, sizeof whole, "%s/%s", name, more ? more : "");
    return more && pattern_matches(r->pattern, whole);
}

static bool is_a_name(const char *pattern) { return pattern && !strpbrk(pattern, "*?"); }

/* "bf16:128x64", "fp8:halo_128x128": a tile of `version`. */
static void form_name(const Version *v, const CudaGemmTile *t, char *name, size_t size)
{
    const char *kind = t->function, *tile = strrchr(kind, '_');
    const int length = strncmp(kind, "gemm_", 5) == 0 ? 0 : (int)strcspn(kind, "_") + 1;
    snprintf(name, size, "%s:%.*s%s", v->name, length, kind, tile ? tile + 1 : kind);
}

/* Does it mean the case's product in some tile? */
static bool means_a_tile(const Run *r, const Version *v, const BenchFamily *f, const char *name)
{
    char version[64];
    CudaGemmTile tile;
    if (!(f->is & BENCH_TILES) || !v->device.setup.cuda) return false;
    for (int i = 0; cuda_gemm_tile(i, &tile); i++) {
        form_name(v, &tile, version, sizeof version);
        if (means(r, name, version)) return true;
    }
    return false;
}

/* -------------------------------------------------------------------------------------------------------------- results */

static void report(Run *r, const char *name, const char *version, const char *kernel, const Bench *b, const BenchTimes *t,
                   const Need *need)
{
    double share = 1;
    const bool counted = need->flop > 0;
    const upres_bench_limit *limit = counted ? bench_limit_of(&r->limits, kernel, &share) : NULL;
    if (r->stopped || t->samples == 0) return;
    const upres_bench_result result = {
        .struct_size = sizeof result,
        .name = name,
        .version = version,
        .seconds = bench_median(t),
        .spread = bench_spread(t),
        .runs = t->samples * t->batch,
        .flop = need->flop,
        .bytes = need->bytes,
        .context = &r->limits.context,
        .kernel = counted && kernel ? kernel : "",
        .cold_seconds = t->cold,
        .cpu_seconds = t->cpu,
        .limit = limit ? limit->name : "",
        .limit_flop = limit ? limit->flop_per_second / share : 0,
        .network = b->network,
    };
    r->timed++;
    r->stopped = r->each(r->user, &result) != 0;
}

static void report_all(Run *r, const Version *v, const char *name, const Bench *b, const Need *need)
{
    const char *kernel = !b->cuda ? v->name : b->watch.flop > 0 ? b->watch.tile.function : b->watch.attention;
    if (means(r, name, v->name)) report(r, name, v->name, kernel, b, &b->times, need);
    for (int i = 0; i < b->forms; i++) {
        char version[64];
        form_name(v, &b->form[i].tile, version, sizeof version);
        if (means(r, name, version)) report(r, name, version, b->form[i].tile.function, b, &b->form[i].times, need);
    }
}

/* ---------------------------------------------------------------------------------------------------------------- cases */

static bool no_memory(Run *r, const char *name)
{
    fault(r->fault, UPRES_E_MEMORY, "no memory for %s", name);
    return false;
}

static Bench bench_of(const Version *v, const BenchFamily *f, Dev *d)
{
    return (Bench){.device = d, .cuda = v->device.setup.cuda != NULL, .network = (f->is & BENCH_NETWORK) != 0};
}

/* Count a version of a case. */
static bool plan_case(Run *r, const Version *v, const BenchFamily *f, const void *shape, const char *name, Need *need)
{
    Dev *d = dev_plan_open(&v->device.setup);
    if (!d) return no_memory(r, name);
    Bench *b = malloc(sizeof *b);
    if (b) *b = bench_of(v, f, d);
    if (b) bench_begin(b, r->limits.sweep);
    bool ok = b && f->run(b, shape);
    if (!ok) no_memory(r, name);
    if (ok && !dev_ok(d)) fault(r->fault, UPRES_E_RUNTIME, "%s: %s", name, dev_error(d));
    ok = ok && dev_ok(d);
    if (ok) {
        const DevTotals t = dev_totals(d);
        const uint64_t weights = b->cuda ? t.weights.all : t.weight_bytes;
        *need = (Need){.arena = t.arena_peak, .weight_bytes = weights, .launches = b->watch.launches, .flop = b->flop,
                       .bytes = b->network ? 0 : b->bytes + (double)weights};
    }
    free(b);
    dev_close(d);
    return ok;
}

/* An hour for a plain C convolution, a day in an emulator: such cases wait until they are named. */
static bool is_too_large(const Run *r, const Version *v, const Need *need)
{
    uint64_t total, available;
    if (is_a_name(r->pattern)) return false;
    if (r->emulated) return need->flop > 2e7 || need->bytes > 1e6 || need->weight_bytes > 1000000;
    if (v->device.setup.cuda) return false;
    system_memory(&total, &available);
    if (available > 0 && (double)need->arena + (double)need->weight_bytes > 0.6 * (double)available) return true;
    return need->flop > (strcmp(v->name, "scalar") == 0 ? 2e11 : 3e12);
}

/* Time it in the memory that it needs; false: r->fault says why. */
static bool time_case(Run *r, const Version *v, const BenchFamily *f, const void *shape, const char *name, const Need *need)
{
    char error[512];
    bool memory_lacks;
    Dev *d = dev_try(&v->device.setup, need->arena, &memory_lacks, error, sizeof error);
    if (!d) {
        fault(r->fault, memory_lacks || !v->device.setup.cuda ? UPRES_E_MEMORY : UPRES_E_RUNTIME, "%s", error);
        return false;
    }
    Bench *b = malloc(sizeof *b);
    if (b) *b = bench_of(v, f, d);
    if (b) b->tiles = means_a_tile(r, v, f, name);
    dev_set_cancel(d, r->options->cancel, r->options->user);
    if (b) bench_begin(b, r->limits.sweep);
    const bool ran = b && f->run(b, shape);
    if (b) bench_end(b);
    const char *origin = dev_totals(d).kernels_origin;
    if (origin) snprintf(r->limits.kernels, sizeof r->limits.kernels, "%s", origin);
    if (!ran) no_memory(r, name);
    else if (dev_cancelled(d)) fault(r->fault, UPRES_E_CANCELLED, "the benchmark was cancelled");
    else if (!dev_ok(d)) fault(r->fault, dev_no_memory(d) ? UPRES_E_MEMORY : UPRES_E_RUNTIME, "%s: %s", name, dev_error(d));
    else report_all(r, v, name, b, need);
    free(b);
    dev_close(d);
    return r->fault->status == UPRES_OK;
}

static void leave_out(Run *r, const Version *v, const char *name, const char *why)
{
    r->left_out++;
    options_log(r->options, UPRES_LOG_INFO, "left out: %s/%s, %s", name, v->name, why);
}

/* Which of the versions are a case's own. */
static bool has_version(const BenchFamily *f, const Version *v)
{
    if (v->device.setup.cuda) return !v->device.setup.fp8_scores || !(f->is & BENCH_NETWORK);
    return !(f->is & BENCH_GPU) && (v->best || !(f->is & (BENCH_PLAIN | BENCH_NETWORK)));
}

/* Versions that launch the same in the same memory are one. */
static bool is_new(const Need *needs, int count, const Need *n)
{
    for (int i = 0; i < count; i++) {
        if (needs[i].launches != 0 && needs[i].launches == n->launches && needs[i].arena == n->arena) return false;
    }
    return true;
}

static bool run_case(Run *r, const BenchFamily *f, const void *shape, const char *name)
{
    Need needs[VERSIONS];
    int planned = 0;
    for (int i = 0; i < r->versions && !r->stopped; i++) {
        const Version *v = &r->version[i];
        if (!has_version(f, v) || !(means(r, name, v->name) || means_a_tile(r, v, f, name))) continue;
        r->found++;
        Need need;
        if (!plan_case(r, v, f, shape, name, &need)) return false;
        if (!is_new(needs, planned, &need)) continue;
        needs[planned++] = need;
        if (is_too_large(r, v, &need)) {
            leave_out(r, v, name, "too large for this device");
        } else if (!time_case(r, v, f, shape, name, &need)) {
            if (r->fault->status != UPRES_E_MEMORY) return false;
            leave_out(r, v, name, r->fault->text);
            *r->fault = (Fault){0};
        }
    }
    return true;
}

/* ----------------------------------------------------------------------------------------------------------------- runs */

typedef struct Group {
    const BenchFamily *families;
    const size_t *count;
} Group;

static const Group groups[] = {
    {bench_product_families, &bench_product_family_count}, {bench_token_families, &bench_token_family_count},
    {bench_weight_families, &bench_weight_family_count},   {bench_picture_families, &bench_picture_family_count},
    {bench_network_families, &bench_network_family_count},
};
enum { GROUPS = sizeof groups / sizeof *groups };

/* Case i of a family: its shape, its name. */
static const void *shape_of(const BenchFamily *f, size_t i, char name[128])
{
    const void *shape = (const char *)f->shapes + i * f->size;
    snprintf(name, 128, "%s/%s", f->name, *(const char *const *)shape);
    return shape;
}

static bool run_families(Run *r, const Group *g)
{
    for (size_t f = 0; f < *g->count; f++) {
        for (size_t i = 0; i < g->families[f].count && !r->stopped; i++) {
            char name[128];
            const void *shape = shape_of(&g->families[f], i, name);
            if (!run_case(r, &g->families[f], shape, name)) return false;
        }
    }
    return true;
}

/* What to ask for instead: the pattern with stars around it, where that fits; else what names begin with. */
static void nothing_found(const Run *r)
{
    char wide[128], name[128], all[700] = "";
    size_t at = 0;
    snprintf(wide, sizeof wide, "*%.100s*", r->pattern);
    for (int g = 0; g < GROUPS; g++) {
        for (size_t f = 0; f < *groups[g].count; f++) {
            const BenchFamily *family = &groups[g].families[f];
            if (at < sizeof all) at += (size_t)snprintf(all + at, sizeof all - at, "%s%s/", at > 0 ? ", " : "", family->name);
            for (size_t i = 0; i < family->count; i++) {
                shape_of(family, i, name);
                if (!pattern_matches(wide, name)) continue;
                fault(r->fault, UPRES_E_ARGUMENT, "no benchmark is called %.60s; \"%.60s\" would be %s%s", r->pattern,
                      wide, name, family->count > 1 ? " and others" : "");
                return;
            }
        }
    }
    fault(r->fault, UPRES_E_ARGUMENT, "no benchmark is called %.60s; names begin with %s and * stands for anything", r->pattern,
          all);
}

upres_status bench_run(const upres_options *o, const char *pattern, void *user,
                       int (*each)(void *user, const upres_bench_result *r), Fault *f)
{
    Run *r = calloc(1, sizeof *r);
    if (!r) return fault(f, UPRES_E_MEMORY, "no memory for benchmarks");
    r->options = o;
    r->pattern = pattern;
    r->user = user;
    r->each = each;
    r->fault = f;
    bool ok = choose_versions(r);
    for (int g = 0; ok && g < GROUPS && !r->stopped; g++) ok = run_families(r, &groups[g]);
    if (ok && !r->stopped && r->found == 0) nothing_found(r);
    else if (ok && !r->stopped && r->timed == 0)
        fault(f, UPRES_E_ARGUMENT, "nothing was timed: all that %.60s means is too large for this device; a benchmark that "
              "is given by its whole name is timed all the same", pattern ? pattern : "*");
    else if (ok && !r->stopped && r->left_out > 0)
        options_log(o, UPRES_LOG_NOTE, "%d measurements were left out, as too large for this device; -v names them, and one "
                    "that is given by its whole name is made all the same", r->left_out);
    free(r);
    return f->status;
}
