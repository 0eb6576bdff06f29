#include "kernels/cpu/color_rank.h"

#include <string.h>

/* Radix sort of floats as 32-bit keys in the same order, least digit first: 11, 11 and 10 bits. */
enum { DIGIT_BITS = 11, DIGITS = 3, BUCKETS = 1 << DIGIT_BITS };

/* -0 and +0 are equal values and must tie: adding 0 makes both +0. */
static uint32_t key_of(float x)
{
    uint32_t bits;
    x += 0.0f;
    memcpy(&bits, &x, sizeof bits);
    return bits ^ (bits >> 31 ? 0xFFFFFFFFu : 0x80000000u);
}

static float value_of(uint32_t key)
{
    uint32_t bits = key ^ (key >> 31 ? 0x80000000u : 0xFFFFFFFFu);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t digit(uint32_t key, int d)
{
    return key >> (DIGIT_BITS * d) & (BUCKETS - 1);
}

/* Where each bucket of each digit begins. */
static void bucket_starts(const float *x, size_t n, uint32_t starts[DIGITS][BUCKETS])
{
    memset(starts, 0, DIGITS * sizeof starts[0]);
    for (size_t i = 0; i < n; i++) {
        uint32_t key = key_of(x[i]);
        for (int d = 0; d < DIGITS; d++) starts[d][digit(key, d)]++;
    }
    for (int d = 0; d < DIGITS; d++) {
        uint32_t at = 0;
        for (int b = 0; b < BUCKETS; b++) {
            uint32_t count = starts[d][b];
            starts[d][b] = at;
            at += count;
        }
    }
}

static void sort_floats(float *x, size_t n, uint32_t *a, uint32_t *b)
{
    uint32_t starts[DIGITS][BUCKETS];
    bucket_starts(x, n, starts);
    for (size_t i = 0; i < n; i++) {
        uint32_t key = key_of(x[i]);
        a[starts[0][digit(key, 0)]++] = key;
    }
    for (size_t i = 0; i < n; i++) b[starts[1][digit(a[i], 1)]++] = a[i];
    for (size_t i = 0; i < n; i++) x[starts[2][digit(b[i], 2)]++] = value_of(b[i]);
}

size_t rank_match_scratch(size_t n, size_t m)
{
    return 4 * n > 2 * m ? 4 * n : 2 * m;
}

void rank_match(const float *source, const uint32_t *where, size_t n, float *reference, size_t m, float keep,
                float *out, uint32_t *scratch)
{
    sort_floats(reference, m, scratch, scratch + m);

    uint32_t starts[DIGITS][BUCKETS];
    uint32_t *key_a = scratch, *at_a = key_a + n, *key_b = at_a + n, *at_b = key_b + n;
    bucket_starts(source, n, starts);
    for (size_t i = 0; i < n; i++) {
        uint32_t key = key_of(source[i]), to = starts[0][digit(key, 0)]++;
        key_a[to] = key;
        at_a[to] = (uint32_t)i;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t to = starts[1][digit(key_a[i], 1)]++;
        key_b[to] = key_a[i];
        at_b[to] = at_a[i];
    }
    /* The last pass would only put values in their place in rank order; that place is the rank. */
    const float share = 1.0f - keep;
    for (size_t i = 0; i < n; i++) {
        uint64_t rank = starts[2][digit(key_b[i], 2)]++;
        uint64_t statistic = n == m ? rank : n > 1 ? rank * (m - 1) / (n - 1) : 0;
        uint32_t at = at_b[i];
        out[where != NULL ? where[at] : at] = keep * source[at] + share * reference[statistic];
    }
}
