/*
 * Devices and weights for tests of operations: an operation runs once per instruction set of this machine and thread
 * count, on a device whose arena is exactly what a plan of the same calls found.
 */
#ifndef UPRES_TESTS_KERNELS_DEVICE_H
#define UPRES_TESTS_KERNELS_DEVICE_H

#include "runtime/cuda/driver.h"
#include "runtime/dev.h"

/* A weight over the caller's floats. */
typedef struct TestWeight {
    WeightTensor tensor;
    BoundWeight bound;
} TestWeight;
const BoundWeight *test_weight(TestWeight *w, const float *values, int rank, const int64_t *shape);

/* Calls work(user, device) on a plan and then on a device per instruction set and 1 and 3 threads; between devices
 * done(user, version) may look at what came out. Checks that planned and used memory agree. With --bench the whole of
 * `work` is timed on one thread, copies in and out included. */
void each_device(void (*work)(void *user, Dev *d), void (*done)(void *user, const char *version), void *user);

/* One device of those: `work` on a plan, then on the device, which has the memory that the plan found. done: NULL is allowed. false:
 * there was no device. */
bool test_on_device(const DevSetup *setup, const char *version, void (*work)(void *user, Dev *d),
                    void (*done)(void *user, const char *version), void *user);

enum { TEST_STAGE = 2 }; /* of a layer inside a network: int8 there where the precision says so */

/* From now on each_device is CUDA device `ordinal` in fp32, bf16 and int8. */
bool test_use_cuda(int ordinal, char *error, size_t error_size);
const CudaDevice *test_cuda(void); /* NULL: each_device is the CPU */

Tensor upload(Dev *d, const float *values, int t, int h, int w, int c); /* values [t][h][w][c] */
Tensor upload_floats(Dev *d, const float *values, int t, int h, int w, int c); /* to dev_floats: vectors */
void download(Dev *d, Tensor x, float *values);
void poison(Dev *d, Tensor x); /* NaN everywhere: what is not written is seen */

#endif
