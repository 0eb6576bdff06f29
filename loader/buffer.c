#include "loader/buffer.h"

#include "loader/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void give_up(Buffer *b)
{
    free(b->text);
    *b = (Buffer){.failed = true};
}

/* Room for `more` bytes and a NUL. */
static bool reserve(Buffer *b, size_t more)
{
    if (b->failed) return false;
    if (more < b->room - b->length && b->room) return true;
    if (more > SIZE_MAX / 2 - b->length) {
        give_up(b);
        return false;
    }
    size_t room = b->room + b->room / 2;
    if (room < b->length + more + 1) room = b->length + more + 1;
    if (room < 64) room = 64;
    char *text = realloc(b->text, room);
    if (!text) {
        give_up(b);
        return false;
    }
    b->text = text;
    b->room = room;
    return true;
}

void buffer_add(Buffer *b, const void *bytes, size_t length)
{
    if (!reserve(b, length)) return;
    if (length) memcpy(b->text + b->length, bytes, length);
    b->length += length;
    b->text[b->length] = 0;
}

void buffer_printf(Buffer *b, const char *format, ...)
{
    char text[2048];
    va_list list;
    va_start(list, format);
    int length = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (length < 0) return;
    if ((size_t)length < sizeof text) {
        buffer_add(b, text, (size_t)length);
        return;
    }
    if (!reserve(b, (size_t)length)) return;
    va_start(list, format);
    vsnprintf(b->text + b->length, (size_t)length + 1, format, list);
    va_end(list);
    b->length += (size_t)length;
}

void buffer_json_string(Buffer *b, const char *text, size_t length)
{
    const uint8_t *p = (const uint8_t *)text;
    buffer_add(b, "\"", 1);
    for (size_t at = 0; at < length;) {
        uint8_t c = p[at];
        if (c == '"' || c == '\\') {
            char escaped[2] = {'\\', (char)c};
            buffer_add(b, escaped, 2);
            at++;
        } else if (c < 0x20 || c == 0x7f) {
            buffer_printf(b, "\\u%04x", c);
            at++;
        } else {
            size_t n = utf8_sequence(p + at, length - at);
            if (n) {
                buffer_add(b, p + at, n);
                at += n;
            } else {
                buffer_add(b, "\\ufffd", 6);
                at++;
            }
        }
    }
    buffer_add(b, "\"", 1);
}

void buffer_free(Buffer *b)
{
    free(b->text);
    *b = (Buffer){0};
}
