/*
 * Softmax attention of a few queries over keys that come block by block, with a running maximum and sum, so that no score
 * matrix is kept (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al., "FlashAttention",
 * 2022). Serves attention.c and block_attention.c.
 */
#ifndef UPRES_KERNELS_CPU_FLASH_H
#define UPRES_KERNELS_CPU_FLASH_H

#include "kernels/cpu/cpu.h"

#include <stddef.h>

enum { FLASH_QUERIES = 128, FLASH_KEYS = 256 }; /* at most, of one Flash and of one call */

typedef struct Flash {
    const CpuKernels *kernels;
    const float *q;      /* row r at q + r * q_row, `depth` floats */
    int64_t q_row;
    int queries, depth;
    float scale;
    float *scores, *out; /* flash_floats(depth) floats; out: results after flash_finish, rows flash_padded(depth) apart */
    bool begun;
    float top[FLASH_QUERIES], sum[FLASH_QUERIES];
} Flash;

int flash_padded(int depth); /* depth rounded up to whole vectors */
size_t flash_floats(int depth);
void flash_begin(Flash *f, const CpuKernels *k, const float *q, int64_t q_row, int queries, int depth, float scale,
                 float *memory);

/*
 * `keys` more keys. k: packed [keys / 16 rounded up][depth][16] by flash_pack; v: rows v_row apart, readable up to
 * flash_padded(depth). last_bias is added to the scaled score of the last of them.
 */
void flash_keys(Flash *f, const float *k, const float *v, int64_t v_row, int keys, float last_bias);
void flash_finish(Flash *f); /* divides by the sums; zeros when there was no key */

/* Key number `key` (depth floats) to its lane of the packed form. */
void flash_pack(float *packed, int depth, int key, const float *values);

#endif
