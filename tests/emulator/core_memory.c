/*
 * Loads, stores and atomics of every state space, and the checks of each access: allocation bounds to the byte,
 * alignment, initialised bytes, races (core_shadow.c).
 */
#include "tests/emulator/core_internal.h"
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------------------ */
/* Global memory */

static uint8_t bit_run(uint64_t first, uint64_t count)
{
    return (uint8_t)(((1u << count) - 1) << first);
}

bool core_span_initialised(const struct core_span *span, uint64_t address, uint64_t bytes)
{
    if (!span->init) return true;
    uint64_t at = address - span->base, end = at + bytes;
    while (at < end) {
        uint64_t bit = at & 7, n = end - at < 8 - bit ? end - at : 8 - bit;
        uint8_t want = bit_run(bit, n);
        if ((__atomic_load_n(&span->init[at >> 3], __ATOMIC_RELAXED) & want) != want) return false;
        at += n;
    }
    return true;
}

void core_span_mark(const struct core_span *span, uint64_t address, uint64_t bytes)
{
    if (!span->init) return;
    uint64_t at = address - span->base, end = at + bytes;
    while (at < end) {
        uint64_t bit = at & 7, n = end - at < 8 - bit ? end - at : 8 - bit;
        uint8_t want = bit_run(bit, n);
        if ((__atomic_load_n(&span->init[at >> 3], __ATOMIC_RELAXED) & want) != want)
            __atomic_fetch_or(&span->init[at >> 3], want, __ATOMIC_RELAXED);
        at += n;
    }
}

/* The allocation around an access; the last few are remembered by the warp. */
static const struct core_span *find_span(struct core_warp *w, uint32_t lane, uint64_t address, uint64_t bytes,
                                         bool write)
{
    for (int i = 0; i < 4; i++) {
        const struct core_span *s = &w->span[i];
        if (address - s->base < s->size && s->size - (address - s->base) >= bytes) return s;
    }
    const struct core_memory *m = w->block->job->launch->memory;
    struct core_span span = {0};
    bool found = m->find(m->user, address, &span);
    const char *what = write ? "write" : "read";
    if (!found || span.size - (address - span.base) < bytes) {
        if (span.size)
            core_fault(
                w, (int)lane, CORE_FAULT_ADDRESS, address,
                "out of bounds: %s of %llu bytes, %lld bytes from the start of an allocation of %llu bytes at 0x%llx",
                what, (unsigned long long)bytes, (long long)(address - span.base), (unsigned long long)span.size,
                (unsigned long long)span.base);
        core_fault(w, (int)lane, CORE_FAULT_ADDRESS, address,
                   "out of bounds: %s of %llu bytes outside every allocation", what, (unsigned long long)bytes);
    }
    struct core_span *s = &w->span[w->span_next++ & 3];
    *s = span;
    return s;
}

uint8_t *core_global_range(struct core_warp *w, uint32_t lane, uint64_t address, uint64_t bytes, bool write)
{
    struct core_job *job = w->block->job;
    uint64_t params = (uint64_t)(uintptr_t)job->params;
    if (address - params < job->function->param_bytes && job->function->param_bytes - (address - params) >= bytes) {
        if (write) core_fault(w, (int)lane, CORE_FAULT_ADDRESS, address, "write to the kernel's parameters");
        return (uint8_t *)(uintptr_t)address;
    }
    const struct core_span *s = find_span(w, lane, address, bytes, write);
    if (write)
        core_span_mark(s, address, bytes);
    else if (!core_span_initialised(s, address, bytes))
        core_fault(w, (int)lane, CORE_FAULT_LAUNCH, address,
                   "read of uninitialised global memory (%llu bytes, %llu bytes into its allocation)",
                   (unsigned long long)bytes, (unsigned long long)(address - s->base));
    return (uint8_t *)(uintptr_t)address;
}

uint8_t *core_global(struct core_warp *w, uint32_t lane, uint64_t address, uint32_t bytes, bool write)
{
    if (address & (bytes - 1))
        core_fault(w, (int)lane, CORE_FAULT_ADDRESS, address, "misaligned: %s of %u bytes", write ? "write" : "read",
                   bytes);
    return core_global_range(w, lane, address, bytes, write);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Shared and local memory, generic addresses */

uint32_t core_shared_offset(struct core_warp *w, uint32_t lane, uint64_t address, uint32_t bytes, uint32_t align)
{
    uint64_t offset = address - SHARED_FIRST;
    uint32_t size = w->block->shared_bytes;
    if (address < SHARED_FIRST || offset >= size || size - offset < bytes)
        core_fault(w, (int)lane, CORE_FAULT_ADDRESS, address,
                   "out of bounds: access of %u bytes at shared address 0x%llx; the block has 0x%x to 0x%x", bytes,
                   (unsigned long long)address, SHARED_FIRST, SHARED_FIRST + size);
    if (address & (align - 1))
        core_fault(w, (int)lane, CORE_FAULT_ADDRESS, address, "misaligned: access of %u bytes at shared address 0x%llx",
                   bytes, (unsigned long long)address);
    return (uint32_t)offset;
}

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_BOTH };

static uint8_t *local_place(struct core_warp *w, uint32_t lane, uint64_t address, uint32_t bytes)
{
    uint32_t size = w->block->job->function->local_bytes;
    if (address >= size || size - address < bytes)
        core_fault(w, (int)lane, CORE_FAULT_ADDRESS, address,
                   "out of bounds: access of %u bytes at local address 0x%llx of %u", bytes,
                   (unsigned long long)address, size);
    if (address & (bytes - 1))
        core_fault(w, (int)lane, CORE_FAULT_ADDRESS, address, "misaligned: access of %u bytes at local address 0x%llx",
                   bytes, (unsigned long long)address);
    return w->local + (size_t)lane * size + address;
}

/* The checked place of one lane's access. how: of core_shadow_read. */
static uint8_t *place(struct core_warp *w, uint32_t lane, uint64_t address, enum ptx_space space, uint32_t bytes,
                      enum access access, int how)
{
    if (space == PTX_SPACE_NONE) {
        if (address - SHARED_WINDOW < WINDOW_BYTES) {
            space = PTX_SPACE_SHARED;
            address -= SHARED_WINDOW;
        } else if (address - LOCAL_WINDOW < WINDOW_BYTES) {
            space = PTX_SPACE_LOCAL;
            address -= LOCAL_WINDOW;
        }
    }
    if (space == PTX_SPACE_SHARED) {
        uint32_t offset = core_shared_offset(w, lane, address, bytes, bytes);
        if (access != ACCESS_WRITE) core_shadow_read(w, lane, offset, bytes, how);
        if (access != ACCESS_READ) core_shadow_store(w, lane, offset, bytes, how);
        return w->block->shared + offset;
    }
    if (space == PTX_SPACE_LOCAL) return local_place(w, lane, address, bytes);
    if (access == ACCESS_BOTH) core_global(w, lane, address, bytes, false);
    return core_global(w, lane, address, bytes, access != ACCESS_READ);
}

/* Words that atomics or volatile accesses synchronise by: what their writers knew, their readers learn. */
static void synchronise(struct core_warp *w, uint32_t lane, uint64_t address, bool release, bool acquire)
{
    struct core_block *b = w->block;
    if (address - SHARED_WINDOW < WINDOW_BYTES) address -= SHARED_WINDOW;
    if (address >= WINDOW_BYTES) return; /* global: other blocks have clocks of their own */
    b->steps += 16;                      /* costly, and what endless waiting is made of */
    uint32_t i = 0;
    while (i < b->strongs && b->strong[i].address != (uint32_t)address) i++;
    if (i == 64) return;
    size_t bytes = (size_t)b->clock_entries * 2 * sizeof(uint32_t);
    if (i == b->strongs) {
        if (!b->strong[i].clocks) b->strong[i].clocks = malloc(bytes);
        if (!b->strong[i].clocks) core_fault(w, (int)lane, CORE_OUT_OF_MEMORY, 0, "no host memory for clocks");
        memset(b->strong[i].clocks, 0, bytes);
        b->strong[i].address = (uint32_t)address;
        b->strongs++;
    }
    if (acquire) core_acquire(w, 1u << lane, b->strong[i].clocks);
    if (release) core_release(w, 1u << lane, b->strong[i].clocks);
}

static uint64_t address_of(const struct core_op *op, const union core_register *a, uint32_t lane)
{
    return op->flags & 1 ? a->ux[lane] + (uint64_t)op->imm : (uint64_t)(a->u[lane] + (uint32_t)op->imm);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* ld, st. flags: 1 the address has 64 bits, 2 the registers have 64, 4 sign-extend, 8 strong */

enum { FLAG_WIDE_ADDRESS = 1, FLAG_WIDE = 2, FLAG_SIGNED = 4, FLAG_STRONG = 8 };

static void run_load(struct core_warp *w, const struct core_op *op)
{
    uint32_t bytes = op->bytes, vector = op->vector;
    const union core_register *a = core_reg(w, op, (int)vector);
    int how = op->flags & FLAG_STRONG ? SHADOW_STRONG : 0;
    uint64_t address[LANES];
    EACH_LANE(l, w->mask) address[l] = address_of(op, a, l); /* before a result overwrites the address */
    EACH_LANE(l, w->mask)
    {
        if (how && op->space != PTX_SPACE_GLOBAL) synchronise(w, l, address[l], false, true);
        const uint8_t *p = place(w, l, address[l], (enum ptx_space)op->space, bytes * vector, ACCESS_READ, how);
        for (uint32_t i = 0; i < vector; i++, p += bytes) {
            union core_register *d = core_reg(w, op, (int)i);
            uint64_t v = 0;
            switch (bytes) {
            case 1:
                v = op->flags & FLAG_SIGNED ? (uint64_t)(int64_t)(int8_t)*p : *p;
                break;
            case 2: {
                uint16_t x;
                memcpy(&x, p, 2);
                v = op->flags & FLAG_SIGNED ? (uint64_t)(int64_t)(int16_t)x : x;
                break;
            }
            case 4: {
                uint32_t x;
                memcpy(&x, p, 4);
                v = op->flags & FLAG_SIGNED ? (uint64_t)(int64_t)(int32_t)x : x;
                break;
            }
            default:
                memcpy(&v, p, 8);
            }
            if (op->flags & FLAG_WIDE)
                d->ux[l] = v;
            else
                d->u[l] = (uint32_t)v;
        }
    }
}

static void run_store(struct core_warp *w, const struct core_op *op)
{
    uint32_t bytes = op->bytes, vector = op->vector;
    const union core_register *a = core_reg(w, op, 0);
    int how = op->flags & FLAG_STRONG ? SHADOW_STRONG : 0;
    w->block->progress = w->block->steps;
    EACH_LANE(l, w->mask)
    {
        uint64_t address = address_of(op, a, l);
        uint8_t value[32], *v = value;
        for (uint32_t i = 0; i < vector; i++, v += bytes) {
            const union core_register *s = core_reg(w, op, (int)i + 1);
            uint64_t x = op->flags & FLAG_WIDE ? s->ux[l] : s->u[l];
            memcpy(v, &x, bytes); /* little endian, as everything here */
        }
        uint32_t total = bytes * vector;
        uint64_t in_window = op->space == PTX_SPACE_SHARED ? address : address - SHARED_WINDOW;
        if ((op->space == PTX_SPACE_SHARED || op->space == PTX_SPACE_NONE) && in_window < WINDOW_BYTES &&
            l != (uint32_t)core_first(w->mask)) {
            /* lanes of one store that write the same value to one place do not harm each other */
            uint32_t offset = core_shared_offset(w, l, in_window, total, total);
            const struct core_cell *cell = &w->block->cell[offset >> w->block->granule];
            if (cell->time == w->clocks.time && cell->agent / LANES == w->index && cell->agent % LANES < l &&
                !memcmp(w->block->shared + offset, value, total) && (w->mask >> (cell->agent % LANES) & 1) &&
                address_of(op, a, cell->agent % LANES) == address)
                continue;
        }
        uint8_t *p = place(w, l, address, (enum ptx_space)op->space, total, ACCESS_WRITE, how);
        memcpy(p, value, total);
        if (how && op->space != PTX_SPACE_GLOBAL) synchronise(w, l, address, true, false);
    }
}

static const char *const cache_modifiers[] = {"ca",
                                              "cg",
                                              "cs",
                                              "lu",
                                              "cv",
                                              "wb",
                                              "wt",
                                              "nc",
                                              "L1::evict_normal",
                                              "L1::evict_unchanged",
                                              "L1::evict_first",
                                              "L1::evict_last",
                                              "L1::no_allocate",
                                              "L2::evict_normal",
                                              "L2::evict_first",
                                              "L2::evict_last",
                                              "L2::64B",
                                              "L2::128B",
                                              "L2::256B",
                                              NULL};
static const char *const scope_modifiers[] = {"cta", "cluster", "gpu", "sys", "gl", NULL};

/* The state space among the modifiers; PTX_SPACE_NONE is generic. */
static enum ptx_space take_space(struct core_decode *d)
{
    static const char *const names[] = {"global", "const", "shared",       "shared::cta", "shared::cluster",
                                        "local",  "param", "param::entry", "param::func", NULL};
    static const enum ptx_space spaces[] = {PTX_SPACE_GLOBAL, PTX_SPACE_CONST,  PTX_SPACE_SHARED,
                                            PTX_SPACE_SHARED, PTX_SPACE_SHARED, PTX_SPACE_LOCAL,
                                            PTX_SPACE_PARAM,  PTX_SPACE_PARAM,  PTX_SPACE_PARAM};
    int i = decode_choice(d, names);
    return i < 0 ? PTX_SPACE_NONE : spaces[i];
}

static void decode_access(struct core_decode *d, bool store)
{
    static const char *const semantics[] = {"weak", "volatile", "relaxed", "acquire", "release", "mmio", NULL};
    static const char *const vectors[] = {"v2", "v4", "v8", NULL};
    int order = decode_choice(d, semantics);
    decode_choice(d, scope_modifiers);
    enum ptx_space space = take_space(d);
    while (decode_choice(d, cache_modifiers) >= 0) continue;
    bool hint = decode_take(d, "L2::cache_hint");
    int vector = decode_choice(d, vectors);
    uint32_t elements = vector < 0 ? 1 : 2u << vector;
    enum ptx_type type = decode_type(d);
    uint32_t bytes = ptx_type_bytes(type);
    if (!bytes || bytes > 8) decode_fail(d, "a type is missing or not supported here");
    if (bytes * elements > 16) decode_needs(d, 100, false);
    if (bytes * elements > 32) decode_fail(d, "more than 32 bytes");
    decode_operands(d, 2, hint ? 3 : 2);
    const struct ptx_operand *value = OPERAND(store ? 1 : 0), *address = OPERAND(store ? 0 : 1);
    const struct ptx_operand *items = value;
    if (vector >= 0) {
        if (value->kind != PTX_VECTOR || value->item_count != elements)
            decode_fail(d, "expected a vector of %u", elements);
        items = value->items;
    }
    uint16_t flags = order > 0 ? FLAG_STRONG : 0;
    bool wide_value = false;
    for (uint32_t i = 0; i < elements; i++) wide_value |= decode_bits(d, &items[i]) == 64;
    if (bytes == 8) wide_value = true;
    for (uint32_t i = 0; i < elements; i++)
        if (bytes == 8 && items[i].kind != PTX_SINK && decode_bits(d, &items[i]) == 32)
            decode_fail(d, "a 64-bit access needs 64-bit registers");
    enum ptx_type holds = wide_value        ? (type == PTX_F64 ? PTX_F64 : PTX_B64)
                          : type == PTX_F32 ? PTX_F32
                          : bytes == 2      ? PTX_B16
                                            : PTX_B32;
    if (store) {
        flags |= decode_address(d, address, &space) ? FLAG_WIDE_ADDRESS : 0;
        for (uint32_t i = 0; i < elements; i++) decode_source(d, &items[i], holds);
    } else {
        for (uint32_t i = 0; i < elements; i++) decode_target(d, &items[i], holds);
        flags |= decode_address(d, address, &space) ? FLAG_WIDE_ADDRESS : 0;
    }
    if (wide_value) flags |= FLAG_WIDE;
    if (type == PTX_S8 || type == PTX_S16 || type == PTX_S32) flags |= FLAG_SIGNED;
    d->op.flags = flags;
    d->op.space = (uint8_t)space;
    d->op.bytes = (uint8_t)bytes;
    d->op.vector = (uint8_t)elements;
    if (space == PTX_SPACE_SHARED || space == PTX_SPACE_NONE) decode_shared_access(d, bytes * elements);
    if (store && (space == PTX_SPACE_CONST)) decode_fail(d, "constant memory cannot be written");
    decode_emit(d, store ? run_store : run_load);
}

static void decode_ld(struct core_decode *d)
{
    decode_access(d, false);
}
static void decode_st(struct core_decode *d)
{
    decode_access(d, true);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* atom, red. mode[0]: operation, mode[1]: type, mode[2]: acquires or releases */

enum { ATOM_AND, ATOM_OR, ATOM_XOR, ATOM_CAS, ATOM_EXCH, ATOM_ADD, ATOM_INC, ATOM_DEC, ATOM_MIN, ATOM_MAX };

static uint32_t add_halves(uint32_t a, uint32_t b, bool bf16)
{
    if (bf16)
        return core_float_to_bf16((double)core_bf16_to_float((uint16_t)a) + (double)core_bf16_to_float((uint16_t)b),
                                  ROUND_NEAREST);
    return core_float_to_half((double)core_half_to_float((uint16_t)a) + (double)core_half_to_float((uint16_t)b),
                              ROUND_NEAREST);
}

static uint64_t combine(int operation, enum ptx_type type, uint64_t old, uint64_t b, uint64_t c)
{
    int64_t so = ptx_type_bytes(type) == 8 ? (int64_t)old : (int32_t)old,
            sb = ptx_type_bytes(type) == 8 ? (int64_t)b : (int32_t)b;
    bool is_signed = type == PTX_S32 || type == PTX_S64;
    switch (operation) {
    case ATOM_AND:
        return old & b;
    case ATOM_OR:
        return old | b;
    case ATOM_XOR:
        return old ^ b;
    case ATOM_CAS:
        return old == b ? c : old;
    case ATOM_EXCH:
        return b;
    case ATOM_INC:
        return old >= b ? 0 : old + 1;
    case ATOM_DEC:
        return old == 0 || old > b ? b : old - 1;
    case ATOM_MIN:
        return is_signed ? (so < sb ? old : b) : old < b ? old : b;
    case ATOM_MAX:
        return is_signed ? (so > sb ? old : b) : old > b ? old : b;
    default:
        break;
    }
    if (type == PTX_F32) {
        uint32_t x = (uint32_t)old, y = (uint32_t)b;
        float p, q;
        memcpy(&p, &x, 4);
        memcpy(&q, &y, 4);
        p += q;
        memcpy(&x, &p, 4);
        return x;
    }
    if (type == PTX_F64) {
        double p, q;
        memcpy(&p, &old, 8);
        memcpy(&q, &b, 8);
        p += q;
        memcpy(&old, &p, 8);
        return old;
    }
    if (type == PTX_F16 || type == PTX_BF16) return add_halves((uint32_t)old, (uint32_t)b, type == PTX_BF16);
    if (type == PTX_F16X2 || type == PTX_BF16X2)
        return add_halves((uint32_t)old & 0xffff, (uint32_t)b & 0xffff, type == PTX_BF16X2) |
               add_halves((uint32_t)old >> 16 & 0xffff, (uint32_t)b >> 16 & 0xffff, type == PTX_BF16X2) << 16;
    return old + b;
}

/* r: d, a, b, c */
static void run_atomic(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1), *b = core_reg(w, op, 2), *c = core_reg(w, op, 3);
    union core_register *d = core_reg(w, op, 0);
    enum ptx_type type = (enum ptx_type)op->mode[1];
    /* Relaxed atomics order nothing by themselves; next to fences they may be half of a release or acquire pattern. */
    bool orders = op->mode[2] || w->block->job->function->fences;
    w->block->progress = w->block->steps;
    EACH_LANE(l, w->mask)
    {
        uint64_t address = address_of(op, a, l);
        bool wide = op->bytes == 8;
        uint64_t x = wide ? b->ux[l] : b->u[l], y = wide ? c->ux[l] : c->u[l], old = 0;
        if (op->space != PTX_SPACE_GLOBAL && orders) synchronise(w, l, address, true, true);
        uint8_t *p = place(w, l, address, (enum ptx_space)op->space, op->bytes, ACCESS_BOTH, SHADOW_STRONG);
        if (op->bytes == 2) {
            uint16_t o = __atomic_load_n((uint16_t *)(void *)p, __ATOMIC_RELAXED);
            while (!__atomic_compare_exchange_n((uint16_t *)(void *)p, &o,
                                                (uint16_t)combine(op->mode[0], type, o, x & 0xffff, y & 0xffff), false,
                                                __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
                continue;
            old = o;
        } else if (op->bytes == 4) {
            uint32_t o = __atomic_load_n((uint32_t *)(void *)p, __ATOMIC_RELAXED);
            while (!__atomic_compare_exchange_n((uint32_t *)(void *)p, &o,
                                                (uint32_t)combine(op->mode[0], type, o, x, y), false, __ATOMIC_SEQ_CST,
                                                __ATOMIC_RELAXED))
                continue;
            old = o;
        } else {
            uint64_t o = __atomic_load_n((uint64_t *)(void *)p, __ATOMIC_RELAXED);
            while (!__atomic_compare_exchange_n((uint64_t *)(void *)p, &o, combine(op->mode[0], type, o, x, y), false,
                                                __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
                continue;
            old = o;
        }
        if (wide)
            d->ux[l] = old;
        else
            d->u[l] = (uint32_t)old;
    }
}

static void decode_atomic(struct core_decode *d, bool returns)
{
    static const char *const semantics[] = {"relaxed", "acquire", "release", "acq_rel", NULL};
    static const char *const operations[] = {"and", "or",  "xor", "cas", "exch", "add",
                                             "inc", "dec", "min", "max", NULL};
    d->op.mode[2] = decode_choice(d, semantics) > 0;
    decode_choice(d, scope_modifiers);
    enum ptx_space space = take_space(d);
    int operation = decode_choice(d, operations);
    bool noftz = decode_take(d, "noftz");
    enum ptx_type type = decode_type(d);
    uint32_t bytes = ptx_type_bytes(type);
    bool packed = type == PTX_F16 || type == PTX_BF16 || type == PTX_F16X2 || type == PTX_BF16X2;
    if (operation < 0 || bytes < 2 || bytes > 8 || type == PTX_S16 || type == PTX_U16)
        decode_fail(d, "an operation or type that is not supported");
    if (packed && (operation != ATOM_ADD || !noftz)) decode_fail(d, "only .add.noftz is known for this type");
    if (type == PTX_BF16X2 || type == PTX_BF16) decode_needs(d, 90, false);
    if ((type == PTX_F32 || type == PTX_F64) && operation != ATOM_ADD && operation != ATOM_EXCH)
        decode_fail(d, "no such operation on floats");
    uint32_t first = returns ? 1 : 0, sources = operation == ATOM_CAS ? 3 : 2;
    decode_operands(d, first + sources, first + sources);
    if (returns)
        decode_target(d, OPERAND(0), type);
    else
        d->r[d->r_count++] = 0;
    d->op.flags = decode_address(d, OPERAND(first), &space) ? FLAG_WIDE_ADDRESS : 0;
    decode_source(d, OPERAND(first + 1), type);
    decode_source(d, OPERAND(first + sources - 1), type);
    d->op.space = (uint8_t)space;
    d->op.bytes = (uint8_t)bytes;
    d->op.mode[0] = (uint8_t)operation;
    d->op.mode[1] = (uint8_t)type;
    if (space != PTX_SPACE_GLOBAL) decode_shared_access(d, bytes);
    decode_emit(d, run_atomic);
}

static void decode_atom(struct core_decode *d)
{
    decode_atomic(d, true);
}
static void decode_red(struct core_decode *d)
{
    if (decode_take(d, "async")) decode_fail(d, "red.async is not supported");
    decode_atomic(d, false);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Addresses: cvta, isspacep, prefetch */

/* mode[0]: to the space instead of from it; mode[1]: bits; imm: the window */
static void run_cvta(struct core_warp *w, const struct core_op *op)
{
    union core_register *d = core_reg(w, op, 0);
    const union core_register *a = core_reg(w, op, 1);
    EACH_LANE(l, w->mask) d->ux[l] = op->mode[0] ? a->ux[l] - (uint64_t)op->imm : a->ux[l] + (uint64_t)op->imm;
}

static void decode_cvta(struct core_decode *d)
{
    d->op.mode[0] = decode_take(d, "to");
    enum ptx_space space = take_space(d);
    if (decode_type(d) != PTX_U64) decode_fail(d, "only 64-bit addresses are known");
    if (space == PTX_SPACE_NONE) decode_fail(d, "a state space is missing");
    decode_operands(d, 2, 2);
    decode_target(d, OPERAND(0), PTX_U64);
    decode_source(d, OPERAND(1), PTX_U64);
    d->op.imm = space == PTX_SPACE_SHARED  ? (int64_t)SHARED_WINDOW
                : space == PTX_SPACE_LOCAL ? (int64_t)LOCAL_WINDOW
                                           : 0;
    decode_emit(d, run_cvta);
}

static void run_isspacep(struct core_warp *w, const struct core_op *op)
{
    const union core_register *a = core_reg(w, op, 1);
    const struct core_job *job = w->block->job;
    uint32_t bits = 0;
    EACH_LANE(l, w->mask)
    {
        uint64_t x = a->ux[l], params = (uint64_t)(uintptr_t)job->params;
        enum ptx_space s = x - SHARED_WINDOW < WINDOW_BYTES          ? PTX_SPACE_SHARED
                           : x - LOCAL_WINDOW < WINDOW_BYTES         ? PTX_SPACE_LOCAL
                           : x - params < job->function->param_bytes ? PTX_SPACE_PARAM
                                                                     : PTX_SPACE_GLOBAL;
        bits |= (uint32_t)(s == op->space) << l;
    }
    core_set_pred(w, core_pred(w, op, 0), bits);
}

static void decode_isspacep(struct core_decode *d)
{
    d->op.space = (uint8_t)take_space(d);
    decode_operands(d, 2, 2);
    decode_pred_target(d, OPERAND(0));
    decode_source(d, OPERAND(1), PTX_U64);
    decode_emit(d, run_isspacep);
}

static void run_hint(struct core_warp *w, const struct core_op *op)
{
    (void)w;
    (void)op;
}

/* Hints change nothing that a program can see. */
static void decode_prefetch(struct core_decode *d)
{
    static const char *const levels[] = {"L1", "L2", "L2::evict_last", "L2::evict_normal", "tensormap", NULL};
    take_space(d);
    decode_choice(d, levels);
    decode_operands(d, 1, 1);
    enum ptx_space any = PTX_SPACE_NONE;
    decode_address(d, OPERAND(0), &any);
    decode_emit(d, run_hint);
}

static void run_policy(struct core_warp *w, const struct core_op *op)
{
    EACH_LANE(l, w->mask) core_reg(w, op, 0)->ux[l] = 0;
}

static void decode_createpolicy(struct core_decode *d)
{
    static const char *const modifiers[] = {"fractional",      "L2::evict_last",      "L2::evict_normal",
                                            "L2::evict_first", "L2::evict_unchanged", NULL};
    while (decode_choice(d, modifiers) >= 0) continue;
    if (decode_type(d) != PTX_B64) decode_fail(d, "expected .b64");
    decode_operands(d, 1, 2);
    decode_target(d, OPERAND(0), PTX_B64);
    decode_emit(d, run_policy);
}

const struct core_opcode core_memory_opcodes[] = {{"ld", decode_ld},
                                                  {"ldu", decode_ld},
                                                  {"st", decode_st},
                                                  {"atom", decode_atom},
                                                  {"red", decode_red},
                                                  {"cvta", decode_cvta},
                                                  {"isspacep", decode_isspacep},
                                                  {"prefetch", decode_prefetch},
                                                  {"prefetchu", decode_prefetch},
                                                  {"createpolicy", decode_createpolicy},
                                                  {NULL, NULL}};
