/*
 * The pipeline's promises about time, on many small random jobs with arithmetic in place of the networks: an unknown end
 * and parts done apart give the very pixels of one run, only batches that are needed run, frames are asked for once and
 * in rising order, and sources are let go.
 *
 *     pipeline [JOBS]
 */
#include "runtime/pipeline.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { W = 9, H = 7, C = 4, FRAMES_MAX = 24, DEVICES = 4, BATCHES_MAX = FRAMES_MAX + 128 };

/* Networks that mix all frames of a batch, so that a batch cut wrongly shows everywhere. */
typedef struct Toy {
    VaeVideo latents, pictures;
    int h, w, next, keep;
    uint32_t pace;      /* of a random wait before each picture; 0: none */
    int64_t fails_from; /* the first batch that this one cannot do; 0: it can do all */
    int64_t batch;      /* at work */
    struct Toy *partner; /* that has to be at work at the same time, at some time; NULL: none */
    atomic_bool met;
    bool aside;     /* as a device that works while the host does other things: pictures come a step late */
    float *late;    /* the picture on its way; NULL: none */
    VaeRegion where;
    int aheads;     /* encoders that were begun before their turn */
    bool begun;     /* one is */
    int64_t ran[BATCHES_MAX]; /* how often each batch ran */
} Toy;

/* Waits, for a minute at the most, until its partner is in here too. */
static bool meet(Toy *t)
{
    atomic_store(&t->met, true);
    for (int i = 0; t->partner && !atomic_load(&t->partner->met); i++) {
        if (i == 60000) return false;
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    return true;
}

/* Some 0 to 0.3 ms, so that devices overtake each other. */
static void dawdle(Toy *t)
{
    if (!t->pace) return;
    t->pace = t->pace * 1664525u + 1013904223u;
    nanosleep(&(struct timespec){0, (long)(t->pace >> 24) * 1200}, NULL);
}

static bool encode(void *user, int h, int w, int frames, VaeVideo pictures, VaeVideo moments, Fault *f)
{
    Toy *toy = user;
    float *x = malloc((size_t)(3 * h * w) * sizeof *x), *z = calloc((size_t)(C * h * w / 64), sizeof *z);
    bool ok = x && z;
    float so_far = 0;
    toy->begun = false;
    if (!meet(toy)) ok = fault(f, UPRES_E_RUNTIME, "the other device never worked") == UPRES_OK;
    if (toy->fails_from && toy->batch >= toy->fails_from) ok = fault(f, UPRES_E_RUNTIME, "a toy broke") == UPRES_OK;
    for (int i = 0; ok && i < frames; i++) {
        VaeRegion in = {i, 0, 0, h, w, 3, x, (int64_t)h * w, w};
        ok = pictures.read(pictures.user, &in);
        for (int k = 0; k < 3 * h * w; k++) so_far = 0.9f * so_far + 0.1f * x[k];
        for (int k = 0; k < C * h * w / 64; k++) z[k] = so_far + 0.01f * (float)(k % 5);
        VaeRegion out = {i / 4, 0, 0, h / 8, w / 8, C, z, (int64_t)h * w / 64, w / 8};
        if (ok && i % 4 == 0) ok = moments.write(moments.user, &out, false);
    }
    free(x);
    free(z);
    return ok;
}

static bool restore(void *user, int t, int h, int w, float *x, const float *condition, Fault *f)
{
    float sum = 0;
    (void)user;
    (void)f;
    for (int i = 0; i < t * h * w * (C + 1); i++) sum = 0.99f * sum + 0.01f * condition[i];
    for (int i = 0; i < t * h * w * C; i++) x[i] = 0.2f * x[i] + sum + 0.02f * (float)(i % 7);
    return true;
}

static void encode_ahead(void *user, int h, int w, int frames, VaeVideo pictures, VaeVideo moments)
{
    Toy *toy = user;
    float *x = malloc((size_t)(3 * h * w) * sizeof *x);
    VaeRegion in = {frames - 1, 0, 0, h, w, 3, x, (int64_t)h * w, w};
    (void)moments;
    if (x) pictures.read(pictures.user, &in);
    free(x);
    toy->aheads += !toy->begun;
    toy->begun = true;
}

static bool decode_waits(void *user)
{
    const Toy *toy = user;
    return toy->late && toy->next == toy->keep;
}

/* The picture that is on its way arrives. */
static bool arrive(Toy *toy)
{
    const bool ok = !toy->late || toy->pictures.write(toy->pictures.user, &toy->where, false);
    free(toy->late);
    toy->late = NULL;
    return ok;
}

static bool decode_open(void *user, int h, int w, int t, int keep, VaeVideo latents, VaeVideo pictures, Fault *f)
{
    Toy *toy = user;
    (void)t;
    (void)f;
    toy->latents = latents;
    toy->pictures = pictures;
    toy->h = h;
    toy->w = w;
    toy->next = 0;
    toy->keep = keep;
    return true;
}

static bool decode_step(void *user, bool *more, Fault *f)
{
    Toy *toy = user;
    size_t cells = (size_t)(toy->h * toy->w / 64), pixels = (size_t)(toy->h * toy->w);
    float *z = malloc(C * cells * sizeof *z), *x = malloc(3 * pixels * sizeof *x);
    bool ok = z && x;
    (void)f;
    if (toy->next == toy->keep) {
        free(z);
        free(x);
        *more = false;
        return arrive(toy);
    }
    dawdle(toy);
    VaeRegion in = {(toy->next + 3) / 4, 0, 0, toy->h / 8, toy->w / 8, C, z, (int64_t)cells, toy->w / 8};
    VaeRegion out = {toy->next, 0, 0, toy->h, toy->w, 3, x, (int64_t)pixels, toy->w};
    ok = ok && toy->latents.read(toy->latents.user, &in);
    for (size_t i = 0; ok && i < 3 * pixels; i++)
        x[i] = z[i * 7 % (C * cells)] + 0.05f * (float)toy->next + 0.001f * (float)(i % 97) - 0.5f;
    ok = ok && arrive(toy);
    toy->late = x;
    toy->where = out;
    if (!toy->aside) ok = ok && arrive(toy);
    free(z);
    *more = ++toy->next < toy->keep || toy->late;
    return ok;
}

static void decode_close(void *user)
{
    Toy *toy = user;
    free(toy->late);
    toy->late = NULL;
}

static void batch_begins(void *user, int device, int64_t k, const Batch *b)
{
    Toy *toy = (Toy *)user + device;
    (void)b;
    toy->batch = k;
    toy->ran[k]++;
}

/* ------------------------------------------------------------------------------------------------------------- jobs */

typedef struct Job {
    upres_options o;
    int channels, frames;
    bool known;
    FrameRange select[2];
    int selects;
    int devices;         /* 0: one */
    int64_t fails_from;  /* batches from here on break the last device */
    int64_t cancel_after; /* results; 0: none */
    bool together;       /* the first two devices have to meet */
    bool aside;          /* the device works while the host does other things, and sources are pushed as early as they are taken */
} Job;

typedef struct Outcome {
    float *result[FRAMES_MAX]; /* NULL: not given out */
    int64_t ran[BATCHES_MAX];
    int64_t asked;   /* source frames handed over */
    int64_t given;   /* results */
    int aheads;      /* batches begun before all results of those before them had been taken */
    upres_status status;
    char said[160];  /* of a failure */
    char wrong[160]; /* "" when the run kept to the rules */
} Outcome;

static bool cancelled;

static bool waiting(void *user)
{
    (void)user;
    return !cancelled;
}

static uint64_t random_state = 1;

static int random_below(int n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((random_state >> 33) % (uint64_t)n);
}

static void fill_source(uint8_t *codes, int channels, int64_t frame)
{
    for (int i = 0; i < W * H * channels; i++) codes[i] = (uint8_t)((i * 29 + frame * 53 + i * i % 41) & 255);
}

static void take_result(Outcome *out, const PipelineResult *r, const PipelineSetup *s, int64_t *last)
{
    size_t pixels = (size_t)s->picture.size.true_h * (size_t)s->picture.size.true_w;
    if (r->number <= *last || r->number >= FRAMES_MAX) {
        snprintf(out->wrong, sizeof out->wrong, "result %d came after %d", (int)r->number, (int)*last);
        return;
    }
    *last = r->number;
    float *copy = calloc(4 * pixels, sizeof *copy);
    if (!copy) return;
    memcpy(copy, r->rgb, 3 * pixels * sizeof *copy);
    if (r->alpha) memcpy(copy + 3 * pixels, r->alpha, pixels * sizeof *copy);
    out->result[r->number] = copy;
}

static size_t result_bytes(const Job *j)
{
    SizePlan z;
    char error[128];
    if (!size_shortest_edge(H, W, j->o.resolution, 0, false, &z, error, sizeof error)) return 0;
    return 4 * (size_t)z.true_h * (size_t)z.true_w * sizeof(float);
}

static void run(const Job *j, Outcome *out)
{
    char error[128];
    static Toy toy[DEVICES];
    PipelineNetworks networks[DEVICES];
    const int devices = j->devices ? j->devices : 1;
    Fault f = {.status = UPRES_OK};
    memset(out, 0, sizeof *out);
    memset(toy, 0, sizeof toy);
    cancelled = false;
    toy[devices - 1].fails_from = j->fails_from;
    for (int i = 0; j->together && i < 2; i++) toy[i].partner = &toy[1 - i];
    PipelineSetup s = {.frames = j->known ? j->frames : 0, .watch = {toy, batch_begins, NULL, NULL, NULL, waiting}};
    s.picture = (PictureSetup){.options = &j->o, .width = W, .height = H, .channels = j->channels, .bits = 8};
    for (int i = 0; i < devices; i++) {
        networks[i] = (PipelineNetworks){&toy[i],     C,           false,        encode, restore,
                                         decode_open, decode_step, decode_close, NULL,   NULL};
        if (j->aside && devices == 1) {
            toy[i].aside = true;
            networks[i].encode_ahead = encode_ahead;
            networks[i].decode_waits = decode_waits;
        }
        if (devices > 1) toy[i].pace = 1 + (uint32_t)random_below(1 << 20);
    }
    s.networks = networks[0];
    s.others = networks + 1;
    s.other_count = devices - 1;
    size_shortest_edge(H, W, j->o.resolution, 0, false, &s.picture.size, error, sizeof error);
    Pipeline *p = pipeline_open(&s, &f);
    for (int i = 0; p && i < j->selects; i++) pipeline_select(p, j->select[i].first, j->select[i].last);
    int64_t latency = p ? pipeline_latency(p) : 0, last = -1, last_pushed = -1;
    upres_status status = p ? UPRES_OK : f.status;
    uint8_t codes[W * H * 4];
    while (status >= 0 && status != UPRES_END && !out->wrong[0]) {
        PipelineResult r;
        for (int64_t early; j->aside && (early = pipeline_wants(p)) >= 0 && early < j->frames;) {
            fill_source(codes, j->channels, early);
            status = pipeline_push(p, codes, (ptrdiff_t)W * j->channels, &f);
            if (status != UPRES_OK) break;
            last_pushed = early;
            out->asked++;
        }
        if (status < 0) break;
        status = pipeline_pull(p, &r, &f);
        if (status == UPRES_OK) {
            if (last < 0 && out->asked > latency && !j->aside)
                snprintf(out->wrong, sizeof out->wrong, "%d frames before the first result, %d promised",
                         (int)out->asked, (int)latency);
            take_result(out, &r, &s, &last);
            out->given++;
            cancelled = j->cancel_after && out->given >= j->cancel_after;
        } else if (status == UPRES_AGAIN) {
            int64_t wants = pipeline_wants(p);
            if (wants <= last_pushed || (j->known && wants >= j->frames)) {
                snprintf(out->wrong, sizeof out->wrong, "frame %d is wanted after %d", (int)wants, (int)last_pushed);
            } else if (wants >= j->frames) {
                status = pipeline_drain(p, &f);
            } else {
                fill_source(codes, j->channels, wants);
                status = pipeline_push(p, codes, (ptrdiff_t)W * j->channels, &f);
                last_pushed = wants;
                out->asked++;
                if (status == UPRES_AGAIN) snprintf(out->wrong, sizeof out->wrong, "pull and push both say AGAIN");
            }
        }
    }
    if (status != UPRES_END && !out->wrong[0])
        snprintf(out->wrong, sizeof out->wrong, "ended with %d: %.100s", (int)status, f.text);
    if (p && pipeline_wants(p) != -1 && !out->wrong[0])
        snprintf(out->wrong, sizeof out->wrong, "wants a frame after the end");
    pipeline_close(p);
    out->status = status;
    snprintf(out->said, sizeof out->said, "%.150s", f.text);
    out->aheads = toy[0].aheads;
    for (int i = 0; i < devices; i++)
        for (int k = 0; k < BATCHES_MAX; k++) out->ran[k] += toy[i].ran[k];
}

static void discard(Outcome *out)
{
    for (int i = 0; i < FRAMES_MAX; i++) free(out->result[i]);
}

static bool selected(const Job *j, int64_t frame)
{
    bool in = j->selects == 0;
    for (int i = 0; i < j->selects; i++) in |= frame >= j->select[i].first && frame <= j->select[i].last;
    return in;
}

/* By the rules alone: does batch k of the whole clip's grid bear on a selected frame? */
static bool batch_needed(const Job *j, bool slices, int64_t k)
{
    BatchPlan plan = batch_plan(j->frames + j->o.prepend, j->o.batch_size, j->o.overlap, j->o.uniform_batch != 0);
    Batch b = batch_at(&plan, k);
    for (int64_t n = 0; n < plan.count; n++) { /* slices */
        Batch slice = batch_at(&plan, n);
        for (int64_t g = slice.write_lo; g < slice.write_hi; g++) {
            if (g < j->o.prepend || !selected(j, g - j->o.prepend)) continue;
            if (!slices && g >= b.start && g < b.end) return true;
            if (slices && slice.write_lo < b.end && slice.write_hi > b.start) return true;
        }
    }
    return false;
}

static bool compare(const char *what, const Job *j, const Outcome *whole, const Outcome *part, bool slices)
{
    char wrong[200] = "";
    if (part->wrong[0]) snprintf(wrong, sizeof wrong, "%s", part->wrong);
    for (int i = 0; i < j->frames && !wrong[0]; i++) {
        if ((part->result[i] != NULL) != selected(j, i))
            snprintf(wrong, sizeof wrong, "result %d is %s", i,
                     part->result[i] ? "given, but was not asked for" : "missing");
        else if (part->result[i] && memcmp(part->result[i], whole->result[i], result_bytes(j)))
            snprintf(wrong, sizeof wrong, "result %d differs from the whole run's", i);
    }
    BatchPlan plan = batch_plan(j->frames + j->o.prepend, j->o.batch_size, j->o.overlap, j->o.uniform_batch != 0);
    for (int64_t k = 0; k < plan.count && !wrong[0]; k++)
        if (part->ran[k] != batch_needed(j, slices, k))
            snprintf(wrong, sizeof wrong, "batch %d of %d ran %d times", (int)k, (int)plan.count, (int)part->ran[k]);
    if (!wrong[0]) return true;
    printf("FAIL %s: %s (devices %d, frames %d, batch %d, overlap %d, prepend %d, uniform %d, color %d %s, channels %d", what,
           wrong, j->devices, j->frames, j->o.batch_size, j->o.overlap, j->o.prepend, j->o.uniform_batch, (int)j->o.color,
           j->o.color_batch ? "batch" : "frame", j->channels);
    for (int i = 0; i < j->selects; i++) printf(", select %d-%d", (int)j->select[i].first, (int)j->select[i].last);
    printf(")\n");
    return false;
}

static Job random_job(void)
{
    Job j = {.frames = 1 + random_below(FRAMES_MAX), .channels = 1 + random_below(4), .known = true};
    upres_options_default(&j.o, sizeof j.o);
    j.o.resolution = 16 + random_below(8);
    j.o.batch_size = 1 + random_below(8);
    j.o.overlap = random_below(3) ? random_below(j.o.batch_size) : 0;
    j.o.blend_linear = random_below(2);
    j.o.uniform_batch = random_below(2);
    j.o.prepend = random_below(3) ? 0 : random_below(30);
    j.o.color = random_below(2) ? UPRES_COLOR_NONE : UPRES_COLOR_HSV;
    j.o.color_batch = random_below(2);
    j.o.input_noise = random_below(3) ? 0 : 0.5;
    j.o.latent_noise = random_below(3) ? 0 : 0.2;
    j.o.alpha = (upres_alpha)random_below(4);
    j.o.strength = random_below(3) ? 1 : 0.6;
    return j;
}

/* The job whole, by several devices, and a part of it with the end known or not. */
static bool shared_out(const Job *j, const Outcome *whole, bool slices)
{
    bool ok = true;
    for (int part = 0; part < 2; part++) {
        Outcome other;
        Job several = *j;
        several.devices = 2 + random_below(DEVICES - 1);
        several.known = random_below(2) != 0;
        several.selects = part;
        several.select[0].first = random_below(j->frames);
        several.select[0].last = several.select[0].first + random_below(6);
        run(&several, &other);
        ok &= compare(part ? "part on several devices" : "several devices", &several, whole, &other, slices);
        discard(&other);
    }
    return ok;
}

/* What ends before its end: the results until then are right, and there is a sentence. */
static bool ended(const char *what, const Job *j, const Outcome *whole, upres_status status, const char *said)
{
    Outcome other;
    run(j, &other);
    bool ok = other.status == status && strstr(other.said, said) != NULL;
    for (int i = 0; i < j->frames; i++)
        ok &= !other.result[i] || !memcmp(other.result[i], whole->result[i], result_bytes(j));
    if (!ok)
        printf("FAIL %s: ended with %d, '%s', after %d results (frames %d, batch %d, overlap %d)\n", what, (int)other.status,
               other.said, (int)other.given, j->frames, j->o.batch_size, j->o.overlap);
    discard(&other);
    return ok;
}

static bool ends_early(const Job *j, const Outcome *whole)
{
    Job several = *j;
    const BatchPlan plan = batch_plan(j->frames + j->o.prepend, j->o.batch_size, j->o.overlap, false);
    several.devices = 2 + random_below(DEVICES - 1);
    if (several.o.prepend || plan.count < 2) return true;
    several.cancel_after = 1;
    /* With few batches all may be done before anybody waits. */
    if (plan.count > 3 * DEVICES && !ended("cancelled", &several, whole, UPRES_E_CANCELLED, "cancelled")) return false;
    several.cancel_after = 0;
    several.fails_from = plan.count / 2 + 1;
    several.devices = 1;
    if (several.fails_from >= plan.count) return true;
    if (!ended("one that breaks", &several, whole, UPRES_E_RUNTIME, "a toy broke")) return false;
    several.devices = 2; /* of which the other may be fast enough to do without it */
    Outcome other;
    run(&several, &other);
    const bool ok = other.status == UPRES_END || (other.status == UPRES_E_RUNTIME && strstr(other.said, "a toy broke"));
    if (!ok) printf("FAIL one of two breaks: ended with %d, '%s'\n", (int)other.status, other.said);
    discard(&other);
    return ok;
}

/* A device that works while the host does other things: the same results, and where a batch gives some by itself the next one is
 * begun before all of them have been taken. */
static bool begun_early(const Job *j, const Outcome *whole, bool slices)
{
    bool ok = true;
    for (int known = 0; known < 2; known++) {
        Outcome other;
        Job aside = *j;
        aside.aside = true;
        aside.known = known;
        const BatchPlan plan = batch_plan(j->frames + j->o.prepend, j->o.batch_size, j->o.overlap, j->o.uniform_batch != 0);
        run(&aside, &other);
        ok &= compare("begun early", &aside, whole, &other, slices);
        if (ok && known && !j->o.overlap && !j->o.prepend && other.aheads != plan.count - 1)
            ok = printf("FAIL begun early: %d of %d batches\n", other.aheads, (int)plan.count - 1) < 0;
        discard(&other);
    }
    return ok;
}

/* Two devices are at work at once, from the first two batches on. */
static bool at_once(void)
{
    Job j = {.frames = 6, .channels = 3, .known = true, .devices = 2, .together = true};
    Outcome out;
    upres_options_default(&j.o, sizeof j.o);
    options_for_seedvr2(&j.o, &(Fault){.status = UPRES_OK});
    j.o.resolution = 16;
    j.o.batch_size = 2;
    run(&j, &out);
    if (out.wrong[0]) printf("FAIL at once: %s\n", out.wrong);
    discard(&out);
    return !out.wrong[0];
}

int main(int argc, char **argv)
{
    int jobs = argc > 1 ? atoi(argv[1]) : 500, passed = at_once(), failed = !passed;
    for (int i = 0; i < jobs; i++) {
        Job j = random_job();
        PictureSetup picture = {.options = &j.o, .channels = j.channels};
        bool slices = pictures_whole_slices(&picture), ok;
        Outcome whole, other;
        run(&j, &whole);
        ok = compare("whole", &j, &whole, &whole, slices);

        Job unknown = j;
        unknown.known = false;
        run(&unknown, &other);
        ok &= compare("unknown end", &unknown, &whole, &other, slices);
        if (other.asked != j.frames && !other.wrong[0])
            ok = printf("FAIL unknown end: %d frames asked\n", (int)other.asked) < 0;
        discard(&other);

        for (int known = 0; known < 2; known++) {
            Job part = j;
            part.known = known;
            part.selects = 1 + random_below(2);
            for (int n = 0; n < part.selects; n++) {
                part.select[n].first = random_below(j.frames);
                part.select[n].last = part.select[n].first + random_below(6); /* may reach beyond the end */
            }
            run(&part, &other);
            ok &= compare(known ? "part" : "part, unknown end", &part, &whole, &other, slices);
            discard(&other);
        }
        ok &= begun_early(&j, &whole, slices);
        ok &= shared_out(&j, &whole, slices) && ends_early(&j, &whole);
        discard(&whole);
        if (ok)
            passed++;
        else
            failed++;
    }
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
