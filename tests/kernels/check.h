/*
 * Test and benchmark of kernels in one entry. A test function makes inputs, calls the plain C version and every faster
 * one the machine has, compares everything including what must not be touched, and times them in the same place:
 *
 *     if (check_begin("resize_%dx%d_%dx%d", h, w, oh, ow)) {
 *         float *x = check_floats(n), *want = check_floats(m), *got = check_floats(m);   // ends at a guard page
 *         check_normal(x, n); check_poison(got, m);
 *         ...
 *         check_close("avx2", want, got, m, 1e-6);
 *         CHECK_BENCH("avx2", flop, bytes, call(...));
 *         check_end();
 *     }
 *
 * Run plainly this is the test; with --bench the benchmark; a pattern argument picks names.
 */
#ifndef UPRES_TESTS_KERNELS_CHECK_H
#define UPRES_TESTS_KERNELS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool check_begin(const char *format, ...); /* false: not picked */
void check_end(void);                      /* prints the line, frees the buffers */

/* Buffers of this entry: zeroed, the byte after the last element lies in a page that cannot be read. */
float *check_floats(size_t count);
void *check_bytes(size_t bytes);

void check_normal(float *x, size_t count);                       /* about N(0, 1), the same in every run of one seed */
float *check_random_floats(size_t count, float scale);           /* a buffer of check_normal values times scale */
void check_uniform(float *x, size_t count, float low, float high);
void check_poison(float *x, size_t count);                       /* NaN: what is not written is seen */
uint32_t check_random(void);

/* |want - got| <= tolerance * max(1, largest |want|) for every element; a NaN in got fails. */
void check_close(const char *version, const float *want, const float *got, size_t count, double tolerance);
/* check_close allows at least this from now on: what a device of lower precision loses. */
void check_set_loss(double tolerance);
void check_equal(const char *version, const void *want, const void *got, size_t bytes);
void check_true(bool ok, const char *format, ...);

bool check_benching(void);
double check_clock(void); /* seconds */
void check_timed(const char *version, double seconds, int runs, double flop, double bytes);

#define CHECK_BENCH(version, flop, bytes, call)                                                                        \
    do {                                                                                                               \
        if (check_benching()) {                                                                                        \
            int runs_ = 0;                                                                                             \
            double best_ = 1e30, all_ = 0;                                                                             \
            while (runs_ < 3 || all_ < 0.2) {                                                                          \
                double at_ = check_clock();                                                                            \
                call;                                                                                                  \
                at_ = check_clock() - at_;                                                                             \
                best_ = at_ < best_ ? at_ : best_;                                                                     \
                all_ += at_;                                                                                           \
                runs_++;                                                                                               \
            }                                                                                                          \
            check_timed(version, best_, runs_, flop, bytes);                                                           \
        }                                                                                                              \
    } while (0)

#endif
