/* Compiled to PTX by nvcc and run by test_driver_compilers.c, to see that the emulator takes a compiler's PTX as it comes. */

extern "C" __global__ void add(const float *a, const float *b, float *c, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) c[i] = a[i] + b[i];
}

/* c = a b, row major, m x k times k x n, by 16 x 16 tiles in shared memory; any size. */
extern "C" __global__ void multiply(const float *a, const float *b, float *c, int m, int n, int k)
{
    __shared__ float ta[16][17], tb[16][17];
    int x = threadIdx.x, y = threadIdx.y, column = blockIdx.x * 16 + x, row = blockIdx.y * 16 + y;
    float sum = 0;
    for (int t = 0; t < k; t += 16) {
        ta[y][x] = row < m && t + x < k ? a[row * k + t + x] : 0;
        tb[y][x] = column < n && t + y < k ? b[(t + y) * n + column] : 0;
        __syncthreads();
        for (int i = 0; i < 16; i++) sum += ta[y][i] * tb[i][x];
        __syncthreads();
    }
    if (row < m && column < n) c[row * n + column] = sum;
}

/* One warp: c (16 x 8) = a (16 x 16, bf16, row major) times b (8 x 16: columns of the right factor, bf16). */
extern "C" __global__ void multiply_mma(const unsigned short *a, const unsigned short *b, float *c)
{
    int lane = threadIdx.x, row = lane / 4, column = lane % 4 * 2;
    const unsigned *a32 = (const unsigned *)a, *b32 = (const unsigned *)b;
    unsigned a0 = a32[(row * 16 + column) / 2], a1 = a32[((row + 8) * 16 + column) / 2];
    unsigned a2 = a32[(row * 16 + column + 8) / 2], a3 = a32[((row + 8) * 16 + column + 8) / 2];
    unsigned b0 = b32[(row * 16 + column) / 2], b1 = b32[(row * 16 + column + 8) / 2];
    float d0 = 0, d1 = 0, d2 = 0, d3 = 0;
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    c[row * 8 + column] = d0;
    c[row * 8 + column + 1] = d1;
    c[(row + 8) * 8 + column] = d2;
    c[(row + 8) * 8 + column + 1] = d3;
}
