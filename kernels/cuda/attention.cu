/*
 * Attention of 64 queries a block over keys that come 64 at a time, with a running maximum and sum, so that no score
 * matrix is kept: see kernels/cpu/flash.h. Heads of up to 32 and up to 128 channels, in bf16 on the tensor cores or in
 * floats; o is of the operands' type.
 *
 * A query block walks the chosen key blocks of its mask; a window's keys are one block that is always chosen. Rows past
 * the last are zeros, and their scores minus infinity.
 */
#include "attention.cuh"

enum { ROWS = CUDA_FLASH_ROWS, KEYS = 64 };
#define ALL_LANES 0xffffffffu

/* What a block of threads works on: of the window or query block given by the grid. */
struct Problem {
    int query, queries;                           /* first of its rows, and how many rows the window has */
    int q_first, k_first;                         /* rows of the operands */
    int blocks, slice_blocks, block_keys;
    uint64_t mask;                                /* its row; 0: all */
};

__device__ __forceinline__ Problem problem(const CudaFlash &a)
{
    Problem p;
    p.query = blockIdx.x * ROWS;
    if (a.windows != 0) {
        const CudaWindow *w = memory_at<const CudaWindow>(a.windows) + blockIdx.y;
        p.queries = w->own + a.text_queries;
        p.q_first = p.k_first = w->first;
        p.blocks = p.slice_blocks = 1;
        p.block_keys = w->own + a.text_keys;
        p.mask = 0;
    } else {
        p.queries = a.queries;
        p.q_first = (int)blockIdx.y / a.q_rows * a.q_frame + (int)blockIdx.y % a.q_rows * a.q_row;
        p.k_first = 0;
        p.blocks = a.blocks;
        p.slice_blocks = a.slice_blocks;
        p.block_keys = a.block_keys;
        const int64_t row = (int64_t)(a.first_head + (int)blockIdx.z) * gridDim.y + blockIdx.y;
        p.mask = a.mask == 0 ? 0 : a.mask + row * a.blocks;
    }
    return p;
}

/* Element of q where the block's queries begin. */
__device__ __forceinline__ int64_t query_at(const Problem &p, const CudaFlash &a)
{
    return (int64_t)(p.q_first + p.query) * a.q_pitch + blockIdx.z * a.q_head;
}

/* ----------------------------------------------------------------------------------------------- walk over the keys */

/* The tile of keys at hand. Every warp walks by itself, all the same way. */
struct Walk {
    int block, first;     /* key block, and the tile's first key in it */
    int slice, slice_end; /* slice of the block, and the block behind the slice's last */
    int base;             /* of the 32 blocks that `chosen` is about */
    uint32_t chosen;      /* those not yet come to */
};

__device__ __forceinline__ Walk walk_start(const Problem &p) { return {0, p.block_keys, 0, p.slice_blocks, -32, 0}; }

/* On to the next tile; false: there is none. */
__device__ __forceinline__ bool walk_on(Walk &w, const Problem &p)
{
    w.first += KEYS;
    if (w.first < p.block_keys) return true;
    while (w.chosen == 0) {
        w.base += 32;
        if (w.base >= p.blocks) return false;
        const int block = w.base + (int)threadIdx.x % 32;
        const bool there = block < p.blocks;
        w.chosen = __ballot_sync(ALL_LANES, there && (p.mask == 0 || *memory_at<const uint8_t>(p.mask + block) != 0));
    }
    w.block = w.base + __ffs((int)w.chosen) - 1;
    w.chosen &= w.chosen - 1;
    w.first = 0;
#pragma unroll 1
    while (w.block >= w.slice_end) {
        w.slice++;
        w.slice_end += p.slice_blocks;
    }
    return true;
}

__device__ __forceinline__ int walk_keys(const Walk &w, const Problem &p) { return min(KEYS, p.block_keys - w.first); }

/* Is the tile's last key the very last one? */
__device__ __forceinline__ bool walk_last(const Walk &w, const Problem &p)
{
    return w.block == p.blocks - 1 && w.first + KEYS >= p.block_keys;
}

/* Element where the tile's keys begin in its slice. */
__device__ __forceinline__ int64_t walk_at(const Walk &w, const Problem &p, const CudaFlash &a)
{
    const int row = p.k_first + (w.block - w.slice_end + p.slice_blocks) * p.block_keys + w.first;
    return (int64_t)row * a.kv_pitch + blockIdx.z * a.kv_head;
}

/* ------------------------------------------------------------------------------------------------------------- bf16 */

/* Four warps, 16 queries each. */
template <int DEPTH> struct FlashBf16 {
    enum {
        THREADS = 128,
        ROW = DEPTH * 2,       /* bytes of a row */
        CHUNKS = ROW / 16,
        TILE = KEYS * ROW,     /* bytes of a tile */
        STEPS = DEPTH / 16,    /* products along a row */
        PIECES = DEPTH / 8     /* pieces of 8 channels of the result */
    };

    /* Where chunk 0 of a row lies in it: chunks are exchanged so that 8 rows of one chunk, or 8 chunks in a row, meet
     * different banks. Other chunks: exclusive or with 16 * chunk. */
    static __device__ __forceinline__ uint32_t swizzle(int row) { return (CHUNKS == 4 ? row >> 1 & 3 : row & 7) * 16; }

    /* 64 rows from an element of `from` on, zeros after `rows` of them. */
    static __device__ __forceinline__ void load(uint32_t to, uint64_t from, int64_t element, int pitch, int rows)
    {
        const int chunk = threadIdx.x % CHUNKS, row = threadIdx.x / CHUNKS;
        uint64_t at = from + (element + (int64_t)row * pitch + chunk * 8) * 2;
#pragma unroll
        for (int r = 0; r < KEYS; r += THREADS / CHUNKS) {
            copy_async_16(to + (row + r) * ROW + (chunk * 16 ^ swizzle(row + r)), at, row + r < rows ? 16 : 0);
            at += (int64_t)(THREADS / CHUNKS) * pitch * 2;
        }
    }

    /* s = q k^T */
    static __device__ __forceinline__ void score(float (&s)[KEYS / 8][4], const uint32_t (&q)[STEPS][4], uint32_t keys)
    {
        const int lane = threadIdx.x % 32, row = lane & 7;
        const uint32_t at = row * ROW + ((lane >> 3) * 16 ^ swizzle(row));
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) s[n][i] = 0.0f;
#pragma unroll
            for (int k = 0; k < STEPS; k += 2) {
                uint32_t b[4];
                load_matrix_4(b, keys + n * 8 * ROW + (at ^ k * 32));
                multiply_bf16(s[n], q[k], b[0], b[1]);
                multiply_bf16(s[n], q[k + 1], b[2], b[3]);
            }
        }
    }

    /* o += p v; p: weights where s had their scores */
    static __device__ __forceinline__ void weigh(float (&o)[PIECES][4], const float (&p)[KEYS / 8][4], uint32_t values)
    {
        const int lane = threadIdx.x % 32, row = lane & 15;
        const uint32_t at = row * ROW + ((lane >> 4) * 16 ^ swizzle(row));
#pragma unroll
        for (int k = 0; k < KEYS / 16; k++) {
            const float(&low)[4] = p[2 * k], (&high)[4] = p[2 * k + 1];
            const uint32_t a[4] = {bf16_pack(low[0], low[1]), bf16_pack(low[2], low[3]), bf16_pack(high[0], high[1]),
                                   bf16_pack(high[2], high[3])};
#pragma unroll
            for (int n = 0; n < PIECES; n += 2) {
                uint32_t b[4];
                load_matrix_4_trans(b, values + k * 16 * ROW + (at ^ n * 16));
                multiply_bf16(o[n], a, b[0], b[1]);
                multiply_bf16(o[n + 1], a, b[2], b[3]);
            }
        }
    }

    /* Scores to weights e^((s - top) * scale); what was summed under a smaller maximum shrinks. scale: times log2 e. */
    static __device__ __forceinline__ void soften(float (&s)[KEYS / 8][4], float (&o)[PIECES][4], float (&top)[2],
                                                  float (&sum)[2], float scale)
    {
        float here[2] = {top[0], top[1]};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
            here[0] = fmaxf(here[0], fmaxf(s[n][0], s[n][1]));
            here[1] = fmaxf(here[1], fmaxf(s[n][2], s[n][3]));
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            here[r] = fmaxf(here[r], __shfl_xor_sync(ALL_LANES, here[r], 1));
            here[r] = fmaxf(here[r], __shfl_xor_sync(ALL_LANES, here[r], 2));
        }
        if (__any_sync(ALL_LANES, here[0] > top[0] || here[1] > top[1])) {
#pragma unroll
            for (int r = 0; r < 2; r++) {
                const float shrink = exp2_approx((top[r] - here[r]) * scale);
                top[r] = here[r];
                sum[r] *= shrink;
#pragma unroll
                for (int n = 0; n < PIECES; n++) {
                    o[n][2 * r] *= shrink;
                    o[n][2 * r + 1] *= shrink;
                }
            }
        }
        const float shift[2] = {-top[0] * scale, -top[1] * scale};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[n][i] = exp2_approx(__fmaf_rn(s[n][i], scale, shift[i / 2]));
                sum[i / 2] += s[n][i];
            }
        }
    }

    /* The tile that ends early, or with the very last key. */
    static __device__ __forceinline__ void trim(float (&s)[KEYS / 8][4], int keys, float last_bias)
    {
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int key = n * 8 + (int)threadIdx.x % 4 * 2 + i % 2;
                s[n][i] = key >= keys ? -__int_as_float(0x7f800000) : key == keys - 1 ? s[n][i] + last_bias : s[n][i];
            }
        }
    }

    static __device__ __forceinline__ void run(const CudaFlash &a)
    {
        __shared__ __align__(128) uint8_t memory[3 * TILE]; /* keys, the next keys, values */
        const Problem p = problem(a);
        if (p.query >= p.queries) return;
        const uint32_t keys = shared_address(memory), values = keys + 2 * TILE;
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

        Walk at = walk_start(p);
        bool more = walk_on(at, p);
        load(values, a.q, query_at(p, a), a.q_pitch, p.queries - p.query);
        copy_async_commit();
        if (more) load(keys, a.k[at.slice], walk_at(at, p, a), a.kv_pitch, walk_keys(at, p));
        copy_async_commit();
        copy_async_wait<1>();
        __syncthreads();
        uint32_t q[STEPS][4];
#pragma unroll
        for (int k = 0; k < STEPS; k++) {
            const int row = warp * 16 + (lane & 15);
            load_matrix_4(q[k], values + row * ROW + (((lane >> 4) + 2 * k) * 16 ^ swizzle(row)));
        }

        float o[PIECES][4], top[2] = {-__int_as_float(0x7f800000), -__int_as_float(0x7f800000)}, sum[2] = {0.0f, 0.0f};
#pragma unroll
        for (int n = 0; n < PIECES; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) o[n][i] = 0.0f;
        }
        const float scale = a.scale * 1.44269504088896341f;
        uint32_t turn = 0; /* which of the two places the keys at hand are in: 0 or TILE */
        while (more) {
            __syncthreads(); /* nobody reads the values of the last turn any more */
            const int count = walk_keys(at, p);
            load(values, a.v[at.slice], walk_at(at, p, a), a.kv_pitch, count);
            copy_async_commit();
            copy_async_wait<1>();
            __syncthreads();
            float s[KEYS / 8][4];
            score(s, q, keys + turn);
            const bool last = walk_last(at, p);
            more = walk_on(at, p);
            if (more) load(keys + (turn ^ TILE), a.k[at.slice], walk_at(at, p, a), a.kv_pitch, walk_keys(at, p));
            copy_async_commit();
            turn ^= TILE;
            if (count < KEYS || last) trim(s, count, last ? a.last_bias : 0.0f);
            soften(s, o, top, sum, scale);
            copy_async_wait<1>();
            __syncthreads();
            weigh(o, s, values);
        }

#pragma unroll
        for (int r = 0; r < 2; r++) {
            sum[r] += __shfl_xor_sync(ALL_LANES, sum[r], 1);
            sum[r] += __shfl_xor_sync(ALL_LANES, sum[r], 2);
            const float share = sum[r] > 0.0f ? __fdiv_rn(1.0f, sum[r]) : 0.0f;
            const int row = p.query + warp * 16 + lane / 4 + 8 * r;
            if (row >= p.queries) continue;
            const Place to = place_of<DEPTH, false>(a, row);
#pragma unroll
            for (int n = 0; n < PIECES; n++) {
                store_pair<false>(to, n * 8 + lane % 4 * 2, o[n][2 * r] * share, o[n][2 * r + 1] * share);
            }
        }
    }
};

extern "C" __global__ void __launch_bounds__(128, 2) flash_bf16_32(const __grid_constant__ CudaFlash a)
{
    FlashBf16<32>::run(a);
}

extern "C" __global__ void __launch_bounds__(128, 2) flash_bf16_128(const __grid_constant__ CudaFlash a)
{
    FlashBf16<128>::run(a);
}


/* ------------------------------------------------------------------------------------------------------------ float */

/* 16 x 16 threads: four queries each, and every 16th key or pair of channels. Half a warp has four queries together. */
template <int DEPTH> struct FlashFloat {
    enum {
        THREADS = 256,
        ROW = DEPTH + 4,    /* floats of a row in shared memory: rows begin in different banks */
        WEIGHTS = KEYS + 4, /* of a row of weights */
        PAIRS = DEPTH / 32  /* pairs of channels of one thread */
    };

    static __device__ __forceinline__ void load(uint32_t to, uint64_t from, int64_t element, int pitch, int rows)
    {
        const int chunk = threadIdx.x % (DEPTH / 4), row = threadIdx.x / (DEPTH / 4);
        const uint32_t start = to + (row * ROW + chunk * 4) * 4;
        uint64_t at = from + (element + (int64_t)row * pitch + chunk * 4) * 4;
#pragma unroll
        for (int r = 0; r < KEYS; r += THREADS / (DEPTH / 4)) {
            copy_async_16(start + r * ROW * 4, at, row + r < rows ? 16 : 0);
            at += (int64_t)(THREADS / (DEPTH / 4)) * pitch * 4;
        }
        copy_async_commit();
    }

    static __device__ __forceinline__ void score(float (&s)[4][4], uint32_t q, uint32_t keys)
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) s[i][j] = 0.0f;
        }
#pragma unroll 2
        for (int c = 0; c < DEPTH; c += 4) {
            float k[4][4];
#pragma unroll
            for (int j = 0; j < 4; j++) load_shared_4(k[j], keys + (j * 16 * ROW + c) * 4);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float x[4];
                load_shared_4(x, q + (i * ROW + c) * 4);
#pragma unroll
                for (int j = 0; j < 4; j++) {
#pragma unroll
                    for (int m = 0; m < 4; m++) s[i][j] = __fmaf_rn(x[m], k[j][m], s[i][j]);
                }
            }
        }
    }

    static __device__ __forceinline__ void weigh(float2 (&o)[4][PAIRS], uint32_t weights, uint32_t values)
    {
#pragma unroll 2
        for (int n = 0; n < KEYS; n += 4) {
            float p[4][4];
#pragma unroll
            for (int i = 0; i < 4; i++) load_shared_4(p[i], weights + (i * WEIGHTS + n) * 4);
#pragma unroll
            for (int m = 0; m < 4; m++) {
#pragma unroll
                for (int c = 0; c < PAIRS; c++) {
                    const float2 v = load_shared_2(values + ((n + m) * ROW + c * 32) * 4);
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        o[i][c].x = __fmaf_rn(p[i][m], v.x, o[i][c].x);
                        o[i][c].y = __fmaf_rn(p[i][m], v.y, o[i][c].y);
                    }
                }
            }
        }
    }

    /* The largest of half a warp. */
    static __device__ __forceinline__ float most(float x)
    {
#pragma unroll
        for (int m = 8; m > 0; m >>= 1) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, m));
        return x;
    }

    static __device__ __forceinline__ float total(float x)
    {
#pragma unroll
        for (int m = 8; m > 0; m >>= 1) x += __shfl_xor_sync(ALL_LANES, x, m);
        return x;
    }

    static __device__ __forceinline__ void run(const CudaFlash &a)
    {
        extern __shared__ __align__(16) float memory[];
        const Problem p = problem(a);
        if (p.query >= p.queries) return;
        float *const weights = memory;
        const uint32_t shared = shared_address(memory), queries = shared + ROWS * WEIGHTS * 4;
        const uint32_t tile = queries + ROWS * ROW * 4; /* keys, then their values */
        const int x = threadIdx.x % 16, y = threadIdx.x / 16 * 4;

        load(queries, a.q, query_at(p, a), a.q_pitch, p.queries - p.query);
        float2 o[4][PAIRS];
        float top[4], sum[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            top[i] = -__int_as_float(0x7f800000);
            sum[i] = 0.0f;
#pragma unroll
            for (int c = 0; c < PAIRS; c++) o[i][c] = make_float2(0.0f, 0.0f);
        }
        for (Walk at = walk_start(p); walk_on(at, p);) {
            const int count = walk_keys(at, p);
            const float last_bias = walk_last(at, p) ? a.last_bias : 0.0f;
            __syncthreads(); /* nobody reads the last values any more */
            load(tile, a.k[at.slice], walk_at(at, p, a), a.kv_pitch, count);
            copy_async_wait<0>();
            __syncthreads();
            float s[4][4];
            score(s, queries + y * ROW * 4, tile + x * ROW * 4);
            __syncthreads();
            load(tile, a.v[at.slice], walk_at(at, p, a), a.kv_pitch, count);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float here = top[i];
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const int key = x + 16 * j;
                    s[i][j] = (key == count - 1 ? s[i][j] + last_bias : s[i][j]) * a.scale;
                    if (key < count) here = fmaxf(here, s[i][j]);
                }
                here = most(here);
                const float shrink = exp_poly(top[i] - here);
                top[i] = here;
                sum[i] *= shrink;
#pragma unroll
                for (int c = 0; c < PAIRS; c++) o[i][c] = make_float2(o[i][c].x * shrink, o[i][c].y * shrink);
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const float e = x + 16 * j < count ? exp_poly(s[i][j] - here) : 0.0f;
                    sum[i] += e;
                    weights[(y + i) * WEIGHTS + x + 16 * j] = e;
                }
            }
            copy_async_wait<0>();
            __syncthreads();
            weigh(o, shared + y * WEIGHTS * 4, tile + x * 8);
        }
        copy_async_wait<0>();
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float all = total(sum[i]), share = all > 0.0f ? __fdiv_rn(1.0f, all) : 0.0f;
            const int row = p.query + y + i;
            if (row >= p.queries) continue;
            const Place to = place_of<DEPTH, true>(a, row);
#pragma unroll
            for (int c = 0; c < PAIRS; c++) store_pair<true>(to, x * 2 + c * 32, o[i][c].x * share, o[i][c].y * share);
        }
    }
};

extern "C" __global__ void __launch_bounds__(256, 1) flash_f32_32(const __grid_constant__ CudaFlash a)
{
    FlashFloat<32>::run(a);
}

extern "C" __global__ void __launch_bounds__(256, 1) flash_f32_128(const __grid_constant__ CudaFlash a)
{
    FlashFloat<128>::run(a);
}
