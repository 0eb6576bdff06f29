#include "runtime/mailbox.h"

#include "runtime/options.h"
#include "runtime/sync.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct Letter {
    struct Letter *next;
    upres_log_level level;
    char text[600];
} Letter;

struct Mailbox {
    Lock lock;
    Letter *first, **last;
};

Mailbox *mailbox_open(void)
{
    Mailbox *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    lock_init(&m->lock);
    m->last = &m->first;
    return m;
}

static Letter *take_all(Mailbox *m)
{
    lock_take(&m->lock);
    Letter *first = m->first;
    m->first = NULL;
    m->last = &m->first;
    lock_give(&m->lock);
    return first;
}

static void free_letter(Letter **l)
{
    Letter *next = (*l)->next;
    free(*l);
    *l = next;
}

void mailbox_close(Mailbox *m)
{
    if (!m) return;
    for (Letter *l = take_all(m); l;) free_letter(&l);
    lock_free(&m->lock);
    free(m);
}

void mailbox_post(Mailbox *m, upres_log_level level, const char *from, const char *sentence)
{
    Letter *l = malloc(sizeof *l);
    if (!l) return;
    l->next = NULL;
    l->level = level;
    snprintf(l->text, sizeof l->text, "%s%s%s", from ? from : "", from ? ": " : "", sentence);
    lock_take(&m->lock);
    *m->last = l;
    m->last = &l->next;
    lock_give(&m->lock);
}

void mailbox_tell(Mailbox *m, const upres_options *o)
{
    for (Letter *l = take_all(m); l; free_letter(&l)) options_log(o, l->level, "%s", l->text);
}
