#include "tools/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/json_out.h"
#include "tools/platform.h"

/* Seconds between reports: often enough to look alive, rarely enough to leave a log readable. */
static const double terminal_interval = 0.1, plain_interval = 5, json_interval = 1;

static double seconds_since_start(const Progress *g)
{
    return clock_seconds() - g->started;
}

/* Seconds left by the share of operations done, or by frames; below 0: not known yet. */
static double time_left(const Progress *g, const upres_progress *u, double seconds)
{
    double share = u->work_done;
    if (share <= 0 && g->frames_total > 0) share = (double)g->frames_done / (double)g->frames_total;
    return share > 0.001 ? seconds * (1 - share) / share : -1;
}

static void report_json(const Progress *g, const upres_progress *u, FILE *f, double rate, double left)
{
    fputs("{\"type\":\"progress\",\"phase\":", f);
    json_string(f, u->phase);
    fprintf(f, ",\"frame\":%" PRId64 ",\"of\":%" PRId64 ",\"fps\":", g->frames_done, g->frames_total);
    json_number(f, rate);
    fputs(",\"eta\":", f);
    if (left >= 0)
        json_number(f, left);
    else
        fputs("null", f);
    fprintf(f, ",\"peak_bytes\":%" PRIu64 "}\n", g->peak_bytes);
    fflush(f);
}

static void report_text(Progress *g, const upres_progress *u, double rate, double left)
{
    char eta[32] = "-:--";
    long s = (long)(left + 0.5);
    if (left >= 0 && s < 360000) snprintf(eta, sizeof eta, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    fprintf(stderr, "%s%s %3.0f %%  frame %" PRId64 "/%" PRId64 "  %.2f frames/s  ETA %s  peak %.0f MiB%s",
            g->rewrite ? "\r\033[K" : "upres: ", u->phase, 100 * u->phase_done, g->frames_done, g->frames_total, rate,
            eta, (double)g->peak_bytes / (1 << 20), g->rewrite ? "" : "\n");
    fflush(stderr);
    g->console->line_open = g->rewrite;
}

static void report(void *user, const upres_progress *u)
{
    Progress *g = user;
    g->peak_bytes = u->peak_bytes;
    if (g->library_counts) g->frames_done = u->frames_done;
    double seconds = seconds_since_start(g);
    double interval = g->mode == PROGRESS_JSON ? json_interval : g->rewrite ? terminal_interval : plain_interval;
    bool news = g->mode == PROGRESS_JSON && g->frames_done > g->frames_shown;
    if (g->mode == PROGRESS_NONE || (!news && seconds - g->shown < interval)) return;
    g->shown = seconds;
    g->frames_shown = g->frames_done;
    double rate = seconds > 0 ? (double)g->frames_done / seconds : 0;
    double left = time_left(g, u, seconds);
    /* with --json everything a program reads comes on stdout; otherwise stdout is left alone */
    if (g->mode == PROGRESS_JSON)
        report_json(g, u, g->console->json ? stdout : stderr, rate, left);
    else
        report_text(g, u, rate, left);
}

static void forward_log(void *user, upres_log_level level, const char *sentence)
{
    Progress *g = user;
    console_log(g->console, level, sentence);
}

static int stop_asked(void *user)
{
    (void)user;
    return signals_caught() != 0;
}

void progress_start(Progress *g, Job *job, int64_t frames_total)
{
    *g = (Progress){.console = &job->console, .mode = (ProgressMode)job->progress, .frames_total = frames_total};
    if (g->mode == PROGRESS_AUTO) g->mode = job->json ? PROGRESS_JSON : job->quiet ? PROGRESS_NONE : PROGRESS_PLAIN;
    g->rewrite = g->mode == PROGRESS_PLAIN && job->progress == PROGRESS_AUTO && terminal_rewrites(stderr);
    g->started = clock_seconds();
    job->library.user = g;
    job->library.log = forward_log;
    job->library.progress = report;
    job->library.cancel = stop_asked;
    signals_catch();
}

bool progress_problem(const Progress *g, upres_status status, const Problem *own, Problem *p)
{
    int signal = signals_caught();
    if (own->status != 0) {
        *p = *own;
        return false;
    }
    if (status == UPRES_E_CANCELLED || signal != 0)
        return problem(p, 128 + signal,
                       "stopped by a signal after %" PRId64 " of %" PRId64
                       " frames; whole files stay, and --skip-existing goes on from there",
                       g->frames_done, g->frames_total);
    return problem_library(p, status);
}

void progress_finish(Progress *g, const char *verb, const char *what, const char *output, size_t skipped)
{
    double seconds = seconds_since_start(g);
    double rate = seconds > 0 ? (double)g->frames_done / seconds : 0;
    uint64_t peak = process_peak_bytes();
    char kept[64] = "";
    if (skipped > 0) snprintf(kept, sizeof kept, ", %zu kept that existed", skipped);
    if (g->console->json) {
        fputs("{\"type\":\"result\",\"verb\":", stdout);
        json_string(stdout, verb);
        fputs(",\"output\":", stdout);
        json_string(stdout, output);
        printf(",\"frames\":%" PRId64 ",\"skipped\":%zu,\"seconds\":", g->frames_done, skipped);
        json_number(stdout, seconds);
        fputs(",\"fps\":", stdout);
        json_number(stdout, rate);
        printf(",\"peak_bytes\":%" PRIu64 "}\n", peak);
    } else {
        console_note(g->console, "%" PRId64 " frame%s %s in %.1f s (%.2f frames/s)%s, peak memory %.0f MiB", g->frames_done,
                     g->frames_done == 1 ? "" : "s", what, seconds, rate, kept, (double)peak / (1 << 20));
    }
}
