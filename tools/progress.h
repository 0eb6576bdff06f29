/* What a running job tells: phase, frames, frames a second, time left, memory. And how it is stopped. */
#ifndef UPRES_TOOLS_PROGRESS_H
#define UPRES_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/options.h"

typedef struct Progress {
    Console *console;
    ProgressMode mode; /* never PROGRESS_AUTO */
    bool rewrite;      /* on a terminal: one line, written over */
    double started, shown;
    int64_t frames_done, frames_total; /* results; counted by the verb, which knows what it asked for ... */
    bool library_counts;               /* ... or, when set, taken from the library's reports */
    int64_t frames_shown;
    uint64_t peak_bytes;
} Progress;

/* Becomes the receiver of job->library's callbacks; both must outlive the session. Catches signals. */
void progress_start(Progress *g, Job *job, int64_t frames_total);
/*
 * The problem of a stage or session that failed, or of a signal that stopped it: 129, 130 and 143 as shells expect them.
 * own: what a callback of the command met first, status 0 when nothing.
 */
bool progress_problem(const Progress *g, upres_status status, const Problem *own, Problem *p);
/* The closing sentence on stderr, or the result line of --json. what: "upscaled", ...; skipped: results kept. */
void progress_finish(Progress *g, const char *verb, const char *what, const char *output, size_t skipped);

#endif
