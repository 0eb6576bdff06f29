/*
 * Golden cases of the SeedVR2 video autoencoder: whole networks through the streaming jobs, single modules by name.
 *
 * The cases cut time in several ways (slices, parts, one shot). The product always streams 1 frame and then one latent
 * frame's worth, which must give the same values: slicing in time is exact.
 *
 * What decodes runs twice, with plain and with folded upsamplers; both must pass and the worse one is reported.
 */
#include "tests/goldens.h"

#include "runtime/models/seedvr2_vae.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------------------- planes */

/* [c][t][h][w], as the cases hold their tensors. */
typedef struct Planes {
    float *data;
    int64_t c, t, h, w;
} Planes;

static int64_t planes_count(const Planes *p)
{
    return p->c * p->t * p->h * p->w;
}

static float *planes_at(const Planes *p, int64_t c, int64_t t, int64_t y, int64_t x)
{
    return p->data + ((c * p->t + t) * p->h + y) * p->w + x;
}

/* The planes the tensor [1][c][t][h][w] asks for, not a number until something is written. */
static bool planes_expected(Golden *g, const char *name, Planes *p)
{
    const WeightTensor *e = golden_expected(g, name);
    if (!e) return false;
    if (e->rank != 5 || e->shape[0] != 1) {
        golden_fail(g, "%s is not [1, channels, frames, height, width]", name);
        return false;
    }
    *p = (Planes){NULL, e->shape[1], e->shape[2], e->shape[3], e->shape[4]};
    p->data = malloc((size_t)(e->count + 1) * sizeof *p->data);
    if (!p->data) {
        golden_fail(g, "%s: out of memory", name);
        return false;
    }
    for (int64_t i = 0; i < e->count; i++) p->data[i] = NAN;
    return true;
}

static bool planes_input(Golden *g, Planes *p)
{
    int64_t shape[5];
    int rank;
    p->data = golden_input(g, json_get(g->meta, "input"), shape, &rank);
    if (!p->data) return false;
    if (rank != 5 || shape[0] != 1) {
        golden_fail(g, "the input is not [1, channels, frames, height, width]");
        return false;
    }
    p->c = shape[1], p->t = shape[2], p->h = shape[3], p->w = shape[4];
    return true;
}

static bool inside(const Planes *p, const VaeRegion *r)
{
    return r->channels == p->c && r->frame >= 0 && r->frame < p->t && r->y >= 0 && r->x >= 0 &&
           r->y + r->height <= p->h && r->x + r->width <= p->w;
}

static bool planes_read(void *user, const VaeRegion *r)
{
    const Planes *p = user;
    if (!inside(p, r)) return false;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++)
            memcpy(r->data + c * r->plane + y * r->row, planes_at(p, c, r->frame, r->y + y, r->x),
                   (size_t)r->width * sizeof(float));
    return true;
}

static bool planes_write(void *user, const VaeRegion *r, bool add)
{
    const Planes *p = user;
    if (!inside(p, r)) return false;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++) {
            const float *from = r->data + c * r->plane + y * r->row;
            float *to = planes_at(p, c, r->frame, r->y + y, r->x);
            for (int x = 0; x < r->width; x++) to[x] = add ? to[x] + from[x] : from[x];
        }
    return true;
}

/* ---------------------------------------------------------------------------------------------------------- weights */

typedef struct Rule {
    const char *prefix;
    double gain;
} Rule;

static void fill(void *user, const SynthShape *s, float *out)
{
    const Rule *r = user;
    char name[512];
    snprintf(name, sizeof name, "%s%s", r->prefix, s->name);
    synth_weight(name, s->rank, s->shape, r->gain, out);
}

static const WeightPart *case_weights(Golden *g)
{
    const JsonTree *config = json_get(g->meta, "config"), *weights = json_get(g->meta, "weights");
    const JsonTree *widths = json_get(config, "block_out");
    Rule rule = {json_string(json_get(weights, "prefix"), ""), json_number(json_get(weights, "gain"), 1)};
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
    if (count < 0) {
        golden_fail(g, "out of memory");
        return NULL;
    }
    const WeightSet *set = golden_weights(g, key, shapes, count, fill, &rule);
    free(shapes);
    if (!set) return NULL;
    char error[512];
    const WeightPart *part = weight_set_require(set, NET_SEEDVR2_VAE, false, 0, error, sizeof error);
    if (!part) golden_fail(g, "%s", error);
    return part;
}

/* --------------------------------------------------------------------------------------------------- whole networks */

enum { MAX_TAPS = 32 };

typedef struct Tap {
    const char *where;
    char name[128]; /* "tap.<where>" */
    int stride;     /* of the stored channels */
    Planes got;
} Tap;

typedef struct Taps {
    Golden *g;
    int count;
    Tap item[MAX_TAPS];
} Taps;

static void taps_close(Taps *t)
{
    for (int i = 0; i < t->count; i++) free(t->item[i].got.data);
    t->count = 0;
}

static bool taps_open(Taps *t, Golden *g)
{
    *t = (Taps){.g = g};
    const JsonTree *wanted = json_get(json_get(g->meta, "options"), "taps");
    for (const JsonTree *w = wanted ? wanted->child : NULL; w; w = w->next) {
        if (t->count == MAX_TAPS || json_int(w, 1) < 1) {
            golden_fail(g, "more than %d taps, or a channel stride below 1", MAX_TAPS);
            return false;
        }
        Tap *tap = &t->item[t->count++];
        tap->where = w->key;
        tap->stride = (int)json_int(w, 1);
        snprintf(tap->name, sizeof tap->name, "tap.%s", w->key);
        if (!planes_expected(g, tap->name, &tap->got)) return false;
    }
    return true;
}

static void take(void *user, const char *where, int64_t frame, const float *nhwc, int h, int w, int c, int c_pad)
{
    Taps *taps = user;
    for (int i = 0; i < taps->count; i++) {
        Tap *tap = &taps->item[i];
        const Planes *p = &tap->got;
        if (strcmp(tap->where, where)) continue;
        if (h != p->h || w != p->w || (c + tap->stride - 1) / tap->stride != p->c || frame < 0 || frame >= p->t) {
            golden_fail(taps->g, "%s is frame %lld of %d x %d with %d channels, expected %lld frames of %lld x %lld",
                        tap->name, (long long)frame, h, w, c, (long long)p->t, (long long)p->h, (long long)p->w);
            return;
        }
        for (int64_t ch = 0; ch < p->c; ch++)
            for (int64_t at = 0; at < (int64_t)h * w; at++)
                planes_at(p, ch, frame, 0, 0)[at] = nhwc[at * c_pad + ch * tap->stride];
    }
}

/*
 * A convolution's memory [t][h][w][c] against state.<name> [1][c][t][h][w]. The product may keep its zero border along
 * (as long on both sides) or leave out zeros that the reference keeps (right and below): both hold the same.
 */
static void compare_state(Golden *g, const char *name, const float *memory, int t, int h, int w, int c,
                          double tolerance)
{
    char tensor[256];
    snprintf(tensor, sizeof tensor, "state.%s", name);
    Planes p;
    if (!planes_expected(g, tensor, &p)) return;
    int64_t top = h > p.h ? (h - p.h) / 2 : 0, left = w > p.w ? (w - p.w) / 2 : 0;
    if (t != p.t || c != p.c) {
        golden_fail(g, "%s holds %d frames of %d channels, expected %lld of %lld", tensor, t, c, (long long)p.t,
                    (long long)p.c);
    } else {
        for (int64_t ch = 0; ch < p.c; ch++)
            for (int64_t f = 0; f < p.t; f++)
                for (int64_t y = 0; y < p.h; y++)
                    for (int64_t x = 0; x < p.w; x++) {
                        bool kept = y + top < h && x + left < w;
                        *planes_at(&p, ch, f, y, x) = kept ? memory[((f * h + y + top) * w + x + left) * c + ch] : 0;
                    }
        golden_compare(g, tensor, p.data, planes_count(&p), golden_tolerance(g, tensor, tolerance));
    }
    free(p.data);
}

/* Room for the memory of any layout compare_state knows. */
static float *state_room(Golden *g, const char *name)
{
    char tensor[256];
    snprintf(tensor, sizeof tensor, "state.%s", name);
    const WeightTensor *e = golden_expected(g, tensor);
    if (!e || e->rank != 5) return NULL;
    float *room = malloc((size_t)(e->shape[1] * 4 * (e->shape[3] + 4) * (e->shape[4] + 4)) * sizeof *room);
    if (!room) golden_fail(g, "out of memory");
    return room;
}

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
        float *memory = state_room(g, s->text);
        int t, h, w, c;
        if (memory && !vae_job_state(job, s->text, memory, &t, &h, &w, &c))
            golden_fail(g, "state.%s: the job keeps no memory of that name", s->text);
        else if (memory)
            compare_state(g, s->text, memory, t, h, w, c, GOLDEN_NETWORK);
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

/* The job planned, then run in exactly the memory the plan found. */
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
    Dev *plan = dev_plan_open(g->threads), *d = NULL;
    if (g->verdict == GOLDEN_OK && run_job(g, v, plan, fold, encode, in, out, tiles)) {
        uint64_t peak = dev_totals(plan).arena_peak;
        d = dev_cpu_open(g->threads, peak, error, sizeof error);
        if (!d) golden_fail(g, "%s", error);
        vae_set_tap(v, take, taps);
        if (d && run_job(g, v, d, fold, encode, in, out, tiles) && dev_totals(d).arena_peak != peak)
            golden_fail(g, "the run took %llu bytes, the plan said %llu", (unsigned long long)dev_totals(d).arena_peak,
                        (unsigned long long)peak);
    }
    if (d) dev_close(d);
    dev_close(plan);
    vae_close(v);
}

static void compare_planes(Golden *g, const char *name, const Planes *p, double t)
{
    golden_compare(g, name, p->data, planes_count(p), golden_tolerance(g, name, t));
}

/* `latent`: what the transformer sees, the scaled mean: the first half of the moments' channels. */
static void compare_latent(Golden *g, const Planes *moments)
{
    if (!weight_file_find(g->file, "latent")) return;
    Planes mean = *moments;
    mean.c /= 2;
    for (int64_t i = 0; i < planes_count(&mean); i++) mean.data[i] *= VAE_SCALING;
    compare_planes(g, "latent", &mean, GOLDEN_NETWORK);
}

static VaeTiles case_tiles(const Golden *g)
{
    const JsonTree *o = json_get(g->meta, "options"), *tile = json_get(o, "tile"), *overlap = json_get(o, "overlap");
    return (VaeTiles){(int)json_int(json_at(tile, 0), 0), (int)json_int(json_at(tile, 1), 0),
                      (int)json_int(json_at(overlap, 0), 0), (int)json_int(json_at(overlap, 1), 0)};
}

static void golden_network(Golden *g, const WeightPart *part, bool encode, Planes *in, VaeFold fold)
{
    Planes out = {0};
    Taps taps = {0};
    if (planes_expected(g, "out", &out) && taps_open(&taps, g)) {
        run_network(g, part, fold, encode, in, &out, case_tiles(g), &taps);
        if (g->verdict == GOLDEN_OK) {
            for (int i = 0; i < taps.count; i++)
                compare_planes(g, taps.item[i].name, &taps.item[i].got, GOLDEN_NETWORK);
            compare_planes(g, "out", &out, GOLDEN_NETWORK);
            if (encode) compare_latent(g, &out);
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
    Dev *plan = dev_plan_open(g->threads), *d = NULL;
    bool fine = vae_run_module(part, plan, fold, r, error, sizeof error);
    if (fine && (r->ot != expected->t || r->oh != expected->h || r->ow != expected->w || r->oc != expected->c)) {
        fine = false;
        snprintf(error, sizeof error,
                 "out is %d frames of %d x %d with %d channels, expected %lld of %lld x %lld with %lld", r->ot, r->oh,
                 r->ow, r->oc, (long long)expected->t, (long long)expected->h, (long long)expected->w,
                 (long long)expected->c);
    }
    uint64_t peak = dev_totals(plan).arena_peak;
    if (fine) fine = (d = dev_cpu_open(g->threads, peak, error, sizeof error)) != NULL;
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
    if (x && g->verdict == GOLDEN_OK && planes_expected(g, "out", &out)) {
        /* The plan tells the shape before anything is written; until then any result of these modules fits. */
        result = malloc((size_t)(8 * planes_count(in) + 8 * planes_count(&out)) * sizeof *result);
        if (!result) golden_fail(g, "out of memory");
    }
    r.x = x;
    r.out = result;
    const JsonTree *state = states ? states->child : NULL;
    do { /* once for each state wanted, and once without */
        r.state_name = state && !(fold == VAE_FOLD_ON && lost_by_folding(state->text)) ? state->text : NULL;
        r.state_out = r.state_name ? state_room(g, r.state_name) : NULL;
        if (result && g->verdict == GOLDEN_OK && run_module(g, part, fold, &r, &out)) {
            for (int64_t t = 0; t < out.t; t++)
                for (int64_t at = 0; at < out.h * out.w; at++)
                    for (int64_t c = 0; c < out.c; c++)
                        planes_at(&out, c, t, 0, 0)[at] = result[(t * out.h * out.w + at) * out.c + c];
            compare_planes(g, "out", &out, GOLDEN_LAYER);
            if (r.state_name) compare_state(g, r.state_name, r.state_out, r.st, r.sh, r.sw, r.sc, GOLDEN_LAYER);
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
    bool fine = planes_input(g, &in);
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
