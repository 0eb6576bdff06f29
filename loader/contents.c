#include "loader/contents.h"

#include "loader/utf8.h"

#include <float.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_SIZE = 64 * 1024, MAX_NAME = 1023 };

struct ContentsChunk {
    struct ContentsChunk *next;
    size_t used, size;
    char *taken;     /* a block from elsewhere; such a chunk has no room of its own */
    uint64_t data[]; /* what is kept needs no stricter alignment */
};

void contents_free(Contents *c)
{
    while (c->chunks) {
        struct ContentsChunk *next = c->chunks->next;
        free(c->chunks->taken);
        free(c->chunks);
        c->chunks = next;
    }
    free(c->tensors);
    free(c->by_name);
    free(c->metadata);
    c->tensors = NULL;
    c->by_name = NULL;
    c->metadata = NULL;
    c->tensor_count = c->metadata_count = 0;
}

bool contents_fault(Contents *c, const char *format, ...)
{
    if (c->fault[0]) return false;
    va_list list;
    va_start(list, format);
    vsnprintf(c->fault, sizeof c->fault, format, list);
    va_end(list);
    return false;
}

bool contents_no_memory(Contents *c)
{
    return contents_fault(c, "not enough memory to read the file's header");
}

/* A new chunk. Behind the first one when it has no room left anyway, so that the first one's is not lost. */
static struct ContentsChunk *add_chunk(Contents *c, size_t room, bool full)
{
    struct ContentsChunk *chunk = malloc(sizeof *chunk + room);
    if (!chunk) {
        contents_no_memory(c);
        return NULL;
    }
    struct ContentsChunk **place = full && c->chunks ? &c->chunks->next : &c->chunks;
    *chunk = (struct ContentsChunk){.next = *place, .size = room};
    *place = chunk;
    return chunk;
}

void *contents_alloc(Contents *c, size_t size)
{
    size_t unit = sizeof(uint64_t);
    size_t needed = (size / unit + 1) * unit;
    struct ContentsChunk *chunk = c->chunks;
    if (!chunk || needed > chunk->size - chunk->used) {
        bool large = needed > CHUNK_SIZE / 4;
        chunk = add_chunk(c, large ? needed : CHUNK_SIZE, large);
        if (!chunk) return NULL;
    }
    void *found = (uint8_t *)chunk->data + chunk->used;
    chunk->used += needed;
    return found;
}

char *contents_take(Contents *c, Buffer *text)
{
    char *kept = NULL;
    if (text->failed) {
        contents_no_memory(c);
    } else if (text->length < CHUNK_SIZE / 4) {
        kept = contents_copy(c, text->text, text->length);
    } else {
        struct ContentsChunk *chunk = add_chunk(c, 0, true);
        if (chunk) {
            kept = chunk->taken = text->text;
            text->text = NULL;
        }
    }
    buffer_free(text);
    return kept;
}

char *contents_copy(Contents *c, const void *bytes, size_t length)
{
    char *copy = contents_alloc(c, length + 1);
    if (!copy) return NULL;
    if (length) memcpy(copy, bytes, length);
    copy[length] = 0;
    return copy;
}

/* One more element in an array that grows by half. */
static bool grow(Contents *c, void **array, size_t count, size_t *room, size_t element)
{
    if (count < *room) return true;
    size_t more = *room + *room / 2 + 16;
    void *bigger = realloc(*array, more * element);
    if (!bigger) return contents_no_memory(c);
    *array = bigger;
    *room = more;
    return true;
}

WeightTensor *contents_add_tensor(Contents *c, const void *name, size_t length)
{
    if (!length || length > MAX_NAME || memchr(name, 0, length) || !utf8_valid(name, length)) {
        contents_fault(c, "tensor name '%s' is empty, too long, not UTF-8 or holds a NUL",
                       show_bytes(name, length).text);
        return NULL;
    }
    void *array = c->tensors;
    bool ok = grow(c, &array, c->tensor_count, &c->tensor_room, sizeof *c->tensors);
    c->tensors = array;
    char *copy = ok ? contents_copy(c, name, length) : NULL;
    if (!copy) return NULL;
    WeightTensor *t = &c->tensors[c->tensor_count++];
    *t = (WeightTensor){.name = copy};
    return t;
}

bool contents_add_metadata(Contents *c, const char *key, const char *json, const char *string)
{
    void *array = c->metadata;
    bool ok = grow(c, &array, c->metadata_count, &c->metadata_room, sizeof *c->metadata);
    c->metadata = array;
    if (!ok) return false;
    c->metadata[c->metadata_count++] = (Metadata){.key = key, .json = json, .string = string};
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const WeightTensor *const *)a)->name, (*(const WeightTensor *const *)b)->name);
}

static int by_data(const void *a, const void *b)
{
    const WeightTensor *x = *(const WeightTensor *const *)a, *y = *(const WeightTensor *const *)b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static const WeightTensor **sorted(Contents *c, int (*order)(const void *, const void *))
{
    const WeightTensor **list = malloc((c->tensor_count + 1) * sizeof *list);
    if (!list) {
        contents_no_memory(c);
        return NULL;
    }
    for (size_t i = 0; i < c->tensor_count; i++) list[i] = &c->tensors[i];
    if (c->tensor_count) qsort(list, c->tensor_count, sizeof *list, order);
    return list;
}

bool contents_index(Contents *c)
{
    c->by_name = sorted(c, by_name);
    if (!c->by_name) return false;
    for (size_t i = 1; i < c->tensor_count; i++) {
        if (strcmp(c->by_name[i - 1]->name, c->by_name[i]->name) == 0) {
            return contents_fault(c, "tensor '%s' occurs twice", show_name(c->by_name[i]->name).text);
        }
    }
    return true;
}

const WeightTensor *contents_find(const Contents *c, const char *name)
{
    size_t low = 0, high = c->tensor_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, c->by_name[middle]->name);
        if (order == 0) return c->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const WeightTensor **contents_by_data(Contents *c)
{
    return sorted(c, by_data);
}

bool shape_product(const int64_t *shape, int rank, int64_t unit, int64_t *product)
{
    *product = 0;
    for (int i = 0; i < rank; i++) {
        if (shape[i] == 0) return true;
    }
    int64_t total = unit;
    for (int i = 0; i < rank; i++) {
        if (total > INT64_MAX / shape[i]) return false;
        total *= shape[i];
    }
    *product = total;
    return true;
}

bool scale_is_sound(const WeightTensor *t)
{
    float values[256];
    for (int64_t at = 0; at < t->count; at += 256) {
        int64_t n = t->count - at < 256 ? t->count - at : 256;
        weight_read(t, at, n, values);
        for (int64_t i = 0; i < n; i++) {
            if (!(values[i] > 0 && values[i] <= FLT_MAX)) return false;
        }
    }
    return t->count > 0;
}

ShownName show_bytes(const void *bytes, size_t length)
{
    ShownName shown;
    const uint8_t *p = bytes;
    size_t end = length > 200 ? 200 : length, out = 0;
    for (size_t at = 0; at < end;) {
        size_t n = utf8_sequence(p + at, length - at);
        bool control = p[at] < 0x20 || p[at] == 0x7f || (p[at] == 0xc2 && n == 2 && p[at + 1] < 0xa0);
        if (n && !control && n <= end - at) {
            memcpy(shown.text + out, p + at, n);
            out += n;
            at += n;
        } else if (n > end - at) {
            break; /* a character that the cut would split */
        } else {
            out += (size_t)snprintf(shown.text + out, 5, "\\x%02x", p[at]);
            at++;
        }
    }
    if (length > 200) {
        memcpy(shown.text + out, "...", 3);
        out += 3;
    }
    shown.text[out] = 0;
    return shown;
}

ShownName show_name(const char *name)
{
    return show_bytes(name, strlen(name));
}
