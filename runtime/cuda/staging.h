/*
 * Host memory that the device copies from and to: pinned buffers, taken once and used again and again.
 *
 * Uploads: threads fill a pinned slot while the copy stream carries the one before to one of some places on the device, and the
 * side stream (runtime/cuda/side.h) waits for it there. Slots and places go round; neither is filled again before what was in it
 * has been read.
 *
 * Where pinned memory cannot be had, it is smaller, less, or ordinary memory: slower, no failure.
 *
 * Threads: one at a time, with the context current. Statuses are the driver's.
 */
#ifndef UPRES_RUNTIME_CUDA_STAGING_H
#define UPRES_RUNTIME_CUDA_STAGING_H

#include "runtime/cuda/driver.h"
#include "runtime/cuda/side.h"

enum { STAGING_PLACES = 3, STAGING_SLOTS = 4, STAGING_SLOT_BYTES = 16 << 20 };

typedef struct CudaStaging CudaStaging;

/* NULL: no memory. threads: 0 for as many as help. */
CudaStaging *cuda_staging_open(const CudaDriver *driver, CUstream stream, const CudaSide *side, int threads);
void cuda_staging_close(CudaStaging *s); /* the streams must be idle, but for copies */

/* ------------------------------------------------------------------------------------------------------------ uploads */

/* Device memory for STAGING_PLACES places of `bytes`, a multiple of 16. When there was other memory before, no work may be left. */
void cuda_staging_places(CudaStaging *s, CUdeviceptr at, uint64_t bytes);

/* Writes bytes first .. first + bytes - 1 of what goes up; called by several threads, first a multiple of 4096. */
typedef void StagingFill(const void *context, uint64_t first, uint64_t bytes, uint8_t *to);

/* What fill writes, no more than a place holds, to *at. What the side stream is given from now until the next upload finds it
 * there. */
CUresult cuda_staging_upload(CudaStaging *s, uint64_t bytes, StagingFill *fill, const void *context, CUdeviceptr *at);

/* ------------------------------------------------------------------------------------------------------------ buffers */

/* At least so many bytes with anything in them; NULL: no memory. Equal turns of takes and gives allocate in the first alone. */
void *cuda_buffer_take(CudaStaging *s, uint64_t bytes);
/* It may be taken again when the main stream has got as far as now. */
CUresult cuda_buffer_sent(CudaStaging *s, void *buffer);
void cuda_buffer_give(CudaStaging *s, void *buffer);
void cuda_staging_idle(CudaStaging *s); /* the main stream has done all its work */

#endif
