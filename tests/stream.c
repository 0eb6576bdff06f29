/*
 * FlashVSR as a stream, through the public interface: as many frames come out as go in, whatever their number; it does not
 * matter how they are handed over, or whether their number is told; the latency told is the true one.
 *
 *     stream
 *
 * Narrow networks of random weights (tests/synth.h), in which everything has an effect, in a temporary folder. A line a
 * test and the closing "N passed, N failed, N skipped"; exit 1 when one failed.
 */
#include "runtime/upres.h"
#include "tests/synth.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 20, HEIGHT = 12, SOURCE = WIDTH * HEIGHT * 3, SCALE = 2, RESULT = SOURCE * SCALE * SCALE };
enum { LONGEST = 60, FILES = 4, NAME_ROOM = 2048 };

/* ---------------------------------------------------------------------------------------------------------- weights */

static void fill(void *user, const SynthShape *s, float *out)
{
    (void)user;
    synth_weight(s->name, s->rank, s->shape, 1, out);
}

static bool write_network(const char *path, SynthShape *shapes, int count)
{
    bool fine = count > 0 && synth_write_safetensors(path, shapes, count, fill, NULL) == 0;
    if (count > 0) free(shapes);
    return fine;
}

/* paths: their names, to be removed again. */
static upres_weights *make_weights(const char *folder, char paths[FILES][NAME_ROOM])
{
    static const char *const names[FILES] = {"dit", "lq", "decoder", "prompt"};
    static const int channels[4] = {24, 12, 8, 6}, strides[3] = {1, 2, 2};
    const char *given[FILES];
    for (int i = 0; i < FILES; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%s.safetensors", folder, names[i]);
        given[i] = paths[i];
    }
    SynthShape *dit, *lq, *decoder, prompt = {"posi_prompt", 3, {1, 20, 48}};
    int dit_count = synth_flashvsr_dit_layout(2, 256, 64, 48, 256, &dit);
    int lq_count = synth_lq_layout(16, 24, 256, 1, &lq);
    int decoder_count = synth_tcdecoder_layout(channels, 784, strides, 1, &decoder);
    bool fine = write_network(paths[0], dit, dit_count);
    fine &= write_network(paths[1], lq, lq_count);
    fine &= write_network(paths[2], decoder, decoder_count);
    fine &= synth_write_safetensors(paths[3], &prompt, 1, fill, NULL) == 0;
    upres_weights *w = NULL;
    if (!fine || upres_weights_open(&w, given, FILES) != UPRES_OK)
        printf("FAIL weights: cannot be made or opened: %s\n", upres_last_error());
    return w;
}

/* ------------------------------------------------------------------------------------------------------------- runs */

typedef struct Way {
    const char *name;
    int burst;    /* frames handed over at once, as long as they are taken */
    bool unknown; /* their number is not told */
    int cut;      /* the frame before which a scene cut is told; 0: none */
} Way;

typedef struct Run {
    int pushed, pulled;
    int before_first; /* frames that were pushed when the first result came */
    int64_t latency;
    uint8_t *pixels; /* [LONGEST][RESULT] */
    const char *problem;
} Run;

/* A pattern that moves and whose colours change. */
static void draw(int number, uint8_t *pixels)
{
    for (int i = 0; i < SOURCE; i++) {
        int x = i / 3 % WIDTH + number, y = i / 3 / WIDTH + 2 * number;
        pixels[i] = (uint8_t)(x * (7 + i % 3) + y * y + 40 * (number % 5));
    }
}

static upres_status push_burst(upres_session *s, int count, const Way *way, Run *run)
{
    upres_status status = UPRES_OK;
    for (int i = 0; i < way->burst && run->pushed < count && status == UPRES_OK; i++) {
        uint8_t pixels[SOURCE];
        draw(run->pushed, pixels);
        if (way->cut && run->pushed == way->cut) status = upres_session_cut(s);
        if (status != UPRES_OK) break;
        upres_frame in = {sizeof in, run->pushed, WIDTH, HEIGHT, 3, 8, pixels, 3 * WIDTH};
        if (upres_session_wants(s) != run->pushed) {
            run->problem = "another frame is wanted than the next one";
            return UPRES_E_RUNTIME;
        }
        status = upres_session_push(s, &in);
        run->pushed += status == UPRES_OK;
    }
    if (way->unknown && run->pushed == count && status == UPRES_OK) status = upres_session_drain(s);
    return status;
}

static upres_status pull_all(upres_session *s, Run *run)
{
    for (;;) {
        upres_frame out = {.struct_size = sizeof out};
        upres_status status = upres_session_pull(s, &out);
        if (status != UPRES_OK) return status;
        if (out.number != run->pulled || run->pulled == LONGEST) {
            run->problem = "a result has a number that is not the next one";
            return UPRES_E_RUNTIME;
        }
        if (run->pulled == 0) run->before_first = run->pushed;
        const uint8_t *rows = out.data;
        for (int y = 0; y < HEIGHT * SCALE; y++)
            memcpy(run->pixels + (size_t)run->pulled * RESULT + (size_t)y * WIDTH * SCALE * 3, rows + y * out.stride,
                   WIDTH * SCALE * 3);
        run->pulled++;
    }
}

/* The caller frees run.pixels. */
static Run run_clip(const upres_weights *w, int count, Way way)
{
    Run run = {.pixels = calloc(LONGEST, RESULT)};
    upres_options o;
    upres_options_default(&o, sizeof o);
    o.scale = SCALE;
    upres_clip clip = {.struct_size = sizeof clip, .width = WIDTH, .height = HEIGHT, .channels = 3, .bits = 8};
    if (!way.unknown) clip.frames = count;
    upres_session *s = NULL;
    upres_status status = run.pixels ? upres_session_open(&s, w, &o, &clip) : UPRES_E_MEMORY;
    if (status == UPRES_OK) run.latency = upres_session_latency(s);
    while (status == UPRES_OK || status == UPRES_AGAIN) {
        status = push_burst(s, count, &way, &run);
        if (status == UPRES_OK || status == UPRES_AGAIN) status = pull_all(s, &run);
        if (status == UPRES_AGAIN && run.pushed == count) {
            run.problem = "more frames are asked for than there are";
            break;
        }
    }
    upres_session_close(s);
    if (!run.problem && status != UPRES_END) run.problem = upres_last_error();
    return run;
}

/* ------------------------------------------------------------------------------------------------------------ tests */

typedef struct Counts {
    int passed, failed;
} Counts;

static void report(Counts *c, const char *name, const char *problem)
{
    if (problem)
        printf("FAIL %s: %s\n", name, problem);
    else
        printf("ok   %s\n", name);
    fflush(stdout);
    *(problem ? &c->failed : &c->passed) += 1;
}

static void test_counts(Counts *c, const upres_weights *w)
{
    char problem[256] = "";
    for (int count = 1; count <= LONGEST && !problem[0]; count++) {
        Run run = run_clip(w, count, (Way){"", 1, false, 0});
        if (run.problem || run.pulled != count)
            snprintf(problem, sizeof problem, "%d in, %d out; %.150s", count, run.pulled,
                     run.problem ? run.problem : "");
        free(run.pixels);
    }
    report(c, "1 to 60 frames: as many out as in", problem[0] ? problem : NULL);
}

static void test_ways(Counts *c, const upres_weights *w)
{
    enum { COUNT = 43 };
    static const Way ways[] = {{"bursts of 3", 3, false, 0},
                               {"bursts as long as they are taken", LONGEST, false, 0},
                               {"frame by frame, the number not told", 1, true, 0},
                               {"bursts of 30, the number not told", 30, true, 0}};
    Run first = run_clip(w, COUNT, (Way){"frame by frame", 1, false, 0});
    const char *problem = first.problem ? first.problem : first.pulled != COUNT ? "frames are missing" : NULL;
    report(c, "frame by frame", problem);
    bool moves = !problem && memcmp(first.pixels, first.pixels + RESULT, RESULT) != 0;
    report(c, "the results move", moves ? NULL : "the first two are the same");
    report(c, "latency", first.before_first == first.latency ? NULL : "it is not what upres_session_latency tells");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        Run run = run_clip(w, COUNT, ways[i]);
        problem = run.problem;
        if (!problem && run.pulled != COUNT) problem = "frames are missing";
        if (!problem && memcmp(run.pixels, first.pixels, (size_t)LONGEST * RESULT) != 0) problem = "other pixels";
        report(c, ways[i].name, problem);
        free(run.pixels);
    }
    free(first.pixels);
}

static void test_cut(Counts *c, const upres_weights *w)
{
    enum { COUNT = 50, CUT = 23 };
    Run whole = run_clip(w, COUNT, (Way){"", 1, false, 0}), alone = run_clip(w, CUT, (Way){"", 1, false, 0});
    Run cut = run_clip(w, COUNT, (Way){"", 1, false, CUT}), unknown = run_clip(w, COUNT, (Way){"", LONGEST, true, CUT});
    const char *problem = cut.problem ? cut.problem : unknown.problem;
    if (!problem && (cut.pulled != COUNT || unknown.pulled != COUNT)) problem = "frames are missing";
    report(c, "a scene cut: as many out as in", problem);
    bool ends = memcmp(cut.pixels, alone.pixels, (size_t)CUT * RESULT) == 0;
    report(c, "a scene cut: before it a clip of its own", ends ? NULL : "other pixels");
    bool differs = memcmp(cut.pixels + CUT * RESULT, whole.pixels + CUT * RESULT, RESULT) != 0;
    report(c, "a scene cut: behind it nothing carried over", differs ? NULL : "the pixels of a run without it");
    bool same = memcmp(cut.pixels, unknown.pixels, (size_t)COUNT * RESULT) == 0;
    report(c, "a scene cut: in bursts, the number not told", same ? NULL : "other pixels");
    free(whole.pixels);
    free(alone.pixels);
    free(cut.pixels);
    free(unknown.pixels);
}

static int refuse(void *user)
{
    (void)user;
    return 1;
}

/* The weights are made ready when a session is opened, which takes a while with the real ones. */
static void test_cancelled_start(Counts *c, const upres_weights *w)
{
    upres_options o;
    upres_options_default(&o, sizeof o);
    o.scale = SCALE;
    o.cancel = refuse;
    const upres_clip clip = {.struct_size = sizeof clip, .width = WIDTH, .height = HEIGHT, .channels = 3, .bits = 8, .frames = 1};
    upres_session *s = NULL;
    upres_status status = upres_session_open(&s, w, &o, &clip);
    upres_frame out = {.struct_size = sizeof out};
    if (status == UPRES_OK) status = upres_session_pull(s, &out);
    if (status == UPRES_AGAIN) {
        uint8_t pixels[SOURCE];
        draw(0, pixels);
        status = upres_session_push(s, &(upres_frame){sizeof out, 0, WIDTH, HEIGHT, 3, 8, pixels, 3 * WIDTH});
        if (status == UPRES_OK) status = upres_session_pull(s, &out);
    }
    report(c, "cancelled from the start", status == UPRES_E_CANCELLED ? NULL : "it has another status than UPRES_E_CANCELLED");
    upres_session_close(s);
}

int main(void)
{
    Counts c = {0, 0};
    const char *base = getenv("TMPDIR");
    char folder[NAME_ROOM / 2], paths[FILES][NAME_ROOM];
    snprintf(folder, sizeof folder, "%s/upres-stream-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder)) {
        printf("FAIL weights: no temporary folder\n0 passed, 1 failed, 0 skipped\n");
        return 1;
    }
    upres_weights *w = make_weights(folder, paths);
    if (w) {
        test_ways(&c, w);
        test_cut(&c, w);
        test_counts(&c, w);
        test_cancelled_start(&c, w);
    } else {
        c.failed++;
    }
    upres_weights_close(w);
    for (int i = 0; i < FILES; i++) remove(paths[i]);
    rmdir(folder);
    printf("%d passed, %d failed, 0 skipped\n", c.passed, c.failed);
    return c.failed != 0;
}
