/*
 * What can be said of 8-bit kernels and of products with a halo on sm_120 by reading their machine code: the main loop has
 * matrix instructions with block scales alone, of int8 where attention's scores or a product are, of bf16 where a product
 * is; as many of all its instructions as tests/sass_limits.txt asks for, no calls and no memory of threads; and issuing it
 * takes at most half of the time that its products take. And that registers change hands where they are meant to: ptxas
 * drops setmaxnreg without a warning.
 *
 * ptxas, nvdisasm: see tools/sass.h. Skipped by name without them, or where upres was built without a compiler. Run in the
 * project's root.
 */
#include "runtime/cuda/kernels.h"
#include "tools/sass.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a matrix instruction of 8 bits, half of bf16's; a quarter of a multiprocessor issues as many instructions meanwhile. */
enum { CLOCKS = 16 };

static int passed, failed, skipped;

/* -------------------------------------------------------------------------------------------------------------- checks */

static char *limits;

typedef struct Limit {
    int share, barriers, registers;
} Limit;

static bool limit_of(const char *kernel, Limit *limit)
{
    for (const char *line = limits; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        char pattern[200];
        if (*line != '#' && sscanf(line, "%199s %d %d %d", pattern, &limit->share, &limit->barriers, &limit->registers) == 4 &&
            fnmatch(pattern, kernel, 0) == 0)
            return true;
    }
    return false;
}

static void check_kernel(const char *name, const SassKernel *k)
{
    Limit limit;
    int first = 0, last = k->count, bad = 0;
    if (!limit_of(name, &limit)) return;
    if (!sass_main_loop(k, &first, &last)) {
        printf("FAIL %s: no loop has matrix instructions\n", name);
        failed++;
        return;
    }
    const int mma = sass_products(k, first, last), all = sass_matching(k, first, last, "");
    const int nop = sass_matching(k, first, last, "NOP"), found = sass_matching(k, first, last, "BAR.");
    const int registers = sass_matching(k, 0, k->count - 1, "USETMAXREG");
    const int loose = sass_matching(k, 0, k->count - 1, "LDL") + sass_matching(k, 0, k->count - 1, "STL");
    const int integers = fnmatch("attention8.*_i8", name, 0) == 0 ? mma / 2 : fnmatch("gemm_i8_*", name, 0) == 0 ? mma : 0;
    const int halves = fnmatch("gemm_bf16_*", name, 0) == 0 ? mma : 0, scaled = sass_matching(k, first, last, "QMMA.SF");
    const double issue = (double)(all + nop) / (CLOCKS * (mma + halves));
    if (scaled != mma - integers - halves || sass_matching(k, first, last, "IMMA.") != integers)
        bad += printf("  of %d matrix instructions %d have to be of int8, %d of bf16, the others to have block scales\n", mma,
                      integers, halves);
    if (100 * mma < limit.share * all)
        bad += printf("  %d of %d instructions multiply, less than %d %%\n", mma, all, limit.share);
    if (found != limit.barriers) bad += printf("  %d barriers, not %d\n", found, limit.barriers);
    if (registers != limit.registers) bad += printf("  %d USETMAXREG, not %d\n", registers, limit.registers);
    if (sass_matching(k, first, last, "CALL") + loose > 0) bad += printf("  calls, or memory of threads\n");
    if (issue > 0.5) bad += printf("  issuing takes %.2f of the time of the products\n", issue);
    printf("%s %s: %d of %d instructions multiply (%.0f %%), issue %.2f of their time\n", bad ? "FAIL" : "ok  ", name, mma, all,
           100.0 * mma / all, issue);
    passed += bad == 0;
    failed += bad != 0;
}

static void check_file(const CudaSource *s, const SassTools *tools)
{
    char name[400], *log, *text = sass_disassemble(tools, s->built[CUDA_TARGET_120F], "120f", &log);
    SassKernel k = {.line = NULL};
    if (text == NULL) {
        printf("FAIL %s: its machine code cannot be had\n", s->name);
        failed++;
    }
    for (const char *at = text; at && sass_next(&at, &k);) {
        snprintf(name, sizeof name, "%s.%s", s->name, k.name);
        check_kernel(name, &k);
    }
    sass_free(&k);
    free(text);
    free(log);
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
    SassTools tools;
    read_limits();
    const char *no_tool = sass_tools(&tools);
    for (size_t i = 0; cuda_source(i, &s); i++) {
        if (strncmp(s.name, "gemm_", 5) != 0 && strcmp(s.name, "attention8") != 0) continue;
        const char *missing = s.built[CUDA_TARGET_120F] ? no_tool : "its PTX was not made";
        if (missing) {
            printf("skip %s sm_120f: %s\n", s.name, missing);
            skipped++;
        } else check_file(&s, &tools);
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0;
}
