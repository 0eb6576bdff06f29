/* upres upscale: pictures in, larger pictures out. */
#include <inttypes.h>
#include <stdlib.h>

#include "tools/io_png.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/sequence.h"
#include "tools/verbs.h"

typedef struct Upscale {
    Job job;
    Sequence input;
    Outputs outputs;
    bool *wanted; /* a result, for each frame of the input */
    bool cut;     /* --frames reached past the end */
    int64_t result_count;
    upres_weights *weights;
    upres_session *session;
    Progress progress;
    int64_t read; /* the frame whose pixels are at hand until the library takes them */
    PngForm form;
    void *pixels; /* NULL: none */
} Upscale;

/* Everything that can be known before a weight file is opened. */
static bool check_request(Upscale *u, Problem *p)
{
    const Job *job = &u->job;
    if (job->operand_count > 0)
        return problem(p, EXIT_USAGE,
                       "unexpected argument \"%s\"; the input is given by -i, the output by -o, weights by -m",
                       job->operands[0]);
    if (job->input == NULL) return problem(p, EXIT_USAGE, "no input: give a picture, a folder or a pattern with -i");
    if (job->output == NULL) return problem(p, EXIT_USAGE, "no output: give a picture, a folder or a pattern with -o");
    if (job->model_count == 0)
        return problem(p, EXIT_USAGE, "no weights: give the files of the transformer, the decoder and the text with -m");
    if (!outputs_open(&u->outputs, job->output, p) || !sequence_open(&u->input, job->input, job->allow_gaps, p))
        return false;
    u->wanted = need_memory(u->input.count * sizeof *u->wanted);
    if (!sequence_select(&u->input, job, u->wanted, &u->cut, p)) return false;
    if (!outputs_check(&u->outputs, job, u->input.frames, u->input.count, u->wanted, &u->input, p)) return false;
    for (size_t i = 0; i < u->input.count; i++) u->result_count += u->wanted[i];
    return sequence_probe(&u->input, p);
}

static bool open_session(Upscale *u, Problem *p)
{
    const PngForm *form = &u->input.form;
    size_t range_count;
    upres_range *ranges = sequence_ranges(u->wanted, u->input.count, &range_count);
    const upres_clip clip = {.struct_size = sizeof clip,
                             .width = form->width,
                             .height = form->height,
                             .channels = form->channels,
                             .bits = form->bits,
                             .frames = (int64_t)u->input.count,
                             .ranges = ranges,
                             .range_count = range_count};
    upres_status s = upres_weights_open(&u->weights, u->job.models, u->job.model_count);
    const bool fits = s != UPRES_OK || job_fits_weights(&u->job, u->weights, p);
    if (s == UPRES_OK && fits) s = upres_session_open(&u->session, u->weights, &u->job.library, &clip);
    free(ranges);
    return fits && (s == UPRES_OK || progress_problem(&u->progress, s, &(Problem){0}, p));
}

static void tell_beforehand(Upscale *u)
{
    Console *c = &u->job.console;
    int32_t batch = u->job.library.batch_size;
    if (u->cut)
        console_note(c, "--frames %s: cut at the last frame, %" PRId64, u->job.frames,
                     u->input.frames[u->input.count - 1].number);
    if (batch % 4 != 1)
        console_note(c, "--batch-size %d is not 4n + 1: each batch is filled up to %d frames", batch,
                     (batch + 2) / 4 * 4 + 1);
}

/* Once, however often it is offered. */
static bool read_frame(Upscale *u, int64_t number, Problem *p)
{
    if (u->pixels && u->read == number) return true;
    free(u->pixels);
    u->pixels = NULL;
    u->read = number;
    return png_read(u->input.frames[number].path, &u->form, &u->pixels, p);
}

static upres_status offer_frame(Upscale *u)
{
    const upres_frame frame = {.struct_size = sizeof frame,
                               .number = u->read,
                               .width = u->form.width,
                               .height = u->form.height,
                               .channels = u->form.channels,
                               .bits = u->form.bits,
                               .data = u->pixels,
                               .stride = (ptrdiff_t)png_row_bytes(&u->form)};
    const upres_status s = upres_session_push(u->session, &frame);
    if (s == UPRES_AGAIN) return s;
    free(u->pixels);
    u->pixels = NULL;
    return s;
}

static bool push_wanted(Upscale *u, Problem *p)
{
    int64_t number = upres_session_wants(u->session);
    if (number < 0 || number >= (int64_t)u->input.count)
        return problem(p, EXIT_FAILED, "the library asked for frame %" PRId64 " of %zu", number, u->input.count);
    if (!read_frame(u, number, p)) return false;
    upres_status s = offer_frame(u);
    if (s >= 0) return true; /* UPRES_AGAIN: the next pull makes room, and the frame is asked for again */
    if (s == UPRES_E_INPUT) return problem(p, EXIT_INPUT, "%s: %s", u->input.frames[number].path, upres_last_error());
    return progress_problem(&u->progress, s, &(Problem){0}, p);
}

/* Frames that are taken before they are needed, so that a GPU need not wait for them: two a result, as some batches give fewer
 * results than the next one takes frames. What is wrong with one is told when it is asked for. */
static void push_early(Upscale *u)
{
    for (int i = 0; i < 2; i++) {
        Problem later;
        const int64_t number = upres_session_wants(u->session);
        if (number < 0 || number >= (int64_t)u->input.count) return;
        if (!read_frame(u, number, &later) || offer_frame(u) != UPRES_OK) return;
    }
}

static bool write_result(Upscale *u, const upres_frame *frame, Problem *p)
{
    const SequenceFrame *source = &u->input.frames[frame->number];
    const PngForm form = {frame->width, frame->height, frame->channels, frame->bits};
    char *path = outputs_path(&u->outputs, source->path, source->number);
    bool fine = png_write(path, &form, frame->data, frame->stride, source->path, p);
    free(path);
    u->progress.frames_done += fine;
    return fine;
}

static bool run(Upscale *u, Problem *p)
{
    for (;;) {
        upres_frame frame = {.struct_size = sizeof frame};
        upres_status s = upres_session_pull(u->session, &frame);
        if (s == UPRES_END) return true;
        if (s < 0) return progress_problem(&u->progress, s, &(Problem){0}, p);
        if (s == UPRES_AGAIN ? !push_wanted(u, p) : !write_result(u, &frame, p)) return false;
        push_early(u);
    }
}

static bool upscale(Upscale *u, int argc, char **argv, Problem *p)
{
    if (!job_parse(&u->job, VERB_UPSCALE, argc, argv, p)) return false;
    if (u->job.help) {
        verb_usage(VERB_UPSCALE);
        return true;
    }
    if (!check_request(u, p)) return false;
    progress_start(&u->progress, &u->job, u->result_count);
    if (u->result_count > 0) {
        if (!open_session(u, p) || !outputs_begin(&u->outputs, p)) return false;
        tell_beforehand(u);
        if (!run(u, p)) return false;
    }
    progress_finish(&u->progress, "upscale", "upscaled", u->job.output, u->outputs.skipped);
    return true;
}

int verb_upscale(int argc, char **argv)
{
    Upscale u = {.session = NULL};
    Problem p;
    int status = upscale(&u, argc, argv, &p) ? EXIT_FINE : console_fail(&u.job.console, &p);
    upres_session_close(u.session);
    upres_weights_close(u.weights);
    outputs_end(&u.outputs);
    sequence_free(&u.input);
    free(u.pixels);
    free(u.wanted);
    job_free(&u.job);
    return status;
}
