/* Cases of the self-test on whole pictures: planes, noise, resizing, codes, colours. */
#include "runtime/selftest/cases.h"

#include "kernels/cpu/resize.h"

#include <math.h>

/* ------------------------------------------------------------------------------------------------------------ planes */

/* Planes are larger than the pixels where their sizes differ. */
typedef struct PlanesCase {
    const char *name;
    int planes, h, w, pixels_h, pixels_w;
    int side; /* of cells */
    bool weighted, total;
} PlanesCase;

static const PlanesCase from_planes_cases[] = {
    {"pixels", 3, 8, 12, 8, 12, .side = 1},
    {"pixels_16", 16, 9, 20, 9, 20, .side = 1},
    {"cells", 3, 64, 64, 8, 8, .side = 8},
};

static void from_planes(Trial *t, const void *shape)
{
    const PlanesCase *c = shape;
    const int step = c->side > 1 ? 2 : 1;
    Tensor planes = trial_floats(t, c->planes, c->h, 1, c->w, 1.0f);
    Tensor pixels = trial_output(t, 1, c->pixels_h, c->pixels_w, c->planes * step * c->side * c->side);
    for (int i = 0; i < step; i++) {
        const PlaneCells cells = {.side = c->side, .step = step, .first = i};
        dev_from_planes(t->d, pixels, planes, &cells);
    }
    trial_keep(t, pixels);
    dev_free(t->d, &pixels);
    dev_free(t->d, &planes);
}

static const PlanesCase to_planes_cases[] = {
    {"plain", 3, 7, 20, 7, 20, .side = 1},
    {"larger", 3, 9, 24, 7, 17, .side = 1},
    {"weighted", 16, 7, 20, 7, 20, .weighted = true},
    {"weighted_shares", 3, 7, 20, 7, 20, .weighted = true, .total = true},
};

static void to_planes(Trial *t, const void *shape)
{
    const PlanesCase *c = shape;
    Tensor pixels = trial_input(t, 1, c->pixels_h, c->pixels_w, c->planes, 1.0f);
    Tensor planes = trial_output_floats(t, c->planes, c->h, 1, c->w);
    PlaneWeights weights = {.rows = trial_floats(t, 1, 1, 1, c->h, 1.0f), .columns = trial_floats(t, 1, 1, 1, c->w, 1.0f)};
    if (c->total) {
        weights.total = trial_floats(t, 1, c->h, 1, c->w, 1.0f);
        dev_axpby(t->d, weights.total, 0.25f, weights.total, 2.0f, (Tensor){0}); /* something to divide by */
    }
    dev_to_planes(t->d, planes, pixels, c->weighted ? &weights : NULL);
    trial_keep(t, planes);
    dev_free(t->d, &weights.total);
    dev_free(t->d, &weights.columns);
    dev_free(t->d, &weights.rows);
    dev_free(t->d, &planes);
    dev_free(t->d, &pixels);
}

/* ------------------------------------------------------------------------------------------------------------- noise */

typedef struct NoiseCase {
    const char *name;
    int t, h, w, c, top, left;
    int64_t frame;
    int frame_step;
} NoiseCase;

static const NoiseCase noises[] = {
    {"latent", 2, 3, 70, 16, 5, 11, -1, 4},
    {"odd_channels", 3, 2, 37, 3, 0, 0, 1000000, -2},
};

static void noise(Trial *t, const void *shape)
{
    const NoiseCase *c = shape;
    Tensor x = trial_output_floats(t, c->t, c->h, c->w, c->c);
    dev_noise(t->d, &(NoiseArgs){x, (uint64_t)42 << 32 | 7, 0, c->frame, c->frame_step, c->top, c->left});
    trial_keep(t, x);
    dev_free(t->d, &x);
}

/* Numbers in [0, 1] or so, as pictures have them: bells around a half. */
static Tensor picture(Trial *t, int planes, int h, int w)
{
    Tensor x = trial_floats(t, planes, h, 1, w, 0.2f);
    dev_axpby(t->d, x, 1.0f, x, 0.5f, (Tensor){0});
    return x;
}

static void input_noise(Trial *t, const void *shape)
{
    const NoiseCase *c = shape;
    Tensor x = picture(t, 3, c->h, c->w);
    dev_input_noise(t->d, x, 0.6, 77, c->frame);
    trial_keep(t, x);
    dev_free(t->d, &x);
}

/* ------------------------------------------------------------------------------------------------------------ resize */

typedef struct ResizeCase {
    const char *name;
    int planes, h, w, to_h, to_w;
    ResizeWindow window; /* h 0: none */
    int out_h, out_w;    /* of the window, filled up */
} ResizeCase;

static const ResizeCase resizes[] = {
    {"larger", 3, 7, 9, 13, 150, {0, 0, 0, 0, false, false}, 13, 150},
    {"smaller", 2, 47, 301, 9, 37, {0, 0, 0, 0, false, false}, 9, 37},
    {"one_axis", 1, 6, 33, 75, 33, {0, 0, 0, 0, false, false}, 75, 33},
    {"padded", 3, 9, 21, 40, 50, {0, 0, 40, 50, false, false}, 48, 64},
    {"padded_edge", 3, 9, 21, 40, 50, {0, 0, 40, 50, true, false}, 80, 53},
    {"cropped", 3, 19, 21, 37, 41, {2, 4, 32, 32, false, false}, 32, 32},
    {"around", 3, 19, 21, 38, 42, {-13, -11, 38, 42, false, true}, 64, 64},
};

static void resize(Trial *t, const void *shape)
{
    const ResizeCase *c = shape;
    ResizeAxis columns, rows;
    const bool across = resize_axis_init(&columns, c->w, c->to_w), down = resize_axis_init(&rows, c->h, c->to_h);
    if (!across || !down) dev_fail(t->d, "out of memory");
    Tensor x = picture(t, c->planes, c->h, c->w), y = trial_output_floats(t, c->planes, c->out_h, 1, c->out_w);
    dev_resize(t->d, &(ResizeArgs){x, y, &columns, &rows, c->window.h > 0 ? &c->window : NULL});
    trial_keep(t, y);
    dev_free(t->d, &y);
    dev_free(t->d, &x);
    dev_wait(t->d);
    resize_axis_free(&rows);
    resize_axis_free(&columns);
}

/* ------------------------------------------------------------------------------------------------------------- codes */

typedef struct CodesCase {
    const char *name;
    int h, w, channels, bits;
    bool is_signed, tpdf;
} CodesCase;

static const CodesCase codes_cases[] = {
    {"rgb_8", 3, 261, 3, 8, true, false},
    {"rgba_16", 3, 37, 4, 16, false, true},
    {"grey_10", 4, 33, 1, 10, true, true},
    {"grey_alpha_8", 4, 33, 2, 8, false, false},
};

static Tensor codes_of(Trial *t, const CodesCase *c)
{
    return dev_bytes(t->d, (int64_t)c->h * c->w * c->channels * (c->bits > 8 ? 2 : 1));
}

static void from_codes(Trial *t, const void *shape)
{
    const CodesCase *c = shape;
    Tensor codes = codes_of(t, c), rgb = trial_output_floats(t, 3, c->h, 1, c->w), alpha = {0};
    uint64_t state = trial_numbers(t);
    float *to = dev_write(t->d, codes);
    for (int64_t i = 0; to != NULL && i < codes.h * codes.stride_h; i++) to[i] = (float)(trial_random(&state) >> 24);
    dev_write_end(t->d, codes, to);
    if (c->channels % 2 == 0) alpha = trial_output_floats(t, 1, c->h, 1, c->w);
    dev_from_codes(t->d, &(CodesArgs){.codes = codes, .rgb = rgb, .alpha = alpha, .channels = c->channels, .bits = c->bits});
    trial_keep(t, rgb);
    if (alpha.valid) trial_keep(t, alpha);
    dev_free(t->d, &alpha);
    dev_free(t->d, &rgb);
    dev_free(t->d, &codes);
}

static void to_codes(Trial *t, const void *shape)
{
    const CodesCase *c = shape;
    Tensor codes = codes_of(t, c), rgb = picture(t, 3, c->h, c->w), alpha = {0};
    if (c->channels % 2 == 0) alpha = picture(t, 1, c->h, c->w);
    dev_to_codes(t->d, &(CodesArgs){.codes = codes, .rgb = rgb, .alpha = alpha, .channels = c->channels, .bits = c->bits,
                                    .is_signed = c->is_signed, .tpdf = c->tpdf, .seed = (uint64_t)9 << 32 | 5, .frame = -3});
    trial_keep(t, codes);
    dev_free(t->d, &alpha);
    dev_free(t->d, &rgb);
    dev_free(t->d, &codes);
}

/* ------------------------------------------------------------------------------------------------------------ colour */

typedef struct ColorCase {
    const char *name;
    ColorMethod method;
    int frames, h, w;
    bool other; /* the rules of FlashVSR */
    float strength;
} ColorCase;

static const ColorCase colors[] = {
    {"lab", COLOR_LAB, 1, 67, 131, .strength = 1},
    {"lab_frames", COLOR_LAB, 3, 5, 9, .strength = 0.5f},
    {"wavelet", COLOR_WAVELET, 2, 9, 133, .strength = 1},
    {"wavelet_uncapped", COLOR_WAVELET, 1, 40, 38, .other = true, .strength = 0.7f},
    {"hsv", COLOR_HSV, 1, 67, 131, .strength = 1},
    {"hsv_frames", COLOR_HSV, 3, 5, 9, .strength = 0.5f}, /* too few pixels for any bin to count */
    {"wavelet_adaptive", COLOR_WAVELET_ADAPTIVE, 2, 37, 69, .strength = 1},
    {"adain", COLOR_ADAIN, 2, 37, 133, .strength = 1},
    {"adain_population", COLOR_ADAIN, 1, 5, 7, .other = true, .strength = 1},
};

static void color(Trial *t, const void *shape)
{
    const ColorCase *c = shape;
    Tensor content = trial_floats(t, 3 * c->frames, c->h, 1, c->w, 0.5f);
    Tensor style = trial_floats(t, 3 * c->frames, c->h, 1, c->w, 0.4f);
    dev_color(t->d, &(ColorArgs){c->method, content, style, c->other, c->other, c->strength});
    trial_keep(t, content);
    dev_free(t->d, &style);
    dev_free(t->d, &content);
}

/* ---------------------------------------------------------------------------------------------------------- families */

#define PICTURE_BOUNDS .bounds = {0, 0, 0, 0, 0} /* the same bits everywhere */

const TrialFamily trial_picture_families[] = {
    {TRIAL_FAMILY("from_planes", from_planes, from_planes_cases), .bounds = {0, 4e-3, 4e-3, 4e-3, 4e-3}},
    {TRIAL_FAMILY("to_planes", to_planes, to_planes_cases), .bounds = {1e-6, 4e-3, 4e-3, 4e-3, 4e-3}},
    {TRIAL_FAMILY("noise", noise, noises), PICTURE_BOUNDS},
    {TRIAL_FAMILY("input_noise", input_noise, noises), PICTURE_BOUNDS},
    {TRIAL_FAMILY("resize", resize, resizes), PICTURE_BOUNDS},
    {TRIAL_FAMILY("from_codes", from_codes, codes_cases), PICTURE_BOUNDS},
    {TRIAL_FAMILY("to_codes", to_codes, codes_cases), PICTURE_BOUNDS},
    {TRIAL_FAMILY("color", color, colors), PICTURE_BOUNDS},
};
const size_t trial_picture_family_count = sizeof trial_picture_families / sizeof *trial_picture_families;
