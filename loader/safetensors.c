/*
 * safetensors: a length, a JSON header, the data. Stricter than the format's own readers where two of them could see
 * different contents in one file: no key twice, no byte of the data that belongs to no tensor or to two.
 */
#include "loader/bytes.h"
#include "loader/contents.h"
#include "loader/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100000000, MAX_DEPTH = 4 };

typedef struct Key {
    const char *text;
    size_t length;
} Key;

typedef struct Reader {
    Contents *c;
    JsonReader json;
    const uint8_t *data; /* behind the header */
    uint64_t room;       /* bytes of it */
    Key *keys;           /* of the objects now open, one after another */
    size_t key_count, key_room;
} Reader;

static bool json_fault(Reader *r)
{
    switch (r->json.error) {
    case JSON_DEPTH:
        return contents_fault(r->c, "safetensors header is nested too deeply");
    case JSON_UTF8:
        return contents_fault(r->c, "safetensors header is not valid UTF-8");
    case JSON_MEMORY:
        return contents_no_memory(r->c);
    default:
        return contents_fault(r->c, "safetensors header is not valid JSON: %s", r->json.problem);
    }
}

/* Remember a key of the innermost open object; text must outlive the reader. */
static bool push_key(Reader *r, const char *text, size_t length)
{
    if (r->key_count == r->key_room) {
        size_t room = r->key_room + r->key_room / 2 + 64;
        Key *keys = realloc(r->keys, room * sizeof *keys);
        if (!keys) return contents_no_memory(r->c);
        r->keys = keys;
        r->key_room = room;
    }
    r->keys[r->key_count++] = (Key){text, length};
    return true;
}

/* The key just read, copied unless it is one of the few that every entry has. */
static const char *key_text(Reader *r)
{
    static const char *const usual[] = {"dtype", "shape", "data_offsets"};
    for (size_t i = 0; i < 3; i++) {
        if (strlen(usual[i]) == r->json.length && memcmp(r->json.string, usual[i], r->json.length) == 0)
            return usual[i];
    }
    return contents_copy(r->c, r->json.string, r->json.length);
}

static int key_order(const void *a, const void *b)
{
    const Key *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->length < y->length ? x->length : y->length);
    return order ? order : x->length < y->length ? -1 : x->length > y->length;
}

/* An object ended: forget its keys, those from `first` on, none of which may be there twice. */
static bool pop_keys(Reader *r, size_t first)
{
    size_t count = r->key_count - first;
    r->key_count = first;
    if (count < 2) return true;
    qsort(r->keys + first, count, sizeof *r->keys, key_order);
    for (size_t i = first + 1; i < first + count; i++) {
        if (key_order(&r->keys[i - 1], &r->keys[i]) == 0) {
            return contents_fault(r->c, "safetensors header holds the key '%s' twice",
                                  show_bytes(r->keys[i].text, r->keys[i].length).text);
        }
    }
    return true;
}

/* The rest of a value nobody asks for. Its objects may not repeat a key either. Depth is bounded by the JSON reader. */
static bool skip_value(Reader *r, JsonToken token)
{
    if (token == JSON_ERROR) return json_fault(r);
    if (token == JSON_ARRAY) {
        while ((token = json_next(&r->json)) != JSON_ARRAY_END) {
            if (!skip_value(r, token)) return false;
        }
    } else if (token == JSON_OBJECT) {
        size_t first = r->key_count;
        while ((token = json_next(&r->json)) == JSON_KEY) {
            const char *key = key_text(r);
            if (!key || !push_key(r, key, r->json.length)) return false;
            if (!skip_value(r, json_next(&r->json))) return false;
        }
        if (token == JSON_ERROR) return json_fault(r);
        return pop_keys(r, first);
    }
    return true;
}

static bool metadata_fault(Reader *r)
{
    return contents_fault(r->c, "safetensors __metadata__ is not a map of strings to strings");
}

static bool read_metadata(Reader *r)
{
    JsonToken token = json_next(&r->json);
    if (token != JSON_OBJECT) return skip_value(r, token) && metadata_fault(r);
    size_t first = r->key_count;
    while ((token = json_next(&r->json)) == JSON_KEY) {
        size_t length = r->json.length;
        const char *key = contents_copy(r->c, r->json.string, length);
        if (!key || !push_key(r, key, length)) return false;
        token = json_next(&r->json);
        if (token != JSON_STRING) return skip_value(r, token) && metadata_fault(r);
        const char *string = contents_copy(r->c, r->json.string, r->json.length);
        Buffer text = {0};
        buffer_json_string(&text, r->json.string, r->json.length);
        const char *value = contents_take(r->c, &text);
        if (!string || !value) return contents_no_memory(r->c);
        if (!contents_add_metadata(r->c, key, value, string)) return false;
    }
    if (token == JSON_ERROR) return json_fault(r);
    return pop_keys(r, first);
}

static const struct {
    const char *name;
    WeightType type;
} dtypes[] = {
    {"F64", WT_F64},         {"F32", WT_F32}, {"F16", WT_F16}, {"BF16", WT_BF16}, {"F8_E4M3", WT_F8_E4M3},
    {"F8_E5M2", WT_F8_E5M2}, {"I64", WT_I64}, {"I32", WT_I32}, {"I16", WT_I16},   {"I8", WT_I8},
    {"U64", WT_U64},         {"U32", WT_U32}, {"U16", WT_U16}, {"U8", WT_U8},     {"BOOL", WT_BOOL},
};

/* An entry as the header states it, before anything of it has been compared with the file. */
typedef struct Entry {
    bool has_dtype, has_shape, has_offsets;
    bool known, shape_overflow, offset_overflow;
    ShownName dtype;
    WeightType type;
    int64_t rank, shape[WEIGHT_MAX_RANK];
    int64_t offset_count, offset[2];
} Entry;

/* An array of whole numbers. false: *bad tells an element of another kind; otherwise a fault of the JSON. */
static bool read_numbers(Reader *r, int64_t *values, int64_t most, int64_t *count, bool *overflow, bool *bad)
{
    JsonToken token = json_next(&r->json);
    *bad = token != JSON_ARRAY;
    if (*bad) return skip_value(r, token);
    for (*count = 0; (token = json_next(&r->json)) != JSON_ARRAY_END; ++*count) {
        int64_t value;
        bool too_big = false;
        bool whole = token == JSON_NUMBER && json_whole_number(r->json.string, r->json.length, &value, &too_big);
        *overflow = *overflow || too_big;
        *bad = *bad || !(whole || too_big);
        if (whole && *count < most) values[*count] = value;
        if (!skip_value(r, token)) return false;
    }
    return true;
}

static bool read_entry_fields(Reader *r, Entry *e)
{
    size_t first = r->key_count;
    JsonToken token;
    bool bad = false;
    while ((token = json_next(&r->json)) == JSON_KEY) {
        const char *key = key_text(r);
        if (!key || !push_key(r, key, r->json.length)) return false;
        if (strcmp(key, "dtype") == 0) {
            token = json_next(&r->json);
            e->has_dtype = token == JSON_STRING;
            e->dtype = show_bytes(r->json.string, r->json.length);
            for (size_t i = 0; e->has_dtype && i < sizeof dtypes / sizeof *dtypes; i++) {
                if (strcmp(dtypes[i].name, r->json.string) == 0 && strlen(dtypes[i].name) == r->json.length) {
                    e->known = true;
                    e->type = dtypes[i].type;
                }
            }
            if (!skip_value(r, token)) return false;
        } else if (strcmp(key, "shape") == 0) {
            if (!read_numbers(r, e->shape, WEIGHT_MAX_RANK, &e->rank, &e->shape_overflow, &bad)) return false;
            e->has_shape = !bad;
        } else if (strcmp(key, "data_offsets") == 0) {
            if (!read_numbers(r, e->offset, 2, &e->offset_count, &e->offset_overflow, &bad)) return false;
            e->has_offsets = !bad && e->offset_count == 2;
        } else if (!skip_value(r, json_next(&r->json))) {
            return false;
        }
    }
    if (token == JSON_ERROR) return json_fault(r);
    return pop_keys(r, first);
}

static bool read_entry(Reader *r, WeightTensor *t)
{
    Contents *c = r->c;
    Entry e = {0};
    ShownName name = show_name(t->name);
    JsonToken token = json_next(&r->json);
    if (token == JSON_OBJECT ? !read_entry_fields(r, &e) : !skip_value(r, token)) return false;
    if (!e.has_dtype || !e.has_shape || !e.has_offsets) {
        return contents_fault(c, "safetensors entry '%s' lacks a valid dtype, shape or data_offsets", name.text);
    }
    if (!e.known) {
        return contents_fault(c, "tensor '%s' has unsupported safetensors dtype '%s'", name.text, e.dtype.text);
    }
    if (e.rank > WEIGHT_MAX_RANK) {
        return contents_fault(c, "tensor '%s' has %" PRId64 " dimensions; at most 8 are supported", name.text, e.rank);
    }
    int64_t bytes;
    if (e.shape_overflow || !shape_product(e.shape, (int)e.rank, weight_type_bytes(e.type), &bytes)) {
        return contents_fault(c, "tensor '%s' has more elements or bytes than 64 bits can count", name.text);
    }
    if (e.offset_overflow || e.offset[0] > e.offset[1] || (uint64_t)e.offset[1] > r->room) {
        return contents_fault(c, "tensor '%s' has data offsets outside the file or in the wrong order", name.text);
    }
    if (e.offset[1] - e.offset[0] != bytes) {
        return contents_fault(c, "tensor '%s' needs %" PRId64 " bytes but its data offsets span %" PRId64, name.text,
                              bytes, e.offset[1] - e.offset[0]);
    }
    t->type = e.type;
    t->rank = (int)e.rank;
    memcpy(t->shape, e.shape, sizeof t->shape);
    t->count = bytes / weight_type_bytes(e.type);
    t->bytes = (uint64_t)bytes;
    t->data = r->data + e.offset[0];
    return true;
}

/* The ranges of the tensors must cover the data exactly. */
static bool check_cover(Reader *r)
{
    Contents *c = r->c;
    const WeightTensor **order = contents_by_data(c);
    if (!order) return false;
    uint64_t at = 0;
    bool ok = true;
    for (size_t i = 0; i < c->tensor_count && ok; i++) {
        uint64_t begin = (uint64_t)(order[i]->data - r->data);
        if (begin < at) {
            ok = contents_fault(c, "the data of tensor '%s' overlaps another tensor", show_name(order[i]->name).text);
        } else if (begin > at) {
            ok = contents_fault(c, "bytes %" PRIu64 " to %" PRIu64 " of the safetensors data belong to no tensor", at,
                                begin);
        }
        at = begin + order[i]->bytes;
    }
    free(order);
    if (ok && at != r->room) {
        ok = contents_fault(c, "bytes %" PRIu64 " to %" PRIu64 " of the safetensors data belong to no tensor", at,
                            r->room);
    }
    return ok;
}

static bool ends_in(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

/* Every kind of scale must be finite and positive. */
static bool check_scales(Contents *c)
{
    for (size_t i = 0; i < c->tensor_count; i++) {
        const WeightTensor *t = &c->tensors[i];
        if (!ends_in(t->name, ".scale_weight") && !ends_in(t->name, ".weight_scale") &&
            !ends_in(t->name, ".scale_input") && !ends_in(t->name, ".input_scale")) {
            continue;
        }
        if (!scale_is_sound(t)) {
            return contents_fault(c, "scale tensor '%s' is empty or holds a value that is not finite and positive",
                                  show_name(t->name).text);
        }
    }
    return true;
}

static bool read_header(Reader *r)
{
    Contents *c = r->c;
    JsonToken token = json_next(&r->json);
    if (token == JSON_ERROR) return json_fault(r);
    while ((token = json_next(&r->json)) == JSON_KEY) {
        if (r->json.lone_surrogate) {
            return contents_fault(c, "tensor name '%s' is empty, too long, not UTF-8 or holds a NUL",
                                  show_bytes(r->json.string, r->json.length).text);
        }
        if (strcmp(r->json.string, "__metadata__") == 0 && r->json.length == 12) {
            if (!push_key(r, "__metadata__", 12) || !read_metadata(r)) return false;
            continue;
        }
        if (c->tensor_count == CONTENTS_MAX_TENSORS) {
            return contents_fault(c, "safetensors header lists more than 65536 tensors");
        }
        WeightTensor *t = contents_add_tensor(c, r->json.string, r->json.length);
        if (!t || !push_key(r, t->name, r->json.length) || !read_entry(r, t)) return false;
    }
    if (token == JSON_ERROR) return json_fault(r);
    if (!pop_keys(r, 0)) return false;
    if (json_next(&r->json) != JSON_END) return json_fault(r);
    return contents_index(c) && check_cover(r) && check_scales(c);
}

bool safetensors_read(Contents *c)
{
    if (c->size < 8) return contents_fault(c, "safetensors header reaches past the end of the file");
    uint64_t length = load_u64(c->bytes);
    if (length > MAX_HEADER) {
        return contents_fault(c, "safetensors header of %" PRIu64 " bytes exceeds the limit of 100000000", length);
    }
    if (length > c->size - 8) return contents_fault(c, "safetensors header reaches past the end of the file");
    if (!length || c->bytes[8] != '{') return contents_fault(c, "safetensors header does not start with '{'");
    Reader r = {.c = c, .data = c->bytes + 8 + length, .room = c->size - 8 - length};
    json_open(&r.json, (const char *)c->bytes + 8, (size_t)length, MAX_DEPTH);
    bool ok = read_header(&r);
    json_close(&r.json);
    free(r.keys);
    return ok;
}
