/*
 * The lexer and the one-pass parser of PTX text, as NVRTC and nvcc write it and as people write it by hand.
 * Grammar: PTX ISA 9.0, sections 4 and 5. Debugging directives are skipped.
 */
#include "tests/emulator/ptx.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------------------ */
/* Memory and errors of a load */

struct ptx_chunk {
    struct ptx_chunk *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

void *ptx_alloc(struct ptx_load *load, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    struct ptx_chunk *chunk = load->arena->chunks;
    if (!chunk || chunk->size - chunk->used < bytes) {
        size_t size = bytes > 65536 ? bytes : 65536;
        chunk = calloc(1, sizeof(*chunk) + size);
        if (!chunk) ptx_fail(load, CORE_OUT_OF_MEMORY, 0, "no memory for the module (%zu bytes)", bytes);
        chunk->size = size;
        chunk->next = load->arena->chunks;
        load->arena->chunks = chunk;
    }
    void *p = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return p;
}

void ptx_arena_free(struct ptx_arena *arena)
{
    while (arena->chunks) {
        struct ptx_chunk *next = arena->chunks->next;
        free(arena->chunks);
        arena->chunks = next;
    }
}

void *ptx_grow(struct ptx_load *load, void *array, size_t count, size_t element_bytes)
{
    if (count && (count & (count - 1))) return array; /* full only at powers of two */
    void *bigger = ptx_alloc(load, (count ? count * 2 : 1) * element_bytes);
    if (count) memcpy(bigger, array, count * element_bytes);
    return bigger;
}

void ptx_fail(struct ptx_load *load, enum core_status status, uint32_t line, const char *format, ...)
{
    struct core_error *e = load->error;
    memset(e, 0, sizeof(*e));
    e->status = status;
    e->line = line;
    int n = line ? snprintf(e->text, sizeof(e->text), "PTX line %u: ", line) : 0;
    va_list args;
    va_start(args, format);
    vsnprintf(e->text + n, sizeof(e->text) - (size_t)n, format, args);
    va_end(args);
    longjmp(load->fail, 1);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Types */

static const struct {
    const char *name;
    uint32_t bytes;
} types[PTX_TYPE_COUNT] = {
    [PTX_NONE] = {"", 0},         [PTX_PRED] = {"pred", 0},       [PTX_B8] = {"b8", 1},
    [PTX_B16] = {"b16", 2},       [PTX_B32] = {"b32", 4},         [PTX_B64] = {"b64", 8},
    [PTX_B128] = {"b128", 16},    [PTX_U8] = {"u8", 1},           [PTX_U16] = {"u16", 2},
    [PTX_U32] = {"u32", 4},       [PTX_U64] = {"u64", 8},         [PTX_S8] = {"s8", 1},
    [PTX_S16] = {"s16", 2},       [PTX_S32] = {"s32", 4},         [PTX_S64] = {"s64", 8},
    [PTX_F16] = {"f16", 2},       [PTX_BF16] = {"bf16", 2},       [PTX_F32] = {"f32", 4},
    [PTX_F64] = {"f64", 8},       [PTX_TF32] = {"tf32", 4},       [PTX_F16X2] = {"f16x2", 4},
    [PTX_BF16X2] = {"bf16x2", 4}, [PTX_F32X2] = {"f32x2", 8},     [PTX_E4M3] = {"e4m3", 1},
    [PTX_E5M2] = {"e5m2", 1},     [PTX_E4M3X2] = {"e4m3x2", 2},   [PTX_E5M2X2] = {"e5m2x2", 2},
    [PTX_UE8M0] = {"ue8m0", 1},   [PTX_UE8M0X2] = {"ue8m0x2", 2}, [PTX_E2M1X2] = {"e2m1x2", 1},
};

enum ptx_type ptx_type_named(const char *name)
{
    for (int t = 1; t < PTX_TYPE_COUNT; t++)
        if (!strcmp(types[t].name, name)) return (enum ptx_type)t;
    return PTX_NONE;
}

uint32_t ptx_type_bytes(enum ptx_type type)
{
    return types[type].bytes;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Characters */

struct parser {
    struct ptx_load *load;
    const char *at, *end;
    uint32_t line;
    struct ptx_module *module;
};

static _Noreturn void expected(struct parser *p, const char *what)
{
    char found[24];
    size_t n = 0;
    while (n < sizeof(found) - 1 && p->at + n < p->end && p->at[n] != '\n') {
        found[n] = p->at[n];
        n++;
    }
    found[n] = 0;
    ptx_fail(p->load, CORE_INVALID_PTX, p->line, "expected %s, found '%s'", what, found);
}

/* Skip blanks and comments. */
static void skip(struct parser *p)
{
    while (p->at < p->end) {
        if (*p->at == '\n') p->line++;
        if (isspace((unsigned char)*p->at) || *p->at == 0) {
            p->at++;
        } else if (p->at + 1 < p->end && p->at[0] == '/' && p->at[1] == '/') {
            while (p->at < p->end && *p->at != '\n') p->at++;
        } else if (p->at + 1 < p->end && p->at[0] == '/' && p->at[1] == '*') {
            for (p->at += 2; p->at + 1 < p->end && !(p->at[0] == '*' && p->at[1] == '/'); p->at++)
                if (*p->at == '\n') p->line++;
            p->at = p->at + 1 < p->end ? p->at + 2 : p->end;
        } else {
            return;
        }
    }
}

static bool peek(struct parser *p, char c)
{
    skip(p);
    return p->at < p->end && *p->at == c;
}

static bool accept(struct parser *p, char c)
{
    if (!peek(p, c)) return false;
    p->at++;
    return true;
}

static void expect(struct parser *p, char c)
{
    char what[] = {'\'', c, '\'', 0};
    if (!accept(p, c)) expected(p, what);
}

static bool is_name(char c, bool first)
{
    return isalpha((unsigned char)c) || c == '_' || c == '$' || c == '%' || (!first && isdigit((unsigned char)c));
}

static const char *copy(struct parser *p, const char *s, size_t n)
{
    char *t = ptx_alloc(p->load, n + 1);
    memcpy(t, s, n);
    return t;
}

static bool peek_name(struct parser *p)
{
    skip(p);
    return p->at < p->end && is_name(*p->at, true);
}

/* A name; special registers keep their component (%tid.x). */
static const char *name(struct parser *p)
{
    if (!peek_name(p)) expected(p, "a name");
    const char *s = p->at;
    while (p->at < p->end && is_name(*p->at, p->at == s)) p->at++;
    if (*s == '%' && p->at + 1 < p->end && *p->at == '.' && strchr("xyzw", p->at[1]) &&
        (p->at + 2 >= p->end || !is_name(p->at[2], false)))
        p->at += 2;
    return copy(p, s, (size_t)(p->at - s));
}

/* An opcode (letters, digits, dots and colons in one run) or a directive (a dot and a name). */
static const char *word(struct parser *p)
{
    skip(p);
    const char *s = p->at;
    bool directive = p->at < p->end && *p->at == '.';
    while (p->at < p->end && !(directive && *p->at == '.' && p->at > s) &&
           (is_name(*p->at, false) || *p->at == '.' || *p->at == ':'))
        p->at++;
    if (p->at == s) expected(p, "an instruction or directive");
    return copy(p, s, (size_t)(p->at - s));
}

static bool peek_number(struct parser *p)
{
    skip(p);
    return p->at < p->end && (isdigit((unsigned char)*p->at) || *p->at == '-');
}

/* An integer (with sign, any base, U suffix), 0fXXXXXXXX, 0dXXXXXXXXXXXXXXXX or a decimal fraction. */
static struct ptx_operand number(struct parser *p)
{
    struct ptx_operand o = {.kind = PTX_INTEGER};
    skip(p);
    bool minus = *p->at == '-';
    if (minus) p->at++;
    skip(p);
    char digits[80];
    size_t n = 0;
    const char *s = p->at;
    while (p->at < p->end && n < sizeof(digits) - 1 &&
           (isalnum((unsigned char)*p->at) || *p->at == '.' ||
            (n && (*p->at == '-' || *p->at == '+') && tolower((unsigned char)p->at[-1]) == 'e' && memchr(s, '.', n))))
        digits[n++] = *p->at++;
    digits[n] = 0;
    char *end = NULL;
    if (digits[0] == '0' && (digits[1] == 'f' || digits[1] == 'F')) {
        o.kind = PTX_SINGLE;
        o.value = (int64_t)(strtoull(digits + 2, &end, 16) ^ (minus ? 0x80000000u : 0));
    } else if (digits[0] == '0' && (digits[1] == 'd' || digits[1] == 'D')) {
        o.kind = PTX_DOUBLE;
        o.value = (int64_t)(strtoull(digits + 2, &end, 16) ^ (minus ? (uint64_t)1 << 63 : 0));
    } else if (strchr(digits, '.')) {
        o.kind = PTX_DOUBLE;
        double v = strtod(digits, &end);
        if (minus) v = -v;
        memcpy(&o.value, &v, 8);
    } else {
        if (digits[0] == '0' && (digits[1] == 'b' || digits[1] == 'B'))
            o.value = (int64_t)strtoull(digits + 2, &end, 2);
        else
            o.value = (int64_t)strtoull(digits, &end, 0);
        if (*end == 'U' || *end == 'u') end++;
        if (minus) o.value = (int64_t)(0 - (uint64_t)o.value);
    }
    if (!n || *end) ptx_fail(p->load, CORE_INVALID_PTX, p->line, "'%s' is not a number", digits);
    return o;
}

static uint64_t plain_number(struct parser *p)
{
    if (!peek_number(p)) expected(p, "a number");
    struct ptx_operand o = number(p);
    if (o.kind != PTX_INTEGER || o.value < 0) ptx_fail(p->load, CORE_INVALID_PTX, p->line, "expected a count");
    return (uint64_t)o.value;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Operands and instructions */

static struct ptx_operand operand(struct parser *p, int depth);

static void operand_list(struct parser *p, struct ptx_operand **items, uint32_t *count, char close, int depth)
{
    while (!accept(p, close)) {
        if (*count) expect(p, ',');
        *items = ptx_grow(p->load, *items, *count, sizeof(**items));
        (*items)[(*count)++] = operand(p, depth + 1);
    }
}

/* What may follow a name: "+ 4" or "- 4". */
static int64_t offset(struct parser *p)
{
    int64_t sum = 0;
    for (;;) {
        if (accept(p, '+'))
            sum += number(p).value;
        else if (peek(p, '-'))
            sum += number(p).value;
        else
            return sum;
    }
}

static struct ptx_operand operand(struct parser *p, int depth)
{
    struct ptx_operand o = {0};
    if (depth > 4) ptx_fail(p->load, CORE_INVALID_PTX, p->line, "operands nested too deeply");
    if (accept(p, '{')) {
        o.kind = PTX_VECTOR;
        operand_list(p, &o.items, &o.item_count, '}', depth);
        return o;
    }
    if (accept(p, '(')) {
        o.kind = PTX_LIST;
        operand_list(p, &o.items, &o.item_count, ')', depth);
        return o;
    }
    if (accept(p, '[')) {
        o.kind = PTX_ADDRESS;
        if (peek_number(p)) {
            o.value = number(p).value;
        } else {
            o.name = name(p);
            o.value = offset(p);
        }
        if (accept(p, ',')) {
            expect(p, '{');
            operand_list(p, &o.items, &o.item_count, '}', depth);
        }
        expect(p, ']');
        return o;
    }
    if (peek_number(p)) return number(p);
    o.negated = accept(p, '!');
    o.kind = PTX_NAME;
    o.name = name(p);
    if (!strcmp(o.name, "_")) o.kind = PTX_SINK;
    if (accept(p, '|')) o.pair = name(p);
    o.value = offset(p);
    return o;
}

static struct ptx_instruction *instruction(struct parser *p, const char *opcode)
{
    struct ptx_instruction *in = ptx_alloc(p->load, sizeof(*in));
    in->opcode = opcode;
    char *parts = (char *)(uintptr_t)copy(p, opcode, strlen(opcode));
    for (char *s = parts; s;) {
        if (in->part_count == PTX_MAX_PARTS)
            ptx_fail(p->load, CORE_INVALID_PTX, p->line, "too many modifiers in '%s'", opcode);
        in->part[in->part_count++] = s;
        s = strchr(s, '.');
        if (s) *s++ = 0;
    }
    while (!accept(p, ';')) {
        if (p->at >= p->end) expected(p, "';'");
        if (in->operand_count) expect(p, ',');
        in->operand = ptx_grow(p->load, in->operand, in->operand_count, sizeof(*in->operand));
        in->operand[in->operand_count++] = operand(p, 0);
    }
    return in;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Declarations */

static void skip_statement(struct parser *p)
{
    while (p->at < p->end && *p->at != '\n') p->at++;
}

static void put_little_endian(uint8_t *to, uint64_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> (8 * i));
}

/* Values of "= {1, 2, {3, 4}}" laid one after the other from *at on. */
static void initialiser(struct parser *p, struct ptx_variable *v, uint32_t bytes, uint64_t *at)
{
    if (accept(p, '{')) {
        while (!accept(p, '}')) {
            initialiser(p, v, bytes, at);
            if (!peek(p, '}')) expect(p, ',');
        }
        return;
    }
    if (*at + bytes > v->size)
        ptx_fail(p->load, CORE_INVALID_PTX, p->line, "too many initial values for '%s'", v->name);
    if (peek_number(p)) {
        struct ptx_operand o = number(p);
        if (o.kind == PTX_DOUBLE && bytes == 4) {
            double d;
            memcpy(&d, &o.value, 8);
            float f = (float)d;
            uint32_t bits;
            memcpy(&bits, &f, 4);
            o.value = bits;
        }
        put_little_endian(v->initial + *at, (uint64_t)o.value, bytes);
    } else {
        v->fix = ptx_grow(p->load, v->fix, v->fix_count, sizeof(*v->fix));
        struct ptx_address_fix *fix = &v->fix[v->fix_count++];
        fix->at = *at;
        fix->name = name(p);
        if (!strcmp(fix->name, "generic")) {
            expect(p, '(');
            fix->name = name(p);
            expect(p, ')');
        }
        fix->offset = offset(p);
        if (bytes != 8) ptx_fail(p->load, CORE_INVALID_PTX, p->line, "an address needs 8 bytes");
    }
    *at += bytes;
}

static enum ptx_space space_named(const char *s)
{
    static const char *const names[] = {"", ".global", ".const", ".shared", ".local", ".param"};
    for (int i = 1; i < 6; i++)
        if (!strcmp(s, names[i])) return (enum ptx_space)i;
    return PTX_SPACE_NONE;
}

/* The rest of a variable after its state space: ".align 4 .v4 .f32 name[2][3] = {...}". */
static struct ptx_variable *variable(struct parser *p, enum ptx_space space)
{
    struct ptx_variable *v = ptx_alloc(p->load, sizeof(*v));
    uint32_t vector = 1, align = 0;
    enum ptx_type type = PTX_NONE;
    v->space = space;
    while (peek(p, '.')) {
        const char *w = word(p);
        if (!strcmp(w, ".align"))
            align = (uint32_t)plain_number(p);
        else if (!strcmp(w, ".v2"))
            vector = 2;
        else if (!strcmp(w, ".v4"))
            vector = 4;
        else if (!strcmp(w, ".ptr"))
            (void)0; /* parameter attributes: where a pointer points is known anyway */
        else if (space_named(w) != PTX_SPACE_NONE)
            (void)0;
        else if ((type = ptx_type_named(w + 1)) == PTX_NONE)
            ptx_fail(p->load, CORE_INVALID_PTX, p->line, "unknown directive '%s' in a declaration", w);
    }
    if (type == PTX_NONE || !ptx_type_bytes(type))
        ptx_fail(p->load, CORE_INVALID_PTX, p->line, "a variable needs a type with a size");
    v->name = name(p);
    uint32_t bytes = ptx_type_bytes(type);
    uint64_t count = vector;
    while (accept(p, '[')) {
        if (accept(p, ']')) {
            v->open_array = true;
            continue;
        }
        uint64_t n = plain_number(p);
        if (n && count > ((uint64_t)1 << 40) / n)
            ptx_fail(p->load, CORE_INVALID_PTX, p->line, "'%s' is too large", v->name);
        count *= n;
        expect(p, ']');
    }
    v->size = v->open_array ? 0 : count * bytes;
    v->align = align ? align : bytes * vector;
    if ((v->align & (v->align - 1)) || v->align > 65536)
        ptx_fail(p->load, CORE_INVALID_PTX, p->line, "alignment %u is no power of two", v->align);
    if (accept(p, '=')) {
        uint64_t at = 0;
        v->initial = ptx_alloc(p->load, v->size + 8);
        initialiser(p, v, bytes, &at);
    }
    return v;
}

static struct ptx_statement *add(struct parser *p, struct ptx_function *f, enum ptx_statement_kind kind)
{
    f->body = ptx_grow(p->load, f->body, f->body_count, sizeof(*f->body));
    struct ptx_statement *s = &f->body[f->body_count++];
    memset(s, 0, sizeof(*s));
    s->kind = kind;
    s->line = p->line;
    return s;
}

static void registers(struct parser *p, struct ptx_function *f)
{
    const char *w = word(p);
    enum ptx_type type = ptx_type_named(w + 1);
    if (*w != '.' || type == PTX_NONE) ptx_fail(p->load, CORE_INVALID_PTX, p->line, "unknown register type '%s'", w);
    do {
        struct ptx_statement *s = add(p, f, PTX_REGISTERS);
        s->type = type;
        s->name = name(p);
        if (accept(p, '<')) {
            s->count = (uint32_t)plain_number(p);
            if (s->count == 0 || s->count > 1000000)
                ptx_fail(p->load, CORE_INVALID_PTX, p->line, "%u registers", s->count);
            expect(p, '>');
        }
    } while (accept(p, ','));
    expect(p, ';');
}

static void body(struct parser *p, struct ptx_function *f)
{
    int depth = 1;
    while (depth) {
        skip(p);
        if (p->at >= p->end) expected(p, "'}'");
        if (accept(p, '{')) {
            add(p, f, PTX_OPEN);
            depth++;
        } else if (accept(p, '}')) {
            if (--depth) add(p, f, PTX_CLOSE);
        } else if (accept(p, ';')) {
            continue;
        } else if (peek(p, '.')) {
            const char *w = word(p);
            if (!strcmp(w, ".reg"))
                registers(p, f);
            else if (!strcmp(w, ".loc"))
                skip_statement(p);
            else if (!strcmp(w, ".pragma")) {
                while (p->at < p->end && *p->at != ';') p->at++;
                expect(p, ';');
            } else if (space_named(w) != PTX_SPACE_NONE) {
                struct ptx_variable *v = variable(p, space_named(w));
                expect(p, ';');
                add(p, f, PTX_VARIABLE)->variable = v;
            } else
                ptx_fail(p->load, CORE_INVALID_PTX, p->line, "unknown directive '%s'", w);
        } else {
            const char *guard = NULL;
            bool negated = false;
            uint32_t line = p->line;
            if (accept(p, '@')) {
                negated = accept(p, '!');
                guard = name(p);
                skip(p);
            } else {
                /* a label is a name followed by a single ':' */
                const char *start = p->at;
                const char *n = peek_name(p) ? name(p) : NULL;
                if (n && accept(p, ':')) {
                    skip(p);
                    if (p->at + 14 < p->end && !strncmp(p->at, ".branchtargets", 14)) {
                        p->at += 14;
                        struct ptx_operand *list = ptx_alloc(p->load, sizeof(*list));
                        operand_list(p, &list->items, &list->item_count, ';', 0);
                        struct ptx_statement *s = add(p, f, PTX_TARGETS);
                        s->name = n;
                        s->targets = list;
                    } else {
                        add(p, f, PTX_LABEL)->name = n;
                    }
                    continue;
                }
                p->at = start;
                p->line = line;
            }
            struct ptx_statement *s = add(p, f, PTX_INSTRUCTION);
            size_t index = f->body_count - 1;
            s->line = p->line;
            struct ptx_instruction *in = instruction(p, word(p));
            in->guard = guard;
            in->guard_negated = negated;
            f->body[index].instruction = in;
        }
    }
}

static void parameters(struct parser *p, struct ptx_variable ***list, uint32_t *count)
{
    while (!accept(p, ')')) {
        if (*count) expect(p, ',');
        const char *w = word(p);
        if (strcmp(w, ".param")) ptx_fail(p->load, CORE_INVALID_PTX, p->line, "expected '.param', found '%s'", w);
        *list = ptx_grow(p->load, *list, *count, sizeof(**list));
        (*list)[(*count)++] = variable(p, PTX_SPACE_PARAM);
    }
}

static void three(struct parser *p, uint32_t n[3])
{
    n[0] = n[1] = n[2] = 1;
    for (int i = 0; i < 3; i++) {
        n[i] = (uint32_t)plain_number(p);
        if (!accept(p, ',')) return;
    }
}

static void function(struct parser *p, bool entry)
{
    struct ptx_function *f = ptx_alloc(p->load, sizeof(*f));
    f->entry = entry;
    f->line = p->line;
    f->max_threads = 1024;
    if (!entry && accept(p, '(')) parameters(p, &f->result, &f->result_count);
    f->name = name(p);
    if (accept(p, '(')) parameters(p, &f->param, &f->param_count);
    while (peek(p, '.')) {
        const char *w = word(p);
        uint32_t n[3];
        if (!strcmp(w, ".maxntid")) {
            three(p, n);
            f->max_threads = n[0] * n[1] * n[2];
        } else if (!strcmp(w, ".reqntid")) {
            three(p, f->required);
            f->max_threads = f->required[0] * f->required[1] * f->required[2];
        } else if (!strcmp(w, ".minnctapersm") || !strcmp(w, ".maxnreg") || !strcmp(w, ".maxclusterrank")) {
            plain_number(p);
        } else if (!strcmp(w, ".pragma")) {
            while (p->at < p->end && *p->at != ';') p->at++;
            expect(p, ';');
        } else if (strcmp(w, ".noreturn")) {
            ptx_fail(p->load, CORE_INVALID_PTX, p->line, "unknown directive '%s' before a function's body", w);
        }
    }
    if (accept(p, '{')) {
        f->defined = true;
        body(p, f);
    } else {
        expect(p, ';');
    }
    struct ptx_module *m = p->module;
    for (size_t i = 0; i < m->function_count; i++) {
        if (strcmp(m->function[i]->name, f->name)) continue;
        if (m->function[i]->defined && f->defined)
            ptx_fail(p->load, CORE_INVALID_PTX, f->line, "'%s' is defined twice", f->name);
        if (f->defined) m->function[i] = f;
        return;
    }
    m->function = ptx_grow(p->load, m->function, m->function_count, sizeof(*m->function));
    m->function[m->function_count++] = f;
}

static void target(struct parser *p)
{
    do {
        const char *n = name(p);
        if (strncmp(n, "sm_", 3)) {
            if (strcmp(n, "texmode_independent") && strcmp(n, "debug"))
                ptx_fail(p->load, CORE_INVALID_PTX, p->line, "unknown target '%s'", n);
            continue;
        }
        char *end;
        p->module->target = (int)strtol(n + 3, &end, 10);
        p->module->target_suffix = *end;
        if ((*end && *end != 'a' && *end != 'f') || (*end && end[1]))
            ptx_fail(p->load, CORE_INVALID_PTX, p->line, "unknown target '%s'", n);
    } while (accept(p, ','));
}

struct ptx_module *ptx_parse(struct ptx_load *load, const char *text, size_t length)
{
    struct parser parser = {.load = load, .at = text, .end = text + length, .line = 1}, *p = &parser;
    p->module = ptx_alloc(load, sizeof(*p->module));
    for (skip(p); p->at < p->end; skip(p)) {
        if (accept(p, ';')) continue;
        const char *w = word(p);
        enum ptx_space space = space_named(w);
        if (!strcmp(w, ".version")) {
            skip(p);
            unsigned major = 0, minor = 0;
            int used = 0;
            char number_text[16] = {0};
            for (size_t i = 0; i < sizeof(number_text) - 1 && p->at + i < p->end && p->at[i] != '\n'; i++)
                number_text[i] = p->at[i];
            if (sscanf(number_text, "%u.%u%n", &major, &minor, &used) != 2 || minor > 9)
                expected(p, "a version such as 9.0");
            p->at += used;
            p->module->version = (int)(major * 10 + minor);
            if (p->module->version > 90)
                ptx_fail(load, CORE_UNSUPPORTED_PTX_VERSION, p->line,
                         ".version %u.%u is newer than 9.0, the newest known here", major, minor);
        } else if (!strcmp(w, ".target"))
            target(p);
        else if (!strcmp(w, ".address_size")) {
            if (plain_number(p) != 64) ptx_fail(load, CORE_INVALID_PTX, p->line, "only 64-bit addresses are known");
        } else if (!strcmp(w, ".file") || !strcmp(w, ".loc"))
            skip_statement(p);
        else if (!strcmp(w, ".section")) {
            while (p->at < p->end && *p->at != '}') {
                if (*p->at == '\n') p->line++;
                p->at++;
            }
            expect(p, '}');
        } else if (!strcmp(w, ".entry"))
            function(p, true);
        else if (!strcmp(w, ".func"))
            function(p, false);
        else if (space != PTX_SPACE_NONE) {
            struct ptx_variable *v = variable(p, space);
            expect(p, ';');
            p->module->variable = ptx_grow(load, p->module->variable, p->module->variable_count, sizeof(v));
            p->module->variable[p->module->variable_count++] = v;
        } else if (!strcmp(w, ".pragma")) {
            while (p->at < p->end && *p->at != ';') p->at++;
        } else if (strcmp(w, ".visible") && strcmp(w, ".extern") && strcmp(w, ".weak") && strcmp(w, ".common"))
            ptx_fail(load, CORE_INVALID_PTX, p->line, "unknown directive '%s'", w);
    }
    if (!p->module->version || !p->module->target)
        ptx_fail(load, CORE_INVALID_PTX, p->line, "the text has no .version or no .target");
    return p->module;
}
