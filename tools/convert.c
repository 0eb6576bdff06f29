/* upres convert: several weight files into one GGUF. */
#include <stdio.h>

#include "tools/json_out.h"
#include "tools/options.h"
#include "tools/platform.h"
#include "tools/sequence.h"
#include "tools/verbs.h"

static int stop_asked(void *user)
{
    (void)user;
    return signals_caught() != 0;
}

/* With -v: what is in the files. */
static bool tell_parts(Job *job, Problem *p)
{
    upres_weights *w = NULL;
    upres_status s = upres_weights_open(&w, job->operands, job->operand_count);
    for (size_t i = 0; s == UPRES_OK && i < upres_weights_part_count(w); i++) {
        upres_part_info part = {.struct_size = sizeof part};
        s = upres_weights_part(w, i, &part);
        if (s == UPRES_OK) console_note(&job->console, "%s: %s: %s", job->operands[part.file], part.network, part.summary);
    }
    upres_weights_close(w);
    return s == UPRES_OK || problem_library(p, s);
}

static bool convert(Job *job, int argc, char **argv, Problem *p)
{
    if (!job_parse(job, VERB_CONVERT, argc, argv, p)) return false;
    if (job->help) {
        verb_usage(VERB_CONVERT);
        return true;
    }
    bool skip;
    const char *type = job->type != NULL ? job->type : "f16";
    if (job->operand_count == 0) return problem(p, EXIT_USAGE, "no input: name the weight files to merge");
    if (job->output == NULL) return problem(p, EXIT_USAGE, "no output: give the GGUF file to write with -o");
    if (!output_file_check(job->output, job, &skip, p)) return false;
    if (job->verbose && !tell_parts(job, p)) return false;
    signals_catch();
    upres_status s = upres_convert_stoppable(job->operands, job->operand_count, job->output, type, stop_asked, NULL);
    if (s == UPRES_E_CANCELLED)
        return problem(p, 128 + signals_caught(), "stopped by a signal; %s is not written", job->output);
    if (s != UPRES_OK) return problem_library(p, s);
    if (job->json) {
        fputs("{\"type\":\"result\",\"verb\":\"convert\",\"output\":", stdout);
        json_string(stdout, job->output);
        printf(",\"files\":%zu,\"value_type\":\"%s\"}\n", job->operand_count, type);
    } else {
        console_note(&job->console, "%s: written from %zu file%s as %s", job->output, job->operand_count,
                     job->operand_count == 1 ? "" : "s", type);
    }
    return true;
}

int verb_convert(int argc, char **argv)
{
    return job_run(convert, argc, argv);
}
