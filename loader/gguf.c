/*
 * GGUF, versions 2 and 3 (ggml-org/ggml docs/gguf.md): counted pairs of metadata, counted tensor entries, aligned data.
 * More than four dimensions are restored from `<name>.raw_shape` or `comfy.gguf.orig_shape.<name>`.
 */
#include "loader/bytes.h"
#include "loader/contents.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PAIRS = 65536, MAX_KEY = 65535, MAX_ALIGNMENT = 1 << 20, SHOWN_ELEMENTS = 64 };
enum { LEAST_TENSOR = 25, LEAST_PAIR = 14 }; /* bytes of the smallest entries, for the test of the counts */

enum { V_U8, V_I8, V_U16, V_I16, V_U32, V_I32, V_F32, V_BOOL, V_STRING, V_ARRAY, V_U64, V_I64, V_F64, V_COUNT };
static const uint8_t value_size[V_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8}; /* string: of its length */

typedef struct Pair {
    const uint8_t *key, *value; /* value: after the type; of an array: its first element */
    uint64_t key_length, count; /* count: elements of an array, bytes of a string */
    uint32_t type, element;
} Pair;

typedef struct Gguf {
    Contents *c;
    uint64_t at;
    Pair *pairs;
    size_t pair_count;
    uint64_t *offsets; /* of the tensors, relative to the data */
    uint64_t alignment;
} Gguf;

/* n bytes of the header, or NULL. */
static const uint8_t *take(Gguf *g, uint64_t n, const char *what)
{
    if (n > g->c->size - g->at) {
        contents_fault(g->c, "GGUF header ends before the end of %s", what);
        return NULL;
    }
    const uint8_t *p = g->c->bytes + g->at;
    g->at += n;
    return p;
}

static bool take_u32(Gguf *g, uint32_t *v, const char *what)
{
    const uint8_t *p = take(g, 4, what);
    if (p) *v = load_u32(p);
    return p;
}

static bool take_u64(Gguf *g, uint64_t *v, const char *what)
{
    const uint8_t *p = take(g, 8, what);
    if (p) *v = load_u64(p);
    return p;
}

static const uint8_t *take_string(Gguf *g, uint64_t *length, const char *what)
{
    if (!take_u64(g, length, what)) return NULL;
    if (*length > g->c->size - g->at) {
        contents_fault(g->c, "GGUF string of %" PRIu64 " bytes is larger than the rest of the file", *length);
        return NULL;
    }
    return take(g, *length, what);
}

static bool read_array(Gguf *g, Pair *pair)
{
    if (!take_u32(g, &pair->element, "an array type") || !take_u64(g, &pair->count, "an array length")) return false;
    if (pair->element >= V_COUNT || pair->element == V_ARRAY) {
        return contents_fault(g->c, "GGUF metadata key '%s' has unknown value type %" PRIu32,
                              show_bytes(pair->key, pair->key_length).text, pair->element);
    }
    uint64_t unit = value_size[pair->element];
    if (pair->count > (g->c->size - g->at) / unit) {
        return contents_fault(g->c,
                              "GGUF metadata array '%s' of %" PRIu64 " elements is larger than the rest of the file",
                              show_bytes(pair->key, pair->key_length).text, pair->count);
    }
    pair->value = g->c->bytes + g->at;
    if (pair->element == V_STRING) {
        for (uint64_t i = 0; i < pair->count; i++) {
            uint64_t length;
            if (!take_string(g, &length, "an array of strings")) return false;
        }
        return true;
    }
    take(g, pair->count * unit, "an array");
    for (uint64_t i = 0; pair->element == V_BOOL && i < pair->count; i++) {
        if (pair->value[i] > 1) {
            return contents_fault(g->c, "GGUF metadata key '%s' holds a boolean that is neither 0 nor 1",
                                  show_bytes(pair->key, pair->key_length).text);
        }
    }
    return true;
}

static bool read_pair(Gguf *g, Pair *pair)
{
    pair->key = take_string(g, &pair->key_length, "a metadata key");
    if (!pair->key) return false;
    bool ascii = pair->key_length > 0 && pair->key_length <= MAX_KEY;
    for (uint64_t i = 0; ascii && i < pair->key_length; i++) ascii = pair->key[i] > 0 && pair->key[i] < 0x80;
    ShownName shown = show_bytes(pair->key, pair->key_length);
    if (!ascii) {
        return contents_fault(g->c, "GGUF metadata key '%s' is empty, too long or not ASCII", shown.text);
    }
    if (!take_u32(g, &pair->type, "a value type")) return false;
    if (pair->type == V_ARRAY) return read_array(g, pair);
    if (pair->type == V_STRING) {
        pair->value = take_string(g, &pair->count, "a string value");
        return pair->value;
    }
    if (pair->type >= V_COUNT) {
        return contents_fault(g->c, "GGUF metadata key '%s' has unknown value type %" PRIu32, shown.text, pair->type);
    }
    pair->value = take(g, value_size[pair->type], "a value");
    if (!pair->value) return false;
    if (pair->type == V_BOOL && pair->value[0] > 1) {
        return contents_fault(g->c, "GGUF metadata key '%s' holds a boolean that is neither 0 nor 1", shown.text);
    }
    return true;
}

static int compare_keys(const uint8_t *a, uint64_t a_length, const uint8_t *b, uint64_t b_length)
{
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order ? order : a_length < b_length ? -1 : a_length > b_length;
}

static int pair_order(const void *a, const void *b)
{
    const Pair *x = a, *y = b;
    return compare_keys(x->key, x->key_length, y->key, y->key_length);
}

static const Pair *find_pair(const Gguf *g, const char *key, size_t length)
{
    Pair wanted = {.key = (const uint8_t *)key, .key_length = length};
    return g->pair_count ? bsearch(&wanted, g->pairs, g->pair_count, sizeof wanted, pair_order) : NULL;
}

/* A number of one of the plain value types as JSON. */
static void add_number(Buffer *b, uint32_t type, const uint8_t *p)
{
    double real = 0;
    switch (type) {
    case V_U8:
        buffer_printf(b, "%u", p[0]);
        return;
    case V_I8:
        buffer_printf(b, "%d", (int8_t)p[0]);
        return;
    case V_U16:
        buffer_printf(b, "%u", load_u16(p));
        return;
    case V_I16:
        buffer_printf(b, "%d", (int16_t)load_u16(p));
        return;
    case V_U32:
        buffer_printf(b, "%" PRIu32, load_u32(p));
        return;
    case V_I32:
        buffer_printf(b, "%" PRId32, (int32_t)load_u32(p));
        return;
    case V_U64:
        buffer_printf(b, "%" PRIu64, load_u64(p));
        return;
    case V_I64:
        buffer_printf(b, "%" PRId64, (int64_t)load_u64(p));
        return;
    case V_BOOL:
        buffer_printf(b, "%s", p[0] ? "true" : "false");
        return;
    case V_F32: {
        float f;
        memcpy(&f, p, 4);
        real = f;
        break;
    }
    default:
        memcpy(&real, p, 8);
        break;
    }
    /* JSON has no name for these, so they become strings. */
    if (real != real)
        buffer_printf(b, "\"nan\"");
    else if (real - real != 0)
        buffer_printf(b, real > 0 ? "\"inf\"" : "\"-inf\"");
    else
        buffer_printf(b, type == V_F32 ? "%.9g" : "%.17g", real);
}

static bool add_metadata(Gguf *g, const Pair *pair)
{
    Buffer json = {0};
    const char *string = NULL;
    if (pair->type == V_STRING) {
        buffer_json_string(&json, (const char *)pair->value, pair->count);
        string = contents_copy(g->c, pair->value, pair->count);
    } else if (pair->type == V_ARRAY) {
        const uint8_t *p = pair->value;
        buffer_printf(&json, "[");
        for (uint64_t i = 0; i < pair->count && i < SHOWN_ELEMENTS; i++) {
            if (i) buffer_printf(&json, ", ");
            if (pair->element == V_STRING) {
                uint64_t length = load_u64(p);
                buffer_json_string(&json, (const char *)p + 8, length);
                p += 8 + length;
            } else {
                add_number(&json, pair->element, p);
                p += value_size[pair->element];
            }
        }
        buffer_printf(&json, pair->count > SHOWN_ELEMENTS ? ", \"...\"]" : "]");
    } else {
        add_number(&json, pair->type, pair->value);
    }
    const char *key = contents_copy(g->c, pair->key, pair->key_length);
    const char *text = contents_take(g->c, &json);
    if (!key || !text || (pair->type == V_STRING && !string)) return contents_no_memory(g->c);
    return contents_add_metadata(g->c, key, text, string);
}

static bool read_pairs(Gguf *g, uint64_t count)
{
    g->pairs = calloc(count + 1, sizeof *g->pairs);
    if (!g->pairs) return contents_no_memory(g->c);
    for (; g->pair_count < count; g->pair_count++) {
        if (!read_pair(g, &g->pairs[g->pair_count])) return false;
    }
    for (size_t i = 0; i < g->pair_count; i++) {
        if (!add_metadata(g, &g->pairs[i])) return false;
    }
    if (count) qsort(g->pairs, count, sizeof *g->pairs, pair_order);
    for (uint64_t i = 1; i < count; i++) {
        if (pair_order(&g->pairs[i - 1], &g->pairs[i]) == 0) {
            return contents_fault(g->c, "GGUF metadata key '%s' occurs twice",
                                  show_bytes(g->pairs[i].key, g->pairs[i].key_length).text);
        }
    }
    g->alignment = 32;
    const Pair *alignment = find_pair(g, "general.alignment", 17);
    if (alignment && alignment->type != V_U32) {
        return contents_fault(g->c,
                              "GGUF alignment of value type %" PRIu32 " is not a power of two between 8 and 1048576",
                              alignment->type);
    }
    if (alignment) g->alignment = load_u32(alignment->value);
    if (g->alignment < 8 || g->alignment > MAX_ALIGNMENT || g->alignment & (g->alignment - 1)) {
        return contents_fault(g->c, "GGUF alignment %" PRIu64 " is not a power of two between 8 and 1048576",
                              g->alignment);
    }
    return true;
}

static bool find_type(uint32_t id, WeightType *type)
{
    static const struct {
        uint8_t id, type;
    } ids[] = {
        {0, WT_F32},   {1, WT_F16},   {30, WT_BF16}, {28, WT_F64},  {24, WT_I8},   {25, WT_I16},  {26, WT_I32},
        {27, WT_I64},  {2, WT_Q4_0},  {3, WT_Q4_1},  {6, WT_Q5_0},  {7, WT_Q5_1},  {8, WT_Q8_0},  {20, WT_IQ4_NL},
        {10, WT_Q2_K}, {11, WT_Q3_K}, {12, WT_Q4_K}, {13, WT_Q5_K}, {14, WT_Q6_K}, {15, WT_Q8_K}, {23, WT_IQ4_XS},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (ids[i].id == id) {
            *type = (WeightType)ids[i].type;
            return true;
        }
    }
    return false;
}

static bool too_large(Gguf *g, const WeightTensor *t)
{
    return contents_fault(g->c, "tensor '%s' has more elements or bytes than 64 bits can count",
                          show_name(t->name).text);
}

static bool read_tensor(Gguf *g, uint64_t *offset)
{
    uint64_t length;
    uint32_t rank, id;
    const uint8_t *name = take_string(g, &length, "a tensor name");
    WeightTensor *t = name ? contents_add_tensor(g->c, name, length) : NULL;
    if (!t || !take_u32(g, &rank, "a tensor's rank")) return false;
    ShownName shown = show_name(t->name);
    if (rank > WEIGHT_MAX_RANK) {
        return contents_fault(g->c, "tensor '%s' has %" PRIu32 " dimensions; at most 8 are supported", shown.text,
                              rank);
    }
    t->rank = (int)rank;
    const uint8_t *dims = take(g, 8 * (uint64_t)rank, "a tensor's dimensions");
    if (!dims) return false;
    for (uint32_t i = 0; i < rank; i++) { /* stored innermost first */
        uint64_t n = load_u64(dims + 8 * i);
        if (n == 0) return contents_fault(g->c, "tensor '%s' has a dimension of zero", shown.text);
        if (n > INT64_MAX) return too_large(g, t);
        t->shape[rank - 1 - i] = (int64_t)n;
    }
    if (!shape_product(t->shape, t->rank, 1, &t->count)) return too_large(g, t);
    if (!take_u32(g, &id, "a tensor's type") || !take_u64(g, offset, "a tensor's offset")) return false;
    if (!find_type(id, &t->type)) {
        return contents_fault(g->c, "tensor '%s' has unsupported GGML type %" PRIu32, shown.text, id);
    }
    int block = weight_type_block(t->type);
    int64_t row = rank ? t->shape[rank - 1] : 1, bytes;
    if (row % block) {
        return contents_fault(g->c, "tensor '%s' has rows of %" PRId64 " elements, not a multiple of its block of %d",
                              shown.text, row, block);
    }
    int64_t blocks = t->count / block;
    if (!shape_product(&blocks, 1, weight_type_bytes(t->type), &bytes)) return too_large(g, t);
    t->bytes = (uint64_t)bytes;
    if (*offset % g->alignment) {
        return contents_fault(g->c,
                              "tensor '%s' starts at offset %" PRIu64 ", not a multiple of the alignment %" PRIu64,
                              shown.text, *offset, g->alignment);
    }
    return true;
}

static bool place_tensors(Gguf *g)
{
    Contents *c = g->c;
    uint64_t padding = (g->alignment - g->at % g->alignment) % g->alignment;
    bool room = padding <= c->size - g->at; /* the padding itself may be cut off */
    uint64_t start = room ? g->at + padding : 0;
    for (size_t i = 0; i < c->tensor_count; i++) {
        WeightTensor *t = &c->tensors[i];
        uint64_t size = c->size - start, offset = g->offsets[i];
        if (!room || offset > size || t->bytes > size - offset) {
            return contents_fault(c, "tensor '%s' reaches past the end of the file", show_name(t->name).text);
        }
        t->data = c->bytes + start + offset;
    }
    const WeightTensor **order = contents_by_data(c);
    if (!order) return false;
    bool ok = true;
    for (size_t i = 1; i < c->tensor_count && ok; i++) {
        if (order[i - 1]->bytes > (uint64_t)(order[i]->data - order[i - 1]->data)) {
            ok = contents_fault(c, "tensors '%s' and '%s' overlap", show_name(order[i - 1]->name).text,
                                show_name(order[i]->name).text);
        }
    }
    free(order);
    return ok;
}

static int64_t integer_at(uint32_t type, const uint8_t *p)
{
    switch (type) {
    case V_U8:
        return p[0];
    case V_I8:
        return (int8_t)p[0];
    case V_U16:
        return load_u16(p);
    case V_I16:
        return (int16_t)load_u16(p);
    case V_U32:
        return load_u32(p);
    case V_I32:
        return (int32_t)load_u32(p);
    default:
        return (int64_t)load_u64(p); /* a u64 of 2^63 or more turns negative and is refused as such */
    }
}

static bool read_shape(Gguf *g, const Pair *pair, int *rank, int64_t *shape)
{
    bool integers =
        pair->type == V_ARRAY && (pair->element <= V_I32 || pair->element == V_U64 || pair->element == V_I64);
    bool ok = integers && pair->count >= 1 && pair->count <= WEIGHT_MAX_RANK;
    *rank = ok ? (int)pair->count : 0;
    for (int i = 0; i < *rank; i++) {
        shape[i] = integer_at(pair->element, pair->value + (size_t)i * value_size[pair->element]);
        ok = ok && shape[i] > 0;
    }
    return ok || contents_fault(g->c, "metadata key '%s' is not an array of 1 to 8 positive integers",
                                show_bytes(pair->key, pair->key_length).text);
}

static bool restore_shape(Gguf *g, WeightTensor *t)
{
    char key[1024 + 32];
    const Pair *given[2];
    int length = snprintf(key, sizeof key, "comfy.gguf.orig_shape.%s", t->name);
    given[0] = find_pair(g, key, (size_t)length);
    length = snprintf(key, sizeof key, "%s.raw_shape", t->name);
    given[1] = find_pair(g, key, (size_t)length);
    int rank[2] = {0};
    int64_t shape[2][WEIGHT_MAX_RANK];
    for (int i = 0; i < 2; i++) {
        if (given[i] && !read_shape(g, given[i], &rank[i], shape[i])) return false;
    }
    if (!given[0] && !given[1]) return true;
    int use = given[0] ? 0 : 1;
    if (given[0] && given[1] && (rank[0] != rank[1] || memcmp(shape[0], shape[1], (size_t)rank[0] * sizeof **shape))) {
        return contents_fault(g->c, "tensor '%s' has two different original shapes", show_name(t->name).text);
    }
    int64_t wanted;
    if (!shape_product(shape[use], rank[use], 1, &wanted)) return too_large(g, t);
    if (wanted != t->count) {
        return contents_fault(g->c, "tensor '%s' has %" PRId64 " elements but its original shape needs %" PRId64,
                              show_name(t->name).text, t->count, wanted);
    }
    t->rank = rank[use];
    memcpy(t->shape, shape[use], (size_t)rank[use] * sizeof **shape);
    return true;
}

static bool read_all(Gguf *g)
{
    Contents *c = g->c;
    uint32_t version;
    uint64_t tensors, pairs;
    if (!take(g, 4, "the magic") || !take_u32(g, &version, "the version")) return false;
    if (version == 1) return contents_fault(c, "GGUF version 1 is not supported; convert the file to version 3");
    if (!(version & 0xffff)) {
        return contents_fault(c, "big-endian GGUF file; only little-endian files are supported");
    }
    if (version != 2 && version != 3) return contents_fault(c, "unknown GGUF version %" PRIu32, version);
    if (!take_u64(g, &tensors, "the tensor count") || !take_u64(g, &pairs, "the metadata count")) return false;
    if (tensors > CONTENTS_MAX_TENSORS || tensors > c->size / LEAST_TENSOR) {
        return contents_fault(c, "GGUF tensor count %" PRIu64 " is larger than the file can hold", tensors);
    }
    if (pairs > MAX_PAIRS || pairs > c->size / LEAST_PAIR) {
        return contents_fault(c, "GGUF metadata count %" PRIu64 " is larger than the file can hold", pairs);
    }
    if (!read_pairs(g, pairs)) return false;
    if (!tensors) return contents_fault(c, "GGUF file holds no tensors");
    g->offsets = calloc(tensors, sizeof *g->offsets);
    if (!g->offsets) return contents_no_memory(c);
    for (uint64_t i = 0; i < tensors; i++) {
        if (!read_tensor(g, &g->offsets[i])) return false;
    }
    if (!contents_index(c) || !place_tensors(g)) return false;
    for (size_t i = 0; i < c->tensor_count; i++) {
        if (!restore_shape(g, &c->tensors[i])) return false;
    }
    return true;
}

bool gguf_read(Contents *c)
{
    Gguf g = {.c = c};
    bool ok = read_all(&g);
    free(g.pairs);
    free(g.offsets);
    return ok;
}
