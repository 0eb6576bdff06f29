/*
 * Colours of pictures by a GPU, where it has room beside the networks. Results are those of the host, bit for bit, so whoever
 * asks does the work itself where this cannot.
 */
#ifndef UPRES_RUNTIME_PICTURE_DEVICE_H
#define UPRES_RUNTIME_PICTURE_DEVICE_H

#include "runtime/dev.h"

typedef struct PictureDevice PictureDevice;

/* room: bytes of the device's memory that may be taken, when they are first needed. NULL where the device is the CPU, or
 * without memory. What s points to outlives it. */
PictureDevice *picture_device_open(const DevSetup *s, uint64_t room);
void picture_device_close(PictureDevice *p); /* NULL is allowed */

/* Pictures without gaps, signed [frames][3][h][w]; what is done to `content` in place is said by kernels/cpu/color.h. */
typedef struct PictureColors {
    ColorMethod method;
    bool uncapped, population; /* as in ColorArgs */
    int frames, h, w;
    const float *style;
    float *content;
} PictureColors;

/* false: not done, and content as it was. p may be NULL. */
bool picture_device_color(PictureDevice *p, const PictureColors *c);

#endif
