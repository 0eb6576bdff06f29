#include "runtime/kept_regions.h"

#include <stdlib.h>
#include <string.h>

static KeptRegion *place(KeptRegions *k)
{
    if (k->count < k->capacity) return &k->kept[k->count];
    const size_t capacity = k->capacity ? 2 * k->capacity : 16;
    KeptRegion *grown = realloc(k->kept, capacity * sizeof *grown);
    if (!grown) return NULL;
    k->kept = grown;
    k->capacity = capacity;
    return &k->kept[k->count];
}

bool kept_regions_add(KeptRegions *k, const VaeRegion *r, bool add)
{
    const size_t row = (size_t)r->width, plane = (size_t)r->height * row;
    KeptRegion *to = place(k);
    float *data = to ? malloc(plane * (size_t)r->channels * sizeof *data) : NULL;
    if (!data) return false;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++)
            memcpy(data + (size_t)c * plane + (size_t)y * row, r->data + c * r->plane + y * r->row, row * sizeof *data);
    *to = (KeptRegion){*r, add};
    to->region.data = data;
    to->region.plane = (int64_t)plane;
    to->region.row = r->width;
    k->count++;
    return true;
}

bool kept_regions_write(KeptRegions *k, VaeVideo to)
{
    bool ok = true;
    for (size_t i = 0; ok && i < k->count; i++) {
        ok = to.write(to.user, &k->kept[i].region, k->kept[i].add);
        free(k->kept[i].region.data);
        k->kept[i].region.data = NULL;
    }
    return ok;
}

void kept_regions_free(KeptRegions *k)
{
    for (size_t i = 0; i < k->count; i++) free(k->kept[i].region.data);
    free(k->kept);
    *k = (KeptRegions){0};
}
