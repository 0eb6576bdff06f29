/* Block-sparse attention, the choice of its blocks and the rotation of its tokens against loops in double. */
#include "runtime/cuda/pieces.h"
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <stdlib.h>

enum { SLICES_MAX = 18, BLOCKS_MAX = 96, DIM_MAX = 128 };

typedef struct Case {
    int slices, key_slices;        /* of the queries, of the keys */
    int rows, columns, tokens;     /* windows of a slice; tokens of a window */
    int heads, d, block_keys;
    int local_range, keep;
    float bias;                    /* of the last key */
    bool dense;
} Case;

static const Case cases[] = {
    {2, 3, 2, 3, 128, 2, 32, 128, 3, 10, 0.0f, false},
    {1, 2, 3, 2, 128, 3, 20, 64, 9, 15, 0.0f, false}, /* half blocks; a head's width that is no whole vector */
    {1, 1, 2, 2, 128, 1, 128, 128, 3, 0, 0.0f, false}, /* the one largest of a slice: most query blocks have none */
    {1, 2, 2, 3, 128, 1, 16, 128, 3, -1, 0.0f, false}, /* all in range */
    {2, 2, 2, 2, 128, 2, 128, 64, 3, 6, 0.0f, false},
    {1, 3, 3, 4, 16, 2, 32, 8, 3, 12, 0.0f, false},    /* many small blocks, few of them seen */
    {1, 8, 4, 5, 8, 1, 19, 4, 3, 60, 0.0f, false},     /* many pairs; an odd head: the choice alone */
    {1, 1, 1, 2, 12, 1, 32, 4, 3, 4, 0.0f, false},     /* few tokens */
    {1, 18, 1, 2, 8, 1, 32, 8, 1, 5, 0.0f, false},     /* many slices */
    {2, 1, 1, 5, 50, 2, 24, 11, 9, 0, 4.5f, true},     /* all keys, the last of a window's five blocks cut short, weighted */
};

typedef struct Run {
    const Case *c;
    const float *q, *k[SLICES_MAX], *v[SLICES_MAX];
    uint8_t *mask, *want_mask;
    float *out, *want, *again; /* again: in pieces */
} Run;

/* Heads are of pairs of channels. */
static bool attends(const Case *c) { return c->d % 2 == 0; }
static int windows_of(const Case *c) { return c->rows * c->columns; }
static int per_window(const Case *c) { return (c->tokens + c->block_keys - 1) / c->block_keys; }
static int key_blocks(const Case *c) { return c->key_slices * windows_of(c) * per_window(c); }

static void work(void *user, Dev *d)
{
    Run *r = user;
    const Case *c = r->c;
    const int e = c->heads * c->d, windows = windows_of(c);
    Tensor q = upload(d, r->q, c->slices, windows, c->tokens, e), o = dev_tensor(d, c->slices, windows, c->tokens, e);
    poison(d, o);
    KeySlice keys[SLICES_MAX] = {{{0}, {0}}};
    for (int s = 0; s < c->key_slices; s++) {
        keys[s].k = upload(d, r->k[s], 1, windows, c->tokens, e);
        keys[s].v = upload(d, r->v[s], 1, windows, c->tokens, e);
    }
    const int64_t pairs = (int64_t)c->heads * c->slices * windows * key_blocks(c);
    Tensor mask = {0};
    if (!c->dense) {
        mask = dev_bytes(d, pairs);
        dev_block_mask(d, &(BlockMaskArgs){.q = q, .keys = keys, .key_slices = c->key_slices, .heads = c->heads,
                                           .head_dim = c->d, .block_keys = c->block_keys, .rows = c->rows,
                                           .columns = c->columns, .local_range = c->local_range, .keep = c->keep,
                                           .mask = mask});
        const float *chosen = dev_read(d, mask);
        for (int64_t i = 0; chosen != NULL && i < pairs; i++) r->mask[i] = (uint8_t)chosen[i];
        dev_read_end(d, chosen);
    }
    const BlockAttentionArgs a = {.q = q, .o = o, .keys = keys, .key_slices = c->key_slices, .heads = c->heads, .head_dim = c->d,
                                  .block_keys = c->block_keys, .scale = 1.0f / sqrtf((float)c->d), .mask = mask,
                                  .last_key_bias = c->bias};
    if (attends(c)) {
        dev_block_attention(d, &a);
        download(d, o, r->out);
    }
    if (attends(c) && test_cuda() != NULL) { /* in as many launches as can be */
        poison(d, o);
        cuda_limit_launches(d, 1e-15);
        dev_block_attention(d, &a);
        download(d, o, r->again);
    }
    dev_free(d, &mask);
    for (int s = 0; s < c->key_slices; s++) {
        dev_free(d, &keys[s].v);
        dev_free(d, &keys[s].k);
    }
    dev_free(d, &o);
    dev_free(d, &q);
}

static void done(void *user, const char *version)
{
    Run *r = user;
    const Case *c = r->c;
    const size_t pairs = (size_t)(c->heads * c->slices * windows_of(c) * key_blocks(c));
    if (!c->dense) check_equal(version, r->want_mask, r->mask, pairs);
    const size_t floats = (size_t)(c->slices * windows_of(c) * c->tokens * c->heads * c->d);
    if (attends(c)) check_close(version, r->want, r->out, floats, 2e-6);
    if (attends(c) && test_cuda() != NULL) check_equal("in pieces", r->out, r->again, floats * sizeof *r->out);
    check_poison(r->out, floats);
    for (size_t i = 0; i < pairs; i++) r->mask[i] = 9;
}

static int falling(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* A key block's slice, window and tokens. */
typedef struct Block {
    int slice, window, first, end;
} Block;

static Block block(const Case *c, int number)
{
    const int per = per_window(c), window = number / per;
    Block b = {window / windows_of(c), window % windows_of(c), number % per * c->block_keys, 0};
    b.end = b.first + c->block_keys < c->tokens ? b.first + c->block_keys : c->tokens;
    return b;
}

static const float *row(const Case *c, const float *x, int slice, int window, int token, int head)
{
    return x + (((int64_t)slice * windows_of(c) + window) * c->tokens + token) * c->heads * c->d + head * c->d;
}

static double mean_of(const Case *c, const float *x, int slice, int window, int first, int end, int head, int i)
{
    double sum = 0.0;
    for (int n = first; n < end; n++) sum += row(c, x, slice, window, n, head)[i];
    return sum / (end - first);
}

static void reference_mask(const Run *r, int head, int slice)
{
    const Case *c = r->c;
    const int windows = windows_of(c), blocks = key_blocks(c), left = c->local_range / 2;
    static double p[BLOCKS_MAX * BLOCKS_MAX], sorted[BLOCKS_MAX * BLOCKS_MAX];
    for (int w = 0; w < windows; w++) {
        double sum = 0.0;
        for (int b = 0; b < blocks; b++) {
            const Block key = block(c, b);
            const int dy = key.window / c->columns - w / c->columns, dx = key.window % c->columns - w % c->columns;
            const bool near = abs(dy) <= left && abs(dx) <= left; /* odd ranges: as far to either side */
            double score = 0.0;
            for (int i = 0; i < c->d; i++) {
                score += mean_of(c, r->q, slice, w, 0, c->tokens, head, i) *
                         mean_of(c, r->k[key.slice], 0, key.window, key.first, key.end, head, i);
            }
            sum += p[w * blocks + b] = near ? exp(score / sqrt(c->d)) : 0.0;
        }
        for (int b = 0; b < blocks; b++) p[w * blocks + b] /= sum;
    }
    for (int i = 0; i < windows * blocks; i++) sorted[i] = p[i];
    qsort(sorted, (size_t)(windows * blocks), sizeof *sorted, falling);
    uint8_t *mask = r->want_mask + ((int64_t)head * c->slices + slice) * windows * blocks;
    for (int i = 0; i < windows * blocks; i++) mask[i] = c->keep < 0 ? p[i] > 0.0 : p[i] > sorted[c->keep];
}

static void reference_row(const Run *r, int head, int slice, int window, int token)
{
    const Case *c = r->c;
    const int blocks = key_blocks(c);
    const uint8_t *mask = r->want_mask + (((int64_t)head * c->slices + slice) * windows_of(c) + window) * blocks;
    const float *q = row(c, r->q, slice, window, token, head);
    double sum = 0.0, out[DIM_MAX] = {0};
    for (int b = 0; b < blocks; b++) {
        const Block key = block(c, b);
        if (!c->dense && !mask[b]) continue;
        for (int n = key.first; n < key.end; n++) {
            const float *k = row(c, r->k[key.slice], 0, key.window, n, head), *v = row(c, r->v[key.slice], 0, key.window, n, head);
            double score = 0.0;
            for (int i = 0; i < c->d; i++) score += (double)q[i] * (double)k[i];
            score /= sqrt(c->d);
            if (b == blocks - 1 && n == key.end - 1) score += (double)c->bias;
            const double weight = exp(score);
            sum += weight;
            for (int i = 0; i < c->d; i++) out[i] += weight * (double)v[i];
        }
    }
    float *to = r->want + (row(c, r->q, slice, window, token, head) - r->q);
    for (int i = 0; i < c->d; i++) to[i] = sum > 0.0 ? (float)(out[i] / sum) : 0.0f;
}

static void one(const Case *c)
{
    if (!check_begin("block_attention_%dx%dx%d_%dx%d_h%dx%d_keys%d_%s", c->slices, windows_of(c), c->tokens, c->key_slices,
                     windows_of(c), c->heads, c->d, c->block_keys, c->dense ? "dense" : c->keep < 0 ? "near" : "sparse")) return;
    Run r = {.c = c};
    const size_t slice = (size_t)(windows_of(c) * c->tokens * c->heads * c->d), floats = (size_t)c->slices * slice;
    const size_t pairs = (size_t)(c->heads * c->slices * windows_of(c) * key_blocks(c));
    r.q = check_random_floats(floats, 1.5f);
    for (int s = 0; s < c->key_slices; s++) {
        r.k[s] = check_random_floats(slice, 1.5f);
        r.v[s] = check_random_floats(slice, 1.0f);
    }
    r.mask = check_bytes(pairs);
    r.want_mask = check_bytes(pairs);
    r.out = check_floats(floats);
    r.want = check_floats(floats);
    r.again = check_floats(floats);
    for (int head = 0; head < c->heads; head++) {
        for (int s = 0; s < c->slices; s++) {
            if (!c->dense) reference_mask(&r, head, s);
            for (int w = 0; w < windows_of(c); w++) {
                for (int n = 0; n < c->tokens; n++) reference_row(&r, head, s, w, n);
            }
        }
    }
    each_device(work, done, &r);
    check_end();
}

/* ---------------------------------------------------------------------------------------------------------- rotation */

typedef struct Turn {
    int h, w, heads, d, rows;
    const float *x, *table;
    float *place;
    float *out, *want;
    int first[4];
} Turn;

static void turn_work(void *user, Dev *d)
{
    Turn *r = user;
    Tensor x = upload(d, r->x, 1, r->h, r->w, r->heads * r->d);
    Tensor table = upload_floats(d, r->table, r->rows, 1, 1, r->d), place = upload_floats(d, r->place, 1, 1, r->h * r->w, 3);
    RotateArgs a = {.x = x, .heads = r->heads, .head_dim = r->d, .table = table, .place = place,
                    .first = {r->first[0], r->first[1], r->first[2], r->first[3]}};
    dev_rotate(d, &a);
    download(d, x, r->out);
    dev_free(d, &place);
    dev_free(d, &table);
    dev_free(d, &x);
}

static void turn_done(void *user, const char *version)
{
    Turn *r = user;
    check_close(version, r->want, r->out, (size_t)(r->h * r->w * r->heads * r->d), 1e-6);
}

static void turn(int h, int w, int heads, int d, int first, int second)
{
    if (!check_begin("rotate_%dx%d_h%dx%d_%d_%d", h, w, heads, d, first, second)) return;
    Turn r = {.h = h, .w = w, .heads = heads, .d = d, .rows = 13, .first = {0, first, second, d / 2}};
    const size_t floats = (size_t)(h * w * heads * d);
    float *table = check_floats((size_t)(r.rows * d));
    r.x = check_random_floats(floats, 1.0f);
    r.table = table;
    r.place = check_floats((size_t)(h * w * 3));
    r.out = check_floats(floats);
    r.want = check_floats(floats);
    for (int i = 0; i < r.rows * d / 2; i++) {
        table[2 * i] = cosf(0.1f * (float)i);
        table[2 * i + 1] = sinf(0.1f * (float)i);
    }
    for (int i = 0; i < 3 * h * w; i++) r.place[i] = (float)(check_random() % (uint32_t)r.rows);
    for (int64_t p = 0; p < (int64_t)h * w * heads * d / 2; p++) { /* pairs of all heads of all tokens */
        const int64_t token = p / (heads * d / 2);
        const int pair = (int)(p % (d / 2)), axis = pair < first ? 0 : pair < second ? 1 : 2;
        const float *cs = table + ((int64_t)r.place[3 * token + axis] * (d / 2) + pair) * 2;
        const double u = r.x[2 * p], v = r.x[2 * p + 1];
        r.want[2 * p] = (float)(u * (double)cs[0] - v * (double)cs[1]);
        r.want[2 * p + 1] = (float)(u * (double)cs[1] + v * (double)cs[0]);
    }
    each_device(turn_work, turn_done, &r);
    check_end();
}

void test_blocks(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) one(&cases[i]);
    turn(5, 19, 3, 20, 4, 7);
    turn(2, 64, 2, 128, 22, 43);
}
