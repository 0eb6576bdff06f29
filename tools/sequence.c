#include "tools/sequence.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/platform.h"

/* ------------------------------------------------------------------------------------------------ names and numbers */

/* The last run of digits in a file's name, its extension left out. False when there is none that fits. */
static bool last_number(const char *name, int64_t *number)
{
    const char *dot = strrchr(name, '.');
    const char *end = dot != NULL && dot != name ? dot : name + strlen(name);
    while (end > name && !isdigit((unsigned char)end[-1])) end--;
    const char *start = end;
    while (start > name && isdigit((unsigned char)start[-1])) start--;
    while (start < end && *start == '0') start++;
    if (end - start > 18) return false;
    if (start == end && !(end > name && end[-1] == '0')) return false;
    *number = 0;
    for (; start < end; start++) *number = *number * 10 + (*start - '0');
    return true;
}

/* A name such as frame_%06d.png: what stands before and after the number, and how wide it is at least. */
typedef struct Pattern {
    char *before, *after;
    int width;
} Pattern;

/* Copy up to the next conversion or the end, "%%" standing for "%". Returns where it stopped. */
static const char *copy_literal(const char *from, char *to)
{
    for (; *from != '\0'; from++) {
        if (*from == '%' && from[1] != '%') break;
        if (*from == '%') from++;
        *to++ = *from;
    }
    *to = '\0';
    return from;
}

static void pattern_free(Pattern *t)
{
    free(t->before);
    free(t->after);
}

/* `name`: the last component of a path. */
static bool pattern_parse(Pattern *t, const char *name)
{
    *t = (Pattern){need_memory(strlen(name) + 1), need_memory(strlen(name) + 1), 1};
    const char *at = copy_literal(name, t->before);
    bool fine = *at++ == '%';
    if (fine && *at == '0') {
        t->width = 0;
        for (at++; isdigit((unsigned char)*at) && t->width < 100; at++) t->width = t->width * 10 + (*at - '0');
        fine = t->width >= 1 && t->width <= 18;
    }
    fine = fine && *at == 'd' && *copy_literal(at + 1, t->after) == '\0';
    if (!fine) pattern_free(t);
    return fine;
}

static bool pattern_matches(const Pattern *t, const char *name, int64_t *number)
{
    size_t n = strlen(name), head = strlen(t->before), tail = strlen(t->after);
    if (n < head + tail + (size_t)t->width || strncmp(name, t->before, head) != 0) return false;
    if (strcmp(name + n - tail, t->after) != 0) return false;
    size_t digits = n - head - tail;
    if (digits > 18 || strspn(name + head, "0123456789") < digits) return false;
    if (digits > (size_t)t->width && name[head] == '0') return false;
    *number = 0;
    for (size_t i = 0; i < digits; i++) *number = *number * 10 + (name[head + i] - '0');
    return true;
}

/* ------------------------------------------------------------------------------------------------------------ input */

static void add_frame(Sequence *s, size_t *room, char *path, int64_t number)
{
    if (s->count == *room) s->frames = need_more(s->frames, (*room = *room * 2 + 64) * sizeof *s->frames);
    s->frames[s->count++] = (SequenceFrame){path, number};
}

static int by_number(const void *a, const void *b)
{
    const SequenceFrame *x = a, *y = b;
    if (x->number != y->number) return x->number < y->number ? -1 : 1;
    return strcmp(x->path, y->path);
}

/* PNG files of a folder, or those that fit the pattern. */
static bool collect(Sequence *s, const Pattern *pattern, Problem *p)
{
    char **names;
    size_t name_count, room = 0, nameless = 0;
    if (!folder_names(s->folder, &names, &name_count, p)) return false;
    for (size_t i = 0; i < name_count; i++) {
        const char *name = names[i];
        int64_t number = 1;
        if (pattern != NULL ? !pattern_matches(pattern, name, &number)
                            : name[0] == '.' || !path_ends_with(name, ".png"))
            continue;
        char *path = path_join(s->folder, name);
        if (path_kind(path) == PATH_FOLDER) {
            free(path);
            continue;
        }
        if (pattern == NULL && !last_number(name, &number)) nameless = s->count + 1;
        add_frame(s, &room, path, number);
    }
    free_names(names, name_count);
    if (nameless > 0 && s->count > 1)
        return problem(p, EXIT_INPUT,
                       "%s: the name has no number to order it by among %zu pictures; number the pictures",
                       s->frames[nameless - 1].path, s->count);
    return true;
}

static bool check_numbers(const Sequence *s, bool allow_gaps, Problem *p)
{
    for (size_t i = 1; i < s->count; i++) {
        const SequenceFrame *a = &s->frames[i - 1], *b = &s->frames[i];
        if (a->number == b->number)
            return problem(p, EXIT_INPUT, "%s and %s both have the number %" PRId64 "; keep one of them", a->path,
                           b->path, a->number);
        int64_t missing = b->number - a->number - 1;
        if (missing == 0 || allow_gaps) continue;
        char more[48] = "";
        if (missing > 1) snprintf(more, sizeof more, " (and %" PRId64 " more)", missing - 1);
        return problem(p, EXIT_INPUT,
                       "%s: frame %" PRId64 "%s is missing between %s and %s; add it or use --allow-gaps", s->folder,
                       a->number + 1, more, path_base(a->path), path_base(b->path));
    }
    return true;
}

static bool open_pattern(Sequence *s, const char *input, Problem *p)
{
    Pattern t;
    s->folder = path_folder(input);
    if (!pattern_parse(&t, path_base(input)))
        return problem(p, EXIT_USAGE, "%s: expected one number like %%06d or %%d in the name, and %%%% for a %% sign",
                       input);
    bool fine = collect(s, &t, p);
    pattern_free(&t);
    return fine && (s->count > 0 || problem(p, EXIT_INPUT, "%s: no file fits the pattern", input));
}

bool sequence_open(Sequence *s, const char *input, bool allow_gaps, Problem *p)
{
    *s = (Sequence){0};
    PathKind kind = path_kind(input);
    if (strcmp(input, "-") == 0 || path_ends_with(input, ".y4m"))
        return problem(p, EXIT_USAGE,
                       "-i %s: pipes and y4m are not in this version; give a picture, a folder or a pattern", input);
    if (kind == PATH_FOLDER) {
        s->folder = new_text("%s", input);
        s->is_folder = true;
        if (!collect(s, NULL, p)) return false;
        if (s->count == 0)
            return problem(p, EXIT_INPUT, "%s: the folder holds no PNG pictures; give a folder with at least one",
                           input);
    } else if (kind == PATH_MISSING && strchr(path_base(input), '%') != NULL) {
        if (!open_pattern(s, input, p)) return false;
    } else if (kind == PATH_MISSING) {
        return problem(p, EXIT_INPUT, "%s: no such picture or folder", input);
    } else {
        int64_t number = 1;
        size_t room = 0;
        last_number(path_base(input), &number);
        s->folder = path_folder(input);
        add_frame(s, &room, new_text("%s", input), number);
    }
    qsort(s->frames, s->count, sizeof *s->frames, by_number);
    return check_numbers(s, allow_gaps, p);
}

bool sequence_probe(Sequence *s, Problem *p)
{
    static const char *const kinds[] = {"", "grey", "grey with alpha", "RGB", "RGB with alpha"};
    for (size_t i = 0; i < s->count; i++) {
        const char *path = s->frames[i].path;
        PngForm f;
        if (!png_probe(path, &f, p)) return false;
        if (i == 0) s->form = f;
        const PngForm *first = &s->form;
        if (f.width != first->width || f.height != first->height)
            return problem(p, EXIT_INPUT,
                           "%s: %dx%d, but the sequence began with %dx%d (%s); frames of a clip have one size", path,
                           f.width, f.height, first->width, first->height, s->frames[0].path);
        if (f.channels != first->channels || f.bits != first->bits)
            return problem(p, EXIT_INPUT,
                           "%s: %s of %d bits, but the sequence began with %s of %d bits (%s); convert the "
                           "frames to one form",
                           path, kinds[f.channels], f.bits, kinds[first->channels], first->bits, s->frames[0].path);
    }
    return true;
}

void sequence_free(Sequence *s)
{
    for (size_t i = 0; i < s->count; i++) free(s->frames[i].path);
    free(s->frames);
    free(s->folder);
}

bool sequence_select(const Sequence *s, const Job *job, bool *wanted, bool *cut, Problem *p)
{
    int64_t first = s->frames[0].number, last = s->frames[s->count - 1].number;
    *cut = false;
    memset(wanted, job->range_count == 0, s->count * sizeof *wanted);
    for (size_t k = 0; k < job->range_count; k++) {
        const FrameRange *r = &job->ranges[k];
        if (r->first < first || r->first > last)
            return problem(p, EXIT_USAGE,
                           "--frames %s: frame %" PRId64 " is not in the input, whose frames are numbered %" PRId64
                           " to %" PRId64,
                           job->frames, r->first, first, last);
        *cut |= r->last > last;
        for (size_t i = 0; i < s->count; i++) {
            int64_t n = s->frames[i].number;
            wanted[i] |= n >= r->first && n <= r->last && (n - r->first) % r->step == 0;
        }
    }
    for (size_t i = 0; i < s->count; i++) {
        if (wanted[i]) return true;
    }
    return problem(p, EXIT_USAGE, "--frames %s: the input has none of these frames", job->frames);
}

upres_range *sequence_ranges(const bool *wanted, size_t count, size_t *range_count)
{
    upres_range *ranges = need_memory((count + 1) * sizeof *ranges);
    *range_count = 0;
    for (size_t first = 0, end; first < count; first = end) {
        end = first + 1;
        if (!wanted[first]) continue;
        while (end < count && wanted[end]) end++;
        ranges[(*range_count)++] = (upres_range){(int64_t)first, (int64_t)end - 1};
    }
    return ranges;
}

/* ---------------------------------------------------------------------------------------------------------- results */

bool outputs_open(Outputs *o, const char *path, Problem *p)
{
    static const char *const unknown[] = {".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".exr",
                                          ".gif", ".y4m",  ".mp4",  ".mkv", ".mov", ".webm", ".avi"};
    *o = (Outputs){.kind = OUTPUT_FOLDER, .path = path};
    if (strcmp(path, "-") == 0)
        return problem(p, EXIT_USAGE, "-o -: pipes are not in this version; give a picture, a pattern or a folder");
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        if (path_kind(path) != PATH_FOLDER && path_ends_with(path, unknown[i]))
            return problem(p, EXIT_USAGE,
                           "-o %s: %s files are not written in this version; known outputs: .png, or a folder", path,
                           unknown[i]);
    }
    if (path_kind(path) != PATH_FOLDER && path_ends_with(path, ".png")) {
        Pattern t;
        o->kind = OUTPUT_PICTURE;
        if (strchr(path_base(path), '%') != NULL) {
            if (!pattern_parse(&t, path_base(path)))
                return problem(p, EXIT_USAGE,
                               "-o %s: expected one number like %%06d in the name, and %%%% for a %% sign", path);
            pattern_free(&t);
            o->kind = OUTPUT_PATTERN;
        }
    }
    o->folder = o->kind == OUTPUT_FOLDER ? new_text("%s", path) : path_folder(path);
    return true;
}

char *outputs_path(const Outputs *o, const char *source, int64_t number)
{
    if (o->kind == OUTPUT_PICTURE) return new_text("%s", o->path);
    char *name;
    Pattern t;
    if (o->kind == OUTPUT_PATTERN && pattern_parse(&t, path_base(o->path))) {
        name = new_text("%s%0*" PRId64 "%s", t.before, t.width, number, t.after);
        pattern_free(&t);
    } else if (source == NULL) {
        name = new_text("%06" PRId64 ".png", number);
    } else if (path_ends_with(source, ".png")) {
        name = new_text("%s", path_base(source));
    } else {
        name = new_text("%s.png", path_base(source));
    }
    char *path = path_join(o->folder, name);
    free(name);
    return path;
}

/* Is the folder `inner` the same as `outer` or below it? Both absolute and resolved. */
static bool lies_within(const char *inner, const char *outer)
{
    size_t n = strlen(outer);
    return strncmp(inner, outer, n) == 0 && (inner[n] == '\0' || inner[n] == '/' || (n == 1 && outer[0] == '/'));
}

static bool check_apart_from_input(const Outputs *o, const Sequence *input, Problem *p)
{
    char *results = path_real(o->folder), *sources = path_real(input->folder);
    bool fine = true;
    if (results != NULL && sources != NULL && input->is_folder && lies_within(results, sources))
        fine = problem(p, EXIT_USAGE, "-o %s lies in the input %s; results must go elsewhere", o->path, input->folder);
    bool one_folder = results != NULL && sources != NULL && strcmp(results, sources) == 0;
    for (size_t i = 0; i < input->count && fine && one_folder; i++) {
        char *to = outputs_path(o, input->frames[i].path, input->frames[i].number);
        if (strcmp(path_base(to), path_base(input->frames[i].path)) == 0)
            fine = problem(p, EXIT_USAGE, "-o %s would replace the input %s; results must go elsewhere", o->path,
                           input->frames[i].path);
        free(to);
    }
    free(results);
    free(sources);
    return fine;
}

/* Are both there and one file, by whatever links? */
static bool same_file(const char *a, const char *b)
{
    char *x = path_found(a), *y = path_found(b);
    bool same = x != NULL && y != NULL && strcmp(x, y) == 0;
    free(x);
    free(y);
    return same;
}

bool sequence_apart(const Sequence *s, const char *path, Problem *p)
{
    for (size_t i = 0; i < s->count; i++)
        if (same_file(path, s->frames[i].path))
            return problem(p, EXIT_USAGE, "-o %s would replace the input %s; results must go elsewhere", path,
                           s->frames[i].path);
    return true;
}

bool outputs_check(Outputs *o, const Job *job, const SequenceFrame *frames, size_t count, bool *wanted,
                   const Sequence *input, Problem *p)
{
    size_t results = 0;
    for (size_t i = 0; i < count; i++) results += wanted[i];
    if (o->kind == OUTPUT_PICTURE && results > 1)
        return problem(p, EXIT_USAGE,
                       "-o %s is one picture, but there are %zu frames; give a folder or a pattern like "
                       "%%06d.png",
                       o->path, results);
    if (input != NULL && !check_apart_from_input(o, input, p)) return false;
    if (o->kind == OUTPUT_PICTURE && path_kind(o->folder) == PATH_MISSING)
        return problem(p, EXIT_FAILED, "%s: its folder %s does not exist; make it first", o->path, o->folder);
    if (!folder_writable(o->folder, p)) return false;
    for (size_t i = 0; i < count; i++) {
        if (!wanted[i]) continue;
        char *to = outputs_path(o, frames[i].path, frames[i].number);
        PathKind kind = path_kind(to);
        bool fine = true;
        if (kind == PATH_FOLDER || kind == PATH_OTHER)
            fine = problem(p, EXIT_FAILED, "%s: not a regular file, so no picture can be written there", to);
        else if (kind == PATH_FILE && job->skip_existing)
            o->skipped++, wanted[i] = false;
        else if (kind == PATH_FILE && !job->overwrite)
            fine = problem(p, EXIT_USAGE,
                           "%s exists already; use --overwrite to replace it or --skip-existing to keep it", to);
        else if (kind == PATH_FILE && frames[i].path != NULL && same_file(to, frames[i].path))
            fine = problem(p, EXIT_USAGE, "%s is the input %s, behind a link; results must go elsewhere", to, frames[i].path);
        free(to);
        if (!fine) return false;
    }
    return true;
}

/* Is the file at `path`, or what it is called while it is written, one of the inputs, or in a folder that is one? */
static bool check_file_apart(const char *path, const Job *job, Problem *p)
{
    char *result = path_real(path), *part = result != NULL ? new_text("%s.part", result) : NULL;
    bool fine = true;
    for (size_t i = 0; i <= job->model_count + job->operand_count && fine && result != NULL; i++) {
        const char *source = job->input;
        if (i < job->model_count)
            source = job->models[i];
        else if (i < job->model_count + job->operand_count)
            source = job->operands[i - job->model_count];
        char *real = source != NULL ? path_real(source) : NULL;
        bool inside =
            real != NULL && i >= job->model_count && path_kind(real) == PATH_FOLDER && lies_within(result, real);
        if (real != NULL && strcmp(real, result) == 0)
            fine = problem(p, EXIT_USAGE, "-o %s would replace the input %s; results must go elsewhere", path, source);
        else if (real != NULL && strcmp(real, part) == 0)
            fine = problem(p, EXIT_USAGE, "-o %s is written as %s.part first, which would replace the input; results must go "
                           "elsewhere", path, path);
        else if (inside)
            fine = problem(p, EXIT_USAGE, "-o %s lies in the input %s; results must go elsewhere", path, source);
        free(real);
    }
    free(part);
    free(result);
    return fine;
}

bool output_file_check(const char *path, const Job *job, bool *skip, Problem *p)
{
    *skip = false;
    if (!check_file_apart(path, job, p)) return false;
    char *folder = path_folder(path);
    bool fine = path_kind(folder) == PATH_MISSING
                    ? problem(p, EXIT_FAILED, "%s: its folder %s does not exist; make it first", path, folder)
                    : folder_writable(folder, p);
    free(folder);
    PathKind kind = path_kind(path);
    if (!fine || kind == PATH_MISSING) return fine;
    if (kind != PATH_FILE) return problem(p, EXIT_FAILED, "%s: not a regular file; give the name of a file", path);
    *skip = job->skip_existing;
    return job->skip_existing || job->overwrite ||
           problem(p, EXIT_USAGE, "%s exists already; use --overwrite to replace it", path);
}

bool outputs_begin(Outputs *o, Problem *p)
{
    return folder_make(o->folder, &o->made, p);
}

void outputs_end(Outputs *o)
{
    if (o->made) folder_remove_if_empty(o->folder);
    free(o->folder);
    o->folder = NULL;
}
