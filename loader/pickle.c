#include "loader/pickle.h"

#include "loader/bytes.h"
#include "loader/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_PICKLE = 64 << 20,
    MAX_VALUES = 1 << 20, /* on the stack, in the memo, visited when walking the result */
    MAX_DEPTH = 64,
    KEPT_ELEMENTS = 16, /* of a tuple: no tuple that means anything is longer, so longer ones only keep their length */
};

/*
 * A value is 32 bits, a tag and 28 bits more, so that a hostile pickle costs little more memory than its own length.
 * Strings stay in the pickle; lists are never looked into, so they have no contents.
 */
typedef uint32_t Value;
typedef enum Tag {
    T_SIMPLE,  /* one of the constants below */
    T_INT,     /* a small integer, biased by 2^27 */
    T_BIG,     /* cell: low and high half of an int64 */
    T_STRING,  /* offset of its length field in the pickle */
    T_TUPLE,   /* cell: length, first elements */
    T_DICT,    /* cell: last item; an item is key, value, next (the last one's next is the first) */
    T_GLOBAL,  /* index into globals[] */
    T_STORAGE, /* cell: type (or UNTYPED), key, low and high half of the count */
    T_VIEW     /* cell: storage, type, low and high half of the offset, shape, stride */
} Tag;
enum { S_NOTHING, S_NONE, S_TRUE, S_FALSE, S_MARK, S_LIST, S_FLOAT }; /* nothing: an empty place, never on the stack */
enum { PAYLOAD_BITS = 28, SMALL_BIAS = 1 << 27, UNTYPED = 0xffff };
enum { ITEM_KEY, ITEM_VALUE, ITEM_NEXT, ITEM_CELLS };

static Value make(Tag tag, uint32_t payload)
{
    return (Value)tag << PAYLOAD_BITS | payload;
}

static Tag tag_of(Value v)
{
    return (Tag)(v >> PAYLOAD_BITS);
}

static uint32_t payload_of(Value v)
{
    return v & ((1u << PAYLOAD_BITS) - 1);
}

/* Cells live in pages, so that growing never needs twice the memory. Cell 0 is never given out. */
enum {
    PAGE_CELLS = 1 << 16,
    PAGES = 1 << (PAYLOAD_BITS - 16),
    MEMO_PAGE = 1 << 10,
    MEMO_PAGES = MAX_VALUES / MEMO_PAGE
};

typedef struct Machine {
    Contents *c;
    const uint8_t *p;
    uint64_t size, at;
    Value *stack;
    uint32_t depth, room;
    Value *memo[MEMO_PAGES];
    uint32_t *cells[PAGES];
    uint32_t cell_count;
} Machine;

typedef enum GlobalKind { G_ORDERED_DICT, G_TENSOR_V2, G_TENSOR_V3, G_PARAMETER, G_STORAGE, G_DTYPE } GlobalKind;

static const struct {
    const char *module, *name;
    GlobalKind kind;
    int type; /* WeightType or UNTYPED */
} globals[] = {
    {"collections", "OrderedDict", G_ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor_v2", G_TENSOR_V2, 0},
    {"torch._utils", "_rebuild_tensor_v3", G_TENSOR_V3, 0},
    {"torch._utils", "_rebuild_parameter", G_PARAMETER, 0},
    {"torch.storage", "UntypedStorage", G_STORAGE, UNTYPED},
    {"torch", "FloatStorage", G_STORAGE, WT_F32},
    {"torch", "HalfStorage", G_STORAGE, WT_F16},
    {"torch", "BFloat16Storage", G_STORAGE, WT_BF16},
    {"torch", "DoubleStorage", G_STORAGE, WT_F64},
    {"torch", "LongStorage", G_STORAGE, WT_I64},
    {"torch", "IntStorage", G_STORAGE, WT_I32},
    {"torch", "ShortStorage", G_STORAGE, WT_I16},
    {"torch", "CharStorage", G_STORAGE, WT_I8},
    {"torch", "ByteStorage", G_STORAGE, WT_U8},
    {"torch", "BoolStorage", G_STORAGE, WT_BOOL},
    {"torch", "float8_e4m3fn", G_DTYPE, WT_F8_E4M3},
    {"torch", "float8_e5m2", G_DTYPE, WT_F8_E5M2},
    {"torch", "uint16", G_DTYPE, WT_U16},
    {"torch", "uint32", G_DTYPE, WT_U32},
    {"torch", "uint64", G_DTYPE, WT_U64},
};
enum { GLOBAL_COUNT = sizeof globals / sizeof *globals };

/* ------------------------------------------------------------------------------------------------------ the machine */

static bool malformed(Machine *m)
{
    return contents_fault(m->c, "data.pkl is malformed at byte %" PRIu64, m->at);
}

static bool too_much(Machine *m)
{
    return contents_fault(m->c, "data.pkl holds too many values or is nested too deeply");
}

static bool truncated(Machine *m)
{
    return contents_fault(m->c, "data.pkl ends in the middle of an instruction");
}

static const uint8_t *take(Machine *m, uint64_t n)
{
    if (n > m->size - m->at) {
        truncated(m);
        return NULL;
    }
    const uint8_t *p = m->p + m->at;
    m->at += n;
    return p;
}

/* `count` cells in a row; 0 when there are no more. */
static uint32_t new_cells(Machine *m, uint32_t count)
{
    uint32_t page = m->cell_count / PAGE_CELLS;
    if (m->cell_count % PAGE_CELLS + count > PAGE_CELLS) m->cell_count = ++page * PAGE_CELLS;
    if (page >= PAGES) {
        too_much(m);
        return 0;
    }
    if (!m->cells[page]) {
        m->cells[page] = malloc(PAGE_CELLS * sizeof(uint32_t));
        if (!m->cells[page]) {
            contents_no_memory(m->c);
            return 0;
        }
    }
    if (m->cell_count == 0) m->cell_count = 1;
    uint32_t first = m->cell_count;
    m->cell_count += count;
    return first;
}

static uint32_t *cell(const Machine *m, uint32_t index)
{
    return m->cells[index / PAGE_CELLS] + index % PAGE_CELLS;
}

static bool push(Machine *m, Value v)
{
    if (m->depth > MAX_VALUES) return too_much(m);
    if (m->depth == m->room) {
        uint32_t room = m->room + m->room / 2 + 256;
        Value *stack = realloc(m->stack, room * sizeof *stack);
        if (!stack) return contents_no_memory(m->c);
        m->stack = stack;
        m->room = room;
    }
    m->stack[m->depth++] = v;
    return true;
}

static bool is_mark(Value v)
{
    return v == make(T_SIMPLE, S_MARK);
}

static bool pop(Machine *m, Value *v)
{
    *v = make(T_SIMPLE, S_NOTHING);
    if (!m->depth || is_mark(m->stack[m->depth - 1])) return malformed(m);
    *v = m->stack[--m->depth];
    return true;
}

/* Where the values above the last mark begin; the mark itself lies one below. */
static bool find_mark(Machine *m, uint32_t *first)
{
    *first = 0;
    for (uint32_t i = m->depth; i > 0; i--) {
        if (is_mark(m->stack[i - 1])) {
            *first = i;
            return true;
        }
    }
    return malformed(m);
}

static bool push_int(Machine *m, int64_t v)
{
    if (v >= -SMALL_BIAS && v < SMALL_BIAS) return push(m, make(T_INT, (uint32_t)(v + SMALL_BIAS)));
    uint32_t at = new_cells(m, 2);
    if (!at) return false;
    cell(m, at)[0] = (uint32_t)(uint64_t)v;
    cell(m, at)[1] = (uint32_t)((uint64_t)v >> 32);
    return push(m, make(T_BIG, at));
}

static bool is_int(Value v)
{
    return tag_of(v) == T_INT || tag_of(v) == T_BIG;
}

static int64_t two_cells(const uint32_t *c)
{
    return (int64_t)((uint64_t)c[0] | (uint64_t)c[1] << 32);
}

static int64_t int_of(const Machine *m, Value v)
{
    return tag_of(v) == T_INT ? (int64_t)payload_of(v) - SMALL_BIAS : two_cells(cell(m, payload_of(v)));
}

static const uint8_t *string_of(const Machine *m, Value v, uint32_t *length)
{
    const uint8_t *p = m->p + payload_of(v);
    *length = load_u32(p);
    return p + 4;
}

/* The values above the last mark become one tuple. */
static bool push_tuple(Machine *m, uint32_t first, uint32_t below)
{
    uint32_t count = m->depth - first, kept = count < KEPT_ELEMENTS ? count : KEPT_ELEMENTS;
    uint32_t at = new_cells(m, 1 + kept);
    if (!at) return false;
    cell(m, at)[0] = count;
    if (kept) memcpy(cell(m, at) + 1, m->stack + first, kept * sizeof(Value));
    m->depth = below;
    return push(m, make(T_TUPLE, at));
}

static bool push_dict(Machine *m)
{
    uint32_t at = new_cells(m, 1);
    if (!at) return false;
    cell(m, at)[0] = 0;
    return push(m, make(T_DICT, at));
}

/* target[key] = value. Items are only appended here; the last of one key wins when the dict is looked into. */
static bool set_item(Machine *m, Value target, Value key, Value value)
{
    if (tag_of(target) != T_DICT || !(tag_of(key) == T_STRING || is_int(key))) return malformed(m);
    uint32_t item = new_cells(m, ITEM_CELLS);
    if (!item) return false;
    uint32_t *last = cell(m, payload_of(target)), *cells = cell(m, item);
    cells[ITEM_KEY] = key;
    cells[ITEM_VALUE] = value;
    cells[ITEM_NEXT] = item;
    if (*last) {
        cells[ITEM_NEXT] = cell(m, *last)[ITEM_NEXT];
        cell(m, *last)[ITEM_NEXT] = item;
    }
    *last = item;
    return true;
}

static bool set_items(Machine *m)
{
    uint32_t first;
    if (!find_mark(m, &first)) return false;
    if (first < 2 || (m->depth - first) % 2 || tag_of(m->stack[first - 2]) != T_DICT) return malformed(m);
    for (uint32_t i = first; i < m->depth; i += 2) {
        if (!set_item(m, m->stack[first - 2], m->stack[i], m->stack[i + 1])) return false;
    }
    m->depth = first - 1;
    return true;
}

static bool top_is(const Machine *m, Value v)
{
    return m->depth && m->stack[m->depth - 1] == v;
}

static bool memo_put(Machine *m, uint32_t index)
{
    if (!m->depth || is_mark(m->stack[m->depth - 1])) return malformed(m);
    if (index >= MAX_VALUES) return too_much(m);
    Value **page = &m->memo[index / MEMO_PAGE];
    if (!*page) *page = calloc(MEMO_PAGE, sizeof(Value));
    if (!*page) return contents_no_memory(m->c);
    (*page)[index % MEMO_PAGE] = m->stack[m->depth - 1];
    return true;
}

static bool memo_get(Machine *m, uint32_t index)
{
    const Value *page = index < MAX_VALUES ? m->memo[index / MEMO_PAGE] : NULL;
    Value v = page ? page[index % MEMO_PAGE] : make(T_SIMPLE, S_NOTHING);
    return v == make(T_SIMPLE, S_NOTHING) ? malformed(m) : push(m, v);
}

/* One line of GLOBAL, without its end. */
static const uint8_t *take_line(Machine *m, size_t *length)
{
    uint64_t left = m->size - m->at, most = left < 256 ? left : 256;
    const uint8_t *p = m->p + m->at, *end = most ? memchr(p, '\n', most) : NULL;
    if (!end) {
        truncated(m);
        return NULL;
    }
    *length = (size_t)(end - p);
    m->at += *length + 1;
    return p;
}

static bool push_global(Machine *m)
{
    size_t module_length, name_length = 0;
    const uint8_t *module = take_line(m, &module_length);
    const uint8_t *name = module ? take_line(m, &name_length) : NULL;
    if (!name) return false;
    for (uint32_t i = 0; i < GLOBAL_COUNT; i++) {
        if (strlen(globals[i].module) == module_length && memcmp(globals[i].module, module, module_length) == 0 &&
            strlen(globals[i].name) == name_length && memcmp(globals[i].name, name, name_length) == 0) {
            return push(m, make(T_GLOBAL, i));
        }
    }
    return contents_fault(m->c, "data.pkl refers to '%s.%s', which is not allowed",
                          show_bytes(module, module_length).text, show_bytes(name, name_length).text);
}

static bool wrong_call(Machine *m, const char *what)
{
    return contents_fault(m->c, "data.pkl calls '%s' with wrong arguments", what);
}

static bool is_global(Value v, GlobalKind kind)
{
    return tag_of(v) == T_GLOBAL && globals[payload_of(v)].kind == kind;
}

/* ('storage', type, key, location, count): a storage in an entry of the zip file. */
static bool push_storage(Machine *m)
{
    Value id;
    if (!pop(m, &id)) return false;
    const uint32_t *a = tag_of(id) == T_TUPLE ? cell(m, payload_of(id)) : NULL;
    uint32_t length = 0;
    const uint8_t *word = a && a[0] == 5 && tag_of(a[1]) == T_STRING ? string_of(m, a[1], &length) : NULL;
    bool ok = word && length == 7 && memcmp(word, "storage", 7) == 0 && is_global(a[2], G_STORAGE) &&
              tag_of(a[3]) == T_STRING && tag_of(a[4]) == T_STRING && is_int(a[5]) && int_of(m, a[5]) >= 0;
    if (!ok) return wrong_call(m, "persistent storage");
    uint32_t at = new_cells(m, 4);
    if (!at) return false;
    uint64_t count = (uint64_t)int_of(m, a[5]);
    uint32_t *s = cell(m, at);
    s[0] = (uint32_t)globals[payload_of(a[2])].type;
    s[1] = a[3];
    s[2] = (uint32_t)count;
    s[3] = (uint32_t)(count >> 32);
    return push(m, make(T_STORAGE, at));
}

static bool whole_tuple(const Machine *m, Value v)
{
    if (tag_of(v) != T_TUPLE) return false;
    const uint32_t *t = cell(m, payload_of(v));
    for (uint32_t i = 0; i < t[0] && i < KEPT_ELEMENTS; i++) {
        if (!is_int(t[1 + i]) || int_of(m, t[1 + i]) < 0) return false;
    }
    return true;
}

static bool push_view(Machine *m, const uint32_t *a, bool v3, const char *name)
{
    bool ok = v3 ? a[0] == 7 || a[0] == 8 : a[0] == 6 || a[0] == 7;
    ok = ok && tag_of(a[1]) == T_STORAGE && is_int(a[2]) && int_of(m, a[2]) >= 0 && whole_tuple(m, a[3]) &&
         whole_tuple(m, a[4]) && cell(m, payload_of(a[3]))[0] == cell(m, payload_of(a[4]))[0];
    if (!ok) return wrong_call(m, name);
    uint32_t type = cell(m, payload_of(a[1]))[0];
    if (v3) { /* the type is an argument, the storage has none */
        if (!is_global(a[7], G_DTYPE) || type != UNTYPED) return wrong_call(m, name);
        type = (uint32_t)globals[payload_of(a[7])].type;
    }
    if (type == UNTYPED) return wrong_call(m, name);
    uint32_t at = new_cells(m, 6);
    if (!at) return false;
    uint64_t offset = (uint64_t)int_of(m, a[2]);
    const uint32_t cells[6] = {payload_of(a[1]), type, (uint32_t)offset, (uint32_t)(offset >> 32), payload_of(a[3]),
                               payload_of(a[4])};
    memcpy(cell(m, at), cells, sizeof cells);
    return push(m, make(T_VIEW, at));
}

static bool call(Machine *m)
{
    Value arguments, function;
    if (!pop(m, &arguments) || !pop(m, &function)) return false;
    if (tag_of(function) != T_GLOBAL || tag_of(arguments) != T_TUPLE) return malformed(m);
    const uint32_t *a = cell(m, payload_of(arguments));
    GlobalKind kind = globals[payload_of(function)].kind;
    char name[64];
    snprintf(name, sizeof name, "%s.%s", globals[payload_of(function)].module, globals[payload_of(function)].name);
    switch (kind) {
    case G_ORDERED_DICT:
        return a[0] == 0 ? push_dict(m) : wrong_call(m, name);
    case G_PARAMETER:
        return a[0] == 3 && tag_of(a[1]) == T_VIEW ? push(m, a[1]) : wrong_call(m, name);
    case G_TENSOR_V2:
        return push_view(m, a, false, name);
    case G_TENSOR_V3:
        return push_view(m, a, true, name);
    default:
        return wrong_call(m, name);
    }
}

static bool push_long(Machine *m)
{
    const uint8_t *length = take(m, 1);
    const uint8_t *body = length ? take(m, *length) : NULL;
    if (!body) return false;
    if (*length > 8) return malformed(m);
    uint64_t v = *length && body[*length - 1] & 0x80 ? UINT64_MAX : 0;
    for (int i = *length - 1; i >= 0; i--) v = v << 8 | body[i];
    return push_int(m, (int64_t)v);
}

static bool push_string(Machine *m)
{
    uint64_t begin = m->at;
    const uint8_t *length = take(m, 4);
    const uint8_t *body = length ? take(m, load_u32(length)) : NULL;
    if (!body) return false;
    return utf8_valid(body, load_u32(length)) ? push(m, make(T_STRING, (uint32_t)begin)) : malformed(m);
}

static bool small_tuple(Machine *m, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (i >= m->depth || is_mark(m->stack[m->depth - 1 - i])) return malformed(m);
    }
    return push_tuple(m, m->depth - count, m->depth - count);
}

static bool step(Machine *m, uint8_t op)
{
    const uint8_t *p;
    uint32_t first;
    Value v, key;
    switch (op) {
    case '(':
        return push(m, make(T_SIMPLE, S_MARK));
    case 'N':
        return push(m, make(T_SIMPLE, S_NONE));
    case 0x88:
        return push(m, make(T_SIMPLE, S_TRUE));
    case 0x89:
        return push(m, make(T_SIMPLE, S_FALSE));
    case 'K':
        return (p = take(m, 1)) && push_int(m, *p);
    case 'M':
        return (p = take(m, 2)) && push_int(m, load_u16(p));
    case 'J':
        return (p = take(m, 4)) && push_int(m, (int32_t)load_u32(p));
    case 0x8a:
        return push_long(m);
    case 'G':
        return take(m, 8) && push(m, make(T_SIMPLE, S_FLOAT));
    case 'X':
        return push_string(m);
    case ')':
        return push_tuple(m, m->depth, m->depth);
    case ']':
        return push(m, make(T_SIMPLE, S_LIST));
    case '}':
        return push_dict(m);
    case 't':
        return find_mark(m, &first) && push_tuple(m, first, first - 1);
    case 0x85:
    case 0x86:
    case 0x87:
        return small_tuple(m, op - 0x84u);
    case 'a':
        return pop(m, &v) && (top_is(m, make(T_SIMPLE, S_LIST)) || malformed(m));
    case 'e':
        if (!find_mark(m, &first)) return false;
        m->depth = first - 1;
        return top_is(m, make(T_SIMPLE, S_LIST)) || malformed(m);
    case 's':
        if (!pop(m, &v) || !pop(m, &key)) return false;
        return m->depth ? set_item(m, m->stack[m->depth - 1], key, v) : malformed(m);
    case 'u':
        return set_items(m);
    case 'q':
        return (p = take(m, 1)) && memo_put(m, *p);
    case 'r':
        return (p = take(m, 4)) && memo_put(m, load_u32(p));
    case 'h':
        return (p = take(m, 1)) && memo_get(m, *p);
    case 'j':
        return (p = take(m, 4)) && memo_get(m, load_u32(p));
    case 'c':
        return push_global(m);
    case 'Q':
        return push_storage(m);
    case 'R':
        return call(m);
    case 'b': /* the state of an OrderedDict, its _metadata, is dropped */
        if (!pop(m, &v)) return false;
        return tag_of(v) == T_DICT && m->depth && tag_of(m->stack[m->depth - 1]) == T_DICT ? true : malformed(m);
    default:
        return contents_fault(m->c, "data.pkl uses the forbidden pickle instruction 0x%02x", op);
    }
}

static bool run(Machine *m, Value *result)
{
    if (m->size > MAX_PICKLE) return contents_fault(m->c, "data.pkl of %" PRIu64 " bytes is too large", m->size);
    if (m->size < 2 || m->p[0] != 0x80) {
        return contents_fault(m->c, "data.pkl uses pickle protocol ?; only protocol 2 is supported");
    }
    if (m->p[1] != 2) {
        return contents_fault(m->c, "data.pkl uses pickle protocol %d; only protocol 2 is supported", m->p[1]);
    }
    m->at = 2;
    for (;;) {
        const uint8_t *op = take(m, 1);
        if (!op) return false;
        if (*op == '.') break;
        if (!step(m, *op)) return false;
    }
    if (m->depth != 1 || is_mark(m->stack[0]) || m->at != m->size) return malformed(m);
    *result = m->stack[0];
    return true;
}

/* -------------------------------------------------------------------------------------------- walking the result */

typedef struct Walk {
    Machine *m;
    bool (*each)(void *user, const PickleTensor *t);
    void *user;
    uint32_t path[MAX_DEPTH]; /* the dicts now open */
    uint32_t visited;         /* items, so that dicts shared many times over cannot take for ever */
    size_t found;
    char name[2048]; /* longer ones are cut: they are refused anyway */
    size_t name_length;
} Walk;

static int key_order(const Machine *m, Value a, Value b)
{
    if (a == b) return 0;
    if (is_int(a) != is_int(b)) return is_int(a) ? -1 : 1;
    if (is_int(a)) {
        int64_t x = int_of(m, a), y = int_of(m, b);
        return x < y ? -1 : x > y;
    }
    uint32_t x_length, y_length;
    const uint8_t *x = string_of(m, a, &x_length), *y = string_of(m, b, &y_length);
    int order = memcmp(x, y, x_length < y_length ? x_length : y_length);
    return order ? order : x_length < y_length ? -1 : x_length > y_length;
}

/* Merge sort by key, stable: of equal keys the one set first comes first. `items` and `spare` hold `count` cells each.
 */
static void sort_items(const Machine *m, uint32_t *items, uint32_t *spare, uint32_t count)
{
    if (count < 2) return;
    uint32_t half = count / 2, i = 0, j = half, k = 0;
    sort_items(m, items, spare, half);
    sort_items(m, items + half, spare, count - half);
    while (i < half && j < count) {
        bool left = key_order(m, cell(m, items[i])[ITEM_KEY], cell(m, items[j])[ITEM_KEY]) <= 0;
        spare[k++] = left ? items[i++] : items[j++];
    }
    while (i < half) spare[k++] = items[i++];
    while (j < count) spare[k++] = items[j++];
    memcpy(items, spare, count * sizeof *items);
}

static uint32_t first_item(const Machine *m, uint32_t dict)
{
    uint32_t last = *cell(m, dict);
    return last ? cell(m, last)[ITEM_NEXT] : 0;
}

static uint32_t next_item(const Machine *m, uint32_t dict, uint32_t item)
{
    return item == *cell(m, dict) ? 0 : cell(m, item)[ITEM_NEXT];
}

/* As in Python, setting a key again replaces the value in the first one's place. The others lose theirs. */
static bool settle_keys(Walk *w, uint32_t dict)
{
    Machine *m = w->m;
    uint32_t count = 0;
    for (uint32_t i = first_item(m, dict); i; i = next_item(m, dict, i)) {
        if (++w->visited > MAX_VALUES) return too_much(m);
        count++;
    }
    uint32_t *items = malloc((2 * (size_t)count + 1) * sizeof *items);
    if (!items) return contents_no_memory(m->c);
    count = 0;
    for (uint32_t i = first_item(m, dict); i; i = next_item(m, dict, i)) {
        if (cell(m, i)[ITEM_VALUE] != make(T_SIMPLE, S_NOTHING)) items[count++] = i;
    }
    sort_items(m, items, items + count, count);
    for (uint32_t i = 1, first = 0; i < count; i++) {
        uint32_t *kept = cell(m, items[first]), *later = cell(m, items[i]);
        if (key_order(m, kept[ITEM_KEY], later[ITEM_KEY]) == 0) {
            kept[ITEM_VALUE] = later[ITEM_VALUE];
            later[ITEM_VALUE] = make(T_SIMPLE, S_NOTHING);
        } else {
            first = i;
        }
    }
    free(items);
    return true;
}

static void add_to_name(Walk *w, const void *text, size_t length)
{
    size_t room = sizeof w->name - w->name_length;
    if (length > room) length = room;
    memcpy(w->name + w->name_length, text, length);
    w->name_length += length;
}

static bool give_tensor(Walk *w, Value view)
{
    const Machine *m = w->m;
    if (++w->found > CONTENTS_MAX_TENSORS) return too_much(w->m);
    const uint32_t *v = cell(m, payload_of(view)), *storage = cell(m, v[0]);
    const uint32_t *shape = cell(m, v[4]), *stride = cell(m, v[5]);
    uint32_t key_length;
    const uint8_t *key = string_of(m, storage[1], &key_length);
    PickleTensor t = {
        .name = w->name,
        .name_length = w->name_length,
        .type = (WeightType)v[1],
        .key = (const char *)key,
        .key_length = key_length,
        .stored = two_cells(storage + 2),
        .untyped = storage[0] == UNTYPED,
        .offset = two_cells(v + 2),
        .rank = shape[0],
    };
    for (uint32_t i = 0; i < t.rank && i < WEIGHT_MAX_RANK; i++) {
        t.shape[i] = int_of(m, shape[1 + i]);
        t.stride[i] = int_of(m, stride[1 + i]);
    }
    return w->each(w->user, &t);
}

static bool walk_dict(Walk *w, uint32_t dict, int depth)
{
    Machine *m = w->m;
    if (depth >= MAX_DEPTH) return too_much(m);
    for (int i = 0; i < depth; i++) {
        if (w->path[i] == dict) return too_much(m);
    }
    w->path[depth] = dict;
    if (!settle_keys(w, dict)) return false;
    size_t before = w->name_length;
    for (uint32_t i = first_item(m, dict); i; i = next_item(m, dict, i)) {
        Value key = cell(m, i)[ITEM_KEY], value = cell(m, i)[ITEM_VALUE];
        if (tag_of(value) != T_VIEW && tag_of(value) != T_DICT) continue;
        if (is_int(key)) {
            char digits[24];
            int length = snprintf(digits, sizeof digits, "%" PRId64, int_of(m, key));
            add_to_name(w, digits, (size_t)length);
        } else {
            uint32_t length;
            const uint8_t *text = string_of(m, key, &length);
            add_to_name(w, text, length);
        }
        bool ok;
        if (tag_of(value) == T_VIEW) {
            ok = give_tensor(w, value);
        } else {
            add_to_name(w, ".", 1);
            ok = walk_dict(w, payload_of(value), depth + 1);
        }
        if (!ok) return false;
        w->name_length = before;
    }
    return true;
}

static Value dict_get(const Machine *m, uint32_t dict, const char *name)
{
    for (uint32_t i = first_item(m, dict); i; i = next_item(m, dict, i)) {
        const uint32_t *item = cell(m, i);
        uint32_t length = 0;
        const uint8_t *key = tag_of(item[ITEM_KEY]) == T_STRING ? string_of(m, item[ITEM_KEY], &length) : NULL;
        if (key && item[ITEM_VALUE] != make(T_SIMPLE, S_NOTHING) && length == strlen(name) &&
            memcmp(key, name, length) == 0) {
            return item[ITEM_VALUE];
        }
    }
    return make(T_SIMPLE, S_NOTHING);
}

/* A checkpoint often wraps its state dict: {"state_dict": {...}, "epoch": 3}. */
static bool unwrap(Walk *w, Value *value)
{
    static const char *const wrappers[] = {"state_dict", "model", "module",    "params_ema",
                                           "params",     "ema",   "generator", "net"};
    const Machine *m = w->m;
    for (int level = 0; level < 4 && tag_of(*value) == T_DICT; level++) {
        uint32_t dict = payload_of(*value);
        if (!settle_keys(w, dict)) return false;
        for (uint32_t i = first_item(m, dict); i; i = next_item(m, dict, i)) {
            if (tag_of(cell(m, i)[ITEM_VALUE]) == T_VIEW) return true;
        }
        Value inner = make(T_SIMPLE, S_NOTHING);
        for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers && tag_of(inner) != T_DICT; i++) {
            inner = dict_get(m, dict, wrappers[i]);
        }
        if (tag_of(inner) != T_DICT) return true;
        *value = inner;
    }
    return true;
}

bool pickle_read(Contents *c, const uint8_t *pickle, uint64_t size, bool (*each)(void *user, const PickleTensor *t),
                 void *user)
{
    Machine *m = calloc(1, sizeof *m);
    Walk *w = calloc(1, sizeof *w);
    bool ok = m && w ? true : contents_no_memory(c);
    if (ok) {
        Value value = make(T_SIMPLE, S_NOTHING);
        *m = (Machine){.c = c, .p = pickle, .size = size};
        *w = (Walk){.m = m, .each = each, .user = user};
        ok = run(m, &value);
        if (ok && tag_of(value) == T_VIEW) {
            add_to_name(w, "tensor", 6);
            ok = give_tensor(w, value);
        } else if (ok && tag_of(value) == T_DICT) {
            ok = unwrap(w, &value) && walk_dict(w, payload_of(value), 0);
        }
        if (ok && !w->found) ok = contents_fault(c, "PyTorch file holds no tensors");
    }
    for (size_t i = 0; m && i < PAGES; i++) free(m->cells[i]);
    for (size_t i = 0; m && i < MEMO_PAGES; i++) free(m->memo[i]);
    if (m) free(m->stack);
    free(m);
    free(w);
    return ok;
}
