/* Every case that upres bench times, on plans: it is set up and cleared away without an error on the CPU and on GPUs in all
 * precisions, counts the operations of a product and the bytes of everything that is no network; the ceilings of the kernels'
 * tiles are found by their names; devices tell time. */
#include "runtime/bench/cases.h"
#include "runtime/bench/limits.h"
#include "runtime/cuda/dev_gemm.h"

#include <stdio.h>
#include <string.h>

static int passed, failed, complaints;

static void check(bool ok, const char *name, const char *what)
{
    if (ok) return;
    printf("  %s: %s\n", name, what);
    complaints++;
}

/* What was checked since the last call is one test. */
static void done(const char *name)
{
    printf("%s %s\n", complaints == 0 ? "ok  " : "FAIL", name);
    *(complaints == 0 ? &passed : &failed) += 1;
    complaints = 0;
}

typedef struct Group {
    const BenchFamily *families;
    const size_t *count;
    int products; /* of its families: 1 all multiply, 0 none, -1 some */
} Group;

static const Group groups[] = {
    {bench_product_families, &bench_product_family_count, 1}, {bench_token_families, &bench_token_family_count, -1},
    {bench_weight_families, &bench_weight_family_count, 0},   {bench_picture_families, &bench_picture_family_count, 0},
    {bench_network_families, &bench_network_family_count, 1},
};

static bool multiplies(const Group *g, const BenchFamily *f)
{
    return g->products == 1 || (g->products == -1 && strstr(f->name, "attention") != NULL);
}

/* The numbers that a case comes to. */
static void check_counts(const Group *g, const BenchFamily *f, const Bench *b, const char *name)
{
    check(multiplies(g, f) == (b->flop > 0), name, "its operations are counted if and only if it multiplies");
    check((f->is & BENCH_NETWORK) || b->bytes > 0, name, "its bytes are counted");
    if (!b->cuda || !(f->is & BENCH_TILES)) return;
    /* what is padded is multiplied too */
    check(b->watch.flop > 0.999 * b->flop, name, "the product that is timed by itself is the whole of it");
    check(b->watch.tile.function != NULL && cuda_gemm_fits(&b->watch.product, &b->watch.tile), name, "its tile is known");
}

static void run_case(const Group *g, const BenchFamily *f, const void *shape, const DevSetup *setup, const char *version)
{
    char name[192];
    snprintf(name, sizeof name, "%s/%s/%s", f->name, *(const char *const *)shape, version);
    static Bench b;
    Dev *d = dev_plan_open(setup);
    b = (Bench){.device = d, .cuda = setup->cuda != NULL, .network = (f->is & BENCH_NETWORK) != 0};
    bench_begin(&b, 1 << 20);
    const bool ran = f->run(&b, shape);
    bench_end(&b);
    dev_phase(d);
    check(ran && dev_ok(d), name, ran ? dev_error(d) : "no memory");
    check_counts(g, f, &b, name);
    check(strlen(f->name) + 1 + strlen(*(const char *const *)shape) <= 42, name, "its name fits the table");
    dev_close(d);
}

/* networks: those too, which take their time to be made up. */
static void run_all(const DevSetup *setup, const char *version, bool networks)
{
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        if (!networks && groups[g].families == bench_network_families) continue;
        for (size_t i = 0; i < *groups[g].count; i++) {
            const BenchFamily *f = &groups[g].families[i];
            if ((f->is & BENCH_GPU) && setup->cuda == NULL) continue;
            for (size_t k = 0; k < f->count; k++)
                run_case(&groups[g], f, (const char *)f->shapes + k * f->size, setup, version);
        }
    }
    done(version);
}

static Device modelled(const char *model, upres_precision precision)
{
    Device d;
    Fault f = {0};
    upres_options o;
    upres_options_default(&o, sizeof o);
    o.device_model = model;
    o.precision = precision;
    check(device_choose(&o, &d, &f), model, f.text);
    return d;
}

static void check_gpus(void)
{
    static const struct {
        const char *model, *name;
        upres_precision precision;
        bool networks;
    } parts[] = {
        {"sm_120:70:2.452:896:16", "sm_120 bf16", UPRES_PRECISION_BF16, true},
        {"sm_120:70:2.452:896:16", "sm_120 fp8", UPRES_PRECISION_FP8, true},
        {"sm_120:70:2.452:896:16", "sm_120 fp32", UPRES_PRECISION_FP32, false},
        {"sm_120:70:2.452:896:16", "sm_120 int8", UPRES_PRECISION_INT8, false},
        {"sm_120:70:2.452:896:16", "sm_120 fp8x3", UPRES_PRECISION_FP8X3, false},
        {"sm_80:108:1.41:1555:40", "sm_80 int8", UPRES_PRECISION_INT8, false},
        {"sm_90:132:1.83:4800:141", "sm_90 bf16", UPRES_PRECISION_BF16, false},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        Device d = modelled(parts[i].model, parts[i].precision);
        d.setup.cuda = &d.cuda;
        run_all(&d.setup, parts[i].name, parts[i].networks);
    }
}

/* A kernel whose ceiling is not found would be shown without a percentage. */
static void check_limits(void)
{
    static BenchLimits l;
    CudaGemmTile tile;
    double share;
    Device d = modelled("sm_120:70:2.452:896:16", UPRES_PRECISION_BF16);
    d.setup.cuda = &d.cuda;
    bench_limits(&d, &l);
    for (int i = 0; cuda_gemm_tile(i, &tile); i++) {
        const upres_bench_limit *limit = bench_limit_of(&l, tile.function, &share);
        const double per_clock = limit ? limit->flop_per_clock / share : 0;
        const double wanted = tile.type == ELEMENT_F32 ? 256 : tile.type == ELEMENT_BF16 ? 512
                                                           : tile.type == ELEMENT_E4M3_PAIR ? 2048.0 / 3 : 2048;
        if (strstr(tile.function, "wgmma")) continue; /* of sm_90 */
        check(per_clock > wanted - 1 && per_clock < wanted + 1, tile.function, "its ceiling is that of its type's instruction");
    }
    check(bench_limit_of(&l, "flash_bf16_128", &share) != NULL, "flash_bf16_128", "its ceiling is known");
    check(l.context.bytes_per_second > 895e9 && l.context.bytes_per_second < 897e9, "sm_120", "its memory's rate is known");
}

static void check_cpu(void)
{
    static BenchLimits l;
    char error[256];
    const Device d = {.setup = {.threads = 1}};
    bench_limits(&d, &l);
    check(l.context.clock_ghz > 0.05 && l.context.clock_ghz < 20, "cpu", "its clock is measured"); /* any processor, any load */
    check(l.context.bytes_per_second > 0, "cpu", "its memory's rate is measured");
    check(l.sweep > 0, "cpu", "its cache is known or guessed");
    Dev *dev = dev_open(&d.setup, 1 << 20, error, sizeof error);
    Tensor x = dev_floats(dev, 1, 64, 64, 16);
    dev_time_begin(dev);
    dev_axpby(dev, x, 0, x, 1, (Tensor){0});
    check(dev_time_end(dev) > 0, "cpu", "it tells time");
    dev_free(dev, &x);
    dev_close(dev);
    Dev *plan = dev_plan_open(&d.setup);
    dev_time_begin(plan);
    check(dev_time_end(plan) == 0, "plan", "it has no time");
    dev_close(plan);
}

int main(void)
{
    run_all(&(DevSetup){0}, "cpu", true);
    check_gpus();
    check_limits();
    done("ceilings");
    check_cpu();
    done("time");
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
