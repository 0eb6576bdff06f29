/* The kernel tests, one function a file of this folder. */
#ifndef UPRES_TESTS_KERNELS_TESTS_H
#define UPRES_TESTS_KERNELS_TESTS_H

void test_gemm_tile(void);
void test_rows(void);
void test_conv3d(void);
void test_stream_conv(void);
void test_upsample(void);
void test_linear(void);
void test_norm(void);
void test_attention(void);
void test_blocks(void);
void test_picture(void);
void test_arena(void);
void test_resize(void);
void test_color(void);
void test_alpha(void);
void test_noise(void);
void test_quantize(void);
void test_rules(void);
void test_selftest(void);
void test_int8(void);
void test_fp8(void);
void test_attention8_definition(void);
void test_cuda_weights(void);
void test_cuda_fold(void);

void test_layout(void);

void test_cuda_gemm(void);
void test_cuda_norm(void);
void test_cuda_picture(void);
void test_cuda_fp8(void);
void test_cuda_gather(void);
void test_attention8(void);
void test_cuda_layers(void);

void run_kernel_tests(void);

#endif
