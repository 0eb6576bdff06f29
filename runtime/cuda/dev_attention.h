/* What windowed and block-sparse attention share on the CUDA device. */
#ifndef UPRES_RUNTIME_CUDA_DEV_ATTENTION_H
#define UPRES_RUNTIME_CUDA_DEV_ATTENTION_H

#include "kernels/cuda/layout.h"
#include "runtime/cuda/dev.h"

/* Attention's operands, before 8 bits are made of them, are floats or bf16. */
Element cuda_attention_type(const Dev *d, int stage, int head_dim);

/* How it multiplies, by its keys: in 8 bits on sm_120 alone, scores of int8 or e4m3. */
typedef enum CudaAttentionForm {
    CUDA_ATTENTION_F32,
    CUDA_ATTENTION_BF16,
    CUDA_ATTENTION_I8,
    CUDA_ATTENTION_E4M3
} CudaAttentionForm;
bool cuda_attention_in_8_bits(CudaAttentionForm form);
CudaAttentionForm cuda_attention_form(const Dev *d, int stage, int head_dim, int64_t keys);

CudaTokens cuda_tokens(const Dev *d, Tensor x);

/* Channels of a row of the operands; flash: heads that kernels/cuda/attention.cu takes. */
bool cuda_is_flash(int head_dim);
int cuda_depth(int head_dim);

/* Operands of `windows` windows, of `rows` rows each at most, text among them. What does not depend on the tensors is filled in
 * here: depth, lanes, type. */
void cuda_gather(Dev *d, CudaGather *g, Element type, int rows, int windows);

/*
 * query_rows: of the longest query block; pairs of `heads` heads and `problems` windows or query blocks. flop: of all whole tiles,
 * as if masks chose all keys, by which launches are parted (runtime/cuda/pieces.h): a piece may have most of what is chosen;
 * share: the part of it that is to be expected.
 */
void cuda_flash(Dev *d, const CudaFlash *f, Element type, int query_rows, int heads, int problems, double flop,
                double share);

/*
 * Operands of 8 bits, of `heads` heads: q_rows queries and key_rows keys each, these in so many windows (without: 1). Memory of
 * so many bytes, where they lie in it, and what makes them, window by window, of what the caller fills in: rows and keys are
 * those of the longest window. Sums and tiles may come in several launches, each with some of the keys.
 */
uint64_t cuda_flash8_bytes(int64_t q_rows, int64_t key_rows, int windows, int heads);
CudaFlash8Pack cuda_flash8_room(CUdeviceptr at, int64_t q_rows, int64_t key_rows, int windows, int heads);
void cuda_flash8_queries(Dev *d, const CudaFlash8Pack *p, int rows, int windows, int heads);
void cuda_flash8_sums(Dev *d, const CudaFlash8Pack *p, int keys, int windows, int heads);
void cuda_flash8_means(Dev *d, const CudaFlash8Pack *p, int windows, int heads);
void cuda_flash8_keys(Dev *d, const CudaFlash8Pack *p, int keys, int windows, int heads);
/* As cuda_flash, with those operands. */
void cuda_flash8(Dev *d, CudaFlash8 *f, const CudaFlash8Pack *p, int query_rows, int heads, int problems, double flop,
                 double share);

/* Zeros behind the channels of o, where o has its padding to itself. */
void cuda_zero_padding(Dev *d, Tensor o);

/* dev_attention with at most `limit` bytes of operands at a time (but one head of one window, one row of scores at least). */
void cuda_attention_within(Dev *d, const AttentionArgs *a, uint64_t limit);

#endif
