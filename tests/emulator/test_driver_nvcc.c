/*
 * PTX as nvcc writes it: tests/emulator/probe.cu compiled and run, for each simulated part. Skipped without nvcc (the
 * one that UPRES_NVCC names, or nvcc on the path). Run in the project's root.
 */
#include "tests/emulator/test_driver.h"
#include "tests/emulator/test_driver_parts.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

void test_nvcc(void)
{
    static const int parts[] = {80, 89, 90, 120};
    const char *nvcc = getenv("UPRES_NVCC") != NULL ? getenv("UPRES_NVCC") : "nvcc";
    char command[512], path[] = "/tmp/upres-probe-XXXXXX";
    snprintf(command, sizeof command, "%s --version >/dev/null 2>&1", nvcc);
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
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char name[64], options[32];
        snprintf(command, sizeof command, "%s -ptx -arch=compute_%d -o %s tests/emulator/probe.cu 1>&2", nvcc, parts[i],
                 path);
        snprintf(name, sizeof name, "PTX from nvcc for compute_%d: compiled", parts[i]);
        bool compiled = system(command) == 0;
        test_result(name, compiled);
        if (!compiled) continue;
        ptx = read_text(path);
        snprintf(options, sizeof options, "sm=%d", parts[i]);
        snprintf(name, sizeof name, "PTX from nvcc for compute_%d: vector sum", parts[i]);
        test_case(name, options, add);
        snprintf(name, sizeof name, "PTX from nvcc for compute_%d: tiled product", parts[i]);
        test_case(name, options, multiply);
        snprintf(name, sizeof name, "PTX from nvcc for compute_%d: mma.sync bf16", parts[i]);
        test_case(name, options, multiply_mma);
        free(ptx);
    }
    unlink(path);
}
