#include "runtime/memory_limit.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#if !defined(_WIN32)
#include <sys/resource.h>
#include <unistd.h>
#endif

enum { PATH_ROOM = 4096 };

/* How a version of control groups names what it tells. Pages of files count as used and give way. */
typedef struct GroupKind {
    const char *controller; /* in /proc/self/cgroup; "": the one hierarchy of version 2 */
    const char *folder;     /* below the mount */
    const char *limit, *used;
    const char *inactive, *active; /* pages of files, keys of memory.stat */
} GroupKind;

static const GroupKind kinds[] = {
    {"", "", "memory.max", "memory.current", "inactive_file", "active_file"},
    {"memory", "/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file"},
};

/* The number behind `key`, or the file's first without one; `otherwise` where there is none ("max", no such file). */
static uint64_t read_number(const char *folder, const char *name, const char *key, uint64_t otherwise)
{
    char path[PATH_ROOM + 64], line[256];
    unsigned long long value;
    const size_t length = key ? strlen(key) : 0;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return otherwise;
    FILE *f = fopen(path, "r");
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f))
        found = (!key || (strncmp(line, key, length) == 0 && line[length] == ' ')) && sscanf(line + length, "%llu", &value) == 1;
    if (f) fclose(f);
    return found ? value : otherwise;
}

static uint64_t room_of(const char *folder, const GroupKind *k)
{
    const uint64_t limit = read_number(folder, k->limit, NULL, UINT64_MAX);
    if (limit > INT64_MAX / 2) return UINT64_MAX; /* version 1 writes a large number for none */
    uint64_t used = read_number(folder, k->used, NULL, 0);
    const uint64_t files = read_number(folder, "memory.stat", k->inactive, 0) + read_number(folder, "memory.stat", k->active, 0);
    used -= files < used ? files : used;
    return used < limit ? limit - used : 0;
}

/* Of the group at `path` and all around it, up to the mount itself, which is all that a container may be shown. */
static uint64_t room_within(const char *mount, const char *path, const GroupKind *k)
{
    char folder[PATH_ROOM];
    const int root = snprintf(folder, sizeof folder, "%s%s", mount, k->folder);
    if (root < 0 || root + strlen(path) >= sizeof folder) return UINT64_MAX;
    strcpy(folder + root, path);
    uint64_t least = UINT64_MAX;
    for (;;) {
        const uint64_t room = room_of(folder, k);
        if (room < least) least = room;
        char *slash = strrchr(folder + root, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

static bool lists(const char *controllers, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = controllers; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strcspn(at, ",") == length && strncmp(at, name, length) == 0) return true;
    }
    return false;
}

uint64_t memory_limit_groups(const char *groups, const char *mount)
{
    uint64_t least = UINT64_MAX;
    char line[PATH_ROOM];
    FILE *f = fopen(groups, "r");
    while (f && fgets(line, sizeof line, f)) { /* "4:memory:/a/b", of version 2 "0::/a/b" */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        controllers++;
        *path++ = '\0';
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            if (!lists(controllers, kinds[i].controller)) continue;
            const uint64_t room = room_within(mount, path, &kinds[i]);
            if (room < least) least = room;
        }
    }
    if (f) fclose(f);
    return least;
}

#if defined(_WIN32)
uint64_t memory_limit_addresses(void) { return UINT64_MAX; }
#else
uint64_t memory_limit_addresses(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
    const uint64_t used = read_number("/proc/self", "statm", NULL, 0) * (uint64_t)sysconf(_SC_PAGESIZE);
    return used < limit.rlim_cur ? limit.rlim_cur - used : 0;
}
#endif
