#include "tests/pipeline_input.h"

#include <stdlib.h>
#include <string.h>

static void fill_ramp(const JsonTree *d, const int64_t shape[4], float *x)
{
    const JsonTree *base = json_get(d, "base"), *gx = json_get(d, "gx"), *gy = json_get(d, "gy");
    double gt = json_number(json_get(d, "gt"), 0), amp = json_number(json_get(d, "amp"), 0);
    bool clip = json_bool(json_get(d, "clip01"), false);
    double across = shape[3] > 1 ? (double)(shape[3] - 1) : 1, down = shape[2] > 1 ? (double)(shape[2] - 1) : 1;
    synth_unit(json_string(json_get(d, "name"), ""), shape[0] * shape[1] * shape[2] * shape[3], x);
    for (int64_t t = 0; t < shape[0]; t++) {
        for (int64_t c = 0; c < shape[1]; c++) {
            double b = json_number(json_at(base, (int)c), 0);
            double dx = json_number(json_at(gx, (int)c), 0), dy = json_number(json_at(gy, (int)c), 0);
            for (int64_t row = 0; row < shape[2]; row++) {
                for (int64_t column = 0; column < shape[3]; column++, x++) {
                    double v =
                        b + dx * (double)column / across + dy * (double)row / down + gt * (double)t + amp * (double)*x;
                    if (clip) v = v < 0 ? 0 : v > 1 ? 1 : v;
                    *x = (float)v;
                }
            }
        }
    }
}

static void fill_disc(const int64_t shape[4], float *x)
{
    double h = (double)shape[2], w = (double)shape[3];
    for (int64_t t = 0; t < shape[0]; t++) {
        for (int64_t c = 0; c < shape[1]; c++) {
            for (int64_t row = 0; row < shape[2]; row++) {
                for (int64_t column = 0; column < shape[3]; column++) {
                    double dy = 2 * (double)row - h + 1, dx = 2 * (double)column - w + 1 - 4 * (double)t;
                    *x++ = dy * dy + dx * dx < h * h * 0.49 ? 1.0f : 0.0f;
                }
            }
        }
    }
}

float *pipeline_input(Golden *g, const JsonTree *description, int64_t shape[4])
{
    const char *kind = json_string(json_get(description, "kind"), "synth");
    const JsonTree *extents = json_get(description, "shape");
    int64_t count = 1;
    for (int i = 0; i < 4; i++) {
        shape[i] = json_int(json_at(extents, i), 0);
        count = shape[i] > 0 && shape[i] < (1 << 20) && count < (1 << 28) ? count * shape[i] : 0;
    }
    if (json_count(extents) != 4 || count <= 0) {
        golden_fail(g, "an input of the case has no usable shape of four extents");
        return NULL;
    }
    float *x = malloc((size_t)count * sizeof *x);
    if (x == NULL) {
        golden_fail(g, "out of memory for the input");
    } else if (!strcmp(kind, "synth")) {
        synth_tensor(json_string(json_get(description, "name"), ""), count,
                     (float)json_number(json_get(description, "mean"), 0),
                     (float)json_number(json_get(description, "scale"), 1), x);
    } else if (!strcmp(kind, "ramp")) {
        fill_ramp(description, shape, x);
    } else if (!strcmp(kind, "disc")) {
        fill_disc(shape, x);
    } else {
        golden_fail(g, "the input kind '%s' is not known", kind);
        free(x);
        x = NULL;
    }
    return x;
}
