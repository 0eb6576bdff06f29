/*
 * What Windows means a program to have of a graphics card's memory (DXGI 1.4), asked by the card's LUID. Elsewhere, and where
 * anything is missing, nothing is known.
 */
#ifndef UPRES_RUNTIME_CUDA_VIDEO_MEMORY_H
#define UPRES_RUNTIME_CUDA_VIDEO_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

enum { VIDEO_LUID = 8 };

typedef struct VideoMemory {
    uint64_t granted, used; /* bytes, by this program */
} VideoMemory;

/* nodes: a bit for the card's node among linked ones, 0 for the first. False: it is not known. */
bool video_memory(const uint8_t luid[VIDEO_LUID], unsigned nodes, VideoMemory *m);

#ifdef _WIN32
/* The same by another CreateDXGIFactory1. */
typedef long __stdcall VideoFactory(const void *name, void **factory);
bool video_memory_by(VideoFactory *make, const uint8_t luid[VIDEO_LUID], unsigned nodes, VideoMemory *m);
#endif

#endif
