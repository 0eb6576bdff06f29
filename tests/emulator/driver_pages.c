/*
 * Memory from the operating system: address ranges that are never given out twice, and memory objects that can be seen
 * at several addresses.
 *
 * Device addresses are host addresses (the interpreter reads and writes in place), so the emulator must own them for
 * good: a freed range stays reserved without access, and a stale pointer can be told from all others to the end of the
 * program.
 */
#include "tests/emulator/driver.h"

#ifdef _WIN32
#error "driver_pages.c: the Windows side (VirtualAlloc, MapViewOfFile) is not written"
#endif
#include <sys/mman.h>
#include <unistd.h>

static struct {
    uint64_t base, size, used;
} region;

size_t pages_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static bool region_make(void)
{
    /* As much as the machine's limits allow: it costs address space only. */
    for (uint64_t size = (uint64_t)1 << 44; size >= (uint64_t)1 << 34; size >>= 1) {
        void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) continue;
        region.base = (uint64_t)(uintptr_t)p;
        region.size = size;
        return true;
    }
    return false;
}

void *pages_reserve(size_t bytes, size_t alignment)
{
    if (region.size == 0 && !region_make()) return NULL;
    uint64_t page = pages_size(), begin = region.base + region.used + page; /* a page that is nobody's comes first */
    begin = (begin + alignment - 1) & ~(uint64_t)(alignment - 1);
    uint64_t end = region.base + region.size;
    if (begin > end || bytes > end - begin) return NULL;
    region.used = begin + (bytes + page - 1) / page * page - region.base;
    return (void *)(uintptr_t)begin;
}

bool pages_contain(uint64_t address)
{
    return address - region.base < region.size;
}

bool pages_commit(void *address, size_t bytes)
{
    return mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0;
}

void pages_decommit(void *address, size_t bytes)
{
    /* Mapping anew drops the contents, which a change of the access rights would keep. */
    mmap(address, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

intptr_t pages_object(size_t bytes)
{
    int object = memfd_create("upres-emulator", MFD_CLOEXEC);
    if (object >= 0 && ftruncate(object, (off_t)bytes) != 0) {
        close(object);
        return -1;
    }
    return object;
}

bool pages_map(void *address, size_t bytes, intptr_t object, size_t offset)
{
    return mmap(address, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, (int)object,
                (off_t)offset) != MAP_FAILED;
}

void pages_object_close(intptr_t object)
{
    close((int)object);
}
