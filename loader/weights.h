/*
 * Weight files as named tensors: the one door through which models reach their weights.
 *
 * A WeightFile is one mapped file of any container (gguf.c, safetensors.c, torch_zip.c), fully checked at open: every
 * tensor's bytes lie inside the map. A WeightSet is several files plus what was recognised in them. Nothing is copied:
 * tensors point into the maps, values are converted where they are used.
 *
 * Threads: a set is read-only once open and may be shared; opening and closing belong to one thread.
 */
#ifndef UPRES_LOADER_WEIGHTS_H
#define UPRES_LOADER_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WEIGHT_MAX_RANK = 8 };

/* How elements are stored. The order is free; names are those of upres info (weight_type_name). */
typedef enum WeightType {
    WT_F32, WT_F16, WT_BF16, WT_F64, WT_F8_E4M3, WT_F8_E5M2,
    WT_I8, WT_I16, WT_I32, WT_I64, WT_U8, WT_U16, WT_U32, WT_U64, WT_BOOL,
    WT_Q4_0, WT_Q4_1, WT_Q5_0, WT_Q5_1, WT_Q8_0, WT_IQ4_NL,
    WT_Q2_K, WT_Q3_K, WT_Q4_K, WT_Q5_K, WT_Q6_K, WT_Q8_K, WT_IQ4_XS,
    WT_COUNT
} WeightType;

const char *weight_type_name(WeightType t);          /* "Q4_K" */
int weight_type_block(WeightType t);                 /* elements a block: 1, 32 or 256 */
int weight_type_bytes(WeightType t);                 /* bytes a block */

typedef struct WeightTensor {
    const char *name;               /* as stored; owned by the file */
    WeightType type;
    int rank;
    int64_t shape[WEIGHT_MAX_RANK]; /* outermost first, after restoration of flattened shapes */
    int64_t count;                  /* elements */
    const uint8_t *data;            /* first stored byte, any alignment */
    uint64_t bytes;
    bool strided;                   /* PyTorch views only: elements must be gathered with `stride` (in elements) */
    int64_t stride[WEIGHT_MAX_RANK];
} WeightTensor;

typedef struct WeightFile WeightFile;

/* A failed open gives NULL and one sentence "<path>: ..." in error. Bytes outside printable text are shown as \xNN. */
WeightFile *weight_file_open(const char *path, char *error, size_t error_size);
void weight_file_close(WeightFile *f);
const char *weight_file_path(const WeightFile *f);
const char *weight_file_container(const WeightFile *f); /* "gguf" | "safetensors" | "torch" */
uint64_t weight_file_bytes(const WeightFile *f);
size_t weight_file_tensor_count(const WeightFile *f);
const WeightTensor *weight_file_tensor(const WeightFile *f, size_t index);
const WeightTensor *weight_file_find(const WeightFile *f, const char *name); /* NULL: absent */
size_t weight_file_metadata_count(const WeightFile *f);
void weight_file_metadata(const WeightFile *f, size_t index, const char **key, const char **json_value);
const char *weight_file_metadata_string(const WeightFile *f, const char *key); /* decoded string value or NULL */

/*
 * Elements first .. first + count - 1 (row-major over shape) as float32, scales not applied. Exact: at most one rounding.
 * first and count need not be multiples of a block. Any thread.
 */
void weight_read(const WeightTensor *t, int64_t first, int64_t count, float *out);

/* ------------------------------------------------------------------------------------------------------ recognition */

typedef enum WeightNetwork {
    NET_SEEDVR2_VAE, NET_SEEDVR2_DIT, NET_TEXT,
    NET_FLASHVSR_DIT, NET_FLASHVSR_LQ, NET_TCDECODER, NET_WAN_VAE
} WeightNetwork;

const char *weight_network_name(WeightNetwork n); /* "seedvr2_vae", "seedvr2_dit", "text", "flashvsr_dit", ... */

/* The SeedVR2 VAE's configuration, read off names and shapes. A half that is absent has zeros. */
typedef struct VaeConfig {
    int levels;                        /* of either half: at most 8 */
    int width[8];                      /* block_out_channels, encoder order */
    int encoder_blocks, decoder_blocks; /* residual blocks a level */
    bool temporal_down[8], temporal_up[8]; /* per down/upsampler: does it change time? (decoder order for up) */
    int latent_channels, pixel_channels;
    int spatial_factor, temporal_factor;
    bool has_encoder, has_decoder;
} VaeConfig;

/* The SeedVR2 transformer's configuration (spec: "Detect from tensors"). */
typedef struct DitConfig {
    bool is_7b;        /* family: false 3B kind, true 7B kind */
    int layers, width, heads, head_dim, text_width, mlp_hidden, time_width;
    int in_channels, out_channels;
    bool shared[256];  /* per block: one weight set (`all`) for video and text */
} DitConfig;

/* Networks without a file: SeedVR2's of given forms, FlashVSR's as released. */
typedef struct BlankNetworks {
    const VaeConfig *vae; /* NULL: none */
    const DitConfig *dit; /* NULL: none */
    int flash_layers;     /* blocks of FlashVSR's transformer; 0: none */
    bool flash_lq, tcdecoder, wan_vae;
} BlankNetworks;

/* A file of weight_set_blank. */
WeightFile *weight_file_blank(const BlankNetworks *n);

typedef struct WeightPart {
    WeightNetwork network;
    const WeightFile *file;
    size_t file_index;
    const char *prefix;         /* owned by the set */
    const WeightTensor *tensor; /* NET_TEXT: [rows][width] or [1][rows][width] */
    bool negative;              /* NET_TEXT: named neg_emb (in a bare file: told by nothing, so false) */
    VaeConfig vae;              /* NET_SEEDVR2_VAE */
    DitConfig dit;              /* NET_SEEDVR2_DIT */
    char *json, *summary;       /* owned by the set */
    char *missing, *unused;     /* names, one a line, at most the first 64 */
    size_t missing_count, unused_count;
} WeightPart;

typedef struct WeightSet WeightSet;

/* Opens all files and recognises their networks. Error: NULL and a sentence. */
WeightSet *weight_set_open(const char *const *paths, size_t count, char *error, size_t error_size);
/* Networks that no file holds, for timing code without weights: small numbers at random, the same ones in every tensor.
 * NULL: no memory. */
WeightSet *weight_set_blank(const BlankNetworks *n);
void weight_set_close(WeightSet *s);
size_t weight_set_file_count(const WeightSet *s);
const WeightFile *weight_set_file(const WeightSet *s, size_t index);
size_t weight_set_part_count(const WeightSet *s);
const WeightPart *weight_set_part(const WeightSet *s, size_t index);

/*
 * The one part of a kind. NULL with a sentence when it is absent (naming what the files do hold), or present twice
 * (naming both files). NET_TEXT: text_width must fit (0: any); negative selects neg_emb: a tensor or a file of that name,
 * else, of two bare text files, the second given.
 */
const WeightPart *weight_set_require(const WeightSet *s, WeightNetwork n, bool negative, int text_width, char *error,
                                     size_t error_size);

/* The halves of a SeedVR2 VAE, from one file or from two. */
typedef struct VaeParts {
    const WeightPart *encoder, *decoder; /* NULL: not asked for */
} VaeParts;

/* The halves asked for. False with a sentence: one is absent, in two files, or the two are not of one form. */
bool weight_set_require_vae(const WeightSet *s, bool encoder, bool decoder, VaeParts *out, char *error, size_t error_size);

/* ---------------------------------------------------------------------------------------------- binding by a model */

/* A weight bound to the shape a model needs: what kernels are given. Lives as long as the set. */
typedef struct BoundWeight {
    const WeightFile *file;     /* that it is in; NULL: none */
    const WeightTensor *tensor; /* NULL: not bound */
    int rank;
    int64_t shape[WEIGHT_MAX_RANK]; /* as needed, which may group the stored dimensions otherwise */
    int64_t count;
    const WeightTensor *scale;  /* FP8/I8 scale: one element, or one per row of the first dimension; NULL none */
} BoundWeight;

/*
 * Find prefix + name in the part's file and fit it to `shape` by the rules (a) equal, (b) equal without ones,
 * (c) rank 4 against 5 with the outer two multiplied, (d) one dimension against more than four, of as many elements (GGUF
 * writers that flatten such tensors and keep no record; data are row-major in every habit). Also finds <layer>.scale_weight / .weight_scale and checks
 * comfy_quant. Returns false with a sentence: missing (file, prefix, name) or both shapes.
 */
bool weight_bind(const WeightPart *part, const char *name, int rank, const int64_t *shape, BoundWeight *out, char *error,
                 size_t error_size);

/* Effective values (stored x scale) of a bound weight, as weight_read. Any thread. */
void bound_read(const BoundWeight *b, int64_t first, int64_t count, float *out);

/* Asked between pieces of the work; nonzero ends it. NULL: never. */
typedef struct WeightCancel {
    int (*asked)(void *user);
    void *user;
} WeightCancel;

/* Files to one file: see upres_convert_stoppable in runtime/upres.h. status: 0 ok, 1 bad input, 2 cannot write, 3 out is an
 * input, 4 cancelled. */
int weight_convert(const char *const *paths, size_t count, const char *out, const char *type, WeightCancel cancel, char *error,
                   size_t error_size);

#endif
