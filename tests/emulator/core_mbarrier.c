/*
 * mbarrier objects. Their state lives beside shared memory, found by address; the phase number counts on from block to
 * block, so that it can serve as the time of the copies that complete in it. Its lowest bit is the parity.
 */
#include "tests/emulator/core_internal.h"
#include <stdlib.h>
#include <string.h>

struct core_mbarrier *core_mbarrier_at(struct core_warp *w, uint32_t lane, uint64_t address)
{
    struct core_block *b = w->block;
    if (address - SHARED_WINDOW < WINDOW_BYTES) address -= SHARED_WINDOW;
    uint32_t offset = core_shared_offset(w, lane, address, 8, 8);
    for (uint32_t i = 0; i < b->mbarriers; i++)
        if (b->mbarrier[i].address == address) {
            core_shadow_read(w, lane, offset, 8, SHADOW_STRONG);
            return &b->mbarrier[i];
        }
    core_fault(w, (int)lane, CORE_FAULT_LAUNCH, address, "no mbarrier was initialised at this address");
}

static void finish_phase(struct core_warp *w, struct core_mbarrier *m)
{
    struct core_block *b = w->block;
    uint32_t slot = (uint32_t)(m - b->mbarrier);
    if (m->pending || m->tx) return;
    b->progress = b->steps;
    m->clocks[b->mbarrier_first + slot] = m->phase;
    memcpy(m->done, m->clocks, (size_t)b->clock_entries * 2 * sizeof(uint32_t));
    m->phase++;
    m->pending = m->count;
    for (uint32_t i = 0; i < b->warps; i++)
        for (uint32_t k = 0; k < b->warp[i].fragment_count; k++) {
            struct core_fragment *f = &b->warp[i].fragment[k];
            if (f->state == STATE_MBARRIER && f->wait == slot) f->state = STATE_RUN;
        }
}

void core_mbarrier_arrive(struct core_warp *w, uint32_t lane, struct core_mbarrier *m, uint32_t count)
{
    if (count > m->pending)
        core_fault(w, (int)lane, CORE_FAULT_LAUNCH, m->address, "mbarrier: %u arrivals, %u are pending of %u", count,
                   m->pending, m->count);
    m->pending -= count;
    w->block->progress = w->block->steps;
    finish_phase(w, m);
}

void core_mbarrier_tx(struct core_warp *w, struct core_mbarrier *m, int64_t change)
{
    m->tx += change;
    w->block->progress = w->block->steps;
    finish_phase(w, m);
}

static uint64_t address_at(struct core_warp *w, const struct core_op *op, int i, uint32_t lane)
{
    const union core_register *a = core_reg(w, op, i);
    return op->flags & 1 ? a->ux[lane] + (uint64_t)op->imm : a->u[lane] + (uint32_t)op->imm;
}

/* r: address, count */
static void run_init(struct core_warp *w, const struct core_op *op)
{
    struct core_block *b = w->block;
    size_t bytes = (size_t)b->clock_entries * 2 * sizeof(uint32_t);
    EACH_LANE(l, w->mask)
    {
        uint64_t address = address_at(w, op, 0, l);
        if (address - SHARED_WINDOW < WINDOW_BYTES) address -= SHARED_WINDOW;
        uint32_t offset = core_shared_offset(w, l, address, 8, 8), count = core_reg(w, op, 1)->u[l], i = 0;
        if (!count || count >= 1u << 20)
            core_fault(w, (int)l, CORE_FAULT_LAUNCH, address, "mbarrier.init: a count of %u", count);
        core_shadow_store(w, l, offset, 8, 0);
        while (i < b->mbarriers && b->mbarrier[i].address != address) i++;
        if (i == MAX_MBARRIERS)
            core_fault(w, (int)l, CORE_FAULT_LAUNCH, address, "more than %d mbarriers in a block", MAX_MBARRIERS);
        struct core_mbarrier *m = &b->mbarrier[i];
        if (!m->clocks) m->clocks = malloc(bytes);
        if (!m->done) m->done = malloc(bytes);
        if (!m->clocks || !m->done) core_fault(w, (int)l, CORE_OUT_OF_MEMORY, 0, "no host memory for clocks");
        memset(m->clocks, 0, bytes);
        memset(m->done, 0, bytes);
        m->phase = i == b->mbarriers ? (b->base_time + 2) & ~1u : (m->phase + 2) & ~1u;
        if (i == b->mbarriers) b->mbarriers++;
        m->address = (uint32_t)address;
        m->count = m->pending = count;
        m->tx = 0;
        memset(b->shared + offset, 0, 8);
    }
}

static void run_inval(struct core_warp *w, const struct core_op *op)
{
    EACH_LANE(l, w->mask)
    {
        struct core_mbarrier *m = core_mbarrier_at(w, l, address_at(w, op, 0, l));
        core_shadow_store(w, l, m->address - SHARED_FIRST, 8, 0);
        m->address = 0;
    }
}

/* r: state, address, value. mode[0]: 0 arrive, 1 arrive.expect_tx, 2 expect_tx, 3 complete_tx; mode[1]: drop; mode[2]: relaxed */
static void run_arrive(struct core_warp *w, const struct core_op *op)
{
    uint32_t now = w->mask;
    EACH_LANE(l, now)
    {
        struct core_mbarrier *m = core_mbarrier_at(w, l, address_at(w, op, 1, l));
        uint32_t value = core_reg(w, op, 2)->u[l];
        core_reg(w, op, 0)->ux[l] = m->phase;
        if (op->mode[0] == 1 || op->mode[0] == 2) m->tx += value;
        if (op->mode[0] == 3) core_mbarrier_tx(w, m, -(int64_t)value);
        if (op->mode[0] > 1) continue;
        if (!op->mode[2]) core_release(w, 1u << l, m->clocks);
        uint32_t count = op->mode[0] ? 1 : value;
        if (op->mode[1]) {
            if (count > m->count)
                core_fault(w, (int)l, CORE_FAULT_LAUNCH, m->address, "mbarrier.arrive_drop below zero");
            m->count -= count;
        }
        core_mbarrier_arrive(w, l, m, count);
    }
}

/* r: p, address, state or parity. mode[0]: parity; mode[1]: may suspend (try_wait); mode[2]: relaxed */
static void run_wait(struct core_warp *w, const struct core_op *op)
{
    struct core_block *b = w->block;
    uint32_t done = 0, phase = 0;
    struct core_mbarrier *wait = NULL;
    EACH_LANE(l, w->mask)
    {
        struct core_mbarrier *m = core_mbarrier_at(w, l, address_at(w, op, 1, l));
        bool yes = op->mode[0] ? (m->phase & 1) != (core_reg(w, op, 2)->u[l] & 1)
                               : m->phase != (uint32_t)core_reg(w, op, 2)->ux[l];
        if (!yes) {
            wait = m;
            phase = m->phase;
            continue;
        }
        done |= 1u << l;
    }
    if (wait && !done && op->mode[1]) { /* nobody can go on: sleep until the phase ends */
        struct core_fragment *f = &w->fragment[w->current];
        f->state = STATE_MBARRIER;
        f->wait = (uint32_t)(wait - b->mbarrier);
        f->wait_phase = phase;
        w->stay = true;
        return;
    }
    if (wait) w->yield = true;
    core_set_pred(w, core_pred(w, op, 0), done);
    if (op->mode[2]) return;
    uint32_t left = done;
    while (left) { /* lanes that wait for the same object learn together */
        struct core_mbarrier *m =
            core_mbarrier_at(w, (uint32_t)core_first(left), address_at(w, op, 1, (uint32_t)core_first(left)));
        uint32_t same = 0;
        EACH_LANE(l, left) same |= (uint32_t)(core_mbarrier_at(w, l, address_at(w, op, 1, l)) == m) << l;
        core_acquire(w, same, m->done);
        left &= ~same;
    }
}

static void decode_mbarrier(struct core_decode *d)
{
    enum { INIT, INVAL, EXPECT_TX, COMPLETE_TX, ARRIVE, ARRIVE_DROP, TEST_WAIT, TRY_WAIT };
    static const char *const ways[] = {"init",   "inval",       "expect_tx", "complete_tx",
                                       "arrive", "arrive_drop", "test_wait", "try_wait"};
    static const char *const scopes[] = {"release", "acquire", "cta", "cluster", NULL};
    static const char *const spaces[] = {"shared", "shared::cta", "shared::cluster", NULL};
    int way = -1; /* the second part of the opcode: expect_tx is also a modifier of arrive */
    for (int i = 0; i < 8 && d->in->part_count > 1; i++)
        if (!strcmp(d->in->part[1], ways[i])) way = i;
    if (way >= 0) decode_take(d, ways[way]);
    bool expect = (way == ARRIVE || way == ARRIVE_DROP) && decode_take(d, "expect_tx");
    bool no_complete = decode_take(d, "noComplete"), parity = decode_take(d, "parity"),
         relaxed = decode_take(d, "relaxed");
    while (decode_choice(d, scopes) >= 0) continue;
    decode_choice(d, spaces);
    if (way < 0 || decode_type(d) != PTX_B64) decode_fail(d, "an operation that is not known, or no .b64");
    if (way == TRY_WAIT || expect || way == EXPECT_TX || way == COMPLETE_TX) decode_needs(d, 90, false);
    decode_shared_access(d, 8);
    enum ptx_space space = PTX_SPACE_SHARED;
    core_handler *run = run_arrive;
    switch (way) {
    case INIT:
    case INVAL:
        decode_operands(d, way == INIT ? 2 : 1, way == INIT ? 2 : 1);
        d->op.flags = decode_address(d, OPERAND(0), &space);
        if (way == INIT) decode_source(d, OPERAND(1), PTX_U32);
        run = way == INIT ? run_init : run_inval;
        break;
    case EXPECT_TX:
    case COMPLETE_TX:
        decode_operands(d, 2, 2);
        d->r[d->r_count++] = 0;
        d->op.flags = decode_address(d, OPERAND(0), &space);
        decode_source(d, OPERAND(1), PTX_U32);
        d->op.mode[0] = (uint8_t)way;
        break;
    case ARRIVE:
    case ARRIVE_DROP:
        decode_operands(d, expect || no_complete ? 3 : 2, 3);
        decode_target(d, OPERAND(0), PTX_B64);
        d->op.flags = decode_address(d, OPERAND(1), &space);
        if (d->in->operand_count == 3)
            decode_source(d, OPERAND(2), PTX_U32);
        else
            decode_constant(d, 1, false);
        d->op.mode[0] = expect;
        d->op.mode[1] = way == ARRIVE_DROP;
        d->op.mode[2] = relaxed;
        break;
    default:
        decode_operands(d, 3, way == TRY_WAIT ? 4 : 3);
        decode_pred_target(d, OPERAND(0));
        d->op.flags = decode_address(d, OPERAND(1), &space);
        decode_source(d, OPERAND(2), parity ? PTX_B32 : PTX_B64);
        d->op.mode[0] = parity;
        d->op.mode[1] = way == TRY_WAIT;
        d->op.mode[2] = relaxed;
        run = run_wait;
    }
    decode_emit(d, run);
}

const struct core_opcode core_mbarrier_opcodes[] = {{"mbarrier", decode_mbarrier}, {NULL, NULL}};
