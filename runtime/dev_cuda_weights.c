/*
 * Weights on the device: stored bytes go up as they are, some megabytes at a time, become floats there and then what
 * products want of them. What was made stays until the device is closed, found again by its tensors and form.
 *
 * Memory for them lies outside the arena, in slabs. A plan takes and counts the same slabs, without having them.
 */
#include "loader/weights.h"
#include "runtime/dev_cuda.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLAB_BYTES = 32 << 20,
    ALIGNMENT = 256,
    PIECE = 4 << 20,      /* elements on their way at a time, at least one row: 16 MiB of floats */
    HOST_PIECE = 1 << 16, /* elements that the host expands at a time */
    WORDS = 1024,         /* weights that are made between two looks at what became of them */
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

typedef struct Entry {
    Key key; /* tensor NULL: empty */
    CudaWeight weight;
} Entry;

struct CudaWeights {
    Slab *slabs;
    size_t slab_count, slab_room;
    Entry *table; /* open addressing */
    size_t count, size;
    CUdeviceptr words;         /* WORDS of them: each becomes 1 when a weight's value is not finite */
    const char *names[WORDS];  /* of the weights whose words have not been looked at since */
    size_t word_count;
    bool have_words;
};

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static uint64_t round_up(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

static struct CudaWeights *weights_of(Dev *d)
{
    struct CudaWeights **w = cuda_weights_of(d);
    if (*w == NULL) *w = calloc(1, sizeof **w);
    if (*w == NULL) dev_fail(d, "out of memory");
    return *w;
}

/* ------------------------------------------------------------------------------------------------------------ slabs */

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

/* Memory for good; false after a failure. *at stays 0 on a plan. */
static bool take(Dev *d, uint64_t bytes, CUdeviceptr *at)
{
    struct CudaWeights *w = weights_of(d);
    *at = 0;
    bytes = round_up(bytes, ALIGNMENT);
    Slab *slab = w == NULL || d->failed ? NULL : slab_for(d, w, bytes);
    if (slab == NULL) return false;
    if (!cuda_planning(d)) *at = slab->address + slab->used;
    slab->used += bytes;
    return true;
}

/* ------------------------------------------------------------------------------------------------------------ words */

/* A word of its own for `w`, zero; address 0 after a failure and on a plan. */
static CUdeviceptr word_for(Dev *d, const BoundWeight *w)
{
    struct CudaWeights *all = weights_of(d);
    if (all == NULL) return 0;
    if (all->word_count == WORDS) cuda_wait(d); /* which looks at them */
    if (d->failed) return 0;
    if (!all->have_words) {
        if (!take(d, WORDS * sizeof(uint32_t), &all->words)) return 0;
        cuda_fill(d, all->words, 0, WORDS * sizeof(uint32_t));
        all->have_words = true;
    }
    all->names[all->word_count] = w->tensor->name;
    return cuda_planning(d) ? 0 : all->words + sizeof(uint32_t) * all->word_count++;
}

void cuda_weights_check(Dev *d)
{
    struct CudaWeights *w = *cuda_weights_of(d);
    if (w == NULL || w->word_count == 0) return;
    const size_t count = w->word_count;
    uint32_t bad[WORDS] = {0};
    w->word_count = 0; /* all words are zero again, or the device has failed */
    cuda_copy_out(d, bad, w->words, count * sizeof *bad);
    cuda_wait(d); /* comes back here and finds nothing to do */
    for (size_t i = 0; i < count; i++) {
        if (bad[i]) dev_fail(d, "weight '%s' holds a value that is not finite; the file is damaged", w->names[i]);
    }
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

/* Scratch that `count` elements need before they are floats, whatever the first. */
static uint64_t stored_bytes(const BoundWeight *w, int64_t count)
{
    if (on_host(w)) return (uint64_t)count * sizeof(float);
    const int64_t block = weight_type_block(w->tensor->type);
    const uint64_t blocks = (uint64_t)((count + block - 1) / block + 1);
    const uint64_t scales = w->scale == NULL ? 0 : (uint64_t)(count / scale_row(w) + 2);
    return round_up(blocks * (uint64_t)weight_type_bytes(w->tensor->type), 16) + scales * sizeof(float);
}

static void dequant(Dev *d, const char *type, const CudaDequant *a)
{
    char function[32] = "dequant_";
    for (size_t i = 0; type[i] && i + 9 < sizeof function; i++) function[8 + i] = (char)tolower((unsigned char)type[i]);
    const CudaGrid grid = {(a->count + DEQUANT_THREADS - 1) / DEQUANT_THREADS, 1, 1, DEQUANT_THREADS, 0};
    cuda_launch(d, "weights", function, "", grid, a);
}

static void expand_on_host(Dev *d, const BoundWeight *w, int64_t first, CudaDequant *a)
{
    float *values = malloc(HOST_PIECE * sizeof *values);
    if (values == NULL) {
        dev_fail(d, "out of memory");
        return;
    }
    for (int64_t i = 0; i < a->count; i += HOST_PIECE) {
        const int64_t count = min64(HOST_PIECE, (int64_t)a->count - i);
        bound_read(w, first + i, count, values);
        cuda_copy_in(d, a->from + (uint64_t)i * sizeof *values, values, (uint64_t)count * sizeof *values);
    }
    free(values);
    dequant(d, "f32", a);
}

/* The scales of the rows that elements first .. first + count - 1 lie in, to `at`. */
static void scales_in(Dev *d, const BoundWeight *w, int64_t first, CUdeviceptr at, CudaDequant *a)
{
    const int64_t row = scale_row(w), first_row = first / row, rows = (first + a->count - 1) / row - first_row + 1;
    float *scales = malloc((size_t)rows * sizeof *scales);
    if (scales == NULL) {
        dev_fail(d, "out of memory");
        return;
    }
    weight_read(w->scale, first_row, rows, scales);
    cuda_copy_in(d, at, scales, (uint64_t)rows * sizeof *scales);
    free(scales);
    a->scale = at;
    a->row_offset = (uint32_t)(first % row);
    a->row_elements = (uint32_t)row;
}

/* Elements of w as floats at `to`, by way of scratch at `stored`. */
static void expand(Dev *d, const BoundWeight *w, int64_t first, int64_t count, CUdeviceptr stored, CUdeviceptr to,
                   CUdeviceptr word)
{
    if (cuda_planning(d) || d->failed) return;
    CudaDequant a = {.from = stored, .to = to, .bad = word, .count = (uint32_t)count};
    if (on_host(w)) {
        expand_on_host(d, w, first, &a);
        return;
    }
    const WeightTensor *t = w->tensor;
    const int64_t block = weight_type_block(t->type), first_block = first / block;
    const uint64_t unit = (uint64_t)weight_type_bytes(t->type);
    const uint64_t bytes = (uint64_t)((first + count - 1) / block - first_block + 1) * unit;
    cuda_copy_in(d, stored, t->data + (uint64_t)first_block * unit, bytes);
    a.skip = (uint32_t)(first % block);
    if (w->scale != NULL) scales_in(d, w, first, stored + round_up(bytes, 16), &a);
    dequant(d, weight_type_name(t->type), &a);
}

void cuda_weight_floats(Dev *d, const BoundWeight *w, int64_t first, int64_t count, CUdeviceptr to)
{
    const CUdeviceptr word = word_for(d, w);
    CudaScratch stored = cuda_scratch(d, stored_bytes(w, min64(count, PIECE)));
    for (int64_t i = 0; i < count; i += PIECE) {
        expand(d, w, first + i, min64(PIECE, count - i), stored.address, to + (uint64_t)i * sizeof(float), word);
    }
    cuda_scratch_free(d, &stored);
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
                  .depth = w->depth, .blocks = w->blocks, .row_step = f->ci * stored, .channel_step = stored,
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
static void pack_matrix(Dev *d, const CudaWeightForm *f, const BoundWeight *w, int glu, const CudaWeight *to)
{
    const int64_t row = (int64_t)f->ci * f->kt * f->khw, rows = w->count / row;
    const int64_t most = min64(rows, PIECE / row > 0 ? PIECE / row : 1);
    const CUdeviceptr word = word_for(d, w);
    CudaScratch stored = cuda_scratch(d, stored_bytes(w, most * row));
    CudaScratch floats = cuda_scratch(d, (uint64_t)(most * row) * sizeof(float));
    CudaPack p = pack_of(f, to);
    p.glu = glu;
    p.from = floats.address;
    if (f->frames_in_channels) p.from += (uint64_t)((f->kt - 1) * f->ci * f->khw) * sizeof(float); /* the oldest is last */
    for (int64_t first = 0; first < rows; first += most) {
        p.first_row = (int32_t)first;
        p.rows = (int32_t)min64(most, rows - first);
        expand(d, w, first * row, p.rows * row, stored.address, floats.address, word);
        cuda_pack(d, &p, f->type);
    }
    cuda_scratch_free(d, &floats);
    cuda_scratch_free(d, &stored);
}

static bool weight_make(Dev *d, const CudaWeightForm *f, CudaWeight *w)
{
    const int64_t row = (int64_t)f->ci * f->kt * f->khw, rows = f->weight->count / row;
    if (rows * row != f->weight->count || (f->glu != NULL && f->glu->count != f->weight->count)) {
        dev_fail(d, "internal error: weight '%s' has not the form it is wanted in", f->weight->tensor->name);
        return false;
    }
    const int frames = f->time == CUDA_TIME_ALL ? f->kt : f->time == CUDA_TIME_PAIR ? f->kt - 1 : 1;
    *w = (CudaWeight){.taps = frames * f->khw, .depth = element_pad(f->type, f->ci)};
    w->n = (int)(f->glu != NULL ? (rows + 7) / 8 * 16 : (rows + 15) / 16 * 16);
    w->blocks = (w->depth + CUDA_BLOCK - 1) / CUDA_BLOCK;
    const uint64_t rows_taps = (uint64_t)w->n * (uint64_t)w->taps;
    const uint64_t data = round_up(rows_taps * (uint64_t)w->depth * (uint64_t)element_bytes(f->type), ALIGNMENT);
    const uint64_t scales = f->type == ELEMENT_I8 ? rows_taps * (uint64_t)w->blocks : f->type > ELEMENT_I8 ? (uint64_t)w->n : 0;
    const uint64_t scale = scales * sizeof(float);
    if (!take(d, data + scale, &w->data)) return false;
    if (scale > 0 && !cuda_planning(d)) w->scale = w->data + data;
    cuda_fill(d, w->data, 0, data + scale); /* rows that only pad */
    pack_matrix(d, f, f->weight, f->glu != NULL ? 1 : 0, w);
    if (f->glu != NULL) pack_matrix(d, f, f->glu, 2, w);
    return !d->failed;
}

static bool vector_make(Dev *d, const BoundWeight *v, CudaWeight *w)
{
    const uint64_t bytes = round_up((uint64_t)v->count, 16) * sizeof(float);
    *w = (CudaWeight){.n = (int)v->count};
    if (!take(d, bytes, &w->data)) return false;
    cuda_fill(d, w->data, 0, bytes);
    cuda_weight_floats(d, v, 0, v->count, w->data);
    return !d->failed;
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

/* What is kept under the key, made now if it was never asked for. form NULL: a vector. */
static bool weight_of(Dev *d, const Key *key, const CudaWeightForm *form, const BoundWeight *vector, CudaWeight *out)
{
    struct CudaWeights *w = weights_of(d);
    *out = (CudaWeight){0};
    if (w == NULL || d->failed || !table_grow(d, w)) return false;
    Entry *e = slot_of(w, key);
    if (e->key.tensor == NULL) {
        if (form != NULL ? !weight_make(d, form, out) : !vector_make(d, vector, out)) return false;
        *e = (Entry){*key, *out};
        w->count++;
    }
    *out = e->weight;
    return true;
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
    free((*w)->slabs);
    free((*w)->table);
    free(*w);
    *w = NULL;
}
