/*
 * Compiled kernels on disk: what a cache gives back, what it makes of damaged files, full and missing folders and many programs
 * at once; and that kernels come out of it as they went in. Runs on the emulated driver beside this program; every case is a
 * process with a folder of its own, as environment and driver are looked at once in a process.
 */
#include "runtime/cuda/cubin_cache.h"
#include "runtime/cuda/kernels.h"
#include "runtime/dev.h"
#include "loader/bytes.h"
#include "tests/case.h"
#include "tests/child.h"
#include "tests/emulator/library.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef _WIN32
enum { MODES = 0 }; /* who may read is not in a file's mode but what its folder hands down */
#define BELOW_A_FILE "No such file or directory"
#else
enum { MODES = 0777 };
#define BELOW_A_FILE "Not a directory"
#endif

static char emulator[1024];
static char folder[256]; /* of the case that runs */

static void told(const char *words)
{
    if (!strstr(said, words)) complain("\"%s\" is not in the sentence: %s", words, said);
}

static void remove_folder(const char *path)
{
    char name[1024];
    DIR *d = opendir(path);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (unlink(name) != 0) remove_folder(name);
    }
    if (d) closedir(d);
    rmdir(path);
}

static void test(const char *name, void (*body)(void))
{
    snprintf(folder, sizeof folder, "/tmp/upres-cache-XXXXXX");
    if (mkdtemp(folder) == NULL) complain("no temporary folder");
    setenv("UPRES_CACHE_DIR", folder, 1);
    setenv("UPRES_CUDA_DRIVER", emulator, 1);
    setenv("UPRES_EMULATOR", "sm=89", 1);
    const int status = case_run(body);
    remove_folder(folder);
    case_tell(status, true, name, "");
}

/* --------------------------------------------------------------------------------------------------- what is in a folder */

typedef struct Listing {
    int entries, unfinished, others;
    uint64_t bytes; /* of entries */
    char path[512]; /* of the last entry */
} Listing;

static bool ends(const char *name, const char *ending)
{
    const size_t a = strlen(name), b = strlen(ending);
    return a >= b && strcmp(name + a - b, ending) == 0;
}

static Listing list(const char *path)
{
    Listing l = {0};
    DIR *d = opendir(path);
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        char name[512];
        struct stat info;
        snprintf(name, sizeof name, "%.200s/%s", path, e->d_name);
        if (stat(name, &info) != 0 || !S_ISREG(info.st_mode)) continue;
        if (ends(e->d_name, ".upres-part")) l.unfinished++;
        else if (!ends(e->d_name, ".upres-cubin")) l.others++;
        else {
            l.entries++;
            l.bytes += (uint64_t)info.st_size;
            snprintf(l.path, sizeof l.path, "%s", name);
        }
    }
    if (d) closedir(d);
    return l;
}

static uint8_t *read_all(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    uint8_t *all = malloc((size_t)1 << 22);
    *bytes = f ? fread(all, 1, (size_t)1 << 22, f) : 0;
    if (f) fclose(f);
    return all;
}

static void write_all(const char *path, const void *bytes, size_t count)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(bytes, 1, count, f) != count) complain("%s cannot be written", path);
    if (f) fclose(f);
}

static bool exists(const char *path) { return access(path, F_OK) == 0; }

static CubinCache *open_cache(uint64_t most)
{
    CubinCache *c = cubin_cache_open(most, said, sizeof said);
    if (c == NULL) {
        complain("no cache: %s", said);
        fflush(stdout);
        _exit(complaints);
    }
    return c;
}

static bool store(const CubinCache *c, const char *key, const char *notes, const void *image, size_t bytes)
{
    return cubin_cache_store(c, key, notes, image, bytes, said, sizeof said);
}

/* Whether it is there, with these contents. */
static bool has(const CubinCache *c, const char *key, const char *notes, const void *image, size_t bytes)
{
    CubinEntry e;
    if (!cubin_cache_load(c, key, &e)) return false;
    if (e.image_bytes != bytes || memcmp(e.image, image, bytes) != 0 || strcmp(e.notes, notes) != 0)
        complain("%s: other contents came back", key);
    if ((uintptr_t)e.image % 16 != 0) complain("%s: image at %p", key, e.image);
    cubin_cache_unload(&e);
    return true;
}

/* --------------------------------------------------------------------------------------------------------------- entries */

static void hashes(void)
{
    static const struct {
        const char *text;
        uint64_t high, low;
    } cases[] = {{"", 0x6c62272e07bb0142u, 0x62b821756295c58du},
                 {"a", 0xd228cb696f1a8cafu, 0x78912b704e4a8964u},
                 {"foobar", 0x343e1662793c64bfu, 0x6f0d3597ba446f18u}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const CubinHash h = cubin_hash_add(cubin_hash_begin(), cases[i].text, strlen(cases[i].text));
        CHECK(h.high == cases[i].high && h.low == cases[i].low);
    }
    const CubinHash pieces = cubin_hash_add(cubin_hash_add(cubin_hash_begin(), "foo", 3), "bar", 3);
    CHECK(pieces.high == cases[2].high && pieces.low == cases[2].low);
}

static void there_and_back(void)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 1000003};
    static uint8_t image[1000003];
    for (size_t i = 0; i < sizeof image; i++) image[i] = (uint8_t)(i * 2654435761u >> 13);
    CubinCache *c = open_cache(CUBIN_CACHE_BYTES);
    CHECK(strcmp(cubin_cache_folder(c), folder) == 0 && cubin_cache_writable(c));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char key[64];
        snprintf(key, sizeof key, "key %zu\nof two lines", i);
        CHECK(!has(c, key, "notes 8\n", image, sizes[i]));
        CHECK(store(c, key, "notes 8\n", image, sizes[i]) && has(c, key, "notes 8\n", image, sizes[i]));
        CHECK(store(c, key, "", image + 1, sizes[i] / 2) && has(c, key, "", image + 1, sizes[i] / 2)); /* replaced */
    }
    const Listing l = list(folder);
    struct stat info;
    CHECK(l.entries == (int)(sizeof sizes / sizeof sizes[0]) && l.unfinished == 0 && l.others == 0);
    CHECK(stat(l.path, &info) == 0 && (info.st_mode & 077 & MODES) == 0);
    cubin_cache_remove(c, "key 3\nof two lines");
    CHECK(!has(c, "key 3\nof two lines", "", image, 1) && has(c, "key 4\nof two lines", "", image + 1, 32));
    cubin_cache_close(c);
    c = open_cache(CUBIN_CACHE_BYTES);
    CHECK(has(c, "key 5\nof two lines", "", image + 1, sizes[5] / 2));
    cubin_cache_close(c);
}

/* Every byte changed, every length shorter and one longer: absent, gone from the folder, and replaced. */
static void damage(void)
{
    static const char image[] = "this stands for machine code of some length, so that the file has more than one part";
    CubinCache *c = open_cache(CUBIN_CACHE_BYTES);
    size_t bytes;
    CHECK(store(c, "key", "f 8\n", image, sizeof image));
    const Listing l = list(folder);
    uint8_t *file = read_all(l.path, &bytes);
    CHECK(bytes > 64 + sizeof image && bytes < 512);
    for (size_t i = 0; i < bytes; i++) {
        file[i] ^= 1 << i % 8;
        write_all(l.path, file, bytes);
        file[i] ^= 1 << i % 8;
        if (has(c, "key", "f 8\n", image, sizeof image) || exists(l.path)) complain("byte %zu changed was not noticed", i);
        write_all(l.path, file, i);
        if (has(c, "key", "f 8\n", image, sizeof image) || exists(l.path)) complain("%zu bytes were taken for all", i);
    }
    file[bytes] = 0;
    write_all(l.path, file, bytes + 1);
    CHECK(!has(c, "key", "f 8\n", image, sizeof image) && !exists(l.path));
    CHECK(store(c, "key", "f 8\n", image, sizeof image) && has(c, "key", "f 8\n", image, sizeof image));
    free(file);
    cubin_cache_close(c);
}

/* Lengths that add up to more than a number holds. */
static void impossible_lengths(void)
{
    static const uint64_t values[] = {0, 1, 5, 64, (uint64_t)1 << 31, (uint64_t)1 << 32, (uint64_t)1 << 63, UINT64_MAX,
                                      UINT64_MAX - 63};
    CubinCache *c = open_cache(CUBIN_CACHE_BYTES);
    size_t bytes;
    CHECK(store(c, "key", "f 8\n", "image", 5));
    const Listing l = list(folder);
    uint8_t *file = read_all(l.path, &bytes);
    for (int field = 0; field < 3; field++)
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            uint8_t changed[256];
            memcpy(changed, file, bytes);
            store_u64(changed + 16 + 8 * field, values[i]);
            if (memcmp(changed, file, bytes) == 0) continue;
            write_all(l.path, changed, bytes);
            CHECK(!has(c, "key", "f 8\n", "image", 5) && !exists(l.path));
        }
    free(file);
    cubin_cache_close(c);
}

/* What has the name of one key and holds another. */
static void other_key(void)
{
    char name[2][512], moved[512];
    CubinCache *c = open_cache(CUBIN_CACHE_BYTES);
    CHECK(store(c, "key a", "", "image a", 8));
    snprintf(name[0], sizeof name[0], "%s", list(folder).path);
    snprintf(moved, sizeof moved, "%s/moved", folder);
    CHECK(rename(name[0], moved) == 0 && store(c, "key b", "", "image b", 8));
    snprintf(name[1], sizeof name[1], "%s", list(folder).path);
    CHECK(strcmp(name[0], name[1]) != 0 && rename(moved, name[1]) == 0);
    CHECK(!has(c, "key b", "", "image b", 8) && !exists(name[1]));
    CHECK(store(c, "key b", "", "image b", 8) && has(c, "key b", "", "image b", 8) && !has(c, "key a", "", "image a", 8));
    /* a folder in the entry's place is no entry, and nothing to be removed */
    CHECK(remove(name[1]) == 0 && mkdir(name[1], 0700) == 0);
    char inside[600];
    snprintf(inside, sizeof inside, "%s/a file", name[1]);
    write_all(inside, "x", 1);
    CHECK(!has(c, "key b", "", "image b", 8) && exists(inside) && !store(c, "key b", "", "image b", 8));
    CHECK(list(folder).unfinished == 0);
    cubin_cache_close(c);
}

/* --------------------------------------------------------------------------------------------------------------- folders */

static void expect_folder(const char *expected)
{
    CubinCache *c = cubin_cache_open(CUBIN_CACHE_BYTES, said, sizeof said);
    CHECK(c != NULL && strcmp(cubin_cache_folder(c), expected) == 0);
    if (c == NULL) return;
    struct stat info;
    CHECK(stat(expected, &info) == 0 && S_ISDIR(info.st_mode) && ((info.st_mode ^ 0700) & MODES) == 0);
    CHECK(store(c, "key", "", "image", 6) && list(expected).entries == 1);
    cubin_cache_close(c);
}

static void where(void)
{
    char path[512];
    snprintf(path, sizeof path, "%s/one/two/three", folder);
    setenv("UPRES_CACHE_DIR", path, 1);
    expect_folder(path);
    expect_folder(path);
    unsetenv("UPRES_CACHE_DIR");
#ifdef _WIN32
    setenv("LOCALAPPDATA", folder, 1);
    snprintf(path, sizeof path, "%s\\upres\\cache", folder);
    expect_folder(path);
#else
    char value[300];
    setenv("HOME", folder, 1);
    snprintf(value, sizeof value, "%s/xdg", folder);
    setenv("XDG_CACHE_HOME", value, 1);
    snprintf(path, sizeof path, "%s/xdg/upres", folder);
    expect_folder(path);
    snprintf(path, sizeof path, "%s/.cache/upres", folder);
    setenv("XDG_CACHE_HOME", "relative", 1);
    expect_folder(path);
    unsetenv("XDG_CACHE_HOME");
    expect_folder(path);
#endif
}

static void nowhere(void)
{
    CHECK(setenv("UPRES_CACHE_DIR", "", 1) == 0 && cubin_cache_open(1000, said, sizeof said) == NULL);
    told("UPRES_CACHE_DIR asks for none");
    CHECK(setenv("UPRES_CACHE_DIR", "none", 1) == 0 && cubin_cache_open(1000, said, sizeof said) == NULL);
    told("UPRES_CACHE_DIR asks for none");
    char path[2100];
    snprintf(path, sizeof path, "%s/file", folder);
    write_all(path, "x", 1);
    CHECK(setenv("UPRES_CACHE_DIR", path, 1) == 0 && cubin_cache_open(1000, said, sizeof said) == NULL);
    told("Not a directory");
    strcat(path, "/below");
    CHECK(setenv("UPRES_CACHE_DIR", path, 1) == 0 && cubin_cache_open(1000, said, sizeof said) == NULL);
    told(path);
    told(BELOW_A_FILE);
    memset(path, 'a', 2000);
    path[2000] = '\0';
    CHECK(setenv("UPRES_CACHE_DIR", path, 1) == 0 && cubin_cache_open(1000, said, sizeof said) == NULL);
    told("too long");
    unsetenv("UPRES_CACHE_DIR");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    unsetenv("LOCALAPPDATA");
    CHECK(cubin_cache_open(1000, said, sizeof said) == NULL);
    told("neither UPRES_CACHE_DIR nor ");
}

#ifdef _WIN32
static void need_rights(void) { skip("who may write is another matter on Windows"); }
static void become_another(void) {}
#else
static void need_rights(void) {}
static void become_another(void)
{
    if (geteuid() == 0 && setuid(65534) != 0) skip("this user cannot become another");
}
#endif

/* What is there is read by one who may not write. */
static void read_only(void)
{
    need_rights();
    CubinCache *c = open_cache(CUBIN_CACHE_BYTES);
    CHECK(store(c, "key", "", "image", 6));
    CHECK(chmod(list(folder).path, 0444) == 0 && chmod(folder, 0555) == 0);
    become_another();
    CubinCache *r = open_cache(CUBIN_CACHE_BYTES);
    CHECK(!cubin_cache_writable(r) && has(r, "key", "", "image", 6));
    CHECK(!store(r, "other key", "", "image", 6));
    told("Permission denied");
    CHECK(has(r, "key", "", "image", 6));
    cubin_cache_close(r);
    cubin_cache_close(c);
}

/* ----------------------------------------------------------------------------------------------------------------- bound */

static uint8_t kilobyte[1000];

static void numbered(char key[32], int i) { snprintf(key, 32, "key %d", i); }

/* Sets when an entry was used last: i seconds after 2020. */
static void used_at(const char *path, int i)
{
    const struct timespec t[2] = {{(time_t)1577836800 + i, 0}, {(time_t)1577836800 + i, 0}};
    if (utimensat(AT_FDCWD, path, t, 0) != 0) complain("the time of %s cannot be set", path);
}

/* Of numbered(i). */
static const char *entry_path(char path[600], int i)
{
    char key[32];
    numbered(key, i);
    const CubinHash h = cubin_hash_add(cubin_hash_begin(), key, strlen(key));
    snprintf(path, 600, "%s/%016llx%016llx.upres-cubin", folder, (unsigned long long)h.high, (unsigned long long)h.low);
    return path;
}

static void bound(void)
{
    enum { HELD = 10, ALL = 30 };
    char key[32], first[600], path[600];
    CubinCache *c = open_cache(100000);
    CHECK(store(c, "key 0", "", kilobyte, sizeof kilobyte));
    const uint64_t one = list(folder).bytes;
    cubin_cache_close(c);
    c = open_cache(HELD * one);
    snprintf(first, sizeof first, "%s", list(folder).path);
    static const char *const others[] = {"notes.txt", "short.upres-cubin", "0123456789abcdef0123456789abcdef.cubin",
                                         "0123456789abcdef0123456789abcdeg.upres-cubin", "x.upres-part"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, others[i]);
        write_all(path, kilobyte, sizeof kilobyte);
        used_at(path, 0);
    }
    const int foreign = list(folder).others, foreign_entries = 2, foreign_parts = list(folder).unfinished;
    for (int i = 1; i < ALL; i++) {
        /* all but the first are older than it; files of others do not count */
        used_at(first, 1000 + i);
        numbered(key, i);
        CHECK(store(c, key, "", kilobyte, sizeof kilobyte));
        const Listing l = list(folder);
        CHECK(l.bytes <= HELD * one + foreign_entries * sizeof kilobyte);
        CHECK(l.entries - foreign_entries == (i + 1 < HELD ? i + 1 : HELD));
        for (int k = 1; k <= i; k++) { /* the newest so far is the last written */
            CubinEntry e;
            numbered(key, k);
            const bool there = cubin_cache_load(c, key, &e);
            cubin_cache_unload(&e);
            if (there != (i < HELD || k > i - (HELD - 1))) complain("after %d, %d is %s", i, k, there ? "there" : "not there");
        }
        for (int k = 1; k <= i; k++) /* by number, in place of what looking did */
            if (exists(entry_path(path, k))) used_at(path, k);
    }
    CHECK(has(c, "key 0", "", kilobyte, sizeof kilobyte));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, others[i]);
        CHECK(exists(path));
    }
    CHECK(list(folder).others == foreign && list(folder).unfinished == foreign_parts);
    cubin_cache_close(c);
}

/* Use counts, not age. */
static void use(void)
{
    char key[32], path[600];
    CubinCache *c = open_cache(100000);
    CHECK(store(c, "key 0", "", kilobyte, sizeof kilobyte));
    const uint64_t one = list(folder).bytes;
    for (int i = 1; i < 3; i++) {
        numbered(key, i);
        CHECK(store(c, key, "", kilobyte, sizeof kilobyte));
    }
    for (int i = 0; i < 3; i++) used_at(entry_path(path, i), i);
    CHECK(has(c, "key 0", "", kilobyte, sizeof kilobyte));
    cubin_cache_close(c);
    c = open_cache(3 * one);
    CHECK(store(c, "key 3", "", kilobyte, sizeof kilobyte));
    CHECK(has(c, "key 0", "", kilobyte, sizeof kilobyte) && !has(c, "key 1", "", kilobyte, sizeof kilobyte));
    CHECK(has(c, "key 2", "", kilobyte, sizeof kilobyte) && has(c, "key 3", "", kilobyte, sizeof kilobyte));
    cubin_cache_close(c);
    /* what is larger than all that may be held is not kept, and drives nothing out */
    c = open_cache(one - 1);
    CHECK(!store(c, "key 4", "", kilobyte, sizeof kilobyte) && list(folder).entries == 3);
    told("more than the cache holds");
    cubin_cache_close(c);
    c = open_cache(one);
    CHECK(store(c, "key 4", "", kilobyte, sizeof kilobyte) && list(folder).entries == 1);
    CHECK(has(c, "key 4", "", kilobyte, sizeof kilobyte));
    used_at(entry_path(path, 4), 1000000000); /* by a clock that was wrong: what was just written stays all the same */
    CHECK(store(c, "key 5", "", kilobyte, sizeof kilobyte) && list(folder).entries == 1);
    CHECK(has(c, "key 5", "", kilobyte, sizeof kilobyte));
    cubin_cache_close(c);
}

/* What programs that were ended left behind goes after an hour; what is being written stays. */
static void unfinished(void)
{
    char old[600], young[600];
    snprintf(old, sizeof old, "%s/0123456789abcdef0123456789abcdef.77-0-1234.upres-part", folder);
    snprintf(young, sizeof young, "%s/0123456789abcdef0123456789abcdef.78-0-1234.upres-part", folder);
    write_all(old, "x", 1);
    write_all(young, "x", 1);
    used_at(old, 0);
    CubinCache *c = open_cache(CUBIN_CACHE_BYTES);
    CHECK(store(c, "key", "", "image", 6) && !exists(old) && exists(young));
    cubin_cache_close(c);
}

/* ------------------------------------------------------------------------------------------------------- many at once */

enum { AT_ONCE = 8, KEYS = 6, ROUNDS = 300 };
static int shift; /* of the process */

static void read_and_write(void)
{
    static uint8_t image[20000];
    char key[32];
    uint64_t random = 88172645463325252u + (uint64_t)shift * 1234567;
    CubinCache *c = open_cache(KEYS * sizeof image / 2);
    for (int i = 0; i < ROUNDS; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        const int n = (int)(random % KEYS);
        const size_t bytes = 3000 * ((size_t)n + 1);
        numbered(key, n);
        memset(image, n + 1, bytes);
        if (random >> 40 & 1 && !store(c, key, key, image, bytes)) complain("%s", said);
        has(c, key, key, image, bytes);
    }
    cubin_cache_close(c);
}

static int run_at_once(void (*body)(void), int count)
{
    int bad = 0;
    intptr_t children[AT_ONCE];
    for (shift = 0; shift < count; shift++) children[shift] = child_start(300, case_counted, body);
    shift = 0;
    for (int i = 0; i < count; i++) bad += child_wait(children[i]) != 0;
    return bad;
}

static void many_at_once(void)
{
    CHECK(run_at_once(read_and_write, AT_ONCE) == 0);
    const Listing l = list(folder);
    CHECK(l.unfinished == 0 && l.others == 0 && l.entries >= 1 && l.entries <= KEYS);
}

/* --------------------------------------------------------------------------------------------------------------- kernels */

/* What a process saw of the kernels, for the one that started it. */
typedef struct Seen {
    CudaKernelCounts counts[AT_ONCE];
    size_t parameter_bytes[AT_ONCE];
    char origin[AT_ONCE][3000];
    float values[16];
} Seen;
static Seen *seen;
static char macros[32];
static CudaSource source; /* the shortest .cu file of those that have functions for all parts: it is compiled soonest */
static char function_name[256];

static CudaKernels *open_kernels(void)
{
    static CudaDevice d;
    CUcontext context;
    const CudaDriver *c = cuda_driver(said, sizeof said);
    CudaKernels *k = NULL;
    if (c && cuda_device(0, &d, said, sizeof said) && c->context_retain(&context, 0) == 0 && c->context_push(context) == 0)
        k = cuda_kernels_open(c, &d, said, sizeof said);
    if (k == NULL) complain("no kernels: %s", said);
    return k;
}

static void choose_source(void)
{
    CudaSource s;
    if (nvrtc_version(said, sizeof said) == 0) skip(said);
    for (size_t i = 0; cuda_source(i, &s); i++)
        if (!s.ptx && !strstr(s.text, "\n#if") && (source.text == NULL || strlen(s.text) < strlen(source.text))) source = s;
    const char *name = source.text ? strstr(source.text, "__launch_bounds__") : NULL;
    if (name) name = strchr(name, ')');
    if (name == NULL) skip("there is no kernel file");
    name += 1 + strspn(name + 1, " \n");
    snprintf(function_name, sizeof function_name, "%.*s", (int)strcspn(name, "( \n"), name);
}

/* Loads a function, and tells what it took. */
static void ask(void)
{
    if (source.text == NULL) choose_source(); /* a process that is no copy */
    CudaKernels *k = open_kernels();
    if (k == NULL) return;
    CUfunction f = cuda_kernel(k, source.name, function_name, macros, 0, &seen->parameter_bytes[shift], said, sizeof said);
    CHECK(f != NULL);
    seen->counts[shift] = cuda_kernels_counts(k);
    snprintf(seen->origin[shift], sizeof seen->origin[shift], "%s", cuda_kernels_origin(k));
    cuda_kernels_close(k);
}

static void start(unsigned cached, unsigned compiled, int line)
{
    memset(seen, 0, sizeof *seen);
    if (case_run(ask) != 0) complain("line %d: the kernel cannot be had", line);
    const CudaKernelCounts n = seen->counts[0];
    if (n.cached != cached || n.compiled != compiled || n.built_in != 0)
        complain("line %d: %u cached, %u compiled, %u built in; %s", line, n.cached, n.compiled, n.built_in, seen->origin[0]);
    if (seen->parameter_bytes[0] == 0 || seen->parameter_bytes[0] > 4096) complain("line %d: the parameter's bytes", line);
}
#define START(cached, compiled) start(cached, compiled, __LINE__)

static void second_start(void)
{
    choose_source();
    START(0, 1);
    const size_t bytes = seen->parameter_bytes[0];
    CHECK(strstr(seen->origin[0], "NVRTC 1") && strstr(seen->origin[0], folder) && list(folder).entries == 1);
    START(1, 0);
    CHECK(seen->parameter_bytes[0] == bytes);
    strcpy(macros, "NOTHING=1");
    START(0, 1);
    START(1, 0);
    strcpy(macros, "NOTHING=2");
    START(0, 1);
    setenv("UPRES_EMULATOR", "sm=80", 1);
    START(0, 1);
    setenv("UPRES_EMULATOR", "sm=80,driver=12080", 1);
    START(0, 1);
    START(1, 0);
    CHECK(list(folder).entries == 5);
}

static void damaged_kernels(void)
{
    size_t bytes;
    choose_source();
    START(0, 1);
    const Listing l = list(folder);
    uint8_t *file = read_all(l.path, &bytes);
    const size_t lengths[] = {bytes - 1, bytes / 2, 64, 0};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        write_all(l.path, file, lengths[i]);
        START(0, 1);
        START(1, 0);
    }
    file[bytes / 2] ^= 4;
    write_all(l.path, file, bytes);
    START(0, 1);
    START(1, 0);
    CHECK(list(folder).entries == 1 && list(folder).unfinished == 0);
    free(file);
}

/* An entry in order, of which the driver wants nothing: made anew. */
static void refused_kernels(void)
{
    static const char *const images[] = {"no kernel at all", "\177ELF of another machine", ""};
    size_t bytes;
    choose_source();
    START(0, 1);
    uint8_t *file = read_all(list(folder).path, &bytes);
    CubinCache *c = open_cache(CUBIN_CACHE_BYTES);
    for (size_t i = 0; i < sizeof images / sizeof images[0]; i++) {
        CHECK(store(c, (const char *)file + 64, "f 8\n", images[i], strlen(images[i]) + 1) && list(folder).entries == 1);
        START(0, 1);
        START(1, 0);
    }
    cubin_cache_close(c);
    free(file);
}

static void without_cache(const char *value, const char *expected)
{
    setenv("UPRES_CACHE_DIR", value, 1);
    START(0, 1);
    START(0, 1);
    snprintf(said, sizeof said, "%s", seen->origin[0]);
    told(expected);
}

static void kernels_without_cache(void)
{
    char path[512];
    choose_source();
    without_cache("none", "no cache (UPRES_CACHE_DIR asks for none)");
    snprintf(path, sizeof path, "%s/file", folder);
    write_all(path, "x", 1);
    strcat(path, "/below");
    without_cache(path, BELOW_A_FILE);
    CHECK(list(folder).entries == 0);
}

static void become_another_and_ask(void)
{
    become_another();
    ask();
}

static void kernels_of_a_read_only_folder(void)
{
    need_rights();
    choose_source();
    START(0, 1);
    CHECK(chmod(list(folder).path, 0444) == 0 && chmod(folder, 0555) == 0);
    const int status = case_run(become_another_and_ask);
    if (status == CASE_SKIPPED) skip("this user cannot become another");
    CHECK(status == 0 && seen->counts[0].cached == 1 && strstr(seen->origin[0], "cannot be written"));
    strcpy(macros, "NOTHING=1");
    CHECK(case_run(become_another_and_ask) == 0 && seen->counts[0].compiled == 1 && list(folder).entries == 1);
}

static void start_at_once(int count)
{
    choose_source();
    CHECK(run_at_once(ask, count) == 0);
    unsigned loaded = 0;
    for (int i = 0; i < count; i++) {
        loaded += seen->counts[i].compiled + seen->counts[i].cached;
        CHECK(seen->parameter_bytes[i] == seen->parameter_bytes[0] && seen->parameter_bytes[i] > 0);
        CHECK(strstr(seen->origin[i], "not written") == NULL);
    }
    CHECK(loaded == (unsigned)count && list(folder).entries == 1 && list(folder).unfinished == 0);
    START(1, 0);
}
static void two_at_once(void) { start_at_once(2); }
static void eight_at_once(void) { start_at_once(8); }

/* Sums of a tensor, by a kernel out of wherever: the bits, and where it came from. */
static void work(void)
{
    static CudaDevice device;
    enum { H = 7, W = 9, C = 24, GROUPS = 8 };
    CHECK(cuda_device(0, &device, said, sizeof said));
    const DevSetup s = {.cuda = &device, .precision = DEV_BF16};
    Dev *d = dev_open(&s, 1 << 20, said, sizeof said);
    if (d == NULL) {
        complain("%s", said);
        return;
    }
    Tensor x = dev_tensor(d, 1, H, W, C), stats = dev_floats(d, 1, 1, 1, 2 * GROUPS);
    float *to = dev_write(d, x);
    for (int i = 0; to && i < H * W * C; i++) to[i] = sinf((float)i);
    dev_write_end(d, x, to);
    dev_stats(d, &(StatsArgs){.x = x, .stats = stats, .groups = GROUPS});
    const float *from = dev_read(d, stats);
    if (from) memcpy(seen->values, from, sizeof seen->values);
    dev_read_end(d, from);
    snprintf(said, sizeof said, "%s", dev_error(d));
    CHECK(dev_ok(d));
    const DevTotals t = dev_totals(d);
    seen->counts[0] = (CudaKernelCounts){t.kernels_cached, t.kernels_compiled, t.kernels_built_in};
    dev_free(d, &stats);
    dev_free(d, &x);
    dev_close(d);
}

static void same_bits(void)
{
    choose_source();
    CHECK(case_run(work) == 0);
    const Seen first = *seen;
    CHECK(first.counts[0].cached == 0 && first.counts[0].compiled > 0 && first.values[1] != 0);
    memset(seen, 0, sizeof *seen);
    CHECK(case_run(work) == 0);
    CHECK(seen->counts[0].cached == first.counts[0].compiled && seen->counts[0].compiled == 0);
    CHECK(memcmp(seen->values, first.values, sizeof first.values) == 0);
}

/* ------------------------------------------------------------------------------------------------------- machine code */

/*
 * The emulator runs PTX alone. To see what happens on a driver that takes NVRTC's machine code, one is put in front that takes
 * it for the same kernels' PTX.
 */
static CUresult(CUDA_CALL *load_ptx)(CUmodule *module, const void *image, unsigned count, int *options, void **values);
static int machine_codes;

static char *ptx_of(const char *name, const char *text)
{
    NvrtcHeader headers[16];
    size_t bytes;
    int count = 0;
    while (count < 16 && cuda_source_header((size_t)count, &headers[count].name, &headers[count].text)) count++;
    return nvrtc_compile(name, text, headers, count, "compute_89", NULL, &bytes, said, sizeof said);
}

static CUresult CUDA_CALL load_any(CUmodule *module, const void *image, unsigned count, int *options, void **values)
{
    enum { OF_GPUS = 190 }; /* e_machine of an ELF file */
    const uint8_t *elf = image;
    if (memcmp(image, "\177ELF", 4) != 0) return load_ptx(module, image, count, options, values);
    CHECK(load_u16(elf + 18) == OF_GPUS);
    const bool trial = machine_codes++ == 0;
    char *ptx = trial ? ptx_of("empty.cu", "extern \"C\" __global__ void empty() {}\n") : ptx_of(source.name, source.text);
    const CUresult status = ptx ? load_ptx(module, ptx, count, options, values) : 1;
    free(ptx);
    return status;
}

static void put_in_front(void)
{
    CudaDriver *c = (CudaDriver *)cuda_driver(said, sizeof said);
    load_ptx = c->module_load;
    c->module_load = load_any;
}

/* A trial with an empty kernel, and the kernel. */
static void ask_for_machine_code(void)
{
    put_in_front();
    ask();
    CHECK(machine_codes == 2);
}

/* Out of the cache there is nothing to try. */
static void find_machine_code(void)
{
    put_in_front();
    machine_codes = 1;
    ask();
    CHECK(machine_codes == 2);
}

static void machine_code(void)
{
    size_t bytes;
    choose_source();
    CHECK(case_run(ask_for_machine_code) == 0 && seen->counts[0].compiled == 1 && list(folder).entries == 1);
    const size_t parameter = seen->parameter_bytes[0];
    uint8_t *file = read_all(list(folder).path, &bytes);
    const size_t texts = 64 + (size_t)load_u64(file + 16) + (size_t)load_u64(file + 24);
    CHECK(memcmp(file + (texts + 63) / 64 * 64, "\177ELF", 4) == 0);
    memset(seen, 0, sizeof *seen);
    CHECK(case_run(find_machine_code) == 0 && seen->counts[0].cached == 1 && seen->parameter_bytes[0] == parameter);
    START(0, 1); /* a driver that takes none */
    CHECK(seen->parameter_bytes[0] == parameter);
    START(1, 0);
    free(file);
}

int main(int count, char **arguments)
{
    (void)count;
    emulator_path(arguments[0], "emulator/", emulator, sizeof emulator);
    seen = child_shared(sizeof *seen);
    child_keep(folder, sizeof folder);
    child_keep(&shift, sizeof shift);
    child_keep(macros, sizeof macros);
    child_begin();
    test("the hash", hashes);
    test("entries there and back", there_and_back);
    test("damaged entries", damage);
    test("impossible lengths", impossible_lengths);
    test("an entry of another key", other_key);
    test("where the folder is", where);
    test("no folder", nowhere);
    test("a folder that cannot be written", read_only);
    test("the bound", bound);
    test("what is used stays", use);
    test("unfinished files", unfinished);
    test("eight programs at once", many_at_once);
    test("kernels: the second start", second_start);
    test("kernels: damaged entries", damaged_kernels);
    test("kernels: entries the driver refuses", refused_kernels);
    test("kernels: no folder", kernels_without_cache);
    test("kernels: a folder that cannot be written", kernels_of_a_read_only_folder);
    test("kernels: two programs start at once", two_at_once);
    test("kernels: eight programs start at once", eight_at_once);
    test("kernels: machine code", machine_code);
    test("kernels: the same bits", same_bits);
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0;
}
