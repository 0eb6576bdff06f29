/*
 * The image work of a job: source frames to encoder input, decoded pictures to results. One frame at a time but for
 * what a slice decides together (alpha: mask or gradient; colour: histograms over a batch).
 *
 * Pictures are planar float32: [3][h][w], signed between encoder and decoder, unit when finished. A Pictures belongs to
 * one thread; it holds tables and scratch for one frame (for one slice with histograms over batches), no frames.
 */
#ifndef UPRES_RUNTIME_PICTURE_H
#define UPRES_RUNTIME_PICTURE_H

#include "runtime/options.h"
#include "runtime/picture_device.h"
#include "runtime/size.h"

#include <stdbool.h>

typedef struct PictureSetup {
    const upres_options *options; /* checked and settled (options.h); must outlive the Pictures */
    int width, height, channels;  /* of source frames */
    int bits;                     /* 8..16: interleaved codes, rows without gaps; 0: planar float32 in 0..1 */
    SizePlan size;
    int slice_frames;         /* the most a slice holds */
    PictureDevice *device;    /* that is asked first; NULL: none. Outlives the Pictures */
    PictureForm form;         /* in which the device may give results; all zero: none */
    bool inputs_only;         /* pictures_input is all that will be asked for */
    bool alpha_zeros_outside; /* box means of the alpha filter count zeros outside the picture, as in the sources */
} PictureSetup;

typedef struct Pictures Pictures;

/* Can this be done at all? UPRES_E_ARGUMENT when a slice has too many pixels to be ranked together. */
bool pictures_check(const PictureSetup *s, Fault *f);

Pictures *pictures_open(const PictureSetup *s, Fault *f);
void pictures_close(Pictures *p);
uint64_t pictures_bytes(const PictureSetup *s); /* what one holds, about */
/* What the setup's device takes of such a GPU's memory for it (picture_device_need). inputs: pictures_input is asked for, of
 * inputs_only nothing else. frame: as PictureJob has it. */
uint64_t pictures_device_bytes(const PictureSetup *s, const DevSetup *d, bool inputs, Prediction *frame);

bool pictures_has_alpha(const PictureSetup *s);    /* results have a fourth plane */
bool pictures_whole_slices(const PictureSetup *s); /* results depend on all frames of a slice */

/* Encoder input of a source frame: out [3][padded_h][padded_w] in [-1, 1], with input noise of an absolute frame. */
void pictures_input(Pictures *p, const void *source, int64_t noise_frame, float *out);

/*
 * A slice, in order: begin; gather every frame; alpha of every frame; color_slice; then finish frame by frame.
 * rgb: decoded, signed [3][true_h][true_w]; alpha: [true_h][true_w]. Without whole_slices a slice is one frame.
 */
void pictures_slice_begin(Pictures *p);
void pictures_slice_gather(Pictures *p, const void *source, const float *rgb);
void pictures_alpha(Pictures *p, const void *source, const float *rgb, float *alpha);
void pictures_color_slice(Pictures *p, const void *const *source, float *const *rgb, int count);
/* A result that is asked for soon, as pictures_finish will be: a device may begin with it (runtime/picture_device.h). */
void pictures_ahead(Pictures *p, const void *source, int64_t number, float *rgb, const float *alpha);
/* Colour and strength of result `number`: as codes in the setup's form, valid until the next call; or, when it returns NULL, rgb
 * becomes unit. alpha: NULL without one. */
const void *pictures_finish(Pictures *p, const void *source, int64_t number, float *rgb, const float *alpha);

#endif
