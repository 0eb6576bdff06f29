/* Operations by pixel or token on the CPU's threads: sums, guidance, rotations, reorderings, and vectors of modulation. */
#include "runtime/dev_internal.h"

#include <math.h>
#include <string.h>

/* -------------------------------------------------------------------------------------------------------- elementwise */

typedef struct RowsTurn {
    Dev *d;
    Tensor y, x, z;
    float a, b;
} RowsTurn;

static void axpby_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    RowsTurn *r = context;
    const PixelRun run = pixel_run(r->y, i);
    for (int w = run.w; w < run.w + run.count; w++) {
        float *y = tensor_at(r->d, r->y, run.t, run.h, w);
        r->d->kernels->axpby(y, r->a, tensor_at(r->d, r->x, run.t, run.h, w), r->b,
                             r->z.valid ? tensor_at(r->d, r->z, run.t, run.h, w) : NULL, r->y.c);
        for (int c = r->y.c; c < (r->y.c + 3) / 4 * 4; c++) y[c] = 0.0f;
    }
}

void cpu_axpby(Dev *d, Tensor y, float a, Tensor x, float b, Tensor z)
{
    if (d->memory == NULL) return;
    RowsTurn turn = {d, y, x, z, a, b};
    pool_run(d->pool, pixel_runs(y), axpby_turn, &turn);
}

static double deviation(const float *x, int n)
{
    double mean = 0.0, square = 0.0;
    for (int i = 0; i < n; i++) mean += x[i];
    mean /= n;
    for (int i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
    return sqrt(square / (n - 1));
}

static void guide_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    RowsTurn *r = context;
    const PixelRun run = pixel_run(r->y, i);
    const int c = r->y.c;
    for (int w = run.w; w < run.w + run.count; w++) {
        float *v = tensor_at(r->d, r->y, run.t, run.h, w);
        const float *negative = tensor_at(r->d, r->x, run.t, run.h, w);
        const double before = r->b != 0.0f ? deviation(v, c) : 0.0;
        for (int k = 0; k < c; k++) v[k] = negative[k] + r->a * (v[k] - negative[k]);
        if (r->b != 0.0f) {
            r->d->kernels->row_scale(v, c, (float)(r->b * (before / deviation(v, c)) + 1.0 - r->b));
        }
    }
}

void cpu_guide(Dev *d, Tensor v, Tensor negative, float guidance, float rescale)
{
    if (d->memory == NULL) return;
    RowsTurn turn = {d, v, negative, (Tensor){0}, guidance, rescale};
    pool_run(d->pool, pixel_runs(v), guide_turn, &turn);
}

/* ------------------------------------------------------------------------------------------------ tokens rearranged */

typedef struct RotateRun {
    Dev *d;
    const RotateArgs *a;
} RotateRun;

static void rotate_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    const RotateRun *r = context;
    const RotateArgs *a = r->a;
    const PixelRun run = pixel_run(a->x, i);
    for (int n = 0; n < run.count; n++) {
        const int64_t token = ((int64_t)run.t * a->x.h + run.h) * a->x.w + run.w + n;
        float *x = tensor_at(r->d, a->x, run.t, run.h, run.w + n);
        const float *place = tensor_at(r->d, a->place, 0, 0, 0) + token * a->place.c_pad;
        for (int axis = 0; axis < 3; axis++) {
            const float *cs = tensor_at(r->d, a->table, (int)place[axis], 0, 0);
            for (int h = 0; h < a->heads; h++) {
                float *p = x + (int64_t)h * a->head_dim;
                for (int j = a->first[axis]; j < a->first[axis + 1]; j++) {
                    const float u = p[2 * j], v = p[2 * j + 1];
                    p[2 * j] = u * cs[2 * j] - v * cs[2 * j + 1];
                    p[2 * j + 1] = u * cs[2 * j + 1] + v * cs[2 * j];
                }
            }
        }
    }
}

void cpu_rotate(Dev *d, const RotateArgs *a)
{
    RotateRun r = {d, a};
    if (d->memory != NULL) pool_run(d->pool, pixel_runs(a->x), rotate_turn, &r);
}

typedef struct IndexRun {
    Dev *d;
    Tensor y, x;
    const int32_t *index;
} IndexRun;

static void index_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    const IndexRun *r = context;
    const PixelRun run = pixel_run(r->y, i);
    for (int n = 0; n < run.count; n++) {
        const int64_t from = r->index[((int64_t)run.t * r->y.h + run.h) * r->y.w + run.w + n];
        const int64_t row = from / r->x.w;
        memcpy(tensor_at(r->d, r->y, run.t, run.h, run.w + n),
               tensor_at(r->d, r->x, (int)(row / r->x.h), (int)(row % r->x.h), (int)(from % r->x.w)),
               (size_t)((r->y.c + 3) / 4 * 4) * sizeof(float));
    }
}

void cpu_rows(Dev *d, Tensor y, Tensor x, const int32_t *index)
{
    IndexRun r = {d, y, x, index};
    if (d->memory != NULL) pool_run(d->pool, pixel_runs(y), index_turn, &r);
}

/* ------------------------------------------------------------------------------------------------------- modulation */

void cpu_modulation(Dev *d, Tensor out, Tensor emb, int layer, int part, const BoundWeight *extra)
{
    dev_touch(d, extra);
    Scratch s = dev_scratch(d, (uint64_t)out.c);
    if (s.floats != NULL) {
        const float *add = dev_vector(d, extra, s.floats), *from = tensor_at(d, emb, 0, 0, 0);
        float *to = tensor_at(d, out, 0, 0, 0);
        for (int c = 0; c < out.c; c++) to[c] = from[(c * 2 + layer) * 3 + part] + (add == NULL ? 0.0f : add[c]);
        for (int c = out.c; c < out.c_pad; c++) to[c] = 0.0f;
    }
    dev_scratch_free(d, &s);
}

void cpu_modulation_row(Dev *d, Tensor out, float add, Tensor emb, int emb_row, const BoundWeight *table, int table_row)
{
    dev_touch(d, table);
    if (d->memory == NULL) return;
    float *to = tensor_at(d, out, 0, 0, 0);
    memset(to, 0, (size_t)out.c_pad * sizeof *to);
    if (table != NULL) bound_read(table, (int64_t)table_row * out.c, out.c, to);
    if (!floats_finite(to, out.c)) dev_damaged_weight(d, table->file, table->tensor->name);
    const float *from = emb.valid ? tensor_at(d, emb, 0, 0, 0) + (int64_t)emb_row * out.c : NULL;
    for (int c = 0; c < out.c; c++) to[c] += add + (from == NULL ? 0.0f : from[c]);
}
