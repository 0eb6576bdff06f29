/* The command line of every verb: one table, one parser, one manner of complaint. */
#ifndef UPRES_TOOLS_OPTIONS_H
#define UPRES_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/upres.h"
#include "tools/console.h"

typedef enum VerbBit {
    VERB_UPSCALE = 1, VERB_ENCODE = 2, VERB_DECODE = 4, VERB_INFO = 8, VERB_CONVERT = 16, VERB_PLAN = 32,
    VERB_COMPARE = 64, VERB_BENCH = 128, VERB_SELFTEST = 256, VERB_DEMO_WEIGHTS = 512,
    VERB_COMPLETION = 1024
} VerbBit;

typedef enum ProgressMode { PROGRESS_AUTO, PROGRESS_PLAIN, PROGRESS_JSON, PROGRESS_NONE } ProgressMode;

/* Frame numbers first, first + step, ... up to last. */
typedef struct FrameRange {
    int64_t first, last, step;
} FrameRange;

/* A command line, taken apart. Strings point into argv. */
typedef struct Job {
    upres_options library; /* checked by job_parse() for the verbs that compute */
    const char *input, *output;
    const char **models;
    size_t model_count;
    const char **operands; /* what is no option */
    size_t operand_count;
    FrameRange *ranges; /* of --frames; none: all frames */
    size_t range_count;
    const char *frames; /* the same, as written */
    const char *type;   /* of convert and demo-weights */
    const char *report; /* of selftest */
    const char *plot;   /* of bench */
    int32_t overwrite, skip_existing, allow_gaps, checksums, csv, json, verbose, quiet, help;
    int32_t progress; /* ProgressMode */
    /* tile sides and overlaps as given, before the general option fills in for the special ones */
    int32_t tile, encode_tile, decode_tile, tile_overlap, encode_tile_overlap, decode_tile_overlap;
    const char *seedvr2_option, *flashvsr_option; /* one given that only that system takes; NULL: none */
    Console console;
} Job;

/*
 * Take apart argv[1..] for `verb` (argv[0] is its name). For the verbs that compute, contradictions and ranges across
 * options are checked too, and job->library is complete but for its callbacks, which go to job->console: a Job stays
 * where it is. job_free() afterwards in any case. EXIT_USAGE with the option, its value and its range.
 */
bool job_parse(Job *job, VerbBit verb, int argc, char **argv, Problem *p);
void job_free(Job *job);
/* A verb that keeps nothing beside its Job, from job_parse() to job_free(): its exit code, the complaint printed. */
int job_run(bool (*verb)(Job *job, int argc, char **argv, Problem *p), int argc, char **argv);

bool weights_hold(const upres_weights *w, const char *network); /* "seedvr2_dit", ...: as upres_part_info names them */
/* Were options given that the system of these weights does not take? EXIT_USAGE naming one. */
bool job_fits_weights(const Job *job, const upres_weights *w, Problem *p);

/* Name of a verb; its usage line and the options it takes, on stdout. */
const char *verb_name(VerbBit verb);
void verb_usage(VerbBit verb);

/* An option as shells complete it; texts are valid until the next call. */
typedef struct OptionText {
    const char *name, *help;
    char letter; /* 0: none */
    bool takes_value, takes_file, repeats;
    const char *words; /* what may be given, with spaces between; "": other things than words */
} OptionText;
/* The verb's option of that number, in the order of its usage. False: it has no more. */
bool option_text(VerbBit verb, int number, OptionText *o);

/* The word of `words` (NULL ends them) that `text` was probably meant to be; NULL when none is near. */
const char *nearest_word(const char *text, const char *const *words);

#endif
