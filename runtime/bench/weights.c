/* Stored weights on their way to products: to floats, by type, and floats to operands. */
#include "runtime/bench/cases.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------------ to floats */

typedef struct StoredShape {
    const char *name;
    WeightType type;
    int rows, columns;
} StoredShape;

static const StoredShape stored[] = {
    {"f16/12288x3072", WT_F16, 12288, 3072},       {"bf16/12288x3072", WT_BF16, 12288, 3072},
    {"f8_e4m3/12288x3072", WT_F8_E4M3, 12288, 3072}, {"f8_e5m2/12288x3072", WT_F8_E5M2, 12288, 3072},
    {"i8/12288x3072", WT_I8, 12288, 3072},         {"q4_0/12288x3072", WT_Q4_0, 12288, 3072},
    {"q4_1/12288x3072", WT_Q4_1, 12288, 3072},     {"q5_0/12288x3072", WT_Q5_0, 12288, 3072},
    {"q5_1/12288x3072", WT_Q5_1, 12288, 3072},     {"q8_0/12288x3072", WT_Q8_0, 12288, 3072},
    {"iq4_nl/12288x3072", WT_IQ4_NL, 12288, 3072}, {"q2_k/12288x3072", WT_Q2_K, 12288, 3072},
    {"q3_k/12288x3072", WT_Q3_K, 12288, 3072},     {"q4_k/12288x3072", WT_Q4_K, 12288, 3072},
    {"q5_k/12288x3072", WT_Q5_K, 12288, 3072},     {"q6_k/12288x3072", WT_Q6_K, 12288, 3072},
    {"iq4_xs/12288x3072", WT_IQ4_XS, 12288, 3072}, {"q4_k/4x256", WT_Q4_K, 4, 256},
    {"f16/4x256", WT_F16, 4, 256},
};

typedef struct StoredRun {
    Dev *device;
    WeightTensor tensor; /* cpu */
    float *values;
    CudaDequant args;    /* cuda */
    char function[32];
} StoredRun;

static void read_body(void *context)
{
    const StoredRun *r = context;
    weight_read(&r->tensor, 0, r->tensor.count, r->values);
}

static void dequant_body(void *context)
{
    enum { THREADS = 256 /* kernels/cuda/weights.cu */ };
    const StoredRun *r = context;
    cuda_launch(r->device, "weights", r->function, "", (CudaGrid){(r->args.count + THREADS - 1) / THREADS, 1, 1, THREADS, 0},
                &r->args);
}

static void fill_bytes(Dev *d, Tensor x, uint8_t value) { cuda_fill(d, cuda_at(d, x), value, (uint64_t)x.stride_t); }

/* The bytes already there, as an upload leaves them. */
static void dequant_on_gpu(Bench *b, const StoredShape *s, uint64_t bytes)
{
    enum { HARMLESS = 0x11 }; /* a small number in every type, and as a block's scale */
    Dev *d = b->device;
    StoredRun r = {.device = d, .function = "dequant_"};
    const char *type = weight_type_name(s->type);
    for (size_t i = 0; type[i] && i + 9 < sizeof r.function; i++) r.function[8 + i] = (char)tolower((unsigned char)type[i]);
    Tensor from = dev_bytes(d, (int64_t)bytes), to = dev_floats(d, 1, s->rows, 1, s->columns), bad = dev_bytes(d, 16);
    fill_bytes(d, from, HARMLESS);
    fill_bytes(d, bad, 0);
    bench_count(b, to);
    r.args = (CudaDequant){.from = cuda_at(d, from), .to = cuda_at(d, to), .bad = cuda_at(d, bad),
                           .count = (uint32_t)(s->rows * s->columns)};
    bench_time(b, dequant_body, &r);
    dev_free(d, &bad);
    dev_free(d, &to);
    dev_free(d, &from);
}

/* One thread: products take theirs in pieces, each in its own. */
static bool dequant_on_cpu(Bench *b, const StoredShape *s, uint64_t bytes)
{
    const int64_t count = (int64_t)s->rows * s->columns;
    StoredRun r = {.device = b->device};
    uint8_t *from = malloc((size_t)bytes);
    r.values = malloc((size_t)count * sizeof *r.values);
    const bool ok = from && r.values;
    if (ok) {
        memset(from, 0x11, (size_t)bytes);
        r.tensor = (WeightTensor){.name = "bench", .type = s->type, .rank = 2, .shape = {s->rows, s->columns}, .count = count,
                                  .data = from, .bytes = bytes};
        b->bytes += (double)count * sizeof *r.values;
        bench_time(b, read_body, &r);
    }
    free(r.values);
    free(from);
    return ok;
}

static bool dequant(Bench *b, const void *shape)
{
    const StoredShape *s = shape;
    const uint64_t blocks = (uint64_t)s->rows * (uint64_t)s->columns / (uint64_t)weight_type_block(s->type);
    const uint64_t bytes = blocks * (uint64_t)weight_type_bytes(s->type);
    b->bytes += (double)bytes;
    if (!b->cuda) return dequant_on_cpu(b, s, bytes);
    dequant_on_gpu(b, s, bytes);
    return true;
}

/* ---------------------------------------------------------------------------------------------------------- to operands */

typedef struct PackShape {
    const char *name;
    int rows, columns;
} PackShape;

static const PackShape packs[] = {{"12288x3072", 12288, 3072}, {"16x128", 16, 128}};

typedef struct PackRun {
    Dev *device;
    CudaPack pack;
    Element type;
} PackRun;

static void pack_body(void *context)
{
    const PackRun *r = context;
    cuda_pack(r->device, &r->pack, r->type);
}

/* Floats of a linear layer to the type that it is multiplied in. */
static bool pack(Bench *b, const void *shape)
{
    const PackShape *s = shape;
    Dev *d = b->device;
    PackRun r = {.device = d, .type = cuda_compute(d, STAGES_DIT + 2, s->columns, NULL)};
    const int depth = element_pad(r.type, s->columns), blocks = (depth + CUDA_BLOCK - 1) / CUDA_BLOCK;
    Tensor from = bench_floats(b, 1, s->rows, 1, s->columns);
    Tensor to = dev_typed(d, r.type, 1, s->rows, 1, s->columns), scale = dev_floats(d, 1, s->rows, 1, blocks);
    bench_count(b, to);
    if (r.type >= ELEMENT_I8) bench_count(b, scale);
    r.pack = (CudaPack){.from = cuda_at(d, from), .to = cuda_at(d, to), .scale = cuda_at(d, scale), .rows = s->rows,
                        .ci = s->columns, .taps = 1, .frame_taps = 1, .depth = depth, .blocks = blocks,
                        .columns = s->rows, .row_step = s->columns, .channel_step = 1};
    bench_time(b, pack_body, &r);
    dev_free(d, &scale);
    dev_free(d, &to);
    dev_free(d, &from);
    return true;
}

const BenchFamily bench_weight_families[] = {
    {BENCH_FAMILY("dequantize", dequant, stored), .is = BENCH_PLAIN},
    {BENCH_FAMILY("pack", pack, packs), .is = BENCH_GPU},
};
const size_t bench_weight_family_count = sizeof bench_weight_families / sizeof *bench_weight_families;
