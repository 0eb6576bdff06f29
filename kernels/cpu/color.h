/*
 * Colour correction: give a decoded picture (content) the colours of the resized source (style).
 *
 * Pictures are signed RGB float32 [frames][3][h][w], nominally in [-1, 1]; both of one size. Results are signed too.
 * LAB, HSV and WAVELET_ADAPTIVE match the values of all frames of one call with one another: hand over one frame at a
 * time for results that do not depend on how a clip is cut. WAVELET and ADAIN treat frames apart anyway.
 *
 * Methods of numz/ComfyUI-SeedVR2_VideoUpscaler, with ranks matched by exact integers and ties in scan order (frame,
 * row, column). `out` may be `content`. Nothing allocates; scratch belongs to one call at a time. Any thread.
 */
#ifndef UPRES_KERNELS_CPU_COLOR_H
#define UPRES_KERNELS_CPU_COLOR_H

#include <stdbool.h>
#include <stddef.h>

typedef enum ColorMethod {
    COLOR_LAB, /* wavelet, then a and b fully and L by a fifth matched by rank; in [-1, 1] */
    COLOR_NONE,
    COLOR_WAVELET,          /* fine detail of the content on the coarse colours of the style; in [-1, 1] */
    COLOR_WAVELET_ADAPTIVE, /* wavelet, mixed with HSV where it came out more saturated than the style */
    COLOR_HSV,              /* saturation matched by rank within twelve bins of hue; in [-1, 1] */
    COLOR_ADAIN             /* mean and deviation of each frame and channel; not clamped */
} ColorMethod;

/* Bytes of scratch for a call with these sizes; its alignment must be that of malloc. */
size_t color_scratch(ColorMethod method, int frames, int h, int w);

/* frames * h * w must stay below 2^32. */
void color_correct(ColorMethod method, const float *content, const float *style, int frames, int h, int w, float *out,
                   void *scratch);

/* out = style + strength * (out - style), `count` floats; strength 0..1. */
void color_mix(float *out, const float *style, size_t count, float strength);

/* The methods by themselves. capped: the widest blur stays within an eighth of the shorter side; false is the rule of
 * pkuliyi2015/sd-webui-stablesr (srmodule/colorfix.py), the same from 128 pixels on, and
 * that of lihaoyun6/ComfyUI-FlashVSR_Ultra_Fast. scratch: color_scratch floats. */
void color_wavelet(const float *content, const float *style, int frames, int h, int w, bool capped, float *out,
                   float *scratch);
/* population: the rule of FlashVSR's pipelines, deviations over n instead of n - 1 and results in [-1, 1]. */
void color_adain(const float *content, const float *style, int frames, int h, int w, bool population, float *out);
void color_lab(const float *content, const float *style, int frames, int h, int w, float *out, void *scratch);
void color_hsv(const float *content, const float *style, int frames, int h, int w, float *out, void *scratch);
void color_wavelet_adaptive(const float *content, const float *style, int frames, int h, int w, float *out,
                            void *scratch);

#endif
