/* Shared memory of the CUDA kernels: no access of a warp may meet a bank twice, and every element has one place. */
#include "kernels/cuda/layout.h"

#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <string.h>

/*
 * The hardware serves 128 bytes at a time: `lanes` accesses of 128 / lanes bytes must lie in different places modulo 128.
 * What is aligned to its own size then touches no bank twice.
 */
static void check_banks(const char *what, const int *address, int lanes)
{
    const int size = 128 / lanes;
    bool seen[32] = {false};
    for (int i = 0; i < lanes; i++) {
        const int place = address[i] / size % lanes;
        check_true(address[i] % size == 0, "%s: %d is not aligned", what, address[i]);
        check_true(!seen[place], "%s: bank group %d twice", what, place);
        seen[place] = true;
    }
}

/* ldmatrix: each of the four matrices, for every step of a slab and every fragment. */
static void check_fragments(void)
{
    if (!check_begin("cuda_layout_fragments")) return;
    for (int step = 0; step < 4; step++) {
        for (int first = 0; first < 64; first += 8) { /* fragments begin at any eighth row: B's columns */
            int a[32], b[32];
            for (int lane = 0; lane < 32; lane++) {
                a[lane] = tile_at(first + fragment_a_row(lane), 2 * step + fragment_a_chunk(lane));
                b[lane] = tile_at(first + fragment_b_row(lane), 2 * step + fragment_b_chunk(lane));
                /* the kernels step by changing bits of step 0's address */
                const int a0 = tile_at(first + fragment_a_row(lane), fragment_a_chunk(lane));
                const int b0 = tile_at(first + fragment_b_row(lane), fragment_b_chunk(lane));
                check_true(a[lane] == (a0 ^ step << 5) && b[lane] == (b0 ^ step << 5), "step %d of lane %d", step, lane);
            }
            for (int matrix = 0; matrix < 4; matrix++) {
                check_banks("ldmatrix of A", a + 8 * matrix, 8);
                check_banks("ldmatrix of B", b + 8 * matrix, 8);
            }
        }
    }
    check_end();
}

/* Patches of pixels with their halo: a fragment is 16 pixels of a row of the patch, at every tap of a window. */
static void check_patches(void)
{
    if (!check_begin("cuda_layout_patches")) return;
    for (int width = 16; width <= 18; width++) {
        for (int first = 0; first < 10 * width - 15; first++) {
            for (int step = 0; step < 4; step++) {
                int a[32];
                for (int lane = 0; lane < 32; lane++) {
                    const int row = first + fragment_a_row(lane), chunk = fragment_a_chunk(lane);
                    a[lane] = (int)tile_swizzle((uint32_t)(row * TILE_ROW_BYTES + chunk * 16)) ^ step << 5;
                    check_true(a[lane] == tile_at(row, 2 * step + chunk), "row %d, step %d of lane %d", row, step, lane);
                }
                for (int matrix = 0; matrix < 4; matrix++) check_banks("ldmatrix of a patch", a + 8 * matrix, 8);
            }
        }
    }
    check_end();
}

/* Byte, thread and lane of a scale: rows g and g + 8 of fragment i are in lanes 4 g + 2 i and behind. */
static void check_scales(void)
{
    if (!check_begin("cuda_layout_scales")) return;
    for (int row = 0; row < 32; row++) {
        const int lane = 4 * (row % 8) + 2 * (row / 16) + row / 8 % 2;
        check_true(scale_row(lane) == row, "row %d", row);
    }
    check_end();
}

/* cp.async: eight lanes fill a row. Every chunk of a tile has a place of its own. */
static void check_fill(void)
{
    if (!check_begin("cuda_layout_fill")) return;
    bool taken[256 * TILE_CHUNKS] = {false};
    for (int row = 0; row < 256; row++) {
        int at[TILE_CHUNKS];
        for (int chunk = 0; chunk < TILE_CHUNKS; chunk++) {
            at[chunk] = tile_at(row, chunk);
            const bool inside = at[chunk] >= 0 && at[chunk] < 256 * TILE_ROW_BYTES;
            check_true(inside && !taken[at[chunk] / 16], "row %d chunk %d", row, chunk);
            taken[at[chunk] / 16] = true;
        }
        check_banks("cp.async", at, 8);
    }
    check_end();
}

/* float32: lanes read four of K of the rows and columns whose sums they hold. Lanes of one row read the same. */
static void check_floats_reads(void)
{
    if (!check_begin("cuda_layout_floats")) return;
    for (int chunk = 0; chunk < TILE_CHUNKS; chunk++) {
        int a[8], b[2][4];
        for (int lane = 0; lane < 32; lane++) a[sum_row(lane)] = tile_at(sum_row(lane), chunk);
        for (int lane = 0; lane < 4; lane++) {
            b[0][lane] = tile_at(sum_column(lane), chunk);
            b[1][lane] = tile_at(sum_column(lane) + 1, chunk);
        }
        check_banks("rows of A", a, 8);
        for (int odd = 0; odd < 2; odd++) {
            for (int i = 0; i < 4; i++) {
                for (int j = 0; j < i; j++) {
                    check_true(b[odd][i] / 16 % 8 != b[odd][j] / 16 % 8, "columns %d and %d of B", i, j);
                }
            }
        }
    }
    check_end();
}

/* Sums on their way out: pairs put down by half a warp at a time, chunks picked up by a quarter. */
static void check_stage(int width)
{
    if (!check_begin("cuda_layout_stage_%d", width)) return;
    uint8_t taken[16 * 288 / 4] = {0};
    check_true(16 * stage_pitch(width) <= (int)sizeof taken * 4, "the largest stage");
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < width; column++) {
            const int at = stage_at(width, row, column);
            check_true(at >= 0 && at < 16 * stage_pitch(width) && !taken[at / 4], "row %d column %d", row, column);
            taken[at / 4] = 1;
        }
    }
    for (int n = 0; n < width && width >= 32; n += 8) { /* narrower ones are few and may collide */
        for (int half = 0; half < 2; half++) {
            int at[16];
            for (int i = 0; i < 16; i++) at[i] = stage_at(width, sum_row(half * 16 + i), n + sum_column(half * 16 + i));
            check_banks("sums put down", at, 16);
        }
    }
    for (int i = 0; i < 16 * width / 8 && width == 64; i += 8) { /* a row is eight groups */
        int low[8], high[8];
        for (int lane = 0; lane < 8; lane++) {
            low[lane] = stage_at(width, (i + lane) / 8, (i + lane) % 8 * 8);
            high[lane] = stage_at(width, (i + lane) / 8, (i + lane) % 8 * 8 + 4);
        }
        check_banks("first halves", low, 8);
        check_banks("second halves", high, 8);
    }
    check_end();
}

/* Tiles of attention in 8 bits: keys and values as ldmatrix reads them, a place for every byte, and keys in the order in which
 * a lane's sums are the left side of the next product. */
static void check_flash8(void)
{
    if (!check_begin("cuda_layout_flash8")) return;
    for (int half = 0; half < 2; half++) {
        int keys[32], values[32];
        for (int lane = 0; lane < 32; lane++) {
            keys[lane] = tile_at(lane & 7, lane >> 3) ^ half * 64;
            values[lane] = flash8_value_at(fragment_b_row(lane), fragment_b_chunk(lane)) ^ half * 32;
            check_true(keys[lane] == tile_at(lane & 7, half * 4 + (lane >> 3)), "keys of lane %d", lane);
            const int value = flash8_value_at(fragment_b_row(lane), half * 2 + fragment_b_chunk(lane));
            check_true(values[lane] == value, "values of lane %d", lane);
        }
        for (int matrix = 0; matrix < 4; matrix++) {
            check_banks("ldmatrix of keys", keys + 8 * matrix, 8);
            check_banks("ldmatrix of values", values + 8 * matrix, 8);
        }
    }
    uint8_t *taken = check_bytes(FLASH8_TILE_BYTES);
    bool seen[FLASH8_KEYS] = {false};
    for (int row = 0; row < FLASH8_KEYS; row++) {
        for (int chunk = 0; chunk < TILE_CHUNKS; chunk++) taken[tile_at(row, chunk)]++;
        for (int i = 0; i < 2; i++) taken[flash8_key_scale_at(row, 0) + 4 * i]++;
        check_true(!seen[flash8_key(row)], "key %d twice", flash8_key(row));
        seen[flash8_key(row)] = true;
        const int fragment = row / 8, lane = row % 8 / 2; /* of a quad */
        const int wanted = fragment / 4 * 32 + fragment % 4 / 2 * 16 + lane * 4 + fragment % 2 * 2 + row % 2;
        check_true(flash8_key(row) == wanted, "row %d has key %d", row, flash8_key(row));
        check_true(flash8_key_scale_at(row, 1) < FLASH8_E4M3_BYTES, "scale of row %d", row);
    }
    for (int channel = 0; channel < 128; channel++) {
        for (int chunk = 0; chunk < 4; chunk++) taken[flash8_value_at(channel, chunk)]++;
        for (int i = 0; i < 2; i++) taken[flash8_value_scale_at(channel, i)]++;
        check_true(column_scale_lane(channel) == channel / 8 % 4 + channel % 8 * 4, "scale of channel %d", channel);
    }
    int places = 0;
    for (int i = 0; i < FLASH8_TILE_BYTES; i++) {
        check_true(taken[i] <= 1, "byte %d twice", i);
        places += taken[i];
    }
    check_true(places == 2 * FLASH8_KEYS * 8 + FLASH8_KEYS * 2 + 256, "%d places", places);
    check_end();
}

void test_layout(void)
{
    check_flash8();
    check_fragments();
    check_patches();
    check_scales();
    check_fill();
    check_floats_reads();
    check_stage(64);
    check_stage(32);
    check_stage(8);
}
