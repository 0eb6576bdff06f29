/*
 * The image work of the streaming pipeline: source frames to padded low-quality frames, decoded pictures to results.
 * One frame at a time. A StreamPictures belongs to one thread; it holds tables and scratch, and the low-quality frame
 * made last.
 */
#ifndef UPRES_RUNTIME_STREAM_PICTURE_H
#define UPRES_RUNTIME_STREAM_PICTURE_H

#include "runtime/options.h"
#include "runtime/picture_device.h"
#include "runtime/stream_size.h"

typedef struct StreamPictureSetup {
    const upres_options *options; /* settled for FlashVSR; must outlive the StreamPictures */
    int width, height, channels;  /* of source frames */
    int bits;                     /* 8..16: interleaved codes, rows without gaps */
    StreamSize size;
    PictureDevice *device; /* that is asked first; NULL: none. Outlives the StreamPictures */
    PictureForm form;      /* in which the device may give results; all zero: none */
    bool clamp; /* decoded pictures go to [-1, 1] before the colour correction */
    bool low_only; /* stream_pictures_low is all that will be asked for */
} StreamPictureSetup;

typedef struct StreamPictures StreamPictures;

StreamPictures *stream_pictures_open(const StreamPictureSetup *s, Fault *f);
void stream_pictures_close(StreamPictures *p);
uint64_t stream_pictures_bytes(const StreamPictureSetup *s); /* what one holds */
uint64_t stream_pictures_device_bytes(const StreamPictureSetup *s, const DevSetup *d, Prediction *frame); /* as pictures_device_bytes */
bool stream_pictures_has_alpha(const StreamPictureSetup *s); /* results have a fourth plane */

/* What the networks see of source frame `number`: signed [3][padded_h][padded_w], not clamped; valid until another
 * frame is asked for. */
const float *stream_pictures_low(StreamPictures *p, const void *source, int64_t number);

/* A picture without alpha that is asked for soon, as stream_pictures_finish will be: a device may begin with it. */
void stream_pictures_ahead(StreamPictures *p, const void *source, int64_t number, float *decoded);
/*
 * A decoded picture, signed [3][padded_h][padded_w] (changed), to a result: colour over the whole padded picture,
 * strength, cut to size. As codes in the setup's form, valid until the next call; or, when it returns NULL, rgb unit
 * [3][scaled_h][scaled_w]; alpha [scaled_h][scaled_w] when results have one.
 */
const void *stream_pictures_finish(StreamPictures *p, const void *source, int64_t number, float *decoded,
                                   float *rgb, float *alpha);

#endif
