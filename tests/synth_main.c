/*
 * The weight maker: any network this version runs, at released or narrower widths, with values that follow from names.
 *
 *     synth NETWORK OUT [--type T] [--set KEY=VALUE]... [--sparse]
 *
 * Files are written piece by piece; a network is never held in memory. Values are those of tests/synth.h, so anyone who
 * knows the rule can make the same file.
 */
#include "tests/synth.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage_text[] =
    "usage: synth NETWORK OUT [--type T] [--set KEY=VALUE]... [--sparse]\n"
    "  NETWORK   seedvr2_vae, seedvr2_3b, seedvr2_7b, flashvsr_dit, flashvsr_lq, tcdecoder, wan_vae, text\n"
    "  OUT       ends in .safetensors or .gguf, which decides the container\n"
    "  --type    f32 (default), f16, bf16; f8_e4m3 (safetensors: every tensor, without scales);\n"
    "            q8_0 (gguf: matrices of the blocks, everything else f16)\n"
    "  --sparse  the right header and size, a hole instead of the data (reads as zeros)\n"
    "  --set     seedvr2_vae: widths=128,256,512,512 latent=16 layers=2 temporal=2 gain=1 (`width` is `widths`)\n"
    "            seedvr2_3b:  dim=2560 layers=32 heads=20 head_dim=128 text=5120 mm_layers=10 (`blocks` is `layers`)\n"
    "            seedvr2_7b:  dim=3072 layers=36 heads=24 head_dim=128 text=5120 (`width` is `dim`)\n"
    "            flashvsr_dit: dim=1536 layers=30 hidden=8960 text=4096 (`width` is `dim`, `blocks` is `layers`)\n"
    "            flashvsr_lq: hidden1=2048 hidden2=3072 dim=1536 layers=1\n"
    "            tcdecoder:   widths=512,256,128,128 inputs=784 deep=1 gain=1\n"
    "            wan_vae:     dim=96 latent=16 layers=2 encoder=1 decoder=1 gain=1 (`layers`: of an encoder's level)\n"
    "            text:        length=58 text=5120 scale=1 name=pos_emb (posi_prompt: [1, length, text])\n"
    "            all:         prefix=TEXT, put before each name to seed its values; not part of the stored name\n";

typedef enum Network { VAE, DIT_3B, DIT_7B, FLASH_DIT, FLASH_LQ, TCDECODER, WAN_VAE, TEXT, NETWORKS } Network;
typedef enum Type { F32, F16, BF16, F8_E4M3, Q8_0 } Type;

typedef struct Maker {
    Network network;
    Type type;
    bool gguf, sparse;
    const char *prefix, *text_name;
    int widths[8], levels, latent, layers, temporal, dim, heads, head_dim, text, mm_layers, length;
    int hidden, hidden2, inputs, deep, encoder, decoder;
    double gain, scale;
} Maker;

/* ------------------------------------------------------------------------------------------------------ conversions */

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}

/*
 * A float of `exponent_bits` and `mantissa_bits`, rounded to nearest, ties to even; values beyond `largest` become it.
 * Only finite values occur here.
 */
static uint32_t to_small_float(float x, int exponent_bits, int mantissa_bits, double largest)
{
    uint32_t sign = bits_of(x) >> 31;
    double a = fabs((double)x);
    if (a > largest) a = largest;
    int bias = (1 << (exponent_bits - 1)) - 1, e = 0;
    if (a > 0) frexp(a, &e);
    e -= 1; /* a = 1.f * 2^e */
    if (a == 0 || e < 1 - bias) e = 1 - bias;
    /* In units of the last place; nearbyint rounds ties to even. A carry runs into the exponent as it should. */
    uint32_t units = (uint32_t)nearbyint(ldexp(a, mantissa_bits - e));
    uint32_t coded = units + ((uint32_t)(e + bias - 1) << mantissa_bits);
    return sign << (exponent_bits + mantissa_bits) | coded;
}

static uint16_t to_half(float x)
{
    return (uint16_t)to_small_float(x, 5, 10, 65504);
}
static uint8_t to_e4m3(float x)
{
    return (uint8_t)to_small_float(x, 4, 3, 448);
}

static uint16_t to_bf16(float x)
{
    uint32_t u = bits_of(x);
    return (uint16_t)((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
}

/* 32 values: scale = largest magnitude / 127 as a half, then 32 signed bytes. */
static void to_q8_0(const float *x, uint8_t *out)
{
    float largest = 0;
    for (int i = 0; i < 32; i++) largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    float d = largest / 127, inverse = d > 0 ? 1 / d : 0;
    uint16_t h = to_half(d);
    out[0] = (uint8_t)h;
    out[1] = (uint8_t)(h >> 8);
    for (int i = 0; i < 32; i++) out[2 + i] = (uint8_t)(int8_t)roundf(x[i] * inverse);
}

static int64_t stored_bytes(Type type, int64_t count)
{
    return type == F32 ? 4 * count : type == F8_E4M3 ? count : type == Q8_0 ? count / 32 * 34 : 2 * count;
}

static void put16(uint8_t *to, uint16_t v)
{
    to[0] = (uint8_t)v;
    to[1] = (uint8_t)(v >> 8);
}

static void store(Type type, const float *x, int64_t count, uint8_t *out)
{
    for (int64_t i = 0; i < count; i++) {
        switch (type) {
        case F32:
            put16(out + 4 * i, (uint16_t)bits_of(x[i]));
            put16(out + 4 * i + 2, (uint16_t)(bits_of(x[i]) >> 16));
            break;
        case F16:
            put16(out + 2 * i, to_half(x[i]));
            break;
        case BF16:
            put16(out + 2 * i, to_bf16(x[i]));
            break;
        case F8_E4M3:
            out[i] = to_e4m3(x[i]);
            break;
        case Q8_0:
            if (i % 32 == 0) to_q8_0(x + i, out + i / 32 * 34);
            break;
        }
    }
}

/* ----------------------------------------------------------------------------------------------------------- values */

enum { PIECE = 1 << 20 }; /* elements; a multiple of every block */

static bool ends_in(const char *name, const char *tail)
{
    size_t n = strlen(name), m = strlen(tail);
    return n >= m && !strcmp(name + n - m, tail);
}

/* The types within a file: a Q8_0 file follows the released ones. */
static Type tensor_type(const Maker *m, const SynthShape *s)
{
    if (m->type != Q8_0) return m->type;
    bool block = m->network == VAE || m->network == WAN_VAE || !strncmp(s->name, "blocks.", 7);
    return block && s->rank == 2 && s->shape[1] % 32 == 0 ? Q8_0 : F16;
}

static void values(const Maker *m, const SynthShape *s, int64_t first, int64_t count, float *out)
{
    if (ends_in(s->name, ".freqs")) { /* a few dozen values: always one piece */
        synth_rope_freqs(m->network == DIT_7B, (int)count, out);
        return;
    }
    char name[512];
    snprintf(name, sizeof name, "%s%s", m->prefix, s->name);
    float mean = 0, scale = (float)m->scale;
    if (m->network == DIT_3B || m->network == DIT_7B)
        synth_dit_rule(name, s->rank, s->shape, &mean, &scale);
    else if (m->network == WAN_VAE)
        synth_wan_rule(name, s->rank, s->shape, m->gain, &mean, &scale);
    else if (m->network != TEXT)
        synth_rule(name, s->rank, s->shape, m->gain, &mean, &scale);
    synth_range(name, first, count, mean, scale, out);
}

static bool write_tensor(const Maker *m, const SynthShape *s, FILE *f, float *x, uint8_t *bytes)
{
    Type type = tensor_type(m, s);
    int64_t count = synth_count(s);
    for (int64_t at = 0; at < count; at += PIECE) {
        int64_t n = count - at < PIECE ? count - at : PIECE;
        values(m, s, at, n, x);
        store(type, x, n, bytes);
        size_t size = (size_t)stored_bytes(type, n);
        if (fwrite(bytes, 1, size, f) != size) return false;
    }
    return true;
}

/* -------------------------------------------------------------------------------------------------------- container */

enum { GGUF_ALIGNMENT = 32 };

typedef struct Text {
    uint8_t *data;
    size_t size, room;
    bool failed;
} Text;

static void put(Text *t, const void *data, size_t size)
{
    if (t->size + size > t->room) {
        size_t room = 2 * (t->size + size) + 4096;
        uint8_t *more = realloc(t->data, room);
        if (!more) {
            t->failed = true;
            return;
        }
        t->data = more;
        t->room = room;
    }
    memcpy(t->data + t->size, data, size);
    t->size += size;
}

static void put_number(Text *t, uint64_t v, int bytes)
{
    uint8_t b[8];
    for (int i = 0; i < bytes; i++) b[i] = (uint8_t)(v >> (8 * i));
    put(t, b, (size_t)bytes);
}

static void put_string(Text *t, const char *a, const char *b)
{
    put_number(t, strlen(a) + strlen(b), 8);
    put(t, a, strlen(a));
    put(t, b, strlen(b));
}

static int64_t align(int64_t at)
{
    return (at + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
}

/* Version 3. More than four dimensions do not fit: such a tensor is flat, its shape stands under <name>.raw_shape. */
static uint8_t *gguf_header(const Maker *m, const SynthShape *shapes, int count, int64_t *size)
{
    enum { KEY_I32 = 5, KEY_STRING = 8, KEY_ARRAY = 9 };
    static const int codes[] = {[F32] = 0, [F16] = 1, [Q8_0] = 8, [BF16] = 30};
    Text t = {0};
    uint64_t keys = 1;
    for (int i = 0; i < count; i++) keys += shapes[i].rank > 4;
    put(&t, "GGUF", 4);
    put_number(&t, 3, 4);
    put_number(&t, (uint64_t)count, 8);
    put_number(&t, keys, 8);
    put_string(&t, "general.architecture", "");
    put_number(&t, KEY_STRING, 4);
    put_string(&t, m->network <= DIT_7B ? "seedvr2" : "wan", "");
    for (int i = 0; i < count; i++) {
        if (shapes[i].rank <= 4) continue;
        put_string(&t, shapes[i].name, ".raw_shape");
        put_number(&t, KEY_ARRAY, 4);
        put_number(&t, KEY_I32, 4);
        put_number(&t, (uint64_t)shapes[i].rank, 8);
        for (int k = 0; k < shapes[i].rank; k++) put_number(&t, (uint64_t)shapes[i].shape[k], 4);
    }
    int64_t offset = 0;
    for (int i = 0; i < count; i++) {
        const SynthShape *s = &shapes[i];
        int rank = s->rank > 4 ? 1 : s->rank;
        put_string(&t, s->name, "");
        put_number(&t, (uint64_t)rank, 4);
        for (int k = rank - 1; k >= 0; k--)
            put_number(&t, (uint64_t)(rank < s->rank ? synth_count(s) : s->shape[k]), 8);
        put_number(&t, (uint64_t)codes[tensor_type(m, s)], 4);
        put_number(&t, (uint64_t)offset, 8);
        offset = align(offset + stored_bytes(tensor_type(m, s), synth_count(s)));
    }
    while (t.size % GGUF_ALIGNMENT) put(&t, "", 1);
    if (t.failed) {
        free(t.data);
        return NULL;
    }
    *size = (int64_t)t.size;
    return t.data;
}

static bool write_file(const Maker *m, const SynthShape *shapes, int count, FILE *f, int64_t *total)
{
    static const char *const names[] = {[F32] = "F32", [F16] = "F16", [BF16] = "BF16", [F8_E4M3] = "F8_E4M3"};
    int64_t size = 0;
    void *header = m->gguf
                       ? (void *)gguf_header(m, shapes, count, &size)
                       : synth_safetensors_header(shapes, count, names[m->type], (int)stored_bytes(m->type, 1), &size);
    bool fine = header && fwrite(header, 1, (size_t)size, f) == (size_t)size;
    free(header);
    float *x = malloc(PIECE * sizeof *x);
    uint8_t *bytes = malloc(PIECE * sizeof *x);
    fine = fine && x && bytes;
    for (int i = 0; i < count; i++) {
        static const char zeros[GGUF_ALIGNMENT];
        int64_t end = size + stored_bytes(tensor_type(m, &shapes[i]), synth_count(&shapes[i]));
        size_t padding = m->gguf ? (size_t)(align(end) - end) : 0;
        if (fine && !m->sparse)
            fine = write_tensor(m, &shapes[i], f, x, bytes) && fwrite(zeros, 1, padding, f) == padding;
        size = end + (int64_t)padding;
    }
    free(bytes);
    free(x);
    if (fine && m->sparse) fine = !fflush(f) && !ftruncate(fileno(f), (off_t)size);
    *total = size;
    return fine;
}

/* ---------------------------------------------------------------------------------------------------------- command */

static int usage(const char *problem, const char *what)
{
    fprintf(stderr, "synth: %s%s\n%s", problem, what, usage_text);
    return 2;
}

static bool set_number(int *to, const char *text)
{
    char *end;
    long v = strtol(text, &end, 10);
    if (end == text || *end || v < 0 || v > 1 << 20) return false;
    *to = (int)v;
    return true;
}

static bool set_widths(Maker *m, const char *text)
{
    m->levels = 0;
    for (char *end; m->levels < 8; text = end + 1) {
        long v = strtol(text, &end, 10);
        if (end == text || v < 1 || v > 1 << 16) return false;
        m->widths[m->levels++] = (int)v;
        if (!*end) return true;
        if (*end != ',') return false;
    }
    return false;
}

static bool set(Maker *m, const char *pair)
{
    const char *equals = strchr(pair, '=');
    if (!equals) return false;
    const char *value = equals + 1;
    bool vae = m->network == VAE, dit = m->network == DIT_3B || m->network == DIT_7B;
    bool flash = m->network == FLASH_DIT, lq = m->network == FLASH_LQ, tc = m->network == TCDECODER;
    bool wan = m->network == WAN_VAE;
    const struct {
        const char *key;
        bool known;
        int *number;
    } numbers[] = {
        {"latent", vae || wan, &m->latent},
        {"layers", vae || dit || flash || lq || wan, &m->layers},
        {"temporal", vae, &m->temporal},
        {"blocks", dit || flash, &m->layers},
        {"dim", dit || flash || lq || wan, &m->dim},
        {"width", dit || flash, &m->dim},
        {"heads", dit, &m->heads},
        {"head_dim", dit, &m->head_dim},
        {"hidden", flash, &m->hidden},
        {"hidden1", lq, &m->hidden},
        {"hidden2", lq, &m->hidden2},
        {"inputs", tc, &m->inputs},
        {"deep", tc, &m->deep},
        {"encoder", wan, &m->encoder},
        {"decoder", wan, &m->decoder},
        {"text", dit || flash || m->network == TEXT, &m->text},
        {"mm_layers", m->network == DIT_3B, &m->mm_layers},
        {"length", m->network == TEXT, &m->length},
    };
    size_t length = (size_t)(equals - pair);
#define IS(name) (strlen(name) == length && !strncmp(pair, name, length))
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].known && IS(numbers[i].key)) return set_number(numbers[i].number, value);
    if (vae && (IS("widths") || IS("width"))) return set_widths(m, value);
    if (tc && IS("widths")) return set_widths(m, value) && m->levels == 4;
    char *end;
    double *real = (vae || tc || wan) && IS("gain") ? &m->gain : m->network == TEXT && IS("scale") ? &m->scale : NULL;
    if (real) {
        *real = strtod(value, &end);
        return end != value && !*end;
    }
    const char **text = IS("prefix") ? &m->prefix : m->network == TEXT && IS("name") ? &m->text_name : NULL;
#undef IS
    if (text) *text = value;
    return text && strlen(value) < 128;
}

static int text_layout(const Maker *m, SynthShape **out)
{
    SynthShape *s = *out = calloc(1, sizeof **out);
    if (!s) return -1;
    snprintf(s->name, sizeof s->name, "%s", m->text_name);
    if (!strcmp(m->text_name, "posi_prompt")) s->shape[s->rank++] = 1;
    s->shape[s->rank++] = m->length;
    s->shape[s->rank++] = m->text;
    return 1;
}

static int layout(const Maker *m, SynthShape **out)
{
    static const int strides[3] = {1, 2, 2}, multipliers[4] = {1, 2, 4, 4}, time[3] = {0, 1, 1};
    switch (m->network) {
    case VAE:
        return synth_vae_layout(m->widths, m->levels, m->latent, m->layers, m->temporal, 3, out);
    case DIT_3B:
    case DIT_7B:
        return synth_dit_layout(m->network == DIT_7B, m->layers, m->dim, m->heads, m->head_dim, m->text, m->mm_layers,
                                33, 16, out);
    case FLASH_DIT:
        return synth_flashvsr_dit_layout(m->layers, m->dim, m->hidden, m->text, 256, out);
    case FLASH_LQ:
        return synth_lq_layout(m->hidden, m->hidden2, m->dim, m->layers, out);
    case TCDECODER:
        return synth_tcdecoder_layout(m->widths, m->inputs, strides, m->deep, out);
    case WAN_VAE:
        return synth_wan_layout(m->dim, m->latent, multipliers, 4, m->layers, time, m->encoder, m->decoder, out);
    case TEXT:
    case NETWORKS:
        break;
    }
    return text_layout(m, out);
}

/* Released widths. */
static Maker released(Network network)
{
    Maker m = {.network = network,
               .prefix = "",
               .text_name = "pos_emb",
               .levels = 4,
               .latent = 16,
               .layers = 2,
               .temporal = 2,
               .head_dim = 128,
               .text = 5120,
               .length = 58,
               .inputs = 784,
               .deep = 1,
               .encoder = 1,
               .decoder = 1,
               .gain = 1,
               .scale = 1};
    static const int vae[4] = {128, 256, 512, 512}, tcdecoder[4] = {512, 256, 128, 128};
    memcpy(m.widths, network == VAE ? vae : tcdecoder, sizeof vae);
    if (network == DIT_3B) m.layers = 32, m.dim = 2560, m.heads = 20, m.mm_layers = 10;
    if (network == DIT_7B) m.layers = 36, m.dim = 3072, m.heads = 24;
    if (network == FLASH_DIT) m.layers = 30, m.dim = 1536, m.hidden = 8960, m.text = 4096;
    if (network == FLASH_LQ) m.layers = 1, m.dim = 1536, m.hidden = 2048, m.hidden2 = 3072;
    if (network == WAN_VAE) m.dim = 96;
    return m;
}

int main(int argc, char **argv)
{
    static const char *const networks[NETWORKS] = {
        [VAE] = "seedvr2_vae",      [DIT_3B] = "seedvr2_3b",   [DIT_7B] = "seedvr2_7b", [FLASH_DIT] = "flashvsr_dit",
        [FLASH_LQ] = "flashvsr_lq", [TCDECODER] = "tcdecoder", [WAN_VAE] = "wan_vae",   [TEXT] = "text"};
    static const char *const types[] = {
        [F32] = "f32", [F16] = "f16", [BF16] = "bf16", [F8_E4M3] = "f8_e4m3", [Q8_0] = "q8_0"};
    if (argc < 3) return usage("a network and a file are needed", "");
    int network = 0, type = 0;
    while (network < NETWORKS && strcmp(argv[1], networks[network])) network++;
    if (network == NETWORKS) return usage("no such network: ", argv[1]);
    Maker m = released((Network)network);
    const char *path = argv[2];
    m.gguf = ends_in(path, ".gguf");
    if (!m.gguf && !ends_in(path, ".safetensors")) return usage("the file must end in .safetensors or .gguf: ", path);
    for (int i = 3; i < argc; i++) {
        if (!strcmp(argv[i], "--sparse")) {
            m.sparse = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--type")) {
            while (type < 5 && strcmp(value, types[type])) type++;
            if (type == 5) return usage("no such type: ", value);
        } else if (strcmp(argv[i], "--set")) {
            return usage("unknown option ", argv[i]);
        } else if (!set(&m, value)) {
            return usage("not a key or value of this network: ", value);
        }
        i++;
    }
    m.type = (Type)type;
    if (m.gguf ? m.type == F8_E4M3 : m.type == Q8_0) return usage("this container has no type ", types[type]);

    SynthShape *shapes;
    int count = layout(&m, &shapes);
    FILE *f = count > 0 ? fopen(path, "wb") : NULL;
    int64_t size = 0, parameters = 0;
    bool fine = f && write_file(&m, shapes, count, f, &size);
    if (f && fclose(f)) fine = false;
    for (int i = 0; i < count; i++) parameters += synth_count(&shapes[i]);
    if (count > 0) free(shapes);
    if (!fine) {
        fprintf(stderr, "synth: %s cannot be written; is there space, and may you write there?\n", path);
        if (f) remove(path);
        return 1;
    }
    printf("%s: %s, %d tensors, %lld values, %lld bytes%s\n", path, networks[network], count, (long long)parameters,
           (long long)size, m.sparse ? ", sparse" : "");
    return 0;
}
