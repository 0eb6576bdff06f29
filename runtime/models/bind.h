/*
 * Binding of a network's weights by name. Extents are read off element counts, so a container's flattened tensors are fine:
 * a tensor stored with one dimension fits every shape of its number of elements (GGUF holds at most four dimensions).
 */
#ifndef UPRES_RUNTIME_MODELS_BIND_H
#define UPRES_RUNTIME_MODELS_BIND_H

#include "loader/weights.h"

/* One part's binding. The first failure is kept as a sentence in error, later calls do nothing. */
typedef struct Binder {
    const WeightPart *part;
    char *error;
    size_t error_size;
    bool failed;
} Binder;

typedef struct LinearWeights {
    BoundWeight weight, bias; /* [out, in], [out]; bias.tensor NULL: none */
} LinearWeights;

/* Elements of a stored tensor; 0: there is none. */
int64_t binder_count(const Binder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void binder_fail(Binder *b, const char *format, ...) __attribute__((format(printf, 2, 3))); /* after "<path>: " */
/* The tensor of that name as rank extents. */
void bind_tensor(Binder *b, BoundWeight *w, int rank, const int64_t *shape, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void bind_vector(Binder *b, BoundWeight *w, int64_t n, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* <name>.weight and <name>.bias */
void bind_linear(Binder *b, LinearWeights *w, int64_t out, int64_t in, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Text in the caller's buffer. NAME: in one that lives as long as the block it is written in. */
const char *name_text(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define NAME(...) name_text((char[160]){0}, 160, __VA_ARGS__)

#endif
