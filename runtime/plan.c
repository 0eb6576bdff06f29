#include "runtime/plan.h"

#include "runtime/session.h"
#include "runtime/stages.h"
#include "runtime/system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------- the device's rate */

enum { RATE_ROWS = 1024, RATE_COLUMNS = 512 };

static void multiply(Dev *d, const BoundWeight *w)
{
    Tensor x = dev_tensor(d, 1, 1, RATE_ROWS, RATE_COLUMNS), y = dev_tensor(d, 1, 1, RATE_ROWS, RATE_COLUMNS);
    float *values = dev_ok(d) ? dev_map(d, x) : NULL;
    if (values) memset(values, 0, (size_t)RATE_ROWS * (size_t)x.c_pad * sizeof *values);
    double began = system_seconds();
    LinearArgs a = {.x = x, .y = y, .weight = w};
    do dev_linear(d, &a);
    while (values && dev_ok(d) && system_seconds() - began < 0.05);
    dev_free(d, &y);
    dev_free(d, &x);
}

double plan_measure_rate(const upres_options *o, char *describe, size_t size)
{
    char error[256];
    double rate = 0;
    float *zeros = calloc((size_t)RATE_COLUMNS * RATE_COLUMNS, sizeof *zeros);
    WeightTensor stored = {.name = "rate",
                           .type = WT_F32,
                           .rank = 2,
                           .shape = {RATE_COLUMNS, RATE_COLUMNS},
                           .count = (int64_t)RATE_COLUMNS * RATE_COLUMNS,
                           .data = (const uint8_t *)zeros,
                           .bytes = (uint64_t)RATE_COLUMNS * RATE_COLUMNS * sizeof *zeros};
    BoundWeight w = {.tensor = &stored, .rank = 2, .shape = {RATE_COLUMNS, RATE_COLUMNS}, .count = stored.count};
    Dev *plan = zeros ? dev_plan_open(o->threads) : NULL;
    if (plan) multiply(plan, &w);
    Dev *d = plan ? dev_cpu_open(o->threads, dev_totals(plan).arena_peak, error, sizeof error) : NULL;
    if (d) {
        multiply(d, &w); /* threads start, pages come */
        double flop = dev_totals(d).flop, began = system_seconds();
        multiply(d, &w);
        if (dev_ok(d)) rate = (dev_totals(d).flop - flop) / (system_seconds() - began);
        snprintf(describe, size, "%s", dev_describe(d));
        dev_close(d);
    }
    if (plan) dev_close(plan);
    free(zeros);
    return rate;
}

/* -------------------------------------------------------------------------------------------------------- the report */

static void add_phase(upres_plan_report *r, const char *name, const PhaseCost *memory, double flop)
{
    upres_plan_phase *p = &r->phases[r->phase_count++];
    *p = (upres_plan_phase){name, memory->arena_bytes, memory->weight_bytes, flop, 0};
    if (r->flop_per_second > 0) p->seconds = flop / r->flop_per_second;
    r->flop += flop;
    r->seconds += p->seconds;
}

static void set_tiles(int32_t *tile, int32_t *overlap, int32_t *tiles, VaeTiles used, int count)
{
    *tile = count > 1 ? used.tile_h : 0;
    *overlap = count > 1 ? used.overlap_h : 0;
    *tiles = count;
}

static PhaseCost larger_phase(PhaseCost a, PhaseCost b)
{
    return a.arena_bytes > b.arena_bytes ? a : b;
}

static upres_status plan_upscale(const WeightSet *w, const upres_options *o, const upres_clip *clip,
                                 upres_plan_report *r, Fault *f)
{
    PipelineSetup setup;
    Seedvr2Plan p;
    if (session_setup(o, clip, &setup, f) != UPRES_OK) return f->status;
    Seedvr2 *m = seedvr2_open(w, o, f);
    bool planned = m && seedvr2_plan(m, &setup, &p, f);
    seedvr2_close(m);
    if (!planned) return f->status;
    const SizePlan *z = &setup.picture.size;
    bool ends;
    int64_t batches = 1; /* of a clip without a known end */
    if (clip->frames) {
        Schedule schedule;
        schedule_init(&schedule, clip->frames, o->batch_size, o->overlap, o->uniform_batch != 0, o->prepend, false);
        batches = schedule_batch_count(&schedule, &ends);
        schedule_free(&schedule);
    }
    double whole = (double)(batches - 1);
    const BatchCost *last = clip->frames ? &p.last : &p.batch;
    r->resized_width = z->resized_w;
    r->resized_height = z->resized_h;
    r->output_width = z->true_w;
    r->output_height = z->true_h;
    r->padded_width = z->padded_w;
    r->padded_height = z->padded_h;
    r->batches = batches;
    r->frames_computed = (batches - 1) * p.batch.frames + last->frames;
    set_tiles(&r->encode_tile, &r->encode_tile_overlap, &r->encode_tiles, p.encode_tiles, p.encode_tile_count);
    set_tiles(&r->decode_tile, &r->decode_tile_overlap, &r->decode_tiles, p.decode_tiles, p.decode_tile_count);
    PhaseCost encode = larger_phase(p.batch.encode, last->encode), decode = larger_phase(p.batch.decode, last->decode);
    PhaseCost transformer = larger_phase(p.batch.transformer, last->transformer);
    add_phase(r, "encode", &encode, whole * p.batch.encode.flop + last->encode.flop);
    add_phase(r, "transformer", &transformer, whole * p.batch.transformer.flop + last->transformer.flop);
    add_phase(r, "decode", &decode, whole * p.batch.decode.flop + last->decode.flop);
    r->arena_bytes = p.arena_bytes;
    r->weight_bytes = p.weight_bytes;
    r->fixed_bytes = p.fixed_bytes;
    r->host_peak_bytes = p.peak_bytes;
    const char *one_batch = clip->frames ? "" : "the number of frames is not known: figures are of one batch; ";
    snprintf(r->note, sizeof r->note, "%s%s", one_batch, p.note);
    return UPRES_OK;
}

static upres_status plan_stage(const WeightSet *w, const upres_options *o, bool decode, const upres_clip *clip,
                               upres_plan_report *r, Fault *f)
{
    Stage s;
    if (stage_open(&s, w, o, decode, clip->height, clip->width, clip->frames, f) == UPRES_OK) {
        const TileChoice *c = &s.choice;
        r->resized_width = r->output_width = r->padded_width = clip->width;
        r->resized_height = r->output_height = r->padded_height = clip->height;
        if (decode) r->frames = s.frames;
        r->batches = 1;
        r->frames_computed = s.frames;
        if (decode)
            set_tiles(&r->decode_tile, &r->decode_tile_overlap, &r->decode_tiles, c->tiles, s.tile_count);
        else
            set_tiles(&r->encode_tile, &r->encode_tile_overlap, &r->encode_tiles, c->tiles, s.tile_count);
        add_phase(r, decode ? "decode" : "encode", &c->cost, c->cost.flop);
        r->arena_bytes = c->cost.arena_bytes;
        r->weight_bytes = c->cost.weight_bytes;
        r->fixed_bytes = s.fixed_bytes;
        r->host_peak_bytes = s.peak_bytes;
        snprintf(r->note, sizeof r->note, "%s", s.note);
    }
    stage_close(&s);
    return f->status;
}

upres_status plan_job(const WeightSet *w, const upres_options *o, upres_job job, const upres_clip *clip,
                      upres_plan_report *report, Fault *f)
{
    char describe[64] = "cpu";
    *report = (upres_plan_report){.struct_size = sizeof *report,
                                  .source_width = clip->width,
                                  .source_height = clip->height,
                                  .frames = clip->frames};
    report->flop_per_second = plan_measure_rate(o, describe, sizeof describe);
    snprintf(report->device, sizeof report->device, "%s, %.0f GFLOP/s measured", describe,
             report->flop_per_second * 1e-9);
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
