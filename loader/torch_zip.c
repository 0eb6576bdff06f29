/*
 * PyTorch zip files (torch.save since 1.6): stored entries below one folder, data.pkl beside the raw storages.
 * Zip structure as in PKWARE's APPNOTE 6.3.10; what torch writes differently is noted where it matters.
 */
#include "loader/bytes.h"
#include "loader/contents.h"
#include "loader/pickle.h"
#include "loader/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { END_SIZE = 22, LOCATOR_SIZE = 20, END64_SIZE = 56, CENTRAL_SIZE = 46, LOCAL_SIZE = 30, MAX_COMMENT = 65535 };
enum { FLAG_ENCRYPTED = 0x2041, FLAG_DESCRIPTOR = 8 };

typedef struct Entry {
    const uint8_t *name; /* in the directory */
    uint32_t name_length;
    uint64_t local, data, size;
} Entry;

typedef struct Zip {
    Contents *c;
    Entry *entries; /* sorted by name in the end */
    size_t count;
    uint64_t total, start, limit; /* of the directory: entries, first byte, end */
    size_t root_length;           /* of the common folder's name */
} Zip;

static bool directory_fault(Zip *z)
{
    return contents_fault(z->c, "zip central directory is damaged or lies outside the file");
}

static bool entry_fault(Zip *z, const Entry *e)
{
    return contents_fault(z->c, "zip entry '%s' lies outside the file or its local header disagrees with the directory",
                          show_bytes(e->name, e->name_length).text);
}

static bool is_signature(const uint8_t *p, uint8_t third, uint8_t fourth)
{
    return p[0] == 'P' && p[1] == 'K' && p[2] == third && p[3] == fourth;
}

/* The directory's place from the end record and, where there is one, the zip64 end record before it. */
static bool find_directory(Zip *z)
{
    Contents *c = z->c;
    const uint8_t *d = c->bytes;
    uint64_t end = UINT64_MAX;
    if (c->size >= END_SIZE) {
        uint64_t last = c->size - END_SIZE, lowest = last > MAX_COMMENT ? last - MAX_COMMENT : 0;
        for (uint64_t at = last + 1; at-- > lowest && end == UINT64_MAX;) {
            if (is_signature(d + at, 5, 6) && load_u16(d + at + 20) == last - at) end = at;
        }
    }
    if (end == UINT64_MAX) return contents_fault(c, "zip end record is missing or cut off");
    const uint8_t *e = d + end;
    uint64_t disk = load_u16(e + 4), directory_disk = load_u16(e + 6), here = load_u16(e + 8), total = load_u16(e + 10);
    uint64_t size = load_u32(e + 12), start = load_u32(e + 16), limit = end;
    bool split = (disk && disk != 0xffff) || (directory_disk && directory_disk != 0xffff), damaged = false;
    if (!split && end >= LOCATOR_SIZE && is_signature(e - LOCATOR_SIZE, 6, 7)) {
        const uint8_t *locator = e - LOCATOR_SIZE;
        uint64_t where = load_u64(locator + 8), before = end - LOCATOR_SIZE;
        split = load_u32(locator + 4) != 0 || load_u32(locator + 16) != 1;
        damaged = where > before || before - where < END64_SIZE || !is_signature(d + where, 6, 6) ||
                  load_u64(d + where + 4) != before - where - 12;
        if (!split && !damaged) {
            const uint8_t *w = d + where;
            uint64_t here64 = load_u64(w + 24), total64 = load_u64(w + 32), size64 = load_u64(w + 40),
                     start64 = load_u64(w + 48);
            split = load_u32(w + 16) != 0 || load_u32(w + 20) != 0;
            damaged = (here != here64 && here != 0xffff) || (total != total64 && total != 0xffff) ||
                      (size != size64 && size != 0xffffffff) || (start != start64 && start != 0xffffffff);
            here = here64;
            total = total64;
            size = size64;
            start = start64;
            limit = where;
        }
    }
    if (split || (!damaged && here != total)) return contents_fault(c, "zip file is split over several disks");
    if (damaged) return contents_fault(c, "zip end record is missing or cut off");
    if (start > limit || size != limit - start || total > CONTENTS_MAX_TENSORS + 64 || total > size / CENTRAL_SIZE) {
        return directory_fault(z);
    }
    z->total = total;
    z->start = start;
    z->limit = limit;
    return true;
}

/* Parts separated by '/', at least two, none of which leads out of its folder. */
static bool plain_path(const uint8_t *name, size_t length)
{
    if (!utf8_valid(name, length)) return false;
    size_t parts = 1, part = 0; /* bytes of the present part */
    bool dots = true;           /* only dots so far */
    for (size_t i = 0; i <= length; i++) {
        if (i == length || name[i] == '/') {
            if (part == 0 || (dots && part <= 2)) return false;
            if (i < length) parts++;
            part = 0;
            dots = true;
            continue;
        }
        if (name[i] == '\\' || name[i] == ':' || name[i] == 0) return false;
        if (name[i] != '.') dots = false;
        part++;
    }
    return parts >= 2;
}

/* Sizes and offsets that do not fit 32 bits stand in the extra field with id 1, only those, in this order. */
static bool read_extra64(Zip *z, const uint8_t *extra, size_t length, uint64_t *values[], const bool *wide)
{
    const uint8_t *body = NULL;
    size_t body_length = 0, needed = 0;
    while (length >= 4) {
        size_t size = load_u16(extra + 2);
        if (size > length - 4) return directory_fault(z);
        if (load_u16(extra) == 1) {
            body = extra + 4;
            body_length = size;
        }
        extra += 4 + size;
        length -= 4 + size;
    }
    for (int i = 0; i < 3; i++) needed += wide[i] ? 8 : 0;
    if (!body || body_length < needed) return directory_fault(z);
    for (int i = 0; i < 3; i++) {
        if (!wide[i]) continue;
        *values[i] = load_u64(body);
        body += 8;
    }
    return true;
}

/* The header in front of an entry's data must say the same as the directory. */
static bool check_local(Zip *z, Entry *e)
{
    const uint8_t *d = z->c->bytes;
    if (e->local > z->start || z->start - e->local < LOCAL_SIZE || !is_signature(d + e->local, 3, 4)) {
        return entry_fault(z, e);
    }
    const uint8_t *l = d + e->local;
    uint32_t flags = load_u16(l + 6), method = load_u16(l + 8), packed = load_u32(l + 18), plain = load_u32(l + 22);
    uint32_t name_length = load_u16(l + 26), extra_length = load_u16(l + 28);
    uint64_t room = z->start - e->local - LOCAL_SIZE, before = (uint64_t)name_length + extra_length;
    if (before > room || e->size > room - before) return entry_fault(z, e);
    e->data = e->local + LOCAL_SIZE + before;
    if (name_length != e->name_length || memcmp(l + LOCAL_SIZE, e->name, name_length) || method ||
        flags & FLAG_ENCRYPTED) {
        return entry_fault(z, e);
    }
    /* torch sets the descriptor flag and leaves the local sizes zero: only the directory knows them. */
    uint32_t low = (uint32_t)e->size;
    bool sizes_agree = (plain == low || plain == 0xffffffff) && (packed == low || packed == 0xffffffff);
    return flags & FLAG_DESCRIPTOR || sizes_agree || entry_fault(z, e);
}

static bool read_entry(Zip *z, uint64_t *at, Entry *e)
{
    Contents *c = z->c;
    const uint8_t *p = c->bytes + *at;
    if (z->limit - *at < CENTRAL_SIZE || !is_signature(p, 1, 2)) return directory_fault(z);
    uint32_t flags = load_u16(p + 8), method = load_u16(p + 10), disk = load_u16(p + 34);
    uint64_t packed = load_u32(p + 20), plain = load_u32(p + 24), local = load_u32(p + 42);
    uint32_t name_length = load_u16(p + 28), extra_length = load_u16(p + 30), comment_length = load_u16(p + 32);
    uint64_t behind = (uint64_t)name_length + extra_length + comment_length;
    if (behind > z->limit - *at - CENTRAL_SIZE) return directory_fault(z);
    *at += CENTRAL_SIZE + behind;
    e->name = p + CENTRAL_SIZE;
    e->name_length = name_length;
    bool wide[3] = {plain == 0xffffffff, packed == 0xffffffff, local == 0xffffffff};
    uint64_t *values[3] = {&plain, &packed, &local};
    if ((wide[0] || wide[1] || wide[2]) && !read_extra64(z, e->name + name_length, extra_length, values, wide))
        return false;
    e->size = plain;
    e->local = local;
    ShownName name = show_bytes(e->name, name_length);
    if (!plain_path(e->name, name_length)) {
        return contents_fault(c, "zip entry name '%s' is not a plain path below one folder", name.text);
    }
    if (disk) return contents_fault(c, "zip file is split over several disks");
    if (flags & FLAG_ENCRYPTED) return contents_fault(c, "zip entry '%s' is encrypted", name.text);
    if (method || packed != plain) {
        return contents_fault(c, "zip entry '%s' is compressed; save the file with torch.save, which stores",
                              name.text);
    }
    return check_local(z, e);
}

static int by_place(const void *a, const void *b)
{
    const Entry *x = a, *y = b;
    if (x->local != y->local) return x->local < y->local ? -1 : 1;
    return x->size < y->size ? -1 : x->size > y->size;
}

static int by_name(const void *a, const void *b)
{
    const Entry *x = a, *y = b;
    int order = memcmp(x->name, y->name, x->name_length < y->name_length ? x->name_length : y->name_length);
    return order ? order : x->name_length < y->name_length ? -1 : x->name_length > y->name_length;
}

/* Sound names and no byte in two entries; leaves them sorted by name. */
static bool check_entries(Zip *z)
{
    Contents *c = z->c;
    if (!z->count) return contents_fault(c, "zip file holds no data.pkl; not a PyTorch checkpoint");
    qsort(z->entries, z->count, sizeof *z->entries, by_name);
    const Entry *first = z->entries;
    z->root_length = (size_t)((const uint8_t *)memchr(first->name, '/', first->name_length) - first->name);
    for (size_t i = 1; i < z->count; i++) {
        const Entry *e = &z->entries[i];
        if (by_name(e - 1, e) == 0) {
            return contents_fault(c, "zip entry '%s' occurs twice", show_bytes(e->name, e->name_length).text);
        }
        if (e->name_length <= z->root_length || memcmp(e->name, first->name, z->root_length + 1)) {
            return contents_fault(c, "zip entry name '%s' is not a plain path below one folder",
                                  show_bytes(e->name, e->name_length).text);
        }
    }
    qsort(z->entries, z->count, sizeof *z->entries, by_place);
    for (size_t i = 1; i < z->count; i++) {
        const Entry *a = &z->entries[i - 1], *b = &z->entries[i];
        if (a->data + a->size > b->local) {
            return contents_fault(c, "zip entries '%s' and '%s' overlap", show_bytes(a->name, a->name_length).text,
                                  show_bytes(b->name, b->name_length).text);
        }
    }
    qsort(z->entries, z->count, sizeof *z->entries, by_name);
    return true;
}

/* The entry root/folder/name, or NULL. */
static const Entry *find_entry(const Zip *z, const char *folder, const char *name, size_t length)
{
    char path[2048];
    size_t root = z->root_length + 1, middle = strlen(folder);
    if (root > sizeof path / 2 || length > sizeof path / 2 - 16) return NULL;
    memcpy(path, z->entries[0].name, root);
    memcpy(path + root, folder, middle);
    memcpy(path + root + middle, name, length);
    Entry wanted = {.name = (const uint8_t *)path, .name_length = (uint32_t)(root + middle + length)};
    return bsearch(&wanted, z->entries, z->count, sizeof wanted, by_name);
}

static bool too_large(Contents *c, const char *name)
{
    return contents_fault(c, "tensor '%s' has more elements or bytes than 64 bits can count", name);
}

/* Does the last element lie inside? Checked step by step, so that nothing wraps. */
static bool inside(const PickleTensor *v, int64_t count, int64_t elements)
{
    if (v->offset > elements) return false;
    if (!count) return true;
    int64_t last = v->offset;
    for (uint32_t i = 0; i < v->rank; i++) {
        int64_t steps = v->shape[i] - 1;
        if (steps && v->stride[i] > (INT64_MAX - last) / steps) return false;
        last += steps * v->stride[i];
    }
    return last < elements;
}

/* A view becomes a tensor once it is known to lie inside its storage and the storage inside the file. */
static bool add_view(void *user, const PickleTensor *v)
{
    Zip *z = user;
    Contents *c = z->c;
    WeightTensor *t = contents_add_tensor(c, v->name, v->name_length);
    if (!t) return false;
    ShownName name = show_name(t->name);
    if (v->rank > WEIGHT_MAX_RANK) {
        return contents_fault(c, "tensor '%s' has %u dimensions; at most 8 are supported", name.text,
                              (unsigned)v->rank);
    }
    int64_t unit = weight_type_bytes(v->type), held = v->stored, bytes;
    if (!v->untyped && !shape_product(&v->stored, 1, unit, &held)) return too_large(c, name.text);
    const Entry *e = find_entry(z, "data/", v->key, v->key_length);
    if (!e || e->size != (uint64_t)held) {
        return contents_fault(c, "storage '%s' has no data in the file or not the stated size",
                              show_bytes(v->key, v->key_length).text);
    }
    if (!shape_product(v->shape, (int)v->rank, unit, &bytes)) return too_large(c, name.text);
    int64_t count = bytes / unit, elements = held / unit;
    if (count > elements) return contents_fault(c, "tensor '%s' has more elements than its storage", name.text);
    if (!inside(v, count, elements)) return contents_fault(c, "tensor '%s' reaches outside its storage", name.text);
    t->type = v->type;
    t->rank = (int)v->rank;
    memcpy(t->shape, v->shape, sizeof t->shape);
    memcpy(t->stride, v->stride, sizeof t->stride);
    t->count = count;
    t->bytes = (uint64_t)bytes;
    t->data = c->bytes + e->data + (uint64_t)v->offset * (uint64_t)unit;
    int64_t run = 1;
    for (int i = t->rank - 1; i >= 0 && count; i--) {
        if (t->shape[i] > 1 && t->stride[i] != run) t->strided = true;
        run *= t->shape[i];
    }
    return true;
}

static bool read_checkpoint(Zip *z)
{
    Contents *c = z->c;
    const Entry *pickle = find_entry(z, "", "data.pkl", 8);
    if (find_entry(z, "", "constants.pkl", 13)) {
        return contents_fault(c, "TorchScript archive; export a state dict with torch.save");
    }
    if (!pickle) return contents_fault(c, "zip file holds no data.pkl; not a PyTorch checkpoint");
    const Entry *order = find_entry(z, "", "byteorder", 9);
    if (order) {
        const uint8_t *p = c->bytes + order->data;
        uint64_t length = order->size;
        while (length && strchr(" \t\r\n\v\f", p[length - 1]) && p[length - 1]) length--;
        while (length && strchr(" \t\r\n\v\f", p[0]) && p[0]) {
            p++;
            length--;
        }
        if (order->size > 16 || length != 6 || memcmp(p, "little", 6)) {
            return contents_fault(c, "PyTorch file was saved on a big-endian machine");
        }
    }
    return pickle_read(c, c->bytes + pickle->data, pickle->size, add_view, z) && contents_index(c);
}

bool torch_read(Contents *c)
{
    Zip z = {.c = c};
    bool ok = find_directory(&z);
    if (ok) {
        z.entries = malloc((z.total + 1) * sizeof *z.entries);
        ok = z.entries || contents_no_memory(c);
    }
    uint64_t at = z.start;
    for (; ok && z.count < z.total; z.count++) ok = read_entry(&z, &at, &z.entries[z.count]);
    if (ok && at != z.limit) ok = directory_fault(&z);
    ok = ok && check_entries(&z) && read_checkpoint(&z);
    free(z.entries);
    return ok;
}
