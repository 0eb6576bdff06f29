#include "runtime/models/planar.h"

Tensor tensor_window(Tensor x, int top, int left, int h, int w)
{
    x.at += (uint64_t)(top * x.stride_h + (int64_t)left * x.c_pad) * (uint64_t)element_bytes(x.type);
    x.h = h;
    x.w = w;
    return x;
}

/* Plane c stands in rows c * h .. of this. */
static Tensor planes_of(Dev *d, Tensor x)
{
    return dev_floats(d, 1, x.c * x.h, 1, x.w);
}

static VaeRegion region_of(float *data, Tensor planes, Tensor x, int64_t frame, int top, int left)
{
    return (VaeRegion){.frame = frame,
                       .y = top,
                       .x = left,
                       .height = x.h,
                       .width = x.w,
                       .channels = x.c,
                       .data = data,
                       .plane = x.h * planes.stride_h,
                       .row = planes.stride_h};
}

void planar_read(Dev *d, VaeVideo source, int64_t frame, int y, int x, Tensor to)
{
    Tensor planes = planes_of(d, to);
    VaeRegion r = region_of(dev_write(d, planes), planes, to, frame, y, x);
    float *pixels = dev_write(d, to);
    if (r.data != NULL && pixels != NULL) {
        if (!source.read(source.user, &r)) dev_fail(d, "reading frame %lld failed", (long long)frame);
        for (int v = 0; v < to.h && dev_ok(d); v++) {
            float *pixel = pixels + v * to.stride_h;
            for (int u = 0; u < to.w; u++, pixel += to.c_pad) {
                const float *sample = r.data + v * r.row + u;
                for (int c = 0; c < to.c; c++) pixel[c] = sample[c * r.plane];
                for (int c = to.c; c < to.c_pad; c++) pixel[c] = 0.0f;
            }
        }
    }
    dev_write_end(d, planes, r.data);
    dev_write_end(d, to, pixels);
    dev_free(d, &planes);
}

void planar_write(Dev *d, VaeVideo sink, int64_t frame, int y, int x, Tensor from, bool add)
{
    if (from.h <= 0 || from.w <= 0) return;
    Tensor planes = planes_of(d, from);
    VaeRegion r = region_of(dev_write(d, planes), planes, from, frame, y, x);
    const float *pixels = dev_read(d, from);
    if (r.data != NULL && pixels != NULL) {
        for (int v = 0; v < from.h; v++) {
            const float *pixel = pixels + v * from.stride_h;
            for (int u = 0; u < from.w; u++, pixel += from.c_pad) {
                float *sample = r.data + v * r.row + u;
                for (int c = 0; c < from.c; c++) sample[c * r.plane] = pixel[c];
            }
        }
        if (dev_ok(d) && !sink.write(sink.user, &r, add)) dev_fail(d, "writing frame %lld failed", (long long)frame);
    }
    dev_read_end(d, pixels);
    dev_write_end(d, planes, r.data);
    dev_free(d, &planes);
}
