/*
 * Values matched by rank: histogram matching without a histogram. Used by the colour methods lab and hsv. Any thread.
 */
#ifndef UPRES_KERNELS_CPU_COLOR_RANK_H
#define UPRES_KERNELS_CPU_COLOR_RANK_H

#include <stddef.h>
#include <stdint.h>

/*
 * The value with rank i of n (ties in index order) becomes the order statistic i of the reference when
 * m == n, else floor(i (m - 1) / (n - 1)):   out[where[i]] = keep * source[i] + (1 - keep) * that.
 * source [n]; reference [m] is sorted in place; where [n], or NULL for the identity. out may be source when where is
 * NULL. n, m >= 1. scratch: rank_match_scratch(n, m) uint32.
 */
size_t rank_match_scratch(size_t n, size_t m);
void rank_match(const float *source, const uint32_t *where, size_t n, float *reference, size_t m, float keep,
                float *out, uint32_t *scratch);

#endif
