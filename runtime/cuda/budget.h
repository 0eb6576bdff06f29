/*
 * How much of a device's memory a job may take.
 *
 * Windows divides a card's memory among programs: what is free is not what this one may have, and what it takes beyond its share
 * is silently put into the host's memory. It tells each program its share, so the less of the two counts. A tenth of that is left
 * to other programs and to the driver, and where a display may be shown 512 MiB besides, unless 4 GiB or less are left then.
 * Where there is none, nobody draws windows, and what is not there is refused and planned again: at most 1 GiB is left.
 */
#ifndef UPRES_RUNTIME_CUDA_BUDGET_H
#define UPRES_RUNTIME_CUDA_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

typedef struct MemoryState {
    uint64_t available;     /* as the driver has it */
    uint64_t granted, used; /* by the system to this program, and of that in use; granted 0: it does not tell */
    bool display;           /* one may be shown: the system divides the memory, or kernels have a time limit */
} MemoryState;

uint64_t memory_budget(const MemoryState *m);

#endif
