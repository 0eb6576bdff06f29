#include "runtime/stream_size.h"

#include <stddef.h>

static int up(int n)
{
    return (n + STREAM_MULTIPLE - 1) / STREAM_MULTIPLE * STREAM_MULTIPLE;
}

StreamSize stream_size(int h, int w, double scale)
{
    StreamSize s = {.scaled_h = (int)(h * scale), .scaled_w = (int)(w * scale)};
    s.padded_h = up(s.scaled_h);
    s.padded_w = up(s.scaled_w);
    s.top = (s.padded_h - s.scaled_h) / 2;
    s.left = (s.padded_w - s.scaled_w) / 2;
    return s;
}

int64_t stream_lossless_frames(int64_t count)
{
    return count < 21 ? 21 : (count + 2) / 8 * 8 + 5;
}

int64_t stream_fed_frames(int64_t count)
{
    return (count + 3) / 8 * 8 + 1;
}

int64_t stream_chunk_first(int64_t chunk)
{
    return chunk ? 8 * chunk + 13 : 0;
}

int64_t stream_chunk_of(int64_t frame)
{
    return frame < 21 ? 0 : (frame - 13) / 8;
}

int64_t stream_chunks(int64_t count)
{
    return stream_chunk_of(count - 1) + 1;
}

int stream_tiles(int length, int size, int overlap, StreamTile *out)
{
    int step = size - overlap, count = 0;
    for (int lo = 0; count == 0 || lo < length - overlap; lo += step) {
        int hi = lo + size < length ? lo + size : length;
        if (out) out[count] = (StreamTile){hi - size > 0 ? hi - size : 0, hi};
        count++;
    }
    return count;
}

/* Sample i of a straight line from 0 to 1 over `length` samples, both ends included; a single sample is 0. */
static float rise(int i, int length)
{
    return length > 1 ? (float)((double)i / (length - 1)) : 0.0f;
}

void stream_tile_weights(int count, int overlap, bool before, bool after, float *out)
{
    for (int i = 0; i < count; i++) {
        float a = before && i < overlap ? rise(i, overlap) : 1.0f;
        float b = after && count - 1 - i < overlap ? rise(count - 1 - i, overlap) : 1.0f;
        out[i] = a < b ? a : b;
    }
}
