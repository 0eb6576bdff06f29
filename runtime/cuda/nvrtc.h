/*
 * NVRTC, the CUDA C++ compiler as a library, opened at run time where there is one: versions 12.x and 13.x.
 *
 * Looked for in this order: UPRES_NVRTC (a path; nothing else is tried then; "none": do without), beside libupres, the
 * system's search, the toolkits' usual folders (CUDA_PATH, CUDA_HOME, /usr/local/cuda*), the folders of Python wheels
 * (nvidia/cuda_nvrtc/lib, nvidia/cu13/lib under site-packages of VIRTUAL_ENV, of the user, of the system, and of the Pythons
 * on the PATH).
 *
 * Threads: any; NVRTC itself takes turns.
 */
#ifndef UPRES_RUNTIME_CUDA_NVRTC_H
#define UPRES_RUNTIME_CUDA_NVRTC_H

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
 * result is the caller's to free(); bytes counts it (PTX: with its closing zero; its .version lowered). NULL and the compiler's
 * log on failure; warnings fail too.
 */
void *nvrtc_compile(const char *name, const char *source, const NvrtcHeader *headers, int header_count,
                    const char *architecture, const char *const *options, size_t *bytes, char *error, size_t error_size);
/* As above to a cubin, with the PTX that it comes from, which is the caller's to free() too. */
void *nvrtc_compile_cubin(const char *name, const char *source, const NvrtcHeader *headers, int header_count,
                          const char *architecture, const char *const *options, size_t *bytes, char **ptx, char *error,
                          size_t error_size);
/* The options that both add to the caller's. */
#define NVRTC_OPTIONS "--std=c++17", "-default-device"

/*
 * Compilers write the newest .version they know, which older drivers refuse. Lowers it in PTX text to what the target needs
 * and every driver that knows the target takes: 8.8 for sm_120f, else 8.0. Kernels use nothing newer (tests/ptx_checks.c).
 */
void nvrtc_lower_version(char *ptx);

#endif
