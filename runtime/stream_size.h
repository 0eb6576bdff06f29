/*
 * Sizes and counts of the streaming pipeline: scaled and padded pictures, frames fed and given, chunks, tiles. Pure
 * functions. Rules of OpenImagingLab/FlashVSR and naxci1/ComfyUI-FlashVSR_Stable, without their losses.
 */
#ifndef UPRES_RUNTIME_STREAM_SIZE_H
#define UPRES_RUNTIME_STREAM_SIZE_H

#include <stdbool.h>
#include <stdint.h>

enum { STREAM_MULTIPLE = 128, STREAM_FIRST_FRAMES = 25, STREAM_NEXT_FRAMES = 8, STREAM_AHEAD = 4 };

typedef struct StreamSize {
    int scaled_h, scaled_w; /* what is written: side * scale, rounded down */
    int padded_h, padded_w; /* what the networks see: up to multiples of 128 */
    int top, left;          /* of the scaled picture in the padded one */
} StreamSize;

/* h, w: of source frames; scale 1 and up. */
StreamSize stream_size(int h, int w, double scale);

/* Frames a clip of `count` >= 1 frames is made up to by repeating the last one: 8k + 5, at least 21. So many come out. */
int64_t stream_lossless_frames(int64_t count);
/* Frames that are fed for `count` frames by the released rule: 8k + 1 of count + 4, at least none; 4 fewer come out. */
int64_t stream_fed_frames(int64_t count);

/* Chunks of a clip; frames out of chunk k: stream_chunk_first(k) up to stream_chunk_first(k + 1), not included. Chunk k
 * looks at STREAM_AHEAD frames beyond those. */
int64_t stream_chunks(int64_t count);
int64_t stream_chunk_first(int64_t chunk);
int64_t stream_chunk_of(int64_t frame); /* the chunk a frame comes out of */

/* One tile along an axis. */
typedef struct StreamTile {
    int lo, hi;
} StreamTile;

/* Tiles of `size` every size - overlap over `length`; the last is moved back to end at the border, or cut when it is
 * the only one. out: at least as many as are returned; NULL to count. 0 <= overlap < size. */
int stream_tiles(int length, int size, int overlap, StreamTile *out);

/*
 * Weight of every sample of a tile along one axis: 1, but for straight ramps of `overlap` samples, from 0 on the
 * outermost one, where `before` and `after` say that a neighbour is. A ramp longer than the tile is cut; where both
 * meet the lower counts. The weight of a pixel is the lesser of its row's and its column's.
 */
void stream_tile_weights(int count, int overlap, bool before, bool after, float *out);

#endif
