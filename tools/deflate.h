/*
 * What PNG and the weight tool take from a compression library: libdeflate where it is at hand, zlib (of which every system's
 * cross compilers have a package) where UPRES_ZLIB is defined. What is packed with one is not byte for byte what the other
 * makes; unpacked it is the same.
 */
#ifndef UPRES_TOOLS_DEFLATE_H
#define UPRES_TOOLS_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint32_t deflate_crc32(uint32_t crc, const void *bytes, size_t size);
/* A zlib stream of at most `most` bytes when unpacked; *actual: how many they are. False: it is none, or longer. */
bool deflate_unpack(const void *packed, size_t packed_size, void *raw, size_t most, size_t *actual);
/* A zlib stream, packed fast; to be freed. Ends the program when there is no memory. */
void *deflate_pack(const void *raw, size_t size, size_t *packed_size);

#endif
