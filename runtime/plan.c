#include "runtime/plan.h"

#include "runtime/cuda/counts.h"
#include "runtime/cuda/predict.h"
#include "runtime/session_kind.h"
#include "runtime/stages.h"
#include "runtime/system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------- the device's rate */

enum { RATE_ROWS = 1024, RATE_COLUMNS = 512, RATE_FEW = 64 };

/* Products of so many rows, for 50 ms or once. */
static void multiply(Dev *d, const BoundWeight *w, int rows)
{
    Tensor x = dev_tensor(d, 1, 1, rows, RATE_COLUMNS), y = dev_tensor(d, 1, 1, rows, RATE_COLUMNS);
    float *values = dev_write(d, x);
    const bool counts = values != NULL;
    if (values) memset(values, 0, (size_t)rows * (size_t)x.c_pad * sizeof *values);
    dev_write_end(d, x, values);
    double began = system_seconds();
    LinearArgs a = {.x = x, .y = y, .weight = w};
    const int ahead = rows == RATE_ROWS ? 8 : 1; /* a GPU is told ahead what to do */
    do {
        for (int i = 0; i < ahead; i++) dev_linear(d, &a);
        dev_wait(d);
    } while (counts && dev_ok(d) && system_seconds() - began < 0.05);
    dev_free(d, &y);
    dev_free(d, &x);
}

/* Operations a second of a matrix product on the cpu with these options, measured in about 50 ms; 0: could not be.
 * describe receives the device's text. */
static double measure_rate(const upres_options *o, char *describe, size_t size)
{
    char error[256];
    double rate = 0;
    Device device;
    Fault ignored = {0}; /* a job on that device will say why not */
    if (!device_choose(o, &device, &ignored)) return 0;
    float *zeros = calloc((size_t)RATE_COLUMNS * RATE_COLUMNS, sizeof *zeros);
    WeightTensor stored = {.name = "rate",
                           .type = WT_F32,
                           .rank = 2,
                           .shape = {RATE_COLUMNS, RATE_COLUMNS},
                           .count = (int64_t)RATE_COLUMNS * RATE_COLUMNS,
                           .data = (const uint8_t *)zeros,
                           .bytes = (uint64_t)RATE_COLUMNS * RATE_COLUMNS * sizeof *zeros};
    BoundWeight w = {.tensor = &stored, .rank = 2, .shape = {RATE_COLUMNS, RATE_COLUMNS}, .count = stored.count};
    Dev *plan = zeros ? dev_plan_open(&device.setup) : NULL;
    if (plan) multiply(plan, &w, RATE_ROWS);
    Dev *d = plan ? dev_open(&device.setup, dev_totals(plan).arena_peak, error, sizeof error) : NULL;
    if (d) {
        multiply(d, &w, RATE_FEW); /* threads start, pages come */
        double flop = dev_totals(d).flop, began = system_seconds();
        multiply(d, &w, RATE_FEW);
        if (system_seconds() - began < 0.5) { /* else it is so slow that few rows tell */
            multiply(d, &w, RATE_ROWS);
            flop = dev_totals(d).flop;
            began = system_seconds();
            multiply(d, &w, RATE_ROWS);
        }
        if (dev_ok(d)) rate = (dev_totals(d).flop - flop) / (system_seconds() - began);
        snprintf(describe, size, "%s", dev_describe(d));
        dev_close(d);
    }
    if (plan) dev_close(plan);
    free(zeros);
    return rate;
}

/* -------------------------------------------------------------------------------------------------------- the report */

static void add_kernel(upres_plan_report *r, const PredictionLine *l, double times)
{
    if (r->kernel_count == sizeof r->kernels / sizeof r->kernels[0]) return;
    upres_plan_kernel *k = &r->kernels[r->kernel_count++];
    *k = (upres_plan_kernel){.phase = r->phase_count - 1, .launches = times * l->launches, .flop = times * l->flop,
                             .bytes = times * l->bytes, .seconds = times * l->seconds,
                             .seconds_published = times * l->published, .share = l->seconds > 0 ? l->limit / l->seconds : 0};
    snprintf(k->name, sizeof k->name, "%.31s", l->function);
    snprintf(k->bound, sizeof k->bound, "%s", bound_name(prediction_bound(l)));
}

static int longer(const void *a, const void *b)
{
    const double x = ((const PredictionLine *)a)->seconds, y = ((const PredictionLine *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* A phase's kernels, the longest first, and its time. */
static void add_prediction(upres_plan_report *r, upres_plan_phase *p, const Prediction *prediction, double times)
{
    Prediction sorted = *prediction;
    const PredictionLine sum = prediction_sum(prediction);
    qsort(sorted.line, (size_t)sorted.count, sizeof sorted.line[0], longer);
    for (int i = 0; i < sorted.count; i++) add_kernel(r, &sorted.line[i], times);
    p->seconds = times * sum.seconds;
    r->seconds_published += times * sum.published;
}

/* What a prediction for that device rests on. */
static void describe_model(upres_plan_report *r, const upres_options *o)
{
    Device d;
    Fault ignored = {0}; /* the job itself will say it */
    if (!device_choose(o, &d, &ignored)) return;
    if (cuda_counted())
        snprintf(r->model, sizeof r->model, "%.3f GHz, no limit of power; %s %.0f, %s %.0f FLOP a clock and SM (%s); L2 %.0f "
                 "bytes a clock and SM (%s); DRAM at %.0f %%; latency %.0f ns; %.0f us a launch", d.cuda.clock_ghz,
                 rate_name(RATE_BF16), rate_per_clock(&d.cuda, RATE_BF16), rate_name(RATE_INT8),
                 rate_per_clock(&d.cuda, RATE_INT8), rate_source(&d.cuda, RATE_INT8), rate_l2_bytes(&d.cuda),
                 rate_l2_source(&d.cuda), 100 * PREDICT_DRAM_REACH, PREDICT_LATENCY * 1e9, PREDICT_LAUNCH * 1e6);
    else
        snprintf(r->model, sizeof r->model, "no time is predicted: upres was built without a disassembler (nvdisasm, ptxas)");
}

void plan_add_phase(upres_plan_report *r, const char *name, const PhaseCost *memory, double flop)
{
    upres_plan_phase *p = &r->phases[r->phase_count++];
    *p = (upres_plan_phase){name, memory->arena_bytes, memory->weight_bytes, flop, 0};
    if (r->flop_per_second > 0) p->seconds = flop / r->flop_per_second;
    if (memory->prediction.longest.seconds > r->longest_seconds) {
        r->longest_seconds = memory->prediction.longest.seconds;
        snprintf(r->longest_kernel, sizeof r->longest_kernel, "%.31s", memory->prediction.longest.function);
    }
    if (r->model[0]) add_prediction(r, p, &memory->prediction, memory->flop > 0 ? flop / memory->flop : 1);
    r->flop += flop;
    r->seconds += p->seconds;
}

void plan_add_pictures(upres_plan_report *r, const Prediction *frame)
{
    PhaseCost cost = {.arena_bytes = r->picture_bytes};
    if (r->picture_bytes == 0) return;
    prediction_add(&cost.prediction, frame, (double)r->frames);
    plan_add_phase(r, "pictures", &cost, 0);
}

void plan_share(upres_plan_report *r, size_t phase, int64_t pieces, int devices)
{
    const int64_t rounds = (pieces + devices - 1) / devices;
    const double seconds = r->phases[phase].seconds * (double)rounds / (double)pieces;
    r->seconds += seconds - r->phases[phase].seconds;
    r->phases[phase].seconds = seconds;
}

void plan_set_tiles(int32_t *tile, int32_t *overlap, int32_t *tiles, VaeTiles used, int count)
{
    *tile = count > 1 ? used.tile_h : 0;
    *overlap = count > 1 ? used.overlap_h : 0;
    *tiles = count;
}

static upres_status plan_stage(const WeightSet *w, const upres_options *o, bool decode, const upres_clip *clip,
                               upres_plan_report *r, Fault *f)
{
    Stage s;
    if (!device_is_one(o, decode ? "decode" : "encode", f)) return f->status;
    if (stage_open(&s, w, o, decode, clip->height, clip->width, clip->frames, f) == UPRES_OK) {
        const TileChoice *c = &s.choice;
        r->resized_width = r->output_width = r->padded_width = clip->width;
        r->resized_height = r->output_height = r->padded_height = clip->height;
        if (decode) r->frames = s.frames;
        r->batches = 1;
        r->frames_computed = s.frames;
        if (decode)
            plan_set_tiles(&r->decode_tile, &r->decode_tile_overlap, &r->decode_tiles, c->tiles, s.tile_count);
        else
            plan_set_tiles(&r->encode_tile, &r->encode_tile_overlap, &r->encode_tiles, c->tiles, s.tile_count);
        plan_add_phase(r, decode ? "decode" : "encode", &c->cost, c->cost.flop);
        r->arena_bytes = c->cost.arena_bytes;
        r->weight_bytes = s.weight_bytes;
        r->fixed_bytes = s.fixed_bytes;
        r->limit_bytes = s.limit;
        r->host_peak_bytes = s.device.setup.cuda ? s.fixed_bytes : s.peak_bytes;
        snprintf(r->note, sizeof r->note, "%s", s.note);
    }
    stage_close(&s);
    return f->status;
}

static upres_status plan_upscale(const WeightSet *w, const upres_options *o, const upres_clip *clip,
                                 upres_plan_report *r, Fault *f)
{
    upres_options settled = *o;
    if (session_check_clip(clip, f) != UPRES_OK) return f->status;
    const SessionKind *kind = session_kind(w, f);
    if (!kind || kind->settle(&settled, f) != UPRES_OK) return f->status;
    return kind->plan(w, &settled, clip, r, f);
}

upres_status plan_job(const WeightSet *w, const upres_options *o, upres_job job, const upres_clip *clip,
                      upres_plan_report *report, Fault *f)
{
    char describe[80] = "cpu";
    *report = (upres_plan_report){.struct_size = sizeof *report,
                                  .source_width = clip->width,
                                  .source_height = clip->height,
                                  .frames = clip->frames};
    if (o->device_model) {
        snprintf(report->device, sizeof report->device, "%.40s, as described", o->device_model);
        describe_model(report, o);
    } else {
        report->flop_per_second = measure_rate(o, describe, sizeof describe);
        snprintf(report->device, sizeof report->device, "%.60s, %.0f GFLOP/s measured", describe,
                 report->flop_per_second * 1e-9);
        if (o->device_count)
            snprintf(report->device, sizeof report->device, "%d devices, each as %.50s, %.0f GFLOP/s measured",
                     (int)o->device_count, describe, report->flop_per_second * 1e-9);
    }
    switch (job) {
    case UPRES_JOB_UPSCALE:
        return plan_upscale(w, o, clip, report, f);
    case UPRES_JOB_ENCODE:
        return plan_stage(w, o, false, clip, report, f);
    case UPRES_JOB_DECODE:
        return plan_stage(w, o, true, clip, report, f);
    }
    return fault(f, UPRES_E_ARGUMENT, "%d is no job; plan an upscale, an encode or a decode", (int)job);
}
