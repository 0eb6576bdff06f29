/*
 * Floating-point arithmetic. The common f32 forms (round to nearest, no flushing, no clamping) have loops of their own;
 * everything else goes lane by lane through one function that computes in double with a sticky last bit and rounds once.
 * The approximate functions (ex2, rcp, tanh ...) give the host's value, which differs from the hardware's in last bits.
 */
#include "tests/emulator/core_internal.h"
#include <math.h>
#include <string.h>

/* A double near `v` whose last bit is odd when `error` (exact value minus v) is not zero: it then lies on the exact
 * value's side of every rounding boundary of a narrower format. */
static double sticky(double v, double error)
{
    uint64_t bits;
    if (error == 0 || !isfinite(v) || error != error) return v;
    memcpy(&bits, &v, 8);
    if (bits & 1) return v;
    return nextafter(v, error > 0 ? INFINITY : -INFINITY);
}

double core_sum_odd(double x, double y)
{
    double s = x + y, t = s - x;
    return sticky(s, (x - (s - t)) + (y - t));
}

float core_round_float(double v, enum core_rounding rounding)
{
    float f = (float)v;
    if (rounding == ROUND_NEAREST || isnan(v) || (double)f == v) return f;
    bool above = (double)f > v;
    if (rounding == ROUND_DOWN || (rounding == ROUND_ZERO && v > 0)) return above ? nextafterf(f, -INFINITY) : f;
    if (rounding == ROUND_UP || rounding == ROUND_ZERO) return above ? f : nextafterf(f, INFINITY);
    return f;
}

enum operation { ADD, SUB, MUL, FMA, DIV, MIN, MAX, ABS, NEG, RCP, SQRT, RSQRT, SIN, COS, LG2, EX2, TANH, COPYSIGN };
enum { FTZ = 1, SAT = 2, RELU = 4, KEEP_NAN = 8, ABS_XOR = 16 };

static double smaller(double x, double y, bool keep_nan)
{
    if (isnan(x) || isnan(y)) return keep_nan || (isnan(x) && isnan(y)) ? NAN : isnan(x) ? y : x;
    return x < y || (x == y && signbit(x)) ? x : y;
}

static double compute(enum operation what, double x, double y, double z, int flags)
{
    switch (what) {
    case ADD:
        return core_sum_odd(x, y);
    case SUB:
        return core_sum_odd(x, -y);
    case MUL:
        return x * y; /* exact: the operands have at most 24 bits */
    case FMA:
        return core_sum_odd(x * y, z);
    case DIV: {
        double q = x / y;
        double rest = fma(-q, y, x);
        return sticky(q, y < 0 ? -rest : rest);
    }
    case MIN:
        return smaller(x, y, flags & KEEP_NAN);
    case MAX:
        return -smaller(-x, -y, flags & KEEP_NAN);
    case ABS:
        return fabs(x);
    case NEG:
        return -x;
    case RCP: {
        double q = 1 / x, rest = fma(-q, x, 1);
        return sticky(q, x < 0 ? -rest : rest);
    }
    case SQRT: {
        double q = sqrt(x);
        return sticky(q, fma(-q, q, x));
    }
    case RSQRT:
        return 1 / sqrt(x);
    case SIN:
        return sin(x);
    case COS:
        return cos(x);
    case LG2:
        return log2(x);
    case EX2:
        return exp2(x);
    case TANH:
        return tanh(x);
    default:
        return copysign(y, x);
    }
}

static double flush(double v, double smallest)
{
    return fabs(v) < smallest ? copysign(0, v) : v;
}
static double finish(double v, int flags)
{
    if (flags & SAT) v = isnan(v) ? 0 : v < 0 ? 0 : v > 1 ? 1 : v;
    if (flags & RELU) v = v < 0 ? 0 : v; /* NaN stays */
    return v;
}

#define SMALLEST_F32 0x1p-126
static float single(const struct core_op *op, float a, float b, float c)
{
    int flags = op->mode[2];
    double x = (double)a, y = (double)b, z = (double)c;
    if (flags & FTZ) {
        x = flush(x, SMALLEST_F32);
        y = flush(y, SMALLEST_F32);
        z = flush(z, SMALLEST_F32);
    }
    float v = core_round_float(compute((enum operation)op->mode[0], x, y, z, flags), (enum core_rounding)op->mode[1]);
    if (flags & FTZ) v = (float)flush((double)v, SMALLEST_F32);
    if (flags & (SAT | RELU)) v = (float)finish((double)v, flags);
    if (isnan(v)) {
        static const uint32_t canonical = 0x7fffffff;
        memcpy(&v, &canonical, 4);
    }
    return v;
}

static uint32_t half(const struct core_op *op, uint32_t a, uint32_t b, uint32_t c, bool bf16)
{
    int flags = op->mode[2];
    float (*load)(uint16_t) = bf16 ? core_bf16_to_float : core_half_to_float;
    if (op->mode[0] == NEG) return (a ^ 0x8000) & 0xffff;
    if (op->mode[0] == ABS) return a & 0x7fff;
    double x = (double)load((uint16_t)a), y = (double)load((uint16_t)b), z = (double)load((uint16_t)c),
           smallest = bf16 ? 0x1p-126 : 0x1p-14;
    if (flags & FTZ) {
        x = flush(x, smallest);
        y = flush(y, smallest);
        z = flush(z, smallest);
    }
    double v = compute((enum operation)op->mode[0], x, y, z, flags);
    uint16_t h = bf16 ? core_float_to_bf16(v, ROUND_NEAREST) : core_float_to_half(v, ROUND_NEAREST);
    if (flags & (FTZ | SAT | RELU)) {
        v = finish((double)load(h), flags);
        if (flags & FTZ) v = flush(v, smallest);
        h = bf16 ? core_float_to_bf16(v, ROUND_NEAREST) : core_float_to_half(v, ROUND_NEAREST);
    }
    return h;
}

/* r: d, a, b, c (missing ones repeat a). mode[0]: operation, [1]: rounding, [2]: flags, [3]: type */
static void run_general(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2), *c = core_reg(w, op, 3);
    union core_register *d = core_reg(w, op, 0);
    enum ptx_type type = (enum ptx_type)op->mode[3];
    bool bf16 = type == PTX_BF16 || type == PTX_BF16X2;
    EACH_LANE(l, w->mask)
    {
        if (type == PTX_F32) {
            d->f[l] = single(op, a->f[l], b->f[l], c->f[l]);
        } else if (type == PTX_F16 || type == PTX_BF16) {
            d->u[l] = half(op, a->u[l] & 0xffff, b->u[l] & 0xffff, c->u[l] & 0xffff, bf16);
        } else if (type == PTX_F32X2) {
            union {
                uint64_t x;
                float f[2];
            } p = {a->ux[l]}, q = {b->ux[l]}, r = {c->ux[l]}, v;
            for (int i = 0; i < 2; i++) v.f[i] = single(op, p.f[i], q.f[i], r.f[i]);
            d->ux[l] = v.x;
        } else {
            uint32_t low = half(op, a->u[l] & 0xffff, b->u[l] & 0xffff, c->u[l] & 0xffff, bf16);
            d->u[l] = low | half(op, a->u[l] >> 16, b->u[l] >> 16, c->u[l] >> 16, bf16) << 16;
        }
    }
}

/* Three operands for min and max: the third joins the result of the first two. */
static void run_three(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2), *c = core_reg(w, op, 3);
    EACH_LANE(l, w->mask) core_reg(w, op, 0)->f[l] = single(op, single(op, a->f[l], b->f[l], 0), c->f[l], 0);
}

static void run_double(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2), *c = core_reg(w, op, 3);
    union core_register *d = core_reg(w, op, 0);
    EACH_LANE(l, w->mask)
    {
        double x = a->d[l], y = b->d[l], v;
        switch ((enum operation)op->mode[0]) {
        case ADD:
            v = x + y;
            break;
        case SUB:
            v = x - y;
            break;
        case MUL:
            v = x * y;
            break;
        case FMA:
            v = fma(x, y, c->d[l]);
            break;
        case DIV:
            v = x / y;
            break;
        case RCP:
            v = 1 / x;
            break;
        case SQRT:
            v = sqrt(x);
            break;
        default:
            v = compute((enum operation)op->mode[0], x, y, 0, op->mode[2]);
        }
        d->d[l] = v;
    }
}

#define FAST(name, expr)                                                                                               \
    static void name(struct core_warp *w, const struct core_op *op)                                                    \
    {                                                                                                                  \
        const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2), *c = core_reg(w, op, 3);           \
        union core_register v;                                                                                         \
        (void)b;                                                                                                       \
        (void)c;                                                                                                       \
        for (int l = 0; l < LANES; l++) v.f[l] = (expr);                                                               \
        core_put32(w, core_reg(w, op, 0), v.u);                                                                        \
    }
FAST(fast_add, a->f[l] + b->f[l])
FAST(fast_sub, a->f[l] - b->f[l])
FAST(fast_mul, a->f[l] * b->f[l])
FAST(fast_div, a->f[l] / b->f[l])
FAST(fast_rcp, 1 / a->f[l])
FAST(fast_sqrt, sqrtf(a->f[l]))
FAST(fast_ex2, exp2f(a->f[l]))

static core_handler *fast(enum operation what)
{
    switch (what) {
    case ADD:
        return fast_add;
    case SUB:
        return fast_sub;
    case MUL:
        return fast_mul;
    case FMA:
        return core_lanes()->fma;
    case DIV:
        return fast_div;
    case RCP:
        return fast_rcp;
    case SQRT:
        return fast_sqrt;
    case EX2:
        return fast_ex2;
    default:
        return NULL;
    }
}

/* Sign operations act on bits: NaNs keep theirs. */
static void fast_abs(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1);
    uint32_t v[LANES];
    for (int l = 0; l < LANES; l++) v[l] = a->u[l] & 0x7fffffff;
    core_put32(w, core_reg(w, op, 0), v);
}
static void fast_neg(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1);
    uint32_t v[LANES];
    for (int l = 0; l < LANES; l++) v[l] = a->u[l] ^ 0x80000000;
    core_put32(w, core_reg(w, op, 0), v);
}

void core_decode_float(struct core_decode *d)
{
    static const struct {
        const char *name;
        enum operation what;
        uint32_t sources;
        bool rounds; /* .rn must be there for f32 and f64, or .approx, .full */
    } all[] = {
        {"add", ADD, 2, false},    {"sub", SUB, 2, false},  {"mul", MUL, 2, false},          {"fma", FMA, 3, true},
        {"mad", FMA, 3, true},     {"div", DIV, 2, true},   {"min", MIN, 2, false},          {"max", MAX, 2, false},
        {"abs", ABS, 1, false},    {"neg", NEG, 1, false},  {"rcp", RCP, 1, true},           {"sqrt", SQRT, 1, true},
        {"rsqrt", RSQRT, 1, true}, {"sin", SIN, 1, true},   {"cos", COS, 1, true},           {"lg2", LG2, 1, true},
        {"ex2", EX2, 1, true},     {"tanh", TANH, 1, true}, {"copysign", COPYSIGN, 2, false}};
    static const char *const roundings[] = {"rn", "rz", "rm", "rp", "approx", "full", NULL};
    size_t i = 0;
    while (strcmp(all[i].name, d->in->part[0])) i++;
    enum operation what = all[i].what;
    int rounding = decode_choice(d, roundings);
    int flags = (decode_take(d, "ftz") ? FTZ : 0) | (decode_take(d, "sat") ? SAT : 0) |
                (decode_take(d, "relu") ? RELU : 0) | (decode_take(d, "NaN") ? KEEP_NAN : 0);
    enum ptx_type type = decode_type(d);
    bool half_type = type == PTX_F16 || type == PTX_BF16 || type == PTX_F16X2 || type == PTX_BF16X2;
    if (type != PTX_F32 && type != PTX_F64 && type != PTX_F32X2 && !half_type)
        decode_fail(d, "not known for this type");
    if (all[i].rounds && rounding < 0 && !half_type) decode_fail(d, "a rounding modifier is missing");
    if (half_type && ((what >= RCP && what != EX2 && what != TANH) || what == DIV || rounding == 1 || rounding == 2 ||
                      rounding == 3))
        decode_fail(d, "not known for this type");
    if (type == PTX_F32X2) {
        decode_needs(d, 100, false);
        if (what > FMA) decode_fail(d, "not known for this type");
    }
    if ((flags & RELU) && (!half_type || what != FMA)) decode_fail(d, ".relu is for fma of 16 bits");
    if ((type == PTX_BF16 || type == PTX_BF16X2) &&
        (what == ADD || what == SUB || what == MUL || what == EX2 || what == TANH))
        decode_needs(d, 90, false);
    if (type == PTX_F64 && rounding > 0 && rounding < 4) decode_fail(d, "f64 only rounds to nearest here");
    if ((what == SIN || what == COS || what == LG2 || what == TANH || what == RSQRT || what == EX2) && rounding != 4)
        decode_fail(d, "expected .approx");
    uint32_t sources = all[i].sources;
    bool three = (what == MIN || what == MAX) && d->in->operand_count == 4 && type == PTX_F32;
    if (three) {
        decode_needs(d, 100, false);
        sources = 3;
    }
    decode_operands(d, sources + 1, sources + 1);
    d->op.mode[0] = (uint8_t)what;
    d->op.mode[1] =
        (uint8_t)(rounding < 0 || rounding > 3 ? ROUND_NEAREST : rounding); /* rn, rz, rm, rp as in the enum */
    d->op.mode[2] = (uint8_t)flags;
    d->op.mode[3] = (uint8_t)type;
    decode_target(d, OPERAND(0), type);
    for (uint32_t k = 1; k <= sources; k++) decode_source(d, OPERAND(k), type);
    for (uint32_t k = sources; k < 3; k++) d->r[d->r_count++] = d->r[1];
    core_handler *run = run_general;
    if (three)
        run = run_three;
    else if (type == PTX_F64)
        run = run_double;
    else if (type == PTX_F32 && what == NEG && !flags)
        run = fast_neg;
    else if (type == PTX_F32 && what == ABS && !flags)
        run = fast_abs;
    else if (type == PTX_F32 && !flags && d->op.mode[1] == ROUND_NEAREST && fast(what))
        run = fast(what);
    decode_emit(d, run);
}

const struct core_opcode core_float_opcodes[] = {{"fma", core_decode_float},
                                                 {"rcp", core_decode_float},
                                                 {"sqrt", core_decode_float},
                                                 {"rsqrt", core_decode_float},
                                                 {"sin", core_decode_float},
                                                 {"cos", core_decode_float},
                                                 {"lg2", core_decode_float},
                                                 {"ex2", core_decode_float},
                                                 {"tanh", core_decode_float},
                                                 {"copysign", core_decode_float},
                                                 {NULL, NULL}};
