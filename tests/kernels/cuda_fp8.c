/*
 * 8-bit floats on parts that have them: frames and weights to the bytes of kernels/cpu/fp8.h. What tiles of products do is
 * tests/kernels/cuda_gemm.c's, what layers lose tests/kernels/cuda_layers.c's.
 */
#include "kernels/cpu/fp8.h"
#include "runtime/cuda/dev.h"
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

enum { ARENA = 64 << 20, TOP = 1, LEFT = 2, BORDERS = 3 };

static Dev *open_device(DevPrecision precision)
{
    char error[512] = "";
    const DevSetup setup = {.cuda = test_cuda(), .few_too = true, .precision = precision};
    Dev *d = dev_open(&setup, ARENA, error, sizeof error);
    check_true(d != NULL, "%s", error);
    return d;
}

/* -------------------------------------------------------------------------------------------------------------- frames */

/* bf16: what it reads; channels from `view` on. */
typedef struct FrameCase {
    int h, w, c, view;
    bool bf16, gain, shift;
    Norm norm;
    Act act;
} FrameCase;

/* pre(x) in float32, which the GPU's kernels give to the CPU's bits. */
static float *floats_of(Dev *d, Tensor x, const Pre *pre)
{
    float *values = check_floats((size_t)(x.t * x.h * x.w * x.c));
    Tensor y = dev_floats(d, x.t, x.h, x.w, x.c);
    dev_norm(d, &(NormArgs){.x = x, .y = y, .pre = *pre});
    download(d, y, values);
    dev_free(d, &y);
    return values;
}

/* Two pictures with borders; the frame goes to the second. Borders and the first picture keep what was there, or, with
 * `edges`, borders take the nearest pixel. */
static void check_frame(Dev *d, const FrameCase *k, Tensor x, const Pre *pre, bool pair, bool scaled, bool edges)
{
    const Element type = pair ? ELEMENT_E4M3_PAIR : ELEMENT_E4M3;
    const int h = k->h + BORDERS, w = k->w + BORDERS, depth = element_pad(type, k->c), words = cuda_words(type, depth);
    const size_t row = (size_t)(depth * element_bytes(type)), pixels = (size_t)(2 * h * w);
    const float *values = floats_of(d, x, pre);
    CudaScratch data = cuda_scratch(d, pixels * row), scales = cuda_scratch(d, pixels * (size_t)words * 4);
    cuda_fill(d, data.address, 0x11, pixels * row);
    cuda_fill(d, scales.address, 0x22, pixels * (size_t)words * 4);
    const CudaFrames frames = {.data = data.address, .scale = scaled ? scales.address : 0, .type = type, .h = h, .w = w,
                               .c = k->c, .pitch = depth, .blocks = words, .frame_pixels = h * w};
    const int slot = 1;
    cuda_pre(d, x, pre, &frames, &slot, TOP, LEFT);
    if (edges) cuda_replicate_edges(d, &frames, &slot, 1, TOP, LEFT, k->h, k->w);
    uint8_t *got = check_bytes(pixels * row), *want = check_bytes(pixels * row);
    uint32_t *got_scale = check_bytes(pixels * (size_t)words * 4), *want_scale = check_bytes(pixels * (size_t)words * 4);
    cuda_copy_out(d, got, data.address, pixels * row);
    cuda_copy_out(d, got_scale, scales.address, pixels * (size_t)words * 4);
    cuda_wait(d);
    memset(want, 0x11, pixels * row);
    memset(want_scale, 0x22, pixels * (size_t)words * 4);
    float *padded = check_floats((size_t)depth);
    for (int p = h * w; p < 2 * h * w; p++) {
        int v = p / w % h - TOP, u = p % w - LEFT;
        if (!edges && (v < 0 || v >= k->h || u < 0 || u >= k->w)) continue;
        v = v < 0 ? 0 : v >= k->h ? k->h - 1 : v;
        u = u < 0 ? 0 : u >= k->w ? k->w - 1 : u;
        memcpy(padded, values + (v * k->w + u) * k->c, (size_t)k->c * sizeof *padded);
        fp8_quantize(padded, depth, pair, want + (size_t)p * row, scaled ? want_scale + p * words : NULL);
    }
    const char *version = pair ? scaled ? "pairs, scaled" : "pairs" : scaled ? "scaled" : "plain";
    check_true(dev_ok(d), "%s: %s", version, dev_error(d));
    check_equal(version, want, got, pixels * row);
    check_equal(version, want_scale, got_scale, pixels * (size_t)words * 4);
    cuda_scratch_free(d, &scales);
    cuda_scratch_free(d, &data);
}

/* Values of all sizes, zeros, and what e4m3 cannot hold without a scale. */
static float *mixed_floats(size_t count)
{
    float *x = check_random_floats(count, 1.0f);
    for (size_t i = 0; i < count; i++) {
        x[i] *= i % 97 == 5 ? 1000.0f : i % 89 == 7 ? 0.0f : ldexpf(1.0f, (int)(i / 32 % 11) - 7);
    }
    return x;
}

static void check_frames(const FrameCase *k)
{
    if (!check_begin("cuda_fp8_frames_%dx%dx%d_norm%d", k->h, k->w, k->c, (int)k->norm)) return;
    Dev *d = open_device(k->bf16 ? DEV_BF16 : DEV_FP32);
    if (d == NULL) return;
    TestWeight gamma, beta;
    const int64_t shape[] = {k->c};
    const int channels = k->c + 2 * k->view;
    Tensor all = upload(d, mixed_floats((size_t)(k->h * k->w * channels)), 1, k->h, k->w, channels);
    const Tensor x = tensor_channels(all, k->view, k->c);
    Pre pre = {.norm = k->norm, .eps = 1e-6f, .act = k->act};
    if (k->gain) pre.gamma = test_weight(&gamma, check_random_floats((size_t)k->c, 1.0f), 1, shape);
    if (k->shift) pre.beta = test_weight(&beta, check_random_floats((size_t)k->c, 1.0f), 1, shape);
    for (int form = 0; form < 8; form++) check_frame(d, k, x, &pre, form & 1, form & 2, form & 4);
    dev_free(d, &all);
    dev_phase(d);
    dev_close(d);
    check_end();
}

/* ------------------------------------------------------------------------------------------------------------- weights */

typedef struct WeightCase {
    int rows, ci, kt, khw;
    bool glu;
    CudaTime time;
} WeightCase;

/* The operand in float32, which tests/kernels/cuda_weights.c looks at, row by row. */
static void check_operand(Dev *d, CudaWeightForm form, bool pair)
{
    const char *version = pair ? "pairs" : "e4m3";
    CudaWeight floats, w;
    form.type = ELEMENT_F32;
    check_true(cuda_weight(d, &form, &floats), "%s", dev_error(d));
    form.type = pair ? ELEMENT_E4M3_PAIR : ELEMENT_E4M3;
    check_true(cuda_weight(d, &form, &w), "%s: %s", version, dev_error(d));
    check_true(w.n == floats.n && w.taps == floats.taps && w.depth == element_pad(form.type, form.ci), "%s: %d rows of %d taps",
               version, w.n, w.taps);
    const size_t taps = (size_t)(w.n * w.taps), row = (size_t)(w.depth * element_bytes(form.type));
    float *value = check_floats(taps * (size_t)floats.depth);
    uint8_t *got = check_bytes(taps * row), *want = check_bytes(taps * row);
    uint32_t *got_scale = check_bytes((size_t)w.n * 4), *want_scale = check_bytes((size_t)w.n * 4);
    cuda_copy_out(d, value, floats.data, taps * (size_t)floats.depth * sizeof *value);
    cuda_copy_out(d, got, w.data, taps * row);
    cuda_copy_out(d, got_scale, w.scale, (size_t)w.n * 4);
    cuda_wait(d);
    const int rows = (int)form.weight->shape[0];
    for (int n = 0; n < w.n; n++) {
        if (form.glu != NULL ? n / 16 * 8 + n % 8 >= rows : n >= rows) continue; /* it only pads: zeros */
        const float *from = value + (size_t)n * (size_t)(w.taps * floats.depth);
        const uint8_t e = fp8_row_scale(from, (int64_t)w.taps * floats.depth);
        want_scale[n] = e * 0x01010101u;
        for (int i = 0; i < w.taps * form.ci; i++) {
            const int tap = i / form.ci, c = i % form.ci;
            fp8_put(from[tap * floats.depth + c], c, pair, e, want + (size_t)(n * w.taps + tap) * row);
        }
    }
    check_true(dev_ok(d), "%s: %s", version, dev_error(d));
    check_equal(version, want, got, taps * row);
    check_equal(version, want_scale, got_scale, (size_t)w.n * 4);
}

static void check_weights(const WeightCase *k)
{
    if (!check_begin("cuda_fp8_weights_%dx%d_%dx%d%s_time%d", k->rows, k->ci, k->kt, k->khw, k->glu ? "_glu" : "",
                     (int)k->time)) return;
    Dev *d = open_device(DEV_FP8);
    if (d == NULL) return;
    TestWeight weight[2];
    const int64_t shape[] = {k->rows, k->ci, k->kt, k->khw};
    for (int i = 0; i < 2; i++) test_weight(&weight[i], mixed_floats((size_t)(k->rows * k->ci * k->kt * k->khw)), 4, shape);
    const CudaWeightForm form = {.weight = &weight[0].bound, .glu = k->glu ? &weight[1].bound : NULL, .ci = k->ci, .kt = k->kt,
                                 .khw = k->khw, .time = k->time};
    check_operand(d, form, false);
    check_operand(d, form, true);
    dev_close(d);
    check_end();
}

/* Weights stored as e4m3 without scales of their own, of small and of full range: their operand has the very same values. */
static void check_stored(void)
{
    enum { ROWS = 17, CI = 96 };
    if (!check_begin("cuda_fp8_stored")) return;
    Dev *d = open_device(DEV_FP8);
    if (d == NULL) return;
    uint8_t *stored = check_bytes(ROWS * CI);
    for (int i = 0; i < ROWS * CI; i++) {
        const uint8_t most = (uint8_t)(0x7e - 4 * (i / CI)); /* each row has a smaller range than the one before */
        stored[i] = (uint8_t)(check_random() % (most + 1u) | (check_random() & 0x80));
    }
    TestWeight weight;
    const int64_t shape[] = {ROWS, CI};
    test_weight(&weight, (const float *)(const void *)stored, 2, shape);
    weight.tensor.type = WT_F8_E4M3;
    weight.tensor.bytes = ROWS * CI;
    CudaWeight w;
    const CudaWeightForm form = {.weight = &weight.bound, .type = ELEMENT_E4M3, .ci = CI, .kt = 1, .khw = 1};
    check_true(cuda_weight(d, &form, &w), "%s", dev_error(d));
    const size_t row = (size_t)w.depth;
    uint8_t *got = check_bytes((size_t)w.n * row);
    uint32_t *scale = check_bytes((size_t)w.n * 4);
    float *want_values = check_floats(ROWS * CI), *values = check_floats(ROWS * CI);
    cuda_copy_out(d, got, w.data, (size_t)w.n * row);
    cuda_copy_out(d, scale, w.scale, (size_t)w.n * 4);
    cuda_wait(d);
    for (int i = 0; i < ROWS * CI; i++) {
        want_values[i] = fp8_decode(stored[i]);
        values[i] = fp8_decode(got[(size_t)(i / CI) * row + (size_t)(i % CI)]) * fp8_scale_value((uint8_t)scale[i / CI]);
    }
    check_true(dev_ok(d), "%s", dev_error(d));
    check_close("stored", want_values, values, ROWS * CI, 0);
    dev_close(d);
    check_end();
}

/* ------------------------------------------------------------------------------------------------------------- choices */

static void check_choices(void)
{
    if (!check_begin("cuda_fp8_choices")) return;
    static const struct {
        DevPrecision precision;
        int stage, channels;
        Element want;
    } choices[] = {
        {DEV_FP8, STAGES_VAE_DECODER, 128, ELEMENT_BF16},          {DEV_FP8, STAGES_VAE_DECODER + 1, 512, ELEMENT_BF16},
        {DEV_FP8, STAGES_VAE_DECODER + 2, 127, ELEMENT_BF16},      {DEV_FP8, STAGES_VAE_DECODER + 2, 128, ELEMENT_E4M3},
        {DEV_FP8, STAGES_WAN + 2, 511, ELEMENT_E4M3},      {DEV_FP8, STAGES_VAE_DECODER + 2, 512, ELEMENT_I8},
        {DEV_FP8, STAGES_DIT + 2, 2560, ELEMENT_E4M3},     {DEV_FP8, STAGES_FLASH_DIT + 9, 512, ELEMENT_E4M3},
        {DEV_FP8X3, STAGES_VAE_DECODER + 1, 128, ELEMENT_BF16},    {DEV_FP8X3, STAGES_VAE_DECODER + 2, 64, ELEMENT_BF16},
        {DEV_FP8X3, STAGES_VAE_DECODER + 2, 512, ELEMENT_E4M3_PAIR}, {DEV_FP8X3, STAGES_DIT + 2, 128, ELEMENT_E4M3_PAIR},
    };
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        Dev *plan = dev_plan_open(&(DevSetup){.cuda = test_cuda(), .few_too = true, .precision = choices[i].precision});
        check_true(cuda_compute(plan, choices[i].stage, choices[i].channels, NULL) == choices[i].want, "choice %d", (int)i);
        dev_close(plan);
    }
    check_end();
}

void test_cuda_fp8(void)
{
    static const FrameCase frames[] = {
        {3, 5, 128, 0, false, false, false, NORM_NONE, ACT_NONE}, {2, 3, 37, 4, true, true, true, NORM_NONE, ACT_SILU},
        {5, 9, 204, 0, true, true, false, NORM_RMS, ACT_TANH3},   {1, 1, 576, 0, false, true, true, NORM_L2, ACT_GELU_TANH},
        {2, 4, 68, 0, false, false, true, NORM_LAYER, ACT_RELU},
    };
    static const WeightCase weights[] = {
        {33, 40, 3, 9, false, CUDA_TIME_PAIR}, {20, 200, 1, 1, true, CUDA_TIME_ALL}, {5, 128, 3, 1, false, CUDA_TIME_ONE},
    };
    if (test_cuda()->target != CUDA_TARGET_120F) return;
    check_set_loss(0);
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) check_frames(&frames[i]);
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) check_weights(&weights[i]);
    check_stored();
    check_choices();
}
