#include "runtime/cuda/library.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include "loader/wide.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

void *library_open(const char *path, char *error, size_t error_size)
{
    /* With a path the library's own folder is searched for what it needs. */
    DWORD flags = strpbrk(path, "\\/") ? LOAD_WITH_ALTERED_SEARCH_PATH : 0;
    wchar_t wide[WIDE_MOST];
    HMODULE library = NULL;
    if (wide_text(path, wide)) {
        for (wchar_t *c = wide; *c; c++)
            if (*c == L'/') *c = L'\\'; /* which alone it takes */
        library = LoadLibraryExW(wide, NULL, flags);
    }
    if (library == NULL) snprintf(error, error_size, "%s: Windows error %lu", path, (unsigned long)GetLastError());
    return (void *)library;
}

const char *library_environment(const char *name, char value[LIBRARY_VALUE])
{
    wchar_t wide_name[WIDE_MOST], wide[LIBRARY_VALUE];
    if (!wide_text(name, wide_name)) return NULL;
    SetLastError(0);
    const DWORD n = GetEnvironmentVariableW(wide_name, wide, LIBRARY_VALUE);
    if ((n == 0 && GetLastError() != 0) || n >= LIBRARY_VALUE) return NULL;
    wide[n] = L'\0';
    return narrow_text(wide, value, LIBRARY_VALUE) ? value : NULL;
}

int library_function(void *library, const char *symbol, void *function)
{
    FARPROC found = GetProcAddress((HMODULE)library, symbol);
    if (found == NULL) return 0;
    memcpy(function, &found, sizeof found);
    return 1;
}

void library_own_folder(char *folder, size_t size)
{
    HMODULE self;
    wchar_t wide[WIDE_MOST];
    folder[0] = '\0';
    if (!GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                            (const wchar_t *)(void *)library_own_folder, &self))
        return;
    const DWORD length = GetModuleFileNameW(self, wide, WIDE_MOST);
    if (length == 0 || length >= WIDE_MOST || !narrow_text(wide, folder, size)) return;
    char *slash = strrchr(folder, '\\');
    if (slash) *slash = '\0';
}

static bool exists(const char *path)
{
    wchar_t wide[WIDE_MOST];
    return wide_text(path, wide) && GetFileAttributesW(wide) != INVALID_FILE_ATTRIBUTES;
}

void library_matches(const char *pattern, int (*visit)(void *user, const char *path), void *user)
{
    char path[WIDE_MOST], name[3 * MAX_PATH];
    wchar_t wide[WIDE_MOST];
    const char *star = strchr(pattern, '*');
    if (star == NULL) {
        if (exists(pattern)) visit(user, pattern);
        return;
    }
    size_t rest = strcspn(star, "\\/"), head = (size_t)(star - pattern);
    while (head > 0 && pattern[head - 1] != '\\' && pattern[head - 1] != '/') head--;
    snprintf(path, sizeof path, "%.*s", (int)(star + rest - pattern), pattern);
    WIN32_FIND_DATAW found;
    HANDLE search = wide_text(path, wide) ? FindFirstFileW(wide, &found) : INVALID_HANDLE_VALUE;
    if (search == INVALID_HANDLE_VALUE) return;
    int ended = 0;
    do {
        if (!narrow_text(found.cFileName, name, sizeof name)) continue;
        snprintf(path, sizeof path, "%.*s%s%s", (int)head, pattern, name, star + rest);
        if (exists(path)) ended = visit(user, path);
    } while (!ended && FindNextFileW(search, &found));
    FindClose(search);
}

static BOOL CALLBACK call_once_callback(INIT_ONCE *state, void *once, void **context)
{
    (void)state;
    (void)context;
    (*(void (**)(void))once)();
    return TRUE;
}

void library_once(LibraryOnce *state, void (*once)(void))
{
    InitOnceExecuteOnce((INIT_ONCE *)(void *)&state->lock, call_once_callback, &once, NULL);
}
#else
#include <dlfcn.h>
#include <glob.h>
#include <pthread.h>

void *library_open(const char *path, char *error, size_t error_size)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) snprintf(error, error_size, "%s", dlerror());
    return library;
}

const char *library_environment(const char *name, char value[LIBRARY_VALUE])
{
    (void)value;
    return getenv(name);
}

int library_function(void *library, const char *symbol, void *function)
{
    void *found = dlsym(library, symbol);
    if (found == NULL) return 0;
    memcpy(function, &found, sizeof found);
    return 1;
}

void library_own_folder(char *folder, size_t size)
{
    Dl_info info;
    void *here;
    void (*self)(char *, size_t) = library_own_folder;
    memcpy(&here, &self, sizeof here);
    folder[0] = '\0';
    if (dladdr(here, &info) == 0 || info.dli_fname == NULL) return;
    const char *slash = strrchr(info.dli_fname, '/');
    if (slash) snprintf(folder, size, "%.*s", (int)(slash - info.dli_fname), info.dli_fname);
}

void library_matches(const char *pattern, int (*visit)(void *user, const char *path), void *user)
{
    glob_t found;
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            if (visit(user, found.gl_pathv[i])) break;
    globfree(&found);
}

void library_once(LibraryOnce *state, void (*once)(void))
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for all: nothing that runs once runs another */
    pthread_mutex_lock(&lock);
    if (!state->done) once();
    state->done = 1;
    pthread_mutex_unlock(&lock);
}
#endif
