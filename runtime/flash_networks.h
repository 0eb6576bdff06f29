/*
 * The networks of a streaming job: found in the weights, planned, and run chunk by chunk behind the pipeline's function
 * pointer, over the whole picture or over tiles of it. Belongs to one thread.
 *
 * Of several devices as many are used as there are tiles, and each has its own of them (runtime/flash_share.h).
 *
 * Tiles: windows of the padded picture, each a stream of its own. As the frames come by but once, the caches of all
 * tiles stay in memory: tiles change what attention sees and costs, and take more memory rather than less. Positions
 * and local range start anew in each, the noise does not. Where tiles overlap their pictures are mixed with straight
 * ramps; the border of the picture has none. Colour is corrected afterwards, over the whole picture.
 */
#ifndef UPRES_RUNTIME_FLASH_NETWORKS_H
#define UPRES_RUNTIME_FLASH_NETWORKS_H

#include "runtime/cost.h"
#include "runtime/pipeline.h" /* PipelinePhase */
#include "runtime/stream_pipeline.h"

typedef struct FlashNetworks FlashNetworks;

/* Operations of one chunk, on all devices. */
typedef struct ChunkCost {
    double transformer, decode;
    Prediction transformer_time, decode_time; /* of a GPU's plan */
} ChunkCost;

/* Everything that is settled before the first frame. */
typedef struct FlashPlan {
    ChunkCost first, next; /* the first chunk, and every later one */
    int tile, overlap;     /* output pixels; 0: the whole picture */
    int tiles;
    int devices;           /* that share them; bytes are each one's, but for fixed_bytes */
    uint64_t arena_bytes, weight_bytes, fixed_bytes;
    uint64_t peak_bytes; /* of what the limit is for: all three; on a GPU, whose memory holds no frames, the first two */
    WeightNeed weights;  /* on a GPU: what weight_bytes may be less than */
    uint64_t limit;      /* 0: none known */
    char note[128];      /* what is streamed; "" when nothing */
} FlashPlan;

/*
 * Find the networks and the text, and bind them. o: settled for FlashVSR. Errors: UPRES_E_INPUT (a part is missing or
 * there twice, a tensor is missing).
 */
FlashNetworks *flash_networks_open(const WeightSet *w, const upres_options *o, Fault *f);
void flash_networks_close(FlashNetworks *m); /* NULL is allowed */

/* Add up memory and operations for a pipeline. Errors: UPRES_E_MEMORY with what would help. */
bool flash_networks_plan(FlashNetworks *m, const StreamPipelineSetup *s, FlashPlan *plan, Fault *f);

/* Told of the course of things, on the caller's thread, with several devices of the tile that is waited for; functions may be
 * NULL. */
typedef struct FlashWatch {
    void *user;
    void (*chunk_begins)(void *user, int64_t k);
    void (*phase)(void *user, PipelinePhase phase); /* what is worked on from now on */
    void (*progress)(void *user, double done);      /* 0..1 of the chunk's tiles in that phase */
    void (*chunk_ends)(void *user, int64_t k);
} FlashWatch;

/* The same, and open the devices with the memory the plan found, and the streams on them; where a GPU has less than it said,
 * once more for a smaller one. */
bool flash_networks_start(FlashNetworks *m, const StreamPipelineSetup *s, FlashPlan *plan, FlashWatch watch, Fault *f);
StreamNetworks flash_networks_run(FlashNetworks *m); /* for the pipeline's setup, after start */

/* Where tile i lies in the padded picture; false: there is none of that number. */
bool flash_networks_tile(const FlashNetworks *m, int i, StreamTile *y, StreamTile *x);
const DevSetup *flash_networks_setup(const FlashNetworks *m, int device);
const char *flash_networks_describe(const FlashNetworks *m, int device); /* "" before start */
DevTotals flash_networks_totals(const FlashNetworks *m, int device);     /* after start */
bool flash_networks_uses(const FlashNetworks *m, const WeightPart *part);
/* "FlashVSR 1.1, as no file tells": the version that runs, and where it is known from. */
const char *flash_networks_version(const FlashNetworks *m);

#endif
