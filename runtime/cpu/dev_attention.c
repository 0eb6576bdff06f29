/* Windowed attention on the CPU's threads: rounds of gather, rows, text (kernels/cpu/attention.h). */
#include "kernels/cpu/attention.h"
#include "runtime/dev_internal.h"

#include <string.h>

typedef struct AttentionRun {
    Dev *d;
    Attention a;
    int64_t first; /* pair of this round's first memory */
    int turns;     /* of a pair in the present phase */
    float *pairs, *threads;
    size_t pair_floats, thread_floats;
} AttentionRun;

static void gather_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    AttentionRun *r = context;
    const int64_t n = i / r->turns;
    attention_gather(&r->a, r->first + n, (int)(i % r->turns), r->pairs + (size_t)n * r->pair_floats);
}

static void rows_turn(void *context, int64_t i, int thread)
{
    AttentionRun *r = context;
    const int64_t n = i / r->turns;
    attention_rows(&r->a, r->first + n, (int)(i % r->turns), r->pairs + (size_t)n * r->pair_floats,
                   r->threads + (size_t)thread * r->thread_floats);
}

static AttentionRows rows_of(Dev *d, Tensor x)
{
    return (AttentionRows){.base = x.valid ? cpu_map(d, x) : NULL, .t_step = x.stride_t, .h_step = x.stride_h, .w_step = x.c_pad};
}

static int64_t box_tokens(const AttentionWindow *w)
{
    return (int64_t)(w->t1 - w->t0) * (w->h1 - w->h0) * (w->w1 - w->w0);
}

void cpu_attention(Dev *d, const AttentionArgs *args)
{
    const int head_dim = args->head_dim;
    const BoundWeight *gains[4] = {args->q_gain, args->k_gain, args->text_q_gain, args->text_k_gain};
    for (int i = 0; i < 4; i++) dev_touch(d, gains[i]);

    AttentionRun r = {.d = d};
    r.a = (Attention){.kernels = d->kernels, .heads = args->heads, .head_dim = head_dim, .scale = args->scale,
                      .eps = args->eps, .text = args->text_k.valid ? args->text_k.w : 0, .text_wanted = args->text_o.valid,
                      .box_count = args->window_count, .rope = args->rope, .rope_pairs = args->rope_pairs,
                      .rope_text = args->rope_text};
    for (int i = 0; i < args->window_count; i++) {
        const int64_t own = box_tokens(&args->windows[i]), all = own + r.a.text;
        if (own > r.a.longest) r.a.longest = (int)own;
        d->totals.flop += 4.0 * (double)all * (double)(r.a.text_wanted ? all : own) * head_dim * args->heads;
    }
    const int round = attention_pairs(&r.a, d->threads);
    r.pair_floats = attention_pair_floats(&r.a);
    r.thread_floats = attention_thread_floats(&r.a);
    const uint64_t box_floats = (uint64_t)args->window_count * (sizeof(AttentionBox) / sizeof(float));
    const uint64_t work = (uint64_t)round * r.pair_floats + (uint64_t)d->threads * r.thread_floats;
    Scratch s = dev_scratch(d, work + 4 * (uint64_t)head_dim + box_floats);
    if (s.floats != NULL) {
        r.pairs = s.floats;
        r.threads = s.floats + (size_t)round * r.pair_floats;
        float *vectors = s.floats + work;
        r.a.q_gain = dev_vector(d, gains[0], vectors);
        r.a.k_gain = dev_vector(d, gains[1], vectors + head_dim);
        r.a.text_q_gain = dev_vector(d, gains[2], vectors + 2 * head_dim);
        r.a.text_k_gain = dev_vector(d, gains[3], vectors + 3 * head_dim);
        AttentionBox *boxes = (AttentionBox *)(void *)(vectors + 4 * head_dim);
        for (int i = 0; i < args->window_count; i++) {
            const AttentionWindow *w = &args->windows[i];
            boxes[i] = (AttentionBox){w->t0, w->t1, w->h0, w->h1, w->w0, w->w1, w->rope_t, w->rope_h, w->rope_w};
        }
        r.a.boxes = boxes;
        r.a.q = rows_of(d, args->q);
        r.a.k = rows_of(d, args->k);
        r.a.v = rows_of(d, args->v);
        r.a.o = rows_of(d, args->o);
        r.a.text_q = rows_of(d, args->text_q);
        r.a.text_k = rows_of(d, args->text_k);
        r.a.text_v = rows_of(d, args->text_v);
        r.a.text_o = rows_of(d, args->text_o);
        for (int j = 0; r.a.text_wanted && j < r.a.text; j++) {
            memset(tensor_at(d, args->text_o, 0, 0, j), 0, (size_t)args->text_o.c_pad * sizeof(float));
        }
        const int64_t pairs = (int64_t)args->window_count * args->heads;
        for (r.first = 0; r.first < pairs; r.first += round) {
            const int64_t here = pairs - r.first < round ? pairs - r.first : round;
            r.turns = attention_gather_turns(&r.a);
            pool_run(d->pool, here * r.turns, gather_turn, &r);
            r.turns = attention_rows_turns(&r.a);
            pool_run(d->pool, here * r.turns, rows_turn, &r);
            for (int64_t n = 0; r.a.text_wanted && n < here; n++) {
                attention_text(&r.a, r.first + n, r.pairs + (size_t)n * r.pair_floats);
            }
        }
    }
    dev_scratch_free(d, &s);
}
