/*
 * ldmatrix, stmatrix, movmatrix: 8x8 matrices of 16 bits, and the transposing 8-bit forms of sm_120f.
 * Lane l of an 8x8 b16 matrix holds row l/4, elements 2(l%4) and 2(l%4)+1; .trans exchanges row and column.
 */
#include "tests/emulator/core_internal.h"
#include <string.h>

static uint64_t row_address(struct core_warp *w, const struct core_op *op, int i, uint32_t lane)
{
    const union core_register *a = core_reg(w, op, i);
    uint64_t address = op->flags & 1 ? a->ux[lane] + (uint64_t)op->imm : a->u[lane] + (uint32_t)op->imm;
    return address - SHARED_WINDOW < WINDOW_BYTES ? address - SHARED_WINDOW : address;
}

/* vector: matrices; mode[0]: transposed; mode[1]: 8-bit form */
static void run_ldmatrix(struct core_warp *w, const struct core_op *op)
{
    struct core_block *b = w->block;
    uint32_t n = op->vector;
    uint8_t rows[LANES][16];
    uint32_t used = op->mode[1] ? 16 * n : 8 * n; /* lanes whose addresses count */
    for (uint32_t l = 0; l < used; l++) {
        uint32_t offset = core_shared_offset(w, l, row_address(w, op, (int)(op->mode[1] ? 2 * n : n), l), 16, 16);
        core_shadow_read(w, l, offset, 16, 0);
        memcpy(rows[l], b->shared + offset, 16);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v[LANES], u[LANES];
        if (op->mode
                [1]) { /* m16n16.trans.b8: two registers a matrix, element (row, column) of the result is (column, row) */
            for (uint32_t l = 0; l < LANES; l++) {
                v[l] = u[l] = 0;
                for (uint32_t k = 0; k < 4; k++) {
                    v[l] |= (uint32_t)rows[16 * i + 4 * (l & 3) + k][l >> 2] << (8 * k);
                    u[l] |= (uint32_t)rows[16 * i + 4 * (l & 3) + k][8 + (l >> 2)] << (8 * k);
                }
            }
            core_put32(w, core_reg(w, op, (int)(2 * i)), v);
            core_put32(w, core_reg(w, op, (int)(2 * i + 1)), u);
            continue;
        }
        for (uint32_t l = 0; l < LANES; l++) {
            uint32_t g = l >> 2, t = l & 3;
            if (op->mode[0]) {
                uint16_t low, high;
                memcpy(&low, &rows[8 * i + 2 * t][2 * g], 2);
                memcpy(&high, &rows[8 * i + 2 * t + 1][2 * g], 2);
                v[l] = low | (uint32_t)high << 16;
            } else {
                memcpy(&v[l], &rows[8 * i + g][4 * t], 4);
            }
        }
        core_put32(w, core_reg(w, op, (int)i), v);
    }
}

static void run_stmatrix(struct core_warp *w, const struct core_op *op)
{
    struct core_block *b = w->block;
    uint32_t n = op->vector;
    uint8_t rows[LANES][16];
    memset(rows, 0, sizeof(rows));
    for (uint32_t i = 0; i < n; i++) {
        const union core_register *s = core_reg(w, op, (int)i + 1);
        for (uint32_t l = 0; l < LANES; l++) {
            uint32_t g = l >> 2, t = l & 3, v = s->u[l];
            if (op->mode
                    [1]) { /* m16n8.trans.b8: lane's bytes are 4t..4t+3 of column g, a row in memory has the 16 of a column */
                for (uint32_t k = 0; k < 4; k++) rows[8 * i + g][4 * t + k] = (uint8_t)(v >> (8 * k));
            } else if (op->mode[0]) {
                uint16_t low = (uint16_t)v, high = (uint16_t)(v >> 16);
                memcpy(&rows[8 * i + 2 * t][2 * g], &low, 2);
                memcpy(&rows[8 * i + 2 * t + 1][2 * g], &high, 2);
            } else {
                memcpy(&rows[8 * i + g][4 * t], &v, 4);
            }
        }
    }
    b->progress = b->steps;
    for (uint32_t l = 0; l < 8 * n; l++) {
        uint32_t offset = core_shared_offset(w, l, row_address(w, op, 0, l), 16, 16);
        core_shadow_store(w, l, offset, 16, 0);
        memcpy(b->shared + offset, rows[l], 16);
    }
}

static void decode_matrix(struct core_decode *d, bool store)
{
    static const char *const shapes[] = {"m8n8", "m16n16", "m16n8", NULL}, *const counts[] = {"x1", "x2", "x4", NULL};
    static const char *const spaces[] = {"shared", "shared::cta", NULL};
    bool aligned = decode_take(d, "sync") && decode_take(d, "aligned");
    int shape = decode_choice(d, shapes), count = decode_choice(d, counts);
    bool trans = decode_take(d, "trans");
    decode_choice(d, spaces);
    enum ptx_type type = decode_type(d);
    bool bytes = shape == (store ? 2 : 1) && trans && type == PTX_B8;
    if (!aligned || count < 0 || !(bytes || (shape == 0 && type == PTX_B16)))
        decode_fail(d, "a form that is not known");
    if (store) decode_needs(d, 90, false);
    if (bytes) decode_needs(d, 100, true);
    if (bytes && !store && count == 2) decode_fail(d, "m16n16 has .x1 and .x2 only");
    uint32_t n = 1u << count, registers = bytes && !store ? 2 * n : n;
    decode_operands(d, 2, 2);
    const struct ptx_operand *vector = OPERAND(store ? 1 : 0);
    const struct ptx_operand *items = vector->kind == PTX_VECTOR ? vector->items : vector;
    if ((vector->kind == PTX_VECTOR ? vector->item_count : 1) != registers)
        decode_fail(d, "expected %u registers", registers);
    enum ptx_space space = PTX_SPACE_SHARED;
    uint16_t flags = 0;
    if (store) flags = decode_address(d, OPERAND(0), &space);
    for (uint32_t i = 0; i < registers; i++) {
        if (store)
            decode_source(d, &items[i], PTX_B32);
        else
            decode_target(d, &items[i], PTX_B32);
    }
    if (!store) flags = decode_address(d, OPERAND(1), &space);
    d->op.flags = flags;
    d->op.vector = (uint8_t)n;
    d->op.mode[0] = trans;
    d->op.mode[1] = bytes;
    d->op.kind = KIND_WARP;
    decode_shared_access(d, 16);
    decode_emit(d, store ? run_stmatrix : run_ldmatrix);
}
static void decode_ldmatrix(struct core_decode *d)
{
    decode_matrix(d, false);
}
static void decode_stmatrix(struct core_decode *d)
{
    decode_matrix(d, true);
}

static void run_movmatrix(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1);
    uint32_t v[LANES];
    for (uint32_t l = 0; l < LANES; l++) {
        uint32_t g = l >> 2, t = l & 3; /* element (2t, g) is with lane 4*(2t) + g/2 */
        uint32_t low = a->u[8 * t + g / 2] >> (g & 1) * 16 & 0xffff,
                 high = a->u[8 * t + 4 + g / 2] >> (g & 1) * 16 & 0xffff;
        v[l] = low | high << 16;
    }
    core_put32(w, core_reg(w, op, 0), v);
}
static void decode_movmatrix(struct core_decode *d)
{
    if (!decode_take(d, "sync") || !decode_take(d, "aligned") || !decode_take(d, "m8n8") || !decode_take(d, "trans") ||
        decode_type(d) != PTX_B16)
        decode_fail(d, "a form that is not known");
    decode_operands(d, 2, 2);
    decode_target(d, OPERAND(0), PTX_B32);
    decode_source(d, OPERAND(1), PTX_B32);
    d->op.kind = KIND_WARP;
    decode_emit(d, run_movmatrix);
}

const struct core_opcode core_matrix_opcodes[] = {
    {"ldmatrix", decode_ldmatrix}, {"stmatrix", decode_stmatrix}, {"movmatrix", decode_movmatrix}, {NULL, NULL}};
