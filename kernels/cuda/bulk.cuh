/* Boxes of tensors, copied by the engine of parts from sm_90 on, and the barriers in shared memory that they complete on. */
#ifndef UPRES_KERNELS_CUDA_BULK_CUH
#define UPRES_KERNELS_CUDA_BULK_CUH

#include "ptx.cuh"

/* count: arrivals that end a phase. */
__device__ __forceinline__ void barrier_init(uint32_t barrier, int count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

/* Initialised barriers are seen by the copy engine, and what others wrote to shared memory, too. */
__device__ __forceinline__ void fence_engine() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ void barrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* `count` times at once. */
__device__ __forceinline__ void barrier_arrive(uint32_t barrier, int count)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

/* When the thread's copies so far have come. */
__device__ __forceinline__ void barrier_arrive_after_copies(uint32_t barrier)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

/* Arrives, and the phase ends no sooner than so many bytes have come. */
__device__ __forceinline__ void barrier_expect(uint32_t barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/* Until the phase of that parity has ended; that before the first has. */
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity)
{
    uint32_t done;
    do {
        asm volatile("{\n\t.reg .pred p;\n\t"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
                     "selp.u32 %0, 1, 0, p;\n\t}"
                     : "=r"(done)
                     : "r"(barrier), "r"(parity)
                     : "memory");
    } while (done == 0);
}

/* Where to: the block's own shared memory. PTX 8.0, which will do for sm_90, has the cluster's alone: of one block, the same. */
#if __CUDA_ARCH__ >= 1000
#define BOX_TO "shared::cta"
#else
#define BOX_TO "shared::cluster"
#endif

__device__ __forceinline__ void copy_box_2(uint32_t to, const CudaTensorMap &map, int x, int y, uint32_t barrier)
{
    asm volatile("cp.async.bulk.tensor.2d." BOX_TO ".global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                 "l"(&map), "r"(x), "r"(y), "r"(barrier)
                 : "memory");
}

/* Coordinates below 0 or past the end are of zeros. */
__device__ __forceinline__ void copy_box_4(uint32_t to, const CudaTensorMap &map, int x, int y, int z, int w, uint32_t barrier)
{
    asm volatile("cp.async.bulk.tensor.4d." BOX_TO ".global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(to),
                 "l"(&map), "r"(x), "r"(y), "r"(z), "r"(w), "r"(barrier)
                 : "memory");
}

/* A run of bytes, a multiple of 16. */
__device__ __forceinline__ void copy_run(uint32_t to, uint64_t from, int bytes, uint32_t barrier)
{
    asm volatile("cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from),
                 "r"(bytes), "r"(barrier)
                 : "memory");
}

/* How many registers a thread has from here on: for all threads of four warps at once. */
template <int COUNT> __device__ __forceinline__ void have_fewer_registers()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}
template <int COUNT> __device__ __forceinline__ void have_more_registers()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

#endif
