#include "runtime/cuda/counts.h"

#include "runtime/cuda/driver.h"

#include <string.h>

const KernelCount *cuda_count(const char *function, int target)
{
    if (target == CUDA_TARGET_80) target = CUDA_TARGET_89;
    for (const KernelCounts *const *f = cuda_built_in_counts; *f; f++) {
        for (size_t i = 0; i < (*f)->count; i++) {
            const KernelCount *k = &(*f)->kernel[i];
            if (k->target == target && strcmp(k->function, function) == 0) return k;
        }
    }
    return NULL;
}

int cuda_counted(void)
{
    for (const KernelCounts *const *f = cuda_built_in_counts; *f; f++) {
        if ((*f)->count > 0) return 1;
    }
    return 0;
}

unsigned count_issued(const CountPart *p)
{
    unsigned n = 0;
    for (int i = 0; i < COUNT_KINDS; i++) n += p->count[i];
    return n;
}

unsigned count_products(const CountPart *p)
{
    return (unsigned)p->count[COUNT_HMMA] + p->count[COUNT_IMMA] + p->count[COUNT_QMMA] + p->count[COUNT_QMMA_SCALED] +
           p->count[COUNT_GMMA];
}

double count_mma_flop(const CountPart *p)
{
    double flop = 0;
    for (int i = 0; i <= COUNT_GMMA; i++) flop += p->mma_flop[i];
    return flop;
}
