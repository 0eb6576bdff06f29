/* Opening the CUDA device, its phases, closing it, and the table of its operations. */
#include "runtime/cuda/device.h"

#include <stdio.h>
#include <stdlib.h>

static void cuda_close(Dev *d)
{
    struct Cuda *c = d->cuda;
    if (c->context != NULL) {
        cuda_enter(d);
        if (c->stream != NULL) c->driver->stream_synchronize(c->stream);
        cuda_side_close(c->side); /* after a failure nobody waited for it */
        cuda_leave(d);
    }
    cuda_weights_close(d);
    if (c->context != NULL) {
        cuda_enter(d);
        cuda_outgoing_close(c->outgoing);
        cuda_staging_close(c->staging);
        cuda_recorder_close(c->recorder);
        cuda_kernels_close(c->kernels);
        cuda_block_give(&c->block, c->driver);
        if (c->stream != NULL) c->driver->stream_destroy(c->stream);
        cuda_leave(d);
        c->driver->context_release(c->number);
    }
    free(c);
    d->cuda = NULL;
}

CudaRecorderCounts cuda_counts(const Dev *d) { return cuda_recorder_counts(d->cuda->recorder); }
CudaSideCounts cuda_uploads_ahead(const Dev *d) { return cuda_side_counts(d->cuda->side); }

static uint64_t aligned(uint64_t bytes) { return (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN; }

/* The arena's place is at the end, so that all before it can be the weights'. */
static void cuda_phase(Dev *d, uint64_t arena_bytes)
{
    struct Cuda *c = d->cuda;
    const uint64_t arena = aligned(arena_bytes > 0 ? arena_bytes : 1), planned = aligned(cuda_weights_planned(&c->setup));
    if (d->plan || d->failed || planned == 0 || arena > c->block.bytes - planned) return;
    c->arena = c->block.address + c->block.bytes - arena;
    const uint64_t peak = d->arena.peak;
    arena_close(&d->arena);
    arena_init(&d->arena, arena_bytes);
    d->arena.peak = peak;
    cuda_weights_resize(d, c->block.bytes - arena);
}

static const DevOps cuda_ops = {
    .conv3d = cuda_conv3d,
    .upsample = cuda_upsample,
    .linear = cuda_linear,
    .norm = cuda_norm,
    .stats = cuda_stats,
    .attention = cuda_attention,
    .block_attention = cuda_block_attention,
    .block_mask = cuda_block_mask,
    .rotate = cuda_rotate,
    .rows = cuda_rows,
    .axpby = cuda_axpby,
    .from_planes = cuda_from_planes,
    .to_planes = cuda_to_planes,
    .noise = cuda_noise,
    .input_noise = cuda_input_noise,
    .resize = cuda_resize,
    .color = cuda_color,
    .from_codes = cuda_from_codes,
    .to_codes = cuda_to_codes,
    .bytes_in = cuda_bytes_in,
    .bytes_out = cuda_bytes_out,
    .out_begin = cuda_out_begin,
    .out_wait = cuda_out_wait,
    .out_end = cuda_out_end,
    .out_clear = cuda_out_clear,
    .guide = cuda_guide,
    .modulation = cuda_modulation,
    .modulation_row = cuda_modulation_row,
    .history = cuda_history,
    .fold = cuda_fold,
    .fold_nearest = cuda_fold_nearest,
    .fold_free = cuda_fold_free,
    .fold_state = cuda_fold_state,
    .read = cuda_read,
    .read_end = cuda_read_end,
    .write = cuda_write,
    .write_end = cuda_write_end,
    .enter = cuda_enter,
    .leave = cuda_leave,
    .wait = cuda_weights_wait,
    .time_begin = cuda_time_begin,
    .time_end = cuda_time_end,
    .phase = cuda_phase,
    .weight_group = cuda_weight_group,
    .totals = cuda_weights_totals,
    .close = cuda_close,
};

bool cuda_attach(Dev *d, const DevSetup *s, char *error, size_t error_size)
{
    static const char *const names[] = {"fp32", "bf16", "int8", "fp8", "fp8x3", "auto"};
    d->cuda = calloc(1, sizeof *d->cuda);
    if (d->cuda == NULL) {
        snprintf(error, error_size, "out of memory");
        return false;
    }
    d->ops = &cuda_ops;
    d->activation = s->precision == DEV_FP32 ? ELEMENT_F32 : ELEMENT_BF16;
    d->threads = s->threads;
    d->cuda->device = *s->cuda;
    d->cuda->setup = *s;
    d->cuda->setup.cuda = &d->cuda->device;
    d->cuda->precision = s->precision;
    snprintf(d->describe, sizeof d->describe, "cuda:%d %.60s, precision %s%s", s->cuda->ordinal, s->cuda->name,
             names[s->precision], s->fp8_scores ? ", its scores too" : "");
    return true;
}

/* Stream, block of memory, and what goes with them. */
static CUresult take_parts(struct Cuda *c, uint64_t arena_bytes)
{
    const uint64_t arena = aligned(arena_bytes > 0 ? arena_bytes : 1);
    CUresult status = c->driver->stream_create(&c->stream, CU_STREAM_NON_BLOCKING);
    if (status == 0) status = cuda_block_take(&c->block, c->driver, c->number, aligned(cuda_weights_planned(&c->setup)) + arena);
    if (status != 0) return status;
    c->arena = c->block.address + c->block.bytes - arena;
    c->recorder = cuda_recorder_open(c->driver, c->stream);
    c->side = cuda_side_open(c->driver, c->stream);
    c->outgoing = cuda_outgoing_open(c->driver, c->stream);
    if (c->recorder != NULL && c->side != NULL && c->outgoing != NULL)
        c->staging = cuda_staging_open(c->driver, c->stream, c->side, c->setup.threads);
    return 0;
}

static bool refuse(Dev *d, CUresult status, uint64_t arena_bytes, char *error, size_t error_size)
{
    char text[256];
    cuda_status_text(d->cuda->driver, "opening the device", status, text, sizeof text);
    d->no_memory = status == CUDA_ERROR_OUT_OF_MEMORY;
    if (d->no_memory) {
        const uint64_t bytes = arena_bytes + cuda_weights_planned(&d->cuda->setup);
        snprintf(error, error_size, "cuda:%d cannot give %llu bytes of working memory (%s); ask for smaller tiles or a smaller "
                 "--batch-size", d->cuda->device.ordinal, (unsigned long long)bytes, text);
    } else {
        snprintf(error, error_size, "cuda:%d: %s", d->cuda->device.ordinal, text);
    }
    return false;
}

/* Drivers for Windows put memory that a card has no room for into the host's, at a tenth of the speed or less. */
static bool is_spilled(Dev *d, char *error, size_t error_size)
{
    const uint64_t least = (uint64_t)64 << 20; /* filling less takes no longer than starting to: that says nothing */
    struct Cuda *c = d->cuda;
    if (!c->setup.may_spill || c->device.bandwidth_gbs <= 0 || c->block.bytes < least) return false;
    cuda_enter(d);
    const double rate = cuda_block_rate(&c->block, c->driver, c->stream), own = c->device.bandwidth_gbs;
    cuda_leave(d);
    if (rate == 0 || rate >= 0.3 * own) return false;
    d->no_memory = true;
    snprintf(error, error_size, "cuda:%d gives %llu bytes that are filled at %.3g of its %.3g GB/s: the driver put some of them into "
             "the host's memory; close other programs that use the GPU, or give a smaller --memory",
             c->device.ordinal, (unsigned long long)c->block.bytes, rate, own);
    return true;
}

bool cuda_start(Dev *d, uint64_t arena_bytes, char *error, size_t error_size)
{
    struct Cuda *c = d->cuda;
    c->driver = cuda_driver(error, error_size);
    if (c->driver == NULL) return false;
    CUresult status = c->driver->device_get(&c->number, c->device.ordinal);
    if (status == 0) status = c->driver->context_retain(&c->context, c->number);
    if (status == 0) {
        cuda_enter(d);
        status = take_parts(c, arena_bytes);
        if (c->staging != NULL) c->kernels = cuda_kernels_open(c->driver, &c->device, error, error_size);
        cuda_leave(d);
    }
    if (status != 0) return refuse(d, status, arena_bytes, error, error_size);
    if (c->staging == NULL) snprintf(error, error_size, "out of memory");
    if (c->kernels == NULL || is_spilled(d, error, error_size)) return false;
    cuda_weights_start(d);
    if (d->failed) snprintf(error, error_size, "%s", d->error);
    return !d->failed;
}
