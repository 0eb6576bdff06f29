#ifndef UPRES_TESTS_WINDOWS_DLFCN_H
#define UPRES_TESTS_WINDOWS_DLFCN_H

enum { RTLD_NOW, RTLD_LOCAL };
void *dlopen(const char *path, int flags);
void *dlsym(void *library, const char *symbol);
const char *dlerror(void); /* of the last dlopen */

#endif
