/* dev_attention against loops in double: windows that do not divide the grid, a text stream, norms, rotation. */
#include "runtime/cuda/dev_attention.h"
#include "runtime/cuda/pieces.h"
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Run {
    int t, h, w, heads, d, text, pairs;
    bool text_read; /* the text's keys alone, not its queries */
    bool norm, rope_text;
    float spread;
    const AttentionWindow *windows;
    int window_count;
    uint64_t limit; /* of operands on a CUDA device; 0: as it likes */
    const float *qkv, *text_qkv, *rope;
    TestWeight gain[4];
    float *out, *text_out, *want, *want_text;
    float *again, *text_again; /* of launches in pieces */
} Run;

static bool in_pieces(const Run *r) { return test_cuda() != NULL && r->limit == 0 && r->window_count > 1 && r->text != 0; }

/* On a CUDA device in as many launches as can be: the same bits. */
static void work_in_pieces(Run *r, Dev *d, const AttentionArgs *a)
{
    poison(d, a->o);
    if (a->text_o.valid) poison(d, a->text_o);
    cuda_limit_launches(d, 1e-15);
    dev_attention(d, a);
    download(d, a->o, r->again);
    if (a->text_o.valid) download(d, a->text_o, r->text_again);
}

static void work(void *user, Dev *d)
{
    Run *r = user;
    const int e = r->heads * r->d;
    Tensor qkv = upload(d, r->qkv, r->t, r->h, r->w, 3 * e), o = dev_tensor(d, r->t, r->h, r->w, e);
    AttentionArgs a = {.q = tensor_channels(qkv, 0, e), .k = tensor_channels(qkv, e, e), .v = tensor_channels(qkv, 2 * e, e),
                       .o = o, .heads = r->heads, .head_dim = r->d, .scale = 1.0f / sqrtf((float)r->d), .eps = 1e-5f,
                       .windows = r->windows, .window_count = r->window_count, .rope = r->rope, .rope_rows = 64,
                       .rope_pairs = r->pairs, .rope_text = r->rope_text};
    if (r->norm) {
        a.q_gain = &r->gain[0].bound;
        a.k_gain = &r->gain[1].bound;
        a.text_q_gain = &r->gain[2].bound;
        a.text_k_gain = &r->gain[3].bound;
    }
    Tensor words = {0}, text_o = {0};
    if (r->text > 0) {
        words = upload(d, r->text_qkv, 1, 1, r->text, 3 * e);
        if (!r->text_read) text_o = dev_tensor(d, 1, 1, r->text, e);
        a.text_q = tensor_channels(words, 0, e);
        a.text_k = tensor_channels(words, e, e);
        a.text_v = tensor_channels(words, 2 * e, e);
        a.text_o = text_o;
    }
    if (r->limit > 0 && test_cuda() != NULL) cuda_attention_within(d, &a, r->limit);
    else dev_attention(d, &a);
    download(d, o, r->out);
    if (text_o.valid) download(d, text_o, r->text_out);
    if (in_pieces(r)) work_in_pieces(r, d, &a);
    dev_free(d, &text_o);
    dev_free(d, &words);
    dev_free(d, &o);
    dev_free(d, &qkv);
}

static void done(void *user, const char *version)
{
    Run *r = user;
    const size_t count = (size_t)(r->t * r->h * r->w * r->heads * r->d), words = (size_t)((r->text_read ? 0 : r->text) * r->heads * r->d);
    /* scores grow with the square of the spread, and their rounding is a relative error of the weights */
    const double tolerance = 2e-6 * fmax(1.0, (double)(r->spread * r->spread) / 4.0);
    check_close(version, r->want, r->out, count, tolerance);
    if (words > 0) check_close(version, r->want_text, r->text_out, words, tolerance);
    if (in_pieces(r)) check_equal("in pieces", r->out, r->again, count * sizeof *r->out);
    if (in_pieces(r) && words > 0) check_equal("text in pieces", r->text_out, r->text_again, words * sizeof *r->out);
    check_poison(r->out, count);
    if (words > 0) check_poison(r->text_out, words);
}

/* One head of one token after norm and rotation. */
static void prepare(const Run *r, const float *x, const float *gain, const int *rows, double *out)
{
    double square = 0.0;
    for (int i = 0; i < r->d; i++) square += (double)x[i] * (double)x[i];
    for (int i = 0; i < r->d; i++) out[i] = r->norm && gain != NULL ? x[i] / sqrt(square / r->d + 1e-5) * (double)gain[i] : (double)x[i];
    if (rows == NULL || r->rope == NULL) return;
    for (int a = 0; a < 3; a++) {
        for (int j = 0; j < r->pairs; j++) {
            const float *cs = r->rope + (rows[a] * r->pairs + j) * 2;
            double *p = out + 2 * (a * r->pairs + j), u = p[0], v = p[1];
            p[0] = u * (double)cs[0] - v * (double)cs[1];
            p[1] = v * (double)cs[0] + u * (double)cs[1];
        }
    }
}

static void reference(Run *r)
{
    enum { TOKENS_MAX = 1280, DIM_MAX = 136 };
    static double q[TOKENS_MAX][DIM_MAX], k[TOKENS_MAX][DIM_MAX], score[TOKENS_MAX];
    const float *value[TOKENS_MAX];
    float *to[TOKENS_MAX];
    const int e = r->heads * r->d;
    for (int i = 0; i < r->window_count; i++) {
        const AttentionWindow *b = &r->windows[i];
        for (int head = 0; head < r->heads; head++) {
            int n = 0;
            for (int t = b->t0; t < b->t1; t++) {
                for (int y = b->h0; y < b->h1; y++) {
                    for (int x = b->w0; x < b->w1; x++, n++) {
                        const int64_t token = ((int64_t)t * r->h + y) * r->w + x;
                        const float *at = r->qkv + token * 3 * e + head * r->d;
                        const int rows[3] = {b->rope_t + t - b->t0, b->rope_h + y - b->h0, b->rope_w + x - b->w0};
                        prepare(r, at, (const float *)(const void *)r->gain[0].tensor.data, rows, q[n]);
                        prepare(r, at + e, (const float *)(const void *)r->gain[1].tensor.data, rows, k[n]);
                        value[n] = at + 2 * e;
                        to[n] = r->want + token * e + head * r->d;
                    }
                }
            }
            const int own = n;
            for (int j = 0; j < r->text; j++, n++) {
                const float *at = r->text_qkv + j * 3 * e + head * r->d;
                const int rows[3] = {j, j, j};
                prepare(r, at, (const float *)(const void *)r->gain[2].tensor.data, r->rope_text ? rows : NULL, q[n]);
                prepare(r, at + e, (const float *)(const void *)r->gain[3].tensor.data, r->rope_text ? rows : NULL, k[n]);
                value[n] = at + 2 * e;
                to[n] = r->want_text + j * e + head * r->d;
            }
            for (int a = 0; a < (r->text_read ? own : n); a++) {
                double top = -1e300, sum = 0.0;
                for (int c = 0; c < n; c++) {
                    score[c] = 0.0;
                    for (int m = 0; m < r->d; m++) score[c] += q[a][m] * k[c][m];
                    score[c] /= sqrt(r->d);
                    top = fmax(top, score[c]);
                }
                for (int c = 0; c < n; c++) sum += score[c] = exp(score[c] - top);
                for (int m = 0; m < r->d; m++) {
                    double v = 0.0;
                    for (int c = 0; c < n; c++) v += score[c] / sum * (double)value[c][m];
                    if (a < own) to[a][m] = (float)v;
                    else to[a][m] += (float)(v / r->window_count);
                }
            }
        }
    }
}

/* text < 0: that many of which only the keys are used. */
static void one(int t, int h, int w, int heads, int d, int text, int pairs, bool norm, float spread,
                const AttentionWindow *windows, int count, unsigned limit)
{
    if (!check_begin("attention_%dx%dx%d_h%dx%d_text%d%s%s_windows%d_x%g_limit%u", t, h, w, heads, d, text, norm ? "_norm" : "",
                     pairs ? "_rope" : "", count, (double)spread, limit)) return;
    Run r = {.t = t, .h = h, .w = w, .heads = heads, .d = d, .text = text, .pairs = pairs, .norm = norm, .rope_text = norm,
             .windows = windows, .window_count = count, .limit = limit, .spread = spread, .text_read = text < 0};
    r.text = text = abs(text);
    const size_t e = (size_t)(heads * d), tokens = (size_t)(t * h * w);
    float *qkv = check_floats(tokens * 3 * e), *words = check_floats((size_t)text * 3 * e + 1);
    check_normal(qkv, tokens * 3 * e);
    check_normal(words, (size_t)text * 3 * e);
    for (size_t i = 0; i < tokens * 3 * e; i++) { /* what bf16 holds exactly: a peaked softmax would show its rounding, times 36 */
        uint32_t bits;
        qkv[i] *= spread;
        memcpy(&bits, &qkv[i], sizeof bits);
        bits &= 0xffff0000u;
        memcpy(&qkv[i], &bits, sizeof bits);
    }
    r.qkv = qkv;
    r.text_qkv = words;
    if (pairs > 0) {
        float *rope = check_floats((size_t)(64 * pairs * 2));
        for (int i = 0; i < 64 * pairs; i++) {
            rope[2 * i] = cosf((float)i);
            rope[2 * i + 1] = sinf((float)i);
        }
        r.rope = rope;
    }
    for (int i = 0; i < 4; i++) {
        const int64_t shape[] = {d};
        float *gain = check_floats((size_t)d);
        check_uniform(gain, (size_t)d, 0.5f, 1.5f);
        test_weight(&r.gain[i], gain, 1, shape);
    }
    r.out = check_floats(tokens * e);
    r.want = check_floats(tokens * e);
    r.text_out = check_floats((size_t)text * e + 1);
    r.want_text = check_floats((size_t)text * e + 1);
    r.again = check_floats(tokens * e);
    r.text_again = check_floats((size_t)text * e + 1);
    reference(&r);
    each_device(work, done, &r);
    check_end();
}

void test_attention(void)
{
    static const AttentionWindow whole[] = {{0, 1, 0, 13, 0, 23, 0, 0, 0}};
    static const AttentionWindow single[] = {{0, 1, 0, 1, 0, 1, 3, 1, 2}};
    static const AttentionWindow split[] = {{0, 1, 0, 3, 0, 4, 5, 0, 0}, {1, 3, 0, 3, 0, 4, 5, 0, 0}, {0, 1, 3, 5, 0, 4, 5, 0, 0},
                                            {1, 3, 3, 5, 0, 4, 5, 0, 0}, {0, 1, 0, 3, 4, 9, 5, 0, 0}, {1, 3, 0, 3, 4, 9, 5, 0, 0},
                                            {0, 1, 3, 5, 4, 9, 5, 0, 0}, {1, 3, 3, 5, 4, 9, 5, 0, 0}};
    one(1, 13, 23, 1, 96, 0, 0, false, 1.0f, whole, 1, 0);  /* more keys than one block */
    one(1, 13, 23, 2, 40, 0, 0, false, 6.0f, whole, 1, 0);  /* peaked softmax; head width not a multiple of 16 */
    one(3, 5, 9, 2, 32, 7, 5, true, 1.0f, split, 8, 0);
    one(3, 5, 9, 2, 32, 7, 5, true, 1.0f, split, 8, 60000); /* rounds of some windows */
    one(3, 5, 9, 2, 32, 7, 5, true, 1.0f, split, 8, 9000);  /* of one head */
    one(3, 5, 9, 3, 128, 58, 21, true, 1.0f, split, 8, 0);
    one(3, 5, 9, 2, 136, 7, 20, true, 1.0f, split, 8, 4000); /* heads wider than are done at once, their scores in pieces */
    one(3, 5, 9, 2, 18, 3, 3, true, 1.0f, split, 8, 0);      /* no whole groups of four channels */
    one(3, 5, 9, 4, 33, 0, 0, true, 1.0f, split, 8, 0);      /* nor of two */
    one(1, 1, 1, 1, 16, 1, 2, true, 1.0f, single, 1, 0);
    one(3, 5, 9, 1, 20, -70, 0, false, 1.0f, split, 8, 0);
    one(1, 1, 1, 1, 130, -1203, 0, false, 1.0f, single, 1, 0); /* long rows of scores */
}
