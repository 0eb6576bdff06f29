/*
 * Results on their way from the device to pinned memory: copied by a stream of their own, which begins when the main stream has
 * made them, so that the main stream goes on meanwhile.
 *
 * Threads: one at a time, with the context current. Statuses are the driver's.
 */
#ifndef UPRES_RUNTIME_CUDA_OUTGOING_H
#define UPRES_RUNTIME_CUDA_OUTGOING_H

#include "runtime/cuda/driver.h"

typedef struct CudaOutgoing CudaOutgoing;

CudaOutgoing *cuda_outgoing_open(const CudaDriver *driver, CUstream main); /* NULL: no memory */
void cuda_outgoing_close(CudaOutgoing *o); /* NULL is allowed; before the memory goes that is copied to */

/* What is there when the main stream has got as far as now. OUTGOING_MOST at once, each forgotten before its memory is used
 * again. */
enum { OUTGOING_MOST = 4 };
typedef struct OutgoingPart {
    CUdeviceptr from;
    uint64_t bytes; /* 0: none */
} OutgoingPart;
CUresult cuda_outgoing_send(CudaOutgoing *o, void *to, const OutgoingPart part[2]); /* one behind the other */
CUresult cuda_outgoing_wait(CudaOutgoing *o, const void *to); /* until it is there */
void cuda_outgoing_forget(CudaOutgoing *o, const void *to);
/* The main stream goes on from here when all that was sent has been read. */
CUresult cuda_outgoing_clear(CudaOutgoing *o);

#endif
