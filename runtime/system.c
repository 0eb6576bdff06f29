#include "runtime/system.h"

#if defined(_WIN32)
#include <windows.h>

double system_seconds(void)
{
    LARGE_INTEGER now, rate;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&rate);
    return (double)now.QuadPart / (double)rate.QuadPart;
}

void system_memory(uint64_t *total, uint64_t *available)
{
    MEMORYSTATUSEX m = {.dwLength = sizeof m};
    *total = *available = 0;
    if (!GlobalMemoryStatusEx(&m)) return;
    *total = m.ullTotalPhys;
    *available = m.ullAvailPhys;
}
#else
#include <stdio.h>
#include <time.h>

double system_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
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
}
#endif
