/*
 * What the kernels are in machine code, counted when upres was built (tools/count_sass.c): for a prediction of their time
 * (runtime/predict.h). Nothing was run for it. A build without a disassembler has none of it.
 */
#ifndef UPRES_RUNTIME_CUDA_COUNTS_H
#define UPRES_RUNTIME_CUDA_COUNTS_H

#include <stddef.h>
#include <stdint.h>

/* Kinds of instructions of a warp. */
typedef enum CountKind {
    COUNT_HMMA,       /* matrix products: bf16, tf32 */
    COUNT_IMMA,       /* int8 */
    COUNT_QMMA,       /* 8-bit floats */
    COUNT_QMMA_SCALED, /* the same with block scales */
    COUNT_GMMA,       /* of a warp group, sm_90 */
    COUNT_FLOAT,      /* FADD FMUL FFMA */
    COUNT_HALF,       /* two 16-bit floats at once, packing to 16 and 8 bits */
    COUNT_INT,        /* integers, comparisons, selections, moves */
    COUNT_MUFU,       /* ex2, rcp, rsqrt ... */
    COUNT_CONVERT,    /* between integers and floats */
    COUNT_DOUBLE,
    COUNT_LDSM,       /* matrices out of shared memory */
    COUNT_LDS,
    COUNT_STS,
    COUNT_SHFL,
    COUNT_LDG,        /* global memory */
    COUNT_STG,
    COUNT_LDGSTS,     /* global to shared memory, by threads */
    COUNT_BULK,       /* the same by the copy engine */
    COUNT_BAR,        /* barriers of the block */
    COUNT_SYNCS,      /* barriers in shared memory */
    COUNT_LOCAL,      /* memory of a thread: spills */
    COUNT_CALL,
    COUNT_UNIFORM,    /* of a warp as a whole */
    COUNT_BRANCH,
    COUNT_OTHER,
    COUNT_NOP,
    COUNT_KINDS
} CountKind;

/* Some lines of a kernel, each counted once. */
typedef struct CountPart {
    uint16_t count[COUNT_KINDS];
    uint32_t mma_flop[COUNT_GMMA + 1]; /* of matrix products, by kind: 2 per multiply-add of a warp */
    uint32_t ffma;          /* of COUNT_FLOAT, multiply-adds */
    uint32_t read_bytes, written_bytes; /* global memory, of a warp, LDGSTS too */
    uint32_t shared_bytes;  /* of a warp: LDSM LDS STS */
} CountPart;

typedef struct KernelCount {
    const char *function;
    uint8_t target; /* CudaTarget */
    uint16_t registers;
    uint32_t shared; /* bytes, declared in the kernel */
    CountPart loop; /* that multiplies most: matrices, else float32; else moves most global bytes; all zero: none */
    CountPart body; /* all of it */
    CountPart other; /* the smallest loop outside that reads most of shared memory */
} KernelCount;

/* Of one file of kernels; count 0: there was no disassembler, or it failed. */
typedef struct KernelCounts {
    const char *file;
    const KernelCount *kernel;
    size_t count;
} KernelCounts;

/* Made by the build; NULL closes it. */
extern const KernelCounts *const cuda_built_in_counts[];

/* NULL: not counted. sm_80's are sm_89's, whose code differs in little. */
const KernelCount *cuda_count(const char *function, int target);
/* Was anything counted? */
int cuda_counted(void);

/* Instructions of a part that are issued, NOPs among them. */
unsigned count_issued(const CountPart *p);
/* Those that multiply matrices. */
unsigned count_products(const CountPart *p);
double count_mma_flop(const CountPart *p);

#endif
