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
#define LAYOUT static constexpr __device__ __forceinline__
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

/*
 * Attention in 8 bits: 64 keys and their values in one run of bytes, as they come to shared memory.
 *
 * Keys: rows of 128 bytes, a tile as above. Within each 32 they stand so that a lane's sums with four fragments of 8 keys are
 * what it needs of 32 keys as the left side of the next product: row 8 j + c is key 16 (j / 2) + 4 (c / 2) + 2 (j % 2) + c % 2.
 * Values: a row of 64 bytes, four chunks of 16, for each of 128 channels. Scales of keys in the order of their rows, two floats
 * each with int8, the scale and that times -1.5 * 2^23; or a word with e4m3, two for each lane. Scales of values: of each channel
 * two bytes, for 32 keys each.
 */
enum {
    FLASH8_KEYS = 64,
    FLASH8_VALUES_AT = FLASH8_KEYS * TILE_ROW_BYTES,
    FLASH8_VALUE_SCALES_AT = 2 * FLASH8_VALUES_AT,
    FLASH8_KEY_SCALES_AT = FLASH8_VALUE_SCALES_AT + 256,
    FLASH8_E4M3_BYTES = FLASH8_KEY_SCALES_AT + FLASH8_KEYS * 4, /* where keys' scales are words, what lies behind is not used */
    FLASH8_TILE_BYTES = FLASH8_KEY_SCALES_AT + FLASH8_KEYS * 8,
    FLASH8_STAGES = 5,
    FLASH8_SHARED_BYTES = FLASH8_STAGES * (FLASH8_TILE_BYTES + 16) /* and two barriers each */
};
LAYOUT int flash8_key(int row)
{
    const int j = row >> 3 & 3, c = row & 7;
    return (row & 32) + (j >> 1) * 16 + (c >> 1) * 4 + (j & 1) * 2 + (c & 1);
}
LAYOUT int flash8_value_at(int channel, int chunk)
{
    return FLASH8_VALUES_AT + channel * 64 + ((chunk ^ (channel >> 1 & 3)) << 4);
}
/* A lane has the scales of one of each 32 columns: this one of column `column`. */
LAYOUT int column_scale_lane(int column) { return (column >> 3 & 3) + ((column & 7) << 2); }
LAYOUT int flash8_key_scale_at(int row, int fp8)
{
    return FLASH8_KEY_SCALES_AT + (fp8 ? column_scale_lane(row) * 8 + (row >> 5) * 4 : row * 8);
}
LAYOUT int flash8_value_scale_at(int channel, int half)
{
    const int group = channel >> 5;
    return FLASH8_VALUE_SCALES_AT + column_scale_lane(channel) * 8 + (group >> 1) * 4 + (group & 1) * 2 + half;
}

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
