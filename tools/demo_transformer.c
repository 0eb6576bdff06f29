/*
 * A SeedVR2 transformer of the 3B kind, computed instead of trained. All gates are 0, so its two blocks run but add
 * nothing, and the way from vid_in to vid_out predicts v = noise - condition + a constant. The one-step sampler's
 * noise - v is then the condition, the encoder's latent, with DEMO_LIFT taken back.
 *
 * Getting through the output norm: half of the channels are constants, so large that the root mean square hardly
 * depends on the rest, and its inverse is the norm's weight.
 */
#include <math.h>

#include "tools/demo_tensors.h"

enum { DIM = 128, HEAD = 128, BLOCKS = 2, HIDDEN = 512, TEXT = 64, LATENT = 16, FREQUENCIES = 21 };
/* A token is 2x2 latent positions of 33 channels: noise, condition, and the mask, which is 1. */
enum { PATCH = 4, PATCH_CHANNELS = 2 * LATENT + 1, CARRIED = PATCH * LATENT };

/* One block's weights for one of "vid", "txt" or, shared by both, "all". */
static void add_block(DemoTensors *d, int block, const char *kind)
{
    demo_add(d, DEMO_SHAPE(3 * DIM, DIM), "blocks.%d.attn.proj_qkv.%s.weight", block, kind);
    demo_add_layer(d, DEMO_SHAPE(DIM, DIM), "blocks.%d.attn.proj_out.%s", block, kind);
    demo_fill(demo_add(d, DEMO_SHAPE(HEAD), "blocks.%d.attn.norm_q.%s.weight", block, kind), 1);
    demo_fill(demo_add(d, DEMO_SHAPE(HEAD), "blocks.%d.attn.norm_k.%s.weight", block, kind), 1);
    demo_add(d, DEMO_SHAPE(HIDDEN, DIM), "blocks.%d.mlp.%s.proj_in_gate.weight", block, kind);
    demo_add(d, DEMO_SHAPE(HIDDEN, DIM), "blocks.%d.mlp.%s.proj_in.weight", block, kind);
    demo_add(d, DEMO_SHAPE(DIM, HIDDEN), "blocks.%d.mlp.%s.proj_out.weight", block, kind);
    for (int k = 0; k < 2; k++) {
        const char *half = k == 0 ? "attn" : "mlp";
        demo_add(d, DEMO_SHAPE(DIM), "blocks.%d.ada.%s.%s_shift", block, kind, half);
        demo_fill(demo_add(d, DEMO_SHAPE(DIM), "blocks.%d.ada.%s.%s_scale", block, kind, half), 1);
        demo_add(d, DEMO_SHAPE(DIM), "blocks.%d.ada.%s.%s_gate", block, kind, half);
    }
}

void demo_transformer(DemoTensors *d)
{
    const double scaling = 0.9152;  /* between the VAE's latents and the transformer's */
    const double constant = 64;     /* in the channels that fix the output norm */
    const double carried_sum = 1.8; /* energy taken for the carried channels: noise - condition, each */

    demo_add_layer(d, DEMO_SHAPE(DIM, PATCH * PATCH_CHANNELS), "vid_in.proj");
    demo_add_layer(d, DEMO_SHAPE(DIM, TEXT), "txt_in");
    demo_add_layer(d, DEMO_SHAPE(DIM, 256), "emb_in.proj_in");
    demo_add_layer(d, DEMO_SHAPE(DIM, DIM), "emb_in.proj_hid");
    demo_add_layer(d, DEMO_SHAPE(6 * DIM, DIM), "emb_in.proj_out");
    for (int block = 0; block < BLOCKS; block++) {
        bool last = block == BLOCKS - 1; /* blocks of separate weights first, then shared ones */
        add_block(d, block, last ? "all" : "vid");
        if (!last) add_block(d, block, "txt");
        double *freqs = demo_add(d, DEMO_SHAPE(FREQUENCIES), "blocks.%d.attn.rope.rope.freqs", block)->values;
        for (int i = 0; i < FREQUENCIES; i++) freqs[i] = pow(10000, -2.0 * i / (2 * FREQUENCIES));
    }
    demo_add(d, DEMO_SHAPE(DIM), "vid_out_norm.weight");
    demo_add(d, DEMO_SHAPE(DIM), "vid_out_ada.out_shift");
    demo_fill(demo_add(d, DEMO_SHAPE(DIM), "vid_out_ada.out_scale"), 1);
    demo_add_layer(d, DEMO_SHAPE(CARRIED, DIM), "vid_out.proj");

    DemoTensor *in = demo_find(d, "vid_in.proj.weight");
    for (int n = 0; n < PATCH; n++)
        for (int c = 0; c < LATENT; c++) {
            *demo_at(in, LATENT * n + c, PATCH_CHANNELS * n + c) = 1;
            *demo_at(in, LATENT * n + c, PATCH_CHANNELS * n + LATENT + c) = -1;
        }
    for (int k = CARRIED; k < DIM; k++) *demo_at(in, k, PATCH_CHANNELS - 1) = constant; /* the first position's mask */

    double *norm = demo_find(d, "vid_out_norm.weight")->values;
    DemoTensor *out = demo_find(d, "vid_out.proj.weight");
    double *bias = demo_find(d, "vid_out.proj.bias")->values;
    for (int k = 0; k < CARRIED; k++) {
        norm[k] = sqrt(((DIM - CARRIED) * constant * constant + CARRIED * carried_sum) / DIM);
        *demo_at(out, k, k) = 1;
        if (k % LATENT == 0) bias[k] = DEMO_LIFT * scaling;
    }
}
