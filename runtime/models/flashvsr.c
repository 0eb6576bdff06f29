#include "runtime/models/flashvsr.h"

#include "runtime/models/flashvsr_lq.h"

#include <stdio.h>
#include <stdlib.h>

enum { FIRST_FRAMES = 25, FRAMES = 8 }; /* low-quality frames of the first chunk and of every later one */

struct Flashvsr {
    FlashDit *dit;
    FlashLq *lq;
    FlashvsrTap tap;
};

struct FlashvsrStream {
    Flashvsr *m;
    Dev *d;
    int h, w; /* tokens of a latent frame */
    int chunk;
    FlashDitStream *dit;
    FlashLqStream *lq;
};

Flashvsr *flashvsr_open(const WeightPart *dit, const WeightPart *lq, const WeightPart *prompt, char *error,
                        size_t error_size)
{
    Flashvsr *m = calloc(1, sizeof *m);
    if (m == NULL) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    m->dit = flash_dit_open(dit, prompt, error, error_size);
    if (m->dit != NULL) m->lq = flash_lq_open(lq, error, error_size);
    if (m->lq == NULL) {
        flashvsr_close(m);
        return NULL;
    }
    if (flash_lq_width(m->lq) != flash_dit_width(m->dit)) {
        snprintf(error, error_size,
                 "%s: the FlashVSR LQ projection gives tokens of %d channels, the transformer in %s takes %d; "
                 "give files that belong together",
                 weight_file_path(lq->file), flash_lq_width(m->lq), weight_file_path(dit->file),
                 flash_dit_width(m->dit));
        flashvsr_close(m);
        return NULL;
    }
    return m;
}

void flashvsr_close(Flashvsr *m)
{
    if (m == NULL) return;
    flash_dit_close(m->dit);
    flash_lq_close(m->lq);
    free(m);
}

void flashvsr_set_tap(Flashvsr *m, FlashvsrTap tap)
{
    m->tap = tap;
    flash_dit_set_tap(m->dit, tap);
}

FlashvsrStream *flashvsr_stream_open(Flashvsr *m, Dev *d, int h, int w, FlashvsrSetup setup)
{
    const int unit = FLASH_PATCH * FLASH_WINDOW;
    if (h < unit || w < unit || h % unit != 0 || w % unit != 0) {
        dev_fail(d, "FlashVSR takes frames whose sides are multiples of %d pixels, not %dx%d", unit, w, h);
        return NULL;
    }
    FlashvsrStream *s = calloc(1, sizeof *s);
    if (s == NULL) {
        dev_fail(d, "out of memory");
        return NULL;
    }
    *s = (FlashvsrStream){.m = m, .d = d, .h = h / FLASH_PATCH, .w = w / FLASH_PATCH};
    s->dit = flash_dit_stream_open(m->dit, d, s->h, s->w, setup);
    if (s->dit != NULL) s->lq = flash_lq_stream_open(m->lq, d, h, w, setup.causal);
    if (s->lq == NULL) {
        flashvsr_stream_close(s);
        return NULL;
    }
    return s;
}

void flashvsr_stream_close(FlashvsrStream *s)
{
    if (s == NULL) return;
    flash_lq_stream_close(s->lq);
    flash_dit_stream_close(s->dit);
    free(s);
}

int flashvsr_chunk_frames(const FlashvsrStream *s)
{
    return s->chunk == 0 ? FIRST_FRAMES : FRAMES;
}

int flashvsr_chunk_latents(const FlashvsrStream *s)
{
    return s->chunk == 0 ? FLASH_FIRST_LATENTS : FLASH_LATENTS;
}

void flashvsr_chunk(FlashvsrStream *s, VaeVideo frames, Tensor latent)
{
    Dev *d = s->d;
    Tensor tokens = dev_tensor(d, flashvsr_chunk_latents(s), s->h, s->w, flash_lq_width(s->m->lq));
    const Tensor none = {0};
    if (s->chunk == 0) flash_lq_call(s->lq, frames, none);
    for (int i = 0; i < tokens.t && dev_ok(d); i++) flash_lq_call(s->lq, frames, tensor_frames(tokens, i, 1));
    flash_tap_value(&s->m->tap, d, "lq", s->chunk, tokens);
    flash_dit_chunk(s->dit, tokens, latent);
    dev_free(d, &tokens);
    s->chunk++;
}
