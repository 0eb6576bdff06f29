/*
 * PTX text as a list of statements: what the parser makes and the decoder reads. Names are not resolved here (the same
 * function body is decoded once more for every call of it), numbers and strings are. Everything lives in one arena.
 */
#ifndef UPRES_TESTS_EMULATOR_PTX_H
#define UPRES_TESTS_EMULATOR_PTX_H

#include <setjmp.h>
#include <stdarg.h>
#include "tests/emulator/core.h"

/* Memory that is freed all at once. */
struct ptx_chunk;
struct ptx_arena {
    struct ptx_chunk *chunks;
};

/* One load in progress: where its memory comes from and where an error goes. */
struct ptx_load {
    struct ptx_arena *arena;
    struct core_error *error;
    jmp_buf fail;
};

/* Zeroed memory of the load's arena; runs out through ptx_fail. */
void *ptx_alloc(struct ptx_load *load, size_t bytes);
void ptx_arena_free(struct ptx_arena *arena);
/* An array of the arena with room for one more element, doubled when full. */
void *ptx_grow(struct ptx_load *load, void *array, size_t count, size_t element_bytes);
/* Leave the load with "PTX line N: ..." (line 0: no line) in the error. */
_Noreturn void ptx_fail(struct ptx_load *load, enum core_status status, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

enum ptx_type {
    PTX_NONE,
    PTX_PRED,
    PTX_B8,
    PTX_B16,
    PTX_B32,
    PTX_B64,
    PTX_B128,
    PTX_U8,
    PTX_U16,
    PTX_U32,
    PTX_U64,
    PTX_S8,
    PTX_S16,
    PTX_S32,
    PTX_S64,
    PTX_F16,
    PTX_BF16,
    PTX_F32,
    PTX_F64,
    PTX_TF32,
    PTX_F16X2,
    PTX_BF16X2,
    PTX_F32X2,
    PTX_E4M3,
    PTX_E5M2,
    PTX_E4M3X2,
    PTX_E5M2X2,
    PTX_UE8M0,
    PTX_UE8M0X2,
    PTX_E2M1X2,
    PTX_TYPE_COUNT
};
/* The type that `name` (without dot) spells, PTX_NONE for no type; and its bytes in memory (0 for predicates). */
enum ptx_type ptx_type_named(const char *name);
uint32_t ptx_type_bytes(enum ptx_type type);

enum ptx_operand_kind {
    PTX_NAME,    /* register, special register, variable, function or label; value: offset added */
    PTX_INTEGER, /* value */
    PTX_SINGLE,  /* value: bits of an f32 */
    PTX_DOUBLE,  /* value: bits of an f64 */
    PTX_ADDRESS, /* [name + value], or [value] with name NULL; items: coordinates of a tensor copy */
    PTX_VECTOR,  /* {items} */
    PTX_LIST,    /* (items): arguments of a call */
    PTX_SINK     /* _ */
};
struct ptx_operand {
    enum ptx_operand_kind kind;
    bool negated; /* !p */
    const char *name;
    const char *pair; /* second name of p|q */
    int64_t value;
    struct ptx_operand *items;
    uint32_t item_count;
};

enum { PTX_MAX_PARTS = 20 };
struct ptx_instruction {
    const char *guard; /* predicate's name or NULL */
    bool guard_negated;
    const char *opcode;              /* as written, for messages */
    const char *part[PTX_MAX_PARTS]; /* split at the dots; part[0] is the base opcode */
    uint32_t part_count;
    struct ptx_operand *operand;
    uint32_t operand_count;
};

enum ptx_space {
    PTX_SPACE_NONE,
    PTX_SPACE_GLOBAL,
    PTX_SPACE_CONST,
    PTX_SPACE_SHARED,
    PTX_SPACE_LOCAL,
    PTX_SPACE_PARAM
};
struct ptx_variable {
    enum ptx_space space;
    const char *name;
    uint64_t size;
    uint32_t align;
    bool open_array; /* [] : the dynamic shared memory */
    uint8_t *initial;
    uint64_t address;        /* global and const: set by the driver half */
    struct ptx_address_fix { /* initialisers that are addresses of other variables */
        uint64_t at;
        const char *name;
        int64_t offset;
    } * fix;
    size_t fix_count;
};

enum ptx_statement_kind { PTX_INSTRUCTION, PTX_LABEL, PTX_OPEN, PTX_CLOSE, PTX_REGISTERS, PTX_VARIABLE, PTX_TARGETS };
struct ptx_statement {
    enum ptx_statement_kind kind;
    uint32_t line;
    const char *name;   /* label; register or its prefix */
    enum ptx_type type; /* registers */
    uint32_t count;     /* registers: 0 for one of that very name, else name0..name(count-1) */
    struct ptx_instruction *instruction;
    struct ptx_variable *variable;
    struct ptx_operand *targets; /* .branchtargets: a list of names */
};

struct ptx_function {
    const char *name;
    bool entry;
    uint32_t line;
    struct ptx_variable **param, **result;
    uint32_t param_count, result_count;
    uint32_t max_threads, required[3];
    struct ptx_statement *body;
    size_t body_count;
    bool defined;
};

struct ptx_module {
    int version;        /* 90 for 9.0 */
    int target;         /* 120 for sm_120f */
    char target_suffix; /* 'f', 'a' or 0 */
    struct ptx_variable **variable;
    size_t variable_count;
    struct ptx_function **function;
    size_t function_count;
};

/* Parse the whole text; leaves through ptx_fail when it is not PTX. */
struct ptx_module *ptx_parse(struct ptx_load *load, const char *text, size_t length);

#endif
