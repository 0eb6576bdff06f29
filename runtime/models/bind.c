#include "runtime/models/bind.h"

#include <stdarg.h>
#include <stdio.h>

enum { NAME_MAX_BYTES = 160 };

static const WeightTensor *stored(const Binder *b, const char *name)
{
    char full[1100];
    snprintf(full, sizeof full, "%s%s", b->part->prefix, name);
    return weight_file_find(b->part->file, full);
}

int64_t binder_count(const Binder *b, const char *format, ...)
{
    char name[NAME_MAX_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    const WeightTensor *t = stored(b, name);
    return t == NULL ? 0 : t->count;
}

void binder_fail(Binder *b, const char *format, ...)
{
    if (b->failed) return;
    b->failed = true;
    const int used = snprintf(b->error, b->error_size, "%s: ", weight_file_path(b->part->file));
    if (used < 0 || (size_t)used >= b->error_size) return;
    va_list list;
    va_start(list, format);
    vsnprintf(b->error + used, b->error_size - (size_t)used, format, list);
    va_end(list);
}

static void bind_named(Binder *b, BoundWeight *w, int rank, const int64_t *shape, const char *name)
{
    if (b->failed) return;
    const WeightTensor *t = stored(b, name);
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= shape[i];
    const bool flat = t != NULL && t->rank == 1 && t->count == count;
    b->failed = !weight_bind(b->part, name, flat ? 1 : rank, flat ? &count : shape, w, b->error, b->error_size);
    w->rank = rank;
    for (int i = 0; i < rank; i++) w->shape[i] = shape[i];
}

void bind_tensor(Binder *b, BoundWeight *w, int rank, const int64_t *shape, const char *format, ...)
{
    char name[NAME_MAX_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    bind_named(b, w, rank, shape, name);
}

void bind_vector(Binder *b, BoundWeight *w, int64_t n, const char *format, ...)
{
    char name[NAME_MAX_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(name, sizeof name, format, list);
    va_end(list);
    bind_named(b, w, 1, &n, name);
}

void bind_linear(Binder *b, LinearWeights *w, int64_t out, int64_t in, const char *format, ...)
{
    char module[NAME_MAX_BYTES], name[NAME_MAX_BYTES + 8];
    va_list list;
    va_start(list, format);
    vsnprintf(module, sizeof module, format, list);
    va_end(list);
    snprintf(name, sizeof name, "%s.weight", module);
    bind_named(b, &w->weight, 2, (const int64_t[]){out, in}, name);
    snprintf(name, sizeof name, "%s.bias", module);
    bind_named(b, &w->bias, 1, &out, name);
}

const char *name_text(char *buffer, size_t size, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(buffer, size, format, list);
    va_end(list);
    return buffer;
}
