/*
 * Golden cases of everything around the two networks, function by function. `run`, the whole of it, is goldens_run.c.
 */
#include "tests/goldens.h"

#include "kernels/cpu/alpha.h"
#include "kernels/cpu/color.h"
#include "kernels/cpu/noise.h"
#include "kernels/cpu/quantize.h"
#include "kernels/cpu/resize.h"
#include "runtime/batch.h"
#include "runtime/size.h"
#include "runtime/tile.h"
#include "tests/pipeline_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Cases are small; one that has no memory to run has failed. */
static void *room(Golden *g, size_t bytes)
{
    void *p = calloc(bytes > 0 ? bytes : 1, 1);
    if (p == NULL) golden_fail(g, "out of memory");
    return p;
}

static float *floats(Golden *g, size_t count)
{
    return room(g, count * sizeof(float));
}

static int option_int(const Golden *g, const char *key, int otherwise)
{
    return (int)json_int(json_get(json_get(g->meta, "options"), key), otherwise);
}

/* Cases of this area that name no tolerance of their own are judged as single layers. */
static void compare(Golden *g, const char *name, const float *got, size_t count)
{
    golden_compare(g, name, got, (int64_t)count, golden_tolerance(g, name, GOLDEN_LAYER));
}

static bool expects(const Golden *g, const char *name)
{
    return weight_file_find(g->file, name) != NULL;
}

/* The input `name` of several, or the only one when name is NULL. */
static float *input(Golden *g, const char *name, int64_t shape[4])
{
    const JsonTree *d = name != NULL ? json_get(json_get(g->meta, "inputs"), name) : json_get(g->meta, "input");
    return pipeline_input(g, d, shape);
}

/* A second input that must have the first one's shape. */
static float *input_like(Golden *g, const char *name, const int64_t shape[4])
{
    int64_t own[4];
    float *x = input(g, name, own);
    if (x != NULL && memcmp(own, shape, sizeof own) != 0) {
        golden_fail(g, "the case's inputs differ in shape");
        free(x);
        return NULL;
    }
    return x;
}

static size_t volume(const int64_t shape[4])
{
    return (size_t)(shape[0] * shape[1] * shape[2] * shape[3]);
}

/* ------------------------------------------------------------------------------------------------------------ sizes */

static void run_sizes_of(Golden *g, const char *in, const char *out, int columns, bool edge)
{
    const WeightTensor *rows = golden_expected(g, in);
    if (rows == NULL) return;
    int64_t count = rows->count / 4;
    float *got = floats(g, (size_t)(count * columns));
    for (int64_t i = 0; got != NULL && i < count; i++) {
        float row[4], *to = got + i * columns;
        char error[256] = "";
        SizePlan p;
        weight_read(rows, i * 4, 4, row);
        bool ok =
            edge ? size_shortest_edge((int)row[0], (int)row[1], (int)row[2], (int)row[3], true, &p, error, sizeof error)
                 : size_area((int)row[0], (int)row[1], (int)row[2], (int)row[3], &p, error, sizeof error);
        if (!ok) {
            golden_fail(g, "%s row %lld: %s", in, (long long)i, error);
            break;
        }
        const int edge_row[] = {p.resized_h, p.resized_w, p.true_h, p.true_w, p.padded_h, p.padded_w, p.steps};
        const int area_row[] = {p.resized_h, p.resized_w, p.true_h, p.true_w, p.top, p.left};
        for (int k = 0; k < columns; k++) to[k] = (float)(edge ? edge_row[k] : area_row[k]);
    }
    if (got != NULL && g->verdict == GOLDEN_OK) compare(g, out, got, (size_t)(count * columns));
    free(got);
}

static void run_sizes(Golden *g)
{
    if (expects(g, "out.edge")) run_sizes_of(g, "in.edge", "out.edge", 7, true);
    if (expects(g, "out.area")) run_sizes_of(g, "in.area", "out.area", 6, false);
}

/* ----------------------------------------------------------------------------------------------------------- resize */

static void transform_all(Golden *g, const FrameTransform *t, const float *x, const int64_t shape[4])
{
    size_t frame_in = (size_t)(shape[1] * shape[2] * shape[3]);
    size_t frame_out = (size_t)shape[1] * (size_t)t->out_h * (size_t)t->out_w;
    float *out = floats(g, (size_t)shape[0] * frame_out), *scratch = floats(g, frame_transform_scratch(t));
    if (out != NULL && scratch != NULL) {
        for (size_t f = 0; f < (size_t)shape[0]; f++) {
            frame_transform(t, x + f * frame_in, (int)shape[1], out + f * frame_out, scratch);
        }
        compare(g, "out", out, (size_t)shape[0] * frame_out);
    }
    free(out);
    free(scratch);
}

static void run_resize(Golden *g)
{
    int64_t shape[4];
    float *x = input(g, NULL, shape);
    ResizeAxis across = {0}, down = {0};
    int out_h = option_int(g, "out_h", 1), out_w = option_int(g, "out_w", 1);
    if (x != NULL && resize_axis_init(&across, (int)shape[3], out_w) && resize_axis_init(&down, (int)shape[2], out_h)) {
        size_t planes = (size_t)(shape[0] * shape[1]), count = planes * (size_t)out_h * (size_t)out_w;
        float *out = floats(g, count), *scratch = floats(g, resize_scratch(&across, &down));
        if (out != NULL && scratch != NULL) {
            resize_planes(&across, &down, x, (int)planes, out, scratch);
            compare(g, "out", out, count);
        }
        free(out);
        free(scratch);
    }
    resize_axis_free(&across);
    resize_axis_free(&down);
    free(x);
}

static void run_transform(Golden *g)
{
    int64_t shape[4];
    float *x = input(g, NULL, shape);
    if (x == NULL) return;
    char error[256];
    SizePlan p;
    bool area = !strcmp(json_string(json_get(g->meta, "function"), ""), "transform_cropped");
    bool ok = area ? size_area((int)shape[2], (int)shape[3], option_int(g, "res_h", 0), option_int(g, "res_w", 0), &p,
                               error, sizeof error)
                   : size_shortest_edge((int)shape[2], (int)shape[3], option_int(g, "resolution", 0),
                                        option_int(g, "max_resolution", 0), true, &p, error, sizeof error);
    FrameTransform t = {0};
    if (!ok) {
        golden_fail(g, "%s", error);
    } else if (!frame_transform_init(&t, (int)shape[2], (int)shape[3], p.steps, (const int(*)[2])p.step)) {
        golden_fail(g, "out of memory");
    } else {
        frame_transform_window(&t, p.top, p.left, p.window_h, p.window_w, p.padded_h, p.padded_w, false);
        transform_all(g, &t, x, shape);
    }
    frame_transform_free(&t);
    free(x);
}

/* ------------------------------------------------------------------------------------------------------------- time */

static void run_mirror(Golden *g)
{
    const JsonTree *cases = json_get(json_get(g->meta, "options"), "cases");
    for (int i = 0; i < json_count(cases); i++) {
        const JsonTree *c = json_at(cases, i);
        int64_t t = json_int(json_get(c, "t"), 1), count = json_int(json_get(c, "count"), 0);
        bool prepend = json_bool(json_get(c, "prepend"), false);
        char name[32];
        snprintf(name, sizeof name, "out%d", i);
        float *got = floats(g, (size_t)(t + count));
        if (got == NULL) return;
        for (int64_t k = 0; k < t + count; k++) got[k] = (float)mirror_index(t, count, prepend, k);
        compare(g, name, got, (size_t)(t + count));
        free(got);
    }
}

static void compare_plan(Golden *g, const BatchPlan *p, int number)
{
    char name[64];
    float *rows = floats(g, (size_t)p->count * 7);
    if (rows == NULL) return;
    for (int64_t k = 0; k < p->count; k++) {
        Batch b = batch_at(p, k);
        const int64_t row[7] = {b.start, b.end, b.uniform_pad, b.pad, b.frames, b.write_lo, b.write_hi};
        for (int c = 0; c < 7; c++) rows[k * 7 + c] = (float)row[c];
    }
    snprintf(name, sizeof name, "out.plan%d", number);
    compare(g, name, rows, (size_t)p->count * 7);
    free(rows);

    Batch last = batch_at(p, p->count - 1);
    float *frames = floats(g, (size_t)last.frames);
    if (frames == NULL) return;
    for (int i = 0; i < last.frames; i++) frames[i] = (float)batch_frame(&last, i);
    snprintf(name, sizeof name, "out.last_indices%d", number);
    compare(g, name, frames, (size_t)last.frames);
    free(frames);
}

static void run_plan(Golden *g)
{
    const JsonTree *cases = json_get(json_get(g->meta, "options"), "cases");
    for (int i = 0; i < json_count(cases); i++) {
        const JsonTree *c = json_at(cases, i);
        BatchPlan p = batch_plan(json_int(json_get(c, "total"), 1), (int)json_int(json_get(c, "batch_size"), 1),
                                 (int)json_int(json_get(c, "overlap"), 0), json_bool(json_get(c, "uniform"), false));
        compare_plan(g, &p, i);
    }
}

static void run_blend(Golden *g)
{
    const JsonTree *overlaps = json_get(json_get(g->meta, "options"), "overlaps");
    for (int i = 0; i < json_count(overlaps); i++) {
        int overlap = (int)json_int(json_at(overlaps, i), 1);
        char name[32];
        float *got = floats(g, (size_t)overlap);
        if (got == NULL) return;
        for (int k = 0; k < overlap; k++) got[k] = blend_weight(BLEND_HANN3, overlap, k);
        snprintf(name, sizeof name, "out.w%d", overlap);
        compare(g, name, got, (size_t)overlap);
        free(got);
    }
    if (!expects(g, "out.blend")) return;
    int64_t shape[4];
    float *earlier = input(g, "prev_tail", shape);
    float *later = earlier != NULL ? input_like(g, "cur_head", shape) : NULL;
    if (later != NULL) {
        size_t frame = volume(shape) / (size_t)shape[0];
        for (int i = 0; i < (int)shape[0]; i++) {
            size_t at = (size_t)i * frame;
            crossfade(earlier + at, later + at, frame, blend_weight(BLEND_HANN3, (int)shape[0], i));
        }
        compare(g, "out.blend", earlier, volume(shape));
    }
    free(earlier);
    free(later);
}

/* ------------------------------------------------------------------------------------------------------------ noise */

/* "6627e8d5 e169c58d": hexadecimal words. */
static void parse_words(const char *text, int count, uint32_t *words)
{
    for (int i = 0; i < count; i++) {
        char *end;
        words[i] = (uint32_t)strtoul(text, &end, 16);
        text = end;
    }
}

static void compare_known_answers(Golden *g)
{
    const JsonTree *answers = json_get(g->meta, "known_answers");
    for (int i = 0; i < json_count(answers); i++) {
        const JsonTree *a = json_at(answers, i);
        uint32_t counter[4], key[2], want[4], got[4];
        parse_words(json_string(json_get(a, "counter"), ""), 4, counter);
        parse_words(json_string(json_get(a, "key"), ""), 2, key);
        parse_words(json_string(json_get(a, "words"), ""), 4, want);
        philox4x32(counter, key, got);
        if (memcmp(got, want, sizeof got) != 0) {
            golden_fail(g, "known answer %d: the words are %08x %08x %08x %08x", i, got[0], got[1], got[2], got[3]);
        }
        char name[32];
        float normals[4];
        snprintf(name, sizeof name, "out.normals%d", i);
        box_muller(got, normals);
        if (expects(g, name)) compare(g, name, normals, 4);
    }
}

static void run_noise(Golden *g)
{
    const JsonTree *o = json_get(g->meta, "options"), *frames = json_get(o, "frames");
    uint64_t seed = (uint64_t)json_int(json_get(o, "seed"), 0);
    int h = option_int(g, "h", 1), w = option_int(g, "w", 1), channels = option_int(g, "channels", 1);
    size_t frame = (size_t)h * (size_t)w * (size_t)channels;
    float *got = floats(g, frame * (size_t)json_count(frames));
    if (got == NULL) return;
    for (int i = 0; i < json_count(frames); i++) {
        position_noise(seed, (uint32_t)option_int(g, "stream", 0), json_int(json_at(frames, i), 0),
                       option_int(g, "y0", 0), option_int(g, "x0", 0), h, w, channels, got + (size_t)i * frame);
    }
    compare(g, "out", got, frame * (size_t)json_count(frames));
    free(got);
    compare_known_answers(g);
}

static void run_condition(Golden *g)
{
    int64_t shape[4]; /* frames, rows, columns, channels */
    float *latent = input(g, "latent", shape);
    if (latent == NULL) return;
    float *noise = input_like(g, "noise", shape), *augment = input_like(g, "aug", shape);
    double scale = json_number(json_get(json_get(g->meta, "options"), "latent_noise_scale"), 0);
    size_t count = volume(shape) / (size_t)shape[3] * (size_t)(shape[3] + 1);
    float *got = floats(g, count);
    if (noise != NULL && augment != NULL && got != NULL) {
        int t = (int)shape[0], h = (int)shape[1], w = (int)shape[2], channels = (int)shape[3];
        float timestep = (float)timestep_shift(1000 * scale, h, w, channels);
        condition(latent, noise, augment, t, h, w, channels, scale, got, channels + 1);
        compare(g, "out", got, count);
        if (expects(g, "tap.timestep")) compare(g, "tap.timestep", &timestep, 1);
    }
    free(latent);
    free(noise);
    free(augment);
    free(got);
}

/* ----------------------------------------------------------------------------------------------------------- tiling */

enum { CELL = 8, LATENT_CHANNELS = 16, PIXEL_CHANNELS = 3 };

/* One side of a stand-in VAE on a tile cut out of [c][t][h][w]: channels are mixed by `mix` [out channels][in
 * channels]; cells are means of, or repeated over, 8 x 8 pixels; a tenth of the relative column makes tiles differ. */
static void stand_in(bool decode, const float *mix, const float *x, const int64_t shape[4], TileSpan rows,
                     TileSpan columns, float *out)
{
    int from = decode ? LATENT_CHANNELS : PIXEL_CHANNELS, to = decode ? PIXEL_CHANNELS : LATENT_CHANNELS;
    int unit = decode ? CELL : 1, source = decode ? 1 : CELL;
    int h = (rows.hi - rows.lo) * unit, w = (columns.hi - columns.lo) * unit;
    for (int c = 0; c < to; c++) {
        for (int64_t t = 0; t < shape[1]; t++) {
            for (int i = 0; i < h * w; i++) {
                int64_t y0 = (int64_t)(rows.lo + i / w / unit) * source,
                        x0 = (int64_t)(columns.lo + i % w / unit) * source;
                double sum = 0;
                for (int k = 0; k < from; k++) {
                    const float *plane = x + (k * shape[1] + t) * shape[2] * shape[3];
                    double mean = 0;
                    for (int p = 0; p < source * source; p++) {
                        mean += (double)plane[(y0 + p / source) * shape[3] + x0 + p % source];
                    }
                    sum += (double)mix[c * from + k] * mean / (source * source);
                }
                *out++ = (float)(sum + 0.1 * (i % w) / w);
            }
        }
    }
}

static void compare_spans(Golden *g, const char *name, const TileSpan *spans, int count)
{
    float *got = floats(g, (size_t)count * 2);
    if (got == NULL || !expects(g, name)) {
        free(got);
        return;
    }
    for (int i = 0; i < count; i++) {
        got[i * 2] = (float)spans[i].lo;
        got[i * 2 + 1] = (float)spans[i].hi;
    }
    compare(g, name, got, (size_t)count * 2);
    free(got);
}

/* Adds the tile to sum and its weights to share, both over pictures of `w` samples a row. */
static void add_tile(const float *tile, int planes, TileSpan rows, TileSpan columns, int unit, int h, int w,
                     const float *wy, const float *wx, float *sum, float *share)
{
    int tile_h = (rows.hi - rows.lo) * unit, tile_w = (columns.hi - columns.lo) * unit;
    for (int y = 0; y < tile_h; y++) {
        for (int x = 0; x < tile_w; x++) {
            size_t at = (size_t)(rows.lo * unit + y) * (size_t)w + (size_t)(columns.lo * unit + x);
            float weight = wy[y] * wx[x];
            share[at] += weight;
            for (int p = 0; p < planes; p++) {
                size_t plane = (size_t)p * (size_t)h * (size_t)w;
                sum[plane + at] += tile[((size_t)p * (size_t)tile_h + (size_t)y) * (size_t)tile_w + (size_t)x] * weight;
            }
        }
    }
}

static void run_tiled(Golden *g)
{
    bool decode = json_bool(json_get(json_get(g->meta, "options"), "decode"), false);
    int tile = option_int(g, "tile", 64), overlap = option_int(g, "overlap", 0);
    int64_t shape[4];
    float *x = input(g, NULL, shape), mix[LATENT_CHANNELS * PIXEL_CHANNELS];
    if (x == NULL) return;
    if (shape[0] != (decode ? LATENT_CHANNELS : PIXEL_CHANNELS) || (!decode && (shape[2] % CELL || shape[3] % CELL))) {
        golden_fail(g, "the input has %lld channels of %lldx%lld, which the stand-in network does not take",
                    (long long)shape[0], (long long)shape[3], (long long)shape[2]);
        free(x);
        return;
    }
    synth_tensor(decode ? "standin.dec" : "standin.enc", LATENT_CHANNELS * PIXEL_CHANNELS, 0, decode ? 0.14f : 0.9f,
                 mix);

    int unit = decode ? CELL : 1, cell = decode ? 1 : CELL;
    int cells_h = (int)shape[2] / cell, cells_w = (int)shape[3] / cell, h = cells_h * unit, w = cells_w * unit;
    int planes = (decode ? PIXEL_CHANNELS : LATENT_CHANNELS) * (int)shape[1];
    int ramp = decode ? overlap : tile_overlap_cells(tile, overlap, CELL);
    size_t picture = (size_t)h * (size_t)w, count = (size_t)planes * picture;
    int rows_n = tile_spans(cells_h, tile, overlap, CELL, NULL),
        columns_n = tile_spans(cells_w, tile, overlap, CELL, NULL);
    TileSpan *rows = room(g, (size_t)rows_n * sizeof *rows), *columns = room(g, (size_t)columns_n * sizeof *columns);
    float *part = floats(g, count), *sum = floats(g, count), *share = floats(g, picture);
    float *wy = floats(g, (size_t)h), *wx = floats(g, (size_t)w);
    if (rows != NULL && columns != NULL && part != NULL && sum != NULL && share != NULL && wy != NULL && wx != NULL) {
        tile_spans(cells_h, tile, overlap, CELL, rows);
        tile_spans(cells_w, tile, overlap, CELL, columns);
        compare_spans(g, "tap.rows", rows, rows_n);
        compare_spans(g, "tap.cols", columns, columns_n);
        for (int j = 0; j < rows_n; j++) {
            for (int i = 0; i < columns_n; i++) {
                tile_weights(rows[j], cells_h, ramp, (rows[j].hi - rows[j].lo) * unit, wy);
                tile_weights(columns[i], cells_w, ramp, (columns[i].hi - columns[i].lo) * unit, wx);
                stand_in(decode, mix, x, shape, rows[j], columns[i], part);
                add_tile(part, planes, rows[j], columns[i], unit, h, w, wy, wx, sum, share);
            }
        }
        for (size_t i = 0; i < count; i++) {
            float weight = share[i % picture];
            sum[i] /= weight > 1e-6f ? weight : 1e-6f;
        }
        compare(g, "out", sum, count);
    }
    free(x);
    free(rows);
    free(columns);
    free(part);
    free(sum);
    free(share);
    free(wy);
    free(wx);
}

/* ------------------------------------------------------------------------------------------ colour, alpha, integers */

static void run_color(Golden *g)
{
    static const struct {
        const char *name;
        ColorMethod method;
    } methods[] = {{"color_lab", COLOR_LAB},
                   {"color_wavelet", COLOR_WAVELET},
                   {"color_hsv", COLOR_HSV},
                   {"color_wavelet_adaptive", COLOR_WAVELET_ADAPTIVE},
                   {"color_adain", COLOR_ADAIN},
                   {"color_none", COLOR_NONE},
                   {"color_wavelet_uncapped", COLOR_WAVELET}};
    const char *function = json_string(json_get(g->meta, "function"), "");
    size_t m = 0;
    while (m < sizeof methods / sizeof *methods && strcmp(methods[m].name, function) != 0) m++;
    if (m == sizeof methods / sizeof *methods) {
        golden_fail(g, "the colour method '%s' is not known", function);
        return;
    }
    int64_t shape[4];
    float *content = input(g, "content", shape);
    float *style = content != NULL ? input_like(g, "style", shape) : NULL;
    if (style != NULL) {
        int frames = (int)shape[0], h = (int)shape[2], w = (int)shape[3];
        float *out = floats(g, volume(shape));
        void *scratch = room(g, color_scratch(methods[m].method, frames, h, w));
        if (out != NULL && scratch != NULL) {
            if (!strcmp(function, "color_wavelet_uncapped")) {
                color_wavelet(content, style, frames, h, w, false, out, scratch);
            } else {
                color_correct(methods[m].method, content, style, frames, h, w, out, scratch);
            }
            compare(g, "out", out, volume(shape));
        }
        free(out);
        free(scratch);
    }
    free(content);
    free(style);
}

static void run_alpha(Golden *g)
{
    int64_t small[4], large[4];
    float *alpha = input(g, "alpha", small), *rgb = input(g, "rgb", large);
    ResizeAxis x = {0}, y = {0};
    if (alpha != NULL && rgb != NULL && resize_axis_init(&x, (int)small[3], (int)large[3]) &&
        resize_axis_init(&y, (int)small[2], (int)large[2])) {
        bool honest = json_bool(json_get(json_get(g->meta, "options"), "honest"), false);
        size_t from = (size_t)(small[2] * small[3]), to = (size_t)(large[2] * large[3]);
        float *out = floats(g, (size_t)large[0] * to), *scratch = floats(g, alpha_scratch(&x, &y));
        AlphaRule rule = {0};
        alpha_rule_source(&rule, alpha, volume(small));
        alpha_rule_decoded(&rule, rgb, volume(large));
        for (size_t f = 0; out != NULL && scratch != NULL && f < (size_t)large[0]; f++) {
            alpha_upscale(&rule, &x, &y, alpha + f * from, rgb + f * 3 * to, honest, out + f * to, scratch);
        }
        if (out != NULL && scratch != NULL) compare(g, "out", out, (size_t)large[0] * to);
        free(out);
        free(scratch);
    }
    resize_axis_free(&x);
    resize_axis_free(&y);
    free(alpha);
    free(rgb);
}

/* out.<bits>.<dither> for every such tensor the case has. */
static void compare_codes(Golden *g, const float *unit, const int64_t shape[4], uint16_t *codes, float *got)
{
    static const char *const dithers[] = {"none", "tpdf"};
    uint64_t seed = (uint64_t)json_int(json_get(json_get(g->meta, "options"), "seed"), 0);
    int64_t frame0 = json_int(json_get(json_get(g->meta, "options"), "frame0"), 0);
    int h = (int)shape[2], w = (int)shape[3];
    size_t plane = (size_t)h * (size_t)w, count = volume(shape);
    for (int bits = 1; bits <= 16; bits++) {
        ptrdiff_t stride = w * (bits <= 8 ? 1 : 2);
        for (int d = 0; d < 2; d++) {
            char name[32];
            snprintf(name, sizeof name, "out.%d.%s", bits, dithers[d]);
            if (!expects(g, name)) continue;
            for (size_t p = 0; p < count / plane; p++) {
                int64_t frame = frame0 + (int64_t)p / shape[1];
                quantize_plane(unit + p * plane, h, w, bits, d == 1, seed, frame, (int)((int64_t)p % shape[1]), codes,
                               stride, 1);
                for (size_t i = 0; i < plane; i++) got[p * plane + i] = bits <= 8 ? ((uint8_t *)codes)[i] : codes[i];
            }
            compare(g, name, got, count);
        }
    }
}

static void run_quantize(Golden *g)
{
    int64_t shape[4];
    float *unit = input(g, NULL, shape);
    if (unit == NULL) return;
    size_t count = volume(shape);
    uint16_t *codes = room(g, count * sizeof *codes);
    float *got = floats(g, count);
    if (codes != NULL && got != NULL) {
        uint8_t *bytes = (uint8_t *)codes;
        compare_codes(g, unit, shape, codes, got);
        if (expects(g, "out.truncate")) {
            quantize_truncate(unit, count, bytes);
            for (size_t i = 0; i < count; i++) got[i] = bytes[i];
            compare(g, "out.truncate", got, count);
        }
        if (expects(g, "out.official")) {
            for (size_t i = 0; i < count; i++) unit[i] = unit[i] * 2.0f - 1.0f;
            quantize_official(unit, count, bytes);
            for (size_t i = 0; i < count; i++) got[i] = bytes[i];
            compare(g, "out.official", got, count);
        }
    }
    free(unit);
    free(codes);
    free(got);
}

/* ----------------------------------------------------------------------------------------------------------- choice */

void golden_seedvr2_pipeline(Golden *g)
{
    /* The key names one function or several, "plan_batches, batch_indices": the beginning tells. */
    static const struct {
        const char *begins;
        void (*run)(Golden *);
    } functions[] = {{"size_", run_sizes},           {"resize_bicubic", run_resize}, {"transform_", run_transform},
                     {"mirror_indices", run_mirror}, {"plan_batches", run_plan},     {"batch_indices", run_plan},
                     {"blend", run_blend},           {"position_noise", run_noise},  {"condition", run_condition},
                     {"tiled", run_tiled},           {"color_", run_color},          {"alpha_upscale", run_alpha},
                     {"quantize", run_quantize},     {"run", golden_pipeline_run}};
    const char *function = json_string(json_get(g->meta, "function"), "");
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (strncmp(function, functions[i].begins, strlen(functions[i].begins)) != 0) continue;
        functions[i].run(g);
        /* Whatever had no memory or compared nothing must not pass. */
        if (g->verdict == GOLDEN_OK && g->where[0] == 0) golden_fail(g, "nothing was compared");
        return;
    }
    golden_fail(g, "the function '%s' is not known", function);
}
