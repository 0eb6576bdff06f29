/* dev_linear against loops in double: RMS norm and modulation in front, gated unit, gate and residual behind, in place. */
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <string.h>

typedef struct Run {
    int n, k, m;
    bool pre, glu, in_place;
    Act act;
    const float *x, *scale, *shift, *gate, *residual;
    TestWeight w, glu_w, bias;
    float *out, *want;
} Run;

static void work(void *user, Dev *d)
{
    Run *r = user;
    Tensor x = upload(d, r->x, 1, 1, r->n, r->k), residual = upload(d, r->residual, 1, 1, r->n, r->m);
    Tensor scale = upload_floats(d, r->scale, 1, 1, 1, r->k), shift = upload_floats(d, r->shift, 1, 1, 1, r->k);
    Tensor gate = upload_floats(d, r->gate, 1, 1, 1, r->m), y = r->in_place ? residual : dev_tensor(d, 1, 1, r->n, r->m);
    LinearArgs a = {.stage = TEST_STAGE, .x = x, .y = y, .weight = &r->w.bound, .glu = r->glu ? &r->glu_w.bound : NULL,
                    .bias = r->glu ? NULL : &r->bias.bound};
    if (r->pre) a.pre = (Pre){.norm = NORM_RMS, .eps = 1e-5f, .scale = scale, .shift = shift};
    a.post = (Post){.act = r->act, .gate = gate, .residual = residual};
    dev_linear(d, &a);
    download(d, y, r->out);
    if (!r->in_place) dev_free(d, &y);
    dev_free(d, &gate);
    dev_free(d, &shift);
    dev_free(d, &scale);
    dev_free(d, &residual);
    dev_free(d, &x);
}

static void done(void *user, const char *version)
{
    Run *r = user;
    check_close(version, r->want, r->out, (size_t)(r->n * r->m), 1e-6 * sqrt(r->k));
    check_poison(r->out, (size_t)(r->n * r->m));
}

static double act(Act a, double v)
{
    return a == ACT_SILU ? v / (1.0 + exp(-v))
           : a == ACT_GELU_TANH ? 0.5 * v * (1.0 + tanh(0.7978845608 * (v + 0.044715 * v * v * v))) : v;
}

static void one(int n, int k, int m, bool pre, bool glu, Act a, bool in_place)
{
    if (!check_begin("linear_%dx%dx%d%s%s_act%d%s", n, k, m, pre ? "_rms" : "", glu ? "_glu" : "", (int)a, in_place ? "_in_place" : "")) return;
    Run r = {.n = n, .k = k, .m = m, .pre = pre, .glu = glu, .act = a, .in_place = in_place};
    const size_t sizes[] = {(size_t)(n * k), (size_t)k, (size_t)k, (size_t)m, (size_t)(n * m), (size_t)(m * k), (size_t)(m * k), (size_t)m};
    float *f[8];
    for (int i = 0; i < 8; i++) {
        f[i] = check_floats(sizes[i]);
        check_normal(f[i], sizes[i]);
    }
    for (int i = 5; i < 7; i++) {
        for (size_t j = 0; j < sizes[i]; j++) f[i][j] /= sqrtf((float)k);
    }
    r.x = f[0];
    r.scale = f[1];
    r.shift = f[2];
    r.gate = f[3];
    r.residual = f[4];
    const int64_t shape[] = {m, k}, vector[] = {m};
    test_weight(&r.w, f[5], 2, shape);
    test_weight(&r.glu_w, f[6], 2, shape);
    test_weight(&r.bias, f[7], 1, vector);
    r.out = check_floats((size_t)(n * m));
    r.want = check_floats((size_t)(n * m));
    double *row = check_bytes((size_t)k * sizeof *row);
    for (int i = 0; i < n; i++) {
        double square = 0.0;
        for (int c = 0; c < k; c++) square += (double)r.x[i * k + c] * (double)r.x[i * k + c];
        for (int c = 0; c < k; c++) {
            row[c] = r.x[i * k + c];
            if (pre) row[c] = row[c] / sqrt(square / k + 1e-5) * (double)r.scale[c] + (double)r.shift[c];
        }
        for (int o = 0; o < m; o++) {
            double sum = glu ? 0.0 : (double)f[7][o], gated = 0.0;
            for (int c = 0; c < k; c++) {
                sum += row[c] * (double)f[5][o * k + c];
                gated += row[c] * (double)f[6][o * k + c];
            }
            r.want[i * m + o] = (float)(act(a, sum) * (glu ? gated : 1.0) * (double)r.gate[o] + (double)r.residual[i * m + o]);
        }
    }
    each_device(work, done, &r);
    check_end();
}

void test_linear(void)
{
    one(1, 256, 64, false, false, ACT_SILU, false);
    one(7, 33, 5, true, false, ACT_NONE, true);
    one(58, 64, 192, true, false, ACT_GELU_TANH, false);
    one(200, 40, 70, true, true, ACT_SILU, false);
    one(13, 130, 129, false, true, ACT_SILU, true);
}
