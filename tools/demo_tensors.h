/* Named tensors in double precision, filled in by construction and written once as safetensors. */
#ifndef UPRES_TOOLS_DEMO_TENSORS_H
#define UPRES_TOOLS_DEMO_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/console.h"

typedef struct DemoTensor {
    char name[128];   /* as stored, prefix included */
    int rank;         /* 1 to 5 */
    int64_t shape[5]; /* outermost first, 1 beyond the rank */
    int64_t count;
    double *values; /* row-major; 0 when added */
} DemoTensor;

typedef struct DemoTensors {
    const char *prefix; /* put before the names given below */
    DemoTensor *list;
    size_t count;
} DemoTensors;

/* A new tensor of zeros; its rank is the number of extents given. */
#define DEMO_SHAPE(...) ((const int64_t[5]){__VA_ARGS__})
DemoTensor *demo_add(DemoTensors *d, const int64_t shape[5], const char *name, ...) PRINTF_LIKE(3, 4);
/* NAME.weight of `shape` and NAME.bias of its first extent. */
void demo_add_layer(DemoTensors *d, const int64_t shape[5], const char *name, ...) PRINTF_LIKE(3, 4);
/* One that was added. The pointer lasts until the next one is added; a name that is not there ends the program. */
DemoTensor *demo_find(DemoTensors *d, const char *name);
void demo_fill(DemoTensor *t, double value);
/* The value at [out, in] of a matrix or 1x1x1 convolution, at [out, in, t, y, x] of a convolution. */
double *demo_at(DemoTensor *t, int64_t out, int64_t in);
double *demo_tap(DemoTensor *t, int64_t out, int64_t in, int64_t frame, int64_t y, int64_t x);
void demo_free(DemoTensors *d);

/* Each value is rounded once, to float16 or float32. `path` appears when it is whole. EXIT_FAILED. */
bool demo_write(const DemoTensors *d, const char *path, bool half, const char *note, Problem *p);

/* The networks of SeedVR2 (demo_vae.c, demo_transformer.c), by the names of the released ones. */
#define DEMO_LIFT 1.0 /* a constant in latent 0 that the encoder adds and the transformer takes back */
void demo_vae(DemoTensors *d);
void demo_transformer(DemoTensors *d);
/* Those of FlashVSR, each under its own prefix: transformer, LQ projection, TCDecoder (demo_flashvsr.c). */
void demo_flashvsr(DemoTensors *d);

#endif
