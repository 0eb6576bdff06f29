/*
 * Tests of the PTX interpreter: kernels that are right run right, their broken twins are caught, fragments are those of
 * the PTX documents, text that is no PTX is refused by line. Prints "ok|FAIL|skip NAME" and "N passed, N failed, N
 * skipped"; run from the root of the repository.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/emulator/core.h"
#include "tests/emulator/test_core.h"

static int passed, failed, skipped;

void test_case(const char *name, bool ok, const char *detail)
{
    printf("%s %s%s%s\n", ok ? "ok" : "FAIL", name, ok || !detail[0] ? "" : ": ", ok ? "" : detail);
    if (ok)
        passed++;
    else
        failed++;
}
void test_skip(const char *name, const char *why)
{
    printf("skip %s: %s\n", name, why);
    skipped++;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Device memory: each allocation ends where its bytes end. */

void *device_alloc(struct device *d, size_t bytes, bool initialised)
{
    struct core_span *s = &d->span[d->count++];
    void *p = malloc(bytes + 256);
    d->memory[d->count - 1] = p;
    p = (char *)p + (256 - (uintptr_t)p % 256) % 256;
    s->base = (uint64_t)(uintptr_t)p;
    s->size = bytes;
    s->init = calloc(bytes / 8 + 1, 1);
    memset(p, 0, bytes);
    if (initialised) memset(s->init, 0xff, bytes / 8 + 1);
    return p;
}
void device_free(struct device *d)
{
    for (int i = 0; i < d->count; i++) {
        free(d->memory[i]);
        free(d->span[i].init);
    }
    d->count = 0;
}
bool device_find(void *user, uint64_t address, struct core_span *span)
{
    struct device *d = user;
    for (int i = 0; i < d->count; i++)
        if (address - d->span[i].base < d->span[i].size) {
            *span = d->span[i];
            return true;
        }
    span->size = 0;
    return false;
}

/* ------------------------------------------------------------------------------------------------------------------ */

char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = calloc(1, 1 << 20);
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

/* The text without the lines marked "needed: what"; they become empty, so that line numbers stay. */
static void break_text(char *text, const char *what)
{
    char mark[64];
    snprintf(mark, sizeof(mark), "needed: %s\n", what);
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next) next++;
        char *found = strstr(line, mark);
        if (found && next && found < next) memset(line, ' ', (size_t)(next - line - 1));
    }
}

struct core_module *load_text(const char *text, int sm, struct core_error *error)
{
    struct core_options options = {.sm = sm};
    struct core_module *m = core_load(text, strlen(text), &options, error);
    if (m) core_bind(m);
    return m;
}

enum core_status run_module(struct core_module *m, const char *kernel, struct device *d, uint32_t grid, uint32_t block,
                            const void *params, const struct core_options *options, struct core_error *error)
{
    struct core_memory memory = {d, device_find};
    struct core_launch launch = {.function = core_function_find(m, kernel),
                                 .grid = {grid, 1, 1},
                                 .block = {block, 1, 1},
                                 .params = params,
                                 .memory = &memory,
                                 .options = *options};
    return core_run(&launch, error);
}

/* Load tests/emulator/ptx/NAME.ptx, broken or not, and run the kernel of that name. */
static enum core_status run_file(const char *name, const char *broken, struct device *d, uint32_t grid, uint32_t block,
                                 const void *params, uint64_t seed, struct core_error *error)
{
    char path[256];
    snprintf(path, sizeof(path), "tests/emulator/ptx/%s.ptx", name);
    char *text = read_text(path);
    if (!text) {
        snprintf(error->text, sizeof(error->text), "no file %s", path);
        return error->status = CORE_INVALID_VALUE;
    }
    if (broken) break_text(text, broken);
    struct core_module *m = load_text(text, 90, error);
    free(text);
    if (!m) return error->status;
    struct core_options options = {.sm = 90, .seed = seed, .threads = 2};
    enum core_status status = run_module(m, name, d, grid, block, params, &options, error);
    core_unload(m);
    return status;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Kernels and their broken twins */

static bool reduce_once(const char *broken, uint64_t seed, struct core_error *error)
{
    struct device d = {0};
    enum { N = 1000 };
    float *in = device_alloc(&d, N * 4, true), *out = device_alloc(&d, 4, true), sum = 0;
    for (int i = 0; i < N; i++) sum += in[i] = (float)(i % 17);
    struct {
        void *in, *out;
        uint32_t n;
    } params = {in, out, N};
    enum core_status status = run_file("reduce", broken, &d, 4, 256, &params, seed, error);
    bool right = status == CORE_OK && *out == sum;
    device_free(&d);
    return right;
}

static bool lanes_once(const char *broken, uint64_t seed, struct core_error *error)
{
    struct device d = {0};
    uint32_t *data = device_alloc(&d, 128, true);
    for (uint32_t i = 0; i < 32; i++) data[i] = i * i;
    bool right = run_file("lanes", broken, &d, 1, 32, &data, seed, error) == CORE_OK;
    for (uint32_t i = 0; i < 32; i++) right = right && data[i] == (31 - i) * (31 - i);
    device_free(&d);
    return right;
}

static bool copy_once(const char *kernel, uint32_t flip, const char *broken, uint64_t seed, struct core_error *error)
{
    struct device d = {0};
    uint32_t *in = device_alloc(&d, 2048, true), *out = device_alloc(&d, 2048, false);
    for (uint32_t i = 0; i < 512; i++) in[i] = i * 3;
    void *params[2] = {in, out};
    bool right = run_file(kernel, broken, &d, 1, 128, params, seed, error) == CORE_OK;
    for (uint32_t i = 0; i < 512; i++) right = right && out[i] == (i ^ flip) * 3 + 1;
    device_free(&d);
    return right;
}
static bool async_once(const char *broken, uint64_t seed, struct core_error *error)
{
    return copy_once("copy", 4, broken, seed, error);
}
static bool bulk_once(const char *broken, uint64_t seed, struct core_error *error)
{
    return copy_once("bulk", 0, broken, seed, error);
}

static bool deadlock_once(const char *broken, uint64_t seed, struct core_error *error)
{
    struct device d = {0};
    uint32_t *out = device_alloc(&d, 4, false);
    *out = 7;
    bool right = run_file("deadlock", broken, &d, 1, 128, &out, seed, error) == CORE_OK && *out == 0;
    device_free(&d);
    return right;
}

static void test_twins(void)
{
    static const struct {
        const char *name;
        bool (*once)(const char *, uint64_t, struct core_error *);
        const char *broken;
        enum core_status status;
        const char *says;
    } cases[] = {{"reduce", reduce_once, NULL, CORE_OK, ""},
                 {"reduce without bounds check", reduce_once, "bounds", CORE_FAULT_ADDRESS, "out of bounds"},
                 {"reduce without first barrier", reduce_once, "barrier", CORE_FAULT_LAUNCH, "shared memory"},
                 {"reduce without loop barrier", reduce_once, "loop", CORE_FAULT_LAUNCH, "race"},
                 {"reduce of unwritten shared memory", reduce_once, "written", CORE_FAULT_LAUNCH, "uninitialised"},
                 {"lanes", lanes_once, NULL, CORE_OK, ""},
                 {"lanes without bar.warp.sync", lanes_once, "sync", CORE_FAULT_LAUNCH, "same warp"},
                 {"cp.async", async_once, NULL, CORE_OK, ""},
                 {"cp.async without wait", async_once, "wait", CORE_FAULT_LAUNCH, "race"},
                 {"cp.async without barrier", async_once, "barrier", CORE_FAULT_LAUNCH, "shared memory"},
                 {"bulk copies", bulk_once, NULL, CORE_OK, ""},
                 {"bulk copy without barrier after init", bulk_once, "init", CORE_FAULT_LAUNCH, ""},
                 {"bulk copy without wait", bulk_once, "wait", CORE_FAULT_LAUNCH, "shared memory"},
                 {"bulk copy without proxy fence", bulk_once, "fence", CORE_FAULT_LAUNCH, "fence.proxy.async"},
                 {"bulk copy without barrier", bulk_once, "barrier", CORE_FAULT_LAUNCH, "race"},
                 {"barriers", deadlock_once, NULL, CORE_OK, ""},
                 {"barriers crossed", deadlock_once, "meet", CORE_FAULT_LAUNCH, "barrier"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool ok = true;
        struct core_error error = {0};
        for (uint64_t seed = 1; seed <= 5 && ok; seed++) {
            bool right = cases[i].once(cases[i].broken, seed, &error);
            ok = cases[i].status == CORE_OK ? right
                                            : error.status == cases[i].status && strstr(error.text, cases[i].says) &&
                                                  (error.line || !strcmp(cases[i].says, ""));
        }
        test_case(cases[i].name, ok, error.text);
    }
}

struct tensor_params { /* of ptx/tensor.ptx */
    struct core_tensor_map map;
    void *out;
    int32_t at[4], four;
};

static void test_tensor_map(void)
{
    static const uint32_t swizzles[] = {0, 128, 64, 32};
    for (int i = 0; i < 4; i++) {
        /* a tensor of 5 rows of 100 bytes used of 112; boxes of 8 rows reach out of it on every side */
        uint32_t swizzle = swizzles[i], row = swizzle ? swizzle : 128, rows = 1024 / row;
        struct device d = {0};
        uint8_t *in = device_alloc(&d, 112 * 5, true), *out = device_alloc(&d, 1024, false);
        for (int k = 0; k < 112 * 5; k++) in[k] = (uint8_t)(k * 7 + 1);
        struct tensor_params params;
        memset(&params, 0, sizeof(params));
        params.map = (struct core_tensor_map){.magic = CORE_TENSOR_MAP_MAGIC,
                                              .rank = 2,
                                              .element_bytes = 1,
                                              .swizzle = (uint8_t)swizzle,
                                              .base = (uint64_t)(uintptr_t)in,
                                              .stride = {1, 112},
                                              .size_minus_1 = {99, 4},
                                              .box = {(uint16_t)row, (uint16_t)rows},
                                              .element_stride = {1, 1}};
        params.out = out;
        bool ok = true;
        struct core_error error = {0};
        for (int32_t x = -20; x < 100 && ok; x += 23)
            for (int32_t y = -3; y < 5 && ok; y += 2) {
                params.at[0] = x;
                params.at[1] = y;
                ok = run_file("tensor", NULL, &d, 1, 64, &params, 1, &error) == CORE_OK;
                for (uint32_t r = 0; r < rows && ok; r++)
                    for (uint32_t c = 0; c < row && ok; c++) {
                        int32_t tx = x + (int32_t)c, ty = y + (int32_t)r;
                        uint8_t want = tx >= 0 && tx < 100 && ty >= 0 && ty < 5 ? in[ty * 112 + tx] : 0;
                        uint32_t chunk = c / 16, phase = swizzle == 128  ? r & 7
                                                         : swizzle == 64 ? r >> 1 & 3
                                                         : swizzle == 32 ? r >> 2 & 1
                                                                         : 0;
                        ok = out[r * row + (chunk ^ phase) * 16 + c % 16] == want;
                    }
            }
        char name[64];
        snprintf(name, sizeof(name), "tensor map, swizzle %u, out of bounds on every side", swizzle);
        test_case(name, ok, error.text[0] ? error.text : "a wrong byte");
        device_free(&d);
    }
}

/* Pictures, rows, pixels and bytes of them: 3 x 4 x 5 x 48 of 64, a picture every 1344. Boxes of 2 x 4 x 4 x 32 bytes. */
static void test_tensor_map_of_pictures(void)
{
    enum { PICTURE = 1344, PICTURES = 3, ROWS = 4, PIXELS = 5, BYTES = 48, PIXEL = 64 };
    struct device d = {0};
    uint8_t *in = device_alloc(&d, PICTURE * PICTURES, true), *out = device_alloc(&d, 1024, false);
    for (int k = 0; k < PICTURE * PICTURES; k++) in[k] = (uint8_t)(k * 7 + k / 256 + 1);
    struct tensor_params params;
    memset(&params, 0, sizeof(params));
    params.map = (struct core_tensor_map){.magic = CORE_TENSOR_MAP_MAGIC,
                                          .rank = 4,
                                          .element_bytes = 1,
                                          .base = (uint64_t)(uintptr_t)in,
                                          .stride = {1, PIXEL, PIXEL * PIXELS, PICTURE},
                                          .size_minus_1 = {BYTES - 1, PIXELS - 1, ROWS - 1, PICTURES - 1},
                                          .box = {32, 4, 4, 2},
                                          .element_stride = {1, 1, 1, 1}};
    params.out = out;
    params.four = 1;
    bool ok = true;
    struct core_error error = {0};
    for (int32_t n = 0; n < 3 * 3 * 3 && ok; n++) {
        const int32_t x = n % 3 * 2 - 1, y = n / 3 % 3 * 2 - 2, picture = n / 9 * 2 - 1, byte = n % 2 * 16;
        memcpy(params.at, (int32_t[]){byte, x, y, picture}, sizeof params.at);
        ok = run_file("tensor", NULL, &d, 1, 64, &params, 1, &error) == CORE_OK;
        for (int32_t i = 0; i < 1024 && ok; i++) {
            const int32_t b = byte + i % 32, px = x + i / 32 % 4, py = y + i / 128 % 4, p = picture + i / 512;
            const bool inside = b < BYTES && px >= 0 && px < PIXELS && py >= 0 && py < ROWS && p >= 0 && p < PICTURES;
            ok = out[i] == (inside ? in[p * PICTURE + (py * PIXELS + px) * PIXEL + b] : 0);
        }
    }
    test_case("tensor map of pictures, zeros around each of them", ok, error.text[0] ? error.text : "a wrong byte");
    device_free(&d);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Text that has to be refused */

#define HEAD(version, target)                                                                                          \
    ".version " version "\n.target " target "\n.address_size 64\n.visible .entry k()\n{\n.reg .b32 %r<30>;\n.reg "     \
    ".f32 %f<9>;\n.reg .b64 %rd<4>;\n.reg .pred %p<3>;\n"
#define HEAD_START                                                                                                     \
    ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{\n"           \
    ".reg .b32 %%r<12>;\n.reg .b64 %%rd<5>;\n.reg .pred %%p<4>;\n.shared .align 16 .b8 tile[1024];\n"
static void test_refusals(void)
{
    static const struct {
        const char *name, *text;
        int sm;
        enum core_status status;
        uint32_t line;
    } cases[] = {
        {"unknown instruction", HEAD("7.0", "sm_80") "frobnicate.u32 %r1, %r2;\nret;\n}\n", 80, CORE_INVALID_PTX, 10},
        {"unknown modifier", HEAD("7.0", "sm_80") "ret;\nadd.rainbow.u32 %r1, %r2, %r3;\n}\n", 80, CORE_INVALID_PTX,
         11},
        {"unknown register", HEAD("7.0", "sm_80") "add.u32 %r1, %q2, %r3;\n}\n", 80, CORE_INVALID_PTX, 10},
        {"register of the wrong size", HEAD("7.0", "sm_80") "add.u64 %rd1, %r2, %rd3;\n}\n", 80, CORE_INVALID_PTX, 10},
        {"unknown label", HEAD("7.0", "sm_80") "bra nowhere;\n}\n", 80, CORE_INVALID_PTX, 10},
        {"missing semicolon", HEAD("7.0", "sm_80") "ret\n}\n", 80, CORE_INVALID_PTX, 11},
        {"version too new", HEAD("9.1", "sm_80") "ret;\n}\n", 80, CORE_UNSUPPORTED_PTX_VERSION, 1},
        {"target too new", HEAD("8.0", "sm_90") "ret;\n}\n", 80, CORE_NO_BINARY_FOR_GPU, 0},
        {"family text on another family", HEAD("9.0", "sm_120f") "ret;\n}\n", 90, CORE_NO_BINARY_FOR_GPU, 0},
        {"90a text on 120", HEAD("8.0", "sm_90a") "ret;\n}\n", 120, CORE_NO_BINARY_FOR_GPU, 0},
        {"bulk copy on sm_89", HEAD("8.6", "sm_89") "cp.async.bulk.commit_group;\n}\n", 89, CORE_NO_BINARY_FOR_GPU, 10},
        {"e4m3 mma on sm_80",
         HEAD("8.4", "sm_80") "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 "
                              "{%f1,%f2,%f3,%f4},{%r1,%r2,%r3,%r4},{%r5,%r6},{%f1,%f2,%f3,%f4};\n}\n",
         80, CORE_NO_BINARY_FOR_GPU, 10},
        {"block_scale without the family target",
         HEAD("8.7",
              "sm_120") "mma.sync.aligned.m16n8k32.row.col.kind::mxf8f6f4.block_scale.f32.e4m3.e4m3.f32.ue8m0 "
                        "{%f1,%f2,%f3,%f4},{%r1,%r2,%r3,%r4},{%r5,%r6},{%f1,%f2,%f3,%f4},%r7,{0,0},%r8,{0,0};\n}\n",
         120, CORE_NO_BINARY_FOR_GPU, 10},
        {"stmatrix on sm_80", HEAD("8.0", "sm_80") "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r1], {%r2};\n}\n", 80,
         CORE_NO_BINARY_FOR_GPU, 10},
        {"no text", "", 80, CORE_INVALID_PTX, 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct core_error error;
        struct core_module *m = load_text(cases[i].text, cases[i].sm, &error);
        char detail[1700];
        snprintf(detail, sizeof(detail), "status %d line %u: %s", error.status, error.line, error.text);
        test_case(cases[i].name, !m && error.status == cases[i].status && error.line == cases[i].line, detail);
        core_unload(m);
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Small kernels over 64 threads: `in` has 16 initialised words and `out` 64 unwritten ones. */

static void test_faults(void)
{
    static const struct {
        const char *name, *text;
        enum core_status status;
        const char *says;
    } cases[] = {
        {"read inside the allocation", "ld.global.u32 %r1, [%rd1+60]", CORE_OK, ""},
        {"read one byte past the allocation", "ld.global.u8 %r1, [%rd1+64]", CORE_FAULT_ADDRESS, "out of bounds"},
        {"read across the end", "ld.global.v2.u32 {%r1, %r2}, [%rd1+64]", CORE_FAULT_ADDRESS, "out of bounds"},
        {"read before the allocation", "ld.global.u32 %r1, [%rd1-4]", CORE_FAULT_ADDRESS, "out of bounds"},
        {"read of address 0", "mov.u64 %rd3, 0; ld.global.u32 %r1, [%rd3]", CORE_FAULT_ADDRESS, "out of bounds"},
        {"misaligned read", "ld.global.u32 %r1, [%rd1+2]", CORE_FAULT_ADDRESS, "misaligned"},
        {"misaligned vector", "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1+8]", CORE_FAULT_ADDRESS, "misaligned"},
        {"read of unwritten global memory", "ld.global.u32 %r1, [%rd2]", CORE_FAULT_LAUNCH, "uninitialised"},
        {"write, then read", "@%p1 st.global.u32 [%rd2], %r0; @%p1 ld.global.u32 %r1, [%rd2]", CORE_OK, ""},
        {"shared memory past its end", "st.shared.u32 [%r9+1024], %r0", CORE_FAULT_ADDRESS, "out of bounds"},
        {"shared memory misaligned", "st.shared.u32 [%r9+2], %r0", CORE_FAULT_ADDRESS, "misaligned"},
        {"generic address of shared memory",
         "cvta.shared.u64 %rd3, tile; @%p1 st.u32 [%rd3], %r0; bar.sync 0; ld.u32 %r1, [%rd3]", CORE_OK, ""},
        {"generic address, no barrier", "cvta.shared.u64 %rd3, tile; @%p1 st.u32 [%rd3], %r0; ld.u32 %r1, [%rd3]",
         CORE_FAULT_LAUNCH, "shared memory"},
        {"all lanes store one value", "st.shared.u32 [%r9], 5; bar.sync 0; ld.shared.u32 %r1, [%r9]", CORE_FAULT_LAUNCH,
         "race"}, /* the two warps are not ordered, equal values or not */
        {"lanes of a warp store one value", "@!%p2 st.shared.u32 [%r9], 5; bar.sync 0; ld.shared.u32 %r1, [%r9]",
         CORE_OK, ""},
        {"lanes of a warp store different values", "@!%p2 st.shared.u32 [%r9], %r0; bar.sync 0", CORE_FAULT_LAUNCH,
         "race"},
        {"atomics of all threads",
         "@%p1 st.shared.u32 [%r9], 0; bar.sync 0; atom.shared.add.u32 %r1, [%r9], 1; bar.sync 0; ld.shared.u32 %r1, "
         "[%r9]; setp.ne.u32 %p3, %r1, 64; @%p3 trap",
         CORE_OK, ""},
        {"plain store beside atomics", "@%p1 st.shared.u32 [%r9], 0; atom.shared.add.u32 %r1, [%r9], 1",
         CORE_FAULT_LAUNCH, "shared memory"},
        {"bar.red", "bar.red.popc.u32 %r1, 0, %p2; setp.ne.u32 %p3, %r1, 32; @%p3 trap", CORE_OK, ""},
        {"bar.arrive hands data on",
         "@%p2 bra TAKE; @%p1 st.shared.u32 [%r9], 7; bar.arrive 1, 64; bra END; TAKE: bar.sync 1, 64; ld.shared.u32 "
         "%r1, [%r9]; END: mov.u32 %r2, 0",
         CORE_OK, ""},
        {"exit of a warp before the barrier", "@%p2 exit; bar.sync 0", CORE_OK, ""},
        {"barrier that one warp never reaches", "@%p2 bra END; bar.sync 1, 64; END: mov.u32 %r2, 0", CORE_FAULT_LAUNCH,
         "deadlock"},
        {"lanes of a warp at different barriers", "setp.lt.u32 %p3, %r0, 5; @%p3 bar.sync 1; @!%p3 bar.sync 2",
         CORE_FAULT_LAUNCH, "deadlock"},
        {"shuffle that a lane never reaches",
         "setp.eq.u32 %p3, %r0, 5; @%p3 bra HALT; shfl.sync.idx.b32 %r1, %r0, 0, 31, -1; bra END; HALT: bar.sync 1; "
         "END: mov.u32 %r2, 0",
         CORE_FAULT_LAUNCH, "deadlock"},
        {"spinning on a word that nobody writes",
         "@%p1 st.shared.u32 [%r9], 0; bar.sync 0; AGAIN: ld.volatile.shared.u32 %r1, [%r9]; setp.eq.u32 %p3, %r1, 0; "
         "@%p3 bra AGAIN",
         CORE_FAULT_LAUNCH, "deadlock"},
        {"spinning on a word that the other warp writes",
         "@%p1 st.shared.u32 [%r9], 0; bar.sync 0; @%p2 bra AGAIN; st.volatile.shared.u32 [%r9], 1; bra END; AGAIN: "
         "ld.volatile.shared.u32 %r1, [%r9]; setp.eq.u32 %p3, %r1, 0; @%p3 bra AGAIN; END: mov.u32 %r2, 0",
         CORE_OK, ""},
        {"lane outside its member mask", "shfl.sync.idx.b32 %r1, %r0, 0, 31, 1", CORE_FAULT_LAUNCH, "member mask"},
        {"trap", "trap", CORE_FAULT_LAUNCH, "trap"},
        {"mbarrier never initialised", "mbarrier.arrive.shared.b64 _, [%r9]", CORE_FAULT_LAUNCH, "mbarrier"},
        {"cp.async that arrives on an mbarrier",
         "@%p1 mbarrier.init.shared.b64 [%r9+512], 64; bar.sync 0; shl.b32 %r1, %r0, 2; add.u32 %r1, %r1, %r9; "
         "cp.async.ca.shared.global [%r1], [%rd1], 4; cp.async.mbarrier.arrive.noinc.shared.b64 [%r9+512]; AGAIN: "
         "mbarrier.test_wait.parity.shared.b64 %p3, [%r9+512], 0; @!%p3 bra AGAIN; xor.b32 %r1, %r1, 128; "
         "ld.shared.u32 %r2, [%r1]",
         CORE_OK, ""},
        {"cp.async with nobody waiting for its mbarrier",
         "@%p1 mbarrier.init.shared.b64 [%r9+512], 64; bar.sync 0; shl.b32 %r1, %r0, 2; add.u32 %r1, %r1, %r9; "
         "cp.async.ca.shared.global [%r1], [%rd1], 4; cp.async.mbarrier.arrive.noinc.shared.b64 [%r9+512]; bar.sync 0; "
         "ld.shared.u32 %r2, [%r1]",
         CORE_FAULT_LAUNCH, "race"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[4096];
        snprintf(text, sizeof(text),
                 HEAD_START
                 "mov.u32 %%r0, %%tid.x;\nld.param.u64 %%rd1, [in];\nld.param.u64 %%rd2, [out];\nmov.u32 %%r9, "
                 "tile;\nsetp.eq.u32 %%p1, %%r0, 0;\nsetp.ge.u32 %%p2, %%r0, 32;\n%s;\nret;\n}\n",
                 cases[i].text);
        bool ok = true;
        struct core_error error = {0};
        for (uint64_t seed = 0; seed < 4 && ok; seed++) {
            struct device d = {0};
            void *params[2] = {device_alloc(&d, 64, true), device_alloc(&d, 256, false)};
            struct core_module *m = load_text(text, 80, &error);
            struct core_options options = {.sm = 80, .seed = seed};
            if (m) run_module(m, "k", &d, 1, 64, params, &options, &error);
            ok = error.status == cases[i].status && strstr(error.text, cases[i].says);
            core_unload(m);
            device_free(&d);
        }
        test_case(cases[i].name, ok, error.text[0] ? error.text : "no fault");
    }
}

/* Damaged text: loading ends with a module or a sentence, never otherwise (the sanitizers watch). */
static void test_damage(void)
{
    static const char *const files[] = {"reduce", "bulk", "tensor", "copy"};
    static const char bytes[] = "{}[]();,.:@!%$|+-0x9\n\"aZ \xff";
    uint32_t state = 5, loaded = 0, refused = 0;
    bool ok = true;
    for (int f = 0; f < 4; f++) {
        char path[64];
        snprintf(path, sizeof(path), "tests/emulator/ptx/%s.ptx", files[f]);
        char *text = read_text(path);
        size_t n = text ? strlen(text) : 0;
        for (size_t i = 0; i < 600 && n; i++) {
            char *copy = malloc(n), *end = copy + n;
            memcpy(copy, text, n);
            if (i < 200) end = copy + n * i / 200;
            for (int k = 0; k < 3 && i >= 200; k++) {
                state = state * 1664525u + 1013904223u;
                copy[(state >> 8) % n] = bytes[(state >> 3) % (sizeof(bytes) - 1)];
            }
            struct core_options options = {.sm = 90};
            struct core_error error;
            struct core_module *m = core_load(copy, (size_t)(end - copy), &options, &error);
            ok = ok && (m || (error.status && error.text[0]));
            if (m)
                loaded++;
            else
                refused++;
            core_unload(m);
            free(copy);
        }
        ok = ok && n;
        free(text);
    }
    test_case("damaged text is loaded or refused with a sentence", ok && loaded && refused, "");
}

int main(void)
{
    test_twins();
    test_tensor_map();
    test_tensor_map_of_pictures();
    test_refusals();
    test_faults();
    test_damage();
    test_fragments();
    test_arithmetic();
    test_compiled();
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed != 0;
}
