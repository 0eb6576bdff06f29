/*
 * Sentences for the caller's log that other threads than the caller's have to say: posted by any of them, told by the
 * caller's.
 */
#ifndef UPRES_RUNTIME_MAILBOX_H
#define UPRES_RUNTIME_MAILBOX_H

#include "runtime/upres.h"

typedef struct Mailbox Mailbox;

Mailbox *mailbox_open(void); /* NULL: no memory */
void mailbox_close(Mailbox *m); /* NULL is allowed */
/* from: what the sentence is preceded by; NULL: nothing. Lost where there is no memory. */
void mailbox_post(Mailbox *m, upres_log_level level, const char *from, const char *sentence);
/* Everything posted so far to the callback of these options, in its order. */
void mailbox_tell(Mailbox *m, const upres_options *o);

#endif
