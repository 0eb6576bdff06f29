/*
 * UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
 */
#ifndef UPRES_LOADER_UTF8_H
#define UPRES_LOADER_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at p, of which `left` > 0 bytes can be read; 0 when it is not valid. */
size_t utf8_sequence(const uint8_t *p, size_t left);
bool utf8_valid(const uint8_t *p, size_t size);

#endif
