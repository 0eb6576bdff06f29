/*
 * Number formats and cvt. Every source becomes an exact double or a 64-bit integer, and is rounded once into the
 * destination. Rules: PTX ISA 9.0, "cvt"; e4m3 and e5m2 are the OCP 8-bit formats, ue8m0 a power of two.
 */
#include "tests/emulator/core_internal.h"
#include <math.h>
#include <string.h>

float core_bf16_to_float(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

float core_half_to_float(uint16_t h)
{
    uint32_t e = h >> 10 & 31, m = h & 0x3ff, u;
    float f;
    if (e == 31) {
        u = 0x7f800000 | m << 13;
    } else if (e) {
        u = (e + 112) << 23 | m << 13;
    } else {
        f = (float)m * 0x1p-24f;
        memcpy(&u, &f, 4);
    }
    u |= (uint32_t)(h & 0x8000) << 16;
    memcpy(&f, &u, 4);
    return f;
}

/* Small formats: 1 sign, exponent, `mantissa` bits. */
struct format {
    int mantissa, least; /* exponent of the smallest normal number */
    double most;
    uint32_t infinity, nan; /* bits without sign; infinity 0: the format has none */
};
static const struct format half_format = {10, -14, 65504, 0x7c00, 0x7fff},
                           bf16_format = {7, -126, 0x1.fep127, 0x7f80, 0x7fff}, e4m3_format = {3, -6, 448, 0, 0x7f},
                           e5m2_format = {2, -14, 57344, 0x7c, 0x7f}, e2m1_format = {1, 0, 6, 0, 0};

static double round_integer(double v, enum core_rounding rounding)
{
    switch (rounding) {
    case ROUND_ZERO:
        return trunc(v);
    case ROUND_DOWN:
        return floor(v);
    case ROUND_UP:
        return ceil(v);
    case ROUND_AWAY:
        return round(v);
    default:
        return nearbyint(v);
    }
}

static uint32_t encode(const struct format *f, double v, enum core_rounding rounding, bool finite)
{
    uint32_t sign = signbit(v) ? 1u << (f->mantissa + (f == &half_format || f == &e5m2_format ? 5
                                                       : f == &bf16_format                    ? 8
                                                       : f == &e4m3_format                    ? 4
                                                                                              : 2))
                               : 0;
    if (isnan(v)) return f == &half_format || f == &bf16_format ? f->nan : sign * 0 + f->nan;
    double a = fabs(v);
    if (a == 0) return sign;
    int e = f->least;
    if (isfinite(a)) {
        int own;
        frexp(a, &own);
        if (own - 1 > e) e = own - 1;
        enum core_rounding r = rounding;
        if (sign && r == ROUND_DOWN)
            r = ROUND_UP;
        else if (sign && r == ROUND_UP)
            r = ROUND_DOWN;
        a = ldexp(round_integer(ldexp(a, f->mantissa - e), r), e - f->mantissa);
        if (a == 0) return sign;
        frexp(a, &own);
        e = own - 1 > f->least ? own - 1 : f->least;
        rounding = r;
    }
    if (a > f->most) {
        bool clamp = finite || rounding == ROUND_ZERO || rounding == ROUND_DOWN;
        if (isinf(v) && !finite) clamp = false;
        if (!clamp) return sign | (f->infinity ? f->infinity : f->nan);
        a = f->most;
        int own;
        frexp(a, &own);
        e = own - 1;
    }
    uint32_t m = (uint32_t)ldexp(a, f->mantissa - e); /* with the leading one of normal numbers */
    return sign | (((uint32_t)(e - f->least) << f->mantissa) + m);
}

uint16_t core_float_to_half(double v, enum core_rounding rounding)
{
    return (uint16_t)encode(&half_format, v, rounding, false);
}
uint16_t core_float_to_bf16(double v, enum core_rounding rounding)
{
    return (uint16_t)encode(&bf16_format, v, rounding, false);
}

float core_fp8_to_float(uint8_t x, bool e5m2)
{
    if (e5m2) return core_half_to_float((uint16_t)(x << 8));
    uint32_t e = x >> 3 & 15, m = x & 7;
    float v = (x & 0x7f) == 0x7f ? NAN : e ? ldexpf((float)(8 + m), (int)e - 10) : ldexpf((float)m, -9);
    return x & 0x80 ? -v : v;
}

/* ------------------------------------------------------------------------------------------------------------------ */

/* mode[0]: to, [1]: from, [2]: rounding (of integers when flags & INTEGRAL), [3]: 1 saturate, 2 flush, 4 relu, 8 satfinite */
enum { SAT = 1, FTZ = 2, RELU = 4, FINITE = 8, INTEGRAL = 16 };

static bool is_float(enum ptx_type t)
{
    return t == PTX_F16 || t == PTX_BF16 || t == PTX_F32 || t == PTX_F64;
}
static bool is_signed(enum ptx_type t)
{
    return t >= PTX_S8 && t <= PTX_S64;
}

static double load_float(enum ptx_type t, const union core_register *r, uint32_t l)
{
    switch (t) {
    case PTX_F64:
        return r->d[l];
    case PTX_F32:
        return (double)r->f[l];
    case PTX_F16:
        return (double)core_half_to_float((uint16_t)r->u[l]);
    default:
        return (double)core_bf16_to_float((uint16_t)r->u[l]);
    }
}

static void store_float(enum ptx_type t, union core_register *r, uint32_t l, double v, enum core_rounding rounding,
                        int flags)
{
    if (flags & SAT) v = isnan(v) || v < 0 ? 0 : v > 1 ? 1 : v;
    if (flags & RELU) v = v < 0 ? 0 : v;
    switch (t) {
    case PTX_F64:
        r->d[l] = v;
        break;
    case PTX_F32:
        r->f[l] = core_round_float(v, rounding);
        if ((flags & FTZ) && fpclassify(r->f[l]) == FP_SUBNORMAL) r->f[l] = copysignf(0, r->f[l]);
        if (isnan(v)) r->u[l] = 0x7fffffff;
        break;
    case PTX_F16:
        r->u[l] = encode(&half_format, v, rounding, flags & FINITE);
        break;
    default:
        r->u[l] = encode(&bf16_format, v, rounding, flags & FINITE);
        break;
    }
}

/* The integer register holds what the type keeps of v, extended to the register by the type's sign. */
static void store_integer(enum ptx_type t, union core_register *r, uint32_t l, uint64_t v)
{
    switch (ptx_type_bytes(t)) {
    case 1:
        r->u[l] = is_signed(t) ? (uint32_t)(int32_t)(int8_t)v : (uint8_t)v;
        break;
    case 2:
        r->u[l] = is_signed(t) ? (uint32_t)(int32_t)(int16_t)v : (uint16_t)v;
        break;
    case 4:
        r->u[l] = (uint32_t)v;
        break;
    default:
        r->ux[l] = v;
    }
}

static uint64_t clamp_float(enum ptx_type t, double v)
{
    int bits = (int)ptx_type_bytes(t) * 8;
    if (isnan(v)) return 0;
    double low = is_signed(t) ? -ldexp(1, bits - 1) : 0, high = ldexp(1, is_signed(t) ? bits - 1 : bits);
    if (v <= low)
        return is_signed(t) ? (uint64_t)INT64_MIN >> (64 - bits) | (bits < 64 ? ~(uint64_t)0 << (bits - 1) : 0) : 0;
    if (v >= high)
        return is_signed(t) ? ((uint64_t)1 << (bits - 1)) - 1 : bits == 64 ? ~(uint64_t)0 : ((uint64_t)1 << bits) - 1;
    return is_signed(t) ? (uint64_t)(int64_t)v : (uint64_t)v;
}

static uint64_t clamp_integer(enum ptx_type to, enum ptx_type from, uint64_t v)
{
    int bits = (int)ptx_type_bytes(to) * 8;
    bool negative = is_signed(from) && (int64_t)v < 0;
    uint64_t high = is_signed(to) ? ((uint64_t)1 << (bits - 1)) - 1
                    : bits == 64  ? ~(uint64_t)0
                                  : ((uint64_t)1 << bits) - 1;
    if (!negative) return v > high ? high : v;
    if (!is_signed(to)) return 0;
    int64_t low = -(int64_t)high - 1;
    return (int64_t)v < low ? (uint64_t)low : v;
}

static void run_cvt(struct core_warp *w, const struct core_op *op)
{
    enum ptx_type to = (enum ptx_type)op->mode[0], from = (enum ptx_type)op->mode[1];
    enum core_rounding rounding = (enum core_rounding)op->mode[2];
    int flags = op->mode[3];
    union core_register *d = core_reg(w, op, 0);
    const union core_register *a = core_reg(w, op, 1);
    EACH_LANE(l, w->mask)
    {
        if (is_float(from)) {
            double v = load_float(from, a, l);
            if ((flags & FTZ) && from == PTX_F32 && fabs(v) < 0x1p-126) v = copysign(0, v);
            if (is_float(to))
                store_float(to, d, l, flags & INTEGRAL ? round_integer(v, rounding) : v, rounding, flags);
            else
                store_integer(to, d, l, clamp_float(to, round_integer(v, rounding)));
            continue;
        }
        uint64_t v = ptx_type_bytes(from) == 8 ? a->ux[l] : a->u[l];
        switch (from) {
        case PTX_S8:
            v = (uint64_t)(int64_t)(int8_t)v;
            break;
        case PTX_S16:
            v = (uint64_t)(int64_t)(int16_t)v;
            break;
        case PTX_S32:
            v = (uint64_t)(int64_t)(int32_t)v;
            break;
        case PTX_U8:
            v = (uint8_t)v;
            break;
        case PTX_U16:
            v = (uint16_t)v;
            break;
        default:
            break;
        }
        if (!is_float(to)) {
            store_integer(to, d, l, flags & SAT ? clamp_integer(to, from, v) : v);
        } else if (is_signed(from)) {
            int64_t s = (int64_t)v;
            store_float(to, d, l,
                        to == PTX_F64 ? (double)s : core_sum_odd((double)(s >> 20) * 0x1p20, (double)(s & 0xfffff)),
                        rounding, flags);
        } else {
            store_float(to, d, l,
                        to == PTX_F64 ? (double)v : core_sum_odd((double)(v >> 20) * 0x1p20, (double)(v & 0xfffff)),
                        rounding, flags);
        }
    }
}

/* The frequent ones as plain loops. */
#define LOOP32(name, expr)                                                                                             \
    static void name(struct core_warp *w, const struct core_op *op)                                                    \
    {                                                                                                                  \
        const union core_register *a = core_reg(w, op, 1);                                                             \
        union core_register v;                                                                                         \
        for (int l = 0; l < LANES; l++) expr;                                                                          \
        core_put32(w, core_reg(w, op, 0), v.u);                                                                        \
    }
LOOP32(f32_from_s32, v.f[l] = (float)a->s[l])
LOOP32(f32_from_bf16, v.u[l] = a->u[l] << 16)
LOOP32(f32_from_f16, v.f[l] = core_half_to_float((uint16_t)a->u[l]))
LOOP32(u32_from_u64, v.u[l] = (uint32_t)a->ux[l])
LOOP32(u32_from_u16, v.u[l] = (uint16_t)a->u[l])
#define LOOP64(name, expr)                                                                                             \
    static void name(struct core_warp *w, const struct core_op *op)                                                    \
    {                                                                                                                  \
        const union core_register *a = core_reg(w, op, 1);                                                             \
        uint64_t v[LANES];                                                                                             \
        for (int l = 0; l < LANES; l++) v[l] = (uint64_t)(expr);                                                       \
        core_put64(w, core_reg(w, op, 0), v);                                                                          \
    }
LOOP64(u64_from_u32, a->u[l])
LOOP64(s64_from_s32, (int64_t)a->s[l])

static core_handler *frequent(enum ptx_type to, enum ptx_type from, int rounding, int flags)
{
    if (flags) return NULL;
    if (to == PTX_F32 && from == PTX_S32 && rounding == ROUND_NEAREST) return f32_from_s32;
    if (to == PTX_F32 && from == PTX_BF16) return f32_from_bf16;
    if (to == PTX_F32 && from == PTX_F16) return f32_from_f16;
    if ((to == PTX_U32 || to == PTX_S32) && (from == PTX_U64 || from == PTX_S64)) return u32_from_u64;
    if (to == PTX_U32 && from == PTX_U16) return u32_from_u16;
    if ((to == PTX_U64 || to == PTX_S64) && from == PTX_U32) return u64_from_u32;
    if ((to == PTX_U64 || to == PTX_S64) && from == PTX_S32) return s64_from_s32;
    return NULL;
}

/* Two values into one register: d = {a in the upper half, b in the lower}, or from a packed pair. */
static uint32_t encode_small(enum ptx_type to, double v, enum core_rounding rounding, int flags)
{
    if (flags & RELU) v = v < 0 ? 0 : v;
    switch (to) {
    case PTX_F16X2:
        return encode(&half_format, v, rounding, flags & FINITE);
    case PTX_BF16X2:
        return encode(&bf16_format, v, rounding, flags & FINITE);
    case PTX_E4M3X2:
        return encode(&e4m3_format, v, rounding, true) & 0xff;
    case PTX_E5M2X2:
        return encode(&e5m2_format, v, rounding, true) & 0xff;
    case PTX_E2M1X2:
        return isnan(v) ? 7 : encode(&e2m1_format, v, rounding, true) & 15;
    default:
        break;
    }
    /* ue8m0: the magnitude's power of two, rounded up or to zero, clamped */
    if (isnan(v)) return 255;
    int e;
    double m = frexp(fabs(v), &e);
    if (v == 0) return 0;
    if (isinf(v)) return flags & FINITE ? 254 : 255;
    e += 126;
    if (rounding == ROUND_UP && m > 0.5) e++;
    return e < 0 ? 0 : e > 254 ? (flags & FINITE ? 254 : 255) : (uint32_t)e;
}

static double decode_small(enum ptx_type from, uint32_t v)
{
    switch (from) {
    case PTX_F16X2:
        return (double)core_half_to_float((uint16_t)v);
    case PTX_BF16X2:
        return (double)core_bf16_to_float((uint16_t)v);
    case PTX_E4M3X2:
        return (double)core_fp8_to_float((uint8_t)v, false);
    case PTX_E5M2X2:
        return (double)core_fp8_to_float((uint8_t)v, true);
    case PTX_UE8M0X2:
        return v == 255 ? NAN : ldexp(1, (int)v - 127);
    default: {
        static const double values[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
        return v & 8 ? -values[v & 7] : values[v & 7];
    }
    }
}

static uint32_t pair_bits(enum ptx_type t)
{
    return t == PTX_F16X2 || t == PTX_BF16X2 ? 16 : t == PTX_E2M1X2 ? 4 : 8;
}

/* r: d, a, b (from f32) or d, a (from a pair) */
static void run_pair(struct core_warp *w, const struct core_op *op)
{
    enum ptx_type to = (enum ptx_type)op->mode[0], from = (enum ptx_type)op->mode[1];
    uint32_t bits = pair_bits(to);
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2);
    EACH_LANE(l, w->mask)
    {
        double high, low;
        if (from == PTX_F32) {
            high = (double)a->f[l];
            low = (double)b->f[l];
        } else {
            uint32_t n = pair_bits(from), mask = (1u << n) - 1;
            high = decode_small(from, a->u[l] >> n & mask);
            low = decode_small(from, a->u[l] & mask);
        }
        core_reg(w, op, 0)->u[l] = encode_small(to, high, (enum core_rounding)op->mode[2], op->mode[3]) << bits |
                                   encode_small(to, low, (enum core_rounding)op->mode[2], op->mode[3]);
    }
}

/* bf16 pairs by bits: round to nearest even, NaN to the canonical one. */
static uint32_t bf16_bits(uint32_t u)
{
    return (u & 0x7fffffff) > 0x7f800000 ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
static void bf16x2_from_f32(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2);
    uint32_t v[LANES];
    for (int l = 0; l < LANES; l++) v[l] = bf16_bits(a->u[l]) << 16 | bf16_bits(b->u[l]);
    core_put32(w, core_reg(w, op, 0), v);
}
static void bf16_from_f32(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1);
    uint32_t v[LANES];
    for (int l = 0; l < LANES; l++) v[l] = bf16_bits(a->u[l]);
    core_put32(w, core_reg(w, op, 0), v);
}

/* tf32: 10 bits of mantissa are kept. */
static void run_tf32(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1);
    EACH_LANE(l, w->mask)
    {
        uint32_t u = a->u[l];
        if ((u & 0x7f800000) != 0x7f800000) {
            if (op->mode[2] == ROUND_AWAY)
                u += 0x1000;
            else if (op->mode[2] == ROUND_NEAREST)
                u += 0xfff + (u >> 13 & 1);
            u &= 0xffffe000;
        }
        if ((op->mode[3] & RELU) && (u >> 31)) u = 0;
        core_reg(w, op, 0)->u[l] = u;
    }
}

static void decode_cvt(struct core_decode *d)
{
    static const char *const names[] = {"rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi", NULL};
    static const enum core_rounding roundings[] = {ROUND_NEAREST, ROUND_ZERO, ROUND_DOWN, ROUND_UP, ROUND_AWAY,
                                                   ROUND_NEAREST, ROUND_ZERO, ROUND_DOWN, ROUND_UP};
    if (decode_take(d, "pack")) decode_fail(d, "cvt.pack is not supported");
    int rounding = decode_choice(d, names);
    int flags = (decode_take(d, "sat") ? SAT : 0) | (decode_take(d, "ftz") ? FTZ : 0) |
                (decode_take(d, "relu") ? RELU : 0) | (decode_take(d, "satfinite") ? FINITE : 0) |
                (rounding >= 5 ? INTEGRAL : 0);
    enum ptx_type to = decode_type(d), from = decode_type(d);
    bool pair = to >= PTX_F16X2 && to != PTX_F32X2, from_pair = from >= PTX_F16X2 && from != PTX_F32X2;
    d->op.mode[0] = (uint8_t)to;
    d->op.mode[1] = (uint8_t)from;
    d->op.mode[2] =
        rounding < 0 ? (is_float(from) && !is_float(to) ? ROUND_ZERO : ROUND_NEAREST) : (uint8_t)roundings[rounding];
    d->op.mode[3] = (uint8_t)flags;
    if (to == PTX_TF32) {
        if (from != PTX_F32 || rounding < 0) decode_fail(d, "expected cvt.{rn,rz,rna}.tf32.f32");
        decode_operands(d, 2, 2);
        decode_target(d, OPERAND(0), PTX_B32);
        decode_source(d, OPERAND(1), PTX_F32);
        decode_emit(d, run_tf32);
        return;
    }
    if (pair) {
        bool small = to == PTX_E4M3X2 || to == PTX_E5M2X2 || from == PTX_E4M3X2 || from == PTX_E5M2X2;
        if (small) decode_needs(d, 89, false);
        if (to == PTX_UE8M0X2 || from == PTX_UE8M0X2 || to == PTX_E2M1X2 || from == PTX_E2M1X2)
            decode_needs(d, 100, true);
        if (from != PTX_F32 && !from_pair) decode_fail(d, "not known for these types");
        if (rounding < 0 || rounding > 4) decode_fail(d, "a rounding modifier is missing");
        if ((to == PTX_E4M3X2 || to == PTX_E5M2X2) && (!(flags & FINITE) || rounding))
            decode_fail(d, "expected .rn.satfinite");
        decode_operands(d, from_pair ? 2 : 3, from_pair ? 2 : 3);
        uint32_t target_bits = decode_bits(d, OPERAND(0));
        decode_target(d, OPERAND(0), target_bits == 64 ? PTX_B64 : PTX_B32);
        for (uint32_t i = 1; i < d->in->operand_count; i++) decode_source(d, OPERAND(i), from_pair ? PTX_B32 : PTX_F32);
        if (from_pair) d->r[d->r_count++] = d->r[1];
        decode_emit(d, to == PTX_BF16X2 && from == PTX_F32 && rounding == 0 && !flags ? bf16x2_from_f32 : run_pair);
        return;
    }
    if (!ptx_type_bytes(to) || !ptx_type_bytes(from) || from_pair || to == PTX_E4M3 || from == PTX_E4M3)
        decode_fail(d, "not known for these types");
    if (is_float(to) && (rounding < 0) && (!is_float(from) || ptx_type_bytes(to) < ptx_type_bytes(from)))
        decode_fail(d, "a rounding modifier is missing");
    if (to == PTX_F64 && rounding >= 0 && rounding != 0 && rounding < 5)
        decode_fail(d, "f64 only rounds to nearest here");
    decode_operands(d, 2, 2);
    decode_target(d, OPERAND(0), to == PTX_U8 || to == PTX_S8 || to == PTX_B8 ? PTX_B32 : to);
    decode_source(d, OPERAND(1), ptx_type_bytes(from) == 1 ? PTX_B32 : from);
    core_handler *run = frequent(to, from, d->op.mode[2], flags);
    if (to == PTX_BF16 && from == PTX_F32 && rounding == 0 && !flags) run = bf16_from_f32;
    decode_emit(d, run ? run : run_cvt);
}

const struct core_opcode core_convert_opcodes[] = {{"cvt", decode_cvt}, {NULL, NULL}};
