#include "runtime/picture.h"

#include "kernels/cpu/alpha.h"
#include "kernels/cpu/color.h"
#include "kernels/cpu/noise.h"
#include "kernels/cpu/quantize.h"

#include <stdlib.h>
#include <string.h>

struct Pictures {
    PictureSetup setup;
    size_t pixels;                 /* of a result */
    FrameTransform input, style;   /* to the padded size with its filling; to the true size */
    ResizeAxis alpha_x, alpha_y;   /* source alpha to the resized picture */
    ResizeAxis window_x, window_y; /* the part of those that is kept: views */
    AlphaRule rule;
    float *unit;    /* the source frame at hand, [4][height][width] */
    float *resized; /* its style, [frames][3][true_h][true_w] */
    float *content; /* a slice's pictures side by side, with histograms over batches */
    float *scratch; /* for one resize or alpha */
    void *color_scratch_memory;
    void *codes; /* of the result at hand, where the device makes them */
};

/* upres_color and ColorMethod name the same methods; the public numbers must not move when a kernel's do. */
static ColorMethod method_of(upres_color color)
{
    switch (color) {
    case UPRES_COLOR_NONE:
        return COLOR_NONE;
    case UPRES_COLOR_WAVELET:
        return COLOR_WAVELET;
    case UPRES_COLOR_WAVELET_ADAPTIVE:
        return COLOR_WAVELET_ADAPTIVE;
    case UPRES_COLOR_HSV:
        return COLOR_HSV;
    case UPRES_COLOR_ADAIN:
        return COLOR_ADAIN;
    default:
        return COLOR_LAB;
    }
}

static bool source_has_alpha(const PictureSetup *s)
{
    return s->channels == 2 || s->channels == 4;
}

static bool alpha_is_guided(const PictureSetup *s)
{
    return source_has_alpha(s) && s->options->alpha == UPRES_ALPHA_GUIDED;
}

/* Wavelet and adain treat frames apart, so only the others gain from waiting for a whole slice. */
static bool color_by_slice(const PictureSetup *s)
{
    upres_color c = s->options->color;
    return s->options->color_batch &&
           (c == UPRES_COLOR_LAB || c == UPRES_COLOR_HSV || c == UPRES_COLOR_WAVELET_ADAPTIVE);
}

bool pictures_has_alpha(const PictureSetup *s)
{
    return source_has_alpha(s) && s->options->alpha != UPRES_ALPHA_DROP;
}

bool pictures_whole_slices(const PictureSetup *s)
{
    return alpha_is_guided(s) || color_by_slice(s);
}

static size_t color_frames(const PictureSetup *s)
{
    return color_by_slice(s) ? (size_t)s->slice_frames : 1;
}

static bool needs_style(const PictureSetup *s)
{
    return s->options->color != UPRES_COLOR_NONE || s->options->strength < 1;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Floats of scratch for the resizes and alpha. */
static size_t scratch_floats(const Pictures *p)
{
    size_t n = larger(frame_transform_scratch(&p->input), frame_transform_scratch(&p->style));
    if (pictures_has_alpha(&p->setup)) n = larger(n, alpha_scratch(&p->window_x, &p->window_y));
    return n;
}

static ResizeAxis axis_part(const ResizeAxis *a, int first, int count)
{
    return (ResizeAxis){a->in, count, a->taps, a->first + first, a->weight + (size_t)first * (size_t)a->taps};
}

static bool make_tables(Pictures *p)
{
    const PictureSetup *s = &p->setup;
    const SizePlan *z = &s->size;
    if (!frame_transform_init(&p->input, s->height, s->width, z->steps, z->step) ||
        !frame_transform_init(&p->style, s->height, s->width, z->steps, z->step))
        return false;
    frame_transform_window(&p->input, z->top, z->left, z->window_h, z->window_w, z->padded_h, z->padded_w,
                           s->options->pad_edge != 0);
    frame_transform_window(&p->style, z->top, z->left, z->true_h, z->true_w, z->true_h, z->true_w, false);
    if (!pictures_has_alpha(s)) return true;
    /* The shorter-side rule resizes alpha straight to the size written; the area rule cuts it as it does the picture. */
    bool cut = s->options->fit_width > 0;
    if (!resize_axis_init(&p->alpha_x, s->width, cut ? z->resized_w : z->true_w) ||
        !resize_axis_init(&p->alpha_y, s->height, cut ? z->resized_h : z->true_h))
        return false;
    p->window_x = axis_part(&p->alpha_x, z->left, z->true_w);
    p->window_y = axis_part(&p->alpha_y, z->top, z->true_h);
    return true;
}

static size_t unit_floats(const PictureSetup *s)
{
    return (size_t)s->width * (size_t)s->height * 4;
}

static size_t result_floats(const PictureSetup *s)
{
    return (size_t)s->size.true_h * (size_t)s->size.true_w * 3;
}

static size_t color_scratch_bytes(const PictureSetup *s)
{
    return color_scratch(method_of(s->options->color), (int)color_frames(s), s->size.true_h, s->size.true_w);
}

bool pictures_check(const PictureSetup *s, Fault *f)
{
    uint64_t pixels = (uint64_t)s->size.true_h * (uint64_t)s->size.true_w;
    if (!color_by_slice(s) || pixels * color_frames(s) <= UINT32_MAX) return true;
    fault(f, UPRES_E_ARGUMENT,
          "--color-scope batch would rank %d frames of %dx%d at once, more than 2^32 pixels; use --color-scope frame "
          "or a "
          "smaller --batch-size",
          s->slice_frames, s->size.true_w, s->size.true_h);
    return false;
}

Pictures *pictures_open(const PictureSetup *s, Fault *f)
{
    if (!pictures_check(s, f)) return NULL;
    Pictures *p = calloc(1, sizeof *p);
    if (p) {
        p->setup = *s;
        p->pixels = (size_t)s->size.true_h * (size_t)s->size.true_w;
    }
    if (!p || !make_tables(p)) goto no_memory;
    size_t color_bytes = color_scratch_bytes(s);
    p->scratch = malloc((scratch_floats(p) + 1) * sizeof(float));
    p->unit = malloc(unit_floats(s) * sizeof(float));
    if (!p->scratch || !p->unit) goto no_memory;
    if (s->inputs_only) return p;
    if (needs_style(s)) {
        p->resized = malloc(color_frames(s) * result_floats(s) * sizeof(float));
        p->color_scratch_memory = malloc(color_bytes + 1);
        if (!p->resized || !p->color_scratch_memory) goto no_memory;
    }
    if (color_by_slice(s)) {
        p->content = malloc(color_frames(s) * result_floats(s) * sizeof(float));
        if (!p->content) goto no_memory;
    }
    return p;
no_memory:
    pictures_close(p);
    fault(f, UPRES_E_MEMORY,
          "no memory for the work on pictures of %dx%d; free some, or ask for a smaller --resolution", s->size.true_w,
          s->size.true_h);
    return NULL;
}

static void free_tables(Pictures *p)
{
    frame_transform_free(&p->input);
    frame_transform_free(&p->style);
    resize_axis_free(&p->alpha_x);
    resize_axis_free(&p->alpha_y);
}

void pictures_close(Pictures *p)
{
    if (!p) return;
    free_tables(p);
    free(p->unit);
    free(p->resized);
    free(p->content);
    free(p->scratch);
    free(p->color_scratch_memory);
    free(p->codes);
    free(p);
}

uint64_t pictures_bytes(const PictureSetup *s)
{
    const SizePlan *z = &s->size;
    uint64_t floats = unit_floats(s);
    floats += 3 * (uint64_t)z->resized_w * (uint64_t)(s->height + z->resized_h); /* between and after the two axes */
    if (pictures_has_alpha(s)) floats += 8 * (uint64_t)z->true_w * (uint64_t)z->true_h; /* box means of the filter */
    uint64_t bytes = floats * sizeof(float);
    if (s->inputs_only) return bytes;
    if (needs_style(s)) bytes += color_frames(s) * result_floats(s) * sizeof(float) + color_scratch_bytes(s);
    if (color_by_slice(s)) bytes += color_frames(s) * result_floats(s) * sizeof(float);
    return bytes;
}

/* The source frame as planes in 0..1: [3][h][w], and alpha behind them when it has one. */
static const float *unit_of(Pictures *p, const void *source)
{
    const PictureSetup *s = &p->setup;
    if (s->bits == 0) return source;
    ptrdiff_t stride = (ptrdiff_t)s->width * s->channels * (s->bits > 8 ? 2 : 1);
    float *alpha = source_has_alpha(s) ? p->unit + 3 * (size_t)s->width * (size_t)s->height : NULL;
    picture_to_unit(source, stride, s->height, s->width, s->channels, s->bits, p->unit, alpha);
    return p->unit;
}

static const float *alpha_of(Pictures *p, const void *source)
{
    return unit_of(p, source) + 3 * (size_t)p->setup.width * (size_t)p->setup.height;
}

static PictureSource source_of(const Pictures *p, const FrameTransform *t, const void *source)
{
    const PictureSetup *s = &p->setup;
    return (PictureSource){.codes = source,
                           .width = s->width,
                           .height = s->height,
                           .channels = s->channels,
                           .bits = s->bits,
                           .steps = t->steps,
                           .columns = {&t->x[0], &t->x[1]},
                           .rows = {&t->y[0], &t->y[1]},
                           .window = {t->top, t->left, t->window_h, t->window_w, t->pad_edge, false},
                           .out_h = t->out_h,
                           .out_w = t->out_w};
}

void pictures_input(Pictures *p, const void *source, int64_t noise_frame, float *out)
{
    const PictureSetup *s = &p->setup;
    const PictureSource from = source_of(p, &p->input, source);
    if (picture_device_input(s->device, &from, s->options->input_noise, s->options->seed, noise_frame, out)) return;
    frame_transform(&p->input, unit_of(p, source), 3, out, p->scratch);
    if (s->options->input_noise > 0)
        input_noise(out, s->size.padded_h, s->size.padded_w, s->options->input_noise, s->options->seed, noise_frame);
}

void pictures_slice_begin(Pictures *p)
{
    p->rule = (AlphaRule){0};
}

void pictures_slice_gather(Pictures *p, const void *source, const float *rgb)
{
    if (!alpha_is_guided(&p->setup)) return;
    alpha_rule_source(&p->rule, alpha_of(p, source), (size_t)p->setup.width * (size_t)p->setup.height);
    alpha_rule_decoded(&p->rule, rgb, 3 * p->pixels);
}

void pictures_alpha(Pictures *p, const void *source, const float *rgb, float *alpha)
{
    const PictureSetup *s = &p->setup;
    if (s->options->alpha == UPRES_ALPHA_OPAQUE) {
        for (size_t i = 0; i < p->pixels; i++) alpha[i] = 1;
    } else if (s->options->alpha == UPRES_ALPHA_RESIZE) {
        alpha_resize(&p->window_x, &p->window_y, alpha_of(p, source), alpha, p->scratch);
    } else {
        alpha_upscale(&p->rule, &p->window_x, &p->window_y, alpha_of(p, source), rgb, !s->alpha_zeros_outside, alpha,
                      p->scratch);
    }
}

static void make_style(Pictures *p, const void *source, float *out)
{
    frame_transform(&p->style, unit_of(p, source), 3, out, p->scratch);
}

static PictureColors colors_of(const Pictures *p, int frames, float *content)
{
    const PictureSetup *s = &p->setup;
    return (PictureColors){.method = method_of(s->options->color),
                           .frames = frames,
                           .h = s->size.true_h,
                           .w = s->size.true_w,
                           .style = p->resized,
                           .content = content};
}

/* The device's colours, or the same by the host. */
static void correct(Pictures *p, int frames, float *content)
{
    const PictureSetup *s = &p->setup;
    const PictureColors c = colors_of(p, frames, content);
    if (!picture_device_color(s->device, &c))
        color_correct(c.method, content, c.style, frames, c.h, c.w, content, p->color_scratch_memory);
}

void pictures_color_slice(Pictures *p, const void *const *source, float *const *rgb, int count)
{
    const PictureSetup *s = &p->setup;
    if (!color_by_slice(s)) return;
    size_t floats = 3 * p->pixels;
    for (int i = 0; i < count; i++) {
        memcpy(p->content + (size_t)i * floats, rgb[i], floats * sizeof(float));
        make_style(p, source[i], p->resized + (size_t)i * floats);
    }
    correct(p, count, p->content);
    for (int i = 0; i < count; i++) memcpy(rgb[i], p->content + (size_t)i * floats, floats * sizeof(float));
}

static bool colors_frames(const PictureSetup *s)
{
    return s->options->color != UPRES_COLOR_NONE && !color_by_slice(s);
}

/* style: the source's. */
static PictureResult result_of(const Pictures *p, const PictureSource *style, int64_t number, float *rgb, const float *alpha)
{
    const PictureSetup *s = &p->setup;
    const int h = s->size.true_h, w = s->size.true_w;
    const bool colored = colors_frames(s);
    return (PictureResult){.colors = {.method = colored ? method_of(s->options->color) : COLOR_NONE,
                                      .frames = 1,
                                      .h = h,
                                      .w = w,
                                      .content = rgb},
                           .style = colored || s->options->strength < 1 ? style : NULL,
                           .strength = (float)s->options->strength,
                           .h = h,
                           .w = w,
                           .alpha = alpha,
                           .form = s->form,
                           .frame = number,
                           .codes = p->codes};
}

/* The device makes the result, or is to begin with it. */
typedef enum Finish { FINISH_NOW, FINISH_AHEAD } Finish;

/* By the device; NULL: it cannot, or has but begun. */
static const void *finish_there(Pictures *p, const void *source, int64_t number, float *rgb, const float *alpha, Finish when)
{
    const PictureSetup *s = &p->setup;
    const PictureSource style = source_of(p, &p->style, source);
    if (s->device == NULL || s->form.bits == 0) return NULL;
    if (p->codes == NULL) p->codes = malloc(p->pixels * (size_t)s->form.channels * (s->form.bits > 8 ? 2 : 1));
    const PictureResult r = result_of(p, &style, number, rgb, alpha);
    if (when == FINISH_AHEAD) picture_device_ahead(s->device, &r);
    return when == FINISH_NOW && p->codes != NULL && picture_device_finish(s->device, &r) ? p->codes : NULL;
}

void pictures_ahead(Pictures *p, const void *source, int64_t number, float *rgb, const float *alpha)
{
    finish_there(p, source, number, rgb, alpha, FINISH_AHEAD);
}

const void *pictures_finish(Pictures *p, const void *source, int64_t number, float *rgb, const float *alpha)
{
    const PictureSetup *s = &p->setup;
    bool colored = colors_frames(s);
    bool mix = s->options->strength < 1;
    const void *codes = finish_there(p, source, number, rgb, alpha, FINISH_NOW);
    if (codes != NULL) return codes;
    if (colored || mix) make_style(p, source, p->resized);
    if (colored) correct(p, 1, rgb);
    if (mix) color_mix(rgb, p->resized, 3 * p->pixels, (float)s->options->strength);
    to_unit(rgb, 3 * p->pixels, rgb);
    return NULL;
}

uint64_t pictures_device_bytes(const PictureSetup *s, const DevSetup *d, bool inputs, Prediction *frame)
{
    static const float some_alpha;
    Pictures p = {.setup = *s};
    uint64_t need = 0;
    if (d->cuda == NULL) return 0;
    if (make_tables(&p)) {
        const PictureSource input = source_of(&p, &p.input, NULL), style = source_of(&p, &p.style, NULL);
        const PictureColors slice = colors_of(&p, (int)color_frames(s), NULL);
        const PictureResult result = result_of(&p, &style, 0, NULL, pictures_has_alpha(s) ? &some_alpha : NULL);
        const PictureJob all = {inputs ? &input : NULL, color_by_slice(s) ? &slice : NULL, &result, frame};
        const PictureJob first = {.input = &input, .frame = frame};
        need = picture_device_need(d, s->inputs_only ? &first : &all);
    }
    free_tables(&p);
    return need;
}
