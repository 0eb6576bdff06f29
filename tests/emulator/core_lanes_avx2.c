/* core_lanes.c for processors with AVX2 and FMA; empty where the compiler does not target them. */
#ifdef __AVX2__
#define CORE_LANES core_lanes_avx2
#include "tests/emulator/core_lanes.c"
#else
typedef int core_lanes_avx2_is_not_built; /* a file needs something in it */
#endif
