/*
 * Folded upsamplers on the GPU beyond what tests/kernels/upsample.c asks of every device: weights formed in several turns,
 * and the bias in front of the convolution, which 8 bits must not blur: of an input of zeros nothing else is left.
 */
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

enum { FRAMES = 2, HEIGHT = 3, WIDTH = 4 };

typedef struct Fold {
    int c, rt;
    const float *x;
    TestWeight up, up_bias, conv, conv_bias;
    bool biased;
    float *out;
} Fold;

static int fine_frames(const Fold *r) { return r->rt * FRAMES - (r->rt - 1); }
static size_t fine_floats(const Fold *r) { return (size_t)(fine_frames(r) * 4 * HEIGHT * WIDTH * r->c); }

/* The start of a video; results in float32 whatever activations are kept in. */
static void work(void *user, Dev *d)
{
    const Fold *r = user;
    FoldedUpsampler *f = dev_fold(d, TEST_STAGE, &r->up.bound, r->biased ? &r->up_bias.bound : NULL, &r->conv.bound,
                                  &r->conv_bias.bound, r->rt);
    Tensor x = upload(d, r->x, FRAMES, HEIGHT, WIDTH, r->c);
    Tensor y = dev_floats(d, fine_frames(r), 2 * HEIGHT, 2 * WIDTH, r->c);
    ConvState *state = dev_fold_state(d, f, x, FRAMES);
    dev_upsample(d, &(UpsampleArgs){.stage = TEST_STAGE, .x = x, .y = y, .weight = f, .state = state, .start = true});
    download(d, y, r->out);
    dev_state_free(d, state);
    dev_free(d, &y);
    dev_free(d, &x);
    dev_fold_free(d, f);
}

static void one(int c, int rt, bool biased, bool zeros)
{
    static const struct {
        const char *name;
        DevPrecision precision;
        double loss, bias_loss; /* bias: kept in two elements */
    } versions[] = {{"fp32", DEV_FP32, 2e-5, 1e-6}, {"bf16", DEV_BF16, 1e-2, 1e-5}, {"int8", DEV_INT8, 3e-2, 4e-5},
                  {"fp8", DEV_FP8, 1e-1, 2e-4},   {"fp8x3", DEV_FP8X3, 1e-2, 2e-4}};
    if (!check_begin("cuda_fold_%d_rt%d%s%s", c, rt, biased ? "" : "_unbiased", zeros ? "_zeros" : "")) return;
    Fold r = {.c = c, .rt = rt, .biased = biased};
    const int64_t up[] = {4LL * rt * c, c, 1, 1, 1}, up_bias[] = {4LL * rt * c}, conv[] = {c, c, 3, 3, 3}, bias[] = {c};
    r.x = zeros ? check_floats((size_t)(FRAMES * HEIGHT * WIDTH * c))
                : check_random_floats((size_t)(FRAMES * HEIGHT * WIDTH * c), 1.0f);
    test_weight(&r.up, check_random_floats((size_t)(4 * rt * c * c), 1.0f / sqrtf((float)c)), 5, up);
    test_weight(&r.up_bias, check_random_floats((size_t)(4 * rt * c), 1.0f), 1, up_bias);
    test_weight(&r.conv, check_random_floats((size_t)(27 * c * c), 1.0f / sqrtf(27.0f * (float)c)), 5, conv);
    test_weight(&r.conv_bias, check_random_floats((size_t)c, 1.0f), 1, bias);
    float *want = check_floats(fine_floats(&r)), *got = check_floats(fine_floats(&r));
    r.out = want;
    test_on_device(&(DevSetup){.threads = 1}, "cpu", work, NULL, &r);
    r.out = got;
    for (size_t i = c > 128 ? 2 : 0; i < sizeof versions / sizeof *versions; i++) { /* wide ones take the emulator long */
        if (versions[i].precision >= DEV_FP8 && test_cuda()->target != CUDA_TARGET_120F) continue;
        check_poison(got, fine_floats(&r));
        test_on_device(&(DevSetup){.cuda = test_cuda(), .few_too = true, .precision = versions[i].precision}, versions[i].name,
                       work, NULL, &r);
        check_close(versions[i].name, want, got, fine_floats(&r), zeros ? versions[i].bias_loss : versions[i].loss);
    }
    check_end();
}

void test_cuda_fold(void)
{
    if (test_cuda() == NULL) return;
    one(144, 2, true, false); /* products of all rows do not fit at once; two blocks of 8 bits, the second short */
    one(64, 2, true, true);
    one(128, 1, true, true);
    one(40, 1, false, false);
}
