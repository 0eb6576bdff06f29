/*
 * Windowed attention on the CUDA device, in rounds of some windows and heads: gather brings queries, keys and values of a
 * window together, normed, rotated and in the type they are multiplied in; then comes attention without a score matrix, or,
 * for heads too wide for that (the VAE's middle), products of some query rows with a softmax between them.
 */
#include "runtime/cuda/dev_attention.h"

#include "runtime/cuda/pieces.h"

enum {
    FLASH_NARROW = 32, FLASH_WIDE = 128,  /* operands' rows in kernels/cuda/attention.cu */
    SCORE_ROWS = 1024,                    /* query rows whose scores are kept at once, at most */
    WINDOWS_AT_ONCE = 32768               /* of a round: the grid's limit is 65535 */
};
static const uint64_t OPERAND_BYTES = 256u << 20; /* of a round; scores are kept in a quarter of it */

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int min_int(int a, int b) { return a < b ? a : b; }

/* Blocks of 256 threads. */
static CudaGrid grid_of(int64_t x, int64_t y) { return (CudaGrid){(unsigned)x, (unsigned)y, 1, 256, 0}; }

/* --------------------------------------------------------------------------------------------------- shared with blocks */

/* A picture of few pixels stays float32 throughout: dev_few_pixels. */
static bool few_tokens(const Dev *d, Tensor q) { return dev_few_pixels(d, 4 * (int64_t)q.t * q.h * q.w); }

Element cuda_attention_type(const Dev *d, int stage, int head_dim)
{
    return cuda_compute(d, stage, head_dim, NULL) == ELEMENT_F32 ? ELEMENT_F32 : ELEMENT_BF16;
}

CudaTokens cuda_tokens(const Dev *d, Tensor x)
{
    if (!x.valid) return (CudaTokens){0};
    return (CudaTokens){cuda_at(d, x), x.type, x.c_pad, (int)(x.stride_h / x.c_pad), (int)(x.stride_t / x.c_pad)};
}

/* Pairs of channels are stored together, so an odd head would be torn apart. */
bool cuda_is_flash(int head_dim) { return head_dim <= FLASH_WIDE && head_dim % 2 == 0; }

int cuda_depth(int head_dim)
{
    if (!cuda_is_flash(head_dim)) return element_pad(ELEMENT_BF16, head_dim);
    return head_dim <= FLASH_NARROW ? FLASH_NARROW : FLASH_WIDE;
}

/* A block of 32 threads a row, for all heads; text of another type than the rest has a launch of its own. */
static void gather_heads(Dev *d, const CudaGather *g, int rows, int windows)
{
    static const char *const functions[2] = {[CUDA_F32] = "attention_gather_f32", [CUDA_BF16] = "attention_gather_bf16"};
    for (int type = 0; type < 2; type++) {
        bool own = false, text = false;
        for (int part = 0; part < 3; part++) {
            own = own || (g->from[part].pitch > 0 && g->from[part].type == type);
            text = text || (g->text[part].pitch > 0 && g->text[part].type == type);
        }
        const CudaGrid grid = {(unsigned)(own ? rows : g->text_rows), 3, (unsigned)windows, 32, 0};
        if (own || text) cuda_launch(d, "attention_rows", functions[type], "", grid, g);
    }
}

void cuda_gather(Dev *d, CudaGather *g, Element type, int rows, int windows)
{
    g->to_type = type;
    g->depth = cuda_depth(g->head_dim);
    if (type == ELEMENT_BF16 && g->head_dim == FLASH_WIDE) {
        gather_heads(d, g, rows, windows);
        return;
    }
    g->lanes = g->depth < 128 ? 8 : 32;
    const int per_block = 256 / g->lanes;
    const CudaGrid grid = {(unsigned)divide_up((int64_t)rows * g->heads, per_block), 3, (unsigned)windows, 256, 0};
    cuda_launch(d, "attention_rows", "attention_gather", "", grid, g);
}

/* Of all heads' and problems' attention what one piece does. */
static CudaFlash piece_of(const CudaFlash *f, Element type, const CudaFlashPiece *p)
{
    CudaFlash g = *f;
    const uint64_t size = (uint64_t)element_bytes(type), kv = (uint64_t)(p->head * f->kv_head) * size;
    g.first_head += p->head;
    g.q += (uint64_t)(p->head * f->q_head) * size;
    for (int i = 0; i < CUDA_KEY_SLICES; i++) {
        g.k[i] += kv;
        g.v[i] += kv;
    }
    if (f->queries > 0) {
        const int64_t row = p->problem / f->q_rows * f->q_frame + p->problem % f->q_rows * f->q_row;
        g.q += (uint64_t)(row * f->q_pitch) * size;
        g.o.at += cuda_flash_tokens(&f->o, f->q_rows, p->problem);
        if (f->mask != 0) g.mask += cuda_flash_mask_rows(p, g.first_head) * (uint64_t)f->blocks;
    } else {
        g.windows += (uint64_t)p->problem * sizeof(CudaWindow);
        g.text_o += cuda_flash_text(p, f->text_queries * cuda_depth(f->head_dim));
    }
    return g;
}

void cuda_flash(Dev *d, const CudaFlash *f, Element type, int query_rows, int heads, int problems, double flop,
                double share)
{
    const bool narrow = f->head_dim <= FLASH_NARROW, floats = type == ELEMENT_F32;
    const int depth = cuda_depth(f->head_dim);
    CudaGrid grid = {.x = (unsigned)divide_up(query_rows, CUDA_FLASH_ROWS), .y = (unsigned)problems, .z = (unsigned)heads,
                     .threads = floats ? 256 : 128};
    /* two tiles of rows and one of weights, rows 16 bytes apart from a multiple of the banks */
    if (floats) grid.shared = (unsigned)(CUDA_FLASH_ROWS * (2 * (depth + 4) + CUDA_FLASH_ROWS + 4) * (int)sizeof(float));
    const char *const function = floats ? narrow ? "flash_f32_32" : "flash_f32_128" : narrow ? "flash_bf16_32" : "flash_bf16_128";
    for (CudaFlashPiece p = cuda_flash_begin(d, function, grid, f->queries > 0 ? f->q_rows : 0, flop, share);
         cuda_flash_next(d, &p);) {
        const CudaFlash piece = piece_of(f, type, &p);
        cuda_launch(d, "attention", function, "", p.grid, &piece);
    }
}

void cuda_zero_padding(Dev *d, Tensor o)
{
    const int pad = element_pad((Element)o.type, o.c);
    if (pad == o.c || pad != o.c_pad) return;
    const int words = element_bytes((Element)o.type) / 2;
    CudaPads pads = {cuda_tokens(d, o), o.t * o.h * o.w, o.h, o.w, o.c * words, pad * words, 0};
    pads.o.pitch *= words;
    cuda_launch(d, "attention_rows", "attention_pads", "", grid_of(divide_up(pads.tokens, 256), 1), &pads);
}

/* ------------------------------------------------------------------------------------------------------------- rounds */

/* Some windows and some heads of each. */
typedef struct Round {
    int window, windows, head, heads;
    int rows, longest; /* of all its windows, text among them; of the longest */
} Round;

typedef struct Job {
    Dev *d;
    const AttentionArgs *a;
    Element type;
    CudaAttentionForm form;
    int depth, text, text_queries;
    uint64_t limit;
    CudaGather gather;
    CudaScratch tables, operands, eights, text_o, text_sum;
    CUdeviceptr windows;
} Job;

static int window_rows(const Job *j, int window)
{
    const AttentionWindow *w = &j->a->windows[window];
    return (w->t1 - w->t0) * (w->h1 - w->h0) * (w->w1 - w->w0) + j->text;
}

static int longest_window(const Job *j)
{
    int longest = 0;
    for (int i = 0; i < j->a->window_count; i++) longest = window_rows(j, i) > longest ? window_rows(j, i) : longest;
    return longest;
}

static uint64_t row_bytes(const Job *j) { return (uint64_t)j->depth * (uint64_t)element_bytes(j->type); }

/* The round after r; false: that was the last. Heads change fastest; windows share a round only where all heads do. */
static bool next_round(const Job *j, Round *r)
{
    const int all = j->a->heads;
    if (r->windows > 0) {
        r->head += r->heads;
        if (r->head < all) {
            r->heads = min_int(r->heads, all - r->head);
            return true;
        }
        r->window += r->windows;
    }
    if (r->window >= j->a->window_count) return false;
    const uint64_t head_bytes = 3 * row_bytes(j);
    r->windows = 1;
    r->rows = r->longest = window_rows(j, r->window);
    r->head = 0;
    const uint64_t fit = j->limit / ((uint64_t)r->rows * head_bytes);
    r->heads = fit < 1 ? 1 : fit < (uint64_t)all ? (int)fit : all;
    if (r->heads < all || !cuda_is_flash(j->a->head_dim)) return true;
    while (r->window + r->windows < j->a->window_count && r->windows < WINDOWS_AT_ONCE) {
        const int more = window_rows(j, r->window + r->windows);
        if ((uint64_t)(r->rows + more) * head_bytes * (uint64_t)all > j->limit) break;
        r->rows += more;
        r->longest = more > r->longest ? more : r->longest;
        r->windows++;
    }
    return true;
}

static CudaWindow window_of(const AttentionWindow *w, int first)
{
    const int tall = w->h1 - w->h0, wide = w->w1 - w->w0;
    return (CudaWindow){w->t0, w->h0, w->w0, tall, wide, (w->t1 - w->t0) * tall * wide, w->rope_t, w->rope_h, w->rope_w, first};
}

/* The table of all windows, each with its place in its round. */
static void upload_windows(const Job *j)
{
    enum { PIECE = 64 };
    CudaWindow piece[PIECE];
    int held = 0, sent = 0;
    for (Round r = {0}; next_round(j, &r);) {
        if (r.head > 0) continue;
        for (int i = 0, first = 0; i < r.windows; i++) {
            piece[held++] = window_of(&j->a->windows[r.window + i], first);
            first += window_rows(j, r.window + i);
            if (held < PIECE && sent + held < j->a->window_count) continue;
            cuda_copy_in(j->d, j->windows + (uint64_t)sent * sizeof *piece, piece, (uint64_t)held * sizeof *piece);
            sent += held;
            held = 0;
        }
    }
}

static bool scores_i8(const Job *j) { return j->form == CUDA_ATTENTION_I8; }

/* Operands of a round: [part][heads][rows][depth]. Queries go where they are read at once if they become int8. */
static void gather(Job *j, const Round *r)
{
    const uint64_t part = (uint64_t)r->rows * (uint64_t)r->heads * row_bytes(j);
    j->gather.windows = j->windows + (uint64_t)r->window * sizeof(CudaWindow);
    j->gather.to[1] = j->operands.address;
    j->gather.to[2] = j->gather.to[1] + part;
    j->gather.to[0] = j->gather.to[2] + part;
    if (scores_i8(j)) {
        const CudaFlash8Pack p = cuda_flash8_room(j->eights.address, r->rows, r->rows, r->windows, r->heads);
        j->gather.to[0] = p.to_q;
        j->gather.q_scale = p.q_scale;
    }
    j->gather.to_head = (int64_t)r->rows * j->depth;
    j->gather.heads = r->heads;
    j->gather.first_head = r->head;
    cuda_gather(j->d, &j->gather, j->type, r->longest, r->windows);
}

static void text_mean(Job *j, const Round *r)
{
    const AttentionArgs *a = j->a;
    const CudaTextMean mean = {.from = j->text_o.address, .sum = j->text_sum.address, .o = cuda_tokens(j->d, a->text_o),
                               .windows = r->windows, .heads = r->heads, .first_head = r->head, .rows = j->text,
                               .head_dim = a->head_dim, .depth = j->depth, .all_heads = a->heads, .begin = r->window == 0,
                               .end = r->window + r->windows == a->window_count, .share = 1.0f / (float)a->window_count};
    cuda_launch(j->d, "attention_rows", "attention_text_mean", "",
                grid_of(divide_up(r->heads * a->head_dim, 256), j->text), &mean);
}

/* -------------------------------------------------------------------------------------------------- without score matrix */

static uint64_t bytes_in_8_bits(const Job *j, const Round *r)
{
    return cuda_attention_in_8_bits(j->form) ? cuda_flash8_bytes(r->rows, r->rows, r->windows, r->heads) : 0;
}

/* Of the round's tiles: of `rows` queries and 64 keys. */
static double flop_of(const Job *j, const Round *r, int rows)
{
    enum { KEYS = 64 };
    double flop = 0;
    for (int i = 0; i < r->windows; i++) {
        const int keys = window_rows(j, r->window + i), queries = keys - j->text + j->text_queries;
        flop += 4.0 * divide_up(keys, KEYS) * KEYS * divide_up(queries, rows) * rows * j->depth * r->heads;
    }
    return flop;
}

static void flash8_round(Job *j, const Round *r)
{
    const AttentionArgs *a = j->a;
    CudaFlash8Pack p = cuda_flash8_room(j->eights.address, r->rows, r->rows, r->windows, r->heads);
    p.q = j->gather.to[0];
    p.k = j->gather.to[1];
    p.v = j->gather.to[2];
    p.windows = j->gather.windows;
    p.q_head = p.kv_head = j->gather.to_head;
    p.q_pitch = p.kv_pitch = j->depth;
    p.text_keys = j->text;
    p.text_queries = j->text_queries;
    p.fp8 = j->form == CUDA_ATTENTION_E4M3;
    if (!scores_i8(j)) cuda_flash8_queries(j->d, &p, r->longest, r->windows, r->heads);
    cuda_flash8_sums(j->d, &p, r->longest, r->windows, r->heads);
    cuda_flash8_means(j->d, &p, r->windows, r->heads);
    cuda_flash8_keys(j->d, &p, r->longest, r->windows, r->heads);
    CudaFlash8 f = {.o = cuda_tokens(j->d, a->o), .text_o = j->text_o.address, .windows = j->gather.windows, .q_rows = 1,
                    .text_keys = j->text, .text_queries = j->text_queries, .first_head = r->head, .scale = a->scale};
    cuda_flash8(j->d, &f, &p, r->longest, r->heads, r->windows, flop_of(j, r, CUDA_FLASH8_ROWS), 1.0);
}

static void flash_round(Job *j, const Round *r)
{
    const AttentionArgs *a = j->a;
    if (cuda_attention_in_8_bits(j->form)) {
        flash8_round(j, r);
        return;
    }
    const CudaFlash f = {.q = j->gather.to[0], .k = {j->gather.to[1]}, .v = {j->gather.to[2]}, .o = cuda_tokens(j->d, a->o),
                         .text_o = j->text_o.address, .windows = j->gather.windows, .q_head = j->gather.to_head,
                         .kv_head = j->gather.to_head, .q_pitch = j->depth, .kv_pitch = j->depth, .q_rows = 1,
                         .text_keys = j->text, .text_queries = j->text_queries, .first_head = r->head,
                         .head_dim = a->head_dim, .scale = a->scale};
    cuda_flash(j->d, &f, j->type, r->longest, r->heads, r->windows, flop_of(j, r, CUDA_FLASH_ROWS), 1.0);
}

/* ------------------------------------------------------------------------------------------------------ wide heads: scores */

/* Memory of the products of some query rows of one window and head. */
typedef struct Scores {
    CudaScratch values, scores, out;
    int rows, pitch; /* query rows at once; keys, padded */
} Scores;

static Scores scores_of(Job *j, int longest)
{
    Scores s = {.pitch = element_pad(ELEMENT_BF16, longest)};
    const int64_t fit = (int64_t)(j->limit / 4 / ((uint64_t)s.pitch * sizeof(float)));
    s.rows = min_int(longest, (int)(fit < 1 ? 1 : fit > SCORE_ROWS ? SCORE_ROWS : fit));
    s.values = cuda_scratch(j->d, (uint64_t)s.pitch * row_bytes(j));
    s.scores = cuda_scratch(j->d, (uint64_t)s.rows * (uint64_t)s.pitch * sizeof(float));
    s.out = cuda_scratch(j->d, (uint64_t)s.rows * (uint64_t)j->depth * sizeof(float));
    return s;
}

static void scores_free(Job *j, Scores *s)
{
    cuda_scratch_free(j->d, &s->out);
    cuda_scratch_free(j->d, &s->scores);
    cuda_scratch_free(j->d, &s->values);
}

/* to [rows][to_pitch] floats = alpha * rows of a times rows of b, both `depth` elements deep. */
static void multiply(Job *j, CUdeviceptr a, int a_pitch, CUdeviceptr b, int depth, int rows, int n, float alpha, CUdeviceptr to,
                     int to_pitch)
{
    CudaGemm g = {.parts = 1, .images = 1, .rows = 1, .columns = rows, .n = n, .y = to, .y_type = CUDA_F32, .y_pitch = to_pitch,
                  .y_column = 1, .y_c = n, .y_pad = n, .subs = 1, .batch = 1, .alpha = alpha};
    g.part[0] = (CudaGemmPart){.a = a, .b = b, .pitch = a_pitch, .depth = depth, .taps = 1, .step_x = 1};
    cuda_gemm(j->d, &g, j->type);
}

/* One head of the round's one window. */
static void scores_head(Job *j, const Round *r, const Scores *s, int head)
{
    Dev *d = j->d;
    const AttentionArgs *a = j->a;
    const uint64_t before = (uint64_t)head * (uint64_t)r->rows * row_bytes(j);
    const int keys = r->rows, queries = keys - j->text + j->text_queries, pitch = element_pad(ELEMENT_BF16, keys);
    const CudaTranspose turn = {j->gather.to[2] + before, s->values.address, j->type, keys, j->depth, pitch};
    cuda_launch(d, "attention_rows", "attention_transpose", "",
                grid_of(divide_up(pitch, 32), divide_up(j->depth, 32)), &turn);
    for (int first = 0; first < queries; first += s->rows) {
        const int rows = min_int(s->rows, queries - first);
        const CUdeviceptr q = j->gather.to[0] + before + (uint64_t)first * row_bytes(j);
        multiply(j, q, j->depth, j->gather.to[1] + before, j->depth, rows, keys, a->scale, s->scores.address, pitch);
        const CudaSoftmax softmax = {s->scores.address, rows, keys, pitch, pitch, j->type, 0};
        cuda_launch(d, "attention_rows", "attention_softmax", "", grid_of(rows, 1), &softmax);
        multiply(j, s->scores.address, pitch * (int)sizeof(float) / element_bytes(j->type), s->values.address, pitch, rows,
                 a->head_dim, 1.0f, s->out.address, j->depth);
        const CudaScatter scatter = {.from = s->out.address,
                                     .text_o = j->text_o.address + (uint64_t)(head * j->text * j->depth) * sizeof(float),
                                     .o = cuda_tokens(d, a->o), .window = window_of(&a->windows[r->window], 0), .first = first,
                                     .rows = rows, .depth = j->depth, .head = r->head + head, .head_dim = a->head_dim};
        cuda_launch(d, "attention_rows", "attention_scatter", "",
                    grid_of(divide_up(a->head_dim, 256), rows), &scatter);
    }
}

/* ---------------------------------------------------------------------------------------------------------- operation */

static void describe_gather(Job *j)
{
    const AttentionArgs *a = j->a;
    Dev *d = j->d;
    j->gather = (CudaGather){.from = {cuda_tokens(d, a->q), cuda_tokens(d, a->k), cuda_tokens(d, a->v)},
                             .text = {cuda_tokens(d, a->text_q), cuda_tokens(d, a->text_k), cuda_tokens(d, a->text_v)},
                             .gain = {cuda_vector(d, a->q_gain), cuda_vector(d, a->k_gain)},
                             .text_gain = {cuda_vector(d, a->text_q_gain), cuda_vector(d, a->text_k_gain)},
                             .head_dim = a->head_dim, .text_rows = j->text, .rope_pairs = a->rope_pairs,
                             .rope_text = a->rope_text, .eps = a->eps};
    if (j->text_queries == 0) j->gather.text[0] = (CudaTokens){0};
    if (a->rope != NULL) j->gather.rope = j->tables.address;
}

/* What is kept for all rounds, sized by the largest. */
static int take_memory(Job *j)
{
    const AttentionArgs *a = j->a;
    const uint64_t rope_bytes = a->rope == NULL ? 0 : (uint64_t)a->rope_rows * (uint64_t)a->rope_pairs * 2 * sizeof(float);
    uint64_t operands = 0, eights = 0, text = 0;
    int longest = 0;
    for (Round r = {0}; next_round(j, &r);) {
        const uint64_t bytes = (scores_i8(j) ? 2 : 3) * (uint64_t)r.rows * (uint64_t)r.heads * row_bytes(j);
        const uint64_t words = (uint64_t)r.windows * (uint64_t)r.heads * (uint64_t)(j->text_queries * j->depth) * sizeof(float);
        operands = bytes > operands ? bytes : operands;
        eights = bytes_in_8_bits(j, &r) > eights ? bytes_in_8_bits(j, &r) : eights;
        text = words > text ? words : text;
        longest = r.longest > longest ? r.longest : longest;
    }
    j->tables = cuda_scratch(j->d, rope_bytes + (uint64_t)a->window_count * sizeof(CudaWindow));
    j->operands = cuda_scratch(j->d, operands);
    j->eights = cuda_scratch(j->d, eights);
    j->text_o = cuda_scratch(j->d, text);
    j->text_sum = cuda_scratch(j->d, (uint64_t)(j->text_queries * a->heads * a->head_dim) * sizeof(float));
    j->windows = j->tables.address + rope_bytes;
    cuda_copy_in(j->d, j->tables.address, a->rope, rope_bytes);
    return longest;
}

static void count(const Job *j)
{
    const AttentionArgs *a = j->a;
    const BoundWeight *gains[4] = {a->q_gain, a->k_gain, a->text_q_gain, a->text_k_gain};
    for (int i = 0; i < 4; i++) dev_touch(j->d, gains[i]);
    for (int i = 0; i < a->window_count; i++) {
        const double keys = window_rows(j, i), queries = keys - j->text + j->text_queries;
        j->d->totals.flop += 4.0 * keys * queries * a->head_dim * a->heads;
    }
}

void cuda_attention_within(Dev *d, const AttentionArgs *a, uint64_t limit)
{
    const Element type = few_tokens(d, a->q) ? ELEMENT_F32 : cuda_attention_type(d, a->stage, a->head_dim);
    Job j = {.d = d, .a = a, .type = type, .depth = cuda_depth(a->head_dim),
             .text = a->text_k.valid ? a->text_k.w : 0, .limit = limit};
    j.text_queries = a->text_o.valid ? j.text : 0;
    j.form = type == ELEMENT_F32 ? CUDA_ATTENTION_F32 : cuda_attention_form(d, a->stage, a->head_dim, longest_window(&j));
    count(&j);
    const int longest = take_memory(&j);
    const bool flash = cuda_is_flash(a->head_dim);
    Scores scores = {.rows = 0};
    if (!flash) scores = scores_of(&j, longest);
    describe_gather(&j);
    upload_windows(&j);
    for (Round r = {0}; dev_ok(d) && next_round(&j, &r);) {
        gather(&j, &r);
        if (flash) flash_round(&j, &r);
        for (int h = 0; !flash && h < r.heads; h++) scores_head(&j, &r, &scores, h);
        if (j.text_queries > 0) text_mean(&j, &r);
    }
    cuda_zero_padding(d, a->o);
    if (j.text_queries > 0) cuda_zero_padding(d, a->text_o);
    if (!flash) scores_free(&j, &scores);
    cuda_scratch_free(d, &j.text_sum);
    cuda_scratch_free(d, &j.text_o);
    cuda_scratch_free(d, &j.eights);
    cuda_scratch_free(d, &j.operands);
    cuda_scratch_free(d, &j.tables);
}

void cuda_attention(Dev *d, const AttentionArgs *a) { cuda_attention_within(d, a, OPERAND_BYTES); }
