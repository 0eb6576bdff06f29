/* Mean and deviation of one picture given to another (Huang and Belongie, "Arbitrary style transfer in real-time with
 * adaptive instance normalization", 2017). */
#include "kernels/cpu/color.h"

#include "kernels/cpu/clamp.h"

#include <math.h>

typedef struct Moments {
    float mean, deviation;
} Moments;

static Moments moments(const float *x, size_t count, size_t divisor)
{
    double sum = 0.0, squares = 0.0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i];
    double mean = sum / (double)count;
    for (size_t i = 0; i < count; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    return (Moments){(float)mean, (float)sqrt(squares / (double)divisor + 1e-5)};
}

void color_adain(const float *content, const float *style, int frames, int h, int w, bool population, float *out)
{
    size_t plane = (size_t)h * (size_t)w, divisor = population ? plane : plane - 1;
    for (int p = 0; p < frames * 3; p++) {
        if (divisor > 0) {
            Moments from = moments(content, plane, divisor), to = moments(style, plane, divisor);
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
