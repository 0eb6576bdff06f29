/*
 * Tests whose cases are processes of their own (child.h): a case complains, as often as it finds something wrong, and is told
 * in a line.
 */
#ifndef UPRES_TESTS_CASE_H
#define UPRES_TESTS_CASE_H

#include <stdbool.h>

extern int passed, failed, skipped;
extern int complaints;  /* of the case that runs */
extern char said[8192]; /* the last sentence that something was answered with */

void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) complain("line %d: %s is false; last sentence: %s", __LINE__, #condition, said);             \
    } while (0)

enum { CASE_SKIPPED = 101 };
/* Ends a case's process, which could not do its work here. */
_Noreturn void skip(const char *why);
/* A case's process, as ChildRun: its complaints, at most 100. */
int case_counted(void (*body)(void));
/* A process that is a case, or a part of one: its complaints, CASE_SKIPPED or CHILD_CRASHED. */
int case_run(void (*body)(void));
/* Counts and tells how it went; fine: without what only the caller saw. settings: "" or what stands behind the name. */
void case_tell(int status, bool fine, const char *name, const char *settings);

#endif
