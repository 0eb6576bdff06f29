/* upres encode, upres decode: frames to latents and back, through files written by position. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "tools/io_png.h"
#include "tools/io_safetensors.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/sequence.h"
#include "tools/verbs.h"

/* ---------------------------------------------------------------------------------------- what both verbs have in
 * common */

/* Reads of a stage's input and writes of its output; what goes wrong in them is kept for the end. */
typedef struct Stage {
    Job job;
    upres_weights *weights;
    int32_t latent_channels, spatial, temporal; /* of the VAE */
    Progress progress;
    Problem own; /* status 0: nothing went wrong in the callbacks */

    TensorSource tensor; /* the input, unless it is pictures */
    Sequence pictures;
    PngForm loaded_form; /* the picture read last; the library asks for it tile by tile */
    void *loaded;
    int64_t loaded_frame;

    TensorStore store; /* the output, or what adds up to it */
    bool store_open;
    Outputs outputs; /* when the result is pictures */
    SequenceFrame *results;
    bool *wanted;
    int64_t result_count;
    PngForm result_form;
} Stage;

static void stage_close(Stage *s)
{
    if (s->store_open) writefile_abandon(&s->store.file);
    tensor_source_close(&s->tensor);
    sequence_free(&s->pictures);
    free(s->loaded);
    outputs_end(&s->outputs);
    free(s->results);
    free(s->wanted);
    upres_weights_close(s->weights);
    job_free(&s->job);
}

static bool check_arguments(const Job *job, const char *input, const char *output, Problem *p)
{
    if (job->operand_count > 0)
        return problem(p, EXIT_USAGE,
                       "unexpected argument \"%s\"; the input is given by -i, the output by -o, weights by -m",
                       job->operands[0]);
    if (job->input == NULL) return problem(p, EXIT_USAGE, "no input: give %s with -i", input);
    if (job->output == NULL) return problem(p, EXIT_USAGE, "no output: give %s with -o", output);
    if (job->model_count == 0) return problem(p, EXIT_USAGE, "no weights: give the file of the VAE with -m");
    return true;
}

static bool open_vae(Stage *s, Problem *p)
{
    upres_status r = upres_weights_open(&s->weights, s->job.models, s->job.model_count);
    if (r == UPRES_OK) r = upres_vae_form(s->weights, &s->latent_channels, &s->spatial, &s->temporal);
    return r == UPRES_OK || problem_library(p, r);
}

static int read_tensor(void *user, const upres_region *r)
{
    Stage *s = user;
    return tensor_source_read(&s->tensor, r, &s->own) ? 0 : 1;
}

static int write_store(void *user, const upres_region *r, int add)
{
    Stage *s = user;
    return tensor_store_write(&s->store, r, add != 0, &s->own) ? 0 : 1;
}

/* ---------------------------------------------------------------------------------------------------- encode: pictures
 * in */

static bool load_picture(Stage *s, int64_t frame, Problem *p)
{
    if (s->loaded != NULL && s->loaded_frame == frame) return true;
    free(s->loaded);
    s->loaded = NULL;
    s->loaded_frame = frame;
    return png_read(s->pictures.frames[frame].path, &s->loaded_form, &s->loaded, p);
}

/* Codes to [-1, 1]; grey serves all three channels, alpha none. */
static int read_picture(void *user, const upres_region *r)
{
    Stage *s = user;
    if (!load_picture(s, r->frame, &s->own)) return 1;
    const PngForm *f = &s->loaded_form;
    const float largest = f->bits == 16 ? 65535.0f : 255.0f;
    for (int32_t c = 0; c < r->channels; c++) {
        for (int32_t y = 0; y < r->height; y++) {
            float *to = r->data + c * r->plane_stride + y * r->row_stride;
            size_t from = ((size_t)(r->y + y) * (size_t)f->width + (size_t)r->x) * (size_t)f->channels;
            from += f->channels >= 3 ? (size_t)c : 0;
            for (int32_t x = 0; x < r->width; x++, from += (size_t)f->channels) {
                unsigned code =
                    f->bits == 16 ? ((const uint16_t *)s->loaded)[from] : ((const uint8_t *)s->loaded)[from];
                to[x] = (float)code / largest * 2.0f - 1.0f;
            }
        }
    }
    return 0;
}

static bool frames_are_a_file(const char *input)
{
    return path_kind(input) == PATH_FILE && !path_ends_with(input, ".png") && !png_has_signature(input);
}

/* Size and number of the frames to encode. */
static bool open_frames(Stage *s, TensorShape *frames, Problem *p)
{
    const Job *job = &s->job;
    if (frames_are_a_file(job->input)) {
        if (!tensor_source_open(&s->tensor, job->input, "frames", p)) return false;
        *frames = s->tensor.shape;
        if (frames->channels != 3)
            return problem(p, EXIT_INPUT, "%s: tensor `frames` has %" PRId64 " channels, expected 3", job->input,
                           frames->channels);
    } else {
        if (!sequence_open(&s->pictures, job->input, job->allow_gaps, p) || !sequence_probe(&s->pictures, p))
            return false;
        const PngForm *f = &s->pictures.form;
        *frames = (TensorShape){3, (int64_t)s->pictures.count, f->height, f->width};
    }
    return true;
}

static bool encode(Stage *s, int argc, char **argv, Problem *p)
{
    Job *job = &s->job;
    if (!job_parse(job, VERB_ENCODE, argc, argv, p)) return false;
    if (job->help) {
        verb_usage(VERB_ENCODE);
        return true;
    }
    bool skip;
    TensorShape frames;
    if (!check_arguments(job, "pictures or a .safetensors file", "a .safetensors file", p)) return false;
    if (!path_ends_with(job->output, ".safetensors"))
        return problem(p, EXIT_USAGE, "-o %s: latents are written to a .safetensors file; give such a name",
                       job->output);
    if (!output_file_check(job->output, job, &skip, p) || !open_frames(s, &frames, p)) return false;
    bool from_pictures = s->tensor.file == NULL;
    if (frames.width % 8 != 0 || frames.height % 8 != 0)
        return problem(p, from_pictures ? EXIT_USAGE : EXIT_INPUT,
                       "%s: %" PRId64 "x%" PRId64 " pixels, but the encoder takes "
                       "multiples of 8; crop or pad the frames",
                       job->input, frames.width, frames.height);
    progress_start(&s->progress, job, skip ? 0 : frames.frames);
    if (!skip) {
        if (!open_vae(s, p)) return false;
        const TensorShape latents = {s->latent_channels, 1 + (frames.frames - 2 + s->temporal) / s->temporal,
                                     frames.height / s->spatial, frames.width / s->spatial};
        s->store_open = tensor_store_create(&s->store, job->output, "latent", latents, frames.frames, p);
        if (!s->store_open) return false;
        if (from_pictures && s->pictures.form.channels % 2 == 0)
            console_note(&job->console, "%s: alpha is left out; latents hold colours alone", job->input);
        const upres_video in = {
            .struct_size = sizeof in, .user = s, .read = from_pictures ? read_picture : read_tensor};
        const upres_video out = {.struct_size = sizeof out, .user = s, .write = write_store};
        s->progress.library_counts = true;
        upres_status r = upres_encode(s->weights, &job->library, (int32_t)frames.width, (int32_t)frames.height,
                                      frames.frames, &in, &out);
        if (r != UPRES_OK) return progress_problem(&s->progress, r, &s->own, p);
        s->store_open = false;
        if (!writefile_commit(&s->store.file, p)) return false;
        s->progress.frames_done = frames.frames;
    }
    progress_finish(&s->progress, "encode", "encoded", job->output, skip);
    return true;
}

/* --------------------------------------------------------------------------------------------------- decode: pictures
 * out */

static float *sample_row(const upres_region *r, int32_t c, int32_t y)
{
    return r->data + c * r->plane_stride + y * r->row_stride;
}

/* A whole frame, clamped to [-1, 1] and rounded to codes, under its name. */
static bool write_picture(Stage *s, const upres_region *r, Problem *p)
{
    if (!s->wanted[r->frame]) return true;
    const PngForm *f = &s->result_form;
    void *pixels = need_memory(png_row_bytes(f) * (size_t)f->height);
    const float largest = f->bits == 16 ? 65535.0f : 255.0f;
    for (int32_t c = 0; c < 3; c++) {
        for (int32_t y = 0; y < f->height; y++) {
            const float *from = sample_row(r, c, y);
            size_t to = (size_t)y * (size_t)f->width * 3 + (size_t)c;
            for (int32_t x = 0; x < f->width; x++, to += 3) {
                /* written so that a NaN becomes black, not an undefined conversion */
                float v = from[x] > -1 ? from[x] < 1 ? from[x] : 1 : -1;
                float code = floorf((v + 1) / 2 * largest + 0.5f);
                if (f->bits == 16)
                    ((uint16_t *)pixels)[to] = (uint16_t)code;
                else
                    ((uint8_t *)pixels)[to] = (uint8_t)code;
            }
        }
    }
    char *path = outputs_path(&s->outputs, NULL, s->results[r->frame].number);
    bool fine = png_write(path, f, pixels, (ptrdiff_t)png_row_bytes(f), NULL, p);
    free(path);
    free(pixels);
    s->wanted[r->frame] = false;
    s->progress.frames_done += fine;
    return fine;
}

/*
 * Frames that come whole are written at once. Tiles are added up in a file first, whose frames become pictures when the
 * last tile is there: memory holds one frame however long the clip is.
 */
static int take_picture(void *user, const upres_region *r, int add)
{
    Stage *s = user;
    const PngForm *f = &s->result_form;
    bool whole = r->width == f->width && r->height == f->height && r->channels == 3;
    if (whole && !add && !s->store_open) return write_picture(s, r, &s->own) ? 0 : 1;
    if (!s->store_open) {
        const TensorShape shape = {3, s->result_count, f->height, f->width};
        s->store_open = tensor_store_scratch(&s->store, s->outputs.folder, shape, &s->own);
    }
    return s->store_open && tensor_store_write(&s->store, r, add != 0, &s->own) ? 0 : 1;
}

static bool write_collected(Stage *s, Problem *p)
{
    const PngForm *f = &s->result_form;
    ptrdiff_t plane = (ptrdiff_t)f->width * f->height;
    float *samples = need_memory(3 * sizeof *samples * (size_t)plane);
    bool fine = true;
    for (int64_t t = 0; t < s->result_count && fine; t++) {
        const upres_region r = {.struct_size = sizeof r,
                                .frame = t,
                                .height = f->height,
                                .width = f->width,
                                .channels = 3,
                                .data = samples,
                                .plane_stride = plane,
                                .row_stride = f->width};
        if (signals_caught() != 0) fine = progress_problem(&s->progress, UPRES_E_CANCELLED, &(Problem){0}, p);
        fine = fine && (!s->wanted[t] || (tensor_store_frame(&s->store, t, samples, p) && write_picture(s, &r, p)));
    }
    free(samples);
    return fine;
}

/* Names of the results, and whether they may be written. false in *work: all of them exist and are kept. */
static bool check_results(Stage *s, bool to_file, bool *work, Problem *p)
{
    const Job *job = &s->job;
    bool skip;
    if (to_file) {
        if (job->library.bits != 0)
            return problem(p, EXIT_USAGE, "--bits %d: a .safetensors file holds float32 samples; leave --bits out",
                           job->library.bits);
        if (!output_file_check(job->output, job, &skip, p)) return false;
        *work = !skip;
        return true;
    }
    if (!outputs_open(&s->outputs, job->output, p)) return false;
    s->results = need_memory((size_t)s->result_count * sizeof *s->results);
    s->wanted = need_memory((size_t)s->result_count * sizeof *s->wanted);
    for (int64_t i = 0; i < s->result_count; i++) {
        s->results[i].number = i + 1;
        s->wanted[i] = true;
    }
    if (!outputs_check(&s->outputs, job, s->results, (size_t)s->result_count, s->wanted, NULL, p)) return false;
    *work = (int64_t)s->outputs.skipped < s->result_count;
    return true;
}

static bool decode_to(Stage *s, bool to_file, const TensorShape *latents, Problem *p)
{
    const Job *job = &s->job;
    const TensorShape frames = {3, s->result_count, latents->height * s->spatial, latents->width * s->spatial};
    s->result_form = (PngForm){(int32_t)frames.width, (int32_t)frames.height, 3, job->library.bits == 16 ? 16 : 8};
    if (to_file) {
        s->store_open = tensor_store_create(&s->store, job->output, "frames", frames, 0, p);
        if (!s->store_open) return false;
    } else if (!outputs_begin(&s->outputs, p)) {
        return false;
    }
    const upres_video in = {.struct_size = sizeof in, .user = s, .read = read_tensor};
    const upres_video out = {.struct_size = sizeof out, .user = s, .write = to_file ? write_store : take_picture};
    s->progress.library_counts = to_file;
    upres_status r = upres_decode(s->weights, &job->library, (int32_t)latents->width, (int32_t)latents->height,
                                  latents->frames, s->result_count, &in, &out);
    if (r != UPRES_OK) return progress_problem(&s->progress, r, &s->own, p);
    if (to_file) {
        s->store_open = false;
        if (!writefile_commit(&s->store.file, p)) return false;
        s->progress.frames_done = s->result_count;
    }
    return to_file || !s->store_open || write_collected(s, p);
}

static bool decode(Stage *s, int argc, char **argv, Problem *p)
{
    Job *job = &s->job;
    if (!job_parse(job, VERB_DECODE, argc, argv, p)) return false;
    if (job->help) {
        verb_usage(VERB_DECODE);
        return true;
    }
    if (!check_arguments(job, "a .safetensors file with latents",
                         "a .safetensors file, a picture, a pattern or a folder", p))
        return false;
    if (path_kind(job->input) == PATH_FOLDER)
        return problem(p, EXIT_INPUT, "%s: a folder; decode takes one .safetensors file with a tensor `latent`",
                       job->input);
    if (!tensor_source_open(&s->tensor, job->input, "latent", p)) return false;
    /* how many frames a latent stands for is known from the weights only; 4 is what every released VAE has */
    const TensorShape *latents = &s->tensor.shape;
    int64_t most = 4 * (latents->frames - 1) + 1;
    s->result_count = s->tensor.true_frames > 0 ? s->tensor.true_frames : most;
    if (s->result_count > most)
        return problem(p, EXIT_INPUT,
                       "%s: metadata `frames` says %" PRId64 ", but %" PRId64 " latents make at most %" PRId64
                       " frames",
                       job->input, s->result_count, latents->frames, most);
    bool to_file = path_ends_with(job->output, ".safetensors"), work = true;
    if (!check_results(s, to_file, &work, p)) return false;
    progress_start(&s->progress, job, work ? s->result_count - (int64_t)s->outputs.skipped : 0);
    if (work) {
        if (!open_vae(s, p)) return false;
        if (latents->channels != s->latent_channels)
            return problem(p, EXIT_INPUT, "%s: latents of %" PRId64 " channels, but the decoder of %s takes %d",
                           job->input, latents->channels, job->models[0], s->latent_channels);
        if (!decode_to(s, to_file, latents, p)) return false;
    }
    progress_finish(&s->progress, "decode", "decoded", job->output, to_file ? !work : s->outputs.skipped);
    return true;
}

int verb_encode(int argc, char **argv)
{
    Stage s = {.store_open = false};
    Problem p;
    int status = encode(&s, argc, argv, &p) ? EXIT_FINE : console_fail(&s.job.console, &p);
    stage_close(&s);
    return status;
}

int verb_decode(int argc, char **argv)
{
    Stage s = {.store_open = false};
    Problem p;
    int status = decode(&s, argc, argv, &p) ? EXIT_FINE : console_fail(&s.job.console, &p);
    stage_close(&s);
    return status;
}
