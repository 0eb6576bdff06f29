/*
 * PTX as compilers write it: tests/emulator/probe.cu compiled by nvcc and by NVRTC, and run, for each simulated part.
 * Skipped without nvcc (the one that UPRES_NVCC names, or nvcc on the path) or NVRTC (UPRES_NVRTC, or by its name). Run
 * in the project's root.
 */
#include "tests/emulator/test_driver.h"
#include "tests/emulator/test_driver_parts.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef _WIN32
#define QUIET ">NUL 2>&1"
#else
#define QUIET ">/dev/null 2>&1"
#endif

static char *ptx; /* of the part under test */

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    if (f != NULL && text != NULL && fread(text, 1, (1 << 20) - 1, f) == 0) text[0] = '\0';
    if (f != NULL) fclose(f);
    return text;
}

/* Small whole numbers, so that every sum is exact. */
static float value(unsigned i)
{
    return (float)((int)(i * 2654435761u >> 28) - 8);
}

static CUdeviceptr upload(const void *data, size_t bytes)
{
    CUdeviceptr p = 0;
    OK(cu.cuMemAlloc_v2(&p, bytes));
    OK(cu.cuMemcpyHtoD_v2(p, data, bytes));
    return p;
}

static void add(void)
{
    enum { COUNT = 1001 };
    static float a[COUNT], b[COUNT], c[COUNT];
    int count = COUNT;
    CUdeviceptr out;
    for (unsigned i = 0; i < COUNT; i++) {
        a[i] = value(i);
        b[i] = value(i + 7);
    }
    start();
    CUdeviceptr pa = upload(a, sizeof a), pb = upload(b, sizeof b);
    OK(cu.cuMemAlloc_v2(&out, sizeof c));
    OK(launch(load(ptx, "add"), 8, 128, NULL, (void *[]){&pa, &pb, &out, &count}));
    OK(cu.cuMemcpyDtoH_v2(c, out, sizeof c));
    for (int i = 0; i < COUNT; i++) CHECK(c[i] == a[i] + b[i]);
}

static void multiply(void)
{
    enum { M = 37, N = 21, K = 50 };
    static float a[M * K], b[K * N], c[M * N];
    int m = M, n = N, k = K;
    CUdeviceptr out;
    for (unsigned i = 0; i < M * K; i++) a[i] = value(i);
    for (unsigned i = 0; i < K * N; i++) b[i] = value(i + 99);
    start();
    CUdeviceptr pa = upload(a, sizeof a), pb = upload(b, sizeof b);
    OK(cu.cuMemAlloc_v2(&out, sizeof c));
    OK(cu.cuLaunchKernel(load(ptx, "multiply"), (N + 15) / 16, (M + 15) / 16, 1, 16, 16, 1, 0, NULL,
                         (void *[]){&pa, &pb, &out, &m, &n, &k}, NULL));
    OK(cu.cuMemcpyDtoH_v2(c, out, sizeof c));
    for (int y = 0; y < M; y++)
        for (int x = 0; x < N; x++) {
            float sum = 0;
            for (int i = 0; i < K; i++) sum += a[y * K + i] * b[i * N + x];
            CHECK(c[y * N + x] == sum);
        }
}

/* Exact for the whole numbers used. */
static uint16_t bf16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return (uint16_t)(bits >> 16);
}

static void multiply_mma(void)
{
    static uint16_t a[16 * 16], b[8 * 16];
    float c[16 * 8];
    CUdeviceptr out;
    for (unsigned i = 0; i < 256; i++) a[i] = bf16(value(i));
    for (unsigned i = 0; i < 128; i++) b[i] = bf16(value(i + 300));
    start();
    CUdeviceptr pa = upload(a, sizeof a), pb = upload(b, sizeof b);
    OK(cu.cuMemAlloc_v2(&out, sizeof c));
    OK(launch(load(ptx, "multiply_mma"), 1, 32, NULL, (void *[]){&pa, &pb, &out}));
    OK(cu.cuMemcpyDtoH_v2(c, out, sizeof c));
    for (unsigned y = 0; y < 16; y++)
        for (unsigned x = 0; x < 8; x++) {
            float sum = 0;
            for (unsigned i = 0; i < 16; i++) sum += value(y * 16 + i) * value(300 + x * 16 + i);
            CHECK(c[y * 8 + x] == sum);
        }
}

/* Virtual architectures and the parts that run them: upres's own four, and plain ones. */
static const struct target {
    const char *compute;
    int sm;
} targets[] = {{"80", 80}, {"80", 86}, {"89", 89}, {"90a", 90}, {"120", 120}, {"120f", 120}};

static void run_probe(const char *compiler, const struct target *t)
{
    char name[80], options[32];
    snprintf(options, sizeof options, "sm=%d", t->sm);
    snprintf(name, sizeof name, "PTX from %s for compute_%s on sm_%d: vector sum", compiler, t->compute, t->sm);
    test_case(name, options, add);
    snprintf(name, sizeof name, "PTX from %s for compute_%s on sm_%d: tiled product", compiler, t->compute, t->sm);
    test_case(name, options, multiply);
    snprintf(name, sizeof name, "PTX from %s for compute_%s on sm_%d: mma.sync bf16", compiler, t->compute, t->sm);
    test_case(name, options, multiply_mma);
}

static void test_nvcc(void)
{
    const char *nvcc = getenv("UPRES_NVCC") != NULL ? getenv("UPRES_NVCC") : "nvcc";
    char command[512], path[] = "/tmp/upres-probe-XXXXXX";
    snprintf(command, sizeof command, "%s --version " QUIET, nvcc);
    if (system(command) != 0) {
        test_skip("PTX from nvcc", "no nvcc on the path, none in UPRES_NVCC");
        return;
    }
    int file = mkstemp(path);
    if (file < 0) {
        test_result("PTX from nvcc: a temporary file", false);
        return;
    }
    close(file);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        snprintf(command, sizeof command, "%s -ptx -arch=compute_%s -o %s tests/emulator/probe.cu 1>&2", nvcc,
                 targets[i].compute, path);
        if (system(command) != 0) {
            test_result("PTX from nvcc: probe.cu compiles", false);
            continue;
        }
        ptx = read_text(path);
        run_probe("nvcc", &targets[i]);
        free(ptx);
    }
    unlink(path);
}

/* The few functions of NVRTC that it takes; a program is a pointer, 0 is success. */
static struct {
    int (*create)(void **program, const char *source, const char *name, int headers, const char **texts,
                  const char **names);
    int (*compile)(void *program, int count, const char **options);
    int (*ptx_size)(void *program, size_t *size);
    int (*ptx)(void *program, char *text);
    int (*destroy)(void **program);
} nvrtc;

static bool nvrtc_open(void)
{
    const char *const names[] = {getenv("UPRES_NVRTC"), "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so",
                                 "/usr/local/cuda/lib64/libnvrtc.so"};
    static const char *const symbols[] = {"nvrtcCreateProgram", "nvrtcCompileProgram", "nvrtcGetPTXSize", "nvrtcGetPTX",
                                          "nvrtcDestroyProgram"};
    void *library = NULL, *functions[5];
    for (size_t i = 0; i < sizeof names / sizeof names[0] && library == NULL; i++)
        if (names[i] != NULL) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return false;
    for (size_t i = 0; i < 5; i++)
        if ((functions[i] = dlsym(library, symbols[i])) == NULL) return false;
    memcpy(&nvrtc, functions, sizeof nvrtc);
    return true;
}

static bool nvrtc_compile(const char *source, const char *compute)
{
    char target[64];
    void *program = NULL;
    size_t size = 0;
    snprintf(target, sizeof target, "--gpu-architecture=compute_%s", compute);
    bool ok = nvrtc.create(&program, source, "probe.cu", 0, NULL, NULL) == 0 &&
              nvrtc.compile(program, 1, (const char *[]){target}) == 0 && nvrtc.ptx_size(program, &size) == 0;
    ptx = calloc(1, size + 1);
    ok = ok && ptx != NULL && nvrtc.ptx(program, ptx) == 0;
    if (program != NULL) nvrtc.destroy(&program);
    return ok;
}

static void test_nvrtc(void)
{
    if (!nvrtc_open()) {
        test_skip("PTX from NVRTC", "no libnvrtc, none in UPRES_NVRTC");
        return;
    }
    char *source = read_text("tests/emulator/probe.cu");
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        if (nvrtc_compile(source, targets[i].compute))
            run_probe("NVRTC", &targets[i]);
        else
            test_result("PTX from NVRTC: probe.cu compiles", false);
        free(ptx);
    }
    free(source);
}

void test_compilers(void)
{
    test_nvcc();
    test_nvrtc();
}
