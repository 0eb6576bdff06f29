/*
 * Stored elements and quantization blocks as float32.
 *
 * Every conversion rounds at most once, so the result is one exact set of bits whatever the order of the arithmetic
 * (GGML's block layouts; the derivation stands beside each function in dequant.c).
 */
#ifndef UPRES_LOADER_DEQUANT_H
#define UPRES_LOADER_DEQUANT_H

#include "loader/weights.h"

/* `blocks` whole blocks (elements, for plain types) at src, any alignment, to blocks * weight_type_block(t) floats. */
void dequantize(WeightType t, const uint8_t *src, int64_t blocks, float *out);

/* A half as float32; NaN keeps its sign and payload. */
float half_to_float(uint16_t h);

#endif
