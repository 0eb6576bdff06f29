#include "tests/child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>

enum { KEPT_MOST = 8, BYTES_MOST = 4096 };
#define VARIABLE "UPRES_TEST_CHILD" /* seconds, run, body, handle of the shared memory, bytes kept */

static struct {
    void *variable;
    size_t size;
} kept[KEPT_MOST];
static int kept_count;
static HANDLE shared;

void child_keep(void *variable, size_t size)
{
    kept[kept_count].variable = variable;
    kept[kept_count++].size = size;
}

void *child_shared(size_t size)
{
    const char *settings = getenv(VARIABLE);
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    if (settings != NULL) {
        unsigned long long handle = 0;
        sscanf(settings, "%*u %*d %*d %llu", &handle);
        shared = (HANDLE)(uintptr_t)handle;
    } else {
        shared = CreateFileMappingW(INVALID_HANDLE_VALUE, &inherited, PAGE_READWRITE, 0, (DWORD)size, NULL);
    }
    return shared == NULL ? NULL : MapViewOfFile(shared, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, size);
}

/* Where a program's functions lie may change from start to start, how far they lie from one another does not. */
static long long distance(intptr_t function)
{
    return (long long)(function - (intptr_t)child_run);
}

static DWORD WINAPI end_later(void *milliseconds)
{
    Sleep((DWORD)(uintptr_t)milliseconds);
    TerminateProcess(GetCurrentProcess(), 0xc0000102); /* as a timeout of the system itself */
    return 0;
}

void child_begin(void)
{
    const char *settings = getenv(VARIABLE);
    unsigned seconds;
    long long run, body;
    int at = 0;
    if (settings == NULL || sscanf(settings, "%u %lld %lld %*u %n", &seconds, &run, &body, &at) < 3) return;
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX); /* a crash ends it and asks nobody */
    for (int i = 0; i < kept_count; i++) {
        for (size_t k = 0; k < kept[i].size; k++, at += 2) {
            unsigned byte = 0;
            sscanf(settings + at, "%2x", &byte);
            ((uint8_t *)kept[i].variable)[k] = (uint8_t)byte;
        }
    }
    _putenv_s(VARIABLE, "");
    CloseHandle(CreateThread(NULL, 0, end_later, (void *)(uintptr_t)(seconds * 1000), 0, NULL));
    int status = ((ChildRun *)((intptr_t)child_run + run))((void (*)(void))((intptr_t)child_run + body));
    fflush(stdout);
    exit(status);
}

intptr_t child_start(unsigned seconds, ChildRun *run, void (*body)(void))
{
    static char settings[2 * BYTES_MOST + 128];
    wchar_t program[2048];
    STARTUPINFOW start = {.cb = sizeof start};
    PROCESS_INFORMATION process;
    int at = snprintf(settings, sizeof settings, "%u %lld %lld %llu ", seconds, distance((intptr_t)run),
                      distance((intptr_t)body), (unsigned long long)(uintptr_t)shared);
    for (int i = 0; i < kept_count; i++)
        for (size_t k = 0; k < kept[i].size; k++)
            at += snprintf(settings + at, sizeof settings - (size_t)at, "%02x", ((uint8_t *)kept[i].variable)[k]);
    fflush(NULL);
    _putenv_s(VARIABLE, settings);
    GetModuleFileNameW(NULL, program, 2048);
    /* with this program's arguments: what main makes of them is then as it is here */
    wchar_t *line = _wcsdup(GetCommandLineW());
    bool started = line != NULL && CreateProcessW(program, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process);
    free(line);
    _putenv_s(VARIABLE, "");
    if (!started) return 0;
    CloseHandle(process.hThread);
    return (intptr_t)process.hProcess;
}

int child_wait(intptr_t child)
{
    DWORD status = 0;
    if (child == 0) return CHILD_CRASHED;
    WaitForSingleObject((HANDLE)child, INFINITE);
    GetExitCodeProcess((HANDLE)child, &status);
    CloseHandle((HANDLE)child);
    if (status < 256) return (int)status;
    printf("  ended with status 0x%lx\n", status);
    return CHILD_CRASHED;
}
#else
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

void child_keep(void *variable, size_t size)
{
    (void)variable;
    (void)size;
}

void *child_shared(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void child_begin(void)
{
}

intptr_t child_start(unsigned seconds, ChildRun *run, void (*body)(void))
{
    fflush(NULL);
    pid_t process = fork();
    if (process == 0) {
        alarm(seconds);
        int status = run(body);
        fflush(stdout);
        exit(status); /* not _exit: a library's work at exit is tested too */
    }
    return process;
}

int child_wait(intptr_t child)
{
    int status;
    if (child < 0 || waitpid((pid_t)child, &status, 0) < 0) return CHILD_CRASHED;
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    printf("  ended by signal %d\n", WTERMSIG(status));
    return CHILD_CRASHED;
}
#endif

int child_run(unsigned seconds, ChildRun *run, void (*body)(void))
{
    return child_wait(child_start(seconds, run, body));
}
