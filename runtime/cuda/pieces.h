/*
 * Long launches in pieces. Where a GPU shows a desktop its driver ends a program whose kernel runs for some seconds, and the desktop
 * stands still while it runs; so products and attention that could take LAUNCH_SECONDS or longer become several launches, on
 * every device alike. A piece makes outputs of its own with the tile of the whole: the bits are the same in any number of pieces.
 *
 * How long a launch takes is guessed high, without its machine code (predict_at_most), so that all builds take the same pieces.
 */
#ifndef UPRES_RUNTIME_CUDA_PIECES_H
#define UPRES_RUNTIME_CUDA_PIECES_H

#include "runtime/cuda/dev.h"
#include "runtime/cuda/work.h"

#define LAUNCH_SECONDS 0.4

/* Launches of that work, at least 1. */
int cuda_pieces(const Dev *d, const KernelWork *w);

/* ---------------------------------------------------------------------------------------------------------- attention */

/* Heads and problems (windows, or query blocks) of one launch. */
typedef struct CudaFlashPiece {
    int head, heads, problem, problems;
    CudaGrid grid;                   /* of this piece */
    int all_heads, all_problems;
    int frame;                       /* query blocks of one; 0: windows */
    int heads_at_once, at_once;      /* of any piece but the last, of problems */
    double flop;                     /* to be expected of all */
} CudaFlashPiece;

/*
 * grid: of all, problems down and heads behind. flop: of its whole tiles; share: what is to be expected of that. Windows are parted first, then heads of single ones; of
 * query blocks heads, then the blocks of single heads, in whole frames or within one.
 */
CudaFlashPiece cuda_flash_begin(Dev *d, const char *function, CudaGrid grid, int frame, double flop, double share);
/* False: there is no piece left. To be launched before the next is asked for. */
bool cuda_flash_next(Dev *d, CudaFlashPiece *p);

/* Where a piece's part of what is shared begins: bytes of the tokens of o, `rows` query blocks a frame; rows of the mask, which
 * kernels count through the problems of their own launch, first_head being the piece's; bytes of float [windows][heads][text]. */
uint64_t cuda_flash_tokens(const CudaTokens *o, int rows, int problem);
uint64_t cuda_flash_mask_rows(const CudaFlashPiece *p, int first_head);
uint64_t cuda_flash_text(const CudaFlashPiece *p, int text);

/* For tests: launches become pieces from so many seconds on; LAUNCH_SECONDS at first. */
void cuda_limit_launches(Dev *d, double seconds);

#endif
