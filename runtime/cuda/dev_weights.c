/*
 * Weights on the device: stored bytes go up as they are, some megabytes at a time, become floats there and then what
 * products want of them. What was made is found again by its tensors and form, as long as no other weight needed its place.
 *
 * Memory for them lies beside the arena: as much as a plan found, taken when the device is opened, within which runtime/cuda/weight_room.h
 * gives places; or, without a plan, slabs as they are needed. A plan counts the same bytes, without having them.
 *
 * Small weights are made by the main stream, in order with what reads them. Others are made ready aside (runtime/cuda/side.h),
 * ahead of the operation that asks for them: the host comes to it long before the device does. What takes over a place waits
 * for the last operation that read it there, and for no later one, so that a weight goes up while the operation before its
 * own is at work.
 */
#include "loader/weights.h"
#include "runtime/cuda/dev.h"
#include "runtime/cuda/weight_room.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLAB_BYTES = 32 << 20,
    PACK_WARPS = 4,       /* kernels/cuda/weights.cu */
    DEQUANT_THREADS = 256,
};

typedef struct Slab {
    CUdeviceptr address;
    uint64_t size, used;
} Slab;

/* What tells one use of a weight from another. No gaps: compared and hashed as bytes. */
typedef struct Key {
    const WeightTensor *tensor, *scale, *glu, *glu_scale;
    int32_t type, ci, taps, flags;
} Key;

/* What a weight is called in its file; NULL: in none. */
typedef struct Named {
    const WeightFile *file;
    const char *tensor;
} Named;

typedef struct Entry {
    Key key; /* tensor NULL: empty */
    CudaWeight weight;
    size_t span; /* in the room */
    bool made;   /* at least once */
} Entry;

struct CudaWeights {
    WeightRoom room;
    CUdeviceptr memory; /* of the room; 0: slabs */
    Slab *slabs;
    size_t slab_count, slab_room;
    Entry *table; /* open addressing */
    size_t count, size;
    /* Memory beside the weights: words; places for small stored weights and their floats; one for floats of others, those that
     * uploads land in. */
    CUdeviceptr beside;
    uint64_t unread;           /* the operation that what is made aside next has to wait for, as side.h has it */
    bool aside;
    uint64_t upload;           /* bytes of floats and of a landing place; on a plan without bounds: as many as were needed */
    Named named[WEIGHT_WORDS]; /* the weights whose words have not been looked at since. Word 0 is of those made again */
    size_t word_count;
    uint64_t round; /* of words, each looked at in its end */
};

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static uint64_t round_up(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

/* ------------------------------------------------------------------------------------------------------------ memory */

static CUdeviceptr words_of(const struct CudaWeights *w) { return w->beside; }
static CUdeviceptr small_of(const struct CudaWeights *w) { return w->beside + WEIGHT_WORDS * sizeof(uint32_t); }
static CUdeviceptr large_of(const struct CudaWeights *w) { return small_of(w) + (uint64_t)2 * WEIGHT_SMALL; }
static CUdeviceptr floats_of(const struct CudaWeights *w) { return w->aside ? large_of(w) : small_of(w) + WEIGHT_SMALL; }

/* What lies beside the weights, `upload` bytes a buffer, at w->beside. */
static void lay_out(Dev *d, struct CudaWeights *w, uint64_t upload)
{
    w->upload = upload;
    w->word_count = 1;
    w->named[0] = (Named){NULL, "one that was read before"};
    if (!w->aside) w->unread = SIDE_AFTER_ALL; /* the words' zeros among it */
    cuda_fill(d, words_of(w), 0, WEIGHT_WORDS * sizeof(uint32_t));
    cuda_upload_places(d, large_of(w) + upload, upload);
}

uint64_t cuda_weights_planned(const DevSetup *s)
{
    const uint64_t all = weight_need_all(&s->weights);
    return s->weight_limit > 0 && s->weight_limit < all ? s->weight_limit : all;
}

/* Of so many bytes those for weights themselves. */
static uint64_t room_of(const DevSetup *s, uint64_t bytes)
{
    return (bytes - weight_need_fixed(&s->weights)) / WEIGHT_ALIGN * WEIGHT_ALIGN;
}

/* In the memory a plan asked for, or as much of it as is to be had. */
static void take_planned(Dev *d, struct CudaWeights *w, const DevSetup *s)
{
    const uint64_t fixed = weight_need_fixed(&s->weights), bytes = cuda_weights_planned(s);
    if (bytes <= fixed) {
        dev_fail(d, "%llu bytes for weights do not suffice, %llu are needed at least", (unsigned long long)bytes,
                 (unsigned long long)weight_need_least(&s->weights));
        return;
    }
    weight_room_init(&w->room, room_of(s, bytes), &s->weights);
    w->memory = w->beside = cuda_weight_memory(d);
    d->totals.device_weight_bytes = bytes;
    lay_out(d, w, round_up(s->weights.upload, WEIGHT_ALIGN));
}

static struct CudaWeights *weights_of(Dev *d)
{
    struct CudaWeights **w = cuda_weights_of(d);
    if (*w != NULL) return *w;
    *w = calloc(1, sizeof **w);
    if (*w == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    (*w)->unread = SIDE_AFTER_NOTHING;
    weight_room_init(&(*w)->room, UINT64_MAX, &(WeightNeed){0});
    if (cuda_setup_of(d)->weights.all > 0) take_planned(d, *w, cuda_setup_of(d));
    return *w;
}

void cuda_weights_start(Dev *d)
{
    if (cuda_setup_of(d)->weights.all > 0) weights_of(d);
}

void cuda_weight_group(Dev *d, int group)
{
    struct CudaWeights *w = d->failed ? NULL : weights_of(d);
    if (w != NULL) weight_room_group(&w->room, group);
}

void cuda_weights_resize(Dev *d, uint64_t bytes)
{
    struct CudaWeights *w = weights_of(d);
    if (w == NULL || w->memory == 0) return;
    weight_room_resize(&w->room, room_of(cuda_setup_of(d), bytes));
    w->unread = SIDE_AFTER_ALL; /* what comes to be weights' memory was the arena's: its work may not be done yet */
}

/* A slab with room for so many bytes; NULL after a failure. */
static Slab *slab_for(Dev *d, struct CudaWeights *w, uint64_t bytes)
{
    for (size_t i = 0; i < w->slab_count; i++) {
        if (w->slabs[i].size - w->slabs[i].used >= bytes) return &w->slabs[i];
    }
    if (w->slab_count == w->slab_room) {
        const size_t room = w->slab_room ? 2 * w->slab_room : 64;
        Slab *larger = realloc(w->slabs, room * sizeof *larger);
        if (larger == NULL) {
            dev_fail(d, "out of memory");
            return NULL;
        }
        w->slabs = larger;
        w->slab_room = room;
    }
    Slab *slab = &w->slabs[w->slab_count];
    *slab = (Slab){.size = bytes < SLAB_BYTES ? SLAB_BYTES : round_up(bytes, 2 << 20)};
    slab->address = cuda_memory_take(d, slab->size);
    if (d->failed) return NULL;
    w->slab_count++;
    d->totals.device_weight_bytes += slab->size;
    return slab;
}

/* The address of weight n, which its room has given a place. */
static CUdeviceptr address_of(Dev *d, struct CudaWeights *w, size_t n)
{
    const WeightSpan *span = &w->room.spans[n];
    if (cuda_planning(d)) return 0;
    if (w->memory != 0) return w->memory + weight_need_fixed(&cuda_setup_of(d)->weights) + span->at;
    Slab *slab = slab_for(d, w, span->bytes);
    if (slab == NULL) return 0;
    slab->used += span->bytes;
    return slab->address + slab->used - span->bytes;
}

/* Buffers of that size for what is on its way; false after a failure. */
static bool have_upload(Dev *d, struct CudaWeights *w, uint64_t bytes)
{
    const uint64_t before = w->upload, fixed = weight_need_fixed(&(WeightNeed){.upload = before});
    if (bytes <= w->upload) return true;
    if (cuda_setup_of(d)->weights.all > 0) {
        dev_fail(d, "internal error: weights come in pieces of %llu bytes, %llu were planned", (unsigned long long)bytes,
                 (unsigned long long)w->upload);
        return false;
    }
    if (cuda_planning(d)) {
        w->upload = round_up(bytes, WEIGHT_ALIGN);
        return true;
    }
    uint64_t upload = WEIGHT_SMALL;
    while (upload < bytes) upload *= 2;
    cuda_weights_wait(d);
    if (before > 0) d->totals.device_weight_bytes -= fixed;
    cuda_memory_give(d, w->beside);
    const uint64_t needed = weight_need_fixed(&(WeightNeed){.upload = upload});
    w->upload = 0;
    w->beside = cuda_memory_take(d, needed);
    if (d->failed) return false;
    d->totals.device_weight_bytes += needed;
    lay_out(d, w, upload);
    return true;
}

void cuda_weights_totals(const Dev *d, DevTotals *t)
{
    const struct CudaWeights *w = d->cuda != NULL ? *cuda_weights_of((Dev *)d) : NULL;
    if (w == NULL) return;
    t->weights = w->room.need;
    t->weights.upload = w->upload;
    if (cuda_planning(d) && w->room.bytes == UINT64_MAX) t->device_weight_bytes = weight_need_all(&t->weights);
}

/* ------------------------------------------------------------------------------------------------------------- words */

/* A word of its own for `b`, zero; address 0 after a failure and on a plan. again: it was found good before. */
static CUdeviceptr word_for(Dev *d, const BoundWeight *b, bool again)
{
    struct CudaWeights *w = weights_of(d);
    if (w == NULL || cuda_planning(d)) return 0;
    if (!again && w->word_count == WEIGHT_WORDS) cuda_weights_wait(d);
    if (d->failed) return 0;
    if (again) return words_of(w);
    w->named[w->word_count] = (Named){b->file, b->tensor->name};
    return words_of(w) + sizeof(uint32_t) * w->word_count++;
}

static bool are_good(Dev *d, const struct CudaWeights *w, const uint32_t *bad, size_t count)
{
    size_t i = 0;
    while (i < count && !bad[i]) i++;
    if (i < count) dev_damaged_weight(d, w->named[i].file, w->named[i].tensor);
    return i == count;
}

void cuda_weights_wait(Dev *d)
{
    cuda_wait(d);
    struct CudaWeights *w = d->failed || cuda_planning(d) ? NULL : *cuda_weights_of(d);
    if (w == NULL || w->word_count <= 1) return;
    const size_t count = w->word_count;
    uint32_t bad[WEIGHT_WORDS] = {0};
    w->word_count = 1; /* all words are zero again, or the device has failed */
    w->round++;
    cuda_copy_out(d, bad, words_of(w), count * sizeof *bad);
    cuda_wait(d);
    are_good(d, w, bad, count);
}

CudaWords cuda_weights_words(const Dev *d)
{
    const struct CudaWeights *w = *cuda_weights_of(d);
    return w == NULL || w->word_count <= 1 ? (CudaWords){0} : (CudaWords){words_of(w), w->word_count, w->round};
}

bool cuda_weights_good(Dev *d, const CudaWords *asked, const void *words)
{
    struct CudaWeights *w = *cuda_weights_of(d);
    if (asked->count == 0 || w->round != asked->round) return true; /* looked at since */
    uint32_t bad[WEIGHT_WORDS];
    memcpy(bad, words, asked->count * sizeof *bad);
    if (!are_good(d, w, bad, asked->count)) return false;
    if (w->word_count == asked->count) { /* else there are more by now */
        w->word_count = 1;
        w->round++;
    }
    return true;
}

/* -------------------------------------------------------------------------------------------------------- to floats */

/* Views and rows of more than 32 bits can count are expanded by the host. */
static bool on_host(const BoundWeight *w)
{
    return w->tensor->strided || (w->scale != NULL && w->count / w->scale->count > UINT32_MAX);
}

/* Rows that have a scale of their own: what bound_read does. */
static int64_t scale_row(const BoundWeight *w)
{
    return w->scale->count == 1 ? UINT32_MAX : w->count / w->scale->count;
}

/* Some elements on their way: stored blocks or, expanded by the host, floats; behind them the scales of their rows. */
typedef struct Stored {
    const BoundWeight *weight;
    int64_t first, count; /* elements */
    int64_t first_block, first_row, rows;
    uint64_t bytes, scales_at, all; /* without the scales; where they begin; with them */
    bool on_host;
} Stored;

static Stored stored_of(const BoundWeight *w, int64_t first, int64_t count)
{
    Stored s = {.weight = w, .first = first, .count = count, .on_host = on_host(w)};
    if (s.on_host) {
        s.bytes = s.scales_at = s.all = (uint64_t)count * sizeof(float);
        return s;
    }
    const int64_t block = weight_type_block(w->tensor->type);
    s.first_block = first / block;
    s.bytes = (uint64_t)((first + count - 1) / block - s.first_block + 1) * (uint64_t)weight_type_bytes(w->tensor->type);
    s.scales_at = round_up(s.bytes, 16);
    if (w->scale != NULL) {
        s.first_row = first / scale_row(w);
        s.rows = (first + count - 1) / scale_row(w) - s.first_row + 1;
    }
    s.all = s.scales_at + (uint64_t)s.rows * sizeof(float);
    return s;
}

/* Bytes first .. first + bytes - 1 of it, for a thread of many. */
static void fill_stored(const void *context, uint64_t first, uint64_t bytes, uint8_t *to)
{
    const Stored *s = context;
    const uint64_t end = first + bytes, data_end = end < s->bytes ? end : s->bytes;
    if (s->on_host) {
        bound_read(s->weight, s->first + (int64_t)(first / sizeof(float)), (int64_t)(bytes / sizeof(float)), (float *)(void *)to);
        return;
    }
    if (first < data_end) {
        const WeightTensor *t = s->weight->tensor;
        const uint64_t unit = (uint64_t)weight_type_bytes(t->type);
        memcpy(to, t->data + (uint64_t)s->first_block * unit + first, data_end - first);
    }
    if (end <= s->scales_at) return;
    const uint64_t begin = first > s->scales_at ? first : s->scales_at;
    weight_read(s->weight->scale, s->first_row + (int64_t)((begin - s->scales_at) / sizeof(float)),
                (int64_t)((end - begin) / sizeof(float)), (float *)(void *)(to + (begin - first)));
}

/* Is it recorded with the work around it? */
static bool is_small(const BoundWeight *b, int64_t count)
{
    return (uint64_t)count * sizeof(float) <= WEIGHT_SMALL && stored_of(b, 0, count).all <= WEIGHT_SMALL - 512;
}

/* Brings it to the device; its address. */
static CUdeviceptr bring(Dev *d, const struct CudaWeights *w, const Stored *s)
{
    if (w->aside) return cuda_upload(d, s->all, fill_stored, s);
    void *bytes = calloc(1, s->all);
    if (bytes == NULL) {
        dev_fail(d, "out of memory");
        return 0;
    }
    fill_stored(s, 0, s->all, bytes);
    cuda_copy_in(d, small_of(w), bytes, s->all);
    free(bytes);
    return small_of(w);
}

/* Elements of b as floats at `to`. */
static void expand(Dev *d, const BoundWeight *b, int64_t first, int64_t count, CUdeviceptr to, CUdeviceptr word)
{
    struct CudaWeights *w = weights_of(d);
    if (w == NULL || d->failed || cuda_planning(d)) return;
    const Stored s = stored_of(b, first, count);
    CudaDequant a = {.to = to, .bad = word, .count = (uint32_t)count};
    a.from = bring(d, w, &s);
    if (s.rows > 0) {
        a.scale = a.from + s.scales_at;
        a.row_offset = (uint32_t)(first % scale_row(b));
        a.row_elements = (uint32_t)scale_row(b);
    }
    if (!s.on_host) a.skip = (uint32_t)(first % weight_type_block(b->tensor->type));
    char function[32] = "dequant_";
    const char *type = s.on_host ? "f32" : weight_type_name(b->tensor->type);
    for (size_t i = 0; type[i] && i + 9 < sizeof function; i++) function[8 + i] = (char)tolower((unsigned char)type[i]);
    const CudaGrid grid = {(a.count + DEQUANT_THREADS - 1) / DEQUANT_THREADS, 1, 1, DEQUANT_THREADS, 0};
    cuda_launch(d, "weights", function, "", grid, &a);
}

static void aside_begin(Dev *d, uint64_t after)
{
    struct CudaWeights *w = weights_of(d);
    if (w == NULL) return;
    cuda_aside_begin(d, after);
    w->aside = true;
    w->unread = SIDE_AFTER_NOTHING;
}

static void aside_end(Dev *d)
{
    struct CudaWeights *w = weights_of(d);
    cuda_aside_end(d);
    if (w != NULL) w->aside = false;
}

/* Rows of `row` elements that go up together, out of `rows`, and the buffers for them. 0 after a failure. */
static int64_t rows_together(Dev *d, const BoundWeight *b, int64_t row, int64_t rows)
{
    struct CudaWeights *w = weights_of(d);
    if (w == NULL || d->failed) return 0;
    const int64_t fit = WEIGHT_PIECE / (int64_t)sizeof(float) / row;
    const int64_t most = min64(rows, fit > 0 ? fit : 1);
    const uint64_t floats = (uint64_t)(most * row) * sizeof(float);
    uint64_t stored = stored_of(b, 0, most * row).all + 32; /* a later piece begins within a block and a row */
    if (b->scale != NULL) stored += sizeof(float);
    if (!on_host(b)) stored += (uint64_t)weight_type_bytes(b->tensor->type);
    return have_upload(d, w, floats > stored ? floats : stored) ? most : 0;
}

static void weight_floats(Dev *d, const BoundWeight *b, int64_t first, int64_t count, CUdeviceptr to, bool again)
{
    const int64_t piece = rows_together(d, b, 1, count);
    const CUdeviceptr word = word_for(d, b, again);
    for (int64_t i = 0; i < count && piece > 0; i += piece) {
        expand(d, b, first + i, min64(piece, count - i), to + (uint64_t)i * sizeof(float), word);
    }
}

void cuda_weight_floats(Dev *d, const BoundWeight *w, int64_t first, int64_t count, CUdeviceptr to)
{
    const bool aside = !is_small(w, count);
    if (aside) aside_begin(d, SIDE_AFTER_ALL); /* `to` is memory of the operation at hand */
    weight_floats(d, w, first, count, to, false);
    if (aside) aside_end(d);
}

/* ------------------------------------------------------------------------------------------------------ to operands */

void cuda_pack(Dev *d, const CudaPack *p, Element type)
{
    static const char *const functions[] = {"pack_f32", "pack_bf16", "pack_i8", "pack_e4m3", "pack_e4m3"};
    if (type > ELEMENT_I8) {
        CudaPack rows = *p;
        rows.pair = type == ELEMENT_E4M3_PAIR;
        cuda_launch(d, "weights", functions[type], "", (CudaGrid){(unsigned)p->rows, 1, 1, 32 * PACK_WARPS, 0}, &rows);
        return;
    }
    const uint64_t warps = (uint64_t)p->rows * (uint64_t)p->taps * (uint64_t)p->blocks;
    const CudaGrid grid = {(unsigned)((warps + PACK_WARPS - 1) / PACK_WARPS), 1, 1, 32 * PACK_WARPS, 0};
    cuda_launch(d, "weights", functions[type], "", grid, p);
}

/* How rows of the form's weight lie as floats; from, rows and first_row are left open. */
static CudaPack pack_of(const CudaWeightForm *f, const CudaWeight *w)
{
    const int stored = f->kt * f->khw;
    CudaPack p = {.to = w->data, .scale = w->scale, .ci = f->ci, .taps = w->taps, .frame_taps = f->khw,
                  .depth = w->depth, .blocks = w->blocks, .columns = w->n, .row_step = f->ci * stored, .channel_step = stored,
                  .frame_step = f->khw, .tap_step = 1};
    p.merged = f->time == CUDA_TIME_ALL ? 0 : f->time == CUDA_TIME_PAIR ? 1 : f->kt - 1;
    if (f->channels_last) {
        p.channel_step = 1;
        p.tap_step = f->ci;
    } else if (f->frames_in_channels) {
        p.channel_step = f->khw;
        p.frame_step = -f->ci * f->khw;
    }
    return p;
}

/* Rows of one matrix of the form, piece by piece. glu: as CudaPack.glu. */
static void pack_matrix(Dev *d, const CudaWeightForm *f, const BoundWeight *b, int glu, const CudaWeight *to, bool again)
{
    const int64_t row = (int64_t)f->ci * f->kt * f->khw, rows = b->count / row, most = rows_together(d, b, row, rows);
    const CUdeviceptr word = word_for(d, b, again);
    if (most == 0) return;
    CudaPack p = pack_of(f, to);
    p.glu = glu;
    p.from = floats_of(weights_of(d));
    for (int64_t first = 0; first < rows; first += most) {
        p.first_row = (int32_t)first;
        p.rows = (int32_t)min64(most, rows - first);
        expand(d, b, first * row, p.rows * row, p.from, word);
        CudaPack k = p;
        if (f->frames_in_channels) k.from += (uint64_t)((f->kt - 1) * f->ci * f->khw) * sizeof(float); /* the oldest is last */
        cuda_pack(d, &k, f->type);
    }
}

/* What a form is on the device, but for where; its bytes, 0 after a failure. */
static uint64_t weight_shape(Dev *d, const CudaWeightForm *f, CudaWeight *w)
{
    const int64_t row = (int64_t)f->ci * f->kt * f->khw, rows = f->weight->count / row;
    if (rows * row != f->weight->count || (f->glu != NULL && f->glu->count != f->weight->count)) {
        dev_fail(d, "internal error: weight '%s' has not the form it is wanted in", f->weight->tensor->name);
        return 0;
    }
    const int frames = f->time == CUDA_TIME_ALL ? f->kt : f->time == CUDA_TIME_PAIR ? f->kt - 1 : 1;
    *w = (CudaWeight){.taps = frames * f->khw, .depth = element_pad(f->type, f->ci)};
    w->n = (int)(f->glu != NULL ? (rows + 7) / 8 * 16 : (rows + 15) / 16 * 16);
    w->blocks = (w->depth + CUDA_BLOCK - 1) / CUDA_BLOCK;
    const uint64_t rows_taps = (uint64_t)w->n * (uint64_t)w->taps;
    const uint64_t scales = f->type == ELEMENT_I8 ? rows_taps * (uint64_t)w->blocks : f->type > ELEMENT_I8 ? (uint64_t)w->n : 0;
    const uint64_t scale = scales * sizeof(float);
    w->scale = round_up(rows_taps * (uint64_t)w->depth * (uint64_t)element_bytes(f->type), WEIGHT_ALIGN); /* from data, yet */
    return w->scale + scale;
}

static void weight_make(Dev *d, const CudaWeightForm *f, uint64_t bytes, const CudaWeight *w, bool again)
{
    cuda_fill(d, w->data, 0, bytes); /* rows that only pad */
    pack_matrix(d, f, f->weight, f->glu != NULL ? 1 : 0, w, again);
    if (f->glu != NULL) pack_matrix(d, f, f->glu, 2, w, again);
}

static uint64_t vector_bytes(const BoundWeight *v) { return round_up((uint64_t)v->count, 16) * sizeof(float); }

static void vector_make(Dev *d, const BoundWeight *v, CUdeviceptr to, bool again)
{
    cuda_fill(d, to, 0, vector_bytes(v));
    weight_floats(d, v, 0, v->count, to, again);
}

/* ------------------------------------------------------------------------------------------------------------ table */

static Entry *slot_of(const struct CudaWeights *w, const Key *key)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    const uint8_t *bytes = (const uint8_t *)key;
    for (size_t i = 0; i < sizeof *key; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
    size_t i = (size_t)hash & (w->size - 1);
    while (w->table[i].key.tensor != NULL && memcmp(&w->table[i].key, key, sizeof *key) != 0) {
        i = (i + 1) & (w->size - 1);
    }
    return &w->table[i];
}

static bool table_grow(Dev *d, struct CudaWeights *w)
{
    if (2 * (w->count + 1) <= w->size) return true;
    struct CudaWeights larger = {.size = w->size ? 2 * w->size : 1024};
    larger.table = calloc(larger.size, sizeof *larger.table);
    if (larger.table == NULL) {
        dev_fail(d, "out of memory");
        return false;
    }
    for (size_t i = 0; i < w->size; i++) {
        if (w->table[i].key.tensor != NULL) *slot_of(&larger, &w->table[i].key) = w->table[i];
    }
    free(w->table);
    w->table = larger.table;
    w->size = larger.size;
    return true;
}

/* Where the entry's weight goes, now that it is wanted; *load: it is not there. False after a failure. */
static bool find_place(Dev *d, struct CudaWeights *w, Entry *e, bool *load)
{
    if (!weight_room_use(&w->room, e->span, d->totals.operations, load)) {
        dev_fail(d, "the weights of one operation do not fit into %llu bytes beside one another; give more --memory",
                 (unsigned long long)w->room.bytes);
        return false;
    }
    if (weight_room_is_streamed(&w->room, e->span) && !cuda_planning(d)) cuda_streamed_weight(d);
    if (!*load) return true;
    const uint64_t overwritten = w->room.overwritten;
    if (overwritten != WEIGHT_UNREAD && (w->unread == SIDE_AFTER_NOTHING || overwritten > w->unread)) w->unread = overwritten;
    const CUdeviceptr at = address_of(d, w, e->span);
    e->weight.scale = e->weight.scale == 0 || at == 0 ? 0 : at + (e->weight.scale - e->weight.data);
    e->weight.data = at;
    return !d->failed;
}

/* What is kept under the key, made now if it is not there. form NULL: a vector. */
static bool weight_of(Dev *d, const Key *key, const CudaWeightForm *form, const BoundWeight *vector, CudaWeight *out)
{
    struct CudaWeights *w = weights_of(d);
    *out = (CudaWeight){0};
    if (w == NULL || d->failed || !table_grow(d, w)) return false;
    Entry *e = slot_of(w, key);
    if (e->key.tensor == NULL) {
        CudaWeight shape = {.n = form != NULL ? 0 : (int)vector->count};
        const uint64_t bytes = form != NULL ? weight_shape(d, form, &shape) : vector_bytes(vector);
        const size_t span = d->failed ? SIZE_MAX : weight_room_add(&w->room, bytes);
        if (span == SIZE_MAX) {
            dev_fail(d, "out of memory");
            return false;
        }
        if (form == NULL || form->type < ELEMENT_I8) shape.scale = 0;
        *e = (Entry){.key = *key, .weight = shape, .span = span};
        w->count++;
    }
    bool load;
    if (!find_place(d, w, e, &load)) return false;
    if (load) {
        const bool aside = form == NULL ? !is_small(vector, vector->count)
                                        : !is_small(form->weight, form->weight->count) ||
                                              (form->glu != NULL && !is_small(form->glu, form->glu->count));
        if (aside) aside_begin(d, w->unread);
        if (form != NULL) weight_make(d, form, w->room.spans[e->span].bytes, &e->weight, e->made);
        else vector_make(d, vector, e->weight.data, e->made);
        if (aside) aside_end(d);
        e->made = true;
    }
    *out = e->weight;
    return !d->failed;
}

bool cuda_weight(Dev *d, const CudaWeightForm *f, CudaWeight *out)
{
    Key key = {.tensor = f->weight->tensor, .scale = f->weight->scale, .type = (int32_t)f->type + 1, .ci = f->ci};
    if (f->glu != NULL) {
        key.glu = f->glu->tensor;
        key.glu_scale = f->glu->scale;
    }
    key.taps = f->kt << 16 | f->khw;
    key.flags = (int)f->time << 2 | (f->frames_in_channels ? 2 : 0) | (f->channels_last ? 1 : 0);
    return weight_of(d, &key, f, NULL, out);
}

CUdeviceptr cuda_vector(Dev *d, const BoundWeight *v)
{
    if (v == NULL) return 0;
    CudaWeight w;
    const Key key = {.tensor = v->tensor, .scale = v->scale};
    weight_of(d, &key, NULL, v, &w);
    return w.data;
}

void cuda_weights_close(Dev *d)
{
    struct CudaWeights **w = cuda_weights_of(d);
    if (*w == NULL) return;
    for (size_t i = 0; i < (*w)->slab_count; i++) cuda_memory_give(d, (*w)->slabs[i].address);
    if ((*w)->memory == 0) cuda_memory_give(d, (*w)->beside);
    weight_room_close(&(*w)->room);
    free((*w)->slabs);
    free((*w)->table);
    free(*w);
    *w = NULL;
}
