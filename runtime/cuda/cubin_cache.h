/*
 * Compiled kernels kept on disk from one run to the next.
 *
 * A folder with a file for each compiled kernel file, named by a hash of what it was made of. A file holds the whole key and a
 * checksum: one that is damaged, cut short, of another format, or of another key that has the same hash, counts as absent and
 * is replaced. Files are written under names of their own and renamed when they are whole, so any number of programs may use
 * the folder at once without waiting for each other; two that miss the same entry both make it, and the later rename stays.
 *
 * Folder: UPRES_CACHE_DIR when set ("" or "none": no cache), else $XDG_CACHE_HOME/upres or ~/.cache/upres; on Windows
 * %LOCALAPPDATA%\upres\cache. It is made, for the user alone, when it is not there.
 *
 * Threads: a CubinCache belongs to one thread at a time; several in one program may share a folder.
 */
#ifndef UPRES_RUNTIME_CUDA_CUBIN_CACHE_H
#define UPRES_RUNTIME_CUDA_CUBIN_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CUBIN_CACHE_BYTES ((uint64_t)256 << 20)

typedef struct CubinCache CubinCache;

/* The files together stay within `most` bytes: those not used for longest go. NULL and a sentence without a folder. */
CubinCache *cubin_cache_open(uint64_t most, char *why_not, size_t size);
void cubin_cache_close(CubinCache *c);
const char *cubin_cache_folder(const CubinCache *c);
bool cubin_cache_writable(const CubinCache *c); /* false: what is there is used, nothing is added */

/* What one file holds. image: what goes to the driver; notes: what its caller has to know of it besides. */
typedef struct CubinEntry {
    const void *image;
    size_t image_bytes;
    const char *notes;
    void *memory; /* that all of it is in */
} CubinEntry;

/* key: text that names everything the image depends on. False: there is none, or it is of no use and was removed. */
bool cubin_cache_load(const CubinCache *c, const char *key, CubinEntry *e);
void cubin_cache_unload(CubinEntry *e);

/* False and a sentence when it cannot be written; the folder is as good as before then. */
bool cubin_cache_store(const CubinCache *c, const char *key, const char *notes, const void *image, size_t image_bytes,
                       char *error, size_t error_size);
void cubin_cache_remove(const CubinCache *c, const char *key);

/* 128-bit FNV-1a (Fowler, Noll, Vo) of bytes in any number of pieces. */
typedef struct CubinHash {
    uint64_t high, low;
} CubinHash;
CubinHash cubin_hash_begin(void);
CubinHash cubin_hash_add(CubinHash h, const void *bytes, size_t count);

#endif
