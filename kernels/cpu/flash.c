#include "kernels/cpu/flash.h"

#include <string.h>

enum {
    DEPTH_CHUNK = 128,                                                          /* channels of 64 keys that stay cached */
    ROWS_PADDED = (FLASH_QUERIES + GEMM_ROWS - 1) / GEMM_ROWS * GEMM_ROWS       /* tiles write whole groups of rows */
};

static int min_int(int a, int b) { return a < b ? a : b; }

int flash_padded(int depth) { return (depth + GEMM_LANES - 1) / GEMM_LANES * GEMM_LANES; }

size_t flash_floats(int depth) { return (size_t)ROWS_PADDED * (FLASH_KEYS + (size_t)flash_padded(depth)); }

void flash_begin(Flash *f, const CpuKernels *k, const float *q, int64_t q_row, int queries, int depth, float scale,
                 float *memory)
{
    f->kernels = k;
    f->q = q;
    f->q_row = q_row;
    f->queries = queries;
    f->depth = depth;
    f->scale = scale;
    f->scores = memory;
    f->out = memory + (size_t)ROWS_PADDED * FLASH_KEYS;
    f->begun = false;
}

void flash_pack(float *packed, int depth, int key, const float *values)
{
    float *lane = packed + (int64_t)(key / GEMM_LANES) * depth * GEMM_LANES + key % GEMM_LANES;
    for (int c = 0; c < depth; c++) lane[c * GEMM_LANES] = values[c];
}

/* scores = q . k for all queries */
static void score(const Flash *f, const float *k, int keys)
{
    const int d = f->depth, panels = (keys + GEMM_LANES - 1) / GEMM_LANES;
    for (int p = 0; p < panels; p += GEMM_PANELS) {
        for (int c = 0; c < d; c += DEPTH_CHUNK) {
            const int64_t tap = c;
            GemmTile tile = {.acc_row = FLASH_KEYS, .tap = &tap, .taps = 1, .depth = min_int(DEPTH_CHUNK, d - c),
                             .b = k + ((int64_t)p * d + c) * GEMM_LANES, .b_row = GEMM_LANES,
                             .b_panel = (int64_t)d * GEMM_LANES, .panels = min_int(GEMM_PANELS, panels - p),
                             .accumulate = c > 0};
            for (int r = 0; r < f->queries; r += GEMM_ROWS) {
                for (int i = 0; i < GEMM_ROWS; i++) tile.row[i] = f->q + min_int(r + i, f->queries - 1) * f->q_row;
                tile.acc = f->scores + (int64_t)r * FLASH_KEYS + p * GEMM_LANES;
                f->kernels->gemm_tile(&tile);
            }
        }
    }
}

/* out += weights . v */
static void weigh(const Flash *f, const float *v, int64_t v_row, int keys)
{
    const int padded = flash_padded(f->depth), panels = padded / GEMM_LANES;
    const int64_t tap = 0;
    for (int p = 0; p < panels; p += GEMM_PANELS) {
        GemmTile tile = {.acc_row = padded, .tap = &tap, .taps = 1, .depth = keys, .b = v + p * GEMM_LANES, .b_row = v_row,
                         .b_panel = GEMM_LANES, .panels = min_int(GEMM_PANELS, panels - p), .accumulate = f->begun};
        for (int r = 0; r < f->queries; r += GEMM_ROWS) {
            for (int i = 0; i < GEMM_ROWS; i++) tile.row[i] = f->scores + (int64_t)min_int(r + i, f->queries - 1) * FLASH_KEYS;
            tile.acc = f->out + (int64_t)r * padded + p * GEMM_LANES;
            f->kernels->gemm_tile(&tile);
        }
    }
}

void flash_keys(Flash *f, const float *k, const float *v, int64_t v_row, int keys, float last_bias)
{
    const CpuKernels *kernels = f->kernels;
    const int padded = flash_padded(f->depth);
    score(f, k, keys);
    for (int r = 0; r < f->queries; r++) {
        float *s = f->scores + (int64_t)r * FLASH_KEYS;
        if (last_bias != 0.0f) s[keys - 1] += last_bias / f->scale;
        const float here = kernels->row_max(s, keys) * f->scale;
        if (!f->begun) {
            f->top[r] = here;
            f->sum[r] = 0.0f;
        } else if (here > f->top[r]) { /* what was summed so far shrinks by e^(old maximum - new) */
            float shrink = f->top[r] - here;
            kernels->row_exp(&shrink, 1, 1.0f, 0.0f);
            kernels->row_scale(f->out + (int64_t)r * padded, padded, shrink);
            f->sum[r] *= shrink;
            f->top[r] = here;
        }
        f->sum[r] += kernels->row_exp(s, keys, f->scale, f->top[r]);
    }
    weigh(f, v, v_row, keys);
    f->begun = true;
}

void flash_finish(Flash *f)
{
    const int padded = flash_padded(f->depth);
    for (int r = 0; r < f->queries; r++) {
        float *row = f->out + (int64_t)r * padded;
        if (f->begun) f->kernels->row_scale(row, padded, 1.0f / f->sum[r]);
        else memset(row, 0, (size_t)padded * sizeof *row);
    }
}
