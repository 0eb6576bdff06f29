/* The choice among the methods, and their strength. */
#include "kernels/cpu/color.h"

#include "kernels/cpu/color_rank.h"

#include <string.h>

size_t color_scratch(ColorMethod method, int frames, int h, int w)
{
    size_t plane = (size_t)h * (size_t)w, all = plane * (size_t)frames;
    size_t floats = 0;
    switch (method) {
    case COLOR_NONE:
    case COLOR_ADAIN:
        break;
    case COLOR_WAVELET:
        floats = 2 * plane;
        break;
    case COLOR_LAB: /* style in Lab, one channel of the content, ranks; the wavelet before needs two planes of these */
        floats = 4 * all + rank_match_scratch(all, all);
        break;
    case COLOR_HSV: /* style's hue and saturation, the matched one, a bin of both pictures and its places, ranks */
        floats = 6 * all + rank_match_scratch(all, all);
        break;
    case COLOR_WAVELET_ADAPTIVE: /* the result of hsv, then its scratch, then one frame's wavelet and its scratch */
        floats = 3 * all + 6 * all + rank_match_scratch(all, all);
        break;
    }
    return floats * sizeof(float);
}

void color_correct(ColorMethod method, const float *content, const float *style, int frames, int h, int w, float *out,
                   void *scratch)
{
    switch (method) {
    case COLOR_NONE:
        if (out != content) memcpy(out, content, (size_t)frames * 3 * (size_t)h * (size_t)w * sizeof *out);
        break;
    case COLOR_LAB:
        color_lab(content, style, frames, h, w, out, scratch);
        break;
    case COLOR_WAVELET:
        color_wavelet(content, style, frames, h, w, true, out, scratch);
        break;
    case COLOR_WAVELET_ADAPTIVE:
        color_wavelet_adaptive(content, style, frames, h, w, out, scratch);
        break;
    case COLOR_HSV:
        color_hsv(content, style, frames, h, w, out, scratch);
        break;
    case COLOR_ADAIN:
        color_adain(content, style, frames, h, w, false, out);
        break;
    }
}

void color_mix(float *out, const float *style, size_t count, float strength)
{
    for (size_t i = 0; i < count; i++) out[i] = style[i] + strength * (out[i] - style[i]);
}
