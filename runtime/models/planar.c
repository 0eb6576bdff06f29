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
static void write_part(Dev *d, VaeVideo sink, VaeRegion r, int top, int left, int bottom, int right, bool add)
{
    if (top >= bottom || left >= right || !dev_ok(d)) return;
    r.y += top;
    r.x += left;
    r.height = bottom - top;
    r.width = right - left;
    r.data += top * r.row + left;
    if (!sink.write(sink.user, &r, add)) dev_fail(d, "writing frame %lld failed", (long long)r.frame);
}

void planar_write(Dev *d, VaeVideo sink, const PlanarPlace *place, Tensor from, const PlaneWeights *weights)
{
    const int h = place->h, w = place->w, rows = place->done_rows, columns = place->done_columns;
    if (h <= 0 || w <= 0) return;
    Tensor planes = dev_floats(d, from.c, h, 1, w);
    dev_to_planes(d, planes, from, weights);
    const float *data = dev_read(d, planes);
    if (data != NULL) {
        /* nobody reads the samples after the sink, which may change them */
        const VaeRegion r = region_of((float *)data, planes, place->frame, place->y, place->x);
        write_part(d, sink, r, 0, 0, rows, w, true);
        write_part(d, sink, r, rows, 0, h, columns, true);
        write_part(d, sink, r, rows, columns, h, w, false);
    }
    dev_read_end(d, data);
    dev_free(d, &planes);
}
