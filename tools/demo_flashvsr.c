/*
 * FlashVSR's networks, computed instead of trained: real architectures, very narrow.
 *
 * The transformer predicts v = noise, so the latents come out as 0; the picture is made by the TCDecoder from its
 * condition, the enlarged input: it takes the source samples out again and interpolates them by the only means its
 * layers offer, nearest upsampling and 3x3 convolutions. Latents enter the picture at a quarter, so noise in the picture
 * means that the transformer went wrong. Everything not set below stays 0.
 *
 * Convolution kernels of the decoder are [out, in, y, x]; y = x = 1 is the centre.
 */
#include <math.h>

#include "tools/demo_tensors.h"

enum { LATENT = 16, PATCH = 2, COLOURS = 3 };
enum { DIM = 256, BLOCKS = 2, FEED_FORWARD = 64, TEXT = 64, WORDS = 8, PROJECTED = 16 };

/* ----------------------------------------------------------------------------------------- transformer, projection */

static void add_attention(DemoTensors *d, int block, const char *kind)
{
    for (const char *part = "qkvo"; *part; part++)
        demo_add_layer(d, DEMO_SHAPE(DIM, DIM), "blocks.%d.%s.%c", block, kind, *part);
    demo_fill(demo_add(d, DEMO_SHAPE(DIM), "blocks.%d.%s.norm_q.weight", block, kind), 1);
    demo_fill(demo_add(d, DEMO_SHAPE(DIM), "blocks.%d.%s.norm_k.weight", block, kind), 1);
}

static void add_block(DemoTensors *d, int block)
{
    demo_add(d, DEMO_SHAPE(1, 6, DIM), "blocks.%d.modulation", block);
    add_attention(d, block, "self_attn");
    add_attention(d, block, "cross_attn");
    demo_fill(demo_add(d, DEMO_SHAPE(DIM), "blocks.%d.norm3.weight", block), 1);
    demo_add(d, DEMO_SHAPE(DIM), "blocks.%d.norm3.bias", block);
    demo_add_layer(d, DEMO_SHAPE(FEED_FORWARD, DIM), "blocks.%d.ffn.0", block);
    demo_add_layer(d, DEMO_SHAPE(DIM, FEED_FORWARD), "blocks.%d.ffn.2", block);
}

/*
 * v = noise. A token's 64 latent values n go in as n and -n beside as many constants +c and -c: the mean is then 0, and
 * the variance, (1 + c^2) / 2 for n of unit energy, hardly depends on n; the head's weight is its root. The blocks run
 * but add nothing.
 */
static void add_transformer(DemoTensors *d)
{
    enum { CARRIED = PATCH * PATCH * LATENT };
    const double constant = 32;

    demo_add_layer(d, DEMO_SHAPE(DIM, LATENT, 1, PATCH, PATCH), "patch_embedding");
    demo_add(d, DEMO_SHAPE(1, 2, DIM), "head.modulation");
    demo_add_layer(d, DEMO_SHAPE(CARRIED, DIM), "head.head");
    demo_add_layer(d, DEMO_SHAPE(DIM, TEXT), "text_embedding.0");
    demo_add_layer(d, DEMO_SHAPE(DIM, DIM), "text_embedding.2");
    demo_add_layer(d, DEMO_SHAPE(DIM, 256), "time_embedding.0");
    demo_add_layer(d, DEMO_SHAPE(DIM, DIM), "time_embedding.2");
    demo_add_layer(d, DEMO_SHAPE(6 * DIM, DIM), "time_projection.1");
    for (int block = 0; block < BLOCKS; block++) add_block(d, block);

    DemoTensor *in = demo_find(d, "patch_embedding.weight");
    DemoTensor *out = demo_find(d, "head.head.weight");
    for (int row = 0; row < PATCH; row++)
        for (int column = 0; column < PATCH; column++)
            for (int c = 0; c < LATENT; c++) {
                int n = (row * PATCH + column) * LATENT + c;
                *demo_tap(in, n, c, 0, row, column) = 1;
                *demo_tap(in, CARRIED + n, c, 0, row, column) = -1;
                *demo_at(out, n, n) = sqrt((1 + constant * constant) / 2);
            }
    double *bias = demo_find(d, "patch_embedding.bias")->values;
    for (int n = 0; n < CARRIED; n++) {
        bias[2 * CARRIED + n] = constant;
        bias[3 * CARRIED + n] = -constant;
    }
}

/* Adds 0 to the tokens of the first block. */
static void add_projection(DemoTensors *d)
{
    enum { FOLDED = COLOURS * 16 * 16 };
    demo_add_layer(d, DEMO_SHAPE(PROJECTED, FOLDED, 4, 3, 3), "conv1");
    demo_fill(demo_add(d, DEMO_SHAPE(PROJECTED, 1, 1, 1), "norm1.gamma"), 1);
    demo_add_layer(d, DEMO_SHAPE(PROJECTED, PROJECTED, 4, 3, 3), "conv2");
    demo_fill(demo_add(d, DEMO_SHAPE(PROJECTED, 1, 1, 1), "norm2.gamma"), 1);
    demo_add_layer(d, DEMO_SHAPE(DIM, PROJECTED), "linear_layers.0");
}

/* ------------------------------------------------------------------------------------------------ TCDecoder: layout */

enum { STAGES = 3, BLOCKS_A_STAGE = 3, STAGE_ENTRIES = 6, FIRST_BLOCK = 5 };
enum { FRAMES = 4, CELL = 8, CONDITION = COLOURS * FRAMES * CELL * CELL }; /* folded: 4 frames, 8x8 pixels a cell */
enum { VALUES = COLOURS * FRAMES };                                        /* what a fine position of a cell holds */

/* The first has room for 9 products of VALUES, each with its negative. */
static const int WIDTH[STAGES + 1] = {9 * VALUES * 2, 24, 16, 24};

static void add_decoder(DemoTensors *d)
{
    static const int stride[STAGES] = {1, 2, 2}; /* frames made of one */
    demo_add_layer(d, DEMO_SHAPE(WIDTH[0], CONDITION + LATENT, 3, 3), "decoder.1");
    demo_add(d, DEMO_SHAPE(WIDTH[0], WIDTH[0], 3, 3), "decoder.3.weight");
    for (int i = 0; i < STAGES; i++) {
        int width = WIDTH[i], first = FIRST_BLOCK + i * STAGE_ENTRIES, grow = first + BLOCKS_A_STAGE + 1;
        for (int n = first; n < first + BLOCKS_A_STAGE; n++) {
            demo_add_layer(d, DEMO_SHAPE(width, 2 * width, 3, 3), "decoder.%d.conv.0", n);
            demo_add_layer(d, DEMO_SHAPE(width, width, 3, 3), "decoder.%d.conv.2", n);
            demo_add_layer(d, DEMO_SHAPE(width, width, 3, 3), "decoder.%d.conv.4", n);
        }
        demo_add(d, DEMO_SHAPE(stride[i] * width, width, 1, 1), "decoder.%d.conv.weight", grow);
        demo_add(d, DEMO_SHAPE(WIDTH[i + 1], width, 3, 3), "decoder.%d.weight", grow + 1);
    }
    demo_add(d, DEMO_SHAPE(WIDTH[3], WIDTH[3], 3, 3), "decoder.24.weight");
    demo_add_layer(d, DEMO_SHAPE(COLOURS, WIDTH[3], 3, 3), "decoder.26");
}

static double *kernel_at(DemoTensor *t, int out, int in, int y, int x)
{
    return demo_tap(t, out, in, y, x, 0);
}

/* `value` from channel plus - minus to outputs plus and minus = -plus: values pass the ReLUs as pairs (x, -x), of which
 * one is 0, so that their difference is x. */
static void set_pair(DemoTensor *t, const int out[2], const int in[2], int y, int x, double value)
{
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) *kernel_at(t, out[i], in[j], y, x) = i == j ? value : -value;
}

static void set_identity(DemoTensors *d, const char *name, int channels, int centre)
{
    DemoTensor *t = demo_find(d, name);
    for (int v = 0; v < channels; v++) *kernel_at(t, v, v, centre, centre) = 1;
}

/* ------------------------------------------------------------------------------------- TCDecoder: 8x8 cells to 4x4 */

/*
 * Along one axis a cell h of 8 pixels holds 2 source samples. After nearest upsampling and a 3x3 convolution its two
 * fine positions are T0(h-1) + T1(h) + T2(h) and T0(h) + T1(h) + T2(h+1), whatever the weights; so interpolation goes
 * into the T, filters of the 6 source samples 2h-2 .. 2h+3 of three cells. In 64ths; least squares on the sample
 * frames, under the condition that constants come out as constants.
 */
enum { SAMPLES = 6 };
static const int FILTER[3][SAMPLES] = {{-8, 8, -26, 26, 8, -8}, {20, -20, 32, 32, -20, 20}, {-8, 8, 26, -26, 8, -8}};

/* Channels of value v in product (ty, tx), and of its negative. */
static void product_channels(int ty, int tx, int v, int out[2])
{
    out[0] = (ty * 3 + tx) * VALUES + v;
    out[1] = 9 * VALUES + out[0];
}

/* Channels of the samples in 3x3 cells of the folded condition: a sample is 4x4 pixels, taken as the mean of the middle
 * 2x2 of them. */
static void filter_samples(DemoTensor *t, int ty, int tx, int v)
{
    int out[2];
    product_channels(ty, tx, v, out);
    for (int a = 0; a < SAMPLES; a++)
        for (int b = 0; b < SAMPLES; b++)
            for (int y = 1; y <= 2; y++)
                for (int x = 1; x <= 2; x++) {
                    int in = (v * CELL + 4 * (a % 2) + y) * CELL + 4 * (b % 2) + x;
                    double share = FILTER[ty][a] / 64.0 * (FILTER[tx][b] / 64.0) / 4;
                    *kernel_at(t, out[0], in, a / 2, b / 2) = share;
                    *kernel_at(t, out[1], in, a / 2, b / 2) = -share;
                }
}

static void interpolate_cells(DemoTensors *d)
{
    DemoTensor *filters = demo_find(d, "decoder.1.weight");
    DemoTensor *collect = demo_find(d, "decoder.10.weight");
    for (int ty = 0; ty < 3; ty++)
        for (int tx = 0; tx < 3; tx++)
            for (int v = 0; v < VALUES; v++) {
                int from[2], to[2] = {v, VALUES + v};
                product_channels(ty, tx, v, from);
                filter_samples(filters, ty, tx, v);
                set_pair(collect, to, from, ty, tx, 1);
            }
    for (int v = 0; v < VALUES; v++) { /* the latents, which ought to be 0 */
        int out[2];
        product_channels(1, 1, v, out);
        *kernel_at(filters, out[0], CONDITION + v, 1, 1) = 0.25;
        *kernel_at(filters, out[1], CONDITION + v, 1, 1) = -0.25;
    }
    set_identity(d, "decoder.3.weight", WIDTH[0], 1);
    set_identity(d, "decoder.9.conv.weight", WIDTH[0], 0);
}

/* ------------------------------------------------------------------------- TCDecoder: frames apart, 4x4 to 1x1 pixels */

/* Two frames' values and their negatives, then a constant 1; the same of one frame. */
enum { PAIR = 2, PAIR_CHANNELS = 2 * COLOURS * PAIR, PAIR_ONE = PAIR_CHANNELS };
enum { FRAME_CHANNELS = 2 * COLOURS, FRAME_ONE = FRAME_CHANNELS };

/* Four frames become two times two (entry 15), then each two single ones (21). */
static void separate_frames(DemoTensors *d)
{
    DemoTensor *pairs = demo_find(d, "decoder.15.conv.weight");
    DemoTensor *single = demo_find(d, "decoder.21.conv.weight");
    for (int s = 0; s < 2; s++) {
        for (int sign = 0; sign < 2; sign++)
            for (int c = 0; c < COLOURS; c++) {
                for (int f = 0; f < PAIR; f++)
                    *demo_at(pairs, WIDTH[1] * s + (sign * COLOURS + c) * PAIR + f,
                             sign * VALUES + c * FRAMES + s * PAIR + f) = 1;
                *demo_at(single, WIDTH[2] * s + sign * COLOURS + c, (sign * COLOURS + c) * PAIR + s) = 1;
            }
        *demo_at(single, WIDTH[2] * s + FRAME_ONE, PAIR_ONE) = 1;
    }
}

/* With nearest upsampling before it, [1, 2, 1] / 4 both ways interpolates linearly. */
static void smooth(DemoTensor *t, int values)
{
    static const double linear[3] = {0.25, 0.5, 0.25};
    for (int y = 0; y < 3; y++)
        for (int x = 0; x < 3; x++)
            for (int v = 0; v < values; v++) {
                const int channels[2] = {v, v + values};
                set_pair(t, channels, channels, y, x, linear[y] * linear[x]);
            }
}

/*
 * `out` = relu(value + 4 - 4 one(left) - 4 one(right)), or above and below: the zero padding has no 1, so the value comes
 * through in the outermost line alone, where the smoothing lost a quarter of it to the padding.
 */
static void pick_border(DemoTensor *t, int out, int value, int one, bool columns)
{
    int dy = columns ? 0 : 1, dx = columns ? 1 : 0;
    *kernel_at(t, out, value, 1, 1) = 1;
    *kernel_at(t, out, one, 1 - dy, 1 - dx) = -4;
    *kernel_at(t, out, one, 1 + dy, 1 + dx) = -4;
}

/* A third of the border's 3/4 on top makes it whole. */
static void repair_border(DemoTensors *d)
{
    static const char *const in[2] = {"decoder.18.conv.0.weight", "decoder.19.conv.0.weight"};
    static const char *const offset[2] = {"decoder.18.conv.0.bias", "decoder.19.conv.0.bias"};
    static const char *const through[2] = {"decoder.18.conv.2.weight", "decoder.19.conv.2.weight"};
    static const char *const out[2] = {"decoder.18.conv.4.weight", "decoder.19.conv.4.weight"};
    demo_find(d, "decoder.17.conv.4.bias")->values[PAIR_ONE] = 1;
    for (int axis = 0; axis < 2; axis++) {
        set_identity(d, through[axis], PAIR_CHANNELS, 1);
        for (int v = 0; v < PAIR_CHANNELS; v++) {
            pick_border(demo_find(d, in[axis]), v, v, PAIR_ONE, axis == 0);
            demo_find(d, offset[axis])->values[v] = 4;
            *kernel_at(demo_find(d, out[axis]), v, v, 1, 1) = 1.0 / 3;
        }
    }
}

/* The same at full size, in the two layers that are left there: entry 24 picks, 26 adds and takes the differences. */
static void finish_picture(DemoTensors *d)
{
    const double gain = 1.015; /* the latents' clamp, 3 tanh(x / 3), stands before the condition too */
    DemoTensor *pick = demo_find(d, "decoder.24.weight");
    DemoTensor *out = demo_find(d, "decoder.26.weight");
    *kernel_at(demo_find(d, "decoder.22.weight"), FRAME_ONE, FRAME_ONE, 1, 1) = 1;
    for (int v = 0; v < FRAME_CHANNELS; v++) {
        *kernel_at(pick, v, v, 1, 1) = 1;
        for (int axis = 0; axis < 2; axis++) {
            int border = (axis + 1) * FRAME_CHANNELS + v;
            pick_border(pick, border, v, FRAME_ONE, axis == 0);
            *kernel_at(pick, border, FRAME_ONE, 1, 1) = 4; /* no bias here */
        }
    }
    for (int c = 0; c < COLOURS; c++)
        for (int part = 0; part < 3; part++) {
            double share = gain / 2 / (part == 0 ? 1 : 3);
            *kernel_at(out, c, part * FRAME_CHANNELS + c, 1, 1) = share;
            *kernel_at(out, c, part * FRAME_CHANNELS + COLOURS + c, 1, 1) = -share;
        }
    demo_fill(demo_find(d, "decoder.26.bias"), 0.5);
}

/* ----------------------------------------------------------------------------------------------------------- family */

void demo_flashvsr(DemoTensors *d)
{
    d->prefix = "model.diffusion_model.";
    add_transformer(d);
    d->prefix = "LQ_proj_in.";
    add_projection(d);
    d->prefix = "TCDecoder.";
    add_decoder(d);
    interpolate_cells(d);
    separate_frames(d);
    smooth(demo_find(d, "decoder.16.weight"), COLOURS * PAIR);
    smooth(demo_find(d, "decoder.22.weight"), COLOURS);
    repair_border(d);
    finish_picture(d);
}
