#include "kernels/cpu/cpu.h"

#include "kernels/cpu/sets.h"

#include <stddef.h>
#include <string.h>

static bool has_avx2(void)
{
#ifdef UPRES_X86
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

static bool has_avx512(void)
{
#ifdef UPRES_X86
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
#else
    return false;
#endif
}

const CpuKernels *cpu_kernels_named(const char *name)
{
    if (strcmp(name, "scalar") == 0) return &kernels_scalar;
#ifdef UPRES_X86
    if (strcmp(name, "avx2") == 0 && has_avx2()) return &kernels_avx2;
    if (strcmp(name, "avx512") == 0 && has_avx512()) return &kernels_avx512;
#endif
    return NULL;
}

static const char *const rising[] = {"scalar", "avx2", "avx512"};
enum { SETS = sizeof rising / sizeof *rising };

bool cpu_is_cap(const char *name)
{
    for (int i = 0; i < SETS; i++)
        if (strcmp(name, rising[i]) == 0) return true;
    return false;
}

const CpuKernels *cpu_kernels(const char *cap)
{
    const CpuKernels *best = &kernels_scalar;
    for (int i = 0; i < SETS; i++) {
        const CpuKernels *k = cpu_kernels_named(rising[i]);
        if (k != NULL) best = k;
        if (cap != NULL && strcmp(cap, rising[i]) == 0) break;
    }
    (void)has_avx512;
    (void)has_avx2;
    return best;
}
