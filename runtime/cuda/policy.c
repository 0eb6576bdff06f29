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
 * Luma in decibels that networks of released widths keep with INT8 in layers that read fewer channels than `below` (0: in all),
 * measured on golden cases, with upsamplers folded and not the worse:
 *
 *     build/tests/goldens --device cuda --precision auto --fidelity CASE
 *
 * Encoders are judged by what the float32 decoder makes of their latents. With its few and small layers of 512 channels in INT8,
 * too, SeedVR2's keeps 42.6 dB; with them it and its decoder would not keep POLICY_LUMA_DB together.
 * Transformers are not here: no case has all of one's layers.
 */
static const struct {
    int network, below;
    const char *name;
    double luma;
} measured[] = {
    {STAGES_VAE_ENCODER, WIDE, "SeedVR2's encoder below 512 channels", 44.4}, /* seedvr2_vae/full_enc_5f */
    {STAGES_VAE_DECODER, 0, "SeedVR2's decoder", 42.8},                       /* seedvr2_vae/full_dec_5f */
    {STAGES_TCDECODER, 0, "TCDecoder", 49.1},                                 /* tcdecoder/full */
    {STAGES_WAN, 0, "Wan's decoder", 49.9},                                   /* wan_vae/dec_full */
};
enum { MEASURED = sizeof measured / sizeof *measured };

static bool loses_little(int i) { return measured[i].luma >= POLICY_LUMA_DB; }

static bool int8_will_do(int network, int channels)
{
    for (int i = 0; i < MEASURED; i++) {
        if (measured[i].network == network) return loses_little(i) && (measured[i].below == 0 || channels < measured[i].below);
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
    case DEV_AUTO: return inside && int8_will_do(network, channels) && !stored_as_float8(stored) ? ELEMENT_I8 : ELEMENT_BF16;
    }
    return ELEMENT_F32;
}

void policy_sentence(char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < MEASURED && used < size; i++) {
        const int n = snprintf(text + used, size - used, "%s in %s (int8 keeps %.1f dB of luma, %.0f are wanted), ",
                               loses_little(i) ? "int8" : "bf16", measured[i].name, measured[i].luma, POLICY_LUMA_DB);
        used += n > 0 ? (size_t)n : 0;
    }
    if (used < size) snprintf(text + used, size - used, "bf16 elsewhere");
}
