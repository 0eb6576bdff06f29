#include "tools/console.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/json_out.h"

bool problem(Problem *p, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(p->text, sizeof p->text, format, args);
    va_end(args);
    p->status = status;
    return false;
}

bool problem_library(Problem *p, upres_status status)
{
    int code = EXIT_FAILED;
    if (status == UPRES_E_ARGUMENT || status == UPRES_E_UNSUPPORTED) code = EXIT_USAGE;
    if (status == UPRES_E_INPUT) code = EXIT_INPUT;
    if (status == UPRES_E_MEMORY) code = EXIT_MEMORY;
    return problem(p, code, "%s", upres_last_error());
}

/* A name may hold any byte; a line stays one line and cannot drive the terminal. */
static void print_line(const char *text)
{
    fputs("upres: ", stderr);
    for (; *text != '\0'; text++) fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, stderr);
    fputc('\n', stderr);
}

static void end_progress_line(Console *c)
{
    if (!c->line_open) return;
    fputs("\r\033[K", stderr);
    c->line_open = false;
}

int console_fail(Console *c, const Problem *p)
{
    end_progress_line(c);
    print_line(p->text);
    if (c->json) {
        printf("{\"type\":\"error\",\"exit_code\":%d,\"message\":", p->status);
        json_string(stdout, p->text);
        puts("}");
        fflush(stdout);
    }
    return p->status;
}

void console_note(Console *c, const char *format, ...)
{
    if (c->quiet) return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    end_progress_line(c);
    print_line(text);
}

void console_log(void *user, upres_log_level level, const char *sentence)
{
    Console *c = user;
    if (level == UPRES_LOG_NOTE || (level == UPRES_LOG_INFO && c->verbose)) console_note(c, "%s", sentence);
}

int console_finish(Console *c, int status)
{
    bool written = fflush(stdout) == 0 && !ferror(stdout);
    if (written || status != EXIT_FINE) return status;
    Problem p;
    problem(&p, EXIT_FAILED, "standard output could not be written; the results above are not complete");
    c->json = false;
    return console_fail(c, &p);
}

static void out_of_memory(void)
{
    print_line(
        "out of memory for frames and names; fewer or smaller frames, or a machine with more memory, are needed");
    exit(EXIT_MEMORY);
}

void *need_memory(size_t size)
{
    void *block = calloc(1, size > 0 ? size : 1);
    if (block == NULL) out_of_memory();
    return block;
}

void *need_more(void *block, size_t size)
{
    void *grown = realloc(block, size > 0 ? size : 1);
    if (grown == NULL) out_of_memory();
    return grown;
}

char *new_text(const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = need_memory((size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}
