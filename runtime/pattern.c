#include "runtime/pattern.h"

bool pattern_matches(const char *pattern, const char *name)
{
    if (*pattern == '*') {
        for (const char *rest = name;; rest++) {
            if (pattern_matches(pattern + 1, rest)) return true;
            if (!*rest) return false;
        }
    }
    if (!*pattern || !*name) return *pattern == *name;
    return (*pattern == '?' || *pattern == *name) && pattern_matches(pattern + 1, name + 1);
}
