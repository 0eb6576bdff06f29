/*
 * dev_conv3d against six nested loops in double: causal time with history over several calls, strides, one-sided and full
 * padding, group norm and SiLU in front, residual, shortcut, sub-pixel shuffle behind, statistics of the result.
 */
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

typedef struct Case {
    int ci, co, h, w, kt, khw, stride_t, stride; /* khw: 1 | 2 | 3; stride in space */
    int pad;                                     /* 0 none, 1 all round, 2 right and bottom */
    bool norm, residual, shortcut, stats, channels_last;
    int shuffle_time;                            /* 0: no shuffle */
    int parts[4];
    const char *why;
} Case;

static const Case cases[] = {
    {3, 32, 9, 11, 3, 3, 1, 1, 1, false, false, false, true, false, 0, {1, 4}, "first layer: channels far from a multiple"},
    {32, 32, 8, 17, 3, 3, 1, 1, 1, true, true, false, true, false, 0, {1, 1, 3}, "slices shorter than the history"},
    {64, 33, 5, 4, 3, 3, 1, 1, 1, true, false, false, false, false, 0, {2, 2}, "odd output channels"},
    {32, 70, 7, 6, 3, 3, 1, 1, 1, true, false, true, false, false, 0, {1, 2}, "shortcut in the accumulator"},
    {32, 32, 7, 10, 3, 3, 2, 2, 2, false, false, false, true, false, 0, {1, 4, 4}, "temporal downsampler"},
    {32, 32, 6, 9, 1, 3, 1, 2, 2, false, false, false, true, false, 0, {2, 1}, "spatial downsampler, odd width"},
    {32, 256, 3, 5, 1, 1, 1, 1, 0, false, false, false, false, false, 2, {1, 2}, "upscale in time and space"},
    {32, 128, 1, 4, 1, 1, 1, 1, 0, false, false, false, true, false, 1, {1, 2}, "upscale in space"},
    {33, 40, 6, 8, 1, 2, 1, 2, 0, false, false, false, false, true, 0, {2}, "patches of a latent, channels last"},
    {32, 3, 1, 1, 3, 3, 1, 1, 1, true, false, false, false, false, 0, {1, 1}, "one pixel: every tap but one is border"},
    {128, 128, 24, 40, 3, 3, 1, 1, 1, true, true, false, true, false, 0, {2, 2}, "a layer of the real decoder, small"},
};

typedef struct Run {
    const Case *c;
    int frames, fine, out_frames, oh, ow, oc;
    const float *x, *residual, *shortcut_x;
    TestWeight w, bias, gamma, beta, sw, sb;
    float *out, *stats, *want, *want_stats;
    bool any;
} Run;

static int out_size(const Case *c, int n) { return c->pad == 1 ? n : c->pad == 2 ? n / 2 : n / c->stride; }

static ConvArgs arguments(const Run *r, Tensor x, Tensor y, bool start)
{
    const Case *c = r->c;
    ConvArgs a = {.stage = TEST_STAGE, .x = x, .y = y, .weight = &r->w.bound, .bias = &r->bias.bound, .weight_channels_last = c->channels_last,
                  .kt = c->kt, .kh = c->khw, .kw = c->khw, .stride_t = c->stride_t, .stride_h = c->stride,
                  .stride_w = c->stride, .start = start};
    a.pad_top = a.pad_left = c->pad == 1;
    a.pad_bottom = a.pad_right = c->pad != 0;
    return a;
}

/* What the convolution says of its result is what a reader of it finds, to the bit. */
static void check_stats(Dev *d, Tensor y, Tensor stats, float *out)
{
    const size_t count = (size_t)y.t * 64;
    float *again = check_floats(count);
    Tensor of_result = dev_floats(d, y.t, 1, 1, 64);
    download(d, stats, out);
    dev_stats(d, &(StatsArgs){.x = y, .stats = of_result, .groups = 32});
    download(d, of_result, again);
    if (!dev_is_plan(d)) check_equal("statistics of the result", again, out, count * sizeof *out);
    dev_free(d, &of_result);
}

static void work(void *user, Dev *d)
{
    Run *r = user;
    const Case *c = r->c;
    ConvState *state = NULL;
    int at = 0, done = 0;
    for (int i = 0; i < 4 && c->parts[i] > 0; i++) {
        const int64_t pixels = (int64_t)c->h * c->w;
        Tensor x = upload(d, r->x + at * pixels * c->ci, c->parts[i], c->h, c->w, c->ci);
        Tensor stats = dev_floats(d, c->parts[i], 1, 1, 64);
        if (c->norm) dev_stats(d, &(StatsArgs){.x = x, .stats = stats, .groups = 32});
        ConvArgs a = arguments(r, x, (Tensor){0}, i == 0);
        int frames = conv_frames_out(&a, c->parts[i]);
        if (c->shuffle_time == 2) frames = 2 * frames - (i == 0);
        Tensor y = dev_tensor(d, frames, r->oh, r->ow, r->oc), out_stats = dev_floats(d, frames, 1, 1, 64);
        poison(d, y);
        a.y = y;
        if (c->norm) {
            a.pre = (Pre){.norm = NORM_GROUP, .groups = 32, .eps = 1e-6f, .stats = stats, .gamma = &r->gamma.bound,
                          .beta = &r->beta.bound, .act = ACT_SILU};
        }
        const int64_t out_pixels = (int64_t)r->oh * r->ow;
        Tensor residual = {0}, shortcut_x = {0};
        if (c->residual) a.post.residual = residual = upload(d, r->residual + done * out_pixels * r->oc, frames, r->oh, r->ow, r->oc);
        if (c->shortcut) {
            a.post.shortcut_x = shortcut_x = upload(d, r->shortcut_x + done * out_pixels * c->ci, frames, r->oh, r->ow, c->ci);
            a.post.shortcut = &r->sw.bound;
            a.post.shortcut_bias = &r->sb.bound;
        }
        if (c->stats) {
            a.post.stats = out_stats;
            a.post.stats_groups = 32;
        }
        if (c->shuffle_time > 0) {
            a.post.shuffle_space = 2;
            a.post.shuffle_time = c->shuffle_time;
            a.post.shuffle_drop = c->shuffle_time == 2 && i == 0;
        }
        if (c->kt > 1 && state == NULL) state = dev_conv_state(d, &a, 4);
        a.state = state;
        dev_conv3d(d, &a);
        download(d, y, r->out + done * out_pixels * r->oc);
        const float *pad = dev_read(d, y);
        for (int64_t p = 0; pad != NULL && p < frames * out_pixels; p++) {
            for (int n = r->oc; n < y.c_pad; n++) check_true(pad[p * y.c_pad + n] == 0.0f, "padding of a pixel is not zero");
        }
        dev_read_end(d, pad);
        if (c->stats) check_stats(d, y, out_stats, r->stats + done * 64);
        dev_free(d, &shortcut_x);
        dev_free(d, &residual);
        dev_free(d, &out_stats);
        dev_free(d, &y);
        dev_free(d, &stats);
        dev_free(d, &x);
        at += c->parts[i];
        done += frames;
    }
    dev_state_free(d, state);
    r->out_frames = done;
}

static void done(void *user, const char *version)
{
    Run *r = user;
    const size_t count = (size_t)r->out_frames * (size_t)(r->oh * r->ow * r->oc);
    /* the group norm's own rounding (about 1e-6) goes through sums of up to 27 * 128 products; a single pixel has variance 0
     * in groups of one channel, and x * (gamma / sqrt(eps)) - mean * (gamma / sqrt(eps)) loses 10 bits more */
    const double tolerance = r->c->norm && r->c->h * r->c->w == 1 ? 1e-4 : 1e-5;
    check_close(version, r->want, r->out, count, tolerance);
    if (r->c->stats) check_close(version, r->want_stats, r->stats, (size_t)r->out_frames * 64, tolerance);
    check_poison(r->out, count);
}

/* x after norm and SiLU, in double. */
static void normalise(const Run *r, double *p)
{
    const Case *c = r->c;
    const int pixels = c->h * c->w, size = c->ci / 32;
    const float *gamma = (const float *)(const void *)r->gamma.tensor.data, *beta = (const float *)(const void *)r->beta.tensor.data;
    for (int t = 0; t < r->frames; t++) {
        for (int i = 0; i < pixels * c->ci; i++) p[(int64_t)t * pixels * c->ci + i] = r->x[(int64_t)t * pixels * c->ci + i];
        for (int g = 0; c->norm && g < 32; g++) {
            double sum = 0, square = 0;
            double *f = p + (int64_t)t * pixels * c->ci;
            for (int i = 0; i < pixels; i++) {
                for (int k = 0; k < size; k++) sum += f[i * c->ci + g * size + k];
            }
            const double mean = sum / (pixels * size);
            for (int i = 0; i < pixels; i++) {
                for (int k = 0; k < size; k++) square += pow(f[i * c->ci + g * size + k] - mean, 2);
            }
            const double root = sqrt(square / (pixels * size) + 1e-6);
            for (int i = 0; i < pixels; i++) {
                for (int k = 0; k < size; k++) {
                    const int ch = g * size + k;
                    const double v = (f[i * c->ci + ch] - mean) / root * (double)gamma[ch] + (double)beta[ch];
                    f[i * c->ci + ch] = v / (1.0 + exp(-v));
                }
            }
        }
    }
}

static void reference(Run *r, double *p)
{
    const Case *c = r->c;
    const float *w = (const float *)(const void *)r->w.tensor.data, *bias = (const float *)(const void *)r->bias.tensor.data;
    const float *sw = (const float *)(const void *)r->sw.tensor.data, *sb = (const float *)(const void *)r->sb.tensor.data;
    normalise(r, p);
    const int coarse = c->kt == 1 ? r->frames : (r->frames - 1) / c->stride_t + 1;
    const int rows = c->shuffle_time ? c->h : r->oh, columns = c->shuffle_time ? c->w : r->ow, first = c->pad == 1;
    const int rt = c->shuffle_time ? c->shuffle_time : 1;
    for (int f = 0; f < coarse; f++) {
        for (int y = 0; y < rows; y++) {
            for (int x = 0; x < columns; x++) {
                for (int o = 0; o < c->co; o++) {
                    double sum = bias[o];
                    for (int dt = 0; dt < c->kt; dt++) {
                        int t = f * c->stride_t + dt - (c->kt - 1);
                        if (t < 0) t = 0;
                        for (int dy = 0; dy < c->khw; dy++) {
                            for (int dx = 0; dx < c->khw; dx++) {
                                const int iy = y * c->stride + dy - first, ix = x * c->stride + dx - first;
                                if (iy < 0 || ix < 0 || iy >= c->h || ix >= c->w) continue;
                                for (int i = 0; i < c->ci; i++) {
                                    const int64_t at = c->channels_last
                                                           ? (((int64_t)o * c->khw + dy) * c->khw + dx) * c->ci + i
                                                           : ((((int64_t)o * c->ci + i) * c->kt + dt) * c->khw + dy) * c->khw + dx;
                                    sum += p[(((int64_t)t * c->h + iy) * c->w + ix) * c->ci + i] * (double)w[at];
                                }
                            }
                        }
                    }
                    int frame = f, oy = y, ox = x, channel = o;
                    if (c->shuffle_time) {
                        const int sub = o / r->oc, dt = sub % rt;
                        channel = o % r->oc;
                        oy = 2 * y + sub / rt / 2;
                        ox = 2 * x + sub / rt % 2;
                        frame = f * rt + dt;
                        if (rt == 2 && frame == 1) continue; /* dropped at the start of a video */
                        if (rt == 2 && frame > 1) frame--;
                    }
                    const int64_t to = (((int64_t)frame * r->oh + oy) * r->ow + ox) * r->oc + channel;
                    if (c->shortcut) {
                        sum += sb[o];
                        for (int i = 0; i < c->ci; i++) {
                            sum += (double)r->shortcut_x[(((int64_t)frame * r->oh + oy) * r->ow + ox) * c->ci + i] * (double)sw[o * c->ci + i];
                        }
                    }
                    if (c->residual) sum += r->residual[to];
                    r->want[to] = (float)sum;
                }
            }
        }
    }
    r->fine = rt == 2 ? 2 * coarse - 1 : coarse;
    for (int f = 0; c->stats && f < r->fine; f++) {
        const int size = r->oc / 32, pixels = r->oh * r->ow;
        for (int g = 0; g < 32; g++) {
            double sum = 0, square = 0;
            const float *v = r->want + (int64_t)f * pixels * r->oc + g * size;
            for (int i = 0; i < pixels * size; i++) sum += v[i / size * r->oc + i % size];
            const double mean = sum / (pixels * size);
            for (int i = 0; i < pixels * size; i++) square += pow(v[i / size * r->oc + i % size] - mean, 2);
            r->want_stats[f * 64 + 2 * g] = (float)mean;
            r->want_stats[f * 64 + 2 * g + 1] = (float)(square / (pixels * size));
        }
    }
}

static void one(const Case *c)
{
    if (!check_begin("conv3d_%dx%d_k%d%d%d_s%d_%dx%d%s%s%s", c->ci, c->co, c->kt, c->khw, c->khw, c->stride, c->h, c->w,
                     c->norm ? "_norm" : "", c->shortcut ? "_shortcut" : "", c->shuffle_time ? "_shuffle" : "")) return;
    Run r = {.c = c};
    for (int i = 0; i < 4; i++) r.frames += c->parts[i];
    r.oh = out_size(c, c->h) * (c->shuffle_time ? 2 : 1);
    r.ow = out_size(c, c->w) * (c->shuffle_time ? 2 : 1);
    r.oc = c->shuffle_time ? c->co / (4 * c->shuffle_time) : c->co;
    const size_t in = (size_t)(r.frames * c->h * c->w * c->ci), most = (size_t)(2 * r.frames * r.oh * r.ow);
    const float gain = 1.0f / sqrtf((float)(c->ci * c->kt * c->khw * c->khw));
    r.x = check_random_floats(in, 1.0f);
    r.residual = check_random_floats(most * (size_t)r.oc, 1.0f);
    r.shortcut_x = check_random_floats(most * (size_t)c->ci, 1.0f);
    const int64_t conv[] = {c->co, c->ci, c->kt, c->khw, c->khw}, last[] = {c->co, c->khw, c->khw, c->ci}, co[] = {c->co},
                  ci[] = {c->ci}, one_by_one[] = {c->co, c->ci, 1, 1, 1};
    test_weight(&r.w, check_random_floats((size_t)(c->co * c->ci * c->kt * c->khw * c->khw), gain), c->channels_last ? 4 : 5,
                c->channels_last ? last : conv);
    test_weight(&r.bias, check_random_floats((size_t)c->co, 1.0f), 1, co);
    test_weight(&r.gamma, check_random_floats((size_t)c->ci, 1.0f), 1, ci);
    test_weight(&r.beta, check_random_floats((size_t)c->ci, 1.0f), 1, ci);
    test_weight(&r.sw, check_random_floats((size_t)(c->co * c->ci), gain), 5, one_by_one);
    test_weight(&r.sb, check_random_floats((size_t)c->co, 1.0f), 1, co);
    r.out = check_floats(most * (size_t)r.oc);
    r.want = check_floats(most * (size_t)r.oc);
    r.stats = check_floats((size_t)(2 * r.frames * 64));
    r.want_stats = check_floats((size_t)(2 * r.frames * 64));
    reference(&r, check_bytes(in * sizeof(double)));
    each_device(work, done, &r);
    check_end();
}

void test_conv3d(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) one(&cases[i]);
}
