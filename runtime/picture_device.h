/*
 * The image work of a job by a GPU, where it has room beside the networks: source frames resized for the networks, decoded pictures
 * coloured and made codes. Results are those of the host, bit for bit, so whoever asks does the work itself where this cannot.
 */
#ifndef UPRES_RUNTIME_PICTURE_DEVICE_H
#define UPRES_RUNTIME_PICTURE_DEVICE_H

#include "runtime/cuda/prediction.h"
#include "runtime/dev.h"

typedef struct PictureDevice PictureDevice;

/* Bytes of the device's memory that may be taken: `least`, when something is first asked for, so that what a job needs at most is
 * taken once; where more is asked for than was foreseen up to `most`. NULL where the device is the CPU, or without memory. What s
 * points to outlives it. */
PictureDevice *picture_device_open(const DevSetup *s, uint64_t least, uint64_t most);
void picture_device_close(PictureDevice *p); /* NULL is allowed */

/* Pictures without gaps, signed [frames][3][h][w]; what is done to `content` in place is said by kernels/cpu/color.h. */
typedef struct PictureColors {
    ColorMethod method;
    bool uncapped, population; /* as in ColorArgs */
    int frames, h, w;
    const float *style;
    float *content;
} PictureColors;

/* Of all below: false: not done, and what was given as it was. p may be NULL. */

bool picture_device_color(PictureDevice *p, const PictureColors *c);

/* A source frame, and the signed planes of out_h x out_w that are made of it. */
typedef struct PictureSource {
    const void *codes; /* interleaved, rows without gaps */
    int width, height, channels, bits;
    int steps; /* resizes, 1 or 2 */
    const struct ResizeAxis *columns[2], *rows[2];
    ResizeWindow window; /* of the last */
    int out_h, out_w;
} PictureSource;

/* Those planes, with noise over them where noise > 0 (dev_input_noise): out [3][out_h][out_w]. */
bool picture_device_input(PictureDevice *p, const PictureSource *s, double noise, uint64_t seed, int64_t frame, float *out);

/* How results are written. */
typedef struct PictureForm {
    int channels, bits; /* bits 0: as floats alone */
    bool dither;
    uint64_t seed;
} PictureForm;

/* A decoded picture to codes. */
typedef struct PictureResult {
    PictureColors colors;       /* one frame; content is but read, style is not looked at */
    const PictureSource *style; /* h x w of the colours; NULL: neither colour nor strength is asked for */
    float strength;
    int top, left, h, w;        /* what is kept */
    const float *alpha;         /* unit [h][w]; NULL: none */
    PictureForm form;
    int64_t frame;              /* for its noise */
    void *codes;                /* [h][w][channels] */
} PictureResult;
bool picture_device_finish(PictureDevice *p, const PictureResult *r);

/* The largest work of each kind that a job asks for; NULL: none. Pixels and tables' values are not looked at. */
typedef struct PictureJob {
    const PictureSource *input;
    const PictureColors *slice;   /* colours by slices */
    const PictureResult *result;  /* or, where it cannot be finished there, its colours */
    Prediction *frame;            /* what is predicted for a frame is added to it */
} PictureJob;

/* Bytes that this takes at most; 0 on the CPU. */
uint64_t picture_device_need(const DevSetup *s, const PictureJob *j);
/* The same where a limit (0: none) leaves room for it beside what the networks take; else 0. */
uint64_t picture_device_beside(uint64_t need, uint64_t limit, uint64_t taken);

/*
 * A result that is asked for soon: the device begins with it, behind the results begun before, and its codes come down while
 * further ones are made. They are handed out by picture_device_finish for the same frame and content, which must not change until
 * then. PICTURES_AHEAD are begun at most, further hints are not looked at. What was begun before a result that is asked for first
 * is dropped.
 */
enum { PICTURES_AHEAD = 2 }; /* DEV_OUT_MOST at most */
void picture_device_ahead(PictureDevice *p, const PictureResult *r);

#endif
