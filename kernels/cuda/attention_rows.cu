/*
 * What attention does around its products: tokens to operands and back, the softmax of whole rows, the mean of the text's
 * results over all windows.
 */
#include "fp8.cuh"

#define ALL_LANES 0xffffffffu

/* Element `at` of floats or bf16. */
__device__ __forceinline__ float element(uint64_t from, int type, int64_t at)
{
    return type == CUDA_BF16 ? bf16_one(*memory_at<const uint16_t>(from + at * 2)) : *memory_at<const float>(from + at * 4);
}

__device__ __forceinline__ void set_element(uint64_t to, int type, int64_t at, float x)
{
    if (type == CUDA_BF16) *memory_at<uint16_t>(to + at * 2) = (uint16_t)bf16_pack(x, 0.0f);
    else *memory_at<float>(to + at * 4) = x;
}

/* Four elements from `at` on; those at place `count` and later are 0 and not read. whole: they may be read together. */
__device__ __forceinline__ float4 four(uint64_t from, int type, int64_t at, int count, bool whole)
{
    if (!whole || count < 4) {
        return make_float4(count > 0 ? element(from, type, at) : 0.0f, count > 1 ? element(from, type, at + 1) : 0.0f,
                           count > 2 ? element(from, type, at + 2) : 0.0f, count > 3 ? element(from, type, at + 3) : 0.0f);
    }
    if (type == CUDA_F32) return *memory_at<const float4>(from + at * 4);
    const uint2 pairs = *memory_at<const uint2>(from + at * 2);
    return make_float4(bf16_low(pairs.x), bf16_high(pairs.x), bf16_low(pairs.y), bf16_high(pairs.y));
}

__device__ __forceinline__ void set_four(uint64_t to, int type, int64_t at, float4 x)
{
    if (type == CUDA_F32) *memory_at<float4>(to + at * 4) = x;
    else *memory_at<uint2>(to + at * 2) = make_uint2(bf16_pack(x.x, x.y), bf16_pack(x.z, x.w));
}

/* ----------------------------------------------------------------------------------------------------------- gather */

/* A row of a window, or of the text behind it: its token in the grid, and the rows of the table that it is turned by. */
struct Row {
    int token, axis[3];
};

__device__ __forceinline__ Row row_of(const CudaWindow &w, const CudaTokens &from, int row)
{
    const int text = row - w.own;
    if (text >= 0) return {text, {text, text, text}};
    const int line = (uint32_t)row / (uint32_t)w.wide, x = row - line * w.wide;
    const int t = (uint32_t)line / (uint32_t)w.tall, y = line - t * w.tall;
    return {(w.t + t) * from.frame + (w.h + y) * from.row + w.w + x, {w.rope_t + t, w.rope_h + y, w.rope_w + x}};
}

/* Pair j of the channels turns on one of three axes. */
__device__ __forceinline__ void rotate(const CudaGather &a, const int (&axis)[3], int j, float &u, float &v)
{
    if (j >= 3 * a.rope_pairs) return;
    const int row = j < a.rope_pairs ? axis[0] : j < 2 * a.rope_pairs ? axis[1] : axis[2];
    const float2 turn = *memory_at<const float2>(a.rope + ((int64_t)row * a.rope_pairs + j % a.rope_pairs) * 8);
    const float x = u;
    u = x * turn.x - v * turn.y;
    v = v * turn.x + x * turn.y;
}

extern "C" __global__ void __launch_bounds__(256) attention_gather(const __grid_constant__ CudaGather a)
{
    const CudaWindow w = memory_at<const CudaWindow>(a.windows)[blockIdx.z];
    const int part = blockIdx.y, rows = w.own + a.text_rows;
    const int turn = blockIdx.x * (256 / a.lanes) + threadIdx.x / a.lanes, lane = threadIdx.x % a.lanes;
    /* Turns past the end do the last row again, which keeps their warps whole. */
    const int head = turn % a.heads, row = min(turn / a.heads, rows - 1);
    const bool text = row >= w.own;
    const CudaTokens &from = text ? a.text[part] : a.from[part];
    if (from.at == 0 || a.to[part] == 0) return;

    const Row own = row_of(w, from, row);
    const int64_t source = (int64_t)own.token * from.pitch + (a.first_head + head) * a.head_dim;
    const int64_t target = head * a.to_head + (int64_t)(w.first + row) * a.depth;
    const uint64_t gain = text ? a.text_gain[part] : a.gain[part];
    const bool whole = a.head_dim % 4 == 0;

    float factor = 1.0f;
    if (gain != 0) {
        float sum = 0.0f;
#pragma unroll 1
        for (int c = lane * 4; c < a.head_dim; c += a.lanes * 4) {
            const float4 x = four(from.at, from.type, source + c, a.head_dim - c, whole);
            sum += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
        }
        const unsigned group = a.lanes == 32 ? ALL_LANES : 255u << (threadIdx.x % 32 & 24);
#pragma unroll 1
        for (int m = a.lanes / 2; m > 0; m >>= 1) sum += __shfl_xor_sync(group, sum, m);
        factor = __fdiv_rn(1.0f, __fsqrt_rn(__fdiv_rn(sum, (float)a.head_dim) + a.eps));
    }
    const bool turned = part < 2 && a.rope != 0 && (!text || a.rope_text);
#pragma unroll 1
    for (int c = lane * 4; c < a.depth; c += a.lanes * 4) {
        float4 x = four(from.at, from.type, source + c, a.head_dim - c, whole);
        if (gain != 0) {
            const float4 g = four(gain, CUDA_F32, c, a.head_dim - c, whole);
            x = make_float4(x.x * factor * g.x, x.y * factor * g.y, x.z * factor * g.z, x.w * factor * g.w);
        }
        if (turned) {
            rotate(a, own.axis, c / 2, x.x, x.y);
            rotate(a, own.axis, c / 2 + 1, x.z, x.w);
        }
        set_four(a.to[part], a.to_type, target + c, x);
    }
}

/* ------------------------------------------------------------------------------------- gather, heads of 128 channels */

/*
 * A warp has a row, a block of its own: what all heads of the row share is made once, and whatever decides is the same for all
 * threads. Eight lanes have a head, each four channels and those 32, 64 and 96 further on; added up in the order below, sums
 * have attention_gather's bits.
 */
struct Lane {
    float4 gain[4];
    float2 turn[8];
    bool normed, turned;
};

/* Pairs behind the last of the table stay as they are. */
__device__ __forceinline__ void find_turns(const CudaGather &a, const int (&axis)[3], Lane &l)
{
    const int p = a.rope_pairs, first[3] = {axis[0] * p, (axis[1] - 1) * p, (axis[2] - 2) * p};
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int j = threadIdx.x % 8 * 2 + i % 2 + i / 2 * 16;
        const int at = j + (j < p ? first[0] : j < 2 * p ? first[1] : first[2]);
        l.turn[i] = make_float2(1.0f, 0.0f);
        if (j < 3 * p) l.turn[i] = memory_at<const float2>(a.rope)[at];
    }
}

__device__ __forceinline__ float squares(float4 x)
{
    return __fmaf_rn(x.w, x.w, __fmaf_rn(x.z, x.z, __fmaf_rn(x.x, x.x, __fmul_rn(x.y, x.y))));
}

__device__ __forceinline__ void turn_pair(float2 turn, float &u, float &v)
{
    const float x = u;
    u = __fsub_rn(__fmul_rn(x, turn.x), __fmul_rn(v, turn.y));
    v = __fmaf_rn(v, turn.x, __fmul_rn(x, turn.y));
}

/* A row of a head. */
__device__ __forceinline__ void norm_and_turn(const Lane &l, float4 (&x)[4], float eps)
{
    if (l.normed) {
        float sum = __fadd_rn(__fadd_rn(squares(x[0]), squares(x[2])), __fadd_rn(squares(x[1]), squares(x[3])));
#pragma unroll
        for (int m = 4; m > 0; m >>= 1) sum = __fadd_rn(sum, __shfl_xor_sync(ALL_LANES, sum, m));
        const float factor = __frcp_rn(__fsqrt_rn(__fadd_rn(__fmul_rn(sum, 1.0f / 128), eps)));
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float4 g = l.gain[i];
            x[i] = make_float4(__fmul_rn(__fmul_rn(x[i].x, factor), g.x), __fmul_rn(__fmul_rn(x[i].y, factor), g.y),
                               __fmul_rn(__fmul_rn(x[i].z, factor), g.z), __fmul_rn(__fmul_rn(x[i].w, factor), g.w));
        }
    }
    if (l.turned) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            turn_pair(l.turn[2 * i], x[i].x, x[i].y);
            turn_pair(l.turn[2 * i + 1], x[i].z, x[i].w);
        }
    }
}

__device__ __forceinline__ float4 floats_of(float4 x) { return x; }
__device__ __forceinline__ float4 floats_of(uint2 x)
{
    return make_float4(bf16_low(x.x), bf16_high(x.x), bf16_low(x.y), bf16_high(x.y));
}

#ifdef UPRES_FP8
/* Of a row that becomes int8: kernels/cpu/attention8.h. */
__device__ __forceinline__ Int8Scale scale_of(const float4 (&x)[4])
{
    float most = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        most = fmaxf(most, fmaxf(fmaxf(fabsf(x[i].x), fabsf(x[i].y)), fmaxf(fabsf(x[i].z), fabsf(x[i].w))));
    }
#pragma unroll
    for (int m = 4; m > 0; m >>= 1) most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, m));
    return int8_scale(most);
}
#endif

/* All heads. Four: four channels as they lie in the source. from, to: where the lane's first channels of its first head lie. */
template <class Four, bool I8>
__device__ __forceinline__ void take_heads(const CudaGather &a, const Lane &l, uint64_t from, uint64_t to, uint64_t scale)
{
    const int mine = threadIdx.x / 8;
    const int64_t step = a.to_head * 4;
#pragma unroll 1
    for (int left = a.heads; left > 0; left -= 4) {
        float4 x[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            Four four = {};
            if (mine < left) four = memory_at<const Four>(from)[i * 8];
            x[i] = floats_of(four);
        }
        norm_and_turn(l, x, a.eps);
#ifdef UPRES_FP8
        if (I8) {
            const Int8Scale s = scale_of(x);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const uint32_t four = int8_quad(x[i].x, x[i].y, x[i].z, x[i].w, s.inverse);
                if (mine < left) memory_at<uint32_t>(to)[i * 8] = four;
            }
            if (mine < left && threadIdx.x % 8 == 0) *memory_at<uint32_t>(scale) = __float_as_uint(s.scale) & ~3u;
        }
#endif
#pragma unroll
        for (int i = 0; i < 4 && !I8; i++) {
            if (mine < left) memory_at<uint2>(to)[i * 8] = make_uint2(bf16_pack(x[i].x, x[i].y), bf16_pack(x[i].z, x[i].w));
        }
        from += 4 * 32 * sizeof(Four);
        to += step * (I8 ? 1 : 2);
        scale += step / 32;
    }
}

template <class Four, int TYPE> __device__ __forceinline__ void gather_heads(const CudaGather &a)
{
    const CudaWindow w = memory_at<const CudaWindow>(a.windows)[blockIdx.z];
    const int part = blockIdx.y, row = blockIdx.x + (a.from[part].type == TYPE ? 0 : w.own);
    const bool text = row >= w.own;
    const CudaTokens &from = text ? a.text[part] : a.from[part];
    if (row >= w.own + a.text_rows || from.type != TYPE || from.at == 0 || a.to[part] == 0) return;

    const Row own = row_of(w, from, row);
    const uint64_t gain = text ? a.text_gain[part] : a.gain[part];
    const int c = threadIdx.x % 8 * 4, head = threadIdx.x / 8;
    Lane l;
    l.normed = gain != 0;
    l.turned = part < 2 && a.rope != 0 && (!text || a.rope_text);
    if (l.normed) {
#pragma unroll
        for (int i = 0; i < 4; i++) l.gain[i] = memory_at<const float4>(gain + c * 4)[i * 8];
    }
    if (l.turned) find_turns(a, own.axis, l);
    const uint64_t source = from.at + ((int64_t)own.token * from.pitch + (a.first_head + head) * 128 + c) * (sizeof(Four) / 4);
    const int64_t target = head * a.to_head + (int64_t)(w.first + row) * 128;
#ifdef UPRES_FP8
    if (part == 0 && a.q_scale != 0) {
        take_heads<Four, true>(a, l, source, a.to[0] + target + c, a.q_scale + target / 32); /* 128 bytes a float */
        return;
    }
#endif
    take_heads<Four, false>(a, l, source, a.to[part] + (target + c) * 2, 0);
}

extern "C" __global__ void __launch_bounds__(32) attention_gather_bf16(const __grid_constant__ CudaGather a)
{
    gather_heads<uint2, CUDA_BF16>(a);
}

extern "C" __global__ void __launch_bounds__(32) attention_gather_f32(const __grid_constant__ CudaGather a)
{
    gather_heads<float4, CUDA_F32>(a);
}

/* ---------------------------------------------------------------------------------------------------------- results */

/* Blocks of 256 threads: x channels of the heads, y rows. */
extern "C" __global__ void __launch_bounds__(256) attention_text_mean(const __grid_constant__ CudaTextMean a)
{
    const int c = blockIdx.x * 256 + threadIdx.x, row = blockIdx.y, all = a.all_heads * a.head_dim;
    if (c >= a.heads * a.head_dim) return;
    const int channel = a.first_head * a.head_dim + c;
    float *const kept = memory_at<float>(a.sum) + (int64_t)row * all + channel;
    const int64_t first = ((int64_t)(c / a.head_dim) * a.rows + row) * a.depth + c % a.head_dim;
    const float *from = memory_at<const float>(a.from) + first;
    float sum = a.begin ? 0.0f : *kept;
#pragma unroll 4
    for (int w = 0; w < a.windows; w++) {
        sum = __fadd_rn(__fmul_rn(a.share, *from), sum);
        from += (int64_t)a.heads * a.rows * a.depth;
    }
    if (a.end) set_element(a.o.at, a.o.type, (int64_t)row * a.o.pitch + channel, sum);
    else *kept = sum;
}

/* A thread a token. */
extern "C" __global__ void __launch_bounds__(256) attention_pads(const __grid_constant__ CudaPads a)
{
    const int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= a.tokens) return;
    const int line = i / a.wide, token = line / a.tall * a.o.frame + line % a.tall * a.o.row + i % a.wide;
    int c = a.first;
#pragma unroll 1
    do {
        *memory_at<uint16_t>(a.o.at + ((int64_t)token * a.o.pitch + c) * 2) = 0;
    } while (++c < a.last);
}

/* --------------------------------------------------------------------------------------- heads too wide for a flash */

/* The sum or the largest of a block of 256 threads; in the same order every time. */
template <class Join> __device__ __forceinline__ float joined(float x, float *shared, Join join)
{
#pragma unroll
    for (int m = 16; m > 0; m >>= 1) x = join(x, __shfl_xor_sync(ALL_LANES, x, m));
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[0];
#pragma unroll
    for (int i = 1; i < 8; i++) x = join(x, shared[i]);
    __syncthreads();
    return x;
}

/* A block a row. */
extern "C" __global__ void __launch_bounds__(256) attention_softmax(const __grid_constant__ CudaSoftmax a)
{
    __shared__ float shared[8];
    float *const row = memory_at<float>(a.at) + (int64_t)blockIdx.x * a.pitch;
    const uint64_t to = a.at + (int64_t)blockIdx.x * a.pitch * 4;
    float top = -__int_as_float(0x7f800000), sum = 0.0f;
#pragma unroll 4
    for (int i = threadIdx.x; i < a.keys; i += 256) top = fmaxf(top, row[i]);
    top = joined(top, shared, [](float x, float y) { return fmaxf(x, y); });
#pragma unroll 4
    for (int i = threadIdx.x; i < a.keys; i += 256) sum += exp_poly(row[i] - top);
    sum = joined(sum, shared, [](float x, float y) { return x + y; });
    const float share = __fdiv_rn(1.0f, sum);
    /* A result of two bytes lies where scores were that have been read: of this turn's, hence the barrier, or before. */
#pragma unroll 1
    for (int first = 0; first < a.pad; first += 256) {
        const int i = first + threadIdx.x;
        const float x = i < a.keys ? exp_poly(row[i] - top) * share : 0.0f;
        __syncthreads();
        if (i < a.pad) set_element(to, a.to_type, i, x);
    }
}

/* Blocks of 32 x 8 threads take 32 x 32 elements: x rows, y channels. */
extern "C" __global__ void __launch_bounds__(256) attention_transpose(const __grid_constant__ CudaTranspose a)
{
    __shared__ float tile[32][33];
    const int x = threadIdx.x % 32, y = threadIdx.x / 32, row = blockIdx.x * 32, channel = blockIdx.y * 32;
#pragma unroll
    for (int i = 0; i < 32; i += 8) {
        const bool there = row + y + i < a.rows && channel + x < a.depth;
        tile[y + i][x] = there ? element(a.from, a.type, (int64_t)(row + y + i) * a.depth + channel + x) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 32; i += 8) {
        if (channel + y + i < a.depth && row + x < a.pitch) {
            set_element(a.to, a.type, (int64_t)(channel + y + i) * a.pitch + row + x, tile[x][y + i]);
        }
    }
}

/* Blocks of 256 threads: x channels, y rows. */
extern "C" __global__ void __launch_bounds__(256) attention_scatter(const __grid_constant__ CudaScatter a)
{
    const int c = blockIdx.x * 256 + threadIdx.x, row = a.first + blockIdx.y;
    if (c >= a.head_dim) return;
    const float x = memory_at<const float>(a.from)[(int64_t)blockIdx.y * a.depth + c];
    if (row < a.window.own) {
        const int64_t token = row_of(a.window, a.o, row).token;
        set_element(a.o.at, a.o.type, token * a.o.pitch + a.head * a.head_dim + c, x);
    } else {
        memory_at<float>(a.text_o)[(int64_t)(row - a.window.own) * a.depth + c] = x;
    }
}
