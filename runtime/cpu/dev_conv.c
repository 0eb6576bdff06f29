/* Convolutions and linear layers on the CPU: history, padded frames, and the jobs over them. */
#include "kernels/cpu/conv3d.h"
#include "runtime/dev_internal.h"

#include <stdlib.h>
#include <string.h>

/* Channels of a pixel that products read: whole groups of four, the last ones filled with zeros. */
static int depth_of(Tensor x) { return (x.c + 3) / 4 * 4; }

/* -------------------------------------------------------------------------------------------------------------- jobs */

typedef struct JobTurn {
    const GemmJob *job;
    int threads;
    float *scratch;
    size_t scratch_floats;
} JobTurn;

static void job_turn(void *context, int64_t i, int thread)
{
    const JobTurn *t = context;
    gemm_turn(t->job, t->threads, i, t->scratch + t->scratch_floats * (size_t)thread);
}

static size_t job_thread_floats(const GemmJob *j)
{
    return (gemm_scratch(j) + 15) / 16 * 16; /* threads' areas begin on lines of their own */
}

uint64_t job_scratch_floats(const Dev *d, const GemmJob *j)
{
    return (uint64_t)d->threads * job_thread_floats(j);
}

void job_run(Dev *d, const GemmJob *j, float *scratch)
{
    JobTurn t = {j, d->threads, scratch, job_thread_floats(j)};
    pool_run(d->pool, gemm_turns(j, d->threads), job_turn, &t);
}

/* ----------------------------------------------------------------------------------------------------------- history */

/* Padded frames: room for `slots` of them with the borders that the convolution wants. */
static Tensor padded_frames(Dev *d, const ConvArgs *a, int slots)
{
    Tensor ring = dev_tensor(d, slots, a->x.h + a->pad_top + a->pad_bottom, a->x.w + a->pad_left + a->pad_right, a->x.c);
    float *memory = cpu_map(d, ring);
    if (memory != NULL) memset(memory, 0, (size_t)(ring.t * ring.stride_t) * sizeof *memory);
    return ring;
}

void cpu_history(Dev *d, const ConvArgs *a, int slots, ConvState *s) { s->ring = padded_frames(d, a, slots); }

/* At a start no frame is remembered, so the last slot is free to stand for the zeros in front. */
static void clear_last_slot(Dev *d, const ConvState *s)
{
    if (d->memory == NULL || !s->ring.valid) return;
    memset(tensor_at(d, s->ring, s->ring.t - 1, 0, 0), 0, (size_t)s->ring.stride_t * sizeof(float));
}

/* ------------------------------------------------------------------------------------------------------- convolution */

static void output_of(Dev *d, const ConvArgs *a, int n, GemmJob *j)
{
    const Post *p = &a->post;
    *j = (GemmJob){.kernels = d->kernels, .n = n, .act = row_act(p->act)};
    j->y_c = a->y.c;
    j->y_pad = (a->y.c + 3) / 4 * 4;
    j->y_row = a->y.stride_h;
    j->y_pixel = a->y.c_pad;
    j->rows = a->y.h;
    j->columns_x = a->y.w;
    if (p->shuffle_space > 0) {
        const int space = p->shuffle_space, rt = p->shuffle_time;
        j->y_row *= space;
        j->y_pixel *= space;
        j->rows /= space;
        j->columns_x /= space;
        for (int s = 0; s < space * space * rt; s++) {
            j->sub[s] = s % rt * a->y.stride_t + s / rt / space * a->y.stride_h + s / rt % space * a->y.c_pad;
        }
    }
    if (d->memory == NULL) return;
    j->y = tensor_at(d, a->y, 0, 0, 0);
    if (p->residual.valid) {
        j->residual = tensor_at(d, p->residual, 0, 0, 0);
        j->residual_row = p->residual.stride_h;
        j->residual_pixel = p->residual.c_pad;
    }
    if (p->gate.valid) j->gate = tensor_at(d, p->gate, 0, 0, 0);
}

/* Where output frame f goes, and which sub-frames of it are left out. */
static void place_image(const ConvArgs *a, int f, GemmJob *j, int i)
{
    const Post *p = &a->post;
    j->drop[i] = 0;
    const int rt = p->shuffle_space > 0 ? p->shuffle_time : 1;
    j->y_image[i] = (int64_t)f * rt * a->y.stride_t;
    if (p->shuffle_drop) {
        /* coarse frame 0 of a video has one fine frame: the second (index 1, not 0) is left out and all later ones move up */
        if (f > 0) j->y_image[i] -= a->y.stride_t;
        else j->drop[i] = 0xAA;
    }
    j->residual_image[i] = p->residual.valid ? f * p->residual.stride_t : 0;
}

typedef struct ConvRun {
    Dev *d;
    const ConvArgs *a;
    Conv3d conv;
    CheckedWeight weight, shortcut;
    atomic_bool bad, bad_shortcut;
    int n; /* output channels before a shuffle */
    float *vectors, *pre, *jobs;
} ConvRun;

static void run_images(ConvRun *r, int first, int images, float *const *frames, const int *sequence)
{
    const ConvArgs *a = r->a;
    GemmJob out, jobs[3];
    ConvPack packs[3], shortcut_pack;
    output_of(r->d, a, r->n, &out);
    out.images = images;
    if (a->bias != NULL) out.bias = dev_vector(r->d, a->bias, r->vectors);
    for (int i = 0; i < images; i++) {
        place_image(a, first + i, &out, i);
        for (int dt = 0; dt < a->kt; dt++) {
            r->conv.frame[i][dt] = frames[sequence[(first + i) * a->stride_t + dt]];
        }
        if (a->post.shortcut != NULL) r->conv.shortcut_frame[i] = tensor_at(r->d, a->post.shortcut_x, first + i, 0, 0);
    }
    if (a->post.shortcut_bias != NULL) { /* two biases add up */
        float *sum = r->vectors + r->n;
        const float *extra = dev_vector(r->d, a->post.shortcut_bias, sum);
        for (int c = 0; c < r->n; c++) sum[c] = extra[c] + (out.bias == NULL ? 0.0f : out.bias[c]);
        out.bias = sum;
    }
    const int count = conv3d_jobs(&r->conv, &out, jobs, packs, &shortcut_pack);
    for (int i = 0; i < count; i++) job_run(r->d, &jobs[i], r->jobs);
}

/* The largest scratch any of the jobs can need: every frame apart, with the shortcut. */
static uint64_t conv_job_floats(const Dev *d, const ConvArgs *a, int n, int depth)
{
    GemmJob j = {.n = n, .parts = a->post.shortcut != NULL ? 2 : 1};
    j.part[0].taps = a->kt * a->kh * a->kw;
    j.part[0].depth = depth;
    j.part[1].taps = 1;
    j.part[1].depth = a->post.shortcut != NULL ? depth_of(a->post.shortcut_x) : 0;
    return job_scratch_floats(d, &j);
}

/* Fills what pads a frame with its nearest pixel. */
static void replicate_edges(const ConvArgs *a, Tensor frames, float *frame)
{
    const size_t pixel = (size_t)frames.c_pad * sizeof(float);
    const int bottom = a->pad_top + a->x.h, right = a->pad_left + a->x.w;
    for (int y = a->pad_top; y < bottom; y++) {
        float *row = frame + y * frames.stride_h;
        for (int x = 0; x < a->pad_left; x++) memcpy(row + (int64_t)x * frames.c_pad, row + (int64_t)a->pad_left * frames.c_pad, pixel);
        for (int x = right; x < frames.w; x++) memcpy(row + (int64_t)x * frames.c_pad, row + (int64_t)(right - 1) * frames.c_pad, pixel);
    }
    const size_t row = (size_t)frames.stride_h * sizeof(float);
    for (int y = 0; y < a->pad_top; y++) memcpy(frame + y * frames.stride_h, frame + a->pad_top * frames.stride_h, row);
    for (int y = bottom; y < frames.h; y++) memcpy(frame + y * frames.stride_h, frame + (bottom - 1) * frames.stride_h, row);
}

void cpu_conv3d(Dev *d, const ConvArgs *a)
{
    const int n = (int)a->weight->shape[0], frames = a->x.t, out_frames = conv_frames_out(a, frames);
    const bool padded = a->pad_top || a->pad_left || a->pad_bottom || a->pad_right;
    const bool direct = (a->kt == 1 || a->whole) && !padded && a->pre.norm == NORM_NONE && a->pre.act == ACT_NONE;

    int sequence[FRAMES_MAX + 3], fresh[FRAMES_MAX];
    for (int i = 0; i < frames; i++) sequence[i] = fresh[i] = i;
    if (a->state != NULL) {
        state_advance(a->state, a->kt, a->start, frames, sequence, fresh);
        if (a->start && a->state->zero) clear_last_slot(d, a->state);
    }

    Tensor own = {0}; /* padded or normalised frames that nothing remembers */
    if (a->state == NULL && !direct) own = padded_frames(d, a, frames);
    const Tensor in = a->state != NULL ? a->state->ring : direct ? a->x : own;

    const uint64_t vector_floats = 2 * (uint64_t)n, pre_floats = direct ? 0 : pre_scratch_floats(d, a->x, &a->pre);
    const uint64_t job_floats = conv_job_floats(d, a, n, depth_of(in));
    const uint64_t stats_floats = a->post.stats.valid ? stats_scratch_floats(d, a->y, a->post.stats_groups) : 0;
    Scratch s = dev_scratch(d, (job_floats > stats_floats ? job_floats : stats_floats) + vector_floats + pre_floats);
    if (s.floats != NULL) {
        ConvRun r = {.d = d, .a = a, .n = n};
        r.jobs = s.floats;
        r.vectors = s.floats + (job_floats > stats_floats ? job_floats : stats_floats);
        r.pre = r.vectors + vector_floats;
        atomic_init(&r.bad, false);
        atomic_init(&r.bad_shortcut, false);
        r.weight = (CheckedWeight){a->weight, &r.bad};
        r.shortcut = (CheckedWeight){a->post.shortcut, &r.bad_shortcut};
        r.conv = (Conv3d){.ci = conv_channels_in(a), .depth = depth_of(in), .kt = a->kt, .kh = a->kh, .kw = a->kw,
                          .stride_h = a->stride_h, .stride_w = a->stride_w, .channels_last = a->weight_channels_last,
                          .frames_in_channels = a->weight_frames_in_channels,
                          .in_row = in.stride_h, .in_pixel = in.c_pad, .weights = {&r.weight, checked_read}};
        if (a->post.shortcut != NULL) {
            r.conv.shortcut = (WeightReader){&r.shortcut, checked_read};
            r.conv.shortcut_ci = (int)a->post.shortcut->shape[1];
            r.conv.shortcut_depth = depth_of(a->post.shortcut_x);
            r.conv.shortcut_row = a->post.shortcut_x.stride_h;
            r.conv.shortcut_pixel = a->post.shortcut_x.c_pad;
        }
        float *frame[FRAMES_MAX + 4], *to[FRAMES_MAX];
        for (int i = 0; i < in.t; i++) frame[i] = tensor_at(d, in, i, 0, 0);
        if (!direct) {
            for (int i = 0; i < frames; i++) to[i] = tensor_at(d, in, fresh[i], a->pad_top, a->pad_left);
            pre_apply(d, a->x, &a->pre, to, in.stride_h, in.c_pad, r.pre);
            if (a->pad_edge) {
                for (int i = 0; i < frames; i++) replicate_edges(a, in, frame[fresh[i]]);
            }
        }
        for (int f = 0; f < out_frames; f += GEMM_IMAGES) {
            run_images(&r, f, out_frames - f < GEMM_IMAGES ? out_frames - f : GEMM_IMAGES, frame, sequence);
        }
        dev_check_weight(d, a->weight, &r.bad);
        if (a->post.shortcut != NULL) dev_check_weight(d, a->post.shortcut, &r.bad_shortcut);
        if (a->post.stats.valid) stats_run(d, a->y, a->post.stats, a->post.stats_groups, s.floats);
    }
    dev_scratch_free(d, &s);
    dev_free(d, &own);
}

/* ------------------------------------------------------------------------------------------------------------ linear */

void cpu_linear(Dev *d, const LinearArgs *a)
{
    const int n = (int)a->weight->shape[0], k = (int)a->weight->shape[1];
    const bool direct = a->pre.norm == NORM_NONE && a->pre.act == ACT_NONE && !a->pre.scale.valid && !a->pre.shift.valid;
    Tensor in = a->x;
    if (!direct) in = dev_tensor(d, a->x.t, a->x.h, a->x.w, a->x.c);

    atomic_bool bad, bad_glu;
    atomic_init(&bad, false);
    atomic_init(&bad_glu, false);
    const CheckedWeight weight = {a->weight, &bad}, glu = {a->glu, &bad_glu};
    const ConvPack pack = {{&weight, checked_read}, k, 1, 1, depth_of(in), false, false, TIME_ALL};
    const ConvPack pack_glu = {{&glu, checked_read}, k, 1, 1, depth_of(in), false, false, TIME_ALL};

    ConvArgs as_conv = {.x = a->x, .y = a->y, .post = a->post};
    GemmJob j;
    output_of(d, &as_conv, n, &j);
    j.parts = 1;
    j.part[0] = (GemmPart){.taps = 1, .depth = depth_of(in), .step_y = in.stride_h, .step_x = in.c_pad, .pack = conv_pack,
                           .weights = &pack, .glu_weights = a->glu != NULL ? &pack_glu : NULL};
    const uint64_t job_floats = job_scratch_floats(d, &j), vector_floats = (uint64_t)n;
    Scratch s = dev_scratch(d, job_floats + vector_floats + pre_scratch_floats(d, a->x, &a->pre));
    if (s.floats != NULL) {
        if (!direct) {
            for (int t = 0; t < in.t; t++) { /* one frame at a time: tokens have one */
                float *to = tensor_at(d, in, t, 0, 0);
                pre_apply(d, tensor_frames(a->x, t, 1), &a->pre, &to, in.stride_h, in.c_pad, s.floats + job_floats + vector_floats);
            }
        }
        j.bias = dev_vector(d, a->bias, s.floats + job_floats);
        for (int t = 0; t < a->x.t; t += GEMM_IMAGES) {
            j.images = a->x.t - t < GEMM_IMAGES ? a->x.t - t : GEMM_IMAGES;
            j.part[0].base = tensor_at(d, in, t, 0, 0);
            for (int i = 0; i < j.images; i++) {
                j.part[0].tap[i][0] = i * in.stride_t;
                place_image(&as_conv, t + i, &j, i);
            }
            job_run(d, &j, s.floats);
        }
        dev_check_weight(d, a->weight, &bad);
        if (a->glu != NULL) dev_check_weight(d, a->glu, &bad_glu);
    }
    dev_scratch_free(d, &s);
    if (!direct) dev_free(d, &in);
}
