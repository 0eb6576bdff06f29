/* What the host reads and writes of the CUDA device's tensors: as floats, as bytes, and as bytes that leave beside the work. */
#include "runtime/cuda/device.h"

#include <stdlib.h>
#include <string.h>

/* Elements from the first of x to its last, gaps of views among them. */
static uint64_t span_of(Tensor x)
{
    return (uint64_t)((x.t - 1) * x.stride_t + (x.h - 1) * x.stride_h + (int64_t)(x.w - 1) * x.c_pad) +
           (uint64_t)element_pad((Element)x.type, x.c);
}

static float bf16_to_float(uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* To nearest, ties to even; a NaN stays one. */
static uint16_t float_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

/* What x has, and nothing between: that may never have been written. What follows without a gap goes in one copy. */
static void copy_elements_out(Dev *d, Tensor x, uint8_t *to)
{
    const uint64_t size = (uint64_t)element_bytes((Element)x.type);
    const int pixel = element_pad((Element)x.type, x.c);
    const bool pixels = x.c_pad == pixel, rows = pixels && x.stride_h == (int64_t)x.w * x.c_pad;
    const bool frames = rows && x.stride_t == x.h * x.stride_h;
    const int64_t run = frames ? x.t * x.stride_t : rows ? x.h * x.stride_h : pixels ? (int64_t)x.w * x.c_pad : pixel;
    for (int t = 0; t < (frames ? 1 : x.t); t++) {
        for (int h = 0; h < (rows ? 1 : x.h); h++) {
            for (int w = 0; w < (pixels ? 1 : x.w); w++) {
                const uint64_t at = size * (uint64_t)(t * x.stride_t + h * x.stride_h + (int64_t)w * x.c_pad);
                cuda_copy_out(d, to + at, cuda_at(d, x) + at, size * (uint64_t)run);
            }
        }
    }
}

/* Pinned memory for the floats of x. */
static float *take_values(Dev *d, Tensor x)
{
    cuda_enter(d);
    float *values = cuda_buffer_take(d->cuda->staging, span_of(x) * sizeof *values);
    cuda_leave(d);
    if (values == NULL) dev_fail(d, "out of memory for %llu bytes of frames", (unsigned long long)(span_of(x) * sizeof *values));
    return values;
}

/* Elements at the end of the memory to floats in all of it: none is overwritten before it was read. */
static void widen(float *values, const uint8_t *raw, uint64_t count, Element type)
{
    for (uint64_t i = 0; type == ELEMENT_BF16 && i < count; i++) {
        uint16_t bits;
        memcpy(&bits, raw + 2 * i, sizeof bits);
        values[i] = bf16_to_float(bits);
    }
    for (uint64_t i = 0; type == ELEMENT_U8 && i < count; i++) values[i] = raw[i];
    for (uint64_t i = 0; type == ELEMENT_I8 && i < count; i++) values[i] = (int8_t)raw[i];
}

void cuda_read_end(Dev *d, const float *values)
{
    cuda_buffer_give(d->cuda->staging, (void *)values);
}

const float *cuda_read(Dev *d, Tensor x)
{
    const uint64_t count = span_of(x), bytes = count * (uint64_t)element_bytes((Element)x.type);
    float *values = take_values(d, x);
    if (values == NULL) return NULL;
    uint8_t *raw = (uint8_t *)(values + count) - bytes;
    copy_elements_out(d, x, raw);
    cuda_weights_wait(d);
    if (!d->failed) widen(values, raw, count, (Element)x.type);
    if (!d->failed) return values;
    cuda_read_end(d, values);
    return NULL;
}

/* While the host makes the values the device works on what was given out. */
float *cuda_write(Dev *d, Tensor x)
{
    cuda_enter(d);
    cuda_worked(d, "the work on the GPU", cuda_recorder_flush(d->cuda->recorder));
    cuda_leave(d);
    return d->failed ? NULL : take_values(d, x);
}

/* Floats to elements, in place: none is written before the float at its place was read. */
static void narrow(void *values, uint64_t count, Element type)
{
    const float *from = values;
    uint8_t *to = values;
    for (uint64_t i = 0; type == ELEMENT_BF16 && i < count; i++) {
        const uint16_t bits = float_to_bf16(from[i]);
        memcpy(to + 2 * i, &bits, sizeof bits);
    }
    for (uint64_t i = 0; type == ELEMENT_U8 && i < count; i++) {
        const float value = from[i];
        to[i] = (uint8_t)value;
    }
}

void cuda_write_end(Dev *d, Tensor x, float *values)
{
    const uint64_t count = span_of(x);
    narrow(values, count, (Element)x.type);
    cuda_enter(d);
    if (!d->failed) { /* not recorded: what comes from outside is never the same again */
        cuda_copy_now(d, cuda_at(d, x), values, count * (uint64_t)element_bytes((Element)x.type));
        cuda_worked(d, "cuEventRecord", cuda_buffer_sent(d->cuda->staging, values));
    }
    cuda_buffer_give(d->cuda->staging, values);
    cuda_leave(d);
}

/* Raw bytes, by way of pinned memory. Not recorded: frames are never the same again. */
void cuda_bytes_in(Dev *d, Tensor x, const void *from, uint64_t bytes)
{
    if (d->plan || d->failed || bytes == 0) return;
    struct Cuda *c = d->cuda;
    cuda_enter(d);
    void *buffer = cuda_buffer_take(c->staging, bytes);
    if (buffer == NULL) {
        dev_fail(d, "out of memory for %llu bytes of frames", (unsigned long long)bytes);
    } else {
        memcpy(buffer, from, bytes);
        cuda_copy_now(d, cuda_at(d, x), buffer, bytes);
        if (!d->failed) cuda_worked(d, "cuEventRecord", cuda_buffer_sent(c->staging, buffer));
        cuda_buffer_give(c->staging, buffer);
    }
    cuda_leave(d);
}

void cuda_bytes_out(Dev *d, Tensor x, void *to, uint64_t bytes)
{
    if (d->plan || d->failed || bytes == 0) return;
    cuda_enter(d);
    void *buffer = cuda_buffer_take(d->cuda->staging, bytes);
    cuda_leave(d);
    if (buffer == NULL) {
        dev_fail(d, "out of memory for %llu bytes of frames", (unsigned long long)bytes);
        return;
    }
    cuda_copy_out(d, buffer, cuda_at(d, x), bytes);
    cuda_weights_wait(d);
    if (!d->failed) memcpy(to, buffer, bytes);
    cuda_buffer_give(d->cuda->staging, buffer);
}

_Static_assert((int)DEV_OUT_MOST == (int)OUTGOING_MOST, "as many as dev.h says");

const void *cuda_out_begin(Dev *d, Tensor x, uint64_t bytes)
{
    struct Cuda *c = d->cuda;
    const CudaWords words = cuda_weights_words(d);
    const OutgoingPart part[2] = {{cuda_at(d, x), bytes}, {words.at, words.count * sizeof(uint32_t)}};
    cuda_enter(d);
    void *buffer = cuda_buffer_take(c->staging, bytes + WEIGHT_WORDS * sizeof(uint32_t));
    if (buffer == NULL) {
        dev_fail(d, "out of memory for %llu bytes of frames", (unsigned long long)bytes);
    } else if (!cuda_worked(d, "the work on the GPU", cuda_recorder_flush(c->recorder)) ||
               !cuda_worked(d, "cuMemcpyDtoHAsync", cuda_outgoing_send(c->outgoing, buffer, part))) {
        cuda_buffer_give(c->staging, buffer);
        buffer = NULL;
    }
    cuda_leave(d);
    for (int i = 0; i < OUTGOING_MOST && buffer != NULL; i++) {
        if (c->leaving[i].out != NULL) continue;
        c->leaving[i].out = buffer;
        c->leaving[i].bytes = bytes;
        c->leaving[i].words = words;
        break;
    }
    return buffer;
}

static int leaving_at(const struct Cuda *c, const void *out)
{
    int i = 0;
    while (c->leaving[i].out != out) i++;
    return i;
}

bool cuda_out_wait(Dev *d, const void *out)
{
    struct Cuda *c = d->cuda;
    const int i = leaving_at(c, out);
    cuda_enter(d);
    if (!d->failed) cuda_worked(d, "the work on the GPU", cuda_recorder_flush(c->recorder)); /* the device goes on meanwhile */
    const bool there = cuda_worked(d, "the work on the GPU", cuda_outgoing_wait(c->outgoing, out));
    cuda_leave(d);
    return there && cuda_weights_good(d, &c->leaving[i].words, (const uint8_t *)out + c->leaving[i].bytes);
}

void cuda_out_end(Dev *d, const void *out)
{
    struct Cuda *c = d->cuda;
    c->leaving[leaving_at(c, out)].out = NULL;
    cuda_outgoing_forget(c->outgoing, out);
    cuda_buffer_give(c->staging, (void *)out);
}

void cuda_out_clear(Dev *d)
{
    struct Cuda *c = d->cuda;
    cuda_enter(d);
    if (cuda_worked(d, "the work on the GPU", cuda_recorder_flush(c->recorder)))
        cuda_worked(d, "cuStreamWaitEvent", cuda_outgoing_clear(c->outgoing));
    cuda_leave(d);
}
