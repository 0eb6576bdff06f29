/* upres demo-weights: weights that are computed, not trained, so that the whole program can be seen at work with no
 * download. The networks: demo_vae.c, demo_transformer.c, demo_flashvsr.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/demo_tensors.h"
#include "tools/platform.h"
#include "tools/verbs.h"

enum { WORDS = 8, WORD_WIDTH = 64 };

/* The text tensor: read and attended to, without influence, since the gates are 0. */
static void fill_text(DemoTensor *text)
{
    for (int w = 0; w < WORDS; w++)
        for (int k = 0; k < WORD_WIDTH; k++) text->values[w * WORD_WIDTH + k] = cos((w + 1) * k / 7.0);
}

static void make_seedvr2(DemoTensors *d)
{
    d->prefix = "vae.";
    demo_vae(d);
    d->prefix = "model.diffusion_model.";
    demo_transformer(d);
    d->prefix = "";
    fill_text(demo_add(d, DEMO_SHAPE(WORDS, WORD_WIDTH), "pos_emb"));
}

static void make_flashvsr(DemoTensors *d)
{
    demo_flashvsr(d);
    d->prefix = "";
    fill_text(demo_add(d, DEMO_SHAPE(1, WORDS, WORD_WIDTH), "posi_prompt"));
}

static const struct Family {
    const char *name, *note;
    void (*make)(DemoTensors *d);
} FAMILIES[] = {
    {"seedvr2", "constructed seedvr2 weights: not a trained model", make_seedvr2},
    {"flashvsr", "constructed flashvsr weights: not a trained model", make_flashvsr},
};

static const struct Family *family_named(const char *name)
{
    for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++)
        if (strcmp(FAMILIES[i].name, name) == 0) return &FAMILIES[i];
    return NULL;
}

static void usage(void)
{
    puts("upres demo-weights seedvr2|flashvsr -o FILE.safetensors [--type f16|f32] [--overwrite]\n"
         "  writes constructed weights of narrow networks: SeedVR2's VAE, transformer and text, or FlashVSR's "
         "transformer,\n"
         "  LQ projection, TCDecoder and prompt. They show the machine, not the quality: a picture enlarged 4 times "
         "comes\n"
         "  back slightly sharper (seedvr2) or softer (flashvsr) than bicubic.");
}

typedef struct Request {
    const char *family, *output;
    bool single, overwrite, help; /* single: float32 instead of float16 */
} Request;

static bool parse(Request *r, int argc, char **argv, Problem *p)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        bool valued = strcmp(a, "-o") == 0 || strcmp(a, "--type") == 0;
        if (valued && i + 1 == argc)
            return problem(p, EXIT_USAGE, "%s: a value is missing; see upres demo-weights -h", a);
        if (strcmp(a, "-h") == 0 || strcmp(a, "--help") == 0) {
            r->help = true;
            return true;
        }
        if (strcmp(a, "-o") == 0) {
            r->output = argv[++i];
        } else if (strcmp(a, "--type") == 0) {
            const char *type = argv[++i];
            r->single = strcmp(type, "f32") == 0;
            if (!r->single && strcmp(type, "f16") != 0)
                return problem(p, EXIT_USAGE, "--type: '%s' is not f16 or f32", type);
        } else if (strcmp(a, "--overwrite") == 0) {
            r->overwrite = true;
        } else if (a[0] == '-') {
            return problem(p, EXIT_USAGE, "unknown option %s; demo-weights takes -o, --type and --overwrite", a);
        } else if (r->family != NULL) {
            return problem(p, EXIT_USAGE, "'%s': one family at a time is made, and %s was named before", a, r->family);
        } else {
            r->family = a;
        }
    }
    if (r->family == NULL) return problem(p, EXIT_USAGE, "no family named; use upres demo-weights seedvr2 -o FILE");
    if (family_named(r->family) == NULL)
        return problem(p, EXIT_USAGE, "demo-weights: no family '%s' is known; seedvr2 and flashvsr can be made",
                       r->family);
    if (r->output == NULL) return problem(p, EXIT_USAGE, "no output; add -o FILE.safetensors");
    PathKind there = path_kind(r->output);
    if (there == PATH_FOLDER)
        return problem(p, EXIT_USAGE, "%s: is a folder; give the name of a file in it", r->output);
    if (there != PATH_MISSING && !r->overwrite)
        return problem(p, EXIT_USAGE, "%s: exists already; add --overwrite or choose another name", r->output);
    return true;
}

int verb_demo_weights(int argc, char **argv)
{
    Console console = {0};
    Problem p;
    Request r = {0};
    if (!parse(&r, argc, argv, &p)) return console_fail(&console, &p);
    if (r.help) {
        usage();
        return console_finish(&console, EXIT_FINE);
    }
    const struct Family *family = family_named(r.family);
    DemoTensors d = {0};
    family->make(&d);
    bool written = demo_write(&d, r.output, !r.single, family->note, &p);
    demo_free(&d);
    return written ? EXIT_FINE : console_fail(&console, &p);
}
