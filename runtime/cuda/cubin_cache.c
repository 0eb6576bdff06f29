#include "runtime/cuda/cubin_cache.h"

#include "loader/bytes.h"
#include "runtime/cuda/library.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define ENDING ".upres-cubin"
#define UNFINISHED ".upres-part"
enum { HEX = 32 }; /* digits before the ending */

struct CubinCache {
    uint64_t most;
    bool writable;
    char folder[1024];
};

typedef struct FileName {
    char text[1024 + 128];
} FileName;

/* A file of the cache's own; name: without the folder. */
typedef struct CacheFile {
    char name[128];
    uint64_t bytes;
    int64_t used; /* nanoseconds since 1970 */
} CacheFile;

/* --------------------------------------------------------------------------------------------------- hash */

CubinHash cubin_hash_begin(void) { return (CubinHash){0x6c62272e07bb0142u, 0x62b821756295c58du}; }

CubinHash cubin_hash_add(CubinHash h, const void *bytes, size_t count)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < count; i++) { /* times 2^88 + 0x13b */
        h.low ^= p[i];
        const uint64_t small = (h.low & 0xffffffffu) * 0x13b, large = (h.low >> 32) * 0x13b + (small >> 32);
        h.high = h.high * 0x13b + (h.low << 24) + (large >> 32);
        h.low = large << 32 | (small & 0xffffffffu);
    }
    return h;
}

/* ------------------------------------------------------------------------------------------------ what the system does */

typedef struct FileInfo {
    bool folder, regular;
    uint64_t bytes;
} FileInfo;

#ifdef _WIN32
#include "loader/wide.h"

#include <direct.h>
#include <io.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#define SLASHES "\\/"

/* The name as Windows has it; one that is not UTF-8 is a name of nothing. */
typedef struct WideName {
    wchar_t text[WIDE_MOST];
} WideName;

static WideName wide(const char *path)
{
    WideName n;
    if (!wide_text(path, n.text)) wcscpy(n.text, L"?");
    return n;
}

static bool make_folder(const char *path) { return _wmkdir(wide(path).text) == 0; }
static bool can_write(const char *folder) { return _waccess(wide(folder).text, 2) == 0; }
static void remove_file(const char *path) { DeleteFileW(wide(path).text); }
static FILE *open_to_read(const char *path) { return _wfopen(wide(path).text, L"rb"); }

static FILE *create_file(const char *path)
{
    const int number = _wopen(wide(path).text, _O_WRONLY | _O_CREAT | _O_EXCL | _O_BINARY | _O_NOINHERIT, _S_IREAD | _S_IWRITE);
    FILE *f = number >= 0 ? _fdopen(number, "wb") : NULL;
    if (f == NULL && number >= 0) _close(number);
    return f;
}

static bool file_info(const char *path, FileInfo *info)
{
    struct _stat64 s;
    if (_wstat64(wide(path).text, &s) != 0) return false;
    *info = (FileInfo){S_ISDIR(s.st_mode), S_ISREG(s.st_mode), (uint64_t)s.st_size};
    return true;
}

/* What another program has open cannot be replaced; programs that read an entry are done with it in milliseconds. */
static bool rename_over(const char *from, const char *to)
{
    const WideName old = wide(from), new = wide(to);
    for (int i = 0; i < 50; i++) {
        if (MoveFileExW(old.text, new.text, MOVEFILE_REPLACE_EXISTING)) return true;
        Sleep(10);
    }
    errno = EACCES;
    return false;
}

static long process_number(void) { return (long)GetCurrentProcessId(); }

static int64_t unix_time(FILETIME t)
{
    const int64_t hundreds = (int64_t)((uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime);
    return (hundreds - 116444736000000000) * 100; /* from 1601 on */
}

static int64_t now(void)
{
    FILETIME t;
    GetSystemTimeAsFileTime(&t);
    return unix_time(t);
}

static void mark_used(const char *path)
{
    FILETIME t;
    HANDLE file = CreateFileW(wide(path).text, FILE_WRITE_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                              NULL, OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE) return;
    GetSystemTimeAsFileTime(&t);
    SetFileTime(file, NULL, NULL, &t);
    CloseHandle(file);
}

static void each_file(const CubinCache *c, void (*visit)(void *user, const CacheFile *file), void *user)
{
    FileName pattern;
    WIN32_FIND_DATAW found;
    snprintf(pattern.text, sizeof pattern.text, "%s\\*", c->folder);
    HANDLE search = FindFirstFileW(wide(pattern.text).text, &found);
    if (search == INVALID_HANDLE_VALUE) return;
    do {
        CacheFile f = {.used = unix_time(found.ftLastWriteTime)};
        if (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY || !narrow_text(found.cFileName, f.name, sizeof f.name)) continue;
        f.bytes = (uint64_t)found.nFileSizeHigh << 32 | found.nFileSizeLow;
        visit(user, &f);
    } while (FindNextFileW(search, &found));
    FindClose(search);
}

static bool system_folder(char *folder, size_t size)
{
    char room[LIBRARY_VALUE];
    const char *local = library_environment("LOCALAPPDATA", room);
    if (local == NULL || !*local) return false;
    snprintf(folder, size, "%s\\upres\\cache", local);
    return true;
}
#define NO_FOLDER "neither UPRES_CACHE_DIR nor LOCALAPPDATA is set"
#else
#include <dirent.h>
#include <unistd.h>
#define SLASHES "/"

static bool make_folder(const char *path) { return mkdir(path, 0700) == 0; }
static bool can_write(const char *folder) { return access(folder, W_OK | X_OK) == 0; }
static void remove_file(const char *path) { unlink(path); }
static FILE *open_to_read(const char *path) { return fopen(path, "rb"); }

static FILE *create_file(const char *path)
{
    const int number = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = number >= 0 ? fdopen(number, "wb") : NULL;
    if (f == NULL && number >= 0) close(number);
    return f;
}

static bool file_info(const char *path, FileInfo *info)
{
    struct stat s;
    if (stat(path, &s) != 0 || s.st_size < 0) return false;
    *info = (FileInfo){S_ISDIR(s.st_mode), S_ISREG(s.st_mode), (uint64_t)s.st_size};
    return true;
}

static bool rename_over(const char *from, const char *to) { return rename(from, to) == 0; }
static long process_number(void) { return (long)getpid(); }
static int64_t nanoseconds(struct timespec t) { return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec; }

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return nanoseconds(t);
}

static void mark_used(const char *path) { utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW); }

static void each_file(const CubinCache *c, void (*visit)(void *user, const CacheFile *file), void *user)
{
    DIR *folder = opendir(c->folder);
    if (folder == NULL) return;
    for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        struct stat info;
        CacheFile f;
        const size_t length = strlen(entry->d_name);
        if (length >= sizeof f.name) continue;
        if (fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) continue;
        f.bytes = (uint64_t)info.st_size;
        f.used = nanoseconds(info.st_mtim);
        memcpy(f.name, entry->d_name, length + 1);
        visit(user, &f);
    }
    closedir(folder);
}

static bool system_folder(char *folder, size_t size)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/') /* a relative one is to be passed over, says the XDG specification */
        snprintf(folder, size, "%s/upres", cache);
    else if (home && *home)
        snprintf(folder, size, "%s/.cache/upres", home);
    else
        return false;
    return true;
}
#define NO_FOLDER "neither UPRES_CACHE_DIR nor HOME is set"
#endif

/* ------------------------------------------------------------------------------------------------------ open and close */

/* A folder with those above it; false: it is none, and errno says why. */
static bool make_folders(const char *path)
{
    char part[1024];
    FileInfo info;
    for (const char *p = path + 1; *p; p++) {
        if (strchr(SLASHES, *p) == NULL) continue;
        snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
        make_folder(part); /* most are there; whether all went well shows at the end */
    }
    if (make_folder(path)) return true;
    const int reason = errno;
    if (!file_info(path, &info)) errno = reason;
    else if (!info.folder) errno = ENOTDIR;
    else return true;
    return false;
}

CubinCache *cubin_cache_open(uint64_t most, char *why_not, size_t size)
{
    char folder[2048] = "", room[LIBRARY_VALUE];
    const char *own = library_environment("UPRES_CACHE_DIR", room);
    CubinCache *c = NULL;
    if (own && (!*own || strcmp(own, "none") == 0)) {
        snprintf(why_not, size, "UPRES_CACHE_DIR asks for none");
        return NULL;
    }
    if (own) snprintf(folder, sizeof folder, "%s", own);
    if (!own && !system_folder(folder, sizeof folder))
        snprintf(why_not, size, NO_FOLDER);
    else if (strlen(folder) >= sizeof c->folder)
        snprintf(why_not, size, "the name of the folder is too long");
    else if (!make_folders(folder))
        snprintf(why_not, size, "%s: %s", folder, strerror(errno));
    else if ((c = calloc(1, sizeof *c)) == NULL)
        snprintf(why_not, size, "out of memory");
    if (c == NULL) return NULL;
    c->most = most;
    c->writable = can_write(folder);
    memcpy(c->folder, folder, strlen(folder) + 1);
    return c;
}

void cubin_cache_close(CubinCache *c) { free(c); }
const char *cubin_cache_folder(const CubinCache *c) { return c->folder; }
bool cubin_cache_writable(const CubinCache *c) { return c->writable; }

/* --------------------------------------------------------------------------------------------------------------- files */

/*
 * A file, numbers little-endian: "upres cubin\n", u32 format; u64 bytes of key, notes (with their closing zeros) and image;
 * the checksum's halves, of all bytes but its own; zeros up to UNIT; key, notes, zeros up to a multiple of UNIT; the image.
 */
enum { FORMAT = 1, AT_LENGTHS = 16, AT_CHECKSUM = 40, AFTER_CHECKSUM = 56, UNIT = 64 };
static const char magic[] = "upres cubin\n";
static const uint64_t largest = (uint64_t)1 << 30; /* an image never comes near */

static FileName file_name(const CubinCache *c, const char *key)
{
    FileName n;
    const CubinHash h = cubin_hash_add(cubin_hash_begin(), key, strlen(key));
    snprintf(n.text, sizeof n.text, "%s/%016llx%016llx" ENDING, c->folder, (unsigned long long)h.high,
             (unsigned long long)h.low);
    return n;
}

static uint64_t image_place(uint64_t key_bytes, uint64_t notes_bytes)
{
    return (UNIT + key_bytes + notes_bytes + UNIT - 1) / UNIT * UNIT;
}

static CubinHash checksum(const uint8_t *file, uint64_t bytes)
{
    const CubinHash lengths = cubin_hash_add(cubin_hash_begin(), file, AT_CHECKSUM);
    return cubin_hash_add(lengths, file + AFTER_CHECKSUM, (size_t)(bytes - AFTER_CHECKSUM));
}

static void fill_start(uint8_t *file, const char *key, const char *notes, uint64_t image_bytes)
{
    const uint64_t key_bytes = strlen(key) + 1, notes_bytes = strlen(notes) + 1;
    memcpy(file, magic, sizeof magic - 1);
    store_u32(file + sizeof magic - 1, FORMAT);
    store_u64(file + AT_LENGTHS, key_bytes);
    store_u64(file + AT_LENGTHS + 8, notes_bytes);
    store_u64(file + AT_LENGTHS + 16, image_bytes);
    memcpy(file + UNIT, key, key_bytes);
    memcpy(file + UNIT + key_bytes, notes, notes_bytes);
}

/* Whether a file's bytes are an entry, whole and unharmed, of that key. */
static bool read_entry(const uint8_t *file, uint64_t bytes, const char *key, CubinEntry *e)
{
    if (bytes < UNIT || memcmp(file, magic, sizeof magic - 1) != 0) return false;
    if (load_u32(file + sizeof magic - 1) != FORMAT) return false;
    const uint64_t key_bytes = load_u64(file + AT_LENGTHS), notes_bytes = load_u64(file + AT_LENGTHS + 8);
    const uint64_t image_bytes = load_u64(file + AT_LENGTHS + 16);
    if (key_bytes != strlen(key) + 1 || notes_bytes == 0 || notes_bytes > largest || image_bytes > largest) return false;
    const uint64_t place = image_place(key_bytes, notes_bytes);
    if (bytes != place + image_bytes) return false;
    const CubinHash sum = checksum(file, bytes);
    if (sum.high != load_u64(file + AT_CHECKSUM) || sum.low != load_u64(file + AT_CHECKSUM + 8)) return false;
    const char *text = (const char *)file + UNIT;
    if (memcmp(text, key, (size_t)key_bytes) != 0 || text[key_bytes + notes_bytes - 1] != '\0') return false;
    e->image = file + place;
    e->image_bytes = (size_t)image_bytes;
    e->notes = text + key_bytes;
    return true;
}

/* All of a regular file, to be freed; NULL: it is none or cannot be read. */
static void *read_file(const char *path, uint64_t *bytes)
{
    FileInfo info;
    if (!file_info(path, &info) || !info.regular || info.bytes > largest) return NULL;
    FILE *f = open_to_read(path);
    if (f == NULL) return NULL;
    *bytes = info.bytes;
    void *file = malloc(*bytes > 0 ? (size_t)*bytes : 1);
    const bool whole = file && fread(file, 1, (size_t)*bytes, f) == *bytes && fgetc(f) == EOF;
    fclose(f);
    if (whole) return file;
    free(file);
    return NULL;
}

bool cubin_cache_load(const CubinCache *c, const char *key, CubinEntry *e)
{
    uint64_t bytes;
    const FileName name = file_name(c, key);
    *e = (CubinEntry){.memory = read_file(name.text, &bytes)};
    if (e->memory == NULL) return false;
    if (read_entry(e->memory, bytes, key, e)) {
        mark_used(name.text);
        return true;
    }
    cubin_cache_unload(e);
    cubin_cache_remove(c, key);
    return false;
}

void cubin_cache_unload(CubinEntry *e)
{
    free(e->memory);
    *e = (CubinEntry){0};
}

void cubin_cache_remove(const CubinCache *c, const char *key) { remove_file(file_name(c, key).text); }

/* --------------------------------------------------------------------------------------------------------------- bound */

typedef struct CacheFiles {
    CacheFile *files;
    size_t count, room;
    uint64_t bytes;
    const CubinCache *cache;
} CacheFiles;

static void remove_named(const CubinCache *c, const char *name)
{
    FileName path;
    snprintf(path.text, sizeof path.text, "%s/%s", c->folder, name);
    remove_file(path.text);
}

static bool is_hash(const char *name) { return strspn(name, "0123456789abcdef") == HEX; }

/* Takes up finished files; what a program left unfinished an hour ago or more is removed. Others' files are let alone. */
static void gather(void *user, const CacheFile *f)
{
    const int64_t hour = (int64_t)3600 * 1000000000;
    CacheFiles *all = user;
    const size_t length = strlen(f->name), tail = sizeof UNFINISHED - 1;
    if (!is_hash(f->name)) return;
    const bool part = length > HEX + tail && f->name[HEX] == '.' && strcmp(f->name + length - tail, UNFINISHED) == 0;
    if (part && now() - f->used > hour) remove_named(all->cache, f->name);
    if (strcmp(f->name + HEX, ENDING) != 0) return;
    if (all->count == all->room) {
        const size_t room = all->room ? 2 * all->room : 64;
        CacheFile *files = realloc(all->files, room * sizeof *files);
        if (files == NULL) return;
        all->files = files;
        all->room = room;
    }
    all->files[all->count++] = *f;
    all->bytes += f->bytes;
}

static int longest_unused_first(const void *a, const void *b)
{
    const CacheFile *x = a, *y = b;
    if (x->used != y->used) return x->used < y->used ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* `path` was just written and stays. */
static void keep_bound(const CubinCache *c, const char *path)
{
    CacheFiles all = {.cache = c};
    each_file(c, gather, &all);
    if (all.bytes > c->most) qsort(all.files, all.count, sizeof *all.files, longest_unused_first);
    for (size_t i = 0; i < all.count && all.bytes > c->most; i++) {
        if (strcmp(path + strlen(c->folder) + 1, all.files[i].name) == 0) continue;
        remove_named(c, all.files[i].name);
        all.bytes -= all.files[i].bytes;
    }
    free(all.files);
}

/* --------------------------------------------------------------------------------------------------------------- store */

/* False, and errno says why. */
static bool write_file(const char *path, const void *bytes, size_t count)
{
    FILE *f = create_file(path);
    if (f == NULL) return false;
    const bool whole = fwrite(bytes, 1, count, f) == count;
    return (fclose(f) == 0) & whole;
}

/* A name that no other program, and no other thread of this one, has at any time. */
static FileName unfinished_name(const FileName *finished)
{
    static atomic_uint counter;
    FileName n;
    const int stem = (int)(strlen(finished->text) - strlen(ENDING));
    snprintf(n.text, sizeof n.text, "%.*s.%ld-%u-%llx" UNFINISHED, stem, finished->text, process_number(),
             atomic_fetch_add(&counter, 1), (unsigned long long)now());
    return n;
}

bool cubin_cache_store(const CubinCache *c, const char *key, const char *notes, const void *image, size_t image_bytes,
                       char *error, size_t error_size)
{
    const FileName finished = file_name(c, key), unfinished = unfinished_name(&finished);
    const uint64_t place = image_place(strlen(key) + 1, strlen(notes) + 1), bytes = place + image_bytes;
    if (bytes > c->most) {
        snprintf(error, error_size, "%llu bytes are more than the cache holds", (unsigned long long)bytes);
        return false;
    }
    uint8_t *file = calloc(1, (size_t)bytes);
    if (file == NULL) {
        snprintf(error, error_size, "out of memory");
        return false;
    }
    fill_start(file, key, notes, image_bytes);
    memcpy(file + place, image, image_bytes);
    const CubinHash sum = checksum(file, bytes);
    store_u64(file + AT_CHECKSUM, sum.high);
    store_u64(file + AT_CHECKSUM + 8, sum.low);
    const bool ok = write_file(unfinished.text, file, (size_t)bytes) && rename_over(unfinished.text, finished.text);
    free(file);
    if (!ok) {
        snprintf(error, error_size, "%s: %s", c->folder, strerror(errno));
        remove_file(unfinished.text);
        return false;
    }
    keep_bound(c, finished.text);
    return true;
}
