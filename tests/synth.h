/*
 * Weights and inputs whose values follow from their names (the rule all golden cases are made by, bit for bit):
 *   seed = FNV-1a 64 of the name; z = splitmix64(seed + (i + 1) * 0x9E3779B97F4A7C15)
 *   u_i = ((z >> 40) + 0.5) / 2^24 * 2 - 1 rounded to float32;  value = mean + scale * u_i in float32
 */
#ifndef UPRES_TESTS_SYNTH_H
#define UPRES_TESTS_SYNTH_H

#include <stdint.h>

void synth_tensor(const char *name, int64_t count, float mean, float scale, float *out);
/* Elements first .. first + count - 1 of the same, for writers that never hold a whole tensor. */
void synth_range(const char *name, int64_t first, int64_t count, float mean, float scale, float *out);
/* The usual rule for a parameter: rank >= 2: gain * sqrt(3 / fan_in) * u; rank 1 ending in "weight": 1 + 0.1 u; else
 * 0.1 u. */
void synth_weight(const char *name, int rank, const int64_t *shape, double gain, float *out);
/* Mean and scale that rule gives. */
void synth_rule(const char *name, int rank, const int64_t *shape, double gain, float *mean, float *scale);
/* The same for SeedVR2's transformers, which differ in ..._scale (1 + 0.1 u) and ..._gate (0.5 + 0.3 u). Stored rotary
 * frequencies follow no u: see synth_rope_freqs. */
void synth_dit_rule(const char *name, int rank, const int64_t *shape, float *mean, float *scale);
/* The usual rule, but 1 + 0.1 u for the norms' ...gamma, which are not of rank 1: the Wan VAE's. */
void synth_wan_rule(const char *name, int rank, const int64_t *shape, double gain, float *mean, float *scale);
void synth_unit(const char *name, int64_t count, float *out);
void synth_rope_freqs(int is_7b, int count, float *out); /* stored rotary frequencies, by formula */

/* Names and shapes of networks of any width, in a fixed order. */
typedef struct SynthShape {
    char name[160];
    int rank;
    int64_t shape[5];
} SynthShape;
int64_t synth_count(const SynthShape *s); /* elements */
/* layers: residual blocks a level in the encoder (decoder: one more). Returns the count; *out is malloc'ed; -1 without
 * memory. */
int synth_vae_layout(const int *block_out, int levels, int latent, int layers, int temporal, int pixels,
                     SynthShape **out);
int synth_dit_layout(int is_7b, int layers, int dim, int heads, int head_dim, int text_dim, int mm_layers,
                     int in_channels, int out_channels, SynthShape **out);
/* FlashVSR's transformer for 16 latent channels; its LQ projection with `injected` linear layers. */
int synth_flashvsr_dit_layout(int layers, int dim, int hidden, int text_dim, int freq_dim, SynthShape **out);
int synth_lq_layout(int hidden1, int hidden2, int dim, int injected, SynthShape **out);
/* strides: frames that each stage makes of one. deep: with the two more convolutions of the TCDecoder, else TAEHV. */
int synth_tcdecoder_layout(const int channels[4], int inputs, const int strides[3], int deep, SynthShape **out);
/* multipliers: widths of the levels in units of dim; blocks: a level of the encoder (decoder: one more); time: for each
 * level but the last of the encoder, whether it halves time too. */
int synth_wan_layout(int dim, int latent, const int *multipliers, int levels, int blocks, const int *time, int encoder,
                     int decoder, SynthShape **out);

/* A safetensors file of float32 tensors at `path`, values from `fill`. Returns 0, or -1 when it cannot be written. */
typedef void (*SynthFill)(void *user, const SynthShape *s, float *out);
int synth_write_safetensors(const char *path, const SynthShape *shapes, int count, SynthFill fill, void *user);
/* The header alone: the length's 8 bytes and the JSON text, padded with spaces to 8 bytes; `type` "F32", "BF16", ... of
 * `bytes` each. malloc'ed; NULL without memory. */
char *synth_safetensors_header(const SynthShape *shapes, int count, const char *type, int bytes, int64_t *size);

#endif
