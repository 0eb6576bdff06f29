/*
 * What the CUDA device is made of, for the three files that keep it: dev.c (memory, copies, launches), dev_host.c (what the host
 * reads and writes) and dev_open.c (opening, phases, closing, the table of operations). Operations know runtime/cuda/dev.h alone.
 */
#ifndef UPRES_RUNTIME_CUDA_DEVICE_H
#define UPRES_RUNTIME_CUDA_DEVICE_H

#include "runtime/cuda/block.h"
#include "runtime/cuda/dev.h"
#include "runtime/cuda/outgoing.h"
#include "runtime/cuda/policy.h"
#include "runtime/cuda/predict.h"
#include "runtime/cuda/recorder.h"
#include "runtime/cuda/staging.h"
#include "runtime/cuda/watch.h"
#include "runtime/cuda/weight_room.h"

struct Cuda {
    CudaDevice device;
    DevSetup setup;
    DevPrecision precision;
    const CudaDriver *driver; /* NULL on a plan, as all below */
    CUdevice number;
    CUcontext context; /* NULL: not opened */
    int inside;        /* how often it was made current and not yet given up */
    CUstream stream;
    CudaRecorder *recorder; /* of the stream: all work goes through it */
    CudaSide *side;
    CudaStaging *staging;
    CudaOutgoing *outgoing;
    struct {
        const void *out; /* NULL: none */
        uint64_t bytes;  /* the words lie behind them */
        CudaWords words;
    } leaving[OUTGOING_MOST];
    bool aside;             /* launches and fills go to the side stream, now */
    bool leaves_streamed;   /* an operation has read weights that make room for others */
    uint64_t left;          /* which one */
    CudaKernels *kernels;
    CudaBlock block;   /* weights, where a plan found how much they need, and behind them the arena */
    CUdeviceptr arena;
    struct CudaWeights *weights; /* dev_weights.c */
    Prediction prediction;       /* of a plan's launches */
    double foreseen;             /* operations that the products among them had */
    double expected;             /* of the next launch of attention, in whole tiles */
    double launch_limit;         /* seconds; 0: LAUNCH_SECONDS */
    CudaWatch *watch;
};

/* The context is made current around the driver's calls alone: a program may have its own. Calls within calls find it so, and
 * whoever gives out much work enters for all of it (dev_enter). */
void cuda_enter(Dev *d);
void cuda_leave(Dev *d);
/* Latches what the driver says. */
bool cuda_worked(Dev *d, const char *what, CUresult status);
/* Not recorded. Memory that is not pinned is read before the call returns, other memory in its turn. */
void cuda_copy_now(Dev *d, CUdeviceptr to, const void *from, uint64_t bytes);

/* Operations of the table that no other file has. */
void cuda_time_begin(Dev *d);
double cuda_time_end(Dev *d);
const float *cuda_read(Dev *d, Tensor x);
void cuda_read_end(Dev *d, const float *values);
float *cuda_write(Dev *d, Tensor x);
void cuda_write_end(Dev *d, Tensor x, float *values);

#endif
