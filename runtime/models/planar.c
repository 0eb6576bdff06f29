#include "runtime/models/planar.h"

Tensor tensor_window(Tensor x, int top, int left, int h, int w)
{
    x.at += (uint64_t)(top * x.stride_h + (int64_t)left * x.c_pad) * (uint64_t)element_bytes(x.type);
    x.h = h;
    x.w = w;
    return x;
}

static VaeRegion region_of(float *data, Tensor planes, int64_t frame, int y, int x)
{
    return (VaeRegion){.frame = frame,
                       .y = y,
                       .x = x,
                       .height = planes.h,
                       .width = planes.c,
                       .channels = planes.t,
                       .data = data,
                       .plane = planes.stride_t,
                       .row = planes.stride_h};
}

static void read_planes(Dev *d, VaeVideo source, int64_t frame, int y, int x, Tensor planes, const PlaneCells *cells, Tensor to)
{
    float *data = dev_write(d, planes);
    if (data != NULL) {
        const VaeRegion r = region_of(data, planes, frame, y, x);
        if (!source.read(source.user, &r)) dev_fail(d, "reading frame %lld failed", (long long)frame);
    }
    dev_write_end(d, planes, data);
    dev_from_planes(d, to, planes, cells);
}

void planar_read(Dev *d, VaeVideo source, int64_t frame, int y, int x, Tensor to)
{
    Tensor planes = dev_floats(d, to.c, to.h, 1, to.w);
    read_planes(d, source, frame, y, x, planes, &(PlaneCells){.side = 1, .step = 1}, to);
    dev_free(d, &planes);
}

void planar_read_cells(Dev *d, VaeVideo source, int64_t frame, int planes, const PlaneCells *cells, Tensor to)
{
    Tensor whole = dev_floats(d, planes, cells->side * to.h, 1, cells->side * to.w);
    read_planes(d, source, frame, 0, 0, whole, cells, to);
    dev_free(d, &whole);
}

/* Rows top .. bottom - 1 and columns left .. right - 1 of the planes to the sink. */
static bool write_part(VaeVideo sink, VaeRegion r, int top, int left, int bottom, int right, bool add)
{
    if (top >= bottom || left >= right) return true;
    r.y += top;
    r.x += left;
    r.height = bottom - top;
    r.width = right - left;
    r.data += top * r.row + left;
    return sink.write(sink.user, &r, add);
}

/* Nobody reads the samples after the sink, which may change them. */
static bool write_planes(Dev *d, VaeVideo sink, const PlanarPlace *place, Tensor planes, const void *data)
{
    const int h = place->h, w = place->w, rows = place->done_rows, columns = place->done_columns;
    const VaeRegion r = region_of((float *)(uintptr_t)data, planes, place->frame, place->y, place->x);
    const bool fine = write_part(sink, r, 0, 0, rows, w, true) && write_part(sink, r, rows, 0, h, columns, true) &&
                      write_part(sink, r, rows, columns, h, w, false);
    if (!fine) dev_fail(d, "writing frame %lld failed", (long long)place->frame);
    return fine;
}

static void write_now(Dev *d, VaeVideo sink, const PlanarPlace *place, Tensor from, const PlaneWeights *weights)
{
    Tensor planes = dev_floats(d, from.c, place->h, 1, place->w);
    dev_to_planes(d, planes, from, weights);
    const float *data = dev_read(d, planes);
    if (data != NULL) write_planes(d, sink, place, planes, data);
    dev_read_end(d, data);
    dev_free(d, &planes);
}

void planar_write(Dev *d, PlanarSink *s, const PlanarPlace *place, Tensor from, const PlaneWeights *weights)
{
    if (place->h <= 0 || place->w <= 0) return;
    if (!dev_works_aside(d)) {
        write_now(d, s->sink, place, from, weights);
        return;
    }
    if (!dev_ok(d)) return; /* what is on its way is the owner's to deliver */
    planar_deliver(d, s);
    if (s->planes.t != from.c || s->planes.h != place->h || s->planes.c != place->w) {
        dev_free(d, &s->planes);
        s->planes = dev_lasting_floats(d, from.c, place->h, 1, place->w);
    }
    dev_to_planes(d, s->planes, from, weights);
    s->out = dev_out_begin(d, s->planes, (uint64_t)s->planes.t * (uint64_t)s->planes.stride_t * sizeof(float));
    s->shape = s->planes;
    s->place = *place;
}

bool planar_deliver(Dev *d, PlanarSink *s)
{
    if (s->out == NULL) return false;
    const bool there = dev_out_wait(d, s->out) && write_planes(d, s->sink, &s->place, s->shape, s->out);
    dev_out_end(d, s->out);
    s->out = NULL;
    s->delivered += there;
    return there;
}

void planar_release(Dev *d, PlanarSink *s)
{
    if (s->out != NULL) dev_out_clear(d);
    dev_free(d, &s->planes);
}

void planar_finish(Dev *d, PlanarSink *s)
{
    planar_deliver(d, s);
    planar_release(d, s);
}

void planar_close(Dev *d, PlanarSink *s)
{
    if (s->out != NULL) {
        dev_out_wait(d, s->out);
        dev_out_end(d, s->out);
        s->out = NULL;
    }
    dev_free(d, &s->planes);
}
