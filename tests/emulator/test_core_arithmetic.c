/* Single instructions against results worked out by hand, and a whole kernel as nvcc compiles it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/emulator/test_core.h"

static const struct {
    const char *text; /* from %r1, %r2, %r3 into %r0; %rd0..%rd3, %p0, %p1, %h0.. (16 bits), %d0.. may be used */
    uint32_t a, b, c, want;
} cases[] = {
    {"add.s32 %r0, %r1, %r2", 0x7fffffff, 1, 0, 0x80000000},
    {"add.sat.s32 %r0, %r1, %r2", 0x7fffffff, 1, 0, 0x7fffffff},
    {"sub.s32 %r0, %r1, -3", 4, 0, 0, 7},
    {"mul.lo.s32 %r0, %r1, %r2", 0xffffffff, 7, 0, 0xfffffff9},
    {"mul.hi.s32 %r0, %r1, %r2", 0xffffffff, 7, 0, 0xffffffff},
    {"mul.hi.u32 %r0, %r1, %r2", 0xffffffff, 7, 0, 6},
    {"mul.wide.s32 %rd0, %r1, %r2; shr.u64 %rd0, %rd0, 32; cvt.u32.u64 %r0, %rd0", 0xfffffffe, 3, 0, 0xffffffff},
    {"mad.lo.s32 %r0, %r1, %r2, %r3", 5, 6, 7, 37},
    {"mad.wide.u32 %rd0, %r1, %r2, 1; cvt.u32.u64 %r0, %rd0", 0x10000, 0x10000, 0, 1},
    {"mov.b64 %rd1, {%r1, %r2}; mul.hi.u64 %rd0, %rd1, %rd1; cvt.u32.u64 %r0, %rd0", 0, 1, 0, 1},
    {"div.s32 %r0, %r1, %r2", 0xfffffff9, 2, 0, 0xfffffffd},
    {"rem.s32 %r0, %r1, %r2", 0xfffffff9, 2, 0, 0xffffffff},
    {"add.cc.u32 %r4, %r1, %r2; addc.u32 %r0, %r3, 0", 0xffffffff, 1, 5, 6},
    {"sub.cc.u32 %r4, %r1, %r2; subc.u32 %r0, %r3, 0", 1, 2, 5, 4},
    {"mad.lo.cc.u32 %r4, %r1, %r2, %r3; madc.hi.u32 %r0, %r1, %r2, 1", 0xffffffff, 0xffffffff, 0xffffffff, 0},
    {"min.s32 %r0, %r1, %r2", 0xffffffff, 1, 0, 0xffffffff},
    {"max.u32 %r0, %r1, %r2", 0xffffffff, 1, 0, 0xffffffff},
    {"abs.s32 %r0, %r1", 0x80000000, 0, 0, 0x80000000},
    {"popc.b32 %r0, %r1", 0xf0f0f0f1, 0, 0, 17},
    {"clz.b32 %r0, %r1", 0x00012345, 0, 0, 15},
    {"bfind.u32 %r0, %r1", 0x00012345, 0, 0, 16},
    {"brev.b32 %r0, %r1", 1, 0, 0, 0x80000000},
    {"bfe.u32 %r0, %r1, 4, 8", 0x12345678, 0, 0, 0x67},
    {"bfe.s32 %r0, %r1, 4, 8", 0x12345f78, 0, 0, 0xfffffff7},
    {"bfi.b32 %r0, %r1, %r2, 8, 4", 0xfff, 0, 0, 0xf00},
    {"shl.b32 %r0, %r1, %r2", 1, 40, 0, 0},
    {"shr.s32 %r0, %r1, %r2", 0x80000000, 40, 0, 0xffffffff},
    {"shf.l.wrap.b32 %r0, %r1, %r2, 8", 0x12345678, 0x9abcdef0, 0, 0xbcdef012},
    {"shf.r.clamp.b32 %r0, %r1, %r2, 40", 0x12345678, 0x9abcdef0, 0, 0x9abcdef0},
    {"lop3.b32 %r0, %r1, %r2, %r3, 0x96", 0xff00ff00, 0xf0f0f0f0, 0xcccccccc, 0xff00ff00 ^ 0xf0f0f0f0 ^ 0xcccccccc},
    {"prmt.b32 %r0, %r1, %r2, 0x5140", 0x33221100, 0x77665544, 0, 0x55114400},
    {"prmt.b32 %r0, %r1, %r2, 0x8888", 0x80, 0, 0, 0xffffffff},
    {"dp4a.s32.s32 %r0, %r1, %r2, %r3", 0x01ff0203, 0x02020304, 10, 10 + 3 * 4 + 2 * 3 - 2 + 2},
    {"sad.u32 %r0, %r1, %r2, %r3", 3, 10, 1, 8},
    {"setp.lt.s32 %p0, %r1, %r2; selp.b32 %r0, 1, 2, %p0", 0xffffffff, 0, 0, 1},
    {"setp.lo.u32 %p0|%p1, %r1, %r2; selp.b32 %r0, 1, 2, %p1", 0xffffffff, 0, 0, 1},
    {"setp.ge.and.s32 %p0, %r1, 0, %p2; selp.b32 %r0, 1, 2, %p0", 1, 0, 0, 2},
    {"set.eq.u32.u32 %r0, %r1, %r2", 4, 4, 0, 0xffffffff},
    {"mov.b32 {%h0, %h1}, %r1; mov.b32 %r0, {%h1, %h0}", 0x12345678, 0, 0, 0x56781234},
    {"cvt.u16.u32 %h0, %r1; mul.lo.u16 %h0, %h0, %h0; cvt.u32.u16 %r0, %h0", 300, 0, 0, 90000 & 0xffff},
    {"cvt.s32.s8 %r0, %r1", 0x180, 0, 0, 0xffffff80},
    {"cvt.sat.u8.s32 %r0, %r1", 300, 0, 0, 255},
    {"cvt.u16.s32 %h0, %r1; cvt.s32.s16 %r0, %h0", 0xffff8000, 0, 0, 0xffff8000},
    /* f32: 1.0 3f800000, 2.0 40000000, 3.0 40400000, 0.5 3f000000, NaN 7fffffff */
    {"add.f32 %r0, %r1, %r2", 0x3f800000, 0x33800000, 0, 0x3f800000},    /* 1 + 2^-24: tie to even */
    {"add.rp.f32 %r0, %r1, %r2", 0x3f800000, 0x33800000, 0, 0x3f800001}, /* up */
    {"add.rz.f32 %r0, %r1, %r2", 0x3f800000, 0xb3000000, 0, 0x3f7fffff}, /* 1 - 2^-25 toward zero */
    {"fma.rn.f32 %r0, %r1, %r2, %r3", 0x3f800001, 0x3f800001, 0xbf800002,
     0x28800000}, /* (1+e)^2 - (1+2e) = e^2 = 2^-46 */
    {"fma.rz.f32 %r0, %r1, %r2, %r3", 0x3f800000, 0x3f800000, 0xb3000000, 0x3f7fffff},
    {"mul.ftz.f32 %r0, %r1, %r2", 0x00800000, 0x3f000000, 0, 0},
    {"add.sat.f32 %r0, %r1, %r2", 0x3f800000, 0x3f800000, 0, 0x3f800000},
    {"div.rn.f32 %r0, %r1, %r2", 0x3f800000, 0x40400000, 0, 0x3eaaaaab},
    {"div.rz.f32 %r0, %r1, %r2", 0x3f800000, 0x40400000, 0, 0x3eaaaaaa},
    {"rcp.rn.f32 %r0, %r1", 0x40400000, 0, 0, 0x3eaaaaab},
    {"sqrt.rn.f32 %r0, %r1", 0x40000000, 0, 0, 0x3fb504f3},
    {"sqrt.rp.f32 %r0, %r1", 0x40000000, 0, 0, 0x3fb504f4},
    {"min.f32 %r0, %r1, %r2", 0x7fffffff, 0x3f800000, 0, 0x3f800000},
    {"max.NaN.f32 %r0, %r1, %r2", 0x7fffffff, 0x3f800000, 0, 0x7fffffff},
    {"min.f32 %r0, %r1, %r2", 0x00000000, 0x80000000, 0, 0x80000000},
    {"ex2.approx.f32 %r0, %r1", 0x40400000, 0, 0, 0x41000000},
    {"neg.f32 %r0, %r1", 0x3f800000, 0, 0, 0xbf800000},
    {"setp.lt.f32 %p0, %r1, %r2; selp.b32 %r0, 1, 2, %p0", 0x7fffffff, 0x3f800000, 0, 2},
    {"setp.ltu.f32 %p0, %r1, %r2; selp.b32 %r0, 1, 2, %p0", 0x7fffffff, 0x3f800000, 0, 1},
    {"cvt.rzi.s32.f32 %r0, %r1", 0xc0200000, 0, 0, 0xfffffffe}, /* -2.5 */
    {"cvt.rni.s32.f32 %r0, %r1", 0x40200000, 0, 0, 2},          /* 2.5 to even */
    {"cvt.rzi.u32.f32 %r0, %r1", 0xc0200000, 0, 0, 0},          /* clamped */
    {"cvt.rzi.s32.f32 %r0, %r1", 0x7fffffff, 0, 0, 0},          /* NaN */
    {"cvt.rn.f32.u32 %r0, %r1", 0xffffffff, 0, 0, 0x4f800000},
    {"cvt.rz.f32.u32 %r0, %r1", 0xffffffff, 0, 0, 0x4f7fffff},
    {"cvt.rmi.f32.f32 %r0, %r1", 0xc0200000, 0, 0, 0xc0400000},
    {"cvt.f64.f32 %d0, %r1; add.f64 %d0, %d0, 0d3FF0000000000000; cvt.rn.f32.f64 %r0, %d0", 0x40000000, 0, 0,
     0x40400000},
    /* small formats */
    {"cvt.rn.f16.f32 %h0, %r1; cvt.u32.u16 %r0, %h0", 0x477ff000, 0, 0, 0x7c00}, /* 65520 rounds to infinity */
    {"cvt.rn.f16.f32 %h0, %r1; cvt.u32.u16 %r0, %h0", 0x33800000, 0, 0, 1},      /* 2^-24 */
    {"cvt.rn.f16.f32 %h0, %r1; cvt.u32.u16 %r0, %h0", 0x33000000, 0, 0, 0},      /* 2^-25: tie to even */
    {"cvt.rn.bf16.f32 %h0, %r1; cvt.u32.u16 %r0, %h0", 0x3f808000, 0, 0, 0x3f80},
    {"cvt.rn.bf16.f32 %h0, %r1; cvt.u32.u16 %r0, %h0", 0x3f818000, 0, 0, 0x3f82},
    {"cvt.rn.bf16x2.f32 %r0, %r1, %r2", 0x3f800000, 0x40000000, 0, 0x3f804000},
    {"cvt.rn.satfinite.e4m3x2.f32 %h0, %r1, %r2; cvt.u32.u16 %r0, %h0", 0x43e00000, 0x3f800000, 0, 0x7e38}, /* 448, 1 */
    {"cvt.rn.satfinite.e4m3x2.f32 %h0, %r1, %r2; cvt.u32.u16 %r0, %h0", 0x7f800000, 0x3b000000, 0,
     0x7e01}, /* inf, 2^-9 */
    {"cvt.rn.satfinite.e4m3x2.f32 %h0, %r1, %r2; cvt.u32.u16 %r0, %h0", 0x7fc00000, 0xbfc00000, 0,
     0x7fbc}, /* NaN, -1.5 */
    {"cvt.rn.satfinite.e5m2x2.f32 %h0, %r1, %r2; cvt.u32.u16 %r0, %h0", 0x47c35000, 0x3f800000, 0,
     0x7b3c}, /* 100000, 1 */
    {"cvt.u16.u32 %h0, %r1; cvt.rn.f16x2.e4m3x2 %r0, %h0", 0x7e01, 0, 0, 0x5f001800},
    {"cvt.rp.satfinite.ue8m0x2.f32 %h0, %r1, %r2; cvt.u32.u16 %r0, %h0", 0x3f800001, 0x3f800000, 0, 0x807f},
    {"cvt.rna.tf32.f32 %r0, %r1", 0x3f801000, 0, 0, 0x3f802000},
    {"fma.rn.f16x2 %r0, %r1, %r2, %r3", 0x3c004000, 0x40004000, 0x3c003c00, 0x42004500}, /* 1*2+1, 2*2+1 */
    {"fma.rn.bf16x2 %r0, %r1, %r2, %r3", 0x3f804000, 0x40004000, 0x3f803f80, 0x404040a0},
    {"add.f16x2 %r0, %r1, %r2", 0x3c007bff, 0x3c007bff, 0, 0x40007c00},
    {"max.bf16x2 %r0, %r1, %r2", 0x3f80c000, 0x4000bf80, 0, 0x4000bf80},
    /* lanes */
    {"mov.u32 %r4, %laneid; shfl.sync.bfly.b32 %r4, %r4, 1, 31, -1; mov.u32 %r0, 0; setp.eq.u32 %p0, %r4, 1; @%p0 "
     "mov.u32 %r0, 9; shfl.sync.idx.b32 %r0, %r0, 0, 31, -1",
     0, 0, 0, 9},
    {"mov.u32 %r4, %laneid; shfl.sync.up.b32 %r0|%p0, %r4, 3, 0, -1; shfl.sync.idx.b32 %r0, %r0, 7, 31, -1", 0, 0, 0,
     4},
    {"mov.u32 %r4, %laneid; shfl.sync.down.b32 %r0|%p0, %r4, 3, 0x1807, -1; vote.sync.ballot.b32 %r0, %p0, -1", 0, 0, 0,
     0x1f1f1f1f},
    {"mov.u32 %r4, %laneid; setp.lt.u32 %p0, %r4, 5; vote.sync.ballot.b32 %r0, %p0, -1", 0, 0, 0, 31},
    {"mov.u32 %r4, %laneid; redux.sync.add.s32 %r0, %r4, -1", 0, 0, 0, 496},
    {"mov.u32 %r4, %laneid; and.b32 %r4, %r4, 3; match.any.sync.b32 %r0, %r4, -1; shfl.sync.idx.b32 %r0, %r0, 1, 31, "
     "-1",
     0, 0, 0, 0x22222222},
    {"elect.sync %r4|%p0, -1; mov.u32 %r0, 0; vote.sync.ballot.b32 %r0, %p0, -1", 0, 0, 0, 1},
    {"mov.u32 %r4, %laneid; and.b32 %r4, %r4, 1; setp.eq.u32 %p0, %r4, 1; @%p0 bra ODD; activemask.b32 %r5; bra BOTH; "
     "ODD: activemask.b32 %r5; BOTH: bar.warp.sync -1; shfl.sync.idx.b32 %r0, %r5, 1, 31, -1",
     0, 0, 0, 0xaaaaaaaa},
};

static void test_instructions(void)
{
    static const char head[] =
        ".version 9.0\n.target sm_120f\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{\n.reg "
        ".b32 %r<9>;\n.reg .b64 %rd<9>;\n.reg .b16 %h<4>;\n.reg .f64 %d<3>;\n"
        ".reg .pred %p<4>;\nld.param.u64 %rd7, [in];\nld.param.u64 %rd8, [out];\nld.global.u32 %r1, "
        "[%rd7];\nld.global.u32 %r2, [%rd7+4];\nld.global.u32 %r3, [%rd7+8];\n"
        "mov.u32 %r8, %laneid;\nmul.wide.u32 %rd6, %r8, 4;\nadd.s64 %rd8, %rd8, %rd6;\nsetp.ne.u32 %p2, %r8, %r8;\n";
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[4096], detail[1700] = "";
        snprintf(text, sizeof(text), "%s%s;\nst.global.u32 [%%rd8], %%r0;\nret;\n}\n", head, cases[i].text);
        struct device d = {0};
        uint32_t *in = device_alloc(&d, 12, true), *out = device_alloc(&d, 128, false);
        in[0] = cases[i].a;
        in[1] = cases[i].b;
        in[2] = cases[i].c;
        struct core_error error;
        struct core_module *m = load_text(text, 120, &error);
        struct core_options options = {.sm = 120};
        void *params[2] = {in, out};
        bool ok = m && run_module(m, "k", &d, 1, 32, params, &options, &error) == CORE_OK;
        if (!ok) snprintf(detail, sizeof(detail), "%s", error.text);
        for (int l = 0; l < 32 && ok; l++) {
            if (out[l] == cases[i].want) continue;
            ok = false;
            snprintf(detail, sizeof(detail), "0x%x, expected 0x%x", out[l], cases[i].want);
        }
        test_case(cases[i].text, ok, detail);
        core_unload(m);
        device_free(&d);
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */

/* What compiled.cu computes, in C. */
static float expected(const float *in, int n, int t)
{
    static const float table[5] = {1.5f, -2.0f, 3.25f, 0.5f, 8.0f};
    float part[128];
    for (int k = 0; k < 128; k++) {
        part[k] = 0;
        for (int i = k; i < n; i += 128) part[k] += fmaf(in[i], table[i % 5], 1.0f);
    }
    for (int k = 64; k; k >>= 1)
        for (int i = 0; i < k; i++) part[i] += part[i + k];
    float v = part[0];
    switch (t % 7) {
    case 0:
        v += 1;
        break;
    case 1:
        v *= 2;
        break;
    case 2:
        v -= (float)(t * ((n + t) % 6));
        break;
    case 3:
        v = -v;
        break;
    case 4:
        v = fmaf(3, 0.25f, v);
        break;
    case 5:
        v = (float)((long long)n * 1000000007LL % (t + 3));
        break;
    default:
        v = (float)(127 - t);
    }
    v += 16.0f + (float)(t ^ 5);
    return v + 32 + (float)(n / 7) + (float)(n % 13) + sqrtf((float)t) + (float)((unsigned short)(t * 700) / 3);
}

static void test_one_target(const char *text, int sm, const char *name)
{
    enum { N = 1001 };
    struct core_error error = {0};
    struct device d = {0};
    struct core_options options = {.sm = sm, .seed = 3};
    struct core_module *m = core_load(text, strlen(text), &options, &error);
    bool ok = m != NULL;
    for (size_t i = 0; m && i < core_variable_count(m); i++) {
        struct core_variable v = core_variable_at(m, i);
        void *p = device_alloc(&d, v.size, true);
        if (v.initial) memcpy(p, v.initial, v.size);
        *v.address = (uint64_t)(uintptr_t)p;
    }
    float *in = device_alloc(&d, N * 4, true), *out = device_alloc(&d, 512, false);
    for (int i = 0; i < N; i++) in[i] = (float)(i % 11) - 5;
    if (ok) {
        core_bind(m);
        struct {
            void *in, *out;
            int n, a;
            float b;
        } params = {in, out, N, 3, 0.25f};
        struct core_launch launch = {.function = core_function_find(m, "compiled"),
                                     .grid = {1, 1, 1},
                                     .block = {128, 1, 1},
                                     .dynamic_shared = 128,
                                     .params = &params,
                                     .memory = &(struct core_memory){&d, device_find},
                                     .options = options};
        ok = core_run(&launch, &error) == CORE_OK;
        for (int t = 0; t < 128 && ok; t++) {
            float want = expected(in, N, t);
            ok = fabsf(out[t] - want) <= 1e-3f * fabsf(want);
            if (!ok)
                snprintf(error.text, sizeof(error.text), "thread %d: %g, expected %g", t, (double)out[t], (double)want);
        }
        size_t run = 0;
        for (size_t i = 0; i < core_coverage_count(m); i++) run += core_coverage_at(m, i).count != 0;
        if (ok && run * 2 < core_coverage_count(m)) { /* some are for long divisions that do not happen */
            ok = false;
            snprintf(error.text, sizeof(error.text), "coverage %zu of %zu lines", run, core_coverage_count(m));
        }
    }
    test_case(name, ok, error.text);
    core_unload(m);
    device_free(&d);
}

/* pipeline.cu: 16 tiles of 256 words, weighted by their number. */
static void test_pipeline(const char *text, const char *kernel, int broken)
{
    static const struct {
        enum core_status status;
        const char *says, *name;
    } breaks[] = {{CORE_OK, "", "right"},
                  {CORE_FAULT_LAUNCH, "race", "no wait_group"},
                  {CORE_FAULT_LAUNCH, "shared memory", "no barrier a stage"},
                  {CORE_FAULT_LAUNCH, "race", "producer does not wait"},
                  {CORE_FAULT_LAUNCH, "shared memory", "consumers do not wait"},
                  {CORE_FAULT_LAUNCH, "race", "one arrival for a warp that did not meet"},
                  {CORE_FAULT_LAUNCH, "deadlock", "consumers never arrive"},
                  {CORE_FAULT_LAUNCH, "", "no barrier after init"}};
    struct core_error error = {0};
    bool ok = true;
    for (uint64_t seed = 1; seed <= 6 && ok; seed++) {
        struct device d = {0};
        uint32_t *in = device_alloc(&d, 16 * 1024, true), *out = device_alloc(&d, 256, false);
        for (uint32_t i = 0; i < 4096; i++) in[i] = i * 7 % 1013;
        struct core_options options = {.sm = 90, .seed = seed};
        struct core_module *m = load_text(text, 90, &error);
        void *params[2] = {in, out};
        uint32_t threads = !strcmp(kernel, "bulk") ? 96 : !strcmp(kernel, "lock") ? 32 : 64;
        enum core_status status = m ? run_module(m, kernel, &d, 1, threads, params, &options, &error) : error.status;
        ok = status == breaks[broken].status && strstr(error.text, breaks[broken].says);
        for (uint32_t t = 0; t < (threads == 32 ? 32u : 64u) && ok && !broken; t++) {
            uint32_t want = 0;
            if (threads == 32)
                for (uint32_t i = 0; i < 32; i++) want += in[i];
            else
                for (uint32_t k = 0; k < 16; k++)
                    for (uint32_t i = 0; i < 4; i++) want += in[256 * k + ((t + 64 * i) ^ 21)] * (k + 1);
            ok = out[t] == want;
            if (!ok) snprintf(error.text, sizeof(error.text), "thread %u: %u, expected %u", t, out[t], want);
        }
        core_unload(m);
        device_free(&d);
    }
    char name[100];
    snprintf(name, sizeof(name), "pipeline from nvcc: %s, %s", kernel, breaks[broken].name);
    test_case(name, ok, error.text[0] ? error.text : "no fault");
}

#ifdef _WIN32
#define NVCC "nvcc"
#define QUIET ">NUL 2>&1"
#else
#define NVCC "PATH=$PATH:/usr/local/cuda/bin nvcc"
#define QUIET ">/dev/null 2>&1"
#endif

/* The PTX that nvcc makes of a file of tests/emulator/ptx, to be freed; NULL when there is no nvcc that can. */
static char *compile(const char *file, const char *arch, const char *flags)
{
    char command[512], path[] = "/tmp/upres_core_XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) return NULL;
    close(fd);
    snprintf(command, sizeof(command), NVCC " -arch=%s %s -ptx -o %s tests/emulator/ptx/%s " QUIET, arch, flags, path, file);
    char *text = system(command) ? NULL : read_text(path);
    remove(path);
    return text;
}

void test_compiled(void)
{
    static const struct {
        const char *arch, *flags;
        int sm;
    } targets[] = {{"compute_80", "", 80},
                   {"compute_89", "-G", 89},
                   {"compute_90a", "--use_fast_math", 90},
                   {"compute_120f", "", 120}};
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        char name[80];
        snprintf(name, sizeof(name), "kernel from nvcc for %s %s", targets[i].arch, targets[i].flags);
        char *text = compile("compiled.cu", targets[i].arch, targets[i].flags);
        if (text)
            test_one_target(text, targets[i].sm, name);
        else
            test_skip(name, "nvcc is not there or does not know the target");
        free(text);
    }
    for (int broken = 0; broken < 8; broken++) {
        char flags[32];
        snprintf(flags, sizeof(flags), "-DBREAK=%d", broken);
        char *text = compile("pipeline.cu", "compute_90", flags);
        if (!text) {
            test_skip("pipeline from nvcc", "nvcc is not there");
            continue;
        }
        if (broken < 3) test_pipeline(text, "staged", broken);
        if (broken > 2 || !broken) test_pipeline(text, "bulk", broken);
        if (!broken) test_pipeline(text, "lock", broken);
        free(text);
    }
}

void test_arithmetic(void)
{
    test_instructions();
}
