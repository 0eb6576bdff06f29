/*
 * What the operating system knows: time and memory.
 */
#ifndef UPRES_RUNTIME_SYSTEM_H
#define UPRES_RUNTIME_SYSTEM_H

#include <stdint.h>

double system_seconds(void); /* since some moment; never goes back */

/* Bytes of main memory: all of it, and what can be had without swapping. 0 where the system does not tell. */
void system_memory(uint64_t *total, uint64_t *available);

#endif
