/*
 * Names for Windows: here all text is UTF-8, there it is UTF-16, or else of a code page that lacks most letters. Windows
 * alone.
 */
#ifndef UPRES_LOADER_WIDE_H
#define UPRES_LOADER_WIDE_H

#ifdef _WIN32
#include <stdbool.h>
#include <stddef.h>

enum { WIDE_MOST = 4096 };
/* False: it is not UTF-8, or too long. */
bool wide_text(const char *text, wchar_t wide[WIDE_MOST]);
/* False, and text is "": it does not fit. */
bool narrow_text(const wchar_t *wide, char *text, size_t size);
#endif

#endif
