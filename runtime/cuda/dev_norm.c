/* What happens to inputs ahead of operations on the CUDA device, and the statistics it needs. */
#include "runtime/cuda/dev.h"

#include <stddef.h>

enum { PRE_THREADS = 256, PRE_ITEMS = 1024, SILU_ITEMS = 2048 /* 8 channels each, of a block */, PRE_PIXELS = 16 };
enum { VECTOR_THREADS = 128, STATS_THREADS = 128, MERGE_THREADS = 256 };
enum { HALF_BYTES = 256 /* of a pixel: what a block of threads takes of half a patch */ };

static unsigned blocks_of(int64_t count, int of) { return (unsigned)((count + of - 1) / of); }

int cuda_pad_of(Tensor y)
{
    const bool whole = y.at % 16 == 0 && y.c_pad == element_pad((Element)y.type, y.c);
    return whole ? y.c_pad : (y.c + 3) / 4 * 4;
}

/* ----------------------------------------------------------------------------------------------------- gain and shift */

typedef struct Vectors {
    CUdeviceptr gain, shift; /* as CudaPre's */
    bool by_frame;
    CudaScratch scratch;
} Vectors;

/* Vectors that are there already are used as they are, if nothing is to be made of them. Addresses decide nothing: a plan
 * has none. */
static Vectors vectors_of(Dev *d, Tensor x, const Pre *pre)
{
    const bool group = pre->norm == NORM_GROUP, scale = !group && pre->scale.valid, shift = !group && pre->shift.valid;
    const bool gained = group || scale || pre->gamma != NULL, shifted = group || shift || pre->beta != NULL;
    const bool combined = scale && (pre->gamma != NULL || pre->beta != NULL);
    const int frames = group ? x.t : 1, pitch = (x.c + 7) / 8 * 8;
    Vectors v = {.by_frame = group, .scratch = {.at = ARENA_FULL}};
    const CUdeviceptr gamma = cuda_vector(d, pre->gamma), beta = cuda_vector(d, pre->beta);
    if (!gained && !shifted) return v;
    if (!group && !combined && x.c % 8 == 0) {
        v.gain = scale ? cuda_at(d, pre->scale) : gamma;
        v.shift = shift ? cuda_at(d, pre->shift) : beta;
        return v;
    }
    const uint64_t bytes = (uint64_t)frames * (uint64_t)pitch * sizeof(float);
    v.scratch = cuda_scratch(d, 2 * bytes);
    v.gain = v.scratch.address;
    v.shift = shifted ? v.scratch.address + bytes : 0;
    const CudaPreVectors a = {.stats = group ? cuda_at(d, pre->stats) : 0,
                              .gamma = gamma,
                              .beta = shift && !scale ? 0 : beta, /* a shift takes beta's place */
                              .scale = scale ? cuda_at(d, pre->scale) : 0,
                              .add = shift ? cuda_at(d, pre->shift) : 0,
                              .gain = v.gain,
                              .shift = v.shift,
                              .c = x.c,
                              .pitch = pitch,
                              .group = group ? x.c / pre->groups : 1,
                              .stats_pitch = group ? (int32_t)pre->stats.stride_t : 0,
                              .eps = pre->eps};
    cuda_launch(d, "pre", "pre_vectors", "",
                (CudaGrid){blocks_of(pitch, VECTOR_THREADS), (unsigned)frames, 1, VECTOR_THREADS, 0}, &a);
    return v;
}

/* ----------------------------------------------------------------------------------------------------------- producer */

bool pre_is_identity(const Pre *pre)
{
    return pre->norm == NORM_NONE && pre->act == ACT_NONE && pre->gamma == NULL && pre->beta == NULL && !pre->scale.valid &&
           !pre->shift.valid;
}

/* Is it what pre_silu_i8 does? */
static bool is_silu_i8(Tensor x, const Pre *pre, const CudaPre *a)
{
    const bool whole = x.type == ELEMENT_BF16 && x.at % 16 == 0 && x.c_pad % 8 == 0 && x.c % 128 == 0;
    return whole && PRE_THREADS % (x.c / 8) == 0 && a->to_type == CUDA_I8 && pre->norm == NORM_GROUP && pre->act == ACT_SILU;
}

/* pre(x) to where *a says; the rest of *a is filled in. */
static void produce(Dev *d, Tensor x, const Pre *pre, CudaPre *a)
{
    if (x.type > ELEMENT_BF16 || (pre->scale.valid && pre->scale.type != ELEMENT_F32) ||
        (pre->shift.valid && pre->shift.type != ELEMENT_F32)) {
        dev_fail(d, "internal error: norms read floats or bf16, and vectors of floats");
        return;
    }
    const int sharing = a->to_type == CUDA_E4M3_PAIR ? 8 : a->to_type >= CUDA_I8 ? 16 : 0; /* a block of scales */
    const int lanes = sharing > 0 ? a->blocks * sharing : (a->to_pad + 7) / 8;
    Vectors v = vectors_of(d, x, pre);
    a->x = cuda_at(d, x);
    a->x_type = x.type;
    a->x_pitch = x.c_pad;
    a->t = x.t;
    a->h = x.h;
    a->w = x.w;
    a->c = x.c;
    a->x_frame = (int32_t)(x.stride_t / x.c_pad);
    a->x_row = (int32_t)(x.stride_h / x.c_pad);
    a->norm = (int32_t)pre->norm;
    a->act = (int32_t)pre->act;
    a->eps = pre->eps;
    a->gain = v.gain;
    a->shift = v.shift;
    a->by_frame = v.by_frame;
    const bool silu_i8 = is_silu_i8(x, pre, a);
    const int items = silu_i8 ? SILU_ITEMS : PRE_ITEMS;
    a->run = pre->norm >= NORM_RMS ? PRE_PIXELS : lanes < items ? items / lanes : 1;
    cuda_launch(d, "pre", a->to_type > CUDA_I8 ? "pre_fp8" : silu_i8 ? "pre_silu_i8" : "pre", "",
                (CudaGrid){blocks_of(x.w, a->run) * (unsigned)x.h, (unsigned)x.t, 1, PRE_THREADS, 0}, a);
    cuda_scratch_free(d, &v.scratch);
}

void cuda_pre(Dev *d, Tensor x, const Pre *pre, const CudaFrames *to, const int *slot, int top, int left)
{
    CudaPre a = {.to = to->data,
                 .to_scale = to->scale,
                 .to_type = (int32_t)to->type,
                 .to_pitch = to->pitch,
                 .to_pad = to->pitch,
                 .blocks = to->blocks,
                 .to_row = to->w - 2 * to->margin_x};
    const int slot_rows = to->frame_pixels / to->w - 2 * to->margin_y;
    for (int t = 0; t < x.t; t++)
        a.to_frame[t] = (slot[t] * slot_rows + top - to->margin_y) * a.to_row + left - to->margin_x;
    produce(d, x, pre, &a);
}

void cuda_norm(Dev *d, const NormArgs *n)
{
    const Tensor y = n->y;
    if (y.type > ELEMENT_BF16) {
        dev_fail(d, "internal error: norms give floats or bf16");
        return;
    }
    for (int first = 0; first < y.t; first += CUDA_FRAMES) {
        const int count = y.t - first < CUDA_FRAMES ? y.t - first : CUDA_FRAMES;
        Pre pre = n->pre;
        if (pre.norm == NORM_GROUP) pre.stats = tensor_frames(pre.stats, first, count);
        CudaPre a = {.to = cuda_at(d, y), .to_type = y.type, .to_pitch = y.c_pad, .to_pad = cuda_pad_of(y),
                     .to_row = (int32_t)(y.stride_h / y.c_pad)};
        for (int t = 0; t < count; t++) a.to_frame[t] = (first + t) * (int32_t)(y.stride_t / y.c_pad);
        produce(d, tensor_frames(n->x, first, count), &pre, &a);
    }
}

void cuda_replicate_edges(Dev *d, const CudaFrames *f, const int *slot, int count, int top, int left, int h, int w)
{
    CudaEdges a = {.data = f->data,
                   .scale = f->scale,
                   .words = f->pitch * element_bytes(f->type) / 4,
                   .blocks = f->scale != 0 ? f->blocks : 0,
                   .h = f->h,
                   .w = f->w,
                   .top = top,
                   .bottom = top + h,
                   .left = left,
                   .right = left + w};
    const int64_t border = (int64_t)f->h * f->w - (int64_t)h * w;
    for (int i = 0; i < count; i++) a.frame[i] = slot[i] * f->frame_pixels;
    cuda_launch(d, "pre", "pre_edges", "",
                (CudaGrid){blocks_of(border * (a.words + a.blocks), PRE_THREADS), (unsigned)count, 1, PRE_THREADS, 0}, &a);
}

/* --------------------------------------------------------------------------------------------------------- statistics */

/* Channels of half a patch that a block takes: whole groups, as many as pixels of HALF_BYTES have, in units of 16 bytes if they
 * come out even. */
static int slab_of(int group, int bytes)
{
    const int most = HALF_BYTES / bytes;
    for (int slab = most / group * group; slab > 0; slab -= group) {
        if (slab * bytes % 16 == 0) return slab;
    }
    return most > group ? most / group * group : group;
}

int cuda_stats_halves(int h, int w)
{
    return 2 * ((h + 2 * CUDA_HALF_H - 1) / (2 * CUDA_HALF_H)) * ((w + CUDA_PATCH_W - 1) / CUDA_PATCH_W);
}

static unsigned stats_shared(const CudaStats *s, int slab)
{
    return (unsigned)(CUDA_HALF_H * CUDA_PATCH_W * slab * element_bytes((Element)s->x.type) + s->x.c / s->groups * 8 + slab * 8);
}

CudaStats cuda_stats_begin(Dev *d, Tensor x, Tensor stats, int groups)
{
    CudaStats s = {.x = x, .stats = stats, .groups = groups, .moments = {.at = ARENA_FULL}};
    const unsigned shared = stats_shared(&s, slab_of(x.c / groups, element_bytes((Element)x.type)));
    if (x.type > ELEMENT_BF16 || stats.type != ELEMENT_F32 || (int)shared > cuda_device_of(d)->shared_per_block) {
        dev_fail(d, "internal error: statistics of %d channels in %d groups", x.c, groups);
        return s;
    }
    s.moments = cuda_scratch(d, (uint64_t)x.t * (uint64_t)groups * (uint64_t)cuda_stats_halves(x.h, x.w) * 2 * sizeof(double));
    return s;
}

void cuda_stats_frames(Dev *d, const CudaStats *s, int first, int count)
{
    const Tensor x = tensor_frames(s->x, first, count);
    const int size = x.c / s->groups, slab = slab_of(size, element_bytes((Element)x.type)), halves = cuda_stats_halves(x.h, x.w);
    const CudaHalves a = {.x = cuda_at(d, x),
                          .moments = s->moments.address + (uint64_t)first * (uint64_t)(s->groups * halves) * 2 * sizeof(double),
                          .type = x.type,
                          .pitch = x.c_pad,
                          .frame = (int32_t)(x.stride_t / x.c_pad),
                          .row = (int32_t)(x.stride_h / x.c_pad),
                          .h = x.h,
                          .w = x.w,
                          .c = x.c,
                          .groups = s->groups,
                          .slab = slab};
    if (!dev_ok(d)) return;
    cuda_launch(d, "stats", "stats_halves", "",
                (CudaGrid){(unsigned)halves, blocks_of(x.c, slab), (unsigned)count, STATS_THREADS, stats_shared(s, slab)}, &a);
}

void cuda_stats_end(Dev *d, CudaStats *s)
{
    const CudaMoments m = {.moments = s->moments.address,
                           .stats = cuda_at(d, s->stats),
                           .h = s->x.h,
                           .w = s->x.w,
                           .groups = s->groups,
                           .size = s->x.c / s->groups,
                           .pitch = (int32_t)s->stats.stride_t};
    if (dev_ok(d)) {
        cuda_launch(d, "stats", "stats_merge", "", (CudaGrid){(unsigned)s->groups, (unsigned)s->x.t, 1, MERGE_THREADS, 0}, &m);
    }
    cuda_scratch_free(d, &s->moments);
}

void cuda_stats_of(Dev *d, Tensor x, Tensor stats, int groups)
{
    CudaStats s = cuda_stats_begin(d, x, stats, groups);
    cuda_stats_frames(d, &s, 0, x.t);
    cuda_stats_end(d, &s);
}

void cuda_stats(Dev *d, const StatsArgs *a) { cuda_stats_of(d, a->x, a->stats, a->groups); }
