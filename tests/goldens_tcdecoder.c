/*
 * Golden cases of the TCDecoder: streams cut into chunks as the cases say, the forks' averaged tiles, and the fold of
 * the condition. What decodes runs twice: with the whole picture as one strip, and in the narrowest strips.
 *
 * Three kinds of inner value are not compared, for they never exist here: the clamped input (it is clamped while it is
 * read) and the frames behind a TGrow, which is folded into the convolution after it.
 */
#include "tests/goldens_planes.h"

#include "runtime/models/tcdecoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 8, FRAMES = 4, CONDITION = 768 };

static const WeightPart *case_weights(Golden *g)
{
    const JsonTree *config = json_get(g->meta, "config"), *weights = json_get(g->meta, "weights");
    PrefixRule rule = {json_string(json_get(weights, "prefix"), ""), json_number(json_get(weights, "gain"), 1)};
    int channels[4], strides[3], inputs = (int)json_int(json_get(config, "inputs"), 784);
    bool deep = json_bool(json_get(config, "deep"), true);
    char key[512];
    int used = snprintf(key, sizeof key, "tcdecoder %.200s %a inputs %d deep %d", rule.prefix, rule.gain, inputs, deep);
    for (int i = 0; i < 4; i++) {
        channels[i] = (int)json_int(json_at(json_get(config, "channels"), i), 0);
        if (i < 3) strides[i] = (int)json_int(json_at(json_get(config, "strides"), i), 0);
        used += snprintf(key + used, sizeof key - (size_t)used, " %d/%d", channels[i], i < 3 ? strides[i] : 1);
    }
    SynthShape *shapes;
    int count = synth_tcdecoder_layout(channels, inputs, strides, deep, &shapes);
    return prefix_part(g, NET_TCDECODER, key, shapes, count, &rule);
}

/* ---------------------------------------------------------------------------------------------------------- streams */

/* One stream's place in the case's planes: its condition is read from there, its frames are added there. */
typedef struct Tile {
    const Planes *lq, *out;
    float *covered; /* [h][w] of out: tiles over each pixel; NULL: the one tile is the picture */
    int y, x;       /* pixels */
} Tile;

static bool tile_read(void *user, const VaeRegion *r)
{
    const Tile *t = user;
    VaeRegion moved = *r;
    moved.y += t->y;
    moved.x += t->x;
    return planes_read((void *)t->lq, &moved);
}

static bool tile_write(void *user, const VaeRegion *r, bool add)
{
    const Tile *t = user;
    VaeRegion moved = *r;
    moved.y += t->y;
    moved.x += t->x;
    for (int y = 0; t->covered && r->frame == 0 && y < r->height; y++)
        for (int x = 0; x < r->width; x++) t->covered[(moved.y + y) * t->out->w + moved.x + x] += 1;
    return planes_write((void *)t->out, &moved, t->covered ? true : add);
}

static Tensor latents_tensor(Dev *d, const Planes *z, int64_t first, int count, Tile tile, int h, int w)
{
    Tensor x = dev_floats(d, count, h, w, (int)z->c);
    float *to = dev_write(d, x), *pixel = to;
    for (int t = 0; to && t < count; t++)
        for (int y = 0; y < h; y++)
            for (int u = 0; u < w; u++, pixel += x.c_pad)
                for (int c = 0; c < z->c; c++)
                    pixel[c] = *planes_at(z, c, first + t, tile.y / SIDE + y, tile.x / SIDE + u);
    dev_write_end(d, x, to);
    return x;
}

static void compare_memories(Golden *g, TcStream *s)
{
    const JsonTree *states = json_get(g->meta, "states");
    for (const JsonTree *k = states ? states->child : NULL; k; k = k->next) {
        char name[64];
        snprintf(name, sizeof name, "mem.%s", k->text);
        const WeightTensor *e = golden_expected(g, name);
        float *memory = e && e->rank == 5
                            ? malloc((size_t)(e->shape[2] * (e->shape[3] + 2) * (e->shape[4] + 2)) * sizeof *memory)
                            : NULL;
        float *planar = e ? malloc((size_t)e->count * sizeof *planar) : NULL;
        int h, w, c;
        if (!memory || !planar)
            golden_fail(g, "%s: out of memory, or not [1, 1, channels, height, width]", name);
        else if (!tcdecoder_memory(s, (int)json_int(k, -1), memory, &h, &w, &c))
            golden_fail(g, "%s: the stream keeps no memory of that number", name);
        else if (h != e->shape[3] + 2 || w != e->shape[4] + 2 || c != e->shape[2])
            golden_fail(g, "%s is %d x %d with %d channels and its border", name, h, w, c);
        else {
            float *to = planar;
            for (int ch = 0; ch < c; ch++)
                for (int y = 1; y < h - 1; y++)
                    for (int x = 1; x < w - 1; x++) *to++ = memory[((int64_t)y * w + x) * c + ch];
            golden_compare(g, name, planar, e->count, golden_tolerance(g, name, GOLDEN_NETWORK));
        }
        free(planar);
        free(memory);
    }
}

/* One stream through all chunks of the case. */
static void run_stream(Golden *g, TcDecoder *m, Dev *d, const Planes *z, Tile tile, int h, int w)
{
    VaeVideo condition = {.user = &tile, .read = tile_read}, frames = {.user = &tile, .write = tile_write};
    TcStream *s = tcdecoder_stream_open(m, d, h, w);
    int64_t at = 0;
    for (const JsonTree *n = json_get(g->meta, "chunks")->child; n && s && dev_ok(d); n = n->next) {
        int count = (int)json_int(n, 0);
        if (count < 1 || at + count > z->t) {
            golden_fail(g, "the chunks do not fit the latents");
            break;
        }
        Tensor x = latents_tensor(d, z, at, count, tile, h, w);
        tcdecoder_run(s, x, condition, frames);
        dev_free(d, &x);
        at += count;
    }
    if (s && dev_ok(d) && !dev_is_plan(d)) compare_memories(g, s);
    tcdecoder_stream_close(s);
}

/* Plain: one stream. Averaged tiles: one after another at every stride, each through the whole clip. */
static bool run_case(Golden *g, TcDecoder *m, Dev *d, const Planes *z, const Planes *lq, const Planes *out,
                     float *covered)
{
    const JsonTree *size = json_get(g->meta, "size"), *stride = json_get(g->meta, "stride");
    int step_y = (int)json_int(json_at(stride, 0), z->h), step_x = (int)json_int(json_at(stride, 1), z->w);
    for (int y = 0; y < z->h && g->verdict == GOLDEN_OK; y += step_y)
        for (int x = 0; x < z->w && g->verdict == GOLDEN_OK; x += step_x) {
            int h = (int)json_int(json_at(size, 0), z->h), w = (int)json_int(json_at(size, 1), z->w);
            if (h > z->h - y) h = (int)z->h - y;
            if (w > z->w - x) w = (int)z->w - x;
            run_stream(g, m, d, z, (Tile){lq, out, covered, y * SIDE, x * SIDE}, h, w);
        }
    if (dev_ok(d)) dev_phase(d);
    if (!dev_ok(d)) golden_fail(g, "%s: %s", dev_is_plan(d) ? "plan" : "run", dev_error(d));
    return dev_ok(d) && g->verdict == GOLDEN_OK;
}

/* Planned, then run in exactly the memory the plan found. */
static void run_decoder(Golden *g, TcDecoder *m, const Planes *z, const Planes *lq, const Planes *out, float *covered)
{
    char error[512];
    Dev *plan = dev_plan_open(&g->setup), *d = NULL;
    if (run_case(g, m, plan, z, lq, out, covered)) {
        uint64_t peak = dev_totals(plan).arena_peak;
        d = dev_open(&g->setup, peak, error, sizeof error);
        if (!d) golden_fail(g, "%s", error);
        if (d && run_case(g, m, d, z, lq, out, covered) && dev_totals(d).arena_peak != peak)
            golden_fail(g, "the run took %llu bytes, the plan said %llu", (unsigned long long)dev_totals(d).arena_peak,
                        (unsigned long long)peak);
    }
    if (d) dev_close(d);
    dev_close(plan);
}

/* tiles: whether several cover a pixel and their mean is wanted. */
static void golden_decode(Golden *g, const WeightPart *part, bool tiles, int strip_rows)
{
    char error[512];
    Planes z = {0}, lq = {0}, out = {0};
    Taps taps = {.g = g};
    const JsonTree *described = json_get(g->meta, "lq"), *wanted = strip_rows == 0 ? json_get(g->meta, "taps") : NULL;
    bool fine = planes_input(g, json_get(g->meta, "latents"), &z) && (!described || planes_input(g, described, &lq)) &&
                planes_expected(g, "out", false, &out);
    for (const JsonTree *w = wanted ? wanted->child : NULL; w && fine; w = w->next)
        if (!strstr(w->text, ".clamp") && !strstr(w->text, ".tgrow")) fine = taps_add(&taps, w->text, 1, true);
    float *covered = fine && tiles ? calloc((size_t)(out.h * out.w), sizeof *covered) : NULL;
    if (tiles && fine && !covered) golden_fail(g, "out of memory");
    for (int64_t i = 0; covered && i < planes_count(&out); i++) out.data[i] = 0;
    TcDecoder *m = fine && g->verdict == GOLDEN_OK ? tcdecoder_open(part, error, sizeof error) : NULL;
    if (fine && !m) golden_fail(g, "%s", error);
    if (m) {
        tcdecoder_set_strip(m, strip_rows);
        if (taps.count > 0) tcdecoder_set_tap(m, taps_take, &taps);
        run_decoder(g, m, &z, &lq, &out, covered);
        for (int64_t i = 0; covered && i < planes_count(&out); i++) out.data[i] /= covered[i % (out.h * out.w)];
        if (g->verdict == GOLDEN_OK) taps_compare(&taps);
        if (g->verdict == GOLDEN_OK) planes_compare(g, "out", &out, GOLDEN_NETWORK);
    }
    tcdecoder_close(m);
    taps_close(&taps);
    free(covered);
    free(out.data);
    free(lq.data);
    free(z.data);
}

/* -------------------------------------------------------------------------------------------------------- condition */

/* A clip whose length is no multiple of four begins with copies of its first frame. */
static void fold_groups(Dev *d, const Planes *lq, const Planes *out)
{
    VaeVideo video = {.user = (void *)lq, .read = planes_read};
    int64_t missing = (FRAMES - lq->t % FRAMES) % FRAMES;
    for (int64_t i = 0; i < out->t && dev_ok(d); i++) {
        Tensor x = dev_floats(d, 1, (int)out->h, (int)out->w, CONDITION);
        tcdecoder_fold_condition(d, x, video, FRAMES * i - missing);
        const float *from = dev_read(d, x);
        for (int64_t at = 0; from && at < out->h * out->w; at++)
            for (int64_t c = 0; c < out->c; c++) planes_at(out, c, i, 0, 0)[at] = from[at * x.c_pad + c];
        dev_read_end(d, from);
        dev_free(d, &x);
    }
}

static void golden_fold(Golden *g)
{
    char error[512];
    Planes lq = {0}, out = {0};
    if (planes_input(g, json_get(g->meta, "lq"), &lq) && planes_expected(g, "out", true, &out)) {
        Dev *plan = dev_plan_open(&g->setup);
        fold_groups(plan, &lq, &out);
        Dev *d = dev_open(&g->setup, dev_totals(plan).arena_peak, error, sizeof error);
        if (!d) golden_fail(g, "%s", error);
        if (d) fold_groups(d, &lq, &out);
        if (d && !dev_ok(d)) golden_fail(g, "%s", dev_error(d));
        if (g->verdict == GOLDEN_OK)
            golden_compare(g, "out", out.data, planes_count(&out), golden_tolerance(g, "out", 0));
        if (d) dev_close(d);
        dev_close(plan);
    }
    free(out.data);
    free(lq.data);
}

void golden_tcdecoder(Golden *g)
{
    const char *op = json_string(json_get(g->meta, "op"), "");
    bool tiles = !strcmp(op, "averaged_tiles");
    if (!strcmp(op, "fold_condition")) {
        golden_fold(g);
        return;
    }
    if (!tiles && strcmp(op, "decode")) {
        golden_fail(g, "the op '%s' is not known", op);
        return;
    }
    const WeightPart *part = case_weights(g);
    for (int strip_rows = 0; part && strip_rows < 2 && g->verdict == GOLDEN_OK; strip_rows++)
        golden_decode(g, part, tiles, strip_rows);
}
