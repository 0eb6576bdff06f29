/*
 * Run by the build, on the machine that builds: counts the instructions of the kernels, so that upres can predict their time
 * (runtime/cuda/counts.h).
 *
 *     count_sass tools                                  what is used, one line; "none" where something is missing
 *     count_sass file GENERATED.c OUT.c                 of what tools/embed_kernels.c made of one file
 *     count_sass table OUT.c NAME...                    the list of all of them
 *
 * Where there is no ptxas or no nvdisasm, nothing is counted; that is no failure.
 */
#include "tools/build_file.h"
#include "tools/sass.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char build_program[] = "count_sass";

/* ------------------------------------------------------------------------------------------------------------- reading */

/* The C string literals from `from` to the semicolon, as the text they stand for. */
static char *unquote(const char *from)
{
    char *text = malloc(strlen(from) + 1), *to = text;
    bool inside = false;
    if (text == NULL) build_fail("out of memory");
    for (const char *c = from; *c && (inside || *c != ';'); c++) {
        if (*c == '"') {
            inside = !inside;
        } else if (inside && *c == '\\') {
            c++;
            if (*c >= '0' && *c <= '7') {
                *to++ = (char)((c[0] - '0') * 64 + (c[1] - '0') * 8 + (c[2] - '0'));
                c += 2;
            } else {
                *to++ = *c == 'n' ? '\n' : *c;
            }
        } else if (inside) {
            *to++ = *c;
        }
    }
    *to = '\0';
    return text;
}

/* PTX for a target in the text of a generated file, to be freed; NULL: none. What was written as PTX is for all. */
static char *ptx_of(const char *generated, int target)
{
    char name[64];
    snprintf(name, sizeof name, "static const char ptx_%s[] =", build_targets[target]);
    const char *at = strstr(generated, name);
    const bool written = strstr(generated, ", text, true, {") != NULL;
    if (at == NULL && written) at = strstr(generated, "static const char text[] =");
    return at ? unquote(strchr(at, '=') + 1) : NULL;
}

/* ------------------------------------------------------------------------------------------------------------- output */

static const char head[] = "/* Made by the build. */\n#include \"runtime/cuda/counts.h\"\n\n";

static void write_part(FILE *f, const CountPart *p)
{
    fputs("{{", f);
    for (int i = 0; i < COUNT_KINDS; i++) fprintf(f, "%s%u", i ? "," : "", p->count[i]);
    fputs("}, {", f);
    for (int i = 0; i <= COUNT_GMMA; i++) fprintf(f, "%s%u", i ? "," : "", p->mma_flop[i]);
    fprintf(f, "}, %u, %u, %u, %u}", p->ffma, p->read_bytes, p->written_bytes, p->shared_bytes);
}

/* How many kernels there are. */
static int count_target(FILE *f, const SassTools *tools, const char *ptx, int target)
{
    int n = 0;
    char *log, *text = sass_disassemble(tools, ptx, build_targets[target], &log);
    SassKernel k = {.line = NULL};
    for (const char *at = text; at && sass_next(&at, &k); n++) {
        const KernelCount c = sass_kernel(&k, log);
        fprintf(f, "    {\"%s\", %d, %u, %u,\n     ", c.function, target, c.registers, c.shared);
        write_part(f, &c.loop);
        fputs(",\n     ", f);
        write_part(f, &c.body);
        fputs(",\n     ", f);
        write_part(f, &c.other);
        fputs("},\n", f);
    }
    sass_free(&k);
    free(text);
    free(log);
    return n;
}

static void write_file(const char *generated, const char *out)
{
    SassTools tools;
    char part[1100], *source = build_read(generated);
    const bool can = sass_tools(&tools) == NULL;
    int n = 0;
    FILE *f = build_begin(out, part, sizeof part);
    fputs(head, f);
    fputs("static const KernelCount kernels[] = {\n", f);
    for (int t = 1; t < BUILD_TARGETS && can; t++) { /* sm_80's code is nearly sm_89's, and costs as much time to make */
        char *ptx = ptx_of(source, t);
        if (ptx) n += count_target(f, &tools, ptx, t);
        free(ptx);
    }
    fprintf(f, "    {.function = 0}};\nextern const KernelCounts cuda_counts_%s;\n", build_stem(generated));
    fprintf(f, "const KernelCounts cuda_counts_%s = {\"%s\", kernels, %d};\n", build_stem(generated), build_stem(generated), n);
    build_end(f, part, out);
    free(source);
}

static void write_table(const char *out, char **names, int count)
{
    char part[1100];
    FILE *f = build_begin(out, part, sizeof part);
    fputs(head, f);
    for (int i = 0; i < count; i++) fprintf(f, "extern const KernelCounts cuda_counts_%s;\n", build_stem(names[i]));
    fputs("const KernelCounts *const cuda_built_in_counts[] = {", f);
    for (int i = 0; i < count; i++) fprintf(f, "&cuda_counts_%s, ", build_stem(names[i]));
    fputs("NULL};\n", f);
    build_end(f, part, out);
}

enum { MOST_SECONDS = 600 }; /* of one file: a tool that does not come to an end must not hold up the build */

int main(int count, char **arguments)
{
    SassTools tools;
    alarm(MOST_SECONDS);
    if (count == 2 && strcmp(arguments[1], "tools") == 0) {
        if (sass_tools(&tools)) printf("none\n");
        else printf("%s, %s\n", tools.ptxas, tools.nvdisasm);
    } else if (count == 4 && strcmp(arguments[1], "file") == 0) {
        write_file(arguments[2], arguments[3]);
    } else if (count >= 3 && strcmp(arguments[1], "table") == 0) {
        write_table(arguments[2], arguments + 3, count - 3);
    } else {
        build_fail("tools | file GENERATED.c OUT.c | table OUT.c NAME...");
    }
    return 0;
}
