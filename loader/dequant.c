#include "loader/dequant.h"

#include "loader/bytes.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "elements are copied as stored: a big-endian machine would need them swapped"
#endif

static float bits_to_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t float_to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* a where the condition holds, b elsewhere: as masks, because compilers turn a loop over these into vector code. */
static inline uint32_t choose(bool condition, uint32_t a, uint32_t b)
{
    uint32_t mask = 0u - (uint32_t)condition;
    return (a & mask) | (b & ~mask);
}

/* Subnormals: m * 2^-24 is exact and normal in float32. */
static inline uint32_t half_bits(uint16_t h)
{
    uint32_t low = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16, exponent = low & 0x0f800000;
    uint32_t small = float_to_bits((float)(int32_t)(h & 0x3ff) * 0x1p-24f);
    uint32_t large = low + choose(exponent == 0x0f800000, 224u << 23, 112u << 23);
    return sign | choose(exponent == 0, small, large);
}

float half_to_float(uint16_t h)
{
    return bits_to_float(half_bits(h));
}

static float half_at(const uint8_t *p)
{
    return half_to_float(load_u16(p));
}

/* -------------------------------------------------------------------------------------------------- plain elements */

static void from_f32(const uint8_t *src, int64_t n, float *out)
{
    memcpy(out, src, (size_t)n * sizeof *out);
}

static void from_f16(const uint8_t *src, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, 2);
        uint32_t bits = half_bits(h);
        memcpy(out + i, &bits, 4);
    }
}

static void from_bf16(const uint8_t *src, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, 2);
        uint32_t bits = (uint32_t)h << 16;
        memcpy(out + i, &bits, 4);
    }
}

/* 1 sign, 4 exponent (bias 7), 3 mantissa bits; no infinity; 0x7f and 0xff are NaN. */
static void from_f8_e4m3(const uint8_t *src, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = src[i], low = u & 0x7f;
        uint32_t small = float_to_bits((float)(int32_t)low * 0x1p-9f);
        uint32_t large = choose(low == 0x7f, 0x7fc00000, (low << 20) + (120u << 23));
        uint32_t bits = (u & 0x80) << 24 | choose(low < 8, small, large);
        memcpy(out + i, &bits, 4);
    }
}

/* The upper byte of a half. */
static void from_f8_e5m2(const uint8_t *src, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = half_bits((uint16_t)(src[i] << 8));
        memcpy(out + i, &bits, 4);
    }
}

#define FROM_NUMBER(name, type)                                                                                        \
    static void name(const uint8_t *src, int64_t n, float *out)                                                        \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            type v;                                                                                                    \
            memcpy(&v, src + (int64_t)sizeof v * i, sizeof v);                                                         \
            out[i] = (float)v;                                                                                         \
        }                                                                                                              \
    }

FROM_NUMBER(from_f64, double)
FROM_NUMBER(from_i8, int8_t)
FROM_NUMBER(from_i16, int16_t)
FROM_NUMBER(from_i32, int32_t)
FROM_NUMBER(from_i64, int64_t)
FROM_NUMBER(from_u8, uint8_t)
FROM_NUMBER(from_u16, uint16_t)
FROM_NUMBER(from_u32, uint32_t)
FROM_NUMBER(from_u64, uint64_t)

static void from_bool(const uint8_t *src, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = src[i] ? 1.0f : 0.0f;
}

/* ----------------------------------------------------------------------------- blocks of 32: low nibbles come first */

static const float iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void from_q4_0(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 18, y += 32) {
        float d = half_at(b);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)((b[2 + i] & 15) - 8);
            y[i + 16] = d * (float)((b[2 + i] >> 4) - 8);
        }
    }
}

static void from_q4_1(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 20, y += 32) {
        float d = half_at(b), m = half_at(b + 2);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)(b[4 + i] & 15) + m;
            y[i + 16] = d * (float)(b[4 + i] >> 4) + m;
        }
    }
}

static void from_q5_0(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 22, y += 32) {
        float d = half_at(b);
        uint32_t fifth = load_u32(b + 2);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)((int)((b[6 + i] & 15) | (fifth >> i & 1) << 4) - 16);
            y[i + 16] = d * (float)((int)((b[6 + i] >> 4) | (fifth >> (i + 16) & 1) << 4) - 16);
        }
    }
}

static void from_q5_1(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 24, y += 32) {
        float d = half_at(b), m = half_at(b + 2);
        uint32_t fifth = load_u32(b + 4);
        for (int i = 0; i < 16; i++) {
            y[i] = d * (float)((b[8 + i] & 15) | (fifth >> i & 1) << 4) + m;
            y[i + 16] = d * (float)((b[8 + i] >> 4) | (fifth >> (i + 16) & 1) << 4) + m;
        }
    }
}

static void from_q8_0(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 34, y += 32) {
        float d = half_at(b);
        for (int i = 0; i < 32; i++) y[i] = d * (float)(int8_t)b[2 + i];
    }
}

static void from_iq4_nl(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 18, y += 32) {
        float d = half_at(b);
        for (int i = 0; i < 16; i++) {
            y[i] = d * iq4_values[b[2 + i] & 15];
            y[i + 16] = d * iq4_values[b[2 + i] >> 4];
        }
    }
}

/* ----------------------------------------- blocks of 256: element e = 128 h + 32 j + l, k = 4 h + j, group g = e / 16
 */

static void from_q2_k(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 84, y += 256) {
        float d = half_at(b + 80), dmin = half_at(b + 82);
        for (int e = 0; e < 256; e++) {
            int h = e / 128, j = e / 32 % 4, l = e % 32, s = b[e / 16];
            float scaled = d * (float)(s & 15), low = dmin * (float)(s >> 4);
            y[e] = scaled * (float)(b[16 + 32 * h + l] >> 2 * j & 3) - low;
        }
    }
}

static void from_q3_k(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 110, y += 256) {
        float d = half_at(b + 108);
        const uint8_t *s = b + 96;
        for (int g = 0; g < 16; g++) {
            int scale = (g < 8 ? s[g] & 15 : s[g - 8] >> 4) | (s[8 + g % 4] >> 2 * (g / 4) & 3) << 4;
            float scaled = d * (float)(scale - 32);
            for (int e = 16 * g; e < 16 * g + 16; e++) {
                int h = e / 128, j = e / 32 % 4, l = e % 32;
                int q = (b[32 + 32 * h + l] >> 2 * j & 3) - (b[l] >> e / 32 & 1 ? 0 : 4);
                y[e] = scaled * (float)q;
            }
        }
    }
}

/* The 6-bit scale and minimum of the k-th 32 elements in 12 packed bytes (Q4_K, Q5_K). */
static void scale_and_minimum(const uint8_t *s, int k, int *scale, int *minimum)
{
    if (k < 4) {
        *scale = s[k] & 63;
        *minimum = s[k + 4] & 63;
    } else {
        *scale = (s[k + 4] & 15) | s[k - 4] >> 6 << 4;
        *minimum = s[k + 4] >> 4 | s[k] >> 6 << 4;
    }
}

static void from_q4_k(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 144, y += 256) {
        float d = half_at(b), dmin = half_at(b + 2);
        for (int k = 0; k < 8; k++) {
            int scale, minimum, shift = k % 2 * 4;
            scale_and_minimum(b + 4, k, &scale, &minimum);
            float scaled = d * (float)scale, low = dmin * (float)minimum;
            const uint8_t *q = b + 16 + 32 * (k / 2);
            for (int l = 0; l < 32; l++) y[32 * k + l] = scaled * (float)(q[l] >> shift & 15) - low;
        }
    }
}

static void from_q5_k(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 176, y += 256) {
        float d = half_at(b), dmin = half_at(b + 2);
        for (int k = 0; k < 8; k++) {
            int scale, minimum, shift = k % 2 * 4;
            scale_and_minimum(b + 4, k, &scale, &minimum);
            float scaled = d * (float)scale, low = dmin * (float)minimum;
            const uint8_t *q = b + 48 + 32 * (k / 2), *fifth = b + 16;
            for (int l = 0; l < 32; l++) {
                y[32 * k + l] = scaled * (float)((q[l] >> shift & 15) | (fifth[l] >> k & 1) << 4) - low;
            }
        }
    }
}

static void from_q6_k(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 210, y += 256) {
        float d = half_at(b + 208);
        for (int e = 0; e < 256; e++) {
            int h = e / 128, j = e / 32 % 4, l = e % 32;
            int v = b[64 * h + 32 * (j % 2) + l], low = j < 2 ? v & 15 : v >> 4;
            int q = (low | (b[128 + 32 * h + l] >> 2 * j & 3) << 4) - 32;
            y[e] = d * (float)(int8_t)b[192 + e / 16] * (float)q;
        }
    }
}

static void from_q8_k(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 292, y += 256) {
        float d = bits_to_float(load_u32(b));
        for (int e = 0; e < 256; e++) y[e] = d * (float)(int8_t)b[4 + e];
    }
}

static void from_iq4_xs(const uint8_t *b, int64_t n, float *y)
{
    for (; n > 0; n--, b += 136, y += 256) {
        float d = half_at(b);
        int high = load_u16(b + 2);
        for (int k = 0; k < 8; k++) {
            int scale = (b[4 + k / 2] >> 4 * (k % 2) & 15) | (high >> 2 * k & 3) << 4;
            float scaled = d * (float)(scale - 32);
            const uint8_t *q = b + 8 + 16 * k;
            for (int i = 0; i < 16; i++) {
                y[32 * k + i] = scaled * iq4_values[q[i] & 15];
                y[32 * k + i + 16] = scaled * iq4_values[q[i] >> 4];
            }
        }
    }
}

/* --------------------------------------------------------------------------------------------------- the table */

typedef struct TypeInfo {
    const char *name;
    int block, bytes;
    void (*convert)(const uint8_t *src, int64_t blocks, float *out);
} TypeInfo;

static const TypeInfo types[WT_COUNT] = {
    [WT_F32] = {"F32", 1, 4, from_f32},
    [WT_F16] = {"F16", 1, 2, from_f16},
    [WT_BF16] = {"BF16", 1, 2, from_bf16},
    [WT_F64] = {"F64", 1, 8, from_f64},
    [WT_F8_E4M3] = {"F8_E4M3", 1, 1, from_f8_e4m3},
    [WT_F8_E5M2] = {"F8_E5M2", 1, 1, from_f8_e5m2},
    [WT_I8] = {"I8", 1, 1, from_i8},
    [WT_I16] = {"I16", 1, 2, from_i16},
    [WT_I32] = {"I32", 1, 4, from_i32},
    [WT_I64] = {"I64", 1, 8, from_i64},
    [WT_U8] = {"U8", 1, 1, from_u8},
    [WT_U16] = {"U16", 1, 2, from_u16},
    [WT_U32] = {"U32", 1, 4, from_u32},
    [WT_U64] = {"U64", 1, 8, from_u64},
    [WT_BOOL] = {"BOOL", 1, 1, from_bool},
    [WT_Q4_0] = {"Q4_0", 32, 18, from_q4_0},
    [WT_Q4_1] = {"Q4_1", 32, 20, from_q4_1},
    [WT_Q5_0] = {"Q5_0", 32, 22, from_q5_0},
    [WT_Q5_1] = {"Q5_1", 32, 24, from_q5_1},
    [WT_Q8_0] = {"Q8_0", 32, 34, from_q8_0},
    [WT_IQ4_NL] = {"IQ4_NL", 32, 18, from_iq4_nl},
    [WT_Q2_K] = {"Q2_K", 256, 84, from_q2_k},
    [WT_Q3_K] = {"Q3_K", 256, 110, from_q3_k},
    [WT_Q4_K] = {"Q4_K", 256, 144, from_q4_k},
    [WT_Q5_K] = {"Q5_K", 256, 176, from_q5_k},
    [WT_Q6_K] = {"Q6_K", 256, 210, from_q6_k},
    [WT_Q8_K] = {"Q8_K", 256, 292, from_q8_k},
    [WT_IQ4_XS] = {"IQ4_XS", 256, 136, from_iq4_xs},
};

const char *weight_type_name(WeightType t)
{
    return types[t].name;
}

int weight_type_block(WeightType t)
{
    return types[t].block;
}

int weight_type_bytes(WeightType t)
{
    return types[t].bytes;
}

void dequantize(WeightType t, const uint8_t *src, int64_t blocks, float *out)
{
    types[t].convert(src, blocks, out);
}

/* ------------------------------------------------------------------------------------------- part of a tensor */

enum { GATHER = 256 };

/* A PyTorch view: walk the indices like an odometer, collect stored elements, convert them together. */
static void read_strided(const WeightTensor *t, int64_t first, int64_t count, float *out)
{
    size_t unit = (size_t)types[t->type].bytes;
    uint8_t gathered[GATHER * 8];
    int64_t index[WEIGHT_MAX_RANK], rest = first, at = 0;
    for (int i = t->rank - 1; i >= 0; i--) {
        index[i] = rest % t->shape[i];
        rest /= t->shape[i];
        at += index[i] * t->stride[i];
    }
    while (count > 0) {
        int64_t n = count < GATHER ? count : GATHER;
        for (int64_t k = 0; k < n; k++) {
            memcpy(gathered + (size_t)k * unit, t->data + (size_t)at * unit, unit);
            for (int i = t->rank - 1; i >= 0; i--) {
                at += t->stride[i];
                if (++index[i] < t->shape[i]) break;
                at -= index[i] * t->stride[i];
                index[i] = 0;
            }
        }
        types[t->type].convert(gathered, n, out);
        out += n;
        count -= n;
    }
}

void weight_read(const WeightTensor *t, int64_t first, int64_t count, float *out)
{
    if (count <= 0) return;
    if (t->strided) {
        read_strided(t, first, count, out);
        return;
    }
    const TypeInfo *info = &types[t->type];
    const uint8_t *src = t->data + (uint64_t)(first / info->block) * (uint64_t)info->bytes;
    float whole[256];
    int64_t skip = first % info->block;
    if (skip) { /* begins inside a block */
        int64_t n = info->block - skip < count ? info->block - skip : count;
        info->convert(src, 1, whole);
        memcpy(out, whole + skip, (size_t)n * sizeof *out);
        src += info->bytes;
        out += n;
        count -= n;
    }
    int64_t blocks = count / info->block, rest = count % info->block;
    if (blocks) info->convert(src, blocks, out);
    if (rest) {
        info->convert(src + blocks * info->bytes, 1, whole);
        memcpy(out + blocks * info->block, whole, (size_t)rest * sizeof *out);
    }
}
