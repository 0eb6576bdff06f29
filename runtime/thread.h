/*
 * A pool of threads for loops whose turns are independent. pthread | Win32.
 */
#ifndef UPRES_RUNTIME_THREAD_H
#define UPRES_RUNTIME_THREAD_H

#include <stdint.h>

typedef struct Pool Pool;

/* threads: how many work at once, the caller of pool_run among them. NULL when they cannot be started. */
Pool *pool_open(int threads);
void pool_close(Pool *p);

/* Calls turn(context, i, thread) for every i in 0..count-1, in any order, thread < the pool's threads; returns when all are
 * done. One caller at a time; a turn must not call pool_run. */
void pool_run(Pool *p, int64_t count, void (*turn)(void *context, int64_t i, int thread), void *context);

int cpu_count(void); /* processors this process may use */

#endif
