/*
 * Colours of pictures on the CUDA device: kernels/cuda/color.cu and rank.cu. The two methods with bins of hue are the host's.
 */
#include "kernels/cpu/color.h"
#include "runtime/cuda/dev.h"

#include <stdlib.h>
#include <string.h>

enum { THREADS = 128, RANK_THREADS = 256, DIGITS = 256, DIGIT_BITS = 8, LEVELS = 5 };

static unsigned blocks_of(uint64_t items, unsigned size) { return (unsigned)((items + size - 1) / size); }

/* A thread for each sample of `planes` planes. */
static CudaGrid samples_grid(Tensor x, int planes)
{
    return (CudaGrid){blocks_of((uint64_t)x.c, THREADS), (unsigned)x.h, (unsigned)planes, THREADS, 0};
}

/* ----------------------------------------------------------------------------------------------------------- wavelet */

static CudaWavelet wavelet_of(const Dev *d, const ColorArgs *c)
{
    return (CudaWavelet){.content = cuda_at(d, c->content),
                         .style = cuda_at(d, c->style),
                         .to = cuda_at(d, c->content),
                         .plane = (uint32_t)c->content.stride_t,
                         .row = (uint32_t)c->content.stride_h,
                         .w = c->content.c,
                         .h = c->content.h,
                         .strength = c->strength};
}

static void wavelet(Dev *d, const ColorArgs *c)
{
    CudaWavelet a = wavelet_of(d, c);
    const uint64_t bytes = (uint64_t)c->content.t * (uint64_t)c->content.stride_t * sizeof(float);
    CudaScratch low[2] = {cuda_scratch(d, bytes), cuda_scratch(d, bytes)};
    const int shorter = a.h < a.w ? a.h : a.w, widest = shorter / 8 > 1 ? shorter / 8 : 1;
    for (int level = 0; level < LEVELS; level++) {
        const int reach = 1 << level;
        a.reach = !c->uncapped && reach > widest ? widest : reach;
        a.last = level == LEVELS - 1;
        a.to = a.last ? cuda_at(d, c->content) : low[level % 2].address;
        cuda_launch(d, "color", "color_wavelet", "", samples_grid(c->content, c->content.t), &a);
        a.from = a.to;
    }
    cuda_scratch_free(d, &low[1]);
    cuda_scratch_free(d, &low[0]);
}

static void mix(Dev *d, const ColorArgs *c)
{
    const CudaWavelet a = wavelet_of(d, c);
    cuda_launch(d, "color", "color_mix", "", samples_grid(c->content, c->content.t), &a);
}

/* ------------------------------------------------------------------------------------------------------------- adain */

static void adain(Dev *d, const ColorArgs *c)
{
    const Tensor x = c->content;
    const uint64_t planes = (uint64_t)x.t, count = (uint64_t)x.h * (uint64_t)x.c, divisor = c->population ? count : count - 1;
    if (divisor == 0) return; /* one pixel has no deviation */
    CudaScratch rows = cuda_scratch(d, 2 * planes * (uint64_t)x.h * sizeof(double));
    CudaScratch means = cuda_scratch(d, 2 * planes * sizeof(double)), moments = cuda_scratch(d, 2 * planes * 2 * sizeof(float));
    CudaAdain a = {.content = cuda_at(d, x),
                   .style = cuda_at(d, c->style),
                   .rows = rows.address,
                   .means = means.address,
                   .moments = moments.address,
                   .plane = (uint32_t)x.stride_t,
                   .row = (uint32_t)x.stride_h,
                   .w = x.c,
                   .h = x.h,
                   .clamped = c->population};
    const CudaGrid rows_grid = {blocks_of((uint64_t)x.h, THREADS / 32), (unsigned)planes, 2, THREADS, 0};
    for (a.squares = 0; a.squares < 2; a.squares++) {
        a.divisor = (double)(a.squares ? divisor : count);
        cuda_launch(d, "color", "adain_rows", "", rows_grid, &a);
        cuda_launch(d, "color", "adain_moments", "", (CudaGrid){2 * (unsigned)planes, 1, 1, 32, 0}, &a);
    }
    cuda_launch(d, "color", "adain_apply", "", samples_grid(x, x.t), &a);
    cuda_scratch_free(d, &moments);
    cuda_scratch_free(d, &means);
    cuda_scratch_free(d, &rows);
}

/* --------------------------------------------------------------------------------------------------------------- lab */

/* Memory of sorts of n keys: keys and places on their way from one to another, counts. */
typedef struct Sorter {
    CudaScratch keys[2], where[2], counts, totals;
    uint32_t n;
} Sorter;

static Sorter sorter(Dev *d, uint32_t n)
{
    Sorter s = {.n = n, .totals = cuda_scratch(d, DIGITS * sizeof n)};
    for (int i = 0; i < 2; i++) {
        s.keys[i] = cuda_scratch(d, (uint64_t)n * sizeof n);
        s.where[i] = cuda_scratch(d, (uint64_t)n * sizeof n);
    }
    s.counts = cuda_scratch(d, (uint64_t)DIGITS * blocks_of(n, CUDA_RANK_TILE) * sizeof n);
    return s;
}

static void sorter_free(Dev *d, Sorter *s)
{
    cuda_scratch_free(d, &s->counts);
    for (int i = 2; i-- > 0;) {
        cuda_scratch_free(d, &s->where[i]);
        cuda_scratch_free(d, &s->keys[i]);
    }
    cuda_scratch_free(d, &s->totals);
}

/* Sorts floats at `values`. Four passes: keys end in the second of `keys`, their places in s->where[1] if `places`. */
static void sort(Dev *d, const Sorter *s, CUdeviceptr values, const CUdeviceptr keys[2], bool places)
{
    CudaRank a = {.values = values,
                  .counts = s->counts.address,
                  .totals = s->totals.address,
                  .n = s->n,
                  .tiles = blocks_of(s->n, CUDA_RANK_TILE)};
    const CudaGrid tiles = {a.tiles, 1, 1, RANK_THREADS, 0};
    for (int pass = 0; pass < 32 / DIGIT_BITS; pass++) {
        a.shift = (uint32_t)(pass * DIGIT_BITS);
        a.to_keys = keys[pass % 2];
        a.to_where = places ? s->where[pass % 2].address : 0;
        cuda_launch(d, "rank", "rank_count", "", tiles, &a);
        cuda_launch(d, "rank", "rank_places", "", (CudaGrid){DIGITS, 1, 1, RANK_THREADS, 0}, &a);
        cuda_launch(d, "rank", "rank_starts", "", (CudaGrid){1, 1, 1, RANK_THREADS, 0}, &a);
        cuda_launch(d, "rank", "rank_scatter", "", tiles, &a);
        a.values = 0;
        a.keys = a.to_keys;
        a.where = a.to_where;
    }
}

/* Values are matched with those of the reference by rank; the reference's memory is used up. */
static void rank_match(Dev *d, const Sorter *s, CUdeviceptr values, CUdeviceptr reference, float keep)
{
    sort(d, s, reference, (CUdeviceptr[]){s->keys[0].address, reference}, false);
    sort(d, s, values, (CUdeviceptr[]){s->keys[0].address, s->keys[1].address}, true);
    const CudaRankMatch a = {.values = values, .where = s->where[1].address, .keys = reference, .n = s->n, .keep = keep,
                             .share = 1.0f - keep};
    cuda_launch(d, "rank", "rank_match", "", (CudaGrid){blocks_of(s->n, RANK_THREADS), 1, 1, RANK_THREADS, 0}, &a);
}

static void lab(Dev *d, const ColorArgs *c)
{
    const Tensor x = c->content;
    const uint64_t all = (uint64_t)(x.t / 3) * (uint64_t)x.h * (uint64_t)x.c, array = all * sizeof(float);
    const CudaGrid grid = samples_grid(x, x.t / 3);
    wavelet(d, c);
    CudaScratch content = cuda_scratch(d, 3 * array), style = cuda_scratch(d, 3 * array);
    CudaLab a = {.planes = cuda_at(d, c->style), .lab = style.address, .all = all, .plane = (uint32_t)x.stride_t,
                 .row = (uint32_t)x.stride_h, .w = (uint32_t)x.c};
    cuda_launch(d, "color", "color_to_lab", "", grid, &a);
    a.planes = cuda_at(d, x);
    a.lab = content.address;
    cuda_launch(d, "color", "color_to_lab", "", grid, &a);
    Sorter s = sorter(d, (uint32_t)all);
    for (uint64_t i = 0; i < 3; i++)
        rank_match(d, &s, content.address + i * array, style.address + i * array, i == 0 ? 0.8f : 0.0f);
    sorter_free(d, &s);
    cuda_launch(d, "color", "color_from_lab", "", grid, &a);
    cuda_scratch_free(d, &style);
    cuda_scratch_free(d, &content);
}

/* ---------------------------------------------------------------------------------------------------------- the host */

static size_t row_floats(Tensor x) { return (size_t)x.t * (size_t)x.h * (size_t)x.c; }

static bool planes_to_host(Dev *d, Tensor x, float *values)
{
    const float *from = dev_read(d, x);
    for (int i = 0; from != NULL && i < x.t * x.h; i++)
        memcpy(values + (size_t)i * (size_t)x.c, from + (size_t)i * (size_t)x.c_pad, (size_t)x.c * sizeof *values);
    dev_read_end(d, from);
    return from != NULL;
}

static void planes_from_host(Dev *d, Tensor x, const float *values)
{
    float *to = dev_write(d, x);
    if (to == NULL) return;
    memset(to, 0, (size_t)x.t * (size_t)x.h * (size_t)x.c_pad * sizeof *to);
    for (int i = 0; i < x.t * x.h; i++)
        memcpy(to + (size_t)i * (size_t)x.c_pad, values + (size_t)i * (size_t)x.c, (size_t)x.c * sizeof *values);
    dev_write_end(d, x, to);
}

static void on_host(Dev *d, const ColorArgs *c)
{
    if (cuda_planning(d)) return;
    const int frames = c->content.t / 3, h = c->content.h, w = c->content.c;
    float *content = malloc(row_floats(c->content) * sizeof *content), *style = malloc(row_floats(c->content) * sizeof *style);
    void *scratch = malloc(color_scratch(c->method, frames, h, w) + 1);
    if (content == NULL || style == NULL || scratch == NULL) {
        dev_fail(d, "out of memory for the colours of pictures of %dx%d", w, h);
    } else if (planes_to_host(d, c->content, content) && planes_to_host(d, c->style, style)) {
        color_correct(c->method, content, style, frames, h, w, content, scratch);
        planes_from_host(d, c->content, content);
    }
    free(scratch);
    free(style);
    free(content);
}

void cuda_color(Dev *d, const ColorArgs *c)
{
    const Tensor x = c->content, y = c->style;
    if (x.type != ELEMENT_F32 || y.type != ELEMENT_F32 || x.stride_t != y.stride_t || x.stride_h != y.stride_h) {
        dev_fail(d, "internal error: colours are those of pictures of floats, all of one size");
        return;
    }
    switch (c->method) {
    case COLOR_NONE:
        break;
    case COLOR_LAB:
        lab(d, c);
        break;
    case COLOR_WAVELET:
        wavelet(d, c);
        break;
    case COLOR_ADAIN:
        adain(d, c);
        break;
    case COLOR_HSV:
    case COLOR_WAVELET_ADAPTIVE:
        on_host(d, c);
        break;
    }
    if (c->strength != 1) mix(d, c);
}
