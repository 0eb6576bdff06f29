/*
 * One batch on its way through the networks of one device: transform -> encode -> noise, condition -> restore -> decode.
 *
 * It knows its source frames and nothing of the clip around it, so batches may be worked on by several threads at once, each
 * with networks and pictures of its own. Belongs to one thread at a time.
 */
#ifndef UPRES_RUNTIME_BATCH_WORK_H
#define UPRES_RUNTIME_BATCH_WORK_H

#include "runtime/pipeline.h"

typedef struct BatchWork BatchWork;

/* What one device works with. */
typedef struct BatchMeans {
    const PictureSetup *picture;
    const PipelineNetworks *networks;
    Pictures *pictures;
    void *user; /* of phase */
    void (*phase)(void *user, int device, PipelinePhase phase); /* NULL is allowed */
    int device;
} BatchMeans;

/* A batch, the first `keep` of whose pictures are wanted; noise_start: absolute number of its first frame. NULL: no memory. */
BatchWork *batch_work_open(int64_t k, const Batch *b, int keep, int64_t noise_start);
void batch_work_close(BatchWork *w); /* NULL is allowed */

int64_t batch_work_number(const BatchWork *w);
const Batch *batch_work_batch(const BatchWork *w);
/* Source frame of a position of the batch; stays where it is until the batch is closed. */
void batch_work_source(BatchWork *w, int64_t position, const void *source);

/* Before begin, again and again: the encoder is given a little to do. What fails shows in begin. */
void batch_work_ahead(BatchWork *w, const BatchMeans *m);
/* From the sources to the open decoder. m outlives the batch. false with the sentence in f. */
bool batch_work_begin(BatchWork *w, const BatchMeans *m, Fault *f);
/* Decode on; *more: there is more to do. false with the sentence in f. */
bool batch_work_step(BatchWork *w, bool *more, Fault *f);
/* The next picture of the batch where it is complete, signed [3][true_h][true_w], the caller's from now on; else NULL. */
float *batch_work_take(BatchWork *w, int64_t *position);

#endif
