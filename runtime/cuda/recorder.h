/*
 * The work of one stream, collected before it is handed to the driver, and handed over as CUDA graphs where it repeats.
 *
 * Networks run the same slices again and again: kernels, small copies and fills whose arguments come back exactly (memory
 * is an arena, so addresses do too). Such a list is launched kernel by kernel the first time it is seen, becomes a graph the second
 * time, and from then on is one call of the driver. Nothing above knows of it: whoever waits for results flushes first.
 *
 * A list is closed when it is flushed or has LIST_MAX entries. Lists are told apart by all their bytes, so a graph is only
 * replayed for exactly the work it was made of. At most GRAPHS_MAX graphs are kept, the least used goes.
 *
 * Threads: one at a time, with the context current. Statuses are the driver's.
 */
#ifndef UPRES_RUNTIME_CUDA_RECORDER_H
#define UPRES_RUNTIME_CUDA_RECORDER_H

#include "runtime/cuda/driver.h"

typedef struct CudaRecorder CudaRecorder;

CudaRecorder *cuda_recorder_open(const CudaDriver *driver, CUstream stream); /* NULL: no memory */
void cuda_recorder_close(CudaRecorder *r);                                   /* what was not flushed is dropped */

typedef struct CudaLaunchShape {
    unsigned x, y, z, threads, shared;
} CudaLaunchShape;

/* A kernel whose one parameter is the `bytes` at args, copied now. */
CUresult cuda_record_launch(CudaRecorder *r, CUfunction f, CudaLaunchShape shape, const void *args, size_t bytes);
/* The same, handed over at once, behind what is recorded: arguments that are never the same again would make of the list around
 * them a new one each time, remembered in vain. */
CUresult cuda_launch_unrecorded(CudaRecorder *r, CUfunction f, CudaLaunchShape shape, const void *args);
/* Host bytes, copied now: RECORD_COPY_MAX at most. */
CUresult cuda_record_copy(CudaRecorder *r, CUdeviceptr to, const void *from, size_t bytes);
CUresult cuda_record_fill(CudaRecorder *r, CUdeviceptr to, uint8_t value, size_t bytes);

/* Hands over what is recorded. */
CUresult cuda_recorder_flush(CudaRecorder *r);
/* The same, for what is not expected to come again: it is not looked for among the graphs and not remembered. */
CUresult cuda_recorder_flush_once(CudaRecorder *r);

/* Seconds on the device from the first that is handed over after the one call until all before the other is done, for which that
 * waits; 0 where nothing was. */
CUresult cuda_recorder_time_begin(CudaRecorder *r);
CUresult cuda_recorder_time_end(CudaRecorder *r, double *seconds);

enum { RECORD_COPY_MAX = 256 << 10 };

/* What went to the driver so far. */
typedef struct CudaRecorderCounts {
    uint64_t launches, copies, graph_launches, graphs_made;
} CudaRecorderCounts;
CudaRecorderCounts cuda_recorder_counts(const CudaRecorder *r);

#endif
