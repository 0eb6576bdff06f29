/*
 * Writes a GGUF 3 file front to back: metadata and tensor entries are collected, then the header is written, then each
 * tensor's data in the order they were added. Tensors of more than four dimensions are stored flat, with their shape
 * under `<name>.raw_shape`.
 *
 * The file is written as <path>.part; only gguf_writer_commit gives it its name, so an interrupted run leaves no file
 * that looks whole. Errors stay: look at the result of finish.
 */
#ifndef UPRES_LOADER_GGUF_WRITE_H
#define UPRES_LOADER_GGUF_WRITE_H

#include "loader/buffer.h"
#include "loader/weights.h"

#include <stdio.h>

#define GGUF_UNFINISHED ".part" /* behind the name */

typedef struct GgufWriter {
    FILE *file;
    char *part;          /* the name it is written under */
    const char *path;    /* the caller's, until finish or abandon */
    Buffer pairs, infos; /* encoded */
    uint64_t pair_count, tensor_count, offset, at;
    bool failed;
} GgufWriter;

/* Creates the file, so that a place that cannot be written is known at once. false: errno tells. */
bool gguf_writer_open(GgufWriter *w, const char *path);
void gguf_writer_string(GgufWriter *w, const char *key, const char *value);
void gguf_writer_u32(GgufWriter *w, const char *key, uint32_t value);
/* type: F32, F16, BF16 or Q8_0; no dimension is zero. */
void gguf_writer_tensor(GgufWriter *w, const char *name, WeightType type, int rank, const int64_t *shape);
void gguf_writer_header(GgufWriter *w);                                 /* once, after all tensors were added */
void gguf_writer_data(GgufWriter *w, const void *bytes, size_t length); /* the next bytes of the present tensor */
void gguf_writer_tensor_end(GgufWriter *w);
/* Everything to the disk. false: errno tells; the part file is gone. After it, `part` can be read; then commit. */
bool gguf_writer_finish(GgufWriter *w);
bool gguf_writer_commit(GgufWriter *w);  /* gives the file its name; frees the writer */
void gguf_writer_abandon(GgufWriter *w); /* removes the part file; frees the writer */

#endif
