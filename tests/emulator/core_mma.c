/*
 * mma.sync: D = A*B + C on fragments spread over a warp. With g = lane/4, t = lane%4 and `per` elements in a register:
 *   A register i: row g + 8*(i&1), k = (i>>1)*4*per + per*t ...; B register i: column g, k = i*4*per + per*t ...
 *   C and D of 32 bits: c0 c1 are row g, columns 2t and 2t+1, c2 c3 row g+8; of 16 bits two columns share a register.
 * Block scales (kind::mxf8f6f4): byte byteA of lane 4g + 2*threadA (row g) and of the next lane (row g+8); byte byteB of
 * lane 4g + threadB (column g); the value is 2^(byte-127).
 *
 * Two ways to sum: in double, rounded once (fast), or as the tensor cores of the simulated part do it, by the rules
 * published with MMA-Sim (arXiv 2511.10909): all terms shifted to the largest exponent, truncated to F fractional bits,
 * added exactly, truncated to f32. Integers are exact either way.
 */
#include "tests/emulator/core_internal.h"
#include <math.h>
#include <string.h>

enum { ROWS = 16, COLUMNS = 8, MAX_K = 32 };

/* mode[0]: type of A, [1]: of B, [2]: of D and C, [3]: K, [4]: saturate; flags 1: block scales
 * r: d..., a..., b..., c..., then scaleA, byteA, threadA, scaleB, byteB, threadB */

struct shape {
    uint32_t k, per, a, b, c; /* registers */
};
static struct shape shape_of(const struct core_op *op)
{
    uint32_t per = 4 / ptx_type_bytes((enum ptx_type)op->mode[0]), k = op->mode[3];
    return (struct shape){k, per, k / (4 * per) * 2, k / (4 * per), op->mode[2] == PTX_F16 ? 2 : 4};
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
/* Exponent and mantissa moved into an f32 and rescaled: subnormals come out right, too. */
static float from_f16(uint32_t v)
{
    float f =
        (v & 0x7c00) == 0x7c00 ? float_of(0x7f800000 | (v & 0x3ff) << 13) : float_of((v & 0x7fff) << 13) * 0x1p112f;
    return v & 0x8000 ? -f : f;
}
static float from_e4m3(uint32_t v)
{
    float f = (v & 0x7f) == 0x7f ? NAN : float_of((v & 0x7f) << 20) * 0x1p120f;
    return v & 0x80 ? -f : f;
}
#define FROM_BF16(v) float_of((v) << 16)
#define FROM_TF32(v) float_of((v)&0xffffe000) /* the low 13 bits are not looked at */
#define FROM_E5M2(v) from_f16((v) << 8)

/* Registers first.. of a fragment as elements: A as [row][k], B as [k][column]. One function for each element type. */
#define GATHER(name, T, PER, convert)                                                                                  \
    static void name##_a(struct core_warp *w, const struct core_op *op, int first, uint32_t registers,                 \
                         T a[ROWS][MAX_K])                                                                             \
    {                                                                                                                  \
        for (uint32_t i = 0; i < registers; i++) {                                                                     \
            const union core_register *r = core_reg(w, op, first + (int)i);                                            \
            for (uint32_t l = 0; l < LANES; l++) {                                                                     \
                T *to = &a[(l >> 2) + 8 * (i & 1)][(i >> 1) * 4 * PER + PER * (l & 3)];                                \
                for (uint32_t j = 0; j < PER; j++)                                                                     \
                    to[j] = convert(r->u[l] >> (j * (32 / PER) % 32) & (ALL_LANES >> (32 - 32 / PER)));                \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    static void name##_b(struct core_warp *w, const struct core_op *op, int first, uint32_t registers,                 \
                         T b[MAX_K][COLUMNS])                                                                          \
    {                                                                                                                  \
        for (uint32_t i = 0; i < registers; i++) {                                                                     \
            const union core_register *r = core_reg(w, op, first + (int)i);                                            \
            for (uint32_t l = 0; l < LANES; l++)                                                                       \
                for (uint32_t j = 0; j < PER; j++)                                                                     \
                    b[i * 4 * PER + PER * (l & 3) + j][l >> 2] =                                                       \
                        convert(r->u[l] >> (j * (32 / PER) % 32) & (ALL_LANES >> (32 - 32 / PER)));                    \
        }                                                                                                              \
    }
GATHER(gather_bf16, float, 2, FROM_BF16)
GATHER(gather_f16, float, 2, from_f16)
GATHER(gather_tf32, float, 1, FROM_TF32)
GATHER(gather_e4m3, float, 4, from_e4m3)
GATHER(gather_e5m2, float, 4, FROM_E5M2)
GATHER(gather_s8, int32_t, 4, (int8_t))
GATHER(gather_u8, int32_t, 4, (uint8_t))

static void gather_floats(struct core_warp *w, const struct core_op *op, struct shape s, float a[ROWS][MAX_K],
                          float b[MAX_K][COLUMNS])
{
    int at = (int)s.c, bt = (int)(s.c + s.a);
    switch ((enum ptx_type)op->mode[0]) {
    case PTX_BF16:
        gather_bf16_a(w, op, at, s.a, a);
        break;
    case PTX_F16:
        gather_f16_a(w, op, at, s.a, a);
        break;
    case PTX_TF32:
        gather_tf32_a(w, op, at, s.a, a);
        break;
    case PTX_E4M3:
        gather_e4m3_a(w, op, at, s.a, a);
        break;
    default:
        gather_e5m2_a(w, op, at, s.a, a);
    }
    switch ((enum ptx_type)op->mode[1]) {
    case PTX_BF16:
        gather_bf16_b(w, op, bt, s.b, b);
        break;
    case PTX_F16:
        gather_f16_b(w, op, bt, s.b, b);
        break;
    case PTX_TF32:
        gather_tf32_b(w, op, bt, s.b, b);
        break;
    case PTX_E4M3:
        gather_e4m3_b(w, op, bt, s.b, b);
        break;
    default:
        gather_e5m2_b(w, op, bt, s.b, b);
    }
}

static void run_integers(struct core_warp *w, const struct core_op *op)
{
    struct shape s = shape_of(op);
    int32_t a[ROWS][MAX_K], b[MAX_K][COLUMNS];
    uint32_t result[4][LANES]; /* D may share registers with C in another order */
    if (op->mode[0] == PTX_S8)
        gather_s8_a(w, op, (int)s.c, s.a, a);
    else
        gather_u8_a(w, op, (int)s.c, s.a, a);
    if (op->mode[1] == PTX_S8)
        gather_s8_b(w, op, (int)(s.c + s.a), s.b, b);
    else
        gather_u8_b(w, op, (int)(s.c + s.a), s.b, b);
    for (uint32_t row = 0; row < ROWS; row++) {
        uint32_t sum[COLUMNS] = {0};
        for (uint32_t k = 0; k < s.k; k++)
            for (uint32_t n = 0; n < COLUMNS; n++) sum[n] += (uint32_t)(a[row][k] * b[k][n]);
        for (uint32_t n = 0; n < COLUMNS; n++) {
            uint32_t i = (row >> 3) * 2 + (n & 1), lane = (row & 7) * 4 + n / 2;
            uint32_t c = core_reg(w, op, (int)(s.c + s.a + s.b + i))->u[lane];
            int64_t exact = (int64_t)(int32_t)sum[n] + (int32_t)c;
            if (op->mode[4])
                result[i][lane] = (uint32_t)(exact > INT32_MAX ? INT32_MAX : exact < INT32_MIN ? INT32_MIN : exact);
            else
                result[i][lane] = sum[n] + c;
        }
    }
    for (int i = 0; i < 4; i++) memcpy(core_reg(w, op, i)->u, result[i], sizeof(result[i]));
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* The hardware's sum of one element: c and the products a[k]*b[k] for k in [from, to). */

/* A factor as the adders see it: significand * 2^(exponent - POINT), with the format's least exponent for subnormals and
 * exponent -126 for zero. */
enum { POINT = 10 }; /* no factor has more than 10 bits behind the point */
struct factor {
    int32_t significand;
    int exponent;
};
static struct factor split(float v, int least)
{
    int e;
    if (v == 0 || !isfinite(v)) return (struct factor){0, -126};
    frexpf(v, &e);
    e = e - 1 > least ? e - 1 : least;
    return (struct factor){(int32_t)ldexpf(v, POINT - e), e};
}
static int least_exponent(enum ptx_type type)
{
    return type == PTX_E4M3 ? -6 : type == PTX_F16 || type == PTX_E5M2 ? -14 : -126;
}

struct part { /* how the simulated part sums this type */
    int fraction;
    bool halves; /* the instruction is two half-K sums in sequence */
    bool cut;    /* the result keeps only `fraction` bits */
};
static struct part part_of(int sm, enum ptx_type type)
{
    bool fp8 = type == PTX_E4M3 || type == PTX_E5M2;
    if (sm >= 100) return (struct part){25, false, false};
    if (sm >= 90) return (struct part){25, fp8, false}; /* FP8 is expanded to two f16 instructions there */
    return fp8 ? (struct part){13, true, true} : (struct part){24, true, false};
}

static double exact_sum(const struct core_op *op, struct part part, double c, const struct factor *a,
                        const struct factor b[MAX_K][COLUMNS], uint32_t n, uint32_t from, uint32_t to, int scale)
{
    int most = -126;
    if (c != 0) {
        int least = op->mode[2] == PTX_F16 ? -14 : -126;
        frexp(c, &most);
        most = most - 1 > least ? most - 1 : least;
    }
    for (uint32_t k = from; k < to; k++) {
        int e = a[k].significand && b[k][n].significand ? a[k].exponent + b[k][n].exponent + scale : -126;
        if (e > most) most = e;
    }
    int64_t sum = (int64_t)trunc(ldexp(c, part.fraction - most));
    for (uint32_t k = from; k < to; k++) {
        int64_t product = (int64_t)a[k].significand * b[k][n].significand, size = product < 0 ? -product : product;
        if (!product) continue;
        int shift = a[k].exponent + b[k][n].exponent + scale - 2 * POINT - most + part.fraction;
        size = shift >= 0 ? size << shift : -shift < 63 ? size >> -shift : 0;
        sum += product < 0 ? -size : size;
    }
    double v = ldexp((double)sum, most - part.fraction);
    if (op->mode[2] == PTX_F16) return v;
    float f = core_round_float(v, ROUND_ZERO);
    if (part.cut) {
        uint32_t u;
        memcpy(&u, &f, 4);
        u &= ~((1u << (23 - part.fraction)) - 1);
        memcpy(&f, &u, 4);
    }
    return (double)f;
}

static double load_c(struct core_warp *w, const struct core_op *op, struct shape s, uint32_t row, uint32_t n)
{
    uint32_t lane = (row & 7) * 4 + n / 2, base = s.c + s.a + s.b;
    if (op->mode[2] == PTX_F16)
        return (double)core_half_to_float(
            (uint16_t)(core_reg(w, op, (int)(base + (row >> 3)))->u[lane] >> (n & 1) * 16));
    return (double)core_reg(w, op, (int)(base + (row >> 3) * 2 + (n & 1)))->f[lane];
}

static void store_d(struct core_warp *w, const struct core_op *op, uint32_t row, uint32_t n, double v)
{
    uint32_t lane = (row & 7) * 4 + n / 2;
    if (op->mode[2] == PTX_F16) {
        uint32_t *d = &core_reg(w, op, (int)(row >> 3))->u[lane];
        uint32_t shift = (n & 1) * 16;
        *d = (*d & ~(0xffffu << shift)) | (uint32_t)core_float_to_half(v, ROUND_NEAREST) << shift;
    } else {
        union core_register *d = core_reg(w, op, (int)((row >> 3) * 2 + (n & 1)));
        d->f[lane] = (float)v;
        if (isnan(v)) d->u[lane] = 0x7fffffff;
    }
}

/* Scale exponents of the rows and columns; SCALE_NAN for the byte 255. */
#define SCALE_NAN 100000
static void gather_scales(struct core_warp *w, const struct core_op *op, struct shape s, int rows[ROWS],
                          int columns[COLUMNS])
{
    int at = (int)(2 * s.c + s.a + s.b);
    const union core_register *sa = core_reg(w, op, at), *sb = core_reg(w, op, at + 3);
    uint32_t byte_a = core_reg(w, op, at + 1)->u[0] & 0xffff, thread_a = core_reg(w, op, at + 2)->u[0] & 0xffff;
    uint32_t byte_b = core_reg(w, op, at + 4)->u[0] & 0xffff, thread_b = core_reg(w, op, at + 5)->u[0] & 0xffff;
    if (byte_a > 3 || byte_b > 3 || thread_a > 1 || thread_b > 3)
        core_fault(w, -1, CORE_FAULT_LAUNCH, 0, "mma: scale selectors {%u, %u} {%u, %u} out of range", byte_a, thread_a,
                   byte_b, thread_b);
    for (uint32_t g = 0; g < 8; g++) {
        uint32_t bytes[3] = {sa->u[4 * g + 2 * thread_a] >> (8 * byte_a) & 0xff,
                             sa->u[4 * g + 2 * thread_a + 1] >> (8 * byte_a) & 0xff,
                             sb->u[4 * g + thread_b] >> (8 * byte_b) & 0xff};
        int *to[3] = {&rows[g], &rows[g + 8], &columns[g]};
        for (int i = 0; i < 3; i++) *to[i] = bytes[i] == 255 ? SCALE_NAN : (int)bytes[i] - 127;
    }
}

/* The frequent case, sums in double into f32 without scales: no branches but the loops. */
static void run_fast(struct core_warp *w, const struct core_op *op, struct shape s, const float a[ROWS][MAX_K],
                     const float b[MAX_K][COLUMNS])
{
    double sum[ROWS][COLUMNS];
    uint32_t result[4][LANES];
    core_lanes()->products(s.k, a, b, sum);
    for (uint32_t i = 0; i < 4; i++) {
        const union core_register *c = core_reg(w, op, (int)(s.c + s.a + s.b + i));
        for (uint32_t l = 0; l < LANES; l++) {
            float v = (float)(sum[(l >> 2) + 8 * (i >> 1)][2 * (l & 3) + (i & 1)] + (double)c->f[l]);
            memcpy(&result[i][l], &v, 4);
            if (v != v) result[i][l] = 0x7fffffff;
        }
    }
    for (int i = 0; i < 4; i++) memcpy(core_reg(w, op, i)->u, result[i], sizeof(result[i]));
}

static void run_floats(struct core_warp *w, const struct core_op *op)
{
    struct shape s = shape_of(op);
    float a[ROWS][MAX_K], b[MAX_K][COLUMNS];
    int rows[ROWS] = {0}, columns[COLUMNS] = {0};
    const struct core_options *options = &w->block->job->launch->options;
    double result[ROWS][COLUMNS], sum[ROWS][COLUMNS];
    gather_floats(w, op, s, a, b);
    if (!op->flags && !options->exact_mma && op->mode[2] == PTX_F32) {
        run_fast(w, op, s, (const float(*)[MAX_K])a, (const float(*)[COLUMNS])b);
        return;
    }
    core_lanes()->products(s.k, (const float(*)[MAX_K])a, (const float(*)[COLUMNS])b, sum);
    if (op->flags & 1) gather_scales(w, op, s, rows, columns);
    struct factor fa[ROWS][MAX_K], fb[MAX_K][COLUMNS];
    for (uint32_t k = 0; k < s.k && options->exact_mma; k++) {
        for (uint32_t row = 0; row < ROWS; row++)
            fa[row][k] = split(a[row][k], least_exponent((enum ptx_type)op->mode[0]));
        for (uint32_t n = 0; n < COLUMNS; n++) fb[k][n] = split(b[k][n], least_exponent((enum ptx_type)op->mode[1]));
    }
    for (uint32_t row = 0; row < ROWS; row++) {
        for (uint32_t n = 0; n < COLUMNS; n++) {
            double c = load_c(w, op, s, row, n), factor = 1;
            int scale = rows[row] + columns[n];
            if (op->flags & 1) factor = rows[row] == SCALE_NAN || columns[n] == SCALE_NAN ? NAN : ldexp(1, scale);
            double v = sum[row][n] * factor + c;
            if (options->exact_mma && isfinite(v)) {
                struct part part = part_of(options->sm, (enum ptx_type)op->mode[0]);
                uint32_t half = part.halves && s.k * 4 > 16 * s.per ? s.k / 2 : s.k;
                v = c;
                for (uint32_t k = 0; k < s.k; k += half)
                    v = exact_sum(op, part, v, fa[row], (const struct factor(*)[COLUMNS])fb, n, k, k + half, scale);
            }
            result[row][n] = v;
        }
    }
    for (uint32_t row = 0; row < ROWS; row++)
        for (uint32_t n = 0; n < COLUMNS; n++) store_d(w, op, row, n, result[row][n]);
}

/* ------------------------------------------------------------------------------------------------------------------ */

static void fragment(struct core_decode *d, const struct ptx_operand *o, uint32_t count, enum ptx_type type,
                     bool target)
{
    if (o->kind != PTX_VECTOR || o->item_count != count) decode_fail(d, "expected a fragment of %u registers", count);
    for (uint32_t i = 0; i < count; i++) {
        if (target)
            decode_target(d, &o->items[i], type);
        else
            decode_source(d, &o->items[i], type);
    }
}

static void decode_mma(struct core_decode *d)
{
    static const char *const shapes[] = {"m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32", NULL};
    static const uint32_t ks[] = {4, 8, 16, 32};
    bool ok = decode_take(d, "sync") && decode_take(d, "aligned");
    int shape = decode_choice(d, shapes);
    ok = ok && shape >= 0 && decode_take(d, "row") && decode_take(d, "col");
    if (!ok) decode_fail(d, "a form that is not known");
    bool mxf8 = decode_take(d, "kind::mxf8f6f4"), f8 = decode_take(d, "kind::f8f6f4"),
         scaled = decode_take(d, "block_scale");
    decode_take(d, "scale_vec::1X");
    bool saturate = decode_take(d, "satfinite");
    enum ptx_type to = decode_type(d), a = decode_type(d), b = decode_type(d), c = decode_type(d);
    uint32_t k = ks[shape];
    bool fp8 = (a == PTX_E4M3 || a == PTX_E5M2) && (b == PTX_E4M3 || b == PTX_E5M2),
         integer = (a == PTX_S8 || a == PTX_U8) && (b == PTX_S8 || b == PTX_U8);
    if (fp8)
        ok = (k == 32 || k == 16) && (to == PTX_F32 || (to == PTX_F16 && !scaled));
    else if (integer)
        ok = (k == 32 || k == 16) && to == PTX_S32;
    else if (a == PTX_F16 && b == PTX_F16)
        ok = (k == 16 || k == 8) && (to == PTX_F32 || to == PTX_F16);
    else if (a == PTX_BF16 && b == PTX_BF16)
        ok = (k == 16 || k == 8) && to == PTX_F32;
    else if (a == PTX_TF32 && b == PTX_TF32)
        ok = (k == 8 || k == 4) && to == PTX_F32;
    else
        ok = false;
    if (!ok || c != to || (saturate && !integer) || mxf8 != scaled || ((mxf8 || f8) && (!fp8 || k != 32)))
        decode_fail(d, "a combination of shape and types that is not known");
    if (fp8) decode_needs(d, 89, false);
    if (mxf8 || f8) decode_needs(d, 120, true);
    if (scaled && decode_type(d) != PTX_UE8M0) decode_fail(d, "expected .ue8m0 scales");
    d->op.mode[0] = (uint8_t)a;
    d->op.mode[1] = (uint8_t)b;
    d->op.mode[2] = (uint8_t)to;
    d->op.mode[3] = (uint8_t)k;
    d->op.mode[4] = saturate;
    d->op.flags = scaled;
    d->op.kind = KIND_WARP;
    struct shape s = shape_of(&d->op);
    enum ptx_type holds = to == PTX_F16 ? PTX_B32 : to;
    decode_operands(d, scaled ? 8 : 4, scaled ? 8 : 4);
    fragment(d, OPERAND(0), s.c, holds, true);
    fragment(d, OPERAND(1), s.a, PTX_B32, false);
    fragment(d, OPERAND(2), s.b, PTX_B32, false);
    fragment(d, OPERAND(3), s.c, holds, false);
    for (uint32_t i = 4; scaled && i < 8; i += 2) { /* scale registers may stand in braces */
        const struct ptx_operand *scale = OPERAND(i)->kind == PTX_VECTOR ? OPERAND(i)->items : OPERAND(i);
        decode_source(d, scale, PTX_B32);
        fragment(d, OPERAND(i + 1), 2, PTX_B16, false);
    }
    decode_emit(d, integer ? run_integers : run_floats);
}

const struct core_opcode core_mma_opcodes[] = {{"mma", decode_mma}, {NULL, NULL}};
