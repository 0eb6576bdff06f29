#include "kernels/cpu/pad.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

int pad_source(int i, int n, bool mirror)
{
    if (i >= 0 && i < n) return i;
    if (mirror) return i < 0 ? -i : 2 * n - 2 - i;
    return i < 0 ? 0 : n - 1;
}

bool pad_mirrors(int h, int w, int top, int left, int out_h, int out_w)
{
    int widest = max_int(max_int(top, out_h - h - top), max_int(left, out_w - w - left));
    return h > widest && w > widest;
}

void pad_mirrored(const float *x, int planes, int h, int w, int top, int left, int out_h, int out_w, float *out)
{
    bool mirror = pad_mirrors(h, w, top, left, out_h, out_w);
    for (int p = 0; p < planes; p++)
        for (int y = 0; y < out_h; y++) {
            const float *from = x + ((size_t)p * (size_t)h + (size_t)pad_source(y - top, h, mirror)) * (size_t)w;
            float *to = out + ((size_t)p * (size_t)out_h + (size_t)y) * (size_t)out_w;
            for (int i = 0; i < left; i++) to[i] = from[pad_source(i - left, w, mirror)];
            memcpy(to + left, from, (size_t)w * sizeof *to);
            for (int i = left + w; i < out_w; i++) to[i] = from[pad_source(i - left, w, mirror)];
        }
}
