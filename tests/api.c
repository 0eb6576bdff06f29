/*
 * The public interface as its users meet it: linked with the shared library, runtime/upres.h alone.
 *
 *     api [BUILD_DIR]
 *
 * BUILD_DIR/upres makes the demo weights the sessions run on. Run in the project's root. A line a test and the closing
 * "N passed, N failed, N skipped"; exit 1 when one failed.
 */
#include "runtime/upres.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Report {
    const char *test;
    bool failed;
    int passed_count, failed_count, skipped_count;
} Report;

static void complain(Report *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("FAIL %s: ", r->test);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    r->failed = true;
}

#define CHECK(r, condition)                                                                                            \
    do {                                                                                                               \
        if (!(condition)) complain(r, "line %d: %s; last error \"%s\"", __LINE__, #condition, upres_last_error());     \
    } while (0)

/* A failed call: this status and one sentence. */
#define CHECK_FAILS(r, call, status)                                                                                   \
    do {                                                                                                               \
        upres_status got_ = (call);                                                                                    \
        if (got_ != (status)) complain(r, "line %d: %s gave %d, not %s", __LINE__, #call, (int)got_, #status);         \
        check_sentence(r, __LINE__);                                                                                   \
    } while (0)

static void check_sentence(Report *r, int line)
{
    const char *s = upres_last_error();
    if (s[0] == '\0' || strchr(s, '\n') != NULL) complain(r, "line %d: \"%s\" is not one sentence", line, s);
}

static bool mentions(const char *word)
{
    return strstr(upres_last_error(), word) != NULL;
}

/* ------------------------------------------------------------------------------------------------------ no weights */

static void test_version(Report *r)
{
    CHECK(r, strcmp(upres_version(), "0.1.0") == 0);
    CHECK(r, upres_api_version() == UPRES_API_VERSION);
}

static void test_defaults(Report *r)
{
    upres_options o;
    memset(&o, 0xa5, sizeof o);
    upres_options_default(&o, sizeof o);
    CHECK(r, o.struct_size == sizeof o);
    CHECK(r, o.scale == 0 && o.resolution == 0 && o.fit_width == 0 && o.fit_height == 0 && o.max_resolution == 0);
    CHECK(r, o.batch_size == 5 && o.overlap == 0 && o.uniform_batch == 0 && o.prepend == 0 && o.blend_linear == 0);
    CHECK(r, o.seed == 42 && o.steps == 1 && o.guidance == 1 && o.guidance_rescale == 0);
    CHECK(r, o.input_noise == 0 && o.latent_noise == 0 && o.noise_per_batch == 0);
    CHECK(r, o.color == UPRES_COLOR_AUTO && o.color_batch == 0 && o.strength == 1 && o.alpha == UPRES_ALPHA_AUTO);
    CHECK(r, o.bits == 0 && o.dither == -1 && o.tile_debug == 0);
    CHECK(r, o.vae_encode_tile == UPRES_TILE_AUTO && o.vae_decode_tile == UPRES_TILE_AUTO);
    CHECK(r, o.vae_encode_tile_overlap == UPRES_TILE_OVERLAP_AUTO);
    CHECK(r, o.vae_decode_tile_overlap == UPRES_TILE_OVERLAP_AUTO);
    CHECK(r, o.device == UPRES_DEVICE_AUTO && o.precision == UPRES_PRECISION_AUTO && o.memory == 0 && o.threads == 0);
    CHECK(r, o.user == NULL && o.log == NULL && o.progress == NULL && o.cancel == NULL);
    CHECK(r, upres_options_check(&o) == UPRES_OK);
}

/* A program built against an older, shorter header: what it does not know is neither written nor read. */
static void test_older_options(Report *r)
{
    union {
        upres_options options;
        unsigned char bytes[sizeof(upres_options)];
    } u;
    size_t old = offsetof(upres_options, seed);
    memset(&u, 0xa5, sizeof u);
    upres_options_default(&u.options, old);
    bool untouched = true;
    for (size_t i = old; i < sizeof u; i++) untouched = untouched && u.bytes[i] == 0xa5;
    CHECK(r, untouched);
    CHECK(r, u.options.struct_size == old && u.options.batch_size == 5);
    CHECK(r, upres_options_check(&u.options) == UPRES_OK);
    u.options.batch_size = 0;
    CHECK_FAILS(r, upres_options_check(&u.options), UPRES_E_ARGUMENT);

    u.options.struct_size = 0;
    CHECK_FAILS(r, upres_options_check(&u.options), UPRES_E_ARGUMENT);
}

/* A program built against a newer header, whose further fields it left at 0. */
static void test_newer_options(Report *r)
{
    struct {
        upres_options known;
        int64_t further[8];
    } newer;
    memset(&newer, 0xa5, sizeof newer);
    upres_options_default(&newer.known, sizeof newer);
    CHECK(r, newer.known.struct_size == sizeof newer && newer.known.batch_size == 5);
    CHECK(r, newer.further[0] == 0 && newer.further[7] == 0);
    CHECK(r, upres_options_check(&newer.known) == UPRES_OK);
}

static void test_option_sentences(Report *r)
{
    upres_options o;
#define WRONG(setting, status, word)                                                                                   \
    do {                                                                                                               \
        upres_options_default(&o, sizeof o);                                                                           \
        setting;                                                                                                       \
        CHECK_FAILS(r, upres_options_check(&o), status);                                                               \
        if (!mentions(word)) complain(r, "%s: \"%s\" does not name %s", #setting, upres_last_error(), word);           \
    } while (0)
    WRONG((o.scale = 2, o.resolution = 720), UPRES_E_ARGUMENT, "scale");
    WRONG(o.scale = 0.5, UPRES_E_ARGUMENT, "scale");
    WRONG(o.scale = NAN, UPRES_E_ARGUMENT, "scale");
    WRONG(o.resolution = 15, UPRES_E_ARGUMENT, "resolution");
    WRONG(o.max_resolution = 8, UPRES_E_ARGUMENT, "max-resolution");
    WRONG(o.batch_size = 1026, UPRES_E_ARGUMENT, "batch");
    WRONG(o.overlap = 5, UPRES_E_ARGUMENT, "overlap");
    WRONG(o.prepend = 65, UPRES_E_ARGUMENT, "prepend");
    WRONG(o.input_noise = 1.5, UPRES_E_ARGUMENT, "noise");
    WRONG(o.steps = 0, UPRES_E_ARGUMENT, "steps");
    WRONG(o.guidance = 0, UPRES_E_ARGUMENT, "guidance");
    WRONG(o.strength = -1, UPRES_E_ARGUMENT, "strength");
    WRONG(o.color = (upres_color)99, UPRES_E_ARGUMENT, "color");
    WRONG(o.bits = 9, UPRES_E_ARGUMENT, "bits");
    WRONG(o.vae_decode_tile = 24, UPRES_E_ARGUMENT, "tile");
    WRONG(o.vae_encode_tile = 100, UPRES_E_ARGUMENT, "tile");
    WRONG((o.vae_encode_tile = 64, o.vae_encode_tile_overlap = 64), UPRES_E_ARGUMENT, "overlap");
    WRONG(o.threads = -1, UPRES_E_ARGUMENT, "threads");
    WRONG(o.device = 0, UPRES_E_UNSUPPORTED, "cuda");
    WRONG(o.precision = UPRES_PRECISION_FP8, UPRES_E_UNSUPPORTED, "fp8");
    WRONG(o.fp8_scores = 1, UPRES_E_ARGUMENT, "--fp8-scores");
    WRONG((o.precision = UPRES_PRECISION_FP8, o.fp8_scores = 2), UPRES_E_ARGUMENT, "--fp8-scores");
#undef WRONG
}

static void test_null(Report *r)
{
    upres_weights *w = (upres_weights *)r;
    const char *none[1] = {NULL};
    CHECK_FAILS(r, upres_weights_open(NULL, none, 1), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_weights_open(&w, NULL, 1), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_weights_open(&w, none, 1), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_weights_open(&w, none, 0), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_weights_open(&w, none, 65), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_options_check(NULL), UPRES_E_ARGUMENT);
    upres_options_default(NULL, 8);
    upres_weights_close(NULL);
    upres_session_close(NULL);

    upres_session *s;
    CHECK_FAILS(r, upres_session_open(NULL, NULL, NULL, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_session_open(&s, NULL, NULL, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_session_push(NULL, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_session_pull(NULL, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_session_drain(NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_session_select(NULL, 0, 1), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_session_output(NULL, NULL, NULL, NULL, NULL), UPRES_E_ARGUMENT);
    CHECK(r, upres_session_wants(NULL) == -1);
    CHECK(r, upres_weights_file_count(NULL) == 0 && upres_weights_part_count(NULL) == 0);
    CHECK_FAILS(r, upres_weights_file(NULL, 0, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_weights_tensor(NULL, 0, 0, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_weights_metadata(NULL, 0, 0, NULL, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_weights_read(NULL, 0, 0, 0, 1, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_weights_part(NULL, 0, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_convert(NULL, 1, "out", "f16"), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_encode(NULL, NULL, 16, 16, 1, NULL, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_decode(NULL, NULL, 2, 2, 1, 0, NULL, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_vae_form(NULL, NULL, NULL, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_plan(NULL, NULL, UPRES_JOB_UPSCALE, NULL, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_device(0, NULL), UPRES_E_ARGUMENT);
}

static void test_missing_file(Report *r)
{
    const char *path = "build/no-such-file.gguf";
    upres_weights *w = NULL;
    CHECK_FAILS(r, upres_weights_open(&w, &path, 1), UPRES_E_INPUT);
    CHECK(r, strncmp(upres_last_error(), path, strlen(path)) == 0);
    CHECK(r, w == NULL);
}

static void *look_at_error(void *seen)
{
    *(bool *)seen = upres_last_error()[0] == '\0';
    return NULL;
}

/* The sentence belongs to the thread whose call failed. */
static void test_error_per_thread(Report *r)
{
    bool empty_there = false;
    CHECK_FAILS(r, upres_options_check(NULL), UPRES_E_ARGUMENT);
    pthread_t thread;
    CHECK(r, pthread_create(&thread, NULL, look_at_error, &empty_there) == 0);
    pthread_join(thread, NULL);
    CHECK(r, empty_there);
    CHECK(r, upres_last_error()[0] != '\0');
}

static void test_devices(Report *r)
{
    CHECK(r, upres_device_count() >= 1);
    upres_device_info info = {.struct_size = sizeof info};
    CHECK(r, upres_device(0, &info) == UPRES_OK);
    CHECK(r, info.device == UPRES_DEVICE_CPU && strncmp(info.name, "cpu", 3) == 0 && info.memory_bytes > 0);
    CHECK_FAILS(r, upres_device(upres_device_count(), &info), UPRES_E_ARGUMENT);
}

/* What the shared library exports is what runtime/upres.sym lists. */
static bool test_exports(Report *r, const char *folder)
{
    char command[1024];
    if (system("command -v nm >/dev/null 2>&1") != 0) return false;
    snprintf(command, sizeof command,
             "nm -D --defined-only '%s/libupres.so' | awk '$2 != \"A\" {print $3}' | LC_ALL=C sort > '%s/tests/exported' && "
             "grep -v '^#' runtime/upres.sym | LC_ALL=C sort | diff - '%s/tests/exported'",
             folder, folder, folder);
    if (system(command) != 0) complain(r, "the exported names above differ from runtime/upres.sym");
    return true;
}

/* ---------------------------------------------------------------------------------------------------- with weights */

static void test_weights(Report *r, const upres_weights *w, const char *path)
{
    CHECK(r, upres_weights_file_count(w) == 1);
    upres_file_info file = {.struct_size = sizeof file};
    CHECK(r, upres_weights_file(w, 0, &file) == UPRES_OK);
    CHECK(r, strcmp(file.path, path) == 0 && strcmp(file.container, "safetensors") == 0);
    CHECK(r, file.tensor_count > 200 && file.metadata_count >= 1 && file.bytes > 10000000);
    CHECK_FAILS(r, upres_weights_file(w, 1, &file), UPRES_E_ARGUMENT);

    const char *key = NULL, *value = NULL;
    CHECK(r, upres_weights_metadata(w, 0, 0, &key, &value) == UPRES_OK);
    CHECK(r, key != NULL && strcmp(key, "demo") == 0 && value != NULL && value[0] == '"');
    CHECK_FAILS(r, upres_weights_metadata(w, 0, file.metadata_count, &key, &value), UPRES_E_ARGUMENT);

    bool found = false;
    for (size_t i = 0; i < file.tensor_count; i++) {
        upres_tensor_info t = {.struct_size = sizeof t};
        CHECK(r, upres_weights_tensor(w, 0, i, &t) == UPRES_OK);
        if (strcmp(t.name, "vae.encoder.conv_in.weight") != 0) continue;
        found = true;
        CHECK(r, strcmp(t.type, "F16") == 0 && t.rank == 5 && t.bytes == 32 * 3 * 27 * 2);
        CHECK(r, t.shape[0] == 32 && t.shape[1] == 3 && t.shape[2] == 3 && t.shape[3] == 3 && t.shape[4] == 3);
        float v[3] = {9, 9, 9};
        CHECK(r, upres_weights_read(w, 0, i, 21, 3, v) == UPRES_OK); /* around [0, 0, 2, 1, 1] */
        CHECK(r, v[0] == 0 && v[1] == 1 && v[2] == 0);
        CHECK_FAILS(r, upres_weights_read(w, 0, i, 32 * 3 * 27, 1, v), UPRES_E_ARGUMENT);
    }
    CHECK(r, found);
    upres_tensor_info beyond = {.struct_size = sizeof beyond};
    CHECK_FAILS(r, upres_weights_tensor(w, 0, file.tensor_count, &beyond), UPRES_E_ARGUMENT);

    bool vae = false, transformer = false;
    for (size_t i = 0; i < upres_weights_part_count(w); i++) {
        upres_part_info part = {.struct_size = sizeof part};
        CHECK(r, upres_weights_part(w, i, &part) == UPRES_OK);
        CHECK(r, part.missing_count == 0 && part.json[0] == '{' && part.summary[0] != '\0');
        vae = vae || strcmp(part.network, "seedvr2_vae") == 0;
        transformer = transformer || strcmp(part.network, "seedvr2_dit") == 0;
    }
    CHECK(r, vae && transformer);

    int32_t channels = 0, spatial = 0, temporal = 0;
    CHECK(r, upres_vae_form(w, &channels, &spatial, &temporal) == UPRES_OK);
    CHECK(r, channels == 16 && spatial == 8 && temporal == 4);
}

static int third_time(void *times)
{
    return ++*(int *)times == 3;
}

static bool is_there(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f != NULL) fclose(f);
    return f != NULL;
}

static void test_convert(Report *r, const char *path)
{
    char out[600], part[620];
    int times = 0;
    snprintf(out, sizeof out, "%s.gguf", path);
    snprintf(part, sizeof part, "%s.part", out);
    CHECK_FAILS(r, upres_convert_stoppable(&path, 1, out, "f32", third_time, &times), UPRES_E_CANCELLED);
    CHECK(r, times == 3 && !is_there(out) && !is_there(part));
    CHECK_FAILS(r, upres_convert(&path, 1, path, "f16"), UPRES_E_ARGUMENT);
    CHECK(r, mentions("would replace the input") && is_there(path));
    CHECK(r, upres_convert(&path, 1, out, "q8_0") == UPRES_OK && is_there(out) && !is_there(part));
    remove(out);
}

/* An older program's shorter structures are filled in as far as they go. */
static void test_older_results(Report *r, const upres_weights *w)
{
    union {
        upres_file_info info;
        unsigned char bytes[sizeof(upres_file_info)];
    } u;
    size_t old = offsetof(upres_file_info, bytes);
    memset(&u, 0xa5, sizeof u);
    u.info.struct_size = (uint32_t)old;
    CHECK(r, upres_weights_file(w, 0, &u.info) == UPRES_OK);
    CHECK(r, u.info.struct_size == old && strcmp(u.info.container, "safetensors") == 0);
    bool untouched = true;
    for (size_t i = old; i < sizeof u; i++) untouched = untouched && u.bytes[i] == 0xa5;
    CHECK(r, untouched);
}

enum { WIDTH = 24, HEIGHT = 16, SCALE = 2, FRAMES = 7, RESULT_BYTES = WIDTH * HEIGHT * SCALE * SCALE * 3 };

static void draw(uint8_t *pixels, int64_t number)
{
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < 3; c++) {
                double v = sin(0.4 * x + number) + cos(0.3 * y * (c + 1));
                pixels[(y * WIDTH + x) * 3 + c] = (uint8_t)(127.5 + 60 * v);
            }
}

/* Settings of one run, and what came of it. */
typedef struct Run {
    const upres_weights *weights;
    int64_t known_frames; /* clip.frames */
    int64_t first, last;  /* selection; last < 0: all */
    uint64_t seed;
    upres_options options; /* further settings */
    upres_status status;   /* of the call that ended it */
    int64_t results;
    bool in_order;
    uint8_t pixels[FRAMES][RESULT_BYTES];
} Run;

static Run *new_run(const upres_weights *w)
{
    Run *run = calloc(1, sizeof *run);
    if (run == NULL) abort();
    run->weights = w;
    run->known_frames = FRAMES;
    run->last = -1;
    upres_options_default(&run->options, sizeof run->options);
    run->options.scale = SCALE;
    run->options.threads = 1;
    return run;
}

static upres_frame source_frame(uint8_t *pixels, int64_t number)
{
    draw(pixels, number);
    return (upres_frame){.struct_size = sizeof(upres_frame), .number = number, .width = WIDTH, .height = HEIGHT,
                         .channels = 3, .bits = 8, .data = pixels, .stride = WIDTH * 3};
}

static void keep(Run *run, const upres_frame *out)
{
    run->in_order = run->in_order && out->number == run->first + run->results && out->width == WIDTH * SCALE &&
                    out->height == HEIGHT * SCALE && out->channels == 3 && out->bits == 8;
    run->results++;
    if (out->number < 0 || out->number >= FRAMES || !run->in_order) return;
    for (int y = 0; y < out->height; y++)
        memcpy(run->pixels[out->number] + (size_t)y * WIDTH * SCALE * 3, (const uint8_t *)out->data + y * out->stride,
               WIDTH * SCALE * 3);
}

/* The loop of the header. Usable as a thread. */
static void *run_session(void *argument)
{
    Run *run = argument;
    run->in_order = true;
    upres_clip clip = {.struct_size = sizeof clip, .width = WIDTH, .height = HEIGHT, .channels = 3, .bits = 8,
                       .frames = run->known_frames};
    upres_session *s = NULL;
    run->status = upres_session_open(&s, run->weights, &run->options, &clip);
    if (run->status == UPRES_OK && run->last >= 0) run->status = upres_session_select(s, run->first, run->last);
    while (run->status == UPRES_OK) {
        upres_frame out = {.struct_size = sizeof out};
        run->status = upres_session_pull(s, &out);
        if (run->status == UPRES_OK) keep(run, &out);
        if (run->status != UPRES_AGAIN) continue;
        int64_t next = upres_session_wants(s);
        uint8_t pixels[WIDTH * HEIGHT * 3];
        upres_frame in = source_frame(pixels, next);
        run->status = next < 0 || next >= FRAMES ? upres_session_drain(s) : upres_session_push(s, &in);
    }
    upres_session_close(s);
    return NULL;
}

static void check_whole(Report *r, const Run *run)
{
    CHECK(r, run->status == UPRES_END && run->results == FRAMES && run->in_order);
}

static void test_session(Report *r, const Run *whole)
{
    check_whole(r, whole);
    uint8_t source[WIDTH * HEIGHT * 3];
    draw(source, 3);
    double error = 0; /* the demo weights give the picture back: compare with each source pixel's own four */
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH * 3; x++) {
            double sum = 0;
            for (int i = 0; i < 4; i++)
                sum += whole->pixels[3][((2 * y + i / 2) * WIDTH * 2 + 2 * (x / 3) + i % 2) * 3 + x % 3];
            error += fabs(sum / 4 - source[y * WIDTH * 3 + x]);
        }
    error /= WIDTH * HEIGHT * 3;
    if (!(error < 16)) complain(r, "results are %.1f codes from the source on average; 16 is far for these weights", error);
}

/* Calls out of turn are refused and change nothing. */
static void test_order(Report *r, const upres_weights *w, const Run *whole)
{
    upres_options o = whole->options;
    upres_clip clip = {.struct_size = sizeof clip, .width = WIDTH, .height = HEIGHT, .channels = 3, .bits = 8,
                       .frames = FRAMES};
    upres_session *s = NULL;
    if (upres_session_open(&s, w, &o, &clip) != UPRES_OK) {
        complain(r, "open: %s", upres_last_error());
        return;
    }
    int32_t width = 0, height = 0, channels = 0, bits = 0;
    CHECK(r, upres_session_output(s, &width, &height, &channels, &bits) == UPRES_OK);
    CHECK(r, width == WIDTH * SCALE && height == HEIGHT * SCALE && channels == 3 && bits == 8);
    CHECK(r, upres_session_latency(s) >= 1 && upres_session_latency(s) <= FRAMES);

    upres_frame out = {.struct_size = sizeof out};
    uint8_t pixels[WIDTH * HEIGHT * 3];
    CHECK(r, upres_session_pull(s, &out) == UPRES_AGAIN && upres_session_wants(s) == 0);
    CHECK_FAILS(r, upres_session_select(s, 3, 2), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_session_pull(s, NULL), UPRES_E_ARGUMENT);
    CHECK_FAILS(r, upres_session_push(s, NULL), UPRES_E_ARGUMENT);

    upres_frame in = source_frame(pixels, 1);
    CHECK_FAILS(r, upres_session_push(s, &in), UPRES_E_ARGUMENT); /* 0 is wanted */
    in = source_frame(pixels, 0);
    in.width--;
    CHECK_FAILS(r, upres_session_push(s, &in), UPRES_E_INPUT);
    in.width++;
    in.channels = 4;
    CHECK_FAILS(r, upres_session_push(s, &in), UPRES_E_INPUT);
    in.channels = 3;
    in.data = NULL;
    CHECK_FAILS(r, upres_session_push(s, &in), UPRES_E_ARGUMENT);
    in.data = pixels;
    CHECK(r, upres_session_push(s, &in) == UPRES_OK && upres_session_wants(s) == 1);
    CHECK_FAILS(r, upres_session_select(s, 0, 1), UPRES_E_ARGUMENT); /* too late */

    Run *again = new_run(w);
    again->in_order = true;
    upres_status status = UPRES_OK;
    while (status == UPRES_OK) {
        status = upres_session_pull(s, &out);
        if (status == UPRES_OK) keep(again, &out);
        if (status != UPRES_AGAIN) continue;
        in = source_frame(pixels, upres_session_wants(s));
        status = upres_session_push(s, &in);
    }
    CHECK(r, status == UPRES_END && again->results == FRAMES && again->in_order);
    CHECK(r, upres_session_pull(s, &out) == UPRES_END && upres_session_wants(s) == -1);
    CHECK(r, memcmp(again->pixels, whole->pixels, sizeof whole->pixels) == 0);
    free(again);
    upres_session_close(s);
}

static void test_unknown_length(Report *r, const upres_weights *w, const Run *whole)
{
    Run *run = new_run(w);
    run->known_frames = 0;
    run_session(run);
    check_whole(r, run);
    CHECK(r, memcmp(run->pixels, whole->pixels, sizeof whole->pixels) == 0);
    free(run);
}

/* Parts of a clip, done apart, join to the pixels of one run. */
static void test_select(Report *r, const upres_weights *w, const Run *whole)
{
    static const int64_t cut[][2] = {{0, 2}, {3, 6}, {6, 6}};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        Run *run = new_run(w);
        run->first = cut[i][0];
        run->last = cut[i][1];
        run_session(run);
        CHECK(r, run->status == UPRES_END && run->in_order && run->results == run->last - run->first + 1);
        CHECK(r, memcmp(run->pixels[run->first], whole->pixels[run->first],
                        (size_t)(run->last - run->first + 1) * RESULT_BYTES) == 0);
        free(run);
    }
}

static void test_two_threads(Report *r, const upres_weights *w, const Run *whole)
{
    Run *runs[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) runs[i] = new_run(w);
    runs[1]->options.batch_size = 1; /* another job on the same weights */
    for (int i = 0; i < 2; i++) CHECK(r, pthread_create(&threads[i], NULL, run_session, runs[i]) == 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) check_whole(r, runs[i]);
    CHECK(r, memcmp(runs[0]->pixels, whole->pixels, sizeof whole->pixels) == 0);
    CHECK(r, memcmp(runs[1]->pixels, whole->pixels, sizeof whole->pixels) != 0);
    for (int i = 0; i < 2; i++) free(runs[i]);
}

typedef struct Heard {
    int progress, cancelled_at;
    int64_t frames_done;
    bool sane;
} Heard;

static void hear_progress(void *user, const upres_progress *p)
{
    Heard *h = user;
    h->progress++;
    h->sane = h->sane && p->struct_size == sizeof *p && p->phase != NULL && p->frames_done >= h->frames_done &&
              p->frames_total == FRAMES && p->phase_done >= 0 && p->phase_done <= 1 && p->work_done >= 0 &&
              p->work_done <= 1.000001 && p->seconds >= 0;
    h->frames_done = p->frames_done;
}

static int stop_early(void *user)
{
    const Heard *h = user;
    return h->progress >= h->cancelled_at;
}

static void test_callbacks(Report *r, const upres_weights *w)
{
    Heard heard = {.sane = true, .cancelled_at = 1 << 30};
    Run *run = new_run(w);
    run->options.user = &heard;
    run->options.progress = hear_progress;
    run->options.cancel = stop_early;
    run_session(run);
    check_whole(r, run);
    CHECK(r, heard.progress > 3 && heard.sane);

    heard = (Heard){.sane = true, .cancelled_at = 2};
    run->results = 0;
    run_session(run);
    CHECK(r, run->status == UPRES_E_CANCELLED && run->results < FRAMES);
    free(run);
}

static void test_session_refusals(Report *r, const upres_weights *w)
{
    upres_options o;
    upres_options_default(&o, sizeof o);
    upres_clip clip = {.struct_size = sizeof clip, .width = WIDTH, .height = HEIGHT, .channels = 3, .bits = 8};
    upres_session *s = NULL;
    upres_clip bad = clip;
    bad.width = 0;
    CHECK_FAILS(r, upres_session_open(&s, w, &o, &bad), UPRES_E_ARGUMENT);
    bad = clip;
    bad.channels = 5;
    CHECK_FAILS(r, upres_session_open(&s, w, &o, &bad), UPRES_E_ARGUMENT);
    bad = clip;
    bad.bits = 32;
    CHECK_FAILS(r, upres_session_open(&s, w, &o, &bad), UPRES_E_ARGUMENT);
    bad = clip;
    bad.struct_size = 0;
    CHECK_FAILS(r, upres_session_open(&s, w, &o, &bad), UPRES_E_ARGUMENT);
    o.guidance = 2; /* needs a text these weights lack */
    CHECK_FAILS(r, upres_session_open(&s, w, &o, &clip), UPRES_E_INPUT);
    CHECK(r, s == NULL);
    upres_options_default(&o, sizeof o);
    o.memory = 1 << 20;
    CHECK_FAILS(r, upres_session_open(&s, w, &o, &clip), UPRES_E_MEMORY);
}

static void test_plan(Report *r, const upres_weights *w)
{
    upres_options o;
    upres_options_default(&o, sizeof o);
    o.scale = SCALE;
    upres_clip clip = {.struct_size = sizeof clip, .width = WIDTH, .height = HEIGHT, .channels = 3, .bits = 8,
                       .frames = FRAMES};
    upres_plan_report plan = {.struct_size = sizeof plan};
    CHECK(r, upres_plan(w, &o, UPRES_JOB_UPSCALE, &clip, &plan) == UPRES_OK);
    CHECK(r, plan.output_width == WIDTH * SCALE && plan.output_height == HEIGHT * SCALE && plan.frames == FRAMES);
    CHECK(r, plan.padded_width % 16 == 0 && plan.padded_width >= plan.output_width && plan.batches == 2);
    CHECK(r, plan.flop > 0 && plan.arena_bytes > 0 && plan.phase_count >= 3 && plan.phase_count <= 8);
    CHECK(r, plan.host_peak_bytes == plan.arena_bytes + plan.weight_bytes + plan.fixed_bytes);
    CHECK(r, plan.picture_bytes == 0 && plan.needed_bytes == 0);
    /* some of the frames: the batches that they lie in */
    const double flop = plan.flop;
    const upres_range range[] = {{4, 4}, {2, 3}, {3, FRAMES + 7}}, wrong = {3, 2}, beyond = {FRAMES, FRAMES + 1};
    clip.ranges = range;
    clip.range_count = 1;
    CHECK(r, upres_plan(w, &o, UPRES_JOB_UPSCALE, &clip, &plan) == UPRES_OK);
    CHECK(r, plan.batches == 1 && plan.frames == 1 && plan.frames_computed == 5 && plan.flop < flop);
    clip.range_count = 3;
    CHECK(r, upres_plan(w, &o, UPRES_JOB_UPSCALE, &clip, &plan) == UPRES_OK);
    CHECK(r, plan.batches == 2 && plan.frames == FRAMES - 2 && plan.flop > 0.999 * flop && plan.flop < 1.001 * flop);
    clip.range_count = 1;
    clip.ranges = &wrong;
    CHECK_FAILS(r, upres_plan(w, &o, UPRES_JOB_UPSCALE, &clip, &plan), UPRES_E_ARGUMENT);
    clip.ranges = &beyond;
    CHECK_FAILS(r, upres_plan(w, &o, UPRES_JOB_UPSCALE, &clip, &plan), UPRES_E_ARGUMENT);
    clip.range_count = 0;
    /* what does not fit says what would do; a byte less would not */
    o.vae_encode_tile = o.vae_decode_tile = UPRES_TILE_OFF;
    o.memory = 4 << 20;
    CHECK_FAILS(r, upres_plan(w, &o, UPRES_JOB_UPSCALE, &clip, &plan), UPRES_E_MEMORY);
    const uint64_t needed = plan.needed_bytes;
    CHECK(r, needed > o.memory);
    o.memory = needed - 1;
    CHECK_FAILS(r, upres_plan(w, &o, UPRES_JOB_UPSCALE, &clip, &plan), UPRES_E_MEMORY);
    o.memory = needed;
    CHECK(r, upres_plan(w, &o, UPRES_JOB_UPSCALE, &clip, &plan) == UPRES_OK);
    CHECK(r, plan.limit_bytes == needed && plan.host_peak_bytes <= needed && plan.needed_bytes == 0);
}

/* ------------------------------------------------------------------------------------------------------------ main */

static void begin(Report *r, const char *test)
{
    r->test = test;
    r->failed = false;
}

static void end(Report *r)
{
    if (!r->failed) printf("ok   %s\n", r->test);
    *(r->failed ? &r->failed_count : &r->passed_count) += 1;
    fflush(stdout);
}

static void skip(Report *r, const char *why)
{
    printf("skip %s: %s\n", r->test, why);
    r->skipped_count++;
}

#define RUN(r, test, ...)                                                                                              \
    do {                                                                                                               \
        begin(r, #test);                                                                                               \
        test(__VA_ARGS__);                                                                                             \
        end(r);                                                                                                        \
    } while (0)

#ifdef _WIN32 /* its shell takes the first and the last quote away */
#define MAKE_WEIGHTS "\"\"%s/upres\" demo-weights seedvr2 -o \"%s\" --overwrite\""
#else
#define MAKE_WEIGHTS "'%s/upres' demo-weights seedvr2 -o '%s' --overwrite"
#endif

static void with_weights(Report *r, const char *folder)
{
    char path[512], command[2048];
    snprintf(path, sizeof path, "%s/tests/api-weights.safetensors", folder);
    snprintf(command, sizeof command, MAKE_WEIGHTS, folder, path);
    const char *paths[] = {path};
    upres_weights *w = NULL;
    begin(r, "demo weights open");
    if (system(command) != 0)
        complain(r, "%s failed", command);
    else if (upres_weights_open(&w, paths, 1) != UPRES_OK)
        complain(r, "%s", upres_last_error());
    end(r);
    if (w == NULL) return;
    RUN(r, test_convert, r, path);
    remove(path); /* it stays mapped */
    RUN(r, test_weights, r, w, path);
    RUN(r, test_older_results, r, w);
    RUN(r, test_plan, r, w);
    RUN(r, test_session_refusals, r, w);
    Run *whole = new_run(w);
    run_session(whole);
    RUN(r, test_session, r, whole);
    RUN(r, test_order, r, w, whole);
    RUN(r, test_unknown_length, r, w, whole);
    RUN(r, test_select, r, w, whole);
    RUN(r, test_two_threads, r, w, whole);
    RUN(r, test_callbacks, r, w);
    free(whole);
    upres_weights_close(w);
}

int main(int argc, char **argv)
{
    setenv("UPRES_CUDA_DRIVER", "none", 1); /* no GPU, whatever this machine has */
    const char *folder = argc > 1 ? argv[1] : "build";
    Report report = {0}, *r = &report;
    RUN(r, test_version, r);
    RUN(r, test_defaults, r);
    RUN(r, test_older_options, r);
    RUN(r, test_newer_options, r);
    RUN(r, test_option_sentences, r);
    RUN(r, test_null, r);
    RUN(r, test_missing_file, r);
    RUN(r, test_error_per_thread, r);
    RUN(r, test_devices, r);
    begin(r, "test_exports");
    if (test_exports(r, folder))
        end(r);
    else
        skip(r, "there is no nm that reads it here");
    with_weights(r, folder);
    printf("%d passed, %d failed, %d skipped\n", r->passed_count, r->failed_count, r->skipped_count);
    return r->failed_count > 0 ? 1 : 0;
}
