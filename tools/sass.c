#include "tools/sass.h"

#include "runtime/cuda/library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --------------------------------------------------------------------------------------------------------------- tools */

typedef struct Search {
    char *found;
    size_t size;
} Search;

static int try_tool(void *search, const char *path)
{
    const Search *s = search;
    char command[1200];
    snprintf(command, sizeof command, "'%s' --version >/dev/null 2>&1", path);
    if (system(command) != 0) return 0;
    snprintf(s->found, s->size, "%s", path);
    return 1;
}

static bool find_tool(const char *name, const char *variable, char *found, size_t size)
{
    static const char *const folders[] = {
        "/usr/local/cuda/bin",
        "/usr/local/cuda-*/bin",
        "/usr/local/lib/python3*/*-packages/nvidia/cu*/bin",
        "/usr/lib/python3*/*-packages/nvidia/cu*/bin",
        "/usr/local/lib/python3*/*-packages/nvidia/*/bin",
        "/usr/lib/python3*/*-packages/nvidia/*/bin",
        "/usr/local/lib/python3*/*-packages/triton/backends/nvidia/bin",
        "/usr/lib/python3*/*-packages/triton/backends/nvidia/bin",
    };
    static const char *const of_homes[][2] = {
        {"CUDA_PATH", "bin"},
        {"VIRTUAL_ENV", "lib/python3*/site-packages/nvidia/cu*/bin"},
        {"VIRTUAL_ENV", "lib/python3*/site-packages/triton/backends/nvidia/bin"},
        {"HOME", ".local/lib/python3*/site-packages/nvidia/cu*/bin"},
        {"HOME", ".local/lib/python3*/site-packages/triton/backends/nvidia/bin"},
    };
    const char *named = getenv(variable);
    Search s = {found, size};
    char pattern[1200];
    found[0] = '\0';
    if (named && strcmp(named, "none") == 0) return false;
    if (named) return try_tool(&s, named);
    if (try_tool(&s, name)) return true;
    for (size_t i = 0; i < sizeof of_homes / sizeof of_homes[0] && !found[0]; i++) {
        const char *home = getenv(of_homes[i][0]);
        snprintf(pattern, sizeof pattern, "%s/%s/%s", home ? home : "", of_homes[i][1], name);
        if (home) library_matches(pattern, try_tool, &s);
    }
    for (size_t i = 0; i < sizeof folders / sizeof folders[0] && !found[0]; i++) {
        snprintf(pattern, sizeof pattern, "%s/%s", folders[i], name);
        library_matches(pattern, try_tool, &s);
    }
    return found[0] != '\0';
}

const char *sass_tools(SassTools *t)
{
    if (!find_tool("ptxas", "UPRES_PTXAS", t->ptxas, sizeof t->ptxas)) return "no ptxas here";
    if (!find_tool("nvdisasm", "UPRES_NVDISASM", t->nvdisasm, sizeof t->nvdisasm)) return "no nvdisasm here";
    return NULL;
}

/* All of a stream, to be freed; NULL: nothing came. */
static char *read_all(FILE *f)
{
    char *text = NULL;
    size_t used = 0, room = 0;
    for (;;) {
        if (used + 1 >= room) {
            char *more = realloc(text, room = 2 * room + (1 << 20));
            if (more == NULL) break;
            text = more;
        }
        const size_t n = fread(text + used, 1, room - 1 - used, f);
        if (n == 0) break;
        used += n;
    }
    if (text != NULL) text[used] = '\0';
    if (used > 0) return text;
    free(text);
    return NULL;
}

static char *output_of(const char *command)
{
    FILE *f = popen(command, "r");
    char *text = f ? read_all(f) : NULL;
    if (f && pclose(f) == 0) return text;
    free(text);
    return NULL;
}

char *sass_disassemble(const SassTools *t, const char *ptx, const char *architecture, char **log)
{
    char folder[] = "/tmp/upres-sass-XXXXXX", command[4096], path[64];
    *log = NULL;
    if (mkdtemp(folder) == NULL) return NULL;
    snprintf(path, sizeof path, "%s/ptx", folder);
    FILE *f = fopen(path, "w");
    const bool wrote = f != NULL && fputs(ptx, f) != EOF;
    char *text = NULL;
    if (f != NULL && fclose(f) == 0 && wrote) {
        snprintf(command, sizeof command, "'%s' -v -arch=sm_%s -o %s/cubin %s 2>&1", t->ptxas, architecture, folder, path);
        *log = output_of(command);
        snprintf(command, sizeof command, "'%s' %s/cubin", t->nvdisasm, folder);
        if (*log != NULL) text = output_of(command);
    }
    snprintf(path, sizeof path, "%s/ptx", folder);
    remove(path);
    snprintf(path, sizeof path, "%s/cubin", folder);
    remove(path);
    rmdir(folder);
    return text;
}

/* ------------------------------------------------------------------------------------------------------------- reading */

/* The label that begins in text, without what follows it. */
static void copy_label(const char *text, char *label, size_t size)
{
    const size_t length = strspn(text, "._$ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
    snprintf(label, size, "%.*s", (int)length, text);
}

static bool read_line(const char *text, SassLine *l)
{
    *l = (SassLine){"", ""};
    text += strspn(text, " \t");
    if (strncmp(text, ".L_", 3) == 0) {
        copy_label(text, l->label, sizeof l->label);
        return true;
    }
    if (text[0] != '/' || text[1] != '*') return false;
    const char *close = strstr(text, "*/"), *end = strchr(text, '\n');
    if (close == NULL || (end && close > end)) return false;
    text = close + 2;
    text += strspn(text, " \t{");
    if (*text == '@') text += strcspn(text, " "), text += strspn(text, " ");
    const size_t length = strcspn(text, " ;\n");
    if (length == 0 || *text < 'A' || *text > 'Z') return false;
    snprintf(l->opcode, sizeof l->opcode, "%.*s", (int)length, text);
    const char *target = strstr(text, ".L_");
    if (target && (end == NULL || target < end)) copy_label(target, l->label, sizeof l->label);
    return true;
}

static void add_line(SassKernel *k, const SassLine *l)
{
    if (k->count == k->room) {
        const int room = 2 * k->room + 4096;
        SassLine *more = realloc(k->line, (size_t)room * sizeof *more);
        if (more == NULL) return;
        k->line = more;
        k->room = room;
    }
    k->line[k->count++] = *l;
}

bool sass_next(const char **text, SassKernel *k)
{
    const char *at = strstr(*text, "\n.text.");
    if (at == NULL) return false;
    at += strlen("\n.text.");
    snprintf(k->name, sizeof k->name, "%.*s", (int)strcspn(at, ":"), at);
    const char *end = strstr(at, "\n.text.");
    k->count = 0;
    for (; at && (end == NULL || at < end); at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
        SassLine l;
        if (read_line(at, &l)) add_line(k, &l);
    }
    *text = end ? end : *text + strlen(*text);
    return true;
}

void sass_free(SassKernel *k)
{
    free(k->line);
    *k = (SassKernel){.line = NULL};
}

/* ------------------------------------------------------------------------------------------------------------ counting */

static bool begins(const char *text, const char *start) { return strncmp(text, start, strlen(start)) == 0; }
static bool multiplies(const SassLine *l) { return strstr(l->opcode, "MMA") != NULL && !begins(l->opcode, "HFMA2"); }

int sass_matching(const SassKernel *k, int first, int last, const char *opcode)
{
    int n = 0;
    for (int i = first; i <= last; i++) {
        const char *found = k->line[i].opcode;
        n += opcode[0] ? begins(found, opcode) : found[0] != '\0' && !begins(found, "NOP");
    }
    return n;
}

int sass_products(const SassKernel *k, int first, int last)
{
    int n = 0;
    for (int i = first; i <= last; i++) n += multiplies(&k->line[i]);
    return n;
}

static const struct {
    const char *start;
    CountKind kind;
} kinds[] = { /* the first that fits */
    {"NOP", COUNT_NOP},
    {"HFMA2", COUNT_HALF}, {"HADD2", COUNT_HALF}, {"HMUL2", COUNT_HALF}, {"HMNMX2", COUNT_HALF}, {"F2FP", COUNT_HALF},
    {"HGMMA", COUNT_GMMA}, {"IGMMA", COUNT_GMMA}, {"QGMMA", COUNT_GMMA}, {"HMMA", COUNT_HMMA}, {"IMMA", COUNT_IMMA},
    {"QMMA.SF", COUNT_QMMA_SCALED}, {"OMMA.SF", COUNT_QMMA_SCALED}, {"QMMA", COUNT_QMMA},
    {"FADD", COUNT_FLOAT}, {"FMUL", COUNT_FLOAT}, {"FFMA", COUNT_FLOAT}, {"FSWZADD", COUNT_FLOAT},
    {"MUFU.RCP64H", COUNT_DOUBLE}, {"MUFU.RSQ64H", COUNT_DOUBLE}, {"MUFU", COUNT_MUFU},
    {"DADD", COUNT_DOUBLE}, {"DMUL", COUNT_DOUBLE}, {"DFMA", COUNT_DOUBLE}, {"DSETP", COUNT_DOUBLE}, {"DMNMX", COUNT_DOUBLE},
    {"F2F.F64", COUNT_DOUBLE}, {"F2F.F32.F64", COUNT_DOUBLE}, {"I2F.F64", COUNT_DOUBLE},
    {"I2FP", COUNT_FLOAT}, {"I2F", COUNT_CONVERT}, {"F2I", COUNT_CONVERT}, {"F2F", COUNT_CONVERT}, {"FRND", COUNT_CONVERT},
    {"FLO", COUNT_CONVERT}, {"POPC", COUNT_CONVERT}, {"BREV", COUNT_CONVERT},
    {"LDSM", COUNT_LDSM}, {"LDS", COUNT_LDS}, {"STSM", COUNT_STS}, {"STS", COUNT_STS}, {"SHFL", COUNT_SHFL},
    {"LDGSTS", COUNT_LDGSTS}, {"LDGDEPBAR", COUNT_OTHER}, {"LDG", COUNT_LDG}, {"LD.E", COUNT_LDG}, {"STG", COUNT_STG},
    {"ST.E", COUNT_STG}, {"LDL", COUNT_LOCAL}, {"STL", COUNT_LOCAL},
    {"UTMA", COUNT_BULK}, {"UBLKCP", COUNT_BULK}, {"BAR.", COUNT_BAR}, {"SYNCS", COUNT_SYNCS}, {"CALL", COUNT_CALL},
    {"BRA", COUNT_BRANCH}, {"BRX", COUNT_BRANCH}, {"EXIT", COUNT_BRANCH}, {"RET", COUNT_BRANCH}, {"BSSY", COUNT_BRANCH},
    {"BSYNC", COUNT_BRANCH}, {"WARPSYNC", COUNT_BRANCH}, {"BREAK", COUNT_BRANCH},
    {"IADD", COUNT_INT}, {"VIADD", COUNT_INT}, {"IMAD", COUNT_INT}, {"LOP3", COUNT_INT}, {"PLOP3", COUNT_INT},
    {"MOV", COUNT_INT},
    {"SEL", COUNT_INT}, {"FSEL", COUNT_INT}, {"ISETP", COUNT_INT}, {"FSETP", COUNT_INT}, {"LEA", COUNT_INT}, {"SHF", COUNT_INT},
    {"PRMT", COUNT_INT}, {"FMNMX", COUNT_INT}, {"IMNMX", COUNT_INT}, {"VIMNMX", COUNT_INT}, {"IABS", COUNT_INT},
    {"CS2R", COUNT_INT}, {"P2R", COUNT_INT}, {"R2P", COUNT_INT}, {"IDP", COUNT_INT}, {"SGXT", COUNT_INT}, {"BMSK", COUNT_INT},
    {"U", COUNT_UNIFORM}, {"R2UR", COUNT_UNIFORM}, {"LDCU", COUNT_UNIFORM}, {"VOTEU", COUNT_UNIFORM},
};

static CountKind kind_of(const char *opcode)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (begins(opcode, kinds[i].start)) return kinds[i].kind;
    }
    return COUNT_OTHER;
}

/* Bytes that a thread moves: "LDG.E.128", "LDG.E.ENL2.256", "STS.U16"; 4 where nothing is said. */
static unsigned bytes_of(const char *opcode)
{
    static const struct {
        const char *part;
        unsigned bytes;
    } widths[] = {{".256", 32}, {".128", 16}, {".64", 8}, {".U16", 2}, {".S16", 2}, {".U8", 1}, {".S8", 1}};
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        const char *at = strstr(opcode, widths[i].part);
        if (at && (at[strlen(widths[i].part)] == '.' || at[strlen(widths[i].part)] == '\0')) return widths[i].bytes;
    }
    return 4;
}

/* Matrices of 8 rows of 16 bytes that "LDSM.16.M88.4" moves. */
static unsigned matrices_of(const char *opcode)
{
    const size_t length = strlen(opcode);
    const char *end = length > 2 ? opcode + length - 2 : "";
    return strcmp(end, ".4") == 0 ? 4 : strcmp(end, ".2") == 0 ? 2 : 1;
}

/* 2 m n k of "HMMA.16816.F32.BF16", "QMMA.SF.16832...", "HGMMA.64x128x16..."; of a warp group a quarter. 0: not known. */
static unsigned flop_of(const char *opcode)
{
    static const struct {
        const char *shape;
        unsigned flop;
    } shapes[] = {{".16816.", 4096}, {".16832.", 8192}, {".16864.", 16384}, {".1688.", 2048}, {".1684.", 1024}};
    unsigned m, n, k;
    const char *wide = strstr(opcode, "GMMA.");
    if (wide && sscanf(wide, "GMMA.%ux%ux%u", &m, &n, &k) == 3) return m * n * k / 2;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strstr(opcode, shapes[i].shape)) return shapes[i].flop;
    }
    return 0;
}

CountPart sass_count(const SassKernel *k, int first, int last)
{
    enum { WARP = 32 };
    CountPart p = {.ffma = 0};
    for (int i = first; i <= last; i++) {
        const char *opcode = k->line[i].opcode;
        if (!opcode[0]) continue;
        const CountKind kind = kind_of(opcode);
        p.count[kind]++;
        if (kind <= COUNT_GMMA) p.mma_flop[kind] += flop_of(opcode);
        if (begins(opcode, "FFMA")) p.ffma++;
        if (kind == COUNT_LDG || kind == COUNT_LDGSTS) p.read_bytes += WARP * bytes_of(opcode);
        if (kind == COUNT_STG) p.written_bytes += WARP * bytes_of(opcode);
        if (kind == COUNT_LDS || (kind == COUNT_STS && !begins(opcode, "STSM"))) p.shared_bytes += WARP * bytes_of(opcode);
        if (kind == COUNT_LDSM || begins(opcode, "STSM")) p.shared_bytes += 128 * matrices_of(opcode);
    }
    return p;
}

/* --------------------------------------------------------------------------------------------------------------- loops */

typedef int64_t Worth(const SassKernel *k, int first, int last);

/* The smallest of the loops that are worth `least` or, with 0, most. Returns its worth. */
static int64_t find_loop(const SassKernel *k, Worth *worth, int64_t least, int *first, int *last)
{
    int64_t most = 0;
    for (int i = 0; i < k->count; i++) {
        if (!begins(k->line[i].opcode, "BRA") || !k->line[i].label[0]) continue;
        for (int j = 0; j < i; j++) {
            if (k->line[j].opcode[0] || strcmp(k->line[j].label, k->line[i].label) != 0) continue;
            const int64_t n = worth(k, j, i);
            if (n < least || (least == 0 && n < most) || n == 0) continue;
            if ((least > 0 || n == most) && most > 0 && i - j >= *last - *first) continue;
            most = n;
            *first = j;
            *last = i;
        }
    }
    return most;
}

static bool best_loop(const SassKernel *k, Worth *worth, int *first, int *last)
{
    return find_loop(k, worth, 0, first, last) > 0;
}

static int64_t worth_products(const SassKernel *k, int first, int last) { return sass_products(k, first, last); }

/* float32 products as tiles of them have it: many multiply-adds. */
static int64_t worth_floats(const SassKernel *k, int first, int last)
{
    const int n = sass_matching(k, first, last, "FFMA");
    return n >= 64 && sass_matching(k, first, last, "LDS") > 0 ? n : 0;
}

static int64_t worth_bytes(const SassKernel *k, int first, int last)
{
    const CountPart p = sass_count(k, first, last);
    return (int64_t)p.read_bytes + p.written_bytes;
}

/* Of a loop without others in it. */
static int64_t worth_shared(const SassKernel *k, int first, int last)
{
    return sass_matching(k, first, last, "BRA") == 1 ? sass_count(k, first, last).shared_bytes : 0;
}

/* Half is enough: what seldom happens, waiting a second time for one, is put behind all else, and the way back from there makes
 * a loop of everything between, a second one like the main loop included. */
bool sass_main_loop(const SassKernel *k, int *first, int *last)
{
    const int64_t most = find_loop(k, worth_products, 0, first, last);
    return most > 0 && find_loop(k, worth_products, (most + 1) / 2, first, last) > 0;
}

/* What ptxas says of a kernel: "Compiling entry function 'NAME' ... Used 168 registers, ..., 40 bytes smem". */
static void read_log(const char *log, KernelCount *c)
{
    char entry[300];
    snprintf(entry, sizeof entry, "entry function '%s'", c->function);
    const char *at = log ? strstr(log, entry) : NULL, *used = at ? strstr(at, "Used ") : NULL;
    unsigned registers = 0;
    if (used == NULL || sscanf(used, "Used %u registers", &registers) != 1) return;
    c->registers = (uint16_t)registers;
    const char *end = strchr(used, '\n'), *smem = strstr(used, " bytes smem");
    if (smem == NULL || (end && smem > end)) return;
    while (smem > used && smem[-1] >= '0' && smem[-1] <= '9') smem--;
    c->shared = (uint32_t)strtoul(smem, NULL, 10);
}

KernelCount sass_kernel(const SassKernel *k, const char *log)
{
    KernelCount c = {.function = k->name};
    int first = 0, last = k->count;
    read_log(log, &c);
    c.body = sass_count(k, 0, k->count - 1);
    if (sass_main_loop(k, &first, &last) || best_loop(k, worth_floats, &first, &last) ||
        best_loop(k, worth_bytes, &first, &last)) {
        c.loop = sass_count(k, first, last);
    }
    int begin = 0, end = k->count;
    if (best_loop(k, worth_shared, &begin, &end) && (end < first || begin > last)) c.other = sass_count(k, begin, end);
    return c;
}
