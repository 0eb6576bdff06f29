/*
 * upres: upscale and restore video with one-step diffusion networks (SeedVR2, FlashVSR). Frames in, larger frames out.
 *
 * This is the whole public interface: C99, no foreign types, no global state. The library never opens a network
 * connection; weights are local files, mapped read-only and recognised by what they hold.
 *
 * A job, start to end:
 *
 *     upres_weights *w;
 *     upres_weights_open(&w, paths, count);
 *     upres_options o;
 *     upres_options_default(&o, sizeof o);
 *     o.scale = 4;
 *     upres_clip clip = { .struct_size = sizeof clip, .width = 160, .height = 96, .channels = 3, .bits = 8, .frames = 9 };
 *     upres_session *s;
 *     upres_session_open(&s, w, &o, &clip);
 *     for (;;) {
 *         upres_frame out = { .struct_size = sizeof out };
 *         upres_status r = upres_session_pull(s, &out);
 *         if (r == UPRES_OK)         write(&out);                    // valid until the next call on s
 *         else if (r == UPRES_AGAIN) push(s, read(upres_session_wants(s)));
 *         else                       break;                          // UPRES_END, or an error
 *     }
 *     upres_session_close(s);
 *     upres_weights_close(w);
 *
 * Rules that hold everywhere
 * - Every structure begins with `struct_size`, which the caller sets to sizeof as compiled; fields beyond it take their
 *   defaults, so a program built against an older header keeps working.
 * - A call that fails returns a negative status; upres_last_error() then gives one sentence: the thing, what was found,
 *   what was expected, the next step. The sentence belongs to the calling thread and lasts until its next upres call.
 * - A handle belongs to one thread at a time; different handles may be used by different threads at once.
 *   A upres_weights may be shared by any number of sessions once it is open; it must outlive them.
 * - Pixels are interleaved rows, 8 bits or native-endian 16 bits a sample, full range, alpha straight.
 */
#ifndef UPRES_H
#define UPRES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32) && defined(UPRES_BUILD)
#define UPRES_API __declspec(dllexport)
#elif defined(_WIN32)
#define UPRES_API __declspec(dllimport)
#elif defined(__GNUC__)
#define UPRES_API __attribute__((visibility("default")))
#else
#define UPRES_API
#endif

#define UPRES_API_VERSION 2 /* grows when something is added; nothing is ever taken away within one major version */

/* ------------------------------------------------------------------------------------------------ status and errors */

typedef enum upres_status {
    UPRES_OK = 0,
    UPRES_AGAIN = 1,          /* pull: push the frame upres_session_wants() names first; push: pull first */
    UPRES_END = 2,            /* pull: every frame has been given out */
    UPRES_E_ARGUMENT = -1,    /* a value out of range, options that contradict each other, a NULL where none may be */
    UPRES_E_UNSUPPORTED = -2, /* a sound request that this version or this device cannot honour */
    UPRES_E_INPUT = -3,       /* a weight file, text or frame is missing, broken, or wrong for the job */
    UPRES_E_RUNTIME = -4,     /* the device or an output failed while running */
    UPRES_E_MEMORY = -5,      /* host or device memory does not suffice; the sentence says what would fit */
    UPRES_E_CANCELLED = -6    /* the cancel callback asked to stop */
} upres_status;

/* The last failed call's sentence of this thread, "" when none has failed. Never NULL; no line end. */
UPRES_API const char *upres_last_error(void);

/* "0.1.0" for people; UPRES_API_VERSION of the library in use for programs. */
UPRES_API const char *upres_version(void);
UPRES_API uint32_t upres_api_version(void);

/* ------------------------------------------------------------------------------------------------------ weight files */

typedef struct upres_weights upres_weights; /* one or more open weight files */

/*
 * Open and check weight files: GGUF 2/3, safetensors, PyTorch zip, told apart by content. The files stay mapped (not
 * read into memory) until close; they must not be changed meanwhile.
 * Errors: UPRES_E_INPUT with "<path>: <what is wrong>"; UPRES_E_ARGUMENT when count is 0 or more than 64.
 */
UPRES_API upres_status upres_weights_open(upres_weights **out, const char *const *paths, size_t count);
UPRES_API void upres_weights_close(upres_weights *w); /* NULL is allowed */

typedef struct upres_file_info {
    uint32_t struct_size;
    const char *path;      /* as given to open */
    const char *container; /* "gguf", "safetensors" or "torch" */
    uint64_t bytes;
    size_t tensor_count;
    size_t metadata_count;
} upres_file_info;

typedef struct upres_tensor_info {
    uint32_t struct_size;
    const char *name; /* as stored, UTF-8 */
    const char *type; /* "F32", "Q4_K", "F8_E4M3", ... */
    int32_t rank;     /* 0..8 */
    int64_t shape[8]; /* outermost dimension first */
    uint64_t bytes;   /* as stored */
} upres_tensor_info;

/* Strings of these live as long as the handle. `file`, `index` count from 0; UPRES_E_ARGUMENT when out of range. */
UPRES_API size_t upres_weights_file_count(const upres_weights *w);
UPRES_API upres_status upres_weights_file(const upres_weights *w, size_t file, upres_file_info *info);
UPRES_API upres_status upres_weights_tensor(const upres_weights *w, size_t file, size_t index, upres_tensor_info *info);
/* A metadata pair; `value` is JSON text (a quoted string, a number, an array, true...), long arrays cut with "...". */
UPRES_API upres_status upres_weights_metadata(const upres_weights *w, size_t file, size_t index, const char **key,
                                              const char **value);
/* `count` values from element `first` (row-major) as float32; FP8 without its scales. */
UPRES_API upres_status upres_weights_read(const upres_weights *w, size_t file, size_t index, uint64_t first,
                                          uint64_t count, float *out);

typedef struct upres_part_info {
    uint32_t struct_size;
    const char *network; /* "seedvr2_vae", "seedvr2_dit", "text", ... */
    size_t file;         /* where it was found */
    const char *prefix;  /* of its names in that file */
    const char *json;    /* {"family": "3b", "layers": 32, ...}: everything read off names and shapes */
    const char *summary; /* the same for people, one line */
    size_t missing_count; /* tensors the network needs and the file lacks */
    const char *missing;  /* the first of them, one a line */
    size_t unused_count;  /* tensors of the file nobody asks for */
    const char *unused;
} upres_part_info;

/* What was recognised, in order of file and position. */
UPRES_API size_t upres_weights_part_count(const upres_weights *w);
UPRES_API upres_status upres_weights_part(const upres_weights *w, size_t index, upres_part_info *info);

/*
 * Merge files into one GGUF with standard prefixes. type: "f32", "f16", "bf16", "q8_0". Written to out.part, checked,
 * renamed. Errors: UPRES_E_INPUT for a bad input or two tensors of one name, UPRES_E_ARGUMENT when `out` is one of the
 * files, by whatever links, UPRES_E_RUNTIME when it cannot be written.
 */
UPRES_API upres_status upres_convert(const char *const *paths, size_t count, const char *out, const char *type);
/* The same; cancel (NULL: never) is asked often, from this thread: nonzero ends the work with UPRES_E_CANCELLED, and what is
 * half written is removed. */
UPRES_API upres_status upres_convert_stoppable(const char *const *paths, size_t count, const char *out, const char *type,
                                               int (*cancel)(void *user), void *user);

/* ---------------------------------------------------------------------------------------------------------- options */

enum { UPRES_DEVICE_AUTO = -2, UPRES_DEVICE_CPU = -1 }; /* 0, 1, ...: CUDA device */
enum { UPRES_DEVICES_MAX = 16 };

typedef enum upres_precision {
    UPRES_PRECISION_AUTO, UPRES_PRECISION_FP32, UPRES_PRECISION_FP16, UPRES_PRECISION_BF16,
    UPRES_PRECISION_INT8, UPRES_PRECISION_FP8, UPRES_PRECISION_FP8X3
} upres_precision;

/* AUTO: the network's own habit; LAB with SeedVR2, ADAIN with FlashVSR, which takes NONE, WAVELET and ADAIN. */
typedef enum upres_color {
    UPRES_COLOR_AUTO = -1,
    UPRES_COLOR_LAB, UPRES_COLOR_NONE, UPRES_COLOR_WAVELET, UPRES_COLOR_WAVELET_ADAPTIVE, UPRES_COLOR_HSV, UPRES_COLOR_ADAIN
} upres_color;

/* AUTO: GUIDED with SeedVR2, RESIZE with FlashVSR, which does not take GUIDED. */
typedef enum upres_alpha {
    UPRES_ALPHA_AUTO = -1, UPRES_ALPHA_GUIDED, UPRES_ALPHA_RESIZE, UPRES_ALPHA_OPAQUE, UPRES_ALPHA_DROP
} upres_alpha;

/* FlashVSR's decoder: the small one that looks at the input (TINY and TINY_LONG give the same frames), or Wan's (FULL). */
typedef enum upres_mode { UPRES_MODE_AUTO, UPRES_MODE_TINY_LONG, UPRES_MODE_TINY, UPRES_MODE_FULL } upres_mode;

/* FlashVSR 1 and 1.1 differ in a rule that no tensor tells. AUTO: from a file's metadata, its path, else 1.1. */
typedef enum upres_flashvsr_version {
    UPRES_FLASHVSR_AUTO, UPRES_FLASHVSR_1, UPRES_FLASHVSR_1_1
} upres_flashvsr_version;

#define UPRES_SPARSE_DENSE (-1.0) /* upres_options.sparse_ratio: every block within the local range */

enum { UPRES_TILE_AUTO = -1, UPRES_TILE_OFF = 0 }; /* else the side in output pixels */
enum { UPRES_TILE_OVERLAP_AUTO = -1 };             /* min(128, tile / 4 rounded down to 8) */

typedef enum upres_log_level { UPRES_LOG_ERROR, UPRES_LOG_NOTE, UPRES_LOG_INFO } upres_log_level;

typedef struct upres_progress {
    uint32_t struct_size;
    const char *phase;    /* "encode", "transformer", "decode", "color" */
    int64_t frames_done;  /* results given out or ready */
    int64_t frames_total; /* 0: not known yet */
    double phase_done;    /* 0..1 of the present batch's present phase */
    double work_done;     /* 0..1 of the whole job, by operations; 0 when the total is not known */
    double seconds;       /* since the session was opened */
    uint64_t peak_bytes;  /* of working memory so far */
} upres_progress;

typedef struct upres_options {
    uint32_t struct_size;

    /* The weights decide which system runs. Fields marked S2 are SeedVR2's alone: another value than the default is
     * refused with FlashVSR. Those of FlashVSR stand at the end. */

    /* size: exactly one of scale, resolution, fit may be set; none: resolution 1080 (FlashVSR: scale 4) */
    double scale;           /* 1..8; 0: not set (default). resolution = floor(scale * short side + 0.5). FlashVSR: 1..4,
                               sides are trunc(scale * side) */
    int32_t resolution;     /* S2: short side, 16..16384; 0: not set */
    int32_t fit_width, fit_height; /* S2: the area rule: area and centred crop to multiples of 16; 0: not set */
    int32_t max_resolution; /* S2: cap of the long side, >= 16; 0: off (default) */
    int32_t resize_parity;  /* S2: 1: two resizes in a row under max_resolution, as the Python pipelines do; 0: one (default) */
    int32_t pad_edge;       /* S2: padding to 16: 0 black (default), 1 replicate the border */

    /* time, S2 */
    int32_t batch_size;    /* 1..1025, default 5; 4n + 1 wastes nothing */
    int32_t overlap;       /* frames shared by neighbouring batches, 0 (default) .. batch_size - 1 */
    int32_t blend_linear;  /* crossfade of shared frames: 0 hann3 (default), 1 linear */
    int32_t uniform_batch; /* 1: pad every batch to batch_size; default 0 */
    int32_t prepend;       /* mirrored frames put in front and dropped again, 0 (default) .. 64 */

    /* sampling; S2 but for the seed */
    uint64_t seed;            /* default 42; FlashVSR: 42 means its own default, 0, unless seed_given is set */
    int32_t noise_per_batch;  /* 0: noise keyed by absolute frame (default), 1: the same in each batch */
    double input_noise;       /* 0..1, default 0 */
    double latent_noise;      /* 0..1, default 0 */
    int32_t steps;            /* 1..50, default 1 */
    double guidance;          /* 1..20, default 1; above 1 needs the negative text */
    double guidance_rescale;  /* 0..1, default 0 */

    /* pictures */
    upres_color color;        /* default AUTO */
    int32_t color_batch;      /* S2: histograms over: 0 each frame (default), 1 all frames of a batch */
    double strength;          /* 0..1, default 1: share of the result; the rest is the resized input */
    upres_alpha alpha;        /* default AUTO */
    int32_t bits;             /* of results: 8, 10, 12, 16; 0: the input's, at least 8 (default) */
    int32_t dither;           /* -1 auto (default): tpdf when bits are below the input's; 0 none; 1 tpdf */

    /* memory and device */
    /* UPRES_TILE_AUTO (default), OFF, or >= 32, multiple of 8. FlashVSR: decode alone, with mode FULL */
    int32_t vae_encode_tile, vae_decode_tile;
    /* AUTO (default), or a multiple of 8 below the tile. FlashVSR: AUTO, as its tiles are exact */
    int32_t vae_encode_tile_overlap, vae_decode_tile_overlap;
    int32_t tile_debug;       /* 0 off (default), 1 draw the encoder's tile borders into the results, 2 the decoder's */
    int32_t device;           /* default UPRES_DEVICE_AUTO */
    upres_precision precision; /* default AUTO */
    uint64_t memory;          /* bytes to stay under; 0: what is free (default) */
    int32_t threads;          /* 1..1024; 0: all cores (default) */

    /* callbacks; any may be NULL. They run on the thread that called the session. */
    void *user;
    void (*log)(void *user, upres_log_level level, const char *sentence);
    void (*progress)(void *user, const upres_progress *p);
    int (*cancel)(void *user); /* nonzero: stop at the next opportunity with UPRES_E_CANCELLED. Asked often, from amid the
                                  work: a CUDA context of the library's may be current */

    /* FlashVSR's; another value than the default is refused with SeedVR2 */
    int32_t seed_given;       /* 1: seed is meant, also where it is 42. Either network */
    upres_mode mode;          /* default AUTO: TINY_LONG */
    upres_flashvsr_version flashvsr_version; /* default AUTO */
    double sparse_ratio;      /* 0.1..16, or UPRES_SPARSE_DENSE; 0: 2 (default). Attention blocks kept: 60 a block at 1 */
    int32_t kv_slices;        /* 2..64 slices of 8 frames remembered; 0: 3 (default) */
    int32_t local_range;      /* odd, 1..255 windows; 0: 11 (default) */
    int32_t block_keys;       /* 128, or 64: the finer pattern; 0: 128 (default) */
    int32_t tile;             /* spatial tiles: 32..16384 source pixels; 0: off (default) */
    int32_t tile_overlap;     /* source pixels, 0..tile / 2; -1: 24, or tile / 2 when that is less (default) */

    /* upres_plan alone: a GPU that need not be there, "sm_120:SMs:GHz:GB/s:GB"; NULL: device says which (default). Kept by
       the caller for the call. */
    const char *device_model;

    /*
     * Several GPUs of one architecture, instead of the one that `device` names: the numbers of 1 to UPRES_DEVICES_MAX different
     * CUDA devices; device_count 0: `device` says which (default). Upscaling with SeedVR2: batches are shared out to them, or,
     * where the clip is one batch, the tiles of the autoencoder; more frames are wanted before the first result
     * (upres_session_latency). With FlashVSR: tiles (`tile`), each of which stays on one device; without tiles the first
     * works alone, with a note. Every device holds the weights and a working memory, planned for the one with the least to spare;
     * `memory` is each one's. Results are those of one device with that plan, bit for bit. Progress is told of the earliest
     * batch or tile.
     */
    int32_t device_count;
    int32_t devices[UPRES_DEVICES_MAX];

    /* With precision FP8 alone: 1: attention's scores too are products of 8-bit floats; less exact than those of int8, which
       take as long and are the default, 0. upres_bench has both beside each other. */
    int32_t fp8_scores;
} upres_options;

/* Fill in the defaults. size: sizeof(upres_options) as compiled by the caller. */
UPRES_API void upres_options_default(upres_options *o, size_t size);

/* Check ranges and contradictions without any file. UPRES_E_ARGUMENT / UPRES_E_UNSUPPORTED with a sentence. */
UPRES_API upres_status upres_options_check(const upres_options *o);

/* ---------------------------------------------------------------------------------------------------------- session */

typedef struct upres_range {
    int64_t first, last; /* frames of the clip, from 0, both counted */
} upres_range;

typedef struct upres_clip {
    uint32_t struct_size;
    int32_t width, height; /* of source frames, 1..16384 */
    int32_t channels;      /* 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA */
    int32_t bits;          /* 8..16: the largest code is 2^bits - 1 */
    int64_t frames;        /* in the whole clip; 0: not known, upres_session_drain() tells */
    /* Results that are asked for, as upres_session_select() would say; range_count 0: all. Read in the call, not kept. Several
       devices share the tiles of a batch that is the only one asked for when they are told here. */
    const upres_range *ranges;
    size_t range_count;
} upres_clip;

typedef struct upres_frame {
    uint32_t struct_size;
    int64_t number;         /* position in the clip, from 0 */
    int32_t width, height;
    int32_t channels, bits; /* up to 8 bits: one byte a sample; above: uint16_t */
    const void *data;       /* interleaved rows, the top one first */
    ptrdiff_t stride;       /* bytes from row to row */
} upres_frame;

typedef struct upres_session upres_session;

/*
 * Start a job. Checks everything that can be known: options, that the weights hold what the job needs (and no part
 * twice), sizes, memory. Computes nothing yet.
 * Errors: UPRES_E_ARGUMENT, UPRES_E_UNSUPPORTED, UPRES_E_INPUT (a network or text is missing), UPRES_E_MEMORY.
 */
UPRES_API upres_status upres_session_open(upres_session **out, const upres_weights *w, const upres_options *o,
                                          const upres_clip *clip);
UPRES_API void upres_session_close(upres_session *s); /* NULL is allowed */

/* Size and form of the results. */
UPRES_API upres_status upres_session_output(const upres_session *s, int32_t *width, int32_t *height, int32_t *channels,
                                            int32_t *bits);

/*
 * Ask for only some results: frames first..last, both counted. May be called several times before the first push;
 * without it all frames are given out. Batches and noise stay where they lie in the whole clip, so parts done apart
 * join to the same pixels. FlashVSR is a stream: the frames before the first one asked for are computed all the same.
 * UPRES_E_ARGUMENT after the first push or when first > last.
 */
UPRES_API upres_status upres_session_select(upres_session *s, int64_t first, int64_t last);

/* The number of the next source frame to push, always rising; -1 when no more are needed. */
UPRES_API int64_t upres_session_wants(const upres_session *s);

/*
 * Hand over source frame upres_session_wants(). The pixels are copied; the frame stays the caller's.
 * Returns UPRES_OK; UPRES_AGAIN when results must be pulled first (the frame was not taken); UPRES_E_INPUT when size or
 * form differ from the clip's (the session stays usable); UPRES_E_ARGUMENT for another number than wanted.
 * A SeedVR2 session on one GPU takes the next batch's frames as well while a batch is at work: who pushes them between results,
 * before pull asks for them, leaves the GPU no pause between batches.
 */
UPRES_API upres_status upres_session_push(upres_session *s, const upres_frame *frame);

/*
 * The frame pushed next begins a new scene: a FlashVSR session carries nothing over to it. What has been pushed is finished as
 * if the clip ended there (push returns UPRES_AGAIN until it has been pulled); numbers and noise go on. UPRES_E_UNSUPPORTED with
 * SeedVR2.
 */
UPRES_API upres_status upres_session_cut(upres_session *s);

/* No more frames will come. Needed when clip.frames was 0; otherwise allowed and without effect once all are pushed. */
UPRES_API upres_status upres_session_drain(upres_session *s);

/*
 * Take the next result, in rising order; the work is done in here. out->data stays valid until the next call on s.
 * Returns UPRES_OK, UPRES_AGAIN (push first), UPRES_END, or an error after which only close is useful.
 */
UPRES_API upres_status upres_session_pull(upres_session *s, upres_frame *out);

/* How many source frames may have to be pushed before the first result can be pulled. */
UPRES_API int64_t upres_session_latency(const upres_session *s);

/* ----------------------------------------------------------------------------------------- stages: frames <-> latents */

/* A rectangle of one frame: planar samples, plane c at data + c * plane_stride, rows row_stride apart (in floats). */
typedef struct upres_region {
    uint32_t struct_size;
    int64_t frame;
    int32_t y, x, height, width, channels;
    float *data;
    ptrdiff_t plane_stride, row_stride;
} upres_region;

/*
 * Where a stage reads from and writes to, by position. read: fill region->data. write: store it, or, when `add` is
 * nonzero, add it to what stands there (overlapping tiles). Each sample is stored once before anything is added to it.
 * Return 0, or nonzero to stop the stage with UPRES_E_RUNTIME and a sentence that names the frame.
 */
typedef struct upres_video {
    uint32_t struct_size;
    void *user;
    int (*read)(void *user, const upres_region *region);
    int (*write)(void *user, const upres_region *region, int add);
} upres_video;

/*
 * Frames to latents. frames: RGB in [-1, 1], width and height multiples of 8; `count` of any size: a count that is not
 * 4n + 1 is mirrored up to it. latents: 16 channels of (height / 8) x (width / 8), (count' - 1) / 4 + 1 of them, the
 * posterior mean * 0.9152. Uses of the options: device, precision, memory, threads, vae_encode_*, callbacks.
 */
UPRES_API upres_status upres_encode(const upres_weights *w, const upres_options *o, int32_t width, int32_t height,
                                    int64_t count, const upres_video *frames, const upres_video *latents);

/*
 * Latents to frames: count latents give 4 (count - 1) + 1 frames, of which the first `keep` are written (0: all).
 * Results are the decoder's raw output, not clamped.
 */
UPRES_API upres_status upres_decode(const upres_weights *w, const upres_options *o, int32_t latent_width,
                                    int32_t latent_height, int64_t count, int64_t keep, const upres_video *latents,
                                    const upres_video *frames);

/* Latent channels (16 in the released model) and pixels per latent (8) of the weights' VAE; UPRES_E_INPUT without one. */
UPRES_API upres_status upres_vae_form(const upres_weights *w, int32_t *latent_channels, int32_t *spatial_factor,
                                      int32_t *temporal_factor);

/* ------------------------------------------------------------------------------------------------- plans and devices */

typedef enum upres_job { UPRES_JOB_UPSCALE, UPRES_JOB_ENCODE, UPRES_JOB_DECODE } upres_job;

typedef struct upres_plan_phase {
    const char *name;      /* "encode", "transformer", "decode", ... */
    uint64_t arena_bytes;  /* working memory while it runs */
    uint64_t weight_bytes; /* of weight files it touches; on a GPU as they are kept there */
    double flop;           /* of the whole job */
    double seconds;        /* estimate; 0 when the device's rate is unknown */
} upres_plan_phase;

/* One kernel of a GPU in one phase, predicted. */
typedef struct upres_plan_kernel {
    size_t phase;             /* index of phases */
    char name[32];
    double launches, flop, bytes;
    double seconds;
    double seconds_published; /* if products of 8 bits stay at 60 % of their rate, as published ones do */
    double share;             /* of that rate; of kernels that move memory, of its bandwidth */
    char bound[16];           /* what most of the time is waited for: "tensor", "issue", "shared", "L2", "DRAM", "latency" */
} upres_plan_kernel;

typedef struct upres_plan_report {
    uint32_t struct_size;
    char device[96];          /* what the plan is for */
    int32_t source_width, source_height;
    int32_t resized_width, resized_height;
    int32_t output_width, output_height;
    int32_t padded_width, padded_height; /* what the networks see */
    int64_t frames, batches, frames_computed; /* results; batches that run for them, and what those compute */
    int32_t encode_tile, encode_tile_overlap, encode_tiles; /* side (0: untiled), overlap, tiles a frame */
    int32_t decode_tile, decode_tile_overlap, decode_tiles;
    uint64_t arena_bytes;     /* one arena serves all phases of the networks: the largest */
    uint64_t weight_bytes;    /* parts of weight files that will be touched; on a GPU its memory for them */
    uint64_t fixed_bytes;     /* program, buffers for frames, results in flight; always the host's */
    uint64_t host_peak_bytes; /* the sum; with a GPU fixed_bytes alone, as arena and weights are in its memory */
    double flop, seconds, flop_per_second;
    size_t phase_count;
    upres_plan_phase phases[8];
    char note[256];           /* what auto chose and why; "" when nothing */
    /*
     * With device_model: `seconds` above are predicted from the kernels' machine code, which was counted when upres was built.
     * kernels: the longest first in each phase. Builds without a disassembler have none. Uploads are in none.
     */
    size_t kernel_count;
    upres_plan_kernel kernels[128];
    double seconds_published; /* of all, as above; 0 without a prediction */
    char model[256];          /* the constants it rests on, or why there is none; "" without device_model */
    char longest_kernel[32];  /* of a GPU: the launch that takes longest by itself, and its time; "" when not known. Builds */
    double longest_seconds;   /* without a disassembler guess it high */
    uint64_t picture_bytes;   /* of a GPU's memory beside arena and weights, for resizing and colours there (phase "pictures");
                                 0: none is free for it, and the host does that work */
    uint64_t limit_bytes;     /* that can be had of the memory planned for: the GPU's, or the host's; 0: not known */
    /* Of a job that does not fit as it is set (UPRES_E_MEMORY; the report is filled in as far as it goes): the least of that
       memory that it would run in. 0: it fits, or is not known */
    uint64_t needed_bytes;
} upres_plan_report;

/*
 * What a job would need: runs the real code on a device that only counts. clip: for UPSCALE the source, and the ranges asked
 * for; for ENCODE width, height, frames; for DECODE width and height of the frames that come out and `frames` latents. No frame
 * is read.
 */
UPRES_API upres_status upres_plan(const upres_weights *w, const upres_options *o, upres_job job, const upres_clip *clip,
                                  upres_plan_report *report);

typedef struct upres_device_info {
    uint32_t struct_size;
    int32_t device;     /* value for upres_options.device */
    char name[96];      /* "cpu: ..., avx512, 2 threads" */
    uint64_t memory_bytes, free_bytes;
} upres_device_info;

UPRES_API size_t upres_device_count(void); /* the CPU, which is device 0 here, and CUDA devices */
UPRES_API upres_status upres_device(size_t index, upres_device_info *info);

/* -------------------------------------------------------------------------------------------------------- benchmarks */

/* A ceiling of the device: what one kind of multiply-add could do if nothing held it up. */
typedef struct upres_bench_limit {
    const char *name;       /* "bf16 mma", "avx512" */
    double flop_per_clock;  /* of a unit */
    double flop_per_second; /* of the device; 0: its clock is not known */
} upres_bench_limit;

/* What the numbers depend on. */
typedef struct upres_bench_context {
    uint32_t struct_size;
    const char *device;        /* "cpu: ..., 2 threads", "cuda:0: NVIDIA GeForce RTX 5090, sm_120, 170 SMs" */
    const char *driver;        /* of a GPU: "for CUDA 13.0; ..."; else "" */
    const char *kernels;       /* of a GPU, how they come about: "NVRTC 13.0, cache /home/a/.cache/upres"; else "" */
    int32_t emulated;          /* the device is an emulator: its times mean nothing */
    int32_t units;             /* threads that compute; multiprocessors */
    double clock_ghz;          /* of them; 0: not known */
    const char *clock_source;  /* where that is from */
    double bytes_per_second;   /* of memory; 0: not known */
    const char *memory_source;
    uint64_t cache_bytes;      /* of the last cache; 0: not known */
    size_t limit_count;
    upres_bench_limit limit[12];
} upres_bench_context;

/* Strings of it and of its context live until the callback returns. */
typedef struct upres_bench_result {
    uint32_t struct_size;
    const char *name;    /* "conv3d/512x512k333/2x90x160" */
    const char *version; /* "scalar", "avx2", "avx512"; "fp32", "bf16", "int8", ...; "bf16:128x64": its product by itself, so tiled */
    double seconds;      /* median of one run, caches warm */
    double spread;       /* (largest - smallest) / median */
    int32_t runs;
    double flop, bytes;  /* of one run; bytes: that must be read and written, 0 where they are not counted */

    const upres_bench_context *context;
    const char *kernel;  /* of the largest product: "gemm_bf16_256x128"; on the CPU the instruction set; "" without products */
    double cold_seconds; /* a run with caches swept; of networks the first run, with what is made ready then; 0: not measured */
    double cpu_seconds;  /* of processors, for one run; 0: not known */
    const char *limit;   /* name of the ceiling over its arithmetic; "": none is known, or it has no products */
    double limit_flop;   /* that, operations a second */
    int32_t network;     /* a network or phase, with its copies in and out */
} upres_bench_result;

/*
 * Time kernels, networks and phases at the shapes the released networks use, in all versions that o->device has: instruction sets;
 * with o->precision AUTO precisions, each once where several do the same. pattern: shell pattern on names, with or without
 * "/version", NULL all. What is too large for the device is left out with a note, unless the pattern is its name.
 * each: called after every measurement; nonzero stops. Errors: UPRES_E_ARGUMENT when no name fits, UPRES_E_UNSUPPORTED for a
 * device that cannot be used.
 */
UPRES_API upres_status upres_bench(const upres_options *o, const char *pattern, void *user,
                                   int (*each)(void *user, const upres_bench_result *r));

/* --------------------------------------------------------------------------------------------------------- self-test */

typedef struct upres_selftest_result {
    uint32_t struct_size;
    const char *name;      /* "conv3d/first_layer" */
    const char *device;    /* "cpu", "cuda:0" */
    const char *version;   /* "avx2", "avx512"; "fp32", "bf16", "int8" */
    double error, allowed; /* of results, relative to their size; infinite where there are none */
    int32_t ok;
    const char *problem;   /* a sentence on what is wrong, "" when ok */
    double seconds;        /* of one run, with what is done the first time: compiling kernels, preparing weights */
} upres_selftest_result;

/*
 * Every operation of a device against the plain C versions, on small cases that need no file. o->device: AUTO is the CPU's
 * instruction sets and all GPUs. o->precision: AUTO is all that a GPU offers. pattern: shell pattern on names, NULL all.
 * each: called after every case; nonzero stops. UPRES_OK also when cases failed. Errors: UPRES_E_UNSUPPORTED for a device that
 * cannot be used, UPRES_E_MEMORY.
 */
UPRES_API upres_status upres_selftest(const upres_options *o, const char *pattern, void *user,
                                      int (*each)(void *user, const upres_selftest_result *r));

/*
 * What a bug report has to say of this machine, lines of text: versions of the library and its compiler, system, processor,
 * memory, driver, GPUs and how their kernels are made. Cut where `size` ends. text NULL: UPRES_E_ARGUMENT.
 */
UPRES_API upres_status upres_about(char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
