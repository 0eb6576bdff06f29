#include "runtime/size.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>

static int min_int(int a, int b)
{
    return a < b ? a : b;
}
static int max_int(int a, int b)
{
    return a > b ? a : b;
}
static int up_to_16(int n)
{
    return (n + 15) / 16 * 16;
}

int size_resolution(int h, int w, double scale)
{
    return (int)floor(scale * min_int(h, w) + 0.5);
}

/* The one check of results: `least` and SIZE_LARGEST, for either side. */
static bool sides_fit(int h, int w, int from_h, int from_w, int least, char *error, size_t error_size)
{
    if (min_int(h, w) >= least && max_int(h, w) <= SIZE_LARGEST) return true;
    const char *step = min_int(h, w) < least ? "ask for a larger result" : "ask for a smaller result";
    snprintf(error, error_size, "a source of %dx%d would become %dx%d, but each side must be %d to %d: %s", from_w,
             from_h, w, h, least, (int)SIZE_LARGEST, step);
    return false;
}

static void add_step(SizePlan *p, int h, int w)
{
    p->step[p->steps][0] = h;
    p->step[p->steps][1] = w;
    p->steps++;
}

bool size_shortest_edge(int h, int w, int resolution, int max_resolution, bool parity, SizePlan *out, char *error,
                        size_t error_size)
{
    if (resolution < 16) {
        snprintf(error, error_size, "a resolution (shorter side) of %d is too small: it must be at least 16; ask for a larger result",
                 resolution);
        return false;
    }
    int shorter = min_int(h, w), longer = max_int(h, w);
    double exact = (double)resolution * longer / shorter;
    if (exact > INT32_MAX) exact = INT32_MAX; /* refused below, unless the limit brings it down */
    int new_h = w <= h ? (int)exact : resolution, new_w = w <= h ? resolution : (int)exact;

    *out = (SizePlan){0};
    if (max_resolution > 0 && max_int(new_h, new_w) > max_resolution) {
        if (parity && (new_h != h || new_w != w)) add_step(out, new_h, new_w);
        double scale = (double)max_resolution / max_int(new_h, new_w);
        new_h = (int)rint(new_h * scale);
        new_w = (int)rint(new_w * scale);
    }
    int before_h = out->steps > 0 ? out->step[0][0] : h, before_w = out->steps > 0 ? out->step[0][1] : w;
    if (new_h != before_h || new_w != before_w) add_step(out, new_h, new_w);

    out->resized_h = out->window_h = new_h;
    out->resized_w = out->window_w = new_w;
    if (!sides_fit(new_h, new_w, h, w, 2, error, error_size)) return false;
    if (out->steps > 1 && !sides_fit(before_h, before_w, h, w, 2, error, error_size)) return false;
    out->true_h = new_h / 2 * 2;
    out->true_w = new_w / 2 * 2;
    out->padded_h = up_to_16(new_h);
    out->padded_w = up_to_16(new_w);
    return true;
}

bool size_area(int h, int w, int fit_h, int fit_w, SizePlan *out, char *error, size_t error_size)
{
    /* The root is taken and squared again because the original does so: the last bit decides some roundings. */
    double root = pow((double)fit_h * fit_w, 0.5);
    double scale = sqrt(pow(root, 2.0) / ((double)h * w));
    double exact_h = rint(h * scale), exact_w = rint(w * scale);
    *out = (SizePlan){0};
    out->resized_h = (int)fmin(exact_h, INT32_MAX);
    out->resized_w = (int)fmin(exact_w, INT32_MAX);
    if (!sides_fit(out->resized_h, out->resized_w, h, w, 16, error, error_size)) return false;
    if (out->resized_h != h || out->resized_w != w) add_step(out, out->resized_h, out->resized_w);
    out->window_h = out->true_h = out->padded_h = out->resized_h / 16 * 16;
    out->window_w = out->true_w = out->padded_w = out->resized_w / 16 * 16;
    out->top = (int)rint((out->resized_h - out->window_h) / 2.0);
    out->left = (int)rint((out->resized_w - out->window_w) / 2.0);
    return true;
}
