/*
 * kernels/cuda/gemm.cu, gemm_bf16_halo.cu, gemm_i8_halo.cu and gemm_fp8.cu, every tile of them, against plain loops: sums
 * in double, in the order and arithmetic of kernels/cpu/int8.h for int8, finished by the CPU's own row function. int8 must
 * agree in every bit. 8-bit floats, on parts that have them: by kernels/cpu/fp8.h, every block of A and row of B with a
 * scale of its own. Moments of results are those that stats.cu makes of what was stored, to the bit.
 */
#include "kernels/cpu/fp8.h"
#include "runtime/cuda/dev_gemm.h"
#include "runtime/cuda/pieces.h"
#include "runtime/cuda/watch.h"

#include "tests/kernels/check.h"
#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One product. Pictures of A are (h * stride + kh - 1) x ..., `frames` of them; output image i reads frames i, i + 1, ... */
typedef struct Case {
    const char *name;
    int images, h, w, n;
    int kt, kh, kw, stride, depth;
    int part1_depth; /* channels of a second part of one tap; 0: none */
    int glu, act, bias, gate; /* bias 2: and one more */
    int residual;    /* 0 none, 1 float, 2 bf16, 3 y's own memory */
    Element y_type;
    int subs, drop;  /* sub-pixels; whether image 0 drops the odd ones */
    int y_more;      /* elements that y's pixels are wider than needed */
    int y_skew;      /* elements that y and the residual begin late: unaligned rows */
    int batch;
    float alpha;
    int groups;      /* whose moments are told; 0: none */
    int margin_x, margin_y; /* outermost columns and rows of A's pictures that are zeros and not in memory, in boxes alone */
} Case;

static const Case cases[] = {
    {"linear", 1, 1, 37, 33, 1, 1, 1, 1, 40, 0, 0, CUDA_ACT_NONE, 1, 0, 0, ELEMENT_F32, 0, 0, 0, 0, 1, 1, 0, 0, 0},
    {"one_row", 1, 1, 1, 70, 1, 1, 1, 1, 136, 0, 0, CUDA_ACT_SILU, 1, 1, 1, ELEMENT_F32, 0, 0, 0, 0, 1, 1, 0, 0, 0},
    {"three", 2, 5, 7, 3, 1, 2, 2, 1, 24, 0, 0, CUDA_ACT_NONE, 1, 0, 0, ELEMENT_F32, 0, 0, 0, 0, 1, 1, 0, 0, 0},
    {"narrow_taps", 3, 5, 5, 16, 3, 3, 3, 1, 8, 0, 0, CUDA_ACT_RELU, 1, 0, 0, ELEMENT_BF16, 0, 0, 0, 0, 1, 1, 0, 0, 0},
    {"taps_27", 2, 6, 5, 40, 3, 3, 3, 1, 72, 0, 0, CUDA_ACT_NONE, 2, 0, 2, ELEMENT_BF16, 0, 0, 0, 0, 1, 1, 0, 0, 0},
    {"stride_two_parts", 2, 4, 6, 33, 1, 3, 3, 2, 48, 80, 0, CUDA_ACT_NONE, 1, 0, 0, ELEMENT_F32, 0, 0, 0, 0, 1, 1, 0, 0, 0},
    {"two_parts", 2, 9, 21, 33, 2, 3, 3, 1, 144, 136, 0, CUDA_ACT_NONE, 1, 0, 2, ELEMENT_BF16, 0, 0, 0, 0, 1, 1, 0, 0, 0},
    {"glu", 1, 1, 41, 33, 1, 1, 1, 1, 152, 0, 1, CUDA_ACT_SILU, 0, 0, 0, ELEMENT_BF16, 0, 0, 0, 0, 1, 1, 0, 0, 0},
    {"gelu_in_place", 1, 3, 11, 48, 1, 1, 1, 1, 64, 0, 0, CUDA_ACT_GELU_TANH, 1, 1, 3, ELEMENT_BF16, 0, 0, 8, 0, 1, 1, 0, 0, 0},
    {"in_place_floats", 1, 3, 11, 20, 1, 1, 1, 1, 64, 0, 0, CUDA_ACT_TANH3, 1, 1, 3, ELEMENT_F32, 0, 0, 0, 0, 1, 1, 0, 0, 0},
    {"shuffle", 2, 4, 5, 64, 1, 1, 1, 1, 32, 0, 0, CUDA_ACT_NONE, 1, 0, 0, ELEMENT_BF16, 8, 1, 0, 0, 1, 1, 0, 0, 0},
    {"shuffle_odd", 2, 4, 5, 20, 1, 1, 1, 1, 32, 0, 0, CUDA_ACT_NONE, 0, 0, 0, ELEMENT_BF16, 4, 1, 0, 0, 1, 1, 0, 0, 0},
    {"shuffle_floats", 1, 4, 5, 48, 1, 1, 1, 1, 32, 0, 0, CUDA_ACT_NONE, 1, 0, 0, ELEMENT_F32, 4, 0, 4, 0, 1, 1, 0, 0, 0},
    {"skewed", 1, 3, 5, 40, 1, 1, 1, 1, 64, 0, 0, CUDA_ACT_NONE, 0, 0, 2, ELEMENT_BF16, 0, 0, 0, 4, 1, 1, 0, 0, 0},
    {"batch", 1, 1, 35, 44, 1, 1, 1, 1, 64, 0, 0, CUDA_ACT_NONE, 0, 0, 0, ELEMENT_F32, 0, 0, 0, 0, 3, 0.125f, 0, 0, 0},
    {"many_rows", 1, 33, 71, 24, 1, 1, 1, 1, 16, 0, 0, CUDA_ACT_NONE, 0, 0, 1, ELEMENT_F32, 0, 0, 0, 0, 1, 1, 0, 0, 0},
    {"many_columns", 1, 1, 9, 290, 1, 1, 1, 1, 16, 0, 0, CUDA_ACT_NONE, 1, 0, 1, ELEMENT_BF16, 0, 0, 0, 0, 1, 1, 0, 0, 0},
    {"moments", 2, 11, 47, 96, 1, 2, 2, 1, 24, 0, 0, CUDA_ACT_NONE, 1, 0, 2, ELEMENT_BF16, 0, 0, 0, 0, 1, 1, 24, 0, 0},
    {"moments_across", 1, 8, 60, 64, 1, 2, 2, 1, 24, 0, 0, CUDA_ACT_NONE, 1, 0, 0, ELEMENT_BF16, 0, 0, 0, 0, 1, 1, 8, 0, 0},
    {"moments_wide", 1, 8, 16, 272, 1, 1, 1, 1, 16, 0, 0, CUDA_ACT_SILU, 0, 0, 0, ELEMENT_BF16, 0, 0, 8, 0, 1, 1, 17, 0, 0},
    {"moments_floats", 1, 5, 20, 64, 1, 1, 1, 1, 16, 0, 0, CUDA_ACT_NONE, 1, 0, 1, ELEMENT_F32, 0, 0, 0, 0, 1, 1, 32, 0, 0},
    {"margins", 2, 9, 21, 33, 2, 3, 3, 1, 144, 136, 0, CUDA_ACT_NONE, 1, 0, 2, ELEMENT_BF16, 0, 0, 0, 0, 1, 1, 0, 1, 1},
    {"margins_across", 2, 12, 7, 40, 1, 3, 3, 1, 72, 0, 0, CUDA_ACT_NONE, 0, 0, 0, ELEMENT_F32, 0, 0, 0, 0, 1, 1, 0, 1, 0},
    {"margins_of_two", 2, 8, 16, 16, 1, 5, 5, 1, 16, 0, 0, CUDA_ACT_NONE, 1, 0, 0, ELEMENT_F32, 0, 0, 0, 0, 1, 1, 0, 2, 2},
    {"margins_of_one_pixel", 2, 1, 1, 16, 1, 3, 3, 1, 48, 0, 0, CUDA_ACT_NONE, 1, 0, 0, ELEMENT_F32, 0, 0, 0, 0, 1, 1, 0, 1, 1},
};

/* ------------------------------------------------------------------------------------------------------------ operands */

/* Values as the product sees them, and the bytes that stand for them on the device. */
typedef struct Operand {
    float *value; /* int8: whole numbers, to be multiplied by scale */
    float *low;   /* pairs of 8-bit floats: what they have beyond value */
    void *scale;  /* int8: floats [rows][blocks]; e4m3: words, A's the same, NULL: 1; B's [rows of all taps] */
    size_t scales;
    void *bytes;
    size_t elements, rows;
    int blocks;
} Operand;

typedef struct Part {
    Operand a, b;
    int taps, depth, pitch, frames, h, w; /* pictures of A */
    int kt, kh, kw, stride, margin_x, margin_y;
} Part;

typedef struct Product {
    const Case *k;
    Element type;
    Part part[2];
    int parts, packed, y_c, y_pad, y_pitch, subs;
    int y_pixels;
    float *bias, *more_bias, *both, *gate, *residual; /* both: the biases' sum; residual: [pixel][y_pitch + skew], as rounded */
    size_t residual_elements;
    Element residual_type;
    void *residual_bytes;
} Product;

static bool is_fp8(Element type) { return type == ELEMENT_E4M3 || type == ELEMENT_E4M3_PAIR; }
static int size_of(Element type) { return element_bytes(type); }
static int pad_of(Element type, int c) { return element_pad(type, c); }

static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* `count` values in `type`: bytes to upload, and the values rounded as the bytes are. */
static void *encode(Element type, float *value, size_t count)
{
    uint8_t *bytes = check_bytes(count * (size_t)size_of(type));
    for (size_t i = 0; i < count; i++) {
        if (type == ELEMENT_F32) memcpy(bytes + 4 * i, &value[i], 4);
        if (type == ELEMENT_I8) bytes[i] = (uint8_t)(int8_t)value[i];
        if (type == ELEMENT_BF16) {
            const uint16_t half = to_bf16(value[i]);
            memcpy(bytes + 2 * i, &half, 2);
            value[i] = from_bf16(half);
        }
    }
    return bytes;
}

/* rows of `depth` elements. `lone`: one row's largest products, which int8 must hold. */
static Operand random_operand(Element type, size_t rows, int depth, float size)
{
    Operand o = {.elements = rows * (size_t)depth, .rows = rows, .blocks = (depth + 127) / 128};
    o.value = check_random_floats(o.elements, size);
    if (type == ELEMENT_I8) {
        for (size_t i = 0; i < o.elements; i++) o.value[i] = i < 300 ? -127.0f : (float)((int)(check_random() % 255) - 127);
        o.scales = rows * (size_t)o.blocks;
        o.scale = check_random_floats(o.scales, size / 100);
    }
    o.bytes = encode(type, o.value, o.elements);
    return o;
}

/* rows of `pitch` elements, `depth` of them used, in blocks whose sizes differ by powers of two; together: `together` rows
 * share one scale, as a column's taps do. */
static Operand random_fp8(bool pair, size_t rows, int pitch, int depth, int together, bool scaled, float size)
{
    const size_t row_bytes = (size_t)pitch * (pair ? 2 : 1);
    Operand o = {.elements = rows * (size_t)pitch, .rows = rows, .blocks = fp8_words(depth, pair)};
    o.value = check_random_floats(o.elements, size);
    o.low = check_floats(o.elements);
    o.scales = together > 0 ? rows / (size_t)together : scaled ? rows * (size_t)o.blocks : 0;
    uint32_t *scale = o.scale = o.scales > 0 ? check_bytes(o.scales * sizeof *scale) : NULL;
    uint8_t *q = o.bytes = check_bytes(rows * row_bytes);
    for (size_t block = 0; block < o.elements / FP8_BLOCK; block++) {
        const float factor = ldexpf(1.0f, (int)(check_random() % 9) - 4);
        for (int i = 0; i < FP8_BLOCK; i++) o.value[block * FP8_BLOCK + (size_t)i] *= factor;
    }
    for (size_t r = 0; r < rows; r++, q += row_bytes) {
        float *value = o.value + r * (size_t)pitch, *low = o.low + r * (size_t)pitch;
        uint8_t e = FP8_ONE;
        if (together == 0) fp8_quantize(value, depth, pair, q, scaled ? scale + r * (size_t)o.blocks : NULL);
        else if (r % (size_t)together == 0) scale[r / (size_t)together] = fp8_row_scale(value, together * pitch) * 0x01010101u;
        for (int c = 0; c < depth; c++) {
            const int block = c / FP8_BLOCK, blocks = pair ? 2 : 4; /* blocks: of a word */
            if (together > 0) e = (uint8_t)scale[r / (size_t)together];
            else if (scaled) e = (uint8_t)(scale[r * (size_t)o.blocks + (size_t)(block / blocks)] >> block % blocks * 8);
            if (together > 0) fp8_put(value[c], c, pair, e, q);
            value[c] = fp8_decode(q[fp8_at(c, pair)]) * fp8_scale_value(e);
            if (pair) low[c] = fp8_decode(q[fp8_at(c, pair) + FP8_PAIR_CHANNELS]) * fp8_scale_value(e) / 16.0f;
        }
    }
    return o;
}

static bool in_margin(const Part *p, int y, int x)
{
    return y < p->margin_y || y >= p->h - p->margin_y || x < p->margin_x || x >= p->w - p->margin_x;
}

/* As the product sees them; what stands for them on the device is left out. */
static void clear_margins(Part *p)
{
    for (int row = 0; row < p->frames * p->h; row++) {
        for (int x = 0; x < p->w; x++) {
            const size_t at = (size_t)(row * p->w + x) * (size_t)p->pitch;
            if (!in_margin(p, row % p->h, x)) continue;
            memset(p->a.value + at, 0, (size_t)p->pitch * sizeof *p->a.value);
            if (p->a.low != NULL) memset(p->a.low + at, 0, (size_t)p->pitch * sizeof *p->a.low);
        }
    }
}

static Part random_part(const Case *k, Element type, bool scaled, int second, int packed, int batch)
{
    Part p = {.kt = 1, .kh = 1, .kw = 1, .stride = 1};
    if (!second) {
        p = (Part){.kt = k->kt, .kh = k->kh, .kw = k->kw, .stride = k->stride, .margin_x = k->margin_x, .margin_y = k->margin_y};
    }
    p.taps = p.kt * p.kh * p.kw;
    p.depth = pad_of(type, second ? k->part1_depth : k->depth);
    p.pitch = p.depth + (second ? 32 : 0);
    p.frames = k->images + p.kt - 1;
    p.h = (k->h - 1) * p.stride + p.kh;
    p.w = (k->w - 1) * p.stride + p.kw;
    const size_t pixels = (size_t)(batch * p.frames * p.h * p.w), rows = (size_t)(batch * packed * p.taps);
    if (is_fp8(type)) {
        const bool pair = type == ELEMENT_E4M3_PAIR;
        p.a = random_fp8(pair, pixels, p.pitch, p.depth, 0, scaled, 1.0f);
        p.b = random_fp8(pair, rows, p.depth, p.depth, p.taps, true, 0.2f);
    } else {
        p.a = random_operand(type, pixels, p.pitch, 1.0f);
        p.a.blocks = (p.depth + 127) / 128;
        p.b = random_operand(type, rows, p.depth, 0.2f);
    }
    clear_margins(&p);
    return p;
}

/* scaled: 8-bit floats of the first part's A have scales; a second's always do. */
static Product random_product(const Case *k, Element type, bool scaled)
{
    Product p = {.k = k, .type = type, .parts = k->part1_depth > 0 ? 2 : 1, .packed = k->glu ? (k->n + 7) / 8 * 16 : k->n};
    for (int i = 0; i < p.parts; i++) p.part[i] = random_part(k, type, scaled || i > 0, i, p.packed, k->batch);
    p.subs = k->subs > 0 ? k->subs : 1;
    p.y_c = k->n / p.subs;
    p.y_pad = pad_of(k->y_type, p.y_c + k->y_more);
    p.y_pitch = p.y_pad + k->y_skew;
    p.y_pixels = k->batch * k->images * k->h * k->w * p.subs;
    p.bias = k->bias ? check_random_floats((size_t)k->n, 1.0f) : NULL;
    p.more_bias = k->bias == 2 ? check_random_floats((size_t)k->n, 1.0f) : NULL;
    p.both = k->bias ? check_floats((size_t)k->n) : NULL;
    for (int n = 0; k->bias && n < k->n; n++) p.both[n] = p.bias[n] + (k->bias == 2 ? p.more_bias[n] : 0.0f);
    p.gate = k->gate ? check_random_floats((size_t)k->n, 1.0f) : NULL;
    if (k->residual) {
        p.residual_type = k->residual == 3 ? k->y_type : k->residual == 2 ? ELEMENT_BF16 : ELEMENT_F32;
        p.residual_elements = (size_t)p.y_pixels * (size_t)p.y_pitch + (size_t)k->y_skew;
        p.residual = check_random_floats(p.residual_elements, 1.0f);
        p.residual_bytes = encode(p.residual_type, p.residual, p.residual_elements);
    }
    return p;
}

/* --------------------------------------------------------------------------------------------------------- definition */

/* Row of A for tap t of output (image, y, x); its number counts pixels of all frames. */
static size_t pixel_of(const Part *p, int image, int oy, int ox, int t)
{
    const int dt = t / (p->kh * p->kw), dy = t / p->kw % p->kh, dx = t % p->kw;
    return (size_t)(((image + dt) * p->h + oy * p->stride + dy) * p->w + ox * p->stride + dx);
}

/* Row of B for tap t of column n. */
static size_t row_of(const Product *p, const Part *q, int z, int n, int t)
{
    return (size_t)(z * p->packed + n) * (size_t)q->taps + (size_t)t;
}

/* acc and block `block` of the product of a pixel and a row of B. */
static float add_block(float acc, const Part *q, size_t pixel, size_t row, int block)
{
    const float *a = q->a.value + pixel * (size_t)q->pitch, *b = q->b.value + row * (size_t)q->depth;
    const float *a_scale = q->a.scale, *b_scale = q->b.scale;
    float whole = 0;
    for (int c = block * 128; c < block * 128 + 128 && c < q->depth; c++) whole += a[c] * b[c];
    const size_t of_a = pixel * (size_t)q->a.blocks + (size_t)block, of_b = row * (size_t)q->b.blocks + (size_t)block;
    return fmaf(whole, a_scale[of_a] * b_scale[of_b], acc);
}

static float sum_of_int8(const Product *p, int image, int oy, int ox, int n)
{
    float acc = 0;
    for (int i = 0; i < p->parts; i++) {
        const Part *q = &p->part[i];
        const int window = q->kh * q->kw;
        for (int first = 0; first < q->taps; first += window) {
            for (int block = 0; block < q->a.blocks; block++) {
                for (int t = first; t < first + window; t++) {
                    acc = add_block(acc, q, pixel_of(q, image, oy, ox, t), row_of(p, q, 0, n, t), block);
                }
            }
        }
    }
    return acc;
}

static float sum_of(const Product *p, int z, int image, int oy, int ox, int n)
{
    double sum = 0;
    if (p->type == ELEMENT_I8) return sum_of_int8(p, image, oy, ox, n);
    for (int i = 0; i < p->parts; i++) {
        const Part *q = &p->part[i];
        for (int t = 0; t < q->taps; t++) {
            const size_t pixel = (size_t)(z * q->frames * q->h * q->w) + pixel_of(q, image, oy, ox, t);
            const size_t row = row_of(p, q, z, n, t);
            const float *a = q->a.value + pixel * (size_t)q->pitch, *b = q->b.value + row * (size_t)q->depth;
            for (int c = 0; c < q->depth; c++) sum += (double)a[c] * b[c];
            const float *a_low = q->a.low + pixel * (size_t)q->pitch, *b_low = q->b.low + row * (size_t)q->depth;
            for (int c = 0; p->type == ELEMENT_E4M3_PAIR && c < q->depth; c++) {
                sum += (double)a[c] * b_low[c] + (double)a_low[c] * b[c];
            }
        }
    }
    return (float)sum;
}

/* Pixel of y that sub-pixel s of output (z, image, oy, ox) is. */
static int y_pixel_of(const Product *p, int z, int image, int oy, int ox, int s)
{
    const Case *k = p->k;
    return (((z * k->images + image) * k->h + oy) * k->w + ox) * p->subs + s;
}

static void store_value(const Product *p, void *y, size_t element, float value)
{
    const uint16_t half = to_bf16(value);
    if (p->k->y_type == ELEMENT_BF16) memcpy((uint8_t *)y + 2 * element, &half, 2);
    else memcpy((uint8_t *)y + 4 * element, &value, 4);
}

/* One output pixel: all n columns, finished, into y. */
static void define_pixel(const Product *p, int z, int image, int oy, int ox, float *row, void *y)
{
    const Case *k = p->k;
    const RowAct acts[] = {[CUDA_ACT_NONE] = ROW_NONE, [CUDA_ACT_SILU] = ROW_SILU, [CUDA_ACT_GELU_TANH] = ROW_GELU_TANH,
                           [CUDA_ACT_RELU] = ROW_RELU, [CUDA_ACT_TANH3] = ROW_TANH3};
    float *sum = row, *glu = row + k->n, *out = row + 2 * k->n;
    for (int n = 0; n < k->n; n++) {
        sum[n] = k->alpha * sum_of(p, z, image, oy, ox, k->glu ? n / 8 * 16 + n % 8 : n);
        if (k->glu) glu[n] = k->alpha * sum_of(p, z, image, oy, ox, n / 8 * 16 + n % 8 + 8);
    }
    const int first = y_pixel_of(p, z, image, oy, ox, 0) / p->subs;
    const float *residual = k->residual ? p->residual + (size_t)first * (size_t)p->y_pitch + k->y_skew : NULL;
    cpu_kernels_named("scalar")->finish(out, sum, p->both, acts[k->act], k->glu ? glu : NULL, p->gate, residual, k->n);
    for (int n = 0; n < k->n; n++) {
        const int s = n / p->y_c, c = n % p->y_c;
        if (k->drop && image == 0 && s % 2 == 1) continue;
        const size_t to = (size_t)y_pixel_of(p, z, image, oy, ox, s) * (size_t)p->y_pitch + (size_t)k->y_skew;
        store_value(p, y, to + (size_t)c, out[n]);
        for (int pad = c + 1; c == p->y_c - 1 && pad < p->y_pad; pad++) store_value(p, y, to + (size_t)pad, 0.0f);
    }
}

/* -------------------------------------------------------------------------------------------------------------- device */

typedef struct Room {
    Dev *d;
    CudaScratch taken[16];
    int count;
} Room;

static CUdeviceptr put(Room *r, const void *bytes, size_t size)
{
    CudaScratch s = cuda_scratch(r->d, size);
    cuda_copy_in(r->d, s.address, bytes, size);
    r->taken[r->count++] = s;
    return s.address;
}

/* Scales of int8's B as products read them: [taps][blocks][columns in 16s]. */
static CUdeviceptr put_column_scales(Room *r, const Product *p, const Part *q)
{
    const size_t columns = (size_t)(p->packed + 15) / 16 * 16, each = (size_t)q->taps * (size_t)q->b.blocks;
    const float *scale = q->b.scale;
    float *to = check_floats(columns * each);
    for (size_t i = 0; i < q->b.scales; i++) to[i % each * columns + i / each] = scale[i];
    return put(r, to, columns * each * sizeof *to);
}

/* What `bytes` each stands for the pixels of A that are in memory. */
static CUdeviceptr put_pixels(Room *r, const Part *p, const void *from, size_t bytes)
{
    uint8_t *to = check_bytes((size_t)(p->frames * p->h * p->w) * bytes);
    size_t pixels = 0;
    for (int i = 0; i < p->frames * p->h * p->w; i++) {
        if (!in_margin(p, i / p->w % p->h, i % p->w)) memcpy(to + pixels++ * bytes, (const uint8_t *)from + (size_t)i * bytes, bytes);
    }
    return put(r, to, pixels * bytes);
}

static void fill_part(Room *r, const Product *p, const Part *q, CudaGemmPart *to)
{
    const size_t size = (size_t)size_of(p->type);
    *to = (CudaGemmPart){.pitch = q->pitch, .depth = q->depth, .taps = q->taps, .blocks = q->a.blocks,
                         .step_y = q->stride * q->w, .step_x = q->stride, .width = q->w, .height = q->h,
                         .picture = q->h * q->w, .pictures = q->frames,
                         .margin_x = q->margin_x, .margin_y = q->margin_y};
    const bool margins = q->margin_x > 0 || q->margin_y > 0;
    const size_t scales = (size_t)q->a.blocks * sizeof(float);
    to->a = margins ? put_pixels(r, q, q->a.bytes, (size_t)q->pitch * size) : put(r, q->a.bytes, q->a.elements * size);
    to->b = put(r, q->b.bytes, q->b.elements * size);
    if (q->a.scales > 0) to->a_scale = margins ? put_pixels(r, q, q->a.scale, scales) : put(r, q->a.scale, q->a.scales * sizeof(float));
    if (p->type == ELEMENT_I8) to->b_scale = put_column_scales(r, p, q);
    else if (q->b.scales > 0) to->b_scale = put(r, q->b.scale, q->b.scales * sizeof(float));
    for (int i = 0; i < p->k->images; i++) {
        for (int dt = 0; dt < q->kt; dt++) to->frame[i][dt] = (i + dt) * q->h * q->w;
    }
    for (int t = 0; t < q->taps; t++) {
        to->tap_frame[t] = (uint8_t)(t / (q->kh * q->kw));
        to->tap[t] = t / q->kw % q->kh * q->w + t % q->kw;
    }
}

static CudaGemm fill_arguments(Room *r, const Product *p, const void *y, size_t y_bytes)
{
    const Case *k = p->k;
    CudaGemm g = {.parts = p->parts, .images = k->images, .rows = k->h, .columns = k->w, .n = k->n, .act = k->act,
                  .glu = k->glu, .y_type = (int32_t)k->y_type, .residual_type = (int32_t)p->residual_type,
                  .y_pitch = p->y_pitch, .y_c = p->y_c, .y_pad = p->y_pad, .y_row = k->w * p->subs, .y_column = p->subs,
                  .residual_pitch = p->y_pitch, .residual_row = k->w, .residual_column = 1, .batch = k->batch,
                  .alpha = k->alpha, .subs = k->subs};
    for (int i = 0; i < p->parts; i++) fill_part(r, p, &p->part[i], &g.part[i]);
    g.batch_a = (int64_t)p->part[0].frames * p->part[0].h * p->part[0].w * p->part[0].pitch;
    g.batch_b = (int64_t)p->packed * p->part[0].taps * p->part[0].depth;
    g.batch_y = (int64_t)k->images * k->h * k->w * p->subs * p->y_pitch;
    for (int i = 0; i < k->images; i++) {
        g.y_image[i] = i * k->h * k->w * p->subs;
        g.residual_image[i] = i * k->h * k->w;
        g.drop[i] = k->drop && i == 0 ? 0xAA : 0;
    }
    for (int s = 0; s < p->subs; s++) g.sub[s] = s;
    g.y = put(r, y, y_bytes) + (uint64_t)(k->y_skew * size_of(k->y_type));
    if (k->bias) g.bias = put(r, p->bias, (size_t)k->n * sizeof(float));
    if (k->bias == 2) g.more_bias = put(r, p->more_bias, (size_t)k->n * sizeof(float));
    if (k->gate) g.gate = put(r, p->gate, (size_t)k->n * sizeof(float));
    if (k->residual == 3) g.residual = g.y;
    else if (k->residual) {
        g.residual = put(r, p->residual_bytes, p->residual_elements * (size_t)size_of(p->residual_type));
        g.residual += (uint64_t)(k->y_skew * size_of(p->residual_type));
    }
    return g;
}

/* Elements as floats; what was never written stays the marker it was filled with. */
static void to_floats(Element type, const void *bytes, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, (const uint8_t *)bytes + 2 * i, 2);
        if (type == ELEMENT_BF16) out[i] = from_bf16(half);
        else memcpy(&out[i], (const uint8_t *)bytes + 4 * i, 4);
    }
}

/* Does the tile tell moments of this result? It keeps values as float32 or bf16; the narrow tiles have too few columns. */
static bool tells(const Case *k, const CudaGemmTile *tile)
{
    return k->groups > 0 && tile->columns >= 64 && (tile->type == ELEMENT_F32 || k->y_type == ELEMENT_BF16);
}

static size_t moments_bytes(const Case *k)
{
    return (size_t)(k->images * k->groups * cuda_stats_halves(k->h, k->w)) * 2 * sizeof(double);
}

/* Room for the moments, the last image's first. */
static void ask_for_moments(Room *r, const Case *k, CudaGemm *g)
{
    const size_t bytes = moments_bytes(k);
    g->moments = put(r, check_bytes(bytes), bytes);
    g->stat_groups = k->groups;
    g->stat_size = k->n / k->groups;
    g->stat_halves = cuda_stats_halves(k->h, k->w);
    for (int i = 0; i < k->images; i++) g->stat_image[i] = k->images - 1 - i;
}

/* Those of what was stored, made by the kernel that reads it. */
static void check_moments(Room *r, const Product *p, const CudaGemm *g, const char *function)
{
    const Case *k = p->k;
    const size_t bytes = moments_bytes(k), frame = bytes / (size_t)k->images;
    uint8_t *want = check_bytes(bytes), *got = check_bytes(bytes);
    const CUdeviceptr room = put(r, want, bytes), base = cuda_at(r->d, (Tensor){.valid = true});
    const Tensor y = {.valid = true, .at = g->y - base, .t = k->images, .h = k->h, .w = k->w, .c = k->n, .c_pad = p->y_pitch,
                      .type = (uint8_t)k->y_type, .stride_h = k->w * p->y_pitch, .stride_t = k->h * k->w * p->y_pitch};
    const CudaStats s = {.x = y, .groups = k->groups, .moments = {.address = room}};
    cuda_stats_frames(r->d, &s, 0, k->images);
    cuda_copy_out(r->d, got, g->moments, bytes);
    for (int i = 0; i < k->images; i++) {
        cuda_copy_out(r->d, want + (size_t)g->stat_image[i] * frame, room + (size_t)i * frame, frame);
    }
    cuda_wait(r->d);
    check_true(dev_ok(r->d), "%s: moments: %s", function, dev_error(r->d));
    check_equal(function, want, got, bytes);
}

/* Again, in as many launches as can be: the same bits. */
static void check_pieces(Dev *d, const Product *p, const CudaGemmTile *tile, void *start, const void *want, size_t bytes)
{
    const Case *k = p->k;
    const size_t told = moments_bytes(k);
    CudaWatch watch[2] = {{0}, {0}};
    void *got = check_bytes(bytes), *moments[2] = {check_bytes(told), check_bytes(told)};
    for (int i = 0; i < 2; i++) {
        Room r = {.d = d};
        CudaGemm g = fill_arguments(&r, p, start, bytes);
        if (tells(k, tile)) ask_for_moments(&r, k, &g);
        cuda_limit_launches(d, i == 0 ? LAUNCH_SECONDS : 1e-15);
        cuda_watch(d, &watch[i]);
        cuda_gemm_with(d, &g, tile);
        cuda_watch(d, NULL);
        if (tells(k, tile)) cuda_copy_out(d, moments[i], g.moments, told);
        cuda_copy_out(d, got, g.y - (uint64_t)(k->y_skew * size_of(k->y_type)), bytes);
        cuda_wait(d);
        check_true(dev_ok(d), "%s", dev_error(d));
        check_equal(i == 0 ? "again" : "in pieces", want, got, bytes);
        for (int n = 0; n < r.count; n++) cuda_scratch_free(d, &r.taken[n]);
    }
    cuda_limit_launches(d, LAUNCH_SECONDS);
    check_true(watch[0].launches != watch[1].launches, "%s was launched once", tile->function);
    if (tells(k, tile)) check_equal("moments of pieces", moments[0], moments[1], told);
}

static void check_case(Dev *d, const Case *k, const CudaGemmTile *tile)
{
    if (!check_begin("cuda_%s_%s", tile->function, k->name)) return;
    Product p = random_product(k, tile->type, k->bias > 0); /* bias: of no matter to that, but some have it and some not */
    const size_t elements = (size_t)p.y_pixels * (size_t)p.y_pitch + (size_t)k->y_skew;
    const size_t bytes = elements * (size_t)size_of(k->y_type);
    void *start = check_bytes(bytes), *want = check_bytes(bytes), *got = check_bytes(bytes);
    memset(start, 0x41, bytes);
    if (k->residual == 3) memcpy(start, p.residual_bytes, bytes);
    memcpy(want, start, bytes);
    float *row = check_floats(3 * (size_t)k->n);
    for (int i = 0; i < k->batch * k->images * k->h * k->w; i++) {
        define_pixel(&p, i / (k->images * k->h * k->w), i / (k->h * k->w) % k->images, i / k->w % k->h, i % k->w, row, want);
    }
    Room r = {.d = d};
    CudaGemm g = fill_arguments(&r, &p, start, bytes);
    if (tells(k, tile)) ask_for_moments(&r, k, &g);
    const bool told = cuda_gemm_with(d, &g, tile);
    check_true(told == tells(k, tile), "%s moments", told ? "unasked-for" : "no");
    if (told) check_moments(&r, &p, &g, tile->function);
    cuda_copy_out(d, got, g.y - (uint64_t)(k->y_skew * size_of(k->y_type)), bytes);
    cuda_wait(d);
    check_true(dev_ok(d), "%s", dev_error(d));
    if (tile->type == ELEMENT_I8) {
        check_equal(tile->function, want, got, bytes);
    } else {
        float *a = check_floats(elements), *b = check_floats(elements);
        to_floats(k->y_type, want, elements, a);
        to_floats(k->y_type, got, elements, b);
        check_close(tile->function, a, b, elements, k->y_type == ELEMENT_BF16 ? 0x1p-8 : 1e-5);
    }
    if (k->h > 8) check_pieces(d, &p, tile, start, got, bytes);
    for (int i = 0; i < r.count; i++) cuda_scratch_free(d, &r.taken[i]);
    check_end();
}

static const Case *case_named(const char *name)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(cases[i].name, name) == 0) return &cases[i];
    }
    return NULL;
}

/* Sums of floats are rounded on their way, in one order whatever the tile. */
static void check_order(Dev *d, Element type)
{
    CudaGemmTile tile;
    Case k = *case_named("two_parts");
    if (!check_begin("cuda_gemm_order_%s", type == ELEMENT_BF16 ? "bf16" : type == ELEMENT_E4M3 ? "e4m3" : "pair")) return;
    k.y_type = ELEMENT_F32; /* all bits of a sum */
    k.residual = 0;
    Product p = random_product(&k, type, true);
    const size_t bytes = (size_t)p.y_pixels * (size_t)p.y_pitch * sizeof(float);
    void *start = check_bytes(bytes), *want = check_bytes(bytes), *got = check_bytes(bytes);
    int tiles = 0;
    for (int i = 0; cuda_gemm_tile(i, &tile); i++) {
        if (tile.type != type || !cuda_gemm_has(test_cuda(), &tile)) continue;
        Room r = {.d = d};
        const CudaGemm g = fill_arguments(&r, &p, start, bytes);
        cuda_gemm_with(d, &g, &tile);
        cuda_copy_out(d, tiles == 0 ? want : got, g.y, bytes);
        cuda_wait(d);
        check_true(dev_ok(d), "%s", dev_error(d));
        if (tiles++ > 0) check_equal(tile.function, want, got, bytes);
        for (int n = 0; n < r.count; n++) cuda_scratch_free(d, &r.taken[n]);
    }
    check_end();
}

/* A result does not depend on the tile: the choice is one of speed, and it falls on a tile that can do it. */
static void check_choice(Dev *d)
{
    if (!check_begin("cuda_gemm_choice")) return;
    CudaGemm g = {.images = 1, .rows = 1, .columns = 65536, .n = 1024, .batch = 1};
    check_true(cuda_gemm_choose(d, &g, ELEMENT_BF16).rows == 256, "large products take the large tile");
    g.columns = 1;
    const CudaGemmTile tile = cuda_gemm_choose(d, &g, ELEMENT_BF16);
    check_true(tile.rows * tile.columns <= 64 * 64, "one row takes a small one: many blocks read B at once");
    g = (CudaGemm){.images = 1, .rows = 1000, .columns = 1000, .n = 3};
    check_true(cuda_gemm_choose(d, &g, ELEMENT_BF16).columns == 8, "three columns take the narrow tile");
    g.glu = 1;
    check_true(cuda_gemm_choose(d, &g, ELEMENT_F32).columns > 8, "a gated unit cannot");
    check_end();
}

/* The large convolutions of a decoder tell their statistics, in bands and at once, where tiles take no more of the picture than it
 * has: of 512 channels and 180 rows the largest tiles would take 184, which costs more than reading the result again. */
static void check_told(DevPrecision precision)
{
    static const struct {
        int c, h, w;
        bool thrifty;
    } layers[] = {{128, 720, 1280, true}, {128, 720, 1280, false}, {256, 360, 640, false}, {128, 1080, 1920, true},
                  {256, 540, 960, true}, {512, 272, 480, false}, {128, 363, 645, false}};
    static const char *const names[] = {"fp32", "bf16", "int8", "fp8", "fp8x3"};
    if (!check_begin("cuda_gemm_told_%s", names[precision])) return;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        const int c = layers[i].c, h = layers[i].h, w = layers[i].w;
        CudaWatch watch = {0};
        Dev *d = dev_plan_open(&(DevSetup){.cuda = test_cuda(), .precision = precision});
        TestWeight weight;
        const float none = 0.0f;
        test_weight(&weight, &none, 5, (int64_t[]){c, c, 3, 3, 3});
        Tensor x = dev_tensor(d, 1, h, w, c), y = dev_tensor(d, 1, h, w, c), stats = dev_floats(d, 1, 1, 1, 64);
        ConvArgs a = {.stage = TEST_STAGE, .x = x, .y = y, .weight = &weight.bound, .kt = 3, .kh = 3, .kw = 3, .stride_t = 1,
                      .stride_h = 1, .stride_w = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1,
                      .post = {.stats = stats, .stats_groups = 32, .residual = y}};
        a.state = layers[i].thrifty ? dev_conv_state_thrifty(d, &a) : dev_conv_state(d, &a, 1);
        cuda_watch(d, &watch);
        dev_conv3d(d, &a);
        check_true(dev_ok(d), "%s", dev_error(d));
        check_true(cuda_gemm_tells(&watch.product, &watch.tile), "%d channels, %d x %d: %s tells no moments", c, w, h,
                   watch.tile.function);
        const CudaGemmPart *p = &watch.product.part[0];
        const int margin = cuda_engine_pads(watch.tile.type) ? 1 : 0, across = layers[i].thrifty ? 0 : margin;
        check_true(p->margin_x == margin && p->margin_y == across, "%s: margins of %d x %d in place of %d x %d", watch.tile.function,
                   p->margin_x, p->margin_y, margin, across);
        dev_close(d);
    }
    check_end();
}

/* Bands of a convolution tell the statistics of one frame: those that a reader of it finds. */
static void check_bands(DevPrecision precision, int h)
{
    enum { CI = 128, CO = 64, W = 16, BANDS = 3, CALLS = 3 };
    if (!check_begin("cuda_gemm_bands_%d_precision%d", h, (int)precision)) return;
    char error[512] = "";
    CudaDevice small = *test_cuda();
    small.sms = 1; /* or narrow tiles would do best, which tell nothing */
    const DevSetup setup = {.cuda = &small, .few_too = true, .precision = precision, .band_pixels = h * W / BANDS};
    Dev *d = dev_open(&setup, 64 << 20, error, sizeof error);
    check_true(d != NULL, "%s", error);
    if (d == NULL) return;
    TestWeight weight;
    CudaWatch watch = {0};
    test_weight(&weight, check_random_floats(27 * CI * CO, 0.02f), 5, (int64_t[]){CO, CI, 3, 3, 3});
    Tensor y = dev_tensor(d, 1, h, W, CO), stats = dev_floats(d, 1, 1, 1, 64), again = dev_floats(d, 1, 1, 1, 64);
    float want[64], got[64];
    ConvState *state = NULL;
    for (int i = 0; i < CALLS; i++) {
        Tensor x = upload(d, check_random_floats((size_t)(h * W * CI), 1.0f), 1, h, W, CI);
        ConvArgs a = {.stage = TEST_STAGE, .x = x, .y = y, .weight = &weight.bound, .kt = 3, .kh = 3, .kw = 3, .stride_t = 1,
                      .stride_h = 1, .stride_w = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .start = i == 0,
                      .post = {.stats = stats, .stats_groups = 32}};
        if (state == NULL) state = dev_conv_state_thrifty(d, &a);
        a.state = state;
        cuda_watch(d, &watch);
        dev_conv3d(d, &a);
        const bool told = cuda_gemm_tells(&watch.product, &watch.tile); /* some band */
        check_true(watch.product.rows < h && (told || h % 8 != 0), "%d rows of %d: %s tells no moments", watch.product.rows, h,
                   watch.tile.function);
        cuda_watch(d, NULL);
        dev_stats(d, &(StatsArgs){.x = y, .stats = again, .groups = 32});
        download(d, stats, got);
        download(d, again, want);
        check_equal("statistics of the result", want, got, sizeof want);
        dev_free(d, &x);
    }
    check_true(dev_ok(d), "%s", dev_error(d));
    dev_state_free(d, state);
    dev_close(d);
    check_end();
}

void test_cuda_gemm(void)
{
    char error[512];
    const DevSetup setup = {.cuda = test_cuda(), .few_too = true, .precision = DEV_BF16};
    Dev *d = dev_open(&setup, 64 << 20, error, sizeof error);
    check_set_loss(0);
    if (d == NULL) {
        fprintf(stderr, "cuda_gemm: %s\n", error);
        exit(1);
    }
    CudaGemmTile tile;
    for (int i = 0; cuda_gemm_tile(i, &tile); i++) {
        if (!cuda_gemm_has(test_cuda(), &tile)) continue;
        for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
            if (cases[c].glu && tile.columns < 16) continue;
            if (cases[c].stride > 1 && tile.producers > 0) continue; /* boxes have all pixels */
            if (cases[c].margin_x > 0 && tile.producers == 0) continue;
            /* attention is made of neither */
            if ((tile.type >= ELEMENT_I8 || tile.producers > 0) && cases[c].batch > 1) continue;
            check_case(d, &cases[c], &tile);
        }
    }
    check_choice(d);
    for (int precision = DEV_FP32; precision <= DEV_FP8X3; precision++) {
        if (precision < DEV_FP8 || test_cuda()->target == CUDA_TARGET_120F) check_told((DevPrecision)precision);
    }
    check_bands(DEV_BF16, 24);
    check_bands(DEV_BF16, 21); /* two of three bands begin within a patch, and tell nothing */
    check_bands(DEV_INT8, 24);
    if (test_cuda()->target == CUDA_TARGET_120F) check_bands(DEV_FP8, 24);
    check_order(d, ELEMENT_BF16);
    for (int type = ELEMENT_E4M3; type <= ELEMENT_E4M3_PAIR && test_cuda()->target == CUDA_TARGET_120F; type++) {
        check_order(d, (Element)type);
    }
    dev_close(d);
}
