#ifdef _WIN32
#include "tests/windows/posix.h"
#include "tests/windows/dlfcn.h"
#include "tests/windows/fnmatch.h"
#include "tests/windows/sys/file.h"
#include "tests/windows/sys/mman.h"

#include <direct.h>
#include <io.h>
#include <stdio.h>
#include <string.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

int setenv(const char *name, const char *value, int overwrite)
{
    if (!overwrite && getenv(name) != NULL) return 0;
    int status = _putenv_s(name, value); /* "" takes it away, the system keeps it */
    return SetEnvironmentVariableA(name, value) ? status : -1;
}

int unsetenv(const char *name)
{
    return _putenv_s(name, "");
}

long sysconf(int name)
{
    (void)name;
    return 4096;
}

FILE *temporary_file(void)
{
    char *path = _tempnam(NULL, "upres");
    FILE *f = path != NULL ? fopen(path, "w+bTD") : NULL; /* gone when closed */
    free(path);
    return f;
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

static FILETIME file_time(struct timespec t)
{
    const uint64_t n = 116444736000000000u + (uint64_t)t.tv_sec * 10000000 + (uint64_t)t.tv_nsec / 100; /* from 1601 on */
    return (FILETIME){(DWORD)n, (DWORD)(n >> 32)};
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags)
{
    (void)folder;
    (void)flags;
    HANDLE h = CreateFileA(path, FILE_WRITE_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                           OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE) return -1;
    FILETIME used = file_time(times[0]), changed = file_time(times[1]);
    BOOL set = SetFileTime(h, NULL, &used, &changed);
    CloseHandle(h);
    return set ? 0 : -1;
}

int rename_over(const char *from, const char *to)
{
    return MoveFileExA(from, to, MOVEFILE_REPLACE_EXISTING) ? 0 : -1;
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

void *mmap(void *address, size_t size, int access, int flags, int file, int64_t offset)
{
    (void)address, (void)access, (void)flags, (void)file, (void)offset;
    void *memory = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    return memory != NULL ? memory : MAP_FAILED;
}

int mprotect(void *address, size_t size, int access)
{
    DWORD before;
    (void)access;
    return VirtualProtect(address, size, PAGE_NOACCESS, &before) ? 0 : -1;
}

int munmap(void *address, size_t size)
{
    (void)size;
    return VirtualFree(address, 0, MEM_RELEASE) ? 0 : -1;
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
