/*
 * A stream beside the main one, in which weights are made ready while the main one works on operations before theirs.
 *
 * It need not wait for all the main stream has been given: marks between operations tell how far that has come, so what
 * overwrites memory of one operation waits for that operation and may run beside those after it.
 *
 * Threads: one at a time, with the context current. Statuses are the driver's.
 */
#ifndef UPRES_RUNTIME_CUDA_SIDE_H
#define UPRES_RUNTIME_CUDA_SIDE_H

#include "runtime/cuda/driver.h"

/* In place of an operation: nothing to wait for; all that the main stream has been given. */
#define SIDE_AFTER_NOTHING UINT64_MAX
#define SIDE_AFTER_ALL (UINT64_MAX - 1)

typedef struct CudaSide CudaSide;

CudaSide *cuda_side_open(const CudaDriver *driver, CUstream main); /* NULL: no memory */
void cuda_side_close(CudaSide *s);                                 /* waits for its work */

/* The main stream has been given all operations before `operation`, and maybe some of that. Numbers rise. */
CUresult cuda_side_mark(CudaSide *s, uint64_t operation);
/* What the side stream is given from now on waits for the main one to have done operation `after`. Marks `operation`, the one that
 * is being given out. */
CUresult cuda_side_begin(CudaSide *s, uint64_t operation, uint64_t after);
/* What the main stream is given from now on waits for all of the side stream. */
CUresult cuda_side_end(CudaSide *s);

/* The side stream; the main one itself where there is no other. */
CUstream cuda_side_stream(const CudaSide *s);

/* Of all begins: how many there were, and how many waited for less than all the main stream had been given. */
typedef struct CudaSideCounts {
    uint64_t begun, ahead;
} CudaSideCounts;
CudaSideCounts cuda_side_counts(const CudaSide *s);

#endif
