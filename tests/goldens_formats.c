/*
 * Weight files with known contents: every tensor bit for bit, and malformed files that must be refused.
 *
 * A folder holds NAME, its values in NAME.expected.safetensors (or their CRC-32 in index.json), and where it has scaled
 * weights NAME.effective.safetensors; or, in an index with the key "must", files to refuse or to accept.
 */
#include "tests/goldens.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

typedef struct Folder {
    const char *path;
    JsonTree *index; /* NULL: none */
    void (*emit)(void *user, const Golden *g);
    void *user;
} Folder;

static void fail(Golden *g, const char *format, ...)
{
    if (g->verdict == GOLDEN_FAIL) return; /* the first fault is the one that helps */
    va_list list;
    va_start(list, format);
    vsnprintf(g->where, sizeof g->where, format, list);
    va_end(list);
    g->verdict = GOLDEN_FAIL;
}

/* zlib's CRC-32 (reflected polynomial 0xedb88320) */
static uint32_t crc32_of(const void *bytes, size_t size)
{
    uint32_t table[256], crc = 0xffffffff;
    const uint8_t *p = bytes;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++) table[i] = table[i] & 1 ? table[i] >> 1 ^ 0xedb88320 : table[i] >> 1;
    }
    for (size_t i = 0; i < size; i++) crc = crc >> 8 ^ table[(crc ^ p[i]) & 255];
    return ~crc;
}

static bool ends_in(const char *name, const char *end)
{
    size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

static bool exists(const char *path, bool folder)
{
    struct stat st;
    return stat(path, &st) == 0 && (folder ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode));
}

static JsonTree *read_json(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *text = malloc(size > 0 ? (size_t)size : 1);
    JsonTree *tree = NULL;
    if (text && size > 0 && fread(text, 1, (size_t)size, f) == (size_t)size) tree = json_tree_parse(text, (size_t)size);
    free(text);
    fclose(f);
    return tree;
}

static float *values_of(const WeightTensor *t)
{
    float *values = malloc((size_t)(t->count + 1) * sizeof *values);
    if (values) weight_read(t, 0, t->count, values);
    return values;
}

static bool same_shape(const WeightTensor *a, const WeightTensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0;
}

/*
 * Bits, not numbers: the sign of zero counts. A NaN may carry another payload than in the expected file, whose maker did
 * not keep them; the index's checksum is what holds them to their bits.
 */
static void compare_bits(Golden *g, const WeightTensor *t, const float *got, const WeightTensor *expected)
{
    float *want = values_of(expected);
    if (!want || !got) {
        fail(g, "not enough memory");
    } else if (!same_shape(t, expected)) {
        fail(g, "%s: another shape than expected", t->name);
    } else {
        for (int64_t i = 0; i < t->count; i++) {
            uint32_t a, b;
            memcpy(&a, got + i, 4);
            memcpy(&b, want + i, 4);
            bool both_nan = got[i] != got[i] && want[i] != want[i] && a >> 31 == b >> 31;
            if (a == b || both_nan) continue;
            double off = (double)got[i] - (double)want[i];
            if (off < 0) off = -off;
            if (off > g->max_abs) g->max_abs = off;
            fail(g, "%s[%lld]: %.9g (%08x), expected %.9g (%08x)", t->name, (long long)i, (double)got[i], (unsigned)a,
                 (double)want[i], (unsigned)b);
        }
    }
    free(want);
}

/* Type, shape and checksum of one tensor as an index states them; what it does not state is not judged. */
static void compare_entry(Golden *g, const WeightTensor *t, const JsonTree *entry)
{
    const JsonTree *shape = json_get(entry, "shape");
    const char *type = json_string(json_get(entry, "type"), weight_type_name(t->type));
    const char *crc = json_string(json_get(entry, "crc32"), "");
    if (strcmp(type, weight_type_name(t->type)) != 0) {
        fail(g, "%s: type %s, expected %s", t->name, weight_type_name(t->type), type);
    }
    bool same = !shape || json_count(shape) == t->rank;
    for (int i = 0; shape && same && i < t->rank; i++) same = json_int(json_at(shape, i), -1) == t->shape[i];
    if (!same) fail(g, "%s: another shape than index.json says", t->name);
    float *values = values_of(t);
    char found[9];
    snprintf(found, sizeof found, "%08x", values ? (unsigned)crc32_of(values, (size_t)t->count * sizeof *values) : 0);
    if (*crc && strcmp(found, crc) != 0) fail(g, "%s: CRC-32 %s, expected %s", t->name, found, crc);
    free(values);
}

static void compare_index(Golden *g, const WeightFile *f, const JsonTree *tensors)
{
    for (const JsonTree *entry = tensors ? tensors->child : NULL; entry; entry = entry->next) {
        const WeightTensor *t = weight_file_find(f, entry->key);
        if (t)
            compare_entry(g, t, entry);
        else
            fail(g, "%s: not in the file", entry->key);
    }
}

/* Every tensor of the file must be expected by the one or the other, and the other way round. */
static void compare_sound(Golden *g, const WeightFile *f, const char *expected_path, const JsonTree *tensors)
{
    char error[1024];
    WeightFile *expected = exists(expected_path, false) ? weight_file_open(expected_path, error, sizeof error) : NULL;
    if (!expected && exists(expected_path, false)) fail(g, "%s", error);
    compare_index(g, f, tensors);
    for (size_t i = 0; i < weight_file_tensor_count(f); i++) {
        const WeightTensor *t = weight_file_tensor(f, i);
        const WeightTensor *want = expected ? weight_file_find(expected, t->name) : NULL;
        if (want) {
            float *got = values_of(t);
            compare_bits(g, t, got, want);
            free(got);
        } else if (!json_get(tensors, t->name)) {
            fail(g, "%s: nothing says what it should hold", t->name);
        }
    }
    for (size_t i = 0; expected && i < weight_file_tensor_count(expected); i++) {
        const char *name = weight_file_tensor(expected, i)->name;
        if (!weight_file_find(f, name)) fail(g, "%s: not in the file", name);
    }
    weight_file_close(expected);
}

/* Stored x scale, through the same door as the networks. */
static void compare_effective(Golden *g, const WeightFile *f, const char *effective_path)
{
    char error[1024];
    WeightFile *effective = weight_file_open(effective_path, error, sizeof error);
    if (!effective) {
        fail(g, "%s", error);
        return;
    }
    const WeightPart part = {.file = f, .prefix = ""};
    for (size_t i = 0; i < weight_file_tensor_count(effective); i++) {
        const WeightTensor *want = weight_file_tensor(effective, i);
        BoundWeight bound;
        if (!weight_bind(&part, want->name, want->rank, want->shape, &bound, error, sizeof error)) {
            fail(g, "%s", error);
            continue;
        }
        float *got = malloc((size_t)(bound.count + 1) * sizeof *got);
        if (got) bound_read(&bound, 0, bound.count, got);
        compare_bits(g, bound.tensor, got, want);
        free(got);
    }
    weight_file_close(effective);
}

/* Refused with one sentence in good time, or read, as the index says. */
static void judge_malformed(Golden *g, const WeightFile *f, const char *error, double seconds, const JsonTree *entry)
{
    if (seconds > 1) fail(g, "opening took %.1f s", seconds);
    if (strcmp(json_string(json_get(entry, "must"), ""), "accept") == 0) {
        if (f)
            compare_index(g, f, json_get(entry, "tensors"));
        else
            fail(g, "refused: %s", error);
    } else if (f) {
        fail(g, "accepted, but: %s", json_string(json_get(entry, "fault"), "it is malformed"));
    } else {
        size_t path = strlen(g->path);
        bool sentence = strncmp(error, g->path, path) == 0 && strncmp(error + path, ": ", 2) == 0 && error[path + 2] &&
                        !strpbrk(error, "\r\n\033");
        if (!sentence) fail(g, "no sentence that begins with the path: %s", error);
        /* Another fault of the same file may be met first; that is allowed, and told. */
        const char *stated = json_string(json_get(entry, "sentence"), "");
        if (sentence && strcmp(error + path + 2, stated) != 0)
            snprintf(g->where, sizeof g->where, "%s", error + path + 2);
    }
}

static void judge_file(const Folder *folder, const char *name)
{
    char path[4096], expected[4200], effective[4200], error[2400], title[512];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    snprintf(expected, sizeof expected, "%s.expected.safetensors", path);
    snprintf(effective, sizeof effective, "%s.effective.safetensors", path);
    const char *base = strrchr(folder->path, '/');
    snprintf(title, sizeof title, "%s/%s", base && base[1] ? base + 1 : folder->path, name);
    Golden g = {.name = title, .path = path, .setup = {0}};
    const JsonTree *entry = json_get(json_get(folder->index, "files"), name);

    clock_t begin = clock();
    WeightFile *f = weight_file_open(path, error, sizeof error);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    g.file = f;
    if (json_get(entry, "must")) {
        judge_malformed(&g, f, error, seconds, entry);
    } else if (!f) {
        fail(&g, "%s", error);
    } else if (!entry && !exists(expected, false)) {
        g.verdict = GOLDEN_SKIP;
        snprintf(g.where, sizeof g.where, "neither index.json nor %s.expected.safetensors says what it holds", name);
    } else {
        compare_sound(&g, f, expected, json_get(entry, "tensors"));
        if (exists(effective, false)) compare_effective(&g, f, effective);
    }
    folder->emit(folder->user, &g);
    weight_file_close(f);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void judge_folder(const Folder *folder)
{
    struct dirent *e;
    char *names[4096], path[4096];
    size_t count = 0;
    DIR *d = opendir(folder->path);
    while (d && count < 4096 && (e = readdir(d))) {
        if (e->d_name[0] != '.' && (names[count] = strdup(e->d_name))) count++;
    }
    if (d) closedir(d);
    qsort(names, count, sizeof *names, by_text);
    for (size_t i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", folder->path, names[i]);
        bool belongs = strcmp(names[i], "index.json") == 0 || ends_in(names[i], ".expected.safetensors") ||
                       ends_in(names[i], ".effective.safetensors");
        if (exists(path, true))
            golden_formats(path, folder->emit, folder->user);
        else if (!belongs)
            judge_file(folder, names[i]);
    }
    const JsonTree *files = json_get(folder->index, "files");
    for (const JsonTree *entry = files ? files->child : NULL; entry; entry = entry->next) {
        snprintf(path, sizeof path, "%s/%s", folder->path, entry->key);
        Golden g = {.name = path, .path = path, .setup = {0}};
        if (exists(path, false)) continue;
        fail(&g, "index.json lists it, but it is not there");
        folder->emit(folder->user, &g);
    }
    for (size_t i = 0; i < count; i++) free(names[i]);
}

/* `path` may also be one file of such a folder. */
void golden_formats(const char *path, void (*emit)(void *user, const Golden *g), void *user)
{
    char where[4096], index[4200];
    snprintf(where, sizeof where, "%s", path);
    char *name = NULL;
    if (!exists(path, true)) {
        name = strrchr(where, '/');
        if (name) *name++ = 0;
    } else {
        size_t length = strlen(where);
        while (length > 1 && where[length - 1] == '/') where[--length] = 0;
    }
    bool here = !exists(path, true) && !name; /* a bare file name */
    Folder folder = {.path = here ? "." : where, .emit = emit, .user = user};
    snprintf(index, sizeof index, "%s/index.json", folder.path);
    folder.index = read_json(index);
    if (here)
        judge_file(&folder, path);
    else if (name)
        judge_file(&folder, name);
    else
        judge_folder(&folder);
    json_tree_free(folder.index);
}
