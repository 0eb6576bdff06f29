/*
 * Lanes together: shuffles, votes, matches, reductions, block barriers, fences, and the instructions that change nothing
 * here. A collective runs when all lanes its mask names have come (core_schedule.c); r[0] is that mask.
 */
#include "tests/emulator/core_internal.h"
#include <stdlib.h>
#include <string.h>

/* ---- shfl: r: members, d, p, a, b, c; mode[0]: up down bfly idx ---- */

static void run_shfl(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 3), *b = core_reg(w, op, 4), *c = core_reg(w, op, 5);
    uint32_t v[LANES], p = 0;
    for (uint32_t l = 0; l < LANES; l++) {
        uint32_t by = b->u[l] & 31, clamp = c->u[l] & 31, segment = c->u[l] >> 8 & 31, from;
        int32_t most = (int32_t)((l & segment) | (clamp & ~segment));
        bool inside;
        switch (op->mode[0]) {
        case 0:
            from = l - by;
            inside = (int32_t)from >= most;
            break;
        case 1:
            from = l + by;
            inside = (int32_t)from <= most;
            break;
        case 2:
            from = l ^ by;
            inside = (int32_t)from <= most;
            break;
        default:
            from = (l & segment) | (by & ~segment);
            inside = (int32_t)from <= most;
        }
        if (!inside) from = l;
        p |= (uint32_t)inside << l;
        v[l] = w->mask >> (from & 31) & 1 ? a->u[from & 31] : POISON; /* a lane that is not there has no value */
    }
    core_put32(w, core_reg(w, op, 1), v);
    core_set_pred(w, core_pred(w, op, 2), p);
}

static void pair_target(struct core_decode *d, const struct ptx_operand *o, enum ptx_type type)
{
    struct ptx_operand first = *o,
                       second = {.kind = o->pair && strcmp(o->pair, "_") ? PTX_NAME : PTX_SINK, .name = o->pair};
    first.pair = NULL;
    decode_target(d, &first, type);
    decode_pred_target(d, &second);
}

static void decode_shfl(struct core_decode *d)
{
    static const char *const ways[] = {"up", "down", "bfly", "idx", NULL};
    int way = decode_choice(d, ways);
    if (!decode_take(d, "sync") || way < 0 || decode_type(d) != PTX_B32)
        decode_fail(d, "expected shfl.sync.{up,down,bfly,idx}.b32");
    decode_operands(d, 5, 5);
    d->op.mode[0] = (uint8_t)way;
    d->op.kind = KIND_COLLECTIVE;
    decode_source(d, OPERAND(4), PTX_B32);
    pair_target(d, OPERAND(0), PTX_B32);
    for (uint32_t i = 1; i < 4; i++) decode_source(d, OPERAND(i), PTX_B32);
    decode_emit(d, run_shfl);
}

/* ---- vote: r: members, d, a; mode[0]: all any uni ballot; mode[1]: a negated ---- */

static void run_vote(struct core_warp *w, const struct core_op *op)
{
    uint32_t a = *core_pred(w, op, 2);
    if (op->mode[1]) a = ~a;
    a &= w->mask;
    if (op->mode[0] == 3) {
        uint32_t v[LANES];
        for (int l = 0; l < LANES; l++) v[l] = a;
        core_put32(w, core_reg(w, op, 1), v);
    } else {
        bool yes = op->mode[0] == 0 ? a == w->mask : op->mode[0] == 1 ? a != 0 : a == 0 || a == w->mask;
        core_set_pred(w, core_pred(w, op, 1), yes ? ALL_LANES : 0);
    }
}
static void decode_vote(struct core_decode *d)
{
    static const char *const ways[] = {"all", "any", "uni", "ballot", NULL};
    if (!decode_take(d, "sync")) decode_fail(d, "expected vote.sync");
    int way = decode_choice(d, ways);
    if (way < 0 || decode_type(d) != (way == 3 ? PTX_B32 : PTX_PRED))
        decode_fail(d, "expected vote.sync.{all,any,uni}.pred or .ballot.b32");
    decode_operands(d, 3, 3);
    d->op.mode[0] = (uint8_t)way;
    d->op.mode[1] = OPERAND(1)->negated;
    d->op.kind = KIND_COLLECTIVE;
    decode_source(d, OPERAND(2), PTX_B32);
    if (way == 3)
        decode_target(d, OPERAND(0), PTX_B32);
    else
        decode_pred_target(d, OPERAND(0));
    decode_pred_source(d, OPERAND(1));
    decode_emit(d, run_vote);
}

/* ---- match: r: members, d, p, a; mode[0]: all; mode[1]: 64 bits ---- */

static void run_match(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 3);
    uint32_t v[LANES] = {0}, same_all = ALL_LANES;
    for (int l = 0; l < LANES; l++) {
        EACH_LANE(k, w->mask) v[l] |= (uint32_t)(op->mode[1] ? a->ux[l] == a->ux[k] : a->u[l] == a->u[k]) << k;
        if (op->mode[0] && v[l] != w->mask) {
            v[l] = 0;
            if (w->mask >> l & 1) same_all = 0;
        }
    }
    core_put32(w, core_reg(w, op, 1), v);
    core_set_pred(w, core_pred(w, op, 2), same_all);
}
static void decode_match(struct core_decode *d)
{
    bool all = decode_take(d, "all");
    if ((!all && !decode_take(d, "any")) || !decode_take(d, "sync")) decode_fail(d, "expected match.{any,all}.sync");
    enum ptx_type type = decode_type(d);
    if (type != PTX_B32 && type != PTX_B64) decode_fail(d, "not known for this type");
    decode_operands(d, 3, 3);
    d->op.mode[0] = all;
    d->op.mode[1] = type == PTX_B64;
    d->op.kind = KIND_COLLECTIVE;
    decode_source(d, OPERAND(2), PTX_B32);
    pair_target(d, OPERAND(0), PTX_B32);
    decode_source(d, OPERAND(1), type);
    decode_emit(d, run_match);
}

/* ---- redux: r: members, d, a; mode[0]: operation; mode[1]: signed ---- */

static void run_redux(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 2);
    uint32_t first = a->u[core_first(w->mask)], v[LANES];
    EACH_LANE(l, w->mask & (w->mask - 1))
    {
        uint32_t x = a->u[l];
        bool less = op->mode[1] ? (int32_t)x < (int32_t)first : x < first;
        switch (op->mode[0]) {
        case 0:
            first += x;
            break;
        case 1:
            first = less ? x : first;
            break;
        case 2:
            first = less ? first : x;
            break;
        case 3:
            first &= x;
            break;
        case 4:
            first |= x;
            break;
        default:
            first ^= x;
        }
    }
    for (int l = 0; l < LANES; l++) v[l] = first;
    core_put32(w, core_reg(w, op, 1), v);
}
static void decode_redux(struct core_decode *d)
{
    static const char *const ways[] = {"add", "min", "max", "and", "or", "xor", NULL};
    int way = decode_choice(d, ways);
    enum ptx_type type = decode_take(d, "sync") ? decode_type(d) : PTX_NONE;
    if (way < 0 || (way < 3 ? type != PTX_U32 && type != PTX_S32 : type != PTX_B32))
        decode_fail(d, "not known for this type (f32 is absent on these parts)");
    decode_operands(d, 3, 3);
    d->op.mode[0] = (uint8_t)way;
    d->op.mode[1] = type == PTX_S32;
    d->op.kind = KIND_COLLECTIVE;
    decode_source(d, OPERAND(2), PTX_B32);
    decode_target(d, OPERAND(0), type);
    decode_source(d, OPERAND(1), type);
    decode_emit(d, run_redux);
}

/* ---- elect: r: members, d, p ---- */

static void run_elect(struct core_warp *w, const struct core_op *op)
{
    uint32_t leader = (uint32_t)core_first(w->mask), v[LANES];
    for (int l = 0; l < LANES; l++) v[l] = leader;
    core_put32(w, core_reg(w, op, 1), v);
    core_set_pred(w, core_pred(w, op, 2), 1u << leader);
}
static void decode_elect(struct core_decode *d)
{
    decode_needs(d, 90, false);
    if (!decode_take(d, "sync")) decode_fail(d, "expected elect.sync");
    decode_operands(d, 2, 2);
    d->op.kind = KIND_COLLECTIVE;
    decode_source(d, OPERAND(1), PTX_B32);
    pair_target(d, OPERAND(0), PTX_B32);
    decode_emit(d, run_elect);
}

static void run_activemask(struct core_warp *w, const struct core_op *op)
{
    uint32_t v[LANES];
    for (int l = 0; l < LANES; l++) v[l] = w->mask;
    core_put32(w, core_reg(w, op, 0), v);
}
static void decode_activemask(struct core_decode *d)
{
    if (decode_type(d) != PTX_B32) decode_fail(d, "expected .b32");
    decode_operands(d, 1, 1);
    decode_target(d, OPERAND(0), PTX_B32);
    decode_emit(d, run_activemask);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Block barriers. mode[0]: wait (else only arrive); mode[1]: reduction 0 none, 1 popc, 2 and, 3 or; mode[2]: c negated;
 * mode[3]: a count is given. r: id, count, d, c */

static uint32_t live_threads(const struct core_block *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->warps; i++) n += (uint32_t)__builtin_popcount(b->warp[i].live);
    return n;
}

/* expected == ALL_LANES: every thread of the block that has not exited. */
static bool complete(const struct core_block *b, const struct core_barrier *bar)
{
    return bar->arrived >= (bar->expected == ALL_LANES ? live_threads(b) : bar->expected);
}

static void open_barrier(struct core_block *b, uint32_t id)
{
    struct core_barrier *bar = &b->barrier[id];
    b->progress = b->steps;
    for (uint32_t i = 0; i < b->warps; i++) {
        struct core_warp *w = &b->warp[i];
        for (uint32_t k = 0; k < w->fragment_count; k++) {
            struct core_fragment *f = &w->fragment[k];
            if (f->state != STATE_BARRIER || f->wait != id) continue;
            f->state = STATE_RUN;
            uint32_t lanes = f->members;
            core_acquire(w, lanes, bar->clocks);
            if (lanes == w->live) core_warp_sync(w, lanes);
            const struct core_op *op = &b->job->function->op[f->wait_phase];
            if (op->mode[1] == 1) {
                EACH_LANE(l, lanes) core_reg(w, op, 2)->u[l] = bar->result;
            } else if (op->mode[1]) {
                bool yes = op->mode[1] == 2 ? bar->result == bar->arrived : bar->result != 0;
                uint32_t *p = core_pred(w, op, 2);
                *p = (*p & ~lanes) | (yes ? lanes : 0);
            }
        }
    }
    bar->arrived = bar->expected = bar->result = 0;
}

void core_barriers_left(struct core_block *b)
{
    for (uint32_t i = 0; i < MAX_BARRIERS; i++)
        if (b->barrier[i].expected == ALL_LANES && b->barrier[i].arrived && complete(b, &b->barrier[i]))
            open_barrier(b, i);
}

static void run_barrier(struct core_warp *w, const struct core_op *op)
{
    struct core_block *b = w->block;
    int first = core_first(w->mask);
    uint32_t id = core_reg(w, op, 0)->u[first], count = op->mode[3] ? core_reg(w, op, 1)->u[first] : ALL_LANES;
    if (id >= MAX_BARRIERS) core_fault(w, -1, CORE_FAULT_LAUNCH, 0, "barrier %u: there are 16", id);
    if (op->mode[3] && (!count || count % LANES))
        core_fault(w, -1, CORE_FAULT_LAUNCH, 0, "barrier %u: %u threads is no multiple of the warp size", id, count);
    struct core_barrier *bar = &b->barrier[id];
    size_t bytes = (size_t)b->clock_entries * 2 * sizeof(uint32_t);
    if (!bar->clocks && !(bar->clocks = malloc(bytes)))
        core_fault(w, -1, CORE_OUT_OF_MEMORY, 0, "no host memory for clocks");
    if (!bar->arrived) {
        memset(bar->clocks, 0, bytes);
        bar->expected = count;
    } else if (bar->expected != count) {
        core_fault(w, -1, CORE_FAULT_LAUNCH, 0, "barrier %u: warps name different numbers of threads", id);
    }
    /* With a count, a warp counts whole; without, its threads do. */
    bar->arrived += op->mode[3] && op->kind == KIND_WARP ? LANES : (uint32_t)__builtin_popcount(w->mask);
    if (op->mode[1]) {
        uint32_t c = *core_pred(w, op, 3);
        bar->result += (uint32_t)__builtin_popcount((op->mode[2] ? ~c : c) & w->mask);
    }
    if (op->mode[3] && bar->arrived > bar->expected)
        core_fault(w, -1, CORE_FAULT_LAUNCH, 0, "barrier %u: more threads arrive (%u) than it is for (%u)", id,
                   bar->arrived, bar->expected);
    core_release(w, w->mask, bar->clocks);
    b->progress = b->steps;
    struct core_fragment *f = &w->fragment[w->current];
    if (op->mode[0]) {
        f->state = STATE_BARRIER;
        f->wait = id;
        f->wait_phase = (uint32_t)(op - b->job->function->op);
        f->members = w->mask;
    }
    if (complete(b, bar)) open_barrier(b, id);
    w->pause = f->state == STATE_BARRIER;
}

/* bar.warp.sync: flags 0x5c tells the scheduler what it is. r: members */
static void run_warp_sync(struct core_warp *w, const struct core_op *op)
{
    (void)op;
    core_warp_sync(w, w->mask);
}

static void decode_bar(struct core_decode *d)
{
    static const char *const ways[] = {"sync", "arrive", "red", NULL}, *const reductions[] = {"popc", "and", "or",
                                                                                              NULL};
    if (decode_take(d, "warp")) {
        if (!decode_take(d, "sync")) decode_fail(d, "expected bar.warp.sync");
        decode_operands(d, 1, 1);
        decode_source(d, OPERAND(0), PTX_B32);
        d->op.kind = KIND_COLLECTIVE;
        d->op.flags = 0x5c;
        decode_emit(d, run_warp_sync);
        return;
    }
    decode_take(d, "cta");
    int way = decode_choice(d, ways);
    bool aligned = !strcmp(d->in->part[0], "bar") || decode_take(d, "aligned");
    int reduction = way == 2 ? decode_choice(d, reductions) + 1 : 0;
    if (way < 0 || (way == 2 && !reduction)) decode_fail(d, "expected .sync, .arrive or .red");
    if (way == 2 && decode_type(d) != (reduction == 1 ? PTX_U32 : PTX_PRED))
        decode_fail(d, "a type that does not fit the reduction");
    uint32_t n = d->in->operand_count, at = way == 2 ? 1 : 0, last = way == 2 ? n - 1 : n;
    decode_operands(d, way == 2 ? 3 : 1, way == 2 ? 4 : 2);
    d->op.mode[0] = way != 1;
    d->op.mode[1] = (uint8_t)reduction;
    d->op.mode[3] = last - at == 2;
    if (way == 1 && !d->op.mode[3]) decode_fail(d, "bar.arrive needs a number of threads");
    decode_source(d, OPERAND(at), PTX_U32);
    if (d->op.mode[3])
        decode_source(d, OPERAND(at + 1), PTX_U32);
    else
        d->r[d->r_count++] = 0;
    if (way == 2) {
        if (reduction == 1)
            decode_target(d, OPERAND(0), PTX_U32);
        else
            decode_pred_target(d, OPERAND(0));
        d->op.mode[2] = OPERAND(n - 1)->negated;
        decode_pred_source(d, OPERAND(n - 1));
    }
    d->op.kind = aligned ? KIND_WARP : KIND_PLAIN;
    decode_emit(d, run_barrier);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Fences, hints, trap */

static void run_nothing(struct core_warp *w, const struct core_op *op)
{
    (void)w;
    (void)op;
}
static void run_proxy_fence(struct core_warp *w, const struct core_op *op)
{
    (void)op;
    core_proxy_fence(w, w->mask);
}

static void decode_fence(struct core_decode *d)
{
    static const char *const any[] = {"sc",  "acq_rel", "acquire", "release",       "cta", "cluster",
                                      "gpu", "sys",     "gl",      "mbarrier_init", NULL};
    bool async = false;
    if (decode_take(d, "proxy")) {
        static const char *const where[] = {"global", "shared::cta", "shared::cluster", NULL};
        async = decode_take(d, "async");
        if (!async && !decode_take(d, "alias") && !decode_take(d, "tensormap::generic"))
            decode_fail(d, "a proxy that is not known");
        decode_choice(d, where);
        if (async) decode_needs(d, 90, false);
    }
    while (decode_choice(d, any) >= 0) continue;
    if (d->in->operand_count > 2) decode_fail(d, "too many operands");
    if (!async) d->function->fences = true;
    decode_emit(d, async ? run_proxy_fence : run_nothing);
}

static void run_nanosleep(struct core_warp *w, const struct core_op *op)
{
    (void)op;
    w->yield = true;
}
static void decode_nanosleep(struct core_decode *d)
{
    if (decode_type(d) != PTX_U32) decode_fail(d, "expected .u32");
    decode_emit(d, run_nanosleep);
}

static void run_trap(struct core_warp *w, const struct core_op *op)
{
    (void)op;
    core_fault(w, -1, CORE_FAULT_LAUNCH, 0, "trap");
}
static void decode_trap(struct core_decode *d)
{
    decode_operands(d, 0, 0);
    decode_emit(d, run_trap);
}

static void decode_griddepcontrol(struct core_decode *d)
{
    decode_needs(d, 90, false);
    if (!decode_take(d, "wait") && !decode_take(d, "launch_dependents"))
        decode_fail(d, "expected .wait or .launch_dependents");
    decode_emit(d, run_nothing);
}
static void decode_setmaxnreg(struct core_decode *d)
{
    decode_needs(d, 90, true);
    if ((!decode_take(d, "inc") && !decode_take(d, "dec")) || !decode_take(d, "sync") || !decode_take(d, "aligned") ||
        decode_type(d) != PTX_U32)
        decode_fail(d, "expected setmaxnreg.{inc,dec}.sync.aligned.u32");
    decode_operands(d, 1, 1);
    int64_t n = decode_immediate(d, OPERAND(0));
    if (n < 24 || n > 256 || n % 8) decode_fail(d, "%lld is no multiple of 8 from 24 to 256", (long long)n);
    d->op.kind = KIND_WARP;
    decode_emit(d, run_nothing);
}
static void decode_pmevent(struct core_decode *d)
{
    decode_emit(d, run_nothing);
}

const struct core_opcode core_warp_opcodes[] = {{"shfl", decode_shfl},
                                                {"vote", decode_vote},
                                                {"match", decode_match},
                                                {"redux", decode_redux},
                                                {"elect", decode_elect},
                                                {"activemask", decode_activemask},
                                                {"bar", decode_bar},
                                                {"barrier", decode_bar},
                                                {"membar", decode_fence},
                                                {"fence", decode_fence},
                                                {"nanosleep", decode_nanosleep},
                                                {"trap", decode_trap},
                                                {"griddepcontrol", decode_griddepcontrol},
                                                {"setmaxnreg", decode_setmaxnreg},
                                                {"pmevent", decode_pmevent},
                                                {NULL, NULL}};
