/*
 * The CUDA driver and NVRTC as the library opens them, and the registry of kernels: what it says where something is missing,
 * what it picks for each part, and that all kernels compile and load. Runs on the emulated driver beside this program; every
 * case is a process, because the driver and its settings are looked at once in a process.
 */
#include "runtime/cuda/budget.h"
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/video_memory.h"
#include "tests/case.h"
#include "tests/child.h"
#include "tests/emulator/library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRIVER EMULATOR_FILE /* the real one's name */
#ifdef _WIN32
#define OTHER_LIBRARY "msvcrt.dll"
#else
#define OTHER_LIBRARY "libm.so.6"
#endif

static char emulator[1024];
static size_t parameter_bytes; /* of a kernel */

/* The last sentence has all of these words. */
static void told(const char *words)
{
    char each[256];
    for (const char *w = words; *w; w += strspn(w, "|")) {
        size_t length = strcspn(w, "|");
        snprintf(each, sizeof each, "%.*s", (int)length, w);
        if (!strstr(said, each)) complain("\"%s\" is not in the sentence: %s", each, said);
        w += length;
    }
    if (strchr(said, '\n') == NULL && strlen(said) > 400) complain("a long sentence: %s", said);
}

/* settings: "NAME=value NAME=value", a minus as the value unsets. The emulator is the driver unless they say otherwise. */
static void set_environment(const char *settings)
{
    setenv("UPRES_CUDA_DRIVER", emulator, 1);
    unsetenv("UPRES_EMULATOR");
    for (const char *s = settings; *s; s += strspn(s, " ")) {
        char name[64], value[512];
        size_t equals = strcspn(s, "="), end = strcspn(s, " ");
        snprintf(name, sizeof name, "%.*s", (int)equals, s);
        snprintf(value, sizeof value, "%.*s", (int)(end - equals - 1), s + equals + 1);
        setenv(name, value, 1);
        s += end;
    }
}

static char asked[1024];    /* settings of the case that runs */
static size_t source_index; /* its kernel file */

/* What a case's process does. */
static int counted(void (*body)(void))
{
    set_environment(asked);
    return case_counted(body);
}

static void test(const char *name, const char *settings, void (*body)(void))
{
    snprintf(asked, sizeof asked, "%s", settings);
    case_tell(child_run(300, counted, body), true, name, settings);
}

static void need_nvrtc(void)
{
    if (nvrtc_version(said, sizeof said) == 0) skip(said);
}

/* ------------------------------------------------------------------------------------------------------ a DXGI of our own */

#ifdef _WIN32
#include <windows.h>

#include <dxgi1_4.h>

/* Three cards; the last knows no IDXGIAdapter3. Of their functions those that are asked for. */
enum { CARDS = 3 };
static int held; /* interfaces that were given out */

typedef struct Card {
    IDXGIAdapter3 adapter;
    int number;
} Card;
static Card cards[CARDS];

static const uint8_t *card_luid(int number)
{
    static const LUID luids[CARDS] = {{77, 0}, {78, 0}, {77, 1}};
    return (const uint8_t *)&luids[number];
}

static ULONG STDMETHODCALLTYPE card_release(IDXGIAdapter3 *self)
{
    (void)self;
    return (ULONG)--held;
}

static HRESULT STDMETHODCALLTYPE card_interface(IDXGIAdapter3 *self, REFIID name, void **found)
{
    /* of IDXGIAdapter3 */
    static const GUID third = {0x645967a4, 0x1392, 0x4310, {0xa7, 0x98, 0x80, 0x53, 0xce, 0x3e, 0x93, 0xfd}};
    if (memcmp(name, &third, sizeof third) != 0 || ((const Card *)self)->number == 2) return E_NOINTERFACE;
    held++;
    *found = self;
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE card_about(IDXGIAdapter3 *self, DXGI_ADAPTER_DESC1 *about)
{
    *about = (DXGI_ADAPTER_DESC1){.VendorId = 0x10de};
    memcpy(&about->AdapterLuid, card_luid(((const Card *)self)->number), sizeof about->AdapterLuid);
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE card_memory(IDXGIAdapter3 *self, UINT node, DXGI_MEMORY_SEGMENT_GROUP group,
                                             DXGI_QUERY_VIDEO_MEMORY_INFO *info)
{
    const UINT64 n = (UINT64)((const Card *)self)->number + 1;
    if (group != DXGI_MEMORY_SEGMENT_GROUP_LOCAL) return E_INVALIDARG;
    *info = (DXGI_QUERY_VIDEO_MEMORY_INFO){.Budget = 1000 * n + node, .CurrentUsage = 10 * n};
    return S_OK;
}

static HRESULT STDMETHODCALLTYPE factory_card(IDXGIFactory1 *self, UINT i, IDXGIAdapter1 **card)
{
    static IDXGIAdapter3Vtbl functions = {.QueryInterface = card_interface, .Release = card_release, .GetDesc1 = card_about,
                                          .QueryVideoMemoryInfo = card_memory};
    (void)self;
    if (i >= CARDS) return DXGI_ERROR_NOT_FOUND;
    cards[i] = (Card){{&functions}, (int)i};
    held++;
    *card = (IDXGIAdapter1 *)&cards[i].adapter;
    return S_OK;
}

static ULONG STDMETHODCALLTYPE factory_release(IDXGIFactory1 *self)
{
    (void)self;
    return (ULONG)--held;
}

static long __stdcall make_factory(const void *name, void **factory)
{
    static IDXGIFactory1Vtbl functions = {.Release = factory_release, .EnumAdapters1 = factory_card};
    static IDXGIFactory1 made = {&functions};
    (void)name;
    held++;
    *factory = &made;
    return S_OK;
}

static long __stdcall no_factory(const void *name, void **factory)
{
    (void)name;
    (void)factory;
    return DXGI_ERROR_UNSUPPORTED;
}
#endif

/* --------------------------------------------------------------------------------------------------- drivers and parts */

static void no_driver(void)
{
    CudaDevice d;
    CHECK(cuda_driver(said, sizeof said) == NULL);
    told("no CUDA driver|/nowhere/" DRIVER "|UPRES_CUDA_DRIVER");
    CHECK(cuda_device_count() == 0);
    CHECK(cuda_device_free(0) == 0);
    said[0] = '\0';
    CHECK(!cuda_device(0, &d, said, sizeof said));
    told("no CUDA driver");
}

static void no_driver_at_all(void)
{
    if (cuda_driver(said, sizeof said) != NULL) skip("this machine has a driver");
    told("CUDA driver|" DRIVER);
}

static void not_a_driver(void)
{
    CHECK(cuda_driver(said, sizeof said) == NULL);
    told(OTHER_LIBRARY "|has no function cuInit|12.0 or newer|update");
}

static void old_driver(void)
{
    CHECK(cuda_driver(said, sizeof said) == NULL);
    told("for CUDA 11.0|12.0 or newer|update");
}

static void no_device(void)
{
    CHECK(cuda_driver(said, sizeof said) == NULL);
    told("no NVIDIA GPU|CUDA_VISIBLE_DEVICES");
    CHECK(cuda_device_count() == 0);
}

static void refused_options(void)
{
    CHECK(cuda_driver(said, sizeof said) == NULL);
    told("cuInit|CUDA_ERROR_INVALID_VALUE");
}

static void texts(void)
{
    const CudaDriver *c = cuda_driver(said, sizeof said);
    CHECK(c != NULL && c->version == 13000);
    if (c == NULL) return;
    cuda_status_text(c, "cuMemAlloc", CUDA_ERROR_OUT_OF_MEMORY, said, sizeof said);
    told("cuMemAlloc: |(CUDA_ERROR_OUT_OF_MEMORY, 2)");
    cuda_status_text(c, "cuMemAlloc", 54321, said, sizeof said);
    told("cuMemAlloc: |54321");
}

static void three_devices(void)
{
    CudaDevice d;
    CHECK(cuda_device_count() == 3);
    CHECK(cuda_device(2, &d, said, sizeof said) && d.ordinal == 2);
    CHECK(!cuda_device(3, &d, said, sizeof said));
    told("no CUDA device 3|shows 3");
    CHECK(!cuda_device(-1, &d, said, sizeof said));
    /* 8 GiB, less a tenth; Windows may show a display on it: 512 MiB for that */
    const uint64_t gib = (uint64_t)1 << 30, budget = cuda_device_free(1), most = 8 * gib - 8 * gib / 10;
#ifdef _WIN32
    CHECK(budget <= most - gib / 2 + 1 && budget > 6 * gib);
#else
    CHECK(budget <= most + 1 && budget > 7 * gib);
#endif
    CHECK(cuda_device_free(3) == 0);
}

/* Rules of what a job may take, and what they rest on. */
static void budgets(void)
{
    const uint64_t mib = (uint64_t)1 << 20, gib = (uint64_t)1 << 30;
    const struct {
        MemoryState state;
        uint64_t budget;
    } cases[] = {
        {{0, 0, 0, false}, 0},
        {{0, 0, 0, true}, 0},
        {{512 * mib, 0, 0, true}, 512 * mib - 512 * mib / 10},
        {{512 * mib, 0, 0, false}, 512 * mib - 512 * mib / 10},
        {{15 * gib, 0, 0, true}, 15 * gib - 15 * gib / 10 - gib / 2}, /* the system does not tell */
        {{15 * gib, 14 * gib, 2 * gib, true}, 12 * gib - 12 * gib / 10 - gib / 2}, /* less than is free */
        {{10 * gib, 14 * gib, 2 * gib, true}, 9 * gib - gib / 2}, /* more than is free */
        {{10 * gib, 12 * gib, 2 * gib, true}, 9 * gib - gib / 2}, /* just that */
        {{10 * gib, 2 * gib, 3 * gib, true}, 0}, /* beyond its share already */
        {{10 * gib, 2 * gib, 2 * gib, true}, 0},
        {{8 * gib, 0, 0, false}, 8 * gib - 8 * gib / 10}, /* no display */
        {{140 * gib, 0, 0, false}, 139 * gib},
        {{140 * gib, 0, 0, true}, 126 * gib - gib / 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const uint64_t budget = memory_budget(&cases[i].state);
        if (budget != cases[i].budget)
            complain("case %d: %llu bytes, expected %llu", (int)i, (unsigned long long)budget, (unsigned long long)cases[i].budget);
    }
}

/* Nobody's card, with whatever of DXGI there is here; then cards of a DXGI of our own (Windows). */
static void video_memory_of_cards(void)
{
    VideoMemory m = {7, 7};
    CHECK(!video_memory((const uint8_t *)"nobody's", 0, &m));
#ifdef _WIN32
    CHECK(!video_memory_by(no_factory, card_luid(0), 0, &m));
    CHECK(video_memory_by(make_factory, card_luid(0), 1, &m) && m.granted == 1000 && m.used == 10);
    CHECK(video_memory_by(make_factory, card_luid(1), 1, &m) && m.granted == 2000 && m.used == 20);
    CHECK(video_memory_by(make_factory, card_luid(1), 4, &m) && m.granted == 2002 && m.used == 20); /* its third node */
    CHECK(!video_memory_by(make_factory, card_luid(2), 1, &m)); /* too old to be asked */
    CHECK(!video_memory_by(make_factory, (const uint8_t *)"nobody's", 1, &m));
    CHECK(held == 0); /* all that was given was given back */
#endif
}

static void small_device(void)
{
    const uint64_t mib = (uint64_t)1 << 20, budget = cuda_device_free(0);
    CHECK(budget <= 461 * mib && budget > 400 * mib);
}

static CudaDevice device(void)
{
    CudaDevice d = {0};
    if (!cuda_device(0, &d, said, sizeof said)) complain("no device: %s", said);
    return d;
}

static void check_part(CudaTarget target, int major, int minor, int shared)
{
    CudaDevice d = device();
    CHECK(d.target == target && d.major == major && d.minor == minor);
    CHECK(d.shared_per_block == shared && d.shared_per_sm > shared && d.threads_per_sm >= 1536);
    CHECK(d.sms > 0 && d.name[0] && d.memory >= (uint64_t)1 << 30 && d.l2 >= 1 << 20);
    CHECK(d.clock_ghz > 0.5 && d.clock_ghz < 5 && d.bandwidth_gbs > 100 && d.bandwidth_gbs < 10000);
}
static void part_80(void) { check_part(CUDA_TARGET_80, 8, 0, 166912); }
static void part_86(void) { check_part(CUDA_TARGET_80, 8, 6, 101376); }
static void part_89(void) { check_part(CUDA_TARGET_89, 8, 9, 101376); }
static void part_90(void) { check_part(CUDA_TARGET_90A, 9, 0, 232448); }
static void part_120(void) { check_part(CUDA_TARGET_120F, 12, 0, 101376); }
static void part_120_of_an_older_driver(void) { check_part(CUDA_TARGET_89, 12, 0, 101376); }

/* Parts that the emulator has not: what the driver answers is put in. */
static int answer_major, answer_minor;
static CUresult CUDA_CALL answer(int *value, int attribute, CUdevice handle)
{
    (void)handle;
    *value = attribute == CU_ATTRIBUTE_MAJOR ? answer_major : attribute == CU_ATTRIBUTE_MINOR ? answer_minor : -1;
    return 0;
}

static void other_parts(void)
{
    static const struct {
        int major, minor, target; /* -1: refused */
    } cases[] = {{7, 5, -1}, {8, 7, CUDA_TARGET_80},    {9, 1, -1}, {10, 0, CUDA_TARGET_89}, {10, 3, CUDA_TARGET_89},
                 {11, 0, -1}, {12, 1, CUDA_TARGET_120F}, {13, 0, -1}};
    CudaDevice d;
    CudaDriver *c = (CudaDriver *)cuda_driver(said, sizeof said);
    if (c == NULL) complain("no driver: %s", said);
    if (c == NULL) return;
    c->device_attribute = answer;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char capability[32];
        answer_major = cases[i].major;
        answer_minor = cases[i].minor;
        bool known = cuda_device(0, &d, said, sizeof said);
        CHECK(known == (cases[i].target >= 0) && (!known || (int)d.target == cases[i].target));
        if (known) { /* what the driver does not tell is 0 */
            CHECK(d.sms == 0 && d.clock_ghz == 0 && d.bandwidth_gbs == 0 && d.l2 == 0 && d.shared_per_block == 0);
            continue;
        }
        snprintf(capability, sizeof capability, "capability %d.%d|8.0|12.x", answer_major, answer_minor);
        told(capability);
    }
}

/* ------------------------------------------------------------------------------------------------------------- NVRTC */

static const char add_source[] = "#include \"part.h\"\n"
                                 "extern \"C\" __global__ void add(const __grid_constant__ Sum s)\n"
                                 "{\n"
                                 "    int i = blockIdx.x * blockDim.x + threadIdx.x;\n"
                                 "    if (i < s.count) s.to[i] = s.from[i] + VALUE;\n"
                                 "}\n";
typedef struct Sum {
    CUdeviceptr to, from;
    int count;
} Sum;
static const NvrtcHeader add_header = {"part.h", "struct Sum { float *to; const float *from; int count; };\n"};
static const char *const add_options[] = {"-DVALUE=1.5f", NULL};

/* PTX or a cubin of the kernel above; NULL with the reason in `said`. */
static char *compile_add(const char *source, const char *architecture, const char *const *options, size_t *bytes)
{
    return nvrtc_compile("add.cu", source, &add_header, 1, architecture, options, bytes, said, sizeof said);
}

static void run_add(const CudaDriver *c, CUfunction function)
{
    enum { COUNT = 1000 };
    static float values[COUNT];
    Sum s = {.count = COUNT};
    void *arguments[] = {&s};
    for (int i = 0; i < COUNT; i++) values[i] = (float)i;
    CHECK(c->memory_take(&s.to, sizeof values) == 0 && c->memory_take(&s.from, sizeof values) == 0);
    CHECK(c->copy_in(s.from, values, sizeof values, NULL) == 0);
    CHECK(c->launch(function, 8, 1, 1, 128, 1, 1, 0, NULL, arguments, NULL) == 0);
    CHECK(c->copy_out(values, s.to, sizeof values, NULL) == 0 && c->context_synchronize() == 0);
    for (int i = 0; i < COUNT; i++) CHECK(values[i] == (float)i + 1.5f);
}

static const CudaDriver *start(void)
{
    CUcontext context;
    const CudaDriver *c = cuda_driver(said, sizeof said);
    if (c == NULL || c->context_retain(&context, 0) != 0 || c->context_push(context) != 0) {
        complain("no context: %s", said);
        exit(1);
    }
    return c;
}

static void compile_and_launch(void)
{
    need_nvrtc();
    const CudaDriver *c = start();
    char architecture[32];
    size_t bytes = 0;
    CUmodule module;
    CUfunction function;
    snprintf(architecture, sizeof architecture, "compute_%s", cuda_target_name(device().target));
    char *ptx = compile_add(add_source, architecture, add_options, &bytes);
    CHECK(ptx != NULL && bytes == strlen(ptx) + 1 && strstr(ptx, ".entry add("));
    CHECK(ptx && c->module_load(&module, ptx, 0, NULL, NULL) == 0);
    CHECK(ptx && c->module_function(&function, module, "add") == 0);
    if (complaints == 0) run_add(c, function);
    free(ptx);
}

static void compiler_errors(void)
{
    need_nvrtc();
    size_t bytes = 0;
    CHECK(compile_add(add_source, "compute_80", NULL, &bytes) == NULL);
    told("add.cu|VALUE|undefined");
    CHECK(compile_add("extern \"C\" __global__ void f() { int unused; }", "compute_80", NULL, &bytes) == NULL);
    told("add.cu|warnings|unused");
    CHECK(compile_add("#include <stdint.h>\n", "compute_80", NULL, &bytes) == NULL);
    told("stdint.h");
    CHECK(compile_add(add_source, "compute_35", add_options, &bytes) == NULL);
    told("gpu-architecture");
    /* a cubin, and an empty log */
    char *cubin = compile_add(add_source, "sm_89", add_options, &bytes);
    CHECK(cubin != NULL && bytes > 64 && memcmp(cubin, "\177ELF", 4) == 0);
    free(cubin);
}

static void no_nvrtc(void)
{
    size_t bytes = 0;
    CHECK(nvrtc_version(said, sizeof said) == 0 && nvrtc_path()[0] == '\0');
    told("NVRTC was not found");
    CHECK(compile_add(add_source, "compute_80", add_options, &bytes) == NULL);
    told("NVRTC was not found");
}

static void no_nvrtc_by_that_name(void)
{
    no_nvrtc();
    told("/nowhere/nvrtc.so");
}

static void not_an_nvrtc(void)
{
    no_nvrtc();
    told(OTHER_LIBRARY " is not an NVRTC");
}

static void versions_of_ptx(void)
{
    static const char *const cases[][2] = {
        {"//\n.version 9.0\n.target sm_120f\n", "//\n.version 8.8\n.target sm_120f\n"},
        {"//\n.version 9.0\n.target sm_90a\n", "//\n.version 8.0\n.target sm_90a\n"},
        {"//\n.version 8.8\n.target sm_80\n", "//\n.version 8.0\n.target sm_80\n"},
        {"//\n.version 7.8\n.target sm_89\n", "//\n.version 7.8\n.target sm_89\n"},
        {"no PTX", "no PTX"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(said, sizeof said, "%s", cases[i][0]);
        nvrtc_lower_version(said);
        CHECK(strcmp(said, cases[i][1]) == 0);
    }
}

/* ----------------------------------------------------------------------------------------------------------- registry */

static CudaKernels *open_kernels(void)
{
    CudaDevice d = device();
    CudaKernels *k = cuda_kernels_open(start(), &d, said, sizeof said);
    if (k == NULL) complain("no kernels: %s", said);
    return k;
}

static size_t parameter_bytes; /* of what was asked for last */
static CUfunction ask(CudaKernels *k, const char *file, const char *function, const char *macros, unsigned shared)
{
    parameter_bytes = 0;
    return cuda_kernel(k, file, function, macros, shared, &parameter_bytes, said, sizeof said);
}

/* Names of the functions in PTX text, one a call; NULL past the last. */
static const char *next_function(const char **ptx, char *name, size_t size)
{
    const char *entry = strstr(*ptx, ".entry ");
    if (entry == NULL) return NULL;
    entry += 7;
    size_t length = strcspn(entry, "( \n\t");
    snprintf(name, size, "%.*s", (int)length, entry);
    *ptx = entry + length;
    return name;
}

/* What holds the names of a source's functions; NULL: upres was built without a compiler, and has none now. */
static char *ptx_of(const CudaSource *s, CudaTarget target)
{
    NvrtcHeader headers[16];
    char name[160], architecture[32];
    size_t bytes;
    int count = 0;
    if (s->ptx) return strdup(s->text);
    if (s->built[target]) return strdup(s->built[target]);
    while (count < 16 && cuda_source_header((size_t)count, &headers[count].name, &headers[count].text)) count++;
    snprintf(name, sizeof name, "kernels/cuda/%s.cu", s->name);
    snprintf(architecture, sizeof architecture, "compute_%s", cuda_target_name(target));
    return nvrtc_compile(name, s->text, headers, count, architecture, NULL, &bytes, said, sizeof said);
}

static bool is_built(CudaTarget target)
{
    CudaSource s;
    for (size_t i = 0; cuda_source(i, &s); i++)
        if (!s.ptx && !s.built[target]) return false;
    return true;
}

static void need_kernels(void)
{
    if (!is_built(device().target) && nvrtc_version(said, sizeof said) == 0) skip("upres was built without a compiler");
}

/* Every function of every file loads, and is the same when it is asked for again. */
static void all_functions(void)
{
    CudaSource s;
    CudaDevice d = device();
    need_kernels();
    CudaKernels *k = open_kernels();
    for (size_t i = 0; k && cuda_source(i, &s); i++) {
        char name[256], *text = ptx_of(&s, d.target);
        const char *rest = text;
        if (text == NULL) complain("%s: %s", s.name, said);
        for (int n = 0; text && next_function(&rest, name, sizeof name); n++) {
            CUfunction f = ask(k, s.name, name, "", 0);
            if (f == NULL) complain("%s.%s: %s", s.name, name, said);
            CHECK(parameter_bytes > 0 && parameter_bytes < 4096);
            CHECK(parameter_bytes > 0 && parameter_bytes <= 4096);
            CHECK(f == ask(k, s.name, name, "", 0));
        }
        free(text);
    }
    cuda_kernels_close(k);
}

static void origin(void)
{
    need_kernels();
    CudaKernels *k = open_kernels();
    if (k == NULL) return;
    snprintf(said, sizeof said, "%s", cuda_kernels_origin(k));
    told(nvrtc_version(said + 4096, 4096) ? "NVRTC 1" : "PTX built in|NVRTC was not found");
    cuda_kernels_close(k);
}

static void without_compiler(void)
{
    CudaDevice d = device();
    if (is_built(d.target)) {
        origin();
        return;
    }
    CHECK(cuda_kernels_open(start(), &d, said, sizeof said) == NULL);
    told("NVRTC was not found|built without PTX|compute_120f|pip install nvidia-cuda-nvrtc");
}

static void registry_errors(void)
{
    CudaSource s;
    need_nvrtc();
    CudaKernels *k = open_kernels();
    if (k == NULL) return;
    CHECK(ask(k, "nothing", "f", "", 0) == NULL);
    told("no kernel file nothing");
    for (size_t i = 0; cuda_source(i, &s); i++)
        if (!s.ptx) break;
    if (s.name == NULL || s.ptx) return;
    CHECK(ask(k, s.name, "nothing", "", 0) == NULL);
    told("has no function nothing");
    CHECK(ask(k, s.name, "nothing", "A=1  uint32_t=@", 0) == NULL);
    told("does not compile|error");
    char macros[200] = "A=1";
    while (strlen(macros) < 150) strcat(macros, " A=1");
    CHECK(ask(k, s.name, "nothing", macros, 0) == NULL);
    told("too many macros");
    cuda_kernels_close(k);
}

/* Dynamic shared memory above 48 KiB is asked for, above the part's is refused. */
static void shared_memory(void)
{
    CudaSource s;
    char name[256];
    need_kernels();
    const CudaDriver *c = start();
    CudaDevice d = device();
    CudaKernels *k = cuda_source(0, &s) ? open_kernels() : NULL;
    if (k == NULL) return;
    char *text = ptx_of(&s, d.target);
    const char *rest = text;
    if (text == NULL || !next_function(&rest, name, sizeof name)) {
        complain("%s has no function: %s", s.name, said);
        return;
    }
    int own = 0, allowed = 0;
    CUfunction f = ask(k, s.name, name, "", 8192);
    CHECK(f != NULL && c->function_get(&own, 1, f) == 0);
    unsigned most = (unsigned)(d.shared_per_block - own);
    CHECK(ask(k, s.name, name, "", most) == f);
    CHECK(c->function_get(&allowed, CU_FUNC_MAX_DYNAMIC_SHARED, f) == 0 && allowed == (int)most);
    CHECK(ask(k, s.name, name, "", 60000) == f); /* what was allowed stays */
    CHECK(c->function_get(&allowed, CU_FUNC_MAX_DYNAMIC_SHARED, f) == 0 && allowed == (int)most);
    CHECK(ask(k, s.name, name, "", most + 1) == NULL);
    told("bytes of shared memory|101377|101376");
    free(text);
    cuda_kernels_close(k);
}

/* ---------------------------------------------------------------------------------------------------------- all sources */


static void compile_source(void)
{
    need_nvrtc();
    int version = nvrtc_version(said, sizeof said);
    CudaSource anew = {0};
    CHECK(cuda_source(source_index, &anew));
    for (int t = 0; t < CUDA_TARGET_COUNT; t++) {
        if (t == CUDA_TARGET_120F && version < 12090) continue;
        anew.built[t] = NULL;
        char *ptx = ptx_of(&anew, (CudaTarget)t);
        if (ptx == NULL) complain("compute_%s: %s", cuda_target_name((CudaTarget)t), said);
        free(ptx);
    }
}

static void test_registry(void)
{
    char name[160];
    CudaSource source;
    for (source_index = 0; cuda_source(source_index, &source); source_index++) {
        if (source.ptx) continue;
        snprintf(name, sizeof name, "%s.cu compiles for all targets without warnings", source.name);
        test(name, "", compile_source);
    }
    static const char *const parts[] = {"80", "86", "89", "90", "120"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char settings[128];
        snprintf(settings, sizeof settings, "UPRES_EMULATOR=sm=%s UPRES_NVRTC=none", parts[i]);
        test("every function loads", settings, all_functions);
    }
    test("every function loads", "UPRES_EMULATOR=sm=120", all_functions);
    test("where kernels come from", "", origin);
    test("kernels without a compiler", "UPRES_NVRTC=none", without_compiler);
    test("errors of the registry", "", registry_errors);
    test("dynamic shared memory", "", shared_memory);
}

int main(int count, char **arguments)
{
    (void)count;
    emulator_path(arguments[0], "emulator/", emulator, sizeof emulator);
    child_keep(asked, sizeof asked);
    child_keep(&source_index, sizeof source_index);
    child_begin();
    test("a driver that is not there", "UPRES_CUDA_DRIVER=/nowhere/" DRIVER, no_driver);
    test("a machine without a driver", "UPRES_CUDA_DRIVER=", no_driver_at_all);
    test("a library that is no driver", "UPRES_CUDA_DRIVER=" OTHER_LIBRARY, not_a_driver);
    test("an old driver", "UPRES_EMULATOR=driver=11000", old_driver);
    test("no device", "UPRES_EMULATOR=devices=0", no_device);
    test("a driver that refuses to start", "UPRES_EMULATOR=sm=1 UPRES_QUIET=1", refused_options);
    test("what the driver says", "", texts);
    test("three devices", "UPRES_EMULATOR=devices=3,memory=8G", three_devices);
    test("what a job may take of a device's memory", "", budgets);
    test("what the system grants of it", "", video_memory_of_cards);
    test("a small device", "UPRES_EMULATOR=memory=512M", small_device);
    test("a part", "UPRES_EMULATOR=sm=80", part_80);
    test("a part", "UPRES_EMULATOR=sm=86", part_86);
    test("a part", "UPRES_EMULATOR=sm=89", part_89);
    test("a part", "UPRES_EMULATOR=sm=90", part_90);
    test("a part", "UPRES_EMULATOR=sm=120", part_120);
    test("a part with an older driver", "UPRES_EMULATOR=sm=120,driver=12080", part_120_of_an_older_driver);
    test("parts by their compute capability", "", other_parts);
    test("no NVRTC", "UPRES_NVRTC=none", no_nvrtc);
    test("no NVRTC", "UPRES_NVRTC=", no_nvrtc);
    test("an NVRTC that is not there", "UPRES_NVRTC=/nowhere/nvrtc.so", no_nvrtc_by_that_name);
    test("a library that is no NVRTC", "UPRES_NVRTC=" OTHER_LIBRARY, not_an_nvrtc);
    test("errors of the compiler", "", compiler_errors);
    test("versions of PTX", "", versions_of_ptx);
    test("compile and launch", "UPRES_EMULATOR=sm=80", compile_and_launch);
    test("compile and launch", "UPRES_EMULATOR=sm=90", compile_and_launch);
    test("compile and launch", "UPRES_EMULATOR=sm=120", compile_and_launch);
    test_registry();
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0;
}
