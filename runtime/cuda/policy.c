#include "runtime/cuda/policy.h"

#include "kernels/cuda/args.h"

#include <stddef.h>
#include <stdio.h>

enum { NARROW = CUDA_BLOCK /* channels that share a scale */, WIDE = 512 };

static bool convolutes(int network)
{
    return network != STAGES_DIT && network != STAGES_FLASH_DIT;
}

/*
 * Luma in decibels that networks of released widths keep in INT8, measured on golden cases:
 *
 *     build/tests/goldens --device cuda --precision int8 --fidelity CASE
 *
 * Encoders and transformers are not here: they give no pictures, and no case has all of a transformer's layers.
 */
static const struct {
    int network;
    const char *name;
    double luma;
} measured[] = {
    {STAGES_VAE_DECODER, "SeedVR2's decoder", 42.9}, /* seedvr2_vae/full_dec_5f */
    {STAGES_TCDECODER, "TCDecoder", 49.1},           /* tcdecoder/full */
    {STAGES_WAN, "Wan's decoder", 49.9},             /* wan_vae/dec_full */
};

static bool int8_will_do(int network)
{
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++) {
        if (measured[i].network == network) return measured[i].luma >= POLICY_LUMA_DB;
    }
    return false;
}

static bool stored_as_float8(const BoundWeight *w)
{
    return w != NULL && (w->tensor->type == WT_F8_E4M3 || w->tensor->type == WT_F8_E5M2);
}

Element policy_element(DevPrecision p, int stage, int channels, const BoundWeight *stored)
{
    const int network = stage & ~0xff;
    const bool inside = (stage & 0xff) > 1 && channels >= NARROW;
    switch (p) {
    case DEV_FP32: return ELEMENT_F32;
    case DEV_BF16: return ELEMENT_BF16;
    case DEV_INT8: return inside ? ELEMENT_I8 : ELEMENT_BF16;
    case DEV_FP8X3: return inside ? ELEMENT_E4M3_PAIR : ELEMENT_BF16;
    case DEV_FP8: return !inside ? ELEMENT_BF16 : convolutes(network) && channels >= WIDE ? ELEMENT_I8 : ELEMENT_E4M3;
    case DEV_AUTO: return inside && int8_will_do(network) && !stored_as_float8(stored) ? ELEMENT_I8 : ELEMENT_BF16;
    }
    return ELEMENT_F32;
}

void policy_sentence(char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof measured / sizeof *measured && used < size; i++) {
        const bool will_do = int8_will_do(measured[i].network);
        const int n = snprintf(text + used, size - used, "%s in %s (int8 keeps %.1f dB of luma, %.0f are wanted), ",
                               will_do ? "int8" : "bf16", measured[i].name, measured[i].luma, POLICY_LUMA_DB);
        used += n > 0 ? (size_t)n : 0;
    }
    if (used < size) snprintf(text + used, size - used, "bf16 elsewhere");
}
