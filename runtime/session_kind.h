/*
 * The two kinds of session behind upres_session_*: what they share, and the functions in which they differ.
 */
#ifndef UPRES_RUNTIME_SESSION_KIND_H
#define UPRES_RUNTIME_SESSION_KIND_H

#include "runtime/pipeline.h"
#include "runtime/session.h"

/* Functions of one system. job: what open left in upres_session.job. */
typedef struct SessionKind {
    /* Put the system's defaults into checked options; refuse what it does not take. */
    upres_status (*settle)(upres_options *o, Fault *f);
    /* Networks, memory, pipeline: fills in job, width, height, channels, peak_bytes. Cleaned up by close also when it fails. */
    upres_status (*open)(upres_session *s, const WeightSet *w, Fault *f);
    void (*close)(void *job);                               /* NULL is allowed */
    bool (*select)(void *job, int64_t first, int64_t last); /* false: no memory */
    int64_t (*wants)(void *job);
    int64_t (*latency)(void *job);
    upres_status (*push)(void *job, const void *data, ptrdiff_t stride, Fault *f);
    upres_status (*cut)(void *job, Fault *f);
    upres_status (*drain)(void *job, Fault *f);
    upres_status (*pull)(void *job, PipelineResult *r, Fault *f);
    /* The whole plan of a job; settled options. The device's rate is in the report already. */
    upres_status (*plan)(const WeightSet *w, const upres_options *o, const upres_clip *clip, upres_plan_report *r,
                         Fault *f);
} SessionKind;

extern const SessionKind session_seedvr2, session_flashvsr;

/* The kind that the weights ask for; NULL and a fault when they hold transformers of both. */
const SessionKind *session_kind(const WeightSet *w, Fault *f);

struct upres_session {
    upres_options options; /* settled */
    upres_clip clip;
    const SessionKind *kind;
    void *job;

    int width, height, channels, bits, dither; /* of results */
    void *codes;                               /* the result that was given out last */
    bool pushed;

    /* the course of things */
    double opened, since;           /* since: when the present activity began */
    int activity;                   /* PipelinePhase, or -1: none */
    double spent[PHASE_COUNT];      /* seconds of the present batch or chunk */
    double flop_part;               /* done of it */
    double flop_done, flop_total;   /* of whole ones; total 0: not known */
    int64_t results, results_total; /* total 0: not known */
    uint64_t peak_bytes;
};

/* The time that passes from now on is spent on an activity (PipelinePhase; -1: none of the library's). */
void session_turn_to(upres_session *s, int activity);
/* Which frames the clip's ranges ask for; the caller frees it. False: no memory. */
bool session_schedule(const upres_options *o, const upres_clip *clip, bool whole_slices, Schedule *schedule, Fault *f);
upres_status session_no_frames(const upres_clip *clip, Fault *f); /* says that the ranges have none of the clip's */
/* In which form a device may give results, of so many channels. */
PictureForm session_codes(const upres_options *o, const upres_clip *clip, int channels);
/* A line of one pixel across a result, unit [3][height][width]: row `at`, or column `at`; outside the picture nothing. */
void session_draw_line(const upres_session *s, float *rgb, bool column, int at);
/* Tell the caller, unless no activity is going on. */
void session_report(upres_session *s, double phase_done);

#endif
