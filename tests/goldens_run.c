/*
 * Whole runs of the pipeline with linear arithmetic in place of the networks: everything around them is the product's own
 * code, from source frames to finished pictures.
 *
 *   encode: z[c, l] = sum_k E[c, k] * mean of each 8 x 8 block of picture 4 l of channel k
 *   velocity: v[c] = sum_i D[c, i] (noise, latent, mask)[i];   restored = noise - v
 *   decode: picture f of channel k = sum_c G[k, c] z[c, (f + 3) / 4], each cell repeated 8 x 8
 */
#include "tests/goldens.h"

#include "runtime/pipeline.h"
#include "tests/pipeline_input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { C = 16, CELL = PIPELINE_SPATIAL };

typedef struct StandIn {
    float encoder[C * 3], velocity[C * (2 * C + 1)], decoder[3 * C];
    /* the decoder's job */
    VaeVideo latents, pictures;
    int h, w, t, next, keep;
} StandIn;

static bool encode(void *user, int h, int w, int frames, VaeVideo pictures, VaeVideo moments, Fault *f)
{
    const StandIn *s = user;
    size_t pixels = (size_t)h * (size_t)w, cells = pixels / (CELL * CELL);
    float *x = malloc(3 * pixels * sizeof *x), *z = malloc(C * cells * sizeof *z);
    bool ok = x && z;
    if (!ok) fault(f, UPRES_E_MEMORY, "no memory for a stand-in");
    for (int l = 0; ok && l <= (frames - 1) / PIPELINE_TEMPORAL; l++) {
        VaeRegion in = {(int64_t)l * PIPELINE_TEMPORAL, 0, 0, h, w, 3, x, (int64_t)pixels, w};
        VaeRegion out = {l, 0, 0, h / CELL, w / CELL, C, z, (int64_t)cells, w / CELL};
        ok = pictures.read(pictures.user, &in);
        for (int y = 0; y < h / CELL; y++)
            for (int cx = 0; cx < w / CELL; cx++) {
                float mean[3];
                for (int k = 0; k < 3; k++) {
                    double sum = 0;
                    for (int i = 0; i < CELL * CELL; i++)
                        sum += x[(size_t)k * pixels + (size_t)(y * CELL + i / CELL) * (size_t)w +
                                 (size_t)(cx * CELL + i % CELL)];
                    mean[k] = (float)(sum / (CELL * CELL));
                }
                for (int c = 0; c < C; c++)
                    z[(size_t)c * cells + (size_t)(y * (w / CELL) + cx)] =
                        s->encoder[c * 3] * mean[0] + s->encoder[c * 3 + 1] * mean[1] + s->encoder[c * 3 + 2] * mean[2];
            }
        ok = ok && moments.write(moments.user, &out, false);
    }
    free(x);
    free(z);
    return ok;
}

static bool restore(void *user, int t, int h, int w, float *x, const float *condition, Fault *f)
{
    const StandIn *s = user;
    (void)f;
    for (size_t i = 0; i < (size_t)t * (size_t)h * (size_t)w; i++) {
        float in[2 * C + 1], *noise = x + i * C;
        memcpy(in, noise, C * sizeof *in);
        memcpy(in + C, condition + i * (C + 1), (C + 1) * sizeof *in);
        for (int c = 0; c < C; c++) {
            float v = 0;
            for (int k = 0; k < 2 * C + 1; k++) v += s->velocity[c * (2 * C + 1) + k] * in[k];
            noise[c] = in[c] - v;
        }
    }
    return true;
}

static bool decode_open(void *user, int h, int w, int t, int keep, VaeVideo latents, VaeVideo pictures, Fault *f)
{
    StandIn *s = user;
    (void)f;
    s->latents = latents;
    s->pictures = pictures;
    s->h = h;
    s->w = w;
    s->t = t;
    s->next = 0;
    s->keep = keep;
    return true;
}

static bool decode_step(void *user, bool *more, Fault *f)
{
    StandIn *s = user;
    int h = s->h / CELL, w = s->w / CELL;
    size_t cells = (size_t)h * (size_t)w, pixels = cells * CELL * CELL;
    float *z = malloc(C * cells * sizeof *z), *x = malloc(3 * pixels * sizeof *x);
    bool ok = z && x;
    if (!ok) fault(f, UPRES_E_MEMORY, "no memory for a stand-in");
    VaeRegion in = {(s->next + 3) / PIPELINE_TEMPORAL, 0, 0, h, w, C, z, (int64_t)cells, w};
    VaeRegion out = {s->next, 0, 0, s->h, s->w, 3, x, (int64_t)pixels, s->w};
    ok = ok && s->latents.read(s->latents.user, &in);
    for (size_t i = 0; ok && i < 3 * pixels; i++) {
        size_t k = i / pixels, y = i % pixels / (size_t)s->w, column = i % (size_t)s->w;
        float sum = 0;
        for (int c = 0; c < C; c++)
            sum += s->decoder[k * C + (size_t)c] * z[(size_t)c * cells + y / CELL * (size_t)w + column / CELL];
        x[i] = sum;
    }
    ok = ok && s->pictures.write(s->pictures.user, &out, false);
    free(z);
    free(x);
    *more = ++s->next < s->keep;
    return ok;
}

static void decode_close(void *user)
{
    (void)user;
}

static upres_color color_named(const char *name)
{
    static const char *const names[] = {"lab", "none", "wavelet", "wavelet_adaptive", "hsv", "adain"};
    for (int i = 0; i < 6; i++)
        if (!strcmp(name, names[i])) return (upres_color)i;
    return UPRES_COLOR_AUTO; /* which no case names */
}

/* The case's options as the product's; frames are counted in the case as in the whole video less frame0. */
static bool make_setup(Golden *g, const int64_t shape[4], upres_options *o, PipelineSetup *s)
{
    const JsonTree *given = json_get(g->meta, "options");
    upres_options_default(o, sizeof *o);
    o->resolution = (int32_t)json_int(json_get(given, "resolution"), 1080);
    o->max_resolution = (int32_t)json_int(json_get(given, "max_resolution"), 0);
    o->resize_parity = 1; /* the references resize twice under a limit */
    o->batch_size = (int32_t)json_int(json_get(given, "batch_size"), 5);
    o->overlap = (int32_t)json_int(json_get(given, "overlap"), 0);
    o->uniform_batch = json_bool(json_get(given, "uniform"), false);
    o->prepend = (int32_t)json_int(json_get(given, "prepend"), 0);
    o->color = color_named(json_string(json_get(given, "color"), "lab"));
    o->color_batch = !strcmp(json_string(json_get(given, "color_scope"), "batch"), "batch");
    o->seed = (uint64_t)json_int(json_get(given, "seed"), 42);
    o->input_noise = json_number(json_get(given, "input_noise_scale"), 0);
    o->latent_noise = json_number(json_get(given, "latent_noise_scale"), 0);
    *s = (PipelineSetup){.frames = shape[0], .frame0 = json_int(json_get(given, "frame0"), 0)};
    s->picture = (PictureSetup){.options = o,
                                .width = (int)shape[3],
                                .height = (int)shape[2],
                                .channels = (int)shape[1],
                                .alpha_zeros_outside = !json_bool(json_get(given, "honest_alpha"), false)};
    char error[256];
    Fault f = {.status = UPRES_OK};
    if (o->color == UPRES_COLOR_AUTO || options_for_seedvr2(o, &f) != UPRES_OK) {
        golden_fail(g, "the case's options: %s", f.status ? f.text : "color has an unknown name");
        return false;
    }
    if (o->overlap >= o->batch_size) o->overlap = 0; /* the references drop it; the command refuses it */
    if (size_shortest_edge((int)shape[2], (int)shape[3], o->resolution, o->max_resolution, true, &s->picture.size,
                           error, sizeof error))
        return true;
    golden_fail(g, "%s", error);
    return false;
}

/* Push and pull to the end. out: [frames][channels][true_h][true_w]. */
static bool run(Golden *g, Pipeline *p, const float *clip, size_t frame_floats, const PipelineSetup *s, float *out)
{
    Fault f = {.status = UPRES_OK};
    size_t pixels = (size_t)s->picture.size.true_h * (size_t)s->picture.size.true_w;
    int64_t results = 0;
    for (;;) {
        PipelineResult r;
        upres_status status = pipeline_pull(p, &r, &f);
        if (status == UPRES_AGAIN)
            status = pipeline_push(p, clip + (size_t)pipeline_wants(p) * frame_floats, 0, &f);
        else if (status == UPRES_OK) {
            float *to = out + (size_t)r.number * pixels * (size_t)s->picture.channels;
            memcpy(to, r.rgb, 3 * pixels * sizeof *to);
            if (r.alpha) memcpy(to + 3 * pixels, r.alpha, pixels * sizeof *to);
            if (r.number != results++)
                golden_fail(g, "result %lld came as number %lld", (long long)r.number, (long long)results);
        }
        if (status == UPRES_END) break;
        if (status != UPRES_OK) {
            golden_fail(g, "%s", f.text);
            return false;
        }
    }
    if (results != s->frames) golden_fail(g, "%lld results of %lld frames", (long long)results, (long long)s->frames);
    return results == s->frames;
}

void golden_pipeline_run(Golden *g)
{
    int64_t shape[4] = {0};
    float *clip = pipeline_input(g, json_get(g->meta, "input"), shape);
    upres_options o;
    PipelineSetup s;
    if (!clip || !make_setup(g, shape, &o, &s)) {
        free(clip);
        return;
    }
    StandIn nets;
    synth_tensor("standin.enc", C * 3, 0, 0.9f, nets.encoder);
    synth_tensor("standin.dit", C * (2 * C + 1), 0, 0.25f, nets.velocity);
    synth_tensor("standin.dec", 3 * C, 0, 0.14f, nets.decoder);
    s.networks = (PipelineNetworks){.user = &nets,
                                    .latent_channels = C,
                                    .encode = encode,
                                    .restore = restore,
                                    .decode_open = decode_open,
                                    .decode_step = decode_step,
                                    .decode_close = decode_close};
    Fault f = {.status = UPRES_OK};
    Pipeline *p = pipeline_open(&s, &f);
    size_t frame = (size_t)(shape[1] * shape[2] * shape[3]);
    size_t count = (size_t)(shape[0] * shape[1]) * (size_t)s.picture.size.true_h * (size_t)s.picture.size.true_w;
    float *out = malloc(count * sizeof *out);
    if (!p || !out)
        golden_fail(g, "%s", p ? "out of memory" : f.text);
    else if (run(g, p, clip, frame, &s, out))
        golden_compare(g, "out", out, (int64_t)count, golden_tolerance(g, "out", GOLDEN_NETWORK));
    pipeline_close(p);
    free(out);
    free(clip);
}
