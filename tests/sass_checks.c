/*
 * What can be said of 8-bit floats' kernels on sm_120 by reading their machine code: the main loop, the smallest with the most
 * matrix instructions, has those with block scales alone, as many of all its instructions as tests/sass_limits.txt asks for,
 * no calls and no memory of threads; and issuing it takes at most half of the time that its products take.
 *
 * ptxas, nvdisasm: those UPRES_PTXAS and UPRES_NVDISASM name, or on the PATH, or in the toolkits' usual folders. Skipped by
 * name without them, or where upres was built without a compiler. Run in the project's root.
 */
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/library.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LINES = 1 << 16, CLOCKS = 16 /* of a matrix instruction, in which a quarter of a multiprocessor issues as many */ };

static int passed, failed, skipped;

/* --------------------------------------------------------------------------------------------------------------- tools */

static char tool[2][1024]; /* ptxas, nvdisasm */
static const char *const names[] = {"ptxas", "nvdisasm"};
static const char *const own[] = {"UPRES_PTXAS", "UPRES_NVDISASM"};

static int try_tool(void *which, const char *path)
{
    char command[1200];
    const int i = *(int *)which;
    snprintf(command, sizeof command, "'%s' --version >/dev/null 2>&1", path);
    if (system(command) != 0) return 0;
    snprintf(tool[i], sizeof tool[i], "%s", path);
    return 1;
}

static bool find_tool(int i)
{
    const char *home = getenv("CUDA_PATH"), *named = getenv(own[i]);
    char pattern[1200];
    if (named) return try_tool(&i, named);
    if (try_tool(&i, names[i])) return true;
    snprintf(pattern, sizeof pattern, "%s/bin/%s", home ? home : "/usr/local/cuda", names[i]);
    library_matches(pattern, try_tool, &i);
    snprintf(pattern, sizeof pattern, "/usr/local/cuda-*/bin/%s", names[i]);
    if (!tool[i][0]) library_matches(pattern, try_tool, &i);
    return tool[i][0] != '\0';
}

/* The machine code of a file's kernels as text, to be freed; NULL: it could not be had. */
static char *disassemble(const char *ptx)
{
    char folder[] = "/tmp/upres-sass-XXXXXX", command[4096], path[64];
    if (mkdtemp(folder) == NULL) return NULL;
    snprintf(path, sizeof path, "%s/ptx", folder);
    FILE *f = fopen(path, "w");
    if (f == NULL || fputs(ptx, f) == EOF || fclose(f) != 0) return NULL;
    snprintf(command, sizeof command, "'%s' -arch=sm_120f -o %s/cubin %s && '%s' %s/cubin", tool[0], folder, path, tool[1],
             folder);
    size_t used = 0, room = 64 << 20;
    char *text = malloc(room);
    f = popen(command, "r");
    if (text && f) used = fread(text, 1, room - 1, f);
    const int status = f ? pclose(f) : -1;
    snprintf(command, sizeof command, "rm -r %s", folder);
    if (system(command) != 0) printf("  %s stays\n", folder);
    if (text) text[used] = '\0';
    if (status == 0 && used > 0) return text;
    free(text);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------- instructions */

/* A line of one kernel: an instruction's opcode and, of a branch, its label; or a label alone. */
typedef struct Line {
    char opcode[48], label[48];
} Line;

static Line lines[MOST_LINES];
static int count;

/* The label that begins in text, without what follows it. */
static void copy_label(const char *text, char *label, size_t size)
{
    const size_t length = strspn(text, "._$ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
    snprintf(label, size, "%.*s", (int)length, text);
}

static void read_line(const char *text)
{
    Line l = {"", ""};
    text += strspn(text, " \t");
    if (strncmp(text, ".L_", 3) == 0) {
        copy_label(text, l.label, sizeof l.label);
    } else if (text[0] == '/' && text[1] == '*') {
        const char *close = strstr(text, "*/");
        if (close == NULL) return;
        text = close + 2;
        text += strspn(text, " \t{");
        if (*text == '@') text += strcspn(text, " "), text += strspn(text, " ");
        const size_t length = strcspn(text, " ;\n");
        if (length == 0 || *text < 'A' || *text > 'Z') return;
        snprintf(l.opcode, sizeof l.opcode, "%.*s", (int)length, text);
        const char *end = strchr(text, '\n'), *target = strstr(text, ".L_");
        if (target && target < end) copy_label(target, l.label, sizeof l.label);
    } else return;
    if (count < MOST_LINES) lines[count++] = l;
}

/* Fills `lines` with the code of the kernel that begins at *text and moves it behind. False: there is none. */
static bool next_kernel(const char **text, char *name, size_t size)
{
    const char *at = strstr(*text, "\n.text.");
    if (at == NULL) return false;
    at += strlen("\n.text.");
    snprintf(name, size, "%.*s", (int)strcspn(at, ":"), at);
    const char *end = strstr(at, "\n.text.");
    for (count = 0; at && (end == NULL || at < end); at = strchr(at, '\n'), at = at ? at + 1 : NULL) read_line(at);
    *text = end ? end : at ? at : *text + strlen(*text);
    return true;
}

static bool is(const Line *l, const char *start) { return strncmp(l->opcode, start, strlen(start)) == 0; }
static bool multiplies(const Line *l) { return strstr(l->opcode, "MMA") != NULL; }

static int matching(int first, int last, const char *start)
{
    int n = 0;
    for (int i = first; i <= last; i++) n += is(&lines[i], start);
    return n;
}

static int products(int first, int last)
{
    int n = 0;
    for (int i = first; i <= last; i++) n += multiplies(&lines[i]);
    return n;
}

static int instructions(int first, int last)
{
    int n = 0;
    for (int i = first; i <= last; i++) n += lines[i].opcode[0] != '\0' && !is(&lines[i], "NOP");
    return n;
}

static bool find_loop(int *first, int *last)
{
    int most = 0;
    for (int i = 0; i < count; i++) {
        if (!is(&lines[i], "BRA") || !lines[i].label[0]) continue;
        for (int j = 0; j < i; j++) {
            if (lines[j].opcode[0] || strcmp(lines[j].label, lines[i].label) != 0) continue;
            const int n = products(j, i);
            if (n < most || n == 0 || (n == most && i - j >= *last - *first)) continue;
            most = n;
            *first = j;
            *last = i;
        }
    }
    return most > 0;
}

/* -------------------------------------------------------------------------------------------------------------- checks */

static char *limits;

static bool limit_of(const char *kernel, int *share, int *barriers)
{
    for (const char *line = limits; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        char pattern[200];
        if (*line != '#' && sscanf(line, "%199s %d %d", pattern, share, barriers) == 3 && fnmatch(pattern, kernel, 0) == 0)
            return true;
    }
    return false;
}

static void check_kernel(const char *kernel)
{
    int share, barriers, first = 0, last = MOST_LINES, bad = 0;
    if (!limit_of(kernel, &share, &barriers)) return;
    if (!find_loop(&first, &last)) {
        printf("FAIL %s: no loop has matrix instructions\n", kernel);
        failed++;
        return;
    }
    const int mma = products(first, last), all = instructions(first, last), nop = matching(first, last, "NOP");
    const int loose = matching(0, count - 1, "LDL") + matching(0, count - 1, "STL");
    const double issue = (double)(all + nop) / (CLOCKS * mma);
    if (matching(first, last, "QMMA.SF") != mma) bad += printf("  not all of %d matrix instructions have block scales\n", mma);
    if (100 * mma < share * all) bad += printf("  %d of %d instructions multiply, less than %d %%\n", mma, all, share);
    const int found = matching(first, last, "BAR.");
    if (found != barriers) bad += printf("  %d barriers, not %d\n", found, barriers);
    if (matching(first, last, "CALL") + loose > 0) bad += printf("  calls, or memory of threads\n");
    if (issue > 0.5) bad += printf("  issuing takes %.2f of the time of the products\n", issue);
    printf("%s %s: %d of %d instructions multiply (%.0f %%), issue %.2f of their time\n", bad ? "FAIL" : "ok  ", kernel, mma,
           all, 100.0 * mma / all, issue);
    passed += bad == 0;
    failed += bad != 0;
}

static void check_file(const CudaSource *s)
{
    char kernel[400], function[256];
    char *text = disassemble(s->built[CUDA_TARGET_120F]);
    if (text == NULL) {
        printf("FAIL %s: its machine code cannot be had\n", s->name);
        failed++;
        return;
    }
    for (const char *at = text; next_kernel(&at, function, sizeof function);) {
        snprintf(kernel, sizeof kernel, "%s.%s", s->name, function);
        check_kernel(kernel);
    }
    free(text);
}

static void read_limits(void)
{
    FILE *f = fopen("tests/sass_limits.txt", "rb");
    limits = calloc(1, 1 << 14);
    if (f == NULL || limits == NULL || fread(limits, 1, (1 << 14) - 1, f) == 0) {
        printf("tests/sass_limits.txt cannot be read; run this in the project's root\n0 passed, 1 failed, 0 skipped\n");
        exit(1);
    }
    fclose(f);
}

int main(void)
{
    CudaSource s;
    read_limits();
    for (size_t i = 0; cuda_source(i, &s); i++) {
        if (strcmp(s.name, "gemm_fp8") != 0) continue;
        const char *missing = !s.built[CUDA_TARGET_120F] ? "its PTX was not made" : !find_tool(0) ? "no ptxas here"
                              : !find_tool(1)             ? "no nvdisasm here"
                                                          : NULL;
        if (missing) {
            printf("skip %s sm_120f: %s\n", s.name, missing);
            skipped++;
        } else check_file(&s);
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0;
}
