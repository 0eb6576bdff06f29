/*
 * Codes to floats and back: every code survives, dither keeps the mean, ends stay, nothing beyond a row is touched.
 */
#include "kernels/cpu/quantize.h"

#include "kernels/cpu/noise.h"
#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

static void set_code(void *row, int bits, size_t i, uint16_t code)
{
    if (bits <= 8) {
        ((uint8_t *)row)[i] = (uint8_t)code;
    } else {
        ((uint16_t *)row)[i] = code;
    }
}

/* A picture of all codes, in rows with a gap behind; read, and written again. */
static void check_round_trip(int bits, int channels)
{
    if (!check_begin("picture_%dbit_%dch", bits, channels)) return;
    const int w = 61, gap = 6, top = (1 << bits) - 1, h = (top + w) / w;
    size_t samples = (size_t)(w * channels), code_bytes = bits <= 8 ? 1 : 2, row = samples * code_bytes + (size_t)gap;
    size_t bytes = row * (size_t)h, plane = (size_t)(w * h);
    uint8_t *from = check_bytes(bytes), *to = check_bytes(bytes);
    float *rgb = check_floats(3 * plane), *alpha = check_floats(plane);
    memset(from, 0xA5, bytes);
    for (int y = 0; y < h; y++) {
        for (size_t i = 0; i < samples; i++) {
            size_t pixel = (size_t)(y * w) + i / (size_t)channels, channel = i % (size_t)channels;
            set_code(from + (size_t)y * row, bits, i, (uint16_t)((pixel + 7 * channel) % (size_t)(top + 1)));
        }
    }
    memcpy(to, from, bytes);
    for (int y = 0; y < h; y++) memset(to + (size_t)y * row, 0, row - (size_t)gap);
    check_poison(rgb, 3 * plane);
    check_poison(alpha, plane);
    picture_to_unit(from, (ptrdiff_t)row, h, w, channels, bits, rgb, alpha);

    const bool grey = channels <= 2, has_alpha = channels % 2 == 0;
    for (int c = 0; c < channels; c++) {
        bool is_alpha = has_alpha && c == channels - 1;
        quantize_plane(is_alpha ? alpha : rgb + (size_t)c * plane, h, w, bits, false, 0, 0, c,
                       to + (size_t)c * code_bytes, (ptrdiff_t)row, channels);
    }
    check_equal("c", from, to, bytes);
    if (grey) {
        check_equal("grey", rgb, rgb + plane, plane * sizeof *rgb);
        check_equal("grey", rgb, rgb + 2 * plane, plane * sizeof *rgb);
    }
    check_true(has_alpha || isnan(alpha[0]), "alpha was written for a picture without it");
    check_end();
}

/* A code above the declared depth counts as full scale. */
static void check_overrange(void)
{
    if (!check_begin("picture_overrange")) return;
    const uint16_t codes[3] = {1023, 1024, 65535};
    float *rgb = check_floats(3);
    const float want[3] = {1, 1, 1};
    picture_to_unit(codes, sizeof codes, 1, 1, 3, 10, rgb, NULL);
    check_equal("c", want, rgb, sizeof want);
    check_end();
}

static void check_quantize(int bits)
{
    if (!check_begin("quantize_%dbit", bits)) return;
    enum { W = 37, H = 5 };
    const double top = (1 << bits) - 1;
    float *unit = check_floats(W * H);
    size_t row = W * (bits <= 8 ? 1u : 2u);
    uint8_t *want = check_bytes(row * H), *got = check_bytes(row * H);
    check_uniform(unit, W * H, -0.1f, 1.1f);
    unit[0] = NAN, unit[1] = -INFINITY, unit[2] = INFINITY;
    for (int i = 3; i < 35; i++) unit[i] = i % 2 ? 0 : 1; /* enough that dither would show on one of them */
    for (int i = 0; i < W * H; i++) {
        double code = floor((double)unit[i] * top + 0.5);
        if (isnan(code)) code = 0;
        set_code(want + (size_t)(i / W) * row, bits, (size_t)(i % W), (uint16_t)fmin(fmax(code, 0), top));
    }
    quantize_plane(unit, H, W, bits, false, 0, 0, 0, got, (ptrdiff_t)row, 1);
    check_equal("none", want, got, row * H);

    const uint32_t key[2] = {9, 1};
    for (int i = 0; i < W * H; i++) {
        const uint32_t counter[4] = {(uint32_t)(i % W), (uint32_t)(i / W), 0xfffffffeu, 3 + 256 * 2};
        uint32_t words[4];
        philox4x32(counter, key, words);
        double v = (double)unit[i] * top;
        if (v > 0 && v < top) v += (double)words[0] / 4294967296.0 - (double)words[1] / 4294967296.0;
        double code = floor(v + 0.5);
        if (isnan(code)) code = 0;
        set_code(want + (size_t)(i / W) * row, bits, (size_t)(i % W), (uint16_t)fmin(fmax(code, 0), top));
    }
    quantize_plane(unit, H, W, bits, true, (uint64_t)1 << 32 | 9, -2, 2, got, (ptrdiff_t)row, 1);
    check_equal("tpdf", want, got, row * H);
    check_end();
}

/* What 8 bits cannot say is said by the mean of many pixels. */
static void check_dither_mean(void)
{
    if (!check_begin("quantize_tpdf_mean")) return;
    enum { W = 256, H = 256 };
    float *unit = check_floats(W * H);
    uint8_t *codes = check_bytes(W * H);
    double sum = 0;
    for (int i = 0; i < W * H; i++) unit[i] = 100.3f / 255.0f;
    quantize_plane(unit, H, W, 8, true, 42, 0, 0, codes, W, 1);
    for (int i = 0; i < W * H; i++) sum += codes[i];
    /* variance of one code: triangle 1/6 + rounding 1/12; five standard errors */
    check_true(fabs(sum / (W * H) - 100.3) < 5 * 0.5 / W, "mean %g, expected 100.3", sum / (W * H));
    CHECK_BENCH("tpdf", 0, 5.0 * W * H, quantize_plane(unit, H, W, 8, true, 42, 0, 0, codes, W, 1));
    CHECK_BENCH("none", 0, 5.0 * W * H, quantize_plane(unit, H, W, 8, false, 42, 0, 0, codes, W, 1));
    check_end();
}

static void check_to_unit(void)
{
    if (!check_begin("to_unit")) return;
    const float x[] = {-3, -1, -0.5f, 0, 0.25f, 1, 7}, want[] = {0, 0, 0.25f, 0.5f, 0.625f, 1, 1};
    float *got = check_floats(7);
    to_unit(x, 7, got);
    check_equal("c", want, got, sizeof want);

    /* Both Python writers at a place where they and ours differ: 254.7 and the exact half 127.5. */
    const float unit = 254.7f / 255.0f, middle = 0.0f;
    uint8_t truncated, rounded, half;
    const float signed_unit = 2 * unit - 1;
    quantize_truncate(&unit, 1, &truncated);
    quantize_official(&signed_unit, 1, &rounded);
    quantize_official(&middle, 1, &half);
    check_true(truncated == 254 && rounded == 255 && half == 128, "codes %d %d %d", truncated, rounded, half);
    check_end();
}

void test_quantize(void)
{
    static const int depths[] = {8, 10, 12, 16};
    for (int channels = 1; channels <= 4; channels++) {
        for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) check_round_trip(depths[i], channels);
    }
    check_overrange();
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) check_quantize(depths[i]);
    check_dither_mean();
    check_to_unit();
}
