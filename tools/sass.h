/*
 * Machine code of kernels as text: had by ptxas and nvdisasm, read, counted. For the build (tools/count_sass.c) and for tests.
 */
#ifndef UPRES_TOOLS_SASS_H
#define UPRES_TOOLS_SASS_H

#include "runtime/cuda/counts.h"

#include <stdbool.h>

/*
 * Those that UPRES_PTXAS and UPRES_NVDISASM name ("none": none), or on the PATH, or in the toolkits' usual folders, or those of
 * PyPI's nvidia-cuda-nvdisasm, nvidia-cuda-nvcc or triton.
 */
typedef struct SassTools {
    char ptxas[1024], nvdisasm[1024];
} SassTools;
/* NULL, or what is missing: "no ptxas here". */
const char *sass_tools(SassTools *tools);

/* The code of a file's kernels, architecture "120f"; log: what ptxas said of registers. Both to be freed. NULL: it could not be
 * had. */
char *sass_disassemble(const SassTools *tools, const char *ptx, const char *architecture, char **log);

/* A line of one kernel: an instruction's opcode and, of a branch, its label; or a label alone. */
typedef struct SassLine {
    char opcode[48], label[48];
} SassLine;

typedef struct SassKernel {
    char name[256];
    SassLine *line;
    int count, room;
} SassKernel;

/* Fills *k, all zero at first, with the kernel that begins at *text or behind, and moves *text past it. False: there is none. */
bool sass_next(const char **text, SassKernel *k);
void sass_free(SassKernel *k);

/* How many of the lines first .. last have an opcode that begins so; all but NOP with "". */
int sass_matching(const SassKernel *k, int first, int last, const char *opcode);
int sass_products(const SassKernel *k, int first, int last); /* multiply matrices */
/* The smallest loop with half of the matrix products that the one with most has. False: none has any. */
bool sass_main_loop(const SassKernel *k, int *first, int *last);
/* Lines first .. last by kinds. */
CountPart sass_count(const SassKernel *k, int first, int last);
/* All of a kernel but its target; log: as above. */
KernelCount sass_kernel(const SassKernel *k, const char *log);

#endif
