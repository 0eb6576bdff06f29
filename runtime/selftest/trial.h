/*
 * One case of the self-test: straight-line code over device operations that runs several times, on plans, on the plain C
 * reference and on each device under test.
 *
 * What it asks for is told apart by the order of asking alone, so every run gets the same numbers, whatever the device, and
 * the same weights and tables at the same addresses: devices know weights again by their address, so these stay until the
 * store is closed.
 */
#ifndef UPRES_RUNTIME_SELFTEST_TRIAL_H
#define UPRES_RUNTIME_SELFTEST_TRIAL_H

#include "runtime/dev.h"

#include <stddef.h>

enum { TRIAL_STAGE = 2 }; /* of a layer inside a network: 8 bits there where the precision says so */

/* Weights and tables of one case. */
typedef struct TrialStore TrialStore;
TrialStore *trial_store_open(uint32_t seed); /* NULL: no memory */
void trial_store_close(TrialStore *s);

/* What came out, in the order of keeping: one output after the other. Zeroed before its first use. */
enum { OUTPUTS_MAX = 16 };
typedef struct TrialResults {
    float *values;
    size_t count, room;
    size_t end[OUTPUTS_MAX];
    int outputs;
    bool dirty; /* padding of a pixel held something else than zeros */
} TrialResults;
void trial_results_free(TrialResults *r);

/* What a result may be off by, by precision. */
typedef struct TrialBounds {
    double fp32; /* of any element, relative to the largest of its output or 1 */
    double bf16, int8, fp8, fp8x3; /* of the root mean square; see trial_compare */
} TrialBounds;

typedef struct Trial {
    Dev *d;
    TrialStore *store;
    TrialResults *results;
    TrialBounds bounds;      /* the family's; a case may change them */
    int numbers, kept;       /* how many sets of numbers, and weights and tables, have been asked for */
    bool no_memory;
} Trial;

/* Random numbers of variance spread^2 up to 3.5 spread, padding zero. */
Tensor trial_input(Trial *t, int frames, int h, int w, int c, float spread); /* as the device keeps activations */
Tensor trial_floats(Trial *t, int frames, int h, int w, int c, float spread);
Tensor trial_exact(Trial *t, int frames, int h, int w, int c, float spread); /* numbers that bf16 holds without rounding */
/* Not a number everywhere: what an operation does not write is seen. */
Tensor trial_output(Trial *t, int frames, int h, int w, int c);
Tensor trial_output_floats(Trial *t, int frames, int h, int w, int c);

/* float32 weights; `stored`: of a type, with `scales` scales beside it (0, 1, or one a row). */
const BoundWeight *trial_weight(Trial *t, int rank, const int64_t *shape, float spread);
const BoundWeight *trial_vector(Trial *t, int count, float spread);
const BoundWeight *trial_stored(Trial *t, WeightType type, int scales, int rank, const int64_t *shape, float spread);
/* Host memory, zeroed; *fresh: nobody has filled it yet. NULL: no memory, and the trial's failed. */
void *trial_table(Trial *t, size_t bytes, bool *fresh);
/* A generator for what else is random; the same in every run. */
uint64_t trial_numbers(Trial *t);
uint32_t trial_random(uint64_t *state);

/* Take down what x holds; nothing on a plan. */
void trial_keep(Trial *t, Tensor x);

/*
 * How far `got` is from `want`, over all outputs the largest. fp32: the largest difference relative to the largest value
 * wanted, or to 1 where that is more. Else what roundings of known size leave: the root mean square of the differences, or a
 * tenth of the largest one where that is more, relative to the root mean square of what is wanted. Infinite for what is not
 * finite. *at, *output: the worst element; -1, -1: none.
 */
double trial_compare(const TrialResults *want, const TrialResults *got, bool fp32, int *output, int64_t *at);

#endif
