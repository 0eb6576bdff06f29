/*
 * The memory that control groups leave to a process, told from files as Linux has them, in a temporary folder. A line for what
 * fails and the closing "N passed, N failed, N skipped"; exit 1 when one failed.
 */
#include "runtime/memory_limit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[512];
static int passed, failed;

static void path_of(char *path, size_t size, const char *name)
{
    snprintf(path, size, "%s/%s", root, name);
}

static void write_file(const char *name, const char *text)
{
    char path[1024];
    path_of(path, sizeof path, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = '\0';
        mkdir(path, 0777);
    }
    FILE *f = fopen(path, "w");
    if (!f) abort();
    fputs(text, f);
    fclose(f);
}

static void check(const char *name, const char *groups, uint64_t expected)
{
    char file[1024], mount[1024];
    write_file("groups", groups);
    path_of(file, sizeof file, "groups");
    path_of(mount, sizeof mount, "mount");
    const uint64_t found = memory_limit_groups(file, mount);
    if (found != expected) printf("FAIL %s: %" PRIu64 " bytes, expected %" PRIu64 "\n", name, found, expected);
    *(found == expected ? &passed : &failed) += 1;
}

static void test_second(void)
{
    check("no limit", "0::/a/b\n", UINT64_MAX);
    write_file("mount/a/b/memory.max", "max\n");
    write_file("mount/a/b/memory.current", "700\n");
    check("a limit of none", "0::/a/b\n", UINT64_MAX);
    write_file("mount/a/memory.max", "1000\n");
    write_file("mount/a/memory.current", "800\n");
    check("of the group around", "0::/a/b\n", 200);
    write_file("mount/a/b/memory.max", "750\n");
    check("of both the least", "0::/a/b\n", 50);
    write_file("mount/a/b/memory.stat", "anon 300\nfile 400\ninactive_file 150\nactive_file 250\n");
    check("files give way", "0::/a/b\n", 200);
    write_file("mount/a/b/memory.current", "1200\n");
    check("none is left", "0::/a/b\n", 0);
    check("another group", "0::/other\n", UINT64_MAX);
    write_file("mount/memory.max", "5000\n");
    check("a container's, shown at the mount", "0::/not/shown\n", 5000);
}

static void test_first(void)
{
    write_file("mount/memory/memory.limit_in_bytes", "9223372036854771712\n");
    check("no limit, version 1", "3:cpu,cpuacct:/x\n2:memory:/x\n", UINT64_MAX);
    check("the other version's beside it", "2:memory:/x\n0::/y\n", 5000);
    write_file("mount/memory/x/memory.limit_in_bytes", "3000\n");
    write_file("mount/memory/x/memory.usage_in_bytes", "1500\n");
    write_file("mount/memory/x/memory.stat", "inactive_file 9000\ntotal_inactive_file 100\ntotal_active_file 200\n");
    check("version 1", "3:cpu,cpuacct:/x\n2:blkio,memory:/x\n", 1800);
    check("a group of another controller", "3:memory_more:/x\n", UINT64_MAX);
}

int main(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/upres-limit-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(root)) return 1;
    test_second();
    test_first();
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    if (system(command) != 0) failed++;
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
