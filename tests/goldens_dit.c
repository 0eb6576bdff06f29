/*
 * Golden cases of the SeedVR2 transformers: one velocity prediction, the sampler, the window partition.
 */
#include "tests/goldens.h"

#include "runtime/models/seedvr2_dit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------------------- weights */

typedef struct Rule {
    const char *prefix;
    bool is_7b;
    float input_gain;                /* on vid_in.* and txt_in.*, after their values */
    const JsonTree *text, *negative; /* the texts stand in the same file; they are inputs, not weights */
} Rule;

static void fill(void *user, const SynthShape *s, float *out)
{
    const Rule *r = user;
    char name[512];
    const JsonTree *text = !strcmp(s->name, "pos_emb") ? r->text : !strcmp(s->name, "neg_emb") ? r->negative : NULL;
    const char *freqs = strstr(s->name, ".freqs");
    int64_t count = synth_count(s);
    if (text) {
        synth_tensor(json_string(json_get(text, "name"), ""), count, (float)json_number(json_get(text, "mean"), 0),
                     (float)json_number(json_get(text, "scale"), 1), out);
        return;
    }
    if (freqs && !freqs[strlen(".freqs")]) {
        synth_rope_freqs(r->is_7b, (int)count, out);
        return;
    }
    snprintf(name, sizeof name, "%s%s", r->prefix, s->name);
    float mean, scale;
    synth_dit_rule(name, s->rank, s->shape, &mean, &scale);
    synth_tensor(name, count, mean, scale, out);
    if (r->input_gain != 1 && (!strncmp(s->name, "vid_in.", 7) || !strncmp(s->name, "txt_in.", 7)))
        for (int64_t i = 0; i < count; i++) out[i] *= r->input_gain;
}

/* "pos_emb" or "neg_emb" [L][text_dim] as described by an input of the case. False: there is none. */
static bool text_shape(const JsonTree *input, const char *name, SynthShape *s)
{
    const JsonTree *extents = json_get(input, "shape");
    if (json_count(extents) != 2) return false;
    *s = (SynthShape){.rank = 2, .shape = {json_int(json_at(extents, 0), 0), json_int(json_at(extents, 1), 0)}};
    snprintf(s->name, sizeof s->name, "%s", name);
    return true;
}

static const WeightSet *case_weights(Golden *g)
{
    const JsonTree *model = json_get(g->meta, "model"), *weights = json_get(g->meta, "weights");
    const JsonTree *inputs = json_get(g->meta, "inputs");
    Rule rule = {
        json_string(json_get(weights, "prefix"), ""), !strcmp(json_string(json_get(model, "family"), ""), "7b"),
        (float)json_number(json_get(weights, "input_gain"), 1), json_get(inputs, "text"), json_get(inputs, "neg_text")};
    const char *names[] = {"layers",   "dim",       "heads",       "head_dim",
                           "text_dim", "mm_layers", "in_channels", "out_channels"};
    int v[8];
    char key[1024];
    int used =
        snprintf(key, sizeof key, "seedvr2_dit %.200s 7b %d gain %a", rule.prefix, rule.is_7b, (double)rule.input_gain);
    for (int i = 0; i < 8; i++) {
        v[i] = (int)json_int(json_get(model, names[i]), i == 6 ? 33 : i == 7 ? 16 : 0);
        used += snprintf(key + used, sizeof key - (size_t)used, " %d", v[i]);
    }
    if (v[0] < 1 || v[1] < 1 || v[2] < 1 || v[3] < 1 || v[4] < 1) {
        golden_fail(g, "the case's model lacks layers, dim, heads, head_dim or text_dim");
        return NULL;
    }
    SynthShape *shapes;
    int count = synth_dit_layout(rule.is_7b, v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], &shapes);
    SynthShape *more = count < 0 ? NULL : realloc(shapes, (size_t)(count + 2) * sizeof *shapes);
    if (!more) {
        if (count >= 0) free(shapes);
        golden_fail(g, "out of memory");
        return NULL;
    }
    shapes = more;
    const JsonTree *texts[] = {rule.text, rule.negative};
    for (int i = 0; i < 2; i++) {
        if (!text_shape(texts[i], i ? "neg_emb" : "pos_emb", &shapes[count])) continue;
        const SynthShape *s = &shapes[count++];
        used += snprintf(key + used, sizeof key - (size_t)used, " %.200s %lld %lld %a %a",
                         json_string(json_get(texts[i], "name"), ""), (long long)s->shape[0], (long long)s->shape[1],
                         json_number(json_get(texts[i], "mean"), 0), json_number(json_get(texts[i], "scale"), 1));
    }
    const WeightSet *set = golden_weights(g, key, shapes, count, fill, &rule);
    free(shapes);
    return set;
}

/* ------------------------------------------------------------------------------------------------------------- taps */

typedef struct Observer {
    Golden *g;
    int seen; /* expected taps the network passed by */
} Observer;

/* What the network holds at `where` against tap.<where>; a case may keep only the first rows (options.taps_rows). */
static void take(void *user, const char *where, const float *rows, int row_count, int columns, int padded)
{
    Observer *observer = user;
    Golden *g = observer->g;
    char name[128];
    snprintf(name, sizeof name, "tap.%s", where);
    const WeightTensor *e = weight_file_find(g->file, name);
    if (!e) return;
    observer->seen++;
    int64_t wanted = e->rank == 2 ? e->shape[0] : 1;
    bool cut = json_get(json_get(g->meta, "options"), "taps_rows") != NULL;
    if (wanted * columns != e->count || (cut ? wanted > row_count : wanted != row_count)) {
        golden_fail(g, "%s has %d rows of %d columns, expected %lld elements", name, row_count, columns,
                    (long long)e->count);
        return;
    }
    float *got = malloc((size_t)e->count * sizeof *got);
    if (!got) {
        golden_fail(g, "%s: out of memory", name);
        return;
    }
    for (int64_t r = 0; r < wanted; r++) memcpy(got + r * columns, rows + r * padded, (size_t)columns * sizeof *got);
    golden_compare(g, name, got, e->count, golden_tolerance(g, name, GOLDEN_NETWORK));
    free(got);
}

static int expected_taps(const Golden *g)
{
    int count = 0;
    for (size_t i = 0; i < weight_file_tensor_count(g->file); i++)
        count += !strncmp(weight_file_tensor(g->file, i)->name, "tap.", 4);
    return count;
}

/* --------------------------------------------------------------------------------------------------------- networks */

/* Everything a case of either op gives the network: rows [t][h][w] of `c` channels. */
typedef struct Work {
    int t, h, w;
    float *x;         /* forward: 33 channels; sampler: the noise, 16 */
    float *condition; /* sampler: 17 */
    int x_channels, condition_channels, out_channels;
    bool sample;
    float timestep;
    DitSampling sampling;
    const WeightPart *text, *negative;
    float *out;
} Work;

static void to_device(Dev *d, Tensor x, const float *values)
{
    float *to = dev_write(d, x);
    if (!to) return; /* a plan has no memory */
    memset(to, 0, (size_t)x.t * (size_t)x.stride_t * sizeof *to);
    for (int t = 0; t < x.t; t++)
        for (int h = 0; h < x.h; h++)
            for (int w = 0; w < x.w; w++)
                for (int c = 0; c < x.c; c++) to[t * x.stride_t + h * x.stride_h + w * x.c_pad + c] = *values++;
    dev_write_end(d, x, to);
}

static void from_device(Dev *d, Tensor x, float *values)
{
    const float *from = dev_read(d, x);
    if (!from) return;
    for (int t = 0; t < x.t; t++)
        for (int h = 0; h < x.h; h++)
            for (int w = 0; w < x.w; w++)
                for (int c = 0; c < x.c; c++) *values++ = from[t * x.stride_t + h * x.stride_h + w * x.c_pad + c];
    dev_read_end(d, from);
}

/* False: it failed and says so. */
static bool run_on(Golden *g, Dit *m, Dev *d, const Work *k)
{
    Tensor x = dev_floats(d, k->t, k->h, k->w, k->x_channels);
    Tensor y = dev_floats(d, k->t, k->h, k->w, k->sample ? k->condition_channels : k->out_channels);
    if (dev_ok(d)) {
        to_device(d, x, k->x);
        if (k->sample) {
            to_device(d, y, k->condition);
            dit_sample(m, d, x, y, k->text, k->negative, k->sampling, NULL, NULL);
        } else {
            dit_forward(m, d, x, k->text, k->timestep, y);
        }
    }
    if (dev_ok(d)) from_device(d, k->sample ? x : y, k->out);
    dev_free(d, &y);
    dev_free(d, &x);
    if (dev_ok(d)) dev_phase(d);
    if (!dev_ok(d)) golden_fail(g, "%s: %s", dev_is_plan(d) ? "plan" : "run", dev_error(d));
    return dev_ok(d);
}

/* Planned, then run in exactly the memory the plan found. */
static void run_work(Golden *g, const WeightPart *part, const Work *k)
{
    char error[512];
    Dit *m = dit_open(part, error, sizeof error);
    if (!m) {
        golden_fail(g, "%s", error);
        return;
    }
    Observer observer = {.g = g};
    Dev *plan = dev_plan_open(&g->setup), *d = NULL;
    if (run_on(g, m, plan, k)) {
        uint64_t peak = dev_totals(plan).arena_peak;
        d = dev_open(&g->setup, peak, error, sizeof error);
        if (!d) golden_fail(g, "%s", error);
        dit_set_tap(m, take, &observer);
        if (d && run_on(g, m, d, k)) {
            if (dev_totals(d).arena_peak != peak)
                golden_fail(g, "the run took %llu bytes, the plan said %llu",
                            (unsigned long long)dev_totals(d).arena_peak, (unsigned long long)peak);
            if (observer.seen < expected_taps(g))
                golden_fail(g, "%d of %d taps were passed by the network", observer.seen, expected_taps(g));
        }
    }
    if (d) dev_close(d);
    dev_close(plan);
    dit_close(m);
}

/* Input `name` as rows [t][h][w][channels]; NULL: recorded. */
static float *video_input(Golden *g, const char *name, Work *k, int *channels)
{
    int64_t shape[5];
    int rank;
    const JsonTree *described = json_get(json_get(g->meta, "inputs"), name);
    float *x = golden_input(g, described, shape, &rank);
    if (!x) return NULL;
    if (rank != 4 || (k->t && (k->t != shape[0] || k->h != shape[1] || k->w != shape[2]))) {
        golden_fail(g, "%s is not [frames, height, width, channels] of the clip's size", name);
        free(x);
        return NULL;
    }
    k->t = (int)shape[0], k->h = (int)shape[1], k->w = (int)shape[2], *channels = (int)shape[3];
    return x;
}

/* The low-quality latent and the mask, all ones, as one tensor. */
static float *with_mask(Golden *g, const float *lq, Work *k, int channels)
{
    int64_t pixels = (int64_t)k->t * k->h * k->w;
    float *both = malloc((size_t)(pixels * (channels + 1)) * sizeof *both);
    if (!both) golden_fail(g, "out of memory");
    for (int64_t i = 0; both && i < pixels; i++) {
        memcpy(both + i * (channels + 1), lq + i * channels, (size_t)channels * sizeof *both);
        both[i * (channels + 1) + channels] = 1;
    }
    k->condition_channels = channels + 1;
    return both;
}

static bool make_inputs(Golden *g, Work *k)
{
    if (k->sample) {
        int channels;
        float *lq = video_input(g, "lq_latent", k, &channels);
        if (lq) k->condition = with_mask(g, lq, k, channels);
        free(lq);
        k->x = k->condition ? video_input(g, "noise", k, &k->x_channels) : NULL;
        k->out_channels = k->x_channels;
        return k->x != NULL;
    }
    k->x = video_input(g, "x", k, &k->x_channels);
    if (!k->x) return false;
    for (int64_t i = 0; i < (int64_t)k->t * k->h * k->w; i++) k->x[(i + 1) * k->x_channels - 1] = 1; /* the mask */
    k->out_channels = (int)json_int(json_get(json_get(g->meta, "model"), "out_channels"), 16);
    return true;
}

static const WeightPart *find_text(Golden *g, const WeightSet *set, bool negative)
{
    char error[512];
    int width = (int)json_int(json_get(json_get(g->meta, "model"), "text_dim"), 0);
    const WeightPart *text = weight_set_require(set, NET_TEXT, negative, width, error, sizeof error);
    if (!text) golden_fail(g, "%s", error);
    return text;
}

static void golden_forward(Golden *g, bool sample)
{
    const JsonTree *options = json_get(g->meta, "options");
    Work k = {.sample = sample,
              .timestep = (float)json_number(json_get(g->meta, "timestep"), 1000),
              .sampling = {(int)json_int(json_get(options, "steps"), 1), json_number(json_get(options, "cfg_scale"), 1),
                           json_number(json_get(options, "cfg_rescale"), 0)}};
    const WeightSet *set = make_inputs(g, &k) ? case_weights(g) : NULL;
    if (set) {
        char error[512];
        const WeightPart *part = weight_set_require(set, NET_SEEDVR2_DIT, false, 0, error, sizeof error);
        if (!part) golden_fail(g, "%s", error);
        k.text = find_text(g, set, false);
        if (k.sampling.guidance != 1) k.negative = find_text(g, set, true);
        int64_t count = (int64_t)k.t * k.h * k.w * k.out_channels;
        k.out = malloc((size_t)count * sizeof *k.out);
        if (!k.out) golden_fail(g, "out of memory");
        if (g->verdict == GOLDEN_OK) run_work(g, part, &k);
        if (g->verdict == GOLDEN_OK) golden_compare(g, "out", k.out, count, golden_tolerance(g, "out", GOLDEN_NETWORK));
    }
    free(k.out);
    free(k.condition);
    free(k.x);
}

/* ---------------------------------------------------------------------------------------------------------- windows */

/* plain.TxHxW and shifted.TxHxW: rows t0, t1, h0, h1, w0, w1; size.TxHxW: the window itself. */
static void golden_windows(Golden *g)
{
    for (size_t i = 0; i < weight_file_tensor_count(g->file); i++) {
        const WeightTensor *e = weight_file_tensor(g->file, i);
        char kind[16];
        int t, h, w;
        if (sscanf(e->name, "%15[a-z].%dx%dx%d", kind, &t, &h, &w) != 4) {
            golden_fail(g, "%s is no window table", e->name);
            return;
        }
        float size[3] = {0}, *rows = size;
        int64_t count = 3;
        if (!strcmp(kind, "size")) {
            int n[3];
            dit_window_size(t, h, w, n);
            for (int k = 0; k < 3; k++) size[k] = (float)n[k];
        } else {
            bool shifted = !strcmp(kind, "shifted");
            int windows = dit_windows(t, h, w, shifted, NULL);
            AttentionWindow *found = malloc((size_t)(windows + 1) * sizeof *found);
            count = 6 * (int64_t)windows;
            rows = malloc((size_t)(count + 1) * sizeof *rows);
            if (!found || !rows || windows < 1) {
                golden_fail(g, "%s: no windows", e->name);
                count = 0;
            } else if (dit_windows(t, h, w, shifted, found) != windows) {
                golden_fail(g, "%s: another number of windows the second time", e->name);
                count = 0;
            }
            for (int64_t k = 0; k < count / 6; k++) {
                const AttentionWindow *a = &found[k];
                const int32_t row[6] = {a->t0, a->t1, a->h0, a->h1, a->w0, a->w1};
                for (int c = 0; c < 6; c++) rows[6 * k + c] = (float)row[c];
            }
            free(found);
        }
        if (count) golden_compare(g, e->name, rows, count, golden_tolerance(g, e->name, 0));
        if (rows != size) free(rows);
    }
}

void golden_seedvr2_dit(Golden *g)
{
    const char *op = json_string(json_get(g->meta, "op"), ""), *dot = strchr(op, '.');
    const char *verb = dot ? dot + 1 : op;
    if (!strcmp(verb, "forward"))
        golden_forward(g, false);
    else if (!strcmp(verb, "upscale_latent"))
        golden_forward(g, true);
    else if (!strcmp(verb, "windows"))
        golden_windows(g);
    else
        golden_fail(g, "the op '%s' is not known", op);
}
