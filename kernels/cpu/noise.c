#include "kernels/cpu/noise.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/*
 * Logarithm, sine and cosine of (word + 1/2) / 2^32, in additions, products, divisions and roots of doubles alone: the same
 * bits on every machine, whatever its C library, and on GPUs (kernels/cuda/noise.cu). About 1e-16 off.
 */
static double log_of(uint32_t word)
{
    static const double odd[] = {1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3};
    const double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10; /* high ends in 32 zeros */
    double x = (double)word + 0.5;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    if (bits > 0x3ff6a09e667f3bcdu) { /* x between the roots of 1/2 and 2 */
        bits -= 0x0010000000000000u;
        exponent++;
    }
    memcpy(&x, &bits, sizeof x);
    const double n = exponent - 32, s = (x - 1.0) / (x + 1.0), z = s * s;
    double p = odd[0]; /* 2 artanh(s) */
    for (int i = 1; i < 9; i++) p = p * z + odd[i];
    return n * ln2_high + (2.0 * s + (2.0 * s * (z * p) + n * ln2_low));
}

static void turn_of(uint32_t word, double *cosine, double *sine)
{
    const uint32_t quarter = ((word >> 29) + 1) >> 1; /* the nearest; 4 is 0 */
    const double t = ((double)(int32_t)(word - (quarter << 30)) + 0.5) * (6.28318530717958647692 * 0x1p-32), z = t * t;
    static const double c_terms[] = {1.0 / 20922789888000, -1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800,
                                     1.0 / 40320, -1.0 / 720, 1.0 / 24, -1.0 / 2};
    static const double s_terms[] = {-1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800, 1.0 / 362880,
                                     -1.0 / 5040, 1.0 / 120, -1.0 / 6};
    double c = c_terms[0], s = s_terms[0];
    for (int i = 1; i < 8; i++) c = c * z + c_terms[i];
    for (int i = 1; i < 7; i++) s = s * z + s_terms[i];
    c = c * z + 1.0;
    s = s * z * t + t;
    const double x = quarter & 1 ? s : c, y = quarter & 1 ? c : s;
    *cosine = (quarter + 1) & 2 ? -x : x;
    *sine = quarter & 2 ? -y : y;
}

void box_muller(const uint32_t words[4], float out[4])
{
    for (int i = 0; i < 4; i += 2) {
        double radius = sqrt(-2.0 * log_of(words[i])), cosine, sine;
        turn_of(words[i + 1], &cosine, &sine);
        out[i] = (float)(radius * cosine);
        out[i + 1] = (float)(radius * sine);
    }
}

static void normals_at(uint64_t seed, uint32_t stream, int64_t frame, uint32_t y, uint32_t x, float out[4])
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {x, y, (uint32_t)frame, stream};
    uint32_t words[4];
    philox4x32(counter, key, words);
    box_muller(words, out);
}

void position_noise(uint64_t seed, uint32_t stream, int64_t frame, int y0, int x0, int h, int w, int channels,
                    float *out)
{
    int quads = (channels + 3) / 4;
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            for (int q = 0; q < quads; q++) {
                float n[4];
                uint32_t column = (uint32_t)(x0 + x) * (uint32_t)quads + (uint32_t)q;
                normals_at(seed, stream, frame, (uint32_t)(y0 + y), column, n);
                for (int i = 0; i < 4 && q * 4 + i < channels; i++) *out++ = n[i];
            }
        }
    }
}

void input_noise_row(float *x, size_t plane, int w, int row, double scale, uint64_t seed, int64_t frame)
{
    const float b = (float)(scale * 0.5);
    for (int column = 0; column < w; column++) {
        float n[4], *at = x + column;
        normals_at(seed, NOISE_INPUT, frame, (uint32_t)row, (uint32_t)column, n);
        for (int c = 0; c < 3; c++, at += plane) *at = *at * (1.0f - b) + (*at + n[c] * 0.05f) * b;
    }
}

void input_noise(float *x, int h, int w, double scale, uint64_t seed, int64_t frame)
{
    if (scale == 0.0) return;
    size_t plane = (size_t)h * (size_t)w;
    for (int row = 0; row < h; row++) input_noise_row(x + (size_t)row * (size_t)w, plane, w, row, scale, seed, frame);
}
