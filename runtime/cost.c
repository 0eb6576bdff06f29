#include "runtime/cost.h"

#include "runtime/cuda/staging.h"
#include "runtime/options.h"
#include "runtime/thread.h"
#include "runtime/cuda/weight_room.h"

#include <stdio.h>

enum { LATENTS_RUN = 4 };

/* Run a job of so many latent frames on a counting device. */
static bool count_job(const VaeWork *work, VaeTiles tiles, int64_t latents, PhaseCost *out, Fault *f)
{
    Dev *d = dev_plan_open(work->setup);
    if (!d) return fault(f, UPRES_E_MEMORY, "no memory to plan with") == UPRES_OK;
    const VaeConfig *config = vae_config(work->vae);
    int factor = config->spatial_factor;
    VaeVideo none = {0};
    VaeJob *job = work->decode
                      ? vae_decode_open(work->vae, d, work->h / factor, work->w / factor, latents, 0, tiles, none, none)
                      : vae_encode_open(work->vae, d, work->h, work->w, (latents - 1) * config->temporal_factor + 1,
                                        tiles, none, none);
    while (job && dev_ok(d) && vae_step(job)) continue;
    vae_job_close(job);
    *out = cost_of(d);
    bool ok = dev_ok(d);
    if (!ok) fault(f, UPRES_E_INPUT, "%s", dev_error(d));
    dev_close(d);
    return ok;
}

bool cost_vae(const VaeWork *work, VaeTiles tiles, PhaseCost *out, Fault *f)
{
    int64_t run = work->latents < LATENTS_RUN ? work->latents : LATENTS_RUN;
    if (!count_job(work, tiles, run, out, f)) return false;
    if (work->latents == run) return true;
    PhaseCost shorter;
    if (!count_job(work, tiles, run - 1, &shorter, f)) return false;
    const double more = (double)(work->latents - run);
    const Prediction longer = out->prediction;
    out->flop += more * (out->flop - shorter.flop);
    prediction_add(&out->prediction, &longer, more);
    prediction_add(&out->prediction, &shorter.prediction, -more);
    return true;
}

/* Square tiles of a side; 0: none. */
static VaeTiles tiles_of(int side, int32_t overlap, bool thrifty)
{
    int o = options_tile_overlap(side, overlap);
    return (VaeTiles){.tile_h = side, .tile_w = side, .overlap_h = o, .overlap_w = o, .thrifty = thrifty};
}

/* What one tile of this side works in: a picture of its size, untiled. Many tiles need no more than one. Larger tiles save more
 * than thrift costs. */
static bool cost_tile(const TileChoice *c, int side, PhaseCost *out, Fault *f)
{
    VaeWork one = c->work;
    if (one.h > side) one.h = side;
    if (one.w > side) one.w = side;
    return cost_vae(&one, tiles_of(0, 0, true), out, f);
}

static bool largest_tile(TileChoice *c, uint64_t room, Fault *f)
{
    int longer = c->work.h > c->work.w ? c->work.h : c->work.w;
    int low = c->overlap > 0 ? c->overlap / 32 + 1 : 1, high = (longer - 1) / 32; /* in steps of 32 */
    if (high < low) high = low;
    c->tiles = tiles_of(32 * low, c->overlap, true);
    if (!cost_tile(c, 32 * low, &c->cost, f) || c->cost.arena_bytes > room) return false;
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        PhaseCost cost;
        if (!cost_tile(c, 32 * middle, &cost, f)) return false;
        if (cost.arena_bytes > room)
            high = middle - 1;
        else
            low = middle;
    }
    c->tiles = tiles_of(32 * low, c->overlap, true);
    return cost_vae(&c->work, c->tiles, &c->cost, f) && c->cost.arena_bytes <= room;
}

bool cost_choose_tiles(TileChoice *c, bool must_tile, uint64_t room, Fault *f)
{
    c->by_auto = c->tile == UPRES_TILE_AUTO && must_tile;
    if (c->by_auto) return largest_tile(c, room, f);
    for (int thrifty = 0; thrifty < 2; thrifty++) {
        c->tiles = tiles_of(c->tile > 0 ? c->tile : 0, c->overlap, thrifty);
        if (!cost_vae(&c->work, c->tiles, &c->cost, f)) return false;
        if (c->cost.arena_bytes <= room) return true;
    }
    return false;
}

uint64_t cost_room(uint64_t limit, uint64_t taken)
{
    if (!limit) return UINT64_MAX;
    return limit > taken ? limit - taken : 0;
}

PhaseCost cost_of(const Dev *d)
{
    DevTotals t = dev_totals(d);
    PhaseCost cost = {.arena_bytes = t.arena_peak, .weight_bytes = t.weights.all ? t.weights.all : t.weight_bytes, .flop = t.flop,
                      .weights = t.weights};
    const Prediction *predicted = cuda_prediction(d);
    if (predicted != NULL) cost.prediction = *predicted;
    return cost;
}

WeightNeed cost_weights(const PhaseCost *phases, int count)
{
    WeightNeed need = phases[0].weights;
    for (int i = 1; i < count; i++) need = weight_need_both(need, phases[i].weights);
    return need;
}

int cost_weight_levels(const PhaseCost *phases, int count, uint64_t levels[COST_WEIGHT_LEVELS])
{
    const WeightNeed need = cost_weights(phases, count);
    levels[0] = 0;
    if (need.all == 0) {
        for (int i = 0; i < count; i++) levels[0] += phases[i].weight_bytes;
        return 1;
    }
    uint64_t largest = 0, second = 0;
    for (int i = 0; i < count; i++) {
        const uint64_t all = phases[i].weights.all;
        if (all > largest) {
            second = largest;
            largest = all;
        } else if (all > second) {
            second = all;
        }
    }
    const uint64_t fixed = weight_need_fixed(&need), least = weight_need_least(&need);
    const uint64_t wanted[COST_WEIGHT_LEVELS] = {weight_need_all(&need), fixed + largest, fixed + second, least};
    int n = 0;
    for (int i = 0; i < COST_WEIGHT_LEVELS; i++) {
        if (wanted[i] >= least && (n == 0 || wanted[i] < levels[n - 1])) levels[n++] = wanted[i];
    }
    return n;
}

const char *cost_weights_note(const WeightNeed *need, uint64_t given, char text[128])
{
    char kept[32], all[32];
    text[0] = '\0';
    if (need->all > 0 && given < weight_need_all(need)) {
        snprintf(text, 128, "weights are streamed: %s of %s are kept at a time", cost_bytes(given, kept),
                 cost_bytes(weight_need_all(need), all));
    }
    return text;
}

uint64_t cost_program_bytes(int threads)
{
    /* Measured with narrow networks, whose arena and weights are small beside it. */
    return (uint64_t)(4 << 20) + (uint64_t)(threads ? threads : cpu_count()) * (64 << 10);
}

uint64_t cost_staging_bytes(uint64_t frame_bytes)
{
    return (uint64_t)STAGING_SLOTS * STAGING_SLOT_BYTES + 3 * frame_bytes; /* two going up, one coming back */
}

const char *cost_bytes(uint64_t bytes, char text[32])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 5) {
        value /= 1024;
        unit++;
    }
    snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

void cost_log(const upres_options *o, const JobMemory *m)
{
    char arena[32], weights[32], pictures[32], fixed[32], limit[32] = "an unknown amount";
    cost_bytes(m->arena_bytes, arena);
    cost_bytes(m->weight_bytes, weights);
    cost_bytes(m->picture_bytes, pictures);
    cost_bytes(m->fixed_bytes, fixed);
    if (m->limit) cost_bytes(m->limit, limit);
    if (!m->gpu) {
        options_log(o, UPRES_LOG_INFO, "memory: networks %s, weights %s, frames and program %s; %s can be had", arena, weights,
                    fixed, limit);
        return;
    }
    const bool several = m->devices > 1;
    options_log(o, UPRES_LOG_INFO,
                "memory of %s: networks %s, weights %s, pictures%s %s; frames and program, in the host's, %s; %s can be had%s",
                several ? "each GPU" : "the GPU", arena, weights, several ? " (on the first)" : "", pictures, fixed, limit,
                several ? " of each" : "");
}
