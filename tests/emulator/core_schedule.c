/*
 * Who runs when: lanes of a warp, warps of a block, blocks over host threads.
 *
 * Lanes that share a pc form a fragment and run in lockstep. Of a warp's fragments the one with the lowest pc runs, so
 * that the two sides of a branch meet again where their code joins; a fragment that keeps jumping back while others
 * could run rests for a while, so that lanes may wait for each other as they may since sm_70. Warps take turns in an
 * order and with turns of a length drawn from the seed. A fragment that has to wait (block barrier, mbarrier phase,
 * other lanes of a collective) is skipped; when nothing is left to run, that is a deadlock and every waiting pc is told.
 */
#include "tests/emulator/core_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TURNS_BEFORE_REST = 200, REST_PICKS = 400 };
/* Operations of a block without a store, barrier, arrival or exit after which it counts as waiting for ever. */
#define STUCK_STEPS ((uint64_t)1 << 26)

/* ------------------------------------------------------------------------------------------------------------------ */
/* Faults */

_Noreturn void core_fault(struct core_warp *w, int lane, enum core_status status, uint64_t address, const char *format,
                          ...)
{
    struct core_block *b = w->block;
    struct core_job *job = b->job;
    pthread_mutex_lock(&job->lock);
    if (!atomic_load(&job->stop)) {
        atomic_store(&job->stop, 1);
        struct core_error *e = job->error;
        memset(e, 0, sizeof(*e));
        const uint32_t *n = job->launch->block;
        uint32_t first = lane >= 0 ? (uint32_t)lane : w->mask ? (uint32_t)core_first(w->mask) : 0;
        uint32_t thread = w->index * LANES + first;
        e->status = status;
        e->line = w->op ? w->op->line : 0;
        e->address = address;
        snprintf(e->kernel, sizeof(e->kernel), "%s", job->function->name);
        memcpy(e->block, b->id, sizeof(e->block));
        e->thread[0] = thread % n[0];
        e->thread[1] = thread / n[0] % n[1];
        e->thread[2] = thread / n[0] / n[1];
        int k =
            snprintf(e->text, sizeof(e->text), "kernel %s, PTX line %u, block (%u,%u,%u), thread (%u,%u,%u)", e->kernel,
                     e->line, e->block[0], e->block[1], e->block[2], e->thread[0], e->thread[1], e->thread[2]);
        if (address)
            k += snprintf(e->text + k, sizeof(e->text) - (size_t)k, ", address 0x%llx", (unsigned long long)address);
        k += snprintf(e->text + k, sizeof(e->text) - (size_t)k, ": ");
        va_list args;
        va_start(args, format);
        vsnprintf(e->text + k, sizeof(e->text) - (size_t)k, format, args);
        va_end(args);
    }
    pthread_mutex_unlock(&job->lock);
    longjmp(b->fault, 1);
}

static _Noreturn void deadlock(struct core_block *b, const char *what)
{
    static const char *const names[] = {"running", "waiting for other lanes", "waiting at a barrier",
                                        "waiting for an mbarrier"};
    char text[1024];
    size_t n = (size_t)snprintf(text, sizeof(text), "deadlock, %s", what);
    struct core_warp *guilty = NULL;
    for (uint32_t i = 0; i < b->warps; i++) {
        struct core_warp *w = &b->warp[i];
        for (uint32_t k = 0; k < w->fragment_count && n < sizeof(text) - 100; k++) {
            const struct core_fragment *f = &w->fragment[k];
            const struct core_op *op = &b->job->function->op[f->pc - (f->state == STATE_BARRIER && f->pc)];
            n += (size_t)snprintf(text + n, sizeof(text) - n, "; warp %u lanes %08x %s at line %u", i, f->mask,
                                  names[f->state], op->line);
            if (f->state == STATE_BARRIER && b->barrier[f->wait].expected == ALL_LANES)
                n += (size_t)snprintf(text + n, sizeof(text) - n, " (barrier %u: %u threads have come)", f->wait,
                                      b->barrier[f->wait].arrived);
            else if (f->state == STATE_BARRIER)
                n += (size_t)snprintf(text + n, sizeof(text) - n, " (barrier %u: %u of %u threads)", f->wait,
                                      b->barrier[f->wait].arrived, b->barrier[f->wait].expected);
            if (!guilty) {
                guilty = w;
                w->op = op;
                w->mask = f->mask;
            }
        }
    }
    core_fault(guilty ? guilty : &b->warp[0], -1, CORE_FAULT_LAUNCH, 0, "%s", text);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Fragments */

static void set_mask(struct core_warp *w, uint32_t mask)
{
    w->mask = mask;
    if (mask == w->wide_mask) return;
    w->wide_mask = mask;
    for (int l = 0; l < LANES; l++) w->wide[l] = 0u - (mask >> l & 1);
}

static void drop_fragment(struct core_warp *w, uint32_t i)
{
    w->fragment[i] = w->fragment[--w->fragment_count];
}

/* Lanes of the current fragment leave for pc; the fragment keeps the rest. */
static void split(struct core_warp *w, uint32_t mask, uint32_t pc)
{
    struct core_fragment *f = &w->fragment[w->current];
    f->mask &= ~mask;
    w->fragment[w->fragment_count++] = (struct core_fragment){.pc = pc, .mask = mask, .turns = f->turns};
}

/* Let fragments that may run at the same pc become one, and pick the one to run; false when none can. */
static bool pick(struct core_warp *w)
{
    w->picks++;
    for (uint32_t i = 0; i < w->fragment_count; i++) {
        struct core_fragment *f = &w->fragment[i];
        if (!f->mask) {
            drop_fragment(w, i--);
            continue;
        }
        for (uint32_t k = i + 1; k < w->fragment_count; k++) {
            const struct core_fragment *g = &w->fragment[k];
            if (g->pc != f->pc || g->state > STATE_MEET || f->state > STATE_MEET) continue;
            f->mask |= g->mask;
            f->state = STATE_RUN; /* a collective looks again who is there */
            drop_fragment(w, k--);
        }
    }
    uint32_t best = LANES, rested = LANES;
    for (uint32_t i = 0; i < w->fragment_count; i++) {
        const struct core_fragment *f = &w->fragment[i];
        if (f->state != STATE_RUN) continue;
        if (f->rest_until > w->picks) {
            if (rested == LANES || f->rest_until < w->fragment[rested].rest_until) rested = i;
        } else if (best == LANES || f->pc < w->fragment[best].pc)
            best = i;
    }
    w->current = best < LANES ? best : rested;
    return w->current < LANES;
}

void core_exit_lanes(struct core_warp *w, uint32_t lanes)
{
    struct core_block *b = w->block;
    w->live &= ~lanes;
    w->fragment[w->current].mask &= ~lanes;
    b->progress = b->steps;
    for (uint32_t i = 0; i < w->fragment_count; i++) /* fewer lanes to wait for */
        if (w->fragment[i].state == STATE_MEET) w->fragment[i].state = STATE_RUN;
    core_barriers_left(b);
}

/* Lanes at different bar.warp.sync of the same members may meet too. */
static bool meet_apart(struct core_warp *w)
{
    for (uint32_t i = 0; i < w->fragment_count; i++) {
        if (w->fragment[i].state != STATE_MEET || w->fragment[i].members == 0) continue;
        uint32_t members = w->fragment[i].members & w->live, here = 0;
        const struct core_op *op = w->block->job->function->op;
        core_handler *run = op[w->fragment[i].pc].run;
        if (op[w->fragment[i].pc].flags != 0x5c) continue; /* bar.warp.sync, see core_warp.c */
        for (uint32_t k = 0; k < w->fragment_count; k++)
            if (w->fragment[k].state == STATE_MEET && op[w->fragment[k].pc].run == run) here |= w->fragment[k].mask;
        if ((here & members) != members) continue;
        core_warp_sync(w, members);
        for (uint32_t k = 0; k < w->fragment_count; k++)
            if (w->fragment[k].state == STATE_MEET && op[w->fragment[k].pc].run == run) {
                w->fragment[k].state = STATE_RUN;
                w->fragment[k].pc++;
            }
        return true;
    }
    return false;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Running */

static void branch(struct core_warp *w, struct core_fragment *f, uint32_t taken, uint32_t target)
{
    if (target <= f->pc && w->fragment_count > 1 && ++f->turns > TURNS_BEFORE_REST) {
        f->turns = 0;
        f->rest_until = w->picks + REST_PICKS;
    }
    if (taken == f->mask) {
        f->pc = target;
    } else {
        f->pc++;
        if (taken) split(w, taken, target);
    }
}

static void branch_table(struct core_warp *w, struct core_fragment *f, const struct core_op *op, uint32_t lanes)
{
    const union core_register *index = core_reg(w, op, 0);
    f->pc++;
    while (lanes) {
        uint32_t i = index->u[core_first(lanes)], same = 0;
        EACH_LANE(l, lanes) same |= (uint32_t)(index->u[l] == i) << l;
        if (i >= op->table_count)
            core_fault(w, core_first(lanes), CORE_FAULT_LAUNCH, 0, "brx.idx: index %u, the table has %u", i,
                       op->table_count);
        if (f->mask == same)
            f->pc = op->table[i];
        else
            split(w, same, op->table[i]);
        lanes &= ~same;
    }
}

/* The lanes among `lanes` that name the same members as the first of them. */
static uint32_t same_members(struct core_warp *w, const struct core_op *op, uint32_t lanes)
{
    if (op->kind == KIND_WARP) return lanes;
    const union core_register *members = core_reg(w, op, 0);
    uint32_t same = 0;
    EACH_LANE(l, lanes) same |= (uint32_t)(members->u[l] == members->u[core_first(lanes)]) << l;
    return same;
}

/* Whether all members are here; otherwise the fragment waits. Lanes that the guard excludes go on alone. */
static bool met(struct core_warp *w, struct core_fragment *f, const struct core_op *op, uint32_t lanes)
{
    bool all = true;
    uint32_t members = 0;
    for (uint32_t left = lanes, group; left && all; left &= ~group) {
        group = same_members(w, op, left);
        members = op->kind == KIND_WARP ? ALL_LANES : core_reg(w, op, 0)->u[core_first(left)];
        if (group & ~members)
            core_fault(w, core_first(group & ~members), CORE_FAULT_LAUNCH, 0,
                       "a lane executes with a member mask (%08x) that does not name it", members);
        all = !(members & w->live & ~group);
    }
    if (all) return true;
    if (lanes != f->mask) split(w, f->mask & ~lanes, f->pc + 1);
    f->state = STATE_MEET;
    f->members = members;
    return false;
}

/* Run one warp for at most `budget` operations; returns how many ran. */
static uint32_t run_warp(struct core_warp *w, uint32_t budget)
{
    struct core_block *b = w->block;
    const struct core_op *ops = b->job->function->op;
    uint32_t done = 0;
    w->yield = false;
    while (done < budget && !w->yield && w->live) {
        if (!pick(w)) {
            if (!meet_apart(w)) break;
            continue;
        }
        struct core_fragment *f = &w->fragment[w->current];
        bool alone = w->fragment_count == 1;
        do {
            const struct core_op *op = &ops[f->pc];
            uint32_t lanes = f->mask;
            if (op->guard) {
                uint32_t p = *(const uint32_t *)(const void *)(w->registers + op->guard);
                lanes &= op->guard_negated ? ~p : p;
            }
            done++;
            w->op = op;
            if (!lanes) {
                f->pc++;
                continue;
            }
            set_mask(w, lanes);
            switch ((enum core_kind)op->kind) {
            case KIND_COLLECTIVE:
            case KIND_WARP:
                if (!met(w, f, op, lanes)) goto next;
                for (uint32_t left = lanes, group; left & (left - 1); left &= ~group) { /* all groups but the last */
                    group = same_members(w, op, left);
                    if (group == left) break;
                    set_mask(w, group);
                    op->run(w, op);
                    set_mask(w, left & ~group);
                }
                /* fall through */
            case KIND_PLAIN:
                op->run(w, op);
                b->counts[f->pc]++;
                if (!w->stay) f->pc++;
                if (w->stay || w->pause) {
                    w->stay = w->pause = false;
                    if (lanes != f->mask) { /* only the executing lanes wait */
                        uint32_t state = f->state;
                        uint32_t rest = f->mask & ~lanes, pc = state == STATE_MBARRIER ? f->pc + 1 : f->pc;
                        f->mask = lanes;
                        w->fragment[w->fragment_count++] = (struct core_fragment){.pc = pc, .mask = rest};
                    }
                    goto next;
                }
                break;
            case KIND_BRANCH:
                b->counts[f->pc]++;
                branch(w, f, lanes, op->target);
                if (w->fragment_count > 1) goto next;
                break;
            case KIND_TABLE:
                b->counts[f->pc]++;
                branch_table(w, f, op, lanes);
                goto next;
            case KIND_EXIT:
                b->counts[f->pc]++;
                if (f->mask != lanes) f->pc++;
                core_exit_lanes(w, lanes);
                if (f->mask != 0 && alone) break;
                goto next;
            }
        } while (alone && done < budget && !w->yield);
    next:;
    }
    b->steps += done;
    return done;
}

static void start_warp(struct core_warp *w, uint32_t threads)
{
    struct core_block *b = w->block;
    const struct core_function *f = b->job->function;
    const struct core_launch *launch = b->job->launch;
    uint32_t lanes = threads - w->index * LANES;
    w->live = lanes >= LANES ? ALL_LANES : (1u << lanes) - 1;
    w->fragment_count = 1;
    w->current = 0;
    w->fragment[0] = (struct core_fragment){.mask = w->live};
    w->stay = w->pause = w->yield = false;
    w->picks = 0;
    for (int s = 0; s < SPECIAL_COUNT; s++) {
        if (!f->special[s]) continue;
        union core_register *r = (union core_register *)(void *)(w->registers + f->special[s]);
        for (uint32_t l = 0; l < LANES; l++) {
            uint32_t t = w->index * LANES + l, v = 0;
            const uint32_t *n = launch->block;
            if (s <= SPECIAL_TID_Z)
                v = s == SPECIAL_TID_X ? t % n[0] : s == SPECIAL_TID_Y ? t / n[0] % n[1] : t / n[0] / n[1];
            else if (s <= SPECIAL_NTID_Z)
                v = n[s - SPECIAL_NTID_X];
            else if (s <= SPECIAL_CTAID_Z)
                v = b->id[s - SPECIAL_CTAID_X];
            else if (s <= SPECIAL_NCTAID_Z)
                v = launch->grid[s - SPECIAL_NCTAID_X];
            else
                switch (s) {
                case SPECIAL_LANEID:
                    v = l;
                    break;
                case SPECIAL_WARPID:
                    v = w->index;
                    break;
                case SPECIAL_NWARPID:
                    v = b->warps;
                    break;
                case SPECIAL_SMID:
                    v = (b->id[0] + b->id[1] * launch->grid[0]) % 4;
                    break;
                case SPECIAL_NSMID:
                    v = 4;
                    break;
                case SPECIAL_GRIDID:
                case SPECIAL_ONE:
                    v = 1;
                    break;
                case SPECIAL_EQ:
                    v = 1u << l;
                    break;
                case SPECIAL_LE:
                    v = (2u << l) - 1;
                    break;
                case SPECIAL_LT:
                    v = (1u << l) - 1;
                    break;
                case SPECIAL_GE:
                    v = ~((1u << l) - 1);
                    break;
                case SPECIAL_GT:
                    v = ~((2u << l) - 1);
                    break;
                case SPECIAL_DYNAMIC_SMEM:
                    v = launch->dynamic_shared;
                    break;
                case SPECIAL_TOTAL_SMEM:
                    v = b->job->shared_bytes;
                    break;
                default:
                    break;
                }
            r->u[l] = v;
        }
    }
    core_clocks_start(w);
}

static void run_block(struct core_block *b, uint64_t index)
{
    struct core_job *job = b->job;
    const uint32_t *grid = job->launch->grid;
    b->id[0] = (uint32_t)(index % grid[0]);
    b->id[1] = (uint32_t)(index / grid[0] % grid[1]);
    b->id[2] = (uint32_t)(index / grid[0] / grid[1]);
    b->random = (job->launch->options.seed + 1) * 0x9e3779b97f4a7c15u ^ (index + 1) * 0xbf58476d1ce4e5b9u;
    if (!b->random) b->random = 1;
    b->steps = b->progress = 0;
    b->mbarriers = b->strongs = 0;
    for (uint32_t i = 0; i < b->shared_bytes; i += 4) memcpy(b->shared + i, &(uint32_t){POISON}, 4);
    for (int i = 0; i < MAX_BARRIERS; i++) b->barrier[i].expected = b->barrier[i].arrived = 0;
    for (uint32_t i = 0; i < b->warps; i++) start_warp(&b->warp[i], job->threads);

    uint32_t order[MAX_WARPS];
    for (uint32_t i = 0; i < b->warps; i++) order[i] = i;
    for (;;) {
        for (uint32_t i = b->warps; i > 1; i--) {
            uint32_t k = (uint32_t)(core_random(b) % i), t = order[i - 1];
            order[i - 1] = order[k];
            order[k] = t;
        }
        uint32_t ran = 0, live = 0;
        for (uint32_t i = 0; i < b->warps; i++) {
            struct core_warp *w = &b->warp[order[i]];
            if (w->live) ran += run_warp(w, 1 + (uint32_t)(core_random(b) & (b->warps == 1 ? 0xffff : 0x1ff)));
            live |= w->live;
        }
        if (!live) break;
        if (!ran) deadlock(b, "no warp can go on");
        if (b->finished != atomic_load_explicit(&job->finished, memory_order_relaxed)) {
            b->finished = atomic_load_explicit(&job->finished, memory_order_relaxed);
            b->progress = b->steps;
        }
        if (b->steps - b->progress > STUCK_STEPS) deadlock(b, "the block has been spinning without any progress");
        if (atomic_load_explicit(&job->stop, memory_order_relaxed)) return;
    }
    uint32_t top = b->base_time;
    for (uint32_t i = 0; i < b->warps; i++) {
        const struct core_clocks *c = &b->warp[i].clocks;
        if (c->time > top) top = c->time;
        if (c->bulk_time > top) top = c->bulk_time;
        for (int l = 0; l < LANES; l++)
            if (c->async_time[l] > top) top = c->async_time[l];
    }
    for (uint32_t i = 0; i < b->mbarriers; i++)
        if (b->mbarrier[i].phase > top) top = b->mbarrier[i].phase;
    b->base_time = top + 1;
    if (b->base_time > 0xf0000000u) {
        memset(b->cell, 0, (size_t)b->cells * sizeof(*b->cell));
        memset(b->read, 0, (size_t)b->cells * b->warps * sizeof(*b->read));
        b->base_time = 1;
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Host threads */

static void free_block(struct core_block *b)
{
    for (uint32_t i = 0; b->warp && i < b->warps; i++) {
        struct core_warp *w = &b->warp[i];
        free(w->register_memory);
        free(w->clocks.common);
        for (int l = 0; l < LANES; l++) free(w->clocks.own[l]);
        free(w->local);
    }
    for (int i = 0; i < MAX_BARRIERS; i++) free(b->barrier[i].clocks);
    for (int i = 0; i < MAX_MBARRIERS; i++) {
        free(b->mbarrier[i].clocks);
        free(b->mbarrier[i].done);
    }
    for (int i = 0; i < 64; i++) free(b->strong[i].clocks);
    free(b->warp);
    free(b->shared);
    free(b->cell);
    free(b->read);
    free(b->counts);
    free(b->spare_clocks);
    free(b);
}

/* The first multiple of `align` in memory that was allocated `align` bytes longer; NULL stays NULL. */
static void *at_multiple(void *memory, size_t align)
{
    return memory ? (uint8_t *)memory + (align - (uintptr_t)memory % align) % align : NULL;
}

static long processors(void)
{
#ifdef _WIN32
    return pthread_num_processors_np();
#else
    return sysconf(_SC_NPROCESSORS_ONLN);
#endif
}

/* Tables of one host thread; the registers are filled with poison and the constants. */
static struct core_block *make_block(struct core_job *job)
{
    const struct core_function *f = job->function;
    uint32_t warps = job->warps;
    struct core_block *b = calloc(1, sizeof(*b));
    if (!b) return NULL;
    b->job = job;
    b->warps = warps;
    b->shared_bytes = job->shared_bytes;
    b->granule = f->shared_granule;
    b->cells = (b->shared_bytes + 15) >> b->granule;
    b->async_first = warps * LANES;
    b->bulk_first = b->async_first + warps * LANES;
    b->mbarrier_first = b->bulk_first + warps;
    b->clock_entries = b->mbarrier_first + MAX_MBARRIERS;
    b->base_time = 1;
    size_t clocks = (size_t)b->clock_entries * 2 * sizeof(uint32_t);
    b->warp = calloc(warps, sizeof(*b->warp));
    b->shared = calloc((size_t)b->shared_bytes + 16, 1);
    b->cell = calloc((size_t)b->cells + 1, sizeof(*b->cell));
    b->read = calloc((size_t)b->cells * warps + 1, sizeof(*b->read));
    b->counts = calloc(f->op_count + 1, sizeof(*b->counts));
    b->spare_clocks = calloc(1, clocks);
    bool ok = b->warp && b->shared && b->cell && b->read && b->counts && b->spare_clocks;
    for (uint32_t i = 0; ok && i < warps; i++) {
        struct core_warp *w = &b->warp[i];
        w->block = b;
        w->index = i;
        w->register_memory = malloc((size_t)f->register_bytes + 64);
        w->registers = at_multiple(w->register_memory, 64);
        w->clocks.common = calloc(1, clocks);
        w->local = calloc(f->local_bytes + 1, LANES);
        ok = w->registers && w->clocks.common && w->local;
        if (!ok) break;
        for (uint32_t k = 0; k < f->register_bytes; k += 4) memcpy(w->registers + k, &(uint32_t){POISON}, 4);
        for (uint32_t k = 0; k < f->constant_count; k++) {
            const struct core_constant *c = &f->constant[k];
            union core_register *r = (union core_register *)(void *)(w->registers + c->offset);
            uint64_t v = c->value + (c->source == 1   ? c->variable->address
                                     : c->source == 2 ? (uint64_t)(uintptr_t)job->params
                                                      : 0);
            for (int l = 0; l < LANES; l++) {
                if (c->wide)
                    r->ux[l] = v;
                else
                    r->u[l] = (uint32_t)v;
            }
        }
        w->wide_mask = 0;
    }
    if (ok) return b;
    free_block(b);
    return NULL;
}

static void *work(void *argument)
{
    struct core_job *job = argument;
    struct core_block *b = make_block(job);
    if (!b) {
        pthread_mutex_lock(&job->lock);
        if (!atomic_exchange(&job->stop, 1)) {
            job->error->status = CORE_OUT_OF_MEMORY;
            snprintf(job->error->text, sizeof(job->error->text), "kernel %s: no host memory to run a block",
                     job->function->name);
        }
        pthread_mutex_unlock(&job->lock);
        return NULL;
    }
    if (!setjmp(b->fault))
        while (!atomic_load(&job->stop)) {
            uint64_t i = atomic_fetch_add(&job->next, 1);
            if (i >= job->blocks) break;
            run_block(b, i);
            atomic_fetch_add(&job->finished, 1);
        }
    pthread_mutex_lock(&job->lock);
    for (uint32_t i = 0; i < job->function->op_count; i++)
        if (job->function->op[i].count) *job->function->op[i].count += b->counts[i];
    pthread_mutex_unlock(&job->lock);
    free_block(b);
    return NULL;
}

static enum core_status refuse(struct core_error *error, enum core_status status, const char *kernel, const char *what)
{
    error->status = status;
    snprintf(error->kernel, sizeof(error->kernel), "%s", kernel);
    snprintf(error->text, sizeof(error->text), "kernel %s: %s", kernel, what);
    return status;
}

enum core_status core_run(const struct core_launch *launch, struct core_error *error)
{
    const struct core_function *f = launch->function;
    const uint32_t *n = launch->block, *g = launch->grid, *need = f->source->required;
    memset(error, 0, sizeof(*error));
    uint64_t threads = (uint64_t)n[0] * n[1] * n[2];
    if (!threads || !g[0] || !g[1] || !g[2] || n[0] > 1024 || n[1] > 1024 || n[2] > 64 || g[0] > 0x7fffffff ||
        g[1] > 65535 || g[2] > 65535)
        return refuse(error, CORE_INVALID_VALUE, f->name, "a grid or block size the device does not take");
    if (threads > 1024 || threads > f->source->max_threads ||
        (need[0] && (need[0] != n[0] || need[1] != n[1] || need[2] != n[2])))
        return refuse(error, threads > 1024 ? CORE_INVALID_VALUE : CORE_LAUNCH_RESOURCES, f->name,
                      "more threads in a block than the kernel declares, or others than it requires");
    struct core_job job = {.launch = launch, .function = f, .error = error, .threads = (uint32_t)threads};
    job.warps = (job.threads + LANES - 1) / LANES;
    job.blocks = (uint64_t)g[0] * g[1] * g[2];
    job.shared_bytes = f->static_shared + launch->dynamic_shared;
    if (launch->dynamic_shared > 232448 || job.shared_bytes > 232448)
        return refuse(error, CORE_LAUNCH_RESOURCES, f->name, "more shared memory than any device has");
    void *params = malloc((size_t)f->param_bytes + 128);
    job.params = at_multiple(params, 128); /* tensor maps want 64 */
    if (!params) return refuse(error, CORE_OUT_OF_MEMORY, f->name, "no host memory for the parameters");
    if (f->param_bytes) memcpy(job.params, launch->params, f->param_bytes);
    pthread_mutex_init(&job.lock, NULL);

    long workers = launch->options.threads > 0 ? launch->options.threads : processors();
    if (workers < 1) workers = 1;
    if (workers > 64) workers = 64;
    if ((uint64_t)workers > job.blocks) workers = (long)job.blocks;
    pthread_t thread[64];
    long started = 0;
    while (started < workers - 1 && !pthread_create(&thread[started], NULL, work, &job)) started++;
    work(&job);
    for (long i = 0; i < started; i++) pthread_join(thread[i], NULL);
    pthread_mutex_destroy(&job.lock);
    free(params);
    return error->status;
}
