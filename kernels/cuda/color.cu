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

/* A float and the rest that its roundings left. */
struct Sum {
    float sum, rest;
};

__device__ __forceinline__ void add(Sum &s, float x)
{
    const float sum = __fadd_rn(s.sum, x), added = __fsub_rn(sum, s.sum);
    s.rest = __fadd_rn(s.rest, __fadd_rn(__fsub_rn(s.sum, __fsub_rn(sum, added)), __fsub_rn(x, added)));
    s.sum = sum;
}

__device__ __forceinline__ void add_both(Sum &sum, Sum &squares, float x)
{
    const float square = __fmul_rn(x, x);
    add(sum, x);
    add(squares, square);
    squares.rest = __fadd_rn(squares.rest, __fmaf_rn(x, x, -square));
}

__device__ __forceinline__ double lanes_sum(const Sum &s) { return lanes_sum(__dadd_rn((double)s.sum, (double)s.rest)); }

/* Sums of rows and of their squares; a warp has a row. Blocks: x rows, y planes, z content and style. */
extern "C" __global__ void __launch_bounds__(THREADS) adain_rows(const __grid_constant__ CudaAdain a)
{
    enum { TOGETHER = 8 }; /* loads */
    const int y = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (y >= a.h) return;
    const uint64_t row = (uint64_t)blockIdx.y * a.plane + (uint64_t)y * a.row;
    const float *x = memory_at<const float>(blockIdx.z == 0 ? a.content : a.style) + row;
    Sum sum = {0.0f, 0.0f}, squares = {0.0f, 0.0f};
    int i = lane;
#pragma unroll 1
    for (; i + 32 * (TOGETHER - 1) < a.w; i += 32 * TOGETHER) {
        float some[TOGETHER];
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) some[k] = x[i + 32 * k];
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) add_both(sum, squares, some[k]);
    }
#pragma unroll 1
    for (; i < a.w; i += 32) add_both(sum, squares, x[i]);
    const double all = lanes_sum(sum), all_squares = lanes_sum(squares);
    const uint64_t at = (uint64_t)(blockIdx.z * gridDim.y + blockIdx.y) * a.h + y;
    if (lane == 0) memory_at<double2>(a.rows)[at] = make_double2(all, all_squares);
}

/* Sums of rows to means and deviations as floats; a warp has a plane. Blocks: x planes of content, then of style. */
extern "C" __global__ void __launch_bounds__(32) adain_moments(const __grid_constant__ CudaAdain a)
{
    const double2 *rows = memory_at<const double2>(a.rows) + (uint64_t)blockIdx.x * a.h;
    double sum = 0.0, squares = 0.0;
#pragma unroll 1
    for (int y = threadIdx.x; y < a.h; y += 32) {
        const double2 row = rows[y];
        sum = __dadd_rn(sum, row.x);
        squares = __dadd_rn(squares, row.y);
    }
    sum = lanes_sum(sum);
    squares = lanes_sum(squares);
    if (threadIdx.x != 0) return;
    const double mean = __ddiv_rn(sum, a.count), apart = __dsub_rn(squares, __dmul_rn(sum, mean));
    const double square = __ddiv_rn(apart > 0.0 ? apart : 0.0, a.divisor);
    memory_at<float2>(a.moments)[blockIdx.x] =
        make_float2(__double2float_rn(mean), __double2float_rn(__dsqrt_rn(__dadd_rn(square, 1e-5))));
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

/* A float whose products and sums are rounded one by one, never fused. */
struct Rounded {
    float value;
    __device__ __forceinline__ Rounded(float x) : value(x) {}
};

__device__ __forceinline__ Rounded operator*(Rounded a, Rounded b) { return __fmul_rn(a.value, b.value); }
__device__ __forceinline__ Rounded operator+(Rounded a, Rounded b) { return __fadd_rn(a.value, b.value); }
__device__ __forceinline__ Rounded operator-(Rounded a, Rounded b) { return __fsub_rn(a.value, b.value); }
__device__ __forceinline__ bool operator>(Rounded a, Rounded b) { return a.value > b.value; }
__device__ __forceinline__ Rounded select(bool first, Rounded a, Rounded b) { return first ? a.value : b.value; }

/* kernels/cpu/color_roots.h tells what these do. */
__device__ __forceinline__ Rounded beyond(Rounded a, Rounded b, Rounded whole)
{
    return __fmaf_rn(a.value, b.value, -whole.value);
}

__device__ __forceinline__ Rounded guess(Rounded x, uint32_t origin, uint32_t share)
{
    return __uint_as_float(origin - __umulhi(__float_as_uint(x.value), share));
}

__device__ __forceinline__ Rounded better(Rounded z, Rounded power, float c0, float c1, float c2)
{
    const Rounded better = z * (c0 + power * (c1 + power * c2));
    return __uint_as_float(__float_as_uint(better.value) & 0xfffff000u);
}

__device__ __forceinline__ Rounded logarithm(Rounded x, double times)
{
    return __fmul_rn((float)(__float_as_int(x.value) - 0x3f7a7efa), (float)(times * 0.6931471805599453 * 0x1p-23));
}

__device__ __forceinline__ Rounded cube_root(Rounded x)
{
    Rounded z = guess(x, 0x549d9aea, 0x55555555);
    z = better(z, z * z * (x * z), 1.59267485f, -0.852954149f, 0.260428965f);
    const Rounded z2 = z * z, y = x * z2, y_low = beyond(x, z2, y), apart = beyond(y, z, 1.0f) + y_low * z;
    return y + (y_low + y * (apart * (apart * 0.555741727f - 0.666666865f)));
}

__device__ __forceinline__ Rounded power_2_4(Rounded x)
{
    Rounded z = guess(x, 0x4c271d73, 0x33333333);
    const Rounded square = z * z;
    z = better(z, square * square * (x * z), 1.35245156f, -0.506875336f, 0.154567793f);
    const Rounded z2 = z * z, z4 = z2 * z2, z4_low = beyond(z2, z2, z4), r = x * z, r_low = beyond(x, z, r);
    const Rounded apart = beyond(z4, r, 1.0f) + (z4_low * r + z4 * r_low);
    const Rounded share = apart * (apart * 0.480257392f - 0.60000062f) + logarithm(x, (double)2.4f - 2.4);
    const Rounded r2 = r * r, r2_low = beyond(r, r, r2), y = r2 * r, y_low = beyond(r2, r, y);
    return y + (y_low + r * (r2_low + 3.0f * (r * r_low)) + y * share);
}

__device__ __forceinline__ Rounded root_2_4(Rounded x)
{
    Rounded z = guess(x, 0x44c4326a, 0x15555555);
    const Rounded cube = z * z * z, sixth = cube * cube;
    z = better(z, sixth * (x * sixth), 1.12973869f, -0.172753975f, 0.0432765037f);
    const Rounded z2 = z * z, z3 = z2 * z, z3_low = beyond(z2, z, z3);
    const Rounded z6 = z3 * z3, z6_low = beyond(z3, z3, z6) + (z3 + z3) * z3_low;
    const Rounded r = x * z6, r_low = beyond(x, z6, r) + x * z6_low;
    const Rounded apart = beyond(r, z6, 1.0f) + (r * z6_low + r_low * z6);
    const Rounded share = apart * (apart * (apart * -0.398678839f + 0.461819232f) - 0.583333313f) +
                          logarithm(x, (double)(1.0f / 2.4f) - 5.0 / 12);
    const Rounded y = r * z, y_low = beyond(r, z, y);
    return y + (y_low + r_low * z + y * share);
}

/* x / by, rounded once, as the remainder is exact: of the divisors here that was found for all x from 1e-29 to 1e29
 * (tests/kernels/color.c tries some), and x is 0 or 1e-12 at least. -0 becomes 0, which what is added to it hides. */
__device__ __forceinline__ Rounded divided(Rounded x, float by)
{
    const float near = __fmul_rn(x.value, 1.0f / by);
    return __fmaf_rn(__fmaf_rn(-by, near, x.value), 1.0f / by, near);
}

__device__ __forceinline__ Rounded linear_of(Rounded x)
{
    const Rounded u = clamp_unit(((x + 1.0f) * 0.5f).value);
    return select(u > 0.04045f, power_2_4(divided(u + 0.055f, 1.055f)), divided(u, 12.92f));
}

__device__ __forceinline__ float signed_of(Rounded linear)
{
    const Rounded u = select(linear > 0.0031308f, root_2_4(linear) * 1.055f - 0.055f, linear * 12.92f);
    return (clamp_unit(u.value) * Rounded(2.0f) - 1.0f).value;
}

__device__ __forceinline__ Rounded dot3(Rounded a, Rounded b, Rounded c, Rounded x, Rounded y, Rounded z)
{
    return a * x + b * y + c * z;
}

/* (29/3)^3, and 6/29 with its cube, below which a straight line takes the cube root's place. */
__device__ __forceinline__ Rounded lab_of(Rounded v)
{
    return select(v > 0.00885645168f, cube_root(v), divided(v * 903.296296296f + 16.0f, 116.0f));
}

__device__ __forceinline__ Rounded xyz_of(Rounded f, float white)
{
    return white * select(f > 0.20689655172f, f * f * f, divided(f * 116.0f - 16.0f, 903.296296296f));
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
    const Rounded r = linear_of(from[0]), g = linear_of(from[a.plane]), b = linear_of(from[2 * (uint64_t)a.plane]);
    const Rounded f0 = lab_of(divided(dot3(0.4124564f, 0.3575761f, 0.1804375f, r, g, b), 0.95047f));
    const Rounded f1 = lab_of(dot3(0.2126729f, 0.7151522f, 0.0721750f, r, g, b));
    const Rounded f2 = lab_of(divided(dot3(0.0193339f, 0.1191920f, 0.9503041f, r, g, b), 1.08883f));
    float *to = memory_at<float>(a.lab) + (of_style ? 0 : 3 * a.all);
    to += ((uint64_t)frame * gridDim.y + blockIdx.y) * a.w + x;
    to[0] = (f1 * 116.0f - 16.0f).value;
    to[a.all] = ((f0 - f1) * 500.0f).value;
    to[2 * a.all] = ((f1 - f2) * 200.0f).value;
}

/* And back: of one picture. */
extern "C" __global__ void __launch_bounds__(THREADS) color_from_lab(const __grid_constant__ CudaLab a)
{
    const uint32_t x = blockIdx.x * THREADS + threadIdx.x;
    if (x >= a.w) return;
    const float *from = memory_at<const float>(a.lab) + (((uint64_t)blockIdx.z * gridDim.y + blockIdx.y) * a.w + x);
    const Rounded fy = divided(from[0] + Rounded(16.0f), 116.0f), fx = divided(from[a.all], 500.0f) + fy;
    const Rounded fz = fy - divided(from[2 * a.all], 200.0f);
    const Rounded u = xyz_of(fx, 0.95047f), v = xyz_of(fy, 1.0f), w = xyz_of(fz, 1.08883f);
    float *to = memory_at<float>(a.planes) + ((uint64_t)blockIdx.z * 3 * a.plane + (uint64_t)blockIdx.y * a.row + x);
    to[0] = signed_of(dot3(3.2404542f, -1.5371385f, -0.4985314f, u, v, w));
    to[a.plane] = signed_of(dot3(-0.9692660f, 1.8760108f, 0.0415560f, u, v, w));
    to[2 * (uint64_t)a.plane] = signed_of(dot3(0.0556434f, -0.2040259f, 1.0572252f, u, v, w));
}
