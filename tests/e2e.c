/*
 * End-to-end cases: input frames and weight files made from a description, one command line, frames that must come out.
 *
 *     e2e BUILD_DIR [CASE.json...]
 *
 * BUILD_DIR/upres is run. Without cases: those of tests/data/e2e, whose frames come from demo/lr, and then every
 * case of the full set that $UPRES_SHARED (or ../shared) holds, made and judged by its own Python program; that
 * needs a Python with numpy, gguf and safetensors at $UPRES_PYTHON or BUILD_DIR/venv/bin/python, else they are skipped
 * by name. Run in the project's root. A line a case and the closing "N passed, N failed, N skipped"; exit 1 when one
 * failed.
 */
#include "loader/weights.h"
#include "tests/json_tree.h"
#include "tests/synth.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A decoder that shares nothing with the command's own. */
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#include <stb/stb_image.h>
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

enum { SECONDS_ALLOWED = 600, MAX_ARGUMENTS = 64 };

typedef enum Verdict { OK, FAILED, SKIPPED } Verdict;

typedef struct Tests {
    char upres[PATH_MAX], python[PATH_MAX];
    int counts[3];
} Tests;

static void report(Tests *t, Verdict v, const char *name, const char *format, ...)
{
    static const char *const words[] = {"ok", "FAIL", "skip"};
    va_list args;
    va_start(args, format);
    printf("%-4s %s ", words[v], name);
    vprintf(format, args);
    printf("\n");
    fflush(stdout);
    va_end(args);
    t->counts[v]++;
}

/* ----------------------------------------------------------------------------------------------- files and programs */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void remove_folder(const char *path)
{
    nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static bool make_folder(char *path, size_t size)
{
    const char *base = getenv("TMPDIR");
    snprintf(path, size, "%s/upres-e2e-XXXXXX", base && *base ? base : "/tmp");
    return mkdtemp(path) != NULL;
}

/* A path below `folder`, in out[PATH_MAX]; "" (never found) when it is too long. */
static const char *below(char *out, const char *folder, const char *name)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);
    if (n < 0 || n >= PATH_MAX) out[0] = 0;
    return out;
}

/* malloc'ed, NUL-terminated; NULL: cannot be read. */
static char *read_text(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    size_t room = 1 << 16, used = 0;
    char *text = malloc(room);
    while (text) {
        used += fread(text + used, 1, room - used - 1, f);
        if (used < room - 1) break;
        char *more = realloc(text, room *= 2);
        if (!more) free(text);
        text = more;
    }
    fclose(f);
    if (text) text[used] = 0;
    *size = used;
    return text;
}

/* Runs a program in `folder`, its output going to the file `log`. Exit status; 128 + signal; -1: not started. */
static int run_program(char *const *argv, const char *folder, const char *log)
{
    pid_t pid = fork();
    if (pid < 0) return -1;
    if (!pid) {
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || chdir(folder)) _exit(127);
        alarm(SECONDS_ALLOWED); /* a program that hangs is a failure, not a stop of the tests */
        execv(argv[0], argv);
        _exit(127);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The last line of a log, in line[size]. */
static const char *last_line(const char *log, char *line, size_t size)
{
    size_t length;
    char *text = read_text(log, &length);
    line[0] = 0;
    while (text && length && (text[length - 1] == '\n' || text[length - 1] == '\r')) text[--length] = 0;
    if (text) {
        char *begin = strrchr(text, '\n');
        snprintf(line, size, "%s", begin ? begin + 1 : text);
    }
    free(text);
    return line;
}

/* The case's own command line in `folder`. False: reported. */
static bool run_command(Tests *t, const char *name, const JsonTree *json, const char *folder)
{
    char *argv[MAX_ARGUMENTS + 1] = {t->upres}, log[PATH_MAX], line[512];
    const JsonTree *command = json_get(json, "command");
    int count = json_count(command);
    if (count < 2 || count > MAX_ARGUMENTS) {
        report(t, FAILED, name, "the case has no usable command");
        return false;
    }
    int at = 1;
    for (const JsonTree *a = command->child->next; a; a = a->next) argv[at++] = a->text;
    int status = run_program(argv, folder, below(log, folder, "log"));
    if (status) report(t, FAILED, name, "upres ended with %d: %s", status, last_line(log, line, sizeof line));
    return !status;
}

/* ------------------------------------------------------------------------------------------------------------ input */

/* Frame n of the case: cut from a sample frame, moved by n * pan (the picture repeats), reduced by averaging. */
static bool make_frame(const JsonTree *input, int n, const char *path, char *problem, size_t size)
{
    int crop[4], pan[2], reduce = (int)json_int(json_get(input, "reduce"), 1);
    for (int i = 0; i < 4; i++) crop[i] = (int)json_int(json_at(json_get(input, "crop"), i), 0);
    for (int i = 0; i < 2; i++) pan[i] = (int)json_int(json_at(json_get(input, "pan"), i), 0);
    char source[64];
    int number = ((int)json_int(json_get(input, "first"), 1) + n - 1) % 21 + 1, sw, sh, channels;
    snprintf(source, sizeof source, "demo/lr/%06d.png", number);
    stbi_uc *from = stbi_load(source, &sw, &sh, &channels, 3);
    if (!from) {
        snprintf(problem, size, "%s: %s", source, stbi_failure_reason());
        return false;
    }
    int w = crop[2] / reduce, h = crop[3] / reduce, area = reduce * reduce;
    stbi_uc *to = w > 0 && h > 0 && crop[2] <= sw && crop[3] <= sh ? malloc((size_t)w * (size_t)h * 3) : NULL;
    for (int i = 0; to && i < w * h * 3; i++) {
        int x = i / 3 % w, y = i / 3 / w, c = i % 3, sum = 0;
        for (int k = 0; k < area; k++) {
            int sx = (x * reduce + k % reduce + crop[0] + n * pan[0]) % sw;
            int sy = (y * reduce + k / reduce + crop[1] + n * pan[1]) % sh;
            sum += from[(sy * sw + sx) * 3 + c];
        }
        to[i] = (stbi_uc)((sum + area / 2) / area);
    }
    bool fine = to && stbi_write_png(path, w, h, 3, to, 3 * w);
    if (!fine) snprintf(problem, size, "%.400s cannot be made", path);
    free(to);
    stbi_image_free(from);
    return fine;
}

static bool make_input(const JsonTree *json, const char *folder, char *problem, size_t size)
{
    const JsonTree *input = json_get(json, "input");
    int frames = (int)json_int(json_get(input, "frames"), 0), number = (int)json_int(json_get(input, "number"), 1);
    char in[PATH_MAX], name[32], path[PATH_MAX];
    bool fine = !mkdir(below(in, folder, "in"), 0700);
    for (int n = 0; fine && n < frames; n++) {
        snprintf(name, sizeof name, "%06d.png", number + n);
        fine = make_frame(input, n, below(path, in, name), problem, size);
    }
    return fine;
}

/* ---------------------------------------------------------------------------------------------------------- weights */

typedef struct Fill {
    const JsonTree *network;
    size_t stored_prefix; /* characters of the stored name that do not belong to the network's own */
} Fill;

/* The first rule whose pattern fits the name counts. */
static void fill(void *user, const SynthShape *s, float *out)
{
    const Fill *f = user;
    const char *own = s->name + f->stored_prefix;
    char name[256];
    snprintf(name, sizeof name, "%s%s", json_string(json_get(f->network, "prefix"), ""), own);
    const JsonTree *rule = json_get(f->network, "rules")->child;
    while (rule && fnmatch(json_string(json_get(rule, "match"), ""), own, 0)) rule = rule->next;
    const char *formula = json_string(json_get(rule, "formula"), NULL);
    const JsonTree *gain = json_get(rule, "gain");
    if (formula)
        synth_rope_freqs(!strcmp(formula, "7b"), (int)s->shape[0], out);
    else if (gain)
        synth_weight(name, s->rank, s->shape, json_number(gain, 1), out);
    else
        synth_tensor(name, synth_count(s), (float)json_number(json_get(rule, "mean"), 0),
                     (float)json_number(json_get(rule, "scale"), 0), out);
    /* a text shorter than its tensor, [1, rows, width] */
    const JsonTree *rows = json_get(rule, "zero_rows_from");
    for (int64_t i = json_int(rows, 0) * s->shape[s->rank - 1]; rows && i < synth_count(s); i++) out[i] = 0;
}

/* "32x3x3x3x3" */
static bool parse_shape(const char *text, SynthShape *s)
{
    for (s->rank = 0; s->rank < 5;) {
        char *end;
        s->shape[s->rank++] = strtoll(text, &end, 10);
        if (end == text || s->shape[s->rank - 1] < 1) return false;
        if (!*end) return true;
        if (*end != 'x') return false;
        text = end + 1;
    }
    return false;
}

static bool make_weight_file(const JsonTree *json, const JsonTree *file, const char *folder)
{
    const JsonTree *part = json_at(json_get(file, "holds"), 0);
    const JsonTree *network = json_get(json_get(json, "networks"), json_string(json_get(part, "network"), ""));
    const JsonTree *tensors = json_get(network, "tensors");
    const char *prefix = json_string(json_get(part, "prefix"), "");
    Fill f = {network, strlen(prefix)};
    int count = 0;
    SynthShape *shapes = calloc((size_t)json_count(tensors) + 1, sizeof *shapes);
    bool fine = shapes && tensors && json_get(network, "rules");
    for (const JsonTree *t = fine ? tensors->child : NULL; t && fine; t = t->next) {
        SynthShape *s = &shapes[count++];
        snprintf(s->name, sizeof s->name, "%s%s", prefix, t->key);
        fine = parse_shape(json_string(t, ""), s);
    }
    char path[PATH_MAX];
    below(path, folder, json_string(json_get(file, "path"), ""));
    fine = fine && !synth_write_safetensors(path, shapes, count, fill, &f);
    free(shapes);
    return fine;
}

static bool make_weights(const JsonTree *json, const char *folder)
{
    char path[PATH_MAX];
    bool fine = !mkdir(below(path, folder, "weights"), 0700);
    const JsonTree *files = json_get(json, "files");
    for (const JsonTree *f = files ? files->child : NULL; f && fine; f = f->next)
        fine = make_weight_file(json, f, folder);
    return fine;
}

/* What this program makes: 8-bit RGB frames, float32 safetensors with one network each. NULL: all of that. */
static const char *beyond(const JsonTree *json)
{
    const JsonTree *input = json_get(json, "input"), *files = json_get(json, "files");
    const JsonTree *alpha = json_get(input, "alpha");
    if (json_int(json_get(input, "depth"), 8) != 8 || (alpha && alpha->kind != JSON_K_NULL))
        return "deep or transparent input";
    if (json_number(json_get(input, "contrast"), 1) != 1) return "input with contrast";
    if (strcmp(json_string(json_get(input, "names"), ""), "%06d.png")) return "other file names";
    for (const JsonTree *f = files ? files->child : NULL; f; f = f->next)
        if (strcmp(json_string(json_get(f, "container"), ""), "safetensors") || json_get(f, "bare") ||
            strcmp(json_string(json_get(f, "type"), ""), "f32") || json_count(json_get(f, "holds")) != 1)
            return "weights other than float32 safetensors";
    return NULL;
}

/* ---------------------------------------------------------------------------------------------------------- results */

typedef struct Difference {
    double sum;
    int largest;
    int64_t samples;
} Difference;

/* One result against frame n of codes [T][C][H][W]. False: it has another form. */
static bool compare_frame(const char *path, const WeightTensor *codes, int n, Difference *d, char *problem, size_t size)
{
    int64_t channels = codes->shape[1], h = codes->shape[2], w = codes->shape[3], count = channels * h * w;
    int fw = 0, fh = 0, fc = 0;
    stbi_uc *frame = stbi_is_16_bit(path) ? NULL : stbi_load(path, &fw, &fh, &fc, 0);
    float *want = malloc((size_t)count * sizeof *want);
    bool fine = frame && want && fw == w && fh == h && fc == channels;
    if (fine) weight_read(codes, n * count, count, want);
    for (int64_t i = 0; fine && i < count; i++) {
        int64_t c = i / (h * w), at = i % (h * w);
        int off = abs((int)frame[at * channels + c] - (int)want[i]);
        d->sum += off;
        d->largest = off > d->largest ? off : d->largest;
    }
    d->samples += count;
    if (!fine)
        snprintf(problem, size, "frame %d is %dx%d with %d channels, expected 8-bit %lldx%lld with %lld", n, fw, fh, fc,
                 (long long)w, (long long)h, (long long)channels);
    free(want);
    if (frame) stbi_image_free(frame);
    return fine;
}

static void check_results(Tests *t, const char *name, const JsonTree *json, const char *case_path, const char *folder)
{
    char expected[PATH_MAX], pattern[PATH_MAX], problem[512] = "";
    snprintf(expected, sizeof expected, "%.*s.safetensors", (int)(strlen(case_path) - strlen(".json")), case_path);
    WeightFile *file = weight_file_open(expected, problem, sizeof problem);
    const WeightTensor *codes = file ? weight_file_find(file, "codes") : NULL;
    glob_t found = {0};
    glob(below(pattern, folder, "out/*.png"), 0, NULL, &found); /* sorted; the names are of one length */
    Difference d = {0};
    bool fine = codes && codes->rank == 4;
    if (file && !fine) snprintf(problem, sizeof problem, "%.400s has no tensor 'codes' [T, C, H, W]", expected);
    if (fine && found.gl_pathc != (size_t)codes->shape[0]) {
        snprintf(problem, sizeof problem, "%zu frames, expected %lld", found.gl_pathc, (long long)codes->shape[0]);
        fine = false;
    }
    for (int n = 0; fine && n < codes->shape[0]; n++)
        fine = compare_frame(found.gl_pathv[n], codes, n, &d, problem, sizeof problem);
    const JsonTree *tolerance = json_get(json, "tolerance");
    double mean = d.samples ? d.sum / (double)d.samples : 0, mean_allowed = json_number(json_get(tolerance, "mean"), 0);
    int allowed = (int)json_int(json_get(tolerance, "max"), 0);
    if (!fine)
        report(t, FAILED, name, "%s", problem);
    else
        report(t, mean <= mean_allowed && d.largest <= allowed ? OK : FAILED, name, "mean %.4f/%g max %d/%d", mean,
               mean_allowed, d.largest, allowed);
    globfree(&found);
    if (file) weight_file_close(file);
}

static void run_case(Tests *t, const char *path)
{
    size_t size;
    char *text = read_text(path, &size), folder[PATH_MAX], problem[512] = "";
    JsonTree *json = text ? json_tree_parse(text, size) : NULL;
    const char *name = json_string(json_get(json, "name"), path), *reason = beyond(json);
    if (!json) {
        report(t, FAILED, name, "cannot be read, or is not JSON");
    } else if (reason) {
        report(t, SKIPPED, name, "%s: for the Python program alone", reason);
    } else if (!make_folder(folder, sizeof folder)) {
        report(t, FAILED, name, "%s: %s", folder, strerror(errno));
    } else {
        if (!make_input(json, folder, problem, sizeof problem) || !make_weights(json, folder))
            report(t, FAILED, name, "%s", problem[0] ? problem : "input or weights cannot be made");
        else if (run_command(t, name, json, folder))
            check_results(t, name, json, path, folder);
        remove_folder(folder);
    }
    json_tree_free(json);
    free(text);
}

/* --------------------------------------------------------------------------------------------------------- full set */

static void run_shared_case(Tests *t, const char *shared, const char *path)
{
    char folder[PATH_MAX], program[PATH_MAX], log[PATH_MAX], line[512], name[256], out[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(name, sizeof name, "shared/%.*s", (int)strcspn(slash + 1, "."), slash + 1);
    size_t size;
    char *text = read_text(path, &size);
    JsonTree *json = text ? json_tree_parse(text, size) : NULL;
    below(program, shared, "reference/end_to_end.py");
    if (!json || !make_folder(folder, sizeof folder)) {
        report(t, FAILED, name, "the case cannot be read, or no temporary folder made");
    } else {
        char *make[] = {t->python, "-B", program, "make", (char *)path, folder, NULL};
        char *check[] = {t->python, "-B", program, "check", (char *)path, (char *)below(out, folder, "out"), NULL};
        below(log, folder, "log");
        if (run_program(make, "/", log)) {
            report(t, FAILED, name, "end_to_end.py make: %s", last_line(log, line, sizeof line));
        } else if (run_command(t, name, json, folder)) {
            bool fine = !run_program(check, "/", log);
            last_line(log, line, sizeof line);
            const char *figures = strstr(line, "mean ");
            report(t, fine ? OK : FAILED, name, "%s", figures ? figures : line);
        }
        remove_folder(folder);
    }
    json_tree_free(json);
    free(text);
}

static void run_shared(Tests *t)
{
    static const char *const names[] = {
        "fv_full_v11",      "fv_gguf_merged", "fv_tiny_long_v1", "fv_tiny_long_v11",    "fv_wide_sparse",
        "sv2_16bit",        "sv2_7b_batch9",  "sv2_alpha",       "sv2_batches_wavelet", "sv2_image",
        "sv2_overlap1_lab", "sv2_q8_merged",  "sv2_tiles"};
    const char *given = getenv("UPRES_SHARED");
    char shared[PATH_MAX], pattern[PATH_MAX], log[] = "/dev/null";
    char *probe[] = {t->python, "-c", "import numpy, gguf, safetensors", NULL};
    const char *lacking = NULL;
    if (!realpath(given && *given ? given : "../shared", shared))
        lacking = "the full set is neither at $UPRES_SHARED nor at ../shared";
    else if (run_program(probe, "/", log))
        lacking = "no Python with numpy, gguf and safetensors at $UPRES_PYTHON or BUILD_DIR/venv/bin/python";
    for (size_t i = 0; lacking && i < sizeof names / sizeof *names; i++) {
        char name[64];
        snprintf(name, sizeof name, "shared/%s", names[i]);
        report(t, SKIPPED, name, "%s", lacking);
    }
    if (lacking) return;
    glob_t found = {0};
    glob(below(pattern, shared, "goldens/e2e/*.json"), 0, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc; i++) run_shared_case(t, shared, found.gl_pathv[i]);
    if (!found.gl_pathc) report(t, FAILED, "shared", "%s fits no case", pattern);
    globfree(&found);
}

int main(int argc, char **argv)
{
    Tests t = {0};
    char path[PATH_MAX];
    if (argc < 2 || !realpath(below(path, argv[1], "upres"), t.upres)) {
        fprintf(stderr, "usage: e2e BUILD_DIR [CASE.json...]\n%s\n", argc < 2 ? "" : "BUILD_DIR holds no upres");
        return 2;
    }
    const char *python = getenv("UPRES_PYTHON");
    /* absolute, but not resolved: a virtual environment is found by the link's own place */
    snprintf(path, sizeof path, "%s", python && *python ? python : "");
    if (!path[0]) below(path, argv[1], "venv/bin/python");
    char here[PATH_MAX] = "";
    if (path[0] != '/' && getcwd(here, sizeof here)) strncat(here, "/", sizeof here - strlen(here) - 1);
    int n = snprintf(t.python, sizeof t.python, "%s%s", here, path);
    if (n < 0 || (size_t)n >= sizeof t.python) t.python[0] = 0;

    for (int i = 2; i < argc; i++) run_case(&t, argv[i]);
    if (argc == 2) {
        glob_t found = {0};
        glob("tests/data/e2e/*.json", 0, NULL, &found);
        for (size_t i = 0; i < found.gl_pathc; i++) run_case(&t, found.gl_pathv[i]);
        if (!found.gl_pathc) report(&t, FAILED, "tests/data/e2e", "holds no case; run this in the project's root");
        globfree(&found);
        run_shared(&t);
    }
    printf("%d passed, %d failed, %d skipped\n", t.counts[OK], t.counts[FAILED], t.counts[SKIPPED]);
    return t.counts[FAILED] != 0;
}
