#include "runtime/stream_picture.h"

#include "kernels/cpu/alpha.h"
#include "kernels/cpu/bicubic.h"
#include "kernels/cpu/clamp.h"
#include "kernels/cpu/color.h"
#include "kernels/cpu/pad.h"
#include "kernels/cpu/quantize.h"

#include <stdlib.h>

struct StreamPictures {
    StreamPictureSetup setup;
    ResizeAxis x, y;
    float *unit;        /* the source frame at hand, [4][height][width] */
    float *scaled;      /* its picture after the resize, [3][scaled_h][scaled_w] */
    float *low;         /* and padded, [3][padded_h][padded_w] */
    int64_t low_number; /* whose frame that is; -1: nobody's */
    float *scratch;
    void *codes; /* of the result at hand, where the device makes them */
};

static bool source_has_alpha(const StreamPictureSetup *s)
{
    return s->channels == 2 || s->channels == 4;
}

bool stream_pictures_has_alpha(const StreamPictureSetup *s)
{
    return source_has_alpha(s) && s->options->alpha != UPRES_ALPHA_DROP;
}

static size_t unit_floats(const StreamPictureSetup *s)
{
    return 4 * (size_t)s->width * (size_t)s->height;
}

static size_t scaled_floats(const StreamPictureSetup *s)
{
    return 3 * (size_t)s->size.scaled_w * (size_t)s->size.scaled_h;
}

static size_t padded_pixels(const StreamPictureSetup *s)
{
    return (size_t)s->size.padded_w * (size_t)s->size.padded_h;
}

/* For a resize, for alpha, and for colour, one at a time. */
static size_t scratch_floats(const StreamPictureSetup *s)
{
    const ResizeAxis x = {s->width, s->size.scaled_w, 4, NULL, NULL}, y = {s->height, s->size.scaled_h, 4, NULL, NULL};
    size_t most = resize_scratch(&x, &y);
    if (s->low_only) return most;
    size_t color =
        s->options->color == UPRES_COLOR_WAVELET
            ? color_scratch(COLOR_WAVELET, 1, s->size.padded_h, s->size.padded_w) / sizeof(float)
            : 0;
    size_t alpha = stream_pictures_has_alpha(s) ? alpha_scratch(&x, &y) : 0;
    if (color > most) most = color;
    return alpha > most ? alpha : most;
}

uint64_t stream_pictures_bytes(const StreamPictureSetup *s)
{
    return (unit_floats(s) + scaled_floats(s) + 3 * padded_pixels(s) + scratch_floats(s)) * sizeof(float);
}

static bool make_axes(StreamPictures *p)
{
    const StreamPictureSetup *s = &p->setup;
    return bicubic_axis_init(&p->x, s->width, s->size.scaled_w) && bicubic_axis_init(&p->y, s->height, s->size.scaled_h);
}

StreamPictures *stream_pictures_open(const StreamPictureSetup *s, Fault *f)
{
    StreamPictures *p = calloc(1, sizeof *p);
    if (p) {
        p->setup = *s;
        p->low_number = -1;
        p->unit = malloc(unit_floats(s) * sizeof(float));
        p->scaled = malloc(scaled_floats(s) * sizeof(float));
        p->low = malloc(3 * padded_pixels(s) * sizeof(float));
        p->scratch = malloc(scratch_floats(s) * sizeof(float));
        if (p->unit && p->scaled && p->low && p->scratch && make_axes(p)) return p;
    }
    stream_pictures_close(p);
    fault(f, UPRES_E_MEMORY, "no memory for the work on pictures of %dx%d; free some, or ask for a smaller --scale",
          s->size.scaled_w, s->size.scaled_h);
    return NULL;
}

void stream_pictures_close(StreamPictures *p)
{
    if (!p) return;
    resize_axis_free(&p->x);
    resize_axis_free(&p->y);
    free(p->unit);
    free(p->scaled);
    free(p->low);
    free(p->scratch);
    free(p->codes);
    free(p);
}

static void read_unit(StreamPictures *p, const void *source, bool alpha)
{
    const StreamPictureSetup *s = &p->setup;
    ptrdiff_t stride = (ptrdiff_t)s->width * s->channels * (s->bits > 8 ? 2 : 1);
    picture_to_unit(source, stride, s->height, s->width, s->channels, s->bits, p->unit,
                    alpha ? p->unit + 3 * (size_t)s->width * (size_t)s->height : NULL);
}

static PictureSource source_of(const StreamPictures *p, const void *source)
{
    const StreamPictureSetup *s = &p->setup;
    const StreamSize *z = &s->size;
    return (PictureSource){.codes = source,
                           .width = s->width,
                           .height = s->height,
                           .channels = s->channels,
                           .bits = s->bits,
                           .steps = 1,
                           .columns = {&p->x},
                           .rows = {&p->y},
                           .window = {-z->top, -z->left, z->scaled_h, z->scaled_w, false, true},
                           .out_h = z->padded_h,
                           .out_w = z->padded_w};
}

const float *stream_pictures_low(StreamPictures *p, const void *source, int64_t number)
{
    const StreamPictureSetup *s = &p->setup;
    const StreamSize *z = &s->size;
    if (p->low_number == number) return p->low;
    p->low_number = number;
    const PictureSource from = source_of(p, source);
    if (picture_device_input(s->device, &from, 0, 0, 0, p->low)) return p->low;
    read_unit(p, source, false);
    resize_planes(&p->x, &p->y, p->unit, 3, p->scaled, p->scratch);
    for (size_t i = 0; i < scaled_floats(s); i++) p->scaled[i] = p->scaled[i] * 2.0f - 1.0f;
    pad_mirrored(p->scaled, 3, z->scaled_h, z->scaled_w, z->top, z->left, z->padded_h, z->padded_w, p->low);
    return p->low;
}

static void correct(StreamPictures *p, const float *low, float *x)
{
    const StreamPictureSetup *s = &p->setup;
    int h = s->size.padded_h, w = s->size.padded_w;
    const bool adain = s->options->color == UPRES_COLOR_ADAIN, wavelet = s->options->color == UPRES_COLOR_WAVELET;
    const PictureColors c = {.method = adain ? COLOR_ADAIN : COLOR_WAVELET,
                             .uncapped = true,
                             .population = true,
                             .frames = 1,
                             .h = h,
                             .w = w,
                             .style = low,
                             .content = x};
    if ((adain || wavelet) && !picture_device_color(s->device, &c)) {
        if (adain) color_adain(x, low, 1, h, w, true, x);
        else color_wavelet(x, low, 1, h, w, false, x, p->scratch);
    }
    if (s->options->strength < 1) color_mix(x, low, 3 * padded_pixels(s), (float)s->options->strength);
}

/* style: the source's. */
static PictureResult result_of(const StreamPictures *p, const PictureSource *style, int64_t number, float *decoded,
                               const float *alpha)
{
    const StreamPictureSetup *s = &p->setup;
    const StreamSize *z = &s->size;
    const bool adain = s->options->color == UPRES_COLOR_ADAIN, wavelet = s->options->color == UPRES_COLOR_WAVELET;
    return (PictureResult){.colors = {.method = adain ? COLOR_ADAIN : wavelet ? COLOR_WAVELET : COLOR_NONE,
                                      .uncapped = true,
                                      .population = true,
                                      .frames = 1,
                                      .h = z->padded_h,
                                      .w = z->padded_w,
                                      .content = decoded},
                           .style = adain || wavelet || s->options->strength < 1 ? style : NULL,
                           .strength = (float)s->options->strength,
                           .top = z->top,
                           .left = z->left,
                           .h = z->scaled_h,
                           .w = z->scaled_w,
                           .alpha = alpha,
                           .form = s->form,
                           .frame = number,
                           .codes = p->codes};
}

/* The device makes the result, or is to begin with it. */
typedef enum Finish { FINISH_NOW, FINISH_AHEAD } Finish;

/* By the device; NULL: it cannot, or has but begun. */
static const void *finish_there(StreamPictures *p, const void *source, int64_t number, float *decoded, const float *alpha,
                                Finish when)
{
    const StreamPictureSetup *s = &p->setup;
    const StreamSize *z = &s->size;
    const PictureSource style = source_of(p, source);
    const size_t codes = (size_t)z->scaled_h * (size_t)z->scaled_w * (size_t)s->form.channels;
    if (s->device == NULL || s->form.bits == 0) return NULL;
    if (p->codes == NULL) p->codes = malloc(codes * (s->form.bits > 8 ? 2 : 1));
    const PictureResult r = result_of(p, &style, number, decoded, alpha);
    if (when == FINISH_AHEAD) picture_device_ahead(s->device, &r);
    return when == FINISH_NOW && p->codes != NULL && picture_device_finish(s->device, &r) ? p->codes : NULL;
}

static void make_alpha(StreamPictures *p, const void *source, float *alpha)
{
    const StreamPictureSetup *s = &p->setup;
    const size_t pixels = (size_t)s->size.scaled_h * (size_t)s->size.scaled_w;
    if (s->options->alpha == UPRES_ALPHA_OPAQUE) {
        for (size_t i = 0; i < pixels; i++) alpha[i] = 1;
    } else {
        read_unit(p, source, true);
        alpha_resize(&p->x, &p->y, p->unit + 3 * (size_t)s->width * (size_t)s->height, alpha, p->scratch);
    }
}

static void clamp_all(const StreamPictureSetup *s, float *decoded)
{
    if (s->clamp)
        for (size_t i = 0; i < 3 * padded_pixels(s); i++) decoded[i] = clamp_signed(decoded[i]);
}

void stream_pictures_ahead(StreamPictures *p, const void *source, int64_t number, float *decoded)
{
    if (p->setup.device == NULL || stream_pictures_has_alpha(&p->setup)) return;
    clamp_all(&p->setup, decoded);
    finish_there(p, source, number, decoded, NULL, FINISH_AHEAD);
}

const void *stream_pictures_finish(StreamPictures *p, const void *source, int64_t number, float *decoded, float *rgb,
                                   float *alpha)
{
    const StreamPictureSetup *s = &p->setup;
    const StreamSize *z = &s->size;
    clamp_all(s, decoded);
    if (alpha) make_alpha(p, source, alpha);
    const void *codes = finish_there(p, source, number, decoded, alpha, FINISH_NOW);
    if (codes) return codes;
    correct(p, stream_pictures_low(p, source, number), decoded);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < z->scaled_h; y++)
            to_unit(decoded + (size_t)c * padded_pixels(s) + (size_t)(z->top + y) * (size_t)z->padded_w +
                        (size_t)z->left,
                    (size_t)z->scaled_w, rgb + ((size_t)c * (size_t)z->scaled_h + (size_t)y) * (size_t)z->scaled_w);
    return NULL;
}

uint64_t stream_pictures_device_bytes(const StreamPictureSetup *s, const DevSetup *d, Prediction *frame)
{
    static const float some_alpha;
    StreamPictures p = {.setup = *s};
    uint64_t need = 0;
    if (d->cuda == NULL) return 0;
    if (make_axes(&p)) {
        const PictureSource source = source_of(&p, NULL);
        const PictureResult result = result_of(&p, &source, 0, NULL, stream_pictures_has_alpha(s) ? &some_alpha : NULL);
        need = picture_device_need(d, &(PictureJob){&source, NULL, s->low_only ? NULL : &result, frame});
    }
    resize_axis_free(&p.x);
    resize_axis_free(&p.y);
    return need;
}
