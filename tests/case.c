#include "tests/case.h"

#include "tests/child.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { COMPLAINTS_MOST = 100, SECONDS_MOST = 300 };

int passed, failed, skipped, complaints;
char said[8192];

void complain(const char *format, ...)
{
    char text[1000]; /* logs of compilers are long */
    va_list list;
    complaints++;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    printf("  %s\n", text);
}

void skip(const char *why)
{
    printf("  %s\n", why);
    fflush(stdout);
    _exit(CASE_SKIPPED);
}

int case_counted(void (*body)(void))
{
    complaints = 0;
    body();
    return complaints > COMPLAINTS_MOST ? COMPLAINTS_MOST : complaints;
}

int case_run(void (*body)(void)) { return child_run(SECONDS_MOST, case_counted, body); }

void case_tell(int status, bool fine, const char *name, const char *settings)
{
    const bool ok = status == 0 && fine, left_out = status == CASE_SKIPPED;
    printf("%s %s", ok ? "ok  " : left_out ? "skip" : "FAIL", name);
    printf(*settings ? " (%s)\n" : "%s\n", settings);
    passed += ok;
    skipped += left_out;
    failed += !ok && !left_out;
}
