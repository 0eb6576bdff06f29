/*
 * UPRES_EMULATOR, a list such as "sm=120,memory=512M,devices=2". Strict: whatever is not understood is refused, because
 * a misspelt option would silently test something else.
 */
#include "tests/emulator/driver.h"

#include <stdio.h>
#include <string.h>

/* A whole number, nothing else, at most `limit`. */
static bool parse_number(const char *text, size_t length, uint64_t limit, uint64_t *value)
{
    if (length == 0) return false;
    *value = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (digit > limit || *value > (limit - digit) / 10) return false;
        *value = *value * 10 + digit;
    }
    return true;
}

/* A number with an optional K, M, G or T (powers of 1024). */
static bool parse_bytes(const char *text, size_t length, uint64_t *bytes)
{
    static const char suffixes[] = "KMGT";
    unsigned shift = 0;
    const char *suffix = length > 0 ? memchr(suffixes, text[length - 1], 4) : NULL;
    if (suffix != NULL) {
        shift = 10 * (unsigned)(suffix - suffixes + 1);
        length--;
    }
    if (!parse_number(text, length, (uint64_t)1 << 44, bytes)) return false;
    if (*bytes > ((uint64_t)1 << 44) >> shift) return false;
    *bytes <<= shift;
    return *bytes > 0;
}

static bool parse_file(const char *text, size_t length, char file[1024], const char **expected)
{
    *expected = "a file's name of 1 to 1023 bytes";
    if (length == 0 || length >= 1024) return false;
    memcpy(file, text, length);
    file[length] = '\0';
    return true;
}

/* NAME:N, NAME:N+ (that call and all after it), and behind either :STATUS. */
static bool parse_call(const char *text, size_t length, struct options *o, const char **expected)
{
    *expected = "FUNCTION:N, N+ for all from the Nth call on, and at will :STATUS, as in cuMemMap:2+:801";
    uint64_t status = CUDA_ERROR_OUT_OF_MEMORY;
    const char *end = text + length, *colon = memchr(text, ':', length);
    if (colon == NULL || colon == text || colon - text >= (ptrdiff_t)sizeof o->fail_call.name) return false;
    memcpy(o->fail_call.name, text, (size_t)(colon - text));
    o->fail_call.name[colon - text] = '\0';
    const char *number = colon + 1, *second = memchr(number, ':', (size_t)(end - number));
    const char *number_end = second != NULL ? second : end;
    o->fail_call.onwards = number_end > number && number_end[-1] == '+';
    if (o->fail_call.onwards) number_end--;
    if (!parse_number(number, (size_t)(number_end - number), INT64_MAX, &o->fail_call.number)) return false;
    if (second != NULL && !parse_number(second + 1, (size_t)(end - second - 1), 999, &status)) return false;
    o->fail_call.status = (int)status;
    return o->fail_call.number > 0 && status > 0;
}

static bool parse_value(struct options *o, const char *key, size_t key_length, const char *value, size_t length,
                        const char **expected)
{
    uint64_t n = 0;
#define KEY(name) (key_length == sizeof(name) - 1 && memcmp(key, name, key_length) == 0)
    if (KEY("sm")) {
        *expected = "80, 86, 89, 90 or 120";
        if (!parse_number(value, length, 120, &n)) return false;
        o->sm = (int)n;
        return n == 80 || n == 86 || n == 89 || n == 90 || n == 120;
    }
    if (KEY("memory")) {
        *expected = "bytes, with K, M, G or T at will, up to 16T";
        return parse_bytes(value, length, &o->memory);
    }
    if (KEY("devices")) {
        *expected = "0 to 16";
        bool ok = parse_number(value, length, MAX_DEVICES, &n);
        o->devices = (int)n;
        return ok;
    }
    if (KEY("seed")) {
        *expected = "a number below 2^63";
        return parse_number(value, length, INT64_MAX, &o->seed);
    }
    if (KEY("exact")) {
        *expected = "0 or 1";
        bool ok = parse_number(value, length, 1, &n);
        o->exact = n == 1;
        return ok;
    }
    if (KEY("coverage")) return parse_file(value, length, o->coverage, expected);
    if (KEY("report")) return parse_file(value, length, o->report, expected);
    if (KEY("calls")) return parse_file(value, length, o->calls, expected);
    if (KEY("fail_alloc")) {
        *expected = "a number";
        return parse_number(value, length, INT64_MAX, &o->fail_alloc);
    }
    if (KEY("fail_call")) return parse_call(value, length, o, expected);
    if (KEY("mapping")) {
        *expected = "0 or 1";
        bool ok = parse_number(value, length, 1, &n);
        o->mapping = n == 1;
        return ok;
    }
    if (KEY("granule")) {
        *expected = "a power of two from 64K to 2M";
        return parse_bytes(value, length, &o->granule) && o->granule >= 64 << 10 && o->granule <= 2 << 20 &&
               (o->granule & (o->granule - 1)) == 0;
    }
    if (KEY("fail_kernel")) {
        *expected = "the number of a device, 0 to 15";
        bool ok = parse_number(value, length, MAX_DEVICES - 1, &n);
        o->fail_kernel = (int)n + 1;
        return ok;
    }
    if (KEY("threads")) {
        *expected = "0 to 1024";
        bool ok = parse_number(value, length, 1024, &n);
        o->threads = (int)n;
        return ok;
    }
    if (KEY("driver")) {
        *expected = "a version such as 12080";
        bool ok = parse_number(value, length, 99999, &n);
        o->driver = (int)n;
        return ok && n >= 1000;
    }
#undef KEY
    *expected = NULL;
    return false;
}

bool options_parse(const char *text, struct options *options, char *why, size_t size)
{
    static const char *const keys[] = {"sm",         "memory",    "devices",     "seed",    "exact",   "coverage", "report",
                                       "fail_alloc", "fail_call", "fail_kernel", "threads", "mapping", "granule",  "driver",
                                       "calls"};
    bool seen[sizeof keys / sizeof keys[0]] = {false};
    *options = (struct options){.sm = 120, .memory = (uint64_t)16 << 30, .devices = 1, .seed = 1, .driver = 13000,
                                .mapping = true, .granule = 2 << 20};
    if (text == NULL || *text == '\0') return true;
    for (;;) {
        size_t length = strcspn(text, ",");
        const char *equals = memchr(text, '=', length);
        if (equals == NULL) {
            snprintf(why, size, "UPRES_EMULATOR: \"%.*s\" is not of the form key=value", (int)length, text);
            return false;
        }
        size_t key_length = (size_t)(equals - text);
        const char *expected;
        if (!parse_value(options, text, key_length, equals + 1, length - key_length - 1, &expected)) {
            if (expected == NULL)
                snprintf(why, size,
                         "UPRES_EMULATOR: there is no option \"%.*s\"; there are sm, memory, devices, seed, exact, "
                         "coverage, report, fail_alloc, fail_call, fail_kernel, threads, mapping, granule, driver, "
                         "calls",
                         (int)key_length, text);
            else
                snprintf(why, size, "UPRES_EMULATOR: \"%.*s\" expected %s", (int)length, text, expected);
            return false;
        }
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            if (strlen(keys[i]) != key_length || memcmp(keys[i], text, key_length) != 0) continue;
            if (seen[i]) {
                snprintf(why, size, "UPRES_EMULATOR: %s is given twice", keys[i]);
                return false;
            }
            seen[i] = true;
        }
        if (text[length] == '\0') return true;
        text += length + 1;
    }
}
