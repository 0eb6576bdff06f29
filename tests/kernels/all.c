#include "tests/kernels/device.h"
#include "tests/kernels/tests.h"

/* What runs on the host whatever the device. */
static void host_tests(void)
{
    test_gemm_tile();
    test_rows();
    test_arena();
    test_resize();
    test_color();
    test_alpha();
    test_noise();
    test_quantize();
    test_rules();
    test_selftest();
    test_int8();
    test_fp8();
    test_attention8_definition();
    test_layout();
}

/* Operations of dev.h, on the devices of each_device. */
static void operation_tests(void)
{
    test_conv3d();
    test_stream_conv();
    test_upsample();
    test_linear();
    test_norm();
    test_attention();
    test_blocks();
    test_picture();
}

/* Kernels of the CUDA device that operations hide. */
static void cuda_tests(void)
{
    test_cuda_weights();
    test_cuda_fold();
    test_cuda_gemm();
    test_cuda_norm();
    test_cuda_picture();
    test_cuda_fp8();
    test_cuda_gather();
    test_attention8();
    test_cuda_layers();
}

void run_kernel_tests(void)
{
    if (test_cuda() == NULL) host_tests();
    operation_tests();
    if (test_cuda() != NULL) cuda_tests();
}
