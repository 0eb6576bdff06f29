#include "runtime/batch.h"

#include <assert.h>
#include <math.h>

int64_t mirror_index(int64_t t, int64_t count, bool prepend, int64_t i)
{
    assert(t >= 1 && count >= 0 && i >= 0 && i < t + count);
    int64_t own = prepend ? i - count : i; /* position among the clip's own frames */
    if (own >= 0 && own < t) return own;
    if (count < t) return prepend ? -own : 2 * t - 2 - own;
    /* More to add than to mirror: frames t - 1 .. 1 once, and the last frame for the rest, which is the outer end. */
    if (prepend) {
        int64_t fill = count - t + 1;
        return i < fill ? t - 1 : t - 1 - (i - fill);
    }
    int64_t beyond = own - t;
    return beyond < t - 1 ? t - 1 - beyond : t - 1;
}

int64_t pad_4n1(int64_t t)
{
    return (4 - (t - 1) % 4) % 4;
}

BatchPlan batch_plan(int64_t total, int batch_size, int overlap, bool uniform)
{
    assert(total >= 0 && batch_size >= 1 && overlap >= 0);
    if (overlap >= batch_size) overlap = 0;
    BatchPlan p = {
        .total = total, .size = batch_size, .overlap = overlap, .step = batch_size - overlap, .uniform = uniform};
    /* Batch k > 0 exists while it brings more than the frames it shares: k * step < total - overlap. */
    int64_t fresh = total - overlap;
    p.count = total == 0 ? 0 : fresh <= 0 ? 1 : (fresh - 1) / p.step + 1;
    return p;
}

Batch batch_at(const BatchPlan *p, int64_t k)
{
    assert(k >= 0 && k < p->count);
    Batch b = {.start = k * p->step};
    b.end = b.start + p->size < p->total ? b.start + p->size : p->total;
    int n = (int)(b.end - b.start);
    b.uniform_pad = p->uniform ? p->size - n : 0;
    b.pad = (int)pad_4n1(n + b.uniform_pad);
    b.frames = n + b.uniform_pad + b.pad;
    b.write_lo = b.start + (k > 0 ? p->overlap : 0);
    b.write_hi = b.end;
    return b;
}

int64_t batch_frame(const Batch *b, int i)
{
    int64_t n = b->end - b->start;
    /* The second padding mirrors the result of the first. */
    return b->start + mirror_index(n, b->uniform_pad, false, mirror_index(n + b->uniform_pad, b->pad, false, i));
}

/* ------------------------------------------------------------------------------------------------------- crossfade */

float blend_weight(Blend blend, int overlap, int i)
{
    assert(i >= 0 && i < overlap);
    if (blend == BLEND_LINEAR) return (float)((double)(overlap - i) / (overlap + 1));
    if (overlap < 3) return i == 0 ? 1.0f : 0.0f;
    double t = (double)i / (overlap - 1), u = (t - 1.0 / 3.0) * 3.0;
    u = u < 0.0 ? 0.0 : u > 1.0 ? 1.0 : u;
    return (float)(0.5 + 0.5 * cos(3.14159265358979323846 * u));
}

void crossfade(float *earlier, const float *later, size_t count, float weight)
{
    for (size_t i = 0; i < count; i++) earlier[i] = earlier[i] * weight + later[i] * (1.0f - weight);
}

/* ------------------------------------------------------------------------------------------------ noise of latents */

int64_t latent_frame(int64_t start, int l)
{
    return start + 4 * (int64_t)l;
}

/* The line through two points (pixels, shift). */
static double shift_at(double pixels, double x0, double y0, double x1, double y1)
{
    double slope = (y1 - y0) / (x1 - x0);
    return slope * pixels + (y0 - slope * x0);
}

double timestep_shift(double t, int h, int w, int channels)
{
    double frames = (h - 1) * 4.0 + 1.0, height = w * 8.0, width = channels * 8.0;
    double s = frames > 1.0 ? shift_at(height * width * frames, 256.0 * 256 * 37, 1.0, 1280.0 * 720 * 145, 5.0)
                            : shift_at(height * width, 256.0 * 256, 1.0, 1024.0 * 1024, 3.2);
    t /= 1000.0;
    return s * t / (1.0 + (s - 1.0) * t) * 1000.0;
}

void condition(const float *latent, const float *noise, const float *augment, int t, int h, int w, int channels,
               double scale, float *out, int out_stride)
{
    assert(out_stride > channels);
    const float b = scale > 0.0 ? (float)(timestep_shift(1000.0 * scale, h, w, channels) / 1000.0) : 0.0f;
    size_t pixels = (size_t)t * (size_t)h * (size_t)w;
    for (size_t i = 0; i < pixels; i++) {
        for (int c = 0; c < channels; c++) {
            float x = latent[c];
            if (scale > 0.0) x = (1.0f - b) * x + b * (noise[c] * 0.1f + augment[c] * 0.05f);
            out[c] = x;
        }
        out[channels] = 1.0f;
        for (int c = channels + 1; c < out_stride; c++) out[c] = 0.0f;
        latent += channels;
        if (scale > 0.0) {
            noise += channels;
            augment += channels;
        }
        out += out_stride;
    }
}
