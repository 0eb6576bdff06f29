/* Operations that still lack their kernels: each goes when its file comes. */
#include "runtime/dev_cuda.h"

#define PENDING(name, parameters) void name parameters { dev_fail(d, "internal error: " #name " is not written yet"); }
#define UNUSED __attribute__((unused))

/* attention */
PENDING(cuda_block_attention, (Dev *d, UNUSED const BlockAttentionArgs *a))
PENDING(cuda_block_mask, (Dev *d, UNUSED const BlockMaskArgs *a))
