#include "runtime/cuda_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NVRTC_OF_120F = 12090, BUCKETS = 256, MOST_HEADERS = 16, MOST_MACROS = 24 };

/* One compiled file. */
typedef struct Module {
    struct Module *next;
    const CudaSource *source;
    char *macros;
    const char *ptx; /* what it was made of */
    char *made;      /* the same, where NVRTC made it: to be freed */
    CUmodule module;
} Module;

typedef struct Function {
    struct Function *next; /* of its bucket */
    uint64_t hash;
    char *file, *name, *macros;
    CUfunction function;
    size_t parameter_bytes;
    unsigned own_shared, allowed; /* bytes: declared in the kernel; dynamic ones the driver was told of */
} Function;

struct CudaKernels {
    const CudaDriver *driver;
    CudaDevice device;
    bool compiler; /* NVRTC is there and knows the device */
    char origin[1024];
    Module *modules;
    Function *functions[BUCKETS];
};

/* --------------------------------------------------------------------------------------------------- what is built in */

bool cuda_source(size_t index, CudaSource *source)
{
    for (size_t i = 0; i <= index; i++)
        if (cuda_built_in_sources[i] == NULL) return false;
    *source = *cuda_built_in_sources[index];
    return true;
}

bool cuda_source_header(size_t index, const char **name, const char **text)
{
    for (size_t i = 0; i <= index; i++)
        if (cuda_built_in_headers[i].name == NULL) return false;
    *name = cuda_built_in_headers[index].name;
    *text = cuda_built_in_headers[index].text;
    return true;
}

static const CudaSource *source_of(const char *file)
{
    for (size_t i = 0; cuda_built_in_sources[i]; i++)
        if (strcmp(cuda_built_in_sources[i]->name, file) == 0) return cuda_built_in_sources[i];
    return NULL;
}

/* A file whose PTX for the target was not made when upres was built; NULL: all were. */
static const CudaSource *not_built(CudaTarget target)
{
    for (size_t i = 0; cuda_built_in_sources[i]; i++)
        if (!cuda_built_in_sources[i]->ptx && !cuda_built_in_sources[i]->built[target]) return cuda_built_in_sources[i];
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------ open and close */

/* Whether NVRTC serves, else why not. */
static bool find_compiler(const CudaDevice *device, char *why_not, size_t size)
{
    int version = nvrtc_version(why_not, size);
    if (version == 0) return false;
    if (device->target != CUDA_TARGET_120F || version >= NVRTC_OF_120F) return true;
    snprintf(why_not, size, "NVRTC %d.%d (%s) does not know compute_120f, which takes 12.9", version / 1000,
             version % 1000 / 10, nvrtc_path());
    return false;
}

CudaKernels *cuda_kernels_open(const CudaDriver *driver, const CudaDevice *device, char *error, size_t error_size)
{
    char why_not[900] = "";
    bool compiler = find_compiler(device, why_not, sizeof why_not);
    const CudaSource *missing = not_built(device->target);
    if (!compiler && missing) {
        snprintf(error, error_size,
                 "%s, and upres was built without PTX of %s for compute_%s; install NVRTC 12.9 or newer (pip install "
                 "nvidia-cuda-nvrtc, or NVIDIA's CUDA toolkit)",
                 why_not, missing->name, cuda_target_name(device->target));
        return NULL;
    }
    CudaKernels *k = calloc(1, sizeof *k);
    if (k == NULL) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    k->driver = driver;
    k->device = *device;
    k->compiler = compiler;
    int version = compiler ? nvrtc_version(why_not, sizeof why_not) : 0;
    if (compiler)
        snprintf(k->origin, sizeof k->origin, "NVRTC %d.%d", version / 1000, version % 1000 / 10);
    else
        snprintf(k->origin, sizeof k->origin, "PTX built in (%s)", why_not);
    return k;
}

static void free_function(Function *f)
{
    free(f->file);
    free(f->name);
    free(f->macros);
    free(f);
}

void cuda_kernels_close(CudaKernels *k)
{
    if (k == NULL) return;
    for (int i = 0; i < BUCKETS; i++)
        for (Function *f = k->functions[i], *next; f; f = next) {
            next = f->next;
            free_function(f);
        }
    for (Module *m = k->modules, *next; m; m = next) {
        next = m->next;
        k->driver->module_unload(m->module);
        free(m->made);
        free(m->macros);
        free(m);
    }
    free(k);
}

const char *cuda_kernels_origin(const CudaKernels *k)
{
    return k->origin;
}

/* ------------------------------------------------------------------------------------------------------------- modules */

/* "C=128 TAPS=27" as options "-DC=128", "-DTAPS=27" in text; false when they are too many. */
static bool macro_options(const char *macros, char *text, size_t size, const char **options)
{
    size_t used = 0;
    int count = 0;
    for (const char *m = macros + strspn(macros, " "); *m; m += strspn(m, " ")) {
        size_t length = strcspn(m, " ");
        if (count == MOST_MACROS || used + length + 3 > size) return false;
        options[count++] = text + used;
        used += (size_t)snprintf(text + used, size - used, "-D%.*s", (int)length, m) + 1;
        m += length;
    }
    options[count] = NULL;
    return true;
}

/* PTX of a .cu file, to be freed. */
static char *compile(const CudaKernels *k, const CudaSource *s, const char *macros, char *error, size_t error_size)
{
    NvrtcHeader headers[MOST_HEADERS];
    char name[128], architecture[32], text[1024];
    const char *options[MOST_MACROS + 1];
    int count = 0;
    for (; count < MOST_HEADERS && cuda_built_in_headers[count].name; count++) headers[count] = cuda_built_in_headers[count];
    if (!macro_options(macros, text, sizeof text, options)) {
        snprintf(error, error_size, "%s.cu: too many macros: %s", s->name, macros);
        return NULL;
    }
    snprintf(name, sizeof name, "%s.cu", s->name);
    snprintf(architecture, sizeof architecture, "compute_%s", cuda_target_name(k->device.target));
    size_t bytes;
    return nvrtc_compile(name, s->text, headers, count, architecture, options, &bytes, error, error_size);
}

static void tell_unloaded(const CudaKernels *k, const CudaSource *s, const char *ptx, CUresult status, const char *log,
                          char *error, size_t error_size)
{
    const char *version = strstr(ptx, ".version ");
    if (status == CUDA_ERROR_UNSUPPORTED_PTX_VERSION && version) {
        snprintf(error, error_size, "%s: the driver is for CUDA %d.%d and does not know PTX %.3s; update the driver", s->name,
                 k->driver->version / 1000, k->driver->version % 1000 / 10, version + 9);
        return;
    }
    char text[256];
    cuda_status_text(k->driver, "cuModuleLoadDataEx", status, text, sizeof text);
    snprintf(error, error_size, "%s: %s%s%s", s->name, text, *log ? ": " : "", log);
}

static bool load(const CudaKernels *k, const CudaSource *s, const char *ptx, CUmodule *module, char *error,
                 size_t error_size)
{
    enum { ERROR_LOG = 5, ERROR_LOG_BYTES = 6 }; /* CUjit_option */
    char log[4096] = "";
    int options[] = {ERROR_LOG, ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
    CUresult status = k->driver->module_load(module, ptx, 2, options, values);
    if (status != 0) tell_unloaded(k, s, ptx, status, log, error, error_size);
    return status == 0;
}

static const Module *module_of(CudaKernels *k, const char *file, const char *macros, char *error, size_t error_size)
{
    const CudaSource *s = source_of(file);
    if (s == NULL) {
        snprintf(error, error_size, "there is no kernel file %s", file);
        return NULL;
    }
    bool compiled = k->compiler && !s->ptx;
    if (!compiled) macros = "";
    for (Module *m = k->modules; m; m = m->next)
        if (m->source == s && strcmp(m->macros, macros) == 0) return m;

    Module *m = calloc(1, sizeof *m);
    if (m == NULL || (m->macros = strdup(macros)) == NULL) {
        free(m);
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    m->made = compiled ? compile(k, s, macros, error, error_size) : NULL;
    m->ptx = compiled ? m->made : s->ptx ? s->text : s->built[k->device.target];
    if (!m->ptx || !load(k, s, m->ptx, &m->module, error, error_size)) {
        free(m->made);
        free(m->macros);
        free(m);
        return NULL;
    }
    m->source = s;
    m->next = k->modules;
    k->modules = m;
    return m;
}

/* ----------------------------------------------------------------------------------------------------------- functions */

static uint64_t hash_of(const char *file, const char *function, const char *macros)
{
    const char *const parts[] = {file, function, macros};
    uint64_t h = 14695981039346656037u; /* FNV-1a; the closing zeros too, so that parts stay apart */
    for (int i = 0; i < 3; i++) {
        const char *p = parts[i];
        do h = (h ^ (unsigned char)*p) * 1099511628211u;
        while (*p++);
    }
    return h;
}

static Function *known(CudaKernels *k, uint64_t hash, const char *file, const char *function, const char *macros)
{
    for (Function *f = k->functions[hash % BUCKETS]; f; f = f->next)
        if (f->hash == hash && strcmp(f->name, function) == 0 && strcmp(f->file, file) == 0 &&
            strcmp(f->macros, macros) == 0)
            return f;
    return NULL;
}

/* Bytes of a kernel's one parameter, read off its declaration: ".entry NAME(  .param .align 8 .b8 NAME_param_0[616] )". */
static size_t parameter_bytes(const char *ptx, const char *function)
{
    const size_t length = strlen(function);
    for (const char *at = ptx; (at = strstr(at, ".entry ")); at++) {
        const char *name = at + strlen(".entry ");
        if (strncmp(name, function, length) != 0 || strchr("( \n", name[length]) == NULL) continue;
        const char *close = strchr(name, ')'), *open = strchr(name, '[');
        return open && close && open < close ? (size_t)strtoul(open + 1, NULL, 10) : 0;
    }
    return 0;
}

static Function *find(CudaKernels *k, uint64_t hash, const char *file, const char *function, const char *macros,
                      char *error, size_t error_size)
{
    enum { OWN_SHARED = 1 }; /* CUfunction_attribute */
    const Module *module = module_of(k, file, macros, error, error_size);
    if (module == NULL) return NULL;
    CUfunction handle;
    int own_shared = 0;
    if (k->driver->module_function(&handle, module->module, function) != 0) {
        snprintf(error, error_size, "kernel file %s has no function %s", file, function);
        return NULL;
    }
    k->driver->function_get(&own_shared, OWN_SHARED, handle);
    Function *f = calloc(1, sizeof *f);
    if (f) *f = (Function){NULL, hash, strdup(file), strdup(function), strdup(macros), handle,
                        parameter_bytes(module->ptx, function), (unsigned)own_shared, 0};
    if (f == NULL || !f->file || !f->name || !f->macros) {
        if (f) free_function(f);
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    f->next = k->functions[hash % BUCKETS];
    k->functions[hash % BUCKETS] = f;
    return f;
}

/* Above 48 KiB the driver has to be told before a launch. */
static bool allow_shared(const CudaKernels *k, Function *f, unsigned shared, char *error, size_t error_size)
{
    enum { WITHOUT_ASKING = 48 * 1024 };
    unsigned all = f->own_shared + shared;
    if (all <= WITHOUT_ASKING || shared <= f->allowed) return true;
    if (all > (unsigned)k->device.shared_per_block) {
        snprintf(error, error_size, "%s wants %u bytes of shared memory a block; %s has %d", f->name, all, k->device.name,
                 k->device.shared_per_block);
        return false;
    }
    CUresult status = k->driver->function_set(f->function, CU_FUNC_MAX_DYNAMIC_SHARED, (int)shared);
    if (status != 0) {
        char text[256];
        cuda_status_text(k->driver, "cuFuncSetAttribute", status, text, sizeof text);
        snprintf(error, error_size, "%s: %u bytes of shared memory: %s", f->name, shared, text);
        return false;
    }
    f->allowed = shared;
    return true;
}

CUfunction cuda_kernel(CudaKernels *k, const char *file, const char *function, const char *macros, unsigned shared,
                       size_t *bytes, char *error, size_t error_size)
{
    uint64_t hash = hash_of(file, function, macros);
    Function *f = known(k, hash, file, function, macros);
    if (f == NULL) f = find(k, hash, file, function, macros, error, error_size);
    if (f == NULL || !allow_shared(k, f, shared, error, error_size)) return NULL;
    *bytes = f->parameter_bytes;
    return f->function;
}
