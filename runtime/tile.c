#include "runtime/tile.h"

#include <math.h>
#include <stddef.h>

static int max_int(int a, int b) { return a > b ? a : b; }
static int min_int(int a, int b) { return a < b ? a : b; }

int tile_overlap_cells(int tile_px, int overlap_px, int factor)
{
    int tile = max_int(1, tile_px / factor);
    return max_int(0, min_int(overlap_px / factor, tile - 1));
}

int tile_spans(int cells, int tile_px, int overlap_px, int factor, TileSpan *out)
{
    int tile = max_int(1, tile_px / factor);
    int overlap = tile_overlap_cells(tile_px, overlap_px, factor);
    int step = tile - overlap;
    int count = 0;
    for (int lo = 0; lo < cells; lo += step) {
        int hi = min_int(lo + tile, cells);
        if (lo > 0 && hi - lo <= overlap) continue;
        if (out != NULL) out[count] = (TileSpan){lo, hi};
        count++;
    }
    return count;
}

/* Sample i of a half cosine that rises from 0 to 1 in `length` steps, both ends included; length 1 is [0]. */
static float rise(int i, int length)
{
    double t = length > 1 ? (double)i / (length - 1) : 0.0;
    return (float)(0.5 - 0.5 * cos(3.14159265358979323846 * t));
}

void tile_weights(TileSpan s, int cells, int ramp, int samples, float *out)
{
    int n = max_int(0, min_int(ramp, samples - 1));
    for (int i = 0; i < samples; i++) out[i] = 1.0f;
    if (s.lo > 0) {
        for (int i = 0; i < n; i++) out[i] = rise(i, ramp);
    }
    if (s.hi < cells) {
        for (int i = 0; i < n; i++) out[samples - n + i] = 1.0f - rise(i, ramp);
    }
}
