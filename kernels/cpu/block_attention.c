#include "kernels/cpu/block_attention.h"

#include "kernels/cpu/flash.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t block_attention_turns(const BlockAttention *a) { return (int64_t)a->heads * a->slices * a->windows; }

static size_t key_floats(const BlockAttention *a)
{
    return (size_t)((a->block_keys + GEMM_LANES - 1) / GEMM_LANES * GEMM_LANES) * (size_t)a->head_dim;
}

/* Values are read in whole vectors; where a head's end is none, they are copied with zeros behind. */
static bool copies_values(const BlockAttention *a) { return a->head_dim % GEMM_LANES != 0; }

size_t block_attention_floats(const BlockAttention *a)
{
    return flash_floats(a->head_dim) + key_floats(a) + (size_t)a->block_keys * (size_t)flash_padded(a->head_dim);
}

void block_attention_turn(const BlockAttention *a, int64_t turn, float *memory)
{
    const int d = a->head_dim, padded = flash_padded(d), query_blocks = a->slices * a->windows;
    const int head = (int)(turn / query_blocks), query = (int)(turn % query_blocks);
    const int slice = query / a->windows, window = query % a->windows;
    const int per_window = (a->key_tokens + a->block_keys - 1) / a->block_keys;
    const int per_slice = per_window * a->key_windows, key_blocks = per_slice * a->key_slices;
    const uint8_t *mask = a->mask == NULL ? NULL : a->mask + ((int64_t)head * query_blocks + query) * key_blocks;
    float *packed = memory + flash_floats(d), *values = packed + key_floats(a);

    Flash f;
    flash_begin(&f, a->kernels, a->q.base + slice * a->q.slice + window * a->q.window + (int64_t)head * d, a->q.token,
                a->tokens, d, a->scale, memory);
    for (int b = 0; b < key_blocks; b++) {
        if (mask != NULL && !mask[b]) continue;
        const BlockKeys *keys = &a->keys[b / per_slice];
        const int first = b % per_window * a->block_keys;
        const int count = a->key_tokens - first < a->block_keys ? a->key_tokens - first : a->block_keys;
        const int64_t at = b % per_slice / per_window * keys->window + first * keys->token + (int64_t)head * d;
        for (int i = 0; i < count; i++) flash_pack(packed, d, i, keys->k + at + i * keys->token);
        const float *v = keys->v + at;
        int64_t v_row = keys->token;
        if (copies_values(a)) {
            memset(values, 0, (size_t)count * (size_t)padded * sizeof *values);
            for (int i = 0; i < count; i++) memcpy(values + (int64_t)i * padded, v + i * keys->token, (size_t)d * sizeof *v);
            v = values;
            v_row = padded;
        }
        flash_keys(&f, packed, v, v_row, count, b == key_blocks - 1 ? a->last_key_bias : 0.0f);
    }
    flash_finish(&f);
    float *o = a->o.base + slice * a->o.slice + window * a->o.window + (int64_t)head * d;
    for (int i = 0; i < a->tokens; i++) memcpy(o + i * a->o.token, f.out + (int64_t)i * padded, (size_t)d * sizeof *o);
}

/* -------------------------------------------------------------------------------------------------------------- mask */

void block_mean(const float *rows, int64_t token, int tokens, int channels, float *out)
{
    for (int c = 0; c < channels; c++) out[c] = 0.0f;
    for (int i = 0; i < tokens; i++) {
        for (int c = 0; c < channels; c++) out[c] += rows[i * token + c];
    }
    for (int c = 0; c < channels; c++) out[c] /= (float)tokens;
}

/* Is a key window within reach of a query window? Cut at the picture's border, not shifted back inside. */
static bool in_range(const BlockMask *m, int query, int key)
{
    const int left = m->local_range / 2, right = m->local_range - 1 - left;
    const int dy = key / m->columns - query / m->columns, dx = key % m->columns - query % m->columns;
    return dy >= -left && dy <= right && dx >= -left && dx <= right;
}

static int rising(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void block_mask(const BlockMask *m, const float *q, const float *k, uint8_t *mask, float *scratch)
{
    const int windows = m->rows * m->columns, blocks = m->key_blocks;
    const int per_slice = blocks / m->key_slices, per_window = per_slice / windows;
    const int64_t pairs = (int64_t)windows * blocks;
    float *p = scratch, *sorted = scratch + pairs;
    const float root = sqrtf((float)m->head_dim);
    for (int w = 0; w < windows; w++) {
        float *row = p + (int64_t)w * blocks, top = -INFINITY, sum = 0.0f;
        for (int b = 0; b < blocks; b++) {
            const bool near = in_range(m, w, b % per_slice / per_window);
            mask[(int64_t)w * blocks + b] = near;
            float s = 0.0f;
            for (int c = 0; c < m->head_dim; c++) s += q[(int64_t)w * m->head_dim + c] * k[(int64_t)b * m->head_dim + c];
            row[b] = near ? s / root : -INFINITY;
            if (row[b] > top) top = row[b];
        }
        /* expf, not the polynomial of the row kernels: probabilities down to the last denormal decide */
        for (int b = 0; b < blocks; b++) sum += row[b] = expf(row[b] - top);
        for (int b = 0; b < blocks; b++) row[b] /= sum;
    }
    if (m->keep < 0) return;
    memcpy(sorted, p, (size_t)pairs * sizeof *sorted);
    qsort(sorted, (size_t)pairs, sizeof *sorted, rising);
    const int64_t keep = m->keep < pairs - 1 ? m->keep : pairs - 1;
    const float limit = sorted[pairs - 1 - keep];
    for (int64_t i = 0; i < pairs; i++) mask[i] = p[i] > limit;
}
