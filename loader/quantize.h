/*
 * float32 to what convert stores. The other way is dequant.h.
 */
#ifndef UPRES_LOADER_QUANTIZE_H
#define UPRES_LOADER_QUANTIZE_H

#include "loader/weights.h"

/*
 * `count` floats as WT_F32, WT_F16, WT_BF16 or WT_Q8_0 (count a multiple of 32) at out. Rounding to nearest, ties to
 * even; Q8_0 as ggml does it: d = max |x| / 127 stored as half, q = x * (1 / d) with the unrounded d, ties away from
 * zero. false: a finite value does not fit (F16: above 65504), or a Q8_0 block holds one that is not finite.
 */
bool quantize(WeightType type, const float *x, int64_t count, uint8_t *out);

#endif
