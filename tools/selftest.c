/* upres selftest: every kernel against the plain C version, as a table, and as a report to paste into a bug report. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/json_out.h"
#include "tools/options.h"
#include "tools/platform.h"
#include "tools/sequence.h"
#include "tools/verbs.h"

typedef struct Selftest {
    Job *job;
    OutputFile report; /* grows line by line, so that REPORT.part tells how far a crash let it come */
    uint64_t written;
    Problem *problem;
    bool stopped; /* the report cannot be written: *problem says why */
    size_t ok, failed;
} Selftest;

/* To the report, when there is one. */
static void report(Selftest *s, const char *text)
{
    if (s->report.handle < 0 || s->stopped) return;
    const size_t size = strlen(text);
    s->stopped = !writefile_put(&s->report, s->written, text, size, s->problem);
    s->written += size;
}

/* A line, or some of them, of the table. */
static void tell(Selftest *s, const char *format, ...) PRINTF_LIKE(2, 3);
static void tell(Selftest *s, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!s->job->json) fputs(text, stdout);
    report(s, text);
}

static void begin_report(Selftest *s)
{
    char date[40], about[8192];
    clock_date(date, sizeof date);
    if (upres_about(about, sizeof about) != UPRES_OK) about[0] = '\0';
    report(s, "upres selftest, ");
    report(s, date);
    report(s, "\n\n");
    report(s, about);
    report(s, "\n");
}

static void json_result(const upres_selftest_result *r)
{
    fputs("{\"type\":\"result\",\"verb\":\"selftest\",\"name\":", stdout);
    json_string(stdout, r->name);
    fputs(",\"device\":", stdout);
    json_string(stdout, r->device);
    fputs(",\"version\":", stdout);
    json_string(stdout, r->version);
    fputs(",\"error\":", stdout);
    json_number(stdout, r->error);
    fputs(",\"allowed\":", stdout);
    json_number(stdout, r->allowed);
    printf(",\"ok\":%s,\"seconds\":%.6g,\"problem\":", r->ok ? "true" : "false", r->seconds);
    json_string(stdout, r->problem);
    puts("}");
}

static int show_result(void *user, const upres_selftest_result *r)
{
    Selftest *s = user;
    char error[32] = "-", allowed[32] = "-";
    if (isfinite(r->error) || r->allowed > 0) {
        snprintf(error, sizeof error, "%.1e", r->error);
        snprintf(allowed, sizeof allowed, "%.1e", r->allowed);
    }
    if (s->ok + s->failed == 0)
        tell(s, "%-35s %-7s %-7s %8s %8s  %-4s %9s\n", "case", "device", "version", "error", "allowed", "", "ms");
    *(r->ok ? &s->ok : &s->failed) += 1;
    tell(s, "%-35s %-7s %-7s %8s %8s  %-4s %9.1f\n", r->name, r->device, r->version, error, allowed, r->ok ? "ok" : "FAIL",
         r->seconds * 1e3);
    if (!r->ok) tell(s, "    %s\n", r->problem);
    if (s->job->json) json_result(r);
    fflush(stdout);
    return signals_caught() != 0 || ferror(stdout) || s->stopped;
}

static bool finish(Selftest *s, Problem *p)
{
    const char *path = s->job->report;
    tell(s, "%zu ok, %zu failed\n", s->ok, s->failed);
    if (s->job->json) printf("{\"type\":\"result\",\"verb\":\"selftest\",\"passed\":%zu,\"failed\":%zu}\n", s->ok, s->failed);
    if (s->stopped || (path != NULL && !writefile_commit(&s->report, p))) return false;
    if (s->failed == 0) return true;
    return problem(p, EXIT_FAILED, "%zu of %zu cases failed; %s what a bug report needs", s->failed, s->ok + s->failed,
                   path != NULL ? "the report holds" : "--report FILE writes");
}

static bool run(Selftest *s, Problem *p)
{
    Job *job = s->job;
    bool skip;
    if (job->operand_count > 1)
        return problem(p, EXIT_USAGE, "unexpected argument \"%s\"; selftest takes one pattern", job->operands[1]);
    if (job->report != NULL && !output_file_check(job->report, job, &skip, p)) return false;
    if (job->report != NULL && !writefile_create(&s->report, job->report, p)) return false;
    begin_report(s);
    signals_catch();
    const upres_status status = upres_selftest(&job->library, job->operand_count > 0 ? job->operands[0] : NULL, s, show_result);
    if (signals_caught() != 0)
        return problem(p, 128 + signals_caught(), "stopped by a signal after %zu cases", s->ok + s->failed);
    if (ferror(stdout)) return true; /* console_finish() tells, once and for every verb */
    if (status != UPRES_OK) return problem_library(p, status);
    return finish(s, p);
}

static bool selftest(Job *job, int argc, char **argv, Problem *p)
{
    if (!job_parse(job, VERB_SELFTEST, argc, argv, p)) return false;
    if (job->help) {
        verb_usage(VERB_SELFTEST);
        return true;
    }
    Selftest s = {.job = job, .report.handle = -1, .problem = p};
    const bool fine = run(&s, p);
    writefile_abandon(&s.report);
    return fine;
}

int verb_selftest(int argc, char **argv)
{
    return job_run(selftest, argc, argv);
}
