/*
 * What happens to an operation's input while it is read, done ahead of it: norm, gain and shift, activation, and the
 * conversion to the type that the products read, in one pass over memory. A thread takes 8 channels of a pixel at a time; with
 * 8 bits threads that share a block of channels find its largest value by shuffles.
 *
 * Arithmetic is that of kernels/cpu/norm.c and rows_body.h, operation by operation, so float results agree bit for bit.
 */
#include "fp8.cuh"

enum { PRE_THREADS = 256, PRE_PIXELS = 16, VECTOR_THREADS = 128, EDGE_THREADS = 256 };

/* --------------------------------------------------------------------------------------------------- norms of a pixel */

/* y = ((x * factor) + offset) * again */
struct PixelNorm {
    float factor, offset, again;
};

__device__ __forceinline__ float channel_of(uint64_t pixel, int type, int c)
{
    return type == CUDA_F32 ? memory_at<const float>(pixel)[c] : bf16_one(memory_at<const uint16_t>(pixel)[c]);
}

/* Sums over a pixel's channels in 16 lanes, as the CPU keeps them: lane j has channels j, j + 16 ... */
__device__ __forceinline__ float lane_squares(uint64_t pixel, int type, int c, int lane, float offset)
{
    float sum = 0.0f;
#pragma unroll 1
    for (int i = lane; i < c; i += 16) {
        const float x = __fadd_rn(channel_of(pixel, type, i), offset);
        sum = __fadd_rn(sum, __fmul_rn(x, x));
    }
    return sum;
}

__device__ __forceinline__ float add_lanes(float sum, uint32_t half)
{
#pragma unroll
    for (int step = 8; step > 0; step /= 2) sum = __fadd_rn(sum, __shfl_xor_sync(half, sum, step));
    return sum;
}

/* Half a warp makes the norm of one pixel; all its lanes return it. */
__device__ __forceinline__ PixelNorm pixel_norm(uint64_t pixel, int type, int c, int norm, float eps)
{
    const int lane = threadIdx.x & 15;
    const uint32_t half = 0xffffu << (threadIdx.x & 16);
    PixelNorm n = {1.0f, 0.0f, 1.0f};
    if (norm == CUDA_NORM_LAYER) {
        float lanes = 0.0f, sum = 0.0f;
#pragma unroll 1
        for (int i = lane; i < c; i += 16) lanes = __fadd_rn(lanes, channel_of(pixel, type, i));
#pragma unroll 1
        for (int i = 0; i < 16; i++) sum = __fadd_rn(sum, __shfl_sync(half, lanes, i, 16));
        n.offset = __fdiv_rn(-sum, (float)c);
    }
    const float squares = add_lanes(lane_squares(pixel, type, c, lane, n.offset), half);
    if (norm == CUDA_NORM_L2) {
        const float length = __fsqrt_rn(squares);
        n.factor = __fdiv_rn(__fsqrt_rn((float)c), length > 1e-12f ? length : 1e-12f);
    } else {
        const float inverse = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(squares, (float)c), eps)));
        (norm == CUDA_NORM_LAYER ? n.again : n.factor) = inverse;
    }
    return n;
}

/* ------------------------------------------------------------------------------------------------ 8 channels of a pixel */

__device__ __forceinline__ void unpack(float (&v)[8], uint4 pairs)
{
    v[0] = bf16_low(pairs.x), v[1] = bf16_high(pairs.x), v[2] = bf16_low(pairs.y), v[3] = bf16_high(pairs.y);
    v[4] = bf16_low(pairs.z), v[5] = bf16_high(pairs.z), v[6] = bf16_low(pairs.w), v[7] = bf16_high(pairs.w);
}

/* The first 4, and with `second` the other 4 as well, of which the rest stays 0. */
__device__ __forceinline__ void load_channels(float (&v)[8], uint64_t at, int type, bool second)
{
    if (type == CUDA_F32) {
        const float4 *from = memory_at<const float4>(at);
        const float4 low = from[0];
        v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
        if (second) {
            const float4 high = from[1];
            v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
        }
        return;
    }
    uint4 pairs = {0, 0, 0, 0};
    if (second && (at & 15) == 0) {
        pairs = *memory_at<const uint4>(at);
    } else {
        const uint2 *from = memory_at<const uint2>(at);
        const uint2 low = from[0];
        pairs.x = low.x, pairs.y = low.y;
        if (second) {
            const uint2 high = from[1];
            pairs.z = high.x, pairs.w = high.y;
        }
    }
    unpack(v, pairs);
}

__device__ __forceinline__ void store_floats(const float (&v)[8], uint64_t at, bool second)
{
    float4 *to = memory_at<float4>(at);
    to[0] = make_float4(v[0], v[1], v[2], v[3]);
    if (second) to[1] = make_float4(v[4], v[5], v[6], v[7]);
}

__device__ __forceinline__ void store_bf16(const float (&v)[8], uint64_t at, bool second)
{
    const uint4 pairs = {bf16_pack(v[0], v[1]), bf16_pack(v[2], v[3]), bf16_pack(v[4], v[5]), bf16_pack(v[6], v[7])};
    if (second && (at & 15) == 0) {
        *memory_at<uint4>(at) = pairs;
        return;
    }
    uint2 *to = memory_at<uint2>(at);
    to[0] = make_uint2(pairs.x, pairs.y);
    if (second) to[1] = make_uint2(pairs.z, pairs.w);
}

/* The largest |x| of the 16 threads of a block of channels. */
__device__ __forceinline__ float block_top(const float (&v)[8])
{
    const uint32_t half = 0xffffu << (threadIdx.x & 16);
    float top = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++) top = fmaxf(top, fabsf(v[i]));
#pragma unroll
    for (int step = 8; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(half, top, step));
    return top;
}

__device__ __forceinline__ void multiply(float (&v)[8], float4 low, float4 high)
{
    v[0] = __fmul_rn(v[0], low.x), v[1] = __fmul_rn(v[1], low.y), v[2] = __fmul_rn(v[2], low.z), v[3] = __fmul_rn(v[3], low.w);
    v[4] = __fmul_rn(v[4], high.x), v[5] = __fmul_rn(v[5], high.y), v[6] = __fmul_rn(v[6], high.z), v[7] = __fmul_rn(v[7], high.w);
}

__device__ __forceinline__ void add(float (&v)[8], float4 low, float4 high)
{
    v[0] = __fadd_rn(v[0], low.x), v[1] = __fadd_rn(v[1], low.y), v[2] = __fadd_rn(v[2], low.z), v[3] = __fadd_rn(v[3], low.w);
    v[4] = __fadd_rn(v[4], high.x), v[5] = __fadd_rn(v[5], high.y), v[6] = __fadd_rn(v[6], high.z), v[7] = __fadd_rn(v[7], high.w);
}

/* v * gain + shift; either may be missing. */
__device__ __forceinline__ void affine(float (&v)[8], uint64_t gain, uint64_t shift, int64_t first)
{
    const float4 *gains = memory_at<const float4>(gain) + first / 4, *shifts = memory_at<const float4>(shift) + first / 4;
    if (gain != 0) multiply(v, gains[0], gains[1]);
    if (shift != 0) add(v, shifts[0], shifts[1]);
}

/* A pixel's channels of this thread, with those of 15 others that share a scale. */
__device__ __forceinline__ void store_i8(const CudaPre &a, const float (&v)[8], uint32_t pixel, uint32_t lane)
{
    const Int8Scale s = int8_scale(block_top(v));
    if ((int)lane * 8 < a.to_pad) {
        *memory_at<uint2>(a.to + (uint64_t)pixel * a.to_pitch + lane * 8) =
            make_uint2(int8_quad(v[0], v[1], v[2], v[3], s.inverse), int8_quad(v[4], v[5], v[6], v[7], s.inverse));
    }
    if (lane % 16 == 0) memory_at<float>(a.to_scale)[(uint64_t)pixel * a.blocks + lane / 16] = s.scale;
}

#ifdef UPRES_FP8
/* kernels/cpu/fp8.h. Threads that share a word of scales have 128 channels, those of pairs 64. */
__device__ __forceinline__ void store_fp8(const CudaPre &a, const float (&v)[8], uint32_t pixel, uint32_t lane)
{
    const bool pair = a.to_type == CUDA_E4M3_PAIR;
    const uint32_t group = pair ? 8 : 16, mask = pair ? 0xffu << (threadIdx.x & 24) : 0xffffu << (threadIdx.x & 16);
    uint32_t e = 127;
    if (a.to_scale != 0) {
        float top = 0.0f;
#pragma unroll
        for (int i = 0; i < 8; i++) top = fmaxf(top, fabsf(v[i]));
        top = fmaxf(top, __shfl_xor_sync(mask, top, 1));
        top = fmaxf(top, __shfl_xor_sync(mask, top, 2));
        e = fp8_scale(top);
        uint32_t word = e << lane % group / 4 * 8;
        word |= __shfl_xor_sync(mask, word, 4);
        if (!pair) word |= __shfl_xor_sync(mask, word, 8);
        if (lane % group == 0) memory_at<uint32_t>(a.to_scale)[(uint64_t)pixel * a.blocks + lane / group] = word;
    }
    const float inverse = fp8_inverse(e);
    const uint2 high = {e4m3_four(v[0], v[1], v[2], v[3], inverse), e4m3_four(v[4], v[5], v[6], v[7], inverse)};
    if (!pair) {
        if (lane * 8 < a.to_pad) *memory_at<uint2>(a.to + (uint64_t)pixel * a.to_pitch + lane * 8) = high;
        return;
    }
    const uint64_t to = a.to + (uint64_t)pixel * (2 * a.to_pitch) + lane / 8 * 128 + lane % 8 * 8;
    *memory_at<uint2>(to) = high;
    *memory_at<uint2>(to + 64) = {e4m3_four_rest(high.x, v[0], v[1], v[2], v[3], inverse),
                               e4m3_four_rest(high.y, v[4], v[5], v[6], v[7], inverse)};
}
#else
__device__ __forceinline__ void store_fp8(const CudaPre &, const float (&)[8], uint32_t, uint32_t) {}
#endif

/* ------------------------------------------------------------------------------------------------------------ kernels */

/* What a block does: pixels of a row, the first of them in x and in `to`. */
struct Pixels {
    uint32_t count, from, to;
};

__device__ __forceinline__ Pixels pixels_of(const CudaPre &a)
{
    const uint32_t run = a.run, runs = (a.w + run - 1) / run, row = blockIdx.x / runs, first = (blockIdx.x - row * runs) * run;
    return {min(run, a.w - first), blockIdx.y * a.x_frame + row * a.x_row + first, a.to_frame[blockIdx.y] + row * a.to_row + first};
}

/* FP8: to_type is one of those, else one of the others. */
template <bool FP8> __device__ __forceinline__ void pre_frames(const CudaPre &a)
{
    __shared__ PixelNorm norms[PRE_PIXELS];
    const Pixels own = pixels_of(a);
    const uint32_t frame = blockIdx.y, pixels = own.count, to_pixel = own.to, x_bytes = a.x_type == CUDA_F32 ? 4 : 2;
    const uint64_t from = a.x + (uint64_t)own.from * (a.x_pitch * x_bytes);
    const bool by_pixel = a.norm >= CUDA_NORM_RMS;
    if (by_pixel) {
        const uint32_t pixel = threadIdx.x / 16;
        if (pixel < pixels) {
            const PixelNorm n = pixel_norm(from + (uint64_t)pixel * (a.x_pitch * x_bytes), a.x_type, a.c, a.norm, a.eps);
            if (threadIdx.x % 16 == 0) norms[pixel] = n;
        }
        __syncthreads();
    }

    /* Threads go over (pixel, 8 channels) in steps of the block, without a division each. */
    const uint32_t sharing = FP8 ? a.to_type == CUDA_E4M3_PAIR ? 8 : 16 : a.to_type == CUDA_I8 ? 16 : 0; /* a block of scales */
    const uint32_t lanes = sharing > 0 ? a.blocks * sharing : (a.to_pad + 7) / 8;
    const uint32_t step_pixels = PRE_THREADS / lanes, step_lanes = PRE_THREADS - step_pixels * lanes;
    uint32_t pixel = threadIdx.x / lanes, lane = threadIdx.x - pixel * lanes;
    const int64_t vectors = a.by_frame ? (int64_t)frame * ((a.c + 7) / 8 * 8) : 0;
#pragma unroll 1
    while (pixel < pixels) {
        const int channel = lane * 8;
        float v[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        if (channel < a.c) {
            load_channels(v, from + (uint64_t)(pixel * a.x_pitch + channel) * x_bytes, a.x_type, channel + 4 < a.c);
            if (by_pixel) {
                const PixelNorm n = norms[pixel];
#pragma unroll
                for (int i = 0; i < 8; i++) v[i] = __fmul_rn(__fadd_rn(__fmul_rn(v[i], n.factor), n.offset), n.again);
            }
            affine(v, a.gain, a.shift, vectors + channel);
            activate(v, a.act);
#pragma unroll
            for (int i = 1; i < 8; i++) v[i] = channel + i < a.c ? v[i] : 0.0f;
        }
        const uint64_t to = (uint64_t)(to_pixel + pixel) * a.to_pitch + channel;
        if (FP8) {
            store_fp8(a, v, to_pixel + pixel, lane);
        } else if (a.to_type == CUDA_I8) {
            store_i8(a, v, to_pixel + pixel, lane);
        } else if (a.to_type == CUDA_BF16) {
            store_bf16(v, a.to + to * 2, channel + 4 < a.to_pad);
        } else {
            store_floats(v, a.to + to * 4, channel + 4 < a.to_pad);
        }
        pixel += step_pixels;
        lane += step_lanes;
        if (lane >= lanes) {
            lane -= lanes;
            pixel++;
        }
    }
}

/*
 * silu, but for x below -87 nothing instead of less than 1e-35, which no code of 8 bits shows. The power of two goes straight
 * into the exponent. The quotient is made from the reciprocal and mended twice, which gives what division rounds to; that takes
 * as long again for the ends of the range.
 */
__device__ __forceinline__ float silu_of_code(float x)
{
    int exponent;
    const float fraction = exp_fraction(-x, exponent);
    const float d = __fadd_rn(1.0f, __int_as_float(__float_as_int(fraction) + (exponent << 23)));
    float guess;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(guess) : "f"(d));
    const float inverse = __fmaf_rn(guess, __fmaf_rn(-d, guess, 1.0f), guess), near = __fmul_rn(x, inverse);
    const float nearer = __fmaf_rn(__fmaf_rn(-d, near, x), inverse, near);
    return __fmaf_rn(__fmaf_rn(-d, nearer, x), inverse, nearer);
}

/*
 * Most of a decoder's: bf16 to codes of 8 bits by gain, shift and SiLU, of 128, 256, 512, 1024 or 2048 channels, x in units of
 * 16 bytes. A thread has the same channels of all its pixels, and what belongs to them in registers.
 */
extern "C" __global__ void __launch_bounds__(PRE_THREADS, 4) pre_silu_i8(const __grid_constant__ CudaPre a)
{
    const Pixels own = pixels_of(a);
    const uint32_t lanes = a.c / 8, lane = threadIdx.x & (lanes - 1), step = PRE_THREADS / lanes;
    const int64_t channel = lane * 8, vectors = (a.by_frame ? blockIdx.y * a.c : 0) + channel;
    const float4 *gain = memory_at<const float4>(a.gain + vectors * 4), *shift = memory_at<const float4>(a.shift + vectors * 4);
    const float4 low_gain = gain[0], high_gain = gain[1], low_shift = shift[0], high_shift = shift[1];
    const uint64_t from = a.x + ((uint64_t)own.from * a.x_pitch + channel) * 2;
#pragma unroll 1
    for (uint32_t pixel = threadIdx.x / lanes; pixel < own.count; pixel += step) {
        float v[8];
        unpack(v, *memory_at<const uint4>(from + (uint64_t)(pixel * a.x_pitch) * 2));
        multiply(v, low_gain, high_gain);
        add(v, low_shift, high_shift);
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = silu_of_code(v[i]);
        store_i8(a, v, own.to + pixel, lane);
    }
}

extern "C" __global__ void __launch_bounds__(PRE_THREADS, 6) pre(const __grid_constant__ CudaPre a) { pre_frames<false>(a); }

#ifdef UPRES_FP8
extern "C" __global__ void __launch_bounds__(PRE_THREADS, 6) pre_fp8(const __grid_constant__ CudaPre a) { pre_frames<true>(a); }
#endif

extern "C" __global__ void __launch_bounds__(VECTOR_THREADS) pre_vectors(const __grid_constant__ CudaPreVectors a)
{
    const int c = blockIdx.x * VECTOR_THREADS + threadIdx.x, frame = blockIdx.y;
    if (c >= a.pitch) return;
    float gain = 0.0f, shift = 0.0f;
    if (c < a.c) {
        const float gamma = a.gamma == 0 ? 1.0f : memory_at<const float>(a.gamma)[c];
        const float beta = a.beta == 0 ? 0.0f : memory_at<const float>(a.beta)[c];
        if (a.stats != 0) {
            const float2 s = *memory_at<const float2>(a.stats + ((uint64_t)frame * a.stats_pitch + c / a.group * 2) * 4);
            gain = __fdiv_rn(gamma, __fsqrt_rn(__fadd_rn(s.y, a.eps)));
            shift = __fsub_rn(beta, __fmul_rn(s.x, gain));
        } else {
            const float scale = a.scale == 0 ? 1.0f : memory_at<const float>(a.scale)[c];
            gain = __fmul_rn(gamma, scale);
            shift = __fadd_rn(__fmul_rn(beta, scale), a.add == 0 ? 0.0f : memory_at<const float>(a.add)[c]);
        }
    }
    memory_at<float>(a.gain)[frame * a.pitch + c] = gain;
    if (a.shift != 0) memory_at<float>(a.shift)[frame * a.pitch + c] = shift;
}

/* Thread i of a picture has word i % words of border pixel i / words: rows above, rows below, then both ends of the others. */
extern "C" __global__ void __launch_bounds__(EDGE_THREADS) pre_edges(const __grid_constant__ CudaEdges a)
{
    const int words = a.words + a.blocks, i = blockIdx.x * EDGE_THREADS + threadIdx.x, word = i % words;
    const int above = a.top * a.w, below = (a.h - a.bottom) * a.w, ends = a.left + a.w - a.right;
    int pixel = i / words, row, column;
    if (pixel < above + below) {
        row = pixel / a.w;
        column = pixel - row * a.w;
        if (pixel >= above) row += a.bottom - a.top;
    } else {
        pixel -= above + below;
        if (pixel >= (a.bottom - a.top) * ends) return;
        row = pixel / ends;
        column = pixel - row * ends;
        row += a.top;
        if (column >= a.left) column += a.right - a.left;
    }
    const int inside_row = min(max(row, a.top), a.bottom - 1), inside_column = min(max(column, a.left), a.right - 1);
    const int64_t to = a.frame[blockIdx.y] + row * a.w + column, from = a.frame[blockIdx.y] + inside_row * a.w + inside_column;
    if (word < a.words) {
        uint32_t *data = memory_at<uint32_t>(a.data) + word;
        data[to * a.words] = data[from * a.words];
    } else {
        uint32_t *scale = memory_at<uint32_t>(a.scale) + (word - a.words);
        scale[to * a.blocks] = scale[from * a.blocks];
    }
}
