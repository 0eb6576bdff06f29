/*
 * What the tests of the emulated driver share: the library opened as any program opens it, checks, and cases that each
 * run in a process of their own, because a driver reads its options once and an error in it stays.
 */
#ifndef UPRES_TESTS_EMULATOR_TEST_DRIVER_H
#define UPRES_TESTS_EMULATOR_TEST_DRIVER_H

#include "tests/emulator/driver_api.h"

#include <stdbool.h>

/* The functions of the library, by symbol. */
struct driver {
#define FUNCTION(name, since, symbol, parameters) CUresult(*symbol) parameters;
#define ALIAS(name, since, symbol)
#include "tests/emulator/driver_functions.h"
#undef ALIAS
#undef FUNCTION
    void *library;
};
extern struct driver cu;

/* A failed check is printed and fails the case. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) complain("%s:%d: %s", __FILE__, __LINE__, #condition);                                       \
    } while (0)
/* A call with the status it must give. */
#define CHECK_STATUS(call, status)                                                                                     \
    do {                                                                                                               \
        CUresult got_ = (call);                                                                                        \
        if (got_ != (status)) complain("%s:%d: %s gave %d, not %d", __FILE__, __LINE__, #call, got_, (int)(status));   \
    } while (0)
#define OK(call) CHECK_STATUS(call, CUDA_SUCCESS)

/* Was this written to stderr since the case began? */
bool told(const char *text);

/* cuInit, and the primary context of device 0 made current. */
void start(void);
CUfunction load(const char *ptx, const char *name);
/* A launch of x blocks of y threads with parameters given as pointers. */
CUresult launch(CUfunction function, unsigned blocks, unsigned threads, CUstream stream, void **params);
/* Device memory of `bytes`, filled with 32-bit `value`. */
CUdeviceptr filled(size_t bytes, unsigned value);

/*
 * Run `body` in a process of its own with UPRES_EMULATOR=options, the library opened, stderr kept for told(). The
 * number of failed checks, at most 100; CASE_BROKEN when the library could not be opened, the process crashed, or ran
 * for more than a minute. With `quiet` failed checks are not printed: for cases that must fail with some seeds.
 */
enum { CASE_BROKEN = 1000 };
int run_case(const char *options, void (*body)(void), bool quiet);
/* The same as a test of its own: a line "ok name" or "FAIL name". */
void test_case(const char *name, const char *options, void (*body)(void));
/* A test without a process: ok when passed. */
void test_result(const char *name, bool passed);
void test_skip(const char *name, const char *why);
/* The library's path for the cases; to be called first. */
void test_begin(const char *library);
/* Prints the closing line; the exit status. */
int test_end(void);

/* p[i] = p[i] * f + 1 for i < n: launches in another order give other numbers. */
extern const char scale_ptx[];

#endif
