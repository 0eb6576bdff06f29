/*
 * What the command says: one sentence a failure, notes, and the exit codes. Functions below the verbs never print; they
 * fill in a Problem, and the verb hands it to console_fail(), so that every complaint reads alike.
 */
#ifndef UPRES_TOOLS_CONSOLE_H
#define UPRES_TOOLS_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/upres.h"

enum {
    EXIT_FINE = 0,
    EXIT_FAILED = 1, /* while running: output not writable, disk full, device failure */
    EXIT_USAGE = 2,  /* an option is unknown, out of range, contradicts another; an output exists already */
    EXIT_INPUT = 3,  /* a model, text or frame is missing, broken, or wrong for the verb */
    EXIT_MEMORY = 33 /* the number farm managers read as "needs more memory" */
};

#if defined(__GNUC__)
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#else
#define PRINTF_LIKE(text, first)
#endif

typedef struct Problem {
    int status; /* an exit code */
    char text[2048];
} Problem;

/* Fill in and return false, for `return problem(...)`. */
bool problem(Problem *p, int status, const char *format, ...) PRINTF_LIKE(3, 4);
/* The library's last error of this thread, with the exit code of its status. */
bool problem_library(Problem *p, upres_status status);

typedef struct Console {
    bool json;      /* results, progress and errors as JSON lines on stdout */
    bool quiet;     /* errors only */
    bool verbose;
    bool line_open; /* a progress line without its end stands on the terminal */
} Console;

/* Print the sentence as one line on stderr (and as JSON on stdout when asked for); gives back the exit code. */
int console_fail(Console *c, const Problem *p);
/* One line on stderr, unless quiet. */
void console_note(Console *c, const char *format, ...) PRINTF_LIKE(2, 3);
/* For upres_options.log; user: a Console. Errors are left to console_fail. */
void console_log(void *user, upres_log_level level, const char *sentence);
/* Flush stdout and tell whether all of it was written: a result that did not reach a full disk is no success. */
int console_finish(Console *c, int status);

/* Memory for the command itself; ends the program with EXIT_MEMORY when there is none. Freed with free(). */
void *need_memory(size_t size);
void *need_more(void *block, size_t size);
char *new_text(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
