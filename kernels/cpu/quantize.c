#include "kernels/cpu/quantize.h"

#include "kernels/cpu/clamp.h"
#include "kernels/cpu/noise.h"

#include <assert.h>
#include <math.h>

/* ------------------------------------------------------------------------------------------------- codes to floats */

static void row_from_bytes(const uint8_t *src, int w, int channels, int channel, float top, float *out)
{
    for (int x = 0; x < w; x++) {
        float code = src[(size_t)x * (size_t)channels + (size_t)channel];
        out[x] = (code < top ? code : top) / top;
    }
}

static void row_from_words(const uint16_t *src, int w, int channels, int channel, float top, float *out)
{
    for (int x = 0; x < w; x++) {
        float code = src[(size_t)x * (size_t)channels + (size_t)channel];
        out[x] = (code < top ? code : top) / top;
    }
}

void row_to_unit(const void *row, int w, int channels, int channel, int bits, float *out)
{
    assert(channels >= 1 && channels <= 4 && bits >= 1 && bits <= 16);
    const float top = (float)((1 << bits) - 1);
    if (bits <= 8) {
        row_from_bytes(row, w, channels, channel, top, out);
    } else {
        row_from_words(row, w, channels, channel, top, out);
    }
}

void picture_to_unit(const void *data, ptrdiff_t stride, int h, int w, int channels, int bits, float *rgb, float *alpha)
{
    const bool grey = channels <= 2, has_alpha = channels == 2 || channels == 4;
    size_t plane = (size_t)h * (size_t)w;
    for (int y = 0; y < h; y++) {
        const uint8_t *row = (const uint8_t *)data + y * stride;
        for (int c = 0; c < 4; c++) {
            float *out = c < 3 ? rgb + (size_t)c * plane : alpha;
            int channel = c == 3 ? channels - 1 : grey ? 0 : c;
            if (c == 3 && (!has_alpha || alpha == NULL)) continue;
            row_to_unit(row, w, channels, channel, bits, out + (size_t)y * (size_t)w);
        }
    }
}

/* ------------------------------------------------------------------------------------------------- floats to codes */

void to_unit(const float *x, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) out[i] = clamp_signed(x[i]) * 0.5f + 0.5f;
}

/* Difference of two uniforms, the triangle between -1 and 1, in units of 2^-32. */
static int64_t triangle(uint64_t seed, int64_t frame, int channel, int y, int x)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)x, (uint32_t)y, (uint32_t)frame, NOISE_DITHER + 256u * (uint32_t)channel};
    uint32_t words[4];
    philox4x32(counter, key, words);
    return (int64_t)words[0] - (int64_t)words[1];
}

/* v: code in units of 2^-32, which need not lie within 0 .. top. */
static uint16_t code_of(int64_t v, int64_t top)
{
    v += (int64_t)1 << 31;
    if (v < 0) return 0;
    return (uint16_t)((v >> 32) < top ? v >> 32 : top);
}

void quantize_row(const float *unit, int w, int bits, bool tpdf, uint64_t seed, int64_t frame, int channel, int y, void *out,
                  int step)
{
    assert(bits >= 1 && bits <= 16 && step >= 1);
    const int64_t top = (1 << bits) - 1;
    uint8_t *bytes = out;
    uint16_t *words = out;
    for (int x = 0; x < w; x++) {
        uint16_t code = unit[x] > 0.0f ? (uint16_t)top : 0; /* NaN takes the way of 0 */
        if (unit[x] > 0.0f && unit[x] < 1.0f) {
            int64_t v = (int64_t)((double)unit[x] * (double)top * 0x1p32); /* what is below a unit moves no code */
            if (tpdf) v += triangle(seed, frame, channel, y, x);
            code = code_of(v, top);
        }
        if (bits <= 8) {
            bytes[(size_t)x * (size_t)step] = (uint8_t)code;
        } else {
            words[(size_t)x * (size_t)step] = code;
        }
    }
}

void quantize_plane(const float *unit, int h, int w, int bits, bool tpdf, uint64_t seed, int64_t frame, int channel,
                    void *out, ptrdiff_t stride, int step)
{
    for (int y = 0; y < h; y++) {
        quantize_row(unit + (size_t)y * (size_t)w, w, bits, tpdf, seed, frame, channel, y, (uint8_t *)out + y * stride, step);
    }
}

void quantize_truncate(const float *unit, size_t count, uint8_t *out)
{
    for (size_t i = 0; i < count; i++) out[i] = (uint8_t)(unit[i] * 255.0f);
}

void quantize_official(const float *x, size_t count, uint8_t *out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = (uint8_t)rintf((clamp_signed(x[i]) * 0.5f + 0.5f) * 255.0f);
    }
}
