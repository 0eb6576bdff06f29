/*
 * The support of the emulated driver's tests: see test_driver.h.
 */
#include "tests/child.h"
#include "tests/emulator/test_driver.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct driver cu;
static const char *library_path;
static int passed_count, failed_count, skipped_count; /* tests */
static int complaints;                                /* of the case that runs */
static struct {
    bool quiet, has_options;
    char options[1100];
} asked; /* of the case that runs */
static FILE *kept_stderr;

void complain(const char *format, ...)
{
    enum { SHOWN = 8 };
    if (++complaints > SHOWN || asked.quiet) return;
    va_list args;
    va_start(args, format);
    printf("  ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

bool told(const char *text)
{
    static char all[65536];
    fflush(stderr);
    long end = lseek(STDERR_FILENO, 0, SEEK_CUR);
    rewind(kept_stderr);
    size_t n = fread(all, 1, sizeof all - 1, kept_stderr);
    all[n] = '\0';
    lseek(STDERR_FILENO, end, SEEK_SET);
    return strstr(all, text) != NULL;
}

static bool open_library(void)
{
    cu.library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
    if (cu.library == NULL) {
        complain("%s", dlerror());
        return false;
    }
    void *p;
#define FUNCTION(name, since, symbol, parameters)                                                                      \
    p = dlsym(cu.library, #symbol);                                                                                    \
    if (p == NULL) complain("%s is not exported", #symbol);                                                            \
    memcpy(&cu.symbol, &p, sizeof p);
#define ALIAS(name, since, symbol)
#include "tests/emulator/driver_functions.h"
#undef ALIAS
#undef FUNCTION
    return complaints == 0;
}

/* Exit statuses of a case's process: up to MOST failed checks, or no library. */
enum { MOST = 100, UNOPENED = 101 };

static int run(void (*body)(void))
{
    complaints = 0;
    if (asked.has_options)
        setenv("UPRES_EMULATOR", asked.options, 1);
    else
        unsetenv("UPRES_EMULATOR");
    kept_stderr = tmpfile();
    if (kept_stderr == NULL || dup2(fileno(kept_stderr), STDERR_FILENO) < 0) {
        complain("no temporary file for stderr");
        return 1;
    }
    if (!open_library()) {
        printf("  the library could not be used\n");
        return UNOPENED;
    }
    body();
    if (complaints > 0 && !asked.quiet) {
        told(""); /* reads it */
        rewind(kept_stderr);
        char line[2048];
        while (fgets(line, sizeof line, kept_stderr) != NULL) printf("  stderr: %s", line);
    }
    return complaints > MOST ? MOST : complaints;
}

int run_case(const char *options, void (*body)(void), bool quiet)
{
    asked.quiet = quiet;
    asked.has_options = options != NULL;
    snprintf(asked.options, sizeof asked.options, "%s", options != NULL ? options : "");
    int status = child_run(60, run, body);
    return status >= 0 && status <= MOST ? status : CASE_BROKEN;
}

void test_result(const char *name, bool passed)
{
    printf("%s %s\n", passed ? "ok" : "FAIL", name);
    fflush(stdout);
    if (passed)
        passed_count++;
    else
        failed_count++;
}

void test_case(const char *name, const char *options, void (*body)(void))
{
    test_result(name, run_case(options, body, false) == 0);
}

void test_skip(const char *name, const char *why)
{
    printf("skip %s: %s\n", name, why);
    skipped_count++;
}

void test_begin(const char *library)
{
    library_path = library;
    child_keep(&asked, sizeof asked);
    child_begin();
}

int test_end(void)
{
    printf("%d passed, %d failed, %d skipped\n", passed_count, failed_count, skipped_count);
    return failed_count > 0;
}

void start(void)
{
    CUcontext context;
    OK(cu.cuInit(0));
    OK(cu.cuDevicePrimaryCtxRetain(&context, 0));
    OK(cu.cuCtxSetCurrent(context));
}

CUfunction load(const char *ptx, const char *name)
{
    CUmodule module;
    CUfunction function = NULL;
    OK(cu.cuModuleLoadData(&module, ptx));
    OK(cu.cuModuleGetFunction(&function, module, name));
    return function;
}

CUresult launch(CUfunction function, unsigned blocks, unsigned threads, CUstream stream, void **params)
{
    return cu.cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, stream, params, NULL);
}

CUdeviceptr filled(size_t bytes, unsigned value)
{
    CUdeviceptr p = 0;
    OK(cu.cuMemAlloc_v2(&p, bytes));
    OK(cu.cuMemsetD32_v2(p, value, bytes / 4));
    OK(cu.cuCtxSynchronize());
    return p;
}

const char scale_ptx[] = ".version 7.0\n"
                         ".target sm_80\n"
                         ".address_size 64\n"
                         ".visible .entry scale(.param .u64 p, .param .u32 f, .param .u32 n)\n"
                         "{\n"
                         "    .reg .pred %q;\n"
                         "    .reg .b32 %r<8>;\n"
                         "    .reg .b64 %d<4>;\n"
                         "    mov.u32 %r1, %ctaid.x;\n"
                         "    mov.u32 %r2, %ntid.x;\n"
                         "    mov.u32 %r3, %tid.x;\n"
                         "    mad.lo.s32 %r4, %r1, %r2, %r3;\n"
                         "    ld.param.u32 %r5, [n];\n"
                         "    setp.ge.u32 %q, %r4, %r5;\n"
                         "    @%q bra done;\n"
                         "    ld.param.u64 %d1, [p];\n"
                         "    cvta.to.global.u64 %d2, %d1;\n"
                         "    mul.wide.u32 %d3, %r4, 4;\n"
                         "    add.s64 %d2, %d2, %d3;\n"
                         "    ld.global.u32 %r6, [%d2];\n"
                         "    ld.param.u32 %r7, [f];\n"
                         "    mad.lo.u32 %r6, %r6, %r7, 1;\n"
                         "    st.global.u32 [%d2], %r6;\n"
                         "done:\n"
                         "    ret;\n"
                         "}\n";
