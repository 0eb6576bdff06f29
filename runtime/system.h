/*
 * What the operating system knows: time, memory, and what a bug report wants.
 */
#ifndef UPRES_RUNTIME_SYSTEM_H
#define UPRES_RUNTIME_SYSTEM_H

#include <stddef.h>
#include <stdint.h>

double system_seconds(void); /* since some moment; never goes back */
double system_cpu_seconds(void); /* that processors have spent on this process; 0: not known */
uint64_t system_cache_bytes(void); /* of the last cache before memory; 0: not known */

/* Bytes of main memory: all of it, and what can be had without swapping and within the limits the process is under. 0 where the
   system does not tell. */
void system_memory(uint64_t *total, uint64_t *available);

/* Names for people, "not known" where the system does not tell; of NVIDIA's driver "" then. */
void system_name(char *text, size_t size);      /* "Linux 6.1.0-18-amd64 x86_64, Debian GNU/Linux 12 (bookworm)" */
void system_processor(char *text, size_t size); /* "AMD Ryzen 9 7950X 16-Core Processor" */
void system_gpu_driver(char *text, size_t size); /* the kernel module's own line, with the version users know it by */

#endif
