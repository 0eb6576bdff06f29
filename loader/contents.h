/*
 * What the container readers (gguf.c, safetensors.c, torch_zip.c) find in a mapped file: tensors, metadata, or the
 * first fault as one sentence. Everything is freed as a whole.
 *
 * One thread at a time until the file is open, then read-only.
 */
#ifndef UPRES_LOADER_CONTENTS_H
#define UPRES_LOADER_CONTENTS_H

#include "loader/buffer.h"
#include "loader/weights.h"

enum { CONTENTS_MAX_TENSORS = 65536, CONTENTS_FAULT_SIZE = 2048 };

typedef struct Metadata {
    const char *key, *json;
    const char *string; /* NULL unless the value is a string */
} Metadata;

typedef struct Contents {
    const uint8_t *bytes; /* the mapped file */
    uint64_t size;
    WeightTensor *tensors;
    size_t tensor_count, tensor_room;
    const WeightTensor **by_name; /* sorted; after contents_index */
    Metadata *metadata;
    size_t metadata_count, metadata_room;
    struct ContentsChunk *chunks;
    char fault[CONTENTS_FAULT_SIZE]; /* "" while all is well */
} Contents;

/* The three readers. false: c->fault says why. Nothing is read beyond c->size; tensors lie inside the map. */
bool gguf_read(Contents *c);
bool safetensors_read(Contents *c);
bool torch_read(Contents *c);

void contents_free(Contents *c);

/* Records the first fault (later ones are dropped) and returns false. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
bool contents_fault(Contents *c, const char *format, ...);
bool contents_no_memory(Contents *c);

/* Bytes that live as long as the contents. NULL and a fault when memory runs out. */
void *contents_alloc(Contents *c, size_t size);
char *contents_copy(Contents *c, const void *bytes, size_t length); /* with a NUL behind them */
/* The buffer's text, which is not copied when it is long; the buffer is empty afterwards. */
char *contents_take(Contents *c, Buffer *text);

/*
 * A new tensor, all zeros but for its name, which must be 1..1023 bytes of UTF-8 without NUL. NULL: fault. The pointer
 * is good until the next one is added.
 */
WeightTensor *contents_add_tensor(Contents *c, const void *name, size_t length);
bool contents_add_metadata(Contents *c, const char *key, const char *json, const char *string);

/* Sorts by name; a name that occurs twice is a fault. Once, when all tensors are there. */
bool contents_index(Contents *c);
const WeightTensor *contents_find(const Contents *c, const char *name);

/* All tensors in the order of their data (offset, then end), or NULL and a fault. The caller frees it. */
const WeightTensor **contents_by_data(Contents *c);

/* product(shape) * unit; false when that is 2^63 or more. A zero anywhere makes it zero. */
bool shape_product(const int64_t *shape, int rank, int64_t unit, int64_t *product);

/* Is every value of a scale tensor finite and positive, and is there one? */
bool scale_is_sound(const WeightTensor *t);

/*
 * A name from a file as it may be shown on a terminal: cut at 200 bytes, control characters and whatever is not UTF-8
 * as \xNN.
 */
typedef struct ShownName {
    char text[200 * 4 + 4];
} ShownName;
ShownName show_bytes(const void *bytes, size_t length);
ShownName show_name(const char *name);

#endif
