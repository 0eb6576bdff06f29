/*
 * Which key blocks each query block sees (FlashVSR): the sums and comparisons of kernels/cpu/block_attention.c in the same
 * order, but for the exponential, which is this file's own.
 */
#include "ptx.cuh"

#define ALL_LANES 0xffffffffu

extern "C" __global__ void __launch_bounds__(128) block_means(const __grid_constant__ CudaMeans a)
{
    const int c = blockIdx.x * 128 + threadIdx.x, block = blockIdx.y;
    if (c >= a.channels) return;
    const int token = (int)blockIdx.z * a.x.frame + block / a.per_window * a.x.row + block % a.per_window * a.tokens;
    const int64_t element = (int64_t)token * a.x.pitch + c;
    float sum = 0.0f;
    if (a.x.type == CUDA_BF16) {
        const uint16_t *x = memory_at<const uint16_t>(a.x.at) + element;
#pragma unroll 8
        for (int i = 0; i < a.tokens; i++) sum = __fadd_rn(sum, bf16_one(x[(int64_t)i * a.x.pitch]));
    } else {
        const float *x = memory_at<const float>(a.x.at) + element;
#pragma unroll 8
        for (int i = 0; i < a.tokens; i++) sum = __fadd_rn(sum, x[(int64_t)i * a.x.pitch]);
    }
    const int number = a.first + (int)(blockIdx.z * gridDim.y) + block;
    const int64_t to = c / a.head_dim * a.to_head + (int64_t)(c % a.head_dim) * a.to_channel + (int64_t)number * a.to_block;
    memory_at<float>(a.to)[to] = __fdiv_rn(sum, (float)a.tokens);
}

/* Is key block b within reach of query window w? Cut at the picture's border, not shifted back inside. */
__device__ __forceinline__ bool in_range(const CudaBlockMask &a, int w, int b)
{
    const int key = b % a.slice_blocks / a.per_window;
    const int left = a.local_range / 2, right = a.local_range - 1 - left;
    const int dy = key / a.columns - w / a.columns, dx = key % a.columns - w % a.columns;
    return dy >= -left && dy <= right && dx >= -left && dx <= right;
}

/* Elements of one row of p and of the mask, for a grid of windows, slices, heads. */
__device__ __forceinline__ int64_t row_of(const CudaBlockMask &a, int head)
{
    return ((int64_t)head * a.slices + blockIdx.y) * a.windows + blockIdx.x;
}

/* Every pair within the range: for masks without a choice. */
extern "C" __global__ void __launch_bounds__(256) block_near(const __grid_constant__ CudaBlockMask a)
{
    uint8_t *mask = memory_at<uint8_t>(a.mask) + row_of(a, blockIdx.z) * a.blocks;
#pragma unroll 1
    for (int b = threadIdx.x; b < a.blocks; b += 256) mask[b] = in_range(a, blockIdx.x, b);
}

/* e^x for x <= 0, down to the last denormal: a denormal result is rounded once. */
__device__ __forceinline__ float exp_small(float x)
{
    if (x < -104.0f) return 0.0f;
    const int n = __float2int_rn(x * 1.44269504088896341f);
    float r = __fmaf_rn((float)n, -0.693359375f, x);
    r = __fmaf_rn((float)n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = __fmaf_rn(p, r, 1.3981999507e-3f);
    p = __fmaf_rn(p, r, 8.3334519073e-3f);
    p = __fmaf_rn(p, r, 4.1665795894e-2f);
    p = __fmaf_rn(p, r, 1.6666665459e-1f);
    p = __fmaf_rn(p, r, 5.0000001201e-1f);
    p = __fadd_rn(__fmaf_rn(p, __fmul_rn(r, r), r), 1.0f);
    const int half = n / 2;
    return __fmul_rn(__fmul_rn(p, __int_as_float((half + 127) << 23)), __int_as_float((n - half + 127) << 23));
}

/* Softmax of one query block's scores. */
extern "C" __global__ void __launch_bounds__(256) block_scores(const __grid_constant__ CudaBlockMask a)
{
    __shared__ float shared[8];
    const int head = a.first_head + blockIdx.z;
    const float *q = memory_at<const float>(a.q) + row_of(a, head) * a.head_dim;
    const float *k = memory_at<const float>(a.k) + (int64_t)head * a.head_dim * a.blocks;
    float *p = memory_at<float>(a.p) + row_of(a, blockIdx.z) * a.blocks;
    const float nothing = -__int_as_float(0x7f800000);

    float top = nothing;
#pragma unroll 1
    for (int b = threadIdx.x; b < a.blocks; b += 256) {
        float s = nothing;
        if (in_range(a, blockIdx.x, b)) {
            float sum = 0.0f;
            int c = 0;
#pragma unroll 4
            do {
                sum = __fadd_rn(sum, __fmul_rn(q[c], k[(int64_t)c * a.blocks + b]));
            } while (++c < a.head_dim);
            s = __fdiv_rn(sum, a.root);
        }
        p[b] = s;
        top = fmaxf(top, s);
    }
#pragma unroll
    for (int m = 16; m > 0; m >>= 1) top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, m));
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = top;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 8; i++) top = fmaxf(top, shared[i]);
#pragma unroll 1
    for (int b = threadIdx.x; b < a.blocks; b += 256) p[b] = exp_small(p[b] - top);
    __syncthreads();
    if (threadIdx.x == 0) { /* in order: other blocks have theirs to do meanwhile */
        float sum = 0.0f;
#pragma unroll 8
        for (int b = 0; b < a.blocks; b++) sum = __fadd_rn(sum, p[b]);
        shared[0] = sum;
    }
    __syncthreads();
    const float sum = shared[0];
#pragma unroll 1
    for (int b = threadIdx.x; b < a.blocks; b += 256) p[b] = __fdiv_rn(p[b], sum);
}

/*
 * The mask of one slice and head: p above the (keep + 1)-th largest. That one is found by its bits, eight at a time from the
 * top (floats of one sign are ordered as their bits are); zeros are not counted, as most are that.
 */
extern "C" __global__ void __launch_bounds__(1024) block_choose(const __grid_constant__ CudaBlockMask a)
{
    __shared__ uint32_t count[256], found[2]; /* values of each byte; the bits so far, and how many of theirs lie above */
    const int64_t pairs = (int64_t)a.windows * a.blocks;
    const uint32_t *p = memory_at<const uint32_t>(a.p) + ((int64_t)blockIdx.y * a.slices + blockIdx.x) * pairs;
    uint8_t *mask = memory_at<uint8_t>(a.mask) + ((int64_t)(a.first_head + blockIdx.y) * a.slices + blockIdx.x) * pairs;
    uint32_t limit = 0, above = (uint32_t)min(a.keep, pairs - 1);
#pragma unroll 1
    for (int shift = 24; shift >= 0; shift -= 8) {
        if (threadIdx.x < 256) count[threadIdx.x] = 0;
        __syncthreads();
#pragma unroll 4
        for (int64_t i = threadIdx.x; i < pairs; i += 1024) {
            const uint32_t bits = p[i];
            if (bits != 0 && ((bits ^ limit) >> shift) >> 8 == 0) atomicAdd(&count[bits >> shift & 255], 1u);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            int byte = 255;
#pragma unroll 1
            while (byte > 0 && above >= count[byte]) above -= count[byte--];
            found[0] = limit | (uint32_t)byte << shift;
            found[1] = above;
        }
        __syncthreads();
        limit = found[0];
        above = found[1];
    }
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < pairs; i += 1024) mask[i] = p[i] > limit;
}
