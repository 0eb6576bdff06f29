/*
 * The CUDA device as a whole, on the emulated driver: repeated slices become graphs and nothing else goes to the driver; any
 * legal order of streams gives the same values; memory that cannot be had, broken weights and faults end in a sentence; a
 * program's own context is left alone. Every case is a process of its own, as the emulator reads its settings once.
 */
#include "runtime/cuda/driver.h"
#include "runtime/dev.h"
#include "runtime/device.h"
#include "runtime/cuda/dev.h"
#include "runtime/cuda/dev_attention.h"
#include "runtime/cuda/weight_room.h"
#include "tests/case.h"
#include "tests/child.h"
#include "tests/emulator/library.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char emulator[1024];

#define REPORT "build/tests/cuda_device.report" /* of the driver, on the case that ran last */

/* A number of it; 0: it is not there. */
static uint64_t reported(const char *what)
{
    char line[256];
    uint64_t number = 0;
    FILE *f = fopen(REPORT, "r");
    while (f != NULL && fgets(line, sizeof line, f)) {
        char *tab = strchr(line, '\t');
        if (tab == NULL) continue;
        *tab = '\0';
        if (strcmp(line, what) == 0) number = strtoull(tab + 1, NULL, 10);
    }
    if (f != NULL) fclose(f);
    return number;
}

/* Is something the driver gave not given back? */
static bool leaks(void)
{
    static const char *const left[] = {"memory of device 0 at the end", "pinned memory at the end",
                                       "allocations left to a context's end", "reserved ranges at the end",
                                       "mapped granules at the end", "memory handles at the end"};
    bool some = false;
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        if (reported(left[i]) == 0) continue;
        printf("  %s: %llu\n", left[i], (unsigned long long)reported(left[i]));
        some = true;
    }
    return some;
}

static void test(const char *name, const char *settings, void (*body)(void))
{
    char all[256];
    snprintf(all, sizeof all, "%s,report=" REPORT, settings);
    setenv("UPRES_CUDA_DRIVER", emulator, 1);
    setenv("UPRES_EMULATOR", all, 1);
    remove(REPORT);
    const int status = case_run(body);
    case_tell(status, status != 0 || !leaks(), name, settings);
}

/* --------------------------------------------------------------------------------------------------------- some work */

enum { C = 32, H = 6, W = 9, SLICES = 24, WARM = 12 };

typedef struct Layers {
    float weights[2][C * C * 27], vectors[3][C];
    WeightTensor tensor[5];
    BoundWeight bound[5];
} Layers;

static void bind(Layers *l, int i, float *values, int rank, const int64_t *shape)
{
    l->tensor[i] = (WeightTensor){.name = "layer", .type = WT_F32, .rank = rank, .count = 1, .data = (const uint8_t *)values};
    for (int k = 0; k < rank; k++) l->tensor[i].count *= l->tensor[i].shape[k] = shape[k];
    l->tensor[i].bytes = (uint64_t)l->tensor[i].count * sizeof(float);
    l->bound[i] = (BoundWeight){.tensor = &l->tensor[i], .rank = rank, .count = l->tensor[i].count};
    memcpy(l->bound[i].shape, l->tensor[i].shape, sizeof l->bound[i].shape);
}

static Layers *layers(void)
{
    static Layers l;
    const int64_t conv[] = {C, C, 3, 3, 3}, vector[] = {C};
    for (int i = 0; i < C * C * 27; i++) {
        l.weights[0][i] = sinf((float)i) * 0.05f;
        l.weights[1][i] = cosf((float)i * 1.7f) * 0.05f;
    }
    for (int i = 0; i < C; i++) l.vectors[0][i] = 1.0f + 0.01f * (float)i;
    for (int i = 0; i < 2; i++) bind(&l, i, l.weights[i], 5, conv);
    for (int i = 0; i < 3; i++) bind(&l, 2 + i, l.vectors[i], 1, vector);
    return &l;
}

static DevSetup setup(DevPrecision precision)
{
    static CudaDevice device;
    if (!cuda_device(0, &device, said, sizeof said)) complain("%s", said);
    return (DevSetup){.cuda = &device, .precision = precision};
}

typedef struct Seen {
    float out[SLICES][H * W * C];
    CudaRecorderCounts counts[SLICES];
} Seen;

static ConvArgs conv_args(const Layers *l, int i, Tensor x, Tensor stats, Tensor y, bool start)
{
    return (ConvArgs){.stage = 2, .x = x, .y = y, .weight = &l->bound[i], .bias = &l->bound[3], .kt = 3, .kh = 3, .kw = 3,
                      .stride_t = 1, .stride_h = 1, .stride_w = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1,
                      .start = start,
                      .pre = {.norm = NORM_GROUP, .groups = 8, .eps = 1e-5f, .stats = stats, .gamma = &l->bound[2],
                              .beta = &l->bound[4], .act = ACT_SILU}};
}

/* A frame at a time through two convolutions that remember. */
static void slices(Dev *d, const Layers *l, Seen *seen)
{
    ConvState *state[2] = {NULL, NULL};
    for (int i = 0; i < SLICES && dev_ok(d); i++) {
        Tensor x = dev_tensor(d, 1, H, W, C), y = dev_tensor(d, 1, H, W, C), stats = dev_floats(d, 1, 1, 1, 16);
        float *to = dev_write(d, x);
        for (int k = 0; to != NULL && k < H * W * C; k++) to[k] = sinf((float)(k + 131 * i));
        dev_write_end(d, x, to);
        for (int n = 0; n < 2; n++) {
            Tensor in = n == 0 ? x : y, out = n == 0 ? y : x;
            dev_stats(d, &(StatsArgs){.x = in, .stats = stats, .groups = 8});
            ConvArgs a = conv_args(l, n, in, stats, out, i == 0);
            a.post.residual = out.at == x.at ? x : (Tensor){0};
            if (state[n] == NULL) state[n] = dev_conv_state(d, &a, 1);
            a.state = state[n];
            dev_conv3d(d, &a);
        }
        const float *from = dev_read(d, x);
        if (from != NULL && seen != NULL) {
            memcpy(seen->out[i], from, sizeof seen->out[i]);
            if (d->cuda != NULL) seen->counts[i] = cuda_counts(d);
        }
        dev_read_end(d, from);
        dev_free(d, &stats);
        dev_free(d, &y);
        dev_free(d, &x);
    }
    for (int n = 0; n < 2; n++) dev_state_free(d, state[n]);
}

/* The work on a device, as large as planned. NULL: it could not be opened. */
static Dev *work(DevPrecision precision, const Layers *l, Seen *seen)
{
    const DevSetup s = setup(precision);
    Dev *plan = dev_plan_open(&s);
    slices(plan, l, NULL);
    Dev *d = dev_open(&s, dev_totals(plan).arena_peak, said, sizeof said);
    dev_close(plan);
    if (d == NULL && strstr(said, "install NVRTC")) { /* upres was built without it, and there is none here */
        printf("  %s\n", said);
        fflush(stdout);
        _exit(CASE_SKIPPED);
    }
    if (d == NULL) return NULL;
    slices(d, l, seen);
    dev_wait(d);
    snprintf(said, sizeof said, "%s", dev_error(d));
    return d;
}

/* ------------------------------------------------------------------------------------------------------------- cases */

static Seen first, second;

static void graphs(void)
{
    Dev *d = work(DEV_BF16, layers(), &first);
    if (d == NULL || !dev_ok(d)) {
        complain("%s", said);
        return;
    }
    /* the frame itself goes up by a copy of its own, and comes back by one: not counted here */
    for (int i = WARM; i < SLICES; i++) {
        const CudaRecorderCounts a = first.counts[i - 1], b = first.counts[i];
        if (b.launches != a.launches || b.graphs_made != a.graphs_made || b.graph_launches == a.graph_launches)
            complain("slice %d: %llu kernels and %llu new graphs went to the driver, %llu launches of graphs", i,
                     (unsigned long long)(b.launches - a.launches), (unsigned long long)(b.graphs_made - a.graphs_made),
                     (unsigned long long)(b.graph_launches - a.graph_launches));
    }
    const CudaRecorderCounts last = first.counts[SLICES - 1], before = first.counts[SLICES - 2];
    printf("  steady state: %llu graph launches a slice, %llu graphs\n",
           (unsigned long long)(last.graph_launches - before.graph_launches), (unsigned long long)last.graphs_made);
    dev_close(d);
}

/* On the CPU the same, to what bf16 loses. */
static void as_on_the_cpu(void)
{
    const Layers *l = layers();
    Dev *d = work(DEV_FP32, l, &first);
    const DevSetup cpu = {.threads = 2};
    Dev *plan = dev_plan_open(&cpu);
    slices(plan, l, NULL);
    Dev *c = dev_open(&cpu, dev_totals(plan).arena_peak, said, sizeof said);
    dev_close(plan);
    if (d == NULL || c == NULL) {
        complain("%s", said);
        return;
    }
    slices(c, l, &second);
    double worst = 0;
    for (int i = 0; i < SLICES; i++) {
        for (int k = 0; k < H * W * C; k++) worst = fmax(worst, fabs((double)first.out[i][k] - (double)second.out[i][k]));
    }
    CHECK(dev_ok(d) && worst <= 1e-5);
    dev_close(c);
    dev_close(d);
}

static void checksum(void)
{
    Dev *d = work(DEV_INT8, layers(), &first);
    CHECK(d != NULL && dev_ok(d));
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < sizeof first.out; i++) hash = (hash ^ ((const uint8_t *)first.out)[i]) * 1099511628211u;
    FILE *f = fopen("build/tests/cuda_device.sum", "r+");
    unsigned long long earlier = 0;
    if (f == NULL) f = fopen("build/tests/cuda_device.sum", "w+");
    if (f == NULL) {
        complain("build/tests/cuda_device.sum cannot be written");
        return;
    }
    if (fscanf(f, "%llx", &earlier) == 1) CHECK(earlier == hash);
    rewind(f);
    fprintf(f, "%016llx\n", (unsigned long long)hash);
    fclose(f);
    dev_close(d);
}

static void no_room(void)
{
    Dev *d = work(DEV_BF16, layers(), &first);
    if (d != NULL) CHECK(!dev_ok(d));
    CHECK(strstr(said, "memory") != NULL);
    dev_close(d);
}

/* One allocation fails, whichever: a sentence, or work that gets by without it. */
static void one_allocation_fails(void)
{
    Dev *d = work(DEV_BF16, layers(), &first);
    if (d == NULL || !dev_ok(d)) CHECK(strstr(said, "memory") != NULL);
    dev_close(d);
}

/* A large arena, of memory that is mapped in two pieces; what lasts lies in the first, what passes in the second. */
static void mapped(void)
{
    const DevSetup s = setup(DEV_BF16);
    Dev *d = dev_open(&s, (uint64_t)300 << 20, said, sizeof said), *as_planned = work(DEV_BF16, layers(), &first);
    if (d == NULL || as_planned == NULL) {
        complain("%s", said);
        return;
    }
    slices(d, layers(), &second);
    CHECK(dev_ok(d) && dev_ok(as_planned));
    for (int i = 0; i < SLICES; i++) CHECK(memcmp(first.out[i], second.out[i], sizeof first.out[i]) == 0);
    dev_close(as_planned);
    dev_close(d);
}

/* It cannot be had, or not all of it: a sentence, and what was had is given back. */
static void not_mapped(void)
{
    const DevSetup s = setup(DEV_BF16);
    bool no_memory = false;
    Dev *d = dev_try(&s, (uint64_t)300 << 20, &no_memory, said, sizeof said);
    CHECK(d == NULL && no_memory && strstr(said, "cannot give 314572800 bytes") != NULL);
    dev_close(d);
    d = dev_try(&s, (uint64_t)290 << 20, &no_memory, said, sizeof said);
    CHECK((d != NULL) == !no_memory);
    if (d != NULL) slices(d, layers(), &second);
    CHECK(d == NULL || dev_ok(d));
    dev_close(d);
    d = work(DEV_BF16, layers(), &first);
    CHECK(d != NULL && dev_ok(d));
    dev_close(d);
}

/* One call fails, or that and all after it: a device or none, but never a part of one. What is still held is seen at the end. */
static void opened_or_not(void)
{
    const DevSetup s = setup(DEV_BF16);
    bool no_memory = false;
    Dev *d = dev_try(&s, (uint64_t)300 << 20, &no_memory, said, sizeof said);
    CHECK(d == NULL && no_memory && strstr(said, "cannot give 314572800 bytes") != NULL);
    d = dev_try(&s, (uint64_t)290 << 20, &no_memory, said, sizeof said);
    CHECK((d != NULL) == !no_memory);
    dev_close(d);
}

static void opened(void)
{
    const DevSetup s = setup(DEV_BF16);
    bool no_memory = false;
    Dev *d = dev_try(&s, (uint64_t)300 << 20, &no_memory, said, sizeof said);
    CHECK(d != NULL && !no_memory);
    dev_close(d);
}

/* Against a bandwidth that no memory has, and one that all have: nothing here depends on the time it takes. */
static void spilled(void)
{
    DevSetup s = setup(DEV_BF16);
    CudaDevice device = *s.cuda;
    bool no_memory = false;
    s.cuda = &device;
    s.may_spill = true;
    device.bandwidth_gbs = 1e12;
    Dev *d = dev_try(&s, (uint64_t)200 << 20, &no_memory, said, sizeof said);
    CHECK(d == NULL && no_memory && strstr(said, "host's memory") != NULL && strstr(said, "--memory") != NULL);
    dev_close(d);
    device.bandwidth_gbs = 1e-12;
    d = dev_try(&s, (uint64_t)200 << 20, &no_memory, said, sizeof said);
    CHECK(d != NULL && !no_memory);
    dev_close(d);
}

static void damaged_weight(void)
{
    Layers *l = layers();
    WeightFile *file = weight_file_blank(&(BlankNetworks){0});
    l->bound[1].file = file;
    l->weights[1][77] = INFINITY;
    Dev *d = work(DEV_BF16, l, &first);
    CHECK(d != NULL && !dev_ok(d) && strstr(said, weight_file_path(file)) == said && strstr(said, "not finite") != NULL);
    dev_close(d);
    weight_file_close(file);
}

/* A program that uses CUDA itself finds its context where it left it. */
static void own_context(void)
{
    const CudaDriver *c = cuda_driver(said, sizeof said);
    CUcontext before = NULL, after = NULL;
    CHECK(c != NULL && c->context_retain(&before, 0) == 0 && c->context_push(before) == 0);
    Dev *d = work(DEV_BF16, layers(), &first);
    CHECK(d != NULL && dev_ok(d));
    dev_close(d);
    CHECK(c->context_pop(&after) == 0 && after == before);
    CHECK(c->context_pop(&after) != 0); /* there was just the one */
    c->context_release(0);
}

/* -------------------------------------------------------------------------------------------------- thrifty histories */

enum { TC = 128, TH = 11, TW = 6, THRIFTY_FRAMES = 6 }; /* channels that 8 bits are made for; bands of unlike heights */

typedef struct Thrifty {
    float weights[2][TC * TC * 27], shortcut[TC * TC], vectors[2][TC];
    WeightTensor tensor[5];
    BoundWeight bound[5];
    float out[THRIFTY_FRAMES][TH * TW * TC], kept[2 * (TH + 2) * (TW + 2) * TC];
    bool reads; /* what is remembered: not of 8 bits, which say nothing without their scales */
    uint64_t peak;
} Thrifty;

static void bind_thrifty(Thrifty *l)
{
    const int64_t conv[] = {TC, TC, 3, 3, 3}, square[] = {TC, TC, 1, 1, 1}, vector[] = {TC};
    uint32_t state = 7;
    for (int i = 0; i < TC * TC * 27; i++) {
        for (int n = 0; n < 2; n++) {
            state = state * 1664525u + 1013904223u;
            l->weights[n][i] = ((float)(state >> 8) * 0x1p-23f - 1.0f) * 0.03f;
        }
    }
    for (int i = 0; i < TC * TC; i++) l->shortcut[i] = sinf((float)i) * 0.1f;
    for (int i = 0; i < TC; i++) l->vectors[0][i] = 1.0f + 0.005f * (float)i;
    for (int i = 0; i < TC; i++) l->vectors[1][i] = 0.01f * (float)(i - 64);
    struct {
        float *values;
        int rank;
        const int64_t *shape;
    } all[] = {{l->weights[0], 5, conv}, {l->weights[1], 5, conv}, {l->shortcut, 5, square}, {l->vectors[0], 1, vector},
               {l->vectors[1], 1, vector}};
    for (int i = 0; i < 5; i++) {
        int64_t count = 1;
        for (int k = 0; k < all[i].rank; k++) count *= all[i].shape[k];
        l->tensor[i] = (WeightTensor){.name = "thrifty", .type = WT_F32, .rank = all[i].rank, .count = count,
                                      .data = (const uint8_t *)all[i].values, .bytes = (uint64_t)count * sizeof(float)};
        l->bound[i] = (BoundWeight){.tensor = &l->tensor[i], .rank = all[i].rank, .count = count};
        for (int k = 0; k < all[i].rank; k++) l->bound[i].shape[k] = l->tensor[i].shape[k] = all[i].shape[k];
    }
}

/* A residual block with a shortcut, whose result takes its hidden layer's place, in calls of one frame, one, two, one ... */
static void blocks(Dev *d, Thrifty *l, bool thrifty)
{
    ConvState *state[2] = {NULL, NULL};
    for (int f = 0, more; f < THRIFTY_FRAMES && dev_ok(d); f += more) {
        more = f % 3 == 1 ? 2 : 1;
        Tensor x = dev_tensor(d, more, TH, TW, TC), y = dev_tensor(d, more, TH, TW, TC);
        Tensor of_x = dev_floats(d, more, 1, 1, 64), of_y = dev_floats(d, more, 1, 1, 64);
        float *to = dev_write(d, x);
        for (int k = 0; to != NULL && k < more * TH * TW * TC; k++) to[k] = sinf((float)(k + 7919 * f));
        dev_write_end(d, x, to);
        dev_stats(d, &(StatsArgs){.x = x, .stats = of_x, .groups = 32});
        for (int n = 0; n < 2; n++) {
            ConvArgs a = {.stage = 3, .x = n == 0 ? x : y, .y = y, .weight = &l->bound[n], .bias = &l->bound[4], .kt = 3, .kh = 3,
                          .kw = 3, .stride_t = 1, .stride_h = 1, .stride_w = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1,
                          .pad_right = 1, .start = f == 0,
                          .pre = {.norm = NORM_GROUP, .groups = 32, .eps = 1e-6f, .stats = n == 0 ? of_x : of_y,
                                  .gamma = &l->bound[3], .beta = &l->bound[4], .act = ACT_SILU},
                          .post = {.stats = of_y, .stats_groups = 32}};
            if (n == 1) {
                a.post.shortcut = &l->bound[2];
                a.post.shortcut_x = x;
            }
            if (state[n] == NULL) state[n] = thrifty ? dev_conv_state_thrifty(d, &a) : dev_conv_state(d, &a, 2);
            a.state = state[n];
            dev_conv3d(d, &a);
        }
        const float *from = dev_read(d, y);
        if (from != NULL) memcpy(l->out[f], from, (size_t)more * sizeof l->out[f]);
        dev_read_end(d, from);
        dev_free(d, &of_y);
        dev_free(d, &of_x);
        dev_free(d, &y);
        dev_free(d, &x);
    }
    int h, w, c;
    CHECK(!l->reads || dev_is_plan(d) ||
          (dev_state_read(d, state[1], l->kept, &h, &w, &c) == 2 && h == TH + 2 && w == TW + 2 && c == TC));
    for (int n = 0; n < 2; n++) dev_state_free(d, state[n]);
}

static bool blocks_in(Thrifty *l, DevPrecision precision, bool thrifty)
{
    DevSetup s = setup(precision);
    s.band_pixels = 16; /* four bands, of 3, 3, 3 and 2 rows */
    Dev *plan = dev_plan_open(&s);
    blocks(plan, l, thrifty);
    l->peak = dev_totals(plan).arena_peak;
    dev_close(plan);
    Dev *d = dev_open(&s, l->peak, said, sizeof said);
    if (d == NULL) return false;
    blocks(d, l, thrifty);
    dev_wait(d);
    const bool ok = dev_ok(d) && dev_totals(d).arena_peak == l->peak;
    snprintf(said, sizeof said, "%s", dev_error(d));
    dev_close(d);
    return ok;
}

static void thrifty_as_roomy(DevPrecision precision)
{
    static Thrifty roomy, thrifty;
    bind_thrifty(&roomy);
    bind_thrifty(&thrifty);
    roomy.reads = thrifty.reads = precision < DEV_INT8;
    CHECK(blocks_in(&roomy, precision, false) && blocks_in(&thrifty, precision, true));
    CHECK(memcmp(roomy.out, thrifty.out, sizeof roomy.out) == 0);
    CHECK(memcmp(roomy.kept, thrifty.kept, sizeof roomy.kept) == 0);
    CHECK(thrifty.peak < roomy.peak);
    printf("  %llu bytes in place of %llu\n", (unsigned long long)thrifty.peak, (unsigned long long)roomy.peak);
}

static void thrifty_bf16(void) { thrifty_as_roomy(DEV_BF16); }
static void thrifty_int8(void) { thrifty_as_roomy(DEV_INT8); }
static void thrifty_fp8(void) { thrifty_as_roomy(DEV_FP8); }

/* ------------------------------------------------------------------------------------------------ not all weights fit */

enum { WIDE = 272, ROWS = 16, CHAIN = 6, ROUNDS = 2 }; /* 290 KiB a weight: more than is recorded with the work around it */

typedef struct Chain {
    float values[CHAIN][WIDE * WIDE], out[ROWS * WIDE];
    WeightTensor tensor[CHAIN];
    BoundWeight bound[CHAIN];
} Chain;

static Chain *chain(void)
{
    static Chain c;
    uint32_t state = 1;
    for (int n = 0; n < CHAIN; n++) {
        for (int i = 0; i < WIDE * WIDE; i++) { /* at random, so that results stay as large as what goes in */
            state = state * 1664525u + 1013904223u;
            c.values[n][i] = ((float)(state >> 8) * 0x1p-23f - 1.0f) * 0.105f;
        }
        c.tensor[n] = (WeightTensor){.name = "chain", .type = WT_F32, .rank = 2, .shape = {WIDE, WIDE}, .count = WIDE * WIDE,
                                     .data = (const uint8_t *)c.values[n], .bytes = sizeof c.values[n]};
        c.bound[n] = (BoundWeight){.tensor = &c.tensor[n], .rank = 2, .shape = {WIDE, WIDE}, .count = WIDE * WIDE};
    }
    return &c;
}

/* All layers one after another, some rounds; the last result. */
static void links(Dev *d, Chain *c)
{
    Tensor x = dev_tensor(d, 1, 1, ROWS, WIDE), y = dev_tensor(d, 1, 1, ROWS, WIDE);
    for (int round = 0; round < ROUNDS; round++) {
        float *to = dev_write(d, x);
        for (int i = 0; to != NULL && i < ROWS * WIDE; i++) to[i] = cosf((float)i + (float)round);
        dev_write_end(d, x, to);
        for (int n = 0; n < CHAIN; n++) {
            dev_weight_group(d, n / (CHAIN / 2));
            dev_linear(d, &(LinearArgs){.stage = 2, .x = n % 2 ? y : x, .y = n % 2 ? x : y, .weight = &c->bound[n]});
        }
        const float *from = dev_read(d, x);
        if (from != NULL) memcpy(c->out, from, sizeof c->out);
        dev_read_end(d, from);
    }
    dev_free(d, &y);
    dev_free(d, &x);
}

/* With so many bytes for weights; 0: as they are met. NULL: it could not be opened. */
static Dev *linked(DevPrecision precision, Chain *c, uint64_t limit, uint64_t *least)
{
    DevSetup s = setup(precision);
    Dev *plan = dev_plan_open(&s);
    links(plan, c);
    const DevTotals planned = dev_totals(plan);
    dev_close(plan);
    *least = weight_need_least(&planned.weights);
    s.weights = limit > 0 ? planned.weights : (WeightNeed){0};
    s.weight_limit = limit;
    Dev *d = dev_open(&s, planned.arena_peak, said, sizeof said);
    if (d == NULL) return NULL;
    links(d, c);
    dev_wait(d);
    snprintf(said, sizeof said, "%s", dev_error(d));
    return d;
}

/* Is what a device made of the chain what the CPU makes of it? */
static bool as_cpu(Chain *c)
{
    static float got[ROWS * WIDE];
    const DevSetup cpu = {.threads = 2};
    Dev *d = dev_open(&cpu, 16 << 20, said, sizeof said);
    double worst = 0;
    memcpy(got, c->out, sizeof got);
    if (d == NULL) return false;
    links(d, c);
    for (int i = 0; i < ROWS * WIDE; i++) worst = fmax(worst, fabs((double)got[i] - (double)c->out[i]));
    const bool ok = dev_ok(d) && worst <= 1e-4;
    dev_close(d);
    return ok;
}

static void streamed(void)
{
    Chain *c = chain();
    for (int more = 0; more < 4; more++) { /* what one operation reads is let in and out; some stay; all do; no plan */
        uint64_t least = 0;
        if (more < 2) dev_close(linked(DEV_FP32, c, 1, &least)); /* which is too little: just for what is needed */
        const uint64_t limit = more == 3 ? 0 : more == 2 ? UINT64_MAX : least + (uint64_t)more * 2 * sizeof c->values[0];
        memset(c->out, 0, sizeof c->out);
        Dev *d = linked(DEV_FP32, c, limit, &least);
        CHECK(d != NULL && dev_ok(d) && as_cpu(c));
        const CudaSideCounts made = d != NULL ? cuda_uploads_ahead(d) : (CudaSideCounts){0};
        /* the first of a group may wait for all before it; others at most for the operation before the one before theirs */
        CHECK(made.begun >= CHAIN && made.begun - made.ahead <= (more < 2 ? 2 * ROUNDS : 1));
        CHECK(more > 0 || made.begun == CHAIN * ROUNDS);
        const DevTotals held = d != NULL ? dev_totals(d) : (DevTotals){0};
        if (more < 3) CHECK(held.device_weight_bytes == (more == 2 ? weight_need_all(&held.weights) : limit));
        dev_close(d);
    }
}

/* What goes up is not overwritten in the buffer it comes from, however many go one after another. */
static void frames_in_turn(void)
{
    enum { FRAMES = 7, SIDE = 60 };
    const DevSetup s = setup(DEV_BF16);
    Dev *d = dev_open(&s, 4 << 20, said, sizeof said);
    Tensor x[FRAMES];
    if (d == NULL) complain("%s", said);
    for (int turn = 0; d != NULL && turn < 2; turn++) {
        for (int f = 0; f < FRAMES; f++) {
            x[f] = f % 2 ? dev_tensor(d, 1, SIDE, SIDE - f, 8) : dev_floats(d, 1, SIDE, SIDE - f, 8);
            float *to = dev_write(d, x[f]);
            for (int i = 0; to != NULL && i < SIDE * (SIDE - f) * 8; i++) to[i] = (float)((i + f + turn) % 256);
            dev_write_end(d, x[f], to);
        }
        for (int f = 0; f < FRAMES; f++) {
            const float *from = dev_read(d, x[f]);
            int wrong = 0;
            for (int i = 0; from != NULL && i < SIDE * (SIDE - f) * 8; i++) wrong += from[i] != (float)((i + f + turn) % 256);
            if (from == NULL || wrong > 0) complain("frame %d of turn %d: %d values differ; %s", f, turn, wrong, dev_error(d));
            dev_read_end(d, from);
        }
        for (int f = 0; f < FRAMES; f++) dev_free(d, &x[f]);
    }
    dev_close(d);
}

/* Pinned memory, kernels, whatever: work that gets by with less, or a sentence that says it was memory. */
static void streamed_with_a_failure(void)
{
    Chain *c = chain();
    uint64_t least;
    Dev *d = linked(DEV_FP32, c, 1, &least);
    CHECK(d == NULL && strstr(said, "weights") != NULL);
    d = linked(DEV_FP32, c, least, &least);
    CHECK(d == NULL || dev_ok(d) || dev_no_memory(d));
    if (d == NULL || !dev_ok(d)) CHECK(strstr(said, "memory") != NULL);
    else CHECK(as_cpu(c));
    dev_close(d);
}

/* --fp8-scores reaches attention. */
static void scores_as_asked(void)
{
    for (int fp8 = 0; fp8 < 2; fp8++) {
        Device d;
        Fault fault = {0};
        upres_options o;
        upres_options_default(&o, sizeof o);
        o.device_model = "sm_120:70:2.452:896:16";
        o.precision = UPRES_PRECISION_FP8;
        o.fp8_scores = fp8;
        CHECK(device_choose(&o, &d, &fault));
        d.setup.cuda = &d.cuda; /* device_choose points into what it fills */
        Dev *plan = dev_plan_open(&d.setup);
        CHECK(cuda_attention_form(plan, STAGES_DIT + 2, 128, 4096) == (fp8 ? CUDA_ATTENTION_E4M3 : CUDA_ATTENTION_I8));
        CHECK((strstr(dev_describe(plan), "scores") != NULL) == (fp8 == 1));
        dev_close(plan);
    }
}

/* Devices that share a job: of one architecture, and as many multiprocessors for whoever chooses by them. */
static void agreeing(void)
{
    Fault f = {.status = UPRES_OK};
    CudaDevice large = {.ordinal = 0, .major = 8, .minor = 9, .sms = 128, .target = CUDA_TARGET_89};
    CudaDevice small = {.ordinal = 1, .major = 8, .minor = 9, .sms = 34, .target = CUDA_TARGET_89};
    CudaDevice older = {.ordinal = 2, .major = 8, .minor = 6, .sms = 82, .target = CUDA_TARGET_80};
    CHECK(device_agrees(&large, &small, &f) && small.sms == large.sms && f.status == UPRES_OK);
    CHECK(!device_agrees(&large, &older, &f) && f.status == UPRES_E_UNSUPPORTED);
    snprintf(said, sizeof said, "%s", f.text);
    CHECK(strstr(said, "cuda:0 is an sm_89") && strstr(said, "cuda:2 an sm_86") && strstr(said, "--frames"));
}

static const char *const mapping_calls[] = {"cuMemAddressReserve:1", "cuMemCreate:1", "cuMemCreate:2", "cuMemMap:1", "cuMemMap:2",
                                            "cuMemSetAccess:1"};

static void note(const char *name, bool ok)
{
    printf("%s %s\n", ok ? "ok  " : "FAIL", name);
    passed += ok;
    failed += !ok;
}

int main(int argc, char **argv)
{
    emulator_path(argv[0], "emulator/", emulator, sizeof emulator);
    if (argc > 1) snprintf(emulator, sizeof emulator, "%s", argv[1]);
    if (access(emulator, R_OK) != 0) {
        printf("%s is not there; give the emulated driver's path\n0 passed, 1 failed, 0 skipped\n", emulator);
        return 1;
    }
    child_begin();
    remove("build/tests/cuda_device.sum");
    test("slices become graphs", "sm=89", graphs);
    test("values as on the CPU", "sm=80", as_on_the_cpu);
    for (int seed = 1; seed <= 4; seed++) {
        char settings[64];
        snprintf(settings, sizeof settings, "sm=120,seed=%d", seed);
        test("the same bits in any order", settings, checksum);
    }
    test("the same bits on another part", "sm=80,seed=5", checksum);
    test("too little memory", "sm=89,memory=2M", no_room);
    for (int n = 1; n <= 8; n++) {
        char settings[64];
        snprintf(settings, sizeof settings, "sm=89,fail_alloc=%d", n);
        test("an allocation fails", settings, one_allocation_fails);
    }
    for (int seed = 1; seed <= 4; seed++) {
        char settings[64];
        snprintf(settings, sizeof settings, "sm=89,seed=%d", seed);
        test("weights that make room for one another", settings, streamed);
    }
    for (int seed = 1; seed <= 4; seed++) {
        char settings[64];
        snprintf(settings, sizeof settings, "sm=90,seed=%d", seed);
        test("frames one after another", settings, frames_in_turn);
    }
    test("thrifty histories, bf16", "sm=90", thrifty_bf16);
    test("thrifty histories, int8", "sm=89", thrifty_int8);
    test("thrifty histories, fp8", "sm=120", thrifty_fp8);
    for (int n = 2; n <= 10; n++) {
        char settings[64];
        snprintf(settings, sizeof settings, "sm=80,seed=%d,fail_alloc=%d", n, n);
        test("weights that make room, and an allocation that fails", settings, streamed_with_a_failure);
    }
    test("mapped memory", "sm=89,memory=512M", mapped);
    note("it is mapped where it is large", reported("cuMemAddressReserve") == 1 && reported("cuMemMap") == 2);
    test("mapped memory where there is none", "sm=89,memory=512M,mapping=0", opened);
    note("an allocation takes its place", reported("cuMemAddressReserve") == 0 && reported("cuMemAlloc_v2") == 1);
    for (size_t i = 0; i < sizeof mapping_calls / sizeof mapping_calls[0]; i++) {
        char settings[96];
        snprintf(settings, sizeof settings, "sm=89,memory=512M,fail_call=%s", mapping_calls[i]);
        test("mapped memory, a call finds no memory", settings, opened_or_not);
        snprintf(settings, sizeof settings, "sm=89,memory=512M,fail_call=%s+", mapping_calls[i]);
        test("mapped memory, nor do those after it", settings, opened_or_not);
        snprintf(settings, sizeof settings, "sm=89,memory=512M,fail_call=%s:801", mapping_calls[i]);
        test("mapped memory, a call is not supported after all", settings, opened);
        note("an allocation takes its place", reported("cuMemAlloc_v2") == 1);
    }
    test("mapped memory, the first piece fails", "sm=89,memory=512M,fail_alloc=1", not_mapped);
    test("mapped memory, the second piece fails", "sm=89,memory=512M,fail_alloc=2", not_mapped);
    test("mapped memory, more than there is", "sm=89,memory=280M", not_mapped);
    test("memory that is the host's", "sm=120,memory=512M", spilled);
    test("a damaged weight", "sm=90", damaged_weight);
    test("a program's own context", "sm=120", own_context);
    test("several devices are of one architecture", "devices=1", agreeing);
    test("scores of 8-bit floats where they are asked for", "sm=120", scores_as_asked);
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0;
}
