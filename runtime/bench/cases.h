/*
 * What is timed: families of cases, each a table of shapes and a function that sets one of them up, has it timed, and clears
 * it away. The same function runs on a plan first, which counts operations and memory.
 *
 * bytes are those an operation cannot do without: each input read once, each result written once, in the types that the device
 * keeps them in; those of weights are added by what the plan saw.
 */
#ifndef UPRES_RUNTIME_BENCH_CASES_H
#define UPRES_RUNTIME_BENCH_CASES_H

#include "runtime/bench/measure.h"

/* bits of BenchFamily.is */
enum {
    BENCH_TILES = 1,   /* one product: on a GPU that is timed by itself too, in every tile */
    BENCH_NETWORK = 2, /* with its copies in and out; its bytes are not counted, and cold is its first run */
    BENCH_PLAIN = 4,   /* the same code in every instruction set of the CPU */
    BENCH_GPU = 8,     /* there alone */
};

typedef struct BenchFamily {
    const char *name; /* a case is called FAMILY/NAME */
    bool (*run)(Bench *b, const void *shape); /* false: the host has no memory */
    const void *shapes;                       /* structs that begin with their name */
    size_t size, count;
    unsigned is;
} BenchFamily;

#define BENCH_FAMILY(text, function, table) \
    .name = text, .run = function, .shapes = table, .size = sizeof *(table), .count = sizeof(table) / sizeof *(table)

extern const BenchFamily bench_product_families[]; /* products.c: convolutions, linear layers, upsamplers */
extern const size_t bench_product_family_count;
extern const BenchFamily bench_token_families[]; /* tokens.c: attention, norms, and what works by pixel */
extern const size_t bench_token_family_count;
extern const BenchFamily bench_weight_families[]; /* weights.c: stored weights to operands */
extern const size_t bench_weight_family_count;
extern const BenchFamily bench_picture_families[]; /* pictures.c: what is done to whole pictures around the networks */
extern const size_t bench_picture_family_count;
extern const BenchFamily bench_network_families[]; /* networks.c: networks and their phases */
extern const size_t bench_network_family_count;

/* ------------------------------------------------------------------------------------------------------- what cases use */

/* Small numbers of both signs, the same every time. */
void bench_fill(float *x, size_t count);

/* A tensor of such numbers, as the device keeps activations, and in floats; counted as read or written once. */
Tensor bench_tensor(Bench *b, int t, int h, int w, int c);
Tensor bench_floats(Bench *b, int t, int h, int w, int c);
Tensor bench_planes(Bench *b, int planes, int h, int w); /* floats [planes][h][1][w] */
/* The same, neither counted nor filled: for results that are all written. */
void bench_count(Bench *b, Tensor x);

/* A weight of float32 values in memory of the bench's own. */
typedef struct BenchWeight {
    WeightTensor stored;
    BoundWeight bound;
    float *values;
} BenchWeight;
bool bench_weight(Bench *b, BenchWeight *w, int rank, const int64_t *shape); /* false: no memory */
bool bench_vector(Bench *b, BenchWeight *w, int64_t count);
void bench_weight_free(BenchWeight *w); /* zeroed is allowed */

#endif
