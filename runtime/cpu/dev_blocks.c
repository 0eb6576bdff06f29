/* Block-sparse attention and its masks on the CPU's threads. */
#include "kernels/cpu/block_attention.h"
#include "runtime/dev_internal.h"

/* --------------------------------------------------------------------------------------------------------- attention */

typedef struct BlockRun {
    BlockAttention a;
    float *memory;
    size_t floats;
} BlockRun;

static void block_turn(void *context, int64_t i, int thread)
{
    const BlockRun *r = context;
    block_attention_turn(&r->a, i, r->memory + r->floats * (size_t)thread);
}

static BlockRows rows_of(Dev *d, Tensor x)
{
    return (BlockRows){cpu_map(d, x), x.stride_t, x.stride_h, x.c_pad};
}

void cpu_block_attention(Dev *d, const BlockAttentionArgs *args)
{
    const Tensor first = args->keys[0].k;
    if (args->q.w > BLOCK_TOKENS || args->block_keys > BLOCK_TOKENS) {
        dev_fail(d, "internal error: blocks of %d queries and %d keys; at most %d", args->q.w, args->block_keys, BLOCK_TOKENS);
        return;
    }
    BlockRun r = {.a = {.kernels = d->kernels, .heads = args->heads, .head_dim = args->head_dim, .scale = args->scale,
                        .last_key_bias = args->last_key_bias, .slices = args->q.t, .windows = args->q.h, .tokens = args->q.w,
                        .key_slices = args->key_slices, .key_windows = first.h, .key_tokens = first.w,
                        .block_keys = args->block_keys}};
    r.floats = block_attention_floats(&r.a);
    const uint64_t key_floats = (uint64_t)args->key_slices * sizeof(BlockKeys) / sizeof(float);
    Scratch s = dev_scratch(d, key_floats + (uint64_t)d->threads * r.floats);
    r.a.mask = cpu_bytes(d, args->mask);
    if (s.floats != NULL) {
        BlockKeys *keys = (BlockKeys *)(void *)s.floats;
        for (int i = 0; i < args->key_slices; i++) {
            const KeySlice *k = &args->keys[i];
            keys[i] = (BlockKeys){cpu_map(d, k->k), cpu_map(d, k->v), k->k.stride_h, k->k.c_pad};
        }
        r.a.keys = keys;
        r.a.q = rows_of(d, args->q);
        r.a.o = rows_of(d, args->o);
        r.memory = s.floats + key_floats;
        pool_run(d->pool, block_attention_turns(&r.a), block_turn, &r);
    }
    dev_scratch_free(d, &s);
}

/* -------------------------------------------------------------------------------------------------------------- mask */

typedef struct MaskRun {
    Dev *d;
    const BlockMaskArgs *args;
    BlockMask m;
    float *q, *k; /* means: [heads][blocks][head_dim] */
    int per_window, key_blocks;
    float *scratch;
    size_t scratch_floats;
} MaskRun;

/* Means of one window of one slice: of the queries, then of each slice of keys. */
static void mean_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    const MaskRun *r = context;
    const BlockMaskArgs *a = r->args;
    const int windows = a->q.h, slice = (int)(i / windows), window = (int)(i % windows);
    const bool query = slice < a->q.t;
    const Tensor x = query ? a->q : a->keys[slice - a->q.t].k;
    const int blocks = query ? 1 : r->per_window, tokens = x.w / blocks, all = query ? a->q.t * windows : r->key_blocks;
    for (int b = 0; b < blocks; b++) {
        const float *rows = tensor_at(r->d, x, query ? slice : 0, window, b * tokens);
        const int number = query ? (int)i : ((slice - a->q.t) * windows + window) * blocks + b;
        for (int h = 0; h < a->heads; h++) {
            block_mean(rows + (int64_t)h * a->head_dim, x.c_pad, tokens, a->head_dim,
                       (query ? r->q : r->k) + ((int64_t)h * all + number) * a->head_dim);
        }
    }
}

static void mask_turn(void *context, int64_t i, int thread)
{
    const MaskRun *r = context;
    const BlockMaskArgs *a = r->args;
    const int head = (int)(i / a->q.t), slice = (int)(i % a->q.t);
    const int64_t query = (int64_t)slice * a->q.h, queries = (int64_t)a->q.t * a->q.h;
    block_mask(&r->m, r->q + ((int64_t)head * queries + query) * a->head_dim,
               r->k + (int64_t)head * r->key_blocks * a->head_dim, cpu_bytes(r->d, a->mask) + (head * queries + query) * r->key_blocks,
               r->scratch + r->scratch_floats * (size_t)thread);
}

void cpu_block_mask(Dev *d, const BlockMaskArgs *a)
{
    MaskRun r = {.d = d, .args = a, .per_window = a->keys[0].k.w / a->block_keys};
    const int windows = a->rows * a->columns;
    r.key_blocks = a->key_slices * windows * r.per_window;
    r.m = (BlockMask){d->kernels, a->head_dim, a->rows, a->columns, a->key_slices, r.key_blocks, a->local_range, a->keep};
    r.scratch_floats = 2 * (size_t)windows * (size_t)r.key_blocks;
    const uint64_t q_floats = (uint64_t)a->heads * (uint64_t)a->q.t * (uint64_t)windows * (uint64_t)a->head_dim;
    const uint64_t k_floats = (uint64_t)a->heads * (uint64_t)r.key_blocks * (uint64_t)a->head_dim;
    Scratch s = dev_scratch(d, q_floats + k_floats + (uint64_t)d->threads * r.scratch_floats);
    if (s.floats != NULL) {
        r.q = s.floats;
        r.k = r.q + q_floats;
        r.scratch = r.k + k_floats;
        pool_run(d->pool, (int64_t)(a->q.t + a->key_slices) * windows, mean_turn, &r);
        pool_run(d->pool, (int64_t)a->heads * a->q.t, mask_turn, &r);
    }
    dev_scratch_free(d, &s);
}
