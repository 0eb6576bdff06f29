/*
 * Weights on the GPU: every stored type against the loader's own conversion, operands against the CPU's packing and the
 * plain C rule of 8 bits, all bit for bit.
 */
#include "kernels/cpu/int8.h"
#include "runtime/cuda/dev.h"
#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include "loader/dequant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static Dev *open_device(const CudaDevice *device)
{
    char error[512] = "";
    Dev *d = dev_open(&(DevSetup){.cuda = device, .few_too = true, .precision = DEV_FP32}, 96 << 20, error, sizeof error);
    check_true(d != NULL, "%s", error);
    return d;
}

/* -------------------------------------------------------------------------------------------------- stored elements */

typedef struct Stored {
    WeightTensor tensor, scale;
    BoundWeight bound;
} Stored;

static bool all_finite(const float *x, int count)
{
    for (int i = 0; i < count; i++) {
        if (!isfinite(x[i])) return false;
    }
    return true;
}

/* [rows][count / rows] of random bytes whose values are finite; count: whole blocks. */
static void stored_random(Stored *s, WeightType type, int64_t count, int64_t rows)
{
    const int block = weight_type_block(type);
    const size_t unit = (size_t)weight_type_bytes(type), bytes = unit * (size_t)(count / block);
    uint8_t *data = check_bytes(bytes + 1) + 1; /* at an odd address, as in a file */
    for (uint8_t *b = data; b < data + bytes; b += unit) {
        float values[256];
        do {
            for (size_t i = 0; i < unit; i++) b[i] = (uint8_t)check_random();
            dequantize(type, b, 1, values);
        } while (!all_finite(values, block));
    }
    *s = (Stored){.tensor = {.name = "random", .type = type, .rank = 2, .shape = {rows, count / rows}, .count = count,
                             .data = data, .bytes = bytes},
                  .bound = {.rank = 2, .shape = {rows, count / rows}, .count = count}};
    s->bound.tensor = &s->tensor;
}

/* Gives it `count` scales. */
static void stored_scale(Stored *s, int64_t count, const float *values)
{
    s->scale = (WeightTensor){.name = "scale", .type = WT_F32, .rank = 1, .shape = {count}, .count = count,
                              .data = (const uint8_t *)values, .bytes = (uint64_t)count * sizeof *values};
    s->bound.scale = &s->scale;
}

static void check_floats_of(Dev *d, const char *what, const Stored *s, int64_t first, int64_t count)
{
    float *want = check_floats((size_t)count), *got = check_floats((size_t)count);
    CudaScratch to = cuda_scratch(d, (uint64_t)count * sizeof *got);
    bound_read(&s->bound, first, count, want);
    cuda_weight_floats(d, &s->bound, first, count, to.address);
    cuda_copy_out(d, got, to.address, (uint64_t)count * sizeof *got);
    cuda_wait(d);
    cuda_scratch_free(d, &to);
    check_true(dev_ok(d), "%s: %s", what, dev_error(d));
    check_equal(what, want, got, (size_t)count * sizeof *got);
}

static void check_dequant(Dev *d, WeightType type)
{
    if (!check_begin("cuda_dequant_%s", weight_type_name(type))) return;
    const int64_t rows = 3, count = rows * 5 * weight_type_block(type) * (weight_type_block(type) == 1 ? 67 : 1);
    float scales[] = {0.37f, -1.9e-3f, 0.11f};
    Stored s;
    stored_random(&s, type, count, rows);
    check_floats_of(d, "whole", &s, 0, count);
    check_floats_of(d, "from within a block", &s, 7, count - 20);
    stored_scale(&s, 1, scales);
    check_floats_of(d, "one scale", &s, 3, count - 3);
    stored_scale(&s, rows, scales);
    check_floats_of(d, "scales of rows", &s, count / 3 - 5, count / 2);
    if (weight_type_block(type) == 1) { /* a view: transposed */
        s.tensor.strided = true;
        s.tensor.shape[0] = count / rows;
        s.tensor.shape[1] = rows;
        s.tensor.stride[0] = 1;
        s.tensor.stride[1] = count / rows;
        s.bound.scale = NULL;
        check_floats_of(d, "view", &s, 2, count - 9);
    }
    /* found, and named: an infinite scale, whatever the type */
    scales[2] = INFINITY;
    stored_scale(&s, rows, scales);
    s.tensor.strided = false;
    CudaScratch to = cuda_scratch(d, (uint64_t)count * sizeof(float));
    cuda_weight_floats(d, &s.bound, 0, count, to.address);
    cuda_scratch_free(d, &to);
    cuda_weights_wait(d);
    check_true(strstr(dev_error(d), "weight 'random' holds a value that is not finite") != NULL, "error: %s",
               dev_error(d));
    cuda_weights_close(d); /* as new, for the next type */
    d->failed = false;
    d->error[0] = '\0';
    check_end();
}

/* --------------------------------------------------------------------------------------------------------- operands */

typedef struct Case {
    int rows, ci, kt, khw;
    CudaTime time;
    bool channels_last, frames_in_channels, glu;
    WeightType type;
} Case;

static const Case cases[] = {
    {.rows = 16, .ci = 32, .kt = 1, .khw = 1, .type = WT_Q8_0}, /* linear, nothing padded */
    {.rows = 7, .ci = 3, .kt = 3, .khw = 9, .type = WT_F32}, /* the first layer */
    {.rows = 21, .ci = 130, .kt = 3, .khw = 9, .type = WT_F16}, /* two blocks of 8 bits */
    {.rows = 5, .ci = 40, .kt = 3, .khw = 9, .time = CUDA_TIME_PAIR, .type = WT_F8_E5M2},
    {.rows = 5, .ci = 40, .kt = 3, .khw = 9, .time = CUDA_TIME_ONE, .type = WT_F32},
    {.rows = 5, .ci = 20, .kt = 2, .khw = 1, .time = CUDA_TIME_PAIR, .type = WT_F32},
    {.rows = 9, .ci = 12, .kt = 1, .khw = 4, .channels_last = true, .type = WT_F8_E4M3}, /* patches */
    {.rows = 18, .ci = 24, .kt = 3, .khw = 9, .frames_in_channels = true, .type = WT_F32},
    {.rows = 18, .ci = 24, .kt = 2, .khw = 9, .frames_in_channels = true, .time = CUDA_TIME_ONE, .type = WT_F32},
    {.rows = 13, .ci = 256, .kt = 1, .khw = 1, .glu = true, .type = WT_Q4_K},
    {.rows = 2100, .ci = 75, .kt = 1, .khw = 27, .type = WT_I8}, /* more than one piece */
};

static void read_bound(const void *source, int64_t first, int64_t count, float *out)
{
    bound_read(source, first, count, out);
}

/* One matrix as the CPU packs it, back in rows: [rows][taps][depth]. */
static float *unpacked(const Case *c, const Stored *s, int taps, int depth)
{
    const ConvPack pack = {{&s->bound, read_bound}, c->ci, c->kt, c->khw, depth, c->channels_last, c->frames_in_channels,
                           (TimeTaps)c->time};
    const int64_t k_total = (int64_t)taps * depth;
    float *rows = check_floats((size_t)(c->rows * k_total));
    float *panels = check_floats((size_t)(k_total * GEMM_WIDTH)), temporary[GEMM_PACK_TEMPORARY];
    for (int first = 0; first < c->rows; first += GEMM_WIDTH) {
        const int count = c->rows - first < GEMM_WIDTH ? c->rows - first : GEMM_WIDTH;
        conv_pack(&pack, first, count, panels, temporary);
        for (int n = 0; n < count; n++) {
            for (int64_t k = 0; k < k_total; k++) {
                const float *panel = panels + (n / GEMM_LANES) * k_total * GEMM_LANES;
                rows[(first + n) * k_total + k] = panel[k * GEMM_LANES + n % GEMM_LANES] + 0.0f; /* no -0 */
            }
        }
    }
    return rows;
}

static uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* What the operand has to hold, written to `to` and `scale` as the device does. */
static void expected_rows(const Case *c, const CudaWeight *w, Element type, const float *rows, int part, uint8_t *to,
                          float *scale)
{
    for (int r = 0; r < c->rows; r++) {
        const int n = c->glu ? r / 8 * 16 + r % 8 + 8 * part : r;
        for (int t = 0; t < w->taps; t++) {
            const int64_t at = (int64_t)n * w->taps + t;
            const float *from = rows + ((int64_t)r * w->taps + t) * w->depth;
            for (int k = 0; k < w->depth && type != ELEMENT_I8; k++) {
                if (type == ELEMENT_F32) ((float *)(void *)to)[at * w->depth + k] = from[k];
                if (type == ELEMENT_BF16) ((uint16_t *)(void *)to)[at * w->depth + k] = bf16_of(from[k]);
            }
            float of_block[8] = {0};
            if (type == ELEMENT_I8) int8_quantize(from, w->depth, (int8_t *)to + at * w->depth, of_block);
            for (int b = 0; b < w->blocks && type == ELEMENT_I8; b++) scale[(t * w->blocks + b) * w->n + n] = of_block[b];
        }
    }
}

/* stored: of the case's weight, and its other half with glu. */
static void check_operand(Dev *d, Dev *plan, const Case *c, const Stored *stored, Element type)
{
    static const char *const names[] = {"f32", "bf16", "i8"};
    const CudaWeightForm form = {.weight = &stored[0].bound, .glu = c->glu ? &stored[1].bound : NULL, .type = type,
                                 .ci = c->ci, .kt = c->kt, .khw = c->khw, .channels_last = c->channels_last,
                                 .frames_in_channels = c->frames_in_channels, .time = c->time};
    CudaWeight w, again, planned;
    check_true(cuda_weight(d, &form, &w) && cuda_weight(plan, &form, &planned), "%s: %s", names[type], dev_error(d));
    check_true(cuda_weight(d, &form, &again) && again.data == w.data, "%s: made twice", names[type]);
    check_true(planned.n == w.n && planned.taps == w.taps && planned.depth == w.depth && planned.data == 0, "plan");
    check_true(w.n % 16 == 0 && w.n >= c->rows * (c->glu ? 2 : 1) && w.depth >= c->ci, "%s: n %d, depth %d", names[type],
               w.n, w.depth);
    const size_t taps = (size_t)w.n * (size_t)w.taps, bytes = taps * (size_t)w.depth * (size_t)element_bytes(type);
    const size_t scales = type == ELEMENT_I8 ? taps * (size_t)w.blocks : 0;
    uint8_t *want = check_bytes(bytes), *got = check_bytes(bytes);
    float *want_scale = check_floats(scales), *got_scale = check_floats(scales);
    for (int part = 0; part < (c->glu ? 2 : 1); part++) {
        expected_rows(c, &w, type, unpacked(c, &stored[part], w.taps, w.depth), part, want, want_scale);
    }
    cuda_copy_out(d, got, w.data, bytes);
    cuda_copy_out(d, got_scale, w.scale, scales * sizeof *got_scale);
    cuda_wait(d);
    check_true(dev_ok(d), "%s: %s", names[type], dev_error(d));
    check_equal(names[type], want, got, bytes);
    check_equal(names[type], want_scale, got_scale, scales * sizeof *got_scale);
}

static void check_pack(const CudaDevice *device, Dev *d, const Case *c)
{
    if (!check_begin("cuda_pack_%dx%d_%dx%d_%s", c->rows, c->ci, c->kt, c->khw, weight_type_name(c->type))) return;
    Dev *plan = dev_plan_open(&(DevSetup){.cuda = device, .few_too = true, .precision = DEV_FP32});
    Stored stored[2];
    const int64_t count = (int64_t)c->rows * c->ci * c->kt * c->khw;
    for (int i = 0; i < 2; i++) {
        stored_random(&stored[i], c->type, count, c->rows);
        if (c->type == WT_F32) { /* sums over time of random bits would hold one term alone */
            float *values = check_random_floats((size_t)count, 1.0f);
            stored[i].tensor.data = (const uint8_t *)values;
        }
    }
    cuda_weights_close(d); /* tensors of other cases may have stood at these addresses */
    for (int type = ELEMENT_F32; type <= ELEMENT_I8; type++) check_operand(d, plan, c, stored, (Element)type);
    const DevTotals held = dev_totals(d), planned = dev_totals(plan);
    check_true(planned.weights.all == held.weights.all && planned.weights.upload <= held.weights.upload &&
               planned.device_weight_bytes <= held.device_weight_bytes && planned.device_weight_bytes > planned.weights.all,
               "planned %llu bytes, held %llu", (unsigned long long)planned.device_weight_bytes,
               (unsigned long long)held.device_weight_bytes);
    dev_phase(d);
    dev_close(plan);
    check_end();
}

/* Vectors, and what is asked for in a form it cannot have. */
static void check_vectors(Dev *d)
{
    if (!check_begin("cuda_vector")) return;
    Stored s;
    float want[32] = {0}, got[32];
    stored_random(&s, WT_BF16, 21, 1);
    bound_read(&s.bound, 0, 21, want);
    const CUdeviceptr at = cuda_vector(d, &s.bound);
    check_true(at == cuda_vector(d, &s.bound) && cuda_vector(d, NULL) == 0, "made twice, or made of nothing");
    cuda_copy_out(d, got, at, sizeof got);
    cuda_wait(d);
    check_equal("padded with zeros", want, got, sizeof got);
    CudaWeight w;
    const CudaWeightForm rows_of_4 = {.weight = &s.bound, .ci = 4, .kt = 1, .khw = 1};
    check_true(!cuda_weight(d, &rows_of_4, &w), "21 elements, rows of 4");
    check_true(strstr(dev_error(d), "internal error: weight 'random'") != NULL, "error: %s", dev_error(d));
    check_end();
}

void test_cuda_weights(void)
{
    const CudaDevice *device = test_cuda();
    Dev *d = device == NULL ? NULL : open_device(device);
    for (int type = 0; type < WT_COUNT && d != NULL; type++) check_dequant(d, (WeightType)type);
    for (size_t i = 0; i < sizeof cases / sizeof *cases && d != NULL; i++) check_pack(device, d, &cases[i]);
    if (d != NULL) check_vectors(d);
    dev_close(d);
}
