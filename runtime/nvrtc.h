/*
 * NVRTC, the CUDA C++ compiler as a library, opened at run time where there is one: versions 12.x and 13.x.
 *
 * Looked for in this order: UPRES_NVRTC (a path; nothing else is tried then), beside libupres, the system's search, the
 * toolkits' usual folders (CUDA_PATH, CUDA_HOME, /usr/local/cuda*), the folders of Python wheels (nvidia/cuda_nvrtc/lib,
 * nvidia/cu13/lib under site-packages of VIRTUAL_ENV, of the user and of the system).
 *
 * Threads: any; NVRTC itself takes turns.
 */
#ifndef UPRES_RUNTIME_NVRTC_H
#define UPRES_RUNTIME_NVRTC_H

#include <stdbool.h>
#include <stddef.h>

/* Version as major * 1000 + minor * 10 (12080, 13000); 0 and a sentence where none was found. */
int nvrtc_version(char *error, size_t error_size);
/* Path or name it was opened by, "" without. */
const char *nvrtc_path(void);

typedef struct NvrtcHeader {
    const char *name, *text;
} NvrtcHeader;

/*
 * CUDA C++ to PTX (architecture "compute_89") or to a cubin ("sm_89"). options: further options, NULL-terminated. The
 * result is the caller's to free(); bytes counts it (PTX: with its closing zero). NULL and the compiler's log on failure;
 * warnings fail too.
 */
void *nvrtc_compile(const char *name, const char *source, const NvrtcHeader *headers, int header_count,
                    const char *architecture, const char *const *options, size_t *bytes, char *error, size_t error_size);

#endif
