/*
 * The pipeline's rules of size and time: what the golden cases, which follow the Python pipelines, do not say.
 */
#include "runtime/batch.h"
#include "runtime/size.h"

#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>


/* A limited size in one resize is the size that two would reach. */
static void check_size_once(void)
{
    if (!check_begin("size_once")) return;
    for (int i = 0; i < 2000; i++) {
        int h = 1 + (int)(check_random() % 2000), w = 1 + (int)(check_random() % 2000);
        int resolution = 16 + (int)(check_random() % 3000), limit = 16 + (int)(check_random() % 4000);
        char why_once[256], why_parity[256];
        SizePlan once, parity;
        bool ok = size_shortest_edge(h, w, resolution, limit, false, &once, why_once, sizeof why_once);
        /* Two resizes may pass through a picture that is too large; one never does. */
        if (!size_shortest_edge(h, w, resolution, limit, true, &parity, why_parity, sizeof why_parity)) continue;
        check_true(ok, "%dx%d to %d, at most %d: %s", w, h, resolution, limit, why_once);
        check_true(once.steps <= 1 && (once.steps == 0) == (once.resized_h == h && once.resized_w == w), "%d steps",
                   once.steps);
        check_true(once.resized_h == parity.resized_h && once.resized_w == parity.resized_w &&
                       once.true_h == parity.true_h && once.padded_w == parity.padded_w,
                   "%dx%d to %d, at most %d: %dx%d in one, %dx%d in two", w, h, resolution, limit, once.resized_w,
                   once.resized_h, parity.resized_w, parity.resized_h);
    }
    check_end();
}

static void check_size_refused(void)
{
    static const struct {
        int h, w, resolution, limit;
        const char *says;
    } cases[] = {{100, 100, 15, 0, "at least 16"},
                 {1, 16384, 16, 16, "16384x1 would become 16x0"},
                 {1, 16384, 16384, 0, "2 to 65536"},
                 {1, 16384, 16384, 64, "64x0"}};
    if (!check_begin("size_refused")) return;
    char error[256];
    SizePlan p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        error[0] = 0;
        bool ok = size_shortest_edge(cases[i].h, cases[i].w, cases[i].resolution, cases[i].limit, false, &p, error,
                                     sizeof error);
        check_true(!ok && strstr(error, cases[i].says) != NULL, "case %zu: \"%s\"", i, error);
    }
    check_true(!size_area(10, 1000, 64, 64, &p, error, sizeof error) && strstr(error, "16 to 65536"), "area: \"%s\"",
               error);
    check_true(size_resolution(96, 160, 4) == 384 && size_resolution(33, 17, 1.5) == 26, "resolution of a scale");
    check_end();
}

/* Whatever the plan: every frame is owned once, in order, and batches hold 4n + 1 frames of their own. */
static void check_batches(void)
{
    if (!check_begin("batches")) return;
    for (int i = 0; i < 3000; i++) {
        int total = 1 + (int)(check_random() % 200), size = 1 + (int)(check_random() % 40);
        int overlap = (int)(check_random() % (uint32_t)size);
        bool uniform = check_random() % 2;
        BatchPlan p = batch_plan(total, size, overlap, uniform);
        int64_t next = 0;
        for (int64_t k = 0; k < p.count; k++) {
            Batch b = batch_at(&p, k);
            check_true(b.write_lo == next && b.write_hi > b.write_lo,
                       "%d frames by %d, %d shared: batch %d owns %d to %d", total, size, overlap, (int)k,
                       (int)b.write_lo, (int)b.write_hi);
            check_true(b.frames % 4 == 1 && (!uniform || b.frames >= size), "a batch of %d frames", b.frames);
            for (int f = 0; f < b.frames; f++) {
                int64_t at = batch_frame(&b, f);
                check_true(at >= b.start && at < b.end && (f >= b.end - b.start || at == b.start + f), "frame %d is %d",
                           f, (int)at);
            }
            next = b.write_hi;
        }
        check_true(next == total, "%d of %d frames are owned", (int)next, total);
    }
    check_true(batch_plan(0, 5, 0, false).count == 0, "batches of no frames");
    check_end();
}

/* A batch is planned the same when only the frames up to the one after it are known. */
static void check_lookahead(void)
{
    if (!check_begin("batches_unknown_end")) return;
    BatchPlan whole = batch_plan(100, 9, 3, true);
    for (int64_t k = 0; k + 1 < whole.count; k++) {
        Batch b = batch_at(&whole, k);
        BatchPlan known = batch_plan(b.start + 9 + 1, 9, 3, true);
        check_true(k < known.count, "batch %d is missing", (int)k);
        Batch again = batch_at(&known, k);
        check_true(again.start == b.start && again.end == b.end && again.frames == b.frames &&
                       again.write_lo == b.write_lo && again.write_hi == b.write_hi,
                   "batch %d differs", (int)k);
    }
    check_end();
}

static void check_blend(void)
{
    if (!check_begin("blend_linear")) return;
    for (int overlap = 1; overlap < 20; overlap++) {
        for (int i = 0; i < overlap; i++) {
            float w = blend_weight(BLEND_LINEAR, overlap, i),
                  back = blend_weight(BLEND_LINEAR, overlap, overlap - 1 - i);
            check_true(w > 0 && w < 1 && fabsf(w + back - 1) < 1e-6f, "weight %d of %d is %g", i, overlap, (double)w);
        }
    }
    check_true(blend_weight(BLEND_LINEAR, 1, 0) == 0.5f, "one shared frame is not halved");
    check_end();
}

/* Spec's own figures: what a latent of 9 frames of 90 x 160 cells gets at two noise levels, and at the ends. */
static void check_timestep(void)
{
    if (!check_begin("timestep_shift")) return;
    const float want[4] = {124.7965f, 593.3009f, 0, 1000};
    const float got[4] = {(float)timestep_shift(50, 90, 160, 16), (float)timestep_shift(350, 90, 160, 16),
                          (float)timestep_shift(0, 90, 160, 16), (float)timestep_shift(1000, 90, 160, 16)};
    check_close("c", want, got, 4, 1e-7); /* the figures carry four decimals */
    check_end();
}

/* A condition whose rows are wider than its channels: the mask follows the latent, the rest is 0. */
static void check_condition_rows(void)
{
    if (!check_begin("condition_rows")) return;
    enum { PIXELS = 6, CHANNELS = 16, STRIDE = 20 };
    float *latent = check_floats(PIXELS * CHANNELS), *got = check_floats(PIXELS * STRIDE);
    float *want = check_floats(PIXELS * STRIDE);
    check_normal(latent, PIXELS * CHANNELS);
    check_poison(got, PIXELS * STRIDE);
    for (int i = 0; i < PIXELS; i++) {
        memcpy(want + i * STRIDE, latent + i * CHANNELS, CHANNELS * sizeof *want);
        want[i * STRIDE + CHANNELS] = 1;
    }
    condition(latent, NULL, NULL, 1, 2, 3, CHANNELS, 0.0, got, STRIDE);
    check_equal("c", want, got, PIXELS * STRIDE * sizeof *got);
    check_end();
}

void test_rules(void)
{
    check_size_once();
    check_size_refused();
    check_batches();
    check_lookahead();
    check_blend();
    check_timestep();
    check_condition_rows();
}
