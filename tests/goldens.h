/*
 * The golden runner's parts: one file an area turns a case into the product's own calls and compares.
 */
#ifndef UPRES_TESTS_GOLDENS_H
#define UPRES_TESTS_GOLDENS_H

#include "loader/weights.h"
#include "runtime/dev.h"
#include "tests/json_tree.h"

typedef enum GoldenVerdict { GOLDEN_OK, GOLDEN_FAIL, GOLDEN_SKIP } GoldenVerdict;

/* What the line of a case says. An area compares tensor after tensor with golden_compare; the worst one is reported. */
typedef struct Golden {
    const char *name;         /* "seedvr2_vae/dec_5f" */
    const char *path;
    const WeightFile *file;   /* the expected tensors */
    const JsonTree *meta;     /* the case */
    int threads;
    const char *device, *precision; /* "cpu", "fp32" */
    /* result */
    GoldenVerdict verdict;
    double max_abs, mean_abs; /* of the worst tensor, or of the last one when all is well */
    char where[256];          /* first tensor that differs and its worst element, or why it was skipped */
} Golden;

typedef struct GoldenTolerance {
    double max_abs;            /* every element */
    double mean_abs;           /* < 0: not judged */
    double fraction_over_1e3;  /* allowed share of elements off by more than 1e-3 (then max_abs alone rules them); < 0: none */
    double fraction_different; /* allowed share of elements that differ at all; < 0: not judged */
} GoldenTolerance;

/* Compare `got` (row-major, `count` elements) with tensor `name` of the file; records the first failure. false: failed.
 * A missing tensor, another element count or a NaN is a failure. shape only serves the message. */
bool golden_compare(Golden *g, const char *name, const float *got, int64_t count, GoldenTolerance t);
void golden_fail(Golden *g, const char *format, ...);
void golden_skip(Golden *g, const char *format, ...);

/* One an area; `meta` tells which op or function. */
void golden_seedvr2_vae(Golden *g);      /* goldens_vae.c */
void golden_seedvr2_dit(Golden *g);      /* goldens_dit.c */
void golden_seedvr2_pipeline(Golden *g); /* goldens_pipeline.c */
void golden_pipeline_run(Golden *g);     /* goldens_run.c: function "run", the whole pipeline with stand-in networks */
/* A folder of weight files with index.json and/or NAME.expected.safetensors, and its bad/ folder: prints its own lines
 * through `emit`, one a file. */
void golden_formats(const char *folder, void (*emit)(void *user, const Golden *g), void *user); /* goldens_formats.c */

#endif
