/*
 * Broken weight files at random: sound ones with bytes changed, cut, doubled or numbers replaced by extreme ones are opened
 * and read through. Built with sanitizers; anything they find ends the program, and the file that did it stays behind.
 *
 *     fuzz SECONDS SCRATCH_FILE SEED_FILE...
 *
 * The same seed files and the same number of rounds give the same broken files. Ends in the usual closing line.
 */
#include "loader/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_BYTES = 1 << 18, MOST_SEEDS = 512, VALUES = 256 };

typedef struct Seed {
    uint8_t *bytes;
    size_t size;
} Seed;

/* xorshift64* */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dULL;
}

static size_t below(uint64_t *state, size_t limit)
{
    return limit > 0 ? (size_t)(draw(state) % limit) : 0;
}

/* A sound file, but for files larger than MOST_BYTES: their heads hold all that is parsed in GGUF and safetensors, and
 * nothing in a PyTorch zip, whose directory is at the end. */
static bool load_seed(const char *path, Seed *s)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) return false;
    s->bytes = malloc(MOST_BYTES);
    if (s->bytes == NULL) abort();
    s->size = fread(s->bytes, 1, MOST_BYTES, f);
    fclose(f);
    if (s->size == 0) free(s->bytes);
    return s->size > 0;
}

/* One change at a place that is near the start more often than not, where headers are. */
static void mutate(uint8_t *bytes, size_t *size, uint64_t *state)
{
    static const uint64_t extreme[] = {0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff, 0x100000000, INT64_MAX,
                                       UINT64_MAX, UINT64_MAX - 7};
    size_t reach = draw(state) % 4 != 0 && *size > 2048 ? 2048 : *size;
    size_t at = below(state, reach), left = *size - at;
    switch (draw(state) % 6) {
    case 0:
        bytes[at] ^= (uint8_t)(1u << below(state, 8));
        break;
    case 1:
        bytes[at] = (uint8_t)draw(state);
        break;
    case 2: { /* a number, of 1, 2, 4 or 8 bytes */
        uint64_t v = extreme[below(state, sizeof extreme / sizeof *extreme)];
        size_t width = (size_t)1 << below(state, 4);
        memcpy(bytes + at, &v, width < left ? width : left);
        break;
    }
    case 3: /* cut off */
        if (at > 0) *size = at;
        break;
    case 4: { /* a piece copied over another */
        size_t from = below(state, *size), n = below(state, 64);
        if (n > left) n = left;
        if (n > *size - from) n = *size - from;
        memmove(bytes + at, bytes + from, n);
        break;
    }
    case 5: { /* a piece taken out */
        size_t n = below(state, 16);
        if (n >= left || *size - n == 0) break;
        memmove(bytes + at, bytes + at + n, left - n);
        *size -= n;
        break;
    }
    }
}

/* Open the file as the product does and touch everything it promises. */
static bool exercise(const char *path)
{
    char error[1024];
    WeightFile *f = weight_file_open(path, error, sizeof error);
    if (f == NULL) return false;
    for (size_t i = 0; i < weight_file_metadata_count(f); i++) {
        const char *key, *value;
        weight_file_metadata(f, i, &key, &value);
        if (strlen(key) + strlen(value) == SIZE_MAX) abort();
    }
    for (size_t i = 0; i < weight_file_tensor_count(f); i++) {
        const WeightTensor *t = weight_file_tensor(f, i);
        float values[VALUES];
        int64_t n = t->count < VALUES ? t->count : VALUES;
        weight_read(t, 0, n, values);
        weight_read(t, t->count - n, n, values);
    }
    weight_file_close(f);
    return true;
}

static bool write_file(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL) return false;
    bool written = fwrite(bytes, 1, size, f) == size;
    return fclose(f) == 0 && written;
}

int main(int argc, char **argv)
{
    static Seed seeds[MOST_SEEDS];
    size_t count = 0;
    for (int i = 3; i < argc && count < MOST_SEEDS; i++) count += load_seed(argv[i], &seeds[count]) ? 1 : 0;
    if (count == 0) {
        fprintf(stderr, "fuzz SECONDS SCRATCH_FILE SEED_FILE...\n");
        return 2;
    }
    const char *scratch = argv[2];
    double seconds = atof(argv[1]);
    uint8_t *bytes = malloc(MOST_BYTES);
    if (bytes == NULL) abort();
    uint64_t state = 0x9e3779b97f4a7c15ULL;
    long long opened = 0, refused = 0;
    for (time_t began = time(NULL); difftime(time(NULL), began) < seconds;) {
        const Seed *s = &seeds[below(&state, count)];
        size_t size = s->size;
        memcpy(bytes, s->bytes, size);
        for (size_t n = 1 + below(&state, 6); n > 0; n--) mutate(bytes, &size, &state);
        if (!write_file(scratch, bytes, size)) {
            fprintf(stderr, "%s: cannot be written\n", scratch);
            return 1;
        }
        if (exercise(scratch))
            opened++;
        else
            refused++;
    }
    printf("%zu seed files; %lld broken ones were refused, %lld could still be read\n", count, refused, opened);
    printf("1 passed, 0 failed, 0 skipped\n");
    remove(scratch);
    for (size_t i = 0; i < count; i++) free(seeds[i].bytes);
    free(bytes);
    return 0;
}
