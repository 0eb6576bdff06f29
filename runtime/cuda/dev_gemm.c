/* Products on the CUDA device: which tile, and how many blocks of it. */
#include "runtime/cuda/dev_gemm.h"

#include "runtime/cuda/pieces.h"
#include "runtime/cuda/watch.h"

#include <math.h>

enum { ROW_BYTES = 128 /* of a tile */ };

static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int batch_of(const CudaGemm *g) { return g->batch > 1 ? g->batch : 1; }

static int64_t packed_columns(const CudaGemm *g) { return g->glu ? divide_up(g->n, 8) * 16 : g->n; }

/* ------------------------------------------------------------------------------------------------------ boxes of pixels */

/* Boxes of `rows` pixels and 2^box in width that make up an image. */
static int64_t boxes_of(const CudaGemm *g, int rows, int box)
{
    return divide_up(g->columns, 1 << box) * divide_up(g->rows, rows >> box);
}

/* The width with the fewest boxes, the least of those: 16 pixels, which a warp finishes at a time, or more. */
static int widest_use(const CudaGemm *g, const CudaGemmTile *t)
{
    int best = 4;
    for (int box = 5; !t->halo && 1 << box <= t->rows; box++) {
        if (boxes_of(g, t->rows, box) < boxes_of(g, t->rows, best)) best = box;
    }
    return best;
}

/* Do outputs follow each other as the pixels of A do? */
static bool is_boxable(const CudaGemm *g)
{
    for (int i = 0; i < g->parts; i++) {
        const CudaGemmPart *p = &g->part[i];
        if (p->height == 0 || p->step_x != 1 || (g->rows > 1 && p->step_y != p->width)) return false;
        if (p->picture / p->width >> CUDA_BOX_ROW_BITS > 0 || p->pictures >= 1 << (31 - CUDA_BOX_ROW_BITS)) return false;
    }
    return g->batch <= 1;
}

/* Zeros that are not in memory are made by the engine that copies boxes alone. */
static bool has_margins(const CudaGemm *g)
{
    for (int i = 0; i < g->parts; i++) {
        if (g->part[i].margin_x > 0 || g->part[i].margin_y > 0) return true;
    }
    return false;
}

/* Are all taps such windows, h x w pixels of one frame? */
static bool has_windows(const CudaGemmPart *p, int h, int w)
{
    for (int i = 0; i < p->taps; i++) {
        const int first = i - i % (h * w), y = i % (h * w) / w, x = i % w;
        if (p->tap_frame[i] != p->tap_frame[first] || p->tap[i] != p->tap[first] + y * p->width + x) return false;
    }
    return p->taps % (h * w) == 0;
}

/* The largest windows, of up to 3 x 3 pixels. */
static int window_of(const CudaGemmPart *p)
{
    return p->height > 0 && has_windows(p, 3, 3) ? 3 : p->height > 0 && has_windows(p, 2, 2) ? 2 : 1;
}

/* Of pictures as they lie in memory. */
static CudaTensorMap map_of_pictures(Dev *d, const CudaGemmPart *p, int bytes, int box_w, int box_h)
{
    CudaTensorMap map = {{0}};
    const uint64_t pixel = (uint64_t)(p->pitch * bytes), sizes[] = {(uint64_t)(p->depth * bytes), (uint64_t)p->width,
                                                                    (uint64_t)p->height, (uint64_t)p->pictures};
    const uint64_t strides[] = {pixel, pixel * (uint64_t)p->width, pixel * (uint64_t)p->picture};
    const uint32_t boxes[] = {ROW_BYTES, (uint32_t)box_w, (uint32_t)box_h, 1};
    cuda_tensor_map(d, &map, p->a, 4, sizes, strides, boxes);
    return map;
}

static CudaTensorMap map_of_weights(Dev *d, const CudaGemmPart *p, int bytes, int64_t rows, int columns)
{
    CudaTensorMap map = {{0}};
    const uint64_t sizes[] = {(uint64_t)(p->taps * p->depth * bytes), (uint64_t)rows}, strides[] = {sizes[0]};
    const uint32_t boxes[] = {ROW_BYTES, (uint32_t)columns};
    cuda_tensor_map(d, &map, p->b, 2, sizes, strides, boxes);
    return map;
}

/* Positions become coordinates in memory, and what is told of pictures is told without their margins. */
static void to_coordinates(CudaGemmPart *p, int images)
{
    const int margins = p->width * p->height - (p->width - 2 * p->margin_x) * (p->height - 2 * p->margin_y);
    for (int t = 0; t < p->taps; t++) {
        const int y = p->tap[t] / p->width - p->margin_y, x = p->tap[t] % p->width - p->margin_x;
        p->tap[t] = (int32_t)((uint32_t)y << 16 | (uint16_t)x);
    }
    for (int i = 0; i < images; i++) {
        for (int f = 0; f < 4; f++) {
            const int at = p->frame[i][f];
            p->frame[i][f] = at / p->picture << CUDA_BOX_ROW_BITS | at % p->picture / p->width;
        }
    }
    p->picture -= margins;
    p->width -= 2 * p->margin_x;
    p->height -= 2 * p->margin_y;
}

static CudaGemmBoxes in_boxes(Dev *d, const CudaGemm *g, const CudaGemmTile *t)
{
    const int bytes = element_bytes(t->type), box = g->box;
    CudaGemmBoxes b = {.gemm = *g};
    for (int i = 0; i < g->parts; i++) {
        CudaGemmPart *p = &b.gemm.part[i];
        const int window = window_of(p), more = t->halo ? window - 1 : 0;
        b.window_h[i] = b.window_w[i] = window;
        to_coordinates(p, g->images);
        b.a[i] = map_of_pictures(d, p, bytes, (1 << box) + more, (t->rows >> box) + more);
        b.b[i] = map_of_weights(d, p, bytes, packed_columns(g), t->columns);
    }
    return b;
}

/* ------------------------------------------------------------------------------------------------------------- moments */

/* Reading a result again, for its moments, takes about as long as multiplying so many more of K. */
enum { READ_AGAIN = 180 };

static int64_t depth_of(const CudaGemm *g)
{
    int64_t depth = 0;
    for (int i = 0; i < g->parts; i++) depth += (int64_t)g->part[i].taps * g->part[i].depth;
    return depth;
}

/* Tiles of an image's pixels; box 0: pixels one after another. */
static int64_t tiles_of(const CudaGemm *g, const CudaGemmTile *t, int box)
{
    return box > 0 ? boxes_of(g, t->rows, box) : divide_up((int64_t)g->rows * g->columns, t->rows);
}

/* Of boxes that are halves of patches, and as wide as the kernel can have them, those that take fewest. */
static int whole_halves(const CudaGemm *g, const CudaGemmTile *t)
{
    const int widest = t->halo ? 16 : t->producers > 0 ? t->rows : t->warps * 4;
    int best = 4;
    for (int box = 5; 1 << box <= widest && (t->rows >> box) % CUDA_HALF_H == 0; box++) {
        if (tiles_of(g, t, box) < tiles_of(g, t, best)) best = box;
    }
    return best;
}

/* How tiles lie in pictures. told: with moments wanted in boxes that can tell them, unless the more of these that a picture takes,
 * for its size, cost more than reading the result again. */
static int box_of(const CudaGemm *g, const CudaGemmTile *t, bool *told)
{
    const int box = t->producers > 0 ? widest_use(g, t) : 0;
    const int64_t depth = depth_of(g);
    *told = false;
    if (g->stat_groups == 0 || t->columns < 64 || t->columns % g->stat_size != 0) return box;
    const int halves = whole_halves(g, t);
    *told = tiles_of(g, t, halves) * depth <= tiles_of(g, t, box) * (depth + READ_AGAIN);
    return *told ? halves : box;
}

bool cuda_gemm_tells(const CudaGemm *g, const CudaGemmTile *t)
{
    bool told;
    box_of(g, t, &told);
    return told;
}

/* -------------------------------------------------------------------------------------------------------------- tiles */

bool cuda_gemm_fits(const CudaGemm *g, const CudaGemmTile *t)
{
    if ((t->halo && window_of(&g->part[0]) == 1) || (t->producers == 0 && has_margins(g))) return false;
    return (!g->glu || t->columns >= 16) && (t->producers == 0 || is_boxable(g));
}

static int64_t blocks_of(const CudaGemm *g, const CudaGemmTile *t)
{
    bool told;
    return g->images * tiles_of(g, t, box_of(g, t, &told)) * divide_up(packed_columns(g), t->columns);
}

/* Many multiprocessors ask more of the second-level cache than it has: there a halo that comes once is worth its steps. With
 * int8 it always is, as no tile without is larger. */
static double speed_of(const CudaGemmTile *t, int sms)
{
    enum { MANY = 128 };
    return (double)t->speed * (t->halo && t->type != ELEMENT_I8 && sms > MANY ? 1.15 : 1.0);
}

/* Blocks go to the multiprocessors in rounds; the last round takes as long as a full one. */
CudaGemmTile cuda_gemm_choose(const Dev *d, const CudaGemm *g, Element type)
{
    const int sms = cuda_device_of(d)->sms > 0 ? cuda_device_of(d)->sms : 1;
    CudaGemmTile best = {0}, t;
    double least = HUGE_VAL;
    for (int i = 0; cuda_gemm_tile(i, &t); i++) {
        if (t.type != type || !cuda_gemm_has(cuda_device_of(d), &t) || !cuda_gemm_fits(g, &t)) continue;
        double time = (double)divide_up(blocks_of(g, &t) * batch_of(g), sms) * t.rows * t.columns / speed_of(&t, sms);
        if (g->stat_groups > 0 && !cuda_gemm_tells(g, &t)) time *= 1.0 + (double)READ_AGAIN / (double)depth_of(g);
        if (time < least) {
            best = t;
            least = time;
        }
    }
    return best;
}

/* Two patches of A's pixels with their halo, and scales if any, beside the stages of B, of int8 with theirs; barriers where
 * halo.cuh has them. */
static int shared_of_halo(const CudaGemmTile *t)
{
    const int pixels = (16 + 2) * (t->rows / 16 + 2), patch = (pixels * ROW_BYTES + 1023) / 1024 * 1024;
    const int scales = t->type >= ELEMENT_I8 ? pixels * 4 : 0, barriers = (4 + 2 * t->stages) * 8;
    const int stage = t->columns * (ROW_BYTES + (t->type == ELEMENT_I8 ? 4 : 0));
    return 2 * (patch + scales) + t->stages * stage + (pixels * ROW_BYTES + barriers <= patch ? 0 : barriers);
}

/* Dynamic shared memory: stages, with scales of A, of int8 those of B, of boxes their barriers. */
static int shared_of(const CudaGemmTile *t)
{
    if (t->halo) return shared_of_halo(t);
    const int scales = (t->type >= ELEMENT_I8 ? t->rows : 0) + (t->type == ELEMENT_I8 ? t->columns : 0);
    return t->stages * ((t->rows + t->columns) * ROW_BYTES + scales * 4 + (t->producers > 0 ? 2 * 8 : 0));
}

/* Its box is chosen. */
static CudaGrid grid_of(const CudaGemm *g, const CudaGemmTile *t)
{
    const int64_t blocks = g->images * tiles_of(g, t, g->box) * divide_up(packed_columns(g), t->columns);
    return (CudaGrid){.x = (unsigned)blocks, .y = 1, .z = (unsigned)batch_of(g),
                      .threads = (unsigned)(t->warps + t->producers) * 32, .shared = (unsigned)shared_of(t)};
}

static void launch(Dev *d, const CudaGemm *g, const CudaGemmTile *t)
{
    const char *of_halo = t->type == ELEMENT_I8 ? "gemm_i8_halo" : "gemm_bf16_halo";
    const char *file = t->type > ELEMENT_I8 ? "gemm_fp8" : t->halo ? of_halo : "gemm";
    if (t->producers > 0) {
        const CudaGemmBoxes boxes = in_boxes(d, g, t);
        cuda_launch(d, file, t->function, t->macros, grid_of(g, t), &boxes);
    } else {
        cuda_launch(d, file, t->function, t->macros, grid_of(g, t), g);
    }
}

/* Some images, and of these rows from `row` on, a multiple of patches' height where moments are told. */
static CudaGemm piece_of(const CudaGemm *g, int image, int images, int row, int rows)
{
    CudaGemm p = *g;
    p.images = images;
    p.rows = rows;
    p.stat_first += cuda_stats_halves(row, g->columns);
    for (int i = 0; i < images; i++) {
        const int from = image + i;
        p.y_image[i] = g->y_image[from] + row * g->y_row;
        p.residual_image[i] = g->residual_image[from] + row * g->residual_row;
        p.drop[i] = g->drop[from];
        p.stat_image[i] = g->stat_image[from];
        for (int part = 0; part < g->parts; part++) {
            const CudaGemmPart *whole = &g->part[part];
            for (int f = 0; f < 4; f++) p.part[part].frame[i][f] = whole->frame[from][f] + row * whole->step_y;
        }
    }
    return p;
}

/* Rows of a band are a multiple of that: a tile at least; boxes and patches are whole but at the picture's end. */
static int band_unit(const CudaGemm *g, const CudaGemmTile *t)
{
    enum { PATCH = 2 * CUDA_HALF_H };
    int unit = PATCH;
    if (g->box == 0) return (int)divide_up(t->rows, g->columns);
    while (unit % (t->rows >> g->box) != 0) unit += PATCH;
    return unit;
}

/* Images first; of single images bands of rows. */
static void launch_pieces(Dev *d, const CudaGemm *g, const CudaGemmTile *t, int pieces)
{
    const int images = pieces < g->images ? g->images / pieces : 1, unit = band_unit(g, t);
    const int64_t bands = divide_up(pieces, g->images);
    const int band = (int)(g->rows / bands) / unit * unit, rows = bands == 1 ? g->rows : band > unit ? band : unit;
    for (int image = 0; image < g->images; image += images) {
        const int some = g->images - image < images ? g->images - image : images;
        for (int row = 0; row < g->rows; row += rows) {
            const CudaGemm piece = piece_of(g, image, some, row, g->rows - row < rows ? g->rows - row : rows);
            launch(d, &piece, t);
        }
    }
}

bool cuda_gemm_with(Dev *d, const CudaGemm *shape, const CudaGemmTile *t)
{
    CudaGemm g = *shape;
    bool told;
    g.box = box_of(shape, t, &told);
    if (!told) g.stat_groups = 0;
    for (int i = 0; i < g.parts; i++) {
        const int side = window_of(&g.part[i]);
        g.part[i].window = side * side;
    }
    const KernelWork work = cuda_product_work(cuda_device_of(d), &g, t, grid_of(&g, t));
    const int pieces = cuda_pieces(d, &work);
    if (pieces > 1) launch_pieces(d, &g, t, pieces);
    else launch(d, &g, t);
    return told;
}

bool cuda_gemm(Dev *d, const CudaGemm *g, Element type)
{
    const CudaGemmTile tile = cuda_gemm_choose(d, g, type);
    cuda_watch_product(cuda_watch_of(d), g, type, &tile);
    return cuda_gemm_with(d, g, &tile);
}
