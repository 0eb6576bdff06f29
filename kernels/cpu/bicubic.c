#include "kernels/cpu/bicubic.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { TAPS = 4 };

static double cubic(double x)
{
    const double a = -0.75;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

static int clamp_index(int i, int count)
{
    return i < 0 ? 0 : i >= count ? count - 1 : i;
}

bool bicubic_axis_init(ResizeAxis *a, int in, int out)
{
    assert(in >= 1 && out >= 1);
    int taps = in < TAPS ? in : TAPS;
    *a = (ResizeAxis){.in = in, .out = out, .taps = taps};
    a->first = malloc((size_t)out * sizeof *a->first);
    a->weight = calloc((size_t)out * (size_t)taps, sizeof *a->weight);
    if (!a->first || !a->weight) {
        resize_axis_free(a);
        return false;
    }
    for (int i = 0; i < out; i++) {
        double at = (i + 0.5) * in / out - 0.5;
        int low = (int)floor(at) - 1;
        int first = low < 0 ? 0 : low > in - taps ? in - taps : low;
        a->first[i] = first;
        /* Taps outside the picture count for the border sample, which always lies in the window. */
        for (int k = 0; k < TAPS; k++)
            a->weight[(size_t)i * (size_t)taps + (size_t)(clamp_index(low + k, in) - first)] +=
                (float)cubic(at - (low + k));
    }
    return true;
}
