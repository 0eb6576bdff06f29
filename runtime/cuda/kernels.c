#include "runtime/cuda/kernels.h"

#include "runtime/cuda/cubin_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NVRTC_OF_120F = 12090, BUCKETS = 256, MOST_HEADERS = 16, MOST_MACROS = 24 };

/* One compiled file. */
typedef struct Module {
    struct Module *next;
    const CudaSource *source;
    char *macros;
    char *parameters; /* of its functions: lines "NAME BYTES" */
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
    enum { NOT_TRIED, TAKEN, REFUSED } cubins; /* does the driver take NVRTC's machine code? */
    CubinCache *cache; /* NULL: none */
    CubinHash headers;
    bool unkept; /* writing to it failed */
    CudaKernelCounts counts;
    char origin[2560];
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

static CubinHash hash_text(CubinHash h, const char *text) { return cubin_hash_add(h, text, strlen(text) + 1); }

static void open_cache(CudaKernels *k)
{
    char why_not[1280];
    const size_t used = strlen(k->origin);
    k->cache = cubin_cache_open(CUBIN_CACHE_BYTES, why_not, sizeof why_not);
    if (k->cache == NULL)
        snprintf(k->origin + used, sizeof k->origin - used, ", no cache (%s)", why_not);
    else
        snprintf(k->origin + used, sizeof k->origin - used, ", cache %s%s", cubin_cache_folder(k->cache),
                 cubin_cache_writable(k->cache) ? "" : ", which cannot be written");
    k->headers = cubin_hash_begin();
    for (const NvrtcHeader *h = cuda_built_in_headers; h->name; h++)
        k->headers = hash_text(hash_text(k->headers, h->name), h->text);
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
    if (!compiler) {
        snprintf(k->origin, sizeof k->origin, "PTX built in (%s)", why_not);
        return k;
    }
    int version = nvrtc_version(why_not, sizeof why_not);
    snprintf(k->origin, sizeof k->origin, "NVRTC %d.%d", version / 1000, version % 1000 / 10);
    open_cache(k);
    return k;
}

static void free_function(Function *f)
{
    free(f->file);
    free(f->name);
    free(f->macros);
    free(f);
}

static void free_module(Module *m)
{
    free(m->parameters);
    free(m->macros);
    free(m);
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
        free_module(m);
    }
    if (k->cache) cubin_cache_close(k->cache);
    free(k);
}

const char *cuda_kernels_origin(const CudaKernels *k)
{
    return k->origin;
}

CudaKernelCounts cuda_kernels_counts(const CudaKernels *k) { return k->counts; }

/* ------------------------------------------------------------------------------------------------------------- compile */

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

/* What NVRTC makes of a file. */
typedef struct Code {
    char *ptx;
    void *cubin; /* NULL: the PTX goes to the driver */
    size_t cubin_bytes;
} Code;

static void free_code(Code *c)
{
    free(c->ptx);
    free(c->cubin);
}

/* To machine code for "sm_89", to PTX for "compute_89". */
static bool compile(const CudaSource *s, const char *macros, const char *architecture, Code *c, char *error, size_t error_size)
{
    NvrtcHeader headers[MOST_HEADERS];
    char name[128], text[1024];
    const char *options[MOST_MACROS + 1];
    int count = 0;
    size_t bytes;
    *c = (Code){0};
    for (; count < MOST_HEADERS && cuda_built_in_headers[count].name; count++) headers[count] = cuda_built_in_headers[count];
    if (!macro_options(macros, text, sizeof text, options)) {
        snprintf(error, error_size, "%s.cu: too many macros: %s", s->name, macros);
        return false;
    }
    snprintf(name, sizeof name, "%s.cu", s->name);
    if (strncmp(architecture, "sm_", 3) == 0)
        c->cubin = nvrtc_compile_cubin(name, s->text, headers, count, architecture, options, &c->cubin_bytes, &c->ptx, error,
                                       error_size);
    else
        c->ptx = nvrtc_compile(name, s->text, headers, count, architecture, options, &bytes, error, error_size);
    return c->ptx != NULL;
}

static CUresult try_load(const CudaKernels *k, const void *image, CUmodule *module, char *log, size_t log_size)
{
    enum { ERROR_LOG = 5, ERROR_LOG_BYTES = 6 }; /* CUjit_option */
    int options[] = {ERROR_LOG, ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)(log_size - 1)};
    memset(log, 0, log_size);
    return k->driver->module_load(module, image, 2, options, values);
}

/* "sm_86": what the device's machine code is called. False where its kernels are those of another part, by way of PTX. */
static bool own_architecture(const CudaDevice *d, char *text, size_t size)
{
    if (d->target == CUDA_TARGET_80)
        snprintf(text, size, "sm_%d%d", d->major, d->minor);
    else
        snprintf(text, size, "sm_%s", cuda_target_name(d->target));
    return d->target != CUDA_TARGET_89 || d->major == 8;
}

/* Whether the driver takes machine code of this NVRTC, which may be newer than it: tried with an empty kernel. */
static bool takes_cubins(CudaKernels *k, const char *architecture)
{
    static const CudaSource empty = {.name = "empty", .text = "extern \"C\" __global__ void empty() {}\n"};
    char error[1024];
    Code c;
    CUmodule module;
    if (k->cubins != NOT_TRIED) return k->cubins == TAKEN;
    const bool taken = compile(&empty, "", architecture, &c, error, sizeof error) &&
                       try_load(k, c.cubin, &module, error, sizeof error) == 0;
    if (taken) k->driver->module_unload(module);
    free_code(&c);
    k->cubins = taken ? TAKEN : REFUSED;
    return taken;
}

/* ------------------------------------------------------------------------------------------------------------- modules */

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

/* Lines "NAME BYTES", to be freed: the bytes of each kernel's one parameter, read off its declaration in PTX:
 * ".entry NAME(  .param .align 8 .b8 NAME_param_0[616] )". */
static char *parameter_lines(const char *ptx)
{
    size_t room = 1, used = 0;
    for (const char *at = ptx; (at = strstr(at, ".entry ")); at++) room += strcspn(at, "( \n") + strcspn(at + 7, "( \n") + 24;
    char *lines = calloc(1, room);
    for (const char *at = ptx; lines && (at = strstr(at, ".entry ")); at++) {
        const char *name = at + strlen(".entry "), *close = strchr(name, ')'), *open = strchr(name, '[');
        const size_t bytes = open && close && open < close ? (size_t)strtoul(open + 1, NULL, 10) : 0;
        used += (size_t)snprintf(lines + used, room - used, "%.*s %zu\n", (int)strcspn(name, "( \n"), name, bytes);
    }
    return lines;
}

static size_t parameter_bytes(const Module *m, const char *function)
{
    const size_t length = strlen(function);
    for (const char *line = m->parameters; *line; line += strcspn(line, "\n") + 1)
        if (strncmp(line, function, length) == 0 && line[length] == ' ') return (size_t)strtoul(line + length, NULL, 10);
    return 0;
}

/* PTX to a module. */
static bool from_ptx(const CudaKernels *k, Module *m, const char *ptx, char *error, size_t error_size)
{
    char log[4096];
    const CUresult status = try_load(k, ptx, &m->module, log, sizeof log);
    if (status != 0) tell_unloaded(k, m->source, ptx, status, log, error, error_size);
    return status == 0;
}

/* What names a compiled file in the cache: all that it is made of and for. Macros too long for it do not compile. */
typedef struct CacheKey {
    char text[2048];
} CacheKey;

static CacheKey cache_key(const CudaKernels *k, const Module *m)
{
    static const char *const options[] = {NVRTC_OPTIONS};
    CacheKey key;
    CubinHash h = hash_text(k->headers, m->source->text);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) h = hash_text(h, options[i]);
    const int nvrtc = nvrtc_version(key.text, sizeof key.text), driver = k->driver->version;
    snprintf(key.text, sizeof key.text,
             "file %s.cu, macros %s\nsource %016llx%016llx\nNVRTC %d.%d, driver %d.%d\n%s, %d.%d, compute_%s\n",
             m->source->name, m->macros, (unsigned long long)h.high, (unsigned long long)h.low, nvrtc / 1000,
             nvrtc % 1000 / 10, driver / 1000, driver % 1000 / 10, k->device.name, k->device.major, k->device.minor,
             cuda_target_name(k->device.target));
    return key;
}

static bool from_cache(CudaKernels *k, Module *m, const CacheKey *key)
{
    char log[1024];
    CubinEntry e;
    if (k->cache == NULL || !cubin_cache_load(k->cache, key->text, &e)) return false;
    m->parameters = strdup(e.notes);
    const bool ok = m->parameters && try_load(k, e.image, &m->module, log, sizeof log) == 0;
    cubin_cache_unload(&e);
    if (ok) return true;
    cubin_cache_remove(k->cache, key->text); /* the driver does not take it, whatever the reason: made anew */
    free(m->parameters);
    m->parameters = NULL;
    return false;
}

/* A cache that cannot be written to is told of once, and costs time alone. */
static void keep(CudaKernels *k, const Module *m, const CacheKey *key, const Code *c)
{
    char error[1280];
    const void *image = c->cubin ? c->cubin : c->ptx;
    const size_t bytes = c->cubin ? c->cubin_bytes : strlen(c->ptx) + 1, used = strlen(k->origin);
    if (k->cache == NULL || !cubin_cache_writable(k->cache) || k->unkept) return;
    if (cubin_cache_store(k->cache, key->text, m->parameters, image, bytes, error, sizeof error)) return;
    k->unkept = true;
    snprintf(k->origin + used, sizeof k->origin - used, ", which was not written (%s)", error);
}

static bool from_compiler(CudaKernels *k, Module *m, const CacheKey *key, char *error, size_t error_size)
{
    char architecture[32];
    Code c = {0};
    bool ok = own_architecture(&k->device, architecture, sizeof architecture) && takes_cubins(k, architecture) &&
              compile(m->source, m->macros, architecture, &c, error, error_size) &&
              try_load(k, c.cubin, &m->module, error, error_size) == 0;
    if (!ok) {
        free_code(&c);
        snprintf(architecture, sizeof architecture, "compute_%s", cuda_target_name(k->device.target));
        ok = compile(m->source, m->macros, architecture, &c, error, error_size) && from_ptx(k, m, c.ptx, error, error_size);
    }
    if (ok && (m->parameters = parameter_lines(c.ptx))) keep(k, m, key, &c);
    free_code(&c);
    return ok;
}

/* Fills in module and parameters. */
static bool make_module(CudaKernels *k, Module *m, char *error, size_t error_size)
{
    bool ok;
    if (!k->compiler || m->source->ptx) {
        const char *ptx = m->source->ptx ? m->source->text : m->source->built[k->device.target];
        ok = from_ptx(k, m, ptx, error, error_size);
        if (ok) m->parameters = parameter_lines(ptx);
        k->counts.built_in += ok;
    } else {
        const CacheKey key = cache_key(k, m);
        const bool cached = from_cache(k, m, &key);
        ok = cached || from_compiler(k, m, &key, error, error_size);
        k->counts.cached += cached;
        k->counts.compiled += ok && !cached;
    }
    if (!ok || m->parameters) return ok;
    k->driver->module_unload(m->module);
    snprintf(error, error_size, "out of memory");
    return false;
}

static const Module *module_of(CudaKernels *k, const char *file, const char *macros, char *error, size_t error_size)
{
    const CudaSource *s = source_of(file);
    if (s == NULL) {
        snprintf(error, error_size, "there is no kernel file %s", file);
        return NULL;
    }
    if (!k->compiler || s->ptx) macros = "";
    for (Module *m = k->modules; m; m = m->next)
        if (m->source == s && strcmp(m->macros, macros) == 0) return m;

    Module *m = calloc(1, sizeof *m);
    if (m == NULL || (m->macros = strdup(macros)) == NULL) {
        free(m);
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    m->source = s;
    if (!make_module(k, m, error, error_size)) {
        free_module(m);
        return NULL;
    }
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

static Function *find(CudaKernels *k, uint64_t hash, const char *file, const char *function, const char *macros,
                      char *error, size_t error_size)
{
    enum { OWN_SHARED = 1, NOT_FOUND = 500 }; /* CUfunction_attribute, CUresult */
    const Module *module = module_of(k, file, macros, error, error_size);
    if (module == NULL) return NULL;
    CUfunction handle;
    int own_shared = 0;
    const CUresult found = k->driver->module_function(&handle, module->module, function);
    if (found == NOT_FOUND) {
        snprintf(error, error_size, "kernel file %s has no function %s", file, function);
        return NULL;
    }
    if (found != 0) { /* the device has failed before */
        char text[256];
        cuda_status_text(k->driver, "cuModuleGetFunction", found, text, sizeof text);
        snprintf(error, error_size, "function %s of kernel file %s: %s", function, file, text);
        return NULL;
    }
    k->driver->function_get(&own_shared, OWN_SHARED, handle);
    Function *f = calloc(1, sizeof *f);
    if (f) *f = (Function){NULL, hash, strdup(file), strdup(function), strdup(macros), handle,
                        parameter_bytes(module, function), (unsigned)own_shared, 0};
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
