/*
 * Colours of pictures on the CUDA device: kernels/cuda/color.cu, hsv.cu and rank.cu.
 */
#include "kernels/cpu/color.h"
#include "runtime/cuda/dev.h"

enum { THREADS = 128, RANK_THREADS = 256, DIGITS = 256, DIGIT_BITS = 8, PASSES = 32 / DIGIT_BITS, LEVELS = 5 };

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
    CudaScratch rows = cuda_scratch(d, 2 * planes * (uint64_t)x.h * 2 * sizeof(double));
    CudaScratch moments = cuda_scratch(d, 2 * planes * 2 * sizeof(float));
    const CudaAdain a = {.content = cuda_at(d, x),
                         .style = cuda_at(d, c->style),
                         .rows = rows.address,
                         .moments = moments.address,
                         .plane = (uint32_t)x.stride_t,
                         .row = (uint32_t)x.stride_h,
                         .w = x.c,
                         .h = x.h,
                         .clamped = c->population,
                         .count = (double)count,
                         .divisor = (double)divisor};
    const CudaGrid rows_grid = {blocks_of((uint64_t)x.h, THREADS / 32), (unsigned)planes, 2, THREADS, 0};
    cuda_launch(d, "color", "adain_rows", "", rows_grid, &a);
    cuda_launch(d, "color", "adain_moments", "", (CudaGrid){2 * (unsigned)planes, 1, 1, 32, 0}, &a);
    cuda_launch(d, "color", "adain_apply", "", samples_grid(x, x.t), &a);
    cuda_scratch_free(d, &moments);
    cuda_scratch_free(d, &rows);
}

/* ------------------------------------------------------------------------------------------------------------- ranks */

/* Keys of arrays that are sorted together, at most: launches of more gain nothing, and their memory stays small. */
static const uint64_t most_keys = 1 << 24;

static bool sorted_together(const Dev *d, uint64_t n, unsigned arrays)
{
    const uint64_t tested = cuda_setup_of(d)->sort_keys;
    return n * arrays <= (tested > 0 ? tested : most_keys);
}

/* Memory of sorts of `arrays` arrays of n keys: keys on their way from one order to another, counts. */
typedef struct Sorter {
    CudaScratch keys, counts, totals;
    uint32_t n;
    unsigned arrays;
} Sorter;

static Sorter sorter(Dev *d, uint32_t n, unsigned arrays)
{
    Sorter s = {.n = n, .arrays = arrays};
    s.totals = cuda_scratch(d, (uint64_t)arrays * DIGITS * sizeof n);
    s.keys = cuda_scratch(d, (uint64_t)arrays * n * sizeof n);
    s.counts = cuda_scratch(d, (uint64_t)arrays * DIGITS * blocks_of(n, CUDA_RANK_TILE) * sizeof n);
    return s;
}

static void sorter_free(Dev *d, Sorter *s)
{
    cuda_scratch_free(d, &s->counts);
    cuda_scratch_free(d, &s->keys);
    cuda_scratch_free(d, &s->totals);
}

/* Of arrays without gaps between them. */
static CudaRank rank_of(const Sorter *s)
{
    return (CudaRank){.counts = s->counts.address, .totals = s->totals.address, .from_step = s->n, .to_step = s->n, .n = s->n,
                      .tiles = blocks_of(s->n, CUDA_RANK_TILE)};
}

static CudaGrid tiles_grid(const CudaRank *a, unsigned arrays) { return (CudaGrid){a->tiles, arrays, 1, RANK_THREADS, 0}; }

/* How often every digit at a->shift occurs, and where each tile's begin among them. */
static void count_digits(Dev *d, const CudaRank *a, unsigned arrays)
{
    cuda_launch(d, "rank", "rank_count", "", tiles_grid(a, arrays), a);
    cuda_launch(d, "rank", "rank_places", "", (CudaGrid){DIGITS, arrays, 1, RANK_THREADS, 0}, a);
}

static void sort_pass(Dev *d, const CudaRank *a, unsigned arrays)
{
    count_digits(d, a, arrays);
    cuda_launch(d, "rank", "rank_scatter", "", tiles_grid(a, arrays), a);
}

/* --------------------------------------------------------------------------------------------------------------- lab */

enum { CHANNELS = 3 };

/* The arrays of both pictures, the style's first: three of each. Of them those of some channels are sorted together. */
typedef struct Channels {
    CUdeviceptr values;
    CudaScratch where[2]; /* of the content */
    unsigned count;
} Channels;

/* A pass between values and s->keys, and back. */
static CudaRank channels_pass(const Sorter *s, const Channels *c, int pass)
{
    const uint64_t apart = (uint64_t)CHANNELS / c->count * s->n; /* the style's channels, then the content's */
    const bool back = pass % 2 != 0;
    CudaRank a = rank_of(s);
    a.from = back ? s->keys.address : c->values;
    a.to = back ? c->values : s->keys.address;
    if (back) a.to_step = apart;
    else a.from_step = apart;
    a.at_first = pass == 0;
    a.shift = (uint32_t)(pass * DIGIT_BITS);
    a.plain = c->count;
    a.where = c->where[(pass + 1) % 2].address;
    a.to_where = c->where[pass % 2].address;
    return a;
}

/* The content's values are matched with the style's by rank, and stand in their old places again; the style's are used up. */
static void match_channels(Dev *d, const Sorter *s, const Channels *c, float keep)
{
    for (int pass = 0; pass < PASSES - 1; pass++) {
        const CudaRank a = channels_pass(s, c, pass);
        sort_pass(d, &a, s->arrays);
    }
    CudaRank a = channels_pass(s, c, PASSES - 1);
    count_digits(d, &a, s->arrays);
    cuda_launch(d, "rank", "rank_scatter", "", tiles_grid(&a, c->count), &a);
    const uint64_t skipped = c->count; /* the style's arrays */
    a.reference = a.to;
    a.to += CHANNELS * (uint64_t)s->n * sizeof(float);
    a.from += skipped * s->n * sizeof(float);
    a.counts += skipped * DIGITS * a.tiles * sizeof(uint32_t);
    a.totals += skipped * DIGITS * sizeof(uint32_t);
    a.keep = keep;
    cuda_launch(d, "rank", "rank_match", "", tiles_grid(&a, c->count), &a);
}

static void lab(Dev *d, const ColorArgs *c)
{
    const Tensor x = c->content;
    const uint64_t all = (uint64_t)(x.t / 3) * (uint64_t)x.h * (uint64_t)x.c, array = all * sizeof(float);
    wavelet(d, c);
    CudaScratch values = cuda_scratch(d, 2 * CHANNELS * array);
    CudaLab a = {.planes = cuda_at(d, x), .style = cuda_at(d, c->style), .lab = values.address, .all = all,
                 .plane = (uint32_t)x.stride_t, .row = (uint32_t)x.stride_h, .w = (uint32_t)x.c};
    cuda_launch(d, "color", "color_to_lab", "", samples_grid(x, 2 * (x.t / 3)), &a);
    const unsigned together = sorted_together(d, all, 2 * CHANNELS) ? CHANNELS : 1;
    Channels some = {.where = {cuda_scratch(d, together * array), cuda_scratch(d, together * array)}, .count = together};
    Sorter s = sorter(d, (uint32_t)all, 2 * together);
    for (unsigned i = 0; i < CHANNELS; i += together) {
        some.values = values.address + i * array;
        match_channels(d, &s, &some, i == 0 ? 0.8f : 0.0f);
    }
    sorter_free(d, &s);
    for (int i = 2; i-- > 0;) cuda_scratch_free(d, &some.where[i]);
    a.lab = values.address + CHANNELS * array;
    cuda_launch(d, "color", "color_from_lab", "", samples_grid(x, x.t / 3), &a);
    cuda_scratch_free(d, &values);
}

/* --------------------------------------------------------------------------------------------------------------- hsv */

/* Of style and content: their pixels' saturations and bins of hue, their places in order, and where bins begin in it. */
typedef struct Hues {
    CudaScratch saturations, bins, starts, keys, where[2];
} Hues;

static Hues hues(Dev *d, const Sorter *s)
{
    const uint64_t array = (uint64_t)s->n * sizeof(float);
    Hues h = {.saturations = cuda_scratch(d, 2 * array), .bins = cuda_scratch(d, 2 * (uint64_t)s->n)};
    h.starts = cuda_scratch(d, 2 * DIGITS * sizeof(uint32_t));
    h.keys = cuda_scratch(d, s->arrays * array);
    for (int i = 0; i < 2; i++) h.where[i] = cuda_scratch(d, 2 * array);
    return h;
}

static void hues_free(Dev *d, Hues *h)
{
    for (int i = 2; i-- > 0;) cuda_scratch_free(d, &h->where[i]);
    cuda_scratch_free(d, &h->keys);
    cuda_scratch_free(d, &h->starts);
    cuda_scratch_free(d, &h->bins);
    cuda_scratch_free(d, &h->saturations);
}

static CudaHsv hsv_of(const Dev *d, const ColorArgs *c, const Hues *h)
{
    const Tensor x = c->content;
    return (CudaHsv){.planes = cuda_at(d, x), .style = cuda_at(d, c->style), .saturations = h->saturations.address,
                     .bins = h->bins.address, .plane = (uint32_t)x.stride_t, .row = (uint32_t)x.stride_h, .w = (uint32_t)x.c};
}

/* Pixels of pictures from `first` on by saturation: their places in h->where[1]. */
static void hues_sort(Dev *d, const Sorter *s, const Hues *h, unsigned first)
{
    const uint64_t skipped = (uint64_t)first * s->n * sizeof(float);
    CudaRank a = rank_of(s);
    a.from = h->saturations.address + skipped;
    a.at_first = true;
    for (int pass = 0; pass < PASSES; pass++) {
        a.shift = (uint32_t)(pass * DIGIT_BITS);
        a.to = pass % 2 ? h->keys.address : s->keys.address;
        a.places_only = pass == PASSES - 1;
        a.to_where = h->where[pass % 2].address + skipped;
        sort_pass(d, &a, s->arrays);
        a.at_first = false;
        a.from = a.to;
        a.where = a.to_where;
    }
}

/* And by bins: the first, or the others, before what is in none. Places in h->where[0], bins in h->keys. */
static void hues_group(Dev *d, const Sorter *s, const Hues *h, unsigned first, bool first_bin)
{
    const uint64_t skipped = (uint64_t)first * s->n, bytes = skipped * sizeof(float);
    const CudaHueKeys k = {.bins = h->bins.address + skipped, .where = h->where[1].address + bytes, .keys = s->keys.address,
                           .n = s->n, .first = first_bin};
    cuda_launch(d, "hsv", "hsv_keys", "", (CudaGrid){blocks_of(s->n, RANK_THREADS), s->arrays, 1, RANK_THREADS, 0}, &k);
    CudaRank a = rank_of(s);
    a.from = k.keys;
    a.where = k.where;
    a.to = h->keys.address;
    a.to_where = h->where[0].address + bytes;
    a.starts = h->starts.address + first * DIGITS * sizeof(uint32_t);
    sort_pass(d, &a, s->arrays);
}

static void hsv(Dev *d, const ColorArgs *c, CUdeviceptr to)
{
    const Tensor x = c->content;
    const uint32_t n = (uint32_t)((uint64_t)(x.t / 3) * (uint64_t)x.h * (uint64_t)x.c);
    const uint64_t array = (uint64_t)n * sizeof(float);
    Sorter s = sorter(d, n, sorted_together(d, n, 2) ? 2 : 1);
    Hues h = hues(d, &s);
    CudaHsv a = hsv_of(d, c, &h);
    cuda_launch(d, "hsv", "hsv_split", "", samples_grid(x, 2 * (x.t / 3)), &a);
    for (unsigned i = 0; i < 2; i += s.arrays) hues_sort(d, &s, &h, i);
    for (int first = 1; first >= 0; first--) { /* where a pixel is in two bins, the last counts */
        for (unsigned i = 0; i < 2; i += s.arrays) hues_group(d, &s, &h, i, first);
        const CudaHueMatch m = {.keys = h.keys.address + (s.arrays - 1) * array, /* the content's are the last */
                                .where = h.where[0].address + array,
                                .starts = h.starts.address + DIGITS * sizeof n,
                                .to = h.saturations.address + array,
                                .style_where = h.where[0].address,
                                .style_starts = h.starts.address,
                                .style = h.saturations.address,
                                .n = n};
        cuda_launch(d, "hsv", "hsv_match", "", (CudaGrid){blocks_of(n, RANK_THREADS), 1, 1, RANK_THREADS, 0}, &m);
    }
    a.saturations += array;
    a.to = to;
    cuda_launch(d, "hsv", "hsv_join", "", samples_grid(x, x.t / 3), &a);
    hues_free(d, &h);
    sorter_free(d, &s);
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
