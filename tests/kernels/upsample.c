/* Folded upsamplers against the three steps they fold, over a video fed in several calls. */
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>

typedef struct Run {
    int c, h, w, rt, frames, out_frames;
    int parts[4];
    const float *x;
    TestWeight up, up_bias, conv, conv_bias;
    float *steps, *folded, *stats_steps, *stats_folded;
} Run;

static int fine_frames(const Run *r, int frames, bool start) { return r->rt * frames - (start ? r->rt - 1 : 0); }

static void work(void *user, Dev *d)
{
    Run *r = user;
    FoldedUpsampler *f = dev_fold(d, TEST_STAGE, &r->up.bound, &r->up_bias.bound, &r->conv.bound, &r->conv_bias.bound, r->rt);
    ConvState *state = NULL, *fold_state = NULL;
    int at = 0, done = 0;
    for (int i = 0; i < 4 && r->parts[i] > 0; i++) {
        const bool start = i == 0;
        const int t = fine_frames(r, r->parts[i], start);
        const int64_t fine_floats = 4LL * r->h * r->w * r->c;
        Tensor x = upload(d, r->x + (int64_t)at * r->h * r->w * r->c, r->parts[i], r->h, r->w, r->c);
        Tensor fine = dev_tensor(d, t, 2 * r->h, 2 * r->w, r->c), y = dev_tensor(d, t, 2 * r->h, 2 * r->w, r->c);
        Tensor stats = dev_floats(d, t, 1, 1, 64);
        ConvArgs a = {.stage = TEST_STAGE, .x = x, .y = fine, .weight = &r->up.bound, .bias = &r->up_bias.bound, .kt = 1, .kh = 1, .kw = 1,
                      .stride_t = 1, .stride_h = 1, .stride_w = 1, .start = start};
        a.post.shuffle_space = 2;
        a.post.shuffle_time = r->rt;
        a.post.shuffle_drop = start && r->rt == 2;
        dev_conv3d(d, &a);
        a = (ConvArgs){.stage = TEST_STAGE, .x = fine, .y = y, .weight = &r->conv.bound, .bias = &r->conv_bias.bound, .kt = 3, .kh = 3, .kw = 3,
                       .stride_t = 1, .stride_h = 1, .stride_w = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1,
                       .pad_right = 1, .start = start, .post.stats = stats, .post.stats_groups = 32};
        if (state == NULL) state = dev_conv_state(d, &a, 6);
        a.state = state;
        dev_conv3d(d, &a);
        download(d, y, r->steps + done * fine_floats);
        download(d, stats, r->stats_steps + done * 64);
        if (fold_state == NULL) fold_state = dev_fold_state(d, f, x, 3);
        poison(d, y);
        dev_upsample(d, &(UpsampleArgs){.stage = TEST_STAGE, .x = x, .y = y, .weight = f, .state = fold_state, .start = start, .post.stats = stats,
                                        .post.stats_groups = 32});
        download(d, y, r->folded + done * fine_floats);
        download(d, stats, r->stats_folded + done * 64);
        dev_free(d, &stats);
        dev_free(d, &y);
        dev_free(d, &fine);
        dev_free(d, &x);
        at += r->parts[i];
        done += t;
    }
    dev_state_free(d, fold_state);
    dev_state_free(d, state);
    dev_fold_free(d, f);
    r->out_frames = done;
}

static void done(void *user, const char *version)
{
    Run *r = user;
    /* weights formed in float32: sums of C products on either way */
    check_close(version, r->steps, r->folded, (size_t)(r->out_frames * 4 * r->h * r->w * r->c), 2e-6 * sqrt(r->c));
    check_close(version, r->stats_steps, r->stats_folded, (size_t)(r->out_frames * 64), 2e-6 * sqrt(r->c));
}

static void one(int c, int h, int w, int rt, int a, int b, int e)
{
    if (!check_begin("upsample_folded_%d_rt%d_%dx%d_%d%d%d", c, rt, h, w, a, b, e)) return;
    Run r = {.c = c, .h = h, .w = w, .rt = rt, .parts = {a, b, e, 0}};
    r.frames = a + b + e;
    r.x = check_random_floats((size_t)(r.frames * h * w * c), 1.0f);
    const int64_t up[] = {4LL * rt * c, c, 1, 1, 1}, up_bias[] = {4LL * rt * c}, conv[] = {c, c, 3, 3, 3}, bias[] = {c};
    test_weight(&r.up, check_random_floats((size_t)(4 * rt * c * c), 1.0f / sqrtf((float)c)), 5, up);
    test_weight(&r.up_bias, check_random_floats((size_t)(4 * rt * c), 1.0f), 1, up_bias);
    test_weight(&r.conv, check_random_floats((size_t)(27 * c * c), 1.0f / sqrtf(27.0f * (float)c)), 5, conv);
    test_weight(&r.conv_bias, check_random_floats((size_t)c, 1.0f), 1, bias);
    const size_t out = (size_t)(rt * r.frames * 4 * h * w * c);
    r.steps = check_floats(out);
    r.folded = check_floats(out);
    r.stats_steps = check_floats((size_t)(rt * r.frames * 64));
    r.stats_folded = check_floats((size_t)(rt * r.frames * 64));
    each_device(work, done, &r);
    check_end();
}

void test_upsample(void)
{
    one(32, 3, 5, 2, 1, 1, 2); /* start, second, then the general weights */
    one(32, 1, 1, 2, 3, 1, 1); /* one pixel: all neighbours outside; start and second in one call */
    one(96, 4, 3, 2, 1, 2, 1);
    one(64, 5, 4, 1, 1, 2, 1);
    one(32, 1, 6, 1, 3, 1, 0);
}
