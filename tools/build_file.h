/*
 * For programs that the build runs on the machine that builds (embed_kernels.c, count_sass.c): files read and made as a whole.
 * What goes wrong is told, and ends the program.
 */
#ifndef UPRES_TOOLS_BUILD_FILE_H
#define UPRES_TOOLS_BUILD_FILE_H

#include <stdio.h>

extern const char build_program[]; /* what the program calls itself: its own */

enum { BUILD_TARGETS = 4 };
extern const char *const build_targets[BUILD_TARGETS]; /* in the order of CudaTarget */

_Noreturn void build_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

char *build_read(const char *path); /* to be freed */
/* The part of a path between its last slash and its last dot, until the next call. */
const char *build_stem(const char *path);
/* Written beside (the name comes to be in `part`) and renamed, so that builds at the same time do not see halves. */
FILE *build_begin(const char *path, char *part, size_t size);
void build_end(FILE *f, const char *part, const char *path);

#endif
