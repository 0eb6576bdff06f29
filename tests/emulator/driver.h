/*
 * Inside the driver half of the emulator: devices, contexts, memory, streams, graphs, modules.
 *
 * One lock guards everything. An exported function calls enter(), which takes it and finds the calling thread's
 * context, works, and returns leave(status), which gives it back; whatever is declared here expects the lock to be
 * held. Work put on a stream is an `op`; nothing runs until a thread has to see its effect, then ops run one at a time,
 * in an order that is random and legal (driver_stream.c).
 */
#ifndef UPRES_TESTS_EMULATOR_DRIVER_H
#define UPRES_TESTS_EMULATOR_DRIVER_H

#include "tests/emulator/core.h"
#include "tests/emulator/driver_api.h"

#include <stdbool.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define FUNCTION(name, since, symbol, parameters) EXPORT CUresult symbol parameters;
#define ALIAS(name, since, symbol)
#include "tests/emulator/driver_functions.h"
#undef ALIAS
#undef FUNCTION

enum { MAX_DEVICES = 16 };

/* UPRES_EMULATOR, parsed (driver_options.c). */
struct options {
    int sm;
    uint64_t memory; /* bytes of each device */
    int devices;
    uint64_t seed;
    char coverage[1024]; /* file; "" for none */
    char report[1024];   /* likewise */
    char calls[1024];    /* likewise */
    bool exact;
    uint64_t fail_alloc; /* the allocation that fails, counted from 1; 0: none */
    struct {
        char name[64];   /* of a function; "": none */
        uint64_t number; /* the call that fails, counted from 1 */
        bool onwards;    /* and all after it */
        int status;
    } fail_call;
    int fail_kernel;     /* the device whose kernels fail, counted from 1; 0: none */
    int threads;         /* host threads of a launch; 0: all */
    int driver;          /* what cuDriverGetVersion says */
    bool mapping;        /* virtual memory management is supported */
    uint64_t granule;    /* of it, in bytes */
};
/* NULL or "" gives the defaults. false: *options is not to be used and `why` (of `size` bytes) says why. */
bool options_parse(const char *text, struct options *options, char *why, size_t size);

/* A simulated part: facts of the vendor's specifications (driver_device.c). */
struct part {
    int sm;
    const char *name;
    int multiprocessors, clock_khz, memory_clock_khz, bus_bits, l2_bytes;
    int threads_per_sm, blocks_per_sm, shared_per_sm, shared_optin;
};

struct pool {
    struct device *device;
    uint64_t release_threshold, used, used_high;
    bool is_default;
};

struct device {
    int index;
    const struct part *part;
    uint64_t used, used_most; /* bytes allocated */
    struct context *primary;
    int primary_count;
    unsigned primary_flags;
    struct pool default_pool, *pool;
};

struct context {
    struct device *device;
    bool primary;
    unsigned flags;
    CUresult error;   /* sticky; CUDA_SUCCESS while all is well */
    uint64_t peers;   /* bit i: device i's memory may be accessed */
    uint64_t pending; /* ops not yet run */
    size_t limits[8]; /* as set by cuCtxSetLimit */
    struct stream *legacy, *per_thread;
    struct stream *streams; /* all of them, linked by next */
};

/* -------------------------------------------------------------- driver_state.c, driver_device.c, driver_context.c */
struct emulator {
    struct options options;
    bool initialised;
    int process; /* that called cuInit */
    struct device devices[MAX_DEVICES];
    uint64_t random;         /* state of the generator that orders work */
    uint64_t allocations;    /* attempts so far, for fail_alloc */
    uint64_t failing_calls;  /* so far, of fail_call's function */
    uint64_t left;           /* allocations that a context's end had to free */
    uint64_t ranges, granules_mapped, physicals; /* reserved, mapped, not released, now */
    uint64_t pinned, pinned_most; /* bytes of host memory */
    uint64_t snapshot_bytes; /* of pageable sources that copies under way hold */
};
extern struct emulator emu;

/* Take the lock. enter: the calling thread's context, which must be there and without an error. enter_driver: cuInit is
 * enough. Both must be followed by leave(), whatever they returned. */
#define enter(context) enter_by(__func__, context)
CUresult enter_by(const char *function, struct context **context); /* function: counted as called */
#define enter_driver() enter_driver_by(__func__)
CUresult enter_driver_by(const char *function);
/* enter_driver, and there must be such a device and an answer to write to. */
#define enter_device(index, answer, device) enter_device_by(__func__, index, answer, device)
CUresult enter_device_by(const char *function, CUdevice index, const void *answer, struct device **device);
/* driver_report.c */
void count_call(const char *function);
void count_kernel(void);         /* one was given out */
uint64_t count_kernels(void);    /* so far */
/* The call at hand waits for what was given out when there were so many kernels; brought: a copy to the host was the last of it. */
void count_wait(uint64_t before, bool brought);
void count_memory(uint64_t used, uint64_t *most);
/* A text to the end of a file that processes may share; what: the option that names it. */
void append_locked(const char *what, const char *path, const char *text, size_t length);
void count_memory(uint64_t used, uint64_t *most);
CUresult leave(CUresult status);
/* Give the lock away around a callback into the program, and take it back. */
void unlock_for_callback(void);
void lock_after_callback(void);
/* Let another thread have the lock for a moment. */
void lock_yield(void);
struct context *current_context(void);
struct device *device_at(CUdevice device); /* NULL: no such device */

/* A sentence on stderr. refuse also returns the status it is given. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
CUresult refuse(CUresult status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An error that stays: told on stderr, returned by every later call in this context. */
void fault(struct context *context, CUresult status, const char *format, ...) __attribute__((format(printf, 3, 4)));

uint64_t random_next(void);                    /* of emu.random */
void *must_calloc(size_t count, size_t bytes); /* never NULL: ends the program, which is a test, with a sentence */
void *must_grow(void *array, size_t count, size_t bytes, size_t *capacity); /* room for count + 1 elements */
/* A text that grows; bytes belong to its owner, who frees them. */
struct text {
    char *bytes;
    size_t length, room;
};
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Live handles by kind, so that a stale or foreign one is an error and not a crash. */
enum handle_kind {
    HANDLE_CONTEXT,
    HANDLE_MODULE,
    HANDLE_FUNCTION,
    HANDLE_STREAM,
    HANDLE_EVENT,
    HANDLE_GRAPH,
    HANDLE_NODE,
    HANDLE_EXEC,
    HANDLE_POOL,
    HANDLE_PHYSICAL
};
void handle_add(const void *handle, enum handle_kind kind);
void handle_remove(const void *handle);
bool handle_is(const void *handle, enum handle_kind kind);

/* -------------------------------------------------------------------------------------------------- driver_pages.c */
/* Address space: ranges that nobody gets again, so that a stale address is known for what it is. NULL: none left. */
void *pages_reserve(size_t bytes, size_t alignment);
bool pages_commit(void *address, size_t bytes);   /* zeroed, readable, writable; costs memory where touched */
void pages_decommit(void *address, size_t bytes); /* contents lost, no access */
bool pages_contain(uint64_t address);             /* inside what pages_reserve hands out */
/* Memory that can be seen at several addresses (physical allocations of the VMM calls); -1: failed. */
intptr_t pages_object(size_t bytes);
bool pages_map(void *address, size_t bytes, intptr_t object, size_t offset);
void pages_object_close(intptr_t object);
size_t pages_size(void);

/* ------------------------------------------------------------------------------------------------- driver_memory.c */
enum memory_kind {
    MEMORY_DEVICE,     /* cuMemAlloc, cuMemAllocAsync */
    MEMORY_MODULE,     /* a module's variable */
    MEMORY_HOST,       /* cuMemHostAlloc */
    MEMORY_REGISTERED, /* cuMemHostRegister */
    MEMORY_MAPPED,     /* a run of mapped, accessible granules of a reservation */
};
struct allocation {
    uint64_t base, size;
    enum memory_kind kind;
    struct device *device; /* NULL for host memory */
    struct context *context;
    uint8_t *init;   /* a bit a byte; NULL: all written */
    uint64_t access; /* MEMORY_MAPPED: bit i for device i */
    struct pool *pool;
    unsigned flags;
    bool live;    /* false until the op of cuMemAllocAsync ran */
    bool freeing; /* a cuMemFreeAsync is under way */
    void *pages, *init_pages;
    size_t page_bytes, init_page_bytes;
};

struct allocation *allocation_find(uint64_t address); /* the one that holds the byte, or NULL */
void allocation_insert(struct allocation *allocation);
void allocation_remove(struct allocation *allocation); /* from the table alone */
/* Device memory of `kind`; counts against the device's limit and fail_alloc. */
CUresult allocation_make(struct context *context, size_t bytes, enum memory_kind kind, struct allocation **allocation);
void allocation_free(struct allocation *allocation);
void allocations_of_context_free(struct context *context);
bool allocation_injected_failure(void); /* counts one attempt */
/* May `device`, which may also reach the memory of `peers`, touch it? */
bool allocation_reachable(const struct allocation *allocation, const struct device *device, uint64_t peers);
/* Say on stderr what lies around an address that is not where it should be. */
void describe_address(uint64_t address, char *text, size_t size);

void init_mark(struct allocation *allocation, uint64_t address, size_t bytes);
/* Bytes from `address` on that are written, at most `bytes`. */
size_t init_run(const struct allocation *allocation, uint64_t address, size_t bytes);
void init_copy(struct allocation *target, uint64_t to, const struct allocation *source, uint64_t from, size_t bytes);

/* ------------------------------------------------------------------------------------------------- driver_stream.c */
enum work_kind { WORK_EMPTY, WORK_KERNEL, WORK_COPY, WORK_FILL, WORK_HOST, WORK_ALLOC, WORK_FREE };
/* What an op does when it runs, and what a graph's node stands for. */
struct work {
    enum work_kind kind;
    struct context *context;
    union {
        struct kernel_work {
            struct function *function;
            uint32_t grid[3], block[3], shared;
            uint8_t *params;      /* owned */
            uint32_t param_bytes; /* the function may be gone */
        } kernel;
        struct copy_work {
            uint64_t target, source;
            size_t width, height, target_pitch, source_pitch; /* bytes */
            uint8_t *snapshot; /* owned: rows of a pageable source, read when the call was made; NULL: read later */
        } copy;
        struct fill_work {
            uint64_t target;
            uint32_t value;
            unsigned element;            /* 1, 2, 4 bytes */
            size_t width, height, pitch; /* elements, rows, bytes */
        } fill;
        struct {
            CUhostFn function;
            void *user;
        } host;
        struct allocation *allocation;
    };
};
struct work work_duplicate(const struct work *work);
void work_release(struct work *work); /* what it owns */

struct op {
    struct work work;
    uint32_t waiting; /* ops that must run first */
    uint64_t priority;
    bool done;
    int refs;
    uint64_t kernels; /* given out when it was */
    double time; /* seconds, when it was done */
    struct op **successors;
    size_t successor_count, successor_capacity;
};

struct stream {
    struct context *context;
    struct stream *next;
    unsigned flags;
    int priority;
    uint32_t number; /* in the order of creation */
    uint32_t order;  /* the higher, the earlier its ops run; drawn again now and then */
    struct op *last; /* NULL: nothing pending */
    bool brought;    /* which is a copy to the host */
    struct capture *capture;
    struct graph_node **frontier; /* capturing: what the next node depends on */
    size_t frontier_count, frontier_capacity;
};

struct event {
    struct context *context;
    unsigned flags;
    struct op *recorded; /* NULL: never */
    bool brought;        /* right behind a copy to the host */
    uint64_t capture_id; /* not 0: last recorded inside that capture, after these nodes */
    struct graph_node **nodes;
    size_t node_count;
};

CUresult stream_resolve(struct context *context, CUstream handle, struct stream **stream);
/* Append work to the stream, or to the graph it is being captured into. Takes over what the work owns, also on failure.
 * *op (may be NULL) gets the op, or NULL when it was captured; it stays valid until the lock is given away. */
CUresult stream_enqueue(struct stream *stream, const struct work *work, struct op **op);
/* A place in the order of streams, or of a graph's nodes, for the number it was made as (driver_stream.c). */
uint32_t order_draw(uint32_t number);
uint64_t stream_priority(struct stream *stream); /* of an op put on it now; the low half is 0 */
/* As above, for an op with further dependencies (graphs). */
struct op *op_new(const struct work *work, uint64_t priority);
void op_after(struct op *op, struct op *before); /* before may be NULL or done */
void op_submit(struct op *op);                   /* all dependencies are given */
void op_unref(struct op *op);
struct op *op_ref(struct op *op);
void op_after_stream(struct op *op, struct stream *stream); /* everything the stream's next op waits for */
void stream_set_last(struct stream *stream, struct op *op);
void run_until(struct op *op);             /* until it is done */
void run_context(struct context *context); /* all of it */
void run_everything(void);                 /* of all contexts */
void context_streams_make(struct context *context);
void context_streams_free(struct context *context);

/* -------------------------------------------------------------------------------------------------- driver_graph.c */
struct capture {
    struct graph *graph;
    struct stream *origin;
    int mode;
    bool invalid;
    uint64_t id;
    const void *thread;      /* identity of the thread that began it */
    struct stream **streams; /* those that take part, the origin first */
    size_t stream_count, stream_capacity;
    struct capture *next;
};
/* A call that must not be made while a capture is under way here: the status to return, the capture is spoilt. */
CUresult capture_forbids(void);
CUresult capture_add(struct stream *stream, const struct work *work);
CUresult capture_record(struct stream *stream, struct event *event);
CUresult capture_wait(struct stream *stream, struct event *event);
/* The legacy stream's work would wait for a blocking stream that is captured. */
CUresult capture_implicit(struct context *context);
void capture_drop_stream(struct stream *stream);

/* ----------------------------------------------------------------- driver_copy.c, driver_module.c, driver_launch.c */
void run_copy(const struct work *work);
void run_fill(const struct work *work);
void run_kernel(const struct work *work);

struct function {
    struct module *module;
    const struct core_function *core;
    struct core_function_info info;
    int max_dynamic_shared, carveout;
};
struct module {
    struct context *context;
    struct core_module *core;
    uint64_t hash; /* of the text, names it in the coverage file */
    struct function *functions;
    size_t function_count;
    struct allocation **variables; /* same order as the core's; NULL for an empty one */
    size_t variable_count;
    struct module *next;
};
void modules_of_context_free(struct context *context);
/* A kernel's launch from the API's arguments, checked; *work gets a copy of the parameters. */
CUresult kernel_work_make(struct function *function, const uint32_t grid[3], const uint32_t block[3], uint32_t shared,
                          void **params, void **extra, struct work *work);

#endif
