/* setp, set, selp, slct, testp for every type. */
#include "tests/emulator/core_internal.h"
#include <math.h>
#include <string.h>

enum compare { EQ, NE, LT, LE, GT, GE, LO, LS, HI, HS, EQU, NEU, LTU, LEU, GTU, GEU, NUM, NAN_ };
static const char *const compare_names[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "lo",  "ls",  "hi", "hs",
                                            "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan", NULL};

#define EACH(expr)                                                                                                     \
    for (int l = 0; l < LANES; l++) bits |= (uint32_t)(expr) << l;                                                     \
    break;
#define INTEGERS(name, T, M)                                                                                           \
    static uint32_t name(int how, const union core_register *a, const union core_register *b)                          \
    {                                                                                                                  \
        uint32_t bits = 0;                                                                                             \
        switch (how) {                                                                                                 \
        case EQ:                                                                                                       \
            EACH((T)a->M[l] == (T)b->M[l])                                                                             \
        case NE:                                                                                                       \
            EACH((T)a->M[l] != (T)b->M[l])                                                                             \
        case LT:                                                                                                       \
        case LO:                                                                                                       \
            EACH((T)a->M[l] < (T)b->M[l])                                                                              \
        case LE:                                                                                                       \
        case LS:                                                                                                       \
            EACH((T)a->M[l] <= (T)b->M[l])                                                                             \
        case GT:                                                                                                       \
        case HI:                                                                                                       \
            EACH((T)a->M[l] > (T)b->M[l])                                                                              \
        default:                                                                                                       \
            EACH((T)a->M[l] >= (T)b->M[l])                                                                             \
        }                                                                                                              \
        return bits;                                                                                                   \
    }
INTEGERS(compare_u16, uint16_t, u)
INTEGERS(compare_s16, int16_t, u)
INTEGERS(compare_u32, uint32_t, u)
INTEGERS(compare_s32, int32_t, u)
INTEGERS(compare_u64, uint64_t, ux)
INTEGERS(compare_s64, int64_t, ux)

static bool compare_floats(int how, double x, double y)
{
    bool unordered = isnan(x) || isnan(y);
    switch (how) {
    case EQ:
        return !unordered && x == y;
    case NE:
        return !unordered && x != y;
    case LT:
        return !unordered && x < y;
    case LE:
        return !unordered && x <= y;
    case GT:
        return !unordered && x > y;
    case GE:
        return !unordered && x >= y;
    case EQU:
        return unordered || x == y;
    case NEU:
        return unordered || x != y;
    case LTU:
        return unordered || x < y;
    case LEU:
        return unordered || x <= y;
    case GTU:
        return unordered || x > y;
    case GEU:
        return unordered || x >= y;
    case NUM:
        return !unordered;
    default:
        return unordered;
    }
}

static double value(enum ptx_type type, const union core_register *r, int l, bool upper, bool ftz)
{
    switch (type) {
    case PTX_F64:
        return r->d[l];
    case PTX_F32:
        return ftz && fpclassify(r->f[l]) == FP_SUBNORMAL ? 0 : (double)r->f[l];
    case PTX_F16:
    case PTX_F16X2:
        return (double)core_half_to_float((uint16_t)(upper ? r->u[l] >> 16 : r->u[l]));
    default:
        return (double)core_bf16_to_float((uint16_t)(upper ? r->u[l] >> 16 : r->u[l]));
    }
}

/* mode[0]: comparison, mode[1]: type, mode[3]: flush subnormals */
static uint32_t compare(struct core_warp *w, const struct core_op *op, int a, bool upper)
{
    const union core_register *x = core_reg(w, op, a), *y = core_reg(w, op, a + 1);
    int how = op->mode[0];
    switch ((enum ptx_type)op->mode[1]) {
    case PTX_B16:
    case PTX_U16:
        return compare_u16(how, x, y);
    case PTX_S16:
        return compare_s16(how, x, y);
    case PTX_B32:
    case PTX_U32:
        return compare_u32(how, x, y);
    case PTX_S32:
        return compare_s32(how, x, y);
    case PTX_B64:
    case PTX_U64:
        return compare_u64(how, x, y);
    case PTX_S64:
        return compare_s64(how, x, y);
    default:
        break;
    }
    uint32_t bits = 0;
    for (int l = 0; l < LANES; l++)
        bits |= (uint32_t)compare_floats(how, value((enum ptx_type)op->mode[1], x, l, upper, op->mode[3]),
                                         value((enum ptx_type)op->mode[1], y, l, upper, op->mode[3]))
                << l;
    return bits;
}

static uint32_t with(int boolean, uint32_t bits, uint32_t c)
{
    return boolean == 0 ? bits & c : boolean == 1 ? bits | c : bits ^ c;
}

/* r: p, q, a, b, c. mode[2]: how c joins (255: not at all), flags 1: c negated, 2: two halves */
static void run_setp(struct core_warp *w, const struct core_op *op)
{
    uint32_t p = compare(w, op, 2, false), q = op->flags & 2 ? compare(w, op, 2, true) : ~p;
    if (op->mode[2] != 255) {
        uint32_t c = *core_pred(w, op, 4);
        if (op->flags & 1) c = ~c;
        p = with(op->mode[2], p, c);
        q = with(op->mode[2], q, c);
    }
    core_set_pred(w, core_pred(w, op, 0), p);
    core_set_pred(w, core_pred(w, op, 1), q);
}

/* r: d, -, a, b, c. mode[4]: result type */
static void run_set(struct core_warp *w, const struct core_op *op)
{
    uint32_t p = compare(w, op, 2, false), v[LANES], q = 0;
    bool two = op->mode[1] == PTX_F16X2 || op->mode[1] == PTX_BF16X2;
    if (two) q = compare(w, op, 2, true);
    if (op->mode[2] != 255) {
        uint32_t c = *core_pred(w, op, 4);
        if (op->flags & 1) c = ~c;
        p = with(op->mode[2], p, c);
        q = with(op->mode[2], q, c);
    }
    uint32_t one = op->mode[4] == PTX_F32                                 ? 0x3f800000
                   : op->mode[4] == PTX_F16 || op->mode[4] == PTX_F16X2   ? 0x3c00
                   : op->mode[4] == PTX_BF16 || op->mode[4] == PTX_BF16X2 ? 0x3f80
                                                                          : ALL_LANES;
    for (int l = 0; l < LANES; l++) v[l] = (p >> l & 1 ? one : 0) | (two && (q >> l & 1) ? one << 16 : 0);
    core_put32(w, core_reg(w, op, 0), v);
}

static void decode_compare(struct core_decode *d, bool predicate)
{
    static const char *const booleans[] = {"and", "or", "xor", NULL};
    int how = decode_choice(d, compare_names), boolean = decode_choice(d, booleans);
    d->op.mode[3] = decode_take(d, "ftz");
    enum ptx_type result = predicate ? PTX_PRED : decode_type(d), type = decode_type(d);
    bool is_float = type >= PTX_F16 && type <= PTX_BF16X2 && type != PTX_TF32;
    bool is_integer = type >= PTX_B16 && type <= PTX_S64 && type != PTX_B128 && type != PTX_U8 && type != PTX_S8;
    if (how < 0 || (!is_float && !is_integer)) decode_fail(d, "a comparison or type that is not known");
    if ((is_float && how >= LO && how <= HS) || (is_integer && how >= EQU))
        decode_fail(d, "'.%s' does not fit the type", compare_names[how]);
    uint32_t count = boolean >= 0 ? 4 : 3;
    decode_operands(d, count, count);
    d->op.mode[0] = (uint8_t)how;
    d->op.mode[1] = (uint8_t)type;
    d->op.mode[2] = boolean < 0 ? 255 : (uint8_t)boolean;
    d->op.mode[4] = (uint8_t)result;
    if (predicate) {
        decode_pred_target(d, OPERAND(0));
        struct ptx_operand second = {.kind = OPERAND(0)->pair ? PTX_NAME : PTX_SINK, .name = OPERAND(0)->pair};
        if (second.name && !strcmp(second.name, "_")) second.kind = PTX_SINK;
        decode_pred_target(d, &second);
        if (type == PTX_F16X2 || type == PTX_BF16X2) d->op.flags |= 2;
    } else {
        decode_target(d, OPERAND(0), result);
        d->r[d->r_count++] = 0;
    }
    decode_source(d, OPERAND(1), type);
    decode_source(d, OPERAND(2), type);
    if (boolean >= 0) {
        decode_pred_source(d, OPERAND(3));
        d->op.flags |= OPERAND(3)->negated;
    }
    decode_emit(d, predicate ? run_setp : run_set);
}
static void decode_setp(struct core_decode *d)
{
    decode_compare(d, true);
}
static void decode_set(struct core_decode *d)
{
    decode_compare(d, false);
}

/* r: d, a, b, p */
static void selp_32(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2);
    uint32_t p = *core_pred(w, op, 3), v[LANES];
    for (int l = 0; l < LANES; l++) v[l] = p >> l & 1 ? a->u[l] : b->u[l];
    core_put32(w, core_reg(w, op, 0), v);
}
static void selp_64(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2);
    uint32_t p = *core_pred(w, op, 3);
    uint64_t v[LANES];
    for (int l = 0; l < LANES; l++) v[l] = p >> l & 1 ? a->ux[l] : b->ux[l];
    core_put64(w, core_reg(w, op, 0), v);
}
static void decode_selp(struct core_decode *d)
{
    enum ptx_type type = decode_type(d);
    uint32_t bytes = ptx_type_bytes(type);
    if (bytes < 2 || bytes > 8) decode_fail(d, "not known for this type");
    decode_operands(d, 4, 4);
    decode_target(d, OPERAND(0), type);
    decode_source(d, OPERAND(1), type);
    decode_source(d, OPERAND(2), type);
    decode_pred_source(d, OPERAND(3));
    decode_emit(d, bytes == 8 ? selp_64 : selp_32);
}

/* slct: c >= 0 ? a : b. mode[0]: c is f32 */
static void run_slct(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2), *c = core_reg(w, op, 3);
    uint32_t v[LANES];
    for (int l = 0; l < LANES; l++) v[l] = (op->mode[0] ? c->f[l] >= 0 : c->s[l] >= 0) ? a->u[l] : b->u[l];
    core_put32(w, core_reg(w, op, 0), v);
}
static void decode_slct(struct core_decode *d)
{
    enum ptx_type type = decode_type(d), by = decode_type(d);
    if (ptx_type_bytes(type) != 4 || (by != PTX_S32 && by != PTX_F32)) decode_fail(d, "not known for this type");
    decode_operands(d, 4, 4);
    d->op.mode[0] = by == PTX_F32;
    decode_target(d, OPERAND(0), type);
    decode_source(d, OPERAND(1), type);
    decode_source(d, OPERAND(2), type);
    decode_source(d, OPERAND(3), by);
    decode_emit(d, run_slct);
}

/* testp: mode[0]: property, mode[1]: type */
static void run_testp(struct core_warp *w, const struct core_op *op)
{
    uint32_t bits = 0;
    const union core_register *a = core_reg(w, op, 1);
    for (int l = 0; l < LANES; l++) {
        int c = op->mode[1] == PTX_F64 ? fpclassify(a->d[l]) : fpclassify(a->f[l]);
        bool yes = op->mode[0] == 0   ? c != FP_INFINITE && c != FP_NAN
                   : op->mode[0] == 1 ? c == FP_INFINITE
                   : op->mode[0] == 2 ? c != FP_NAN
                   : op->mode[0] == 3 ? c == FP_NAN
                   : op->mode[0] == 4 ? c == FP_NORMAL
                                      : c == FP_SUBNORMAL;
        bits |= (uint32_t)yes << l;
    }
    core_set_pred(w, core_pred(w, op, 0), bits);
}
static void decode_testp(struct core_decode *d)
{
    static const char *const names[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal", NULL};
    int property = decode_choice(d, names);
    enum ptx_type type = decode_type(d);
    if (property < 0 || (type != PTX_F32 && type != PTX_F64)) decode_fail(d, "not known for this type");
    decode_operands(d, 2, 2);
    d->op.mode[0] = (uint8_t)property;
    d->op.mode[1] = (uint8_t)type;
    decode_pred_target(d, OPERAND(0));
    decode_source(d, OPERAND(1), type);
    decode_emit(d, run_testp);
}

const struct core_opcode core_compare_opcodes[] = {{"setp", decode_setp},   {"set", decode_set},
                                                   {"selp", decode_selp},   {"slct", decode_slct},
                                                   {"testp", decode_testp}, {NULL, NULL}};
