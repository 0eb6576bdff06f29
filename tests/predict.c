/*
 * The prediction of kernels' time: counts of machine code written by hand, and of a kernel whose instructions are known;
 * the model on numbers that can be checked on paper; what a launch works, from its arguments.
 *
 * Where ptxas and nvdisasm are found, what the build counted is looked at too; skipped by name without them.
 */
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/pieces.h"
#include "runtime/cuda/predict.h"
#include "runtime/cuda/tiles.h"
#include "tools/sass.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed, skipped;

static void check(const char *name, bool ok)
{
    if (!ok) printf("FAIL %s\n", name);
    *(ok ? &passed : &failed) += 1;
}

/* Equal but for the rounding of a few operations on doubles. */
static void check_near(const char *name, double found, double expected)
{
    const bool ok = fabs(found - expected) <= 1e-9 * fabs(expected);
    if (!ok) printf("FAIL %s: %.9g, expected %.9g\n", name, found, expected);
    *(ok ? &passed : &failed) += 1;
}

/* 1 GHz and 100 GB/s, so that numbers can be read. */
static const CudaDevice card = {.major = 12, .sms = 10, .clock_ghz = 1, .bandwidth_gbs = 100, .shared_per_sm = 102400,
                                .shared_per_block = 101376, .threads_per_sm = 1536, .target = CUDA_TARGET_120F};

/* ------------------------------------------------------------------------------------------------------------ counting */

/* A kernel of a loop in a loop, and one of none, as nvdisasm writes them. */
static const char listing[] =
    "\t.headerflags\t@\"EF_CUDA_SM120\"\n"
    "\n.text.twice:\n"
    "        /*0000*/                   LDC R1, c[0x0][0x37c] ;\n"
    ".L_x_1:\n"
    "        /*0010*/                   LDGSTS.E.BYPASS.128 [R4], desc[UR4][R2.64] ;\n"
    "        /*0020*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;\n"
    ".L_x_2:\n"
    "        /*0030*/                   LDSM.16.M88.4 R8, [R4] ;\n"
    "        /*0040*/                   LDSM.16.MT88.2 R12, [R4+0x20] ;\n"
    "        /*0050*/                   QMMA.SF.16832.F32.E4M3.E4M3.E8 R16, R8, R12, R16, R20, R21, UR6 ;\n"
    "        /*0060*/                   NOP ;\n"
    "        /*0070*/                   IMMA.16832.S8.S8 R24, R8.ROW, R12.COL, R24 ;\n"
    "        /*0080*/              @P0  BRA `(.L_x_2) ;\n"
    "        /*0090*/                   FFMA R0, R1, R2, R3 ;\n"
    "        /*00a0*/              @!P1 BRA `(.L_x_1) ;\n"
    "        /*00b0*/                   STG.E.64 desc[UR4][R2.64], R4 ;\n"
    "        /*00c0*/                   EXIT ;\n"
    "\n.text.plain:\n"
    "        /*0000*/                   LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ;\n"
    "        /*0010*/                   LDG.E.U16 R8, desc[UR4][R2.64+0x10] ;\n"
    "        /*0020*/                   MUFU.EX2 R9, R8 ;\n"
    "        /*0030*/                   DADD R10, R10, R12 ;\n"
    "        /*0040*/                   STS.64 [R3], R10 ;\n"
    "        /*0050*/                   EXIT ;\n";

static const char said[] =
    "ptxas info    : Compiling entry function 'plain' for 'sm_120f'\n"
    "ptxas info    : Used 24 registers, used 0 barriers\n"
    "ptxas info    : Compiling entry function 'twice' for 'sm_120f'\n"
    "ptxas info    : Used 168 registers, used 1 barriers, 4096 bytes smem\n";

static void test_counting(void)
{
    SassKernel k = {.line = NULL};
    const char *at = listing;
    int first = 0, last = 0;
    check("a kernel is found", sass_next(&at, &k) && strcmp(k.name, "twice") == 0);
    last = k.count;
    check("its main loop is the inner one", sass_main_loop(&k, &first, &last) && sass_matching(&k, first, last, "BAR.") == 0);
    check("all but NOP", sass_matching(&k, first, last, "") == 5 && sass_products(&k, first, last) == 2);
    KernelCount c = sass_kernel(&k, said);
    check("registers and shared memory", c.registers == 168 && c.shared == 4096);
    check("issued with NOP", count_issued(&c.loop) == 6 && count_products(&c.loop) == 2);
    check("operations by kind", c.loop.mma_flop[COUNT_QMMA_SCALED] == 8192 && c.loop.mma_flop[COUNT_IMMA] == 8192);
    check_near("operations", count_mma_flop(&c.loop), 16384);
    check("bytes of shared memory", c.loop.shared_bytes == 128 * (4 + 2));
    check("bytes of global memory", c.body.read_bytes == 512 && c.body.written_bytes == 256 && c.body.ffma == 1);
    check("the next", sass_next(&at, &k) && strcmp(k.name, "plain") == 0);
    c = sass_kernel(&k, said);
    check("no loop", count_issued(&c.loop) == 0 && c.registers == 24 && c.shared == 0);
    check("kinds", c.body.count[COUNT_LDG] == 2 && c.body.count[COUNT_MUFU] == 1 && c.body.count[COUNT_DOUBLE] == 1);
    check("widths", c.body.read_bytes == 32 * (16 + 2) && c.body.shared_bytes == 32 * 8);
    check("no more", !sass_next(&at, &k));
    sass_free(&k);
}

/* Two loads of 16 bytes, three powers of two, a store of 4. */
static const char known[] = ".version 8.0\n.target sm_89\n.address_size 64\n"
                            ".visible .entry known(.param .u64 p) {\n"
                            ".reg .b64 %a; .reg .f32 %f<9>;\n"
                            "ld.param.u64 %a, [p];\n"
                            "ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%a];\n"
                            "ld.global.v4.f32 {%f4, %f5, %f6, %f7}, [%a+16];\n"
                            "ex2.approx.ftz.f32 %f0, %f0; ex2.approx.ftz.f32 %f1, %f1; ex2.approx.ftz.f32 %f2, %f2;\n"
                            "add.f32 %f0, %f0, %f1; add.f32 %f2, %f2, %f3; add.f32 %f4, %f4, %f5; add.f32 %f6, %f6, %f7;\n"
                            "add.f32 %f0, %f0, %f2; add.f32 %f4, %f4, %f6; add.f32 %f0, %f0, %f4;\n"
                            "st.global.f32 [%a+32], %f0; ret; }\n";

static void test_known(const SassTools *tools)
{
    SassKernel k = {.line = NULL};
    char *log, *text = sass_disassemble(tools, known, "89", &log);
    const char *at = text;
    check("a kernel is disassembled", text != NULL && sass_next(&at, &k));
    if (text != NULL) {
        const KernelCount c = sass_kernel(&k, log);
        check("its loads and stores", c.body.read_bytes == 32 * 32 && c.body.written_bytes == 32 * 4);
        check("its powers", c.body.count[COUNT_MUFU] == 3 && c.body.count[COUNT_FLOAT] == 7);
        check("its registers", c.registers > 0 && strcmp(c.function, "known") == 0);
    }
    sass_free(&k);
    free(text);
    free(log);
}

/* Every kernel that has PTX was counted, and the tiles of products have their loops. */
static void test_built(void)
{
    CudaSource s;
    CudaGemmTile t;
    int missing = 0;
    for (size_t i = 0; cuda_source(i, &s); i++) {
        const char *text = s.ptx ? s.text : s.built[CUDA_TARGET_89], *at = text;
        while (at && (at = strstr(at, ".entry ")) != NULL) {
            char name[128];
            if (sscanf(at++, ".entry %127[a-z0-9_]", name) != 1) continue;
            if (cuda_count(name, CUDA_TARGET_89) == NULL) missing += printf("  %s was not counted\n", name);
        }
    }
    for (int i = 0; cuda_gemm_tile(i, &t); i++) {
        const KernelCount *k = cuda_count(t.function, CUDA_TARGET_120F);
        if (k == NULL || count_issued(&k->loop) == 0) missing += printf("  %s has no main loop\n", t.function);
    }
    check("all kernels were counted", missing == 0);
}

/*
 * Tiles of bf16 and 8 bits that large layers take: what is issued for their main loops, and what goes to and from shared
 * memory, leaves a quarter of the products' time and more. A model that is a little wrong is right about them then.
 */
static void test_limits(void)
{
    enum { LARGE = 128 * 128 };
    CudaGemmTile t;
    int bad = 0;
    for (int i = 0; cuda_gemm_tile(i, &t); i++) {
        CudaGemmBoxes b = {.gemm = {.parts = 1, .images = 1, .rows = 256, .columns = 256, .n = 512, .y_type = CUDA_BF16}};
        CudaGemm *g = &b.gemm;
        g->part[0] = (CudaGemmPart){.taps = 27, .window = 9, .depth = 512, .pitch = 512, .step_y = 258, .step_x = 1};
        const unsigned blocks = (unsigned)(256 * 256 / t.rows * (512 / t.columns));
        const CudaGrid grid = {blocks, 1, 1, (unsigned)(t.warps + t.producers) * 32, 0};
        const KernelCount *k = cuda_count(t.function, CUDA_TARGET_120F);
        if (k == NULL || t.type == ELEMENT_F32 || t.rows * t.columns < LARGE) continue;
        const KernelWork w = cuda_work(&card, t.function, grid, t.producers > 0 ? (const void *)&b : (const void *)g);
        const KernelTime time = predict_kernel(&card, k, &w);
        const double issue = time.term[BOUND_ISSUE] / time.term[BOUND_TENSOR];
        const double shared = time.term[BOUND_SHARED] / time.term[BOUND_TENSOR];
        if (issue > 0.75 || shared > 0.75)
            bad += printf("  %s: issuing takes %.2f of the products' time, shared memory %.2f\n", t.function, issue, shared);
    }
    check("large tiles are bound by their products", bad == 0);
}

/* --------------------------------------------------------------------------------------------------------------- model */

/* A loop of 64 products and as many other instructions, 8 warps of 200 registers: one block a multiprocessor. */
static KernelCount product_count(void)
{
    KernelCount k = {.function = "product", .target = CUDA_TARGET_120F, .registers = 200};
    k.loop.count[COUNT_QMMA_SCALED] = k.loop.count[COUNT_INT] = 64;
    k.loop.mma_flop[COUNT_QMMA_SCALED] = 64 * 8192;
    k.loop.shared_bytes = 8192;
    k.body = k.loop;
    return k;
}

static void test_product(void)
{
    const KernelCount k = product_count();
    /* 1000 passes of 8 warps each in each of 10 blocks */
    KernelWork w = {.kind = WORK_PRODUCT, .grid = {10, 1, 1, 256, 0}, .rate = RATE_FP8_BLOCK_SCALE};
    w.flop = w.mma_flop = 10.0 * 8 * 1000 * 64 * 8192;
    w.fill = 10 * 1e6;
    KernelTime t = predict_kernel(&card, &k, &w);
    const double tensor = 8.0 * 1000 * 64 * 8192 / 2048 * 1e-9;
    check("one block fits", predict_resident(&card, &k, &w) == 1);
    check_near("products", t.term[BOUND_TENSOR], tensor);
    check_near("instructions", t.term[BOUND_ISSUE], 8 * 1000 * 128 / 4.0 * 1e-9);
    check_near("shared memory", t.term[BOUND_SHARED], (8 * 1000 * 8192 + 1e6) / 128 * 1e-9);
    check_near("second-level cache", t.term[BOUND_L2], 1e6 / rate_l2_bytes(&card) * 1e-9);
    check("the tensor cores bound it", t.bound == BOUND_TENSOR);
    check_near("its time", t.seconds, tensor + PREDICT_LATENCY + PREDICT_LAUNCH);
    check_near("the limit", t.limit, tensor);
    check_near("at the published share", t.published, tensor / PREDICT_PUBLISHED + PREDICT_LAUNCH);
    w.fill = 10 * 1e9; /* more than the cache gives in that time */
    t = predict_kernel(&card, &k, &w);
    check("the cache bounds it", t.bound == BOUND_L2 && t.seconds > 1e9 / rate_l2_bytes(&card) * 1e-9);
    w.fill = 0;
    w.bytes = 1e12; /* ten seconds of memory */
    t = predict_kernel(&card, &k, &w);
    check_near("the memory bounds it", t.seconds, 10 / PREDICT_DRAM_REACH + PREDICT_LAUNCH);
}

static void test_waves(void)
{
    KernelCount k = product_count();
    KernelWork w = {.kind = WORK_PRODUCT, .grid = {10, 1, 1, 256, 0}, .rate = RATE_FP8_BLOCK_SCALE};
    w.flop = w.mma_flop = 10.0 * 8 * 1000 * 64 * 8192;
    const double full = predict_kernel(&card, &k, &w).seconds - PREDICT_LAUNCH;
    w.grid.x = 11; /* as large blocks */
    w.flop = w.mma_flop *= 1.1;
    check_near("one block more is a round more", predict_kernel(&card, &k, &w).seconds - PREDICT_LAUNCH, 2 * full);
    k.registers = 128; /* two fit, the second works while the first ends */
    w.grid.x = 20;
    w.flop = w.mma_flop = 20.0 * 8 * 1000 * 64 * 8192;
    check("two blocks fit", predict_resident(&card, &k, &w) == 2);
    check_near("ends are hidden but one", predict_kernel(&card, &k, &w).seconds - PREDICT_LAUNCH, 2 * full - PREDICT_LATENCY);
    w.flop = w.mma_flop = 20.0 * 8 * 64 * 8192; /* one pass, and much to do behind it */
    k.body.count[COUNT_INT] = 20064;
    const double own = 8 * 64 * 8192 / 2048.0 * 1e-9, outside = 20000 * 8 / 4.0 * 1e-9 + PREDICT_LATENCY;
    check_near("ends that are longer are not", predict_kernel(&card, &k, &w).seconds - PREDICT_LAUNCH,
               2 * (own + outside) / 2 + outside);
}

static void test_bytes(void)
{
    KernelCount k = {.function = "copy", .target = CUDA_TARGET_120F, .registers = 32};
    k.body.count[COUNT_LDG] = k.body.count[COUNT_STG] = 1;
    k.body.count[COUNT_INT] = 30;
    k.body.read_bytes = k.body.written_bytes = 512;
    KernelWork w = {.kind = WORK_BYTES, .grid = {1000000, 1, 1, 256, 0}, .bytes = 1e9};
    KernelTime t = predict_kernel(&card, &k, &w);
    check_near("bytes", t.seconds, 1e-2 / PREDICT_DRAM_REACH + PREDICT_LAUNCH);
    check("the memory bounds it, short of its nominal rate", t.bound == BOUND_DRAM && t.limit / t.seconds > 0.85);
    check_near("instructions for them", t.term[BOUND_ISSUE], 1e9 / 1024 * 32 / 4 / 10 * 1e-9);
    k.body.count[COUNT_MUFU] = 1000; /* eight clocks each */
    t = predict_kernel(&card, &k, &w);
    check_near("a busy unit bounds it", t.term[BOUND_ISSUE], 1e9 / 1024 * 8000 / 4 / 10 * 1e-9);
    check("so it is slower", t.bound == BOUND_ISSUE);
    k.body.count[COUNT_MUFU] = 0;
    w.grid = (CudaGrid){1, 1, 1, 32, 0}; /* a warp alone: half a kilobyte under way */
    t = predict_kernel(&card, &k, &w);
    check_near("latency", t.term[BOUND_LATENCY], 5e8 / 512 * PREDICT_LATENCY);
    check("it bounds it", t.bound == BOUND_LATENCY);
}

/* Frames that are alike: the first has more work, every other the same. */
static void test_sums(void)
{
    Prediction three = {.count = 0}, two = {.count = 0};
    three.count = two.count = 1;
    three.line[0] = (PredictionLine){.function = "f", .launches = 7, .seconds = 5, .published = 6, .bound[BOUND_L2] = 5};
    two.line[0] = (PredictionLine){.function = "f", .launches = 5, .seconds = 4, .published = 4.5, .bound[BOUND_L2] = 4};
    Prediction ten = three;
    prediction_add(&ten, &three, 7);
    prediction_add(&ten, &two, -7);
    const PredictionLine sum = prediction_sum(&ten);
    check_near("launches of ten", sum.launches, 7 + 7 * 2);
    check_near("seconds of ten", sum.seconds, 5 + 7);
    check("what bounds them", prediction_bound(&sum) == BOUND_L2 && ten.count == 1);
}

/* ---------------------------------------------------------------------------------------------------------------- work */

/* A convolution of 128 to 128 channels, 3x3x3, on two frames of 32 x 32 pixels: 8 blocks of 256 x 128, 27 taps of 128 bytes. */
static void test_work(void)
{
    CudaGemmBoxes b = {
        .gemm = {.parts = 1, .images = 2, .rows = 32, .columns = 32, .n = 128, .y_type = CUDA_BF16, .batch = 1}};
    CudaGemmPart *p = &b.gemm.part[0];
    p->pitch = p->depth = 128;
    p->taps = 27;
    p->window = 9;
    p->step_y = 34;
    p->step_x = 1;
    for (int i = 0; i < 27; i++) p->tap_frame[i] = (uint8_t)(i / 9);
    for (int i = 0; i < 2; i++) {
        for (int t = 0; t < 3; t++) p->frame[i][t] = (i + t) * 34 * 34;
    }
    KernelWork w = cuda_work(&card, "boxes_e4m3_256x128", (CudaGrid){8, 1, 1, 384, 0}, &b);
    check("a product", w.kind == WORK_PRODUCT && w.producers == 128 && w.rate == RATE_FP8_BLOCK_SCALE);
    check_near("its operations", w.flop, 2.0 * 2 * 32 * 32 * 128 * 27 * 128);
    check_near("no empty rows", w.mma_flop, w.flop);
    check_near("bytes into shared memory", w.fill, 8.0 * 27 * 128 * (256 + 128));
    /* four different frames, the weights, and two frames of results */
    check_near("bytes of memory", w.bytes, 4 * 32.0 * 34 * 128 + 128.0 * 27 * 128 + 2 * 32 * 32 * 128 * 2.0);
    w = cuda_work(&card, "halo_e4m3_128x128", (CudaGrid){16, 1, 1, 384, 0}, &b);
    check_near("a halo comes once", w.fill, 16.0 * 27 * 128 * (18 * 10 / 9.0 + 128));
    w = cuda_work(&card, "halo_i8_192x128", (CudaGrid){12, 1, 1, 384, 0}, &b);
    check_near("a halo with its scales", w.fill, 12.0 * 27 * (128 + 4) * (18 * 14 / 9.0 + 128));
    w = cuda_work(&card, "halo_bf16_256x8", (CudaGrid){8, 1, 1, 288, 0}, &b);
    check_near("bf16 in two slabs", w.fill, 8.0 * 2 * 27 * 128 * (18 * 18 / 9.0 + 8));
    check_near("eight columns of them", w.mma_flop, 2.0 * 8 * 256 * 8 * 27 * 128);
    p->depth = 8;
    w = cuda_work(&card, "gemm_bf16_256x128", (CudaGrid){8, 1, 1, 256, 0}, &b.gemm);
    check_near("few channels: what is fetched", w.fill, 8.0 * 27 * 32 * (256 + 128));
    check_near("and multiplied", w.mma_flop, 2.0 * 8 * 256 * 128 * 27 * 16);
    const CudaAxpby a = {.y = {.pitch = 8, .type = CUDA_BF16}, .x = {.pitch = 8, .type = CUDA_F32}, .w = 5, .c = 8};
    w = cuda_work(&card, "axpby", (CudaGrid){1, 3, 2, 256, 0}, &a);
    check("a sum", w.kind == WORK_BYTES);
    check_near("its bytes", w.bytes, 3 * 2 * 5 * 8 * (2 + 4));
    w = cuda_work(&card, "never_heard_of", (CudaGrid){1, 1, 1, 32, 0}, NULL);
    check("something else", w.kind == WORK_UNKNOWN);
}

/* ---------------------------------------------------------------------------------------------------------- long launches */

/* Whatever the machine code: a product, its fetches or its bytes take at least that long. */
static void test_at_most(void)
{
    KernelWork w = {.kind = WORK_PRODUCT, .rate = RATE_BF16, .flop = 1e9, .mma_flop = 10 * 512e9};
    check_near("products", predict_at_most(&card, &w), 1 / PREDICT_REACH + PREDICT_LAUNCH);
    w.fill = 20e9 * rate_l2_bytes(&card);
    check_near("the cache", predict_at_most(&card, &w), 2 / PREDICT_REACH + PREDICT_LAUNCH);
    w.bytes = 300e9;
    check_near("memory", predict_at_most(&card, &w), 3 / PREDICT_REACH + PREDICT_LAUNCH);
    CudaDevice untold = card;
    untold.clock_ghz = untold.bandwidth_gbs = 0;
    check("what is not told is slow", predict_at_most(&untold, &w) > predict_at_most(&card, &w));
    const KernelCount k = product_count();
    KernelWork counted = {.kind = WORK_PRODUCT, .grid = {10, 1, 1, 256, 0}, .rate = RATE_FP8_BLOCK_SCALE};
    counted.flop = counted.mma_flop = 10.0 * 8 * 1000 * 64 * 8192;
    check("more than by the machine code", predict_at_most(&card, &counted) > predict_kernel(&card, &k, &counted).seconds);
}

/* The longest launch is one, however many there are. */
static void test_longest(void)
{
    const CudaGemm large = {.parts = 1, .images = 1, .rows = 1, .columns = 4096, .n = 64, .y_type = CUDA_BF16,
                            .part[0] = {.taps = 1, .window = 1, .depth = 64, .pitch = 64, .step_y = 1, .step_x = 1}};
    CudaGemm small = large;
    small.columns = 128;
    Prediction p = {.count = 0}, sum = {.count = 0};
    const CudaGrid many = {32, 1, 1, 128, 0}, one = {1, 1, 1, 128, 0};
    prediction_launch(&p, &card, "gemm_bf16_128x64", one, &small, 0, 0);
    const double little = p.longest.seconds;
    prediction_launch(&p, &card, "gemm_bf16_64x64", many, &large, 0, 0);
    const double most = p.longest.seconds;
    prediction_launch(&p, &card, "gemm_bf16_128x64", one, &small, 0, 0);
    check("the largest product's", most > little && little > 0 && p.longest.seconds == most);
    check("its name", p.longest.function && strcmp(p.longest.function, "gemm_bf16_64x64") == 0);
    prediction_add(&sum, &p, 1000);
    check("never added up", sum.longest.seconds == most);
}

/* Every pair of a head and a problem is in one piece, pieces do not grow over their share, and frames are not cut askew. */
static void test_pieces(void)
{
    enum { HEADS = 5, FRAMES = 4, FRAME = 6, PROBLEMS = FRAMES * FRAME };
    Dev *d = dev_plan_open(&(DevSetup){.cuda = &card});
    const CudaGrid grid = {1, PROBLEMS, HEADS, 128, 0};
    const double flop = 10 * 512e9, whole = 1 / PREDICT_REACH; /* a second of bf16 */
    const double parts[] = {0.5, 1, 1.5, 3, 5, 7, 11, 19, 30, 70, 1e4};
    int bad = 0, last = 0;
    for (size_t i = 0; i < 2 * sizeof parts / sizeof *parts; i++) {
        const int frame = i % 2 == 0 ? FRAME : 0;
        int seen[HEADS][PROBLEMS] = {{0}}, pieces = 0;
        cuda_limit_launches(d, whole / parts[i / 2]);
        CudaFlashPiece p = cuda_flash_begin(d, "flash_bf16_128", grid, frame, flop, 0.1); /* whatever is expected of it */
        for (; cuda_flash_next(d, &p); pieces++) {
            bad += p.heads * p.problems > 1 && p.heads * p.problems * parts[i / 2] > HEADS * PROBLEMS * 1.000001;
            bad += p.grid.y != (unsigned)p.problems || p.grid.z != (unsigned)p.heads || p.grid.x != 1;
            bad += frame > 0 && p.heads > 1 && p.problems < PROBLEMS; /* rows of a mask would not follow each other */
            bad += frame > 0 && p.problem % FRAME + p.problems > FRAME && (p.problem % FRAME > 0 || p.problems % FRAME > 0);
            bad += frame == 0 && p.heads < HEADS && p.problems > 1; /* nor those of a text */
            for (int n = 0; n < p.heads * p.problems; n++) seen[p.head + n / p.problems][p.problem + n % p.problems]++;
        }
        for (int n = 0; n < HEADS * PROBLEMS; n++) bad += seen[n / PROBLEMS][n % PROBLEMS] != 1;
        bad += parts[i / 2] < 1 && pieces != 1;
        bad += pieces < last && i % 2 == 0;
        if (i % 2 == 0) last = pieces;
        if (bad > 0) printf("  %g launches, frames of %d: %d pieces\n", parts[i / 2], frame, pieces);
    }
    check("pieces of attention", bad == 0 && last == HEADS * PROBLEMS);
    dev_close(d);
}

int main(void)
{
    SassTools tools;
    const char *missing = sass_tools(&tools);
    test_counting();
    test_product();
    test_waves();
    test_bytes();
    test_sums();
    test_work();
    test_at_most();
    test_longest();
    test_pieces();
    if (missing) {
        printf("skip counting a known kernel: %s\n", missing);
        skipped++;
    } else test_known(&tools);
    if (missing || !cuda_counted()) {
        printf("skip what the build counted: %s\n", missing ? missing : "it found no disassembler, or no compiler");
        skipped++;
    } else {
        test_built();
        test_limits();
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0;
}
