/*
 * Several weight files merged into one GGUF: standard prefixes, scales applied, one element type. Streams: no more than
 * a piece of one tensor is in memory.
 */
#include "loader/contents.h"
#include "loader/gguf_write.h"
#include "loader/map.h"
#include "loader/quantize.h"
#include "loader/recognise.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { CONVERT_OK, CONVERT_INPUT, CONVERT_OUTPUT, CONVERT_ARGUMENT, CONVERT_CANCELLED }; /* what weight_convert returns */
enum { PIECE = 1 << 16 };                           /* elements converted at a time; a multiple of every block */

typedef struct Item {
    char *name; /* in the merged file */
    const WeightFile *file;
    BoundWeight weight;
    WeightType type;
} Item;

typedef struct Job {
    WeightSet *set;
    const char *out;
    WeightType type;
    Item *items;
    size_t count;
    GgufWriter writer;
    WeightCancel cancel;
    char *error;
    size_t error_size;
} Job;

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static int
fail(Job *j, int status, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(j->error, j->error_size, format, list);
    va_end(list);
    return status;
}

static int no_memory(Job *j)
{
    return fail(j, CONVERT_INPUT, "not enough memory to convert the weight files");
}

static const char *standard_prefix(WeightNetwork n)
{
    switch (n) {
    case NET_SEEDVR2_VAE:
    case NET_WAN_VAE:
        return "vae.";
    case NET_SEEDVR2_DIT:
    case NET_FLASHVSR_DIT:
        return "model.diffusion_model.";
    case NET_FLASHVSR_LQ:
        return "LQ_proj_in.";
    case NET_TCDECODER:
        return "TCDecoder.";
    default:
        return "";
    }
}

/* A text keeps its name if it has one; else its shape and its place among the files tell. */
static const char *text_name(const Job *j, const WeightPart *part)
{
    static const char *const names[] = {"pos_emb", "neg_emb", "posi_prompt"};
    const WeightTensor *t = part->tensor;
    for (int i = 0; i < 3; i++) {
        if (strcmp(t->name, names[i]) == 0) return names[i];
    }
    if (t->rank == 3) return "posi_prompt";
    char ignored[8];
    const WeightPart *negative = weight_set_require(j->set, NET_TEXT, true, (int)t->shape[1], ignored, sizeof ignored);
    return negative == part ? "neg_emb" : "pos_emb";
}

static char *merged_name(const Job *j, const WeightPart *owner, const WeightTensor *t)
{
    const char *prefix = "", *name = t->name;
    if (owner && owner->network == NET_TEXT) {
        if (owner->tensor == t) name = text_name(j, owner);
    } else if (owner) {
        size_t length = strlen(owner->prefix);
        prefix = standard_prefix(owner->network);
        if (strncmp(name, owner->prefix, length) == 0) name += length;
    }
    size_t before = strlen(prefix), length = strlen(name);
    char *merged = malloc(before + length + 1);
    if (merged) {
        memcpy(merged, prefix, before);
        memcpy(merged + before, name, length + 1);
    }
    return merged;
}

/* Matrices whose rows are whole blocks can be Q8_0; beside them matrices and convolutions are half, vectors float. */
static WeightType stored_type(const Job *j, const BoundWeight *w)
{
    const WeightTensor *t = w->tensor;
    bool whole = t->type >= WT_I8 && t->type <= WT_BOOL && !w->scale;
    if (whole) return WT_F32;
    if (j->type != WT_Q8_0) return j->type;
    if (t->rank < 2) return WT_F32;
    return t->rank == 2 && t->shape[1] % 32 == 0 ? WT_Q8_0 : WT_F16;
}

static bool is_quantized(const WeightTensor *t)
{
    return t && (t->type == WT_F8_E4M3 || t->type == WT_F8_E5M2 || t->type == WT_I8);
}

/* Scales are multiplied into their weights, so neither they nor the marks that announce them are written. */
static bool is_spent_scale(const WeightFile *f, const WeightTensor *t)
{
    if (!recognise_is_scale(t->name)) return false;
    const char *dot = strrchr(t->name, '.');
    char weight[1100];
    if (strcmp(dot ? dot + 1 : t->name, "scaled_fp8") == 0) return true;
    snprintf(weight, sizeof weight, "%.*s.weight", (int)(dot - t->name), t->name);
    return is_quantized(weight_file_find(f, weight));
}

static int add_item(Job *j, const WeightFile *f, const WeightTensor *t)
{
    const char *path = weight_file_path(f);
    ShownName shown = show_name(t->name);
    if (!t->count) return fail(j, CONVERT_INPUT, "%s: tensor '%s' is empty, which GGUF cannot hold", path, shown.text);
    for (int i = 0; i < t->rank; i++) {
        if (t->rank > 4 && t->shape[i] > INT32_MAX) {
            return fail(j, CONVERT_INPUT, "%s: tensor '%s' has a dimension too large for GGUF", path, shown.text);
        }
    }
    Item *item = &j->items[j->count];
    const WeightPart whole = {.file = f, .prefix = ""};
    if (!weight_bind(&whole, t->name, t->rank, t->shape, &item->weight, j->error, j->error_size)) return CONVERT_INPUT;
    const WeightPart *parts = weight_set_part_count(j->set) ? weight_set_part(j->set, 0) : NULL;
    item->name = merged_name(j, recognise_owner(parts, weight_set_part_count(j->set), f, t), t);
    if (!item->name) return no_memory(j);
    j->count++;
    if (strlen(item->name) > 1023) {
        return fail(j, CONVERT_INPUT, "%s: the name of tensor '%s' is too long with its prefix", path, shown.text);
    }
    item->file = f;
    item->type = stored_type(j, &item->weight);
    return CONVERT_OK;
}

static int item_order(const void *a, const void *b)
{
    return strcmp((*(const Item *const *)a)->name, (*(const Item *const *)b)->name);
}

static int check_names(Job *j)
{
    const Item **order = malloc((j->count + 1) * sizeof *order);
    if (!order) return no_memory(j);
    for (size_t i = 0; i < j->count; i++) order[i] = &j->items[i];
    qsort(order, j->count, sizeof *order, item_order);
    int status = CONVERT_OK;
    for (size_t i = 1; i < j->count && status == CONVERT_OK; i++) {
        if (strcmp(order[i - 1]->name, order[i]->name) != 0) continue;
        status = fail(j, CONVERT_INPUT, "%s and %s both give a tensor '%s' to the merged file; leave one of them out",
                      weight_file_path(order[i - 1]->file), weight_file_path(order[i]->file),
                      show_name(order[i]->name).text);
    }
    free(order);
    return status;
}

static int collect(Job *j)
{
    size_t total = 0;
    for (size_t i = 0; i < weight_set_file_count(j->set); i++)
        total += weight_file_tensor_count(weight_set_file(j->set, i));
    j->items = calloc(total + 1, sizeof *j->items);
    if (!j->items) return no_memory(j);
    for (size_t i = 0; i < weight_set_file_count(j->set); i++) {
        const WeightFile *f = weight_set_file(j->set, i);
        for (size_t k = 0; k < weight_file_tensor_count(f); k++) {
            const WeightTensor *t = weight_file_tensor(f, k);
            int status = is_spent_scale(f, t) ? CONVERT_OK : add_item(j, f, t);
            if (status != CONVERT_OK) return status;
        }
    }
    if (!j->count) return fail(j, CONVERT_INPUT, "the files hold no tensors to convert");
    if (j->count > CONTENTS_MAX_TENSORS) {
        return fail(j, CONVERT_INPUT, "the files hold %zu tensors together; one file can hold 65536", j->count);
    }
    return check_names(j);
}

static void write_header(Job *j)
{
    const char *architecture = "upres";
    for (size_t i = 0; i < weight_set_part_count(j->set); i++) {
        WeightNetwork n = weight_set_part(j->set, i)->network;
        if (n == NET_SEEDVR2_VAE || n == NET_SEEDVR2_DIT) architecture = "seedvr2";
        if (n == NET_FLASHVSR_DIT) architecture = "flashvsr";
    }
    /* ggml's numbers for "mostly of this type" */
    uint32_t file_type = j->type == WT_F16 ? 1 : j->type == WT_Q8_0 ? 7 : j->type == WT_BF16 ? 32 : 0;
    gguf_writer_string(&j->writer, "general.architecture", architecture);
    gguf_writer_u32(&j->writer, "general.file_type", file_type);
    if (j->type == WT_Q8_0) gguf_writer_u32(&j->writer, "general.quantization_version", 2);
    for (size_t i = 0; i < j->count; i++) {
        const Item *item = &j->items[i];
        gguf_writer_tensor(&j->writer, item->name, item->type, item->weight.rank, item->weight.shape);
    }
    gguf_writer_header(&j->writer);
}

static int cannot_write(Job *j)
{
    return fail(j, CONVERT_OUTPUT, "%s cannot be written: %s", j->out, strerror(errno));
}

/* Between two pieces: may the work go on? */
static int next_piece(Job *j)
{
    if (j->writer.failed) return cannot_write(j);
    if (!j->cancel.asked || !j->cancel.asked(j->cancel.user)) return CONVERT_OK;
    return fail(j, CONVERT_CANCELLED, "the conversion was cancelled; %s is not written", j->out);
}

static int write_item(Job *j, const Item *item, float *values, uint8_t *stored)
{
    const WeightTensor *t = item->weight.tensor;
    bool as_it_is = t->type == item->type && !t->strided && !item->weight.scale;
    uint64_t piece_bytes = (uint64_t)PIECE * sizeof(float);
    int status = CONVERT_OK;
    for (uint64_t at = 0; as_it_is && at < t->bytes && status == CONVERT_OK; at += piece_bytes) {
        uint64_t n = t->bytes - at < piece_bytes ? t->bytes - at : piece_bytes;
        gguf_writer_data(&j->writer, t->data + at, (size_t)n);
        map_forget(t->data + at, n);
        status = next_piece(j);
    }
    for (int64_t at = 0; !as_it_is && at < t->count && status == CONVERT_OK; at += PIECE) {
        int64_t n = t->count - at < PIECE ? t->count - at : PIECE;
        bound_read(&item->weight, at, n, values);
        if (!quantize(item->type, values, n, stored)) {
            return fail(j, CONVERT_INPUT,
                        "%s: tensor '%s' holds a value that does not fit %s; convert it with --type f32",
                        weight_file_path(item->file), show_name(t->name).text, weight_type_name(item->type));
        }
        int64_t blocks = n / weight_type_block(item->type);
        gguf_writer_data(&j->writer, stored, (size_t)(blocks * weight_type_bytes(item->type)));
        status = next_piece(j);
    }
    if (status != CONVERT_OK) return status;
    if (!as_it_is && !t->strided) map_forget(t->data, t->bytes);
    gguf_writer_tensor_end(&j->writer);
    return j->writer.failed ? cannot_write(j) : CONVERT_OK;
}

static int write_all(Job *j)
{
    float *values = malloc(PIECE * sizeof *values);
    uint8_t *stored = malloc(PIECE * sizeof(float));
    int status = values && stored ? CONVERT_OK : no_memory(j);
    if (status == CONVERT_OK) write_header(j);
    if (status == CONVERT_OK && j->writer.failed) status = cannot_write(j);
    for (size_t i = 0; i < j->count && status == CONVERT_OK; i++) status = write_item(j, &j->items[i], values, stored);
    free(values);
    free(stored);
    return status;
}

/* The written file must be one that can be read, before it gets its name. */
static int check_written(Job *j)
{
    char fault[1024];
    WeightFile *f = weight_file_open(j->writer.part, fault, sizeof fault);
    bool whole = f && weight_file_tensor_count(f) == j->count;
    if (f) snprintf(fault, sizeof fault, "%s: tensors are missing", j->writer.part);
    weight_file_close(f);
    return whole ? CONVERT_OK : fail(j, CONVERT_OUTPUT, "%s was not written well: %s", j->out, fault);
}

/* Neither the output nor the name it has while it is written may be an input: that is read until the end. */
static int check_apart(Job *j, const char *const *paths, size_t count)
{
    size_t length = strlen(j->out);
    char *part = malloc(length + sizeof GGUF_UNFINISHED);
    if (!part) return no_memory(j);
    memcpy(part, j->out, length);
    memcpy(part + length, GGUF_UNFINISHED, sizeof GGUF_UNFINISHED);
    int status = CONVERT_OK;
    for (size_t i = 0; i < count && status == CONVERT_OK; i++) {
        if (map_same_file(paths[i], j->out))
            status = fail(j, CONVERT_ARGUMENT, "%s would replace the input %s; give the merged file another name", j->out, paths[i]);
        else if (map_same_file(paths[i], part))
            status = fail(j, CONVERT_ARGUMENT, "%s is written as %s first, which would replace the input %s; give the merged file "
                          "another name", j->out, part, paths[i]);
    }
    free(part);
    return status;
}

static int write_file(Job *j)
{
    if (!gguf_writer_open(&j->writer, j->out)) return cannot_write(j);
    int status = write_all(j);
    if (status == CONVERT_OK && !gguf_writer_finish(&j->writer)) status = cannot_write(j);
    if (status == CONVERT_OK) status = check_written(j);
    if (status != CONVERT_OK)
        gguf_writer_abandon(&j->writer);
    else if (!gguf_writer_commit(&j->writer))
        status = cannot_write(j);
    return status;
}

int weight_convert(const char *const *paths, size_t count, const char *out, const char *type, WeightCancel cancel, char *error,
                   size_t error_size)
{
    static const struct {
        const char *name;
        WeightType type;
    } types[] = {{"f32", WT_F32}, {"f16", WT_F16}, {"bf16", WT_BF16}, {"q8_0", WT_Q8_0}};
    Job j = {.out = out, .type = WT_COUNT, .cancel = cancel, .error = error, .error_size = error_size};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].name) == 0) j.type = types[i].type;
    }
    if (j.type == WT_COUNT) {
        return fail(&j, CONVERT_INPUT, "type '%s' is not one of f32, f16, bf16, q8_0", show_name(type).text);
    }
    int status = check_apart(&j, paths, count);
    if (status != CONVERT_OK) return status;
    j.set = weight_set_open(paths, count, error, error_size);
    if (!j.set) return CONVERT_INPUT;
    status = collect(&j);
    if (status == CONVERT_OK) status = write_file(&j);
    for (size_t i = 0; i < j.count; i++) free(j.items[i].name);
    free(j.items);
    weight_set_close(j.set);
    return status;
}
