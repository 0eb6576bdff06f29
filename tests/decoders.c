/*
 * FlashVSR's decoders beyond their values: every tensor that is missing or has another extent is refused with a sentence
 * that names the file, memory does not grow with the clip, and a source or sink that fails stops a run in good order.
 */
#include "runtime/models/tcdecoder.h"
#include "runtime/models/wan_vae.h"
#include "tests/synth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int passed, failed;

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (condition) {                                                                                               \
            passed++;                                                                                                  \
        } else {                                                                                                       \
            failed++;                                                                                                  \
            printf("FAIL decoders: " __VA_ARGS__);                                                                     \
            printf("\n");                                                                                              \
        }                                                                                                              \
    } while (0)

enum { LATENT = 16, H = 4, W = 5 };

static void fill(void *user, const SynthShape *s, float *out)
{
    (void)user;
    float mean, scale;
    synth_wan_rule(s->name, s->rank, s->shape, 1, &mean, &scale);
    synth_tensor(s->name, synth_count(s), mean, scale, out);
}

static char path[512];

static WeightSet *set_of(const SynthShape *shapes, int count, char *error, size_t error_size)
{
    const char *one = path;
    if (synth_write_safetensors(path, shapes, count, fill, NULL)) {
        snprintf(error, error_size, "%s cannot be written", path);
        return NULL;
    }
    return weight_set_open(&one, 1, error, error_size);
}

/* Whether a network opens with tensor `without` left out and the first extent of `longer` one more (-1: none). */
static bool opens(const SynthShape *shapes, int count, WeightNetwork n, int without, int longer, char *error,
                  size_t size)
{
    SynthShape *some = malloc((size_t)count * sizeof *some);
    int m = 0;
    for (int i = 0; some && i < count; i++) {
        if (i == without) continue;
        some[m] = shapes[i];
        if (i == longer) some[m].shape[0]++;
        m++;
    }
    error[0] = 0;
    WeightSet *s = some ? set_of(some, m, error, size) : NULL;
    const WeightPart *part = s ? weight_set_require(s, n, false, 0, error, size) : NULL;
    TcDecoder *tc = part && n == NET_TCDECODER ? tcdecoder_open(part, error, size) : NULL;
    WanVae *wan = part && n == NET_WAN_VAE ? wan_vae_open(part, true, true, error, size) : NULL;
    bool opened = tc || wan;
    tcdecoder_close(tc);
    wan_vae_close(wan);
    if (s) weight_set_close(s);
    free(some);
    return opened;
}

static void test_refusals(const char *what, const SynthShape *shapes, int count, WeightNetwork n)
{
    char error[1024];
    CHECK(opens(shapes, count, n, -1, -1, error, sizeof error), "%s whole: %s", what, error);
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < 2; k++) {
            bool opened = opens(shapes, count, n, k ? -1 : i, k ? i : -1, error, sizeof error);
            CHECK(!opened, "%s %s %s: opened", what, k ? "with a longer" : "without", shapes[i].name);
            CHECK(opened || strstr(error, path), "%s %s %s: \"%s\" does not name the file", what,
                  k ? "with a longer" : "without", shapes[i].name, error);
        }
    }
}

/* ---------------------------------------------------------------------------------------------------------------- runs */

/* Frames of noise that nobody keeps; the one numbered `fail` fails. */
typedef struct Frames {
    int64_t fail, next;
} Frames;

static bool frames_read(void *user, const VaeRegion *r)
{
    const Frames *f = user;
    for (int c = 0; c < r->channels; c++)
        for (int y = 0; y < r->height; y++)
            for (int x = 0; x < r->width; x++)
                r->data[c * r->plane + y * r->row + x] = (float)((x * 7 + y * 3 + c) % 17) / 17.0f;
    return r->frame != f->fail;
}

static bool frames_write(void *user, const VaeRegion *r, bool add)
{
    Frames *f = user;
    CHECK(!add && r->frame == f->next && r->height == 8 * H && r->width == 8 * W,
          "frame %lld of %d x %d is not frame %lld", (long long)r->frame, r->height, r->width, (long long)f->next);
    f->next++;
    return r->frame != f->fail;
}

typedef struct Decoder {
    TcDecoder *tc;
    WanVae *wan; /* either */
} Decoder;

static void decode(Decoder m, Dev *d, int latents, Frames *condition, Frames *frames)
{
    VaeVideo source = {.user = condition, .read = frames_read}, sink = {.user = frames, .write = frames_write};
    TcStream *tc = m.tc ? tcdecoder_stream_open(m.tc, d, H, W) : NULL;
    WanStream *wan = m.wan ? wan_decode_open(m.wan, d, H, W) : NULL;
    for (int i = 0; i < latents && dev_ok(d); i++) {
        Tensor z = dev_floats(d, 1, H, W, LATENT);
        float *to = dev_write(d, z);
        if (to) memset(to, 0, (size_t)z.stride_t * sizeof *to);
        dev_write_end(d, z, to);
        if (tc) tcdecoder_run(tc, z, source, sink);
        if (wan) wan_decode(wan, z, sink);
        dev_free(d, &z);
    }
    tcdecoder_stream_close(tc);
    wan_stream_close(wan);
}

static uint64_t planned(Decoder m, int latents)
{
    Dev *d = dev_plan_open(&(DevSetup){.threads = 2});
    decode(m, d, latents, &(Frames){.fail = -1}, &(Frames){.fail = -1});
    CHECK(dev_ok(d), "plan: %s", dev_error(d));
    uint64_t peak = dev_totals(d).arena_peak;
    dev_close(d);
    return peak;
}

static void test_runs(const char *what, Decoder m)
{
    char error[512];
    uint64_t peak = planned(m, 2);
    CHECK(planned(m, 12) == peak, "%s: twelve latents need more memory than two", what);
    const struct {
        int64_t source, sink;
        const char *says;
    } cases[] = {{-1, -1, ""}, {2, -1, "reading frame 2"}, {-1, 3, "writing frame 3"}};
    for (int i = 0; i < 3; i++) {
        if (m.wan && cases[i].source >= 0) continue; /* it reads no frames */
        Dev *d = dev_open(&(DevSetup){.threads = 2}, peak, error, sizeof error);
        CHECK(d, "%s", error);
        if (!d) return;
        Frames condition = {.fail = cases[i].source}, frames = {.fail = cases[i].sink};
        decode(m, d, 3, &condition, &frames);
        CHECK(strstr(dev_error(d), cases[i].says) && dev_ok(d) == !cases[i].says[0], "%s: \"%s\" does not say \"%s\"",
              what, dev_error(d), cases[i].says);
        CHECK(i > 0 || frames.next == 9, "%s: %lld frames of 3 latents", what, (long long)frames.next);
        CHECK(cases[i].sink < 0 || frames.next == cases[i].sink + 1, "%s: goes on after a failed write", what);
        dev_close(d);
    }
}

int main(void)
{
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/upres-decoders-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0) {
        printf("FAIL decoders: %s cannot be made; set TMPDIR to a folder that can be written\n", path);
        return 1;
    }
    close(fd);
    SynthShape *tc = NULL, *wan = NULL;
    int tc_count = synth_tcdecoder_layout((const int[]){8, 8, 4, 4}, 784, (const int[]){1, 2, 2}, 1, &tc);
    int wan_count = synth_wan_layout(4, LATENT, (const int[]){1, 2, 4, 4}, 4, 2, (const int[]){0, 1, 1, 0}, 1, 1, &wan);
    test_refusals("TCDecoder", tc, tc_count, NET_TCDECODER);
    test_refusals("Wan VAE", wan, wan_count, NET_WAN_VAE);

    char error[1024] = "";
    for (int i = 0; i < 2; i++) {
        WeightSet *s = set_of(i ? wan : tc, i ? wan_count : tc_count, error, sizeof error);
        const WeightPart *part =
            s ? weight_set_require(s, i ? NET_WAN_VAE : NET_TCDECODER, false, 0, error, sizeof error) : NULL;
        Decoder m = {.tc = part && !i ? tcdecoder_open(part, error, sizeof error) : NULL,
                     .wan = part && i ? wan_vae_open(part, false, true, error, sizeof error) : NULL};
        CHECK(m.tc || m.wan, "%s", error);
        if (m.tc || m.wan) test_runs(i ? "Wan VAE" : "TCDecoder", m);
        tcdecoder_close(m.tc);
        wan_vae_close(m.wan);
        if (s) weight_set_close(s);
    }
    free(tc);
    free(wan);
    remove(path);
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
