/* upres convert: several weight files into one GGUF. */
#include <stdio.h>

#include "tools/json_out.h"
#include "tools/options.h"
#include "tools/sequence.h"
#include "tools/verbs.h"

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
    upres_status s = upres_convert(job->operands, job->operand_count, job->output, type);
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
