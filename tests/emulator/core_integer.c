/*
 * Integer, logic and bit instructions, and mov. Each handler is a loop over all 32 lanes whose result is then stored for
 * the executing ones, which compilers turn into vector code.
 */
#include "tests/emulator/core_internal.h"
#include <string.h>
#include <time.h>

/* x (y, z) are one lane's operands of type T, `expr` its result. M is the union member of the operands, D of the result. */
#define HANDLER1(name, D, M, T, expr)                                                                                  \
    static void name(struct core_warp *w, const struct core_op *op)                                                    \
    {                                                                                                                  \
        const union core_register *a = core_reg(w, op, 1);                                                             \
        TYPE_##D v[LANES];                                                                                             \
        for (int l = 0; l < LANES; l++) {                                                                              \
            T x = (T)a->M[l];                                                                                          \
            v[l] = (TYPE_##D)(expr);                                                                                   \
        }                                                                                                              \
        PUT_##D(w, core_reg(w, op, 0), v);                                                                             \
    }
#define HANDLER2(name, D, M, T, expr)                                                                                  \
    static void name(struct core_warp *w, const struct core_op *op)                                                    \
    {                                                                                                                  \
        const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2);                                    \
        TYPE_##D v[LANES];                                                                                             \
        for (int l = 0; l < LANES; l++) {                                                                              \
            T x = (T)a->M[l], y = (T)b->M[l];                                                                          \
            v[l] = (TYPE_##D)(expr);                                                                                   \
        }                                                                                                              \
        PUT_##D(w, core_reg(w, op, 0), v);                                                                             \
    }
#define HANDLER3(name, D, M, T, C, U, expr)                                                                            \
    static void name(struct core_warp *w, const struct core_op *op)                                                    \
    {                                                                                                                  \
        const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2), *c = core_reg(w, op, 3);           \
        TYPE_##D v[LANES];                                                                                             \
        for (int l = 0; l < LANES; l++) {                                                                              \
            T x = (T)a->M[l], y = (T)b->M[l];                                                                          \
            U z = (U)c->C[l];                                                                                          \
            v[l] = (TYPE_##D)(expr);                                                                                   \
        }                                                                                                              \
        PUT_##D(w, core_reg(w, op, 0), v);                                                                             \
    }
#define TYPE_u  uint32_t
#define TYPE_ux uint64_t
#define PUT_u   core_put32
#define PUT_ux  core_put64
/* Results of 16 bits leave the upper half of the register zero. */
#define HALF(e) (uint16_t)(e)

/* One operation for each integer width and sign. */
#define ALL_TYPES2(op, eu, es)                                                                                         \
    HANDLER2(op##_u16, u, u, uint16_t, HALF(eu))                                                                       \
    HANDLER2(op##_s16, u, u, int16_t, HALF(es))                                                                        \
    HANDLER2(op##_u32, u, u, uint32_t, eu)                                                                             \
    HANDLER2(op##_s32, u, u, int32_t, es)                                                                              \
    HANDLER2(op##_u64, ux, ux, uint64_t, eu)                                                                           \
    HANDLER2(op##_s64, ux, ux, int64_t, es)                                                                            \
    static const struct core_typed op##_typed[] = {{PTX_U16, op##_u16}, {PTX_S16, op##_s16}, {PTX_U32, op##_u32},      \
                                                   {PTX_S32, op##_s32}, {PTX_U64, op##_u64}, {PTX_S64, op##_s64},      \
                                                   {PTX_NONE, NULL}};
/* Operations whose bits do not depend on the sign, computed unsigned (signed overflow is undefined in C). */
#define ALL_WIDTHS2(op, e)                                                                                             \
    HANDLER2(op##_16, u, u, uint16_t, HALF(e))                                                                         \
    HANDLER2(op##_32, u, u, uint32_t, e)                                                                               \
    HANDLER2(op##_64, ux, ux, uint64_t, e)                                                                             \
    static const struct core_typed op##_typed[] = {                                                                    \
        {PTX_U16, op##_16}, {PTX_S16, op##_16}, {PTX_B16, op##_16}, {PTX_U32, op##_32}, {PTX_S32, op##_32},            \
        {PTX_B32, op##_32}, {PTX_U64, op##_64}, {PTX_S64, op##_64}, {PTX_B64, op##_64}, {PTX_NONE, NULL}};

ALL_WIDTHS2(add, x + y)
ALL_WIDTHS2(sub, x - y)
ALL_WIDTHS2(mul, x *(uint64_t)y)
ALL_WIDTHS2(and, x &y)
ALL_WIDTHS2(or, x | y)
ALL_WIDTHS2(xor, x ^ y)
ALL_TYPES2(min, x < y ? x : y, x < y ? x : y)
ALL_TYPES2(max, x > y ? x : y, x > y ? x : y)
/* Division by zero is unspecified on the hardware; all ones here. INT_MIN / -1 wraps. */
ALL_TYPES2(div, y ? x / y : ~0u, y == 0 ? -1 : y == -1 ? (int64_t)(0 - (uint64_t)x) : x / y)
ALL_TYPES2(rem, y ? x % y : x, y == 0 ? x : y == -1 ? 0 : x % y)

HANDLER2(add_sat, u, u, int32_t,
         (int64_t)x + y > INT32_MAX   ? INT32_MAX
         : (int64_t)x + y < INT32_MIN ? INT32_MIN
                                      : (int64_t)x + y)
HANDLER2(sub_sat, u, u, int32_t,
         (int64_t)x - y > INT32_MAX   ? INT32_MAX
         : (int64_t)x - y < INT32_MIN ? INT32_MIN
                                      : (int64_t)x - y)

static uint64_t high_unsigned(uint64_t x, uint64_t y)
{
    uint64_t xl = (uint32_t)x, xh = x >> 32, yl = (uint32_t)y, yh = y >> 32;
    uint64_t mid = xh * yl + (xl * yl >> 32), mid2 = xl * yh + (uint32_t)mid;
    return xh * yh + (mid >> 32) + (mid2 >> 32);
}
static uint64_t high_signed(int64_t x, int64_t y)
{
    return high_unsigned((uint64_t)x, (uint64_t)y) - (x < 0 ? (uint64_t)y : 0) - (y < 0 ? (uint64_t)x : 0);
}
HANDLER2(mulhi_u16, u, u, uint16_t, (uint32_t)x *y >> 16)
HANDLER2(mulhi_s16, u, u, int16_t, HALF((int32_t)x *y >> 16))
HANDLER2(mulhi_u32, u, u, uint32_t, (uint64_t)x *y >> 32)
HANDLER2(mulhi_s32, u, u, int32_t, (uint64_t)((int64_t)x *y) >> 32)
HANDLER2(mulhi_u64, ux, ux, uint64_t, high_unsigned(x, y))
HANDLER2(mulhi_s64, ux, ux, int64_t, high_signed(x, y))
static const struct core_typed mulhi_typed[] = {{PTX_U16, mulhi_u16}, {PTX_S16, mulhi_s16}, {PTX_U32, mulhi_u32},
                                                {PTX_S32, mulhi_s32}, {PTX_U64, mulhi_u64}, {PTX_S64, mulhi_s64},
                                                {PTX_NONE, NULL}};
HANDLER2(mulwide_u16, u, u, uint16_t, (uint32_t)x *y)
HANDLER2(mulwide_s16, u, u, int16_t, (int32_t)x *y)
HANDLER2(mulwide_u32, ux, u, uint32_t, (uint64_t)x *y)
HANDLER2(mulwide_s32, ux, u, int32_t, (int64_t)x *y)
static const struct core_typed mulwide_typed[] = {
    {PTX_U16, mulwide_u16}, {PTX_S16, mulwide_s16}, {PTX_U32, mulwide_u32}, {PTX_S32, mulwide_s32}, {PTX_NONE, NULL}};

HANDLER3(mad_16, u, u, uint16_t, u, uint16_t, HALF((uint32_t)x *y + z))
HANDLER3(mad_32, u, u, uint32_t, u, uint32_t, x *y + z)
HANDLER3(mad_64, ux, ux, uint64_t, ux, uint64_t, x *y + z)
static const struct core_typed mad_typed[] = {{PTX_U16, mad_16}, {PTX_S16, mad_16}, {PTX_U32, mad_32},
                                              {PTX_S32, mad_32}, {PTX_U64, mad_64}, {PTX_S64, mad_64},
                                              {PTX_NONE, NULL}};
HANDLER3(madhi_u32, u, u, uint32_t, u, uint32_t, ((uint64_t)x * y >> 32) + z)
HANDLER3(madhi_s32, u, u, int32_t, u, uint32_t, ((uint64_t)((int64_t)x * y) >> 32) + z)
HANDLER3(madhi_u64, ux, ux, uint64_t, ux, uint64_t, high_unsigned(x, y) + z)
HANDLER3(madhi_s64, ux, ux, int64_t, ux, uint64_t, high_signed(x, y) + z)
static const struct core_typed madhi_typed[] = {
    {PTX_U32, madhi_u32}, {PTX_S32, madhi_s32}, {PTX_U64, madhi_u64}, {PTX_S64, madhi_s64}, {PTX_NONE, NULL}};
HANDLER3(madwide_u16, u, u, uint16_t, u, uint32_t, (uint32_t)x *y + z)
HANDLER3(madwide_s16, u, u, int16_t, u, uint32_t, (uint32_t)((int32_t)x *y) + z)
HANDLER3(madwide_u32, ux, u, uint32_t, ux, uint64_t, (uint64_t)x *y + z)
HANDLER3(madwide_s32, ux, u, int32_t, ux, uint64_t, (uint64_t)((int64_t)x *y) + z)
static const struct core_typed madwide_typed[] = {
    {PTX_U16, madwide_u16}, {PTX_S16, madwide_s16}, {PTX_U32, madwide_u32}, {PTX_S32, madwide_s32}, {PTX_NONE, NULL}};

HANDLER3(sad_u32, u, u, uint32_t, u, uint32_t, (x > y ? x - y : y - x) + z)
HANDLER3(sad_s32, u, u, int32_t, u, uint32_t, (x > y ? (uint32_t)x - (uint32_t)y : (uint32_t)y - (uint32_t)x) + z)
static const struct core_typed sad_typed[] = {{PTX_U32, sad_u32}, {PTX_S32, sad_s32}, {PTX_NONE, NULL}};

HANDLER1(abs_16, u, u, int16_t, HALF(x < 0 ? -x : x))
HANDLER1(abs_32, u, u, int32_t, x < 0 ? 0u - (uint32_t)x : (uint32_t)x)
HANDLER1(abs_64, ux, ux, int64_t, x < 0 ? 0u - (uint64_t)x : (uint64_t)x)
static const struct core_typed abs_typed[] = {
    {PTX_S16, abs_16}, {PTX_S32, abs_32}, {PTX_S64, abs_64}, {PTX_NONE, NULL}};
HANDLER1(neg_16, u, u, uint16_t, HALF(0u - x))
HANDLER1(neg_32, u, u, uint32_t, 0u - x)
HANDLER1(neg_64, ux, ux, uint64_t, 0u - x)
static const struct core_typed neg_typed[] = {
    {PTX_S16, neg_16}, {PTX_S32, neg_32}, {PTX_S64, neg_64}, {PTX_NONE, NULL}};
HANDLER1(not_16, u, u, uint16_t, HALF(~x))
HANDLER1(not_32, u, u, uint32_t, ~x)
HANDLER1(not_64, ux, ux, uint64_t, ~x)
static const struct core_typed not_typed[] = {
    {PTX_B16, not_16}, {PTX_B32, not_32}, {PTX_B64, not_64}, {PTX_NONE, NULL}};
HANDLER1(cnot_16, u, u, uint16_t, !x)
HANDLER1(cnot_32, u, u, uint32_t, !x)
HANDLER1(cnot_64, ux, ux, uint64_t, !x)
static const struct core_typed cnot_typed[] = {
    {PTX_B16, cnot_16}, {PTX_B32, cnot_32}, {PTX_B64, cnot_64}, {PTX_NONE, NULL}};
HANDLER1(popc_32, u, u, uint32_t, __builtin_popcount(x))
HANDLER1(popc_64, u, ux, uint64_t, __builtin_popcountll(x))
static const struct core_typed popc_typed[] = {{PTX_B32, popc_32}, {PTX_B64, popc_64}, {PTX_NONE, NULL}};
HANDLER1(clz_32, u, u, uint32_t, x ? __builtin_clz(x) : 32)
HANDLER1(clz_64, u, ux, uint64_t, x ? __builtin_clzll(x) : 64)
static const struct core_typed clz_typed[] = {{PTX_B32, clz_32}, {PTX_B64, clz_64}, {PTX_NONE, NULL}};

static uint32_t reverse(uint32_t x)
{
    uint32_t y = 0;
    for (int i = 0; i < 32; i++) y |= (x >> i & 1) << (31 - i);
    return y;
}
HANDLER1(brev_32, u, u, uint32_t, reverse(x))
HANDLER1(brev_64, ux, ux, uint64_t, (uint64_t)reverse((uint32_t)x) << 32 | reverse((uint32_t)(x >> 32)))
static const struct core_typed brev_typed[] = {{PTX_B32, brev_32}, {PTX_B64, brev_64}, {PTX_NONE, NULL}};

/* bfind: the highest bit that differs from the sign; shiftamt counts from the top. */
static uint32_t find_high(uint64_t x, int bits, bool shift)
{
    if (!x) return ALL_LANES;
    int high = 63 - __builtin_clzll(x);
    return (uint32_t)(shift ? bits - 1 - high : high);
}
HANDLER1(bfind_u32, u, u, uint32_t, find_high(x, 32, op->mode[0]))
HANDLER1(bfind_s32, u, u, int32_t, find_high((uint32_t)(x < 0 ? ~x : x), 32, op->mode[0]))
HANDLER1(bfind_u64, u, ux, uint64_t, find_high(x, 64, op->mode[0]))
HANDLER1(bfind_s64, u, ux, int64_t, find_high((uint64_t)(x < 0 ? ~x : x), 64, op->mode[0]))
static const struct core_typed bfind_typed[] = {
    {PTX_U32, bfind_u32}, {PTX_S32, bfind_s32}, {PTX_U64, bfind_u64}, {PTX_S64, bfind_s64}, {PTX_NONE, NULL}};

/* Shifts clamp their amount. The amount is always a 32-bit register. */
#define SHIFT(name, D, M, T, bits, expr)                                                                               \
    static void name(struct core_warp *w, const struct core_op *op)                                                    \
    {                                                                                                                  \
        const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2);                                    \
        TYPE_##D v[LANES];                                                                                             \
        for (int l = 0; l < LANES; l++) {                                                                              \
            T x = (T)a->M[l];                                                                                          \
            uint32_t n = b->u[l], y = n > bits ? bits : n;                                                             \
            v[l] = (TYPE_##D)(expr);                                                                                   \
        }                                                                                                              \
        PUT_##D(w, core_reg(w, op, 0), v);                                                                             \
    }
SHIFT(shl_16, u, u, uint16_t, 16, HALF((uint32_t)x << y))
SHIFT(shl_32, u, u, uint32_t, 32, (uint64_t)x << y)
SHIFT(shl_64, ux, ux, uint64_t, 64, y < 64 ? x << y : 0)
SHIFT(shr_u16, u, u, uint16_t, 16, (uint32_t)x >> y)
SHIFT(shr_u32, u, u, uint32_t, 32, (uint64_t)x >> y)
SHIFT(shr_u64, ux, ux, uint64_t, 64, y < 64 ? x >> y : 0)
SHIFT(shr_s16, u, u, int16_t, 16, HALF((int32_t)x >> y))
SHIFT(shr_s32, u, u, int32_t, 32, (int64_t)x >> y)
SHIFT(shr_s64, ux, ux, int64_t, 63, x >> y)
static const struct core_typed shl_typed[] = {
    {PTX_B16, shl_16}, {PTX_B32, shl_32}, {PTX_B64, shl_64}, {PTX_NONE, NULL}};
static const struct core_typed shr_typed[] = {
    {PTX_B16, shr_u16}, {PTX_B32, shr_u32}, {PTX_B64, shr_u64}, {PTX_U16, shr_u16}, {PTX_U32, shr_u32},
    {PTX_U64, shr_u64}, {PTX_S16, shr_s16}, {PTX_S32, shr_s32}, {PTX_S64, shr_s64}, {PTX_NONE, NULL}};
/* shf: funnel of y:x by z; mode[0]: wrap the amount instead of clamping it */
HANDLER3(shf_left, u, u, uint32_t, u, uint32_t,
         ((uint64_t)y << 32 | x) << (op->mode[0] ? z & 31
                                     : z > 32    ? 32
                                                 : z) >>
             32)
HANDLER3(shf_right, u, u, uint32_t, u, uint32_t, ((uint64_t)y << 32 | x) >> (op->mode[0] ? z & 31 : z > 32 ? 32 : z))

/* bfe: len bits from pos on; signed ones repeat the field's top bit, or the value's own where the field reaches past it. */
static uint64_t extract(uint64_t x, uint32_t pos, uint32_t len, int bits, bool is_signed)
{
    pos &= 0xff;
    len &= 0xff;
    if (!len) return 0;
    uint32_t top = pos + len - 1 < (uint32_t)bits - 1 ? pos + len - 1 : (uint32_t)bits - 1;
    uint64_t sign = is_signed ? x >> top & 1 : 0, field = pos < (uint32_t)bits ? x >> pos : 0;
    uint32_t have = pos < (uint32_t)bits ? ((uint32_t)bits - pos < len ? (uint32_t)bits - pos : len) : 0;
    uint64_t keep = have >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << have) - 1;
    return (field & keep) | (sign ? ~keep : 0);
}
#define BFE(name, D, M, T, bits, is_signed)                                                                            \
    static void name(struct core_warp *w, const struct core_op *op)                                                    \
    {                                                                                                                  \
        const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2), *c = core_reg(w, op, 3);           \
        TYPE_##D v[LANES];                                                                                             \
        for (int l = 0; l < LANES; l++) v[l] = (TYPE_##D)extract((T)a->M[l], b->u[l], c->u[l], bits, is_signed);       \
        PUT_##D(w, core_reg(w, op, 0), v);                                                                             \
    }
BFE(bfe_u32, u, u, uint32_t, 32, false)
BFE(bfe_s32, u, u, uint32_t, 32, true)
BFE(bfe_u64, ux, ux, uint64_t, 64, false)
BFE(bfe_s64, ux, ux, uint64_t, 64, true)
static const struct core_typed bfe_typed[] = {
    {PTX_U32, bfe_u32}, {PTX_S32, bfe_s32}, {PTX_U64, bfe_u64}, {PTX_S64, bfe_s64}, {PTX_NONE, NULL}};

static uint64_t insert(uint64_t x, uint64_t into, uint32_t pos, uint32_t len, uint32_t bits)
{
    pos &= 0xff;
    len &= 0xff;
    if (!len || pos >= bits) return into;
    if (len > bits - pos) len = bits - pos;
    uint64_t field = (len >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << len) - 1) << pos;
    return (x << pos & field) | (into & ~field);
}
#define BFI(name, D, M, bits)                                                                                          \
    static void name(struct core_warp *w, const struct core_op *op)                                                    \
    {                                                                                                                  \
        const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2), *c = core_reg(w, op, 3),           \
                                  *e = core_reg(w, op, 4);                                                             \
        TYPE_##D v[LANES];                                                                                             \
        for (int l = 0; l < LANES; l++) v[l] = (TYPE_##D)insert(a->M[l], b->M[l], c->u[l], e->u[l], bits);             \
        PUT_##D(w, core_reg(w, op, 0), v);                                                                             \
    }
BFI(bfi_32, u, u, 32)
BFI(bfi_64, ux, ux, 64)
static const struct core_typed bfi_typed[] = {{PTX_B32, bfi_32}, {PTX_B64, bfi_64}, {PTX_NONE, NULL}};

/* lop3: mode[0] is the truth table, bit (x<<2 | y<<1 | z). */
static uint32_t table_logic(uint32_t x, uint32_t y, uint32_t z, uint32_t table)
{
    uint32_t v = 0;
    for (uint32_t i = 0; i < 8; i++)
        if (table >> i & 1) v |= (i & 4 ? x : ~x) & (i & 2 ? y : ~y) & (i & 1 ? z : ~z);
    return v;
}
HANDLER3(lop3, u, u, uint32_t, u, uint32_t, table_logic(x, y, z, op->mode[0]))

/* prmt: four bytes picked from y:x by the nibbles of z; bit 3 of a nibble repeats the byte's sign. */
static uint32_t permute(uint32_t x, uint32_t y, uint32_t z, int mode)
{
    uint64_t both = (uint64_t)y << 32 | x;
    uint32_t v = 0, s = z & 3;
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t pick = 0;
        switch (mode) {
        case 0:
            pick = z >> (4 * i) & 15;
            break;
        case 1:
            pick = (s + i) & 7;
            break; /* f4e */
        case 2:
            pick = (s - i) & 7;
            break; /* b4e */
        case 3:
            pick = s;
            break; /* rc8 */
        case 4:
            pick = i > s ? i : s;
            break; /* ecl */
        case 5:
            pick = i < s ? i : s;
            break; /* ecr */
        default:
            pick = (s & 1) * 2 + (i & 1);
            break; /* rc16 */
        }
        uint32_t byte = (uint32_t)(both >> (8 * (pick & 7))) & 0xff;
        if (pick & 8) byte = byte & 0x80 ? 0xff : 0;
        v |= byte << (8 * i);
    }
    return v;
}
HANDLER3(prmt, u, u, uint32_t, u, uint32_t, permute(x, y, z, op->mode[0]))

/* dp4a: mode[0], mode[1]: a, b signed */
static uint32_t dot4(uint32_t x, uint32_t y, uint32_t z, bool sx, bool sy)
{
    for (int i = 0; i < 32; i += 8) {
        int32_t p = sx ? (int8_t)(x >> i) : (uint8_t)(x >> i), q = sy ? (int8_t)(y >> i) : (uint8_t)(y >> i);
        z += (uint32_t)(p * q);
    }
    return z;
}
HANDLER3(dp4a, u, u, uint32_t, u, uint32_t, dot4(x, y, z, op->mode[0], op->mode[1]))

HANDLER2(mul24_u, u, u, uint32_t, (x & 0xffffff) * (y & 0xffffff))
HANDLER2(mul24_s, u, u, int32_t,
         (uint32_t)((int32_t)((uint32_t)x << 8) >> 8) * (uint32_t)((int32_t)((uint32_t)y << 8) >> 8))

/* Sums with carry. mode[0]: take the carry in, mode[1]: set it, mode[2]: subtract. A borrow is a carry of 0 on the
 * hardware; here the flag says "borrow" after subtractions, which programs cannot tell. */
static void run_carry(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2);
    union core_register *d = core_reg(w, op, 0);
    EACH_LANE(l, w->mask)
    {
        uint32_t in = op->mode[0] ? w->carry >> l & 1 : 0, out;
        if (op->bytes == 8) {
            uint64_t x = a->ux[l], y = b->ux[l], v = op->mode[2] ? x - y - in : x + y + in;
            out = op->mode[2] ? x < y || (in && x == y) : v < x || (in && v == x);
            d->ux[l] = v;
        } else {
            uint32_t x = a->u[l], y = b->u[l], v = op->mode[2] ? x - y - in : x + y + in;
            out = op->mode[2] ? x < y || (in && x == y) : v < x || (in && v == x);
            d->u[l] = v;
        }
        if (op->mode[1]) w->carry = (w->carry & ~(1u << l)) | out << l;
    }
}

/* mad with carry, unsigned; mode[2]: the upper half of the product */
static void run_mad_carry(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2), *c = core_reg(w, op, 3);
    union core_register *d = core_reg(w, op, 0);
    EACH_LANE(l, w->mask)
    {
        uint32_t in = op->mode[0] ? w->carry >> l & 1 : 0, out;
        if (op->bytes == 8) {
            uint64_t x = op->mode[2] ? high_unsigned(a->ux[l], b->ux[l]) : a->ux[l] * b->ux[l], v = x + c->ux[l] + in;
            out = v < x || (in && v == x);
            d->ux[l] = v;
        } else {
            uint64_t product = (uint64_t)a->u[l] * b->u[l];
            uint64_t v = (op->mode[2] ? product >> 32 : (uint32_t)product) + (uint64_t)c->u[l] + in;
            out = (uint32_t)(v >> 32);
            d->u[l] = (uint32_t)v;
        }
        if (op->mode[1]) w->carry = (w->carry & ~(1u << l)) | out << l;
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Decoders */

static void sources(struct core_decode *d, uint32_t count, enum ptx_type type)
{
    for (uint32_t i = 1; i <= count; i++) decode_source(d, OPERAND(i), type);
}

static void simple(struct core_decode *d, const struct core_typed *list, uint32_t count)
{
    enum ptx_type type = decode_type(d);
    core_handler *run = decode_typed(d, list, type);
    decode_operands(d, count + 1, count + 1);
    decode_target(d, OPERAND(0), type);
    sources(d, count, type);
    decode_emit(d, run);
}

static void carry(struct core_decode *d, bool take, bool subtract)
{
    d->op.mode[0] = take;
    d->op.mode[1] = decode_take(d, "cc");
    d->op.mode[2] = subtract;
    enum ptx_type type = decode_type(d);
    if (type < PTX_B32 || (ptx_type_bytes(type) != 4 && ptx_type_bytes(type) != 8))
        decode_fail(d, "not known for this type");
    d->op.bytes = (uint8_t)ptx_type_bytes(type);
    decode_operands(d, 3, 3);
    decode_target(d, OPERAND(0), type);
    sources(d, 2, type);
    decode_emit(d, run_carry);
}

static bool has(struct core_decode *d, const char *modifier)
{
    uint32_t used = d->used;
    bool yes = decode_take(d, modifier);
    d->used = used;
    return yes;
}

static void sum(struct core_decode *d, bool subtract)
{
    if (decode_is_float(d)) {
        core_decode_float(d);
    } else if (has(d, "cc")) {
        carry(d, false, subtract);
    } else if (decode_take(d, "sat")) {
        if (decode_type(d) != PTX_S32) decode_fail(d, ".sat is for .s32");
        decode_operands(d, 3, 3);
        decode_target(d, OPERAND(0), PTX_S32);
        sources(d, 2, PTX_S32);
        decode_emit(d, subtract ? sub_sat : add_sat);
    } else {
        simple(d, subtract ? sub_typed : add_typed, 2);
    }
}
static void decode_add(struct core_decode *d)
{
    sum(d, false);
}
static void decode_sub(struct core_decode *d)
{
    sum(d, true);
}
static void decode_addc(struct core_decode *d)
{
    carry(d, true, false);
}
static void decode_subc(struct core_decode *d)
{
    carry(d, true, true);
}

static enum ptx_type twice(enum ptx_type type)
{
    return type == PTX_U16 ? PTX_U32 : type == PTX_S16 ? PTX_S32 : type == PTX_U32 ? PTX_U64 : PTX_S64;
}

static void product(struct core_decode *d, const struct core_typed *low, const struct core_typed *high,
                    const struct core_typed *wide, bool add)
{
    static const char *const parts[] = {"lo", "hi", "wide", NULL};
    int part = decode_choice(d, parts);
    if (part < 0) decode_fail(d, "expected .lo, .hi or .wide");
    enum ptx_type type = decode_type(d);
    core_handler *run = decode_typed(d, part == 0 ? low : part == 1 ? high : wide, type);
    enum ptx_type result = part == 2 ? twice(type) : type;
    decode_operands(d, add ? 4 : 3, add ? 4 : 3);
    decode_target(d, OPERAND(0), result);
    sources(d, 2, type);
    if (add) decode_source(d, OPERAND(3), result);
    decode_emit(d, run);
}
static void decode_mul(struct core_decode *d)
{
    if (decode_is_float(d))
        core_decode_float(d);
    else
        product(d, mul_typed, mulhi_typed, mulwide_typed, false);
}
static void mad_carry(struct core_decode *d, bool take)
{
    d->op.mode[0] = take;
    d->op.mode[1] = decode_take(d, "cc");
    d->op.mode[2] = decode_take(d, "hi");
    if (!d->op.mode[2] && !decode_take(d, "lo")) decode_fail(d, "expected .lo or .hi");
    enum ptx_type type = decode_type(d);
    if (type != PTX_U32 && type != PTX_U64 && (d->op.mode[2] || (type != PTX_S32 && type != PTX_S64)))
        decode_fail(d, "not known for this type");
    d->op.bytes = (uint8_t)ptx_type_bytes(type);
    decode_operands(d, 4, 4);
    decode_target(d, OPERAND(0), type);
    sources(d, 3, type);
    decode_emit(d, run_mad_carry);
}
static void decode_madc(struct core_decode *d)
{
    mad_carry(d, true);
}
static void decode_mad(struct core_decode *d)
{
    if (decode_is_float(d))
        core_decode_float(d);
    else if (has(d, "cc"))
        mad_carry(d, false);
    else
        product(d, mad_typed, madhi_typed, madwide_typed, true);
}
static void decode_mul24(struct core_decode *d)
{
    if (!decode_take(d, "lo")) decode_fail(d, "expected .lo");
    static const struct core_typed list[] = {{PTX_U32, mul24_u}, {PTX_S32, mul24_s}, {PTX_NONE, NULL}};
    simple(d, list, 2);
}

#define INTEGER_OR_FLOAT(name, list, count)                                                                            \
    static void decode_##name(struct core_decode *d)                                                                   \
    {                                                                                                                  \
        if (decode_is_float(d))                                                                                        \
            core_decode_float(d);                                                                                      \
        else                                                                                                           \
            simple(d, list, count);                                                                                    \
    }
INTEGER_OR_FLOAT(div, div_typed, 2)
INTEGER_OR_FLOAT(min, min_typed, 2)
INTEGER_OR_FLOAT(max, max_typed, 2)
INTEGER_OR_FLOAT(abs, abs_typed, 1)
INTEGER_OR_FLOAT(neg, neg_typed, 1)
static void decode_rem(struct core_decode *d)
{
    simple(d, rem_typed, 2);
}
static void decode_sad(struct core_decode *d)
{
    simple(d, sad_typed, 3);
}
static void decode_cnot(struct core_decode *d)
{
    simple(d, cnot_typed, 1);
}
static void decode_brev(struct core_decode *d)
{
    simple(d, brev_typed, 1);
}

/* Predicates are bits of one word, so logic on them is one operation. */
static void pred_and(struct core_warp *w, const struct core_op *op)
{
    core_set_pred(w, core_pred(w, op, 0), *core_pred(w, op, 1) & *core_pred(w, op, 2));
}
static void pred_or(struct core_warp *w, const struct core_op *op)
{
    core_set_pred(w, core_pred(w, op, 0), *core_pred(w, op, 1) | *core_pred(w, op, 2));
}
static void pred_xor(struct core_warp *w, const struct core_op *op)
{
    core_set_pred(w, core_pred(w, op, 0), *core_pred(w, op, 1) ^ *core_pred(w, op, 2));
}
static void pred_not(struct core_warp *w, const struct core_op *op)
{
    core_set_pred(w, core_pred(w, op, 0), ~*core_pred(w, op, 1));
}
static void pred_mov(struct core_warp *w, const struct core_op *op)
{
    core_set_pred(w, core_pred(w, op, 0), *core_pred(w, op, 1));
}

static void logic(struct core_decode *d, const struct core_typed *list, core_handler *pred, uint32_t count)
{
    if (!has(d, "pred")) {
        simple(d, list, count);
        return;
    }
    decode_take(d, "pred");
    decode_operands(d, count + 1, count + 1);
    decode_pred_target(d, OPERAND(0));
    for (uint32_t i = 1; i <= count; i++) decode_pred_source(d, OPERAND(i));
    decode_emit(d, pred);
}
static void decode_and(struct core_decode *d)
{
    logic(d, and_typed, pred_and, 2);
}
static void decode_or(struct core_decode *d)
{
    logic(d, or_typed, pred_or, 2);
}
static void decode_xor(struct core_decode *d)
{
    logic(d, xor_typed, pred_xor, 2);
}
static void decode_not(struct core_decode *d)
{
    logic(d, not_typed, pred_not, 1);
}

/* Result of 32 bits whatever the source has. */
static void counting(struct core_decode *d, const struct core_typed *list)
{
    d->op.mode[0] = decode_take(d, "shiftamt");
    enum ptx_type type = decode_type(d);
    decode_operands(d, 2, 2);
    decode_target(d, OPERAND(0), PTX_U32);
    sources(d, 1, type);
    decode_emit(d, decode_typed(d, list, type));
}
static void decode_popc(struct core_decode *d)
{
    counting(d, popc_typed);
}
static void decode_clz(struct core_decode *d)
{
    counting(d, clz_typed);
}
static void decode_bfind(struct core_decode *d)
{
    counting(d, bfind_typed);
}

static void shift(struct core_decode *d, const struct core_typed *list)
{
    enum ptx_type type = decode_type(d);
    decode_operands(d, 3, 3);
    decode_target(d, OPERAND(0), type);
    sources(d, 1, type);
    decode_source(d, OPERAND(2), PTX_U32);
    decode_emit(d, decode_typed(d, list, type));
}
static void decode_shl(struct core_decode *d)
{
    shift(d, shl_typed);
}
static void decode_shr(struct core_decode *d)
{
    shift(d, shr_typed);
}

static void decode_shf(struct core_decode *d)
{
    static const char *const ways[] = {"l", "r", NULL}, *const ends[] = {"clamp", "wrap", NULL};
    int way = decode_choice(d, ways), end = decode_choice(d, ends);
    if (way < 0 || end < 0 || decode_type(d) != PTX_B32) decode_fail(d, "expected shf.{l,r}.{clamp,wrap}.b32");
    decode_operands(d, 4, 4);
    d->op.mode[0] = (uint8_t)end;
    decode_target(d, OPERAND(0), PTX_B32);
    sources(d, 3, PTX_B32);
    decode_emit(d, way ? shf_right : shf_left);
}

static void decode_bfe(struct core_decode *d)
{
    enum ptx_type type = decode_type(d);
    decode_operands(d, 4, 4);
    decode_target(d, OPERAND(0), type);
    sources(d, 1, type);
    decode_source(d, OPERAND(2), PTX_U32);
    decode_source(d, OPERAND(3), PTX_U32);
    decode_emit(d, decode_typed(d, bfe_typed, type));
}
static void decode_bfi(struct core_decode *d)
{
    enum ptx_type type = decode_type(d);
    decode_operands(d, 5, 5);
    decode_target(d, OPERAND(0), type);
    sources(d, 2, type);
    decode_source(d, OPERAND(3), PTX_U32);
    decode_source(d, OPERAND(4), PTX_U32);
    decode_emit(d, decode_typed(d, bfi_typed, type));
}
static void decode_lop3(struct core_decode *d)
{
    if (decode_type(d) != PTX_B32) decode_fail(d, "expected .b32");
    decode_operands(d, 5, 5);
    d->op.mode[0] = (uint8_t)decode_immediate(d, OPERAND(4));
    decode_target(d, OPERAND(0), PTX_B32);
    sources(d, 3, PTX_B32);
    decode_emit(d, lop3);
}
static void decode_prmt(struct core_decode *d)
{
    static const char *const modes[] = {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16", NULL};
    if (decode_type(d) != PTX_B32) decode_fail(d, "expected .b32");
    d->op.mode[0] = (uint8_t)(decode_choice(d, modes) + 1);
    decode_operands(d, 4, 4);
    decode_target(d, OPERAND(0), PTX_B32);
    sources(d, 3, PTX_B32);
    decode_emit(d, prmt);
}
static void decode_dp4a(struct core_decode *d)
{
    enum ptx_type a = decode_type(d), b = decode_type(d);
    if ((a != PTX_U32 && a != PTX_S32) || (b != PTX_U32 && b != PTX_S32)) decode_fail(d, "expected two of .u32, .s32");
    d->op.mode[0] = a == PTX_S32;
    d->op.mode[1] = b == PTX_S32;
    decode_operands(d, 4, 4);
    decode_target(d, OPERAND(0), PTX_S32);
    sources(d, 3, PTX_S32);
    decode_emit(d, dp4a);
}

/* ---- mov ---- */

HANDLER1(mov_32, u, u, uint32_t, x)
HANDLER1(mov_64, ux, ux, uint64_t, x)

/* mode[0]: parts, mode[1]: bits of a part, mode[2]: parts are wide registers (never), flags 1: the whole is wide */
static void run_pack(struct core_warp *w, const struct core_op *op)
{
    uint32_t parts = op->mode[0], bits = op->mode[1];
    EACH_LANE(l, w->mask)
    {
        uint64_t v = 0;
        for (uint32_t i = 0; i < parts; i++)
            v |= (uint64_t)(core_reg(w, op, (int)i + 1)->u[l] & (uint32_t)(((uint64_t)1 << bits) - 1)) << (i * bits);
        if (op->flags & 1)
            core_reg(w, op, 0)->ux[l] = v;
        else
            core_reg(w, op, 0)->u[l] = (uint32_t)v;
    }
}
static void run_unpack(struct core_warp *w, const struct core_op *op)
{
    uint32_t parts = op->mode[0], bits = op->mode[1];
    const union core_register *a = core_reg(w, op, (int)parts);
    EACH_LANE(l, w->mask)
    {
        uint64_t v = op->flags & 1 ? a->ux[l] : a->u[l];
        for (uint32_t i = 0; i < parts; i++)
            core_reg(w, op, (int)i)->u[l] = (uint32_t)(v >> (i * bits) & (((uint64_t)1 << bits) - 1));
    }
}
/* Clocks are the host's: they only have to go on. mode[0]: 32 bits, mode[1]: upper half */
static void run_clock(struct core_warp *w, const struct core_op *op)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t v = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    w->yield = true;
    EACH_LANE(l, w->mask)
    {
        if (op->mode[0])
            core_reg(w, op, 0)->u[l] = (uint32_t)(op->mode[1] ? v >> 32 : v);
        else
            core_reg(w, op, 0)->ux[l] = v;
    }
}

static void decode_mov(struct core_decode *d)
{
    if (decode_take(d, "pred")) {
        decode_operands(d, 2, 2);
        decode_pred_target(d, OPERAND(0));
        decode_pred_source(d, OPERAND(1));
        decode_emit(d, pred_mov);
        return;
    }
    enum ptx_type type = decode_type(d);
    uint32_t bytes = ptx_type_bytes(type);
    if (!bytes || bytes > 8) decode_fail(d, "not known for this type");
    decode_operands(d, 2, 2);
    const struct ptx_operand *to = OPERAND(0), *from = OPERAND(1);
    const struct ptx_operand *vector = to->kind == PTX_VECTOR ? to : from->kind == PTX_VECTOR ? from : NULL;
    if (vector) {
        uint32_t n = vector->item_count;
        if ((n != 2 && n != 4) || bytes % n) decode_fail(d, "expected 2 or 4 parts that fill the whole");
        enum ptx_type part = bytes / n == 4 ? PTX_B32 : bytes / n == 2 ? PTX_B16 : PTX_B8;
        d->op.mode[0] = (uint8_t)n;
        d->op.mode[1] = (uint8_t)(bytes * 8 / n);
        d->op.flags = bytes == 8;
        if (vector == to) {
            for (uint32_t i = 0; i < n; i++) decode_target(d, &to->items[i], part);
            decode_source(d, from, type);
        } else {
            decode_target(d, to, type);
            for (uint32_t i = 0; i < n; i++) decode_source(d, &from->items[i], part);
        }
        decode_emit(d, vector == to ? run_unpack : run_pack);
        return;
    }
    if (from->kind == PTX_NAME && (!strncmp(from->name, "%clock", 6) || !strncmp(from->name, "%globaltimer", 12))) {
        d->op.mode[0] = bytes == 4;
        d->op.mode[1] = strstr(from->name, "_hi") != NULL;
        decode_target(d, to, type);
        decode_emit(d, run_clock);
        return;
    }
    decode_target(d, to, type);
    decode_source(d, from, type);
    decode_emit(d, bytes == 8 ? mov_64 : mov_32);
}

const struct core_opcode core_integer_opcodes[] = {
    {"add", decode_add},   {"sub", decode_sub},   {"addc", decode_addc}, {"subc", decode_subc},
    {"mul", decode_mul},   {"mad", decode_mad},   {"madc", decode_madc}, {"mul24", decode_mul24},
    {"div", decode_div},   {"rem", decode_rem},   {"min", decode_min},   {"max", decode_max},
    {"abs", decode_abs},   {"neg", decode_neg},   {"sad", decode_sad},   {"and", decode_and},
    {"or", decode_or},     {"xor", decode_xor},   {"not", decode_not},   {"cnot", decode_cnot},
    {"popc", decode_popc}, {"clz", decode_clz},   {"brev", decode_brev}, {"bfind", decode_bfind},
    {"shl", decode_shl},   {"shr", decode_shr},   {"shf", decode_shf},   {"bfe", decode_bfe},
    {"bfi", decode_bfi},   {"lop3", decode_lop3}, {"prmt", decode_prmt}, {"dp4a", decode_dp4a},
    {"mov", decode_mov},   {NULL, NULL}};
