/* Whole pictures on the CUDA device: kernels/cuda/noise.cu and resize.cu, kernels/ptx/codes.ptx. */
#include "kernels/cpu/noise.h"
#include "kernels/cpu/pad.h"
#include "kernels/cpu/resize.h"
#include "runtime/cuda/dev.h"

#include <stddef.h>

#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field)
AT(CudaCodes, alpha, 16);
AT(CudaCodes, seed, 24);
AT(CudaCodes, row, 36);
AT(CudaCodes, code_row, 44);
AT(CudaCodes, wide, 52);
AT(CudaCodes, flags, 60);
AT(CudaCodes, top, 64);

enum { THREADS = 128, CODES_THREADS = 256, RESIZE_ROWS = 4, RESIZE_COLUMNS = 4 };

static unsigned blocks_of(int64_t items, int threads) { return (unsigned)((items + threads - 1) / threads); }

static bool are_floats(Dev *d, Tensor x)
{
    if (x.type == ELEMENT_F32) return true;
    dev_fail(d, "internal error: pictures are floats");
    return false;
}

/* ------------------------------------------------------------------------------------------------------------- noise */

void cuda_noise(Dev *d, const NoiseArgs *n)
{
    const Tensor x = n->x;
    const CudaNoise a = {.to = cuda_view(d, x),
                         .seed = n->seed,
                         .stream = n->stream,
                         .frame = (uint32_t)n->frame,
                         .frame_step = (uint32_t)n->frame_step,
                         .top = (uint32_t)n->top,
                         .left = (uint32_t)n->left,
                         .w = (uint32_t)x.w,
                         .quads = (uint32_t)(x.c + 3) / 4,
                         .c = x.c};
    const CudaGrid grid = {blocks_of((int64_t)x.w * a.quads, THREADS), (unsigned)x.h, (unsigned)x.t, THREADS, 0};
    if (are_floats(d, x)) cuda_launch_once(d, "noise", "noise", grid, &a);
}

void cuda_input_noise(Dev *d, Tensor planes, double scale, uint64_t seed, int64_t frame)
{
    const float share = (float)(scale * 0.5);
    const CudaNoiseOver a = {.planes = cuda_at(d, planes),
                             .plane = (uint64_t)planes.stride_t,
                             .seed = seed,
                             .stream = NOISE_INPUT,
                             .frame = (uint32_t)frame,
                             .row = (uint32_t)planes.stride_h,
                             .w = (uint32_t)planes.c,
                             .keep = 1.0f - share,
                             .share = share};
    const CudaGrid grid = {blocks_of(planes.c, THREADS), (unsigned)planes.h, 1, THREADS, 0};
    if (are_floats(d, planes)) cuda_launch_once(d, "noise", "noise_over", grid, &a);
}

/* ------------------------------------------------------------------------------------------------------------ resize */

/* An axis' tables on the device. */
typedef struct CudaAxis {
    CudaScratch memory;
    CUdeviceptr first, weight;
} CudaAxis;

static CudaAxis axis_in(Dev *d, const ResizeAxis *x)
{
    const uint64_t firsts = (uint64_t)x->out * sizeof *x->first;
    const uint64_t weights = (uint64_t)x->out * (uint64_t)x->taps * sizeof *x->weight;
    CudaAxis a = {.memory = cuda_scratch(d, firsts + weights)};
    a.first = a.memory.address;
    a.weight = a.memory.address + firsts;
    cuda_copy_in(d, a.first, x->first, firsts);
    cuda_copy_in(d, a.weight, x->weight, weights);
    return a;
}

static void resize_width(Dev *d, const ResizeArgs *r, const CudaAxis *columns, CUdeviceptr to)
{
    const CudaResizeWidth a = {.from = cuda_at(d, r->x),
                               .to = to,
                               .first = columns->first,
                               .weight = columns->weight,
                               .taps = r->columns->taps,
                               .from_row = (int32_t)r->x.stride_h,
                               .to_w = r->columns->out,
                               .rows = r->x.t * r->x.h};
    const CudaGrid grid = {blocks_of(a.to_w, THREADS), blocks_of(a.rows, RESIZE_ROWS), 1, THREADS, 0};
    cuda_launch(d, "resize", "resize_width", "", grid, &a);
}

/* CudaResizeHeight.pad_edge. */
static int filling_of(const ResizeArgs *r, const ResizeWindow *w)
{
    enum { BLACK, EDGE, EDGE_AROUND, MIRRORED_AROUND };
    if (!w->around) return w->pad_edge ? EDGE : BLACK;
    return pad_mirrors(w->h, w->w, -w->top, -w->left, r->y.h, r->y.c) ? MIRRORED_AROUND : EDGE_AROUND;
}

static void resize_height(Dev *d, const ResizeArgs *r, const CudaAxis *rows, CUdeviceptr from)
{
    const ResizeWindow whole = {.h = r->y.h, .w = r->y.c}, w = r->window != NULL ? *r->window : whole;
    const CudaResizeHeight a = {.from = from,
                                .to = cuda_at(d, r->y),
                                .first = rows->first,
                                .weight = rows->weight,
                                .taps = r->rows->taps,
                                .from_row = r->columns->out,
                                .from_h = r->x.h,
                                .top = w.top,
                                .left = w.left,
                                .window_h = w.h,
                                .window_w = w.w,
                                .to_w = r->y.c,
                                .to_h = r->y.h,
                                .to_row = (int32_t)r->y.stride_h,
                                .is_signed = r->window != NULL,
                                .pad_edge = filling_of(r, &w)};
    const CudaGrid grid = {blocks_of(a.to_row, THREADS * RESIZE_COLUMNS), (unsigned)a.to_h, (unsigned)r->y.t, THREADS, 0};
    cuda_launch(d, "resize", "resize_height", "", grid, &a);
}

void cuda_resize(Dev *d, const ResizeArgs *a)
{
    if (!are_floats(d, a->x) || !are_floats(d, a->y)) return;
    CudaAxis columns = axis_in(d, a->columns), rows = axis_in(d, a->rows);
    CudaScratch widths = cuda_scratch(d, (uint64_t)a->x.t * (uint64_t)a->x.h * (uint64_t)a->columns->out * sizeof(float));
    resize_width(d, a, &columns, widths.address);
    resize_height(d, a, &rows, widths.address);
    cuda_scratch_free(d, &widths);
    cuda_scratch_free(d, &rows.memory);
    cuda_scratch_free(d, &columns.memory);
}

/* ------------------------------------------------------------------------------------------------------------- codes */

enum { CODES_SIGNED = 1, CODES_NOISE = 2 };

static CudaCodes codes_of(const Dev *d, const CodesArgs *c)
{
    const uint32_t wide = c->bits > 8;
    return (CudaCodes){.codes = cuda_at(d, c->codes),
                       .rgb = cuda_at(d, c->rgb),
                       .alpha = cuda_at(d, c->alpha),
                       .seed = c->tpdf ? c->seed : 0,
                       .plane = (uint32_t)c->rgb.stride_t,
                       .row = (uint32_t)c->rgb.stride_h,
                       .w = (uint32_t)c->rgb.c,
                       .code_row = (uint32_t)(c->rgb.c * c->channels) << wide,
                       .channels = (uint32_t)c->channels,
                       .wide = wide,
                       .frame = c->tpdf ? (uint32_t)c->frame : 0, /* the same launch for every frame but for the noise */
                       .flags = (c->is_signed ? CODES_SIGNED : 0u) | (c->tpdf ? CODES_NOISE : 0u),
                       .top = (1U << c->bits) - 1};
}

void cuda_from_codes(Dev *d, const CodesArgs *c)
{
    const CudaCodes a = codes_of(d, c);
    const CudaGrid grid = {blocks_of(a.row, CODES_THREADS), (unsigned)c->rgb.h, 1, CODES_THREADS, 0};
    if (are_floats(d, c->rgb)) cuda_launch(d, "codes", "codes_to_planes", "", grid, &a);
}

void cuda_to_codes(Dev *d, const CodesArgs *c)
{
    const CudaCodes a = codes_of(d, c);
    const CudaGrid grid = {blocks_of(a.w, CODES_THREADS), (unsigned)c->rgb.h, 1, CODES_THREADS, 0};
    if (!are_floats(d, c->rgb)) return;
    if (c->tpdf) cuda_launch_once(d, "codes", "planes_to_codes", grid, &a);
    else cuda_launch(d, "codes", "planes_to_codes", "", grid, &a);
}
