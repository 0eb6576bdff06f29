#include "kernels/cpu/attention.h"

#include "kernels/cpu/flash.h"

#include <math.h>
#include <string.h>

static int min_int(int a, int b) { return a < b ? a : b; }
static int round_up(int a, int b) { return (a + b - 1) / b * b; }

/* --------------------------------------------------------------------------------------------- where a pair's data lie */

typedef struct PairMemory {
    float *q;    /* [tokens][head_dim] */
    float *k;    /* [tokens / 16][head_dim][16] */
    float *v;    /* [tokens][padded]: head_dim rounded up to whole lanes */
    float *text; /* [text][head_dim]: results of this window's text queries */
    int padded;
} PairMemory;

static int longest_sequence(const Attention *a) { return a->longest + a->text; }

static PairMemory pair_memory(const Attention *a, float *memory)
{
    const size_t tokens = (size_t)round_up(longest_sequence(a), GEMM_LANES);
    PairMemory m = {.padded = flash_padded(a->head_dim)};
    m.q = memory;
    m.k = m.q + tokens * (size_t)a->head_dim;
    m.v = m.k + tokens * (size_t)a->head_dim;
    m.text = m.v + tokens * (size_t)m.padded;
    return m;
}

size_t attention_pair_floats(const Attention *a)
{
    const size_t tokens = (size_t)round_up(longest_sequence(a), GEMM_LANES);
    const size_t padded = (size_t)flash_padded(a->head_dim);
    return tokens * (2 * (size_t)a->head_dim + padded) + (size_t)a->text * (size_t)a->head_dim;
}

size_t attention_thread_floats(const Attention *a)
{
    return flash_floats(a->head_dim);
}

int attention_pairs(const Attention *a, int threads)
{
    const int64_t all = (int64_t)a->box_count * a->heads;
    return (int)(all < 4LL * threads ? all : 4LL * threads);
}

int attention_gather_turns(const Attention *a)
{
    return (longest_sequence(a) + ATTENTION_TOKENS - 1) / ATTENTION_TOKENS;
}

int attention_rows_turns(const Attention *a)
{
    return (longest_sequence(a) + ATTENTION_QUERIES - 1) / ATTENTION_QUERIES;
}

static int box_tokens(const AttentionBox *b)
{
    return (b->t1 - b->t0) * (b->h1 - b->h0) * (b->w1 - b->w0);
}

/* Token i of a box, in row-major order of the box. */
static void token_place(const AttentionBox *b, int i, int *t, int *y, int *x)
{
    const int w = b->w1 - b->w0, h = b->h1 - b->h0;
    *x = i % w;
    *y = i / w % h;
    *t = i / w / h;
}

static float *token_row(const Attention *a, const AttentionRows *r, const AttentionBox *b, int t, int y, int x, int head)
{
    return r->base + (b->t0 + t) * r->t_step + (b->h0 + y) * r->h_step + (b->w0 + x) * r->w_step +
           (int64_t)head * a->head_dim;
}

/* ------------------------------------------------------------------------------------------------------------ gather */

/* Norm with gain, then rotation of adjacent pairs by the rows of the table that belong to the three axes. */
static void norm_and_rotate(const Attention *a, const float *x, const float *gain, const float *const axis[3], float *out)
{
    const int d = a->head_dim;
    if (gain == NULL) {
        memcpy(out, x, (size_t)d * sizeof *out);
    } else {
        const float factor = 1.0f / sqrtf(a->kernels->sum_squares(x, d) / (float)d + a->eps);
        for (int i = 0; i < d; i++) out[i] = x[i] * factor * gain[i];
    }
    if (axis[0] == NULL) return;
    float *p = out;
    for (int n = 0; n < 3; n++) {
        for (int j = 0; j < a->rope_pairs; j++, p += 2) {
            const float c = axis[n][2 * j], s = axis[n][2 * j + 1], u = p[0], v = p[1];
            p[0] = u * c - v * s;
            p[1] = v * c + u * s;
        }
    }
}

void attention_gather(const Attention *a, int64_t pair, int block, float *memory)
{
    const AttentionBox *b = &a->boxes[pair / a->heads];
    const int head = (int)(pair % a->heads), own = box_tokens(b), all = own + a->text, d = a->head_dim;
    const PairMemory m = pair_memory(a, memory);
    const int begin = block * ATTENTION_TOKENS, end = min_int(begin + ATTENTION_TOKENS, round_up(all, GEMM_LANES));
    for (int i = begin; i < end; i++) {
        float *v = m.v + (int64_t)i * m.padded, *q = m.q + (int64_t)i * d;
        if (i >= all) { /* keys that fill the last lanes: their scores are never read */
            for (int c = 0; c < d; c++) q[c] = 0.0f;
            flash_pack(m.k, d, i, q);
            continue;
        }
        const float *axis[3] = {NULL, NULL, NULL};
        const float *from_q, *from_k, *from_v, *q_gain = a->q_gain, *k_gain = a->k_gain;
        const int64_t row = 2LL * a->rope_pairs;
        if (i < own) {
            int t, y, x;
            token_place(b, i, &t, &y, &x);
            from_q = token_row(a, &a->q, b, t, y, x, head);
            from_k = token_row(a, &a->k, b, t, y, x, head);
            from_v = token_row(a, &a->v, b, t, y, x, head);
            if (a->rope != NULL) {
                axis[0] = a->rope + (b->rope_t + t) * row;
                axis[1] = a->rope + (b->rope_h + y) * row;
                axis[2] = a->rope + (b->rope_w + x) * row;
            }
        } else {
            const int j = i - own;
            from_q = a->text_q.base + j * a->text_q.w_step + (int64_t)head * d;
            from_k = a->text_k.base + j * a->text_k.w_step + (int64_t)head * d;
            from_v = a->text_v.base + j * a->text_v.w_step + (int64_t)head * d;
            q_gain = a->text_q_gain;
            k_gain = a->text_k_gain;
            if (a->rope != NULL && a->rope_text) axis[0] = axis[1] = axis[2] = a->rope + j * row;
        }
        norm_and_rotate(a, from_k, k_gain, axis, q); /* q's place serves until q itself is written */
        flash_pack(m.k, d, i, q);
        if (i < own || a->text_wanted) norm_and_rotate(a, from_q, q_gain, axis, q);
        memcpy(v, from_v, (size_t)d * sizeof *v);
        for (int c = d; c < m.padded; c++) v[c] = 0.0f;
    }
}

/* -------------------------------------------------------------------------------------------------------------- rows */

void attention_rows(const Attention *a, int64_t pair, int block, float *memory, float *thread_memory)
{
    const AttentionBox *b = &a->boxes[pair / a->heads];
    const int head = (int)(pair % a->heads), own = box_tokens(b), all = own + a->text, d = a->head_dim;
    const int queries = a->text_wanted ? all : own, query = block * ATTENTION_QUERIES;
    if (query >= queries) return;
    const PairMemory m = pair_memory(a, memory);
    Flash f;
    flash_begin(&f, a->kernels, m.q + (int64_t)query * d, d, min_int(ATTENTION_QUERIES, queries - query), d, a->scale,
                thread_memory);
    for (int first = 0; first < all; first += FLASH_KEYS) {
        flash_keys(&f, m.k + (int64_t)first * d, m.v + (int64_t)first * m.padded, m.padded, min_int(FLASH_KEYS, all - first),
                   0.0f);
    }
    flash_finish(&f);
    for (int r = 0; r < f.queries; r++) {
        float *to;
        if (query + r < own) {
            int t, y, x;
            token_place(b, query + r, &t, &y, &x);
            to = token_row(a, &a->o, b, t, y, x, head);
        } else {
            to = m.text + (int64_t)(query + r - own) * d;
        }
        memcpy(to, f.out + (int64_t)r * m.padded, (size_t)d * sizeof *to);
    }
}

void attention_text(const Attention *a, int64_t pair, const float *memory)
{
    const int head = (int)(pair % a->heads);
    const PairMemory m = pair_memory(a, (float *)memory);
    const float share = 1.0f / (float)a->box_count;
    for (int j = 0; j < a->text; j++) {
        float *to = a->text_o.base + j * a->text_o.w_step + (int64_t)head * a->head_dim;
        a->kernels->axpby(to, share, m.text + (int64_t)j * a->head_dim, 1.0f, to, a->head_dim);
    }
}
