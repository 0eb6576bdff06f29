#ifdef _WIN32
#include "tests/windows/posix.h"
#include "tests/windows/dlfcn.h"
#include "tests/windows/fnmatch.h"
#include "tests/windows/sys/file.h"

#include <direct.h>
#include <io.h>
#include <stdio.h>
#include <string.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

int setenv(const char *name, const char *value, int overwrite)
{
    if (!overwrite && getenv(name) != NULL) return 0;
    /* An empty value would unset it: Windows has it for the programs started from here, this program's library does not. */
    return _putenv_s(name, value);
}

int unsetenv(const char *name)
{
    return _putenv_s(name, "");
}

char *mkdtemp(char *pattern)
{
    static unsigned turn;
    char *digits = pattern + strlen(pattern) - 6;
    if (strncmp(pattern, "/tmp/", 5) == 0) _mkdir("/tmp");
    for (int i = 0; i < 100; i++) {
        snprintf(digits, 7, "%06x", (GetCurrentProcessId() * 31u + GetTickCount() * 7u + turn++) & 0xffffff);
        if (_mkdir(pattern) == 0) return pattern;
    }
    return NULL;
}

ssize_t pwrite(int file, const void *data, size_t size, int64_t offset)
{
    if (_lseeki64(file, offset, SEEK_SET) != offset) return -1;
    return _write(file, data, (unsigned)size);
}

static DWORD WINAPI end_later(void *milliseconds)
{
    Sleep((DWORD)(uintptr_t)milliseconds);
    fprintf(stderr, "this process has taken too long\n");
    TerminateProcess(GetCurrentProcess(), 0xc0000001);
    return 0;
}

unsigned alarm(unsigned seconds)
{
    HANDLE thread = CreateThread(NULL, 0, end_later, (void *)(uintptr_t)(seconds * 1000), 0, NULL);
    if (thread != NULL) CloseHandle(thread);
    return 0;
}

int flock(int file, int operation)
{
    OVERLAPPED at = {0};
    (void)operation;
    return LockFileEx((HANDLE)_get_osfhandle(file), LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 1, &at) ? 0 : -1;
}

static char open_error[1100];

void *dlopen(const char *path, int flags)
{
    (void)flags;
    HMODULE library = LoadLibraryA(path);
    if (library == NULL) snprintf(open_error, sizeof open_error, "%s: Windows error %lu", path, GetLastError());
    return (void *)library;
}

void *dlsym(void *library, const char *symbol)
{
    FARPROC found = GetProcAddress((HMODULE)library, symbol);
    void *address;
    memcpy(&address, &found, sizeof address);
    return address;
}

const char *dlerror(void)
{
    return open_error;
}

int fnmatch(const char *pattern, const char *text, int flags)
{
    (void)flags;
    for (; *pattern != '\0'; pattern++, text++) {
        if (*pattern == '*') {
            for (pattern++;; text++) {
                if (fnmatch(pattern, text, 0) == 0) return 0;
                if (*text == '\0') return FNM_NOMATCH;
            }
        }
        if (*text == '\0' || (*pattern != '?' && *pattern != *text)) return FNM_NOMATCH;
    }
    return *text == '\0' ? 0 : FNM_NOMATCH;
}
#endif
