/*
 * Folded upsamplers on the CUDA device; runtime/cpu/dev_fold.c tells what is folded and why. Weights are formed in float32 on
 * the device: all products K_tap . A_sub, some rows at a time, and from them the sums that each parity takes, which are
 * packed as their stage multiplies: [parity][n][slot][channels], slot (frame * 2 + row) * 2 + column of the coarse pixels
 * beneath an output pixel.
 *
 * A's bias counts where coarse pixels lie inside the picture. Another channel that is 1 there would cost a slab of 128
 * bytes in each slot; instead the product has a second part of one tap, whose pixels tell which of the four coarse pixels
 * beneath lie inside, and whose rows hold what the bias adds for each of them (kernels/cuda/fold.cu).
 */
#include "runtime/cuda/dev.h"

#include <stdlib.h>

enum { ALIGNMENT = 256, FOLD_THREADS = 128, INSIDE_BYTES = 16, PRODUCT_BYTES = 16 << 20 };

/* Weights of one situation in time. Bytes: from parity to parity, and from a parity's begin to its other parts. */
typedef struct FoldSet {
    Tensor memory;
    int parities, taps; /* parities: 4 of space, times those of time; taps: 4 a coarse frame */
    uint64_t step, scale, inside, inside_scale;
} FoldSet;

struct FoldedUpsampler {
    bool nearest;         /* nearest 2x and a 3x3 convolution: `any` alone, no history; rt: new frames a coarse frame */
    bool biased;          /* sets have the part of A's bias */
    int inputs, channels; /* read and given; only `nearest` may have them differ */
    int rt, depth, rows;  /* depth, rows: of a packed operand */
    Element type;
    const BoundWeight *bias;
    FoldSet any;          /* all frames without a set of their own */
    FoldSet first, second; /* rt 2: the first frame of a video, where parities (p, q) are all; the one behind it */
};

static uint64_t round_up(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

static CudaGrid grid_over(int64_t threads)
{
    return (CudaGrid){(unsigned)((threads + FOLD_THREADS - 1) / FOLD_THREADS), 1, 1, FOLD_THREADS, 0};
}

/* -------------------------------------------------------------------------------------------------------------- sets */

static void set_take(Dev *d, const FoldedUpsampler *f, FoldSet *s, int parities, int taps)
{
    const uint64_t rows = (uint64_t)f->rows, scales = f->type >= ELEMENT_I8 ? sizeof(float) : 0;
    const uint64_t blocks = (uint64_t)cuda_blocks(f->depth);
    *s = (FoldSet){.parities = parities, .taps = taps};
    s->scale = round_up(rows * (uint64_t)(taps * f->depth * element_bytes(f->type)), ALIGNMENT);
    s->inside = s->scale + round_up(rows * (uint64_t)taps * blocks * scales, ALIGNMENT);
    s->inside_scale = s->inside + round_up(f->biased ? rows * INSIDE_BYTES : 0, ALIGNMENT);
    s->step = s->inside_scale + round_up(f->biased ? rows * scales : 0, ALIGNMENT);
    s->memory = dev_bytes(d, (int64_t)(s->step * (uint64_t)parities));
    cuda_fill(d, cuda_at(d, s->memory), 0, s->step * (uint64_t)parities); /* rows that only pad */
}

static CUdeviceptr set_at(const Dev *d, const FoldSet *s, int parity)
{
    return cuda_at(d, s->memory) + s->step * (uint64_t)parity;
}

/* Rows first .. first + rows - 1 of one parity, from sums [rows][taps][pitch], where the bias stands behind the inputs. */
static void set_pack(Dev *d, const FoldedUpsampler *f, const FoldSet *s, int parity, CUdeviceptr sums, int pitch,
                     int first, int rows)
{
    static const char *const bias[] = {"fold_bias_f32", "fold_bias_bf16", "fold_bias_i8", "fold_bias_e4m3", "fold_bias_e4m3"};
    const CUdeviceptr at = set_at(d, s, parity);
    const CudaPack p = {.from = sums, .to = at, .scale = at + s->scale, .rows = rows, .first_row = first,
                        .ci = f->inputs, .taps = s->taps, .frame_taps = s->taps, .depth = f->depth,
                        .blocks = cuda_blocks(f->depth), .columns = f->rows, .row_step = s->taps * pitch,
                        .channel_step = 1, .tap_step = pitch};
    cuda_pack(d, &p, f->type);
    if (!f->biased) return;
    const CudaFoldBias b = {.from = sums, .to = at + s->inside + (uint64_t)first * INSIDE_BYTES,
                            .scale = at + s->inside_scale + (uint64_t)first * sizeof(float), .n = rows,
                            .frames = s->taps / 4, .pitch = pitch, .column = f->inputs};
    cuda_launch(d, "fold", bias[f->type], "", grid_over(rows), &b);
}

/* -------------------------------------------------------------------------------------------------- forming weights */

/* Kernel frame dt of a fine output frame: coarse frame among those the set reads, and its sub-frame. */
typedef struct TimeTap {
    int at, sub;
} TimeTap;
static const TimeTap time_any[2][3] = {{{0, 0}, {0, 1}, {1, 0}}, {{0, 1}, {1, 0}, {1, 1}}};
static const TimeTap time_second[2][3] = {{{0, 0}, {0, 0}, {1, 0}}, {{0, 0}, {1, 0}, {1, 1}}};
static const TimeTap time_first[1][3] = {{{0, 0}, {0, 0}, {0, 0}}};
static const TimeTap time_space[1][3] = {{{0, 0}, {1, 0}, {2, 0}}};

/* What weights are made of. mid: channels between A and K, padded. */
typedef struct FoldSums {
    CudaScratch kernel, up;     /* K [n][27][mid]; A [sub][inputs + 1][mid], the bias its last row */
    CudaScratch products, sums; /* of `rows` rows: [sub][rows][27][pitch]; [rows][taps][pitch] of one parity */
    int mid, pitch, rows;
} FoldSums;

/* Rows first .. first + rows - 1 of K, each tap times each sub-pixel's matrix. */
static void multiply(Dev *d, const FoldedUpsampler *f, const FoldSums *s, int first, int rows)
{
    CudaGemm g = {.parts = 1, .images = 1, .rows = 1, .columns = 27 * rows, .n = f->inputs + 1, .subs = 1, .alpha = 1.0f};
    g.batch = 4 * f->rt;
    g.batch_b = (int64_t)(f->inputs + 1) * s->mid;
    g.batch_y = 27LL * s->rows * s->pitch;
    g.part[0] = (CudaGemmPart){.a = s->kernel.address, .b = s->up.address, .pitch = s->mid, .depth = s->mid, .taps = 1,
                               .blocks = cuda_blocks(s->mid), .step_x = 1, .frame[0][0] = 27 * first};
    g.y = s->products.address;
    g.y_type = CUDA_F32;
    g.y_pitch = g.y_pad = s->pitch;
    g.y_c = f->inputs + 1;
    g.y_column = 1;
    cuda_gemm(d, &g, ELEMENT_F32);
}

/* The same rows of all parities of a set; time: of each parity in time. */
static void form_set(Dev *d, const FoldedUpsampler *f, const FoldSums *s, const FoldSet *set, const TimeTap (*time)[3],
                     int first, int rows)
{
    for (int parity = 0; parity < set->parities; parity++) {
        CudaFoldGather a = {.from = s->products.address, .to = s->sums.address, .n = rows, .slots = set->taps,
                            .sub_step = 27LL * s->rows * s->pitch, .pitch = s->pitch, .p = parity / 2 % 2, .q = parity % 2,
                            .rt = f->rt};
        for (int dt = 0; dt < 3; dt++) {
            a.frame[dt] = time[parity / 4][dt].at;
            a.part[dt] = time[parity / 4][dt].sub;
        }
        cuda_launch(d, "fold", "fold_gather", "", grid_over((int64_t)rows * set->taps * s->pitch / 4), &a);
        set_pack(d, f, set, parity, s->sums.address, s->pitch, first, rows);
    }
}

/* A transposed, one sub-pixel after another, and A's bias behind the rows of each. */
static void take_up(Dev *d, const FoldedUpsampler *f, const FoldSums *s, const BoundWeight *up, CUdeviceptr floats)
{
    const int c = f->channels, subs = 4 * f->rt;
    cuda_weight_floats(d, up, 0, (int64_t)subs * c * c, floats);
    for (int sub = 0; sub < subs; sub++) {
        CudaPack p = {.from = floats + (uint64_t)sub * (uint64_t)(c * c) * sizeof(float), .rows = c, .ci = c, .taps = 1,
                      .frame_taps = 1, .depth = s->mid, .blocks = cuda_blocks(s->mid), .row_step = 1,
                      .channel_step = c};
        p.to = s->up.address + (uint64_t)sub * (uint64_t)((c + 1) * s->mid) * sizeof(float);
        cuda_pack(d, &p, ELEMENT_F32);
    }
}

static void take_up_bias(Dev *d, const FoldedUpsampler *f, const FoldSums *s, const BoundWeight *up_bias,
                         CUdeviceptr floats)
{
    const int c = f->channels, subs = 4 * f->rt;
    if (up_bias != NULL) cuda_weight_floats(d, up_bias, 0, (int64_t)subs * c, floats);
    else cuda_fill(d, floats, 0, (uint64_t)(subs * c) * sizeof(float));
    for (int sub = 0; sub < subs; sub++) {
        const CudaPack p = {.from = floats + (uint64_t)(sub * c) * sizeof(float), .first_row = c, .rows = 1, .ci = c,
                            .to = s->up.address + (uint64_t)sub * (uint64_t)((c + 1) * s->mid) * sizeof(float),
                            .taps = 1, .frame_taps = 1, .depth = s->mid, .blocks = cuda_blocks(s->mid), .channel_step = 1};
        cuda_pack(d, &p, ELEMENT_F32);
    }
}

static void take_kernel(Dev *d, const FoldedUpsampler *f, const FoldSums *s, const BoundWeight *conv,
                        CUdeviceptr floats)
{
    const int c = f->channels;
    const CudaPack p = {.from = floats, .to = s->kernel.address, .rows = c, .ci = c, .taps = 27, .frame_taps = 27,
                        .depth = s->mid, .blocks = cuda_blocks(s->mid), .row_step = 27 * c, .channel_step = 27,
                        .tap_step = 1};
    cuda_weight_floats(d, conv, 0, 27LL * c * c, floats);
    cuda_pack(d, &p, ELEMENT_F32);
}

static FoldedUpsampler *fold_new(Dev *d, int stage, int inputs, int channels, int rt, const BoundWeight *bias)
{
    FoldedUpsampler *f = calloc(1, sizeof *f);
    if (f == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    f->inputs = inputs;
    f->channels = channels;
    f->rt = rt;
    f->bias = bias;
    f->type = cuda_compute(d, stage, inputs, NULL);
    f->depth = element_pad(f->type, inputs);
    f->rows = (channels + 15) / 16 * 16;
    return f;
}

FoldedUpsampler *cuda_fold(Dev *d, int stage, const BoundWeight *up, const BoundWeight *up_bias, const BoundWeight *conv,
                           const BoundWeight *conv_bias, int rt)
{
    const int c = (int)conv->shape[0];
    FoldedUpsampler *f = fold_new(d, stage, c, c, rt, conv_bias);
    if (f == NULL) return NULL;
    dev_touch(d, up);
    dev_touch(d, up_bias);
    dev_touch(d, conv);
    dev_touch(d, conv_bias);
    f->biased = up_bias != NULL;
    set_take(d, f, &f->any, 4 * rt, rt == 2 ? 8 : 12);
    if (rt == 2) {
        set_take(d, f, &f->second, 8, 8);
        set_take(d, f, &f->first, 4, 4);
    }
    d->totals.flop += 2.0 * c * c * (c + 1.0) * 27 * 4 * rt;
    FoldSums s = {.mid = element_pad(ELEMENT_F32, c), .pitch = element_pad(ELEMENT_F32, c + 1)};
    const uint64_t row = 27ULL * 4 * (uint64_t)rt * (uint64_t)s.pitch * sizeof(float);
    s.rows = row * (uint64_t)c <= PRODUCT_BYTES ? c : (int)(PRODUCT_BYTES / row) + 1;
    s.kernel = cuda_scratch(d, (uint64_t)(27 * c * s.mid) * sizeof(float));
    s.up = cuda_scratch(d, (uint64_t)(4 * rt * (c + 1) * s.mid) * sizeof(float));
    CudaScratch floats = cuda_scratch(d, (uint64_t)(27 * c * c) * sizeof(float)); /* of each in turn; K is the largest */
    take_up(d, f, &s, up, floats.address);
    take_up_bias(d, f, &s, up_bias, floats.address);
    take_kernel(d, f, &s, conv, floats.address);
    cuda_scratch_free(d, &floats);
    s.products = cuda_scratch(d, (uint64_t)s.rows * row);
    s.sums = cuda_scratch(d, (uint64_t)(s.rows * f->any.taps * s.pitch) * sizeof(float));
    for (int first = 0; first < c; first += s.rows) {
        const int rows = c - first < s.rows ? c - first : s.rows;
        multiply(d, f, &s, first, rows);
        form_set(d, f, &s, &f->any, rt == 2 ? time_any : time_space, first, rows);
        if (rt == 1) continue;
        form_set(d, f, &s, &f->second, time_second, first, rows);
        form_set(d, f, &s, &f->first, time_first, first, rows);
    }
    cuda_scratch_free(d, &s.sums);
    cuda_scratch_free(d, &s.products);
    cuda_scratch_free(d, &s.up);
    cuda_scratch_free(d, &s.kernel);
    return f;
}

void cuda_fold_free(Dev *d, FoldedUpsampler *f)
{
    if (f == NULL) return;
    dev_free(d, &f->any.memory);
    dev_free(d, &f->second.memory);
    dev_free(d, &f->first.memory);
    free(f);
}

/* ------------------------------------------------------------------------------- nearest 2x and a 3x3 convolution */

/* K's taps of one parity, summed by coarse pixel [n][4][mid]; `grow` transposed, [frame][inputs][mid]. */
typedef struct NearestSums {
    CudaScratch kernel, grow, sums;
    int mid, k_pitch, pitch; /* pitch: of sums [n][4][inputs], which `grow` makes of the kernel's */
} NearestSums;

static void take_grow(Dev *d, const FoldedUpsampler *f, const NearestSums *s, const BoundWeight *grow)
{
    const uint64_t matrix = (uint64_t)s->mid * (uint64_t)f->inputs;
    CudaScratch floats = cuda_scratch(d, (uint64_t)f->rt * matrix * sizeof(float));
    cuda_weight_floats(d, grow, 0, (int64_t)f->rt * (int64_t)matrix, floats.address);
    for (int frame = 0; frame < f->rt; frame++) {
        const uint64_t packed = (uint64_t)(f->inputs * s->k_pitch);
        const CudaPack p = {.from = floats.address + (uint64_t)frame * matrix * sizeof(float), .rows = f->inputs,
                            .to = s->grow.address + (uint64_t)frame * packed * sizeof(float), .ci = s->mid, .taps = 1,
                            .frame_taps = 1, .depth = s->k_pitch, .blocks = cuda_blocks(s->k_pitch), .row_step = 1,
                            .channel_step = f->inputs};
        cuda_pack(d, &p, ELEMENT_F32);
    }
    cuda_scratch_free(d, &floats);
}

/* sums = kernel . grow of this frame, for all rows and coarse pixels at once. */
static void grow_sums(Dev *d, const FoldedUpsampler *f, const NearestSums *s, int frame)
{
    CudaGemm g = {.parts = 1, .images = 1, .rows = 1, .columns = 4 * f->channels, .n = f->inputs, .subs = 1, .alpha = 1.0f};
    const uint64_t matrix = (uint64_t)(f->inputs * s->k_pitch) * sizeof(float);
    g.part[0] = (CudaGemmPart){.a = s->kernel.address, .b = s->grow.address + (uint64_t)frame * matrix, .taps = 1,
                               .pitch = s->k_pitch, .depth = s->k_pitch, .blocks = cuda_blocks(s->k_pitch), .step_x = 1};
    g.y = s->sums.address;
    g.y_type = CUDA_F32;
    g.y_pitch = g.y_pad = s->pitch;
    g.y_c = f->inputs;
    g.y_column = 1;
    cuda_gemm(d, &g, ELEMENT_F32);
}

FoldedUpsampler *cuda_fold_nearest(Dev *d, int stage, const BoundWeight *grow, int frames, const BoundWeight *conv,
                                   const BoundWeight *bias)
{
    const int mid = (int)conv->shape[1], channels = (int)conv->shape[0];
    FoldedUpsampler *f = fold_new(d, stage, grow != NULL ? (int)grow->shape[1] : mid, channels, frames, bias);
    if (f == NULL) return NULL;
    f->nearest = true;
    dev_touch(d, grow);
    dev_touch(d, conv);
    dev_touch(d, bias);
    set_take(d, f, &f->any, 4 * frames, 4);
    if (grow != NULL) d->totals.flop += 2.0 * 16.0 * frames * channels * mid * f->inputs;
    NearestSums s = {.mid = mid, .k_pitch = element_pad(ELEMENT_F32, mid), .pitch = element_pad(ELEMENT_F32, f->inputs)};
    s.kernel = cuda_scratch(d, (uint64_t)(4 * channels * s.k_pitch) * sizeof(float));
    if (grow != NULL) {
        s.sums = cuda_scratch(d, (uint64_t)(4 * channels * s.pitch) * sizeof(float));
        s.grow = cuda_scratch(d, (uint64_t)(frames * f->inputs * s.k_pitch) * sizeof(float));
        take_grow(d, f, &s, grow);
    }
    CudaScratch floats = cuda_scratch(d, 9ULL * (uint64_t)(channels * mid) * sizeof(float));
    cuda_weight_floats(d, conv, 0, 9LL * channels * mid, floats.address);
    for (int parity = 0; parity < 4; parity++) {
        const CudaFoldSum sum = {.from = floats.address, .to = s.kernel.address, .n = channels, .mid = mid,
                                 .pitch = s.k_pitch, .p = parity / 2, .q = parity % 2};
        cuda_launch(d, "fold", "fold_sum", "", grid_over(4LL * channels * s.k_pitch), &sum);
        for (int frame = 0; frame < frames; frame++) {
            if (grow != NULL) grow_sums(d, f, &s, frame);
            set_pack(d, f, &f->any, 4 * frame + parity, grow != NULL ? s.sums.address : s.kernel.address, s.pitch, 0,
                     channels);
        }
    }
    cuda_scratch_free(d, &floats);
    if (grow != NULL) {
        cuda_scratch_free(d, &s.grow);
        cuda_scratch_free(d, &s.sums);
    }
    cuda_scratch_free(d, &s.kernel);
    return f;
}

/* --------------------------------------------------------------------------------------------------------- using them */

/* Pictures have a border of one pixel, which is kept where the copy engine does not make it. */
static int margin(const FoldedUpsampler *f) { return cuda_engine_pads(f->type) ? 1 : 0; }

static Tensor bordered(Dev *d, const FoldedUpsampler *f, int pictures, Tensor x, Tensor *scales)
{
    const int kept = 2 - 2 * margin(f);
    const Tensor ring = dev_typed(d, f->type, pictures, x.h + kept, x.w + kept, f->inputs);
    *scales = cuda_scales(d, f->type, (int64_t)ring.t * ring.h * ring.w, ring.c_pad);
    if (kept > 0) cuda_clear_frames(d, ring, *scales);
    return ring;
}

ConvState *cuda_fold_state(Dev *d, const FoldedUpsampler *f, Tensor x, int frames)
{
    ConvState *s = calloc(1, sizeof *s);
    if (s == NULL || f == NULL) {
        dev_fail(d, s == NULL ? "out of memory" : "internal error: history for no upsampler");
        free(s);
        return NULL;
    }
    s->kept = f->rt == 2 ? 1 : 2;
    s->slots = s->kept + frames;
    s->pad_top = s->pad_left = 1;
    s->ring = bordered(d, f, s->slots, x, &s->scales);
    return s;
}

/* Which coarse pixels lie inside the picture, by the corner that four of them share. */
typedef struct Inside {
    Tensor memory;
    CudaGemmPart part; /* without its rows */
} Inside;

static Inside inside_take(Dev *d, const FoldedUpsampler *f, Tensor x)
{
    static const char *const functions[] = {"fold_inside_f32", "fold_inside_bf16", "fold_inside_i8", "fold_inside_e4m3",
                                            "fold_inside_e4m3"};
    Inside in = {0};
    if (!f->biased) return in;
    const int64_t corners = (int64_t)(x.h + 1) * (x.w + 1);
    in.memory = dev_bytes(d, corners * (INSIDE_BYTES + (int64_t)sizeof(float)));
    const CUdeviceptr at = cuda_at(d, in.memory);
    const int depth = INSIDE_BYTES / element_bytes(f->type);
    const CUdeviceptr scale = f->type == ELEMENT_I8 ? at + (uint64_t)corners * INSIDE_BYTES : 0; /* 0: 1 */
    in.part = (CudaGemmPart){.a = at, .a_scale = scale, .pitch = depth, .depth = depth, .taps = 1, .blocks = 1,
                             .step_y = x.w + 1, .step_x = 1, .width = x.w + 1, .height = x.h + 1,
                             .picture = (int)corners, .pictures = 1};
    const CudaFoldInside a = {.to = in.part.a, .scale = in.part.a_scale, .h = x.h, .w = x.w};
    cuda_launch(d, "fold", functions[f->type], "", grid_over(corners), &a);
    return in;
}

/* Where a call's coarse frames are and what becomes of them. */
typedef struct UpsampleRun {
    const UpsampleArgs *a;
    CudaFrames frames;
    const int *sequence; /* pictures of `frames`, oldest first: `front` that are remembered, then the call's own */
    int front;
    int part;            /* UpsamplePart */
    bool start;          /* the call's first frame gives one fine frame */
    Inside inside;
    CudaGemm shape;
} UpsampleRun;

/* Coarse frames first .. first + count - 1 of the call, count <= CUDA_GEMM_IMAGES, with the weights of `set`. */
static void run_frames(Dev *d, const UpsampleRun *r, const FoldSet *set, int first, int count)
{
    const FoldedUpsampler *f = r->a->weight;
    const Tensor y = r->a->y;
    const int y_row = (int)(y.stride_h / y.c_pad), y_frame = (int)(y.stride_t / y.c_pad), reach = set->taps / 4;
    const int from = r->part == UPSAMPLE_SECOND ? 4 : 0, to = r->part == UPSAMPLE_FIRST ? 4 : set->parities;
    for (int parity = from; parity < to && dev_ok(d); parity++) {
        const int pt = (parity - from) / 4, p = parity / 2 % 2, q = parity % 2;
        const CUdeviceptr at = set_at(d, set, parity);
        const CudaWeight weight = {.data = at, .scale = at + set->scale, .n = f->rows, .taps = set->taps,
                                   .depth = f->depth, .blocks = cuda_blocks(f->depth)};
        CudaGemm g = r->shape;
        CudaGemmPart *part = &g.part[0];
        cuda_gemm_operand(part, &r->frames, &weight);
        part->step_y = r->frames.w;
        part->step_x = 1;
        for (int t = 0; t < set->taps; t++) {
            part->tap[t] = (p + t / 2 % 2) * r->frames.w + q + t % 2;
            part->tap_frame[t] = (uint8_t)(t / 4);
        }
        if (f->biased) {
            g.parts = 2;
            g.part[1] = r->inside.part;
            g.part[1].b = at + set->inside;
            g.part[1].b_scale = at + set->inside_scale;
            g.part[1].tap[0] = p * (r->a->x.w + 1) + q;
        }
        g.images = count;
        for (int i = 0; i < count; i++) {
            const int *newest = r->sequence + r->front + first + i;
            for (int n = 0; n < reach; n++) part->frame[i][n] = newest[n - reach + 1] * r->frames.frame_pixels;
            const int fine = (first + i) * f->rt - (r->start && first + i > 0 ? f->rt - 1 : 0) + pt;
            g.y_image[i] = fine * y_frame + p * y_row + q;
        }
        cuda_gemm(d, &g, f->type);
    }
}

/* The product, but for its operands and images. */
static CudaGemm shape_of(Dev *d, const UpsampleArgs *a)
{
    CudaGemm g = {.parts = 1};
    cuda_gemm_result(d, &g, a->y, &a->post, a->weight->channels);
    g.bias = cuda_vector(d, a->weight->bias);
    g.rows = a->x.h;
    g.columns = a->x.w;
    g.y_row *= 2;
    g.y_column *= 2;
    return g;
}

/* No history: one coarse frame at a time. */
static void upsample_nearest(Dev *d, const UpsampleArgs *a)
{
    const FoldedUpsampler *f = a->weight;
    const Pre none = {.norm = NORM_NONE};
    Tensor scales, picture = bordered(d, f, 1, a->x, &scales);
    const int only = 0;
    d->totals.flop += 2.0 * a->y.t * (double)a->y.h * a->y.w * f->channels * 4.0 * f->inputs;
    UpsampleRun r = {.a = a, .frames = cuda_frames_within(d, picture, scales, margin(f), margin(f)), .sequence = &only,
                     .shape = shape_of(d, a)};
    for (int t = 0; t < a->x.t; t++) {
        cuda_pre(d, tensor_frames(a->x, t, 1), &none, &r.frames, &only, 1, 1);
        UpsampleArgs one = *a;
        one.x = tensor_frames(a->x, t, 1);
        one.y = tensor_frames(a->y, t * f->rt, f->rt);
        r.a = &one;
        r.shape.y = cuda_at(d, one.y);
        run_frames(d, &r, &f->any, 0, 1);
    }
    dev_free(d, &scales);
    dev_free(d, &picture);
}

static void upsample_video(Dev *d, const UpsampleArgs *a)
{
    const FoldedUpsampler *f = a->weight;
    ConvState *s = a->state;
    const Pre none = {.norm = NORM_NONE};
    int sequence[FRAMES_MAX + 2], fresh[FRAMES_MAX];
    const int64_t seen = state_upsample(s, f->rt, a, sequence, fresh);
    d->totals.flop += 2.0 * a->y.t * (double)a->y.h * a->y.w * f->channels * (f->rt == 2 ? 8.0 : 12.0) * f->channels;
    UpsampleRun r = {.a = a, .frames = cuda_frames_within(d, s->ring, s->scales, margin(f), margin(f)), .sequence = sequence,
                     .front = f->rt == 2 ? 1 : 2, .part = a->part, .start = f->rt == 2 && seen == 0, .shape = shape_of(d, a)};
    r.inside = inside_take(d, f, a->x);
    if (a->part != UPSAMPLE_SECOND) cuda_pre(d, a->x, &none, &r.frames, fresh, 1, 1);
    for (int i = 0; i < a->x.t;) {
        const FoldSet *set = f->rt == 2 && seen + i < 2 ? (seen + i == 0 ? &f->first : &f->second) : &f->any;
        int count = set == &f->any ? a->x.t - i : 1;
        if (count > CUDA_GEMM_IMAGES) count = CUDA_GEMM_IMAGES;
        run_frames(d, &r, set, i, count);
        i += count;
    }
    dev_free(d, &r.inside.memory);
}

void cuda_upsample(Dev *d, const UpsampleArgs *a)
{
    const FoldedUpsampler *f = a->weight;
    if (!upsample_is_valid(d, a, f != NULL && f->nearest ? 0 : f != NULL ? f->rt : -1)) return;
    dev_touch(d, f->bias);
    if (f->nearest) upsample_nearest(d, a);
    else upsample_video(d, a);
    if (a->post.stats.valid) cuda_stats_of(d, a->y, a->post.stats, a->post.stats_groups);
}
