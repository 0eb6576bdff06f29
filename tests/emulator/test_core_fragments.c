/*
 * mma, ldmatrix and stmatrix against matrices laid out by hand: the fragment tables of the PTX documents, register by
 * register. Values are small integers, so that every type and every way of summing gives the same exact result.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/emulator/test_core.h"

/* A code of the small format whose value is v; the formats are decoded here from their definition. */
static uint32_t code_of(const char *type, double v)
{
    int exponent_bits, mantissa_bits;
    if (type[0] == 's' || type[0] == 'u') return (uint32_t)(int32_t)v & 0xff;
    if (!strcmp(type, "tf32")) {
        float f = (float)v;
        uint32_t u;
        memcpy(&u, &f, 4);
        return u;
    }
    if (!strcmp(type, "f16"))
        exponent_bits = 5, mantissa_bits = 10;
    else if (!strcmp(type, "bf16"))
        exponent_bits = 8, mantissa_bits = 7;
    else if (!strcmp(type, "e4m3"))
        exponent_bits = 4, mantissa_bits = 3;
    else
        exponent_bits = 5, mantissa_bits = 2;
    int bias = (1 << (exponent_bits - 1)) - 1, e;
    if (v == 0) return 0;
    double m = frexp(fabs(v), &e); /* 0.5 <= m < 1 */
    uint32_t code = (uint32_t)(e - 1 + bias) << mantissa_bits | (uint32_t)((m * 2 - 1) * (1 << mantissa_bits));
    return v < 0 ? code | 1u << (exponent_bits + mantissa_bits) : code;
}
static int bits_of(const char *type)
{
    return !strcmp(type, "tf32") ? 32 : !strcmp(type, "f16") || !strcmp(type, "bf16") ? 16 : 8;
}

struct form {
    const char *opcode, *a, *b, *c;
    int k, sm;
    const char *target;
};

struct operands {
    double a[16][32], b[32][8], c[16][8], d[16][8];
    uint32_t row_scale[32], column_scale[32]; /* registers of the lanes */
    int selector[4];
};

/* {a registers, b registers, c registers} of each lane, by the tables; returns how many there are a lane. */
static int pack(const struct form *f, const struct operands *o, uint32_t lane, uint32_t *to)
{
    int bits = bits_of(f->a), per = 32 / bits, na = f->k * bits / 64 /* 16 rows x K elements over 32 lanes */, n = 0;
    uint32_t g = lane / 4, t = lane % 4;
    for (int i = 0; i < na; i++) {
        uint32_t row = i == 1 || i == 3 ? g + 8 : g, first = i >= 2 ? (uint32_t)f->k / 2 : 0, v = 0;
        for (int j = 0; j < per; j++)
            v |= code_of(f->a, o->a[row][first + t * (uint32_t)per + (uint32_t)j]) << (j * bits);
        to[n++] = v;
    }
    for (int i = 0; i < na / 2; i++) {
        uint32_t first = i ? (uint32_t)f->k / 2 : 0, v = 0;
        for (int j = 0; j < per; j++)
            v |= code_of(f->b, o->b[first + t * (uint32_t)per + (uint32_t)j][g]) << (j * bits);
        to[n++] = v;
    }
    const double *c0 = &o->c[g][2 * t], *c1 = &o->c[g + 8][2 * t];
    if (!strcmp(f->c, "f16")) {
        to[n++] = code_of("f16", c0[0]) | code_of("f16", c0[1]) << 16;
        to[n++] = code_of("f16", c1[0]) | code_of("f16", c1[1]) << 16;
    } else {
        double v[4] = {c0[0], c0[1], c1[0], c1[1]};
        for (int i = 0; i < 4; i++) {
            float x = (float)v[i];
            if (!strcmp(f->c, "s32"))
                to[n] = (uint32_t)(int32_t)v[i];
            else
                memcpy(&to[n], &x, 4);
            n++;
        }
    }
    return n;
}

static double unpack(const struct form *f, const uint32_t *d, uint32_t i)
{
    uint32_t u;
    float x;
    if (!strcmp(f->c, "s32")) return (int32_t)d[i];
    if (!strcmp(f->c, "f32")) {
        memcpy(&x, &d[i], 4);
        return (double)x;
    }
    u = d[i / 2] >> (i & 1) * 16 & 0xffff;
    double m = (double)(u & 0x3ff), e = (double)(u >> 10 & 31), v = e == 0 ? m * 0x1p-24 : ldexp(1024 + m, (int)e - 25);
    return u & 0x8000 ? -v : v;
}

/* A kernel that loads a lane's registers, does the mma (with A's middle registers exchanged when `wrong`) and stores D. */
static void mma_text(const struct form *f, int na, int nb, int nc, bool scaled, const int selector[4], bool wrong,
                     char *text, size_t size)
{
    int n = na + nb + nc,
        at = snprintf(text, size,
                      ".version 9.0\n.target %s\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 "
                      "out)\n{\n.reg .b32 %%r<40>;\n.reg .b64 %%rd<8>;\n"
                      "ld.param.u64 %%rd1, [in];\nld.param.u64 %%rd2, [out];\nmov.u32 %%r39, %%tid.x;\nmul.wide.u32 "
                      "%%rd3, %%r39, 64;\nadd.s64 %%rd1, %%rd1, %%rd3;\nadd.s64 %%rd2, %%rd2, %%rd3;\n",
                      f->target);
    for (int i = 0; i < n + (scaled ? 2 : 0); i++)
        at += snprintf(text + at, size - (size_t)at, "ld.global.b32 %%r%d, [%%rd1+%d];\n", i, 4 * i);
    at += snprintf(text + at, size - (size_t)at, "%s ", f->opcode);
    int first[4] = {30, 0, na, na + nb}, count[4] = {nc, na, nb, nc};
    for (int o = 0; o < 4; o++) {
        for (int i = 0; i < count[o]; i++) {
            int r = first[o] + (o == 1 && wrong && na == 4 && (i == 1 || i == 2) ? 3 - i : i);
            at += snprintf(text + at, size - (size_t)at, "%s%%r%d", i ? ", " : o ? ", {" : "{", r);
        }
        at += snprintf(text + at, size - (size_t)at, "}");
    }
    if (scaled)
        at += snprintf(text + at, size - (size_t)at, ", {%%r%d}, {%d, %d}, {%%r%d}, {%d, %d}", n, selector[0],
                       selector[1], n + 1, selector[2], selector[3]);
    at += snprintf(text + at, size - (size_t)at, ";\n");
    for (int i = 0; i < nc; i++)
        at += snprintf(text + at, size - (size_t)at, "st.global.b32 [%%rd2+%d], %%r%d;\n", 4 * i, 30 + i);
    snprintf(text + at, size - (size_t)at, "ret;\n}\n");
}

/* The largest difference from o->d over all lanes; INFINITY when it did not run. */
static double run_mma(const struct form *f, const struct operands *o, bool scaled, bool exact, bool wrong,
                      struct core_error *error)
{
    struct device d = {0};
    uint32_t *in = device_alloc(&d, 32 * 64, true), *out = device_alloc(&d, 32 * 64, false);
    int n = 0;
    for (uint32_t l = 0; l < 32; l++) {
        n = pack(f, o, l, in + l * 16);
        if (scaled) {
            in[l * 16 + (uint32_t)n] = o->row_scale[l];
            in[l * 16 + (uint32_t)n + 1] = o->column_scale[l];
        }
    }
    int na = f->k * bits_of(f->a) / 64, nc = !strcmp(f->c, "f16") ? 2 : 4;
    char text[8192];
    mma_text(f, na, na / 2, nc, scaled, o->selector, wrong, text, sizeof(text));
    struct core_module *m = load_text(text, f->sm, error);
    double worst = INFINITY;
    if (m) {
        struct core_options options = {.sm = f->sm, .exact_mma = exact};
        void *params[2] = {in, out};
        if (run_module(m, "k", &d, 1, 32, params, &options, error) == CORE_OK) {
            worst = 0;
            for (uint32_t l = 0; l < 32; l++)
                for (uint32_t i = 0; i < 4; i++) {
                    double e = fabs(unpack(f, out + l * 16, i) - o->d[l / 4 + (i >= 2 ? 8 : 0)][2 * (l % 4) + (i & 1)]);
                    if (!(e <= worst)) worst = e;
                }
        }
    }
    core_unload(m);
    device_free(&d);
    return worst;
}

static void fill(const struct form *f, struct operands *o, uint32_t *state)
{
    memset(o, 0, sizeof(*o));
    for (int i = 0; i < 16 * 32 + 32 * 8 + 16 * 8; i++) {
        *state = *state * 1664525u + 1013904223u;
        double v = (double)(*state >> 20) - 2048;
        v = fmod(v, !strcmp(f->a, "e5m2") || !strcmp(f->b, "e5m2") ? 5 : 9);
        if (i < 512)
            o->a[i / 32][i % 32] = f->a[0] == 'u' ? fabs(v) + 240 : v;
        else if (i < 768)
            o->b[(i - 512) / 8][(i - 512) % 8] = f->b[0] == 'u' ? fabs(v) + 240 : v;
        else
            o->c[(i - 768) / 8][(i - 768) % 8] = v * 3;
    }
    for (int r = 0; r < 16; r++)
        for (int n = 0; n < 8; n++) {
            o->d[r][n] = o->c[r][n];
            for (int k = 0; k < f->k; k++) o->d[r][n] += o->a[r][k] * o->b[k][n];
        }
}

#define MMA   "mma.sync.aligned."
#define BLOCK MMA "m16n8k32.row.col.kind::mxf8f6f4.block_scale.scale_vec::1X."
static const struct form forms[] = {
    {MMA "m16n8k16.row.col.f32.f16.f16.f32", "f16", "f16", "f32", 16, 80, "sm_80"},
    {MMA "m16n8k16.row.col.f16.f16.f16.f16", "f16", "f16", "f16", 16, 80, "sm_80"},
    {MMA "m16n8k8.row.col.f32.f16.f16.f32", "f16", "f16", "f32", 8, 80, "sm_80"},
    {MMA "m16n8k16.row.col.f32.bf16.bf16.f32", "bf16", "bf16", "f32", 16, 90, "sm_80"},
    {MMA "m16n8k8.row.col.f32.bf16.bf16.f32", "bf16", "bf16", "f32", 8, 80, "sm_80"},
    {MMA "m16n8k8.row.col.f32.tf32.tf32.f32", "tf32", "tf32", "f32", 8, 80, "sm_80"},
    {MMA "m16n8k4.row.col.f32.tf32.tf32.f32", "tf32", "tf32", "f32", 4, 80, "sm_80"},
    {MMA "m16n8k32.row.col.s32.s8.s8.s32", "s8", "s8", "s32", 32, 80, "sm_80"},
    {MMA "m16n8k32.row.col.satfinite.s32.s8.s8.s32", "s8", "s8", "s32", 32, 90, "sm_80"},
    {MMA "m16n8k32.row.col.s32.u8.s8.s32", "u8", "s8", "s32", 32, 80, "sm_80"},
    {MMA "m16n8k16.row.col.s32.u8.u8.s32", "u8", "u8", "s32", 16, 120, "sm_80"},
    {MMA "m16n8k32.row.col.f32.e4m3.e4m3.f32", "e4m3", "e4m3", "f32", 32, 120, "sm_89"},
    {MMA "m16n8k32.row.col.f16.e4m3.e4m3.f16", "e4m3", "e4m3", "f16", 32, 120, "sm_89"},
    {MMA "m16n8k16.row.col.f32.e4m3.e5m2.f32", "e4m3", "e5m2", "f32", 16, 120, "sm_89"},
    {MMA "m16n8k32.row.col.f32.e5m2.e5m2.f32", "e5m2", "e5m2", "f32", 32, 90, "sm_89"},
    {MMA "m16n8k32.row.col.kind::f8f6f4.f32.e4m3.e4m3.f32", "e4m3", "e4m3", "f32", 32, 120, "sm_120f"},
};

static void test_mma(void)
{
    uint32_t state = 1;
    struct operands o;
    struct core_error error = {0};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        fill(&forms[i], &o, &state);
        double fast = run_mma(&forms[i], &o, false, false, false, &error),
               exact = run_mma(&forms[i], &o, false, true, false, &error);
        test_case(forms[i].opcode, fast == 0 && exact == 0, error.text[0] ? error.text : "a wrong element");
    }
    fill(&forms[0], &o, &state);
    test_case("mma with two fragment registers exchanged differs",
              run_mma(&forms[0], &o, false, false, true, &error) > 0, "");

}

/*
 * Every selector of block scales, given scales that differ in all lanes and bytes: of A in one round, of B in the other, so that
 * their powers of two stay within float's. Without C and with small integers all results are exact.
 */
static void test_block_scales(void)
{
    static const struct form scaled = {BLOCK "f32.e4m3.e4m3.f32.ue8m0", "e4m3", "e4m3", "f32", 32, 120, "sm_120f"};
    enum { BYTES_A = 4, THREADS_A = 2, BYTES_B = 4, THREADS_B = 4, SELECTORS = BYTES_A * THREADS_A * BYTES_B * THREADS_B };
    uint32_t state = 3;
    struct operands o;
    struct core_error error = {0};
    for (int of_b = 0; of_b < 2; of_b++) {
        int wrong = -1;
        for (int s = 0; s < SELECTORS && wrong < 0; s++) {
            const int byte_a = s % 4, thread_a = s / 4 % 2, byte_b = s / 8 % 4, thread_b = s / 32;
            const int selector[4] = {byte_a, thread_a, byte_b, thread_b};
            fill(&scaled, &o, &state);
            memcpy(o.selector, selector, sizeof(selector));
            for (uint32_t l = 0; l < 32; l++) {
                const uint32_t differing = 0x01010101u * (63 + 4 * l) + 0x03020100u, same = 0x7e7e7e7eu;
                o.row_scale[l] = of_b ? same : differing;
                o.column_scale[l] = of_b ? differing : same;
            }
            for (int r = 0; r < 16; r++)
                for (int n = 0; n < 8; n++) {
                    /* lane of row r: quad r%8, lanes {0,1} or {2,3} of it by thread_a, the odd one for rows 8..15 */
                    const uint32_t sa = o.row_scale[(r % 8) * 4 + thread_a * 2 + r / 8] >> (8 * byte_a) & 255,
                                   sb = o.column_scale[n * 4 + thread_b] >> (8 * byte_b) & 255;
                    o.d[r][n] = ldexp(o.d[r][n] - o.c[r][n], (int)sa + (int)sb - 254);
                }
            memset(o.c, 0, sizeof(o.c));
            if (run_mma(&scaled, &o, true, false, false, &error) != 0 || run_mma(&scaled, &o, true, true, false, &error) != 0)
                wrong = s;
        }
        char name[200], why[1700];
        snprintf(name, sizeof(name), "%s: scales of %c in all lanes and bytes", scaled.opcode, of_b ? 'B' : 'A');
        snprintf(why, sizeof(why), "selectors %d, %d, %d, %d: %s", wrong % 4, wrong / 4 % 2, wrong / 8 % 4, wrong / 32,
                 error.text[0] ? error.text : "a wrong element");
        test_case(name, wrong < 0, why);
    }
}

/* 1 + 4 * 2^-25 and 1 + 3 * 2^-25 show where terms are cut and that the result is truncated. */
static void test_exact_sums(void)
{
    static const struct {
        const char *name;
        int sm, terms;
        bool exact;
        double want;
    } cases[] = {{"sum in double rounds to nearest", 120, 3, false, 1 + 0x1p-23},
                 {"sm_120 truncates the result", 120, 3, true, 1},
                 {"sm_120 keeps 25 bits of a term", 120, 4, true, 1 + 0x1p-23},
                 {"sm_80 keeps 24 bits of a term", 80, 4, true, 1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct form f = forms[0];
        struct operands o;
        struct core_error error = {0};
        f.sm = cases[i].sm;
        memset(&o, 0, sizeof(o));
        for (int k = 0; k < cases[i].terms; k++) {
            o.a[3][k] = 0x1p-12;
            o.b[k][5] = 0x1p-13;
        }
        o.c[3][5] = 1;
        o.d[3][5] = cases[i].want;
        test_case(cases[i].name, run_mma(&f, &o, false, cases[i].exact, false, &error) == 0, error.text);
    }
}

static double power_of(double v, int least)
{
    int e;
    if (v == 0) return -126;
    frexp(v, &e);
    return e - 1 > least ? e - 1 : least;
}

/* Wide exponents, zeros and both signs, against the rule written down once more, in doubles. */
static void test_random_sums(void)
{
    static const struct {
        const struct form *form;
        int sm, fraction, halves, least;
        bool cut;
    } cases[] = {{&forms[0], 120, 25, 1, -14, false}, {&forms[0], 90, 25, 1, -14, false},
                 {&forms[3], 80, 24, 2, -126, false}, {&forms[0], 89, 24, 2, -14, false},
                 {&forms[11], 120, 25, 1, -6, false}, {&forms[11], 89, 13, 2, -6, true}};
    uint32_t state = 77;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct form f = *cases[i].form;
        struct operands o;
        struct core_error error = {0};
        f.sm = cases[i].sm;
        bool ok = true;
        for (int round = 0; round < 8 && ok; round++) {
            fill(&f, &o, &state);
            for (int k = 0; k < f.k; k++) {
                for (int r = 0; r < 16; r++) o.a[r][k] = ldexp(o.a[r][k], (r * 7 + k * 5 + round) % 9 - 5);
                for (int n = 0; n < 8; n++) o.b[k][n] = ldexp(o.b[k][n], (n * 3 + k) % 7 - 4);
            }
            for (int r = 0; r < 16; r++)
                for (int n = 0; n < 8; n++) {
                    double v = o.c[r][n] = ldexp(o.c[r][n] + 0x1p-16, (r + n) % 12 - 6);
                    v = (double)(float)v;
                    for (int from = 0; from < f.k; from += f.k / cases[i].halves) {
                        double most = power_of(v, -126), sum;
                        for (int k = from; k < from + f.k / cases[i].halves; k++) {
                            double e = o.a[r][k] == 0 || o.b[k][n] == 0
                                           ? -126
                                           : power_of(o.a[r][k], cases[i].least) + power_of(o.b[k][n], cases[i].least);
                            most = e > most ? e : most;
                        }
                        int shift = cases[i].fraction - (int)most;
                        sum = trunc(ldexp(v, shift));
                        for (int k = from; k < from + f.k / cases[i].halves; k++)
                            sum += trunc(ldexp(o.a[r][k] * o.b[k][n], shift));
                        int e, bits = cases[i].cut ? 14 : 24;
                        frexp(sum, &e);
                        sum = sum == 0 ? 0 : ldexp(trunc(ldexp(sum, bits - e)), e - bits);
                        v = ldexp(sum, -shift);
                    }
                    o.d[r][n] = v;
                }
            ok = run_mma(&f, &o, false, true, false, &error) == 0;
        }
        char name[160];
        snprintf(name, sizeof(name), "exact sums on sm_%d: %s", f.sm, f.opcode);
        test_case(name, ok, error.text);
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */

/* 512 bytes 0, 1, 2 ... (16 bits each where `wide`) in shared memory; lane l's row address is 16*l; registers come out. */
static bool run_matrix(const char *instruction, int registers, bool store, int sm, const char *target, uint32_t *out,
                       struct core_error *error)
{
    struct device d = {0};
    uint32_t *in = device_alloc(&d, 512, true), *to = device_alloc(&d, 512, false);
    for (uint32_t i = 0; i < 128; i++) in[i] = (2 * i) | (2 * i + 1) << 16;
    char text[4096];
    int at = snprintf(text, sizeof(text),
                      ".version 9.0\n.target %s\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 "
                      "out)\n{\n.reg .b32 %%r<20>;\n.reg .b64 %%rd<8>;\n.shared .align 128 .b8 tile[512];\n"
                      "ld.param.u64 %%rd1, [in];\nld.param.u64 %%rd2, [out];\nmov.u32 %%r9, %%tid.x;\nmul.wide.u32 "
                      "%%rd3, %%r9, 16;\nadd.s64 %%rd1, %%rd1, %%rd3;\nadd.s64 %%rd2, %%rd2, %%rd3;\nshl.b32 %%r8, "
                      "%%r9, 4;\nmov.u32 %%r7, tile;\nadd.u32 %%r8, %%r8, %%r7;\n"
                      "ld.global.v4.u32 {%%r0, %%r1, %%r2, %%r3}, [%%rd1];\n",
                      target);
    if (!store)
        at += snprintf(text + at, sizeof(text) - (size_t)at,
                       "st.shared.v4.u32 [%%r8], {%%r0, %%r1, %%r2, %%r3};\nbar.sync 0;\n");
    at += snprintf(text + at, sizeof(text) - (size_t)at, "%s;\n", instruction);
    if (store)
        at += snprintf(
            text + at, sizeof(text) - (size_t)at,
            "bar.sync 0;\nsetp.lt.u32 %%p1, %%r9, %d;\n@%%p1 ld.shared.v4.u32 {%%r0, %%r1, %%r2, %%r3}, [%%r8];\n",
            8 * registers);
    snprintf(text + at, sizeof(text) - (size_t)at, "st.global.v4.u32 [%%rd2], {%%r0, %%r1, %%r2, %%r3};\nret;\n}\n");
    if (store) {
        char *regs = strstr(text, ".reg .b64");
        memmove(regs + 17, regs, strlen(regs) + 1);
        memcpy(regs, ".reg .pred %p<2>;", 17);
    }
    struct core_module *m = load_text(text, sm, error);
    bool ok = false;
    if (m) {
        struct core_options options = {.sm = sm};
        void *params[2] = {in, to};
        ok = run_module(m, "k", &d, 1, 32, params, &options, error) == CORE_OK;
        memcpy(out, to, 512);
    }
    core_unload(m);
    device_free(&d);
    return ok;
}

static void test_matrix(void)
{
    uint32_t v[128];
    struct core_error error = {0};
    bool ok = run_matrix("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0, %r1, %r2, %r3}, [%r8]", 4, false, 80, "sm_80",
                         v, &error);
    for (uint32_t l = 0; l < 32 && ok; l++) /* matrix i, row l/4: elements 8*(8i + l/4) + 2*(l%4) and the next */
        for (uint32_t i = 0; i < 4; i++)
            ok = ok && v[4 * l + i] ==
                           ((64 * i + 8 * (l / 4) + 2 * (l % 4)) | (64 * i + 8 * (l / 4) + 2 * (l % 4) + 1) << 16);
    test_case("ldmatrix.x4", ok, error.text);
    ok = run_matrix("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r0, %r1, %r2, %r3}, [%r8]", 4, false, 80, "sm_80",
                    v, &error);
    for (uint32_t l = 0; l < 32 && ok; l++) /* element (2t, g) and (2t+1, g) */
        for (uint32_t i = 0; i < 4; i++)
            ok = ok && v[4 * l + i] ==
                           ((64 * i + 8 * (2 * (l % 4)) + l / 4) | (64 * i + 8 * (2 * (l % 4) + 1) + l / 4) << 16);
    test_case("ldmatrix.x4.trans", ok, error.text);
    ok = run_matrix("ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8 {%r0, %r1}, [%r8]", 2, false, 120, "sm_120f", v,
                    &error);
    for (uint32_t l = 0; l < 32 && ok; l++)
        for (uint32_t i = 0; i < 2; i++)
            for (uint32_t k = 0; k < 4; k++) { /* byte (row 4t+k, column g or 8+g) of 16 rows of 16 bytes */
                uint32_t byte = 16 * (4 * (l % 4) + k) + 8 * i + l / 4, element = byte / 2;
                ok = ok && (v[4 * l + i] >> (8 * k) & 255) == (byte & 1 ? element >> 8 : element & 255);
            }
    test_case("ldmatrix.m16n16.trans.b8", ok, error.text);
    /* stmatrix of what ldmatrix would have loaded gives the rows back: lane l holds words 4l .. 4l+3 of the input here */
    ok = run_matrix("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r8], {%r0, %r1}", 2, true, 90, "sm_90", v, &error);
    for (uint32_t i = 0; i < 2 && ok; i++)
        for (uint32_t l = 0; l < 32; l++)
            ok = ok && v[4 * (8 * i + l / 4) + l % 4] == ((2 * (4 * l + i)) | (2 * (4 * l + i) + 1) << 16);
    test_case("stmatrix.x2", ok, error.text);
    ok =
        run_matrix("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%r8], {%r0, %r1}", 2, true, 90, "sm_90", v, &error);
    for (uint32_t i = 0; i < 2 && ok; i++)
        for (uint32_t l = 0; l < 32; l++)
            for (uint32_t h = 0; h < 2; h++) {
                uint32_t row = 2 * (l % 4) + h, column = l / 4;
                ok = ok && (v[4 * (8 * i + row) + column / 2] >> (column & 1) * 16 & 0xffff) == 2 * (4 * l + i) + h;
            }
    test_case("stmatrix.x2.trans", ok, error.text);
    ok = run_matrix("stmatrix.sync.aligned.m16n8.x1.trans.shared.b8 [%r8], {%r0}", 1, true, 120, "sm_120f", v, &error);
    for (uint32_t l = 0; l < 32 && ok; l++) ok = v[4 * (l / 4) + l % 4] == ((8 * l) | (8 * l + 1) << 16);
    test_case("stmatrix.m16n8.trans.b8", ok, error.text);
}

void test_fragments(void)
{
    test_mma();
    test_block_scales();
    test_exact_sums();
    test_random_sums();
    test_matrix();
}
