/* upres demo-weights: weights that are computed, not trained, so that the whole program can be seen at work with no
 * download. The networks: demo_vae.c, demo_transformer.c, demo_flashvsr.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/demo_tensors.h"
#include "tools/json_out.h"
#include "tools/options.h"
#include "tools/sequence.h"
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

static bool make(Job *job, int argc, char **argv, Problem *p)
{
    bool skip;
    if (!job_parse(job, VERB_DEMO_WEIGHTS, argc, argv, p)) return false;
    if (job->help) {
        verb_usage(VERB_DEMO_WEIGHTS);
        return true;
    }
    if (job->operand_count == 0) return problem(p, EXIT_USAGE, "no family named; use upres demo-weights seedvr2 -o FILE");
    if (job->operand_count > 1)
        return problem(p, EXIT_USAGE, "unexpected argument \"%s\"; one family at a time is made", job->operands[1]);
    const struct Family *family = family_named(job->operands[0]);
    if (family == NULL)
        return problem(p, EXIT_USAGE, "demo-weights: no family \"%s\" is known; seedvr2 and flashvsr can be made",
                       job->operands[0]);
    if (job->output == NULL) return problem(p, EXIT_USAGE, "no output: give the file to write with -o");
    if (!output_file_check(job->output, job, &skip, p)) return false;
    DemoTensors d = {0};
    family->make(&d);
    bool fine = demo_write(&d, job->output, job->type == NULL || strcmp(job->type, "f16") == 0, family->note, p);
    demo_free(&d);
    if (!fine) return false;
    if (job->json) {
        fputs("{\"type\":\"result\",\"verb\":\"demo-weights\",\"output\":", stdout);
        json_string(stdout, job->output);
        printf(",\"family\":\"%s\"}\n", family->name);
    } else {
        console_note(&job->console, "%s: written; %s", job->output, family->note);
    }
    return true;
}

int verb_demo_weights(int argc, char **argv)
{
    return job_run(make, argc, argv);
}
