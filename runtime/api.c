/*
 * The public functions: look at the arguments, hand over, keep the sentence of a failure for the calling thread.
 */
#include "loader/weights.h"
#include "runtime/about.h"
#include "runtime/bench/bench.h"
#include "runtime/device.h"
#include "runtime/options.h"
#include "runtime/plan.h"
#include "runtime/selftest/selftest.h"
#include "runtime/session.h"
#include "runtime/stages.h"
#include "runtime/system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct upres_weights {
    WeightSet *set;
};

static _Thread_local Fault last;

static Fault *begin(void)
{
    last.status = UPRES_OK;
    last.text[0] = 0;
    last.needed = 0;
    return &last;
}

static upres_status null_argument(Fault *f, const char *function)
{
    return fault(f, UPRES_E_ARGUMENT, "%s was given NULL where none may be", function);
}

/* Copy a caller's structure of any age over `full`, which holds defaults. */
static upres_status take(void *full, size_t full_size, const void *given, const char *type, Fault *f)
{
    uint32_t size;
    if (!given) return fault(f, UPRES_E_ARGUMENT, "a %s is NULL where none may be", type);
    memcpy(&size, given, sizeof size);
    if (size < sizeof size)
        return fault(f, UPRES_E_ARGUMENT, "struct_size of a %s is %u; set it to sizeof(%s)", type, (unsigned)size,
                     type);
    memcpy(full, given, size < full_size ? size : full_size);
    return UPRES_OK;
}

/* Fill a caller's structure of any age from `full`. */
static upres_status give(void *to, const void *full, size_t full_size, const char *type, Fault *f)
{
    uint32_t size;
    if (!to) return fault(f, UPRES_E_ARGUMENT, "a %s is NULL where none may be", type);
    memcpy(&size, to, sizeof size);
    if (size < sizeof size)
        return fault(f, UPRES_E_ARGUMENT, "struct_size of a %s is %u; set it to sizeof(%s)", type, (unsigned)size,
                     type);
    size_t copied = size < full_size ? size : full_size;
    memcpy((char *)to + sizeof size, (const char *)full + sizeof size, copied - sizeof size);
    return UPRES_OK;
}

const char *upres_last_error(void)
{
    return last.text;
}

/* ------------------------------------------------------------------------------------------------------ weight files */

upres_status upres_weights_open(upres_weights **out, const char *const *paths, size_t count)
{
    Fault *f = begin();
    if (!out || (!paths && count)) return null_argument(f, "upres_weights_open");
    *out = NULL;
    if (count < 1 || count > 64)
        return fault(f, UPRES_E_ARGUMENT, "%zu weight files were given; 1 to 64 can be opened together", count);
    for (size_t i = 0; i < count; i++)
        if (!paths[i]) return null_argument(f, "upres_weights_open");
    upres_weights *w = calloc(1, sizeof *w);
    if (!w) return fault(f, UPRES_E_MEMORY, "no memory for a list of weight files");
    char error[sizeof f->text];
    w->set = weight_set_open(paths, count, error, sizeof error);
    if (!w->set) {
        free(w);
        return fault(f, UPRES_E_INPUT, "%s", error);
    }
    *out = w;
    return UPRES_OK;
}

void upres_weights_close(upres_weights *w)
{
    if (!w) return;
    weight_set_close(w->set);
    free(w);
}

size_t upres_weights_file_count(const upres_weights *w)
{
    return w ? weight_set_file_count(w->set) : 0;
}

static const WeightFile *file_at(const upres_weights *w, size_t file, Fault *f)
{
    if (!w) {
        null_argument(f, "a function on weight files");
        return NULL;
    }
    if (file < weight_set_file_count(w->set)) return weight_set_file(w->set, file);
    fault(f, UPRES_E_ARGUMENT, "weight file %zu was asked for, but there are %zu, counted from 0", file,
          weight_set_file_count(w->set));
    return NULL;
}

static const WeightTensor *tensor_at(const upres_weights *w, size_t file, size_t index, Fault *f)
{
    const WeightFile *x = file_at(w, file, f);
    if (!x) return NULL;
    if (index < weight_file_tensor_count(x)) return weight_file_tensor(x, index);
    fault(f, UPRES_E_ARGUMENT, "%s: tensor %zu was asked for, but it has %zu, counted from 0", weight_file_path(x),
          index, weight_file_tensor_count(x));
    return NULL;
}

upres_status upres_weights_file(const upres_weights *w, size_t file, upres_file_info *info)
{
    Fault *f = begin();
    const WeightFile *x = file_at(w, file, f);
    if (!x) return f->status;
    upres_file_info full = {
        .path = weight_file_path(x),
        .container = weight_file_container(x),
        .bytes = weight_file_bytes(x),
        .tensor_count = weight_file_tensor_count(x),
        .metadata_count = weight_file_metadata_count(x),
    };
    return give(info, &full, sizeof full, "upres_file_info", f);
}

upres_status upres_weights_tensor(const upres_weights *w, size_t file, size_t index, upres_tensor_info *info)
{
    Fault *f = begin();
    const WeightTensor *t = tensor_at(w, file, index, f);
    if (!t) return f->status;
    upres_tensor_info full = {.name = t->name, .type = weight_type_name(t->type), .rank = t->rank, .bytes = t->bytes};
    memcpy(full.shape, t->shape, sizeof full.shape);
    return give(info, &full, sizeof full, "upres_tensor_info", f);
}

upres_status upres_weights_metadata(const upres_weights *w, size_t file, size_t index, const char **key,
                                    const char **value)
{
    Fault *f = begin();
    if (!key || !value) return null_argument(f, "upres_weights_metadata");
    const WeightFile *x = file_at(w, file, f);
    if (!x) return f->status;
    if (index >= weight_file_metadata_count(x))
        return fault(f, UPRES_E_ARGUMENT, "%s: metadata %zu was asked for, but it has %zu, counted from 0",
                     weight_file_path(x), index, weight_file_metadata_count(x));
    weight_file_metadata(x, index, key, value);
    return UPRES_OK;
}

upres_status upres_weights_read(const upres_weights *w, size_t file, size_t index, uint64_t first, uint64_t count,
                                float *out)
{
    Fault *f = begin();
    const WeightTensor *t = tensor_at(w, file, index, f);
    if (!t) return f->status;
    uint64_t all = (uint64_t)t->count;
    if (!out && count) return null_argument(f, "upres_weights_read");
    if (first > all || count > all - first)
        return fault(f, UPRES_E_ARGUMENT, "%s has %llu values; %llu from number %llu on are not all there", t->name,
                     (unsigned long long)all, (unsigned long long)count, (unsigned long long)first);
    weight_read(t, (int64_t)first, (int64_t)count, out);
    return UPRES_OK;
}

size_t upres_weights_part_count(const upres_weights *w)
{
    return w ? weight_set_part_count(w->set) : 0;
}

upres_status upres_weights_part(const upres_weights *w, size_t index, upres_part_info *info)
{
    Fault *f = begin();
    if (!w) return null_argument(f, "upres_weights_part");
    if (index >= weight_set_part_count(w->set))
        return fault(f, UPRES_E_ARGUMENT, "part %zu was asked for, but %zu were recognised, counted from 0", index,
                     weight_set_part_count(w->set));
    const WeightPart *p = weight_set_part(w->set, index);
    upres_part_info full = {
        .network = weight_network_name(p->network),
        .file = p->file_index,
        .prefix = p->prefix,
        .json = p->json,
        .summary = p->summary,
        .missing_count = p->missing_count,
        .missing = p->missing,
        .unused_count = p->unused_count,
        .unused = p->unused,
    };
    return give(info, &full, sizeof full, "upres_part_info", f);
}

upres_status upres_convert(const char *const *paths, size_t count, const char *out, const char *type)
{
    return upres_convert_stoppable(paths, count, out, type, NULL, NULL);
}

upres_status upres_convert_stoppable(const char *const *paths, size_t count, const char *out, const char *type,
                                     int (*cancel)(void *user), void *user)
{
    Fault *f = begin();
    if (!paths || !out || !type) return null_argument(f, "upres_convert");
    if (count < 1 || count > 64)
        return fault(f, UPRES_E_ARGUMENT, "%zu weight files were given; 1 to 64 can be merged", count);
    if (strcmp(type, "f32") && strcmp(type, "f16") && strcmp(type, "bf16") && strcmp(type, "q8_0"))
        return fault(f, UPRES_E_ARGUMENT, "--type %.40s cannot be written; use f32, f16, bf16 or q8_0", type);
    char error[sizeof f->text];
    static const upres_status statuses[] = {UPRES_OK, UPRES_E_INPUT, UPRES_E_RUNTIME, UPRES_E_ARGUMENT, UPRES_E_CANCELLED};
    const int result = weight_convert(paths, count, out, type, (WeightCancel){cancel, user}, error, sizeof error);
    const upres_status status = statuses[result];
    return status == UPRES_OK ? status : fault(f, status, "%s", error);
}

/* ----------------------------------------------------------------------------------------------------------- session */

/* Checked options whose device, where one is asked for, can be had in that precision: said before any weight is read. */
static bool take_options(upres_options *checked, const upres_options *o, Fault *f)
{
    if (options_take(checked, o, f) != UPRES_OK) return false;
    return (checked->device < 0 && checked->precision == UPRES_PRECISION_AUTO) || device_choose_all(checked, f);
}

/* The options of a job that computes. */
static bool take_job(upres_options *checked, const upres_options *o, Fault *f)
{
    if (!take_options(checked, o, f)) return false;
    if (!checked->device_model) return true;
    fault(f, UPRES_E_UNSUPPORTED, "'%.80s' is a described device, good for plans alone; name one that is there", checked->device_model);
    return false;
}

upres_status upres_options_check(const upres_options *o)
{
    upres_options checked;
    Fault *f = begin();
    take_options(&checked, o, f);
    return f->status;
}

upres_status upres_session_open(upres_session **out, const upres_weights *w, const upres_options *o,
                                const upres_clip *clip)
{
    Fault *f = begin();
    upres_options checked;
    upres_clip whole = {0};
    if (out) *out = NULL;
    if (!out || !w) return null_argument(f, "upres_session_open");
    if (!take_job(&checked, o, f) || take(&whole, sizeof whole, clip, "upres_clip", f) != UPRES_OK)
        return f->status;
    return session_open(out, w->set, &checked, &whole, f);
}

void upres_session_close(upres_session *s)
{
    session_close(s);
}

upres_status upres_session_output(const upres_session *s, int32_t *width, int32_t *height, int32_t *channels,
                                  int32_t *bits)
{
    Fault *f = begin();
    if (!s) return null_argument(f, "upres_session_output");
    session_form(s, width, height, channels, bits);
    return UPRES_OK;
}

upres_status upres_session_select(upres_session *s, int64_t first, int64_t last_frame)
{
    Fault *f = begin();
    return s ? session_select(s, first, last_frame, f) : null_argument(f, "upres_session_select");
}

int64_t upres_session_wants(const upres_session *s)
{
    return s ? session_wants(s) : -1;
}

upres_status upres_session_push(upres_session *s, const upres_frame *frame)
{
    Fault *f = begin();
    upres_frame whole = {0};
    if (!s) return null_argument(f, "upres_session_push");
    if (take(&whole, sizeof whole, frame, "upres_frame", f) != UPRES_OK) return f->status;
    return session_push(s, &whole, f);
}

upres_status upres_session_cut(upres_session *s)
{
    Fault *f = begin();
    return s ? session_cut(s, f) : null_argument(f, "upres_session_cut");
}

upres_status upres_session_drain(upres_session *s)
{
    Fault *f = begin();
    return s ? session_drain(s, f) : null_argument(f, "upres_session_drain");
}

upres_status upres_session_pull(upres_session *s, upres_frame *out)
{
    Fault *f = begin();
    upres_frame full = {0};
    if (!s || !out) return null_argument(f, "upres_session_pull");
    upres_status status = session_pull(s, &full, f);
    if (status != UPRES_OK) return status;
    return give(out, &full, sizeof full, "upres_frame", f);
}

int64_t upres_session_latency(const upres_session *s)
{
    return s ? session_latency(s) : 0;
}

/* ------------------------------------------------------------------------------------------------ stages, plan, bench */

static upres_status take_videos(upres_video *in, const upres_video *given_in, upres_video *out,
                                const upres_video *given_out, Fault *f)
{
    *in = *out = (upres_video){0};
    if (take(in, sizeof *in, given_in, "upres_video", f) != UPRES_OK) return f->status;
    return take(out, sizeof *out, given_out, "upres_video", f);
}

upres_status upres_encode(const upres_weights *w, const upres_options *o, int32_t width, int32_t height, int64_t count,
                          const upres_video *frames, const upres_video *latents)
{
    Fault *f = begin();
    upres_options checked;
    upres_video in, out;
    if (!w) return null_argument(f, "upres_encode");
    if (!take_job(&checked, o, f) || !device_is_one(&checked, "encode", f) ||
        take_videos(&in, frames, &out, latents, f) != UPRES_OK)
        return f->status;
    return stage_encode(w->set, &checked, width, height, count, &in, &out, f);
}

upres_status upres_decode(const upres_weights *w, const upres_options *o, int32_t latent_width, int32_t latent_height,
                          int64_t count, int64_t keep, const upres_video *latents, const upres_video *frames)
{
    Fault *f = begin();
    upres_options checked;
    upres_video in, out;
    if (!w) return null_argument(f, "upres_decode");
    if (!take_job(&checked, o, f) || !device_is_one(&checked, "decode", f) ||
        take_videos(&in, latents, &out, frames, f) != UPRES_OK)
        return f->status;
    return stage_decode(w->set, &checked, latent_width, latent_height, count, keep, &in, &out, f);
}

upres_status upres_vae_form(const upres_weights *w, int32_t *latent_channels, int32_t *spatial_factor,
                            int32_t *temporal_factor)
{
    Fault *f = begin();
    if (!w) return null_argument(f, "upres_vae_form");
    const VaeConfig *form = stage_vae_form(w->set, f);
    if (!form) return f->status;
    if (latent_channels) *latent_channels = form->latent_channels;
    if (spatial_factor) *spatial_factor = form->spatial_factor;
    if (temporal_factor) *temporal_factor = form->temporal_factor;
    return UPRES_OK;
}

upres_status upres_plan(const upres_weights *w, const upres_options *o, upres_job job, const upres_clip *clip,
                        upres_plan_report *report)
{
    Fault *f = begin();
    upres_options checked;
    upres_clip whole = {0};
    upres_plan_report full;
    if (!w || !report) return null_argument(f, "upres_plan");
    if (!take_options(&checked, o, f) || take(&whole, sizeof whole, clip, "upres_clip", f) != UPRES_OK) return f->status;
    const upres_status status = plan_job(w->set, &checked, job, &whole, &full, f);
    if (status != UPRES_OK && status != UPRES_E_MEMORY) return status;
    full.needed_bytes = f->needed;
    const upres_status given = give(report, &full, sizeof full, "upres_plan_report", f);
    return given != UPRES_OK ? given : status;
}

size_t upres_device_count(void)
{
    return 1 + (size_t)cuda_device_count();
}

static upres_status describe_cuda(int ordinal, upres_device_info *info, Fault *f)
{
    char error[512];
    CudaDevice d;
    if (!cuda_device(ordinal, &d, error, sizeof error)) return fault(f, UPRES_E_UNSUPPORTED, "%s", error);
    *info = (upres_device_info){.device = ordinal, .memory_bytes = d.memory, .free_bytes = cuda_device_free(ordinal)};
    snprintf(info->name, sizeof info->name, "cuda:%d: %.60s, sm_%d%d, %d SMs", ordinal, d.name, d.major, d.minor, d.sms);
    return UPRES_OK;
}

upres_status upres_device(size_t index, upres_device_info *info)
{
    Fault *f = begin();
    if (index >= upres_device_count())
        return fault(f, UPRES_E_ARGUMENT, "device %zu was asked for, but there are %zu, counted from 0", index,
                     upres_device_count());
    upres_device_info full = {.device = UPRES_DEVICE_CPU};
    if (index > 0 && describe_cuda((int)index - 1, &full, f) != UPRES_OK) return f->status;
    if (index == 0) {
        Dev *d = dev_plan_open(&(DevSetup){0});
        snprintf(full.name, sizeof full.name, "%s", d ? dev_describe(d) : "cpu");
        if (d) dev_close(d);
        system_memory(&full.memory_bytes, &full.free_bytes);
    }
    return give(info, &full, sizeof full, "upres_device_info", f);
}

upres_status upres_bench(const upres_options *o, const char *pattern, void *user,
                         int (*each)(void *user, const upres_bench_result *r))
{
    Fault *f = begin();
    upres_options checked;
    if (!each) return null_argument(f, "upres_bench");
    if (!take_job(&checked, o, f) || !device_is_one(&checked, "bench", f)) return f->status;
    return bench_run(&checked, pattern, user, each, f);
}

upres_status upres_selftest(const upres_options *o, const char *pattern, void *user,
                            int (*each)(void *user, const upres_selftest_result *r))
{
    Fault *f = begin();
    upres_options checked;
    if (!each) return null_argument(f, "upres_selftest");
    if (options_take(&checked, o, f) != UPRES_OK || !device_is_one(&checked, "selftest", f)) return f->status;
    return selftest_run(&checked, pattern, user, each, f);
}

upres_status upres_about(char *text, size_t size)
{
    Fault *f = begin();
    if (!text || !size) return null_argument(f, "upres_about");
    about(text, size);
    return UPRES_OK;
}
