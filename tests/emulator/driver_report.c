/*
 * What a program asked of the driver, for tests of how much and how often: memory at its most, calls by name.
 */
#include "tests/emulator/driver.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { FUNCTIONS_MOST = 256 };

static struct {
    const char *name;
    uint64_t count;
} calls[FUNCTIONS_MOST];

/* Calls in their order, where they were asked for. */
static struct {
    struct {
        const char *name;
        uint64_t kernels, behind;
        bool brought;
    } *call;
    size_t count, capacity;
} order;
static uint64_t kernels;

static void note_call(const char *function)
{
    if (emu.options.calls[0] == '\0') return;
    if (order.count == order.capacity) {
        order.capacity = order.capacity ? 2 * order.capacity : 1024;
        order.call = realloc(order.call, order.capacity * sizeof *order.call);
        if (order.call == NULL) abort();
    }
    order.call[order.count].name = function;
    order.call[order.count].kernels = kernels;
    order.call[order.count].brought = false;
    order.call[order.count++].behind = 0;
}

void count_kernel(void) { kernels++; }
uint64_t count_kernels(void) { return kernels; }

void count_wait(uint64_t before, bool brought)
{
    if (order.count == 0) return;
    order.call[order.count - 1].behind = kernels - before;
    order.call[order.count - 1].brought = brought;
}

void count_call(const char *function)
{
    note_call(function);
    size_t i = 0;
    while (i < FUNCTIONS_MOST - 1 && calls[i].name != NULL && calls[i].name != function) i++;
    calls[i].name = function;
    calls[i].count++;
}

void count_memory(uint64_t used, uint64_t *most)
{
    if (used > *most) *most = used;
}

void append_locked(const char *what, const char *path, const char *text, size_t length)
{
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0 || flock(file, LOCK_EX) != 0) {
        say("%s: %s cannot be opened for appending", what, path);
    } else {
        size_t done = 0;
        while (done < length) {
            ssize_t n = write(file, text + done, length - done);
            if (n <= 0) {
                say("%s: %s cannot be written", what, path);
                break;
            }
            done += (size_t)n;
        }
    }
    if (file >= 0) close(file);
}

static void write_calls(void)
{
    struct text text = {0};
    for (size_t i = 0; i < order.count; i++)
        text_add(&text, "%s\t%" PRIu64 "\t%" PRIu64 "\t%d\n", order.call[i].name, order.call[i].kernels, order.call[i].behind,
                 order.call[i].brought);
    append_locked("calls", emu.options.calls, text.bytes, text.length);
    free(text.bytes);
}

/* A process forked after cuInit has its parent's counts: not written. */
__attribute__((destructor)) static void report_at_exit(void)
{
    if (emu.process != getpid()) return;
    if (emu.options.calls[0] != '\0') write_calls();
    if (emu.options.report[0] == '\0') return;
    struct text text = {0};
    for (int i = 0; i < emu.options.devices; i++) {
        text_add(&text, "memory of device %d at most\t%" PRIu64 "\n", i, emu.devices[i].used_most);
        text_add(&text, "memory of device %d at the end\t%" PRIu64 "\n", i, emu.devices[i].used);
    }
    text_add(&text, "pinned memory at most\t%" PRIu64 "\n", emu.pinned_most);
    const struct {
        const char *what;
        uint64_t count;
    } left[] = {{"pinned memory at the end", emu.pinned},
                {"allocations left to a context's end", emu.left},
                {"reserved ranges at the end", emu.ranges},
                {"mapped granules at the end", emu.granules_mapped},
                {"memory handles at the end", emu.physicals}};
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        text_add(&text, "%s\t%" PRIu64 "\n", left[i].what, left[i].count);
    for (size_t i = 0; i < FUNCTIONS_MOST && calls[i].name != NULL; i++)
        text_add(&text, "%s\t%" PRIu64 "\n", calls[i].name, calls[i].count);
    append_locked("report", emu.options.report, text.bytes, text.length);
    free(text.bytes);
}
