/* Where the results of attention go; shared by attention.cu and attention8.cu. */
#ifndef UPRES_KERNELS_CUDA_ATTENTION_CUH
#define UPRES_KERNELS_CUDA_ATTENTION_CUH

#include "ptx.cuh"

/* Where the results of a row go; those of the text are floats. */
struct Place {
    uint64_t at;
    int channels; /* those beyond are not stored */
    bool floats;
};

/* Args: CudaFlash or CudaFlash8. row: of the window, or query block, that the grid gives. */
template <int DEPTH, bool FLOATS, class Args> __device__ __forceinline__ Place place_of(const Args &a, int row)
{
    int token;
    if (a.windows != 0) {
        const CudaWindow *w = memory_at<const CudaWindow>(a.windows) + blockIdx.y;
        if (row >= w->own) {
            const int64_t pair = (int64_t)blockIdx.y * gridDim.z + blockIdx.z;
            return {a.text_o + (pair * a.text_queries + row - w->own) * DEPTH * 4, DEPTH, true};
        }
        const int line = row / w->wide;
        token = (w->t + line / w->tall) * a.o.frame + (w->h + line % w->tall) * a.o.row + w->w + row % w->wide;
    } else {
        token = (int)blockIdx.y / a.q_rows * a.o.frame + (int)blockIdx.y % a.q_rows * a.o.row + row;
    }
    const int64_t element = (int64_t)token * a.o.pitch + (a.first_head + (int)blockIdx.z) * a.head_dim;
    const bool floats = FLOATS || a.o.type == CUDA_F32; /* few pixels are floats in every precision */
    return {a.o.at + element * (floats ? 4 : 2), a.head_dim, floats};
}

/* Channels c and c + 1. */
template <bool FLOATS> __device__ __forceinline__ void store_pair(const Place &p, int c, float x, float y)
{
    if (c >= p.channels) return;
    if (FLOATS || p.floats) *memory_at<float2>(p.at + c * 4) = make_float2(x, y);
    else *memory_at<uint32_t>(p.at + c * 2) = bf16_pack(x, y);
}

#endif
