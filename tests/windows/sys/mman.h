#ifndef UPRES_TESTS_WINDOWS_SYS_MMAN_H
#define UPRES_TESTS_WINDOWS_SYS_MMAN_H

#include <stddef.h>
#include <stdint.h>

enum { PROT_NONE, PROT_READ, PROT_WRITE, MAP_PRIVATE = 0, MAP_ANONYMOUS = 0 };
#define MAP_FAILED ((void *)-1)
void *mmap(void *address, size_t size, int access, int flags, int file, int64_t offset); /* anonymous memory to read and write */
int mprotect(void *address, size_t size, int access);                                    /* PROT_NONE */
int munmap(void *address, size_t size);                                                  /* all of a mapping */

#endif
