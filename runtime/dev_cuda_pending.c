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
/* attention */
PENDING(cuda_attention, (Dev *d, UNUSED const AttentionArgs *a))
PENDING(cuda_block_attention, (Dev *d, UNUSED const BlockAttentionArgs *a))
PENDING(cuda_block_mask, (Dev *d, UNUSED const BlockMaskArgs *a))
