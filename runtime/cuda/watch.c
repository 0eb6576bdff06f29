#include "runtime/cuda/watch.h"

#include <string.h>

static void hash(CudaWatch *w, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < bytes; i++) w->launches = (w->launches ^ at[i]) * 1099511628211u; /* FNV-1a */
}

void cuda_watch_launch(CudaWatch *w, const char *function, CudaGrid grid)
{
    if (w == NULL) return;
    const unsigned shape[] = {grid.x, grid.y, grid.z, grid.threads, grid.shared};
    hash(w, function, strlen(function));
    hash(w, shape, sizeof shape);
    if (strncmp(function, "flash_", 6) == 0) w->attention = function;
}

void cuda_watch_product(CudaWatch *w, const CudaGemm *g, Element type, const CudaGemmTile *tile)
{
    double depth = 0;
    if (w == NULL) return;
    for (int i = 0; i < g->parts; i++) depth += (double)g->part[i].taps * g->part[i].depth;
    const double times = (g->batch > 1 ? g->batch : 1) * (g->glu ? 2 : 1);
    const double flop = 2.0 * depth * g->images * g->rows * g->columns * g->n * times;
    if (flop <= w->flop) return;
    w->flop = flop;
    w->product = *g;
    w->type = type;
    w->tile = *tile;
}
