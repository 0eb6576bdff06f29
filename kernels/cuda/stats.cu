/*
 * Mean and variance of frames by group of channels, in the order of sums that kernels/cpu/norm.h fixes: channels of half a patch,
 * 4 x 16 pixels, in raster order, then the channels of a group one after another, in double. Half a patch goes through shared
 * memory, so that device memory is read once though the sums take two passes. Where a product has made these moments of what it
 * stored (epilogue.cuh), they are merged without reading it again.
 *
 * Halves are not merged one after another, as on the CPU, since each merge divides: summed are their means' distances from the
 * first one's and the squares of these, without a division and with five operations in double a half, of which GeForce cards
 * do few. Both ways are sums of doubles, and so agree in all but about one of 10^8 results once these are floats. (Squares less
 * the square of the sum lose little: the first half's distance from the mean is at most the deviation times the root of the
 * number of halves.)
 */
#include "moments.cuh"

enum { THREADS = 128, MERGE_THREADS = 256 };

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

/* Sums over values x, whose distances from some number are d: of d, and of d^2. */
struct Sums {
    double distances, squares;
};

/* Of the halves that a thread takes. middle: the number from which distances are. */
__device__ __forceinline__ Sums sums_of_halves(const CudaMoments &a, int halves, const double2 *from, double middle,
                                               const double *counts)
{
    const int across = halves_across(a.w);
    const int down = MERGE_THREADS / across, along = MERGE_THREADS - down * across;
    int row = threadIdx.x / across, column = threadIdx.x - row * across;
    Sums sums = {0.0, 0.0};
#pragma unroll 4
    for (int i = threadIdx.x; i < halves; i += MERGE_THREADS) {
        const int height = a.h - (2 * row + (column & 1)) * CUDA_HALF_H, width = a.w - (column >> 1) * CUDA_PATCH_W;
        if (height > 0) {
            const double2 half = from[i];
            const double count = counts[min(CUDA_HALF_H, height) * min(CUDA_PATCH_W, width)], d = __dsub_rn(half.x, middle);
            const double weighted = __dmul_rn(d, count);
            sums.distances = __dadd_rn(sums.distances, weighted);
            sums.squares = __dadd_rn(fma(weighted, d, sums.squares), half.y);
        }
        row += down;
        column += along;
        if (column >= across) {
            column -= across;
            row++;
        }
    }
    return sums;
}

extern "C" __global__ void __launch_bounds__(MERGE_THREADS) stats_merge(const __grid_constant__ CudaMoments a)
{
    __shared__ double counts[CUDA_HALF_H * CUDA_PATCH_W + 1]; /* values in half a patch of so many pixels */
    __shared__ Sums part[MERGE_THREADS];
    const int own = threadIdx.x;
    if (own <= CUDA_HALF_H * CUDA_PATCH_W) counts[own] = (double)(own * a.size);
    __syncthreads();
    const int halves = (a.h + 2 * CUDA_HALF_H - 1) / (2 * CUDA_HALF_H) * halves_across(a.w);
    const double2 *from = memory_at<const double2>(a.moments) + ((uint64_t)blockIdx.y * a.groups + blockIdx.x) * halves;
    const double middle = from->x;
    part[own] = sums_of_halves(a, halves, from, middle, counts);
#pragma unroll 1
    for (int step = MERGE_THREADS / 2; step > 0; step /= 2) {
        __syncthreads();
        if (own >= step) continue;
        part[own].distances = __dadd_rn(part[own].distances, part[own + step].distances);
        part[own].squares = __dadd_rn(part[own].squares, part[own + step].squares);
    }
    if (own != 0) return;
    const double count = (double)((int64_t)a.h * a.w * a.size), shift = __ddiv_rn(part[0].distances, count);
    const double m2 = __dsub_rn(part[0].squares, __dmul_rn(part[0].distances, shift));
    const float2 result = {__double2float_rn(__dadd_rn(middle, shift)), __double2float_rn(__ddiv_rn(m2 < 0.0 ? 0.0 : m2, count))};
    float *stats = memory_at<float>(a.stats) + (uint64_t)blockIdx.y * a.pitch;
    ((float2 *)stats)[blockIdx.x] = result;
#pragma unroll 1
    for (int i = 2 * a.groups; blockIdx.x == 0 && i < a.pitch; i++) stats[i] = 0.0f;
}
