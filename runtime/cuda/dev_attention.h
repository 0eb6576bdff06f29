/* What windowed and block-sparse attention share on the CUDA device. */
#ifndef UPRES_RUNTIME_CUDA_DEV_ATTENTION_H
#define UPRES_RUNTIME_CUDA_DEV_ATTENTION_H

#include "runtime/cuda/dev.h"

/* Attention multiplies floats or bf16. */
Element cuda_attention_type(const Dev *d, int stage, int head_dim);

CudaTokens cuda_tokens(const Dev *d, Tensor x);

/* Channels of a row of the operands; flash: heads that kernels/cuda/attention.cu takes. */
bool cuda_is_flash(int head_dim);
int cuda_depth(int head_dim);

/* Operands of `windows` windows, of `rows` rows each at most, text among them. What does not depend on the tensors is filled in
 * here: depth, lanes, type. */
void cuda_gather(Dev *d, CudaGather *g, Element type, int rows, int windows);

/* query_rows: of the longest query block; pairs of `heads` heads and `problems` windows or query blocks. */
void cuda_flash(Dev *d, const CudaFlash *f, Element type, int query_rows, int heads, int problems);

/* Zeros behind the channels of o, where o has its padding to itself. */
void cuda_zero_padding(Dev *d, Tensor o);

/* dev_attention with at most `limit` bytes of operands at a time (but one head of one window, one row of scores at least). */
void cuda_attention_within(Dev *d, const AttentionArgs *a, uint64_t limit);

#endif
