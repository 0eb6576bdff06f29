// For the interpreter's test: the two pipelines that the fast kernels use. Each sums 16 tiles of 1 KiB; BREAK leaves out
// one of the steps that make it right.
typedef unsigned u32;
typedef unsigned long long u64;
#ifndef BREAK
#define BREAK 0
#endif

static __device__ u32 shared(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// Three stages of cp.async, one barrier a stage. 1: no wait_group, 2: no barrier
extern "C" __global__ void __launch_bounds__(64) staged(const u32 *in, u32 *out)
{
    __shared__ __align__(16) u32 tile[3][256];
    u32 t = threadIdx.x, sum = 0;
    for (int s = 0; s < 2; s++) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared(&tile[s][4 * t])), "l"(in + s * 256 + 4 * t) : "memory");
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    for (int k = 0; k < 16; k++) {
        if (BREAK != 1) asm volatile("cp.async.wait_group 1;" ::: "memory");
        if (BREAK != 2) __syncthreads();
        int next = k + 2;
        u32 bytes = next < 16 ? 16 : 0; // past the end: zeros, and the address is not looked at
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared(&tile[next % 3][4 * t])), "l"(in + next * 256 + 4 * t), "r"(bytes) : "memory");
        asm volatile("cp.async.commit_group;" ::: "memory");
        for (int i = 0; i < 4; i++) sum += tile[k % 3][(t + 64 * i) ^ 21] * (k + 1);
    }
    out[t] = sum;
}

static __device__ void wait(u32 bar, u32 parity)
{
    asm volatile("{\n.reg .pred p;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra AGAIN;\nDONE:\n}" ::"r"(bar), "r"(parity) : "memory");
}

// A producer warp with bulk copies, two consumer warps, full and empty mbarriers. 3: the producer does not wait for
// "empty"; 4: consumers do not wait for "full"; 5: no __syncwarp before the warp's one arrival; 6: consumers never arrive;
// 7: init without a barrier behind it
extern "C" __global__ void __launch_bounds__(96) bulk(const u32 *in, u32 *out)
{
    __shared__ __align__(128) u32 tile[2][256];
    __shared__ u64 full[2], empty[2];
    u32 t = threadIdx.x, warp = t / 32, lane = t % 32;
    if (t == 0) {
        for (int s = 0; s < 2; s++) {
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared(&full[s])) : "memory");
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 2;" ::"r"(shared(&empty[s])) : "memory");
        }
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    if (BREAK != 7) __syncthreads();
    if (warp == 2) {
        if (lane == 0)
            for (int k = 0; k < 16; k++) {
                int s = k % 2;
                if (BREAK != 3) wait(shared(&empty[s]), (k / 2 & 1) ^ 1);
                asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], 1024;" ::"r"(shared(&full[s])) : "memory");
                asm volatile("cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%0], [%1], 1024, [%2];" ::"r"(shared(tile[s])), "l"(in + k * 256), "r"(shared(&full[s])) : "memory");
            }
    } else {
        u32 sum = 0;
        for (int k = 0; k < 16; k++) {
            int s = k % 2;
            if (BREAK != 4) wait(shared(&full[s]), k / 2 & 1);
            for (int i = 0; i < 4; i++) sum += tile[s][(t + 64 * i) ^ 21] * (k + 1);
            if (BREAK != 5) __syncwarp();
            if (BREAK != 6 && lane == 0) asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared(&empty[s])) : "memory");
        }
        out[t] = sum;
    }
}

// Lanes of one warp take turns with a lock in shared memory, as they may since sm_70.
extern "C" __global__ void __launch_bounds__(32) lock(const u32 *in, u32 *out)
{
    __shared__ u32 word, total;
    if (threadIdx.x == 0) word = total = 0;
    __syncwarp();
    bool done = false;
    while (!done) {
        if (atomicCAS(&word, 0, 1) == 0) {
            __threadfence_block();
            total = total + in[threadIdx.x];
            __threadfence_block();
            atomicExch(&word, 0);
            done = true;
        }
    }
    __syncwarp();
    out[threadIdx.x] = total;
}
