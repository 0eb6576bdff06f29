#include "runtime/cuda/predict.h"

#include <math.h>
#include <string.h>

enum { WARP = 32, QUARTERS = 4, REGISTERS = 65536, MOST_BLOCKS = 24, RESERVED = 1024 /* bytes of shared memory a block */ };

const char *bound_name(Bound b)
{
    static const char *const names[BOUND_COUNT] = {"tensor", "issue", "shared", "L2", "DRAM", "latency"};
    return names[b];
}

/* --------------------------------------------------------------------------------------------------------- one launch */

static double blocks_of(const CudaGrid *g) { return (double)g->x * g->y * g->z; }
static double clocks_per_second(const CudaDevice *d) { return d->clock_ghz * 1e9; }

static int at_most(int n, double limit) { return limit < n ? (int)limit : n; }

int predict_resident(const CudaDevice *d, const KernelCount *k, const KernelWork *w)
{
    const int threads = (int)w->grid.threads > 0 ? (int)w->grid.threads : 1, registers = (k->registers + 7) / 8 * 8;
    int n = at_most(MOST_BLOCKS, (double)d->threads_per_sm / threads);
    if (registers > 0) n = at_most(n, (double)REGISTERS / ((double)registers * threads));
    n = at_most(n, (double)d->shared_per_sm / (w->grid.shared + k->shared + RESERVED));
    return n > 1 ? n : 1;
}

/* Clocks of a multiprocessor's quarter for one pass of a warp: issuing, or its busiest unit. */
static double clocks_of(const CudaDevice *d, const CountPart *p)
{
    static const uint8_t unit[COUNT_KINDS] = { /* RateUnit + 1 */
        [COUNT_FLOAT] = RATE_UNIT_FLOAT + 1, [COUNT_HALF] = RATE_UNIT_HALF + 1, [COUNT_INT] = RATE_UNIT_INT + 1,
        [COUNT_MUFU] = RATE_UNIT_MUFU + 1, [COUNT_CONVERT] = RATE_UNIT_CONVERT + 1, [COUNT_DOUBLE] = RATE_UNIT_DOUBLE + 1,
        [COUNT_LDSM] = RATE_UNIT_MEMORY + 1, [COUNT_LDS] = RATE_UNIT_MEMORY + 1, [COUNT_STS] = RATE_UNIT_MEMORY + 1,
        [COUNT_SHFL] = RATE_UNIT_MEMORY + 1, [COUNT_LDG] = RATE_UNIT_MEMORY + 1, [COUNT_STG] = RATE_UNIT_MEMORY + 1,
        [COUNT_LDGSTS] = RATE_UNIT_MEMORY + 1};
    double busy[RATE_UNIT_COUNT] = {0}, most = count_issued(p);
    for (int i = 0; i < COUNT_KINDS; i++) {
        if (unit[i]) busy[unit[i] - 1] += p->count[i] * rate_unit_clocks(d, (RateUnit)(unit[i] - 1));
    }
    for (int u = 0; u < RATE_UNIT_COUNT; u++) most = busy[u] > most ? busy[u] : most;
    return most;
}

/* Clocks of a whole multiprocessor for the products of one pass of a warp; products by FFMA where there are no others. */
static double product_clocks(const CudaDevice *d, const CountPart *p)
{
    static const RateClass classes[] = {[COUNT_HMMA] = RATE_BF16, [COUNT_IMMA] = RATE_INT8, [COUNT_QMMA] = RATE_FP8,
                                        [COUNT_QMMA_SCALED] = RATE_FP8_BLOCK_SCALE, [COUNT_GMMA] = RATE_BF16_WGMMA};
    if (count_mma_flop(p) == 0) return p->ffma * 2.0 * WARP / rate_per_clock(d, RATE_FP32);
    double clocks = 0;
    for (int i = 0; i <= COUNT_GMMA; i++) {
        const double rate = rate_per_clock(d, classes[i]);
        if (p->mma_flop[i] > 0) clocks += p->mma_flop[i] / (rate > 0 ? rate : rate_per_clock(d, RATE_BF16));
    }
    return clocks;
}

static double pass_flop(const CountPart *p)
{
    const double flop = count_mma_flop(p);
    return flop > 0 ? flop : p->ffma * 2.0 * WARP;
}

/* The largest of the terms, of which `from` and up count; its seconds. */
static double largest(KernelTime *t)
{
    t->bound = BOUND_TENSOR;
    for (int b = 1; b < BOUND_COUNT; b++) {
        if (t->term[b] > t->term[t->bound]) t->bound = (Bound)b;
    }
    return t->term[t->bound];
}

/* Terms of all blocks' main loops, evenly spread. */
static void loop_terms(const CudaDevice *d, const KernelCount *k, const KernelWork *w, KernelTime *t)
{
    const double all = d->sms * clocks_per_second(d), passes = w->mma_flop / pass_flop(&k->loop);
    t->term[BOUND_TENSOR] = passes * product_clocks(d, &k->loop) / all;
    t->term[BOUND_ISSUE] = passes * clocks_of(d, &k->loop) / QUARTERS / all;
    t->term[BOUND_SHARED] = (passes * k->loop.shared_bytes + w->fill) / rate_shared_bytes(d) / all;
    t->term[BOUND_L2] = w->fill / rate_l2_bytes(d) / all;
}

/* Seconds of the multiprocessor that has most blocks, whose loops take `loop` seconds if evenly spread. */
static double with_waves(const CudaDevice *d, const KernelCount *k, const KernelWork *w, double loop)
{
    const double blocks = blocks_of(&w->grid), busiest = ceil(blocks / d->sms);
    const double warps = (double)((w->grid.threads - w->producers) / WARP);
    const double own = loop * d->sms / blocks; /* of one block that has a multiprocessor to itself */
    const double issued = (double)count_issued(&k->body) - count_issued(&k->loop);
    const double outside = issued * warps / QUARTERS / clocks_per_second(d) + PREDICT_LATENCY;
    const int resident = predict_resident(d, k, w);
    if (resident == 1) return busiest * (own + outside);
    const double shared = (own + outside) / resident;
    return busiest * (own > shared ? own : shared) + outside;
}

/* Seconds of products whose loop that is, if those of 8 bits reach no more than others' do. */
static double published(const KernelTime *t, const CountPart *loop)
{
    const bool eight = loop->count[COUNT_IMMA] + loop->count[COUNT_QMMA] + loop->count[COUNT_QMMA_SCALED] > 0;
    const double sober = eight ? t->limit / PREDICT_PUBLISHED : 0;
    return sober > t->seconds ? sober : t->seconds;
}

static KernelTime product_time(const CudaDevice *d, const KernelCount *k, const KernelWork *w)
{
    KernelTime t = {.limit = 0};
    const double tripled = w->mma_flop > 0 && w->rate >= RATE_FP8 && strstr(k->function, "_pair") ? 3 : 1;
    t.limit = w->flop * tripled / rate_peak(d, w->rate);
    loop_terms(d, k, w, &t);
    const double loop = largest(&t);
    t.seconds = with_waves(d, k, w, loop);
    t.term[BOUND_DRAM] = d->bandwidth_gbs > 0 ? w->bytes / (rate_dram_bytes(d) * PREDICT_DRAM_REACH) : 0;
    if (t.term[BOUND_DRAM] > t.seconds) {
        t.seconds = t.term[BOUND_DRAM];
        t.bound = BOUND_DRAM;
    }
    t.published = published(&t, &k->loop);
    return t;
}

static KernelTime flash_time(const CudaDevice *d, const KernelCount *k, const KernelWork *w)
{
    KernelTime t = {.limit = 0};
    const double blocks = blocks_of(&w->grid), resident = predict_resident(d, k, w);
    const double warps = (double)((w->grid.threads - w->producers) / WARP);
    const double passes = w->mma_flop / pass_flop(&k->loop), products = product_clocks(d, &k->loop);
    loop_terms(d, k, w, &t);
    t.limit = w->flop / pass_flop(&k->loop) * products / (d->sms * clocks_per_second(d));
    /* a warp's turn: its products on its quarter, then all else */
    const double turn = QUARTERS * products + clocks_of(d, &k->loop);
    t.term[BOUND_LATENCY] = passes * turn / (resident * warps) / (d->sms * clocks_per_second(d));
    const double held = resident * d->sms, rounds = blocks / held;
    t.seconds = largest(&t) * (rounds > 1 ? ceil(rounds) / rounds : 1 / rounds < held ? 1 / rounds : 1);
    t.published = published(&t, &k->loop);
    return t;
}

static KernelTime bytes_time(const CudaDevice *d, const KernelCount *k, const KernelWork *w)
{
    KernelTime t = {.limit = 0};
    const bool looping = k->loop.read_bytes + k->loop.written_bytes > 0;
    const CountPart *p = looping ? &k->loop : &k->body;
    const double warps = blocks_of(&w->grid) * ((w->grid.threads + WARP - 1) / WARP);
    const double pass = (double)p->read_bytes + p->written_bytes;
    const double bytes = w->kind == WORK_UNKNOWN ? warps * pass : w->bytes, blocks = blocks_of(&w->grid);
    const double all = (blocks < d->sms ? blocks : d->sms) * clocks_per_second(d); /* of those at work */
    if (pass > 0) t.term[BOUND_ISSUE] = bytes / pass * clocks_of(d, p) / QUARTERS / all;
    if (w->shared > 0 && k->other.shared_bytes > 0)
        t.term[BOUND_ISSUE] += w->shared / k->other.shared_bytes * clocks_of(d, &k->other) / QUARTERS / all;
    if (looping) t.term[BOUND_ISSUE] += warps * ((double)count_issued(&k->body) - count_issued(p)) / QUARTERS / all;
    if (d->bandwidth_gbs > 0) {
        t.limit = bytes / rate_dram_bytes(d);
        t.term[BOUND_DRAM] = t.limit / PREDICT_DRAM_REACH;
    }
    double held = predict_resident(d, k, w) * d->sms;
    if (held > blocks) held = blocks;
    const double in_flight = held * ((w->grid.threads + WARP - 1) / WARP) * p->read_bytes;
    if (in_flight > 0) t.term[BOUND_LATENCY] = bytes * p->read_bytes / pass / in_flight * PREDICT_LATENCY;
    t.seconds = t.published = largest(&t);
    return t;
}

/* Of a kernel whose machine code was not to be had: the device's limits. */
static KernelTime uncounted_time(const CudaDevice *d, const KernelWork *w)
{
    const double rate = rate_peak(d, w->rate), products = rate > 0 ? w->flop / rate : 0;
    KernelTime t = {.bound = BOUND_TENSOR};
    if (d->bandwidth_gbs > 0) t.term[BOUND_DRAM] = w->bytes / (rate_dram_bytes(d) * PREDICT_DRAM_REACH);
    t.term[BOUND_TENSOR] = products;
    t.limit = largest(&t);
    t.seconds = t.published = t.limit + PREDICT_LAUNCH;
    return t;
}

KernelTime predict_kernel(const CudaDevice *d, const KernelCount *k, const KernelWork *w)
{
    KernelTime t;
    if (w->kind == WORK_PRODUCT && pass_flop(&k->loop) > 0) t = product_time(d, k, w);
    else if (w->kind == WORK_FLASH && pass_flop(&k->loop) > 0) t = flash_time(d, k, w);
    else t = bytes_time(d, k, w);
    t.seconds += PREDICT_LAUNCH;
    t.published += PREDICT_LAUNCH;
    return t;
}

double predict_at_most(const CudaDevice *d, const KernelWork *w)
{
    static const double slow_ghz = 0.8, slow_gbs = 50; /* an old laptop's */
    const double clocks = d->sms * (d->clock_ghz > 0 ? d->clock_ghz : slow_ghz) * 1e9;
    const double known = rate_per_clock(d, w->rate), flop = w->mma_flop > 0 ? w->mma_flop : w->flop;
    const double products = flop / (clocks * (known > 0 ? known : 256)), fills = w->fill / (clocks * rate_l2_bytes(d));
    const double moves = w->bytes / (d->bandwidth_gbs > 0 ? rate_dram_bytes(d) : slow_gbs * 1e9);
    const double reach = w->kind == WORK_FLASH && w->rate == RATE_FP32 ? PREDICT_REACH_FLASH_F32 : PREDICT_REACH;
    return fmax(products, fmax(fills, moves)) / reach + PREDICT_LAUNCH;
}

/* ----------------------------------------------------------------------------------------------------- many launches */

/* The last line takes what finds no other. */
static PredictionLine *line_of(Prediction *p, const char *function)
{
    for (int i = 0; i < p->count; i++) {
        if (p->line[i].function == function || strcmp(p->line[i].function, function) == 0) return &p->line[i];
    }
    if (p->count == PREDICTION_LINES) return &p->line[p->count - 1];
    PredictionLine *l = &p->line[p->count++];
    *l = (PredictionLine){.function = p->count == PREDICTION_LINES ? "others" : function};
    return l;
}

static void add_line(PredictionLine *l, const PredictionLine *other, double times)
{
    l->launches += times * other->launches;
    l->flop += times * other->flop;
    l->bytes += times * other->bytes;
    l->seconds += times * other->seconds;
    l->limit += times * other->limit;
    l->published += times * other->published;
    for (int b = 0; b < BOUND_COUNT; b++) l->bound[b] += times * other->bound[b];
}

static void keep_longest(Prediction *p, const char *function, double seconds)
{
    if (seconds <= p->longest.seconds) return;
    p->longest.function = function;
    p->longest.seconds = seconds;
}

WorkKind prediction_launch(Prediction *p, const CudaDevice *d, const char *function, CudaGrid grid, const void *args,
                           double flop, double tiles_flop)
{
    static const char uncounted[] = "not counted";
    if (d->clock_ghz <= 0) return WORK_UNKNOWN;
    const KernelCount *k = cuda_count(function, d->target);
    KernelWork w = cuda_work(d, function, grid, args);
    if (w.kind == WORK_FLASH) {
        w.flop = flop;
        w.mma_flop = tiles_flop > 0 ? tiles_flop : flop;
    }
    if (k == NULL) keep_longest(p, function, predict_at_most(d, &w));
    if (!cuda_counted()) return w.kind;
    const KernelTime t = k != NULL ? predict_kernel(d, k, &w) : uncounted_time(d, &w);
    PredictionLine one = {.launches = 1, .flop = w.flop, .bytes = w.bytes, .seconds = t.seconds, .limit = t.limit,
                          .published = t.published};
    one.bound[t.bound] = t.seconds;
    if (k != NULL) keep_longest(p, k->function, t.seconds);
    add_line(line_of(p, k != NULL ? k->function : uncounted), &one, 1);
    return w.kind;
}

void prediction_add(Prediction *p, const Prediction *other, double times)
{
    for (int i = 0; i < other->count; i++) add_line(line_of(p, other->line[i].function), &other->line[i], times);
    keep_longest(p, other->longest.function, other->longest.seconds);
}

PredictionLine prediction_sum(const Prediction *p)
{
    PredictionLine sum = {.function = "all"};
    for (int i = 0; i < p->count; i++) add_line(&sum, &p->line[i], 1);
    return sum;
}

Bound prediction_bound(const PredictionLine *l)
{
    int most = 0;
    for (int b = 1; b < BOUND_COUNT; b++) most = l->bound[b] > l->bound[most] ? b : most;
    return (Bound)most;
}
