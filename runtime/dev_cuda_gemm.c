/* Products on the CUDA device: which tile, and how many blocks of it. */
#include "runtime/dev_cuda_gemm.h"

/*
 * speed: what a multiprocessor gets done with this tile, from how often operands are fetched for it and how much of its
 * time goes by before the first and after the last slab. An estimate: it decides between tiles, nothing else.
 */
static const CudaGemmTile tiles[] = {
    {"gemm_f32_128x64", "GEMM_ONLY=12", ELEMENT_F32, 128, 64, 4, 2, 1.0f},
    {"gemm_f32_64x64", "GEMM_ONLY=13", ELEMENT_F32, 64, 64, 4, 3, 0.8f},
    {"gemm_f32_128x8", "GEMM_ONLY=14", ELEMENT_F32, 128, 8, 4, 2, 0.3f},
    {"gemm_bf16_256x128", "GEMM_ONLY=20", ELEMENT_BF16, 256, 128, 8, 2, 1.0f},
    {"gemm_bf16_128x128", "GEMM_ONLY=21", ELEMENT_BF16, 128, 128, 4, 3, 0.9f},
    {"gemm_bf16_128x64", "GEMM_ONLY=22", ELEMENT_BF16, 128, 64, 4, 2, 0.75f},
    {"gemm_bf16_64x64", "GEMM_ONLY=23", ELEMENT_BF16, 64, 64, 4, 3, 0.55f},
    {"gemm_bf16_128x8", "GEMM_ONLY=24", ELEMENT_BF16, 128, 8, 4, 2, 0.25f},
    {"gemm_i8_192x128", "GEMM_ONLY=30", ELEMENT_I8, 192, 128, 8, 2, 1.0f},
    {"gemm_i8_128x128", "GEMM_ONLY=31", ELEMENT_I8, 128, 128, 8, 3, 0.85f},
    {"gemm_i8_128x64", "GEMM_ONLY=32", ELEMENT_I8, 128, 64, 8, 3, 0.65f},
    {"gemm_i8_64x64", "GEMM_ONLY=33", ELEMENT_I8, 64, 64, 4, 2, 0.45f},
    {"gemm_e4m3_256x128", "GEMM_ONLY=40", ELEMENT_E4M3, 256, 128, 8, 2, 1.0f},
    {"gemm_e4m3_128x128", "GEMM_ONLY=41", ELEMENT_E4M3, 128, 128, 8, 3, 0.85f},
    {"gemm_e4m3_128x64", "GEMM_ONLY=42", ELEMENT_E4M3, 128, 64, 4, 2, 0.65f},
    {"gemm_e4m3_64x64", "GEMM_ONLY=43", ELEMENT_E4M3, 64, 64, 4, 3, 0.45f},
    {"gemm_e4m3_pair_256x128", "GEMM_ONLY=50", ELEMENT_E4M3_PAIR, 256, 128, 8, 2, 1.0f},
    {"gemm_e4m3_pair_128x128", "GEMM_ONLY=51", ELEMENT_E4M3_PAIR, 128, 128, 8, 3, 0.85f},
    {"gemm_e4m3_pair_128x64", "GEMM_ONLY=52", ELEMENT_E4M3_PAIR, 128, 64, 4, 2, 0.65f},
    {"gemm_e4m3_pair_64x64", "GEMM_ONLY=53", ELEMENT_E4M3_PAIR, 64, 64, 4, 3, 0.45f},
};
enum { TILES = sizeof tiles / sizeof tiles[0] };

bool cuda_gemm_tile(int index, CudaGemmTile *tile)
{
    if (index >= TILES) return false;
    *tile = tiles[index];
    return true;
}

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int batch_of(const CudaGemm *g) { return g->batch > 1 ? g->batch : 1; }

static int64_t blocks_of(const CudaGemm *g, const CudaGemmTile *t)
{
    const int64_t rows = (int64_t)g->rows * g->columns, columns = g->glu ? divide_up(g->n, 8) * 16 : g->n;
    return g->images * divide_up(rows, t->rows) * divide_up(columns, t->columns);
}

/* Blocks go to the multiprocessors in rounds; the last round takes as long as a full one. */
CudaGemmTile cuda_gemm_choose(const Dev *d, const CudaGemm *g, Element type)
{
    const int sms = cuda_device_of(d)->sms > 0 ? cuda_device_of(d)->sms : 1;
    const CudaGemmTile *best = NULL;
    double least = 0;
    for (int i = 0; i < TILES; i++) {
        const CudaGemmTile *t = &tiles[i];
        if (t->type != type || (g->glu && t->columns < 16)) continue;
        const double time = (double)divide_up(blocks_of(g, t) * batch_of(g), sms) * t->rows * t->columns / t->speed;
        if (best == NULL || time < least) {
            best = t;
            least = time;
        }
    }
    return *best;
}

void cuda_gemm_with(Dev *d, const CudaGemm *g, const CudaGemmTile *t)
{
    const bool fp8 = t->type == ELEMENT_E4M3 || t->type == ELEMENT_E4M3_PAIR;
    const int scales = (t->type == ELEMENT_I8 || fp8 ? t->rows : 0) + (t->type == ELEMENT_I8 ? t->columns : 0);
    const CudaGrid grid = {.x = (unsigned)blocks_of(g, t), .y = 1, .z = (unsigned)batch_of(g),
                           .threads = (unsigned)t->warps * 32,
                           .shared = (unsigned)(t->stages * ((t->rows + t->columns) * 128 + scales * 4))};
    cuda_launch(d, fp8 ? "gemm_fp8" : "gemm", t->function, t->macros, grid, g);
}

void cuda_gemm(Dev *d, const CudaGemm *g, Element type)
{
    const CudaGemmTile tile = cuda_gemm_choose(d, g, type);
    cuda_gemm_with(d, g, &tile);
}
