#include "tools/demo_tensors.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/platform.h"

static DemoTensor *add(DemoTensors *d, const int64_t shape[5], const char *name, const char *suffix)
{
    d->list = need_more(d->list, (d->count + 1) * sizeof *d->list);
    DemoTensor *t = &d->list[d->count++];
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s%s%s", d->prefix, name, suffix);
    t->count = 1;
    for (int i = 0; i < 5; i++) {
        t->shape[i] = shape[i] > 0 ? shape[i] : 1;
        t->count *= t->shape[i];
        if (shape[i] > 0) t->rank = i + 1;
    }
    t->values = need_memory((size_t)t->count * sizeof *t->values);
    return t;
}

DemoTensor *demo_add(DemoTensors *d, const int64_t shape[5], const char *name, ...)
{
    char full[96];
    va_list args;
    va_start(args, name);
    vsnprintf(full, sizeof full, name, args);
    va_end(args);
    return add(d, shape, full, "");
}

void demo_add_layer(DemoTensors *d, const int64_t shape[5], const char *name, ...)
{
    char full[96];
    va_list args;
    va_start(args, name);
    vsnprintf(full, sizeof full, name, args);
    va_end(args);
    add(d, shape, full, ".weight");
    add(d, DEMO_SHAPE(shape[0]), full, ".bias");
}

DemoTensor *demo_find(DemoTensors *d, const char *name)
{
    size_t skip = strlen(d->prefix);
    for (size_t i = 0; i < d->count; i++) {
        DemoTensor *t = &d->list[i];
        if (strncmp(t->name, d->prefix, skip) == 0 && strcmp(t->name + skip, name) == 0) return t;
    }
    fprintf(stderr, "upres: demo weights: no tensor %s%s\n", d->prefix, name);
    abort();
}

double *demo_tap(DemoTensor *t, int64_t out, int64_t in, int64_t frame, int64_t y, int64_t x)
{
    const int64_t *n = t->shape;
    return &t->values[(((out * n[1] + in) * n[2] + frame) * n[3] + y) * n[4] + x];
}

double *demo_at(DemoTensor *t, int64_t out, int64_t in)
{
    return demo_tap(t, out, in, 0, 0, 0);
}

void demo_fill(DemoTensor *t, double value)
{
    for (int64_t i = 0; i < t->count; i++) t->values[i] = value;
}

void demo_free(DemoTensors *d)
{
    for (size_t i = 0; i < d->count; i++) free(d->list[i].values);
    free(d->list);
    d->list = NULL;
    d->count = 0;
}

/* Nearest float16, ties to even; by way of float32 it would be rounded twice. |x| stays far below 65504. */
static uint16_t half_of(double x)
{
    uint16_t sign = signbit(x) ? 0x8000 : 0;
    int exponent;
    frexp(x, &exponent);
    /* |x| in [2^(exponent - 1), 2^exponent) */
    if (x == 0 || exponent < -13) exponent = -13;       /* below 2^-14 the spacing stays that of the smallest normal */
    double units = rint(ldexp(fabs(x), 11 - exponent)); /* of the last place; 1024..2048 when normal */
    /* A carry out of the fraction runs into the exponent, which is what rounding up to a power of two means. */
    return (uint16_t)(sign + ((exponent + 13) << 10) + (int)units);
}

enum { HEADER_ENTRY = 320 }; /* room for one tensor's line: its name and six numbers */

static size_t append(char *text, size_t at, size_t room, const char *format, ...) PRINTF_LIKE(4, 5);
static size_t append(char *text, size_t at, size_t room, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text + at, room - at, format, args);
    va_end(args);
    return at + (size_t)n;
}

/* The safetensors header: JSON, padded with spaces so that the data begin at a multiple of 8. Names and note need no
 * quoting. free(). */
static char *header_text(const DemoTensors *d, bool half, const char *note, size_t *size)
{
    size_t room = strlen(note) + (d->count + 1) * HEADER_ENTRY;
    char *text = need_memory(room);
    size_t n = append(text, 0, room, "{\"__metadata__\":{\"demo\":\"%s\"}", note);
    int64_t at = 0;
    for (size_t i = 0; i < d->count; i++) {
        const DemoTensor *t = &d->list[i];
        int64_t end = at + t->count * (half ? 2 : 4);
        n = append(text, n, room, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, half ? "F16" : "F32");
        for (int k = 0; k < t->rank; k++) n = append(text, n, room, "%s%lld", k > 0 ? "," : "", (long long)t->shape[k]);
        n = append(text, n, room, "],\"data_offsets\":[%lld,%lld]}", (long long)at, (long long)end);
        at = end;
    }
    n = append(text, n, room, "}");
    while (n % 8 != 0) n = append(text, n, room, " ");
    *size = n;
    return text;
}

static bool put_tensor(OutputFile *file, uint64_t at, const DemoTensor *t, bool half, Problem *p)
{
    size_t width = half ? 2 : 4;
    uint8_t *bytes = need_memory((size_t)t->count * width);
    for (int64_t i = 0; i < t->count; i++) {
        uint32_t bits;
        float single = (float)t->values[i];
        memcpy(&bits, &single, sizeof bits);
        if (half) bits = half_of(t->values[i]);
        for (size_t b = 0; b < width; b++) bytes[(size_t)i * width + b] = (uint8_t)(bits >> (8 * b));
    }
    bool done = writefile_put(file, at, bytes, (size_t)t->count * width, p);
    free(bytes);
    return done;
}

bool demo_write(const DemoTensors *d, const char *path, bool half, const char *note, Problem *p)
{
    size_t size = 0;
    char *text = header_text(d, half, note, &size);
    OutputFile file;
    if (!writefile_create(&file, path, p)) {
        free(text);
        return false;
    }
    uint8_t length[8];
    for (int b = 0; b < 8; b++) length[b] = (uint8_t)((uint64_t)size >> (8 * b));
    bool done = writefile_put(&file, 0, length, 8, p) && writefile_put(&file, 8, text, size, p);
    uint64_t at = 8 + (uint64_t)size;
    for (size_t i = 0; done && i < d->count; i++) {
        done = put_tensor(&file, at, &d->list[i], half, p);
        at += (uint64_t)d->list[i].count * (half ? 2 : 4);
    }
    free(text);
    if (done) return writefile_commit(&file, p);
    writefile_abandon(&file);
    return false;
}
