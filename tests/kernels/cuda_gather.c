/*
 * Rows of heads of 128 channels as operands of attention, to the bits of the definition below: windows of unequal length, text of
 * the same type as the tokens and of another, heads that are no whole number of fours, int8 where a part has it.
 */
#include "kernels/cpu/int8.h"
#include "runtime/cuda/dev_attention.h"
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

enum { DEPTH = 128, T = 2, H = 3, W = 5, TOKENS = T * H * W, ALL_HEADS = 8, FIRST = 1, WIDTH = 3 * ALL_HEADS * DEPTH,
       WINDOWS = 2, TABLE = 16, MOST_TEXT = 4, MOST_PAIRS = 21, BEFORE = 3 /* rows of the operands that none asked for */ };

typedef struct Case {
    int heads, text, pairs;   /* pairs of an axis; 0: none is turned */
    bool floats, text_floats; /* sources */
    bool text_keys;           /* without its queries */
    bool norm, turn_text, one_part; /* one_part: keys alone */
} Case;

static const Case cases[] = {
    {6, 4, 21, false, true, false, true, true, false}, /* as SeedVR2 has it: few words, floats */
    {4, 3, 5, false, false, true, true, false, false},
    {7, 2, 4, true, true, false, true, true, false},
    {1, 4, 21, true, false, false, false, true, false},
    {5, 0, 0, false, false, false, true, false, false},
    {3, 0, 0, true, false, false, false, false, true},
    {4, 0, 0, false, false, false, false, false, true}, /* as FlashVSR has it */
};

static const CudaWindow windows[WINDOWS] = { /* rows and places in the table are the tests' choice */
    {.t = 0, .h = 1, .w = 2, .tall = 2, .wide = 3, .own = 12, .rope_t = 5, .rope_h = 0, .rope_w = 2, .first = BEFORE},
    {.t = 1, .h = 0, .w = 0, .tall = 2, .wide = 1, .own = 2, .rope_t = 1, .rope_h = 3, .rope_w = 4},
};

typedef struct Gather {
    const Case *c;
    float *tokens, *words;             /* [TOKENS], [text][WIDTH] */
    float *gain[4], *table;            /* q, k, and the text's; [TABLE][pairs][2] */
    float *row;                        /* before it is stored */
} Gather;

/* ----------------------------------------------------------------------------------------------------------- definition */

static float squares(const float *x) { return fmaf(x[3], x[3], fmaf(x[2], x[2], fmaf(x[0], x[0], x[1] * x[1]))); }

/* Sums of four, then of those that are 16, 8, 4, 2 and 1 of them apart. */
static float sum_of_squares(const float *x)
{
    float sum[32];
    for (int i = 0; i < 32; i++) sum[i] = squares(x + 4 * i);
    for (int m = 16; m > 0; m /= 2) {
        for (int i = 0; i < m; i++) sum[i] += sum[i + m];
    }
    return sum[0];
}

static void norm(float *x, const float *gain)
{
    const float factor = 1.0f / sqrtf(sum_of_squares(x) / DEPTH + 1e-5f);
    for (int i = 0; i < DEPTH; i++) x[i] = x[i] * factor * gain[i];
}

static void turn(float *x, const float *table, int pairs, const int rows[3])
{
    for (int j = 0; j < 3 * pairs; j++) {
        const float *by = table + (rows[j / pairs] * pairs + j % pairs) * 2, u = x[2 * j], v = x[2 * j + 1];
        x[2 * j] = u * by[0] - v * by[1];
        x[2 * j + 1] = fmaf(v, by[0], u * by[1]);
    }
}

static uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Row `row` of a window, one head of one part, into r->row; false: it is left out. */
static bool make_row(Gather *r, const CudaWindow *w, int row, int part, int head)
{
    const Case *c = r->c;
    const int line = row / w->wide, t = line / w->tall, h = line % w->tall, x = row % w->wide, word = row - w->own;
    const bool text = word >= 0;
    const int token = ((w->t + t) * H + w->h + h) * W + w->w + x;
    const float *from = text ? r->words + word * WIDTH : r->tokens + token * WIDTH;
    const int rows[3] = {text ? word : w->rope_t + t, text ? word : w->rope_h + h, text ? word : w->rope_w + x};
    if ((text && c->text_keys && part == 0) || (c->one_part && part != 1)) return false;
    memcpy(r->row, from + (part * ALL_HEADS + FIRST + head) * DEPTH, DEPTH * sizeof *from);
    if (c->norm && part < 2) norm(r->row, r->gain[text * 2 + part]);
    if (c->pairs > 0 && part < 2 && (!text || c->turn_text)) turn(r->row, r->table, c->pairs, rows);
    return true;
}

static int rows_of(const Case *c) { return BEFORE + windows[0].own + windows[1].own + WINDOWS * c->text; }

/* [3][heads][rows][128] of bf16; with `scales`, queries of int8 where those of bf16 began, and a float each. */
static void define(Gather *r, uint16_t *operands, float *scales)
{
    const Case *c = r->c;
    const int all = rows_of(c);
    for (int w = 0; w < WINDOWS; w++) {
        const int first = w == 0 ? windows[0].first : BEFORE + windows[0].own + c->text;
        for (int i = 0; i < 3 * c->heads * (windows[w].own + c->text); i++) {
            const int part = i % 3, head = i / 3 % c->heads, row = i / 3 / c->heads;
            if (!make_row(r, &windows[w], row, part, head)) continue;
            uint16_t *to = operands + (((int64_t)part * c->heads + head) * all + first + row) * DEPTH;
            if (scales != NULL && part == 0) {
                float *scale = scales + head * all + first + row;
                uint32_t bits;
                int8_quantize(r->row, DEPTH, (int8_t *)operands + (head * all + first + row) * DEPTH, scale);
                memcpy(&bits, scale, sizeof bits);
                bits &= ~3u;
                memcpy(scale, &bits, sizeof bits);
            } else {
                for (int n = 0; n < DEPTH; n++) to[n] = bf16_of(r->row[n]);
            }
        }
    }
}

/* --------------------------------------------------------------------------------------------------------------- device */

static Tensor source(Dev *d, bool floats, const float *values, int t, int h, int w)
{
    return floats ? upload_floats(d, values, t, h, w, WIDTH) : upload(d, values, t, h, w, WIDTH);
}

static CUdeviceptr vector(Dev *d, Tensor *x, const float *values, int count)
{
    *x = upload_floats(d, values, 1, 1, 1, count);
    return cuda_at(d, *x);
}

static void compare(Gather *r, Dev *d, bool i8)
{
    const Case *c = r->c;
    const int all = rows_of(c), e = ALL_HEADS * DEPTH;
    const size_t bytes = (size_t)(3 * c->heads * all * DEPTH) * 2, scale_bytes = (size_t)(c->heads * all) * sizeof(float);
    Tensor tokens = source(d, c->floats, r->tokens, T, H, W), words = {0}, gains[4], table;
    if (c->text > 0) words = source(d, c->text_floats, r->words, 1, 1, c->text);
    CudaScratch to = cuda_scratch(d, bytes), scales = cuda_scratch(d, scale_bytes), list = cuda_scratch(d, sizeof windows);
    CudaWindow placed[WINDOWS] = {windows[0], windows[1]};
    placed[1].first = BEFORE + windows[0].own + c->text;
    CudaGather g = {.windows = list.address, .q_scale = i8 ? scales.address : 0, .to_head = (int64_t)all * DEPTH,
                    .heads = c->heads, .first_head = FIRST, .head_dim = DEPTH, .text_rows = c->text, .rope_pairs = c->pairs,
                    .rope_text = c->turn_text, .eps = 1e-5f};
    for (int part = 0; part < 3; part++) {
        if (c->one_part && part != 1) continue;
        g.from[part] = cuda_tokens(d, tensor_channels(tokens, part * e, e));
        g.to[part] = to.address + (uint64_t)part * (bytes / 3);
        if (c->text > 0 && (part > 0 || !c->text_keys)) g.text[part] = cuda_tokens(d, tensor_channels(words, part * e, e));
    }
    for (int i = 0; i < 4; i++) {
        const CUdeviceptr at = vector(d, &gains[i], r->gain[i], DEPTH);
        if (c->norm) (i < 2 ? g.gain : g.text_gain)[i % 2] = at;
    }
    const CUdeviceptr at = vector(d, &table, r->table, TABLE * MOST_PAIRS * 2);
    if (c->pairs > 0) g.rope = at;
    cuda_copy_in(d, list.address, placed, sizeof placed);
    cuda_fill(d, to.address, 0x11, bytes);
    cuda_fill(d, scales.address, 0x22, scale_bytes);
    cuda_gather(d, &g, ELEMENT_BF16, windows[0].own + c->text, WINDOWS);
    void *got = check_bytes(bytes), *want = check_bytes(bytes), *got_scales = check_bytes(scale_bytes);
    float *want_scales = check_bytes(scale_bytes);
    cuda_copy_out(d, got, to.address, bytes);
    cuda_copy_out(d, got_scales, scales.address, scale_bytes);
    cuda_wait(d);
    memset(want, 0x11, bytes);
    memset(want_scales, 0x22, scale_bytes);
    define(r, want, i8 ? want_scales : NULL);
    check_true(dev_ok(d), "%s", dev_error(d));
    check_equal(i8 ? "queries of int8" : "bf16", want, got, bytes);
    check_equal("scales", want_scales, got_scales, scale_bytes);
    dev_free(d, &table);
    for (int i = 3; i >= 0; i--) dev_free(d, &gains[i]);
    cuda_scratch_free(d, &list);
    cuda_scratch_free(d, &scales);
    cuda_scratch_free(d, &to);
    dev_free(d, &words);
    dev_free(d, &tokens);
}

/* What bf16 holds exactly, so that both types of source are the same. */
static float *cut(size_t count)
{
    float *x = check_random_floats(count, 1.0f);
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = (uint32_t)bf16_of(x[i]) << 16;
        memcpy(&x[i], &bits, sizeof bits);
    }
    return x;
}

static void gathers(Dev *d, const Case *c)
{
    if (!check_begin("attention_gather_h%d_text%d_pairs%d%s%s%s%s%s%s", c->heads, c->text, c->pairs, c->floats ? "_floats" : "",
                     c->text_floats ? "_text_floats" : "", c->text_keys ? "_keys" : "", c->norm ? "_norm" : "",
                     c->turn_text ? "_text" : "", c->one_part ? "_part" : "")) return;
    Gather r = {.c = c, .tokens = cut(TOKENS * WIDTH), .words = cut(MOST_TEXT * WIDTH),
                .table = check_random_floats(TABLE * MOST_PAIRS * 2, 1.0f), .row = check_floats(DEPTH)};
    for (int i = 0; i < 4; i++) r.gain[i] = check_random_floats(DEPTH, 1.0f);
    compare(&r, d, false);
    if (test_cuda()->target == CUDA_TARGET_120F) compare(&r, d, true);
    check_end();
}

void test_cuda_gather(void)
{
    char error[512] = "";
    const DevSetup setup = {.cuda = test_cuda(), .few_too = true, .precision = DEV_BF16};
    Dev *d = dev_open(&setup, 16 << 20, error, sizeof error);
    if (d == NULL) {
        check_true(false, "%s", error);
        return;
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) gathers(d, &cases[i]);
    dev_close(d);
}
