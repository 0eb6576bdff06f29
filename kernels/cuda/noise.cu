/*
 * Noise by position: kernels/cpu/noise.c's counters, words and doubles, operation by operation, so the same bits. A value costs
 * about 50 operations of doubles, which is nothing against a network even where they run at a 64th of the rate.
 */
#include "ptx.cuh"

enum { THREADS = 128 };

struct Words {
    uint32_t x, y, z, w;
};

__device__ __forceinline__ Words philox(Words c, uint32_t k0, uint32_t k1)
{
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c.x, p1 = (uint64_t)0xCD9E8D57u * c.z;
        c = {(uint32_t)(p1 >> 32) ^ c.y ^ k0, (uint32_t)p1, (uint32_t)(p0 >> 32) ^ c.w ^ k1, (uint32_t)p0};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

__device__ __forceinline__ double next_term(double p, double z, double term) { return __dadd_rn(__dmul_rn(p, z), term); }

/* log((word + 1/2) / 2^32) */
__device__ __forceinline__ double log_of(uint32_t word)
{
    const double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    int64_t bits = __double_as_longlong(__dadd_rn((double)word, 0.5));
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffff) | 0x3ff0000000000000;
    if (bits > 0x3ff6a09e667f3bcd) {
        bits -= 0x0010000000000000;
        exponent++;
    }
    const double x = __longlong_as_double(bits), n = exponent - 32;
    const double s = __ddiv_rn(__dsub_rn(x, 1.0), __dadd_rn(x, 1.0)), z = __dmul_rn(s, s), twice = __dmul_rn(2.0, s);
    double p = next_term(1.0 / 19, z, 1.0 / 17);
    p = next_term(p, z, 1.0 / 15);
    p = next_term(p, z, 1.0 / 13);
    p = next_term(p, z, 1.0 / 11);
    p = next_term(p, z, 1.0 / 9);
    p = next_term(p, z, 1.0 / 7);
    p = next_term(p, z, 1.0 / 5);
    p = next_term(p, z, 1.0 / 3);
    const double low = __dadd_rn(__dmul_rn(twice, __dmul_rn(z, p)), __dmul_rn(n, ln2_low));
    return __dadd_rn(__dmul_rn(n, ln2_high), __dadd_rn(twice, low));
}

/* Two normals of two words. */
__device__ __forceinline__ float2 normals_of(uint32_t first, uint32_t second)
{
    const double radius = __dsqrt_rn(__dmul_rn(-2.0, log_of(first)));
    const uint32_t quarter = ((second >> 29) + 1) >> 1;
    const double part = __dadd_rn((double)(int32_t)(second - (quarter << 30)), 0.5);
    const double t = __dmul_rn(part, 6.28318530717958647692 * 0x1p-32), z = __dmul_rn(t, t);
    double c = next_term(1.0 / 20922789888000, z, -1.0 / 87178291200), s = next_term(-1.0 / 1307674368000, z, 1.0 / 6227020800);
    c = next_term(c, z, 1.0 / 479001600);
    s = next_term(s, z, -1.0 / 39916800);
    c = next_term(c, z, -1.0 / 3628800);
    s = next_term(s, z, 1.0 / 362880);
    c = next_term(c, z, 1.0 / 40320);
    s = next_term(s, z, -1.0 / 5040);
    c = next_term(c, z, -1.0 / 720);
    s = next_term(s, z, 1.0 / 120);
    c = next_term(c, z, 1.0 / 24);
    s = next_term(s, z, -1.0 / 6);
    c = next_term(next_term(c, z, -1.0 / 2), z, 1.0);
    s = next_term(__dmul_rn(s, z), t, t);
    const double x = quarter & 1 ? s : c, y = quarter & 1 ? c : s;
    return make_float2(__double2float_rn(__dmul_rn(radius, (quarter + 1) & 2 ? -x : x)),
                       __double2float_rn(__dmul_rn(radius, quarter & 2 ? -y : y)));
}

/* Four channels a thread. Blocks: x 4 channels of the pixels of a row, y rows, z frames. */
extern "C" __global__ void __launch_bounds__(THREADS) noise(const __grid_constant__ CudaNoise a)
{
    const uint32_t column = blockIdx.x * THREADS + threadIdx.x, quad = column % a.quads;
    if (column >= a.w * a.quads) return;
    const uint32_t frame = (uint32_t)(a.frame + blockIdx.z * a.frame_step);
    const Words words = philox({a.left * a.quads + column, a.top + blockIdx.y, frame, a.stream}, (uint32_t)a.seed,
                               (uint32_t)(a.seed >> 32));
    const float2 first = normals_of(words.x, words.y), second = normals_of(words.z, words.w);
    const int left = a.c - (int)quad * 4; /* what a pixel has beyond its channels is zero */
    float *to = memory_at<float>(a.to.at) + ((uint64_t)blockIdx.z * a.to.stride_t + (uint64_t)blockIdx.y * a.to.stride_h);
    ((float4 *)(to + column / a.quads * a.to.pitch))[quad] = make_float4(
        first.x, left > 1 ? first.y : 0.0f, left > 2 ? second.x : 0.0f, left > 3 ? second.y : 0.0f);
}

/* A picture's three channels of noise over signed planes: x * keep + (x + 0.05 n) * share. Blocks: x columns, y rows. */
extern "C" __global__ void __launch_bounds__(THREADS) noise_over(const __grid_constant__ CudaNoiseOver a)
{
    const uint32_t x = blockIdx.x * THREADS + threadIdx.x, y = blockIdx.y;
    if (x >= a.w) return;
    const Words words = philox({x, y, a.frame, a.stream}, (uint32_t)a.seed, (uint32_t)(a.seed >> 32));
    const float2 first = normals_of(words.x, words.y), second = normals_of(words.z, words.w);
    const float n[3] = {first.x, first.y, second.x};
    float *planes = memory_at<float>(a.planes) + ((uint64_t)y * a.row + x);
#pragma unroll
    for (int c = 0; c < 3; c++) {
        float *at = planes + c * a.plane;
        const float noisy = __fadd_rn(*at, __fmul_rn(n[c], 0.05f));
        *at = __fadd_rn(__fmul_rn(*at, a.keep), __fmul_rn(noisy, a.share));
    }
}
