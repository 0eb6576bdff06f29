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

const CpuKernels *cpu_kernels(const char *cap)
{
    static const char *const rising[] = {"scalar", "avx2", "avx512"};
    const CpuKernels *best = &kernels_scalar;
    for (size_t i = 0; i < sizeof rising / sizeof *rising; i++) {
        const CpuKernels *k = cpu_kernels_named(rising[i]);
        if (k != NULL) best = k;
        if (cap != NULL && strcmp(cap, rising[i]) == 0) break;
    }
    (void)has_avx512;
    (void)has_avx2;
    return best;
}
