/*
 * Spatial tiles along one axis: where they lie, and with what weight each sample of a tile counts where tiles overlap.
 * Rule of numz/ComfyUI-SeedVR2_VideoUpscaler (tiled_encode, tiled_decode): cut in latent cells, faded with half cosines.
 *
 * Along an axis of n latent cells: tiles of `tile` cells start every (tile - overlap) cells; one that holds nothing beyond
 * the overlap with its forerunner is left out. Weights of all tiles over one sample are divided by their sum when merged.
 */
#ifndef UPRES_RUNTIME_TILE_H
#define UPRES_RUNTIME_TILE_H

typedef struct TileSpan {
    int lo, hi; /* latent cells, hi exclusive */
} TileSpan;

/* Tiles over `cells` cells for a tile and an overlap given in pixels, `factor` pixels a cell (rounded down; an overlap at
 * or above the tile is cut to one cell less). out: at least the returned count; NULL to count. */
int tile_spans(int cells, int tile_px, int overlap_px, int factor, TileSpan *out);

/* The overlap in cells that tile_spans uses. */
int tile_overlap_cells(int tile_px, int overlap_px, int factor);

/*
 * Weights of a tile's samples along one axis: 1, with a rise of half a cosine over the first samples unless the tile
 * begins the picture, and a fall over the last ones unless it ends it. samples: how many the tile
 * has; ramp: length of the fades in samples, cut to samples - 1. Where both fades meet the
 * fall counts.
 */
void tile_weights(TileSpan s, int cells, int ramp, int samples, float *out);

#endif
