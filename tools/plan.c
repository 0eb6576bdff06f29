/* upres plan: what a job would need. Opens weights and frame headers, computes nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/io_safetensors.h"
#include "tools/json_out.h"
#include "tools/options.h"
#include "tools/sequence.h"
#include "tools/verbs.h"

/* Size and number of the frames or latents at -i. */
static bool measure_tensor(const char *path, upres_job what, const upres_weights *w, upres_clip *clip, Problem *p)
{
    TensorSource t;
    int32_t channels, spatial, temporal;
    bool fine = tensor_source_open(&t, path, what == UPRES_JOB_DECODE ? "latent" : "frames", p);
    if (fine) {
        upres_status s = upres_vae_form(w, &channels, &spatial, &temporal);
        fine = s == UPRES_OK || problem_library(p, s);
    }
    const int32_t expected = fine && what == UPRES_JOB_DECODE ? channels : 3;
    if (fine && t.shape.channels != expected)
        fine = problem(p, EXIT_INPUT, "%s: %" PRId64 " channels, but the network takes %d", path, t.shape.channels, expected);
    if (fine) {
        int32_t factor = what == UPRES_JOB_DECODE ? spatial : 1;
        *clip = (upres_clip){.struct_size = sizeof *clip,
                             .width = (int32_t)t.shape.width * factor,
                             .height = (int32_t)t.shape.height * factor,
                             .channels = 3,
                             .bits = 8,
                             .frames = t.shape.frames};
    }
    tensor_source_close(&t);
    return fine;
}

/* *ranges: of --frames, to be freed by the caller. */
static bool measure_pictures(Job *job, upres_clip *clip, upres_range **ranges, Problem *p)
{
    Sequence s;
    bool fine = sequence_open(&s, job->input, job->allow_gaps, p) && sequence_probe(&s, p), cut = false;
    bool *wanted = fine ? need_memory(s.count * sizeof *wanted) : NULL;
    fine = fine && sequence_select(&s, job, wanted, &cut, p);
    if (cut)
        console_note(&job->console, "--frames %s: cut at the last frame, %" PRId64, job->frames,
                     s.frames[s.count - 1].number);
    if (fine)
        *clip = (upres_clip){.struct_size = sizeof *clip,
                             .width = s.form.width,
                             .height = s.form.height,
                             .channels = s.form.channels,
                             .bits = s.form.bits,
                             .frames = (int64_t)s.count};
    if (fine && job->range_count > 0) clip->ranges = *ranges = sequence_ranges(wanted, s.count, &clip->range_count);
    free(wanted);
    sequence_free(&s);
    return fine;
}

static const char *const job_names[] = {
    [UPRES_JOB_UPSCALE] = "upscale", [UPRES_JOB_ENCODE] = "encode", [UPRES_JOB_DECODE] = "decode"};

static void print_json_prediction(const upres_plan_report *r)
{
    fputs(",\"model\":", stdout);
    json_string(stdout, r->model);
    fputs(",\"seconds_published\":", stdout);
    json_number(stdout, r->seconds_published);
    fputs(",\"kernels\":[", stdout);
    for (size_t i = 0; i < r->kernel_count; i++) {
        const upres_plan_kernel *k = &r->kernels[i];
        const struct {
            const char *name;
            double value;
        } numbers[] = {{"launches", k->launches}, {"flop", k->flop}, {"bytes", k->bytes}, {"seconds", k->seconds},
                       {"seconds_published", k->seconds_published}, {"share", k->share}};
        printf("%s{\"phase\":", i > 0 ? "," : "");
        json_string(stdout, r->phases[k->phase].name);
        fputs(",\"name\":", stdout);
        json_string(stdout, k->name);
        for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++) {
            printf(",\"%s\":", numbers[n].name);
            json_number(stdout, numbers[n].value);
        }
        fputs(",\"bound\":", stdout);
        json_string(stdout, k->bound);
        putchar('}');
    }
    fputs("]", stdout);
}

/* The next setting that asks for more: no tiles where there are some, else a larger batch, or FlashVSR's longer memory. */
typedef struct Next {
    char option[48];      /* as it is given; "": there is none */
    uint64_t peak_bytes;  /* of the device's memory; 0: it cannot be planned */
    bool fits;            /* else that is the least it would run in */
} Next;

static bool is_gpu(const upres_plan_report *r)
{
    return r->host_peak_bytes < r->arena_bytes + r->weight_bytes + r->fixed_bytes;
}

static uint64_t device_peak(const upres_plan_report *r)
{
    const uint64_t both = r->arena_bytes + r->weight_bytes;
    return is_gpu(r) ? both + r->picture_bytes : r->host_peak_bytes;
}

/* false: nothing is larger. */
static bool next_setting(const upres_weights *w, upres_job what, const upres_clip *clip, const upres_plan_report *r,
                         upres_options *o, Next *n)
{
    const bool flashvsr = weights_hold(w, "flashvsr_dit"); /* whose tiles spare nothing, but for those of mode full's decoder */
    if (flashvsr ? o->vae_decode_tile > 0 : r->encode_tile > 0 || r->decode_tile > 0) {
        o->vae_encode_tile = o->vae_decode_tile = UPRES_TILE_OFF;
        snprintf(n->option, sizeof n->option, "--vae-tile off");
        return true;
    }
    if (what != UPRES_JOB_UPSCALE) return false;
    if (flashvsr) {
        o->kv_slices = (o->kv_slices > 0 ? o->kv_slices : 3) + 1;
        snprintf(n->option, sizeof n->option, "--kv-slices %d", (int)o->kv_slices);
        return o->kv_slices <= 64;
    }
    if (clip->frames + o->prepend <= o->batch_size) return false; /* all frames are together */
    o->batch_size = (o->batch_size + 3) / 4 * 4 + 1; /* the next of 4n + 1, which wastes nothing */
    snprintf(n->option, sizeof n->option, "--batch-size %d", (int)o->batch_size);
    return o->batch_size <= 1025;
}

/* What that would take here, or need where it does not fit. */
static Next plan_next(const upres_weights *w, const upres_options *chosen, upres_job what, const upres_clip *clip,
                      const upres_plan_report *r)
{
    Next n = {.option = ""};
    upres_options o = *chosen;
    upres_plan_report next = {.struct_size = sizeof next};
    if (!next_setting(w, what, clip, r, &o, &n)) {
        n.option[0] = '\0';
        return n;
    }
    const upres_status s = upres_plan(w, &o, what, clip, &next);
    n.fits = s == UPRES_OK;
    n.peak_bytes = n.fits ? device_peak(&next) : s == UPRES_E_MEMORY ? next.needed_bytes : 0;
    return n;
}

static void print_json(const upres_plan_report *r, upres_job what, const Next *next)
{
    printf("{\"type\":\"result\",\"verb\":\"plan\",\"job\":\"%s\",\"device\":", job_names[what]);
    json_string(stdout, r->device);
    const struct {
        const char *name;
        int64_t value;
    } whole[] = {
        {"source_width", r->source_width},
        {"source_height", r->source_height},
        {"resized_width", r->resized_width},
        {"resized_height", r->resized_height},
        {"output_width", r->output_width},
        {"output_height", r->output_height},
        {"padded_width", r->padded_width},
        {"padded_height", r->padded_height},
        {"frames", r->frames},
        {"batches", r->batches},
        {"frames_computed", r->frames_computed},
        {"encode_tile", r->encode_tile},
        {"encode_tile_overlap", r->encode_tile_overlap},
        {"encode_tiles", r->encode_tiles},
        {"decode_tile", r->decode_tile},
        {"decode_tile_overlap", r->decode_tile_overlap},
        {"decode_tiles", r->decode_tiles},
        {"arena_bytes", (int64_t)r->arena_bytes},
        {"weight_bytes", (int64_t)r->weight_bytes},
        {"picture_bytes", (int64_t)r->picture_bytes},
        {"limit_bytes", (int64_t)r->limit_bytes},
        {"fixed_bytes", (int64_t)r->fixed_bytes},
        {"host_peak", (int64_t)r->host_peak_bytes},
    };
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        printf(",\"%s\":%" PRId64, whole[i].name, whole[i].value);
    fputs(",\"flop\":", stdout);
    json_number(stdout, r->flop);
    fputs(",\"seconds\":", stdout);
    json_number(stdout, r->seconds);
    fputs(",\"flop_per_second\":", stdout);
    json_number(stdout, r->flop_per_second);
    fputs(",\"phases\":[", stdout);
    for (size_t i = 0; i < r->phase_count; i++) {
        const upres_plan_phase *f = &r->phases[i];
        printf("%s{\"name\":", i > 0 ? "," : "");
        json_string(stdout, f->name);
        printf(",\"arena_bytes\":%" PRIu64 ",\"weight_bytes\":%" PRIu64 ",\"flop\":", f->arena_bytes, f->weight_bytes);
        json_number(stdout, f->flop);
        fputs(",\"seconds\":", stdout);
        json_number(stdout, f->seconds);
        putchar('}');
    }
    fputs("]", stdout);
    if (r->model[0] != '\0') print_json_prediction(r);
    if (r->longest_kernel[0] != '\0') {
        fputs(",\"longest_kernel\":", stdout);
        json_string(stdout, r->longest_kernel);
        fputs(",\"longest_seconds\":", stdout);
        json_number(stdout, r->longest_seconds);
    }
    if (next->option[0] != '\0') {
        fputs(",\"next\":{\"option\":", stdout);
        json_string(stdout, next->option);
        printf(",\"peak_bytes\":%" PRIu64 ",\"fits\":%s}", next->peak_bytes, next->fits ? "true" : "false");
    }
    fputs(",\"note\":", stdout);
    json_string(stdout, r->note);
    puts("}");
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void print_tiles(const char *what, int32_t tile, int32_t overlap, int32_t tiles)
{
    if (tile == 0)
        printf("%s untiled\n", what);
    else
        printf("%s tiles of %d, overlap %d, %d a frame\n", what, tile, overlap, tiles);
}

/* A line a kernel; what takes less than a thousandth of all goes together. */
static void print_prediction(const upres_plan_report *r)
{
    double rest = 0, rest_published = 0;
    if (r->kernel_count > 0)
        puts("predicted   kernel                    launches     TFLOP        GB   seconds   of limit  bound"
             "    8 bits at 60 %");
    for (size_t i = 0; i < r->kernel_count; i++) {
        const upres_plan_kernel *k = &r->kernels[i];
        if (k->seconds < r->seconds / 1000) {
            rest += k->seconds;
            rest_published += k->seconds_published;
            continue;
        }
        printf("  %-9.9s %-24s %9.0f %9.3f %9.2f %9.3f %8.0f %%  %-8s %9.3f\n", r->phases[k->phase].name, k->name, k->launches,
               k->flop / 1e12, k->bytes / 1e9, k->seconds, 100 * k->share, k->bound, k->seconds_published);
    }
    if (r->kernel_count > 0) {
        printf("            %-24s %39.3f %20s %9.3f\n", "others", rest, "", rest_published);
        printf("            %-24s %39.3f %20s %9.3f\n", "all", r->seconds, "", r->seconds_published);
    }
    printf("model       %s\n", r->model);
}

static void print_next(const upres_plan_report *r, const Next *next)
{
    if (next->peak_bytes == 0) return;
    printf("next        %s %s %.1f MiB", next->option, next->fits ? "would take" : "needs at least", mib(next->peak_bytes));
    if (r->limit_bytes > 0) printf(next->fits ? " of %.1f that can be had" : ", but %.1f can be had", mib(r->limit_bytes));
    putchar('\n');
}

static void print_text(const upres_plan_report *r, upres_job what, const Next *next)
{
    printf("%s on %s\n", job_names[what], r->device);
    if (what == UPRES_JOB_UPSCALE)
        printf("size        %dx%d -> %dx%d, computed at %dx%d\n", r->source_width, r->source_height, r->output_width,
               r->output_height, r->padded_width, r->padded_height);
    else
        printf("size        %dx%d\n", r->padded_width, r->padded_height);
    printf("frames      %" PRId64 " in %" PRId64 " batches, %" PRId64 " computed\n", r->frames, r->batches,
           r->frames_computed);
    if (what != UPRES_JOB_DECODE) print_tiles("encode     ", r->encode_tile, r->encode_tile_overlap, r->encode_tiles);
    if (what != UPRES_JOB_ENCODE) print_tiles("decode     ", r->decode_tile, r->decode_tile_overlap, r->decode_tiles);
    for (size_t i = 0; i < r->phase_count; i++) {
        const upres_plan_phase *f = &r->phases[i];
        printf("  %-12s arena %9.1f MiB, weights %9.1f MiB, %10.4g TFLOP", f->name, mib(f->arena_bytes),
               mib(f->weight_bytes), f->flop / 1e12);
        if (f->seconds > 0) printf(", about %.1f s", f->seconds);
        putchar('\n');
    }
    const bool gpu = is_gpu(r);
    printf("arena       %.1f MiB\nweights     %.1f MiB %s\nfixed       %.1f MiB\n", mib(r->arena_bytes),
           mib(r->weight_bytes), gpu ? "held" : "touched", mib(r->fixed_bytes));
    if (r->picture_bytes > 0) printf("pictures    %.1f MiB\n", mib(r->picture_bytes));
    if (gpu) printf("GPU peak    %.1f MiB (%" PRIu64 " bytes)\n", mib(device_peak(r)), device_peak(r));
    printf("host peak   %.1f MiB (%" PRIu64 " bytes)\n", mib(r->host_peak_bytes), r->host_peak_bytes);
    print_next(r, next);
    printf("work        %.4g TFLOP", r->flop / 1e12);
    if (r->seconds > 0 && r->flop_per_second > 0)
        printf(", about %.1f s at %.1f GFLOP/s", r->seconds, r->flop_per_second / 1e9);
    putchar('\n');
    if (r->longest_kernel[0] != '\0') printf("longest kernel: %s, %.3g s\n", r->longest_kernel, r->longest_seconds);
    if (r->model[0] != '\0') print_prediction(r);
    if (r->note[0] != '\0') printf("note        %s\n", r->note);
}

static bool find_job(const Job *job, upres_job *what, Problem *p)
{
    *what = UPRES_JOB_UPSCALE;
    if (job->operand_count == 0) return true;
    if (job->operand_count > 1)
        return problem(p, EXIT_USAGE, "unexpected argument \"%s\"; plan takes one verb", job->operands[1]);
    for (int i = 0; i < 3; i++) {
        if (strcmp(job->operands[0], job_names[i]) != 0) continue;
        *what = (upres_job)i;
        return true;
    }
    return problem(p, EXIT_USAGE, "plan knows no job \"%s\"; expected upscale, encode or decode", job->operands[0]);
}

/* *ranges: to be freed by the caller, also where it fails. */
static bool plan(Job *job, upres_weights **w, upres_range **ranges, int argc, char **argv, Problem *p)
{
    upres_job what;
    upres_clip clip;
    if (!job_parse(job, VERB_PLAN, argc, argv, p)) return false;
    if (job->help) {
        verb_usage(VERB_PLAN);
        return true;
    }
    if (!find_job(job, &what, p)) return false;
    if (job->input == NULL) return problem(p, EXIT_USAGE, "no input: give the frames or latents to plan for with -i");
    if (job->model_count == 0) return problem(p, EXIT_USAGE, "no weights: give the weight files with -m");
    bool tensor = what == UPRES_JOB_DECODE || (what == UPRES_JOB_ENCODE && path_ends_with(job->input, ".safetensors"));
    if (what != UPRES_JOB_UPSCALE && job->range_count > 0)
        return problem(p, EXIT_USAGE, "--frames %s: %s works on the whole input", job->frames, job_names[what]);
    if (!tensor && !measure_pictures(job, &clip, ranges, p)) return false;
    upres_status s = upres_weights_open(w, job->models, job->model_count);
    if (s != UPRES_OK) return problem_library(p, s);
    if (what == UPRES_JOB_UPSCALE && !job_fits_weights(job, *w, p)) return false;
    if (tensor && !measure_tensor(job->input, what, *w, &clip, p)) return false;
    if (what == UPRES_JOB_ENCODE && (clip.width % 8 != 0 || clip.height % 8 != 0))
        return problem(p, tensor ? EXIT_INPUT : EXIT_USAGE,
                       "%s: %dx%d pixels, but the encoder takes multiples of 8; crop or "
                       "pad the frames",
                       job->input, clip.width, clip.height);
    upres_plan_report r = {.struct_size = sizeof r};
    s = upres_plan(*w, &job->library, what, &clip, &r);
    if (s != UPRES_OK) return problem_library(p, s);
    const Next next = plan_next(*w, &job->library, what, &clip, &r);
    if (job->json)
        print_json(&r, what, &next);
    else
        print_text(&r, what, &next);
    return true;
}

int verb_plan(int argc, char **argv)
{
    Job job;
    upres_weights *w = NULL;
    upres_range *ranges = NULL;
    Problem p;
    int status = plan(&job, &w, &ranges, argc, argv, &p) ? EXIT_FINE : console_fail(&job.console, &p);
    upres_weights_close(w);
    free(ranges);
    job_free(&job);
    return status;
}
