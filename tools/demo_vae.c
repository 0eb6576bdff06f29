/*
 * A SeedVR2 VAE whose weights are computed instead of trained: real architecture, very narrow, and encode + decode of a
 * picture that was enlarged 4 times give back the picture, slightly sharpened.
 *
 * The idea. A source picture enlarged 4 times holds 2x2 source samples in each 8x8 pixels, the area of one latent. So
 * the encoder picks the samples out, applies an orthonormal transform to those of 4 pictures and keeps the 16 strongest
 * coefficients; the decoder transforms back and interpolates 4 times with filters of its own. Everything not set below
 * stays 0, so residual branches and attention add nothing, with one exception (repair_border). What needs thought is
 * getting numbers through GroupNorm and SiLU unharmed; each of the three norms in the way has its own trick.
 *
 * Convolution kernels are [out, in, t, y, x]; t = 2 is the present frame of 3, y = x = 1 the centre.
 */
#include <math.h>
#include <stdio.h>

#include "tools/demo_tensors.h"

enum { LATENT = 16, LEVELS = 4, COLOURS = 3, PAIR_VALUES = 6 /* two frames x three colours, value 3 f + c */ };

static const int WIDTH[LEVELS] = {32, 32, 64, 96}; /* 32 groups: 1, 1, 2, 3 channels a group */
static const double PI = 3.14159265358979323846;
static const double PICTURE_ENERGY = 0.25; /* mean square taken for a picture in [-1, 1] */

/* Latent `latent` also carries MIX times latent 0 of `back` latent frames ago, so that a memory lost between slices, in
 * either half, is seen in the pictures. */
static const struct {
    int latent, back;
} DELAYED[] = {{4, 1}, {8, 2}};
static const double MIX = 2;

/* ------------------------------------------------------------------------------------------------ names and shapes */

static void add_resnet(DemoTensors *d, const char *name, int in, int out)
{
    demo_add_layer(d, DEMO_SHAPE(in), "%s.norm1", name);
    demo_add_layer(d, DEMO_SHAPE(out, in, 3, 3, 3), "%s.conv1", name);
    demo_add_layer(d, DEMO_SHAPE(out), "%s.norm2", name);
    demo_add_layer(d, DEMO_SHAPE(out, out, 3, 3, 3), "%s.conv2", name);
    if (in != out) demo_add_layer(d, DEMO_SHAPE(out, in, 1, 1, 1), "%s.conv_shortcut", name);
}

static void add_mid_block(DemoTensors *d, const char *half, int channels)
{
    static const char *const linear[] = {"to_q", "to_k", "to_v", "to_out.0"};
    char name[64];
    snprintf(name, sizeof name, "%s.mid_block.resnets.0", half);
    add_resnet(d, name, channels, channels);
    demo_add_layer(d, DEMO_SHAPE(channels), "%s.mid_block.attentions.0.group_norm", half);
    for (int i = 0; i < 4; i++)
        demo_add_layer(d, DEMO_SHAPE(channels, channels), "%s.mid_block.attentions.0.%s", half, linear[i]);
    snprintf(name, sizeof name, "%s.mid_block.resnets.1", half);
    add_resnet(d, name, channels, channels);
}

/* One residual block a level in both halves; time is halved and doubled at the levels of the released network. */
static void add_networks(DemoTensors *d)
{
    char name[64];
    demo_add_layer(d, DEMO_SHAPE(WIDTH[0], COLOURS, 3, 3, 3), "encoder.conv_in");
    for (int i = 0; i < LEVELS; i++) {
        int channels = WIDTH[i];
        snprintf(name, sizeof name, "encoder.down_blocks.%d.resnets.0", i);
        add_resnet(d, name, WIDTH[i > 0 ? i - 1 : 0], channels);
        if (i < LEVELS - 1)
            demo_add_layer(d, DEMO_SHAPE(channels, channels, i == 0 ? 1 : 3, 3, 3),
                           "encoder.down_blocks.%d.downsamplers.0.conv", i);
    }
    add_mid_block(d, "encoder", WIDTH[3]);
    demo_add_layer(d, DEMO_SHAPE(WIDTH[3]), "encoder.conv_norm_out");
    demo_add_layer(d, DEMO_SHAPE(2 * LATENT, WIDTH[3], 3, 3, 3), "encoder.conv_out");

    demo_add_layer(d, DEMO_SHAPE(WIDTH[3], LATENT, 3, 3, 3), "decoder.conv_in");
    add_mid_block(d, "decoder", WIDTH[3]);
    for (int i = 0; i < LEVELS; i++) {
        int channels = WIDTH[3 - i];
        snprintf(name, sizeof name, "decoder.up_blocks.%d.resnets.0", i);
        add_resnet(d, name, WIDTH[i > 0 ? 4 - i : 3], channels);
        if (i == LEVELS - 1) break;
        demo_add_layer(d, DEMO_SHAPE(channels * (i < 2 ? 8 : 4), channels, 1, 1, 1),
                       "decoder.up_blocks.%d.upsamplers.0.upscale_conv", i);
        demo_add_layer(d, DEMO_SHAPE(channels, channels, 3, 3, 3), "decoder.up_blocks.%d.upsamplers.0.conv", i);
    }
    demo_add_layer(d, DEMO_SHAPE(WIDTH[0]), "decoder.conv_norm_out");
    demo_add_layer(d, DEMO_SHAPE(COLOURS, WIDTH[0], 3, 3, 3), "decoder.conv_out");
}

/* Weight and bias of one layer. */
typedef struct Layer {
    DemoTensor *weight;
    double *bias;
} Layer;

static Layer layer(DemoTensors *d, const char *name)
{
    char full[112];
    snprintf(full, sizeof full, "%s.bias", name);
    double *bias = demo_find(d, full)->values;
    snprintf(full, sizeof full, "%s.weight", name);
    return (Layer){demo_find(d, full), bias};
}

/* ------------------------------------------------------------------------------------------------------- transform */

/* What latent k stands for: a row of each of the four small transforms below. */
typedef struct Coefficient {
    int time, colour, row, column;
    double gain; /* latent = gain * coefficient; brings the strong ones to the size of the others */
} Coefficient;

/* Twelve of the mean over the four pictures: all three colour axes, all four of the 2x2; then, of luma alone, the first
 * cosine over time. */
static Coefficient coefficient(int k)
{
    Coefficient c = {k / 12, k / 4 % 3, k / 2 % 2, k % 2, 2};
    bool flat = c.time == 0 && c.row == 0 && c.column == 0;
    if (flat) c.gain = c.colour == 0 ? 0.5 : 1;
    return c;
}

/* Share of the sample (picture f of 4, colour c, row i, column j of the 2x2) in coefficient k. Orthonormal, so the same
 * numbers transform back. */
static double basis(int k, int f, int c, int i, int j)
{
    static const double axis[COLOURS][COLOURS] = {{1, 1, 1}, {1, 0, -1}, {1, -2, 1}};
    static const double energy[COLOURS] = {3, 2, 6};
    Coefficient a = coefficient(k);
    double time = a.time == 0 ? 0.5 : sqrt(2.0) * cos((2 * f + 1) * PI / 8) / 2;
    double colour = axis[a.colour][c] / sqrt(energy[a.colour]);
    double row = (a.row * i == 1 ? -1 : 1) / sqrt(2.0);
    double column = (a.column * j == 1 ? -1 : 1) / sqrt(2.0);
    return time * colour * row * column;
}

/* --------------------------------------------------------------------------------------------------------- encoder */

/* Find the source samples again and transform them: 16 coefficients in channels 0..15 after the last downsampler. */
static void encode_samples(DemoTensors *d)
{
    Layer in = layer(d, "encoder.conv_in");
    Layer half = layer(d, "encoder.down_blocks.0.downsamplers.0.conv");
    Layer quarter = layer(d, "encoder.down_blocks.1.downsamplers.0.conv");
    Layer widen = layer(d, "encoder.down_blocks.2.resnets.0.conv_shortcut");
    Layer eighth = layer(d, "encoder.down_blocks.2.downsamplers.0.conv");

    for (int c = 0; c < COLOURS; c++) {
        *demo_tap(in.weight, c, c, 2, 1, 1) = 1;
        /* The centre of a source sample lies between pixels 1 and 2 of its four: their mean. */
        for (int y = 1; y <= 2; y++)
            for (int x = 1; x <= 2; x++) *demo_tap(half.weight, c, c, 0, y, x) = 0.25;
        /* Every second position holds a sample; both frames of a pair become channels. */
        for (int f = 0; f < 2; f++) *demo_tap(quarter.weight, 3 * f + c, c, 1 + f, 0, 0) = 1;
    }
    for (int s = 0; s < PAIR_VALUES; s++) *demo_at(widen.weight, s, s) = 1;
    for (int k = 0; k < LATENT; k++)
        for (int f = 0; f < 4; f++)
            for (int c = 0; c < COLOURS; c++)
                for (int i = 0; i < 2; i++)
                    for (int j = 0; j < 2; j++)
                        *demo_tap(eighth.weight, k, 3 * (f % 2) + c, 1 + f / 2, i, j) =
                            basis(k, f, c, i, j) * coefficient(k).gain;
}

/*
 * Through the output norm. Groups of three channels hold (y, -y, C) with C so large that mean and variance hardly
 * depend on y; the norm's weight and bias then undo them. SiLU after it goes by silu(a) - silu(-a) = a, exact for any
 * a.
 */
static void encode_output(DemoTensors *d)
{
    const double constant = 128, gain = 1.0 / 8;
    double sigma = sqrt((2 * PICTURE_ENERGY * 4 + constant * constant * 2 / 3) / 3); /* y's energy: about 1 */

    Layer triple = layer(d, "encoder.down_blocks.3.resnets.0.conv_shortcut");
    Layer norm = layer(d, "encoder.conv_norm_out");
    Layer out = layer(d, "encoder.conv_out");
    for (int k = 0; k < LATENT; k++) {
        for (int s = 0; s < 2; s++) {
            double sign = s == 0 ? 1 : -1;
            *demo_at(triple.weight, 3 * k + s, k) = sign;
            norm.weight->values[3 * k + s] = gain * sigma;
            norm.bias[3 * k + s] = gain * constant / 3;
            *demo_tap(out.weight, k, 3 * k + s, 2, 1, 1) = sign / gain;
        }
        triple.bias[3 * k + 2] = constant;
        out.bias[LATENT + k] = -20; /* log-variance: a sampled latent would be the mean all the same */
    }
    out.bias[0] = DEMO_LIFT;

    Layer decoder_in = layer(d, "decoder.conv_in");
    for (size_t i = 0; i < sizeof DELAYED / sizeof *DELAYED; i++) {
        int k = DELAYED[i].latent, t = 2 - DELAYED[i].back;
        *demo_tap(out.weight, k, 0, t, 1, 1) = MIX / gain;
        *demo_tap(out.weight, k, 1, t, 1, 1) = -MIX / gain;
        *demo_tap(decoder_in.weight, k, 0, t, 1, 1) = -MIX;
    }
}

/* ----------------------------------------------------------------------------------------------- decoder: 1/4 grid */

/* Row of an upsampler's 1x1x1 convolution that becomes channel 0 of fine position (i, j), sub-frame dt of `frames`. */
static int fine_row(int i, int j, int dt, int frames, int channels)
{
    return ((i * 2 + j) * frames + dt) * channels;
}

/*
 * Channels of the 1/4 grid, behind the first upsampler: 32 groups of three, as the norm of the next block sees them.
 * Group s < 6: value s, its negative, and a checkerboard. Group 6: the constant 1, its negative, the checkerboard.
 * Behind them, for each of the eight neighbours, its six values and its constant, which is 0 outside the picture.
 */
enum { ONE = 18, MINUS_ONE = 19, ONE_WAVE = 20, NEIGHBOURS = 21, NEIGHBOUR_STEP = 8 };
static const double WAVE = 16; /* height of the checkerboard within those groups */

static int plus(int s)
{
    return 3 * s;
}

static int minus(int s)
{
    return 3 * s + 1;
}

static int wave(int s)
{
    return 3 * s + 2;
}

/* Neighbours in row-major order, (0, 0) among them. */
static int ring(int dy, int dx)
{
    return 3 * (dy + 1) + dx + 1;
}

/* First channel of the values of neighbour (dy, dx), which is not (0, 0); the constant's copy is six further. */
static int neighbour(int dy, int dx)
{
    int n = ring(dy, dx);
    return NEIGHBOURS + NEIGHBOUR_STEP * (n > 4 ? n - 1 : n);
}

/* Transform back, to 1/4 size, and lay out the channels above. */
static void decode_samples(DemoTensors *d)
{
    Layer in = layer(d, "decoder.conv_in");
    for (int k = 0; k < LATENT; k++) *demo_tap(in.weight, k, k, 2, 1, 1) = 1;

    enum { CONSTANT = 6, CHECKER = 7 };
    Layer up = layer(d, "decoder.up_blocks.0.upsamplers.0.upscale_conv");
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            for (int dt = 0; dt < 2; dt++) {
                int row = fine_row(i, j, dt, 2, WIDTH[3]);
                for (int f = 0; f < 2; f++)
                    for (int c = 0; c < COLOURS; c++)
                        for (int k = 0; k < LATENT; k++)
                            *demo_at(up.weight, row + 3 * f + c, k) =
                                basis(k, 2 * dt + f, c, i, j) / coefficient(k).gain;
                up.bias[row + CONSTANT] = 1;
                up.bias[row + CHECKER] = (i + j) % 2 == 0 ? 1 : -1;
            }

    DemoTensor *lay = layer(d, "decoder.up_blocks.0.upsamplers.0.conv").weight;
    for (int s = 0; s < PAIR_VALUES + 1; s++) { /* the constant is value 6, its group too */
        *demo_tap(lay, plus(s), s, 2, 1, 1) = 1;
        *demo_tap(lay, minus(s), s, 2, 1, 1) = -1;
        *demo_tap(lay, wave(s), CHECKER, 2, 1, 1) = WAVE;
    }
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            for (int s = 0; (dy != 0 || dx != 0) && s < PAIR_VALUES + 1; s++)
                *demo_tap(lay, neighbour(dy, dx) + s, s, 2, 1 + dy, 1 + dx) = 1;
}

/*
 * Behind the block, channel place(dy, dx) + s of each position holds value s of neighbour (dy, dx). Beyond the
 * picture's border the convolution found zeros, mid-grey, which would leave a grey frame 2 pixels wide. So the residual
 * branch works here: hidden values that are 0 everywhere but at a border fill in the border sample's own value.
 */
static int place(int dy, int dx)
{
    return PAIR_VALUES * ring(dy, dx);
}

static void repair_border(DemoTensors *d)
{
    static const struct {
        int dy, dx;
    } side[4] = {{0, -1}, {0, 1}, {-1, 0}, {1, 0}};
    const double twin = 64; /* checkerboard in a hidden channel's twin: fixes the group's variance */
    const double push = 8;  /* the hidden value's factor before SiLU */

    Layer norm1 = layer(d, "decoder.up_blocks.1.resnets.0.norm1");
    Layer conv1 = layer(d, "decoder.up_blocks.1.resnets.0.conv1");
    Layer norm2 = layer(d, "decoder.up_blocks.1.resnets.0.norm2");
    Layer conv2 = layer(d, "decoder.up_blocks.1.resnets.0.conv2");
    Layer shortcut = layer(d, "decoder.up_blocks.1.resnets.0.conv_shortcut");

    /* The groups' deviations are known by construction; multiplying by them makes the norm the identity. */
    double value_sigma = sqrt((2 * PICTURE_ENERGY + WAVE * WAVE) / 3), one_sigma = sqrt((2 + WAVE * WAVE) / 3);
    for (int s = 0; s < PAIR_VALUES; s++) norm1.weight->values[plus(s)] = norm1.weight->values[minus(s)] = value_sigma;
    norm1.weight->values[ONE] = norm1.weight->values[MINUS_ONE] = one_sigma;
    norm1.weight->values[ONE_WAVE] = one_sigma / WAVE;

    /*
     * h = S + 2 - 5 O: S the value, O the constant's copy on that side. Inside (O = 1) that is about S - 3, at the
     * border S + 2. Pairs (x, -x) bring them through the first SiLU; the checkerboard, which has no pair, arrives with
     * the even part of silu(+-1) and is corrected for it. Times `push`, the second SiLU is a switch: 0 inside, the
     * identity at the border.
     */
    double even_part = 1 / (1 + exp(-1.0)) - 0.5;
    for (int n = 0; n < 4; n++)
        for (int s = 0; s < PAIR_VALUES; s++) {
            int h = 2 * (PAIR_VALUES * n + s); /* its group: h and its twin, -h plus the checkerboard */
            for (int half = 0; half < 2; half++) {
                double sign = half == 0 ? 1 : -1;
                *demo_tap(conv1.weight, h + half, plus(s), 2, 1, 1) = sign;
                *demo_tap(conv1.weight, h + half, minus(s), 2, 1, 1) = -sign;
                *demo_tap(conv1.weight, h + half, ONE, 2, 1 + side[n].dy, 1 + side[n].dx) = -5 * sign;
                *demo_tap(conv1.weight, h + half, MINUS_ONE, 2, 1 + side[n].dy, 1 + side[n].dx) = 5 * sign;
                conv1.bias[h + half] = 2 * sign;
            }
            *demo_tap(conv1.weight, h + 1, ONE_WAVE, 2, 1, 1) = 2 * twin;
            conv1.bias[h + 1] -= 2 * twin * even_part;
            norm2.weight->values[h] = push * sqrt(9 + PICTURE_ENERGY + twin * twin / 2); /* E[h^2] about 9 + E[S^2] */
        }

    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            for (int s = 0; s < PAIR_VALUES; s++)
                *demo_at(shortcut.weight, place(dy, dx) + s, dy == 0 && dx == 0 ? plus(s) : neighbour(dy, dx) + s) = 1;

    /*
     * Beyond side n lie three neighbours (ey, ex); each takes the hidden value of the position one step back inside,
     * (ty, tx). It comes as S + 2, so 2 is taken off where, and only where, it was added: outside at (ey, ex) but
     * inside at (ty, tx), which is 2 O(e) - 2 O(t), and O of the position itself is 1.
     */
    for (int n = 0; n < 4; n++)
        for (int along = -1; along <= 1; along++) {
            int ey = side[n].dy != 0 ? side[n].dy : along, ex = side[n].dx != 0 ? side[n].dx : along;
            int ty = ey - side[n].dy, tx = ex - side[n].dx;
            for (int s = 0; s < PAIR_VALUES; s++) {
                int to = place(ey, ex) + s, hidden = 2 * (PAIR_VALUES * n + s);
                *demo_tap(conv2.weight, to, hidden, 2, 1 + ty, 1 + tx) += 1 / push;
                *demo_at(shortcut.weight, to, neighbour(ey, ex) + PAIR_VALUES) += 2;
                if (along == 0)
                    shortcut.bias[to] -= 2;
                else
                    *demo_at(shortcut.weight, to, neighbour(ty, tx) + PAIR_VALUES) -= 2;
            }
        }
}

/* -------------------------------------------------------------------------------------- decoder: 1/2 and full grid */

/*
 * All of the fourfold interpolation in one matrix: each position knows its nine samples and makes its 4x4 pixels, 2x2
 * of them in each of the four fine positions. Taps by phase 0..3, sixteenths: least squares on the sample frames (which
 * were made by area averaging), rounded.
 */
static void interpolate(DemoTensors *d)
{
    static const double tap[4][3] = {{5, 14, -3}, {0, 19, -3}, {-3, 19, 0}, {-3, 14, 5}};
    DemoTensor *up = layer(d, "decoder.up_blocks.1.upsamplers.0.upscale_conv").weight;
    for (int py = 0; py < 4; py++)
        for (int px = 0; px < 4; px++)
            for (int dt = 0; dt < 2; dt++)
                for (int c = 0; c < COLOURS; c++) {
                    int row = fine_row(py / 2, px / 2, dt, 2, WIDTH[2]) + 3 * (2 * (py % 2) + px % 2) + c;
                    for (int dy = -1; dy <= 1; dy++)
                        for (int dx = -1; dx <= 1; dx++)
                            *demo_at(up, row, place(dy, dx) + 3 * dt + c) =
                                tap[py][dy + 1] / 16 * (tap[px][dx + 1] / 16);
                }

    DemoTensor *pass = layer(d, "decoder.up_blocks.1.upsamplers.0.conv").weight;
    DemoTensor *shortcut = layer(d, "decoder.up_blocks.2.resnets.0.conv_shortcut").weight;
    for (int m = 0; m < 4 * COLOURS; m++) {
        *demo_tap(pass, m, m, 2, 1, 1) = 1;
        *demo_at(shortcut, m, m) = 1;
    }
}

/*
 * Full size, one channel a group: the norm takes mean and contrast of the whole picture away. So a channel shows its
 * pixel at only one of the four 2x2 phases, and at the three others multiples of theirs plus constants, by class
 * (itself, beside, below, across): sums of factors, and of factor times level, are 0 and squares add up to 6, hence
 * mean -level and variance level^2 / 2 + 1.5 E[pixel^2] for any picture. The norm's bias then lifts class 0 to where
 * SiLU is the identity and leaves the others below -300, where it is 0. A second, blank set of channels does the same
 * with factor 0 at class 0 and is subtracted, which takes the lift off again.
 */
static void show_phases(DemoTensors *d)
{
    const double level = 16, gain = 32, lift = 48;
    const double factor[2][4] = {{1, -2, 1, 0}, {0, sqrt(3.0), 0, -sqrt(3.0)}};
    const double constant[4] = {0, -level, -2 * level, -level};

    Layer up = layer(d, "decoder.up_blocks.2.upsamplers.0.upscale_conv");
    Layer pass = layer(d, "decoder.up_blocks.2.upsamplers.0.conv");
    Layer norm = layer(d, "decoder.conv_norm_out");
    Layer out = layer(d, "decoder.conv_out");
    for (int set = 0; set < 2; set++)
        for (int phase = 0; phase < 4; phase++)
            for (int c = 0; c < COLOURS; c++) {
                int channel = 12 * set + 3 * phase + c;
                for (int i = 0; i < 2; i++)
                    for (int j = 0; j < 2; j++) {
                        int class = 2 * (i ^ phase / 2) + (j ^ phase % 2);
                        int row = fine_row(i, j, 0, 1, WIDTH[0]) + channel;
                        *demo_at(up.weight, row, 3 * (2 * i + j) + c) = factor[set][class];
                        up.bias[row] = constant[class];
                    }
                *demo_tap(pass.weight, channel, channel, 2, 1, 1) = 1;
                norm.weight->values[channel] = gain * sqrt(level * level / 2 + 1.5 * PICTURE_ENERGY);
                norm.bias[channel] = lift - gain * level;
                *demo_tap(out.weight, c, channel, 2, 1, 1) = (set == 0 ? 1 : -1) / gain;
            }
}

void demo_vae(DemoTensors *d)
{
    add_networks(d);
    encode_samples(d);
    encode_output(d);
    decode_samples(d);
    repair_border(d);
    interpolate(d);
    show_phases(d);
}
