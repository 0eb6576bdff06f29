/* Row kernels: every instruction set gives the plain C version's bits, and those are right to rounding. */
#include "kernels/cpu/cpu.h"
#include "tests/kernels/check.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

static const char *const sets[] = {"scalar", "avx2", "avx512"};
enum { SETS = 3 };

static void affine(int n, int c, RowAct act, bool vectors)
{
    if (!check_begin("affine_%dx%d_act%d%s", n, c, (int)act, vectors ? "_vectors" : "")) return;
    const int stride = c + 3, out_stride = c + 1;
    float *x = check_floats((size_t)(n * stride - 3)), *scale = check_floats((size_t)c), *shift = check_floats((size_t)c);
    float *want = check_floats((size_t)(n * out_stride - 1)), *got = check_floats((size_t)(n * out_stride - 1));
    float *exact = check_floats((size_t)(n * out_stride - 1));
    check_normal(x, (size_t)(n * stride - 3));
    x[0] = 200.0f; /* ends of exp */
    if (n * c > 1) x[c > 1 ? 1 : stride] = -200.0f;
    check_normal(scale, (size_t)c);
    check_normal(shift, (size_t)c);
    check_poison(want, (size_t)(n * out_stride - 1));
    for (int p = 0; p < n; p++) {
        for (int i = 0; i < c; i++) {
            double v = x[p * stride + i];
            if (vectors) v = v * (double)scale[i] + (double)shift[i];
            if (act == ROW_SILU) v = v / (1.0 + exp(-v));
            if (act == ROW_GELU_TANH) v = 0.5 * v * (1.0 + tanh(0.7978845608 * (v + 0.044715 * v * v * v)));
            exact[p * out_stride + i] = (float)v;
        }
    }
    for (int s = 0; s < SETS; s++) {
        const CpuKernels *k = cpu_kernels_named(sets[s]);
        if (k == NULL) continue;
        check_poison(got, (size_t)(n * out_stride - 1));
        k->affine(got, out_stride, x, stride, n, c, vectors ? scale : NULL, vectors ? shift : NULL, act);
        if (s == 0) memcpy(want, got, (size_t)(n * out_stride - 1) * sizeof *got);
        check_equal(sets[s], want, got, (size_t)(n * out_stride - 1) * sizeof *got); /* poison between pixels included */
        for (int p = 0; p < n; p++) check_close(sets[s], exact + p * out_stride, got + p * out_stride, (size_t)c, 1e-6);
        CHECK_BENCH(sets[s], 0, 8.0 * n * c, k->affine(got, out_stride, x, stride, n, c, scale, shift, act));
    }
    check_end();
}

static void reductions(int n)
{
    if (!check_begin("reductions_%d", n)) return;
    float *x = check_floats((size_t)n), *want = check_floats((size_t)n), *got = check_floats((size_t)n);
    check_normal(x, (size_t)n);
    double squares = 0.0, exps = 0.0, top = x[0];
    for (int i = 0; i < n; i++) {
        squares += (double)x[i] * (double)x[i];
        top = fmax(top, (double)x[i]);
        exps += exp((double)x[i] * 0.5 - 1.0);
        want[i] = (float)exp((double)x[i] * 0.5 - 1.0);
    }
    float first[3] = {0};
    for (int s = 0; s < SETS; s++) {
        const CpuKernels *k = cpu_kernels_named(sets[s]);
        if (k == NULL) continue;
        memcpy(got, x, (size_t)n * sizeof *x);
        const float found[3] = {k->sum_squares(x, n), k->row_max(x, n), k->row_exp(got, n, 0.5f, 1.0f)};
        if (s == 0) memcpy(first, found, sizeof first);
        check_equal(sets[s], first, found, sizeof first);
        check_true(fabs((double)found[0] - squares) <= 1e-6 * squares + 1e-30, "%s: sum of squares %.9g, not %.9g", sets[s],
                   (double)found[0], squares);
        check_true((double)found[1] == top, "%s: maximum %.9g, not %.9g", sets[s], (double)found[1], top);
        check_true(fabs((double)found[2] - exps) <= 1e-6 * exps, "%s: sum of exponentials %.9g, not %.9g", sets[s],
                   (double)found[2], exps);
        check_close(sets[s], want, got, (size_t)n, 5e-7);
        CHECK_BENCH(sets[s], 0, 8.0 * n, k->row_exp(got, n, 0.5f, 1.0f));
    }
    check_end();
}

static void finish(int c)
{
    if (!check_begin("finish_%d", c)) return;
    float *in[5], *want = check_floats((size_t)c), *got = check_floats((size_t)c), *exact = check_floats((size_t)c);
    for (int i = 0; i < 5; i++) {
        in[i] = check_floats((size_t)c);
        check_normal(in[i], (size_t)c);
    }
    for (int i = 0; i < c; i++) {
        const double v = (double)in[0][i] + (double)in[1][i];
        exact[i] = (float)(v / (1.0 + exp(-v)) * (double)in[2][i] * (double)in[3][i] + (double)in[4][i]);
    }
    for (int s = 0; s < SETS; s++) {
        const CpuKernels *k = cpu_kernels_named(sets[s]);
        if (k == NULL) continue;
        check_poison(got, (size_t)c);
        k->finish(got, in[0], in[1], ROW_SILU, in[2], in[3], in[4], c);
        if (s == 0) memcpy(want, got, (size_t)c * sizeof *got);
        check_equal(sets[s], want, got, (size_t)c * sizeof *got);
        check_close(sets[s], exact, got, (size_t)c, 1e-6);
        memcpy(got, in[4], (size_t)c * sizeof *got); /* in place over the residual */
        k->finish(got, in[0], in[1], ROW_SILU, in[2], in[3], got, c);
        check_equal(sets[s], want, got, (size_t)c * sizeof *got);
    }
    check_end();
}

void test_rows(void)
{
    for (int act = ROW_NONE; act <= ROW_GELU_TANH; act++) {
        affine(3, 1, (RowAct)act, true);
        affine(5, 37, (RowAct)act, true);
        affine(2, 129, (RowAct)act, false);
    }
    affine(64, 128, ROW_SILU, true);
    for (int n = 1; n <= 35; n += 17) reductions(n);
    reductions(1000);
    finish(1);
    finish(64);
    finish(131);
}
