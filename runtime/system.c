#include "runtime/system.h"

#include "runtime/memory_limit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>

double system_seconds(void)
{
    LARGE_INTEGER now, rate;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&rate);
    return (double)now.QuadPart / (double)rate.QuadPart;
}

double system_cpu_seconds(void)
{
    FILETIME created, ended, kernel, user;
    if (!GetProcessTimes(GetCurrentProcess(), &created, &ended, &kernel, &user)) return 0;
    const uint64_t high = (uint64_t)kernel.dwHighDateTime + user.dwHighDateTime;
    return 1e-7 * ((double)(high << 32) + (double)kernel.dwLowDateTime + (double)user.dwLowDateTime);
}

uint64_t system_cache_bytes(void) { return 0; }

void system_memory(uint64_t *total, uint64_t *available)
{
    MEMORYSTATUSEX m = {.dwLength = sizeof m};
    *total = *available = 0;
    if (!GlobalMemoryStatusEx(&m)) return;
    *total = m.ullTotalPhys;
    *available = m.ullAvailPhys;
}

void system_name(char *text, size_t size)
{
    /* what GetVersionEx says depends on the program's manifest, ntdll's own word does not */
    typedef LONG(WINAPI *Version)(OSVERSIONINFOW *);
    OSVERSIONINFOW v = {.dwOSVersionInfoSize = sizeof v};
    HMODULE ntdll = GetModuleHandleA("ntdll.dll");
    Version version = ntdll ? (Version)(void (*)(void))GetProcAddress(ntdll, "RtlGetVersion") : NULL;
    snprintf(text, size, "Windows, version not known");
    if (version && version(&v) == 0)
        snprintf(text, size, "Windows %lu.%lu.%lu", v.dwMajorVersion, v.dwMinorVersion, v.dwBuildNumber);
}

void system_processor(char *text, size_t size)
{
    const char *name = getenv("PROCESSOR_IDENTIFIER");
    snprintf(text, size, "%s", name ? name : "not known");
}

void system_gpu_driver(char *text, size_t size)
{
    (void)size;
    text[0] = '\0';
}
#else
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

double system_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double system_cpu_seconds(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0) return 0;
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t system_cache_bytes(void)
{
    long bytes = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
    bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (bytes <= 0) bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    return bytes > 0 ? (uint64_t)bytes : 0;
}

void system_memory(uint64_t *total, uint64_t *available)
{
    *total = *available = 0;
    FILE *f = fopen("/proc/meminfo", "r"); /* Linux; elsewhere there is no such file and nothing is told */
    if (!f) return;
    char line[128];
    while (fgets(line, sizeof line, f)) {
        unsigned long long kib;
        if (sscanf(line, "MemTotal: %llu kB", &kib) == 1) *total = kib * 1024;
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) *available = kib * 1024;
    }
    fclose(f);
    const uint64_t groups = memory_limit_groups("/proc/self/cgroup", "/sys/fs/cgroup"), addresses = memory_limit_addresses();
    const uint64_t limit = groups < addresses ? groups : addresses;
    if (limit < *available) *available = limit > 0 ? limit : 1; /* 0 says that it is not known */
}

/* What stands behind `key` and its separators in the first line of a file that begins with it; "" without. */
static void read_line(const char *path, const char *key, char *text, size_t size)
{
    char line[512];
    text[0] = '\0';
    FILE *f = fopen(path, "r");
    while (f && !text[0] && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        const char *from = line + strlen(key);
        from += strspn(from, " \t:=\"");
        snprintf(text, size, "%.*s", (int)strcspn(from, "\"\n"), from);
    }
    if (f) fclose(f);
}

void system_name(char *text, size_t size)
{
    char release[128];
    struct utsname u;
    snprintf(text, size, "not known");
    if (uname(&u) != 0) return;
    read_line("/etc/os-release", "PRETTY_NAME", release, sizeof release);
    snprintf(text, size, "%s %s %s%s%s", u.sysname, u.release, u.machine, release[0] ? ", " : "", release);
}

void system_processor(char *text, size_t size)
{
    read_line("/proc/cpuinfo", "model name", text, size);
    if (!text[0]) snprintf(text, size, "not known");
}

void system_gpu_driver(char *text, size_t size)
{
    read_line("/proc/driver/nvidia/version", "NVRM version", text, size);
}
#endif
