/*
 * Colours of pictures on the CUDA device: kernels/cuda/color.cu, hsv.cu and rank.cu.
 */
#include "kernels/cpu/color.h"
#include "runtime/cuda/dev.h"

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

/* low: two pictures, the first of which may also be `to`. */
static void wavelet_to(Dev *d, const ColorArgs *c, bool uncapped, const CudaScratch low[2], CUdeviceptr to)
{
    CudaWavelet a = wavelet_of(d, c);
    const int shorter = a.h < a.w ? a.h : a.w, widest = shorter / 8 > 1 ? shorter / 8 : 1;
    for (int level = 0; level < LEVELS; level++) {
        const int reach = 1 << level;
        a.reach = !uncapped && reach > widest ? widest : reach;
        a.last = level == LEVELS - 1;
        a.to = a.last ? to : low[level % 2].address;
        cuda_launch(d, "color", "color_wavelet", "", samples_grid(c->content, c->content.t), &a);
        a.from = a.to;
    }
}

static CudaScratch picture_scratch(Dev *d, Tensor x)
{
    return cuda_scratch(d, (uint64_t)x.t * (uint64_t)x.stride_t * sizeof(float));
}

static void wavelet(Dev *d, const ColorArgs *c)
{
    CudaScratch low[2] = {picture_scratch(d, c->content), picture_scratch(d, c->content)};
    wavelet_to(d, c, c->uncapped, low, cuda_at(d, c->content));
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

/* ------------------------------------------------------------------------------------------------------------- ranks */

/* Memory of sorts of n keys: keys on their way from one to another, counts. Their places are the caller's. */
typedef struct Sorter {
    CudaScratch keys[2], counts, totals;
    uint32_t n;
} Sorter;

static Sorter sorter(Dev *d, uint32_t n)
{
    Sorter s = {.n = n, .totals = cuda_scratch(d, DIGITS * sizeof n)};
    for (int i = 0; i < 2; i++) s.keys[i] = cuda_scratch(d, (uint64_t)n * sizeof n);
    s.counts = cuda_scratch(d, (uint64_t)DIGITS * blocks_of(n, CUDA_RANK_TILE) * sizeof n);
    return s;
}

static void sorter_free(Dev *d, Sorter *s)
{
    cuda_scratch_free(d, &s->counts);
    for (int i = 2; i-- > 0;) cuda_scratch_free(d, &s->keys[i]);
    cuda_scratch_free(d, &s->totals);
}

static CudaRank rank_of(const Sorter *s, CUdeviceptr totals)
{
    return (CudaRank){.counts = s->counts.address, .totals = totals, .n = s->n, .tiles = blocks_of(s->n, CUDA_RANK_TILE)};
}

/* By the digit at a->shift; a->totals become the places where digits begin. */
static void sort_pass(Dev *d, const CudaRank *a)
{
    const CudaGrid tiles = {a->tiles, 1, 1, RANK_THREADS, 0};
    cuda_launch(d, "rank", "rank_count", "", tiles, a);
    cuda_launch(d, "rank", "rank_places", "", (CudaGrid){DIGITS, 1, 1, RANK_THREADS, 0}, a);
    cuda_launch(d, "rank", "rank_starts", "", (CudaGrid){1, 1, 1, RANK_THREADS, 0}, a);
    cuda_launch(d, "rank", "rank_scatter", "", tiles, a);
}

/* Sorts floats at `values`. Four passes: keys end in the second of `keys`, their places in where[1] unless `where` is NULL. */
static void sort(Dev *d, const Sorter *s, CUdeviceptr values, const CUdeviceptr keys[2], const CudaScratch *where)
{
    CudaRank a = rank_of(s, s->totals.address);
    a.values = values;
    for (int pass = 0; pass < 32 / DIGIT_BITS; pass++) {
        a.shift = (uint32_t)(pass * DIGIT_BITS);
        a.to_keys = keys[pass % 2];
        a.to_where = where != NULL ? where[pass % 2].address : 0;
        sort_pass(d, &a);
        a.values = 0;
        a.keys = a.to_keys;
        a.where = a.to_where;
    }
}

/* --------------------------------------------------------------------------------------------------------------- lab */

/* Values are matched with those of the reference by rank; the reference's memory is used up. */
static void rank_match(Dev *d, const Sorter *s, const CudaScratch where[2], CUdeviceptr values, CUdeviceptr reference,
                       float keep)
{
    sort(d, s, reference, (CUdeviceptr[]){s->keys[0].address, reference}, NULL);
    sort(d, s, values, (CUdeviceptr[]){s->keys[0].address, s->keys[1].address}, where);
    const CudaRankMatch a = {.values = values, .where = where[1].address, .keys = reference, .n = s->n, .keep = keep,
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
    CudaScratch where[2] = {cuda_scratch(d, array), cuda_scratch(d, array)};
    Sorter s = sorter(d, (uint32_t)all);
    for (uint64_t i = 0; i < 3; i++)
        rank_match(d, &s, where, content.address + i * array, style.address + i * array, i == 0 ? 0.8f : 0.0f);
    sorter_free(d, &s);
    for (int i = 2; i-- > 0;) cuda_scratch_free(d, &where[i]);
    cuda_launch(d, "color", "color_from_lab", "", grid, &a);
    cuda_scratch_free(d, &style);
    cuda_scratch_free(d, &content);
}

/* --------------------------------------------------------------------------------------------------------------- hsv */

/* Of a picture: its pixels' saturations and bins of hue, their places in order, and where bins begin in it. */
typedef struct Hues {
    CudaScratch saturations, bins, starts, where[2];
} Hues;

static Hues hues(Dev *d, uint32_t n)
{
    Hues h = {.saturations = cuda_scratch(d, (uint64_t)n * sizeof(float)), .bins = cuda_scratch(d, n)};
    h.starts = cuda_scratch(d, DIGITS * sizeof n);
    for (int i = 0; i < 2; i++) h.where[i] = cuda_scratch(d, (uint64_t)n * sizeof n);
    return h;
}

static void hues_free(Dev *d, Hues *h)
{
    for (int i = 2; i-- > 0;) cuda_scratch_free(d, &h->where[i]);
    cuda_scratch_free(d, &h->starts);
    cuda_scratch_free(d, &h->bins);
    cuda_scratch_free(d, &h->saturations);
}

static CudaHsv hsv_of(const Dev *d, Tensor x, const Hues *h)
{
    return (CudaHsv){.planes = cuda_at(d, x), .saturations = h->saturations.address, .bins = h->bins.address,
                     .plane = (uint32_t)x.stride_t, .row = (uint32_t)x.stride_h, .w = (uint32_t)x.c};
}

static CudaGrid rows_grid_of(uint32_t n) { return (CudaGrid){blocks_of(n, RANK_THREADS), 1, 1, RANK_THREADS, 0}; }

/* Pixels by saturation; places in h->where[1]. */
static void hues_sort(Dev *d, const Sorter *s, Tensor x, const Hues *h)
{
    const CudaHsv a = hsv_of(d, x, h);
    cuda_launch(d, "hsv", "hsv_split", "", samples_grid(x, x.t / 3), &a);
    sort(d, s, h->saturations.address, (CUdeviceptr[]){s->keys[0].address, s->keys[1].address}, h->where);
}

/* And by bins: the first, or the others, before what is in none. Places in h->where[0], bins in the second of s->keys. */
static void hues_group(Dev *d, const Sorter *s, const Hues *h, bool first)
{
    const CudaHueKeys k = {.bins = h->bins.address, .where = h->where[1].address, .keys = s->keys[0].address, .n = s->n,
                           .first = first};
    cuda_launch(d, "hsv", "hsv_keys", "", rows_grid_of(s->n), &k);
    CudaRank a = rank_of(s, h->starts.address);
    a.keys = k.keys;
    a.where = k.where;
    a.to_keys = s->keys[1].address;
    a.to_where = h->where[0].address;
    sort_pass(d, &a);
}

static void hsv(Dev *d, const ColorArgs *c, CUdeviceptr to)
{
    const Tensor x = c->content;
    const uint32_t n = (uint32_t)((uint64_t)(x.t / 3) * (uint64_t)x.h * (uint64_t)x.c);
    Hues own = hues(d, n), style = hues(d, n);
    Sorter s = sorter(d, n);
    hues_sort(d, &s, c->style, &style);
    hues_sort(d, &s, x, &own);
    for (int first = 1; first >= 0; first--) { /* where a pixel is in two bins, the last counts */
        hues_group(d, &s, &style, first);
        hues_group(d, &s, &own, first);
        const CudaHueMatch m = {.keys = s.keys[1].address,
                                .where = own.where[0].address,
                                .starts = own.starts.address,
                                .to = own.saturations.address,
                                .style_where = style.where[0].address,
                                .style_starts = style.starts.address,
                                .style = style.saturations.address,
                                .n = n};
        cuda_launch(d, "hsv", "hsv_match", "", rows_grid_of(n), &m);
    }
    sorter_free(d, &s);
    CudaHsv a = hsv_of(d, x, &own);
    a.to = to;
    cuda_launch(d, "hsv", "hsv_join", "", samples_grid(x, x.t / 3), &a);
    hues_free(d, &style);
    hues_free(d, &own);
}

static void wavelet_adaptive(Dev *d, const ColorArgs *c)
{
    const Tensor x = c->content;
    CudaScratch matched = picture_scratch(d, x);
    hsv(d, c, matched.address);
    CudaScratch low[2] = {picture_scratch(d, x), picture_scratch(d, x)};
    wavelet_to(d, c, false, low, low[0].address);
    const CudaAdaptive a = {.content = cuda_at(d, x), .style = cuda_at(d, c->style), .wavelet = low[0].address,
                            .hsv = matched.address, .plane = (uint32_t)x.stride_t, .row = (uint32_t)x.stride_h,
                            .w = (uint32_t)x.c};
    cuda_launch(d, "hsv", "hsv_mix", "", samples_grid(x, x.t / 3), &a);
    cuda_scratch_free(d, &low[1]);
    cuda_scratch_free(d, &low[0]);
    cuda_scratch_free(d, &matched);
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
        hsv(d, c, cuda_at(d, c->content));
        break;
    case COLOR_WAVELET_ADAPTIVE:
        wavelet_adaptive(d, c);
        break;
    }
    if (c->strength != 1) mix(d, c);
}
