/*
 * What the command needs from the operating system: folders, files written by position and renamed when whole, stopping
 * by signal, the clock. platform.c for POSIX and platform_windows.c are all of tools/ that differs between systems; path.c and
 * file.c stand on them. Names are UTF-8 on Windows, and may have either slash there.
 */
#ifndef UPRES_TOOLS_PLATFORM_H
#define UPRES_TOOLS_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/console.h"

typedef enum PathKind { PATH_MISSING, PATH_FILE, PATH_FOLDER, PATH_OTHER } PathKind;

PathKind path_kind(const char *path);
const char *path_base(const char *path); /* after the last separator; points into path */
char *path_folder(const char *path);     /* before it, "." without one; free() */
char *path_join(const char *folder, const char *name);
char *path_found(const char *path);      /* absolute, links resolved; NULL when nothing is there; free() */
size_t path_length(const char *path);    /* without slashes at its end */
/* path.c: as path_found, but the last component may be missing. NULL when its folder is. free(). */
char *path_real(const char *path);
bool path_ends_with(const char *path, const char *extension); /* ".png", without regard to case */

/* Names in a folder, in no order. free_names() afterwards. EXIT_INPUT when it cannot be read. */
bool folder_names(const char *folder, char ***names, size_t *count, Problem *p);
void free_names(char **names, size_t count);
/* May files be made in it, or, when it is missing, may it be made in the folder that holds it? EXIT_FAILED. */
bool folder_writable(const char *folder, Problem *p);
/* One level. *made tells whether it was missing. */
bool folder_make(const char *folder, bool *made, Problem *p);
void folder_remove_if_empty(const char *folder);

/* A file to read from any position. */
typedef struct InputFile {
    intptr_t handle;
    uint64_t size;
    const char *path; /* the caller's */
} InputFile;

bool readfile_open(InputFile *f, const char *path, Problem *p);
bool readfile_at(InputFile *f, uint64_t offset, void *data, size_t size, Problem *p); /* all of it, or EXIT_INPUT */
void readfile_close(InputFile *f);

/* A file that appears under its name only when it is whole: written as PATH.part, then renamed. */
typedef struct OutputFile {
    intptr_t handle; /* -1: not open */
    char *path, *part;
} OutputFile;

bool writefile_create(OutputFile *f, const char *path, Problem *p);
/* A file without a name in `folder`: gone when closed or when the program ends in any way. */
bool writefile_scratch(OutputFile *f, const char *folder, Problem *p);
bool writefile_put(OutputFile *f, uint64_t offset, const void *data, size_t size, Problem *p);
bool writefile_get(OutputFile *f, uint64_t offset, void *data, size_t size, Problem *p); /* beyond the end: zeros */
bool writefile_commit(OutputFile *f, Problem *p);
void writefile_abandon(OutputFile *f); /* nothing stays behind; without effect after commit */

/* What file.c makes the above of. Handles -1, bytes -1, false: the call failed, for the system's reason. */
intptr_t file_create(const char *path);    /* empty, to be read as well */
intptr_t file_scratch(const char *folder); /* without a name */
int64_t file_read(intptr_t handle, void *data, size_t size, uint64_t offset); /* some bytes, at least one; 0: the file ends */
int64_t file_write(intptr_t handle, const void *data, size_t size, uint64_t offset);
bool file_to_disk(intptr_t handle);
bool file_close(intptr_t handle);
bool file_rename(const char *from, const char *to); /* over what is there */
void file_remove(const char *path);
bool folder_can_write(const char *folder);
/* Of the last call that failed; the text lasts until the next. */
const char *system_reason(void);
bool system_is_full(void);

/* From now on SIGINT, SIGTERM and, unless it is ignored, SIGHUP only leave word; writing past a limit or into a closed pipe
 * fails instead of killing. */
void signals_catch(void);
int signals_caught(void); /* 0, or the number of the signal */

double clock_seconds(void); /* monotonic */
void clock_date(char *text, size_t size); /* now, as in 2026-01-31T23:59:59+00:00 */
uint64_t process_peak_bytes(void);
bool terminal_rewrites(FILE *f); /* one that knows how to go back to a line's begin and clear it */

/* First of all in main: arguments in UTF-8, output as it is written. */
void platform_start(int *argc, char ***argv);

#endif
