/*
 * Asynchronous copies: cp.async, cp.async.bulk and cp.async.bulk.tensor. The bytes move at issue; that nobody may look at
 * them before the wait is the race check's business, for which each copy is an agent of its own (core_shadow.c).
 */
#include "tests/emulator/core_internal.h"
#include <string.h>

static uint64_t value_at(struct core_warp *w, const struct core_op *op, int i, bool wide, uint32_t lane)
{
    const union core_register *r = core_reg(w, op, i);
    return wide ? r->ux[lane] : r->u[lane];
}
static uint64_t shared_address(uint64_t a)
{
    return a - SHARED_WINDOW < WINDOW_BYTES ? a - SHARED_WINDOW : a;
}

/* ---- cp.async: r: dst, src, src-size; imm: dst's offset (src's in table_count); bytes; flags 1: dst wide, 2: src-size is
 * a predicate "ignore", 4: a size is given ---- */

static void run_cp_async(struct core_warp *w, const struct core_op *op)
{
    struct core_block *b = w->block;
    EACH_LANE(l, w->mask)
    {
        uint64_t to = shared_address(value_at(w, op, 0, op->flags & 1, l) + (uint64_t)op->imm);
        uint64_t from = core_reg(w, op, 1)->ux[l] + (uint64_t)(int64_t)(int32_t)op->table_count;
        uint32_t n = op->bytes;
        if (op->flags & 2)
            n = *core_pred(w, op, 2) >> l & 1 ? 0 : n;
        else if (op->flags & 4)
            n = core_reg(w, op, 2)->u[l];
        if (n > op->bytes)
            core_fault(w, (int)l, CORE_FAULT_LAUNCH, from, "cp.async: source size %u of a copy of %u bytes", n,
                       op->bytes);
        uint32_t offset = core_shared_offset(w, l, to, op->bytes, op->bytes);
        uint8_t data[16] = {0};
        if (n) {
            if (from & (op->bytes - 1u))
                core_fault(w, (int)l, CORE_FAULT_ADDRESS, from, "misaligned: cp.async of %u bytes", op->bytes);
            memcpy(data, core_global_range(w, l, from, n, false), n);
        }
        core_shadow_write(w, l, offset, op->bytes, 0, b->async_first + w->index * LANES + l, w->clocks.async_time[l]);
        memcpy(b->shared + offset, data, op->bytes);
    }
}

static void run_commit(struct core_warp *w, const struct core_op *op)
{
    (void)op;
    struct core_clocks *c = &w->clocks;
    EACH_LANE(l, w->mask) c->async_group[l][c->async_groups[l]++ & 15] = c->async_time[l]++;
}

/* imm: groups that may stay open; mode[0]: wait for everything */
static void run_wait(struct core_warp *w, const struct core_op *op)
{
    struct core_clocks *c = &w->clocks;
    EACH_LANE(l, w->mask)
    {
        uint32_t done = c->own_async[l], open = (uint32_t)op->imm;
        if (op->mode[0])
            done = c->async_time[l]++;
        else if (c->async_groups[l] > open)
            done = c->async_group[l][(c->async_groups[l] - 1 - open) & 15];
        if (done > c->own_async[l]) c->own_async[l] = done;
    }
}

/* cp.async.mbarrier.arrive: the lane's copies so far arrive. mode[0]: noinc */
static void run_async_arrive(struct core_warp *w, const struct core_op *op)
{
    struct core_block *b = w->block;
    EACH_LANE(l, w->mask)
    {
        struct core_mbarrier *m = core_mbarrier_at(w, l, value_at(w, op, 0, op->flags & 1, l) + (uint64_t)op->imm);
        uint32_t *entry = &m->clocks[b->async_first + w->index * LANES + l];
        if (*entry < w->clocks.async_time[l]) *entry = w->clocks.async_time[l];
        w->clocks.async_time[l]++;
        if (op->mode[0]) core_mbarrier_arrive(w, l, m, 1);
    }
}

/* ---- bulk copies: completion on an mbarrier, or by the warp's bulk groups ---- */

static void need_multiple(struct core_warp *w, uint32_t lane, uint64_t value, uint64_t of, const char *what)
{
    if (value % of)
        core_fault(w, (int)lane, CORE_FAULT_ADDRESS, value,
                   "misaligned: the %s of a bulk copy must be a multiple of %llu", what, (unsigned long long)of);
}

/* Bytes arrive in shared memory, to complete in the mbarrier's current phase. */
static void arrive_bytes(struct core_warp *w, uint32_t lane, uint32_t offset, const uint8_t *data, uint32_t bytes,
                         const struct core_mbarrier *m)
{
    struct core_block *b = w->block;
    core_shadow_write(w, lane, offset, bytes, SHADOW_ASYNC, b->mbarrier_first + (uint32_t)(m - b->mbarrier), m->phase);
    memcpy(b->shared + offset, data, bytes);
}

/* r: dst, src, size, mbar; imm: all offsets are 0 (refused otherwise). flags 1: dst wide, 8: mbar wide */
static void run_bulk_load(struct core_warp *w, const struct core_op *op)
{
    EACH_LANE(l, w->mask)
    {
        uint64_t to = shared_address(value_at(w, op, 0, op->flags & 1, l)), from = core_reg(w, op, 1)->ux[l];
        uint32_t bytes = core_reg(w, op, 2)->u[l];
        struct core_mbarrier *m = core_mbarrier_at(w, l, value_at(w, op, 3, op->flags & 8, l));
        need_multiple(w, l, to, 16, "shared address");
        need_multiple(w, l, from, 16, "global address");
        need_multiple(w, l, bytes, 16, "size");
        if (!bytes) continue;
        uint32_t offset = core_shared_offset(w, l, to, bytes, 16);
        arrive_bytes(w, l, offset, core_global_range(w, l, from, bytes, false), bytes, m);
        core_mbarrier_tx(w, m, -(int64_t)bytes);
    }
}

/* r: dst, src, size; flags 2: src wide */
static void run_bulk_store(struct core_warp *w, const struct core_op *op)
{
    EACH_LANE(l, w->mask)
    {
        uint64_t to = core_reg(w, op, 0)->ux[l], from = shared_address(value_at(w, op, 1, op->flags & 2, l));
        uint32_t bytes = core_reg(w, op, 2)->u[l];
        need_multiple(w, l, to, 16, "global address");
        need_multiple(w, l, from, 16, "shared address");
        need_multiple(w, l, bytes, 16, "size");
        if (!bytes) continue;
        uint32_t offset = core_shared_offset(w, l, from, bytes, 16);
        core_shadow_bulk_read(w, l, offset, bytes);
        memcpy(core_global_range(w, l, to, bytes, true), w->block->shared + offset, bytes);
    }
}

static void run_bulk_commit(struct core_warp *w, const struct core_op *op)
{
    (void)op;
    struct core_clocks *c = &w->clocks;
    c->bulk_group[c->bulk_groups++ & 15] = c->bulk_time++;
}
static void run_bulk_wait(struct core_warp *w, const struct core_op *op)
{
    struct core_clocks *c = &w->clocks;
    uint32_t open = (uint32_t)op->imm;
    if (c->bulk_groups <= open) return;
    uint32_t done = c->bulk_group[(c->bulk_groups - 1 - open) & 15];
    if (done > c->own_bulk) c->own_bulk = done;
}

/* Where the 16-byte piece at a shared address lies with the map's swizzle: bits of the row go over bits of the column. */
static uint32_t swizzled(uint32_t address, uint32_t swizzle)
{
    switch (swizzle) {
    case 128:
        return address ^ (address >> 7 & 7) << 4;
    case 64:
        return address ^ (address >> 7 & 3) << 4;
    case 32:
        return address ^ (address >> 7 & 1) << 4;
    default:
        return address;
    }
}

/* The box's row at coordinates `at` (of the first element): copied between `row` and global memory where it lies inside the
 * tensor. */
static void tensor_row(struct core_warp *w, uint32_t lane, const struct core_tensor_map *map, const int64_t at[5],
                       uint32_t elements, uint8_t *row, bool store)
{
    uint32_t size = map->element_bytes, step = map->element_stride[0];
    uint64_t address = map->base;
    for (int k = 1; k < map->rank; k++) {
        if (at[k] < 0 || at[k] > (int64_t)map->size_minus_1[k]) return;
        address += (uint64_t)at[k] * map->stride[k];
    }
    int64_t length = (int64_t)map->size_minus_1[0] + 1;
    if (step == 1) {
        int64_t first = at[0] < 0 ? 0 : at[0], last = at[0] + elements < length ? at[0] + elements : length;
        if (first >= last) return;
        uint64_t bytes = (uint64_t)(last - first) * size;
        uint8_t *memory = core_global_range(w, lane, address + (uint64_t)first * size, bytes, store),
                *mine = row + (uint64_t)(first - at[0]) * size;
        memcpy(store ? memory : mine, store ? mine : memory, bytes);
        return;
    }
    for (uint32_t i = 0; i < elements; i++) {
        int64_t x = at[0] + (int64_t)i * step;
        if (x < 0 || x >= length) continue;
        uint8_t *memory = core_global_range(w, lane, address + (uint64_t)x * size, size, store),
                *mine = row + (uint64_t)i * size;
        memcpy(store ? memory : mine, store ? mine : memory, size);
    }
}

/* r: shared address, map, mbar (loads), coordinates. mode[0]: rank, mode[1]: store; flags 1: shared address wide, 8: mbar
 * wide */
static void run_tensor(struct core_warp *w, const struct core_op *op)
{
    struct core_block *b = w->block;
    bool store = op->mode[1];
    EACH_LANE(l, w->mask)
    {
        uint64_t shared = shared_address(value_at(w, op, 0, op->flags & 1, l)), where = core_reg(w, op, 1)->ux[l];
        struct core_tensor_map map;
        need_multiple(w, l, where, 64, "tensor map's address");
        memcpy(&map, core_global_range(w, l, where, sizeof(map), false), sizeof(map));
        if (map.magic != CORE_TENSOR_MAP_MAGIC)
            core_fault(w, (int)l, CORE_FAULT_LAUNCH, where, "no tensor map of cuTensorMapEncodeTiled is there");
        if (map.rank != op->mode[0])
            core_fault(w, (int)l, CORE_FAULT_LAUNCH, where, "a %u-dimensional copy by a %u-dimensional tensor map",
                       op->mode[0], map.rank);
        struct core_mbarrier *m = store ? NULL : core_mbarrier_at(w, l, value_at(w, op, 2, op->flags & 8, l));
        need_multiple(w, l, shared,
                      map.swizzle == 128  ? 1024
                      : map.swizzle == 64 ? 512
                      : map.swizzle == 32 ? 256
                                          : 128,
                      "shared address");
        uint32_t count[5] = {0}, rows = 1;
        for (int k = 0; k < map.rank; k++) {
            count[k] = (map.box[k] + map.element_stride[k] - 1u) / map.element_stride[k];
            if (k) rows *= count[k];
        }
        uint32_t row_bytes = count[0] * map.element_bytes;
        core_shared_offset(w, l, shared, rows * row_bytes, 16);
        for (uint32_t r = 0; r < rows; r++) {
            uint8_t row[2048] = {0};
            int64_t at[5] = {core_reg(w, op, 3)->s[l]};
            uint32_t rest = r;
            for (int k = 1; k < map.rank; k++) {
                at[k] = core_reg(w, op, 3 + k)->s[l] + (int64_t)(rest % count[k]) * map.element_stride[k];
                rest /= count[k];
            }
            if (!store) tensor_row(w, l, &map, at, count[0], row, false);
            for (uint32_t i = 0; i < row_bytes; i += 16) {
                uint32_t offset = swizzled((uint32_t)shared + r * row_bytes + i, map.swizzle) - SHARED_FIRST,
                         n = row_bytes - i < 16 ? row_bytes - i : 16;
                if (store) {
                    core_shadow_bulk_read(w, l, offset, n);
                    memcpy(row + i, b->shared + offset, n);
                } else {
                    arrive_bytes(w, l, offset, row + i, n, m);
                }
            }
            if (store) tensor_row(w, l, &map, at, count[0], row, true);
        }
        if (m) core_mbarrier_tx(w, m, -(int64_t)(rows * row_bytes));
    }
}

static void run_hint(struct core_warp *w, const struct core_op *op)
{
    (void)w;
    (void)op;
}

/* ------------------------------------------------------------------------------------------------------------------ */

/* An address operand without offset; returns whether it is wide. */
static bool plain_address(struct core_decode *d, const struct ptx_operand *o, enum ptx_space space)
{
    bool wide = decode_address(d, o, &space);
    if (d->op.imm) decode_fail(d, "offsets are not supported in the addresses of bulk copies");
    return wide;
}

static void decode_tensor(struct core_decode *d)
{
    static const char *const ranks[] = {"1d", "2d", "3d", "4d", "5d", NULL};
    bool prefetch = decode_take(d, "prefetch");
    int rank = decode_choice(d, ranks) + 1;
    bool cta = decode_take(d, "shared::cta"),
         to_shared = decode_take(d, "shared::cluster") || !decode_take(d, "bulk_group");
    decode_take(d, "global");
    decode_take(d, "tile");
    if (prefetch) {
        if (!decode_take(d, "L2")) decode_fail(d, "expected .L2");
        decode_emit(d, run_hint);
        return;
    }
    if (to_shared && !decode_take(d, "mbarrier::complete_tx::bytes"))
        decode_fail(d, "expected .mbarrier::complete_tx::bytes");
    bool hint = decode_take(d, "L2::cache_hint");
    if (!rank || (!to_shared && !cta)) decode_fail(d, "a rank from 1d to 5d or a state space is missing");
    if (to_shared && cta && d->module->source->version < 86)
        decode_fail(d, "a .shared::cta destination needs .version 8.6");
    decode_operands(d, to_shared ? 3 : 2, (to_shared ? 3u : 2u) + hint);
    const struct ptx_operand *map = OPERAND(to_shared ? 1 : 0);
    d->op.flags = plain_address(d, OPERAND(to_shared ? 0 : 1), PTX_SPACE_SHARED) ? 1 : 0;
    if (!plain_address(d, map, PTX_SPACE_NONE)) decode_fail(d, "the tensor map needs a 64-bit address");
    if (to_shared)
        d->op.flags |= plain_address(d, OPERAND(2), PTX_SPACE_SHARED) ? 8 : 0;
    else
        d->r[d->r_count++] = 0;
    if (map->item_count != (uint32_t)rank) decode_fail(d, "%u coordinates for %d dimensions", map->item_count, rank);
    for (int i = 0; i < rank; i++) decode_source(d, &map->items[i], PTX_S32);
    d->op.mode[0] = (uint8_t)rank;
    d->op.mode[1] = !to_shared;
    decode_shared_access(d, 16);
    decode_emit(d, run_tensor);
}

static void decode_bulk(struct core_decode *d)
{
    decode_needs(d, 90, false);
    if (decode_take(d, "commit_group")) {
        decode_operands(d, 0, 0);
        decode_emit(d, run_bulk_commit);
    } else if (decode_take(d, "wait_group")) {
        decode_take(d, "read");
        decode_operands(d, 1, 1);
        d->op.imm = decode_immediate(d, OPERAND(0));
        decode_emit(d, run_bulk_wait);
    } else if (decode_take(d, "tensor")) {
        decode_tensor(d);
    } else if (decode_take(d, "prefetch")) {
        decode_take(d, "L2");
        decode_take(d, "global");
        decode_take(d, "L2::cache_hint");
        decode_emit(d, run_hint);
    } else {
        bool load = !decode_take(d, "bulk_group");
        if (load && !decode_take(d, "mbarrier::complete_tx::bytes"))
            decode_fail(d, "expected .mbarrier::complete_tx::bytes or .bulk_group");
        bool cta = decode_take(d, "shared::cta"), cluster = decode_take(d, "shared::cluster");
        if (!decode_take(d, "global") || cta == cluster || (!load && !cta))
            decode_fail(d, "a pair of state spaces that is not supported");
        if (load && cta && d->module->source->version < 86)
            decode_fail(d, "a .shared::cta destination needs .version 8.6");
        uint32_t hint = decode_take(d, "L2::cache_hint");
        decode_operands(d, (load ? 4 : 3) + hint, (load ? 4 : 3) + hint);
        d->op.flags = plain_address(d, OPERAND(0), load ? PTX_SPACE_SHARED : PTX_SPACE_GLOBAL) ? 1 : 0;
        d->op.flags |= plain_address(d, OPERAND(1), load ? PTX_SPACE_GLOBAL : PTX_SPACE_SHARED) ? 2 : 0;
        decode_source(d, OPERAND(2), PTX_U32);
        if (load) d->op.flags |= plain_address(d, OPERAND(3), PTX_SPACE_SHARED) ? 8 : 0;
        decode_shared_access(d, 16);
        decode_emit(d, load ? run_bulk_load : run_bulk_store);
    }
}

static void decode_cp(struct core_decode *d)
{
    static const char *const hints[] = {"L2::64B", "L2::128B", "L2::256B", NULL};
    if (!decode_take(d, "async")) decode_fail(d, "expected cp.async");
    if (decode_take(d, "bulk")) {
        decode_bulk(d);
    } else if (decode_take(d, "commit_group")) {
        decode_operands(d, 0, 0);
        decode_emit(d, run_commit);
    } else if (decode_take(d, "wait_all") || decode_take(d, "wait_group")) {
        d->op.mode[0] = d->in->operand_count == 0;
        if (!d->op.mode[0]) d->op.imm = decode_immediate(d, OPERAND(0));
        if (d->op.imm < 0 || d->op.imm > 15) decode_fail(d, "more than 15 open groups are not supported");
        decode_emit(d, run_wait);
    } else if (decode_take(d, "mbarrier")) {
        static const char *const spaces[] = {"shared", "shared::cta", NULL};
        if (!decode_take(d, "arrive")) decode_fail(d, "expected cp.async.mbarrier.arrive");
        d->op.mode[0] = decode_take(d, "noinc");
        decode_choice(d, spaces);
        if (decode_type(d) != PTX_B64) decode_fail(d, "expected .b64");
        decode_operands(d, 1, 1);
        enum ptx_space space = PTX_SPACE_SHARED;
        d->op.flags = decode_address(d, OPERAND(0), &space);
        decode_emit(d, run_async_arrive);
    } else {
        bool ca = decode_take(d, "ca"), cg = decode_take(d, "cg");
        if (ca == cg || (!decode_take(d, "shared") && !decode_take(d, "shared::cta")) || !decode_take(d, "global"))
            decode_fail(d, "expected cp.async.{ca,cg}.shared.global");
        decode_choice(d, hints);
        uint32_t hint = decode_take(d, "L2::cache_hint");
        decode_operands(d, 3, 4 + hint);
        int64_t bytes = decode_immediate(d, OPERAND(2));
        if (bytes != 16 && (cg || (bytes != 4 && bytes != 8))) decode_fail(d, "a copy of %lld bytes", (long long)bytes);
        enum ptx_space shared = PTX_SPACE_SHARED, global = PTX_SPACE_GLOBAL;
        uint16_t flags = decode_address(d, OPERAND(0), &shared) ? 1 : 0;
        int64_t to = d->op.imm;
        if (!decode_address(d, OPERAND(1), &global)) decode_fail(d, "the source needs a 64-bit address");
        d->op.table_count = (uint32_t)d->op.imm;
        d->op.imm = to;
        if (d->in->operand_count > 3 + hint) {
            if (decode_bits(d, OPERAND(3)) == 1) {
                decode_pred_source(d, OPERAND(3));
                flags |= 2;
            } else {
                decode_source(d, OPERAND(3), PTX_U32);
                flags |= 4;
            }
        }
        d->op.flags = flags;
        d->op.bytes = (uint8_t)bytes;
        decode_shared_access(d, (uint32_t)bytes);
        decode_emit(d, run_cp_async);
    }
}

const struct core_opcode core_copy_opcodes[] = {{"cp", decode_cp}, {NULL, NULL}};
