/*
 * Sizes: from a source's size and a wish to what is written and to what the networks see. Pure functions.
 */
#ifndef UPRES_RUNTIME_SIZE_H
#define UPRES_RUNTIME_SIZE_H

#include <stdbool.h>
#include <stddef.h>

enum { SIZE_LARGEST = 65536 }; /* longest side that is served */

typedef struct SizePlan {
    int steps;                /* resizes, 0..2 */
    int step[2][2];           /* height and width after each */
    int resized_h, resized_w; /* after the last one */
    int top, left;            /* of the part kept; 0 but for the area rule */
    int window_h, window_w;   /* of the part kept: what is resized, or its centred crop */
    int true_h, true_w;       /* what is written: the first rows and columns of the padded picture */
    int padded_h, padded_w;   /* what the networks see: multiples of 16 */
} SizePlan;

/* floor(scale * short side + 0.5): the resolution that a scale means. */
int size_resolution(int h, int w, double scale);

/*
 * Rule of numz/ComfyUI-SeedVR2_VideoUpscaler: the shorter side becomes `resolution`; when the longer one then passes
 * max_resolution (0: no limit) both shrink in proportion. Written: rounded down to even; networks: up to multiples
 * of 16. parity: a limited size is reached in two resizes, as there; otherwise in one to the same size.
 *
 * false and a sentence: resolution below 16, a side of the result below 2 or above SIZE_LARGEST.
 */
bool size_shortest_edge(int h, int w, int resolution, int max_resolution, bool parity, SizePlan *out, char *error,
                        size_t error_size);

/*
 * Rule of ByteDance-Seed/SeedVR: keep the shape, take the area of fit_h x fit_w, cut centred to multiples of 16.
 * false and a sentence: a side of the result below 16 or above SIZE_LARGEST.
 */
bool size_area(int h, int w, int fit_h, int fit_w, SizePlan *out, char *error, size_t error_size);

#endif
