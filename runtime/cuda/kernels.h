/*
 * Compiled kernels of one device: sources and PTX are built into the library; what is asked for first is compiled then.
 *
 * A source file kernels/cuda/NAME.cu or kernels/ptx/NAME.ptx holds several functions (extern "C" names). With NVRTC at
 * hand a .cu file is compiled for the device found, with the caller's macros; without, the PTX that was made when upres was
 * built is used, whose functions take the same arguments and give the same bits. .ptx files always go to the driver as they
 * are. A file is compiled once per set of macros.
 *
 * NVRTC makes the device's own machine code, or PTX where the driver takes no such code of it (one older than NVRTC, say).
 * Either is kept on disk (runtime/cuda/cubin_cache.h) and found there by the next program. PTX goes to the driver by
 * cuModuleLoadDataEx, never through its linker: that compiles for separate compilation, where a division is a call, and the
 * larger kernels spill. What the driver compiles of PTX that is built in, it keeps itself (CUDA_CACHE_PATH).
 *
 * Threads: a CudaKernels belongs to one thread at a time.
 */
#ifndef UPRES_RUNTIME_CUDA_KERNELS_H
#define UPRES_RUNTIME_CUDA_KERNELS_H

#include "runtime/cuda/driver.h"
#include "runtime/cuda/nvrtc.h"

typedef struct CudaKernels CudaKernels;

/* The device's context must be current in this and all later calls. */
CudaKernels *cuda_kernels_open(const CudaDriver *driver, const CudaDevice *device, char *error, size_t error_size);
void cuda_kernels_close(CudaKernels *k);

/* How kernels come about: "NVRTC 13.0, cache /home/a/.cache/upres", "PTX built in (NVRTC was not found: ...)". */
const char *cuda_kernels_origin(const CudaKernels *k);

/* Files with their macros that were loaded so far: out of the cache, compiled by NVRTC, given to the driver as PTX built in. */
typedef struct CudaKernelCounts {
    unsigned cached, compiled, built_in;
} CudaKernelCounts;
CudaKernelCounts cuda_kernels_counts(const CudaKernels *k);

/*
 * A function, ready to launch with `shared` bytes of dynamic shared memory. file: "gemm" (a .cu or .ptx file without its
 * ending); macros: "" or "C=128 TAPS=27", separated by spaces: they narrow what the function is good for, never what it
 * computes, and are passed over where there is no NVRTC. bytes: of the function's one parameter, a struct. NULL and a
 * sentence (with the compiler's log) on failure.
 */
CUfunction cuda_kernel(CudaKernels *k, const char *file, const char *function, const char *macros, unsigned shared,
                       size_t *bytes, char *error, size_t error_size);

/* The files built in, for tests and selftest: false past the last. text: source of .cu, PTX of .ptx. */
typedef struct CudaSource {
    const char *name, *text;
    bool ptx;                            /* a hand-written .ptx file: one text for all targets */
    const char *built[CUDA_TARGET_COUNT]; /* PTX made when upres was built; NULL: there was no compiler */
} CudaSource;
bool cuda_source(size_t index, CudaSource *source);
/* A header that .cu files include by name ("ptx.cuh", "args.h"): given to NVRTC as text. False past the last. */
bool cuda_source_header(size_t index, const char **name, const char **text);

/* The same as the build makes them (tools/embed_kernels.c); NULL closes both. */
extern const CudaSource *const cuda_built_in_sources[];
extern const NvrtcHeader cuda_built_in_headers[];

#endif
