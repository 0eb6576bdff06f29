// For the interpreter's test: what a compiler makes of ordinary CUDA C++. Every kernel works on one block of 128 threads.
struct Pair {
    int a;
    float b;
};
__constant__ float table[5] = {1.5f, -2.0f, 3.25f, 0.5f, 8.0f};
__device__ int counter[4];

__device__ __noinline__ float weigh(float x, int i)
{
    return x * table[i % 5] + 1.0f;
}

extern "C" __global__ void __launch_bounds__(128) compiled(const float *in, float *out, int n, Pair p)
{
    __shared__ float part[128];
    extern __shared__ unsigned char bytes[];
    int t = threadIdx.x;
    float sum = 0;
    for (int i = t; i < n; i += 128) sum += weigh(in[i], i);
    part[t] = sum;
    bytes[t] = (unsigned char)t;
    __syncthreads();
    for (int k = 64; k; k >>= 1) {
        if (t < k) part[t] += part[t + k];
        __syncthreads();
    }
    int local[6];
    for (int i = 0; i < 6; i++) local[i] = t * i;
    float v = part[0];
    switch (t % 7) {
    case 0: v += 1; break;
    case 1: v *= 2; break;
    case 2: v -= local[(n + t) % 6]; break;
    case 3: v = -v; break;
    case 4: v += p.a * p.b; break;
    case 5: v = (float)((long long)n * 1000000007LL % (t + 3)); break;
    default: v = bytes[127 - t];
    }
    unsigned votes = __ballot_sync(0xffffffffu, t & 1);
    v += (float)__popc(votes) + (float)__shfl_xor_sync(0xffffffffu, t, 5);
    atomicAdd(&counter[t & 3], 1);
    __syncthreads();
    out[t] = v + counter[t & 3] + (float)(double)(n / 7) + (float)(n % 13) + sqrtf((float)t) + (float)((unsigned short)(t * 700) / 3);
}
