/*
 * What the self-test computes: families of cases, each a table of shapes and a function that runs one of them.
 */
#ifndef UPRES_RUNTIME_SELFTEST_CASES_H
#define UPRES_RUNTIME_SELFTEST_CASES_H

#include "runtime/selftest/trial.h"

typedef struct TrialFamily {
    const char *name;  /* of the operation; a case is called FAMILY/NAME */
    void (*run)(Trial *t, const void *shape);
    const void *shapes; /* structs that begin with their name */
    size_t size, count;
    bool products;     /* what is narrower than bf16 is so in its products; all else is as in bf16 */
    bool tiles;        /* for a GPU of one multiprocessor: products choose their tile by its shape alone */
    TrialBounds bounds;
} TrialFamily;

/* products.c: convolutions, linear layers, upsamplers, stored weights. */
extern const TrialFamily trial_product_families[];
extern const size_t trial_product_family_count;
/* tokens.c: norms, statistics, attention, and what else works by pixel. */
extern const TrialFamily trial_token_families[];
extern const size_t trial_token_family_count;
/* pictures.c: what is done to whole pictures around the networks. */
extern const TrialFamily trial_picture_families[];
extern const size_t trial_picture_family_count;

#define TRIAL_FAMILY(text, function, table) \
    .name = text, .run = function, .shapes = table, .size = sizeof *(table), .count = sizeof(table) / sizeof *(table)

#endif
