/*
 * Philox and its normals: published vectors, and that nothing but the place decides a value.
 */
#include "kernels/cpu/noise.h"

#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

/* Random123, tests/kat_vectors, philox4x32 with 10 rounds; and two of our own with the normals they give. */
static void check_vectors(void)
{
    static const struct {
        uint32_t counter[4], key[2], words[4];
        float normals[4]; /* all 0: not given */
    } cases[] = {
        {{0, 0, 0, 0},
         {0, 0},
         {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
         {0.9911377f, -0.9246626f, -0.61760896f, -0.4820686f}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
         {0}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
         {0}},
        {{0, 0, 0, 0},
         {42, 0},
         {0x9ceaf053, 0x77f5493b, 0x12bf50ad, 0x5742b3d7},
         {-0.9701898f, 0.19401896f, -1.2356207f, 1.9239267f}},
        {{22, 3, 0xfffffffc, 1},
         {42, 0},
         {0xe19a2dff, 0xf7bfcd6e, 0x830f9e64, 0x14c2ce43},
         {0.4925257f, -0.10112473f, 1.0101625f, 0.56444734f}},
    };
    if (!check_begin("philox4x32")) return;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t words[4];
        float normals[4];
        philox4x32(cases[i].counter, cases[i].key, words);
        check_equal("words", cases[i].words, words, sizeof words);
        box_muller(words, normals);
        /* the figures carry eight digits */
        if (cases[i].normals[0] != 0) check_close("normals", cases[i].normals, normals, 4, 1e-7);
    }
    check_end();
}

/* The last vector again, by its place: x 5, y 3, channels 8..11, frame -4, stream 1. */
static void check_place(void)
{
    if (!check_begin("position_noise_place")) return;
    const float want[4] = {0.4925257f, -0.10112473f, 1.0101625f, 0.56444734f};
    float *got = check_floats(16);
    position_noise(42, NOISE_AUGMENT, -4, 3, 5, 1, 1, 16, got);
    check_close("c", want, got + 8, 4, 1e-7);
    check_end();
}

/* A part of a picture has the noise that the whole one has there. */
static void check_window(int h, int w, int y0, int x0, int part_h, int part_w, int channels)
{
    if (!check_begin("position_noise_%dx%d_%d", part_h, part_w, channels)) return;
    size_t row = (size_t)w * (size_t)channels, part_row = (size_t)part_w * (size_t)channels;
    float *whole = check_floats((size_t)h * row), *part = check_floats((size_t)part_h * part_row);
    float *want = check_floats((size_t)part_h * part_row);
    const uint64_t seed = 0x123456789abcdef0u;
    position_noise(seed, NOISE_BASE, 1000000, 0, 0, h, w, channels, whole);
    check_poison(part, (size_t)part_h * part_row);
    position_noise(seed, NOISE_BASE, 1000000, y0, x0, part_h, part_w, channels, part);
    for (int y = 0; y < part_h; y++) {
        memcpy(want + (size_t)y * part_row, whole + (size_t)(y0 + y) * row + (size_t)(x0 * channels),
               part_row * sizeof *want);
    }
    check_equal("c", want, part, (size_t)part_h * part_row * sizeof *part);
    check_end();
}

static void check_moments(void)
{
    if (!check_begin("position_noise_moments")) return;
    enum { H = 64, W = 64, C = 16, N = H * W * C };
    float *x = check_floats(N);
    double sum = 0, squares = 0;
    position_noise(7, NOISE_BASE, 0, 0, 0, H, W, C, x);
    for (int i = 0; i < N; i++) sum += (double)x[i], squares += (double)x[i] * (double)x[i];
    double mean = sum / N, variance = squares / N - mean * mean;
    /* five standard errors of 65536 normals: 1/256 of the mean, sqrt(2)/256 of the variance */
    check_true(fabs(mean) < 5.0 / 256 && fabs(variance - 1) < 5 * sqrt(2.0) / 256, "mean %g, variance %g", mean,
               variance);
    CHECK_BENCH("c", 0, 4.0 * N, position_noise(7, NOISE_BASE, 0, 0, 0, H, W, C, x));
    check_end();
}

static void check_input_noise(int h, int w, double scale)
{
    if (!check_begin("input_noise_%dx%d_%g", h, w, scale)) return;
    size_t plane = (size_t)h * (size_t)w;
    float *x = check_floats(3 * plane), *n = check_floats(3 * plane), *want = check_floats(3 * plane);
    check_uniform(x, 3 * plane, -1, 1);
    position_noise(5, NOISE_INPUT, -2, 0, 0, h, w, 3, n);
    for (size_t c = 0; c < 3; c++) {
        for (size_t i = 0; i < plane; i++) {
            want[c * plane + i] = (float)((double)x[c * plane + i] + 0.025 * scale * (double)n[i * 3 + c]);
        }
    }
    input_noise(x, h, w, scale, 5, -2);
    check_close("c", want, x, 3 * plane, 2e-7);
    check_end();
}

void test_noise(void)
{
    check_vectors();
    check_place();
    check_window(9, 11, 3, 4, 5, 6, 16);
    check_window(9, 11, 8, 10, 1, 1, 16);
    check_window(5, 7, 1, 2, 3, 4, 3);
    check_window(5, 7, 0, 1, 2, 2, 5);
    check_moments();
    check_input_noise(1, 1, 0.5);
    check_input_noise(7, 13, 1.0);
    check_input_noise(7, 13, 0.0);
}
