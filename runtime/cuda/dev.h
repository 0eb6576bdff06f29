/*
 * Inside the CUDA device, for the files dev_*.c of this folder that implement it.
 *
 * One stream, and one beside it that makes weights ready; every operation enqueues and returns. On a plan (cuda_planning)
 * the same code runs with addresses 0: launches and copies do nothing, arena memory is taken and given back all the same, so
 * the peak that a plan finds is what the run needs. Operations allocate nothing but scratch from the arena; weights are made
 * ready when they are first met.
 *
 * Errors latch in the Dev (dev_fail); faults that kernels cause show at the next cuda_wait.
 */
#ifndef UPRES_RUNTIME_CUDA_DEV_H
#define UPRES_RUNTIME_CUDA_DEV_H

#include "kernels/cuda/args.h"
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/recorder.h"
#include "runtime/cuda/staging.h"
#include "runtime/dev_internal.h"

bool cuda_planning(const Dev *d);

/* ------------------------------------------------------------------------------------------------- memory and copies */

/* Device address of x's first element; 0 on a plan or for an invalid tensor. */
CUdeviceptr cuda_at(const Dev *d, Tensor x);

/* Arena memory of one operation, 256-byte aligned. Given back by cuda_scratch_free in any order. address 0 on a plan. */
typedef struct CudaScratch {
    uint64_t at;
    CUdeviceptr address;
} CudaScratch;
CudaScratch cuda_scratch(Dev *d, uint64_t bytes);
void cuda_scratch_free(Dev *d, CudaScratch *s);

/* Host memory to the device, in stream order; the host's bytes may change once the call has returned. */
void cuda_copy_in(Dev *d, CUdeviceptr to, const void *from, uint64_t bytes);
void cuda_fill(Dev *d, CUdeviceptr to, uint8_t value, uint64_t bytes);
void cuda_wait(Dev *d); /* until all work is done; latches faults */
/* To host memory: there after the next cuda_wait. */
void cuda_copy_out(Dev *d, void *to, CUdeviceptr from, uint64_t bytes);
/* Memory beside the arena, for weights. 0 on a plan and after a failure, which is latched. */
CUdeviceptr cuda_memory_take(Dev *d, uint64_t bytes);
void cuda_memory_give(Dev *d, CUdeviceptr address);
/* See runtime/cuda/staging.h: places for uploads on the device, and one upload to the next of them; its address. */
void cuda_upload_places(Dev *d, CUdeviceptr at, uint64_t bytes);
CUdeviceptr cuda_upload(Dev *d, uint64_t bytes, StagingFill *fill, const void *context);
/*
 * Between the two, fills and launches go to the side stream, which waits for operation `after` of the main one (or as
 * runtime/cuda/side.h says); uploads are allowed there alone. What follows on the main stream finds it done.
 */
void cuda_aside_begin(Dev *d, uint64_t after);
void cuda_aside_end(Dev *d);
/* The operation at hand reads weights whose place others will take. */
void cuda_streamed_weight(Dev *d);

/* ----------------------------------------------------------------------------------------------------------- kernels */

/* Enqueue `function` of kernels/cuda/<file>.cu (or kernels/ptx/<file>.ptx): its one parameter is the struct at args. */
void cuda_launch(Dev *d, const char *file, const char *function, const char *macros, CudaGrid grid, const void *args);
/* The same for arguments that change from frame to frame: no list of repeated launches has it. */
void cuda_launch_once(Dev *d, const char *file, const char *function, CudaGrid grid, const void *args);
/* Of the next launch of attention: what its tiles multiply, empty rows among it (runtime/cuda/pieces.h). */
void cuda_expect(Dev *d, double flop);
double cuda_launch_limit(const Dev *d); /* seconds of one: runtime/cuda/pieces.h */
CudaRecorderCounts cuda_counts(const Dev *d); /* what went to the driver so far; not on a plan */
CudaSideCounts cuda_uploads_ahead(const Dev *d); /* weights made ready aside so far; not on a plan */

const DevSetup *cuda_setup_of(const Dev *d);
const CudaDevice *cuda_device_of(const Dev *d); /* what is computed on, or planned for */
/* Of bytes [..][sizes[1]][sizes[0]], strides in bytes from dimension 1 on, in boxes whose rows are of 128 bytes, swizzled. */
void cuda_tensor_map(Dev *d, CudaTensorMap *map, CUdeviceptr at, int rank, const uint64_t *sizes, const uint64_t *strides,
                     const uint32_t *box);

/* --------------------------------------------------------------------------------------------------- precision policy */

/* In what type a stage multiplies (runtime/cuda/policy.h). */
Element cuda_compute(const Dev *d, int stage, int channels, const BoundWeight *stored);

/* ----------------------------------------------------------------------------------------------------------- weights */

typedef enum CudaTime { CUDA_TIME_ALL, CUDA_TIME_PAIR, CUDA_TIME_ONE } CudaTime; /* as CudaPack.time */

/* What a product wants of a stored weight. */
typedef struct CudaWeightForm {
    const BoundWeight *weight, *glu; /* glu NULL: none */
    Element type;
    int ci, kt, khw;
    bool channels_last, frames_in_channels;
    CudaTime time;
} CudaWeightForm;

typedef struct CudaWeight {
    CUdeviceptr data, scale; /* packed [n][taps][depth] and, int8, [taps][blocks][n], e4m3 [n]; rows padded with zeros to 16 */
    int n, taps, depth, blocks;
} CudaWeight;

/*
 * The weight in that form, uploaded, expanded and packed when it is asked for the first time, and again where weights made room
 * for others. Good until the operation ends. False after a failure.
 */
bool cuda_weight(Dev *d, const CudaWeightForm *form, CudaWeight *out);
/* A stored vector as floats; 0 for NULL and on a plan. */
CUdeviceptr cuda_vector(Dev *d, const BoundWeight *w);
/* All elements of a weight as floats at `to`, now, on the device (fold, tables). */
void cuda_weight_floats(Dev *d, const BoundWeight *w, int64_t first, int64_t count, CUdeviceptr to);
/* cuda_wait; then fails the device when a weight held a value that is not finite. */
void cuda_weights_wait(Dev *d);
/* The same for what is copied out meanwhile: words that have to be copied behind it, and what they said. */
typedef struct CudaWords {
    CUdeviceptr at;
    size_t count; /* of four bytes; 0: nothing has to be looked at */
    uint64_t round;
} CudaWords;
CudaWords cuda_weights_words(const Dev *d);
bool cuda_weights_good(Dev *d, const CudaWords *asked, const void *words);
/* Enqueue one packing of floats; what *p says of memory lies on the device. */
void cuda_pack(Dev *d, const CudaPack *p, Element type);
void cuda_weights_close(Dev *d);
void cuda_weight_group(Dev *d, int group);
void cuda_weights_totals(const Dev *d, DevTotals *t);
void cuda_weights_start(Dev *d); /* lays out the memory that a plan found */
uint64_t cuda_weights_planned(const DevSetup *s); /* bytes of it; 0: weights take theirs as they are met */
CUdeviceptr cuda_weight_memory(const Dev *d); /* where it is */
void cuda_weights_resize(Dev *d, uint64_t bytes); /* it is as large from here on: phases that need a smaller arena have more */
struct CudaWeights **cuda_weights_of(const Dev *d); /* where dev_weights.c keeps its table */

/* --------------------------------------------------------------------------------------------------- shared by operations */

/* Enqueue a product; type: of both operands. Picks the tile. True: the moments that were asked for (stat_groups) are made. */
bool cuda_gemm(Dev *d, const CudaGemm *g, Element type);

/*
 * Padded frames that products read: pictures of h x w pixels with borders, `pitch` elements a pixel. margin_x, margin_y:
 * columns and rows of zeros on either side that h, w and frame_pixels count and that are not in memory.
 */
typedef struct CudaFrames {
    CUdeviceptr data, scale; /* scale: 8 bits, 0: all are 1 */
    Element type;
    int h, w, c, pitch, blocks; /* with borders */
    int margin_x, margin_y;
    int frame_pixels, pictures; /* frame_pixels: from slot to slot */
} CudaFrames;

/* pre(x): frame t of x goes to picture slot[t] of `to`, from row top, column left on. */
void cuda_pre(Dev *d, Tensor x, const Pre *pre, const CudaFrames *to, const int *slot, int top, int left);
/* What pads the h x w pixels from row top, column left on of pictures slot[0 .. count - 1] becomes their nearest pixel. */
void cuda_replicate_edges(Dev *d, const CudaFrames *f, const int *slot, int count, int top, int left, int h, int w);

/*
 * Statistics of x's frames: begin takes room for moments, which a product may fill for the frames it stores (CudaGemm.moments);
 * of all others cuda_stats_frames reads what was stored; end makes statistics of them. Both ways give the same bits.
 */
typedef struct CudaStats {
    Tensor x, stats;
    int groups;
    CudaScratch moments;
} CudaStats;
CudaStats cuda_stats_begin(Dev *d, Tensor x, Tensor stats, int groups);
void cuda_stats_frames(Dev *d, const CudaStats *s, int first, int count);
void cuda_stats_end(Dev *d, CudaStats *s);
void cuda_stats_of(Dev *d, Tensor x, Tensor stats, int groups); /* all of it */
int cuda_stats_halves(int h, int w); /* of patches, each of which has moments */

/* Channels that a writer of y has to fill: all of its pixels where y is a whole tensor; the neighbours of a view's channels are
 * not its own, but what rounds them up to 4 is. */
int cuda_pad_of(Tensor y);
CudaView cuda_view(const Dev *d, Tensor x); /* as elementwise kernels see it */
/* Scales of `pixels` pixels of operands of 8 bits, words of four bytes; an invalid tensor for other types. */
Tensor cuda_scales(Dev *d, Element type, int64_t pixels, int depth);
int cuda_words(Element type, int depth); /* of scales of a pixel: floats of int8, four bytes of e4m3 */
int cuda_blocks(int depth); /* of 128 channels */
/* Does pre give values whose range is known well enough for 8-bit floats to go without scales? */
bool cuda_is_bounded(const Pre *pre);
CudaFrames cuda_frames_of(const Dev *d, Tensor x, Tensor scales);
/* Pictures of x with borders of zeros so wide that are not in it. */
CudaFrames cuda_frames_within(const Dev *d, Tensor x, Tensor scales, int margin_x, int margin_y);
/* All of x and its scales, where it has any, become zeros: borders are among them. */
void cuda_clear_frames(Dev *d, Tensor x, Tensor scales);
/* Do all tiles for products of that type, over pixels side by side, have the copy engine make zeros around pictures? */
bool cuda_engine_pads(Element type);
/* Can products of that type read x as it lies in memory? */
bool cuda_reads_directly(Tensor x, Element type);

/* pre(x) as a product's left side: x itself where that will do, else a copy of its own. */
typedef struct CudaOperand {
    CudaFrames frames;
    Tensor own, scales;
} CudaOperand;
CudaOperand cuda_operand(Dev *d, Tensor x, const Pre *pre, Element type);
void cuda_operand_free(Dev *d, CudaOperand *o);

/* A part's two sides, without its taps and steps; a product's result, without its images. */
void cuda_gemm_operand(CudaGemmPart *part, const CudaFrames *a, const CudaWeight *b);
void cuda_gemm_result(const Dev *d, CudaGemm *g, Tensor y, const Post *p, int n);

/* Does pre change nothing, so that x itself can be read? */
bool pre_is_identity(const Pre *pre);

/* --------------------------------------------------------------------------------------------------------- operations */

void cuda_conv3d(Dev *d, const ConvArgs *a);
void cuda_upsample(Dev *d, const UpsampleArgs *a);
void cuda_history(Dev *d, const ConvArgs *a, int slots, ConvState *s);
FoldedUpsampler *cuda_fold(Dev *d, int stage, const BoundWeight *up, const BoundWeight *up_bias, const BoundWeight *conv,
                           const BoundWeight *conv_bias, int rt);
FoldedUpsampler *cuda_fold_nearest(Dev *d, int stage, const BoundWeight *grow, int frames, const BoundWeight *conv,
                                   const BoundWeight *bias);
void cuda_fold_free(Dev *d, FoldedUpsampler *f);
ConvState *cuda_fold_state(Dev *d, const FoldedUpsampler *f, Tensor x, int frames);
void cuda_linear(Dev *d, const LinearArgs *a);
void cuda_norm(Dev *d, const NormArgs *a);
void cuda_stats(Dev *d, const StatsArgs *a);
void cuda_attention(Dev *d, const AttentionArgs *a);
void cuda_block_attention(Dev *d, const BlockAttentionArgs *a);
void cuda_block_mask(Dev *d, const BlockMaskArgs *a);
void cuda_rotate(Dev *d, const RotateArgs *a);
void cuda_rows(Dev *d, Tensor y, Tensor x, const int32_t *index);
void cuda_from_planes(Dev *d, Tensor pixels, Tensor planes, const PlaneCells *cells);
void cuda_to_planes(Dev *d, Tensor planes, Tensor pixels, const PlaneWeights *weights);
void cuda_noise(Dev *d, const NoiseArgs *a);
void cuda_input_noise(Dev *d, Tensor planes, double scale, uint64_t seed, int64_t frame);
void cuda_resize(Dev *d, const ResizeArgs *a);
void cuda_color(Dev *d, const ColorArgs *a);
void cuda_from_codes(Dev *d, const CodesArgs *a);
void cuda_to_codes(Dev *d, const CodesArgs *a);
void cuda_bytes_in(Dev *d, Tensor x, const void *from, uint64_t bytes);
void cuda_bytes_out(Dev *d, Tensor x, void *to, uint64_t bytes);
const void *cuda_out_begin(Dev *d, Tensor x, uint64_t bytes);
bool cuda_out_wait(Dev *d, const void *out);
void cuda_out_end(Dev *d, const void *out);
void cuda_out_clear(Dev *d);
void cuda_axpby(Dev *d, Tensor y, float a, Tensor x, float b, Tensor z);
void cuda_guide(Dev *d, Tensor v, Tensor negative, float guidance, float rescale);
void cuda_modulation(Dev *d, Tensor out, Tensor emb, int layer, int part, const BoundWeight *extra);
void cuda_modulation_row(Dev *d, Tensor out, float add, Tensor emb, int emb_row, const BoundWeight *table, int table_row);

#endif
