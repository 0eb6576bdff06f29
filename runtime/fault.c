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

upres_status fault_early_end(Fault *f, int64_t missing, int64_t frames)
{
    if (missing < 0) return UPRES_OK;
    return fault(f, UPRES_E_INPUT,
                 "the clip ends before frame %lld, but was announced with %lld frames; push it, or open the session with the true "
                 "number",
                 (long long)missing, (long long)frames);
}
