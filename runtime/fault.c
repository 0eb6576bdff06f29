#include "runtime/fault.h"

#include <stdarg.h>
#include <stdio.h>

upres_status fault(Fault *f, upres_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
    for (char *c = f->text; *c; c++)
        if ((unsigned char)*c < 32) *c = '?'; /* one sentence is one line */
    return f->status = status;
}
