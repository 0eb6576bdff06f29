/*
 * Colour by saturation, and its mixture with the wavelet method: kernels/cpu/color_hsv.c, operation by operation.
 *
 * Saturations of both are sorted once (rank.cu); one more pass of the sort, by bins of hue, then puts the pixels of every bin
 * in a row, in order. Red lies in two bins, the first and the last, so that pass is done for the first alone, then for the
 * others. Which bins count, the device sees for itself: the places where they begin tell their sizes.
 */
#include "color.cuh"

enum { THREADS = 128, ROW_THREADS = 256, BIN_LEAST = 100 };

__device__ __forceinline__ float unit_of(float x) { return clamp_unit(__fmul_rn(__fadd_rn(x, 1.0f), 0.5f)); }

struct Rgb {
    float r, g, b, most, range; /* range: most less least */
};

/* Pixel `at` of signed planes. */
__device__ __forceinline__ Rgb rgb_at(uint64_t planes, uint64_t at, uint64_t plane)
{
    const float *x = memory_at<const float>(planes) + at;
    Rgb p;
    p.r = unit_of(x[0]);
    p.g = unit_of(x[plane]);
    p.b = unit_of(x[2 * plane]);
    p.most = fmaxf(p.r, fmaxf(p.g, p.b));
    p.range = __fsub_rn(p.most, fminf(p.r, fminf(p.g, p.b)));
    return p;
}

__device__ __forceinline__ float saturation(const Rgb &p) { return p.most > 1e-10f ? __fdiv_rn(p.range, p.most) : 0.0f; }

/* In [0, 1]; where two channels tie for the largest, the later one's sector counts. */
__device__ __forceinline__ float hue(const Rgb &p)
{
    const bool of_b = p.most == p.b, of_g = p.most == p.g;
    const float from = of_b ? p.r : of_g ? p.b : p.g, less = of_b ? p.g : of_g ? p.r : p.b;
    float sixths = __fdiv_rn(__fsub_rn(from, less), p.range);
    const float first = of_b ? 4.0f : of_g ? 2.0f : sixths < 0.0f ? 6.0f : 0.0f;
    sixths = __fadd_rn(sixths, first);
    return p.range > 1e-10f ? __fdiv_rn(sixths, 6.0f) : 0.0f;
}

/* Bin k of 0 .. 11 takes hues from k/12 to (k + 1)/12; 12: a hue of 1, which the first bin has as well. */
__device__ __forceinline__ uint32_t bin_of(float h)
{
    uint32_t bin = 0;
#pragma unroll
    for (int k = 1; k <= CUDA_HUES; k++) bin += h >= (float)(k * (1.0 / CUDA_HUES)) ? 1 : 0;
    return bin;
}

/* Places of this thread's pixel: in planes, and without gaps. Blocks: x columns, y rows, z frames. */
__device__ __forceinline__ uint64_t in_planes(uint32_t frame, uint32_t x, uint32_t plane, uint32_t row)
{
    return (uint64_t)frame * 3 * plane + (uint64_t)blockIdx.y * row + x;
}

__device__ __forceinline__ uint64_t in_rows(uint32_t x, uint32_t w)
{
    return ((uint64_t)blockIdx.z * gridDim.y + blockIdx.y) * w + x;
}

/* Saturations and bins of hue of two pictures. Blocks: x columns, y rows, z the frames of the style, then of the other. */
extern "C" __global__ void __launch_bounds__(THREADS) hsv_split(const __grid_constant__ CudaHsv a)
{
    const uint32_t x = blockIdx.x * THREADS + threadIdx.x, frames = gridDim.z / 2;
    if (x >= a.w) return;
    const bool of_style = blockIdx.z < frames;
    const uint32_t frame = of_style ? blockIdx.z : blockIdx.z - frames;
    const Rgb p = rgb_at(of_style ? a.style : a.planes, in_planes(frame, x, a.plane, a.row), a.plane);
    const uint64_t to = in_rows(x, a.w);
    memory_at<float>(a.saturations)[to] = saturation(p);
    memory_at<uint8_t>(a.bins)[to] = (uint8_t)bin_of(hue(p));
}

/* Pixels with their own hue and value, and these saturations. Blocks: as above. */
extern "C" __global__ void __launch_bounds__(THREADS) hsv_join(const __grid_constant__ CudaHsv a)
{
    const uint32_t x = blockIdx.x * THREADS + threadIdx.x;
    if (x >= a.w) return;
    const uint64_t at = in_planes(blockIdx.z, x, a.plane, a.row);
    const Rgb own = rgb_at(a.planes, at, a.plane);
    const float s = memory_at<const float>(a.saturations)[in_rows(x, a.w)], v = own.most;
    const float sixths = __fmul_rn(hue(own), 6.0f), whole = floorf(sixths), f = __fsub_rn(sixths, whole);
    const float p = __fmul_rn(v, __fsub_rn(1.0f, s)), q = __fmul_rn(v, __fsub_rn(1.0f, __fmul_rn(s, f)));
    const float t = __fmul_rn(v, __fsub_rn(1.0f, __fmul_rn(s, __fsub_rn(1.0f, f))));
    const int sector = whole < 6.0f ? (int)whole : 0;
    const float r = sector == 1 ? q : sector == 2 || sector == 3 ? p : sector == 4 ? t : v;
    const float g = sector == 0 ? t : sector == 1 || sector == 2 ? v : sector == 3 ? q : p;
    const float b = sector == 2 ? t : sector == 3 || sector == 4 ? v : sector == 5 ? q : p;
    float *to = memory_at<float>(a.to) + at;
    to[0] = __fsub_rn(__fmul_rn(clamp_unit(r), 2.0f), 1.0f);
    to[a.plane] = __fsub_rn(__fmul_rn(clamp_unit(g), 2.0f), 1.0f);
    to[2 * (uint64_t)a.plane] = __fsub_rn(__fmul_rn(clamp_unit(b), 2.0f), 1.0f);
}

/* Blocks: x pixels, y pictures. */
extern "C" __global__ void __launch_bounds__(ROW_THREADS) hsv_keys(const __grid_constant__ CudaHueKeys a)
{
    const uint32_t i = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (i >= a.n) return;
    const uint64_t picture = (uint64_t)blockIdx.y * a.n, at = picture + i;
    const uint32_t bin = memory_at<const uint8_t>(a.bins)[picture + memory_at<const uint32_t>(a.where)[at]];
    const bool in_first = bin == 0 || bin >= CUDA_HUES - 1, in_others = bin > 0 && bin < CUDA_HUES;
    const uint32_t first = in_first ? 0 : CUDA_NO_HUE, others = in_others ? bin : CUDA_NO_HUE;
    memory_at<uint32_t>(a.keys)[at] = a.first ? first : others;
}

/* A pixel takes the saturation of the style's pixel that has its rank, or its share of the ranks, in the same bin. */
extern "C" __global__ void __launch_bounds__(ROW_THREADS) hsv_match(const __grid_constant__ CudaHueMatch a)
{
    const uint32_t i = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (i >= a.n) return;
    const uint32_t bin = memory_at<const uint32_t>(a.keys)[i];
    if (bin == CUDA_NO_HUE) return;
    const uint32_t *own = memory_at<const uint32_t>(a.starts) + bin, *other = memory_at<const uint32_t>(a.style_starts) + bin;
    const uint32_t n = own[1] - own[0], m = other[1] - other[0];
    if (n <= BIN_LEAST || m <= BIN_LEAST) return;
    uint64_t rank = i - own[0], share;
    /* Not `/`: that becomes two ways, the usual one for quotients of 32 bits. */
    asm("div.u64 %0, %1, %2;" : "=l"(share) : "l"(rank * (m - 1)), "l"((uint64_t)(n - 1)));
    rank = n == m ? rank : share;
    const uint32_t from = memory_at<const uint32_t>(a.style_where)[other[0] + (uint32_t)rank];
    memory_at<float>(a.to)[memory_at<const uint32_t>(a.where)[i]] = memory_at<const float>(a.style)[from];
}

/* The wavelet's result, mixed with that by saturation where it is more saturated than the style. Blocks: as above. */
extern "C" __global__ void __launch_bounds__(THREADS) hsv_mix(const __grid_constant__ CudaAdaptive a)
{
    const uint32_t x = blockIdx.x * THREADS + threadIdx.x;
    if (x >= a.w) return;
    const uint64_t at = in_planes(blockIdx.z, x, a.plane, a.row);
    const float have = saturation(rgb_at(a.content, at, a.plane)), want = saturation(rgb_at(a.style, at, a.plane));
    const float over = __fsub_rn(saturation(rgb_at(a.wavelet, at, a.plane)), want);
    const float power = __fmul_rn(-5.0f, __fsub_rn(__fsub_rn(have, want), 0.15f));
    const float mix = over > 0.075f ? __fdiv_rn(1.0f, __fadd_rn(1.0f, exp_poly(power))) : 0.0f;
    const float *wavelet = memory_at<const float>(a.wavelet) + at, *hsv = memory_at<const float>(a.hsv) + at;
    float *to = memory_at<float>(a.content) + at;
#pragma unroll
    for (int i = 0; i < 3; i++) {
        const uint64_t c = i * (uint64_t)a.plane;
        to[c] = __fadd_rn(__fmul_rn(wavelet[c], __fsub_rn(1.0f, mix)), __fmul_rn(hsv[c], mix));
    }
}
