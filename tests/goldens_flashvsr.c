/*
 * Golden cases of FlashVSR's networks: the projection of low-quality frames, the choice of key blocks, the constants,
 * one transformer block, whole streams. Its pixel rules are in goldens_flash_pixels.c.
 */
#include "tests/goldens.h"

#include "runtime/models/flashvsr.h"
#include "runtime/models/flashvsr_lq.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW_TOKENS = 128 };
enum { BLOCK0_STEP = 37 }; /* the streams' tap keeps every 37th token of block 0 */

static double option(const Golden *g, const char *name, double otherwise)
{
    return json_number(json_get(json_get(g->meta, "options"), name), otherwise);
}

static int config(const Golden *g, const char *name)
{
    return (int)json_int(json_get(json_get(g->meta, "config"), name), 0);
}

/* ---------------------------------------------------------------------------------------------------------- weights */

static const char dit_home[] = "model.diffusion_model.", lq_home[] = "LQ_proj_in."; /* prefixes in a merged file */

typedef struct Rule {
    const char *dit, *lq; /* prefixes of the names that values follow from */
    double gain;
    const JsonTree *context;
} Rule;

static void fill(void *user, const SynthShape *s, float *out)
{
    const Rule *r = user;
    const int64_t count = synth_count(s);
    if (!strcmp(s->name, "posi_prompt")) {
        const int64_t width = s->shape[2], zero_from = json_int(json_get(r->context, "zero_rows_from"), s->shape[1]);
        synth_tensor(json_string(json_get(r->context, "name"), ""), count,
                     (float)json_number(json_get(r->context, "mean"), 0),
                     (float)json_number(json_get(r->context, "scale"), 1), out);
        for (int64_t i = zero_from * width; i < count; i++) out[i] = 0;
        return;
    }
    const bool lq = !strncmp(s->name, lq_home, strlen(lq_home));
    char name[512];
    snprintf(name, sizeof name, "%s%s", lq ? r->lq : r->dit, s->name + strlen(lq ? lq_home : dit_home));
    synth_weight(name, s->rank, s->shape, r->gain, out);
}

typedef struct Shapes {
    SynthShape *items;
    int count;
} Shapes;

/* Appends a network's tensors under a prefix; takes `more`. */
static bool append(Shapes *to, SynthShape *more, int count, const char *home)
{
    SynthShape *all = count < 0 ? NULL : realloc(to->items, (size_t)(to->count + count) * sizeof *all);
    if (all) {
        to->items = all;
        for (int i = 0; i < count; i++) {
            SynthShape *s = &all[to->count++];
            *s = more[i];
            if (snprintf(s->name, sizeof s->name, "%s%s", home, more[i].name) >= (int)sizeof s->name) all = NULL;
        }
    }
    if (count >= 0) free(more);
    return all != NULL;
}

/* The networks that the case names, and its prompt as "posi_prompt". NULL: recorded. */
static const WeightSet *case_weights(Golden *g)
{
    const JsonTree *weights = json_get(g->meta, "weights"), *settings = json_get(g->meta, "config");
    Rule rule = {.gain = 1, .context = json_get(json_get(g->meta, "inputs"), "context")};
    Shapes shapes = {0};
    SynthShape *layout = NULL;
    bool fine = true;
    char key[1024];
    int used = snprintf(key, sizeof key, "flashvsr");
    for (int i = 0; fine && i < json_count(weights); i++) {
        const JsonTree *w = json_at(weights, i);
        const bool lq = !strcmp(json_string(json_get(w, "of"), ""), "lq");
        const JsonTree *c = lq && json_get(settings, "lq") ? json_get(settings, "lq") : settings;
        const char *names[] = {"layers", "dim", "ffn_dim", "text_dim", "freq_dim", "hidden1", "hidden2"};
        int v[7];
        *(lq ? &rule.lq : &rule.dit) = json_string(json_get(w, "prefix"), "");
        rule.gain = json_number(json_get(w, "gain"), 1);
        used += snprintf(key + used, sizeof key - (size_t)used, " %.200s %a", json_string(json_get(w, "prefix"), ""),
                         rule.gain);
        for (int k = 0; k < 7; k++) {
            v[k] = (int)json_int(json_get(c, names[k]), 0);
            used += snprintf(key + used, sizeof key - (size_t)used, " %d", v[k]);
        }
        const int count = lq ? synth_lq_layout(v[5], v[6], v[1], 1, &layout)
                             : synth_flashvsr_dit_layout(v[0], v[1], v[2], v[3], v[4], &layout);
        fine = append(&shapes, layout, count, lq ? lq_home : dit_home);
    }
    if (fine && rule.context) {
        const JsonTree *extents = json_get(rule.context, "shape");
        layout = malloc(sizeof *layout);
        if (layout) {
            *layout = (SynthShape){.name = "posi_prompt",
                                   .rank = 3,
                                   .shape = {1, json_int(json_at(extents, 1), 0), json_int(json_at(extents, 2), 0)}};
            snprintf(key + used, sizeof key - (size_t)used, " %.200s %lld %lld",
                     json_string(json_get(rule.context, "name"), ""), (long long)layout->shape[1],
                     (long long)json_int(json_get(rule.context, "zero_rows_from"), -1));
        }
        fine = append(&shapes, layout, layout ? 1 : -1, "");
    }
    if (!fine) golden_fail(g, "out of memory, or the case's networks are not described");
    const WeightSet *set = fine ? golden_weights(g, key, shapes.items, shapes.count, fill, &rule) : NULL;
    free(shapes.items);
    return set;
}

static const WeightPart *part(Golden *g, const WeightSet *set, WeightNetwork network, int text_width)
{
    char error[512];
    const WeightPart *p = set ? weight_set_require(set, network, false, text_width, error, sizeof error) : NULL;
    if (set && !p) golden_fail(g, "%s", error);
    return p;
}

/* ---------------------------------------------------------------------------------------------------------- running */

/* A case's work on a device; failures are the device's or recorded. */
typedef void (*Work)(void *context, Dev *d);

/* Planned, then run in exactly the memory the plan found. */
static void plan_and_run(Golden *g, Work work, void *context)
{
    char error[512];
    Dev *plan = dev_plan_open(&g->setup), *d = NULL;
    for (int turn = 0; turn < 2 && g->verdict == GOLDEN_OK; turn++) {
        Dev *at = plan;
        if (turn == 1) {
            at = d = dev_open(&g->setup, dev_totals(plan).arena_peak, error, sizeof error);
            if (!d) {
                golden_fail(g, "%s", error);
                break;
            }
        }
        work(context, at);
        if (dev_ok(at)) dev_phase(at);
        if (!dev_ok(at)) golden_fail(g, "%s: %s", turn ? "run" : "plan", dev_error(at));
    }
    if (d && g->verdict == GOLDEN_OK && dev_totals(d).arena_peak != dev_totals(plan).arena_peak) {
        golden_fail(g, "the run took %llu bytes, the plan said %llu", (unsigned long long)dev_totals(d).arena_peak,
                    (unsigned long long)dev_totals(plan).arena_peak);
    }
    if (d) dev_close(d);
    dev_close(plan);
}

/* Input `name`, `rank` extents of which *shape receives 5. NULL: recorded. */
static float *input(Golden *g, const char *name, int rank, int64_t shape[5])
{
    int found;
    float *x = golden_input(g, json_get(json_get(g->meta, "inputs"), name), shape, &found);
    if (x && found != rank) {
        golden_fail(g, "%s has %d extents, expected %d", name, found, rank);
        free(x);
        return NULL;
    }
    return x;
}

/* Rows of x.c values to x, and back. */
static void to_device(Dev *d, Tensor x, const float *values)
{
    float *to = values ? dev_write(d, x) : NULL;
    if (!to) return;
    const int64_t rows = (int64_t)x.t * x.h * x.w;
    memset(to, 0, (size_t)(rows * x.c_pad) * sizeof *to);
    for (int64_t i = 0; i < rows; i++) memcpy(to + i * x.c_pad, values + i * x.c, (size_t)x.c * sizeof *to);
    dev_write_end(d, x, to);
}

static void compare(Golden *g, const char *name, const float *got, int64_t count)
{
    if (got && g->verdict == GOLDEN_OK) golden_compare(g, name, got, count, golden_tolerance(g, name, GOLDEN_NETWORK));
}

/* Every step-th of the rows, without padding, as tensor `name`. */
static void compare_rows(Golden *g, const char *name, const float *rows, int count, int columns, int padded, int step)
{
    const int kept = (count + step - 1) / step;
    float *got = malloc((size_t)kept * (size_t)columns * sizeof *got);
    if (!got) golden_fail(g, "out of memory");
    for (int i = 0; got && i < kept; i++)
        memcpy(got + (int64_t)i * columns, rows + (int64_t)i * step * padded, (size_t)columns * sizeof *got);
    compare(g, name, got, (int64_t)kept * columns);
    free(got);
}

/* Rows in window order back to the order of frames, rows, columns; h x w tokens a frame. malloc'ed. */
static float *natural_order(const float *rows, int count, int columns, int padded, int h, int w)
{
    float *out = malloc((size_t)count * (size_t)columns * sizeof *out);
    for (int i = 0; out && i < count; i++) {
        const int t = i / (h * w), y = i / w % h, x = i % w;
        const int window = (t / 2 * (h / 8) + y / 8) * (w / 8) + x / 8, token = (t % 2 * 8 + y % 8) * 8 + x % 8;
        memcpy(out + (int64_t)i * columns, rows + ((int64_t)window * WINDOW_TOKENS + token) * padded,
               (size_t)columns * sizeof *out);
    }
    return out;
}

/* The ratio whose number of blocks is the case's: topk_ratio is what the original makes of sparse_ratio. */
static FlashvsrSetup case_setup(const Golden *g, int h, int w)
{
    const double pixels = (double)h * 16 * w * 16, topk = option(g, "topk_ratio", 0);
    double sparse = topk * pixels / (768 * 1280);
    if (sparse * 768 * 1280 / pixels < topk) sparse = nextafter(sparse, INFINITY);
    return (FlashvsrSetup){.causal = json_bool(json_get(json_get(g->meta, "options"), "causal"), true),
                           .sparse_ratio = sparse,
                           .kv_slices = (int)option(g, "kv_ratio", 3),
                           .local_range = (int)option(g, "local_range", 11),
                           .block_keys = WINDOW_TOKENS / (int)option(g, "halves", 1),
                           .heads = config(g, "heads")};
}

/* ----------------------------------------------------------------------------------------------------------- frames */

/* The clip [1, 3, F, H, W] as a source of frames. */
typedef struct Clip {
    Golden *g;
    float *samples;
    int64_t shape[5];
    int64_t next; /* frame that must be asked for */
} Clip;

static bool read_clip(void *user, const VaeRegion *r)
{
    Clip *c = user;
    const int64_t frames = c->shape[2], h = c->shape[3], w = c->shape[4];
    if (r->frame != c->next++ || r->frame >= frames || r->y || r->x || r->height != h || r->width != w ||
        r->channels != 3) {
        golden_fail(c->g, "frame %lld was asked for, a rectangle of %dx%d; expected frame %lld in whole",
                    (long long)r->frame, r->width, r->height, (long long)c->next - 1);
        return false;
    }
    for (int p = 0; p < 3; p++)
        for (int64_t y = 0; y < h; y++)
            memcpy(r->data + p * r->plane + y * r->row, c->samples + ((p * frames + r->frame) * h + y) * w,
                   (size_t)w * sizeof *r->data);
    return true;
}

static bool read_nothing(void *user, const VaeRegion *r)
{
    (void)user;
    (void)r;
    return true;
}

/* ------------------------------------------------------------------------------------------------------- projection */

typedef struct LqCase {
    Golden *g;
    FlashLq *m;
    Clip clip;
    bool causal;
    int calls;
} LqCase;

/* [2][h][w][c] to [c][2][h][w] */
static void compare_tail(Golden *g, Dev *d, const char *name, Tensor x)
{
    const float *from = dev_read(d, x);
    const int64_t pixels = (int64_t)x.t * x.h * x.w;
    float *got = from ? malloc((size_t)(pixels * x.c) * sizeof *got) : NULL;
    for (int64_t i = 0; got && i < pixels; i++)
        for (int c = 0; c < x.c; c++) got[c * pixels + i] = from[i * x.c_pad + c];
    dev_read_end(d, from);
    compare(g, name, got, pixels * x.c);
    free(got);
}

static void run_lq(void *context, Dev *d)
{
    LqCase *k = context;
    const int h = (int)k->clip.shape[3], w = (int)k->clip.shape[4];
    FlashLqStream *s = flash_lq_stream_open(k->m, d, h, w, k->causal);
    if (!s) return;
    k->clip.next = 0;
    Tensor tokens = dev_tensor(d, k->calls - 1, h / FLASH_PATCH, w / FLASH_PATCH, flash_lq_width(k->m));
    for (int i = 0; i < k->calls; i++) {
        const Tensor latent = i ? tensor_frames(tokens, i - 1, 1) : (Tensor){0};
        flash_lq_call(s, (VaeVideo){&k->clip, read_clip, NULL}, latent);
    }
    if (dev_ok(d) && !dev_is_plan(d)) {
        const float *rows = dev_read(d, tokens);
        compare_rows(k->g, "out", rows, tokens.t * tokens.h * tokens.w, tokens.c, tokens.c_pad, 1);
        dev_read_end(d, rows);
        for (int i = 1; k->causal && i <= 2; i++) /* version 1 keeps nothing: what it saw shows in the tokens alone */
            compare_tail(k->g, d, i == 1 ? "tap.conv1_tail" : "tap.conv2_tail", flash_lq_tail(s, i));
    }
    dev_free(d, &tokens);
    flash_lq_stream_close(s);
}

static void golden_lq(Golden *g)
{
    char error[512];
    LqCase k = {.g = g,
                .causal = json_bool(json_get(json_get(g->meta, "options"), "causal"), true),
                .calls = (int)option(g, "clips", 0),
                .clip = {.g = g}};
    const WeightPart *p = part(g, case_weights(g), NET_FLASHVSR_LQ, 0);
    k.clip.samples = p ? input(g, "video", 5, k.clip.shape) : NULL;
    k.m = k.clip.samples ? flash_lq_open(p, error, sizeof error) : NULL;
    if (k.clip.samples && !k.m) golden_fail(g, "%s", error);
    if (k.m) plan_and_run(g, run_lq, &k);
    flash_lq_close(k.m);
    free(k.clip.samples);
}

/* ------------------------------------------------------------------------------------------------------------ masks */

typedef struct MaskCase {
    Golden *g;
    const JsonTree *options;
    int index, heads, width, windows, slices, key_slices, halves;
    const float *q, *k;
} MaskCase;

/* A mask of the device's; NULL on a plan and after a failure. */
static uint8_t *read_mask(Dev *d, Tensor mask, int64_t count)
{
    const float *values = dev_is_plan(d) || !dev_ok(d) ? NULL : dev_read(d, mask);
    uint8_t *bytes = values ? malloc((size_t)count) : NULL;
    for (int64_t i = 0; bytes && i < count; i++) bytes[i] = (uint8_t)values[i];
    if (values) dev_read_end(d, values);
    return bytes;
}

static void compare_mask(Golden *g, const char *name, const uint8_t *mask, int64_t count)
{
    float *got = malloc((size_t)count * sizeof *got);
    if (!got) golden_fail(g, "out of memory");
    for (int64_t i = 0; got && i < count; i++) got[i] = mask[i];
    if (got && g->verdict == GOLDEN_OK) golden_compare(g, name, got, count, (GoldenTolerance){0, -1, -1, -1, 0});
    free(got);
}

/* Every block within the range chosen: of every head, slice and half the same P x P. */
static void compare_local(const MaskCase *k, const char *name, const uint8_t *mask)
{
    const int p = k->windows, queries = k->slices * p, keys = k->key_slices * p * k->halves;
    const WeightTensor *expected = golden_expected(k->g, name);
    float *want = expected && expected->count == (int64_t)p * p ? malloc((size_t)(p * p) * sizeof *want) : NULL;
    if (!want) golden_fail(k->g, "%s is not %d x %d", name, p, p);
    if (want) weight_read(expected, 0, (int64_t)p * p, want);
    for (int64_t i = 0; want && i < (int64_t)k->heads * queries * keys; i++) {
        const int key = (int)(i % keys), query = (int)(i / keys % queries);
        const bool near = want[query % p * p + key / k->halves % p] != 0;
        if (near != (mask[i] != 0))
            golden_fail(k->g, "%s: query block %d %s key block %d", name, query, near ? "does not see" : "sees", key);
    }
    free(want);
}

static void run_mask(void *context, Dev *d)
{
    const MaskCase *k = context;
    const int rows = (int)json_int(json_get(k->options, "rows"), 0);
    Tensor q = dev_tensor(d, k->slices, k->windows, WINDOW_TOKENS, k->width);
    Tensor all = dev_tensor(d, k->key_slices, k->windows, WINDOW_TOKENS, k->width);
    KeySlice *keys = calloc((size_t)k->key_slices, sizeof *keys);
    const int64_t count = (int64_t)k->heads * k->slices * k->windows * k->key_slices * k->windows * k->halves;
    Tensor mask = dev_bytes(d, count);
    if (keys) {
        for (int i = 0; i < k->key_slices; i++) keys[i].k = keys[i].v = tensor_frames(all, i, 1);
        to_device(d, q, k->q);
        to_device(d, all, k->k);
        BlockMaskArgs a = {.q = q,
                           .keys = keys,
                           .key_slices = k->key_slices,
                           .heads = k->heads,
                           .head_dim = k->width / k->heads,
                           .block_keys = WINDOW_TOKENS / k->halves,
                           .rows = rows,
                           .columns = k->windows / rows,
                           .local_range = (int)json_int(json_get(k->options, "local_range"), 0),
                           .keep = json_int(json_get(k->options, "topk"), 0),
                           .mask = mask};
        char name[32];
        dev_block_mask(d, &a);
        snprintf(name, sizeof name, "mask%d", k->index);
        uint8_t *chosen = read_mask(d, mask, count);
        if (chosen) compare_mask(k->g, name, chosen, count);
        free(chosen);
        a.keep = -1;
        dev_block_mask(d, &a);
        snprintf(name, sizeof name, "local%d", k->index);
        chosen = read_mask(d, mask, count);
        if (chosen) compare_local(k, name, chosen);
        free(chosen);
    }
    dev_free(d, &mask);
    free(keys);
    dev_free(d, &q);
    dev_free(d, &all);
}

/* The probabilities (tap.prob) are not asked for: an operation's inside, which the masks decide on. */
static void golden_mask(Golden *g)
{
    const JsonTree *options = json_get(g->meta, "options");
    for (int i = 0; i < json_count(options) && g->verdict == GOLDEN_OK; i++) {
        const JsonTree *o = json_at(options, i);
        MaskCase k = {.g = g, .options = o, .index = i, .heads = config(g, "heads")};
        int64_t q_shape[5], k_shape[5];
        char name[16];
        k.windows = (int)(json_int(json_get(o, "rows"), 0) * json_int(json_get(o, "cols"), 0));
        k.slices = (int)json_int(json_get(o, "frames"), 0) / 2;
        k.key_slices = k.slices + (int)json_int(json_get(o, "cached_slices"), 0);
        k.halves = (int)json_int(json_get(o, "halves"), 1);
        k.width = k.heads * config(g, "head_dim");
        snprintf(name, sizeof name, "q%d", i);
        float *q = input(g, name, 3, q_shape);
        snprintf(name, sizeof name, "k%d", i);
        float *keys = q ? input(g, name, 3, k_shape) : NULL;
        if (keys && (q_shape[0] != (int64_t)k.slices * k.windows || k_shape[0] != (int64_t)k.key_slices * k.windows ||
                     q_shape[2] != k.width || k_shape[2] != k.width))
            golden_fail(g, "q%d or k%d does not hold the case's windows", i, i);
        k.q = q;
        k.k = keys;
        if (keys && g->verdict == GOLDEN_OK) plan_and_run(g, run_mask, &k);
        free(q);
        free(keys);
    }
}

/* ------------------------------------------------------------------------------------------ transformer: constants */

typedef struct DitCase {
    Golden *g;
    FlashDit *m;
    int frames, h, w; /* tokens */
    const float *x, *cache_k, *cache_v;
    int cached, step; /* slices; every step-th token is expected */
    int seen;         /* expected taps the network passed by */
} DitCase;

/* The transformer and prompt of the case; false: recorded. */
static bool open_dit(Golden *g, DitCase *k)
{
    char error[512];
    const WeightSet *set = case_weights(g);
    const WeightPart *dit = part(g, set, NET_FLASHVSR_DIT, 0);
    const WeightPart *prompt = dit ? part(g, set, NET_TEXT, config(g, "text_dim")) : NULL;
    k->g = g;
    k->m = prompt ? flash_dit_open(dit, prompt, error, sizeof error) : NULL;
    if (prompt && !k->m) golden_fail(g, "%s", error);
    return k->m != NULL;
}

/* t, t_mod; text_k<i>, text_v<i>, of which the last row stands for all that follow it. */
static void take_constant(void *user, const char *where, int chunk, const float *rows, int row_count, int columns,
                          int padded)
{
    (void)chunk;
    DitCase *k = user;
    char name[32], kind;
    int block;
    if (sscanf(where, "text_%c%d", &kind, &block) != 2) {
        compare_rows(k->g, where, rows, row_count, columns, padded, 1);
        k->seen++;
        return;
    }
    snprintf(name, sizeof name, "text_%c.%d", kind, block);
    const WeightTensor *expected = golden_expected(k->g, name);
    const int wanted = expected ? (int)(expected->count / columns) : 0;
    float *got = malloc((size_t)(wanted + 1) * (size_t)columns * sizeof *got);
    for (int i = 0; got && i < wanted; i++)
        memcpy(got + (int64_t)i * columns, rows + (int64_t)(i < row_count ? i : row_count - 1) * padded,
               (size_t)columns * sizeof *got);
    compare(k->g, name, got, (int64_t)wanted * columns);
    free(got);
    k->seen++;
}

static void run_constants(void *context, Dev *d)
{
    DitCase *k = context;
    FlashDitStream *s = flash_dit_stream_open(k->m, d, 8, 8, case_setup(k->g, 8, 8));
    flash_dit_stream_close(s);
}

/* Rotation angles of 2 frames from the number the tensor is named after, on a grid of 8 x 16. */
static void compare_angles(Golden *g, const WeightTensor *expected)
{
    const int head_dim = config(g, "dim") / config(g, "heads"), pairs = head_dim / 2, h = 8, w = 16;
    const int64_t first = strtol(expected->name + strlen("tap.angles."), NULL, 10), tokens = (int64_t)2 * h * w;
    float *got = malloc((size_t)(tokens * pairs) * sizeof *got);
    for (int64_t i = 0; got && i < tokens; i++) {
        const int64_t place[3] = {first + i / (h * w), i / w % h, i % w};
        for (int p = 0; p < pairs; p++) got[i * pairs + p] = (float)flash_dit_angle(head_dim, p, place);
    }
    compare(g, expected->name, got, tokens * pairs);
    free(got);
}

static void golden_constants(Golden *g)
{
    DitCase k = {0};
    if (!open_dit(g, &k)) return;
    flash_dit_set_tap(k.m, (FlashvsrTap){.user = &k, .value = take_constant});
    plan_and_run(g, run_constants, &k);
    flash_dit_close(k.m);
    int angles = 0;
    for (size_t i = 0; i < weight_file_tensor_count(g->file); i++) {
        const WeightTensor *t = weight_file_tensor(g->file, i);
        if (strncmp(t->name, "tap.angles.", strlen("tap.angles."))) continue;
        compare_angles(g, t);
        angles++;
    }
    const int expected = (int)weight_file_tensor_count(g->file) - angles;
    if (k.seen != expected) golden_fail(g, "%d of %d constants were passed by", k.seen, expected);
}

/* ---------------------------------------------------------------------------------------------- transformer: block */

/* As tensor `name`, or `name`.rows where the case keeps some rows alone. */
static void compare_tokens(DitCase *k, const char *name, const float *natural, int count, int columns)
{
    char rows[64];
    snprintf(rows, sizeof rows, "%s%s", name, k->step > 1 ? ".rows" : "");
    compare_rows(k->g, rows, natural, count, columns, columns, k->step);
    k->seen++;
}

static void take_block(void *user, const char *where, int chunk, const float *rows, int row_count, int columns,
                       int padded)
{
    (void)chunk;
    DitCase *k = user;
    const char *natural_name = !strcmp(where, "attention0") ? "tap.attn" : !strcmp(where, "block0") ? "out" : NULL;
    const char *name = !strcmp(where, "new_k0") ? "tap.new_k" : !strcmp(where, "new_v0") ? "tap.new_v" : NULL;
    if (natural_name) {
        float *natural = natural_order(rows, row_count, columns, padded, k->h, k->w);
        if (!natural)
            golden_fail(k->g, "out of memory");
        else
            compare_tokens(k, natural_name, natural, row_count, columns);
        free(natural);
    } else if (name && weight_file_find(k->g->file, name)) {
        compare_rows(k->g, name, rows, row_count, columns, padded, 1);
        k->seen++;
    }
}

static void take_block_mask(void *user, int block, int chunk, uint8_t *mask, int heads, int queries, int keys)
{
    (void)block;
    (void)chunk;
    DitCase *k = user;
    compare_mask(k->g, "mask", mask, (int64_t)heads * queries * keys);
    k->seen++;
}

static void run_block(void *context, Dev *d)
{
    DitCase *k = context;
    FlashDitStream *s = flash_dit_stream_open(k->m, d, k->h, k->w, case_setup(k->g, k->h, k->w));
    if (!s) return;
    const int width = flash_dit_width(k->m), windows = k->h / 8 * (k->w / 8);
    const int64_t slice_floats = (int64_t)windows * WINDOW_TOKENS * width;
    for (int i = 0; i < k->cached; i++) {
        const KeySlice slice = flash_dit_remember(s, 0);
        to_device(d, slice.k, k->cache_k + i * slice_floats);
        to_device(d, slice.v, k->cache_v + i * slice_floats);
    }
    Tensor tokens = dev_tensor(d, k->frames, k->h, k->w, width);
    to_device(d, tokens, k->x);
    flash_dit_seek(s, (int)option(k->g, "chunk", 0));
    Tensor x = flash_dit_to_windows(s, tokens);
    flash_dit_block(s, 0, x);
    dev_free(d, &x);
    dev_free(d, &tokens);
    flash_dit_stream_close(s);
}

static void golden_block(Golden *g)
{
    const JsonTree *options = json_get(g->meta, "options"), *grid = json_get(options, "grid");
    DitCase k = {.frames = (int)json_int(json_at(grid, 0), 0),
                 .h = (int)json_int(json_at(grid, 1), 0),
                 .w = (int)json_int(json_at(grid, 2), 0),
                 .cached = (int)option(g, "cached_slices", 0),
                 .step = (int)option(g, "row_step", 1)};
    int64_t shape[5];
    const int width = config(g, "dim");
    const int64_t cached = (int64_t)k.cached * (k.h / 8) * (k.w / 8) * WINDOW_TOKENS * width;
    float *x = input(g, "x", 3, shape), *keys = NULL, *values = NULL;
    if (x && shape[1] * shape[2] != (int64_t)k.frames * k.h * k.w * width) golden_fail(g, "x does not fill the grid");
    if (x && k.cached) keys = input(g, "cache_k", 3, shape);
    if (keys && shape[0] * shape[1] * shape[2] != cached) golden_fail(g, "cache_k does not hold the cached slices");
    if (keys) values = input(g, "cache_v", 3, shape);
    if (values && shape[0] * shape[1] * shape[2] != cached) golden_fail(g, "cache_v does not hold the cached slices");
    k.x = x;
    k.cache_k = keys;
    k.cache_v = values;
    if (x && g->verdict == GOLDEN_OK && open_dit(g, &k)) {
        flash_dit_set_tap(k.m, (FlashvsrTap){&k, take_block, take_block_mask});
        plan_and_run(g, run_block, &k);
        flash_dit_close(k.m);
        const int expected = (int)weight_file_tensor_count(g->file);
        if (k.seen != expected) golden_fail(g, "%d of %d values were passed by", k.seen, expected);
    }
    free(x);
    free(keys);
    free(values);
}

/* ---------------------------------------------------------------------------------------------------------- stream */

typedef struct StreamCase {
    Golden *g;
    Flashvsr *m;
    Clip clip;
    float *noise, *out;
    int64_t shape[5]; /* of the latents: [1, 16, f, H/8, W/8] */
    int chunks, h, w; /* h, w: tokens */
    int seen;
} StreamCase;

static void take_stream(void *user, const char *where, int chunk, const float *rows, int row_count, int columns,
                        int padded)
{
    StreamCase *k = user;
    if (strcmp(where, "block0")) return;
    char name[48];
    snprintf(name, sizeof name, "tap.block0.%d.rows", chunk);
    float *natural = natural_order(rows, row_count, columns, padded, k->h, k->w);
    if (!natural)
        golden_fail(k->g, "out of memory");
    else
        compare_rows(k->g, name, natural, row_count, columns, columns, BLOCK0_STEP);
    free(natural);
    k->seen++;
}

/* Eight blocks a byte, the lowest bit first. */
static void take_stream_mask(void *user, int block, int chunk, uint8_t *mask, int heads, int queries, int keys)
{
    StreamCase *k = user;
    const int64_t count = (int64_t)heads * queries * keys, bytes = (count + 7) / 8;
    uint8_t *packed = calloc((size_t)bytes, 1);
    char name[48];
    snprintf(name, sizeof name, "tap.mask.%d.%d", chunk, block);
    for (int64_t i = 0; packed && i < count; i++) packed[i / 8] |= (uint8_t)((mask[i] != 0) << (i % 8));
    if (packed)
        compare_mask(k->g, name, packed, bytes);
    else
        golden_fail(k->g, "out of memory");
    free(packed);
    k->seen++;
}

/* Frames first .. of a planar clip [channels][frames][h][w] to x [t][h][w][channels], or back. */
static void move_latents(Dev *d, Tensor x, float *planar, int64_t frames, int64_t first, bool back)
{
    const float *from = back ? dev_read(d, x) : NULL;
    float *to = back ? NULL : dev_write(d, x);
    const int64_t plane = (int64_t)x.h * x.w;
    for (int t = 0; (from || to) && t < x.t; t++)
        for (int64_t i = 0; i < plane; i++)
            for (int c = 0; c < x.c; c++) {
                const int64_t at = t * x.stride_t + i * x.c_pad + c;
                float *sample = planar + (c * frames + first + t) * plane + i;
                if (back)
                    *sample = from[at];
                else
                    to[at] = *sample;
            }
    dev_read_end(d, from);
    dev_write_end(d, x, to);
}

static void run_stream(void *context, Dev *d)
{
    StreamCase *k = context;
    const int height = (int)k->clip.shape[3], width = (int)k->clip.shape[4];
    FlashvsrStream *s = flashvsr_stream_open(k->m, d, height, width, case_setup(k->g, height / 16, width / 16));
    int64_t first = 0;
    k->clip.next = 0;
    for (int c = 0; s && c < k->chunks && dev_ok(d); c++) {
        const int latents = flashvsr_chunk_latents(s);
        const int64_t frames = k->clip.next + flashvsr_chunk_frames(s);
        Tensor latent = dev_floats(d, latents, height / 8, width / 8, (int)k->shape[1]);
        move_latents(d, latent, k->noise, k->shape[2], first, false);
        flashvsr_chunk(s, (VaeVideo){&k->clip, dev_is_plan(d) ? read_nothing : read_clip, NULL}, latent);
        if (dev_ok(d)) move_latents(d, latent, k->out, k->shape[2], first, true);
        if (dev_ok(d) && !dev_is_plan(d) && k->clip.next != frames)
            golden_fail(k->g, "chunk %d read up to frame %lld, expected %lld", c, (long long)k->clip.next,
                        (long long)frames);
        dev_free(d, &latent);
        first += latents;
    }
    if (s && dev_ok(d) && first != k->shape[2])
        golden_fail(k->g, "%lld latent frames came out, expected %lld", (long long)first, (long long)k->shape[2]);
    flashvsr_stream_close(s);
}

static void golden_stream(Golden *g)
{
    char error[512];
    const WeightSet *set = case_weights(g);
    const WeightPart *dit = part(g, set, NET_FLASHVSR_DIT, 0), *lq = dit ? part(g, set, NET_FLASHVSR_LQ, 0) : NULL;
    const WeightPart *prompt = lq ? part(g, set, NET_TEXT, config(g, "text_dim")) : NULL;
    if (!prompt) return;
    StreamCase k = {.g = g, .clip = {.g = g}, .chunks = (int)option(g, "chunks", 0)};
    k.clip.samples = input(g, "video", 5, k.clip.shape);
    k.noise = k.clip.samples ? input(g, "noise", 5, k.shape) : NULL;
    const int64_t count = k.noise ? k.shape[1] * k.shape[2] * k.shape[3] * k.shape[4] : 0;
    k.out = count ? malloc((size_t)count * sizeof *k.out) : NULL;
    k.h = (int)(k.noise ? k.shape[3] / 2 : 0);
    k.w = (int)(k.noise ? k.shape[4] / 2 : 0);
    k.m = k.out ? flashvsr_open(dit, lq, prompt, error, sizeof error) : NULL;
    if (k.noise && !k.out)
        golden_fail(g, "out of memory");
    else if (k.noise && !k.m)
        golden_fail(g, "%s", error);
    if (k.m) {
        flashvsr_set_tap(k.m, (FlashvsrTap){&k, take_stream, take_stream_mask});
        plan_and_run(g, run_stream, &k);
        compare(g, "out", k.out, count);
        const int expected = (int)weight_file_tensor_count(g->file) - 1;
        if (k.seen != expected) golden_fail(g, "%d of %d taps were passed by the network", k.seen, expected);
    }
    flashvsr_close(k.m);
    free(k.out);
    free(k.noise);
    free(k.clip.samples);
}

void golden_flashvsr(Golden *g)
{
    static const struct {
        const char *kind;
        void (*run)(Golden *g);
    } kinds[] = {{"lq_projection", golden_lq},        {"block_mask", golden_mask},   {"constants", golden_constants},
                 {"dit_block", golden_block},         {"stream", golden_stream},     {"color_fix", golden_flash_pixels},
                 {"preprocess", golden_flash_pixels}, {"tiles", golden_flash_pixels}};
    const char *kind = json_string(json_get(g->meta, "kind"), "");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kind, kinds[i].kind)) continue;
        kinds[i].run(g);
        return;
    }
    golden_fail(g, "the kind '%s' is not known", kind);
}
