/* Block-sparse attention on the CUDA device and its masks, which never leave it. */
#include "runtime/cuda/dev_attention.h"

#include <math.h>

static const uint64_t EIGHTS_BYTES = 192u << 20; /* of operands of 8 bits at a time, of some heads; of one at least */

/* --------------------------------------------------------------------------------------------------------- attention */

typedef struct BlockJob {
    Dev *d;
    const BlockAttentionArgs *a;
    Element type;
    CudaAttentionForm form;
    int depth, windows, tokens; /* windows and tokens of the keys' slices */
    CudaFlash flash;
    CudaScratch operands, table, eights;
} BlockJob;

/* Rows of x as the kernel reads them: in the right type, a head filling whole rows of it. */
static bool rows_fit(const BlockJob *j, Tensor x)
{
    return x.type == j->type && j->a->head_dim == j->depth && x.at % 16 == 0;
}

/* 8 bits are made of queries in one run of rows, too, and of slices that are whole tiles. */
static bool packs_directly(const BlockJob *j)
{
    const Tensor q = j->a->q;
    return q.stride_h == (int64_t)q.w * q.c_pad && q.stride_t == q.h * q.stride_h && j->windows * j->tokens % FLASH8_KEYS == 0;
}

/* Keys and values of a slice in one run of rows, all slices alike. */
static bool reads_directly(const BlockJob *j)
{
    const BlockAttentionArgs *a = j->a;
    const int pitch = a->keys[0].k.c_pad;
    if (!rows_fit(j, a->q) || a->key_slices > CUDA_KEY_SLICES) return false;
    if (cuda_attention_in_8_bits(j->form) && !packs_directly(j)) return false;
    for (int i = 0; i < a->key_slices; i++) {
        const Tensor both[2] = {a->keys[i].k, a->keys[i].v};
        for (int n = 0; n < 2; n++) {
            if (!rows_fit(j, both[n]) || both[n].c_pad != pitch || both[n].stride_h != (int64_t)both[n].w * pitch) return false;
        }
    }
    return true;
}

static void use_directly(BlockJob *j)
{
    const BlockAttentionArgs *a = j->a;
    CudaFlash *f = &j->flash;
    const CudaTokens q = cuda_tokens(j->d, a->q);
    f->q = q.at;
    f->q_head = f->kv_head = a->head_dim;
    f->q_pitch = q.pitch;
    f->q_row = q.row;
    f->q_frame = q.frame;
    f->kv_pitch = a->keys[0].k.c_pad;
    for (int i = 0; i < a->key_slices; i++) {
        f->k[i] = cuda_at(j->d, a->keys[i].k);
        f->v[i] = cuda_at(j->d, a->keys[i].v);
    }
    f->slice_blocks = f->blocks / a->key_slices;
}

/* Rows of x to rows first .. of operand `part`. */
static void gather(BlockJob *j, Tensor x, int part, CUdeviceptr to, int64_t to_head, int first)
{
    const int rows = x.t * x.h * x.w;
    const CudaWindow all = {.tall = x.h, .wide = x.w, .own = rows, .first = first};
    CudaGather g = {.windows = j->table.address, .to_head = to_head, .heads = j->a->heads, .head_dim = j->a->head_dim};
    g.from[part] = cuda_tokens(j->d, x);
    g.to[part] = to;
    cuda_copy_in(j->d, j->table.address, &all, sizeof all);
    cuda_gather(j->d, &g, j->type, rows, 1);
}

/* Copies of queries, keys and values, all slices in one. */
static void use_copies(BlockJob *j)
{
    const BlockAttentionArgs *a = j->a;
    const int q_rows = a->q.t * a->q.h * a->q.w, slice_rows = j->windows * j->tokens, k_rows = a->key_slices * slice_rows;
    const uint64_t head_bytes = (uint64_t)a->heads * (uint64_t)j->depth * (uint64_t)element_bytes(j->type);
    j->operands = cuda_scratch(j->d, (uint64_t)(q_rows + 2 * k_rows) * head_bytes);
    j->table = cuda_scratch(j->d, sizeof(CudaWindow));
    CudaFlash *f = &j->flash;
    f->q = j->operands.address;
    f->k[0] = f->q + (uint64_t)q_rows * head_bytes;
    f->v[0] = f->k[0] + (uint64_t)k_rows * head_bytes;
    f->q_head = (int64_t)q_rows * j->depth;
    f->kv_head = (int64_t)k_rows * j->depth;
    f->q_pitch = f->kv_pitch = j->depth;
    f->q_row = a->q.w;
    f->q_frame = a->q.h * a->q.w;
    f->slice_blocks = f->blocks;
    gather(j, a->q, 0, f->q, f->q_head, 0);
    for (int i = 0; i < a->key_slices; i++) {
        gather(j, a->keys[i].k, 1, f->k[0], f->kv_head, i * slice_rows);
        gather(j, a->keys[i].v, 2, f->v[0], f->kv_head, i * slice_rows);
    }
}

/* ------------------------------------------------------------------------------------------------------------ 8 bits */

/* Blocks that masks choose have to be whole tiles, their last key one like the others. */
static CudaAttentionForm form_of(const BlockJob *j, int keys)
{
    const BlockAttentionArgs *a = j->a;
    const bool fits = !a->mask.valid || (a->block_keys % FLASH8_KEYS == 0 && a->last_key_bias == 0.0f);
    return j->type == ELEMENT_F32 || !fits ? CUDA_ATTENTION_BF16 : cuda_attention_form(j->d, a->stage, a->head_dim, keys);
}

/* Some heads' operands from those of bf16. Slices that lie apart are packed one by one. */
static void pack_heads(BlockJob *j, CudaFlash8Pack *p, int first_head, int heads)
{
    const CudaFlash *f = &j->flash;
    const int all = p->keys, slices = all / (f->slice_blocks * f->block_keys), slice = all / slices;
    const uint64_t q_skip = (uint64_t)(first_head * f->q_head) * 2, kv_skip = (uint64_t)(first_head * f->kv_head) * 2;
    p->q = f->q + q_skip;
    p->q_head = f->q_head;
    p->kv_head = f->kv_head;
    p->q_pitch = f->q_pitch;
    p->kv_pitch = f->kv_pitch;
    p->fp8 = j->form == CUDA_ATTENTION_E4M3;
    cuda_flash8_queries(j->d, p, p->q_rows, 1, heads);
    for (int pass = 0; pass < 2; pass++) {
        for (int s = 0; s < slices; s++) {
            p->keys = slice;
            p->first_tile = s * (slice / FLASH8_KEYS);
            p->k = f->k[s] + kv_skip;
            p->v = f->v[s] + kv_skip;
            if (pass == 0) cuda_flash8_sums(j->d, p, slice, 1, heads);
            else cuda_flash8_keys(j->d, p, slice, 1, heads);
        }
        p->keys = all;
        p->first_tile = 0;
        if (pass == 0) cuda_flash8_means(j->d, p, 1, heads);
    }
}

static void attend_in_8_bits(BlockJob *j)
{
    const BlockAttentionArgs *a = j->a;
    const CudaFlash *f = &j->flash;
    const int q_rows = a->q.t * a->q.h * a->q.w, keys = f->blocks * f->block_keys;
    const uint64_t fit = EIGHTS_BYTES / cuda_flash8_bytes(q_rows, keys, 1, 1);
    const int round = fit < 1 ? 1 : fit < (uint64_t)a->heads ? (int)fit : a->heads;
    j->eights = cuda_scratch(j->d, cuda_flash8_bytes(q_rows, keys, 1, round));
    for (int first = 0; first < a->heads; first += round) {
        const int heads = a->heads - first < round ? a->heads - first : round;
        CudaFlash8Pack p = cuda_flash8_room(j->eights.address, q_rows, keys, 1, round);
        p.keys = keys;
        pack_heads(j, &p, first, heads);
        CudaFlash8 e = {.o = f->o, .mask = f->mask, .q_rows = f->q_rows, .queries = f->queries, .keys = keys,
                        .blocks = f->blocks, .block_tiles = f->block_keys / FLASH8_KEYS, .first_head = first, .scale = f->scale,
                        .last_bias = f->last_bias};
        cuda_flash8(j->d, &e, &p, a->q.w, heads, a->q.t * a->q.h, block_attention_flop(a) * heads / a->heads,
                    chosen_share(a));
    }
    cuda_scratch_free(j->d, &j->eights);
}

void cuda_block_attention(Dev *d, const BlockAttentionArgs *a)
{
    BlockJob j = {.d = d, .a = a, .type = cuda_attention_type(d, a->stage, a->head_dim), .depth = cuda_depth(a->head_dim),
                  .windows = a->keys[0].k.h, .tokens = a->keys[0].k.w, .operands = {ARENA_FULL, 0}, .table = {ARENA_FULL, 0},
                  .eights = {ARENA_FULL, 0}};
    const int slice_keys = j.windows * j.tokens, keys = a->key_slices * slice_keys;
    j.form = form_of(&j, keys);
    if (!cuda_is_flash(a->head_dim) || (a->mask.valid && j.tokens % a->block_keys != 0)) {
        dev_fail(d, "internal error: block attention of %d tokens by %d, heads of %d channels", j.tokens, a->block_keys,
                 a->head_dim);
        return;
    }
    j.flash = (CudaFlash){.o = cuda_tokens(d, a->o), .mask = cuda_at(d, a->mask), .q_rows = a->q.h, .queries = a->q.w,
                          .blocks = a->mask.valid ? keys / a->block_keys : a->key_slices,
                          .block_keys = a->mask.valid ? a->block_keys : slice_keys, .head_dim = a->head_dim, .scale = a->scale,
                          .last_bias = a->last_key_bias / a->scale};
    if (reads_directly(&j)) use_directly(&j);
    else use_copies(&j);
    if (cuda_attention_in_8_bits(j.form)) attend_in_8_bits(&j);
    else cuda_flash(d, &j.flash, j.type, a->q.w, a->heads, a->q.t * a->q.h, block_attention_flop(a),
                    chosen_share(a));
    cuda_zero_padding(d, a->o);
    cuda_scratch_free(d, &j.table);
    cuda_scratch_free(d, &j.operands);
}

/* -------------------------------------------------------------------------------------------------------------- mask */

static const uint64_t PROBABILITY_BYTES = 64u << 20; /* of some heads at once */

static void means(Dev *d, Tensor x, int tokens, CudaMeans m)
{
    m.x = cuda_tokens(d, x);
    m.per_window = x.w / tokens;
    m.tokens = tokens;
    const CudaGrid grid = {(unsigned)((m.channels + 127) / 128), (unsigned)(x.h * m.per_window), (unsigned)x.t, 128, 0};
    cuda_launch(d, "block_mask", "block_means", "", grid, &m);
}

/* Scores, softmax and choice, some heads at a time. */
static void choose(Dev *d, const BlockMaskArgs *a, CudaBlockMask *m)
{
    const uint64_t pairs = (uint64_t)m->slices * (uint64_t)m->windows * (uint64_t)m->blocks;
    const uint64_t fit = PROBABILITY_BYTES / (pairs * sizeof(float));
    const int heads = fit < 1 ? 1 : fit < (uint64_t)a->heads ? (int)fit : a->heads;
    CudaScratch p = cuda_scratch(d, (uint64_t)heads * pairs * sizeof(float));
    m->p = p.address;
    for (m->first_head = 0; m->first_head < a->heads; m->first_head += heads) {
        const int here = a->heads - m->first_head < heads ? a->heads - m->first_head : heads;
        const CudaGrid rows = {(unsigned)m->windows, (unsigned)m->slices, (unsigned)here, 256, 0};
        const CudaGrid slices = {(unsigned)m->slices, (unsigned)here, 1, 1024, 0};
        cuda_launch(d, "block_mask", "block_scores", "", rows, m);
        cuda_launch(d, "block_mask", "block_choose", "", slices, m);
    }
    cuda_scratch_free(d, &p);
}

void cuda_block_mask(Dev *d, const BlockMaskArgs *a)
{
    const int windows = a->rows * a->columns, per_window = a->keys[0].k.w / a->block_keys, queries = a->q.t * windows;
    const int slice_blocks = windows * per_window, blocks = a->key_slices * slice_blocks, channels = a->heads * a->head_dim;
    CudaBlockMask m = {.mask = cuda_at(d, a->mask), .keep = a->keep, .head_dim = a->head_dim, .slices = a->q.t,
                       .windows = windows, .columns = a->columns, .blocks = blocks, .slice_blocks = slice_blocks,
                       .per_window = per_window, .local_range = a->local_range, .root = sqrtf((float)a->head_dim)};
    /* Every byte of the tensor is written, its padding too. */
    const uint64_t all = (uint64_t)a->mask.h * (uint64_t)a->mask.stride_h;
    const uint64_t pairs = (uint64_t)a->heads * (uint64_t)queries * (uint64_t)blocks;
    cuda_fill(d, m.mask + pairs, 0, all - pairs);
    if (a->keep < 0) {
        const CudaGrid grid = {(unsigned)windows, (unsigned)m.slices, (unsigned)a->heads, 256, 0};
        cuda_launch(d, "block_mask", "block_near", "", grid, &m);
        return;
    }
    CudaScratch q = cuda_scratch(d, (uint64_t)queries * (uint64_t)channels * sizeof(float));
    CudaScratch k = cuda_scratch(d, (uint64_t)blocks * (uint64_t)channels * sizeof(float));
    m.q = q.address;
    m.k = k.address;
    means(d, a->q, a->q.w, (CudaMeans){.to = m.q, .to_head = (int64_t)queries * a->head_dim, .to_channel = 1,
                                       .to_block = a->head_dim, .channels = channels, .head_dim = a->head_dim});
    for (int s = 0; s < a->key_slices; s++) {
        means(d, a->keys[s].k, a->block_keys,
              (CudaMeans){.to = m.k, .to_head = (int64_t)a->head_dim * blocks, .to_channel = blocks, .to_block = 1,
                          .first = s * slice_blocks, .channels = channels, .head_dim = a->head_dim});
    }
    choose(d, a, &m);
    cuda_scratch_free(d, &k);
    cuda_scratch_free(d, &q);
}
