/*
 * Where the elements of a tile lie in shared memory, and which lane of a warp touches which: plain functions of numbers, used
 * by the kernels and by tests/kernels/layout.c, which asks for every access whether its 16-byte pieces meet in a bank.
 *
 * Tiles of operands have rows of 128 bytes, eight chunks of 16, that begin at multiples of 128. Chunk c of row r lies at place
 * c ^ (r & 7): eight consecutive rows of one chunk, or eight chunks of one row, fill all 32 banks.
 */
#ifndef UPRES_KERNELS_CUDA_LAYOUT_H
#define UPRES_KERNELS_CUDA_LAYOUT_H

#include "args.h"

#ifdef __CUDACC__
#define LAYOUT static __device__ __forceinline__
#else
#define LAYOUT static inline
#endif

enum { TILE_ROW_BYTES = 128, TILE_CHUNKS = 8 };

LAYOUT int tile_at(int row, int chunk)
{
    return row * TILE_ROW_BYTES + ((chunk ^ (row & 7)) << 4);
}

/* The same for `at` = row * TILE_ROW_BYTES + chunk * 16, of tiles that begin at multiples of 1024. */
LAYOUT uint32_t tile_swizzle(uint32_t at)
{
    return at ^ (at >> 3 & 0x70);
}

/*
 * Operands of mma.m16n8k16 (16 bits) and m16n8k32 (8 bits): 32 bytes of K, two chunks. ldmatrix wants of each lane the address
 * of one row of one 8 x 16-byte matrix. A: rows 0..15 of a fragment, chunk 2 * step + fragment_a_chunk. B, two fragments of
 * eight columns: rows 0..15, chunk 2 * step + fragment_b_chunk; of one fragment the lanes 0..15 count, whose rows are 0..7.
 */
LAYOUT int fragment_a_row(int lane) { return lane & 15; }
LAYOUT int fragment_a_chunk(int lane) { return lane >> 4; }
LAYOUT int fragment_b_row(int lane) { return (lane & 7) + (lane >> 4 << 3); }
LAYOUT int fragment_b_chunk(int lane) { return lane >> 3 & 1; }

/* Scales of A with e4m3: of 32 rows, two fragments, a lane holds those of one. */
LAYOUT int scale_row(int lane) { return ((lane & 1) << 3) + ((lane & 2) << 3) + (lane >> 2); }

/* Sums: a lane holds of each 16 x 8 fragment columns sum_column and that + 1 of rows sum_row and that + 8. */
LAYOUT int sum_row(int lane) { return lane >> 2; }
LAYOUT int sum_column(int lane) { return 2 * (lane & 3); }

/*
 * Sums on their way out: 16 rows of `width` floats of one warp. The first halves of all groups of eight columns lie together,
 * then the second halves: a lane picks up its group as two chunks, each beside its neighbours'; and lanes that put down pairs
 * of four rows meet no bank twice.
 */
LAYOUT int stage_half(int width) { return width * 2 + 16; }
LAYOUT int stage_pitch(int width) { return 2 * stage_half(width); }
LAYOUT int stage_at(int width, int row, int column)
{
    return row * stage_pitch(width) + (column >> 2 & 1) * stage_half(width) + (column >> 3) * 16 + (column & 3) * 4;
}

#endif
