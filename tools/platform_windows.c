#ifdef _WIN32
#include "tools/platform.h"

#include <fcntl.h>
#include <io.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <psapi.h>
#include <shellapi.h>

enum { WIDE_MOST = 4096 };

/* Names are UTF-8 here, UTF-16 there. False: it is not UTF-8, or too long. */
static bool wide_text(const char *text, wchar_t wide[WIDE_MOST])
{
    return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide, WIDE_MOST) != 0;
}

/* False: it does not fit. */
static bool narrow_text(const wchar_t *wide, char *text, size_t size)
{
    return WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, (int)size, NULL, NULL) != 0;
}

/* Without the full stop and the line's end it comes with. */
const char *system_reason(void)
{
    static char text[512];
    wchar_t wide[256];
    const DWORD code = GetLastError();
    DWORD n = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                             NULL, code, 0, wide, 256, NULL);
    while (n > 0 && (wide[n - 1] == L' ' || wide[n - 1] == L'.')) n--;
    wide[n] = L'\0';
    if (n == 0 || !narrow_text(wide, text, sizeof text)) snprintf(text, sizeof text, "Windows error %lu", code);
    return text;
}

bool system_is_full(void)
{
    const DWORD code = GetLastError();
    return code == ERROR_DISK_FULL || code == ERROR_HANDLE_DISK_FULL;
}

/* ------------------------------------------------------------------------------------------------------------- paths */

static bool is_slash(char c)
{
    return c == '/' || c == '\\';
}

PathKind path_kind(const char *path)
{
    wchar_t wide[WIDE_MOST];
    const DWORD a = wide_text(path, wide) ? GetFileAttributesW(wide) : INVALID_FILE_ATTRIBUTES;
    if (a == INVALID_FILE_ATTRIBUTES) return PATH_MISSING;
    return a & FILE_ATTRIBUTE_DIRECTORY ? PATH_FOLDER : a & FILE_ATTRIBUTE_DEVICE ? PATH_OTHER : PATH_FILE;
}

const char *path_base(const char *path)
{
    const char *base = path;
    for (const char *c = path; *c != '\0'; c++)
        if (is_slash(*c) || (*c == ':' && c == path + 1)) base = c + 1;
    return base;
}

/* "C:\" and "C:" keep what they end with: without it they mean something else. */
static size_t without_slashes(const char *path, size_t length)
{
    while (length > 1 && is_slash(path[length - 1]) && path[length - 2] != ':') length--;
    return length;
}

char *path_folder(const char *path)
{
    size_t length = (size_t)(path_base(path) - path);
    return length == 0 ? new_text(".") : new_text("%.*s", (int)without_slashes(path, length), path);
}

char *path_join(const char *folder, const char *name)
{
    size_t n = strlen(folder);
    bool ended = n > 0 && (is_slash(folder[n - 1]) || (n == 2 && folder[1] == ':'));
    return new_text("%s%s%s", folder, ended ? "" : "/", name);
}

/* Of what is there: as it is written on the disk, links resolved, with '/' between the names. */
char *path_found(const char *path)
{
    wchar_t wide[WIDE_MOST];
    char name[WIDE_MOST * 3];
    if (!wide_text(path, wide)) return NULL;
    HANDLE h = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                           FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (h == INVALID_HANDLE_VALUE) return NULL;
    DWORD n = GetFinalPathNameByHandleW(h, wide, WIDE_MOST, FILE_NAME_NORMALIZED | VOLUME_NAME_DOS);
    CloseHandle(h);
    if (n == 0 || n >= WIDE_MOST || !narrow_text(wide, name, sizeof name)) return NULL;
    char *start = strncmp(name, "\\\\?\\UNC\\", 8) == 0 ? name + 6 : strncmp(name, "\\\\?\\", 4) == 0 ? name + 4 : name;
    if (start == name + 6) start[0] = '\\';
    for (char *c = start; *c != '\0'; c++)
        if (*c == '\\') *c = '/';
    return new_text("%.*s", (int)without_slashes(start, strlen(start)), start);
}

size_t path_length(const char *path) { return without_slashes(path, strlen(path)); }

/* ----------------------------------------------------------------------------------------------------------- folders */

bool folder_names(const char *folder, char ***names, size_t *count, Problem *p)
{
    wchar_t wide[WIDE_MOST];
    WIN32_FIND_DATAW found;
    char *pattern = path_join(folder, "*"), name[3 * MAX_PATH];
    HANDLE search = wide_text(pattern, wide) ? FindFirstFileW(wide, &found) : INVALID_HANDLE_VALUE;
    size_t room = 0;
    free(pattern);
    *names = NULL;
    *count = 0;
    if (search == INVALID_HANDLE_VALUE)
        return problem(p, EXIT_INPUT, "%s: the folder cannot be read (%s)", folder, system_reason());
    do {
        if (!narrow_text(found.cFileName, name, sizeof name)) continue;
        if (*count == room) *names = need_more(*names, (room = room * 2 + 64) * sizeof **names);
        (*names)[(*count)++] = new_text("%s", name);
    } while (FindNextFileW(search, &found));
    FindClose(search);
    return true;
}

/* Rights are many and inherited: what tells is a file that is made, and gone at once. */
static HANDLE passing_file(const char *folder)
{
    static unsigned turn;
    wchar_t wide[WIDE_MOST];
    char name[64];
    snprintf(name, sizeof name, "upres-%lx-%llx-%u.part", GetCurrentProcessId(), (unsigned long long)GetTickCount64(),
             turn++);
    char *path = path_join(folder, name);
    HANDLE h = wide_text(path, wide) ? CreateFileW(wide, GENERIC_READ | GENERIC_WRITE | DELETE, 0, NULL, CREATE_NEW,
                                                   FILE_ATTRIBUTE_TEMPORARY | FILE_FLAG_DELETE_ON_CLOSE, NULL)
                                     : INVALID_HANDLE_VALUE;
    free(path);
    return h;
}

bool folder_can_write(const char *folder)
{
    HANDLE h = passing_file(folder);
    if (h == INVALID_HANDLE_VALUE) return false;
    CloseHandle(h);
    return true;
}

bool folder_make(const char *folder, bool *made, Problem *p)
{
    wchar_t wide[WIDE_MOST];
    *made = wide_text(folder, wide) && CreateDirectoryW(wide, NULL);
    if (*made || path_kind(folder) == PATH_FOLDER) return true;
    return problem(p, EXIT_FAILED, "%s: the output folder cannot be made (%s)", folder, system_reason());
}

void folder_remove_if_empty(const char *folder)
{
    wchar_t wide[WIDE_MOST];
    if (wide_text(folder, wide)) RemoveDirectoryW(wide); /* refuses a folder that holds anything */
}

/* ------------------------------------------------------------------------------------------------------------- files */

enum { PORTION = 1 << 30 }; /* the system takes sizes of 32 bits */

static OVERLAPPED place(uint64_t offset)
{
    return (OVERLAPPED){.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
}

bool readfile_open(InputFile *f, const char *path, Problem *p)
{
    wchar_t wide[WIDE_MOST];
    LARGE_INTEGER size;
    f->path = path;
    f->handle = -1;
    if (path_kind(path) == PATH_FOLDER) return problem(p, EXIT_INPUT, "%s: not a regular file", path);
    HANDLE h = wide_text(path, wide) ? CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE |
                                                   FILE_SHARE_DELETE, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL)
                                     : INVALID_HANDLE_VALUE;
    if (h == INVALID_HANDLE_VALUE) return problem(p, EXIT_INPUT, "%s: cannot be opened (%s)", path, system_reason());
    f->handle = (intptr_t)h;
    if (GetFileType(h) != FILE_TYPE_DISK || !GetFileSizeEx(h, &size)) {
        readfile_close(f);
        return problem(p, EXIT_INPUT, "%s: not a regular file", path);
    }
    f->size = (uint64_t)size.QuadPart;
    return true;
}

intptr_t file_create(const char *path)
{
    wchar_t wide[WIDE_MOST];
    if (!wide_text(path, wide)) return -1;
    return (intptr_t)CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, CREATE_ALWAYS,
                                 FILE_ATTRIBUTE_NORMAL, NULL);
}

intptr_t file_scratch(const char *folder) { return (intptr_t)passing_file(folder); }

int64_t file_read(intptr_t handle, void *data, size_t size, uint64_t offset)
{
    OVERLAPPED at = place(offset);
    DWORD n = 0;
    if (ReadFile((HANDLE)handle, data, size < PORTION ? (DWORD)size : PORTION, &n, &at)) return n;
    return GetLastError() == ERROR_HANDLE_EOF ? 0 : -1;
}

int64_t file_write(intptr_t handle, const void *data, size_t size, uint64_t offset)
{
    OVERLAPPED at = place(offset);
    DWORD n = 0;
    return WriteFile((HANDLE)handle, data, size < PORTION ? (DWORD)size : PORTION, &n, &at) ? (int64_t)n : -1;
}

bool file_to_disk(intptr_t handle) { return FlushFileBuffers((HANDLE)handle); }
bool file_close(intptr_t handle) { return CloseHandle((HANDLE)handle); }

/* Virus scanners and indexers open files as soon as they are there, and let go of them soon. */
bool file_rename(const char *from, const char *to)
{
    enum { TRIES = 40, MILLISECONDS = 50 };
    wchar_t old[WIDE_MOST], new[WIDE_MOST];
    if (!wide_text(from, old) || !wide_text(to, new)) return false;
    for (int i = 0; i < TRIES; i++) {
        if (MoveFileExW(old, new, MOVEFILE_REPLACE_EXISTING)) return true;
        if (GetLastError() != ERROR_SHARING_VIOLATION && GetLastError() != ERROR_ACCESS_DENIED) return false;
        if (path_kind(to) == PATH_FOLDER) return false;
        Sleep(MILLISECONDS);
    }
    return false;
}

void file_remove(const char *path)
{
    wchar_t wide[WIDE_MOST];
    if (wide_text(path, wide)) DeleteFileW(wide);
}

/* -------------------------------------------------------------------------------------------- signals, clock, rest */

static volatile LONG caught_signal;

/* Called in a thread of its own. When it returns from a window's closing or the user's leaving, the program is ended; what is
 * half written is wanted gone by then. */
static BOOL WINAPI remember_event(DWORD event)
{
    const bool ends = event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT;
    caught_signal = ends ? SIGTERM : SIGINT;
    if (ends) Sleep(INFINITE); /* the system waits a few seconds */
    return TRUE;
}

void signals_catch(void)
{
    SetConsoleCtrlHandler(remember_event, TRUE);
}

int signals_caught(void)
{
    return (int)caught_signal;
}

double clock_seconds(void)
{
    LARGE_INTEGER now, rate;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&rate);
    return (double)now.QuadPart / (double)rate.QuadPart;
}

void clock_date(char *text, size_t size)
{
    SYSTEMTIME t;
    GetSystemTime(&t);
    snprintf(text, size, "%04d-%02d-%02dT%02d:%02d:%02d+00:00", t.wYear, t.wMonth, t.wDay, t.wHour, t.wMinute,
             t.wSecond);
}

uint64_t process_peak_bytes(void)
{
    PROCESS_MEMORY_COUNTERS m = {.cb = sizeof m};
    return GetProcessMemoryInfo(GetCurrentProcess(), &m, sizeof m) ? m.PeakWorkingSetSize : 0;
}

static bool is_console(FILE *f, DWORD *mode)
{
    return GetConsoleMode((HANDLE)_get_osfhandle(_fileno(f)), mode);
}

bool terminal_rewrites(FILE *f)
{
    DWORD mode;
    return is_console(f, &mode) && mode & ENABLE_VIRTUAL_TERMINAL_PROCESSING;
}

static void arguments_as_utf8(int *argc, char ***argv)
{
    int count = 0;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &count);
    if (wide == NULL) return;
    char **narrow = need_memory(((size_t)count + 1) * sizeof *narrow);
    for (int i = 0; i < count; i++) {
        const size_t size = 3 * wcslen(wide[i]) + 1;
        narrow[i] = need_memory(size);
        narrow_text(wide[i], narrow[i], size);
    }
    LocalFree(wide);
    *argc = count;
    *argv = narrow;
}

void platform_start(int *argc, char ***argv)
{
    DWORD mode;
    arguments_as_utf8(argc, argv); /* they live as long as the program */
    SetConsoleOutputCP(CP_UTF8);
    if (is_console(stderr, &mode))
        SetConsoleMode((HANDLE)_get_osfhandle(_fileno(stderr)), mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
    /* the same bytes as on other systems */
    _setmode(_fileno(stdout), _O_BINARY);
    _setmode(_fileno(stderr), _O_BINARY);
    /* libraries from the program's folder, the system's and the path, not from wherever it was started */
    SetDllDirectoryW(L"");
}
#endif
