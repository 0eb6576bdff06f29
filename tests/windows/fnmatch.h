#ifndef UPRES_TESTS_WINDOWS_FNMATCH_H
#define UPRES_TESTS_WINDOWS_FNMATCH_H

enum { FNM_NOMATCH = 1 };
int fnmatch(const char *pattern, const char *text, int flags); /* * and ? alone; flags: 0 */

#endif
