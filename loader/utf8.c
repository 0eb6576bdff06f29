#include "loader/utf8.h"

size_t utf8_sequence(const uint8_t *p, size_t left)
{
    uint8_t first = p[0];
    if (first < 0x80) return 1;
    size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (!length || length > left) return 0;
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    /* The second byte alone tells overlong forms, surrogates and values past U+10FFFF. */
    if (first == 0xe0 && p[1] < 0xa0) return 0;
    if (first == 0xed && p[1] > 0x9f) return 0;
    if (first == 0xf0 && p[1] < 0x90) return 0;
    if (first == 0xf4 && p[1] > 0x8f) return 0;
    return length;
}

bool utf8_valid(const uint8_t *p, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t n = utf8_sequence(p + at, size - at);
        if (!n) return false;
        at += n;
    }
    return true;
}
