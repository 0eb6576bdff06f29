/*
 * The FlashVSR pipeline around its networks: source frames are pushed, results are pulled, in rising order.
 *
 *   push -> source store -> bicubic, padding -> [transformer -> decoder] -> held pictures -> colour, cut, alpha -> pull
 *
 * A chunk runs as soon as the frames it looks at are there: 25 at first, then 8 more a chunk; past the clip's end the
 * last frame is repeated and the surplus results are dropped. As many frames come out as go in. Memory: one chunk,
 * whatever the length of the clip. The networks are a function pointer, so that a test can put simple arithmetic in
 * their place. A StreamPipeline belongs to one thread. Rules: OpenImagingLab/FlashVSR, lossless padding as
 * naxci1/ComfyUI-FlashVSR_Stable.
 */
#ifndef UPRES_RUNTIME_STREAM_PIPELINE_H
#define UPRES_RUNTIME_STREAM_PIPELINE_H

#include "runtime/models/seedvr2_vae.h" /* VaeVideo: samples by position */
#include "runtime/pipeline.h"           /* PipelineResult */
#include "runtime/stream_picture.h"

/*
 * chunk: low-quality frames in (low: of each reader), pictures out, both 3 x padded_h x padded_w, signed, numbered
 * through the stream from 0. Called for chunk 0, 1, 2 ...; chunk k reads up to frame stream_chunk_first(k + 1) +
 * STREAM_AHEAD - 1 and writes its own frames. A sample may be written once, or be the sum of several writes with `add`.
 * restart: a new scene; what follows is chunk 0 again, numbered from 0, of which frame 0 is frame `start` of the clip.
 * Both false with their sentence in f.
 */
typedef struct StreamNetworks {
    void *user;
    bool (*restart)(void *user, int64_t start, Fault *f);
    bool (*chunk)(void *user, int64_t k, const VaeVideo *low, VaeVideo pictures, Fault *f);
} StreamNetworks;

typedef struct StreamPipelineSetup {
    StreamPictureSetup picture;
    int64_t frames; /* of the clip; 0: not known */
    StreamNetworks networks;
    int readers; /* threads that read low-quality frames side by side, each from a video of its own; 0: the caller's alone */
    PictureDevice *reader_device[UPRES_DEVICES_MAX]; /* that is asked first for theirs; NULL: none. Outlive the pipeline */
    void *user;
    void (*finishing)(void *user); /* a result is being finished from now on; may be NULL */
} StreamPipelineSetup;

typedef struct StreamPipeline StreamPipeline;

StreamPipeline *stream_pipeline_open(const StreamPipelineSetup *s, Fault *f); /* NULL and a fault */
void stream_pipeline_close(StreamPipeline *p);
uint64_t stream_pipeline_bytes(const StreamPipelineSetup *s); /* working memory outside the networks' own */

/* Before the first push; false: no memory. */
bool stream_pipeline_select(StreamPipeline *p, int64_t first, int64_t last);
int64_t stream_pipeline_wants(const StreamPipeline *p); /* -1: nothing more */
/* UPRES_OK, UPRES_AGAIN (pull first), or a fault. The frame is the one that is wanted. */
upres_status stream_pipeline_push(StreamPipeline *p, const void *data, ptrdiff_t stride, Fault *f);
upres_status stream_pipeline_drain(StreamPipeline *p, Fault *f);
upres_status stream_pipeline_pull(StreamPipeline *p, PipelineResult *r, Fault *f); /* OK, AGAIN, END, or a fault */
int64_t stream_pipeline_latency(const StreamPipeline *p);

/* The frame pushed next begins a new scene: nothing is carried over, and what has been pushed is finished first. */
void stream_pipeline_cut(StreamPipeline *p);

/* Chunks that will have run when all is done, without cuts; -1 while the end is not known. */
int64_t stream_pipeline_chunks(const StreamPipeline *p);
/* Results that will be given; -1 while the end is not known. */
int64_t stream_pipeline_results(const StreamPipeline *p);

#endif
