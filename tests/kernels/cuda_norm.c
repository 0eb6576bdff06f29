/*
 * Norms, statistics and elementwise operations of the GPU against the CPU's plain C: the same bits in fp32, and in bf16,
 * given values that bf16 holds, those bits rounded once. The producer of padded frames in all three types, with the rule of
 * 8 bits.
 */
#include "kernels/cpu/int8.h"
#include "runtime/cuda/dev.h"
#include "runtime/models/planar.h"
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA = 64 << 20 };

static float rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Values that bf16 holds. */
static float *random_bf16(size_t count, float scale)
{
    float *x = check_random_floats(count, scale);
    for (size_t i = 0; i < count; i++) x[i] = rounded(x[i]);
    return x;
}

/* An operation in `work`, which hands `count` floats to `out` (NULL on a plan). */
typedef void Work(void *user, Dev *d, float *out);

static Dev *open_device(const DevSetup *setup, uint64_t arena)
{
    char error[512] = "";
    Dev *d = dev_open(setup, arena, error, sizeof error);
    check_true(d != NULL, "%s", error);
    return d;
}

static void close_device(Dev *d, const char *version)
{
    dev_wait(d);
    dev_phase(d);
    check_true(dev_ok(d), "%s: %s", version, dev_error(d));
    dev_close(d);
}

static void run_cpu(Work *work, void *user, float *out)
{
    setenv("UPRES_CPU", "scalar", 1);
    Dev *d = open_device(&(DevSetup){.threads = 1}, ARENA);
    unsetenv("UPRES_CPU");
    if (d == NULL) return;
    work(user, d, out);
    close_device(d, "cpu");
}

static void run_cuda(Work *work, void *user, DevPrecision precision, const char *version, float *out)
{
    const DevSetup setup = {.cuda = test_cuda(), .few_too = true, .precision = precision};
    Dev *plan = dev_plan_open(&setup);
    work(user, plan, NULL);
    const uint64_t planned = dev_totals(plan).arena_peak;
    dev_close(plan);
    Dev *d = open_device(&setup, planned);
    if (d == NULL) return;
    work(user, d, out);
    check_true(dev_totals(d).arena_peak == planned, "%s: used %llu bytes, planned %llu", version,
               (unsigned long long)dev_totals(d).arena_peak, (unsigned long long)planned);
    CHECK_BENCH(version, 0, (double)planned, work(user, d, NULL));
    close_device(d, version);
}

/* What the CPU gives is what the GPU gives; results that are kept as bf16 are rounded. */
static void compare(Work *work, void *user, size_t count, bool floats)
{
    float *want = check_floats(count), *got = check_floats(count);
    run_cpu(work, user, want);
    check_poison(got, count);
    run_cuda(work, user, DEV_FP32, "fp32", got);
    check_equal("fp32", want, got, count * sizeof *got);
    for (size_t i = 0; i < count && !floats; i++) want[i] = rounded(want[i]);
    check_poison(got, count);
    run_cuda(work, user, DEV_BF16, "bf16", got);
    check_equal("bf16", want, got, count * sizeof *got);
}

/* download, and the padding of whole tensors has to be zero. */
static void fetch(Dev *d, Tensor x, float *out)
{
    if (out == NULL) return;
    const float *from = dev_read(d, x);
    for (int64_t p = 0; from != NULL && p < (int64_t)x.t * x.h * x.w; p++) {
        memcpy(out + p * x.c, from + p * x.c_pad, (size_t)x.c * sizeof *out);
        for (int c = x.c; c < x.c_pad; c++) {
            check_true(from[p * x.c_pad + c] == 0.0f, "padding of pixel %lld is not zero", (long long)p);
        }
    }
    dev_read_end(d, from);
}

/* --------------------------------------------------------------------------------------------------------------- norms */

enum { GAMMA = 1, BETA = 2, SCALE = 4, SHIFT = 8 };

/* x is a window of its tensor, and channels view .. view + c - 1 of it. */
typedef struct Case {
    int t, h, w, c, view;
    Norm norm;
    int groups;
    Act act;
    int vectors;
} Case;

typedef struct Run {
    const Case *c;
    const float *x, *scale, *shift;
    const BoundWeight *gamma, *beta;
    TestWeight weights[2];
    /* of frames */
    Element type;
    int pixels; /* of all pictures, with borders */
    float *values, *scales;
    bool edges;
} Run;

static int all_channels(const Case *c) { return c->view + c->c + (c->view > 0 ? 4 - c->c % 4 : 0); }

static void fill_run(Run *r, const Case *c)
{
    const int64_t shape[1] = {c->c};
    *r = (Run){.c = c, .x = random_bf16((size_t)(c->t * (c->h + 1) * (c->w + 2) * all_channels(c)), 2.0f),
               .scale = check_random_floats((size_t)c->c, 1.0f), .shift = check_random_floats((size_t)c->c, 1.0f)};
    if (c->vectors & GAMMA) r->gamma = test_weight(&r->weights[0], check_random_floats((size_t)c->c, 1.0f), 1, shape);
    if (c->vectors & BETA) r->beta = test_weight(&r->weights[1], check_random_floats((size_t)c->c, 1.0f), 1, shape);
}

typedef struct Input {
    Tensor all, x, scale, shift, stats;
    Pre pre;
} Input;

static Input input_of(const Run *r, Dev *d)
{
    const Case *c = r->c;
    Input in = {.all = upload(d, r->x, c->t, c->h + 1, c->w + 2, all_channels(c)),
                .scale = upload_floats(d, r->scale, 1, 1, 1, c->c),
                .shift = upload_floats(d, r->shift, 1, 1, 1, c->c)};
    in.x = tensor_channels(tensor_window(in.all, 1, 1, c->h, c->w), c->view, c->c);
    in.pre = (Pre){.norm = c->norm, .groups = c->groups, .eps = 1e-5f, .gamma = r->gamma, .beta = r->beta, .act = c->act};
    if (c->vectors & SCALE) in.pre.scale = in.scale;
    if (c->vectors & SHIFT) in.pre.shift = in.shift;
    if (c->norm == NORM_GROUP) {
        in.stats = dev_floats(d, c->t, 1, 1, 2 * c->groups);
        dev_stats(d, &(StatsArgs){.x = in.x, .stats = in.stats, .groups = c->groups});
        in.pre.stats = in.stats;
    }
    return in;
}

static void input_free(Dev *d, Input *in)
{
    dev_free(d, &in->stats);
    dev_free(d, &in->shift);
    dev_free(d, &in->scale);
    dev_free(d, &in->all);
}

static void norm_work(void *user, Dev *d, float *out)
{
    const Run *r = user;
    const Case *c = r->c;
    Input in = input_of(r, d);
    Tensor y = upload(d, r->x, c->t, c->h + 1, c->w + 2, all_channels(c)); /* what stands around has to stay */
    const Tensor part = tensor_channels(tensor_window(y, 0, 2, c->h, c->w), c->view, c->c);
    dev_norm(d, &(NormArgs){.x = in.x, .y = part, .pre = in.pre});
    fetch(d, y, out);
    dev_free(d, &y);
    input_free(d, &in);
}

static void stats_work(void *user, Dev *d, float *out)
{
    Input in = input_of(user, d);
    fetch(d, in.stats, out);
    input_free(d, &in);
}

static void norm_in_place(void *user, Dev *d, float *out)
{
    Input in = input_of(user, d);
    dev_norm(d, &(NormArgs){.x = in.x, .y = in.x, .pre = in.pre});
    fetch(d, in.all, out);
    input_free(d, &in);
}

/* Pictures of a slot more than there are frames, the last frame first, with a border of one pixel above and on the left, and
 * of two below and on the right. */
enum { TOP = 1, LEFT = 1, BORDERS = 3 };

static void frames_work(void *user, Dev *d, float *out)
{
    Run *r = user;
    const Case *c = r->c;
    Input in = input_of(r, d);
    Tensor frames = dev_typed(d, r->type, c->t + 1, c->h + BORDERS, c->w + BORDERS, c->c);
    Tensor scales = cuda_scales(d, r->type, (int64_t)frames.t * frames.h * frames.w, frames.c_pad);
    const CudaFrames to = cuda_frames_of(d, frames, scales);
    int slot[CUDA_FRAMES];
    for (int t = 0; t < c->t; t++) slot[t] = c->t - t;
    cuda_fill(d, to.data, 0, (uint64_t)(frames.t * frames.stride_t) * (uint64_t)element_bytes(r->type));
    if (scales.valid) cuda_fill(d, to.scale, 0, (uint64_t)scales.stride_t * sizeof(float));
    cuda_pre(d, in.x, &in.pre, &to, slot, TOP, LEFT);
    if (r->edges) cuda_replicate_edges(d, &to, slot, c->t, TOP, LEFT, c->h, c->w);
    if (out != NULL) {
        fetch(d, frames, r->values);
        const float *from = scales.valid ? dev_read(d, scales) : NULL;
        if (from != NULL) memcpy(r->scales, from, (size_t)(r->pixels * to.blocks) * sizeof *from);
        dev_read_end(d, from);
    }
    dev_free(d, &scales);
    dev_free(d, &frames);
    input_free(d, &in);
}

/* The pixel of the CPU's result that pixel (y, x) of a padded picture holds; NULL: zeros. */
static const float *source_pixel(const Run *r, const float *norm, int t, int y, int x)
{
    const Case *c = r->c;
    int v = y - TOP, u = x - LEFT;
    if (r->edges) {
        v = v < 0 ? 0 : v >= c->h ? c->h - 1 : v;
        u = u < 0 ? 0 : u >= c->w ? c->w - 1 : u;
    }
    if (t < 0 || v < 0 || v >= c->h || u < 0 || u >= c->w) return NULL;
    return norm + (((int64_t)t * (c->h + 1) + v) * (c->w + 2) + u + 2) * all_channels(c) + c->view;
}

/* precision: of the input, whose values are the same in either. */
static void check_frames(Run *r, const float *norm, DevPrecision precision, Element type, bool edges)
{
    static const char *const names[] = {"frames of fp32", "frames of bf16", "frames of int8"};
    const Case *c = r->c;
    const int h = c->h + BORDERS, w = c->w + BORDERS, blocks = int8_blocks(element_pad(ELEMENT_I8, c->c));
    r->type = type;
    r->edges = edges;
    r->pixels = (c->t + 1) * h * w;
    r->values = check_floats((size_t)(r->pixels * c->c));
    r->scales = check_floats((size_t)(r->pixels * blocks));
    float *want = check_floats((size_t)c->c), *want_scales = check_floats((size_t)blocks);
    int8_t *q = check_bytes((size_t)c->c);
    check_poison(r->values, (size_t)(r->pixels * c->c));
    run_cuda(frames_work, r, precision, names[type], want);
    for (int p = 0; p < r->pixels; p++) {
        const float *from = source_pixel(r, norm, c->t - p / (h * w), p / w % h, p % w);
        if (p < h * w) from = NULL; /* slot 0 */
        memset(want, 0, (size_t)c->c * sizeof *want);
        memset(want_scales, 0, (size_t)blocks * sizeof *want_scales);
        for (int i = 0; from != NULL && i < c->c; i++) want[i] = type == ELEMENT_BF16 ? rounded(from[i]) : from[i];
        if (type == ELEMENT_I8 && from != NULL) {
            int8_quantize(from, c->c, q, want_scales);
            for (int i = 0; i < c->c; i++) want[i] = q[i];
        }
        for (int i = 0; i < c->c; i++) {
            const float got = r->values[(int64_t)p * c->c + i];
            check_true(got == want[i], "%s: pixel %d, channel %d is %.9g, not %.9g", names[type], p, i, (double)got,
                       (double)want[i]);
        }
        if (type != ELEMENT_I8) continue;
        check_equal(names[type], want_scales, r->scales + (int64_t)p * blocks, (size_t)blocks * sizeof(float));
    }
}

static void norm(const Case *c)
{
    static const char *const names[] = {"none", "group", "rms", "layer", "l2"};
    if (!check_begin("pre_%dx%dx%dx%d_view%d_%s_act%d_vectors%d", c->t, c->h, c->w, c->c, c->view, names[c->norm], (int)c->act,
                     c->vectors)) return;
    Run r;
    fill_run(&r, c);
    const size_t count = (size_t)(c->t * (c->h + 1) * (c->w + 2) * all_channels(c));
    if (c->norm == NORM_GROUP) compare(stats_work, &r, (size_t)(c->t * 2 * c->groups), true);
    compare(norm_work, &r, count, false);
    compare(norm_in_place, &r, count, false);
    float *want = check_floats(count);
    run_cpu(norm_work, &r, want);
    for (Element type = ELEMENT_F32; type <= ELEMENT_I8; type++) check_frames(&r, want, DEV_FP32, type, c->h % 2 == 0);
    check_frames(&r, want, DEV_BF16, ELEMENT_I8, c->h % 2 != 0);
    check_end();
}

/* --------------------------------------------------------------------------------------------------------- elementwise */

typedef struct Plain {
    int t, h, w, c;
    const float *x, *z;
    bool has_z, mixed; /* mixed: x, z and y are kept in different types */
    float a, b;
    const int32_t *index;
    int layer, part, row;
    const BoundWeight *weight;
} Plain;

static void axpby_work(void *user, Dev *d, float *out)
{
    const Plain *p = user;
    Tensor x = upload(d, p->x, p->t, p->h, p->w, p->c), z = {0};
    if (p->has_z) z = p->mixed ? upload_floats(d, p->z, p->t, p->h, p->w, p->c) : upload(d, p->z, p->t, p->h, p->w, p->c);
    Tensor y = p->mixed ? dev_floats(d, p->t, p->h, p->w, p->c) : dev_tensor(d, p->t, p->h, p->w, p->c);
    dev_axpby(d, y, p->a, x, p->b, z);
    fetch(d, y, out);
    dev_free(d, &y);
    dev_free(d, &z);
    dev_free(d, &x);
}

static void axpby(int t, int h, int w, int c, bool has_z, bool mixed)
{
    if (!check_begin("axpby_%dx%dx%dx%d%s%s", t, h, w, c, has_z ? "_z" : "", mixed ? "_mixed" : "")) return;
    const size_t count = (size_t)(t * h * w * c);
    Plain p = {.t = t, .h = h, .w = w, .c = c, .x = random_bf16(count, 1.0f), .z = random_bf16(count, 1.0f), .has_z = has_z,
               .mixed = mixed, .a = 1.7f, .b = -0.3f};
    compare(axpby_work, &p, count, mixed);
    check_end();
}

static void rows_work(void *user, Dev *d, float *out)
{
    const Plain *p = user;
    Tensor all = upload(d, p->x, p->t, p->h, p->w + 3, p->c), y = dev_tensor(d, p->h, p->t, p->w, p->c);
    dev_rows(d, y, tensor_window(all, 0, 2, p->h, p->w), p->index);
    fetch(d, y, out);
    dev_free(d, &y);
    dev_free(d, &all);
}

static void rows(int t, int h, int w, int c)
{
    if (!check_begin("rows_%dx%dx%dx%d", t, h, w, c)) return;
    int32_t *index = check_bytes((size_t)(t * h * w) * sizeof *index);
    for (int i = 0; i < t * h * w; i++) index[i] = (int32_t)(check_random() % (uint32_t)(t * h * w));
    Plain p = {.t = t, .h = h, .w = w, .c = c, .x = random_bf16((size_t)(t * h * (w + 3) * c), 1.0f), .index = index};
    compare(rows_work, &p, (size_t)(t * h * w * c), false);
    check_end();
}

static void guide_work(void *user, Dev *d, float *out)
{
    const Plain *p = user;
    Tensor v = upload(d, p->x, p->t, p->h, p->w, p->c), n = upload(d, p->z, p->t, p->h, p->w, p->c);
    dev_guide(d, v, n, p->a, p->b);
    fetch(d, v, out);
    dev_free(d, &n);
    dev_free(d, &v);
}

static void guide(int t, int h, int w, int c, float rescale)
{
    if (!check_begin("guide_%dx%dx%dx%d_rescale%g", t, h, w, c, (double)rescale)) return;
    const size_t count = (size_t)(t * h * w * c);
    Plain p = {.t = t, .h = h, .w = w, .c = c, .x = random_bf16(count, 1.0f), .z = random_bf16(count, 1.0f), .a = 4.5f,
               .b = rescale};
    compare(guide_work, &p, count, false);
    check_end();
}

static void modulation_work(void *user, Dev *d, float *out)
{
    const Plain *p = user;
    Tensor emb = upload_floats(d, p->x, 1, 1, 1, 6 * p->c), y = dev_floats(d, 2, 1, 1, p->c);
    dev_modulation(d, tensor_frames(y, 0, 1), emb, p->layer, p->part, p->weight);
    dev_modulation_row(d, tensor_frames(y, 1, 1), p->a, p->has_z ? emb : (Tensor){0}, 3, p->weight, 0);
    fetch(d, y, out);
    dev_free(d, &y);
    dev_free(d, &emb);
}

static void modulation(int c, bool emb, bool weight, int layer, int part)
{
    if (!check_begin("modulation_%d%s%s_%d_%d", c, emb ? "_emb" : "", weight ? "_weight" : "", layer, part)) return;
    TestWeight w;
    const int64_t shape[1] = {c};
    Plain p = {.c = c, .x = check_random_floats((size_t)(6 * c), 1.0f), .has_z = emb, .a = 1.0f, .layer = layer, .part = part};
    if (weight) p.weight = test_weight(&w, check_random_floats((size_t)c, 1.0f), 1, shape);
    compare(modulation_work, &p, (size_t)(2 * c), true);
    check_end();
}

/* -------------------------------------------------------------------------------------------------------------- planes */

/* Planes x [c][h][w] to pixels or cells and back, there weighted; h and w of the pixels. */
typedef struct Picture {
    int h, w, c, side, step, first;
    int weights; /* 0: none; 1: rows by columns; 2: with a total */
    const float *x, *before, *rows, *columns, *total;
} Picture;

static void pixels_work(void *user, Dev *d, float *out)
{
    const Picture *p = user;
    const int depth = p->c * p->step * p->side * p->side;
    Tensor planes = upload_floats(d, p->x, p->c, p->h * p->side, 1, p->w * p->side);
    Tensor y = upload(d, p->before, 1, p->h, p->w, depth);
    dev_from_planes(d, y, planes, &(PlaneCells){p->side, p->step, p->first});
    fetch(d, y, out);
    dev_free(d, &y);
    dev_free(d, &planes);
}

/* Planes are a row and three columns larger than the pixels. */
static void planes_work(void *user, Dev *d, float *out)
{
    const Picture *p = user;
    Tensor pixels = upload(d, p->x, 1, p->h, p->w, p->c), planes = dev_floats(d, p->c, p->h + 1, 1, p->w + 3);
    Tensor total = upload_floats(d, p->total, 1, p->h + 2, 1, p->w + 1);
    PlaneWeights w = {upload_floats(d, p->rows, 1, 1, 1, p->h), upload_floats(d, p->columns, 1, 1, 1, p->w), {0}};
    if (p->weights == 2) {
        w.total = total;
        w.total.at += (uint64_t)(total.stride_h + 1) * sizeof(float);
    }
    dev_to_planes(d, planes, pixels, p->weights > 0 ? &w : NULL);
    fetch(d, planes, out);
    dev_free(d, &w.columns);
    dev_free(d, &w.rows);
    dev_free(d, &total);
    dev_free(d, &planes);
    dev_free(d, &pixels);
}

static void from_planes(int h, int w, int c, int side, int step, int first)
{
    if (!check_begin("from_planes_%dx%dx%d_side%d_%d_of_%d", h, w, c, side, first, step)) return;
    Picture p = {.h = h, .w = w, .c = c, .side = side, .step = step, .first = first,
                 .x = check_random_floats((size_t)(c * h * w * side * side), 1.0f),
                 .before = random_bf16((size_t)(h * w * c * step * side * side), 1.0f)};
    compare(pixels_work, &p, (size_t)(h * w * c * step * side * side), false);
    check_end();
}

static void to_planes(int h, int w, int c, int weights)
{
    if (!check_begin("to_planes_%dx%dx%d_weights%d", h, w, c, weights)) return;
    Picture p = {.h = h, .w = w, .c = c, .weights = weights, .x = random_bf16((size_t)(c * h * w), 1.0f),
                 .rows = check_random_floats((size_t)h, 1.0f), .columns = check_random_floats((size_t)w, 1.0f),
                 .total = check_random_floats((size_t)((h + 2) * (w + 1)), 1.0f)};
    compare(planes_work, &p, (size_t)(c * (h + 1) * (w + 3)), true);
    check_end();
}

/* Norms that take every way through the kernels: whole and broken groups of 8 channels, views that begin at 4, rows that end
 * within a block, blocks of 128 channels that are not full. */
void test_cuda_norm(void)
{
    static const Case cases[] = {
        {1, 3, 5, 3, 0, NORM_NONE, 0, ACT_NONE, 0},
        {2, 4, 7, 64, 0, NORM_NONE, 0, ACT_RELU, SCALE},
        {1, 1, 40, 200, 4, NORM_NONE, 0, ACT_TANH3, SHIFT},
        {1, 2, 6, 37, 0, NORM_NONE, 0, ACT_GELU_TANH, SCALE | SHIFT},
        {2, 9, 17, 96, 0, NORM_GROUP, 32, ACT_SILU, GAMMA | BETA},
        {1, 10, 33, 128, 0, NORM_GROUP, 32, ACT_SILU, 0},
        {2, 3, 70, 256, 0, NORM_GROUP, 32, ACT_SILU, GAMMA | BETA},
        {1, 8, 16, 12, 4, NORM_GROUP, 3, ACT_NONE, GAMMA | BETA},
        {1, 5, 5, 272, 0, NORM_GROUP, 2, ACT_SILU, BETA},
        {1, 7, 13, 33, 0, NORM_GROUP, 11, ACT_NONE, 0},
        {1, 89, 177, 2, 0, NORM_GROUP, 1, ACT_NONE, 0}, /* more patches than threads that merge them */
        {1, 2, 37, 320, 0, NORM_LAYER, 0, ACT_NONE, SCALE | SHIFT},
        {1, 1, 9, 5, 0, NORM_LAYER, 0, ACT_NONE, GAMMA | BETA | SCALE | SHIFT},
        {3, 2, 3, 130, 4, NORM_LAYER, 0, ACT_NONE, GAMMA | BETA | SHIFT},
        {1, 4, 18, 64, 0, NORM_RMS, 0, ACT_NONE, GAMMA | SCALE},
        {1, 2, 2, 23, 0, NORM_RMS, 0, ACT_NONE, GAMMA},
        {2, 3, 20, 384, 0, NORM_L2, 0, ACT_SILU, GAMMA},
        {1, 1, 2, 2560, 0, NORM_RMS, 0, ACT_NONE, GAMMA | SCALE | SHIFT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) norm(&cases[i]);
    axpby(2, 3, 5, 3, false, false);
    axpby(1, 2, 70, 36, true, false);
    axpby(1, 1, 9, 30, true, true);
    rows(2, 3, 5, 37);
    rows(1, 1, 40, 64);
    guide(1, 3, 50, 16, 0.0f);
    guide(2, 2, 3, 5, 0.7f);
    from_planes(3, 300, 3, 1, 1, 0);
    from_planes(2, 5, 16, 1, 1, 0);
    from_planes(2, 5, 3, 8, 4, 2);
    from_planes(1, 2, 3, 16, 1, 0);
    to_planes(2, 290, 3, 0);
    to_planes(3, 7, 16, 1);
    to_planes(5, 6, 9, 2);
    for (int i = 0; i < 4; i++) modulation(i % 2 == 0 ? 130 : 64, i < 2, i % 2 == 0, i / 2, i % 3);
}
