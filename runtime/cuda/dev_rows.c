/* Elementwise operations of the CUDA device: its kernels are the files of kernels/ptx. */
#include "runtime/cuda/dev.h"

#include <stddef.h>

/* What the PTX takes for granted. */
#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field)
AT(CudaView, stride_t, 8);
AT(CudaView, type, 20);
AT(CudaAxpby, x, 24);
AT(CudaAxpby, z, 48);
AT(CudaAxpby, a, 72);
AT(CudaAxpby, quads, 88);
AT(CudaRows, index, 48);
AT(CudaRows, x_h, 72);
AT(CudaRotate, table, 24);
AT(CudaRotate, first, 40);
AT(CudaRotate, head, 68);
AT(CudaRotate, place_row, 76);
AT(CudaModulation, c, 24);
AT(CudaModulation, part, 36);
AT(CudaModulationRow, add, 24);
AT(CudaModulationRow, pad, 32);
AT(CudaGuide, n, 24);
AT(CudaGuide, guidance, 48);
AT(CudaGuide, c, 60);

enum { THREADS = 256, FEW_THREADS = 128 };

CudaView cuda_view(const Dev *d, Tensor x)
{
    return (CudaView){.at = cuda_at(d, x),
                      .stride_t = (uint32_t)x.stride_t,
                      .stride_h = (uint32_t)x.stride_h,
                      .pitch = (uint32_t)x.c_pad,
                      .type = x.type};
}

/* Threads for `each` items of every pixel. */
static CudaGrid pixels_grid(Tensor x, int each, int threads)
{
    const int64_t items = (int64_t)x.w * each;
    return (CudaGrid){(unsigned)((items + threads - 1) / threads), (unsigned)x.h, (unsigned)x.t, (unsigned)threads, 0};
}

static bool are_numbers(Dev *d, Tensor x, Tensor y)
{
    if (x.type <= ELEMENT_BF16 && y.type <= ELEMENT_BF16) return true;
    dev_fail(d, "internal error: an operation on tensors that are neither floats nor bf16");
    return false;
}

void cuda_axpby(Dev *d, Tensor y, float a, Tensor x, float b, Tensor z)
{
    if (!are_numbers(d, x, y) || !are_numbers(d, z, z)) return;
    const CudaAxpby k = {.y = cuda_view(d, y), .x = cuda_view(d, x), .z = cuda_view(d, z), .a = a, .b = b, .w = y.w, .c = y.c,
                         .quads = cuda_pad_of(y) / 4};
    cuda_launch(d, "axpby", "axpby", "", pixels_grid(y, k.quads, THREADS), &k);
}

void cuda_rows(Dev *d, Tensor y, Tensor x, const int32_t *index)
{
    if (!are_numbers(d, x, y)) return;
    const uint64_t bytes = (uint64_t)y.t * (uint64_t)y.h * (uint64_t)y.w * sizeof *index;
    CudaScratch table = cuda_scratch(d, bytes);
    cuda_copy_in(d, table.address, index, bytes);
    const CudaRows k = {.y = cuda_view(d, y), .x = cuda_view(d, x), .index = table.address, .w = y.w, .h = y.h,
                        .quads = (y.c + 3) / 4, .x_w = x.w, .x_h = x.h};
    cuda_launch(d, "rows", "rows", "", pixels_grid(y, k.quads, THREADS), &k);
    cuda_scratch_free(d, &table);
}

void cuda_rotate(Dev *d, const RotateArgs *a)
{
    if (!are_numbers(d, a->x, a->x)) return;
    const CudaRotate k = {.x = cuda_view(d, a->x), .table = cuda_at(d, a->table), .place = cuda_at(d, a->place),
                          .first = {a->first[0], a->first[1], a->first[2], a->first[3]}, .w = a->x.w, .h = a->x.h,
                          .pairs = a->heads * a->head_dim / 2, .head = a->head_dim / 2,
                          .table_row = (int32_t)a->table.stride_t, .place_row = a->place.c_pad};
    cuda_launch(d, "rotate", "rotate", "", pixels_grid(a->x, k.pairs, THREADS), &k);
}

static bool are_vectors(Dev *d, Tensor out, Tensor emb)
{
    if (out.type == ELEMENT_F32 && (!emb.valid || emb.type == ELEMENT_F32)) return true;
    dev_fail(d, "internal error: modulations are floats");
    return false;
}

static CudaGrid vector_grid(int pad)
{
    return (CudaGrid){(unsigned)((pad + FEW_THREADS - 1) / FEW_THREADS), 1, 1, FEW_THREADS, 0};
}

void cuda_modulation(Dev *d, Tensor out, Tensor emb, int layer, int part, const BoundWeight *extra)
{
    if (!are_vectors(d, out, emb)) return;
    const CudaModulation k = {.to = cuda_at(d, out), .emb = cuda_at(d, emb), .extra = cuda_vector(d, extra), .c = out.c,
                              .pad = out.c_pad, .layer = layer, .part = part};
    cuda_launch(d, "modulation", "modulation", "", vector_grid(k.pad), &k);
}

void cuda_modulation_row(Dev *d, Tensor out, float add, Tensor emb, int emb_row, const BoundWeight *table, int table_row)
{
    if (!are_vectors(d, out, emb)) return;
    const CUdeviceptr rows = cuda_vector(d, table), from = cuda_at(d, emb);
    const CudaModulationRow k = {.to = cuda_at(d, out),
                                 .emb = from == 0 ? 0 : from + (uint64_t)emb_row * (uint64_t)out.c * sizeof(float),
                                 .table = rows == 0 ? 0 : rows + (uint64_t)table_row * (uint64_t)out.c * sizeof(float),
                                 .add = add, .c = out.c, .pad = out.c_pad};
    cuda_launch(d, "modulation", "modulation_row", "", vector_grid(k.pad), &k);
}

void cuda_guide(Dev *d, Tensor v, Tensor negative, float guidance, float rescale)
{
    if (!are_numbers(d, v, negative)) return;
    const CudaGuide k = {.v = cuda_view(d, v), .n = cuda_view(d, negative), .guidance = guidance, .rescale = rescale, .w = v.w,
                         .c = v.c};
    cuda_launch(d, "guide", "guide", "", pixels_grid(v, 1, FEW_THREADS), &k);
}
