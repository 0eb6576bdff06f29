/*
 * Golden cases of the Wan VAE: streams cut into chunks as the cases say, and whole clips in tiles. A plain decode runs
 * again in exact tiles, as a clip and as a stream, which must give the same.
 */
#include "tests/goldens_planes.h"

#include "runtime/models/wan_vae.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const WeightPart *case_weights(Golden *g)
{
    const JsonTree *config = json_get(g->meta, "config"), *weights = json_get(g->meta, "weights");
    PrefixRule rule = {json_string(json_get(weights, "prefix"), ""), json_number(json_get(weights, "gain"), 1)};
    int multipliers[8], time[8] = {0}, levels = json_count(json_get(config, "mult"));
    int dim = (int)json_int(json_get(config, "dim"), 96), latent = (int)json_int(json_get(config, "z_dim"), 16);
    int blocks = (int)json_int(json_get(config, "blocks"), 2);
    bool encoder = false, decoder = false;
    for (const JsonTree *h = json_get(config, "halves")->child; h; h = h->next)
        *(strcmp(h->text, "encoder") ? &decoder : &encoder) = true;
    if (levels < 1 || levels > 8) {
        golden_fail(g, "config.mult must name 1 to 8 levels");
        return NULL;
    }
    char key[512];
    int used = snprintf(key, sizeof key, "wan_vae %.200s %a dim %d z %d blocks %d halves %d%d", rule.prefix, rule.gain,
                        dim, latent, blocks, encoder, decoder);
    for (int i = 0; i < levels; i++) {
        multipliers[i] = (int)json_int(json_at(json_get(config, "mult"), i), 1);
        if (i < levels - 1) time[i] = json_bool(json_at(json_get(config, "time"), i), false);
        used += snprintf(key + used, sizeof key - (size_t)used, " %d/%d", multipliers[i], time[i]);
    }
    SynthShape *shapes;
    int count = synth_wan_layout(dim, latent, multipliers, levels, blocks, time, encoder, decoder, &shapes);
    return prefix_part(g, NET_WAN_VAE, key, shapes, count, &rule);
}

/* What a run does: which way, and whether in tiles. */
typedef struct Run {
    bool encode, whole; /* whole: one call over the clip, else the case's chunks */
    WanTiles tiles;
    Planes *in, *out;
} Run;

static void compare_states(Golden *g, WanStream *s)
{
    const JsonTree *states = json_get(g->meta, "states");
    for (const JsonTree *k = states ? states->child : NULL; k; k = k->next) {
        char name[256];
        snprintf(name, sizeof name, "state.%s", k->text);
        float *memory = memory_room(g, name);
        int t, h, w, c;
        if (memory && !wan_stream_state(s, k->text, memory, &t, &h, &w, &c))
            golden_fail(g, "%s: the stream keeps no memory of that name", name);
        else if (memory)
            memory_compare(g, name, memory, t, h, w, c, GOLDEN_NETWORK);
        free(memory);
    }
}

static void run_chunks(Golden *g, WanVae *v, Dev *d, const Run *r)
{
    VaeVideo from = {.user = r->in, .read = planes_read}, to = {.user = r->out, .write = planes_write};
    const Planes *in = r->in;
    const int h = (int)in->h, w = (int)in->w, tile = r->tiles.tile;
    WanTiledStream *tiled = tile > 0 ? wan_tiled_open(v, d, h, w, tile) : NULL;
    WanStream *s = tile > 0 ? NULL : r->encode ? wan_encode_open(v, d, h, w) : wan_decode_open(v, d, h, w);
    int64_t at = 0;
    for (const JsonTree *n = json_get(g->meta, "chunks")->child; n && (s || tiled) && dev_ok(d); n = n->next) {
        int count = (int)json_int(n, 0);
        if (count < 1 || at + count > in->t) {
            golden_fail(g, "the chunks do not fit the input");
            break;
        }
        if (r->encode) {
            wan_encode(s, count, from, to);
        } else {
            Tensor z = dev_floats(d, count, (int)in->h, (int)in->w, (int)in->c);
            float *values = dev_write(d, z), *x = values;
            for (int64_t t = 0; x && t < count; t++)
                for (int64_t p = 0; p < in->h * in->w; p++, x += z.c_pad)
                    for (int64_t c = 0; c < in->c; c++) x[c] = planes_at(in, c, at + t, 0, 0)[p];
            dev_write_end(d, z, values);
            if (tiled)
                wan_tiled_decode(tiled, z, to);
            else
                wan_decode(s, z, to);
            dev_free(d, &z);
        }
        at += count;
    }
    if (s && dev_ok(d) && !dev_is_plan(d)) compare_states(g, s);
    wan_stream_close(s);
    wan_tiled_close(tiled);
}

static bool run_once(Golden *g, WanVae *v, Dev *d, const Run *r)
{
    VaeVideo from = {.user = r->in, .read = planes_read}, to = {.user = r->out, .write = planes_write};
    const Planes *in = r->in;
    if (!r->whole)
        run_chunks(g, v, d, r);
    else if (r->encode)
        wan_encode_tiled(v, d, (int)in->h, (int)in->w, in->t, r->tiles, from, to);
    else
        wan_decode_tiled(v, d, (int)in->h, (int)in->w, in->t, r->tiles, from, to);
    if (dev_ok(d)) dev_phase(d);
    if (!dev_ok(d)) golden_fail(g, "%s: %s", dev_is_plan(d) ? "plan" : "run", dev_error(d));
    return dev_ok(d) && g->verdict == GOLDEN_OK;
}

/* Planned, then run in exactly the memory the plan found. */
static void run_network(Golden *g, WanVae *v, const Run *r)
{
    char error[512];
    Dev *plan = dev_plan_open(&g->setup), *d = NULL;
    if (run_once(g, v, plan, r)) {
        uint64_t peak = dev_totals(plan).arena_peak;
        d = dev_open(&g->setup, peak, error, sizeof error);
        if (!d) golden_fail(g, "%s", error);
        if (d && run_once(g, v, d, r) && dev_totals(d).arena_peak != peak)
            golden_fail(g, "the run took %llu bytes, the plan said %llu", (unsigned long long)dev_totals(d).arena_peak,
                        (unsigned long long)peak);
    }
    if (d) dev_close(d);
    dev_close(plan);
}

static void golden_run(Golden *g, WanVae *v, Run r)
{
    Planes in = {0}, out = {0};
    Taps taps = {.g = g};
    bool tiled = r.tiles.tile > 0 || r.tiles.ramp_size_h > 0;
    const JsonTree *wanted = tiled ? NULL : json_get(g->meta, "taps");
    bool fine = planes_input(g, json_get(g->meta, "input"), &in) && planes_expected(g, "out", false, &out);
    for (const JsonTree *w = wanted ? wanted->child : NULL; w && fine; w = w->next)
        fine = taps_add(&taps, w->text, 1, false);
    r.in = &in;
    r.out = &out;
    wan_vae_set_tap(v, taps.count > 0 ? taps_take : NULL, &taps);
    if (fine) run_network(g, v, &r);
    if (r.tiles.ramp_size_h > 0 && !r.encode) /* the case clamps what its ramps have blended */
        for (int64_t i = 0; fine && i < planes_count(&out); i++)
            out.data[i] = out.data[i] < -1 ? -1 : out.data[i] > 1 ? 1 : out.data[i];
    if (g->verdict == GOLDEN_OK) taps_compare(&taps);
    if (g->verdict == GOLDEN_OK) planes_compare(g, "out", &out, GOLDEN_NETWORK);
    taps_close(&taps);
    free(out.data);
    free(in.data);
}

void golden_wan_vae(Golden *g)
{
    const char *op = json_string(json_get(g->meta, "op"), "");
    bool tiled = !strncmp(op, "tiled_", 6), encode = !strcmp(op + (tiled ? 6 : 0), "encode");
    if (!encode && strcmp(op + (tiled ? 6 : 0), "decode")) {
        golden_fail(g, "the op '%s' is not known", op);
        return;
    }
    char error[512];
    const WeightPart *part = case_weights(g);
    WanVae *v = part ? wan_vae_open(part, encode, !encode, error, sizeof error) : NULL;
    if (part && !v) golden_fail(g, "%s", error);
    if (!v) return;
    const JsonTree *size = json_get(g->meta, "size"), *stride = json_get(g->meta, "stride");
    WanTiles ramps = {.ramp_size_h = (int)json_int(json_at(size, 0), 0),
                      .ramp_size_w = (int)json_int(json_at(size, 1), 0),
                      .ramp_stride_h = (int)json_int(json_at(stride, 0), 0),
                      .ramp_stride_w = (int)json_int(json_at(stride, 1), 0)};
    golden_run(g, v, (Run){.encode = encode, .whole = tiled, .tiles = ramps});
    for (int whole = 0; !tiled && !encode && whole < 2 && g->verdict == GOLDEN_OK; whole++) {
        golden_run(g, v, (Run){.whole = whole, .tiles.tile = 4});
        size_t used = strlen(g->where);
        if (g->verdict == GOLDEN_FAIL) snprintf(g->where + used, sizeof g->where - used, ", in exact tiles");
    }
    wan_vae_close(v);
}
