/*
 * The POSIX functions that tests and the emulator use, where Windows has none: included before each of their files when
 * they are built for Windows, and what the headers of this folder declare. Tests alone: upres itself needs none of it.
 */
#ifndef UPRES_TESTS_WINDOWS_POSIX_H
#define UPRES_TESTS_WINDOWS_POSIX_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#define O_CLOEXEC (_O_NOINHERIT | _O_BINARY)

int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
char *mkdtemp(char *pattern); /* X:\tmp of the current drive is made if it is missing, as patterns begin with /tmp */
ssize_t pwrite(int file, const void *data, size_t size, int64_t offset);
unsigned alarm(unsigned seconds); /* ends the process, with the status of one that crashed */

#endif
