/*
 * One weight file: mapped, recognised by its first bytes, read by its container's reader.
 */
#include "loader/bytes.h"
#include "loader/contents.h"
#include "loader/layout.h"
#include "loader/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct WeightFile {
    char *path;
    const char *container;
    Map map;
    uint16_t *blank; /* of a blank file, which has no map */
    Contents contents;
};

static bool starts_with(const Contents *c, const void *bytes, size_t length)
{
    return c->size >= length && memcmp(c->bytes, bytes, length) == 0;
}

/* The order of these tests is part of the format: a safetensors header length may look like a pickle's first bytes. */
static bool read_any(Contents *c, const char **container)
{
    static const char legacy_ggml[][5] = {"lmgg", "fmgg", "tjgg", "algg", "ggml", "ggjt"};
    static const uint8_t legacy_torch[] = {0x80, 2,    0x8a, 0x0a, 0x6c, 0xfc, 0x9c,
                                           0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    const uint8_t *p = c->bytes;
    if (starts_with(c, "GGUF", 4)) {
        *container = "gguf";
        return gguf_read(c);
    }
    for (size_t i = 0; i < sizeof legacy_ggml / sizeof *legacy_ggml; i++) {
        if (starts_with(c, legacy_ggml[i], 4))
            return contents_fault(c, "legacy GGML file; convert it to GGUF version 2 or 3");
    }
    if (starts_with(c, "FUGG", 4))
        return contents_fault(c, "big-endian GGUF file; only little-endian files are supported");
    if (starts_with(c, "PK\3\4", 4) || starts_with(c, "PK\5\6", 4)) {
        *container = "torch";
        return torch_read(c);
    }
    if (starts_with(c, legacy_torch, sizeof legacy_torch)) {
        return contents_fault(c,
                              "legacy PyTorch file (before 1.6, not a zip); save it again with a current torch.save");
    }
    if (c->size >= 262 && memcmp(p + 257, "ustar", 5) == 0) {
        return contents_fault(c, "legacy PyTorch tar file; save it again with a current torch.save");
    }
    bool brace = c->size >= 9 && p[8] == '{';
    if (c->size >= 2 && p[0] == 0x80 && p[1] >= 2 && p[1] <= 5 && !brace) {
        return contents_fault(c, "bare pickle, not a PyTorch zip file");
    }
    if (starts_with(c, "version https://git-lfs", 23)) {
        return contents_fault(c, "this is a Git LFS pointer, not the weights; download the real file");
    }
    if (c->size < 9 || (!brace && load_u64(p) > 100000000)) {
        return contents_fault(c, "not a GGUF, safetensors or PyTorch zip file");
    }
    *container = "safetensors";
    return safetensors_read(c);
}

WeightFile *weight_file_open(const char *path, char *error, size_t error_size)
{
    char fault[512];
    size_t length = strlen(path);
    WeightFile *f = calloc(1, sizeof *f);
    if (f) f->path = malloc(length + 1);
    if (!f || !f->path) {
        snprintf(error, error_size, "%s: not enough memory to open the file", path);
        free(f);
        return NULL;
    }
    memcpy(f->path, path, length + 1);
    if (!map_open(&f->map, path, fault, sizeof fault)) {
        snprintf(error, error_size, "%s: %s", path, fault);
        weight_file_close(f);
        return NULL;
    }
    f->contents.bytes = f->map.bytes;
    f->contents.size = f->map.size;
    if (!read_any(&f->contents, &f->container)) {
        snprintf(error, error_size, "%s: %s", path, f->contents.fault);
        weight_file_close(f);
        return NULL;
    }
    return f;
}

static void add_blank(void *user, const char *name, const char *other, int rank, const int64_t *shape)
{
    (void)other;
    Contents *c = user;
    WeightTensor *t = contents_add_tensor(c, name, strlen(name));
    if (!t) return;
    t->type = WT_F16;
    t->rank = rank;
    t->count = 1;
    for (int i = 0; i < rank; i++) t->count *= t->shape[i] = shape[i];
    t->bytes = (uint64_t)t->count * 2;
}

/* Half floats of up to about 0.03 and of both signs: what a product of a thousand of them gives stays near 1. */
static void fill_blank(uint16_t *values, uint64_t count)
{
    const uint64_t begin = count < 1 << 20 ? count : 1 << 20; /* the rest repeats it */
    uint32_t state = 1;
    for (uint64_t i = 0; i < begin; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (uint16_t)((state >> 16 & 0x8000) | (0x2000 + (state >> 8 & 0x7ff)));
    }
    for (uint64_t i = begin; i < count; i += begin)
        memcpy(values + i, values, (size_t)(count - i < begin ? count - i : begin) * sizeof *values);
}

/* All tensors share one stretch of numbers, as long as the longest. */
WeightFile *weight_file_blank(const BlankNetworks *n)
{
    WeightFile *f = calloc(1, sizeof *f);
    if (f) f->path = calloc(1, sizeof "(blank)");
    if (!f || !f->path) {
        free(f);
        return NULL;
    }
    memcpy(f->path, "(blank)", sizeof "(blank)");
    f->container = "blank";
    if (n->vae) layout_vae(n->vae, add_blank, &f->contents);
    if (n->dit) layout_dit(n->dit, add_blank, &f->contents);
    if (n->flash_layers) layout_flash_dit(n->flash_layers, add_blank, &f->contents);
    if (n->flash_lq) layout_flash_lq(1, add_blank, &f->contents);
    if (n->tcdecoder) layout_tcdecoder(add_blank, &f->contents);
    if (n->wan_vae) layout_wan_vae(add_blank, &f->contents);
    uint64_t longest = 1;
    for (size_t i = 0; i < f->contents.tensor_count; i++) {
        if (f->contents.tensors[i].bytes > longest) longest = f->contents.tensors[i].bytes;
    }
    f->blank = malloc((size_t)longest);
    if (!f->blank || f->contents.fault[0] || !contents_index(&f->contents)) {
        weight_file_close(f);
        return NULL;
    }
    fill_blank(f->blank, longest / sizeof *f->blank);
    for (size_t i = 0; i < f->contents.tensor_count; i++) f->contents.tensors[i].data = (const uint8_t *)f->blank;
    return f;
}

void weight_file_close(WeightFile *f)
{
    if (!f) return;
    contents_free(&f->contents);
    map_close(&f->map);
    free(f->blank);
    free(f->path);
    free(f);
}

const char *weight_file_path(const WeightFile *f)
{
    return f->path;
}

const char *weight_file_container(const WeightFile *f)
{
    return f->container;
}

uint64_t weight_file_bytes(const WeightFile *f)
{
    return f->map.size;
}

size_t weight_file_tensor_count(const WeightFile *f)
{
    return f->contents.tensor_count;
}

const WeightTensor *weight_file_tensor(const WeightFile *f, size_t index)
{
    return &f->contents.tensors[index];
}

const WeightTensor *weight_file_find(const WeightFile *f, const char *name)
{
    return contents_find(&f->contents, name);
}

size_t weight_file_metadata_count(const WeightFile *f)
{
    return f->contents.metadata_count;
}

void weight_file_metadata(const WeightFile *f, size_t index, const char **key, const char **json_value)
{
    *key = f->contents.metadata[index].key;
    *json_value = f->contents.metadata[index].json;
}

const char *weight_file_metadata_string(const WeightFile *f, const char *key)
{
    for (size_t i = 0; i < f->contents.metadata_count; i++) {
        if (strcmp(f->contents.metadata[i].key, key) == 0) return f->contents.metadata[i].string;
    }
    return NULL;
}
