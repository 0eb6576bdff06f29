/*
 * Names picked by a shell pattern.
 */
#ifndef UPRES_RUNTIME_PATTERN_H
#define UPRES_RUNTIME_PATTERN_H

#include <stdbool.h>

/* `*` and `?`; everything else stands for itself. */
bool pattern_matches(const char *pattern, const char *name);

#endif
