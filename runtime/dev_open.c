/* Opening a device: the one place that knows which there are. */
#include "runtime/dev_internal.h"

#include <stdio.h>
#include <stdlib.h>

static Dev *device_new(const DevSetup *s, char *error, size_t error_size)
{
    Dev *d = calloc(1, sizeof *d);
    if (d == NULL) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    d->plan = true;
    d->few_too = s->few_too;
    if (s->cuda == NULL) cpu_attach(d, s);
    else if (!cuda_attach(d, s, error, error_size)) {
        free(d);
        return NULL;
    }
    return d;
}

Dev *dev_plan_open(const DevSetup *s)
{
    char error[256];
    Dev *d = device_new(s, error, sizeof error);
    if (d != NULL) arena_init(&d->arena, UINT64_MAX);
    return d;
}

Dev *dev_open(const DevSetup *s, uint64_t arena_bytes, char *error, size_t error_size)
{
    bool no_memory;
    return dev_try(s, arena_bytes, &no_memory, error, error_size);
}

Dev *dev_try(const DevSetup *s, uint64_t arena_bytes, bool *no_memory, char *error, size_t error_size)
{
    *no_memory = false;
    Dev *d = device_new(s, error, error_size);
    if (d == NULL) return NULL;
    d->plan = false;
    if (!(s->cuda == NULL ? cpu_start(d, arena_bytes, error, error_size) : cuda_start(d, arena_bytes, error, error_size))) {
        *no_memory = d->no_memory;
        dev_close(d);
        return NULL;
    }
    arena_init(&d->arena, arena_bytes);
    return d;
}
