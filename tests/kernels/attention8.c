/*
 * Attention in 8 bits: its definition against attention in double, and on parts that have it (sm_120) the kernels against the
 * definition, fed with the same numbers, and against attention in double.
 *
 * The function 2^x is the part's own, so a weight that lies between two of e4m3 may fall to the other one: its row then differs
 * by a sixteenth of that weight. Few rows do.
 */
#include "kernels/cpu/attention8.h"

#include "runtime/cuda/dev_attention.h"
#include "runtime/cuda/pieces.h"
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = ATTENTION8_DEPTH, ARENA = 96 << 20 };

/* What bf16 holds of x. */
static float cut(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float *cut_floats(size_t count, float scale)
{
    float *x = check_random_floats(count, scale);
    for (size_t i = 0; i < count; i++) x[i] = cut(x[i]);
    return x;
}

/* The same as attention8 without its roundings. */
static void attention_in_double(const Attention8 *a)
{
    double *p = check_bytes((size_t)(a->keys + 1) * sizeof *p);
    for (int n = 0; n < a->queries; n++) {
        double top = -1e300, sum = 0.0, o[DEPTH] = {0};
        for (int i = 0; i < a->keys; i++) {
            p[i] = i == a->keys - 1 ? (double)a->last_bias : 0.0;
            for (int c = 0; c < DEPTH; c++) {
                p[i] += (double)a->scale * (double)a->q[n * a->q_row + c] * (double)a->k[i * a->k_row + c];
            }
            if (a->mask != NULL && !a->mask[i / a->block_keys]) p[i] = -INFINITY;
            top = fmax(top, p[i]);
        }
        for (int i = 0; i < a->keys; i++) {
            const double weight = exp(p[i] - top);
            sum += weight;
            for (int c = 0; weight > 0.0 && c < DEPTH; c++) o[c] += weight * (double)a->v[i * a->k_row + c];
        }
        for (int c = 0; c < DEPTH; c++) a->o[n * a->o_row + c] = (float)(sum > 0.0 ? o[c] / sum : 0.0);
    }
}

/* ---------------------------------------------------------------------------------------------------------- closeness */

static double relative_rms(const float *want, const float *got, size_t count)
{
    double error = 0.0, size = 0.0;
    for (size_t i = 0; i < count; i++) {
        error += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        size += (double)want[i] * (double)want[i];
    }
    return sqrt(error / size);
}

static void check_rows(const char *version, const float *want, const float *got, size_t rows)
{
    size_t off = 0;
    double worst = 0.0;
    for (size_t r = 0; r < rows; r++) {
        double most = 0.0;
        for (size_t c = r * DEPTH; c < (r + 1) * DEPTH; c++) {
            const double far = fabs((double)got[c] - (double)want[c]);
            most = far <= most ? most : far; /* a NaN stays */
        }
        off += !(most <= 4e-6); /* float32 sums of values up to 4 */
        worst = most <= worst ? worst : most;
    }
    check_true(worst <= 0.1, "%s: off by %g", version, worst);
    check_true(off <= rows / 20, "%s: %zu of %zu rows are off, by %g", version, off, rows, worst);
}

/* ---------------------------------------------------------------------------------------------------------- accuracy */

/* Rows of one size, as after an RMS norm. */
static void normalize(float *x, int rows, float gain)
{
    for (int r = 0; r < rows; r++) {
        double square = 0.0;
        for (int c = 0; c < DEPTH; c++) square += (double)x[r * DEPTH + c] * (double)x[r * DEPTH + c];
        for (int c = 0; c < DEPTH; c++) x[r * DEPTH + c] = cut((float)(x[r * DEPTH + c] * gain / sqrt(square / DEPTH)));
    }
}

/*
 * The relative errors that these 8 bits may leave: of a flat softmax, and one that four times larger queries make peaked,
 * where the values of a channel have a mean as large as their spread. Values without one cancel each other as their roundings
 * do, which then are e4m3's, of values and weights, 2.6 % each of what comes out, however many keys there are.
 */
typedef struct Accuracy {
    const char *name;
    float gain, offset, mean; /* offset: what keys have in common; mean: of values */
    double i8, e4m3;
} Accuracy;

static const Accuracy accuracies[] = {
    {"flat", 1.0f, 0.0f, 1.0f, 0.005, 0.006},
    {"flat_offset", 1.0f, 2.0f, 1.0f, 0.005, 0.006},
    {"peaked", 4.0f, 0.0f, 1.0f, 0.03, 0.08},
    {"peaked_offset", 4.0f, 2.0f, 1.0f, 0.03, 0.08},
    {"flat_cancelling", 1.0f, 0.0f, 0.0f, 0.04, 0.06},
};

typedef struct Head {
    float *q, *k, *v, *o, *want;
    Attention8 a;
} Head;

static Head head_of(const Accuracy *y, int queries, int keys)
{
    Head h = {.q = check_random_floats((size_t)queries * DEPTH, 1.0f), .k = check_random_floats((size_t)keys * DEPTH, 1.0f),
              .v = cut_floats((size_t)keys * DEPTH, 1.0f), .o = check_floats((size_t)queries * DEPTH),
              .want = check_floats((size_t)queries * DEPTH)};
    normalize(h.q, queries, y->gain);
    normalize(h.k, keys, 1.0f);
    float *offset = check_random_floats(DEPTH, y->offset), *mean = check_random_floats(DEPTH, y->mean);
    for (int i = 0; i < keys * DEPTH; i++) {
        h.k[i] = cut(h.k[i] + offset[i % DEPTH]);
        h.v[i] = cut(h.v[i] + mean[i % DEPTH]);
    }
    h.a = (Attention8){.q = h.q, .k = h.k, .v = h.v, .o = h.want, .q_row = DEPTH, .k_row = DEPTH, .o_row = DEPTH,
                       .queries = queries, .keys = keys, .scale = 1.0f / sqrtf(DEPTH)};
    attention_in_double(&h.a);
    h.a.o = h.o;
    return h;
}

static void definition(const Accuracy *y)
{
    enum { QUERIES = 96, TOKENS = 2048 };
    if (!check_begin("attention8_definition_%s", y->name)) return;
    Head h = head_of(y, QUERIES, TOKENS);
    float *scratch = check_floats(attention8_floats(TOKENS));
    for (int form = 0; form < 2; form++) {
        h.a.e4m3 = form == 1;
        attention8(&h.a, scratch);
        const double error = relative_rms(h.want, h.o, (size_t)QUERIES * DEPTH), allowed = form == 1 ? y->e4m3 : y->i8;
        check_true(error <= allowed, "%s: relative error %.4f, more than %.4f", form == 1 ? "e4m3" : "int8", error, allowed);
        check_true(error >= 1e-4, "%s: relative error %g: nothing was rounded", form == 1 ? "e4m3" : "int8", error);
    }
    check_end();
}

/* Which precision, of which part, attends in 8 bits: from 512 keys on, heads of 128 channels, inside networks. */
static void policy(void)
{
    static const struct {
        DevPrecision precision;
        CudaTarget target;
        bool e4m3;
        CudaAttentionForm form;
    } choices[] = {
        {DEV_FP32, CUDA_TARGET_120F, false, CUDA_ATTENTION_F32},   {DEV_BF16, CUDA_TARGET_120F, true, CUDA_ATTENTION_BF16},
        {DEV_INT8, CUDA_TARGET_120F, true, CUDA_ATTENTION_I8},     {DEV_FP8, CUDA_TARGET_120F, false, CUDA_ATTENTION_I8},
        {DEV_FP8, CUDA_TARGET_120F, true, CUDA_ATTENTION_E4M3},    {DEV_FP8X3, CUDA_TARGET_120F, true, CUDA_ATTENTION_BF16},
        {DEV_INT8, CUDA_TARGET_89, false, CUDA_ATTENTION_BF16},    {DEV_INT8, CUDA_TARGET_90A, false, CUDA_ATTENTION_BF16},
    };
    enum { INSIDE = STAGES_DIT + TEST_STAGE };
    if (!check_begin("attention8_policy")) return;
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        const CudaDevice part = {.major = 12, .target = choices[i].target};
        const DevSetup setup = {.cuda = &part, .precision = choices[i].precision, .fp8_scores = choices[i].e4m3};
        const CudaAttentionForm less = choices[i].form == CUDA_ATTENTION_F32 ? CUDA_ATTENTION_F32 : CUDA_ATTENTION_BF16;
        Dev *plan = dev_plan_open(&setup);
        check_true(cuda_attention_form(plan, INSIDE, DEPTH, 512) == choices[i].form, "choice %zu", i);
        check_true(cuda_attention_form(plan, INSIDE, DEPTH, 511) == less, "choice %zu, few keys", i);
        check_true(cuda_attention_form(plan, INSIDE, 64, 512) == less, "choice %zu, narrow heads", i);
        check_true(cuda_attention_form(plan, STAGES_DIT, DEPTH, 512) == less, "choice %zu, first layers", i);
        dev_close(plan);
    }
    check_end();
}

void test_attention8_definition(void)
{
    policy();
    for (size_t i = 0; i < sizeof accuracies / sizeof *accuracies; i++) definition(&accuracies[i]);
}

/* ------------------------------------------------------------------------------------------------------------ devices */

/* How a device attends in 8 bits. */
static const struct Version {
    const char *name;
    DevPrecision precision;
    bool e4m3;
} versions[] = {{"fp8", DEV_FP8, false}, {"fp8, scores of e4m3", DEV_FP8, true}, {"int8", DEV_INT8, false}};
enum { VERSIONS = sizeof versions / sizeof *versions };

/* work(user, device, version) on a plan, then on the device. */
static void on_version(const struct Version *v, void (*work)(void *user, Dev *d), void *user)
{
    char error[512] = "";
    const DevSetup setup = {.cuda = test_cuda(), .few_too = true, .precision = v->precision, .fp8_scores = v->e4m3};
    Dev *plan = dev_plan_open(&setup);
    work(user, plan);
    const uint64_t planned = dev_totals(plan).arena_peak;
    dev_close(plan);
    Dev *d = dev_open(&setup, planned, error, sizeof error);
    check_true(d != NULL, "%s: %s", v->name, error);
    if (d == NULL) return;
    work(user, d);
    dev_wait(d);
    dev_phase(d);
    check_true(dev_ok(d), "%s: %s", v->name, dev_error(d));
    check_true(dev_totals(d).arena_peak == planned, "%s: other memory than planned", v->name);
    dev_close(d);
}

/* ------------------------------------------------------------------------------------------------------------ windows */

/* Windows are runs of a line of tokens, text is behind each. text < 0: its keys alone. */
typedef struct WindowCase {
    int tokens, heads, text, windows;
    int end[6];
    uint64_t limit; /* of operands; 0: as the device likes */
    float scale;
} WindowCase;

static const WindowCase window_cases[] = {
    {300, 2, 0, 3, {70, 71, 300}, 0, 0.09f},
    {192, 1, 0, 1, {192}, 0, 0.3f},                      /* whole tiles, an odd number */
    {257, 3, 9, 4, {0, 119, 128, 257}, 0, 0.09f},        /* the first has text alone; others end with its 9th key */
    {150, 2, -58, 3, {64, 70, 150}, 0, 0.02f},
    {200, 3, 5, 3, {60, 123, 200}, 60000, 0.09f},        /* in rounds */
};

typedef struct Windows {
    const WindowCase *c;
    AttentionWindow window[6];
    float *qkv, *words, *o, *text_o;
    float *again, *text_again; /* of launches in pieces */
} Windows;

static void attend_windows(void *user, Dev *d)
{
    Windows *r = user;
    const WindowCase *c = r->c;
    const int e = c->heads * DEPTH, text = abs(c->text);
    Tensor qkv = upload(d, r->qkv, 1, 1, c->tokens, 3 * e), o = dev_floats(d, 1, 1, c->tokens, e), words = {0}, text_o = {0};
    poison(d, o);
    AttentionArgs a = {.stage = STAGES_DIT + TEST_STAGE, .q = tensor_channels(qkv, 0, e), .k = tensor_channels(qkv, e, e),
                       .v = tensor_channels(qkv, 2 * e, e), .o = o, .heads = c->heads, .head_dim = DEPTH, .scale = c->scale,
                       .windows = r->window, .window_count = c->windows};
    if (text > 0) {
        words = upload(d, r->words, 1, 1, text, 3 * e);
        a.text_q = tensor_channels(words, 0, e);
        a.text_k = tensor_channels(words, e, e);
        a.text_v = tensor_channels(words, 2 * e, e);
    }
    if (c->text > 0) {
        a.text_o = text_o = dev_floats(d, 1, 1, text, e);
        poison(d, text_o);
    }
    if (c->limit > 0) cuda_attention_within(d, &a, c->limit);
    else dev_attention(d, &a);
    download(d, o, r->o);
    if (c->text > 0) download(d, text_o, r->text_o);
    if (c->limit == 0) { /* the same in as many launches as can be */
        poison(d, o);
        if (c->text > 0) poison(d, text_o);
        cuda_limit_launches(d, 1e-15);
        dev_attention(d, &a);
        download(d, o, r->again);
        if (c->text > 0) download(d, text_o, r->text_again);
    }
    dev_free(d, &text_o);
    dev_free(d, &words);
    dev_free(d, &o);
    dev_free(d, &qkv);
}

/* Rows of one window and head, q, k and v after each other, as the definition wants them. */
static void window_rows(const Windows *r, int first, int own, int head, float *rows)
{
    const WindowCase *c = r->c;
    const int text = abs(c->text), e = c->heads * DEPTH, n = own + text;
    for (int part = 0; part < 3; part++) {
        for (int i = 0; i < n; i++) {
            const float *from = i < own ? r->qkv + (int64_t)(first + i) * 3 * e : r->words + (int64_t)(i - own) * 3 * e;
            memcpy(rows + ((size_t)part * (size_t)n + (size_t)i) * DEPTH, from + part * e + head * DEPTH, DEPTH * sizeof *rows);
        }
    }
}

/* Rows of all tokens and heads, then of the text: [token][head]. */
static void want_windows(const Windows *r, bool e4m3, float *want, float *want_text)
{
    const WindowCase *c = r->c;
    const int text = abs(c->text), most = c->tokens + text;
    float *rows = check_floats((size_t)(3 * most * DEPTH)), *o = check_floats((size_t)(most * DEPTH));
    float *scratch = check_floats(attention8_floats(most));
    memset(want_text, 0, (size_t)(text * c->heads * DEPTH) * sizeof *want_text);
    for (int w = 0; w < c->windows; w++) {
        const int first = w == 0 ? 0 : c->end[w - 1], own = c->end[w] - first, n = own + text;
        for (int head = 0; head < c->heads; head++) {
            window_rows(r, first, own, head, rows);
            attention8(&(Attention8){.q = rows, .k = rows + n * DEPTH, .v = rows + 2 * n * DEPTH, .o = o, .q_row = DEPTH,
                                     .k_row = DEPTH, .o_row = DEPTH, .queries = c->text > 0 ? n : own, .keys = n, .e4m3 = e4m3,
                                     .scale = c->scale}, scratch);
            for (int i = 0; i < own; i++) {
                memcpy(want + ((first + i) * c->heads + head) * DEPTH, o + i * DEPTH, DEPTH * sizeof *o);
            }
            for (int i = 0; c->text > 0 && i < text * DEPTH; i++) {
                want_text[(i / DEPTH * c->heads + head) * DEPTH + i % DEPTH] += o[own * DEPTH + i] / (float)c->windows;
            }
        }
    }
}

static void windows(const WindowCase *c)
{
    if (!check_begin("attention8_windows%d_of_%d_h%d_text%d_limit%u", c->windows, c->tokens, c->heads, c->text,
                     (unsigned)c->limit)) return;
    const int e = c->heads * DEPTH, text = abs(c->text);
    const size_t rows = (size_t)(c->tokens * c->heads), words = (size_t)(text * c->heads);
    Windows r = {.c = c, .qkv = cut_floats((size_t)(c->tokens * 3 * e), 1.0f),
                 .words = cut_floats((size_t)(text * 3 * e) + 1, 1.0f), .o = check_floats(rows * DEPTH), .text_o = check_floats(words * DEPTH + 1)};
    for (int i = 0; i < c->windows; i++) {
        r.window[i] = (AttentionWindow){.t1 = 1, .h1 = 1, .w0 = i == 0 ? 0 : c->end[i - 1], .w1 = c->end[i]};
    }
    for (int i = 0; i < e; i++) r.qkv[i] = 0.0f; /* a query of zeros */
    r.again = check_floats(rows * DEPTH);
    r.text_again = check_floats(words * DEPTH + 1);
    float *want = check_floats(rows * DEPTH), *want_text = check_floats(words * DEPTH + 1);
    for (int i = 0; i < VERSIONS; i++) {
        want_windows(&r, versions[i].e4m3, want, want_text);
        on_version(&versions[i], attend_windows, &r);
        check_rows(versions[i].name, want, r.o, rows);
        if (c->text > 0) check_rows("text", want_text, r.text_o, words);
        if (c->limit == 0) check_equal("in pieces", r.o, r.again, rows * DEPTH * sizeof *r.o);
        if (c->limit == 0 && c->text > 0) check_equal("text in pieces", r.text_o, r.text_again, words * DEPTH * sizeof *r.o);
    }
    check_end();
}

/* ------------------------------------------------------------------------------------------------------------- blocks */

/* chosen: of 256 pairs of blocks; 256: there is no mask. view: q is part of a wider tensor, so that it is copied. */
typedef struct BlockCase {
    int slices, key_slices, windows, tokens, heads, block_keys, chosen;
    float bias;
    bool view;
} BlockCase;

static const BlockCase block_cases[] = {
    {2, 3, 3, 128, 2, 128, 120, 0.0f, false},
    {1, 2, 17, 64, 1, 64, 60, 0.0f, false},  /* more than 32 blocks; query blocks of half a block of threads */
    {1, 2, 2, 128, 2, 128, 10, 0.0f, true},  /* query blocks without any */
    {2, 2, 1, 150, 1, 150, 256, 4.5f, false}, /* keys that end within a tile, the last with a bias */
    {1, 1, 2, 64, 1, 64, 256, -2.0f, false}, /* at its end, with one */
};

enum { SLICES = 3 };

typedef struct Blocks {
    const BlockCase *c;
    float *q, *k[SLICES], *v[SLICES], *o, *again; /* again: in pieces */
    uint8_t *mask;
} Blocks;

static int pairs_of(const BlockCase *c)
{
    return c->heads * c->slices * c->windows * (c->key_slices * c->windows * c->tokens / c->block_keys);
}

static void attend_blocks(void *user, Dev *d)
{
    Blocks *r = user;
    const BlockCase *c = r->c;
    const int e = c->heads * DEPTH, windows = c->windows;
    Tensor wide = upload(d, r->q, c->slices, windows, c->tokens + (c->view ? 8 : 0), e), q = wide, mask = {0};
    q.w = c->tokens;
    Tensor o = dev_floats(d, c->slices, windows, c->tokens, e);
    poison(d, o);
    KeySlice keys[SLICES] = {{{0}, {0}}};
    for (int s = 0; s < c->key_slices; s++) {
        keys[s].k = upload(d, r->k[s], 1, windows, c->tokens, e);
        keys[s].v = upload(d, r->v[s], 1, windows, c->tokens, e);
    }
    if (c->chosen < 256) {
        mask = dev_bytes(d, pairs_of(c));
        float *to = dev_write(d, mask);
        for (int i = 0; to != NULL && i < mask.h * mask.stride_h; i++) to[i] = i < pairs_of(c) ? r->mask[i] : 0.0f;
        dev_write_end(d, mask, to);
    }
    const BlockAttentionArgs a = {.stage = STAGES_FLASH_DIT + TEST_STAGE, .q = q, .o = o, .keys = keys,
                                  .key_slices = c->key_slices, .heads = c->heads, .head_dim = DEPTH,
                                  .block_keys = c->block_keys, .scale = 0.09f, .mask = mask, .last_key_bias = c->bias};
    dev_block_attention(d, &a);
    download(d, o, r->o);
    poison(d, o);
    cuda_limit_launches(d, 1e-15);
    dev_block_attention(d, &a);
    download(d, o, r->again);
    dev_free(d, &mask);
    for (int s = 0; s < c->key_slices; s++) {
        dev_free(d, &keys[s].v);
        dev_free(d, &keys[s].k);
    }
    dev_free(d, &o);
    dev_free(d, &wide);
}

static void want_blocks(const Blocks *r, bool e4m3, float *want)
{
    const BlockCase *c = r->c;
    const int e = c->heads * DEPTH, slice = c->windows * c->tokens, keys = c->key_slices * slice, blocks = keys / c->block_keys;
    const int queries = c->tokens + (c->view ? 8 : 0);
    float *k = check_floats((size_t)(keys * e)), *v = check_floats((size_t)(keys * e));
    float *scratch = check_floats(attention8_floats(keys));
    for (int s = 0; s < c->key_slices; s++) {
        memcpy(k + s * slice * e, r->k[s], (size_t)(slice * e) * sizeof *k);
        memcpy(v + s * slice * e, r->v[s], (size_t)(slice * e) * sizeof *v);
    }
    for (int head = 0; head < c->heads; head++) {
        for (int b = 0; b < c->slices * c->windows; b++) {
            const uint8_t *mask = r->mask + (head * c->slices * c->windows + b) * blocks;
            attention8(&(Attention8){.q = r->q + b * queries * e + head * DEPTH, .k = k + head * DEPTH, .v = v + head * DEPTH,
                                     .o = want + b * c->tokens * e + head * DEPTH, .q_row = e, .k_row = e, .o_row = e,
                                     .queries = c->tokens, .keys = keys, .e4m3 = e4m3, .scale = 0.09f, .last_bias = c->bias,
                                     .mask = c->chosen < 256 ? mask : NULL, .block_keys = c->block_keys}, scratch);
        }
    }
}

static void blocks(const BlockCase *c)
{
    if (!check_begin("attention8_blocks_%dx%dx%d_%d_h%d_of_%d_chosen%d%s", c->slices, c->windows, c->tokens, c->key_slices,
                     c->heads, c->block_keys, c->chosen, c->view ? "_view" : "")) return;
    const int e = c->heads * DEPTH, slice = c->windows * c->tokens;
    const size_t rows = (size_t)(c->slices * slice * c->heads);
    Blocks r = {.c = c, .o = check_floats(rows * DEPTH), .again = check_floats(rows * DEPTH), .mask = check_bytes((size_t)pairs_of(c)),
                .q = cut_floats((size_t)(c->slices * c->windows * (c->tokens + 8) * e), 1.0f)};
    for (int s = 0; s < c->key_slices; s++) {
        r.k[s] = cut_floats((size_t)(slice * e), 1.0f);
        r.v[s] = cut_floats((size_t)(slice * e), 1.0f);
    }
    for (int i = 0; i < pairs_of(c); i++) r.mask[i] = (int)(check_random() >> 24) < c->chosen;
    float *want = check_floats(rows * DEPTH);
    for (int i = 0; i < VERSIONS; i++) {
        want_blocks(&r, versions[i].e4m3, want);
        on_version(&versions[i], attend_blocks, &r);
        check_rows(versions[i].name, want, r.o, rows);
        check_equal("in pieces", r.o, r.again, rows * DEPTH * sizeof *r.o);
    }
    check_end();
}

/* ------------------------------------------------------------------------------------------- against attention in double */

typedef struct Close {
    const Head *head;
    float *o;
} Close;

static void attend_head(void *user, Dev *d)
{
    Close *r = user;
    const int n = r->head->a.keys;
    Tensor q = upload(d, r->head->q, 1, 1, n, DEPTH), k = upload(d, r->head->k, 1, 1, n, DEPTH);
    Tensor v = upload(d, r->head->v, 1, 1, n, DEPTH), o = dev_tensor(d, 1, 1, n, DEPTH); /* of bf16, as networks have it */
    const AttentionWindow all = {.t1 = 1, .h1 = 1, .w1 = n};
    dev_attention(d, &(AttentionArgs){.stage = STAGES_DIT + TEST_STAGE, .q = q, .k = k, .v = v, .o = o, .heads = 1,
                                      .head_dim = DEPTH, .scale = r->head->a.scale, .windows = &all, .window_count = 1});
    download(d, o, r->o);
    dev_free(d, &o);
    dev_free(d, &v);
    dev_free(d, &k);
    dev_free(d, &q);
}

static void accuracy(const Accuracy *y)
{
    enum { TOKENS = 512 };
    if (!check_begin("attention8_%s", y->name)) return;
    const Head h = head_of(y, TOKENS, TOKENS);
    Close r = {&h, h.o};
    for (int i = 0; i < VERSIONS; i++) {
        on_version(&versions[i], attend_head, &r);
        const double error = relative_rms(h.want, h.o, (size_t)TOKENS * DEPTH), allowed = versions[i].e4m3 ? y->e4m3 : y->i8;
        check_true(error <= allowed, "%s: relative error %.4f, more than %.4f", versions[i].name, error, allowed);
        check_true(error >= 1e-4, "%s: relative error %g: nothing was rounded", versions[i].name, error);
    }
    check_end();
}

void test_attention8(void)
{
    if (test_cuda()->target != CUDA_TARGET_120F) return;
    for (size_t i = 0; i < sizeof window_cases / sizeof *window_cases; i++) windows(&window_cases[i]);
    for (size_t i = 0; i < sizeof block_cases / sizeof *block_cases; i++) blocks(&block_cases[i]);
    for (size_t i = 0; i < sizeof accuracies / sizeof *accuracies; i++) accuracy(&accuracies[i]);
}
