/*
 * The golden runner: walks golden cases, has the product compute each and compares.
 *
 *     goldens [--device D] [--precision P] [--threads N] [--fidelity] PATH...
 *
 * One line a case, "ok|FAIL|skip NAME max_abs mean_abs where", and the closing "N passed, N failed, N skipped". Exit 0:
 * none failed; 1: one did, or there was no case at all; 2: usage. --fidelity computes small pictures, too, in that precision and
 * adds " snr X dB", and of pictures " rgb X dB luma X dB max N codes", of the case's result `out`, to its line.
 */
#include "tests/goldens.h"

#include "runtime/device.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --------------------------------------------------------------------------------------------------------- verdicts */

static void conclude(Golden *g, GoldenVerdict verdict, const char *format, va_list args)
{
    if (g->verdict == GOLDEN_FAIL) return; /* the first failure is the one to look at */
    g->verdict = verdict;
    vsnprintf(g->where, sizeof g->where, format, args);
}

void golden_fail(Golden *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    conclude(g, GOLDEN_FAIL, format, args);
    va_end(args);
}

const WeightTensor *golden_expected(Golden *g, const char *name)
{
    const WeightTensor *t = weight_file_find(g->file, name);
    if (!t) golden_fail(g, "the case holds no tensor %s", name);
    return t;
}

/* "out[0,2,17]" */
static void name_element(const WeightTensor *t, int64_t index, char *out, size_t size)
{
    int64_t at[WEIGHT_MAX_RANK];
    for (int k = t->rank - 1; k >= 0; k--) {
        at[k] = index % t->shape[k];
        index /= t->shape[k];
    }
    int used = snprintf(out, size, "%s[", t->name);
    for (int k = 0; k < t->rank && used > 0 && (size_t)used < size; k++)
        used += snprintf(out + used, size - (size_t)used, "%s%lld", k ? "," : "", (long long)at[k]);
    if (used > 0 && (size_t)used < size) snprintf(out + used, size - (size_t)used, "]");
}

/* -1 .. 1 to 0 .. 255. */
static int code_of(float x)
{
    const float code = rintf((x + 1) * 127.5f);
    return code < 0 ? 0 : code > 255 ? 255 : (int)code;
}

static double decibels(double power, double noise) { return noise > 0 ? 10 * log10(power / noise) : INFINITY; }

static void keep_least(double *kept, double found)
{
    if (*kept == 0 || found < *kept) *kept = found;
}

void golden_note_pictures(GoldenFidelity *f, const float *got, const float *want, int64_t n, int64_t pixels)
{
    static const double weights[] = {0.299, 0.587, 0.114};
    double rgb = 0, luma = 0;
    for (int64_t i = 0; i < n * pixels; i++) {
        const int64_t at = i / pixels * 3 * pixels + i % pixels;
        double difference = 0;
        for (int c = 0; c < 3; c++) {
            const int codes = code_of(got[at + c * pixels]) - code_of(want[at + c * pixels]);
            rgb += (double)codes * codes;
            difference += weights[c] * codes;
            if (abs(codes) > f->max_codes) f->max_codes = abs(codes);
        }
        luma += difference * difference;
    }
    keep_least(&f->rgb, decibels(255.0 * 255 * 3 * (double)(n * pixels), rgb));
    keep_least(&f->luma, decibels(255.0 * 255 * (double)(n * pixels), luma));
}

static void note_fidelity(GoldenFidelity *f, const float *got, const float *want, const WeightTensor *t)
{
    double power = 0, noise = 0;
    for (int64_t i = 0; i < t->count; i++) {
        const double difference = (double)got[i] - (double)want[i];
        power += (double)want[i] * (double)want[i];
        noise += difference * difference;
    }
    keep_least(&f->snr, decibels(power, noise));
    if (t->rank >= 4 && t->shape[1] == 3) golden_note_pictures(f, got, want, t->shape[0], t->count / t->shape[0] / 3);
}

bool golden_compare(Golden *g, const char *name, const float *got, int64_t count, GoldenTolerance t)
{
    const WeightTensor *expected = golden_expected(g, name);
    if (!expected) return false;
    if (t.relative_rms > 0 && strncmp(name, "out", 3) != 0) return true; /* only results are judged then */
    if (expected->count != count) {
        golden_fail(g, "%s has %lld elements, expected %lld", name, (long long)count, (long long)expected->count);
        return false;
    }
    float *want = malloc((size_t)(count ? count : 1) * sizeof *want);
    if (!want) {
        golden_fail(g, "%s: out of memory", name);
        return false;
    }
    weight_read(expected, 0, count, want);
    double sum = 0, worst = 0, square = 0, size = 0;
    int64_t worst_at = 0, over = 0, different = 0, nan_at = -1;
    for (int64_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        if (got[i] == want[i]) d = 0; /* equal infinities */
        if (isnan(d)) {
            nan_at = i;
            break;
        }
        if (d > worst) {
            worst = d;
            worst_at = i;
        }
        sum += d;
        square += d * d;
        size += (double)want[i] * (double)want[i];
        over += d > 1e-3;
        different += d > 0;
    }
    if (nan_at < 0 && count > 0 && !strncmp(name, "out", 3)) note_fidelity(&g->fidelity, got, want, expected);
    free(want);
    double mean = count ? sum / (double)count : 0;
    double total = (double)(count ? count : 1);
    char element[160];
    name_element(expected, nan_at >= 0 ? nan_at : worst_at, element, sizeof element);

    const char *problem = NULL;
    if (nan_at >= 0) {
        problem = "is not a number";
        worst = mean = NAN;
    } else if (t.relative_rms > 0) {
        if (!(sqrt(square) <= t.relative_rms * sqrt(size))) problem = "is the worst: the relative rms is over what is allowed";
    } else if (!(worst <= t.max_abs)) {
        problem = "is off by more than allowed";
    } else if (t.mean_abs >= 0 && !(mean <= t.mean_abs)) {
        problem = "is the worst: the mean is off by more than allowed";
    } else if (t.fraction_over_1e3 >= 0 && (double)over / total > t.fraction_over_1e3) {
        problem = "is the worst: too many elements are off by more than 1e-3";
    } else if (t.fraction_different >= 0 && (double)different / total > t.fraction_different) {
        problem = "is the worst: too many elements differ";
    }
    if (problem) {
        if (g->verdict != GOLDEN_FAIL) {
            g->max_abs = worst;
            g->mean_abs = mean;
        }
        golden_fail(g, "%s %s (%.3g allowed)", element, problem, t.relative_rms > 0 ? t.relative_rms : t.max_abs);
        return false;
    }
    if (g->verdict == GOLDEN_OK && (worst > g->max_abs || !g->where[0])) {
        g->max_abs = worst;
        g->mean_abs = mean;
        snprintf(g->where, sizeof g->where, "%s", element);
    }
    return true;
}

static bool is_integer(WeightType type)
{
    return type >= WT_I8 && type <= WT_BOOL;
}

GoldenTolerance golden_tolerance(const Golden *g, const char *name, double t)
{
    GoldenTolerance r = {0, -1, -1, -1, 0};
    static const double loss[] = {[DEV_FP32] = 0, [DEV_BF16] = 3e-2, [DEV_INT8] = 8e-2, /* goldens/README.md */
                                  [DEV_FP8] = 2.5e-1, [DEV_FP8X3] = 3e-2, [DEV_AUTO] = 8e-2};
    if (g->setup.precision != DEV_FP32) {
        r.relative_rms = loss[g->setup.precision];
        return r;
    }
    const JsonTree *own = json_get(g->meta, "tolerance");
    const WeightTensor *expected = weight_file_find(g->file, name);
    if (own && own->kind == JSON_K_OBJECT) {
        /* FlashVSR's cases name the figure after the precision, and keep integers apart ("mask": 0) */
        const double figure = expected && is_integer(expected->type) ? 0 : json_number(json_get(own, "fp32"), 0);
        r.max_abs = json_number(json_get(own, "max_abs"), figure);
        r.mean_abs = json_number(json_get(own, "mean_abs"), -1);
        r.fraction_over_1e3 = json_number(json_get(own, "fraction_over_1e3"), -1);
        r.fraction_different = json_number(json_get(own, "fraction_different"), -1);
    } else if (own && own->kind == JSON_K_NUMBER) {
        r.max_abs = json_number(own, 0);
    } else if (own && own->kind == JSON_K_STRING) {
        const char *figure = strstr(own->text, "max abs ");
        if (figure) r.max_abs = strtod(figure + strlen("max abs "), NULL); /* "exact" has no figure */
    } else if (expected && !is_integer(expected->type)) {
        float block[1024], largest = 1;
        for (int64_t i = 0; i < expected->count; i += 1024) {
            int64_t n = expected->count - i < 1024 ? expected->count - i : 1024;
            weight_read(expected, i, n, block);
            for (int64_t k = 0; k < n; k++) largest = fabsf(block[k]) > largest ? fabsf(block[k]) : largest;
        }
        r.max_abs = t * (double)largest;
    }
    return r;
}

/* ----------------------------------------------------------------------------------------------- weights and inputs */

struct GoldenStore {
    char *key;
    char path[1024];
    WeightSet *set;
};

static void store_clear(GoldenStore *s)
{
    weight_set_close(s->set);
    if (s->path[0]) remove(s->path);
    free(s->key);
    memset(s, 0, sizeof *s);
}

const WeightSet *golden_weights(Golden *g, const char *key, const SynthShape *shapes, int count, SynthFill fill,
                                void *user)
{
    GoldenStore *s = g->store;
    if (s->key && !strcmp(s->key, key)) return s->set;
    store_clear(s);
    const char *folder = getenv("TMPDIR");
    snprintf(s->path, sizeof s->path, "%s/upres-golden-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(s->path);
    if (fd < 0) {
        golden_fail(g, "%s: %s; set TMPDIR to a folder that can be written", s->path, strerror(errno));
        s->path[0] = 0;
        return NULL;
    }
    close(fd);
    char error[512];
    const char *path = s->path;
    if (synth_write_safetensors(s->path, shapes, count, fill, user))
        golden_fail(g, "%s cannot be written; set TMPDIR to a folder with enough space", s->path);
    else if (!(s->set = weight_set_open(&path, 1, error, sizeof error)))
        golden_fail(g, "%s", error);
    else
        s->key = strdup(key);
    if (!s->key) {
        store_clear(s);
        return NULL;
    }
    /* The map outlives the name where the system allows it, so that a crash leaves nothing behind. */
    if (!remove(s->path)) s->path[0] = 0;
    return s->set;
}

float *golden_input(Golden *g, const JsonTree *description, int64_t shape[5], int *rank)
{
    const char *name = json_string(json_get(description, "name"), NULL);
    const JsonTree *extents = json_get(description, "shape");
    *rank = json_count(extents);
    int64_t count = 1;
    for (int i = 0; i < *rank && i < 5; i++) {
        shape[i] = json_int(json_at(extents, i), 0);
        count = shape[i] > 0 && shape[i] < (1 << 24) && count < (1 << 28) ? count * shape[i] : 0;
    }
    if (!name || *rank < 1 || *rank > 5 || count <= 0) {
        golden_fail(g, "an input of the case has no name or no usable shape");
        return NULL;
    }
    float *x = malloc((size_t)count * sizeof *x);
    if (!x) {
        golden_fail(g, "out of memory for the input");
        return NULL;
    }
    synth_tensor(name, count, (float)json_number(json_get(description, "mean"), 0),
                 (float)json_number(json_get(description, "scale"), 1), x);
    return x;
}

/* ---------------------------------------------------------------------------------------------------------- walking */

typedef struct Runner {
    Device device;
    GoldenStore store;
    int passed, failed, skipped;
} Runner;

static void report(void *user, const Golden *g)
{
    Runner *r = user;
    const char *words[] = {"ok", "FAIL", "skip"};
    int *counts[] = {&r->passed, &r->failed, &r->skipped};
    ++*counts[g->verdict];
    printf("%-4s %s %.3g %.3g %s", words[g->verdict], g->name, g->max_abs, g->mean_abs, g->where[0] ? g->where : "-");
    const GoldenFidelity *f = &g->fidelity;
    if (r->device.setup.few_too && f->snr != 0) printf(" snr %.2f dB", f->snr);
    if (r->device.setup.few_too && f->rgb != 0) printf(" rgb %.2f dB luma %.2f dB max %d codes", f->rgb, f->luma, f->max_codes);
    putchar('\n');
    fflush(stdout);
}

/* The key `area`; else the prefix of `op`; a `function` is the pipeline's; else the folder's name. */
static void find_area(const JsonTree *meta, const char *folder, char *area, size_t size)
{
    const char *op = json_string(json_get(meta, "op"), "");
    const char *dot = strchr(op, '.');
    const char *given = json_string(json_get(meta, "area"), NULL);
    if (given)
        snprintf(area, size, "%s", given);
    else if (dot)
        snprintf(area, size, "%.*s", (int)(dot - op), op);
    else
        snprintf(area, size, "%s", json_get(meta, "function") ? "seedvr2_pipeline" : folder);
}

static void run_area(Golden *g, const char *area)
{
    if (!strcmp(area, "flashvsr"))
        golden_flashvsr(g);
    else if (!strcmp(area, "tcdecoder"))
        golden_tcdecoder(g);
    else if (!strcmp(area, "wan_vae"))
        golden_wan_vae(g);
    else if (!strcmp(area, "seedvr2_vae"))
        golden_seedvr2_vae(g);
    else if (!strcmp(area, "seedvr2_dit"))
        golden_seedvr2_dit(g);
    else if (strcmp(area, "seedvr2_pipeline"))
        golden_fail(g, "the area '%s' is not known", area);
    else if (!strcmp(json_string(json_get(g->meta, "function"), ""), "run"))
        golden_pipeline_run(g);
    else
        golden_seedvr2_pipeline(g);
}

static bool ends_in(const char *name, const char *tail)
{
    size_t n = strlen(name), m = strlen(tail);
    return n > m && !strcmp(name + n - m, tail);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

/* "…/folder/name.safetensors" to "folder/name"; *folder receives the first part alone. */
static void case_name(const char *path, char *name, char *folder, size_t size)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *begin = base;
    folder[0] = 0;
    if (slash) {
        const char *p = slash;
        while (p > path && p[-1] != '/') p--;
        snprintf(folder, size, "%.*s", (int)(slash - p), p);
        begin = p;
    }
    int length = (int)strlen(begin);
    if (ends_in(base, ".safetensors")) length -= (int)strlen(".safetensors");
    snprintf(name, size, "%.*s", length, begin);
}

/* An end-to-end case keeps its description in NAME.json beside NAME.safetensors: not the runner's business. */
static bool has_json_beside(const char *path)
{
    char json[4096];
    int n = snprintf(json, sizeof json, "%.*s.json", (int)(strlen(path) - strlen(".safetensors")), path);
    struct stat st;
    return n > 0 && (size_t)n < sizeof json && !stat(json, &st);
}

/* A weight file of the formats area: its expected values or its folder's index stand beside it. */
static bool is_weight_file_case(const char *path)
{
    char beside[4096];
    struct stat st;
    const char *slash = strrchr(path, '/');
    if (snprintf(beside, sizeof beside, "%s.expected.safetensors", path) < (int)sizeof beside && !stat(beside, &st)) return true;
    snprintf(beside, sizeof beside, "%.*sindex.json", slash ? (int)(slash + 1 - path) : 0, path);
    return !stat(beside, &st);
}

static void run_file(Runner *r, const char *path)
{
    char name[512], folder[512], area[512], error[512] = "";
    case_name(path, name, folder, sizeof name);
    Golden g = {.name = name,
                .path = path,
                .setup = r->device.setup,
                .store = &r->store};
    WeightFile *file = weight_file_open(path, error, sizeof error);
    const char *text = file ? weight_file_metadata_string(file, "case") : NULL;
    JsonTree *meta = text ? json_tree_parse(text, strlen(text)) : NULL;
    g.file = file;
    g.meta = meta;
    bool ignored = file && !text && has_json_beside(path);
    if (!file) {
        golden_fail(&g, "%s", error);
    } else if (!meta) {
        golden_fail(&g, text ? "the metadata key 'case' is not JSON" : "the file carries no metadata key 'case'");
    } else {
        find_area(meta, folder, area, sizeof area);
        if (!strcmp(area, "seedvr2_pipeline")) g.setup = (DevSetup){.threads = g.setup.threads}; /* runs on the host */
        run_area(&g, area);
    }
    if (!ignored) report(r, &g);
    json_tree_free(meta);
    weight_file_close(file);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in a folder, sorted, without hidden ones. Returns the count, -1 when it cannot be read. */
static int list_folder(const char *path, char ***out)
{
    DIR *d = opendir(path);
    if (!d) return -1;
    int count = 0, room = 0;
    char **names = NULL;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        if (count == room) {
            char **more = realloc(names, (size_t)(room = room ? 2 * room : 64) * sizeof *names);
            if (!more) break;
            names = more;
        }
        if (!(names[count] = strdup(e->d_name))) break;
        count++;
    }
    closedir(d);
    if (count) qsort(names, (size_t)count, sizeof *names, by_text);
    *out = names;
    return count;
}

static void walk(Runner *r, const char *path)
{
    char **names = NULL;
    int count = list_folder(path, &names);
    bool weight_files = false;
    for (int i = 0; i < count; i++)
        weight_files |= !strcmp(names[i], "index.json") || ends_in(names[i], ".expected.safetensors");
    if (count < 0) {
        Golden g = {.name = path};
        golden_fail(&g, "the folder cannot be read: %s", strerror(errno));
        report(r, &g);
    }
    if (weight_files) golden_formats(path, report, r);
    for (int i = 0; i < count; i++) {
        char below[4096];
        int n = snprintf(below, sizeof below, "%s%s%s", path, ends_in(path, "/") ? "" : "/", names[i]);
        if (!weight_files && n > 0 && (size_t)n < sizeof below) {
            if (is_folder(below))
                walk(r, below);
            else if (ends_in(names[i], ".safetensors"))
                run_file(r, below);
        }
        free(names[i]);
    }
    free(names);
}

static int usage(const char *problem, const char *what)
{
    fprintf(stderr, "goldens: %s%s\nusage: goldens [--device cpu|cuda[:N]] [--precision P] [--threads N] [--fidelity] PATH...\n", problem,
            what);
    return 2;
}

/* The value of --device or --precision into the options. */
static bool take_choice(const char *option, const char *value, upres_options *o)
{
    static const char *const precisions[] = {"auto", "fp32", "fp16", "bf16", "int8", "fp8", "fp8x3"};
    int ordinal = 0;
    char end;
    if (!strcmp(option, "--device")) {
        if (!strcmp(value, "auto")) o->device = UPRES_DEVICE_AUTO;
        else if (!strcmp(value, "cpu")) o->device = UPRES_DEVICE_CPU;
        else if (!strcmp(value, "cuda")) o->device = 0;
        else if (sscanf(value, "cuda:%d%c", &ordinal, &end) == 1 && ordinal >= 0) o->device = ordinal;
        else return false;
        return true;
    }
    for (size_t i = 0; i < sizeof precisions / sizeof *precisions; i++) {
        if (strcmp(value, precisions[i])) continue;
        o->precision = (upres_precision)i;
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    Runner r = {0};
    upres_options o;
    upres_options_default(&o, sizeof o);
    o.device = UPRES_DEVICE_CPU; /* a GPU only when it is asked for */
    int at = 1;
    bool fidelity = false;
    for (; at < argc && !strncmp(argv[at], "--", 2); at += 2) {
        const char *option = argv[at], *value = argv[at + 1];
        if (!strcmp(option, "--")) {
            at++;
            break;
        }
        if (!strcmp(option, "--fidelity")) {
            fidelity = true;
            at--;
            continue;
        }
        if (strcmp(option, "--device") && strcmp(option, "--precision") && strcmp(option, "--threads"))
            return usage("unknown option ", option);
        if (!value) return usage("a value is missing after ", option);
        if (!strcmp(option, "--threads")) {
            char *end;
            long n = strtol(value, &end, 10);
            if (*end || end == value || n < 1 || n > 1024) return usage("--threads takes 1 to 1024, not ", value);
            o.threads = (int)n;
        } else if (!take_choice(option, value, &o)) {
            return usage("not offered: ", value);
        }
    }
    Fault f = {0};
    if (!device_choose(&o, &r.device, &f)) return usage(f.text, "");
    if (at >= argc) return usage("no path was given", "");
    r.device.setup.few_too = fidelity;
    for (; at < argc; at++) {
        if (is_folder(argv[at]))
            walk(&r, argv[at]);
        else if (is_weight_file_case(argv[at]))
            golden_formats(argv[at], report, &r);
        else
            run_file(&r, argv[at]);
    }
    store_clear(&r.store);
    printf("%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped);
    return r.failed || !(r.passed + r.skipped) ? 1 : 0;
}
