#include "runtime/cuda/pieces.h"

#include "runtime/cuda/predict.h"

int cuda_pieces(const Dev *d, const KernelWork *w)
{
    enum { MOST = 1 << 20 }; /* more than there are outputs to part */
    const double pieces = (predict_at_most(cuda_device_of(d), w) - PREDICT_LAUNCH) / cuda_launch_limit(d);
    return pieces < 1 ? 1 : pieces < MOST ? (int)pieces + 1 : MOST;
}

/* ---------------------------------------------------------------------------------------------------------- attention */

static int a_part(int all, double pieces)
{
    const double n = all / pieces;
    return n < 1 ? 1 : n < all ? (int)n : all;
}

CudaFlashPiece cuda_flash_begin(Dev *d, const char *function, CudaGrid grid, int frame, double flop, double share)
{
    CudaFlashPiece p = {.grid = grid, .all_heads = (int)grid.z, .all_problems = (int)grid.y, .frame = frame, .flop = flop * share};
    KernelWork w = cuda_work(cuda_device_of(d), function, grid, NULL);
    w.mma_flop = flop;
    const int pieces = cuda_pieces(d, &w);
    if (frame > 0) {
        p.heads_at_once = a_part(p.all_heads, pieces);
        p.at_once = p.heads_at_once > 1 ? p.all_problems : a_part(p.all_problems, (double)pieces / p.all_heads);
        if (p.at_once > frame) p.at_once -= p.at_once % frame;
    } else {
        p.at_once = a_part(p.all_problems, pieces);
        p.heads_at_once = p.at_once > 1 ? p.all_heads : a_part(p.all_heads, (double)pieces / p.all_problems);
    }
    return p;
}

static int least(int a, int b) { return a < b ? a : b; }

bool cuda_flash_next(Dev *d, CudaFlashPiece *p)
{
    p->problem += p->problems;
    if (p->problem == p->all_problems) {
        p->problem = 0;
        p->head += p->heads;
    }
    if (p->head == p->all_heads) return false;
    p->heads = least(p->heads_at_once, p->all_heads - p->head);
    p->problems = least(p->at_once, p->all_problems - p->problem);
    if (p->frame > 0 && p->at_once < p->frame) p->problems = least(p->problems, p->frame - p->problem % p->frame);
    p->grid.y = (unsigned)p->problems;
    p->grid.z = (unsigned)p->heads;
    cuda_expect(d, p->flop * p->problems / p->all_problems * p->heads / p->all_heads);
    return true;
}

uint64_t cuda_flash_tokens(const CudaTokens *o, int rows, int problem)
{
    const int64_t token = (int64_t)(problem / rows) * o->frame + (int64_t)(problem % rows) * o->row;
    return (uint64_t)(token * o->pitch * element_bytes((Element)o->type));
}

uint64_t cuda_flash_mask_rows(const CudaFlashPiece *p, int first_head)
{
    return (uint64_t)first_head * (uint64_t)(p->all_problems - p->problems) + (uint64_t)p->problem;
}

uint64_t cuda_flash_text(const CudaFlashPiece *p, int text)
{
    return ((uint64_t)p->problem * (uint64_t)p->all_heads + (uint64_t)p->head) * (uint64_t)text * sizeof(float);
}
