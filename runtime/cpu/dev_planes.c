/* Pictures between planes and pixels on the CPU's threads. */
#include "runtime/dev_internal.h"

#include <math.h>

typedef struct PlanesRun {
    Dev *d;
    Tensor planes, pixels;
    const PlaneCells *cells;
    const PlaneWeights *weights;
} PlanesRun;

static float *plane_row(const PlanesRun *r, int plane, int y) { return tensor_at(r->d, r->planes, plane, y, 0); }

/* Row y of all planes. */
static void to_pixels_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    const PlanesRun *r = context;
    const int y = (int)i, side = r->cells->side, c = r->planes.t;
    for (int p = 0; p < c; p++) {
        const float *from = plane_row(r, p, y);
        const int channel = ((p * r->cells->step + r->cells->first) * side + y % side) * side;
        for (int u = 0; u * side < r->planes.c; u++) {
            float *to = tensor_at(r->d, r->pixels, 0, y / side, u) + channel;
            for (int x = 0; x < side; x++) to[x] = from[u * side + x];
        }
    }
    for (int u = 0; side == 1 && c % 4 != 0 && u < r->planes.c; u++) {
        float *to = tensor_at(r->d, r->pixels, 0, y, u);
        for (int k = c; k < (c + 3) / 4 * 4; k++) to[k] = 0.0f;
    }
}

void cpu_from_planes(Dev *d, Tensor pixels, Tensor planes, const PlaneCells *cells)
{
    PlanesRun r = {.d = d, .planes = planes, .pixels = pixels, .cells = cells};
    if (d->memory != NULL) pool_run(d->pool, planes.h, to_pixels_turn, &r);
}

/* What sample x of a row is multiplied by. */
static float weight_at(float row, const float *columns, const float *total, int x)
{
    return total == NULL ? row * columns[x] : fminf(row, columns[x]) / total[x];
}

static void to_planes_turn(void *context, int64_t i, int thread)
{
    (void)thread;
    const PlanesRun *r = context;
    const PlaneWeights *w = r->weights;
    const int y = (int)i, count = y >= r->pixels.h ? 0 : r->pixels.w < r->planes.c ? r->pixels.w : r->planes.c;
    const float *from = count > 0 ? tensor_at(r->d, r->pixels, 0, y, 0) : NULL;
    for (int p = 0; p < r->planes.t; p++) {
        float *to = plane_row(r, p, y);
        for (int x = 0; x < count; x++) to[x] = from[(int64_t)x * r->pixels.c_pad + p];
        for (int x = count; x < r->planes.c; x++) to[x] = 0.0f;
    }
    if (w == NULL || count == 0) return;
    const float row = tensor_at(r->d, w->rows, 0, 0, 0)[y], *columns = tensor_at(r->d, w->columns, 0, 0, 0);
    const float *total = w->total.valid ? tensor_at(r->d, w->total, 0, y, 0) : NULL;
    for (int x = 0; x < count; x++) {
        const float weight = weight_at(row, columns, total, x);
        for (int p = 0; p < r->planes.t; p++) plane_row(r, p, y)[x] *= weight;
    }
}

void cpu_to_planes(Dev *d, Tensor planes, Tensor pixels, const PlaneWeights *weights)
{
    PlanesRun r = {.d = d, .planes = planes, .pixels = pixels, .weights = weights};
    if (d->memory != NULL) pool_run(d->pool, planes.h, to_planes_turn, &r);
}
