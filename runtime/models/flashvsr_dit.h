/*
 * FlashVSR's transformer: noise and low-quality tokens to latents, a chunk at a time, one step. Source:
 * OpenImagingLab/FlashVSR diffsynth/models/wan_video_dit.py (Wan 2.1 T2V 1.3B, cut and distilled).
 *
 * Two latent frames are a slice. Its tokens, h x w of either frame, are cut into windows of 2 x 8 x 8 = 128:
 * attention is between whole windows. Between patches and head tokens stand in window order,
 * [slices][windows][128][width], so that no block moves them. Every block keeps keys and values of the last slices:
 * the only memory of a stream, of fixed size.
 */
#ifndef UPRES_RUNTIME_MODELS_FLASHVSR_DIT_H
#define UPRES_RUNTIME_MODELS_FLASHVSR_DIT_H

#include "loader/weights.h"
#include "runtime/dev.h"

enum { FLASH_SLICE = 2, FLASH_WINDOW = 8 };          /* latent frames; tokens each way */
enum { FLASH_FIRST_LATENTS = 6, FLASH_LATENTS = 2 }; /* of the first chunk and of every later one */

typedef struct FlashvsrSetup {
    bool causal;         /* v1.1's projection rule; false: v1 */
    double sparse_ratio; /* 0.1 .. 16; <= 0: dense, every block within the local range */
    int kv_slices;       /* slices kept between chunks, at least 2 */
    int local_range;     /* odd */
    int block_keys;      /* 128 or 64 */
    int heads;           /* in no tensor's shape; 0: width / 128 */
} FlashvsrSetup;

/*
 * For tests: values inside. "t", "t_mod", "text_k<i>", "text_v<i>" when a stream is opened; of the chunk at work
 * "lq", "attention<i>" (before the output matrix), "block<i>", "new_k<i>" and "new_v<i>" (the last slice): all but lq
 * in window order. Masks [heads][query blocks][key blocks] can be replaced by the observer before they are used. NULL
 * members: not wanted.
 */
typedef struct FlashvsrTap {
    void *user;
    void (*value)(void *user, const char *where, int chunk, const float *rows, int row_count, int columns, int padded);
    void (*mask)(void *user, int block, int chunk, uint8_t *mask, int heads, int queries, int keys);
} FlashvsrTap;
/* Hands x to the tap when it wants values and d computes. */
void flash_tap_value(const FlashvsrTap *tap, Dev *d, const char *where, int chunk, Tensor x);

typedef struct FlashDit FlashDit;

/* prompt: [1, L, text width] or [L, text width]. Part and prompt must outlive it. NULL and a sentence on a missing
 * tensor or a wrong shape. */
FlashDit *flash_dit_open(const WeightPart *part, const WeightPart *prompt, char *error, size_t error_size);
void flash_dit_close(FlashDit *m);      /* NULL is allowed */
int flash_dit_width(const FlashDit *m); /* channels of a token */
void flash_dit_set_tap(FlashDit *m, FlashvsrTap tap);

/* One stream: what the fixed timestep and the fixed prompt come to, and the keys and values kept; in the arena. h,
 * w: tokens of a latent frame, multiples of 8. NULL: the device has failed. */
typedef struct FlashDitStream FlashDitStream;
FlashDitStream *flash_dit_stream_open(FlashDit *m, Dev *d, int h, int w, FlashvsrSetup setup);
void flash_dit_stream_close(FlashDitStream *s); /* NULL is allowed */

/* The next chunk. lq [6 | 2][h][w][width]; latent [6 | 2][2h][2w][channels] holds the noise, receives noise -
 * velocity. */
void flash_dit_chunk(FlashDitStream *s, Tensor lq, Tensor latent);

/* A chunk's parts, which it consists of and tests use alone. Set the number of the chunk at work; one block over x
 * in window order, in place; one more slice at the end of what a block remembers, to be filled: at most kv_slices
 * between blocks. */
void flash_dit_seek(FlashDitStream *s, int chunk);
void flash_dit_block(FlashDitStream *s, int block, Tensor x);
KeySlice flash_dit_remember(FlashDitStream *s, int block);
/* Tokens [t][h][w][c] to [t / 2][windows][128][c] and back; the result is the caller's. */
Tensor flash_dit_to_windows(FlashDitStream *s, Tensor tokens);
Tensor flash_dit_from_windows(FlashDitStream *s, Tensor windows);

/* Rotation of channels 2 * pair and 2 * pair + 1 of a head at position place[axis], axis 0 frame, 1 row, 2 column
 * being the one that the pair belongs to. */
double flash_dit_angle(int head_dim, int pair, const int64_t place[3]);

#endif
