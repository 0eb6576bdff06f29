/*
 * Frames of a case as planes, the observer that collects a network's inner values, and the comparison of memories: what
 * the golden runner's autoencoder parts share.
 */
#ifndef UPRES_TESTS_GOLDENS_PLANES_H
#define UPRES_TESTS_GOLDENS_PLANES_H

#include "runtime/models/seedvr2_vae.h"
#include "tests/goldens.h"

/* Contiguous [c][t][h][w], or [t][c][h][w]. */
typedef struct Planes {
    float *data;
    int64_t c, t, h, w;
    bool frames_first;
} Planes;

int64_t planes_count(const Planes *p);
float *planes_at(const Planes *p, int64_t c, int64_t t, int64_t y, int64_t x);
/* The planes that the tensor [1][c][t][h][w] ([1][t][c][h][w]) asks for, not a number until something is written. Owner
 * of data: the caller. False: the failure is recorded. */
bool planes_expected(Golden *g, const char *name, bool frames_first, Planes *p);
/* The case's input by its description [1][c][t][h][w]. */
bool planes_input(Golden *g, const JsonTree *description, Planes *p);
void planes_compare(Golden *g, const char *name, const Planes *p, double t);
/* VaeVideo over planes in user. */
bool planes_read(void *user, const VaeRegion *r);
bool planes_write(void *user, const VaeRegion *r, bool add);

/* Inner values of a network. `where` is the network's name of the value; the tensor is "tap.<where>". */
enum { MAX_TAPS = 32 };

typedef struct Tap {
    const char *where;
    char name[128];
    int stride; /* of the stored channels */
    Planes got;
} Tap;

typedef struct Taps {
    Golden *g;
    int count;
    Tap item[MAX_TAPS];
} Taps;

bool taps_add(Taps *t, const char *where, int stride, bool frames_first);
void taps_take(void *user, const char *where, int64_t frame, const float *nhwc, int h, int w, int c,
               int c_pad); /* VaeTap */
void taps_compare(Taps *t);
void taps_close(Taps *t);

/*
 * A convolution's memory [t][h][w][c] against tensor `name` [1][c][t][h][w]. The product may keep its zero border along
 * (as long on both sides) or leave out zeros that the reference keeps (right and below): both hold the same.
 */
void memory_compare(Golden *g, const char *name, const float *memory, int t, int h, int w, int c, double tolerance);
/* Room for the memory of any layout memory_compare knows; NULL: the failure is recorded. */
float *memory_room(Golden *g, const char *name);

/* Values by synth_weight of prefix + name; those named ...gamma are 1 + 0.1 u. */
typedef struct PrefixRule {
    const char *prefix;
    double gain;
} PrefixRule;
/* The one network of a case whose layout is `shapes` (malloc'ed; freed here; count < 0: no memory), with these values. key:
 * as for golden_weights. NULL: the failure is recorded. */
const WeightPart *prefix_part(Golden *g, WeightNetwork network, const char *key, SynthShape *shapes, int count, PrefixRule *rule);

#endif
