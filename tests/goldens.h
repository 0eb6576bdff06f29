/*
 * The golden runner's parts: one file an area turns a case into the product's own calls and compares.
 */
#ifndef UPRES_TESTS_GOLDENS_H
#define UPRES_TESTS_GOLDENS_H

#include "loader/weights.h"
#include "runtime/dev.h"
#include "tests/json_tree.h"
#include "tests/synth.h"

#include <stddef.h>

typedef enum GoldenVerdict { GOLDEN_OK, GOLDEN_FAIL, GOLDEN_SKIP } GoldenVerdict;

typedef struct GoldenStore GoldenStore; /* the temporary weight file of the last case */

/* How close a result is to what is expected, in decibels; infinite: equal. */
typedef struct GoldenFidelity {
    double snr; /* the expected values' power over that of the differences */
    /* Of both as 8-bit pictures [n][3][...] of values -1 .. 1, an encoder's latents decoded in float32: peak over root of the mean
     * square of the differences of all channels, and of luma (BT.601), which is how the goals of a precision are given. 0: no
     * pictures. */
    double rgb, luma;
    int max_codes; /* the largest difference of a channel */
} GoldenFidelity;

/* What the line of a case says. An area compares tensor after tensor with golden_compare; the worst one is reported. */
typedef struct Golden {
    const char *name; /* "seedvr2_vae/dec_5f" */
    const char *path;
    const WeightFile *file; /* the expected tensors */
    const JsonTree *meta;   /* the case */
    DevSetup setup; /* what on */
    GoldenStore *store;
    /* result */
    GoldenVerdict verdict;
    double max_abs, mean_abs; /* of the first tensor that differs; when all is well, of the one that is furthest off */
    char where[256];          /* that tensor and its worst element, or why the case failed or was skipped */
    GoldenFidelity fidelity;  /* of `out`, the worst where it was computed more than once; snr 0: there was none */
} Golden;

/* Of pictures [n][3][pixels]; the worst of all that are noted is kept. */
void golden_note_pictures(GoldenFidelity *f, const float *got, const float *want, int64_t n, int64_t pixels);

typedef struct GoldenTolerance {
    double max_abs;            /* every element */
    double mean_abs;           /* < 0: not judged */
    double fraction_over_1e3;  /* allowed share of elements off by more than 1e-3; < 0: not judged */
    double fraction_different; /* allowed share of elements that differ at all; < 0: not judged */
    double relative_rms;       /* > 0: root of the mean square of the differences, over that of the expected values, alone */
} GoldenTolerance;

/* Compare `got` (row-major, `count` elements) with tensor `name` of the file; records the first failure. false: failed.
 * A missing tensor, another element count or a NaN is a failure. */
bool golden_compare(Golden *g, const char *name, const float *got, int64_t count, GoldenTolerance t);
/*
 * What the case allows tensor `name`: its key `tolerance` (an object of the fields above, a number, or a sentence such
 * as "fp32: max abs 2e-4" or "exact"), absolute. A case that names none: 0 for integers and masks, otherwise
 * t * max(1, largest expected magnitude); t = GOLDEN_NETWORK or GOLDEN_LAYER.
 */
#define GOLDEN_NETWORK 1e-4 /* whole networks: encode, decode, stream, tiled */
#define GOLDEN_LAYER   1e-5 /* one layer */
GoldenTolerance golden_tolerance(const Golden *g, const char *name, double t);
void golden_fail(Golden *g, const char *format, ...);

/* Expected tensor `name`; NULL with the failure recorded when the file lacks it. */
const WeightTensor *golden_expected(Golden *g, const char *name);

/*
 * The weights of the case as a set opened by the loader: written with `fill` to a temporary safetensors file. Kept from
 * case to case while `key` stays the same, so it must name everything the values depend on. NULL: the failure is
 * recorded.
 */
const WeightSet *golden_weights(Golden *g, const char *key, const SynthShape *shapes, int count, SynthFill fill,
                                void *user);

/* synth_tensor by a description {"name", "shape", "mean", "scale"}; shape receives up to 5 extents and *rank their
 * number. malloc'ed; NULL: the failure is recorded. */
float *golden_input(Golden *g, const JsonTree *description, int64_t shape[5], int *rank);

/* One an area; `meta` tells which op or function. */
void golden_seedvr2_vae(Golden *g);      /* goldens_vae.c */
void golden_seedvr2_dit(Golden *g);      /* goldens_dit.c */
void golden_seedvr2_pipeline(Golden *g); /* goldens_pipeline.c */
void golden_flashvsr(Golden *g);         /* goldens_flashvsr.c */
void golden_flash_pixels(Golden *g);     /* goldens_flash_pixels.c: of that area the kinds about pixels */
void golden_tcdecoder(Golden *g);        /* goldens_tcdecoder.c */
void golden_wan_vae(Golden *g);          /* goldens_wan_vae.c */
void golden_pipeline_run(Golden *g);     /* goldens_run.c: function "run", the whole pipeline with stand-in networks */
/* A folder of weight files with index.json and/or NAME.expected.safetensors, and its bad/ folder: prints its own lines
 * through `emit`, one a file. */
void golden_formats(const char *folder, void (*emit)(void *user, const Golden *g), void *user); /* goldens_formats.c */

#endif
