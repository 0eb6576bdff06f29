/*
 * Values matched by rank, as kernels/cpu/color_rank.c: a radix sort of floats as 32-bit keys in the same order, 8 bits a pass,
 * least first. Every pass keeps the order of equal digits, so ranks are the same however the work is divided.
 *
 * A pass: digits of every tile are counted; the counts of a digit become places within it, tile by tile, and its total; tiles
 * put their keys there, behind the totals of the digits below. A warp has keys in a row, so that lanes with the same digit find
 * their places by looking at one another. Its lanes have all their keys in registers: their loads wait together.
 *
 * Several arrays are sorted at once: blockIdx.y.
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

/* The first of a lane's keys; the others follow 32 apart. Blocks: x tiles, y arrays. */
__device__ __forceinline__ uint32_t first_of_lane()
{
    return blockIdx.x * CUDA_RANK_TILE + threadIdx.x / 32 * (32 * ROUNDS) + threadIdx.x % 32;
}

__device__ __forceinline__ void load_words(uint32_t (&x)[ROUNDS], uint64_t from, uint32_t first, uint32_t n)
{
    const uint32_t *words = memory_at<const uint32_t>(from) + first;
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) x[i] = first + i * 32 < n ? words[i * 32] : 0;
}

__device__ __forceinline__ void load_keys(uint32_t (&keys)[ROUNDS], const CudaRank &a, uint32_t first, bool floats)
{
    load_words(keys, a.from + sizeof(uint32_t) * a.from_step * blockIdx.y, first, a.n);
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) keys[i] = floats ? key_of(__uint_as_float(keys[i])) : keys[i];
}

__device__ __forceinline__ uint32_t digit_of(const CudaRank &a, uint32_t key) { return key >> a.shift & (DIGITS - 1); }

/* Adds the digits of a lane's keys to counts in shared memory. */
__device__ __forceinline__ void count_digits(uint32_t *count, const CudaRank &a, const uint32_t (&keys)[ROUNDS], uint32_t first)
{
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) {
        if (first + i * 32 < a.n) atomicAdd(&count[digit_of(a, keys[i])], 1u);
    }
}

/* The lanes whose digit is this one's; none for a lane without a key. */
__device__ __forceinline__ uint32_t equals(uint32_t digit, bool valid)
{
    uint32_t lanes = __ballot_sync(~0u, valid);
#pragma unroll
    for (int bit = 0; bit < 8; bit++) {
        const bool set = digit >> bit & 1;
        lanes &= __ballot_sync(~0u, set) ^ (set ? 0 : ~0u);
    }
    return valid ? lanes : 0;
}

/* Counts of the digits of every tile: [array][digit][tile]. */
extern "C" __global__ void __launch_bounds__(THREADS) rank_count(const __grid_constant__ CudaRank a)
{
    __shared__ uint32_t count[DIGITS];
    const uint32_t first = first_of_lane();
    uint32_t keys[ROUNDS];
    load_keys(keys, a, first, a.at_first);
    count[threadIdx.x] = 0;
    __syncthreads();
    count_digits(count, a, keys, first);
    __syncthreads();
    const uint64_t row = (uint64_t)(blockIdx.y * DIGITS + threadIdx.x) * a.tiles;
    memory_at<uint32_t>(a.counts)[row + blockIdx.x] = count[threadIdx.x];
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

/* Counts of one digit to places among its keys, and their number. Blocks: x digits, y arrays. */
extern "C" __global__ void __launch_bounds__(THREADS) rank_places(const __grid_constant__ CudaRank a)
{
    const uint32_t digit = blockIdx.y * DIGITS + blockIdx.x;
    uint32_t *counts = memory_at<uint32_t>(a.counts) + (uint64_t)digit * a.tiles, before = 0;
#pragma unroll 1
    for (uint32_t first = 0; first < a.tiles; first += THREADS) {
        const uint32_t tile = first + threadIdx.x, count = tile < a.tiles ? counts[tile] : 0;
        uint32_t all;
        const uint32_t place = sums_before(count, &all);
        if (tile < a.tiles) counts[tile] = before + place;
        before += all;
    }
    if (threadIdx.x == 0) memory_at<uint32_t>(a.totals)[digit] = before;
}

/* Places of a lane's keys in the order of this digit. */
__device__ __forceinline__ void find_places(uint32_t (&to)[ROUNDS], const CudaRank &a, const uint32_t (&keys)[ROUNDS],
                                            uint32_t first)
{
    __shared__ uint32_t places[WARPS][DIGITS];
    const int lane = threadIdx.x % 32;
    uint32_t *place = places[threadIdx.x / 32];
#pragma unroll
    for (int i = 0; i < DIGITS / 32; i++) place[i * 32 + lane] = 0;
    __syncwarp();
    count_digits(place, a, keys, first);
    const uint32_t digit = threadIdx.x, of_array = blockIdx.y * DIGITS + digit;
    uint32_t all, next = sums_before(memory_at<const uint32_t>(a.totals)[of_array], &all);
    if (a.starts != 0 && blockIdx.x == 0) memory_at<uint32_t>(a.starts)[of_array] = next;
    next += memory_at<const uint32_t>(a.counts)[(uint64_t)of_array * a.tiles + blockIdx.x];
#pragma unroll
    for (int i = 0; i < WARPS; i++) {
        const uint32_t count = places[i][digit];
        places[i][digit] = next;
        next += count;
    }
    __syncthreads();
    const uint32_t below = (1u << lane) - 1;
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) {
        const uint32_t own = digit_of(a, keys[i]), lanes = equals(own, first + i * 32 < a.n), begin = place[own];
        to[i] = begin + __popc(lanes & below);
        __syncwarp();
        if (lanes != 0 && (lanes & below) == 0) place[own] = begin + __popc(lanes);
        __syncwarp();
    }
}

/* Keys, and where they come from, in the order of this digit. */
extern "C" __global__ void __launch_bounds__(THREADS) rank_scatter(const __grid_constant__ CudaRank a)
{
    const uint32_t first = first_of_lane();
    uint32_t keys[ROUNDS], to[ROUNDS];
    load_keys(keys, a, first, a.at_first);
    find_places(to, a, keys, first);
    if (!a.places_only) {
        uint32_t *sorted = memory_at<uint32_t>(a.to) + a.to_step * blockIdx.y;
#pragma unroll
        for (int i = 0; i < ROUNDS; i++) {
            if (first + i * 32 < a.n) sorted[to[i]] = keys[i];
        }
    }
    if (blockIdx.y < a.plain) return;
    const uint64_t array = (uint64_t)a.n * (blockIdx.y - a.plain);
    if (!a.at_first) load_words(keys, a.where + sizeof(uint32_t) * array, first, a.n);
    uint32_t *where = memory_at<uint32_t>(a.to_where) + array;
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) {
        if (first + i * 32 < a.n) where[to[i]] = a.at_first ? first + i * 32 : keys[i];
    }
}

/* A last pass, whose keys need not be put in order: each goes back where it comes from, as keep * itself + share * the value of
 * its rank in the reference. */
extern "C" __global__ void __launch_bounds__(THREADS) rank_match(const __grid_constant__ CudaRank a)
{
    const uint32_t first = first_of_lane();
    const uint64_t array = a.to_step * blockIdx.y;
    uint32_t keys[ROUNDS], to[ROUNDS];
    load_keys(keys, a, first, false);
    find_places(to, a, keys, first);
    const uint32_t *reference = memory_at<const uint32_t>(a.reference) + array;
    const float keep = blockIdx.y == 0 ? a.keep : 0.0f, share = __fsub_rn(1.0f, keep);
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) {
        const float other = value_of(first + i * 32 < a.n ? reference[to[i]] : 0);
        keys[i] = __float_as_uint(__fadd_rn(__fmul_rn(keep, value_of(keys[i])), __fmul_rn(share, other)));
    }
    load_words(to, a.where + sizeof(uint32_t) * a.n * blockIdx.y, first, a.n);
    uint32_t *values = memory_at<uint32_t>(a.to) + array;
#pragma unroll
    for (int i = 0; i < ROUNDS; i++) {
        if (first + i * 32 < a.n) values[to[i]] = keys[i];
    }
}
