/*
 * Operations on whole pictures against the functions of kernels/cpu that define them, on planes whose rows have gaps: the same
 * bits on every device.
 */
#include "kernels/cpu/color.h"
#include "kernels/cpu/noise.h"
#include "kernels/cpu/pad.h"
#include "kernels/cpu/quantize.h"
#include "kernels/cpu/resize.h"
#include "runtime/picture_device.h"
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

/* [planes][h][w] to planes of a device, and back. */
static Tensor planes_in(Dev *d, const float *values, int planes, int h, int w)
{
    return upload_floats(d, values, planes, h, 1, w);
}

static Tensor planes_of(Dev *d, int planes, int h, int w)
{
    Tensor x = dev_floats(d, planes, h, 1, w);
    poison(d, x);
    return x;
}

/* What rows have beyond w is zero, so that they may be read whole. */
static void planes_out(Dev *d, Tensor x, float *values)
{
    const float *from = dev_read(d, x);
    for (int i = 0; from != NULL && i < x.t * x.h * x.w; i++) {
        memcpy(values + i * x.c, from + i * x.c_pad, (size_t)x.c * sizeof *values);
        for (int c = x.c; c < x.c_pad; c++) check_true(from[i * x.c_pad + c] == 0.0f, "row %d does not end in zeros", i);
    }
    dev_read_end(d, from);
}

/* ------------------------------------------------------------------------------------------------------------- noise */

typedef struct Noise {
    int t, h, w, c, top, left;
    uint64_t seed;
    uint32_t stream;
    int64_t frame;
    int frame_step;
    float *want, *got;
} Noise;

static void noise_work(void *user, Dev *d)
{
    Noise *n = user;
    Tensor x = dev_floats(d, n->t, n->h, n->w, n->c);
    poison(d, x);
    dev_noise(d, &(NoiseArgs){x, n->seed, n->stream, n->frame, n->frame_step, n->top, n->left});
    check_poison(n->got, (size_t)(n->t * n->h * n->w * n->c));
    planes_out(d, x, n->got);
    dev_free(d, &x);
}

static void noise_done(void *user, const char *version)
{
    const Noise *n = user;
    check_equal(version, n->want, n->got, (size_t)(n->t * n->h * n->w * n->c) * sizeof(float));
}

static void noise(Noise n)
{
    if (!check_begin("dev_noise_%dx%dx%dx%d", n.t, n.h, n.w, n.c)) return;
    const size_t frame = (size_t)(n.h * n.w * n.c);
    n.want = check_floats(frame * (size_t)n.t);
    n.got = check_floats(frame * (size_t)n.t);
    for (int i = 0; i < n.t; i++)
        position_noise(n.seed, n.stream, n.frame + i * n.frame_step, n.top, n.left, n.h, n.w, n.c, n.want + (size_t)i * frame);
    each_device(noise_work, noise_done, &n);
    check_end();
}

typedef struct Planes {
    int h, w;
    double scale;
    float *from, *want, *got;
} Planes;

static void input_noise_work(void *user, Dev *d)
{
    const Planes *p = user;
    Tensor x = planes_in(d, p->from, 3, p->h, p->w);
    dev_input_noise(d, x, p->scale, 77, -4);
    check_poison(p->got, (size_t)(3 * p->h * p->w));
    planes_out(d, x, p->got);
    dev_free(d, &x);
}

static void planes_done(void *user, const char *version)
{
    const Planes *p = user;
    check_equal(version, p->want, p->got, (size_t)(3 * p->h * p->w) * sizeof(float));
}

static void over_planes(int h, int w, double scale)
{
    if (!check_begin("dev_input_noise_%dx%d_%g", h, w, scale)) return;
    const size_t count = (size_t)(3 * h * w);
    Planes p = {h, w, scale, check_random_floats(count, 1.0f), check_floats(count), check_floats(count)};
    memcpy(p.want, p.from, count * sizeof *p.want);
    input_noise(p.want, h, w, scale, 77, -4);
    each_device(input_noise_work, planes_done, &p);
    check_end();
}

/* ------------------------------------------------------------------------------------------------------------ resize */

typedef struct Resize {
    int planes, h, w, to_h, to_w;
    ResizeWindow window; /* h 0: none */
    int out_h, out_w;    /* of the window, filled up */
    ResizeAxis columns, rows;
    float *from, *want, *got;
} Resize;

static void resize_work(void *user, Dev *d)
{
    Resize *r = user;
    Tensor x = planes_in(d, r->from, r->planes, r->h, r->w), y = planes_of(d, r->planes, r->out_h, r->out_w);
    dev_resize(d, &(ResizeArgs){x, y, &r->columns, &r->rows, r->window.h > 0 ? &r->window : NULL});
    check_poison(r->got, (size_t)(r->planes * r->out_h * r->out_w));
    planes_out(d, y, r->got);
    dev_free(d, &y);
    dev_free(d, &x);
}

static void resize_done(void *user, const char *version)
{
    const Resize *r = user;
    check_equal(version, r->want, r->got, (size_t)(r->planes * r->out_h * r->out_w) * sizeof(float));
}

/* What the encoder is given: kernels/cpu/resize.h does it with the window in one call. */
static void transformed(const Resize *r)
{
    FrameTransform t;
    const int sizes[1][2] = {{r->to_h, r->to_w}};
    const ResizeWindow *w = &r->window;
    check_true(frame_transform_init(&t, r->h, r->w, 1, sizes), "no memory");
    frame_transform_window(&t, w->top, w->left, w->h, w->w, r->out_h, r->out_w, w->pad_edge);
    frame_transform(&t, r->from, r->planes, r->want, check_floats(frame_transform_scratch(&t)));
    frame_transform_free(&t);
}

/* What FlashVSR sees: resized, 2 u - 1 without bounds, filled up all around. */
static void surrounded(const Resize *r)
{
    const size_t count = (size_t)(r->planes * r->to_h * r->to_w);
    float *whole = check_floats(count);
    resize_planes(&r->columns, &r->rows, r->from, r->planes, whole, check_floats(resize_scratch(&r->columns, &r->rows)));
    for (size_t i = 0; i < count; i++) whole[i] = whole[i] * 2.0f - 1.0f;
    pad_mirrored(whole, r->planes, r->to_h, r->to_w, -r->window.top, -r->window.left, r->out_h, r->out_w, r->want);
}

static void resize(Resize r)
{
    if (!check_begin("dev_resize_%dx%dx%d_%dx%d_window%dx%d%s", r.planes, r.h, r.w, r.to_h, r.to_w, r.window.h, r.window.w,
                     r.window.around ? "_around" : r.window.pad_edge ? "_edge" : "")) return;
    if (r.window.h == 0) r.out_h = r.to_h, r.out_w = r.to_w;
    const size_t in = (size_t)(r.planes * r.h * r.w), out = (size_t)(r.planes * r.out_h * r.out_w);
    check_true(resize_axis_init(&r.columns, r.w, r.to_w) && resize_axis_init(&r.rows, r.h, r.to_h), "no memory");
    r.from = check_floats(in), r.want = check_floats(out), r.got = check_floats(out);
    check_uniform(r.from, in, 0, 1);
    if (r.window.around) surrounded(&r);
    else if (r.window.h > 0) transformed(&r);
    else
        resize_planes(&r.columns, &r.rows, r.from, r.planes, r.want, check_floats(resize_scratch(&r.columns, &r.rows)));
    each_device(resize_work, resize_done, &r);
    resize_axis_free(&r.columns);
    resize_axis_free(&r.rows);
    check_end();
}

/* ------------------------------------------------------------------------------------------------------------- codes */

typedef struct Codes {
    int h, w, channels, bits;
    bool alpha, is_signed, tpdf;
    uint8_t *codes, *got_codes;
    float *rgb, *unit, *plane, *got, *got_alpha;
} Codes;

static size_t code_count(const Codes *c) { return (size_t)(c->h * c->w * c->channels) * (c->bits > 8 ? 2 : 1); }

static void from_codes_work(void *user, Dev *d)
{
    Codes *c = user;
    Tensor codes = dev_bytes(d, (int64_t)code_count(c)), rgb = planes_of(d, 3, c->h, c->w), alpha = {0};
    if (c->alpha) alpha = planes_of(d, 1, c->h, c->w);
    dev_bytes_in(d, codes, c->codes, code_count(c));
    dev_from_codes(d, &(CodesArgs){.codes = codes, .rgb = rgb, .alpha = alpha, .channels = c->channels, .bits = c->bits});
    check_poison(c->got, (size_t)(3 * c->h * c->w));
    planes_out(d, rgb, c->got);
    if (c->alpha) planes_out(d, alpha, c->got_alpha);
    dev_free(d, &alpha);
    dev_free(d, &rgb);
    dev_free(d, &codes);
}

static void from_codes_done(void *user, const char *version)
{
    const Codes *c = user;
    const size_t plane = (size_t)(c->h * c->w);
    check_equal(version, c->rgb, c->got, 3 * plane * sizeof(float));
    if (c->alpha) check_equal(version, c->plane, c->got_alpha, plane * sizeof(float));
}

static void to_codes_work(void *user, Dev *d)
{
    Codes *c = user;
    Tensor codes = dev_bytes(d, (int64_t)code_count(c)), rgb = planes_in(d, c->rgb, 3, c->h, c->w), alpha = {0};
    if (c->channels % 2 == 0) alpha = planes_in(d, c->plane, 1, c->h, c->w);
    dev_to_codes(d, &(CodesArgs){.codes = codes, .rgb = rgb, .alpha = alpha, .channels = c->channels, .bits = c->bits,
                                 .is_signed = c->is_signed, .tpdf = c->tpdf, .seed = (uint64_t)9 << 32 | 5, .frame = -3});
    memset(c->got_codes, 0xA5, code_count(c));
    dev_bytes_out(d, codes, c->got_codes, code_count(c));
    dev_free(d, &alpha);
    dev_free(d, &rgb);
    dev_free(d, &codes);
}

static void to_codes_done(void *user, const char *version)
{
    const Codes *c = user;
    check_equal(version, c->codes, c->got_codes, code_count(c));
}

static void fill_codes(Codes *c)
{
    const size_t plane = (size_t)(c->h * c->w);
    c->codes = check_bytes(code_count(c));
    c->got_codes = check_bytes(code_count(c));
    c->rgb = check_floats(3 * plane);
    c->unit = check_floats(3 * plane);
    c->plane = check_floats(plane);
    c->got = check_floats(3 * plane);
    c->got_alpha = check_floats(plane);
}

static void from_codes(Codes c)
{
    if (!check_begin("dev_from_codes_%dx%dx%d_%dbit%s", c.h, c.w, c.channels, c.bits, c.alpha ? "_alpha" : "")) return;
    fill_codes(&c);
    for (size_t i = 0; i < code_count(&c); i++) c.codes[i] = (uint8_t)check_random();
    const ptrdiff_t stride = (ptrdiff_t)code_count(&c) / c.h;
    picture_to_unit(c.codes, stride, c.h, c.w, c.channels, c.bits, c.rgb, c.alpha ? c.plane : NULL);
    each_device(from_codes_work, from_codes_done, &c);
    check_end();
}

static void to_codes(Codes c)
{
    if (!check_begin("dev_to_codes_%dx%dx%d_%dbit%s%s", c.h, c.w, c.channels, c.bits, c.is_signed ? "_signed" : "",
                     c.tpdf ? "_tpdf" : "")) return;
    fill_codes(&c);
    const size_t plane = (size_t)(c.h * c.w);
    const int bytes = c.bits > 8 ? 2 : 1;
    check_uniform(c.rgb, 3 * plane, -1.2f, 1.2f);
    check_uniform(c.plane, plane, -0.1f, 1.1f);
    c.rgb[0] = NAN, c.rgb[plane + 1] = -INFINITY, c.rgb[2 * plane + 2] = INFINITY;
    memcpy(c.unit, c.rgb, 3 * plane * sizeof *c.unit);
    if (c.is_signed) to_unit(c.rgb, 3 * plane, c.unit);
    for (int i = 0; i < c.channels; i++) {
        const float *from = c.channels % 2 == 0 && i == c.channels - 1 ? c.plane : c.unit + (size_t)i * plane;
        quantize_plane(from, c.h, c.w, c.bits, c.tpdf, (uint64_t)9 << 32 | 5, -3, i, c.codes + i * bytes,
                       (ptrdiff_t)c.w * c.channels * bytes, c.channels);
    }
    each_device(to_codes_work, to_codes_done, &c);
    check_end();
}

/* ------------------------------------------------------------------------------------------------------------ colour */

typedef struct Color {
    ColorMethod method;
    int frames, h, w;
    bool other; /* the rules of FlashVSR */
    float strength;
    float *content, *style, *want, *got;
} Color;

static void color_work(void *user, Dev *d)
{
    Color *c = user;
    Tensor content = planes_in(d, c->content, 3 * c->frames, c->h, c->w);
    Tensor style = planes_in(d, c->style, 3 * c->frames, c->h, c->w);
    dev_color(d, &(ColorArgs){c->method, content, style, c->other, c->other, c->strength});
    check_poison(c->got, (size_t)(3 * c->frames * c->h * c->w));
    planes_out(d, content, c->got);
    dev_free(d, &style);
    dev_free(d, &content);
}

/* The first pixels: a hue that rounds to 1, which is red's, greys, and red from the other side. */
static void rare_hues(const Color *c)
{
    static const float rare[][3] = {{1, -1, -0.99999994f}, {0.5f, 0.5f, 0.5f}, {-1, -1, -1}, {0.75f, -0.5f, -0.25f}, {1, 1, 0}};
    const size_t plane = (size_t)(c->h * c->w);
    for (size_t i = 0; i < sizeof rare / sizeof *rare && i < plane; i++)
        for (size_t channel = 0; channel < 3; channel++) c->content[channel * plane + i] = rare[i][channel];
}

static void color_done(void *user, const char *version)
{
    const Color *c = user;
    check_equal(version, c->want, c->got, (size_t)(3 * c->frames * c->h * c->w) * sizeof(float));
}

/* steps: of the style's values, few of which make ties; 0: as fine as floats are. */
static void color(Color c, int steps)
{
    static const char *const names[] = {"lab", "none", "wavelet", "wavelet_adaptive", "hsv", "adain"};
    if (!check_begin("dev_color_%s_%dx%dx%d%s_strength%g", names[c.method], c.frames, c.h, c.w, c.other ? "_other" : "",
                     (double)c.strength)) return;
    const size_t count = (size_t)(3 * c.frames * c.h * c.w);
    c.content = check_floats(count), c.style = check_floats(count), c.want = check_floats(count), c.got = check_floats(count);
    check_uniform(c.content, count, -1.05f, 1.05f);
    check_uniform(c.style, count, -1, 1);
    for (size_t i = 0; steps > 0 && i < count; i++) c.style[i] = roundf(c.style[i] * (float)steps) / (float)steps;
    rare_hues(&c);
    memcpy(c.want, c.content, count * sizeof *c.want);
    float *scratch = check_floats(color_scratch(c.method, c.frames, c.h, c.w) / sizeof(float) + 1);
    if (c.method == COLOR_WAVELET) color_wavelet(c.want, c.style, c.frames, c.h, c.w, !c.other, c.want, scratch);
    else if (c.method == COLOR_ADAIN) color_adain(c.want, c.style, c.frames, c.h, c.w, c.other, c.want);
    else color_correct(c.method, c.want, c.style, c.frames, c.h, c.w, c.want, scratch);
    if (c.strength != 1) color_mix(c.want, c.style, count, c.strength);
    each_device(color_work, color_done, &c);
    check_end();
}

void test_picture(void)
{
    noise((Noise){.t = 2, .h = 3, .w = 70, .c = 16, .top = 5, .left = 11, .seed = 0x123456789abcdef0u, .frame = -1,
                  .frame_step = 4});
    noise((Noise){.t = 1, .h = 2, .w = 37, .c = 3, .seed = 42, .stream = NOISE_AUGMENT, .frame = 1000000});
    noise((Noise){.t = 3, .h = 1, .w = 5, .c = 5, .top = 1, .left = 2, .seed = 1, .frame_step = -2});
    noise((Noise){.t = 1, .h = 1, .w = 3, .c = 18, .seed = 2, .frame = 7});
    over_planes(3, 131, 0.6);
    over_planes(2, 8, 1.0);
    resize((Resize){.planes = 3, .h = 7, .w = 9, .to_h = 13, .to_w = 150});
    resize((Resize){.planes = 2, .h = 47, .w = 301, .to_h = 9, .to_w = 37});
    resize((Resize){.planes = 1, .h = 6, .w = 33, .to_h = 75, .to_w = 33});
    resize((Resize){.planes = 1, .h = 5, .w = 7, .to_h = 5, .to_w = 1});
    resize((Resize){.planes = 3, .h = 9, .w = 21, .to_h = 40, .to_w = 50, .window = {.h = 40, .w = 50},
                    .out_h = 48, .out_w = 64});
    resize((Resize){.planes = 3, .h = 9, .w = 21, .to_h = 40, .to_w = 50, .window = {.h = 40, .w = 50, .pad_edge = true},
                    .out_h = 80, .out_w = 53});
    resize((Resize){.planes = 3, .h = 19, .w = 21, .to_h = 37, .to_w = 41, .window = {.top = 2, .left = 4, .h = 32, .w = 32},
                    .out_h = 32, .out_w = 32});
    resize((Resize){.planes = 3, .h = 19, .w = 21, .to_h = 38, .to_w = 42, .window = {-13, -11, 38, 42, false, true},
                    .out_h = 64, .out_w = 64});
    resize((Resize){.planes = 2, .h = 9, .w = 11, .to_h = 18, .to_w = 22, .window = {-7, -53, 18, 22, false, true},
                    .out_h = 32, .out_w = 128});
    for (int channels = 1; channels <= 4; channels++) {
        from_codes((Codes){.h = 3, .w = 261, .channels = channels, .bits = 8, .alpha = channels % 2 == 0});
        from_codes((Codes){.h = 2, .w = 7, .channels = channels, .bits = 10});
        to_codes((Codes){.h = 3, .w = 261, .channels = channels, .bits = 8, .is_signed = true});
        to_codes((Codes){.h = 3, .w = 37, .channels = channels, .bits = 16, .tpdf = true});
    }
    from_codes((Codes){.h = 2, .w = 6, .channels = 4, .bits = 16, .alpha = true});
    to_codes((Codes){.h = 5, .w = 11, .channels = 3, .bits = 5, .is_signed = true, .tpdf = true});
    color((Color){.method = COLOR_WAVELET, .frames = 2, .h = 9, .w = 133, .strength = 1}, 0);
    color((Color){.method = COLOR_WAVELET, .frames = 1, .h = 40, .w = 38, .other = true, .strength = 0.7f}, 0);
    color((Color){.method = COLOR_WAVELET, .frames = 1, .h = 1, .w = 1, .strength = 1}, 0);
    color((Color){.method = COLOR_ADAIN, .frames = 2, .h = 37, .w = 301, .strength = 1}, 0);
    color((Color){.method = COLOR_ADAIN, .frames = 1, .h = 5, .w = 7, .other = true, .strength = 0.25f}, 0);
    color((Color){.method = COLOR_ADAIN, .frames = 1, .h = 1, .w = 1, .strength = 1}, 0);
    color((Color){.method = COLOR_LAB, .frames = 1, .h = 67, .w = 131, .strength = 1}, 127);
    color((Color){.method = COLOR_LAB, .frames = 3, .h = 5, .w = 9, .strength = 0.5f}, 0);
    color((Color){.method = COLOR_HSV, .frames = 1, .h = 41, .w = 67, .strength = 1}, 50);
    color((Color){.method = COLOR_HSV, .frames = 3, .h = 37, .w = 45, .strength = 0.5f}, 0);
    color((Color){.method = COLOR_HSV, .frames = 1, .h = 5, .w = 7, .strength = 1}, 0); /* too few for any bin to count */
    color((Color){.method = COLOR_WAVELET_ADAPTIVE, .frames = 1, .h = 41, .w = 67, .strength = 0.5f}, 50);
    color((Color){.method = COLOR_WAVELET_ADAPTIVE, .frames = 2, .h = 33, .w = 131, .strength = 1}, 0);
    color((Color){.method = COLOR_NONE, .frames = 1, .h = 3, .w = 5, .strength = 0.5f}, 0);
}

/* -------------------------------------------------------------------------------------------- a device beside networks */

/* done: whether it is the device that has to do it. */
static void beside(PictureDevice *p, PictureColors c, bool done)
{
    const size_t count = (size_t)(3 * c.frames * c.h * c.w);
    float *want = check_floats(count);
    c.content = check_random_floats(count, 0.5f);
    c.style = check_random_floats(count, 0.5f);
    memcpy(want, c.content, count * sizeof *want);
    check_true(picture_device_color(p, &c) == done, "done by the %s", done ? "host" : "device");
    float *scratch = check_floats(color_scratch(c.method, c.frames, c.h, c.w) / sizeof(float) + 1);
    if (done && c.method == COLOR_WAVELET) color_wavelet(want, c.style, c.frames, c.h, c.w, !c.uncapped, want, scratch);
    else if (done && c.method == COLOR_ADAIN) color_adain(want, c.style, c.frames, c.h, c.w, c.population, want);
    else if (done) color_correct(c.method, want, c.style, c.frames, c.h, c.w, want, scratch);
    check_equal("content", want, c.content, count * sizeof *want);
}

/* A source frame to what FlashVSR sees, and a decoded picture to codes: as the host does it, step by step. done, finished: by the
 * device. Returns what both together need of it. */
static uint64_t frames_beside(const DevSetup *setup, PictureDevice *p, bool done, bool finished)
{
    enum { H = 19, W = 21, GROWN_H = 38, GROWN_W = 42, SIDE = 64, TOP = 13, LEFT = 11, FRAME = 5 };
    enum { PLANE = SIDE * SIDE, ALL = 3 * PLANE, KEPT = GROWN_H * GROWN_W };
    ResizeAxis x, y;
    check_true(resize_axis_init(&x, W, GROWN_W) && resize_axis_init(&y, H, GROWN_H), "no memory");
    uint8_t source[H * W * 4], codes[KEPT * 4], want_codes[KEPT * 4];
    for (int i = 0; i < H * W * 4; i++) source[i] = (uint8_t)(i * 37 + i / 11);
    const PictureSource s = {.codes = source, .width = W, .height = H, .channels = 4, .bits = 8, .steps = 1, .columns = {&x},
                             .rows = {&y}, .window = {-TOP, -LEFT, GROWN_H, GROWN_W, false, true}, .out_h = SIDE, .out_w = SIDE};
    float *unit = check_floats((size_t)(3 * H * W)), *grown = check_floats((size_t)(3 * KEPT)), *style = check_floats(ALL);
    float *low = check_floats(ALL), *noisy = check_floats(ALL), *alpha = check_floats(KEPT);
    picture_to_unit(source, W * 4, H, W, 4, 8, unit, NULL);
    resize_planes(&x, &y, unit, 3, grown, check_floats(resize_scratch(&x, &y)));
    for (int i = 0; i < 3 * KEPT; i++) grown[i] = grown[i] * 2.0f - 1.0f;
    pad_mirrored(grown, 3, GROWN_H, GROWN_W, TOP, LEFT, SIDE, SIDE, style);
    check_true(picture_device_input(p, &s, 0, 0, 0, low) == done, "input by the %s", done ? "host" : "device");
    if (done) check_equal("input", style, low, ALL * sizeof *low);
    memcpy(noisy, style, ALL * sizeof *noisy);
    input_noise(noisy, SIDE, SIDE, 0.3, 9, FRAME);
    check_true(picture_device_input(p, &s, 0.3, 9, FRAME, low) == done, "input by the %s", done ? "host" : "device");
    if (done) check_equal("input with noise", noisy, low, ALL * sizeof *low);

    float *content = check_random_floats(ALL, 0.5f), *decoded = check_floats(ALL);
    check_uniform(alpha, KEPT, 0, 1);
    memcpy(decoded, content, ALL * sizeof *decoded);
    const PictureResult r = {.colors = {.method = COLOR_ADAIN, .population = true, .frames = 1, .h = SIDE, .w = SIDE,
                                        .content = content},
                             .style = &s, .strength = 0.7f, .top = TOP, .left = LEFT, .h = GROWN_H, .w = GROWN_W, .alpha = alpha,
                             .form = {4, 8, true, 77}, .frame = FRAME, .codes = codes};
    check_true(picture_device_finish(p, &r) == finished, "finished by the %s", finished ? "host" : "device");
    check_equal("what was decoded", decoded, content, ALL * sizeof *decoded);
    color_adain(decoded, style, 1, SIDE, SIDE, true, decoded);
    color_mix(decoded, style, ALL, 0.7f);
    to_unit(decoded, ALL, decoded);
    for (int c = 0; c < 4; c++)
        for (int row = 0; row < GROWN_H; row++)
            quantize_row(c == 3 ? alpha + row * GROWN_W : decoded + c * PLANE + (TOP + row) * SIDE + LEFT, GROWN_W, 8, true, 77,
                         FRAME, c, row, want_codes + row * GROWN_W * 4 + c, 4);
    if (finished) check_equal("codes", want_codes, codes, sizeof codes);
    const uint64_t need = picture_device_need(setup, &(PictureJob){.input = &s, .result = &r});
    resize_axis_free(&x);
    resize_axis_free(&y);
    return need;
}

/* Results begun ahead: the codes of those that are waited for one by one, in whatever order they are asked for. */
static void test_ahead(const DevSetup *setup)
{
    enum { COUNT = 4, SIDE = 40, ALL = 3 * SIDE * SIDE };
    static uint8_t codes[COUNT][ALL], want[COUNT][ALL];
    static const int orders[][COUNT] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {3, 0, 1, 2}};
    PictureResult r[COUNT];
    if (!check_begin("picture_device/ahead")) return;
    PictureDevice *p = picture_device_open(setup, 0, UINT64_MAX);
    for (int i = 0; i < COUNT; i++) {
        r[i] = (PictureResult){.colors = {.frames = 1, .h = SIDE, .w = SIDE, .content = check_random_floats(ALL, 0.5f)},
                               .h = SIDE, .w = SIDE, .form = {3, 8, i % 2 == 0, 77}, .frame = i, .codes = want[i]};
        check_true(picture_device_finish(p, &r[i]), "result %d", i);
        r[i].codes = codes[i];
    }
    for (int order = 0; order < 3; order++) {
        memset(codes, 0, sizeof codes);
        for (int i = 0; i < COUNT; i++) {
            picture_device_ahead(p, &r[i]);
            if (i + 1 < COUNT) picture_device_ahead(p, &r[i + 1]);
            if (i == 2) beside(p, (PictureColors){.method = COLOR_WAVELET, .frames = 1, .h = 9, .w = 13}, true);
            const int asked = orders[order][i];
            check_true(picture_device_finish(p, &r[asked]), "result %d, begun ahead", asked);
        }
        check_equal("codes of results begun ahead", want, codes, sizeof codes);
    }
    picture_device_ahead(p, &r[0]); /* on its way when the device is closed */
    picture_device_close(p);
    check_end();
}

/* What a job needs, told beforehand: it suffices, and nothing less does. */
static void test_planned(const DevSetup *setup)
{
    const uint64_t mib = (uint64_t)1 << 20;
    if (!check_begin("picture_device/planned")) return;
    const uint64_t need = frames_beside(setup, NULL, false, false);
    PictureDevice *p = picture_device_open(setup, need, need);
    frames_beside(setup, p, true, true);
    picture_device_close(p);
    p = picture_device_open(setup, 0, need - 1);
    frames_beside(setup, p, true, false); /* results take more than inputs */
    picture_device_close(p);
    check_true(picture_device_need(&(DevSetup){0}, &(PictureJob){0}) == 0, "the CPU has no memory of its own");
    check_true(picture_device_beside(10 * mib, 0, 0) == 10 * mib, "no limit");
    check_true(picture_device_beside(10 * mib, 366 * mib, 100 * mib) == 10 * mib, "256 MiB are left");
    check_true(picture_device_beside(10 * mib, 366 * mib, 100 * mib + 1) == 0, "less is left");
    check_true(picture_device_beside(10 * mib, 100 * mib, 366 * mib) == 0, "nothing is left");
    check_end();
}

/* One device for pictures of all sizes; none where there is no room. */
void test_cuda_picture(void)
{
    const DevSetup setup = {.cuda = test_cuda(), .precision = DEV_BF16};
    test_ahead(&setup);
    test_planned(&setup);
    if (!check_begin("picture_device")) return;
    PictureDevice *p = picture_device_open(&setup, 0, UINT64_MAX);
    check_true(p != NULL, "no memory");
    beside(p, (PictureColors){.method = COLOR_LAB, .frames = 1, .h = 9, .w = 13}, true);
    beside(p, (PictureColors){.method = COLOR_LAB, .frames = 3, .h = 17, .w = 21}, true);
    beside(p, (PictureColors){.method = COLOR_WAVELET, .frames = 1, .h = 9, .w = 13}, true);
    beside(p, (PictureColors){.method = COLOR_WAVELET, .uncapped = true, .frames = 1, .h = 9, .w = 13}, true);
    beside(p, (PictureColors){.method = COLOR_ADAIN, .population = true, .frames = 1, .h = 9, .w = 13}, true);
    beside(p, (PictureColors){.method = COLOR_HSV, .frames = 1, .h = 9, .w = 13}, true);
    frames_beside(&setup, p, true, true);
    picture_device_close(p);
    p = picture_device_open(&setup, 0, 1000);
    frames_beside(&setup, p, false, false);
    beside(p, (PictureColors){.method = COLOR_LAB, .frames = 1, .h = 9, .w = 13}, false);
    picture_device_close(p);
    check_true(picture_device_open(&(DevSetup){0}, 0, UINT64_MAX) == NULL, "the CPU is a device of its own");
    beside(NULL, (PictureColors){.method = COLOR_LAB, .frames = 1, .h = 9, .w = 13}, false);
    check_end();
}
