/* Limits that a process was put under: a container's, a batch system's, the shell's. The machine may have more. */
#ifndef UPRES_RUNTIME_MEMORY_LIMIT_H
#define UPRES_RUNTIME_MEMORY_LIMIT_H

#include <stdint.h>

/*
 * Bytes that Linux control groups still leave: the least of the process's own and of those around it, both versions. `groups`
 * is /proc/self/cgroup, `mount` /sys/fs/cgroup. UINT64_MAX without a limit.
 */
uint64_t memory_limit_groups(const char *groups, const char *mount);

/* Bytes that the limit of addresses (ulimit -v) still leaves. UINT64_MAX without one. */
uint64_t memory_limit_addresses(void);

#endif
