/* Mean and deviation of one picture given to another (Huang and Belongie, "Arbitrary style transfer in real-time with
 * adaptive instance normalization", 2017). */
#include "kernels/cpu/color.h"

#include "kernels/cpu/clamp.h"

#include <math.h>

typedef struct Moments {
    float mean, deviation;
} Moments;

/* Sums have 32 lanes, which take values in turn and are added by halves: rows, then the sums of rows. A GPU's order, too. */
enum { LANES = 32 };

static double lanes_sum(double lane[LANES])
{
    for (int step = LANES / 2; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) lane[i] += lane[i + step];
    }
    return lane[0];
}

static double row_sum(const float *x, int w, double from, bool squares)
{
    double lane[LANES] = {0};
    int i = 0;
    for (; i + LANES <= w; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            const double distance = (double)x[i + k] - from;
            lane[k] += squares ? distance * distance : distance;
        }
    }
    for (int k = 0; i + k < w; k++) {
        const double distance = (double)x[i + k] - from;
        lane[k] += squares ? distance * distance : distance;
    }
    return lanes_sum(lane);
}

static double plane_sum(const float *x, int h, int w, double from, bool squares)
{
    double lane[LANES] = {0};
    for (int y = 0; y < h; y++) lane[y % LANES] += row_sum(x + (size_t)y * (size_t)w, w, from, squares);
    return lanes_sum(lane);
}

static Moments moments(const float *x, int h, int w, double divisor)
{
    double mean = plane_sum(x, h, w, 0.0, false) / ((double)h * w);
    double squares = plane_sum(x, h, w, mean, true);
    return (Moments){(float)mean, (float)sqrt(squares / divisor + 1e-5)};
}

void color_adain(const float *content, const float *style, int frames, int h, int w, bool population, float *out)
{
    size_t plane = (size_t)h * (size_t)w, divisor = population ? plane : plane - 1;
    for (int p = 0; p < frames * 3; p++) {
        if (divisor > 0) {
            Moments from = moments(content, h, w, (double)divisor), to = moments(style, h, w, (double)divisor);
            for (size_t i = 0; i < plane; i++) {
                float x = (content[i] - from.mean) / from.deviation * to.deviation + to.mean;
                out[i] = population ? clamp_signed(x) : x;
            }
        } else { /* one pixel has no deviation */
            out[0] = content[0];
        }
        content += plane;
        style += plane;
        out += plane;
    }
}
