#include "runtime/session.h"

#include "kernels/cpu/quantize.h"
#include "runtime/session_kind.h"
#include "runtime/system.h"

#include <stdlib.h>

static const char *const PHASE_NAMES[PHASE_COUNT] = {"encode", "transformer", "decode", "color"};

/* ---------------------------------------------------------------------------------------------------------- reports */

void session_turn_to(upres_session *s, int activity)
{
    double now = system_seconds();
    if (s->activity >= 0) s->spent[s->activity] += now - s->since;
    s->activity = activity;
    s->since = now;
}

void session_report(upres_session *s, double phase_done)
{
    if (!s->options.progress || s->activity < 0) return;
    double work = s->flop_total > 0 ? (s->flop_done + s->flop_part) / s->flop_total : 0;
    upres_progress p = {
        .struct_size = sizeof p,
        .phase = PHASE_NAMES[s->activity],
        .frames_done = s->results,
        .frames_total = s->results_total,
        .phase_done = phase_done,
        .work_done = work < 1 ? work : 1,
        .seconds = system_seconds() - s->opened,
        .peak_bytes = s->peak_bytes,
    };
    s->options.progress(s->options.user, &p);
}

/* -------------------------------------------------------------------------------------------------- open and close */

static bool check_range(int64_t first, int64_t last, Fault *f)
{
    if (first >= 0 && last >= first) return true;
    fault(f, UPRES_E_ARGUMENT, "frames %lld to %lld are no range; numbers count from 0 and rise", (long long)first,
          (long long)last);
    return false;
}

upres_status session_check_clip(const upres_clip *c, Fault *f)
{
    if (c->width < 1 || c->width > 16384 || c->height < 1 || c->height > 16384)
        return fault(f, UPRES_E_ARGUMENT, "the clip is %dx%d; sides from 1 to 16384 are served", c->width, c->height);
    if (c->channels < 1 || c->channels > 4)
        return fault(f, UPRES_E_ARGUMENT,
                     "the clip has %d channels; give 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA)", c->channels);
    if (c->bits < 8 || c->bits > 16)
        return fault(f, UPRES_E_ARGUMENT, "the clip has %d bits a sample; 8 to 16 are served", c->bits);
    if (c->frames < 0 || c->frames > INT32_MAX / 2)
        return fault(f, UPRES_E_ARGUMENT, "the clip has %lld frames; give 0 (not known) to %d", (long long)c->frames,
                     INT32_MAX / 2);
    for (size_t i = 0; i < c->range_count; i++)
        if (!check_range(c->ranges[i].first, c->ranges[i].last, f)) return f->status;
    return UPRES_OK;
}

bool session_schedule(const upres_options *o, const upres_clip *clip, bool whole_slices, Schedule *schedule, Fault *f)
{
    bool fine = true;
    schedule_init(schedule, clip->frames, o->batch_size, o->overlap, o->uniform_batch != 0, o->prepend, whole_slices);
    for (size_t i = 0; fine && i < clip->range_count; i++)
        fine = schedule_select(schedule, clip->ranges[i].first, clip->ranges[i].last);
    schedule_seal(schedule);
    return fine || fault(f, UPRES_E_MEMORY, "no memory for a list of frames") == UPRES_OK;
}

/* The first part of a system; its transformer before anything else. */
static const WeightPart *part_of(const WeightSet *w, bool flashvsr)
{
    const WeightPart *found = NULL;
    for (size_t i = 0; i < weight_set_part_count(w); i++) {
        const WeightPart *part = weight_set_part(w, i);
        if (part->network == (flashvsr ? NET_FLASHVSR_DIT : NET_SEEDVR2_DIT)) return part;
        bool other = flashvsr ? part->network == NET_FLASHVSR_LQ || part->network == NET_TCDECODER
                              : part->network == NET_SEEDVR2_VAE;
        if (other && !found) found = part;
    }
    return found;
}

const SessionKind *session_kind(const WeightSet *w, Fault *f)
{
    const WeightPart *seedvr2 = part_of(w, false), *flashvsr = part_of(w, true);
    bool restores = seedvr2 && seedvr2->network == NET_SEEDVR2_DIT,
         streams = flashvsr && flashvsr->network == NET_FLASHVSR_DIT;
    if (restores && streams) {
        fault(f, UPRES_E_INPUT,
              "%s holds a SeedVR2 transformer and %s one of FlashVSR; give the files of one system, which decides what "
              "runs",
              weight_file_path(seedvr2->file), weight_file_path(flashvsr->file));
        return NULL;
    }
    /* Without any transformer the system whose parts are there says what is missing. */
    return streams || (flashvsr && !seedvr2) ? &session_flashvsr : &session_seedvr2;
}

upres_status session_no_frames(const upres_clip *clip, Fault *f)
{
    return fault(f, UPRES_E_ARGUMENT, "none of the clip's %lld frames is asked for; ranges count from 0",
                 (long long)clip->frames);
}

upres_status session_open(upres_session **out, const WeightSet *w, const upres_options *o, const upres_clip *clip,
                          Fault *f)
{
    if (session_check_clip(clip, f) != UPRES_OK) return f->status;
    const SessionKind *kind = session_kind(w, f);
    if (!kind) return f->status;
    upres_session *s = calloc(1, sizeof *s);
    if (!s) return fault(f, UPRES_E_MEMORY, "no memory for a session");
    s->options = *o;
    s->clip = *clip;
    s->kind = kind;
    s->activity = -1;
    s->opened = system_seconds();
    if (kind->settle(&s->options, f) == UPRES_OK && kind->open(s, w, f) == UPRES_OK) {
        s->bits = options_bits(&s->options, clip->bits);
        s->dither = options_dither(&s->options, clip->bits);
        s->codes = malloc((size_t)s->width * (size_t)s->height * (size_t)s->channels * (s->bits > 8 ? 2 : 1));
        if (!s->codes) fault(f, UPRES_E_MEMORY, "no memory for a result of %dx%d", s->width, s->height);
        for (size_t i = 0; f->status == UPRES_OK && i < clip->range_count; i++)
            session_select(s, clip->ranges[i].first, clip->ranges[i].last, f);
    }
    s->clip.ranges = NULL; /* the caller's */
    s->clip.range_count = 0;
    if (f->status != UPRES_OK) {
        session_close(s);
        return f->status;
    }
    *out = s;
    return UPRES_OK;
}

void session_close(upres_session *s)
{
    if (!s) return;
    s->kind->close(s->job);
    free(s->codes);
    free(s);
}

void session_form(const upres_session *s, int32_t *width, int32_t *height, int32_t *channels, int32_t *bits)
{
    if (width) *width = s->width;
    if (height) *height = s->height;
    if (channels) *channels = s->channels;
    if (bits) *bits = s->bits;
}

/* --------------------------------------------------------------------------------------------------- frames in, out */

upres_status session_select(upres_session *s, int64_t first, int64_t last, Fault *f)
{
    if (s->pushed)
        return fault(f, UPRES_E_ARGUMENT,
                     "frames %lld to %lld were asked for after the first push; select before pushing", (long long)first,
                     (long long)last);
    if (!check_range(first, last, f)) return f->status;
    if (!s->kind->select(s->job, first, last)) return fault(f, UPRES_E_MEMORY, "no memory for a list of frames");
    return UPRES_OK;
}

int64_t session_wants(const upres_session *s)
{
    return s->kind->wants(s->job);
}

int64_t session_latency(const upres_session *s)
{
    return s->kind->latency(s->job);
}

upres_status session_push(upres_session *s, const upres_frame *frame, Fault *f)
{
    const upres_clip *c = &s->clip;
    if (frame->width != c->width || frame->height != c->height || frame->channels != c->channels ||
        frame->bits != c->bits)
        return fault(f, UPRES_E_INPUT,
                     "frame %lld is %dx%d with %d channels of %d bits, but the clip is %dx%d with %d of %d",
                     (long long)frame->number, frame->width, frame->height, frame->channels, frame->bits, c->width,
                     c->height, c->channels, c->bits);
    size_t row = (size_t)c->width * (size_t)c->channels * (c->bits > 8 ? 2 : 1);
    if (!frame->data || (c->height > 1 && (size_t)(frame->stride < 0 ? -frame->stride : frame->stride) < row))
        return fault(f, UPRES_E_ARGUMENT, "frame %lld has %s; rows of %zu bytes are needed", (long long)frame->number,
                     frame->data ? "a stride that is too small" : "no data", row);
    int64_t wanted = session_wants(s);
    if (wanted < 0)
        return fault(f, UPRES_E_ARGUMENT, "frame %lld was pushed, but no more are needed; pull the results",
                     (long long)frame->number);
    if (frame->number != wanted)
        return fault(f, UPRES_E_ARGUMENT, "frame %lld was pushed, but %lld is wanted; ask upres_session_wants",
                     (long long)frame->number, (long long)wanted);
    s->pushed = true;
    return s->kind->push(s->job, frame->data, frame->stride, f);
}

upres_status session_cut(upres_session *s, Fault *f)
{
    return s->kind->cut(s->job, f);
}

upres_status session_drain(upres_session *s, Fault *f)
{
    s->pushed = true;
    return s->kind->drain(s->job, f);
}

void session_draw_line(const upres_session *s, float *rgb, bool column, int at)
{
    size_t w = (size_t)s->width, h = (size_t)s->height;
    if (at < 0 || at >= (column ? s->width : s->height)) return;
    for (size_t along = 0; along < (column ? h : w); along++) {
        size_t pixel = column ? along * w + (size_t)at : (size_t)at * w + along;
        rgb[pixel] = rgb[w * h + pixel] = 1; /* yellow */
        rgb[2 * w * h + pixel] = 0;
    }
}

PictureForm session_codes(const upres_options *o, const upres_clip *clip, int channels)
{
    if (o->tile_debug) return (PictureForm){0}; /* lines are drawn into floats */
    return (PictureForm){channels, options_bits(o, clip->bits), options_dither(o, clip->bits) != 0, o->seed};
}

static void quantize(upres_session *s, const PipelineResult *r)
{
    int bytes = s->bits > 8 ? 2 : 1;
    ptrdiff_t stride = (ptrdiff_t)s->width * s->channels * bytes;
    for (int c = 0; c < s->channels; c++) {
        const float *plane = c == 3 ? r->alpha : r->rgb + (size_t)c * (size_t)s->width * (size_t)s->height;
        quantize_plane(plane, s->height, s->width, s->bits, s->dither != 0, s->options.seed, r->number, c,
                       (char *)s->codes + c * bytes, stride, s->channels);
    }
}

upres_status session_pull(upres_session *s, upres_frame *out, Fault *f)
{
    if (s->options.cancel && s->options.cancel(s->options.user))
        return fault(f, UPRES_E_CANCELLED, "the job was cancelled");
    PipelineResult r;
    upres_status status = s->kind->pull(s->job, &r, f);
    if (status == UPRES_OK) {
        if (r.codes == NULL) quantize(s, &r);
        s->results++;
        session_report(s, 1);
        out->number = r.number;
        out->width = s->width;
        out->height = s->height;
        out->channels = s->channels;
        out->bits = s->bits;
        out->data = r.codes ? r.codes : s->codes;
        out->stride = (ptrdiff_t)s->width * s->channels * (s->bits > 8 ? 2 : 1);
    }
    session_turn_to(s, -1);
    return status;
}
