#include "runtime/selftest/trial.h"

#include "loader/dequant.h"
#include "loader/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------------- store */

enum { BLOCKS_MAX = 64 };

struct TrialStore {
    uint32_t seed;
    void *block[BLOCKS_MAX]; /* in the order they are asked for */
};

TrialStore *trial_store_open(uint32_t seed)
{
    TrialStore *s = calloc(1, sizeof *s);
    if (s != NULL) s->seed = seed;
    return s;
}

void trial_store_close(TrialStore *s)
{
    if (s == NULL) return;
    for (int i = 0; i < BLOCKS_MAX; i++) free(s->block[i]);
    free(s);
}

void *trial_table(Trial *t, size_t bytes, bool *fresh)
{
    void **block = t->kept < BLOCKS_MAX ? &t->store->block[t->kept++] : NULL;
    *fresh = false;
    if (block != NULL && *block == NULL) {
        *block = calloc(1, bytes > 0 ? bytes : 1);
        *fresh = *block != NULL;
    }
    if (block == NULL || *block == NULL) {
        t->no_memory = true;
        dev_fail(t->d, "out of memory for weights of a self-test");
        return NULL;
    }
    return *block;
}

/* ----------------------------------------------------------------------------------------------------------- numbers */

static uint64_t random_64(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint32_t trial_random(uint64_t *state) { return (uint32_t)(random_64(state) >> 32); }

/* Four uniform numbers make a bell that ends at 3.5. */
static float bell(uint64_t *state)
{
    const uint64_t z = random_64(state);
    const int sum = (int)(z & 0xffff) + (int)(z >> 16 & 0xffff) + (int)(z >> 32 & 0xffff) + (int)(z >> 48) - 2 * 0xffff;
    return (float)sum * (1.7320508f / 65536.0f);
}

/* Where the next set of numbers begins. */
uint64_t trial_numbers(Trial *t) { return ((uint64_t)t->store->seed << 32) + ((uint64_t)t->numbers++ << 24); }

/* The bits of x that the mask has; bf16 has the upper half. */
static float masked(float x, uint32_t mask)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= mask;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static Tensor fill(Trial *t, Tensor x, float spread, bool exact)
{
    /* "exact ? masked(value, half) : value" is value for gcc 12 -O1 and -O2: hence a mask either way */
    const uint32_t mask = exact ? 0xffff0000u : 0xffffffffu;
    uint64_t state = trial_numbers(t);
    float *to = dev_write(t->d, x);
    for (int64_t p = 0; to != NULL && p < (int64_t)x.t * x.h * x.w; p++) {
        for (int i = 0; i < x.c_pad; i++) {
            const float value = i < x.c ? spread * bell(&state) : 0.0f;
            to[p * x.c_pad + i] = masked(value, mask);
        }
    }
    dev_write_end(t->d, x, to);
    return x;
}

static Tensor poison(Trial *t, Tensor x)
{
    float *to = dev_write(t->d, x);
    for (int64_t i = 0; to != NULL && i < x.t * x.stride_t; i++) to[i] = NAN;
    dev_write_end(t->d, x, to);
    return x;
}

Tensor trial_input(Trial *t, int frames, int h, int w, int c, float spread)
{
    return fill(t, dev_tensor(t->d, frames, h, w, c), spread, false);
}

Tensor trial_floats(Trial *t, int frames, int h, int w, int c, float spread)
{
    return fill(t, dev_floats(t->d, frames, h, w, c), spread, false);
}

Tensor trial_exact(Trial *t, int frames, int h, int w, int c, float spread)
{
    return fill(t, dev_tensor(t->d, frames, h, w, c), spread, true);
}

Tensor trial_output(Trial *t, int frames, int h, int w, int c) { return poison(t, dev_tensor(t->d, frames, h, w, c)); }

Tensor trial_output_floats(Trial *t, int frames, int h, int w, int c)
{
    return poison(t, dev_floats(t->d, frames, h, w, c));
}

/* ----------------------------------------------------------------------------------------------------------- weights */

/* Where a block keeps the numbers that all its others are multiplied by, and how large those others get. */
static const struct {
    WeightType type;
    int scale, minimum; /* bytes from its start; minimum -1: none */
    float level;
} quantized[] = {
    {WT_Q4_0, 0, -1, 8},      {WT_Q4_1, 0, 2, 15},    {WT_Q5_0, 0, -1, 16},     {WT_Q5_1, 0, 2, 31},
    {WT_Q8_0, 0, -1, 127},    {WT_IQ4_NL, 0, -1, 127}, {WT_Q2_K, 80, 82, 45},    {WT_Q3_K, 108, -1, 128},
    {WT_Q4_K, 0, 2, 945},     {WT_Q5_K, 0, 2, 1953},  {WT_Q6_K, 208, -1, 4096}, {WT_Q8_K, 0, -1, 127},
    {WT_IQ4_XS, 0, -1, 4064},
};

/* A half of the size of x, normal, with random lower bits. */
static void random_half(float x, uint64_t *state, uint8_t *to)
{
    int exponent;
    frexpf(x, &exponent);
    exponent = exponent + 14 < 1 ? 1 : exponent + 14 > 30 ? 30 : exponent + 14;
    const uint16_t bits = (uint16_t)(exponent << 10 | (trial_random(state) & 0x3ff));
    memcpy(to, &bits, sizeof bits);
}

/* Random bytes are random elements, but for the scales of blocks and the exponents of floats. */
static void random_block(WeightType type, float spread, uint64_t *state, uint8_t *block)
{
    for (int i = 0; i < weight_type_bytes(type); i++) block[i] = (uint8_t)trial_random(state);
    if (type == WT_BOOL) *block &= 1;
    if (type == WT_F8_E4M3) *block = (uint8_t)((*block & 0x87) | (5 + (*block >> 3 & 3)) << 3); /* 1/4 .. 4 */
    if (type == WT_F8_E5M2) *block = (uint8_t)((*block & 0x83) | (13 + (*block >> 2 & 3)) << 2);
    for (size_t i = 0; i < sizeof quantized / sizeof *quantized; i++) {
        if (quantized[i].type != type) continue;
        const float scale = 2.0f * spread / quantized[i].level;
        if (type == WT_Q8_K) memcpy(block, &scale, sizeof scale);
        else random_half(scale, state, block + quantized[i].scale);
        if (quantized[i].minimum >= 0) random_half(scale, state, block + quantized[i].minimum);
    }
}

static void random_elements(WeightType type, int64_t count, float spread, uint64_t state, uint8_t *to)
{
    const int block = weight_type_block(type), unit = weight_type_bytes(type);
    for (int64_t i = 0; i < count; i += block, to += unit) {
        const float value = spread * bell(&state);
        const double wide = (double)value;
        if (type == WT_F32 || type == WT_F16 || type == WT_BF16) quantize(type, &value, 1, to);
        else if (type == WT_F64) memcpy(to, &wide, sizeof wide);
        else random_block(type, spread, &state, to);
    }
}

typedef struct Stored {
    WeightTensor tensor, scale;
    BoundWeight bound;
    uint8_t bytes[]; /* of the tensor, from an odd address on, as in a file; then the scales */
} Stored;

const BoundWeight *trial_stored(Trial *t, WeightType type, int scales, int rank, const int64_t *shape, float spread)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= shape[i];
    const size_t bytes = (size_t)(count / weight_type_block(type) * weight_type_bytes(type));
    const size_t scales_at = (1 + bytes + 7) / 8 * 8;
    const uint64_t state = trial_numbers(t);
    bool fresh;
    Stored *s = trial_table(t, sizeof *s + scales_at + (size_t)scales * sizeof(float), &fresh);
    if (s == NULL || !fresh) return s == NULL ? NULL : &s->bound;
    s->tensor = (WeightTensor){.name = "selftest", .type = type, .rank = rank, .count = count,
                               .data = s->bytes + 1, .bytes = bytes};
    memcpy(s->tensor.shape, shape, (size_t)rank * sizeof *shape);
    s->bound = (BoundWeight){.tensor = &s->tensor, .rank = rank, .count = count};
    memcpy(s->bound.shape, shape, (size_t)rank * sizeof *shape);
    random_elements(type, count, spread, state, s->bytes + 1);
    if (scales == 0) return &s->bound;
    float *scale = (float *)(void *)(s->bytes + scales_at);
    for (int i = 0; i < scales; i++) scale[i] = spread * (0.5f + (float)(i % 7) / 6.0f);
    s->scale = (WeightTensor){.name = "selftest.scale", .type = WT_F32, .rank = 1, .shape = {scales}, .count = scales,
                              .data = (const uint8_t *)scale, .bytes = (uint64_t)scales * sizeof *scale};
    s->bound.scale = &s->scale;
    return &s->bound;
}

const BoundWeight *trial_weight(Trial *t, int rank, const int64_t *shape, float spread)
{
    return trial_stored(t, WT_F32, 0, rank, shape, spread);
}

const BoundWeight *trial_vector(Trial *t, int count, float spread)
{
    const int64_t shape[] = {count};
    return trial_weight(t, 1, shape, spread);
}

/* ----------------------------------------------------------------------------------------------------------- results */

void trial_results_free(TrialResults *r)
{
    free(r->values);
    *r = (TrialResults){0};
}

/* Room for one more output; NULL without memory. */
static float *output_of(Trial *t, size_t count)
{
    TrialResults *r = t->results;
    if (r->outputs == OUTPUTS_MAX || t->no_memory) return NULL;
    if (r->count + count > r->room) {
        const size_t room = 2 * (r->count + count);
        float *larger = realloc(r->values, room * sizeof *larger);
        t->no_memory = larger == NULL;
        if (larger == NULL) return NULL;
        r->values = larger;
        r->room = room;
    }
    float *to = r->values + r->count;
    r->count += count;
    r->end[r->outputs++] = r->count;
    return to;
}

void trial_keep(Trial *t, Tensor x)
{
    const int64_t pixels = (int64_t)x.t * x.h * x.w;
    const int unit = 16 / element_bytes((Element)x.type), padding = x.type == ELEMENT_U8 ? 0 : x.c_pad - x.c;
    const bool view = padding >= unit; /* what follows is another's */
    const float *from = dev_read(t->d, x);
    float *to = from == NULL ? NULL : output_of(t, (size_t)(pixels * x.c));
    for (int64_t p = 0; to != NULL && p < pixels; p++) {
        memcpy(to + p * x.c, from + p * x.c_pad, (size_t)x.c * sizeof *to);
        for (int i = x.c; i < x.c + padding && !view; i++) t->results->dirty |= !(from[p * x.c_pad + i] == 0.0f);
    }
    dev_read_end(t->d, from);
}

/* Of one output. *at: the worst element. */
static double compare(const float *want, const float *got, size_t count, bool fp32, int64_t *at)
{
    double top = 0.0, square = 0.0, worst = -1.0, error = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double w = (double)want[i], difference = fabs(w - (double)got[i]);
        top = fmax(top, fabs(w));
        square += w * w;
        if (!isfinite(difference)) {
            *at = (int64_t)i;
            return INFINITY;
        }
        error += difference * difference;
        if (difference <= worst) continue;
        worst = difference;
        *at = (int64_t)i;
    }
    if (count == 0) return 0.0;
    if (fp32) return worst / fmax(1.0, top);
    const double size = square > 0.0 ? sqrt(square / (double)count) : 1.0;
    return fmax(sqrt(error / (double)count), worst / 10.0) / size;
}

double trial_compare(const TrialResults *want, const TrialResults *got, bool fp32, int *output, int64_t *at)
{
    double worst = 0.0;
    size_t first = 0;
    *output = -1;
    *at = -1;
    if (want->outputs != got->outputs || want->count != got->count) return INFINITY;
    for (int i = 0; i < want->outputs; first = want->end[i++]) {
        int64_t place = -1;
        const double error = compare(want->values + first, got->values + first, want->end[i] - first, fp32, &place);
        if (*output >= 0 && error <= worst) continue;
        worst = error;
        *output = i;
        *at = place;
    }
    return worst;
}
