/*
 * The pipeline's promises about time, on many small random jobs with arithmetic in place of the networks: an unknown end
 * and parts done apart give the very pixels of one run, only batches that are needed run, frames are asked for once and
 * in rising order, and sources are let go.
 *
 *     pipeline [JOBS]
 */
#include "runtime/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { W = 9, H = 7, C = 4, FRAMES_MAX = 24 };

/* Networks that mix all frames of a batch, so that a batch cut wrongly shows everywhere. */
typedef struct Toy {
    VaeVideo latents, pictures;
    int h, w, next, keep;
    int64_t ran[FRAMES_MAX + 128]; /* how often each batch ran */
} Toy;

static bool encode(void *user, int h, int w, int frames, VaeVideo pictures, VaeVideo moments, Fault *f)
{
    float *x = malloc((size_t)(3 * h * w) * sizeof *x), *z = calloc((size_t)(C * h * w / 64), sizeof *z);
    bool ok = x && z;
    float so_far = 0;
    (void)user;
    (void)f;
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
    VaeRegion in = {(toy->next + 3) / 4, 0, 0, toy->h / 8, toy->w / 8, C, z, (int64_t)cells, toy->w / 8};
    VaeRegion out = {toy->next, 0, 0, toy->h, toy->w, 3, x, (int64_t)pixels, toy->w};
    ok = ok && toy->latents.read(toy->latents.user, &in);
    for (size_t i = 0; ok && i < 3 * pixels; i++)
        x[i] = z[i * 7 % (C * cells)] + 0.05f * (float)toy->next + 0.001f * (float)(i % 97) - 0.5f;
    ok = ok && toy->pictures.write(toy->pictures.user, &out, false);
    free(z);
    free(x);
    *more = ++toy->next < toy->keep;
    return ok;
}

static void decode_close(void *user)
{
    (void)user;
}

static void batch_begins(void *user, int64_t k, const Batch *b)
{
    Toy *toy = user;
    (void)b;
    toy->ran[k]++;
}

/* ------------------------------------------------------------------------------------------------------------- jobs */

typedef struct Job {
    upres_options o;
    int channels, frames;
    bool known;
    FrameRange select[2];
    int selects;
} Job;

typedef struct Outcome {
    float *result[FRAMES_MAX]; /* NULL: not given out */
    int64_t ran[FRAMES_MAX + 128];
    int64_t asked;   /* source frames handed over */
    char wrong[160]; /* "" when the run kept to the rules */
} Outcome;

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
    Toy toy = {0};
    Fault f = {.status = UPRES_OK};
    memset(out, 0, sizeof *out);
    PipelineSetup s = {.frames = j->known ? j->frames : 0, .watch = {&toy, batch_begins, NULL, NULL}};
    s.picture = (PictureSetup){.options = &j->o, .width = W, .height = H, .channels = j->channels, .bits = 8};
    s.networks = (PipelineNetworks){.user = &toy,
                                    .latent_channels = C,
                                    .encode = encode,
                                    .restore = restore,
                                    .decode_open = decode_open,
                                    .decode_step = decode_step,
                                    .decode_close = decode_close};
    size_shortest_edge(H, W, j->o.resolution, 0, false, &s.picture.size, error, sizeof error);
    Pipeline *p = pipeline_open(&s, &f);
    for (int i = 0; p && i < j->selects; i++) pipeline_select(p, j->select[i].first, j->select[i].last);
    int64_t latency = p ? pipeline_latency(p) : 0, last = -1, last_pushed = -1;
    upres_status status = p ? UPRES_OK : f.status;
    uint8_t codes[W * H * 4];
    while (status >= 0 && status != UPRES_END && !out->wrong[0]) {
        PipelineResult r;
        status = pipeline_pull(p, &r, &f);
        if (status == UPRES_OK) {
            if (last < 0 && out->asked > latency)
                snprintf(out->wrong, sizeof out->wrong, "%d frames before the first result, %d promised",
                         (int)out->asked, (int)latency);
            take_result(out, &r, &s, &last);
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
    memcpy(out->ran, toy.ran, sizeof out->ran);
    pipeline_close(p);
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
    printf("FAIL %s: %s (frames %d, batch %d, overlap %d, prepend %d, uniform %d, color %d %s, channels %d", what,
           wrong, j->frames, j->o.batch_size, j->o.overlap, j->o.prepend, j->o.uniform_batch, (int)j->o.color,
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

int main(int argc, char **argv)
{
    int jobs = argc > 1 ? atoi(argv[1]) : 500, passed = 0, failed = 0;
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
        discard(&whole);
        if (ok)
            passed++;
        else
            failed++;
    }
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
