/*
 * Folded upsamplers on the CPU (VAE spec 10.1). Between the 1x1x1 convolution A (C to r * C), the sub-pixel shuffle and the
 * causal 3x3x3 convolution K nothing is nonlinear, so each parity (pt, p, q) of output pixels is one convolution over
 * coarse pixels: along a spatial axis the three fine taps of output 2h + p fall on coarse pixels h - 1 + p and h + p, in
 * time those of output 2f + pt on frames f - 1 and f. Its weights are sums of products K_tap A_sub, formed once.
 *
 * Outside the picture fine pixels are zero, but A's bias must not be added there: coarse frames carry one more channel that
 * is 1 inside and 0 outside, and A's bias stands in that channel's column.
 *
 * At the start of a video the second fine frame of coarse frame 0 is dropped and everything in front copies the first: the
 * same as saying that both sub-frames of coarse frame 0, and all before it, are its sub-frame 0. That changes the weights
 * for coarse frame 0 (`start`) and, for coarse frame 1, of the half that reads frame 0 (`second`).
 */
#include "runtime/dev_internal.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE = 4, PARITIES = 8, START_TAPS = 4 }; /* SIDE: floats of the channel that is 1 inside, with its padding */

/* Packed weights of one set: [parity][panel][taps * depth][16]. */
struct FoldedUpsampler {
    bool nearest;       /* nearest 2x and a 3x3 convolution: `now` alone, without history; rt: new frames a coarse frame */
    int inputs;         /* channels read; only `nearest` may have others than it gives */
    int channels, depth, panels, rt;
    const BoundWeight *bias;
    Tensor before, now; /* rt 2: coarse frames f - 1 and f. rt 1: `now` holds all three frames, `before` is invalid */
    Tensor second;      /* rt 2: in place of `before` when f - 1 is the first frame of a video */
    Tensor start;       /* rt 2: the first frame of a video; parities (p, q) alone */
};


static int64_t parity_floats(const FoldedUpsampler *f, int taps)
{
    return (int64_t)f->panels * taps * f->depth * GEMM_LANES;
}

/* -------------------------------------------------------------------------------------------------- forming weights */

/* Fine tap d (0..2) of output parity p along a spatial axis: coarse neighbour h - 1 + p + at, sub-pixel sub. */
static const struct {
    int at, sub;
} space_tap[2][3] = {{{0, 1}, {1, 0}, {1, 1}}, {{0, 0}, {0, 1}, {1, 0}}};

/* Kernel frame dt of a fine output frame: coarse frame (0: f - 1, 1: f; rt 1: f - 2 + at) and sub-frame. */
typedef struct TimeTap {
    int at, sub;
} TimeTap;
static const TimeTap time_tap[2][3] = {{{0, 0}, {0, 1}, {1, 0}}, {{0, 1}, {1, 0}, {1, 1}}};
static const TimeTap time_tap_second[2][3] = {{{0, 0}, {0, 0}, {1, 0}}, {{0, 0}, {1, 0}, {1, 1}}};
static const TimeTap time_tap_start[3] = {{0, 0}, {0, 0}, {0, 0}};
static const TimeTap time_tap_space[3] = {{0, 0}, {1, 0}, {2, 0}};

typedef struct FoldTurn {
    Dev *d;
    FoldedUpsampler *f;
    ConvPack pack;            /* of K, every tap apart */
    const float *transposed;  /* [sub][depth][channels]: A transposed, A's bias in row `ones` */
    CheckedWeight up;
    CheckedWeight up_bias; /* weight NULL: none */
    float *scratch;
    size_t scratch_floats;
} FoldTurn;

/* Transposes 64 rows of A: turn i is rows 64 (i % blocks) .. of sub-block i / blocks. */
static void transpose_turn(void *context, int64_t i, int thread)
{
    FoldTurn *t = context;
    const int c = t->f->channels, blocks = (c + 63) / 64;
    const int sub = (int)(i / blocks), first = (int)(i % blocks) * 64, end = first + 64 < c ? first + 64 : c;
    float *row = t->scratch + t->scratch_floats * (size_t)thread;
    float *to = (float *)t->transposed + (int64_t)sub * t->f->depth * c;
    for (int o = first; o < end; o++) {
        checked_read(&t->up, ((int64_t)sub * c + o) * c, c, row);
        for (int k = 0; k < c; k++) to[(int64_t)k * c + o] = row[k];
        for (int k = c; k < t->f->depth; k++) to[(int64_t)k * c + o] = 0.0f;
        float bias = 0.0f;
        if (t->up_bias.weight != NULL) checked_read(&t->up_bias, (int64_t)sub * c + o, 1, &bias);
        to[(int64_t)(t->f->depth - SIDE) * c + o] = bias;
    }
}

/* to[k][16 p + n] (panels apart) += A_sub^T . K_tap for one group of panels. */
static void add_product(const FoldTurn *t, const float *a, const float *b, int64_t b_panel, int panels, float *to,
                        int64_t to_panel)
{
    const int c = t->pack.ci, depth = t->f->depth; /* c: channels between A and K */
    float acc[GEMM_ROWS * GEMM_WIDTH];
    for (int k = 0; k < depth; k += GEMM_ROWS) {
        const int rows = depth - k < GEMM_ROWS ? depth - k : GEMM_ROWS;
        for (int in = 0; in < c; in += 128) {
            const int64_t tap = in;
            GemmTile tile = {.acc = acc, .acc_row = GEMM_WIDTH, .tap = &tap, .taps = 1,
                             .depth = c - in < 128 ? c - in : 128, .b = b + (int64_t)in * GEMM_LANES,
                             .b_row = GEMM_LANES, .b_panel = b_panel, .panels = panels, .accumulate = in > 0};
            for (int r = 0; r < GEMM_ROWS; r++) tile.row[r] = a + (int64_t)(k + (r < rows ? r : rows - 1)) * c;
            t->d->kernels->gemm_tile(&tile);
        }
        for (int r = 0; r < rows; r++) {
            for (int p = 0; p < panels; p++) {
                float *sum = to + p * to_panel + (int64_t)(k + r) * GEMM_LANES;
                const float *from = acc + r * GEMM_WIDTH + p * GEMM_LANES;
                for (int n = 0; n < GEMM_LANES; n++) sum[n] += from[n];
            }
        }
    }
}

/* Adds the products of one spatial parity and one list of time taps. only: the coarse frame whose taps are wanted, or -1. */
static void fold_parity(const FoldTurn *t, Tensor set, int set_taps, int parity, int p, int q, const TimeTap *time, int only,
                        int first, int panels, const float *k_packed)
{
    const FoldedUpsampler *f = t->f;
    const int c = f->channels;
    const int64_t k_panel = 27LL * t->pack.depth * GEMM_LANES, to_panel = (int64_t)set_taps * f->depth * GEMM_LANES;
    float *base = cpu_map(t->d, set) + parity * parity_floats(f, set_taps) + (first / GEMM_LANES) * to_panel;
    memset(base, 0, (size_t)(panels * to_panel) * sizeof *base);
    for (int dt = 0; dt < 3; dt++) {
        if (only >= 0 && time[dt].at != only) continue;
        for (int di = 0; di < 3; di++) {
            for (int dj = 0; dj < 3; dj++) {
                const int sub = (space_tap[p][di].sub * 2 + space_tap[q][dj].sub) * f->rt + time[dt].sub;
                const int slot = (only >= 0 ? 0 : time[dt].at * 4) + space_tap[p][di].at * 2 + space_tap[q][dj].at;
                add_product(t, t->transposed + (int64_t)sub * f->depth * c,
                            k_packed + (int64_t)((dt * 3 + di) * 3 + dj) * t->pack.depth * GEMM_LANES, k_panel, panels,
                            base + (int64_t)slot * f->depth * GEMM_LANES, to_panel);
            }
        }
    }
}

/* One group of 64 output channels of one spatial parity, for all sets. */
static void fold_turn(void *context, int64_t i, int thread)
{
    FoldTurn *t = context;
    FoldedUpsampler *f = t->f;
    const int p = (int)(i & 3) >> 1, q = (int)(i & 1), first = (int)(i >> 2) * GEMM_WIDTH;
    const int count = f->channels - first < GEMM_WIDTH ? f->channels - first : GEMM_WIDTH;
    const int panels = (count + GEMM_LANES - 1) / GEMM_LANES;
    float *temporary = t->scratch + t->scratch_floats * (size_t)thread, *packed = temporary + GEMM_PACK_TEMPORARY;
    conv_pack(&t->pack, first, count, packed, temporary);
    if (f->rt == 1) {
        fold_parity(t, f->now, 12, p * 2 + q, p, q, time_tap_space, -1, first, panels, packed);
        return;
    }
    for (int pt = 0; pt < 2; pt++) {
        const int parity = (pt * 2 + p) * 2 + q;
        fold_parity(t, f->before, 4, parity, p, q, time_tap[pt], 0, first, panels, packed);
        fold_parity(t, f->now, 4, parity, p, q, time_tap[pt], 1, first, panels, packed);
        fold_parity(t, f->second, 4, parity, p, q, time_tap_second[pt], 0, first, panels, packed);
    }
    fold_parity(t, f->start, START_TAPS, p * 2 + q, p, q, time_tap_start, 0, first, panels, packed);
}

static Tensor floats_tensor(Dev *d, int64_t floats)
{
    return dev_tensor(d, 1, (int)((floats + 4095) / 4096), 1, 4096);
}

FoldedUpsampler *cpu_fold(Dev *d, int stage, const BoundWeight *up, const BoundWeight *up_bias, const BoundWeight *conv,
                          const BoundWeight *conv_bias, int rt)
{
    (void)stage;
    FoldedUpsampler *f = calloc(1, sizeof *f);
    if (f == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    f->inputs = f->channels = (int)conv->shape[0];
    f->depth = (f->channels + 3) / 4 * 4 + SIDE;
    f->panels = (f->channels + GEMM_LANES - 1) / GEMM_LANES;
    f->rt = rt;
    f->bias = conv_bias;
    dev_touch(d, up);
    dev_touch(d, up_bias);
    dev_touch(d, conv);
    dev_touch(d, conv_bias);
    if (rt == 2) {
        f->before = floats_tensor(d, PARITIES * parity_floats(f, 4));
        f->now = floats_tensor(d, PARITIES * parity_floats(f, 4));
        f->second = floats_tensor(d, PARITIES * parity_floats(f, 4));
        f->start = floats_tensor(d, 4 * parity_floats(f, START_TAPS));
    } else {
        f->now = floats_tensor(d, 4 * parity_floats(f, 12));
    }
    const int c = f->channels, subs = 4 * rt;
    const double cc = (double)c * c;
    d->totals.flop += 2.0 * cc * (c + 1) * 9 * 4 * (rt == 2 ? 3 * 2 + 3 + 3 : 3);
    FoldTurn t = {.d = d, .f = f};
    const int k_depth = (c + 3) / 4 * 4;
    t.scratch_floats = (size_t)GEMM_PACK_TEMPORARY + 27 * (size_t)k_depth * GEMM_WIDTH;
    if (t.scratch_floats < (size_t)c) t.scratch_floats = (size_t)c;
    const uint64_t transposed = (uint64_t)subs * (uint64_t)f->depth * (uint64_t)c;
    Scratch s = dev_scratch(d, transposed + (uint64_t)d->threads * t.scratch_floats);
    if (s.floats != NULL) {
        atomic_bool bad_up, bad_bias, bad_conv;
        atomic_init(&bad_up, false);
        atomic_init(&bad_bias, false);
        atomic_init(&bad_conv, false);
        const CheckedWeight k = {conv, &bad_conv};
        t.up = (CheckedWeight){up, &bad_up};
        t.up_bias = (CheckedWeight){up_bias, &bad_bias};
        t.pack = (ConvPack){{&k, checked_read}, c, 3, 9, k_depth, false, false, TIME_ALL};
        t.transposed = s.floats;
        t.scratch = s.floats + transposed;
        pool_run(d->pool, (int64_t)subs * ((c + 63) / 64), transpose_turn, &t);
        pool_run(d->pool, 4LL * ((c + GEMM_WIDTH - 1) / GEMM_WIDTH), fold_turn, &t);
        dev_check_weight(d, up, &bad_up);
        dev_check_weight(d, up_bias, &bad_bias);
        dev_check_weight(d, conv, &bad_conv);
    }
    dev_scratch_free(d, &s);
    return f;
}

void cpu_fold_free(Dev *d, FoldedUpsampler *f)
{
    dev_free(d, &f->before);
    dev_free(d, &f->now);
    dev_free(d, &f->second);
    dev_free(d, &f->start);
    free(f);
}

/* ------------------------------------------------------------------------------- nearest 2x and a 3x3 convolution */

/*
 * A fine pixel of nearest 2x is its coarse pixel, so along an axis the taps fall on coarse pixels as they do above, and a
 * 1x1 convolution before it (`grow`: its row blocks are new frames) multiplies each tap's matrix. No bias stands in between,
 * so nothing is needed at the picture's border.
 */
static void nearest_turn(void *context, int64_t i, int thread)
{
    FoldTurn *t = context;
    FoldedUpsampler *f = t->f;
    const int parity = (int)(i % (4 * f->rt)), p = parity >> 1 & 1, q = parity & 1, frame = parity >> 2;
    const int first = (int)(i / (4 * f->rt)) * GEMM_WIDTH;
    const int count = f->channels - first < GEMM_WIDTH ? f->channels - first : GEMM_WIDTH;
    const int panels = (count + GEMM_LANES - 1) / GEMM_LANES;
    float *temporary = t->scratch + t->scratch_floats * (size_t)thread, *packed = temporary + GEMM_PACK_TEMPORARY;
    conv_pack(&t->pack, first, count, packed, temporary);
    const int64_t k_panel = 9LL * t->pack.depth * GEMM_LANES, to_panel = 4LL * f->depth * GEMM_LANES;
    float *base = cpu_map(t->d, f->now) + parity * parity_floats(f, 4) + (first / GEMM_LANES) * to_panel;
    memset(base, 0, (size_t)(panels * to_panel) * sizeof *base);
    for (int tap = 0; tap < 9; tap++) {
        const int slot = space_tap[p][tap / 3].at * 2 + space_tap[q][tap % 3].at;
        float *to = base + (int64_t)slot * f->depth * GEMM_LANES;
        const float *from = packed + (int64_t)tap * t->pack.depth * GEMM_LANES;
        if (t->transposed != NULL) {
            add_product(t, t->transposed + (int64_t)frame * f->depth * t->pack.ci, from, k_panel, panels, to, to_panel);
            continue;
        }
        for (int panel = 0; panel < panels; panel++) {
            for (int n = 0; n < f->inputs * GEMM_LANES; n++) to[panel * to_panel + n] += from[panel * k_panel + n];
        }
    }
}

/* Rows 64 (i % blocks) .. of frame i / blocks of `grow`, transposed. */
static void transpose_grow_turn(void *context, int64_t i, int thread)
{
    FoldTurn *t = context;
    const int mid = t->pack.ci, inputs = t->f->inputs, blocks = (mid + 63) / 64;
    const int frame = (int)(i / blocks), first = (int)(i % blocks) * 64, end = first + 64 < mid ? first + 64 : mid;
    float *row = t->scratch + t->scratch_floats * (size_t)thread;
    float *to = (float *)t->transposed + (int64_t)frame * t->f->depth * mid;
    for (int m = first; m < end; m++) {
        checked_read(&t->up, ((int64_t)frame * mid + m) * inputs, inputs, row);
        for (int k = 0; k < t->f->depth; k++) to[(int64_t)k * mid + m] = k < inputs ? row[k] : 0.0f;
    }
}

FoldedUpsampler *cpu_fold_nearest(Dev *d, int stage, const BoundWeight *grow, int frames, const BoundWeight *conv,
                                  const BoundWeight *bias)
{
    (void)stage;
    FoldedUpsampler *f = calloc(1, sizeof *f);
    if (f == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    const int mid = (int)conv->shape[1], k_depth = (mid + 3) / 4 * 4;
    f->nearest = true;
    f->inputs = grow != NULL ? (int)grow->shape[1] : mid;
    f->channels = (int)conv->shape[0];
    f->depth = (f->inputs + 3) / 4 * 4;
    f->panels = (f->channels + GEMM_LANES - 1) / GEMM_LANES;
    f->rt = frames;
    f->bias = bias;
    dev_touch(d, grow);
    dev_touch(d, conv);
    dev_touch(d, bias);
    f->now = floats_tensor(d, 4 * frames * parity_floats(f, 4));
    FoldTurn t = {.d = d, .f = f};
    t.scratch_floats = (size_t)GEMM_PACK_TEMPORARY + 9 * (size_t)k_depth * GEMM_WIDTH;
    if (t.scratch_floats < (size_t)f->inputs) t.scratch_floats = (size_t)f->inputs;
    const uint64_t transposed = grow != NULL ? (uint64_t)frames * (uint64_t)f->depth * (uint64_t)mid : 0;
    if (grow != NULL) d->totals.flop += 2.0 * 36.0 * frames * f->channels * mid * f->inputs;
    Scratch s = dev_scratch(d, transposed + (uint64_t)d->threads * t.scratch_floats);
    if (s.floats != NULL) {
        atomic_bool bad_grow, bad_conv;
        atomic_init(&bad_grow, false);
        atomic_init(&bad_conv, false);
        const CheckedWeight k = {conv, &bad_conv};
        t.up = (CheckedWeight){grow, &bad_grow};
        t.pack = (ConvPack){{&k, checked_read}, mid, 1, 9, k_depth, false, false, TIME_ALL};
        t.scratch = s.floats + transposed;
        if (grow != NULL) {
            t.transposed = s.floats;
            pool_run(d->pool, (int64_t)frames * ((mid + 63) / 64), transpose_grow_turn, &t);
            dev_check_weight(d, grow, &bad_grow);
        }
        pool_run(d->pool, 4LL * frames * ((f->channels + GEMM_WIDTH - 1) / GEMM_WIDTH), nearest_turn, &t);
        dev_check_weight(d, conv, &bad_conv);
    }
    dev_scratch_free(d, &s);
    return f;
}

/* ---------------------------------------------------------------------------------------------------------- using them */

ConvState *cpu_fold_state(Dev *d, const FoldedUpsampler *f, Tensor x, int frames)
{
    ConvState *s = calloc(1, sizeof *s);
    if (s == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    s->kept = f->rt == 2 ? 1 : 2;
    s->slots = s->kept + frames;
    s->pad_top = s->pad_left = 1;
    s->ring = dev_tensor(d, s->slots, x.h + 2, x.w + 2, f->depth);
    float *memory = cpu_map(d, s->ring);
    if (memory != NULL) {
        memset(memory, 0, (size_t)(s->ring.t * s->ring.stride_t) * sizeof *memory);
        for (int t = 0; t < s->slots; t++) {
            for (int h = 0; h < x.h; h++) {
                for (int w = 0; w < x.w; w++) tensor_at(d, s->ring, t, h + 1, w + 1)[f->depth - SIDE] = 1.0f;
            }
        }
    }
    return s;
}

typedef struct CoarseFrames { /* of one output picture's coarse frame, oldest first */
    const float *frame[3];
    int count;
} CoarseFrames;

/* All four spatial parities of one fine frame: parts' weight sets with their taps, each over its own coarse frames. */
static void run_frame(Dev *d, const UpsampleArgs *a, Tensor ring, int fine, int time_parity, const Tensor *sets,
                      const int *set_taps, const CoarseFrames *coarse, int parts, const float *bias, float *scratch)
{
    const FoldedUpsampler *f = a->weight;
    for (int parity = 0; parity < 4; parity++) {
        const int p = parity >> 1, q = parity & 1;
        GemmJob j = {.kernels = d->kernels, .images = 1, .rows = a->x.h, .columns_x = a->x.w, .n = f->channels, .bias = bias,
                     .act = row_act(a->post.act), .parts = parts, .y_c = f->channels, .y_pad = (f->channels + 3) / 4 * 4};
        j.y = tensor_at(d, a->y, fine, p, q);
        j.y_row = 2 * a->y.stride_h;
        j.y_pixel = 2 * a->y.c_pad;
        for (int i = 0; i < parts; i++) {
            GemmPart *part = &j.part[i];
            const int taps = set_taps[i];
            *part = (GemmPart){.taps = taps, .depth = f->depth, .step_y = ring.stride_h, .step_x = ring.c_pad};
            const int index = time_parity >= 0 ? time_parity * 4 + parity : parity;
            part->packed = cpu_map(d, sets[i]) + index * parity_floats(f, taps);
            part->base = coarse[i].frame[0];
            for (int t = 0; t < taps; t++) {
                const int at = t / 4, y = t / 2 % 2, x = t % 2;
                part->tap[0][t] = (coarse[i].frame[at] - part->base) + (p + y) * ring.stride_h + (int64_t)(q + x) * ring.c_pad;
            }
        }
        job_run(d, &j, scratch);
    }
}

/* Scratch that the jobs and the statistics share. */
static uint64_t upsample_floats(Dev *d, const UpsampleArgs *a)
{
    GemmJob shape = {.n = a->weight->channels, .parts = 1, .part[0] = {.packed = (const float *)1}};
    const uint64_t job_floats = job_scratch_floats(d, &shape);
    const uint64_t stats_floats = a->post.stats.valid ? stats_scratch_floats(d, a->y, a->post.stats_groups) : 0;
    return job_floats > stats_floats ? job_floats : stats_floats;
}

static void upsample_nearest(Dev *d, const UpsampleArgs *a)
{
    const FoldedUpsampler *f = a->weight;
    const Pre none = {.norm = NORM_NONE};
    const int taps = 4;
    dev_touch(d, f->bias);
    d->totals.flop += 2.0 * a->y.t * (double)a->y.h * a->y.w * f->channels * 4.0 * f->inputs;
    Tensor padded = dev_tensor(d, 1, a->x.h + 2, a->x.w + 2, f->inputs);
    const uint64_t common = upsample_floats(d, a), vector_floats = (uint64_t)f->channels;
    Scratch s = dev_scratch(d, common + vector_floats + pre_scratch_floats(d, a->x, &none));
    if (s.floats != NULL) {
        float *memory = cpu_map(d, padded), *vector = s.floats + common;
        memset(memory, 0, (size_t)padded.stride_t * sizeof *memory);
        const float *bias = dev_vector(d, f->bias, vector);
        const CoarseFrames coarse = {{memory}, 1};
        for (int t = 0; t < a->x.t; t++) {
            float *to = tensor_at(d, padded, 0, 1, 1);
            pre_apply(d, tensor_frames(a->x, t, 1), &none, &to, padded.stride_h, padded.c_pad, vector + vector_floats);
            for (int frame = 0; frame < f->rt; frame++) {
                run_frame(d, a, padded, t * f->rt + frame, frame, &f->now, &taps, &coarse, 1, bias, s.floats);
            }
        }
        if (a->post.stats.valid) stats_run(d, a->y, a->post.stats, a->post.stats_groups, s.floats);
    }
    dev_scratch_free(d, &s);
    dev_free(d, &padded);
}

void cpu_upsample(Dev *d, const UpsampleArgs *a)
{
    const FoldedUpsampler *f = a->weight;
    ConvState *s = a->state;
    const int frames = a->x.t;
    if (!upsample_is_valid(d, a, f != NULL && f->nearest ? 0 : f != NULL ? f->rt : -1)) return;
    if (f->nearest) {
        upsample_nearest(d, a);
        return;
    }
    dev_touch(d, f->bias);
    int sequence[FRAMES_MAX + 2], fresh[FRAMES_MAX];
    const int64_t seen = state_upsample(s, f->rt, a, sequence, fresh);
    const int front = f->rt == 2 ? 1 : 2; /* entries of sequence in front of the new frames */
    d->totals.flop += 2.0 * a->y.t * (double)a->y.h * a->y.w * f->channels * (f->rt == 2 ? 8.0 : 12.0) * f->channels;

    const Pre none = {.norm = NORM_NONE};
    const uint64_t common = upsample_floats(d, a), vector_floats = (uint64_t)f->channels;
    Scratch scratch = dev_scratch(d, common + vector_floats + pre_scratch_floats(d, a->x, &none));
    if (scratch.floats != NULL) {
        float *vector = scratch.floats + common;
        const float *bias = dev_vector(d, f->bias, vector);
        float *to[FRAMES_MAX];
        for (int i = 0; i < frames; i++) to[i] = tensor_at(d, s->ring, fresh[i], 1, 1);
        if (a->part != UPSAMPLE_SECOND) pre_apply(d, a->x, &none, to, s->ring.stride_h, s->ring.c_pad, vector + vector_floats);
        int fine = 0;
        for (int i = 0; i < frames; i++) {
            CoarseFrames c[2] = {0};
            if (f->rt == 1) {
                const int taps = 12;
                for (int n = 0; n < 3; n++) c[0].frame[n] = tensor_at(d, s->ring, sequence[i + n], 0, 0);
                run_frame(d, a, s->ring, fine++, -1, &f->now, &taps, c, 1, bias, scratch.floats);
                continue;
            }
            c[0].frame[0] = tensor_at(d, s->ring, sequence[i + front - 1], 0, 0);
            c[1].frame[0] = tensor_at(d, s->ring, sequence[i + front], 0, 0);
            if (seen + i == 0) {
                const int taps = START_TAPS;
                run_frame(d, a, s->ring, fine++, -1, &f->start, &taps, &c[1], 1, bias, scratch.floats);
                continue;
            }
            const Tensor sets[2] = {seen + i == 1 ? f->second : f->before, f->now};
            const int taps[2] = {4, 4};
            for (int pt = 0; pt < 2; pt++) {
                const bool other = pt == 0 ? a->part == UPSAMPLE_SECOND : a->part == UPSAMPLE_FIRST;
                if (!other) run_frame(d, a, s->ring, fine++, pt, sets, taps, c, 2, bias, scratch.floats);
            }
        }
        if (a->post.stats.valid) stats_run(d, a->y, a->post.stats, a->post.stats_groups, scratch.floats);
    }
    dev_scratch_free(d, &scratch);
}
