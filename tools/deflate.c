#include "tools/deflate.h"

#include "tools/console.h"

#include <stdlib.h>

enum { FASTEST = 1 }; /* beyond it, files of photographs shrink by a tenth for three times the time */

#ifdef UPRES_ZLIB
#include <zlib.h>

static uInt step(size_t left)
{
    const size_t most = (size_t)1 << 30; /* zlib counts in 32 bits */
    return (uInt)(left < most ? left : most);
}

uint32_t deflate_crc32(uint32_t crc, const void *bytes, size_t size)
{
    for (const Bytef *at = bytes; size > 0; at += step(size), size -= step(size)) crc = (uint32_t)crc32(crc, at, step(size));
    return crc;
}

bool deflate_unpack(const void *packed, size_t packed_size, void *raw, size_t most, size_t *actual)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)packed, .next_out = raw};
    size_t read = 0, written = 0;
    int status = inflateInit(&z);
    if (status != Z_OK) return false;
    while (status == Z_OK) {
        const uInt in = z.avail_in = step(packed_size - read), out = z.avail_out = step(most - written);
        status = inflate(&z, Z_NO_FLUSH); /* Z_BUF_ERROR when there is nothing to read or no room */
        read += in - z.avail_in;
        written += out - z.avail_out;
    }
    inflateEnd(&z);
    *actual = written;
    return status == Z_STREAM_END;
}

void *deflate_pack(const void *raw, size_t size, size_t *packed_size)
{
    z_stream z = {0};
    if (deflateInit(&z, FASTEST) != Z_OK) return need_memory(SIZE_MAX);
    /* Stored blocks, which it falls back to, cost a thousandth. */
    const size_t room = size + size / 256 + 1024;
    uint8_t *packed = need_memory(room);
    size_t read = 0, written = 0;
    int status = Z_OK;
    z.next_in = (Bytef *)(uintptr_t)raw;
    z.next_out = packed;
    while (status == Z_OK) {
        const uInt in = z.avail_in = step(size - read), out = z.avail_out = step(room - written);
        status = deflate(&z, read + in == size ? Z_FINISH : Z_NO_FLUSH);
        read += in - z.avail_in;
        written += out - z.avail_out;
    }
    deflateEnd(&z);
    *packed_size = status == Z_STREAM_END ? written : 0;
    return packed;
}
#else
#include <libdeflate.h>

uint32_t deflate_crc32(uint32_t crc, const void *bytes, size_t size)
{
    return libdeflate_crc32(crc, bytes, size);
}

bool deflate_unpack(const void *packed, size_t packed_size, void *raw, size_t most, size_t *actual)
{
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    bool fine = d != NULL &&
                libdeflate_zlib_decompress(d, packed, packed_size, raw, most, actual) == LIBDEFLATE_SUCCESS;
    libdeflate_free_decompressor(d);
    return fine;
}

void *deflate_pack(const void *raw, size_t size, size_t *packed_size)
{
    struct libdeflate_compressor *c = libdeflate_alloc_compressor(FASTEST);
    if (c == NULL) return need_memory(SIZE_MAX);
    const size_t room = libdeflate_zlib_compress_bound(c, size);
    void *packed = need_memory(room);
    *packed_size = libdeflate_zlib_compress(c, raw, size, packed, room);
    libdeflate_free_compressor(c);
    return packed;
}
#endif
