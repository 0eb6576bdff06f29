/*
 * The POSIX functions that tests and the emulator use, where Windows has none: included before each of their files when
 * they are built for Windows, and what the headers of this folder declare. Tests alone: upres itself needs none of it.
 */
#ifndef UPRES_TESTS_WINDOWS_POSIX_H
#define UPRES_TESTS_WINDOWS_POSIX_H

#include <direct.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#define mkdir(path, mode) _mkdir(path)
#define O_CLOEXEC (_O_NOINHERIT | _O_BINARY)

enum { _SC_PAGESIZE };
long sysconf(int name);
int setenv(const char *name, const char *value, int overwrite);
int unsetenv(const char *name);
char *mkdtemp(char *pattern); /* X:\tmp of the current drive is made if it is missing, as patterns begin with /tmp */
#undef P_tmpdir
#define P_tmpdir "/tmp"
#define rename rename_over
int rename_over(const char *from, const char *to);
enum { AT_FDCWD };
int utimensat(int folder, const char *path, const struct timespec times[2], int flags); /* last use and change of a file */
ssize_t pwrite(int file, const void *data, size_t size, int64_t offset);
#define tmpfile temporary_file /* Windows' own is in the root of the drive, where few may write */
FILE *temporary_file(void);
unsigned alarm(unsigned seconds); /* ends the process, with the status of one that crashed */

#endif
