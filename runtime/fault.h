/*
 * A failure on its way to the caller: a status for programs and one sentence for people.
 * A Fault belongs to the call it is passed to; nothing in it is shared between threads.
 */
#ifndef UPRES_RUNTIME_FAULT_H
#define UPRES_RUNTIME_FAULT_H

#include "runtime/upres.h"

typedef struct Fault {
    upres_status status; /* UPRES_OK until a failure is noted */
    char text[1024];
    uint64_t needed; /* UPRES_E_MEMORY of a plan: bytes that would have sufficed; 0: not known */
} Fault;

/* Note a failure; returns `status`, so that a caller can write `return fault(...)`. Control characters of names that came
 * from outside are shown as '?'. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
upres_status
fault(Fault *f, upres_status status, const char *format, ...);

/* Of a clip that was announced with so many frames and ends before it gave frame `missing`; below 0: it gave all, no fault. */
upres_status fault_early_end(Fault *f, int64_t missing, int64_t frames);

#endif
