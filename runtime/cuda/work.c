#include "runtime/cuda/work.h"

#include "kernels/cuda/layout.h"

#include <string.h>

static double size_of(int32_t type) { return type == CUDA_F32 ? 4 : type == CUDA_BF16 || type == CUDA_E4M3_PAIR ? 2 : 1; }
static double up(double a, double b) { return (double)(int64_t)((a + b - 1) / b); }
static double halves_of(double h, double w) { return 2 * up(h, 8) * up(w, 16); } /* of patches, each of which has moments */
static bool begins(const char *text, const char *start) { return strncmp(text, start, strlen(start)) == 0; }

/* ------------------------------------------------------------------------------------------------------------ products */

static bool tile_of(const char *function, CudaGemmTile *t)
{
    for (int i = 0; cuda_gemm_tile(i, t); i++) {
        if (strcmp(t->function, function) == 0) return true;
    }
    return false;
}

/* Pictures of A that a part reads: different frames of all images. */
static int pictures_of(const CudaGemm *g, const CudaGemmPart *p)
{
    int32_t seen[CUDA_GEMM_IMAGES * 4];
    bool read[4] = {false};
    int count = 0;
    for (int t = 0; t < p->taps && t < CUDA_GEMM_TAPS; t++) read[p->tap_frame[t] & 3] = true;
    for (int i = 0; i < g->images; i++) {
        for (int f = 0; f < 4; f++) {
            int same = 0;
            while (same < count && seen[same] != p->frame[i][f]) same++;
            if (read[f] && same == count) seen[count++] = p->frame[i][f];
        }
    }
    return count > 0 ? count : 1;
}

/* Bytes of A and of B, scales among them. */
static double operand_bytes(const CudaGemm *g, const CudaGemmPart *p, Element type, double packed)
{
    const double size = element_bytes(type), words = type == ELEMENT_I8 ? 4.0 * p->blocks : 0;
    const double pixels = g->rows > 1 ? (double)g->rows * (p->step_y - 2 * p->margin_x) : (double)g->columns * p->step_x;
    return pictures_of(g, p) * pixels * (p->depth * size + words) + packed * p->taps * (p->depth * size + words);
}

KernelWork cuda_product_work(const CudaDevice *d, const CudaGemm *g, const CudaGemmTile *t, CudaGrid grid)
{
    enum { ROW = 128 /* bytes of a slab's rows */, NARROW = 16 /* channels of one step of bf16 */, HALO_WIDTH = 16 };
    const double batch = g->batch > 1 ? g->batch : 1, packed = g->glu ? up(g->n, 8) * 16 : g->n;
    const double pixels = (double)g->images * g->rows * g->columns, blocks = (double)grid.x * batch;
    const double size = element_bytes(t->type), passes = t->type == ELEMENT_E4M3_PAIR ? 3 : 1;
    KernelWork w = {.kind = WORK_PRODUCT, .grid = grid, .producers = (unsigned)t->producers * 32,
                    .rate = rate_of_element(d, t->type)};
    for (int i = 0; i < g->parts; i++) {
        const CudaGemmPart *p = &g->part[i];
        const bool narrow = t->type == ELEMENT_BF16 && p->depth <= NARROW;
        const double slabs = p->taps * up(p->depth * size, ROW), used = narrow ? NARROW * size : ROW;
        const double row = (t->halo ? ROW : used) + (t->type == ELEMENT_I8 ? 4 : 0); /* int8 with scales */
        const double window = p->window > 0 ? p->window : 1;
        const double side = window >= 9 ? 3 : window >= 4 ? 2 : 1;
        const double patch = t->halo ? (HALO_WIDTH + side - 1) * ((double)t->rows / HALO_WIDTH + side - 1) / window : t->rows;
        w.flop += 2 * pixels * packed * p->taps * p->depth * batch;
        w.mma_flop += blocks * slabs * 2 * t->rows * t->columns * (used / size) * passes;
        w.fill += blocks * slabs * row * (patch + t->columns);
        w.bytes += batch * operand_bytes(g, p, t->type, packed);
    }
    w.bytes += batch * pixels * g->n * (size_of(g->y_type) + (g->residual_pitch > 0 ? size_of(g->residual_type) : 0));
    w.bytes += 16.0 * g->images * g->stat_groups * halves_of(g->rows, g->columns);
    return w;
}

/* ------------------------------------------------------------------------------------------------------------- bytes */

static double view_bytes(const CudaView *v) { return v->pitch > 0 ? size_of(v->type) : 0; }

static double pre_bytes(const void *args, CudaGrid grid)
{
    const CudaPre *a = args;
    (void)grid;
    const double scales = a->to_type == CUDA_I8 ? 4.0 * a->blocks : 0;
    return (double)a->t * a->h * a->w * (a->c * size_of(a->x_type) + a->to_pad * size_of(a->to_type) + scales);
}

static double vectors_bytes(const void *args, CudaGrid grid)
{
    const CudaPreVectors *a = args;
    return 4.0 * a->pitch * 4 * grid.y;
}

static double edges_bytes(const void *args, CudaGrid grid)
{
    (void)args;
    return 2.0 * 4 * grid.x * grid.y * grid.threads;
}

static double halves_bytes(const void *args, CudaGrid grid)
{
    const CudaHalves *a = args;
    return grid.z * ((double)a->h * a->w * a->c * size_of(a->type) + 16.0 * a->groups * grid.x);
}

/* Each element for its channel's mean, and once more for the distances from it. */
static double halves_shared(const void *args, CudaGrid grid)
{
    const CudaHalves *a = args;
    return 2 * 4.0 * a->h * a->w * a->c * grid.z;
}

static double moments_bytes(const void *args, CudaGrid grid)
{
    const CudaMoments *a = args;
    return 16.0 * grid.x * grid.y * halves_of(a->h, a->w);
}

static double axpby_bytes(const void *args, CudaGrid grid)
{
    const CudaAxpby *a = args;
    return (double)grid.y * grid.z * a->w * a->c * (view_bytes(&a->y) + view_bytes(&a->x) + view_bytes(&a->z));
}

static double rows_bytes(const void *args, CudaGrid grid)
{
    const CudaRows *a = args;
    return (double)grid.y * grid.z * a->w * (4.0 * a->quads * (view_bytes(&a->y) + view_bytes(&a->x)) + 4);
}

static double rotate_bytes(const void *args, CudaGrid grid)
{
    const CudaRotate *a = args;
    return (double)grid.y * grid.z * a->w * (4.0 * a->pairs * view_bytes(&a->x));
}

static double modulation_bytes(const void *args, CudaGrid grid)
{
    (void)args;
    return 12.0 * grid.x * grid.threads;
}

static double guide_bytes(const void *args, CudaGrid grid)
{
    const CudaGuide *a = args;
    return (double)grid.y * grid.z * a->w * a->c * 3 * view_bytes(&a->v);
}

static double planes_bytes(const void *args, CudaGrid grid)
{
    const CudaPlanes *a = args;
    return (double)a->count * grid.y * a->w * (4 + view_bytes(&a->pixels));
}

/* With weights what was summed before is read, too. */
static double to_planes_bytes(const void *args, CudaGrid grid)
{
    const CudaPlanes *a = args;
    return (double)a->count * grid.y * a->w * (4 + (a->total_row > 0 ? 4 : 0) + view_bytes(&a->pixels));
}

static double noise_bytes(const void *args, CudaGrid grid)
{
    const CudaNoise *a = args;
    return (double)grid.y * grid.z * a->w * 16.0 * a->quads;
}

static double noise_over_bytes(const void *args, CudaGrid grid)
{
    const CudaNoiseOver *a = args;
    return (double)grid.y * a->w * 3 * 8;
}

static double resize_width_bytes(const void *args, CudaGrid grid)
{
    const CudaResizeWidth *a = args;
    (void)grid;
    return 4.0 * a->rows * ((double)a->from_row + a->to_w);
}

static double resize_height_bytes(const void *args, CudaGrid grid)
{
    const CudaResizeHeight *a = args;
    return 4.0 * grid.z * ((double)a->from_row * a->from_h + (double)a->to_row * a->to_h);
}

static double codes_bytes(const void *args, CudaGrid grid)
{
    const CudaCodes *a = args;
    return (double)a->w * grid.y * a->channels * (4 + (a->wide ? 2 : 1));
}

static double wavelet_bytes(const void *args, CudaGrid grid)
{
    const CudaWavelet *a = args;
    const bool between = a->reach > 1 && !a->last; /* reads one picture, not two */
    return (double)a->w * a->h * grid.z * (between ? 8 : 12);
}

static double adain_rows_bytes(const void *args, CudaGrid grid)
{
    const CudaAdain *a = args;
    return (double)a->w * a->h * grid.y * grid.z * 4;
}

static double adain_apply_bytes(const void *args, CudaGrid grid)
{
    const CudaAdain *a = args;
    return (double)a->w * a->h * grid.z * 8;
}

static double lab_bytes(const void *args, CudaGrid grid)
{
    const CudaLab *a = args;
    return (double)a->w * grid.y * grid.z * 24;
}

static double rank_count_bytes(const void *args, CudaGrid grid)
{
    const CudaRank *a = args;
    return 4.0 * a->n * grid.y;
}

static double rank_places_bytes(const void *args, CudaGrid grid)
{
    const CudaRank *a = args;
    return 8.0 * grid.x * grid.y * a->tiles;
}

static double rank_scatter_bytes(const void *args, CudaGrid grid)
{
    const CudaRank *a = args;
    const double placed = grid.y > a->plain ? grid.y - a->plain : 0;
    return a->n * (grid.y * (a->places_only ? 4.0 : 8.0) + placed * (a->at_first ? 4 : 8));
}

/* Keys, where they go, and the values of their ranks, read; values, written. */
static double rank_match_bytes(const void *args, CudaGrid grid)
{
    const CudaRank *a = args;
    return 16.0 * a->n * grid.y;
}

static double hsv_split_bytes(const void *args, CudaGrid grid)
{
    const CudaHsv *a = args;
    return (double)a->w * grid.y * grid.z * 17;
}

static double hsv_join_bytes(const void *args, CudaGrid grid)
{
    const CudaHsv *a = args;
    return (double)a->w * grid.y * grid.z * 28;
}

static double hsv_keys_bytes(const void *args, CudaGrid grid)
{
    const CudaHueKeys *a = args;
    return 9.0 * a->n * grid.y;
}

static double hsv_match_bytes(const void *args, CudaGrid grid)
{
    const CudaHueMatch *a = args;
    (void)grid;
    return 20.0 * a->n;
}

static double hsv_mix_bytes(const void *args, CudaGrid grid)
{
    const CudaAdaptive *a = args;
    return (double)a->w * grid.y * grid.z * 60;
}

/* Of windows of `rows` rows at most, what comes from sources of one type; type -1: of any. */
static double gathered_bytes(const CudaGather *a, double rows, double windows, int type)
{
    const double there = (double)a->to_head / a->depth, all = rows * windows < there ? rows * windows : there;
    double bytes = 0;
    for (int part = 0; part < 3; part++) {
        const double to = part == 0 && a->q_scale != 0 ? a->depth + 4 : a->depth * size_of(a->to_type);
        const CudaTokens *const from[2] = {&a->from[part], &a->text[part]};
        const double of[2] = {all - windows * a->text_rows, windows * a->text_rows};
        for (int i = 0; i < 2; i++) {
            if (from[i]->pitch == 0 || (type >= 0 && from[i]->type != type)) continue;
            bytes += of[i] * a->heads * (a->head_dim * size_of(from[i]->type) + to);
        }
    }
    return bytes;
}

static double gather_bf16_bytes(const void *args, CudaGrid grid) { return gathered_bytes(args, grid.x, grid.z, CUDA_BF16); }
static double gather_f32_bytes(const void *args, CudaGrid grid) { return gathered_bytes(args, grid.x, grid.z, CUDA_F32); }

static double gather_bytes(const void *args, CudaGrid grid)
{
    const CudaGather *a = args;
    return gathered_bytes(a, (double)grid.x * (grid.threads / (unsigned)a->lanes) / a->heads, grid.z, -1);
}

/* Keys and values of bf16, read; and 8 bits of each, written. */
static double keys8_bytes(const void *args, CudaGrid grid)
{
    (void)args;
    return (double)grid.x * grid.y * grid.z * FLASH8_KEYS * CUDA_FLASH8_DEPTH * 2 * (2 + 1);
}

static double sums8_bytes(const void *args, CudaGrid grid)
{
    (void)args;
    return (double)grid.x * grid.y * grid.z * CUDA_FLASH8_DEPTH * (FLASH8_KEYS * 2 + 4);
}

static double queries8_bytes(const void *args, CudaGrid grid)
{
    const CudaFlash8Pack *a = args;
    const double rows = (double)grid.x * (grid.threads / 8) * grid.y;
    return (rows < a->q_rows ? rows : a->q_rows) * grid.z * (CUDA_FLASH8_DEPTH * (2 + 1) + 4);
}

static double softmax_bytes(const void *args, CudaGrid grid)
{
    const CudaSoftmax *a = args;
    (void)grid;
    return (double)a->rows * (4.0 * a->keys + a->pad * size_of(a->to_type));
}

static double transpose_bytes(const void *args, CudaGrid grid)
{
    const CudaTranspose *a = args;
    (void)grid;
    return 2.0 * a->rows * a->depth * size_of(a->type);
}

static double scatter_bytes(const void *args, CudaGrid grid)
{
    const CudaScatter *a = args;
    (void)grid;
    return (double)a->rows * a->head_dim * (4 + size_of(a->o.type));
}

static double dequant_bytes(const void *args, CudaGrid grid)
{
    const CudaDequant *a = args;
    (void)grid;
    return 6.0 * a->count;
}

static double pack_bytes(const void *args, CudaGrid grid)
{
    const CudaPack *a = args;
    (void)grid;
    return (double)a->rows * a->taps * (4.0 * a->ci + 2.0 * a->depth);
}

static double sum_bytes(const void *args, CudaGrid grid)
{
    const CudaFoldSum *a = args;
    (void)grid;
    return (double)a->n * 4.0 * (9.0 * a->mid + 4.0 * a->pitch);
}

static double fold_gather_bytes(const void *args, CudaGrid grid)
{
    const CudaFoldGather *a = args;
    (void)grid;
    return 8.0 * a->n * a->slots * a->pitch;
}

static const struct {
    const char *function;
    double (*bytes)(const void *args, CudaGrid grid);
} known[] = { /* the first whose name the function begins with */
    {"pre_vectors", vectors_bytes}, {"pre_edges", edges_bytes}, {"pre", pre_bytes},
    {"stats_halves", halves_bytes}, {"stats_merge", moments_bytes},
    {"axpby", axpby_bytes}, {"rows", rows_bytes}, {"rotate", rotate_bytes}, {"modulation", modulation_bytes},
    {"guide", guide_bytes}, {"planes_to_codes", codes_bytes}, {"planes_to_", planes_bytes},
    {"pixels_to_planes", to_planes_bytes},
    {"noise_over", noise_over_bytes}, {"noise", noise_bytes},
    {"resize_width", resize_width_bytes}, {"resize_height", resize_height_bytes},
    {"codes_to_planes", codes_bytes},
    {"color_wavelet", wavelet_bytes}, {"color_mix", wavelet_bytes},
    {"color_to_lab", lab_bytes}, {"color_from_lab", lab_bytes},
    {"hsv_split", hsv_split_bytes}, {"hsv_join", hsv_join_bytes}, {"hsv_keys", hsv_keys_bytes},
    {"hsv_match", hsv_match_bytes}, {"hsv_mix", hsv_mix_bytes},
    {"adain_rows", adain_rows_bytes}, {"adain_apply", adain_apply_bytes},
    {"rank_count", rank_count_bytes}, {"rank_places", rank_places_bytes},
    {"rank_scatter", rank_scatter_bytes}, {"rank_match", rank_match_bytes},
    {"flash8_keys", keys8_bytes}, {"flash8_sums", sums8_bytes}, {"flash8_queries", queries8_bytes},
    {"attention_gather_bf16", gather_bf16_bytes}, {"attention_gather_f32", gather_f32_bytes},
    {"attention_gather", gather_bytes}, {"attention_softmax", softmax_bytes},
    {"attention_transpose", transpose_bytes}, {"attention_scatter", scatter_bytes},
    {"dequant_", dequant_bytes}, {"pack_", pack_bytes}, {"fold_sum", sum_bytes}, {"fold_gather", fold_gather_bytes},
};

KernelWork cuda_work(const CudaDevice *d, const char *function, CudaGrid grid, const void *args)
{
    CudaGemmTile tile;
    if (tile_of(function, &tile)) {
        return cuda_product_work(d, tile.producers > 0 ? &((const CudaGemmBoxes *)args)->gemm : args, &tile, grid);
    }
    KernelWork w = {.kind = WORK_UNKNOWN, .grid = grid};
    if (begins(function, "flash_i8") || begins(function, "flash_e4m3") || begins(function, "flash_f32_") ||
        begins(function, "flash_bf16_")) {
        w.kind = WORK_FLASH;
        w.rate = rate_of_element(d, begins(function, "flash_i8") ? ELEMENT_I8 : begins(function, "flash_e4m3") ? ELEMENT_E4M3 :
                                    begins(function, "flash_f32_") ? ELEMENT_F32 : ELEMENT_BF16);
    }
    if (begins(function, "flash_i8") || begins(function, "flash_e4m3")) {
        w.producers = grid.threads - CUDA_FLASH8_ROWS / 16 * 32;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!begins(function, known[i].function)) continue;
        w.kind = WORK_BYTES;
        w.bytes = known[i].bytes(args, grid);
        if (known[i].bytes == halves_bytes) w.shared = halves_shared(args, grid);
        break;
    }
    return w;
}
