/*
 * Golden cases of the SeedVR2 video autoencoder: whole networks through the streaming jobs, single modules by name.
 *
 * The cases cut time in several ways (slices, parts, one shot). The product always streams 1 frame and then one latent
 * frame's worth, which must give the same values: slicing in time is exact.
 *
 * What decodes runs twice, with plain and with folded upsamplers; both must pass and the worse one is reported. Then all runs once more
 * in as little memory as possible, to the same bits.
 */
#include "tests/goldens_planes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------------------- weights */

static const WeightPart *case_weights(Golden *g)
{
    const JsonTree *config = json_get(g->meta, "config"), *weights = json_get(g->meta, "weights");
    const JsonTree *widths = json_get(config, "block_out");
    PrefixRule rule = {json_string(json_get(weights, "prefix"), ""), json_number(json_get(weights, "gain"), 1)};
    int levels = json_count(widths), block_out[8];
    if (levels < 1 || levels > 8) {
        golden_fail(g, "config.block_out must name 1 to 8 widths");
        return NULL;
    }
    char key[512];
    int used = snprintf(key, sizeof key, "seedvr2_vae %.200s %a", rule.prefix, rule.gain);
    for (int i = 0; i < levels; i++) {
        block_out[i] = (int)json_int(json_at(widths, i), 0);
        used += snprintf(key + used, sizeof key - (size_t)used, " %d", block_out[i]);
    }
    int latent = (int)json_int(json_get(config, "latent"), 16), layers = (int)json_int(json_get(config, "layers"), 2);
    int temporal = (int)json_int(json_get(config, "temporal"), 2);
    snprintf(key + used, sizeof key - (size_t)used, " latent %d layers %d temporal %d", latent, layers, temporal);

    SynthShape *shapes;
    int count = synth_vae_layout(block_out, levels, latent, layers, temporal, 3, &shapes);
    return prefix_part(g, NET_SEEDVR2_VAE, key, shapes, count, &rule);
}

/* --------------------------------------------------------------------------------------------------- whole networks */

/* Folding takes the shuffled frames away, and with them the memory of the convolution behind the shuffle. */
static bool lost_by_folding(const char *state)
{
    return strstr(state, ".upsamplers.0.conv") != NULL;
}

static void compare_job_states(Golden *g, VaeJob *job, VaeFold fold)
{
    const JsonTree *states = json_get(json_get(g->meta, "options"), "states");
    for (const JsonTree *s = states ? states->child : NULL; s; s = s->next) {
        if (fold == VAE_FOLD_ON && lost_by_folding(s->text)) continue;
        char name[256];
        snprintf(name, sizeof name, "state.%s", s->text);
        float *memory = memory_room(g, name);
        int t, h, w, c;
        if (memory && !vae_job_state(job, s->text, memory, &t, &h, &w, &c))
            golden_fail(g, "%s: the job keeps no memory of that name", name);
        else if (memory)
            memory_compare(g, name, memory, t, h, w, c, GOLDEN_NETWORK);
        free(memory);
    }
}

/* One job on one device. False: it failed and says so. */
static bool run_job(Golden *g, Vae *v, Dev *d, VaeFold fold, bool encode, Planes *in, Planes *out, VaeTiles tiles)
{
    VaeVideo from = {.user = in, .read = planes_read}, to = {.user = out, .write = planes_write};
    VaeJob *job = encode ? vae_encode_open(v, d, (int)in->h, (int)in->w, in->t, tiles, from, to)
                         : vae_decode_open(v, d, (int)in->h, (int)in->w, in->t, 0, tiles, from, to);
    if (job) {
        vae_job_keep_state(job);
        while (vae_step(job)) {
        }
        if (dev_ok(d) && !dev_is_plan(d)) compare_job_states(g, job, fold);
        vae_job_close(job);
    }
    if (dev_ok(d)) dev_phase(d);
    if (!job || !dev_ok(d)) golden_fail(g, "%s: %s", dev_is_plan(d) ? "plan" : "run", dev_error(d));
    return job && dev_ok(d);
}

/* The job planned, then run in exactly the memory the plan found. taps: NULL for none. */
static void run_network(Golden *g, const WeightPart *part, VaeFold fold, bool encode, Planes *in, Planes *out,
                        VaeTiles tiles, Taps *taps)
{
    char error[512];
    Vae *v = vae_open((VaeParts){encode ? part : NULL, encode ? NULL : part}, error, sizeof error);
    if (!v) {
        golden_fail(g, "%s", error);
        return;
    }
    vae_set_fold(v, fold);
    const VaeConfig *c = vae_config(v);
    if (in->c != (encode ? c->pixel_channels : c->latent_channels))
        golden_fail(g, "the input has %lld channels", (long long)in->c);
    DevSetup setup = g->setup;
    if (tiles.thrifty) setup.band_pixels = 16; /* of these small pictures */
    Dev *plan = dev_plan_open(&setup), *d = NULL;
    if (g->verdict == GOLDEN_OK && run_job(g, v, plan, fold, encode, in, out, tiles)) {
        uint64_t peak = dev_totals(plan).arena_peak;
        d = dev_open(&setup, peak, error, sizeof error);
        if (!d) golden_fail(g, "%s", error);
        if (taps) vae_set_tap(v, taps_take, taps);
        if (d && run_job(g, v, d, fold, encode, in, out, tiles) && dev_totals(d).arena_peak != peak)
            golden_fail(g, "the run took %llu bytes, the plan said %llu", (unsigned long long)dev_totals(d).arena_peak,
                        (unsigned long long)peak);
    }
    if (d) dev_close(d);
    dev_close(plan);
    vae_close(v);
}

/* `latent`: what the transformer sees, the scaled mean: the first half of the moments' channels. */
static void compare_latent(Golden *g, const Planes *moments)
{
    if (!weight_file_find(g->file, "latent")) return;
    Planes mean = *moments;
    mean.c /= 2;
    for (int64_t i = 0; i < planes_count(&mean); i++) mean.data[i] *= VAE_SCALING;
    planes_compare(g, "latent", &mean, GOLDEN_NETWORK);
}

static VaeTiles case_tiles(const Golden *g)
{
    const JsonTree *o = json_get(g->meta, "options"), *tile = json_get(o, "tile"), *overlap = json_get(o, "overlap");
    return (VaeTiles){.tile_h = (int)json_int(json_at(tile, 0), 0), .tile_w = (int)json_int(json_at(tile, 1), 0),
                      .overlap_h = (int)json_int(json_at(overlap, 0), 0), .overlap_w = (int)json_int(json_at(overlap, 1), 0)};
}

/* The same again in little memory. */
static void golden_thrifty(Golden *g, const WeightPart *part, bool encode, Planes *in, const Planes *out)
{
    Taps none = {.g = g};
    Planes again = *out;
    VaeTiles tiles = case_tiles(g);
    tiles.thrifty = true;
    again.data = calloc((size_t)planes_count(out) + 1, sizeof *again.data);
    if (!again.data) golden_fail(g, "out of memory");
    else run_network(g, part, VAE_FOLD_ON, encode, in, &again, tiles, &none);
    if (g->verdict == GOLDEN_OK && memcmp(out->data, again.data, (size_t)planes_count(out) * sizeof *again.data))
        golden_fail(g, "in less memory other values come out");
    free(again.data);
}

/* Pictures of latents: the means of moments, decoded on the CPU. Owner of the result's data: the caller. */
static bool decode_moments(Golden *g, const WeightPart *part, const Planes *moments, Planes *pictures)
{
    const DevSetup cpu = {.threads = g->setup.threads};
    const int64_t up = 1 << (json_count(json_get(json_get(g->meta, "config"), "block_out")) - 1);
    const int64_t temporal = 1 << json_int(json_get(json_get(g->meta, "config"), "temporal"), 2);
    Planes mean = *moments;
    mean.c /= 2;
    *pictures = (Planes){.c = 3, .t = (mean.t - 1) * temporal + 1, .h = mean.h * up, .w = mean.w * up};
    pictures->data = malloc((size_t)(planes_count(pictures) + 1) * sizeof *pictures->data);
    if (!pictures->data) golden_fail(g, "out of memory");
    const DevSetup own = g->setup;
    g->setup = cpu;
    if (pictures->data) run_network(g, part, VAE_FOLD_OFF, false, &mean, pictures, (VaeTiles){0}, NULL);
    g->setup = own;
    return g->verdict == GOLDEN_OK;
}

/* What pictures lose when their latents come from this device. */
static void note_latents(Golden *g, const WeightPart *part, const Planes *moments)
{
    const WeightTensor *expected = golden_expected(g, "out");
    Planes want = *moments, shown = {0}, original = {0};
    want.data = malloc((size_t)(planes_count(&want) + 1) * sizeof *want.data);
    if (!expected || !want.data) golden_fail(g, "out of memory");
    else weight_read(expected, 0, expected->count, want.data);
    if (g->verdict == GOLDEN_OK && decode_moments(g, part, moments, &shown) && decode_moments(g, part, &want, &original))
        golden_note_pictures(&g->fidelity, shown.data, original.data, 1, planes_count(&shown) / shown.c);
    free(want.data);
    free(shown.data);
    free(original.data);
}

static void golden_network(Golden *g, const WeightPart *part, bool encode, Planes *in, VaeFold fold)
{
    Planes out = {0};
    Taps taps = {.g = g};
    const JsonTree *wanted = json_get(json_get(g->meta, "options"), "taps");
    bool fine = planes_expected(g, "out", false, &out);
    for (const JsonTree *w = wanted ? wanted->child : NULL; w && fine; w = w->next)
        fine = taps_add(&taps, w->key, (int)json_int(w, 1), false);
    if (fine) {
        run_network(g, part, fold, encode, in, &out, case_tiles(g), &taps);
        if (g->verdict == GOLDEN_OK) {
            taps_compare(&taps);
            planes_compare(g, "out", &out, GOLDEN_NETWORK);
            if ((encode || fold == VAE_FOLD_ON) && g->verdict == GOLDEN_OK) golden_thrifty(g, part, encode, in, &out);
            if (encode && g->setup.few_too && g->verdict == GOLDEN_OK) note_latents(g, part, &out);
            if (encode) compare_latent(g, &out); /* scales them in place */
        }
    }
    taps_close(&taps);
    free(out.data);
}

/* --------------------------------------------------------------------------------------------------- single modules */

/* [c][t][h][w] to [t][h][w][c] */
static float *channels_last(Golden *g, const Planes *p)
{
    float *x = malloc((size_t)(planes_count(p) + 1) * sizeof *x), *to = x;
    if (!x) golden_fail(g, "out of memory");
    for (int64_t t = 0; x && t < p->t; t++)
        for (int64_t at = 0; at < p->h * p->w; at++)
            for (int64_t c = 0; c < p->c; c++) *to++ = planes_at(p, c, t, 0, 0)[at];
    return x;
}

/* Planned, then run: as run_network. */
static bool run_module(Golden *g, const WeightPart *part, VaeFold fold, VaeModuleRun *r, const Planes *expected)
{
    char error[512];
    Dev *plan = dev_plan_open(&g->setup), *d = NULL;
    bool fine = vae_run_module(part, plan, fold, r, error, sizeof error);
    if (fine && (r->ot != expected->t || r->oh != expected->h || r->ow != expected->w || r->oc != expected->c)) {
        fine = false;
        snprintf(error, sizeof error,
                 "out is %d frames of %d x %d with %d channels, expected %lld of %lld x %lld with %lld", r->ot, r->oh,
                 r->ow, r->oc, (long long)expected->t, (long long)expected->h, (long long)expected->w,
                 (long long)expected->c);
    }
    uint64_t peak = dev_totals(plan).arena_peak;
    if (fine) fine = (d = dev_open(&g->setup, peak, error, sizeof error)) != NULL;
    if (fine) fine = vae_run_module(part, d, fold, r, error, sizeof error);
    if (!fine)
        golden_fail(g, "%s", error);
    else if (dev_totals(d).arena_peak != peak)
        golden_fail(g, "the run took %llu bytes, the plan said %llu", (unsigned long long)dev_totals(d).arena_peak,
                    (unsigned long long)peak);
    if (d) dev_close(d);
    dev_close(plan);
    return g->verdict == GOLDEN_OK;
}

enum { MAX_PARTS = 64 };

static void golden_module(Golden *g, const WeightPart *part, const char *op, Planes *in, VaeFold fold)
{
    const JsonTree *options = json_get(g->meta, "options"), *listed = json_get(options, "parts");
    const JsonTree *states = json_get(options, "states");
    int parts[MAX_PARTS] = {(int)in->t}, part_count = json_count(listed);
    Planes out = {0};
    if (part_count > MAX_PARTS) golden_fail(g, "more than %d parts", MAX_PARTS);
    for (int i = 0; i < part_count && i < MAX_PARTS; i++) parts[i] = (int)json_int(json_at(listed, i), 0);
    VaeModuleRun r = {.kind = op,
                      .module = json_string(json_get(options, "module"), ""),
                      .t = (int)in->t,
                      .h = (int)in->h,
                      .w = (int)in->w,
                      .c = (int)in->c,
                      .parts = parts,
                      .part_count = part_count ? part_count : 1};
    float *x = channels_last(g, in), *result = NULL;
    if (x && g->verdict == GOLDEN_OK && planes_expected(g, "out", false, &out)) {
        /* The plan tells the shape before anything is written; until then any result of these modules fits. */
        result = malloc((size_t)(8 * planes_count(in) + 8 * planes_count(&out)) * sizeof *result);
        if (!result) golden_fail(g, "out of memory");
    }
    r.x = x;
    r.out = result;
    const JsonTree *state = states ? states->child : NULL;
    do { /* once for each state wanted, and once without */
        r.state_name = state && !(fold == VAE_FOLD_ON && lost_by_folding(state->text)) ? state->text : NULL;
        char name[256];
        snprintf(name, sizeof name, "state.%s", r.state_name ? r.state_name : "");
        r.state_out = r.state_name ? memory_room(g, name) : NULL;
        if (result && g->verdict == GOLDEN_OK && run_module(g, part, fold, &r, &out)) {
            for (int64_t t = 0; t < out.t; t++)
                for (int64_t at = 0; at < out.h * out.w; at++)
                    for (int64_t c = 0; c < out.c; c++)
                        planes_at(&out, c, t, 0, 0)[at] = result[(t * out.h * out.w + at) * out.c + c];
            planes_compare(g, "out", &out, GOLDEN_LAYER);
            if (r.state_name) memory_compare(g, name, r.state_out, r.st, r.sh, r.sw, r.sc, GOLDEN_LAYER);
        }
        free(r.state_out);
        if (state) state = state->next;
    } while (state);
    free(result);
    free(out.data);
    free(x);
}

/* -------------------------------------------------------------------------------------------------------- posterior */

/*
 * Moments and noise to a sampled latent. The product takes the mean and never draws, so of this case it shares only the
 * scaling; the rest pins what the second half of the moments means, the logarithm of the variance.
 */
static void golden_sample(Golden *g, const Planes *moments)
{
    int64_t shape[5];
    int rank;
    float *noise = golden_input(g, json_get(json_get(g->meta, "options"), "noise"), shape, &rank);
    int64_t half = planes_count(moments) / 2;
    float *std = malloc((size_t)(half + 1) * sizeof *std);
    if (!std) golden_fail(g, "out of memory");
    if (noise && (rank != 5 || shape[1] * shape[2] * shape[3] * shape[4] != half))
        golden_fail(g, "the noise has another size");
    if (g->verdict == GOLDEN_OK) {
        for (int64_t i = 0; i < half; i++) {
            std[i] = expf(0.5f * fminf(fmaxf(moments->data[half + i], -30), 20));
            noise[i] = (moments->data[i] + std[i] * noise[i]) * VAE_SCALING;
        }
        golden_compare(g, "std", std, half, golden_tolerance(g, "std", GOLDEN_LAYER));
        golden_compare(g, "out", noise, half, golden_tolerance(g, "out", GOLDEN_LAYER));
    }
    free(std);
    free(noise);
}

/* ------------------------------------------------------------------------------------------------------------ cases */

static bool is_one_of(const char *op, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(op, names[i])) return true;
    return false;
}

void golden_seedvr2_vae(Golden *g)
{
    static const char *const encodes[] = {"encode", "stream_encode", "tiled_encode"};
    static const char *const decodes[] = {"decode", "decode_scaled", "stream_decode", "tiled_decode"};
    static const char *const modules[] = {"norm_silu", "causal_conv", "resnet", "attention", "downsample", "upsample"};
    const char *op = json_string(json_get(g->meta, "op"), "");
    bool encode = is_one_of(op, encodes, 3), decode = is_one_of(op, decodes, 4), module = is_one_of(op, modules, 6);
    bool sample = !strcmp(op, "sample");
    if (!encode && !decode && !module && !sample) {
        golden_fail(g, "the op '%s' is not known", op);
        return;
    }
    Planes in = {0};
    bool fine = planes_input(g, json_get(g->meta, "input"), &in);
    if (fine && sample) golden_sample(g, &in);
    const WeightPart *part = fine && !sample ? case_weights(g) : NULL;
    if (part && !strcmp(op, "decode_scaled"))
        for (int64_t i = 0; i < planes_count(&in); i++) in.data[i] /= VAE_SCALING;
    bool both = decode || !strcmp(op, "upsample");
    for (VaeFold fold = VAE_FOLD_OFF; part && g->verdict == GOLDEN_OK && fold <= (both ? VAE_FOLD_ON : VAE_FOLD_OFF);
         fold++) {
        if (module)
            golden_module(g, part, op, &in, fold);
        else
            golden_network(g, part, encode, &in, fold);
        size_t used = strlen(g->where);
        if (g->verdict == GOLDEN_FAIL && fold == VAE_FOLD_ON)
            snprintf(g->where + used, sizeof g->where - used, ", with folded upsamplers");
    }
    free(in.data);
}
