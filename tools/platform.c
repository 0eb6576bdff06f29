#ifndef _WIN32
#include "tools/platform.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------------------- paths */

PathKind path_kind(const char *path)
{
    struct stat s;
    if (stat(path, &s) != 0) return errno == EACCES || errno == ELOOP ? PATH_OTHER : PATH_MISSING; /* not missing: hidden */
    return S_ISDIR(s.st_mode) ? PATH_FOLDER : S_ISREG(s.st_mode) ? PATH_FILE : PATH_OTHER;
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

char *path_folder(const char *path)
{
    size_t length = (size_t)(path_base(path) - path);
    if (length == 0) return new_text(".");
    return length == 1 ? new_text("/") : new_text("%.*s", (int)(length - 1), path);
}

char *path_join(const char *folder, const char *name)
{
    size_t length = strlen(folder);
    return new_text("%s%s%s", folder, length > 0 && folder[length - 1] == '/' ? "" : "/", name);
}

char *path_found(const char *path) { return realpath(path, NULL); }

size_t path_length(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    return n;
}

/* ----------------------------------------------------------------------------------------------------------- folders */

bool folder_names(const char *folder, char ***names, size_t *count, Problem *p)
{
    *names = NULL;
    *count = 0;
    DIR *d = opendir(folder);
    if (d == NULL) return problem(p, EXIT_INPUT, "%s: the folder cannot be read (%s)", folder, strerror(errno));
    size_t room = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (*count == room) *names = need_more(*names, (room = room * 2 + 64) * sizeof **names);
        (*names)[(*count)++] = new_text("%s", e->d_name);
    }
    closedir(d);
    return true;
}

bool folder_can_write(const char *folder) { return access(folder, W_OK | X_OK) == 0; }

bool folder_make(const char *folder, bool *made, Problem *p)
{
    *made = mkdir(folder, 0777) == 0;
    if (*made || path_kind(folder) == PATH_FOLDER) return true;
    return problem(p, EXIT_FAILED, "%s: the output folder cannot be made (%s)", folder, strerror(errno));
}

void folder_remove_if_empty(const char *folder)
{
    rmdir(folder); /* refuses a folder that holds anything */
}

/* ------------------------------------------------------------------------------------------------------------- files */

bool readfile_open(InputFile *f, const char *path, Problem *p)
{
    f->path = path;
    f->handle = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not block here */
    if (f->handle < 0) return problem(p, EXIT_INPUT, "%s: cannot be opened (%s)", path, strerror(errno));
    struct stat s;
    if (fstat((int)f->handle, &s) != 0 || !S_ISREG(s.st_mode)) {
        readfile_close(f);
        return problem(p, EXIT_INPUT, "%s: not a regular file", path);
    }
    f->size = (uint64_t)s.st_size;
    return true;
}

intptr_t file_create(const char *path) { return open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666); }

intptr_t file_scratch(const char *folder)
{
    char *path = path_join(folder, "upres-XXXXXX.part");
    const int handle = mkostemps(path, (int)strlen(".part"), O_CLOEXEC);
    if (handle >= 0) unlink(path);
    free(path);
    return handle;
}

int64_t file_read(intptr_t handle, void *data, size_t size, uint64_t offset)
{
    ssize_t n;
    do n = pread((int)handle, data, size, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n;
}

int64_t file_write(intptr_t handle, const void *data, size_t size, uint64_t offset)
{
    ssize_t n;
    do n = pwrite((int)handle, data, size, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n;
}

bool file_to_disk(intptr_t handle) { return fsync((int)handle) == 0; }
bool file_close(intptr_t handle) { return close((int)handle) == 0; }
bool file_rename(const char *from, const char *to) { return rename(from, to) == 0; }
void file_remove(const char *path) { unlink(path); }

const char *system_reason(void) { return strerror(errno); }
bool system_is_full(void) { return errno == ENOSPC || errno == EDQUOT || errno == EFBIG; }

/* ------------------------------------------------------------------------------------------------- signals, clock, rest */

static volatile sig_atomic_t caught_signal; /* a signal handler can reach nothing else */

static void remember_signal(int number)
{
    caught_signal = number;
}

void signals_catch(void)
{
    struct sigaction a = {.sa_handler = remember_signal, .sa_flags = SA_RESTART};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    struct sigaction before;
    const bool kept = sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler == SIG_IGN; /* by nohup */
    if (!kept) sigaction(SIGHUP, &a, NULL);
    a.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &a, NULL);
    sigaction(SIGXFSZ, &a, NULL);
}

int signals_caught(void)
{
    return caught_signal;
}

double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void clock_date(char *text, size_t size)
{
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) == NULL || strftime(text, size, "%Y-%m-%dT%H:%M:%S+00:00", &utc) == 0) text[0] = '\0';
}

uint64_t process_peak_bytes(void)
{
    struct rusage r;
    return getrusage(RUSAGE_SELF, &r) == 0 ? (uint64_t)r.ru_maxrss * 1024 : 0;
}

bool terminal_rewrites(FILE *f)
{
    const char *term = getenv("TERM");
    return isatty(fileno(f)) != 0 && term != NULL && strcmp(term, "dumb") != 0;
}

/*
 * A program may be started with its standard streams closed; the first files it opens would get their numbers then, and what is
 * printed would go into them. What stands in for a stream fails as a closed one does.
 */
static void fill_standard_streams(void)
{
    for (int i = 0; i <= STDERR_FILENO; i++) {
        if (fcntl(i, F_GETFD) < 0 && errno == EBADF && open("/dev/null", i == STDIN_FILENO ? O_WRONLY : O_RDONLY) != i) abort();
    }
}

void platform_start(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fill_standard_streams();
}
#endif
