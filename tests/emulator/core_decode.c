/*
 * Statements to operations. Registers get fixed places in a warp's register file, immediates become registers that hold
 * the same value in every lane, labels become operation indices, and calls are put in line (PTX forbids nothing else
 * here: recursion and calls through pointers are refused).
 */
#include "tests/emulator/core_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum symbol_kind { SYMBOL_REGISTERS, SYMBOL_VARIABLE, SYMBOL_TARGETS };
struct core_symbol {
    enum symbol_kind kind;
    const char *name;
    size_t name_length;
    uint32_t depth, count;
    enum ptx_type type;
    uint32_t offset; /* registers: the first; shared and local variables: in the space */
    enum ptx_space space;
    const struct ptx_variable *variable; /* global and const */
    const struct ptx_operand *targets;
};

static uint32_t type_bits(enum ptx_type type)
{
    if (type == PTX_PRED) return 1;
    return ptx_type_bytes(type) <= 4 ? 32 : 64;
}
static uint32_t register_bytes(enum ptx_type type)
{
    uint32_t bits = type_bits(type);
    return bits == 1 ? 64 : bits * 4; /* predicates: a line each */
}

void decode_fail(struct core_decode *d, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ptx_fail(d->load, CORE_INVALID_PTX, d->line, "'%s': %s", d->in ? d->in->opcode : "", text);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Modifiers */

bool decode_take(struct core_decode *d, const char *modifier)
{
    for (uint32_t i = 1; i < d->in->part_count; i++)
        if (!(d->used >> i & 1) && !strcmp(d->in->part[i], modifier)) {
            d->used |= 1u << i;
            return true;
        }
    return false;
}

int decode_choice(struct core_decode *d, const char *const *modifiers)
{
    for (int i = 0; modifiers[i]; i++)
        if (decode_take(d, modifiers[i])) return i;
    return -1;
}

enum ptx_type decode_type(struct core_decode *d)
{
    for (uint32_t i = 1; i < d->in->part_count; i++) {
        enum ptx_type t = d->used >> i & 1 ? PTX_NONE : ptx_type_named(d->in->part[i]);
        if (t != PTX_NONE) {
            d->used |= 1u << i;
            return t;
        }
    }
    return PTX_NONE;
}

core_handler *decode_typed(struct core_decode *d, const struct core_typed *list, enum ptx_type type)
{
    for (; list->run; list++)
        if (list->type == type) return list->run;
    decode_fail(d, "not known for this type");
}

bool decode_is_float(struct core_decode *d)
{
    enum ptx_type t = ptx_type_named(d->in->part[d->in->part_count - 1]);
    return t >= PTX_F16 && t <= PTX_F32X2;
}

void decode_needs(struct core_decode *d, int sm, bool family)
{
    const struct ptx_module *m = d->module->source;
    int have = d->module->options.sm;
    if (have >= sm && m->target >= sm && (!family || m->target_suffix)) return;
    ptx_fail(d->load, CORE_NO_BINARY_FOR_GPU, d->line,
             "'%s' needs sm_%d%s; the text's target is sm_%d%.1s and the simulated part sm_%d", d->in->opcode, sm,
             family ? (sm >= 100 ? "f" : "a") : "", m->target, &m->target_suffix, have);
}

void decode_operands(struct core_decode *d, uint32_t least, uint32_t most)
{
    if (d->in->operand_count < least || d->in->operand_count > most)
        decode_fail(d, "%u operands, expected %u%s", d->in->operand_count, least, most > least ? " or more" : "");
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Names */

static struct core_symbol *declare(struct core_decode *d, const char *name)
{
    d->symbol = ptx_grow(d->load, d->symbol, d->symbol_count, sizeof(*d->symbol));
    struct core_symbol *s = &d->symbol[d->symbol_count++];
    memset(s, 0, sizeof(*s));
    s->name = name;
    s->name_length = strlen(name);
    s->depth = d->depth;
    return s;
}

static uint32_t take_registers(struct core_decode *d, uint64_t bytes)
{
    uint32_t at = d->function->register_bytes;
    if (at + bytes > (1u << 28)) decode_fail(d, "the kernel declares too many registers");
    d->function->register_bytes += (uint32_t)bytes;
    return at;
}

/* The symbol that a name means; for registers *index is which one of the range. */
static const struct core_symbol *lookup(struct core_decode *d, const char *name, uint32_t *index)
{
    *index = 0;
    for (size_t i = d->symbol_count; i-- > 0;) {
        const struct core_symbol *s = &d->symbol[i];
        if (strncmp(name, s->name, s->name_length)) continue;
        const char *rest = name + s->name_length;
        if (!s->count) {
            if (!*rest) return s;
            continue;
        }
        char *end;
        if (*rest < '0' || *rest > '9') continue;
        unsigned long n = strtoul(rest, &end, 10);
        if (*end || n >= s->count) continue;
        *index = (uint32_t)n;
        return s;
    }
    return NULL;
}

void decode_constant(struct core_decode *d, uint64_t value, bool wide)
{
    if (d->r_count == MAX_REGISTERS) decode_fail(d, "too many operands");
    struct core_function *f = d->function;
    for (uint32_t i = 0; i < f->constant_count; i++)
        if (f->constant[i].value == value && f->constant[i].wide == wide && !f->constant[i].source) {
            d->r[d->r_count++] = f->constant[i].offset;
            return;
        }
    f->constant = ptx_grow(d->load, f->constant, f->constant_count, sizeof(*f->constant));
    struct core_constant *c = &f->constant[f->constant_count++];
    *c = (struct core_constant){.offset = take_registers(d, wide ? 256 : 128), .wide = wide, .value = value};
    d->r[d->r_count++] = c->offset;
}

/* A constant that is known only at launch: a variable's address, or a place in the parameter buffer. */
static void late_constant(struct core_decode *d, uint64_t value, const struct ptx_variable *variable)
{
    decode_constant(d, 0, true);
    struct core_function *f = d->function;
    f->constant = ptx_grow(d->load, f->constant, f->constant_count, sizeof(*f->constant));
    struct core_constant *c = &f->constant[f->constant_count++];
    *c = (struct core_constant){.offset = take_registers(d, 256),
                                .wide = true,
                                .value = value,
                                .source = variable ? 1 : 2,
                                .variable = variable};
    d->r[d->r_count - 1] = c->offset;
}

static const char *const special_names[SPECIAL_COUNT] = {
    "%tid.x",          "%tid.y",       "%tid.z",       "%ntid.x",      "%ntid.y",      "%ntid.z",
    "%ctaid.x",        "%ctaid.y",     "%ctaid.z",     "%nctaid.x",    "%nctaid.y",    "%nctaid.z",
    "%laneid",         "%warpid",      "%nwarpid",     "%smid",        "%nsmid",       "%gridid",
    "%lanemask_eq",    "%lanemask_le", "%lanemask_lt", "%lanemask_ge", "%lanemask_gt", "%dynamic_smem_size",
    "%total_smem_size"};

/* A cluster is one block here, as it is on sm_120. */
static int special_named(const char *name)
{
    for (int i = 0; i < SPECIAL_ZERO; i++)
        if (!strcmp(name, special_names[i])) return i;
    static const char *const zeros[] = {"%cluster_ctaid.x", "%cluster_ctaid.y", "%cluster_ctaid.z", "%cluster_ctarank",
                                        "%envreg0"};
    static const char *const ones[] = {"%cluster_nctaid.x", "%cluster_nctaid.y", "%cluster_nctaid.z",
                                       "%cluster_nctarank"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(name, zeros[i])) return SPECIAL_ZERO;
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, ones[i])) return SPECIAL_ONE;
    return -1;
}

static void push(struct core_decode *d, uint32_t offset)
{
    if (d->r_count == MAX_REGISTERS) decode_fail(d, "too many operands");
    d->r[d->r_count++] = offset;
}

uint32_t decode_bits(struct core_decode *d, const struct ptx_operand *o)
{
    uint32_t index;
    if (o->kind != PTX_NAME) return 0;
    if (special_named(o->name) >= 0) return 32;
    const struct core_symbol *s = lookup(d, o->name, &index);
    return s && s->kind == SYMBOL_REGISTERS ? type_bits(s->type) : 0;
}

static uint32_t register_offset(struct core_decode *d, const char *name, uint32_t bits)
{
    uint32_t index;
    const struct core_symbol *s = lookup(d, name, &index);
    if (!s) decode_fail(d, "unknown name '%s'", name);
    if (s->kind != SYMBOL_REGISTERS) decode_fail(d, "'%s' is no register", name);
    if (type_bits(s->type) != bits)
        decode_fail(d, "register '%s' has %u bits, the instruction works on %u", name, type_bits(s->type), bits);
    return s->offset + index * register_bytes(s->type);
}

void decode_target(struct core_decode *d, const struct ptx_operand *o, enum ptx_type type)
{
    if (o->kind == PTX_SINK)
        push(d, 0);
    else if (o->kind != PTX_NAME || o->value)
        decode_fail(d, "a result needs a register");
    else
        push(d, register_offset(d, o->name, type_bits(type)));
}

void decode_source(struct core_decode *d, const struct ptx_operand *o, enum ptx_type type)
{
    bool wide = type_bits(type) == 64;
    if (o->kind == PTX_INTEGER || o->kind == PTX_SINGLE || o->kind == PTX_DOUBLE) {
        uint64_t v = (uint64_t)o->value;
        if (o->kind == PTX_DOUBLE && type == PTX_F32) {
            double x;
            memcpy(&x, &v, 8);
            float f = (float)x;
            uint32_t bits;
            memcpy(&bits, &f, 4);
            v = bits;
        } else if ((o->kind == PTX_INTEGER && (type == PTX_F32 || type == PTX_F64)) ||
                   (o->kind == PTX_SINGLE && wide)) {
            decode_fail(d, "an immediate of the wrong kind");
        }
        uint32_t bytes = ptx_type_bytes(type);
        if (bytes == 2)
            v &= 0xffff;
        else if (!wide)
            v &= 0xffffffffu;
        decode_constant(d, v, wide);
        return;
    }
    if (o->kind != PTX_NAME) decode_fail(d, "expected a register or an immediate");
    int special = special_named(o->name);
    uint32_t index;
    if (special >= 0) {
        if (wide && special != SPECIAL_GRIDID) decode_fail(d, "special register '%s' has 32 bits", o->name);
        if (wide) {
            decode_constant(d, 1, true);
            return;
        }
        if (!d->function->special[special]) d->function->special[special] = take_registers(d, 128);
        push(d, d->function->special[special]);
        return;
    }
    const struct core_symbol *s = lookup(d, o->name, &index);
    if (!s) decode_fail(d, "unknown name '%s'", o->name);
    if (s->kind == SYMBOL_REGISTERS) {
        if (o->value || o->negated) decode_fail(d, "unexpected operator at '%s'", o->name);
        push(d, register_offset(d, o->name, type_bits(type)));
    } else if (s->kind != SYMBOL_VARIABLE) {
        decode_fail(d, "'%s' is no value", o->name);
    } else if (s->space == PTX_SPACE_SHARED || s->space == PTX_SPACE_LOCAL) {
        decode_constant(d, s->offset + (uint64_t)o->value, wide);
    } else if (!wide) {
        decode_fail(d, "the address of '%s' needs a 64-bit register", o->name);
    } else {
        late_constant(d, s->offset + (uint64_t)o->value, s->variable);
    }
}

void decode_pred_target(struct core_decode *d, const struct ptx_operand *o)
{
    if (o->kind == PTX_SINK)
        push(d, 0);
    else if (o->kind != PTX_NAME)
        decode_fail(d, "expected a predicate");
    else
        push(d, register_offset(d, o->name, 1));
}

void decode_pred_source(struct core_decode *d, const struct ptx_operand *o)
{
    if (o->kind == PTX_INTEGER)
        decode_constant(d, o->value ? ALL_LANES : 0, false);
    else if (o->kind != PTX_NAME)
        decode_fail(d, "expected a predicate");
    else
        push(d, register_offset(d, o->name, 1));
}

bool decode_address(struct core_decode *d, const struct ptx_operand *o, enum ptx_space *space)
{
    if (o->kind != PTX_ADDRESS) decode_fail(d, "expected an address in []");
    d->op.imm = o->value;
    if (!o->name) {
        decode_constant(d, 0, true);
        return true;
    }
    uint32_t index;
    const struct core_symbol *s = lookup(d, o->name, &index);
    if (!s) decode_fail(d, "unknown name '%s'", o->name);
    if (s->kind == SYMBOL_REGISTERS) {
        bool wide = type_bits(s->type) == 64;
        push(d, register_offset(d, o->name, wide ? 64 : 32));
        return wide;
    }
    if (s->kind != SYMBOL_VARIABLE) decode_fail(d, "'%s' is no address", o->name);
    if (*space != s->space && *space != PTX_SPACE_NONE && !(*space == PTX_SPACE_PARAM && s->space == PTX_SPACE_LOCAL))
        decode_fail(d, "'%s' is not in the state space of the instruction", o->name);
    *space = s->space;
    if (s->space == PTX_SPACE_SHARED || s->space == PTX_SPACE_LOCAL) {
        decode_constant(d, s->offset, true);
    } else {
        late_constant(d, s->offset, s->variable);
    }
    return true;
}

int64_t decode_immediate(struct core_decode *d, const struct ptx_operand *o)
{
    if (o->kind != PTX_INTEGER) decode_fail(d, "expected an immediate number");
    return o->value;
}

void decode_shared_access(struct core_decode *d, uint32_t bytes)
{
    uint32_t log = 0;
    while (log < 4 && (2u << log) <= bytes) log++;
    if (log < d->function->shared_granule) d->function->shared_granule = log;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Operations */

void decode_emit(struct core_decode *d, core_handler *run)
{
    struct core_function *f = d->function;
    d->op.run = run;
    d->op.line = d->line;
    uint32_t *r = ptx_alloc(d->load, (d->r_count + 1) * sizeof(*r));
    memcpy(r, d->r, d->r_count * sizeof(*r));
    d->op.r = r;
    if (d->in->guard) {
        d->op.guard = register_offset(d, d->in->guard, 1);
        d->op.guard_negated = d->in->guard_negated;
    }
    f->op = ptx_grow(d->load, f->op, f->op_count, sizeof(*f->op));
    f->op[f->op_count++] = d->op;
    memset(&d->op, 0, sizeof(d->op));
    d->r_count = 0;
}

static void run_nothing(struct core_warp *w, const struct core_op *op)
{
    (void)w;
    (void)op;
}

/* Labels of one body: where they are and in which scope. */
struct label {
    const char *name;
    uint32_t scope;
    uint32_t pc;
};
struct jump {                  /* waits for its label's pc */
    uint32_t op, label, entry; /* entry: of a table, when the op is brx.idx */
};
struct body {
    struct label *label;
    size_t label_count;
    uint32_t *parent; /* of each scope */
    size_t scope_count;
    struct jump *jump;
    size_t jump_count;
    uint32_t *return_jump; /* branches to the end of a body in line */
    size_t return_count;
};

static uint32_t find_label(struct core_decode *d, const struct body *b, uint32_t scope, const char *name)
{
    for (;;) {
        for (size_t i = 0; i < b->label_count; i++)
            if (b->label[i].scope == scope && !strcmp(b->label[i].name, name)) return (uint32_t)i;
        if (!scope) decode_fail(d, "unknown label '%s'", name);
        scope = b->parent[scope];
    }
}

static void add_jump(struct core_decode *d, struct body *b, uint32_t op, uint32_t label, uint32_t entry)
{
    b->jump = ptx_grow(d->load, b->jump, b->jump_count, sizeof(*b->jump));
    b->jump[b->jump_count++] = (struct jump){op, label, entry};
}

static void declare_local(struct core_decode *d, const struct ptx_variable *v)
{
    struct core_function *f = d->function;
    struct core_symbol *s = declare(d, v->name);
    s->kind = SYMBOL_VARIABLE;
    if (v->space == PTX_SPACE_SHARED) {
        s->space = PTX_SPACE_SHARED;
        f->static_shared = (f->static_shared + v->align - 1) & ~(v->align - 1);
        s->offset = SHARED_FIRST + f->static_shared;
        if (v->size > (1u << 24)) decode_fail(d, "'%s' is too large", v->name);
        f->static_shared += (uint32_t)v->size;
    } else {
        /* parameters of calls live with the local variables */
        s->space = PTX_SPACE_LOCAL;
        uint32_t align = v->align < 8 ? 8 : v->align;
        f->local_bytes = (f->local_bytes + align - 1) & ~(align - 1);
        s->offset = f->local_bytes;
        if (v->size > (1u << 20)) decode_fail(d, "'%s' is too large", v->name);
        f->local_bytes += (uint32_t)v->size;
    }
}

static void decode_body(struct core_decode *d, const struct ptx_function *f);

/* call (results), function, (arguments): the formal parameters become names for the caller's variables. */
static void decode_call(struct core_decode *d)
{
    const struct ptx_instruction *in = d->in;
    decode_take(d, "uni");
    const struct ptx_operand *results = NULL, *callee = NULL, *arguments = NULL;
    for (uint32_t i = 0; i < in->operand_count; i++) {
        const struct ptx_operand *o = OPERAND(i);
        if (o->kind == PTX_NAME && !callee)
            callee = o;
        else if (o->kind == PTX_LIST && !callee && !results)
            results = o;
        else if (o->kind == PTX_LIST && callee && !arguments)
            arguments = o;
        else
            decode_fail(d, "calls through pointers are not supported");
    }
    struct ptx_function *f = NULL;
    for (size_t i = 0; callee && i < d->module->source->function_count; i++)
        if (!strcmp(d->module->source->function[i]->name, callee->name)) f = d->module->source->function[i];
    if (!f || !f->defined) decode_fail(d, "function '%s' is not in the text", callee ? callee->name : "");
    for (uint32_t i = 0; i < d->call_depth; i++)
        if (d->calls[i] == f) decode_fail(d, "recursion is not supported");
    if (d->call_depth == 16) decode_fail(d, "calls nested too deeply");
    if ((results ? results->item_count : 0) != f->result_count ||
        (arguments ? arguments->item_count : 0) != f->param_count)
        decode_fail(d, "'%s' is called with the wrong number of arguments", f->name);
    if (in->guard) decode_fail(d, "a call under a predicate is not supported");

    size_t symbols = d->symbol_count;
    d->depth++;
    d->calls[d->call_depth++] = f;
    for (uint32_t i = 0; i < f->param_count + f->result_count; i++) {
        const struct ptx_operand *o = i < f->param_count ? &arguments->items[i] : &results->items[i - f->param_count];
        const struct ptx_variable *formal = i < f->param_count ? f->param[i] : f->result[i - f->param_count];
        uint32_t index;
        const struct core_symbol *s = o->kind == PTX_NAME ? lookup(d, o->name, &index) : NULL;
        if (!s || s->kind != SYMBOL_VARIABLE || s->space != PTX_SPACE_LOCAL)
            decode_fail(d, "arguments must be .param variables");
        struct core_symbol alias = *s;
        alias.name = formal->name;
        alias.name_length = strlen(formal->name);
        *declare(d, formal->name) = alias;
    }
    uint32_t line = d->line, used = d->used;
    decode_body(d, f);
    d->line = line;
    d->used = used;
    d->call_depth--;
    d->depth--;
    d->symbol_count = symbols;
    d->in = in;
}

static void decode_control(struct core_decode *d, struct body *b, uint32_t scope)
{
    const char *base = d->in->part[0];
    decode_take(d, "uni");
    if (!strcmp(base, "bra")) {
        decode_operands(d, 1, 1);
        if (OPERAND(0)->kind != PTX_NAME) decode_fail(d, "expected a label");
        add_jump(d, b, d->function->op_count, find_label(d, b, scope, OPERAND(0)->name), 0);
        d->op.kind = KIND_BRANCH;
    } else if (!strcmp(base, "brx")) {
        if (!decode_take(d, "idx")) decode_fail(d, "expected brx.idx");
        decode_operands(d, 2, 2);
        decode_source(d, OPERAND(0), PTX_U32);
        uint32_t index;
        const struct core_symbol *s = OPERAND(1)->kind == PTX_NAME ? lookup(d, OPERAND(1)->name, &index) : NULL;
        if (!s || s->kind != SYMBOL_TARGETS) decode_fail(d, "expected a list of branch targets");
        d->op.kind = KIND_TABLE;
        d->op.table_count = s->targets->item_count;
        d->op.table = ptx_alloc(d->load, d->op.table_count * sizeof(uint32_t) + 1);
        for (uint32_t i = 0; i < d->op.table_count; i++)
            add_jump(d, b, d->function->op_count, find_label(d, b, scope, s->targets->items[i].name), i);
    } else if (!strcmp(base, "ret") && d->call_depth) {
        b->return_jump = ptx_grow(d->load, b->return_jump, b->return_count, sizeof(*b->return_jump));
        b->return_jump[b->return_count++] = d->function->op_count;
        d->op.kind = KIND_BRANCH;
    } else {
        d->op.kind = KIND_EXIT;
    }
    decode_emit(d, run_nothing);
}

static const struct core_opcode *find_opcode(const char *name)
{
    static const struct core_opcode *const tables[] = {
        core_integer_opcodes, core_compare_opcodes,  core_float_opcodes, core_convert_opcodes, core_memory_opcodes,
        core_warp_opcodes,    core_mbarrier_opcodes, core_copy_opcodes,  core_matrix_opcodes,  core_mma_opcodes};
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
        for (const struct core_opcode *o = tables[t]; o->name; o++)
            if (!strcmp(o->name, name)) return o;
    return NULL;
}

static void decode_instruction(struct core_decode *d, struct body *b, uint32_t scope)
{
    const char *base = d->in->part[0];
    d->used = 1;
    d->r_count = 0;
    memset(&d->op, 0, sizeof(d->op));
    if (!strcmp(base, "call"))
        decode_call(d);
    else if (!strcmp(base, "bra") || !strcmp(base, "brx") || !strcmp(base, "ret") || !strcmp(base, "exit"))
        decode_control(d, b, scope);
    else {
        const struct core_opcode *o = find_opcode(base);
        if (!o) decode_fail(d, "unknown instruction");
        o->decode(d);
    }
    for (uint32_t i = 1; i < d->in->part_count; i++)
        if (!(d->used >> i & 1)) decode_fail(d, "unknown modifier '.%s'", d->in->part[i]);
}

static void decode_body(struct core_decode *d, const struct ptx_function *f)
{
    struct body body = {0}, *b = &body;
    uint32_t scope = 0;
    b->parent = ptx_grow(d->load, b->parent, b->scope_count++, sizeof(*b->parent));
    b->parent[0] = 0;
    for (size_t i = 0; i < f->body_count; i++) { /* labels first: branches go forward too */
        const struct ptx_statement *s = &f->body[i];
        if (s->kind == PTX_OPEN) {
            b->parent = ptx_grow(d->load, b->parent, b->scope_count, sizeof(*b->parent));
            b->parent[b->scope_count] = scope;
            scope = (uint32_t)b->scope_count++;
        } else if (s->kind == PTX_CLOSE) {
            scope = b->parent[scope];
        } else if (s->kind == PTX_LABEL) {
            b->label = ptx_grow(d->load, b->label, b->label_count, sizeof(*b->label));
            b->label[b->label_count++] = (struct label){s->name, scope, 0};
        }
    }
    uint32_t opened = 0, depth = d->depth;
    size_t label = 0, symbols = d->symbol_count;
    for (size_t i = 0; i < f->body_count;
         i++) { /* jump tables are declared after their use or before: before is enough */
        if (f->body[i].kind != PTX_TARGETS) continue;
        struct core_symbol *s = declare(d, f->body[i].name);
        s->kind = SYMBOL_TARGETS;
        s->targets = f->body[i].targets;
    }
    for (size_t i = 0; i < f->body_count; i++) {
        const struct ptx_statement *s = &f->body[i];
        d->line = s->line;
        d->in = NULL;
        switch (s->kind) {
        case PTX_OPEN:
            scope = ++opened;
            d->depth++;
            break;
        case PTX_CLOSE:
            scope = b->parent[scope];
            while (d->symbol_count && d->symbol[d->symbol_count - 1].depth == d->depth) d->symbol_count--;
            d->depth--;
            break;
        case PTX_LABEL:
            b->label[label++].pc = d->function->op_count;
            break;
        case PTX_REGISTERS: {
            struct core_symbol *r = declare(d, s->name);
            r->kind = SYMBOL_REGISTERS;
            r->type = s->type;
            r->count = s->count;
            r->offset = take_registers(d, (uint64_t)register_bytes(s->type) * (s->count ? s->count : 1));
            break;
        }
        case PTX_VARIABLE:
            if (s->variable->space == PTX_SPACE_GLOBAL || s->variable->space == PTX_SPACE_CONST)
                decode_fail(d, "global variables inside a function are not supported");
            declare_local(d, s->variable);
            break;
        case PTX_TARGETS:
            break;
        case PTX_INSTRUCTION:
            d->in = s->instruction;
            decode_instruction(d, b, scope);
            break;
        }
    }
    /* The end of the text is a return; labels may stand there. */
    static const struct ptx_instruction fall_off = {.opcode = "}", .part = {"}"}, .part_count = 1};
    d->in = &fall_off;
    if (!d->call_depth) {
        d->op.kind = KIND_EXIT;
        decode_emit(d, run_nothing);
    }
    for (size_t i = 0; i < b->jump_count; i++) {
        struct core_op *op = &d->function->op[b->jump[i].op];
        uint32_t pc = b->label[b->jump[i].label].pc;
        if (op->kind == KIND_TABLE)
            ((uint32_t *)(uintptr_t)op->table)[b->jump[i].entry] = pc;
        else
            op->target = pc;
    }
    for (size_t i = 0; i < b->return_count; i++) d->function->op[b->return_jump[i]].target = d->function->op_count;
    d->symbol_count = symbols;
    d->depth = depth;
}

static struct core_function *decode_function(struct ptx_load *load, struct core_module *module,
                                             const struct ptx_function *source)
{
    struct core_function *f = ptx_alloc(load, sizeof(*f));
    struct core_decode decode = {.load = load, .module = module, .function = f, .line = source->line}, *d = &decode;
    f->name = source->name;
    f->module = module;
    f->source = source;
    f->register_bytes = 256; /* offset 0 takes what nobody wants */
    f->shared_granule = 4;
    for (size_t i = 0; i < module->source->variable_count; i++) {
        struct ptx_variable *v = module->source->variable[i];
        if (v->space == PTX_SPACE_SHARED) continue;
        struct core_symbol *s = declare(d, v->name);
        s->kind = SYMBOL_VARIABLE;
        s->space = v->space;
        s->variable = v;
    }
    for (size_t i = 0; i < module->source->variable_count; i++) /* sized ones first: dynamic memory follows them */
        if (module->source->variable[i]->space == PTX_SPACE_SHARED && !module->source->variable[i]->open_array)
            declare_local(d, module->source->variable[i]);
    f->param = ptx_alloc(load, (source->param_count + 1) * sizeof(*f->param));
    for (uint32_t i = 0; i < source->param_count; i++) {
        const struct ptx_variable *v = source->param[i];
        f->param_bytes = (f->param_bytes + v->align - 1) & ~(v->align - 1);
        f->param[i] = (struct core_param){f->param_bytes, (uint32_t)v->size, v->align};
        struct core_symbol *s = declare(d, v->name);
        s->kind = SYMBOL_VARIABLE;
        s->space = PTX_SPACE_PARAM;
        s->offset = f->param_bytes;
        f->param_bytes += (uint32_t)v->size;
    }
    /* Static variables of the body are laid out before the dynamic array, whose place depends on them. */
    size_t symbols = d->symbol_count;
    uint32_t dynamic_align = 16;
    for (size_t i = 0; i < source->body_count; i++)
        if (source->body[i].kind == PTX_VARIABLE && source->body[i].variable->space == PTX_SPACE_SHARED)
            declare_local(d, source->body[i].variable);
    for (size_t i = 0; i < module->source->variable_count; i++) {
        const struct ptx_variable *v = module->source->variable[i];
        if (v->space == PTX_SPACE_SHARED && v->open_array && v->align > dynamic_align) dynamic_align = v->align;
    }
    uint32_t total = f->static_shared;
    f->static_shared = 0;
    for (size_t i = 0; i < symbols; i++) { /* what the globally declared ones took */
        const struct core_symbol *s = &d->symbol[i];
        if (s->kind == SYMBOL_VARIABLE && s->space == PTX_SPACE_SHARED)
            for (size_t j = 0; j < module->source->variable_count; j++)
                if (!strcmp(module->source->variable[j]->name, s->name))
                    f->static_shared = s->offset - SHARED_FIRST + (uint32_t)module->source->variable[j]->size;
    }
    d->symbol_count = symbols;
    bool dynamic = false;
    for (size_t i = 0; i < module->source->variable_count; i++) {
        const struct ptx_variable *v = module->source->variable[i];
        if (v->space != PTX_SPACE_SHARED || !v->open_array) continue;
        struct core_symbol *s = declare(d, v->name);
        s->kind = SYMBOL_VARIABLE;
        s->space = PTX_SPACE_SHARED;
        s->offset = SHARED_FIRST + ((total + dynamic_align - 1) & ~(dynamic_align - 1));
        dynamic = true;
    }
    decode_body(d, source);
    if (dynamic) f->static_shared = (f->static_shared + dynamic_align - 1) & ~(dynamic_align - 1);
    f->shared_align = dynamic_align;
    f->register_bytes = (f->register_bytes + 63) & ~63u;
    return f;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Modules */

static int compare_lines(const void *a, const void *b)
{
    const struct core_coverage *x = a, *y = b;
    int names = strcmp(x->function, y->function);
    return names ? names : (x->line > y->line) - (x->line < y->line);
}

/* One counter for each line of each kernel; several operations of a line share it, the first of them counts. */
static void make_coverage(struct ptx_load *load, struct core_module *m)
{
    size_t total = 0;
    for (size_t i = 0; i < m->function_count; i++) total += m->function[i]->op_count;
    struct core_coverage *all = ptx_alloc(load, (total + 1) * sizeof(*all));
    size_t n = 0;
    for (size_t i = 0; i < m->function_count; i++)
        for (uint32_t k = 0; k < m->function[i]->op_count; k++)
            all[n++] = (struct core_coverage){m->function[i]->name, m->function[i]->op[k].line, 0};
    qsort(all, n, sizeof(*all), compare_lines);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!kept || compare_lines(&all[kept - 1], &all[i])) all[kept++] = all[i];
    m->coverage = all;
    m->coverage_count = kept;
    for (size_t i = 0; i < m->function_count; i++) {
        uint32_t last = 0;
        for (uint32_t k = 0; k < m->function[i]->op_count; k++) {
            struct core_op *op = &m->function[i]->op[k];
            struct core_coverage key = {m->function[i]->name, op->line, 0};
            if (op->line != last)
                op->count = &((struct core_coverage *)bsearch(&key, all, kept, sizeof(*all), compare_lines))->count;
            last = op->line;
        }
    }
}

struct core_module *core_load(const char *text, size_t length, const struct core_options *options,
                              struct core_error *error)
{
    struct ptx_arena arena = {0};
    struct ptx_load load = {.arena = &arena, .error = error};
    struct core_module *volatile result = NULL;
    memset(error, 0, sizeof(*error));
    if (!setjmp(load.fail)) {
        struct core_module *m = ptx_alloc(&load, sizeof(*m));
        m->options = *options;
        m->source = ptx_parse(&load, text, length);
        const struct ptx_module *s = m->source;
        bool same_family = s->target / 10 == options->sm / 10;
        if (s->target > options->sm || (s->target_suffix == 'f' && !same_family) ||
            (s->target_suffix == 'a' && s->target != options->sm))
            ptx_fail(&load, CORE_NO_BINARY_FOR_GPU, 0, "the text is for sm_%d%.1s, the simulated part is sm_%d",
                     s->target, &s->target_suffix, options->sm);
        for (size_t i = 0; i < s->function_count; i++) {
            if (!s->function[i]->entry) continue;
            m->function = ptx_grow(&load, m->function, m->function_count, sizeof(*m->function));
            m->function[m->function_count++] = decode_function(&load, m, s->function[i]);
        }
        make_coverage(&load, m);
        m->arena = arena;
        result = m;
    } else {
        ptx_arena_free(&arena);
    }
    return result;
}

void core_unload(struct core_module *module)
{
    if (!module) return;
    struct ptx_arena arena = module->arena;
    ptx_arena_free(&arena);
}

size_t core_variable_count(const struct core_module *module)
{
    size_t n = 0;
    for (size_t i = 0; i < module->source->variable_count; i++)
        n += module->source->variable[i]->space != PTX_SPACE_SHARED;
    return n;
}

struct core_variable core_variable_at(const struct core_module *module, size_t index)
{
    for (size_t i = 0;; i++) {
        struct ptx_variable *v = module->source->variable[i];
        if (v->space == PTX_SPACE_SHARED || index--) continue;
        return (struct core_variable){v->name, v->size, v->align, v->initial, &v->address};
    }
}

void core_bind(struct core_module *module)
{
    const struct ptx_module *m = module->source;
    for (size_t i = 0; i < m->variable_count; i++)
        for (size_t k = 0; k < m->variable[i]->fix_count; k++)
            for (size_t j = 0; j < m->variable_count; j++) {
                const struct ptx_address_fix *fix = &m->variable[i]->fix[k];
                if (strcmp(m->variable[j]->name, fix->name)) continue;
                uint64_t address = m->variable[j]->address + (uint64_t)fix->offset;
                memcpy((void *)(uintptr_t)(m->variable[i]->address + fix->at), &address, 8);
            }
}

size_t core_function_count(const struct core_module *module)
{
    return module->function_count;
}
const struct core_function *core_function_at(const struct core_module *module, size_t index)
{
    return module->function[index];
}
const struct core_function *core_function_find(const struct core_module *module, const char *name)
{
    for (size_t i = 0; i < module->function_count; i++)
        if (!strcmp(module->function[i]->name, name)) return module->function[i];
    return NULL;
}

struct core_function_info core_function_info(const struct core_function *f)
{
    struct core_function_info info = {.name = f->name,
                                      .param_count = f->source->param_count,
                                      .param_bytes = f->param_bytes,
                                      .params = f->param,
                                      .static_shared = f->static_shared,
                                      .local_bytes = f->local_bytes,
                                      .max_threads = f->source->max_threads,
                                      .ptx_version = f->module->source->version,
                                      .ptx_target = f->module->source->target};
    memcpy(info.required, f->source->required, sizeof(info.required));
    return info;
}

size_t core_coverage_count(const struct core_module *module)
{
    return module->coverage_count;
}
struct core_coverage core_coverage_at(const struct core_module *module, size_t index)
{
    return module->coverage[index];
}
