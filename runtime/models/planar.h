/*
 * Frames between the host's planar samples and a network's tensors.
 */
#ifndef UPRES_RUNTIME_MODELS_PLANAR_H
#define UPRES_RUNTIME_MODELS_PLANAR_H

#include "runtime/dev.h"
#include "runtime/models/seedvr2_vae.h" /* VaeVideo: samples by position */

/* A rectangle of every frame of x: a view, freed with x. */
Tensor tensor_window(Tensor x, int top, int left, int h, int w);

/* Read the rectangle of to's size at (y, x) of a frame into to [1][h][w][c], the padding of its pixels zero. A read
 * that fails latches the device's error. On a plan: only the memory. */
void planar_read(Dev *d, VaeVideo source, int64_t frame, int y, int x, Tensor to);

/* Write from [1][h][w][c] to (y, x) of a frame, or add it to what is there; errors and plans as above. An empty
 * rectangle is not written. */
void planar_write(Dev *d, VaeVideo sink, int64_t frame, int y, int x, Tensor from, bool add);

#endif
