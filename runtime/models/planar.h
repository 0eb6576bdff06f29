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
/* The same of a whole frame of `planes` planes whose samples become channels of larger cells. */
void planar_read_cells(Dev *d, VaeVideo source, int64_t frame, int planes, const PlaneCells *cells, Tensor to);

/* A rectangle of a frame. In its first done_rows rows, and in the first done_columns columns of the others, something stands
 * already, to which is added. */
typedef struct PlanarPlace {
    int64_t frame;
    int y, x, h, w;
    int done_rows, done_columns;
} PlanarPlace;

/* Where results go. On a GPU the last is on its way while the work behind it is given out already, and is written before the next
 * one sets out. All zero but for the sink at first. */
typedef struct PlanarSink {
    VaeVideo sink;
    int64_t delivered; /* results that were on their way, so far */
    const void *out;   /* NULL: none is */
    PlanarPlace place;
    Tensor shape, planes; /* planes: the device's memory */
} PlanarSink;

/* Write from [1][h][w][c] there, weighted where weights are given; where `from` is the smaller, zeros. Errors and plans as
 * above; what is empty is not written. */
void planar_write(Dev *d, PlanarSink *s, const PlanarPlace *place, Tensor from, const PlaneWeights *weights);
/* Wait for what is on its way and write it, also after a later failure of the device. False: nothing was, or it failed. */
bool planar_deliver(Dev *d, PlanarSink *s);
/* The device's memory is given back; what is on its way stays so. */
void planar_release(Dev *d, PlanarSink *s);
void planar_finish(Dev *d, PlanarSink *s); /* both */
void planar_close(Dev *d, PlanarSink *s); /* the same, and what is on its way is dropped */

#endif
