#include "runtime/stream_pipeline.h"

#include "runtime/frame_store.h"
#include "runtime/schedule.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_HELD = STREAM_FIRST_FRAMES - STREAM_AHEAD }; /* pictures of a chunk */

/* A thread that reads low-quality frames. */
typedef struct Reader {
    const StreamPipeline *pipeline;
    StreamPictures *pictures;
} Reader;

struct StreamPipeline {
    StreamPipelineSetup setup;
    StreamPictures *pictures;
    Reader reader[UPRES_DEVICES_MAX]; /* of one: the pipeline's own pictures */
    FrameRange *wanted; /* as asked for, in any order; none: everything */
    size_t wanted_count;

    FrameStore sources;
    int64_t seen;   /* frames pushed */
    int64_t frames; /* of the clip; -1: not known yet */

    int64_t start;          /* first frame of the scene at work; chunks are counted from there */
    int64_t cut;            /* where the next scene begins, once that is known; else -1 */
    int64_t k;              /* the chunk that runs or comes next */
    float *held[MOST_HELD]; /* pictures of chunk k - 1 (of chunk k while it runs); NULL: not wanted or given out */
    int64_t next;           /* the frame that is given out next; first_of(k) when none is held */
    float *rgb, *alpha;     /* the result that was given out last, */
    const void *codes;      /* unless it is in these */
    Fault *fault;           /* of the call in progress, for callbacks */
};

static size_t padded_pixels(const StreamPipeline *p)
{
    return (size_t)p->setup.picture.size.padded_h * (size_t)p->setup.picture.size.padded_w;
}

static size_t scaled_pixels(const StreamPictureSetup *s)
{
    return (size_t)s->size.scaled_h * (size_t)s->size.scaled_w;
}

/* -------------------------------------------------------------------------------------------------- open and close */

static StreamPictureSetup reader_setup(const StreamPipelineSetup *s, int i)
{
    StreamPictureSetup low = s->picture;
    low.low_only = true;
    low.device = s->reader_device[i];
    return low;
}

static bool open_readers(StreamPipeline *p, Fault *f)
{
    const StreamPipelineSetup *s = &p->setup;
    p->reader[0] = (Reader){p, p->pictures};
    for (int i = 0; s->readers > 0 && i < s->readers; i++) {
        const StreamPictureSetup low = reader_setup(s, i);
        p->reader[i] = (Reader){p, stream_pictures_open(&low, f)};
        if (!p->reader[i].pictures) return false;
    }
    return true;
}

StreamPipeline *stream_pipeline_open(const StreamPipelineSetup *s, Fault *f)
{
    StreamPipeline *p = calloc(1, sizeof *p);
    if (!p) {
        fault(f, UPRES_E_MEMORY, "no memory for a session");
        return NULL;
    }
    p->setup = *s;
    p->frames = s->frames ? s->frames : -1;
    p->cut = -1;
    p->pictures = stream_pictures_open(&s->picture, f);
    if (!p->pictures || !open_readers(p, f)) {
        stream_pipeline_close(p);
        return NULL;
    }
    size_t pixels = scaled_pixels(&s->picture);
    bool alpha = stream_pictures_has_alpha(&s->picture);
    p->rgb = malloc(3 * pixels * sizeof(float));
    if (alpha) p->alpha = malloc(pixels * sizeof(float));
    if (p->rgb && (p->alpha || !alpha)) return p;
    fault(f, UPRES_E_MEMORY, "no memory for a result of %zu pixels; use a smaller --scale", pixels);
    stream_pipeline_close(p);
    return NULL;
}

void stream_pipeline_close(StreamPipeline *p)
{
    if (!p) return;
    for (int i = 0; i < MOST_HELD; i++) free(p->held[i]);
    frame_store_free(&p->sources);
    for (int i = 0; i < p->setup.readers; i++) stream_pictures_close(p->reader[i].pictures);
    stream_pictures_close(p->pictures);
    free(p->wanted);
    free(p->rgb);
    free(p->alpha);
    free(p);
}

uint64_t stream_pipeline_bytes(const StreamPipelineSetup *s)
{
    const StreamPictureSetup *c = &s->picture;
    uint64_t source = (uint64_t)c->width * (uint64_t)c->height * (uint64_t)c->channels * (c->bits > 8 ? 2 : 1);
    uint64_t padded = 3 * (uint64_t)c->size.padded_h * (uint64_t)c->size.padded_w * sizeof(float);
    uint64_t result = (stream_pictures_has_alpha(c) ? 4 : 3) * (uint64_t)scaled_pixels(c) * sizeof(float);
    uint64_t held = s->frames && s->frames < MOST_HELD ? (uint64_t)s->frames : MOST_HELD;
    const StreamPictureSetup low = reader_setup(s, 0);
    uint64_t pictures = stream_pictures_bytes(c) + (uint64_t)s->readers * stream_pictures_bytes(&low);
    return pictures + (held + STREAM_AHEAD) * source + held * padded + result;
}

/* --------------------------------------------------------------------------------------------- what runs and when */

/* The first frame of chunk k of the scene. */
static int64_t first_of(const StreamPipeline *p, int64_t k)
{
    return p->start + stream_chunk_first(k);
}

/* The first frame behind the scene; -1: not known. */
static int64_t scene_end(const StreamPipeline *p)
{
    return p->cut >= 0 ? p->cut : p->frames;
}

static bool is_wanted(const StreamPipeline *p, int64_t frame)
{
    if (scene_end(p) >= 0 && frame >= scene_end(p)) return false;
    if (!p->wanted_count) return true;
    for (size_t i = 0; i < p->wanted_count; i++)
        if (frame >= p->wanted[i].first && frame <= p->wanted[i].last) return true;
    return false;
}

/* The last result that will be given; INT64_MAX: not known. -1: none. */
static int64_t last_wanted(const StreamPipeline *p)
{
    int64_t last = p->wanted_count ? -1 : INT64_MAX;
    for (size_t i = 0; i < p->wanted_count; i++) {
        int64_t end = p->wanted[i].last;
        if (p->frames >= 0 && end >= p->frames) end = p->frames - 1;
        if (end >= p->wanted[i].first && end > last) last = end;
    }
    return p->frames >= 0 && last >= p->frames ? p->frames - 1 : last;
}

/* The last source frame that chunk k looks at. */
static int64_t last_read(const StreamPipeline *p, int64_t k)
{
    int64_t last = first_of(p, k + 1) + STREAM_AHEAD - 1, end = scene_end(p);
    return end >= 0 && last >= end ? end - 1 : last;
}

static bool scene_is_over(const StreamPipeline *p)
{
    return p->cut >= 0 && first_of(p, p->k) >= p->cut;
}

static bool is_over(const StreamPipeline *p)
{
    return (scene_is_over(p) ? p->cut : first_of(p, p->k)) > last_wanted(p);
}

static bool is_ready(const StreamPipeline *p)
{
    return !is_over(p) && p->seen > last_read(p, p->k);
}

bool stream_pipeline_select(StreamPipeline *p, int64_t first, int64_t last)
{
    FrameRange *more = realloc(p->wanted, (p->wanted_count + 1) * sizeof *more);
    if (!more) return false;
    p->wanted = more;
    p->wanted[p->wanted_count++] = (FrameRange){first, last};
    return true;
}

int64_t stream_pipeline_wants(const StreamPipeline *p)
{
    int64_t last = last_wanted(p);
    if (last < 0 || is_over(p)) return -1;
    bool more =
        last == INT64_MAX || (p->cut >= 0 ? last >= p->cut : p->seen <= last_read(p, stream_chunk_of(last - p->start)));
    return more ? p->seen : -1;
}

int64_t stream_pipeline_latency(const StreamPipeline *p)
{
    int64_t first = p->wanted_count ? INT64_MAX : 0;
    for (size_t i = 0; i < p->wanted_count; i++)
        if (p->wanted[i].first < first) first = p->wanted[i].first;
    return last_wanted(p) < 0 ? 0 : last_read(p, stream_chunk_of(first)) + 1;
}

int64_t stream_pipeline_chunks(const StreamPipeline *p)
{
    int64_t last = last_wanted(p);
    return last == INT64_MAX ? -1 : last < 0 ? 0 : stream_chunk_of(last) + 1;
}

int64_t stream_pipeline_results(const StreamPipeline *p)
{
    if (p->frames < 0) return -1;
    if (!p->wanted_count) return p->frames;
    int64_t count = 0;
    for (int64_t i = 0; i < p->frames; i++) count += is_wanted(p, i);
    return count;
}

/* ------------------------------------------------------------------------------------------------------ source frames */

upres_status stream_pipeline_push(StreamPipeline *p, const void *data, ptrdiff_t stride, Fault *f)
{
    const StreamPictureSetup *s = &p->setup.picture;
    if (is_over(p) || is_ready(p) || p->cut >= 0) return UPRES_AGAIN; /* a scene is finished before the next begins */
    size_t row = (size_t)s->width * (size_t)s->channels * (s->bits > 8 ? 2 : 1), rows = (size_t)s->height;
    if (!frame_store_put(&p->sources, p->seen, data, stride, row, rows))
        return fault(f, UPRES_E_MEMORY, "no memory for source frame %lld (%zu bytes)", (long long)p->seen, row * rows);
    p->seen++;
    return UPRES_OK;
}

void stream_pipeline_cut(StreamPipeline *p)
{
    if (p->seen > p->start) p->cut = p->seen; /* nothing pushed since the last one: no second one */
}

upres_status stream_pipeline_drain(StreamPipeline *p, Fault *f)
{
    if (p->frames < 0) {
        p->frames = p->seen;
        return UPRES_OK;
    }
    return fault_early_end(f, stream_pipeline_wants(p), p->frames);
}

/* ---------------------------------------------------------------------------------------------------------- one chunk */

static bool read_low(void *user, const VaeRegion *r)
{
    const Reader *reader = user;
    const StreamPipeline *p = reader->pipeline;
    int64_t number = p->start + r->frame;
    if (number >= p->seen) number = p->seen - 1; /* a chunk that runs lacks frames beyond the end only */
    const void *source = frame_store_get(&p->sources, number);
    const float *low = stream_pictures_low(reader->pictures, source, number);
    size_t width = (size_t)p->setup.picture.size.padded_w;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++)
            memcpy(r->data + c * r->plane + y * r->row,
                   low + (size_t)c * padded_pixels(p) + (size_t)(r->y + y) * width + (size_t)r->x,
                   (size_t)r->width * sizeof(float));
    return true;
}

static bool write_picture(void *user, const VaeRegion *r, bool add)
{
    StreamPipeline *p = user;
    if (!is_wanted(p, p->start + r->frame)) return true;
    float **picture = &p->held[r->frame - stream_chunk_first(p->k)];
    if (!*picture) *picture = calloc(3 * padded_pixels(p), sizeof(float));
    if (!*picture)
        return fault(p->fault, UPRES_E_MEMORY, "no memory for a picture of %zu pixels; use a smaller --scale",
                     padded_pixels(p)) == UPRES_OK;
    size_t width = (size_t)p->setup.picture.size.padded_w;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++) {
            const float *from = r->data + c * r->plane + y * r->row;
            float *to = *picture + (size_t)c * padded_pixels(p) + (size_t)(r->y + y) * width + (size_t)r->x;
            if (add)
                for (int x = 0; x < r->width; x++) to[x] += from[x];
            else
                memcpy(to, from, (size_t)r->width * sizeof(float));
        }
    return true;
}

static bool run_chunk(StreamPipeline *p)
{
    const StreamNetworks *n = &p->setup.networks;
    VaeVideo low[UPRES_DEVICES_MAX];
    for (int i = 0; i < UPRES_DEVICES_MAX; i++) low[i] = (VaeVideo){&p->reader[i], read_low, NULL};
    if (!n->chunk(n->user, p->k, low, (VaeVideo){p, NULL, write_picture}, p->fault)) return false;
    p->k++;
    return true;
}

/* As with begin_next in runtime/pipeline.c: the picture behind the one that is given. */
static void begin_behind(StreamPipeline *p, float *given)
{
    const int64_t number = p->next + 1;
    if (number >= first_of(p, p->k) || p->held[number - first_of(p, p->k - 1)] == NULL) return;
    stream_pictures_ahead(p->pictures, frame_store_get(&p->sources, p->next), p->next, given);
    stream_pictures_ahead(p->pictures, frame_store_get(&p->sources, number), number, p->held[number - first_of(p, p->k - 1)]);
}

/* Finish the picture `next`, give its memory back, and let go of sources that nothing looks at any more. */
static bool give_next(StreamPipeline *p)
{
    float **picture = &p->held[p->next - first_of(p, p->k - 1)];
    bool given = *picture != NULL;
    if (given) {
        if (p->setup.finishing) p->setup.finishing(p->setup.user);
        begin_behind(p, *picture);
        p->codes = stream_pictures_finish(p->pictures, frame_store_get(&p->sources, p->next), p->next, *picture, p->rgb,
                                          p->alpha);
    }
    free(*picture);
    *picture = NULL;
    p->next++;
    /* beyond the end the last frame stands for all that follow */
    frame_store_drop_before(&p->sources, p->next < p->seen ? p->next : p->seen - 1);
    return given;
}

/* The frames from the cut on know nothing of those before it. */
static bool begin_scene(StreamPipeline *p)
{
    const StreamNetworks *n = &p->setup.networks;
    p->start = p->next = p->cut;
    p->cut = -1;
    p->k = 0;
    return n->restart(n->user, p->start, p->fault);
}

upres_status stream_pipeline_pull(StreamPipeline *p, PipelineResult *r, Fault *f)
{
    p->fault = f;
    for (;;) {
        while (p->next < first_of(p, p->k)) {
            if (!give_next(p)) continue;
            *r = (PipelineResult){p->next - 1, p->codes, p->rgb, p->alpha};
            return UPRES_OK;
        }
        if (is_over(p)) return UPRES_END;
        if (scene_is_over(p)) {
            if (!begin_scene(p)) return f->status;
            continue;
        }
        if (!is_ready(p)) return UPRES_AGAIN;
        if (!run_chunk(p)) return f->status;
    }
}
