#include "kernels/cpu/attention8.h"

#include "kernels/cpu/fp8.h"
#include "kernels/cpu/int8.h"

#include <math.h>
#include <string.h>

enum { DEPTH = ATTENTION8_DEPTH, KEYS = ATTENTION8_KEYS };

/* Operands as floats: integers of int8, and what e4m3 stands for. */
typedef struct Operands {
    float *k, *v, *scale; /* scale: of keys with int8, else 1 */
} Operands;

size_t attention8_floats(int keys) { return (size_t)keys * (2 * DEPTH + 1); }

/* Returns the row's scale. */
static float quantize_row(const float *x, bool e4m3, float *out)
{
    float scale = 1.0f;
    if (e4m3) {
        uint8_t q[DEPTH];
        uint32_t words[1];
        fp8_quantize(x, DEPTH, false, q, words);
        for (int c = 0; c < DEPTH; c++) {
            out[c] = fp8_decode(q[c]) * fp8_scale_value((uint8_t)(words[0] >> c / FP8_BLOCK * 8 & 255));
        }
        return scale;
    }
    int8_t q[DEPTH];
    uint32_t bits;
    int8_quantize(x, DEPTH, q, &scale);
    for (int c = 0; c < DEPTH; c++) out[c] = q[c];
    memcpy(&bits, &scale, sizeof bits);
    bits &= ~3u;
    memcpy(&scale, &bits, sizeof bits);
    return scale;
}

static void mean_of(const Attention8 *a, float *mean)
{
    for (int c = 0; c < DEPTH; c++) {
        float all = 0.0f;
        for (int first = 0; first < a->keys; first += KEYS) {
            float sum = 0.0f;
            for (int i = first; i < a->keys && i < first + KEYS; i++) sum += a->k[i * a->k_row + c];
            all += sum;
        }
        mean[c] = all / (float)a->keys;
    }
}

static void quantize_keys(const Attention8 *a, const Operands *to)
{
    float mean[DEPTH];
    mean_of(a, mean);
    for (int i = 0; i < a->keys; i++) {
        float x[DEPTH];
        for (int c = 0; c < DEPTH; c++) x[c] = a->k[i * a->k_row + c] - mean[c];
        to->scale[i] = quantize_row(x, a->e4m3, to->k + (size_t)i * DEPTH);
    }
}

static void quantize_values(const Attention8 *a, const Operands *to)
{
    for (int first = 0; first < a->keys; first += FP8_BLOCK) {
        const int end = first + FP8_BLOCK < a->keys ? first + FP8_BLOCK : a->keys;
        for (int c = 0; c < DEPTH; c++) {
            float top = 0.0f;
            for (int i = first; i < end; i++) top = fmaxf(top, fabsf(a->v[i * a->k_row + c]));
            const uint8_t e = fp8_scale(top);
            for (int i = first; i < end; i++) {
                uint8_t q;
                fp8_put(a->v[i * a->k_row + c], 0, false, e, &q);
                to->v[(size_t)i * DEPTH + (size_t)c] = fp8_decode(q) * fp8_scale_value(e);
            }
        }
    }
}

/* A query and what it has summed up. */
typedef struct Row {
    float q[DEPTH], factor, top, sum;
    double o[DEPTH];
} Row;

static void begin_row(const Attention8 *a, int query, Row *r)
{
    const float scale = quantize_row(a->q + query * a->q_row, a->e4m3, r->q), factor = a->scale * 1.44269504088896341f;
    r->factor = fmaxf(scale * factor, 1e-30f);
    r->top = -3e38f;
    r->sum = 0.0f;
    for (int c = 0; c < DEPTH; c++) r->o[c] = 0.0;
}

static float score(const Attention8 *a, const Row *r, const Operands *of, int key)
{
    double sum = 0.0;
    for (int c = 0; c < DEPTH; c++) sum += (double)r->q[c] * (double)of->k[(size_t)key * DEPTH + (size_t)c];
    const float s = (float)sum * of->scale[key];
    if (key < a->keys - 1 || a->last_bias == 0.0f) return s;
    return s + a->last_bias * 1.44269504088896341f / r->factor;
}

/* Tiles number tile[0] .. tile[count - 1]. */
static void step(const Attention8 *a, Row *r, const Operands *of, const int *tile, int count)
{
    float s[2 * KEYS], top = r->top;
    for (int i = 0; i < count * KEYS; i++) {
        const int key = tile[i / KEYS] * KEYS + i % KEYS;
        if (key < a->keys) top = fmaxf(top, s[i] = score(a, r, of, key));
    }
    const float shrink = exp2f((r->top - top) * r->factor), shift = fmaf(-top, r->factor, 8.0f);
    r->top = top;
    r->sum *= shrink;
    for (int c = 0; c < DEPTH; c++) r->o[c] *= (double)shrink;
    for (int i = 0; i < count * KEYS; i++) {
        const int key = tile[i / KEYS] * KEYS + i % KEYS;
        if (key >= a->keys) continue;
        const float p = exp2f(fmaf(s[i], r->factor, shift));
        const double weight = (double)fp8_decode(fp8_encode(p));
        r->sum += p;
        for (int c = 0; c < DEPTH; c++) r->o[c] += weight * (double)of->v[(size_t)key * DEPTH + (size_t)c];
    }
}

static bool is_chosen(const Attention8 *a, int tile)
{
    return a->mask == NULL || a->mask[tile * KEYS / a->block_keys] != 0;
}

void attention8(const Attention8 *a, float *scratch)
{
    const Operands of = {scratch, scratch + (size_t)a->keys * DEPTH, scratch + (size_t)a->keys * (2 * DEPTH)};
    const int tiles = (a->keys + KEYS - 1) / KEYS;
    const bool ends = a->keys % KEYS != 0 || a->last_bias != 0.0f; /* the last tile is a step of its own */
    if (a->keys > 0) quantize_keys(a, &of);
    quantize_values(a, &of);
    for (int n = 0; n < a->queries; n++) {
        Row r;
        int pair[2], held = 0;
        begin_row(a, n, &r);
        for (int t = 0; t < tiles; t++) {
            if (!is_chosen(a, t)) continue;
            if (ends && t == tiles - 1 && held > 0) step(a, &r, &of, pair, held), held = 0;
            pair[held++] = t;
            if (held == 2 || (ends && t == tiles - 1)) step(a, &r, &of, pair, held), held = 0;
        }
        if (held > 0) step(a, &r, &of, pair, held);
        for (int c = 0; c < DEPTH; c++) a->o[n * a->o_row + c] = r.sum > 0.0f ? (float)(r.o[c] / (double)r.sum) : 0.0f;
    }
}
