/* JSON text on a stream. Callers write braces and commas themselves; these write what needs care. */
#ifndef UPRES_TOOLS_JSON_OUT_H
#define UPRES_TOOLS_JSON_OUT_H

#include <stdio.h>

/* A quoted string; bytes that are no UTF-8 (file names may hold them) become U+FFFD. */
void json_string(FILE *f, const char *text);
/* A number; what JSON cannot hold (infinite, not a number) becomes null. */
void json_number(FILE *f, double value);

#endif
