/*
 * Which batches a job computes, which source frames they need, and which results are given out.
 *
 * The batch grid lies over the whole clip, extended in front by `prepend` mirrored frames ("positions", from 0). What is
 * asked for only decides which batches of that grid run, so jobs done apart give the pixels of one job. A slice is what
 * one batch owns: the frames it was the first to compute. Pure logic; knows no pixel.
 */
#ifndef UPRES_RUNTIME_SCHEDULE_H
#define UPRES_RUNTIME_SCHEDULE_H

#include "runtime/batch.h"

typedef struct FrameRange {
    int64_t first, last; /* source frames, both counted */
} FrameRange;

typedef struct Schedule {
    BatchPlan plan; /* over positions; while the end is not known, of a clip that never ends */
    int64_t frames; /* source frames; -1: not known yet */
    int64_t seen;   /* while it is not known: frames that are certain to exist */
    int prepend;
    bool whole_slices;  /* results of a slice depend on all of it */
    FrameRange *wanted; /* sorted and apart once sealed; none: everything */
    size_t wanted_count, wanted_capacity;
} Schedule;

/* frames: 0 for not known. */
void schedule_init(Schedule *s, int64_t frames, int batch_size, int overlap, bool uniform, int prepend,
                   bool whole_slices);
void schedule_free(Schedule *s);

bool schedule_select(Schedule *s, int64_t first, int64_t last); /* false: no memory */
void schedule_seal(Schedule *s);                                /* after the last select, before anything below */
void schedule_end(Schedule *s, int64_t frames);                 /* now the number of frames is known */

/* The first batch at or after k that has to run; -1: none. */
int64_t schedule_next_batch(const Schedule *s, int64_t k);

/* How many batches run (the end must be known); *last: whether the clip's last one, which may be shorter, is among them. */
int64_t schedule_batch_count(const Schedule *s, bool *last);

/* Is it certain how far batch k reaches and what its frames are, whatever may still come? */
bool schedule_settled(const Schedule *s, int64_t k);

/* The first position at or after which the batch following k may still change results; a batch that is the last: INT64_MAX. */
int64_t schedule_final_from(const Schedule *s, int64_t k);

int64_t schedule_slice_end(const Schedule *s, int64_t position); /* of the slice that owns a position */
bool schedule_keeps(const Schedule *s, int64_t position);      /* is its result given out, or needed for one that is? */
bool schedule_gives(const Schedule *s, int64_t position);      /* is its result given out? */
int64_t schedule_last_kept(const Schedule *s, const Batch *b); /* last position of a batch that is kept */

int64_t schedule_source(const Schedule *s, int64_t position); /* source frame that stands there */
/* The first source frame after `after` (-1: from the first) to be handed over; -1: none. While the end is not known
 * every frame is, in turn. */
int64_t schedule_next_source(const Schedule *s, int64_t after);

/* How many results are given out (the end must be known). */
int64_t schedule_results(const Schedule *s);

/* Source frames after which the first result is certain to be there. ahead: batches beyond that result's own that have to be
 * there before. */
int64_t schedule_latency(const Schedule *s, int ahead);

#endif
