/*
 * What one layer of a network loses in each precision, against the CPU's float32: a residual block's convolution and linear layers
 * wide enough for 8 bits. A loss that grows shows here before it shows in pictures.
 */
#include "runtime/cuda/policy.h"
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>

/* What a layer's result may be off by, and the decibels it has to keep: those of 8-bit operands in blocks of 128 channels, of 3
 * bits of mantissa on both sides, of bf16 read and written. */
static const struct {
    const char *name;
    DevPrecision precision;
    double loss, snr;
} versions[] = {{"bf16", DEV_BF16, 1e-2, 45.0}, {"int8", DEV_INT8, 3e-2, 37.0}, {"fp8", DEV_FP8, 1e-1, 28.0},
                {"fp8x3", DEV_FP8X3, 1e-2, 45.0}};

static double snr(const float *want, const float *got, size_t count)
{
    double signal = 0, noise = 1e-30;
    for (size_t i = 0; i < count; i++) {
        signal += (double)want[i] * (double)want[i];
        noise += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
    }
    return 10.0 * log10(signal / noise);
}

/* A residual block's convolution with its shortcut, edges repeated, and linear layers with and without a gated unit. */
typedef struct Layers {
    int ci, co, frames, h, w;
    const float *x;
    TestWeight gamma, beta, conv, bias, shortcut, linear, glu;
    float *out;
} Layers;

static size_t out_floats(const Layers *l) { return (size_t)(3 * l->frames * l->h * l->w * l->co); }

static void run_conv(const Layers *l, Dev *d, Tensor x, Tensor y)
{
    ConvArgs a = {.stage = TEST_STAGE, .x = x, .y = y, .weight = &l->conv.bound, .bias = &l->bias.bound, .kt = 3, .kh = 3,
                  .kw = 3, .stride_t = 1, .stride_h = 1, .stride_w = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1,
                  .pad_right = 1, .pad_edge = true, .start = true};
    Tensor stats = dev_floats(d, x.t, 1, 1, 2 * 16);
    dev_stats(d, &(StatsArgs){.x = x, .stats = stats, .groups = 16});
    a.pre = (Pre){.norm = NORM_GROUP, .groups = 16, .eps = 1e-6f, .stats = stats, .gamma = &l->gamma.bound,
                  .beta = &l->beta.bound, .act = ACT_SILU};
    a.post = (Post){.shortcut = &l->shortcut.bound, .shortcut_x = x};
    a.state = dev_conv_state(d, &a, x.t);
    dev_conv3d(d, &a);
    dev_state_free(d, a.state);
    dev_free(d, &stats);
}

static void work(void *user, Dev *d)
{
    const Layers *l = user;
    Tensor x = upload(d, l->x, l->frames, l->h, l->w, l->ci), y = dev_floats(d, 3 * l->frames, l->h, l->w, l->co);
    const Tensor part[3] = {tensor_frames(y, 0, l->frames), tensor_frames(y, l->frames, l->frames),
                            tensor_frames(y, 2 * l->frames, l->frames)};
    run_conv(l, d, x, part[0]);
    LinearArgs a = {.stage = STAGES_DIT + TEST_STAGE, .x = x, .y = part[1], .weight = &l->linear.bound, .bias = &l->bias.bound};
    dev_linear(d, &a);
    a = (LinearArgs){.stage = STAGES_DIT + TEST_STAGE, .x = x, .y = part[2], .weight = &l->linear.bound, .glu = &l->glu.bound,
                     .pre = {.norm = NORM_RMS, .eps = 1e-6f, .gamma = &l->gamma.bound}, .post = {.act = ACT_SILU}};
    dev_linear(d, &a);
    if (!dev_is_plan(d)) download(d, y, l->out);
    dev_free(d, &y);
    dev_free(d, &x);
}

static void check_layers(int ci, int co, int frames, int h, int w)
{
    if (!check_begin("cuda_layers_%d_%d_%dx%dx%d", ci, co, frames, h, w)) return;
    Layers l = {.ci = ci, .co = co, .frames = frames, .h = h, .w = w,
                .x = check_random_floats((size_t)(frames * h * w * ci), 2.0f)};
    const int64_t vector[] = {ci}, bias[] = {co}, conv[] = {co, ci, 3, 3, 3}, one[] = {co, ci, 1, 1, 1}, matrix[] = {co, ci};
    const float size = 1.0f / sqrtf((float)ci);
    test_weight(&l.gamma, check_random_floats((size_t)ci, 1.0f), 1, vector);
    test_weight(&l.beta, check_random_floats((size_t)ci, 0.3f), 1, vector);
    test_weight(&l.bias, check_random_floats((size_t)co, 0.3f), 1, bias);
    test_weight(&l.conv, check_random_floats((size_t)(27 * ci * co), size / sqrtf(27.0f)), 5, conv);
    test_weight(&l.shortcut, check_random_floats((size_t)(ci * co), size), 5, one);
    test_weight(&l.linear, check_random_floats((size_t)(ci * co), size), 2, matrix);
    test_weight(&l.glu, check_random_floats((size_t)(ci * co), size), 2, matrix);
    float *want = check_floats(out_floats(&l)), *got = check_floats(out_floats(&l));
    l.out = want;
    test_on_device(&(DevSetup){.threads = 1}, "cpu", work, NULL, &l);
    l.out = got;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        if (versions[i].precision >= DEV_FP8 && test_cuda()->target != CUDA_TARGET_120F) continue;
        check_poison(got, out_floats(&l));
        test_on_device(&(DevSetup){.cuda = test_cuda(), .few_too = true, .precision = versions[i].precision}, versions[i].name,
                       work, NULL, &l);
        for (int part = 0; part < 3; part++) { /* each has its own largest value */
            const size_t count = out_floats(&l) / 3, first = (size_t)part * count;
            check_close(versions[i].name, want + first, got + first, count, versions[i].loss);
            const double kept = snr(want + first, got + first, count) + (part == 2 ? 4.0 : 0.0); /* a product of two results */
            check_true(kept >= versions[i].snr, "%s: layer %d keeps %.1f dB", versions[i].name, part, kept);
        }
    }
    check_end();
}

/* What AUTO multiplies in: 8 bits where that was measured, inside the network, and not of weights stored as 8-bit floats. */
static void check_auto(void)
{
    if (!check_begin("cuda_auto")) return;
    TestWeight plain, float8;
    const int64_t shape[] = {4};
    test_weight(&plain, check_floats(4), 1, shape);
    test_weight(&float8, check_floats(4), 1, shape);
    float8.tensor.type = WT_F8_E4M3;
    const struct {
        int stage, channels;
        const BoundWeight *stored;
        Element want;
    } choices[] = {
        {STAGES_VAE_DECODER + 2, 128, &plain.bound, ELEMENT_I8},    {STAGES_VAE_DECODER + 5, 512, NULL, ELEMENT_I8},
        {STAGES_VAE_DECODER + 2, 127, &plain.bound, ELEMENT_BF16},  {STAGES_VAE_DECODER + 1, 512, &plain.bound, ELEMENT_BF16},
        {STAGES_VAE_DECODER + 2, 512, &float8.bound, ELEMENT_BF16}, {STAGES_VAE_ENCODER + 2, 512, &plain.bound, ELEMENT_BF16},
        {STAGES_VAE_ENCODER + 2, 511, &plain.bound, ELEMENT_I8},    {STAGES_VAE_ENCODER + 1, 256, &plain.bound, ELEMENT_BF16},
        {STAGES_TCDECODER + 2, 512, &plain.bound, ELEMENT_I8},      {STAGES_TCDECODER + 1, 512, &plain.bound, ELEMENT_BF16},
        {STAGES_DIT + 2, 2560, &plain.bound, ELEMENT_BF16},         {STAGES_FLASH_DIT + 3, 1536, &plain.bound, ELEMENT_BF16},
    };
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        check_true(policy_element(DEV_AUTO, choices[i].stage, choices[i].channels, choices[i].stored) == choices[i].want,
                   "choice %d", (int)i);
    }
    check_end();
}

void test_cuda_layers(void)
{
    check_set_loss(0);
    check_layers(128, 48, 2, 5, 7);
    check_layers(160, 72, 1, 9, 17);
    check_auto();
}
