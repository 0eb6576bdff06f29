/* upres info: what a weight file holds, for people or as one JSON object. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/deflate.h"
#include "tools/json_out.h"
#include "tools/options.h"
#include "tools/verbs.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checksums are over little-endian values, and this file sums them as they lie in memory"
#endif

enum { CHECKSUM_VALUES = 1 << 16 }; /* read at a time: tensors of any size pass through 256 KiB */

/* zlib's CRC-32 of the float32 values. */
static bool checksum(const upres_weights *w, size_t index, const upres_tensor_info *t, uint32_t *crc, Problem *p)
{
    uint64_t count = 1;
    for (int i = 0; i < t->rank; i++) count *= (uint64_t)t->shape[i];
    float *values = need_memory(CHECKSUM_VALUES * sizeof *values);
    bool fine = true;
    *crc = 0;
    for (uint64_t first = 0; first < count && fine; first += CHECKSUM_VALUES) {
        uint64_t n = count - first < CHECKSUM_VALUES ? count - first : CHECKSUM_VALUES;
        upres_status s = upres_weights_read(w, 0, index, first, n, values);
        fine = s == UPRES_OK || problem_library(p, s);
        if (fine) *crc = deflate_crc32(*crc, values, n * sizeof *values);
    }
    free(values);
    return fine;
}

/* Names, one a line, as a JSON array. */
static void json_lines(const char *lines)
{
    putchar('[');
    for (const char *at = lines; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, "\n");
        char *name = new_text("%.*s", (int)n, at);
        if (at != lines) putchar(',');
        json_string(stdout, name);
        free(name);
        at += n + (at[n] == '\n');
    }
    putchar(']');
}

static bool each_tensor(const upres_weights *w, const upres_file_info *f, const Job *job, Problem *p)
{
    for (size_t i = 0; i < f->tensor_count; i++) {
        upres_tensor_info t = {.struct_size = sizeof t};
        uint32_t crc = 0;
        upres_status s = upres_weights_tensor(w, 0, i, &t);
        if (s != UPRES_OK) return problem_library(p, s);
        if (job->checksums && !checksum(w, i, &t, &crc, p)) return false;
        if (job->json) {
            printf("%s{\"name\":", i > 0 ? "," : "");
            json_string(stdout, t.name);
            printf(",\"type\":\"%s\",\"shape\":[", t.type);
            for (int k = 0; k < t.rank; k++) printf("%s%" PRId64, k > 0 ? "," : "", t.shape[k]);
            printf("],\"bytes\":%" PRIu64, t.bytes);
            if (job->checksums) printf(",\"crc32\":\"%08" PRIx32 "\"", crc);
            putchar('}');
        } else {
            char shape[8 * 21 + 1] = "";
            for (int k = 0; k < t.rank; k++)
                snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%" PRId64, k > 0 ? "x" : "",
                         t.shape[k]);
            printf("  %-8s %-20s %12" PRIu64, t.type, t.rank > 0 ? shape : "scalar", t.bytes);
            if (job->checksums) printf("  %08" PRIx32, crc);
            printf("  %s\n", t.name);
        }
    }
    return true;
}

static bool print_json(const upres_weights *w, const upres_file_info *f, const Job *job, Problem *p)
{
    fputs("{\"file\":", stdout);
    json_string(stdout, f->path);
    printf(",\"container\":\"%s\",\"bytes\":%" PRIu64 ",\"metadata\":{", f->container, f->bytes);
    for (size_t i = 0; i < f->metadata_count; i++) {
        const char *key, *value;
        upres_status s = upres_weights_metadata(w, 0, i, &key, &value);
        if (s != UPRES_OK) return problem_library(p, s);
        if (i > 0) putchar(',');
        json_string(stdout, key);
        printf(":%s", value);
    }
    fputs("},\"recognised\":[", stdout);
    for (size_t i = 0; i < upres_weights_part_count(w); i++) {
        upres_part_info part = {.struct_size = sizeof part};
        upres_status s = upres_weights_part(w, i, &part);
        if (s != UPRES_OK) return problem_library(p, s);
        /* the library's object already says network, prefix and widths; it is taken over and continued */
        printf("%s%.*s,\"summary\":", i > 0 ? "," : "", (int)strlen(part.json) - 1, part.json);
        json_string(stdout, part.summary);
        printf(",\"missing_count\":%zu,\"missing\":", part.missing_count);
        json_lines(part.missing);
        printf(",\"unused_count\":%zu,\"unused\":", part.unused_count);
        json_lines(part.unused);
        putchar('}');
    }
    fputs("],\"tensors\":[", stdout);
    if (!each_tensor(w, f, job, p)) return false;
    puts("]}");
    return true;
}

static void print_names(const char *what, size_t count, const char *lines)
{
    if (count == 0) return;
    printf("    %zu %s:\n", count, what);
    for (const char *at = lines; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, "\n");
        printf("      %.*s\n", (int)n, at);
        at += n + (at[n] == '\n');
    }
}

static bool print_text(const upres_weights *w, const upres_file_info *f, const Job *job, Problem *p)
{
    printf("%s: %s, %" PRIu64 " bytes, %zu tensor%s\n", f->path, f->container, f->bytes, f->tensor_count,
           f->tensor_count == 1 ? "" : "s");
    size_t parts = upres_weights_part_count(w);
    if (parts == 0) puts("recognised: nothing");
    for (size_t i = 0; i < parts; i++) {
        upres_part_info part = {.struct_size = sizeof part};
        upres_status s = upres_weights_part(w, i, &part);
        if (s != UPRES_OK) return problem_library(p, s);
        printf("recognised: %s%s%s%s: %s\n", part.network, *part.prefix != '\0' ? " under \"" : "", part.prefix,
               *part.prefix != '\0' ? "\"" : "", part.summary);
        print_names("tensors missing", part.missing_count, part.missing);
        print_names("tensors unused", part.unused_count, part.unused);
    }
    if (f->metadata_count > 0) puts("metadata:");
    for (size_t i = 0; i < f->metadata_count; i++) {
        const char *key, *value;
        upres_status s = upres_weights_metadata(w, 0, i, &key, &value);
        if (s != UPRES_OK) return problem_library(p, s);
        printf("  %s = %s\n", key, value);
    }
    printf("tensors: type, shape (outermost first), bytes%s, name\n", job->checksums ? ", CRC-32" : "");
    return each_tensor(w, f, job, p);
}

static bool info(Job *job, upres_weights **w, int argc, char **argv, Problem *p)
{
    if (!job_parse(job, VERB_INFO, argc, argv, p)) return false;
    if (job->help) {
        verb_usage(VERB_INFO);
        return true;
    }
    if (job->operand_count != 1)
        return problem(p, EXIT_USAGE, "info takes one weight file, found %zu arguments", job->operand_count);
    upres_file_info f = {.struct_size = sizeof f};
    upres_status s = upres_weights_open(w, job->operands, 1);
    if (s == UPRES_OK) s = upres_weights_file(*w, 0, &f);
    if (s != UPRES_OK) return problem_library(p, s);
    return job->json ? print_json(*w, &f, job, p) : print_text(*w, &f, job, p);
}

int verb_info(int argc, char **argv)
{
    Job job;
    upres_weights *w = NULL;
    Problem p;
    int status = info(&job, &w, argc, argv, &p) ? EXIT_FINE : console_fail(&job.console, &p);
    upres_weights_close(w);
    job_free(&job);
    return status;
}
