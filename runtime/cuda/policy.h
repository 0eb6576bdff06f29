/*
 * The precision policy of a CUDA device: in what each stage of a network (runtime/dev.h) multiplies.
 *
 * BF16 and FP32 are what they say throughout. In the others the first two stages of a network, where values enter it and leave
 * it, and layers that read fewer than 128 channels multiply as BF16: they would lose more than they gain.
 *
 *     INT8   all other layers in blocks of 128 channels
 *     FP8    e4m3; convolutions that read 512 channels and more in int8, which weigh more in a decoder's error than in its time
 *     FP8X3  pairs of e4m3
 *     AUTO   INT8 in the networks, or those of their layers, whose loss with it was measured on released widths and leaves
 *            POLICY_LUMA_DB, else BF16.
 *            Weights stored as 8-bit floats are computed as stored: BF16 holds them exactly, another rounding would not.
 */
#ifndef UPRES_RUNTIME_CUDA_POLICY_H
#define UPRES_RUNTIME_CUDA_POLICY_H

#include "runtime/dev.h"

#include <stddef.h>

/* Of 8-bit pictures, luma against float32: what a network keeps at least where AUTO lets it compute in INT8. */
#define POLICY_LUMA_DB 40.0

/* stored: of the layer's weights; NULL: it has none, or several. */
Element policy_element(DevPrecision p, int stage, int channels, const BoundWeight *stored);

/* What AUTO does, and why, for people. */
void policy_sentence(char *text, size_t size);

#endif
