#include "kernels/cpu/noise.h"

#include <math.h>
#include <stddef.h>

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

void box_muller(const uint32_t words[4], float out[4])
{
    const double tau = 6.28318530717958647692, unit = 0x1p-32;
    for (int i = 0; i < 4; i += 2) {
        double radius = sqrt(-2.0 * log((words[i] + 0.5) * unit));
        double angle = tau * ((words[i + 1] + 0.5) * unit);
        out[i] = (float)(radius * cos(angle));
        out[i + 1] = (float)(radius * sin(angle));
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

void input_noise(float *x, int h, int w, double scale, uint64_t seed, int64_t frame)
{
    if (scale == 0.0) return;
    const float b = (float)(scale * 0.5);
    size_t plane = (size_t)h * (size_t)w;
    for (int row = 0; row < h; row++) {
        for (int column = 0; column < w; column++) {
            float n[4], *at = x + (size_t)row * (size_t)w + (size_t)column;
            normals_at(seed, NOISE_INPUT, frame, (uint32_t)row, (uint32_t)column, n);
            for (int c = 0; c < 3; c++, at += plane) *at = *at * (1.0f - b) + (*at + n[c] * 0.05f) * b;
        }
    }
}
