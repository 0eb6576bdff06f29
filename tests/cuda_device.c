/*
 * The CUDA device as a whole, on the emulated driver: repeated slices become graphs and nothing else goes to the driver; any
 * legal order of streams gives the same values; memory that cannot be had, broken weights and faults end in a sentence; a
 * program's own context is left alone. Every case is a process of its own, as the emulator reads its settings once.
 */
#include "runtime/cuda_driver.h"
#include "runtime/dev.h"
#include "runtime/dev_cuda.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int passed, failed, skipped, complaints;
static char said[1024];
static const char *emulator = "build/tests/emulator/libcuda.so.1";

static void complain(const char *format, ...)
{
    va_list list;
    complaints++;
    va_start(list, format);
    printf("  ");
    vprintf(format, list);
    printf("\n");
    va_end(list);
}

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) complain("line %d: %s is false; last sentence: %s", __LINE__, #condition, said);             \
    } while (0)

enum { SKIPPED = 101, COMPLAINTS_MOST = 100 };

static void test(const char *name, const char *settings, void (*body)(void))
{
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(300);
        setenv("UPRES_CUDA_DRIVER", emulator, 1);
        setenv("UPRES_EMULATOR", settings, 1);
        body();
        fflush(stdout);
        _exit(complaints > COMPLAINTS_MOST ? COMPLAINTS_MOST : complaints);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) < 0) status = -1;
    const bool ok = status == 0, skip = WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED;
    if (WIFSIGNALED(status)) printf("  ended by signal %d\n", WTERMSIG(status));
    printf("%s %s (%s)\n", ok ? "ok  " : skip ? "skip" : "FAIL", name, settings);
    passed += ok;
    skipped += skip;
    failed += !ok && !skip;
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
        _exit(SKIPPED);
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

static void damaged_weight(void)
{
    Layers *l = layers();
    l->weights[1][77] = INFINITY;
    Dev *d = work(DEV_BF16, l, &first);
    CHECK(d != NULL && !dev_ok(d) && strstr(said, "not finite") != NULL);
    dev_close(d);
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

int main(int argc, char **argv)
{
    if (argc > 1) emulator = argv[1];
    if (access(emulator, R_OK) != 0) {
        printf("%s is not there; give the emulated driver's path\n0 passed, 1 failed, 0 skipped\n", emulator);
        return 1;
    }
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
    test("a damaged weight", "sm=90", damaged_weight);
    test("a program's own context", "sm=120", own_context);
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0;
}
