#include "loader/map.h"

#include <stdio.h>
#include <string.h>

static bool fail(char *error, size_t size, const char *what, const char *reason)
{
    snprintf(error, size, "%s: %s", what, reason);
    return false;
}

#ifdef _WIN32

#include "loader/wide.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

bool map_open(Map *m, const char *path, char *error, size_t error_size)
{
    *m = (Map){0};
    wchar_t wide[WIDE_MOST];
    if (!wide_text(path, wide)) {
        return fail(error, error_size, "the file cannot be opened", "its name is not UTF-8 or too long");
    }
    HANDLE file = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                              FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        const DWORD why = GetLastError(), attributes = GetFileAttributesW(wide);
        bool folder = attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_DIRECTORY;
        return fail(error, error_size, "the file cannot be opened",
                    folder                         ? "it is a folder; name a file"
                    : why == ERROR_FILE_NOT_FOUND  ? "there is no such file"
                    : why == ERROR_PATH_NOT_FOUND  ? "there is no such folder"
                    : why == ERROR_SHARING_VIOLATION ? "another program keeps it to itself"
                                                     : "access was refused");
    }
    LARGE_INTEGER size;
    bool ok = GetFileType(file) == FILE_TYPE_DISK && GetFileSizeEx(file, &size);
    if (!ok) {
        CloseHandle(file);
        return fail(error, error_size, "the file cannot be opened", "it is not a regular file");
    }
    if (size.QuadPart == 0) {
        CloseHandle(file);
        snprintf(error, error_size, "the file is empty");
        return false;
    }
    HANDLE mapping = CreateFileMappingW(file, NULL, PAGE_READONLY, (DWORD)size.HighPart, size.LowPart, NULL);
    CloseHandle(file);
    void *bytes = mapping ? MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0) : NULL;
    if (mapping) CloseHandle(mapping);
    if (!bytes) return fail(error, error_size, "the file cannot be mapped", "no address space is left");
    m->bytes = bytes;
    m->size = (uint64_t)size.QuadPart;
    return true;
}

void map_close(Map *m)
{
    if (m->bytes) UnmapViewOfFile(m->bytes);
    *m = (Map){0};
}

void map_forget(const uint8_t *bytes, uint64_t size)
{
    (void)bytes;
    (void)size;
}

/* Held open, so that its number stays its own. INVALID_HANDLE_VALUE: it is not there. */
static HANDLE open_identity(const char *path, BY_HANDLE_FILE_INFORMATION *identity)
{
    wchar_t wide[WIDE_MOST];
    HANDLE h = wide_text(path, wide) ? CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                                   OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL)
                                     : INVALID_HANDLE_VALUE;
    if (h == INVALID_HANDLE_VALUE || GetFileInformationByHandle(h, identity)) return h;
    CloseHandle(h);
    return INVALID_HANDLE_VALUE;
}

bool map_same_file(const char *a, const char *b)
{
    BY_HANDLE_FILE_INFORMATION x, y;
    HANDLE first = open_identity(a, &x), second = open_identity(b, &y);
    bool same = first != INVALID_HANDLE_VALUE && second != INVALID_HANDLE_VALUE &&
                x.dwVolumeSerialNumber == y.dwVolumeSerialNumber && x.nFileIndexHigh == y.nFileIndexHigh &&
                x.nFileIndexLow == y.nFileIndexLow;
    if (first != INVALID_HANDLE_VALUE) CloseHandle(first);
    if (second != INVALID_HANDLE_VALUE) CloseHandle(second);
    return same;
}

#else

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool map_open(Map *m, const char *path, char *error, size_t error_size)
{
    *m = (Map){0};
    /* O_NONBLOCK: opening a FIFO must not wait for a writer; it means nothing for a regular file. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail(error, error_size, "the file cannot be opened", strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0) {
        int reason = errno;
        close(fd);
        return fail(error, error_size, "the file cannot be opened", strerror(reason));
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return fail(error, error_size, "the file cannot be opened",
                    S_ISDIR(st.st_mode) ? "it is a folder; name a file" : "it is not a regular file");
    }
    if (st.st_size == 0) {
        close(fd);
        snprintf(error, error_size, "the file is empty");
        return false;
    }
    if ((uint64_t)st.st_size > SIZE_MAX) {
        close(fd);
        return fail(error, error_size, "the file cannot be mapped", "it is larger than the address space");
    }
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    int reason = errno;
    close(fd);
    if (bytes == MAP_FAILED) return fail(error, error_size, "the file cannot be mapped", strerror(reason));
    m->bytes = bytes;
    m->size = (uint64_t)st.st_size;
    return true;
}

void map_close(Map *m)
{
    if (m->bytes) munmap((void *)(uintptr_t)m->bytes, (size_t)m->size);
    *m = (Map){0};
}

void map_forget(const uint8_t *bytes, uint64_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)bytes + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)bytes + (uintptr_t)size) / page * page;
    if (first < end) madvise((void *)first, (size_t)(end - first), MADV_DONTNEED);
}

bool map_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

#endif
