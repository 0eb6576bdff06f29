/*
 * What a job would need, told before it begins.
 */
#ifndef UPRES_RUNTIME_PLAN_H
#define UPRES_RUNTIME_PLAN_H

#include "runtime/fault.h"
#include "runtime/models/seedvr2_vae.h"

/* As upres_plan; options checked, clip and report complete. */
upres_status plan_job(const WeightSet *w, const upres_options *o, upres_job job, const upres_clip *clip,
                      upres_plan_report *report, Fault *f);

/* Operations a second of a matrix product on the cpu with these options, measured in about 50 ms; 0: could not be. describe
 * receives the device's text. */
double plan_measure_rate(const upres_options *o, char *describe, size_t size);

#endif
