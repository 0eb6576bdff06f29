/*
 * Times of operations, of networks and of the work around them, at the shapes that the released networks use.
 */
#ifndef UPRES_RUNTIME_BENCH_BENCH_H
#define UPRES_RUNTIME_BENCH_BENCH_H

#include "runtime/fault.h"

/* As upres_bench; options checked. */
upres_status bench_run(const upres_options *o, const char *pattern, void *user,
                       int (*each)(void *user, const upres_bench_result *r), Fault *f);

#endif
