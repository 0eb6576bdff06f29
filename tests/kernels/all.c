#include "tests/kernels/tests.h"

void run_kernel_tests(void)
{
    test_gemm_tile();
    test_rows();
    test_conv3d();
    test_stream_conv();
    test_upsample();
    test_linear();
    test_norm();
    test_attention();
    test_blocks();
    test_arena();
    test_resize();
    test_color();
    test_alpha();
    test_noise();
    test_quantize();
    test_rules();
}
