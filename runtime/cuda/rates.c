#include "runtime/cuda/rates.h"

/* The parts that differ, in the order of the tables' columns. */
typedef enum Part { PART_80, PART_86, PART_89, PART_90, PART_120, PART_COUNT, PART_NONE } Part;

static Part part_of(const CudaDevice *d)
{
    if (d->major == 8) return d->minor == 9 ? PART_89 : d->minor == 0 ? PART_80 : PART_86;
    return d->major == 9 ? PART_90 : d->major == 12 ? PART_120 : PART_NONE;
}

/*
 * 80: A100's 312 TFLOP/s of bf16 at 108 x 1.41 GHz. 86: GA102's white paper, RTX 3090, float32 sums. 89: AD102's, RTX 4090:
 * 165 TFLOP/s of bf16, 661 of int8, 330 of e4m3 at 128 x 2.52 GHz. 90: H100's 989 TFLOP/s of bf16 are wgmma's; mma.sync was
 * found to reach 60 to 65 % of that, 5/8 is taken. e4m3 in mma.sync is made of bf16 there. 120: RTX 5090's 209.5 TFLOP/s of bf16
 * and 838 of int8 at 170 x 2.407 GHz; that e4m3 with block scales goes at int8's rate, and without at half of it, is what
 * published register-only probes found.
 */
static const double rates[RATE_CLASS_COUNT][PART_COUNT] = {
    [RATE_FP32] = {128, 256, 256, 256, 256},
    [RATE_FP64] = {64, 4, 4, 128, 4},
    [RATE_TF32] = {1024, 256, 256, 1280, 256},
    [RATE_BF16] = {2048, 512, 512, 2560, 512},
    [RATE_BF16_WGMMA] = {0, 0, 0, 4096, 0},
    [RATE_INT8] = {4096, 2048, 2048, 5120, 2048},
    [RATE_INT8_WGMMA] = {0, 0, 0, 8192, 0},
    [RATE_FP8] = {0, 0, 1024, 0, 1024},
    [RATE_FP8_BLOCK_SCALE] = {0, 0, 0, 0, 2048},
    [RATE_FP8_WGMMA] = {0, 0, 0, 8192, 0},
};

static const char *const names[RATE_CLASS_COUNT] = {
    [RATE_FP32] = "fp32 multiply-add",
    [RATE_FP64] = "fp64 multiply-add",
    [RATE_TF32] = "tf32 mma",
    [RATE_BF16] = "bf16 mma",
    [RATE_BF16_WGMMA] = "bf16 wgmma",
    [RATE_INT8] = "int8 mma",
    [RATE_INT8_WGMMA] = "int8 wgmma",
    [RATE_FP8] = "fp8 mma",
    [RATE_FP8_BLOCK_SCALE] = "fp8 block-scaled mma",
    [RATE_FP8_WGMMA] = "fp8 wgmma",
};

double rate_per_clock(const CudaDevice *d, RateClass c)
{
    const Part part = part_of(d);
    return part < PART_COUNT ? rates[c][part] : 0;
}

double rate_peak(const CudaDevice *d, RateClass c) { return rate_per_clock(d, c) * d->sms * d->clock_ghz * 1e9; }

const char *rate_name(RateClass c) { return names[c]; }

RateClass rate_of_element(const CudaDevice *d, Element type)
{
    switch (type) {
    case ELEMENT_BF16: return RATE_BF16;
    case ELEMENT_I8: return RATE_INT8;
    case ELEMENT_E4M3:
    case ELEMENT_E4M3_PAIR: return rate_per_clock(d, RATE_FP8_BLOCK_SCALE) > 0 ? RATE_FP8_BLOCK_SCALE : RATE_FP8;
    default: return RATE_FP32;
    }
}

/* 32 banks of 4 bytes on all of them. */
double rate_shared_bytes(const CudaDevice *d)
{
    (void)d;
    return 128;
}

/*
 * With all multiprocessors asking: no vendor says it. A100's 5120 bytes a clock for 108 are a design figure; the others were
 * taken below what microbenchmarks of reading it saw (RTX 4090 about 5 TB/s, H100 about 5.7), 120 is an assumption.
 */
double rate_l2_bytes(const CudaDevice *d)
{
    static const double bytes[PART_COUNT] = {32, 15, 15, 24, 11};
    const Part part = part_of(d);
    return part < PART_COUNT ? bytes[part] : 11;
}

double rate_dram_bytes(const CudaDevice *d) { return d->bandwidth_gbs * 1e9; }

/* From the CUDA programming guide's table of instruction throughput: 32 threads over results a clock of a quarter. */
double rate_unit_clocks(const CudaDevice *d, RateUnit u)
{
    static const double clocks[RATE_UNIT_COUNT][PART_COUNT] = {
        [RATE_UNIT_FLOAT] = {2, 1, 1, 1, 1},
        [RATE_UNIT_INT] = {2, 2, 2, 2, 1},
        [RATE_UNIT_MUFU] = {8, 8, 8, 8, 8},
        [RATE_UNIT_CONVERT] = {8, 8, 8, 8, 8},
        [RATE_UNIT_HALF] = {2, 2, 2, 2, 2},
        [RATE_UNIT_DOUBLE] = {4, 64, 64, 2, 64},
        [RATE_UNIT_MEMORY] = {4, 4, 4, 4, 4},
    };
    const Part part = part_of(d);
    return clocks[u][part < PART_COUNT ? part : PART_120];
}

const char *rate_source(const CudaDevice *d, RateClass c)
{
    const Part part = part_of(d);
    if (rate_per_clock(d, c) == 0) return "none";
    if (part == PART_90 && (c == RATE_BF16 || c == RATE_INT8 || c == RATE_TF32)) return "5/8 of wgmma's rate, assumed";
    if (c == RATE_FP8_BLOCK_SCALE || (part == PART_120 && c == RATE_FP8)) return "published register-only probes";
    return "vendor's tables";
}

const char *rate_l2_source(const CudaDevice *d)
{
    const Part part = part_of(d);
    return part == PART_80 ? "below the vendor's 47" : part == PART_120 ? "assumed" : "below published microbenchmarks";
}
