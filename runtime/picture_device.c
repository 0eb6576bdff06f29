#include "runtime/picture_device.h"

#include "kernels/cpu/resize.h"

#include <stdlib.h>
#include <string.h>

enum { SPARE = 256 << 20 }; /* beside it: left for kernels that drivers load later */

/* A result whose codes are on their way. */
typedef struct Begun {
    int64_t frame;
    const float *content;
    const void *out;
    uint64_t bytes;
} Begun;

struct PictureDevice {
    DevSetup setup;
    uint64_t least, most;
    Dev *dev;
    uint64_t bytes; /* of dev's arena */
    bool useless;   /* it could not be opened, or failed */
    Begun begun[PICTURES_AHEAD]; /* in the order begun */
    int begun_count;
};

PictureDevice *picture_device_open(const DevSetup *s, uint64_t least, uint64_t most)
{
    PictureDevice *p = s->cuda == NULL ? NULL : calloc(1, sizeof *p);
    if (p == NULL) return NULL;
    *p = (PictureDevice){.setup = *s, .least = least, .most = most};
    p->setup.weights = (WeightNeed){0};
    p->setup.weight_limit = 0;
    return p;
}

/* The first of those begun leaves. */
static void forget_first(PictureDevice *p)
{
    dev_out_end(p->dev, p->begun[0].out);
    p->begun_count--;
    memmove(p->begun, p->begun + 1, (size_t)p->begun_count * sizeof *p->begun);
}

void picture_device_close(PictureDevice *p)
{
    while (p != NULL && p->begun_count > 0) forget_first(p);
    if (p != NULL && p->dev != NULL) dev_close(p->dev);
    free(p);
}

/* ------------------------------------------------------------------------------------------- to the device and back */

static Tensor planes_of(Dev *d, int planes, int h, int w) { return dev_floats(d, planes, h, 1, w); }

/* Planes without gaps, w wide, to a tensor whose rows end in zeros. */
static Tensor upload_wide(Dev *d, int planes, int h, int w, int tensor_w, const float *values)
{
    Tensor x = planes_of(d, planes, h, tensor_w);
    float *to = dev_write(d, x);
    for (int64_t row = 0; to != NULL && row < (int64_t)x.t * x.h; row++) {
        memcpy(to + row * x.c_pad, values + row * w, (size_t)w * sizeof *to);
        memset(to + row * x.c_pad + w, 0, (size_t)(x.c_pad - w) * sizeof *to);
    }
    dev_write_end(d, x, to);
    return x;
}

static Tensor upload(Dev *d, int planes, int h, int w, const float *values)
{
    return upload_wide(d, planes, h, w, w, values);
}

static bool download(Dev *d, Tensor x, float *values)
{
    const float *from = dev_read(d, x);
    for (int64_t row = 0; from != NULL && row < (int64_t)x.t * x.h; row++)
        memcpy(values + row * x.c, from + row * x.c_pad, (size_t)x.c * sizeof *values);
    dev_read_end(d, from);
    return from != NULL;
}

/* The planes of a source frame: its codes go up, all else is made there. */
static Tensor planes_of_source(Dev *d, const PictureSource *s)
{
    const int64_t bytes = (int64_t)s->width * s->height * s->channels * (s->bits > 8 ? 2 : 1);
    Tensor codes = dev_bytes(d, bytes), x = planes_of(d, 3, s->height, s->width);
    dev_bytes_in(d, codes, s->codes, (uint64_t)bytes);
    dev_from_codes(d, &(CodesArgs){.codes = codes, .rgb = x, .channels = s->channels, .bits = s->bits});
    dev_free(d, &codes);
    for (int i = 0; i < s->steps; i++) {
        const bool last = i == s->steps - 1;
        Tensor y = last ? planes_of(d, 3, s->out_h, s->out_w) : planes_of(d, 3, s->rows[i]->out, s->columns[i]->out);
        dev_resize(d, &(ResizeArgs){x, y, s->columns[i], s->rows[i], last ? &s->window : NULL});
        dev_free(d, &x);
        x = y;
    }
    return x;
}

/* -------------------------------------------------------------------------------------------------------------- work */

/* A piece of work, planned and done by the same code; false: it failed. */
typedef bool Work(Dev *d, const void *work);

static bool color(Dev *d, const void *work)
{
    const PictureColors *k = work;
    Tensor content = upload(d, 3 * k->frames, k->h, k->w, k->content), style = upload(d, 3 * k->frames, k->h, k->w, k->style);
    dev_color(d, &(ColorArgs){.method = k->method,
                              .content = content,
                              .style = style,
                              .uncapped = k->uncapped,
                              .population = k->population,
                              .strength = 1});
    const bool done = !dev_is_plan(d) && download(d, content, k->content);
    dev_free(d, &style);
    dev_free(d, &content);
    return done;
}

typedef struct Input {
    const PictureSource *source;
    double noise;
    uint64_t seed;
    int64_t frame;
    float *out;
} Input;

static bool input(Dev *d, const void *work)
{
    const Input *k = work;
    Tensor x = planes_of_source(d, k->source);
    if (k->noise > 0) dev_input_noise(d, x, k->noise, k->seed, k->frame);
    const bool done = !dev_is_plan(d) && download(d, x, k->out);
    dev_free(d, &x);
    return done;
}

/* Rows top .. top + h - 1 of planes, columns left .. left + w - 1. */
static Tensor part_of(Tensor x, int top, int left, int h, int w)
{
    x.at += sizeof(float) * ((uint64_t)top * (uint64_t)x.stride_h + (uint64_t)left);
    x.h = h;
    x.c = w;
    return x;
}

static uint64_t bytes_of(const PictureResult *r)
{
    return (uint64_t)r->h * (uint64_t)r->w * (uint64_t)r->form.channels * (r->form.bits > 8 ? 2 : 1);
}

typedef struct Finish {
    const PictureResult *result;
    const void **out; /* where the codes will be */
} Finish;

/* The codes come first, so that they lie where those of the result before lie: all else is free of what is still read there. */
static bool finish(Dev *d, const void *work)
{
    const PictureResult *k = ((const Finish *)work)->result;
    const PictureColors *c = &k->colors;
    Tensor codes = dev_bytes(d, (int64_t)bytes_of(k));
    Tensor content = upload(d, 3, c->h, c->w, c->content), alpha = {0}, style = {0};
    if (k->alpha != NULL) alpha = upload_wide(d, 1, k->h, k->w, c->w, k->alpha); /* rows as far apart as the content's */
    if (k->style != NULL) {
        style = planes_of_source(d, k->style);
        dev_color(d, &(ColorArgs){.method = c->method,
                                  .content = content,
                                  .style = style,
                                  .uncapped = c->uncapped,
                                  .population = c->population,
                                  .strength = k->strength});
        dev_free(d, &style);
    }
    dev_out_clear(d);
    dev_to_codes(d, &(CodesArgs){.codes = codes,
                                 .rgb = part_of(content, k->top, k->left, k->h, k->w),
                                 .alpha = alpha,
                                 .channels = k->form.channels,
                                 .bits = k->form.bits,
                                 .is_signed = true,
                                 .tpdf = k->form.dither,
                                 .seed = k->form.seed,
                                 .frame = k->frame});
    const void *out = dev_out_begin(d, codes, bytes_of(k));
    if (k->alpha != NULL) dev_free(d, &alpha);
    dev_free(d, &content);
    dev_free(d, &codes);
    *((const Finish *)work)->out = out;
    return out != NULL;
}

/* The arena that work takes; UINT64_MAX: it cannot be told. Its time is added to that of a frame, of so many frames it is. */
static uint64_t foreseen(const DevSetup *s, Work *work, const void *what, int frames, Prediction *frame)
{
    Dev *plan = dev_plan_open(s);
    if (plan == NULL) return UINT64_MAX;
    work(plan, what);
    const uint64_t bytes = dev_totals(plan).arena_peak;
    const Prediction *time = cuda_prediction(plan);
    if (frame != NULL && time != NULL) prediction_add(frame, time, 1.0 / frames);
    dev_close(plan);
    return bytes;
}

static uint64_t planned(const DevSetup *s, Work *work, const void *what) { return foreseen(s, work, what, 1, NULL); }

/* A device with memory for this much work; one that is too small makes way. */
static bool ready(PictureDevice *p, Work *work, const void *what)
{
    uint64_t bytes = planned(&p->setup, work, what);
    if (p->dev != NULL && bytes <= p->bytes) return true;
    if (bytes < p->least) bytes = p->least;
    if (p->begun_count > 0 || bytes > p->most) return false;
    char error[256];
    bool no_memory;
    if (p->dev != NULL) dev_close(p->dev);
    p->dev = dev_try(&p->setup, bytes, &no_memory, error, sizeof error);
    p->bytes = bytes;
    p->useless = p->dev == NULL;
    return p->dev != NULL;
}

static bool do_work(PictureDevice *p, Work *work, const void *what)
{
    if (p == NULL || p->useless || !ready(p, work, what)) return false;
    dev_enter(p->dev);
    if (work != finish) dev_out_clear(p->dev);
    p->useless = !work(p->dev, what);
    dev_leave(p->dev);
    return !p->useless;
}

bool picture_device_color(PictureDevice *p, const PictureColors *k)
{
    return do_work(p, color, k);
}

static bool may_make(const PictureSource *s)
{
    return s->bits > 0 && s->steps > 0;
}

bool picture_device_input(PictureDevice *p, const PictureSource *s, double noise, uint64_t seed, int64_t frame, float *out)
{
    return may_make(s) && do_work(p, input, &(Input){s, noise, seed, frame, out});
}

static bool may_finish(const PictureResult *r)
{
    return r->form.bits > 0 && (r->style == NULL || may_make(r->style));
}

static bool is_begun(const Begun *b, const PictureResult *r)
{
    return b->frame == r->frame && b->content == r->colors.content && b->bytes == bytes_of(r);
}

static bool begin(PictureDevice *p, const PictureResult *r)
{
    Begun b = {.frame = r->frame, .content = r->colors.content, .bytes = bytes_of(r)};
    if (p->begun_count > 0 && p->begun[0].bytes != b.bytes) return false; /* its codes lie elsewhere */
    if (!do_work(p, finish, &(Finish){r, &b.out})) return false;
    p->begun[p->begun_count++] = b;
    return true;
}

void picture_device_ahead(PictureDevice *p, const PictureResult *r)
{
    if (p == NULL || !may_finish(r) || p->begun_count == PICTURES_AHEAD) return;
    for (int i = 0; i < p->begun_count; i++)
        if (is_begun(&p->begun[i], r)) return;
    begin(p, r);
}

bool picture_device_finish(PictureDevice *p, const PictureResult *r)
{
    if (p == NULL || !may_finish(r)) return false;
    while (p->begun_count > 0 && !is_begun(&p->begun[0], r)) {
        dev_out_wait(p->dev, p->begun[0].out); /* its place is not filled any more */
        forget_first(p);
    }
    if (p->begun_count == 0 && !begin(p, r)) return false;
    const bool there = dev_out_wait(p->dev, p->begun[0].out);
    if (there) memcpy(r->codes, p->begun[0].out, p->begun[0].bytes);
    p->useless = p->useless || !there;
    forget_first(p);
    return there;
}

/* ------------------------------------------------------------------------------------------------------- beforehand */

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

uint64_t picture_device_need(const DevSetup *s, const PictureJob *j)
{
    const void *out;
    const PictureResult *r = j->result;
    uint64_t need = 0;
    if (s->cuda == NULL) return 0;
    if (j->input != NULL && may_make(j->input)) need = foreseen(s, input, &(Input){.source = j->input}, 1, j->frame);
    if (j->slice != NULL) need = larger(need, foreseen(s, color, j->slice, j->slice->frames, j->frame));
    if (r != NULL && may_finish(r)) need = larger(need, foreseen(s, finish, &(Finish){r, &out}, 1, j->frame));
    else if (r != NULL && r->colors.method != COLOR_NONE) need = larger(need, foreseen(s, color, &r->colors, 1, j->frame));
    return need;
}

uint64_t picture_device_beside(uint64_t need, uint64_t limit, uint64_t taken)
{
    if (limit == 0) return need < UINT64_MAX ? need : 0;
    const uint64_t room = limit > taken ? limit - taken : 0;
    return room >= SPARE && need <= room - SPARE ? need : 0;
}
