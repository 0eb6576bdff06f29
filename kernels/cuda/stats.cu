/*
 * Mean and variance of frames by group of channels, in the order of sums that kernels/cpu/norm.h fixes: channels of half a patch,
 * 4 x 16 pixels, in raster order, then the channels of a group one after another, in double. Half a patch goes through shared
 * memory, so that device memory is read once though the sums take two passes. Where a product has made these moments of what it
 * stored (epilogue.cuh), they are merged without reading it again.
 *
 * Halves are merged to patches, those in 128 runs at once, each in order, and the runs pairwise; the CPU merges patches one by
 * one. Both are sums of doubles, and so agree in all but about one of 10^8 results once these are floats.
 */
#include "moments.cuh"

enum { THREADS = 128 };

/* `units` Ts of every pixel; a thread has one unit of all rows. */
template <class T>
__device__ __forceinline__ void copy_half(void *to, uint64_t from, const Half &p, uint32_t pixel_bytes, uint32_t row_bytes,
                                           int units)
{
    __builtin_assume(p.height > 0); /* there is no half without pixels here */
#pragma unroll 1
    for (int i = threadIdx.x; i < p.width * units; i += THREADS) {
        const int x = i / units, row_units = p.width * units;
        const uint64_t at = from + x * pixel_bytes + (i - x * units) * (uint32_t)sizeof(T);
#pragma unroll 4
        for (int y = 0; y < p.height; y++) ((T *)to)[y * row_units + i] = *memory_at<const T>(at + (uint64_t)y * row_bytes);
    }
}

__device__ __forceinline__ float number(float x) { return x; }
__device__ __forceinline__ float number(uint16_t x) { return bf16_one(x); }

/* Mean and sum of squared distances of every channel of the half patch, pixel after pixel. */
template <class T>
__device__ __forceinline__ void sum_channels(const void *patch, int pixels, int slab, float *mean, float *m2)
{
    __builtin_assume(pixels > 0);
#pragma unroll 1
    for (int c = threadIdx.x; c < slab; c += THREADS) {
        const T *x = (const T *)patch + c;
        float sum = 0.0f, square = 0.0f;
#pragma unroll 4
        for (int i = 0; i < pixels; i++) sum = __fadd_rn(sum, number(x[i * slab]));
        const float middle = __fdiv_rn(sum, (float)pixels);
#pragma unroll 4
        for (int i = 0; i < pixels; i++) {
            const float d = __fsub_rn(number(x[i * slab]), middle);
            square = __fadd_rn(square, __fmul_rn(d, d));
        }
        mean[c] = middle;
        m2[c] = square;
    }
}

/* Shared memory: half a patch [pixels][slab] as it is, float [2][slab], double 1 / 1 .. 1 / channels of a group. */
extern "C" __global__ void __launch_bounds__(THREADS) stats_halves(const __grid_constant__ CudaHalves a)
{
    extern __shared__ __align__(16) uint8_t memory[];
    const Half p = half_of(blockIdx.x, a.h, a.w);
    if (p.height <= 0) return;
    const int first = blockIdx.y * a.slab, slab = min(a.slab, a.c - first), size = a.c / a.groups, pixels = p.height * p.width;
    const uint32_t bytes = a.type == CUDA_F32 ? 4 : 2, pixel_bytes = a.pitch * bytes, row_bytes = a.row * pixel_bytes;
    const uint64_t from = a.x + (uint64_t)(blockIdx.z * a.frame + p.top * a.row + p.left) * pixel_bytes + first * bytes;
    double *weights = (double *)(memory + CUDA_HALF_H * CUDA_PATCH_W * a.slab * bytes);
    float *means = (float *)(weights + size), *squares = means + slab;
    fill_weights(weights, size, threadIdx.x, THREADS);

    if (((uint32_t)from | pixel_bytes | slab * bytes) % 16 == 0) {
        copy_half<uint4>(memory, from, p, pixel_bytes, row_bytes, slab * bytes / 16);
    } else if (a.type == CUDA_F32) {
        copy_half<uint32_t>(memory, from, p, pixel_bytes, row_bytes, slab);
    } else {
        copy_half<uint16_t>(memory, from, p, pixel_bytes, row_bytes, slab);
    }
    __syncthreads();
    if (a.type == CUDA_F32) sum_channels<float>(memory, pixels, slab, means, squares);
    else sum_channels<uint16_t>(memory, pixels, slab, means, squares);
    __syncthreads();
#pragma unroll 1
    for (int g = threadIdx.x; g < slab / size; g += THREADS) {
        const uint64_t at = ((uint64_t)blockIdx.z * a.groups + first / size + g) * gridDim.x + blockIdx.x;
        memory_at<double2>(a.moments)[at] = merge_channels(means + g * size, squares + g * size, size, pixels, weights);
    }
}

/* Moments of half a patch, `size` channels; none where it has no pixels. */
__device__ __forceinline__ Moments moments_of(const CudaMoments &a, const double2 *from, int number)
{
    const Half p = half_of(number, a.h, a.w);
    if (p.height <= 0) return {0.0, 0.0, 0.0};
    const double2 m = from[number];
    return {(double)(p.height * p.width * a.size), m.x, m.y};
}

__device__ __forceinline__ void merge_any(Moments *a, const Moments &b)
{
    if (b.count > 0.0) merge(a, b, __ddiv_rn(b.count, __dadd_rn(a->count, b.count)));
}

extern "C" __global__ void __launch_bounds__(THREADS) stats_merge(const __grid_constant__ CudaMoments a)
{
    __shared__ Moments part[THREADS];
    const int patches = (a.h + 2 * CUDA_HALF_H - 1) / (2 * CUDA_HALF_H) * halves_across(a.w) / 2;
    const int run = (patches + THREADS - 1) / THREADS, first = threadIdx.x * run, end = min(first + run, patches);
    const double2 *from = memory_at<const double2>(a.moments) + ((uint64_t)blockIdx.y * a.groups + blockIdx.x) * 2 * patches;
    Moments all = {0.0, 0.0, 0.0};
#pragma unroll 1
    for (int i = first; i < end; i++) {
        Moments next = moments_of(a, from, 2 * i);
        merge_any(&next, moments_of(a, from, 2 * i + 1));
        if (i == first) all = next;
        else merge_any(&all, next);
    }
    part[threadIdx.x] = all;
#pragma unroll 1
    for (int step = 1; step < THREADS; step *= 2) {
        __syncthreads();
        if (threadIdx.x % (2 * step) != 0) continue;
        merge_any(&all, part[threadIdx.x + step]);
        part[threadIdx.x] = all;
    }
    if (threadIdx.x != 0) return;
    const float2 result = {__double2float_rn(all.mean), __double2float_rn(__ddiv_rn(all.m2, all.count))};
    float *stats = memory_at<float>(a.stats) + (uint64_t)blockIdx.y * a.pitch;
    ((float2 *)stats)[blockIdx.x] = result;
#pragma unroll 1
    for (int i = 2 * a.groups; blockIdx.x == 0 && i < a.pitch; i++) stats[i] = 0.0f;
}
