/*
 * What all of the driver half uses: its state, messages and faults, host memory, random numbers, the table of live
 * handles.
 */
#include "tests/emulator/driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct emulator emu;

void say(const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "emulator: %s\n", text);
}

CUresult refuse(CUresult status, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    say("%s", text);
    return status;
}

void fault(struct context *context, CUresult status, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (context->error != CUDA_SUCCESS) return; /* what follows the first fault means nothing */
    say("fault %d on device %d: %s", status, context->device->index, text);
    context->error = status;
}

void *must_calloc(size_t count, size_t bytes)
{
    void *p = calloc(count > 0 ? count : 1, bytes);
    if (p == NULL) {
        say("the host has no memory for %zu x %zu bytes of the emulator's own tables", count, bytes);
        abort();
    }
    return p;
}

void *must_grow(void *array, size_t count, size_t bytes, size_t *capacity)
{
    if (count < *capacity) return array;
    size_t larger = *capacity < 8 ? 8 : *capacity * 2;
    void *p = realloc(array, larger * bytes);
    if (p == NULL) {
        say("the host has no memory for %zu x %zu bytes of the emulator's own tables", larger, bytes);
        abort();
    }
    *capacity = larger;
    return p;
}

void text_add(struct text *text, const char *format, ...)
{
    char more[4096];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(more, sizeof more, format, args);
    va_end(args);
    if (length >= (int)sizeof more) length = (int)sizeof more - 1;
    for (int i = 0; i < length; i++) {
        text->bytes = must_grow(text->bytes, text->length, 1, &text->room);
        text->bytes[text->length++] = more[i];
    }
}

/* splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). */
uint64_t random_next(void)
{
    uint64_t z = emu.random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* ----------------------------------------------------------------------------------------------------- live handles */

static struct {
    struct slot {
        const void *handle; /* NULL: free */
        enum handle_kind kind;
    } * slots;
    size_t capacity, count; /* capacity: a power of two */
} handles;

static size_t handle_home(const void *handle)
{
    return (size_t)(((uint64_t)(uintptr_t)handle * 0x9e3779b97f4a7c15u) >> 32) & (handles.capacity - 1);
}

void handle_add(const void *handle, enum handle_kind kind)
{
    if ((handles.count + 1) * 2 > handles.capacity) {
        struct slot *old = handles.slots;
        size_t old_capacity = handles.capacity;
        handles.capacity = old_capacity == 0 ? 256 : old_capacity * 2;
        handles.slots = must_calloc(handles.capacity, sizeof *handles.slots);
        handles.count = 0;
        for (size_t i = 0; i < old_capacity; i++)
            if (old[i].handle != NULL) handle_add(old[i].handle, old[i].kind);
        free(old);
    }
    size_t i = handle_home(handle);
    while (handles.slots[i].handle != NULL) i = (i + 1) & (handles.capacity - 1);
    handles.slots[i] = (struct slot){handle, kind};
    handles.count++;
}

static size_t handle_slot(const void *handle)
{
    if (handle == NULL || handles.capacity == 0) return SIZE_MAX;
    size_t i = handle_home(handle);
    while (handles.slots[i].handle != NULL && handles.slots[i].handle != handle) i = (i + 1) & (handles.capacity - 1);
    return handles.slots[i].handle == handle ? i : SIZE_MAX;
}

void handle_remove(const void *handle)
{
    size_t i = handle_slot(handle);
    if (i == SIZE_MAX) return;
    handles.slots[i].handle = NULL;
    handles.count--;
    /* Those that a search would reach through the hole are put in anew. */
    for (i = (i + 1) & (handles.capacity - 1); handles.slots[i].handle != NULL; i = (i + 1) & (handles.capacity - 1)) {
        struct slot moved = handles.slots[i];
        handles.slots[i].handle = NULL;
        handles.count--;
        handle_add(moved.handle, moved.kind);
    }
}

bool handle_is(const void *handle, enum handle_kind kind)
{
    size_t i = handle_slot(handle);
    return i != SIZE_MAX && handles.slots[i].kind == kind;
}
