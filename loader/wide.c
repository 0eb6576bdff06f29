#include "loader/wide.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

bool wide_text(const char *text, wchar_t wide[WIDE_MOST])
{
    return MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide, WIDE_MOST) != 0;
}

bool narrow_text(const wchar_t *wide, char *text, size_t size)
{
    if (WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, (int)size, NULL, NULL) != 0) return true;
    if (size > 0) text[0] = '\0';
    return false;
}
#endif
