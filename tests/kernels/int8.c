/* The definition of 8-bit products: what it promises, and the figures it is made of. */
#include "kernels/cpu/int8.h"

#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void check_quantize(int channels, float size)
{
    if (!check_begin("int8_quantize_%d_%g", channels, size)) return;
    const int blocks = int8_blocks(channels);
    check_true(blocks == (channels + 127) / 128, "%d blocks", blocks);
    float *x = check_random_floats((size_t)channels, size), *scale = check_floats((size_t)blocks);
    int8_t *q = check_bytes((size_t)channels);
    check_poison(scale, (size_t)blocks);
    int8_quantize(x, channels, q, scale);
    for (int b = 0; b < blocks; b++) {
        const int end = channels < 128 * (b + 1) ? channels : 128 * (b + 1);
        float amax = 0.0f;
        int largest = 0;
        for (int c = 128 * b; c < end; c++) {
            amax = fabsf(x[c]) > amax ? fabsf(x[c]) : amax;
            largest = abs(q[c]) > largest ? abs(q[c]) : largest;
            /* half a step, and what three roundings to float32 add to it */
            const double error = fabs((double)x[c] - (double)q[c] * scale[b]);
            check_true(error <= 0.5001 * scale[b], "%g as %d of %g", x[c], q[c], scale[b]);
        }
        check_true(largest == 127 && scale[b] == amax / 127.0f, "block %d: largest %d, scale %g of %g", b, largest,
                   scale[b], amax);
    }
    check_end();
}

/* Zeros, what counts as zeros, halves to even. */
static void check_rules(void)
{
    if (!check_begin("int8_rules")) return;
    float x[4 * 128] = {0}, scale[4];
    int8_t q[4 * 128];
    x[128] = 0x1.fffffep-101f;
    x[256] = -0x1p-100f;
    const float at[] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 126.5f, -127};
    const int8_t want[] = {127, 0, 2, 2, 0, -2, 126, -127};
    memcpy(x + 384, at, sizeof at);
    memset(q, 99, sizeof q);
    int8_quantize(x, 4 * 128, q, scale);
    const float scales[] = {0, 0, 0x1p-100f / 127.0f, 1};
    check_equal("scales", scales, scale, sizeof scales);
    for (int c = 0; c < 256; c++) check_true(q[c] == 0, "q[%d] = %d", c, q[c]);
    check_true(q[256] == -127, "the smallest block that counts: %d", q[256]);
    check_equal("halves", want, q + 384, sizeof want);
    check_end();
}

/* Against the sum in doubles: fused sums of float32 over the blocks are all that is rounded. */
static void check_multiply(int channels)
{
    if (!check_begin("int8_multiply_%d", channels)) return;
    const int blocks = int8_blocks(channels);
    int8_t *a = check_bytes((size_t)channels), *b = check_bytes((size_t)channels);
    float *a_scale = check_floats((size_t)blocks), *b_scale = check_floats((size_t)blocks);
    int8_quantize(check_random_floats((size_t)channels, 1.0f), channels, a, a_scale);
    int8_quantize(check_random_floats((size_t)channels, 3.0f), channels, b, b_scale);
    double sum = 0.25, size = 0.25;
    for (int c = 0; c < channels; c++) {
        const double product = (double)a[c] * b[c] * a_scale[c / 128] * b_scale[c / 128];
        sum += product;
        size += fabs(product);
    }
    const float got = int8_multiply(0.25f, &(Int8Row){a, a_scale}, &(Int8Row){b, b_scale}, 1, channels);
    check_true(fabs(got - sum) <= 0x1p-23 * (blocks + 1) * size, "%.9g, expected %.9g", got, sum);
    /* the largest sum a block can have is exact */
    memset(a, 127, 128);
    memset(b, 127, 128);
    const float one = 1.0f, largest = int8_multiply(0.0f, &(Int8Row){a, &one}, &(Int8Row){b, &one}, 1, 128);
    check_true(largest == 128.0f * 127.0f * 127.0f, "the largest sum");
    check_end();
}

/* Blocks first, then the window's taps: sums of float32 tell the order. */
static void check_window_order(void)
{
    if (!check_begin("int8_window_order")) return;
    int8_t a[2][256] = {{0}}, b[2][256] = {{0}};
    const float one[2] = {1, 1}, a_scale[2][2] = {{1, -0x1p24f}, {0x1p24f, 1}};
    for (int t = 0; t < 2; t++) a[t][0] = a[t][128] = b[t][0] = b[t][128] = 1;
    const Int8Row rows[2] = {{a[0], a_scale[0]}, {a[1], a_scale[1]}}, columns[2] = {{b[0], one}, {b[1], one}};
    /* the first 1 is lost in 2^24 + 1; taps first it would stay */
    check_true(int8_multiply(0.0f, rows, columns, 2, 256) == 1.0f, "the order of blocks and taps");
    check_end();
}

void test_int8(void)
{
    static const int channels[] = {1, 100, 128, 129, 512};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) check_quantize(channels[i], 0.02f);
    check_quantize(300, 1e30f);
    check_quantize(300, 1e-28f);
    check_rules();
    check_multiply(128);
    check_multiply(528);
    check_window_order();
}
