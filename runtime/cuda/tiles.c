#include "runtime/cuda/tiles.h"

/*
 * speed: what a multiprocessor gets done with this tile, from how often operands are fetched for it and how much of its
 * time goes by before the first and after the last slab. An estimate: it decides between tiles, nothing else.
 */
static const CudaGemmTile tiles[] = {
    {"gemm_f32_128x64", "GEMM_ONLY=12", ELEMENT_F32, 128, 64, 4, 2, 1.0f, 0, false},
    {"gemm_f32_64x64", "GEMM_ONLY=13", ELEMENT_F32, 64, 64, 4, 3, 0.8f, 0, false},
    {"gemm_f32_128x8", "GEMM_ONLY=14", ELEMENT_F32, 128, 8, 4, 2, 0.3f, 0, false},
    {"gemm_bf16_256x128", "GEMM_ONLY=20", ELEMENT_BF16, 256, 128, 8, 2, 1.0f, 0, false},
    {"gemm_bf16_128x128", "GEMM_ONLY=21", ELEMENT_BF16, 128, 128, 4, 3, 0.9f, 0, false},
    {"gemm_bf16_128x64", "GEMM_ONLY=22", ELEMENT_BF16, 128, 64, 4, 2, 0.75f, 0, false},
    {"gemm_bf16_64x64", "GEMM_ONLY=23", ELEMENT_BF16, 64, 64, 4, 3, 0.55f, 0, false},
    {"gemm_bf16_128x8", "GEMM_ONLY=24", ELEMENT_BF16, 128, 8, 4, 2, 0.25f, 0, false},
    {"halo_bf16_192x128", "", ELEMENT_BF16, 192, 128, 8, 2, 0.95f, 4, true},
    {"halo_bf16_256x8", "", ELEMENT_BF16, 256, 8, 8, 4, 0.6f, 1, true},
    {"gemm_i8_192x128", "GEMM_ONLY=30", ELEMENT_I8, 192, 128, 8, 2, 1.0f, 0, false},
    {"gemm_i8_128x128", "GEMM_ONLY=31", ELEMENT_I8, 128, 128, 8, 3, 0.85f, 0, false},
    {"gemm_i8_128x64", "GEMM_ONLY=32", ELEMENT_I8, 128, 64, 8, 3, 0.65f, 0, false},
    {"gemm_i8_64x64", "GEMM_ONLY=33", ELEMENT_I8, 64, 64, 4, 2, 0.45f, 0, false},
    {"halo_i8_192x128", "", ELEMENT_I8, 192, 128, 8, 2, 1.25f, 4, true},
    {"gemm_e4m3_256x128", "GEMM_ONLY=40", ELEMENT_E4M3, 256, 128, 8, 2, 0.85f, 0, false},
    {"boxes_e4m3_256x128", "GEMM_ONLY=44", ELEMENT_E4M3, 256, 128, 8, 2, 1.0f, 4, false},
    {"boxes_e4m3_128x128", "GEMM_ONLY=45", ELEMENT_E4M3, 128, 128, 8, 3, 0.9f, 1, false},
    {"boxes_e4m3_64x64", "GEMM_ONLY=46", ELEMENT_E4M3, 64, 64, 2, 3, 0.5f, 1, false},
    {"halo_e4m3_128x128", "GEMM_ONLY=47", ELEMENT_E4M3, 128, 128, 8, 3, 0.95f, 1, true},
    {"gemm_e4m3_pair_256x128", "GEMM_ONLY=50", ELEMENT_E4M3_PAIR, 256, 128, 8, 2, 0.85f, 0, false},
    {"boxes_e4m3_pair_256x128", "GEMM_ONLY=54", ELEMENT_E4M3_PAIR, 256, 128, 8, 2, 1.0f, 4, false},
    {"boxes_e4m3_pair_128x128", "GEMM_ONLY=55", ELEMENT_E4M3_PAIR, 128, 128, 8, 3, 0.9f, 1, false},
    {"boxes_e4m3_pair_64x64", "GEMM_ONLY=56", ELEMENT_E4M3_PAIR, 64, 64, 2, 3, 0.5f, 1, false},
    {"halo_e4m3_pair_128x128", "GEMM_ONLY=57", ELEMENT_E4M3_PAIR, 128, 128, 8, 3, 0.95f, 1, true},
};
enum { TILES = sizeof tiles / sizeof tiles[0] };

bool cuda_gemm_tile(int index, CudaGemmTile *tile)
{
    if (index >= TILES) return false;
    *tile = tiles[index];
    return true;
}

bool cuda_gemm_has(const CudaDevice *d, const CudaGemmTile *t)
{
    return d->target >= (t->type > ELEMENT_I8 ? CUDA_TARGET_120F : t->producers > 0 ? CUDA_TARGET_90A : CUDA_TARGET_80);
}
