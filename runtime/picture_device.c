#include "runtime/picture_device.h"

#include <stdlib.h>
#include <string.h>

enum { SPARE = 256 << 20 }; /* of the room: left for kernels that drivers load later */

struct PictureDevice {
    DevSetup setup;
    uint64_t room;
    Dev *dev;
    uint64_t bytes; /* of dev's arena */
    bool useless;   /* it could not be opened, or failed */
};

PictureDevice *picture_device_open(const DevSetup *s, uint64_t room)
{
    PictureDevice *p = s->cuda == NULL ? NULL : calloc(1, sizeof *p);
    if (p == NULL) return NULL;
    *p = (PictureDevice){.setup = *s, .room = room};
    p->setup.weights = (WeightNeed){0};
    p->setup.weight_limit = 0;
    return p;
}

void picture_device_close(PictureDevice *p)
{
    if (p != NULL && p->dev != NULL) dev_close(p->dev);
    free(p);
}

/* Rows of planes without gaps to a tensor, whose rows end in zeros. */
static Tensor upload(Dev *d, const PictureColors *k, const float *values)
{
    Tensor x = dev_floats(d, 3 * k->frames, k->h, 1, k->w);
    float *to = dev_write(d, x);
    for (int64_t row = 0; to != NULL && row < (int64_t)x.t * x.h; row++) {
        memcpy(to + row * x.c_pad, values + row * x.c, (size_t)x.c * sizeof *to);
        memset(to + row * x.c_pad + x.c, 0, (size_t)(x.c_pad - x.c) * sizeof *to);
    }
    dev_write_end(d, x, to);
    return x;
}

static bool download(Dev *d, Tensor x, float *values)
{
    const float *from = dev_read(d, x);
    for (int64_t row = 0; from != NULL && row < (int64_t)x.t * x.h; row++)
        memcpy(values + row * x.c, from + row * x.c_pad, (size_t)x.c * sizeof *values);
    dev_read_end(d, from);
    return from != NULL;
}

static bool work(Dev *d, const PictureColors *k)
{
    Tensor content = upload(d, k, k->content), style = upload(d, k, k->style);
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

/* A device with memory for this much work; one that is too small makes way. */
static bool ready(PictureDevice *p, const PictureColors *k)
{
    Dev *plan = dev_plan_open(&p->setup);
    if (plan == NULL) return false;
    work(plan, k);
    const uint64_t bytes = dev_totals(plan).arena_peak;
    dev_close(plan);
    if (p->dev != NULL && bytes <= p->bytes) return true;
    if (p->room < SPARE || bytes > p->room - SPARE) return false;
    char error[256];
    bool no_memory;
    if (p->dev != NULL) dev_close(p->dev);
    p->dev = dev_try(&p->setup, bytes, &no_memory, error, sizeof error);
    p->bytes = bytes;
    p->useless = p->dev == NULL;
    return p->dev != NULL;
}

bool picture_device_color(PictureDevice *p, const PictureColors *k)
{
    const bool ours = k->method == COLOR_LAB || k->method == COLOR_WAVELET || k->method == COLOR_ADAIN; /* others: on hosts */
    if (p == NULL || p->useless || !ours || !ready(p, k)) return false;
    if (work(p->dev, k)) return true;
    p->useless = true;
    return false;
}
