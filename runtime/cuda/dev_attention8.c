/* Attention in 8 bits on the CUDA device: which heads take it, and its operands. */
#include "runtime/cuda/dev_attention.h"
#include "runtime/cuda/pieces.h"

/* Keys of a softmax from which on 8 bits save more than it takes to make them: about 370 by the rates of an RTX 5090, 310 of a
 * 5070 Ti (rows of 2 KB of memory, against products at 2.8 times the rate); below, bf16 is more exact for nothing. */
enum { LEAST_KEYS = 512 };

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static uint64_t whole(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

CudaAttentionForm cuda_attention_form(const Dev *d, int stage, int head_dim, int64_t keys)
{
    const Element products = cuda_compute(d, stage, head_dim, NULL);
    if (products == ELEMENT_F32) return CUDA_ATTENTION_F32;
    if (cuda_device_of(d)->target != CUDA_TARGET_120F || head_dim != CUDA_FLASH8_DEPTH) return CUDA_ATTENTION_BF16;
    if (products == ELEMENT_BF16 || products == ELEMENT_E4M3_PAIR) return CUDA_ATTENTION_BF16;
    if (keys < LEAST_KEYS && !cuda_setup_of(d)->few_too) return CUDA_ATTENTION_BF16;
    return products == ELEMENT_E4M3 && cuda_setup_of(d)->fp8_scores ? CUDA_ATTENTION_E4M3 : CUDA_ATTENTION_I8;
}

bool cuda_attention_in_8_bits(CudaAttentionForm form) { return form == CUDA_ATTENTION_I8 || form == CUDA_ATTENTION_E4M3; }

/* Windows begin with whole tiles: each takes one more than its rows fill, at most. */
static int tiles_of(int64_t key_rows, int windows) { return (int)(key_rows / FLASH8_KEYS) + windows; }

uint64_t cuda_flash8_bytes(int64_t q_rows, int64_t key_rows, int windows, int heads)
{
    const uint64_t tiles = (uint64_t)tiles_of(key_rows, windows), row = CUDA_FLASH8_DEPTH * sizeof(float);
    const uint64_t of_head[] = {(uint64_t)q_rows * CUDA_FLASH8_DEPTH, (uint64_t)q_rows * 4, tiles * FLASH8_TILE_BYTES,
                                tiles * row, (uint64_t)windows * row};
    uint64_t bytes = 0;
    for (int i = 0; i < 5; i++) bytes += whole(of_head[i] * (uint64_t)heads);
    return bytes;
}

CudaFlash8Pack cuda_flash8_room(CUdeviceptr at, int64_t q_rows, int64_t key_rows, int windows, int heads)
{
    const int tiles = tiles_of(key_rows, windows);
    const uint64_t row = CUDA_FLASH8_DEPTH * sizeof(float);
    CudaFlash8Pack p = {.q_rows = (int32_t)q_rows, .head_tiles = tiles};
    p.to_q = at;
    p.q_scale = p.to_q + whole((uint64_t)q_rows * CUDA_FLASH8_DEPTH * (uint64_t)heads);
    p.tiles = p.q_scale + whole((uint64_t)q_rows * 4 * (uint64_t)heads);
    p.sums = p.tiles + whole((uint64_t)tiles * FLASH8_TILE_BYTES * (uint64_t)heads);
    p.means = p.sums + whole((uint64_t)tiles * row * (uint64_t)heads);
    return p;
}

static CudaGrid grid_of(int64_t x, int windows, int heads, unsigned threads)
{
    return (CudaGrid){(unsigned)x, (unsigned)windows, (unsigned)heads, threads, 0};
}

void cuda_flash8_queries(Dev *d, const CudaFlash8Pack *p, int rows, int windows, int heads)
{
    cuda_launch(d, "attention8", "flash8_queries", "", grid_of(divide_up(rows, 32), windows, heads, 256), p);
}

void cuda_flash8_sums(Dev *d, const CudaFlash8Pack *p, int keys, int windows, int heads)
{
    cuda_launch(d, "attention8", "flash8_sums", "", grid_of(divide_up(keys, FLASH8_KEYS), windows, heads, 128), p);
}

void cuda_flash8_means(Dev *d, const CudaFlash8Pack *p, int windows, int heads)
{
    cuda_launch(d, "attention8", "flash8_means", "", grid_of(1, windows, heads, 128), p);
}

void cuda_flash8_keys(Dev *d, const CudaFlash8Pack *p, int keys, int windows, int heads)
{
    cuda_launch(d, "attention8", "flash8_keys", "", grid_of(divide_up(keys, FLASH8_KEYS), windows, heads, 256), p);
}

/* As piece_of of dev_attention.c. */
static CudaFlash8 piece_of(const CudaFlash8 *f, const CudaFlashPiece *p)
{
    CudaFlash8 g = *f;
    int64_t row = (int64_t)p->head * f->q_all, tile = (int64_t)p->head * f->head_tiles;
    g.first_head += p->head;
    if (f->queries > 0) {
        row += (int64_t)p->problem * f->queries;
        g.o.at += cuda_flash_tokens(&f->o, f->q_rows, p->problem);
        if (f->mask != 0) g.mask += cuda_flash_mask_rows(p, g.first_head) * (uint64_t)f->blocks;
    } else {
        tile += p->problem;
        g.windows += (uint64_t)p->problem * sizeof(CudaWindow);
        g.text_o += cuda_flash_text(p, f->text_queries * CUDA_FLASH8_DEPTH);
    }
    g.q += (uint64_t)row * CUDA_FLASH8_DEPTH;
    g.q_scale += (uint64_t)row * 4;
    g.tiles += (uint64_t)tile * FLASH8_TILE_BYTES;
    return g;
}

void cuda_flash8(Dev *d, CudaFlash8 *f, const CudaFlash8Pack *p, int query_rows, int heads, int problems, double flop,
                 double share)
{
    f->q = p->to_q;
    f->q_scale = p->q_scale;
    f->tiles = p->tiles;
    f->q_all = p->q_rows;
    f->head_tiles = p->head_tiles;
    f->head_dim = CUDA_FLASH8_DEPTH;
    CudaGrid grid = grid_of(divide_up(query_rows, CUDA_FLASH8_ROWS), problems, heads, CUDA_FLASH8_THREADS);
    grid.shared = FLASH8_SHARED_BYTES;
    const char *const function = p->fp8 ? "flash_e4m3" : "flash_i8";
    for (CudaFlashPiece s = cuda_flash_begin(d, function, grid, f->queries > 0 ? f->q_rows : 0, flop, share);
         cuda_flash_next(d, &s);) {
        const CudaFlash8 piece = piece_of(f, &s);
        cuda_launch(d, "attention8", function, "", s.grid, &piece);
    }
}
