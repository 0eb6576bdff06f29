#include "kernels/cpu/fp8.h"
#include "runtime/dev_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------------------- devices */

void dev_close(Dev *d)
{
    if (d == NULL) return;
    d->ops->close(d);
    arena_close(&d->arena);
    free(d->touched);
    free(d);
}

bool dev_is_plan(const Dev *d) { return d->plan; }
bool dev_works_aside(const Dev *d) { return d->cuda != NULL; }
bool dev_ok(const Dev *d) { return !d->failed; }
const char *dev_error(const Dev *d) { return d->error; }
bool dev_no_memory(const Dev *d) { return d->no_memory; }
bool dev_cancelled(const Dev *d) { return d->cancelled; }
const char *dev_describe(const Dev *d) { return d->describe; }

DevTotals dev_totals(const Dev *d)
{
    DevTotals t = d->totals;
    t.arena_peak = d->arena.peak;
    d->ops->totals(d, &t);
    return t;
}

void dev_fail(Dev *d, const char *format, ...)
{
    if (d->failed) return; /* the first failure is the cause of the others */
    d->failed = true;
    va_list list;
    va_start(list, format);
    vsnprintf(d->error, sizeof d->error, format, list);
    va_end(list);
}

void dev_enter(Dev *d)
{
    if (!d->plan) d->ops->enter(d);
}

void dev_leave(Dev *d)
{
    if (!d->plan) d->ops->leave(d);
}

void dev_wait(Dev *d)
{
    if (!d->plan) d->ops->wait(d);
}

void dev_time_begin(Dev *d)
{
    if (!d->plan && !d->failed) d->ops->time_begin(d);
}

double dev_time_end(Dev *d) { return d->plan || d->failed ? 0 : d->ops->time_end(d); }

void dev_phase(Dev *d)
{
    if (d->arena.count != 0) dev_fail(d, "internal error: %zu tensors were not given back", d->arena.count);
}

void dev_phase_begin(Dev *d, int group, uint64_t arena_bytes)
{
    dev_phase(d);
    dev_weight_group(d, group);
    if (!d->failed) d->ops->phase(d, arena_bytes);
}

void dev_weight_group(Dev *d, int group) { d->ops->weight_group(d, group); }

void dev_set_cancel(Dev *d, int (*cancel)(void *user), void *user)
{
    d->cancel = cancel;
    d->cancel_user = user;
}

/* ----------------------------------------------------------------------------------------------------------- tensors */

int element_bytes(Element type)
{
    return type == ELEMENT_F32 ? 4 : type == ELEMENT_BF16 || type == ELEMENT_E4M3_PAIR ? 2 : 1;
}

int element_pad(Element type, int c)
{
    const int unit = type == ELEMENT_E4M3_PAIR ? FP8_PAIR_CHANNELS : 16 / element_bytes(type);
    return (c + unit - 1) / unit * unit;
}

Tensor dev_typed(Dev *d, Element type, int t, int h, int w, int c)
{
    Tensor x = {.t = t, .h = h, .w = w, .c = c, .c_pad = element_pad(type, c), .type = (uint8_t)type};
    x.stride_h = (int64_t)w * x.c_pad;
    x.stride_t = (int64_t)h * x.stride_h;
    if (d->failed) return x;
    x.at = arena_take(&d->arena, d->lasting ? ARENA_LOW : ARENA_HIGH,
                      (uint64_t)t * (uint64_t)x.stride_t * (uint64_t)element_bytes(type));
    x.valid = x.at != ARENA_FULL;
    if (!x.valid) dev_fail(d, "internal error: the working memory planned (%llu bytes) does not suffice",
                           (unsigned long long)d->arena.limit);
    return x;
}

/*
 * Pictures of a handful of pixels are float32 on every device: a norm over so few divides by differences that rounding has made,
 * and they weigh nothing.
 */
bool dev_few_pixels(const Dev *d, int64_t pixels) { return !d->few_too && pixels < 64; }

Tensor dev_tensor(Dev *d, int t, int h, int w, int c)
{
    return dev_typed(d, dev_few_pixels(d, (int64_t)h * w) ? ELEMENT_F32 : d->activation, t, h, w, c);
}

Tensor dev_floats(Dev *d, int t, int h, int w, int c) { return dev_typed(d, ELEMENT_F32, t, h, w, c); }

Tensor dev_lasting_floats(Dev *d, int t, int h, int w, int c)
{
    const bool before = d->lasting;
    d->lasting = true;
    const Tensor x = dev_floats(d, t, h, w, c);
    d->lasting = before;
    return x;
}

Tensor dev_bytes(Dev *d, int64_t count)
{
    const int row = count < 4096 ? (int)count : 4096; /* rows keep sizes within int; all of it is contiguous */
    Tensor x = dev_typed(d, ELEMENT_U8, 1, 1, (int)((count + row - 1) / (row > 0 ? row : 1)), row);
    return x;
}

void dev_free(Dev *d, Tensor *x)
{
    if (x->valid) arena_give(&d->arena, x->at);
    *x = (Tensor){0};
}

Tensor tensor_frames(Tensor x, int first, int count)
{
    x.at += (uint64_t)first * (uint64_t)x.stride_t * (uint64_t)element_bytes(x.type);
    x.t = count;
    return x;
}

Tensor tensor_channels(Tensor x, int first, int count)
{
    x.at += (uint64_t)first * (uint64_t)element_bytes(x.type);
    x.c = count;
    return x;
}

const float *dev_read(Dev *d, Tensor x) { return d->plan || d->failed || !x.valid ? NULL : d->ops->read(d, x); }

void dev_read_end(Dev *d, const float *values)
{
    if (values != NULL) d->ops->read_end(d, values);
}

float *dev_write(Dev *d, Tensor x) { return d->plan || d->failed || !x.valid ? NULL : d->ops->write(d, x); }

void dev_write_end(Dev *d, Tensor x, float *values)
{
    if (values != NULL) d->ops->write_end(d, x, values);
}

Tensor tensor_rows(Tensor x, int first, int count)
{
    x.at += (uint64_t)first * (uint64_t)x.stride_h * (uint64_t)element_bytes(x.type);
    x.t = 1;
    x.h = count;
    return x;
}

Scratch dev_scratch(Dev *d, uint64_t floats)
{
    Scratch s = {ARENA_FULL, NULL};
    if (d->failed) return s;
    s.at = arena_take(&d->arena, ARENA_HIGH, floats * sizeof(float));
    if (s.at == ARENA_FULL) {
        dev_fail(d, "internal error: the working memory planned (%llu bytes) does not suffice",
                 (unsigned long long)d->arena.limit);
    } else if (d->memory != NULL) {
        s.floats = (float *)(void *)(d->memory + s.at);
    }
    return s;
}

void dev_scratch_free(Dev *d, Scratch *s)
{
    if (s->at != ARENA_FULL) arena_give(&d->arena, s->at);
    *s = (Scratch){ARENA_FULL, NULL};
}

/* ----------------------------------------------------------------------------------------------------------- weights */

static size_t slot_of(const WeightTensor *const *table, size_t size, const WeightTensor *t)
{
    size_t i = (size_t)(((uintptr_t)t >> 4) * 0x9E3779B97F4A7C15ULL) & (size - 1);
    while (table[i] != NULL && table[i] != t) i = (i + 1) & (size - 1);
    return i;
}

static void touch(Dev *d, const WeightTensor *t)
{
    if (t == NULL) return;
    if (2 * (d->touched_count + 1) > d->touched_size) {
        size_t size = d->touched_size ? d->touched_size * 2 : 1024;
        const WeightTensor **table = calloc(size, sizeof *table);
        if (table == NULL) return; /* only a count is lost */
        for (size_t i = 0; i < d->touched_size; i++) {
            if (d->touched[i] != NULL) table[slot_of(table, size, d->touched[i])] = d->touched[i];
        }
        free(d->touched);
        d->touched = table;
        d->touched_size = size;
    }
    size_t i = slot_of(d->touched, d->touched_size, t);
    if (d->touched[i] != NULL) return;
    d->touched[i] = t;
    d->touched_count++;
    d->totals.weight_bytes += t->bytes;
}

void dev_touch(Dev *d, const BoundWeight *w)
{
    if (w == NULL) return;
    touch(d, w->tensor);
    touch(d, w->scale);
}

bool floats_finite(const float *x, int64_t count)
{
    uint32_t bad = 0; /* an exponent of all ones; in integers, so that the loop becomes vector code */
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

void checked_read(const void *checked_weight, int64_t first, int64_t count, float *out)
{
    const CheckedWeight *c = checked_weight;
    bound_read(c->weight, first, count, out);
    if (!floats_finite(out, count)) atomic_store_explicit(c->bad, true, memory_order_relaxed);
}

void dev_damaged_weight(Dev *d, const WeightFile *file, const char *name)
{
    if (!d->failed) d->damaged = true;
    dev_fail(d, "%s%sweight '%s' holds a value that is not finite; the file is damaged, copy or download it again",
             file == NULL ? "" : weight_file_path(file), file == NULL ? "" : ": ", name);
}

bool dev_damaged(const Dev *d) { return d->damaged; }

void dev_check_weight(Dev *d, const BoundWeight *w, const atomic_bool *bad)
{
    if (atomic_load_explicit((atomic_bool *)bad, memory_order_relaxed)) dev_damaged_weight(d, w->file, w->tensor->name);
}

const float *dev_vector(Dev *d, const BoundWeight *w, float *to)
{
    if (w == NULL) return NULL;
    bound_read(w, 0, w->count, to);
    if (!floats_finite(to, w->count)) dev_damaged_weight(d, w->file, w->tensor->name);
    return to;
}

Tensor dev_text(Dev *d, const WeightPart *text, int rows)
{
    const WeightTensor *t = text->tensor;
    const int width = (int)t->shape[t->rank - 1];
    Tensor x = dev_tensor(d, 1, 1, rows, width);
    float *to = dev_write(d, x);
    bool fine = true;
    for (int i = 0; to != NULL && i < rows; i++) {
        float *row = to + (int64_t)i * x.c_pad;
        memset(row, 0, (size_t)x.c_pad * sizeof *row);
        weight_read(t, (int64_t)i * width, width, row);
        fine = fine && floats_finite(row, width);
    }
    dev_write_end(d, x, to);
    if (!fine) dev_damaged_weight(d, text->file, t->name);
    return x;
}

/* -------------------------------------------------------------------------------------------------------- operations */

static bool may_run(Dev *d)
{
    if (d->failed) return false;
    d->totals.operations++;
    if (d->cancel != NULL && d->cancel(d->cancel_user)) {
        d->cancelled = true;
        dev_fail(d, "cancelled");
        return false;
    }
    return true;
}

/* Frame i of a call whose frames are worked off one by one. */
static ConvArgs conv_frame(const ConvArgs *a, int i)
{
    ConvArgs one = *a;
    Tensor *const tensors[] = {&one.x, &one.y, &one.pre.stats, &one.post.residual, &one.post.shortcut_x, &one.post.stats};
    for (size_t k = 0; k < sizeof tensors / sizeof *tensors; k++) {
        if (tensors[k]->valid) *tensors[k] = tensor_frames(*tensors[k], i, 1);
    }
    one.start = a->start && i == 0;
    return one;
}

void pre_touch(Dev *d, const Pre *pre)
{
    dev_touch(d, pre->gamma);
    dev_touch(d, pre->beta);
}

int conv_frames_out(const ConvArgs *a, int frames_in)
{
    if (a->whole) return (frames_in - a->kt) / a->stride_t + 1;
    if (a->kt == 1) return frames_in;
    int front = a->start ? a->kt - 1 : a->kt - a->stride_t;
    return (frames_in + front - a->kt) / a->stride_t + 1;
}

int conv_channels_in(const ConvArgs *a)
{
    return (int)a->weight->shape[a->weight_channels_last ? a->weight->rank - 1 : 1] / (a->weight_frames_in_channels ? a->kt : 1);
}

/* What is the same on every device: what is checked and counted; then the operation. */
static void conv_run(Dev *d, const ConvArgs *a)
{
    const int frames = a->x.t;
    if (frames > FRAMES_MAX || (a->state == NULL && a->kt > 1 && !a->whole)) {
        dev_fail(d, "internal error: a convolution of %d frames (at most %d) needs a history", frames, FRAMES_MAX);
        return;
    }
    dev_touch(d, a->weight);
    dev_touch(d, a->bias);
    dev_touch(d, a->post.shortcut);
    dev_touch(d, a->post.shortcut_bias);
    pre_touch(d, &a->pre);
    const uint64_t pixels = (uint64_t)conv_frames_out(a, frames) * (uint64_t)a->y.h * (uint64_t)a->y.w;
    d->totals.flop += 2.0 * (double)pixels * a->y.c *
                      ((double)a->kt * a->kh * a->kw * conv_channels_in(a) +
                       (a->post.shortcut != NULL ? (double)a->post.shortcut->shape[1] : 0.0));
    d->ops->conv3d(d, a);
}

void dev_conv3d(Dev *d, const ConvArgs *a)
{
    if (!may_run(d)) return;
    if (a->state == NULL || !a->state->single) {
        conv_run(d, a);
        return;
    }
    if (a->stride_t != 1 || a->post.shuffle_time > 1) {
        dev_fail(d, "internal error: a thrifty history serves steps of one frame");
        return;
    }
    for (int i = 0; i < a->x.t && dev_ok(d); i++) {
        const ConvArgs one = conv_frame(a, i);
        conv_run(d, &one);
    }
}

void dev_upsample(Dev *d, const UpsampleArgs *a)
{
    if (may_run(d)) d->ops->upsample(d, a);
}

void dev_linear(Dev *d, const LinearArgs *a)
{
    if (!may_run(d)) return;
    if (a->pre.norm == NORM_GROUP || a->post.stats.valid) {
        dev_fail(d, "internal error: a linear layer takes no statistics of frames");
        return;
    }
    dev_touch(d, a->weight);
    dev_touch(d, a->glu);
    dev_touch(d, a->bias);
    pre_touch(d, &a->pre);
    d->totals.flop += 2.0 * a->x.t * a->x.h * a->x.w * (double)a->weight->shape[0] * (double)a->weight->shape[1] *
                      (a->glu != NULL ? 2 : 1);
    d->ops->linear(d, a);
}

void dev_norm(Dev *d, const NormArgs *a)
{
    if (may_run(d)) d->ops->norm(d, a);
}

void dev_stats(Dev *d, const StatsArgs *a)
{
    if (may_run(d)) d->ops->stats(d, a);
}

void dev_attention(Dev *d, const AttentionArgs *a)
{
    if (may_run(d)) d->ops->attention(d, a);
}

void dev_axpby(Dev *d, Tensor y, float a, Tensor x, float b, Tensor z)
{
    if (may_run(d)) d->ops->axpby(d, y, a, x, b, z);
}

void dev_from_planes(Dev *d, Tensor pixels, Tensor planes, const PlaneCells *cells)
{
    if (may_run(d)) d->ops->from_planes(d, pixels, planes, cells);
}

void dev_to_planes(Dev *d, Tensor planes, Tensor pixels, const PlaneWeights *weights)
{
    if (may_run(d)) d->ops->to_planes(d, planes, pixels, weights);
}

void dev_noise(Dev *d, const NoiseArgs *a)
{
    if (may_run(d)) d->ops->noise(d, a);
}

void dev_input_noise(Dev *d, Tensor planes, double scale, uint64_t seed, int64_t frame)
{
    if (scale != 0 && may_run(d)) d->ops->input_noise(d, planes, scale, seed, frame);
}

void dev_resize(Dev *d, const ResizeArgs *a)
{
    if (may_run(d)) d->ops->resize(d, a);
}

void dev_color(Dev *d, const ColorArgs *a)
{
    if (may_run(d)) d->ops->color(d, a);
}

void dev_bytes_in(Dev *d, Tensor x, const void *from, uint64_t bytes)
{
    if (!d->plan && !d->failed) d->ops->bytes_in(d, x, from, bytes);
}

void dev_bytes_out(Dev *d, Tensor x, void *to, uint64_t bytes)
{
    if (!d->plan && !d->failed) d->ops->bytes_out(d, x, to, bytes);
}

const void *dev_out_begin(Dev *d, Tensor x, uint64_t bytes)
{
    return d->plan || d->failed ? NULL : d->ops->out_begin(d, x, bytes);
}

bool dev_out_wait(Dev *d, const void *out)
{
    return d->ops->out_wait(d, out);
}

void dev_out_end(Dev *d, const void *out) { d->ops->out_end(d, out); }

void dev_out_clear(Dev *d)
{
    if (!d->plan && !d->failed) d->ops->out_clear(d);
}

void dev_from_codes(Dev *d, const CodesArgs *a)
{
    if (may_run(d)) d->ops->from_codes(d, a);
}

void dev_to_codes(Dev *d, const CodesArgs *a)
{
    if (may_run(d)) d->ops->to_codes(d, a);
}

void dev_guide(Dev *d, Tensor v, Tensor negative, float guidance, float rescale)
{
    if (may_run(d)) d->ops->guide(d, v, negative, guidance, rescale);
}

void dev_modulation(Dev *d, Tensor out, Tensor emb, int layer, int part, const BoundWeight *extra)
{
    if (may_run(d)) d->ops->modulation(d, out, emb, layer, part, extra);
}

void dev_modulation_row(Dev *d, Tensor out, float add, Tensor emb, int emb_row, const BoundWeight *table, int table_row)
{
    if (may_run(d)) d->ops->modulation_row(d, out, add, emb, emb_row, table, table_row);
}

double block_attention_flop(const BlockAttentionArgs *a)
{
    const double keys = (double)a->key_slices * a->keys[0].k.h * a->keys[0].k.w;
    return 4.0 * a->q.t * a->q.h * a->q.w * keys * a->heads * a->head_dim;
}

double chosen_share(const BlockAttentionArgs *a)
{
    if (!a->mask.valid || a->chosen == 0) return 1.0;
    const double keys = (double)a->key_slices * a->keys[0].k.h * a->keys[0].k.w, pairs = a->q.h * keys / a->block_keys;
    return (double)a->chosen < pairs ? (double)a->chosen / pairs : 1.0;
}

void dev_block_attention(Dev *d, const BlockAttentionArgs *a)
{
    if (!may_run(d)) return;
    d->totals.flop += block_attention_flop(a) * chosen_share(a);
    d->ops->block_attention(d, a);
}

void dev_block_mask(Dev *d, const BlockMaskArgs *a)
{
    if (may_run(d)) d->ops->block_mask(d, a);
}

void dev_rotate(Dev *d, const RotateArgs *a)
{
    if (may_run(d)) d->ops->rotate(d, a);
}

void dev_rows(Dev *d, Tensor y, Tensor x, const int32_t *index)
{
    if (may_run(d)) d->ops->rows(d, y, x, index);
}

/* ----------------------------------------------------------------------------------------------------------- history */

/* Slots for `frames` new frames, none of them holding a remembered one. */
static void free_slots(const ConvState *s, int frames, int *slot)
{
    int found = 0;
    for (int i = 0; i < s->slots && found < frames; i++) {
        bool kept = false;
        for (int k = 0; s->started && k < s->kept; k++) kept |= s->slot[k] == i;
        if (!kept) slot[found++] = i;
    }
}

int state_advance(ConvState *s, int kt, bool start, int frames, int *sequence, int *fresh)
{
    if (start) s->started = false;
    free_slots(s, frames, fresh);
    if (s->bands > 1 && s->started && s->slot[0] != s->slot[s->kept - 1]) fresh[0] = s->slot[0]; /* displaced */
    int n = 0;
    if (start) {
        s->seen = 0;
        for (int i = 0; i < kt - 1; i++) sequence[n++] = s->zero ? s->ring.t - 1 : fresh[0];
    } else {
        for (int i = 0; i < s->kept; i++) sequence[n++] = s->slot[i];
    }
    s->before = n > 0 ? sequence[n - 1] : 0;
    for (int i = 0; i < frames; i++) sequence[n++] = fresh[i];
    for (int i = 0; i < s->kept; i++) s->slot[i] = sequence[n - s->kept + i];
    s->started = true;
    s->seen += frames;
    return n;
}

int64_t state_upsample(ConvState *s, int rt, const UpsampleArgs *a, int *sequence, int *fresh)
{
    if (a->part == UPSAMPLE_SECOND) {
        sequence[0] = s->before;
        sequence[1] = fresh[0] = s->slot[0];
        return s->seen - 1;
    }
    const int64_t seen = a->start ? 0 : s->seen;
    state_advance(s, rt == 2 ? 2 : 3, a->start, a->x.t, sequence, fresh);
    return seen;
}

bool upsample_is_valid(Dev *d, const UpsampleArgs *a, int rt)
{
    const bool history = rt == 0 || (rt > 0 && a->state != NULL && a->x.t <= FRAMES_MAX);
    const bool part = a->part == UPSAMPLE_ALL || (rt == 2 && a->x.t == 1 && a->y.t == 1 &&
                                                  (a->part == UPSAMPLE_FIRST || (a->state != NULL && a->state->seen > 1)));
    if (!history) dev_fail(d, "internal error: a folded upsampler was given no weights, no state or too many frames");
    else if (!part) dev_fail(d, "internal error: there is no such part of what an upsampler gives");
    return history && part;
}

static ConvState *conv_state(Dev *d, const ConvArgs *a, int frames, bool single)
{
    ConvState *s = calloc(1, sizeof *s);
    if (s == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    s->kept = a->kt - a->stride_t;
    s->slots = s->kept + frames;
    s->zero = a->start_zero;
    s->pad_top = a->pad_top;
    s->pad_left = a->pad_left;
    s->single = single;
    d->lasting = true;
    d->ops->history(d, a, s->slots + (s->zero && s->kept == 0 ? 1 : 0), s);
    d->lasting = false;
    return s;
}

ConvState *dev_conv_state(Dev *d, const ConvArgs *a, int frames) { return conv_state(d, a, frames, false); }
ConvState *dev_conv_state_thrifty(Dev *d, const ConvArgs *a) { return conv_state(d, a, 1, true); }

void dev_state_free(Dev *d, ConvState *s)
{
    if (s == NULL) return;
    dev_free(d, &s->ring);
    dev_free(d, &s->scales);
    free(s);
}

int dev_state_read(Dev *d, const ConvState *s, float *out, int *h, int *w, int *c)
{
    *h = s->ring.h - s->gap;
    *w = s->ring.w;
    *c = s->ring.c;
    if (d->plan || !s->started) return 0;
    for (int f = 0; f < s->kept; f++) {
        const int slot = s->slot[f], first = slot * s->ring.h + (s->bands > 1 ? s->row[slot] : 0);
        const Tensor frame = tensor_rows(s->ring, first, s->ring.h - s->gap);
        const float *from = dev_read(d, frame);
        if (from == NULL) return 0;
        for (int64_t p = 0; p < (int64_t)*h * *w; p++, out += *c) memcpy(out, from + p * frame.c_pad, (size_t)*c * sizeof *out);
        dev_read_end(d, from);
    }
    return s->kept;
}

FoldedUpsampler *dev_fold(Dev *d, int stage, const BoundWeight *up, const BoundWeight *up_bias, const BoundWeight *conv,
                          const BoundWeight *conv_bias, int rt)
{
    d->lasting = true;
    FoldedUpsampler *f = d->ops->fold(d, stage, up, up_bias, conv, conv_bias, rt);
    d->lasting = false;
    return f;
}

FoldedUpsampler *dev_fold_nearest(Dev *d, int stage, const BoundWeight *grow, int frames, const BoundWeight *conv,
                                  const BoundWeight *bias)
{
    d->lasting = true;
    FoldedUpsampler *f = d->ops->fold_nearest(d, stage, grow, frames, conv, bias);
    d->lasting = false;
    return f;
}

void dev_fold_free(Dev *d, FoldedUpsampler *f)
{
    if (f != NULL) d->ops->fold_free(d, f);
}

ConvState *dev_fold_state(Dev *d, const FoldedUpsampler *f, Tensor x, int frames)
{
    d->lasting = true;
    ConvState *s = d->ops->fold_state(d, f, x, frames);
    d->lasting = false;
    return s;
}
