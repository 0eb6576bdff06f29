/*
 * Shared libraries opened at run time: dlopen | LoadLibrary. Libraries stay open until the process ends.
 */
#ifndef UPRES_RUNTIME_CUDA_LIBRARY_H
#define UPRES_RUNTIME_CUDA_LIBRARY_H

#include <stddef.h>

/* By a path, or by a bare name in the system's search. NULL and the system's reason. */
void *library_open(const char *path, char *error, size_t error_size);

/* An environment variable's value, in UTF-8; NULL: it is not set. value: where it may be kept. */
enum { LIBRARY_VALUE = 4096 };
const char *library_environment(const char *name, char value[LIBRARY_VALUE]);

/* Copies the address of an exported function into *function, a function pointer. 0: there is none of that name. */
int library_function(void *library, const char *symbol, void *function);

/* The folder of the library or program that this code is in, without a closing slash; "" where it cannot be told. */
void library_own_folder(char *folder, size_t size);

/*
 * What exists under a path with '*' in one or more of its names, in the order of names; visit returns nonzero to end. On
 * Windows a '*' may stand in one name only.
 */
void library_matches(const char *pattern, int (*visit)(void *user, const char *path), void *user);

/* Runs `once` on the first call with this state (zero at first) in the process; others wait until it is done. `once` must not
 * call library_once. */
typedef struct LibraryOnce {
    void *lock; /* Windows: an INIT_ONCE, which is a pointer */
    int done;
} LibraryOnce;
void library_once(LibraryOnce *state, void (*once)(void));

#endif
