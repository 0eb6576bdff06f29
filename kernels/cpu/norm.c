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

void norm_patch(const CpuKernels *k, const float *x, int64_t row_stride, int c_stride, int h, int w, int c, int groups,
                int patch, Moments *out, float *scratch)
{
    const int across = (w + PATCH_W - 1) / PATCH_W;
    const int top = patch / across * PATCH_H, left = patch % across * PATCH_W;
    const int ph = h - top < PATCH_H ? h - top : PATCH_H, pw = w - left < PATCH_W ? w - left : PATCH_W;
    const float *at = x + top * row_stride + (int64_t)left * c_stride;
    float *sum = scratch, *mean = scratch + c, *m2 = scratch + 2 * c;
    k->patch_sum(at, row_stride, c_stride, ph, pw, c, sum);
    const float count = (float)(ph * pw);
    for (int i = 0; i < c; i++) mean[i] = sum[i] / count;
    k->patch_m2(at, row_stride, c_stride, ph, pw, c, mean, m2);
    const int size = c / groups;
    for (int g = 0; g < groups; g++) {
        for (int i = 0; i < size; i++) {
            const int ch = g * size + i;
            const Moments m = {count, mean[ch], m2[ch]};
            if (i == 0) out[g] = m;
            else merge(&out[g], &m);
        }
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
