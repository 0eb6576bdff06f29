/*
 * Colours of pictures: kernels/cpu/color_*.c, operation by operation, so the same bits. Planes are frames by three channels.
 * `rank.cu` has the ranks that some methods need, `hsv.cu` those of saturation.
 */
#include "color.cuh"

enum { THREADS = 128, WARPS = THREADS / 32 };

/* ----------------------------------------------------------------------------------------------------------- wavelet */

/* Sample i of what is blurred: of the level before, or at the first of style - content. */
__device__ __forceinline__ float low_at(const CudaWavelet &a, uint64_t i)
{
    if (a.from != 0) return memory_at<const float>(a.from)[i];
    return __fsub_rn(memory_at<const float>(a.style)[i], memory_at<const float>(a.content)[i]);
}

/* [1 2 1] / 4 */
__device__ __forceinline__ float blur(float before, float here, float after)
{
    return __fmul_rn(0.25f, __fadd_rn(__fadd_rn(before, __fmul_rn(2.0f, here)), after));
}

/* A level: both axes at once, from one plane to another. The last one is added to the content. Blocks: x columns, y rows,
 * z planes. */
extern "C" __global__ void __launch_bounds__(THREADS) color_wavelet(const __grid_constant__ CudaWavelet a)
{
    const int x = blockIdx.x * THREADS + threadIdx.x, y = blockIdx.y;
    if (x >= a.w) return;
    const int left = max(x - a.reach, 0), right = min(x + a.reach, a.w - 1);
    const uint64_t plane = (uint64_t)blockIdx.z * a.plane;
    float rows[3];
#pragma unroll
    for (int i = 0; i < 3; i++) {
        const uint64_t row = plane + (uint64_t)min(max(y + (i - 1) * a.reach, 0), a.h - 1) * a.row;
        rows[i] = blur(low_at(a, row + left), low_at(a, row + x), low_at(a, row + right));
    }
    const float low = blur(rows[0], rows[1], rows[2]);
    const uint64_t at = plane + (uint64_t)y * a.row + x;
    float *to = memory_at<float>(a.to) + at;
    *to = a.last ? clamp_signed(__fadd_rn(memory_at<const float>(a.content)[at], low)) : low;
}

/* out = style + strength * (out - style). Blocks: as above. */
extern "C" __global__ void __launch_bounds__(THREADS) color_mix(const __grid_constant__ CudaWavelet a)
{
    const int x = blockIdx.x * THREADS + threadIdx.x;
    if (x >= a.w) return;
    const uint64_t at = (uint64_t)blockIdx.z * a.plane + (uint64_t)blockIdx.y * a.row + x;
    float *out = memory_at<float>(a.to) + at;
    const float style = memory_at<const float>(a.style)[at];
    *out = __fadd_rn(style, __fmul_rn(a.strength, __fsub_rn(*out, style)));
}

/* ------------------------------------------------------------------------------------------------------------- adain */

/* The sum of a warp's lanes, in lane 0. */
__device__ __forceinline__ double lanes_sum(double x)
{
#pragma unroll
    for (int step = 16; step > 0; step /= 2) x = __dadd_rn(x, __shfl_down_sync(~0u, x, step));
    return x;
}

/* Sums of rows, or of squared distances from the mean; a warp has a row. Blocks: x rows, y planes, z content and style. */
extern "C" __global__ void __launch_bounds__(THREADS) adain_rows(const __grid_constant__ CudaAdain a)
{
    const int y = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (y >= a.h) return;
    const int sums = blockIdx.z * gridDim.y + blockIdx.y;
    const uint64_t row = (uint64_t)blockIdx.y * a.plane + (uint64_t)y * a.row;
    const float *x = memory_at<const float>(blockIdx.z == 0 ? a.content : a.style) + row;
    const double mean = a.squares ? memory_at<const double>(a.means)[sums] : 0.0;
    double sum = 0.0;
#pragma unroll 1
    for (int i = lane; i < a.w; i += 32) {
        const double from_mean = __dsub_rn(x[i], mean);
        sum = __dadd_rn(sum, a.squares ? __dmul_rn(from_mean, from_mean) : from_mean);
    }
    sum = lanes_sum(sum);
    if (lane == 0) memory_at<double>(a.rows)[(uint64_t)sums * a.h + y] = sum;
}

/* Sums of rows to means, or to means and deviations as floats; a warp has a plane. Blocks: x planes of content, then of
 * style. */
extern "C" __global__ void __launch_bounds__(32) adain_moments(const __grid_constant__ CudaAdain a)
{
    const double *rows = memory_at<const double>(a.rows) + (uint64_t)blockIdx.x * a.h;
    double sum = 0.0;
#pragma unroll 1
    for (int y = threadIdx.x; y < a.h; y += 32) sum = __dadd_rn(sum, rows[y]);
    sum = lanes_sum(sum);
    if (threadIdx.x != 0) return;
    double *mean = memory_at<double>(a.means) + blockIdx.x;
    const double share = __ddiv_rn(sum, a.divisor);
    if (!a.squares) *mean = share;
    else memory_at<float2>(a.moments)[blockIdx.x] =
             make_float2(__double2float_rn(*mean), __double2float_rn(__dsqrt_rn(__dadd_rn(share, 1e-5))));
}

/* Blocks: x columns, y rows, z planes. */
extern "C" __global__ void __launch_bounds__(THREADS) adain_apply(const __grid_constant__ CudaAdain a)
{
    const int x = blockIdx.x * THREADS + threadIdx.x;
    if (x >= a.w) return;
    const float2 *moments = memory_at<const float2>(a.moments);
    const float2 from = moments[blockIdx.z], to = moments[gridDim.z + blockIdx.z];
    float *at = memory_at<float>(a.content) + ((uint64_t)blockIdx.z * a.plane + (uint64_t)blockIdx.y * a.row + x);
    const float value = __fadd_rn(__fmul_rn(__fdiv_rn(__fsub_rn(*at, from.x), from.y), to.y), to.x);
    *at = a.clamped ? clamp_signed(value) : value;
}

/* --------------------------------------------------------------------------------------------------------------- lab */

/* kernels/cpu/color_lab.c tells what these do. */
__device__ __forceinline__ float guess(float x, uint32_t origin, uint32_t k)
{
    return __uint_as_float(origin - __float_as_uint(x) / k);
}

__device__ __forceinline__ float step_float(float z, float x, float power, float share)
{
    return __fadd_rn(z, __fmul_rn(__fmul_rn(z, __fsub_rn(1.0f, __fmul_rn(x, power))), share));
}

__device__ __forceinline__ double step_double(double z, double x, double power, double share)
{
    return __dadd_rn(z, __dmul_rn(__dmul_rn(z, __dsub_rn(1.0, __dmul_rn(x, power))), share));
}

__device__ __forceinline__ float cube(float z) { return __fmul_rn(__fmul_rn(z, z), z); }
__device__ __forceinline__ double cube(double z) { return __dmul_rn(__dmul_rn(z, z), z); }
__device__ __forceinline__ float square(float z) { return __fmul_rn(z, z); }
__device__ __forceinline__ double square(double z) { return __dmul_rn(z, z); }

__device__ __forceinline__ float cube_root(float x)
{
    float z = guess(x, 0x54a22eca, 3);
#pragma unroll
    for (int i = 0; i < 3; i++) z = step_float(z, x, cube(z), (float)(1.0 / 3));
    const double d = step_double(z, x, cube((double)z), 1.0 / 3);
    return __double2float_rn(__dmul_rn(__dmul_rn(x, d), d));
}

__device__ __forceinline__ float nearby_power(double power, float x, double apart)
{
    const double log2_x = __dmul_rn((double)(__float_as_int(x) - 0x3f7a7efa), 0x1p-23);
    return __double2float_rn(__dadd_rn(power, __dmul_rn(power, __dmul_rn(log2_x, apart * 0.6931471805599453))));
}

__device__ __forceinline__ float power_2_4(float x)
{
    float z = guess(x, 0x4c2bb153, 5);
#pragma unroll
    for (int i = 0; i < 3; i++) z = step_float(z, x, __fmul_rn(__fmul_rn(square(z), square(z)), z), (float)(1.0 / 5));
    double d = z;
    d = __dmul_rn(x, step_double(d, x, __dmul_rn(__dmul_rn(square(d), square(d)), d), 1.0 / 5));
    return nearby_power(cube(d), x, (double)2.4f - 2.4);
}

__device__ __forceinline__ float root_2_4(float x)
{
    float z = guess(x, 0x44c4326a, 12);
#pragma unroll
    for (int i = 0; i < 3; i++) z = step_float(z, x, square(square(cube(z))), (float)(1.0 / 12));
    const double d = step_double(z, x, square(square(cube((double)z))), 1.0 / 12);
    return nearby_power(__dmul_rn(__dmul_rn(x, square(cube(d))), d), x, (double)(1.0f / 2.4f) - 5.0 / 12);
}

__device__ __forceinline__ float linear_of(float x)
{
    const float u = clamp_unit(__fmul_rn(__fadd_rn(x, 1.0f), 0.5f));
    return u > 0.04045f ? power_2_4(__fdiv_rn(__fadd_rn(u, 0.055f), 1.055f)) : __fdiv_rn(u, 12.92f);
}

__device__ __forceinline__ float signed_of(float linear)
{
    const float u = linear > 0.0031308f ? __fsub_rn(__fmul_rn(root_2_4(linear), 1.055f), 0.055f) : __fmul_rn(linear, 12.92f);
    return __fsub_rn(__fmul_rn(clamp_unit(u), 2.0f), 1.0f);
}

__device__ __forceinline__ float dot3(float a, float b, float c, float x, float y, float z)
{
    return __fadd_rn(__fadd_rn(__fmul_rn(a, x), __fmul_rn(b, y)), __fmul_rn(c, z));
}

/* (29/3)^3, and 6/29 with its cube, below which a straight line takes the cube root's place. */
__device__ __forceinline__ float lab_of(float v)
{
    return v > 0.00885645168f ? cube_root(v) : __fdiv_rn(__fadd_rn(__fmul_rn(v, 903.296296296f), 16.0f), 116.0f);
}

__device__ __forceinline__ float xyz_of(float f, float white)
{
    return __fmul_rn(white, f > 0.20689655172f ? cube(f) : __fdiv_rn(__fsub_rn(__fmul_rn(f, 116.0f), 16.0f), 903.296296296f));
}

/* Signed RGB to L, a, b: three arrays of the style, then three of the content, without gaps, `all` values each, in the order
 * frame, row, column. Blocks: x columns, y rows, z the frames of the one, then of the other. */
extern "C" __global__ void __launch_bounds__(THREADS) color_to_lab(const __grid_constant__ CudaLab a)
{
    const uint32_t x = blockIdx.x * THREADS + threadIdx.x, frames = gridDim.z / 2;
    if (x >= a.w) return;
    const bool of_style = blockIdx.z < frames;
    const uint32_t frame = of_style ? blockIdx.z : blockIdx.z - frames;
    const uint64_t at = (uint64_t)frame * 3 * a.plane + (uint64_t)blockIdx.y * a.row + x;
    const float *from = memory_at<const float>(of_style ? a.style : a.planes) + at;
    const float r = linear_of(from[0]), g = linear_of(from[a.plane]), b = linear_of(from[2 * (uint64_t)a.plane]);
    const float f0 = lab_of(__fdiv_rn(dot3(0.4124564f, 0.3575761f, 0.1804375f, r, g, b), 0.95047f));
    const float f1 = lab_of(dot3(0.2126729f, 0.7151522f, 0.0721750f, r, g, b));
    const float f2 = lab_of(__fdiv_rn(dot3(0.0193339f, 0.1191920f, 0.9503041f, r, g, b), 1.08883f));
    float *to = memory_at<float>(a.lab) + (of_style ? 0 : 3 * a.all);
    to += ((uint64_t)frame * gridDim.y + blockIdx.y) * a.w + x;
    to[0] = __fsub_rn(__fmul_rn(f1, 116.0f), 16.0f);
    to[a.all] = __fmul_rn(__fsub_rn(f0, f1), 500.0f);
    to[2 * a.all] = __fmul_rn(__fsub_rn(f1, f2), 200.0f);
}

/* And back: of one picture. */
extern "C" __global__ void __launch_bounds__(THREADS) color_from_lab(const __grid_constant__ CudaLab a)
{
    const uint32_t x = blockIdx.x * THREADS + threadIdx.x;
    if (x >= a.w) return;
    const float *from = memory_at<const float>(a.lab) + (((uint64_t)blockIdx.z * gridDim.y + blockIdx.y) * a.w + x);
    const float fy = __fdiv_rn(__fadd_rn(from[0], 16.0f), 116.0f), fx = __fadd_rn(__fdiv_rn(from[a.all], 500.0f), fy);
    const float fz = __fsub_rn(fy, __fdiv_rn(from[2 * a.all], 200.0f));
    const float u = xyz_of(fx, 0.95047f), v = xyz_of(fy, 1.0f), w = xyz_of(fz, 1.08883f);
    float *to = memory_at<float>(a.planes) + ((uint64_t)blockIdx.z * 3 * a.plane + (uint64_t)blockIdx.y * a.row + x);
    to[0] = signed_of(dot3(3.2404542f, -1.5371385f, -0.4985314f, u, v, w));
    to[a.plane] = signed_of(dot3(-0.9692660f, 1.8760108f, 0.0415560f, u, v, w));
    to[2 * (uint64_t)a.plane] = signed_of(dot3(0.0556434f, -0.2040259f, 1.0572252f, u, v, w));
}
