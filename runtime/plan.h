/*
 * What a job would need, told before it begins.
 */
#ifndef UPRES_RUNTIME_PLAN_H
#define UPRES_RUNTIME_PLAN_H

#include "runtime/cost.h"

/* As upres_plan; options checked, clip and report complete. */
upres_status plan_job(const WeightSet *w, const upres_options *o, upres_job job, const upres_clip *clip,
                      upres_plan_report *report, Fault *f);

/* For whoever fills a report in: one more phase with its share of memory and its operations; the tiles of one half of
 * the autoencoder (none when there is but one a frame). */
void plan_add_phase(upres_plan_report *r, const char *name, const PhaseCost *memory, double flop);
/* Another for the image work, where a GPU has memory for it (r->picture_bytes). frame: what is predicted for each. */
void plan_add_pictures(upres_plan_report *r, const Prediction *frame);
/* Time of a phase whose equal pieces several devices share. */
void plan_share(upres_plan_report *r, size_t phase, int64_t pieces, int devices);
void plan_set_tiles(int32_t *tile, int32_t *overlap, int32_t *tiles, VaeTiles used, int count);

#endif
