/*
 * Every operation of every device against the plain C versions, on small cases.
 */
#ifndef UPRES_RUNTIME_SELFTEST_SELFTEST_H
#define UPRES_RUNTIME_SELFTEST_SELFTEST_H

#include "runtime/fault.h"

/* As upres_selftest; options checked. */
upres_status selftest_run(const upres_options *o, const char *pattern, void *user,
                          int (*each)(void *user, const upres_selftest_result *r), Fault *f);

#endif
