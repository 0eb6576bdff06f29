/* Mean and deviation of one picture given to another (Huang and Belongie, "Arbitrary style transfer in real-time with
 * adaptive instance normalization", 2017). */
#include "kernels/cpu/color.h"

#include "kernels/cpu/clamp.h"

#include <math.h>

typedef struct Moments {
    float mean, deviation;
} Moments;

/*
 * One reading of a picture, and sums without doubles, of which GPUs do few: a sum is a float and the rest that its roundings
 * left (Knuth's sum of two), together as good as 48 bits, so that the mean can be taken off the squares' sum afterwards. Sums
 * have 32 lanes, which take values in turn and are added by halves, as doubles: rows, then sums of rows. A GPU's order, too.
 */
enum { LANES = 32 };

typedef struct Sum {
    float sum[LANES], rest[LANES];
} Sum;

static double lanes_sum(double lane[LANES])
{
    for (int step = LANES / 2; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) lane[i] += lane[i + step];
    }
    return lane[0];
}

static inline void add(Sum *s, int lane, float x)
{
    const float before = s->sum[lane], sum = before + x, added = sum - before;
    s->rest[lane] += (before - (sum - added)) + (x - added);
    s->sum[lane] = sum;
}

/* x * x is a float and what it was rounded by, which is one as well. */
static inline void add_both(Sum *sum, Sum *squares, int lane, float x)
{
    const double exact = (double)x * (double)x;
    const float square = (float)exact;
    add(sum, lane, x);
    add(squares, lane, square);
    squares->rest[lane] += (float)(exact - (double)square);
}

static double sum_of(const Sum *s)
{
    double lane[LANES];
    for (int k = 0; k < LANES; k++) lane[k] = (double)s->sum[k] + (double)s->rest[k];
    return lanes_sum(lane);
}

static void row_sums(const float *x, int w, double *sum, double *squares)
{
    Sum s = {{0}, {0}}, q = {{0}, {0}};
    int i = 0;
    for (; i + LANES <= w; i += LANES) {
        for (int k = 0; k < LANES; k++) add_both(&s, &q, k, x[i + k]);
    }
    for (int k = 0; i + k < w; k++) add_both(&s, &q, k, x[i + k]);
    *sum = sum_of(&s);
    *squares = sum_of(&q);
}

static Moments moments(const float *x, int h, int w, double divisor)
{
    double sums[LANES] = {0}, squares[LANES] = {0};
    for (int y = 0; y < h; y++) {
        double sum, square;
        row_sums(x + (size_t)y * (size_t)w, w, &sum, &square);
        sums[y % LANES] += sum;
        squares[y % LANES] += square;
    }
    const double sum = lanes_sum(sums), mean = sum / ((double)h * w), apart = lanes_sum(squares) - sum * mean;
    return (Moments){(float)mean, (float)sqrt((apart > 0 ? apart : 0) / divisor + 1e-5)};
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
