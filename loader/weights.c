/*
 * Sets of weight files, and weights bound to the shapes a model needs.
 */
#include "loader/weights.h"

#include "loader/contents.h"
#include "loader/json.h"
#include "loader/recognise.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct WeightSet {
    WeightFile **files;
    size_t count;
    PartList list;
};

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static bool
fail(char *error, size_t size, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(error, size, format, list);
    va_end(list);
    return false;
}

/* ------------------------------------------------------------------------------------------------------------ sets */

WeightSet *weight_set_open(const char *const *paths, size_t count, char *error, size_t error_size)
{
    WeightSet *s = calloc(1, sizeof *s);
    if (s) s->files = calloc(count + 1, sizeof *s->files);
    if (!s || !s->files) {
        fail(error, error_size, "not enough memory to open %zu weight files", count);
        free(s);
        return NULL;
    }
    for (; s->count < count; s->count++) {
        WeightFile *f = weight_file_open(paths[s->count], error, error_size);
        if (f) s->files[s->count] = f;
        if (f && recognise_file(f, s->count, &s->list)) continue;
        if (f) {
            s->count++;
            fail(error, error_size, "%s: not enough memory to recognise what the file holds", paths[s->count - 1]);
        }
        weight_set_close(s);
        return NULL;
    }
    return s;
}

WeightSet *weight_set_blank(const BlankNetworks *n)
{
    WeightSet *s = calloc(1, sizeof *s);
    if (s) s->files = calloc(1, sizeof *s->files);
    if (s && s->files && (s->files[0] = weight_file_blank(n))) {
        s->count = 1;
        if (recognise_file(s->files[0], 0, &s->list)) return s;
    }
    weight_set_close(s);
    return NULL;
}

void weight_set_close(WeightSet *s)
{
    if (!s) return;
    recognise_free(&s->list);
    for (size_t i = 0; i < s->count; i++) weight_file_close(s->files[i]);
    free(s->files);
    free(s);
}

size_t weight_set_file_count(const WeightSet *s)
{
    return s->count;
}

const WeightFile *weight_set_file(const WeightSet *s, size_t index)
{
    return s->files[index];
}

size_t weight_set_part_count(const WeightSet *s)
{
    return s->list.count;
}

const WeightPart *weight_set_part(const WeightSet *s, size_t index)
{
    return &s->list.parts[index];
}

/* ------------------------------------------------------------------------------------------------- the one of a kind
 */

static const char *network_title(WeightNetwork n)
{
    static const char *const titles[] = {
        [NET_SEEDVR2_VAE] = "SeedVR2 VAE",
        [NET_SEEDVR2_DIT] = "SeedVR2 transformer",
        [NET_TEXT] = "text embedding",
        [NET_FLASHVSR_DIT] = "FlashVSR transformer",
        [NET_FLASHVSR_LQ] = "FlashVSR LQ projection",
        [NET_TCDECODER] = "FlashVSR TCDecoder",
        [NET_WAN_VAE] = "Wan VAE",
    };
    return titles[n];
}

typedef enum TextKind { TEXT_POSITIVE, TEXT_NEGATIVE, TEXT_BARE } TextKind;

/* By the tensor's name; a file that holds nothing but an unnamed tensor may tell by its own. */
static TextKind text_kind(const WeightPart *p)
{
    const char *name = p->tensor->name;
    if (strcmp(name, "neg_emb") == 0) return TEXT_NEGATIVE;
    if (strcmp(name, "pos_emb") == 0 || strcmp(name, "posi_prompt") == 0) return TEXT_POSITIVE;
    const char *file = weight_file_path(p->file);
    for (const char *c = file; *c; c++) {
        if (*c == '/' || *c == '\\') file = c + 1;
    }
    size_t stem = strcspn(file, ".");
    if (stem == 7 && strncmp(file, "neg_emb", 7) == 0) return TEXT_NEGATIVE;
    if (stem == 7 && strncmp(file, "pos_emb", 7) == 0) return TEXT_POSITIVE;
    if (stem == 11 && strncmp(file, "posi_prompt", 11) == 0) return TEXT_POSITIVE;
    return TEXT_BARE;
}

/* "a.gguf holds seedvr2_dit; b.pt holds text" */
static void list_holdings(const WeightSet *s, char *out, size_t size)
{
    size_t at = 0;
    out[0] = 0;
    for (size_t f = 0; f < s->count && at < size; f++) {
        int n = snprintf(out + at, size - at, "%s%s holds", f ? "; " : "", weight_file_path(s->files[f]));
        at += (size_t)n;
        bool any = false;
        for (size_t i = 0; i < s->list.count && at < size; i++) {
            const WeightPart *p = &s->list.parts[i];
            if (p->file_index != f) continue;
            const bool negative = p->network == NET_TEXT && text_kind(p) == TEXT_NEGATIVE;
            n = snprintf(out + at, size - at, "%s %s%s", any ? "," : "", negative ? "negative " : "", network_title(p->network));
            at += (size_t)n;
            any = true;
        }
        if (!any && at < size) at += (size_t)snprintf(out + at, size - at, " nothing that is known");
    }
}

static bool absent(const WeightSet *s, const char *what, char *error, size_t error_size)
{
    char holdings[1024];
    list_holdings(s, holdings, sizeof holdings);
    return fail(error, error_size, "no %s among the model files: %s; give the missing one with -m", what, holdings);
}

static bool twice(const WeightPart *a, const WeightPart *b, const char *what, char *error, size_t error_size)
{
    const char *x = weight_file_path(a->file), *y = weight_file_path(b->file);
    if (a->file == b->file) return fail(error, error_size, "%s holds more than one %s; keep one", x, what);
    return fail(error, error_size, "%s and %s both hold a %s; give only one of them", x, y, what);
}

static bool holds(const WeightSet *s, WeightNetwork n)
{
    for (size_t i = 0; i < s->list.count; i++)
        if (s->list.parts[i].network == n) return true;
    return false;
}

static const WeightPart *require_text(const WeightSet *s, bool negative, int text_width, char *error, size_t error_size)
{
    /* Of each kind: how many, and the first two. */
    const WeightPart *of[3][2] = {{NULL}}, *misfit = NULL;
    size_t count[3] = {0};
    for (size_t i = 0; i < s->list.count; i++) {
        const WeightPart *p = &s->list.parts[i];
        if (p->network != NET_TEXT) continue;
        if (text_width && p->tensor->shape[p->tensor->rank - 1] != text_width) {
            misfit = p;
            continue;
        }
        TextKind kind = text_kind(p);
        if (count[kind] < 2) of[kind][count[kind]] = p;
        count[kind]++;
    }
    TextKind wanted = negative ? TEXT_NEGATIVE : TEXT_POSITIVE;
    TextKind opposite = negative ? TEXT_POSITIVE : TEXT_NEGATIVE;
    const char *what = negative ? "negative text embedding (neg_emb)"
                       : holds(s, NET_FLASHVSR_DIT) ? "text embedding (posi_prompt)" : "text embedding (pos_emb)";
    if (count[wanted] == 1) return of[wanted][0];
    if (count[wanted] > 1) {
        twice(of[wanted][0], of[wanted][1], what, error, error_size);
        return NULL;
    }
    /* Only unnamed ones are left: what the named ones are not, or the first positive and the second negative. */
    size_t bare = count[TEXT_BARE];
    if (bare == 1 && (!negative || count[opposite])) return of[TEXT_BARE][0];
    if (bare == 2 && !count[opposite]) return of[TEXT_BARE][negative];
    if (bare > 1) {
        twice(of[TEXT_BARE][0], of[TEXT_BARE][1], what, error, error_size);
    } else if (misfit) {
        const WeightTensor *t = misfit->tensor;
        fail(error, error_size,
             "%s: the text embedding has width %lld, but the transformer needs %d; give the one made for it",
             weight_file_path(misfit->file), (long long)t->shape[t->rank - 1], text_width);
    } else {
        absent(s, what, error, error_size);
    }
    return NULL;
}

const WeightPart *weight_set_require(const WeightSet *s, WeightNetwork n, bool negative, int text_width, char *error,
                                     size_t error_size)
{
    if (n == NET_TEXT) return require_text(s, negative, text_width, error, error_size);
    const WeightPart *found = NULL;
    for (size_t i = 0; i < s->list.count; i++) {
        const WeightPart *p = &s->list.parts[i];
        if (p->network != n) continue;
        if (found) {
            twice(found, p, network_title(n), error, error_size);
            return NULL;
        }
        found = p;
    }
    if (!found) absent(s, network_title(n), error, error_size);
    return found;
}

/* The one part that holds a half of a SeedVR2 VAE. */
static const WeightPart *require_half(const WeightSet *s, bool decoder, char *error, size_t error_size)
{
    const char *title = decoder ? "SeedVR2 VAE decoder" : "SeedVR2 VAE encoder";
    const WeightPart *found = NULL;
    for (size_t i = 0; i < s->list.count; i++) {
        const WeightPart *p = &s->list.parts[i];
        if (p->network != NET_SEEDVR2_VAE || !(decoder ? p->vae.has_decoder : p->vae.has_encoder)) continue;
        if (found) {
            twice(found, p, title, error, error_size);
            return NULL;
        }
        found = p;
    }
    if (!found) absent(s, title, error, error_size);
    return found;
}

bool weight_set_require_vae(const WeightSet *s, bool encoder, bool decoder, VaeParts *out, char *error, size_t error_size)
{
    *out = (VaeParts){NULL, NULL};
    if (encoder && !(out->encoder = require_half(s, false, error, error_size))) return false;
    if (decoder && !(out->decoder = require_half(s, true, error, error_size))) return false;
    if (!encoder || !decoder) return true;
    const VaeConfig *e = &out->encoder->vae, *d = &out->decoder->vae;
    bool same_form = e->levels == d->levels && e->latent_channels == d->latent_channels &&
                     e->temporal_factor == d->temporal_factor && e->pixel_channels == d->pixel_channels &&
                     memcmp(e->width, d->width, (size_t)e->levels * sizeof *e->width) == 0;
    if (same_form) return true;
    return fail(error, error_size, "%s and %s hold halves of different VAEs; use files of one model",
                weight_file_path(out->encoder->file), weight_file_path(out->decoder->file));
}

/* --------------------------------------------------------------------------------------------------------- binding */

static bool same(const int64_t *a, int a_rank, const int64_t *b, int b_rank)
{
    return a_rank == b_rank && memcmp(a, b, (size_t)a_rank * sizeof *a) == 0;
}

static int without_ones(const int64_t *shape, int rank, int64_t *out)
{
    int kept = 0;
    for (int i = 0; i < rank; i++) {
        if (shape[i] != 1) out[kept++] = shape[i];
    }
    return kept;
}

/* The rules weights.h states: every habit of writers that keeps row-major order. */
static bool shape_fits(const WeightTensor *t, int rank, const int64_t *shape)
{
    int64_t a[WEIGHT_MAX_RANK], b[WEIGHT_MAX_RANK];
    if (same(t->shape, t->rank, shape, rank)) return true;
    int a_rank = without_ones(t->shape, t->rank, a), b_rank = without_ones(shape, rank, b);
    if (same(a, a_rank, b, b_rank)) return true;
    if (t->rank == 1 && rank > 4) { /* flattened without a record: the neighbours' widths have told the shape */
        int64_t needed = 1;
        for (int i = 0; i < rank; i++) needed *= shape[i];
        return t->count == needed;
    }
    return t->rank == 4 && rank == 5 && t->shape[0] % shape[0] == 0 && t->shape[0] / shape[0] == shape[1] &&
           same(t->shape + 1, 3, shape + 2, 3);
}

static const char *shape_text(char *out, size_t size, int rank, const int64_t *shape)
{
    size_t at = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < rank && at < size; i++) {
        at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? ", " : "", (long long)shape[i]);
    }
    if (at < size) snprintf(out + at, size - at, "]");
    return out;
}

/* ComfyUI's note on a quantized layer: only the two FP8 formats mean what the element type says. */
static bool check_format(const WeightTensor *note, const char *path, char *error, size_t error_size)
{
    char text[1024];
    size_t length = note->bytes < sizeof text ? (size_t)note->bytes : 0;
    if (note->type != WT_U8 || note->strided || !length) {
        return fail(error, error_size, "%s: '%s' does not say how its layer is quantized", path,
                    show_name(note->name).text);
    }
    memcpy(text, note->data, length);
    JsonReader r;
    json_open(&r, text, length, 8);
    bool known = false;
    ShownName format = show_name("");
    if (json_next(&r) == JSON_OBJECT) {
        JsonToken token;
        while ((token = json_next(&r)) == JSON_KEY) {
            bool is_format = strcmp(r.string, "format") == 0;
            token = json_next(&r);
            if (is_format && token == JSON_STRING) {
                format = show_bytes(r.string, r.length);
                known = strcmp(r.string, "float8_e4m3fn") == 0 || strcmp(r.string, "float8_e5m2") == 0;
            }
            if (!json_skip(&r, token)) break;
        }
    }
    json_close(&r);
    if (known) return true;
    return fail(error, error_size, "%s: '%s' names the format '%s'; only float8_e4m3fn and float8_e5m2 are supported",
                path, show_name(note->name).text, format.text);
}

/* <layer>.scale_weight or .weight_scale of <layer>.weight; out->scale stays NULL when there is none. */
static bool bind_scale(const WeightPart *part, const char *name, BoundWeight *out, char *error, size_t error_size)
{
    static const char *const suffixes[] = {"scale_weight", "weight_scale"};
    size_t length = strlen(name);
    if (length < 7 || strcmp(name + length - 7, ".weight") != 0) return true;
    int layer = (int)(length - 6);
    char full[1100];
    const char *path = weight_file_path(part->file);
    const WeightTensor *t = out->tensor;
    snprintf(full, sizeof full, "%s%.*scomfy_quant", part->prefix, layer, name);
    const WeightTensor *note = weight_file_find(part->file, full);
    if (note && !check_format(note, path, error, error_size)) return false;
    for (int i = 0; i < 2 && !out->scale; i++) {
        snprintf(full, sizeof full, "%s%.*s%s", part->prefix, layer, name, suffixes[i]);
        out->scale = weight_file_find(part->file, full);
    }
    if (!out->scale) return true;
    const WeightTensor *s = out->scale;
    ShownName shown = show_name(s->name);
    if (t->type != WT_F8_E4M3 && t->type != WT_F8_E5M2 && t->type != WT_I8) {
        return fail(error, error_size,
                    "%s: scale '%s' belongs to a weight of type %s; only FP8 and I8 weights have scales", path,
                    shown.text, weight_type_name(t->type));
    }
    bool per_row = t->rank >= 1 && s->count == t->shape[0] && s->rank >= 1 && s->shape[0] == s->count && s->rank <= 2;
    bool is_float = s->type <= WT_F64;
    if (!is_float || !((s->count == 1 && s->rank <= 2) || per_row)) {
        char needed[64], found[160];
        int64_t rows = t->rank ? t->shape[0] : 1;
        return fail(error, error_size,
                    "%s: scale '%s' has type %s and shape %s; floats of one element or of shape %s are needed", path,
                    shown.text, weight_type_name(s->type), shape_text(found, sizeof found, s->rank, s->shape),
                    shape_text(needed, sizeof needed, 1, &rows));
    }
    if (!scale_is_sound(s)) {
        return fail(error, error_size,
                    "%s: scale tensor '%s' is empty or holds a value that is not finite and positive", path,
                    shown.text);
    }
    return true;
}

bool weight_bind(const WeightPart *part, const char *name, int rank, const int64_t *shape, BoundWeight *out,
                 char *error, size_t error_size)
{
    char full[1100];
    const char *path = weight_file_path(part->file);
    *out = (BoundWeight){.file = part->file, .rank = rank, .count = 1};
    for (int i = 0; i < rank; i++) {
        out->shape[i] = shape[i];
        out->count *= shape[i];
    }
    snprintf(full, sizeof full, "%s%s", part->prefix, name);
    const WeightTensor *t = weight_file_find(part->file, full);
    if (!t) {
        return fail(error, error_size, "%s: tensor '%s' is missing (prefix '%s'); the %s needs it", path,
                    show_name(full).text, part->prefix, network_title(part->network));
    }
    if (!shape_fits(t, rank, shape)) {
        char found[200], needed[200];
        return fail(error, error_size, "%s: tensor '%s' has shape %s but the %s needs %s", path, show_name(full).text,
                    shape_text(found, sizeof found, t->rank, t->shape), network_title(part->network),
                    shape_text(needed, sizeof needed, rank, shape));
    }
    out->tensor = t;
    bool ok = bind_scale(part, name, out, error, error_size);
    if (!ok) out->tensor = NULL;
    return ok;
}

void bound_read(const BoundWeight *b, int64_t first, int64_t count, float *out)
{
    weight_read(b->tensor, first, count, out);
    if (!b->scale) return;
    float scale;
    if (b->scale->count == 1) {
        weight_read(b->scale, 0, 1, &scale);
        for (int64_t i = 0; i < count; i++) out[i] *= scale;
        return;
    }
    int64_t row = b->count / b->scale->count; /* elements a row of the stored first dimension */
    for (int64_t i = 0; i < count;) {
        int64_t at = first + i, end = i + row - at % row;
        if (end > count) end = count;
        weight_read(b->scale, at / row, 1, &scale);
        for (; i < end; i++) out[i] *= scale;
    }
}
