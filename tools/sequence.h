/* Numbered pictures on disk: which frames a clip has, which are asked for, and where their results go. */
#ifndef UPRES_TOOLS_SEQUENCE_H
#define UPRES_TOOLS_SEQUENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/console.h"
#include "tools/io_png.h"
#include "tools/options.h"

typedef struct SequenceFrame {
    char *path;
    int64_t number; /* the last one in the file's name; 1 where there is none */
} SequenceFrame;

typedef struct Sequence {
    SequenceFrame *frames; /* in rising order of number; a frame's place here is its position in the clip */
    size_t count;
    char *folder;   /* that holds them */
    bool is_folder; /* the input was a folder, not a picture or a pattern */
    PngForm form;   /* of every frame, after sequence_probe() */
} Sequence;

/*
 * Find the frames of a picture, a folder (its PNG files) or a pattern such as in/%06d.png. Numbers that are missing or
 * occur twice are errors that name them (gaps: unless allowed). EXIT_INPUT; EXIT_USAGE for a malformed pattern.
 */
bool sequence_open(Sequence *s, const char *input, bool allow_gaps, Problem *p);
/* Read the header of every frame: all must have one size and form. EXIT_INPUT naming the frame that differs. */
bool sequence_probe(Sequence *s, Problem *p);
void sequence_free(Sequence *s);
/* EXIT_USAGE when a result at `path` would replace a frame. */
bool sequence_apart(const Sequence *s, const char *path, Problem *p);

/*
 * wanted[i] for each frame of s that --frames names; all without the option. *cut: an end lies past the last frame.
 * EXIT_USAGE when a range begins outside of the input or no frame is left.
 */
bool sequence_select(const Sequence *s, const Job *job, bool *wanted, bool *cut, Problem *p);
/* What is wanted, as ranges of positions; the caller frees them. */
upres_range *sequence_ranges(const bool *wanted, size_t count, size_t *range_count);

typedef enum OutputKind { OUTPUT_PICTURE, OUTPUT_PATTERN, OUTPUT_FOLDER } OutputKind;

typedef struct Outputs {
    OutputKind kind;
    const char *path; /* as given */
    char *folder;     /* the results' */
    bool made;        /* by outputs_begin() */
    size_t skipped;   /* results that were there already */
} Outputs;

/* Tell from its name what an output is. EXIT_USAGE for formats that cannot be written. */
bool outputs_open(Outputs *o, const char *path, Problem *p);
/* Where the result of a frame goes. source: its picture, whose name is kept; NULL: it has only a number. free(). */
char *outputs_path(const Outputs *o, const char *source, int64_t number);
/*
 * Before anything is computed: results must not lie in the input or replace it; with --skip-existing those that exist
 * are taken out of `wanted`, without --overwrite they are refused (EXIT_USAGE); the place must be writable
 * (EXIT_FAILED). frames: their sources and numbers; input: NULL when they do not come from pictures.
 */
bool outputs_check(Outputs *o, const Job *job, const SequenceFrame *frames, size_t count, bool *wanted,
                   const Sequence *input, Problem *p);
/* The same rules for a result that is one file. *skip: --skip-existing and it exists. */
bool output_file_check(const char *path, const Job *job, bool *skip, Problem *p);
/* Make the folder when it is missing. */
bool outputs_begin(Outputs *o, Problem *p);
/* Removes a folder that outputs_begin() made and nothing was written to. */
void outputs_end(Outputs *o);

#endif
