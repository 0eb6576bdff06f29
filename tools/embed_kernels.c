/*
 * Run by the build, on the machine that builds: turns the files of kernels/cuda and kernels/ptx into C, so that the library
 * carries them, and compiles the .cu files to PTX for machines without NVRTC.
 *
 *     embed_kernels compiler                             what PTX is made with, one line
 *     embed_kernels file NAME.cu|NAME.ptx OUT.c HEADER.. one source, a CudaSource
 *     embed_kernels table OUT.c FILE...                  the list of all sources and headers (.h, .cuh)
 *
 * PTX is made by NVRTC, found as at run time, else by nvcc (UPRES_NVCC, the PATH, CUDA_PATH; UPRES_NVCC=none: without). A
 * file that does not compile is named, and the library does without its PTX.
 */
#include "runtime/cuda/nvrtc.h"
#include "tools/build_file.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

const char build_program[] = "embed_kernels";

enum { MOST_HEADERS = 16 };

static bool ends_in(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/* text as a C string literal, a line each. */
static void write_literal(FILE *f, const char *text)
{
    fputs("\n    \"", f);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\n')
            fputs(text[1] ? "\\n\"\n    \"" : "\\n", f);
        else if (c == '"' || c == '\\' || c == '?') /* ?: no trigraphs */
            fprintf(f, "\\%c", c);
        else if (c < ' ' || c > '~')
            fprintf(f, "\\%03o", c);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

/* ---------------------------------------------------------------------------------------------------------- compilers */

/* Path of nvcc and its version times ten hundred as NVRTC's; 0: there is none. */
static int find_nvcc(char *path, size_t size)
{
    const char *own = getenv("UPRES_NVCC"), *home = getenv("CUDA_PATH");
    char of_home[512];
    snprintf(of_home, sizeof of_home, "%s/bin/nvcc", home ? home : "/usr/local/cuda");
    const char *const places[] = {own ? own : "nvcc", own ? NULL : of_home, NULL};
    for (const char *const *p = places; *p; p++) {
        char command[700], line[256];
        int major, minor, version = 0;
        snprintf(command, sizeof command, "'%s' --version 2>/dev/null", *p);
        FILE *f = strcmp(*p, "none") == 0 ? NULL : popen(command, "r");
        while (f && fgets(line, sizeof line, f)) {
            const char *release = strstr(line, "release ");
            if (release && sscanf(release, "release %d.%d", &major, &minor) == 2) version = major * 1000 + minor * 10;
        }
        if (f) pclose(f);
        if (version < 12000) continue;
        snprintf(path, size, "%s", *p);
        return version;
    }
    return 0;
}

static char *compile_by_nvcc(const char *nvcc, const char *file, const char *out, const char *target, char *error,
                             size_t error_size)
{
    char ptx[1100], log[1100], command[4096];
    snprintf(ptx, sizeof ptx, "%s.%ld.ptx", out, (long)getpid());
    snprintf(log, sizeof log, "%s.%ld.log", out, (long)getpid());
    snprintf(command, sizeof command,
             "'%s' -ptx -std=c++17 -arch=compute_%s -Werror all-warnings -o '%s' '%s' >'%s' 2>&1", nvcc, target, ptx, file,
             log);
    char *text = system(command) == 0 ? build_read(ptx) : NULL;
    if (text) {
        nvrtc_lower_version(text);
    } else {
        char *said = build_read(log);
        snprintf(error, error_size, "%s", said);
        free(said);
    }
    remove(ptx);
    remove(log);
    return text;
}

/* PTX of a .cu file for one target; NULL: there is no compiler that knows it, or it does not compile, which is told. */
static char *compile(const char *file, const char *text, const NvrtcHeader *headers, int header_count, const char *out,
                     const char *target)
{
    char error[8192] = "", architecture[32], nvcc[512];
    size_t bytes;
    int version = nvrtc_version(error, sizeof error), nvcc_version = version ? 0 : find_nvcc(nvcc, sizeof nvcc);
    int least = strcmp(target, "120f") == 0 ? 12090 : 12000;
    char *ptx = NULL;
    if (version < least && nvcc_version < least) return NULL;
    error[0] = '\0';
    snprintf(architecture, sizeof architecture, "compute_%s", target);
    if (version >= least)
        ptx = nvrtc_compile(file, text, headers, header_count, architecture, NULL, &bytes, error, sizeof error);
    else
        ptx = compile_by_nvcc(nvcc, file, out, target, error, sizeof error);
    if (ptx == NULL) fprintf(stderr, "compute_%s: %s\n", target, error);
    return ptx;
}

static void print_compiler(void)
{
    char error[1024], nvcc[512];
    int version = nvrtc_version(error, sizeof error);
    if (version) {
        printf("%d.%d, %s\n", version / 1000, version % 1000 / 10, nvrtc_path());
        return;
    }
    version = find_nvcc(nvcc, sizeof nvcc);
    if (version)
        printf("not found; PTX is made by nvcc %d.%d, %s\n", version / 1000, version % 1000 / 10, nvcc);
    else
        printf("not found; GPUs need it later: pip install nvidia-cuda-nvrtc, or NVIDIA's CUDA toolkit\n");
}

/* ------------------------------------------------------------------------------------------------------------- output */

static void write_file(const char *file, const char *out, char **header_paths, int header_count)
{
    NvrtcHeader headers[MOST_HEADERS];
    bool is_ptx = ends_in(file, ".ptx"), built[BUILD_TARGETS] = {false};
    char part[1100], *text = build_read(file);
    if (header_count > MOST_HEADERS) build_fail("more than %d headers", MOST_HEADERS);
    for (int i = 0; i < header_count; i++) {
        const char *slash = strrchr(header_paths[i], '/');
        headers[i] = (NvrtcHeader){slash ? slash + 1 : header_paths[i], build_read(header_paths[i])};
    }
    FILE *f = build_begin(out, part, sizeof part);
    fprintf(f, "/* Made from %s by the build. */\n#include \"runtime/cuda/kernels.h\"\n", file);
    for (int t = 0; t < BUILD_TARGETS && !is_ptx; t++) {
        char *ptx = compile(file, text, headers, header_count, out, build_targets[t]);
        if (ptx == NULL) break; /* the later targets need no older compiler */
        fprintf(f, "\nstatic const char ptx_%s[] =", build_targets[t]);
        write_literal(f, ptx);
        fputs(";\n", f);
        free(ptx);
        built[t] = true;
    }
    fputs("\nstatic const char text[] =", f);
    write_literal(f, text);
    fprintf(f, ";\n\nextern const CudaSource cuda_source_%s;\n", build_stem(file));
    fprintf(f, "const CudaSource cuda_source_%s = {\"%s\", text, %s, {", build_stem(file), build_stem(file),
            is_ptx ? "true" : "false");
    for (int t = 0; t < BUILD_TARGETS; t++)
        fprintf(f, "%s%s%s", t ? ", " : "", built[t] ? "ptx_" : "NULL", built[t] ? build_targets[t] : "");
    fputs("}};\n", f);
    build_end(f, part, out);
    for (int i = 0; i < header_count; i++) free((void *)headers[i].text);
    free(text);
}

static bool is_header(const char *file)
{
    return ends_in(file, ".h") || ends_in(file, ".cuh");
}

static void write_table(const char *out, char **files, int count)
{
    char part[1100];
    FILE *f = build_begin(out, part, sizeof part);
    fputs("/* Made by the build. */\n#include \"runtime/cuda/kernels.h\"\n\n", f);
    for (int i = 0; i < count; i++)
        if (!is_header(files[i])) fprintf(f, "extern const CudaSource cuda_source_%s;\n", build_stem(files[i]));
    fputs("const CudaSource *const cuda_built_in_sources[] = {", f);
    for (int i = 0; i < count; i++)
        if (!is_header(files[i])) fprintf(f, "&cuda_source_%s, ", build_stem(files[i]));
    fputs("NULL};\n\nconst NvrtcHeader cuda_built_in_headers[] = {\n", f);
    for (int i = 0; i < count; i++) {
        if (!is_header(files[i])) continue;
        const char *slash = strrchr(files[i], '/');
        char *text = build_read(files[i]);
        fprintf(f, "{\"%s\",", slash ? slash + 1 : files[i]);
        write_literal(f, text);
        fputs("},\n", f);
        free(text);
    }
    fputs("{NULL, NULL}};\n", f);
    build_end(f, part, out);
}

/* Of the processor, for one file: a compiler that does not come to an end must not hold up the build, and on a busy machine a
 * clock would stop one that does. */
enum { MOST_SECONDS = 180 };

int main(int count, char **arguments)
{
    setrlimit(RLIMIT_CPU, &(struct rlimit){MOST_SECONDS, MOST_SECONDS + 5});
    if (count == 2 && strcmp(arguments[1], "compiler") == 0)
        print_compiler();
    else if (count >= 4 && strcmp(arguments[1], "file") == 0)
        write_file(arguments[2], arguments[3], arguments + 4, count - 4);
    else if (count >= 3 && strcmp(arguments[1], "table") == 0)
        write_table(arguments[2], arguments + 3, count - 3);
    else
        build_fail("compiler | file NAME.cu|NAME.ptx OUT.c HEADER... | table OUT.c FILE...");
    return 0;
}
