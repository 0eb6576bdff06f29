/*
 * Cases in processes of their own, as environment, driver and library are looked at once in a process.
 *
 * Systems that can copy a process do so. Windows cannot: there the program is started anew, runs its main as far as
 * child_begin and then the body alone. So what a body needs is in constants, in the environment, made before child_begin,
 * or told to child_keep.
 */
#ifndef UPRES_TESTS_CHILD_H
#define UPRES_TESTS_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A variable without pointers whose value children get. Before child_begin; at most 8, of 4 KB together. */
void child_keep(void *variable, size_t size);
/* Zeroed memory that children and this process all see. Before child_begin; once. NULL: there is none. */
void *child_shared(size_t size);
/* First in main but for what is said above. In a child on Windows it does not return. */
void child_begin(void);

enum { CHILD_CRASHED = -1 };
/* What a child does: it calls body and says how that went, from 0 to 255. */
typedef int ChildRun(void (*body)(void));
/* run(body) in a process of its own, ended after so many seconds: what it returned, or CHILD_CRASHED, which is told on
 * stdout. The buffers of stdio are written before and after. */
int child_run(unsigned seconds, ChildRun *run, void (*body)(void));
/* The same in two steps, for several at once. */
intptr_t child_start(unsigned seconds, ChildRun *run, void (*body)(void));
int child_wait(intptr_t child);

#endif
