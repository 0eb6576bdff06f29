/*
 * What a device is made of, for the files that implement one. Networks see dev.h alone.
 */
#ifndef UPRES_RUNTIME_DEV_INTERNAL_H
#define UPRES_RUNTIME_DEV_INTERNAL_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm.h"
#include "runtime/arena.h"
#include "runtime/dev.h"
#include "runtime/thread.h"

#include <stdatomic.h>

/* Every device fills this table, in this order, without holes. Arguments have been checked for errors already latched. */
typedef struct DevOps {
    void (*conv3d)(Dev *d, const ConvArgs *a);
    void (*upsample)(Dev *d, const UpsampleArgs *a);
    void (*linear)(Dev *d, const LinearArgs *a);
    void (*norm)(Dev *d, const NormArgs *a);
    void (*stats)(Dev *d, const StatsArgs *a);
    void (*attention)(Dev *d, const AttentionArgs *a);
    void (*block_attention)(Dev *d, const BlockAttentionArgs *a);
    void (*block_mask)(Dev *d, const BlockMaskArgs *a);
    void (*rotate)(Dev *d, const RotateArgs *a);
    void (*rows)(Dev *d, Tensor y, Tensor x, const int32_t *index);
    void (*axpby)(Dev *d, Tensor y, float a, Tensor x, float b, Tensor z);
    void (*from_planes)(Dev *d, Tensor pixels, Tensor planes, const PlaneCells *cells);
    void (*to_planes)(Dev *d, Tensor planes, Tensor pixels, const PlaneWeights *weights);
    void (*noise)(Dev *d, const NoiseArgs *a);
    void (*input_noise)(Dev *d, Tensor planes, double scale, uint64_t seed, int64_t frame);
    void (*resize)(Dev *d, const ResizeArgs *a);
    void (*color)(Dev *d, const ColorArgs *a);
    void (*from_codes)(Dev *d, const CodesArgs *a);
    void (*to_codes)(Dev *d, const CodesArgs *a);
    void (*bytes_in)(Dev *d, Tensor x, const void *from, uint64_t bytes);
    void (*bytes_out)(Dev *d, Tensor x, void *to, uint64_t bytes);
    const void *(*out_begin)(Dev *d, Tensor x, uint64_t bytes); /* dev_out_begin and its companions */
    bool (*out_wait)(Dev *d, const void *out);
    void (*out_end)(Dev *d, const void *out);
    void (*out_clear)(Dev *d);
    void (*guide)(Dev *d, Tensor v, Tensor negative, float guidance, float rescale);
    void (*modulation)(Dev *d, Tensor out, Tensor emb, int layer, int part, const BoundWeight *extra);
    void (*modulation_row)(Dev *d, Tensor out, float add, Tensor emb, int emb_row, const BoundWeight *table, int table_row);
    void (*history)(Dev *d, const ConvArgs *a, int slots, ConvState *s); /* takes ring and scales, cleared */
    FoldedUpsampler *(*fold)(Dev *d, int stage, const BoundWeight *up, const BoundWeight *up_bias, const BoundWeight *conv,
                             const BoundWeight *conv_bias, int rt);
    FoldedUpsampler *(*fold_nearest)(Dev *d, int stage, const BoundWeight *grow, int frames, const BoundWeight *conv,
                                     const BoundWeight *bias);
    void (*fold_free)(Dev *d, FoldedUpsampler *f);
    ConvState *(*fold_state)(Dev *d, const FoldedUpsampler *f, Tensor x, int frames);
    const float *(*read)(Dev *d, Tensor x); /* dev_read and its companions; x is valid, the device no plan */
    void (*read_end)(Dev *d, const float *values);
    float *(*write)(Dev *d, Tensor x);
    void (*write_end)(Dev *d, Tensor x, float *values);
    void (*enter)(Dev *d); /* dev_enter; not on a plan */
    void (*leave)(Dev *d);
    void (*wait)(Dev *d);
    void (*time_begin)(Dev *d); /* not on a plan */
    double (*time_end)(Dev *d);
    void (*phase)(Dev *d, uint64_t arena_bytes);  /* dev_phase_begin, the arena being empty */
    void (*weight_group)(Dev *d, int group);
    void (*totals)(const Dev *d, DevTotals *t);   /* what the device itself counts */
    void (*close)(Dev *d); /* also after a start that failed, and of plans */
} DevOps;

struct Dev {
    const DevOps *ops;
    bool plan;
    Element activation; /* of dev_tensor */
    bool few_too;       /* DevSetup */
    Arena arena;
    bool lasting;       /* tensors taken now outlive the work around them: histories, folded weights */
    const CpuKernels *kernels; /* cpu */
    Pool *pool;
    int threads;
    uint8_t *memory; /* cpu; NULL on a plan */
    uint64_t memory_bytes;
    double began;    /* cpu: dev_time_begin */
    struct Cuda *cuda; /* cuda: cuda/dev.c */
    DevTotals totals;
    const WeightTensor **touched; /* open addressing, by address */
    size_t touched_count, touched_size;
    bool failed, cancelled, no_memory, damaged;
    char error[1024];
    char describe[128];
    int (*cancel)(void *user);
    void *cancel_user;
};

enum { FRAMES_MAX = 64 }; /* new frames of one call */

struct ConvState {
    Tensor ring;          /* [slots][h + pads + gap][w + pads][c], less what the device pads itself; borders stay zero */
    Tensor scales;        /* rings of 8 bits: words of four bytes [slots][rows][columns][cuda_words], if they have any */
    int slots, pad_top, pad_left;
    bool single;          /* calls of several frames are worked off one by one */
    int bands;            /* single: more than 1: cuda/dev_conv.c writes frames over those they displace, in so many bands */
    int gap, row[4];      /* then: rows of a slot that its frame does not take, and how many of them stand before it */
    bool zero;            /* in front of a video stand zeros: the ring's last frame, until it is needed */
    int kept;             /* frames remembered between calls: kt - stride_t */
    int slot[4];          /* where the remembered frames are, oldest first; repeats after a start */
    int before;           /* slot of the frame in front of the last call's */
    bool started;
    int64_t seen;         /* frames since the start */
};

/* ------------------------------------------------------------------------------------------- shared by the operations */

/* Scratch of one operation: arena memory taken before and given back after it. at == ARENA_FULL after a failure. */
typedef struct Scratch {
    uint64_t at;
    float *floats; /* NULL on a plan */
} Scratch;

int element_pad(Element type, int c); /* elements of a pixel of c channels, padded to 16 bytes; pairs to 64 elements */
bool dev_few_pixels(const Dev *d, int64_t pixels); /* are pictures of so many float32 whatever the precision? */
Tensor dev_typed(Dev *d, Element type, int t, int h, int w, int c);
bool floats_finite(const float *x, int64_t count);

Scratch dev_scratch(Dev *d, uint64_t floats);
void dev_scratch_free(Dev *d, Scratch *s);

/* Count a stored weight as touched. */
void dev_touch(Dev *d, const BoundWeight *w);

/* Reading stored weights, with a check that they are finite: the flag is looked at after the operation. */
typedef struct CheckedWeight {
    const BoundWeight *weight;
    atomic_bool *bad;
} CheckedWeight;
void checked_read(const void *checked_weight, int64_t first, int64_t count, float *out);
void dev_damaged_weight(Dev *d, const WeightFile *file, const char *name); /* latches that failure; file: NULL when in none */
void dev_check_weight(Dev *d, const BoundWeight *w, const atomic_bool *bad);

/* A small vector of a weight as floats at `to`; returns to, or NULL when w is NULL. Fails the device on non-finite values. */
const float *dev_vector(Dev *d, const BoundWeight *w, float *to);

/* Elementwise work in turns of some pixels of one row. */
typedef struct PixelRun {
    int t, h, w, count;
} PixelRun;
int64_t pixel_runs(Tensor x);
PixelRun pixel_run(Tensor x, int64_t i);

/* The CPU's memory itself; NULL on a plan. */
float *cpu_map(Dev *d, Tensor x);
uint8_t *cpu_bytes(Dev *d, Tensor x);
float *tensor_at(Dev *d, Tensor x, int t, int h, int w);

/* pre(x) of every frame into padded frames at to[t] (rows to_row, pixels to_pixel apart; pads already skipped). */
uint64_t pre_scratch_floats(const Dev *d, Tensor x, const Pre *pre);
void pre_touch(Dev *d, const Pre *pre);
int conv_channels_in(const ConvArgs *a); /* of a frame */
void pre_apply(Dev *d, Tensor x, const Pre *pre, float *const *to, int64_t to_row, int64_t to_pixel, float *scratch);

RowAct row_act(Act a);

/* Operations of block attention as if all pairs of blocks were chosen, and which part of them a mask chooses, at most. */
double block_attention_flop(const BlockAttentionArgs *a);
double chosen_share(const BlockAttentionArgs *a);

/* Statistics of all frames of x. */
uint64_t stats_scratch_floats(const Dev *d, Tensor x, int groups);
void stats_run(Dev *d, Tensor x, Tensor stats, int groups, float *scratch);

/*
 * History: the slots a call of `frames` new frames reads (what stands in front, then the new frames in `fresh`), and from
 * then on what is remembered. Done on a plan too. Returns the sequence's length, kt - 1 or kept + frames.
 */
int state_advance(ConvState *s, int kt, bool start, int frames, int *sequence, int *fresh);

/* The same of an upsampler's call, which the second of two parts repeats; how many frames were seen before its own. */
int64_t state_upsample(ConvState *s, int rt, const UpsampleArgs *a, int *sequence, int *fresh);
/* Does the call suit an upsampler that multiplies frames by rt (0: it has no history, -1: there is none)? Else it fails. */
bool upsample_is_valid(Dev *d, const UpsampleArgs *a, int rt);

/* A job, with one thread's scratch after another at `scratch`. */
uint64_t job_scratch_floats(const Dev *d, const GemmJob *j);
void job_run(Dev *d, const GemmJob *j, float *scratch);

/* Operations of the CPU, one file a subject. */
void cpu_conv3d(Dev *d, const ConvArgs *a);
void cpu_linear(Dev *d, const LinearArgs *a);
void cpu_upsample(Dev *d, const UpsampleArgs *a);
void cpu_norm(Dev *d, const NormArgs *a);
void cpu_stats(Dev *d, const StatsArgs *a);
void cpu_attention(Dev *d, const AttentionArgs *a);
void cpu_block_attention(Dev *d, const BlockAttentionArgs *a);
void cpu_block_mask(Dev *d, const BlockMaskArgs *a);
void cpu_rotate(Dev *d, const RotateArgs *a);
void cpu_axpby(Dev *d, Tensor y, float a, Tensor x, float b, Tensor z);
void cpu_guide(Dev *d, Tensor v, Tensor negative, float guidance, float rescale);
void cpu_rows(Dev *d, Tensor y, Tensor x, const int32_t *index);
void cpu_modulation(Dev *d, Tensor out, Tensor emb, int layer, int part, const BoundWeight *extra);
void cpu_modulation_row(Dev *d, Tensor out, float add, Tensor emb, int emb_row, const BoundWeight *table, int table_row);
void cpu_from_planes(Dev *d, Tensor pixels, Tensor planes, const PlaneCells *cells);
void cpu_to_planes(Dev *d, Tensor planes, Tensor pixels, const PlaneWeights *weights);
void cpu_noise(Dev *d, const NoiseArgs *a);
void cpu_input_noise(Dev *d, Tensor planes, double scale, uint64_t seed, int64_t frame);
void cpu_resize(Dev *d, const ResizeArgs *a);
void cpu_color(Dev *d, const ColorArgs *a);
void cpu_from_codes(Dev *d, const CodesArgs *a);
void cpu_to_codes(Dev *d, const CodesArgs *a);
void cpu_bytes_in(Dev *d, Tensor x, const void *from, uint64_t bytes);
void cpu_bytes_out(Dev *d, Tensor x, void *to, uint64_t bytes);
const void *cpu_out_begin(Dev *d, Tensor x, uint64_t bytes);
bool cpu_out_wait(Dev *d, const void *out);
void cpu_out_end(Dev *d, const void *out);
void cpu_out_clear(Dev *d);
void cpu_history(Dev *d, const ConvArgs *a, int slots, ConvState *s);
FoldedUpsampler *cpu_fold(Dev *d, int stage, const BoundWeight *up, const BoundWeight *up_bias, const BoundWeight *conv,
                          const BoundWeight *conv_bias, int rt);
FoldedUpsampler *cpu_fold_nearest(Dev *d, int stage, const BoundWeight *grow, int frames, const BoundWeight *conv,
                                  const BoundWeight *bias);
void cpu_fold_free(Dev *d, FoldedUpsampler *f);
ConvState *cpu_fold_state(Dev *d, const FoldedUpsampler *f, Tensor x, int frames);

/* What a device is before it has memory, and its memory. attach fails only for cuda. */
void cpu_attach(Dev *d, const DevSetup *s);
bool cpu_start(Dev *d, uint64_t arena_bytes, char *error, size_t error_size);
bool cuda_attach(Dev *d, const DevSetup *s, char *error, size_t error_size);
bool cuda_start(Dev *d, uint64_t arena_bytes, char *error, size_t error_size);

#endif
