/*
 * Inputs of pipeline cases, made from their descriptions (goldens_pipeline_input.c).
 */
#ifndef UPRES_TESTS_PIPELINE_INPUT_H
#define UPRES_TESTS_PIPELINE_INPUT_H

#include "tests/goldens.h"

/*
 * A clip [frames][channels][h][w] (or any four extents), float32, by its key `kind`:
 *
 *   synth   synth_tensor of `name`, `mean`, `scale`
 *
 *   ramp    base_c + gx_c x / max(w - 1, 1) + gy_c y / max(h - 1, 1) + gt t + amp u in double, u = synth_unit of
 *           `name`; clipped to [0, 1] when `clip01`; rounded once
 *
 *   disc    1 where (2y - h + 1)^2 + (2x - w + 1 - 4t)^2 < 0.49 h^2, else 0
 *
 * malloc'ed; NULL: the failure is recorded.
 */
float *pipeline_input(Golden *g, const JsonTree *description, int64_t shape[4]);

#endif
