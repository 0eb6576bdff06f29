/*
 * What the parts of the interpreter share: decoded operations, warps, blocks and the decoder's helpers.
 *
 *   core_decode.c    statements -> operations: scopes, registers, labels, calls put in line
 *   core_integer.c core_float.c core_compare.c core_convert.c   arithmetic, a loop over 32 lanes each
 *   core_lanes.c     the hottest loops, compiled once more for AVX2
 *   core_memory.c    loads, stores, atomics, address checks
 *   core_shadow.c    vector clocks: who may touch a byte of shared memory
 *   core_warp.c      shuffles, votes, block barriers
 *   core_mbarrier.c core_copy.c   mbarrier objects; cp.async, bulk and tensor copies
 *   core_matrix.c core_mma.c      ldmatrix and stmatrix; mma
 *   core_schedule.c  warps, blocks, threads
 */
#ifndef UPRES_TESTS_EMULATOR_CORE_INTERNAL_H
#define UPRES_TESTS_EMULATOR_CORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include "tests/emulator/core.h"
#include "tests/emulator/ptx.h"

enum { LANES = 32, MAX_WARPS = 32, MAX_MBARRIERS = 128, MAX_BARRIERS = 16 };
#define ALL_LANES 0xffffffffu

/* A generic address of shared or local memory is its address in the space plus a window no host pointer lies in. Shared
 * addresses start at 1024, as on the parts that keep the first KiB for themselves: 0 stays wild. */
#define SHARED_WINDOW ((uint64_t)0x0100000000000000)
#define LOCAL_WINDOW  ((uint64_t)0x0200000000000000)
#define WINDOW_BYTES  ((uint64_t)1 << 32)
#define SHARED_FIRST  1024u

/* What registers hold before anything is written to them: as an f32 a NaN. */
#define POISON 0x7fc0deadu

/* A register of all lanes: up to 32 bits use the first half of the union (and its 128 bytes only), 16- and 8-bit values
 * the low bits, the rest zero. A predicate is u[0], a bit a lane. */
union core_register {
    uint32_t u[LANES];
    int32_t s[LANES];
    float f[LANES];
    uint64_t ux[LANES];
    int64_t sx[LANES];
    double d[LANES];
};

struct core_warp;
struct core_op;
typedef void core_handler(struct core_warp *w, const struct core_op *op);

enum core_kind {
    KIND_PLAIN,  /* each executing lane for itself */
    KIND_BRANCH, /* target */
    KIND_TABLE,  /* brx.idx: table of targets, index in r[0] */
    KIND_EXIT,
    KIND_COLLECTIVE, /* all lanes of the member mask in register r[0] come together first */
    KIND_WARP        /* all live lanes come together first */
};

struct core_op {
    core_handler *run;
    const uint32_t *r; /* byte offsets into the warp's registers */
    int64_t imm;
    uint64_t *count; /* coverage */
    const uint32_t *table;
    uint32_t target, table_count;
    uint32_t guard; /* offset of the predicate, 0: none */
    uint32_t line;
    bool guard_negated;
    uint8_t kind;
    uint8_t space, bytes, vector; /* memory operations: state space, bytes of an element, elements */
    uint8_t mode[5];              /* by handler */
    uint16_t flags;               /* by handler */
};

struct core_constant {
    uint32_t offset;
    bool wide;
    uint8_t source; /* 0: value; 1: value + address of variable; 2: value + parameter buffer */
    uint64_t value;
    const struct ptx_variable *variable;
};

/* Special registers that are the same for a warp's whole life. */
enum core_special {
    SPECIAL_TID_X,
    SPECIAL_TID_Y,
    SPECIAL_TID_Z,
    SPECIAL_NTID_X,
    SPECIAL_NTID_Y,
    SPECIAL_NTID_Z,
    SPECIAL_CTAID_X,
    SPECIAL_CTAID_Y,
    SPECIAL_CTAID_Z,
    SPECIAL_NCTAID_X,
    SPECIAL_NCTAID_Y,
    SPECIAL_NCTAID_Z,
    SPECIAL_LANEID,
    SPECIAL_WARPID,
    SPECIAL_NWARPID,
    SPECIAL_SMID,
    SPECIAL_NSMID,
    SPECIAL_GRIDID,
    SPECIAL_EQ,
    SPECIAL_LE,
    SPECIAL_LT,
    SPECIAL_GE,
    SPECIAL_GT,
    SPECIAL_DYNAMIC_SMEM,
    SPECIAL_TOTAL_SMEM,
    SPECIAL_ZERO,
    SPECIAL_ONE,
    SPECIAL_COUNT
};

struct core_function {
    const char *name;
    const struct core_module *module;
    const struct ptx_function *source;
    struct core_op *op;
    uint32_t op_count;
    struct core_constant *constant;
    uint32_t constant_count;
    uint32_t special[SPECIAL_COUNT]; /* register offset, 0: not used */
    uint32_t register_bytes;
    uint32_t static_shared, shared_align, local_bytes;
    struct core_param *param;
    uint32_t param_bytes;
    bool fences;             /* it has fences of memory order */
    uint32_t shared_granule; /* log2 of the smallest access to shared memory */
};

struct core_module {
    struct ptx_arena arena;
    struct ptx_module *source;
    struct core_options options;
    struct core_function **function;
    size_t function_count;
    struct core_coverage *coverage;
    size_t coverage_count;
};

/* ------------------------------------------------------------------------------------------------------------------ */
/* A kernel at work */

enum core_state { STATE_RUN, STATE_MEET, STATE_BARRIER, STATE_MBARRIER };
/* Lanes of a warp that share a pc. */
struct core_fragment {
    uint32_t pc, mask;
    enum core_state state;
    uint32_t wait; /* barrier or mbarrier slot */
    uint32_t wait_phase;
    uint32_t members; /* STATE_MEET */
    uint32_t turns;   /* backward branches taken while others could run */
    uint64_t rest_until;
};

/* Vector clocks have an entry for each lane of each warp, for the asynchronous copies of each lane, for the bulk copies
 * out of shared memory of each warp, and for each mbarrier; first `known`, then `fenced` (see core_shadow.c). */
struct core_clocks {
    uint32_t *common;     /* what all lanes of the warp know */
    uint32_t *own[LANES]; /* a lane that knows more, else NULL */
    uint32_t time;
    uint32_t own_async[LANES];  /* asynchronous copies of the lane that it has waited for */
    uint32_t own_fenced[LANES]; /* own accesses that a proxy fence followed */
    uint32_t own_bulk;          /* bulk reads of the warp that were waited for */
    uint32_t async_time[LANES];
    uint32_t async_group[LANES][16];
    uint32_t async_groups[LANES];
    uint32_t bulk_time, bulk_group[16], bulk_groups;
};

struct core_block;
struct core_warp {
    uint8_t *registers; /* in register_memory, at a multiple of 64 */
    void *register_memory;
    uint32_t mask;        /* lanes that execute the current operation */
    uint32_t wide[LANES]; /* the same, all ones for an executing lane */
    uint32_t wide_mask;   /* the mask that `wide` shows */
    const struct core_op *op;
    struct core_block *block;
    uint32_t index;
    uint32_t live;
    struct core_fragment fragment[LANES];
    uint32_t fragment_count, current;
    bool stay;  /* set by a handler: the fragment waits and executes this operation again */
    bool pause; /* set by a handler: the fragment waits behind this operation */
    bool yield; /* set by a handler: let other warps run first */
    uint64_t picks;
    uint32_t carry; /* lanes with the carry flag set */
    struct core_span span[4];
    uint32_t span_next;
    uint8_t *local;
    struct core_clocks clocks;
};

struct core_barrier {
    uint32_t expected, arrived, generation, reduced;
    uint32_t result;
    uint32_t *clocks;
};
struct core_mbarrier {
    uint32_t address; /* 0: none */
    uint32_t count, pending, phase;
    int64_t tx;
    uint32_t *clocks, *done; /* gathered in this phase; those of the completed ones */
};
struct core_cell {
    uint32_t time; /* of the last write */
    uint16_t agent;
    uint16_t strong;
    uint32_t weak_time; /* of the last ordinary write, when atomics followed it (strong) */
    uint32_t weak_agent;
};
struct core_read {
    uint32_t time, lanes;
};
struct core_strong { /* a word used for synchronisation by atomics or volatile accesses */
    uint32_t address;
    uint32_t *clocks;
};

/* One launch, shared by the host threads. */
struct core_job {
    const struct core_launch *launch;
    const struct core_function *function;
    uint8_t *params;
    uint32_t warps, threads, shared_bytes;
    uint64_t blocks;
    _Atomic uint64_t next, finished;
    _Atomic int stop;
    pthread_mutex_t lock;
    struct core_error *error;
};

/* A block and the tables of the host thread that runs it; reused from block to block. */
struct core_block {
    struct core_job *job;
    uint32_t id[3];
    uint8_t *shared;
    uint32_t shared_bytes, granule, cells;
    struct core_cell *cell;
    struct core_read *read; /* [warp][cell] */
    uint32_t base_time;     /* stamps up to here are of earlier blocks */
    uint32_t clock_entries; /* of one vector; arrays hold two */
    uint32_t async_first, bulk_first, mbarrier_first;
    struct core_warp *warp;
    uint32_t warps;
    struct core_barrier barrier[MAX_BARRIERS];
    struct core_mbarrier mbarrier[MAX_MBARRIERS];
    struct core_strong strong[64];
    uint32_t mbarriers, strongs;
    uint64_t random;
    uint64_t finished; /* blocks of the job, when last looked at: another one's end may be what this one waits for */
    uint64_t steps, progress; /* operations so far; the count at the last visible progress */
    uint64_t *counts;         /* coverage of this thread, by operation */
    uint32_t *spare_clocks;
    jmp_buf fault;
};

static inline union core_register *core_reg(struct core_warp *w, const struct core_op *op, int i)
{
    return (union core_register *)(void *)(w->registers + op->r[i]);
}
static inline uint32_t *core_pred(struct core_warp *w, const struct core_op *op, int i)
{
    return (uint32_t *)(void *)(w->registers + op->r[i]);
}
static inline void core_set_pred(struct core_warp *w, uint32_t *p, uint32_t bits)
{
    *p = (*p & ~w->mask) | (bits & w->mask);
}
/* Store a result for the executing lanes. */
static inline void core_put32(struct core_warp *w, union core_register *d, const uint32_t v[LANES])
{
    for (int l = 0; l < LANES; l++) d->u[l] = (v[l] & w->wide[l]) | (d->u[l] & ~w->wide[l]);
}
static inline void core_put64(struct core_warp *w, union core_register *d, const uint64_t v[LANES])
{
    for (int l = 0; l < LANES; l++) {
        uint64_t m = (uint64_t)(int64_t)(int32_t)w->wide[l];
        d->ux[l] = (v[l] & m) | (d->ux[l] & ~m);
    }
}
static inline uint64_t core_random(struct core_block *b)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}
static inline int core_first(uint32_t mask)
{
    return __builtin_ctz(mask);
}
#define EACH_LANE(l, m)                                                                                                \
    for (uint32_t l##_ = (m), l = 0; l##_ && (l = (uint32_t)__builtin_ctz(l##_), 1); l##_ &= l##_ - 1)

/* Report a fault at the current operation of lane (or of the warp's first executing lane, lane < 0) and leave the block. */
_Noreturn void core_fault(struct core_warp *w, int lane, enum core_status status, uint64_t address, const char *format,
                          ...) __attribute__((format(printf, 5, 6)));

/* ---- core_memory.c ---- */
/* Checked host address of `bytes` of global (or parameter, or generic non-window) memory for one lane. */
uint8_t *core_global(struct core_warp *w, uint32_t lane, uint64_t address, uint32_t bytes, bool write);
/* Bounds and alignment of a shared access; returns the offset into block->shared. */
uint32_t core_shared_offset(struct core_warp *w, uint32_t lane, uint64_t address, uint32_t bytes, uint32_t align);
/* Whether every byte was written; and mark them written. Spans come from core_memory.find. */
bool core_span_initialised(const struct core_span *span, uint64_t address, uint64_t bytes);
void core_span_mark(const struct core_span *span, uint64_t address, uint64_t bytes);
/* A whole range of global memory for a bulk copy. */
uint8_t *core_global_range(struct core_warp *w, uint32_t lane, uint64_t address, uint64_t bytes, bool write);

/* ---- core_shadow.c ---- */
enum { SHADOW_STRONG = 1, SHADOW_ASYNC = 2 /* through the async proxy: needs a fence after generic writes */ };
void core_shadow_read(struct core_warp *w, uint32_t lane, uint32_t offset, uint32_t bytes, int how);
/* A write ordered as one of the lane's, stamped (agent, time): the lane's own with core_shadow_store. */
void core_shadow_write(struct core_warp *w, uint32_t lane, uint32_t offset, uint32_t bytes, int how, uint32_t agent,
                       uint32_t time);
void core_shadow_store(struct core_warp *w, uint32_t lane, uint32_t offset, uint32_t bytes, int how);
/* A bulk copy out of shared memory: a read by the warp's bulk agent. */
void core_shadow_bulk_read(struct core_warp *w, uint32_t lane, uint32_t offset, uint32_t bytes);
/* Publish what the lanes know and did into `clocks`, or learn from it. */
void core_release(struct core_warp *w, uint32_t lanes, uint32_t *clocks);
void core_acquire(struct core_warp *w, uint32_t lanes, const uint32_t *clocks);
void core_warp_sync(struct core_warp *w, uint32_t lanes);
void core_proxy_fence(struct core_warp *w, uint32_t lanes);
void core_clocks_start(struct core_warp *w);
void core_clocks_join(struct core_block *b, uint32_t *to, const uint32_t *from);

/* ---- core_warp.c ---- */
/* Threads exited: barriers that wait for all threads of the block may be complete now. */
void core_barriers_left(struct core_block *b);

/* ---- core_mbarrier.c ---- */
struct core_mbarrier *core_mbarrier_at(struct core_warp *w, uint32_t lane, uint64_t address);
void core_mbarrier_arrive(struct core_warp *w, uint32_t lane, struct core_mbarrier *m, uint32_t count);
void core_mbarrier_tx(struct core_warp *w, struct core_mbarrier *m, int64_t change);

/* ---- core_convert.c ---- */
enum core_rounding { ROUND_NEAREST, ROUND_ZERO, ROUND_DOWN, ROUND_UP, ROUND_AWAY };
float core_half_to_float(uint16_t h);
float core_bf16_to_float(uint16_t h);
float core_fp8_to_float(uint8_t x, bool e5m2);
/* From a double to the named small format, rounded once; overflow gives infinity (or the format's NaN or maximum). */
uint16_t core_float_to_half(double v, enum core_rounding rounding);
uint16_t core_float_to_bf16(double v, enum core_rounding rounding);
float core_round_float(double v, enum core_rounding rounding);
/* The double nearest to x + y with the last bit standing for what is lost, so that one more rounding is exact. */
double core_sum_odd(double x, double y);

/* ---- core_lanes.c ---- */
struct core_lanes {
    core_handler *fma;
    /* sum[row][n] = the products a[row][k] * b[k][n] of all k < depth, added up in double */
    void (*products)(uint32_t depth, const float a[16][32], const float b[32][8], double sum[16][8]);
};
extern const struct core_lanes core_lanes_plain, core_lanes_avx2;
/* The fastest that the processor has. */
static inline const struct core_lanes *core_lanes(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &core_lanes_avx2;
#endif
    return &core_lanes_plain;
}

/* ---- core_schedule.c ---- */
void core_exit_lanes(struct core_warp *w, uint32_t lanes);

/* ------------------------------------------------------------------------------------------------------------------ */
/* Decoding */

struct core_decode;
typedef void core_decoder(struct core_decode *d);
struct core_opcode {
    const char *name;
    core_decoder *decode;
};
extern const struct core_opcode core_integer_opcodes[], core_compare_opcodes[], core_float_opcodes[],
    core_convert_opcodes[], core_memory_opcodes[], core_warp_opcodes[], core_mbarrier_opcodes[], core_copy_opcodes[],
    core_matrix_opcodes[], core_mma_opcodes[];

enum { MAX_REGISTERS = 40 };
struct core_symbol;
struct core_decode {
    struct ptx_load *load;
    struct core_module *module;
    struct core_function *function;
    const struct ptx_instruction *in;
    uint32_t line;
    uint32_t used; /* parts of the opcode already understood */
    struct core_op op;
    uint32_t r[MAX_REGISTERS];
    uint32_t r_count;
    struct core_symbol *symbol;
    size_t symbol_count;
    uint32_t depth; /* of scopes */
    uint32_t call_depth;
    struct ptx_function *calls[16];
};

/* Whether the opcode has this modifier; marks it understood. */
bool decode_take(struct core_decode *d, const char *modifier);
/* The first of the modifiers (a list ended by NULL) that the opcode has, or -1. */
int decode_choice(struct core_decode *d, const char *const *modifiers);
/* The next modifier that is a type; PTX_NONE when there is none. */
enum ptx_type decode_type(struct core_decode *d);
_Noreturn void decode_fail(struct core_decode *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Refuse the instruction unless the simulated part and .target have it: sm at least, and the f or a form of it. */
void decode_needs(struct core_decode *d, int sm, bool family);
void decode_operands(struct core_decode *d, uint32_t least, uint32_t most);

/* Append a register to op.r: operand as a source or destination of that many bits (1: predicate, 32, 64). Sources may be
 * immediates of `type`. */
void decode_source(struct core_decode *d, const struct ptx_operand *o, enum ptx_type type);
void decode_target(struct core_decode *d, const struct ptx_operand *o, enum ptx_type type);
void decode_pred_target(struct core_decode *d, const struct ptx_operand *o);
void decode_pred_source(struct core_decode *d, const struct ptx_operand *o);
void decode_constant(struct core_decode *d, uint64_t value, bool wide);
/* [register + imm] or [variable + imm]: appends the 64-bit (or 32-bit: *wide false) base and sets op.imm. */
bool decode_address(struct core_decode *d, const struct ptx_operand *o, enum ptx_space *space);
/* Bits of a register operand: 1, 32 or 64; 0 for anything else. */
uint32_t decode_bits(struct core_decode *d, const struct ptx_operand *o);
/* The value of an immediate operand; fails for a register. */
int64_t decode_immediate(struct core_decode *d, const struct ptx_operand *o);
/* The smallest access to shared memory decides how fine the race check looks. */
void decode_shared_access(struct core_decode *d, uint32_t bytes);
/* Write the operation out (the decoder of each instruction ends with this, or calls it twice for two operations). */
void decode_emit(struct core_decode *d, core_handler *run);
#define OPERAND(i) (&d->in->operand[i])

/* A handler for each type an instruction takes; the list ends with PTX_NONE. */
struct core_typed {
    enum ptx_type type;
    core_handler *run;
};
/* The handler for the type; fails when the list has none. */
core_handler *decode_typed(struct core_decode *d, const struct core_typed *list, enum ptx_type type);
/* The last part of the opcode is a floating-point type. */
bool decode_is_float(struct core_decode *d);
/* The decoders of add, sub, mul, fma, mad, div, min, max, abs, neg for floating-point types. */
core_decoder core_decode_float;

#endif
