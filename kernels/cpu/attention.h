/*
 * Scaled dot-product attention on the CPU, inside windows of a token grid, with an optional second stream of tokens
 * (text) that every window sees. q and k are RMS-normalised per head and rotated first where asked.
 *
 * Softmax is taken block by block of keys (flash.h), so no score matrix is kept.
 *
 * Work is done in rounds of some (window, head) pairs: first attention_gather for blocks of tokens, which brings q, k and
 * v of a window together and packs k for the products; then attention_rows for blocks of queries; then attention_text,
 * which adds the second stream's results window by window. Turns of one phase are independent; phases are not.
 */
#ifndef UPRES_KERNELS_CPU_ATTENTION_H
#define UPRES_KERNELS_CPU_ATTENTION_H

#include "kernels/cpu/cpu.h"

#include <stddef.h>

typedef struct AttentionBox {
    int32_t t0, t1, h0, h1, w0, w1; /* tokens, ends exclusive */
    int32_t rope_t, rope_h, rope_w; /* rows of the rotary table at which the axes start */
} AttentionBox;

typedef struct AttentionRows { /* head_dim floats of head h of token (t, y, x) at base + t*t_step + y*h_step + x*w_step + h*head_dim */
    float *base;
    int64_t t_step, h_step, w_step;
} AttentionRows;

typedef struct Attention {
    const CpuKernels *kernels;
    int heads, head_dim;
    float scale, eps;
    AttentionRows q, k, v, o;
    int text;                        /* tokens of the second stream; 0: none */
    bool text_wanted;                /* its queries too */
    AttentionRows text_q, text_k, text_v, text_o; /* w_step from token to token */
    const float *q_gain, *k_gain, *text_q_gain, *text_k_gain; /* [head_dim]; NULL: no norm */
    const AttentionBox *boxes;
    int box_count, longest;          /* longest: tokens of the largest box */
    const float *rope;               /* [rows][pairs][2]: cos, sin; NULL: no rotation */
    int rope_pairs;                  /* per axis */
    bool rope_text;                  /* text token j turns by row j on all axes */
} Attention;

enum { ATTENTION_TOKENS = 64, ATTENTION_QUERIES = 96 };

int attention_pairs(const Attention *a, int threads);   /* (window, head) pairs of a round */
size_t attention_pair_floats(const Attention *a);       /* shared memory of one pair of a round */
size_t attention_thread_floats(const Attention *a);     /* memory of one thread */

/* Turns of a pair in the two parallel phases; blocks beyond a smaller window's end do nothing. */
int attention_gather_turns(const Attention *a);
int attention_rows_turns(const Attention *a);

/* pair: number in all (window * heads + head); memory: of that pair. */
void attention_gather(const Attention *a, int64_t pair, int block, float *memory);
void attention_rows(const Attention *a, int64_t pair, int block, float *memory, float *thread_memory);
/* Adds this pair's text results to text_o (which begins at zero), weighted 1 / box_count. Pairs in rising order. */
void attention_text(const Attention *a, int64_t pair, const float *memory);

#endif
