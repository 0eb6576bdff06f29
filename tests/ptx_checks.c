/*
 * What can be said of the kernels' PTX without running it. For every file and target: the right .target, no newer .version
 * than every driver knows, no instruction outside tests/ptx_allowed.txt. With ptxas at hand, for every part: it assembles
 * without warnings, no thread has a stack or spills, registers stay within tests/ptx_limits.txt, shared memory within the part,
 * as many times as blocks are to share a multiprocessor.
 *
 * ptxas: the one UPRES_PTXAS names, or on the PATH, in the toolkits' usual folders, beside NVRTC. Skipped by name without it,
 * or where upres was built without a compiler and there is none now. Run in the project's root.
 */
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/library.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int passed, failed, skipped;
static int complaints; /* of the test that runs */

static void complain(const char *format, ...)
{
    enum { SHOWN = 20 };
    char text[600];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (++complaints <= SHOWN) printf("  %s\n", text);
}

static void result(const char *file, const char *target, const char *what)
{
    printf("%s %s %s: %s\n", complaints ? "FAIL" : "ok  ", file, target, what);
    fflush(stdout);
    passed += complaints == 0;
    failed += complaints != 0;
    complaints = 0;
}

static void skip(const char *file, const char *target, const char *why)
{
    printf("skip %s %s: %s\n", file, target, why);
    skipped++;
}

/* ---------------------------------------------------------------------------------------------------- parts and targets */

static const struct Part {
    const char *sm;
    CudaTarget target; /* whose PTX it runs */
    int shared;        /* bytes that a block may have; a multiprocessor has a KiB more, and each block takes one */
    int least_ptxas;
} parts[] = {
    {"80", CUDA_TARGET_80, 166912, 12000},   {"86", CUDA_TARGET_80, 101376, 12000},
    {"89", CUDA_TARGET_89, 101376, 12000},   {"100", CUDA_TARGET_89, 232448, 12080},
    {"90a", CUDA_TARGET_90A, 232448, 12000}, {"120f", CUDA_TARGET_120F, 101376, 12090},
};
enum { PARTS = sizeof parts / sizeof parts[0], KIB = 1024 };

/* To be freed; NULL with the reason. */
static char *ptx_of(const CudaSource *s, CudaTarget target, char *error, size_t error_size)
{
    NvrtcHeader headers[16];
    char architecture[32];
    size_t bytes;
    int count = 0;
    if (s->ptx || s->built[target]) return strdup(s->ptx ? s->text : s->built[target]);
    while (count < 16 && cuda_source_header((size_t)count, &headers[count].name, &headers[count].text)) count++;
    snprintf(architecture, sizeof architecture, "compute_%s", cuda_target_name(target));
    return nvrtc_compile(s->name, s->text, headers, count, architecture, NULL, &bytes, error, error_size);
}

/* --------------------------------------------------------------------------------------------------------------- text */

static char *allowed; /* "\nFORM\nFORM\n" */
static char *limits;

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 16);
    if (f == NULL || text == NULL) {
        printf("%s cannot be read; run this in the project's root\n0 passed, 1 failed, 0 skipped\n", path);
        exit(1);
    }
    text[0] = '\n';
    text[1 + fread(text + 1, 1, (1 << 16) - 2, f)] = '\0';
    fclose(f);
    return text;
}

static bool is_plain(const char *word)
{
    static const char words[] = " u8 u16 u32 u64 s8 s16 s32 s64 b8 b16 b32 b64 b128 f16 bf16 f32 f64 pred v2 v4 ";
    char spaced[24];
    snprintf(spaced, sizeof spaced, " %s ", word);
    return strstr(words, spaced) != NULL;
}

/* An opcode without plain types and vectors; the whole where they make the difference (no sums of floats by atomics). */
static void form_of(const char *opcode, char *form, size_t size)
{
    static const char *const wholes[] = {"mma.", "ldmatrix.", "dp4a.", "atom.", "red."};
    bool whole = false;
    char copy[160], *rest = NULL;
    for (size_t i = 0; i < sizeof wholes / sizeof wholes[0]; i++)
        whole = whole || strncmp(opcode, wholes[i], strlen(wholes[i])) == 0;
    snprintf(copy, sizeof copy, "%s", opcode);
    form[0] = '\0';
    for (char *word = strtok_r(copy, ".", &rest); word; word = strtok_r(NULL, ".", &rest)) {
        if (!whole && is_plain(word)) continue;
        snprintf(form + strlen(form), size - strlen(form), "%s%s", form[0] ? "." : "", word);
    }
}

static bool is_listed(const char *list, const char *form)
{
    char line[180];
    snprintf(line, sizeof line, "\n%s\n", form);
    return strstr(list, line) != NULL;
}

/* The opcode of a line of PTX, "" for one without. */
static void opcode_of(const char *line, char *opcode, size_t size)
{
    opcode[0] = '\0';
    line += strspn(line, " \t{");
    if (*line == '@') { /* a predicate */
        line += strcspn(line, " \t");
        line += strspn(line, " \t");
    }
    size_t length = strcspn(line, " \t;\n");
    if (*line < 'a' || *line > 'z' || line[length - 1] == ':') return;
    snprintf(opcode, size, "%.*s", (int)length, line);
}

/* Each form that is not allowed is told once. */
static void check_opcodes(const char *ptx)
{
    char told[2000] = "\n";
    int number = 1;
    for (const char *line = ptx; *line; number++) {
        size_t length = strcspn(line, "\n");
        char opcode[160], form[160];
        opcode_of(line, opcode, sizeof opcode);
        if (opcode[0]) {
            form_of(opcode, form, sizeof form);
            if (!is_listed(allowed, form) && !is_listed(told, form)) {
                complain("PTX line %d: %s (%s) is not in tests/ptx_allowed.txt", number, form, opcode);
                snprintf(told + strlen(told), sizeof told - strlen(told), "%s\n", form);
            }
        }
        line += length + (line[length] == '\n');
    }
}

static void check_text(const CudaSource *s, CudaTarget target, const char *ptx)
{
    char expected[32];
    const char *version = strstr(ptx, ".version "), *of = strstr(ptx, ".target ");
    const char *floor = target == CUDA_TARGET_120F ? "8.8" : "8.0";
    snprintf(expected, sizeof expected, ".target sm_%s\n", s->ptx ? "80" : cuda_target_name(target));
    if (version == NULL || strncmp(version + 9, floor, 3) > 0 || version[12] != '\n')
        complain("%.12s, but drivers may know no more than %s", version ? version : "no .version", floor);
    if (of == NULL || strncmp(of, expected, strlen(expected)) != 0)
        complain("%.16s instead of %s", of ? of : "no .target", expected);
    check_opcodes(ptx);
}

/* -------------------------------------------------------------------------------------------------------------- ptxas */

static char ptxas[1024];
static int ptxas_version; /* as NVRTC's; 0: none */

/* Nonzero ends a search: it is one. */
static int try_ptxas(void *user, const char *path)
{
    char command[1200], line[256];
    int major, minor;
    (void)user;
    snprintf(command, sizeof command, "'%s' --version 2>/dev/null", path);
    FILE *f = popen(command, "r");
    while (f && fgets(line, sizeof line, f)) {
        const char *release = strstr(line, "release ");
        if (release && sscanf(release, "release %d.%d", &major, &minor) == 2) ptxas_version = major * 1000 + minor * 10;
    }
    if (f) pclose(f);
    if (ptxas_version) snprintf(ptxas, sizeof ptxas, "%s", path);
    return ptxas_version;
}

static void find_ptxas(void)
{
    static const char *const places[] = {"%s/../bin/ptxas", "%s/../../cuda_nvcc/bin/ptxas", "%s/../../../bin/ptxas"};
    const char *own = getenv("UPRES_PTXAS"), *home = getenv("CUDA_PATH");
    char pattern[1200], folder[1024];
    if (own) {
        try_ptxas(NULL, own);
        return;
    }
    if (try_ptxas(NULL, "ptxas")) return;
    snprintf(pattern, sizeof pattern, "%s/bin/ptxas", home ? home : "/usr/local/cuda");
    library_matches(pattern, try_ptxas, NULL);
    if (!ptxas_version) library_matches("/usr/local/cuda-*/bin/ptxas", try_ptxas, NULL);
    snprintf(folder, sizeof folder, "%s", nvrtc_path());
    char *slash = strrchr(folder, '/');
    if (slash == NULL) return;
    *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0] && !ptxas_version; i++) {
        snprintf(pattern, sizeof pattern, places[i], folder);
        library_matches(pattern, try_ptxas, NULL);
    }
}

/* The line of tests/ptx_limits.txt for FILE.FUNCTION. */
static bool limit_of(const char *kernel, int *registers, int *shared)
{
    for (const char *line = limits; *line; line += strcspn(line, "\n")) {
        char pattern[200];
        line++;
        if (*line != '#' && sscanf(line, "%199s %d %d", pattern, registers, shared) == 3 &&
            fnmatch(pattern, kernel, 0) == 0)
            return true;
    }
    return false;
}

/* N of .minnctapersm N of a function: blocks that are to share a multiprocessor. */
static int blocks_of(const char *ptx, const char *function)
{
    char entry[300];
    snprintf(entry, sizeof entry, ".entry %s(", function);
    const char *at = strstr(ptx, entry);
    const char *body = at ? strstr(at, "\n{") : NULL, *blocks = at ? strstr(at, ".minnctapersm ") : NULL;
    return blocks && blocks < body ? atoi(blocks + strlen(".minnctapersm ")) : 1;
}

typedef struct Report { /* of ptxas on the function it speaks of */
    char kernel[256];
    int registers, shared, blocks; /* allowed; dynamic; to share a multiprocessor */
} Report;

static void begin_function(Report *r, const CudaSource *s, const char *ptx, const char *line)
{
    char function[200] = "";
    const char *name = strchr(line, '\'');
    if (name) snprintf(function, sizeof function, "%.*s", (int)strcspn(name + 1, "'"), name + 1);
    snprintf(r->kernel, sizeof r->kernel, "%s.%s", s->name, function);
    r->blocks = blocks_of(ptx, function);
    if (limit_of(r->kernel, &r->registers, &r->shared)) return;
    complain("%s has no line in tests/ptx_limits.txt", r->kernel);
    r->registers = 255;
    r->shared = 0;
}

static void check_used(const Report *r, const struct Part *part, const char *used)
{
    int registers = atoi(used + strlen("Used ")), own = 0;
    const char *smem = strstr(used, " bytes smem");
    while (smem && smem[-1] >= '0' && smem[-1] <= '9') smem--;
    if (smem) own = atoi(smem);
    const int all = own + r->shared;
    if (registers > r->registers)
        complain("%s: %d registers, more than the %d allowed", r->kernel, registers, r->registers);
    if (all > part->shared)
        complain("%s: %d bytes of shared memory, but sm_%s has %d", r->kernel, all, part->sm, part->shared);
    else if (r->blocks * (all + KIB) > part->shared + KIB)
        complain("%s: %d blocks of %d bytes of shared memory do not fit sm_%s", r->kernel, r->blocks, all, part->sm);
}

static void read_line(Report *r, const CudaSource *s, const struct Part *part, const char *ptx, const char *line)
{
    const char *used = strstr(line, "Used ");
    if (strstr(line, "Compiling entry function")) {
        begin_function(r, s, ptx, line);
    } else if (strstr(line, "bytes stack frame")) {
        if (!strstr(line, " 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"))
            complain("%s:%.*s", r->kernel, (int)strcspn(line + 3, "\n"), line + 3);
    } else if (used) {
        check_used(r, part, used);
    } else if (strstr(line, "warning") || strstr(line, "error") || strstr(line, "fatal") || strstr(line, "C7508")) {
        complain("%.*s", (int)strcspn(line, "\n"), line);
    }
}

static void assemble(const CudaSource *s, const struct Part *part, const char *ptx)
{
    char path[] = "/tmp/upres-ptx-XXXXXX", command[1400], line[1024];
    Report report = {"", 255, 0, 1};
    int file = mkstemp(path);
    FILE *f = file >= 0 ? fdopen(file, "w") : NULL;
    if (f == NULL || fputs(ptx, f) == EOF || fclose(f) != 0) {
        complain("%s cannot be written", path);
        return;
    }
    snprintf(command, sizeof command, "'%s' -v -arch=sm_%s -o /dev/null %s 2>&1", ptxas, part->sm, path);
    f = popen(command, "r");
    while (f && fgets(line, sizeof line, f)) read_line(&report, s, part, ptx, line);
    int status = f ? pclose(f) : -1;
    if (status != 0) complain("ptxas gave %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    else if (!report.kernel[0]) complain("ptxas tells of no function");
    unlink(path);
}

/* ---------------------------------------------------------------------------------------------------------------- all */

static void check(const CudaSource *s, CudaTarget target)
{
    char error[2000] = "", name[32];
    snprintf(name, sizeof name, "compute_%s", cuda_target_name(target));
    const int compiler = nvrtc_version(error, sizeof error), least = target == CUDA_TARGET_120F ? 12090 : 12000;
    if (!s->ptx && !s->built[target] && compiler < least) {
        skip(s->name, name, compiler ? "NVRTC is too old for it" : "upres was built without a compiler, and there is none now");
        return;
    }
    char *ptx = ptx_of(s, target, error, sizeof error);
    if (ptx == NULL)
        complain("%s", error);
    else
        check_text(s, target, ptx);
    result(s->name, name, "target, version and opcodes");
    if (ptx && target != CUDA_TARGET_120F && !strstr(ptx, ".entry ")) {
        skip(s->name, name, "it has nothing for this target");
        free(ptx);
        return;
    }
    for (int i = 0; ptx && i < PARTS; i++) {
        if (parts[i].target != target) continue;
        snprintf(name, sizeof name, "sm_%s", parts[i].sm);
        if (ptxas_version < parts[i].least_ptxas) {
            skip(s->name, name, ptxas_version ? "ptxas is too old for it" : "no ptxas here");
            continue;
        }
        assemble(s, &parts[i], ptx);
        result(s->name, name, "assembles, no spills, within its limits");
    }
    free(ptx);
}

/* fnmatch pattern as the only argument: files to look at. */
int main(int count, char **arguments)
{
    CudaSource s;
    allowed = read_text("tests/ptx_allowed.txt");
    limits = read_text("tests/ptx_limits.txt");
    find_ptxas();
    printf("ptxas: %s\n", ptxas_version ? ptxas : "none");
    for (size_t i = 0; cuda_source(i, &s); i++)
        for (int t = 0; t < CUDA_TARGET_COUNT; t++)
            if (count < 2 || fnmatch(arguments[1], s.name, 0) == 0) check(&s, (CudaTarget)t);
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0;
}
