#include "loader/json.h"

#include "loader/utf8.h"

#include <stdlib.h>
#include <string.h>

/* What the grammar allows next. */
enum { WANT_VALUE, WANT_KEY_OR_END, WANT_KEY, WANT_VALUE_OR_END, WANT_COMMA_OR_END, WANT_NOTHING };

void json_open(JsonReader *r, const char *text, size_t size, int max_depth)
{
    *r = (JsonReader){.string = "", .text = text, .size = size, .state = WANT_VALUE};
    r->max_depth = max_depth < (int)sizeof r->kind ? max_depth : (int)sizeof r->kind;
}

void json_close(JsonReader *r)
{
    free(r->buffer);
    *r = (JsonReader){.string = "", .error = JSON_SYNTAX, .problem = "the reader is closed"};
}

static JsonToken fail(JsonReader *r, JsonError error, const char *problem)
{
    if (r->error == JSON_FINE) {
        r->error = error;
        r->problem = problem;
    }
    r->string = "";
    r->length = 0;
    return JSON_ERROR;
}

static bool reserve(JsonReader *r, size_t size)
{
    if (size <= r->buffer_size) return true;
    size_t room = r->buffer_size + r->buffer_size / 2;
    if (room < size) room = size;
    if (room < 256) room = 256;
    char *buffer = realloc(r->buffer, room);
    if (!buffer) {
        fail(r, JSON_MEMORY, "not enough memory for a string");
        return false;
    }
    r->buffer = buffer;
    r->buffer_size = room;
    return true;
}

static void skip_space(JsonReader *r)
{
    while (r->at < r->size) {
        char c = r->text[r->at];
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return;
        r->at++;
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The four digits at r->at, or -1. */
static int32_t hex4(JsonReader *r)
{
    if (r->size - r->at < 4) return -1;
    int32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit(r->text[r->at + i]);
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    r->at += 4;
    return value;
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* After a backslash and u. Half a pair stands for no character: it is marked and kept as U+FFFD. */
static bool unicode_escape(JsonReader *r, uint32_t *character)
{
    int32_t first = hex4(r);
    if (first < 0) return false;
    *character = (uint32_t)first;
    if (first < 0xd800 || first > 0xdfff) return true;
    if (first < 0xdc00 && r->size - r->at >= 6 && r->text[r->at] == '\\' && r->text[r->at + 1] == 'u') {
        size_t back = r->at;
        r->at += 2;
        int32_t second = hex4(r);
        if (second < 0) return false;
        if (second >= 0xdc00 && second <= 0xdfff) {
            *character = 0x10000 + ((uint32_t)(first - 0xd800) << 10) + (uint32_t)(second - 0xdc00);
            return true;
        }
        r->at = back; /* the second escape is a character of its own */
    }
    r->lone_surrogate = true;
    *character = 0xfffd;
    return true;
}

static JsonToken string_token(JsonReader *r, JsonToken token)
{
    size_t begin = ++r->at, end = begin;
    while (end < r->size && r->text[end] != '"') end += r->text[end] == '\\' ? 2 : 1;
    if (end >= r->size) return fail(r, JSON_SYNTAX, "a string has no end");
    /* No escape is shorter than what it stands for, so the text's own length is room enough. */
    if (!reserve(r, end - begin + 4)) return JSON_ERROR;
    size_t out = 0;
    r->lone_surrogate = false;
    while (r->at < end) {
        uint8_t c = (uint8_t)r->text[r->at];
        if (c < 0x20) return fail(r, JSON_SYNTAX, "a control character stands in a string");
        if (c != '\\') {
            size_t n = utf8_sequence((const uint8_t *)r->text + r->at, end - r->at);
            if (!n) return fail(r, JSON_UTF8, "a string is not valid UTF-8");
            memcpy(r->buffer + out, r->text + r->at, n);
            out += n;
            r->at += n;
            continue;
        }
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        char kind = r->text[r->at + 1];
        r->at += 2;
        const char *simple = kind ? strchr(from, kind) : NULL;
        uint32_t character;
        if (simple)
            r->buffer[out++] = to[simple - from];
        else if (kind == 'u' && unicode_escape(r, &character))
            out += put_utf8(r->buffer + out, character);
        else
            return fail(r, JSON_SYNTAX, "an escape in a string is unknown");
    }
    r->at = end + 1;
    r->buffer[out] = 0;
    r->string = r->buffer;
    r->length = out;
    return token;
}

static bool is_digit(const JsonReader *r, size_t at)
{
    return at < r->size && r->text[at] >= '0' && r->text[at] <= '9';
}

static JsonToken number_token(JsonReader *r)
{
    size_t begin = r->at, at = begin;
    if (r->text[at] == '-') at++;
    if (!is_digit(r, at)) return fail(r, JSON_SYNTAX, "a value was expected");
    if (r->text[at] == '0')
        at++;
    else
        while (is_digit(r, at)) at++;
    if (at < r->size && r->text[at] == '.') {
        if (!is_digit(r, ++at)) return fail(r, JSON_SYNTAX, "a digit was expected after the decimal point");
        while (is_digit(r, at)) at++;
    }
    if (at < r->size && (r->text[at] == 'e' || r->text[at] == 'E')) {
        at++;
        if (at < r->size && (r->text[at] == '+' || r->text[at] == '-')) at++;
        if (!is_digit(r, at)) return fail(r, JSON_SYNTAX, "a digit was expected in the exponent");
        while (is_digit(r, at)) at++;
    }
    if (!reserve(r, at - begin + 1)) return JSON_ERROR;
    memcpy(r->buffer, r->text + begin, at - begin);
    r->buffer[at - begin] = 0;
    r->string = r->buffer;
    r->length = at - begin;
    r->at = at;
    return JSON_NUMBER;
}

static JsonToken word_token(JsonReader *r)
{
    static const struct {
        const char *word;
        JsonToken token;
    } words[] = {{"true", JSON_TRUE}, {"false", JSON_FALSE}, {"null", JSON_NULL}};
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(words[i].word);
        if (r->size - r->at >= length && memcmp(r->text + r->at, words[i].word, length) == 0) {
            r->at += length;
            return words[i].token;
        }
    }
    return fail(r, JSON_SYNTAX, "a value was expected");
}

static JsonToken open_level(JsonReader *r, JsonToken token)
{
    if (r->depth >= r->max_depth) return fail(r, JSON_DEPTH, "it is nested too deeply");
    r->kind[r->depth++] = (uint8_t)token;
    r->at++;
    r->state = token == JSON_OBJECT ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
    return token;
}

static JsonToken close_level(JsonReader *r)
{
    JsonToken token = r->kind[--r->depth] == JSON_OBJECT ? JSON_OBJECT_END : JSON_ARRAY_END;
    r->at++;
    r->state = r->depth ? WANT_COMMA_OR_END : WANT_NOTHING;
    return token;
}

JsonToken json_next(JsonReader *r)
{
    if (r->error != JSON_FINE) return JSON_ERROR;
    r->string = "";
    r->length = 0;
    skip_space(r);
    if (r->state == WANT_NOTHING) {
        return r->at == r->size ? JSON_END : fail(r, JSON_SYNTAX, "there is text after the end");
    }
    if (r->at == r->size) return fail(r, JSON_SYNTAX, "the text ends too early");

    char c = r->text[r->at];
    bool in_object = r->depth && r->kind[r->depth - 1] == JSON_OBJECT;
    char closing = in_object ? '}' : ']';
    if (r->state == WANT_COMMA_OR_END) {
        if (c == closing) return close_level(r);
        if (c != ',') return fail(r, JSON_SYNTAX, "a comma or a closing bracket was expected");
        r->at++;
        skip_space(r);
        if (r->at == r->size) return fail(r, JSON_SYNTAX, "the text ends too early");
        c = r->text[r->at];
        r->state = in_object ? WANT_KEY : WANT_VALUE;
    } else if (r->state == WANT_KEY_OR_END || r->state == WANT_VALUE_OR_END) {
        if (c == closing) return close_level(r);
        r->state = in_object ? WANT_KEY : WANT_VALUE;
    }

    if (r->state == WANT_KEY) {
        if (c != '"') return fail(r, JSON_SYNTAX, "a key was expected");
        if (string_token(r, JSON_KEY) == JSON_ERROR) return JSON_ERROR;
        skip_space(r);
        if (r->at == r->size || r->text[r->at] != ':') return fail(r, JSON_SYNTAX, "a colon was expected after a key");
        r->at++;
        r->state = WANT_VALUE;
        return JSON_KEY;
    }

    if (c == '{') return open_level(r, JSON_OBJECT);
    if (c == '[') return open_level(r, JSON_ARRAY);
    JsonToken token = c == '"'                             ? string_token(r, JSON_STRING)
                      : c == '-' || (c >= '0' && c <= '9') ? number_token(r)
                                                           : word_token(r);
    r->state = r->depth ? WANT_COMMA_OR_END : WANT_NOTHING;
    return token;
}

bool json_skip(JsonReader *r, JsonToken first)
{
    if (first == JSON_ERROR || first == JSON_END) return false;
    if (first != JSON_OBJECT && first != JSON_ARRAY) return true;
    int outside = r->depth - 1;
    while (r->depth > outside) {
        if (json_next(r) == JSON_ERROR) return false;
    }
    return true;
}

bool json_whole_number(const char *text, size_t length, int64_t *value, bool *overflow)
{
    *overflow = false;
    *value = 0;
    if (!length) return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
    }
    for (size_t i = 0; i < length; i++) {
        int digit = text[i] - '0';
        if (*value > (INT64_MAX - digit) / 10) {
            *overflow = true;
            return false;
        }
        *value = *value * 10 + digit;
    }
    return true;
}
