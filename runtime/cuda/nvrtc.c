#include "runtime/cuda/nvrtc.h"
#include "runtime/cuda/library.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct NvrtcProgram_st *NvrtcProgram;

/* X(field, exported symbol, parameters); the result is 0 or an error. */
#define NVRTC_FUNCTIONS(X)                                                                                              \
    X(version, nvrtcVersion, (int *major, int *minor))                                                                  \
    X(create, nvrtcCreateProgram,                                                                                       \
      (NvrtcProgram * program, const char *source, const char *name, int headers, const char *const *texts,             \
       const char *const *names))                                                                                       \
    X(destroy, nvrtcDestroyProgram, (NvrtcProgram * program))                                                           \
    X(compile, nvrtcCompileProgram, (NvrtcProgram program, int count, const char *const *options))                      \
    X(log_size, nvrtcGetProgramLogSize, (NvrtcProgram program, size_t *size))                                           \
    X(log, nvrtcGetProgramLog, (NvrtcProgram program, char *log))                                                       \
    X(ptx_size, nvrtcGetPTXSize, (NvrtcProgram program, size_t *size))                                                  \
    X(ptx, nvrtcGetPTX, (NvrtcProgram program, char *text))                                                             \
    X(cubin_size, nvrtcGetCUBINSize, (NvrtcProgram program, size_t *size))                                              \
    X(cubin, nvrtcGetCUBIN, (NvrtcProgram program, char *image))

static LibraryOnce once;
static struct {
#define X(field, symbol, parameters) int(*field) parameters;
    NVRTC_FUNCTIONS(X)
#undef X
} nvrtc;
static int found_version; /* 0: none */
static char found_path[1024];
static char why_not[768]; /* about the last library that was there but of no use */

/* -------------------------------------------------------------------------------------------------------- where it is */

#ifdef _WIN32
static const char *const names[] = {"nvrtc64_130_0.dll", "nvrtc64_120_0.dll"};
static const char *const folders[] = {
    "$CUDA_PATH\\bin\\x64",
    "$CUDA_PATH\\bin",
    "$CUDA_HOME\\bin\\x64",
    "$CUDA_HOME\\bin",
    "$ProgramFiles\\NVIDIA GPU Computing Toolkit\\CUDA\\v13*\\bin\\x64",
    "$ProgramFiles\\NVIDIA GPU Computing Toolkit\\CUDA\\v12*\\bin",
    "$VIRTUAL_ENV\\Lib\\site-packages\\nvidia\\cu13\\bin\\x86_64",
    "$VIRTUAL_ENV\\Lib\\site-packages\\nvidia\\cuda_nvrtc\\bin",
    "$CONDA_PREFIX\\Library\\bin",
    "$APPDATA\\Python\\Python3*\\site-packages\\nvidia\\cu13\\bin\\x86_64",
    "$APPDATA\\Python\\Python3*\\site-packages\\nvidia\\cuda_nvrtc\\bin",
    "$LOCALAPPDATA\\Programs\\Python\\Python3*\\Lib\\site-packages\\nvidia\\cu13\\bin\\x86_64",
    "$LOCALAPPDATA\\Programs\\Python\\Python3*\\Lib\\site-packages\\nvidia\\cuda_nvrtc\\bin",
};
#define SLASH "\\"
#define BUILTINS "nvrtc-builtins64_*.dll"
#else
static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12"};
static const char *const folders[] = {
    "$CUDA_PATH/lib64",
    "$CUDA_HOME/lib64",
    "/usr/local/cuda/lib64",
    "/usr/local/cuda-*/lib64",
    "$VIRTUAL_ENV/lib/python3*/site-packages/nvidia/*/lib",
    "$CONDA_PREFIX/lib",
    "$CONDA_PREFIX/lib/python3*/site-packages/nvidia/*/lib",
    "$HOME/.local/lib/python3*/site-packages/nvidia/*/lib",
    "$PYENV_ROOT/versions/*/lib/python3*/site-packages/nvidia/*/lib",
    "/usr/local/lib/python3*/*-packages/nvidia/*/lib",
    "/usr/lib/python3*/*-packages/nvidia/*/lib",
};
#define SLASH "/"
#define BUILTINS "libnvrtc-builtins.so.1*"
#endif

static bool take_functions(void *library)
{
#define X(field, symbol, parameters)                                                                                    \
    if (!library_function(library, #symbol, &nvrtc.field)) return false;
    NVRTC_FUNCTIONS(X)
#undef X
    return true;
}

/* Nonzero ends a search: it is open. */
static int try_library(void *user, const char *path)
{
    (void)user;
    char reason[512] = "";
    void *library = library_open(path, reason, sizeof reason);
    int major = 0, minor = 0;
    if (library == NULL) {
        snprintf(why_not, sizeof why_not, "%s", reason);
    } else if (!take_functions(library) || nvrtc.version(&major, &minor) != 0) {
        snprintf(why_not, sizeof why_not, "%s is not an NVRTC", path);
    } else if (major < 12 || major > 13) {
        snprintf(why_not, sizeof why_not, "%s is NVRTC %d.%d; upres knows 12 and 13", path, major, minor);
    } else {
        found_version = major * 1000 + minor * 10;
        snprintf(found_path, sizeof found_path, "%s", path);
    }
    return found_version != 0;
}

static int open_builtins(void *user, const char *path)
{
    char reason[512];
    (void)user;
    library_open(path, reason, sizeof reason);
    return 0;
}

/* NVRTC opens its second library by bare name; one that is open already is found by that, wherever it came from. */
static void preload_builtins(const char *folder)
{
    char pattern[1200];
    snprintf(pattern, sizeof pattern, "%s" SLASH BUILTINS, folder);
    library_matches(pattern, open_builtins, NULL);
}

static bool try_folder(const char *pattern)
{
    char path[1200];
    for (size_t i = 0; i < sizeof names / sizeof names[0] && found_version == 0; i++) {
        snprintf(path, sizeof path, "%s" SLASH "%s", pattern, names[i]);
        library_matches(path, try_library, NULL);
    }
    return found_version != 0;
}

/* "$NAME/rest" with the variable's value; false where it is not set. */
static bool expand(const char *folder, char *out, size_t size)
{
    if (folder[0] != '$') {
        snprintf(out, size, "%s", folder);
        return true;
    }
    char name[64], room[LIBRARY_VALUE];
    size_t length = strcspn(folder + 1, "\\/");
    snprintf(name, sizeof name, "%.*s", (int)length, folder + 1);
    const char *value = library_environment(name, room);
    if (value == NULL || !*value) return false;
    snprintf(out, size, "%s%s", value, folder + 1 + length);
    return true;
}

#ifndef _WIN32
/* Packages of the Pythons that the path leads to: PREFIX/bin holds the program, PREFIX/lib its packages. */
static bool try_python_prefixes(void)
{
    const char *path = getenv("PATH");
    while (path && *path && found_version == 0) {
        char folder[1100];
        size_t length = strcspn(path, ":");
        if (length > 4 && length < 1000 && memcmp(path + length - 4, "/bin", 4) == 0) {
            snprintf(folder, sizeof folder, "%.*s/lib/python3*/*-packages/nvidia/*/lib", (int)length - 4, path);
            try_folder(folder);
        }
        path += length + (path[length] == ':');
    }
    return found_version != 0;
}
#else
static bool try_python_prefixes(void) { return false; }
#endif

static void search(void)
{
    char folder[1024];
    library_own_folder(folder, sizeof folder);
    if (folder[0] && try_folder(folder)) return;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (try_library(NULL, names[i])) return;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        if (expand(folders[i], folder, sizeof folder) && try_folder(folder)) return;
    try_python_prefixes();
}

static void open_nvrtc(void)
{
    char room[LIBRARY_VALUE];
    const char *own = library_environment("UPRES_NVRTC", room);
    if (own && (!*own || strcmp(own, "none") == 0)) {
        snprintf(why_not, sizeof why_not, "UPRES_NVRTC asks for none");
        return;
    }
    if (own)
        try_library(NULL, own);
    else
        search();
    char *slash = found_path + strlen(found_path);
    while (slash > found_path && *slash != '/' && *slash != SLASH[0]) slash--;
    if (slash == found_path) return;
    char folder[sizeof found_path];
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - found_path), found_path);
    preload_builtins(folder);
}

int nvrtc_version(char *error, size_t error_size)
{
    library_once(&once, open_nvrtc);
    if (found_version == 0) snprintf(error, error_size, "NVRTC was not found: %s", why_not);
    return found_version;
}

const char *nvrtc_path(void)
{
    char error[sizeof why_not + 64];
    nvrtc_version(error, sizeof error);
    return found_path;
}

/* ------------------------------------------------------------------------------------------------------------ compile */

void nvrtc_lower_version(char *ptx)
{
    char *version = strstr(ptx, "\n.version "), *target = strstr(ptx, "\n.target sm_");
    if (version == NULL || target == NULL) return;
    const char *floor = strncmp(target + 12, "12", 2) == 0 ? "8.8" : "8.0";
    version += 10;
    if (strncmp(version, floor, 3) <= 0 || version[3] != '\n') return;
    memcpy(version, floor, 3);
    /* A hint on which bytes of a load are used, known from 8.3 on: blanked. */
    for (char *hint = strstr(target, ".pragma \"used_bytes_mask"); hint; hint = strstr(hint, ".pragma \"used_bytes_mask"))
        memset(hint, ' ', strcspn(hint, "\n"));
}

/* Into error: what failed, then the compiler's log. */
static void tell(NvrtcProgram program, const char *name, const char *what, char *error, size_t error_size)
{
    size_t size = 0;
    char *log = NULL;
    if (nvrtc.log_size(program, &size) == 0 && size > 1) log = malloc(size);
    if (log && nvrtc.log(program, log) != 0) log[0] = '\0';
    snprintf(error, error_size, "%s: %s: %s", name, what, log ? log : "the compiler does not say why");
    free(log);
}

static void *result_of(NvrtcProgram program, bool cubin, size_t *bytes)
{
    if ((cubin ? nvrtc.cubin_size : nvrtc.ptx_size)(program, bytes) != 0 || *bytes == 0) return NULL;
    char *result = malloc(*bytes);
    if (result && (cubin ? nvrtc.cubin : nvrtc.ptx)(program, result) != 0) {
        free(result);
        return NULL;
    }
    if (result && !cubin) nvrtc_lower_version(result);
    return result;
}

/* ptx: NULL, or for the PTX besides. */
static void *compile(NvrtcProgram program, const char *name, const char *architecture, const char *const *options,
                     size_t *bytes, char **ptx, char *error, size_t error_size)
{
    enum { MOST = 32 };
    char target[64];
    const char *all[MOST] = {target, NVRTC_OPTIONS};
    int count = 3;
    snprintf(target, sizeof target, "--gpu-architecture=%s", architecture);
    for (; options && *options && count < MOST; options++) all[count++] = *options;
    size_t log_size = 0;
    if (nvrtc.compile(program, count, all) != 0) {
        tell(program, name, "does not compile", error, error_size);
        return NULL;
    }
    if (nvrtc.log_size(program, &log_size) == 0 && log_size > 1) {
        tell(program, name, "compiles with warnings", error, error_size);
        return NULL;
    }
    void *result = result_of(program, strncmp(architecture, "sm_", 3) == 0, bytes);
    size_t ptx_bytes;
    if (result && ptx && (*ptx = result_of(program, false, &ptx_bytes)) == NULL) {
        free(result);
        result = NULL;
    }
    if (result == NULL) snprintf(error, error_size, "%s: NVRTC gave no code", name);
    return result;
}

void *nvrtc_compile_cubin(const char *name, const char *source, const NvrtcHeader *headers, int header_count,
                          const char *architecture, const char *const *options, size_t *bytes, char **ptx, char *error,
                          size_t error_size)
{
    enum { MOST_HEADERS = 16 };
    const char *texts[MOST_HEADERS], *header_names[MOST_HEADERS];
    if (ptx) *ptx = NULL;
    if (nvrtc_version(error, error_size) == 0) return NULL;
    if (header_count > MOST_HEADERS) {
        snprintf(error, error_size, "%s: %d headers are more than %d", name, header_count, MOST_HEADERS);
        return NULL;
    }
    for (int i = 0; i < header_count; i++) {
        texts[i] = headers[i].text;
        header_names[i] = headers[i].name;
    }
    NvrtcProgram program = NULL;
    if (nvrtc.create(&program, source, name, header_count, texts, header_names) != 0) {
        snprintf(error, error_size, "%s: NVRTC takes no more programs", name);
        return NULL;
    }
    void *result = compile(program, name, architecture, options, bytes, ptx, error, error_size);
    nvrtc.destroy(&program);
    return result;
}

void *nvrtc_compile(const char *name, const char *source, const NvrtcHeader *headers, int header_count,
                    const char *architecture, const char *const *options, size_t *bytes, char *error, size_t error_size)
{
    return nvrtc_compile_cubin(name, source, headers, header_count, architecture, options, bytes, NULL, error, error_size);
}
