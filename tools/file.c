/* Files and folders, on top of what the system does with them. */
#include "tools/platform.h"

#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------------------- folders */

void free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++) free(names[i]);
    free(names);
}

bool folder_writable(const char *folder, Problem *p)
{
    char *trimmed = new_text("%.*s", (int)path_length(folder), folder);
    char *parent = path_folder(trimmed);
    const char *where = path_kind(trimmed) == PATH_MISSING ? parent : trimmed;
    const PathKind kind = path_kind(where);
    bool fine = true;
    if (kind == PATH_MISSING)
        fine = problem(p, EXIT_FAILED, "%s: cannot be made, since %s does not exist; make it first", folder, where);
    else if (kind != PATH_FOLDER)
        fine = problem(p, EXIT_FAILED, "%s: no folder that results could be put in; give another path", where);
    else if (!folder_can_write(where))
        fine = problem(p, EXIT_FAILED, "%s: the output cannot be written (%s); give a path where files may be made", where,
                       system_reason());
    free(parent);
    free(trimmed);
    return fine;
}

/* ----------------------------------------------------------------------------------------------------------- reading */

bool readfile_at(InputFile *f, uint64_t offset, void *data, size_t size, Problem *p)
{
    for (char *at = data; size > 0;) {
        const int64_t n = file_read(f->handle, at, size, offset);
        if (n < 0) return problem(p, EXIT_INPUT, "%s: cannot be read (%s)", f->path, system_reason());
        if (n == 0) return problem(p, EXIT_INPUT, "%s: ends in the middle of its data; copy it again", f->path);
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return true;
}

void readfile_close(InputFile *f)
{
    if (f->handle != -1) file_close(f->handle);
    f->handle = -1;
}

/* ----------------------------------------------------------------------------------------------------------- writing */

static bool write_failed(const OutputFile *f, Problem *p)
{
    const char *next = system_is_full() ? "make room there, or give another path" : "give another path";
    return problem(p, EXIT_FAILED, "%s: cannot be written (%s); %s", f->path, system_reason(), next);
}

static bool opened(OutputFile *f, Problem *p)
{
    if (f->handle != -1) return true;
    write_failed(f, p);
    writefile_abandon(f);
    return false;
}

bool writefile_create(OutputFile *f, const char *path, Problem *p)
{
    *f = (OutputFile){.path = new_text("%s", path), .part = new_text("%s.part", path)};
    f->handle = file_create(f->part);
    return opened(f, p);
}

bool writefile_scratch(OutputFile *f, const char *folder, Problem *p)
{
    *f = (OutputFile){.path = new_text("%s", folder)};
    f->handle = file_scratch(folder);
    return opened(f, p);
}

bool writefile_put(OutputFile *f, uint64_t offset, const void *data, size_t size, Problem *p)
{
    for (const char *at = data; size > 0;) {
        const int64_t n = file_write(f->handle, at, size, offset);
        if (n <= 0) return write_failed(f, p);
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return true;
}

bool writefile_get(OutputFile *f, uint64_t offset, void *data, size_t size, Problem *p)
{
    for (char *at = data; size > 0;) {
        const int64_t n = file_read(f->handle, at, size, offset);
        if (n < 0) return problem(p, EXIT_FAILED, "%s: cannot be read back (%s)", f->path, system_reason());
        if (n == 0) {
            memset(at, 0, size);
            return true;
        }
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return true;
}

bool writefile_commit(OutputFile *f, Problem *p)
{
    bool fine = file_to_disk(f->handle);
    /* closing may be the call that reports a full disk on network file systems */
    fine = file_close(f->handle) && fine;
    f->handle = -1;
    fine = fine && file_rename(f->part, f->path);
    if (!fine) write_failed(f, p);
    if (fine) {
        free(f->part);
        f->part = NULL;
    }
    writefile_abandon(f);
    return fine;
}

void writefile_abandon(OutputFile *f)
{
    if (f->handle != -1) file_close(f->handle);
    if (f->part != NULL) file_remove(f->part);
    free(f->part);
    free(f->path);
    *f = (OutputFile){.handle = -1};
}
