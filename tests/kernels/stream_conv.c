/*
 * What the streaming networks ask of convolutions beyond conv3d.c's cases, against loops in double: zeros in front of a
 * video, four taps in time, clips taken whole, weights with frames among the channels, edges repeated, norms per pixel and
 * further activations; and nearest upsamplers against the steps they fold.
 */
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>

typedef struct Case {
    const char *name;
    int ci, co, h, w, kt, k, stride_t;
    bool zero, whole, edge, frames_in_channels;
    Norm norm;
    Act before, after;
    int parts[4];
} Case;

static const Case cases[] = {
    {"zero", 20, 32, 6, 9, 3, 3, 1, true, false, false, false, NORM_NONE, ACT_RELU, ACT_NONE, {1, 1, 3}},
    {"zero_stride", 32, 32, 5, 4, 3, 1, 2, true, false, false, false, NORM_L2, ACT_SILU, ACT_NONE, {3, 2, 2}},
    {"four", 33, 24, 5, 7, 4, 3, 2, false, true, true, false, NORM_NONE, ACT_NONE, ACT_NONE, {9}},
    {"whole_edge", 48, 40, 4, 3, 4, 3, 1, false, true, true, false, NORM_LAYER, ACT_SILU, ACT_NONE, {5}},
    {"memory", 16, 48, 7, 5, 2, 3, 1, true, false, false, true, NORM_NONE, ACT_NONE, ACT_RELU, {1, 2, 1}},
    {"input", 3, 32, 9, 8, 1, 3, 1, false, false, false, false, NORM_NONE, ACT_TANH3, ACT_RELU, {2}},
};

typedef struct Run {
    const Case *c;
    const float *x;
    TestWeight w, bias, gamma, beta;
    float *out, *want;
    int frames, frames_out;
} Run;

static void work(void *user, Dev *d)
{
    Run *r = user;
    const Case *c = r->c;
    ConvState *state = NULL;
    const int64_t pixels = (int64_t)c->h * c->w;
    int at = 0, done = 0;
    for (int i = 0; i < 4 && c->parts[i] > 0; i++) {
        Tensor x = upload(d, r->x + at * pixels * c->ci, c->parts[i], c->h, c->w, c->ci);
        ConvArgs a = {.stage = TEST_STAGE, .x = x, .weight = &r->w.bound, .weight_frames_in_channels = c->frames_in_channels,
                      .bias = &r->bias.bound, .kt = c->kt, .kh = c->k, .kw = c->k, .stride_t = c->stride_t, .stride_h = 1,
                      .stride_w = 1, .pad_edge = c->edge, .whole = c->whole, .start = i == 0, .start_zero = c->zero};
        a.pad_top = a.pad_left = a.pad_bottom = a.pad_right = c->k / 2;
        a.pre = (Pre){.norm = c->norm, .eps = 1e-6f, .act = c->before};
        if (c->norm != NORM_NONE) a.pre.gamma = &r->gamma.bound;
        if (c->norm == NORM_LAYER) a.pre.beta = &r->beta.bound;
        a.post.act = c->after;
        const int frames = conv_frames_out(&a, c->parts[i]);
        Tensor y = dev_tensor(d, frames, c->h, c->w, c->co);
        poison(d, y);
        a.y = y;
        if (c->kt > 1 && !c->whole) {
            if (state == NULL) state = dev_conv_state(d, &a, 3);
            a.state = state;
        }
        dev_conv3d(d, &a);
        download(d, y, r->out + done * pixels * c->co);
        dev_free(d, &y);
        dev_free(d, &x);
        at += c->parts[i];
        done += frames;
    }
    dev_state_free(d, state);
    r->frames_out = done;
}

static void done(void *user, const char *version)
{
    Run *r = user;
    const Case *c = r->c;
    const int front = c->whole ? 0 : c->kt - 1;
    check_true(r->frames_out == (r->frames + front - c->kt) / c->stride_t + 1, "%s: %d frames", version, r->frames_out);
    const size_t floats = (size_t)(r->frames_out * c->h * c->w * c->co);
    check_close(version, r->want, r->out, floats, 2e-6);
    check_poison(r->out, floats);
}

static double activate(Act act, double x)
{
    switch (act) {
    case ACT_SILU: return x / (1.0 + exp(-x));
    case ACT_RELU: return x > 0.0 ? x : 0.0;
    case ACT_TANH3: return 3.0 * tanh(x / 3.0);
    default: return x;
    }
}

/* Channel i of a pixel of the input after norm and activation. */
static double input(const Run *r, const float *pixel, int i)
{
    const Case *c = r->c;
    const float *gamma = (const float *)(const void *)r->gamma.tensor.data, *beta = (const float *)(const void *)r->beta.tensor.data;
    double v = pixel[i], mean = 0.0, square = 0.0, moment = 0.0;
    for (int n = 0; n < c->ci; n++) {
        mean += (double)pixel[n] / c->ci;
        square += (double)pixel[n] * (double)pixel[n];
    }
    for (int n = 0; n < c->ci; n++) moment += ((double)pixel[n] - mean) * ((double)pixel[n] - mean) / c->ci;
    if (c->norm == NORM_L2) v = v / sqrt(square) * sqrt(c->ci) * (double)gamma[i];
    if (c->norm == NORM_LAYER) v = (v - mean) / sqrt(moment + 1e-6) * (double)gamma[i] + (double)beta[i];
    return activate(c->before, v);
}

static int inside(int v, int size) { return v < 0 ? 0 : v >= size ? size - 1 : v; }

static void reference(Run *r, double *p)
{
    const Case *c = r->c;
    const float *w = (const float *)(const void *)r->w.tensor.data, *bias = (const float *)(const void *)r->bias.tensor.data;
    const int64_t pixels = (int64_t)c->h * c->w;
    const int front = c->whole ? 0 : c->kt - 1, frames = (r->frames + front - c->kt) / c->stride_t + 1;
    for (int64_t i = 0; i < r->frames * pixels * c->ci; i++) p[i] = input(r, r->x + i / c->ci * c->ci, (int)(i % c->ci));
    for (int64_t n = 0; n < frames * pixels * c->co; n++) {
        const int o = (int)(n % c->co), x = (int)(n / c->co % c->w), y = (int)(n / c->co / c->w % c->h);
        const int f = (int)(n / c->co / pixels);
        double sum = bias[o];
        for (int tap = 0; tap < c->kt * c->k * c->k; tap++) {
            const int dt = tap / (c->k * c->k), dy = tap / c->k % c->k, dx = tap % c->k;
            int t = f * c->stride_t + dt - front, iy = y + dy - c->k / 2, ix = x + dx - c->k / 2;
            if (t < 0 && c->zero) continue;
            t = inside(t, r->frames);
            if (!c->edge && (iy != inside(iy, c->h) || ix != inside(ix, c->w))) continue;
            iy = inside(iy, c->h);
            ix = inside(ix, c->w);
            for (int i = 0; i < c->ci; i++) {
                const int channel = c->frames_in_channels ? (c->kt - 1 - dt) * c->ci + i : i;
                const int64_t at = c->frames_in_channels
                                       ? (((int64_t)o * c->kt * c->ci + channel) * c->k + dy) * c->k + dx
                                       : ((((int64_t)o * c->ci + channel) * c->kt + dt) * c->k + dy) * c->k + dx;
                sum += p[((t * (int64_t)c->h + iy) * c->w + ix) * c->ci + i] * (double)w[at];
            }
        }
        r->want[n] = (float)activate(c->after, sum);
    }
}

static void one(const Case *c)
{
    if (!check_begin("stream_conv_%s_%dx%d_k%d%d%d_%dx%d", c->name, c->ci, c->co, c->kt, c->k, c->k, c->h, c->w)) return;
    Run r = {.c = c};
    for (int i = 0; i < 4; i++) r.frames += c->parts[i];
    const size_t pixels = (size_t)(c->h * c->w), taps = (size_t)(c->kt * c->k * c->k);
    const int64_t full[] = {c->co, c->ci, c->kt, c->k, c->k}, folded[] = {c->co, c->kt * c->ci, c->k, c->k}, co[] = {c->co},
                  ci[] = {c->ci};
    r.x = check_random_floats((size_t)r.frames * pixels * (size_t)c->ci, 2.0f);
    test_weight(&r.w, check_random_floats((size_t)(c->co * c->ci) * taps, 1.0f / sqrtf((float)c->ci * (float)taps)),
                c->frames_in_channels ? 4 : 5, c->frames_in_channels ? folded : full);
    test_weight(&r.bias, check_random_floats((size_t)c->co, 1.0f), 1, co);
    test_weight(&r.gamma, check_random_floats((size_t)c->ci, 1.0f), 1, ci);
    test_weight(&r.beta, check_random_floats((size_t)c->ci, 1.0f), 1, ci);
    r.out = check_floats((size_t)r.frames * pixels * (size_t)c->co);
    r.want = check_floats((size_t)r.frames * pixels * (size_t)c->co);
    reference(&r, check_bytes((size_t)r.frames * pixels * (size_t)c->ci * sizeof(double)));
    each_device(work, done, &r);
    check_end();
}

/* ------------------------------------------------------------------------------------------------- nearest upsamplers */

typedef struct Nearest {
    int c, co, h, w, frames, grow; /* grow: new frames a frame gives, 0: no 1x1 convolution */
    bool relu;
    const float *x;
    TestWeight grow_w, w3, bias;
    float *out, *want;
} Nearest;

static void nearest_work(void *user, Dev *d)
{
    Nearest *r = user;
    const int many = r->grow > 0 ? r->grow : 1;
    FoldedUpsampler *f = dev_fold_nearest(d, TEST_STAGE, r->grow > 0 ? &r->grow_w.bound : NULL, many, &r->w3.bound, &r->bias.bound);
    Tensor x = upload(d, r->x, r->frames, r->h, r->w, r->c), y = dev_tensor(d, many * r->frames, 2 * r->h, 2 * r->w, r->co);
    poison(d, y);
    UpsampleArgs a = {.stage = TEST_STAGE, .x = x, .y = y, .weight = f};
    a.post.act = r->relu ? ACT_RELU : ACT_NONE;
    dev_upsample(d, &a);
    download(d, y, r->out);
    dev_free(d, &y);
    dev_free(d, &x);
    dev_fold_free(d, f);
}

static size_t nearest_floats(const Nearest *r)
{
    return (size_t)((r->grow > 0 ? r->grow : 1) * r->frames * 4 * r->h * r->w * r->co);
}

static void nearest_done(void *user, const char *version)
{
    Nearest *r = user;
    check_close(version, r->want, r->out, nearest_floats(r), 2e-6); /* folded weights are rounded to float32 once more */
    check_poison(r->out, nearest_floats(r));
}

static void nearest_reference(Nearest *r, double *grown)
{
    const float *g = (const float *)(const void *)r->grow_w.tensor.data, *w3 = (const float *)(const void *)r->w3.tensor.data;
    const float *bias = (const float *)(const void *)r->bias.tensor.data;
    const int many = r->grow > 0 ? r->grow : 1;
    const int64_t pixels = (int64_t)r->h * r->w;
    for (int64_t n = 0; n < many * r->frames * pixels * r->c; n++) { /* [frame][new][h][w][c] */
        const int ch = (int)(n % r->c), step = (int)(n / r->c / pixels % many);
        const int64_t pixel = n / r->c % pixels, frame = n / r->c / pixels / many;
        const float *x = r->x + (frame * pixels + pixel) * r->c;
        grown[n] = x[ch];
        if (r->grow == 0) continue;
        grown[n] = 0.0;
        for (int i = 0; i < r->c; i++) grown[n] += (double)x[i] * (double)g[(step * r->c + ch) * r->c + i];
    }
    for (size_t n = 0; n < nearest_floats(r); n++) {
        const int o = (int)(n % (size_t)r->co), x = (int)(n / (size_t)r->co % (size_t)(2 * r->w));
        const int y = (int)(n / (size_t)(r->co * 2 * r->w) % (size_t)(2 * r->h));
        const int64_t f = (int64_t)(n / (size_t)(r->co * 4 * r->h * r->w));
        double sum = bias[o];
        for (int tap = 0; tap < 9; tap++) {
            const int iy = y + tap / 3 - 1, ix = x + tap % 3 - 1;
            if (iy < 0 || ix < 0 || iy >= 2 * r->h || ix >= 2 * r->w) continue;
            for (int i = 0; i < r->c; i++) {
                sum += grown[((f * r->h + iy / 2) * r->w + ix / 2) * r->c + i] * (double)w3[(o * r->c + i) * 9 + tap];
            }
        }
        r->want[n] = (float)(r->relu && sum < 0.0 ? 0.0 : sum);
    }
}

static void nearest(int c, int co, int h, int w, int frames, int grow, bool relu)
{
    if (!check_begin("upsample_nearest_%dx%d_grow%d_%dx%dx%d", c, co, grow, frames, h, w)) return;
    Nearest r = {.c = c, .co = co, .h = h, .w = w, .frames = frames, .grow = grow, .relu = relu};
    const int many = grow > 0 ? grow : 1;
    const int64_t one_by_one[] = {many * c, c, 1, 1}, three[] = {co, c, 3, 3}, bias[] = {co};
    r.x = check_random_floats((size_t)(frames * h * w * c), 1.0f);
    test_weight(&r.grow_w, check_random_floats((size_t)(many * c * c), 1.0f / sqrtf((float)c)), 4, one_by_one);
    test_weight(&r.w3, check_random_floats((size_t)(9 * co * c), 1.0f / sqrtf(9.0f * (float)c)), 4, three);
    test_weight(&r.bias, check_random_floats((size_t)co, 1.0f), 1, bias);
    r.out = check_floats(nearest_floats(&r));
    r.want = check_floats(nearest_floats(&r));
    nearest_reference(&r, check_bytes((size_t)(many * frames * h * w * c) * sizeof(double)));
    each_device(nearest_work, nearest_done, &r);
    check_end();
}

void test_stream_conv(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) one(&cases[i]);
    nearest(32, 16, 3, 5, 2, 0, false);
    nearest(24, 33, 4, 3, 3, 2, true);
    nearest(64, 32, 1, 1, 1, 1, false); /* one pixel: all neighbours outside or itself */
}
