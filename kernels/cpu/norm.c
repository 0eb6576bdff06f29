#include "kernels/cpu/norm.h"

#include <math.h>
#include <stddef.h>

int norm_patches(int h, int w)
{
    return ((h + PATCH_H - 1) / PATCH_H) * ((w + PATCH_W - 1) / PATCH_W);
}

static void merge(Moments *a, const Moments *b)
{
    const double count = a->count + b->count, delta = b->mean - a->mean;
    a->mean += delta * (b->count / count);
    a->m2 += b->m2 + delta * delta * (a->count * (b->count / count));
    a->count = count;
}

/* The half of a patch at `at`, `height` x `width` pixels, behind what *out has so far; first: that is nothing. */
static void add_half(const CpuKernels *k, const float *at, int64_t row_stride, int c_stride, int height, int width, int c,
                     int groups, bool first, Moments *out, float *scratch)
{
    float *sum = scratch, *mean = scratch + c, *m2 = scratch + 2 * c;
    const float count = (float)(height * width);
    const int size = c / groups;
    k->patch_sum(at, row_stride, c_stride, height, width, c, sum);
    for (int i = 0; i < c; i++) mean[i] = sum[i] / count;
    k->patch_m2(at, row_stride, c_stride, height, width, c, mean, m2);
    for (int g = 0; g < groups; g++) {
        Moments half = {count, mean[g * size], m2[g * size]};
        for (int i = g * size + 1; i < (g + 1) * size; i++) merge(&half, &(Moments){count, mean[i], m2[i]});
        if (first) out[g] = half;
        else merge(&out[g], &half);
    }
}

void norm_patch(const CpuKernels *k, const float *x, int64_t row_stride, int c_stride, int h, int w, int c, int groups,
                int patch, Moments *out, float *scratch)
{
    const int across = (w + PATCH_W - 1) / PATCH_W;
    const int top = patch / across * PATCH_H, left = patch % across * PATCH_W;
    const int ph = h - top < PATCH_H ? h - top : PATCH_H, pw = w - left < PATCH_W ? w - left : PATCH_W;
    const float *at = x + top * row_stride + (int64_t)left * c_stride;
    for (int y = 0; y < ph; y += PATCH_HALF) {
        const int height = ph - y < PATCH_HALF ? ph - y : PATCH_HALF;
        add_half(k, at + y * row_stride, row_stride, c_stride, height, pw, c, groups, y == 0, out, scratch);
    }
}

void norm_merge(const Moments *patches, int patch_count, int groups, float *stats)
{
    for (int g = 0; g < groups; g++) {
        Moments all = patches[g];
        for (int p = 1; p < patch_count; p++) merge(&all, &patches[(ptrdiff_t)p * groups + g]);
        stats[2 * g] = (float)all.mean;
        stats[2 * g + 1] = (float)(all.m2 / all.count);
    }
}

void norm_group_affine(const float *stats, int groups, int c, float eps, const float *gamma, const float *beta,
                       float *scale, float *shift)
{
    const int size = c / groups;
    for (int i = 0; i < c; i++) {
        const float *s = stats + 2 * (i / size);
        scale[i] = (gamma == NULL ? 1.0f : gamma[i]) / sqrtf(s[1] + eps);
        shift[i] = (beta == NULL ? 0.0f : beta[i]) - s[0] * scale[i];
    }
}

void norm_rms_row(const CpuKernels *k, float *y, const float *x, int c, float eps, const float *scale, const float *shift)
{
    const float factor = 1.0f / sqrtf(k->sum_squares(x, c) / (float)c + eps);
    k->axpby(y, factor, x, 0.0f, NULL, c);
    k->affine(y, c, y, c, 1, c, scale, shift, ROW_NONE);
}

void norm_layer_row(const CpuKernels *k, float *y, const float *x, int c, float eps, const float *scale, const float *shift)
{
    float lane[GEMM_LANES] = {0}, sum = 0.0f;
    for (int i = 0; i < c; i++) lane[i % GEMM_LANES] += x[i];
    for (int i = 0; i < GEMM_LANES; i++) sum += lane[i];
    k->axpby(y, 1.0f, x, -sum / (float)c, NULL, c);
    k->row_scale(y, c, 1.0f / sqrtf(k->sum_squares(y, c) / (float)c + eps));
    k->affine(y, c, y, c, 1, c, scale, shift, ROW_NONE);
}

void norm_l2_row(const CpuKernels *k, float *y, const float *x, int c, const float *scale, const float *shift)
{
    const float length = sqrtf(k->sum_squares(x, c));
    k->axpby(y, sqrtf((float)c) / (length > 1e-12f ? length : 1e-12f), x, 0.0f, NULL, c);
    k->affine(y, c, y, c, 1, c, scale, shift, ROW_NONE);
}
