#include "tests/goldens_planes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------------------- planes */

int64_t planes_count(const Planes *p)
{
    return p->c * p->t * p->h * p->w;
}

float *planes_at(const Planes *p, int64_t c, int64_t t, int64_t y, int64_t x)
{
    int64_t plane = p->frames_first ? t * p->c + c : c * p->t + t;
    return p->data + (plane * p->h + y) * p->w + x;
}

bool planes_expected(Golden *g, const char *name, bool frames_first, Planes *p)
{
    const WeightTensor *e = golden_expected(g, name);
    if (!e) return false;
    if (e->rank != 5 || e->shape[0] != 1) {
        golden_fail(g, "%s has not the five dimensions of one batch of frames", name);
        return false;
    }
    *p = (Planes){NULL,        e->shape[frames_first ? 2 : 1], e->shape[frames_first ? 1 : 2], e->shape[3], e->shape[4],
                  frames_first};
    p->data = malloc((size_t)(e->count + 1) * sizeof *p->data);
    if (!p->data) {
        golden_fail(g, "%s: out of memory", name);
        return false;
    }
    for (int64_t i = 0; i < e->count; i++) p->data[i] = NAN;
    return true;
}

bool planes_input(Golden *g, const JsonTree *description, Planes *p)
{
    int64_t shape[5];
    int rank;
    *p = (Planes){.data = golden_input(g, description, shape, &rank)};
    if (!p->data) return false;
    if (rank != 5 || shape[0] != 1) {
        golden_fail(g, "the input is not [1, channels, frames, height, width]");
        return false;
    }
    p->c = shape[1], p->t = shape[2], p->h = shape[3], p->w = shape[4];
    return true;
}

void planes_compare(Golden *g, const char *name, const Planes *p, double t)
{
    golden_compare(g, name, p->data, planes_count(p), golden_tolerance(g, name, t));
}

static bool inside(const Planes *p, const VaeRegion *r)
{
    return r->channels == p->c && r->frame >= 0 && r->frame < p->t && r->y >= 0 && r->x >= 0 &&
           r->y + r->height <= p->h && r->x + r->width <= p->w;
}

bool planes_read(void *user, const VaeRegion *r)
{
    const Planes *p = user;
    if (!inside(p, r)) return false;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++)
            memcpy(r->data + c * r->plane + y * r->row, planes_at(p, c, r->frame, r->y + y, r->x),
                   (size_t)r->width * sizeof(float));
    return true;
}

bool planes_write(void *user, const VaeRegion *r, bool add)
{
    const Planes *p = user;
    if (!inside(p, r)) return false;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++) {
            const float *from = r->data + c * r->plane + y * r->row;
            float *to = planes_at(p, c, r->frame, r->y + y, r->x);
            for (int x = 0; x < r->width; x++) to[x] = add ? to[x] + from[x] : from[x];
        }
    return true;
}

/* ----------------------------------------------------------------------------------------------------- inner values */

bool taps_add(Taps *t, const char *where, int stride, bool frames_first)
{
    if (t->count == MAX_TAPS || stride < 1) {
        golden_fail(t->g, "more than %d taps, or a channel stride below 1", MAX_TAPS);
        return false;
    }
    Tap *tap = &t->item[t->count];
    tap->where = where;
    tap->stride = stride;
    snprintf(tap->name, sizeof tap->name, "tap.%s", where);
    if (!planes_expected(t->g, tap->name, frames_first, &tap->got)) return false;
    t->count++;
    return true;
}

void taps_compare(Taps *t)
{
    for (int i = 0; i < t->count; i++) planes_compare(t->g, t->item[i].name, &t->item[i].got, GOLDEN_NETWORK);
}

void taps_close(Taps *t)
{
    for (int i = 0; i < t->count; i++) free(t->item[i].got.data);
    t->count = 0;
}

void taps_take(void *user, const char *where, int64_t frame, const float *nhwc, int h, int w, int c, int c_pad)
{
    Taps *taps = user;
    for (int i = 0; i < taps->count; i++) {
        Tap *tap = &taps->item[i];
        const Planes *p = &tap->got;
        if (strcmp(tap->where, where)) continue;
        if (h != p->h || w != p->w || (c + tap->stride - 1) / tap->stride != p->c || frame < 0 || frame >= p->t) {
            golden_fail(taps->g, "%s is frame %lld of %d x %d with %d channels, expected %lld frames of %lld x %lld",
                        tap->name, (long long)frame, h, w, c, (long long)p->t, (long long)p->h, (long long)p->w);
            return;
        }
        for (int64_t ch = 0; ch < p->c; ch++)
            for (int64_t at = 0; at < (int64_t)h * w; at++)
                planes_at(p, ch, frame, 0, 0)[at] = nhwc[at * c_pad + ch * tap->stride];
    }
}

/* --------------------------------------------------------------------------------------------------------- memories */

void memory_compare(Golden *g, const char *name, const float *memory, int t, int h, int w, int c, double tolerance)
{
    Planes p;
    if (!planes_expected(g, name, false, &p)) return;
    int64_t top = h > p.h ? (h - p.h) / 2 : 0, left = w > p.w ? (w - p.w) / 2 : 0;
    if (t != p.t || c != p.c) {
        golden_fail(g, "%s holds %d frames of %d channels, expected %lld of %lld", name, t, c, (long long)p.t,
                    (long long)p.c);
    } else {
        for (int64_t ch = 0; ch < p.c; ch++)
            for (int64_t f = 0; f < p.t; f++)
                for (int64_t y = 0; y < p.h; y++)
                    for (int64_t x = 0; x < p.w; x++) {
                        bool kept = y + top < h && x + left < w;
                        *planes_at(&p, ch, f, y, x) = kept ? memory[((f * h + y + top) * w + x + left) * c + ch] : 0;
                    }
        planes_compare(g, name, &p, tolerance);
    }
    free(p.data);
}

float *memory_room(Golden *g, const char *name)
{
    const WeightTensor *e = golden_expected(g, name);
    if (!e || e->rank != 5) return NULL;
    float *room = malloc((size_t)(e->shape[1] * 4 * (e->shape[3] + 4) * (e->shape[4] + 4)) * sizeof *room);
    if (!room) golden_fail(g, "out of memory");
    return room;
}

/* ---------------------------------------------------------------------------------------------------------- weights */

static void prefix_fill(void *rule, const SynthShape *s, float *out)
{
    const PrefixRule *r = rule;
    char name[512];
    float mean, scale;
    snprintf(name, sizeof name, "%s%s", r->prefix, s->name);
    synth_wan_rule(name, s->rank, s->shape, r->gain, &mean, &scale);
    synth_tensor(name, synth_count(s), mean, scale, out);
}

const WeightPart *prefix_part(Golden *g, WeightNetwork network, const char *key, SynthShape *shapes, int count, PrefixRule *rule)
{
    if (count < 0) {
        golden_fail(g, "out of memory");
        return NULL;
    }
    const WeightSet *set = golden_weights(g, key, shapes, count, prefix_fill, rule);
    free(shapes);
    if (!set) return NULL;
    char error[512];
    const WeightPart *part = weight_set_require(set, network, false, 0, error, sizeof error);
    if (!part) golden_fail(g, "%s", error);
    return part;
}
