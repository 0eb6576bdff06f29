/*
 * Modules, their functions and variables, libraries (a module under another name), and the coverage file.
 */
#include "tests/emulator/driver.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct module *modules;

/* FNV-1a, 64 bits (Fowler, Noll, Vo). */
static uint64_t hash_text(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *text != '\0'; text++) h = (h ^ (uint8_t)*text) * 0x100000001b3u;
    return h;
}

/* --------------------------------------------------------------------------------------------------------- coverage */

/*
 * One line for each PTX line with an instruction, columns separated by tabs: kernel, line, times it ran, hash of the
 * PTX text, simulated part. All lines of a module go out in one locked append, so that processes may share the file.
 */
static void coverage_write(const struct module *m)
{
    size_t lines = core_coverage_count(m->core);
    if (emu.options.coverage[0] == '\0' || lines == 0) return;
    struct text text = {0};
    for (size_t i = 0; i < lines; i++) {
        struct core_coverage c = core_coverage_at(m->core, i);
        text_add(&text, "%s\t%" PRIu32 "\t%" PRIu64 "\t%016" PRIx64 "\t%d\n", c.function, c.line, c.count, m->hash,
                 emu.options.sm);
    }
    append_locked("coverage", emu.options.coverage, text.bytes, text.length);
    free(text.bytes);
}

/* Modules that the program left loaded. A process forked after cuInit has its parent's counts: not written. */
__attribute__((destructor)) static void coverage_at_exit(void)
{
    if (emu.process != getpid()) return;
    for (struct module *m = modules; m != NULL; m = m->next) coverage_write(m);
}

/* ---------------------------------------------------------------------------------------------------------- loading */

static void module_free(struct module *m)
{
    coverage_write(m);
    for (struct module **p = &modules; *p != NULL; p = &(*p)->next) {
        if (*p != m) continue;
        *p = m->next;
        break;
    }
    for (size_t i = 0; i < m->function_count; i++) handle_remove(&m->functions[i]);
    for (size_t i = 0; i < m->variable_count; i++)
        if (m->variables[i] != NULL) allocation_free(m->variables[i]);
    handle_remove(m);
    core_unload(m->core);
    free(m->variables);
    free(m->functions);
    free(m);
}

void modules_of_context_free(struct context *context)
{
    for (struct module *m = modules, *next; m != NULL; m = next) {
        next = m->next;
        if (m->context == context) module_free(m);
    }
}

static CUresult place_variables(struct module *m)
{
    m->variable_count = core_variable_count(m->core);
    m->variables = must_calloc(m->variable_count, sizeof *m->variables);
    for (size_t i = 0; i < m->variable_count; i++) {
        struct core_variable v = core_variable_at(m->core, i);
        struct allocation *a;
        if (v.size == 0) continue;
        CUresult status = allocation_make(m->context, v.size, MEMORY_MODULE, &a);
        if (status != CUDA_SUCCESS) return status;
        m->variables[i] = a;
        if (v.initial != NULL) memcpy((void *)(uintptr_t)a->base, v.initial, v.size);
        init_mark(a, a->base, v.size);
        *v.address = a->base;
    }
    core_bind(m->core);
    return CUDA_SUCCESS;
}

/* The first bytes tell compiled code from PTX. Programs try out whether a driver takes theirs: said in the log alone. */
static CUresult check_image(const void *image, struct core_error *error)
{
    const char *what = NULL;
    if (image == NULL) return CUDA_ERROR_INVALID_VALUE;
    if (strncmp(image,
                "\x7f"
                "ELF",
                4) == 0)
        what = "cubin";
    else if (strncmp(image, "\x50\xed\x55\xba", 4) == 0)
        what = "fatbin";
    if (what == NULL) return CUDA_SUCCESS;
    snprintf(error->text, sizeof error->text, "the image is a %s: the emulator takes PTX text", what);
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

static CUresult module_load(struct context *context, const char *text, struct module **module, struct core_error *error)
{
    CUresult status = check_image(text, error);
    if (status != CUDA_SUCCESS) return status;
    struct core_options options = {
        .sm = emu.options.sm, .seed = emu.options.seed, .exact_mma = emu.options.exact, .threads = emu.options.threads};
    struct core_module *core = core_load(text, strlen(text), &options, error);
    if (core == NULL) return refuse((CUresult)error->status, "%s", error->text);
    struct module *m = must_calloc(1, sizeof *m);
    m->context = context;
    m->core = core;
    m->hash = hash_text(text);
    m->function_count = core_function_count(core);
    m->functions = must_calloc(m->function_count, sizeof *m->functions);
    for (size_t i = 0; i < m->function_count; i++) {
        struct function *f = &m->functions[i];
        f->module = m;
        f->core = core_function_at(core, i);
        f->info = core_function_info(f->core);
        f->max_dynamic_shared = f->info.static_shared < 49152 ? 49152 - (int)f->info.static_shared : 0;
        f->carveout = -1;
        handle_add(f, HANDLE_FUNCTION);
    }
    handle_add(m, HANDLE_MODULE);
    m->next = modules;
    modules = m;
    status = place_variables(m);
    if (status != CUDA_SUCCESS) {
        module_free(m);
        return status;
    }
    *module = m;
    return CUDA_SUCCESS;
}

/* The log buffers of the options: what went wrong, or nothing. */
static void write_logs(unsigned count, const int *options, void **values, const char *text)
{
    size_t error_size = 0, info_size = 0;
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) error_size = (size_t)(unsigned)(uintptr_t)values[i];
        if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES) info_size = (size_t)(unsigned)(uintptr_t)values[i];
    }
    for (unsigned i = 0; i < count; i++) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER && error_size > 0) snprintf(values[i], error_size, "%s", text);
        if (options[i] == CU_JIT_INFO_LOG_BUFFER && info_size > 0) *(char *)values[i] = '\0';
    }
    /* The sizes come back as the lengths written. */
    for (unsigned i = 0; i < count; i++) {
        size_t length = strlen(text) + 1;
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            values[i] = (void *)(uintptr_t)(length < error_size ? length : error_size);
        if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES) values[i] = (void *)(uintptr_t)(info_size > 0);
    }
}

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, int *options, void **values)
{
    struct context *c;
    struct core_error error = {0};
    CUresult status = enter(&c);
    if (status == CUDA_SUCCESS && (module == NULL || (count > 0 && (options == NULL || values == NULL))))
        status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    status = module_load(c, image, module, &error);
    write_logs(count, options, values, error.text);
    return leave(status);
}

CUresult cuModuleLoadData(CUmodule *module, const void *image)
{
    return cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

CUresult cuModuleLoad(CUmodule *module, const char *path)
{
    FILE *file = path != NULL ? fopen(path, "rb") : NULL;
    if (file == NULL) return path != NULL ? CUDA_ERROR_FILE_NOT_FOUND : CUDA_ERROR_INVALID_VALUE;
    char *text = NULL;
    size_t length = 0, capacity = 0, n;
    do {
        capacity = capacity == 0 ? 65536 : capacity * 2;
        char *larger = realloc(text, capacity + 1);
        if (larger == NULL) break;
        text = larger;
        n = fread(text + length, 1, capacity - length, file);
        length += n;
    } while (length == capacity);
    bool whole = text != NULL && length < capacity && !ferror(file);
    fclose(file);
    if (whole) text[length] = '\0';
    CUresult status = whole ? cuModuleLoadData(module, text) : CUDA_ERROR_OPERATING_SYSTEM;
    free(text);
    return status;
}

/* enter, and the handle must be a live module. */
#define enter_module(...) enter_module_by(__func__, __VA_ARGS__)
static CUresult enter_module_by(const char *function, struct module *m)
{
    struct context *c;
    CUresult status = enter_by(function, &c);
    if (status == CUDA_SUCCESS && !handle_is(m, HANDLE_MODULE)) status = CUDA_ERROR_INVALID_HANDLE;
    return status;
}

CUresult cuModuleUnload(CUmodule module)
{
    CUresult status = enter_module(module);
    if (status != CUDA_SUCCESS) return leave(status);
    run_context(module->context);
    status = module->context->error;
    module_free(module);
    return leave(status);
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    CUresult status = enter_module(module);
    if (status == CUDA_SUCCESS && (function == NULL || name == NULL)) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    for (size_t i = 0; i < module->function_count; i++) {
        if (strcmp(module->functions[i].info.name, name) != 0) continue;
        *function = &module->functions[i];
        return leave(CUDA_SUCCESS);
    }
    return leave(CUDA_ERROR_NOT_FOUND);
}

CUresult cuModuleGetFunctionCount(unsigned *count, CUmodule module)
{
    CUresult status = enter_module(module);
    if (status == CUDA_SUCCESS && count == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *count = (unsigned)module->function_count;
    return leave(status);
}

CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned count, CUmodule module)
{
    CUresult status = enter_module(module);
    if (status == CUDA_SUCCESS && functions == NULL) status = CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; status == CUDA_SUCCESS && i < count && i < module->function_count; i++)
        functions[i] = &module->functions[i];
    return leave(status);
}

CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule module, const char *name)
{
    CUresult status = enter_module(module);
    if (status == CUDA_SUCCESS && name == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status != CUDA_SUCCESS) return leave(status);
    for (size_t i = 0; i < module->variable_count; i++) {
        struct core_variable v = core_variable_at(module->core, i);
        if (strcmp(v.name, name) != 0) continue;
        if (address != NULL) *address = *v.address;
        if (bytes != NULL) *bytes = v.size;
        return leave(CUDA_SUCCESS);
    }
    return leave(CUDA_ERROR_NOT_FOUND);
}

CUresult cuModuleGetLoadingMode(int *mode)
{
    if (mode == NULL) return CUDA_ERROR_INVALID_VALUE;
    *mode = 1; /* eager */
    return CUDA_SUCCESS;
}

CUresult cuLibraryLoadData(CUlibrary *library, const void *image, int *options, void **values, unsigned count,
                           int *library_options, void **library_values, unsigned library_count)
{
    (void)library_options;
    (void)library_values;
    (void)library_count;
    return cuModuleLoadDataEx(library, image, count, options, values);
}

CUresult cuLibraryUnload(CUlibrary library)
{
    return cuModuleUnload(library);
}

CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
    return cuModuleGetFunction(kernel, library, name);
}

CUresult cuLibraryGetModule(CUmodule *module, CUlibrary library)
{
    CUresult status = enter_module(library);
    if (status == CUDA_SUCCESS && module == NULL) status = CUDA_ERROR_INVALID_VALUE;
    if (status == CUDA_SUCCESS) *module = library;
    return leave(status);
}

CUresult cuLibraryGetGlobal(CUdeviceptr *address, size_t *bytes, CUlibrary library, const char *name)
{
    return cuModuleGetGlobal_v2(address, bytes, library, name);
}
