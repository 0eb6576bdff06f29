/*
 * The interpreter of the CUDA driver emulator: PTX text in, kernels executed on the CPU with every check the hardware
 * leaves out.
 *
 * The driver half (driver.c) owns devices, allocations, streams and modules' life; this half owns PTX. A module is
 * loaded once from text and is read-only afterwards, apart from its coverage counters; launches of it may follow each
 * other but do not overlap (the driver half executes one kernel at a time; a launch spreads its blocks over threads).
 *
 * Addresses. A global address is a host pointer: the kernel reads and writes the driver half's memory in place, after
 * asking it, allocation by allocation, what may be touched. Shared, local and parameter space are the interpreter's.
 */
#ifndef UPRES_TESTS_EMULATOR_CORE_H
#define UPRES_TESTS_EMULATOR_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Numbers are those of CUresult, so that the driver half passes them on. */
enum core_status {
    CORE_OK = 0,
    CORE_INVALID_VALUE = 1, /* launch: a shape or size the device does not take */
    CORE_OUT_OF_MEMORY = 2, /* host memory for the interpreter's own tables */
    CORE_NO_BINARY_FOR_GPU =
        209,                /* load: the text's .target is not the simulated one's, or an instruction is absent there */
    CORE_INVALID_PTX = 218, /* load: not PTX as the interpreter knows it; the text names the line */
    CORE_UNSUPPORTED_PTX_VERSION = 222,
    CORE_LAUNCH_RESOURCES = 701, /* launch: more shared memory or threads than the device has */
    CORE_FAULT_ADDRESS = 700,    /* run: out of bounds or misaligned */
    CORE_FAULT_LAUNCH = 719,     /* run: race, uninitialised read, deadlock, missing proxy fence, trap */
};

/* What went wrong, in one sentence (or several lines for a deadlock), and where. Filled by load and launch. */
struct core_error {
    enum core_status status;
    char text[1536];    /* "kernel NAME, PTX line N, block (x,y,z), thread (x,y,z): ..." */
    char kernel[128];   /* "" at load */
    uint32_t line;      /* line of the PTX text, from 1; 0 when no line is to blame */
    uint32_t block[3];  /* fault only */
    uint32_t thread[3]; /* fault only */
    uint64_t address;   /* global: the host pointer; shared: the 32-bit shared address; 0 when there is none */
};

struct core_options {
    int sm;        /* simulated compute capability x 10: 80, 86, 89, 90, 120 */
    uint64_t seed; /* order of the warps of each block and the length of their turns; blocks start in ascending order */
    bool exact_mma; /* matrix products by the hardware's truncating sums instead of sums in double */
    int threads;    /* host threads for the blocks of a launch; 0: as many as the machine has */
};

/* ------------------------------------------------------------------------------------------------------------------ */
/* Loading */

struct core_module;
struct core_function;

/*
 * Parse, check and decode the PTX text (length bytes, no final 0 needed) for the simulated part. The text is not kept.
 * Returns the module, or NULL with *error filled. Free it with core_unload after the last launch.
 */
struct core_module *core_load(const char *text, size_t length, const struct core_options *options,
                              struct core_error *error);
void core_unload(struct core_module *module);

/*
 * Module variables (.global and .const, those of the text in its order). The driver half places each before the first
 * launch: it allocates `size` bytes aligned to `align`, copies `initial` (NULL: zeros) there, marks them initialised and
 * stores the address in *address. Pointers stay the module's.
 */
struct core_variable {
    const char *name;
    uint64_t size;
    uint32_t align;
    const void *initial;
    uint64_t *address;
};
size_t core_variable_count(const struct core_module *module);
struct core_variable core_variable_at(const struct core_module *module, size_t index);

/*
 * To be called once, after every variable has its address and before the first launch: writes into the variables the
 * addresses that other variables' initialisers name.
 */
void core_bind(struct core_module *module);

/* The .entry functions, in the order of the text; find returns NULL when there is no such entry. */
size_t core_function_count(const struct core_module *module);
const struct core_function *core_function_at(const struct core_module *module, size_t index);
const struct core_function *core_function_find(const struct core_module *module, const char *name);

struct core_param {
    uint32_t offset, size, align; /* bytes in the parameter buffer */
};
struct core_function_info {
    const char *name;
    uint32_t param_count;
    uint32_t param_bytes; /* of the whole parameter buffer */
    const struct core_param *params;
    uint32_t static_shared; /* bytes */
    uint32_t local_bytes;   /* a thread */
    uint32_t max_threads;   /* .maxntid or .reqntid as a product, else 1024 */
    uint32_t required[3];   /* .reqntid; 0 where not given */
    int ptx_version;        /* 90 for .version 9.0 */
    int ptx_target;         /* 120 for .target sm_120f */
};
struct core_function_info core_function_info(const struct core_function *function);

/* How often each PTX line with an instruction ran: a warp that executes it with at least one lane counts one. */
struct core_coverage {
    const char *function;
    uint32_t line;
    uint64_t count;
};
size_t core_coverage_count(const struct core_module *module);
struct core_coverage core_coverage_at(const struct core_module *module, size_t index);

/* ------------------------------------------------------------------------------------------------------------------ */
/* Launching */

/* One allocation. `init` has a bit for each byte (bit i&7 of init[i>>3]), set when the byte was ever written; NULL when
 * all of it counts as written. It is read and set with atomic operations while a kernel runs. */
struct core_span {
    uint64_t base, size;
    uint8_t *init;
};

struct core_memory {
    void *user;
    /* The allocation that `address` lies in; false when none does. For a wild address, *span may be filled with the
     * nearest allocation below, for the report (size 0: none). Called from several threads at once. */
    bool (*find)(void *user, uint64_t address, struct core_span *span);
};

struct core_launch {
    const struct core_function *function;
    uint32_t grid[3], block[3];
    uint32_t dynamic_shared; /* bytes */
    const void *params;      /* core_function_info.param_bytes, copied at the start */
    const struct core_memory *memory;
    struct core_options options;
};

/*
 * Run the whole grid. Returns CORE_OK, or the first fault found with *error filled; blocks that already ran have left
 * their results, the others have not run.
 */
enum core_status core_run(const struct core_launch *launch, struct core_error *error);

/* ------------------------------------------------------------------------------------------------------------------ */
/* Tensor maps */

/* What the emulator's cuTensorMapEncodeTiled leaves in the 128 opaque bytes of a CUtensorMap. */
#define CORE_TENSOR_MAP_MAGIC 0x70616d74u
struct core_tensor_map {
    uint32_t magic;
    uint8_t rank;             /* 1..5 */
    uint8_t element_bytes;    /* 1, 2, 4, 8 */
    uint8_t swizzle;          /* bytes of the row that is swizzled: 0, 32, 64, 128 */
    uint8_t nan_fill;         /* 0: out of bounds reads give zeros */
    uint64_t base;            /* global address */
    uint64_t stride[5];       /* bytes between elements of each dimension; stride[0] == element_bytes */
    uint32_t size_minus_1[5]; /* elements, less one */
    uint16_t box[5];          /* elements; counts source elements where element_stride is not 1 */
    uint8_t element_stride[5];
    uint8_t reserved[37];
};
_Static_assert(sizeof(struct core_tensor_map) == 128, "a CUtensorMap has 128 bytes");

#endif
