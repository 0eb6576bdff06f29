/* What the parts of the interpreter's test share. */
#ifndef UPRES_TESTS_EMULATOR_TEST_CORE_H
#define UPRES_TESTS_EMULATOR_TEST_CORE_H

#include "tests/emulator/core.h"

/* Count and print a case; `detail` is shown when it fails. */
void test_case(const char *name, bool ok, const char *detail);
void test_skip(const char *name, const char *why);

/* Host memory as device memory, zeroed; `initialised` tells whether the kernel may read it before writing. */
struct device {
    struct core_span span[16];
    void *memory[16];
    int count;
};
void *device_alloc(struct device *d, size_t bytes, bool initialised);
void device_free(struct device *d);
bool device_find(void *device, uint64_t address, struct core_span *span); /* core_memory.find */

/* A file's text, to be freed; NULL when there is none. */
char *read_text(const char *path);
struct core_module *load_text(const char *text, int sm, struct core_error *error);
enum core_status run_module(struct core_module *m, const char *kernel, struct device *d, uint32_t grid, uint32_t block,
                            const void *params, const struct core_options *options, struct core_error *error);

void test_fragments(void);  /* test_core_fragments.c: mma, ldmatrix, stmatrix against hand-written index formulas */
void test_arithmetic(void); /* test_core_arithmetic.c: instructions against values worked out by hand */
void test_compiled(void);   /* test_core_arithmetic.c: a kernel from nvcc, where there is one */

#endif
