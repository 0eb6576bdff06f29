/* What is done to whole pictures ahead of networks and behind them. */
#include "runtime/bench/cases.h"

#include "kernels/cpu/noise.h"
#include "kernels/cpu/resize.h"

/* x and y, and how the one becomes the other. */
typedef struct PictureRun {
    Dev *device;
    ResizeAxis columns, rows;
    Tensor x, y;
    PlaneWeights weights;
    PlaneCells cells;
    ColorMethod method;
} PictureRun;

/* What is given back in the end, whatever of it there is. */
static void picture_end(PictureRun *r)
{
    dev_free(r->device, &r->weights.total);
    dev_free(r->device, &r->weights.columns);
    dev_free(r->device, &r->weights.rows);
    dev_free(r->device, &r->y);
    dev_free(r->device, &r->x);
}

/* ------------------------------------------------------------------------------------------------------------- resize */

typedef struct ResizeShape {
    const char *name;
    int from_h, from_w, to_h, to_w;
} ResizeShape;

static const ResizeShape sizes[] = {
    {"270x480-1080x1920", 270, 480, 1080, 1920},
    {"1080x1920-2160x3840", 1080, 1920, 2160, 3840},
    {"2160x3840-1080x1920", 2160, 3840, 1080, 1920},
    {"12x20-24x40", 12, 20, 24, 40},
};

static void resize_body(void *context)
{
    const PictureRun *r = context;
    dev_resize(r->device, &(ResizeArgs){.x = r->x, .y = r->y, .columns = &r->columns, .rows = &r->rows});
}

static bool resize(Bench *b, const void *shape)
{
    const ResizeShape *s = shape;
    PictureRun r = {.device = b->device};
    const bool ok = resize_axis_init(&r.columns, s->from_w, s->to_w) && resize_axis_init(&r.rows, s->from_h, s->to_h);
    if (ok) {
        r.x = bench_planes(b, 3, s->from_h, s->from_w);
        r.y = bench_planes(b, 3, s->to_h, s->to_w);
        bench_time(b, resize_body, &r);
        picture_end(&r);
    }
    resize_axis_free(&r.columns);
    resize_axis_free(&r.rows);
    return ok;
}

/* ------------------------------------------------------------------------------------------------------------- colour */

typedef struct ColorShape {
    const char *name;
    ColorMethod method;
    int h, w;
} ColorShape;

static const ColorShape colors[] = {
    {"lab/1080x1920", COLOR_LAB, 1080, 1920},
    {"wavelet/1080x1920", COLOR_WAVELET, 1080, 1920},
    {"wavelet_adaptive/1080x1920", COLOR_WAVELET_ADAPTIVE, 1080, 1920},
    {"hsv/1080x1920", COLOR_HSV, 1080, 1920},
    {"adain/1080x1920", COLOR_ADAIN, 1080, 1920},
    {"adain/16x24", COLOR_ADAIN, 16, 24},
};

static void color_body(void *context)
{
    const PictureRun *r = context;
    dev_color(r->device, &(ColorArgs){.method = r->method, .content = r->y, .style = r->x, .strength = 1});
}

static bool color(Bench *b, const void *shape)
{
    const ColorShape *s = shape;
    PictureRun r = {.device = b->device, .method = s->method};
    r.x = bench_planes(b, 3, s->h, s->w);
    r.y = bench_planes(b, 3, s->h, s->w);
    bench_count(b, r.y); /* in place */
    bench_time(b, color_body, &r);
    picture_end(&r);
    return true;
}

/* ----------------------------------------------------------------------------------------------- planes, codes, noise */

/* planes: of samples; side: of the cells that become one pixel's channels. */
typedef struct PlanesShape {
    const char *name;
    int planes, h, w, side;
} PlanesShape;

static const PlanesShape pictures[] = {{"3/1080x1920", 3, 1080, 1920, 1}, {"3/16x24", 3, 16, 24, 1}};
static const PlanesShape cells[] = {
    {"3/1080x1920", 3, 1080, 1920, 1},
    {"3/1152x1920/cells8", 3, 1152, 1920, 8},
    {"3/1152x1920/cells16", 3, 1152, 1920, 16},
    {"3/16x24", 3, 16, 24, 1},
};
static const PlanesShape latents[] = {{"16/135x240", 16, 135, 240, 1}, {"16/8x10", 16, 8, 10, 1}};

static void from_planes_body(void *context)
{
    const PictureRun *r = context;
    dev_from_planes(r->device, r->y, r->x, &r->cells);
}

static bool from_planes(Bench *b, const void *shape)
{
    const PlanesShape *s = shape;
    PictureRun r = {.device = b->device, .cells = {.side = s->side, .step = 1}};
    r.x = bench_planes(b, s->planes, s->h, s->w);
    r.y = bench_tensor(b, 1, s->h / s->side, s->w / s->side, s->planes * s->side * s->side);
    bench_time(b, from_planes_body, &r);
    picture_end(&r);
    return true;
}

static void to_planes_body(void *context)
{
    const PictureRun *r = context;
    dev_to_planes(r->device, r->y, r->x, r->weights.rows.valid ? &r->weights : NULL);
}

static bool to_planes(Bench *b, const void *shape)
{
    const PlanesShape *s = shape;
    PictureRun r = {.device = b->device};
    r.x = bench_tensor(b, 1, s->h, s->w, s->planes);
    r.y = bench_planes(b, s->planes, s->h, s->w);
    bench_time(b, to_planes_body, &r);
    picture_end(&r);
    return true;
}

/* The share of a tile among those that overlap it. */
static bool blend(Bench *b, const void *shape)
{
    const PlanesShape *s = shape;
    PictureRun r = {.device = b->device};
    r.x = bench_tensor(b, 1, s->h, s->w, s->planes);
    r.y = bench_planes(b, s->planes, s->h, s->w);
    r.weights.rows = bench_floats(b, 1, 1, 1, s->h);
    r.weights.columns = bench_floats(b, 1, 1, 1, s->w);
    r.weights.total = bench_planes(b, 1, s->h, s->w);
    dev_axpby(b->device, r.weights.total, 1, r.weights.total, 2, (Tensor){0}); /* something to divide by */
    bench_time(b, to_planes_body, &r);
    picture_end(&r);
    return true;
}

static void noise_body(void *context)
{
    const PictureRun *r = context;
    dev_noise(r->device, &(NoiseArgs){.x = r->x, .seed = 42, .stream = NOISE_BASE});
}

static bool noise(Bench *b, const void *shape)
{
    const PlanesShape *s = shape;
    PictureRun r = {.device = b->device, .x = bench_floats(b, 1, s->h, s->w, s->planes)};
    bench_time(b, noise_body, &r);
    picture_end(&r);
    return true;
}

static void input_noise_body(void *context)
{
    const PictureRun *r = context;
    dev_input_noise(r->device, r->x, 0.5, 42, 0);
}

static bool input_noise_case(Bench *b, const void *shape)
{
    const PlanesShape *s = shape;
    PictureRun r = {.device = b->device, .x = bench_planes(b, s->planes, s->h, s->w)};
    bench_count(b, r.x); /* in place */
    bench_time(b, input_noise_body, &r);
    picture_end(&r);
    return true;
}

static void to_codes_body(void *context)
{
    const PictureRun *r = context;
    dev_to_codes(r->device, &(CodesArgs){.codes = r->y, .rgb = r->x, .channels = 3, .bits = 8, .is_signed = true});
}

static void from_codes_body(void *context)
{
    const PictureRun *r = context;
    dev_from_codes(r->device, &(CodesArgs){.codes = r->y, .rgb = r->x, .channels = 3, .bits = 8});
}

static bool time_codes(Bench *b, const PlanesShape *s, void (*body)(void *))
{
    const int64_t count = (int64_t)s->planes * s->h * s->w;
    PictureRun r = {.device = b->device};
    r.x = bench_planes(b, s->planes, s->h, s->w);
    r.y = dev_bytes(b->device, count);
    float *codes = dev_write(b->device, r.y);
    for (int64_t i = 0; codes != NULL && i < r.y.stride_t; i++) codes[i] = (float)(i & 255);
    dev_write_end(b->device, r.y, codes);
    b->bytes += (double)count;
    bench_time(b, body, &r);
    picture_end(&r);
    return true;
}

static bool to_codes(Bench *b, const void *shape) { return time_codes(b, shape, to_codes_body); }
static bool from_codes(Bench *b, const void *shape) { return time_codes(b, shape, from_codes_body); }

const BenchFamily bench_picture_families[] = {
    {BENCH_FAMILY("from_codes", from_codes, pictures), .is = BENCH_PLAIN},
    {BENCH_FAMILY("resize", resize, sizes), .is = BENCH_PLAIN},
    {BENCH_FAMILY("input_noise", input_noise_case, pictures), .is = BENCH_PLAIN},
    {BENCH_FAMILY("noise", noise, latents), .is = BENCH_PLAIN},
    {BENCH_FAMILY("from_planes", from_planes, cells), .is = BENCH_PLAIN},
    {BENCH_FAMILY("to_planes", to_planes, pictures), .is = BENCH_PLAIN},
    {BENCH_FAMILY("blend", blend, pictures), .is = BENCH_PLAIN},
    {BENCH_FAMILY("color", color, colors), .is = BENCH_PLAIN},
    {BENCH_FAMILY("to_codes", to_codes, pictures), .is = BENCH_PLAIN},
};
const size_t bench_picture_family_count = sizeof bench_picture_families / sizeof *bench_picture_families;
