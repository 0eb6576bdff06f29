/*
 * Memory from the operating system: address ranges that are never given out twice, and memory objects that can be seen
 * at several addresses.
 *
 * Device addresses are host addresses (the interpreter reads and writes in place), so the emulator must own them for
 * good: a freed range stays reserved without access, and a stale pointer can be told from all others to the end of the
 * program.
 */
#include "tests/emulator/driver.h"

static struct {
    uint64_t base, size, used;
} region;

bool pages_contain(uint64_t address)
{
    return address - region.base < region.size;
}

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

/*
 * Windows lets memory be committed inside one reservation only, and a view of an object be put where nothing is
 * reserved. So each range is a reservation of its own, in a region far from where Windows puts anything by itself, and
 * pages_map takes the reservation under the view away and reserves again what lies beside it. That is two steps, between
 * which nobody else asks for addresses of the region.
 */
enum { UNIT = 65536 }; /* Windows reserves in multiples of it */

size_t pages_size(void)
{
    return 4096;
}

static uint64_t up_to(uint64_t n, uint64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static bool reserve_at(uint64_t begin, uint64_t end)
{
    return begin >= end ||
           VirtualAlloc((void *)(uintptr_t)begin, end - begin, MEM_RESERVE, PAGE_NOACCESS) != NULL;
}

void *pages_reserve(size_t bytes, size_t alignment)
{
    if (region.size == 0) {
        region.base = (uint64_t)1 << 45;
        region.size = (uint64_t)1 << 44;
    }
    bytes = up_to(bytes, UNIT);
    for (uint64_t begin = region.base + region.used;;) {
        begin = up_to(begin + UNIT, alignment > UNIT ? alignment : UNIT); /* pages that are nobody's come first */
        if (begin + bytes > region.base + region.size) return NULL;
        MEMORY_BASIC_INFORMATION there;
        if (reserve_at(begin, begin + bytes)) {
            region.used = begin + bytes - region.base;
            return (void *)(uintptr_t)begin;
        }
        if (VirtualQuery((void *)(uintptr_t)begin, &there, sizeof there) == 0) return NULL;
        if (there.State == MEM_FREE && there.RegionSize >= bytes) return NULL; /* not for want of addresses */
        begin = (uint64_t)(uintptr_t)there.BaseAddress + there.RegionSize;
    }
}

bool pages_commit(void *address, size_t bytes)
{
    return VirtualAlloc(address, bytes, MEM_COMMIT, PAGE_READWRITE) != NULL;
}

void pages_decommit(void *address, size_t bytes)
{
    uint64_t begin = (uint64_t)(uintptr_t)address, end = up_to(begin + bytes, pages_size());
    for (MEMORY_BASIC_INFORMATION there; begin < end; begin = (uint64_t)(uintptr_t)there.BaseAddress + there.RegionSize) {
        if (VirtualQuery((void *)(uintptr_t)begin, &there, sizeof there) == 0) return;
        if (there.Type == MEM_MAPPED) { /* a whole view: they are taken away as they were made */
            UnmapViewOfFile(there.AllocationBase);
            reserve_at((uint64_t)(uintptr_t)there.AllocationBase,
                       (uint64_t)(uintptr_t)there.BaseAddress + there.RegionSize);
        } else {
            uint64_t part = (uint64_t)(uintptr_t)there.BaseAddress + there.RegionSize;
            VirtualFree((void *)(uintptr_t)begin, (part < end ? part : end) - begin, MEM_DECOMMIT);
        }
    }
}

intptr_t pages_object(size_t bytes)
{
    HANDLE object = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, (DWORD)((uint64_t)bytes >> 32),
                                       (DWORD)bytes, NULL);
    return object == NULL ? -1 : (intptr_t)object;
}

/* Nothing is reserved from `begin` to `end`, all around it is as it was. */
static bool release(uint64_t begin, uint64_t end)
{
    for (uint64_t at = begin; at < end;) {
        MEMORY_BASIC_INFORMATION there;
        if (VirtualQuery((void *)(uintptr_t)at, &there, sizeof there) == 0 || there.State != MEM_RESERVE) return false;
        uint64_t first = (uint64_t)(uintptr_t)there.AllocationBase;
        uint64_t last = (uint64_t)(uintptr_t)there.BaseAddress + there.RegionSize;
        if (!VirtualFree(there.AllocationBase, 0, MEM_RELEASE)) return false;
        if (!reserve_at(first, begin) || !reserve_at(end, last)) return false;
        at = last;
    }
    return true;
}

bool pages_map(void *address, size_t bytes, intptr_t object, size_t offset)
{
    uint64_t begin = (uint64_t)(uintptr_t)address;
    if (!release(begin, begin + bytes)) return false;
    if (MapViewOfFileEx((HANDLE)object, FILE_MAP_READ | FILE_MAP_WRITE, (DWORD)((uint64_t)offset >> 32), (DWORD)offset,
                        bytes, address) != NULL)
        return true;
    reserve_at(begin, begin + bytes);
    return false;
}

void pages_object_close(intptr_t object)
{
    CloseHandle((HANDLE)object); /* views keep it alive */
}
#else
#include <sys/mman.h>
#include <unistd.h>

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
#endif
