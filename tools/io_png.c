#include "tools/io_png.h"

#include <stdlib.h>
#include <string.h>

#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 16384
#include <stb/stb_image.h>

#include "tools/deflate.h"
#include "tools/platform.h"

enum {
    SIGNATURE_BYTES = 8,
    CHUNK_OVERHEAD = 12, /* length, kind, checksum */
    HEADER_BYTES = SIGNATURE_BYTES + CHUNK_OVERHEAD + 13,
    GREY = 0,
    RGB = 2,
    PALETTE = 3,
    GREY_ALPHA = 4,
    RGBA = 6 /* colour types */
};

static const uint8_t signature[SIGNATURE_BYTES] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

/* What the header says, before expansion. */
typedef struct Header {
    int32_t width, height;
    int depth, colour, interlaced;
} Header;

static uint32_t get32(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void put32(uint8_t *b, uint32_t v)
{
    for (int i = 0; i < 4; i++) b[i] = (uint8_t)(v >> (24 - 8 * i));
}

static bool kind_is(const uint8_t *kind, const char *name)
{
    return memcmp(kind, name, 4) == 0;
}

static int stored_channels(int colour)
{
    return colour == RGB ? 3 : colour == GREY_ALPHA ? 2 : colour == RGBA ? 4 : 1;
}

static PngForm expanded_form(const Header *h, bool transparent)
{
    int channels = h->colour == PALETTE ? 3 : stored_channels(h->colour);
    return (PngForm){h->width, h->height, channels + transparent, h->depth == 16 ? 16 : 8};
}

size_t png_row_bytes(const PngForm *f)
{
    return (size_t)f->width * (size_t)f->channels * (f->bits > 8 ? 2 : 1);
}

bool png_has_signature(const char *path)
{
    InputFile f;
    Problem unread;
    uint8_t b[SIGNATURE_BYTES];
    if (!readfile_open(&f, path, &unread)) return false;
    bool found = f.size >= sizeof b && readfile_at(&f, 0, b, sizeof b, &unread) && memcmp(b, signature, sizeof b) == 0;
    readfile_close(&f);
    return found;
}

/* b: the first HEADER_BYTES of a file of `size` bytes (fewer when the file is shorter). */
static bool parse_header(const char *path, const uint8_t *b, uint64_t size, Header *h, Problem *p)
{
    if (size == 0) return problem(p, EXIT_INPUT, "%s: the file is empty; expected a PNG picture", path);
    if (size < SIGNATURE_BYTES || memcmp(b, signature, SIGNATURE_BYTES) != 0)
        return problem(p, EXIT_INPUT, "%s: not a PNG picture; convert it to PNG first", path);
    const uint8_t *chunk = b + SIGNATURE_BYTES;
    if (size < HEADER_BYTES || get32(chunk) != 13 || !kind_is(chunk + 4, "IHDR"))
        return problem(p, EXIT_INPUT, "%s: broken PNG, it does not begin with a whole IHDR chunk; copy it again", path);
    if (deflate_crc32(0, chunk + 4, 17) != get32(chunk + 21))
        return problem(p, EXIT_INPUT, "%s: broken PNG, wrong checksum in its IHDR chunk; copy it again", path);
    uint32_t width = get32(chunk + 8), height = get32(chunk + 12);
    if (width < 1 || height < 1 || width > PNG_LARGEST_SIDE || height > PNG_LARGEST_SIDE)
        return problem(p, EXIT_INPUT, "%s: %ux%u pixels; expected 1 to %d a side", path, width, height,
                       PNG_LARGEST_SIDE);
    *h = (Header){(int32_t)width, (int32_t)height, chunk[16], chunk[17], chunk[20]};
    static const uint32_t depths[7] = {/* a bit per depth allowed for each colour type */
                                       1 << 1 | 1 << 2 | 1 << 4 | 1 << 8 | 1 << 16,
                                       0,
                                       1 << 8 | 1 << 16,
                                       1 << 1 | 1 << 2 | 1 << 4 | 1 << 8,
                                       1 << 8 | 1 << 16,
                                       0,
                                       1 << 8 | 1 << 16};
    if (h->colour > RGBA || h->depth > 16 || !(depths[h->colour] >> h->depth & 1) || chunk[18] != 0 || chunk[19] != 0 ||
        h->interlaced > 1)
        return problem(p, EXIT_INPUT,
                       "%s: colour type %d, depth %d, compression %d, filter %d, interlacing %d are not a "
                       "combination PNG knows",
                       path, h->colour, h->depth, chunk[18], chunk[19], h->interlaced);
    return true;
}

static bool no_pixels(const char *path, Problem *p)
{
    return problem(p, EXIT_INPUT, "%s: broken PNG, it holds no pixels; copy it again", path);
}

static bool can_be_transparent(int colour)
{
    return colour == GREY || colour == RGB || colour == PALETTE;
}

/* The length and kind of the chunk at *at, which moves past it. */
static bool probe_chunk(InputFile *f, uint64_t *at, uint8_t chunk[8], const char *before, Problem *p)
{
    if (f->size - *at < CHUNK_OVERHEAD)
        return problem(p, EXIT_INPUT, "%s: broken PNG, it ends before its %s; copy it again", f->path, before);
    if (!readfile_at(f, *at, chunk, 8, p)) return false;
    if (get32(chunk) > f->size - *at - CHUNK_OVERHEAD)
        return problem(p, EXIT_INPUT, "%s: broken PNG, it ends inside a chunk; copy it again", f->path);
    *at += CHUNK_OVERHEAD + get32(chunk);
    return true;
}

/* Is there an IEND chunk from `at` on? Nearly always it is the last; other bytes may lie behind it, which are no concern. */
static bool probe_end(InputFile *f, uint64_t at, Problem *p)
{
    uint8_t chunk[8];
    if (!readfile_at(f, f->size - CHUNK_OVERHEAD, chunk, sizeof chunk, p)) return false;
    while (!kind_is(chunk + 4, "IEND"))
        if (!probe_chunk(f, &at, chunk, "IEND chunk", p)) return false;
    return true;
}

static bool probe(InputFile *f, PngForm *form, Problem *p)
{
    uint8_t b[HEADER_BYTES] = {0}, chunk[8] = {0};
    Header h;
    if (!readfile_at(f, 0, b, f->size < sizeof b ? (size_t)f->size : sizeof b, p)) return false;
    if (!parse_header(f->path, b, f->size, &h, p)) return false;
    bool transparent = false;
    for (uint64_t at = HEADER_BYTES; !kind_is(chunk + 4, "IDAT");) {
        if (kind_is(chunk + 4, "IEND")) return no_pixels(f->path, p);
        if (!probe_chunk(f, &at, chunk, "pixels", p)) return false;
        transparent |= kind_is(chunk + 4, "tRNS") && can_be_transparent(h.colour);
        if (kind_is(chunk + 4, "IDAT") && !probe_end(f, at, p)) return false;
    }
    *form = expanded_form(&h, transparent);
    return true;
}

bool png_probe(const char *path, PngForm *form, Problem *p)
{
    InputFile f;
    if (!readfile_open(&f, path, p)) return false;
    bool fine = probe(&f, form, p);
    readfile_close(&f);
    return fine;
}

/* --------------------------------------------------------------------------------------------------- the whole file */

typedef struct Chunk {
    const uint8_t *kind, *data; /* of 4 and `size` bytes */
    uint32_t size;
} Chunk;

/* The next chunk from *at on, checked; *at moves past it. */
static bool next_chunk(const char *path, const uint8_t *file, size_t size, size_t *at, Chunk *c, Problem *p)
{
    if (size - *at < CHUNK_OVERHEAD || get32(file + *at) > size - *at - CHUNK_OVERHEAD)
        return problem(p, EXIT_INPUT, "%s: broken PNG, it ends inside a chunk; copy it again", path);
    c->size = get32(file + *at);
    c->kind = file + *at + 4;
    c->data = c->kind + 4;
    if (deflate_crc32(0, c->kind, c->size + 4) != get32(c->data + c->size))
        return problem(p, EXIT_INPUT, "%s: broken PNG, wrong checksum in its %.4s chunk at byte %zu; copy it again",
                       path, (const char *)c->kind, *at);
    *at += CHUNK_OVERHEAD + c->size;
    return true;
}

static bool load(const char *path, uint8_t **file, size_t *size, Problem *p)
{
    InputFile f;
    *file = NULL;
    if (!readfile_open(&f, path, p)) return false;
    bool fine = f.size < (uint64_t)1 << 31 ||
                problem(p, EXIT_INPUT, "%s: %llu bytes; expected a PNG below 2 GiB", path, (unsigned long long)f.size);
    if (fine) {
        *size = (size_t)f.size;
        *file = need_memory(*size + HEADER_BYTES);
        fine = readfile_at(&f, 0, *file, *size, p);
    }
    readfile_close(&f);
    return fine;
}

/* What the chunks say, all of them checked. */
typedef struct Body {
    Header header;
    bool transparent;
    uint8_t *packed; /* the IDAT chunks' data, joined; the caller frees it */
    size_t packed_size;
} Body;

static bool parse_body(const char *path, const uint8_t *file, size_t size, Body *b, Problem *p)
{
    *b = (Body){.packed = NULL};
    if (!parse_header(path, file, size, &b->header, p)) return false;
    b->packed = need_memory(size);
    size_t at = HEADER_BYTES;
    for (Chunk c = {0}; c.kind == NULL || !kind_is(c.kind, "IEND");) {
        if (!next_chunk(path, file, size, &at, &c, p)) return false;
        if (kind_is(c.kind, "IDAT")) {
            memcpy(b->packed + b->packed_size, c.data, c.size);
            b->packed_size += c.size;
        } else if (kind_is(c.kind, "tRNS")) {
            b->transparent = can_be_transparent(b->header.colour);
        } else if (!(c.kind[0] & 0x20) && !kind_is(c.kind, "PLTE") && !kind_is(c.kind, "IEND")) {
            return problem(p, EXIT_INPUT, "%s: the critical chunk %.4s is unknown; convert the picture to plain PNG",
                           path, (const char *)c.kind);
        }
    }
    return b->packed_size > 0 || no_pixels(path, p);
}

/* ----------------------------------------------------------------------------------------------------------- pixels */

/*
 * stb_image reads every kind of PNG, but neither looks at checksums nor bounds what the packed data may grow to: a few
 * kilobytes can ask for gigabytes. So they are unpacked once before it, into no more than the picture's size.
 */
static bool unpacks(const char *path, const Body *b, Problem *p)
{
    const Header *h = &b->header;
    size_t bits = (size_t)h->width * (size_t)(stored_channels(h->colour) * h->depth);
    /* a filter byte a row; the seven passes of an interlaced picture have up to 15/8 as many rows, each rounded up */
    size_t most = (bits + 7) / 8 * (size_t)h->height + (size_t)h->height * (h->interlaced ? 4 : 1);
    size_t least = bits * (size_t)h->height / 8, actual = 0;
    /* deflate packs at most 1032 to 1 */
    if (least / 1032 > b->packed_size)
        return problem(p, EXIT_INPUT, "%s: broken PNG, %zu packed bytes cannot hold its %dx%d pixels; copy it again",
                       path, b->packed_size, h->width, h->height);
    uint8_t *raw = need_memory(most);
    bool fine = deflate_unpack(b->packed, b->packed_size, raw, most, &actual) && actual >= least;
    free(raw);
    return fine || problem(p, EXIT_INPUT, "%s: broken PNG, its pixels cannot be unpacked to %dx%d; copy it again", path,
                           h->width, h->height);
}

static bool decode(const char *path, const uint8_t *file, size_t size, const Body *b, PngForm *form, void **pixels,
                   Problem *p)
{
    if (!unpacks(path, b, p)) return false;
    int w = 0, h = 0, channels = 0;
    *form = expanded_form(&b->header, b->transparent);
    *pixels = form->bits > 8 ? (void *)stbi_load_16_from_memory(file, (int)size, &w, &h, &channels, 0)
                             : (void *)stbi_load_from_memory(file, (int)size, &w, &h, &channels, 0);
    if (*pixels == NULL || w != form->width || h != form->height || channels != form->channels)
        return problem(p, EXIT_INPUT, "%s: broken PNG (%s); copy it again, or convert the picture to plain PNG", path,
                       *pixels == NULL ? stbi_failure_reason() : "its parts contradict each other");
    return true;
}

bool png_read(const char *path, PngForm *form, void **pixels, Problem *p)
{
    uint8_t *file;
    size_t size;
    Body body = {.packed = NULL};
    *pixels = NULL;
    bool fine = load(path, &file, &size, p) && parse_body(path, file, size, &body, p) &&
                decode(path, file, size, &body, form, pixels, p);
    free(body.packed);
    free(file);
    if (!fine) {
        free(*pixels);
        *pixels = NULL;
    }
    return fine;
}

/* ---------------------------------------------------------------------------------------------------------- writing */

typedef struct Buffer {
    uint8_t *data;
    size_t size, room;
} Buffer;

static uint8_t *append(Buffer *b, size_t size)
{
    if (size > b->room - b->size) b->data = need_more(b->data, b->room = (b->size + size) * 3 / 2);
    b->size += size;
    return b->data + b->size - size;
}

static void append_chunk(Buffer *b, const void *kind, const void *data, size_t size)
{
    uint8_t *at = append(b, size + CHUNK_OVERHEAD);
    put32(at, (uint32_t)size);
    memcpy(at + 4, kind, 4);
    if (size > 0) memcpy(at + 8, data, size);
    put32(at + 8 + size, deflate_crc32(0, at + 4, size + 4));
}

/* Does a chunk stay true when the pixels are made anew in another size and depth? */
static bool worth_keeping(const uint8_t *kind, bool same_colours)
{
    static const char always[][5] = {"gAMA", "cHRM", "sRGB", "cICP", "mDCV", "cLLI",
                                     "pHYs", "tEXt", "zTXt", "iTXt", "eXIf"};
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++) {
        if (kind_is(kind, always[i])) return true;
    }
    /* a profile of grey pixels is no profile of coloured ones */
    return same_colours && kind_is(kind, "iCCP");
}

static bool append_metadata(Buffer *b, const char *from, bool coloured, Problem *p)
{
    uint8_t *file;
    size_t size, at = HEADER_BYTES;
    Header h;
    bool fine = load(from, &file, &size, p) && parse_header(from, file, size, &h, p);
    for (Chunk c = {0}; fine && (c.kind == NULL || !kind_is(c.kind, "IEND"));) {
        fine = next_chunk(from, file, size, &at, &c, p);
        if (fine && worth_keeping(c.kind, ((h.colour & 2) != 0) == coloured)) append_chunk(b, c.kind, c.data, c.size);
    }
    free(file);
    return fine;
}

static int distance_from_zero(uint8_t v)
{
    return v < 128 ? v : 256 - v;
}

/* One row, big-endian, behind the byte of its filter: the left or the upper neighbour taken off, whichever leaves less.
 */
static void filter_row(uint8_t *out, const uint8_t *row, const uint8_t *up, size_t bytes, size_t step)
{
    uint64_t sub = 0, above = 0;
    for (size_t i = 0; i < bytes; i++) {
        sub += (uint64_t)distance_from_zero((uint8_t)(row[i] - (i >= step ? row[i - step] : 0)));
        above += (uint64_t)distance_from_zero((uint8_t)(row[i] - up[i]));
    }
    out[0] = sub <= above ? 1 : 2;
    for (size_t i = 0; i < bytes; i++) {
        uint8_t guess = out[0] == 2 ? up[i] : i >= step ? row[i - step] : 0;
        out[1 + i] = (uint8_t)(row[i] - guess);
    }
}

static void append_pixels(Buffer *b, const PngForm *form, const void *pixels, ptrdiff_t stride)
{
    size_t bytes = png_row_bytes(form);
    size_t step = bytes / (size_t)form->width;
    size_t raw_size = (bytes + 1) * (size_t)form->height;
    uint8_t *raw = need_memory(raw_size);
    uint8_t *rows = need_memory(2 * bytes); /* the row above and this one, in the file's byte order */
    for (int32_t y = 0; y < form->height; y++) {
        const uint8_t *from = (const uint8_t *)pixels + y * stride;
        uint8_t *row = rows + bytes * (size_t)(y & 1), *up = rows + bytes * (size_t)(~y & 1);
        if (form->bits == 8) {
            memcpy(row, from, bytes);
        } else {
            for (size_t i = 0; i < bytes / 2; i++) {
                uint16_t v;
                memcpy(&v, from + 2 * i, 2);
                row[2 * i] = (uint8_t)(v >> 8);
                row[2 * i + 1] = (uint8_t)v;
            }
        }
        filter_row(raw + (bytes + 1) * (size_t)y, row, up, bytes, step);
    }
    free(rows);

    size_t packed_size = 0;
    uint8_t *packed = deflate_pack(raw, raw_size, &packed_size);
    free(raw);
    /* a chunk's length has 31 bits */
    const size_t most = (size_t)1 << 30;
    for (size_t at = 0; at < packed_size; at += most)
        append_chunk(b, "IDAT", packed + at, packed_size - at < most ? packed_size - at : most);
    free(packed);
}

bool png_write(const char *path, const PngForm *form, const void *pixels, ptrdiff_t stride, const char *metadata_from,
               Problem *p)
{
    static const uint8_t colours[5] = {0, GREY, GREY_ALPHA, RGB, RGBA};
    uint8_t head[13] = {0};
    put32(head, (uint32_t)form->width);
    put32(head + 4, (uint32_t)form->height);
    head[8] = (uint8_t)form->bits;
    head[9] = colours[form->channels];

    Buffer b = {0};
    memcpy(append(&b, SIGNATURE_BYTES), signature, SIGNATURE_BYTES);
    append_chunk(&b, "IHDR", head, sizeof head);
    OutputFile f = {.handle = -1};
    bool fine = metadata_from == NULL || append_metadata(&b, metadata_from, form->channels >= 3, p);
    if (fine) {
        append_pixels(&b, form, pixels, stride);
        append_chunk(&b, "IEND", NULL, 0);
        fine = writefile_create(&f, path, p) && writefile_put(&f, 0, b.data, b.size, p) && writefile_commit(&f, p);
    }
    writefile_abandon(&f);
    free(b.data);
    return fine;
}
