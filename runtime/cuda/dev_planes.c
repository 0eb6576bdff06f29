/* Pictures between planes and pixels on the CUDA device: kernels/ptx/planes.ptx. */
#include "runtime/cuda/dev.h"

#include <stddef.h>

#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field)
AT(CudaPlanes, planes, 24);
AT(CudaPlanes, count, 40);
AT(CudaPlanes, pixel_w, 52);
AT(CudaPlanes, rows, 56);
AT(CudaPlanes, total_row, 80);
AT(CudaPlanes, first, 92);

enum { THREADS = 256 };

static CudaPlanes arguments(const Dev *d, Tensor planes, Tensor pixels)
{
    return (CudaPlanes){.pixels = cuda_view(d, pixels),
                        .planes = cuda_at(d, planes),
                        .plane = (uint32_t)planes.stride_t,
                        .row = (uint32_t)planes.stride_h,
                        .count = planes.t,
                        .w = planes.c,
                        .pixel_h = pixels.h,
                        .pixel_w = pixels.w};
}

static bool fit(Dev *d, Tensor planes, Tensor pixels)
{
    if (planes.type == ELEMENT_F32 && pixels.type <= ELEMENT_BF16) return true;
    dev_fail(d, "internal error: planes are floats, pixels floats or bf16");
    return false;
}

static CudaGrid samples_grid(int samples, Tensor planes, int z)
{
    return (CudaGrid){(unsigned)((samples + THREADS - 1) / THREADS), (unsigned)planes.h, (unsigned)z, THREADS, 0};
}

void cuda_from_planes(Dev *d, Tensor pixels, Tensor planes, const PlaneCells *cells)
{
    if (!fit(d, planes, pixels)) return;
    CudaPlanes a = arguments(d, planes, pixels);
    if (cells->side == 1) {
        cuda_launch(d, "planes", "planes_to_pixels", "", samples_grid(planes.c, planes, cuda_pad_of(pixels) / 4), &a);
        return;
    }
    a.side = cells->side;
    a.step = cells->step;
    a.first = cells->first;
    cuda_launch(d, "planes", "planes_to_cells", "", samples_grid(planes.c / 4, planes, planes.t), &a);
}

void cuda_to_planes(Dev *d, Tensor planes, Tensor pixels, const PlaneWeights *weights)
{
    if (!fit(d, planes, pixels)) return;
    CudaPlanes a = arguments(d, planes, pixels);
    a.w = planes.c_pad; /* the host takes rows with their padding */
    if (weights != NULL) {
        a.rows = cuda_at(d, weights->rows);
        a.columns = cuda_at(d, weights->columns);
        a.total = cuda_at(d, weights->total);
        a.total_row = (uint32_t)weights->total.stride_h;
    }
    cuda_launch(d, "planes", "pixels_to_planes", "", samples_grid(a.w, planes, (planes.t + 3) / 4), &a);
}
