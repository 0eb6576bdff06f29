/*
 * The loader: containers, element types, recognition, binding, convert. Run from the root of the tree; the folder with the
 * sample files may be given as the only argument.
 */
#include "loader/dequant.h"
#include "loader/json.h"
#include "loader/weights.h"
#include "tests/goldens.h"
#include "tests/synth.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Test {
    int passed, failed, skipped;
    const char *data;    /* folder with the sample files */
    char folder[512];    /* for files made here */
    char paths[4][1024]; /* see made() */
    const char *name;    /* of the test that runs */
    char why[4096];      /* its first failure */
} Test;

static void begin(Test *t, const char *name)
{
    t->name = name;
    t->why[0] = 0;
}

static void end(Test *t)
{
    printf(t->why[0] ? "FAIL %s %s\n" : "ok %s\n", t->name, t->why);
    if (t->why[0])
        t->failed++;
    else
        t->passed++;
}

static void note(Test *t, int line, const char *format, ...)
{
    if (t->why[0]) return;
    int at = snprintf(t->why, sizeof t->why, "line %d: ", line);
    va_list list;
    va_start(list, format);
    vsnprintf(t->why + at, sizeof t->why - (size_t)at, format, list);
    va_end(list);
}

#define EXPECT(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) note(t, __LINE__, __VA_ARGS__);                                                              \
    } while (0)

/* A path in the folder for files made here; good until the same slot (0..3) is used again. */
static const char *made(Test *t, int slot, const char *name)
{
    snprintf(t->paths[slot], sizeof t->paths[slot], "%.511s/%.500s", t->folder, name);
    return t->paths[slot];
}

/* ----------------------------------------------------------------------------------------- sample files, malformed files */

static void count_golden(void *user, const Golden *g)
{
    Test *t = user;
    const char *verdict = g->verdict == GOLDEN_OK ? "ok" : g->verdict == GOLDEN_FAIL ? "FAIL" : "skip";
    printf("%s %s %s\n", verdict, g->name, g->where);
    t->passed += g->verdict == GOLDEN_OK;
    t->failed += g->verdict == GOLDEN_FAIL;
    t->skipped += g->verdict == GOLDEN_SKIP;
}

static uint8_t *read_bytes(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = malloc(*size + 1);
    if (bytes && fread(bytes, 1, *size, f) != *size) *size = 0;
    fclose(f);
    return bytes;
}

static bool write_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f) return false;
    bool ok = fwrite(bytes, 1, size, f) == size;
    return fclose(f) == 0 && ok;
}

/* Touch everything an open file promises. */
static void read_everything(const WeightFile *f)
{
    float values[512];
    for (size_t i = 0; i < weight_file_tensor_count(f); i++) {
        const WeightTensor *w = weight_file_tensor(f, i);
        int64_t n = w->count < 512 ? w->count : 512;
        weight_read(w, 0, n, values);
        weight_read(w, w->count - n, n, values);
    }
}

static void test_prefixes(Test *t, const char *path, const char *title)
{
    char error[2400];
    size_t size = 0;
    uint8_t *bytes = read_bytes(path, &size);
    WeightFile *whole = weight_file_open(path, error, sizeof error);
    begin(t, title);
    EXPECT(bytes && whole, "%s", error);
    bool gguf = whole && strcmp(weight_file_container(whole), "gguf") == 0;
    weight_file_close(whole);
    const char *copy = made(t, 0, "prefix");
    EXPECT(bytes && write_bytes(copy, bytes, size), "%s cannot be written", copy);
    for (size_t n = size; !t->why[0] && n-- > 0;) {
        EXPECT(truncate(copy, (off_t)n) == 0, "%s cannot be cut", copy);
        WeightFile *f = weight_file_open(copy, error, sizeof error);
        /* GGUF does not need the padding behind its last tensor. */
        bool padding = gguf && size - n < 64;
        for (size_t i = n; padding && i < size; i++) padding = bytes[i] == 0;
        EXPECT(!f || padding, "%zu of %zu bytes are accepted", n, size);
        EXPECT(f || strstr(error, ": "), "no sentence for %zu bytes", n);
        weight_file_close(f);
    }
    free(bytes);
    end(t);
}

/* Changes of one byte: must be read or refused, without a fault a sanitizer would see. */
static void test_changes(Test *t, const char *path, const char *title)
{
    static const uint8_t flips[] = {0x01, 0x80}; /* more find nothing new and take longer */
    char error[2400];
    size_t size = 0, opened = 0, refused = 0;
    uint8_t *bytes = read_bytes(path, &size);
    begin(t, title);
    const char *copy = made(t, 0, "changed");
    EXPECT(bytes && write_bytes(copy, bytes, size), "%s cannot be written", copy);
    FILE *f = fopen(copy, "r+b");
    EXPECT(f, "%s cannot be opened", copy);
    size_t header = size; /* PyTorch's headers are everywhere */
    if (size > 8 && memcmp(bytes, "PK", 2) != 0) {
        WeightFile *w = weight_file_open(path, error, sizeof error);
        EXPECT(w, "%s", error);
        uint64_t data = 0;
        for (size_t i = 0; w && i < weight_file_tensor_count(w); i++) data += weight_file_tensor(w, i)->bytes;
        header = data < size ? size - (size_t)data : size; /* at least: gaps count as header */
        weight_file_close(w);
    }
    for (size_t at = 0; f && at < header && !t->why[0]; at++) {
        for (size_t k = 0; k < sizeof flips && !t->why[0]; k++) {
            uint8_t changed = bytes[at] ^ flips[k];
            EXPECT(pwrite(fileno(f), &changed, 1, (off_t)at) == 1, "%s cannot be changed", copy);
            WeightFile *w = weight_file_open(copy, error, sizeof error);
            if (w) read_everything(w);
            if (w)
                opened++;
            else
                refused++;
            EXPECT(w || (strncmp(error, copy, strlen(copy)) == 0 && !strpbrk(error, "\n\r\033")),
                   "no clean sentence: %s", error);
            weight_file_close(w);
        }
        EXPECT(pwrite(fileno(f), bytes + at, 1, (off_t)at) == 1, "%s cannot be restored", copy);
    }
    EXPECT(opened && refused, "%zu opened, %zu refused: the changes reached nothing", opened, refused);
    if (f) fclose(f);
    free(bytes);
    end(t);
}

static void test_sample_files(Test *t)
{
    char folder[512], path[1024], title[512];
    snprintf(folder, sizeof folder, "%s/formats", t->data);
    golden_formats(folder, count_golden, t);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (strstr(e->d_name, ".expected.") || strstr(e->d_name, ".effective.") || strstr(e->d_name, ".json")) continue;
        if (stat(path, &st) || !S_ISREG(st.st_mode)) continue;
        snprintf(title, sizeof title, "prefixes/%s", e->d_name);
        test_prefixes(t, path, title);
        snprintf(title, sizeof title, "changes/%s", e->d_name);
        test_changes(t, path, title);
    }
    if (d) closedir(d);
}

/* ------------------------------------------------------------------------------------------------------- elements */

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

/* By the definition, in double arithmetic: sign, exponent field, mantissa field. */
static double small_float(uint32_t bits, int exponent_bits, int mantissa_bits, int bias)
{
    int exponent = (int)(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
    int mantissa = (int)(bits & ((1u << mantissa_bits) - 1));
    double sign = bits >> (exponent_bits + mantissa_bits) & 1 ? -1 : 1;
    if (exponent == 0) return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

static void test_small_floats(Test *t)
{
    begin(t, "elements/f16");
    for (uint32_t h = 0; h < 65536; h++) {
        uint32_t exponent = h >> 10 & 31, got = bits_of(half_to_float((uint16_t)h)), sign = h >> 15 << 31;
        uint32_t special = sign | 0x7f800000 | (h & 0x3ff) << 13; /* infinity; NaN with its payload, quiet or not */
        uint32_t want = exponent == 31 ? special : bits_of((float)small_float(h, 5, 10, 15));
        EXPECT(got == want, "%04x gives %08x, expected %08x", h, got, want);
    }
    end(t);
    begin(t, "elements/f8");
    for (uint32_t u = 0; u < 256; u++) {
        float e4m3, e5m2;
        uint8_t byte = (uint8_t)u;
        dequantize(WT_F8_E4M3, &byte, 1, &e4m3);
        dequantize(WT_F8_E5M2, &byte, 1, &e5m2);
        uint32_t sign = u >> 7 << 31;
        uint32_t want = (u & 127) == 127 ? sign | 0x7fc00000 : bits_of((float)small_float(u, 4, 3, 7));
        EXPECT(bits_of(e4m3) == want, "E4M3 %02x gives %08x, expected %08x", u, bits_of(e4m3), want);
        want = (u >> 2 & 31) == 31 ? sign | 0x7f800000 | (u & 3) << 21 : bits_of((float)small_float(u, 5, 2, 15));
        EXPECT(bits_of(e5m2) == want, "E5M2 %02x gives %08x, expected %08x", u, bits_of(e5m2), want);
    }
    end(t);
}

static void test_partial_reads(Test *t)
{
    static const char *const files[] = {"quants.gguf", "views.pt", "dtypes.safetensors"};
    begin(t, "elements/partial reads");
    for (int k = 0; k < 3; k++) {
        char path[512], error[2400];
        snprintf(path, sizeof path, "%s/formats/%s", t->data, files[k]);
        WeightFile *f = weight_file_open(path, error, sizeof error);
        EXPECT(f, "%s", error);
        for (size_t i = 0; f && i < weight_file_tensor_count(f); i++) {
            const WeightTensor *w = weight_file_tensor(f, i);
            float *whole = malloc((size_t)(w->count + 1) * sizeof *whole),
                  *part = malloc((size_t)(w->count + 1) * sizeof *part);
            if (!whole || !part) abort();
            weight_read(w, 0, w->count, whole);
            for (int64_t first = 0; first < w->count; first += 1 + first / 7) {
                int64_t n = (first * 31 + 5) % (w->count - first) + 1;
                weight_read(w, first, n, part);
                EXPECT(memcmp(part, whole + first, (size_t)n * sizeof *part) == 0, "%s %s: %lld from %lld", files[k],
                       w->name, (long long)n, (long long)first);
            }
            free(whole);
            free(part);
        }
        weight_file_close(f);
    }
    end(t);
}

/* ------------------------------------------------------------------------------------------------------------ JSON */

static void test_json(Test *t)
{
    static const char *const good[] = {
        "{}", "[]", " [1, -0, 2.5e+3, 0.1, 1E9] ", "{\"a\":{\"b\":[null,true,false]}}", "\"\\u00e9\\ud83d\\ude00\\n\"",
        "0"};
    static const char *const bad[] = {"",      "{",         "[1,]",        "{\"a\":1,}", "[01]",    "[+1]",
                                      "[1.]",  "[.5]",      "[1e]",        "{a:1}",      "[NaN]",   "[\"\t\"]",
                                      "[1] 2", "{\"a\" 1}", "[\"\\x\"]",   "[\"a]",      "[tru]",   "{\"a\":}",
                                      "[1 2]", "// c\n[]",  "\"\\u12g4\"", "[}",         "{\"a\"]", "\"\xff\""};
    begin(t, "json/grammar");
    for (size_t i = 0; i < sizeof good / sizeof *good + sizeof bad / sizeof *bad; i++) {
        bool sound = i < sizeof good / sizeof *good;
        const char *text = sound ? good[i] : bad[i - sizeof good / sizeof *good];
        JsonReader r;
        json_open(&r, text, strlen(text), 8);
        JsonToken token;
        do token = json_next(&r);
        while (token != JSON_END && token != JSON_ERROR);
        EXPECT((token == JSON_END) == sound, "%s is %s", text, sound ? "refused" : "accepted");
        json_close(&r);
    }
    JsonReader r;
    json_open(&r, "[[[[1]]]]", 9, 3);
    JsonToken token;
    do token = json_next(&r);
    while (token != JSON_END && token != JSON_ERROR);
    EXPECT(r.error == JSON_DEPTH, "four levels pass where three are allowed");
    json_close(&r);
    json_open(&r, "\"\\ud83d\\ude00\\ud800\"", 20, 3);
    EXPECT(json_next(&r) == JSON_STRING && r.lone_surrogate && strcmp(r.string, "\xf0\x9f\x98\x80\xef\xbf\xbd") == 0,
           "surrogates are not decoded");
    json_close(&r);
    int64_t value;
    bool overflow;
    EXPECT(json_whole_number("9223372036854775807", 19, &value, &overflow) && value == INT64_MAX, "2^63 - 1");
    EXPECT(!json_whole_number("9223372036854775808", 19, &value, &overflow) && overflow, "2^63 does not overflow");
    EXPECT(!json_whole_number("1.0", 3, &value, &overflow) && !overflow, "a fraction is whole");
    end(t);
}

/* ---------------------------------------------------------------------------------- a small safetensors writer */

typedef struct Writer {
    char header[16384];
    size_t header_length, data_length;
    uint8_t data[65536];
} Writer;

static Writer *writer(void)
{
    Writer *w = calloc(1, sizeof *w);
    if (!w) abort();
    w->header_length = (size_t)sprintf(w->header, "{");
    return w;
}

/* bytes NULL: zeros */
static void add(Writer *w, const char *name, const char *dtype, const char *shape, const void *bytes, size_t size)
{
    if (size > sizeof w->data - w->data_length || w->header_length > sizeof w->header - 300) abort();
    if (bytes) memcpy(w->data + w->data_length, bytes, size);
    w->header_length += (size_t)sprintf(
        w->header + w->header_length, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
        w->header_length > 1 ? "," : "", name, dtype, shape, w->data_length, w->data_length + size);
    w->data_length += size;
}

/* Writes and frees. */
static const char *finish(Test *t, Writer *w, int slot, const char *name)
{
    const char *path = made(t, slot, name);
    FILE *f = fopen(path, "wb");
    if (!f) abort();
    w->header[w->header_length++] = '}';
    uint8_t length[8] = {(uint8_t)w->header_length, (uint8_t)(w->header_length >> 8),
                         (uint8_t)(w->header_length >> 16)};
    fwrite(length, 1, 8, f);
    fwrite(w->header, 1, w->header_length, f);
    fwrite(w->data, 1, w->data_length, f);
    fclose(f);
    free(w);
    return path;
}

/* ----------------------------------------------------------------------------------------------- shapes and scales */

static bool bind(const WeightFile *f, const char *name, int rank, const int64_t *shape, BoundWeight *out,
                 char error[2400])
{
    const WeightPart part = {.file = f, .prefix = ""};
    return weight_bind(&part, name, rank, shape, out, error, 2400);
}

static void test_shapes(Test *t)
{
    char error[2400];
    BoundWeight b;
    Writer *w = writer();
    add(w, "five", "F32", "[2,3,1,3,3]", NULL, 216);
    add(w, "squeezed", "F32", "[2,3,3,3]", NULL, 216);
    add(w, "merged", "F32", "[6,1,3,3]", NULL, 216);
    add(w, "flat", "F32", "[54]", NULL, 216);
    add(w, "linear", "F32", "[6,9,1,1]", NULL, 216);
    add(w, "scalar", "F32", "[]", NULL, 4);
    const char *path = finish(t, w, 0, "shapes.safetensors");
    WeightFile *f = weight_file_open(path, error, sizeof error);
    begin(t, "bind/shapes");
    EXPECT(f, "%s", error);
    if (f) {
        const int64_t five[] = {2, 3, 1, 3, 3}, permuted[] = {3, 2, 1, 3, 3}, linear[] = {6, 9}, one[] = {1},
                      other[] = {2, 3, 1, 3, 4};
        EXPECT(bind(f, "five", 5, five, &b, error), "equal: %s", error);
        EXPECT(bind(f, "squeezed", 5, five, &b, error), "without ones: %s", error);
        EXPECT(bind(f, "merged", 5, five, &b, error), "outer two multiplied: %s", error);
        EXPECT(b.rank == 5 && b.count == 54 && b.shape[1] == 3, "the bound shape is not the needed one");
        EXPECT(bind(f, "linear", 2, linear, &b, error), "a 1x1 convolution as a matrix: %s", error);
        EXPECT(bind(f, "scalar", 1, one, &b, error), "a scalar as one element: %s", error);
        EXPECT(bind(f, "flat", 5, five, &b, error), "flat without a record, more than four dimensions needed: %s", error);
        EXPECT(!bind(f, "flat", 5, other, &b, error) && strstr(error, "[54]") && strstr(error, "[2, 3, 1, 3, 4]"),
               "a flat tensor of another size: %s", error);
        EXPECT(!bind(f, "flat", 2, linear, &b, error), "a flat tensor passes for a matrix");
        EXPECT(!bind(f, "five", 5, permuted, &b, error) && !b.tensor, "a permuted shape passes");
        EXPECT(!bind(f, "gone", 1, one, &b, error) && strstr(error, "'gone'") && strstr(error, "shapes.safetensors"),
               "missing: %s", error);
    }
    weight_file_close(f);
    end(t);
}

static void test_scales(Test *t)
{
    static const float rows[4] = {1, 2, 0.5f, 3}, three[3] = {1, 1, 1}, two = 2;
    static const uint8_t ones[8] = {0x38, 0x38, 0x38, 0x38, 0x38, 0x38, 0x38, 0x38}; /* 1 in E4M3 */
    static const char e4m3[] = "{\"format\":\"float8_e4m3fn\"}", other[] = "{\"x\":[1],\"format\":\"mxfp8\"}";
    const int64_t shape[] = {4, 2};
    char error[2400];
    BoundWeight b;
    Writer *w = writer();
    add(w, "row.weight", "F8_E4M3", "[4,2]", ones, 8);
    add(w, "row.scale_weight", "F32", "[4,1]", rows, 16);
    add(w, "one.weight", "I8", "[4,2]", ones, 8);
    add(w, "one.weight_scale", "F32", "[]", &two, 4);
    add(w, "one.comfy_quant", "U8", "[26]", e4m3, 26);
    add(w, "odd.weight", "F8_E4M3", "[4,2]", ones, 8);
    add(w, "odd.weight_scale", "F32", "[3]", three, 12);
    add(w, "plain.weight", "F32", "[4,2]", NULL, 32);
    add(w, "plain.weight_scale", "F32", "[]", &two, 4);
    add(w, "other.weight", "F8_E4M3", "[4,2]", ones, 8);
    add(w, "other.comfy_quant", "U8", "[26]", other, 26);
    const char *path = finish(t, w, 0, "scales.safetensors");
    WeightFile *f = weight_file_open(path, error, sizeof error);
    begin(t, "bind/scales");
    EXPECT(f, "%s", error);
    if (f) {
        float got[8];
        EXPECT(bind(f, "row.weight", 2, shape, &b, error) && b.scale, "per row: %s", error);
        if (b.tensor) {
            bound_read(&b, 1, 6, got);
            static const float want[6] = {1, 2, 2, 0.5f, 0.5f, 3};
            EXPECT(memcmp(got, want, sizeof want) == 0, "per row: %g %g %g %g %g %g", (double)got[0], (double)got[1],
                   (double)got[2], (double)got[3], (double)got[4], (double)got[5]);
        }
        EXPECT(bind(f, "one.weight", 2, shape, &b, error), "one scale: %s", error);
        if (b.tensor) {
            bound_read(&b, 7, 1, got);
            EXPECT(got[0] == 112, "one scale: %g, expected 56 * 2", (double)got[0]);
        }
        EXPECT(!bind(f, "odd.weight", 2, shape, &b, error) && strstr(error, "odd.weight_scale"),
               "3 scales for 4 rows: %s", error);
        EXPECT(!bind(f, "plain.weight", 2, shape, &b, error) && strstr(error, "F32"), "a scaled F32 weight: %s", error);
        EXPECT(!bind(f, "other.weight", 2, shape, &b, error) && strstr(error, "'mxfp8'"), "another format: %s", error);
    }
    weight_file_close(f);
    end(t);
}

/* ------------------------------------------------------------------------------------------------------ recognition */

typedef struct Renaming {
    const char *prefix, *half;  /* half: only names that begin with it, NULL all */
    bool old_attention, merged; /* merged: 5-D weights as 4-D ones, the outer two dimensions multiplied */
} Renaming;

static void fill(void *user, const SynthShape *s, float *out)
{
    (void)user;
    synth_weight(s->name, s->rank, s->shape, 1.0, out);
}

static void replace(char *name, size_t size, const char *from, const char *to)
{
    char *at = strstr(name, from), rest[160];
    if (!at) return;
    snprintf(rest, sizeof rest, "%s", at + strlen(from));
    snprintf(at, size - (size_t)(at - name), "%s%s", to, rest);
}

static const char *write_network(Test *t, SynthShape *shapes, int count, Renaming r, int slot, const char *name)
{
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (r.half && strncmp(shapes[i].name, r.half, strlen(r.half)) != 0) continue;
        SynthShape s = shapes[i];
        snprintf(s.name, sizeof s.name, "%s%s", r.prefix, shapes[i].name);
        if (r.old_attention) {
            replace(s.name, sizeof s.name, "to_q.", "query.");
            replace(s.name, sizeof s.name, "to_k.", "key.");
            replace(s.name, sizeof s.name, "to_v.", "value.");
            replace(s.name, sizeof s.name, "to_out.0.", "proj_attn.");
        }
        if (r.merged && s.rank == 5) {
            s.rank = 4;
            s.shape[0] *= s.shape[1];
            memmove(s.shape + 1, s.shape + 2, 3 * sizeof *s.shape);
        }
        shapes[kept++] = s;
    }
    const char *path = made(t, slot, name);
    if (synth_write_safetensors(path, shapes, kept, fill, NULL) != 0) abort();
    return path;
}

static const int narrow[4] = {32, 32, 64, 96};

static const char *write_vae(Test *t, Renaming r, int slot, const char *name)
{
    SynthShape *shapes;
    int count = synth_vae_layout(narrow, 4, 4, 1, 2, 3, &shapes);
    const char *path = write_network(t, shapes, count, r, slot, name);
    free(shapes);
    return path;
}

static const char *write_dit(Test *t, Renaming r, int is_7b, int slot, const char *name)
{
    SynthShape *shapes;
    int count = synth_dit_layout(is_7b, 3, 64, 2, 32, 48, 1, 33, 16, &shapes);
    const char *path = write_network(t, shapes, count, r, slot, name);
    free(shapes);
    return path;
}

static WeightSet *open_set(Test *t, size_t count, const char *const *paths)
{
    char error[2400] = "";
    WeightSet *s = weight_set_open(paths, count, error, sizeof error);
    EXPECT(s, "%s", error);
    return s;
}

static void expect_vae(Test *t, const WeightPart *p, const char *prefix, bool encoder, bool decoder)
{
    const VaeConfig *c = &p->vae;
    EXPECT(p->network == NET_SEEDVR2_VAE, "recognised as %s", weight_network_name(p->network));
    EXPECT(strcmp(p->prefix, prefix) == 0, "prefix '%s'", p->prefix);
    EXPECT(c->has_encoder == encoder && c->has_decoder == decoder, "halves %d %d", c->has_encoder, c->has_decoder);
    EXPECT(c->levels == 4 && c->width[0] == 32 && c->width[2] == 64 && c->width[3] == 96, "widths %s", p->json);
    EXPECT(c->latent_channels == 4 && c->pixel_channels == 3 && c->spatial_factor == 8 && c->temporal_factor == 4, "%s",
           p->json);
    EXPECT(!encoder || (c->encoder_blocks == 1 && !c->temporal_down[0] && c->temporal_down[1] && c->temporal_down[2]),
           "encoder: %s", p->json);
    EXPECT(!decoder || (c->decoder_blocks == 2 && c->temporal_up[0] && c->temporal_up[1] && !c->temporal_up[2]),
           "decoder: %s", p->json);
    EXPECT(p->missing_count == 0 && p->unused_count == 0, "missing %s, unused %s", p->missing, p->unused);
}

static void test_recognition(Test *t)
{
    static const struct {
        const char *title;
        Renaming r;
        bool encoder, decoder;
    } vaes[] = {
        {"recognise/vae", {"", NULL, false, false}, true, true},
        {"recognise/vae with a prefix", {"first_stage_model.", NULL, false, false}, true, true},
        {"recognise/encoder alone", {"", "encoder.", false, false}, true, false},
        {"recognise/decoder alone", {"vae.", "decoder.", false, false}, false, true},
        {"recognise/old attention names", {"", NULL, true, false}, true, true},
        {"recognise/four dimensions", {"", NULL, false, true}, true, true},
    };
    for (size_t i = 0; i < sizeof vaes / sizeof *vaes; i++) {
        begin(t, vaes[i].title);
        const char *path = write_vae(t, vaes[i].r, 0, "vae.gguf"); /* the name must not matter */
        WeightSet *s = open_set(t, 1, &path);
        EXPECT(!s || weight_set_part_count(s) == 1, "%zu parts", weight_set_part_count(s));
        if (s && weight_set_part_count(s)) {
            const WeightPart *p = weight_set_part(s, 0);
            const char *half = vaes[i].encoder ? "encoder.conv_in.weight" : "decoder.conv_in.weight";
            const int64_t shape[5] = {vaes[i].encoder ? 32 : 96, vaes[i].encoder ? 3 : 4, 3, 3, 3};
            BoundWeight b;
            char error[2400] = "";
            expect_vae(t, p, vaes[i].r.prefix, vaes[i].encoder, vaes[i].decoder);
            EXPECT(weight_bind(p, half, 5, shape, &b, error, sizeof error), "%s", error);
        }
        weight_set_close(s);
        end(t);
    }
    for (int is_7b = 0; is_7b < 2; is_7b++) {
        begin(t, is_7b ? "recognise/7B kind" : "recognise/3B kind");
        const char *path = write_dit(t, (Renaming){"model.diffusion_model.", NULL, false, false}, is_7b, 0, "dit.bin");
        WeightSet *s = open_set(t, 1, &path);
        const WeightPart *p = s && weight_set_part_count(s) == 1 ? weight_set_part(s, 0) : NULL;
        EXPECT(p && p->network == NET_SEEDVR2_DIT, "not recognised");
        if (p) {
            const DitConfig *c = &p->dit;
            EXPECT(c->is_7b == is_7b && c->layers == 3 && c->width == 64 && c->heads == 2 && c->head_dim == 32, "%s",
                   p->json);
            EXPECT(c->text_width == 48 && c->in_channels == 33 && c->out_channels == 16 && c->time_width == 256, "%s",
                   p->json);
            EXPECT(!c->shared[0] && c->shared[1] == !is_7b && c->shared[2] == !is_7b, "shared: %s", p->json);
            EXPECT(c->mlp_hidden == 256, "%s", p->json);
            EXPECT(p->missing_count == 0 && p->unused_count == 0, "missing %s, unused %s", p->missing, p->unused);
        }
        weight_set_close(s);
        end(t);
    }
}

static void test_missing_and_unused(Test *t)
{
    SynthShape *shapes;
    int count = synth_vae_layout(narrow, 4, 4, 1, 2, 3, &shapes);
    begin(t, "recognise/missing and unused");
    for (int i = 0; i < count; i++) {
        if (strcmp(shapes[i].name, "decoder.conv_norm_out.bias") == 0) strcpy(shapes[i].name, "decoder.stranger.bias");
    }
    const char *path = write_network(t, shapes, count, (Renaming){"", NULL, false, false}, 0, "vae");
    WeightSet *s = open_set(t, 1, &path);
    if (s && weight_set_part_count(s) == 1) {
        const WeightPart *p = weight_set_part(s, 0);
        EXPECT(p->missing_count == 1 && strcmp(p->missing, "decoder.conv_norm_out.bias\n") == 0, "missing %s",
               p->missing);
        EXPECT(p->unused_count == 1 && strcmp(p->unused, "decoder.stranger.bias\n") == 0, "unused %s", p->unused);
    } else {
        EXPECT(false, "not recognised");
    }
    weight_set_close(s);
    free(shapes);
    end(t);
}

static const char *write_text(Test *t, int slot, const char *file, const char *tensor, const char *shape, size_t count)
{
    Writer *w = writer();
    add(w, tensor, "F32", shape, NULL, 4 * count);
    return finish(t, w, slot, file);
}

static const WeightFile *text_of(const WeightSet *s, bool negative, int width, char error[2400])
{
    error[0] = 0;
    const WeightPart *p = s ? weight_set_require(s, NET_TEXT, negative, width, error, 2400) : NULL;
    return p ? p->file : NULL;
}

static void test_texts(Test *t)
{
    char error[2400];
    begin(t, "require/texts");
    const char *first = write_text(t, 0, "one.st", "w", "[3,48]", 144),
               *second = write_text(t, 1, "two.st", "v", "[2,48]", 96);
    const char *negative = write_text(t, 2, "three.st", "neg_emb", "[2,48]", 96);
    const char *prompt = write_text(t, 3, "four.st", "x", "[1,2,64]", 128);
    WeightSet *s = open_set(t, 2, (const char *const[]){first, second});
    EXPECT(s && text_of(s, false, 48, error) == weight_set_file(s, 0), "of two unnamed ones the first is positive: %s",
           error);
    EXPECT(s && text_of(s, true, 48, error) == weight_set_file(s, 1), "and the second negative: %s", error);
    weight_set_close(s);
    s = open_set(t, 3, (const char *const[]){negative, prompt, first});
    EXPECT(s && text_of(s, false, 48, error) == weight_set_file(s, 2), "the unnamed one of this width: %s", error);
    EXPECT(s && text_of(s, true, 48, error) == weight_set_file(s, 0), "neg_emb: %s", error);
    EXPECT(s && text_of(s, false, 64, error) == weight_set_file(s, 1), "[1, rows, width]: %s", error);
    EXPECT(s && !text_of(s, false, 32, error) && strstr(error, "32"), "another width: %s", error);
    weight_set_close(s);
    s = open_set(t, 3, (const char *const[]){first, second, negative});
    EXPECT(s && !text_of(s, false, 48, error) && strstr(error, first) && strstr(error, second), "two positives: %s",
           error);
    weight_set_close(s);
    s = open_set(t, 1, (const char *const[]){first});
    EXPECT(s && !text_of(s, true, 48, error) && strstr(error, "neg_emb"), "no negative: %s", error);
    EXPECT(s && !weight_set_require(s, NET_SEEDVR2_VAE, false, 0, error, sizeof error) &&
               strstr(error, "SeedVR2 VAE") && strstr(error, "text embedding"),
           "an absent VAE: %s", error);
    weight_set_close(s);
    end(t);

    begin(t, "require/two of a kind");
    const char *a = write_vae(t, (Renaming){"", NULL, false, false}, 0, "a"),
               *b = write_vae(t, (Renaming){"vae.", NULL, false, false}, 1, "b");
    s = open_set(t, 2, (const char *const[]){a, b});
    EXPECT(s && !weight_set_require(s, NET_SEEDVR2_VAE, false, 0, error, sizeof error) && strstr(error, a) &&
               strstr(error, b),
           "both must be named: %s", error);
    weight_set_close(s);
    end(t);

    begin(t, "require/halves of a VAE");
    const char *encoder = write_vae(t, (Renaming){"", "encoder.", false, false}, 0, "encoder"),
               *decoder = write_vae(t, (Renaming){"", "decoder.", false, false}, 1, "decoder");
    VaeParts parts;
    s = open_set(t, 2, (const char *const[]){decoder, encoder});
    EXPECT(s && weight_set_require_vae(s, true, true, &parts, error, sizeof error), "two halves: %s", error);
    EXPECT(!s || (parts.encoder->file == weight_set_file(s, 1) && parts.decoder->file == weight_set_file(s, 0)),
           "halves of the wrong files");
    weight_set_close(s);
    s = open_set(t, 1, &encoder);
    EXPECT(s && weight_set_require_vae(s, true, false, &parts, error, sizeof error) && !parts.decoder, "%s", error);
    EXPECT(s && !weight_set_require_vae(s, true, true, &parts, error, sizeof error) && strstr(error, "decoder"),
           "a missing half: %s", error);
    weight_set_close(s);
    const char *whole = write_vae(t, (Renaming){"", NULL, false, false}, 2, "whole");
    s = open_set(t, 2, (const char *const[]){encoder, whole});
    EXPECT(s && !weight_set_require_vae(s, true, true, &parts, error, sizeof error) && strstr(error, encoder) &&
               strstr(error, whole), "an encoder in two files: %s", error);
    weight_set_close(s);
    end(t);
}

/* ---------------------------------------------------------------------------------------------------------- convert */

/* x rounded to `mantissa_bits` bits behind the leading one, exponents from `least` on, ties to even. */
static double rounded(double x, int mantissa_bits, int least)
{
    if (x == 0) return x;
    int exponent;
    frexp(x, &exponent);
    exponent = exponent - 1 < least ? least : exponent - 1;
    double unit = ldexp(1, exponent - mantissa_bits);
    return nearbyint(x / unit) * unit;
}

/* What a Q8_0 block gives back, by its definition. */
static void expected_q8_0(const float *x, float *out)
{
    float largest = 0;
    for (int i = 0; i < 32; i++) largest = fmaxf(largest, fabsf(x[i]));
    float d = largest / 127.0f;
    double stored = rounded((double)d, 10, -14);
    for (int i = 0; i < 32; i++) {
        float scaled = d != 0 ? x[i] * (1.0f / d) : 0;
        double q = floor(fabs((double)scaled) + 0.5);
        out[i] = (float)(stored * (scaled < 0 ? -q : q));
    }
}

static void compare_converted(Test *t, const WeightTensor *from, const WeightTensor *to, const char *type)
{
    float *x = malloc((size_t)from->count * 4), *y = malloc((size_t)from->count * 4), block[32];
    if (!x || !y) abort();
    bool q8 = strcmp(type, "q8_0") == 0, matrix = from->rank == 2 && from->shape[1] % 32 == 0;
    WeightType want = !strcmp(type, "f32") || (q8 && from->rank < 2) ? WT_F32
                      : !strcmp(type, "bf16")                        ? WT_BF16
                      : q8 && matrix                                 ? WT_Q8_0
                                                                     : WT_F16;
    EXPECT(to->type == want, "%s: stored as %s, expected %s", to->name, weight_type_name(to->type),
           weight_type_name(want));
    EXPECT(to->rank == from->rank && !memcmp(to->shape, from->shape, sizeof *to->shape * (size_t)to->rank), "%s: shape",
           to->name);
    weight_read(from, 0, from->count, x);
    weight_read(to, 0, to->count == from->count ? to->count : 0, y);
    for (int64_t i = 0; i < from->count && !t->why[0]; i++) {
        float expected = x[i];
        if (want == WT_F16) expected = (float)rounded((double)x[i], 10, -14);
        if (want == WT_BF16) expected = (float)rounded((double)x[i], 7, -126);
        if (want == WT_Q8_0 && i % 32 == 0) expected_q8_0(x + i, block);
        if (want == WT_Q8_0) expected = block[i % 32];
        EXPECT(y[i] == expected, "%s[%lld]: %.9g became %.9g, expected %.9g", to->name, (long long)i, (double)x[i],
               (double)y[i], (double)expected);
    }
    free(x);
    free(y);
}

static void test_convert(Test *t)
{
    static const char *const types[] = {"f32", "f16", "bf16", "q8_0"};
    char error[2400] = "", title[64], name[256];
    for (int k = 0; k < 4; k++) {
        snprintf(title, sizeof title, "convert/%s", types[k]);
        begin(t, title);
        const char *vae = write_vae(t, (Renaming){"first_stage_model.", NULL, false, false}, 0, "vae");
        const char *dit = write_dit(t, (Renaming){"", NULL, false, false}, 0, 1, "dit");
        const char *text = write_text(t, 2, "text", "whatever", "[5,48]", 240), *out = made(t, 3, "merged.gguf");
        const char *const paths[] = {text, vae, dit};
        int status = weight_convert(paths, 3, out, types[k], (WeightCancel){0}, error, sizeof error);
        EXPECT(status == 0, "%s", error);
        WeightSet *from = open_set(t, 3, paths), *to = status == 0 ? open_set(t, 1, &out) : NULL;
        EXPECT(!to || weight_set_part_count(to) == 3, "%zu parts", weight_set_part_count(to));
        for (size_t i = 0; to && i < weight_set_part_count(to); i++) {
            const WeightPart *p = weight_set_part(to, i);
            EXPECT(!p->missing_count && !p->unused_count, "%s: missing %s unused %s", p->summary, p->missing,
                   p->unused);
            if (p->network == NET_SEEDVR2_VAE) expect_vae(t, p, "vae.", true, true);
        }
        for (size_t i = 0; from && to && i < weight_set_part_count(from); i++) {
            const WeightPart *p = weight_set_part(from, i);
            const char *prefix = p->network == NET_SEEDVR2_VAE   ? "vae."
                                 : p->network == NET_SEEDVR2_DIT ? "model.diffusion_model."
                                                                 : "";
            for (size_t j = 0; j < weight_file_tensor_count(p->file); j++) {
                const WeightTensor *a = weight_file_tensor(p->file, j);
                snprintf(name, sizeof name, "%s%s", prefix,
                         p->network == NET_TEXT ? "pos_emb" : a->name + strlen(p->prefix));
                const WeightTensor *b = weight_file_find(weight_set_file(to, 0), name);
                EXPECT(b, "%s is not in the merged file", name);
                if (b) compare_converted(t, a, b, types[k]);
            }
        }
        weight_set_close(from);
        weight_set_close(to);
        unlink(out);
        end(t);
    }
}

static void test_convert_samples(Test *t)
{
    char error[2400] = "", source[512], effective[1100];
    const char *path = source, *out = made(t, 3, "sample.gguf");
    begin(t, "convert/views are gathered");
    snprintf(source, sizeof source, "%s/formats/views.pt", t->data);
    WeightFile *f = weight_file_open(source, error, sizeof error);
    Writer *w = writer();
    for (size_t i = 0; f && i < weight_file_tensor_count(f); i++) { /* all but the empty one, which GGUF cannot hold */
        const WeightTensor *v = weight_file_tensor(f, i);
        float values[512];
        char shape[128];
        int n = snprintf(shape, sizeof shape, "[");
        for (int k = 0; k < v->rank; k++) n += sprintf(shape + n, "%s%lld", k ? "," : "", (long long)v->shape[k]);
        sprintf(shape + n, "]");
        if (!v->count || v->count > 512) continue;
        weight_read(v, 0, v->count, values);
        add(w, v->name, "F32", shape, values, (size_t)v->count * 4);
    }
    const char *plain = finish(t, w, 0, "plain");
    EXPECT(weight_convert(&path, 1, out, "f32", (WeightCancel){0}, error, sizeof error) == 1 && strstr(error, "'empty'"),
           "a tensor without elements: %s", error);
    EXPECT(weight_convert(&plain, 1, out, "f32", (WeightCancel){0}, error, sizeof error) == 0, "%s", error);
    WeightFile *g = weight_file_open(out, error, sizeof error);
    for (size_t i = 0; f && g && i < weight_file_tensor_count(f); i++) {
        const WeightTensor *a = weight_file_tensor(f, i), *b = weight_file_find(g, a->name);
        if (a->count) EXPECT(b, "%s is gone", a->name);
        if (b) compare_converted(t, a, b, "f32");
    }
    weight_file_close(f);
    weight_file_close(g);
    end(t);

    begin(t, "convert/scales are applied");
    snprintf(source, sizeof source, "%s/formats/fp8_scaled.safetensors", t->data);
    snprintf(effective, sizeof effective, "%s.effective.safetensors", source);
    EXPECT(weight_convert(&path, 1, out, "f32", (WeightCancel){0}, error, sizeof error) == 0, "%s", error);
    f = weight_file_open(effective, error, sizeof error);
    g = weight_file_open(out, error, sizeof error);
    EXPECT(f && g, "%s", error);
    for (size_t i = 0; f && g && i < weight_file_tensor_count(f); i++) {
        const WeightTensor *a = weight_file_tensor(f, i), *b = weight_file_find(g, a->name);
        EXPECT(b, "%s is gone", a->name);
        float x[512], y[512];
        if (!b || a->count > 512 || b->count != a->count) continue;
        weight_read(a, 0, a->count, x);
        weight_read(b, 0, b->count, y);
        EXPECT(memcmp(x, y, (size_t)a->count * 4) == 0, "%s: other values", a->name);
    }
    EXPECT(g && !weight_file_find(g, "scaled_fp8") && !weight_file_find(g, "blocks.0.attn.q.scale_weight"),
           "scales are left over");
    weight_file_close(f);
    weight_file_close(g);
    unlink(out);
    end(t);
}

static size_t read_start(const char *path, char *bytes, size_t size)
{
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(bytes, 1, size, f) : 0;
    if (f) fclose(f);
    return n;
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* By each of its names the input is left alone, and so is what the output is called while it is written. */
static void test_convert_apart(Test *t)
{
    static const float some[4] = {1, 2, 3, 4};
    char error[2400] = "", other[1200], before[256], after[256];
    begin(t, "convert/onto an input");
    Writer *w = writer();
    add(w, "some", "F32", "[2,2]", some, sizeof some);
    const char *path = finish(t, w, 0, "some"), *out = made(t, 3, "half.gguf");
    size_t size = read_start(path, before, sizeof before);
    const char *folder = t->folder, *name = strrchr(path, '/') + 1;
    snprintf(other, sizeof other, "%s/./%s", folder, name);
    EXPECT(weight_convert(&path, 1, path, "f16", (WeightCancel){0}, error, sizeof error) == 3 && strstr(error, "replace the input"), "%s", error);
    EXPECT(weight_convert(&path, 1, other, "f16", (WeightCancel){0}, error, sizeof error) == 3, "another spelling: %s", error);
#ifndef _WIN32
    const char *link_path = made(t, 2, "link");
    EXPECT(symlink(name, link_path) == 0 && weight_convert(&path, 1, link_path, "f16", (WeightCancel){0}, error, sizeof error) == 3, "a link: %s",
           error);
    unlink(link_path);
    EXPECT(link(path, link_path) == 0 && weight_convert(&path, 1, link_path, "f16", (WeightCancel){0}, error, sizeof error) == 3,
           "a second name: %s", error);
    unlink(link_path);
#endif
    EXPECT(read_start(path, after, sizeof after) == size && memcmp(before, after, size) == 0, "the input has changed");
    snprintf(other, sizeof other, "%s.part", out);
    const char *half = other;
    EXPECT(rename(path, half) == 0 && weight_convert(&half, 1, out, "f16", (WeightCancel){0}, error, sizeof error) == 3 &&
               strstr(error, "half.gguf.part first"), "%s", error);
    EXPECT(read_start(half, after, sizeof after) == size && memcmp(before, after, size) == 0, "the half file has changed");
    unlink(half);
    end(t);
}

static void test_convert_refusals(Test *t)
{
    static const float big[4] = {1, 70000, 2, 3};
    char error[2400] = "", part[1100];
    begin(t, "convert/refusals");
    Writer *w = writer();
    add(w, "large", "F32", "[2,2]", big, sizeof big);
    const char *large = finish(t, w, 0, "large"), *out = made(t, 3, "out.gguf");
    const char *const same[] = {large, large};
    snprintf(part, sizeof part, "%s.part", out);
    EXPECT(weight_convert(&large, 1, out, "f16", (WeightCancel){0}, error, sizeof error) == 1 && strstr(error, "'large'") &&
               strstr(error, "F16"),
           "a value above 65504: %s", error);
    EXPECT(!is_file(out) && !is_file(part), "something is left of the failed file");
    EXPECT(weight_convert(&large, 1, out, "bf16", (WeightCancel){0}, error, sizeof error) == 0, "%s", error);
    unlink(out);
    EXPECT(weight_convert(same, 2, out, "f32", (WeightCancel){0}, error, sizeof error) == 1 && strstr(error, "'large'"),
           "one name twice: %s", error);
    EXPECT(weight_convert(&large, 1, out, "q4_0", (WeightCancel){0}, error, sizeof error) == 1 && strstr(error, "q4_0"),
           "another type: %s", error);
    EXPECT(weight_convert(&large, 1, made(t, 2, "no/such/out.gguf"), "f32", (WeightCancel){0}, error, sizeof error) == 2,
           "no such folder: %s", error);
    EXPECT(!is_file(out) && !is_file(part), "something is left of the failed files");
    end(t);
}

/* --------------------------------------------------------------------------------------------------------- real files */

/* Text embeddings as published: their elements must be the raw bytes of the zip's only storage. */
static void test_real(Test *t)
{
    static const struct {
        const char *title, *file;
        int rank;
        int64_t shape[3];
    } files[] = {
        {"real/pos_emb.pt", "pos_emb.pt", 2, {58, 5120}},
        {"real/neg_emb.pt", "neg_emb.pt", 2, {64, 5120}},
        {"real/posi_prompt.pth", "posi_prompt.pth", 3, {1, 512, 4096}},
    };
    const char *shared = getenv("UPRES_SHARED");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[1024], error[2400] = "";
        snprintf(path, sizeof path, "%s/real/%s", shared ? shared : "../shared", files[i].file);
        if (!is_file(path)) {
            printf("skip %s not there\n", files[i].title);
            t->skipped++;
            continue;
        }
        begin(t, files[i].title);
        WeightFile *f = weight_file_open(path, error, sizeof error);
        const WeightTensor *w = f ? weight_file_find(f, "tensor") : NULL;
        EXPECT(w, "%s", error);
        EXPECT(!w || (w->type == WT_BF16 && w->rank == files[i].rank &&
                      !memcmp(w->shape, files[i].shape, 8 * (size_t)w->rank)),
               "another type or shape");
        if (w && !t->why[0]) {
            size_t size = 0;
            uint8_t *bytes = read_bytes(path, &size);
            /* torch aligns a storage to 64 bytes; its offset is where the map says, its length the tensor's. */
            float *values = malloc((size_t)w->count * 4);
            if (!bytes || !values) abort();
            weight_read(w, 0, w->count, values);
            const uint8_t *stored = NULL;
            for (size_t at = 0; at + w->bytes <= size && !stored; at += 64) {
                if (memcmp(bytes + at, w->data, (size_t)w->bytes) == 0) stored = bytes + at;
            }
            EXPECT(stored, "the storage is not aligned to 64 bytes");
            bool any = false;
            for (int64_t k = 0; stored && k < w->count; k++) {
                uint32_t want = (uint32_t)(stored[2 * k] | stored[2 * k + 1] << 8) << 16;
                any |= want != 0;
                EXPECT(bits_of(values[k]) == want, "element %lld", (long long)k);
            }
            EXPECT(any, "all zeros");
            free(bytes);
            free(values);
        }
        weight_file_close(f);
        end(t);
    }
}

int main(int argc, char **argv)
{
    Test test = {.data = argc > 1 ? argv[1] : "tests/data"}, *t = &test;
    const char *temporary = getenv("TMPDIR");
    snprintf(t->folder, sizeof t->folder, "%s/upres-loader-XXXXXX", temporary ? temporary : P_tmpdir);
    if (!mkdtemp(t->folder)) {
        printf("FAIL loader no folder for temporary files\n0 passed, 1 failed, 0 skipped\n");
        return 1;
    }
    test_small_floats(t);
    test_partial_reads(t);
    test_json(t);
    test_shapes(t);
    test_scales(t);
    test_recognition(t);
    test_missing_and_unused(t);
    test_texts(t);
    test_convert(t);
    test_convert_samples(t);
    test_convert_apart(t);
    test_convert_refusals(t);
    test_real(t);
    test_sample_files(t);
    DIR *d = opendir(t->folder);
    for (struct dirent *e; d && (e = readdir(d));) unlink(made(t, 0, e->d_name));
    if (d) closedir(d);
    rmdir(t->folder);
    printf("%d passed, %d failed, %d skipped\n", t->passed, t->failed, t->skipped);
    return t->failed ? 1 : 0;
}
