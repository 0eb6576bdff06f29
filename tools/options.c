#include "tools/options.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum Form {
    FORM_FLAG,    /* no value; int32_t becomes 1 */
    FORM_TEXT,    /* const char * */
    FORM_MODEL,   /* appended to models */
    FORM_WHOLE,   /* int32_t, low..high */
    FORM_REAL,    /* double, low..high */
    FORM_SEED,    /* uint64_t, and that it was given */
    FORM_SIZE,    /* uint64_t, bytes with K, M, G, T */
    FORM_CHOICE,  /* int32_t, the word's place in `values`, counted from low */
    FORM_WORD,    /* const char *, one of the words in `values` */
    FORM_FIT,     /* area:WxH */
    FORM_FRAMES,  /* lists of numbers and ranges */
    FORM_BITS,    /* int32_t */
    FORM_TILE,    /* int32_t: off, auto, or a side */
    FORM_SIDE,    /* int32_t: off, or low..high */
    FORM_SPARSE,  /* double: dense, or low..high */
    FORM_OVERLAP, /* int32_t, multiple of 8 */
    FORM_DEVICE,  /* int32_t */
    FORM_LATER    /* known, refused */
} Form;

typedef struct Option {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    Form form;
    unsigned verbs; /* VerbBit, or-ed */
    size_t offset;  /* of the field in Job */
    double low, high;
    const char *values; /* placeholder in the usage; for FORM_CHOICE the words */
    const char *help;   /* ends with the default in brackets; NULL: not shown */
} Option;

/* upres_precision and its like are stored through int32_t */
_Static_assert(sizeof(upres_color) == sizeof(int32_t), "enumerations are 32 bits wide");

#define JOB(field) offsetof(Job, field)
#define LIB(field) offsetof(Job, library.field)

enum {
    STAGES = VERB_ENCODE | VERB_DECODE,
    UPSCALE = VERB_UPSCALE | VERB_PLAN,
    COMPUTE = VERB_UPSCALE | STAGES | VERB_PLAN,
    DEVICES = COMPUTE | VERB_BENCH | VERB_SELFTEST,
    EVERY = DEVICES | VERB_INFO | VERB_CONVERT | VERB_COMPARE | VERB_DEMO_WEIGHTS,
    TILE_NOT_GIVEN = INT32_MIN
};

/* Of an option that is taken so that one list of options serves several verbs. */
#define NOT_USED "not looked at"

/* An option that means something else, or is to be told otherwise, in another verb has a line of its own for it. */
// clang-format off
static const Option options[] = {
    {"input", 'i', FORM_TEXT, VERB_UPSCALE, JOB(input), 0, 0, "IN", "picture, folder, or pattern like in/%06d.png"},
    {"input", 'i', FORM_TEXT, VERB_ENCODE, JOB(input), 0, 0, "FRAMES", "picture, folder, pattern, or .safetensors file"},
    {"input", 'i', FORM_TEXT, VERB_DECODE, JOB(input), 0, 0, "LATENTS", ".safetensors file"},
    {"input", 'i', FORM_TEXT, VERB_PLAN, JOB(input), 0, 0, "IN", "what the job would read"},
    {"output", 'o', FORM_TEXT, VERB_UPSCALE, JOB(output), 0, 0, "OUT", "picture, pattern, or folder (made if missing)"},
    {"output", 'o', FORM_TEXT, VERB_ENCODE, JOB(output), 0, 0, "LATENTS", ".safetensors file"},
    {"output", 'o', FORM_TEXT, VERB_DECODE, JOB(output), 0, 0, "FRAMES",
     ".safetensors file, picture, pattern, or folder (made if missing)"},
    {"output", 'o', FORM_TEXT, VERB_PLAN, JOB(output), 0, 0, "OUT", NOT_USED},
    {"output", 'o', FORM_TEXT, VERB_CONVERT, JOB(output), 0, 0, "OUT.gguf", "the file to write"},
    {"output", 'o', FORM_TEXT, VERB_COMPARE, JOB(output), 0, 0, "OUT.png", "the first frames, side by side"},
    {"output", 'o', FORM_TEXT, VERB_DEMO_WEIGHTS, JOB(output), 0, 0, "FILE", "the safetensors file to write"},
    {"model", 'm', FORM_MODEL, COMPUTE, 0, 0, 0, "FILE", "weight file, known by its content; may be repeated"},

    {"scale", 0, FORM_REAL, UPSCALE, LIB(scale), 1, 8, "S", "factor, 1 to 8 (FlashVSR: 4), fractions allowed"},
    {"resolution", 0, FORM_WHOLE, UPSCALE, LIB(resolution), 16, 16384, "N", "short side of the result [1080; FlashVSR: --scale 4]"},
    {"fit", 0, FORM_FIT, UPSCALE, 0, 16, 16384, "area:WxH", "area of W x H, cropped to multiples of 16"},
    {"max-resolution", 0, FORM_WHOLE, UPSCALE, LIB(max_resolution), 16, INT32_MAX, "N", "cap of the long side [off]"},
    {"resize", 0, FORM_CHOICE, UPSCALE, LIB(resize_parity), 0, 0, "once|parity",
     "parity: two resizes under --max-resolution [once]"},
    {"pad", 0, FORM_CHOICE, UPSCALE, LIB(pad_edge), 0, 0, "black|edge", "border up to multiples of 16 [black]"},

    {"batch-size", 0, FORM_WHOLE, UPSCALE, LIB(batch_size), 1, 1025, "N", "frames a batch; 4n + 1 wastes none [5]"},
    {"overlap", 0, FORM_WHOLE, UPSCALE, LIB(overlap), 0, 1024, "N", "frames neighbouring batches share [0]"},
    {"blend", 0, FORM_CHOICE, UPSCALE, LIB(blend_linear), 0, 0, "hann3|linear", "crossfade of shared frames [hann3]"},
    {"uniform-batch", 0, FORM_FLAG, UPSCALE, LIB(uniform_batch), 0, 0, NULL, "fill up the last batch [off]"},
    {"prepend", 0, FORM_WHOLE, UPSCALE, LIB(prepend), 0, 64, "N", "mirrored frames in front, dropped again [0]"},
    {"frames", 0, FORM_FRAMES, UPSCALE, JOB(frames), 0, 0, "A-B", "numbers as in the names: 1-3,5,7-20:2 [all]"},

    {"seed", 0, FORM_SEED, UPSCALE, LIB(seed), 0, 0, "N", "of the noise [42; FlashVSR: 0]"},
    {"noise", 0, FORM_CHOICE, UPSCALE, LIB(noise_per_batch), 0, 0, "absolute|batch",
     "keyed by the frame, or the same in each batch [absolute]"},
    {"input-noise", 0, FORM_REAL, UPSCALE, LIB(input_noise), 0, 1, "X", "noise on the encoder's input, 0 to 1 [0]"},
    {"latent-noise", 0, FORM_REAL, UPSCALE, LIB(latent_noise), 0, 1, "X", "noise on the condition, 0 to 1 [0]"},
    {"steps", 0, FORM_WHOLE, UPSCALE, LIB(steps), 1, 50, "N", "sampling steps, 1 to 50 [1]"},
    {"guidance", 0, FORM_REAL, UPSCALE, LIB(guidance), 1, 20, "G", "1 to 20; above 1 needs the negative text [1]"},
    {"guidance-rescale", 0, FORM_REAL, UPSCALE, LIB(guidance_rescale), 0, 1, "R", "0 to 1 [0]"},

    {"color", 0, FORM_CHOICE, UPSCALE, LIB(color), 0, 0, "lab|none|wavelet|wavelet_adaptive|hsv|adain",
     "colours taken from the input [lab; FlashVSR: adain]"},
    {"color-scope", 0, FORM_CHOICE, UPSCALE, LIB(color_batch), 0, 0, "frame|batch", "histograms over [frame]"},
    {"strength", 0, FORM_REAL, UPSCALE, LIB(strength), 0, 1, "X", "share of the result over the resized input [1]"},
    {"alpha", 0, FORM_CHOICE, UPSCALE, LIB(alpha), 0, 0, "guided|resize|opaque|drop",
     "transparency [guided; FlashVSR: resize]"},
    {"bits", 0, FORM_BITS, UPSCALE, LIB(bits), 0, 0, "8|16", "a sample of the result [the input's, or 8]"},
    {"bits", 0, FORM_BITS, VERB_DECODE, LIB(bits), 0, 0, "8|16", "a sample of the pictures [8]"},
    {"dither", 0, FORM_CHOICE, UPSCALE, LIB(dither), 0, 0, "none|tpdf", "[none, tpdf when --bits is below the input's]"},

    {"mode", 0, FORM_CHOICE, UPSCALE, LIB(mode), UPRES_MODE_TINY_LONG, 0, "tiny-long|tiny|full",
     "FlashVSR: the decoder; full is Wan's [tiny-long]"},
    {"flashvsr-version", 0, FORM_CHOICE, UPSCALE, LIB(flashvsr_version), UPRES_FLASHVSR_1, 0, "1|1.1",
     "FlashVSR: of the weights [from metadata or path, else 1.1]"},
    {"sparse-ratio", 0, FORM_SPARSE, UPSCALE, LIB(sparse_ratio), 0.1, 16, "X|dense",
     "FlashVSR: attention kept, 0.1 to 16, or all within range [2]"},
    {"kv-slices", 0, FORM_WHOLE, UPSCALE, LIB(kv_slices), 2, 64, "N", "FlashVSR: slices of 8 frames remembered [3]"},
    {"local-range", 0, FORM_WHOLE, UPSCALE, LIB(local_range), 1, 255, "N", "FlashVSR: windows, odd; 9 sharper, 11 steadier [11]"},
    {"block-keys", 0, FORM_WHOLE, UPSCALE, LIB(block_keys), 64, 128, "128|64", "FlashVSR: keys a block of attention [128]"},
    {"tile", 0, FORM_SIDE, UPSCALE, LIB(tile), 32, 16384, "off|N", "FlashVSR: side of a tile in source pixels [off]"},
    {"tile-overlap", 0, FORM_WHOLE, UPSCALE, LIB(tile_overlap), 0, 8192, "M",
     "FlashVSR: source pixels tiles share, at most half [24]"},

    {"vae-tile", 0, FORM_TILE, COMPUTE, JOB(tile), 32, 1 << 20, "off|auto|N", "side of a tile in pixels [auto]"},
    {"vae-encode-tile", 0, FORM_TILE, UPSCALE | VERB_ENCODE, JOB(encode_tile), 32, 1 << 20, "off|auto|N",
     "of the encoder alone"},
    {"vae-encode-tile", 0, FORM_TILE, VERB_DECODE, JOB(encode_tile), 32, 1 << 20, "off|auto|N", NOT_USED},
    {"vae-decode-tile", 0, FORM_TILE, UPSCALE | VERB_DECODE, JOB(decode_tile), 32, 1 << 20, "off|auto|N",
     "of the decoder alone"},
    {"vae-decode-tile", 0, FORM_TILE, VERB_ENCODE, JOB(decode_tile), 32, 1 << 20, "off|auto|N", NOT_USED},
    {"vae-tile-overlap", 0, FORM_OVERLAP, COMPUTE, JOB(tile_overlap), 0, 1 << 20, "M",
     "pixels neighbouring tiles share [a quarter, at most 128]"},
    {"vae-encode-tile-overlap", 0, FORM_OVERLAP, UPSCALE | VERB_ENCODE, JOB(encode_tile_overlap), 0, 1 << 20, "M",
     "of the encoder alone"},
    {"vae-encode-tile-overlap", 0, FORM_OVERLAP, VERB_DECODE, JOB(encode_tile_overlap), 0, 1 << 20, "M", NOT_USED},
    {"vae-decode-tile-overlap", 0, FORM_OVERLAP, UPSCALE | VERB_DECODE, JOB(decode_tile_overlap), 0, 1 << 20, "M",
     "of the decoder alone"},
    {"vae-decode-tile-overlap", 0, FORM_OVERLAP, VERB_ENCODE, JOB(decode_tile_overlap), 0, 1 << 20, "M", NOT_USED},
    {"tile-debug", 0, FORM_CHOICE, UPSCALE, LIB(tile_debug), 0, 0, "off|encode|decode", "draw the tile borders [off]"},

    {"device", 0, FORM_DEVICE, VERB_UPSCALE, LIB(device), 0, 0, "auto|cpu|cuda[:N]",
     "cuda:0,cuda:1 share the work [auto]"},
    {"device", 0, FORM_DEVICE, VERB_PLAN, LIB(device), 0, 0, "auto|cpu|cuda[:N]",
     "or one described as sm_NN:SMs:GHz:GB/s:GB [auto]"},
    {"device", 0, FORM_DEVICE, STAGES | VERB_BENCH, LIB(device), 0, 0, "auto|cpu|cuda[:N]", "[auto]"},
    {"device", 0, FORM_DEVICE, VERB_SELFTEST, LIB(device), 0, 0, "all|cpu|cuda[:N]", "[all]"},
    {"precision", 0, FORM_CHOICE, DEVICES, LIB(precision), 0, 0, "auto|fp32|fp16|bf16|int8|fp8|fp8x3",
     "of the arithmetic; the CPU computes in fp32 [auto]"},
    {"fp8-scores", 0, FORM_FLAG, UPSCALE, LIB(fp8_scores), 0, 0, NULL,
     "with fp8: attention's scores in e4m3 too, less exact than int8's [off]"},
    {"memory", 0, FORM_SIZE, COMPUTE, LIB(memory), 0, 0, "SIZE", "bytes to stay under: 14G, 800M [what is free]"},
    {"threads", 0, FORM_WHOLE, DEVICES, LIB(threads), 1, 1024, "N", "[all cores]"},

    {"overwrite", 0, FORM_FLAG,
     VERB_UPSCALE | STAGES | VERB_CONVERT | VERB_COMPARE | VERB_BENCH | VERB_SELFTEST | VERB_DEMO_WEIGHTS, JOB(overwrite), 0, 0,
     NULL, "replace outputs that exist"},
    {"overwrite", 0, FORM_FLAG, VERB_PLAN, JOB(overwrite), 0, 0, NULL, NOT_USED},
    {"skip-existing", 0, FORM_FLAG, VERB_UPSCALE | STAGES, JOB(skip_existing), 0, 0, NULL, "compute only what is missing"},
    {"skip-existing", 0, FORM_FLAG, VERB_PLAN, JOB(skip_existing), 0, 0, NULL, NOT_USED},
    {"allow-gaps", 0, FORM_FLAG, UPSCALE | VERB_ENCODE | VERB_COMPARE, JOB(allow_gaps), 0, 0, NULL,
     "go on where numbers are missing"},
    {"type", 0, FORM_WORD, VERB_CONVERT, JOB(type), 0, 0, "f32|f16|bf16|q8_0", "of the values written [f16]"},
    {"type", 0, FORM_WORD, VERB_DEMO_WEIGHTS, JOB(type), 0, 0, "f16|f32", "of the values written [f16]"},
    {"checksums", 0, FORM_FLAG, VERB_INFO, JOB(checksums), 0, 0, NULL, "CRC-32 of each tensor's float32 values"},
    {"report", 0, FORM_TEXT, VERB_SELFTEST, JOB(report), 0, 0, "FILE", "the table and what the machine is, for a bug report"},
    {"csv", 0, FORM_FLAG, VERB_BENCH, JOB(csv), 0, 0, NULL, "comma-separated values on stdout"},
    {"plot", 0, FORM_TEXT, VERB_BENCH, JOB(plot), 0, 0, "FILE.svg", "the roofline of the device and what was timed under it"},
    {"progress", 0, FORM_CHOICE, VERB_UPSCALE | STAGES, JOB(progress), 0, 0, "auto|plain|json|none", "on stderr [auto]"},
    {"progress", 0, FORM_CHOICE, VERB_PLAN, JOB(progress), 0, 0, "auto|plain|json|none", NOT_USED},
    {"json", 0, FORM_FLAG, EVERY, JOB(json), 0, 0, NULL, "results as JSON on stdout"},
    {"verbose", 'v', FORM_FLAG, COMPUTE | VERB_CONVERT | VERB_BENCH, JOB(verbose), 0, 0, NULL,
     "tell what was loaded and chosen, and the time of each phase"},
    {"quiet", 'q', FORM_FLAG, COMPUTE | VERB_CONVERT | VERB_DEMO_WEIGHTS, JOB(quiet), 0, 0, NULL, "errors only"},
    {"help", 'h', FORM_FLAG, EVERY | VERB_COMPLETION, JOB(help), 0, 0, NULL, "this text"},

    {"resume", 0, FORM_LATER, EVERY, 0, 0, 0, NULL, NULL},
    {"shard", 0, FORM_LATER, EVERY, 0, 0, 0, NULL, NULL},
    {"scene-cuts", 0, FORM_LATER, EVERY, 0, 0, 0, NULL, NULL},
    {"preview", 0, FORM_LATER, EVERY, 0, 0, 0, NULL, NULL},
    {"timings", 0, FORM_LATER, EVERY, 0, 0, 0, NULL, NULL},
    {"warmup", 0, FORM_LATER, EVERY, 0, 0, 0, NULL, NULL},
};
// clang-format on

enum { OPTION_COUNT = sizeof options / sizeof options[0] };

/* Which system of networks takes an option that not both take. The weights decide which one runs. */
static const char *const seedvr2_alone[] = {
    "resolution",
    "fit",
    "max-resolution",
    "resize",
    "pad",
    "batch-size",
    "overlap",
    "blend",
    "uniform-batch",
    "prepend",
    "noise",
    "input-noise",
    "latent-noise",
    "steps",
    "guidance",
    "guidance-rescale",
    "vae-encode-tile",
    "vae-encode-tile-overlap",
    NULL,
};
static const char *const flashvsr_alone[] = {
    "mode", "flashvsr-version", "sparse-ratio", "kv-slices", "local-range", "block-keys", "tile", "tile-overlap", NULL,
};

static bool is_among(const char *name, const char *const *names)
{
    while (*names != NULL && strcmp(name, *names) != 0) names++;
    return *names != NULL;
}

typedef struct VerbText {
    VerbBit verb;
    const char *name, *usage, *about;
} VerbText;

static const VerbText verbs[] = {
    {VERB_UPSCALE, "upscale", "[upscale] -i IN -o OUT -m FILE [-m FILE ...] [options]", "Upscale a picture or a clip."},
    {VERB_ENCODE, "encode", "encode -m VAE -i FRAMES -o LATENTS.safetensors [options]",
     "Frames (pictures, or a tensor `frames` [3, T, H, W] in [-1, 1]) to latents [C, T, h, w]."},
    {VERB_DECODE, "decode", "decode -m VAE -i LATENTS.safetensors -o FRAMES [options]",
     "Latents to frames: a .safetensors file with the raw output, or pictures."},
    {VERB_INFO, "info", "info FILE [--json] [--checksums]", "What a weight file holds and which networks it serves."},
    {VERB_CONVERT, "convert", "convert IN... -o OUT.gguf [--type f32|f16|bf16|q8_0]",
     "Merge weight files into one GGUF."},
    {VERB_PLAN, "plan", "plan [upscale|encode|decode] -i IN -m FILE [the verb's options]",
     "Sizes, tiles, memory and time of a job; computes nothing."},
    {VERB_COMPARE, "compare", "compare A B [--json] [-o SIDE-BY-SIDE.png]",
     "PSNR and SSIM of two pictures, folders or patterns, frame by frame and on average."},
    {VERB_BENCH, "bench", "bench [PATTERN] [--json | --csv] [--plot FILE.svg] [options]",
     "Time kernels, networks and phases: warm and cold, in all versions, against the device's limits."},
    {VERB_DEMO_WEIGHTS, "demo-weights", "demo-weights seedvr2|flashvsr -o FILE.safetensors [--type f16|f32]",
     "Constructed weights of narrow networks: SeedVR2's VAE, transformer and text, or FlashVSR's transformer, LQ\n"
     "projection, TCDecoder and prompt. They show the machine, not the quality: a picture enlarged 4 times comes back\n"
     "slightly sharper (seedvr2) or softer (flashvsr) than bicubic."},
    {VERB_SELFTEST, "selftest", "selftest [PATTERN] [--device all|cpu|cuda[:N]] [--report FILE] [options]",
     "Check every kernel of this machine's devices against plain C."},
    {VERB_COMPLETION, "completion", "completion bash|zsh|fish",
     "What a shell needs to complete upres' verbs, options and values, on stdout:\n"
     "source <(upres completion bash)"},
};

static const VerbText *find_verb(VerbBit verb)
{
    const VerbText *v = verbs;
    while (v->verb != verb) v++;
    return v;
}

const char *verb_name(VerbBit verb)
{
    return find_verb(verb)->name;
}

void verb_usage(VerbBit verb)
{
    const VerbText *v = find_verb(verb);
    printf("usage: upres %s\n\n%s\n\n", v->usage, v->about);
    for (int i = 0; i < OPTION_COUNT; i++) {
        const Option *o = &options[i];
        if (!(o->verbs & verb) || o->help == NULL) continue;
        char left[96], letter[8] = "    ";
        if (o->letter != 0) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->values != NULL ? " " : "",
                 o->values != NULL ? o->values : "");
        printf("  %-36s%s%s\n", left, strlen(left) > 35 ? "\n                                      " : "", o->help);
    }
    fputs("\nExit codes: 0 done, 1 failed while running, 2 usage, 3 bad input, 33 out of memory, 129/130/143 stopped.\n",
          stdout);
}

/* --------------------------------------------------------------------------------------------------------- for shells */

/* The literal ones of what bars part: those without capitals, up to a bracket. */
static void literal_words(const char *values, char *words, size_t size)
{
    size_t used = 0;
    words[0] = '\0';
    while (values != NULL && *values != '\0') {
        const size_t length = strcspn(values, "|"), plain = strcspn(values, "|[");
        size_t capitals = 0;
        for (size_t i = 0; i < plain; i++) capitals += isupper((unsigned char)values[i]) != 0;
        if (capitals == 0 && used + plain + 2 <= size)
            used += (size_t)snprintf(words + used, size - used, "%s%.*s", used > 0 ? " " : "", (int)plain, values);
        values += length + (values[length] == '|');
    }
}

bool option_text(VerbBit verb, int number, OptionText *text)
{
    static char words[128];
    for (int i = 0; i < OPTION_COUNT; i++) {
        const Option *o = &options[i];
        if (!(o->verbs & verb) || o->help == NULL || number-- > 0) continue;
        literal_words(o->values, words, sizeof words);
        *text = (OptionText){.name = o->name, .help = o->help, .letter = o->letter, .takes_value = o->form != FORM_FLAG,
                             .takes_file = o->form == FORM_TEXT || o->form == FORM_MODEL, .repeats = o->form == FORM_MODEL,
                             .words = words};
        return true;
    }
    return false;
}

/* --------------------------------------------------------------------------------------------------- nearest word */

/* Levenshtein's edit distance of short words, with one row of the table. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[64];
    size_t n = strlen(b);
    if (n >= sizeof row / sizeof row[0]) return SIZE_MAX;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

const char *nearest_word(const char *text, const char *const *words)
{
    const char *best = NULL;
    size_t least = strlen(text) / 3 + 1; /* more letters wrong than a third: another word */
    for (; *words != NULL; words++) {
        size_t d = edit_distance(text, *words);
        if (d <= least && (best == NULL || d < least)) {
            best = *words;
            least = d;
        }
    }
    return best;
}

/* ---------------------------------------------------------------------------------------------------------- values */

static bool bad_value(Problem *p, const Option *o, const char *value, const char *expected)
{
    return problem(p, EXIT_USAGE, "invalid value \"%s\" for --%s: expected %s", value, o->name, expected);
}

static bool bad_range(Problem *p, const Option *o, const char *value, const char *what)
{
    char expected[96];
    if (o->high == INT32_MAX)
        snprintf(expected, sizeof expected, "%s of at least %.0f", what, o->low);
    else
        snprintf(expected, sizeof expected, "%s from %.0f to %.0f", what, o->low, o->high);
    return bad_value(p, o, value, expected);
}

/* Digits alone; *end is set behind them. False without a digit or above INT64_MAX. */
static bool read_whole(const char *text, const char **end, int64_t *value)
{
    if (!isdigit((unsigned char)*text)) return false;
    errno = 0;
    char *stop;
    long long v = strtoll(text, &stop, 10);
    *end = stop;
    *value = v;
    return errno == 0;
}

static bool set_whole(const Option *o, const char *value, int32_t *field, Problem *p)
{
    const char *end;
    int64_t v;
    if (!read_whole(value, &end, &v) || *end != '\0' || (double)v < o->low || (double)v > o->high)
        return bad_range(p, o, value, "a whole number");
    *field = (int32_t)v;
    return true;
}

static bool set_real(const Option *o, const char *value, double *field, Problem *p)
{
    char *end;
    /* strtod alone would also take "inf", "nan" and hexadecimal */
    bool plain = value[strspn(value, "0123456789.eE+-")] == '\0';
    double v = strtod(value, &end);
    if (!plain || end == value || *end != '\0' || !(v >= o->low && v <= o->high))
        return bad_range(p, o, value, "a number");
    *field = v;
    return true;
}

static bool set_sparse(const Option *o, const char *value, double *field, Problem *p)
{
    if (strcmp(value, "dense") == 0) {
        *field = UPRES_SPARSE_DENSE;
        return true;
    }
    Problem unused;
    return set_real(o, value, field, &unused) || bad_value(p, o, value, "a number from 0.1 to 16, or dense");
}

static bool set_side(const Option *o, const char *value, int32_t *field, Problem *p)
{
    if (strcmp(value, "off") == 0) {
        *field = 0;
        return true;
    }
    const char *end;
    int64_t v;
    if (!read_whole(value, &end, &v) || *end != '\0' || (double)v < o->low || (double)v > o->high)
        return bad_range(p, o, value, "off, or a whole number");
    *field = (int32_t)v;
    return true;
}

static bool set_seed(const Option *o, const char *value, uint64_t *field, Problem *p)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end != '\0' || errno != 0)
        return bad_value(p, o, value, "a whole number from 0 to 18446744073709551615");
    *field = v;
    return true;
}

static bool set_size(const Option *o, const char *value, uint64_t *field, Problem *p)
{
    static const char suffixes[] = "KMGT";
    const char *expected = "bytes with an optional K, M, G or T (powers of 1024), at least 1M: 14G, 800M";
    char *end;
    double v = strtod(value, &end);
    /* strtod alone would also take exponents and hexadecimal */
    if (!isdigit((unsigned char)*value) || end != value + strspn(value, "0123456789."))
        return bad_value(p, o, value, expected);
    const char *suffix = *end != '\0' ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
    if (suffix != NULL) {
        v *= pow(1024, (double)(suffix - suffixes + 1));
        end++;
        if (strcmp(end, "iB") == 0)
            end += 2;
        else if (strcmp(end, "B") == 0)
            end++;
    }
    if (*end != '\0' || !(v >= 1 << 20 && v < 9e18)) return bad_value(p, o, value, expected);
    *field = (uint64_t)v;
    return true;
}

static bool set_choice(const Option *o, const char *value, int32_t *field, Problem *p)
{
    size_t length = strlen(value);
    int32_t place = (int32_t)o->low;
    for (const char *word = o->values; word != NULL; place++) {
        const char *bar = strchr(word, '|');
        size_t n = bar != NULL ? (size_t)(bar - word) : strlen(word);
        if (n == length && n > 0 && memcmp(word, value, n) == 0) {
            *field = place;
            return true;
        }
        word = bar != NULL ? bar + 1 : NULL;
    }
    char expected[160] = "one of ";
    for (const char *from = o->values; *from != '\0'; from++) {
        size_t at = strlen(expected);
        snprintf(expected + at, sizeof expected - at, *from == '|' ? ", " : "%c", *from);
    }
    return bad_value(p, o, value, expected);
}

static bool set_word(const Option *o, const char *value, const char **field, Problem *p)
{
    int32_t place;
    *field = value;
    return set_choice(o, value, &place, p);
}

static bool set_fit(const Option *o, const char *value, Job *job, Problem *p)
{
    const char *at;
    int64_t w, h;
    bool fine = strncmp(value, "area:", 5) == 0 && read_whole(value + 5, &at, &w) && *at == 'x' &&
                read_whole(at + 1, &at, &h) && *at == '\0';
    if (!fine || (double)w < o->low || (double)w > o->high || (double)h < o->low || (double)h > o->high)
        return bad_value(p, o, value, "area:WxH with W and H from 16 to 16384");
    job->library.fit_width = (int32_t)w;
    job->library.fit_height = (int32_t)h;
    return true;
}

static bool set_frames(const Option *o, const char *value, Job *job, Problem *p)
{
    const char *expected = "numbers and ranges, rising, like 1-3,5,7-20:2";
    job->frames = value;
    job->range_count = 0;
    for (const char *at = value;; at++) {
        FrameRange r = {.step = 1};
        if (!read_whole(at, &at, &r.first)) return bad_value(p, o, value, expected);
        r.last = r.first;
        if (*at == '-' && !read_whole(at + 1, &at, &r.last)) return bad_value(p, o, value, expected);
        if (*at == ':' && (!read_whole(at + 1, &at, &r.step) || r.step < 1)) return bad_value(p, o, value, expected);
        if (r.last < r.first || (*at != ',' && *at != '\0')) return bad_value(p, o, value, expected);
        job->ranges = need_more(job->ranges, (job->range_count + 1) * sizeof *job->ranges);
        job->ranges[job->range_count++] = r;
        if (*at == '\0') return true;
    }
}

static bool set_bits(const Option *o, const char *value, int32_t *field, Problem *p)
{
    if (strcmp(value, "8") == 0 || strcmp(value, "16") == 0) {
        *field = value[0] == '8' ? 8 : 16;
        return true;
    }
    if (strcmp(value, "10") == 0 || strcmp(value, "12") == 0)
        return bad_value(p, o, value, "8 or 16, as PNG holds no other depths; use --bits 16");
    return bad_value(p, o, value, "8 or 16");
}

static bool set_tile(const Option *o, const char *value, int32_t *field, Problem *p)
{
    const char *end;
    int64_t v;
    if (strcmp(value, "off") == 0) {
        *field = UPRES_TILE_OFF;
    } else if (strcmp(value, "auto") == 0) {
        *field = UPRES_TILE_AUTO;
    } else if (read_whole(value, &end, &v) && *end == '\0' && (double)v >= o->low && (double)v <= o->high &&
               v % 8 == 0) {
        *field = (int32_t)v;
    } else {
        return bad_value(p, o, value, "off, auto, or a number of pixels from 32 up that is a multiple of 8");
    }
    return true;
}

static bool set_overlap(const Option *o, const char *value, int32_t *field, Problem *p)
{
    const char *end;
    int64_t v;
    if (!read_whole(value, &end, &v) || *end != '\0' || (double)v > o->high || v % 8 != 0)
        return bad_value(p, o, value, "a number of pixels from 0 up, a multiple of 8 and less than the tile");
    *field = (int32_t)v;
    return true;
}

/* "cuda:1", up to `end`, or to a comma. */
static bool read_ordinal(const char *text, const char **end, int32_t *ordinal)
{
    int64_t number;
    if (strncmp(text, "cuda:", 5) != 0 || !read_whole(text + 5, end, &number) || number < 0 || number > 1023) return false;
    *ordinal = (int32_t)number;
    return **end == '\0' || **end == ',';
}

/* "cuda:0,cuda:1" */
static bool set_devices(Job *job, const Option *o, const char *value, VerbBit verb, Problem *p)
{
    upres_options *l = &job->library;
    if ((verb & (VERB_UPSCALE | VERB_PLAN)) == 0)
        return problem(p, EXIT_USAGE, "--device %s names several devices, which share an upscale alone; name one", value);
    for (const char *at = value, *end;; at = end + 1) {
        if (l->device_count == UPRES_DEVICES_MAX || !read_ordinal(at, &end, &l->devices[l->device_count]))
            return bad_value(p, o, value, "up to 16 CUDA devices with commas between: cuda:0,cuda:1 (--list-devices names them)");
        l->device_count++;
        if (*end == '\0') return true;
    }
}

static bool set_device(Job *job, const Option *o, const char *value, VerbBit verb, Problem *p)
{
    const char *end;
    int32_t *field = &job->library.device;
    job->library.device_model = NULL; /* the last one given counts */
    job->library.device_count = 0;
    if (strcmp(value, "auto") == 0 || (verb == VERB_SELFTEST && strcmp(value, "all") == 0)) {
        *field = UPRES_DEVICE_AUTO;
    } else if (strcmp(value, "cpu") == 0) {
        *field = UPRES_DEVICE_CPU;
    } else if (strcmp(value, "cuda") == 0) {
        *field = 0;
    } else if (strncmp(value, "sm_", 3) == 0) {
        if (verb != VERB_PLAN)
            return problem(p, EXIT_USAGE, "--device %s describes a device, which is for plan; use auto, cpu or cuda:N", value);
        job->library.device_model = value;
    } else if (strchr(value, ',') != NULL) {
        return set_devices(job, o, value, verb, p);
    } else if (strncmp(value, "cuda:", 5) == 0) {
        if (!read_ordinal(value, &end, field) || *end != '\0')
            return bad_value(p, o, value, "cuda:0, cuda:1 ... (upres --list-devices names them)");
    } else {
        return bad_value(p, o, value, "auto, cpu, cuda or cuda:N");
    }
    return true;
}

static bool set_value(Job *job, const Option *o, VerbBit verb, const char *value, Problem *p)
{
    void *field = (char *)job + o->offset;
    switch (o->form) {
    case FORM_FLAG:
        *(int32_t *)field = 1;
        return true;
    case FORM_TEXT:
        if (*value == '\0') return bad_value(p, o, value, "a name");
        *(const char **)field = value;
        return true;
    case FORM_MODEL:
        if (*value == '\0') return bad_value(p, o, value, "a name");
        job->models = need_more(job->models, (job->model_count + 1) * sizeof *job->models);
        job->models[job->model_count++] = value;
        return true;
    case FORM_WHOLE:
        return set_whole(o, value, field, p);
    case FORM_REAL:
        return set_real(o, value, field, p);
    case FORM_SEED:
        job->library.seed_given = 1;
        return set_seed(o, value, field, p);
    case FORM_SIZE:
        return set_size(o, value, field, p);
    case FORM_CHOICE:
        return set_choice(o, value, field, p);
    case FORM_WORD:
        return set_word(o, value, field, p);
    case FORM_FIT:
        return set_fit(o, value, job, p);
    case FORM_FRAMES:
        return set_frames(o, value, job, p);
    case FORM_BITS:
        return set_bits(o, value, field, p);
    case FORM_TILE:
        return set_tile(o, value, field, p);
    case FORM_SIDE:
        return set_side(o, value, field, p);
    case FORM_SPARSE:
        return set_sparse(o, value, field, p);
    case FORM_OVERLAP:
        return set_overlap(o, value, field, p);
    case FORM_DEVICE:
        return set_device(job, o, value, verb, p);
    case FORM_LATER:
        break;
    }
    return problem(p, EXIT_USAGE, "--%s is not in this version; leave it out", o->name);
}

/* ------------------------------------------------------------------------------------------------------- the parser */

/* Does `text` (an argument that begins with a dash, cut at "=") name the option? */
static bool names_option(const char *text, size_t length, const Option *o)
{
    if (length == 2) return o->letter != 0 && text[1] == o->letter;
    return text[1] == '-' && strlen(o->name) == length - 2 && memcmp(o->name, text + 2, length - 2) == 0;
}

/* The option of that name: the verb's own where it has one. */
static const Option *find_option(const char *text, size_t length, VerbBit verb)
{
    const Option *foreign = NULL;
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (!names_option(text, length, &options[i])) continue;
        if (options[i].verbs & verb) return &options[i];
        if (foreign == NULL) foreign = &options[i];
    }
    return foreign;
}

static bool unknown_option(VerbBit verb, const char *text, size_t length, Problem *p)
{
    const char *names[OPTION_COUNT + 1];
    size_t count = 0;
    for (int i = 0; i < OPTION_COUNT; i++) {
        if ((options[i].verbs & verb) && options[i].help != NULL) names[count++] = options[i].name;
    }
    names[count] = NULL;
    char *given = new_text("%.*s", (int)length, text);
    const char *near = length > 3 ? nearest_word(given + strspn(given, "-"), names) : NULL;
    if (near != NULL)
        problem(p, EXIT_USAGE, "unknown option %s; did you mean --%s?", given, near);
    else
        problem(p, EXIT_USAGE, "unknown option %s; \"upres %s -h\" lists the options", given, verb_name(verb));
    free(given);
    return false;
}

static bool foreign_option(VerbBit verb, const Option *o, Problem *p)
{
    const VerbText *owner = verbs;
    while (!(o->verbs & owner->verb)) owner++;
    return problem(p, EXIT_USAGE, "--%s is not an option of %s (%s takes it); leave it out", o->name, verb_name(verb),
                   owner->name);
}

static bool parse_arguments(Job *job, VerbBit verb, int argc, char **argv, Problem *p)
{
    bool options_over = false;
    for (int i = 1; i < argc; i++) {
        char *a = argv[i];
        if (options_over || a[0] != '-' || a[1] == '\0') {
            job->operands = need_more(job->operands, (job->operand_count + 1) * sizeof *job->operands);
            job->operands[job->operand_count++] = a;
            continue;
        }
        if (strcmp(a, "--") == 0) {
            options_over = true;
            continue;
        }
        const char *equals = a[1] == '-' ? strchr(a, '=') : NULL;
        size_t length = equals != NULL ? (size_t)(equals - a) : strlen(a);
        const Option *o = find_option(a, length, verb);
        if (o == NULL) return unknown_option(verb, a, length, p);
        if (!(o->verbs & verb)) return foreign_option(verb, o, p);
        const char *value = NULL;
        if (o->form == FORM_FLAG) {
            if (equals != NULL) return problem(p, EXIT_USAGE, "--%s takes no value, found \"%s\"", o->name, equals + 1);
        } else if (equals != NULL) {
            value = equals + 1;
        } else if (o->form != FORM_LATER) {
            if (i + 1 >= argc || strncmp(argv[i + 1], "--", 2) == 0)
                return problem(p, EXIT_USAGE, "--%s needs a value: %s", o->name, o->values);
            value = argv[++i];
        }
        if (!set_value(job, o, verb, value, p)) return false;
        if (job->help) return true;
        if (is_among(o->name, seedvr2_alone)) job->seedvr2_option = o->name;
        if (is_among(o->name, flashvsr_alone)) job->flashvsr_option = o->name;
    }
    return true;
}

/* -------------------------------------------------------------------------------------------- options that depend */

static int32_t given(int32_t special, int32_t general, int32_t otherwise)
{
    return special != TILE_NOT_GIVEN ? special : general != TILE_NOT_GIVEN ? general : otherwise;
}

static bool settle_tiles(Job *job, Problem *p)
{
    upres_options *o = &job->library;
    o->vae_encode_tile = given(job->encode_tile, job->tile, UPRES_TILE_AUTO);
    o->vae_decode_tile = given(job->decode_tile, job->tile, UPRES_TILE_AUTO);
    o->vae_encode_tile_overlap = given(job->encode_tile_overlap, job->tile_overlap, UPRES_TILE_OVERLAP_AUTO);
    o->vae_decode_tile_overlap = given(job->decode_tile_overlap, job->tile_overlap, UPRES_TILE_OVERLAP_AUTO);
    const int32_t tiles[2] = {o->vae_encode_tile, o->vae_decode_tile};
    const int32_t overlaps[2] = {o->vae_encode_tile_overlap, o->vae_decode_tile_overlap};
    for (int i = 0; i < 2; i++) {
        if (tiles[i] <= 0 || overlaps[i] < tiles[i]) continue;
        return problem(p, EXIT_USAGE, "--vae-%s-tile-overlap %d reaches across the tile of %d pixels: expected 0 to %d",
                       i == 0 ? "encode" : "decode", overlaps[i], tiles[i], tiles[i] - 8);
    }
    return true;
}

static bool settle(Job *job, VerbBit verb, Problem *p)
{
    upres_options *o = &job->library;
    if (job->overwrite && job->skip_existing)
        return problem(p, EXIT_USAGE, "--overwrite and --skip-existing contradict each other; give one of them");
    if (job->quiet && job->verbose) return problem(p, EXIT_USAGE, "-q and -v contradict each other; give one of them");
    if ((o->scale > 0) + (o->resolution > 0) + (o->fit_width > 0) > 1)
        return problem(p, EXIT_USAGE, "--scale, --resolution and --fit each set the size; give one of them");
    if (job->seedvr2_option != NULL && job->flashvsr_option != NULL)
        return problem(p, EXIT_USAGE, "--%s is an option of SeedVR2 and --%s one of FlashVSR; leave one of them out",
                       job->seedvr2_option, job->flashvsr_option);
    if (o->overlap >= o->batch_size)
        return problem(p, EXIT_USAGE, "invalid value \"%d\" for --overlap: expected 0 to %d, less than --batch-size %d",
                       o->overlap, o->batch_size - 1, o->batch_size);
    if (!settle_tiles(job, p)) return false;
    o->user = &job->console;
    o->log = console_log;
    if (verb & (VERB_BENCH | VERB_SELFTEST)) return true; /* check for themselves */
    upres_status s = upres_options_check(o);
    return s == UPRES_OK || problem_library(p, s);
}

bool job_parse(Job *job, VerbBit verb, int argc, char **argv, Problem *p)
{
    *job = (Job){.tile = TILE_NOT_GIVEN,
                 .encode_tile = TILE_NOT_GIVEN,
                 .decode_tile = TILE_NOT_GIVEN,
                 .tile_overlap = TILE_NOT_GIVEN,
                 .encode_tile_overlap = TILE_NOT_GIVEN,
                 .decode_tile_overlap = TILE_NOT_GIVEN};
    upres_options_default(&job->library, sizeof job->library);
    /* errors found while parsing must already come as JSON when that is asked for further on */
    for (int i = 1; i < argc; i++) job->console.json |= strcmp(argv[i], "--json") == 0;
    bool fine = parse_arguments(job, verb, argc, argv, p);
    if (fine && !job->help && (verb & DEVICES)) fine = settle(job, verb, p);
    job->console.quiet = job->quiet;
    job->console.verbose = job->verbose;
    return fine;
}

bool weights_hold(const upres_weights *w, const char *network)
{
    for (size_t i = 0; i < upres_weights_part_count(w); i++) {
        upres_part_info part = {.struct_size = sizeof part};
        if (upres_weights_part(w, i, &part) == UPRES_OK && strcmp(part.network, network) == 0) return true;
    }
    return false;
}

bool job_fits_weights(const Job *job, const upres_weights *w, Problem *p)
{
    const bool seedvr2 = weights_hold(w, "seedvr2_dit"), flashvsr = weights_hold(w, "flashvsr_dit");
    if (seedvr2 == flashvsr) return true; /* the library says what is wrong */
    const char *foreign = flashvsr ? job->seedvr2_option : job->flashvsr_option;
    if (foreign == NULL) return true;
    return problem(p, EXIT_USAGE, "--%s is an option of %s, but the weights are those of %s; leave it out", foreign,
                   flashvsr ? "SeedVR2" : "FlashVSR", flashvsr ? "FlashVSR" : "SeedVR2");
}

void job_free(Job *job)
{
    free(job->models);
    free(job->operands);
    free(job->ranges);
}

int job_run(bool (*verb)(Job *job, int argc, char **argv, Problem *p), int argc, char **argv)
{
    Job job;
    Problem p;
    const int status = verb(&job, argc, argv, &p) ? EXIT_FINE : console_fail(&job.console, &p);
    job_free(&job);
    return status;
}
