#include "loader/gguf_write.h"

#include "loader/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 32, V_U32 = 4, V_I32 = 5, V_STRING = 8, V_ARRAY = 9, GGML_RANK = 4 };

/* ------------------------------------------------------------------------------------------- the file as the system
 * has it */

#ifdef _WIN32

#include "loader/wide.h"

#include <io.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

static FILE *create_file(const char *path)
{
    wchar_t name[WIDE_MOST];
    return wide_text(path, name) ? _wfopen(name, L"wb") : NULL;
}

static bool to_disk(FILE *f)
{
    return fflush(f) == 0 && _commit(_fileno(f)) == 0;
}

static bool replace_file(const char *from, const char *to)
{
    wchar_t a[WIDE_MOST], b[WIDE_MOST];
    return wide_text(from, a) && wide_text(to, b) && MoveFileExW(a, b, MOVEFILE_REPLACE_EXISTING);
}

static void remove_file(const char *path)
{
    wchar_t name[WIDE_MOST];
    if (wide_text(path, name)) DeleteFileW(name);
}

#else

#include <unistd.h>

static FILE *create_file(const char *path)
{
    return fopen(path, "wb");
}

static bool to_disk(FILE *f)
{
    return fflush(f) == 0 && fsync(fileno(f)) == 0;
}

static bool replace_file(const char *from, const char *to)
{
    return rename(from, to) == 0;
}

static void remove_file(const char *path)
{
    unlink(path);
}

#endif

/* ------------------------------------------------------------------------------------------------------------ encoding
 */

static void add_u32(Buffer *b, uint32_t v)
{
    uint8_t bytes[4];
    store_u32(bytes, v);
    buffer_add(b, bytes, 4);
}

static void add_u64(Buffer *b, uint64_t v)
{
    uint8_t bytes[8];
    store_u64(bytes, v);
    buffer_add(b, bytes, 8);
}

static void add_string(Buffer *b, const char *text)
{
    size_t length = strlen(text);
    add_u64(b, length);
    buffer_add(b, text, length);
}

bool gguf_writer_open(GgufWriter *w, const char *path)
{
    *w = (GgufWriter){.path = path};
    size_t length = strlen(path);
    w->part = malloc(length + sizeof GGUF_UNFINISHED);
    if (!w->part) {
        errno = ENOMEM;
        return false;
    }
    memcpy(w->part, path, length);
    memcpy(w->part + length, GGUF_UNFINISHED, sizeof GGUF_UNFINISHED);
    w->file = create_file(w->part);
    if (w->file) return true;
    int reason = errno;
    free(w->part);
    w->part = NULL;
    errno = reason;
    return false;
}

void gguf_writer_string(GgufWriter *w, const char *key, const char *value)
{
    add_string(&w->pairs, key);
    add_u32(&w->pairs, V_STRING);
    add_string(&w->pairs, value);
    w->pair_count++;
}

void gguf_writer_u32(GgufWriter *w, const char *key, uint32_t value)
{
    add_string(&w->pairs, key);
    add_u32(&w->pairs, V_U32);
    add_u32(&w->pairs, value);
    w->pair_count++;
}

static void add_raw_shape(GgufWriter *w, const char *name, int rank, const int64_t *shape)
{
    char key[1100];
    snprintf(key, sizeof key, "%s.raw_shape", name);
    add_string(&w->pairs, key);
    add_u32(&w->pairs, V_ARRAY);
    add_u32(&w->pairs, V_I32);
    add_u64(&w->pairs, (uint64_t)rank);
    for (int i = 0; i < rank; i++) add_u32(&w->pairs, (uint32_t)shape[i]);
    w->pair_count++;
}

static uint32_t ggml_id(WeightType type)
{
    return type == WT_F16 ? 1 : type == WT_Q8_0 ? 8 : type == WT_BF16 ? 30 : 0;
}

void gguf_writer_tensor(GgufWriter *w, const char *name, WeightType type, int rank, const int64_t *shape)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= shape[i];
    bool flat = rank > GGML_RANK;
    if (flat) add_raw_shape(w, name, rank, shape);
    add_string(&w->infos, name);
    add_u32(&w->infos, flat ? 1 : (uint32_t)rank);
    if (flat) add_u64(&w->infos, (uint64_t)count);
    for (int i = rank - 1; i >= 0 && !flat; i--) add_u64(&w->infos, (uint64_t)shape[i]); /* innermost first */
    add_u32(&w->infos, ggml_id(type));
    add_u64(&w->infos, w->offset);
    uint64_t bytes = (uint64_t)(count / weight_type_block(type)) * (uint64_t)weight_type_bytes(type);
    w->offset += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    w->tensor_count++;
}

void gguf_writer_data(GgufWriter *w, const void *bytes, size_t length)
{
    if (!w->failed && fwrite(bytes, 1, length, w->file) != length) w->failed = true;
    w->at += length;
}

void gguf_writer_tensor_end(GgufWriter *w)
{
    static const uint8_t zeros[ALIGNMENT] = {0};
    gguf_writer_data(w, zeros, (size_t)((ALIGNMENT - w->at % ALIGNMENT) % ALIGNMENT));
}

void gguf_writer_header(GgufWriter *w)
{
    Buffer head = {0};
    buffer_add(&head, "GGUF", 4);
    add_u32(&head, 3);
    add_u64(&head, w->tensor_count);
    add_u64(&head, w->pair_count);
    if (head.failed || w->pairs.failed || w->infos.failed) {
        errno = ENOMEM;
        w->failed = true;
    } else {
        gguf_writer_data(w, head.text, head.length);
        if (w->pairs.length) gguf_writer_data(w, w->pairs.text, w->pairs.length);
        gguf_writer_data(w, w->infos.text, w->infos.length);
        gguf_writer_tensor_end(w); /* data begin at a multiple of the alignment too */
    }
    buffer_free(&head);
}

bool gguf_writer_finish(GgufWriter *w)
{
    if (!w->failed && !to_disk(w->file)) w->failed = true;
    int reason = errno;
    if (fclose(w->file) != 0 && !w->failed) {
        w->failed = true;
        reason = errno;
    }
    w->file = NULL;
    errno = reason;
    return !w->failed;
}

static void free_writer(GgufWriter *w)
{
    if (w->file) fclose(w->file);
    free(w->part);
    buffer_free(&w->pairs);
    buffer_free(&w->infos);
    *w = (GgufWriter){0};
}

bool gguf_writer_commit(GgufWriter *w)
{
    bool ok = replace_file(w->part, w->path);
    int reason = errno;
    if (!ok) remove_file(w->part);
    free_writer(w);
    errno = reason;
    return ok;
}

void gguf_writer_abandon(GgufWriter *w)
{
    if (w->file) fclose(w->file);
    w->file = NULL;
    if (w->part) remove_file(w->part);
    free_writer(w);
}
