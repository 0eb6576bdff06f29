/*
 * Tensors [C, T, H, W] of float32 in .safetensors files, read and written by position, so that a clip of any length
 * passes through the memory of a few rows.
 */
#ifndef UPRES_TOOLS_IO_SAFETENSORS_H
#define UPRES_TOOLS_IO_SAFETENSORS_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/upres.h"
#include "tools/console.h"
#include "tools/platform.h"

typedef struct TensorShape {
    int64_t channels, frames, height, width;
} TensorShape;

typedef struct TensorSource {
    upres_weights *file; /* any container the library reads will do */
    size_t index;
    TensorShape shape;
    int64_t true_frames; /* metadata `frames`: pictures behind the latents; 0: not said */
    const char *path, *name; /* the caller's */
} TensorSource;

/* Find tensor `name` in the file at `path`. EXIT_INPUT. tensor_source_close() in any case. */
bool tensor_source_open(TensorSource *s, const char *path, const char *name, Problem *p);
bool tensor_source_read(const TensorSource *s, const upres_region *r, Problem *p);
void tensor_source_close(TensorSource *s);

/* float32 samples in a file, addressed by (channel, frame, y, x). */
typedef struct TensorStore {
    OutputFile file;
    uint64_t start;                     /* of the samples */
    uint64_t channel_step, frame_step;  /* in samples */
    TensorShape shape;
} TensorStore;

/* A .safetensors file with one tensor [C, T, H, W]; true_frames 0: no metadata. EXIT_FAILED. */
bool tensor_store_create(TensorStore *s, const char *path, const char *name, TensorShape shape, int64_t true_frames,
                         Problem *p);
/* Samples [T, C, H, W] in a file without a name in `folder`, for results that are added up before they are used. */
bool tensor_store_scratch(TensorStore *s, const char *folder, TensorShape shape, Problem *p);
/* Store or add a region. */
bool tensor_store_write(TensorStore *s, const upres_region *r, bool add, Problem *p);
/* One frame of a scratch store: channels x height x width samples. */
bool tensor_store_frame(TensorStore *s, int64_t frame, float *out, Problem *p);

#endif
