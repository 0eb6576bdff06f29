/* gemm_tile: every instruction set against the plain C one, all panel counts, several taps, gaps around every row. */
#include "kernels/cpu/cpu.h"
#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

static void one(int panels, int taps, int depth, bool accumulate)
{
    enum { GAP = 3 };
    if (!check_begin("gemm_tile_%dx%d_k%dx%d%s", GEMM_ROWS, panels * GEMM_LANES, taps, depth, accumulate ? "_acc" : "")) return;
    const size_t a_count = (size_t)(GEMM_ROWS * taps * (depth + GAP)), b_count = (size_t)(panels * taps * depth * GEMM_LANES);
    const size_t width = (size_t)panels * GEMM_LANES + GAP, acc_count = GEMM_ROWS * width - GAP;
    float *a = check_floats(a_count), *b = check_floats(b_count), *before = check_floats(acc_count);
    float *want = check_floats(acc_count), *got = check_floats(acc_count);
    check_normal(a, a_count);
    check_normal(b, b_count);
    check_normal(before, acc_count);
    int64_t tap[8];
    GemmTile t = {.acc_row = (int64_t)width, .tap = tap, .taps = taps, .depth = depth, .b = b, .b_row = GEMM_LANES,
                  .b_panel = (int64_t)taps * depth * GEMM_LANES, .panels = panels, .accumulate = accumulate};
    for (int i = 0; i < taps; i++) tap[i] = (taps - 1 - i) * (depth + GAP); /* taps need not rise */
    for (int r = 0; r < GEMM_ROWS; r++) t.row[r] = a + r * taps * (depth + GAP);

    double exact[GEMM_ROWS * GEMM_WIDTH];
    for (int r = 0; r < GEMM_ROWS; r++) {
        for (int c = 0; c < panels * GEMM_LANES; c++) {
            double sum = accumulate ? (double)before[(size_t)r * width + (size_t)c] : 0.0;
            for (int i = 0; i < taps; i++) {
                for (int k = 0; k < depth; k++) {
                    sum += (double)t.row[r][tap[i] + k] *
                           (double)b[(c / GEMM_LANES) * t.b_panel + (i * depth + k) * GEMM_LANES + c % GEMM_LANES];
                }
            }
            exact[r * GEMM_WIDTH + c] = sum;
        }
    }
    static const char *const sets[] = {"scalar", "avx2", "avx512"};
    for (int s = 0; s < 3; s++) {
        const CpuKernels *k = cpu_kernels_named(sets[s]);
        if (k == NULL) continue;
        memcpy(got, before, acc_count * sizeof *got);
        memcpy(want, before, acc_count * sizeof *want);
        for (int r = 0; r < GEMM_ROWS; r++) { /* what lies between the rows must stay */
            for (int c = 0; c < panels * GEMM_LANES; c++) want[(size_t)r * width + (size_t)c] = (float)exact[r * GEMM_WIDTH + c];
        }
        t.acc = got;
        k->gemm_tile(&t);
        /* float32 products summed one after another: the rounding of n additions grows like sqrt(n) */
        check_close(sets[s], want, got, acc_count, 4e-7 * sqrt((double)taps * depth));
        CHECK_BENCH(sets[s], 2.0 * GEMM_ROWS * panels * GEMM_LANES * taps * depth * 1000, 0, {
            for (int n = 0; n < 1000; n++) k->gemm_tile(&t);
        });
    }
    check_end();
}

void test_gemm_tile(void)
{
    for (int panels = 1; panels <= GEMM_PANELS; panels++) {
        one(panels, 1, 1, false);
        one(panels, 3, 5, true);
        one(panels, 1, 128, true);
        one(panels, 8, 16, false);
    }
}
