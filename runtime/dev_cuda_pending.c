/* Operations that still lack their kernels: each goes when its file comes. */
#include "runtime/dev_cuda.h"

#define PENDING(name, parameters) void name parameters { dev_fail(d, "internal error: " #name " is not written yet"); }
#define UNUSED __attribute__((unused))

/* weights, fold */
PENDING(cuda_upsample, (Dev *d, UNUSED const UpsampleArgs *a))
FoldedUpsampler *cuda_fold(Dev *d, UNUSED int stage, UNUSED const BoundWeight *up, UNUSED const BoundWeight *up_bias, UNUSED const BoundWeight *conv, UNUSED const BoundWeight *conv_bias, UNUSED int rt) { dev_fail(d, "pending"); return NULL; }
FoldedUpsampler *cuda_fold_nearest(Dev *d, UNUSED int stage, UNUSED const BoundWeight *grow, UNUSED int frames, UNUSED const BoundWeight *conv, UNUSED const BoundWeight *bias) { dev_fail(d, "pending"); return NULL; }
PENDING(cuda_fold_free, (Dev *d, UNUSED FoldedUpsampler *f))
ConvState *cuda_fold_state(Dev *d, UNUSED const FoldedUpsampler *f, UNUSED Tensor x, UNUSED int frames) { dev_fail(d, "pending"); return NULL; }
/* producers, rows */
PENDING(cuda_norm, (Dev *d, UNUSED const NormArgs *a))
PENDING(cuda_stats, (Dev *d, UNUSED const StatsArgs *a))
PENDING(cuda_rotate, (Dev *d, UNUSED const RotateArgs *a))
PENDING(cuda_rows, (Dev *d, UNUSED Tensor y, UNUSED Tensor x, UNUSED const int32_t *index))
PENDING(cuda_axpby, (Dev *d, UNUSED Tensor y, UNUSED float a, UNUSED Tensor x, UNUSED float b, UNUSED Tensor z))
PENDING(cuda_guide, (Dev *d, UNUSED Tensor v, UNUSED Tensor negative, UNUSED float guidance, UNUSED float rescale))
PENDING(cuda_modulation, (Dev *d, UNUSED Tensor out, UNUSED Tensor emb, UNUSED int layer, UNUSED int part, UNUSED const BoundWeight *extra))
PENDING(cuda_modulation_row, (Dev *d, UNUSED Tensor out, UNUSED float add, UNUSED Tensor emb, UNUSED int emb_row, UNUSED const BoundWeight *table, UNUSED int table_row))
/* attention */
PENDING(cuda_attention, (Dev *d, UNUSED const AttentionArgs *a))
PENDING(cuda_block_attention, (Dev *d, UNUSED const BlockAttentionArgs *a))
PENDING(cuda_block_mask, (Dev *d, UNUSED const BlockMaskArgs *a))
