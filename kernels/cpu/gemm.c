#include "kernels/cpu/gemm.h"

#include <string.h>

enum {
    CHUNK = 128,      /* rows of B that stay in the first-level cache: 128 x 64 floats = 32 KiB */
    BLOCK = 192,      /* rows of A whose sums wait in the second-level cache; a multiple of GEMM_ROWS */
    TURN_ROWS = 1536, /* rows a turn should have at least, so that packing B does not count */
    PACK_INPUTS = 16  /* input channels packed at once: 16 x 27 taps x 16 columns fit the first-level cache */
};

static int min_int(int a, int b) { return a < b ? a : b; }
static int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* --------------------------------------------------------------------------------------------------------- the turns */

static int64_t total_rows(const GemmJob *j) { return (int64_t)j->images * j->rows * j->columns_x; }

/* Rows of one turn: enough turns for all threads to end together, but no fewer rows than make packing cheap. */
static int64_t turn_rows(const GemmJob *j, int threads)
{
    int64_t groups = divide_up(j->n, GEMM_WIDTH), rows = total_rows(j);
    int64_t parts = divide_up(4LL * threads, groups);
    int64_t size = divide_up(rows, parts);
    if (size < TURN_ROWS) size = TURN_ROWS;
    return divide_up(size, BLOCK) * BLOCK;
}

int64_t gemm_turns(const GemmJob *j, int threads)
{
    return divide_up(j->n, GEMM_WIDTH) * divide_up(total_rows(j), turn_rows(j, threads));
}

static bool is_gated(const GemmJob *j) { return j->part[0].glu_weights != NULL; }

static int panels_of(int columns) { return (columns + GEMM_LANES - 1) / GEMM_LANES; }

static size_t packed_floats(const GemmJob *j)
{
    const size_t width = (size_t)panels_of(min_int(j->n, GEMM_WIDTH)) * GEMM_LANES;
    size_t floats = 0;
    for (int p = 0; p < j->parts; p++) {
        if (j->part[p].packed == NULL) floats += (size_t)j->part[p].taps * (size_t)j->part[p].depth * width;
    }
    return floats;
}

size_t gemm_scratch(const GemmJob *j)
{
    return (packed_floats(j) + BLOCK * GEMM_WIDTH) * (is_gated(j) ? 2 : 1) + GEMM_PACK_TEMPORARY;
}

/* acc += A * B for `count` rows given by their offsets. */
static void multiply(const GemmJob *j, const GemmPart *p, int image, const int64_t *offset, int count, const float *b,
                     int panels, float *acc, bool accumulate)
{
    const int64_t k_total = (int64_t)p->taps * p->depth;
    const int taps_step = p->depth >= CHUNK ? 1 : min_int(p->taps, CHUNK / p->depth);
    for (int t = 0; t < p->taps; t += taps_step) {
        for (int k = 0; k < p->depth; k += CHUNK) {
            int64_t shifted = p->tap[image][t] + k;
            GemmTile tile = {
                .acc_row = GEMM_WIDTH,
                .tap = taps_step == 1 ? &shifted : &p->tap[image][t],
                .taps = min_int(taps_step, p->taps - t),
                .depth = min_int(CHUNK, p->depth - k),
                .b = b + ((int64_t)t * p->depth + k) * GEMM_LANES,
                .b_row = GEMM_LANES,
                .b_panel = k_total * GEMM_LANES,
                .panels = panels,
                .accumulate = accumulate || t > 0 || k > 0,
            };
            for (int m = 0; m < count; m += GEMM_ROWS) {
                for (int r = 0; r < GEMM_ROWS; r++) tile.row[r] = p->base + offset[min_int(m + r, count - 1)];
                tile.acc = acc + (int64_t)m * GEMM_WIDTH;
                j->kernels->gemm_tile(&tile);
            }
        }
    }
}

/* One finished row of sums, columns first .. first + count - 1, to where it belongs. */
static void store(const GemmJob *j, int image, int oy, int ox, int first, int count, const float *acc, const float *glu)
{
    float *y = j->y + j->y_image[image] + oy * j->y_row + ox * j->y_pixel;
    const float *residual = j->residual == NULL ? NULL
                                                : j->residual + j->residual_image[image] + oy * j->residual_row +
                                                      ox * j->residual_pixel;
    for (int n = first; n < first + count;) {
        int sub = n / j->y_c, channel = n % j->y_c;
        int run = min_int(j->y_c - channel, first + count - n);
        if (!(j->drop[image] >> sub & 1)) {
            float *to = y + j->sub[sub];
            j->kernels->finish(to + channel, acc + (n - first), j->bias == NULL ? NULL : j->bias + n, j->act,
                               glu == NULL ? NULL : glu + (n - first), j->gate == NULL ? NULL : j->gate + n,
                               residual == NULL ? NULL : residual + n, run);
            if (channel + run == j->y_c) {
                for (int c = j->y_c; c < j->y_pad; c++) to[c] = 0.0f;
            }
        }
        n += run;
    }
}

void gemm_turn(const GemmJob *j, int threads, int64_t turn, float *scratch)
{
    const int64_t groups = divide_up(j->n, GEMM_WIDTH), step = turn_rows(j, threads);
    const int first = (int)(turn % groups) * GEMM_WIDTH, count = min_int(GEMM_WIDTH, j->n - first);
    const int panels = panels_of(count);
    const bool gated = is_gated(j);
    const int64_t begin = turn / groups * step, rows = total_rows(j);
    const int64_t end = begin + step < rows ? begin + step : rows;
    const int picture = j->rows * j->columns_x;

    float *acc = scratch, *glu = gated ? acc + BLOCK * GEMM_WIDTH : NULL;
    float *temporary = acc + BLOCK * GEMM_WIDTH * (gated ? 2 : 1), *at = temporary + GEMM_PACK_TEMPORARY;
    const float *b[GEMM_PARTS], *b_glu[GEMM_PARTS] = {0};
    for (int p = 0; p < j->parts; p++) {
        const GemmPart *part = &j->part[p];
        const size_t size = (size_t)part->taps * (size_t)part->depth * GEMM_LANES;
        if (part->packed != NULL) {
            b[p] = part->packed + size * (size_t)(first / GEMM_LANES);
            continue;
        }
        part->pack(part->weights, first, count, at, temporary);
        b[p] = at;
        at += size * (size_t)panels;
        if (!gated) continue;
        part->pack(part->glu_weights, first, count, at, temporary);
        b_glu[p] = at;
        at += size * (size_t)panels;
    }

    for (int64_t m = begin; m < end;) {
        const int image = (int)(m / picture), in_picture = (int)(m % picture);
        const int block = (int)(end - m < BLOCK ? end - m : BLOCK);
        const int size = min_int(block, picture - in_picture);
        for (int p = 0; p < j->parts; p++) {
            int64_t offset[BLOCK];
            for (int i = 0; i < size; i++) {
                int oy = (in_picture + i) / j->columns_x, ox = (in_picture + i) % j->columns_x;
                offset[i] = oy * j->part[p].step_y + ox * j->part[p].step_x;
            }
            multiply(j, &j->part[p], image, offset, size, b[p], panels, acc, p > 0);
            if (gated) multiply(j, &j->part[p], image, offset, size, b_glu[p], panels, glu, p > 0);
        }
        for (int i = 0; i < size; i++) {
            int oy = (in_picture + i) / j->columns_x, ox = (in_picture + i) % j->columns_x;
            store(j, image, oy, ox, first, count, acc + (int64_t)i * GEMM_WIDTH,
                  gated ? glu + (int64_t)i * GEMM_WIDTH : NULL);
        }
        m += size;
    }
}

/* --------------------------------------------------------------------------------------------------------- packing */

int conv_pack_taps(const ConvPack *p)
{
    int frames = p->time == TIME_ALL ? p->kt : p->time == TIME_PAIR ? p->kt - 1 : 1;
    return frames * p->khw;
}

void conv_pack(const void *conv_pack, int first, int count, float *out, float *temporary)
{
    const ConvPack *p = conv_pack;
    const int stored = p->kt * p->khw, taps = conv_pack_taps(p);
    const int64_t row_size = (int64_t)p->ci * stored, k_total = (int64_t)taps * p->depth;
    const int merged = p->time == TIME_ALL ? 0 : p->time == TIME_PAIR ? 1 : p->kt - 1; /* frames folded into the first */
    const int panels = (count + GEMM_LANES - 1) / GEMM_LANES;
    memset(out, 0, (size_t)panels * (size_t)k_total * GEMM_LANES * sizeof *out);
    for (int c = 0; c < p->ci; c += PACK_INPUTS) {
        const int inputs = min_int(PACK_INPUTS, p->ci - c);
        for (int n = 0; n < count; n++) {
            float *lane = out + (n / GEMM_LANES) * k_total * GEMM_LANES + n % GEMM_LANES;
            const int64_t row = (first + n) * row_size;
            if (p->channels_last) {
                for (int t = 0; t < stored; t++) {
                    p->weights.read(p->weights.source, row + (int64_t)t * p->ci + c, inputs, temporary);
                    float *to = lane + ((int64_t)t * p->depth + c) * GEMM_LANES;
                    for (int i = 0; i < inputs; i++) to[i * GEMM_LANES] = temporary[i];
                }
                continue;
            }
            if (p->frames_in_channels) {
                for (int dt = 0; dt < p->kt; dt++) { /* to [input][frame][pixel], as the other form has it */
                    float by_frame[PACK_INPUTS * 9];
                    p->weights.read(p->weights.source, row + ((int64_t)(p->kt - 1 - dt) * p->ci + c) * p->khw,
                                    (int64_t)inputs * p->khw, by_frame);
                    for (int i = 0; i < inputs * p->khw; i++) {
                        temporary[i / p->khw * stored + dt * p->khw + i % p->khw] = by_frame[i];
                    }
                }
            } else {
                p->weights.read(p->weights.source, row + (int64_t)c * stored, (int64_t)inputs * stored, temporary);
            }
            for (int t = 0; t < stored; t++) {
                const int frame = t / p->khw, slot = (frame <= merged ? 0 : frame - merged) * p->khw + t % p->khw;
                float *to = lane + ((int64_t)slot * p->depth + c) * GEMM_LANES;
                for (int i = 0; i < inputs; i++) to[i * GEMM_LANES] += temporary[i * stored + t];
            }
        }
    }
}
