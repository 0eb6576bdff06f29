/* The definition of 8-bit floats: all of their values, their rounding, scales, and what pairs of them keep. */
#include "kernels/cpu/fp8.h"

#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <math.h>

enum { MOST = 0x7e };

/* Of every two neighbours, the middle goes to the even one, and what lies beside it to the nearer. */
static void check_rounding(void)
{
    if (!check_begin("fp8_rounding")) return;
    for (int q = 0; q < MOST; q++) {
        const float low = fp8_decode((uint8_t)q), high = fp8_decode((uint8_t)(q + 1)), middle = low + (high - low) / 2;
        check_true(fp8_encode(low) == q && fp8_encode(-low) == (q | 0x80), "%g is not itself", low);
        check_true(fp8_encode(middle) == q + q % 2, "the middle of %g and %g", low, high);
        check_true(fp8_encode(nextafterf(middle, 0.0f)) == q, "below the middle of %g and %g", low, high);
        check_true(fp8_encode(nextafterf(middle, 500.0f)) == q + 1, "above the middle of %g and %g", low, high);
    }
    check_true(fp8_decode(MOST) == 448.0f && fp8_decode(1) == 0x1p-9f && fp8_decode(8) == 0x1p-6f, "448, 2^-9, 2^-6");
    check_true(fp8_encode(1e30f) == MOST && fp8_encode(-465.0f) == (MOST | 0x80), "what is too large");
    check_true(isnan(fp8_decode(0x7f)) && fp8_encode(NAN) == 0x7f, "NaN");
    check_end();
}

static void check_scale(void)
{
    if (!check_begin("fp8_scale")) return;
    for (int i = -120; i < 120; i++) {
        const float step = ldexpf(1.0f, i), most = 448.0f * step;
        check_true(fp8_scale_value(fp8_scale(most)) == step, "scale of %g", most);
        check_true(fp8_scale_value(fp8_scale(nextafterf(most, INFINITY))) == 2.0f * step, "scale above %g", most);
    }
    check_true(fp8_scale(0.0f) == 5 && fp8_scale(1e-45f) == 5 && fp8_scale_value(FP8_ONE) == 1.0f, "the least; 1");
    check_end();
}

/* Errors of a block: half a step of its largest values at most; pairs have 4 bits more. */
static void check_quantize(int channels, bool pair, bool scaled)
{
    if (!check_begin("fp8_quantize_%d%s%s", channels, pair ? "_pair" : "", scaled ? "" : "_unit")) return;
    const int words = fp8_words(channels, pair), blocks = pair ? 2 : 4;
    check_true(words == (channels + (pair ? 63 : 127)) / (pair ? 64 : 128), "%d words", words);
    float *x = check_random_floats((size_t)channels, scaled ? 1e-3f : 4.0f);
    uint8_t *q = check_bytes((size_t)(pair ? words * FP8_SLAB : channels));
    uint32_t *scale = check_bytes((size_t)words * sizeof *scale);
    fp8_quantize(x, channels, pair, q, scaled ? scale : NULL);
    for (int c = 0; c < channels; c++) {
        const int block = c / FP8_BLOCK;
        const float s = scaled ? fp8_scale_value((uint8_t)(scale[block / blocks] >> block % blocks * 8)) : 1.0f;
        const uint8_t *at = q + fp8_at(c, pair);
        float kept = fp8_decode(at[0]) * s, step = fmaxf(fabsf(x[c]) * 0x1p-4f, s * 0x1p-10f);
        if (pair) {
            kept += fp8_decode(at[FP8_PAIR_CHANNELS]) * s / 16.0f;
            step = fmaxf(fabsf(x[c]) * 0x1p-8f, s * 0x1p-14f);
        }
        check_true(fabsf(kept - x[c]) <= step, "channel %d: %g as %g", c, x[c], kept);
    }
    check_end();
}

/* Against products of what the bytes stand for. */
static void check_multiply(int channels, bool pair)
{
    if (!check_begin("fp8_multiply_%d%s", channels, pair ? "_pair" : "")) return;
    const size_t words = (size_t)fp8_words(channels, pair);
    float *x = check_random_floats((size_t)channels, 1.0f), *w = check_random_floats((size_t)channels, 0.01f);
    uint8_t *a = check_bytes(words * FP8_SLAB), *b = check_bytes(words * FP8_SLAB);
    uint32_t *scale = check_bytes(words * sizeof *scale);
    const uint8_t e = fp8_row_scale(w, channels);
    fp8_quantize(x, channels, pair, a, scale);
    double exact = 0, size = 0;
    for (int c = 0; c < channels; c++) {
        fp8_put(w[c], c, pair, e, b);
        exact += (double)x[c] * (double)w[c];
        size += fabs((double)x[c] * (double)w[c]);
    }
    const double got = fp8_multiply(a, scale, b, channels, pair) * (double)fp8_scale_value(e);
    check_true(fabs(got - exact) <= size * (pair ? 0x1p-6 : 0x1p-3), "%g, exactly %g", got, exact);
    check_end();
}

void test_fp8(void)
{
    static const int channels[] = {32, 64, 100, 192, 512};
    check_rounding();
    check_scale();
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        for (int form = 0; form < 4; form++) check_quantize(channels[i], form % 2 > 0, form / 2 > 0);
        for (int pair = 0; pair < 2; pair++) check_multiply(channels[i], pair > 0);
    }
}
