/* Statistics of frames: right where a naive sum of squares is not, and the same bits whatever the threads. */
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

typedef struct Run {
    int t, h, w, c, groups;
    const float *x;
    float *stats, *want, *first;
    bool have_first;
    float offset;
} Run;

static void work(void *user, Dev *d)
{
    Run *r = user;
    Tensor x = upload_floats(d, r->x, r->t, r->h, r->w, r->c), stats = dev_floats(d, r->t, 1, 1, 2 * r->groups);
    dev_stats(d, &(StatsArgs){.x = x, .stats = stats, .groups = r->groups});
    download(d, stats, r->stats);
    dev_free(d, &stats);
    dev_free(d, &x);
}

static void done(void *user, const char *version)
{
    Run *r = user;
    const size_t count = (size_t)(r->t * 2 * r->groups);
    for (size_t i = 0; i < count; i++) {
        /* relative, also for a variance of 1 beside a mean of 1000: there sums of 128 values are rounded to 2^-7, patch means
         * to 6e-5, and differences of patch means (0.09) enter the variance squared: about 1e-5. A sum of squares would be off by 1. */
        const double difference = fabs((double)r->stats[i] - (double)r->want[i]), tolerance = r->offset >= 1000.0f ? 2e-5 : 2e-6;
        check_true(difference <= tolerance * fabs((double)r->want[i]) + 1e-9, "%s: %zu is %.9g, not %.9g", version, i,
                   (double)r->stats[i], (double)r->want[i]);
    }
    if (!r->have_first) memcpy(r->first, r->stats, count * sizeof *r->stats);
    r->have_first = true;
    check_equal(version, r->first, r->stats, count * sizeof *r->stats);
}

/* rows: those at the top that the offset is added to. */
static void one(int t, int h, int w, int c, int groups, float offset, int rows)
{
    if (!check_begin("norm_stats_%d_%dx%d_%d_groups%d_offset%g_of_%d", t, h, w, c, groups, (double)offset, rows)) return;
    Run r = {.t = t, .h = h, .w = w, .c = c, .groups = groups, .offset = offset};
    const size_t count = (size_t)(t * h * w * c);
    float *x = check_floats(count);
    check_normal(x, count);
    for (int i = 0; i < (int)count; i++) x[i] += i / (w * c) % h < rows ? offset : 0.0f;
    r.x = x;
    r.stats = check_floats((size_t)(t * 2 * groups));
    r.want = check_floats((size_t)(t * 2 * groups));
    r.first = check_floats((size_t)(t * 2 * groups));
    const int size = c / groups;
    for (int f = 0; f < t; f++) {
        for (int g = 0; g < groups; g++) {
            double sum = 0.0, square = 0.0;
            const float *at = x + (int64_t)f * h * w * c + g * size;
            for (int i = 0; i < h * w * size; i++) sum += at[i / size * c + i % size];
            const double mean = sum / (h * w * size);
            for (int i = 0; i < h * w * size; i++) square += pow(at[i / size * c + i % size] - mean, 2);
            r.want[(f * groups + g) * 2] = (float)mean;
            r.want[(f * groups + g) * 2 + 1] = (float)(square / (h * w * size));
        }
    }
    each_device(work, done, &r);
    check_end();
}

void test_norm(void)
{
    one(1, 1, 1, 32, 32, 0.5f, 1); /* one pixel, one channel a group: variance 0 */
    one(2, 9, 17, 64, 32, 0.5f, 9);
    one(1, 8, 16, 96, 32, -3.0f, 8);
    one(1, 33, 50, 32, 32, 1000.0f, 33);
    one(1, 273, 290, 4, 4, 1000.0f, 4); /* the first half patch is far from the others; threads have five of them or six */
}
