/*
 * Block-sparse attention on the CPU, and the choice of its blocks (FlashVSR spec 7, 8; mask of
 * OpenImagingLab/FlashVSR diffsynth/models/wan_video_dit.py). Pure functions over memory the caller gives.
 */
#ifndef UPRES_KERNELS_CPU_BLOCK_ATTENTION_H
#define UPRES_KERNELS_CPU_BLOCK_ATTENTION_H

#include "kernels/cpu/cpu.h"

#include <stddef.h>

enum { BLOCK_TOKENS = 128 }; /* of a query block, at most; FLASH_QUERIES */

/* Tokens of windows: token i of window w of slice s at base + s * slice + w * window + i * token. */
typedef struct BlockRows {
    float *base;
    int64_t slice, window, token;
} BlockRows;

typedef struct BlockKeys { /* of one slice */
    const float *k, *v;
    int64_t window, token; /* steps of both */
} BlockKeys;

typedef struct BlockAttention {
    const CpuKernels *kernels;
    int heads, head_dim;
    float scale, last_key_bias;
    BlockRows q, o;
    int slices, windows, tokens;          /* of the queries */
    const BlockKeys *keys;
    int key_slices, key_windows, key_tokens;
    int block_keys;                       /* <= FLASH_KEYS */
    const uint8_t *mask;                  /* [heads][query blocks][key blocks], NULL: all */
} BlockAttention;

int64_t block_attention_turns(const BlockAttention *a);          /* one (head, query block) each */
size_t block_attention_floats(const BlockAttention *a);          /* memory of one thread */
void block_attention_turn(const BlockAttention *a, int64_t turn, float *memory);

/* Means over the tokens of a block: out[head][c], head_dim floats a head. rows: the block's first token, step `token`. */
void block_mean(const float *rows, int64_t token, int tokens, int channels, float *out);

/*
 * The mask of one head and one query slice. q [windows][head_dim], k [key_blocks][head_dim]: means. Window w is at row
 * w / columns, column w % columns of the grid; key block b belongs to window b / (key_blocks / key_slices / windows) within its
 * slice. keep < 0: all pairs in range. mask: [windows][key_blocks]. scratch: 2 * windows * key_blocks floats.
 */
typedef struct BlockMask {
    const CpuKernels *kernels;
    int head_dim, rows, columns, key_slices, key_blocks, local_range;
    int64_t keep;
} BlockMask;
void block_mask(const BlockMask *m, const float *q, const float *k, uint8_t *mask, float *scratch);

#endif
