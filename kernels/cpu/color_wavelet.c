/* Fine detail of one picture on the coarse colours of another. */
#include "kernels/cpu/color.h"

#include "kernels/cpu/clamp.h"

/* [1 2 1]/4 over both axes with `r` pixels between the taps, borders replicated: low [h][w] in place. */
static void blur(float *low, int h, int w, int r, float *rows)
{
    for (int y = 0; y < h; y++) {
        const float *src = low + (size_t)y * (size_t)w;
        float *dst = rows + (size_t)y * (size_t)w;
        int left = r < w ? r : w, right = w - r > left ? w - r : left;
        for (int x = 0; x < left; x++) dst[x] = 0.25f * (src[0] + 2.0f * src[x] + src[x + r < w ? x + r : w - 1]);
        for (int x = left; x < right; x++) dst[x] = 0.25f * (src[x - r] + 2.0f * src[x] + src[x + r]);
        for (int x = right; x < w; x++) dst[x] = 0.25f * (src[x - r] + 2.0f * src[x] + src[w - 1]);
    }
    for (int y = 0; y < h; y++) {
        const float *above = rows + (size_t)(y - r > 0 ? y - r : 0) * (size_t)w;
        const float *here = rows + (size_t)y * (size_t)w;
        const float *below = rows + (size_t)(y + r < h ? y + r : h - 1) * (size_t)w;
        float *dst = low + (size_t)y * (size_t)w;
        for (int x = 0; x < w; x++) dst[x] = 0.25f * (above[x] + 2.0f * here[x] + below[x]);
    }
}

/*
 * The method replaces the content's lowest of five levels by the style's: content - low(content) + low(style). Blurring
 * is linear, so this is content + low(style - content): half the work and one plane instead of two.
 */
void color_wavelet(const float *content, const float *style, int frames, int h, int w, bool capped, float *out,
                   float *scratch)
{
    size_t plane = (size_t)h * (size_t)w;
    float *low = scratch, *rows = scratch + plane;
    int widest = (h < w ? h : w) / 8;
    if (widest < 1) widest = 1;
    for (int p = 0; p < frames * 3; p++) {
        for (size_t i = 0; i < plane; i++) low[i] = style[i] - content[i];
        for (int level = 0; level < 5; level++) {
            int r = 1 << level;
            blur(low, h, w, capped && r > widest ? widest : r, rows);
        }
        for (size_t i = 0; i < plane; i++) out[i] = clamp_signed(content[i] + low[i]);
        content += plane;
        style += plane;
        out += plane;
    }
}
