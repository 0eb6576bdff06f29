/*
 * What a multiprocessor of a device can do in a clock, by architecture: the ceilings of the roofline, of "percent of this
 * device's limit", and of the prediction of runtime/predict.h. Constants, none measured here: rate_source says where each
 * comes from. The device is one that is there or one described ("sm_120:70:2.452:896:16"): of it the architecture, the number
 * of multiprocessors, the clock and the memory's bandwidth are used.
 *
 * Consumer parts of an architecture stand for all of it: a workstation's sm_86 multiplies bf16 twice as fast.
 */
#ifndef UPRES_RUNTIME_CUDA_RATES_H
#define UPRES_RUNTIME_CUDA_RATES_H

#include "runtime/cuda/driver.h"
#include "runtime/dev.h"

/* Instructions that multiply. A multiply-add counts as two operations; the tensor core's add up in float32, int8's in int32. */
typedef enum RateClass {
    RATE_FP32,            /* FFMA */
    RATE_FP64,            /* DFMA */
    RATE_TF32,            /* mma.sync of float32 cut to 10 bits */
    RATE_BF16,            /* mma.sync m16n8k16, f16 as well */
    RATE_BF16_WGMMA,      /* sm_90's own */
    RATE_INT8,            /* mma.sync m16n8k32 */
    RATE_INT8_WGMMA,
    RATE_FP8,             /* e4m3 mma.sync m16n8k32 */
    RATE_FP8_BLOCK_SCALE, /* the same with block scales, sm_120f */
    RATE_FP8_WGMMA,
    RATE_CLASS_COUNT
} RateClass;

/* Operations a clock of one multiprocessor; 0: it has no such instruction, or only one made of others, or it is not known. */
double rate_per_clock(const CudaDevice *d, RateClass c);
/* The same of the whole device, a second; 0 as above, or where the clock is not known. */
double rate_peak(const CudaDevice *d, RateClass c);
/* "bf16 mma", "int8 mma", "fp8 block-scaled mma" ... */
const char *rate_name(RateClass c);
/* What products of that type are multiplied by on the device; a pair of e4m3 takes three such products for one. */
RateClass rate_of_element(const CudaDevice *d, Element type);

/* Bytes a clock of one multiprocessor: to and from shared memory; from the second-level cache when all of them ask it. */
double rate_shared_bytes(const CudaDevice *d);
double rate_l2_bytes(const CudaDevice *d);
double rate_dram_bytes(const CudaDevice *d); /* of the whole device, a second; 0: not known */

/* Instructions that do not multiply: clocks that one of a warp keeps its unit of a multiprocessor's quarter busy. */
typedef enum RateUnit {
    RATE_UNIT_FLOAT,  /* FADD FMUL FFMA */
    RATE_UNIT_INT,    /* IADD LOP3 SEL PRMT FMNMX ISETP ... */
    RATE_UNIT_MUFU,   /* ex2 rcp rsqrt */
    RATE_UNIT_CONVERT, /* F2F I2F F2I of 32 bits and fewer; packing to 16 and 8 bits is RATE_UNIT_HALF */
    RATE_UNIT_HALF,   /* F2FP HFMA2 */
    RATE_UNIT_DOUBLE, /* DADD DMUL DFMA DSETP, conversions from and to doubles */
    RATE_UNIT_MEMORY, /* LDG STG LDS STS LDSM SHFL, their issue alone */
    RATE_UNIT_COUNT
} RateUnit;
double rate_unit_clocks(const CudaDevice *d, RateUnit u);

/* Where a number of that class comes from, for readers of a prediction: a vendor's table, or an assumption, said as such. */
const char *rate_source(const CudaDevice *d, RateClass c);
const char *rate_l2_source(const CudaDevice *d);

#endif
