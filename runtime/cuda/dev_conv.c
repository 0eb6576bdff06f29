/* Convolutions and linear layers on the CUDA device: history, padded frames, and the products over them. */
#include "kernels/cpu/fp8.h"
#include "runtime/cuda/dev.h"

#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------------------- operands */

int cuda_blocks(int depth) { return (depth + CUDA_BLOCK - 1) / CUDA_BLOCK; }

int cuda_words(Element type, int depth)
{
    return type == ELEMENT_E4M3 || type == ELEMENT_E4M3_PAIR ? fp8_words(depth, type == ELEMENT_E4M3_PAIR) : cuda_blocks(depth);
}

Tensor cuda_scales(Dev *d, Element type, int64_t pixels, int depth)
{
    enum { ROW = 4096 };
    if (type < ELEMENT_I8) return (Tensor){0};
    return dev_floats(d, 1, (int)((pixels * cuda_words(type, depth) + ROW - 1) / ROW), 1, ROW);
}

/* Of unit variance, times a gain of about 1: e4m3 has that in its midst. */
bool cuda_is_bounded(const Pre *pre) { return pre->norm == NORM_GROUP || pre->norm == NORM_L2; }

/* Scales where pre(x) wants them. */
static Tensor scales_for(Dev *d, Element type, const Pre *pre, Tensor x)
{
    if (type != ELEMENT_I8 && cuda_is_bounded(pre)) return (Tensor){0};
    return cuda_scales(d, type, (int64_t)x.t * x.h * x.w, x.c_pad);
}

CudaFrames cuda_frames_of(const Dev *d, Tensor x, Tensor scales)
{
    return (CudaFrames){.data = cuda_at(d, x),
                        .scale = cuda_at(d, scales),
                        .type = (Element)x.type,
                        .h = x.h,
                        .w = x.w,
                        .c = x.c,
                        .pitch = x.c_pad,
                        .blocks = cuda_words((Element)x.type, element_pad((Element)x.type, x.c)),
                        .frame_pixels = (int)(x.stride_t / x.c_pad),
                        .pictures = x.t};
}

CudaFrames cuda_frames_within(const Dev *d, Tensor x, Tensor scales, int margin_x, int margin_y)
{
    CudaFrames f = cuda_frames_of(d, x, scales);
    f.margin_x = margin_x;
    f.margin_y = margin_y;
    f.w += 2 * margin_x;
    f.h += 2 * margin_y;
    f.frame_pixels = f.h * f.w;
    return f;
}

bool cuda_engine_pads(Element type) { return type == ELEMENT_E4M3 || type == ELEMENT_E4M3_PAIR; }

bool cuda_reads_directly(Tensor x, Element type)
{
    const int unit = 16 / element_bytes(type);
    return x.type == type && type < ELEMENT_I8 && x.at % 16 == 0 && x.c_pad % unit == 0 &&
           (x.c % unit == 0 || x.c_pad == element_pad(type, x.c));
}

CudaOperand cuda_operand(Dev *d, Tensor x, const Pre *pre, Element type)
{
    CudaOperand o = {0};
    if (pre_is_identity(pre) && cuda_reads_directly(x, type)) {
        o.frames = cuda_frames_of(d, x, (Tensor){0});
        return o;
    }
    o.own = dev_typed(d, type, x.t, x.h, x.w, x.c);
    o.scales = scales_for(d, type, pre, o.own);
    o.frames = cuda_frames_of(d, o.own, o.scales);
    for (int t = 0; t < x.t; t += CUDA_FRAMES) {
        int slot[CUDA_FRAMES];
        const int count = x.t - t < CUDA_FRAMES ? x.t - t : CUDA_FRAMES;
        for (int i = 0; i < count; i++) slot[i] = t + i;
        cuda_pre(d, tensor_frames(x, t, count), pre, &o.frames, slot, 0, 0);
    }
    return o;
}

void cuda_operand_free(Dev *d, CudaOperand *o)
{
    dev_free(d, &o->scales);
    dev_free(d, &o->own);
}

void cuda_gemm_operand(CudaGemmPart *part, const CudaFrames *a, const CudaWeight *b)
{
    part->a = a->data;
    part->a_scale = a->scale;
    part->pitch = a->pitch;
    part->b = b->data;
    part->b_scale = b->scale;
    part->taps = b->taps;
    part->depth = b->depth;
    part->blocks = a->blocks;
    part->width = a->w;
    part->height = a->h;
    part->pictures = a->pictures;
    part->picture = a->pictures > 1 ? a->frame_pixels : a->h * a->w; /* slots of a single picture may be its rows */
    part->margin_x = a->margin_x;
    part->margin_y = a->margin_y;
}

/* ------------------------------------------------------------------------------------------------------------- results */

/* Everything about where n columns go but the images. */
void cuda_gemm_result(const Dev *d, CudaGemm *g, Tensor y, const Post *p, int n)
{
    const int y_row = (int)(y.stride_h / y.c_pad), y_frame = (int)(y.stride_t / y.c_pad);
    g->n = n;
    g->act = p->act;
    g->alpha = 1.0f;
    g->y = cuda_at(d, y);
    g->y_type = y.type;
    g->y_pitch = y.c_pad;
    g->y_c = y.c;
    g->y_pad = cuda_pad_of(y);
    g->rows = y.h;
    g->columns = y.w;
    g->y_row = y_row;
    g->y_column = 1;
    g->subs = 1;
    if (p->shuffle_space > 0) {
        const int space = p->shuffle_space, rt = p->shuffle_time;
        g->rows /= space;
        g->columns /= space;
        g->y_row *= space;
        g->y_column *= space;
        g->subs = space * space * rt;
        for (int s = 0; s < g->subs; s++) g->sub[s] = s % rt * y_frame + s / rt / space * y_row + s / rt % space;
    }
    g->gate = p->gate.valid ? cuda_at(d, p->gate) : 0;
    if (p->residual.valid) {
        g->residual = cuda_at(d, p->residual);
        g->residual_type = p->residual.type;
        g->residual_pitch = p->residual.c_pad;
        g->residual_row = (int)(p->residual.stride_h / p->residual.c_pad);
        g->residual_column = 1;
    }
}

/* Where output frame f goes as image i, and which sub-frames of it are left out. */
static void place_image(CudaGemm *g, Tensor y, const Post *p, int f, int i)
{
    const int rt = p->shuffle_space > 0 ? p->shuffle_time : 1, y_frame = (int)(y.stride_t / y.c_pad);
    g->drop[i] = 0;
    g->y_image[i] = f * rt * y_frame;
    if (p->shuffle_drop) {
        /* coarse frame 0 of a video has one fine frame: the second (index 1, not 0) is left out and all later ones move up */
        if (f > 0) g->y_image[i] -= y_frame;
        else g->drop[i] = 0xAA;
    }
    g->residual_image[i] = p->residual.valid ? f * (int)(p->residual.stride_t / p->residual.c_pad) : 0;
}

/* ------------------------------------------------------------------------------------------------------------- history */

/* What a convolution multiplies in. Pictures of few pixels (dev_few_pixels) in float32: the norm behind it needs it. */
static Element compute_of(const Dev *d, const ConvArgs *a)
{
    return dev_few_pixels(d, (int64_t)a->x.h * a->x.w) ? ELEMENT_F32 : cuda_compute(d, a->stage, a->x.c, a->weight);
}

void cuda_clear_frames(Dev *d, Tensor x, Tensor scales)
{
    cuda_fill(d, cuda_at(d, x), 0, (uint64_t)(x.t * x.stride_t) * (uint64_t)element_bytes((Element)x.type));
    if (scales.valid) cuda_fill(d, cuda_at(d, scales), 0, (uint64_t)scales.stride_t * sizeof(float));
}

/* Does the copy engine make what pads pictures? */
static bool engine_pads(const ConvArgs *a, Element type)
{
    return cuda_engine_pads(type) && !a->pad_edge && a->stride_h == 1 && a->stride_w == 1 && a->pad_top == a->pad_bottom &&
           a->pad_left == a->pad_right;
}

/* Frames that lie in slots with gaps are one picture to it: above and below each stand rows that are not zeros unless kept. */
static int margin_x(const ConvArgs *a, Element type) { return engine_pads(a, type) ? a->pad_left : 0; }
static int margin_y(const ConvArgs *a, Element type, int gap) { return gap == 0 && engine_pads(a, type) ? a->pad_top : 0; }

/* Room for `slots` frames with the borders that the convolution wants, and gaps, as products read them. Borders are zeroed. */
static Tensor padded_frames(Dev *d, Element type, const ConvArgs *a, int slots, int gap, Tensor *scales)
{
    const int rows = a->pad_top + a->pad_bottom + gap - 2 * margin_y(a, type, gap);
    const int columns = a->pad_left + a->pad_right - 2 * margin_x(a, type);
    Tensor x = dev_typed(d, type, slots, a->x.h + rows, a->x.w + columns, a->x.c);
    *scales = scales_for(d, type, &a->pre, x);
    if (rows > 0 || columns > 0) cuda_clear_frames(d, x, *scales);
    return x;
}

static CudaFrames frames_of(const Dev *d, const ConvArgs *a, Tensor x, Tensor scales)
{
    const Element type = (Element)x.type;
    return cuda_frames_within(d, x, scales, margin_x(a, type), margin_y(a, type, 0));
}

/* Slots with gaps as one picture, whose rows are counted: a frame begins at any of them. */
static CudaFrames rows_of(const Dev *d, const ConvArgs *a, const ConvState *s)
{
    CudaFrames f = cuda_frames_within(d, s->ring, s->scales, margin_x(a, (Element)s->ring.type), 0);
    f.h *= f.pictures;
    f.pictures = 1;
    f.frame_pixels = f.w;
    return f;
}

/*
 * Bands of rows in which a thrifty history's new frame takes the place of the oldest (conv_in_bands); 1: it gets a slot of its own.
 * Fewer rows in a band save memory; a band is to keep a GPU busy by itself.
 */
static int bands_of(const Dev *d, const ConvState *s, const ConvArgs *a)
{
    enum { BAND_PIXELS = 1 << 17, WORTH_IT = 3, MOST = 8 };
    const int least = cuda_setup_of(d)->band_pixels > 0 ? cuda_setup_of(d)->band_pixels : BAND_PIXELS;
    const int64_t count = (int64_t)a->x.h * a->x.w / least;
    if (!s->single || s->kept < 2 || s->zero || a->pad_edge || count < WORTH_IT) return 1;
    if (a->stride_h != 1 || a->y.h != a->x.h || a->x.h < MOST) return 1;
    return count < MOST ? (int)count : MOST;
}

/* Whole patches of statistics and whole tiles of products, where a band has room for some: products tell moments of those alone. */
static int band_rows(const ConvArgs *a, int bands, Element type)
{
    const int rows = (a->x.h + bands - 1) / bands, unit = type == ELEMENT_I8 ? 24 : 8;
    return rows < unit ? rows : (rows + unit - 1) / unit * unit;
}

void cuda_history(Dev *d, const ConvArgs *a, int slots, ConvState *s)
{
    const int bands = bands_of(d, s, a);
    const Element type = compute_of(d, a);
    if (bands > 1) {
        slots = s->slots = s->kept;
        s->bands = bands;
        s->gap = band_rows(a, bands, type) + a->kh - 1;
    }
    s->ring = padded_frames(d, type, a, slots, s->gap, &s->scales);
}

/* At a start no frame is remembered, so the last slot is free to stand for the zeros in front. */
static void clear_last_slot(Dev *d, const ConvState *s)
{
    const Tensor last = tensor_frames(s->ring, s->ring.t - 1, 1);
    cuda_fill(d, cuda_at(d, last), 0, (uint64_t)last.stride_t * (uint64_t)element_bytes((Element)last.type));
    if (!s->scales.valid) return;
    const uint64_t frame = (uint64_t)(last.h * last.w) * (uint64_t)cuda_words((Element)last.type, last.c_pad) * sizeof(float);
    cuda_fill(d, cuda_at(d, s->scales) + (uint64_t)(s->ring.t - 1) * frame, 0, frame);
}

/* --------------------------------------------------------------------------------------------------------- convolution */

/*
 * Statistics of the result, and which frames' moments no product told. Not behind a shuffle, whose fine pixels come from several
 * columns; nor are there any of folded upsamplers' products, each of which stores every other pixel.
 */
typedef struct Telling {
    CudaStats stats;
    bool missing[FRAMES_MAX];
} Telling;

typedef struct ConvRun {
    const ConvArgs *a;
    Telling *telling; /* NULL: no statistics are wanted */
    int first_row;    /* of the result's frames, with which a->y begins */
    CudaFrames in, shortcut;
    CudaWeight weight[3], shortcut_weight; /* by CudaTime */
    Element type;
    const int *sequence;
} ConvRun;

/* Output frames that read one picture several times take weights summed over time. */
static CudaTime repetition(const ConvArgs *a, const int *frames)
{
    if (a->kt == 1) return CUDA_TIME_ALL;
    for (int dt = 1; dt < a->kt; dt++) {
        if (frames[dt] != frames[0]) return dt == 2 && a->kt == 3 ? CUDA_TIME_PAIR : CUDA_TIME_ALL;
    }
    return CUDA_TIME_ONE;
}

static int merged_frames(const ConvArgs *a, CudaTime time)
{
    return time == CUDA_TIME_ALL ? 0 : time == CUDA_TIME_PAIR ? 1 : a->kt - 1;
}

static void set_taps(CudaGemmPart *part, const ConvRun *r, CudaTime time)
{
    const ConvArgs *a = r->a;
    int tap = 0;
    for (int dt = merged_frames(a, time); dt < a->kt; dt++) {
        for (int dy = 0; dy < a->kh; dy++) {
            for (int dx = 0; dx < a->kw; dx++, tap++) {
                part->tap[tap] = dy * r->in.w + dx;
                part->tap_frame[tap] = (uint8_t)dt;
            }
        }
    }
    part->step_y = a->stride_h * r->in.w;
    part->step_x = a->stride_w;
}

/* Products tell the moments of what they store where that is whole pictures, or bands of whole patches, eight channels at once, and
 * as their type keeps them. */
static void want_moments(CudaGemm *g, const ConvRun *r)
{
    const ConvArgs *a = r->a;
    const Tensor y = a->y, residual = a->post.residual;
    const int bytes = element_bytes((Element)y.type);
    if (r->telling == NULL || r->first_row % (2 * CUDA_HALF_H) != 0) return;
    if (y.c % 8 != 0 || y.at % 16 != 0 || y.c_pad * bytes % 16 != 0 || (r->type != ELEMENT_F32 && y.type != ELEMENT_BF16)) return;
    if (residual.valid && (residual.at % 16 != 0 || residual.c_pad * element_bytes((Element)residual.type) % 16 != 0)) return;
    g->stat_groups = r->telling->stats.groups;
    g->stat_size = y.c / g->stat_groups;
    g->stat_halves = cuda_stats_halves(r->telling->stats.x.h, y.w);
    g->stat_first = cuda_stats_halves(r->first_row, y.w);
    g->moments = r->telling->stats.moments.address;
}

/* Of frames whose moments are missing. */
static void tell_statistics(Dev *d, Telling *t)
{
    const int frames = t->stats.x.t;
    for (int f = 0, end; f < frames; f = end) {
        for (end = f + 1; end < frames && t->missing[end] == t->missing[f];) end++;
        if (t->missing[f]) cuda_stats_frames(d, &t->stats, f, end - f);
    }
    cuda_stats_end(d, &t->stats);
}

/* Output frames first .. first + images - 1, those of one repetition together. */
static void run_images(Dev *d, const ConvRun *r, const CudaGemm *shape, int first, int images)
{
    const ConvArgs *a = r->a;
    for (CudaTime time = CUDA_TIME_ALL; time <= CUDA_TIME_ONE; time++) {
        CudaGemm g = *shape;
        cuda_gemm_operand(&g.part[0], &r->in, &r->weight[time]);
        set_taps(&g.part[0], r, time);
        g.parts = 1;
        if (a->post.shortcut != NULL) {
            cuda_gemm_operand(&g.part[1], &r->shortcut, &r->shortcut_weight);
            g.part[1].step_y = r->shortcut.w;
            g.part[1].step_x = 1;
            g.parts = 2;
        }
        for (int f = first; f < first + images; f++) {
            const int *frames = r->sequence + f * a->stride_t;
            if (repetition(a, frames) != time) continue;
            const int i = g.images++;
            for (int dt = 0; dt < a->kt; dt++) g.part[0].frame[i][dt] = frames[dt] * r->in.frame_pixels;
            if (g.parts > 1) g.part[1].frame[i][0] = f * r->shortcut.frame_pixels;
            place_image(&g, a->y, &a->post, f, i);
            g.stat_image[i] = f;
        }
        if (g.images == 0 || cuda_gemm(d, &g, r->type) || r->telling == NULL) continue;
        for (int i = 0; i < g.images; i++) r->telling->missing[g.stat_image[i]] = true;
    }
}

/* The forms of the weight that this call's output frames want. */
static void take_weights(Dev *d, ConvRun *r, int out_frames)
{
    const ConvArgs *a = r->a;
    bool wanted[3] = {false};
    for (int f = 0; f < out_frames; f++) wanted[repetition(a, r->sequence + f * a->stride_t)] = true;
    for (CudaTime time = CUDA_TIME_ALL; time <= CUDA_TIME_ONE; time++) {
        const CudaWeightForm form = {.weight = a->weight, .type = r->type, .ci = conv_channels_in(a), .kt = a->kt, .khw = a->kh * a->kw,
                                     .channels_last = a->weight_channels_last,
                                     .frames_in_channels = a->weight_frames_in_channels, .time = time};
        if (wanted[time]) cuda_weight(d, &form, &r->weight[time]);
    }
    const CudaWeightForm form = {.weight = a->post.shortcut, .type = r->type, .kt = 1, .khw = 1,
                                 .ci = a->post.shortcut != NULL ? (int)a->post.shortcut->shape[1] : 0};
    if (form.weight != NULL) cuda_weight(d, &form, &r->shortcut_weight);
}

/* The product, but for its operands and images. */
static CudaGemm product_of(Dev *d, const ConvRun *r)
{
    const ConvArgs *a = r->a;
    CudaGemm g = {0};
    cuda_gemm_result(d, &g, a->y, &a->post, (int)a->weight->shape[0]);
    g.bias = cuda_vector(d, a->bias != NULL ? a->bias : a->post.shortcut_bias);
    if (a->bias != NULL) g.more_bias = cuda_vector(d, a->post.shortcut_bias);
    want_moments(&g, r);
    return g;
}

static CudaOperand shortcut_of(Dev *d, const ConvArgs *a, Element type)
{
    const Pre none = {.norm = NORM_NONE};
    return a->post.shortcut != NULL ? cuda_operand(d, a->post.shortcut_x, &none, type) : (CudaOperand){0};
}

/* ------------------------------------------------------------------------------------------------------------- in bands */

/*
 * The new frame of a thrifty history is written where the oldest one lies, but for a gap of some rows: down into the gap
 * before it, or up into the one behind it. A band of output rows is computed as soon as the rows it reads are there. What
 * these overwrite of the oldest frame lies at least a gap further on, behind the rows that any later band reads.
 */
typedef struct BandRun {
    ConvRun conv;      /* frames counted in rows of the ring */
    int rows[4];       /* sequence of `conv`: first rows of the frames, oldest first */
    int height;        /* of a frame with its borders */
} BandRun;

/* Rows of the ring become zeros. */
static void clear_rows(Dev *d, const ConvState *s, int first, int count)
{
    const Tensor ring = s->ring;
    const uint64_t row = (uint64_t)ring.stride_h * (uint64_t)element_bytes((Element)ring.type);
    const uint64_t words = (uint64_t)ring.w * (uint64_t)cuda_words((Element)ring.type, ring.c_pad) * sizeof(float);
    if (count <= 0) return;
    cuda_fill(d, cuda_at(d, ring) + (uint64_t)first * row, 0, (uint64_t)count * row);
    if (s->scales.valid) cuda_fill(d, cuda_at(d, s->scales) + (uint64_t)first * words, 0, (uint64_t)count * words);
}

/* Rows from .. to - 1 of the new frame, borders among them. */
static void bring_rows(Dev *d, const BandRun *r, int from, int to)
{
    const ConvArgs *a = r->conv.a;
    const int slot = r->rows[a->kt - 1], top = a->pad_top, bottom = top + a->x.h;
    const int first = from > top ? from : top, last = to < bottom ? to : bottom;
    clear_rows(d, a->state, slot + from, (to < top ? to : top) - from);
    if (last > first) {
        const int at = slot + first - top;
        cuda_pre(d, tensor_rows(a->x, first - top, last - first), &a->pre, &r->conv.in, &at, top, a->pad_left);
    }
    clear_rows(d, a->state, slot + (from > bottom ? from : bottom), to - (from > bottom ? from : bottom));
}

static void run_band(Dev *d, const BandRun *r, int first, int count)
{
    ConvArgs a = *r->conv.a;
    ConvRun run = r->conv;
    int rows[4];
    a.y = tensor_rows(a.y, first, count);
    if (a.post.residual.valid) a.post.residual = tensor_rows(a.post.residual, first, count);
    if (a.post.shortcut != NULL) a.post.shortcut_x = tensor_rows(a.post.shortcut_x, first, count);
    for (int dt = 0; dt < a.kt; dt++) rows[dt] = r->rows[dt] + first;
    run.a = &a;
    run.first_row = first;
    run.sequence = rows;
    CudaOperand shortcut = shortcut_of(d, &a, run.type);
    run.shortcut = shortcut.frames;
    const CudaGemm shape = product_of(d, &run);
    run_images(d, &run, &shape, 0, 1);
    cuda_operand_free(d, &shortcut);
}

static void conv_in_bands(Dev *d, const ConvArgs *a, Telling *telling)
{
    ConvState *s = a->state;
    int sequence[4], fresh;
    state_advance(s, a->kt, a->start, 1, sequence, &fresh);
    const bool displaces = !a->start && sequence[0] == fresh, up = displaces && s->row[fresh] == 0;
    BandRun r = {.conv = {.a = a, .telling = telling, .type = (Element)s->ring.type, .in = rows_of(d, a, s)},
                 .height = s->ring.h - s->gap};
    r.conv.sequence = r.rows;
    for (int dt = 0; dt < a->kt - 1; dt++) r.rows[dt] = sequence[dt] * s->ring.h + s->row[sequence[dt]];
    s->row[fresh] = up ? s->gap : 0;
    r.rows[a->kt - 1] = fresh * s->ring.h + s->row[fresh];
    for (int dt = 0; a->start && dt < a->kt - 1; dt++) r.rows[dt] = r.rows[a->kt - 1];
    take_weights(d, &r.conv, 1);
    const int rows = s->gap - (a->kh - 1);
    int begin = r.height, end = 0; /* rows of the new frame that are not there yet: below begin, from end on */
    for (int i = 0; i < s->bands && dev_ok(d); i++) {
        const int first = (up ? s->bands - 1 - i : i) * rows, last = first + rows < a->y.h ? first + rows : a->y.h;
        if (first >= last) continue;
        if (up) bring_rows(d, &r, first, begin);
        else bring_rows(d, &r, end, last + a->kh - 1);
        begin = first;
        end = last + a->kh - 1;
        run_band(d, &r, first, last - first);
    }
}

/* --------------------------------------------------------------------------------------------------------- all at once */

static void conv_at_once(Dev *d, const ConvArgs *a, Telling *telling)
{
    const int frames = a->x.t, out_frames = conv_frames_out(a, frames);
    const bool padded = a->pad_top || a->pad_left || a->pad_bottom || a->pad_right;
    int sequence[FRAMES_MAX + 3], fresh[FRAMES_MAX];
    for (int i = 0; i < frames; i++) sequence[i] = fresh[i] = i;
    if (a->state != NULL) {
        state_advance(a->state, a->kt, a->start, frames, sequence, fresh);
        if (a->start && a->state->zero) clear_last_slot(d, a->state);
    }
    ConvRun r = {.a = a, .telling = telling, .sequence = sequence,
                 .type = a->state != NULL ? (Element)a->state->ring.type : compute_of(d, a)};
    const bool direct = a->state == NULL && !padded && pre_is_identity(&a->pre) && cuda_reads_directly(a->x, r.type);

    Tensor own = {0}, own_scales = {0}; /* padded or converted frames that nothing remembers */
    if (a->state != NULL) r.in = frames_of(d, a, a->state->ring, a->state->scales);
    else if (direct) r.in = cuda_frames_of(d, a->x, (Tensor){0});
    else {
        own = padded_frames(d, r.type, a, frames, 0, &own_scales);
        r.in = frames_of(d, a, own, own_scales);
    }
    if (!direct) {
        cuda_pre(d, a->x, &a->pre, &r.in, fresh, a->pad_top, a->pad_left);
        if (a->pad_edge) cuda_replicate_edges(d, &r.in, fresh, frames, a->pad_top, a->pad_left, a->x.h, a->x.w);
    }
    CudaOperand shortcut = shortcut_of(d, a, r.type);
    r.shortcut = shortcut.frames;
    take_weights(d, &r, out_frames);
    const CudaGemm shape = product_of(d, &r);
    for (int f = 0; f < out_frames && dev_ok(d); f += CUDA_GEMM_IMAGES) {
        run_images(d, &r, &shape, f, out_frames - f < CUDA_GEMM_IMAGES ? out_frames - f : CUDA_GEMM_IMAGES);
    }
    cuda_operand_free(d, &shortcut);
    dev_free(d, &own_scales);
    dev_free(d, &own);
}

void cuda_conv3d(Dev *d, const ConvArgs *a)
{
    Telling t = {0}, *telling = a->post.stats.valid && a->post.shuffle_space == 0 ? &t : NULL;
    if (telling) t.stats = cuda_stats_begin(d, a->y, a->post.stats, a->post.stats_groups);
    if (a->state != NULL && a->state->bands > 1) conv_in_bands(d, a, telling);
    else conv_at_once(d, a, telling);
    if (telling) tell_statistics(d, &t);
    else if (a->post.stats.valid) cuda_stats_of(d, a->y, a->post.stats, a->post.stats_groups);
}

/* -------------------------------------------------------------------------------------------------------------- linear */

void cuda_linear(Dev *d, const LinearArgs *a)
{
    const int n = (int)a->weight->shape[0], k = (int)a->weight->shape[1];
    const bool few = dev_few_pixels(d, 4 * (int64_t)a->x.t * a->x.h * a->x.w); /* time embeddings, attention of a picture of few pixels */
    const Element type = few ? ELEMENT_F32 : cuda_compute(d, a->stage, k, a->weight);
    const CudaWeightForm form = {.weight = a->weight, .glu = a->glu, .type = type, .ci = k, .kt = 1, .khw = 1};
    CudaWeight weight = {0};
    cuda_weight(d, &form, &weight);
    CudaOperand x = cuda_operand(d, a->x, &a->pre, type);
    CudaGemm g = {.parts = 1, .glu = a->glu != NULL};
    cuda_gemm_result(d, &g, a->y, &a->post, n);
    g.bias = cuda_vector(d, a->bias);
    cuda_gemm_operand(&g.part[0], &x.frames, &weight);
    g.part[0].step_y = x.frames.w;
    g.part[0].step_x = 1;
    for (int t = 0; t < a->x.t && dev_ok(d); t += CUDA_GEMM_IMAGES) {
        g.images = a->x.t - t < CUDA_GEMM_IMAGES ? a->x.t - t : CUDA_GEMM_IMAGES;
        for (int i = 0; i < g.images; i++) {
            g.part[0].frame[i][0] = (t + i) * x.frames.frame_pixels;
            place_image(&g, a->y, &a->post, t + i, i);
        }
        cuda_gemm(d, &g, type);
    }
    cuda_operand_free(d, &x);
}
