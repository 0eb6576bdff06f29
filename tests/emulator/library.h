/* Where the emulated driver lies: for test programs, which are built beside it. */
#ifndef UPRES_TESTS_EMULATOR_LIBRARY_H
#define UPRES_TESTS_EMULATOR_LIBRARY_H

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#ifdef _WIN32
#define EMULATOR_FILE "nvcuda.dll"
#else
#define EMULATOR_FILE "libcuda.so.1"
#endif

/* The path of the emulator that lies in `folder` ("" or "emulator/") from the program started as `program`. */
static inline void emulator_path(const char *program, const char *folder, char *path, size_t size)
{
    const char *name = program;
    for (const char *c = program; *c != '\0'; c++)
        if (*c == '/' || *c == '\\') name = c + 1;
    if (name == program)
        snprintf(path, size, "./%s" EMULATOR_FILE, folder);
    else
        snprintf(path, size, "%.*s%s" EMULATOR_FILE, (int)(name - program), program, folder);
}

#endif
