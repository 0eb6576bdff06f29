/*
 * Golden cases of FlashVSR's pixel rules: colour correction, resizing and padding, counts of frames, tiles.
 */
#include "tests/goldens.h"

#include "kernels/cpu/bicubic.h"
#include "kernels/cpu/color.h"
#include "kernels/cpu/pad.h"
#include "runtime/stream_size.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *floats(Golden *g, int64_t count)
{
    float *p = calloc(count > 0 ? (size_t)count : 1, sizeof *p);
    if (!p) golden_fail(g, "out of memory");
    return p;
}

static const JsonTree *described(const Golden *g, const char *name)
{
    return json_get(json_get(g->meta, "inputs"), name);
}

static int number(const JsonTree *object, const char *key)
{
    return (int)json_int(json_get(object, key), 0);
}

static void compare(Golden *g, const char *name, const float *got, int64_t count)
{
    golden_compare(g, name, got, count, golden_tolerance(g, name, GOLDEN_LAYER));
}

/* ----------------------------------------------------------------------------------------------------------- colour */

/* One colour plane after another of [1, 3, F, h, w] is what either takes. */
static void golden_color(Golden *g)
{
    int64_t shape[5], like_shape[5];
    int rank, like_rank;
    float *x = golden_input(g, described(g, "x"), shape, &rank);
    float *like = x ? golden_input(g, described(g, "like"), like_shape, &like_rank) : NULL;
    if (like && (rank != 5 || like_rank != 5 || shape[1] != 3 || memcmp(shape, like_shape, sizeof shape) != 0)) {
        golden_fail(g, "x and like are not colour clips of one size");
    } else if (like) {
        const int frames = (int)(shape[0] * shape[2]), h = (int)shape[3], w = (int)shape[4];
        const int64_t count = (int64_t)frames * 3 * h * w;
        float *out = floats(g, count), *scratch = floats(g, (int64_t)(color_scratch(COLOR_WAVELET, frames, h, w) / sizeof(float)));
        if (out && scratch) {
            color_adain(x, like, frames, h, w, true, out);
            compare(g, "out.adain", out, count);
            color_wavelet(x, like, frames, h, w, false, out, scratch);
            compare(g, "out.wavelet", out, count);
        }
        free(scratch);
        free(out);
    }
    free(like);
    free(x);
}

/* ------------------------------------------------------------------------------------------------ sizes and frames */

static void compare_size(Golden *g, const JsonTree *o, StreamSize s)
{
    const int expected[] = {(int)json_int(json_at(json_get(o, "scaled"), 0), 0),
                            (int)json_int(json_at(json_get(o, "scaled"), 1), 0),
                            (int)json_int(json_at(json_get(o, "padded"), 0), 0),
                            (int)json_int(json_at(json_get(o, "padded"), 1), 0),
                            number(o, "left"),
                            number(o, "top")};
    const int got[] = {s.scaled_w, s.scaled_h, s.padded_w, s.padded_h, s.left, s.top};
    for (int i = 0; i < 6; i++) {
        if (got[i] != expected[i])
            golden_fail(g, "sizes %dx%d in %dx%d at (%d, %d), expected %dx%d in %dx%d at (%d, %d)", got[0], got[1],
                        got[2], got[3], got[4], got[5], expected[0], expected[1], expected[2], expected[3], expected[4],
                        expected[5]);
    }
}

/* Frame i of the case, [3, h, w] in [0, 1], resized, padded and mapped to [-1, 1]. */
static void golden_frame(Golden *g, int i, const JsonTree *o)
{
    char name[32];
    int64_t shape[5];
    int rank;
    snprintf(name, sizeof name, "frame%d", i);
    float *x = golden_input(g, described(g, name), shape, &rank);
    if (!x) return;
    const int planes = (int)shape[0], h = (int)shape[1], w = (int)shape[2], every = number(o, "every");
    const StreamSize s = stream_size(h, w, json_number(json_get(o, "scale"), 1));
    compare_size(g, o, s);
    ResizeAxis across, down;
    const bool axes = bicubic_axis_init(&across, w, s.scaled_w);
    const bool both = bicubic_axis_init(&down, h, s.scaled_h) && axes;
    const int64_t scaled = (int64_t)planes * s.scaled_h * s.scaled_w, padded = (int64_t)s.padded_h * s.padded_w;
    float *up = floats(g, scaled), *out = floats(g, planes * padded);
    float *scratch = both ? floats(g, (int64_t)resize_scratch(&across, &down)) : NULL;
    if (!both) golden_fail(g, "out of memory");
    if (up && out && scratch && g->verdict == GOLDEN_OK) {
        resize_planes(&across, &down, x, planes, up, scratch);
        snprintf(name, sizeof name, "up%d", i);
        if (weight_file_find(g->file, name)) compare(g, name, up, scaled);
        pad_mirrored(up, planes, s.scaled_h, s.scaled_w, s.top, s.left, s.padded_h, s.padded_w, out);
        int64_t kept = 0;
        for (int p = 0; p < planes; p++)
            for (int64_t k = 0; k < padded; k += every) out[kept++] = out[p * padded + k] * 2 - 1;
        snprintf(name, sizeof name, "padded%d.every", i);
        compare(g, name, out, kept);
    }
    free(scratch);
    free(out);
    free(up);
    resize_axis_free(&down);
    resize_axis_free(&across);
    free(x);
}

static void compare_counts(Golden *g, const char *name, int64_t (*rule)(int64_t count))
{
    const WeightTensor *expected = golden_expected(g, name);
    float *got = expected ? floats(g, expected->count) : NULL;
    for (int64_t i = 0; got && i < expected->count; i++) got[i] = (float)rule(i + 1);
    if (got) compare(g, name, got, expected->count);
    free(got);
}

static void golden_preprocess(Golden *g)
{
    const JsonTree *options = json_get(g->meta, "options");
    for (int i = 0; i < json_count(options); i++) golden_frame(g, i, json_at(options, i));
    compare_counts(g, "frames.fed", stream_fed_frames);
    compare_counts(g, "frames.lossless", stream_lossless_frames);
}

/* ------------------------------------------------------------------------------------------------------------ tiles */

enum { TILES_MAX = 256 }; /* along an axis */

/* Rows x1, y1, x2, y2, row of tiles by row of tiles. Returns their number. */
static int tile_boxes(Golden *g, int height, int width, int tile, int overlap, float *boxes)
{
    StreamTile down[TILES_MAX], across[TILES_MAX];
    if (stream_tiles(height, tile, overlap, NULL) > TILES_MAX || stream_tiles(width, tile, overlap, NULL) > TILES_MAX) {
        golden_fail(g, "more than %d tiles along an axis", TILES_MAX);
        return 0;
    }
    const int rows = stream_tiles(height, tile, overlap, down), columns = stream_tiles(width, tile, overlap, across);
    for (int i = 0; boxes && i < rows * columns; i++) {
        const StreamTile y = down[i / columns], x = across[i % columns];
        boxes[4 * i] = (float)x.lo;
        boxes[4 * i + 1] = (float)y.lo;
        boxes[4 * i + 2] = (float)x.hi;
        boxes[4 * i + 3] = (float)y.hi;
    }
    return rows * columns;
}

static void golden_grid(Golden *g, int i, const JsonTree *o)
{
    char name[16];
    const int height = number(o, "height"), width = number(o, "width"), tile = number(o, "tile"),
              overlap = number(o, "overlap");
    const int count = tile_boxes(g, height, width, tile, overlap, NULL);
    float *boxes = count ? floats(g, 4 * count) : NULL;
    snprintf(name, sizeof name, "grid%d", i);
    if (boxes) {
        tile_boxes(g, height, width, tile, overlap, boxes);
        compare(g, name, boxes, 4 * count);
    }
    free(boxes);
}

/* The lesser of the weights of a pixel's row and column, with ramps on all sides as the original has them. */
static void feather(int side, int ramp, float *line, float *out)
{
    stream_tile_weights(side, ramp, true, true, line);
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) out[y * side + x] = line[y] < line[x] ? line[y] : line[x];
}

/* The weighted mean of tiles [1, side, side, 3], as the originals blend; a picture of weight 0 is left 0. */
static void golden_blend(Golden *g, const JsonTree *o)
{
    const int scale = number(o, "scale"), height = number(o, "height") * scale, width = number(o, "width") * scale;
    const int side = number(o, "tile") * scale;
    float boxes[4 * 64];
    const int count = tile_boxes(g, height / scale, width / scale, number(o, "tile"), number(o, "overlap"), NULL);
    if (count > 64) {
        golden_fail(g, "more than 64 tiles to blend");
        return;
    }
    tile_boxes(g, height / scale, width / scale, number(o, "tile"), number(o, "overlap"), boxes);
    const int64_t pixels = (int64_t)height * width;
    float *mask = floats(g, (int64_t)side * side), *line = floats(g, side), *sum = floats(g, 3 * pixels),
          *weight = floats(g, pixels);
    if (mask && line && sum && weight) {
        feather(side, number(o, "overlap") * scale, line, mask);
        compare(g, "feather", mask, (int64_t)side * side);
        for (int i = 0; i < count; i++) {
            char name[16];
            int64_t shape[5];
            int rank;
            snprintf(name, sizeof name, "tile%d", i);
            float *tile = golden_input(g, described(g, name), shape, &rank);
            if (tile && (rank != 4 || shape[1] != side || shape[2] != side || shape[3] != 3))
                golden_fail(g, "%s has another size", name);
            for (int k = 0; tile && g->verdict == GOLDEN_OK && k < side * side; k++) {
                const int64_t at =
                    ((int64_t)boxes[4 * i + 1] * scale + k / side) * width + (int64_t)boxes[4 * i] * scale + k % side;
                weight[at] += mask[k];
                for (int c = 0; c < 3; c++) sum[3 * at + c] += mask[k] * tile[3 * k + c];
            }
            free(tile);
        }
        for (int64_t i = 0; i < 3 * pixels; i++) sum[i] /= weight[i / 3] > 0 ? weight[i / 3] : 1;
        compare(g, "out", sum, 3 * pixels);
    }
    free(weight);
    free(sum);
    free(line);
    free(mask);
}

static void golden_tiles(Golden *g)
{
    const JsonTree *options = json_get(g->meta, "options"), *grids = json_get(options, "grids");
    for (int i = 0; i < json_count(grids); i++) golden_grid(g, i, json_at(grids, i));
    golden_blend(g, json_get(options, "blend"));
}

void golden_flash_pixels(Golden *g)
{
    const char *kind = json_string(json_get(g->meta, "kind"), "");
    if (!strcmp(kind, "color_fix"))
        golden_color(g);
    else if (!strcmp(kind, "preprocess"))
        golden_preprocess(g);
    else
        golden_tiles(g);
}
