#include "runtime/options.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const upres_options DEFAULTS = {
    .batch_size = 5,
    .seed = 42,
    .steps = 1,
    .guidance = 1,
    .color = UPRES_COLOR_AUTO,
    .strength = 1,
    .alpha = UPRES_ALPHA_AUTO,
    .dither = -1,
    .vae_encode_tile = UPRES_TILE_AUTO,
    .vae_decode_tile = UPRES_TILE_AUTO,
    .vae_encode_tile_overlap = UPRES_TILE_OVERLAP_AUTO,
    .vae_decode_tile_overlap = UPRES_TILE_OVERLAP_AUTO,
    .device = UPRES_DEVICE_AUTO,
    .precision = UPRES_PRECISION_AUTO,
    .tile_overlap = -1,
};

static const char *const PRECISION_NAMES[] = {"auto", "fp32", "fp16", "bf16", "int8", "fp8", "fp8x3"};

void upres_options_default(upres_options *o, size_t size)
{
    if (!o || size < sizeof o->struct_size) return;
    memset(o, 0, size); /* a newer caller's further fields: 0 is what an older library would do */
    memcpy(o, &DEFAULTS, size < sizeof DEFAULTS ? size : sizeof DEFAULTS);
    o->struct_size = (uint32_t)size;
}

static bool within(Fault *f, const char *option, int64_t value, int64_t low, int64_t high)
{
    if (value >= low && value <= high) return true;
    fault(f, UPRES_E_ARGUMENT, "%s is %lld, outside its range; give a whole number from %lld to %lld", option,
          (long long)value, (long long)low, (long long)high);
    return false;
}

static bool within_real(Fault *f, const char *option, double value, double low, double high)
{
    if (value >= low && value <= high) return true; /* not a number: false */
    fault(f, UPRES_E_ARGUMENT, "%s is %g, outside its range; give a number from %g to %g", option, value, low, high);
    return false;
}

static bool refuse(Fault *f, const char *sentence)
{
    fault(f, UPRES_E_ARGUMENT, "%s", sentence);
    return false;
}

static bool check_size(const upres_options *o, Fault *f)
{
    bool fit = o->fit_width != 0 || o->fit_height != 0;
    if ((o->scale != 0) + (o->resolution != 0) + fit > 1)
        return refuse(f, "--scale, --resolution and --fit exclude one another, but more than one is set; keep one");
    if (o->scale != 0 && !within_real(f, "--scale", o->scale, 1, 8)) return false;
    if (o->resolution != 0 && !within(f, "--resolution", o->resolution, 16, 16384)) return false;
    if (fit && (!within(f, "the width of --fit", o->fit_width, 16, 16384) ||
                !within(f, "the height of --fit", o->fit_height, 16, 16384)))
        return false;
    if (o->max_resolution != 0 && !within(f, "--max-resolution", o->max_resolution, 16, INT32_MAX)) return false;
    if (fit && o->max_resolution)
        return refuse(f, "--max-resolution caps the shorter-side rule and cannot go with --fit; leave one out");
    return within(f, "--resize (0 once, 1 parity)", o->resize_parity, 0, 1) &&
           within(f, "--pad (0 black, 1 edge)", o->pad_edge, 0, 1);
}

static bool check_time(const upres_options *o, Fault *f)
{
    if (!within(f, "--batch-size", o->batch_size, 1, 1025)) return false;
    if (o->overlap < 0 || o->overlap >= o->batch_size) {
        fault(f, UPRES_E_ARGUMENT,
              "--overlap is %d with --batch-size %d; neighbouring batches share from 0 to %d frames (one less than a "
              "batch)",
              o->overlap, o->batch_size, o->batch_size - 1);
        return false;
    }
    return within(f, "--blend (0 hann3, 1 linear)", o->blend_linear, 0, 1) &&
           within(f, "--uniform-batch", o->uniform_batch, 0, 1) && within(f, "--prepend", o->prepend, 0, 64);
}

static bool check_sampling(const upres_options *o, Fault *f)
{
    return within(f, "--noise (0 absolute, 1 batch)", o->noise_per_batch, 0, 1) &&
           within_real(f, "--input-noise", o->input_noise, 0, 1) &&
           within_real(f, "--latent-noise", o->latent_noise, 0, 1) && within(f, "--steps", o->steps, 1, 50) &&
           within_real(f, "--guidance", o->guidance, 1, 20) &&
           within_real(f, "--guidance-rescale", o->guidance_rescale, 0, 1);
}

static bool check_pictures(const upres_options *o, Fault *f)
{
    if (o->bits != 0 && o->bits != 8 && o->bits != 10 && o->bits != 12 && o->bits != 16) {
        fault(f, UPRES_E_ARGUMENT, "--bits is %d; results have 8, 10, 12 or 16 bits", o->bits);
        return false;
    }
    return within(f, "--color", (int64_t)o->color, UPRES_COLOR_AUTO, UPRES_COLOR_ADAIN) &&
           within(f, "--color-scope (0 frame, 1 batch)", o->color_batch, 0, 1) &&
           within_real(f, "--strength", o->strength, 0, 1) &&
           within(f, "--alpha", (int64_t)o->alpha, UPRES_ALPHA_AUTO, UPRES_ALPHA_DROP) &&
           within(f, "--dither (-1 auto, 0 none, 1 tpdf)", o->dither, -1, 1);
}

static bool check_tile(Fault *f, const char *half, int32_t tile, int32_t overlap)
{
    if (tile != UPRES_TILE_AUTO && tile != UPRES_TILE_OFF && (tile < 32 || tile % 8)) {
        fault(f, UPRES_E_ARGUMENT, "--vae-%s-tile is %d; a tile is off, auto, or a multiple of 8 from 32 up", half,
              tile);
        return false;
    }
    if (overlap == UPRES_TILE_OVERLAP_AUTO || tile == UPRES_TILE_OFF) return true;
    if (overlap < 0 || overlap % 8) {
        fault(f, UPRES_E_ARGUMENT,
              "--vae-%s-tile-overlap is %d; an overlap is a multiple of 8, from 0 to less than the tile", half,
              overlap);
        return false;
    }
    if (tile > 0 && overlap >= tile) {
        fault(f, UPRES_E_ARGUMENT,
              "--vae-%s-tile-overlap is %d with --vae-%s-tile %d; the overlap must be smaller than the tile", half,
              overlap, half, tile);
        return false;
    }
    return true;
}

static bool check_flashvsr(const upres_options *o, Fault *f)
{
    bool dense = o->sparse_ratio == UPRES_SPARSE_DENSE;
    if (o->sparse_ratio != 0 && !dense && !within_real(f, "--sparse-ratio", o->sparse_ratio, 0.1, 16)) return false;
    if (o->kv_slices != 0 && !within(f, "--kv-slices", o->kv_slices, 2, 64)) return false;
    if (o->local_range != 0 && (!within(f, "--local-range", o->local_range, 1, 255) || o->local_range % 2 == 0)) {
        fault(f, UPRES_E_ARGUMENT, "--local-range is %d; give an odd number of windows from 1 to 255", o->local_range);
        return false;
    }
    if (o->block_keys != 0 && o->block_keys != 64 && o->block_keys != 128) {
        fault(f, UPRES_E_ARGUMENT, "--block-keys is %d; blocks of keys hold 128 or 64", o->block_keys);
        return false;
    }
    if (o->tile != 0 && !within(f, "--tile", o->tile, 32, 16384)) return false;
    if (o->tile == 0 && o->tile_overlap != -1)
        return refuse(f, "--tile-overlap says how far tiles overlap, but there are none; give --tile, or leave it out");
    if (o->tile != 0 && o->tile_overlap != -1 && !within(f, "--tile-overlap", o->tile_overlap, 0, o->tile / 2))
        return false;
    return within(f, "--mode", (int64_t)o->mode, UPRES_MODE_AUTO, UPRES_MODE_FULL) &&
           within(f, "--flashvsr-version", (int64_t)o->flashvsr_version, UPRES_FLASHVSR_AUTO, UPRES_FLASHVSR_1_1);
}

const char *options_precision_name(int32_t precision)
{
    return PRECISION_NAMES[precision];
}

static bool check_devices(const upres_options *o, Fault *f)
{
    if (!within(f, "the number of devices", o->device_count, 0, UPRES_DEVICES_MAX)) return false;
    if (o->device_count && o->device_model)
        return refuse(f, "a described device and a list of devices exclude one another, but both are set; keep one");
    for (int i = 0; i < o->device_count; i++) {
        if (!within(f, "the number of a CUDA device", o->devices[i], 0, 1023)) return false;
        for (int k = 0; k < i; k++)
            if (o->devices[k] == o->devices[i]) {
                fault(f, UPRES_E_ARGUMENT, "--device names cuda:%d twice; name each device once", (int)o->devices[i]);
                return false;
            }
    }
    return true;
}

static bool check_device(const upres_options *o, Fault *f)
{
    if (!within(f, "--device (-2 auto, -1 cpu, 0 and up cuda)", o->device, UPRES_DEVICE_AUTO, 1023)) return false;
    if (!within(f, "--precision", (int64_t)o->precision, UPRES_PRECISION_AUTO, UPRES_PRECISION_FP8X3)) return false;
    if (!within(f, "--fp8-scores (0 off, 1 on)", o->fp8_scores, 0, 1)) return false;
    if (o->fp8_scores && o->precision != UPRES_PRECISION_FP8) {
        fault(f, UPRES_E_ARGUMENT, "--fp8-scores says how --precision fp8 computes attention, but the precision is %s; give "
              "--precision fp8, or leave --fp8-scores out", options_precision_name((int32_t)o->precision));
        return false;
    }
    return check_devices(o, f) && within(f, "--threads", o->threads, 0, 1024);
}

/* Whoever looks at one device alone finds the first; a list of one is no list. */
static void settle_device(upres_options *o)
{
    if (o->device_count) o->device = o->devices[0];
    if (o->device_count == 1) o->device_count = 0;
}

upres_status options_take(upres_options *out, const upres_options *given, Fault *f)
{
    if (!given)
        return fault(f, UPRES_E_ARGUMENT, "the options are NULL; fill a upres_options with upres_options_default");
    if (given->struct_size < sizeof given->struct_size)
        return fault(f, UPRES_E_ARGUMENT,
                     "struct_size of upres_options is %u; fill the structure with upres_options_default before use",
                     (unsigned)given->struct_size);
    upres_options_default(out, sizeof *out);
    memcpy(out, given, given->struct_size < sizeof *out ? given->struct_size : sizeof *out);
    out->struct_size = sizeof *out;
    if (check_size(out, f) && check_time(out, f) && check_sampling(out, f) && check_pictures(out, f) &&
        check_tile(f, "encode", out->vae_encode_tile, out->vae_encode_tile_overlap) &&
        check_tile(f, "decode", out->vae_decode_tile, out->vae_decode_tile_overlap) &&
        within(f, "--tile-debug (0 off, 1 encode, 2 decode)", out->tile_debug, 0, 2) && check_flashvsr(out, f) &&
        check_device(out, f))
        settle_device(out);
    return f->status;
}

/* ------------------------------------------------------------------------------------------ what a network may be told */

static upres_status foreign(Fault *f, const char *option, const char *owner, const char *network)
{
    return fault(f, UPRES_E_ARGUMENT, "--%s is an option of %s, but the weights are those of %s; leave it out", option,
                 owner, network);
}

upres_status options_for_seedvr2(upres_options *o, Fault *f)
{
    const struct {
        const char *option;
        bool given;
    } others[] = {
        {"mode", o->mode != UPRES_MODE_AUTO},
        {"flashvsr-version", o->flashvsr_version != UPRES_FLASHVSR_AUTO},
        {"sparse-ratio", o->sparse_ratio != 0},
        {"kv-slices", o->kv_slices != 0},
        {"local-range", o->local_range != 0},
        {"block-keys", o->block_keys != 0},
        {"tile", o->tile != 0},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i].given) return foreign(f, others[i].option, "FlashVSR", "SeedVR2");
    if (o->color == UPRES_COLOR_AUTO) o->color = UPRES_COLOR_LAB;
    if (o->alpha == UPRES_ALPHA_AUTO) o->alpha = UPRES_ALPHA_GUIDED;
    return UPRES_OK;
}

upres_status options_for_flashvsr(upres_options *o, Fault *f)
{
    const upres_options *d = &DEFAULTS;
    const struct {
        const char *option;
        bool given;
    } others[] = {
        {"resolution", o->resolution != 0},
        {"fit", o->fit_width != 0},
        {"max-resolution", o->max_resolution != 0},
        {"resize", o->resize_parity != 0},
        {"pad", o->pad_edge != 0},
        {"batch-size", o->batch_size != d->batch_size},
        {"overlap", o->overlap != 0},
        {"blend", o->blend_linear != 0},
        {"uniform-batch", o->uniform_batch != 0},
        {"prepend", o->prepend != 0},
        {"noise", o->noise_per_batch != 0},
        {"input-noise", o->input_noise != 0},
        {"latent-noise", o->latent_noise != 0},
        {"steps", o->steps != d->steps},
        {"guidance", o->guidance != d->guidance},
        {"guidance-rescale", o->guidance_rescale != 0},
        {"color-scope", o->color_batch != 0},
        {"vae-encode-tile", o->vae_encode_tile > 0 && o->vae_encode_tile != o->vae_decode_tile}, /* not by --vae-tile */
        {"tile-debug encode", o->tile_debug == 1},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i].given) return foreign(f, others[i].option, "SeedVR2", "FlashVSR");
    if (o->scale > 4) return fault(f, UPRES_E_ARGUMENT, "--scale is %g; FlashVSR takes numbers from 1 to 4", o->scale);
    if (o->color != UPRES_COLOR_AUTO && o->color != UPRES_COLOR_NONE && o->color != UPRES_COLOR_WAVELET &&
        o->color != UPRES_COLOR_ADAIN)
        return fault(f, UPRES_E_ARGUMENT, "this --color belongs to SeedVR2; FlashVSR takes adain, wavelet or none");
    if (o->alpha == UPRES_ALPHA_GUIDED)
        return fault(f, UPRES_E_ARGUMENT, "--alpha guided belongs to SeedVR2; FlashVSR takes resize, opaque or drop");
    if (o->vae_decode_tile > 0 && o->mode != UPRES_MODE_FULL)
        return fault(f, UPRES_E_ARGUMENT,
                     "--vae-tile is %d, but the small decoder of the tiny modes takes no tiles; leave it out, or use "
                     "--mode full",
                     o->vae_decode_tile);
    if (o->vae_decode_tile_overlap != UPRES_TILE_OVERLAP_AUTO)
        return fault(
            f, UPRES_E_ARGUMENT,
            "--vae-tile-overlap is %d, but the decoder's tiles are exact with FlashVSR and overlap nowhere; leave it "
            "out",
            o->vae_decode_tile_overlap);
    if (o->scale == 0) o->scale = 4;
    if (o->color == UPRES_COLOR_AUTO) o->color = UPRES_COLOR_ADAIN;
    if (o->alpha == UPRES_ALPHA_AUTO) o->alpha = UPRES_ALPHA_RESIZE;
    if (o->seed == d->seed && !o->seed_given) o->seed = 0;
    if (o->mode == UPRES_MODE_AUTO) o->mode = UPRES_MODE_TINY_LONG;
    if (o->sparse_ratio == 0) o->sparse_ratio = 2;
    if (o->kv_slices == 0) o->kv_slices = 3;
    if (o->local_range == 0) o->local_range = 11;
    if (o->block_keys == 0) o->block_keys = 128;
    if (o->tile && o->tile_overlap < 0) o->tile_overlap = o->tile < 48 ? o->tile / 2 : 24;
    return UPRES_OK;
}

int options_tile_overlap(int32_t tile, int32_t overlap)
{
    if (tile <= 0) return 0;
    if (overlap != UPRES_TILE_OVERLAP_AUTO) return overlap;
    int quarter = tile / 4 / 8 * 8;
    return quarter < 128 ? quarter : 128;
}

int options_bits(const upres_options *o, int clip_bits)
{
    if (o->bits) return o->bits;
    return clip_bits < 8 ? 8 : clip_bits;
}

int options_dither(const upres_options *o, int clip_bits)
{
    return o->dither >= 0 ? o->dither : options_bits(o, clip_bits) < clip_bits;
}

void options_log(const upres_options *o, upres_log_level level, const char *format, ...)
{
    if (!o->log) return;
    char sentence[512];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    o->log(o->user, level, sentence);
}
