/*
 * Values matched by rank, as kernels/cpu/color_rank.c: a radix sort of floats as 32-bit keys in the same order, 8 bits a pass,
 * least first. Every pass keeps the order of equal digits, so ranks are the same however the work is divided.
 *
 * A pass: digits of every tile are counted; the counts of a digit become places within it, tile by tile, and its total; totals
 * become the places where digits begin; tiles put their keys there. A warp has keys in a row, so that lanes with the same digit
 * find their places by looking at one another.
 */
#include "ptx.cuh"

enum { THREADS = 256, WARPS = THREADS / 32, DIGITS = 256, ROUNDS = CUDA_RANK_TILE / THREADS };

/* -0 and +0 tie: adding 0 makes both +0. */
__device__ __forceinline__ uint32_t key_of(float x)
{
    const uint32_t bits = __float_as_uint(__fadd_rn(x, 0.0f));
    return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

__device__ __forceinline__ float value_of(uint32_t key)
{
    return __uint_as_float(key ^ (key >> 31 ? 0x80000000u : 0xffffffffu));
}

__device__ __forceinline__ uint32_t key_at(const CudaRank &a, uint32_t i)
{
    return a.values != 0 ? key_of(memory_at<const float>(a.values)[i]) : memory_at<const uint32_t>(a.keys)[i];
}

__device__ __forceinline__ uint32_t digit_of(const CudaRank &a, uint32_t key) { return key >> a.shift & (DIGITS - 1); }

/* The lanes whose digit is this one's; none for a lane without a key. */
__device__ __forceinline__ uint32_t equals(uint32_t digit, bool valid)
{
    uint32_t lanes = __ballot_sync(~0u, valid);
#pragma unroll
    for (int bit = 0; bit < 8; bit++) {
        const bool set = digit >> bit & 1;
        const uint32_t have = __ballot_sync(~0u, set);
        lanes &= set ? have : ~have;
    }
    return valid ? lanes : 0;
}

/* Counts of the digits of every tile: [digit][tile]. */
extern "C" __global__ void __launch_bounds__(THREADS) rank_count(const __grid_constant__ CudaRank a)
{
    __shared__ uint32_t count[DIGITS];
    count[threadIdx.x] = 0;
    __syncthreads();
    const uint32_t first = blockIdx.x * CUDA_RANK_TILE + threadIdx.x;
#pragma unroll 1
    for (int i = 0; i < ROUNDS; i++) {
        const uint32_t at = first + i * THREADS;
        if (at < a.n) atomicAdd(&count[digit_of(a, key_at(a, at))], 1u);
    }
    __syncthreads();
    memory_at<uint32_t>(a.counts)[threadIdx.x * a.tiles + blockIdx.x] = count[threadIdx.x];
}

/* Exclusive sums over all threads of the block, and the sum of all. */
__device__ __forceinline__ uint32_t sums_before(uint32_t x, uint32_t *all)
{
    __shared__ uint32_t sums[WARPS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32_t sum = x, before = 0, total = 0;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        const uint32_t other = __shfl_up_sync(~0u, sum, step);
        sum += lane >= step ? other : 0;
    }
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < WARPS; i++) {
        before += i < warp ? sums[i] : 0;
        total += sums[i];
    }
    __syncthreads();
    *all = total;
    return before + sum - x;
}

/* Counts of one digit to places among its keys, and their number. Blocks: x digits. */
extern "C" __global__ void __launch_bounds__(THREADS) rank_places(const __grid_constant__ CudaRank a)
{
    uint32_t *counts = memory_at<uint32_t>(a.counts) + blockIdx.x * a.tiles, before = 0;
#pragma unroll 1
    for (uint32_t first = 0; first < a.tiles; first += THREADS) {
        const uint32_t tile = first + threadIdx.x, count = tile < a.tiles ? counts[tile] : 0;
        uint32_t all;
        const uint32_t place = sums_before(count, &all);
        if (tile < a.tiles) counts[tile] = before + place;
        before += all;
    }
    if (threadIdx.x == 0) memory_at<uint32_t>(a.totals)[blockIdx.x] = before;
}

/* Totals of digits to places where they begin. One block. */
extern "C" __global__ void __launch_bounds__(THREADS) rank_starts(const __grid_constant__ CudaRank a)
{
    uint32_t *totals = memory_at<uint32_t>(a.totals), all;
    totals[threadIdx.x] = sums_before(totals[threadIdx.x], &all);
}

/* Keys, and where they come from, in the order of this digit. */
extern "C" __global__ void __launch_bounds__(THREADS) rank_scatter(const __grid_constant__ CudaRank a)
{
    __shared__ uint32_t places[WARPS][DIGITS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    uint32_t *place = places[warp];
#pragma unroll 1
    for (int i = lane; i < DIGITS; i += 32) place[i] = 0;
    __syncwarp();
    const uint32_t first = blockIdx.x * CUDA_RANK_TILE + warp * 32 * ROUNDS + lane, below = (1u << lane) - 1;
#pragma unroll 1
    for (int i = 0; i < ROUNDS; i++) {
        const uint32_t at = first + i * 32;
        const uint32_t digit = at < a.n ? digit_of(a, key_at(a, at)) : 0, lanes = equals(digit, at < a.n);
        if (lanes != 0 && (lanes & below) == 0) place[digit] += __popc(lanes);
        __syncwarp();
    }
    __syncthreads();
    const uint32_t digit = threadIdx.x;
    uint32_t next = memory_at<const uint32_t>(a.totals)[digit];
    next += memory_at<const uint32_t>(a.counts)[digit * a.tiles + blockIdx.x];
#pragma unroll
    for (int i = 0; i < WARPS; i++) {
        const uint32_t count = places[i][digit];
        places[i][digit] = next;
        next += count;
    }
    __syncthreads();
#pragma unroll 1
    for (int i = 0; i < ROUNDS; i++) {
        const uint32_t at = first + i * 32, key = at < a.n ? key_at(a, at) : 0, own = digit_of(a, key);
        const uint32_t lanes = equals(own, at < a.n), begin = place[own];
        __syncwarp();
        if (lanes != 0) {
            const uint32_t to = begin + __popc(lanes & below);
            if ((lanes & below) == 0) place[own] = begin + __popc(lanes);
            memory_at<uint32_t>(a.to_keys)[to] = key;
            const uint32_t where = a.where != 0 ? memory_at<const uint32_t>(a.where)[at] : at;
            if (a.to_where != 0) memory_at<uint32_t>(a.to_where)[to] = where;
        }
        __syncwarp();
    }
}

/* The value of rank i becomes keep * itself + share * the one of that rank in the reference, whose keys are `keys`. */
extern "C" __global__ void __launch_bounds__(THREADS) rank_match(const __grid_constant__ CudaRankMatch a)
{
    const uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.n) return;
    float *value = memory_at<float>(a.values) + memory_at<const uint32_t>(a.where)[i];
    *value = __fadd_rn(__fmul_rn(a.keep, *value), __fmul_rn(a.share, value_of(memory_at<const uint32_t>(a.keys)[i])));
}
