#include "tests/kernels/check.h"

#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <fnmatch.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { BUFFERS_MAX = 64, TEXT_MAX = 400 };

/* State of the program: this is a single-threaded test driver. */
static struct {
    bool bench, digest;
    uint64_t digested; /* FNV-1a of the test's results */
    const char *pattern;
    uint64_t seed, random;
    char name[128], timings[TEXT_MAX], problem[TEXT_MAX];
    double worst, loss;
    int passed, failed;
    struct {
        void *base;
        size_t size;
    } buffer[BUFFERS_MAX];
    int buffers;
} check;

bool check_begin(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(check.name, sizeof check.name, format, list);
    va_end(list);
    if (check.pattern != NULL && fnmatch(check.pattern, check.name, 0) != 0) return false;
    check.random = check.seed;
    check.worst = 0.0;
    check.digested = 14695981039346656037u;
    check.timings[0] = check.problem[0] = '\0';
    return true;
}

void check_end(void)
{
    const bool ok = check.problem[0] == '\0';
    printf("%s %-44s%s %s %.1e%s%s", ok ? "ok  " : "FAIL", check.name, check.timings, ok ? "ok" : "FAIL", check.worst,
           ok ? "" : "  ", check.problem);
    if (check.digest) printf("  %016llx", (unsigned long long)check.digested);
    printf("\n");
    *(ok ? &check.passed : &check.failed) += 1;
    for (int i = 0; i < check.buffers; i++) munmap(check.buffer[i].base, check.buffer[i].size);
    check.buffers = 0;
}

void *check_bytes(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page;
    if (check.buffers == BUFFERS_MAX) abort();
    char *base = mmap(NULL, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + body, page, PROT_NONE) != 0) abort();
    check.buffer[check.buffers].base = base;
    check.buffer[check.buffers++].size = body + page;
    return base + (body - bytes);
}

float *check_floats(size_t count) { return check_bytes(count * sizeof(float)); }

uint32_t check_random(void)
{
    check.random += 0x9E3779B97F4A7C15ULL; /* splitmix64 */
    uint64_t z = check.random;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

float *check_random_floats(size_t count, float scale)
{
    float *x = check_floats(count);
    check_normal(x, count);
    for (size_t i = 0; i < count; i++) x[i] *= scale;
    return x;
}

void check_uniform(float *x, size_t count, float low, float high)
{
    for (size_t i = 0; i < count; i++) x[i] = low + (high - low) * (float)((check_random() >> 8) + 0.5) / 16777216.0f;
}

void check_normal(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) { /* twelve uniform numbers: a bell, with ends at 6 */
        float sum = 0.0f;
        for (int n = 0; n < 12; n++) sum += (float)(check_random() >> 8) / 16777216.0f;
        x[i] = sum - 6.0f;
    }
}

void check_poison(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) x[i] = NAN;
}

void check_true(bool ok, const char *format, ...)
{
    if (ok || check.problem[0] != '\0') return;
    va_list list;
    va_start(list, format);
    vsnprintf(check.problem, sizeof check.problem, format, list);
    va_end(list);
}

static void add_to_digest(const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) check.digested = (check.digested ^ ((const unsigned char *)bytes)[i]) * 1099511628211u;
}

void check_close(const char *version, const float *want, const float *got, size_t count, double tolerance)
{
    double top = 1.0;
    tolerance = fmax(tolerance, check.loss);
    add_to_digest(got, count * sizeof *got);
    for (size_t i = 0; i < count; i++) top = fmax(top, fabs((double)want[i]));
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)want[i] - (double)got[i]);
        if (difference / top > check.worst) check.worst = difference / top;
        check_true(difference <= tolerance * top, "%s: element %zu of %zu is %.9g, not %.9g (seed %llu)", version, i, count,
                   (double)got[i], (double)want[i], (unsigned long long)check.seed);
    }
}

void check_set_loss(double tolerance) { check.loss = tolerance; }

void check_equal(const char *version, const void *want, const void *got, size_t bytes)
{
    const unsigned char *a = want, *b = got;
    add_to_digest(got, bytes);
    for (size_t i = 0; i < bytes; i++) {
        check_true(a[i] == b[i], "%s: byte %zu of %zu is %02x, not %02x (seed %llu)", version, i, bytes, b[i], a[i],
                   (unsigned long long)check.seed);
    }
}

bool check_benching(void) { return check.bench && check.problem[0] == '\0'; }

double check_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void check_timed(const char *version, double seconds, int runs, double flop, double bytes)
{
    char text[128];
    int n = snprintf(text, sizeof text, "  %s %.3g ms", version, seconds * 1e3);
    if (flop > 0) n += snprintf(text + n, sizeof text - (size_t)n, " %.1f GFLOPS", flop / seconds * 1e-9);
    else if (bytes > 0) n += snprintf(text + n, sizeof text - (size_t)n, " %.1f GB/s", bytes / seconds * 1e-9);
    (void)runs;
    strncat(check.timings, text, sizeof check.timings - strlen(check.timings) - 1);
}

int main(int argc, char **argv)
{
    check.seed = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) check.bench = true;
        else if (strcmp(argv[i], "--digest") == 0) check.digest = true;
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) check.seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc) {
            char error[512] = "";
            int ordinal = 0;
            const char *device = argv[++i];
            if (strcmp(device, "cuda") != 0 && sscanf(device, "cuda:%d", &ordinal) != 1) {
                fprintf(stderr, "kernels: --device is cuda or cuda:N, not %s\n", device);
                return 2;
            }
            if (!test_use_cuda(ordinal, error, sizeof error)) {
                fprintf(stderr, "kernels: %s\n", error);
                return 2;
            }
        } else if (argv[i][0] != '-') check.pattern = argv[i];
        else {
            fprintf(stderr, "usage: kernels [--bench] [--digest] [--seed N] [--device cuda[:N]] [PATTERN]\n");
            return 2;
        }
    }
    run_kernel_tests();
    printf("%d passed, %d failed, 0 skipped\n", check.passed, check.failed);
    return check.failed > 0 || check.passed == 0;
}
